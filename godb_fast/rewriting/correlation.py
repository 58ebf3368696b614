"""Correlated subqueries: what ties them to the query around them; and joins with derived tables instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from godb_fast.rewriting.base import Refused, Statement
from godb_fast.rewriting.names import Found, Scope
from godb_fast.rewriting.purity import is_total
from godb_fast.sql.draft import arg, present
from godb_fast.sql.scopes import below, columns_of, copied, own_select

#: Types within a family compare exactly, and GROUP BY holds equal what ``=`` does. Not floats, nor UHUGEINT,
#: which DuckDB compares with HUGEINT as DOUBLE.
_FAMILIES: Final = {
    "integer": "tinyint smallint integer bigint hugeint utinyint usmallint uinteger ubigint",
    "decimal": "numeric decimal",
    "text": "text varchar character_varying",
    "char": "character bpchar char",
    "date": "date",
    "timestamp": "timestamp timestamp_without_time_zone",
    "boolean": "boolean",
    "uuid": "uuid",
}
_FAMILY: Final = {kind: family for family, kinds in _FAMILIES.items() for kind in kinds.split()}
_PRECISION: Final = re.compile(r"\([^)]*\)")


@dataclass(frozen=True, eq=False)
class Correlation:
    """A subquery's SELECT, its conjuncts without correlation, and the pairs of columns that tie it.

    Parameters
    ----------
    rest : tuple of Expression
        Nodes of the statement's tree, or made anew of copies.
    keys : tuple of (Column, Column)
        Inner and outer column of each equality.
    """

    select: exp.Select
    inner: Scope
    outer: Scope
    rest: tuple[exp.Expression, ...]
    keys: tuple[tuple[exp.Column, exp.Column], ...]


def read_correlation(statement: Statement, select: exp.Expression, within: exp.Select) -> Correlation:
    """How a subquery is tied to the SELECT around it.

    Raises
    ------
    Refused
        If it is no plain SELECT … FROM … WHERE, is tied by more than equalities of columns of one type, to
        more than the SELECT around it, or has a part that may fail for some rows.
    """
    names = statement.names
    inner, outer = names.scope(select), names.scope(within)
    if not isinstance(select, exp.Select) or inner is None or outer is None or inner.parent is not outer:
        raise Refused("not a SELECT of its own")
    extra = {name.rstrip("_") for name in present(select)} - {
        "expressions",
        "from",
        "joins",
        "where",
        "distinct",
    }
    if extra:
        raise Refused(f"{sorted(extra)[0]} in the subquery")
    if outer.recursive or inner.recursive:
        raise Refused("inside of a recursive CTE")
    if not is_total(select):
        raise Refused("a part of the subquery may fail, or is volatile")
    own = {id(part) for part in below(select)}
    found: dict[int, Found] = {}
    for column in columns_of(select):
        if isinstance(column.this, exp.Star):
            continue
        around = own_select(column)
        place = names.find(column, names.scope(around) if around is not None else None)
        if place is None:
            raise Refused(f"{column.sql()} is uncertain")
        if place.scope is not outer and id(place.scope.select) not in own:
            raise Refused(f"{column.sql()} comes from further outside")
        found[id(column)] = place

    def is_outer(part: exp.Expression) -> bool:
        return any(id(column) in found and found[id(column)].scope is outer for column in columns_of(part))

    where = select.args.get("where")
    parts = [
        *(part for one in conjuncts(where.this if where is not None else None) for part in factored(one))
    ]
    keys: list[tuple[exp.Column, exp.Column]] = []
    rest = []
    for part in parts:
        if not is_outer(part):
            rest.append(part)
            continue
        sides = (part.this, part.expression) if isinstance(part, exp.EQ) else ()
        if len(sides) != 2 or not all(isinstance(side, exp.Column) and id(side) in found for side in sides):
            raise Refused(f"tied by {part.sql()}")
        one, other = sorted(sides, key=lambda side: found[id(side)].scope is outer)
        mine, theirs = found[id(one)], found[id(other)]
        if mine.scope is not inner or theirs.scope is not outer:
            raise Refused(f"tied by {part.sql()}")
        if not comparable(mine.facts.type, theirs.facts.type):
            raise Refused(f"{part.sql()} compares {mine.facts.type} and {theirs.facts.type}")
        keys.append((one, other))
    for part in (*select.expressions, arg(select, "from"), *(select.args.get("joins") or [])):
        if part is not None and is_outer(part):
            raise Refused("tied outside of WHERE")
    return Correlation(select, inner, outer, tuple(rest), tuple(keys))


def comparable(one: str | None, other: str | None) -> bool:
    """Whether two types are of one family."""
    ours, theirs = family(one), family(other)
    return ours is not None and ours == theirs


def family(kind: str | None) -> str | None:
    """Family of a type in which ``=`` is exact, None for others."""
    return _FAMILY.get(_PRECISION.sub("", kind or "").strip().lower().replace(" ", "_"))


def conjuncts(node: exp.Expression | None) -> list[exp.Expression]:
    """What AND connects, parentheses removed."""
    if node is None:
        return []
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.And):
        return [*conjuncts(node.this), *conjuncts(node.expression)]
    return [node]


def disjuncts(node: exp.Expression) -> list[exp.Expression]:
    """What OR connects, parentheses removed."""
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.Or):
        return [*disjuncts(node.this), *disjuncts(node.expression)]
    return [node]


def factored(node: exp.Expression) -> list[exp.Expression]:
    """``(a AND b) OR (a AND c)`` as ``a`` and ``b OR c``, which is the same in three-valued logic too."""
    branches = [conjuncts(branch) for branch in disjuncts(node)]
    if len(branches) < 2:
        return [node]
    shared = [part for part in branches[0] if all(part in branch for branch in branches[1:])]
    if not shared:
        return [node]
    left = [[part for part in branch if part not in shared] for branch in branches]
    if not all(left):
        return shared
    either: exp.Expression | None = None
    for branch in left:
        both = all_of(branch)
        part = exp.Paren(this=both) if len(branch) > 1 else both
        either = part if either is None else exp.Or(this=either, expression=part)
    return [*shared, exp.Paren(this=either)]


def all_of(parts: Iterable[exp.Expression]) -> exp.Expression | None:
    """Copies of conditions, connected by AND."""
    found: exp.Expression | None = None
    # One by one: the parser reads a AND b AND c from the left.
    flat = [one for part in parts for one in (conjuncts(part) if isinstance(part, exp.And) else [part])]
    for part in flat:
        one = copied(part)
        if isinstance(one, (exp.Or, exp.Xor)):
            one = exp.Paren(this=one)
        found = one if found is None else exp.And(this=found, expression=one)
    return found


def column(table: str, name: str) -> exp.Column:
    """``table.name``; both are made by us and need no quotes."""
    return exp.Column(this=exp.to_identifier(name), table=exp.to_identifier(table))


def equalities(alias: str, keys: Sequence[tuple[str, exp.Expression]]) -> list[exp.Expression]:
    """``alias.key = outer`` for each."""
    return [exp.EQ(this=column(alias, name), expression=copied(outer)) for name, outer in keys]


def derived(select: exp.Select, alias: str) -> exp.Subquery:
    """A SELECT as a derived table."""
    return exp.Subquery(this=select, alias=exp.TableAlias(this=exp.to_identifier(alias)))


def join_inner(select: exp.Select, table: exp.Subquery, conditions: Sequence[exp.Expression]) -> None:
    """Add a relation to FROM and its conditions to WHERE."""
    _keep_star(select)
    select.set("joins", [*(select.args.get("joins") or []), exp.Join(this=table)])
    where = select.args.get("where")
    old = [where.this] if where is not None else []
    select.set("where", exp.Where(this=all_of([*old, *conditions])))


def join_left(select: exp.Select, table: exp.Subquery, conditions: Sequence[exp.Expression]) -> None:
    """Add a relation to FROM by LEFT JOIN.

    JOIN binds closer than a comma; commas become CROSS JOIN, which RIGHT and FULL joins do not allow.
    """
    _keep_star(select)
    joins = list(select.args.get("joins") or [])
    commas = [one for one in joins if not present(one) - {"this"}]
    if commas and any(str(one.args.get("side") or "").upper() in ("RIGHT", "FULL") for one in joins):
        raise Refused("a comma beside RIGHT or FULL JOIN")
    if commas and any(one.args.get("method") or one.args.get("using") for one in joins):
        raise Refused("a comma beside NATURAL or USING")
    for one in commas:
        one.set("kind", "CROSS")
    joins.append(exp.Join(this=table, side="LEFT", on=all_of(conditions)))
    select.set("joins", joins)


def _keep_star(select: exp.Select) -> None:
    """``*`` as one star for each relation that is there before one is added."""
    for entry in select.expressions:
        for part in below(entry):
            if isinstance(part, exp.Columns) or (
                isinstance(part, exp.Star)
                and not isinstance(part.parent, (exp.Select, exp.Column, exp.Count))
            ):
                raise Refused("a star that may stand for columns of all relations")
    if not any(isinstance(entry, exp.Star) for entry in select.expressions):
        return
    joins = select.args.get("joins") or []
    if any(one.args.get("method") or one.args.get("using") for one in joins):
        raise Refused("* with merged columns")
    origin = arg(select, "from")
    stars: list[exp.Expression] = []
    for node in (origin.this if origin is not None else None, *(one.this for one in joins)):
        alias = node.args.get("alias") if node is not None else None
        name = alias.this if isinstance(alias, exp.TableAlias) else getattr(node, "this", None)
        if not isinstance(name, exp.Identifier):
            raise Refused("* over a relation without a name")
        stars.append(exp.Column(this=exp.Star(), table=copied(name)))
    entries: list[exp.Expression] = []
    for entry in select.expressions:
        if isinstance(entry, exp.Star):
            if present(entry):
                raise Refused("* with exceptions")
            entries.extend(copied(star) for star in stars)
        else:
            entries.append(entry)
    select.set("expressions", entries)
