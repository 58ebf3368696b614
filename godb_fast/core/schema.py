"""An engine's catalogue, as names are resolved in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Table:
    """A table or view.

    Parameters
    ----------
    name : str
        Canonical, fully qualified and unquoted: ``catalog.schema.table``.
    columns, types : tuple of str
        In the table's order; types as the engine prints them.
    view_sql : str or None
        A view's SELECT.
    unique : tuple of tuple of str
        Column sets whose uniqueness the engine enforces (primary keys, unique constraints).
    not_null : frozenset of str
        Columns that the engine keeps free of NULL.
    """

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    view_sql: str | None = None
    unique: tuple[tuple[str, ...], ...] = ()
    not_null: frozenset[str] = frozenset()
    temporary: bool = False


@runtime_checkable
class Schema(Protocol):
    """Resolves names as the engine would, under the connection's search path."""

    def resolve(self, parts: tuple[str, ...]) -> Table | None:
        """The table or view that ``parts`` (``(table,)``, ``(schema, table)`` …) names, or None.

        Names are compared as the engine does (DuckDB: without regard to case).
        """
        ...

    def near(self, name: str) -> tuple[str, ...]:
        """Names of tables like the given one, best first, for messages."""
        ...
