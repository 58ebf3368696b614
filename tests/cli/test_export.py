"""``godb-fast export``: its SQL runs on the engine itself, and answers as the statement does."""

from __future__ import annotations

import duckdb
import pytest

from godb_fast.cli import main
from godb_fast.core import Steering
from godb_fast.engines.registry import open_engine
from godb_fast.exploring import Evidence, MemoEntry, MemoKey
from godb_fast.exploring.subjects import LiveQuery, Subject, bucket_number, examine
from godb_fast.store import SqliteStore

SQL = "SELECT a.k, count(*) AS n FROM a JOIN b ON a.k = b.k WHERE a.n < 500 GROUP BY a.k ORDER BY a.k"


def prove(url: str, store: str, steering: Steering) -> None:
    with open_engine(url, read_only=True) as engine:
        subject = examine(engine, LiveQuery("q", SQL))
        assert isinstance(subject, Subject)
        key = MemoKey(subject.template.fingerprint, bucket_number(subject.region))
        proof = Evidence(5, 0.4, 0.3, 0.6, 0.0, "by hand", 1.5)
        entry = MemoEntry(key, steering, engine.schema_epoch(), proof)
        SqliteStore(store).explorations.remember(engine.name, engine.environment(), entry.to_dict())


@pytest.fixture
def file(tmp_path) -> str:
    path = tmp_path / "q.sql"
    path.write_text(f"-- name: links\n{SQL};\n-- name: other\nSELECT count(*) FROM a;\n")
    return str(path)


def test_on_postgres(postgres_url, tmp_path, file, capsys):
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE a AS SELECT i % 40 AS k, i % 1000 AS n FROM generate_series(1, 4000) r(i)"
        )
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k FROM generate_series(1, 400) r(i)")
        connection.execute("ANALYZE")
        store = str(tmp_path / "s.sqlite")
        prove(postgres_url, store, Steering(settings=(("enable_hashjoin", "off"),)))
        assert main(["export", postgres_url, file, "--store", store]) == 0
        script = capsys.readouterr().out
        assert script.count("-- links: verified") == 1
        assert "other" not in script
        connection.autocommit = True
        results = connection.execute(script)
        while results.description is None and results.nextset():
            pass
        assert results.fetchall() == connection.execute(SQL).fetchall()
        assert connection.execute("SHOW enable_hashjoin").fetchone() == ("on",)
        assert main(["export", postgres_url, file, "--ticket", "--store", store]) == 0
        ticket = capsys.readouterr().out
        for part in ("# Change request: links", "## Evidence", "## Risk", "## Undo", "## Check", "SET LOCAL"):
            assert part in ticket


def test_on_duckdb(tmp_path, file, capsys):
    path, store = str(tmp_path / "x.duckdb"), str(tmp_path / "s.sqlite")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE a AS SELECT i % 40 AS k, i % 1000 AS n FROM range(4000) r(i)")
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k FROM range(400) r(i)")
    prove(path, store, Steering(join_trees=((0, (1, 0)),)))
    assert main(["export", path, file, "--store", store]) == 0
    script = capsys.readouterr().out
    with duckdb.connect(path) as connection:
        before = connection.execute("SELECT current_setting('disabled_optimizers')").fetchone()
        answers = [connection.execute(text).fetchall() for text in connection.extract_statements(script)]
        assert connection.execute(SQL).fetchall() in answers
        assert connection.execute("SELECT current_setting('disabled_optimizers')").fetchone() == before


def test_nothing_proved(tmp_path, file, capsys):
    path = str(tmp_path / "x.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE a (k INTEGER, n INTEGER)")
    assert main(["export", path, file, "--store", str(tmp_path / "s.sqlite")]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "nothing was proved" in printed.err
    assert main(["export", path, file, "--store", "off"]) == 2
