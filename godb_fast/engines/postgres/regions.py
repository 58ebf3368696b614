"""A plan's join regions: joins with nothing but sorts, hashes and gathers between, and what they join."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from godb_fast.core import PhysicalNode, PhysicalPlan

#: Operators that may stand between the joins of one block.
_BETWEEN: Final = frozenset(
    {"Hash", "Sort", "Incremental Sort", "Materialize", "Memoize", "Gather", "Gather Merge", "Result"}
)
#: What makes the rows of a semi join's right side unique, so that it can be an ordinary join.
_UNIQUE: Final = frozenset({"Aggregate", "Group", "Unique"})


@dataclass(frozen=True)
class Scan:
    """A table (or a CTE, with its name in place of the table) under the name that the plan gives it."""

    alias: str
    table: str | None


@dataclass(frozen=True, eq=False)
class Item:
    """What a region joins.

    Parameters
    ----------
    kind : str
        ``scan`` (several scans are the partitions of one table), ``cte``, ``derived`` (a subquery that the
        plan shows by its name), ``empty`` (what is provably empty is not even scanned), ``unique`` (a scan
        whose rows are made unique) or ``opaque`` (a subtree that is more than joins).
    scans : tuple of Scan
        All below, subplans excluded.
    """

    kind: str
    node: PhysicalNode
    scans: tuple[Scan, ...]

    @property
    def alias(self) -> str | None:
        """The name of a derived table or a CTE's scan."""
        return self.node.alias


@dataclass(eq=False)
class Region:
    """Items and joins in post-order; a join's sides number items or, from their count on, earlier joins."""

    items: list[Item] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)


class Regions:
    """All regions of a plan, and which of them compute an item."""

    def __init__(self, plan: PhysicalPlan) -> None:
        self.all: list[Region] = []
        #: Every scan of the plan.
        self.scans: list[Scan] = []
        self._within: dict[int, range] = {}
        self._common: dict[str, range] = {}
        self._numbered: dict[int, int] = {}
        order: list[tuple[PhysicalNode, int]] = []
        stack: list[tuple[PhysicalNode, bool]] = [(plan.root, False)]
        # Regions are numbered in the order in which their subtrees are left: those of one subtree are then
        # neighbours.
        while stack:
            node, left = stack.pop()
            if left:
                start = order.pop()[1]
                self._within[id(node)] = range(start, len(self.all))
                name = str(node.extra.get("Subplan Name", ""))
                if name.startswith("CTE "):
                    self._common[name.removeprefix("CTE ")] = self._within[id(node)]
                continue
            order.append((node, len(self.all)))
            stack.append((node, True))
            scan = scan_of(node)
            if scan is not None:
                self.scans.append(scan)
            if is_join(node) and id(node) not in self._numbered:
                self.all.append(self._region(node))
            stack.extend((child, False) for child in reversed(node.children))

    def _region(self, root: PhysicalNode) -> Region:
        region = Region()
        joins: list[list[int]] = []
        built: list[int] = []
        stack: list[tuple[PhysicalNode, bool]] = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                joins.append(built[-2:])
                del built[-2:]
                # Until all items are counted, a join is a negative number.
                built.append(-len(joins))
                continue
            inputs = inputs_of(node)
            if is_join(node):
                self._numbered[id(node)] = len(self.all)
                stack.append((node, True))
                stack.extend((child, False) for child in reversed(inputs))
            elif node.operator in _BETWEEN and len(inputs) == 1:
                stack.append((inputs[0], False))
            else:
                built.append(len(region.items))
                region.items.append(_item(node, inputs))
        count = len(region.items)
        for sides in joins:
            left, right = (side if side >= 0 else count - 1 - side for side in sides)
            region.steps.append((left, right))
        return region

    def computing(self, item: Item) -> range:
        """Numbers of the regions that compute an item."""
        if item.kind == "cte":
            return self._common.get(str(item.node.extra.get("CTE Name")), range(0))
        return self._within[id(item.node)]


def inputs_of(node: PhysicalNode) -> list[PhysicalNode]:
    """A node's children that are no subplans."""
    return [
        child
        for child in node.children
        if child.extra.get("Parent Relationship") not in ("SubPlan", "InitPlan")
    ]


def is_join(node: PhysicalNode) -> bool:
    """Whether a node joins two inputs."""
    return node.kind in ("join", "cross_product") and len(inputs_of(node)) == 2


def scan_of(node: PhysicalNode) -> Scan | None:
    """The scan that a node is."""
    if node.alias is None:
        return None
    if node.kind == "scan" and node.table is not None:
        return Scan(node.alias, node.table)
    if node.kind == "cte":
        return Scan(node.alias, None)
    return None


def _item(node: PhysicalNode, inputs: list[PhysicalNode]) -> Item:
    scans = tuple(_scans(node))
    if node.kind == "cte":
        return Item("cte", node, scans)
    if node.operator == "Result" and not inputs:
        return Item("empty", node, scans)
    if node.operator == "Subquery Scan":
        return Item("derived", node, scans)
    if scan_of(node) is not None:
        return Item("scan", node, scans)
    if node.operator in ("Append", "Merge Append") and all(scan_of(child) is not None for child in inputs):
        return Item("scan" if len(scans) > 0 else "empty", node, scans)
    if node.operator in _UNIQUE and len(scans) == 1:
        return Item("unique", node, scans)
    return Item("opaque", node, scans)


def _scans(root: PhysicalNode) -> Iterator[Scan]:
    stack = [root]
    while stack:
        node = stack.pop()
        scan = scan_of(node)
        if scan is not None:
            yield scan
        stack.extend(inputs_of(node))
