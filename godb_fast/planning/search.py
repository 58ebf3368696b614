"""The search for join orders: exact within a budget of counted pairs, linearized or greedy beyond it.

How a connected graph is searched follows from its shape and from its *counted* csg-cmp pairs, never from the
number of relations alone:

1. More than ``pair_budget`` pairs, or more than 62 relations: ``planning.large`` (linearized DP, greedy).
2. Pairs that fit ``list_bytes`` (four bytes each) are listed once, grouped by their union, and replayed by
   every search: by tree splits (``dptree``) if the graph is acyclic, else by DPccp (``dpccp``).
3. More pairs than that are enumerated anew by every search. Where a table with one slot per mask wastes
   little (at most 12 relations, or at least one mask in 16 connected): tree splits for acyclic graphs, one
   AND a pair; all subset splits (``dpsub``) if they are at most four times the pairs, as a subset split costs
   about a quarter of an enumerated pair.
4. Else pairs are streamed in chunks, by DPccp or tree splits, with a hash table of the csgs. Graphs with
   ordering constraints (outer, semi, anti joins) are streamed too, through a filter of legal pairs.

Ties are decided as ``_kernels.extraction`` documents. Components of a disconnected graph are planned one by
one, and joined by cross products last, in ascending order of their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from godb_fast import backend as backends
from godb_fast.core import C_OUT, PLAN_NODE, CostModel, JoinTree, Plan, PlanOperator, QueryGraph, RowEstimates
from godb_fast.core.estimates import MAX_LANES
from godb_fast.core.relation_set import MAX_MASKED
from godb_fast.errors import InvalidInput
from godb_fast.planning.layout import connected_parts, layout

Floats = NDArray[np.float64]
Nodes = NDArray[Any]

#: Exact up to this many csg-cmp pairs: a star of 18 or a clique of 13. At 1 to 4 ns a pair, the worst exact
#: search takes a few milliseconds.
DEFAULT_PAIR_BUDGET: Final = 1_500_000
#: The largest pair list that a planner keeps.
LIST_BYTES: Final = 1 << 20

#: Rows by relation set: as an array over ``Planner.sets``, shape (S,) or (S, K).
RowsBySet: TypeAlias = "Floats | Sequence[float]"


class Planner:
    """Plans one join graph again and again, under any row estimates, in native memory of its own.

    Safe to share between threads: each search borrows a native planner from a pool without locks.

    Parameters
    ----------
    graph : QueryGraph
    pair_budget : int
        The most csg-cmp pairs that are searched exactly, per connected component.
    indexed : sequence of bool
        Per relation: whether an index join may look it up. Empty: none.
    backend : str or None
        ``cython``, ``numba`` or ``python``; None: the selected one.
    list_bytes : int
        The largest pair list that is kept for replay.

    Raises
    ------
    InvalidInput
        If the graph's ordering constraints admit no plan.

    Attributes
    ----------
    exact : bool
        Whether plans are optimal; else ``sets`` is empty and searches need ``RowEstimates``.
    pairs : int
        Number of csg-cmp pairs (of all components); -1 if not exact.
    sets : int64 array, shape (S,)
        The connected relation sets as masks, subsets before supersets: the order in which rows by set are
        given.
    """

    def __init__(
        self,
        graph: QueryGraph,
        *,
        pair_budget: int = DEFAULT_PAIR_BUDGET,
        indexed: Sequence[bool] = (),
        backend: str | None = None,
        list_bytes: int = LIST_BYTES,
    ) -> None:
        if len(indexed) not in (0, graph.size):
            raise InvalidInput(
                f"indexed has {len(indexed)} entries, but the graph has {graph.size} relations"
            )
        self.graph = graph
        self.backend = backend or backends.selected()
        self._indexed = tuple(bool(flag) for flag in indexed)
        self._kernels = backends.kernels("planner", self.backend)
        self._pool: list[tuple[Any, ...]] = []
        self._large: list[Any] = []
        self._trees: dict[JoinTree, Nodes] = {}
        self._width = max(2 * graph.size - 1, 0)
        parts = connected_parts(graph)
        self.exact = graph.size <= MAX_MASKED
        natives: list[Any] = []
        if self.exact:
            for part in parts:
                arrays = layout(graph, part, self._indexed)
                # A relation and its neighbours alone are a star, and edges only add pairs to that.
                degree = max(int(mask).bit_count() for mask in arrays["adjacency"])
                if degree and degree << (degree - 1) > pair_budget:
                    self.exact = False
                    break
                native = self._kernels.Planner(arrays, pair_budget, list_bytes)
                if not native.algorithm:
                    self.exact = False
                    break
                if not native.buildable:
                    raise InvalidInput(
                        f"the operators of {', '.join(graph.relations)} admit no join order: "
                        "edges must not repeat the predicates of outer, semi and anti joins"
                    )
                natives.append(native)
        if not self.exact:
            natives = []
        self._native = tuple(natives)
        self._parts = parts
        self._counts = tuple(len(native.relation_sets) for native in natives)
        self.pairs = sum(native.pair_total for native in natives) if self.exact else -1
        self.sets: NDArray[np.int64] = (
            np.concatenate([native.relation_sets for native in natives]) if natives else np.zeros(0, np.int64)
        )
        self.sets.setflags(write=False)
        largest = max(natives, key=lambda native: int(native.pair_total), default=None)
        self._algorithm = "" if largest is None else str(largest.algorithm)
        if natives:
            self._pool.append(self._native)

    @property
    def algorithm(self) -> str:
        """``dptree``, ``dpsub`` or ``dpccp`` for exact searches; else what the last search used."""
        return self._algorithm

    @property
    def replayed(self) -> bool:
        """Whether searches replay kept pair lists."""
        return self.exact and all(native.listed for native in self._native)

    @property
    def natives(self) -> tuple[Any, ...]:
        """The native planner of each connected component, for inspection; empty if not exact."""
        return self._native

    def listed_pairs(self) -> NDArray[np.int64]:
        """The kept pairs as masks (left, right), shape (P, 2).

        With ordering constraints: the legal ones, once for each input that may be the left one.

        Raises
        ------
        InvalidInput
            If the pairs are not kept.
        """
        if not self.replayed:
            raise InvalidInput("the pair list of this graph is too long to be kept")
        parts = [native.listed_pairs() for native in self._native]
        return np.concatenate(parts) if parts else np.zeros((0, 2), np.int64)

    def rows(self, estimates: RowEstimates) -> Floats:
        """Rows of every set of ``sets`` in every lane, shape (S, K)."""
        self._check(estimates)
        planners = self._borrow()
        try:
            parts = []
            for native in planners:
                native.estimate(estimates.lanes, *_logs(estimates))
                parts.append(native.own_rows(estimates.lanes).copy())
            return np.concatenate(parts) if parts else np.zeros((0, estimates.lanes))
        finally:
            self._pool.append(planners)

    def search(
        self,
        estimates: RowEstimates | RowsBySet,
        cost_model: CostModel = C_OUT,
        out: Nodes | None = None,
    ) -> Nodes:
        """The cheapest plan of every lane, as PLAN_NODE arrays of shape (K, 2n - 1).

        Parameters
        ----------
        estimates : RowEstimates or array
            Estimates; or rows by relation set, shape (S,) or (S, K) in the order of ``sets``, infinite where
            they are unknown (plans that need such a set cost infinity).
        cost_model : CostModel
        out : PLAN_NODE array, shape (K, 2n - 1)
            Where to write the plans; allocated if not given.

        Raises
        ------
        InvalidInput
            If rows are negative or NaN, or a shape does not fit.
        """
        rows: Floats | None = None
        if isinstance(estimates, RowEstimates):
            self._check(estimates)
            lanes = estimates.lanes
        else:
            rows = self._rows_by_set(estimates)
            lanes = rows.shape[1]
        if out is None:
            out = np.empty((lanes, self._width), PLAN_NODE)
        elif out.dtype != PLAN_NODE or out.shape != (lanes, self._width) or not out.flags.c_contiguous:
            raise InvalidInput(
                f"out has shape {out.shape} and type {out.dtype}, but the search writes "
                f"({lanes}, {self._width}) contiguous nodes of PLAN_NODE"
            )
        model = cost_model.coefficients()
        if not self.exact:
            return self._search_large(estimates, cost_model, out)
        planners = self._borrow()
        try:
            if len(planners) == 1:
                self._search_part(planners[0], estimates, rows, lanes, model, out, 0)
            elif planners:
                self._search_parts(planners, estimates, rows, lanes, model, out)
        finally:
            self._pool.append(planners)
        return out

    def plans(
        self, estimates: RowEstimates | RowsBySet, cost_model: CostModel = C_OUT, out: Nodes | None = None
    ) -> list[Plan]:
        """As :meth:`search`, one :class:`Plan` per lane."""
        nodes = self.search(estimates, cost_model, out)
        return [Plan(self.graph.relations, row, self.algorithm) for row in nodes]

    def recost(
        self,
        trees: Iterable[Plan | JoinTree | Nodes],
        estimates: RowEstimates | RowsBySet,
        cost_model: CostModel = C_OUT,
    ) -> Floats:
        """Cost of given plans in every lane, shape (plans, K).

        Plans and PLAN_NODE arrays keep their operators; in join trees (right is the build side) each join
        uses the cheapest operator that the cost model offers. Where rows are given by set, a set that is not
        connected has the product of its inputs' rows.

        Raises
        ------
        InvalidInput
            If a tree does not join every relation of the graph once.
        """
        if isinstance(estimates, RowEstimates):
            self._check(estimates)
            lanes = estimates.lanes
        else:
            estimates = self._rows_by_set(estimates)
            lanes = estimates.shape[1]
        model = cost_model.coefficients()
        indexed = sum(1 << i for i, flag in enumerate(self._indexed[:MAX_MASKED]) if flag)
        compiled = [self.compile(tree) for tree in trees]
        costs = np.zeros((len(compiled), lanes))
        for number, nodes in enumerate(compiled):
            if not len(nodes):
                continue
            rows = self._node_rows(nodes, estimates, lanes)
            each = np.empty((len(nodes), lanes))
            with np.errstate(all="ignore"):
                self._kernels.recost_nodes(lanes, rows, model, indexed, nodes, each)
            costs[number] = each[-1]
        return costs

    def compile(self, tree: Plan | JoinTree | Nodes) -> Nodes:
        """A tree as the PLAN_NODE array that :meth:`recost` reads; operator -1 stands for the cheapest one.

        Join trees are remembered, so that an engine's own plan is translated once per template.
        """
        if isinstance(tree, Plan):
            tree = tree.nodes
        if isinstance(tree, np.ndarray):
            if tree.dtype != PLAN_NODE or tree.shape != (self._width,):
                raise InvalidInput(
                    f"a plan has {tree.shape} nodes of type {tree.dtype}; the graph needs {self._width}"
                )
            return np.ascontiguousarray(tree)
        found = self._trees.get(tree)
        if found is None:
            found = self._compile(tree)
            if len(self._trees) >= 64:
                self._trees.clear()
            self._trees[tree] = found
        return found

    # -- inside ------------------------------------------------------------------------------------------

    def lend(self) -> Any:
        """A native planner of one's own, for one thread; None unless the graph is connected and exact."""
        if not self.exact or len(self._native) != 1:
            return None
        return self._borrow()[0]

    def _borrow(self) -> tuple[Any, ...]:
        try:
            return self._pool.pop()
        except IndexError:
            return tuple(native.twin() for native in self._native)

    def _check(self, estimates: RowEstimates) -> None:
        graph = self.graph
        wanted = (graph.size, graph.class_member.size, graph.selective_start.size - 1)
        given = (
            estimates.log_rows.shape[0],
            estimates.log_distinct.shape[0],
            estimates.log_selectivity.shape[0],
        )
        if given != wanted:
            raise InvalidInput(
                f"estimates are for {given} relations, class members and selective predicates; "
                f"the graph has {wanted}"
            )

    def _rows_by_set(self, rows: RowsBySet) -> Floats:
        if not self.exact:
            raise InvalidInput(
                f"the graph of {self.graph.size} relations exceeds the pair budget, so that its sets are not "
                "listed; give RowEstimates, or a larger pair_budget"
            )
        array = np.ascontiguousarray(rows, np.float64)
        if array.ndim == 1:
            array = array.reshape(-1, 1)
        if array.ndim != 2 or array.shape[0] != len(self.sets) or not 1 <= array.shape[1] <= MAX_LANES:
            raise InvalidInput(
                f"rows have shape {np.shape(rows)}, but the graph has {len(self.sets)} sets and a search "
                f"costs 1 to {MAX_LANES} scenarios"
            )
        return array

    def _search_part(
        self,
        native: Any,
        estimates: RowEstimates | RowsBySet,
        rows: Floats | None,
        lanes: int,
        model: Floats,
        out: Nodes,
        first: int,
    ) -> None:
        if isinstance(estimates, RowEstimates):
            native.estimate(lanes, estimates.log_rows, estimates.log_distinct, estimates.log_selectivity)
        if self.backend == "cython":
            invalid = native.search(lanes, rows, model, out)
        else:
            # NumPy's scalars warn where C is silent: of infinite rows.
            with np.errstate(all="ignore"):
                invalid = native.search(lanes, rows, model, out)
        if invalid and rows is not None:
            number, lane = (int(at[0]) for at in np.nonzero(~(rows >= 0)))
            mask = int(self.sets[first + number])
            raise InvalidInput(
                f"rows of {{{self.graph.names(mask)}}} are {rows[number, lane]} in lane {lane}; "
                "row counts are not negative"
            )

    def _search_parts(
        self,
        planners: tuple[Any, ...],
        estimates: RowEstimates | RowsBySet,
        rows: Floats | None,
        lanes: int,
        model: Floats,
        out: Nodes,
    ) -> None:
        """Components one by one, then cross products in ascending order of rows."""
        found: list[Nodes] = []
        first = 0
        for native, part, count in zip(planners, self._parts, self._counts, strict=True):
            nodes = np.empty((lanes, 2 * len(part) - 1), PLAN_NODE)
            share = None if rows is None else np.ascontiguousarray(rows[first : first + count])
            self._search_part(native, estimates, share, lanes, model, nodes, first)
            found.append(nodes)
            first += count
        for lane in range(lanes):
            order = sorted(range(len(found)), key=lambda i: (float(found[i][lane, -1]["rows"]), i))
            self._cross([found[i][lane] for i in order], estimates, lane, model, out[lane])

    def _cross(
        self,
        parts: Sequence[Nodes],
        estimates: RowEstimates | RowsBySet,
        lane: int,
        model: Floats,
        out: Nodes,
    ) -> None:
        at = 0
        top = -1
        for nodes in parts:
            target = out[at : at + len(nodes)]
            target[:] = nodes
            joins = target["operator"] != PlanOperator.SCAN
            target["left"][joins] += at
            target["right"][joins] += at
            at += len(nodes)
            right = at - 1
            if top >= 0:
                left_rows, right_rows = float(out[top]["rows"]), float(out[right]["rows"])
                mask = int(out[top]["relations"]) | int(out[right]["relations"])
                if isinstance(estimates, RowEstimates):
                    rows = float(np.exp(np.clip(_log_rows(self.graph, estimates, mask)[lane], -600.0, 600.0)))
                else:
                    rows = left_rows * right_rows if left_rows and right_rows else 0.0
                cost = float(out[top]["cost"]) + float(out[right]["cost"])
                if model[2] > 0:
                    cost += float(model[2]) * left_rows * max(1.0, right_rows)
                if model[3] > 0:
                    cost += float(model[3]) * rows
                out[at] = (PlanOperator.CROSS_PRODUCT, -1, top, right, mask, rows, cost)
                right = at
                at += 1
            top = right

    def _search_large(self, estimates: RowEstimates | RowsBySet, cost_model: CostModel, out: Nodes) -> Nodes:
        from godb_fast.planning.large import LargeSearch

        assert isinstance(estimates, RowEstimates)
        try:
            search = self._large.pop()
        except IndexError:
            indexed = [i for i, flag in enumerate(self._indexed) if flag]
            search = LargeSearch(self.graph, indexed=indexed, backend=self.backend)
        try:
            nodes, self._algorithm = search.search(estimates, cost_model)
        finally:
            self._large.append(search)
        out[:] = nodes
        return out

    def _compile(self, tree: JoinTree) -> Nodes:
        graph = self.graph
        nodes = np.zeros(self._width, PLAN_NODE)
        small = graph.size <= MAX_MASKED
        neighbours: list[set[int]] = [set() for _ in range(graph.size)]
        for left, right in graph.edges.tolist():
            neighbours[left].add(right)
            neighbours[right].add(left)
        seen: set[int] = set()
        at = 0
        # Post-order with an explicit stack: a tree may be a thousand deep.
        stack: list[tuple[JoinTree, bool]] = [(tree, False)]
        done: list[tuple[int, set[int]]] = []
        while stack:
            node, expanded = stack.pop()
            if not isinstance(node, tuple):
                if node in seen or not 0 <= node < graph.size:
                    raise InvalidInput(f"the join tree names relation {node} twice, or the graph lacks it")
                seen.add(node)
                nodes[at] = (PlanOperator.SCAN, node, -1, -1, 1 << node if small else 0, 0.0, 0.0)
                done.append((at, {node}))
                at += 1
            elif not expanded:
                stack.extend([(node, True), (node[1], False), (node[0], False)])
            else:
                (right_at, right_set), (left_at, left_set) = done.pop(), done.pop()
                joined = any(not neighbours[i].isdisjoint(right_set) for i in left_set) or any(
                    _crosses(operator.left, operator.right, left_set, right_set)
                    for operator in graph.operators
                )
                mask = int(nodes[left_at]["relations"]) | int(nodes[right_at]["relations"])
                kind = -1 if joined else int(PlanOperator.CROSS_PRODUCT)
                nodes[at] = (kind, -1, left_at, right_at, mask, 0.0, 0.0)
                done.append((at, left_set | right_set))
                at += 1
        if at != self._width:
            raise InvalidInput(f"the join tree has {len(seen)} relations, the graph has {graph.size}")
        nodes.setflags(write=False)
        return nodes

    def _node_rows(self, nodes: Nodes, estimates: RowEstimates | RowsBySet, lanes: int) -> Floats:
        masks = nodes["relations"]
        rows = np.empty((len(nodes), lanes))
        if isinstance(estimates, RowEstimates):
            if len(self._native) == 1:
                native = self._native[0]
                planners = self._borrow()
                try:
                    planners[0].estimate_masks(native.renumber(masks), lanes, *_logs(estimates), rows)
                finally:
                    self._pool.append(planners)
                return rows
            return self._node_rows_apart(nodes, estimates, rows)
        known = {int(mask): number for number, mask in enumerate(self.sets.tolist())}
        by_set = np.asarray(estimates)
        for i, mask in enumerate(masks.tolist()):
            number = known.get(mask)
            if number is not None:
                rows[i] = by_set[number]
            else:
                with np.errstate(invalid="ignore"):
                    rows[i] = rows[int(nodes[i]["left"])] * rows[int(nodes[i]["right"])]
                rows[i][np.isnan(rows[i])] = 0.0
        return rows

    def _node_rows_apart(self, nodes: Nodes, estimates: RowEstimates, rows: Floats) -> Floats:
        """Node by node, for graphs without one native planner: several components, or a large graph."""
        below: list[set[int]] = []
        for i, node in enumerate(nodes):
            relation = int(node["relation"])
            below.append(
                {relation} if relation >= 0 else below[int(node["left"])] | below[int(node["right"])]
            )
            mask = sum(1 << relation for relation in below[i])
            rows[i] = np.exp(np.clip(_log_rows(self.graph, estimates, mask), -600.0, 600.0))
        return rows


def plan(
    graph: QueryGraph,
    rows: RowEstimates | RowsBySet | Mapping[int, float] | Callable[[int], float],
    cost_model: CostModel = C_OUT,
    *,
    pair_budget: int = DEFAULT_PAIR_BUDGET,
    indexed: Sequence[bool] = (),
    backend: str | None = None,
) -> Plan:
    """The cheapest plan of a join graph, with no SQL and no engine.

    Parameters
    ----------
    graph : QueryGraph
    rows : RowEstimates, array, mapping or callable
        Estimates (lane 0 counts); or rows by relation set: in the order of ``Planner(graph).sets``, as a
        mapping from mask to rows, or as a function of the mask.

    Raises
    ------
    InvalidInput
        If rows are negative or NaN, or a mapping lacks a connected set.

    Examples
    --------
    >>> graph = QueryGraph.from_edges(["title", "cast", "name"], [(0, 1), (1, 2)])
    >>> rows = {1: 10.0, 2: 1000.0, 4: 50.0, 3: 40.0, 6: 1000.0, 7: 20.0}
    >>> plan(graph, rows).tree()
    (2, (1, 0))
    """
    planner = Planner(graph, pair_budget=pair_budget, indexed=indexed, backend=backend)
    given: RowEstimates | RowsBySet
    if isinstance(rows, Mapping):
        missing = [mask for mask in planner.sets.tolist() if mask not in rows]
        if missing:
            raise InvalidInput(f"no rows are given for the relation set {{{graph.names(missing[0])}}}")
        given = [rows[mask] for mask in planner.sets.tolist()]
    elif callable(rows):
        given = [rows(mask) for mask in planner.sets.tolist()]
    else:
        given = rows
    return planner.plans(given, cost_model)[0]


def _logs(estimates: RowEstimates) -> tuple[Floats, Floats, Floats]:
    return estimates.log_rows, estimates.log_distinct, estimates.log_selectivity


def _crosses(left: int, right: int, first: set[int], second: set[int]) -> bool:
    ways = ((first, second), (second, first))
    return any(any(left >> i & 1 for i in a) and any(right >> i & 1 for i in b) for a, b in ways)


def _log_rows(graph: QueryGraph, estimates: RowEstimates, mask: int) -> Floats:
    """ln rows of any relation set, shape (K,), without operators' corrections."""
    inside = [i for i in range(graph.size) if mask >> i & 1]
    total: Floats = estimates.log_rows[inside].sum(axis=0)
    starts = graph.class_start.tolist()
    for first, last in pairwise(starts):
        entries = [at for at in range(first, last) if mask >> int(graph.class_member[at]) & 1]
        if len(entries) > 1:
            distinct = estimates.log_distinct[entries]
            total = total - (distinct.sum(axis=0) - distinct.min(axis=0))
    starts = graph.selective_start.tolist()
    for number, (first, last) in enumerate(pairwise(starts)):
        if all(mask >> int(i) & 1 for i in graph.selective_member[first:last]):
            total = total + estimates.log_selectivity[number]
    return total
