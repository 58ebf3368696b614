"""Whether a model that was trained in the background may serve: both predict what came after its training.

Only what neither has learned from is compared: runs of plans and executions that were recorded later than the
newest that the model in shadow was trained on. Of a ranker the error is that of ln(time of a plan ÷ time of
the engine's own), of a latency model that of ln(time), of a quantile its pinball loss.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import ModelRefused
from godb_fast.learning.gate import Gate, hears_latency
from godb_fast.learning.losses import (
    latency_losses,
    latency_predicts,
    pinball_losses,
    ranker_losses,
    ranker_says,
)
from godb_fast.learning.models import Card, Model
from godb_fast.learning.models.shipped import find
from godb_fast.learning.models.waiting import ShadowFolder

if TYPE_CHECKING:
    from godb_fast.learning.training.gathering import Gathered
    from godb_fast.store import SqliteStore

log = logging.getLogger("godb_fast")

Floats = NDArray[np.float64]

#: Queries (executions, for a latency) that two models have to predict before they are compared.
LEAST_COMPARED: Final = 20
#: The newest executions that are compared.
_MOST_EXECUTIONS: Final = 500


@dataclass(frozen=True)
class Comparison:
    """How a model in shadow did beside the one that serves.

    Parameters
    ----------
    compared : int
        Queries, or executions, that both predicted.
    error, former_error : float
        Mean loss of each; 0 before anything was compared.
    """

    model: str
    former: str
    compared: int
    error: float
    former_error: float

    @property
    def enough(self) -> bool:
        """Whether a verdict may be given."""
        return self.compared >= LEAST_COMPARED

    @property
    def promoted(self) -> bool:
        """Whether the model in shadow is not worse."""
        return self.enough and self.error <= self.former_error

    def __str__(self) -> str:
        if not self.enough:
            return f"{self.compared} of {LEAST_COMPARED} outcomes to compare it with {self.former}"
        return (
            f"mean error {self.error:.3g}, that of {self.former} is {self.former_error:.3g}, "
            f"on {self.compared} later outcomes"
        )


def compare(newer: Model, former: Model, store: SqliteStore) -> Comparison:
    """Have both predict what the store holds since the newer one was trained.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    from godb_fast.learning.training.gathering import gather

    card = newer.card
    since = datetime.fromisoformat(card.until) if card.until else None
    found = gather(store, card.engine, since=since, only=card.kind, most=_MOST_EXECUTIONS)
    latency = _latency(card, store.models)
    mine, other = _losses(newer, found, latency), _losses(former, found, latency)
    count = len(mine)
    return Comparison(
        newer.key,
        former.key,
        count,
        float(mine.mean()) if count else 0.0,
        float(other.mean()) if count else 0.0,
    )


def _latency(ranker: Card, folder: str | os.PathLike[str] | None) -> Model | None:
    """The latency model that serves beside a ranker; None beside one that hears none."""
    if ranker.kind != "ranker" or not hears_latency(ranker):
        return None
    return find(f"{ranker.engine}-latency", folder)


def _losses(model: Model, found: Gathered, latency: Model | None) -> Floats:
    """The loss of each query."""
    if model.card.kind == "ranker":
        return ranker_losses(found.pairs, ranker_says(model, found.pairs, latency))
    if model.card.kind == "latency":
        return latency_losses(found.runs.latency_s, latency_predicts(model, found.runs))
    served = found.served
    complete = ~served.censored
    if not complete.any():
        return np.zeros(0)
    measured, predicted = np.log(served.latencies_ms[complete]), model.predict(served.vectors[complete])
    return pinball_losses(measured, predicted, model.card.quantile or 0.5)


def judge(folder: ShadowFolder, name: str, store: SqliteStore) -> tuple[str, str] | None:
    """Compare the model that waits under a name with the one that serves, and promote or refuse it.

    Returns
    -------
    (verdict, reason) or None
        ``promoted``, ``refused`` or ``in shadow``, with the model in the reason; None if none waits.

    Raises
    ------
    StoreError
        If the store cannot be read or written.
    ModelRefused
        If the folder cannot be written.
    """
    version = folder.waiting(name)
    if version is None:
        return None
    key = f"{name}/{version}"
    try:
        newer = _usable(Model(folder.load(name, version)), folder)
    except ModelRefused as error:
        if not folder.place(name, version).exists():
            return None
        return _refused(folder, name, version, str(error), store)
    former = _former(folder, name)
    if former is None:
        reason = "no other model serves"
    else:
        found = compare(newer, former, store)
        if not found.enough:
            return "in shadow", f"{key}: {found}"
        if not found.promoted:
            return _refused(folder, name, version, f"in shadow it was worse: {found}", store)
        reason = f"in shadow it was not worse: {found}"
    card = folder.promote(name, version)
    if card is None:
        return None
    store.trainings.judged(card.key, "promoted", reason)
    return "promoted", f"{card.key}: {reason}"


def _usable(model: Model, folder: ShadowFolder) -> Model:
    """The model, if who serves by it takes it."""
    if model.card.kind == "ranker":
        Gate(model, latency=_latency(model.card, folder.serving.path))
    return model


def _former(folder: ShadowFolder, name: str) -> Model | None:
    found = find(name, folder.serving.path)
    try:
        return None if found is None else _usable(found, folder)
    except ModelRefused as error:
        log.info("model %s does not serve: %s", name, error)
        return None


def _refused(
    folder: ShadowFolder, name: str, version: int, reason: str, store: SqliteStore
) -> tuple[str, str]:
    folder.refuse(name, version, reason)
    key = f"{name}/{version}"
    store.trainings.judged(key, "refused", reason)
    return "refused", f"{key}: {reason}"
