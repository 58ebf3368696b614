"""What one executed statement shows a cost model, and which observations show nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import Observation, PhysicalPlan
from godb_fast.feedback.collector import unusable
from godb_fast.feedback.costs.places import TableSizes
from godb_fast.feedback.costs.work import plan_work

Floats = NDArray[np.float64]

#: A week: no statement of which we see the end takes longer.
_LONGEST_MS: Final = 7 * 86_400e3
#: Operators may work in parallel, but not in more threads than this.
_MOST_THREADS: Final = 1024.0
_MOST_ROWS: Final = 1e15


@dataclass(frozen=True)
class CostScope:
    """Where coefficients hold: an engine's database on one machine, and a class of its workload.

    Parameters
    ----------
    engine, database, machine : str
        As observations carry them.
    workload : str
        The cluster of the query; empty for all of them together.
    """

    engine: str
    database: str
    machine: str = ""
    workload: str = ""


@dataclass(frozen=True, eq=False)
class CostSample:
    """One executed statement as work and times.

    Parameters
    ----------
    amounts : float64 array, shape (N, T)
        Work per operator, by measured rows.
    times_ns : float64 array, shape (N,)
        Per operator; NaN where not measured.
    operators : int64 array, shape (N,)
    estimated, executed : float64 array, shape (T,)
        Work of the whole plan, by estimates and as measured.
    latency_ns : float
        Of the statement.
    group : int
        Of its template.
    """

    amounts: Floats
    times_ns: Floats
    operators: NDArray[np.int64]
    estimated: Floats
    executed: Floats
    latency_ns: float
    group: int = 0


def cost_sample(plan: PhysicalPlan, latency_ms: float, sizes: TableSizes, group: int = 0) -> CostSample:
    """The sample of an executed plan; ``group`` says of which template."""
    executed = plan_work(plan, sizes, executed=True)
    estimated = plan_work(plan, sizes, executed=False)
    return CostSample(
        executed.amounts,
        executed.times_ns,
        executed.operators,
        estimated.amounts.sum(axis=0),
        executed.amounts.sum(axis=0),
        latency_ms * 1e6,
        group,
    )


def refusal(observation: Observation, scope: CostScope) -> str | None:
    """Why nothing may be learned of costs from an observation; None if something may.

    Numbers that no execution can have come from, and observations of another database, engine or machine,
    would teach every later prediction.
    """
    reason = unusable(observation)
    if reason is not None:
        return reason
    for what in ("engine", "database", "machine"):
        found, wanted = getattr(observation, what), getattr(scope, what)
        if wanted and found != wanted:
            return f"another {what}"
    plan = observation.plan
    assert plan is not None
    # A plan may say the engine's version too.
    if plan.engine and plan.engine.split()[0] != observation.engine:
        return "a plan of another engine"
    latency = observation.latency_ms
    if not math.isfinite(latency) or latency <= 0.0:
        return "latency is not a positive number"
    if latency > _LONGEST_MS:
        return "latency of more than a week"
    return _bad_numbers(plan, latency)


def _bad_numbers(plan: PhysicalPlan, latency_ms: float) -> str | None:
    total = 0.0
    timed = False
    for node in plan.root.walk():
        for name in ("rows", "estimated_rows", "loops", "time_ms"):
            value = getattr(node, name)
            if value is None:
                continue
            if not math.isfinite(value):
                return f"{name} is not finite"
            if value < 0.0:
                return f"{name} is negative"
        if max(node.rows or 0.0, node.estimated_rows or 0.0) > _MOST_ROWS:
            return "more rows than any table holds"
        if node.time_ms is not None:
            timed = True
            total += node.time_ms
    if not timed:
        return "no operator was timed"
    # Profiled and unprofiled runs differ, and clocks tick.
    if total > _MOST_THREADS * (latency_ms + 1.0):
        return "operators took longer than all threads could"
    return None
