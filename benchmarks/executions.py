"""Executions that nobody ran: drawn plans with times by a law of its own, in a store, to train on.

The law is not the model's: seconds per row depend on the sizes of hash tables by steps, as caches have it,
and every run is noisy. Times are of pipelines, estimates err.
"""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import numpy as np

from godb_fast.core import Decision, Observation, PhysicalNode, PhysicalPlan
from godb_fast.learning.features import COLUMN, FEATURES, FEATURES_VERSION, PHYSICAL_VERSION, columns
from godb_fast.learning.physical import plan_vector
from godb_fast.learning.pipelines import packed
from godb_fast.store import PlanRun, SqliteStore

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
#: How much slower the machine is than the one whose nanoseconds these are.
SLOWNESS = 100.0
#: Nanoseconds per row that probes a hash table of up to so many rows.
_PROBE = ((1e3, 4.0), (1e5, 12.0), (math.inf, 60.0))


def fill(
    store: SqliteStore,
    executions: int,
    *,
    templates: int = 40,
    seed: int = 1,
    timed: bool = True,
    engine: str = "duckdb",
) -> None:
    """Record drawn executions of drawn templates; every third one under another plan than the engine's.

    ``timed`` says that the plans' operators were timed, as in a profile.
    """
    source = random.Random(seed)
    shapes = [_template(random.Random(seed * 1000 + number)) for number in range(templates)]
    at = BEGIN
    trials: list[PlanRun] = []
    while executions > 0:
        number = source.randrange(templates)
        scale = math.exp(source.uniform(-2.0, 2.0))
        query = source.random()
        decision_of = f"query {len(trials)}"
        for steered in (False, True, False)[: min(executions, 3)]:
            at += timedelta(seconds=7)
            plan, seconds = _run(shapes[number], scale, steered, source, timed, engine)
            executions -= 1
            decision = Decision(number, "", reason="drawn", engine=engine)
            observation = Observation(
                decision.id,
                number,
                "ok",
                seconds * 1e3,
                steered=steered,
                plan=plan,
                plan_source=plan.source,
                engine=engine,
                database="drawn",
                at=at,
            )
            store.record(decision, observation)
            trials.append(
                PlanRun(
                    engine, "drawn", decision_of, number, "steered" if steered else "",
                    plan_vector(plan), seconds, False, at, packed(plan),
                )
            )  # fmt: skip
            store.features.keep(
                observation.execution_id,
                at - timedelta(seconds=1),
                FEATURES_VERSION,
                _vector(plan, number, query, scale),
            )
    store.trials.keep(PHYSICAL_VERSION, trials)
    if not store.flush(60.0):
        raise RuntimeError(f"the store did not take the executions: {store.health().reason}")


def _template(source: random.Random) -> list[tuple[float, float]]:
    """Tables of a query: rows, and rows per row that joining it makes."""
    count = source.randrange(2, 7)
    return [(math.exp(source.uniform(5.0, 14.0)), math.exp(source.gauss(-0.2, 0.7))) for _ in range(count)]


def _run(
    tables: list[tuple[float, float]],
    scale: float,
    steered: bool,
    source: random.Random,
    timed: bool,
    engine: str,
) -> tuple[PhysicalPlan, float]:
    """A left-deep plan, from the largest table (or, steered, from the smallest), and what it takes."""
    ordered = sorted(tables, reverse=not steered)
    rows, growth = ordered[0]
    rows *= scale
    spent_ns = rows * 2.0
    node = _node("SEQ_SCAN", "scan", rows, spent_ns, source, timed)
    for size, growth in ordered[1:]:
        build_ns = size * 25.0
        build = _node("SEQ_SCAN", "scan", size, size * 2.0, source, timed)
        probe_ns = rows * next(cost for most, cost in _PROBE if size <= most)
        rows *= growth
        probe_ns += rows * 3.0
        spent_ns += build_ns + size * 2.0 + probe_ns
        node = _node("HASH_JOIN", "join", rows, build_ns + probe_ns, source, timed, node, build)
    spent_ns += rows * 15.0
    groups = max(rows**0.5, 1.0)
    node = _node("HASH_GROUP_BY", "aggregate", groups, rows * 15.0, source, timed, node)
    seconds = SLOWNESS * (spent_ns * 1e-9 + 2e-4) * math.exp(source.gauss(0.0, 0.1))
    return PhysicalPlan(
        node, engine, "profile" if timed else "explain", seconds * 1e3 if timed else None
    ), seconds


def _node(
    operator: str,
    kind: str,
    rows: float,
    nanoseconds: float,
    source: random.Random,
    timed: bool,
    *children: PhysicalNode,
) -> PhysicalNode:
    return PhysicalNode(
        operator,
        kind,
        estimated_rows=round(rows * math.exp(source.gauss(0.0, 0.3))),
        rows=round(rows) if timed else None,
        time_ms=nanoseconds / 1e6 if timed else None,
        columns=("a", "b"),
        children=children,
    )


def _vector(plan: PhysicalPlan, template: int, query: float, scale: float) -> np.ndarray:
    """What serving would have read: sizes of scans and joins, and which query it is."""
    vector = np.zeros(len(FEATURES))
    nodes = list(plan.root.walk())
    scans = [node.estimated_rows or 0.0 for node in nodes if node.kind == "scan"]
    joins = [node.estimated_rows or 0.0 for node in nodes if node.kind == "join"]
    built = [node.children[1].estimated_rows or 0.0 for node in nodes if node.kind == "join"]
    for name, value in {
        "plan_scans": len(scans),
        "plan_hash_joins": len(joins),
        "plan_pipelines": len(joins) + 1,
        "scanned_rows": math.log1p(sum(scans)),
        "largest_scan_rows": math.log1p(max(scans)),
        "joined_rows": math.log1p(sum(joins)),
        "largest_join_rows": math.log1p(max(joins)),
        "built_rows": math.log1p(sum(built)),
        "largest_build_rows": math.log1p(max(built)),
        # A cost model that forgets what building hash tables takes.
        "plan_cost": math.log1p(sum(joins)),
        "relations": len(scans),
        "inner_edges": len(joins),
        "filtered_share": -query,
        "table_rows": 10.0 + math.log(scale),
    }.items():
        vector[COLUMN[name]] = value
    vector[columns("template").start + 5] = template % 7
    return vector
