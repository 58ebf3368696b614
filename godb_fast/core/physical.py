"""Plans as an engine reports them: every node kept, estimates beside what was measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

#: What engines say of a node that is an estimate, or of the settings it was planned under.
_NOT_THE_PLAN: Final = frozenset({"Startup Cost", "Total Cost", "Plan Width", "Disabled", "Disabled Nodes"})


@dataclass(frozen=True, eq=False)
class PhysicalNode:
    """One operator of the engine's plan.

    ``rows``, ``time_ms``, ``memory_bytes`` and ``loops`` are None where the plan was not executed (or the
    engine does not say). ``operator`` is the engine's own name; ``kind`` is ours: ``scan``, ``join``,
    ``cross_product``, ``aggregate``, ``filter``, ``projection``, ``sort``, ``limit``, ``set_operation``,
    ``cte``, ``other``. For joins, the last child is the build side.
    """

    operator: str
    kind: str = "other"
    table: str | None = None
    alias: str | None = None
    predicates: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    join_type: str | None = None
    estimated_rows: float | None = None
    rows: float | None = None
    loops: float | None = None
    time_ms: float | None = None
    memory_bytes: float | None = None
    children: tuple[PhysicalNode, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def walk(self) -> Iterator[PhysicalNode]:
        """This node and all below, parents first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))


@dataclass(frozen=True, eq=False)
class PhysicalPlan:
    """A whole plan of an engine.

    ``source`` says where it comes from: ``explain``, ``profile``, ``analyze`` or ``auto_explain``.
    """

    root: PhysicalNode
    engine: str
    source: str
    latency_ms: float | None = None
    memory_bytes: float | None = None

    @property
    def total_cost(self) -> float | None:
        """What the engine estimates the plan to cost, in its own unit; None where it does not say."""
        cost = self.root.extra.get("Total Cost")
        return float(cost) if isinstance(cost, int | float) else None

    def handed_on(self) -> float:
        """Rows that all operators hand on together: counted ones, estimated where they were not counted."""
        found = (node.estimated_rows if node.rows is None else node.rows for node in self.root.walk())
        return float(sum(rows for rows in found if rows is not None))

    def digest(self) -> str:
        """A hash of what the plan does: operators, tables, conditions and how they hang together.

        Equal plans of one statement have equal digests whatever was estimated; nothing measured goes in.
        """
        hashed = hashlib.blake2b(digest_size=12)
        for node in self.root.walk():
            extra = {
                name: value
                for name, value in node.extra.items()
                if name not in _NOT_THE_PLAN and not name.startswith("Estimated")
            }
            compiled = extra.pop("JIT", None)
            parts = [
                node.operator, node.table, node.alias, node.join_type, node.predicates, node.columns,
                len(node.children), extra, compiled.get("Options") if isinstance(compiled, dict) else None,
            ]  # fmt: skip
            hashed.update(json.dumps(parts, sort_keys=True, default=str).encode())
        return hashed.hexdigest()

    def draw(self) -> str:
        """The plan as an indented tree: operator, table, estimated and actual rows."""
        lines: list[str] = []
        stack = [(self.root, "", "")]
        while stack:
            node, head, tail = stack.pop()
            name = f" {node.table}" if node.table else ""
            estimate = "" if node.estimated_rows is None else f"  est {node.estimated_rows:,.0f}"
            actual = "" if node.rows is None else f"  rows {node.rows:,.0f}"
            lines.append(f"{head}{node.operator.lower()}{name}{estimate}{actual}")
            for position in range(len(node.children) - 1, -1, -1):
                last = position == len(node.children) - 1
                stack.append(
                    (
                        node.children[position],
                        tail + ("└─ " if last else "├─ "),
                        tail + ("   " if last else "│  "),
                    )
                )
        return "\n".join(lines)
