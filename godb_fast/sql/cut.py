"""A statement's text asking for one row more than its LIMIT keeps (:class:`godb_fast.core.Cut`)."""

from __future__ import annotations

from array import array
from typing import Final

from godb_fast.core import Cut
from godb_fast.errors import InvalidInput
from godb_fast.sql.fingerprint import lexer

_LIMIT: Final = b"limit"


def widened(sql: str, dialect: str, cut: Cut) -> str:
    """The text with its last LIMIT one row larger; everything else as it is written.

    Raises
    ------
    InvalidInput
        If the text does not end as the statement that the cut was read from does.
    """
    return _limited(sql, dialect, cut.limit, cut.limit + 1)


def narrowed(sql: str, dialect: str, cut: Cut) -> str:
    """The text that :func:`widened` was given."""
    return _limited(sql, dialect, cut.limit + 1, cut.limit)


def _limited(sql: str, dialect: str, before: int, after: int) -> str:
    raw = sql.encode("utf-8")
    rows = array("i")
    rows.frombytes(lexer(dialect).tokens(sql).token_bytes)
    spans = [(rows[at], rows[at + 1]) for at in range(0, len(rows), 4)]
    while spans and raw[slice(*spans[-1])] == b";":
        spans.pop()
    if len(spans) < 2 or raw[slice(*spans[-2])].lower() != _LIMIT:
        raise InvalidInput("the statement does not end with its LIMIT")
    begin, end = spans[-1]
    if raw[begin:end] != str(before).encode():
        raise InvalidInput(f"the statement does not end with LIMIT {before}")
    return (raw[:begin] + str(after).encode() + raw[end:]).decode("utf-8")
