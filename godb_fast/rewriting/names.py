"""What each column of a statement is, and what can be said of it: type, NULL, uniqueness.

Where that is not certain (a relation of unknown columns, a name that USING merged, a name that an alias
of the SELECT list may stand for), a column is not found, and rules leave its place alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from godb_fast.core import Schema
from godb_fast.sql.draft import arg
from godb_fast.sql.scopes import ascii_lower, below, fold


@dataclass(frozen=True)
class ColumnFacts:
    """A column of a relation: how to write its name, and what is known of it."""

    identifier: exp.Identifier
    type: str | None = None
    not_null: bool = False


@dataclass(frozen=True, eq=False)
class Source:
    """A relation in a SELECT's FROM.

    Parameters
    ----------
    alias : str
        As it is compared.
    identifier : Identifier or None
        As it is written.
    columns : mapping of str to ColumnFacts
        By folded name, in order.
    complete : bool
        Whether these are all columns.
    unique : tuple of frozenset of str
        Sets of columns that no two rows share (NULL aside).
    padded : bool
        An outer join may make all of its columns NULL.
    """

    alias: str
    identifier: exp.Identifier | None
    node: exp.Expression
    columns: Mapping[str, ColumnFacts]
    complete: bool
    unique: tuple[frozenset[str], ...] = ()
    padded: bool = False


@dataclass(eq=False)
class Scope:
    """A SELECT, its relations, and the scope around it whose columns it may name."""

    select: exp.Select
    parent: Scope | None
    sources: list[Source] = field(default_factory=list)
    #: Names that USING or NATURAL merges; None if they are not known.
    merged: set[str] | None = field(default_factory=set)
    aliases: frozenset[str] = frozenset()
    #: Inside a recursive CTE.
    recursive: bool = False


@dataclass(frozen=True, eq=False)
class Found:
    """Where a column comes from."""

    scope: Scope
    source: Source
    name: str

    @property
    def facts(self) -> ColumnFacts:
        """What is known of it."""
        return self.source.columns[self.name]

    @property
    def not_null(self) -> bool:
        """Whether it is never NULL in its SELECT's FROM."""
        return self.facts.not_null and not self.source.padded


@dataclass(frozen=True, eq=False)
class _Output:
    columns: dict[str, ColumnFacts]
    complete: bool
    unique: tuple[frozenset[str], ...] = ()


_UNKNOWN = _Output({}, False)


class Names:
    """Resolves the columns of a statement."""

    def __init__(self, tree: exp.Expression, schema: Schema, dialect: str) -> None:
        self.schema = schema
        self.dialect = dialect
        #: By identity of the SELECT.
        self.scopes: dict[int, Scope] = {}
        self._query(tree, None, {}, False)

    def scope(self, select: exp.Expression) -> Scope | None:
        """The scope of a SELECT."""
        return self.scopes.get(id(select))

    def find(self, column: exp.Column, scope: Scope | None) -> Found | None:
        """What a column is that stands in a SELECT (outside of ORDER BY and GROUP BY), None if uncertain."""
        if arg(column, "db") is not None or not isinstance(column.this, exp.Identifier):
            return None
        name = fold(column.this, self.dialect)
        table = column.args.get("table")
        while scope is not None:
            if table is not None:
                wanted = fold(table, self.dialect)
                named = [source for source in scope.sources if source.alias == wanted]
                if len(named) == 1:
                    return Found(scope, named[0], name) if name in named[0].columns else None
                if named or any(wanted in source.columns for source in scope.sources):
                    # DuckDB's structs have fields that are named like columns.
                    return None
            else:
                found = [source for source in scope.sources if name in source.columns]
                incomplete = not all(source.complete for source in scope.sources)
                if scope.merged is None or name in scope.merged or len(found) > 1:
                    return None
                if found:
                    return None if incomplete else Found(scope, found[0], name)
                if (
                    incomplete
                    or name in scope.aliases
                    or name == "rowid"
                    or any(name == s.alias for s in scope.sources)
                ):
                    return None
            scope = scope.parent
        return None

    # -- reading ------------------------------------------------------------------------------------

    def _query(
        self, node: exp.Expression, parent: Scope | None, ctes: Mapping[str, _Output], recursive: bool
    ) -> _Output:
        while isinstance(node, exp.Subquery) and arg(node, "with") is None:
            node = node.this
        ctes = self._with(node, parent, ctes, recursive)
        if isinstance(node, exp.Subquery):
            return self._query(node.this, parent, ctes, recursive)
        if isinstance(node, exp.SetOperation):
            left = self._query(node.this, parent, ctes, recursive)
            right = self._query(node.expression, parent, ctes, recursive)
            for name in ("order", "limit", "offset"):
                if (part := arg(node, name)) is not None:
                    self._nested(part, None, ctes, recursive)
            if not left.complete or len(left.columns) != len(right.columns) or not right.complete:
                return _Output(
                    {name: ColumnFacts(facts.identifier) for name, facts in left.columns.items()},
                    left.complete,
                )
            both = zip(left.columns.items(), right.columns.values(), strict=True)
            return _Output(
                {
                    name: ColumnFacts(
                        ours.identifier,
                        ours.type if ours.type == theirs.type else None,
                        ours.not_null and theirs.not_null,
                    )
                    for (name, ours), theirs in both
                },
                True,
            )
        if isinstance(node, exp.Select):
            return self._select(node, parent, ctes, recursive)
        return _UNKNOWN

    def _with(
        self, node: exp.Expression, parent: Scope | None, ctes: Mapping[str, _Output], recursive: bool
    ) -> Mapping[str, _Output]:
        clause = arg(node, "with")
        if clause is None:
            return ctes
        known = dict(ctes)
        for entry in clause.expressions:
            name = fold(entry.args["alias"].this, self.dialect)
            if clause.args.get("recursive"):
                known[name] = _UNKNOWN
                self._query(entry.this, parent, known, True)
            else:
                made = self._query(entry.this, parent, known, recursive)
                known[name] = self._renamed(made, entry.args["alias"])
        return known

    def _select(
        self, node: exp.Select, parent: Scope | None, ctes: Mapping[str, _Output], recursive: bool
    ) -> _Output:
        scope = self.scopes[id(node)] = Scope(node, parent, recursive=recursive)
        scope.aliases = frozenset(
            fold(entry.args["alias"], self.dialect)
            for entry in node.expressions
            if isinstance(entry, exp.Alias) and isinstance(entry.args.get("alias"), exp.Identifier)
        )
        origin = arg(node, "from")
        inputs: list[exp.Expression] = []
        if origin is not None:
            inputs.append(origin.this)
            self._source(origin.this, scope, ctes, recursive)
        joins = node.args.get("joins") or []
        for join in joins:
            before = len(scope.sources)
            side = str(join.args.get("side") or "").upper()
            self._source(join.this, scope, ctes, recursive)
            if side in ("RIGHT", "FULL"):
                scope.sources[:before] = [_padded(source) for source in scope.sources[:before]]
            if side in ("LEFT", "FULL"):
                scope.sources[before:] = [_padded(source) for source in scope.sources[before:]]
            if join.args.get("method"):
                scope.merged = None
            for name in join.args.get("using") or []:
                if scope.merged is not None:
                    scope.merged.add(fold(name, self.dialect))
            inputs.append(join.this)
        for lateral in (*(node.args.get("laterals") or []), *(node.args.get("pivots") or [])):
            scope.merged = None
            inputs.append(lateral)
        for name, value in node.args.items():
            if name in ("from", "from_", "with", "with_", "laterals", "pivots"):
                continue
            for part in value if isinstance(value, list) else [value]:
                if name == "joins":
                    if (condition := part.args.get("on")) is not None:
                        self._nested(condition, scope, ctes, recursive)
                elif isinstance(part, exp.Expression):
                    self._nested(part, scope, ctes, recursive)
        return self._output(node, scope)

    def _nested(
        self, node: exp.Expression, scope: Scope | None, ctes: Mapping[str, _Output], recursive: bool
    ) -> None:
        """Read the queries below an expression."""
        if isinstance(node, (exp.Select, exp.SetOperation, exp.Subquery)):
            self._query(node, scope, ctes, recursive)
            return
        for child in node.iter_expressions():
            self._nested(child, scope, ctes, recursive)

    def _source(
        self, node: exp.Expression, scope: Scope, ctes: Mapping[str, _Output], recursive: bool
    ) -> None:
        alias = node.args.get("alias")
        identifier = alias.this if isinstance(alias, exp.TableAlias) else None
        made = _UNKNOWN
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            identifier = identifier or node.this
            made = self._table(node, ctes)
            if node.args.get("joins") or node.args.get("pivots") or node.args.get("sample"):
                made, scope.merged = _UNKNOWN, None
        elif isinstance(node, exp.Subquery) and isinstance(node.this, (exp.Select, exp.SetOperation)):
            made = self._query(node, scope.parent, ctes, recursive)
            if node.args.get("joins") or node.args.get("pivots"):
                made, scope.merged = _UNKNOWN, None
        else:
            # Parenthesised joins, functions, LATERAL: their names are not read.
            scope.merged = None
            self._nested(node, None, ctes, recursive)
        if isinstance(alias, exp.TableAlias):
            made = self._renamed(made, alias)
        name = fold(identifier, self.dialect) if isinstance(identifier, exp.Identifier) else ""
        scope.sources.append(Source(name, identifier, node, made.columns, made.complete, made.unique))

    def _table(self, node: exp.Table, ctes: Mapping[str, _Output]) -> _Output:
        parts = [part for part in (arg(node, "catalog"), arg(node, "db"), node.this) if part is not None]
        if len(parts) == 1 and (name := fold(node.this, self.dialect)) in ctes:
            return ctes[name]
        table = self.schema.resolve(tuple(self._own_name(part) for part in parts))
        if table is None:
            return _UNKNOWN
        columns = {
            self._folded(name): ColumnFacts(identifier_for(name), kind, name in table.not_null)
            for name, kind in zip(table.columns, table.types, strict=True)
        }
        unique = tuple(frozenset(map(self._folded, key)) for key in table.unique)
        return _Output(columns, len(columns) == len(table.columns), unique)

    def _own_name(self, part: exp.Expression) -> str:
        return fold(part, self.dialect) if self.dialect == "postgres" else part.name

    def _folded(self, name: str) -> str:
        return name if self.dialect == "postgres" else ascii_lower(name)

    def _renamed(self, made: _Output, alias: exp.Expression) -> _Output:
        names = alias.args.get("columns") or []
        if not names:
            return made
        if not made.complete or len(names) > len(made.columns):
            return _UNKNOWN
        old = list(made.columns)
        renames = {
            old[place]: (fold(name, self.dialect), name)
            for place, name in enumerate(names)
            if isinstance(name, exp.Identifier)
        }
        columns = {}
        for name, facts in made.columns.items():
            new, identifier = renames.get(name, (name, facts.identifier))
            columns[new] = ColumnFacts(identifier, facts.type, facts.not_null)
        unique = tuple(frozenset(renames.get(n, (n,))[0] for n in key) for key in made.unique)
        return _Output(columns, len(columns) == len(made.columns), unique)

    def _output(self, node: exp.Select, scope: Scope) -> _Output:
        columns: dict[str, ColumnFacts] = {}
        count = 0
        complete = True
        for entry in node.expressions:
            shown = self._shown(entry, scope)
            if shown is None:
                return _UNKNOWN
            for name, facts in shown:
                count += 1
                columns[name] = facts
        return _Output(columns, complete and count == len(columns))

    def _shown(self, entry: exp.Expression, scope: Scope) -> list[tuple[str, ColumnFacts]] | None:
        """Columns that an entry of the SELECT list stands for, None if that is not known."""
        if isinstance(entry, exp.Star) or (
            isinstance(entry, exp.Column) and isinstance(entry.this, exp.Star)
        ):
            star = entry if isinstance(entry, exp.Star) else entry.this
            if (
                any(star.args.get(name) for name in ("except_", "except", "replace", "rename"))
                or scope.merged != set()
            ):
                return None
            sources = scope.sources
            if isinstance(entry, exp.Column):
                wanted = fold(entry.args["table"], self.dialect)
                sources = [source for source in sources if source.alias == wanted]
                if len(sources) != 1:
                    return None
            if not all(source.complete for source in sources):
                return None
            return [
                (name, ColumnFacts(facts.identifier, facts.type, facts.not_null and not source.padded))
                for source in sources
                for name, facts in source.columns.items()
            ]
        identifier = entry.args.get("alias") if isinstance(entry, exp.Alias) else None
        value = entry.this if isinstance(entry, exp.Alias) else entry
        found = self.find(value, scope) if isinstance(value, exp.Column) else None
        if identifier is None and isinstance(value, exp.Column):
            identifier = value.this
        if not isinstance(identifier, exp.Identifier):
            return None
        facts = ColumnFacts(identifier)
        if found is not None:
            facts = ColumnFacts(
                identifier, found.facts.type, found.not_null and not _grouping_sets(scope.select)
            )
        elif isinstance(value, exp.Count):
            facts = ColumnFacts(identifier, "bigint" if self.dialect == "postgres" else "BIGINT", True)
        return [(fold(identifier, self.dialect), facts)]


def _grouping_sets(select: exp.Select) -> bool:
    """Whether GROUP BY may show NULL for a column that has none."""
    group = select.args.get("group")
    if not isinstance(group, exp.Group):
        return False
    return any(value for name, value in group.args.items() if name != "expressions") or any(
        isinstance(part, (exp.Cube, exp.Rollup, exp.GroupingSets)) for part in below(group)
    )


def _padded(source: Source) -> Source:
    return Source(
        source.alias, source.identifier, source.node, source.columns, source.complete, source.unique, True
    )


def identifier_for(name: str) -> exp.Identifier:
    """A column's own name, quoted where it must be."""
    plain = name.isascii() and name.isidentifier() and name == name.lower()
    return exp.to_identifier(name, quoted=not plain)
