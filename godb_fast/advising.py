"""Planning in the background for an application's statements, on a connection of our own."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from godb_fast.adoption import MAX_TEMPLATES, CursorSession, Observer
from godb_fast.background import Task
from godb_fast.engines.base import Parameters
from godb_fast.engines.registry import open_engine
from godb_fast.errors import GodbError
from godb_fast.given import held
from godb_fast.optimizer import Optimizer, Scope
from godb_fast.session import Session
from godb_fast.sql import Fingerprint

log = logging.getLogger("godb_fast")

#: Templates that may wait to be planned for in the background; beyond it they come up again later.
MAX_WAITING: Final = 256
#: Seconds between two looks for a better plan of one template: each may ask for another region.
LOOK_APART_S: Final = 10.0


@dataclass(frozen=True)
class Waiting:
    """A statement that is to be planned for; ``took_ms`` if its own plan was slow and a better one is sought.

    ``scope`` is what the application's connection sees, where that is known; ``task`` is waited for.
    """

    print: Fingerprint | None
    sql: str = ""
    params: Parameters = None
    took_ms: float | None = None
    scope: Scope | None = None
    task: Task | None = None


_STOP: Final = Waiting(None)


@dataclass(frozen=True, eq=False)
class Beside:
    """A session for planning, how to close its connection, and how to end what runs on it."""

    session: CursorSession
    close: Callable[[], object]
    interrupt: Callable[[], object]


def beside_postgres(raw: Any, optimizer: Optimizer) -> Callable[[], Beside]:
    """How to open a session at a connection like an application's psycopg connection, sync or async."""
    from godb_fast.engines.postgres import open_url

    info = raw.info
    url = "postgresql:///?" + urlencode(info.get_parameters(), quote_via=quote)
    password = info.password

    def connect() -> Beside:
        engine = open_url(url, password=lambda: password)
        return Beside(CursorSession(optimizer, engine, mode="advise"), engine.close, engine.interrupt)

    return connect


def beside_duckdb(raw: Any, optimizer: Optimizer) -> Callable[[], Beside]:
    """As :func:`beside_postgres`, at a cursor of an application's DuckDB connection.

    DuckDB closes a connection's cursors with it, and refuses to while one of them is at work: whoever closes
    the connection halts the Adviser before that.
    """
    cursor = raw.cursor()

    def connect() -> Beside:
        return Beside(
            CursorSession(optimizer, open_engine(cursor), mode="advise"), cursor.close, cursor.interrupt
        )

    return connect


#: Seconds that an adviser has to end when the process does.
EXIT_S: Final = 5.0
_advisers: weakref.WeakSet[Adviser] = weakref.WeakSet()


class Adviser:
    """Plans in the background, on a connection of its own, for templates that an application was seen to use.

    The application waits for nothing and its connection is asked for nothing. The thread ends, and its
    connection is closed, once nothing came for ``idle_s`` seconds.

    Parameters
    ----------
    observer : Observer
        Is told the decisions.
    idle_s : float
        How long to keep the connection.
    """

    def __init__(self, observer: Observer, idle_s: float) -> None:
        self._observer = observer
        self._idle_s = idle_s
        self._seen: dict[tuple[int, int], None] = {}
        self._sought: dict[tuple[int, int], float] = {}
        self._stopped = False
        #: What is waited for.
        self._tasks: list[Task] = []
        self.reset()
        _advisers.add(self)

    def reset(self) -> None:
        """Nothing waits and no thread is there: at first, and in the child of a fork."""
        for waiting in list(getattr(self, "_waiting", queue.Queue[Waiting]()).queue):
            if waiting.print is not None:
                # It is taken up when it is seen again.
                self._seen.pop((waiting.print.hash, waiting.print.casing), None)
        self._end_tasks()
        self._waiting: queue.Queue[Waiting] = queue.Queue(MAX_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._beside: Beside | None = None
        self._halting = False
        self._idle = threading.Event()
        self._idle.set()

    def consider(
        self, print_: Fingerprint, sql: str, params: Parameters, connect: Callable[[], Callable[[], Beside]]
    ) -> None:
        """Plan for this template soon, if it was not done yet.

        Parameters
        ----------
        connect : callable
            Called here and now, gives what opens a session in the thread.
        """
        key = print_.hash, print_.casing
        if key in self._seen or self._stopped:
            return
        with self._lock:
            if key in self._seen or self._halting or self._waiting.full():
                return
            if len(self._seen) >= MAX_TEMPLATES:
                self._seen.pop(next(iter(self._seen)), None)
            self._seen[key] = None
            self._put(Waiting(print_, sql, held(params)), connect)

    def meet(
        self,
        print_: Fingerprint,
        sql: str,
        params: Parameters,
        connect: Callable[[], Callable[[], Beside]],
        task: Task,
    ) -> bool:
        """Plan for this template soon, and end a task then; False if that cannot be."""
        with self._lock:
            if self._stopped or self._halting or self._waiting.full():
                return False
            self._tasks = [each for each in self._tasks if not each.ended]
            self._tasks.append(task)
            self._put(Waiting(print_, sql, held(params), task=task), connect)
        return True

    def _end_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.lose()

    def look(
        self,
        print_: Fingerprint,
        sql: str,
        params: Parameters,
        took_ms: float,
        connect: Callable[[], Callable[[], Beside]],
        scope: Scope | None = None,
    ) -> None:
        """Look for a plan that nobody has run, after a run of the engine's own that took long.

        Parameters
        ----------
        scope : Scope, optional
            What the application's connection sees; where that is not what a connection of our own does,
            decisions say so.
        """
        policy = self._observer.optimizer.policy
        if policy.untried == "off" or took_ms < policy.learn_from_ms or self._stopped:
            return
        key, now = (print_.hash, print_.casing), time.monotonic()
        if now - self._sought.get(key, -LOOK_APART_S) < LOOK_APART_S:
            return
        with self._lock:
            if self._halting or self._waiting.full():
                return
            if len(self._sought) >= MAX_TEMPLATES:
                self._sought.pop(next(iter(self._sought)), None)
            self._sought[key] = now
            self._put(Waiting(print_, sql, held(params), took_ms, scope), connect)

    def _put(self, waiting: Waiting, connect: Callable[[], Callable[[], Beside]]) -> None:
        if self._thread is None:
            thread = threading.Thread(
                target=self._work, args=(connect(),), name="godb-fast-adviser", daemon=True
            )
            self._idle.clear()
            self._waiting.put(waiting)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:
                # There can be no further thread: another time.
                self.reset()
                raise
        else:
            self._idle.clear()
            self._waiting.put(waiting)

    def wait(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was considered so far is planned for."""
        return self._idle.wait(timeout_s)

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the thread and close its connection, for good."""
        self._stopped = True
        self.halt(timeout_s)

    def halt(self, timeout_s: float = 10.0) -> None:
        """End the thread and close its connection now; another one is opened when something comes up."""
        with self._lock:
            thread = self._thread
            if thread is None or thread is threading.current_thread():
                return
            self._halting = True
            # A full queue wakes the thread as well.
            with suppress(queue.Full):
                self._waiting.put_nowait(_STOP)
        deadline = time.monotonic() + timeout_s
        try:
            while thread.is_alive() and time.monotonic() < deadline:
                # Under the lock, because it closes its connection under it.
                with self._lock:
                    if self._beside is not None:
                        self._beside.interrupt()
                thread.join(0.01)
        finally:
            self._halting = False

    def _work(self, connect: Callable[[], Beside]) -> None:
        try:
            while self._thread is threading.current_thread():
                self._step(connect)
        except GodbError as error:
            self._not_advised(error)
        except Exception as error:
            if self._halting or type(error).__name__ == "InterruptException":
                # Ended by us, or by DuckDB itself while the interpreter ends.
                log.debug("planning in the background was ended", exc_info=True)
                self._observer.optimizer.count("not_advised")
            else:
                self._observer.failed("planning in the background", error)
        finally:
            with self._lock:
                if self._thread is threading.current_thread():
                    self._leave()

    def _step(self, connect: Callable[[], Beside]) -> None:
        """Plan for the next template, or leave if there is none."""
        try:
            waiting = self._waiting.get(timeout=self._idle_s)
        except queue.Empty:
            waiting = _STOP
        print_ = waiting.print
        if print_ is None:
            with self._lock:
                if self._waiting.empty():
                    self._leave()
        elif self._halting or self._stopped:
            # Not this time: it is taken up when it is seen again.
            (self._seen if waiting.took_ms is None else self._sought).pop((print_.hash, print_.casing), None)
            if waiting.task is not None:
                waiting.task.end()
        else:
            if self._beside is None:
                try:
                    self._beside = connect()
                except GodbError as error:
                    _unsought(waiting, f"no connection of our own: {error}")
                    raise
            if waiting.took_ms is None:
                try:
                    self._plan(self._beside.session, print_, waiting.sql, waiting.params)
                finally:
                    if waiting.task is not None:
                        waiting.task.end()
            else:
                self._seek(self._beside.session, waiting, waiting.took_ms)
            with self._lock:
                if self._waiting.empty():
                    self._idle.set()

    def _leave(self) -> None:
        """Close the connection, under the lock: whoever considers something now starts another thread."""
        try:
            if self._beside is not None:
                self._beside.close()
        finally:
            self._thread = self._beside = None
            # Nobody knows when something comes up, and this goes on.
            self._end_tasks()
            self._idle.set()

    def _plan(self, session: Session, print_: Fingerprint, sql: str, params: Parameters) -> None:
        try:
            self._observer.advised(print_, session.optimize(sql, params))
            self._observer.optimizer.count("advised")
        except GodbError as error:
            if self._halting:
                self._seen.pop((print_.hash, print_.casing), None)
            # A temporary table, or one that the application has not committed yet: no advice for this one.
            self._not_advised(error)

    def _seek(self, session: CursorSession, waiting: Waiting, took_ms: float) -> None:
        try:
            here, there = session.optimizer.scope(session.engine), waiting.scope
            if there is not None and (here.environment, here.epoch) != (there.environment, there.epoch):
                _unsought(waiting, "a connection of our own does not see what this one does")
            else:
                session.seek(waiting.sql, waiting.params, took_ms)
        except GodbError as error:
            _unsought(waiting, str(error))
            self._not_advised(error)

    def _not_advised(self, error: GodbError) -> None:
        self._observer.optimizer.count("not_advised")
        log.debug("not advised: %s", error)


@atexit.register
def _at_exit() -> None:
    """No thread may be inside a driver while the interpreter ends."""
    advisers, deadline = list(_advisers), time.monotonic() + EXIT_S
    for adviser in advisers:
        # All at once: each may wait for a server.
        adviser.stop(0.0)
    for adviser in advisers:
        adviser.stop(max(0.0, deadline - time.monotonic()))


def _after_fork() -> None:
    for adviser in list(_advisers):
        adviser.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _unsought(waiting: Waiting, why: str) -> None:
    """Have the application's decisions say why nothing is looked for."""
    if waiting.print is not None and waiting.scope is not None and waiting.took_ms is not None:
        known = waiting.scope.template(waiting.print)
        if known is not None:
            waiting.scope.unsought(known, why)
