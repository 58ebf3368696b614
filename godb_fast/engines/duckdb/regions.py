"""A plan's join regions: the joins between two aggregations, set operations or sorts, and what they join."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.engines.duckdb import quirks

#: Operators that may stand between the joins of one block.
_BETWEEN: Final = frozenset({"filter", "projection"})
_PLAIN_CONDITION: Final = re.compile(r'\(?(\w+|"(?:[^"]|"")*") (?:=|<|>|<=|>=|!=) (\w+|"(?:[^"]|"")*")\)?')


@dataclass(frozen=True, eq=False)
class Item:
    """What a region joins: a scan, the scan of a materialized CTE, or a subtree that is more than joins.

    ``kind`` is ``scan``, ``cte``, ``empty`` (what is provably empty is not even scanned) or ``opaque``;
    ``tables`` counts the tables read below, in lower case as the plan shows them; ``conditions`` are the
    filters on a scan.
    """

    kind: str
    node: PhysicalNode
    tables: Counter[str]
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """A join. ``left`` and ``right`` number items, or, from the count of items on, earlier steps."""

    left: int
    right: int
    #: Whether the plan shows a condition: without one, sides need not be connected.
    conditional: bool
    #: Names compared by conditions of the form ``a = b``.
    compared: tuple[tuple[str, str], ...]


@dataclass(eq=False)
class Region:
    """Joins with nothing but filters and projections between them, in post-order."""

    items: list[Item] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


def regions_of(plan: PhysicalPlan) -> list[Region]:
    """All regions with at least one join."""
    tables, definitions = _tables_below(plan.root)
    found: list[Region] = []
    roots = [plan.root]
    while roots:
        root = roots.pop()
        if _is_join(root):
            found.append(_region(root, tables, definitions, roots))
        else:
            roots.extend(root.children)
    return found


def _is_join(node: PhysicalNode) -> bool:
    return node.kind in ("join", "cross_product") and len(node.children) == 2 and "DELIM" not in node.operator


def _region(
    root: PhysicalNode,
    tables: dict[int, Counter[str]],
    definitions: dict[str, Counter[str]],
    roots: list[PhysicalNode],
) -> Region:
    """The region under a join; what lies below its opaque items is added to ``roots``."""
    items: list[Item] = []
    joins: list[tuple[PhysicalNode, list[int]]] = []
    # Places: an item is n >= 0, the join number j is -1 - j until all items are counted.
    built: list[int] = []
    stack: list[tuple[PhysicalNode, bool, tuple[str, ...]]] = [(root, False, ())]
    while stack:
        node, ready, conditions = stack.pop()
        if ready:
            sides = built[-2:]
            del built[-2:]
            joins.append((node, sides))
            built.append(-len(joins))
        elif _is_join(node):
            stack.append((node, True, ()))
            stack.extend((child, False, ()) for child in reversed(node.children))
        elif node.kind in _BETWEEN and len(node.children) == 1:
            passed = (*conditions, *node.predicates) if node.kind == "filter" else ()
            stack.append((node.children[0], False, passed))
        else:
            built.append(len(items))
            items.append(_item(node, conditions, tables, definitions))
            roots.extend(node.children)
    count = len(items)
    steps = []
    for node, sides in joins:
        left, right = (side if side >= 0 else count - 1 - side for side in sides)
        steps.append(Step(left, right, node.kind == "join" and bool(node.predicates), _compared(node)))
    return Region(items, steps)


def _item(
    node: PhysicalNode,
    conditions: tuple[str, ...],
    tables: dict[int, Counter[str]],
    definitions: dict[str, Counter[str]],
) -> Item:
    if node.operator == "EMPTY_RESULT":
        return Item("empty", node, Counter())
    if node.operator == "CTE_SCAN":
        return Item("cte", node, definitions.get(str(node.extra.get("CTE Index")), Counter()))
    if not node.children and node.table is not None:
        return Item("scan", node, tables[id(node)], (*conditions, *node.predicates))
    return Item("opaque", node, tables[id(node)])


def _compared(node: PhysicalNode) -> tuple[tuple[str, str], ...]:
    names = []
    for condition in node.predicates:
        plain = _PLAIN_CONDITION.fullmatch(condition)
        if plain is not None:
            names.append((quirks.plain_name(plain[1]).lower(), quirks.plain_name(plain[2]).lower()))
    return tuple(names)


def _tables_below(root: PhysicalNode) -> tuple[dict[int, Counter[str]], dict[str, Counter[str]]]:
    """Tables read below each node, and in the definition of each materialized CTE."""
    below: dict[int, Counter[str]] = {}
    definitions: dict[str, Counter[str]] = {}
    for node in reversed(list(root.walk())):
        counted: Counter[str] = Counter()
        for child in node.children:
            counted.update(below[id(child)])
        if node.kind == "scan" and node.table is not None:
            counted[node.table.lower()] += 1
        below[id(node)] = counted
        if node.operator == "CTE" and node.children:
            definitions[str(node.extra.get("Table Index"))] = below[id(node.children[0])]
    return below, definitions
