"""DuckDB connections, which are their own cursors.

DuckDB streams: a statement is complete only when its last row is fetched, so its time is what was spent in
the driver's calls until then. On a connection that is merely wrapped, join orders cannot be imposed (the
switch is instance-wide); a database that :func:`godb_fast.dbapi.connect` opened can be steered.
"""

from __future__ import annotations

import builtins
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, Final

from godb_fast.adoption import CursorSession, Observer
from godb_fast.advising import Adviser, Beside, beside_duckdb
from godb_fast.core import Observation
from godb_fast.dbapi.passing import Passing
from godb_fast.engines.base import EngineResult
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.errors import EngineError, QueryCancelled
from godb_fast.learning.history import database_of
from godb_fast.optimizer import Optimizer, Prepared
from godb_fast.sql import Fingerprint, is_query

if TYPE_CHECKING:
    from godb_fast.live_features import Begun

#: Seconds that the cursor for planning in the background is kept: it keeps the file open.
IDLE_S: Final = 0.1
#: Methods that give the connection itself.
_CHAINED: Final = frozenset(
    {"begin", "commit", "rollback", "checkpoint", "register", "unregister", "append", "create_function",
     "remove_function"}
)  # fmt: skip
#: Methods that take all rows that are left.
_WHOLE: Final = frozenset(
    {"df", "fetchdf", "fetch_df", "fetchnumpy", "pl", "arrow", "fetch_arrow_table", "to_arrow_table", "tf",
     "torch"}
)  # fmt: skip


def _outcome(error: BaseException) -> str:
    return "cancelled" if type(error).__name__ == "InterruptException" else "error"


def _call(_godb_fast_raw: Any, _godb_fast_arguments: Any) -> Any:
    return _godb_fast_raw.execute(*_godb_fast_arguments)


class _Running:
    """A statement whose rows are being fetched."""

    __slots__ = ("about", "begun", "prepared", "print", "rows", "spent_ms")

    def __init__(
        self,
        print_: Fingerprint | None,
        begun: Begun | None,
        spent_ms: float,
        prepared: Prepared | None,
        about: dict[str, Any],
    ) -> None:
        self.print = print_
        self.begun = begun
        self.spent_ms = spent_ms
        self.prepared = prepared
        self.about = about
        self.rows = 0


class _Buffered:
    """A steered result: it was complete before anybody saw a row of it."""

    __slots__ = ("arguments", "next", "result")

    def __init__(self, result: EngineResult, arguments: Any) -> None:
        self.result = result
        self.arguments = arguments
        self.next = 0

    def take(self, size: int | None) -> list[tuple[Any, ...]]:
        """The next rows, or all that are left."""
        end = len(self.result.rows) if size is None else self.next + max(size, 0)
        rows = list(self.result.rows[self.next : end])
        self.next += len(rows)
        return rows


class DuckDBConnection(Passing):
    """A DuckDB connection (or cursor) with godb_fast in front of it.

    Parameters
    ----------
    raw : duckdb.DuckDBPyConnection
        The driver's connection.
    engine : DuckDBEngine, optional
        The engine on it, if its instance is ours: then it can be steered.
    parent : DuckDBConnection, optional
        The connection of which this one is a cursor.

    Attributes
    ----------
    driver_connection : duckdb.DuckDBPyConnection
        The driver's own connection, for what insists on one.
    mode : str
        ``off``, ``observe``, ``advise`` or ``steer``; may be changed.
    optimizer : Optimizer
        Its ``counters`` say what happened.
    """

    __slots__ = (
        "_adviser",
        "_beside",
        "_buffered",
        "_engine",
        "_observer",
        "_root",
        "_running",
        "_session",
        "mode",
        "optimizer",
    )

    def __init__(
        self,
        raw: Any,
        mode: str,
        optimizer: Optimizer,
        *,
        engine: DuckDBEngine | None = None,
        parent: DuckDBConnection | None = None,
    ) -> None:
        super().__init__(raw)
        self.mode = mode
        self.optimizer = optimizer
        self._engine = engine
        self._root = parent is None
        self._observer: Observer = _observer(optimizer, engine) if parent is None else parent._observer
        # Cursors for planning are made of it in any thread; the application's own connections may be busy.
        self._beside: Any = None
        if parent is not None:
            self._beside = parent._beside
        elif engine is None:
            self._beside = raw.cursor()
        self._adviser: Adviser = Adviser(self._observer, IDLE_S) if parent is None else parent._adviser
        self._session = None if engine is None else CursorSession(optimizer, engine, mode="steer")
        self._running: _Running | None = None
        self._buffered: _Buffered | None = None

    @property
    def driver_connection(self) -> Any:
        """The driver's own connection."""
        return self._raw

    def cursor(self) -> DuckDBConnection:
        """Another connection to the same database, for another thread or another result."""
        if self._engine is None:
            return DuckDBConnection(self._raw.cursor(), self.mode, self.optimizer, parent=self)
        engine = self._engine.cursor()
        return DuckDBConnection(
            engine.driver_connection, self.mode, self.optimizer, engine=engine, parent=self
        )

    duplicate = cursor

    def wait_advised(self, timeout_s: float = 10.0) -> bool:
        """Wait until the templates seen so far are planned for; False if time ran out."""
        return self._adviser.wait(timeout_s)

    def close(self) -> None:
        """Close the driver's connection."""
        self._ended(None)
        if self._root:
            # It closes its cursors with it, and refuses to while one of them is at work.
            self._adviser.stop()
            if self.optimizer.store is not None:
                self.optimizer.store.flush()
        if self._session is None:
            self._raw.close()
        else:
            self._session.close()

    # -- statements ---------------------------------------------------------------------------------

    def execute(self, query: Any, parameters: Any = None) -> Any:
        """Execute statements; the result that the driver gives of them waits to be fetched.

        Gives this connection, or as the driver does None where there is no statement.
        """
        arguments = (query,) if parameters is None else (query, parameters)
        self._ended(None)
        if self.mode == "off" or not isinstance(query, str):
            return self._driver(arguments)
        print_ = self._observer.read(query, self.mode)
        reads = print_ is not None and is_query(print_)
        prepared: Prepared | None = None
        about: dict[str, Any] = {}
        if print_ is not None and reads and self.mode == "steer" and self._session is not None:
            prepared, about = self._steered(print_, self._session, arguments)
            if self._buffered is not None:
                return self
        begun = self._begins(prepared)
        started = time.perf_counter()
        try:
            given = self._driver(arguments)
        except BaseException as error:
            took = (time.perf_counter() - started) * 1e3
            self._observer.saw(print_, _outcome(error), took, None, **about)
            raise
        finally:
            # Most of the work is done; who drops the rest of the rows does not say so.
            if self._session is not None:
                self._session.ended(begun)
        self._running = _Running(print_, begun, (time.perf_counter() - started) * 1e3, prepared, about)
        if print_ is not None and reads and prepared is None and self.mode in ("advise", "steer"):
            try:
                self._adviser.consider(print_, query, parameters, self._planning)
            except Exception as error:  # noqa: BLE001 - logged and counted: the result is the application's
                self._observer.failed("advising", error)
        return given

    def _planning(self) -> Callable[[], Beside]:
        if self._engine is None:
            return beside_duckdb(self._beside, self.optimizer)
        engine = self._engine.cursor()
        return lambda: Beside(
            CursorSession(self.optimizer, engine, mode="advise"), engine.close, engine.interrupt
        )

    def _steered(
        self, print_: Fingerprint, session: CursorSession, arguments: Any
    ) -> tuple[Prepared | None, dict[str, Any]]:
        """The decision, and what there is to say of a discarded run; a steered result is in the buffer."""
        begun = time.perf_counter()
        try:
            outlook = session.prepare(*arguments)
            prepared = outlook.prepared
            self._observer.advised(print_, prepared.decision)
            if not outlook.steers:
                return prepared, {}
            result, why = session.steered(outlook)
        except QueryCancelled as error:
            took = (time.perf_counter() - begun) * 1e3
            self._observer.saw(print_, "cancelled", took, None, steered=True)
            raise _of_driver(error) from None
        except Exception as error:  # noqa: BLE001 - logged and counted: the statement goes on unchanged
            self._observer.failed("steering", error)
            return None, {}
        if result is None:
            return prepared, {"fell_back": why, "wasted_ms": (time.perf_counter() - begun) * 1e3}
        self._buffered = _Buffered(result, arguments)
        self.optimizer.count("steered")
        key = prepared.decision.steering.key
        self._observer.saw(
            print_, "ok", result.latency_ms, len(result.rows), steered=True, steering_key=key, obeyed=True
        )
        return prepared, {}

    def _begins(self, prepared: Prepared | None) -> Begun | None:
        try:
            return None if self._session is None else self._session.begins(prepared)
        except Exception as error:  # noqa: BLE001 - logged and counted: the statement goes on unchanged
            self._observer.failed("describing", error)
            return None

    def _described(self, prepared: Prepared | None, begun: Begun | None, observation: Observation) -> None:
        try:
            if self._session is not None:
                self._session.described(prepared, begun, observation)
        except Exception as error:  # noqa: BLE001 - logged and counted: the result is the application's
            self._observer.failed("describing", error)

    def _driver(self, arguments: Any) -> DuckDBConnection | None:
        """Start a statement as the driver does; None where there is none.

        It looks for unknown tables among the variables of the function that called it: that is the caller's.
        """
        if self._engine is not None:
            try:
                started = self._engine.start(*arguments)
            except EngineError as error:
                raise _of_driver(error) from None
            return self if started else None
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__") == __name__:
            frame = frame.f_back
        seen = {} if frame is None else {**frame.f_globals, **frame.f_locals}
        seen["__builtins__"] = builtins
        given = FunctionType(_call.__code__, seen)(self._raw, arguments)
        return None if given is None else self

    def executemany(self, query: Any, parameters: Any = None) -> DuckDBConnection:
        """Execute a statement with many sets of parameters; never steered."""
        self._ended(None)
        arguments = (query,) if parameters is None else (query, parameters)
        self._call(lambda: self._raw.executemany(*arguments))
        return self

    def _call(self, work: Callable[[], Any]) -> Any:
        """What the driver does by itself; on an instance of ours it takes its turn."""
        if self._engine is None:
            return work()
        try:
            return self._engine.call(work)
        except EngineError as error:
            raise _of_driver(error) from None

    @property
    def description(self) -> Any:
        """Names and types of the result's columns, as PEP 249 has them."""
        if self._buffered is None:
            return self._raw.description
        result = self._buffered.result
        return [
            (name, self._raw.sqltype(kind), None, None, None, None, None)
            for name, kind in zip(result.columns, result.types, strict=True)
        ]

    # -- rows ---------------------------------------------------------------------------------------

    def _timed(self, fetch: Callable[..., Any], *arguments: Any) -> Any:
        running = self._running
        if running is None:
            return fetch(*arguments)
        begun = time.perf_counter()
        try:
            fetched = fetch(*arguments)
        except BaseException as error:
            self._running = None
            took_ms = running.spent_ms + (time.perf_counter() - begun) * 1e3
            self._observer.saw(running.print, _outcome(error), took_ms, None, **running.about)
            raise
        running.spent_ms += (time.perf_counter() - begun) * 1e3
        return fetched

    def fetchone(self) -> Any:
        """The next row, or None."""
        if self._buffered is not None:
            return next(iter(self._buffered.take(1)), None)
        row = self._timed(self._raw.fetchone)
        if self._running is not None:
            if row is None:
                self._ended(self._running.rows)
            else:
                self._running.rows += 1
        return row

    def fetchmany(self, size: int = 1) -> Any:
        """The next rows."""
        if self._buffered is not None:
            return self._buffered.take(size)
        rows = self._timed(self._raw.fetchmany, size)
        if self._running is not None:
            self._running.rows += len(rows)
            if len(rows) < size:
                self._ended(self._running.rows)
        return rows

    def fetchall(self) -> Any:
        """The rows that are left."""
        if self._buffered is not None:
            return self._buffered.take(None)
        rows = self._timed(self._raw.fetchall)
        if self._running is not None:
            self._ended(self._running.rows + len(rows))
        return rows

    def _ended(self, rows: int | None) -> None:
        """The statement is complete with so many rows; None if the rest was given up, or not counted."""
        running, self._running, self._buffered = self._running, None, None
        if running is None:
            return
        observation = self._observer.saw(running.print, "ok", running.spent_ms, rows, **running.about)
        prepared = running.prepared
        if rows is not None and observation is not None:
            self._described(prepared, running.begun, observation)
        if rows is not None and prepared is not None and prepared.decision.steering:
            described = self._raw.description or []
            names = tuple(str(entry[0]) for entry in described)
            types = tuple(str(entry[1]) for entry in described)
            self.optimizer.saw_default(prepared, EngineResult(names, types, (), running.spent_ms))

    def __getattr__(self, name: str) -> Any:
        if name in _WHOLE:
            return self._whole(name)
        value = super().__getattr__(name)
        return self._chained(value) if name in _CHAINED else value

    def _chained(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            given = self._call(lambda: method(*arguments, **options))
            return self if given is self._raw else given

        return call

    def _whole(self, name: str) -> Callable[..., Any]:
        """All rows in another form. A steered result has none of DuckDB's own: the statement runs again."""

        def call(*arguments: Any, **options: Any) -> Any:
            if self._buffered is not None:
                again = self._buffered.arguments
                self._ended(None)
                self._driver(again)
            fetched = self._timed(lambda: getattr(self._raw, name)(*arguments, **options))
            self._ended(None)
            return fetched

        if self._buffered is None:
            # An unknown name is an AttributeError here and not only when it is called.
            getattr(self._raw, name)
        return call

    def __iter__(self) -> Iterator[Any]:
        # DuckDB's own connection cannot be iterated; PEP 249 asks for it where it can be.
        while (row := self.fetchone()) is not None:
            yield row

    def __enter__(self) -> DuckDBConnection:
        return self

    def __exit__(self, *about: Any) -> None:
        self.close()


def _observer(optimizer: Optimizer, engine: DuckDBEngine | None) -> Observer:
    import duckdb

    database = "" if engine is None else database_of(engine.environment())
    return Observer("duckdb", optimizer, version=duckdb.__version__, database=database)


def _of_driver(error: EngineError) -> BaseException:
    """The driver's own error, as an application expects it."""
    cause = error.__cause__
    return error if cause is None else cause
