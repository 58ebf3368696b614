"""How wrong predictions were, per query or execution: what two models are compared by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.learning.gate import hears_latency, latency_says, log_ratios
from godb_fast.learning.models import Model
from godb_fast.learning.physical import with_latency
from godb_fast.learning.pipelines import plan_seconds

if TYPE_CHECKING:
    from godb_fast.learning.training.gathering import Pairs, PlanRuns

Floats = NDArray[np.float64]

#: Log errors beyond this say nothing more.
_MOST_ERROR: Final = 3.0


def ranker_losses(pairs: Pairs, said: Floats) -> Floats:
    """Mean error of ln(time ÷ that of the engine's own plan), per query, shape (queries,).

    Parameters
    ----------
    said : float64 array, shape (pairs,)
        What was predicted.
    """
    if not len(pairs.log_ratio):
        return np.zeros(0)
    error = pairs.log_ratio - said
    # Of a run that was cut it is known that it takes longer.
    error = np.where(pairs.cut, np.maximum(error, 0.0), np.abs(error))
    _, queries = np.unique(pairs.queries, return_inverse=True)
    means: Floats = np.bincount(queries, np.minimum(error, _MOST_ERROR)) / np.bincount(queries)
    return means


def ranker_says(model: Model, pairs: Pairs, latency: Model | None) -> Floats:
    """What a ranker predicts of pairs, with the latency model's say where it has one, shape (pairs,)."""
    if not len(pairs.log_ratio):
        return np.zeros(0)
    said = log_ratios(model, pairs.vectors)
    if latency is not None and hears_latency(model.card):
        heard = latency_says(latency.predict, list(pairs.plans), list(pairs.own_plans))
        said = with_latency(said, heard, model.card.calibration["latency_share"])
    return said


def latency_losses(measured_s: Floats, predicted_s: Floats) -> Floats:
    """Error of ln(time), per execution."""
    error = np.abs(np.log(np.maximum(predicted_s, 1e-9) / measured_s))
    return np.minimum(error, _MOST_ERROR)


def latency_predicts(model: Model, runs: PlanRuns) -> Floats:
    """Seconds that a latency model predicts, per execution."""
    if not len(runs.starts):
        return np.zeros(0)
    return plan_seconds(runs.source_rows, model.predict(runs.vectors), runs.starts)


def pinball_losses(measured: Floats, predicted: Floats, level: float) -> Floats:
    """Pinball loss of a quantile, per execution (Koenker and Bassett 1978)."""
    above = measured - predicted
    loss: Floats = np.maximum(level * above, (level - 1.0) * above)
    return loss
