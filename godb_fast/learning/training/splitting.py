"""Templates held out, and how good predictions of them are."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: One of so many templates is held out; its siblings' queries never leak, since it goes as a whole.
SHARE: Final = 4
#: Quantiles of held-out residuals that a card holds.
QUANTILES: Final = (0.05, 0.1, 0.5, 0.9, 0.95, 0.99)


def held_out(templates: NDArray[np.int64], seed: int) -> Flags:
    """Which rows belong to held-out templates: a quarter of the templates, at least one."""
    known = np.unique(templates)

    def place(template: int) -> bytes:
        return hashlib.blake2b(f"{seed}:{template}".encode(), digest_size=8).digest()

    ordered = sorted(known.tolist(), key=place)
    chosen = ordered[: max(len(ordered) // SHARE, 1)]
    return np.isin(templates, chosen)


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
