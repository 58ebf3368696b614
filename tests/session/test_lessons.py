"""What executions teach: profiled now and then, kept between processes, asked from the next decision on."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from godb_fast import Session, connect
from godb_fast.core import Observation
from godb_fast.errors import StoreError
from godb_fast.experience import Experience
from godb_fast.feedback import TemplateFeedback
from godb_fast.lessons import EVERY, FIRST
from godb_fast.planning.draft import CORRECTED
from godb_fast.policy import Policy
from godb_fast.sql import fingerprint
from godb_fast.store import SqliteStore

#: The three conditions on a hold for the same third of its rows: each alone says one in fifty.
SQL = "SELECT count(*) FROM a, b, d WHERE a.k = b.k AND b.m = d.m AND a.x = 1 AND a.y = 1 AND a.z = 1 AND d.t < {}"


@pytest.fixture
def path(tmp_path: Path) -> str:
    name = str(tmp_path / "site.duckdb")
    with duckdb.connect(name) as connection:
        connection.execute(
            "CREATE TABLE a AS SELECT i % 50 AS k, CASE WHEN i % 3 = 0 THEN 1 ELSE 2 + i % 50 END AS x, "
            "CASE WHEN i % 3 = 0 THEN 1 ELSE 2 + i % 49 END AS y, CASE WHEN i % 3 = 0 THEN 1 ELSE 2 + i % 51 END "
            "AS z FROM range(6000) r(i)"
        )
        connection.execute("CREATE TABLE b AS SELECT i % 50 AS k, i * 7919 % 500 AS m FROM range(6000) r(i)")
        connection.execute("CREATE TABLE d AS SELECT i AS m, i % 100 AS t FROM range(500) r(i)")
    return name


def opened(path: str, store: Any = None, **policy: Any) -> Session:
    settings = {"learn_from_ms": 1e-3, "learn_share": math.inf, "background": False, **policy}
    return connect(path, mode="advise", policy=Policy(**settings), store=store)


def known_of(session: Session) -> Any:
    scope = session._scope
    assert scope is not None
    (entry,) = scope.templates.values()
    return entry[1]


def error_of(session: Session, sql: str) -> float:
    """How far the best guess of the rows of a is off, as a factor."""
    scope, known = session._scope, known_of(session)
    assert scope is not None
    print_ = fingerprint(sql, "duckdb")
    own = known.own_plans[next(iter(known.own_plans))]
    feedback = TemplateFeedback(known.planner, scope.lessons.corrections)
    corrected = feedback.corrected(print_.literals, None, own)
    rows = known.planner.estimates(print_.literals)[0].log_rows[0, 0]
    if corrected:
        place = known.planner.blocks[0].sets.tolist().index(1)
        rows = np.log(corrected[0][place, 0])
    return float(np.exp(abs(rows - np.log(2000))))


def test_nobody_waits_for_what_a_run_teaches(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()
    learn = Experience.learn

    def slowly(*given: Any) -> None:
        begun.set()
        assert ended.wait(30.0)
        learn(*given)

    monkeypatch.setattr(Experience, "learn", slowly)
    store = SqliteStore(tmp_path / "store.sqlite")
    with opened(path, store, background=True) as session:
        session.optimize(SQL.format(20))
        session.execute(SQL.format(20))
        assert session.execute(SQL.format(20)).observation.plan_source == "profile"
        assert begun.wait(30.0)
        assert "learned" not in session.optimizer.counters
        ended.set()
        assert session.wait_prepared(30.0)
        assert session.optimizer.counters["learned"] == 1
        assert session.optimize(SQL.format(21)).reason.endswith(CORRECTED)
        # What the last run teaches is kept, too.
        session.execute(SQL.format(21))
    with opened(path, store) as session:
        session.execute(SQL.format(20))
        session.execute(SQL.format(20))
        assert session.optimize(SQL.format(22)).reason.endswith(CORRECTED)
    store.close()


def test_what_was_seen_corrects_the_next_decision_also_of_other_literals(path: str) -> None:
    with opened(path) as session:
        first = session.execute(SQL.format(20))
        assert first.observation.plan_source is None
        assert CORRECTED not in session.optimize(SQL.format(20)).reason
        second = session.execute(SQL.format(20))
        assert second.observation.plan_source == "profile"
        assert session.optimizer.counters["learned"] == 1
        for number in (20, 21):
            decision = session.optimize(SQL.format(number))
            assert decision.reason.endswith(CORRECTED)
            assert session.execute(SQL.format(number)).fetchall() == list(
                session.run_default(SQL.format(number)).rows
            )
        assert decision.timings_us["corrections"] > 0
        assert [entry.costs for entry in decision.candidates]
        assert error_of(session, SQL.format(21)) < 1.1


def test_it_is_kept_for_other_processes_until_the_schema_changes(path: str, tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with opened(path, store) as session:
        for _ in range(3):
            session.execute(SQL.format(20))
    with opened(path, store) as session:
        session.execute(SQL.format(20))
        # Nothing was profiled here yet.
        assert "learned" not in session.optimizer.counters
        assert session.optimize(SQL.format(20)).reason.endswith(CORRECTED)
    with duckdb.connect(path) as connection:
        connection.execute("ALTER TABLE a ADD COLUMN more INTEGER")
    with opened(path, store) as session:
        session.execute(SQL.format(20))
        assert CORRECTED not in session.optimize(SQL.format(20)).reason


#: Another shape: a alone beside d.
OTHER = "SELECT count(*) FROM a, d WHERE a.k = d.m AND a.x = 1 AND a.y = 1 AND a.z = 1 AND d.t < {}"


def test_what_processes_beside_each_other_learn_is_all_kept(path: str, tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with opened(path, store) as service:
        # Reads the store before the other one writes to it, and writes after it.
        service.execute(SQL.format(20))
        with opened(path, store) as batch:
            for _ in range(3):
                batch.execute(OTHER.format(20))
            assert batch.optimizer.counters["learned"] == 1
        for _ in range(2):
            service.execute(SQL.format(20))
        assert service.optimizer.counters["learned"] == 1
    with opened(path, store) as session:
        for sql in (SQL, OTHER):
            session.execute(sql.format(20))
            assert session.optimize(sql.format(20)).reason.endswith(CORRECTED)
        assert "learned" not in session.optimizer.counters


def test_a_change_of_something_else_leaves_what_was_learned(path: str, tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with opened(path, store) as session:
        for _ in range(3):
            session.execute(SQL.format(20))
        session.execute("CREATE TABLE something_else (id INTEGER)")
        # In the same process at once: the template is carried over with what its executions taught.
        session.execute(SQL.format(20))
        assert session.optimizer.counters["carried"] == 1
        assert session.optimize(SQL.format(20)).reason.endswith(CORRECTED)
        assert session.optimizer.counters["learned"] == 1
    with opened(path, store) as session:
        session.execute(SQL.format(20))
        assert "learned" not in session.optimizer.counters
        assert session.optimize(SQL.format(20)).reason.endswith(CORRECTED)


@pytest.mark.parametrize(
    "change", [{"evidence": {}}, {"surprise": [[-5.0, 1e300, 1e300]] * 64}], ids=["evidence", "surprise"]
)
def test_a_damaged_state_is_left_aside_and_said(path: str, tmp_path: Path, change: dict[str, Any]) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    with opened(path, store) as session:
        for _ in range(3):
            session.execute(SQL.format(20))
        where = session.engine.name, session.engine.environment()
    state = store.corrections.saved(*where)
    assert state is not None
    store.corrections.save(*where, {**state, **change})
    with opened(path, store) as session:
        for _ in range(2):
            assert session.execute(SQL.format(20)).fetchall()
        assert session.optimize(SQL.format(30)).action
        assert session.optimizer.counters["not_recalled"] == 1
        assert session.optimizer.counters["learned"] == 1


def test_a_store_that_fails_loses_no_rows(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")

    def fails(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(type(store.corrections), "_replace", fails)
    with opened(path, store) as session:
        for _ in range(3):
            assert session.execute(SQL.format(20)).fetchall()
    assert session.optimizer.counters["not_recorded"] == 1


def test_whatever_goes_wrong_in_learning_the_rows_are_given(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> int:
        raise ZeroDivisionError("in learning")

    monkeypatch.setattr(TemplateFeedback, "learn", fails)
    with opened(path) as session:
        for _ in range(2):
            assert session.execute(SQL.format(20)).fetchall()
        assert session.optimizer.counters["not_learned"] == 2


def test_runs_are_profiled_at_first_and_now_and_then(path: str) -> None:
    with opened(path) as session:
        seen = [
            session.execute(SQL.format(20)).observation.plan_source is not None for _ in range(EVERY + 10)
        ]
    # The first run tells that it takes long enough.
    assert [number for number, profiled in enumerate(seen) if profiled] == [*range(1, FIRST + 1), EVERY + 1]


def test_learning_takes_no_more_than_its_share(path: str) -> None:
    with opened(path, learn_share=0.05) as session:
        # As if learning from a run took ten times as long as one.
        took_ms = max(session.execute(SQL.format(20)).observation.latency_ms, 1.0)
        session.optimizer.spending._learning_ms = 10.0 * took_ms
        total_ms, profiled = took_ms, False
        while not profiled:
            assert 0.05 * total_ms < 30.0 * took_ms
            observation = session.execute(SQL.format(20)).observation
            profiled = observation.plan_source is not None
            if profiled:
                assert 0.05 * total_ms >= 9.0 * took_ms
            total_ms += observation.latency_ms
    with opened(path, learn_share=0.0) as session:
        for _ in range(5):
            assert session.execute(SQL.format(20)).observation.plan_source is None
        # The first run only told that it takes long enough.
        assert session.optimizer.counters["profiles_put_off"] == 4


def test_what_was_learned_is_not_asked_where_that_takes_too_long(path: str) -> None:
    with opened(path) as session:
        for number in range(20, 24):
            session.execute(SQL.format(number))
        known = known_of(session)
        asked, best_ms = known.corrections_ms
        assert asked >= 2
        assert 0.0 < best_ms < 1e3
        assert session.optimize(SQL.format(24)).reason.endswith(CORRECTED)
        assert known.corrections_ms[0] == asked + 1
        session._scope.lessons._share = 0.0
        assert "corrections_spared" not in session.optimizer.counters
        assert CORRECTED not in session.optimize(SQL.format(25)).reason
        assert known.corrections_ms[0] == asked + 1
        assert session.optimizer.counters["corrections_spared"] == 1


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_who_only_observes_profiles_nothing(path: str, mode: str) -> None:
    with opened(path) as session:
        for _ in range(4):
            assert session.execute(SQL.format(20), mode=mode).observation.plan_source is None


def test_short_queries_teach_nothing(path: str) -> None:
    with opened(path, learn_from_ms=1e6) as session:
        for _ in range(4):
            assert session.execute(SQL.format(20)).observation.plan_source is None
        assert session._scope is not None
        assert session._scope.lessons is None


def test_a_borrowed_connection_is_not_profiled(path: str) -> None:
    with duckdb.connect(path) as connection, opened(connection) as session:
        for _ in range(4):
            assert session.execute(SQL.format(20)).observation.plan_source is None


def test_what_cannot_have_been_teaches_nothing(path: str) -> None:
    """Of an execution that failed, and of one without measured rows."""
    with opened(path) as session:
        session.execute(SQL.format(20))
        session.execute(SQL.format(20))
        known, scope = known_of(session), session._scope
        assert scope is not None
        plan = session.run_default(SQL.format(20), profile=True).plan
        literals = fingerprint(SQL.format(20), "duckdb").literals
        for outcome, source, learned in (
            ("timeout", "profile", 0),
            ("ok", "explain", 0),
            ("ok", "profile", 1),
        ):
            observation = Observation("d", 1, outcome, 1.0, plan=plan, plan_source=source)
            assert bool(scope.lessons.learn(known, observation, literals, None)) is bool(learned)


def test_profiled_runs_teach_costs_and_sessions_remember(path: str, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    with opened(path, store) as session:
        for number in range(1, FIRST + 3):
            session.execute(SQL.format(number)).fetchall()
        assert session._scope is not None
        learned = session._scope.costs
        assert learned.model.seen >= 1
        assert not learned.model.refused
        seen = learned.model.seen
        plan = session.engine.explain(SQL.format(1))
        time = learned.model.predict(plan)
        assert time.low_ms < time.ms < time.high_ms
        scope = learned.model.scope
    kept = store.costs.saved(scope.engine, scope.database, scope.machine)
    assert kept is not None
    with opened(path, store) as session:
        for number in range(1, FIRST + 3):
            session.execute(SQL.format(number)).fetchall()
        assert session._scope is not None
        assert session._scope.costs.model.seen > seen
    # What cannot be read is said once, and learned anew.
    store.costs.save(scope.engine, scope.database, scope.machine, {"format": 99})
    with opened(path, store) as session:
        for number in range(1, FIRST + 3):
            session.execute(SQL.format(number)).fetchall()
        assert session._scope is not None
        assert 1 <= session._scope.costs.model.seen <= seen
        assert session.optimizer.counters["not_recalled"] == 1


def test_what_could_not_be_written_is_written_the_next_time(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    kept, replace = type(store.corrections), type(store.corrections)._replace

    def fails(*_: Any) -> None:
        raise StoreError("the disk is full")

    with opened(path, store) as session:
        monkeypatch.setattr(kept, "_replace", fails)
        for _ in range(3):
            session.execute(SQL.format(20))
        scope = session._scope
        assert scope is not None
        with pytest.raises(StoreError):
            scope.lessons.save(now=True)
        monkeypatch.setattr(kept, "_replace", replace)
        where = session.engine.name, session.engine.environment()
    assert store.corrections.saved(*where) is not None
