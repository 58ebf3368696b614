"""What a statement uses of a DuckDB database: see :mod:`godb_fast.engines.dependencies`.

Tables and views are compared by the statements that made them, as DuckDB prints them: these hold columns,
types, constraints, defaults and generated columns. A statement that may call a user's macro or function is
unknown (:mod:`~godb_fast.engines.duckdb.effects`), so functions are no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from godb_fast.core import Table
from godb_fast.engines.dependencies import Dependencies, digest, named
from godb_fast.engines.duckdb.schema import DuckDBSchema
from godb_fast.errors import SqlError

#: Views in views.
_MAX_DEPTH = 32


def dependencies(
    sql: str, schema: DuckDBSchema, indexes: Mapping[str, tuple[str, ...]], where: tuple[str, ...]
) -> Dependencies | None:
    """What a statement uses as the catalogue is; None if it reads a temporary table, or is not read itself.

    Parameters
    ----------
    indexes : mapping of str to tuple of str
        Statements that made indexes, by canonical name of their table.
    where : tuple of str
        Version, and the settings that results depend on.
    """
    tables: dict[str, Table] = {}
    try:
        if not _collect(sql, schema, tables, 0):
            return None
    except SqlError:
        return None
    if any(table.temporary for table in tables.values()):
        return None
    about: list[Any] = [
        (repr(table), schema.made_by(table), schema.file(table), indexes.get(table.name, ()))
        for table in tables.values()
    ]
    stored = tuple(sorted(name for name, table in tables.items() if not schema.is_view(table)))
    return Dependencies(digest(where, sorted(about)), stored)


def _collect(sql: str, schema: DuckDBSchema, tables: dict[str, Table], depth: int) -> bool:
    """Gather the tables and views of a text and of the views in it; whether all could be read."""
    chains = named(sql, "duckdb", str.lower)
    if chains is None or depth > _MAX_DEPTH:
        return False
    for chain in chains:
        table = schema.resolve(chain)
        if table is None or table.name in tables:
            continue
        tables[table.name] = table
        body = schema.body(table)
        if body is not None and not _collect(body, schema, tables, depth + 1):
            return False
    return True
