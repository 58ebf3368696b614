"""psycopg's asynchronous connections: observed, advised on from a thread beside them, and steered.

What a decision asks of the server is asked in a thread, on the application's own connection (see
:mod:`godb_fast.engines.postgres.twin`), and so is the plan of a steering that was not seen yet. Texts with
parameters that were decided on before are steered without either. A steered statement takes two round trips
more than its own: its settings before, and what puts them back and validates the schema behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator
from typing import Any, Final

from godb_fast.adoption import Observer
from godb_fast.advising import Adviser, beside_postgres
from godb_fast.dbapi.passing import Passing
from godb_fast.dbapi.psycopg import IDLE_S, LEAVES_S, may_plan, observer_of
from godb_fast.dbapi.psycopg_steering import Ask, Pilot, Send, Steered, Step
from godb_fast.engines.postgres import fence
from godb_fast.engines.postgres.driver import STOPPED, sqlstate
from godb_fast.engines.postgres.twin import Twin
from godb_fast.optimizer import Optimizer
from godb_fast.sql import Fingerprint, is_query

#: Round trips of a steered statement beyond its own.
FURTHER_TRIPS: Final = 2


class AsyncPostgresConnection(Passing):
    """A psycopg AsyncConnection with godb_fast in front of it.

    Attributes
    ----------
    driver_connection : psycopg.AsyncConnection
        The driver's own connection, for what insists on one.
    mode : str
        ``off``, ``observe``, ``advise`` or ``steer``; may be changed.
    optimizer : Optimizer
        Its ``counters`` say what happened.
    """

    __slots__ = ("_adviser", "_observer", "_pilot", "_turn", "_twin", "mode", "optimizer")

    def __init__(self, raw: Any, mode: str, optimizer: Optimizer) -> None:
        super().__init__(raw)
        self.mode = mode
        self.optimizer = optimizer
        self._observer: Observer = observer_of(raw, optimizer)
        self._adviser = Adviser(self._observer, IDLE_S)
        self._twin = Twin(raw)
        self._pilot = Pilot(optimizer, self._observer, self._twin.connection, at_once=True)
        # Other tasks' statements must not fall into the savepoint around a steered one.
        self._turn = asyncio.Lock()

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

    async def commit(self) -> None:
        """Commit the transaction."""
        async with self._turn:
            await self._raw.commit()

    async def rollback(self) -> None:
        """Roll the transaction back."""
        async with self._turn:
            await self._raw.rollback()

    async def close(self) -> None:
        """Close the driver's connection, and that for planning in the background."""
        await asyncio.to_thread(self._adviser.stop, LEAVES_S)
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
            await asyncio.to_thread(self._adviser.stop, LEAVES_S)

    # -- statements ---------------------------------------------------------------------------------

    async def run(self, cursor: Any, query: Any, params: Any, options: dict[str, Any]) -> None:
        """Execute a statement on a driver's cursor."""
        if self.mode == "off" or not isinstance(query, str):
            await cursor.execute(query, params, **options)
            return
        print_ = self._observer.read(query, self.mode)
        if self.mode != "steer":
            await self._run_unsteered(print_, cursor, query, params, options, None)
        else:
            async with self._turn:
                found: Steered | None = None
                if print_ is not None and may_plan(self._raw, print_, cursor, options):
                    steps = self._pilot.steered(print_, cursor, self._raw, query, params, self._adviser)
                    found = await self._drive(steps, cursor)
                    if found.done:
                        return
                await self._run_unsteered(print_, cursor, query, params, options, found)
        if self.mode == "advise" and print_ is not None and is_query(print_):
            try:
                self._adviser.consider(
                    print_, query, params, lambda: beside_postgres(self._raw, self.optimizer)
                )
            except Exception as error:  # noqa: BLE001 - logged and counted: the result is the application's
                self._observer.failed("advising", error)

    async def _run_unsteered(
        self,
        print_: Fingerprint | None,
        cursor: Any,
        query: str,
        params: Any,
        options: dict[str, Any],
        found: Steered | None,
    ) -> None:
        if found is None:
            self._pilot.passed_by(print_)
        begun = self._pilot.begins(found)
        started = time.perf_counter()
        try:
            await cursor.execute(query, params, **options)
        except BaseException as error:
            took_ms = (time.perf_counter() - started) * 1e3
            stopped = not isinstance(error, Exception) or sqlstate(error) == STOPPED
            self._pilot.gave_up(print_, "cancelled" if stopped else "error", took_ms, begun)
            raise
        took_ms = (time.perf_counter() - started) * 1e3
        self._pilot.noted(print_, cursor, found, took_ms, begun)
        if print_ is not None and found is not None:
            self._pilot.look(self._adviser, self._raw, print_, query, params, took_ms)

    async def _drive(self, steps: Generator[Step, Any, Steered], cursor: Any) -> Steered:
        """Do what steering a statement takes, step by step, awaiting whatever waits for the server."""
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
                    answer = await self._twin.call(step.call)
                else:
                    await self._send(step, cursor)
            except BaseException as error:  # noqa: BLE001 - the steps decide on it
                raised = error

    async def _send(self, step: Send, cursor: Any) -> None:
        look = await fence.run_on_async_cursor(
            self._raw, cursor, step.statement, timeout_s=step.timeout_s, validation=step.validation
        )
        if look and step.validation is not None:
            await self._twin.call(step.validation.look)
        self._pilot.further(FURTHER_TRIPS)


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

    async def stream(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        """psycopg's rows one by one; what other tasks have steered waits for the last."""
        # The driver looks whether a pipeline is open before it takes its lock, and what decides uses one.
        async with self._connection._turn:
            async for row in self._raw.stream(*args, **options):
                yield row

    def __aiter__(self) -> AsyncIterator[Any]:
        rows: AsyncIterator[Any] = self._raw.__aiter__()
        return rows

    async def __aenter__(self) -> AsyncPostgresCursor:
        await self._raw.__aenter__()
        return self

    async def __aexit__(self, *about: Any) -> None:
        await self._raw.__aexit__(*about)
