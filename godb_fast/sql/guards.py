"""Conditions on literals, on which the proof of a rewrite rests."""

from __future__ import annotations

from collections.abc import Sequence

from godb_fast.core import Guard
from godb_fast.errors import InvalidInput
from godb_fast.sql.literals import literal_value


def holds(guard: Guard, literals: Sequence[str | Sequence[str]]) -> bool:
    """Whether literals, as source texts by slot, fulfil a guard.

    Numbers count as different only if their nearest doubles are, texts only if they differ in more than
    trailing spaces (CHAR(n) ignores those); so a doubt keeps the original statement.

    Raises
    ------
    InvalidInput
        If the guard is of an unknown kind.
    """
    if guard.kind == "int4":
        return all(_is_int4(literals[slot]) for slot in guard.slots)
    if guard.kind != "distinct":
        raise InvalidInput(f"unknown guard {guard.kind!r}")
    seen: set[tuple[type, float | str]] = set()
    for slot in guard.slots:
        entry = literals[slot]
        # What one list repeats is in one branch of the statement.
        values = {_value(text) for text in ((entry,) if isinstance(entry, str) else entry)}
        for value in values:
            if value is None or value in seen:
                return False
        seen.update(value for value in values if value is not None)
    return len({kind for kind, _ in seen}) < 2


def _is_int4(literal: str | Sequence[str]) -> bool:
    digits = literal.lstrip("+-") if isinstance(literal, str) else ""
    return digits.isascii() and digits.isdigit() and int(digits) < 2**31


def _value(text: str) -> tuple[type, float | str] | None:
    value = literal_value(text)
    if value is None:
        return None
    return (str, value.rstrip(" ")) if isinstance(value, str) else (float, value)
