"""How good predicted times are: q-errors and rank correlations, per operator and as they come."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from godb_fast.errors import InvalidInput
from godb_fast.feedback.costs.predictor import CostPredictor
from godb_fast.feedback.costs.samples import CostSample
from godb_fast.feedback.costs.terms import OPERATORS

Floats = NDArray[np.float64]

#: No time is longer, in whatever unit, nor shorter than one by it.
_MOST: Final = 1e60
#: Operators that took less say more of the clock than of the model.
_LEAST_NS: Final = 1e4


def q_errors(predicted: ArrayLike, measured: ArrayLike) -> Floats:
    """max(p / m, m / p) of positive times (Moerkotte, Neumann and Steidl, VLDB 2009)."""
    ratio = np.asarray(predicted, np.float64) / np.asarray(measured, np.float64)
    if not (np.isfinite(ratio).all() and (ratio > 0).all()):
        raise InvalidInput("q-errors are of positive, finite times")
    errors: Floats = np.maximum(ratio, 1.0 / ratio)
    return errors


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; 0 where one of the two does not vary."""
    first, second = _ranks(np.asarray(one, np.float64)), _ranks(np.asarray(other, np.float64))
    if first.shape != second.shape:
        raise InvalidInput(f"{first.size} values against {second.size}")
    if first.size < 2 or not first.std() or not second.std():
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    # The mean of the ranks that equal values take up.
    after = np.cumsum(counts)
    means: Floats = (after - 0.5 * (counts - 1)).astype(np.float64)[inverse]
    return means


@dataclass(frozen=True)
class OperatorAccuracy:
    """How well the times of one class of operators are told from their measured rows.

    ``time_share`` is their share of all operators' time, ``q_error`` a median.
    """

    operator: str
    count: int
    time_share: float
    q_error: float
    rank_correlation: float


def operator_accuracy(predictor: CostPredictor, samples: Sequence[CostSample]) -> list[OperatorAccuracy]:
    """Accuracy per class of operators, those that took most first; operators below 10 µs are left out."""
    if not samples:
        return []
    times = np.concatenate([sample.times_ns for sample in samples])
    predicted = predictor.operators.predict(np.vstack([sample.amounts for sample in samples]))
    classes = np.concatenate([sample.operators for sample in samples])
    counted = np.isfinite(times) & (times >= _LEAST_NS)
    total = float(times[counted].sum()) or 1.0
    found = []
    for number, operator in enumerate(OPERATORS):
        chosen = counted & (classes == number)
        if chosen.any():
            measured, expected = times[chosen], np.maximum(predicted[chosen], 1.0)
            found.append(
                OperatorAccuracy(
                    operator,
                    int(chosen.sum()),
                    float(measured.sum()) / total,
                    float(np.median(q_errors(expected, measured))),
                    rank_correlation(expected, measured),
                )
            )
    return sorted(found, key=lambda entry: -entry.time_share)


@dataclass(frozen=True)
class Accuracy:
    """Accuracy over the last observations."""

    count: int
    q_error: float
    q_error_p90: float
    rank_correlation: float


class AccuracyTracker:
    """Predictions beside what was then measured, the last ``window`` of them."""

    def __init__(self, window: int = 256) -> None:
        if window < 1:
            raise InvalidInput(f"window is {window}; it is at least 1")
        self._pairs: deque[tuple[float, float]] = deque(maxlen=window)

    def note(self, predicted: float, measured: float) -> None:
        """A time as it was predicted before it was measured; both positive."""
        if not all(math.isfinite(value) and value > 0.0 for value in (predicted, measured)):
            raise InvalidInput(f"predicted {predicted}, measured {measured}: times are positive")
        self._pairs.append((predicted, measured))

    @property
    def accuracy(self) -> Accuracy | None:
        """Of what is in the window; None if nothing is."""
        if not self._pairs:
            return None
        predicted, measured = np.array(self._pairs).T
        errors = q_errors(predicted, measured)
        return Accuracy(
            len(self._pairs),
            float(np.median(errors)),
            float(np.percentile(errors, 90)),
            rank_correlation(predicted, measured),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"window": self._pairs.maxlen, "pairs": [list(pair) for pair in self._pairs]}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> AccuracyTracker:
        """What :meth:`to_dict` wrote."""
        try:
            tracker = cls(int(raw["window"]))
            for predicted, measured in raw["pairs"]:
                tracker.note(float(predicted), float(measured))
            if not all(1.0 / _MOST <= time <= _MOST for pair in tracker._pairs for time in pair):
                raise InvalidInput("times that no statement takes")
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise InvalidInput(f"kept accuracy cannot be read: {error!r}") from error
        return tracker
