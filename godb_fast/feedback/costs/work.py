"""How much work each operator of an engine's plan does, by estimates or as it was measured.

Row counts are those of one process: below a Gather of PostgreSQL, each process does its share, and the times
that its plans show there are averages over the processes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.feedback.costs.places import (
    GATHER,
    INDEX_SCANS,
    Place,
    TableSizes,
    expect_loops,
    is_beside,
    places_of,
    rows_out,
    rows_read,
)
from godb_fast.feedback.costs.terms import INDEX, NAMES, OPERATORS

Floats = NDArray[np.float64]

_MATERIALIZED: Final = frozenset({"Materialize", "Memoize"})
#: Aggregations that need no hash table: into one row, into an array, or of groups that come in order.
_FOLDS: Final = frozenset(
    {"UNGROUPED_AGGREGATE", "SIMPLE_AGGREGATE", "PERFECT_HASH_GROUP_BY", "Group", "Unique"}
)
_JUNCTION: Final = re.compile(r"\b(?:AND|OR)\b")
_PATTERN: Final = re.compile(
    r"~~|\bi?like\b|\bcontains\(|\bprefix\(|\bsuffix\(|regexp|\bSIMILAR\b", re.IGNORECASE
)
#: A column or an ordinal alone: nothing is computed.
_PLAIN: Final = re.compile(r"#?\[?[\w.]+\]?")
#: Bytes of a value, where a plan tells the width of rows.
_VALUE_BYTES: Final = 8.0
#: What PostgreSQL charges for an operator or function by default (cpu_operator_cost).
_OPERATOR_COST: Final = 0.0025
#: Entries of a hash table or an index that stay in a processor's caches.
_CACHED_ENTRIES: Final = 10_000.0
_MOST_VALUES: Final = 64.0
_MOST_ROWS: Final = 1e15


@dataclass(frozen=True, eq=False)
class PlanWork:
    """The work of all operators of a plan.

    Parameters
    ----------
    amounts : float64 array, shape (N, T)
        Per operator, in the order of :meth:`PhysicalNode.walk`, the units of each term.
    times_ns : float64 array, shape (N,)
        What each took; NaN where that was not measured.
    operators : int64 array, shape (N,)
        Class of each, an index into ``OPERATORS``.
    """

    amounts: Floats
    times_ns: Floats
    operators: NDArray[np.int64]


def plan_work(plan: PhysicalPlan, sizes: TableSizes, *, executed: bool) -> PlanWork:
    """The work of a plan's operators.

    Parameters
    ----------
    executed : bool
        By the rows that were measured; else by estimates, which executed plans have too.
    """
    places = places_of(plan.root, executed)
    for place in reversed(places):
        place.rows = rows_out(place, places, sizes, executed)
    if not executed:
        expect_loops(places, sizes)
    amounts = np.zeros((len(places), len(NAMES)))
    times = np.full(len(places), np.nan)
    operators = np.zeros(len(places), np.int64)
    for number, place in enumerate(places):
        counted = _Counting(place, places, sizes, executed)
        operators[number] = OPERATORS.index(counted.operator)
        for name, amount in counted.amounts().items():
            amounts[number, INDEX[name]] = min(amount, _MOST_ROWS)
        if executed and place.node.time_ms is not None and place.node.loops != 0:
            times[number] = place.node.time_ms * 1e6
    return PlanWork(amounts, times, operators)


class _Counting:
    """Counts one node's work."""

    def __init__(self, place: Place, places: list[Place], sizes: TableSizes, executed: bool) -> None:
        self.node = place.node
        self.place = place
        self.sizes = sizes
        self.places = places
        self.executed = executed
        self.above = places[place.parent] if place.parent >= 0 else None
        self.inputs = [places[child] for child in place.children if not is_beside(places[child].node)]
        self.operator = _operator(place.node, self.inputs)

    def amounts(self) -> dict[str, float]:
        """Units of each term."""
        counted: dict[str, float] = getattr(self, f"_{self.operator}")()
        return counted

    @property
    def _in(self) -> float:
        return sum(each.rows for each in self.inputs)

    def _scan(self) -> dict[str, float]:
        read, conditions = self._read(), condition_count(self.node)
        return {
            "scan_startup": 1.0,
            "scan_rows": read,
            "scan_values": read * _values(self.node),
            "scan_conditions": read * conditions,
            "scan_patterns": read * _patterns(self.node),
            "scan_output": self.place.rows * _values(self.node),
        }

    def _read(self) -> float:
        place = self.place
        if self.executed:
            return max(rows_read(self.node) or 0.0, 0.0) / place.processes
        rows = self.sizes.of(self.node.table)
        if rows is None:
            return place.rows
        return max(
            rows / (place.processes if self.node.extra.get("Parallel Aware") else 1.0) * place.loops,
            place.rows,
        )

    def _lookup(self) -> dict[str, float]:
        place = self.place
        loops = (self.node.loops or 0.0) / place.processes if self.executed else place.loops
        read = max(rows_read(self.node) or 0.0, 0.0) / place.processes if self.executed else place.rows
        table = self.sizes.of(self.node.table) or 0.0
        return {
            "lookup_startup": 1.0,
            "lookups": loops,
            "lookup_misses": loops * _misses(table),
            "lookup_rows": read,
        }

    def _filter(self) -> dict[str, float]:
        return {"filter_startup": 1.0, "filter_conditions": self._in * max(condition_count(self.node), 1.0)}

    def _projection(self) -> dict[str, float]:
        computed = sum(_PLAIN.fullmatch(text) is None for text in self.node.columns)
        return {"projection_startup": 1.0, "projection_values": self.place.rows * computed}

    def _hash_join(self) -> dict[str, float]:
        if self.node.operator == "Hash":
            return {
                "hash_startup": 1.0,
                "build_rows": self._in,
                "build_values": self._in * _values(self.node),
            }
        probe, build = self.inputs[0].rows, self.inputs[-1]
        counted = {
            "hash_startup": 1.0,
            "probe_rows": probe,
            "probe_misses": probe * _misses(build.rows),
            "hash_output": self.place.rows,
        }
        if build.node.operator != "Hash":
            counted |= {"build_rows": build.rows, "build_values": build.rows * _values(build.node)}
        return counted

    def _merge_join(self) -> dict[str, float]:
        return {"merge_startup": 1.0, "merge_rows": self._in, "merge_output": self.place.rows}

    def _nested_loop(self) -> dict[str, float]:
        outer, inner = self.inputs[0].rows, self.inputs[-1].rows
        # PostgreSQL's inner sides count the rows of all loops.
        pairs = inner if self.node.operator == "Nested Loop" else outer * inner
        return {
            "loop_startup": 1.0,
            "loop_rows": outer,
            "loop_pairs": pairs,
            "loop_conditions": pairs * condition_count(self.node),
            "loop_output": self.place.rows,
        }

    def _aggregate(self) -> dict[str, float]:
        return {
            "aggregate_startup": 1.0,
            "aggregate_rows": self._in,
            "aggregate_values": self._in * _aggregates(self.node, self.inputs),
            "groups": self.place.rows,
            "group_misses": self._in * _misses(self.place.rows),
        }

    def _fold(self) -> dict[str, float]:
        return {
            "fold_startup": 1.0,
            "fold_rows": self._in,
            "fold_values": self._in * _aggregates(self.node, self.inputs),
        }

    def _sort(self) -> dict[str, float]:
        rows = self._in
        above = self.above.node if self.above is not None else None
        # Below a LIMIT the best rows so far are kept in a heap.
        kept = above.estimated_rows if above is not None and above.kind == "limit" else None
        return {
            "sort_startup": 1.0,
            "sort_comparisons": _comparisons(rows)
            if kept is None
            else rows * math.log2(1.0 + min(kept, rows)),
            "sort_values": rows * _values(self.node),
        }

    def _top(self) -> dict[str, float]:
        # A top-n reads all of its input, a LIMIT what it hands out.
        return {"top_startup": 1.0, "top_rows": self._in if self.node.kind == "sort" else self.place.rows}

    def _window(self) -> dict[str, float]:
        return {
            "window_startup": 1.0,
            "window_comparisons": _comparisons(self._in),
            "window_values": self._in * max(len(self.node.columns), 1),
        }

    def _cte(self) -> dict[str, float]:
        read = self._read_again()
        return {"cte_startup": 1.0, "cte_rows": read, "cte_conditions": read * condition_count(self.node)}

    def _materialize(self) -> dict[str, float]:
        place = self.place
        runs = (self.node.loops or 0.0) / place.processes if self.executed else place.loops
        return {
            "materialize_startup": 1.0,
            "materialize_rows": place.rows,
            "materialize_lookups": runs,
        }

    def _read_again(self) -> float:
        """Rows of a common table that are read, also those that a condition then drops."""
        if self.executed:
            return max(rows_read(self.node) or 0.0, 0.0) / self.place.processes
        name = self.node.extra.get("CTE Name")
        kept = next((each.node for each in self.places if _common_table(each.node) == name), None)
        rows = kept.estimated_rows if name is not None and kept is not None else None
        return self.place.rows if rows is None else max(rows * self.place.loops, self.place.rows)

    def _gather(self) -> dict[str, float]:
        return {"gather_startup": self._workers(), "gather_rows": self.place.rows}

    def _workers(self) -> float:
        name = "Workers Launched" if self.executed else "Workers Planned"
        return float(self.node.extra.get(name, 0) or 0)

    def _other(self) -> dict[str, float]:
        return {"other_startup": 1.0, "other_rows": self._in or self.place.rows}


def _operator(node: PhysicalNode, inputs: list[Place]) -> str:
    """The class of an operator."""
    name = node.operator
    if name in GATHER:
        return "gather"
    if name in INDEX_SCANS:
        return "lookup"
    if name == "Hash" or (("HASH" in name.upper()) and node.kind == "join" and len(inputs) > 1):
        return "hash_join"
    if node.kind == "join" and len(inputs) > 1:
        return "merge_join" if "MERGE" in name.upper() or "IE" in name else "nested_loop"
    if node.kind == "cross_product" and len(inputs) > 1:
        return "nested_loop"
    if name in _MATERIALIZED:
        return "materialize"
    if node.kind in ("cte", "set_operation"):
        return "cte"
    if node.kind == "limit" or name == "TOP_N":
        return "top"
    if name in ("WINDOW", "STREAMING_WINDOW", "WindowAgg"):
        return "window"
    if node.kind == "scan" and node.table is None:
        return "other"
    if name in _FOLDS or (node.kind == "aggregate" and node.extra.get("Strategy") in ("Plain", "Sorted")):
        return "fold"
    return node.kind if node.kind in ("scan", "filter", "projection", "aggregate", "sort") else "other"


def _values(node: PhysicalNode) -> float:
    width = node.extra.get("Plan Width")
    if isinstance(width, int | float):
        return max(float(width) / _VALUE_BYTES, 0.0)
    return float(len(node.columns)) if node.columns else _values_below(node)


def _values_below(node: PhysicalNode) -> float:
    """Columns that come out of operators that do not list them: what their inputs have."""
    total, stack = 0.0, list(node.children)
    while stack:
        below = stack.pop()
        if below.columns:
            total += len(below.columns)
        elif below.kind == "aggregate":
            total += len(_listed(below, "Groups")) + len(_listed(below, "Aggregates"))
        else:
            stack.extend(below.children)
    return max(total, 1.0)


def condition_count(node: PhysicalNode) -> float:
    """Conditions that each row of an operator is tested by."""
    return float(sum(1 + len(_JUNCTION.findall(text)) for text in node.predicates))


def _patterns(node: PhysicalNode) -> float:
    return float(sum(len(_PATTERN.findall(text)) for text in node.predicates))


def _aggregates(node: PhysicalNode, inputs: list[Place]) -> float:
    """Grouping keys and aggregates of an aggregation; told by its cost where they are not listed."""
    listed = len(_listed(node, "Groups")) + len(_listed(node, "Aggregates"))
    if listed:
        return float(listed)
    cost = node.extra.get("Total Cost")
    below = inputs[0].node if inputs else None
    if not isinstance(cost, int | float) or below is None:
        return 1.0
    own = float(cost) - float(below.extra.get("Total Cost", 0.0) or 0.0)
    rows = below.estimated_rows or 1.0
    return min(max(own / (_OPERATOR_COST * max(rows, 1.0)), 1.0), _MOST_VALUES)


def _listed(node: PhysicalNode, name: str) -> tuple[Any, ...]:
    value = node.extra.get(name)
    if not value:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _common_table(node: PhysicalNode) -> str | None:
    """The name of the common table that a node of PostgreSQL computes."""
    name = str(node.extra.get("Subplan Name", ""))
    return name.removeprefix("CTE ") if name.startswith("CTE ") else None


def _misses(entries: float) -> float:
    """How far a table of so many entries reaches beyond the caches, in doublings."""
    return math.log2(1.0 + entries / _CACHED_ENTRIES)


def _comparisons(rows: float) -> float:
    return rows * math.log2(rows) if rows > 1.0 else rows
