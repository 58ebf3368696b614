"""Join trees in DuckDB's plans: which tree a plan runs, and whether it is the one that was asked for.

DuckDB's plans show tables, not aliases. Scans are matched to a template's relations by table; where a table
is read more than once, by what the plan cannot show for the wrong relation: a scan that filters a column
which the relation neither filters nor joins on, or by another text, or that does not deliver a column which
the relation is joined on; a join of two sides that no predicate connects, or on columns that none compares.
*Every* assignment that remains possible is considered: a tree counts only if all of them agree.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from godb_fast.core import (
    And,
    ColumnRef,
    Comparison,
    JoinTree,
    Not,
    Opaque,
    Or,
    PhysicalNode,
    PhysicalPlan,
    Predicate,
    Slot,
    Steering,
    Template,
)
from godb_fast.core.relation_set import relation_set
from godb_fast.engines.duckdb import quirks

#: Assignments of scans to relations that are tried before a block counts as ambiguous.
MAX_ASSIGNMENTS: Final = 5040

#: A relation of a block: (block number, relation number).
Place = tuple[int, int]
#: Literals of a statement by slot, as SQL text; several for an IN list.
Literals = Sequence["str | Sequence[str]"]


_PLAIN_CONDITION: Final = re.compile(r'\(?(\w+|"(?:[^"]|"")*") (?:=|<|>|<=|>=|!=) (\w+|"(?:[^"]|"")*")\)?')


class _Impossible(Exception):
    """An assignment of scans under which the plan makes no sense."""


@dataclass
class _Leaf:
    """A node without inputs: what it reads, and the filters right above it."""

    node: PhysicalNode
    conditions: list[str]
    #: Definitions of materialized CTEs that it stands in, outermost first.
    inside: tuple[str, ...]


@dataclass
class _Need:
    """What a relation must and may show in the plan."""

    place: Place
    table: str
    columns: frozenset[str]
    joined: frozenset[str]
    #: Names that conditions on it may show; None if that is not known.
    filtered: frozenset[str] | None
    #: Columns that it compares with text, and what then stands in the condition on them.
    texts: tuple[tuple[str, str], ...] = ()


@dataclass
class _Group:
    """Scans and relations of one table."""

    needs: list[_Need] = field(default_factory=list)
    leaves: list[int] = field(default_factory=list)


def default_trees(
    template: Template, plan: PhysicalPlan, literals: Literals | None = None
) -> dict[int, JoinTree]:
    """Join tree per block, for the blocks where it can be told; the last child is the build side.

    ``literals`` are those of the statement that was planned, as SQL text by slot; they tell self-joins apart.
    """
    reading = _Reading(template, plan, literals)
    found: dict[int, JoinTree] = {}
    for block in template.plannable:
        trees = set(itertools.islice(reading.trees(block.index), 2))
        if len(trees) == 1:
            tree = trees.pop()
            if tree is not None:
                found[block.index] = tree
    return found


def obeyed(
    template: Template, steering: Steering, plan: PhysicalPlan, literals: Literals | None = None
) -> bool | None:
    """Whether a plan follows the steering's join trees; None if that cannot be told."""
    reading = _Reading(template, plan, literals)
    certain = True
    for index, asked in steering.join_trees:
        trees = set(reading.trees(index))
        if None in trees or not trees:
            certain = False
        elif asked not in trees:
            return False
        elif len(trees) > 1:
            certain = False
    return True if certain else None


class _Reading:
    """A plan's scans, and the ways in which they can be assigned to a template's relations."""

    def __init__(self, template: Template, plan: PhysicalPlan, literals: Literals | None) -> None:
        self._template = template
        self._wanted = list(_needs(template, literals))
        self._nodes = list(plan.root.walk())
        self._leaves = _leaves(plan.root)
        self._readers: dict[int, list[Place]] = {}
        for block in template.blocks:
            for number, relation in enumerate(block.relations):
                if relation.block is not None:
                    self._readers.setdefault(relation.block, []).append((block.index, number))
        self._groups = self._grouped()

    def _grouped(self) -> list[_Group]:
        groups: dict[str, _Group] = {}
        for need in self._wanted:
            groups.setdefault(need.table.lower(), _Group()).needs.append(need)
        empty: list[int] = []
        for number, leaf in enumerate(self._leaves):
            if leaf.node.operator == "EMPTY_RESULT":
                empty.append(number)
            elif leaf.node.table is not None:
                shown = leaf.node.table.lower()
                for table, group in groups.items():
                    # 1.x shows the bare name; then tables of one name in two schemas share their scans.
                    if table == shown or table.endswith("." + shown):
                        group.leaves.append(number)
        # What is provably empty is read from nowhere: such leaves stand for the relations that are missing.
        short = [group for group in groups.values() if len(group.leaves) < len(group.needs)]
        if empty and sum(len(group.needs) - len(group.leaves) for group in short) == len(empty):
            merged = _Group()
            for group in short:
                merged.needs.extend(group.needs)
                merged.leaves.extend(group.leaves)
            merged.leaves.extend(empty)
            return [group for group in groups.values() if group not in short] + [merged]
        return list(groups.values())

    def trees(self, block: int) -> Iterator[JoinTree | None]:
        """The block's join tree under each possible assignment; None where there is none."""
        below = self._blocks_below(block)
        options: list[list[dict[int, Place]]] = []
        total = 1
        for group in self._groups:
            if not any(need.place[0] in below for need in group.needs):
                continue
            matchings = list(itertools.islice(self._matchings(group), MAX_ASSIGNMENTS + 1))
            total *= max(1, len(matchings))
            if not matchings or total > MAX_ASSIGNMENTS:
                yield None
                return
            options.append(matchings)
        named: list[JoinTree | None] = []
        unnamed: list[JoinTree | None] = []
        for chosen in itertools.product(*options):
            places: dict[int, Place] = {}
            for matching in chosen:
                places.update(matching)
            with suppress(_Impossible):
                tree, as_written = self._tree(block, places)
                (named if as_written else unnamed).append(tree)
        # Column names in join conditions decide, if they fit at all: derived conditions may be misnamed.
        yield from named or unnamed

    def _blocks_below(self, block: int) -> set[int]:
        """The block and those that compute its relations."""
        found, stack = set(), [block]
        while stack:
            index = stack.pop()
            if index in found:
                continue
            found.add(index)
            for relation in self._template.blocks[index].relations:
                if relation.block is not None:
                    stack.append(relation.block)
        return found

    def _matchings(self, group: _Group) -> Iterator[dict[int, Place]]:
        """All ways to give each relation of a table a scan of its own."""
        if len(group.leaves) != len(group.needs):
            return
        possible = [
            [leaf for leaf in group.leaves if self._fits(need, self._leaves[leaf])] for need in group.needs
        ]
        order = sorted(range(len(possible)), key=lambda index: len(possible[index]))
        taken: dict[int, Place] = {}

        def assign(depth: int) -> Iterator[dict[int, Place]]:
            if depth == len(order):
                yield dict(taken)
                return
            need = group.needs[order[depth]]
            for leaf in possible[order[depth]]:
                if leaf not in taken:
                    taken[leaf] = need.place
                    yield from assign(depth + 1)
                    del taken[leaf]

        yield from assign(0)

    @staticmethod
    def _fits(need: _Need, leaf: _Leaf) -> bool:
        if leaf.node.operator == "EMPTY_RESULT":
            return True
        shown = (leaf.node.table or "").lower()
        table = need.table.lower()
        if table != shown and not table.endswith("." + shown):
            return False
        delivered = {column.lower() for column in leaf.node.columns}
        if delivered and not need.joined <= delivered:
            return False
        if need.filtered is None:
            return True
        filtered = {
            word for condition in leaf.conditions for word in _words(condition) if word in need.columns
        }
        if not filtered <= need.filtered:
            return False
        together = " ".join(leaf.conditions)
        return all(text in together for column, text in need.texts if column in filtered)

    # -- one assignment -----------------------------------------------------------------------------

    def _tree(self, block: int, places: dict[int, Place]) -> tuple[JoinTree | None, bool]:
        """The join tree under one assignment, and whether its joins compare what the query compares."""
        as_written = True
        labels: dict[int, int] = {}
        for number, place in places.items():
            relation = self._lifted(place, block, self._leaves[number])
            if relation is not None:
                labels[id(self._leaves[number].node)] = relation
        labels.update(self._common_table_scans(block, places))
        foreign = self._foreign(block, places)
        built: dict[int, JoinTree | None] = {}
        # Nodes below which relations of a block around this one were joined to ours.
        mixed: set[int] = set()
        for node in reversed(self._nodes):
            if not node.children:
                built[id(node)] = labels.get(id(node))
                continue
            if any(id(child) in mixed for child in node.children):
                mixed.add(id(node))
            below = [built[id(child)] for child in node.children]
            known = [tree for tree in below if tree is not None]
            if not known:
                built[id(node)] = None
            elif len(known) == 1 or all(tree == known[0] and isinstance(tree, int) for tree in known):
                built[id(node)] = known[0]
            elif node.kind in ("join", "cross_product") and len(node.children) == 2:
                if id(node) in mixed:
                    return None, as_written
                left, right = set(_members(known[0])), set(_members(known[1]))
                if left & right:
                    return None, as_written
                if node.kind == "join" and node.predicates:
                    if not self._connected(block, left, right):
                        raise _Impossible
                    as_written = as_written and self._compares(block, node, left, right)
                built[id(node)] = (known[0], known[1])
            else:
                # A delim join, or a CTE beside its reader: more than an order of joins.
                return None, as_written
            if any(id(child) in foreign for child in node.children):
                foreign.add(id(node))
                if known:
                    mixed.add(id(node))
        tree = built[id(self._nodes[0])]
        count = len(self._template.blocks[block].relations)
        if tree is None or sorted(_members(tree)) != list(range(count)):
            return None, as_written
        return tree, as_written

    def _connected(self, block: int, left: set[int], right: set[int]) -> bool:
        """Whether a predicate joins the two sides."""
        graph = self._template.blocks[block].graph
        if graph is None:
            return True
        for one, two in graph.edges.tolist():
            if (one in left and two in right) or (one in right and two in left):
                return True
        one_side, other_side = relation_set(left), relation_set(right)
        return any(
            (operator.left & one_side and operator.right & other_side)
            or (operator.left & other_side and operator.right & one_side)
            for operator in graph.operators
        ) or any(
            predicate.relations & one_side and predicate.relations & other_side
            for predicate in graph.predicates
        )

    def _compares(self, block: int, node: PhysicalNode, left: set[int], right: set[int]) -> bool:
        """Whether each plain condition of a join compares columns that the query compares, on these sides."""
        graph = self._template.blocks[block].graph
        if graph is None:
            return True
        pairs: set[tuple[str, str]] = set()
        for predicate in graph.predicates:
            if predicate.left is not None and predicate.right is not None:
                pairs |= _sided(predicate.left, predicate.right, left, right)
        if graph.class_columns:
            for start, end in itertools.pairwise(graph.class_start.tolist()):
                for one, two in itertools.combinations(graph.class_columns[start:end], 2):
                    pairs |= _sided(one, two, left, right)
        for condition in node.predicates:
            plain = _PLAIN_CONDITION.fullmatch(condition)
            if plain is not None:
                first, second = (quirks.plain_name(name).lower() for name in plain.groups())
                if (first, second) not in pairs and (second, first) not in pairs:
                    return False
        return True

    def _foreign(self, block: int, places: dict[int, Place]) -> set[int]:
        """Scans that may belong to blocks around this one, or beside it."""
        inside = {entry.index for entry in self._template.blocks if self._within(entry.index, block)}
        outside = {need.table.lower() for need in self._wanted if need.place[0] not in inside}
        found = set()
        for number, leaf in enumerate(self._leaves):
            place = places.get(number)
            shown = (leaf.node.table or "").lower()
            if place is not None:
                strange = place[0] not in inside
            else:
                strange = any(table == shown or table.endswith("." + shown) for table in outside)
            if strange:
                found.add(id(leaf.node))
        return found

    def _within(self, inner: int, outer: int) -> bool:
        seen: set[int] = set()
        index: int | None = inner
        while index is not None and index not in seen:
            if index == outer:
                return True
            seen.add(index)
            index = self._template.blocks[index].parent
        return False

    def _lifted(self, place: Place, block: int, leaf: _Leaf) -> int | None:
        """The relation of ``block`` that a scan belongs to: itself, or the derived table around it."""
        seen: set[int] = set()
        while place[0] != block:
            readers = self._readers.get(place[0], [])
            role = self._template.blocks[place[0]].role
            if len(readers) != 1 or place[0] in seen or (role == "cte" and leaf.inside):
                return None
            seen.add(place[0])
            place = readers[0]
        return place[1]

    def _common_table_scans(self, block: int, places: dict[int, Place]) -> dict[int, int]:
        """Scans of a materialized CTE that is read once, by a relation of this block."""
        computed: dict[str, set[int]] = {}
        for number, place in places.items():
            for definition in self._leaves[number].inside[-1:]:
                computed.setdefault(definition, set()).add(self._enclosing_cte(place[0]))
        scans: dict[str, list[_Leaf]] = {}
        for leaf in self._leaves:
            if leaf.node.operator == "CTE_SCAN":
                scans.setdefault(str(leaf.node.extra.get("CTE Index")), []).append(leaf)
        found: dict[int, int] = {}
        for index, readers in scans.items():
            blocks = computed.get(index, set())
            if len(readers) != 1 or len(blocks) != 1:
                continue
            places_of = self._readers.get(next(iter(blocks)), [])
            if len(places_of) == 1:
                relation = self._lifted(places_of[0], block, readers[0])
                if relation is not None:
                    found[id(readers[0].node)] = relation
        return found

    def _enclosing_cte(self, block: int) -> int:
        """The nearest block of role ``cte`` at or around a block, or -1."""
        seen: set[int] = set()
        while block not in seen:
            seen.add(block)
            if self._template.blocks[block].role == "cte":
                return block
            parent = self._template.blocks[block].parent
            if parent is None:
                return -1
            block = parent
        return -1


def _leaves(root: PhysicalNode) -> list[_Leaf]:
    found: list[_Leaf] = []
    stack: list[tuple[PhysicalNode, list[str], tuple[str, ...]]] = [(root, [], ())]
    while stack:
        node, conditions, inside = stack.pop()
        if not node.children:
            found.append(_Leaf(node, [*conditions, *node.predicates], inside))
            continue
        passed = [*conditions, *node.predicates] if node.kind == "filter" else []
        for position, child in enumerate(node.children):
            defines = node.operator == "CTE" and position == 0 and len(node.children) > 1
            within = (*inside, str(node.extra.get("Table Index"))) if defines else inside
            stack.append((child, passed if len(node.children) == 1 else [], within))
    return found


def _needs(template: Template, literals: Literals | None) -> Iterator[_Need]:
    for block in template.blocks:
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
        # Filters that DuckDB derives along join columns may carry the name of the column at the other end.
        derived = frozenset(name for names in joined for name in names)
        for number, relation in enumerate(block.relations):
            if relation.table is None:
                continue
            filters: Sequence[Predicate] = block.filters[number] if number < len(block.filters) else ()
            own = None if block.graph is None or unclear >> number & 1 else _filtered(filters)
            yield _Need(
                place=(block.index, number),
                table=relation.table,
                columns=frozenset(column.lower() for column in relation.columns),
                joined=frozenset(joined[number]),
                filtered=None if own is None else own | derived,
                texts=() if literals is None else tuple(_texts(filters, literals)),
            )


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


def _sided(one: ColumnRef, two: ColumnRef, left: set[int], right: set[int]) -> set[tuple[str, str]]:
    """Names of two columns, if they stand on different sides."""
    if (one.relation in left and two.relation in right) or (one.relation in right and two.relation in left):
        return {(one.name.lower(), two.name.lower())}
    return set()


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


def _members(tree: JoinTree) -> Iterator[int]:
    stack: list[JoinTree] = [tree]
    while stack:
        entry = stack.pop()
        if isinstance(entry, int):
            yield entry
        else:
            stack.extend(entry)
