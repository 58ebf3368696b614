"""Join-order search against plain C, by shape, size and backend; and on published graphs.

Run as ``python -m benchmarks.enumeration``. Every row is measured against a C reference compiled in the same
run, the good algorithm for its shape: tree splits, subset splits, or DPccp. Figures per pair leave out what a
call alone costs: of C through ctypes, an empty function; of a backend, the search of two relations.

Graphs are searched with their pairs enumerated *anew*, as C does, and *replayed* from the list that a planner
keeps where it is short (``by_default`` marks what a planner does unasked). Cython's floors hold for both,
Numba's for the default.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import graphs, large_graphs
from benchmarks.common import (
    MissingData,
    Options,
    Report,
    interleave,
    main,
    percentiles,
    ratio,
)
from benchmarks.reference import NODE, library, pointer
from godb_fast import backend as backends
from godb_fast.core import C_OUT, OPERATORS, QueryGraph
from godb_fast.planning.search import LIST_BYTES, Planner

#: Ratios are demanded from this many pairs on; below, the call itself weighs too much.
FLOOR_PAIRS = 10_000
#: Row inputs that take turns.
INPUTS = 4
#: Python takes some hundred nanoseconds a pair.
PYTHON_PAIRS = 60_000


@dataclass(frozen=True)
class Shape:
    """A graph, and which C reference is good for it: ``tree``, ``subsets`` or ``pairs``."""

    name: str
    kind: str
    graph: QueryGraph
    reference: str


def shapes(quick: bool) -> list[Shape]:
    """The shapes to measure; for each kind, at least one size beyond ``FLOOR_PAIRS``."""
    found = [
        Shape("chain of 20", "chain", graphs.chain(20), "tree"),
        Shape("chain of 62", "chain", graphs.chain(62), "tree"),
        Shape("cycle of 20", "cycle", graphs.cycle(20), "pairs"),
        Shape("cycle of 40", "cycle", graphs.cycle(40), "pairs"),
        Shape("star of 10", "star", graphs.star(10), "tree"),
        Shape("star of 15", "star", graphs.star(15), "tree"),
        Shape("star of 17", "star", graphs.star(17), "tree"),
        Shape("clique of 8", "clique", graphs.clique(8), "subsets"),
        Shape("clique of 10", "clique", graphs.clique(10), "subsets"),
        Shape("clique of 12", "clique", graphs.clique(12), "subsets"),
        Shape("tree of 18", "random", graphs.random_tree(18, 1), "tree"),
        Shape("14 with 6 extra edges", "random", graphs.random_graph(14, 6, 1), "pairs"),
        Shape("16 with 4 extra edges", "random", graphs.random_graph(16, 4, 1), "pairs"),
    ]
    if not quick:
        found.append(Shape("star of 20", "star", graphs.star(20), "tree"))
        found.append(Shape("clique of 14", "clique", graphs.clique(14), "subsets"))
    return found


@dataclass
class Arm:
    """Something to time, with the cost that it found for each input."""

    call: Callable[[int], object]
    costs: list[float]


def c_arm(shape: Shape, planner: Planner, rows: list[Any]) -> tuple[Arm, Callable[[int], object]]:
    """The C reference on the planner's own sets and numbering, and what its call alone costs."""
    lib = library("join_order")
    native = planner.natives[0]
    arrays = native.arrays
    size = shape.graph.size
    sets = arrays["sets"]
    count = ctypes.c_int64(len(sets))
    near = arrays["adjacency"]
    node = np.zeros(2 * size - 1, NODE)
    dense = size <= 20
    cost = np.full(1 << size if dense else len(sets), np.inf)
    kept: list[Any] = [near, sets, cost, node]
    if dense:
        choice = np.zeros(1 << size, np.int64)
        by_mask = np.zeros(1 << size)
        kept += [choice, by_mask]
        if shape.reference == "tree":
            function = lib.tree_splits
            given = [
                (
                    size,
                    count,
                    pointer(sets),
                    pointer(arrays["below"]),
                    pointer(each),
                    pointer(cost),
                    pointer(node),
                )
                for each in rows
            ]
        elif shape.reference == "subsets":
            function = lib.subset_splits
            given = [
                (size, count, pointer(sets), pointer(each), pointer(cost), pointer(node)) for each in rows
            ]
        else:
            function = lib.connected_pairs
            head = (size, pointer(near), count, pointer(sets))
            tail = (pointer(by_mask), pointer(cost), pointer(choice), pointer(node))
            given = [(*head, pointer(each), *tail) for each in rows]
    else:
        wrap = 16
        while wrap < 4 * len(sets):
            wrap *= 2
        slots = np.full(wrap, -1, np.int32)
        lib.index_sets(count, pointer(sets), pointer(slots), ctypes.c_uint64(wrap - 1))
        choice = np.zeros(len(sets), np.int32)
        kept += [slots, choice]
        table = (pointer(slots), ctypes.c_uint64(wrap - 1))
        tail = (pointer(cost), pointer(choice), pointer(node))
        if shape.reference == "tree":
            function = lib.tree_splits_hashed
            head = (size, count, pointer(sets), pointer(arrays["below"]))
        else:
            function = lib.connected_pairs_hashed
            head = (size, pointer(near), count, pointer(sets))
        given = [(*head, *table, pointer(each), *tail) for each in rows]
    function.restype = ctypes.c_double
    costs = [float(function(*arguments)) for arguments in given]

    def call(number: int, kept: Any = kept) -> object:
        return function(*given[number % INPUTS])

    nothing = lib.nothing
    nothing.restype = ctypes.c_double
    some = (size, pointer(near), count, pointer(sets), pointer(cost), ctypes.c_uint64(0))
    empty = (*some, pointer(cost), pointer(cost), pointer(cost), pointer(node))
    return Arm(call, costs), lambda number: nothing(*empty)


def own_arm(planner: Planner, rows: list[Any]) -> Arm:
    """The planner's native call, as ``Planner.search`` makes it."""
    native = planner.natives[0]
    model = C_OUT.coefficients()
    out = planner.search(rows[0])
    costs = [float(planner.search(each)[0, -1]["cost"]) for each in rows]
    with np.errstate(all="ignore"):

        def call(number: int) -> object:
            return native.search(1, rows[number % INPUTS], model, out)

        call(0)
    return Arm(call, costs)


def compare_shapes(options: Options, report: Report) -> None:
    """ns per pair of every backend against C, pairs enumerated anew and replayed."""
    worst: dict[tuple[str, str], float] = {}
    calls_alone: dict[str, Callable[[int], object]] = {}
    for name in ("cython", "numba"):
        if backends.why_unavailable(name) is None:
            two = Planner(graphs.chain(2), backend=name)
            calls_alone[name] = own_arm(two, [np.ones(3)] * INPUTS).call
    for name, taken in interleave(calls_alone, 31, repeat=20, seed=options.seed).items():
        report.note(f"A call of {name} alone costs {1e6 * taken.min():.2f} µs (two relations).")
    slowest_python = np.inf
    for shape in shapes(options.quick):
        for list_bytes, way in ((0, "anew"), (LIST_BYTES, "replayed")):
            planner = Planner(shape.graph, list_bytes=list_bytes, pair_budget=10**9, backend="cython")
            if way == "replayed" and not planner.replayed:
                continue
            default = Planner(shape.graph, pair_budget=10**9, backend="cython")
            pairs = planner.pairs
            source = np.random.default_rng(options.seed)
            rows = [np.exp(source.uniform(0, 14, len(planner.sets))) for _ in range(INPUTS)]
            reference, empty = c_arm(shape, planner, rows)
            arms = {"C": reference, "C again": reference, "cython": own_arm(planner, rows)}
            if backends.why_unavailable("numba") is None:
                other = Planner(shape.graph, list_bytes=list_bytes, pair_budget=10**9, backend="numba")
                arms["numba"] = own_arm(other, rows)
            for name, arm in arms.items():
                if not np.allclose(arm.costs, reference.costs, rtol=1e-12):
                    raise AssertionError(
                        f"{shape.name}, {name}: costs {arm.costs}, C finds {reference.costs}"
                    )
            repeat = max(1, 100_000 // pairs)
            rounds = 7 if pairs > 1_000_000 else 15 if options.quick else 31
            calls = {name: arm.call for name, arm in arms.items()}
            taken = interleave(calls, rounds, repeat=repeat, seed=options.seed)
            total = float(taken["cython"].min())
            alone = interleave({"C": empty, **calls_alone}, 31, repeat=20, seed=options.seed)
            for name in taken:
                taken[name] = taken[name] - float(alone["C" if name == "C again" else name].min())
            python = None
            if pairs <= PYTHON_PAIRS:
                slow = Planner(shape.graph, list_bytes=list_bytes, pair_budget=10**9, backend="python")
                python_arm = own_arm(slow, rows)
                if python_arm.costs != arms["cython"].costs:
                    raise AssertionError(f"{shape.name}: Python finds other costs than Cython")
                with np.errstate(all="ignore"):
                    python = float(interleave({"python": python_arm.call}, 2, warm=0)["python"].min())
            numba = "numba" in taken
            report.row(
                "one scenario, C_out: ns per csg-cmp pair",
                graph=shape.name,
                pairs=pairs,
                search=f"{planner.algorithm}, {way}",
                C=1e9 * taken["C"].min() / pairs,
                cython=1e9 * taken["cython"].min() / pairs,
                numba=1e9 * taken["numba"].min() / pairs if numba else None,
                python=1e9 * python / pairs if python else None,
                by_default=way == "replayed" or not default.replayed,
                cython_to_C=ratio(taken["cython"], taken["C"]),
                numba_to_C=ratio(taken["numba"], taken["C"]) if numba else None,
                A_to_A=ratio(taken["C again"], taken["C"]),
                call_us=1e6 * total,
            )
            if pairs >= FLOOR_PAIRS:
                for name in ("cython", "numba"):
                    if name in taken and (name == "cython" or way == "replayed" or not default.replayed):
                        key = (name, shape.kind)
                        worst[key] = max(worst.get(key, 0.0), ratio(taken[name], taken["C"]))
                if python:
                    slowest_python = min(slowest_python, python / total)
    for (name, kind), value in worst.items():
        report.floor(f"{name} on {kind}, times C", value, 1.2 if name == "cython" else 1.6)
    report.floor("python, times cython", slowest_python, 200, at_least=True)


def compare_lanes(options: Options, report: Report) -> None:
    """What further scenarios cost in the same enumeration, rows given and rows estimated."""
    for shape in (
        Shape("star of 12", "star", graphs.star(12), "tree"),
        Shape("clique of 10", "clique", graphs.clique(10), "subsets"),
        Shape("16 with 4 extra edges", "random", graphs.random_graph(16, 4, 1), "pairs"),
    ):
        planner = Planner(shape.graph)
        for model in (C_OUT, OPERATORS):
            arms: dict[str, Callable[[int], object]] = {}
            for lanes in (1, 4, 8, 16):
                inputs = [graphs.random_estimates(shape.graph, seed, lanes) for seed in range(INPUTS)]
                rows = [planner.rows(each) for each in inputs]
                out = planner.search(rows[0], model)

                def search(
                    number: int, given: Any, planner: Any = planner, model: Any = model, out: Any = out
                ) -> object:
                    return planner.search(given[number % INPUTS], model, out)

                arms[f"rows {lanes}"] = lambda number, given=rows, search=search: search(number, given)
                arms[f"estimates {lanes}"] = lambda number, given=inputs, search=search: search(number, given)
            taken = interleave(arms, 9, repeat=max(1, 30_000 // planner.pairs), seed=options.seed)
            for lanes in (1, 4, 8, 16):
                searched = float(taken[f"rows {lanes}"].min())
                report.row(
                    "scenarios side by side",
                    graph=shape.name,
                    cost_model=model.name,
                    lanes=lanes,
                    search_us=1e6 * searched,
                    ns_per_pair_and_lane=1e9 * searched / planner.pairs / lanes,
                    with_estimates_us=1e6 * float(taken[f"estimates {lanes}"].min()),
                )


def search_job(options: Options, report: Report) -> None:
    """The 113 JOB queries, exact: one scenario and eight, through the public call."""
    folder = options.folder("imdb_sql", "JOB, Leis et al., VLDB 2015")
    times: dict[str, list[float]] = {}
    exact = 0
    for _, graph in graphs.job_graphs(folder.parent):
        started = time.perf_counter()
        planner = Planner(graph)
        times.setdefault("first sight: planner built", []).append(time.perf_counter() - started)
        exact += planner.exact
        times.setdefault("pairs", []).append(planner.pairs)
        arms: dict[str, Callable[[int], object]] = {}
        for lanes in (1, 8):
            inputs = [graphs.random_estimates(graph, seed, lanes) for seed in range(INPUTS)]
            rows = [planner.rows(each) for each in inputs]
            out = planner.search(inputs[0])

            def search(number: int, given: Any, planner: Any = planner, out: Any = out) -> object:
                return planner.search(given[number % INPUTS], C_OUT, out)

            arms[f"search, {lanes} scenarios"] = lambda number, given=rows, run=search: run(number, given)
            arms[f"estimates and search, {lanes} scenarios"] = lambda number, given=inputs, run=search: run(
                number, given
            )
        for name, taken in interleave(arms, 5, repeat=8, seed=options.seed).items():
            times.setdefault(name, []).append(float(taken.min()))
    report.note(f"JOB: {exact} of {len(times['pairs'])} queries are searched exactly.")
    report.floor("JOB queries searched exactly", exact, 113, at_least=True)
    for name, values in times.items():
        scale = 1.0 if name == "pairs" else 1e6
        middle, high = percentiles(values, 50, 95)
        report.row(
            "JOB, 113 queries, µs (pairs: number)",
            what=name,
            median=scale * middle,
            p95=scale * high,
            worst=scale * max(values),
        )


def run(options: Options, report: Report) -> None:
    """Join-order search against plain C, and on published graphs."""
    compare_shapes(options, report)
    compare_lanes(options, report)
    large_graphs.compare_large(options, report)
    for section in (search_job, large_graphs.check_published):
        try:
            section(options, report)
        except MissingData as missing:
            report.note(f"{section.__name__}: skipped, {missing}")


if __name__ == "__main__":
    sys.exit(main("enumeration", run))
