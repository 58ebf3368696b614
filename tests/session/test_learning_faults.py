"""What learning must never cost the caller: a transaction, a statement's rows, a refusal, the child of a fork."""

from __future__ import annotations

import math
import os
import signal
import threading
import time

import duckdb
import pytest

from godb_fast.engines.duckdb import statistics
from godb_fast.errors import QueryTimeout, SessionClosed, StoreError
from godb_fast.learning.choosing import Choice
from godb_fast.learning.gate import Gate
from godb_fast.optimizer import UNASKED
from godb_fast.policy import Policy
from godb_fast.session import Optimizer
from godb_fast.spending import Spending
from godb_fast.store import SqliteStore
from godb_fast.store.choices import KeptChoices
from godb_fast.store.plans import pack

SQL = "SELECT count(*) FROM a JOIN b ON a.id = b.aid JOIN c ON b.c_id = c.id WHERE a.k < {} AND c.h = 2"


@pytest.fixture
def path(tmp_path):
    name = str(tmp_path / "site.duckdb")
    with duckdb.connect(name) as connection:
        connection.execute("CREATE TABLE a AS SELECT i AS id, i % 100 AS k FROM range(20000) t(i)")
        connection.execute(
            "CREATE TABLE b AS SELECT i * 7 % 20000 AS aid, i % 50 AS c_id FROM range(40000) t(i)"
        )
        connection.execute("CREATE TABLE c AS SELECT i AS id, i % 5 AS h FROM range(50) t(i)")
        connection.execute("CREATE TABLE log (x INTEGER)")
    return name


@pytest.fixture
def store(tmp_path):
    kept = SqliteStore(tmp_path / "store.sqlite")
    yield kept
    kept.close()


def optimizer(store=None, **policy) -> Optimizer:
    values = {"mode": "advise", "learn_from_ms": 0.0, "learn_share": math.inf, "background": False}
    return Optimizer(policy=Policy(**{**values, "untried": "off", **policy}), store=store)


def test_nothing_is_asked_in_a_transaction_that_a_time_limit_would_end(path, store, monkeypatch):
    """Stopping a statement of ours aborts DuckDB's transaction: the caller's writes were lost, with no error."""
    monkeypatch.setattr(statistics, "TABLE_BUDGET_S", 1e-3)
    with optimizer(store).session(path) as session:
        session.execute("BEGIN")
        session.execute("INSERT INTO log VALUES (1)")
        result = session.execute(SQL.format(50))
        assert result.fetchall() == [(4000,)]
        assert result.decision.reason == UNASKED
        session.execute("COMMIT")
        assert session.execute("SELECT count(*) FROM log").fetchall() == [(1,)]
    monkeypatch.undo()
    monkeypatch.setattr("godb_fast.optimizer.EXPLAIN_LIMIT_S", 1e-9)
    with optimizer(store).session(path) as session:
        prepared = session.optimizer.decide
        session.execute("BEGIN")
        session.execute("INSERT INTO log VALUES (2)")
        for literal in (50, 1):
            assert session.execute(SQL.format(literal)).decision.reason == UNASKED
        assert session.optimize(SQL.format(50)).reason == UNASKED
        session.execute("COMMIT")
        assert session.execute("SELECT count(*) FROM log").fetchall() == [(2,)]
        # Afterwards it is asked again: nothing was remembered of what could not be known.
        monkeypatch.undo()
        assert session.execute(SQL.format(50)).decision.reason != UNASKED
        assert prepared == session.optimizer.decide


def test_describing_a_statement_asks_nothing_of_the_connection(path, store, monkeypatch):
    shared = optimizer(store)
    live = shared.live
    assert live is not None
    live._least_ms = math.inf
    with shared.session(path) as planned:
        for _ in range(2):
            planned.execute(SQL.format(50))
        live._least_ms = 0.0
        with shared.session(path) as other:
            other.execute("BEGIN")
            other.execute("INSERT INTO log VALUES (1)")

            def asked(*args, **kwargs):
                raise AssertionError("statistics were asked for")

            monkeypatch.setattr(other.engine.statistics(), "column", asked)
            monkeypatch.setattr(other.engine.statistics(), "rows", asked)
            other.execute(SQL.format(50))
            other.execute("COMMIT")
            assert other.execute("SELECT count(*) FROM log").fetchall() == [(1,)]
        live.save()
    assert "not_described" not in shared.counters


def test_decisions_that_were_handed_out_are_told_after_their_template_was_given_up(path, store):
    with optimizer(store).session(path) as session:
        session.execute(SQL.format(50))
        kept = [session.execute(SQL.format(number)) for number in (51, 52)]

        def slow(*args, **kwargs):
            raise QueryTimeout("it took too long")

        session.engine.explain = slow
        for literal in (1, 99, 2):
            session.execute(SQL.format(literal))
        assert all(result.decision.reason for result in kept)
        assert store.flush()
        assert store.health().reason is None


def test_a_record_that_cannot_be_written_ends_no_thread(path, store, monkeypatch):
    with optimizer(store).session(path) as session:
        session.execute(SQL.format(50))
        assert store.flush()
        with monkeypatch.context() as patched:
            patched.setattr("godb_fast.store.writer.decision_row", lambda *args: 1 / 0)
            session.execute(SQL.format(2))
            assert not store.flush()
        with monkeypatch.context() as patched:
            patched.setattr("godb_fast.store.writer._insert", lambda *args: 1 / 0)
            session.execute(SQL.format(3))
            assert not store.flush()
        session.execute(SQL.format(4))
        assert store.flush()
        assert len(store.observations(10)) == 2


@pytest.mark.parametrize("where", ["Untried.consider", "live_features.vector_of", "Gates.refresh"])
def test_whatever_goes_wrong_in_learning_the_rows_are_given(path, store, monkeypatch, where):
    def broken(*args, **kwargs):
        raise OSError("a disk is gone")

    place = {"Untried.consider": "untried", "Gates.refresh": "learning.gates"}.get(where)
    monkeypatch.setattr(f"godb_fast.{place}.{where}" if place else f"godb_fast.{where}", broken)
    monkeypatch.setattr("godb_fast.untried.REFRESH_S", 0.0)
    with optimizer(store, mode="steer", untried="plans", patience=0.0).session(path) as session:
        for _ in range(3):
            assert session.execute(SQL.format(50)).fetchall() == [(4000,)]
        assert {"not_looked_for", "not_described"} & set(session.optimizer.counters)


def _takes_the_other(self, default, plans, default_ms, **how):
    return Choice(int(bool(plans)), "test says so", None, None, how.get("cluster"), 0.0, 1.0, -0.5)


def test_a_refusal_outlives_a_store_that_failed_for_a_moment(path, store, monkeypatch):
    monkeypatch.setattr(Gate, "choose", _takes_the_other)
    policy = {"mode": "steer", "untried": "plans", "patience": 0.0, "allowance_floor_ms": 1e4}
    with optimizer(store, **policy).session(path) as session:
        for _ in range(2):
            session.execute(SQL.format(50))
        prepared = session.optimizer.decide(session.engine, session._scope, SQL.format(50))
        assert prepared.decision.action == "steer"
        with monkeypatch.context() as patched:

            def full(*args):
                raise StoreError("disk full")

            patched.setattr(KeptChoices, "keep", full)
            session.optimizer.quarantine(session._scope, prepared, "slower than allowed", 0.1, slow=True)
            assert session.optimizer.counters["not_recorded"] == 1
    with optimizer(store, **policy).session(path) as session:
        decision = session.optimize(SQL.format(50))
        assert decision.action == "default"
        # It was asked for here, and what it chose is not chosen again.
        assert "nor to a plan that nobody has run: test says so" in decision.reason
        assert not session.execute(SQL.format(50)).observation.steered


def test_explorations_teach_costs_where_they_ran(path, store):
    with optimizer(store).session(path) as session:
        session.explore([SQL.format(50)], 0.5)
        costs = session._scope.costs.model
        assert costs.scope.machine
        assert costs.seen >= 1
        assert not costs.refused


def test_long_runs_are_profiled_too_and_one_long_lesson_ends_nothing():
    unlimited = Spending(math.inf)
    assert unlimited.affords(1e7)
    spending = Spending(0.01)
    assert not spending.affords(2e5)
    for _ in range(10):
        spending.earn(2e5)
    assert spending.affords(2e5)
    spending.spend(100.0, 4e4)
    for _ in range(200):
        spending.earn(2e5)
    assert spending.affords(100.0)


def is_closed(session) -> bool:
    """Whether the session has left the file."""
    try:
        session.engine._connection.execute("SELECT 1")
    except duckdb.ConnectionException:
        return True
    return False


RUINED = [pack([1]), pack(None), pack("x"), pack(5), pack({"format": []}), pack({}), 7]


@pytest.mark.parametrize("table", ["corrections", "cost_models"])
@pytest.mark.parametrize("stored", RUINED, ids=["list", "null", "string", "number", "format", "empty", "int"])
def test_a_state_that_others_damage_meanwhile_stays_and_the_session_closes(
    path, store, monkeypatch, caplog, table, stored
):
    with optimizer(store).session(path) as session:
        for _ in range(2):
            session.execute(SQL.format(50))
    flushed = []
    monkeypatch.setattr(store, "flush", lambda: flushed.append(True))
    session = optimizer(store).session(path)
    for literal in (50, 50, 60):
        session.execute(SQL.format(literal))
    with store.corrections._using() as connection:
        assert connection.execute(f"UPDATE {table} SET state = ?", (stored,)).rowcount == 1
    caplog.clear()
    session.close()
    told = [each.getMessage() for each in caplog.records if "not recorded" in each.getMessage()]
    assert len(told) == 1, told
    assert flushed
    with pytest.raises(SessionClosed):
        session.execute("SELECT 1")
    assert is_closed(session)
    with store.corrections._using() as connection:
        assert connection.execute(f"SELECT state FROM {table}").fetchall() == [(stored,)]
    with optimizer(store).session(path) as session:
        assert session.execute(SQL.format(50)).fetchall() == [(4000,)]


@pytest.mark.parametrize("fault", [OSError("a disk is gone"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_whatever_becomes_of_lessons_the_connection_is_given_back(path, store, monkeypatch, fault):
    session = optimizer(store).session(path)
    for _ in range(2):
        session.execute(SQL.format(50))

    def broken(*args, **kwargs):
        raise fault

    monkeypatch.setattr(session._scope.lessons, "save", broken)
    if isinstance(fault, Exception):
        session.close()
        assert session.optimizer.counters["not_recorded"] == 1
    else:
        with pytest.raises(KeyboardInterrupt):
            session.close()
    with pytest.raises(SessionClosed):
        session.execute("SELECT 1")
    assert is_closed(session)
    assert len(store.observations()) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("which", ["corrections", "spending", "optimizer", "scope", "costs", "untried"])
def test_the_child_of_a_fork_waits_for_no_lesson(path, store, which):
    shared = optimizer(store)
    with shared.session(path) as session:
        for _ in range(3):
            session.execute(SQL.format(50))
        scope = session._scope
        lock = {
            "corrections": scope.lessons.corrections._lock,
            "spending": shared.spending._lock,
            "optimizer": shared._lock,
            "scope": scope.lock,
            "costs": scope.costs.model._lock,
            "untried": shared.untried._lock,
        }[which]
        held, done = threading.Event(), threading.Event()

        def learning():
            with lock:
                held.set()
                done.wait(30.0)

        thread = threading.Thread(target=learning, daemon=True)
        thread.start()
        held.wait()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)
            shared.count("child")
            shared.spending.earn(1.0)
            scope.forget_exact(1)
            shared.untried.save()
            shared.keep_lessons(scope)
            os._exit(0)
        begun = time.monotonic()
        _, status = os.waitpid(child, 0)
        done.set()
        thread.join()
        assert os.waitstatus_to_exitcode(status) == 0, f"after {time.monotonic() - begun:.1f} s"
