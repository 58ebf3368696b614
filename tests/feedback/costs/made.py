"""Executed plans whose operators take what given coefficients say: the oracle of what is to be learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from godb_fast.core import Observation, PhysicalNode, PhysicalPlan
from godb_fast.feedback.costs import CostSample, CostScope, TableSizes, cost_sample, plan_work
from godb_fast.feedback.costs.fitting import statement_row
from godb_fast.feedback.costs.terms import NAMES

SCOPE = CostScope("duckdb", "shop", "m1")


def coefficients(**named: float) -> np.ndarray:
    """Nanoseconds a unit; terms that are not named cost nothing."""
    assert set(named) <= set(NAMES)
    return np.array([named.get(name, 0.0) for name in NAMES])


TRUTH = coefficients(
    scan_startup=3000, scan_rows=2, scan_values=3, build_rows=90, probe_rows=25, hash_output=12,
    hash_startup=6000, aggregate_rows=30, groups=150, aggregate_startup=4000,
)  # fmt: skip


def node(operator: str, kind: str, rows: float, *children: PhysicalNode, **more: Any) -> PhysicalNode:
    extra = more.pop("extra", {})
    if kind == "scan":
        extra = {"rows_scanned": more.pop("read"), **extra}
    estimated = more.pop("estimated", rows)
    return PhysicalNode(
        operator, kind, rows=rows, estimated_rows=estimated, children=children, extra=extra, **more
    )


def drawn_plan(source: np.random.Generator, *, wrong: float = 0.0) -> PhysicalPlan:
    """A join of two scans, grouped; ``wrong`` is the spread of the estimates' log errors."""

    def estimate(rows: float) -> float:
        return float(max(1.0, round(rows * np.exp(source.normal(0.0, wrong)))))

    tables = {"orders": 200_000.0, "lines": 900_000.0, "items": 3_000.0, "users": 40_000.0}
    scans = []
    for name in source.permutation(sorted(tables))[:2]:
        kept = float(round(tables[name] * source.uniform(0.02, 1.0)))
        columns = tuple(f"c{number}" for number in range(source.integers(1, 8)))
        predicates = ("(c0 > 1)",) if kept < tables[name] else ()
        scans.append(
            node(
                "TABLE_SCAN",
                "scan",
                kept,
                table=str(name),
                read=tables[name],
                columns=columns,
                estimated=estimate(kept),
                predicates=predicates,
            )
        )
    joined = float(round(scans[0].rows * source.uniform(0.1, 2.0)))
    join = node("HASH_JOIN", "join", joined, *scans, join_type="INNER", estimated=estimate(joined))
    if source.uniform() < 0.4:
        return PhysicalPlan(join, "duckdb", "profile")
    groups = float(round(joined * source.uniform(0.001, 0.5)) + 1)
    extra = {"Groups": "#0", "Aggregates": "sum(#1)"}
    grouped = node("HASH_GROUP_BY", "aggregate", groups, join, extra=extra, estimated=estimate(groups))
    return PhysicalPlan(grouped, "duckdb", "profile")


def timed(
    plan: PhysicalPlan,
    source: np.random.Generator,
    truth: np.ndarray = TRUTH,
    *,
    noise: float = 0.1,
    startup_ms: float = 2.0,
) -> PhysicalPlan:
    """The plan with the times that the truth gives its operators, and its latency."""
    work = plan_work(plan, TableSizes(), executed=True)
    times = iter((work.amounts @ truth) * np.exp(source.normal(0.0, noise, len(work.amounts))))

    def build(part: PhysicalNode) -> PhysicalNode:
        took = float(next(times)) / 1e6
        return PhysicalNode(
            **{
                **{name: getattr(part, name) for name in part.__dataclass_fields__},
                "time_ms": took,
                "children": tuple(build(child) for child in part.children),
            }
        )

    root = build(plan.root)
    latency = startup_ms + sum(each.time_ms or 0.0 for each in root.walk())
    return PhysicalPlan(root, plan.engine, plan.source, latency)


def observation(plan: PhysicalPlan, number: int = 0, /, **more: Any) -> Observation:
    values = {
        "decision_id": "", "fingerprint": number, "outcome": "ok", "latency_ms": plan.latency_ms, "plan": plan,
        "plan_source": plan.source, "engine": SCOPE.engine, "database": SCOPE.database, "machine": SCOPE.machine,
    }  # fmt: skip
    return Observation(**{**values, **more})


def drawn(
    seed: int, count: int, truth: np.ndarray = TRUTH, *, wrong: float = 0.0, noise: float = 0.1
) -> list[PhysicalPlan]:
    source = np.random.default_rng(seed)
    return [timed(drawn_plan(source, wrong=wrong), source, truth, noise=noise) for _ in range(count)]


def samples(plans: list[PhysicalPlan], templates: int = 20) -> list[CostSample]:
    sizes = TableSizes()
    for plan in plans:
        sizes.learn(plan)
    return [
        cost_sample(plan, plan.latency_ms or 0.0, sizes, number % templates)
        for number, plan in enumerate(plans)
    ]


__all__ = ["SCOPE", "TRUTH", "coefficients", "drawn", "drawn_plan", "observation", "samples", "statement_row"]
