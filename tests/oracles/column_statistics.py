"""Statistics taken from a DuckDB table by counting everything: an oracle, nothing is sampled."""

from __future__ import annotations

from typing import Any

import numpy as np

from godb_fast.core import ColumnKind, ColumnStatistics
from godb_fast.errors import MissingStatistics
from godb_fast.planning.domains import CONVERTERS

KINDS = {
    "INTEGER": ColumnKind.NUMBER,
    "BIGINT": ColumnKind.NUMBER,
    "DOUBLE": ColumnKind.NUMBER,
    "VARCHAR": ColumnKind.TEXT,
    "DATE": ColumnKind.TIME,
    "TIMESTAMP": ColumnKind.TIME,
    "BOOLEAN": ColumnKind.BOOLEAN,
}


class CountedStatistics:
    """The :class:`Statistics` protocol over a connection; tables are named by their bare names."""

    epoch = "counted"

    def __init__(
        self, connection: Any, *, common: int = 50, buckets: int = 100, keys: tuple[str, ...] = ()
    ) -> None:
        self.connection, self.common, self.buckets, self.keys = connection, common, buckets, keys
        self.cache: dict[tuple[str, str], ColumnStatistics | None] = {}

    def rows(self, table: str) -> float:
        if not self.ask("SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [table])[0][0]:
            raise MissingStatistics(f"no statistics for table {table!r}")
        return float(self.ask(f'SELECT count(*) FROM "{table}"')[0][0])

    def ask(self, sql: str, params: list[Any] | None = None) -> list[Any]:
        return self.connection.cursor().execute(sql, params or []).fetchall()

    def column(self, table: str, column: str) -> ColumnStatistics | None:
        if (table, column) not in self.cache:
            self.cache[table, column] = self.count(table, column)
        return self.cache[table, column]

    def count(self, table: str, column: str) -> ColumnStatistics | None:
        found = self.ask(
            "SELECT data_type FROM duckdb_columns() WHERE table_name = ? AND column_name = ?", [table, column]
        )
        if not found:
            return None
        kind = KINDS.get(found[0][0], ColumnKind.OTHER)
        place = CONVERTERS[kind]
        groups = self.ask(
            f'SELECT "{column}", count(*) FROM "{table}" WHERE "{column}" IS NOT NULL '
            f"GROUP BY 1 ORDER BY 2 DESC, 1"
        )
        rows = max(self.rows(table), 1.0)
        filled = sum(count for _, count in groups)
        unique = f"{table}.{column}" in self.keys
        common = [] if unique else [(place(v), n / rows) for v, n in groups[: self.common] if n > 1]
        rest = sorted((place(v), n) for v, n in groups[len(common) :])
        values = np.repeat(np.arange(len(rest)), [n for _, n in rest]) if rest else np.zeros(0, int)
        histogram: tuple[Any, ...] = ()
        if len(values) > self.buckets:
            picks = np.linspace(0, len(values) - 1, self.buckets + 1).astype(int)
            histogram = tuple(rest[values[i]][0] for i in picks)
        everything = sorted(place(v) for v, _ in groups)
        return ColumnStatistics(
            kind,
            float(len(groups)),
            null_share=1.0 - filled / rows if rows else 0.0,
            minimum=everything[0] if everything else None,
            maximum=everything[-1] if everything else None,
            common_values=tuple(v for v, _ in common),
            common_shares=np.array([share for _, share in common]),
            histogram=histogram,
            unique=unique,
        )
