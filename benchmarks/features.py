"""What the features of plans cost: per backend, a batch of candidates of 17 relations.

Run as ``python -m benchmarks.features``. Batches take turns, and so do the backends.
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks import graphs
from benchmarks.common import Options, Report, interleave, main, ratio
from godb_fast import backend as backends
from godb_fast.core import Block, Relation, Template
from godb_fast.learning import FEATURES, QueryFeatureExtractor
from godb_fast.planning.search import Planner

RELATIONS = 17
BATCH = 64
INPUTS = 4


def run(options: Options, report: Report) -> None:
    """Microseconds of a plan's features, and how much faster than plain Python."""
    graph = graphs.star(RELATIONS)
    planner = Planner(graph)
    lanes = 16
    batches = [
        np.concatenate(
            [
                planner.search(graphs.random_estimates(graph, options.seed + 100 * number + part, lanes))
                for part in range(BATCH // lanes)
            ]
        )
        for number in range(INPUTS)
    ]
    block = Block(0, None, "main", tuple(Relation(name, name) for name in graph.relations), graph)
    template = Template(0, "", "duckdb", blocks=(block,))
    names = [name for name in backends.BACKENDS if backends.why_unavailable(name) is None]
    extractors = {
        name: QueryFeatureExtractor(template, block, [16.0] * RELATIONS, backend=name) for name in names
    }
    out = np.zeros((BATCH, len(FEATURES)))
    taken = interleave(
        {
            name: lambda number, each=each: each.extract(batches[number % INPUTS], out=out)
            for name, each in extractors.items()
        },
        10 if options.quick else 40,
        repeat=INPUTS,
        seed=options.seed,
    )
    for name in names:
        report.row(
            f"features of {BATCH} plans of {RELATIONS} relations",
            backend=name,
            microseconds_per_plan=float(taken[name].min()) / BATCH * 1e6,
            times_faster_than_python=ratio(taken["python"], taken[name]),
        )
    if "cython" in names:
        report.floor("microseconds per plan (Cython)", float(taken["cython"].min()) / BATCH * 1e6, 1.0)
    for name in names:
        if name != "python":
            report.floor(
                f"times faster than Python ({name})", ratio(taken["python"], taken[name]), 15.0, at_least=True
            )


if __name__ == "__main__":
    sys.exit(main("features", run))
