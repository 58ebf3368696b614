"""Join orders for graphs beyond exact search: linearized dynamic programming, and greedy operator ordering.

Limits: ordering constraints (outer, semi, anti joins) up to 62 relations, linearized search up to 128, greedy
ordering beyond. The kernels are ``src_ext/linearized.py`` and ``src_ext/greedy.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast import backend as backends
from godb_fast.core.conflicts import EITHER, FIRST_IS_LEFT, ILLEGAL, orientation
from godb_fast.core.cost_model import C_OUT, CostModel
from godb_fast.core.estimates import MAX_LOG_ROWS, RowEstimates
from godb_fast.core.graph import JoinKind, QueryGraph
from godb_fast.core.plan import PLAN_NODE
from godb_fast.core.relation_set import members
from godb_fast.errors import InvalidInput

if TYPE_CHECKING:
    from godb_fast.core.steering import JoinTree

Floats = NDArray[np.float64]

#: The most relations of a linearized search: its time grows with their cube, its memory with their square.
MAX_LINEARIZED: Final = 128
METHODS: Final = ("linearized", "greedy")


def search_large(
    graph: QueryGraph,
    estimates: RowEstimates,
    cost_model: CostModel = C_OUT,
    *,
    method: str | None = None,
    indexed: Iterable[int] = (),
    backend: str | None = None,
) -> tuple[NDArray[Any], str]:
    """Good plans of a graph that is too large for exact search, one per scenario.

    Parameters
    ----------
    method : str or None
        ``linearized``: dynamic programming over the intervals of the IKKBZ order. ``greedy``: greedy operator
        ordering. None: up to 128 relations both, the intervals of the greedy plan's leaves too, and of these
        the cheapest; beyond, ``greedy``.
    indexed : iterable of int
        Relations that an index join can look up (where the cost model allows index joins).
    backend : str or None
        As in :func:`godb_fast.backend.kernels`.

    Returns
    -------
    nodes : array of PLAN_NODE, shape (K, 2n - 1)
        One plan per scenario, in post-order; each costed in its own scenario.
    algorithm : str
        ``linearized`` or ``greedy``.

    Raises
    ------
    InvalidInput
        If the method is unknown or beyond its limit, the estimates do not fit the graph, or the searches
        ended where the ordering constraints allow no further join and ``graph.written`` is None.
    """
    return LargeSearch(graph, indexed=indexed, backend=backend).search(estimates, cost_model, method=method)


class LargeSearch:
    """:func:`search_large` for one graph again and again: keeps the graph's arrays and all buffers.

    An instance serves one thread at a time.
    """

    def __init__(self, graph: QueryGraph, *, indexed: Iterable[int] = (), backend: str | None = None) -> None:
        self.graph = graph
        self._planner: Any = None
        # Where linear orders and greedy ordering end in a set that nothing may join, the tree as written
        # remains; and where they do not, the intervals of its leaves are worth a try.
        self._written = _filled([])
        if graph.operators and graph.written is not None:
            self._written = _joins(graph, graph.written)
        if graph.size:
            kernels = backends.kernels("large_planner", backend)
            self._planner = kernels.LargePlanner(_layout(graph, indexed), int(graph.size <= MAX_LINEARIZED))

    def search(
        self,
        estimates: RowEstimates,
        cost_model: CostModel = C_OUT,
        *,
        method: str | None = None,
    ) -> tuple[NDArray[Any], str]:
        """As :func:`search_large`."""
        graph, lanes = self.graph, estimates.lanes
        size = graph.size
        if method is not None and method not in METHODS:
            raise InvalidInput(f"unknown method {method!r}; one of {', '.join(METHODS)} is meant")
        if method == "linearized" and size > MAX_LINEARIZED:
            raise InvalidInput(
                f"linearized search takes at most {MAX_LINEARIZED} relations, not {size}; use 'greedy'"
            )
        for array, count, what in (
            (estimates.log_rows, size, "log_rows"),
            (estimates.log_distinct, graph.class_member.size, "log_distinct"),
            (estimates.log_selectivity, graph.selective_start.size - 1, "log_selectivity"),
        ):
            if len(array) != count:
                raise InvalidInput(f"{what} has {len(array)} entries, but the graph needs {count}")
        algorithm = method or ("linearized" if size <= MAX_LINEARIZED else "greedy")
        nodes = np.zeros((lanes, max(0, 2 * size - 1)), PLAN_NODE)
        if size == 0:
            return nodes, algorithm
        selectivity = estimates.log_selectivity
        if graph.operators:
            selectivity = np.concatenate([selectivity, _operator_factors(graph, estimates)])
        linear, greedily = algorithm == "linearized", method != "linearized"
        for ways in ((linear, greedily), (linear, True)):
            found = self._planner.search(
                lanes,
                _by_lane(estimates.log_rows),
                _by_lane(estimates.log_distinct),
                _by_lane(selectivity),
                cost_model.coefficients(),
                *map(int, ways),
                self._written,
                nodes.view(np.int32).reshape(-1),
            )
            if found:
                return nodes, algorithm
        raise InvalidInput(
            "no join order was found under the ordering constraints; give the graph a legal tree (written=…)"
        )

    def last_order(self) -> tuple[int, ...]:
        """The linear order of relations whose intervals the last search tried last, for diagnostics."""
        return tuple(self._planner.last_order().tolist()) if self._planner is not None else ()


def _by_lane(values: Floats) -> Floats:
    flat = np.array(values.T, np.float64, order="C", copy=True).reshape(-1)
    return flat if flat.size else np.zeros(1)


def _filled(values: Any) -> NDArray[np.int32]:
    """As int32, with at least one element: kernels take addresses."""
    array = np.ascontiguousarray(values, np.int32)
    return array if array.size else np.zeros(1, np.int32)


def _starts(owners: Any, count: int) -> NDArray[np.int64]:
    """CSR offsets for entries whose owners ascend."""
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(owners, minlength=count), out=starts[1:])
    return starts


def _neighbours(edges: Any, size: int) -> tuple[Any, Any, Any]:
    both = np.concatenate([edges[:, 0], edges[:, 1]])
    other = np.concatenate([edges[:, 1], edges[:, 0]])
    order = np.lexsort((other, both))
    return _starts(both, size), other[order], np.tile(np.arange(len(edges)), 2)[order]


def _layout(graph: QueryGraph, indexed: Iterable[int]) -> dict[str, Any]:
    """The graph as the kernels read it; see ``LargePlanner``."""
    size, edges = graph.size, graph.edges
    counted = np.diff(graph.class_start)
    by_relation = np.argsort(graph.class_member, kind="stable")
    owner = np.repeat(np.arange(graph.selective_start.size - 1), np.diff(graph.selective_start))
    pairs = np.stack([owner, graph.selective_member], axis=1)
    predicate_count = graph.selective_start.size - 1
    if graph.operators:
        # Outer, semi and anti joins change rows by a factor, as one more predicate of their relations.
        factors = [
            (predicate_count + i, relation)
            for i, operator in enumerate(graph.operators)
            for relation in members(operator.left | operator.right)
        ]
        pairs = np.concatenate([pairs, np.array(factors, np.int64)])
        predicate_count += len(graph.operators)
    pairs = np.unique(pairs, axis=0) if len(pairs) else pairs
    sizes = np.bincount(pairs[:, 0], minlength=predicate_count) if len(pairs) else np.zeros(predicate_count)
    first = np.searchsorted(pairs[:, 0], np.arange(predicate_count))
    tree_edges = edges
    if graph.operators:
        crossing = {
            (min(i, j), max(i, j))
            for operator in graph.operators
            for i in members(operator.left)
            for j in members(operator.right)
        }
        tree_edges = np.array(sorted(crossing.union(map(tuple, edges.tolist()))), np.int64).reshape(-1, 2)
    edge_starts, edge_predicates, binary = _predicates_by_edge(edges, size, pairs, sizes, first)
    tree_starts, tree_predicates, _ = _predicates_by_edge(tree_edges, size, pairs, sizes, first)
    by_member = np.lexsort((pairs[:, 0], pairs[:, 1]))
    wide = by_member[~binary[pairs[by_member, 0]]]
    near_starts, near, near_edges = _neighbours(edges, size)
    span_starts, span_near, span_edges = _neighbours(tree_edges, size)
    lookups = np.zeros(size, np.int32)
    lookups[list(indexed)] = 1
    arrays = {
        "edge_ends": edges.reshape(-1),
        "edge_starts": edge_starts,
        "edge_predicates": edge_predicates,
        "near_starts": near_starts,
        "near": near,
        "near_edges": near_edges,
        "tree_starts": span_starts,
        "tree_near": span_near,
        "tree_edges": span_edges,
        "tree_edge_starts": tree_starts,
        "tree_edge_predicates": tree_predicates,
        "class_starts": _starts(graph.class_member, size),
        "classes": np.repeat(np.arange(counted.size), counted)[by_relation],
        "class_entries": by_relation,
        "predicate_starts": _starts(pairs[:, 1], size),
        "predicates": pairs[by_member, 0],
        "predicate_sizes": sizes,
        "wide_starts": _starts(pairs[wide, 1], size),
        "wides": pairs[wide, 0],
        "indexed": lookups,
    }
    constraints = [(int(one.kind), one.left, one.right) for one in graph.operators]
    return {
        **{name: _filled(array) for name, array in arrays.items()},
        "constraints": np.array(constraints or [(0, 0, 0)], np.int64).reshape(-1),
        "free": np.array(graph.adjacency if graph.operators else np.zeros(1), np.int64),
        "size": size,
        "edges": len(edges),
        "tree_edge_count": len(tree_edges),
        "entries": graph.class_member.size,
        "class_count": counted.size,
        "predicate_count": predicate_count,
        "operators": len(graph.operators),
    }


def _predicates_by_edge(
    edges: Any, size: int, pairs: Any, sizes: Any, first: Any
) -> tuple[Any, Any, NDArray[np.bool_]]:
    """Two-relation predicates of each edge in CSR form, and which predicates these are."""
    binary = np.asarray(sizes == 2)
    candidates = np.flatnonzero(binary)
    keys = edges[:, 0] * size + edges[:, 1]
    wanted = pairs[first[candidates], 1] * size + pairs[first[candidates] + 1, 1]
    at = np.searchsorted(keys, wanted)
    at[at == len(keys)] = 0
    hit = keys[at] == wanted if len(keys) else np.zeros(len(wanted), bool)
    binary[candidates[~hit]] = False
    order = np.argsort(at[hit], kind="stable")
    return _starts(at[hit], len(edges)), candidates[hit][order], binary


def _operator_factors(graph: QueryGraph, estimates: RowEstimates) -> Floats:
    """ln of what each operator changes an inner join's rows by, shape (operators, K).

    With e inner matches per left row, a left join has max(1, e) rows per left row, a semi join min(1, e), an
    anti join max(0.1, 1 - e); as in ``src_ext/cardinality.py``.
    """
    left = [one.left for one in graph.operators]
    both = [one.left | one.right for one in graph.operators]
    matches = _log_rows(graph, estimates, both) - _log_rows(graph, estimates, left)
    unmatched = np.maximum(1.0 - np.exp(np.clip(matches, -MAX_LOG_ROWS, MAX_LOG_ROWS)), 0.1)
    factors = {
        JoinKind.INNER: np.zeros_like(matches),
        JoinKind.LEFT: -np.minimum(matches, 0.0),
        JoinKind.SEMI: -np.maximum(matches, 0.0),
        JoinKind.ANTI: np.log(unmatched) - matches,
    }
    return np.stack([factors[one.kind][i] for i, one in enumerate(graph.operators)])


def _log_rows(graph: QueryGraph, estimates: RowEstimates, masks: Sequence[int]) -> Floats:
    """ln rows of relation sets as if all their joins were inner joins, shape (sets, K)."""
    inside = np.array([[mask >> i & 1 for i in range(graph.size)] for mask in masks], bool)
    total: Floats = inside @ estimates.log_rows
    filled = np.flatnonzero(np.diff(graph.class_start))
    if filled.size:
        held = inside[:, graph.class_member]
        starts = graph.class_start[filled]
        distinct = np.where(held[:, :, None], estimates.log_distinct, np.inf)
        least = np.minimum.reduceat(distinct, starts, axis=1)
        total -= held @ estimates.log_distinct
        total += np.where(np.isfinite(least), least, 0.0).sum(axis=1)
    for i in range(graph.selective_start.size - 1):
        wanted = graph.selective_member[graph.selective_start[i] : graph.selective_start[i + 1]]
        total += np.all(inside[:, wanted], axis=1, keepdims=True) * estimates.log_selectivity[i]
    return total


def _joins(graph: QueryGraph, tree: JoinTree) -> NDArray[np.int32]:
    """A join tree as (input, input, orientations) per join, inputs before joins."""
    joins: list[int] = []
    done: list[tuple[int, int]] = []
    stack: list[tuple[JoinTree, bool]] = [(tree, False)]
    while stack:
        node, expanded = stack.pop()
        if isinstance(node, int):
            if not 0 <= node < graph.size:
                raise InvalidInput(f"the tree names relation {node}, but the graph has {graph.size}")
            done.append((node, 1 << node))
        elif expanded:
            (right, second), (left, first) = done.pop(), done.pop()
            joins.extend((left, right, _ways(graph, first, second)))
            done.append((graph.size + len(joins) // 3 - 1, first | second))
        else:
            stack.extend(((node, True), (node[1], False), (node[0], False)))
    if len(joins) != 3 * (graph.size - 1) or done[0][1] != (1 << graph.size) - 1:
        raise InvalidInput(f"the tree does not hold each of the graph's {graph.size} relations once")
    return _filled(joins)


def _ways(graph: QueryGraph, first: int, second: int) -> int:
    """How two sets may be joined, in the kernels' bits (``enumeration.orientations``)."""
    answer = orientation(graph.adjacency.tolist(), graph.operators, first, second)
    if answer == ILLEGAL:
        raise InvalidInput(
            f"the tree joins {graph.names(first)} with {graph.names(second)} against the ordering constraints"
        )
    if answer == EITHER:
        return 15
    outer = any(
        operator.kind is JoinKind.LEFT
        and not (operator.left | operator.right) & ~(first | second)
        and (operator.left | operator.right) & ~first
        and (operator.left | operator.right) & ~second
        for operator in graph.operators
    )
    forward = answer == FIRST_IS_LEFT
    return (7 if forward else 11) if outer else (5 if forward else 10)
