"""Conjuncts of WHERE and ON: which relations they mention, and what an OR of conjunctions implies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from godb_fast.core import ColumnRef
from godb_fast.sql.clauses import Span
from godb_fast.sql.draft import Condition, Draft, Guess, Output, bare
from godb_fast.sql.predicates import flatten, strong
from godb_fast.sql.scopes import CannotPlan, own_select
from godb_fast.sql.semijoins import membership_join

if TYPE_CHECKING:
    from godb_fast.sql.blocks import BlockReader

_OPERATORS: dict[type[exp.Expression], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.NullSafeEQ: "is_not_distinct",
    exp.NullSafeNEQ: "is_distinct",
}


def resolve(reader: BlockReader, draft: Draft, column: exp.Column) -> ColumnRef | None:
    """The column of the block that a node names, None for one of an outer block.

    Raises
    ------
    CannotPlan
        If nobody knows the column, or it belongs to a subquery of the block.
    """
    key = id(column)
    if key not in draft.resolved:
        scope = reader.scopes.get(id(own_select(column)), draft.scope)
        found, number, name = scope.find(column)
        base = 0 if found is draft.scope else -1
        for absorbed, first in draft.absorbed:
            if found is absorbed:
                base = first
        if base >= 0:
            draft.resolved[key] = ColumnRef(base + number, name)
        else:
            outer = draft.scope.parent
            while outer is not None and outer is not found:
                outer = outer.parent
            if outer is None:
                raise CannotPlan(f"column {name} belongs to a subquery")
            draft.resolved[key] = None
    return draft.resolved[key]


def condition_of(
    reader: BlockReader, draft: Draft, node: exp.Expression, span: Span | None
) -> tuple[Condition, bool]:
    """A conjunct without subqueries, and whether it looks at an outer block."""
    mask, outer = 0, False
    for column in reader.places.columns(node):
        if isinstance(column.this, exp.Star) or column.args.get("db"):
            raise CannotPlan("a column with a schema's name before it")
        found = resolve(reader, draft, column)
        if found is None:
            outer = True
        else:
            mask |= 1 << found.relation

    def bit(column: exp.Column) -> int:
        owner = resolve(reader, draft, column)
        return 0 if owner is None else 1 << owner.relation

    condition = Condition(node, span, mask, strong(node, bit))
    inner = bare(node)
    operator = _OPERATORS.get(type(inner))
    if operator and isinstance(inner.this, exp.Column) and isinstance(inner.expression, exp.Column):
        left, right = resolve(reader, draft, inner.this), resolve(reader, draft, inner.expression)
        if left is not None and right is not None and left.relation != right.relation:
            condition.left, condition.right, condition.operator = left, right, operator
    return condition, outer


def mask_if_known(reader: BlockReader, draft: Draft, node: exp.Expression) -> int:
    """Relations of the block that a condition mentions, as far as that is known."""
    mask = 0
    for column in reader.places.columns(node):
        try:
            found = resolve(reader, draft, column)
        except CannotPlan:
            continue
        if found is not None:
            mask |= 1 << found.relation
    return mask


def read_where(reader: BlockReader, draft: Draft, where: exp.Expression, ctes: dict[str, Output]) -> None:
    """Fill in the draft's conditions from its WHERE clause."""
    for node, span in reader.places.where(where.this, draft.clauses):
        if reader.places.has_query(node):
            if membership_join(reader, draft, node, span, ctes):
                continue
            reader.nested(node, draft.index, draft.scope, ctes)
            _keep(reader, draft, node, span)
            continue
        condition, outer = condition_of(reader, draft, node, span)
        if outer:
            _keep(reader, draft, node, span)
            continue
        _add(draft, condition)
        draft.printed.append((draft.where[-1], span, isinstance(node, exp.Or)))
        inner = bare(node)
        if isinstance(inner, exp.Or):
            _implied(reader, draft, inner, condition.mask)


def _keep(reader: BlockReader, draft: Draft, node: exp.Expression, span: Span) -> None:
    """A conjunct that stays in WHERE whatever the join order."""
    draft.printed.append((None, span, isinstance(node, exp.Or)))
    mask = mask_if_known(reader, draft, node)
    if mask and not mask & (mask - 1):
        draft.guesses.append(Guess(mask.bit_length() - 1, ((node,),)))


def _add(draft: Draft, condition: Condition) -> None:
    draft.conditions.append(condition)
    draft.where.append(len(draft.conditions) - 1)


def _implied(reader: BlockReader, draft: Draft, node: exp.Expression, mask: int) -> None:
    """What every branch of an OR demands: equalities to join by, and filters to estimate with."""
    if not mask & (mask - 1):
        return
    branches = [flatten(branch, exp.And) for branch in flatten(node, exp.Or)]
    common: dict[frozenset[ColumnRef], Condition] | None = None
    for branch in branches:
        here: dict[frozenset[ColumnRef], Condition] = {}
        for part in branch:
            condition, outer = condition_of(reader, draft, part, None)
            if not outer and condition.operator == "=" and condition.left and condition.right:
                here[frozenset((condition.left, condition.right))] = condition
        common = here if common is None else {key: common[key] for key in common if key in here}
    for condition in (common or {}).values():
        condition.node = None
        _add(draft, condition)
    for number in range(len(draft.sources)):
        if mask >> number & 1:
            own = [
                tuple(part for part in branch if mask_if_known(reader, draft, part) == 1 << number)
                for branch in branches
            ]
            if all(own):
                draft.guesses.append(Guess(number, tuple(own)))
