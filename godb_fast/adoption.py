"""What all ways into an existing application share: modes, observing without touching, and what is verified.

Nothing here sends anything to a database on the application's connection, and nothing here raises into the
application: an error of ours is logged once, counted, and the statement goes on unchanged.
"""

from __future__ import annotations

import atexit
import logging
import os
import platform
import queue
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from godb_fast.core import Decision, Observation
from godb_fast.engines.base import EngineResult, Parameters
from godb_fast.engines.registry import open_engine
from godb_fast.errors import GodbError
from godb_fast.knowledge import MAX_EXACT_LENGTH, exact_key
from godb_fast.optimizer import Optimizer, Prepared, Scope
from godb_fast.policy import check_mode
from godb_fast.session import Session
from godb_fast.sql import Fingerprint, fingerprint
from godb_fast.steered import Outlook

log = logging.getLogger("godb_fast")

#: Where nobody says otherwise. A server is shared and every question costs a round trip: there we only look.
DEFAULT_MODES: Final = {"postgresql": "observe", "duckdb": "advise"}
#: Engine → dialect of its texts.
DIALECTS: Final = {"postgresql": "postgres", "duckdb": "duckdb"}
#: Templates of which an Observer keeps the decision; the oldest are forgotten first.
MAX_TEMPLATES: Final = 5_000
#: Texts of which an Observer keeps the fingerprint: an application sends the same ones, with parameters.
MAX_TEXTS: Final = 1_000
#: Templates that may wait to be planned for in the background; beyond it they come up again later.
MAX_WAITING: Final = 256
#: Seconds between two looks for a better plan of one template: each may ask for another region.
LOOK_APART_S: Final = 10.0


@dataclass(frozen=True)
class Waiting:
    """A statement that is to be planned for; ``took_ms`` if its own plan was slow and a better one is sought.

    ``scope`` is what the application's connection sees, where that is known.
    """

    print: Fingerprint | None
    sql: str = ""
    params: Parameters = None
    took_ms: float | None = None
    scope: Scope | None = None


_STOP: Final = Waiting(None)


def chosen_mode(mode: str | None, engine: str) -> str:
    """The mode that is given, else that of ``GODB_FAST_MODE``, else the engine's first one.

    Raises
    ------
    InvalidInput
        If it is none of the four.
    """
    return check_mode(mode or os.environ.get("GODB_FAST_MODE") or DEFAULT_MODES.get(engine, "observe"))


def only_reads(print_: Fingerprint) -> bool:
    """Whether a statement begins as a query does; that it really only reads is judged later."""
    return print_.text.lstrip("( ").startswith(("select ", "with ", "values ", "from "))


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
        return Beside(CursorSession(optimizer, engine, mode="advise"), engine.close, lambda: None)

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


class CursorSession(Session):
    """A Session at a connection whose statements somebody else executes, on a cursor of the driver's."""

    def scope(self) -> Scope:
        """The knowledge for what the engine holds now; asks the engine for its epoch."""
        return self._valid_scope()

    @property
    def scope_seen(self) -> Scope | None:
        """The scope of the last decision, if there was one."""
        return self._scope

    @property
    def scope_now(self) -> Scope:
        """The scope of the last decision; asks nothing."""
        return self._scope or self._valid_scope()

    def prepare(self, sql: str, params: Parameters = None) -> Outlook:
        """What to do with a statement; whatever goes wrong in planning, it is to go through as it is."""
        return self._outlook(sql, params, self.timeout_s, True)

    def at_once(self, sql: str, params: Parameters = None) -> Outlook | None:
        """As :meth:`prepare`, without asking anything; None if that cannot be told."""
        scope, key = self._scope, exact_key(sql, params)
        if scope is None or key is None or (known := scope.decided(key)) is None:
            return None
        if self.optimizer.looks(known):
            # That asks the server.
            return None
        return self._foreseen(sql, params, self.timeout_s, True)

    def steered(self, outlook: Outlook) -> tuple[EngineResult | None, str | None]:
        """A steered run under the watchdog: its complete result, or why it was discarded."""
        return self._try_steered(outlook, self.timeout_s, None, {})

    def validated(self, outlook: Outlook) -> None:
        """A steered run was complete, and what it was to validate is as expected."""
        self._validated(outlook)

    def seek(self, sql: str, params: Parameters, default_ms: float) -> None:
        """Look for a plan that nobody has run, here and now, for a statement that somebody else runs.

        Parameters
        ----------
        default_ms : float
            How long it took there under the engine's own plan.

        Raises
        ------
        GodbError
            If the statement cannot be planned here.
        """
        with self._lock:
            self._check_open()
            scope = self._valid_scope()
            prepared = self.optimizer.decide(self.engine, scope, sql, params)
            self.optimizer.consider(self.engine, scope, prepared, sql, default_ms, here=True)

    def changed(self, outlook: Outlook) -> bool:
        """Whether a steered run failed because the schema changed since it was decided on."""
        return self._changed(outlook)

    def _may_steer(self, prepared: Prepared) -> str | None:
        if prepared.rendered.cut is not None:
            return "its LIMIT's rows would have to be looked at before they are handed out"
        return super()._may_steer(prepared)


class Observer:
    """Notes executions of an application's statements: latency, rows where they are known, outcome.

    Parameters
    ----------
    engine : str
        ``postgresql`` or ``duckdb``.
    optimizer : Optimizer
        Its store records what is observed, if it has one; its counters count.
    version, database : str
        Of the server, without credentials.
    """

    def __init__(self, engine: str, optimizer: Optimizer, version: str = "", database: str = "") -> None:
        self.engine = engine
        self.optimizer = optimizer
        self.version = version
        self.database = database
        self._dialect = DIALECTS[engine]
        self._machine = platform.node()
        self._decisions: dict[tuple[int, int], Decision] = {}
        self._prints: dict[str, Fingerprint] = {}

    def read(self, sql: str, mode: str = "") -> Fingerprint | None:
        """The fingerprint of a statement; None where the lexer cannot read it, or nobody wants to know."""
        if mode == "observe" and self.optimizer.store is None:
            return None
        known = self._prints.get(sql)
        if known is not None:
            return known
        try:
            found = fingerprint(sql, self._dialect, backend=self.optimizer.backend)
        except GodbError:
            return None
        if len(sql) <= MAX_EXACT_LENGTH:
            if len(self._prints) >= MAX_TEXTS:
                self._prints.pop(next(iter(self._prints)), None)
            self._prints[sql] = found
        return found

    def advised(self, print_: Fingerprint, decision: Decision) -> None:
        """What was decided for a template: observations belong to that decision from now on."""
        self._keep((print_.hash, print_.casing), decision)

    def decision(self, print_: Fingerprint) -> Decision | None:
        """What was decided for a template, if anything was."""
        return self._decisions.get((print_.hash, print_.casing))

    def _keep(self, key: tuple[int, int], decision: Decision) -> None:
        if len(self._decisions) >= MAX_TEMPLATES:
            self._decisions.pop(next(iter(self._decisions)), None)
        self._decisions[key] = decision

    def saw(
        self, print_: Fingerprint | None, outcome: str, latency_ms: float, rows: int | None, **more: Any
    ) -> None:
        """One execution. Never raises."""
        try:
            self.optimizer.count("observed")
            store = self.optimizer.store
            if store is None or print_ is None:
                return
            key = print_.hash, print_.casing
            decision = self._decisions.get(key)
            if decision is None:
                decision = Decision(print_.hash, print_.text, reason="observed only", engine=self.engine)
                self._keep(key, decision)
            observation = Observation.noted(
                {
                    "decision_id": decision.id,
                    "fingerprint": print_.hash,
                    "outcome": outcome,
                    "latency_ms": latency_ms,
                    "rows": rows,
                    "engine": self.engine,
                    "engine_version": self.version,
                    "database": self.database,
                    "machine": self._machine,
                    **more,
                }
            )
            store.record(decision, observation, print_.text)
            self.optimizer.recorded()
        except Exception as error:  # noqa: BLE001 - logged and counted: nothing of ours stops a statement
            self.failed("observing", error)

    def failed(self, doing: str, error: BaseException) -> None:
        """An error of ours: counted, and logged the first time with its trace."""
        try:
            first = "internal_errors" not in self.optimizer.counters
            self.optimizer.log_once("internal_errors", f"{doing}: {type(error).__name__}: {error}")
            if first:
                log.warning("the statement goes on unchanged", exc_info=error)
        except Exception:
            # The last resort: not even the book-keeping of errors stops a statement.
            log.exception("an internal error could not be counted")


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
        self._waiting: queue.Queue[Waiting] = queue.Queue(MAX_WAITING)
        self._seen: dict[tuple[int, int], None] = {}
        self._sought: dict[tuple[int, int], float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._beside: Beside | None = None
        self._halting = False
        self._idle = threading.Event()
        self._idle.set()
        self._stopped = False
        _advisers.add(self)

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
            self._put(Waiting(print_, sql, params), connect)

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
            self._put(Waiting(print_, sql, params, took_ms, scope), connect)

    def _put(self, waiting: Waiting, connect: Callable[[], Callable[[], Beside]]) -> None:
        self._idle.clear()
        self._waiting.put(waiting)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, args=(connect(),), name="godb-fast-adviser", daemon=True
            )
            self._thread.start()

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
        elif self._halting:
            # Not this time: it is taken up when it is seen again.
            (self._seen if waiting.took_ms is None else self._sought).pop((print_.hash, print_.casing), None)
        else:
            if self._beside is None:
                try:
                    self._beside = connect()
                except GodbError as error:
                    _unsought(waiting, f"no connection of our own: {error}")
                    raise
            if waiting.took_ms is None:
                self._plan(self._beside.session, print_, waiting.sql, waiting.params)
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
    for adviser in list(_advisers):
        adviser.stop(EXIT_S)


def _unsought(waiting: Waiting, why: str) -> None:
    """Have the application's decisions say why nothing is looked for."""
    if waiting.print is not None and waiting.scope is not None and waiting.took_ms is not None:
        known = waiting.scope.template(waiting.print)
        if known is not None:
            waiting.scope.unsought(known, why)
