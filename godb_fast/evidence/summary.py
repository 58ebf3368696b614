"""Plain summaries of ratios and times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from godb_fast.errors import InvalidInput


@dataclass(frozen=True)
class RatioSummary:
    """How the queries of a comparison fared, each by its own ratio (below 1 is faster).

    ``worst`` is the position of the query with the largest ratio.
    """

    queries: int
    geometric_mean: float
    p50: float
    p95: float
    p99: float
    slower_1_1: int
    slower_2: int
    worst: int
    worst_ratio: float


def geometric_mean(values: ArrayLike) -> float:
    """Exponential of the mean logarithm.

    Raises
    ------
    InvalidInput
        If there is no value, or one is not positive.
    """
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if array.size == 0 or not (np.isfinite(array) & (array > 0)).all():
        raise InvalidInput("a geometric mean needs at least one value, all of them positive and finite")
    return float(np.exp(np.log(array).mean()))


def percentile(values: ArrayLike, share: float) -> float:
    """The value that ``share`` of the values do not exceed; always one of them (inverted distribution)."""
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if array.size == 0:
        raise InvalidInput("a percentile needs at least one value")
    if not 0.0 <= share <= 1.0:
        raise InvalidInput(f"share {share} is not between 0 and 1")
    return float(np.quantile(array, share, method="inverted_cdf"))


def summarize_ratios(ratios: ArrayLike) -> RatioSummary:
    """Geometric mean, percentiles, and the counts of queries more than 1.1 × and 2 × slower."""
    array = np.asarray(ratios, dtype=np.float64).reshape(-1)
    mean = geometric_mean(array)
    worst = int(np.argmax(array))
    return RatioSummary(
        queries=int(array.size),
        geometric_mean=mean,
        p50=percentile(array, 0.50),
        p95=percentile(array, 0.95),
        p99=percentile(array, 0.99),
        slower_1_1=int((array > 1.1).sum()),
        slower_2=int((array > 2.0).sum()),
        worst=worst,
        worst_ratio=float(array[worst]),
    )
