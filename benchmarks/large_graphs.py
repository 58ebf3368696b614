"""Rows of the enumeration benchmark beyond exact search, and optimality on published graphs."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import graphs
from benchmarks.common import Options, Report, interleave, percentiles, ratio
from benchmarks.reference import NODE, library, pointer
from godb_fast.core import QueryGraph, RowEstimates
from godb_fast.planning.large import LargeSearch
from godb_fast.planning.search import Planner

INPUTS = 4


def _c_linearized(
    graph: QueryGraph, inputs: list[RowEstimates]
) -> tuple[Callable[[int], object], list[float]]:
    lib = library("linearized")
    lib.linearized.restype = ctypes.c_double
    lib.scratch_bytes.restype = ctypes.c_int64
    size = graph.size
    near: list[list[tuple[int, int]]] = [[] for _ in range(size)]
    for number, (left, right) in enumerate(graph.edges.tolist()):
        near[left].append((right, number))
        near[right].append((left, number))
    starts = np.cumsum([0, *map(len, near)]).astype(np.int32)
    others = np.array([other for entry in near for other, _ in entry], np.int32)
    numbers = [number for entry in near for _, number in entry]
    work = np.zeros(lib.scratch_bytes(size), np.uint8)
    tree = np.zeros(4 * size, np.int32)
    kept = [
        (np.ascontiguousarray(each.log_selectivity[numbers, 0]), np.ascontiguousarray(each.log_rows[:, 0]))
        for each in inputs
    ]
    given = [
        (
            size,
            pointer(starts),
            pointer(others),
            pointer(weights),
            pointer(rows),
            pointer(work),
            pointer(tree),
        )
        for weights, rows in kept
    ]

    def call(number: int, alive: Any = (starts, others, work, tree, kept)) -> object:
        return lib.linearized(*given[number % INPUTS])

    return call, [float(call(number)) for number in range(INPUTS)]  # type: ignore[arg-type]


def compare_large(options: Options, report: Report) -> None:
    """Linearized DP at 100 relations against C, greedy ordering at 1000."""
    worst = 0.0
    two = graphs.chain(2)
    search, estimates = LargeSearch(two), graphs.random_estimates(two, 1)
    calls: dict[str, Callable[[int], object]] = {
        "alone": lambda i, search=search, estimates=estimates: search.search(estimates, method="linearized")
    }
    alone = float(interleave(calls, 31, repeat=20, seed=options.seed)["alone"].min())
    report.note(f"A call of the linearized search alone costs {1e6 * alone:.1f} µs (left out in its column).")
    for name, graph in (
        ("chain of 100", graphs.chain(100)),
        ("tree of 100", graphs.random_tree(100, 1)),
        ("snowflake of 100", graphs.snowflake(100, 2)),
        ("star of 100", graphs.star(100)),
    ):
        inputs = [graphs.random_estimates(graph, seed) for seed in range(INPUTS)]
        reference, costs = _c_linearized(graph, inputs)
        search = LargeSearch(graph)
        found = [search.search(each, method="linearized")[0][0, -1]["cost"] for each in inputs]
        if not np.allclose(found, costs, rtol=1e-9):
            raise AssertionError(f"{name}: linearized costs {found}, C finds {costs}")
        arms: dict[str, Callable[[int], object]] = {
            "C": reference,
            "C again": reference,
            "linearized": lambda i, search=search, inputs=inputs: search.search(
                inputs[i % INPUTS], method="linearized"
            ),
            "greedy": lambda i, search=search, inputs=inputs: search.search(
                inputs[i % INPUTS], method="greedy"
            ),
            "both": lambda i, search=search, inputs=inputs: search.search(inputs[i % INPUTS]),
        }
        taken = interleave(arms, 15 if options.quick else 31, repeat=10, seed=options.seed)
        taken["linearized"] = taken["linearized"] - alone
        worst = max(worst, ratio(taken["linearized"], taken["C"]))
        greedy = search.search(inputs[0], method="greedy")[0][0, -1]["cost"]
        report.row(
            "linearized search of 100 relations, µs",
            graph=name,
            C=1e6 * taken["C"].min(),
            linearized=1e6 * taken["linearized"].min(),
            linearized_to_C=ratio(taken["linearized"], taken["C"]),
            A_to_A=ratio(taken["C again"], taken["C"]),
            greedy=1e6 * taken["greedy"].min(),
            both=1e6 * taken["both"].min(),
            greedy_cost_to_linearized=float(greedy / found[0]),
        )
    report.floor("linearized search of 100 relations, times C", worst, 1.3)
    slowest = 0.0
    for name, graph in (
        ("chain of 1000", graphs.chain(1000)),
        ("tree of 1000", graphs.random_tree(1000, 1)),
        ("star of 1000", graphs.star(1000)),
        ("1000 with 500 extra edges", graphs.random_graph(1000, 500, 1)),
    ):
        estimates = graphs.random_estimates(graph, 1)
        best = np.inf
        for _ in range(3):
            started = time.perf_counter()
            nodes = Planner(graph).search(estimates)
            best = min(best, time.perf_counter() - started)
        slowest = max(slowest, best)
        report.row(
            "1000 relations, from graph to plan", graph=name, ms=1e3 * best, cost=float(nodes[0, -1]["cost"])
        )
    report.floor("1000 relations, seconds", slowest, 1.0)


def check_published(options: Options, report: Report) -> None:
    """C_out under true cardinalities: ours is the optimum on every published graph; how far others are."""
    folder = options.folder("join_graphs_true_cards", graphs.PUBLICATION).parent
    lib = library("join_order")
    lib.connected_pairs.restype = ctypes.c_double
    planners: dict[bytes, tuple[Planner, LargeSearch]] = {}
    checked = wrong = unknown = 0
    distances: dict[str, list[float]] = {"linearized": [], "greedy": []}
    for number, published in enumerate(graphs.ceb_graphs(folder)):
        if options.quick and number % 10:
            continue
        graph = published.graph
        key = graph.edges.tobytes() + bytes([graph.size])
        if key not in planners:
            planners[key] = (Planner(graph), LargeSearch(graph))
        planner, large = planners[key]
        rows = published.rows(planner.sets)
        cost = float(planner.search(rows)[0, -1]["cost"])
        optimum = _c_optimum(lib, planner, rows)
        checked += 1
        unknown += not np.isfinite(published.cardinalities).all()
        wrong += cost != optimum
        if not np.isfinite(optimum) or optimum == 0:
            continue
        by_set = dict(zip(planner.sets.tolist(), rows.tolist(), strict=True))
        estimates = pairwise_estimates(graph, by_set)
        large.search(estimates, method="linearized")
        for name, found in (
            ("linearized", best_of_intervals(graph, large.last_order(), by_set)),
            ("greedy", greedy_cost(graph, by_set)),
        ):
            distances[name].append(found / optimum)
    report.row(
        "published graphs, C_out under true cardinalities",
        search="exact",
        graphs=checked,
        with_unknown_sets=unknown,
        not_optimal=wrong,
    )
    report.floor("published graphs on which the exact search misses the optimum", wrong, 0)
    for name, values in distances.items():
        middle, high, top = percentiles(values, 50, 95, 100)
        report.row(
            "C_out divided by the optimum, under true cardinalities",
            search=name,
            graphs=len(values),
            optimal=float(np.mean(np.array(values) <= 1 + 1e-12)),
            p50=middle,
            p95=high,
            max=top,
        )


def _c_optimum(lib: Any, planner: Planner, rows: Any) -> float:
    """An independent exact search: DPccp as in the paper, in plain C."""
    arrays = planner.natives[0].arrays
    size = planner.graph.size
    sets, near = arrays["sets"], arrays["adjacency"]
    cost, by_mask = np.full(1 << size, np.inf), np.zeros(1 << size)
    choice, node = np.zeros(1 << size, np.int64), np.zeros(2 * size - 1, NODE)
    return float(
        lib.connected_pairs(
            size,
            pointer(near),
            ctypes.c_int64(len(sets)),
            pointer(sets),
            pointer(rows),
            pointer(by_mask),
            pointer(cost),
            pointer(choice),
            pointer(node),
        )
    )


def pairwise_estimates(graph: QueryGraph, by_set: dict[int, float]) -> RowEstimates:
    """True rows of relations and true selectivities of edges; their independence is assumed."""

    def rows(mask: int) -> float:
        found = by_set[mask]
        return max(found, 1.0) if np.isfinite(found) else 1e9

    alone = [rows(1 << i) for i in range(graph.size)]
    joined = [min(1.0, rows(1 << a | 1 << b) / (alone[a] * alone[b])) for a, b in graph.edges.tolist()]
    return RowEstimates.of(graph, alone, joined)


def best_of_intervals(graph: QueryGraph, order: tuple[int, ...], by_set: dict[int, float]) -> float:
    """C_out of the cheapest plan over intervals of a linear order, under the given rows."""
    size = graph.size
    masks = [[0] * size for _ in range(size)]
    costs = [[float("inf")] * size for _ in range(size)]
    for i in range(size - 1, -1, -1):
        masks[i][i] = 1 << order[i]
        costs[i][i] = 0.0
        for j in range(i + 1, size):
            masks[i][j] = masks[i][j - 1] | 1 << order[j]
            rows = by_set.get(masks[i][j])
            if rows is not None:
                costs[i][j] = min(costs[i][k] + costs[k + 1][j] for k in range(i, j)) + rows
    return costs[0][size - 1]


def greedy_cost(graph: QueryGraph, by_set: dict[int, float]) -> float:
    """C_out of greedy operator ordering: always the connected pair with the fewest result rows next."""
    parts = [1 << i for i in range(graph.size)]
    total = 0.0
    while len(parts) > 1:
        rows, a, b = min(
            (by_set[a | b], a, b) for i, a in enumerate(parts) for b in parts[:i] if (a | b) in by_set
        )
        parts = [part for part in parts if part not in (a, b)] + [a | b]
        total += rows
    return total
