"""``godb-fast export``: its SQL runs on the engine itself, and answers as the statement does."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pytest

from godb_fast.cli import main
from godb_fast.core import Steering
from godb_fast.engines.registry import open_engine
from godb_fast.exploring import Evidence, MemoEntry, MemoKey
from godb_fast.exploring.subjects import LiveQuery, Subject, bucket_number, examine
from godb_fast.store import SqliteStore

SQL = "SELECT a.k, count(*) AS n FROM a JOIN b ON a.k = b.k WHERE a.n < 500 GROUP BY a.k ORDER BY a.k"


def prove(url: str, store: str, steering: Steering, sql: str = SQL, **more: Any) -> None:
    with open_engine(url, read_only=True) as engine:
        subject = examine(engine, LiveQuery("q", sql))
        assert isinstance(subject, Subject)
        key = MemoKey(subject.template.fingerprint, bucket_number(subject.region))
        proof = Evidence(5, 0.4, 0.3, 0.6, 0.0, "by hand", 1.5)
        entry = MemoEntry(key, steering, **{"epoch": engine.schema_epoch(), "evidence": proof} | more)
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


def test_slow_knows_what_was_proved(tmp_path, file, capsys):
    path, store = str(tmp_path / "x.duckdb"), str(tmp_path / "s.sqlite")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE a AS SELECT i % 40 AS k, i % 1000 AS n FROM range(4000) r(i)")
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k FROM range(400) r(i)")
    asked = ["--store", store, "slow", path, "--files", file, "--json"]
    assert main(asked) == 0
    before = [entry["verdict"] for entry in json.loads(capsys.readouterr().out)["queries"]]
    prove(path, store, Steering(join_trees=((0, (1, 0)),)))
    assert main(asked) == 0
    after = json.loads(capsys.readouterr().out)["queries"]
    assert not any("verified" in verdict for verdict in before)
    assert [entry["steerable"] for entry in after if "verified" in entry["verdict"]] == [True]
    assert main(asked[:-1]) == 0
    assert "godb-fast explore also tries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "why"), [({"reverify": True}, "by hand"), ({"epoch": "former"}, "another now")]
)
def test_what_was_proved_and_waits_for_verification_is_told(tmp_path, file, capsys, more, why):
    path, store = str(tmp_path / "x.duckdb"), str(tmp_path / "s.sqlite")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE a AS SELECT i % 40 AS k, i % 1000 AS n FROM range(4000) r(i)")
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k FROM range(400) r(i)")
    prove(path, store, Steering(join_trees=((0, (1, 0)),)), **more)
    assert main(["export", path, file, "--store", store]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "note: links: not used until godb-fast explore has verified it again: verified on" in printed.err
    assert why in printed.err
    assert "nothing was proved" not in printed.err
    assert main(["--store", store, "explain", path, SQL]) == 0
    assert "proved, but not used until godb-fast explore has verified it again" in capsys.readouterr().out
    assert main(["--store", store, "explain", path, SQL, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["proved_but_not_used"]) == 1
    prove(path, store, Steering(join_trees=((0, (1, 0)),)))
    assert main(["--store", store, "explain", path, SQL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["proved_but_not_used"] == []
    # Nor does it wait for anything where other literals are too far from there.
    assert main(["--store", store, "explain", path, SQL.replace("< 500", "< 1"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["action"] != "steer"
    assert told["proved_but_not_used"] == []


def test_a_store_that_cannot_be_read_stops_no_explanation(tmp_path, capsys):
    path, store = str(tmp_path / "x.duckdb"), tmp_path / "s.sqlite"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE a (k INTEGER, n INTEGER)")
        connection.execute("CREATE TABLE b (k INTEGER)")
    store.write_text("no database at all, but text" * 50)
    assert main(["--store", str(store), "explain", path, SQL]) == 0
    printed = capsys.readouterr()
    assert "engine's own" in printed.out
    assert "is no store" in printed.err


def test_nothing_proved(tmp_path, file, capsys):
    path = str(tmp_path / "x.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE a (k INTEGER, n INTEGER)")
        connection.execute("CREATE TABLE b (k INTEGER)")
    store = SqliteStore(tmp_path / "s.sqlite")
    assert main(["export", path, file, "--store", str(store.path)]) == 2
    assert f"there is no store at {store.path}" in capsys.readouterr().err
    assert not store.path.exists()
    store.explorations.lost("a class", 1.0, 1.0, 0.1)
    assert main(["export", path, file, "--store", str(store.path)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "nothing was proved" in printed.err
    assert main(["export", path, file, "--store", "off"]) == 2


CORRELATED = "SELECT count(*) AS n FROM a JOIN b ON b.k = a.k WHERE a.city = 5 AND a.zip = 5"
MULTIPLIED = "SELECT count(*) AS n FROM few JOIN many ON many.k = few.k"


@pytest.fixture
def misjudged(postgres_server):
    """Two queries that get nested loops: of columns that depend on each other, and of a wrong n_distinct."""
    import psycopg

    with postgres_server.database() as url, psycopg.connect(url, autocommit=True) as connection:
        for statement in (
            "CREATE TABLE a AS SELECT i AS k, i % 100 AS city, i % 100 AS zip FROM generate_series(1, 40000) r(i)",
            "CREATE TABLE b AS SELECT i % 40000 AS k, repeat('x', 100) AS pad FROM generate_series(1, 80000) r(i)",
            "CREATE INDEX ON b (k)",
            "CREATE TABLE few AS SELECT i AS k, repeat('x', 500) AS pad FROM generate_series(1, 100) r(i)",
            "CREATE TABLE many AS SELECT i % 200 AS k, repeat('x', 200) AS pad FROM generate_series(1, 40000) r(i)",
            "CREATE INDEX ON many (k)",
            "ALTER TABLE many ALTER COLUMN k SET (n_distinct = -1)",
            "ANALYZE",
        ):
            connection.execute(statement)
        yield url, connection


@pytest.mark.parametrize(
    ("sql", "expected"),
    [(CORRELATED, "CREATE STATISTICS"), (MULTIPLIED, "SET (n_distinct = 200)")],
)
def test_statistics_are_proposed_where_trying_shows_that_they_help(
    sql, expected, misjudged, tmp_path, capsys
):
    url, connection = misjudged

    def plan():
        return "\n".join(row[0] for row in connection.execute(f"EXPLAIN {sql}").fetchall())

    assert "Nested Loop" in plan()
    before = connection.execute("SELECT relpages, reltuples FROM pg_class WHERE relname = 'a'").fetchall()
    store, path = str(tmp_path / "s.sqlite"), tmp_path / "q.sql"
    path.write_text(f"{sql};")
    prove(url, store, Steering(settings=(("enable_nestloop", "off"),)), sql)
    arguments = ["export", url, str(path), "--ticket", "--store", store]
    assert main(arguments) == 0
    untried = capsys.readouterr().out
    assert ("Untried suggestion" in untried) == (sql is CORRELATED)
    assert main([*arguments, "--try-statistics"]) == 0
    ticket = capsys.readouterr().out
    changes = [part.partition("```")[0] for part in ticket.partition("## Risk")[0].split("```sql\n")[1:]]
    # The least intrusive first.
    for change, what in zip(
        changes, (expected, "ALTER ROLE postgres IN DATABASE", "hint_plan.hints", "SET LOCAL"), strict=True
    ):
        assert what in change
    assert "Set(enable_nestloop off)" in changes[2]
    assert "rolled back: with it the engine's own plan is the verified one" in ticket
    # Nothing stays of the trials.
    assert "Nested Loop" in plan()
    assert connection.execute("SELECT count(*) FROM pg_statistic_ext").fetchone() == (0,)
    assert (
        connection.execute("SELECT relpages, reltuples FROM pg_class WHERE relname = 'a'").fetchall()
        == before
    )
    connection.execute(changes[0])
    assert "Hash Join" in plan()
    undo = ticket.partition("## Undo\n\n```sql\n-- 1\n")[2].partition("-- 2")[0]
    connection.execute(undo)


def test_what_cannot_be_tried_says_why(misjudged, tmp_path, capsys, postgres_server):
    url, connection = misjudged
    connection.execute("DROP ROLE IF EXISTS reader")
    connection.execute(
        "CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"
    )
    store, path = str(tmp_path / "s.sqlite"), tmp_path / "q.sql"
    path.write_text(f"{CORRELATED};")
    database = url.rpartition("/")[2]
    theirs = postgres_server.database_url(database, user="reader", password="r")
    prove(theirs, store, Steering(settings=(("enable_nestloop", "off"),)), CORRELATED)
    try:
        assert main(["export", theirs, str(path), "--ticket", "--try-statistics", "--store", store]) == 0
        assert "Could not be tried: must be owner of table a" in capsys.readouterr().out
        assert main(["export", theirs, str(path), "--try-statistics"]) == 2
        assert "give --ticket too" in capsys.readouterr().err
    finally:
        connection.execute("DROP OWNED BY reader; DROP ROLE reader")


def test_a_join_order_becomes_a_hint(misjudged, tmp_path, capsys):
    url, _ = misjudged
    store, path = str(tmp_path / "s.sqlite"), tmp_path / "q.sql"
    path.write_text(f"{MULTIPLIED};")
    prove(url, store, Steering(join_trees=((0, (1, 0)),)), MULTIPLIED)
    assert main(["export", url, str(path), "--ticket", "--store", store]) == 0
    ticket = capsys.readouterr().out
    assert "Leading((many few))" in ticket
    assert "ALTER ROLE" not in ticket
