"""Physical plans as compressed JSON, and texts without their literals."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import fields
from typing import Any, Final

from godb_fast.core import PhysicalNode, PhysicalPlan

_FORMAT: Final = 1
_SCALARS: Final = tuple(
    entry.name
    for entry in fields(PhysicalNode)
    if entry.name not in ("children", "predicates", "columns", "extra")
)
_NUMBERS: Final = frozenset({"estimated_rows", "rows", "loops", "time_ms", "memory_bytes", "latency_ms"})
#: Strings with doubled quotes, dollar quotes, and numbers that are no part of a name or an ordinal (#1).
_LITERALS: Final = re.compile(
    r"'(?:[^']|'')*(?:'|$)|\$(\w*)\$.*?(?:\$\1\$|$)|(?<![\w#$.])[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\b",
    re.DOTALL,
)


def redact(text: str) -> str:
    """The text with every literal replaced by ``?``."""
    return _LITERALS.sub("?", text)


def redact_error(text: str) -> str:
    """The first line of an engine's message, without literals (the others quote the statement)."""
    return redact(text.strip().partition("\n")[0])


def _redact_all(value: Any) -> Any:
    """Strings redacted, numbers kept: engines put literals only into texts."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {str(key): _redact_all(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redact_all(entry) for entry in value]
    return value


def pack(value: Any) -> bytes:
    """Compressed JSON."""
    return zlib.compress(json.dumps(value, separators=(",", ":"), default=str).encode(), 6)


def unpack(blob: bytes) -> Any:
    """What :func:`pack` packed."""
    return json.loads(zlib.decompress(blob))


def plan_to_bytes(plan: PhysicalPlan, *, keep_literals: bool) -> bytes:
    """A plan as compressed JSON: nodes in a flat list (a plan may be a thousand deep), root first."""
    nodes: list[dict[str, Any]] = []
    stack: list[tuple[PhysicalNode, int]] = [(plan.root, -1)]
    while stack:
        node, parent = stack.pop()
        entry: dict[str, Any] = {
            name: value for name in _SCALARS if (value := getattr(node, name)) is not None
        }
        for name in ("predicates", "columns"):
            texts = [str(text) for text in getattr(node, name)]
            if texts:
                entry[name] = texts if keep_literals else [redact(text) for text in texts]
        if node.extra:
            entry["extra"] = node.extra if keep_literals else _redact_all(node.extra)
        if parent >= 0:
            entry["parent"] = parent
        position = len(nodes)
        nodes.append(entry)
        stack.extend((child, position) for child in reversed(node.children))
    return pack(
        {
            "format": _FORMAT,
            "engine": plan.engine,
            "source": plan.source,
            "latency_ms": plan.latency_ms,
            "memory_bytes": plan.memory_bytes,
            "nodes": nodes,
        }
    )


def plan_from_bytes(blob: bytes) -> PhysicalPlan:
    """The plan that :func:`plan_to_bytes` wrote.

    Raises
    ------
    ValueError
        (or zlib.error, or what Python raises for values of another type) if it is damaged.
    """
    raw = unpack(blob)
    children: list[list[PhysicalNode]] = [[] for _ in raw["nodes"]]
    root: PhysicalNode | None = None
    # Parents come before their children, so the last node's children are complete first.
    for position in range(len(raw["nodes"]) - 1, -1, -1):
        entry = raw["nodes"][position]
        parent = entry.pop("parent", -1)
        if parent >= position:
            raise ValueError(f"node {position} of a plan lies below node {parent}")
        for name in ("predicates", "columns"):
            entry[name] = tuple(entry.get(name, ()))
        _check(entry)
        root = PhysicalNode(**entry, children=tuple(reversed(children[position])))
        if parent >= 0:
            children[parent].append(root)
    if root is None:
        raise ValueError("a plan without nodes")
    told = {name: raw[name] for name in ("engine", "source", "latency_ms", "memory_bytes")}
    _check(told)
    return PhysicalPlan(root, **told)


def _check(entry: dict[str, Any]) -> None:
    """Refuse values of another type: whoever reads plans trusts them."""
    for name, value in entry.items():
        if name in ("predicates", "columns"):
            sound = all(isinstance(each, str) for each in value)
        elif name == "extra":
            sound = isinstance(value, dict)
        else:
            sound = value is None or isinstance(value, int | float if name in _NUMBERS else str)
        if not sound:
            raise ValueError(f"{name} of a plan is {type(value).__name__}")
