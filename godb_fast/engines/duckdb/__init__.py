"""The DuckDB engine: DuckDB 1.4 to 2.0, embedded, stock.

``DuckDBEngine.open`` owns an instance and may impose join orders on it; ``DuckDBEngine.borrow`` sits on a
caller's connection and never changes a setting that others could feel. What each version does differently is
in :mod:`godb_fast.engines.duckdb.quirks`.
"""

from __future__ import annotations

from typing import Any

from godb_fast.engines.duckdb.engine import DuckDBEngine
from godb_fast.errors import InvalidInput

__all__ = ["DuckDBEngine", "borrow", "open_url"]


def open_url(url: str, *, read_only: bool = False) -> DuckDBEngine:
    """Open ``duckdb:///relative.db``, ``duckdb:////absolute.db``, ``duckdb://`` or ``duckdb://:memory:``.

    Raises
    ------
    ConnectionFailed
        No such file, not a database, locked by another process.
    """
    scheme, separator, rest = url.partition("://")
    if scheme != "duckdb" or not separator:
        raise InvalidInput(f"{url!r} is not a DuckDB URL; write duckdb:///file.db")
    path = rest[1:] if rest.startswith("/") else rest
    if path in ("", ":memory:"):
        return DuckDBEngine.open(":memory:")
    return DuckDBEngine.open(path, read_only=read_only)


def borrow(connection: Any) -> DuckDBEngine:
    """The engine on a caller's DuckDB connection."""
    return DuckDBEngine.borrow(connection)
