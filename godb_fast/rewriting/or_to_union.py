"""An OR whose branches exclude each other, as UNION ALL.

``WHERE r AND ((a.k = 1 AND b.x > 2) OR (a.k = 2 AND c.y < 3))`` becomes one SELECT for each branch, so that
each can be joined and filtered in its own way.

Precondition: the SELECT is the statement, a CTE or a derived table, of nothing but FROM and WHERE, without
aggregates, window functions and DISTINCT; all functions are immutable, the branches total. Each branch
demands ``column = literal``, or IN a list of literals, of the same column of a whole number, decimal or text
type; the literals of different branches are different values, which a guard checks at every call.

Proof: a row's column equals the literals of one branch at most, so at most one branch is true for it, and a
row fulfils ``r AND (B1 OR B2)`` just if it fulfils either ``r AND B1`` or ``r AND B2``: it is in exactly one
part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sqlglot import exp

from godb_fast.rewriting.base import Change, Guard, Statement
from godb_fast.rewriting.correlation import all_of, conjuncts, disjuncts, family
from godb_fast.rewriting.purity import is_immutable, is_total
from godb_fast.sql.draft import arg, present
from godb_fast.sql.scopes import below, copied

MAX_BRANCHES: Final = 4
_STRINGS: Final = {"integer": False, "decimal": False, "text": True, "char": True}


class OrToUnion:
    """See the module."""

    name: Final = "or_to_union@1"

    def changes(self, statement: Statement) -> Iterator[Change]:
        """Each OR by itself."""
        selects = [node for node in below(statement.tree) if isinstance(node, exp.Select)]
        for number, select in enumerate(selects):
            if not _may_split(select):
                continue
            where = select.args["where"]
            for place, condition in enumerate(conjuncts(where.this)):
                branches = disjuncts(condition)
                if not 1 < len(branches) <= MAX_BRANCHES or not is_total(condition):
                    continue
                slots = _slots(statement, select, branches)
                if slots is not None:
                    tree = _apply(statement, select, condition, branches)
                    note = f"{len(branches)} branches of an OR as UNION ALL"
                    yield Change(f"{number}-{place}", tree, (Guard("distinct", slots),), note)


def _may_split(select: exp.Select) -> bool:
    extra = {name.rstrip("_") for name in present(select)} - {"expressions", "from", "joins", "where", "with"}
    parent = select.parent
    stands_alone = parent is None or isinstance(parent, exp.CTE) or (
        isinstance(parent, exp.Subquery) and isinstance(parent.parent, (exp.From, exp.Join))
    )  # fmt: skip
    return (
        not extra
        and stands_alone
        and select.args.get("where") is not None
        and is_immutable(select)
        and not any(
            isinstance(part, (exp.AggFunc, exp.Window))
            for entry in select.expressions
            for part in below(entry)
        )
    )


def _slots(
    statement: Statement, select: exp.Select, branches: Sequence[exp.Expression]
) -> tuple[int, ...] | None:
    """Slots of the literals by which all branches exclude each other."""
    demands = [_demands(statement, select, branch) for branch in branches]
    shared = [key for key in demands[0] if all(key in found for found in demands[1:])]
    for key in shared:
        slots = tuple(found[key] for found in demands)
        if len(set(slots)) == len(slots):
            return slots
    return None


def _demands(statement: Statement, select: exp.Select, branch: exp.Expression) -> dict[tuple[int, str], int]:
    """Columns that a branch sets equal to a literal, or to one of a list, and the literal's slot."""
    scope = statement.names.scope(select)
    found: dict[tuple[int, str], int] = {}
    for part in conjuncts(branch):
        if isinstance(part, exp.EQ):
            value: object = part.expression
        elif (
            isinstance(part, exp.In)
            and not (part.args.get("query") or part.args.get("negate"))
            and len(part.expressions) == 1
        ):
            value = part.expressions[0]
        else:
            continue
        if not isinstance(value, exp.Literal) or not isinstance(part.this, exp.Column) or scope is None:
            continue
        slot, place = statement.slot(value), statement.names.find(part.this, scope)
        if slot is None or place is None or place.scope is not scope:
            continue
        kind = family(place.facts.type)
        if kind is not None and _STRINGS.get(kind) is value.is_string:
            found.setdefault((scope.sources.index(place.source), place.name), slot)
    return found


def _apply(
    statement: Statement, select: exp.Select, condition: exp.Expression, branches: Sequence[exp.Expression]
) -> exp.Expression:
    tree = statement.fresh()
    copies = dict(zip(map(id, below(statement.tree)), below(tree), strict=True))
    old = copies[id(select)]
    union: exp.Expression | None = None
    for branch in branches:
        part = copied(select)
        rest = [one for one in conjuncts(select.args["where"].this) if one is not condition]
        part.set("where", exp.Where(this=all_of([*rest, branch])))
        for name in ("with", "with_"):
            part.set(name, None)
        union = part if union is None else exp.Union(this=union, expression=part, distinct=False)
    assert union is not None
    if (clause := arg(select, "with")) is not None:
        union.set("with_" if "with_" in select.args else "with", copied(clause))
    if old is tree:
        return union
    old.replace(union)
    return tree
