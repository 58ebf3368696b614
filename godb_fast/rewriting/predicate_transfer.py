"""Conditions on a column, repeated for the columns that are equal to it.

``a.x = b.x AND a.x IN (1, 2)`` gets ``AND b.x IN (1, 2)``. The engines do this by themselves for ``=``, and
DuckDB for some ranges; not for IN, and not through a chain of equalities.

Precondition: the equality is a conjunct of WHERE, or of ON where all joins of the SELECT are inner; both
columns are of the very same type, of a family of exact equality (see :mod:`.correlation`); the condition is
``column op constant``, IN a list of constants, or BETWEEN constants, and such a conjunct too.

Proof: a row of the result fulfils all conjuncts, so on it both columns are equal and not NULL, and equal
values of one type are alike to ``=``, ``<`` and IN. The repeated condition is then true for each row for
which the original is: a conjunct that follows from others changes no row. A constant cannot fail for one
column and not for the other, since their type is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from godb_fast.rewriting.base import Change, Statement
from godb_fast.rewriting.correlation import all_of, comparable, conjuncts
from godb_fast.rewriting.names import Found, Scope
from godb_fast.sql.draft import arg
from godb_fast.sql.scopes import below, copied

_COMPARISONS: Final = (exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NEQ, exp.EQ)
_CONSTANT: Final = (exp.Literal, exp.Neg, exp.Paren, exp.Cast, exp.DataType, exp.DataTypeParam, exp.Null)

_Key = tuple[int, str]


@dataclass(frozen=True, eq=False)
class _Condition:
    node: exp.Expression
    column: exp.Column
    key: _Key


class PredicateTransfer:
    """See the module."""

    name: Final = "predicate_transfer@1"

    def changes(self, statement: Statement) -> Iterator[Change]:
        """All conditions of the statement at once, then those of each SELECT."""
        found: list[tuple[int, exp.Select, list[exp.Expression]]] = []
        number = 0
        for node in below(statement.tree):
            if isinstance(node, exp.Select):
                scope = statement.names.scope(node)
                new = _transferred(statement, node, scope) if scope is not None else []
                if new:
                    found.append((number, node, new))
                number += 1
        sets = [(str(place), [(select, new)]) for place, select, new in found]
        if len(found) > 1:
            sets.insert(0, ("all", [(select, new) for _, select, new in found]))
        for place, chosen in sets:
            yield Change(place, _apply(statement, chosen), note="conditions repeated for equal columns")


def _transferred(statement: Statement, select: exp.Select, scope: Scope) -> list[exp.Expression]:
    """New conjuncts of a SELECT's WHERE."""
    where = select.args.get("where")
    parts = conjuncts(where.this if where is not None else None)
    joins = select.args.get("joins") or []
    if not any(one.args.get("side") or one.args.get("method") or _is_partial(one) for one in joins):
        for one in joins:
            parts.extend(conjuncts(one.args.get("on")))
    classes: list[set[_Key]] = []
    written: dict[_Key, exp.Column] = {}
    facts: dict[_Key, Found] = {}
    conditions: list[_Condition] = []
    for part in parts:
        sides = [
            _own(statement, scope, side) for side in (part.args.get("this"), part.args.get("expression"))
        ]
        if isinstance(part, exp.EQ) and sides[0] is not None and sides[1] is not None:
            keys = []
            for side, place in zip((part.this, part.expression), sides, strict=True):
                assert place is not None
                key = _key(place)
                written.setdefault(key, side)
                facts[key] = place
                keys.append(key)
            one, other = (facts[key].facts.type for key in keys)
            if keys[0] != keys[1] and one == other and comparable(one, other):
                _unite(classes, keys)
        elif sides[0] is not None and _is_constant_condition(part):
            facts[_key(sides[0])] = sides[0]
            conditions.append(_Condition(part, part.this, _key(sides[0])))
    known = {_about(condition.node, condition.column, condition.key) for condition in conditions}
    new = []
    for condition in conditions:
        for key in sorted(
            set().union(*(group for group in classes if condition.key in group)) - {condition.key}
        ):
            node = copied(condition.node)
            node.set("this", copied(written[key]))
            about = _about(node, written[key], key)
            # Equality with a constant is what the engines pass on.
            if about not in known and not isinstance(node, exp.EQ):
                known.add(about)
                new.append(node)
    return new


def _about(node: exp.Expression, column: exp.Column, key: _Key) -> tuple[_Key, str]:
    text = copied(node)
    text.set("this", exp.Null())
    return key, text.sql()


def _is_partial(join: exp.Join) -> bool:
    return str(join.args.get("kind") or "").upper() not in ("", "INNER", "CROSS")


def _own(statement: Statement, scope: Scope, node: object) -> Found | None:
    """A column of this SELECT's own relations."""
    if not isinstance(node, exp.Column):
        return None
    found = statement.names.find(node, scope)
    return found if found is not None and found.scope is scope else None


def _key(found: Found) -> _Key:
    return found.scope.sources.index(found.source), found.name


def _unite(classes: list[set[_Key]], keys: Sequence[_Key]) -> None:
    merged = set(keys)
    for group in [group for group in classes if group & merged]:
        classes.remove(group)
        merged |= group
    classes.append(merged)


def _is_constant_condition(part: exp.Expression) -> bool:
    if isinstance(part, _COMPARISONS):
        return _is_constant(part.expression)
    if isinstance(part, exp.Between):
        return _is_constant(part.args["low"]) and _is_constant(part.args["high"])
    if isinstance(part, exp.In):
        others = {name for name, value in part.args.items() if value} - {"this", "expressions"}
        return not others and all(_is_constant(entry) for entry in part.expressions)
    return False


def _is_constant(node: exp.Expression) -> bool:
    return all(isinstance(part, _CONSTANT) for part in below(node))


def _apply(statement: Statement, chosen: Sequence[tuple[exp.Select, list[exp.Expression]]]) -> exp.Expression:
    tree = statement.fresh()
    copies = {id(old): new for old, new in zip(below(statement.tree), below(tree), strict=True)}
    for old, new in chosen:
        select = copies[id(old)]
        where = arg(select, "where")
        select.set("where", exp.Where(this=all_of([*([where.this] if where is not None else []), *new])))
    return tree
