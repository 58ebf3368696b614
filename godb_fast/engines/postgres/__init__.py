"""The PostgreSQL engine: stock servers from 13 on, through psycopg 3, with an ordinary role.

A statement is steered by what any role may do: session settings that hold for this one statement, and joins
written in the order that is wanted. Nothing is installed on the server, nothing is prepared, and whoever
owns the connection finds it as the driver alone would have left it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from godb_fast.engines.postgres.engine import PostgresEngine

__all__ = ["PostgresEngine", "borrow", "open_url"]


def open_url(
    url: str, *, read_only: bool = False, password: str | Callable[[], str] | None = None
) -> PostgresEngine:
    """Open ``postgresql://user@host:port/database?…`` as libpq reads it.

    Services (``postgresql:///?service=name``), ``PGPASSFILE`` and the other variables of libpq count.
    ``password`` may be a callable, asked each time a connection is opened: tokens expire.

    Raises
    ------
    ConnectionFailed
        No such server, role or database, or the password is refused.
    InvalidInput
        If the URL cannot be read.
    """
    return PostgresEngine.open(url, read_only=read_only, password=password)


def borrow(connection: Any) -> PostgresEngine:
    """The engine on a caller's psycopg connection, which stays open and is left as it was."""
    return PostgresEngine.borrow(connection)
