"""What the beginning of a statement tells: its first word, behind comments."""

from __future__ import annotations

from typing import Final

from godb_fast.errors import InvalidInput

#: First words of what only reads, as far as words go.
_READS: Final = frozenset({"select", "with", "values", "table"})


def first_word(sql: str) -> str:
    """First word of a statement in lower case, comments and opening parentheses skipped."""
    rest = sql
    while True:
        rest = rest.lstrip(" \t\r\n\f\v(;")
        if rest.startswith("--"):
            _, _, rest = rest.partition("\n")
        elif rest.startswith("/*"):
            rest = rest[comment_end(rest) :]
        else:
            break
    end = 0
    while end < len(rest) and (rest[end].isalnum() or rest[end] == "_"):
        end += 1
    return rest[:end].lower()


def comment_end(text: str) -> int:
    """Where the block comment ends with which a text begins; PostgreSQL's may be nested."""
    depth, place = 0, 0
    while place < len(text):
        if text.startswith("/*", place):
            depth += 1
            place += 2
        elif text.startswith("*/", place):
            depth -= 1
            place += 2
            if not depth:
                return place
        else:
            place += 1
    return len(text)


def reads(sql: str) -> bool:
    """Whether a statement begins as a query does."""
    return first_word(sql) in _READS


def check_reads(sql: str) -> None:
    """Refuse to steer what is no query.

    Raises
    ------
    InvalidInput
        If the statement begins otherwise.
    """
    if not reads(sql):
        raise InvalidInput("only a SELECT is steered")
