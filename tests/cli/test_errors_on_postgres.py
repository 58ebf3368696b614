"""What goes wrong on PostgreSQL says what to do next, and shows no password and no traceback."""

from __future__ import annotations

from urllib.parse import urlsplit

import psycopg
import pytest
from postgres_server import PostgresServer

from godb_fast.cli import main


@pytest.fixture(autouse=True)
def apart(monkeypatch, tmp_path):
    monkeypatch.setenv("GODB_FAST_STORE", "off")
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))


@pytest.fixture
def reader(postgres_server: PostgresServer, postgres_url):
    """The URL of a role that may read one of two tables."""
    if postgres_server.process_id is None:
        pytest.skip("a server of somebody else may not ask for passwords")
    name = "godb_reader_" + postgres_url.rsplit("_", 1)[1]
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute("CREATE TABLE item (id int, name text); CREATE TABLE hidden (id int)")
        raw.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw/9'; GRANT SELECT ON item TO {name}")
        yield postgres_server.database_url(postgres_url.rsplit("/", 1)[1], user=name, password="pw/9")
        raw.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def told(capsys, *arguments):
    assert main(list(arguments)) in (1, 2)
    shown = capsys.readouterr()
    assert "pw/9" not in shown.out + shown.err
    assert "pw%2F9" not in shown.out + shown.err
    return shown.err + shown.out


def changed(url, **parts):
    split = urlsplit(url)
    login, place = split.netloc.split("@")
    return split._replace(
        netloc=f"{parts.get('login', login)}@{parts.get('place', place)}", path=parts.get("path", split.path),
        scheme=parts.get("scheme", split.scheme), query=parts.get("query", ""),
    ).geturl()  # fmt: skip


@pytest.mark.parametrize(
    ("change", "helps"),
    [
        ({"login": "nobody_such:pw%2F9"}, "check role and password"),
        ({"login": "postgres"}, "give a password in PGPASSFILE"),
        ({"path": "/no_such_database"}, "psql -l lists them"),
        ({"place": "127.0.0.1:1"}, "check host and port"),
        ({"place": "no-such-host.invalid:5432"}, "check the name of the host"),
        ({"query": "service=no_such_service"}, "PGSERVICEFILE"),
        ({"query": "sslmode=require"}, "check sslmode"),
        ({"query": "no_such_option=pw%2F9"}, "write postgresql://user@host:5432/database"),
        ({"scheme": "postgresql+psycopg"}, "write postgresql://"),
        ({"place": "127.0.0.1:x"}, "port"),
    ],
)
def test_connections_that_cannot_be_had(reader, capsys, change, helps):
    assert helps in told(capsys, "explain", changed(reader, **change), "SELECT 1")


def test_a_database_that_this_role_may_not_enter(postgres_server, reader, capsys):
    with postgres_server.database() as url:
        database = urlsplit(url).path[1:]
        with psycopg.connect(url, autocommit=True) as raw:
            raw.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
        assert "GRANT CONNECT" in told(capsys, "info", changed(reader, path=f"/{database}"))


def test_statements_that_cannot_be_run(reader, tmp_path, capsys):
    assert "There is item." in told(capsys, "explain", reader, "SELECT * FROM itme")
    assert 'Perhaps you meant to reference the column "item.name"' in told(
        capsys, "explain", reader, "SELECT nmae FROM item"
    )
    (tmp_path / "a.sql").write_text("SELECT count(*) FROM hidden")
    denied = told(capsys, "run", reader, str(tmp_path / "a.sql"), "--repetitions", "1")
    assert "permission denied for table hidden (its owner can GRANT that right to this role)" in " ".join(
        denied.split()
    )
