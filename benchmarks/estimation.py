"""How good row estimates are, how long re-planning takes, and what DuckDB's joins cost.

``python -m benchmarks.estimation``: the demo database's queries; every join of DuckDB's own plans, its rows
counted by DuckDB's profiler, against our scenarios and DuckDB's own estimate. ``--calibrate``: nanoseconds
per row of hash joins by size, behind the coefficients in ``godb_fast/planning/calibration.py``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Options, Report, main, percentiles
from godb_fast.core import Block, JoinTree, PhysicalNode, RowEstimates
from godb_fast.planning.result_rows import inner_rows

_asked = argparse.Namespace(calibrate=False)


def run(options: Options, report: Report) -> None:
    """Row estimates against counted rows, the time of re-planning, and DuckDB's join costs."""
    if _asked.calibrate:
        calibrate(options, report)
        return
    from godb_fast.demo import build

    with tempfile.TemporaryDirectory() as folder:
        scale = 0.1 if options.quick else 1.0
        path = Path(folder) / "demo.duckdb"
        build(path, scale=scale)
        measure(path, scale, options, report)


def measure(path: Path, scale: float, options: Options, report: Report) -> None:
    """Both tables on one database."""
    from godb_fast.demo import stream
    from godb_fast.engines.base import Rendered
    from godb_fast.engines.duckdb import open_url
    from godb_fast.errors import EngineError
    from godb_fast.planning.proposal import TemplatePlanner
    from godb_fast.sql import fingerprint, parse_template

    errors: dict[tuple[str, int], list[float]] = defaultdict(list)
    steps: dict[str, list[float]] = defaultdict(list)
    left_out = 0
    with open_url(f"duckdb:///{path}", read_only=True) as engine:
        statistics, schema = engine.statistics(), engine.schema()
        for query in stream(instances=1 if options.quick else 2, scale=scale):
            found = fingerprint(query.sql, "duckdb")
            template = parse_template(found, "duckdb", schema)
            planner = TemplatePlanner(template, statistics)
            try:
                result = engine.run(Rendered(query.sql), profile=True, timeout_s=60.0)
            except EngineError:
                left_out += 1
                continue
            assert result.plan is not None
            trees = engine.default_trees(template, result.plan, found.literals)
            estimates = planner.estimates(found.literals)
            if template.plannable and template.plannable[0].index in trees:
                block = template.plannable[0]
                joins = list(counted_joins(result.plan.root, block, trees[block.index]))
                note_errors(errors, planner.scenarios, block, estimates[block.index], joins)
            for _ in range(20):
                proposal = planner.propose(found.literals, None, trees)
            for name, micros in proposal.timings_us.items():
                steps[name].append(micros)
            begin = time.perf_counter()
            engine.explain(query.sql)
            steps["DuckDB's EXPLAIN"].append((time.perf_counter() - begin) * 1e6)
    for (name, size), ratios in errors.items():
        quotients = np.array(ratios)
        q = np.maximum(quotients, 1.0 / quotients)
        half, most, worst = percentiles(q, 50, 90, 100)
        report.row(
            "q-error of joins by number of relations",
            estimate=name,
            relations=f"{size}" if size < 6 else "6+",
            joins=len(ratios),
            p50=half,
            p90=most,
            max=worst,
            under=float((quotients < 0.5).mean()),
            over=float((quotients > 2.0).mean()),
        )
    for name, micros in steps.items():
        half, most, worst = percentiles(micros, 50, 95, 100)
        report.row("a known template with known literals, µs", step=name, p50=half, p95=most, max=worst)
    report.note(
        "under and over: shares of joins estimated below half and above twice their rows. Scans are left "
        "out, since DuckDB filters them by the build sides above."
    )
    if left_out:
        report.note(f"{left_out} queries ran longer than a minute and were left out")


def note_errors(
    errors: dict[tuple[str, int], list[float]],
    scenarios: tuple[str, ...],
    block: Block,
    estimates: RowEstimates,
    joins: list[tuple[int, float, float | None]],
) -> None:
    """Ratios of estimated to counted rows, of each scenario and of the engine, by number of relations."""
    assert block.graph is not None
    for mask, rows, expected in joins:
        if any((operator.left | operator.right) & ~mask == 0 for operator in block.graph.operators):
            continue
        size = min(mask.bit_count(), 6)
        counted = max(rows, 1.0)
        logs = inner_rows(block.graph, estimates, mask)
        for lane, name in enumerate(scenarios[:4]):
            errors[name, size].append(max(float(np.exp(logs[lane])), 1.0) / counted)
        errors["DuckDB", size].append(max(expected or 1.0, 1.0) / counted)


def counted_joins(
    root: PhysicalNode, block: Block, tree: JoinTree
) -> Iterator[tuple[int, float, float | None]]:
    """(relations, counted rows, estimated rows) of a plan's joins; none if the plan has another form."""
    found: list[tuple[int, float, float | None]] = []

    def below(node: PhysicalNode, part: JoinTree) -> int | None:
        while node.kind not in ("join", "cross_product") and len(node.children) == 1:
            node = node.children[0]
        if not isinstance(part, tuple):
            return 1 << part
        if node.kind not in ("join", "cross_product") or len(node.children) < 2:
            return None
        left, right = below(node.children[0], part[0]), below(node.children[-1], part[1])
        if left is None or right is None:
            return None
        if node.rows is not None:
            found.append((left | right, node.rows, node.estimated_rows))
        return left | right

    if below(root, tree) is not None:
        yield from found


def calibrate(options: Options, report: Report) -> None:
    """Nanoseconds per row of hash joins, one thread, the sides as written."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")

    def seconds(sql: str) -> float:
        taken = []
        for _ in range(3):
            begin = time.perf_counter()
            connection.execute(sql).fetchall()
            taken.append(time.perf_counter() - begin)
        return min(taken)

    def table(name: str, select: str) -> None:
        connection.execute(f"CREATE OR REPLACE TABLE {name} AS {select}")

    def key(number: str) -> str:
        # Sparse: DuckDB joins dense integers without a hash table.
        return f"(hash({number}) >> 2)::BIGINT"

    join = "SELECT count(*), sum(z), sum(x) FROM p JOIN b ON p.k = b.k"
    probes = 500_000 if options.quick else 4_000_000
    sizes = (1_000, 100_000) if options.quick else (1_000, 10_000, 100_000, 1_000_000, 3_000_000)
    for size in sizes:
        table("b", f"SELECT {key('range')} AS k, range % 1000 AS x FROM range({size})")
        table("p", f"SELECT {key(f'range * {size} // 1000')} AS k, range AS z FROM range(1000)")
        build = seconds(join) - seconds("SELECT max(k), sum(x) FROM b")
        row: dict[str, Any] = {"build_rows": size, "build_ns": build * 1e9 / size}
        for name, share in (("match_ns", 1), ("mostly_no_match_ns", 10)):
            matches = key(f"(hash(range + 7) % {size * share})::BIGINT")
            table("p", f"SELECT {matches} AS k, range AS z FROM range({probes})")
            taken = seconds(join) - seconds("SELECT max(k), sum(z) FROM p") - build
            row[name] = taken * 1e9 / probes
        report.row("DuckDB hash joins, ns per row of one thread", **row)
    table("p", f"SELECT range AS k, 'text ' || (range % 1000) AS t FROM range({probes})")
    for name, filter_ in (
        ("number", "k % 100 = 3"),
        ("equal text", "t = 'text 5'"),
        ("LIKE", "t LIKE '%99%'"),
    ):
        taken = seconds(f"SELECT count(*) FROM p WHERE {filter_}")
        report.row("DuckDB scans, ns per row of one thread", filter=name, ns=taken * 1e9 / probes)


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calibrate", action="store_true", help="measure DuckDB's join costs instead")


def _configure(parsed: argparse.Namespace) -> None:
    _asked.calibrate = parsed.calibrate


if __name__ == "__main__":
    sys.exit(main("estimation", run, extend=_extend, configure=_configure))
