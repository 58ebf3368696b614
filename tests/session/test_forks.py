"""The child of a fork: what another thread was doing at the fork is the parent's, and nothing waits for it."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import godb_fast
from godb_fast import backend
from godb_fast.dbapi import wrap
from godb_fast.engines.base import CancelToken, Rendered
from godb_fast.engines.duckdb import DuckDBEngine, functions, instance
from godb_fast.engines.duckdb.instance import JOIN_TREE_SETTINGS, setting_statement
from godb_fast.errors import QueryCancelled, SessionClosed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

#: A child that hangs, be it inside a driver, is killed after so many seconds.
DEADLINE_S = 30
ENDLESS = "SELECT count(*) FROM range(1000000000) a(i), range(1000000000) b(i) WHERE a.i * 7 + b.i % 5 = -1"
#: It ends, long after the fork.
SLOW = {
    "duckdb": "SELECT count(*) FROM range(40000) a(i), range(40000) b(i) WHERE a.i * 7 + b.i % 5 = -1",
    "postgresql": "SELECT count(*) FROM (SELECT pg_catalog.pg_sleep(2)) s",
}


def in_child(work: Callable[[], None]) -> None:
    """Do it in the child of a fork; what goes wrong there fails the test."""
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(DEADLINE_S)
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - told to the parent, which fails
            os.write(tells, traceback.format_exc().encode())
        finally:
            os._exit(1)
    os.close(tells)
    _, status = os.waitpid(child, 0)
    with os.fdopen(told, encoding="utf-8") as pipe:
        code = os.waitstatus_to_exitcode(status)
        assert code == 0, f"the child hung or failed ({code}): {pipe.read()}"


@contextmanager
def in_thread(work: Callable[[], Any], lock: Callable[[], Any]) -> Iterator[list[Any]]:
    """Within, another thread does it, and holds the lock; what came of it is in the list afterwards."""
    came: list[Any] = []

    def serve() -> None:
        try:
            came.append(work())
        except Exception as error:  # noqa: BLE001 - it is what came of it
            came.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        while lock().acquire(blocking=False):
            lock().release()
            assert not came, came
            time.sleep(0.001)
        yield came
    finally:
        thread.join()


@contextmanager
def held_by_a_thread(lock: Any) -> Iterator[None]:
    """Within, another thread holds a lock."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(DEADLINE_S)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(DEADLINE_S)
        yield
    finally:
        done.set()
        thread.join()


def refused(work: Callable[[], Any]) -> None:
    with pytest.raises(SessionClosed, match="in use by another thread when this process was forked"):
        work()


@pytest.fixture(params=["duckdb", "postgresql"])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[godb_fast.Session]:
    if request.param == "duckdb":
        url = str(tmp_path / "site.duckdb")
    else:
        url = request.getfixturevalue("postgres_url")
    with godb_fast.connect(url, mode="steer", store=str(tmp_path / "store.sqlite")) as opened:
        opened.execute("CREATE TABLE log (m INTEGER)")
        yield opened


def test_a_session_in_the_midst_of_a_statement_is_the_parents(session: godb_fast.Session) -> None:
    slow = SLOW[session.engine.name]

    def child() -> None:
        refused(lambda: session.execute("SELECT 1"))
        refused(lambda: session.execute("SELECT 1", mode="off"))
        refused(lambda: session.optimize("SELECT m FROM log"))
        refused(lambda: session.features("SELECT m FROM log"))
        refused(lambda: session.run_default("SELECT 1"))
        refused(lambda: session.explore(["SELECT 1"]))
        session.close()
        session.close()
        session.engine.close()  # type: ignore[attr-defined]
        refused(lambda: session.execute("SELECT 1"))
        gc.collect()

    session.execute("BEGIN")
    session.execute("INSERT INTO log VALUES (1)")
    with in_thread(
        lambda: session.execute(slow).fetchall(),
        lambda: session.engine._connection._lock,  # type: ignore[attr-defined]
    ) as came:
        in_child(child)
    # Statement, transaction and connection are as if there had been no child.
    assert len(came[0]) == 1
    session.execute("INSERT INTO log VALUES (2)")
    session.execute("COMMIT")
    assert sorted(session.execute("SELECT m FROM log").fetchall()) == [(1,), (2,)]


def test_a_session_that_did_nothing_goes_on(session: godb_fast.Session) -> None:
    session.execute("INSERT INTO log VALUES (1)")

    def child() -> None:
        assert session.execute("SELECT m FROM log").fetchall() == [(1,)]
        assert session.optimize("SELECT m FROM log WHERE m = 1").action

    in_child(child)
    assert session.execute("SELECT m FROM log").fetchall() == [(1,)]


def test_a_connection_that_another_session_was_using(session: godb_fast.Session) -> None:
    # Statistics of one connection may be asked for by sessions of other threads.
    connection = session.engine._connection  # type: ignore[attr-defined]

    def child() -> None:
        refused(lambda: session.execute("SELECT 1"))
        session.close()

    with held_by_a_thread(connection._lock):
        in_child(child)
    assert session.execute("SELECT 1").fetchall() == [(1,)]


def test_a_new_session_in_the_child(session: godb_fast.Session) -> None:
    def child() -> None:
        with session.optimizer.session("duckdb://") as other:
            assert other.execute("SELECT 1").fetchall() == [(1,)]

    with in_thread(
        lambda: session.execute(SLOW[session.engine.name]).fetchall(),
        lambda: session._lock,
    ):
        in_child(child)


def test_settings_of_the_parents_turn_are_put_back(tmp_path: Path) -> None:
    steered = Rendered(ENDLESS, before=tuple(setting_statement(*pair) for pair in JOIN_TREE_SETTINGS))
    ask = Rendered("SELECT current_setting('disabled_optimizers')")
    token = CancelToken()
    engine = DuckDBEngine.open(tmp_path / "site.duckdb")
    other = engine.cursor()
    try:
        before = list(other.run(ask).rows)
        turns = engine._connection.instance.turns  # type: ignore[union-attr]
        with in_thread(lambda: engine.run(steered, cancel=token), lambda: engine._connection._lock) as came:
            while not turns._holders:
                time.sleep(0.001)
            try:
                in_child(lambda: _assert_equal(list(other.run(ask).rows), before))
            finally:
                token.cancel()
        assert isinstance(came[0], QueryCancelled)
        assert list(other.run(ask).rows) == before
    finally:
        other.close()
        engine.close()


def _assert_equal(one: object, two: object) -> None:
    assert one == two


def test_statements_that_ctrl_c_can_stop(tmp_path: Path) -> None:
    with godb_fast.connect(str(tmp_path / "site.duckdb")) as session:
        session.engine.interruptible = True  # type: ignore[attr-defined]
        session.execute("SELECT 1")
        # The thread in which they run is not in the child.
        in_child(lambda: _assert_equal(session.execute("SELECT 2").fetchall(), [(2,)]))


def test_a_wrapped_connection(postgres_url: str) -> None:
    with wrap(psycopg.connect(postgres_url), "steer") as connection:
        connection.execute("CREATE TABLE log (m INTEGER)")

        def child() -> None:
            refused(lambda: connection.execute("SELECT 1"))
            refused(connection.rollback)
            connection.close()
            gc.collect()

        with in_thread(
            lambda: connection.execute(SLOW["postgresql"]).fetchall(), lambda: connection._lock
        ) as came:
            in_child(child)
        assert came == [[(1,)]]
        connection.commit()
        assert connection.execute("SELECT count(*) FROM log").fetchall() == [(0,)]


@pytest.mark.parametrize("which", ["statistics", "functions", "registry", "backend", "instance", "token"])
def test_nobody_holds_what_several_share(tmp_path: Path, which: str) -> None:
    token = CancelToken()
    with godb_fast.connect(str(tmp_path / "site.duckdb")) as session:
        session.execute("CREATE TABLE a AS SELECT 1 AS k")
        engine = session.engine
        lock = {
            "statistics": engine.statistics()._lock,  # type: ignore[attr-defined]
            "functions": functions._LOCK,
            "registry": instance._REGISTRY_LOCK,
            "backend": backend._lock,
            "instance": engine._connection.instance._lock,  # type: ignore[attr-defined]
            "token": token._lock,
        }[which]

        def child() -> None:
            statistics = session.engine.statistics()
            assert statistics.epoch
            functions.built_in_functions()
            backend._loaded.clear()
            backend.kernels("lexer")
            token.cancel()
            with session.optimizer.session(str(tmp_path / "site.duckdb")) as other:
                assert other.execute("SELECT k FROM a").fetchall() == [(1,)]

        with held_by_a_thread(lock):
            in_child(child)
