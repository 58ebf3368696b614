"""The live evaluator, small: it explores, measures, and goes on where it was."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pytest

from benchmarks import steering
from benchmarks.common import MissingData, collect
from godb_fast.errors import InvalidInput
from godb_fast.learning.features import PHYSICAL_VERSION
from godb_fast.learning.physical import PHYSICAL_COLUMNS
from godb_fast.report.comparison import ARMS
from godb_fast.store import PlanRun, SqliteStore

SQL = "-- name: pairs\nSELECT a.n, count(*) FROM a JOIN b ON a.k = b.k GROUP BY a.n ORDER BY a.n;\nDROP TABLE a;"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> steering.Settings:
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("CREATE TABLE a AS SELECT i % 40 AS k, i % 100 AS n FROM range(4000) r(i)")
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k FROM range(2000) r(i)")
    (tmp_path / "q.sql").write_text(SQL)
    found = steering.Settings(
        workload=str(tmp_path / "q.sql"),
        url=str(tmp_path / "x.duckdb"),
        budget="0.5s",
        rounds=2,
        store=tmp_path / "s.sqlite",
        raw=tmp_path / "raw.csv",
    )
    monkeypatch.setattr(steering, "SETTINGS", found)
    return found


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_measures_and_goes_on(settings, monkeypatch):
    report = collect("steering", steering.run)
    assert [row["arms"] for row in report.rows if row["table"] == "R"] == [
        "ours / default",
        "A/A: default / default",
    ]
    assert any(note.startswith("verdict: ") for note in report.notes)
    first = rows(settings.raw)
    assert sorted((row["round"], row["arm"]) for row in first) == sorted(
        (str(number), arm) for number in range(2) for arm in ARMS
    )
    settings.rounds, settings.resume = 3, True
    collect("steering", steering.run)
    again = rows(settings.raw)
    assert again[: len(first)] == first
    assert len(again) == 9


def test_a_query_that_does_not_end_counts_as_the_cap_and_is_named(settings, tmp_path):
    Path(settings.workload).write_text(
        "-- name: endless\nSELECT count(*) FROM a, a x, a y, b, b z WHERE (a.n * x.n + y.n * b.k) % 1003 <> z.k;"
    )
    settings.cap_s, settings.rounds = 0.2, 1
    report = collect("steering", steering.run)
    assert any("endless" in note and "cut at 0.2 s" in note for note in report.notes)
    assert any("a bound" in note for note in report.notes)


@pytest.mark.parametrize(
    ("engine", "workload", "given", "rounds"),
    [
        ("duckdb", "tpcds", None, 9),
        ("postgres", "tpcds", None, 3),
        ("duckdb", "demo", None, 3),
        ("duckdb", "tpch", 2, 2),
    ],
)
def test_short_statements_run_more_often(engine, workload, given, rounds):
    assert steering.Settings(engine=engine, workload=workload, rounds=given).repeats == rounds


def test_each_server_has_its_own_proofs(tmp_path):
    settings = steering.Settings(store=tmp_path / "s.sqlite")
    assert settings.store_of("tuned") == tmp_path / "s.sqlite"
    assert settings.store_of("stock") == tmp_path / "s-stock.sqlite"
    assert steering.Settings().store_of("stock") is None


def test_without_a_database_it_says_what_is_missing(settings):
    settings.url = None
    with pytest.raises(MissingData, match="--url"):
        collect("steering", steering.run)


def test_parquet_holds_every_run_and_a_measurement_goes_on_with_it(settings, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    settings.raw = tmp_path / "raw.parquet"
    collect("steering", steering.run)
    first = parquet.read_table(settings.raw).to_pylist()
    assert len(first) == 6
    settings.rounds, settings.resume = 3, True
    collect("steering", steering.run)
    again = parquet.read_table(settings.raw).to_pylist()
    assert again[:6] == first
    assert len(again) == 9
    assert not settings.raw.with_name("raw.parquet.csv").exists()


def test_unseen_templates_are_measured_in_three_splits(settings, tmp_path):
    Path(settings.workload).write_text(
        "".join(
            f"-- name: q{n}\nSELECT count(*) FROM a JOIN b ON a.k = b.k WHERE a.n < {n};\n" for n in range(4)
        )
    )
    settings.track, settings.rounds = "unseen", 1
    with pytest.raises(InvalidInput, match="--trials"):
        collect("steering", steering.run)
    settings.trials = tmp_path / "trials.sqlite"
    now, vector = datetime.now(UTC), np.ones(len(PHYSICAL_COLUMNS))
    SqliteStore(settings.trials).trials.keep(
        PHYSICAL_VERSION, [PlanRun("duckdb", "d", "w q 1-0", 5, "", vector, 0.1, False, now)]
    )
    report = collect("steering", steering.run)
    assert sum("no ranker: too little to learn from" in note for note in report.notes) == 3
    parts = [row["part"] for row in report.rows if row["table"] == "R"]
    assert parts == [f"split {seed}" for seed in (1, 1, 2, 2, 3, 3)]
