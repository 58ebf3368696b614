"""Join trees in PostgreSQL's plans: which tree a plan runs, and whether it is the one that was asked for.

PostgreSQL's plans show every relation under its alias, made unique by a number where several blocks use one
(``t``, ``t_1`` …). The outermost query's own relations are named first, so those keep what was written; which
block got which of the others is found from outside to inside: what computes a relation of one block is looked
for only below the node that stands for it. Where several assignments remain possible, a tree counts only if
all of them agree. A block whose relations the planner joined in between those of a block around it has no
tree of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from godb_fast.core import Block, JoinTree, PhysicalPlan, Relation, Steering, Template
from godb_fast.engines.postgres.regions import Item, Region, Regions, Scan
from godb_fast.sql.scopes import ascii_lower

#: Assignments of a block that are tried before it counts as ambiguous.
MAX_ASSIGNMENTS: Final = 2000

#: The alias that a relation of a subquery gets in a template (see godb_fast.sql.semijoins).
_MOVED: Final = re.compile(r"(.+)_inner_\d+")
#: A join tree whose sides are not told apart.
Unordered: TypeAlias = "int | frozenset[Unordered]"


def default_trees(
    template: Template, plan: PhysicalPlan, literals: Sequence[Any] | None = None
) -> dict[int, JoinTree]:
    """Join tree per block, for the blocks where it can be told; the inner side (hashed or looped) is last."""
    reading = _Reading(template, plan)
    told = reading.told()
    return {
        block.index: next(iter(found))
        for block in template.plannable
        if len(found := told.get(block.index, set())) == 1 and not reading.missing[block.index]
    }


def obeyed(
    template: Template, steering: Steering, plan: PhysicalPlan, literals: Sequence[Any] | None = None
) -> bool | None:
    """Whether a plan follows the steering's join trees; None if that cannot be told.

    Which side of a join is hashed counts only where hints say it: the syntax of joins fixes their order, and
    the planner still chooses the sides. Relations that the planner found to be superfluous (outer joins whose
    columns nobody reads) do not count.
    """
    reading = _Reading(template, plan)
    told = reading.told()
    sides = any(hint.lstrip().lower().startswith("leading") for hint in steering.hints)
    certain = True
    for index, asked in steering.join_trees:
        trees = told.get(index, set())
        wanted = _without(asked, reading.missing.get(index, frozenset()))
        if wanted is None or isinstance(wanted, int):
            # Nothing is left to join.
            continue
        same = [tree == wanted if sides else _unordered(tree) == _unordered(wanted) for tree in trees]
        if trees and not any(same):
            return False
        certain = certain and bool(trees) and all(same)
    return True if certain else None


def _unordered(tree: JoinTree) -> Unordered:
    # Post-order with an explicit stack: left-deep trees of hundreds of joins are deeper than Python's stack.
    built: list[Unordered] = []
    stack: list[tuple[JoinTree, bool]] = [(tree, False)]
    while stack:
        node, ready = stack.pop()
        if isinstance(node, int):
            built.append(node)
        elif ready:
            right, left = built.pop(), built.pop()
            built.append(frozenset((left, right)))
        else:
            stack.extend(((node, True), (node[1], False), (node[0], False)))
    return built[0]


def _without(tree: JoinTree, missing: frozenset[int]) -> JoinTree | None:
    """A tree without some relations; None if nothing is left."""
    if not missing:
        return tree
    built: list[JoinTree | None] = []
    stack: list[tuple[JoinTree, bool]] = [(tree, False)]
    while stack:
        node, ready = stack.pop()
        if isinstance(node, int):
            built.append(None if node in missing else node)
        elif ready:
            right, left = built.pop(), built.pop()
            built.append(
                (left, right) if left is not None and right is not None else left if right is None else right
            )
        else:
            stack.extend(((node, True), (node[1], False), (node[0], False)))
    return built[0]


# -- names ----------------------------------------------------------------------------------------------


class _Name:
    """A relation's alias, as plans may show it."""

    def __init__(self, relation: Relation) -> None:
        written = relation.alias.replace('""', '"')
        #: As it is written, and as PostgreSQL folds it if it was not quoted.
        self.plain = frozenset({written, ascii_lower(written)})
        #: What a subquery's relation is called before a steering moves it into FROM.
        moved = _MOVED.fullmatch(written)
        self.original = frozenset() if moved is None else frozenset({moved[1], ascii_lower(moved[1])})
        self.table = relation.table
        either = "|".join(sorted(re.escape(name) for name in self.plain | self.original))
        self._numbered = re.compile(rf"(?:{either})_(\d+)")

    def is_exactly(self, scan: Scan) -> bool:
        """Whether the plan shows the alias as it is written."""
        return scan.alias in self.plain

    def number(self, alias: str) -> int | None:
        """The number that the plan adds to the alias, 0 for none; None for other names."""
        if alias in self.plain or alias in self.original:
            return 0
        found = self._numbered.fullmatch(alias)
        return None if found is None else int(found[1])

    def may_be(self, alias: str | None) -> bool:
        """Whether the plan's alias may stand for it."""
        return alias is not None and self.number(alias) is not None

    def fits(self, scan: Scan) -> bool:
        """Whether a scan may be of this relation; a partition has a name of its own."""
        return self.may_be(scan.alias)

    def same_table(self, scan: Scan) -> bool:
        """Whether a scan reads this relation's table itself."""
        if self.table is None or scan.table is None:
            return self.table is None and scan.table is None
        return self.table == scan.table or self.table.endswith("." + scan.table)


@dataclass(frozen=True)
class _Need:
    """A base table that a block reads, itself or through a derived table that is merged into it.

    ``label`` is the relation of the block that it belongs to.
    """

    label: int
    name: _Name
    own: bool = True

    def fits(self, item: Item) -> bool:
        """Whether an item may be the scan of this table."""
        if item.kind == "empty":
            return True
        if item.kind not in ("scan", "unique") or not item.scans:
            return False
        return all(self.name.fits(scan) for scan in item.scans)

    @property
    def first(self) -> bool:
        """Whether it stands in the block's own FROM: its relations are named before those of subqueries."""
        return self.own and not self.name.original

    def rank(self, item: Item) -> tuple[bool, bool]:
        """How well it fits: the table itself, not a part of one; the alias as it is written."""
        return (
            all(self.name.same_table(scan) for scan in item.scans),
            self.own and any(self.name.is_exactly(scan) for scan in item.scans),
        )


@dataclass(frozen=True)
class _Computed:
    """A relation that another block computes, as one item of the plan."""

    label: int
    name: _Name
    block: int
    #: Relations of that block and of all within it, those of that block itself first.
    inside: tuple[_Name, ...]
    own: int

    def fits(self, item: Item) -> bool:
        """Whether an item may be what that block computes."""
        if item.kind == "empty":
            return True
        if item.kind in ("derived", "cte"):
            return self.name.may_be(item.alias)
        if not item.scans or not self.inside:
            return False
        found = Counter(item.scans)
        return all(any(name.fits(scan) for scan in found) for name in self.inside[: self.own]) and all(
            any(name.fits(scan) for name in self.inside) for scan in found
        )

    def rank(self, item: Item) -> tuple[bool, bool]:
        """How well it fits."""
        exact = item.kind in ("derived", "cte") and item.alias in self.name.plain
        return (True, exact)


# -- matching -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Candidate:
    """A tree of a block, read from a region under one assignment of its items."""

    region: int
    tree: JoinTree
    rank: tuple[int, ...]
    #: Items by the block that computes them, for blocks that are seen as one item.
    computed: tuple[tuple[int, Item], ...]
    #: Blocks whose relations were joined with the block's own.
    flattened: frozenset[int]
    #: Items that are the block's own relations, and no other block's.
    items: frozenset[int]


class _Reading:
    """A template's blocks, looked for in a plan."""

    def __init__(self, template: Template, plan: PhysicalPlan) -> None:
        self._template = template
        self._regions = Regions(plan)
        self._names = [[_Name(relation) for relation in block.relations] for block in template.blocks]
        #: Relations of a block that the plan has nowhere.
        self.missing: dict[int, frozenset[int]] = {}

    def told(self) -> dict[int, set[JoinTree]]:
        """The trees that each block may have: one if it can be told, none or several if it cannot."""
        told: dict[int, set[JoinTree]] = {}
        allowed: dict[int, set[int]] = {}
        claimed: set[int] = set()
        for block in self._outside_in():
            if len(block.relations) < 2 or block.graph is None:
                self._pass_on(block, allowed)
                continue
            found = self._candidates(block, allowed.get(block.index), claimed)
            best = max((entry.rank for entry in found), default=None)
            found = [entry for entry in found if entry.rank == best]
            told[block.index] = {entry.tree for entry in found}
            if len({entry.items for entry in found}) == 1:
                claimed |= found[0].items
            for entry in found:
                for inner, item in entry.computed:
                    allowed.setdefault(inner, set()).update(self._regions.computing(item))
                for inner in entry.flattened:
                    allowed.setdefault(inner, set()).add(entry.region)
        return told

    def _outside_in(self) -> list[Block]:
        """Blocks, each after those that read it."""
        readers: dict[int, set[int]] = {block.index: set() for block in self._template.blocks}
        for block in self._template.blocks:
            for relation in block.relations:
                if relation.block is not None and relation.block != block.index:
                    readers[relation.block].add(block.index)
        order: list[Block] = []
        waiting = list(self._template.blocks)
        done: set[int] = set()
        while waiting:
            ready = [block for block in waiting if readers[block.index] <= done] or waiting[:1]
            order.extend(ready)
            done.update(block.index for block in ready)
            waiting = [block for block in waiting if block.index not in done]
        return order

    def _pass_on(self, block: Block, allowed: dict[int, set[int]]) -> None:
        """What a block without joins reads lies where the block itself does."""
        if block.index in allowed:
            for relation in block.relations:
                if relation.block is not None:
                    allowed.setdefault(relation.block, set()).update(allowed[block.index])

    def _candidates(self, block: Block, allowed: set[int] | None, claimed: set[int]) -> list[_Candidate]:
        matching = _Matching(self._template, block, self._names, self._regions)
        self.missing[block.index] = matching.missing
        found: list[_Candidate] = []
        tried = 0
        for number, region in enumerate(self._regions.all):
            if allowed is not None and number not in allowed:
                continue
            for entry in matching.in_region(number, region, claimed):
                tried += 1
                if tried > MAX_ASSIGNMENTS:
                    return []
                if entry is not None:
                    found.append(entry)
        return found


class _Matching:
    """One block of a template, to be found in a plan's regions."""

    def __init__(
        self, template: Template, block: Block, names: Sequence[Sequence[_Name]], regions: Regions
    ) -> None:
        self._template = template
        self._block = block
        self._names = names
        self._inner = [name for index in self._within(block.index) for name in names[index]]
        self.missing = frozenset(
            label
            for label, relation in enumerate(block.relations)
            if relation.table is not None
            and not any(names[block.index][label].fits(scan) for scan in regions.scans)
        )
        self._outermost = block.parent is None and block.index == 0

    def _within(self, index: int) -> list[int]:
        """Blocks inside of a block, those that it reads from elsewhere included, without itself."""
        found = {index}
        grown = True
        while grown:
            grown = False
            for block in self._template.blocks:
                inside = block.parent in found or any(
                    relation.block == block.index
                    for reader in found
                    for relation in self._template.blocks[reader].relations
                )
                if inside and block.index not in found:
                    found.add(block.index)
                    grown = True
        return sorted(found - {index})

    def in_region(self, number: int, region: Region, claimed: set[int]) -> Iterator[_Candidate | None]:
        """Candidates in a region, None for assignments that make no sense."""
        needed = self._needs(region)
        if needed is None:
            return
        needs, flattened = needed
        free = [place for place, item in enumerate(region.items) if id(item) not in claimed]
        options = [[place for place in free if need.fits(region.items[place])] for need in needs]
        for places in _assignments(options):
            taken = dict(zip(places, needs, strict=True))
            if not _in_order(region, taken):
                continue
            yield self._read(number, region, taken, flattened)

    def _needs(self, region: Region) -> tuple[list[_Need | _Computed], frozenset[int]] | None:
        """What the block needs from a region; None if it cannot be there."""
        found: list[_Need | _Computed] = []
        flattened: set[int] = set()
        for label, relation in enumerate(self._block.relations):
            name = self._names[self._block.index][label]
            if relation.block is None:
                if relation.table is None:
                    return None
                if label not in self.missing:
                    found.append(_Need(label, name))
                continue
            computed = self._computed(label, name, relation.block)
            if any(item.kind != "empty" and computed.fits(item) for item in region.items):
                found.append(computed)
            elif not self._flatten(region, relation.block, label, found, flattened, 0):
                return None
        return found, frozenset(flattened)

    def _computed(self, label: int, name: _Name, block: int) -> _Computed:
        own = list(self._names[block])
        inside = [entry for index in self._within(block) for entry in self._names[index]]
        return _Computed(label, name, block, (*own, *inside), len(own))

    def _flatten(
        self,
        region: Region,
        index: int,
        label: int,
        found: list[_Need | _Computed],
        flattened: set[int],
        depth: int,
    ) -> bool:
        """A derived table without grouping is joined where it is read: its tables are then needed."""
        block = self._template.blocks[index]
        if block.aggregated or block.distinct or not block.relations or depth > 16:
            return False
        flattened.add(index)
        for number, relation in enumerate(block.relations):
            if relation.block is not None:
                computed = self._computed(label, self._names[index][number], relation.block)
                if any(item.kind != "empty" and computed.fits(item) for item in region.items):
                    found.append(computed)
                elif not self._flatten(region, relation.block, label, found, flattened, depth + 1):
                    return False
            elif relation.table is None:
                return False
            else:
                found.append(_Need(label, self._names[index][number], own=False))
        return True

    def _read(
        self, number: int, region: Region, taken: dict[int, _Need | _Computed], flattened: frozenset[int]
    ) -> _Candidate | None:
        """The block's tree under an assignment; None if it is joined with others before it is complete."""
        trees: list[JoinTree | None] = []
        members: list[frozenset[int]] = []
        foreign: list[bool] = []
        for place, item in enumerate(region.items):
            need = taken.get(place)
            trees.append(None if need is None else need.label)
            members.append(frozenset() if need is None else frozenset((need.label,)))
            foreign.append(need is None and not self._is_inner(item))
        for left, right in region.steps:
            one, two = trees[left], trees[right]
            ours, theirs = members[left], members[right]
            if one is not None and two is not None and not (ours == theirs and len(ours) == 1):
                if ours & theirs or foreign[left] or foreign[right]:
                    return None
                trees.append((one, two))
            elif one is not None and two is not None and (foreign[left] or foreign[right]):
                return None
            else:
                trees.append(two if one is None else one)
            members.append(ours | theirs)
            foreign.append(foreign[left] or foreign[right])
        tree = trees[-1]
        if tree is None or members[-1] != frozenset(range(len(self._block.relations))) - self.missing:
            return None
        ranks = [need.rank(region.items[place]) for place, need in taken.items()]
        left_over = sum(foreign[: len(region.items)])
        exact = sum(exactly for _, exactly in ranks) if self._outermost else 0
        return _Candidate(
            number,
            tree,
            (sum(same for same, _ in ranks), -left_over, exact),
            tuple(
                (need.block, region.items[place])
                for place, need in taken.items()
                if isinstance(need, _Computed)
            ),
            flattened,
            frozenset(
                id(region.items[place])
                for place, need in taken.items()
                if isinstance(need, _Need) and need.own
            ),
        )

    def _is_inner(self, item: Item) -> bool:
        """Whether an item that is no relation of the block belongs to a block inside of it."""
        return all(any(name.fits(scan) for name in self._inner) for scan in item.scans)


def _in_order(region: Region, taken: dict[int, _Need | _Computed]) -> bool:
    """Whether aliases are numbered as PostgreSQL does: a query's own FROM first, then what it took in."""
    numbers = [
        (need, need.name.number(region.items[place].scans[0].alias) or 0)
        for place, need in taken.items()
        if isinstance(need, _Need) and region.items[place].scans
    ]
    firsts = [(need.name, number) for need, number in numbers if need.first]
    laters = [(need.name, number) for need, number in numbers if not need.first]
    return all(
        number < later
        for name, number in firsts
        for other, later in laters
        if name.plain & (other.original or other.plain)
    )


def _assignments(options: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    """Ways to choose one number of each list, none twice."""
    order = sorted(range(len(options)), key=lambda index: len(options[index]))
    if not order:
        return
    chosen: list[int] = []
    # An explicit stack of positions: templates may have hundreds of relations.
    position = [0] * (len(order) + 1)
    taken: set[int] = set()
    while True:
        depth = len(chosen)
        if depth == len(order):
            found = [0] * len(order)
            for index, place in zip(order, chosen, strict=True):
                found[index] = place
            yield tuple(found)
        else:
            candidates = options[order[depth]]
            place = position[depth]
            while place < len(candidates) and candidates[place] in taken:
                place += 1
            if place < len(candidates):
                position[depth] = place + 1
                chosen.append(candidates[place])
                taken.add(candidates[place])
                position[depth + 1] = 0
                continue
        if not chosen:
            return
        taken.discard(chosen.pop())
