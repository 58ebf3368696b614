"""``godb-fast costs`` on real engines."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import psycopg
import pytest

from godb_fast.cli import main
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.feedback.costs import CostTrial
from godb_fast.planning.calibration import DUCKDB
from godb_fast.store import SqliteStore

QUERIES = "".join(
    f"SELECT kind, sum(price) FROM orders JOIN items ON item = items.id WHERE price < {90 * n} GROUP BY kind;\n"
    f"SELECT count(*){', max(price)' * n} FROM orders WHERE price > {80 * n} AND id % {n + 2} = 1;\n"
    f"SELECT max(price){', min(item)' * n} FROM orders WHERE item < {5 * n};\n"
    for n in range(1, 9)
)
DATA = (
    "CREATE TABLE items AS SELECT i AS id, i % 7 AS kind FROM generate_series(0, 499) g(i)",
    "CREATE TABLE orders AS SELECT i AS id, i % 500 AS item, i % 1000 AS price "
    "FROM generate_series(0, 39999) g(i)",
)


@pytest.fixture
def queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GODB_FAST_STORE", str(tmp_path / "store.sqlite"))
    path = tmp_path / "queries.sql"
    path.write_text(QUERIES + "-- name: writer\nDELETE FROM orders;\n")
    return path


def test_costs_are_learned_from_a_duckdb_file_and_kept(tmp_path, queries, capsys):
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        for statement in DATA:
            connection.execute(statement)
    assert main(["costs", str(path), str(queries), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["executions"] == 72
    assert list(facts["left_out"]) == ["writer"]
    terms = {each["term"]: each for each in facts["coefficients"]}
    assert {"scan_rows", "build_rows", "probe_rows"} <= set(terms)
    assert "lookups" not in terms
    assert all(each["learned_ns"] >= 0 and each["deviation_ns"] > 0 for each in terms.values())
    # How far off milliseconds are predicted is the machine's doing too: tests/feedback/costs ask for accuracy.
    assert facts["q_error_left_out"]["executed"] >= 1.0
    assert any(each["learned_ns"] != each["static_ns"] for each in terms.values())
    assert facts["settings"] is None
    served = {"name": "duckdb", "scan": 5.0, "build": 50.0, "probe": 8.0, "output": 20.0}
    assert facts["join_orders"]["served"] == served
    assert facts["join_orders"]["on_trial"] is None
    learned = facts["join_orders"]["learned"]
    assert all(learned[name] > 0.0 for name in ("scan", "build", "probe", "output"))
    # How sessions' trials stand is kept beside what is measured here.
    trial = CostTrial("duckdb")
    assert trial.consider(replace(DUCKDB, output=200.0, name="duckdb, learned"), 1000)
    store = SqliteStore(tmp_path / "store.sqlite")
    with DuckDBEngine.open(path, read_only=True) as engine:
        where = "duckdb", engine.environment(), platform.node()
    store.costs.save(*where, store.costs.saved(*where) | {"trial": trial.to_dict()})
    store.close()
    assert main(["costs", str(path), str(queries), "--repetitions", "1"]) == 0
    text = capsys.readouterr().out
    # Fewer executions than before come in addition.
    assert "24 executions on duckdb; kept in the store; with those before, costs rest on 96" in text
    assert "writer left out" in text
    assert "build_rows" in text
    assert "output 200 ns a row" in text
    assert "the trial is open" in text
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (40_000,)


def test_a_short_measurement_takes_nothing_away_and_what_is_damaged_gives_way(
    tmp_path, queries, capsys, monkeypatch
):
    path, short = tmp_path / "shop.duckdb", tmp_path / "short.sql"
    short.write_text("SELECT 1")
    with duckdb.connect(str(path)) as connection:
        for statement in DATA:
            connection.execute(statement)
    # DuckDB needs no driver of another engine.
    monkeypatch.setitem(sys.modules, "godb_fast.engines.postgres.engine", None)

    def told(*arguments):
        assert main(["costs", str(path), *arguments, "--json"]) == 0
        found, errors = capsys.readouterr()
        return json.loads(found), errors

    whole, _ = told(str(queries))
    after, _ = told(str(short), "--repetitions", "2")
    assert (whole["rests_on"], after["executions"], after["rests_on"]) == (72, 2, 74)
    terms = [{each["term"] for each in facts["coefficients"]} for facts in (whole, after)]
    assert terms[0] <= terms[1]
    known, _ = told()
    assert (known["executions"], known["rests_on"]) == (0, 74)
    assert main(["costs", str(path)]) == 0
    assert capsys.readouterr().out.startswith("costs on duckdb rest on 74 executions; kept in the store")
    with DuckDBEngine.open(path, read_only=True) as engine:
        where = "duckdb", engine.environment(), platform.node()
    SqliteStore(tmp_path / "store.sqlite").costs.save(*where, {"format": 1})
    anew, errors = told(str(short))
    assert anew["rests_on"] == anew["executions"]
    assert "begun anew" in errors


def test_postgres_cost_settings_come_with_their_evidence(postgres_url, queries, capsys):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in DATA:
            connection.execute(statement)
        connection.execute("CREATE INDEX ON orders (item)")
        connection.execute("VACUUM ANALYZE")
        before = connection.execute("SELECT name, setting FROM pg_settings ORDER BY 1").fetchall()
    assert main(["costs", postgres_url, str(queries), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["why_no_settings"] is None
    proposal = facts["settings"]
    assert proposal["scans"] >= 50
    names = {each["name"] for each in proposal["settings"]}
    assert "random_page_cost" in names
    assert "effective_cache_size" not in names
    assert bool(proposal["sql"]) == proposal["recommended"]
    assert main(["costs", postgres_url, str(queries), "--repetitions", "1"]) == 0
    text = capsys.readouterr().out
    assert "cost setting" in text or "no cost settings are proposed" in text
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT name, setting FROM pg_settings ORDER BY 1").fetchall() == before


def test_what_cannot_be_measured_is_said(tmp_path, queries, capsys):
    path = tmp_path / "empty.duckdb"
    duckdb.connect(str(path)).close()
    assert main(["costs", str(path), str(queries)]) == 2
    assert "no statement could be measured" in capsys.readouterr().err
