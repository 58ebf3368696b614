"""psycopg connections and cursors. A steered statement runs on the driver's own cursor, so that description,
row factory, ``scroll`` and everything else are as ever; before that its plan is looked at, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from godb_fast.adoption import Adviser, CursorSession, Observer, beside_postgres, only_reads
from godb_fast.dbapi.passing import Passing
from godb_fast.engines.base import EngineResult, Parameters
from godb_fast.engines.postgres import PostgresEngine, fence
from godb_fast.engines.postgres.driver import DISTURBED, STOPPED, check_connection, sqlstate
from godb_fast.errors import EngineError, SchemaChanged
from godb_fast.optimizer import EXPLAIN_LIMIT_S, Optimizer, Prepared
from godb_fast.sql import Fingerprint
from godb_fast.steered import Outlook

#: Seconds that the connection for planning in the background is kept.
IDLE_S = 5.0


def observer_of(raw: Any, optimizer: Optimizer) -> Observer:
    """The observer of a driver's connection, sync or async."""
    info = raw.info
    version = info.server_version
    return Observer(
        "postgresql",
        optimizer,
        version=f"{version // 10000}.{version % 10000}",
        database=f"{info.host}:{info.port}/{info.dbname}",
    )


class PostgresConnection(Passing):
    """A psycopg connection with godb_fast in front of it.

    Attributes
    ----------
    driver_connection : psycopg.Connection
        The driver's own connection, for what insists on one.
    mode : str
        ``off``, ``observe``, ``advise`` or ``steer``; may be changed.
    optimizer : Optimizer
        Its ``counters`` say what happened.

    Raises
    ------
    InvalidInput
        If the connection is not a synchronous one of psycopg 3.
    """

    __slots__ = ("_adviser", "_lock", "_observer", "_session", "mode", "optimizer")

    def __init__(self, raw: Any, mode: str, optimizer: Optimizer) -> None:
        check_connection(raw)
        super().__init__(raw)
        self.mode = mode
        self.optimizer = optimizer
        self._observer = observer_of(raw, optimizer)
        self._adviser = Adviser(self._observer, IDLE_S)
        self._session: CursorSession | None = None
        # Other threads' statements must not fall into the savepoint around a steered one.
        self._lock = threading.RLock()

    @property
    def driver_connection(self) -> Any:
        """The driver's own connection."""
        return self._raw

    def cursor(self, *args: Any, **options: Any) -> PostgresCursor:
        """A cursor, as psycopg makes it."""
        return PostgresCursor(self._raw.cursor(*args, **options), self)

    def execute(
        self, query: Any, params: Any = None, *, prepare: bool | None = None, binary: bool = False
    ) -> PostgresCursor:
        """Execute a statement on a new cursor."""
        # psycopg's shortcut asks its cursor for binary results in just this way.
        return (self.cursor(binary=True) if binary else self.cursor()).execute(query, params, prepare=prepare)

    def commit(self) -> None:
        """Commit the transaction."""
        with self._lock:
            self._raw.commit()

    def rollback(self) -> None:
        """Roll the transaction back."""
        with self._lock:
            self._raw.rollback()

    def close(self) -> None:
        """Close the driver's connection, and that for planning in the background."""
        self._adviser.stop()
        if self.optimizer.store is not None:
            self.optimizer.store.flush()
        self._raw.close()

    def transaction(self, *args: Any, **options: Any) -> AbstractContextManager[Any]:
        """psycopg's block of a transaction or a savepoint."""
        block: AbstractContextManager[Any] = self._raw.transaction(*args, **options)
        return block

    def wait_advised(self, timeout_s: float = 10.0) -> bool:
        """Wait until the templates seen so far are planned for; False if time ran out."""
        return self._adviser.wait(timeout_s)

    def __enter__(self) -> PostgresConnection:
        self._raw.__enter__()
        return self

    def __exit__(self, *about: Any) -> None:
        try:
            self._raw.__exit__(*about)
        finally:
            self._adviser.stop()

    # -- statements ---------------------------------------------------------------------------------

    def run(self, cursor: Any, query: Any, params: Any, options: dict[str, Any]) -> None:
        """Execute a statement on a driver's cursor, steered if that is wanted and allowed."""
        if self.mode == "off" or not isinstance(query, str):
            cursor.execute(query, params, **options)
            return
        print_ = self._observer.read(query, self.mode)
        with self._lock:
            prepared, fell_back, wasted_ms = None, None, 0.0
            if self.mode == "steer" and print_ is not None and self._may_plan(print_, cursor, options):
                prepared, fell_back, wasted_ms = self._steered(print_, cursor, query, params)
                if prepared is not None and prepared.decision.steering and fell_back is None:
                    return
            begun = time.perf_counter()
            try:
                cursor.execute(query, params, **options)
            except BaseException as error:
                took = (time.perf_counter() - begun) * 1e3
                outcome = "cancelled" if sqlstate(error) == STOPPED else "error"
                self._observer.saw(print_, outcome, took, None)
                raise
            took = (time.perf_counter() - begun) * 1e3
            self._noted(print_, cursor, prepared, fell_back, took, wasted_ms)
        if self.mode == "advise" and print_ is not None and only_reads(print_):
            self._advise(print_, query, params)

    def _may_plan(self, print_: Fingerprint, cursor: Any, options: dict[str, Any]) -> bool:
        # Named cursors stream; a statement that is to be prepared keeps its plan, whatever the settings are.
        plain = not any(options.values()) and getattr(cursor, "name", None) is None
        return plain and only_reads(print_) and fence.why_not(self._raw) is None

    def _advise(self, print_: Fingerprint, query: str, params: Parameters) -> None:
        try:
            self._adviser.consider(print_, query, params, lambda: beside_postgres(self._raw, self.optimizer))
        except Exception as error:  # noqa: BLE001 - logged and counted: the result is the application's
            self._observer.failed("advising", error)

    def _planning(self) -> CursorSession:
        if self._session is None:
            self._session = CursorSession(
                self.optimizer, PostgresEngine.borrow(self._raw), mode="steer", timeout_s=None
            )
        return self._session

    def _steered(
        self, print_: Fingerprint, cursor: Any, query: str, params: Parameters
    ) -> tuple[Prepared | None, str | None, float]:
        """The decision, why its steering was not applied or discarded, and the time that was wasted in ms.

        With a steering and no such reason, the cursor holds the steered result.
        """
        try:
            session = self._planning()
            outlook = session.prepare(query, params)
            prepared = outlook.prepared
            self._observer.advised(print_, prepared.decision)
            if not prepared.decision.steering:
                return prepared, None, 0.0
            fell_back = outlook.refused or self._disobedient(session, prepared)
        except Exception as error:  # noqa: BLE001 - logged and counted: the statement goes on unchanged
            self._observer.failed("planning", error)
            return None, None, 0.0
        if fell_back is not None:
            return prepared, fell_back, 0.0
        begun = time.perf_counter()
        try:
            fell_back = self._try(session, print_, cursor, query, outlook)
        except SchemaChanged as changed:
            # What was decided is of no use any more, and nothing is to be noted of it.
            self.optimizer.count("outdated")
            session.scope()
            return None, str(changed), (time.perf_counter() - begun) * 1e3
        return prepared, fell_back, 0.0 if fell_back is None else (time.perf_counter() - begun) * 1e3

    def _disobedient(self, session: CursorSession, prepared: Prepared) -> str | None:
        """Look at the plan of a steering that was not seen yet; why it is not followed, or None."""
        known, steering = prepared.known, prepared.decision.steering
        if known is None or steering.key in known.obeyed:
            return None
        engine = session.engine
        assert isinstance(engine, PostgresEngine)
        try:
            plan = engine.explain_steered(prepared.rendered, timeout_s=EXPLAIN_LIMIT_S)
        except EngineError as error:
            return f"the steered statement cannot be planned: {error}"
        obeyed = engine.obeyed(known.template, steering, plan, prepared.literals)
        if obeyed:
            known.obeyed.add(steering.key)
            return None
        if obeyed is None:
            return None
        why = "the engine would not run the join tree that was asked for"
        self.optimizer.quarantine(session.scope(), prepared, why)
        return why

    def _try(
        self, session: CursorSession, print_: Fingerprint, cursor: Any, query: str, outlook: Outlook
    ) -> str | None:
        """Run under the steering; None if the cursor holds its result, else why it was discarded.

        Raises
        ------
        SchemaChanged
            If the decision rests on another schema than the statement.
        """
        prepared, engine = outlook.prepared, session.engine
        assert isinstance(engine, PostgresEngine)
        known, steering = prepared.known, prepared.decision.steering
        assert known is not None
        limit = self.optimizer.allowance_s(prepared)
        begun = time.perf_counter()
        try:
            fence.run_on_cursor(
                self._raw,
                self._raw,
                cursor,
                fence.with_comments(query, prepared.rendered),
                timeout_s=limit,
                validation=None if outlook.expected is None else engine.validation(outlook.expected),
            )
        except SchemaChanged:
            raise
        except BaseException as error:
            took = time.perf_counter() - begun
            if fence.belongs_to_caller(error, self._raw, took, limit):
                self._observer.saw(print_, "error", took * 1e3, None, steered=True)
                raise
            if sqlstate(error) in DISTURBED:
                # That says nothing about the plan.
                why = f"the steered run was disturbed: {str(error).strip()}"
                self.optimizer.log_once("fell_back", why)
                return why
            slow = sqlstate(error) == STOPPED
            if slow:
                why = f"stopped after its allowance of {(limit or 0) * 1e3:.0f} ms"
            else:
                why = f"the steered run failed: {str(error).strip() or type(error).__name__}"
        else:
            took_ms = (time.perf_counter() - begun) * 1e3
            if known.columns is None or _same(self._columns(cursor), known.columns):
                session.validated(outlook)
                if steering.key in known.obeyed:
                    self.optimizer.saw_steered(session.scope_now, prepared, took_ms)
                self.optimizer.count("steered")
                self._observer.saw(
                    print_,
                    "ok",
                    took_ms,
                    cursor.rowcount,
                    steered=True,
                    steering_key=steering.key,
                    obeyed=(steering.key in known.obeyed) or None,
                )
                return None
            why, slow = "the steered result has other columns", False
        took = time.perf_counter() - begun
        if session.changed(outlook):
            raise SchemaChanged(f"the schema changed since the decision; {why}")
        self.optimizer.quarantine(session.scope_now, prepared, why, took, slow=slow)
        self.optimizer.log_once("fell_back", why)
        return why

    def _columns(self, cursor: Any) -> _Columns:
        described = cursor.description or ()
        engine = self._planning().engine
        assert isinstance(engine, PostgresEngine)
        types = engine.type_names(tuple([column.type_code for column in described]))
        return tuple([column.name for column in described]), types

    def _noted(
        self,
        print_: Fingerprint | None,
        cursor: Any,
        prepared: Prepared | None,
        fell_back: str | None,
        took_ms: float,
        wasted_ms: float,
    ) -> None:
        try:
            if prepared is not None and prepared.known is not None and prepared.decision.steering:
                names, types = self._columns(cursor)
                before = prepared.known.columns
                self.optimizer.saw_default(prepared, EngineResult(names, types, (), took_ms))
                if any(name.startswith("oid ") for name in types):
                    # Nothing of ours is asked here; sessions that may ask know these types by name.
                    prepared.known.columns = before
            count = cursor.rowcount
            self._observer.saw(
                print_,
                "ok",
                took_ms,
                count if count >= 0 else None,
                fell_back=fell_back,
                wasted_ms=wasted_ms,
            )
        except Exception as error:  # noqa: BLE001 - logged and counted: the result is the application's
            self._observer.failed("noting", error)


_Columns = tuple[tuple[str, ...], tuple[str, ...]]


def _same(seen: _Columns, known: _Columns) -> bool:
    """Whether columns are those that are known, as far as their types can be told."""
    return seen[0] == known[0] and all(
        one == other or one.startswith("oid ") for one, other in zip(seen[1], known[1], strict=True)
    )


class PostgresCursor(Passing):
    """A psycopg cursor with godb_fast in front of it.

    Attributes
    ----------
    driver_cursor : psycopg.Cursor
        The driver's own cursor.
    """

    __slots__ = ("_connection",)

    def __init__(self, raw: Any, connection: PostgresConnection) -> None:
        super().__init__(raw)
        self._connection = connection

    @property
    def connection(self) -> PostgresConnection:
        """The connection that made it."""
        return self._connection

    @property
    def driver_cursor(self) -> Any:
        """The driver's own cursor."""
        return self._raw

    def execute(self, query: Any, params: Any = None, **options: Any) -> PostgresCursor:
        """Execute a statement."""
        connection = self._connection
        if connection.mode != "observe" or connection.optimizer.store is not None or type(query) is not str:
            connection.run(self._raw, query, params, options)
            return self
        # The most frequent case, and nothing to do but count: after a round trip the processor's caches hold
        # nothing of ours, and each line costs more than a microsecond.
        with connection._lock:
            try:
                self._raw.execute(query, params, **options)
            finally:
                connection.optimizer.count("observed")
        return self

    def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
        """Execute a statement with many sets of parameters; never steered."""
        with self._connection._lock:
            self._raw.executemany(query, params_seq, **options)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._raw)

    def __next__(self) -> Any:
        row = self._raw.fetchone()
        if row is None:
            raise StopIteration
        return row

    def __enter__(self) -> PostgresCursor:
        self._raw.__enter__()
        return self

    def __exit__(self, *about: Any) -> None:
        self._raw.__exit__(*about)
