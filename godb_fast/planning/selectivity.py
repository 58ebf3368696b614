"""Selectivities of a relation's own filters, compiled once per template and statistics epoch.

Each predicate becomes a *term*: a function from the query's literals to the share of the table's rows that
pass, and the spread of that estimate. New literals then cost no parsing and no look at the predicate's
form, only the question to the column's :class:`Distribution`.

Conjuncts are combined by exponential back-off: of the selectivities, ascending, the first counts whole, the
second with exponent 1/2, the third with 1/4, and so on. Filters of one table are seldom independent (a
production country and its language; a status and a date), and the product then underestimates, which is
the error that makes plans catastrophic: a nested loop or a huge intermediate result behind "one row". SQL
Server has estimated so since 2014. The plain product and the most selective conjunct alone (full
correlation) are scenarios of their own, so that a plan can be judged under all three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias

from godb_fast.core import And, ColumnKind, Comparison, Constant, Not, Opaque, Or, Predicate, Slot
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
from godb_fast.planning.joins import equality
from godb_fast.planning.patterns import pattern

#: Literals and parameters by slot number; an IN list is one value, a list.
Values: TypeAlias = Sequence[Any]
Term: TypeAlias = Callable[[Values], Estimate]
Read: TypeAlias = Callable[[Values], Placed]
Columns: TypeAlias = Callable[[str], Distribution]
#: Natural logarithms of selectivity: (back-off, product, most selective alone, spread).
Combined: TypeAlias = tuple[float, float, float, float]

#: Share of rows for predicates that are not modelled, by :class:`Opaque` hint.
OPAQUE: Final = {
    "column_comparison:=": 1.0 / UNKNOWN_DISTINCT,
    "column_comparison:<>": 1.0 - 1.0 / UNKNOWN_DISTINCT,
    "column_comparison:<": UNKNOWN_RANGE,
    "column_comparison:<=": UNKNOWN_RANGE,
    "column_comparison:>": UNKNOWN_RANGE,
    "column_comparison:>=": UNKNOWN_RANGE,
    "function": UNKNOWN_RANGE,
    "subquery": UNKNOWN_RANGE,
    "other": UNKNOWN_RANGE,
}
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
#: Estimates kept per relation and template, and the longest text or IN list that is kept.
MAX_REMEMBERED: Final = 512
LONG_LITERAL: Final = 100
_CASE: Final = frozenset({"lower", "upper", "trim", "ltrim", "rtrim"})
_RANGES: Final = frozenset({"<", "<=", ">", ">=", "between"})
_NEGATED: Final = {
    "<": ">=",
    "<=": ">",
    ">": "<=",
    ">=": "<",
    "=": "<>",
    "<>": "=",
    "is_distinct": "is_not_distinct",
    "is_not_distinct": "is_distinct",
}
_LOG_TINY: Final = math.log(TINY)
_NO_FILTER: Final[Combined] = (0.0, 0.0, 0.0, 0.0)
#: What a contradiction or a comparison with NULL leaves: nothing, as far as a logarithm can say it.
EMPTY: Final[Combined] = (-math.inf, -math.inf, -math.inf, 0.0)


class Conjunction:
    """All filters of one relation.

    What was estimated for the same literals before is remembered by their texts, for a bounded number of
    them: literals repeat, and then need not even be read.
    """

    __slots__ = ("_first", "_key", "_remembered", "_slots", "terms")

    def __init__(self, filters: Iterable[Predicate], columns: Columns) -> None:
        filters = tuple(filters)
        self.terms = _conjuncts(filters, columns)
        self._first = self.terms[0] if len(self.terms) == 1 else None
        self._slots = sorted(_slots(filters))
        self._key: Callable[[Sequence[Any]], Any] = (
            itemgetter(*self._slots) if self._slots else lambda literals: None
        )
        self._remembered: dict[Any, Combined] = {}

    def recall(self, literals: Sequence[Any]) -> Combined | None:
        """What :meth:`evaluate` found for these literals' texts, if it is remembered."""
        try:
            return self._remembered.get(self._key(literals))
        except TypeError:
            # Literals given as lists cannot be looked up.
            return None

    def remember(self, literals: Sequence[Any], combined: Combined) -> None:
        """Keep an estimate for the literals' texts, unless they are long."""
        if any(
            len(literals[slot]) > LONG_LITERAL for slot in self._slots if hasattr(literals[slot], "__len__")
        ):
            return
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        try:
            self._remembered[self._key(literals)] = combined
        except TypeError:
            return

    def evaluate(self, values: Values) -> Combined:
        """Logarithms of the selectivity under three assumptions, and the spread of the first."""
        if self._first is not None:
            share, spread = self._first(values)
            if share <= 0.0:
                return EMPTY
            log = math.log(share) if share > TINY else _LOG_TINY
            return log, log, log, spread
        if not self.terms:
            return _NO_FILTER
        logs: list[float] = []
        variance = 0.0
        for term in self.terms:
            share, spread = term(values)
            if share <= 0.0:
                return EMPTY
            logs.append(math.log(share) if share > TINY else _LOG_TINY)
            variance += spread * spread
        logs.sort()
        backed = product = 0.0
        weight = 1.0
        for log in logs:
            backed += weight * log
            product += log
            weight *= 0.5
        product = max(product, _LOG_TINY)
        backed = max(backed, _LOG_TINY)
        # How the conjuncts depend on each other is not known either: half of what it could matter.
        gap = 0.5 * (backed - product)
        return backed, product, logs[0], math.sqrt(variance + gap * gap)


def _slots(filters: Iterable[Predicate]) -> set[int]:
    """Slots that predicates read."""
    found: set[int] = set()
    stack = list(filters)
    while stack:
        predicate = stack.pop()
        if isinstance(predicate, Comparison):
            found.update(operand.index for operand in predicate.operands if isinstance(operand, Slot))
        elif isinstance(predicate, Not):
            stack.append(predicate.part)
        elif isinstance(predicate, (And, Or)):
            stack.extend(predicate.parts)
    return found


def _conjuncts(filters: Iterable[Predicate], columns: Columns) -> tuple[Term, ...]:
    """Terms of a conjunction: ranges on one column become one term, implied IS NOT NULLs none."""
    plain: list[Predicate] = []
    stack = list(filters)[::-1]
    while stack:
        predicate = _positive(stack.pop())
        if isinstance(predicate, And):
            stack.extend(predicate.parts[::-1])
        else:
            plain.append(predicate)
    ranges: dict[tuple[str, bool], list[Comparison]] = {}
    others: list[Predicate] = []
    strict = {
        part.column.name
        for part in plain
        if isinstance(part, Comparison) and part.operator not in ("is_null", "is_distinct", "is_not_distinct")
    }
    for predicate in plain:
        if isinstance(predicate, Comparison) and _is_range(predicate, columns(predicate.column.name)):
            key = (predicate.column.name, predicate.function == "year")
            ranges.setdefault(key, []).append(predicate)
        elif _is_not_null(predicate) in strict:
            continue
        else:
            others.append(predicate)
    terms = [_interval(columns(name), group) for (name, _), group in ranges.items()]
    terms.extend(compile_predicate(predicate, columns) for predicate in others)
    return tuple(terms)


def _positive(predicate: Predicate) -> Predicate:
    """The predicate with NOT pushed to comparisons that have no complement of their own."""
    if not isinstance(predicate, Not):
        return predicate
    inner = predicate.part
    if isinstance(inner, Not):
        return _positive(inner.part)
    if isinstance(inner, And):
        return Or(tuple(_positive(Not(part)) for part in inner.parts))
    if isinstance(inner, Or):
        return And(tuple(_positive(Not(part)) for part in inner.parts))
    if isinstance(inner, Comparison) and inner.operator in _NEGATED:
        return Comparison(_NEGATED[inner.operator], inner.column, inner.operands, inner.function, inner.shift)
    return predicate


def _is_not_null(predicate: Predicate) -> str | None:
    inner = predicate.part if isinstance(predicate, Not) else None
    if isinstance(inner, Comparison) and inner.operator == "is_null" and inner.function is None:
        return inner.column.name
    return None


def _is_range(predicate: Comparison, column: Distribution) -> bool:
    if predicate.function is None:
        return predicate.operator in _RANGES
    # The year of a time is an interval of it.
    return (
        predicate.function == "year"
        and predicate.operator in (_RANGES | {"="})
        and column.kind is ColumnKind.TIME
    )


def compile_predicate(predicate: Predicate, columns: Columns) -> Term:
    """The term of one predicate."""
    predicate = _positive(predicate)
    if isinstance(predicate, And):
        return _conjunction(_conjuncts(predicate.parts, columns))
    if isinstance(predicate, Or):
        return _disjunction(predicate, columns)
    if isinstance(predicate, Opaque):
        return _opaque(predicate, columns)
    if isinstance(predicate, Not):
        inner = predicate.part
        filled = 1.0
        if isinstance(inner, Comparison):
            column = columns(inner.column.name)
            filled -= 0.0 if inner.operator == "is_null" else column.null_share
            if inner.operator == "in":
                return _not_in(_comparison(inner, column), inner, filled)
        return _complement(compile_predicate(inner, columns), filled)
    return _comparison(predicate, columns(predicate.column.name))


# Comparisons -----------------------------------------------------------------------------------------


def _comparison(predicate: Comparison, column: Distribution) -> Term:
    operator = predicate.operator
    if operator == "is_null":
        return _constant(max(column.null_share, TINY), KNOWN if column.known else GUESSED)
    if operator in ("is_distinct", "is_not_distinct"):
        return _null_safe(predicate, column)
    if _is_range(predicate, column):
        return _interval(column, [predicate])
    if predicate.function is not None and predicate.function not in _CASE:
        return _of_function(predicate, column)
    fold = predicate.function is not None
    if operator in ("=", "<>"):
        equal = _equal(predicate, column, fold)
        return equal if operator == "=" else _complement(equal, 1.0 - column.null_share)
    if operator == "in":
        return _in_list(predicate, column, fold)
    if operator in ("like", "ilike"):
        return _like(column, _reader(predicate, 0, to_text), fold or operator == "ilike")
    return _constant(UNKNOWN_RANGE, GUESSED)


def _reader(predicate: Comparison, position: int, convert: Callable[[Any], Placed]) -> Read:
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


def _constant(share: float, spread: float) -> Term:
    estimate = (share, spread)
    return lambda values: estimate


def _complement(term: Term, filled: float) -> Term:
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
    read = _reader(predicate, 0, to_text if fold else column.convert)
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
    read = _reader(predicate, 0, column.convert)
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


def _not_in(term: Term, predicate: Comparison, filled: float) -> Term:
    """NOT IN: never true if the list holds a NULL."""
    readers = [_raw(operand) for operand in predicate.operands]
    rest = _complement(term, filled)

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
        return _constant(one, spread)
    if operator == "<>":
        return _constant(max(filled - one, TINY), spread)
    if operator == "in":
        readers = [_raw(operand) for operand in predicate.operands]

        def term(values: Values) -> Estimate:
            listed = [read(values) for read in readers]
            count = sum(len(value) if isinstance(value, (list, tuple)) else 1 for value in listed)
            return min(count * one, filled), spread

        return term
    if operator == "between":
        return _constant(filled * UNKNOWN_INTERVAL, GUESSED)
    if operator in ("like", "ilike"):
        return _constant(filled * 0.1, GUESSED)
    return _constant(filled * UNKNOWN_RANGE, GUESSED)


# Ranges ----------------------------------------------------------------------------------------------


def _interval(column: Distribution, group: list[Comparison]) -> Term:
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
    first = _reader(predicate, 0, column.convert)
    if predicate.operator == "between":
        return [(True, True, first), (False, True, _reader(predicate, 1, column.convert))]
    return [(predicate.operator[0] == ">", predicate.operator in ("<=", ">="), first)]


def _year_sides(predicate: Comparison) -> list[tuple[bool, bool, Read]]:
    """``year(column) operator value`` as an interval of the column, from New Year to New Year."""

    def new_year(position: int, later: int) -> Read:
        read = _reader(predicate, position, to_number)

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


# Combinations ----------------------------------------------------------------------------------------


def _conjunction(terms: tuple[Term, ...]) -> Term:
    def term(values: Values) -> Estimate:
        estimates = sorted(part(values) for part in terms)
        share, variance, weight = 1.0, 0.0, 1.0
        for part, spread in estimates:
            if part <= 0.0:
                return 0.0, 0.0
            share *= part**weight
            weight *= 0.5
            variance += spread * spread
        return max(share, TINY), math.sqrt(variance)

    return terms[0] if len(terms) == 1 else term


def _disjunction(predicate: Or, columns: Columns) -> Term:
    """OR by inclusion and exclusion; equalities on one column exclude each other and are summed."""
    points: dict[tuple[str, str | None], list[Comparison]] = {}
    others: list[Predicate] = []
    stack = list(predicate.parts)[::-1]
    while stack:
        part = _positive(stack.pop())
        if isinstance(part, Or):
            stack.extend(part.parts[::-1])
        elif isinstance(part, Comparison) and part.operator in ("=", "in") and not part.shift:
            points.setdefault((part.column.name, part.function), []).append(part)
        else:
            others.append(part)
    terms = [compile_predicate(part, columns) for part in others]
    for group in points.values():
        first = group[0]
        operands = tuple(operand for part in group for operand in part.operands)
        merged = first if len(group) == 1 else Comparison("in", first.column, operands, first.function)
        terms.append(compile_predicate(merged, columns))

    def term(values: Values) -> Estimate:
        none = 1.0
        error = 0.0
        for part in terms:
            share, spread = part(values)
            none *= 1.0 - min(share, 1.0)
            error += (share * spread) ** 2
        share = 1.0 - none
        if share <= TINY:
            return (TINY, GUESSED) if share > 0.0 else (0.0, 0.0)
        return share, math.sqrt(error) / share

    return terms[0] if len(terms) == 1 else term


def _opaque(predicate: Opaque, columns: Columns) -> Term:
    kind, _, operator = predicate.hint.partition(":")
    if kind == "column_comparison" and len(predicate.columns) == 2 and operator in ("=", "<>"):
        left, right = (columns(column.name) for column in predicate.columns)
        if left.known and right.known:
            share = max(equality(left, right).best, TINY)
            if operator == "<>":
                share = max((1.0 - left.null_share) * (1.0 - right.null_share) - share, TINY)
            return _constant(min(share, 1.0), GUESSED)
    return _constant(OPAQUE.get(predicate.hint, OPAQUE["other"]), GUESSED)
