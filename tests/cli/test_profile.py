"""``godb-fast profile`` on real engines."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import psycopg
import pytest

from godb_fast.cli import main

QUERIES = (
    "-- name: joined\nSELECT count(*) FROM orders o JOIN items i ON o.item = i.id JOIN kinds k ON k.id = i.kind "
    "WHERE o.price < 40;\n"
    "-- name: simple\nSELECT max(price) FROM orders;\n"
    "-- name: broken\nSELECT nothing FROM nowhere;\n"
)
DATA = (
    "CREATE TABLE kinds AS SELECT i AS id FROM generate_series(0, 6) g(i)",
    "CREATE TABLE items AS SELECT i AS id, i % 7 AS kind FROM generate_series(0, 499) g(i)",
    "CREATE TABLE orders AS SELECT i AS id, i % 500 AS item, i % 1000 AS price FROM generate_series(0, 9999) g(i)",
)


@pytest.fixture
def queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GODB_FAST_STORE", str(tmp_path / "store.sqlite"))
    path = tmp_path / "queries.sql"
    path.write_text(QUERIES)
    return path


@pytest.fixture(params=["duckdb", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "duckdb":
        path = tmp_path / "shop.duckdb"
        with duckdb.connect(str(path)) as connection:
            for statement in DATA:
                connection.execute(statement)
        return str(path)
    server: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(server, autocommit=True) as connection:
        for statement in (*DATA, "ANALYZE"):
            connection.execute(statement)
    return server


def test_steps_are_told_by_percentile_and_nothing_is_recorded(url, queries, tmp_path, capsys):
    assert main(["profile", url, str(queries), "--repetitions", "4", "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["statements"] == 2
    assert list(facts["left_out"]) == ["broken"]
    found = facts["microseconds"]
    assert found["first sight"]["in all"]["times"] == 2
    assert found["new literals"]["in all"]["times"] == found["seen before"]["in all"]["times"] == 8
    # Someone who sees a text again is served from memory: whatever the machine, that is faster than planning.
    assert found["seen before"]["in all"]["p50"] < found["new literals"]["in all"]["p50"]
    assert found["new literals"]["in all"]["p50"] < found["first sight"]["in all"]["worst"]
    assert {"fingerprint", "template"} <= set(found["first sight"])
    assert found["seen before"]["store"]["times"] == 2
    assert not (tmp_path / "store.sqlite").exists()
    assert main(["profile", url, str(queries), "--repetitions", "1"]) == 1
    shown = capsys.readouterr().out
    assert "new literals" in shown
    assert "broken left out" in shown


def test_nothing_to_plan_is_an_error(url, tmp_path, capsys):
    (tmp_path / "none.sql").write_text("SELECT nothing FROM nowhere;")
    assert main(["profile", url, str(tmp_path / "none.sql")]) == 2
    assert "no statement could be planned" in capsys.readouterr().err
