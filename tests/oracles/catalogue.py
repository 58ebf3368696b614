"""A real schema read from a DuckDB database's own catalogue, as plainly as can be."""

from __future__ import annotations

import difflib
from typing import Any

from godb_fast.core import Table


class Catalogue:
    """Tables and views of the current database, found by name without regard to case."""

    def __init__(self, connection: Any) -> None:
        self.tables: dict[str, Table] = {}
        keys: dict[str, list[tuple[str, ...]]] = {}
        for table, kind, columns in connection.execute(
            "SELECT table_name, constraint_type, constraint_column_names FROM duckdb_constraints()"
        ).fetchall():
            if kind in ("PRIMARY KEY", "UNIQUE"):
                keys.setdefault(table, []).append(tuple(columns))
        rows: dict[str, list[tuple[str, str, bool]]] = {}
        for table, column, kind, nullable in connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() "
            "WHERE NOT internal ORDER BY table_name, column_index"
        ).fetchall():
            rows.setdefault(table, []).append((column, kind, nullable))
        views = dict(
            connection.execute("SELECT view_name, sql FROM duckdb_views() WHERE NOT internal").fetchall()
        )
        for table, columns in rows.items():
            text = views.get(table)
            self.tables[table.lower()] = Table(
                f"memory.main.{table}",
                tuple(name for name, _, _ in columns),
                tuple(kind for _, kind, _ in columns),
                text.split(" AS ", 1)[1].rstrip(";\n ") if text is not None else None,
                tuple(keys.get(table, ())),
                frozenset(name for name, _, nullable in columns if not nullable),
            )

    def resolve(self, parts: tuple[str, ...]) -> Table | None:
        """The table of that name."""
        return self.tables.get(parts[-1].lower())

    def near(self, name: str) -> tuple[str, ...]:
        """Names like it."""
        return tuple(difflib.get_close_matches(name.lower(), self.tables, 3))
