"""Which relation a column belongs to: the name rules of the engines, on the parsed statement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlglot import exp

Node = TypeVar("Node", bound=exp.Expression)


class CannotPlan(Exception):
    """Why a block keeps the engine's own plan; never leaves this room."""


@dataclass(eq=False)
class Source:
    """One relation of a block as its columns are seen.

    Parameters
    ----------
    alias : str
        As the names are compared (folded).
    alias_text : str
        As the statement spells it.
    columns : dict of str to str
        From the folded visible name to the column's own name.
    types : dict of str to str
        By own name; missing if unknown.
    complete : bool
        False if there may be more columns than are known.
    """

    alias: str
    alias_text: str
    columns: dict[str, str]
    types: dict[str, str] = field(default_factory=dict)
    complete: bool = True
    table: str | None = None
    block: int | None = None
    order: tuple[str, ...] = ()
    not_null: frozenset[str] = frozenset()
    unique: tuple[tuple[str, ...], ...] = ()
    #: First and last token, where the relation stands in FROM.
    span: tuple[int, int] = (-1, -1)
    #: The tokens of the name alone, for relations that are written as a name.
    name_span: tuple[int, int] = (-1, -1)
    #: Whether the block's SELECT sees its columns.
    visible: bool = True


@dataclass(eq=False)
class Scope:
    """The relations of one SELECT and of those around it."""

    parent: Scope | None
    dialect: str
    sources: list[Source] = field(default_factory=list)
    #: Columns that USING or NATURAL merged: folded name to the relation whose column it stands for.
    merged: dict[str, int] = field(default_factory=dict)
    #: Folded names of the SELECT list's own aliases.
    aliases: frozenset[str] = frozenset()
    #: Whether columns may come from relations that we do not know.
    open: bool = False

    def fold(self, identifier: exp.Expression) -> str:
        """A name as it is compared."""
        return fold(identifier, self.dialect)

    def find(self, column: exp.Column) -> tuple[Scope, int, str]:
        """Scope, relation number and own name of a column.

        Raises
        ------
        CannotPlan
            If there is no such column, or more than one.
        """
        name = self.fold(column.this)
        qualifier = column.args.get("table")
        scope: Scope | None = self
        while scope is not None:
            if qualifier is not None:
                wanted = self.fold(qualifier)
                for number, source in enumerate(scope.sources):
                    if source.alias == wanted and source.visible:
                        if name in source.columns:
                            return scope, number, source.columns[name]
                        if not source.complete:
                            return scope, number, column.name
                        raise CannotPlan(f"{wanted}.{name} is no column")
            else:
                if name in scope.merged:
                    number = scope.merged[name]
                    return scope, number, scope.sources[number].columns[name]
                found = [
                    number
                    for number, source in enumerate(scope.sources)
                    if source.visible and name in source.columns
                ]
                if len(found) == 1:
                    return scope, found[0], scope.sources[found[0]].columns[name]
                if found:
                    raise CannotPlan(f"column {name} is ambiguous")
            if scope.open:
                break
            if scope.parent is not None and self.dialect == "duckdb":
                # What DuckDB would find here before it looks outside.
                named = name if qualifier is None else self.fold(qualifier)
                if (qualifier is None and (named in scope.aliases or named == "rowid")) or any(
                    named in source.columns for source in scope.sources
                ):
                    raise CannotPlan(f"whose column {named} is, is uncertain")
            scope = scope.parent
        raise CannotPlan(f"column {qualifier.name + '.' if qualifier is not None else ''}{name} is not known")


def fold(identifier: Any, dialect: str) -> str:
    """An identifier as it is compared: DuckDB ignores case, PostgreSQL keeps what is quoted."""
    name: str = identifier.name if isinstance(identifier, exp.Expression) else str(identifier)
    if dialect == "postgres" and isinstance(identifier, exp.Identifier) and identifier.quoted:
        return name
    return ascii_lower(name)


def aliases_of(select: exp.Expression, dialect: str) -> frozenset[str]:
    """Folded names of a SELECT list's aliases."""
    return frozenset(
        fold(entry.args["alias"], dialect)
        for entry in select.expressions
        if isinstance(entry, exp.Alias) and entry.args.get("alias")
    )


def words(text: str) -> frozenset[str]:
    """A set of words from a text."""
    return frozenset(text.split())


def ascii_lower(text: str) -> str:
    """Lower case of ASCII letters alone, as both engines fold names."""
    return text.lower() if text.isascii() else "".join(c.lower() if c.isascii() else c for c in text)


def own_select(node: exp.Expression) -> exp.Expression | None:
    """The SELECT or set operation whose part a node directly is."""
    parent = node.parent
    while parent is not None and not isinstance(parent, (exp.Select, exp.SetOperation)):
        parent = parent.parent
    return parent


def below(node: exp.Expression) -> list[exp.Expression]:
    """A node and everything below it, level by level.

    The parser's own walk costs three times as much, and walking is most of what we do.
    """
    found = [node]
    for part in found:
        for value in part.args.values():
            if value.__class__ is list:
                found.extend([entry for entry in value if isinstance(entry, exp.Expression)])
            elif isinstance(value, exp.Expression):
                found.append(value)
    return found


def copied(node: Node) -> Node:
    """A deep copy of a node, without comments: what the parser's own gives, at a part of its price.

    What is noted at nodes (offsets, columns of blocks) is never changed in place, so it is copied flat.
    """
    root = node.__class__()
    todo: list[tuple[exp.Expression, exp.Expression]] = [(node, root)]
    while todo:
        old, new = todo.pop()
        if old._meta is not None:
            new._meta = old._meta.copy()
        if old._type is not None:
            new._type = copied(old._type) if isinstance(old._type, exp.Expression) else old._type
        args: dict[str, object] = {}
        for name, value in old.args.items():
            if isinstance(value, exp.Expression):
                args[name] = child = value.__class__()
                child.parent, child.arg_key, child.index = new, name, None
                todo.append((value, child))
            elif value.__class__ is list:
                entries: list[object] = []
                for place, entry in enumerate(value):
                    if isinstance(entry, exp.Expression):
                        child = entry.__class__()
                        child.parent, child.arg_key, child.index = new, name, place
                        todo.append((entry, child))
                        entries.append(child)
                    else:
                        entries.append(entry)
                args[name] = entries
            else:
                args[name] = value
        new.args = args
    return root


def columns_of(node: exp.Expression) -> list[exp.Column]:
    """All columns below a node, those of subqueries too."""
    return [found for found in below(node) if isinstance(found, exp.Column)]


def first_identifier(node: exp.Expression) -> int:
    """Offset of the first identifier below a node, -1 without one."""
    offsets = [offset for offset in map(start_of, below(node)) if offset >= 0]
    return min(offsets) if offsets else -1


def start_of(node: object) -> int:
    """Where the parser found an identifier (or a literal or star), -1 if it does not say."""
    if not isinstance(node, (exp.Identifier, exp.Literal, exp.Star)) or not node._meta:
        return -1
    return int(node._meta.get("start", -1))


def has_query(node: exp.Expression) -> bool:
    """Whether a condition holds a subquery."""
    return any(isinstance(part, (exp.Select, exp.SetOperation)) for part in below(node))
