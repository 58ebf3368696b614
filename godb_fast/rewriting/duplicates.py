"""Relations that only multiply rows, where nobody counts them, become semi-joins; padded ones go.

Precondition: a SELECT of inner joins and LEFT JOINs of single relations that does not see how often a row
is there: DISTINCT or GROUP BY without aggregates, or with no other aggregates than MIN, MAX, DISTINCT ones,
BOOL_AND, BOOL_OR, BIT_AND and BIT_OR. A group M of core inputs hangs on one input v: no conjunct looks at
both M and an input other than v, nothing outside of FROM and WHERE looks at M, no padded input is joined to
M, and v's row may meet several of M's (if M is single for the columns between, there is nothing to save).

Proof: let R be the other core inputs. The result is a function of the *set* of values that the rows of
σ(R × M), padded by the LEFT JOINs, have in the columns of R and of the padded inputs. A row of σ(R) is in
that projection if and only if a row of M satisfies, together with v's part, all conjuncts that look at M:
that is EXISTS (SELECT 1 FROM M WHERE …). NULL and false are alike there as in WHERE. Padding looks at R only,
so it commutes. Likewise a LEFT JOIN whose columns nobody looks at adds only copies of rows, and is left out.

Within M nobody counts duplicates either: the nested form makes EXISTS of what hangs on M's inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from godb_fast.rewriting.aggregates import aggregate_nodes, read_aggregates
from godb_fast.rewriting.base import Change, Statement
from godb_fast.rewriting.block_rules import changes
from godb_fast.rewriting.from_where import set_body
from godb_fast.rewriting.join_block import (
    Conjunct,
    JoinBlock,
    Ref,
    Unsuitable,
    column_of,
    ref_of,
    refs_below,
)
from godb_fast.rewriting.output_names import check_names, keep_name
from godb_fast.sql.draft import arg
from godb_fast.sql.scopes import below, copied

#: Groups offered alone, beside all together.
_SINGLE = 3


@dataclass(frozen=True)
class Hanging:
    """Inputs that become one EXISTS, some of them in an EXISTS of their own."""

    own: frozenset[int]
    inner: tuple[Hanging, ...] = ()

    @property
    def members(self) -> frozenset[int]:
        """All inputs below."""
        return self.own.union(*(part.members for part in self.inner))


class Duplicates:
    """What only multiplies the rows of a block, and the block without it.

    Raises
    ------
    Unsuitable
        If somebody counts the block's rows.
    """

    def __init__(self, block: JoinBlock) -> None:
        self.block = block
        select = block.select
        if any(aggregate.sees_duplicates for aggregate in read_aggregates(block)):
            raise Unsuitable("an aggregate that counts duplicates")
        if not (aggregate_nodes(select) or arg(select, "group") or select.args.get("distinct")):
            raise Unsuitable("the result's own rows are counted")
        for item in select.expressions:
            for part in below(item):
                star = part.this if isinstance(part, exp.Column) else part
                if isinstance(star, exp.Star):
                    raise Unsuitable("a *")
        if block.has_merged:
            check_names(block)
        shown = [*select.expressions]
        shown += [node for name in ("group", "having", "order") if (node := arg(select, name)) is not None]
        self.needed = frozenset(number for node in shown for number, _ in refs_below(node))
        padded = {entry.number for entry in block.inputs if entry.padded}
        #: Padded inputs that nothing looks at but their own ON.
        self.unused = frozenset(
            number
            for number in padded - self.needed
            if not any(number in conjunct.inputs and conjunct.on != number for conjunct in block.conjuncts)
        )
        #: Core inputs that stay because the result or a padded input looks at them.
        self.kept = frozenset(
            number
            for conjunct in block.conjuncts
            if conjunct.inputs & (padded - self.unused) or conjunct.on in padded - self.unused
            for number in conjunct.inputs
        ) | (self.needed & block.core)
        self.kept &= block.core
        if not self.kept:
            raise Unsuitable("nothing of the result comes from the core")

    def hanging(self) -> list[frozenset[int]]:
        """The largest groups that may become an EXISTS, in the order of FROM."""
        block = self.block
        found: set[frozenset[int]] = set()
        for number in block.core:
            for component in block.components(block.core - {number}):
                if not component & self.kept and not block.is_single(component, self._outer(component)):
                    found.add(component)
        return sorted((one for one in found if not any(one < other for other in found)), key=min)

    def _outer(self, members: frozenset[int]) -> frozenset[Ref]:
        """Columns of the other inputs that conjuncts with a group look at."""
        return frozenset(
            ref
            for conjunct in self.block.conjuncts
            if conjunct.on is None and conjunct.inputs & members
            for ref in conjunct.refs
            if ref[0] not in members
        )

    def nested(self, members: frozenset[int]) -> Hanging:
        """A group with an EXISTS for each of its own groups that multiply."""
        block = self.block
        doors = [number for number in members if block.neighbours(number, block.core - members)]
        inner: list[Hanging] = []
        if len(doors) == 1:
            for component in block.components(members - set(doors)):
                if not block.is_single(component, self._outer(component)):
                    inner.append(self.nested(component))
        return Hanging(members.difference(*(part.members for part in inner)), tuple(inner))

    def apply(self, groups: tuple[Hanging, ...]) -> None:
        """Change the block's SELECT in place; unused padded inputs always go."""
        block, select = self.block, self.block.select
        if block.has_merged:
            select.set("expressions", [keep_name(block, item) for item in select.expressions])
            for name in ("group", "having", "order"):
                self._qualify(arg(select, name))
            for item in select.expressions:
                self._qualify(item)
        for conjunct in block.conjuncts:
            holder = exp.Paren(this=copied(conjunct.node))
            self._qualify(holder)
            conjunct.node = holder.this
        padded = {
            entry.number: entry.leaf
            for entry in block.inputs
            if entry.padded and entry.number not in self.unused
        }
        conjuncts = [one for one in block.conjuncts if one.on is None or one.on in padded]
        own = block.core.difference(*(group.members for group in groups))
        self._write(select, own, padded, groups, conjuncts)

    def _write(
        self,
        select: exp.Select,
        own: frozenset[int],
        padded: dict[int, exp.Expression],
        groups: tuple[Hanging, ...],
        conjuncts: list[Conjunct],
    ) -> None:
        here, further = list(conjuncts), []
        for group in groups:
            inside = [conjunct for conjunct in here if conjunct.inputs & group.members]
            here = [conjunct for conjunct in here if conjunct not in inside]
            query = exp.Select(expressions=[exp.Literal(this="1", is_string=False)])
            self._write(query, group.own, {}, group.inner, inside)
            further.append(exp.Exists(this=query))
        core = [(frozenset({number}), self.block.inputs[number].leaf) for number in own]
        set_body(select, core, padded, [(conjunct, conjunct.node) for conjunct in here], further)

    def _qualify(self, node: exp.Expression | None) -> None:
        for part in below(node) if node is not None else ():
            ref = ref_of(part)
            if ref is not None:
                part.replace(column_of(self.block.inputs[ref[0]], ref[1]))


class SemiJoins:
    """See the module."""

    name: Final = "semi_joins@1"

    def changes(self, statement: Statement) -> Iterator[Change]:
        """Every SELECT in its forms, the likeliest first."""
        return changes(self, statement, "relations that only multiply rows become EXISTS")

    def may_fit(self, select: exp.Select) -> bool:
        """Whether there is a GROUP BY, a DISTINCT or an aggregate, and none that surely counts rows."""
        aggregates = aggregate_nodes(select)
        if any(isinstance(node, exp.Count) and isinstance(node.this, exp.Star) for node in aggregates):
            return False
        return bool(aggregates or arg(select, "group") or select.args.get("distinct"))

    def plans(self, block: JoinBlock) -> Iterator[tuple[str, tuple[Hanging, ...]]]:
        """The ways to write a block without what only multiplies its rows."""
        return semi_joins(Duplicates(block))

    def apply(self, block: JoinBlock, plan: tuple[Hanging, ...]) -> None:
        """Write a block without it, in place."""
        Duplicates(block).apply(plan)


def semi_joins(duplicates: Duplicates) -> Iterator[tuple[str, tuple[Hanging, ...]]]:
    """Ways to write a block without what only multiplies its rows, the likeliest first."""
    groups = duplicates.hanging()
    flat = tuple(Hanging(group) for group in groups)
    seen: set[tuple[Hanging, ...]] = set()
    if flat or duplicates.unused:
        seen.add(flat)
        yield "all", flat
    nested = tuple(duplicates.nested(group) for group in groups)
    if groups and nested not in seen:
        seen.add(nested)
        yield "nested", nested
    for group in flat[:_SINGLE]:
        if (group,) not in seen:
            seen.add((group,))
            yield duplicates.block.label(group.members), (group,)
