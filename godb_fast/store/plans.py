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
    """The plan that :func:`plan_to_bytes` wrote."""
    raw = unpack(blob)
    children: list[list[PhysicalNode]] = [[] for _ in raw["nodes"]]
    root: PhysicalNode | None = None
    # Parents come before their children, so the last node's children are complete first.
    for position in range(len(raw["nodes"]) - 1, -1, -1):
        entry = raw["nodes"][position]
        parent = entry.pop("parent", -1)
        for name in ("predicates", "columns"):
            entry[name] = tuple(entry.get(name, ()))
        root = PhysicalNode(**entry, children=tuple(reversed(children[position])))
        if parent >= 0:
            children[parent].append(root)
    assert root is not None
    return PhysicalPlan(root, raw["engine"], raw["source"], raw["latency_ms"], raw["memory_bytes"])
