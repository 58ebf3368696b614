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
from typing import Final, TypeAlias

from godb_fast.core import And, Comparison, JointStatistics, Not, Opaque, Or, Predicate
from godb_fast.planning.comparisons import (
    Term,
    Values,
    comparison,
    complement,
    constant,
    interval_term,
    is_range,
    not_in,
)
from godb_fast.planning.distribution import (
    GUESSED,
    TINY,
    UNKNOWN_DISTINCT,
    UNKNOWN_RANGE,
    Distribution,
    Estimate,
)
from godb_fast.planning.joins import equality
from godb_fast.planning.joint import joint_term, known_together

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
    """All filters of one relation, for values by slot.

    What the kernel ``filters`` computes from literals' texts, for all forms of predicates and values.
    """

    __slots__ = ("_first", "filters", "joint", "terms")

    def __init__(
        self, filters: Iterable[Predicate], columns: Columns, joint: Sequence[JointStatistics] = ()
    ) -> None:
        self.filters = tuple(filters)
        self.joint = joint
        self.terms = _conjuncts(self.filters, columns, joint)
        self._first = self.terms[0] if len(self.terms) == 1 else None

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


def _conjuncts(
    filters: Iterable[Predicate], columns: Columns, joint: Sequence[JointStatistics] = ()
) -> tuple[Term, ...]:
    """Terms of a conjunction: intervals, other predicates, and those that are estimated together."""
    intervals, others = grouped(filters, columns)
    together, others = known_together(others, joint)
    terms = [interval_term(columns(group[0].column.name), group) for group in intervals]
    terms.extend(compile_predicate(predicate, columns) for predicate in others)
    terms.extend(joint_term(known, group, columns) for known, group in together)
    return tuple(terms)


def grouped(filters: Iterable[Predicate], columns: Columns) -> tuple[list[list[Comparison]], list[Predicate]]:
    """The conjuncts to estimate: ranges by column, as each group is one interval, and all others.

    NOT NULLs that another conjunct implies are left out.
    """
    plain: list[Predicate] = []
    stack = list(filters)[::-1]
    while stack:
        predicate = positive(stack.pop())
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
        if isinstance(predicate, Comparison) and is_range(predicate, columns(predicate.column.name)):
            key = (predicate.column.name, predicate.function == "year")
            ranges.setdefault(key, []).append(predicate)
        elif _is_not_null(predicate) in strict:
            continue
        else:
            others.append(predicate)
    return list(ranges.values()), others


def positive(predicate: Predicate) -> Predicate:
    """The predicate with NOT pushed to comparisons that have no complement of their own."""
    if not isinstance(predicate, Not):
        return predicate
    inner = predicate.part
    if isinstance(inner, Not):
        return positive(inner.part)
    if isinstance(inner, And):
        return Or(tuple(positive(Not(part)) for part in inner.parts))
    if isinstance(inner, Or):
        return And(tuple(positive(Not(part)) for part in inner.parts))
    if isinstance(inner, Comparison) and inner.operator in _NEGATED:
        return Comparison(_NEGATED[inner.operator], inner.column, inner.operands, inner.function, inner.shift)
    return predicate


def _is_not_null(predicate: Predicate) -> str | None:
    inner = predicate.part if isinstance(predicate, Not) else None
    if isinstance(inner, Comparison) and inner.operator == "is_null" and inner.function is None:
        return inner.column.name
    return None


def compile_predicate(predicate: Predicate, columns: Columns) -> Term:
    """The term of one predicate."""
    predicate = positive(predicate)
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
                return not_in(comparison(inner, column), inner, filled)
        return complement(compile_predicate(inner, columns), filled)
    return comparison(predicate, columns(predicate.column.name))


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


def alternatives(predicate: Or) -> list[Predicate]:
    """The parts of a disjunction; equalities on one column exclude each other and become one IN."""
    points: dict[tuple[str, str | None], list[Comparison]] = {}
    others: list[Predicate] = []
    stack = list(predicate.parts)[::-1]
    while stack:
        part = positive(stack.pop())
        if isinstance(part, Or):
            stack.extend(part.parts[::-1])
        elif isinstance(part, Comparison) and part.operator in ("=", "in") and not part.shift:
            points.setdefault((part.column.name, part.function), []).append(part)
        else:
            others.append(part)
    for group in points.values():
        first = group[0]
        operands = tuple(operand for part in group for operand in part.operands)
        merged = first if len(group) == 1 else Comparison("in", first.column, operands, first.function)
        others.append(merged)
    return others


def _disjunction(predicate: Or, columns: Columns) -> Term:
    """OR by inclusion and exclusion."""
    terms = [compile_predicate(part, columns) for part in alternatives(predicate)]

    def term(values: Values) -> Estimate:
        none = 1.0
        error = 0.0
        for part in terms:
            share, spread = part(values)
            none *= 1.0 - min(share, 1.0)
            part_error = share * spread
            error += part_error * part_error
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
            return constant(min(share, 1.0), GUESSED)
    return constant(OPAQUE.get(predicate.hint, OPAQUE["other"]), GUESSED)
