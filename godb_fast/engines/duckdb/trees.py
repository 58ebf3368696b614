"""Join trees in DuckDB's plans: which tree a plan runs, and whether it is the one that was asked for.

DuckDB's plans show tables, not aliases. The relations of a block are matched to what one region of the plan
joins (see :mod:`godb_fast.engines.duckdb.regions`), by table; where a table is read more than once, by what
the plan cannot show for the wrong relation: a scan that filters a column which the relation neither filters
nor joins on, or by another text, or that does not deliver a column which the relation is joined on; a join of
two sides that no predicate connects, or on columns that none compares. *Every* assignment that remains
possible is considered: a tree counts only if all of the best ones agree.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from godb_fast.core import (
    And,
    Block,
    ColumnRef,
    Comparison,
    JoinTree,
    Not,
    Opaque,
    Or,
    PhysicalPlan,
    Predicate,
    Slot,
    Steering,
    Template,
)
from godb_fast.engines.duckdb.regions import Item, Region, regions_of

#: Assignments of a block that are tried before it counts as ambiguous.
MAX_ASSIGNMENTS: Final = 2000

#: Literals of a statement by slot, as SQL text; several for an IN list.
Literals = Sequence["str | Sequence[str]"]


def default_trees(
    template: Template, plan: PhysicalPlan, literals: Literals | None = None
) -> dict[int, JoinTree]:
    """Join tree per block, for the blocks where it can be told; the last child is the build side.

    ``literals`` are those of the statement that was planned, as SQL text by slot; they tell self-joins apart.
    """
    told = _told(template, plan, literals)
    return {
        block.index: next(iter(told[block.index]))
        for block in template.plannable
        if len(told[block.index]) == 1
    }


def obeyed(
    template: Template, steering: Steering, plan: PhysicalPlan, literals: Literals | None = None
) -> bool | None:
    """Whether a plan follows the steering's join trees; None if that cannot be told."""
    told = _told(template, plan, literals)
    certain = True
    for index, asked in steering.join_trees:
        trees = told.get(index, set())
        if trees and asked not in trees:
            return False
        certain = certain and len(trees) == 1
    return True if certain else None


@dataclass(frozen=True)
class _Candidate:
    """A tree of a block, read from a region under one assignment."""

    region: int
    tree: JoinTree
    #: Whether all joins compare what the query compares, and how many scans belong to other blocks.
    rank: tuple[bool, int]
    #: Derived tables whose tables were joined with the block's own.
    flattened: frozenset[int]


def _told(template: Template, plan: PhysicalPlan, literals: Literals | None) -> dict[int, set[JoinTree]]:
    """The trees that each block may have: one if it can be told, none or several if it cannot."""
    regions = regions_of(plan)
    candidates: dict[int, list[_Candidate]] = {}
    for block in template.blocks:
        if block.graph is not None and len(block.relations) > 1:
            candidates[block.index] = _Matching(template, block, literals).candidates(regions)
    # A region that one block fills is not another's, unless it was merged into it.
    owners: dict[int, list[tuple[int, frozenset[int]]]] = {}
    for index, found in candidates.items():
        for entry in found:
            if entry.rank == (True, 0):
                owners.setdefault(entry.region, []).append((index, entry.flattened))
    told: dict[int, set[JoinTree]] = {}
    for index, found in candidates.items():
        left = [
            entry
            for entry in found
            if entry.rank[1] == 0
            or all(owner == index or index in flattened for owner, flattened in owners.get(entry.region, ()))
        ]
        # Derived conditions may carry misleading names, so these decide only if they fit at all. What is not
        # matched must be another block's; the assignment that leaves least is right.
        best = max((entry.rank for entry in left), default=None)
        told[index] = {entry.tree for entry in left if entry.rank == best}
    return told


@dataclass(frozen=True)
class _Need:
    """A base table that a block reads, and what its scan must and may show.

    ``label`` is the relation of the block that it belongs to (a derived table may consist of several).
    """

    label: int
    table: str
    columns: frozenset[str]
    joined: frozenset[str]
    #: Names that conditions on it may show; None if that is not known.
    filtered: frozenset[str] | None
    #: Columns that it compares with text, and what then stands in the condition on them.
    texts: tuple[tuple[str, str], ...]

    def fits(self, item: Item) -> bool:
        """Whether an item may be the scan of this table."""
        if item.kind == "empty":
            return True
        if item.kind != "scan" or not any(_same_table(self.table, shown) for shown in item.tables):
            return False
        delivered = {column.lower() for column in item.node.columns}
        if delivered and not self.joined <= delivered:
            return False
        if self.filtered is None:
            return True
        filtered = {
            word for condition in item.conditions for word in _words(condition) if word in self.columns
        }
        if not filtered <= self.filtered:
            return False
        together = " ".join(item.conditions)
        return all(text in together for column, text in self.texts if column in filtered)


@dataclass(frozen=True)
class _Computed:
    """A relation that another block computes, as one item of the plan."""

    label: int
    tables: tuple[str, ...]
    common_table: bool

    def fits(self, item: Item) -> bool:
        """Whether an item may be what that block computes: it reads that block's tables."""
        if item.kind == "empty":
            return True
        if item.kind == "scan" or (item.kind == "cte" and not (self.common_table or self.tables)):
            return False
        if item.kind == "cte" and not item.tables and self.common_table:
            return True
        left = Counter(item.tables)
        for table in self.tables:
            shown = next((name for name in left if left[name] and _same_table(table, name)), None)
            if shown is None:
                return False
            left[shown] -= 1
        return True


class _Matching:
    """One block of a template, to be found in a plan's regions."""

    def __init__(self, template: Template, block: Block, literals: Literals | None) -> None:
        self._template = template
        self._block = block
        self._literals = literals
        self._count = len(block.relations)
        self._connected: set[tuple[int, int]] = set()
        self._compared: dict[tuple[str, str], list[tuple[int, int]]] = {}
        graph = block.graph
        if graph is not None:
            self._connected.update((one, two) for one, two in graph.edges.tolist())
            for operator in graph.operators:
                self._connect(operator.left, operator.right)
            for predicate in graph.predicates:
                self._connect(predicate.relations, predicate.relations)
                if predicate.left is not None and predicate.right is not None:
                    self._compare(predicate.left, predicate.right)
            if graph.class_columns:
                for start, end in itertools.pairwise(graph.class_start.tolist()):
                    for one, other in itertools.combinations(graph.class_columns[start:end], 2):
                        self._compare(one, other)
        #: Tables of blocks around this one, or beside it; and of all other blocks.
        self._around: set[str] = set()
        self._elsewhere: set[str] = set()
        for entry in template.blocks:
            if entry.index != block.index:
                tables = {relation.table for relation in entry.relations if relation.table is not None}
                self._elsewhere |= tables
                if not _within(template, entry.index, block.index):
                    self._around |= tables

    def _connect(self, left: int, right: int) -> None:
        for one in range(self._count):
            for two in range(self._count):
                if one != two and left >> one & 1 and right >> two & 1:
                    self._connected.add((min(one, two), max(one, two)))

    def _compare(self, one: ColumnRef, two: ColumnRef) -> None:
        first, second = one.name.lower(), two.name.lower()
        self._compared.setdefault((first, second), []).append((one.relation, two.relation))
        self._compared.setdefault((second, first), []).append((two.relation, one.relation))

    def candidates(self, regions: Sequence[Region]) -> list[_Candidate]:
        """Trees under all assignments in all regions; none if there are too many."""
        found: list[_Candidate] = []
        tried = 0
        for number, region in enumerate(regions):
            self._flattened: set[int] = set()
            for places in self._assignments(region):
                tried += 1
                if tried > MAX_ASSIGNMENTS:
                    return []
                read = self._read(region, places)
                if read is not None:
                    left_over = sum(
                        item.kind == "scan" and place not in places for place, item in enumerate(region.items)
                    )
                    rank = (read[1], -left_over)
                    found.append(_Candidate(number, read[0], rank, frozenset(self._flattened)))
        return found

    # -- assignments --------------------------------------------------------------------------------

    def _assignments(self, region: Region) -> Iterator[dict[int, int]]:
        """Ways to give each relation items of a region, as item number → relation."""
        needs = self._needs(region)
        if needs is None:
            return
        options = [[number for number, item in enumerate(region.items) if need.fits(item)] for need in needs]
        order = sorted(range(len(needs)), key=lambda index: len(options[index]))
        if order and not options[order[0]]:
            return
        taken: dict[int, int] = {}
        # An explicit stack of positions: templates may have hundreds of relations.
        position = [0] * (len(order) + 1)
        chosen: list[int] = []
        while True:
            depth = len(chosen)
            if depth == len(order):
                yield dict(taken)
            else:
                candidates = options[order[depth]]
                place = position[depth]
                while place < len(candidates) and candidates[place] in taken:
                    place += 1
                if place < len(candidates):
                    position[depth] = place + 1
                    chosen.append(candidates[place])
                    taken[candidates[place]] = needs[order[depth]].label
                    position[depth + 1] = 0
                    continue
            if not chosen:
                return
            del taken[chosen.pop()]

    def _needs(self, region: Region) -> list[_Need | _Computed] | None:
        """What the block needs from a region; None if it cannot be there."""
        found: list[_Need | _Computed] = []
        for label, relation in enumerate(self._block.relations):
            if relation.block is None:
                if relation.table is None:
                    return None
                found.append(self._need(self._block, label, label))
                continue
            inner = self._template.blocks[relation.block]
            computed = _Computed(label, tuple(_tables_of(self._template, inner)), inner.role == "cte")
            if any(item.kind != "empty" and computed.fits(item) for item in region.items):
                found.append(computed)
            elif not self._flatten(inner, label, found, 0):
                return None
        return found

    def _flatten(self, block: Block, label: int, found: list[_Need | _Computed], depth: int) -> bool:
        """A derived table without grouping is joined where it is read: its tables are then needed."""
        if block.aggregated or block.distinct or not block.relations or depth > 16:
            return False
        self._flattened.add(block.index)
        for number, relation in enumerate(block.relations):
            if relation.block is not None:
                if not self._flatten(self._template.blocks[relation.block], label, found, depth + 1):
                    return False
            elif relation.table is None:
                return False
            else:
                found.append(self._need(block, number, label))
        return True

    def _need(self, block: Block, number: int, label: int) -> _Need:
        relation = block.relations[number]
        joined: list[set[str]] = [set() for _ in block.relations]
        unclear = 0
        if block.graph is not None:
            for predicate in block.graph.predicates:
                if predicate.left is None or predicate.right is None:
                    unclear |= predicate.relations
                for column in (predicate.left, predicate.right):
                    if column is not None and column.relation < len(joined):
                        joined[column.relation].add(column.name.lower())
            for column in block.graph.class_columns:
                joined[column.relation].add(column.name.lower())
        filters: Sequence[Predicate] = block.filters[number] if number < len(block.filters) else ()
        # A derived table's columns may be joined, and so filtered, from outside.
        certain = block is self._block and block.graph is not None and not unclear >> number & 1
        own = _filtered(filters) if certain else None
        # Filters that DuckDB derives along join columns may carry the name of the column at the other end.
        derived = frozenset(name for names in joined for name in names)
        return _Need(
            label=label,
            table=relation.table or "",
            columns=frozenset(column.lower() for column in relation.columns),
            joined=frozenset(joined[number]),
            filtered=None if own is None else own | derived,
            texts=() if self._literals is None else tuple(_texts(filters, self._literals)),
        )

    # -- one assignment -----------------------------------------------------------------------------

    def _read(self, region: Region, places: dict[int, int]) -> tuple[JoinTree, bool] | None:
        """The block's tree under an assignment, and whether its joins compare what the query compares.

        None if the plan makes no sense under it, or joins the block with others before it is complete.
        """
        trees: list[JoinTree | None] = []
        members: list[frozenset[int]] = []
        # Whether a scan of a block around this one was joined already.
        mixed: list[bool] = []
        for number, item in enumerate(region.items):
            label = places.get(number)
            trees.append(label)
            members.append(frozenset() if label is None else frozenset((label,)))
            mixed.append(label is None and item.kind == "scan" and _reads(item, self._around))
            if label is None and item.kind == "scan" and not _reads(item, self._elsewhere):
                # No other block of the statement explains it.
                return None
        as_written = True
        for step in region.steps:
            left, right = members[step.left], members[step.right]
            one, two = trees[step.left], trees[step.right]
            foreign = mixed[step.left] or mixed[step.right]
            if left and right and not (left == right and len(left) == 1):
                if left & right or foreign:
                    return None
                if step.conditional:
                    if not self._joins(left, right):
                        return None
                    as_written = as_written and self._as_written(step.compared, left, right)
                assert one is not None
                assert two is not None
                trees.append((one, two))
            else:
                trees.append(one if left else two)
            members.append(left | right)
            mixed.append(foreign)
        tree = trees[-1]
        return None if tree is None or len(members[-1]) != self._count else (tree, as_written)

    def _joins(self, left: frozenset[int], right: frozenset[int]) -> bool:
        if len(left) * len(right) <= len(self._connected):
            return any((min(one, two), max(one, two)) in self._connected for one in left for two in right)
        return any(
            (one in left and two in right) or (one in right and two in left) for one, two in self._connected
        )

    def _as_written(
        self, compared: Sequence[tuple[str, str]], left: frozenset[int], right: frozenset[int]
    ) -> bool:
        for names in compared:
            if not any(
                (one in left and two in right) or (one in right and two in left)
                for one, two in self._compared.get(names, ())
            ):
                return False
        return True


# -- templates ------------------------------------------------------------------------------------------


def _same_table(canonical: str, shown: str) -> bool:
    """1.x shows the bare name; then tables of one name in two schemas look alike."""
    lowered = canonical.lower()
    return lowered == shown or lowered.endswith("." + shown)


def _reads(item: Item, tables: set[str]) -> bool:
    return any(_same_table(table, shown) for table in tables for shown in item.tables)


def _within(template: Template, inner: int, outer: int) -> bool:
    """Whether a block is another one or lies in it."""
    seen: set[int] = set()
    index: int | None = inner
    while index is not None and index not in seen:
        if index == outer:
            return True
        seen.add(index)
        index = template.blocks[index].parent
    return False


def _tables_of(template: Template, block: Block) -> Iterator[str]:
    """Base tables that a block reads, itself and through derived tables (CTEs may be scanned instead)."""
    stack, seen = [block.index], {block.index}
    while stack:
        for relation in template.blocks[stack.pop()].relations:
            if relation.table is not None:
                yield relation.table
            elif relation.block is not None and relation.block not in seen:
                seen.add(relation.block)
                if template.blocks[relation.block].role != "cte":
                    stack.append(relation.block)


def _filtered(filters: Sequence[Predicate]) -> frozenset[str] | None:
    """Columns that these filters mention; None if one of them does not say."""
    names: set[str] = set()
    stack: list[Predicate] = list(filters)
    while stack:
        predicate = stack.pop()
        if isinstance(predicate, And | Or):
            stack.extend(predicate.parts)
        elif isinstance(predicate, Not):
            stack.append(predicate.part)
        elif isinstance(predicate, Comparison):
            names.add(predicate.column.name.lower())
        elif isinstance(predicate, Opaque):
            if not predicate.columns:
                return None
            names.update(column.name.lower() for column in predicate.columns)
    return frozenset(names)


def _texts(filters: Sequence[Predicate], literals: Literals) -> Iterator[tuple[str, str]]:
    """Columns compared with a text, and the longest piece of it that DuckDB prints as it is."""
    for predicate in filters:
        if not isinstance(predicate, Comparison) or predicate.operator not in ("=", "in", "like"):
            continue
        if predicate.function is not None or not predicate.operands:
            continue
        slot = predicate.operands[0]
        if not isinstance(slot, Slot) or slot.index >= len(literals):
            continue
        literal = literals[slot.index]
        if not isinstance(literal, str):
            literal = literal[0] if literal else ""
        if len(literal) < 3 or literal[0] != "'" or literal[-1] != "'":
            continue
        pieces = re.split(r"[%_]", literal[1:-1]) if predicate.operator == "like" else [literal[1:-1]]
        longest = max(pieces, key=len)
        if longest and "\\" not in longest:
            yield predicate.column.name.lower(), longest


def _words(condition: str) -> list[str]:
    """Identifiers in a condition as DuckDB prints it, without its texts."""
    bare = re.sub(r"'(?:[^']|'')*'", " ", condition)
    quoted = [entry.replace('""', '"').lower() for entry in re.findall(r'"((?:[^"]|"")*)"', bare)]
    return quoted + [word.lower() for word in re.findall(r"[^\W\d]\w*", re.sub(r'"(?:[^"]|"")*"', " ", bare))]
