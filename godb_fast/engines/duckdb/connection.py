"""One DuckDB connection: statements with time limits and cancelling, errors in our terms, transactions."""

from __future__ import annotations

import builtins
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from types import FunctionType
from typing import Any, TypeVar

from godb_fast.core.forking import breaks_lock
from godb_fast.engines.base import CancelToken, Parameters
from godb_fast.engines.duckdb import quirks
from godb_fast.engines.duckdb.instance import Instance, Settings, import_duckdb
from godb_fast.engines.watchdog import REPEAT_S, WATCHDOG, Alarm
from godb_fast.errors import EngineBusy, EngineError, QueryCancelled, QueryTimeout, ResultTooLarge

Answer = TypeVar("Answer")

#: Types of statements that change rows at most: no names, no settings.
ROWS_ONLY = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE_INTO", "COPY", "PREPARE"})

#: Types of statements that change no setting; of all others it is not known.
_NO_SETTING = ROWS_ONLY | {
    "CREATE",
    "CREATE_FUNC",
    "ALTER",
    "DROP",
    "TRANSACTION",
    "ANALYZE",
    "ATTACH",
    "DETACH",
}
#: In place of the type of a text that DuckDB cannot parse: of a single statement, and of what may be several,
#: of which DuckDB 2.0 runs those before the one that it cannot parse.
INVALID = "INVALID"
UNKNOWN = "UNKNOWN"
#: Rows fetched at a time while a result is bounded.
FETCH_ROWS = 65_536


def _call(_godb_fast_raw: Any, _godb_fast_arguments: Any) -> Any:
    return _godb_fast_raw.execute(*_godb_fast_arguments)


def kind_of_statement(statement: Any) -> str:
    """``SELECT``, ``INSERT`` … of one of :meth:`Connection.statements`."""
    return str(statement.type).rpartition(".")[2]


class _Stopper:
    """Stops one statement, also one that is just about to start; without effect once closed."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        self._lock = threading.Lock()
        self._alarm: Alarm | None = None
        self._open = True

    def stop(self) -> None:
        with self._lock:
            if self._open and self._alarm is None:
                self._alarm = WATCHDOG.arm(0.0, self._interrupt)

    def close(self) -> None:
        with self._lock:
            self._open = False
            if self._alarm is not None:
                self._alarm.disarm()


class Connection:
    """A cursor of our own instance, or a borrowed connection (``instance`` is None).

    Parameters
    ----------
    raw : duckdb.DuckDBPyConnection
        The driver's connection.
    instance : Instance or None
        The instance that we opened.
    interruptible : bool
        Statements run in a worker thread while the main thread waits, so that Ctrl-C stops them at once:
        DuckDB 2.0 itself waits until the statement ends. Costs a thread switch a statement.
    """

    def __init__(self, raw: Any, instance: Instance | None, *, interruptible: bool = False) -> None:
        self.raw = raw
        self.instance = instance
        self.interruptible = interruptible
        self.closed = False
        #: Nothing but SELECT ran here: it is in the state in which connections begin.
        self.only_read = True
        #: The caller's variables that a statement may name as tables; on a borrowed connection only.
        self.variables: dict[str, Any] = {}
        #: Of the statement that runs; one that a Ctrl-C let nobody end is ended before the next.
        self.profiler: quirks.Profiler | None = None
        self._duckdb = import_duckdb()
        self._transaction: bool | None = False if instance is not None else None
        self._worker: ThreadPoolExecutor | None = None
        self._worker_of = 0
        # Statistics of one connection may be asked for by sessions in other threads.
        self._lock: Any = threading.RLock()
        breaks_lock(self)

    # -- statements ---------------------------------------------------------------------------------

    def query(self, sql: str, params: Parameters = None) -> list[tuple[Any, ...]]:
        """Rows of a short SELECT of ours on the catalogue.

        It takes no turn: the caller sees to it that there is no join in it that could be planned badly, or
        that it runs within a turn.
        """
        with self._lock:
            try:
                return self.rows(sql, params)
            except Exception as error:
                raise self.translated(error) from error

    def rows(self, sql: str, params: Parameters = None) -> list[tuple[Any, ...]]:
        """Rows of a statement, for use within :meth:`guarded`; errors are the driver's."""
        result = self.execute(sql, params)
        rows: list[tuple[Any, ...]] = result.fetchall()
        return rows

    def execute(self, statement: Any, params: Parameters = None) -> Any:
        """Start a text or one of :meth:`statements`, for use within :meth:`guarded`.

        DuckDB looks for a table that it does not know among the variables of the Python function that called
        it: that must not find ours, but the caller's.
        """
        arguments = (statement,) if params is None else (statement, params)
        if self.instance is not None:
            return self.raw.execute(*arguments)
        # The driver itself imports what it needs from there.
        namespace = {"__builtins__": builtins, **self.variables}
        return FunctionType(_call.__code__, namespace)(self.raw, arguments)

    def kinds(self, sql: str) -> tuple[str, ...]:
        """Statement types of a text (``SELECT``, ``INSERT`` …) as DuckDB's parser sees them."""
        return tuple(kind_of_statement(entry) for entry in self.statements(sql))

    def statements(self, sql: str) -> list[Any]:
        """The parsed statements of a text; executing one of them parses nothing again."""
        try:
            # 2.0 refuses a connection that another thread is using.
            with self._lock:
                parsed: list[Any] = self.raw.extract_statements(sql)
            return parsed
        except (TypeError, UnicodeError) as error:
            raise EngineError("the statement's text cannot be written as UTF-8") from error
        except Exception as error:
            raise self.translated(error) from error

    def parsed(self, sql: str) -> tuple[Any, tuple[str, ...]]:
        """What to execute for a text, and the types of its statements, none if it holds none.

        A single statement comes parsed, so that a long one is not parsed twice. Of several, which one's
        result is the text's depends on DuckDB's version (2.0: the last query's, not the last statement's),
        and so does what an error leaves done: the driver gets the whole text.
        """
        try:
            entries = self.statements(sql)
        except EngineError as error:
            if not isinstance(error.__cause__, self._duckdb.ParserException):
                raise
            # The driver says so itself: it may have to run something first, or abort a transaction.
            return sql, (UNKNOWN if ";" in sql.rstrip("; \t\r\n") else INVALID,)
        kinds = tuple(kind_of_statement(entry) for entry in entries)
        return (entries[0] if len(entries) == 1 else sql), kinds

    def guarded(
        self,
        work: Callable[[], Answer],
        *,
        settings: Settings = (),
        timeout_s: float | None = None,
        busy_after_s: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Answer:
        """Run ``work`` (driver calls of one statement) in a turn under ``settings``, within its time limit.

        Waiting for the turn counts into the time limit: a statement that cannot start in time is not run.

        Raises
        ------
        QueryTimeout, QueryCancelled, ResultTooLarge, EngineBusy, EngineError
        """
        begun = time.monotonic()
        if cancel is not None and cancel.cancelled:
            raise QueryCancelled("cancelled before it started")
        with ExitStack() as stack:
            stack.enter_context(self._lock)
            if self.instance is not None:
                self._take_turn(self.instance, settings, timeout_s, busy_after_s)
                stack.callback(self.instance.leave)
            if cancel is not None:
                stopper = _Stopper(self.raw.interrupt)
                stack.callback(stopper.close)
                stack.enter_context(cancel.on_cancel(stopper.stop))
                if cancel.cancelled:
                    raise QueryCancelled("cancelled before it started")
            alarm: Alarm | None = None
            if timeout_s is not None:
                left = max(0.0, timeout_s - (time.monotonic() - begun))
                alarm = WATCHDOG.arm(left, self.raw.interrupt)
                stack.callback(alarm.disarm)
            try:
                if self.profiler is not None:
                    self.end_profile()
                return self._called(work)
            except self._duckdb.InterruptException as error:
                if cancel is not None and cancel.cancelled:
                    raise QueryCancelled("cancelled") from error
                if alarm is not None and alarm.fired:
                    raise QueryTimeout(f"stopped after its time limit of {timeout_s:g} s") from error
                raise QueryCancelled("interrupted from outside") from error
            except (EngineError, KeyboardInterrupt, SystemExit):
                self.abandon()
                raise
            except Exception as error:
                if quirks.was_ctrl_c(error):
                    # The driver gave up waiting, and (1.x) left the statement running.
                    self.abandon()
                raise self.translated(error) from error

    def end_profile(self) -> None:
        """Put the settings of a profiled statement back, if one began; within :meth:`guarded`."""
        if self.profiler is not None:
            self.profiler.stop()
            self.profiler = None

    @staticmethod
    def _take_turn(
        instance: Instance, settings: Settings, timeout_s: float | None, busy_after_s: float | None
    ) -> None:
        limits = [limit for limit in (timeout_s, busy_after_s) if limit is not None]
        try:
            instance.enter(settings, min(limits) if limits else None)
        except EngineBusy as error:
            if settings:
                raise
            raise QueryTimeout(f"did not start within its time limit of {timeout_s:g} s: {error}") from error

    def _called(self, work: Callable[[], Answer]) -> Answer:
        if not (
            self.interruptible
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            return work()
        if self._worker is None or self._worker_of != os.getpid():
            # The child of a fork has not the thread.
            self._worker_of = os.getpid()
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="godb-fast-statement")
        try:
            return self._worker.submit(work).result()
        except KeyboardInterrupt:
            # The statement must have ended before anybody uses the connection again. Ctrl-C may come while it
            # is being handed over: the one worker is free once it does what is handed over after it.
            last = self._worker.submit(lambda: None)
            while not last.done():
                self.raw.interrupt()
                wait((last,), REPEAT_S)
            raise

    def abandon(self) -> None:
        """Stop what is still running on the connection, and drop its result."""
        self.raw.interrupt()
        drop = getattr(self.raw, "abort", None)
        if drop is not None:
            drop()

    def fetch(self, max_rows: int | None) -> list[tuple[Any, ...]]:
        """All rows of the pending result, at most ``max_rows``.

        Raises
        ------
        ResultTooLarge
            Past ``max_rows``; the statement is stopped.
        """
        if max_rows is None:
            everything: list[tuple[Any, ...]] = self.raw.fetchall()
            return everything
        rows: list[tuple[Any, ...]] = []
        while True:
            batch = self.raw.fetchmany(min(FETCH_ROWS, max_rows + 1 - len(rows)))
            rows.extend(batch)
            if len(rows) > max_rows:
                raise ResultTooLarge(f"the result has more than {max_rows} rows, the limit of its buffer")
            if not batch:
                return rows

    # -- transactions -------------------------------------------------------------------------------

    def noted(self, kinds: tuple[str, ...]) -> None:
        """Statements of these types have run (or failed half-way) here."""
        if all(kind in ("SELECT", INVALID) for kind in kinds):
            return
        self._transaction = None
        self.only_read = False
        if self.instance is not None:
            self.instance.changed(
                catalog=not ROWS_ONLY.issuperset(kinds), settings=not _NO_SETTING.issuperset(kinds)
            )

    def in_transaction(self) -> bool:
        """Whether a transaction is open, aborted ones included.

        On our own cursors the answer is kept until a statement other than SELECT ran. Else it is probed:
        outside a transaction each statement has a transaction id of its own, within one they share it.
        """
        with self._lock:
            return self._probed()

    def _probed(self) -> bool:
        if self._transaction is not None and self.instance is not None:
            return self._transaction
        try:
            first = self.raw.execute("SELECT system.main.txid_current()").fetchall()
            second = self.raw.execute("SELECT system.main.txid_current()").fetchall()
        except self._duckdb.TransactionException:
            # "Current transaction is aborted (please ROLLBACK)"
            return True
        except Exception as error:
            raise self.translated(error) from error
        self._transaction = bool(first == second)
        return self._transaction

    # -- errors and the end -------------------------------------------------------------------------

    def translated(self, error: Exception) -> EngineError:
        """An error of the driver in our terms, with the driver's message.

        Raises
        ------
        KeyboardInterrupt
            If that is what it was.
        """
        if quirks.was_ctrl_c(error):
            raise KeyboardInterrupt from error
        if isinstance(error, EngineError):
            return error
        if isinstance(error, self._duckdb.InterruptException):
            return QueryCancelled("interrupted from outside")
        if self.closed:
            return EngineError("this connection is closed")
        return EngineError(str(error).strip() or type(error).__name__)

    def _forsaken(self) -> None:
        """In the child of a fork, of what a thread of the parent was using: it is neither used nor closed."""
        self.closed = True

    def close(self) -> None:
        """Close a cursor of ours; a borrowed connection stays open."""
        if self.closed:
            return
        self.closed = True
        if self._worker is not None:
            self._worker.shutdown()
        if self.instance is not None:
            self.raw.close()
            self.instance.release()
