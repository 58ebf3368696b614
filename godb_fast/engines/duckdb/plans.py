"""DuckDB's plans, from EXPLAIN (FORMAT JSON) and from profiles, as PhysicalPlans."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.engines.duckdb import quirks
from godb_fast.errors import EngineError

_KINDS: Final = {
    "CROSS_PRODUCT": "cross_product",
    "POSITIONAL_JOIN": "other",
    "UNGROUPED_AGGREGATE": "aggregate",
    "HASH_GROUP_BY": "aggregate",
    "PERFECT_HASH_GROUP_BY": "aggregate",
    "PARTITIONED_AGGREGATE": "aggregate",
    "SIMPLE_AGGREGATE": "aggregate",
    "FILTER": "filter",
    "PROJECTION": "projection",
    "ORDER_BY": "sort",
    "TOP_N": "sort",
    "LIMIT": "limit",
    "STREAMING_LIMIT": "limit",
    "LIMIT_PERCENT": "limit",
    "UNION": "set_operation",
    "EXCEPT": "set_operation",
    "INTERSECT": "set_operation",
    "CTE": "cte",
    "CTE_SCAN": "cte",
    "RECURSIVE_CTE": "cte",
    "REC_CTE_SCAN": "cte",
    "SEQ_SCAN": "scan",
    "TABLE_SCAN": "scan",
    "INDEX_SCAN": "scan",
    "COLUMN_DATA_SCAN": "scan",
    "DUMMY_SCAN": "scan",
    "EMPTY_RESULT": "scan",
}
#: extra_info entries that hold conditions.
_CONDITIONS: Final = ("Conditions", "Filters", "Expression", "Condition")


def from_explain(text: str, engine: str) -> PhysicalPlan:
    """The plan in what ``EXPLAIN (FORMAT JSON)`` gave."""
    try:
        roots = json.loads(text)
    except json.JSONDecodeError as error:
        raise EngineError(f"EXPLAIN gave no JSON: {text[:200]}") from error
    return PhysicalPlan(root=_node(roots[0], profiled=False), engine=engine, source="explain")


def from_profile(profile: dict[str, Any], engine: str, latency_ms: float) -> PhysicalPlan | None:
    """The plan in a profile, with actual rows and times; None if it holds no operators."""
    root = quirks.profile_operators(profile)
    if root is None:
        return None
    node = _node(root, profiled=True)
    # What hands the result to the client is no part of the plan.
    while node.operator in ("RESULT_COLLECTOR", "STREAMING_RESULT_COLLECTOR") and len(node.children) == 1:
        node = node.children[0]
    return PhysicalPlan(node, engine, "profile", latency_ms, quirks.peak_memory(profile))


def _node(root: dict[str, Any], *, profiled: bool) -> PhysicalNode:
    # Post-order with an explicit stack: left-deep plans of many joins exceed Python's recursion limit.
    built: list[PhysicalNode] = []
    stack: list[tuple[dict[str, Any], bool]] = [(root, False)]
    while stack:
        raw, ready = stack.pop()
        children = raw.get("children", [])
        if not ready:
            stack.append((raw, True))
            stack.extend((child, False) for child in reversed(children))
            continue
        count = len(children)
        below = tuple(built[len(built) - count :]) if count else ()
        del built[len(built) - count :]
        built.append(_single(raw, below, profiled))
    return built[0]


def _single(raw: dict[str, Any], children: tuple[PhysicalNode, ...], profiled: bool) -> PhysicalNode:
    operator = str(raw.get("type" if profiled else "name", "")).strip()
    info = dict(raw.get("extra_info") or {})
    kind = _KINDS.get(operator)
    if kind is None:
        if "JOIN" in operator:
            kind = "join"
        elif "Function" in info or operator.endswith("_SCAN") or operator.startswith("READ_"):
            kind = "scan"
        else:
            kind = "other"
    extra = {name: value for name, value in info.items() if name not in ("Table", "Estimated Cardinality")}
    for name in ("intermediate_size_bytes", "rows_scanned", "row_groups_scanned", "total_row_groups_to_scan"):
        if raw.get(name) is not None:
            extra[name] = raw[name]
    seconds = raw.get("timing")
    return PhysicalNode(
        operator=operator,
        kind=kind,
        # A name with a line break comes as several texts.
        table=quirks.plain_name("\n".join(_texts(info.get("Table")))) or None,
        predicates=tuple(text for name in _CONDITIONS for text in _texts(info.get(name))),
        columns=tuple(quirks.plain_name(name) for name in _texts(info.get("Projections"))),
        join_type=info.get("Join Type"),
        estimated_rows=_number(info.get("Estimated Cardinality")),
        rows=_number(raw.get("intermediate_rows")) if profiled else None,
        time_ms=None if not profiled or seconds is None else float(seconds) * 1e3,
        children=children,
        extra=extra,
    )


def _texts(value: Any) -> tuple[str, ...]:
    if not value:
        return ()
    if isinstance(value, str):
        return (value,)
    return tuple(str(entry) for entry in value)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    found = re.search(r"\d+(?:\.\d+)?", str(value))
    return float(found[0]) if found else None
