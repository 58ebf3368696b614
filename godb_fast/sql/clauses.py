"""Where the clauses of a SELECT stand among the tokens, and the conjuncts within them.

Only what brackets and keywords say is used here; the meaning comes from the parser. Each span that is found
for a node of the syntax tree is checked against the positions of the identifiers in it, so that the two
views of a statement can never drift apart unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from godb_fast.sql.tokens import Tokens

#: (first token, one past the last).
Span = tuple[int, int]

_SET_OPERATIONS: Final = frozenset({"union", "intersect", "except"})
_AFTER_WHERE: Final = frozenset(
    {"group", "having", "order", "limit", "offset", "fetch", "window", "qualify", "for", "using", "where"}
)
_JOINING: Final = frozenset(
    {"join", "inner", "cross", "natural", "full", "semi", "anti", "asof", "positional", "on", "using"}
)
_SIDES: Final = frozenset({"join", "outer", "semi", "anti"})


@dataclass(frozen=True)
class Clauses:
    """One SELECT: its first token and end, its FROM token, its WHERE token, and where FROM and WHERE end.

    ``origin`` and ``where`` are -1 if there is no such clause.
    """

    select: int
    end: int
    origin: int
    where: int
    body_end: int


def selects(tokens: Tokens) -> list[Clauses]:
    """Every SELECT of the statement, in the order of the text."""
    return [
        _clauses(tokens, number)
        for number, word in enumerate(tokens.words)
        if word == "select" and tokens.slots[number] < 0 and not _is_name(tokens, number)
    ]


def _is_name(tokens: Tokens, number: int) -> bool:
    """Whether a keyword is rather a name: after a dot, or after AS."""
    return number > 0 and tokens.words[number - 1] in (".", "as")


def _clauses(tokens: Tokens, select: int) -> Clauses:
    level = tokens.depth[select]
    origin = where = body_end = -1
    number = select + 1
    while number < len(tokens):
        if tokens.depth[number] < level or tokens.words[number] == ";":
            break
        if tokens.depth[number] == level and tokens.slots[number] < 0:
            word = tokens.words[number]
            if word in _SET_OPERATIONS and not _is_name(tokens, number):
                break
            if word == "from" and origin < 0 and tokens.words[number - 1] != "distinct":
                origin = number
            elif origin >= 0 and body_end < 0 and word in _AFTER_WHERE and not _is_name(tokens, number):
                if word == "where":
                    where = number
                elif word != "using" or tokens.words[number + 1 : number + 2] == ("sample",):
                    body_end = number
            if tokens.partner[number] > number:
                number = tokens.partner[number]
        number += 1
    return Clauses(select, number, origin, where, number if body_end < 0 else body_end)


def conjuncts(tokens: Tokens, span: Span) -> list[Span]:
    """Split a condition at its ANDs, also inside parentheses that hold nothing but ANDs."""
    found: list[Span] = []
    stack = [span]
    while stack:
        start, end = stack.pop()
        inner_start, inner_end = start, end
        while (
            inner_end - inner_start > 2
            and tokens.words[inner_start] == "("
            and tokens.partner[inner_start] == inner_end - 1
        ):
            inner_start, inner_end = inner_start + 1, inner_end - 1
        parts = _split(tokens, inner_start, inner_end)
        if len(parts) == 1:
            found.append((start, end))
        else:
            stack.extend(reversed(parts))
    return found


def _split(tokens: Tokens, start: int, end: int) -> list[Span]:
    parts: list[Span] = []
    first = number = start
    cases = between = 0
    while number < end:
        word = tokens.words[number]
        if tokens.slots[number] >= 0 or _is_name(tokens, number):
            pass
        elif word == "case":
            cases += 1
        elif word == "end" and cases:
            cases -= 1
        elif cases:
            pass
        elif word == "between":
            between += 1
        elif word == "and":
            if between:
                between -= 1
            else:
                parts.append((first, number))
                first = number + 1
        elif word == "or" or word in ("select", "with"):
            return [(start, end)]
        if tokens.partner[number] > number:
            number = tokens.partner[number]
        number += 1
    parts.append((first, end))
    return parts


def on_span(tokens: Tokens, inside: int) -> Span | None:
    """The condition of the ON clause that a token belongs to."""
    level = tokens.depth[inside]
    start = inside
    while start >= 0:
        level = min(level, tokens.depth[start])
        if tokens.words[start] == "on" and tokens.depth[start] == level and not _is_name(tokens, start):
            break
        start -= 1
    else:
        return None
    number = start + 1
    while number < len(tokens) and tokens.depth[number] >= level:
        if tokens.depth[number] == level and tokens.slots[number] < 0:
            word = tokens.words[number]
            if word in (",", ";") or (
                not _is_name(tokens, number)
                and (
                    word in _JOINING
                    or word in _AFTER_WHERE
                    or word in _SET_OPERATIONS
                    or (
                        word in ("left", "right") and _SIDES.issuperset(tokens.words[number + 1 : number + 2])
                    )
                )
            ):
                break
            if tokens.partner[number] > number:
                number = tokens.partner[number]
        number += 1
    return start + 1, number
