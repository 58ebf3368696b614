"""Templates held out, and how good predictions of them are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: One of so many templates is held out at a time; no sibling leaks, since it goes as a whole.
SHARE: Final = 4
#: Up to so many rows each template is held out once.
FEW: Final = 6_000
#: Quantiles of held-out residuals that a card holds.
QUANTILES: Final = (0.05, 0.1, 0.5, 0.9, 0.95, 0.99)


def held_out(templates: NDArray[np.int64], seed: int, most: int = 1) -> list[Flags]:
    """Which rows belong to templates that are held out, by round: a quarter of the templates each time.

    Parameters
    ----------
    most : int
        How many rounds, up to all four quarters.
    """
    known = np.unique(templates)

    def place(template: int) -> bytes:
        return hashlib.blake2b(f"{seed}:{template}".encode(), digest_size=8).digest()

    ordered = sorted(known.tolist(), key=place)
    parts = [ordered[part::SHARE] for part in range(min(most, SHARE))]
    return [np.isin(templates, chosen) for chosen in parts if chosen]


def rounds(rows: int) -> int:
    """How many rounds of held-out templates so many rows get: each of few is judged, a quarter of many."""
    return SHARE if rows <= FEW else 1


def out_of_fold(
    templates: NDArray[np.int64], seed: int, rows: int, predict: Callable[[Flags], Floats]
) -> tuple[Flags, Floats]:
    """Predictions of templates that the model never saw: which rows have one, and theirs.

    Parameters
    ----------
    rows : int
        That a fit on all would read.
    predict : callable
        Takes which rows are held out; fits on the others, and predicts those.
    """
    judged, predictions = np.zeros(len(templates), np.bool_), np.zeros(len(templates))
    for test in held_out(templates, seed, rounds(rows)):
        judged |= test
        predictions[test] = predict(test)
    return judged, predictions[judged]


def q_errors(truth: Floats, predicted: Floats) -> dict[str, float]:
    """Percentiles of max(truth / predicted, predicted / truth)."""
    ratio = np.exp(np.abs(np.log(truth) - np.log(predicted)))
    p50, p90, p99 = np.percentile(ratio, (50, 90, 99)).tolist()
    return {"q_error_p50": p50, "q_error_p90": p90, "q_error_p99": p99}


def residuals(truth: Floats, predicted: Floats) -> dict[str, float]:
    """Quantiles of ln(truth / predicted)."""
    values = np.quantile(np.log(truth) - np.log(predicted), QUANTILES).tolist()
    return {f"p{quantile * 100:02.0f}": value for quantile, value in zip(QUANTILES, values, strict=True)}


def rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's; 0 where one of them is constant."""
    ranks = [values.argsort().argsort().astype(np.float64) for values in (one, other)]
    if len(one) < 2 or any(values.min() == values.max() for values in (one, other)):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
