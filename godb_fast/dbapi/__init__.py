"""In front of code that talks to a DB-API driver: connections that plan, steer, watch and fall back.

``wrap(connection)`` gives an object that is used as the driver's connection was. Queries are observed,
advised on or steered; everything else, and what is not understood, goes to the driver untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from godb_fast.adoption import chosen_mode
from godb_fast.errors import InvalidInput
from godb_fast.optimizer import Optimizer
from godb_fast.store import open_store

if TYPE_CHECKING:
    from godb_fast.dbapi.passing import Passing

__all__ = ["connect", "wrap"]


def wrap(
    connection: Any, mode: str | None = None, optimizer: Optimizer | None = None, *, store: Any = None
) -> Passing:
    """A driver's connection, with godb_fast in front of it.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection, psycopg.Connection or psycopg.AsyncConnection
        Stays usable by itself; it is ``driver_connection`` of what is returned.
    mode : str, optional
        ``off``, ``observe``, ``advise`` or ``steer``; else that of ``GODB_FAST_MODE``; else ``observe`` on
        PostgreSQL, where nothing of ours is executed, and ``advise`` on DuckDB. A DuckDB connection that
        others may share cannot be steered: :func:`connect` opens one that can.
    optimizer : Optimizer, optional
        Shared with other connections of the process.
    store : path, Store or None
        Where observations are recorded, if no Optimizer is given.

    Raises
    ------
    InvalidInput
        For another kind of connection, or an unknown mode.
    """
    driver = type(connection).__module__.partition(".")[0]
    if driver in ("duckdb", "_duckdb"):
        from godb_fast.dbapi.duckdb import DuckDBConnection

        return DuckDBConnection(connection, chosen_mode(mode, "duckdb"), _optimizer(optimizer, store))
    if driver == "psycopg" and hasattr(connection, "__aenter__"):
        from godb_fast.dbapi.psycopg_async import AsyncPostgresConnection

        mode = chosen_mode(mode, "postgresql")
        return AsyncPostgresConnection(connection, mode, _optimizer(optimizer, store))
    if driver == "psycopg":
        from godb_fast.dbapi.psycopg import PostgresConnection

        return PostgresConnection(connection, chosen_mode(mode, "postgresql"), _optimizer(optimizer, store))
    raise InvalidInput(
        f"{type(connection).__module__}.{type(connection).__name__} cannot be wrapped; "
        "give a connection of duckdb or psycopg (3)"
    )


def connect(
    target: str,
    mode: str | None = None,
    optimizer: Optimizer | None = None,
    *,
    store: Any = None,
    **options: Any,
) -> Passing:
    """Open a connection with godb_fast in front of it.

    A DuckDB file opened here can be steered: nobody but its own cursors shares the instance.

    Parameters
    ----------
    target : str
        ``duckdb:///file.db``, a path, or ``postgresql://…``.
    options
        For ``psycopg.connect`` (``autocommit=True`` …), or ``read_only=True`` for DuckDB.

    Raises
    ------
    ConnectionFailed
        For DuckDB: no such file, not a database, locked, or open in this process already.
    InvalidInput
        For a URL of another engine.
    psycopg.Error
        The driver's own errors, for PostgreSQL.
    """
    scheme, separator, _ = target.partition("://")
    if separator and scheme in ("postgresql", "postgres"):
        from godb_fast.engines.postgres.driver import import_psycopg

        raw = import_psycopg().connect(target, **options)
        return wrap(raw, mode, optimizer, store=store)
    from godb_fast.dbapi.duckdb import DuckDBConnection
    from godb_fast.engines.duckdb import DuckDBEngine
    from godb_fast.engines.registry import open_engine

    chosen = chosen_mode(mode, "duckdb")
    engine = open_engine(target, **options)
    if not isinstance(engine, DuckDBEngine):
        engine.close()
        raise InvalidInput(f"no DB-API connection for {scheme}://; there are duckdb:// and postgresql://")
    return DuckDBConnection(engine.driver_connection, chosen, _optimizer(optimizer, store), engine=engine)


def _optimizer(optimizer: Optimizer | None, store: Any) -> Optimizer:
    if optimizer is None:
        return Optimizer(store=open_store(store))
    if store is not None:
        raise InvalidInput("give a store or an optimizer, which has its own")
    return optimizer
