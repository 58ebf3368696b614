"""The distinct plans among those that a search found, and the engine's own, costed in every scenario."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from godb_fast import backend as backends
from godb_fast.core import PLAN_NODE, CostModel, PlanOperator, RowEstimates
from godb_fast.core.relation_set import MAX_MASKED, relation_set
from godb_fast.planning.choice import summarize
from godb_fast.planning.search import Planner

Floats = NDArray[np.float64]
Nodes = NDArray[Any]


class Assessment(NamedTuple):
    """Candidate plans of one block.

    Parameters
    ----------
    plans : PLAN_NODE array, shape (P, 2n - 1)
        With rows and costs of lane 0.
    costs : float64 array, shape (P, K)
    which : list of int, length L + 1
        For each of the L lanes that were searched the number of its plan; then that of the engine's own, -1
        if it is not known.
    summaries : list, length P
        Per plan what :class:`~godb_fast.planning.choice.Summary` holds.
    """

    plans: Nodes
    costs: Floats
    which: list[int]
    summaries: Sequence[Sequence[float]]


class Assessor:
    """Costs candidates of one graph. Safe to share between threads: each call borrows scratch memory.

    Parameters
    ----------
    planner : Planner
        Of the graph; costs plans of graphs beyond 62 relations.
    cost_model : CostModel
    backend : str or None
        Of the kernels.
    """

    def __init__(self, planner: Planner, cost_model: CostModel, backend: str | None = None) -> None:
        self._planner = planner
        self._cost_model = cost_model
        graph = planner.graph
        self._small = graph.size <= MAX_MASKED
        self._pool: list[Any] = []
        if self._small:
            self._kernel = backends.kernels("assessment", backend)
            self._graph = (
                graph.size,
                graph.class_start,
                graph.class_member,
                [
                    relation_set(graph.selective_member[start:stop].tolist())
                    for start, stop in pairwise(graph.selective_start.tolist())
                ],
                [[int(operator.kind), operator.left, operator.right] for operator in graph.operators],
                cost_model.coefficients(),
            )

    def kernel(self) -> Any:
        """A native assessor for one thread; None for graphs whose sets fit no mask."""
        return self._kernel.Assessor(*self._graph) if self._small else None

    def assess(self, found: Nodes, own: Nodes | None, estimates: RowEstimates | Floats) -> Assessment:
        """Distinct plans among ``found`` and ``own``, in this order, and their costs.

        Parameters
        ----------
        found : PLAN_NODE array, shape (L, 2n - 1)
            The cheapest plans of the first L lanes, as the search returns them.
        own : PLAN_NODE array, shape (2n - 1,), or None
            The engine's own plan, as :meth:`Planner.compile` returns it.
        estimates : RowEstimates or float64 array, shape (S, K)
            An array holds rows by set, as :meth:`Planner.search` takes them.
        """
        if not self._small or not isinstance(estimates, RowEstimates):
            return self._assess_slowly(found, own, estimates)
        searched, lanes = len(found), estimates.lanes
        plans = np.empty((searched + 1, found.shape[1]), PLAN_NODE)
        costs = np.empty((searched + 1, lanes))
        which = np.empty(searched + 1, np.int64)
        summary = np.empty((searched + 1, 3))
        try:
            kernel = self._pool.pop()
        except IndexError:
            kernel = self.kernel()
        try:
            count = kernel.assess(
                lanes,
                searched,
                found,
                own,
                estimates.log_rows,
                estimates.log_distinct,
                estimates.log_selectivity,
                plans,
                costs,
                which,
                summary,
            )
        finally:
            self._pool.append(kernel)
        return Assessment(plans[:count], costs[:count], which.tolist(), summary[:count].tolist())

    def _assess_slowly(self, found: Nodes, own: Nodes | None, estimates: RowEstimates | Floats) -> Assessment:
        """The same where it takes milliseconds anyway: sets that fit no mask, rows that were corrected."""
        rows = [*found] if own is None else [*found, own]
        keys = [row[["relation", "left", "right"]].tobytes() for row in rows]
        order = list(dict.fromkeys(keys))
        plans = np.stack([rows[keys.index(key)] for key in order])
        costs = self._planner.recost(list(plans), estimates, self._cost_model)
        plans["operator"][plans["operator"] < 0] = PlanOperator.HASH_JOIN
        plans["cost"][:, -1] = costs[:, 0]
        which = [order.index(key) for key in keys]
        if own is None:
            which.append(-1)
        return Assessment(plans, costs, which, summarize(costs.tolist(), which[-1]))
