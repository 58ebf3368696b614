"""An engine's whole plan as one row of numbers, and a plan beside the engine's own.

Whatever block a plan is of, whatever rewrote it, and whether we could have planned it ourselves: all that is
read is what EXPLAIN tells, so that training sees what serving sees. What an estimate *hides* matters most: a
nested loop is cheap as long as its outer side has as few rows as were guessed, so the *exposure* of a plan
says what one more outer row costs (Leis et al., "How good are query optimizers, really?", VLDB 2015, show
that such joins are where underestimates hurt).

An engine that tells no costs (DuckDB) gets those that join orders are searched by, over its estimated rows.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.learning.features import Feature
from godb_fast.planning.calibration import DUCKDB

Floats = NDArray[np.float64]

_LOG: Final = 700.0
_COUNT: Final = 1e6
#: Estimates beyond this are no rows, and no cost.
_MOST: Final = 1e18
#: What handing a row on costs an engine that tells no costs, in ns: filters, projections.
_PASSED: Final = 2.0
#: An outer side of at most so many estimated rows is a guess.
_FEW: Final = 10.0

_COUNTS: Final = (
    "joins", "loop_joins", "hash_joins", "merge_joins", "products", "outer_joins", "scans", "index_scans",
    "bitmap_scans", "sorts", "hashed_groupings", "sorted_groupings", "memoized", "materialized", "subplans",
    "initplans", "common_tables", "set_operations", "workers", "windows", "blind_loops", "stacked_loops",
)  # fmt: skip
_ROWS: Final = (
    "scanned_rows", "index_rows", "looped_rows", "outer_rows", "built_rows", "probed_rows", "merged_rows",
    "sorted_rows", "grouped_rows", "materialized_rows", "returned_rows", "largest_rows",
)  # fmt: skip
_COSTS: Final = (
    "cost", "startup_cost", "loop_cost", "hash_cost", "merge_cost", "sort_cost", "subplan_cost", "exposure",
    "largest_exposure",
)  # fmt: skip

#: Columns of a plan, of version ``features.PHYSICAL_VERSION``.
PHYSICAL_COLUMNS: Final[tuple[Feature, ...]] = (
    *(Feature(name, "count", "structure", "physical", 0.0, _COUNT) for name in _COUNTS),
    *(Feature(name, "ln rows", "data", "physical", 0.0, _LOG) for name in _ROWS),
    *(Feature(name, "ln cost", "data", "physical", 0.0, _LOG) for name in _COSTS),
    Feature("compiled", "flag", "structure", "physical", 0.0, 1.0),
)
#: Columns of a plan beside the engine's own plan of the same query.
PAIR_COLUMNS: Final = (
    *(f"delta_{feature.name}" for feature in PHYSICAL_COLUMNS),
    *(feature.name for feature in PHYSICAL_COLUMNS),
)
#: What a ranker reads: a pair, and the other plan by itself.
RANK_COLUMNS: Final = (*PAIR_COLUMNS, *(f"other_{feature.name}" for feature in PHYSICAL_COLUMNS))
_COST: Final = PAIR_COLUMNS.index("delta_cost")
#: Differences of ln cost beyond this say no more, for a plan and against it.
_MOST_SAID: Final = 3.0
_MOST_SAID_AGAINST: Final = 1.0
#: Where the columns of a plan tell how large something is, as a logarithm.
SIZES: Final = slice(len(_COUNTS), len(_COUNTS) + len(_ROWS) + len(_COSTS))


def plan_vector(plan: PhysicalPlan) -> Floats:
    """A plan as numbers, shape (C,), in the order of ``PHYSICAL_COLUMNS``."""
    reader = _Reader(plan.root)
    found = np.array([reader.values.get(feature.name, 0.0) for feature in PHYSICAL_COLUMNS])
    found[SIZES] = np.log1p(np.minimum(found[SIZES], _MOST))
    return found


def pair_vectors(plans: Floats, default: Floats) -> Floats:
    """Plans beside the engine's own, shape (n, 2 C), in the order of ``PAIR_COLUMNS``.

    Parameters
    ----------
    plans : float64 array, shape (n, C)
        Vectors of candidates.
    default : float64 array, shape (C,)
        That of the engine's own plan.
    """
    own = np.broadcast_to(default, plans.shape)
    found: Floats = np.concatenate([plans - own, own], axis=1)
    return found


def rank_vectors(pairs: Floats) -> Floats:
    """What a ranker reads of pairs, shape (n, 3 C), in the order of ``RANK_COLUMNS``."""
    count = len(PHYSICAL_COLUMNS)
    found: Floats = np.concatenate([pairs, pairs[:, :count] + pairs[:, count:]], axis=1)
    return found


def cost_says(pairs: Floats, share: float) -> Floats:
    """The say of estimated cost in a ranker's prediction, shape (n,): ln(cost ÷ the own plan's), clipped.

    Parameters
    ----------
    share : float
        Its weight.
    """
    told: Floats = share * np.clip(pairs[:, _COST], -_MOST_SAID, _MOST_SAID_AGAINST)
    return told


def with_latency(said: Floats, heard: Floats, share: float) -> Floats:
    """A ranker's predictions with what a latency model says, shape (n,), where that says anything.

    Parameters
    ----------
    said : float64 array, shape (n,)
        Without it.
    heard : float64 array, shape (n,)
        ln(predicted time ÷ that of the engine's own plan); NaN where it is not known.
    share : float
        Its weight.
    """
    together = (1.0 - share) * said + share * np.clip(heard, -_MOST_SAID, _MOST_SAID_AGAINST)
    found: Floats = np.where(np.isnan(heard), said, together)
    return found


class _Reader:
    """Walks a plan, and adds up."""

    def __init__(self, root: PhysicalNode) -> None:
        #: Whether costs are what the engine estimates, or what we make of its rows.
        self._told = "Total Cost" in root.extra
        self.values: dict[str, float] = {
            "cost": _cost(root),
            "startup_cost": _number(root, "Startup Cost"),
            "returned_rows": _rows(root),
            "compiled": float("JIT" in root.extra),
        }
        #: Nodes with how many loops are above them, and how often they run.
        stack = [(root, 0, 1.0)]
        while stack:
            node, loops, times = stack.pop()
            self._node(node, loops, times)
            looping = _loops(node)
            inputs = _inputs(node)
            for child in node.children:
                inside, often = loops, times
                if child in inputs:
                    if looping and child is inputs[-1] and len(inputs) > 1:
                        inside, often = loops + 1, times * max(_rows(inputs[0]), 1.0)
                elif child.extra.get("Parent Relationship") == "SubPlan":
                    often = times * max(_rows(node), *map(_rows, inputs), 1.0)
                    self._add("subplans")
                    self._add("subplan_cost", _cost(child) * often)
                    self._expose(_cost(child))
                else:
                    self._add("initplans")
                stack.append((child, inside, min(often, _MOST)))

    def _node(self, node: PhysicalNode, loops: int, times: float) -> None:
        operator, rows = node.operator.lower(), _rows(node)
        if not self._told:
            self._add("cost", _work(node))
        self.values["largest_rows"] = max(self.values.get("largest_rows", 0.0), rows)
        workers = node.extra.get("Workers Planned")
        if isinstance(workers, int | float):
            self._add("workers", float(workers))
        if node.kind in ("join", "cross_product"):
            self._join(node, loops)
        elif node.kind == "scan":
            self._add("scans")
            if "index" in operator:
                self._add("index_scans")
                self._add("index_rows", rows * times)
            else:
                self._add("bitmap_scans", float("bitmap" in operator))
                self._add("scanned_rows", rows * times)
        elif node.kind == "aggregate":
            sorted_ = node.extra.get("Strategy") == "Sorted" or operator == "unique"
            self._add("sorted_groupings" if sorted_ else "hashed_groupings")
            self._add("grouped_rows", sum(map(_rows, _inputs(node))))
        elif node.kind == "sort":
            self._add("sorts")
            self._add("sorted_rows", rows * times)
            self._add("sort_cost", self._own_cost(node) * times)
        elif node.kind in ("cte", "set_operation"):
            self._add("common_tables" if node.kind == "cte" else "set_operations")
        elif operator == "memoize":
            self._add("memoized")
        elif operator == "materialize":
            self._add("materialized")
            self._add("materialized_rows", rows)
        elif "window" in operator:
            self._add("windows")

    def _join(self, node: PhysicalNode, loops: int) -> None:
        operator, inputs = node.operator.lower(), _inputs(node)
        self._add("joins")
        self._add("products", float(node.kind == "cross_product"))
        self._add("outer_joins", float((node.join_type or "").lower() in ("left", "right", "full")))
        first, last = (_rows(inputs[0]), _rows(inputs[-1])) if inputs else (0.0, 0.0)
        if _loops(node):
            self._add("loop_joins")
            self._add("stacked_loops", float(loops > 0))
            self._add("blind_loops", float(first <= _FEW))
            self._add("looped_rows", _rows(node))
            self._add("outer_rows", first)
            self._add("loop_cost", self._own_cost(node))
            if inputs:
                self._expose(_cost(inputs[-1]))
        elif "merge" in operator:
            self._add("merge_joins")
            self._add("merged_rows", first + last)
            self._add("merge_cost", self._own_cost(node))
        else:
            self._add("hash_joins")
            self._add("built_rows", last)
            self._add("probed_rows", first)
            self._add("hash_cost", self._own_cost(node))

    def _own_cost(self, node: PhysicalNode) -> float:
        if not self._told:
            return _work(node)
        return max(_cost(node) - sum(map(_cost, _inputs(node))), 0.0)

    def _expose(self, cost: float) -> None:
        """One more row above costs so much."""
        self._add("exposure", cost)
        self.values["largest_exposure"] = max(self.values.get("largest_exposure", 0.0), cost)

    def _add(self, name: str, by: float = 1.0) -> None:
        self.values[name] = self.values.get(name, 0.0) + by


def _inputs(node: PhysicalNode) -> tuple[PhysicalNode, ...]:
    beside = ("SubPlan", "InitPlan")
    return tuple(child for child in node.children if child.extra.get("Parent Relationship") not in beside)


def _loops(node: PhysicalNode) -> bool:
    if node.kind not in ("join", "cross_product"):
        return False
    operator = node.operator.lower()
    return not ("hash" in operator or "merge" in operator)


def _rows(node: PhysicalNode) -> float:
    rows = node.estimated_rows
    return 0.0 if rows is None or not math.isfinite(rows) else min(max(rows, 0.0), _MOST)


def _number(node: PhysicalNode, name: str) -> float:
    value = node.extra.get(name)
    known = isinstance(value, int | float) and math.isfinite(value)
    return min(max(float(value), 0.0), _MOST) if known else 0.0  # type: ignore[arg-type]


def _cost(node: PhysicalNode) -> float:
    return _number(node, "Total Cost")


def _work(node: PhysicalNode) -> float:
    """What an operator costs by its estimated rows, in ns of a hash-join engine in memory."""
    rows, inputs = _rows(node), [_rows(child) for child in _inputs(node)]
    first, last = (inputs[0], inputs[-1]) if inputs else (0.0, 0.0)
    if node.kind == "scan":
        return DUCKDB.scan * rows
    if _loops(node):
        return min(DUCKDB.probe * first * max(last, 1.0) + DUCKDB.output * rows, _MOST)
    if node.kind == "join":
        return DUCKDB.probe * first + DUCKDB.build * last + DUCKDB.output * rows
    if node.kind in ("aggregate", "sort", "cte") or "window" in node.operator.lower():
        # Rows enter a table of their own, and leave it.
        return DUCKDB.build * sum(inputs) + DUCKDB.output * rows
    return _PASSED * rows
