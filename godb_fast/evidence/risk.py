"""How bold a rule may be that must do harm to few: chosen on data that its model was not trained on.

The boldest of a series of settings is taken whose harm is surely below the budget, and so is that of all more
cautious ones (conformal risk control: Angelopoulos, Bates, Fisch, Lei and Schuster, ICLR 2024). Outcomes of
one template depend on each other: the standard error is that of whole groups (Liang and Zeger 1986), and what
the model cannot tell apart counts once.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from godb_fast.errors import InvalidInput

Floats = NDArray[np.float64]


def risk_limit(
    harm: ArrayLike, groups: ArrayLike, *, alike: ArrayLike | None = None, confidence: float = 0.9
) -> float:
    """An upper limit of the mean harm of a further outcome.

    The upper end of a one-sided interval for the mean (Student's t with groups - 1 degrees of freedom times
    the standard error over groups), plus the harm that one further outcome can do at most, as if it were
    among those seen.

    Parameters
    ----------
    harm : array of float, shape (n,)
        Between 0 and 1 each.
    groups : array, shape (n,)
        Which outcomes belong together (templates).
    alike : array, shape (n,), optional
        Outcomes with one label look the same to the model: they count as one.
    confidence : float
        Of the interval, from 0.5 (the mean alone) to below 1.

    Raises
    ------
    InvalidInput
        If shapes differ, nothing was seen, or harm is not between 0 and 1.
    """
    values = np.asarray(harm, dtype=np.float64).reshape(-1)
    labels = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    if values.size == 0 or values.shape != labels.shape:
        raise InvalidInput(
            f"{values.size} outcomes in {labels.size} groups: one group each, and at least one"
        )
    if not 0.5 <= confidence < 1.0:
        raise InvalidInput(f"confidence {confidence}: at least 0.5, below 1")
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise InvalidInput("harm is a number between 0 and 1")
    distinct = values.size if alike is None else len(np.unique(np.asarray(alike)))
    mean = float(values.mean())
    count = int(labels.max()) + 1
    spread = np.bincount(labels, values - mean, minlength=count)
    error = 0.0
    if confidence > 0.5:
        if count < 2:
            return math.inf
        error = math.sqrt(float(spread @ spread) * count / (count - 1)) / values.size
    return mean + _student(confidence, count - 1) * error + (1.0 - mean) / (distinct + 1)


def boldest_setting(
    harm: ArrayLike,
    groups: ArrayLike,
    budget: float,
    *,
    alike: ArrayLike | None = None,
    confidence: float = 0.9,
) -> int | None:
    """The first of several settings whose harm, like that of all after it, stays within the budget.

    Parameters
    ----------
    harm : array of float, shape (settings, n)
        From the boldest setting to the most cautious.

    Returns
    -------
    int or None
        Its number; None if not even the last one stays within the budget.
    """
    rows = np.asarray(harm, dtype=np.float64)
    if rows.ndim != 2:
        raise InvalidInput(f"harm has {rows.ndim} dimensions; settings × outcomes are two")
    found = None
    for number in range(len(rows) - 1, -1, -1):
        if risk_limit(rows[number], groups, alike=alike, confidence=confidence) > budget:
            break
        found = number
    return found


def _student(confidence: float, freedom: int) -> float:
    """Quantile of Student's t by its expansion in 1 / freedom (Abramowitz and Stegun 26.7.5)."""
    if confidence <= 0.5:
        return 0.0
    z = NormalDist().inv_cdf(confidence)
    first = (z**3 + z) / 4.0
    second = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    third = (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0
    return z + first / freedom + second / freedom**2 + third / freedom**3
