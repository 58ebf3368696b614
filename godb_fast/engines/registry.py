"""From a URL or a driver's connection to an Engine; other packages add engines by entry point."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from godb_fast.engines.addresses import check_text
from godb_fast.engines.base import Engine
from godb_fast.errors import InvalidInput

#: URL scheme → module with ``open_url(url, read_only)`` and ``borrow(connection)``.
BUILT_IN: Final = {
    "duckdb": "godb_fast.engines.duckdb",
    "postgresql": "godb_fast.engines.postgres",
    "postgres": "godb_fast.engines.postgres",
}
#: Driver module → scheme, for connection objects.
DRIVERS: Final = {"duckdb": "duckdb", "_duckdb": "duckdb", "psycopg": "postgresql"}
GROUP: Final = "godb_fast.engines"


def open_engine(
    connection: Any, *, read_only: bool = False, password: str | Callable[[], str] | None = None
) -> Engine:
    """An engine at a URL, a path of a DuckDB file, or a driver's connection object.

    Parameters
    ----------
    password : str or callable, optional
        For a server's URL; a callable is asked each time a connection is opened, as tokens expire.

    Raises
    ------
    InvalidInput
        If no engine is known for it.
    ConnectionFailed
        If it cannot be opened.
    """
    if isinstance(connection, str) or hasattr(connection, "__fspath__"):
        text = str(connection)
        check_text(text)
        scheme, separator, _ = text.partition("://")
        if not separator:
            scheme, text = "duckdb", f"duckdb:///{text}"
        options: dict[str, Any] = {} if password is None else {"password": password}
        if options and scheme == "duckdb":
            raise InvalidInput("a DuckDB file has no password")
        engine: Engine = _module(scheme).open_url(text, read_only=read_only, **options)
        return engine
    if password is not None:
        raise InvalidInput("a password is for a URL; this connection is open already")
    driver = type(connection).__module__.partition(".")[0]
    if driver not in DRIVERS:
        raise InvalidInput(
            f"no engine for a connection of type {type(connection).__module__}.{type(connection).__name__}; "
            "give a duckdb or psycopg connection, or a URL such as duckdb:///file.db or postgresql://host/db"
        )
    borrowed: Engine = _module(DRIVERS[driver]).borrow(connection)
    return borrowed


def _module(scheme: str) -> Any:
    if scheme in BUILT_IN:
        return import_module(BUILT_IN[scheme])
    for entry in entry_points(group=GROUP):
        if entry.name == scheme:
            return entry.load()
    plain = scheme.partition("+")[0]
    if plain in BUILT_IN:
        raise InvalidInput(f"{scheme}:// is how SQLAlchemy names a driver; write {plain}://")
    known = ", ".join(sorted({*BUILT_IN, *(entry.name for entry in entry_points(group=GROUP))}))
    raise InvalidInput(f"no engine for {scheme}:// URLs; known here: {known}")
