"""Whole ``optimize()`` against the engines' own planning, and how good the plans are.

Every text is new: a known template with literals not seen before takes the full way (fingerprint, estimates
in K = 8 scenarios, search, re-costing, choice, rendering). The peers plan the same text: DuckDB's PREPARE,
and, where a server is named with ``--postgres URL`` or ``GODB_FAST_TEST_POSTGRES``, the planning time that
PostgreSQL's EXPLAIN (SUMMARY) states, which leaves parsing and the way to the server out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import graphs
from benchmarks.common import MissingData, Options, Report, main, percentiles
from benchmarks.optimize import fill, job_setup, micros, new_literals
from godb_fast import CostModel, RowEstimates, Session, connect
from godb_fast.core import QueryGraph
from godb_fast.planning.large import search_large
from godb_fast.planning.search import Planner

_asked = argparse.Namespace(postgres=None)
SHAPES = {"chain": graphs.chain, "cycle": graphs.cycle, "star": graphs.star, "clique": graphs.clique}
_INT = "INTEGER"


def _topology(shape: str, size: int) -> tuple[list[str], Callable[[int], str]]:
    """Statements that build the tables, and the query with the given literal."""
    graph = SHAPES[shape](size)
    columns = [("id", _INT), ("v", _INT), *((f"k{i}", _INT) for i in range(size))]
    setup = []
    for table in range(size):
        setup.append(f"CREATE TABLE t{table} ({', '.join(f'{name} {kind}' for name, kind in columns)})")
        setup.append(fill(f"t{table}", columns))
    joins = " AND ".join(f"t{i}.k{j} = t{j}.k{i}" for i, j in graph.edges.tolist())
    head = f"SELECT count(*) FROM {', '.join(f't{i}' for i in range(size))} WHERE {joins} AND t0.v < "
    return setup, lambda number: f"{head}{100 + number}"


def _for_postgres(statement: str) -> str:
    """A statement of the setup as PostgreSQL reads it; DuckDB does not mind the lengths of texts."""
    statement = re.sub(r"FROM range\((\d+)\) t\(i\)", r"FROM generate_series(0, \1 - 1) t(i)", statement)
    return re.sub(r"\b(?:character varying|varchar|char) ?\(\d+\)", "text", statement, flags=re.IGNORECASE)


class _Peers:
    """One schema in our session, in a plain DuckDB connection, and maybe in a PostgreSQL server."""

    def __init__(self, setup: Sequence[str]) -> None:
        import duckdb

        self.session: Session = connect("duckdb://", mode="advise")
        self.duckdb = duckdb.connect()
        for statement in setup:
            self.session.execute(statement, mode="off")
            self.duckdb.execute(statement)
        self.postgres: Any = None
        if _asked.postgres:
            import psycopg

            # One transaction that is rolled back: nothing of ours stays on the server.
            self.postgres = psycopg.connect(_asked.postgres, autocommit=False)
            self.postgres.prepare_threshold = None
            self.postgres.execute("CREATE SCHEMA godb_fast_peers")
            self.postgres.execute("SET LOCAL search_path = godb_fast_peers")
            tables = []
            for statement in setup:
                self.postgres.execute(_for_postgres(statement))
                tables += re.findall(r"CREATE TABLE (\w+)", statement, re.IGNORECASE)
            for table in tables:
                self.postgres.execute(f"ANALYZE {table}")

    def arms(self) -> dict[str, Callable[[str], float]]:
        """Ways to plan a text, by name, returning microseconds; DuckDB twice, for the A/A column."""

        def ours(sql: str) -> float:
            return micros(self.session.optimize, sql)[0]

        def duckdb(sql: str) -> float:
            return micros(self.duckdb.execute, f"PREPARE q AS {sql}")[0]

        arms: dict[str, Callable[[str], float]] = {"ours": ours, "duckdb": duckdb, "duckdb, A/A": duckdb}
        if self.postgres is not None:
            arms["postgres"] = self._postgres_planning
        return arms

    def _postgres_planning(self, sql: str) -> float:
        (plans,) = self.postgres.execute(f"EXPLAIN (SUMMARY, FORMAT JSON) {sql}").fetchone()
        told = json.loads(plans) if isinstance(plans, str) else plans
        return float(told[0]["Planning Time"]) * 1e3

    def close(self) -> None:
        """End all three; the PostgreSQL server is as it was."""
        self.session.close()
        self.duckdb.close()
        if self.postgres is not None:
            self.postgres.rollback()
            self.postgres.close()


def _medians(arms: dict[str, Callable[[str], float]], texts: Iterator[str], rounds: int) -> dict[str, float]:
    """Median µs per arm; the arms take turns and each plans each text once, the first text unmeasured."""
    taken: dict[str, list[float]] = {name: [] for name in arms}
    order = list(arms)
    for number in range(rounds + 1):
        order.append(order.pop(0))
        text = next(texts)
        for name in order:
            spent = arms[name](text)
            if number:
                taken[name].append(spent)
    return {name: float(np.median(values)) for name, values in taken.items()}


def compare_topologies(options: Options, report: Report) -> None:
    """Planning time by shape and size."""
    sizes = (5, 8, 10) if options.quick else (5, 8, 10, 12, 15)
    for shape in SHAPES:
        ratios = []
        for size in sizes:
            setup, text = _topology(shape, size)
            peers = _Peers(setup)
            try:
                medians = _medians(peers.arms(), map(text, range(10_000)), 11 if options.quick else 40)
            finally:
                peers.close()
            ratios.append(medians["ours"] / medians["duckdb"])
            report.row(
                "whole optimize() with new literals against the engines' planning, median µs",
                query=f"{shape} of {size}",
                **medians,
                **_ratios(medians),
            )
        report.floor(f"{shape}: ours ÷ DuckDB's planning, median of the sizes", float(np.median(ratios)), 1.0)


def _ratios(medians: dict[str, float]) -> dict[str, float]:
    return {
        f"ours ÷ {name}": medians["ours"] / value
        for name, value in medians.items()
        if name in ("duckdb", "postgres")
    }


def compare_job(options: Options, report: Report) -> None:
    """The 113 JOB queries on their schema."""
    setup, texts = job_setup(options)
    texts = texts[::4] if options.quick else texts
    peers = _Peers(setup)
    found: dict[str, list[float]] = {}
    try:
        for text in texts:
            variants = (new_literals(text, number) for number in range(10_000))
            medians = _medians(peers.arms(), variants, 5 if options.quick else 12)
            for name, value in {**medians, **_ratios(medians)}.items():
                found.setdefault(name, []).append(value)
    finally:
        peers.close()
    for name, values in found.items():
        p50, p95, worst = percentiles(values, 50, 95, 100)
        report.row(
            "JOB with new literals: planning per query, µs, and ratios",
            what=name,
            queries=len(values),
            p50=p50,
            p95=p95,
            worst=worst,
        )
    report.floor("JOB: ours ÷ DuckDB's planning, median", float(np.median(found["ours ÷ duckdb"])), 1.0)


def compare_plans(options: Options, report: Report) -> None:
    """C_out under true cardinalities, over the optimum."""
    folder = options.folder("join_graphs_true_cards", graphs.PUBLICATION).parent
    model = CostModel()
    found: dict[str, list[float]] = {}
    for number, published in enumerate(graphs.ceb_graphs(folder)):
        if number % (50 if options.quick else 5):
            continue
        graph = published.graph
        planner = Planner(graph)
        truth = published.rows(planner.sets)
        if not np.isfinite(truth).all():
            continue
        rows = dict(zip(planner.sets.tolist(), truth.tolist(), strict=True))
        independent = _independent(published, rows)
        plans = {
            "exact, true rows": planner.search(truth, model)[0],
            "exact, pairs and independence": planner.search(independent, model)[0],
            "linearized, pairs and independence": _large(graph, independent, model, "linearized"),
            "greedy, pairs and independence": _large(graph, independent, model, "greedy"),
            "greedy, true rows": _greedy(rows, graph.size),
        }
        costs = {
            name: nodes if isinstance(nodes, float) else _true_cost(nodes, rows)
            for name, nodes in plans.items()
        }
        optimum = costs["exact, true rows"]
        for name, cost in costs.items():
            found.setdefault(name, []).append(cost / optimum if optimum > 0 else 1.0 + (cost > 0))
    for name, values in found.items():
        p50, p90, p99 = percentiles(values, 50, 90, 99)
        report.row(
            "plans of the CEB graphs: C_out under true cardinalities ÷ optimum",
            plans=name,
            queries=len(values),
            p50=p50,
            p90=p90,
            p99=p99,
            optimal=float((np.array(values) <= 1.0 + 1e-9).mean()),
        )
    report.note(
        "pairs and independence: true rows of single relations and of joined pairs, everything larger by "
        "independence, which is what an estimator without correlations could know at best. True rows by set "
        "can be given to the exact search only; greedy with true rows joins the pair of least rows next "
        "(GOO), written here from its definition."
    )


def _independent(published: graphs.PublishedGraph, rows: dict[int, float]) -> RowEstimates:
    """Rows of relations and selectivities of joined pairs as counted; independence beyond them."""
    graph = published.graph
    single = np.maximum([rows[1 << i] for i in range(graph.size)], 1e-3)
    pairs = [rows[1 << i | 1 << j] / (single[i] * single[j]) for i, j in graph.edges.tolist()]
    return RowEstimates.of(graph, single, np.clip(pairs, 1e-12, 1.0))


def _large(graph: QueryGraph, estimates: RowEstimates, model: CostModel, method: str) -> NDArray[np.void]:
    nodes: NDArray[np.void] = search_large(graph, estimates, model, method=method)[0][0]
    return nodes


def _true_cost(nodes: NDArray[np.void], rows: dict[int, float]) -> float:
    """C_out of a plan: true rows of its joins, summed."""
    return sum(rows[int(node["relations"])] for node in nodes if node["relation"] < 0)


def _greedy(rows: dict[int, float], size: int) -> float:
    """C_out of greedy operator ordering on true rows: the join with the fewest rows comes next."""
    trees = [1 << i for i in range(size)]
    cost = 0.0
    while len(trees) > 1:
        fewest, left, right = min(
            (rows[a | b], a, b) for number, a in enumerate(trees) for b in trees[:number] if (a | b) in rows
        )
        trees = [tree for tree in trees if tree not in (left, right)] + [left | right]
        cost += fewest
    return cost


def run(options: Options, report: Report) -> None:
    """Whole optimize() against the engines' own planning, and the plans' costs under true cardinalities."""
    if not _asked.postgres:
        report.note("PostgreSQL: skipped, name a server with --postgres URL or GODB_FAST_TEST_POSTGRES")
    for part in (compare_topologies, compare_job, compare_plans):
        try:
            part(options, report)
        except MissingData as problem:
            report.note(f"{part.__name__}: skipped, {problem}")


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--postgres", metavar="URL", help="a PostgreSQL server to compare with")


def _configure(parsed: argparse.Namespace) -> None:
    _asked.postgres = parsed.postgres or os.environ.get("GODB_FAST_TEST_POSTGRES")


if __name__ == "__main__":
    sys.exit(main("peers", run, extend=_extend, configure=_configure))
