"""What first sights add is measured: in front of a statement if need be, beside it where that takes long."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from benchmarks import first_sights
from benchmarks.common import MissingData, Options, collect
from godb_fast import first_sight, optimizer

SQL = """
-- name: pairs
SELECT a.n, count(*) FROM a JOIN b ON a.k = b.k GROUP BY a.n ORDER BY a.n;
-- name: one
SELECT max(n) FROM a;
-- name: broken
SELECT nothing FROM a;
"""
SLOW_S = 0.2


@pytest.fixture(autouse=True)
def slow_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workload of which each first sight takes long."""
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("CREATE TABLE a AS SELECT i % 40 AS k, i % 100 AS n FROM range(4000) r(i)")
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k FROM range(200) r(i)")
    (tmp_path / "q.sql").write_text(SQL)
    chosen = first_sights.Chosen(
        workload=str(tmp_path / "q.sql"), url=str(tmp_path / "x.duckdb"), cap_s=20.0, sessions=2
    )
    monkeypatch.setattr(first_sights, "CHOSEN", chosen)
    seen = optimizer.first_sight

    def slow(*arguments: Any) -> Any:
        time.sleep(SLOW_S)
        return seen(*arguments)

    monkeypatch.setattr(optimizer, "first_sight", slow)


@pytest.mark.parametrize("beside", [True, False])
def test_what_is_added(monkeypatch: pytest.MonkeyPatch, beside: bool) -> None:
    if beside:
        monkeypatch.setattr(first_sight, "FOREGROUND_MS", 0.0)
    report = collect("first_sights", first_sights.run, Options())
    assert [row["call"] for row in report.rows] == [1, 2, 3]
    assert all(row["statements"] == 2 for row in report.rows)
    assert (report.rows[0]["worst"] >= SLOW_S * 1e3) is not beside
    assert report.rows[1]["worst"] < SLOW_S * 1e3
    # All three are read, once in each session.
    times = 6 if beside else 0
    assert f"got to know in the background: {times} times" in report.notes
    assert bool(report.broken) is not beside


def test_nothing_that_ends_is_said() -> None:
    first_sights.CHOSEN.only = ("broken",)
    with pytest.raises(MissingData, match="raise --cap"):
        collect("first_sights", first_sights.run, Options())
