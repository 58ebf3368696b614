"""The benchmark of what adoption costs runs on both engines; its floors are for an idle machine."""

from __future__ import annotations

import pytest
from postgres_server import PostgresServer

from benchmarks import overhead
from benchmarks.common import Options, Report


def measured(choice: overhead.Choice) -> Report:
    report = Report("overhead")
    overhead.measure(choice, Options(quick=True), report)
    return report


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
def test_every_arm_is_measured(
    engine: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead, "REPEAT", 1)
    with postgres_server.database() as url:
        report = measured(overhead.Choice(engine, url, round_trips_ms=(0.0,)))
    assert [row["arm"] for row in report.rows] == [
        "bare", "off", "observe", "observe, stored", "advise", "steer", "bare again",
    ]  # fmt: skip
    assert all(row["median_us"] > 0 for row in report.rows)
    assert len(report.floors) == 4
