"""``godb-fast info URL``: what can be done with a database, and by whom."""

from __future__ import annotations

import json

import duckdb
import psycopg
import pytest
from postgres_server import PostgresServer

from godb_fast.cli import main


@pytest.fixture(autouse=True)
def no_store(monkeypatch):
    monkeypatch.setenv("GODB_FAST_STORE", "off")


def secret(url):
    return url.split(":")[2].split("@")[0]


def test_a_server(postgres_url, capsys):
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute("CREATE TABLE one (x int); CREATE TABLE two (x int); ANALYZE one")
    assert main(["info", postgres_url, "--json"]) == 0
    shown = capsys.readouterr().out
    told = json.loads(shown)["database"]
    assert told["engine"] == "postgresql"
    facts = told["facts"]
    assert (facts["role"], facts["superuser"], facts["standby"], facts["pooled"]) == (
        "postgres",
        True,
        False,
        False,
    )
    assert (facts["tables"], facts["encoding"]) == (2, "UTF8")
    assert "enable_hashjoin" in facts["settings"]
    assert secret(postgres_url) not in shown
    assert main(["info", postgres_url]) == 0
    text = capsys.readouterr().out
    assert "join orders can be steered" in text
    assert "role postgres, a superuser; UTF8" in text
    assert secret(postgres_url) not in text
    with psycopg.connect(postgres_url) as raw:
        if raw.info.server_version >= 140000:
            assert "1 of them never analysed: run ANALYZE" in text


def test_an_ordinary_role(postgres_server: PostgresServer, postgres_url, capsys):
    name = "godb_informed_" + postgres_url.rsplit("_", 1)[1]
    database = postgres_url.rsplit("/", 1)[1]
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw9'")
    try:
        url = postgres_server.database_url(database, user=name, password="pw9")
        assert main(["info", url]) == 0
        text = capsys.readouterr().out
        assert f"role {name}, an ordinary role, which is enough" in text
        # Only a superuser may limit temporary files.
        assert "not temp_file_limit" in text
        assert "pw9" not in text
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as raw:
            raw.execute(f"DROP ROLE {name}")


def test_a_database_that_is_not_there(postgres_server: PostgresServer, capsys):
    url = postgres_server.database_url("no_such_database")
    assert main(["info", url]) == 2
    shown = capsys.readouterr()
    assert "no_such_database" in shown.err
    assert secret(postgres_server.url) not in shown.err + shown.out


def test_a_duckdb_file(tmp_path, capsys):
    path = tmp_path / "shop.duckdb"
    duckdb.connect(str(path)).close()
    assert main(["info", str(path)]) == 0
    text = capsys.readouterr().out
    assert f"duckdb {duckdb.__version__}: {path}" in text
    assert "join orders can" in text
