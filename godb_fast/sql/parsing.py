"""A statement that has not been seen before: parsed once, with stand-ins for its literals."""

from __future__ import annotations

import logging
from dataclasses import replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from godb_fast.core import Block, LiteralSlot, Schema, Template
from godb_fast.errors import GodbError
from godb_fast.sql.blocks import BlockReader
from godb_fast.sql.fingerprint import (
    Fingerprint,
    beyond_limits,
    fingerprint,
    has_hints,
    has_several_statements,
)
from godb_fast.sql.layout import Syntax
from godb_fast.sql.order import cut_of, order_sensitivity
from godb_fast.sql.scopes import below
from godb_fast.sql.tokens import Tokens, read

#: First words of what is a template; everything else passes through.
_FIRST = frozenset({"select", "with", "from", "("})
_WRITES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Command)


def parse_template(statement: Fingerprint | str | bytes, dialect: str, schema: Schema) -> Template:
    """Template of a statement: its tree of blocks, each with its graph.

    What cannot be planned never fails: the template (or the block) then has a reason, and the engine gets
    the statement as it is.

    Raises
    ------
    SqlError
        If the text is not even made of tokens.
    """
    found = fingerprint(statement, dialect) if isinstance(statement, (str, bytes)) else statement
    bare = Template(
        found.hash,
        found.text,
        dialect,
        tuple(LiteralSlot(index, kind) for index, kind in enumerate(found.slot_kinds)),
    )
    reason = beyond_limits(found)
    if reason is not None:
        return replace(bare, reason=reason)
    if not found.tokens:
        return replace(bare, reason="an empty statement")
    if has_several_statements(found):
        return replace(bare, reason="several statements")
    if dialect == "postgres" and has_hints(found):
        return replace(bare, reason="the statement carries hints of its own")
    tokens = read(found)
    if tokens.words[0] not in _FIRST:
        return replace(bare, reason="not a SELECT")
    parsed = parse_statement(tokens.parse_text, dialect)
    if isinstance(parsed, str):
        return replace(bare, reason=parsed)
    blocks: list[Block] = []
    reader = BlockReader(tokens, dialect, schema, blocks)
    try:
        nodes = below(parsed)
        for part in nodes:
            if isinstance(part, _WRITES):
                return replace(bare, reason=f"{type(part).__name__.upper()} inside of a SELECT")
        reader.query(parsed, None, None, {}, "main")
        sensitive = order_sensitivity(nodes, dialect, schema)
        cut = cut_of(parsed, nodes, dialect, schema) if sensitive is not None else None
    except RecursionError:
        return replace(bare, reason="nested too deeply to be read")
    return replace(
        bare,
        blocks=tuple(blocks),
        reason=sensitive,
        syntax=Syntax(tokens, reader.layouts),
        order_sensitive=sensitive,
        cut=cut,
    )


def parse_statement(text: str, dialect: str) -> exp.Expression | str:
    """The statement's syntax tree, or why there is none."""
    log = logging.getLogger("sqlglot")
    level = log.level
    try:
        # The parser warns about what it only half understands; that is our reason, not the user's log.
        log.setLevel(logging.ERROR)
        parsed = sqlglot.parse_one(text, dialect=dialect)
    except SqlglotError as problem:
        first = str(problem).splitlines()[0].removesuffix(".")
        return f"the parser does not understand it: {first}"
    except RecursionError:
        return "nested too deeply to be parsed"
    finally:
        log.setLevel(level)
    if not isinstance(parsed, (exp.Select, exp.SetOperation, exp.Subquery)):
        return "not a SELECT"
    if isinstance(parsed, exp.Select) and parsed.args.get("into"):
        return "SELECT INTO"
    return parsed


def read_view(reader: BlockReader, parent: int, name: str, text: str) -> int:
    """Blocks of a view, for estimates; the number of its outermost."""
    start = len(reader.blocks)
    reason: str | None
    try:
        found = fingerprint(text, reader.dialect)
        reason = beyond_limits(found)
        tokens: Tokens | None = read(found) if reason is None else None
    except GodbError as problem:
        tokens, reason = None, str(problem)
    if tokens is not None:
        parsed = parse_statement(tokens.parse_text, reader.dialect)
        if isinstance(parsed, str):
            reason = parsed
        else:
            inner = BlockReader(tokens, reader.dialect, reader.schema, reader.blocks, reader.view_depth + 1)
            return inner.query(parsed, parent, None, {}, "view").block
    del reader.blocks[start:]
    return reader.reserve(parent, "view", f"view {name}: {reason}")
