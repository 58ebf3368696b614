"""Selectivities of joins: column against column, and the distinct counts that an equivalence class needs.

A pair's selectivity does not change when either side is filtered by something else: if a filter is
independent of the join column, both the filtered rows and the matches shrink alike. (Reducing the distinct
counts by the filter, and then dividing by the larger one, would turn "100 titles of a million, joined with
1000 of their companies" into 100 rows instead of 0.1.) So class members keep the distinct counts of their
whole tables; only filters on the join column itself matter, and :mod:`godb_fast.planning.estimation`
handles those. Distinct counts after filters are needed for grouping: :func:`cardenas`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from godb_fast.core import ColumnKind
from godb_fast.planning.distribution import (
    COMMON,
    GUESSED,
    KNOWN,
    TINY,
    UNIFORM,
    UNKNOWN_RANGE,
    Distribution,
)


@dataclass(frozen=True)
class PairSelectivity:
    """Share of the cross product that a join keeps, under four assumptions.

    Parameters
    ----------
    best : float
        Common values matched one by one, the rest uniform.
    uniform : float
        Every value equally frequent: one over the larger distinct count.
    upper : float
        A bound that no correlation can pass, if the statistics are right.
    lower : float
        The least of the above, less what the statistics may miss.
    spread : float
        Of the logarithm of ``best``.
    """

    best: float
    uniform: float
    upper: float
    lower: float
    spread: float

    def and_also(self, other: PairSelectivity) -> PairSelectivity:
        """Both predicates, as if they were independent."""
        return PairSelectivity(
            self.best * other.best,
            self.uniform * other.uniform,
            min(self.upper, other.upper),
            self.lower * other.lower,
            math.hypot(self.spread, other.spread),
        )


def equality(left: Distribution, right: Distribution) -> PairSelectivity:
    """Selectivity of ``left = right``.

    The sum over all values of the product of their shares on both sides, where the values that either side
    lists as common are looked up in the other. PostgreSQL's ``eqjoinsel`` sums the same way. A listed value
    that the other side does not list is taken to be one of the other's unlisted values (containment), and
    what neither side lists matches as the smaller set of values within the larger one.

    The upper bound is the least of the Cauchy-Schwarz bound on the two frequency vectors and of the bounds
    by either side's most common value (Cai, Balazinska and Suciu, "Pessimistic Cardinality Estimation",
    SIGMOD 2019, build theirs from the same degrees).
    """
    filled = (1.0 - left.null_share) * (1.0 - right.null_share)
    uniform = filled / max(left.distinct, right.distinct)
    matched = left_listed = right_listed = 0.0
    left_count = right_count = 0
    for value, share in left.common.items():
        other = right.common.get(value)
        if other is None:
            left_listed += share
            left_count += 1
        else:
            matched += share * other
    for value, share in right.common.items():
        if value not in left.common:
            right_listed += share
            right_count += 1
    best = matched + left_listed * right.each + right_listed * left.each
    # What neither side lists.
    left_values = left.rest_distinct - right_count
    right_values = right.rest_distinct - left_count
    if left_values > 0.0 and right_values > 0.0:
        best += (
            max(left.rest - right_count * left.each, 0.0)
            * max(right.rest - left_count * right.each, 0.0)
            / max(left_values, right_values)
        )
    if left.unique or right.unique:
        # A key meets each row of the other side at most once, whatever the sample listed.
        best = uniform = filled / max(
            left.distinct if left.unique else 0.0, right.distinct if right.unique else 0.0
        )
    upper = min(
        math.sqrt(left.squared_norm * right.squared_norm),
        left.most_common_share * (1.0 - right.null_share),
        right.most_common_share * (1.0 - left.null_share),
    )
    if not (left.known and right.known):
        spread = GUESSED
        upper = max(upper, best * math.exp(GUESSED))
    elif left.unique or right.unique:
        spread = KNOWN
    else:
        spread = COMMON * 2.0 if left.common and right.common else UNIFORM
    best = min(max(best, TINY * TINY), 1.0)
    uniform = min(max(uniform, TINY * TINY), 1.0)
    upper = min(max(upper, best, uniform), 1.0)
    lower = max(min(best, uniform) * math.exp(-spread), TINY * TINY)
    return PairSelectivity(best, uniform, upper, lower, spread)


def inequality(left: Distribution, operator: str, right: Distribution) -> PairSelectivity:
    """Selectivity of ``left operator right`` for ``< <= > >= <>``, the columns being independent."""
    filled = (1.0 - left.null_share) * (1.0 - right.null_share)
    same = equality(left, right)
    if operator == "<>":
        best = max(filled - same.best, TINY)
        return PairSelectivity(best, best, max(filled, TINY), best * 0.5, KNOWN)
    comparable = left.kind is right.kind and left.kind is not ColumnKind.OTHER
    if not comparable or not left.bounds or not right.bounds:
        best, spread = filled * UNKNOWN_RANGE, UNIFORM
    else:
        # The share of left below a value, averaged over values that are spread as right is.
        points = _quantiles(right)
        below = math.fsum(weight * left.below(value, operator in ("<=", ">")) for value, weight in points)
        best = below * (1.0 - right.null_share) / max(math.fsum(weight for _, weight in points), TINY)
        if operator in (">", ">="):
            best = filled - best
        spread = COMMON
    best = min(max(best, TINY), 1.0)
    return PairSelectivity(
        best, best, min(best * math.exp(2 * spread), 1.0), best * math.exp(-spread), spread
    )


def _quantiles(column: Distribution) -> list[tuple[object, float]]:
    """Values with weights that stand for a column."""
    points: list[tuple[object, float]] = list(column.common.items())
    bounds = list(column.bounds)
    if len(bounds) == 2 and not isinstance(bounds[0], str):
        low, high = bounds
        bounds = [low + (high - low) * step / 16.0 for step in range(17)]
    if column.rest > 0.0 and len(bounds) > 1:
        weight = column.rest / (len(bounds) - 1)
        points.extend((value, weight) for value in bounds[1:-1])
        points.extend((value, weight / 2.0) for value in (bounds[0], bounds[-1]))
    return points


def opaque_join() -> PairSelectivity:
    """A join predicate that is not modelled (a function of several columns)."""
    return PairSelectivity(UNKNOWN_RANGE, UNKNOWN_RANGE, 1.0, UNKNOWN_RANGE * math.exp(-2 * GUESSED), GUESSED)


@dataclass(frozen=True)
class EffectiveDistinct:
    """Logarithms of the distinct counts that stand for the members of one equivalence class.

    One entry per member: under the best guess, uniform, upper and lower pair selectivities; ``spread`` scales
    the perturbation, and is 0 for the member that never counts.
    """

    best: tuple[float, ...]
    uniform: tuple[float, ...]
    upper: tuple[float, ...]
    lower: tuple[float, ...]
    spread: tuple[float, ...]


def filtered_bound(left: Distribution, right: Distribution, left_share: float, right_share: float) -> float:
    """The most that ``left = right`` can keep of the cross product of two *filtered* tables.

    A filter is independent of the join in the best guess. At worst it keeps exactly the rows that match most:
    each row of the left meets as many rows of the right as the right's most common value has, all of which
    pass. ``left_share`` and ``right_share`` are what the filters keep of each table.
    """
    return min(
        left.most_common_share / max(left_share, TINY),
        right.most_common_share / max(right_share, TINY),
        1.0,
    )


def effective_distinct(
    columns: Sequence[Distribution], shares: Sequence[float] | None = None
) -> EffectiveDistinct:
    """Distinct counts that reproduce pair selectivities in the form of :class:`RowEstimates`.

    There, a set that holds several members of a class is divided by their counts, except for the least. For
    two members this gives exactly the pair's selectivity if the larger count is its inverse. For more,
    members are put in order of their true distinct counts; each then gets the geometric mean of the inverse
    selectivities of its pairs with the members before it. So two foreign keys to one key keep their own
    (skewed) selectivity when joined directly, and each join with the key itself counts the key's rows.

    ``shares`` is what the filters of each member's relation typically keep. ``upper`` goes half of the way
    (of logarithms) from the best guess to the bound that they allow, since not all joins of a query are at
    their worst: moderators write more than others, but not all of a forum.
    """
    kept = [1.0] * len(columns) if shares is None else shares
    count = len(columns)
    order = sorted(range(count), key=lambda member: (columns[member].distinct, columns[member].unique))
    logs = {name: [0.0] * count for name in ("best", "uniform", "upper", "lower", "spread")}
    for rank in range(1, count):
        member = order[rank]
        pairs = []
        for earlier in order[:rank]:
            pair = equality(columns[earlier], columns[member])
            bound = filtered_bound(columns[earlier], columns[member], kept[earlier], kept[member])
            pairs.append(replace(pair, upper=max(pair.upper, math.sqrt(pair.best * bound))))
        for name in ("best", "uniform", "upper", "lower"):
            inverse = -math.fsum(math.log(getattr(pair, name)) for pair in pairs) / rank
            logs[name][member] = max(inverse, 0.0)
        logs["spread"][member] = math.fsum(pair.spread for pair in pairs) / rank
    if count:
        least = order[0]
        for name in ("best", "uniform", "upper", "lower"):
            own = math.log(max(columns[least].distinct, 1.0))
            others = [logs[name][member] for member in order[1:]]
            logs[name][least] = max(min([own, *others]), 0.0)
    return EffectiveDistinct(**{name: tuple(entries) for name, entries in logs.items()})


def cardenas(distinct: float, rows: float) -> float:
    """Expected number of distinct values among ``rows`` drawn rows (Cardenas 1975).

    Yao's formula draws without replacement; the two agree where a value has many rows, and elsewhere
    statistics are less exact than their difference.
    """
    if distinct <= 1.0 or rows <= 0.0:
        return min(distinct, max(rows, 0.0))
    return max(min(-distinct * math.expm1(rows * math.log1p(-1.0 / distinct)), rows), min(1.0, rows))
