"""What an engine knows of its tables, in one form for all engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import InvalidInput

#: A value in a column's ordered domain: numbers and booleans as float, times as seconds since 1970, text
#: as str.
Value = float | str


class ColumnKind(Enum):
    """How a column's values are ordered and compared."""

    NUMBER = "number"
    TIME = "time"
    TEXT = "text"
    BOOLEAN = "boolean"
    OTHER = "other"


@dataclass(frozen=True, eq=False)
class ColumnStatistics:
    """Distribution of one column.

    Parameters
    ----------
    kind : ColumnKind
        The domain of ``minimum``, ``maximum``, ``common_values`` and ``histogram``.
    distinct : float
        Estimated number of distinct values that are not NULL.
    null_share : float
        Share of NULLs, 0 to 1.
    minimum, maximum : Value or None
        None if unknown (or the column holds only NULLs).
    common_values, common_shares : tuple of Value, float64 array
        Most common values and their shares of *all* rows, most common first.
    histogram : tuple of Value
        Ascending bounds of buckets with equal shares of the rows that are neither NULL nor common.
    unique : bool
        A key: no value appears twice.
    """

    kind: ColumnKind
    distinct: float
    null_share: float = 0.0
    minimum: Value | None = None
    maximum: Value | None = None
    common_values: tuple[Value, ...] = ()
    common_shares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    histogram: tuple[Value, ...] = ()
    unique: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.distinct < float("inf"):
            raise InvalidInput(f"distinct count {self.distinct} is not a finite number ≥ 0")
        if not 0.0 <= self.null_share <= 1.0:
            raise InvalidInput(f"null share {self.null_share} is not between 0 and 1")
        shares = np.asarray(self.common_shares, np.float64)
        if shares.shape != (len(self.common_values),) or not (np.isfinite(shares) & (shares >= 0)).all():
            raise InvalidInput("each common value needs a finite share that is not negative")


@dataclass(frozen=True, eq=False)
class JointStatistics:
    """What an engine knows of several columns of one table together.

    Parameters
    ----------
    columns : tuple of str
    distinct : mapping of frozenset of str to float
        Distinct combinations of values, by the columns that they are of.
    dependencies : mapping of (frozenset of str, str) to float
        Share of the rows in which the values of the first columns determine that of the last, 0 to 1.
    common_values : tuple of tuple of Value or None
        Most common combinations, in the order of ``columns``; None is NULL.
    common_shares : float64 array
        Their shares of all rows.
    """

    columns: tuple[str, ...]
    distinct: Mapping[frozenset[str], float] = field(default_factory=dict)
    dependencies: Mapping[tuple[frozenset[str], str], float] = field(default_factory=dict)
    common_values: tuple[tuple[Value | None, ...], ...] = ()
    common_shares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


@runtime_checkable
class HasJointStatistics(Protocol):
    """Statistics that know of several columns together."""

    def joint(self, table: str) -> Sequence[JointStatistics]:
        """What is known of columns of a table together; empty where there is nothing."""
        ...


@runtime_checkable
class Statistics(Protocol):
    """Row counts and column distributions, loaded when first asked for.

    Tables are named by the canonical name that the engine's catalogue uses (``Relation.table``).
    """

    @property
    def epoch(self) -> str:
        """Changes whenever earlier estimates may no longer hold (schema, or more than 10 % growth)."""
        ...

    def rows(self, table: str) -> float:
        """Rows of a table.

        Raises
        ------
        MissingStatistics
            If the engine does not know the table.
        """
        ...

    def column(self, table: str, column: str) -> ColumnStatistics | None:
        """Distribution of a column, or None if the engine has none."""
        ...
