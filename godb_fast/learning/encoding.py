"""Terms as arrays: structure in one, what literals say in another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import InvalidInput
from godb_fast.learning.terms import QueryTerms

Floats = NDArray[np.float64]

#: How much a bound or a length counts beside the values of a column, which are a unit vector together.
_SCALAR: Final = 0.7


@dataclass(frozen=True, eq=False)
class TermEncoder:
    """Positions and scales of terms, learned from training queries.

    The values of one column are a unit vector, however many a list has; bounds and lengths are standardized.
    A query that says nothing of a column is encoded as the average of those that do: neither like nor unlike.

    Parameters
    ----------
    structure, values : tuple of str
        Terms with a position.
    middle, scale : float64 arrays, shape (values,)
        What is subtracted (where a column is absent, that is all there is) and, of scalars, divided by.
    """

    structure: tuple[str, ...]
    values: tuple[str, ...]
    middle: Floats
    scale: Floats

    @classmethod
    def of(cls, queries: Sequence[QueryTerms], *, least: int = 5) -> TermEncoder:
        """Learn from queries; values that fewer than ``least`` of them name have no position.

        Raises
        ------
        InvalidInput
            If there are no queries.
        """
        if not queries:
            raise InvalidInput("terms are learned from at least one query")
        structure = tuple(sorted({name for query in queries for name in query.structure}))
        counts = Counter(name for query in queries for name in query.values)
        values = tuple(sorted(name for name, count in counts.items() if count >= least))
        bare = cls(structure, values, np.zeros(len(values)), np.ones(len(values)))
        raw = bare._raw_values(queries)
        known = ~np.isnan(raw)
        number = np.maximum(known.sum(axis=0), 1)
        middle = np.where(known, raw, 0.0).sum(axis=0) / number
        spread = np.sqrt(np.where(known, (raw - middle) ** 2, 0.0).sum(axis=0) / number)
        scalar = np.array([_kind(name) != "value" for name in values], np.bool_)
        scale = np.where(scalar, np.maximum(spread, 1e-9) / _SCALAR, 1.0)
        return cls(structure, values, middle, scale)

    @cached_property
    def _structure_position(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.structure)}

    @cached_property
    def _value_position(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.values)}

    @cached_property
    def _columns(self) -> dict[str, list[int]]:
        """Positions of the values of each column."""
        columns: dict[str, list[int]] = {}
        for name, number in self._value_position.items():
            if _kind(name) == "value":
                columns.setdefault(_column(name), []).append(number)
        return columns

    def encode(self, queries: Sequence[QueryTerms]) -> tuple[Floats, Floats]:
        """Structure as ln(1 + count), shape (n, s), and values, shape (n, v)."""
        position = self._structure_position
        structure = np.zeros((len(queries), len(position)))
        for row, query in zip(structure, queries, strict=True):
            for name, count in query.structure.items():
                place = position.get(name)
                if place is not None:
                    row[place] = np.log1p(count)
        raw = self._raw_values(queries)
        values = np.where(np.isnan(raw), 0.0, (raw - self.middle) / self.scale)
        # A bound far beyond all that was seen says "far", not how far.
        return structure, np.clip(values, -3.0, 3.0)

    def _raw_values(self, queries: Sequence[QueryTerms]) -> Floats:
        """Values as they are, those of one column scaled to unit length; NaN where a column is absent."""
        position, columns = self._value_position, self._columns
        raw = np.full((len(queries), len(position)), np.nan)
        for row, query in zip(raw, queries, strict=True):
            named = {_column(name) for name in query.values if _kind(name) == "value"}
            for column in named:
                row[columns.get(column, [])] = 0.0
            for name, value in query.values.items():
                place = position.get(name)
                if place is not None:
                    row[place] = value
            for column in named:
                places = columns.get(column, [])
                row[places] /= max(float(np.sqrt((row[places] ** 2).sum())), 1.0)
        return raw


def _kind(name: str) -> str:
    return name.partition(" ")[0]


def _column(name: str) -> str:
    kind, _, rest = name.partition(" ")
    return rest.rpartition("#")[0] if kind == "value" else rest
