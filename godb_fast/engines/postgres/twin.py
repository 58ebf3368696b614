"""A synchronous connection on the libpq connection of an asynchronous one, for what decides.

Planning asks the server now and then, and is synchronous. It runs in a thread of its own, on this twin, while
the asynchronous connection's lock is held: so nobody else uses the connection, it is the application's own
(its transaction, its temporary tables, its search path), and the event loop is not held up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from psycopg import Connection
from psycopg.pq import TransactionStatus

_T = TypeVar("_T")


class _Twin(Connection[Any]):
    """Never closed: the libpq connection belongs to another."""

    def __del__(self, *_: Any) -> None:
        pass


class Twin:
    """Makes the twin of one AsyncConnection, and lets a thread use it.

    Parameters
    ----------
    raw : psycopg.AsyncConnection
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._made: _Twin | None = None

    def connection(self) -> Any:
        """The synchronous connection; only for calls under :meth:`call`."""
        if self._made is None:
            raw = self._raw
            pgconn = raw.pgconn
            # A connection takes its libpq connection's notices and notifications; these stay the owner's.
            handlers = pgconn.notice_handler, pgconn.notify_handler
            self._made = _Twin(pgconn)
            pgconn.notice_handler, pgconn.notify_handler = handlers
        return self._made

    async def call(self, work: Callable[[], _T]) -> _T:
        """Let a thread do what asks the server, and wait for it.

        A task that is cancelled meanwhile stops what the server does, and goes on only when the thread has
        let go of the connection.
        """
        async with self._raw.lock:
            self._align()
            thread = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                return await asyncio.shield(thread)
            except asyncio.CancelledError:
                while not thread.done():
                    with suppress(Exception, asyncio.CancelledError):
                        await self._raw.cancel_safe(timeout=5.0)
                    with suppress(Exception, asyncio.CancelledError):
                        await asyncio.wait_for(asyncio.shield(thread), 0.1)
                raise

    def _align(self) -> None:
        """How transactions begin is the owner's to say, as it is now."""
        raw, twin = self._raw, self.connection()
        if raw.pgconn.transaction_status == TransactionStatus.IDLE:
            for name in ("autocommit", "isolation_level", "read_only", "deferrable"):
                wanted = getattr(raw, name)
                if getattr(twin, name) != wanted:
                    setattr(twin, name, wanted)
