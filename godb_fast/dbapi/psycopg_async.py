"""psycopg's asynchronous connections: observed, and advised on from a thread beside them.

Nothing is steered on them. A steered statement alone would need no more than its own round trip, but deciding
on one may ask the server (for the plan of new literals, for statistics), and what decides is synchronous: it
would hold up the application's event loop. In mode ``steer`` they are advised on, which the counter
``not_steered`` says; an application that is to be steered calls a synchronous connection in a worker thread.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from godb_fast.adoption import Adviser, Observer, beside_postgres, only_reads
from godb_fast.dbapi.passing import Passing
from godb_fast.dbapi.psycopg import IDLE_S, observer_of
from godb_fast.engines.postgres.driver import STOPPED, sqlstate
from godb_fast.optimizer import Optimizer


class AsyncPostgresConnection(Passing):
    """A psycopg AsyncConnection with godb_fast in front of it.

    Attributes
    ----------
    driver_connection : psycopg.AsyncConnection
        The driver's own connection, for what insists on one.
    mode : str
        ``off``, ``observe``, ``advise`` or ``steer`` (as ``advise``); may be changed.
    optimizer : Optimizer
        Its ``counters`` say what happened.
    """

    __slots__ = ("_adviser", "_observer", "mode", "optimizer")

    def __init__(self, raw: Any, mode: str, optimizer: Optimizer) -> None:
        super().__init__(raw)
        self.mode = mode
        self.optimizer = optimizer
        self._observer: Observer = observer_of(raw, optimizer)
        self._adviser = Adviser(self._observer, IDLE_S)

    @property
    def driver_connection(self) -> Any:
        """The driver's own connection."""
        return self._raw

    def cursor(self, *args: Any, **options: Any) -> AsyncPostgresCursor:
        """A cursor, as psycopg makes it."""
        return AsyncPostgresCursor(self._raw.cursor(*args, **options), self)

    async def execute(
        self, query: Any, params: Any = None, *, prepare: bool | None = None, binary: bool = False
    ) -> AsyncPostgresCursor:
        """Execute a statement on a new cursor."""
        made = self.cursor(binary=True) if binary else self.cursor()
        return await made.execute(query, params, prepare=prepare)

    async def close(self) -> None:
        """Close the driver's connection, and that for planning in the background."""
        self._adviser.stop()
        if self.optimizer.store is not None:
            self.optimizer.store.flush()
        await self._raw.close()

    def wait_advised(self, timeout_s: float = 10.0) -> bool:
        """Wait until the templates seen so far are planned for; False if time ran out. Blocks the thread."""
        return self._adviser.wait(timeout_s)

    async def __aenter__(self) -> AsyncPostgresConnection:
        await self._raw.__aenter__()
        return self

    async def __aexit__(self, *about: Any) -> None:
        try:
            await self._raw.__aexit__(*about)
        finally:
            self._adviser.stop()

    # -- statements ---------------------------------------------------------------------------------

    async def run(self, cursor: Any, query: Any, params: Any, options: dict[str, Any]) -> None:
        """Execute a statement on a driver's cursor."""
        if self.mode == "off" or not isinstance(query, str):
            await cursor.execute(query, params, **options)
            return
        print_ = self._observer.read(query, self.mode)
        begun = time.perf_counter()
        try:
            await cursor.execute(query, params, **options)
        except BaseException as error:
            outcome = (
                "cancelled" if not isinstance(error, Exception) or sqlstate(error) == STOPPED else "error"
            )
            self._observer.saw(print_, outcome, (time.perf_counter() - begun) * 1e3, None)
            raise
        count = cursor.rowcount
        took_ms = (time.perf_counter() - begun) * 1e3
        self._observer.saw(print_, "ok", took_ms, count if count >= 0 else None)
        if print_ is not None and self.mode in ("advise", "steer") and only_reads(print_):
            if self.mode == "steer":
                self.optimizer.count("not_steered")
            try:
                self._adviser.consider(
                    print_, query, params, lambda: beside_postgres(self._raw, self.optimizer)
                )
            except Exception as error:  # noqa: BLE001 - logged and counted: the result is the application's
                self._observer.failed("advising", error)


class AsyncPostgresCursor(Passing):
    """A psycopg AsyncCursor with godb_fast in front of it.

    Attributes
    ----------
    driver_cursor : psycopg.AsyncCursor
        The driver's own cursor.
    """

    __slots__ = ("_connection",)

    def __init__(self, raw: Any, connection: AsyncPostgresConnection) -> None:
        super().__init__(raw)
        self._connection = connection

    @property
    def connection(self) -> AsyncPostgresConnection:
        """The connection that made it."""
        return self._connection

    @property
    def driver_cursor(self) -> Any:
        """The driver's own cursor."""
        return self._raw

    async def execute(self, query: Any, params: Any = None, **options: Any) -> AsyncPostgresCursor:
        """Execute a statement."""
        await self._connection.run(self._raw, query, params, options)
        return self

    def __aiter__(self) -> AsyncIterator[Any]:
        rows: AsyncIterator[Any] = self._raw.__aiter__()
        return rows

    async def __aenter__(self) -> AsyncPostgresCursor:
        await self._raw.__aenter__()
        return self

    async def __aexit__(self, *about: Any) -> None:
        await self._raw.__aexit__(*about)
