"""Naive join ordering: definitions written down as they read, with no regard for speed."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from godb_fast.core import CostModel, JoinKind, PlanOperator, QueryGraph, RowEstimates
from godb_fast.core.conflicts import EITHER, FIRST_IS_LEFT, SECOND_IS_LEFT, orientation

Rows = Callable[[int], float]


def letters(text: str) -> QueryGraph:
    """``"A-B A-C"`` as a graph; relations are numbered by letter."""
    edges = [tuple(ord(end) - 65 for end in edge.split("-")) for edge in text.split()]
    count = max(itertools.chain.from_iterable(edges)) + 1
    return QueryGraph.from_edges([chr(65 + i) for i in range(count)], edges)  # type: ignore[arg-type]


def name(mask: int) -> str:
    """``ABC`` for a mask."""
    return "".join(chr(65 + i) for i in members(mask))


def members(mask: int) -> list[int]:
    return [i for i in range(mask.bit_length()) if mask >> i & 1]


def connected(graph: QueryGraph, mask: int) -> bool:
    inside = members(mask)
    seen = {inside[0]} if inside else set()
    for _ in inside:
        for left, right in graph.edges.tolist():
            if mask >> left & 1 and mask >> right & 1 and (left in seen or right in seen):
                seen |= {left, right}
    return len(seen) == len(inside) > 0


def connected_sets(graph: QueryGraph) -> list[int]:
    return [mask for mask in range(1, 1 << graph.size) if connected(graph, mask)]


def splits(mask: int) -> Iterator[tuple[int, int]]:
    """All ordered splits of a set into two sets that are not empty."""
    part = (mask - 1) & mask
    while part:
        yield part, mask ^ part
        part = (part - 1) & mask


def pairs(graph: QueryGraph) -> set[tuple[int, int]]:
    """csg-cmp pairs, each once, the part with the lowest relation first."""
    sets = set(connected_sets(graph))
    return {
        (left, right)
        for mask in sets
        for left, right in splits(mask)
        if left in sets and right in sets and left & mask & -mask
    }


def rows_of(graph: QueryGraph, estimates: RowEstimates, lane: int = 0) -> Rows:
    """The definition in ``RowEstimates``, with operators' corrections as ``_kernels.cardinality`` states them."""

    def log_inner(mask: int) -> float:
        total = sum(float(estimates.log_rows[i, lane]) for i in members(mask))
        for first, last in itertools.pairwise(graph.class_start.tolist()):
            inside = [
                float(estimates.log_distinct[at, lane])
                for at in range(first, last)
                if mask >> int(graph.class_member[at]) & 1
            ]
            if len(inside) > 1:
                total -= sum(inside) - min(inside)
        for number, (first, last) in enumerate(itertools.pairwise(graph.selective_start.tolist())):
            if last > first and all(mask >> int(i) & 1 for i in graph.selective_member[first:last]):
                total += float(estimates.log_selectivity[number, lane])
        return total

    @cache
    def rows(mask: int) -> float:
        total = log_inner(mask)
        for operator in graph.operators:
            everything = operator.left | operator.right
            if everything & ~mask:
                continue
            matches = log_inner(everything) - log_inner(operator.left)
            factor = math.exp(min(600.0, matches))
            if operator.kind is JoinKind.LEFT:
                total += math.log(max(1.0, factor)) - matches
            elif operator.kind is JoinKind.SEMI:
                total += math.log(min(1.0, factor)) - matches
            elif operator.kind is JoinKind.ANTI:
                total += math.log(max(0.1, 1.0 - factor)) - matches
        return math.exp(max(-600.0, min(600.0, total)))

    return rows


def join_costs(
    graph: QueryGraph,
    rows: Rows,
    model: CostModel,
    indexed: Sequence[bool],
    left: int,
    right: int,
    left_cost: float,
    right_cost: float,
) -> dict[PlanOperator, float]:
    """Cost of each operator for ``left ⋈ right`` with that build side, empty if the pair is illegal."""

    def times(coefficient: float, value: float) -> float:
        return coefficient * value if coefficient else 0.0

    may_probe_index = True
    if graph.operators:
        answer = orientation(graph.adjacency.tolist(), graph.operators, left, right)
        kind = kind_of(graph, left, right)
        if kind in (JoinKind.SEMI, JoinKind.ANTI) and answer != FIRST_IS_LEFT:
            return {}
        if answer not in (EITHER, FIRST_IS_LEFT, SECOND_IS_LEFT):
            return {}
        may_probe_index = answer != SECOND_IS_LEFT
    elif not any(graph.adjacency[i] & right for i in members(left)):
        return {}
    out = rows(left | right)
    output = times(model.output, out) if out < math.inf else math.inf
    probing, building = rows(left), rows(right)
    costs = {
        PlanOperator.HASH_JOIN: left_cost
        + right_cost
        + times(model.probe, probing)
        + times(model.build, building)
        + output
    }
    if model.sort < math.inf:
        costs[PlanOperator.MERGE_JOIN] = (
            left_cost
            + right_cost
            + times(model.sort, probing) * math.log(1 + probing)
            + times(model.sort, building) * math.log(1 + building)
            + output
        )
    single = right & (right - 1) == 0
    usable = single and may_probe_index and bool(indexed) and indexed[right.bit_length() - 1]
    if model.lookup < math.inf and usable:
        costs[PlanOperator.INDEX_JOIN] = left_cost + times(model.lookup, probing) + output
    return costs


def kind_of(graph: QueryGraph, left: int, right: int) -> JoinKind | None:
    """Kind of the operator that becomes applicable when two sets are joined, if it is not a free edge."""
    both = left | right
    for operator in graph.operators:
        needed = operator.left | operator.right
        if not needed & ~both and needed & ~left and needed & ~right:
            return operator.kind
    return None


def optimum(
    graph: QueryGraph,
    rows: Rows,
    model: CostModel,
    indexed: Sequence[bool] = (),
) -> float:
    """Cost of the cheapest plan of all, by trying every split of every set."""

    @cache
    def best(mask: int) -> float:
        if mask & (mask - 1) == 0:
            return model.scan * rows(mask) if model.scan else 0.0
        cheapest = math.inf
        for left, right in splits(mask):
            left_cost, right_cost = best(left), best(right)
            if math.inf in (left_cost, right_cost):
                continue
            costs = join_costs(graph, rows, model, indexed, left, right, left_cost, right_cost)
            cheapest = min(cheapest, *costs.values()) if costs else cheapest
        return cheapest

    return best((1 << graph.size) - 1)


def check_plan(
    graph: QueryGraph, nodes: Any, rows: Rows, model: CostModel, indexed: Sequence[bool] = ()
) -> None:
    """Assert that a plan is well formed and legal, and that its rows and costs are what they should be."""
    assert len(nodes) == 2 * graph.size - 1
    used: set[int] = set()
    for i, node in enumerate(nodes):
        mask, cost = int(node["relations"]), float(node["cost"])
        assert math.isclose(float(node["rows"]), rows(mask), rel_tol=1e-9)
        if node["operator"] == PlanOperator.SCAN:
            assert mask == 1 << int(node["relation"])
            assert (node["left"], node["right"]) == (-1, -1)
            wanted = model.scan * rows(mask) if model.scan else 0.0
        else:
            assert node["relation"] == -1
            left, right = nodes[int(node["left"])], nodes[int(node["right"])]
            assert int(node["right"]) == i - 1
            used |= {int(node["left"]), int(node["right"])}
            assert int(left["relations"]) & int(right["relations"]) == 0
            assert int(left["relations"]) | int(right["relations"]) == mask
            wanted = join_costs(
                graph,
                rows,
                model,
                indexed,
                int(left["relations"]),
                int(right["relations"]),
                float(left["cost"]),
                float(right["cost"]),
            )[PlanOperator(int(node["operator"]))]
            if node["operator"] == PlanOperator.INDEX_JOIN:
                # The right side's scan is not paid; its node still shows what it would cost.
                assert right["operator"] == PlanOperator.SCAN
        assert math.isclose(cost, wanted, rel_tol=1e-9)
    assert used == set(range(len(nodes) - 1))


def connected_graphs(size: int) -> Iterator[QueryGraph]:
    """Every connected graph with labelled relations."""
    possible = list(itertools.combinations(range(size), 2))
    for chosen in range(1 << len(possible)):
        edges = [edge for i, edge in enumerate(possible) if chosen >> i & 1]
        if len(edges) < size - 1:
            continue
        graph = QueryGraph.from_edges(size, edges)
        if connected(graph, (1 << size) - 1):
            yield graph


def random_graph(size: int, source: random.Random) -> QueryGraph:
    """A connected graph of random density."""
    edges = {(source.randrange(i), i) for i in range(1, size)}
    density = source.random() ** 2
    edges |= {edge for edge in itertools.combinations(range(size), 2) if source.random() < density}
    order = list(range(size))
    source.shuffle(order)
    return QueryGraph.from_edges(size, [(order[a], order[b]) for a, b in sorted(edges)])


def random_estimates(graph: QueryGraph, source: random.Random, lanes: int = 1) -> RowEstimates:
    def draw(count: int, low: float, high: float) -> list[list[float]]:
        return [[source.uniform(low, high) for _ in range(lanes)] for _ in range(count)]

    return RowEstimates.from_logs(
        graph,
        draw(graph.size, 0.0, 12.0),
        draw(graph.selective_start.size - 1, -12.0, 0.0),
        draw(graph.class_member.size, 0.0, 8.0),
    )


def chain(size: int) -> QueryGraph:
    return QueryGraph.from_edges(size, [(i, i + 1) for i in range(size - 1)])


def cycle(size: int) -> QueryGraph:
    return QueryGraph.from_edges(size, [(i, (i + 1) % size) for i in range(size)])


def star(size: int) -> QueryGraph:
    return QueryGraph.from_edges(size, [(0, i) for i in range(1, size)])


def clique(size: int) -> QueryGraph:
    return QueryGraph.from_edges(size, list(itertools.combinations(range(size), 2)))


__all__ = [
    "chain",
    "check_plan",
    "clique",
    "connected_graphs",
    "connected_sets",
    "cycle",
    "join_costs",
    "letters",
    "name",
    "optimum",
    "pairs",
    "random_estimates",
    "random_graph",
    "rows_of",
    "star",
]
