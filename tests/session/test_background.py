"""Templates are prepared in the background while their first queries run on the engine's own plan."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import godb_fast
from godb_fast.background import Task, Worker
from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb.statistics import DuckDBStatistics
from godb_fast.errors import EngineError, StatisticsNotReady
from godb_fast.optimizer import UNASKED, Policy
from godb_fast.preparation import PREPARATIONS
from godb_fast.session import Session

ROWS = 120_000
SETUP = f"""
CREATE TABLE a AS SELECT i AS id, i % 100 AS k FROM range({ROWS}) r(i);
CREATE TABLE b AS SELECT (i * 7) % {ROWS} AS a_id, 'n' || (i % 50) AS s FROM range({ROWS}) r(i);
"""
QUERY = "SELECT count(*) FROM a JOIN b ON a.id = b.a_id WHERE a.k < 10 AND b.s = 'n3'"


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with godb_fast.connect(tmp_path / "big.duckdb", policy=Policy(margin=1.0)) as opened:
        opened.execute(SETUP)
        yield opened


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads that sampled a table."""
    names: list[str] = []
    sample = DuckDBStatistics._sampled

    def noting(self: DuckDBStatistics, *arguments: Any) -> Any:
        names.append(threading.current_thread().name)
        return sample(self, *arguments)

    monkeypatch.setattr(DuckDBStatistics, "_sampled", noting)
    return names


def reason(session: Session, sql: str = QUERY, **options: Any) -> str:
    decision = session.execute(sql, **options).decision
    assert decision is not None
    return decision.reason


class TestExecute:
    def test_first_the_engines_plan_then_a_planned_one(self, session: Session, sampled: list[str]) -> None:
        expected = session.execute(QUERY, mode="off").fetchall()
        first = session.execute(QUERY)
        assert first.decision is not None
        assert first.decision.reason.startswith("being prepared, the engine's own plan runs: sampling takes")
        assert not first.decision.steering
        assert first.fetchall() == expected
        assert session.wait_prepared(60)
        # Nothing was sampled by this thread, nor is it now.
        second = session.execute(QUERY)
        assert set(sampled) == {"godb-fast-background"}
        assert len(sampled) == 2
        assert second.decision is not None
        assert second.decision.candidates
        assert second.fetchall() == expected
        assert session.optimizer.counters["prepared_in_background"] == 1
        # Other literals need no connection that is closed by now.
        for k, name in ((1, "n1"), (99, "n49"), (1000, "none")):
            sql = QUERY.replace("10", str(k)).replace("n3", name)
            result = session.execute(sql)
            assert result.decision is not None
            assert result.decision.candidates
            assert result.fetchall() == session.execute(sql, mode="off").fetchall()
        # What was sampled serves other templates.
        assert "being prepared" not in reason(session, QUERY + " AND a.id > 5")
        assert session.optimize(QUERY).candidates

    def test_before_it_is_ready_the_engines_plan_runs_again(
        self, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go = threading.Event()
        sample = DuckDBStatistics._sampled

        def waiting(self: DuckDBStatistics, *arguments: Any) -> Any:
            assert go.wait(60)
            return sample(self, *arguments)

        monkeypatch.setattr(DuckDBStatistics, "_sampled", waiting)
        for _ in range(3):
            assert "being prepared" in reason(session)
        assert session.wait_prepared(0.01) is False
        assert session.optimizer.counters["prepared_in_background"] == 1
        go.set()
        assert session.wait_prepared(60)
        assert "being prepared" not in reason(session)

    def test_views_too(self, session: Session, sampled: list[str]) -> None:
        session.execute("CREATE VIEW v AS SELECT a.id, b.s FROM a JOIN b ON a.id = b.a_id")
        sql = "SELECT count(*) FROM v JOIN a ON v.id = a.id WHERE a.k < 10 AND v.s = 'n3'"
        expected = session.execute(sql, mode="off").fetchall()
        for _ in range(5):
            assert session.execute(sql).fetchall() == expected
        assert session.wait_prepared(60)
        assert session.execute(sql).decision is not None
        assert session.optimizer.counters.get("preparation_failed") is None
        assert set(sampled) == {"godb-fast-background"}

    def test_steering_comes_with_it(self, session: Session) -> None:
        expected = session.execute(QUERY, mode="off").fetchall()
        for _ in range(4):
            assert session.execute(QUERY, mode="steer").fetchall() == expected
            assert session.wait_prepared(60)
        assert session.optimize(QUERY).candidates


class TestForeground:
    def test_optimize_waits_for_its_decision(self, session: Session, sampled: list[str]) -> None:
        assert session.optimize(QUERY).candidates
        assert set(sampled) == {"MainThread"}

    def test_it_can_be_switched_off(self, session: Session, sampled: list[str]) -> None:
        session.optimizer.policy = Policy(background=False)
        assert "being prepared" not in reason(session)
        assert set(sampled) == {"MainThread"}

    def test_small_tables_are_not_worth_it(self, session: Session, sampled: list[str]) -> None:
        session.execute("CREATE TABLE small AS SELECT i AS id FROM range(100) r(i)")
        assert "being prepared" not in reason(
            session, "SELECT count(*) FROM small s, small t WHERE s.id = t.id"
        )
        assert set(sampled) == {"MainThread"}

    def test_a_borrowed_connection_is_left_to_its_caller(self, sampled: list[str]) -> None:
        with duckdb.connect() as connection, godb_fast.connect(connection) as borrowed:
            connection.execute(SETUP)
            assert "being prepared" not in reason(borrowed)
        assert set(sampled) == {"MainThread"}

    def test_what_only_this_connection_sees_it_samples_itself(
        self, session: Session, sampled: list[str]
    ) -> None:
        session.execute(f"CREATE TEMP TABLE b AS SELECT i AS a_id, 'n3' AS s FROM range({ROWS}) r(i)")
        assert "being prepared" in reason(session)
        assert session.wait_prepared(60)
        result = session.execute(QUERY)
        assert result.decision is not None
        assert result.decision.candidates
        assert result.fetchall() == [(ROWS // 10,)]
        assert set(sampled) == {"MainThread"}

    def test_within_a_transaction_nothing_is_sampled(self, session: Session, sampled: list[str]) -> None:
        """Sampling has a time limit, and what is stopped takes DuckDB's transaction with it."""
        session.execute("BEGIN")
        session.execute("CREATE TABLE c AS SELECT * FROM a")
        sql = "SELECT count(*) FROM c x, c y WHERE x.id = y.id"
        for _ in range(3):
            assert session.execute(sql).fetchall() == [(ROWS,)]
            session.wait_prepared(60)
            assert reason(session, sql) == UNASKED
        assert not sampled
        session.execute("COMMIT")
        assert "being prepared" in reason(session, sql)
        assert session.wait_prepared(60)
        assert sampled


class TestFaults:
    def test_a_failure_is_logged_once_and_costs_no_query(
        self, session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        sample = DuckDBStatistics._sampled

        def failing(self: DuckDBStatistics, *arguments: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                raise EngineError("no such luck")
            return sample(self, *arguments)

        monkeypatch.setattr(DuckDBStatistics, "_sampled", failing)
        for attempt in range(PREPARATIONS):
            assert "being prepared" in reason(session)
            assert session.wait_prepared(60)
            assert session.optimizer.counters["preparation_failed"] == attempt + 1
        assert caplog.text.count("no such luck") == 1
        # Then it is done where it is seen.
        result = session.execute(QUERY)
        assert result.decision is not None
        assert result.decision.candidates

    def test_close_ends_it_and_releases_the_file(
        self, session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        begun = threading.Event()

        def endless(self: DuckDBStatistics, *arguments: Any) -> Any:
            slow = "SELECT count(*) FROM a x, a y, a z WHERE (x.id * y.id + z.id) % 1009 = 3"
            begun.set()
            return self._connection.guarded(lambda: self._connection.rows(slow))

        monkeypatch.setattr(DuckDBStatistics, "_sampled", endless)
        assert "being prepared" in reason(session)
        assert begun.wait(60)
        path = session.engine._path  # type: ignore[attr-defined]
        session.close()
        for thread in threading.enumerate():
            if thread.name == "godb-fast-background":
                thread.join(60)
        with duckdb.connect(path) as connection:
            assert connection.execute("SELECT count(*) FROM a").fetchall() == [(ROWS,)]
        # Being stopped is no failure.
        assert not caplog.records

    def test_other_sessions_go_on(self, session: Session) -> None:
        with session.optimizer.session(session.engine._path):  # type: ignore[attr-defined]
            assert "being prepared" in reason(session)
        assert session.wait_prepared(60)
        assert "being prepared" not in reason(session)

    @pytest.mark.parametrize("how", ["exit", "interrupt", "fork"])
    @pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and forks")
    def test_the_end_of_the_process(self, how: str) -> None:
        body = f"""
            import os, signal, time, godb_fast
            how = {how!r}
            session = godb_fast.connect("duckdb://")
            session.execute({SETUP!r})
            decision = session.execute({QUERY!r}).decision
            assert "the engine's own plan runs" in decision.reason, decision.reason
            if how == "interrupt":
                try:
                    signal.raise_signal(signal.SIGINT)
                    raise AssertionError("not interrupted")
                except KeyboardInterrupt:
                    assert session.wait_prepared(60)
                    assert session.execute({QUERY!r}).decision.candidates
            if how == "fork":
                child = os.fork()
                if child == 0:
                    # The thread is gone, and what it had to do is not waited for.
                    os._exit(0 if session.wait_prepared(10) else 1)
                assert os.waitpid(child, 0)[1] == 0
                assert session.wait_prepared(60)
                assert session.execute({QUERY!r}).decision.candidates
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(body)],
            capture_output=True, text=True, timeout=120, check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


class TestStatistics:
    def test_what_loading_would_cost_is_foreseen(self, session: Session) -> None:
        statistics = session.engine.statistics()
        assert isinstance(statistics, DuckDBStatistics)
        wanted = {"big.main.a": ("id", "k"), "big.main.b": ("s",)}
        with (
            pytest.raises(StatisticsNotReady, match="sampling takes about") as caught,
            statistics.within(9, 0.01),
        ):
            statistics.load(wanted)
        assert caught.value.wanted == wanted
        with statistics.within(60, 60.0):
            statistics.load(wanted)
        with statistics.within(60, 0.0):
            statistics.load(wanted)
            assert statistics.column("big.main.a", "k") is not None

    def test_another_connections_statistics_are_taken_over(self, session: Session) -> None:
        statistics = session.engine.statistics()
        other = session.engine.twin()  # type: ignore[attr-defined]
        try:
            other.statistics().load({"big.main.a": ("id", "k")})
            statistics.adopt(other.statistics())  # type: ignore[attr-defined]
        finally:
            other.close()
        with statistics.within(60, 0.0):  # type: ignore[attr-defined]
            found = statistics.column("big.main.a", "k")
            assert found is not None
            assert found.distinct == 100
            assert statistics.rows("big.main.a") == ROWS
        # They go stale like any others.
        epoch = statistics.epoch
        session.engine.run(Rendered(f"INSERT INTO a SELECT i, i FROM range({ROWS}) r(i)"))
        assert session.engine.statistics().epoch != epoch


class TestWorker:
    def test_tasks_run_in_order_in_one_thread_that_ends(self) -> None:
        seen: list[tuple[int, int]] = []
        worker = Worker(lambda task: None)
        tasks = [
            Task(self, lambda task, number=number: seen.append((number, threading.get_ident())))  # type: ignore[misc]
            for number in range(20)
        ]
        for task in tasks:
            worker.submit(task)
        assert worker.wait(timeout_s=60)
        assert [number for number, _ in seen] == list(range(20))
        assert all(task.ended for task in tasks)

    def test_stopping_one_owner_leaves_the_others(self) -> None:
        begun, done = threading.Event(), threading.Event()
        worker = Worker(lambda task: None)
        mine, others = object(), object()

        def until_stopped(task: Task) -> None:
            interrupted = threading.Event()
            task.interrupt = interrupted.set
            begun.set()
            assert interrupted.wait(60)
            assert task.stopped

        running = Task(mine, until_stopped)
        queued = Task(mine, lambda task: done.clear())
        kept = Task(others, lambda task: done.set())
        for task in (running, queued, kept):
            worker.submit(task)
        assert begun.wait(60)
        assert worker.stop(mine)
        assert running.ended
        assert queued.ended
        assert kept.wait(60)
        assert done.is_set()

    def test_failures_are_told(self) -> None:
        told: list[Task] = []
        worker = Worker(told.append)

        def failing(task: Task) -> None:
            raise ValueError("x")

        task = Task(self, failing)
        worker.submit(task)
        assert task.wait(60)
        assert told == [task]
        assert isinstance(task.failure, ValueError)
