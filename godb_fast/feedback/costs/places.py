"""The nodes of an engine's plan with the rows that come out of them, and how often each runs.

Estimates of rows are per loop; how often an inner side runs is the number of outer rows, or what the planner
charges for it where it remembers some of its calls. Rows that a scan reads are rows of its table, which plans
do not show: :class:`TableSizes` remembers them from executed plans.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from godb_fast.core import PhysicalNode, PhysicalPlan

_BESIDE: Final = frozenset({"SubPlan", "InitPlan"})
INDEX_SCANS: Final = frozenset(
    {"Index Scan", "Index Only Scan", "INDEX_SCAN", "Bitmap Heap Scan", "Tid Scan"}
)
GATHER: Final = frozenset({"Gather", "Gather Merge"})


class TableSizes:
    """Rows of tables, learned from what scans were seen to read."""

    def __init__(self, rows: dict[str, float] | None = None) -> None:
        self.rows: dict[str, float] = dict(rows or {})

    def learn(self, plan: PhysicalPlan) -> None:
        """Note what the scans of an executed plan read."""
        for node, processes in _with_processes(plan.root, executed=True):
            if node.kind != "scan" or node.table is None or node.operator in INDEX_SCANS:
                continue
            read, loops = rows_read(node), node.loops
            if read is None or (not node.rows and not read):
                continue
            if loops is not None and loops > 0 and not node.extra.get("Parallel Aware"):
                read /= loops
            if processes > 1 and loops is None:
                read *= processes
            table = node.table
            # Scans may end early or skip groups: the most that was read comes nearest.
            self.rows[table] = max(self.rows.get(table, 0.0), read)

    def of(self, table: str | None) -> float | None:
        """Rows of a table, None if no scan of it was seen."""
        return None if table is None else self.rows.get(table)


@dataclass(eq=False)
class Place:
    """A node on the way down: how often it is expected to run, and in how many processes."""

    node: PhysicalNode
    parent: int
    loops: float = 1.0
    processes: float = 1.0
    children: list[int] = field(default_factory=list)
    rows: float = 0.0


def places_of(root: PhysicalNode, executed: bool) -> list[Place]:
    """The nodes of a plan, parents first, in the order of :meth:`PhysicalNode.walk`."""
    places: list[Place] = []
    stack: list[tuple[PhysicalNode, int, float]] = [(root, -1, 1.0)]
    while stack:
        node, parent, processes = stack.pop()
        number = len(places)
        places.append(Place(node, parent, processes=processes))
        if parent >= 0:
            places[parent].children.append(number)
        inside = _processes(node, executed) if node.operator in GATHER else processes
        for child in reversed(node.children):
            beside = child.extra.get("Parent Relationship") == "InitPlan"
            stack.append((child, number, 1.0 if beside else inside))
    return places


def _with_processes(root: PhysicalNode, *, executed: bool) -> list[tuple[PhysicalNode, float]]:
    return [(place.node, place.processes) for place in places_of(root, executed)]


def _processes(gather: PhysicalNode, executed: bool) -> float:
    name = "Workers Launched" if executed else "Workers Planned"
    workers = float(gather.extra.get(name, 0) or 0)
    # The leader works too, the less the more workers it waits for (parallel_leader_participation).
    return 1.0 + workers if executed else max(workers + max(0.0, 1.0 - 0.3 * workers), 1.0)


def rows_out(place: Place, places: list[Place], sizes: TableSizes, executed: bool) -> float:
    """Rows that come out of a node: all loops of one process if executed, else of one loop."""
    node = place.node
    if executed:
        return (node.rows or 0.0) / place.processes
    if node.estimated_rows is not None:
        return max(node.estimated_rows, 0.0)
    below = [places[child].rows for child in place.children]
    if not below:
        return 0.0
    return math.prod(below) if node.kind == "cross_product" else max(below)


def expect_loops(places: list[Place], sizes: TableSizes) -> None:
    """How often each node is expected to run; rows become those of all loops."""
    for place in places:
        if place.parent >= 0:
            above = places[place.parent]
            place.loops = above.loops * _loops_below(above, place, places, sizes)
    for place in places:
        place.rows *= place.loops


def _loops_below(above: Place, place: Place, places: list[Place], sizes: TableSizes) -> float:
    """How often a node runs for each run of the one above."""
    relationship = place.node.extra.get("Parent Relationship")
    if relationship == "InitPlan":
        return 1.0 / above.loops
    if relationship == "SubPlan":
        name = str(place.node.extra.get("Subplan Name", ""))
        if any(f"hashed {name}" in text for text in (*above.node.predicates, *above.node.columns)):
            return 1.0 / above.loops
        calls = _told_by_cost(above, place, places)
        return max(sizes.of(above.node.table) or above.rows, 1.0) if calls is None else calls
    if above.node.operator == "Materialize":
        return 1.0 / above.loops
    inputs = [child for child in above.children if not is_beside(places[child].node)]
    if above.node.operator == "Nested Loop" and len(inputs) == 2 and place is places[inputs[1]]:
        outer = max(places[inputs[0]].rows, 1.0)
        if place.node.operator != "Memoize":
            return outer
        # Remembered calls cost next to nothing: what is charged for the others tells how many they are.
        calls = _told_by_cost(above, places[place.children[0]], places)
        return outer if calls is None else min(outer, calls)
    return 1.0


def _told_by_cost(above: Place, called: Place, places: list[Place]) -> float | None:
    """How often the planner expects something to be called: what is charged above it over its own cost."""
    total, single = _cost(above.node), _cost(called.node)
    if total is None or not single:
        return None
    for number in above.children:
        child = places[number]
        if not is_beside(child.node) and child is not called and child.node.operator != "Memoize":
            total -= _cost(child.node) or 0.0
    return max(total / single, 1.0)


def _cost(node: PhysicalNode) -> float | None:
    cost = node.extra.get("Total Cost")
    return float(cost) if isinstance(cost, int | float) else None


def is_beside(node: PhysicalNode) -> bool:
    """Whether a node computes part of a condition, and is no input of the one above."""
    return node.extra.get("Parent Relationship") in _BESIDE


def rows_read(node: PhysicalNode) -> float | None:
    """Rows that an executed scan read, over all loops."""
    scanned = node.extra.get("rows_scanned")
    if scanned is not None:
        return float(scanned)
    if node.rows is None:
        return None
    loops = node.loops or 1.0
    removed = sum(
        float(node.extra.get(name, 0) or 0)
        for name in ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    )
    return node.rows + removed * loops
