"""What an engine knows of its tables, in one form for all engines."""

from __future__ import annotations

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
