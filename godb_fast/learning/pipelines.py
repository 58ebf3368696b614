"""The pipelines of an engine's plan, as rows of numbers: what a latency model reads.

A pipeline runs from a source (a scan, or what an earlier one materialized) through probes and filters into a
sink (a hash table, groups, a sort, the result). The model predicts seconds per source row, and a plan takes
the sum over its pipelines: T3 (Rieger & Neumann, SIGMOD 2025). Rows are the engine's estimates: what is
measured is never read, so that training sees what serving sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.learning.features import PIPELINES_VERSION, Feature

Floats = NDArray[np.float64]

_LOG: Final = 700.0
_COUNT: Final = 1e6
#: Values of estimates beyond this are no rows.
_MOST_ROWS: Final = 1e18
_SINKS: Final = ("build", "aggregate", "sort", "other", "result")


def _row(name: str, unit: str, most: float, category: str = "structure") -> Feature:
    return Feature(name, unit, category, "pipeline", 0.0, most)


#: Columns of a pipeline, of version ``features.PIPELINES_VERSION``.
PIPELINE_COLUMNS: Final[tuple[Feature, ...]] = (
    _row("source_rows", "ln rows", _LOG, "data"),
    _row("source_scan", "flag", 1),
    _row("source_index", "flag", 1),
    _row("source_materialized", "flag", 1),
    _row("source_columns", "count", _COUNT),
    _row("row_bytes", "ln bytes", _LOG, "data"),
    _row("comparisons", "count", _COUNT),
    _row("patterns", "count", _COUNT),
    _row("filters", "count", _COUNT),
    _row("projections", "count", _COUNT),
    _row("hash_probes", "count", _COUNT),
    _row("loops", "count", _COUNT),
    _row("merges", "count", _COUNT),
    _row("products", "count", _COUNT),
    _row("other_operators", "count", _COUNT),
    _row("probed_share", "ln rows per source row", _LOG, "data"),
    _row("joined_share", "ln rows per source row", _LOG, "data"),
    _row("loop_share", "ln rows per source row", _LOG, "data"),
    _row("largest_share", "ln rows per source row", _LOG, "data"),
    _row("sunk_share", "ln rows per source row", _LOG, "data"),
    _row("tables_probed_rows", "ln rows", _LOG, "data"),
    _row("largest_probed_rows", "ln rows", _LOG, "data"),
    _row("sunk_rows", "ln rows", _LOG, "data"),
    _row("sunk_bytes", "ln bytes", _LOG, "data"),
    _row("groups", "ln rows", _LOG, "data"),
    *(_row(f"sink_{sink}", "flag", 1) for sink in _SINKS),
    _row("workers", "count", _COUNT, "system"),
    _row("plan_pipelines", "count", _COUNT),
)
PIPELINE_COLUMN: Final = {feature.name: at for at, feature in enumerate(PIPELINE_COLUMNS)}


@dataclass(frozen=True, eq=False)
class Pipelines:
    """The pipelines of one plan.

    Attributes
    ----------
    vectors : float64 array, shape (P, C)
        In the order of ``PIPELINE_COLUMNS``.
    source_rows : float64 array, shape (P,)
        At least 1.
    seconds : float64 array, shape (P,), or None
        What each took, as its share of the plan's latency; None where operators were not timed.
    """

    vectors: Floats
    source_rows: Floats
    seconds: Floats | None


def plan_seconds(source_rows: Floats, predicted: Floats, starts: Sequence[int] | NDArray[np.int64]) -> Floats:
    """Seconds per plan from -ln(seconds per source row) per pipeline.

    Parameters
    ----------
    source_rows, predicted : float64 arrays, shape (P,)
        Of all plans, one after another.
    starts : sequence of int, shape (plans,)
        Where each plan's pipelines begin.
    """
    each = source_rows * np.exp(-np.clip(predicted, -_LOG / 10, _LOG / 10))
    seconds: Floats = np.add.reduceat(each, np.asarray(starts, np.int64))
    return seconds


def pipelines(plan: PhysicalPlan) -> Pipelines:
    """Cut a plan into its pipelines; any plan has one at least."""
    found: list[_Pipeline] = []
    open_: list[_Pipeline] = []
    # Children before their parents, the first child on top.
    for node in reversed(list(plan.root.walk())):
        parts = [open_.pop() for _ in node.children]
        open_.append(_above(node, parts, found))
    last = open_.pop()
    last.close("result", found)
    count = len(found)
    vectors = np.zeros((count, len(PIPELINE_COLUMNS)))
    for at, pipeline in enumerate(found):
        for name, value in pipeline.values().items():
            vectors[at, PIPELINE_COLUMN[name]] = value
    vectors[:, PIPELINE_COLUMN["plan_pipelines"]] = count
    rows = np.array([pipeline.source for pipeline in found])
    return Pipelines(vectors, rows, _seconds(plan, found))


def packed(plan: PhysicalPlan) -> Floats:
    """A plan's pipelines as they are kept, shape (P, 2 + C): their version, source rows, and columns."""
    found = pipelines(plan)
    version = np.full(len(found.vectors), float(PIPELINES_VERSION))
    return np.column_stack([version, found.source_rows, found.vectors])


def is_packed(table: Floats | None) -> bool:
    """Whether that holds pipelines as they are described now."""
    if table is None or table.ndim != 2 or table.shape[1] != 2 + len(PIPELINE_COLUMNS):
        return False
    return bool((table[:, 0] == PIPELINES_VERSION).all())


def packed_seconds(predict: Callable[[Floats], Floats], plans: Sequence[Floats]) -> Floats:
    """Seconds of plans, shape (n,), by a latency model, all in one call.

    Parameters
    ----------
    predict : callable
        -ln(seconds per source row) of pipelines, shape (P, C).
    plans : sequence of float64 arrays
        At least one; as :func:`packed` gives them.
    """
    rows = np.concatenate(plans)
    starts = np.cumsum([0, *(len(plan) for plan in plans[:-1])])
    return plan_seconds(rows[:, 1], predict(np.ascontiguousarray(rows[:, 2:])), starts)


def _seconds(plan: PhysicalPlan, found: list[_Pipeline]) -> Floats | None:
    times = np.array([pipeline.time_ms for pipeline in found])
    total = float(times.sum())
    latency = plan.latency_ms
    if latency is None or not total > 0.0 or plan.root.rows is None:
        return None
    # Threads' times add up to more than what passed: they say the shares.
    shares: Floats = np.maximum(times / total, 1e-4)
    seconds: Floats = shares / shares.sum() * latency / 1e3
    return seconds


class _Pipeline:
    """One pipeline while the plan is walked."""

    def __init__(self, source: str, rows: float, node: PhysicalNode) -> None:
        self.source = max(rows, 1.0)
        self.rows = rows
        self.columns = len(node.columns)
        self.width = _width(node)
        self.counts: dict[str, float] = {f"source_{source}": 1.0}
        self.shares = {"probed_share": 0.0, "joined_share": 0.0, "loop_share": 0.0}
        self.largest = rows
        self.probed = 0.0
        self.largest_probed = 0.0
        self.groups = 0.0
        self.sink = ""
        self.time_ms = 0.0

    def count(self, what: str, times: float = 1.0) -> None:
        self.counts[what] = self.counts.get(what, 0.0) + times

    def meet(self, node: PhysicalNode, time_share: float = 1.0) -> None:
        """Take a node's conditions and time in."""
        self.time_ms += (node.time_ms or 0.0) * time_share
        for text in node.predicates:
            pattern = "like" in text.lower() or "~" in text
            self.count("patterns" if pattern else "comparisons")
        workers = node.extra.get("Workers Planned")
        if isinstance(workers, int | float):
            self.counts["workers"] = float(workers)

    def flow(self, rows: float) -> None:
        """So many rows leave the operator."""
        self.rows = rows
        self.largest = max(self.largest, rows)

    def close(self, sink: str, found: list[_Pipeline], groups: float = 0.0) -> None:
        self.sink, self.groups = sink, groups
        found.append(self)

    def values(self) -> dict[str, float]:
        def share(rows: float) -> float:
            return math.log1p(rows / self.source)

        return {
            **self.counts,
            "source_rows": math.log1p(self.source),
            "source_columns": self.columns,
            "row_bytes": math.log1p(self.width),
            **{name: share(rows) for name, rows in self.shares.items()},
            "largest_share": share(self.largest),
            "sunk_share": share(self.rows),
            "tables_probed_rows": math.log1p(self.probed),
            "largest_probed_rows": math.log1p(self.largest_probed),
            "sunk_rows": math.log1p(self.rows),
            "sunk_bytes": math.log1p(self.rows * self.width),
            "groups": math.log1p(self.groups),
            f"sink_{self.sink}": 1.0,
        }


def _above(node: PhysicalNode, parts: list[_Pipeline], found: list[_Pipeline]) -> _Pipeline:
    """The pipeline that leaves a node; those that end in it are added to ``found``."""
    operator = node.operator.lower()
    rows = _estimate(node, parts)
    if not parts:
        kind = "scan" if node.kind == "scan" and "index" not in operator else "materialized"
        pipeline = _Pipeline("index" if "index" in operator else kind, rows, node)
        pipeline.meet(node)
        return pipeline
    first, *others = parts
    if node.kind in ("join", "cross_product"):
        return _joined(node, operator, rows, first, others, found)
    sorts = node.kind == "sort" or "window" in operator
    if len(parts) > 1 or node.kind in ("aggregate", "set_operation", "cte") or sorts:
        sink = "aggregate" if node.kind == "aggregate" else "sort" if sorts else "other"
        for part in parts:
            part.meet(node, 1.0 / len(parts))
            part.close(sink, found, rows)
        return _Pipeline("materialized", rows, node)
    first.count({"filter": "filters", "projection": "projections"}.get(node.kind, "other_operators"))
    first.meet(node)
    first.flow(rows)
    return first


def _joined(
    node: PhysicalNode,
    operator: str,
    rows: float,
    probe: _Pipeline,
    builds: list[_Pipeline],
    found: list[_Pipeline],
) -> _Pipeline:
    incoming = probe.rows
    looped = "nested loop" in operator
    built = sum(build.rows for build in builds)
    # One time is told for both sides of a hash join.
    build_share = 0.0 if looped else built / (built + incoming + 1.0)
    for build in builds:
        if looped:
            # Run again for each row of the outer side: no pipeline of its own.
            probe.shares["loop_share"] += min(incoming * max(build.rows, 1.0), _MOST_ROWS)
            probe.time_ms += build.time_ms
            for name, times in build.counts.items():
                if not name.startswith("source_"):
                    probe.count(name, times)
        else:
            build.time_ms += (node.time_ms or 0.0) * build_share / len(builds)
            build.close("build", found)
    if looped:
        probe.count("loops")
    elif "merge" in operator:
        probe.count("merges")
    elif node.kind == "cross_product" or "hash" not in operator:
        probe.count("products")
    else:
        probe.count("hash_probes")
    probe.shares["probed_share"] += incoming
    probe.shares["joined_share"] += rows
    probe.probed += built
    probe.largest_probed = max(probe.largest_probed, built)
    probe.width += sum(build.width for build in builds)
    probe.meet(node, 1.0 - build_share)
    probe.flow(rows)
    return probe


def _estimate(node: PhysicalNode, parts: list[_Pipeline]) -> float:
    """The rows that the engine expects of a node; those of its inputs where it does not say."""
    rows = node.estimated_rows
    if rows is None or not math.isfinite(rows) or rows < 0.0:
        return max((part.rows for part in parts), default=1.0)
    return min(float(rows), _MOST_ROWS)


def _width(node: PhysicalNode) -> float:
    """Bytes of a row that leaves a node: as PostgreSQL says, else eight a column."""
    width = node.extra.get("Plan Width")
    if isinstance(width, int | float) and math.isfinite(width) and width > 0:
        return float(width)
    return 8.0 * max(len(node.columns), 1)
