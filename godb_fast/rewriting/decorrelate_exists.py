"""EXISTS and IN with a subquery, where they are no conjunct of WHERE, as marks that a LEFT JOIN sets.

``a OR EXISTS (SELECT … FROM i WHERE i.k = o.k)`` becomes ``a OR m.k IS NOT NULL`` over a LEFT JOIN with
``(SELECT DISTINCT i.k FROM i) AS m``. As conjuncts, both engines make semi-joins of them by themselves; below
OR, PostgreSQL runs the subquery again for every row.

Precondition: the subquery is a plain SELECT without aggregates, tied by ``inner column = outer column`` alone
(types in one family of exact equality; see :mod:`.correlation`), all in it total. ``x IN (SELECT y …)`` is
one more such equality, if x and y are plain columns; it may give NULL instead of false, so between it and
WHERE stand only AND and OR, or x and y are both known never to be NULL. The place is WHERE, or for EXISTS
also the SELECT list of a query that does not aggregate.

Proof: the DISTINCT rows are unique in the keys, and ``=`` is exact, so an outer row matches at most one of
them: the LEFT JOIN keeps each outer row once. A matched row's key is equal to something, hence not NULL; an
unmatched row is padded with NULL. So the mark is true exactly where EXISTS is, and where IN is true. WHERE
takes NULL for false, and AND and OR are monotone: putting false for NULL below them changes no row.
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
    comparable,
    conjuncts,
    derived,
    equalities,
    join_left,
    read_correlation,
)
from godb_fast.sql.scopes import below, copied

_MONOTONE: Final = (exp.And, exp.Or, exp.Paren, exp.Where)
_ABOVE: Final = (*_MONOTONE, exp.Not, exp.Case, exp.If, exp.Alias, exp.Coalesce)


@dataclass(frozen=True, eq=False)
class _Plan:
    """One condition, and the columns that it compares."""

    node: exp.Expression
    within: exp.Select
    tie: Correlation
    keys: tuple[tuple[exp.Expression, exp.Expression], ...]


class DecorrelateExists:
    """See the module."""

    name: Final = "decorrelate_exists@1"

    def changes(self, statement: Statement) -> Iterator[Change]:
        """All conditions at once, then each."""
        plans: list[tuple[int, _Plan]] = []
        number = 0
        for node in below(statement.tree):
            if isinstance(node, exp.Exists) or (isinstance(node, exp.In) and node.args.get("query")):
                with suppress(Refused):
                    plans.append((number, _plan(statement, node)))
                number += 1
        sets: list[tuple[str, Sequence[_Plan]]] = [(str(place), [plan]) for place, plan in plans]
        if len(plans) > 1:
            sets.insert(0, ("all", [plan for _, plan in plans]))
        for place, chosen in sets:
            with suppress(Refused):
                yield Change(place, _apply(statement, chosen), note="EXISTS or IN as a mark of a LEFT JOIN")


def _plan(statement: Statement, node: exp.Expression) -> _Plan:
    child, parent = node, node.parent
    monotone = True
    while parent is not None and not isinstance(parent, exp.Select):
        if not isinstance(parent, _ABOVE):
            raise Refused(f"below {type(parent).__name__}")
        monotone = monotone and isinstance(parent, _MONOTONE)
        child, parent = parent, parent.parent
    if not isinstance(parent, exp.Select):
        raise Refused("no SELECT around it")
    in_where = child is parent.args.get("where")
    if in_where and any(part is node for part in conjuncts(child.this)):
        raise Refused("a conjunct of WHERE: the engines join it by themselves")
    if not in_where and not _is_plain_list(parent, child):
        raise Refused("neither in WHERE nor in a plain SELECT list")
    query = node.this if isinstance(node, exp.Exists) else node.args["query"]
    while isinstance(query, exp.Subquery) and not query.args.get("alias"):
        query = query.this
    tie = read_correlation(statement, query, parent)
    if any(
        isinstance(part, (exp.AggFunc, exp.Window))
        for entry in tie.select.expressions
        for part in below(entry)
    ):
        raise Refused("aggregates: the subquery has a row even without rows")
    keys: list[tuple[exp.Expression, exp.Expression]] = list(tie.keys)
    if node.args.get("negate"):
        raise Refused("NOT IN")
    if isinstance(node, exp.In):
        keys.append(_membership(statement, node, tie, monotone and in_where))
    if not keys:
        raise Refused("not correlated")
    return _Plan(node, parent, tie, tuple(keys))


def _is_plain_list(select: exp.Select, child: exp.Expression) -> bool:
    return (
        child.arg_key == "expressions"
        and select.args.get("group") is None
        and not any(isinstance(part, exp.AggFunc) for entry in select.expressions for part in below(entry))
    )


def _membership(
    statement: Statement, node: exp.In, tie: Correlation, null_is_false: bool
) -> tuple[exp.Expression, exp.Expression]:
    """The equality that IN stands for: inner and outer column."""
    shown = tie.select.expressions
    value = shown[0].this if len(shown) == 1 and isinstance(shown[0], exp.Alias) else shown[0]
    if len(shown) != 1 or not isinstance(value, exp.Column) or not isinstance(node.this, exp.Column):
        raise Refused("IN compares more than columns")
    mine, theirs = statement.names.find(value, tie.inner), statement.names.find(node.this, tie.outer)
    if mine is None or theirs is None or mine.scope is not tie.inner or theirs.scope is not tie.outer:
        raise Refused("a column of IN is uncertain")
    if not comparable(mine.facts.type, theirs.facts.type):
        raise Refused(f"IN compares {mine.facts.type} and {theirs.facts.type}")
    if not null_is_false and not (mine.not_null and theirs.not_null):
        raise Refused("IN may give NULL where that is not false")
    return value, node.this


def _apply(statement: Statement, plans: Sequence[_Plan]) -> exp.Expression:
    tree = statement.fresh()
    copies = {id(old): new for old, new in zip(below(statement.tree), below(tree), strict=True)}
    # Inner ones first: what is around them then takes them along.
    for plan in reversed(plans):
        alias = statement.unused("marked", tree)
        select, within, node = copies[id(plan.tie.select)], copies[id(plan.within)], copies[id(plan.node)]
        assert isinstance(select, exp.Select)
        assert isinstance(within, exp.Select)
        keys: dict[str, tuple[str, exp.Expression]] = {}
        ties: list[tuple[str, exp.Expression]] = []
        for mine, theirs in plan.keys:
            fresh = statement.unused(f"key_{len(keys) + 1}", tree)
            name, _ = keys.setdefault(mine.sql(), (fresh, mine))
            ties.append((name, theirs))
        condition = all_of([copies.get(id(part), part) for part in plan.tie.rest])
        shown = [exp.Alias(this=copied(mine), alias=exp.to_identifier(name)) for name, mine in keys.values()]
        select.set("expressions", shown)
        select.set("distinct", exp.Distinct())
        select.set("where", exp.Where(this=condition) if condition is not None else None)
        mark = exp.Not(this=exp.Is(this=column(alias, ties[0][0]), expression=exp.Null()))
        node.replace(exp.Paren(this=mark))
        select.pop()
        join_left(within, derived(select, alias), equalities(alias, ties))
    return tree
