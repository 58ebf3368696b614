"""One column compared with values: each comparison becomes a function of the query's literals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from godb_fast.core import ColumnKind, Comparison, Constant, Slot
from godb_fast.planning.distribution import (
    COMMON,
    GUESSED,
    KNOWN,
    TINY,
    UNIFORM,
    UNKNOWN_DISTINCT,
    UNKNOWN_INTERVAL,
    UNKNOWN_RANGE,
    Distribution,
    Estimate,
)
from godb_fast.planning.domains import UNKNOWN, Placed, to_number, to_text, to_time
from godb_fast.planning.patterns import pattern

#: Literals and parameters by slot number; an IN list is one value, a list.
Values: TypeAlias = Sequence[Any]
#: Share of the table's rows that pass, and the spread of that estimate.
Term: TypeAlias = Callable[[Values], Estimate]
Read: TypeAlias = Callable[[Values], Placed]

#: Values that a function of a column can take, where that is known without looking.
FUNCTION_DISTINCT: Final = {
    "month": 12.0,
    "quarter": 4.0,
    "day": 31.0,
    "dayofweek": 7.0,
    "dow": 7.0,
    "isodow": 7.0,
    "week": 53.0,
    "hour": 24.0,
    "minute": 60.0,
    "second": 60.0,
}
_CASE: Final = frozenset({"lower", "upper", "trim", "ltrim", "rtrim"})
_RANGES: Final = frozenset({"<", "<=", ">", ">=", "between"})


def is_range(predicate: Comparison, column: Distribution) -> bool:
    if predicate.function is None:
        return predicate.operator in _RANGES
    # The year of a time is an interval of it.
    return (
        predicate.function == "year"
        and predicate.operator in (_RANGES | {"="})
        and column.kind is ColumnKind.TIME
    )


def comparison(predicate: Comparison, column: Distribution) -> Term:
    operator = predicate.operator
    if operator == "is_null":
        return constant(max(column.null_share, TINY), KNOWN if column.known else GUESSED)
    if operator in ("is_distinct", "is_not_distinct"):
        return _null_safe(predicate, column)
    if is_range(predicate, column):
        return interval_term(column, [predicate])
    if predicate.function is not None and predicate.function not in _CASE:
        return _of_function(predicate, column)
    fold = predicate.function is not None
    if operator in ("=", "<>"):
        equal = _equal(predicate, column, fold)
        return equal if operator == "=" else complement(equal, 1.0 - column.null_share)
    if operator == "in":
        return _in_list(predicate, column, fold)
    if operator in ("like", "ilike"):
        return _like(column, reader(predicate, 0, to_text), fold or operator == "ilike")
    return constant(UNKNOWN_RANGE, GUESSED)


def reader(predicate: Comparison, position: int, convert: Callable[[Any], Placed]) -> Read:
    """Reads an operand, in the column's domain."""
    operand = predicate.operands[position]
    shift = predicate.shift
    if isinstance(operand, Constant):
        fixed = _shifted(convert(operand.value), shift)
        return lambda values: fixed
    index = operand.index
    if shift:
        return lambda values: _shifted(convert(values[index]), shift)
    return lambda values: convert(values[index])


def _shifted(value: Placed, shift: float) -> Placed:
    return value + shift if shift and isinstance(value, float) else value


def constant(share: float, spread: float) -> Term:
    estimate = (share, spread)
    return lambda values: estimate


def complement(term: Term, filled: float) -> Term:
    """Rows that are not NULL and do not pass. Only a comparison with NULL is exactly 0, and so is its NOT."""

    def term_of_rest(values: Values) -> Estimate:
        share, spread = term(values)
        if share <= 0.0:
            return 0.0, 0.0
        rest = filled - share
        if rest < TINY:
            return TINY, GUESSED
        # An error of the part is the same number of rows in the rest.
        return rest, min(spread * share / rest, GUESSED)

    return term_of_rest


def _equal(predicate: Comparison, column: Distribution, fold: bool) -> Term:
    read = reader(predicate, 0, to_text if fold else column.convert)
    equal = _folded_match(column) if fold else column.equal
    average = column.average()

    def term(values: Values) -> Estimate:
        value = read(values)
        if value is None:
            return 0.0, 0.0
        return average if value is UNKNOWN else equal(value)

    return term


def _folded_match(column: Distribution) -> Callable[[Any], Estimate]:
    """``lower(column) = value``: the common values that agree but for case, else one value's share."""
    common: dict[str, float] = {}
    for value, share in column.common.items():
        folded = str(value).strip().lower()
        common[folded] = common.get(folded, 0.0) + share
    other = (max(column.each, TINY), UNIFORM)

    def match(value: Any) -> Estimate:
        share = common.get(str(value).strip().lower())
        return other if share is None else (share, COMMON)

    return match


def _null_safe(predicate: Comparison, column: Distribution) -> Term:
    read = reader(predicate, 0, column.convert)
    equal, average = column.equal, column.average()
    nulls = max(column.null_share, TINY)
    distinct = predicate.operator == "is_distinct"

    def term(values: Values) -> Estimate:
        value = read(values)
        share, spread = (nulls, KNOWN) if value is None else average if value is UNKNOWN else equal(value)
        return (max(1.0 - share, TINY), KNOWN) if distinct else (share, spread)

    return term


def _in_list(predicate: Comparison, column: Distribution, fold: bool) -> Term:
    """The sum over the list's different values; a NULL among them matches nothing."""
    filled = 1.0 - column.null_share
    average = column.average()
    readers = [_raw(operand) for operand in predicate.operands]
    one = readers[0] if len(readers) == 1 else None
    place = to_text if fold else column.convert
    match = _folded_match(column) if fold else column.equal

    def term(values: Values) -> Estimate:
        if one is not None and type(listed := one(values)) is list:
            raw = listed
        else:
            raw = []
            for read in readers:
                value = read(values)
                raw.extend(value) if isinstance(value, (list, tuple)) else raw.append(value)
        total = variance = 0.0
        # A dict keeps the order, so that the sum is the same in every process.
        for value in dict.fromkeys(map(place, raw)):
            if value is None:
                continue
            share, spread = average if value is UNKNOWN else match(value)
            total += share
            spread *= share
            variance += spread * spread
        if total <= 0.0:
            return 0.0, 0.0
        return (total if total < filled else filled), math.sqrt(variance) / total

    return term


def not_in(term: Term, predicate: Comparison, filled: float) -> Term:
    """NOT IN: never true if the list holds a NULL."""
    readers = [_raw(operand) for operand in predicate.operands]
    rest = complement(term, filled)

    def term_of_rest(values: Values) -> Estimate:
        for read in readers:
            value = read(values)
            if value is None or (isinstance(value, (list, tuple)) and None in value):
                return 0.0, 0.0
        return rest(values)

    return term_of_rest


def _raw(operand: Slot | Constant) -> Callable[[Values], Any]:
    if isinstance(operand, Constant):
        fixed = operand.value
        return lambda values: fixed
    index = operand.index
    return lambda values: values[index]


def _like(column: Distribution, read: Read, fold: bool) -> Term:
    like = column.like
    unknown = (max(column.average()[0], 0.02 * (1.0 - column.null_share)), GUESSED)

    def term(values: Values) -> Estimate:
        value = read(values)
        if value is None:
            return 0.0, 0.0
        return unknown if value is UNKNOWN else like(pattern(str(value), fold))

    return term


def _of_function(predicate: Comparison, column: Distribution) -> Term:
    """A function of a column: only how many values it can take is known, if that."""
    filled = 1.0 - column.null_share
    distinct = FUNCTION_DISTINCT.get(predicate.function or "", UNKNOWN_DISTINCT)
    spread = UNIFORM if predicate.function in FUNCTION_DISTINCT else GUESSED
    one = filled / min(distinct, column.distinct if column.known else distinct)
    operator = predicate.operator
    if operator == "=":
        return constant(one, spread)
    if operator == "<>":
        return constant(max(filled - one, TINY), spread)
    if operator == "in":
        readers = [_raw(operand) for operand in predicate.operands]

        def term(values: Values) -> Estimate:
            listed = [read(values) for read in readers]
            count = sum(len(value) if isinstance(value, (list, tuple)) else 1 for value in listed)
            return min(count * one, filled), spread

        return term
    if operator == "between":
        return constant(filled * UNKNOWN_INTERVAL, GUESSED)
    if operator in ("like", "ilike"):
        return constant(filled * 0.1, GUESSED)
    return constant(filled * UNKNOWN_RANGE, GUESSED)


# Ranges ----------------------------------------------------------------------------------------------


def interval_term(column: Distribution, group: list[Comparison]) -> Term:
    """All ranges on one column as one interval: two sides of it are anything but independent."""
    sides: list[tuple[bool, bool, Read]] = []
    for predicate in group:
        sides.extend(_year_sides(predicate) if predicate.function == "year" else _sides(predicate, column))
    interval = column.interval
    filled = 1.0 - column.null_share
    unknown = (filled * UNKNOWN_RANGE, GUESSED)

    def term(values: Values) -> Estimate:
        low: Any = None
        high: Any = None
        low_inclusive = high_inclusive = True
        not_known = 0
        for is_low, inclusive, read in sides:
            value = read(values)
            if value is None:
                return 0.0, 0.0
            if value is UNKNOWN:
                not_known += 1
            elif is_low:
                if low is None or value > low or (value == low and not inclusive):
                    low, low_inclusive = value, inclusive
            elif high is None or value < high or (value == high and not inclusive):
                high, high_inclusive = value, inclusive
        if not_known:
            if low is None and high is None:
                return unknown if not_known == 1 else (filled * UNKNOWN_INTERVAL, GUESSED)
            share, _ = interval(low, low_inclusive, high, high_inclusive)
            return share * UNKNOWN_RANGE, GUESSED
        return interval(low, low_inclusive, high, high_inclusive)

    return term


def _sides(predicate: Comparison, column: Distribution) -> list[tuple[bool, bool, Read]]:
    first = reader(predicate, 0, column.convert)
    if predicate.operator == "between":
        return [(True, True, first), (False, True, reader(predicate, 1, column.convert))]
    return [(predicate.operator[0] == ">", predicate.operator in ("<=", ">="), first)]


def _year_sides(predicate: Comparison) -> list[tuple[bool, bool, Read]]:
    """``year(column) operator value`` as an interval of the column, from New Year to New Year."""

    def new_year(position: int, later: int) -> Read:
        read = reader(predicate, position, to_number)

        def read_new_year(values: Values) -> Placed:
            year = read(values)
            if not isinstance(year, float):
                return year
            whole = int(year) + later if -1e6 < year < 1e6 else 0
            return to_time(f"{whole:04d}-01-01") if 0 < whole < 10_000 else UNKNOWN

        return read_new_year

    operator = predicate.operator
    if operator in ("=", "between"):
        return [(True, True, new_year(0, 0)), (False, False, new_year(len(predicate.operands) - 1, 1))]
    if operator[0] == ">":
        return [(True, True, new_year(0, 0 if operator == ">=" else 1))]
    return [(False, False, new_year(0, 1 if operator == "<=" else 0))]
