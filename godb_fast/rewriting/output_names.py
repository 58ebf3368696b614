"""The names that the engines give to output columns without an alias."""

from __future__ import annotations

import re
from typing import Final

from sqlglot import exp

from godb_fast.rewriting.join_block import JoinBlock, Unsuitable, identifier_for, ref_of, refs_below
from godb_fast.rewriting.keywords import KEYWORDS
from godb_fast.sql.scopes import below

_AGGREGATES: Final[dict[type, str]] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Min: "min",
    exp.Max: "max",
    exp.Avg: "avg",
}
_SIMPLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_names(block: JoinBlock) -> None:
    """Refuse a block with output columns whose names we do not know, and so could not keep.

    Raises
    ------
    Unsuitable
        If there is one.
    """
    for item in block.select.expressions:
        if _changes(item) and output_name(block, item) is None:
            raise Unsuitable("an output column without a name of its own")


def keep_name(block: JoinBlock, item: exp.Expression) -> exp.Expression:
    """An item of the SELECT list under the name that the engine gives it, so that it may be changed."""
    name = output_name(block, item)
    if isinstance(item, exp.Alias) or name is None or not _changes(item):
        return item
    return exp.Alias(this=item, alias=identifier_for(name))


def output_name(block: JoinBlock, item: exp.Expression) -> str | None:
    """Name of an output column; None if we do not know it.

    Known are those of columns and of simple aggregates: PostgreSQL names these after the function, DuckDB
    prints the call.
    """
    if isinstance(item, exp.Alias):
        return str(item.alias)
    ref = ref_of(item)
    return ref[1] if ref is not None else call_name(item, block.dialect)


def call_name(item: exp.Expression, dialect: str) -> str | None:
    """Name of an output column that is a simple aggregate without an alias; None if we do not know it."""
    word = _AGGREGATES.get(type(item))
    if word is None or dialect == "postgres":
        return word
    argument = item.this
    if isinstance(argument, exp.Star):
        return "count_star()" if word == "count" else None
    distinct = isinstance(argument, exp.Distinct)
    if distinct:
        argument = argument.expressions[0] if len(argument.expressions) == 1 else None
    if not isinstance(argument, exp.Column):
        return None
    parts = [part for part in (argument.args.get("table"), argument.this) if part is not None]
    if not all(isinstance(part, exp.Identifier) and _is_bare(part) for part in parts):
        return None
    return f"{word}({'DISTINCT ' if distinct else ''}{'.'.join(part.name for part in parts)})"


def _changes(item: exp.Expression) -> bool:
    return bool(refs_below(item)) or any(isinstance(part, exp.AggFunc) for part in below(item))


def _is_bare(part: exp.Identifier) -> bool:
    """Whether DuckDB prints an identifier as it is spelled here."""
    return (
        not part.args.get("quoted")
        and _SIMPLE_NAME.fullmatch(part.name) is not None
        and part.name.lower() not in KEYWORDS
    )
