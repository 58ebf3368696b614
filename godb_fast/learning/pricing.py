"""What risk has to cost, so that few enough queries of templates never seen come to harm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import InvalidInput
from godb_fast.evidence.conformal import ConformalBounds
from godb_fast.evidence.risk import boldest_setting
from godb_fast.learning.transfer import Prediction

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: A cluster speaks for a template that is new in it only if so many others are in it.
TEMPLATES: Final = 3
#: Prices that are tried, in median default times, from the boldest on.
_PRICES: Final = tuple(float(price) for price in np.geomspace(1e-3, 1e3, 61))


@dataclass(frozen=True, eq=False)
class Calibration:
    """Predictions of models that had not seen a query's template, and what then happened.

    Parameters
    ----------
    prediction : Prediction
        Of n queries.
    log_ratio : float64 array, shape (n, arms)
        ln(time ÷ default time); infinite where a run under an arm was cut.
    groups, clusters : sequences of str, length n
        Template and cluster of each.
    alike : sequence of str, length n
        Queries with one label look the same to the model.
    """

    prediction: Prediction
    log_ratio: Floats
    groups: Sequence[str]
    clusters: Sequence[str]
    alike: Sequence[str]

    def __post_init__(self) -> None:
        count = len(self.prediction.mean)
        if self.log_ratio.shape != self.prediction.mean.shape or np.isnan(self.log_ratio).any():
            raise InvalidInput(
                f"outcomes of shape {self.log_ratio.shape} for predictions of {self.prediction.mean.shape}"
            )
        if not len(self.groups) == len(self.clusters) == len(self.alike) == count:
            raise InvalidInput(f"{count} predictions need a group, a cluster and a label each")

    @property
    def scores(self) -> Floats:
        """Scores of the arms that were ranked first, shape (n,); NaN where that is the default."""
        return scores(self.prediction, self.log_ratio, ranked_first(self.prediction))


def ranked_first(prediction: Prediction) -> Ints:
    """The arm that is predicted to be fastest for each query, shape (n,); 0 where none beats the default."""
    found: Ints = prediction.mean.argmin(axis=1)
    return found


def scores(prediction: Prediction, log_ratio: Floats, chosen: Ints) -> Floats:
    """(outcome - mean) / scale under these arms, shape (n,); NaN where the arm is the default."""
    rows = np.arange(len(chosen))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (log_ratio[rows, chosen] - prediction.mean[rows, chosen]) / prediction.scale[rows, chosen]
    marked: Floats = np.where(chosen > 0, found, np.nan)
    return marked


def select(saving: Floats, risk: Floats, price: float) -> Ints:
    """The arm of the greatest worth, saving - price × risk, shape (n,); 0 where none is worth anything.

    Parameters
    ----------
    saving, risk : float64 arrays, shape (n, arms)
        Column 0 belongs to the default, which saves and risks nothing. Arms that save nothing are left out.
    """
    with np.errstate(invalid="ignore"):
        worth = np.where(saving > 0.0, saving - price * risk, -math.inf)
    worth[:, 0] = 0.0
    found: Ints = worth.argmax(axis=1)
    return found


def calibrated(calibration: Calibration, level: float = 0.9, *, step: float = 0.05) -> ConformalBounds:
    """Bounds for templates never seen; a cluster of few templates has none of its own yet."""
    known = calibration.scores
    usable = ~np.isnan(known)
    groups, clusters = np.asarray(calibration.groups), np.asarray(calibration.clusters)
    bounds = ConformalBounds(level, step=step, window=max(1000, len(known)))
    bounds.calibrate(known[usable])
    for cluster in np.unique(clusters[usable]):
        near = usable & (clusters == cluster)
        if len(np.unique(groups[near])) >= TEMPLATES:
            bounds.calibrate_cluster(str(cluster), known[near])
    return bounds


def savings(prediction: Prediction) -> Floats:
    """Seconds that each arm is expected to save, shape (n, arms)."""
    found: Floats = -np.exp(prediction.log_default)[:, None] * np.expm1(np.minimum(prediction.mean, 50.0))
    return found


def foreign_risks(calibration: Calibration, budget: float, *, enough: int) -> Floats:
    """How probable it is that each arm goes beyond the budget, judged by other templates, shape (n, arms).

    By those of the query's cluster if those are templates enough (:data:`TEMPLATES`) with scores enough, else
    by all: as a query of a template never seen is judged.
    """
    known = calibration.scores
    groups, clusters = np.asarray(calibration.groups), np.asarray(calibration.clusters)
    at = _standing(calibration.prediction, budget)
    risk = np.ones_like(at)
    for group in np.unique(groups):
        own = groups == group
        others = ~own & ~np.isnan(known)
        for cluster in np.unique(clusters[own]):
            near = others & (clusters == cluster)
            narrow = near.sum() >= enough and len(np.unique(groups[near])) >= TEMPLATES
            used = np.sort(known[near if narrow else others])
            rows = own & (clusters == cluster)
            above = len(used) - np.searchsorted(used, at[rows], side="right")
            risk[rows] = (1.0 + above) / (len(used) + 1.0)
    risk[:, 0] = 0.0
    return risk


def safe_price(
    calibration: Calibration, budget: float, share: float, *, confidence: float = 0.95, enough: int = 30
) -> float:
    """The least price, in seconds, at which at most a share of all queries goes beyond the budget.

    See :func:`godb_fast.evidence.risk.boldest_setting`, which is asked about queries of templates that the
    predictions had not seen.

    Parameters
    ----------
    budget : float
        How many times slower than the default a query may get.
    share : float
        How many of all queries may get slower than that.
    confidence : float
        That they are not more.

    Returns
    -------
    float
        Infinite if no price is safe: then nothing should be steered.
    """
    if not (budget >= 1.0 and 0.0 < share < 1.0):
        raise InvalidInput(f"budget {budget}, share {share}: at least 1, and between 0 and 1")
    prediction = calibration.prediction
    unit = float(np.exp(np.median(prediction.log_default)))
    risk, saving = foreign_risks(calibration, budget, enough=enough), savings(prediction)
    beyond = calibration.log_ratio > math.log(budget)
    rows = np.arange(len(beyond))
    prices = [unit * price for price in _PRICES]
    harm = [beyond[rows, select(saving, risk, price)] for price in prices]
    number = boldest_setting(
        np.array(harm, np.float64),
        calibration.groups,
        share,
        alike=calibration.alike,
        confidence=confidence,
    )
    return math.inf if number is None else prices[number]


def _standing(prediction: Prediction, budget: float) -> Floats:
    """Where the budget lies, in scales from the mean."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = (math.log(budget) - prediction.mean) / prediction.scale
    return found
