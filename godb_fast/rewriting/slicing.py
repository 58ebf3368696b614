"""Parts of a query: the same statement over the rows whose key leaves one remainder.

A statement that does not finish cannot be compared with its rewrite; on parts of a relation of its outermost
SELECT both forms finish. Agreement on parts is evidence, not proof: the proof is the rule's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from godb_fast.core import Schema, Template
from godb_fast.rewriting.applying import read_statement
from godb_fast.rewriting.base import Refused, Statement
from godb_fast.rewriting.correlation import conjuncts
from godb_fast.rewriting.names import Scope, Source
from godb_fast.rewriting.printing import to_segments
from godb_fast.sql.draft import arg
from godb_fast.sql.scopes import below, copied

_INTEGERS = frozenset(
    {"tinyint", "smallint", "integer", "int", "int2", "int4", "int8", "bigint", "utinyint", "usmallint"}
    | {"uinteger", "ubigint"}
)
#: How the text of a parameter begins, in any style.
_PARAMETERS = ("?", "%", "$", ":")


@dataclass(frozen=True)
class SliceKey:
    """An integer column of a relation in the outermost SELECT, as it is written.

    ``table`` is the canonical name of a base table, None for what a CTE computes. ``outer`` says that a
    subquery inside names columns of the relation: it is computed once for each of its rows, wherever the
    engine does that, so that parts of this relation are what costs less. ``tied`` columns are those that it
    names, which often have few values.
    """

    alias: str
    column: str
    unique: bool
    table: str | None = None
    outer: bool = False
    tied: bool = False

    def __str__(self) -> str:
        return f"{self.alias}.{self.column}"


def slice_keys(template: Template, schema: Schema) -> tuple[SliceKey, ...]:
    """Columns by whose remainders a statement may be cut into parts, those first whose parts cost least."""
    try:
        statement = read_statement(template, schema)
    except (Refused, RecursionError):
        return ()
    return tuple(key for key, _, _ in _keys(statement))


def sliced(
    template: Template,
    schema: Schema,
    literals: Sequence[str | Sequence[str]],
    key: SliceKey,
    parts: int,
    part: int,
    *,
    all_groups: bool = False,
) -> str:
    """Text of one part of a statement, for literals' source texts by slot.

    Parameters
    ----------
    all_groups : bool
        Groups that HAVING would leave out are rows too, with its condition as another column: a part's groups
        are small, and forms that agree on each group and on the condition agree on what it leaves.

    Raises
    ------
    Refused
        If the statement has no such key, or no HAVING that can be a column.
    """
    statement = read_statement(template, schema)
    source = next((entry for found, entry, _ in _keys(statement) if found == key), None)
    if source is None:
        raise Refused(f"nothing can be cut by {key}")
    tree = statement.fresh()
    select = _outermost(tree)
    assert select is not None
    assert source.identifier is not None
    column = exp.Column(this=copied(source.columns[key.column].identifier), table=copied(source.identifier))
    remainder = exp.EQ(
        this=exp.Mod(this=column, expression=exp.Literal.number(parts)), expression=exp.Literal.number(part)
    )
    where = arg(select, "where")
    if where is None:
        select.set("where", exp.Where(this=remainder))
    else:
        _conjoin(where, remainder)
    texts = [text if isinstance(text, str) else ", ".join(text) for text in literals]
    if all_groups:
        _having_as_column(statement, select, texts)
    return "".join(
        piece if isinstance(piece, str) else texts[piece] for piece in to_segments(statement, tree)
    )


def _conjoin(where: exp.Expression, remainder: exp.Expression) -> None:
    """Add a condition beside one without a subquery: rules count subqueries level by level, and one that goes
    a level down could change places with another."""
    parts = conjuncts(where.this)
    before = next((part for part in parts if not part.find(exp.Query)), where.this)
    held = copied(before)
    if isinstance(held, (exp.Or, exp.Xor)):
        held = exp.Paren(this=held)
    # Within parentheses: without them, the print would be read as another tree.
    before.replace(exp.Paren(this=exp.And(this=held, expression=remainder)))


def _having_as_column(statement: Statement, select: exp.Select, texts: Sequence[str]) -> None:
    having = arg(select, "having")
    if having is None or arg(select, "group") is None:
        raise Refused("there is no HAVING over groups")
    for part in below(having):
        slot = statement.slot(part)
        # A subquery has its rewrites where it stands, and parameters count by their places.
        if isinstance(part, exp.Query) or (slot is not None and texts[slot].startswith(_PARAMETERS)):
            raise Refused("HAVING holds a subquery or a parameter")
    name = exp.to_identifier(statement.unused("having_holds"), quoted=True)
    select.append("expressions", exp.Alias(this=exp.Paren(this=having.this), alias=name))
    select.set("having", None)


def _table(node: exp.Table, schema: Schema) -> str | None:
    found = schema.resolve(tuple(part.name for part in node.parts))
    return None if found is None else found.name


def _outermost(tree: exp.Expression) -> exp.Select | None:
    while isinstance(tree, exp.Subquery):
        tree = tree.this
    return tree if isinstance(tree, exp.Select) else None


def _keys(statement: Statement) -> list[tuple[SliceKey, Source, bool]]:
    select = _outermost(statement.tree)
    scope = None if select is None else statement.names.scope(select)
    if scope is None or select is None:
        return []
    tied = _tied(statement, select, scope)
    found = []
    for source in scope.sources:
        # Rows that an outer join makes have no key.
        if source.padded or source.identifier is None or not isinstance(source.node, exp.Table):
            continue
        table = _table(source.node, statement.schema) if source.unique else None
        for name, facts in source.columns.items():
            if facts.type is not None and facts.type.lower() in _INTEGERS:
                unique = frozenset({name}) in source.unique
                key = SliceKey(
                    source.alias,
                    name,
                    unique,
                    table,
                    outer=any(alias == source.alias for alias, _ in tied),
                    tied=(source.alias, name) in tied,
                )
                found.append((key, source, unique))
    found.sort(key=lambda entry: (not entry[0].outer, entry[0].tied, not entry[0].unique))
    return found


def _tied(statement: Statement, select: exp.Expression | None, scope: Scope) -> set[tuple[str, str]]:
    """Columns of a SELECT that subqueries inside of it name: (relation, column)."""
    found = set()
    for inner in statement.names.scopes.values():
        if inner.parent is None or inner.select is select:
            continue
        for column in below(inner.select):
            if isinstance(column, exp.Column):
                where = statement.names.find(column, inner)
                if where is not None and where.scope is scope:
                    found.add((where.source.alias, where.name))
    return found
