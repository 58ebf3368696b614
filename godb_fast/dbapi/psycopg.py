"""psycopg connections and cursors. A steered statement runs on the driver's own cursor, so that description,
row factory, ``scroll`` and everything else are as ever; before that its plan is looked at, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from godb_fast.adoption import Observer
from godb_fast.advising import Adviser, beside_postgres
from godb_fast.core.forking import breaks_lock, is_broken
from godb_fast.dbapi.passing import Passing
from godb_fast.dbapi.psycopg_steering import Ask, Pilot, Steered, Step
from godb_fast.engines.addresses import plainly
from godb_fast.engines.base import Parameters
from godb_fast.engines.postgres import fence
from godb_fast.engines.postgres.driver import STOPPED, check_connection, sqlstate
from godb_fast.engines.postgres.identity import as_written
from godb_fast.optimizer import Optimizer
from godb_fast.sql import Fingerprint, is_query

_AT_ONCE: AbstractContextManager[Any] = nullcontext()
#: Seconds that the connection for planning in the background is kept.
IDLE_S = 5.0
#: Seconds that its end is waited for: the server may be slow, and it closes by itself.
LEAVES_S = 0.5


def observer_of(raw: Any, optimizer: Optimizer) -> Observer:
    """The observer of a driver's connection, sync or async."""
    version = raw.info.server_version
    return Observer(
        "postgresql",
        optimizer,
        version=f"{version // 10000}.{version % 10000}",
        database=plainly(as_written(raw)),
    )


def may_plan(raw: Any, print_: Fingerprint, cursor: Any, options: dict[str, Any]) -> bool:
    """Whether a statement may be planned for, and steered on this cursor."""
    # Named cursors stream; a statement that is to be prepared keeps its plan, whatever the settings are.
    plain = not any(options.values()) and getattr(cursor, "name", None) is None
    return plain and is_query(print_) and fence.why_not(raw) is None


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

    __slots__ = ("_adviser", "_lock", "_observer", "_pilot", "mode", "optimizer")

    def __init__(self, raw: Any, mode: str, optimizer: Optimizer) -> None:
        check_connection(raw)
        super().__init__(raw)
        self.mode = mode
        self.optimizer = optimizer
        self._observer = observer_of(raw, optimizer)
        self._adviser = Adviser(self._observer, IDLE_S)
        self._pilot = Pilot(optimizer, self._observer, lambda: raw)
        # Other threads' statements must not fall into the savepoint around a steered one.
        self._lock: Any = threading.RLock()
        breaks_lock(self)

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
        self._adviser.stop(LEAVES_S)
        if self.optimizer.store is not None:
            self.optimizer.store.flush()
        if not is_broken(self._lock):
            self._raw.close()

    def _forsaken(self) -> None:
        """In the child of a fork, of what the parent uses: its socket is left alone."""

    @contextmanager
    def transaction(self, *args: Any, **options: Any) -> Iterator[Any]:
        """psycopg's block of a transaction or a savepoint."""
        block: AbstractContextManager[Any] = self._raw.transaction(*args, **options)
        with self._lock:
            made = block.__enter__()
        try:
            yield made
        except BaseException as error:
            with self._lock:
                ended = block.__exit__(type(error), error, error.__traceback__)
            # psycopg.Rollback ends the block, and goes no further.
            if not ended:
                raise
        else:
            with self._lock:
                block.__exit__(None, None, None)

    def wait_advised(self, timeout_s: float = 10.0) -> bool:
        """Wait until the templates seen so far are planned for; False if time ran out."""
        return self._adviser.wait(timeout_s)

    def __enter__(self) -> PostgresConnection:
        self._raw.__enter__()
        return self

    def __exit__(self, *about: Any) -> None:
        try:
            if not is_broken(self._lock):
                self._raw.__exit__(*about)
        finally:
            self._adviser.stop(LEAVES_S)

    # -- statements ---------------------------------------------------------------------------------

    def run(self, cursor: Any, query: Any, params: Any, options: dict[str, Any]) -> None:
        """Execute a statement on a driver's cursor, steered if that is wanted and allowed."""
        if self.mode == "off" or not isinstance(query, str):
            with self._lock:
                cursor.execute(query, params, **options)
            return
        print_ = self._observer.read(query, self.mode)
        with self._lock:
            found: Steered | None = None
            if self.mode == "steer" and print_ is not None and may_plan(self._raw, print_, cursor, options):
                steps = self._pilot.steered(print_, cursor, self._raw, query, params, self._adviser)
                found = self._drive(steps, cursor)
                if found.done:
                    return
            if found is None:
                self._pilot.passed_by(print_)
            begun = self._pilot.begins(found)
            started = time.perf_counter()
            try:
                cursor.execute(query, params, **options)
            except BaseException as error:
                took = (time.perf_counter() - started) * 1e3
                outcome = "cancelled" if sqlstate(error) == STOPPED else "error"
                self._pilot.gave_up(print_, outcome, took, begun)
                raise
            took = (time.perf_counter() - started) * 1e3
            self._pilot.noted(print_, cursor, found, took, begun)
            if self.mode == "steer" and print_ is not None and found is not None:
                self._pilot.look(self._adviser, self._raw, print_, query, params, took)
        if self.mode == "advise" and print_ is not None and is_query(print_):
            self._advise(print_, query, params)

    def _advise(self, print_: Fingerprint, query: str, params: Parameters) -> None:
        try:
            self._adviser.consider(print_, query, params, lambda: beside_postgres(self._raw, self.optimizer))
        except Exception as error:  # noqa: BLE001 - logged and counted: the result is the application's
            self._observer.failed("advising", error)

    def _drive(self, steps: Generator[Step, Any, Steered], cursor: Any) -> Steered:
        """Do what steering a statement takes, step by step."""
        answer, raised = None, None
        while True:
            try:
                step = steps.send(answer) if raised is None else steps.throw(raised)
            except StopIteration as end:
                found: Steered = end.value
                return found
            answer = raised = None
            try:
                if isinstance(step, Ask):
                    answer = step.call()
                else:
                    fence.run_on_cursor(
                        self._raw,
                        self._raw,
                        cursor,
                        step.statement,
                        timeout_s=step.timeout_s,
                        validation=step.validation,
                    )
            except BaseException as error:  # noqa: BLE001 - the steps decide on it
                raised = error


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

    @contextmanager
    def copy(self, *args: Any, **options: Any) -> Iterator[Any]:
        """psycopg's COPY; other threads' statements wait for its end."""
        with self._connection._lock, self._raw.copy(*args, **options) as copying:
            yield copying

    def stream(self, *args: Any, **options: Any) -> Iterator[Any]:
        """psycopg's rows one by one; other threads' statements wait for the last."""
        with self._connection._lock:
            yield from self._raw.stream(*args, **options)

    # A named cursor asks the server for its rows.

    def fetchone(self) -> Any:
        """The next row, or None."""
        with self._turn():
            return self._raw.fetchone()

    def fetchmany(self, *args: Any, **options: Any) -> Any:
        """Some of the next rows."""
        with self._turn():
            return self._raw.fetchmany(*args, **options)

    def fetchall(self) -> Any:
        """All rows that are left."""
        with self._turn():
            return self._raw.fetchall()

    def scroll(self, *args: Any, **options: Any) -> None:
        """Move within the result."""
        with self._turn():
            self._raw.scroll(*args, **options)

    def close(self) -> None:
        """Close the cursor."""
        with self._turn():
            self._raw.close()

    def _turn(self) -> AbstractContextManager[Any]:
        named = getattr(self._raw, "name", None) is not None
        return self._connection._lock if named else _AT_ONCE

    def __iter__(self) -> Iterator[Any]:
        if getattr(self._raw, "name", None) is None:
            return iter(self._raw)
        return self._named_rows()

    def _named_rows(self) -> Iterator[Any]:
        while rows := self.fetchmany(self._raw.itersize):
            yield from rows

    def __next__(self) -> Any:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def __enter__(self) -> PostgresCursor:
        self._raw.__enter__()
        return self

    def __exit__(self, *about: Any) -> None:
        self._raw.__exit__(*about)
