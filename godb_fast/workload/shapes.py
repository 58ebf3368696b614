"""Texts of one statement as different sources write it: with placeholders, with values, with neither."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from typing import Final

from godb_fast.errors import SqlError
from godb_fast.sql import fingerprint
from godb_fast.sql.fingerprint import MAX_BYTES, has_parameters, has_several_statements, lexer

#: How a statement begins of which an example is kept: nothing else is ever offered for running.
READS: Final = frozenset({"select", "with", "values", "table", "from"})

_FIRST_WORD: Final = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*([A-Za-z]+)", re.DOTALL)
_NUMBER: Final = re.compile(r"\$(\d{1,5})(?!\w)")
#: Inside of a list of literals: strings of each kind and comments, which are passed over, or a placeholder.
_LISTED: Final = re.compile(
    r"[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*'|\$([A-Za-z_]\w*)?\$.*?\$\1\$|--[^\n]*|/\*.*?\*/"
    r"|\$(?P<number>\d{1,5})(?!\w)",
    re.DOTALL,
)
#: In normalized texts: a slot with its sign; what PostgreSQL's own normalization also replaces.
_VALUE: Final = re.compile(
    r"(?:-(?=\?))?\?[a-z]\d*\b"
    r"|(?<=\blimit )\d+|(?<=\boffset )\d+"
    r"|(?<=\binterval )'(?:[^']|'')*'"
    r"|(?<!\bis )(?<!\bnot )\b(?:true|false|null)\b"
)
#: A slot of a normalized text.
_MARK: Final = re.compile(r"\?[a-z]\d*\b")
#: The lexer's kind of token for literals and placeholders.
_SLOT: Final = 5


def reads(sql: str) -> bool:
    """Whether a statement begins as queries do."""
    found = _FIRST_WORD.match(sql[:2000])
    return found is not None and found[1].lower() in READS


def shape(text: str) -> str:
    """What is left of a normalized text where nothing of its values stays, not even their kinds.

    ``a = $1`` of a prepared statement, ``a = 5`` of a log and ``a = 'x'`` are one shape.
    """
    return _VALUE.sub("?", text)


def plain(text: str) -> str:
    """A normalized text for people: ``?`` for each value."""
    return _MARK.sub("?", text)


def numbered(text: str) -> str:
    """A normalized text as a statement with ``$1``, ``$2`` … in its slots."""
    count = 0

    def number(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"${count}"

    return _MARK.sub(number, text)


def placeholders(sql: str, dialect: str) -> list[tuple[int, int, int]]:
    """Start, end (in bytes of UTF-8) and number of each ``$n`` that is one, not part of a string or name.

    Raises
    ------
    SqlError
        If the statement cannot be read.
    """
    found = fingerprint(sql, dialect)
    if len(sql) > MAX_BYTES:
        return []
    raw = sql.encode("utf-8")
    rows = array("i")
    rows.frombytes(lexer(found.dialect).tokens(sql).token_bytes)
    places: list[tuple[int, int, int]] = []
    kinds = iter(found.slot_kinds)
    for row in range(0, len(rows), 4):
        start, end, kind = rows[row], rows[row + 1], rows[row + 2]
        if kind != _SLOT:
            continue
        # Offsets count bytes; latin-1 keeps one character for each.
        text = raw[start:end].decode("latin-1")
        slot = next(kinds)
        if slot == "list":
            for place in _LISTED.finditer(text):
                if place["number"] is not None:
                    places.append((start + place.start(), start + place.end(), int(place["number"])))
        elif slot == "parameter" and (single := _NUMBER.fullmatch(text)) is not None:
            places.append((start, end, int(single[1])))
    return places


def bound(sql: str, values: Sequence[str], dialect: str = "postgres") -> str | None:
    """A statement with SQL texts in place of ``$1``, ``$2`` …; None if a value is missing.

    Raises
    ------
    SqlError
        If the statement cannot be read.
    """
    raw = sql.encode("utf-8")
    pieces: list[bytes] = []
    end = 0
    for start, stop, number in placeholders(sql, dialect):
        if not 1 <= number <= len(values):
            return None
        # A minus before a negative number would begin a comment.
        value = values[number - 1].encode("utf-8")
        pieces += [raw[end:start], b" " if raw[start - 1 : start] == b"-" else b"", value]
        end = stop
    return b"".join([*pieces, raw[end:]]).decode("utf-8")


def quoted(value: str | None) -> str:
    """A value as an SQL literal whose type the server infers from its place."""
    if value is None:
        return "NULL"
    text = value.replace("'", "''")
    # Whatever standard_conforming_strings says, and whoever reads it.
    return f"'{text}'" if "\\" not in value else " E'" + text.replace("\\", "\\\\") + "'"


def is_single(sql: str, dialect: str) -> bool:
    """Whether a text is one statement that can be read."""
    try:
        return len(sql) <= MAX_BYTES and not has_several_statements(fingerprint(sql, dialect))
    except SqlError:
        return False


def is_complete(sql: str, dialect: str) -> bool:
    """Whether a text is one statement with nothing left to be bound."""
    return is_single(sql, dialect) and not has_parameters(fingerprint(sql, dialect))
