"""Where in a user's text an engine's error lies."""

from __future__ import annotations

import re
from typing import Final

from godb_fast.errors import GodbError, SqlError

#: PostgreSQL and DuckDB quote the line and put carets under the place; long lines are cut with dots.
_QUOTED: Final = re.compile(r"\n*LINE (?P<line>\d+): (?P<text>[^\n]*)\n(?P<pad> *)\^[^\n]*", re.DOTALL)
#: PostgreSQL's advice comes behind the place.
_HINT: Final = re.compile(r"^HINT:\s+(?P<text>.*?)(?=^[A-Z]+:\s|\Z)", re.DOTALL | re.MULTILINE)
#: What we put before a statement to ask for its plan or its columns.
_EXPLAIN: Final = re.compile(r"(?:DESCRIBE|EXPLAIN\b(?:\s*\([^)]*\))?)\s*", re.IGNORECASE)


def located(error: GodbError, sql: str, first_line: int = 1) -> GodbError:
    """The error with its place as ``line`` and ``column`` of the text in which ``sql`` begins on a line.

    An error that quotes no place, or one that cannot be found in the statement, comes back on one line.
    """
    message = str(error)
    found = _QUOTED.search(message)
    if found is None:
        line = getattr(error, "line", None)
        if line is None and message.rstrip().endswith("at end of input"):
            # Quoted without a line: there is nothing to point at.
            lines = sql.rstrip().splitlines() or [""]
            return SqlError(_one_line(message), line=len(lines) + first_line - 1, column=len(lines[-1]) + 1)
        if line is None:
            return type(error)(_one_line(message))
        column = getattr(error, "column", None)
        bare = _one_line(str(error.args[0]) if error.args else message)
        return SqlError(bare, line=line + first_line - 1, column=column)
    head = _one_line(message[: found.start()])
    if (hint := _HINT.search(message, found.end())) is not None:
        head = f"{head.removesuffix('.')}. {_one_line(hint['text'])}"
    number = int(found["line"])
    lines = sql.splitlines() or [""]
    if not 1 <= number <= len(lines):
        return type(error)(head)
    at = len(found["pad"]) - len(f"LINE {number}: ")
    quoted = found["text"]
    if number == 1 and (prefix := _EXPLAIN.match(quoted)) is not None and not _EXPLAIN.match(lines[0]):
        at -= prefix.end()
        quoted = quoted[prefix.end() :]
    if quoted.startswith("..."):
        at, quoted = at - 3, quoted[3:]
    start = lines[number - 1].find(quoted.removesuffix("..."))
    column = start + at + 1 if start >= 0 and at >= 0 else None
    return SqlError(head, line=number + first_line - 1, column=column)


def _one_line(message: str) -> str:
    return " ".join(message.split())
