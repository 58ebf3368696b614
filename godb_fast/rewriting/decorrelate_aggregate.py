"""Scalar subqueries of aggregates, tied to the query around them by equalities, as joined derived tables.

``o.x > (SELECT avg(i.x) FROM i WHERE i.k = o.k)`` becomes a join with
``(SELECT i.k, avg(i.x) FROM i GROUP BY i.k)``.

Precondition: the subquery is a plain SELECT of one expression over COUNT, SUM, AVG, MIN and MAX without
GROUP BY, so that it gives exactly one row; it is tied by ``inner column = outer column`` alone, where both
types are of a family in which grouping and ``=`` agree, to the SELECT right around it; all in it is total (a
group may be computed for which the statement never asks). It stands in WHERE, or in the SELECT list of a
query that does not aggregate.

Proof: for a row of the outer query, the rows that the subquery aggregates are those of the group whose keys
equal the outer columns. ``=`` is exact and transitive within a type family, so at most one group matches, and
the outer row is neither lost nor repeated by a LEFT JOIN. NULL keys: ``=`` never holds, in the subquery as in
the join. If no group matches, the subquery sees no rows: COUNT is 0, the others are NULL; that is what the
LEFT JOIN's padding gives, with COALESCE(count, 0). The expression over the aggregates is computed outside,
from these. Where the subquery is an operand of a comparison that is a conjunct of WHERE, and NULL makes the
comparison NULL, the outer row is dropped when no group matches: so the join may be inner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from godb_fast.rewriting.base import Change, Refused, Statement
from godb_fast.rewriting.correlation import (
    Correlation,
    all_of,
    column,
    conjuncts,
    derived,
    equalities,
    join_inner,
    join_left,
    read_correlation,
)
from godb_fast.sql.predicates import adds_values, compares_values
from godb_fast.sql.scopes import below, copied

_AGGREGATES: Final = (exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max)
_STRICT: Final = (exp.Add, exp.Sub, exp.Mul, exp.Neg, exp.Paren)
_COMPARISONS: Final = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between)
#: Through what a subquery's value may reach its SELECT's clause.
_ABOVE: Final = (
    *_STRICT, *_COMPARISONS, exp.And, exp.Or, exp.Not, exp.Is, exp.Coalesce, exp.Case, exp.If,
    exp.Alias, exp.Where, exp.Nullif, exp.Div,
)  # fmt: skip
#: Parents of a query in parentheses that is no value.
_NO_VALUE: Final = (
    exp.From, exp.Join, exp.In, exp.All, exp.Any, exp.SetOperation, exp.CTE, exp.Subquery, exp.Exists,
    exp.Lateral,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Plan:
    """One subquery, and how it is joined."""

    subquery: exp.Subquery
    within: exp.Select
    tie: Correlation
    value: exp.Expression
    aggregates: tuple[exp.Expression, ...]
    inner: bool


class DecorrelateAggregate:
    """See the module."""

    name: Final = "decorrelate_aggregate@1"

    def changes(self, statement: Statement) -> Iterator[Change]:
        """All subqueries at once, then each."""
        plans: list[tuple[int, _Plan]] = []
        number = 0
        for node in below(statement.tree):
            if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Select) and _is_value(node):
                with suppress(Refused):
                    plans.append((number, _plan(statement, node)))
                number += 1
        sets: list[tuple[str, Sequence[_Plan]]] = [(str(place), [plan]) for place, plan in plans]
        if len(plans) > 1:
            sets.insert(0, ("all", [plan for _, plan in plans]))
        for place, chosen in sets:
            try:
                yield Change(
                    place, _apply(statement, chosen), note="subqueries of aggregates as joined groups"
                )
            except Refused:
                continue


def _is_value(node: exp.Subquery) -> bool:
    """Whether a query in parentheses stands for a value."""
    return node.parent is not None and not isinstance(node.parent, _NO_VALUE)


def _plan(statement: Statement, node: exp.Subquery) -> _Plan:
    child: exp.Expression = node
    parent = node.parent
    strict = True
    top: exp.Expression | None = None
    while parent is not None and not isinstance(parent, exp.Select):
        if not isinstance(parent, _ABOVE):
            raise Refused(f"below {type(parent).__name__}")
        if isinstance(parent, _COMPARISONS) and top is None:
            top = parent
            strict = strict and (isinstance(parent, exp.Between) or compares_values(parent))
        elif top is None and (
            not isinstance(parent, _STRICT) or (isinstance(parent, exp.Add) and not adds_values(parent))
        ):
            strict = False
        child, parent = parent, parent.parent
    if not isinstance(parent, exp.Select):
        raise Refused("no SELECT around it")
    within = parent
    in_where = child is within.args.get("where")
    if not in_where and (
        child.arg_key != "expressions"
        or within.args.get("group") is not None
        or any(
            isinstance(part, exp.AggFunc) for entry in within.expressions for part in _outside_queries(entry)
        )
    ):
        raise Refused("neither in WHERE nor in a plain SELECT list")
    tie = read_correlation(statement, node.this, within)
    if not tie.keys or len(tie.select.expressions) != 1 or tie.select.args.get("distinct"):
        raise Refused("not correlated, or not one column")
    value = tie.select.expressions[0]
    value = value.this if isinstance(value, exp.Alias) else value
    aggregates, inner_value = _read_value(value)
    inner = (
        strict
        and inner_value
        and in_where
        and any(part is top for part in conjuncts(within.args["where"].this))
    )
    return _Plan(node, within, tie, value, tuple(aggregates), inner)


def _outside_queries(node: exp.Expression) -> Iterator[exp.Expression]:
    todo = [node]
    while todo:
        part = todo.pop()
        if not isinstance(part, (exp.Select, exp.SetOperation)):
            yield part
            todo.extend(part.iter_expressions())


def _read_value(value: exp.Expression) -> tuple[list[exp.Expression], bool]:
    """Aggregates of an expression over nothing else, and whether it is NULL over no rows for sure."""
    aggregates: list[exp.Expression] = []
    strict = True
    todo = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, _AGGREGATES):
            if any(isinstance(inside, (exp.Select, exp.Order)) for inside in below(part)):
                raise Refused("a query or an order in an aggregate")
            aggregates.append(part)
        elif isinstance(part, (*_STRICT, exp.Literal, exp.Coalesce, exp.Null)):
            strict = strict and not isinstance(part, exp.Coalesce)
            todo.extend(part.iter_expressions())
        else:
            raise Refused(f"{type(part).__name__} over aggregates")
    if not aggregates:
        raise Refused("no aggregate: more than one row is an error")
    return aggregates, strict and not all(isinstance(part, exp.Count) for part in aggregates)


def _apply(statement: Statement, plans: Sequence[_Plan]) -> exp.Expression:
    tree = statement.fresh()
    copies = {id(old): new for old, new in zip(below(statement.tree), below(tree), strict=True)}
    # Inner ones first: what is around them then takes them along.
    for plan in reversed(plans):
        alias = statement.unused("grouped", tree)
        select = copies[id(plan.tie.select)]
        within = copies[id(plan.within)]
        subquery = copies[id(plan.subquery)]
        assert isinstance(select, exp.Select)
        assert isinstance(within, exp.Select)
        keys: dict[str, tuple[str, exp.Expression]] = {}
        ties: list[tuple[str, exp.Expression]] = []
        for mine, theirs in plan.tie.keys:
            fresh = statement.unused(f"key_{len(keys) + 1}", tree)
            name, _ = keys.setdefault(mine.sql(), (fresh, mine))
            ties.append((name, theirs))
        value = copied(plan.value)
        old_nodes, new_nodes = below(plan.value), below(value)
        values: list[exp.Expression] = []
        for old, new in zip(old_nodes, new_nodes, strict=True):
            if not any(old is one for one in plan.aggregates):
                continue
            name = statement.unused(f"value_{len(values) + 1}", tree)
            values.append(exp.Alias(this=copied(copies[id(old)]), alias=exp.to_identifier(name)))
            shown: exp.Expression = column(alias, name)
            if isinstance(old, exp.Count) and not plan.inner:
                shown = exp.Coalesce(this=shown, expressions=[exp.Literal.number(0)])
            if new is value:
                value = shown
            else:
                new.replace(shown)
        shown_keys = [
            exp.Alias(this=copied(mine), alias=exp.to_identifier(name)) for name, mine in keys.values()
        ]
        condition = all_of([copies.get(id(part), part) for part in plan.tie.rest])
        select.set("expressions", [*shown_keys, *values])
        select.set("where", exp.Where(this=condition) if condition is not None else None)
        select.set("group", exp.Group(expressions=[copied(mine) for _, mine in keys.values()]))
        subquery.replace(value if isinstance(value, (exp.Column, exp.Coalesce)) else exp.Paren(this=value))
        select.pop()
        join = join_inner if plan.inner else join_left
        join(within, derived(select, alias), equalities(alias, ties))
    return tree
