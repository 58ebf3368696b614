"""Plans as an engine reports them: every node kept, estimates beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


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
