"""Literals and parameters as values of a column's ordered domain.

A column's statistics hold numbers and booleans as floats, times as seconds since 1970 and text as ``str``
(:data:`godb_fast.core.statistics.Value`). What a query compares them with is a literal's text, a number, or
whatever object a driver's caller passed. The functions here turn the second into the first, in well under a
microsecond for the usual cases.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from godb_fast.core import ColumnKind


class Missing(Enum):
    """What stands for a value that is not known when a query is planned."""

    UNKNOWN = "unknown"


#: A parameter that is not bound yet, or a value that cannot be placed in the column's domain. It is not
#: NULL: a comparison with NULL is never true, one with an unknown value has the average selectivity.
UNKNOWN: Final = Missing.UNKNOWN

#: A value in a column's domain, None for NULL, or UNKNOWN.
Placed: TypeAlias = float | str | Literal[Missing.UNKNOWN] | None
Converter: TypeAlias = Callable[[Any], Placed]

_UNIX_DAY: Final = date(1970, 1, 1).toordinal()
_UNIX: Final = datetime(1970, 1, 1)
#: Dates that ``fromisoformat`` refuses and engines accept: single digits, a year before 1000 or after 9999.
_LOOSE_DATE: Final = re.compile(r"\s*(\d{1,6})-(\d{1,2})-(\d{1,2})\s*\Z")
_TRUE: Final = frozenset({"t", "true", "y", "yes", "on", "1"})
_FALSE: Final = frozenset({"f", "false", "n", "no", "off", "0"})


def to_number(value: Any) -> Placed:
    """Place a value in the domain of numbers."""
    if type(value) is float and value == value:
        return value
    if value is None or value is UNKNOWN:
        return value
    if isinstance(value, (float, int, str, Decimal)):
        try:
            number = float(value)
        except OverflowError:
            return math.inf if not isinstance(value, str) and value > 0 else -math.inf
        except ValueError:
            return UNKNOWN
        return number if number == number else UNKNOWN
    try:
        # NumPy's scalars, fractions and other number types of drivers.
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return UNKNOWN
    return number if number == number else UNKNOWN


def to_time(value: Any) -> Placed:
    """Place a value in the domain of times: seconds since 1970, in UTC where no zone is given."""
    if value is None or value is UNKNOWN:
        return value
    if isinstance(value, str):
        try:
            if len(value) == 10:
                return (date.fromisoformat(value).toordinal() - _UNIX_DAY) * 86400.0
            return _seconds(datetime.fromisoformat(value.strip()))
        except ValueError:
            return _loose_time(value)
    if isinstance(value, datetime):
        return _seconds(value)
    if isinstance(value, date):
        return (value.toordinal() - _UNIX_DAY) * 86400.0
    if isinstance(value, time):
        return value.hour * 3600.0 + value.minute * 60.0 + value.second + value.microsecond / 1e6
    if isinstance(value, timedelta):
        return value.total_seconds()
    return to_number(value)


def _seconds(moment: datetime) -> float:
    offset = moment.utcoffset()
    seconds = (moment.replace(tzinfo=None) - _UNIX).total_seconds()
    return seconds if offset is None else seconds - offset.total_seconds()


def _loose_time(text: str) -> Placed:
    name = text.strip().lower()
    if name in ("infinity", "-infinity"):
        return math.inf if name[0] == "i" else -math.inf
    match = _LOOSE_DATE.match(text)
    if match is not None:
        year, month, day = (int(part) for part in match.groups())
        # Days of the mean Gregorian month are near enough for a share of rows.
        return ((year - 1970) * 365.2425 + (month - 1) * 30.44 + (day - 1)) * 86400.0
    try:
        moment = time.fromisoformat(name)
    except ValueError:
        return UNKNOWN
    return to_time(moment)


def to_boolean(value: Any) -> Placed:
    """Place a value in the domain of booleans: 0.0 or 1.0."""
    if isinstance(value, str):
        name = value.strip().lower()
        return 1.0 if name in _TRUE else 0.0 if name in _FALSE else UNKNOWN
    placed = to_number(value)
    return float(placed != 0.0) if isinstance(placed, float) else placed


def to_text(value: Any) -> Placed:
    """Place a value in the domain of text."""
    if type(value) is str:
        return value
    if isinstance(value, str) or value is None or value is UNKNOWN:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal, date, time)):
        return str(value)
    return UNKNOWN


def to_other(value: Any) -> Placed:
    """Values of kinds without an order are only NULL, text or unknown."""
    return value if isinstance(value, str) or value is None else UNKNOWN


CONVERTERS: Final[dict[ColumnKind, Converter]] = {
    ColumnKind.NUMBER: to_number,
    ColumnKind.TIME: to_time,
    ColumnKind.TEXT: to_text,
    ColumnKind.BOOLEAN: to_boolean,
    ColumnKind.OTHER: to_other,
}
