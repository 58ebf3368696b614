"""The gate in front of plans that nobody has run yet: rank, bound, support, overhead, and a reason.

A ranker predicts what each candidate takes beside the engine's own plan, from what EXPLAIN tells of both (the
estimated cost has a say of its own); a conformal bound at the level that its card asks for says how slow the
best of them may be. Each outcome moves the bound, so that it widens where the world is not as it was in
training.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core.forking import renews_locks
from godb_fast.errors import InvalidInput, ModelRefused
from godb_fast.evidence.conformal import ConformalBounds
from godb_fast.learning.choosing import Choice, Chooser, ChoosingPolicy
from godb_fast.learning.models import Card, Model, PredictionCache
from godb_fast.learning.physical import (
    PAIR_COLUMNS,
    PHYSICAL_COLUMNS,
    RANK_COLUMNS,
    SIZES,
    cost_says,
    pair_vectors,
    rank_vectors,
    with_latency,
)
from godb_fast.learning.pipelines import PIPELINE_COLUMNS, is_packed, packed_seconds
from godb_fast.learning.support import RangeTest

Floats = NDArray[np.float64]

#: By how much one broken bound moves the level that is asked for.
STEP: Final = 0.02
#: Scores that the bounds remember.
WINDOW: Final = 1000
#: Data may have grown so many times since training: predicted are ratios, of which it says more where sizes
#: stand beside each other than how large they are.
GROWTH: Final = 10.0
_PIPELINES: Final = tuple(feature.name for feature in PIPELINE_COLUMNS)
#: At the clip of predictions; a run that is told to have been longer is as bad.
_MOST_SCORE: Final = 10.0


class Gate:
    """Chooses among an engine's plans, unverified. Safe to share between threads.

    Parameters
    ----------
    model : Model
        A ranker.
    latency : Model, optional
        The latency model of its engine, which has a say where the ranker's card says so.
    budget : float
        How many times slower than the engine's own plan a query may get.

    Attributes
    ----------
    predictions : PredictionCache
        What the model said of plans: other literals of a template mostly have the plans that others had.

    Raises
    ------
    ModelRefused
        If it reads other columns, its card does not say when to act, or the latency model that it was judged
        with is missing.
    """

    def __init__(self, model: Model, *, latency: Model | None = None, budget: float = 1.2) -> None:
        card = model.card
        if card.kind != "ranker" or card.columns != RANK_COLUMNS:
            raise ModelRefused(
                f"model {card.key} does not rank plans by the columns that are read here; train it anew with "
                "'godb-fast train'",
                "features",
            )
        self._share = card.calibration.get("latency_share", 0.0)
        if hears_latency(card) and (latency is None or latency.card.columns != _PIPELINES):
            raise ModelRefused(
                f"model {card.key} ranks plans together with {card.engine}-latency; none can be used: "
                "train both with 'godb-fast train'",
                "missing",
            )
        self.model = model
        #: None beside a ranker that hears none.
        self._latency = latency if hears_latency(card) else None
        self.predictions = PredictionCache()
        self._support, self._own = _supports(card)
        self._bounds = _bounds(card)
        self._chooser = Chooser(self._bounds, ChoosingPolicy(budget))
        self._lock = threading.Lock()
        renews_locks(self)

    def choose(
        self,
        default: Floats,
        plans: Sequence[Floats],
        default_ms: float,
        *,
        overhead_ms: float = 0.0,
        fingerprint: str | None = None,
        cluster: str | None = None,
        names: Sequence[str] | None = None,
        pipelines: Sequence[Floats | None] | None = None,
    ) -> Choice:
        """Choose among the engine's own plan (0) and others (from 1 on).

        Parameters
        ----------
        default : float64 array, shape (C,)
            Vector of the engine's own plan (:func:`~godb_fast.learning.physical.plan_vector`).
        plans : sequence of float64 arrays, shape (C,)
            Those of the others.
        default_ms : float
            What the engine's own plan was seen to take at least.
        overhead_ms : float
            What steering costs.
        fingerprint, cluster : str, optional
            Whose outcomes the bound is of, where there are enough.
        names : sequence of str, optional
            Of all plans, the engine's own first.
        pipelines : sequence of float64 arrays or None, optional
            Of all plans, the engine's own first, as :func:`~godb_fast.learning.pipelines.packed` gives them;
            of a plan where they are not known the ranker's own say is all.

        Raises
        ------
        InvalidInput
            If there are other numbers of names or of pipelines than of plans.
        """
        if pipelines is not None and len(pipelines) != 1 + len(plans):
            raise InvalidInput(f"pipelines of {len(pipelines)} plans; there are {1 + len(plans)}")
        support = self._own.verdict(default)
        means = np.zeros(1 + len(plans))
        if plans:
            vectors = pair_vectors(np.array(plans), default)
            # Nothing is predicted of what is not described by numbers.
            sound = np.isfinite(vectors).all(axis=1)
            means[1:] = np.nan
            means[1:][sound] = log_ratios(self.model, vectors[sound], self.predictions)
            if self._latency is not None and pipelines is not None:
                heard = latency_says(self._latency.predict, pipelines[1:], [pipelines[0]] * len(plans))
                means[1:] = with_latency(means[1:], heard, self._share)
            # Of plans unlike all that was seen nothing is predicted, nor of those that look like the default.
            unlike = self._support.distances(vectors) > self._support.allowed + 1e-9
            alike = ~vectors[:, : len(PHYSICAL_COLUMNS)].any(axis=1)
            means[1:][unlike | alike] = math.nan
        with self._lock:
            return self._chooser.choose(
                means,
                np.ones(len(means)),
                default_ms,
                overhead_ms=overhead_ms,
                support=support,
                fingerprint=fingerprint,
                cluster=cluster,
                names=names,
            )

    def observe(
        self, choice: Choice, log_ratio: float, *, fingerprint: str | None = None, cut: bool = False
    ) -> bool:
        """Learn how a choice turned out; whether its bound held.

        Parameters
        ----------
        log_ratio : float
            ln(time ÷ time of the engine's own plan).
        cut : bool
            The run was stopped by then.
        """
        return self.replay(score_of(choice, log_ratio), fingerprint, choice.cluster, cut=cut)

    def replay(self, score: float, fingerprint: str | None, cluster: str | None, *, cut: bool) -> bool:
        """Learn an outcome by its score, maybe one of an earlier process; whether its bound held."""
        with self._lock:
            return self._bounds.observe(score, fingerprint=fingerprint, cluster=cluster, cut=cut)

    @property
    def strained(self) -> bool:
        """Whether bounds broke so often that their level has come two thirds of the way to certainty."""
        with self._lock:
            return self._bounds.scope()[1].working > 1.0 - (1.0 - self._bounds.level) / 3.0


def log_ratios(ranker: Model, pairs: Floats, known: PredictionCache | None = None) -> Floats:
    """What a ranker says of plans, shape (n,): ln(time ÷ time of the engine's own plan).

    Parameters
    ----------
    pairs : float64 array, shape (n, D)
        In the order of ``PAIR_COLUMNS``.
    known : PredictionCache, optional
        Of this ranker.
    """
    rows = rank_vectors(pairs)
    if known is None:
        found: Floats = ranker.predict(rows)
    else:
        found = ranker.predict_known([hash(pair.tobytes()) for pair in pairs], rows, known)
    return found + cost_says(pairs, ranker.card.calibration.get("cost_share", 0.0))


def hears_latency(ranker: Card) -> bool:
    """Whether the latency model of its engine has a say beside a ranker."""
    return ranker.calibration.get("latency_share", 0.0) > 0.0


def latency_says(
    predict: Callable[[Floats], Floats], plans: Sequence[Floats | None], own: Sequence[Floats | None]
) -> Floats:
    """What a latency model says of plans, shape (n,): ln(time ÷ time of the engine's own plan).

    NaN where one of the two is not described as the model reads it.

    Parameters
    ----------
    predict : callable
        The model: -ln(seconds per source row) of pipelines.
    plans, own : sequences of float64 arrays or None, length n
        Pipelines (:func:`~godb_fast.learning.pipelines.packed`).
    """
    heard = np.full(len(plans), np.nan)
    known = [at for at, both in enumerate(zip(plans, own, strict=True)) if all(map(is_packed, both))]
    if known:
        # One call for all; the engine's own plan of a query is asked about once.
        asked = {id(each): each for side in (plans, own) for at in known if (each := side[at]) is not None}
        seconds = packed_seconds(predict, list(asked.values()))
        log_s = dict(zip(asked, np.log(seconds).tolist(), strict=True))
        heard[known] = [log_s[id(plans[at])] - log_s[id(own[at])] for at in known]
    return heard


def score_of(choice: Choice, log_ratio: float) -> float:
    """By how much an outcome was beyond what was predicted, clipped."""
    return min(log_ratio - choice.log_ratio, _MOST_SCORE)


def _bounds(card: Card) -> ConformalBounds:
    level, count = card.calibration.get("level"), card.calibration.get("scores")
    grid = [value for name, value in sorted(card.calibration.items()) if name.startswith("score_")]
    if level is None or count is None or len(grid) < 2 or not 0.0 < level < 1.0:
        raise ModelRefused(f"the card of model {card.key} does not say when to act", "card")
    bounds = ConformalBounds(level, step=STEP, window=WINDOW)
    # As many scores as there were, spread as they were.
    places = np.linspace(0.0, 1.0, max(1, min(int(count), WINDOW)))
    bounds.calibrate(np.interp(places, np.linspace(0.0, 1.0, len(grid)), grid))
    return bounds


def _supports(card: Card) -> tuple[RangeTest, RangeTest]:
    """The test of pairs, and that of the engine's own plan alone."""
    try:
        least = np.array([card.least[name] for name in PAIR_COLUMNS])
        most = np.array([card.most[name] for name in PAIR_COLUMNS])
        allowed = card.calibration["allowed"]
    except KeyError as error:
        raise ModelRefused(f"the card of model {card.key} does not tell {error}", "card") from error
    count = len(PHYSICAL_COLUMNS)
    # Of an operator that one of two plans lacks, the difference is a size, too.
    most[:count][SIZES] += math.log(GROWTH)
    least[:count][SIZES] -= math.log(GROWTH)
    most[count:][SIZES] += math.log(GROWTH)
    return RangeTest(least, most, allowed), RangeTest(least[count:], most[count:], allowed)
