"""The comparison with the bare driver: equal rows pass, other rows do not, what does not end is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from benchmarks import answers
from benchmarks.common import Options, collect

SQL = """
-- name: pairs
SELECT a.n, count(*) FROM a JOIN b ON a.k = b.k GROUP BY a.n ORDER BY a.n;
-- name: one
SELECT max(n) FROM a;
-- name: broken
SELECT nothing FROM a;
"""
ENDLESS = "-- name: endless\nSELECT count(*) FROM a x, a y, a z WHERE hash(x.n * y.n + z.n * x.k) = 8;"


def filled(path: Path, rows: int) -> str:
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE a AS SELECT i % 40 AS k, i % 100 AS n FROM range({rows}) r(i)")
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k FROM range(200) r(i)")
    return str(path)


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = filled(tmp_path / "x.duckdb", 4000)
    (tmp_path / "q.sql").write_text(SQL)
    chosen = answers.Chosen(engine="duckdb", workload=str(tmp_path / "q.sql"), url=url, cap_s=20.0)
    monkeypatch.setattr(answers, "CHOSEN", chosen)
    return url


def outcomes(report: Any) -> dict[str, str]:
    return {row["statement"]: row["outcome"] for row in report.rows}


def test_equal_rows(url):
    answers.CHOSEN.explore = "2s"
    report = collect("answers", answers.run, Options())
    assert outcomes(report) == {"pairs": "equal", "one": "equal", "broken": "refused"}
    assert not report.broken
    assert any(note.startswith("explored for") and note.endswith("differ: none") for note in report.notes)
    assert all(row["executions"] >= 2 for row in report.rows if row["outcome"] == "equal")
    assert "refused by the engine itself: broken" in report.notes


def test_other_rows_break_the_floor(url, tmp_path, monkeypatch):
    """The bare driver is asked at a database with other rows."""
    other = filled(tmp_path / "y.duckdb", 4001)
    bare = answers._bare_runs
    monkeypatch.setattr(answers, "_bare_runs", lambda _, *more: bare(other, *more))
    report = collect("answers", answers.run, Options())
    assert outcomes(report) == {"pairs": "differs", "one": "equal", "broken": "refused"}
    assert report.broken == ["statements whose rows differ"]


def test_what_does_not_end_is_named(url, tmp_path):
    Path(answers.CHOSEN.workload).write_text(SQL + ENDLESS)
    answers.CHOSEN.cap_s = 1.0
    report = collect("answers", answers.run, Options())
    assert outcomes(report)["endless"] == "cut"
    assert "not compared, as they do not end within 1 s: endless" in report.notes


def test_on_a_server(postgres_url, tmp_path, monkeypatch):
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE a AS SELECT i % 40 AS k, i % 100 AS n FROM generate_series(1, 4000) r(i)"
        )
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k FROM generate_series(1, 200) r(i)")
        connection.execute("ANALYZE")
    (tmp_path / "q.sql").write_text(SQL)
    chosen = answers.Chosen(workload=str(tmp_path / "q.sql"), url=postgres_url)
    monkeypatch.setattr(answers, "CHOSEN", chosen)
    report = collect("answers", answers.run, Options())
    assert outcomes(report) == {"pairs": "equal", "one": "equal", "broken": "refused"}
