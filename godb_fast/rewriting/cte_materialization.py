"""MATERIALIZED and NOT MATERIALIZED for each CTE, and for all of them.

Precondition: the CTE is a SELECT, not recursive, all of its functions are immutable, and nothing in it
depends on the order of rows (a template with such a part has no rewrites at all).
Proof: a CTE of this kind is a table expression with one value during the statement; computing it once, or in
each place that names it, gives the same rows. MATERIALIZED says neither more nor less. Where it is named more
than once and holds an aggregate whose value depends on the order of its input (sums of floats), two places
might compute two values: such a CTE is not inlined.

The engine's own choice is by the number of references (PostgreSQL inlines what is named once); what it costs
is another matter: inlining lets conditions into the CTE, materializing computes it once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlglot import exp

from godb_fast.rewriting.base import Change, Statement
from godb_fast.rewriting.identity import sum_type
from godb_fast.rewriting.purity import is_immutable
from godb_fast.sql.draft import arg
from godb_fast.sql.scopes import below, fold, own_select

_AGGREGATES: Final = (exp.AggFunc, exp.AnonymousAggFunc)


class CteMaterialization:
    """See the module."""

    name: Final = "cte_materialization@1"

    def changes(self, statement: Statement) -> Iterator[Change]:
        """NOT MATERIALIZED and MATERIALIZED for all, then for each where that is new."""
        entries = {index: entry for index, entry in enumerate(_ctes(statement.tree)) if _may_change(entry)}
        uses = {index: _uses(statement, entry) for index, entry in entries.items()}
        words = {False: "inline", True: "materialized"}
        # What is named once is inlined by both engines as it is.
        changing = {
            wanted: [
                index
                for index, entry in entries.items()
                if entry.args.get("materialized") is not wanted
                and (
                    wanted
                    or (uses[index] > 1 and _is_exact(statement, entry))
                    or (uses[index] == 1 and _says(entry))
                )
            ]
            for wanted in words
        }
        for wanted, word in words.items():
            if len(changing[wanted]) > 1:
                yield self._change(statement, changing[wanted], f"{word}-all", wanted)
        for index, entry in entries.items():
            for wanted, word in words.items():
                if index in changing[wanted]:
                    yield self._change(statement, [index], f"{word}-{index}-{entry.alias}", wanted)

    def _change(self, statement: Statement, indexes: list[int], place: str, wanted: bool) -> Change:
        tree = statement.fresh()
        found = _ctes(tree)
        for index in indexes:
            found[index].set("materialized", wanted)
        names = ", ".join(found[index].alias for index in indexes)
        return Change(place, tree, note=f"{'MATERIALIZED' if wanted else 'NOT MATERIALIZED'} for {names}")


def _ctes(tree: exp.Expression) -> list[exp.CTE]:
    return [node for node in below(tree) if isinstance(node, exp.CTE)]


def _says(entry: exp.CTE) -> bool:
    return entry.args.get("materialized") is not None


def _is_exact(statement: Statement, entry: exp.CTE) -> bool:
    """Whether each computation of a CTE gives the same values: nothing in it rounds as it goes."""
    for node in below(entry.this):
        if isinstance(node, (exp.Count, exp.Min, exp.Max)) or not isinstance(node, _AGGREGATES):
            continue
        value = node.this
        if not isinstance(node, (exp.Sum, exp.Avg)) or not isinstance(value, exp.Column):
            return False
        select = own_select(value)
        scope = None if select is None else statement.names.scope(select)
        found = statement.names.find(value, scope)
        if found is None or sum_type(found.facts.type, statement.dialect) is None:
            return False
    return True


def _may_change(entry: exp.CTE) -> bool:
    clause = entry.parent
    recursive = clause is not None and bool(clause.args.get("recursive"))
    is_query = isinstance(entry.this, (exp.Select, exp.SetOperation))
    return is_query and not recursive and is_immutable(entry.this)


def _uses(statement: Statement, entry: exp.CTE) -> int:
    """Places that may name the CTE (its name alone is looked at)."""
    name = fold(entry.args["alias"].this, statement.dialect)
    return sum(
        isinstance(node, exp.Table)
        and arg(node, "db") is None
        and isinstance(node.this, exp.Identifier)
        and fold(node.this, statement.dialect) == name
        for node in below(statement.tree)
    )
