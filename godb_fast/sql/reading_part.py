"""The SELECT inside of a statement that writes its rows somewhere."""

from __future__ import annotations

from array import array
from typing import Final

from godb_fast.sql.fingerprint import lexer

_BEGINS: Final = frozenset({"select", "with", "values", "table"})
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")
#: Words, outside of brackets, that end the query of an INSERT or CREATE TABLE.
_ENDS: Final = (("on", "conflict"), ("returning",), ("with", "no", "data"), ("with", "data"))


def reading_part(sql: str, dialect: str) -> str | None:
    """The query of CREATE TABLE or VIEW … AS, INSERT … SELECT or COPY (…); None if there is none.

    The text as it is written, so that exploring it says what would become of the whole.
    """
    raw = sql.encode("utf-8")
    rows = array("i")
    rows.frombytes(lexer(dialect).tokens(sql).token_bytes)
    spans = [(rows[at], rows[at + 1]) for at in range(0, len(rows), 4)]
    words = [raw[begin:end].decode("utf-8", "replace").lower() for begin, end in spans]
    if not words or words[0] not in ("create", "insert", "copy"):
        return None
    depth, outside = 0, []
    for number, word in enumerate(words):
        if word in _CLOSING:
            depth -= 1
        if depth == 0:
            outside.append(number)
        if word in _OPENING:
            depth += 1
    if words[0] == "copy":
        return _within(raw, spans, words) if len(words) > 1 and words[1] == "(" else None
    places = [number for number in outside if words[number] in _BEGINS]
    if words[0] == "create":
        places = [number for number in places if words[number - 1] == "as"]
    if not places:
        return None
    first = places[0]
    last = next(
        (number for number in outside if number > first and _ends(words, number)),
        len(words) - (words[-1] == ";"),
    )
    return raw[spans[first][0] : spans[last - 1][1]].decode("utf-8")


def _ends(words: list[str], number: int) -> bool:
    return any(tuple(words[number : number + len(end)]) == end for end in _ENDS)


def _within(raw: bytes, spans: list[tuple[int, int]], words: list[str]) -> str | None:
    """What stands in the bracket behind COPY."""
    depth = 0
    for number in range(1, len(words)):
        depth += (words[number] in _OPENING) - (words[number] in _CLOSING)
        if depth == 0:
            inside = raw[spans[1][1] : spans[number][0]].decode("utf-8").strip()
            return inside if number > 2 and words[2] in _BEGINS else None
    return None
