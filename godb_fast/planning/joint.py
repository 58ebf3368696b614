"""Estimates where an engine knows of several columns together (PostgreSQL's extended statistics).

Equalities on such columns are one term of a conjunction: a common combination has the share that was counted;
otherwise functional dependencies say how much one equality implies another, by the rule of PostgreSQL's
``dependencies_clauselist_selectivity``; without any, distinct combinations replace the product of the
columns' own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from godb_fast.core import Comparison, JointStatistics, Predicate
from godb_fast.planning.comparisons import Term, Values, comparison, reader
from godb_fast.planning.distribution import KNOWN, TINY, Distribution, Estimate
from godb_fast.planning.domains import UNKNOWN

#: What is known, and the equalities that it covers.
Together: TypeAlias = tuple[JointStatistics, list[Comparison]]


def known_together(
    predicates: Sequence[Predicate], joint: Sequence[JointStatistics]
) -> tuple[list[Together], list[Predicate]]:
    """Equalities that are estimated together, each at most once, and all other predicates."""
    if not joint:
        return [], list(predicates)
    equal: dict[str, Comparison] = {}
    for predicate in predicates:
        if isinstance(predicate, Comparison) and _is_plain_equality(predicate):
            equal.setdefault(predicate.column.name, predicate)
    together: list[Together] = []
    # What covers the most equalities counts first.
    for known in sorted(joint, key=lambda each: -sum(name in equal for name in each.columns)):
        covered = frozenset(name for name in known.columns if name in equal)
        if len(covered) >= 2 and _tells(known, covered):
            together.append((known, [equal.pop(name) for name in known.columns if name in covered]))
    taken = {id(predicate) for _, group in together for predicate in group}
    return together, [predicate for predicate in predicates if id(predicate) not in taken]


def _is_plain_equality(predicate: Comparison) -> bool:
    return predicate.operator == "=" and predicate.function is None and not predicate.shift


def _tells(known: JointStatistics, covered: frozenset[str]) -> bool:
    return (
        covered in known.distinct
        or bool(known.common_values and covered == frozenset(known.columns))
        or any(some | {one} <= covered for some, one in known.dependencies)
    )


def joint_term(
    known: JointStatistics, group: Sequence[Comparison], columns: Callable[[str], Distribution]
) -> Term:
    """The term of equalities on different columns, all of which are to hold."""
    names = [predicate.column.name for predicate in group]
    parts = [comparison(predicate, columns(predicate.column.name)) for predicate in group]
    whole = known.common_values and names == list(known.columns)
    reads = [reader(one, 0, columns(one.column.name).convert) for one in group] if whole else []
    common = dict(zip(known.common_values, known.common_shares.tolist(), strict=True)) if whole else {}
    # A combination that is not listed is no more frequent than the last that is, nor than all that are left.
    most = min([max(1.0 - sum(common.values()), TINY), *common.values()]) if common else 1.0
    implied = _implied(known, names)
    distinct = known.distinct.get(frozenset(names))
    singly = math.prod(columns(name).distinct for name in names)
    fewer = max(singly / distinct, 1.0) if distinct else 1.0

    def term(values: Values) -> Estimate:
        estimates = [part(values) for part in parts]
        shares = [share for share, _ in estimates]
        if min(shares) <= 0.0:
            return 0.0, 0.0
        least = min(shares)
        if reads:
            combination: tuple[Any, ...] = tuple([read(values) for read in reads])
            found = common.get(combination)
            if found is not None:
                return max(found, TINY), KNOWN
            if UNKNOWN not in combination:
                least = min(least, most)
        if implied:
            for some, one, degree in reversed(implied):
                cause, effect = math.prod(shares[each] for each in some), shares[one]
                follows = degree if cause <= effect else degree * effect / cause
                shares[one] = follows + (1.0 - degree) * effect
            share = math.prod(shares)
        else:
            share = math.prod(shares) * fewer
        spread = math.sqrt(sum(spread * spread for _, spread in estimates))
        return max(min(share, least), TINY), spread

    return term


def _implied(known: JointStatistics, names: Sequence[str]) -> list[tuple[list[int], int, float]]:
    """Dependencies to apply: places of the columns that determine another, its place, and how surely."""
    found: list[tuple[list[int], int, float]] = []
    left = set(names)
    while True:
        fitting = [
            (len(some), degree, sorted(some), one)
            for (some, one), degree in known.dependencies.items()
            if some | {one} <= left and one not in some
        ]
        if not fitting:
            return found
        # The widest first, the surest among them; a column that follows from others implies nothing more.
        _, degree, some_names, one = max(fitting)
        found.append(([names.index(name) for name in some_names], names.index(one), degree))
        left.remove(one)


def log_combinations(distinct: Mapping[str, float], joint: Sequence[JointStatistics]) -> float:
    """ln of the distinct combinations of columns of one table, given each column's own distinct values."""
    left = dict(distinct)
    total = 0.0
    known = sorted(
        ((columns, count) for each in joint for columns, count in each.distinct.items()),
        key=lambda entry: (-len(entry[0]), entry[1]),
    )
    for columns, count in known:
        if len(columns) >= 2 and columns <= left.keys():
            total += math.log(max(count, 1.0))
            for name in columns:
                del left[name]
    return total + sum(math.log(each) for each in left.values())
