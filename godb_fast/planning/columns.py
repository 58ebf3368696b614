"""Where distributions come from: tables, by name, or blocks that pass a column on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np

from godb_fast.core import ColumnKind, ColumnStatistics, HasJointStatistics, JointStatistics, Statistics
from godb_fast.errors import InvalidInput, MissingStatistics
from godb_fast.planning.distribution import Distribution

#: Rows assumed of a table or block of which nothing is known, and the spread of their logarithm.
UNKNOWN_ROWS: Final = 1000.0
UNKNOWN_ROWS_SPREAD: Final = 2.0


#: What was prepared of each living statistics object: its epoch, rows by table, columns.
_prepared: WeakKeyDictionary[
    Statistics, tuple[str, dict[str, float | None], dict[tuple[str, str], Distribution]]
] = WeakKeyDictionary()


class Distributions:
    """The columns of an engine's statistics, each prepared once and shared by all templates of an epoch.

    Two threads may prepare the same column at the same time; either result serves.
    """

    def __init__(self, statistics: Statistics) -> None:
        self.statistics = statistics
        self.epoch = statistics.epoch
        try:
            found = _prepared.get(statistics)
            if found is None or found[0] != self.epoch:
                found = _prepared[statistics] = (self.epoch, {}, {})
        except TypeError:
            # Objects of this class cannot be referred to weakly, or not be hashed: nothing is shared.
            found = (self.epoch, {}, {})
        _, self._rows, self._columns = found

    def rows(self, table: str) -> float | None:
        """Rows of a table; None if the engine does not know it.

        Raises
        ------
        InvalidInput
            If the engine's number is NaN, infinite or negative.
        """
        if table not in self._rows:
            try:
                rows = float(self.statistics.rows(table))
            except MissingStatistics:
                self._rows[table] = None
            else:
                if not 0.0 <= rows < math.inf:
                    raise InvalidInput(
                        f"statistics give {rows} rows for table {table!r}; row counts are finite and ≥ 0"
                    )
                self._rows[table] = rows
        return self._rows[table]

    def load(self, wanted: Mapping[str, set[str]]) -> None:
        """Have statistics of several columns read at once, if the engine offers that (``load``)."""
        load = getattr(self.statistics, "load", None)
        if load is None:
            return
        known = {
            table: sorted(names)
            for table, columns in wanted.items()
            if self.rows(table) is not None
            and (names := {name for name in columns if (table, name) not in self._columns})
        }
        if known:
            load(known)

    def column(self, table: str, name: str) -> Distribution:
        """Distribution of a table's column; documented defaults if nothing is known of it."""
        key = (table, name)
        found = self._columns.get(key)
        if found is None:
            rows = self.rows(table)
            statistics = None if rows is None else self.statistics.column(table, name)
            found = self._columns[key] = Distribution(statistics, UNKNOWN_ROWS if rows is None else rows)
        return found

    def joint(self, table: str) -> Sequence[JointStatistics]:
        """What is known of columns of a table together."""
        statistics = self.statistics
        if not isinstance(statistics, HasJointStatistics) or self.rows(table) is None:
            return ()
        return statistics.joint(table)


def derived_column(column: Distribution, rows: float, unique: bool) -> Distribution:
    """A column as a block passes it on: the same values in fewer rows, or each of them once."""
    bounds = tuple(column.bounds)
    kind = column.kind if column.known else ColumnKind.OTHER
    common = () if unique else tuple(column.common)
    shares = np.array([column.common[value] for value in common])
    ends = (bounds[0], bounds[-1]) if bounds else (None, None)
    statistics = ColumnStatistics(
        kind,
        min(column.distinct, max(rows, 1.0)),
        null_share=0.0 if unique else column.null_share,
        minimum=ends[0],
        maximum=ends[1],
        common_values=common,
        common_shares=shares,
        histogram=() if unique or len(bounds) < 3 else bounds,
        unique=unique,
    )
    return Distribution(statistics, rows)
