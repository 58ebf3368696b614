"""Eager aggregation: relations of many-to-many joins aggregated by their join keys before they are joined.

Precondition: a SELECT of inner joins and LEFT JOINs of single relations whose aggregates are COUNT, MIN, MAX,
DISTINCT ones, SUM of exact columns, and in PostgreSQL AVG of such; with at least one that counts duplicates.
Reduced is what :meth:`.reduction.Reduction.may_reduce` allows, where a join is many-to-many: neither the
reduced inputs nor the others are single for the columns between them. The proof is that of :mod:`.reduction`.

After Yan and Larson 1995 (eager aggregation), and Yannakakis 1981 for the recursion: over a join tree rooted
at one input, every subtree becomes a derived table, its own subtrees first, so that no intermediate result is
larger than an input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sqlglot import exp

from godb_fast.rewriting.aggregates import aggregate_nodes, branch_values, is_whole_literal
from godb_fast.rewriting.base import Change, Guard, Statement
from godb_fast.rewriting.block_rules import changes
from godb_fast.rewriting.join_block import JoinBlock, Ref
from godb_fast.rewriting.reduction import Part, Reduction
from godb_fast.sql.scopes import below

#: Reductions of one part alone that are offered beside the full ones.
_SINGLE = 4


class EagerAggregation:
    """See the module."""

    name: Final = "eager_aggregation@1"

    def changes(self, statement: Statement) -> Iterator[Change]:
        """Every SELECT in its forms, the likeliest first."""
        note = "relations counted by their join keys before they are joined"
        return changes(self, statement, note, sum_guards(statement))

    def may_fit(self, select: exp.Select) -> bool:
        """Whether there is an aggregate."""
        return bool(aggregate_nodes(select))

    def plans(self, block: JoinBlock) -> Iterator[tuple[str, tuple[Part, ...]]]:
        """The ways to reduce a block."""
        return reductions(Reduction(block))

    def apply(self, block: JoinBlock, plan: tuple[Part, ...]) -> None:
        """Reduce a block in place."""
        Reduction(block).apply(plan)


def sum_guards(statement: Statement) -> tuple[Guard, ...]:
    """Of the literals that are summed: a larger one would make PostgreSQL's SUM numeric."""
    slots = sorted(
        slot
        for node in below(statement.tree)
        if isinstance(node, (exp.Sum, exp.Avg))
        for value in branch_values(node.this)
        if is_whole_literal(value) and (slot := statement.slot(value)) is not None
    )
    return (Guard("int4", tuple(slots)),) if slots else ()


def reductions(reduction: Reduction) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """Ways to reduce a block, the likeliest first: a name, and the parts that become derived tables.

    First everything around one input, as deep as it goes; then the same in one level; then one part alone.
    The input around which to reduce is one whose derived tables carry few columns beside their join keys:
    as a rule the one with the grouping columns, or the hub.
    """
    block = reduction.block
    rooted = []
    for root in sorted(block.core):
        parts = _parts_around(reduction, root)
        if any(reduction.multiplies(part.members) for part in parts):
            rooted.append((_score(reduction, parts), root, parts))
    rooted.sort(key=lambda entry: entry[:2])
    del rooted[2:]
    seen: set[tuple[Part, ...]] = set()
    for _, root, parts in rooted:
        if parts not in seen:
            seen.add(parts)
            yield f"around-{block.label([root])}", parts
    for _, root, parts in rooted[:1]:
        flat = tuple(part.flat() for part in parts)
        if flat not in seen:
            seen.add(flat)
            yield f"level-{block.label([root])}", flat
    singles = 0
    for _, _, parts in rooted:
        for part in _all_parts(parts):
            single = (part.flat(),)
            if single not in seen and singles < _SINGLE and reduction.multiplies(part.members):
                seen.add(single)
                singles += 1
                yield block.label(part.members), single


def _parts_around(reduction: Reduction, root: int) -> tuple[Part, ...]:
    """Everything that hangs on an input, each subtree a part; what may not be one stays beside the input."""
    found = _below(reduction, root, reduction.block.core - {root}, frozenset())
    for entry in reduction.block.inputs:
        if entry.padded and reduction.may_reduce(frozenset({entry.number})):
            found.append(Part(frozenset({entry.number})))
    return tuple(sorted(found, key=_first))


def _below(reduction: Reduction, door: int, others: frozenset[int], implied: frozenset[Ref]) -> list[Part]:
    """Parts of what hangs on an input.

    Two inputs that are equal to each other in a column that is equal to one of the door's hang on the door
    each for itself; their own equality holds above.
    """
    implied |= reduction.block.equals_of(door)
    found: list[Part] = []
    for component in reduction.block.components(others, implied):
        found.extend(_reduced(reduction, component, implied))
    return sorted(found, key=_first)


def _reduced(reduction: Reduction, component: frozenset[int], implied: frozenset[Ref]) -> list[Part]:
    """A component as one part, or, where it may not be one, the parts within it."""
    block = reduction.block
    doors = [number for number in component if block.neighbours(number, block.core - component)]
    if len(doors) > 1:
        # A cycle: without the rest, a part of it may have far more rows than the whole.
        return []
    inner: list[Part] = []
    for door in doors:
        inner = _below(reduction, door, component - {door}, implied)
    if reduction.may_reduce(component):
        return [Part(component - _members(inner), tuple(inner))]
    return inner


def _first(part: Part) -> int:
    return min(part.members)


def _members(parts: Iterable[Part]) -> frozenset[int]:
    return frozenset().union(*(part.members for part in parts))


def _score(reduction: Reduction, parts: tuple[Part, ...]) -> tuple[int, int]:
    """Columns carried beside one key a part; then the more inputs reduced, the better."""
    every = _all_parts(parts)
    carried = sum(len(reduction.exports(part.members)) - 1 for part in every)
    return carried, -sum(len(part.members) for part in parts)


def _all_parts(parts: tuple[Part, ...]) -> list[Part]:
    """Outer ones first."""
    found = list(parts)
    for part in found:
        found.extend(part.parts)
    return found
