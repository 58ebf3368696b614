"""COUNT(DISTINCT …) of one input, computed by the key of its group before that input is joined.

Two branches that hang on one relation multiply each other's rows, and COUNT(DISTINCT) of each counts its way
back: ``SELECT u.id, COUNT(DISTINCT c.id), COUNT(DISTINCT v.id) FROM u LEFT JOIN c … LEFT JOIN v … GROUP BY
u.id``.

Precondition: every column of the input M that anything but these aggregates and M's own conjuncts looks at
is *determined*: GROUP BY lists it, or a conjunct holds it equal to a column that GROUP BY lists, or to one
that is equal to such a one. All that are held equal are of one type, whose equality is identity
(:mod:`.identity`).

Proof. All rows of one group agree on the columns that GROUP BY lists, and so on M's determined columns where
M has a row: these rows hold rows of one class of M only, the rows that pass M's own conjuncts and have these
values. Whatever else there is on other inputs decides whether a row of the block is in the group, but not
which rows of the class it is joined with: no conjunct looks at any other column of M. So if one row of the
group has a partner in the class, each row of the class is in the group, and COUNT(DISTINCT x) over the group
is COUNT(DISTINCT x) over the class; if none has (M is padded there), it is 0. The derived table has the
class's count once, in a column that is the same in all rows of the group that have a partner, and NULL in the
others: ``COALESCE(MAX(count), 0)``. What counts duplicates elsewhere in the block is scaled as in
:mod:`.reduction`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlglot import exp

from godb_fast.rewriting.aggregates import Aggregate, aggregate_nodes
from godb_fast.rewriting.base import Change, Statement
from godb_fast.rewriting.block_rules import changes
from godb_fast.rewriting.eager_aggregation import sum_guards
from godb_fast.rewriting.identity import is_identity
from godb_fast.rewriting.join_block import JoinBlock, Ref, ref_of
from godb_fast.rewriting.reduction import Part, Reduction


class DistinctCounts:
    """See the module."""

    name: Final = "distinct_counts@1"

    def changes(self, statement: Statement) -> Iterator[Change]:
        """Every SELECT in its forms: all inputs at once, then one alone."""
        note = "distinct values counted by the key of their group before they are joined"
        return changes(self, statement, note, sum_guards(statement))

    def may_fit(self, select: exp.Select) -> bool:
        """Whether there is a COUNT(DISTINCT …)."""
        return any(
            isinstance(node, exp.Count) and isinstance(node.this, exp.Distinct)
            for node in aggregate_nodes(select)
        )

    def plans(self, block: JoinBlock) -> Iterator[tuple[str, tuple[Part, ...]]]:
        """The ways to count."""
        inputs = sorted(countable(block))
        parts = tuple(Part(frozenset({number})) for number in inputs)
        if len(parts) > 1:
            yield f"all-{block.label(inputs)}", parts
        for part in parts:
            yield block.label(part.members), (part,)

    def apply(self, block: JoinBlock, plan: tuple[Part, ...]) -> None:
        """Count in derived tables."""
        found = countable(block)
        members = {number for part in plan for number in part.members}
        pushed = frozenset().union(*(found[number] for number in members))
        Reduction(block, pushed).apply(plan)


def countable(block: JoinBlock) -> dict[int, frozenset[int]]:
    """Inputs whose distinct values may be counted by themselves: their aggregates, by number."""
    reduction = Reduction(block, frozenset())
    aggregates = [entry for entry in reduction.aggregates if _counts_distinct(entry)]
    found: dict[int, frozenset[int]] = {}
    for entry in block.inputs:
        members = frozenset({entry.number})
        pushed = frozenset(each.number for each in aggregates if each.inputs == members)
        if pushed and _may_count(reduction.pushing(pushed), members):
            found[entry.number] = pushed
    return found


def _counts_distinct(aggregate: Aggregate) -> bool:
    values = aggregate.argument.expressions if isinstance(aggregate.argument, exp.Distinct) else []
    plain = isinstance(aggregate.node, exp.Count) and aggregate.condition is None
    return plain and len(values) == 1 and ref_of(values[0]) is not None


def _may_count(reduction: Reduction, members: frozenset[int]) -> bool:
    """Whether the proof holds for an input, and the others may multiply its rows."""
    block = reduction.block
    if len(block.inputs) < 3:
        return False
    keys = reduction.exports(members)
    if not keys or members & reduction.loose or not (members < block.core or not members & block.core):
        return False
    determined = _determined(reduction)
    return all(
        key in determined and is_identity(block.inputs[key[0]].types.get(key[1]), block.dialect)
        for key in keys
    ) and reduction.multiplies(members)


def _determined(reduction: Reduction) -> frozenset[Ref]:
    """Columns that are the same in all rows of a group that have a row of their input."""
    block = reduction.block
    found = {ref for key in reduction.keys if (ref := ref_of(key)) is not None and _is_identity(block, ref)}
    pairs = [
        (conjunct.on, ref_of(conjunct.node.this), ref_of(conjunct.node.expression))
        for conjunct in block.conjuncts
        if isinstance(conjunct.node, exp.EQ)
    ]
    changed = True
    while changed:
        changed = False
        for on, left, right in pairs:
            for one, other in ((left, right), (right, left)):
                # What a condition of ON holds equal it does in rows that its input has.
                if one not in found or other is None or other in found or on not in (None, other[0]):
                    continue
                # Between types, several values may equal one: DuckDB's '1' and '01' are 1.
                if _is_identity(block, other) and _type(block, one) == _type(block, other):
                    found.add(other)
                    changed = True
    return frozenset(found)


def _is_identity(block: JoinBlock, ref: Ref) -> bool:
    return is_identity(_type(block, ref), block.dialect)


def _type(block: JoinBlock, ref: Ref) -> str | None:
    return block.inputs[ref[0]].types.get(ref[1])
