"""From a changed tree to text with slots, where the parser's print can be trusted.

sqlglot prints what it understood, which is not always what was written. So a statement is rewritten only if
the print of its unchanged tree has the very tokens of the statement, but for those of which both engines
think the same: AS before an alias, the place of NOT in ``x NOT IN``, NULLS FIRST and LAST where they are
PostgreSQL's defaults, ``substring(a FROM b FOR c)``, ``date '…'`` and ``x::type``.
"""

from __future__ import annotations

import re
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from godb_fast.core import Segments
from godb_fast.errors import GodbError
from godb_fast.rewriting.base import Refused, Statement
from godb_fast.sql.draft import RESERVED
from godb_fast.sql.fingerprint import beyond_limits, fingerprint
from godb_fast.sql.scopes import copied
from godb_fast.sql.tokens import Tokens, read

#: Words that may be missing, or stand elsewhere: the trees are compared as well.
_MOVED: Final = frozenset({"as", "not", "asc", "precision"})
_TYPE_WORDS: Final = frozenset({"precision", "varying", "with", "without", "time", "zone"})
_TYPES: Final = {
    "integer": "int", "int4": "int", "int8": "bigint", "int2": "smallint", "numeric": "decimal",
    "bool": "boolean",
    "float8": "double", "string": "text", "bpchar": "char", "character": "char",
}  # fmt: skip
_TYPED: Final = frozenset({"date", "timestamp"})
_OPERATORS: Final = {"!=": "<>", "==": "="}


def print_sql(tree: exp.Expression, dialect: str) -> str:
    """A tree as text."""
    # The printer changes what it prints; a copy of ours is cheaper than one of its own.
    return copied(tree).sql(dialect=dialect, comments=False, copy=False)


def check_faithful(statement: Statement) -> None:
    """Check that the parser prints this statement as it is written.

    Raises
    ------
    Refused
        With the first difference.
    """
    dialect = statement.dialect
    again = print_sql(statement.tree, dialect)
    try:
        found = fingerprint(again, dialect)
        if beyond_limits(found) is not None:
            raise Refused("the parser prints it too long")
        printed = read(found)
        if sqlglot.parse_one(again, dialect=dialect) != statement.tree:
            raise Refused("the parser reads its own print differently")
    except (SqlglotError, GodbError, RecursionError) as problem:
        raise Refused(f"the parser's print cannot be read: {str(problem).splitlines()[0]}") from None
    ours, theirs = _normal(statement.tokens, dialect), _normal(printed, dialect)
    if ours != theirs:
        place = next(
            (n for n, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
            min(len(ours), len(theirs)),
        )
        raise Refused(f"the parser prints {theirs[place : place + 4]} for {ours[place : place + 4]}")


def to_segments(statement: Statement, tree: exp.Expression) -> Segments:
    """A changed tree as text with slots.

    Raises
    ------
    Refused
        If the print does not say what the tree says.
    """
    text = print_sql(tree, statement.dialect)
    try:
        if sqlglot.parse_one(text, dialect=statement.dialect) != tree:
            raise Refused("the parser reads the changed statement's print differently")
    except (SqlglotError, RecursionError) as problem:
        raise Refused(f"the changed statement cannot be read: {str(problem).splitlines()[0]}") from None
    stand_ins = statement.tokens.stand_ins
    if not stand_ins:
        return (text,)
    pieces: list[str | int] = []
    done = 0
    for found in _stand_in_pattern(stand_ins).finditer(text):
        name = found[1] or found[2]
        slot = stand_ins[name]
        start = found.start()
        if found[2] and _is_signed(statement.tokens, slot):
            start = text.rindex("-", done, start)
        pieces.extend((text[done:start], slot))
        done = found.end()
    pieces.append(text[done:])
    return tuple(piece for piece in pieces if piece != "")


def _stand_in_pattern(stand_ins: dict[str, int]) -> re.Pattern[str]:
    names = "|".join(re.escape(name) for name in sorted(stand_ins, key=len, reverse=True))
    return re.compile(rf"'({names})'|\b({names})(?![\d.])")


def _is_signed(tokens: Tokens, slot: int) -> bool:
    """Whether the sign is part of the slot's literal."""
    number = tokens.slots.index(slot)
    return tokens.kinds[slot] in ("integer", "decimal") and tokens.texts[number].startswith("-")


def _normal(tokens: Tokens, dialect: str) -> list[str]:
    """The words of a statement, brought to one form."""
    words: list[str] = []
    substring: list[int] = []
    number = 0
    while number < len(tokens):
        word = tokens.words[number]
        depth = tokens.depth[number]
        if tokens.slots[number] >= 0:
            word = "?"
        elif word == "substring" and tokens.words[number + 1 : number + 2] == ("(",):
            substring.append(depth + 1)
        elif word == ")" and substring and substring[-1] == depth + 1:
            substring.pop()
        elif word in ("from", "for") and substring and substring[-1] == depth:
            word = ","
        elif word == "nulls" and dialect == "postgres":
            last = words[-1] if words else ""
            if tokens.words[number + 1 : number + 2] == (("first",) if last == "desc" else ("last",)):
                number += 2
                continue
        elif word == "::":
            number = _cast(words, tokens, number)
            continue
        elif word in _TYPED and number + 1 < len(tokens) and tokens.slots[number + 1] >= 0:
            words.extend(("cast", "(", "?", word, ")"))
            number += 2
            continue
        word = _OPERATORS.get(word, word)
        if word not in _MOVED and not (word == ";" and number == len(tokens) - 1):
            words.append(_TYPES.get(word, word))
        number += 1
    return words


def _cast(words: list[str], tokens: Tokens, number: int) -> int:
    """Put ``x::type`` as ``cast(x type)``; the number of the token behind the type."""
    start = len(words) - 1
    if words[start] in (")", "]"):
        depth = 0
        while start >= 0:
            depth += (words[start] in (")", "]")) - (words[start] in ("(", "["))
            if not depth:
                break
            start -= 1
        before = words[start - 1] if start > 0 else ""
        if (
            words[start] == "("
            and before not in RESERVED
            and (before[:1].isalpha() or before[:1] in ("_", '"'))
        ):
            start -= 1
    while start > 1 and words[start - 1] == ".":
        start -= 2
    end = number + 2
    while end < len(tokens) and tokens.words[end] in _TYPE_WORDS:
        end += 1
    kind = [_TYPES.get(word, word) for word in tokens.words[number + 1 : end] if word != "precision"]
    if end < len(tokens) and tokens.words[end] == "(":
        kind.extend(tokens.words[end : tokens.partner[end] + 1])
        end = tokens.partner[end] + 1
    words[start:start] = ["cast", "("]
    words.extend((*kind, ")"))
    return end
