"""PostgreSQL's plans, from EXPLAIN (FORMAT JSON), as PhysicalPlans: every node kept.

PostgreSQL reports rows and times per loop, and times of the whole subtree. Here ``rows`` is the total over
all loops (and workers), while ``estimated_rows`` stays what the planner expects of one loop (of one worker,
below a Gather); ``time_ms`` is a node's own share of the time that passed (below a Gather, the average over
its processes, which may work while those above are busy too, so that a plan's times may add up to more than
its latency). ``extra`` keeps whatever else PostgreSQL says of a node, under PostgreSQL's names: buffers,
workers, costs, what a subplan is called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.errors import EngineError

_KINDS: Final = {
    "Aggregate": "aggregate",
    "Group": "aggregate",
    "Sort": "sort",
    "Incremental Sort": "sort",
    "Limit": "limit",
    "Append": "set_operation",
    "Merge Append": "set_operation",
    "SetOp": "set_operation",
    "Recursive Union": "set_operation",
    "CTE Scan": "cte",
    "WorkTable Scan": "cte",
    "Hash Join": "join",
    "Merge Join": "join",
    "Nested Loop": "join",
    "Result": "projection",
    "Subquery Scan": "projection",
    # Part of the Bitmap Heap Scan above it.
    "Bitmap Index Scan": "other",
    "ProjectSet": "projection",
    "Unique": "aggregate",
    "WindowAgg": "other",
}
#: Conditions, in the order in which a row meets them.
_CONDITIONS: Final = (
    "Index Cond",
    "Recheck Cond",
    "TID Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "Filter",
    "One-Time Filter",
    "Cache Key",
)
#: Read into fields of their own, or only about the drawing.
_FIELDS: Final = frozenset(
    {"Node Type", "Plans", "Alias", "Relation Name", "Schema", "Plan Rows", "Actual Rows", "Actual Loops"}
    | set(_CONDITIONS)
)
#: How a child hangs below its parent; these two are no inputs of it.
_BESIDE: Final = frozenset({"SubPlan", "InitPlan"})


def physical_plan(explained: Any, engine: str = "postgresql", *, source: str | None = None) -> PhysicalPlan:
    """The plan in what ``EXPLAIN (FORMAT JSON)`` gave, as text or as the objects that a driver made of it.

    Parameters
    ----------
    source : str, optional
        ``auto_explain`` for what comes from the server's log; else ``analyze`` if there are actual rows, and
        ``explain`` if not.

    Raises
    ------
    EngineError
        If it is no plan.
    """
    if isinstance(explained, str | bytes):
        try:
            explained = json.loads(explained)
        except (ValueError, RecursionError) as error:
            raise EngineError(f"EXPLAIN gave no JSON: {str(explained)[:200]}") from error
    if isinstance(explained, list):
        explained = explained[0] if explained else None
    if not isinstance(explained, dict) or not isinstance(explained.get("Plan"), dict):
        raise EngineError(f"EXPLAIN gave no plan: {str(explained)[:200]}")
    root = explained["Plan"]
    built = _Builder().build(root)
    if "JIT" in explained:
        # Not of one node: whether the whole plan is compiled, and how well.
        built = replace(built, extra={**built.extra, "JIT": explained["JIT"]})
    return PhysicalPlan(
        root=built,
        engine=engine,
        source=source or ("analyze" if "Actual Loops" in root else "explain"),
        latency_ms=_number(explained.get("Execution Time")),
    )


class _Builder:
    """Builds the nodes of one plan."""

    def __init__(self) -> None:
        #: Time of each CTE that no reader was charged for yet: it passes within the scans that read it.
        self.unpaid: dict[str, float] = {}

    def build(self, root: dict[str, Any]) -> PhysicalNode:
        """The tree below a node."""
        # Post-order with an explicit stack: deep plans exceed Python's recursion limit.
        built: list[tuple[PhysicalNode, float]] = []
        stack: list[tuple[dict[str, Any], float, bool]] = [(root, 1.0, False)]
        while stack:
            raw, processes, ready = stack.pop()
            children = [child for child in raw.get("Plans") or () if isinstance(child, dict)]
            if not ready:
                stack.append((raw, processes, True))
                inside = processes
                if raw.get("Node Type") in ("Gather", "Gather Merge"):
                    inside = 1.0 + (_number(raw.get("Workers Launched")) or 0.0)
                for child in reversed(children):
                    beside = child.get("Parent Relationship") == "InitPlan"
                    stack.append((child, processes if beside else inside, False))
                continue
            below = built[len(built) - len(children) :] if children else []
            del built[len(built) - len(below) :]
            built.append(self._node(raw, processes, children, below))
        return built[0][0]

    def _node(
        self,
        raw: dict[str, Any],
        processes: float,
        children: Sequence[dict[str, Any]],
        below: Sequence[tuple[PhysicalNode, float]],
    ) -> tuple[PhysicalNode, float]:
        """A node, and the time that passed within it and all below."""
        operator = str(raw.get("Node Type", ""))
        kind = _KINDS.get(operator) or ("scan" if operator.endswith(" Scan") else "other")
        # PostgreSQL names subplans last; the build side is to be the last child.
        inputs = [
            node
            for raw_child, (node, _) in zip(children, below, strict=True)
            if raw_child.get("Parent Relationship") not in _BESIDE
        ]
        beside = [node for node, _ in below if node not in inputs]
        join_type = raw.get("Join Type")
        if (
            operator == "Nested Loop"
            and join_type == "Inner"
            and not raw.get("Join Filter")
            and len(inputs) == 2
            and not _looks_at(inputs[1], inputs[0])
        ):
            kind = "cross_product"
        loops = _number(raw.get("Actual Loops"))
        rows = _number(raw.get("Actual Rows"))
        passed = (_number(raw.get("Actual Total Time")) or 0.0) * (loops or 0.0) / processes
        common = _common_table(raw)
        if common is not None:
            self.unpaid[common] = passed
        table = raw.get("Relation Name")
        if table is not None and raw.get("Schema") is not None:
            table = f"{raw['Schema']}.{table}"
        return PhysicalNode(
            operator=operator,
            kind=kind,
            table=table,
            alias=raw.get("Alias"),
            predicates=tuple(text for name in _CONDITIONS for text in _texts(raw.get(name))),
            columns=_texts(raw.get("Output")),
            join_type=join_type,
            estimated_rows=_number(raw.get("Plan Rows")),
            rows=None if loops is None or rows is None else rows * loops,
            loops=loops,
            time_ms=self._own_time(raw, passed, children, below) if "Actual Total Time" in raw else None,
            memory_bytes=_memory(raw),
            children=(*beside, *inputs),
            extra={name: value for name, value in raw.items() if name not in _FIELDS},
        ), passed

    def _own_time(
        self,
        raw: dict[str, Any],
        passed: float,
        children: Sequence[dict[str, Any]],
        below: Sequence[tuple[PhysicalNode, float]],
    ) -> float:
        own = passed
        for child, (_, spent) in zip(children, below, strict=True):
            if _common_table(child) is None:
                own -= spent
        if raw.get("Node Type") == "CTE Scan":
            name = str(raw.get("CTE Name"))
            paid = min(max(own, 0.0), self.unpaid.get(name, 0.0))
            if paid:
                self.unpaid[name] -= paid
                own -= paid
        return max(own, 0.0)


def _common_table(raw: dict[str, Any]) -> str | None:
    """The name of the CTE that a node computes."""
    name = str(raw.get("Subplan Name", ""))
    if raw.get("Parent Relationship") != "InitPlan" or not name.startswith("CTE "):
        return None
    return name.removeprefix("CTE ")


def _looks_at(inner: PhysicalNode, outer: PhysicalNode) -> bool:
    """Whether the inner side of a nested loop uses values of the outer one."""
    names = {node.alias for node in outer.walk() if node.alias}
    if not names:
        # A join of tables that the plan does not name (a foreign join): nothing can be said.
        return True
    pattern = re.compile(
        r"(?<![\w$.])(?:"
        + "|".join(re.escape(quoted) for name in names for quoted in _spellings(name))
        + r")\."
    )
    return any(pattern.search(condition) for node in inner.walk() for condition in node.predicates)


def _spellings(name: str) -> tuple[str, str]:
    return name, '"' + name.replace('"', '""') + '"'


def _texts(value: Any) -> tuple[str, ...]:
    if not value:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(entry) for entry in value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _memory(raw: dict[str, Any]) -> float | None:
    """The most memory that a node held, in bytes; what it spilled does not count."""
    kilobytes = _number(raw.get("Peak Memory Usage"))
    if kilobytes is None and raw.get("Sort Space Type") == "Memory":
        kilobytes = _number(raw.get("Sort Space Used"))
    if kilobytes is None and raw.get("Storage") == "Memory":
        kilobytes = _number(raw.get("Maximum Storage"))
    return None if kilobytes is None else kilobytes * 1024.0
