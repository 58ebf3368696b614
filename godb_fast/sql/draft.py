"""A block while it is being read, and the small things that its readers share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from sqlglot import exp

from godb_fast.core import ColumnRef, Relation
from godb_fast.core.conflicts import OperatorTree
from godb_fast.sql.clauses import Clauses, Span
from godb_fast.sql.layout import Leaf
from godb_fast.sql.scopes import Scope, Source, fold, words

_INTEGERS: Final = words(
    "tinyint smallint integer bigint hugeint utinyint usmallint uinteger ubigint int int2 int4 int8 int1 "
    "long short signed"
)
#: Types of which equality is transitive, each among its own. Not so DuckDB's VARIANT and UHUGEINT (which is
#: compared with HUGEINT as DOUBLE), and PostgreSQL's boxes and circles, which are equal if they nearly are.
_KNOWN: Final = re.compile(
    r"(?:bigint|bit|blob|bool|boolean|bpchar|bytea|char|character|cidr|date|decimal|double|enum|float|float4|"
    r"float8|inet|interval|jsonb|macaddr|money|name|numeric|oid|real|time|timestamp|timestamp_m?s|timestamp_ns|"
    r"timestamptz|timetz|tsvector|uuid|varbit)(?:[ (\[].*)?\Z"
)
_TEXTS: Final = frozenset({"text", "varchar", "string", "character varying"})
_SIMPLE_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*\Z")
#: Reserved in DuckDB or PostgreSQL, as column names need quotes.
RESERVED: Final = words(
    "all analyse analyze and anti any array as asc asof asymmetric at authorization binary both case "
    "cast check collate collation column concurrently constraint create cross current_catalog "
    "current_date current_role current_schema current_time current_timestamp current_user default "
    "deferrable desc describe distinct do else end except false fetch for foreign freeze from full "
    "generated glob grant group having ilike in initially inner intersect into is isnull join lambda "
    "lateral leading left like limit localtime localtimestamp map natural not notnull null offset on "
    "only or order outer overlaps pivot placing positional primary qualify references returning right "
    "select semi session_user show similar some summarize symmetric system_user table tablesample then "
    "to trailing true union unique unpivot user using variadic verbose when where window with"
)


@dataclass(frozen=True)
class Output:
    """Columns of a query's result, (folded name or None, type or None) each.

    ``complete`` says whether all of them are known.
    """

    block: int
    columns: tuple[tuple[str | None, str | None], ...]
    complete: bool


@dataclass(eq=False)
class Condition:
    """A conjunct of the block being read.

    Parameters
    ----------
    node, span
        In the syntax tree and among the tokens; None for conditions that the statement does not spell
        (USING, IN, what an OR implies).
    mask, strong : int
        Relations that it mentions, and those on which it is null-rejecting.
    left, right, operator
        For ``column operator column`` over two relations.
    """

    node: exp.Expression | None
    span: Span | None
    mask: int
    strong: int
    left: ColumnRef | None = None
    right: ColumnRef | None = None
    operator: str | None = None


@dataclass(frozen=True)
class Guess:
    """A filter that serves estimates only: branches of an OR, each a list of conjuncts."""

    relation: int
    branches: tuple[tuple[exp.Expression, ...], ...]


@dataclass(eq=False)
class Draft:
    """A block under construction."""

    index: int
    scope: Scope
    clauses: Clauses | None
    sources: list[Source] = field(default_factory=list)
    tree: OperatorTree | None = None
    conditions: list[Condition] = field(default_factory=list)
    #: Numbers of the conditions of WHERE.
    where: list[int] = field(default_factory=list)
    #: Conjuncts of WHERE in order, for printing: number (None for one that always stays), tokens, and
    #: whether it needs parentheses.
    printed: list[tuple[int | None, Span, bool]] = field(default_factory=list)
    guesses: list[Guess] = field(default_factory=list)
    outer_joins: bool = False
    #: Scopes whose sources became relations of this block, with the number of their first.
    absorbed: list[tuple[Scope, int]] = field(default_factory=list)
    leaves: dict[int, Leaf] = field(default_factory=dict)
    edits: dict[int, str] = field(default_factory=dict)
    #: Columns of a relation that ``*`` does not show, because USING merged them with another's.
    hidden: dict[int, list[str]] = field(default_factory=dict)
    #: What columns were found to be, by the identity of their node.
    resolved: dict[int, ColumnRef | None] = field(default_factory=dict)
    reason: str | None = None


def relation_of(source: Source) -> Relation:
    """The relation of a block that a source is."""
    return Relation(source.alias_text.strip('"'), source.table, source.block, source.order)


def made_source(made: Output, alias: str, text: str) -> Source:
    """The result of another block as a relation."""
    columns: dict[str, str] = {}
    types: dict[str, str] = {}
    for name, kind in made.columns:
        if name is not None and name not in columns:
            columns[name] = name
            if kind is not None:
                types[name] = kind
    order = tuple(name if name is not None else "" for name, _ in made.columns)
    return Source(alias, text, columns, types, block=made.block, order=order)


def renamed_output(found: Output, alias: exp.Expression, dialect: str) -> Output:
    """A result whose first columns an alias renames."""
    names = [fold(column, dialect) for column in alias.args.get("columns") or []]
    if not names:
        return found
    columns = tuple(
        (names[place] if place < len(names) else name, kind)
        for place, (name, kind) in enumerate(found.columns)
    )
    return replace(found, columns=columns)


def rename_source(source: Source, columns: list[exp.Expression], dialect: str) -> None:
    """Visible names of a table whose alias renames its first columns."""
    names = [fold(column, dialect) for column in columns]
    owned = list(source.columns.items())
    source.columns = {
        (names[place] if place < len(names) else seen): own for place, (seen, own) in enumerate(owned)
    }


def spelled(source: Source, column: str, dialect: str, alias: str | None = None) -> str:
    """A column with its relation's name, as it is printed."""
    visible = next((seen for seen, own in source.columns.items() if own == column), column)
    folded = column if dialect == "postgres" else fold(column, dialect)
    return f"{alias or source.alias_text}.{quoted(column if folded == visible else visible)}"


def quoted(name: str) -> str:
    """A name, in quotes where it needs them."""
    if _SIMPLE_NAME.match(name) and name not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def family(kind: str | None) -> str | None:
    """Types of one family compare exactly and alike, so that equality among them is transitive."""
    if kind is None:
        return None
    name = kind.lower()
    if name in _INTEGERS:
        return "integer"
    if name in _TEXTS or name.startswith(("varchar(", "character varying(")):
        return "text"
    # Of other names, nobody knows what they stand for: a domain over box, say.
    return name if _KNOWN.match(name) else None


def bare(node: exp.Expression) -> exp.Expression:
    """A node without the parentheses around it."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def described(item: exp.Expression | str) -> str:
    """What stands where a relation was expected, for a reason."""
    if isinstance(item, str):
        return item.rstrip("_s").replace("_", " ")
    if isinstance(item, exp.Table):
        return "a table function"
    return type(item).__name__.lower()


def arg(node: exp.Expression, name: str) -> exp.Expression | None:
    """An argument whose key is a Python keyword: newer parsers append an underscore."""
    found = node.args.get(f"{name}_") or node.args.get(name)
    return found if isinstance(found, exp.Expression) else None


def present(node: exp.Expression) -> set[str]:
    """Names of the arguments that a node has."""
    return {name for name, value in node.args.items() if value not in (None, False, [])}
