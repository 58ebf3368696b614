"""Whether two answers are the same: names, types, the multiset of rows, the order of the sort keys."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

#: Relative tolerance of floats: sums of floats depend on the order of addition.
TOLERANCE: Final = 1e-9

#: Floats that differ by more than this share are ordered alike under every plan.
_APART: Final = 1e3 * TOLERANCE
#: Types of keys whose values are equal here if and only if they are in the engine.
_EXACT: Final = (bool, int, str, Decimal, datetime.date, datetime.datetime)

Row = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Answer:
    """A complete result."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Sequence[Row]


def difference(expected: Answer, actual: Answer, sort_keys: Sequence[int] = ()) -> str | None:
    """How an answer differs from the expected one, in a sentence; None if it does not.

    Rows are compared as multisets, floats with a relative tolerance of 1e-9. ``sort_keys`` are the
    positions of the columns by which the statement orders: their sequence has to agree (rows that tie may
    come in any order).
    """
    if expected.columns != actual.columns:
        return f"columns {list(actual.columns)} instead of {list(expected.columns)}"
    if expected.types != actual.types:
        return f"types {list(actual.types)} instead of {list(expected.types)}"
    if len(expected.rows) != len(actual.rows):
        return f"{len(actual.rows)} rows instead of {len(expected.rows)}"
    if not _same_multiset(expected.rows, actual.rows):
        return _first_odd_row(expected.rows, actual.rows)
    for number, (ours, theirs) in enumerate(zip(actual.rows, expected.rows, strict=True)):
        for key in sort_keys:
            if not _same_cell(theirs[key], ours[key]):
                return f"row {number + 1} is out of order: {ours!r} where {theirs!r} belongs"
    return None


def cut_is_certain(rows: Sequence[Row], limit: int, keys: Sequence[int]) -> bool:
    """Whether every plan keeps the same first ``limit`` of the rows.

    Parameters
    ----------
    rows : sequence of tuple
        In the order of the statement; at least one more than ``limit``, if there are more.
    keys : sequence of int
        Positions of the leading keys of that order.

    Notes
    -----
    The last row kept and the first one left have to differ, in the first key in which they do, by more than
    sums of floats may differ from plan to plan. Then all rows kept come strictly before all others, under
    every plan. Keys of types whose equal values Python may tell apart count as ties.
    """
    if len(rows) <= limit:
        return True
    for key in keys:
        last, first = rows[limit - 1][key], rows[limit][key]
        if last is None or first is None:
            if last is not first:
                return True
            continue
        if type(last) is not type(first):
            return False
        if isinstance(last, float):
            # Equal floats decide nothing: under another plan they may not be, and come in either order.
            distance = abs(last - first)
            return distance > _APART * max(abs(last), abs(first)) and math.isfinite(distance)
        if not isinstance(last, _EXACT) or last != last or first != first:
            # NaN equals itself there, and nothing here.
            return False
        if isinstance(last, str):
            # Fixed-length texts compare without the blanks at their ends.
            last, first = last.rstrip(" "), first.rstrip(" ")
        if last != first:
            return True
    return False


def _same_multiset(expected: Sequence[Row], actual: Sequence[Row]) -> bool:
    first, second = [_frozen(row) for row in expected], [_frozen(row) for row in actual]
    if first == second or Counter(first) == Counter(second):
        return True
    # Floats may differ in their last bits: sort by everything else first, then compare in pairs.
    first.sort(key=_sort_key)
    second.sort(key=_sort_key)
    return all(
        len(one) == len(other) and all(_same_cell(a, b) for a, b in zip(one, other, strict=True))
        for one, other in zip(first, second, strict=True)
    )


def _frozen(value: Any) -> Any:
    """A hashable form in which equal cells are equal: NaN too, and lists, structs and maps."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(entry) for entry in value)
    if isinstance(value, dict):
        return (
            "dict",
            tuple(sorted(((repr(key), _frozen(entry)) for key, entry in value.items()), key=repr)),
        )
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def _sort_key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    exact = tuple((type(cell).__name__, repr(cell)) for cell in row if not isinstance(cell, float))
    return exact, tuple(cell for cell in row if isinstance(cell, float))


def _same_cell(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=0.0) or one == other
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(_same_cell(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other) and type(one) is type(other)


def _first_odd_row(expected: Sequence[Row], actual: Sequence[Row]) -> str:
    wanted = Counter(_frozen(row) for row in expected)
    wanted.subtract(Counter(_frozen(row) for row in actual))
    missing = next((row for row in expected if wanted[_frozen(row)] > 0), None)
    extra = next((row for row in actual if wanted[_frozen(row)] < 0), None)
    return f"row {extra!r} instead of {missing!r}"


def sort_keys(sql: str, dialect: str, columns: Sequence[str]) -> tuple[int, ...]:
    """Positions of the result columns by which a statement orders, as far as they can be told.

    The leading keys that name a result column or its number; a key that is another expression ends them.
    """
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError

    try:
        order = parse_one(sql, dialect=dialect).args.get("order")
    except (SqlglotError, RecursionError):
        return ()
    positions: list[int] = []
    lowered = [name.lower() for name in columns]
    for entry in order.expressions if order is not None else ():
        key = entry.this if isinstance(entry, exp.Ordered) else entry
        if isinstance(key, exp.Column) and lowered.count(key.name.lower()) == 1:
            positions.append(lowered.index(key.name.lower()))
        elif isinstance(key, exp.Literal) and not key.is_string and 1 <= int(key.name) <= len(columns):
            positions.append(int(key.name) - 1)
        else:
            break
    return tuple(positions)
