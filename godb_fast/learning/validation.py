"""What spoils training or serving: values out of range, constant or leaking columns, skew, drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import InvalidInput
from godb_fast.learning.features import FEATURES

Floats = NDArray[np.float64]

#: A population stability index beyond this is a shift by the usual convention; 0.1 is worth a look.
DRIFTED: Final = 0.25
#: Rank correlation with the target beyond which a single column is taken to be the target itself.
LEAKING: Final = 0.999
#: Deciles; each side of a comparison needs twice as many rows.
BINS: Final = 10


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a column.

    ``kind`` is ``nan``, ``range``, ``constant``, ``leak``, ``skew`` or ``drift``; ``value`` its measure: the
    share of rows, the correlation, the largest difference, the stability index.
    """

    feature: str
    kind: str
    value: float


def _checked(vectors: Floats) -> Floats:
    array = np.asarray(vectors, np.float64)
    if array.ndim != 2 or array.shape[1] != len(FEATURES):
        raise InvalidInput(f"feature vectors of shape {array.shape}; they need {len(FEATURES)} columns")
    return array


def check_values(vectors: Floats) -> list[Finding]:
    """Columns with NaN or infinite values, or values outside their range; value is the share of rows."""
    array = _checked(vectors)
    found = []
    for position, feature in enumerate(FEATURES):
        column = array[:, position]
        broken = ~np.isfinite(column)
        outside = ~broken & ((column < feature.least - 1e-9) | (column > feature.most + 1e-9))
        for kind, rows in (("nan", broken), ("range", outside)):
            if rows.any():
                found.append(Finding(feature.name, kind, float(rows.mean())))
    return found


def constant_columns(vectors: Floats) -> list[Finding]:
    """Columns that never change: nothing can be learned of them, and any change at serving is a surprise."""
    array = _checked(vectors)
    if len(array) < 2:
        return []
    same = (array == array[0]).all(axis=0)
    return [
        Finding(feature.name, "constant", float(array[0, position]))
        for position, feature in enumerate(FEATURES)
        if same[position]
    ]


def leaking_columns(vectors: Floats, target: Floats, limit: float = LEAKING) -> list[Finding]:
    """Columns that order the rows as the target does: they were not known when it was not."""
    array = _checked(vectors)
    truth = np.asarray(target, np.float64)
    if truth.shape != (len(array),):
        raise InvalidInput(f"a target of shape {truth.shape} for {len(array)} vectors")
    if len(array) < 10:
        return []
    found = []
    ranked = _ranks(truth)
    for position, feature in enumerate(FEATURES):
        column = array[:, position]
        if column.min() == column.max() or ranked.min() == ranked.max():
            continue
        correlation = float(np.corrcoef(_ranks(column), ranked)[0, 1])
        if abs(correlation) >= limit:
            found.append(Finding(feature.name, "leak", correlation))
    return found


def serving_skew(trained: Floats, served: Floats, tolerance: float = 1e-9) -> list[Finding]:
    """Columns of which the *same* decisions have other values in training than they had when served."""
    one, two = _checked(trained), _checked(served)
    if one.shape != two.shape:
        raise InvalidInput(f"{len(one)} trained and {len(two)} served vectors; they are compared row by row")
    if not len(one):
        return []
    differs = np.abs(one - two)
    # NaN on both sides is the same broken value.
    differs = np.where(np.isnan(one) & np.isnan(two), 0.0, np.nan_to_num(differs, nan=np.inf))
    largest = differs.max(axis=0)
    return [
        Finding(feature.name, "skew", float(largest[position]))
        for position, feature in enumerate(FEATURES)
        if largest[position] > tolerance
    ]


def drifted_columns(before: Floats, now: Floats, limit: float = DRIFTED) -> list[Finding]:
    """Columns whose distribution moved: population stability index over the former deciles.

    The index of two samples of one distribution is about (1/n + 1/m) times a chi-squared variable; what its
    four sigma reach (one table has many columns) is noise, whatever ``limit`` says.
    """
    one, two = _checked(before), _checked(now)
    if min(len(one), len(two)) < 2 * BINS:
        return []
    freedom = BINS - 1
    spread = 2.0 / (9.0 * freedom)
    # Wilson and Hilferty's approximation of the quantile.
    noise = (1.0 / len(one) + 1.0 / len(two)) * freedom * (1.0 - spread + 4.0 * spread**0.5) ** 3
    limit = max(limit, noise)
    found = []
    for position, feature in enumerate(FEATURES):
        index = stability_index(one[:, position], two[:, position])
        if index > limit:
            found.append(Finding(feature.name, "drift", index))
    return found


def stability_index(before: Floats, now: Floats) -> float:
    """Population stability index of two samples; 0 if they are alike."""
    cuts = np.unique(np.quantile(before, np.linspace(0, 1, BINS + 1)[1:-1]))
    # Half a row in each bin, so that empty ones do not make it infinite.
    expected, actual = (
        (np.bincount(_bins(cuts, values), minlength=2 * len(cuts) + 1) + 0.5)
        / (len(values) + 0.5 * (2 * len(cuts) + 1))
        for values in (before, now)
    )
    return float(((actual - expected) * np.log(actual / expected)).sum())


def _bins(cuts: Floats, values: Floats) -> NDArray[np.int64]:
    """Bins between the cuts, and one for each cut itself: counts pile up on few values."""
    left = np.searchsorted(cuts, values, side="left")
    right = np.searchsorted(cuts, values, side="right")
    return (left + right).astype(np.int64)


def _ranks(values: Floats) -> Floats:
    """Ranks, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2.0)[inverse]
    return ranks
