"""A connected part of a join graph as the arrays that the native planner reads, relations renumbered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from godb_fast.core import JoinKind, QueryGraph


def connected_parts(graph: QueryGraph) -> tuple[tuple[int, ...], ...]:
    """Connected components by edges and operators, each ascending."""
    neighbours = _neighbours(graph, range(graph.size))
    seen = 0
    parts = []
    for start in range(graph.size):
        if seen >> start & 1:
            continue
        part = frontier = 1 << start
        while frontier:
            relation = frontier.bit_length() - 1
            frontier ^= 1 << relation
            fresh = neighbours[relation] & ~part
            part |= fresh
            frontier |= fresh
        seen |= part
        parts.append(tuple(i for i in range(graph.size) if part >> i & 1))
    return tuple(parts)


def _neighbours(graph: QueryGraph, part: Sequence[int]) -> dict[int, int]:
    """Mask of each relation's neighbours: by an edge, or on the two sides of an operator."""
    neighbours = dict.fromkeys(part, 0)
    for left, right in graph.edges.tolist():
        if left in neighbours:
            neighbours[left] |= 1 << right
            neighbours[right] |= 1 << left
    for operator in graph.operators:
        # Every legal pair crosses from some left to some right relation, so no join is missed.
        for relation in neighbours:
            if operator.left >> relation & 1:
                neighbours[relation] |= operator.right
            elif operator.right >> relation & 1:
                neighbours[relation] |= operator.left
    return neighbours


def layout(graph: QueryGraph, part: Sequence[int], indexed: Sequence[bool] = ()) -> Mapping[str, Any]:
    """Arrays of one connected part with at most 62 relations; see ``_kernels.planner.Planner``.

    Relations are numbered breadth-first from the one with most neighbours, downwards from the highest
    number. So in a tree every set's own root is its highest relation, and the sets that hold a star's hub lie
    together in tables.
    """
    size = len(part)
    neighbours = _neighbours(graph, part)
    order = [max(part, key=lambda relation: (neighbours[relation].bit_count(), -relation))]
    parents = [-1]
    reached = 1 << order[0]
    for position, relation in enumerate(order):
        for other in _members(neighbours[relation] & ~reached):
            reached |= 1 << other
            order.append(other)
            parents.append(position)
    work = {relation: size - 1 - position for position, relation in enumerate(order)}

    def renamed(mask: int) -> int:
        return sum(1 << work[relation] for relation in _members(mask))

    adjacency = [renamed(neighbours[relation]) for relation in reversed(order)]
    below: list[int] = []
    if sum(mask.bit_count() for mask in adjacency) == 2 * (size - 1):
        below = [1 << i for i in range(size)]
        for position in range(size - 1, 0, -1):
            below[size - 1 - parents[position]] |= below[size - 1 - position]
    free = [0] * size
    for left, right in graph.edges.tolist():
        if left in work:
            free[work[left]] |= 1 << work[right]
            free[work[right]] |= 1 << work[left]
    operators = [operator for operator in graph.operators if operator.left & reached]
    constraints = [
        value
        for operator in operators
        for value in (int(operator.kind), renamed(operator.left), renamed(operator.right))
    ]
    operator_sets = [
        value
        for operator in operators
        for value in (renamed(operator.left), renamed(operator.left | operator.right))
    ]
    arrays: dict[str, Any] = {
        "adjacency": _longs(adjacency),
        "below": _longs(below),
        "names": _longs(order[::-1]),
        "free": _longs(free),
        "constraints": _longs(constraints),
        "operator_sets": _longs(operator_sets),
        "indexed": renamed(sum(1 << i for i in part if indexed[i])) if len(indexed) else 0,
    }
    arrays["members"] = graph.class_member.size
    arrays["selective"] = graph.selective_start.size - 1
    arrays.update(_classes(graph, work))
    arrays.update(_predicates(graph, work, operators))
    return arrays


def _classes(graph: QueryGraph, work: Mapping[int, int]) -> Mapping[str, Any]:
    sets: list[int] = []
    entries: list[list[int]] = []
    of_relation: list[list[int]] = [[] for _ in work]
    starts = graph.class_start.tolist()
    members = graph.class_member.tolist()
    for first, last in pairwise(starts):
        inside = [at for at in range(first, last) if members[at] in work]
        if len(inside) < 2:
            continue
        entry = [0] * 64
        mask = 0
        for at in inside:
            relation = work[members[at]]
            of_relation[relation].append(len(sets))
            entry[relation] = at
            mask |= 1 << relation
        sets.append(mask)
        entries.append(entry)
    class_starts, classes = _csr(of_relation)
    return {
        "class_starts": class_starts,
        "classes": classes,
        "class_sets": _longs(sets),
        "class_entries": np.array(entries or [[0]], np.int32).ravel(),
    }


def _predicates(graph: QueryGraph, work: Mapping[int, int], operators: Sequence[Any]) -> Mapping[str, Any]:
    sets: list[int] = []
    entries: list[int] = []
    of_relation: list[list[int]] = [[] for _ in work]
    starts = graph.selective_start.tolist()
    members = graph.selective_member.tolist()
    for number, (first, last) in enumerate(pairwise(starts)):
        relations = {members[at] for at in range(first, last)}
        if relations and all(relation in work for relation in relations):
            sets.append(sum(1 << work[relation] for relation in relations))
            entries.append(number)
            for relation in relations:
                of_relation[work[relation]].append(len(sets) - 1)
    for number, operator in enumerate(operators):
        if operator.kind is not JoinKind.INNER:
            relations = set(_members(operator.left | operator.right))
            sets.append(sum(1 << work[relation] for relation in relations))
            entries.append(-1 - number)
            for relation in relations:
                of_relation[work[relation]].append(len(sets) - 1)
    predicate_starts, predicates = _csr(of_relation)
    return {
        "predicate_starts": predicate_starts,
        "predicates": predicates,
        "predicate_sets": _longs(sets),
        "predicate_entries": np.array(entries or [0], np.int32),
    }


def _csr(lists: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    starts = np.zeros(len(lists) + 1, np.int32)
    np.cumsum([len(entry) for entry in lists], out=starts[1:])
    flat = [value for entry in lists for value in sorted(entry)]
    return starts, np.array(flat or [0], np.int32)


def _longs(values: Sequence[int]) -> Any:
    return np.array(values, np.int64)


def _members(mask: int) -> Sequence[int]:
    members = []
    while mask:
        lowest = mask & -mask
        members.append(lowest.bit_length() - 1)
        mask ^= lowest
    return members
