"""From a drafted block to its join graph: constraints, equivalence classes, predicates, filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from godb_fast.core import And, ColumnRef, JoinKind, JoinPredicate, Or, Predicate, QueryGraph, Segments
from godb_fast.core.conflicts import Conjunct, OperatorTree, OrderingConstraints, resolve
from godb_fast.errors import InvalidInput
from godb_fast.sql.draft import Condition, Draft, family
from godb_fast.sql.predicates import PredicateReader
from godb_fast.sql.scopes import CannotPlan


@dataclass(frozen=True, eq=False)
class Assembled:
    """A block's graph and filters, and where its conditions are printed (see ``Layout``)."""

    graph: QueryGraph
    filters: tuple[tuple[Predicate, ...], ...]
    stays: frozenset[int]
    leaf_filters: Mapping[int, tuple[int, ...]]
    sheltered_filters: Mapping[int, tuple[int, ...]]
    #: Conditions whose text is needed apart from join predicates and what WHERE spells itself.
    printed: frozenset[int]


def assemble(draft: Draft, reader: PredicateReader, text: Callable[[int], Segments]) -> Assembled:
    """Place the draft's conditions and build its graph; ``text`` spells a condition for an ON clause.

    Raises
    ------
    CannotPlan
        If the joins cannot be ordered.
    """
    assert draft.tree is not None
    conjuncts = [Conjunct(entry.mask, entry.strong & entry.mask) for entry in draft.conditions]
    try:
        placed = resolve(len(draft.sources), draft.tree, conjuncts, draft.where)
    except InvalidInput as problem:
        # An ON clause that names a relation which only joins later: the engine has the last word.
        raise CannotPlan(str(problem)) from None
    if placed.reason is not None:
        raise CannotPlan(placed.reason)
    numbers = sorted({*placed.joins, *(entry for held in placed.operators for entry in held.predicates)})
    position = {number: place for place, number in enumerate(numbers)}
    classes = _classes(draft, placed, numbers)
    class_of = {number: place for place, (_, members) in enumerate(classes) for number in members}
    selective: list[list[int]] = []
    predicates = []
    for number in numbers:
        condition = draft.conditions[number]
        index = -1
        if number not in class_of and condition.mask & (condition.mask - 1):
            index = len(selective)
            selective.append([i for i in range(len(draft.sources)) if condition.mask >> i & 1])
        predicates.append(
            JoinPredicate(
                condition.mask,
                text(number),
                condition.left,
                condition.right,
                condition.operator,
                class_of.get(number, -1),
                index,
            )
        )
    edges = set(placed.edges)
    for columns, _ in classes:
        relations = [column.relation for column in columns]
        edges.update((min(i, j), max(i, j)) for i in relations for j in relations if i != j)
    graph = QueryGraph(
        tuple(source.alias_text.strip('"') for source in draft.sources),
        np.array(sorted(edges), np.int64).reshape(-1, 2),
        tuple(
            replace(held, predicates=tuple(position[entry] for entry in held.predicates))
            for held in placed.operators
        ),
        class_start=np.cumsum([0, *(len(columns) for columns, _ in classes)], dtype=np.int64),
        class_member=np.array([ref.relation for columns, _ in classes for ref in columns], np.int64),
        class_columns=tuple(ref for columns, _ in classes for ref in columns),
        selective_start=np.cumsum([0, *map(len, selective)], dtype=np.int64),
        selective_member=np.array([i for group in selective for i in group], np.int64),
        predicates=tuple(predicates),
        written=placed.legal,
    )
    stays = set(placed.late)
    leaf_filters: dict[int, tuple[int, ...]] = {}
    sheltered_filters: dict[int, tuple[int, ...]] = {}
    outer = any(held.kind is JoinKind.LEFT for held in placed.operators)
    for relation, own in enumerate(placed.filters):
        stays.update(number for number in own if placed.scopes[number] == 0)
        early = tuple(number for number in own if placed.scopes[number] != 0)
        if early:
            leaf_filters[relation] = early
        elif own and outer:
            sheltered_filters[relation] = tuple(own)
    spelled = {number for number, _, _ in draft.printed}
    printed = (stays - spelled).union(*leaf_filters.values(), *sheltered_filters.values())
    filters = _filters(draft, placed, reader)
    return Assembled(graph, filters, frozenset(stays), leaf_filters, sheltered_filters, frozenset(printed))


def _classes(
    draft: Draft, placed: OrderingConstraints, numbers: list[int]
) -> list[tuple[list[ColumnRef], list[int]]]:
    """Columns that are equal in every row of their region, and the conditions that say so.

    A class holds at most one column of a relation; an equality that would bring in a second one stands
    apart, as a predicate with a selectivity of its own.
    """
    group: dict[tuple[int, ColumnRef], tuple[list[ColumnRef], list[int]]] = {}
    for number in numbers:
        condition = draft.conditions[number]
        if not _is_equality(draft, condition) or placed.scopes[number] < 0:
            continue
        assert condition.left is not None
        assert condition.right is not None
        scope = placed.scopes[number]
        left = group.setdefault((scope, condition.left), ([condition.left], []))
        right = group.setdefault((scope, condition.right), ([condition.right], []))
        if left is right:
            left[1].append(number)
        elif not {ref.relation for ref in left[0]} & {ref.relation for ref in right[0]}:
            left[0].extend(right[0])
            left[1].extend([*right[1], number])
            for ref in right[0]:
                group[scope, ref] = left
    found = {id(entry): entry for entry in group.values() if len(entry[0]) > 1}
    return list(found.values())


def _is_equality(draft: Draft, condition: Condition) -> bool:
    left, right = condition.left, condition.right
    if condition.operator != "=" or left is None or right is None:
        return False
    kind = family(draft.sources[left.relation].types.get(left.name))
    return kind is not None and kind == family(draft.sources[right.relation].types.get(right.name))


def _filters(
    draft: Draft, placed: OrderingConstraints, reader: PredicateReader
) -> tuple[tuple[Predicate, ...], ...]:
    filters: list[list[Predicate]] = [[] for _ in draft.sources]
    for relation, numbers in enumerate(placed.filters):
        for number in numbers:
            node = draft.conditions[number].node
            if node is not None:
                filters[relation].append(reader.read(node))
    padded = _padded(placed.tree)
    for guess in draft.guesses:
        if padded >> guess.relation & 1:
            continue
        parts: list[Predicate] = []
        for branch in guess.branches:
            read = tuple(reader.read(node) for node in branch)
            parts.append(read[0] if len(read) == 1 else And(read))
        filters[guess.relation].append(parts[0] if len(parts) == 1 else Or(tuple(parts)))
    return tuple(map(tuple, filters))


def _padded(tree: OperatorTree) -> int:
    """Relations that a LEFT join may pad with NULLs."""
    mask = 0
    stack: list[tuple[OperatorTree, bool]] = [(tree, False)]
    while stack:
        node, below = stack.pop()
        if isinstance(node, int):
            mask |= below << node
        else:
            stack.append((node.left, below))
            stack.append((node.right, below or node.kind is JoinKind.LEFT))
    return mask
