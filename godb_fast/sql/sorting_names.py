"""What entries of ORDER BY and GROUP BY name: a column of the result, an expression, or one of the inputs.

ORDER BY takes a bare name for a column of the result before it takes it for one of an input; GROUP BY does it
the other way round (PostgreSQL's parser, ``findTargetlistEntrySQL92``; DuckDB's binders likewise). Where the
text does not tell which one is meant, nothing is claimed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Final

from sqlglot import exp

from godb_fast.core.schema import Schema
from godb_fast.sql.draft import bare
from godb_fast.sql.scopes import columns_of, fold, words

#: Columns that tables have unasked.
_SYSTEM: Final = words("ctid xmin xmax cmin cmax tableoid oid rowid")
_CALLED: Final = re.compile(r"(\w+)\s*\(")
#: What gives a column of the result no name.
_NAMELESS: Final = (
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.DPipe, exp.Neg, exp.Not, exp.And, exp.Or,
    exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Is, exp.In, exp.Between, exp.Like, exp.ILike,
    exp.Literal, exp.Null, exp.Star,
)  # fmt: skip


class SortingNames:
    """Names in one statement.

    Parameters
    ----------
    nodes : sequence of Expression
        All nodes of the statement.
    schema : Schema, optional
        Without it, an input may have a column of any name.
    """

    def __init__(self, nodes: Sequence[exp.Expression], dialect: str, schema: Schema | None = None) -> None:
        self._nodes = nodes
        self._dialect = dialect
        self._schema = schema

    def ordered(self, entry: exp.Expression, select: exp.Select) -> str | None:
        """An entry of ORDER BY as its text; None if that is uncertain."""
        place = _ordinal(entry)
        if place is not None:
            return self._shown(place, select)
        entry = bare(entry)
        name = self._name(entry)
        if name is None:
            return None if self._names_alias(entry, select) else entry.sql()
        found = {key_of(shown) for shown in select.expressions if self._alias(shown) == name}
        implied = False
        for shown in select.expressions:
            names = self._implied(bare(shown)) if self._alias(shown) is None else frozenset()
            if names is None:
                return None
            if name in names:
                implied = implied or not isinstance(bare(shown), exp.Column)
                found.add(key_of(shown))
        if implied or len(found) > 1 or (found and any(is_star(shown) for shown in select.expressions)):
            # A star may bring a column of that name too.
            return None
        return found.pop() if found else entry.sql()

    def grouped(self, entry: exp.Expression, select: exp.Select) -> frozenset[str] | None:
        """What an entry of GROUP BY may be; None if that is uncertain."""
        place = _ordinal(entry)
        if place is not None:
            shown = self._shown(place, select)
            return None if shown is None else frozenset({shown})
        entry = bare(entry)
        name = self._name(entry)
        if name is None:
            return None if self._names_alias(entry, select) else frozenset({entry.sql()})
        found = set()
        same = False
        for shown in select.expressions:
            if self._alias(shown) == name:
                found.add(key_of(shown))
                inner = bare(shown.this)
                # A column of that name: whoever else has one, the bare name would be ambiguous.
                same = same or (isinstance(inner, exp.Column) and fold(inner.this, self._dialect) == name)
        if not found or (not same and self._may_be_input(name, select)):
            found.add(entry.sql())
        return frozenset(found)

    # -- inside ---------------------------------------------------------------------------------------

    def _name(self, entry: exp.Expression) -> str | None:
        """The bare name that an entry is."""
        if isinstance(entry, exp.Column) and entry.args.get("table") is None:
            return None if isinstance(entry.this, exp.Star) else fold(entry.this, self._dialect)
        return None

    def _alias(self, shown: exp.Expression) -> str | None:
        alias = shown.args.get("alias") if isinstance(shown, exp.Alias) else None
        return None if alias is None else fold(alias, self._dialect)

    def _shown(self, place: int, select: exp.Select) -> str | None:
        shown = select.expressions
        starred = any(is_star(entry) for entry in shown[: place + 1])
        return None if starred or not 0 <= place < len(shown) else key_of(shown[place])

    def _names_alias(self, entry: exp.Expression, select: exp.Select) -> bool:
        """Whether an expression has a bare name that DuckDB may take for an alias of something else."""
        if self._dialect == "postgres" or isinstance(entry, exp.Column):
            return False
        for column in columns_of(entry):
            name = self._name(column)
            for shown in select.expressions:
                if name is not None and self._alias(shown) == name and key_of(shown) != column.sql():
                    return True
        return False

    def _implied(self, shown: exp.Expression) -> frozenset[str] | None:
        """Names by which a column of the result without an alias may go; None if that is not known."""
        if isinstance(shown, exp.Column):
            return (
                frozenset()
                if isinstance(shown.this, exp.Star)
                else frozenset({fold(shown.this, self._dialect)})
            )
        if isinstance(shown, (exp.Paren, exp.Collate)):
            return self._implied(shown.this)
        if isinstance(shown, (exp.Cast, exp.TryCast)):
            kind = re.findall(r"\w+", shown.to.sql(dialect=self._dialect).lower())
            inner = self._implied(bare(shown.this))
            return None if inner is None else inner | frozenset(kind)
        if isinstance(shown, exp.Case):
            other = shown.args.get("default")
            inner = frozenset() if other is None else self._implied(bare(other))
            return None if inner is None else inner | {"case"}
        if isinstance(shown, (exp.Subquery, exp.Select)):
            query = shown.this if isinstance(shown, exp.Subquery) else shown
            first = query.expressions[0] if isinstance(query, exp.Select) and query.expressions else None
            if first is None:
                return None
            alias = self._alias(first)
            return self._implied(bare(first)) if alias is None else frozenset({alias})
        if isinstance(shown, _NAMELESS):
            return frozenset()
        if isinstance(shown, (exp.Func, exp.Window, exp.Filter, exp.WithinGroup)):
            texts = (shown.sql(dialect=self._dialect), shown.sql())
            return frozenset().union(*map(called, texts))
        return None

    def _may_be_input(self, name: str, select: exp.Select) -> bool:
        """Whether an input may have a column of a name."""
        if self._tables is None or name in self._tables or name in _SYSTEM:
            return True
        # Names that derived tables give.
        for node in self._nodes:
            if isinstance(node, exp.Select) and node is not select:
                for shown in node.expressions:
                    alias = self._alias(shown)
                    if name == alias:
                        return True
                    if alias is None and ((given := self._implied(bare(shown))) is None or name in given):
                        return True
        return False

    @cached_property
    def _tables(self) -> frozenset[str] | None:
        """Columns of all tables, and names that the statement gives; None if not all are known."""
        if self._schema is None:
            return None
        common = {
            fold(node.args["alias"].this, self._dialect) for node in self._nodes if isinstance(node, exp.CTE)
        }
        found: set[str] = set()
        for node in self._nodes:
            if isinstance(node, exp.TableAlias):
                found.update(fold(column, self._dialect) for column in node.args.get("columns") or ())
            elif isinstance(node, (exp.Unnest, exp.Lateral, exp.Values, exp.Pivot)):
                return None
            elif isinstance(node, exp.Table):
                if not isinstance(node.this, exp.Identifier):
                    return None
                parts = tuple(
                    fold(node.args[part], self._dialect)
                    for part in ("catalog", "db", "this")
                    if node.args.get(part)
                )
                table = self._schema.resolve(parts)
                if table is not None:
                    # As PostgreSQL keeps them, and as DuckDB compares them.
                    found.update(table.columns)
                    found.update(column.lower() for column in table.columns)
                elif len(parts) > 1 or parts[0] not in common:
                    return None
        return frozenset(found)


def called(text: str) -> frozenset[str]:
    """Names that stand before parentheses, in lower case."""
    return frozenset(_CALLED.findall(text.lower()))


def key_of(shown: exp.Expression) -> str:
    """An entry of a SELECT list without its alias, as text."""
    return bare(shown.this if isinstance(shown, exp.Alias) else shown).sql()


def is_star(entry: exp.Expression) -> bool:
    """Whether an entry of a SELECT list stands for several columns."""
    parts = [entry, entry.this] if isinstance(entry, exp.Column) else [entry]
    return any(isinstance(part, exp.Star) for part in parts)


def _ordinal(entry: exp.Expression) -> int | None:
    if isinstance(entry, exp.Literal) and not entry.is_string and entry.name.isdigit():
        return int(entry.name) - 1
    return None
