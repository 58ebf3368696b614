"""The models: each is judged on templates that it was fitted without, and then fitted on all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.learning.features import FEATURES
from godb_fast.learning.losses import latency_losses, latency_predicts, pinball_losses
from godb_fast.learning.models import Model
from godb_fast.learning.pipelines import PIPELINE_COLUMN, PIPELINE_COLUMNS, plan_seconds
from godb_fast.learning.training.gathering import PlanRuns
from godb_fast.learning.training.splitting import out_of_fold, q_errors, rank_correlation, residuals
from godb_fast.learning.validation import leaking_columns
from godb_fast.store import TrainingRows

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Fewer teach nothing that holds on the next template.
LEAST_RUNS: Final = 100
LEAST_PAIRS: Final = 60
LEAST_TEMPLATES: Final = 5
#: More rows are a sample: what is won by them is not worth the minutes.
MOST_ROWS: Final = 24_000
#: Trees of a first fit that only says how a plan's time is shared among pipelines that nobody timed.
SHARING_TREES: Final = 40


class Stopped(Exception):
    """Training was interrupted."""


@dataclass(eq=False)
class Watch:
    """Stops a fit between two trees, and says how far it is."""

    stop: threading.Event = field(default_factory=threading.Event)
    grew: Callable[[int], None] = lambda trees: None

    def __call__(self, tree: int, estimator: Any, state: Any) -> bool:
        """scikit-learn's monitor: whether to stop."""
        self.grew(1)
        return self.stop.is_set()

    def check(self) -> None:
        """Raise Stopped if it was."""
        if self.stop.is_set():
            raise Stopped


@dataclass(frozen=True, eq=False)
class Shape:
    """Size of an ensemble."""

    trees: int
    depth: int
    share: float = 0.3
    rate: float = 0.1


#: T3 has 200 trees of about 30 leaves.
LATENCY: Final = Shape(200, 5)
QUANTILE: Final = Shape(100, 4)


@dataclass(frozen=True, eq=False)
class Fitted:
    """An estimator with what its card says.

    ``refused`` says why it is not worth exporting, if it is not; ``least`` and ``most`` what each column was
    between. ``losses`` are those of held-out templates (``learning.losses``), and ``losses_of`` gives what
    another model's are there, with the latency model that serves beside it.
    """

    kind: str
    estimator: Any
    rows: Floats
    columns: tuple[str, ...]
    observations: int
    templates: int
    calibration: dict[str, float]
    metrics: dict[str, float]
    quantile: float | None = None
    refused: str | None = None
    least: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)
    losses: Floats = field(default_factory=lambda: np.zeros(0))
    losses_of: Callable[[Model, Model | None], Floats] = lambda model, latency: np.zeros(0)


def grow(shape: Shape, rows: Floats, target: Floats, watch: Watch, seed: int, **more: Any) -> Any:
    """Fit a gradient-boosted ensemble (Friedman 2001), each tree on a part of rows and columns (2002)."""
    from sklearn.ensemble import GradientBoostingRegressor

    watch.check()
    chosen = _sample(len(rows), seed)
    estimator = GradientBoostingRegressor(
        n_estimators=shape.trees,
        max_depth=shape.depth,
        learning_rate=shape.rate,
        subsample=0.5,
        max_features=shape.share,
        min_samples_leaf=max(2, min(10, len(chosen) // 50)),
        random_state=seed,
        **more,
    )
    # Trees read float32; so do the servers.
    estimator.fit(rows[chosen].astype(np.float32), target[chosen], monitor=watch)
    watch.check()
    return estimator


def _sample(count: int, seed: int) -> NDArray[np.int64]:
    if count <= MOST_ROWS:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, MOST_ROWS, replace=False))


# -- latency ------------------------------------------------------------------------------------------


def latency(runs: PlanRuns, watch: Watch, seed: int) -> Fitted:
    """-ln(seconds per source row) of a pipeline; a plan's time is the sum over its pipelines."""
    owners = runs.owners()
    target = rates(runs, watch, seed)

    def predict(test: Flags) -> Floats:
        return _plans(grow_latency(runs, target, ~test, watch, seed), runs, owners, test)

    judged, predicted = out_of_fold(runs.templates, seed, len(runs.vectors), predict)
    truth = runs.latency_s[judged]
    metrics = q_errors(truth, predicted)
    metrics["rank_correlation"] = rank_correlation(truth, predicted)
    rate = float(np.median(runs.latency_s / _rows(runs)))
    # Guesses that know even the held-out templates' median.
    guesses = {
        "median": np.full(len(truth), float(np.median(runs.latency_s))),
        "rows": rate * _rows(runs)[judged],
    }
    for name, guess in guesses.items():
        metrics[f"baseline_{name}_q_error_p50"] = q_errors(truth, guess)["q_error_p50"]
    best = min(metrics[f"baseline_{name}_q_error_p50"] for name in guesses)
    estimator = grow_latency(runs, target, np.ones(len(runs.starts), np.bool_), watch, seed)
    return Fitted(
        "latency",
        estimator,
        runs.vectors,
        tuple(feature.name for feature in PIPELINE_COLUMNS),
        len(runs.starts),
        len(np.unique(runs.templates)),
        residuals(truth, predicted),
        metrics,
        losses=latency_losses(truth, predicted),
        losses_of=lambda model, _: latency_losses(truth, latency_predicts(model, runs)[judged]),
        refused=None
        if metrics["q_error_p50"] < best
        else f"on held-out templates it is no better than guessing: median q-error "
        f"{metrics['q_error_p50']:.3g}, a guess has {best:.3g}",
    )


def rates(runs: PlanRuns, watch: Watch, seed: int) -> Floats:
    """What a latency model is to predict of each pipeline."""
    seconds = _shared(runs, runs.owners(), watch, seed)
    found: Floats = np.log(runs.source_rows) - np.log(np.maximum(seconds, 1e-9))
    return found


def grow_latency(runs: PlanRuns, target: Floats, plans: Flags, watch: Watch, seed: int) -> Any:
    """A latency model fitted on the pipelines of some plans."""
    rows = plans[runs.owners()]
    return grow(LATENCY, runs.vectors[rows], target[rows], watch, seed, loss="huber")


def _plans(estimator: Any, runs: PlanRuns, owners: NDArray[np.int64], chosen: Flags) -> Floats:
    """Predicted seconds of some plans."""
    inside = chosen[owners]
    starts = np.searchsorted(owners[inside], np.flatnonzero(chosen))
    return plan_seconds(runs.source_rows[inside], estimator.predict(runs.vectors[inside]), starts)


def _rows(runs: PlanRuns) -> Floats:
    """Source rows of each plan."""
    rows: Floats = np.add.reduceat(runs.source_rows, runs.starts)
    return rows


def _shared(runs: PlanRuns, owners: NDArray[np.int64], watch: Watch, seed: int) -> Floats:
    """Seconds of each pipeline; where operators were not timed, the plan's time is shared among them.

    First by the rows that they touch, then by what a model of that says: one step of expectation and
    maximization.
    """
    unknown = np.isnan(runs.seconds)
    if not unknown.any():
        return runs.seconds
    shares = ("probed_share", "joined_share", "loop_share")
    touched = 1.0 + sum(np.expm1(runs.vectors[:, PIPELINE_COLUMN[name]]) for name in shares)
    seconds = np.where(unknown, _divide(runs, owners, runs.source_rows * touched), runs.seconds)
    target = np.log(runs.source_rows) - np.log(np.maximum(seconds, 1e-9))
    first = grow(Shape(SHARING_TREES, LATENCY.depth, rate=0.2), runs.vectors, target, watch, seed)
    expected = runs.source_rows * np.exp(-first.predict(runs.vectors))
    return np.where(unknown, _divide(runs, owners, expected), runs.seconds)


def _divide(runs: PlanRuns, owners: NDArray[np.int64], weights: Floats) -> Floats:
    total = np.add.reduceat(weights, runs.starts)
    divided: Floats = weights / total[owners] * runs.latency_s[owners]
    return divided


# -- quantiles ----------------------------------------------------------------------------------------


def quantile(rows: TrainingRows, level: float, watch: Watch, seed: int) -> Fitted:
    """A quantile of ln(latency in ms) of a plan, from the vector that was served."""
    complete = ~rows.censored
    vectors, truth = rows.vectors[complete], np.log(rows.latencies_ms[complete])
    templates = rows.fingerprints[complete]
    options = {"loss": "quantile", "alpha": level}

    def predict(test: Flags) -> Floats:
        fitted = grow(QUANTILE, vectors[~test], truth[~test], watch, seed, **options)
        predicted: Floats = fitted.predict(vectors[test])
        return predicted

    leaks = leaking_columns(vectors, truth)
    if leaks:
        named = ", ".join(sorted(each.feature for each in leaks))
        raise ValueError(f"{named} orders executions as their time does: it was not known when they began")
    judged, predicted = out_of_fold(templates, seed, len(vectors), predict)
    losses = pinball_losses(truth[judged], predicted, level)
    guess = np.full(len(predicted), float(np.quantile(truth, level)))
    metrics = {
        "coverage": float((truth[judged] <= predicted).mean()),
        "pinball": float(losses.mean()),
        "baseline_pinball": float(pinball_losses(truth[judged], guess, level).mean()),
    }
    estimator = grow(QUANTILE, vectors, truth, watch, seed, **options)
    return Fitted(
        "quantile",
        estimator,
        vectors,
        tuple(feature.name for feature in FEATURES),
        len(vectors),
        len(np.unique(templates)),
        residuals(np.exp(truth[judged]), np.exp(predicted)),
        metrics,
        quantile=level,
        losses=losses,
        losses_of=lambda model, _: pinball_losses(truth[judged], model.predict(vectors[judged]), level),
        refused=None
        if metrics["pinball"] < metrics["baseline_pinball"]
        else f"on held-out templates its pinball loss {metrics['pinball']:.3g} is no better than a "
        f"constant's, {metrics['baseline_pinball']:.3g}",
    )
