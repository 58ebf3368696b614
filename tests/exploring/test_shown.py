"""Exploration counts the rows of its default runs, proposes by them, and hands them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from godb_fast.engines.registry import open_engine
from godb_fast.exploring.budget import Budget
from godb_fast.exploring.live import LiveExploration, LiveSettings
from godb_fast.exploring.shown import ShownRows
from godb_fast.exploring.subjects import LiveQuery, Subject, examine
from godb_fast.lessons import Lessons
from godb_fast.policy import Policy
from godb_fast.session import Optimizer
from godb_fast.store import SqliteStore

#: Three conditions that hold for the same third of the rows of a.
TABLES = (
    "CREATE TABLE a AS SELECT i % 50 AS k, CASE WHEN i % 3 = 0 THEN 1 ELSE 2 + i % 50 END AS x, "
    "CASE WHEN i % 3 = 0 THEN 1 ELSE 2 + i % 49 END AS y, CASE WHEN i % 3 = 0 THEN 1 ELSE 2 + i % 51 END AS z "
    "FROM {0}(0, {1}) r(i)",
    "CREATE TABLE b AS SELECT i % 50 AS k, i * 7919 % 500 AS m FROM {0}(0, {1}) r(i)",
    "CREATE TABLE d AS SELECT i AS m, i % 100 AS t FROM {0}(0, {2}) r(i)",
)
QUERY = LiveQuery(
    "correlated",
    "SELECT count(*) FROM a, b, d WHERE a.k = b.k AND b.m = d.m AND a.x = 1 AND a.y = 1 AND a.z = 1 AND d.t < 20",
)


@pytest.fixture(params=["duckdb", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "duckdb":
        path = str(tmp_path / "site.duckdb")
        with duckdb.connect(path) as connection:
            for text in TABLES:
                connection.execute(text.format("range", 6000, 500))
        return path
    import psycopg

    found: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(found, autocommit=True) as connection:
        for text in TABLES:
            connection.execute(text.format("generate_series", 5999, 499))
        connection.execute("ANALYZE")
    return found


def subject_of(engine: Any) -> Subject:
    subject = examine(engine, QUERY)
    assert isinstance(subject, Subject)
    return subject


def rows_of_a(shown: ShownRows, subject: Subject) -> float:
    """Rows of a in the best guess."""
    feedback, planner = shown.feedback(0), subject.planner
    assert feedback is not None
    assert planner is not None
    corrected = feedback.corrected(subject.literals, None, planner.own_plans({}))
    place = planner.blocks[0].sets.tolist().index(1)
    return float(corrected[0][place, 0])


def test_counts_of_default_runs_correct_what_is_proposed(url: str) -> None:
    seen = []
    with open_engine(url) as engine:
        exploration = LiveExploration(
            engine,
            [QUERY],
            LiveSettings(cap_s=10.0),
            teaches=lambda subject, observation: seen.append((subject.query.name, observation.plan_source)),
        )
        exploration.run(Budget(seconds=0.5))
        subject = subject_of(engine)
        assert seen == [("correlated", "profile" if engine.name == "duckdb" else "analyze")]
        assert rows_of_a(exploration._shown, subject) == pytest.approx(2000, rel=0.05)
        # Who goes on in another process finds the same.
        other = ShownRows([subject])
        other.restore(exploration._shown.to_list())
        assert other.to_list() == exploration._shown.to_list()
        assert rows_of_a(other, subject) == rows_of_a(exploration._shown, subject)


def test_what_exploration_paid_for_teaches_sessions(url: str, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    optimizer = Optimizer(policy=Policy(mode="advise"), store=store)
    with optimizer.session(url) as session:
        session.explore([QUERY], 0.5)
        where = session.engine.name, session.engine.environment()
    kept = Lessons(*where, 50.0, 0.01, store.corrections)
    assert kept.corrections.clock == 1
    with open_engine(url) as engine:
        subject = subject_of(engine)
        shown = ShownRows([subject])
        feedback = shown.feedback(0)
        assert feedback is not None
        feedback._corrections = kept.corrections
        assert rows_of_a(shown, subject) == pytest.approx(2000, rel=0.05)


def test_a_default_that_takes_long_is_not_run_once_more(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from godb_fast.exploring import trials

    monkeypatch.setattr(trials, "ANALYZED_SHARE", 0.0)
    seen: list[Any] = []
    with open_engine(url) as engine:
        exploration = LiveExploration(
            engine, [QUERY], LiveSettings(cap_s=10.0), teaches=lambda *each: seen.append(each)
        )
        report = exploration.run(Budget(seconds=0.2))
        # DuckDB counts in the run that is needed anyway.
        assert len(seen) == (engine.name == "duckdb")
        assert np.isfinite(report.workload_s)
