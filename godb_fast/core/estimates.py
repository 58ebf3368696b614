"""Row estimates of one graph, in K scenarios that one enumeration costs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from godb_fast.errors import InvalidInput

if TYPE_CHECKING:
    from godb_fast.core.graph import QueryGraph

Floats = NDArray[np.float64]

#: The most scenarios that one search costs.
MAX_LANES: Final = 16
#: Row counts stay within exp(±this): beyond it doubles underflow or overflow and searches turn slow.
MAX_LOG_ROWS: Final = 600.0


def _lanes(values: ArrayLike, rows: int, what: str, upper: float) -> Floats:
    array = np.array(values, dtype=np.float64, ndmin=1)
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2 or array.shape[0] != rows:
        raise InvalidInput(f"{what} has shape {array.shape}, but the graph needs ({rows}, K)")
    if np.isnan(array).any():
        raise InvalidInput(f"{what} holds NaN; every estimate needs a number")
    array = np.ascontiguousarray(np.clip(array, -MAX_LOG_ROWS, upper))
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class RowEstimates:
    """Natural logarithms of what a search needs; K columns are K scenarios (lanes), lane 0 the best guess.

    The row count of a relation set S is ``exp`` of: the sum of its relations' ``log_rows``, minus, for each
    equivalence class with two or more members in S, the sum of those members' ``log_distinct`` less the
    smallest of them, plus ``log_selectivity`` of each selective predicate that lies within S.

    Parameters
    ----------
    log_rows : float64 array, shape (n, K)
        ln of the rows of each relation after its own filters.
    log_distinct : float64 array, shape (k, K)
        ln of the effective number of distinct values of each equivalence-class member.
    log_selectivity : float64 array, shape (p, K)
        ln of each selective predicate's selectivity, at most 0.
    """

    log_rows: Floats
    log_distinct: Floats
    log_selectivity: Floats

    @classmethod
    def of(
        cls,
        graph: QueryGraph,
        rows: ArrayLike,
        selectivities: ArrayLike = (),
        distinct: ArrayLike = (),
    ) -> RowEstimates:
        """Estimates from plain numbers: rows per relation, selectivity per selective predicate, distinct
        values per class member, each of shape (count,) or (count, K).

        Raises
        ------
        InvalidInput
            If a number is NaN, infinite or negative, or a shape does not fit the graph.
        """
        parts = []
        for values, what in ((rows, "rows"), (distinct, "distinct"), (selectivities, "selectivities")):
            array = np.asarray(values, dtype=np.float64)
            if not np.isfinite(array).all() or (array < 0).any():
                bad = array[~np.isfinite(array) | (array < 0)].ravel()[0]
                raise InvalidInput(f"{what} holds {bad}; estimates are finite and not negative")
            with np.errstate(divide="ignore"):
                parts.append(np.log(array))
        return cls.from_logs(graph, parts[0], parts[2], parts[1])

    @classmethod
    def from_logs(
        cls,
        graph: QueryGraph,
        log_rows: ArrayLike,
        log_selectivity: ArrayLike = (),
        log_distinct: ArrayLike = (),
    ) -> RowEstimates:
        """Estimates from logarithms; shapes are checked, values clamped, lanes broadcast."""
        parts: Sequence[Floats] = (
            _lanes(log_rows, graph.size, "log_rows", MAX_LOG_ROWS),
            _lanes(log_distinct, graph.class_member.size, "log_distinct", MAX_LOG_ROWS),
            _lanes(log_selectivity, graph.selective_start.size - 1, "log_selectivity", MAX_LOG_ROWS),
        )
        lanes = max(part.shape[1] for part in parts if part.shape[0] or part is parts[0])
        if lanes > MAX_LANES:
            raise InvalidInput(f"{lanes} scenarios asked for; at most {MAX_LANES} are costed in one search")
        fitted = []
        for part in parts:
            if part.shape[1] not in (1, lanes) and part.shape[0]:
                raise InvalidInput(f"scenario counts differ: {part.shape[1]} and {lanes}")
            wide = np.ascontiguousarray(
                np.broadcast_to(part[:, :1] if part.shape[1] != lanes else part, (part.shape[0], lanes))
            )
            wide.setflags(write=False)
            fitted.append(wide)
        return cls(*fitted)

    @property
    def lanes(self) -> int:
        """Number of scenarios K."""
        return int(self.log_rows.shape[1])
