"""One column's distribution, prepared once so that each question about it costs about a microsecond.

Statistics divide a column's rows into NULLs, a few common values with known shares, and the *rest*, which a
histogram (or only the minimum and maximum) spreads over the domain. Every answer is a share of *all* rows
of the table, between 0 and 1, with a *spread*: the standard deviation that we expect of the logarithm of
its error. Spreads scale the perturbed scenarios, so that what is known well is perturbed little.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from types import ModuleType
from typing import Any, Final, TypeAlias

from godb_fast.core import ColumnKind, ColumnStatistics
from godb_fast.core.statistics import Value
from godb_fast.planning.domains import CONVERTERS
from godb_fast.planning.patterns import Pattern

#: (share of the table's rows, spread of the logarithm of its error)
Estimate: TypeAlias = tuple[float, float]

#: The smallest share that is not an exact zero: logarithms of shares stay finite.
TINY: Final = 1e-9

# What is assumed where statistics say nothing. Equality: one of 200 values. Ranges: a third, which is what
# System R assumed and most engines still do; two-sided ranges a third of that.
UNKNOWN_DISTINCT: Final = 200.0
UNKNOWN_RANGE: Final = 1.0 / 3.0
UNKNOWN_INTERVAL: Final = 1.0 / 9.0
UNKNOWN_NULL_SHARE: Final = 0.05
#: Share of rows with LIKE '%…%' for a pattern of L characters, where no sample says better.
PATTERN_BASE: Final = 0.25
PATTERN_PER_CHARACTER: Final = 0.75
PATTERN_LEAST: Final = 1e-4
#: A sample of the histogram's bounds weighs against that guess as this many rows.
PATTERN_PRIOR: Final = 2.0
#: Fewer bounds than this are no sample.
PATTERN_SAMPLE: Final = 10

#: A column without common values is taken for a key from this share of different values on (engines'
#: approximate counts are a few percent off).
KEY_SHARE: Final = 0.95

# Spreads: e^0.2 = ± 22 %, e^0.8 = a factor of 2.2, e^1.5 = a factor of 4.5.
KNOWN: Final = 0.05
COMMON: Final = 0.2
HISTOGRAM: Final = 0.3
BOUNDS_ONLY: Final = 0.8
UNIFORM: Final = 0.8
SAMPLED_PATTERN: Final = 0.8
GUESSED: Final = 1.5

_CACHED_PATTERNS: Final = 2048
_DOMAINS: Final = {ColumnKind.NUMBER: "NUMBER", ColumnKind.TIME: "TIME", ColumnKind.TEXT: "TEXT"}


class Distribution:
    """A column's distribution.

    Parameters
    ----------
    statistics : ColumnStatistics or None
        None if the engine knows nothing of the column; the documented defaults are then assumed.
    rows : float
        Rows of the table.
    """

    __slots__ = (
        "_bounds",
        "_common_order",
        "_common_running",
        "_fold",
        "_native",
        "_patterns",
        "_plain",
        "common",
        "convert",
        "distinct",
        "each",
        "kind",
        "known",
        "null_share",
        "rest",
        "rest_distinct",
        "rows",
        "unique",
    )

    def __init__(self, statistics: ColumnStatistics | None, rows: float) -> None:
        self.rows = max(rows, 1.0)
        self.known = statistics is not None
        if statistics is None:
            statistics = ColumnStatistics(
                ColumnKind.OTHER, min(UNKNOWN_DISTINCT, self.rows), UNKNOWN_NULL_SHARE
            )
        self.kind = statistics.kind
        self.convert = CONVERTERS[self.kind]
        self.null_share = statistics.null_share
        filled = 1.0 - self.null_share
        self.common = _usable_common(statistics, filled)
        # Many keys are not declared; a sample that repeats nothing and a count of nearly all rows tell.
        self.unique = statistics.unique or (
            not self.common and self.rows >= 100 and statistics.distinct >= KEY_SHARE * self.rows * filled > 0
        )
        total = math.fsum(self.common.values())
        self.rest = max(filled - total, 0.0)
        if self.unique:
            self.distinct = max(self.rows * filled, 1.0)
        else:
            self.distinct = min(max(statistics.distinct, len(self.common), 1.0), self.rows)
        self.rest_distinct = max(self.distinct - len(self.common), 1.0)
        each = self.rest / self.rest_distinct
        if self.common and not self.unique:
            # A value that is not common is not more frequent than the least of the common ones.
            each = min(each, min(self.common.values()))
        #: Share of one value that is not common.
        self.each = each
        order = sorted(self.common.items())
        self._common_order: list[Any] = [value for value, _ in order]
        running = [0.0]
        for _, share in order:
            running.append(running[-1] + share)
        self._common_running = running
        self._bounds = _spread_bounds(statistics)
        self._patterns: dict[Pattern, Estimate] = {}
        self._plain: tuple[list[tuple[str, float]], list[str]] | None = None
        self._fold: tuple[list[tuple[str, float]], list[str]] | None = None
        self._native: dict[ModuleType, Any] = {}

    def native(self, columns: ModuleType) -> Any:
        """This column as the kernel ``columns`` holds it; None for domains that it does not know."""
        found = self._native.get(columns)
        if found is None and self.kind in _DOMAINS:
            share, spread = max(self.each, TINY), UNIFORM if self.known else GUESSED
            found = self._native[columns] = columns.Column(
                getattr(columns, _DOMAINS[self.kind]),
                self.common,
                self._common_order,
                self._common_running,
                list(self._bounds),
                (
                    1.0 - self.null_share,
                    self.rest,
                    1.0 / self.rest_distinct,
                    share,
                    KNOWN if self.unique else spread,
                    max(min(self.each, 0.5 / self.rows), TINY),
                    max(0.5 / self.rows, TINY),
                ),
            )
        return found

    @property
    def bounds(self) -> Sequence[Any]:
        """Ascending values between which equal shares of the rest lie; empty if nothing is known."""
        return self._bounds

    @property
    def most_common_share(self) -> float:
        """Share of the most common value."""
        return max(max(self.common.values(), default=0.0), self.each)

    @property
    def squared_norm(self) -> float:
        """At most the sum over all values of their share squared: the chance that two rows agree.

        No value of the rest is more frequent than the least of the common ones.
        """
        highest = min(self.common.values()) if self.common else self.each
        return math.fsum(share * share for share in self.common.values()) + self.rest * highest

    def average(self) -> Estimate:
        """``column = ?`` with a value that is not known yet."""
        share = max((1.0 - self.null_share) / self.distinct, TINY)
        return share, KNOWN if self.unique else (UNIFORM if self.known else GUESSED)

    def equal(self, value: Any) -> Estimate:
        """``column = value``."""
        share = self.common.get(value)
        if share is not None:
            return share, COMMON
        bounds = self._bounds
        if bounds and not bounds[0] <= value <= bounds[-1]:
            # Outside what was seen. Statistics age and are sampled, so not an exact zero.
            return max(min(self.each, 0.5 / self.rows), TINY), UNIFORM
        if self.unique:
            return max(self.each, TINY), KNOWN
        return max(self.each, TINY), UNIFORM if self.known else GUESSED

    def below(self, value: Any, inclusive: bool) -> float:
        """Share of rows with a value < (inclusive: ≤) the given one. Needs :attr:`bounds`."""
        if inclusive:
            common = self._common_running[bisect_right(self._common_order, value)]
        else:
            common = self._common_running[bisect_left(self._common_order, value)]
        return common + self.rest * self._rest_below(value, inclusive)

    def _rest_below(self, value: Any, inclusive: bool) -> float:
        """Share of the rest below a value. Monotone in ``value``, and never less if inclusive.

        ``< 5`` and ``<= 5`` differ by one value's share.
        """
        bounds = self._bounds
        last = len(bounds) - 1
        one = 1.0 / self.rest_distinct
        position = bisect_left(bounds, value)
        if position > last:
            return 1.0
        if position == 0:
            strict = 0.0
            if value != bounds[0]:
                return 0.0
        else:
            low, high = bounds[position - 1], bounds[position]
            strict = (position - 1 + _fraction(low, value, high)) / last * (1.0 - one)
        if not inclusive:
            return strict
        repeated = bisect_right(bounds, value) - 1
        return min(max(strict + one, repeated / last if last else 1.0), 1.0)

    def interval(self, low: Any, low_inclusive: bool, high: Any, high_inclusive: bool) -> Estimate:
        """Rows between two values; None for ``low`` or ``high`` leaves that side open."""
        filled = 1.0 - self.null_share
        bounds = self._bounds
        if not bounds:
            one_sided = low is None or high is None
            return filled * (UNKNOWN_RANGE if one_sided else UNKNOWN_INTERVAL), GUESSED
        if low is not None and high is not None:
            if low > high:
                return 0.0, 0.0
            if low == high:
                return self.equal(low) if low_inclusive and high_inclusive else (0.0, 0.0)
        below_high = filled if high is None else self.below(high, high_inclusive)
        below_low = 0.0 if low is None else self.below(low, not low_inclusive)
        share = below_high - below_low
        spread = HISTOGRAM if len(bounds) > 2 else BOUNDS_ONLY
        least = max(0.5 / self.rows, TINY)
        if share < least:
            return least, UNIFORM
        return share, spread

    def rest_fraction(self, low: str, high: str) -> float:
        """Fraction of the rest in ``low <= value < high``, for text."""
        if not self._bounds:
            return UNKNOWN_INTERVAL
        return max(self._rest_below(high, False) - self._rest_below(low, False), 0.0)

    def like(self, pattern: Pattern) -> Estimate:
        """``column LIKE pattern`` (or ILIKE).

        Common values are matched one by one. The rest is estimated from a guess (the share of rows with the
        pattern's prefix, times a factor that falls with the number of literal characters), corrected by how
        many of the histogram's bounds match: each stands for an equal share of the rest, so they are a
        sample of it. PostgreSQL estimates patterns from the same three sources.
        """
        found = self._patterns.get(pattern)
        if found is None:
            found = self._like(pattern)
            if len(self._patterns) >= _CACHED_PATTERNS:
                self._patterns.clear()
            self._patterns[pattern] = found
        return found

    def _like(self, pattern: Pattern) -> Estimate:
        if self.kind is not ColumnKind.TEXT:
            return (1.0 - self.null_share) * pattern_guess(pattern.literals), GUESSED
        if pattern.exact is not None:
            return self.equal(pattern.exact)
        if pattern.everything:
            return 1.0 - self.null_share, KNOWN
        common, bounds = self._texts(pattern.fold)
        matches = pattern.matches
        from_common = sum([share for value, share in common if matches(value)])
        if pattern.prefix and not pattern.fold and self._bounds:
            guess = self.rest_fraction(pattern.prefix, pattern.prefix_end)
            others = pattern.literals - len(pattern.prefix)
            if others:
                guess *= pattern_guess(others)
            guess = max(guess, 1.0 / self.rest_distinct)
            spread = HISTOGRAM if not others and len(bounds) > 2 else GUESSED
        else:
            guess = max(pattern_guess(pattern.literals), min(PATTERN_LEAST, 1.0 / self.rest_distinct))
            spread = GUESSED
        if len(bounds) >= PATTERN_SAMPLE:
            hits = sum(map(matches, bounds))
            guess = (hits + PATTERN_PRIOR * guess) / (len(bounds) + PATTERN_PRIOR)
            spread = min(spread, SAMPLED_PATTERN if hits else GUESSED)
        from_rest = self.rest * min(guess, 1.0)
        share = from_common + from_rest
        if share < TINY:
            return TINY, spread
        return share, (from_common * COMMON + from_rest * spread) / share

    def _texts(self, fold: bool) -> tuple[list[tuple[str, float]], list[str]]:
        """Common values with their shares, and bounds; in lower case for ILIKE. Made when first asked for."""
        if not fold:
            if self._plain is None:
                self._plain = ([(str(value), share) for value, share in self.common.items()], self._bounds)
            return self._plain
        if self._fold is None:
            self._fold = (
                [(str(value).lower(), share) for value, share in self.common.items()],
                [str(value).lower() for value in self._bounds],
            )
        return self._fold


def pattern_guess(literals: int) -> float:
    """Share of texts that hold a pattern with that many literal characters, from nothing else."""
    return max(PATTERN_BASE * PATTERN_PER_CHARACTER ** min(literals, 100), PATTERN_LEAST)


def _usable_common(statistics: ColumnStatistics, filled: float) -> dict[Value, float]:
    """Common values that belong to the domain; their shares never exceed the rows that are not NULL."""
    text = statistics.kind in (ColumnKind.TEXT, ColumnKind.OTHER)
    common: dict[Value, float] = {}
    for value, share in zip(statistics.common_values, statistics.common_shares.tolist(), strict=True):
        usable = isinstance(value, str) if text else isinstance(value, (int, float)) and value == value
        if usable and share > 0.0:
            common[value if text else float(value)] = share
    total = math.fsum(common.values())
    if total > filled:
        common = {value: share * filled / total for value, share in common.items()} if filled > 0 else {}
    return common


def _spread_bounds(statistics: ColumnStatistics) -> list[Any]:
    """Ascending bounds of equal shares: the histogram, else minimum and maximum, else nothing."""
    if statistics.kind is ColumnKind.OTHER:
        return []
    text = statistics.kind is ColumnKind.TEXT

    def usable(value: Any) -> bool:
        return isinstance(value, str) if text else isinstance(value, (int, float)) and math.isfinite(value)

    bounds: list[Any] = [value if text else float(value) for value in statistics.histogram if usable(value)]
    ends: list[Any] = [value for value in (statistics.minimum, statistics.maximum) if usable(value)]
    if not text:
        ends = [float(value) for value in ends]
    if any(later < earlier for earlier, later in pairwise(bounds)):
        bounds.sort()
    if len(bounds) < 2:
        return sorted(ends) if len(ends) == 2 else []
    # A sample's histogram rarely reaches the true ends; exact ones extend its outer buckets.
    bounds[0] = min([bounds[0], *ends])
    bounds[-1] = max([bounds[-1], *ends])
    return bounds


def _fraction(low: Any, value: Any, high: Any) -> float:
    """Where ``value`` lies between two bounds, 0 to 1, given low < value <= high."""
    if not isinstance(value, str):
        width = high - low
        return float((value - low) / width) if 0.0 < width < math.inf else 0.5
    # Texts become fractions in base 256 after what the two bounds have in common.
    shared = 0
    for left, right in zip(low, high, strict=False):
        if left != right:
            break
        shared += 1
    base = _as_number(low, shared)
    width = _as_number(high, shared) - base
    return min(max((_as_number(value, shared) - base) / width, 0.0), 1.0) if width > 0 else 0.5


def _as_number(text: str, start: int) -> float:
    scale, total = 1.0, 0.0
    for character in text[start : start + 6]:
        scale /= 256.0
        total += min(ord(character), 255) * scale
    return total
