"""Naive searches for small graphs: what the kernels for large ones must agree with."""

from __future__ import annotations

import math
from itertools import pairwise, permutations
from random import Random
from typing import Any

import numpy as np

from godb_fast.core import CostModel, PlanOperator, QueryGraph, RowEstimates


def random_graph(
    rng: Random, size: int, extra: int = 0, components: int = 1, lanes: int = 1
) -> tuple[QueryGraph, RowEstimates]:
    """A random graph: a tree per component and ``extra`` edges; some edges are covered by classes, the
    others by selective predicates, and there may be a predicate over three relations."""
    edges = set()
    for node in range(1, size):
        same = [other for other in range(node) if other % components == node % components]
        if same:
            edges.add((rng.choice(same), node))
    for _ in range(extra):
        same = rng.sample(range(size), 2) if size > 1 else []
        if len(same) == 2 and same[0] % components == same[1] % components:
            edges.add((min(same), max(same)))
    ordered = sorted(edges)
    classes: list[tuple[int, ...]] = []
    selective: list[tuple[int, ...]] = []
    for edge in ordered:
        (classes if rng.random() < 0.5 else selective).append(edge)
    if classes and rng.random() < 0.7:
        # A class of three members and the edge that follows from it.
        first = classes[0]
        third = next((b for a, b in ordered if a in first and b not in first), None)
        if third is not None:
            classes[0] = (*first, third)
            ordered.extend((member, third) for member in first)
    if size > 2 and rng.random() < 0.5:
        selective.append(tuple(sorted(rng.sample(range(size), 3))))
    graph = QueryGraph(
        tuple(f"r{i}" for i in range(size)),
        np.array(sorted(set(ordered)), np.int64).reshape(-1, 2),
        class_start=np.cumsum([0, *map(len, classes)]),
        class_member=np.array([i for one in classes for i in one], np.int64),
        selective_start=np.cumsum([0, *map(len, selective)]),
        selective_member=np.array([i for one in selective for i in one], np.int64),
    )
    estimates = RowEstimates.from_logs(
        graph,
        [[rng.uniform(0, 12) for _ in range(lanes)] for _ in range(size)],
        [[-rng.uniform(0, 10) for _ in range(lanes)] for _ in selective],
        [[rng.uniform(0, 10) for _ in range(lanes)] for _ in graph.class_member],
    )
    return graph, estimates


def log_rows(graph: QueryGraph, estimates: RowEstimates, mask: int, lane: int = 0) -> float:
    """ln rows of a relation set, straight from the definition of RowEstimates."""
    total = sum(float(estimates.log_rows[i, lane]) for i in range(graph.size) if mask >> i & 1)
    for i in range(graph.class_start.size - 1):
        held = [
            float(estimates.log_distinct[k, lane])
            for k in range(graph.class_start[i], graph.class_start[i + 1])
            if mask >> int(graph.class_member[k]) & 1
        ]
        if len(held) > 1:
            total -= sum(held) - min(held)
    for i in range(graph.selective_start.size - 1):
        wanted = graph.selective_member[graph.selective_start[i] : graph.selective_start[i + 1]]
        if all(mask >> int(member) & 1 for member in wanted):
            total += float(estimates.log_selectivity[i, lane])
    return total


def rows(graph: QueryGraph, estimates: RowEstimates, mask: int, lane: int = 0) -> float:
    return math.exp(max(-600.0, min(600.0, log_rows(graph, estimates, mask, lane))))


def crosses(graph: QueryGraph, first: int, second: int) -> bool:
    return any(
        (first >> i & 1 and second >> j & 1) or (first >> j & 1 and second >> i & 1)
        for i, j in graph.edges.tolist()
    )


def best_left_deep(graph: QueryGraph, estimates: RowEstimates) -> float:
    """C_out of the best left-deep tree without cross products, by trying every order."""
    best = math.inf
    for order in permutations(range(graph.size)):
        cost, mask = 0.0, 1 << order[0]
        for relation in order[1:]:
            if not crosses(graph, mask, 1 << relation):
                break
            mask |= 1 << relation
            cost += rows(graph, estimates, mask)
        else:
            best = min(best, cost)
    return best


def left_deep_cost(graph: QueryGraph, estimates: RowEstimates, order: tuple[int, ...]) -> float:
    """C_out of the left-deep tree of one order; infinite if it has a cross product."""
    cost, mask = 0.0, 1 << order[0]
    for relation in order[1:]:
        if not crosses(graph, mask, 1 << relation):
            return math.inf
        mask |= 1 << relation
        cost += rows(graph, estimates, mask)
    return cost


def best_of_intervals(
    graph: QueryGraph, estimates: RowEstimates, order: tuple[int, ...], model: CostModel, indexed: set[int]
) -> float:
    """Cost of the cheapest tree over intervals of an order, recursively."""
    best: dict[tuple[int, int], float] = {}
    masks = {}
    for start in reversed(range(len(order))):
        mask = 0
        for stop in range(start, len(order)):
            mask |= 1 << order[stop]
            masks[start, stop] = mask
            if start == stop:
                best[start, stop] = model.scan * rows(graph, estimates, mask)
                continue
            best[start, stop] = math.inf
            for cut in range(start, stop):
                first, second = (start, cut), (cut + 1, stop)
                if crosses(graph, masks[first], masks[second]):
                    cost = min(
                        join_costs(graph, estimates, model, indexed, masks[a], masks[b], best[a], best[b])
                        for a, b in ((first, second), (second, first))
                    )
                    best[start, stop] = min(best[start, stop], cost)
    return best[0, len(order) - 1]


def join_costs(
    graph: QueryGraph,
    estimates: RowEstimates,
    model: CostModel,
    indexed: set[int],
    left: int,
    right: int,
    left_cost: float,
    right_cost: float,
    lane: int = 0,
    operator: PlanOperator | None = None,
) -> float:
    """Cost of joining two sets, the right one built on (or looked up), by one operator or the cheapest."""
    probes, builds = rows(graph, estimates, left, lane), rows(graph, estimates, right, lane)
    output = model.output * rows(graph, estimates, left | right, lane)
    ways = {
        PlanOperator.HASH_JOIN: left_cost + right_cost + model.probe * probes + model.build * builds,
        PlanOperator.CROSS_PRODUCT: left_cost + right_cost + model.probe * probes * max(1.0, builds),
    }
    if model.lookup < math.inf and right.bit_count() == 1 and right.bit_length() - 1 in indexed:
        ways[PlanOperator.INDEX_JOIN] = left_cost + model.lookup * probes
    if model.sort < math.inf:
        work = probes * math.log(1 + probes) + builds * math.log(1 + builds)
        ways[PlanOperator.MERGE_JOIN] = left_cost + right_cost + model.sort * work
    if operator is not None:
        return ways[operator] + output
    del ways[PlanOperator.CROSS_PRODUCT]
    return min(ways.values()) + output


def greedy_cost(graph: QueryGraph, estimates: RowEstimates) -> float | None:
    """C_out of greedy operator ordering; parts without a common edge last, by ascending rows.

    None if two parts have the same rows: their order is anybody's, and a predicate over three relations makes
    it matter.
    """
    parts = [1 << i for i in range(graph.size)]
    cost = 0.0
    while len(parts) > 1:
        pairs = [(a, b) for i, a in enumerate(parts) for b in parts[:i] if crosses(graph, a, b)]
        if not pairs:
            break
        first, second = min(pairs, key=lambda pair: log_rows(graph, estimates, pair[0] | pair[1]))
        parts = [part for part in parts if part not in (first, second)] + [first | second]
        cost += rows(graph, estimates, first | second)
    parts.sort(key=lambda part: log_rows(graph, estimates, part))
    logs = [log_rows(graph, estimates, part) for part in parts]
    if any(later - earlier < 1e-9 for earlier, later in pairwise(logs)):
        return None
    done = parts[0]
    for part in parts[1:]:
        done |= part
        cost += rows(graph, estimates, done)
    return cost


def check_plan(
    graph: QueryGraph,
    estimates: RowEstimates,
    model: CostModel,
    indexed: set[int],
    nodes: Any,
    lane: int = 0,
) -> int:
    """Verify a plan node by node (up to 62 relations); returns how many cross products it has."""
    size, products = graph.size, 0
    assert nodes.shape == (2 * size - 1,)
    masks: list[int] = []
    for position, node in enumerate(nodes.tolist()):
        operator, relation, left, right, mask, count, cost = node
        if operator == PlanOperator.SCAN:
            assert (left, right) == (-1, -1)
            masks.append(1 << relation)
            expected = model.scan * rows(graph, estimates, 1 << relation, lane)
        else:
            assert relation == -1
            # Post-order: the right input directly before the join, the left one before all of the right.
            assert right == position - 1
            assert left == position - 2 * masks[right].bit_count()
            assert not masks[left] & masks[right]
            masks.append(masks[left] | masks[right])
            product = not crosses(graph, masks[left], masks[right])
            assert product == (operator == PlanOperator.CROSS_PRODUCT)
            products += product
            expected = join_costs(
                graph,
                estimates,
                model,
                indexed,
                masks[left],
                masks[right],
                nodes[left]["cost"],
                nodes[right]["cost"],
                lane,
                PlanOperator(operator),
            )
        assert mask == masks[-1]
        assert math.isclose(count, rows(graph, estimates, mask, lane), rel_tol=1e-9)
        assert math.isclose(cost, expected, rel_tol=1e-9)
    assert masks[-1] == (1 << size) - 1
    return products
