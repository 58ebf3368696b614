"""All candidate plans of a block costed in all scenarios, in two native calls.

:meth:`Planner.recost` takes plans of any kind one by one; here they come as one array of the block's own
planner, and the hot path cannot spend ten microseconds on each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import CostModel, PlanOperator, RowEstimates
from godb_fast.planning.search import Planner

Floats = NDArray[np.float64]
Nodes = NDArray[Any]


class Recoster:
    """Costs plans of one graph; shared by threads as its planner is."""

    def __init__(self, planner: Planner, cost_model: CostModel) -> None:
        self._planner = planner
        self._cost_model = cost_model
        self._model = cost_model.coefficients()
        self._kernels = planner._kernels
        self._connected = len(planner._native) == 1
        if self._connected:
            self._tables = _byte_tables(planner._native[0], planner.graph.size)

    def recost(self, plans: Nodes, estimates: RowEstimates) -> Floats:
        """Costs in every lane, shape (P, K), of PLAN_NODE arrays of shape (P, 2n - 1).

        Rows and costs of the best guess are written into the plans; joins that name no operator (-1) become
        hash joins.
        """
        count, width = plans.shape
        lanes = estimates.lanes
        planner = self._planner
        if not self._connected:
            return planner.recost(list(plans), estimates, self._cost_model)
        flat = plans.reshape(-1)
        # As one long post-order array: children's positions count from its start.
        shift = np.repeat(np.arange(0, count * width, width, dtype=np.int32), width)
        moved = flat.copy()
        moved["left"] += shift
        moved["right"] += shift
        masks = self._renumbered(flat["relations"])
        rows = np.empty((count * width, lanes))
        costs = np.empty((count * width, lanes))
        natives = planner._borrow()
        try:
            natives[0].estimate_masks(
                masks, lanes, estimates.log_rows, estimates.log_distinct, estimates.log_selectivity, rows
            )
        finally:
            planner._pool.append(natives)
        self._kernels.recost_nodes(lanes, rows, self._model, 0, moved, costs)
        flat["rows"] = rows[:, 0]
        flat["cost"] = costs[:, 0]
        operators = flat["operator"]
        operators[operators < 0] = PlanOperator.HASH_JOIN
        return costs[width - 1 :: width]

    def _renumbered(self, masks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Masks in the native planner's numbering of relations."""
        octets = np.ascontiguousarray(masks).view(np.uint8).reshape(-1, 8)
        found = self._tables[0][octets[:, 0]]
        for position in range(1, len(self._tables)):
            found |= self._tables[position][octets[:, position]]
        return found


def _byte_tables(native: Any, size: int) -> list[NDArray[np.int64]]:
    """Per byte of a mask (little-endian): what each of its 256 values becomes."""
    tables = []
    for first in range(0, size, 8):
        masks = np.arange(256, dtype=np.int64) << first
        tables.append(np.asarray(native.renumber(masks & ((1 << size) - 1)), np.int64))
    return tables
