"""Tests of paired latencies that stay valid when they are looked at after every run.

Stopping at the first significant look keeps the error below ``alpha``, because each rests on a
nonnegative martingale (Ville 1939): the evidence exceeds ``1 / alpha`` ever with probability at most
``alpha``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from godb_fast.errors import InvalidInput


@dataclass(frozen=True)
class LogRatioTest:
    """State of the test after some pairs.

    Parameters
    ----------
    pairs : int
        Pairs seen.
    ratio : float
        Geometric mean of the ratios so far (treatment over baseline).
    low, high : float
        The confidence sequence's present interval for the ratio; 0 and infinity before it closes.
    evidence : float
        E-value against "the ratio is the null ratio"; at least ``1 / alpha`` rejects.
    """

    pairs: int
    ratio: float
    low: float
    high: float
    evidence: float
    alpha: float

    @property
    def faster(self) -> bool:
        """The ratio is below 1 at this confidence."""
        return self.high < 1.0

    @property
    def slower(self) -> bool:
        """The ratio is above 1 at this confidence."""
        return self.low > 1.0


def log_ratio_test(
    log_ratios: ArrayLike, *, alpha: float = 0.05, null_ratio: float = 1.0, effect: float = 1.0
) -> LogRatioTest:
    """Anytime-valid t-test and confidence sequence of the mean log ratio of paired latencies.

    The mixture sequential probability ratio test for a normal mean with unknown variance: the right-Haar
    prior on the scale makes the likelihood ratio of the t statistics a martingale under every variance,
    and a normal prior of standard deviation ``effect`` (in standard deviations of one log ratio) is mixed
    over. Robbins 1970; Lai 1976; Pérez-Ortiz, Lardy, de Heide and Grünwald, "E-statistics, group
    invariance and anytime-valid testing", Annals of Statistics 2024. Exact for normal log ratios; where
    single runs have wild outliers, :func:`sign_evidence` assumes nothing.

    Parameters
    ----------
    log_ratios : array of float
        ln(treatment / baseline), one per pair, in the order in which they were run.
    effect : float
        Prior standard deviation of the standardized effect; larger values favour large effects.

    Raises
    ------
    InvalidInput
        If a log ratio is not finite, or a parameter is out of its range.
    """
    values = np.asarray(log_ratios, dtype=np.float64).reshape(-1)
    if not np.isfinite(values).all():
        raise InvalidInput("a log ratio is not finite; runs that were cut off cannot be paired")
    if not (0.0 < alpha < 1.0 and null_ratio > 0.0 and effect > 0.0):
        raise InvalidInput(f"alpha {alpha}, null ratio {null_ratio}, effect {effect}: out of range")
    count = int(values.size)
    if count < 2:
        ratio = math.exp(float(values[0])) if count else 1.0
        return LogRatioTest(count, ratio, 0.0, math.inf, 1.0, alpha)
    mean = float(values.mean())
    deviation = float(values.std(ddof=1))
    # Clock resolution: identical ratios would claim certainty, and divide by zero.
    deviation = max(deviation, 1e-9 * max(1.0, abs(mean)))
    freedom = count - 1
    inflation = 1.0 + count * effect * effect

    shift = (mean - math.log(null_ratio)) * math.sqrt(count) / deviation
    squared = shift * shift / freedom
    log_evidence = -0.5 * math.log(inflation) + 0.5 * count * (
        math.log1p(squared) - math.log1p(squared / inflation)
    )

    bound = math.exp((2.0 / count) * (0.5 * math.log(inflation) - math.log(alpha)))
    if bound >= inflation:
        low, high = 0.0, math.inf
    else:
        limit = (bound - 1.0) / (1.0 - bound / inflation)
        reach = deviation * math.sqrt(limit * freedom / count)
        low, high = _exp(mean - reach), _exp(mean + reach)
    return LogRatioTest(count, _exp(mean), low, high, _exp(log_evidence), alpha)


def sign_evidence(wins: int, pairs: int) -> float:
    """E-value against "the treatment wins a pair with probability at most one half".

    The likelihood ratio of the uniform mixture over win probabilities above one half: a martingale at one
    half, a supermartingale below, whatever the distribution of the times (the median is tested, so single
    outliers do not matter). Ville 1939; Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and
    safe anytime-valid inference", Statistical Science 2023. At least ``1 / alpha`` rejects at any time.
    Leave ties out of both counts.

    Raises
    ------
    InvalidInput
        Unless ``0 <= wins <= pairs``.
    """
    if not 0 <= wins <= pairs:
        raise InvalidInput(f"{wins} wins of {pairs} pairs")
    # 2^(n+1) B(k+1, n-k+1) P[Beta(k+1, n-k+1) > 1/2] in exact integers.
    below = sum(math.comb(pairs + 1, j) for j in range(wins + 1))
    numerator, denominator = below, (pairs + 1) * math.comb(pairs, wins)
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf


def _exp(value: float) -> float:
    return math.exp(value) if value < 709.0 else math.inf
