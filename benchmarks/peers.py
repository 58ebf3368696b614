"""Whole ``optimize()`` against the engines' own planning, and how good the plans are.

Every text is new: a known template with literals not seen before takes the full way (fingerprint, estimates
in K = 8 scenarios, search, re-costing, choice, rendering). The peers plan the same text: DuckDB's PREPARE,
and PostgreSQL's EXPLAIN where a server is named with ``--postgres URL``.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import corpora, graphs
from benchmarks.common import MissingData, Options, Report, main, percentiles
from godb_fast import CostModel, RowEstimates, Session, connect
from godb_fast.planning.large import search_large
from godb_fast.planning.search import Planner

_postgres: list[str] = []
SHAPES = {"chain": graphs.chain, "cycle": graphs.cycle, "star": graphs.star, "clique": graphs.clique}
#: Rows of each table: planning reads statistics, not rows, but an empty table is a special case to engines.
ROWS = 2_000


def _fill(table: str, columns: list[tuple[str, str]]) -> str:
    parts = []
    for place, (_, kind) in enumerate(columns):
        spread = (7919 * (place + 1)) % 9973
        if kind.startswith(("VARCHAR", "CHAR")):
            parts.append(f"'v' || (i * {spread} % 50)")
        else:
            parts.append(f"i * {spread} % {400 + 100 * place}" if place else "i")
    return f"INSERT INTO {table} SELECT {', '.join(parts)} FROM range({ROWS}) t(i)"


def _topology(shape: str, size: int) -> tuple[list[str], Callable[[int], str]]:
    """Statements that build the tables, and the query with the given literal."""
    graph = SHAPES[shape](size)
    columns = [("id", "INTEGER"), ("v", "INTEGER"), *((f"k{i}", "INTEGER") for i in range(size))]
    setup = []
    for table in range(size):
        setup.append(f"CREATE TABLE t{table} ({', '.join(f'{name} {kind}' for name, kind in columns)})")
        setup.append(_fill(f"t{table}", columns))
    joins = " AND ".join(f"t{i}.k{j} = t{j}.k{i}" for i, j in graph.edges.tolist())
    head = f"SELECT count(*) FROM {', '.join(f't{i}' for i in range(size))} WHERE {joins} AND t0.v < "
    return setup, lambda number: f"{head}{100 + number}"


class _Peers:
    """One schema in our session, in a plain DuckDB connection, and maybe in a PostgreSQL server."""

    def __init__(self, setup: list[str]) -> None:
        import duckdb

        self.session: Session = connect("duckdb://", mode="advise")
        self.duckdb = duckdb.connect()
        for statement in setup:
            self.session.execute(statement, mode="off")
            self.duckdb.execute(statement)
        self.postgres: Any = None
        if _postgres:
            import psycopg

            self.postgres = psycopg.connect(_postgres[0], autocommit=False)
            self.postgres.prepare_threshold = None
            for statement in setup:
                self.postgres.execute(
                    re.sub(r"FROM range\((\d+)\) t\(i\)", r"FROM generate_series(0, \1 - 1) t(i)", statement)
                )
            self.postgres.execute("ANALYZE")

    def arms(self) -> dict[str, Callable[[str], object]]:
        """Ways to plan a text, by name; DuckDB twice, for the A/A row."""
        prepare = self.duckdb.execute
        arms: dict[str, Callable[[str], object]] = {
            "ours": self.session.optimize,
            "duckdb": lambda sql: prepare(f"PREPARE q AS {sql}"),
            "duckdb again": lambda sql: prepare(f"PREPARE q AS {sql}"),
        }
        if self.postgres is not None:
            arms["postgres"] = lambda sql: self.postgres.execute(f"EXPLAIN {sql}").fetchall()
        return arms

    def close(self) -> None:
        self.session.close()
        self.duckdb.close()
        if self.postgres is not None:
            # Nothing of ours stays on the server.
            self.postgres.rollback()
            self.postgres.close()


def _time(arms: dict[str, Callable[[str], object]], texts: Iterator[str], rounds: int) -> dict[str, Any]:
    """Seconds per arm and round; the arms take turns, each text is planned once by each."""
    taken: dict[str, list[float]] = {name: [] for name in arms}
    order = list(arms)
    for number in range(rounds):
        order.append(order.pop(0))
        text = next(texts)
        for name in order:
            begin = time.perf_counter_ns()
            arms[name](text)
            if number:
                taken[name].append((time.perf_counter_ns() - begin) / 1e9)
    return {name: np.array(values) for name, values in taken.items()}


def compare_topologies(options: Options, report: Report) -> None:
    """Planning time by shape and size."""
    sizes = (5, 8, 10) if options.quick else (5, 8, 10, 12, 15)
    for shape in SHAPES:
        best = []
        for size in sizes:
            if shape == "clique" and size > 10:
                report.note(f"clique of {size}: left out, DuckDB takes seconds on it")
                continue
            setup, text = _topology(shape, size)
            peers = _Peers(setup)
            numbers = iter(range(10_000))
            taken = _time(peers.arms(), (text(number) for number in numbers), 12 if options.quick else 40)
            peers.close()
            medians = {name: float(np.median(values)) * 1e6 for name, values in taken.items()}
            best.append(medians["ours"] / medians["duckdb"])
            report.row(
                "whole optimize() with new literals against the engines' planning, median µs",
                query=f"{shape} of {size}",
                **{name: round(value, 1) for name, value in medians.items()},
                ratio=round(best[-1], 4),
            )
        report.floor(f"{shape}: ours, times DuckDB's planning", float(np.median(best)), 1.0)


def _readable(sql: str) -> str:
    """A JOB text as DuckDB 2.0 reads it: one alias has become a keyword."""
    return re.sub(r"\bat\b(?=\.|,|\s*$)", '"at"', sql.strip().rstrip(";")).replace(" AS at ", ' AS "at" ')


def _new_literals(sql: str, number: int) -> str:
    return re.sub(r"'([^']*)'", lambda found: f"'{found[1]}{number}'", sql)


def compare_job(options: Options, report: Report) -> None:
    """The 113 JOB queries on their schema."""
    corpus = corpora.job(options)
    scratch = corpus.connect()
    tables: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in scratch.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal "
        "ORDER BY table_name, column_index"
    ).fetchall():
        tables.setdefault(table, []).append((column, kind))
    scratch.close()
    setup = [part for part in corpus.ddl.split(";") if part.strip()]
    peers = _Peers([*setup, *(_fill(table, columns) for table, columns in tables.items())])
    arms = peers.arms()
    texts = corpus.texts[::4] if options.quick else corpus.texts
    first, ours, theirs = [], [], []
    for sql in texts:
        bare = _readable(sql)
        begin = time.perf_counter_ns()
        peers.session.optimize(bare)
        first.append((time.perf_counter_ns() - begin) / 1e6)
        variants = (_new_literals(bare, number) for number in range(1_000))
        taken = _time(arms, variants, 6 if options.quick else 12)
        ours.append(float(np.median(taken["ours"])) * 1e6)
        theirs.append(float(np.median(taken["duckdb"])) * 1e6)
    exact = [_readable(text) for text in texts]
    optimize = peers.session.optimize
    rounds = []
    for _ in range(50):
        begin = time.perf_counter_ns()
        for text in exact:
            optimize(text)
        rounds.append((time.perf_counter_ns() - begin) / 1e3 / len(exact))
    peers.close()
    for name, values in (
        ("first sight, ms", first),
        ("new literals, µs", ours),
        ("DuckDB PREPARE, µs", theirs),
    ):
        low, high, worst = percentiles(values, 50, 95, 100)
        report.row("JOB", what=name, p50=round(low, 1), p95=round(high, 1), worst=round(worst, 1))
    report.row(
        "JOB", what="exact text again, µs", p50=round(float(np.median(rounds)), 3), p95=None, worst=None
    )
    ratios = np.array(ours) / np.array(theirs)
    report.floor("JOB: exact text again, µs", min(rounds), 1.5)
    report.floor("JOB: new literals, times DuckDB's PREPARE, median", float(np.median(ratios)), 1 / 20)
    report.floor("JOB: share below DuckDB's PREPARE", float((ratios < 1).mean()), 0.95, at_least=True)


def compare_plans(options: Options, report: Report) -> None:
    """C_out under true cardinalities, over the optimum."""
    folder = options.folder("join_graphs_true_cards", "CEB-IMDb join graphs, DPconv, SIGMOD 2025").parent
    model = CostModel()
    found: dict[str, list[float]] = {"pairwise independence, exact": [], "greedy": [], "linearized": []}
    for number, published in enumerate(graphs.ceb_graphs(folder)):
        if number % (50 if options.quick else 5):
            continue
        graph = published.graph
        planner = Planner(graph)
        truth = published.rows(planner.sets)
        if not np.isfinite(truth).all():
            continue
        optimum = float(planner.search(truth, model)[0][-1]["cost"])
        size = graph.size
        rows = dict(zip(planner.sets.tolist(), truth.tolist(), strict=True))
        single = np.array([rows[1 << i] for i in range(size)], float)
        pairs = [rows[1 << i | 1 << j] / max(single[i] * single[j], 1e-9) for i, j in graph.edges.tolist()]
        estimates = RowEstimates.of(graph, np.maximum(single, 1e-3), np.clip(pairs, 1e-12, 1))
        plans = {
            "pairwise independence, exact": planner.search(estimates, model)[0],
            "greedy": search_large(graph, estimates, model, method="greedy")[0][0],
            "linearized": search_large(graph, estimates, model, method="linearized")[0][0],
        }
        for name, nodes in plans.items():
            cost = sum(rows[int(node["relations"])] for node in nodes if node["relation"] < 0)
            found[name].append(cost / optimum if optimum > 0 else 1.0)
    for name, values in found.items():
        p50, p90, p99 = percentiles(values, 50, 90, 99)
        report.row(
            "C_out under true cardinalities ÷ optimum (estimates: true base rows and pairs, independence)",
            plans=name,
            queries=len(values),
            p50=round(p50, 3),
            p90=round(p90, 2),
            p99=round(p99, 1),
        )


def run(options: Options, report: Report) -> None:
    """Whole optimize() against the engines' own planning, and the plans' costs under true cardinalities."""
    if not _postgres:
        report.note("PostgreSQL: skipped, name a server with --postgres URL")
    for part in (compare_topologies, compare_job, compare_plans):
        try:
            part(options, report)
        except MissingData as problem:
            report.note(f"{part.__name__}: skipped, {problem}")


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--postgres", metavar="URL", help="a PostgreSQL server to compare with")


def _configure(parsed: argparse.Namespace) -> None:
    if parsed.postgres:
        _postgres.append(parsed.postgres)


if __name__ == "__main__":
    sys.exit(main("peers", run, extend=_extend, configure=_configure))
