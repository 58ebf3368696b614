"""Statements of an SQL script, with their names and lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from godb_fast.errors import SqlError

_TOKEN: Final = re.compile(
    r"(?P<line>--[^\n]*)"
    r"|(?P<block>/\*)"
    r"|(?P<escaped>\b[eE]'(?:[^'\\]|''|\\.)*(?P<escaped_end>')?)"
    r"|(?P<string>'(?:[^']|'')*(?P<string_end>')?)"
    r'|(?P<name>"(?:[^"]|"")*(?P<name_end>")?)'
    r"|(?P<dollar>\$(?P<tag>[A-Za-z_]\w*)?\$)"
    r"|(?P<end>;)",
    re.DOTALL,
)
_NAME: Final = re.compile(r"--\s*name\s*:\s*(.*\S)", re.IGNORECASE)
_CALLS: Final = re.compile(r"--\s*calls\s*:\s*([1-9]\d{0,17})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """One statement, without its semicolon; ``line`` is where its first word stands.

    ``calls`` is how often the workload runs it, where a comment ``-- calls: 20`` says so.
    """

    name: str
    sql: str
    line: int
    calls: int = 1


def split(text: str) -> list[Statement]:
    """The statements of a text, split at semicolons outside strings, quoted names and comments.

    Raises
    ------
    SqlError
        Where a string, a quoted name or a comment does not end.
    """
    statements: list[Statement] = []
    taken: dict[str, int] = {}
    begin = position = 0
    name: str | None = None
    calls = 1
    while True:
        token = _TOKEN.search(text, position)
        if token is None or token.lastgroup == "end" or token["end"] is not None:
            stop = len(text) if token is None else token.start()
            first = _first_word(text, begin, stop)
            if first is not None:
                line = text.count("\n", 0, first) + 1
                label = name or f"statement {len(statements) + 1}"
                taken[label] = taken.get(label, 0) + 1
                if taken[label] > 1:
                    label = f"{label} ({taken[label]})"
                statements.append(Statement(label, text[first:stop].strip(), line, calls))
                name, calls = None, 1
            if token is None:
                return statements
            begin = position = token.end()
            continue
        position = token.end()
        if token["line"] is not None:
            named = _NAME.match(token["line"])
            if named is not None:
                name = named[1]
            elif (counted := _CALLS.fullmatch(token["line"])) is not None:
                calls = int(counted[1])
        elif token["block"] is not None:
            position = _end_of_comment(text, token.start())
        elif token["dollar"] is not None:
            position = text.find(token["dollar"], token.end()) + len(token["dollar"])
            if position < token.end():
                raise _unfinished(text, token.start(), "string")
        else:
            for kind, what in (("escaped", "string"), ("string", "string"), ("name", "quoted name")):
                if token[kind] is not None and token[f"{kind}_end"] is None:
                    raise _unfinished(text, token.start(), what)


def _end_of_comment(text: str, start: int) -> int:
    """Behind a block comment; they nest."""
    depth = 0
    for mark in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    raise _unfinished(text, start, "comment")


def _first_word(text: str, begin: int, stop: int) -> int | None:
    """Where a statement begins, behind white space and comments; None if there is nothing else."""
    position = begin
    while position < stop:
        if text[position].isspace():
            position += 1
        elif text.startswith("--", position):
            newline = text.find("\n", position, stop)
            position = stop if newline < 0 else newline + 1
        elif text.startswith("/*", position):
            position = _end_of_comment(text, position)
        else:
            return position
    return None


def _unfinished(text: str, at: int, what: str) -> SqlError:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return SqlError(f"the {what} that begins here does not end", line=line, column=column)
