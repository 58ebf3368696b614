"""The ranker: what a plan will take beside the engine's own, and how sure one must be to act on it.

Three have an equal say: a forest that reads pairs and predicts their ratio, a forest that predicts the time
of a plan by itself (of both plans of a pair), and the engine's estimated cost, if it tells one. Each errs in
its own way: on held-out templates of PostgreSQL, the gate lets twice as many plans pass behind all three as
behind the first. Where it helps, the latency model of pipelines is heard as well: it is a model of its own,
learns from every executed plan, and serves beside the ranker.

It is judged on templates that it was fitted without. Acting means: the plan that is predicted to be fastest
runs, if its conformal bound lies within the budget. The level at which bounds are asked for is the least one
at which few enough queries of unseen templates came to harm (:mod:`godb_fast.evidence.risk`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.evidence.conformal import conformal_quantile
from godb_fast.evidence.risk import boldest_setting
from godb_fast.learning.gate import latency_says
from godb_fast.learning.losses import ranker_losses, ranker_says
from godb_fast.learning.physical import (
    PAIR_COLUMNS,
    PHYSICAL_COLUMNS,
    RANK_COLUMNS,
    cost_says,
    rank_vectors,
    with_latency,
)
from godb_fast.learning.support import RangeTest
from godb_fast.learning.training.coverage import clusters_of, coverage
from godb_fast.learning.training.ensembles import Ensemble, Member
from godb_fast.learning.training.gathering import Pairs, PlanRuns
from godb_fast.learning.training.splitting import held_out, rank_correlation
from godb_fast.learning.training.trainers import Fitted, Shape, Watch, grow, grow_latency, rates

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]

RANKER: Final = Shape(300, 4, rate=0.03)
PLAN: Final = Shape(200, 4, rate=0.06)
#: Each template is held out once, however many there are: the rule is judged query by query.
ROUNDS: Final = 4
#: The say of estimated cost; the forests share the rest.
COST_SHARE: Final = 1.0 / 3.0
#: By engine, where it is another. DuckDB tells no costs: of what is made of its rows the forests know better.
COST_SHARES: Final = {"duckdb": 0.0}
#: The say of the latency model, by engine. DuckDB's imposed orders are not told by their pipelines.
LATENCY_SHARES: Final = {"postgresql": 0.25}
#: It is heard if it can say something of so many pairs.
LEAST_HEARD: Final = 0.5
#: Queries whose own plan takes less say more of the clock than of plans.
LEAST_S: Final = 0.01
#: A plan that is faster or slower by more than this log ratio is as good or bad as one by this.
MOST_RATIO: Final = 3.0
WORST_RATIO: Final = 1.0
#: How many times slower than the engine's own plan a query may get, and how many queries may get slower.
BUDGET: Final = 1.2
HARMED: Final = 0.025
#: 0.5: the mean over further queries is kept to (conformal risk control), not every draw of them.
CONFIDENCE: Final = 0.5
#: Nobody acts on queries that take less, so that they judge nothing.
LEAST_ACTED_S: Final = 0.05
#: A loss of less is no harm: the next run may differ by as much.
NOTICED_S: Final = 0.05
#: Levels of the bounds, the boldest first.
LEVELS: Final = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99)
#: Of the scores that a card holds.
POINTS: Final = 101


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions of templates that were left out, and the rule that they let pass.

    Attributes
    ----------
    pairs : Pairs
        Of queries that took long enough.
    predicted : float64 array, shape (N,)
    latency_share : float
        The say of the latency model in that: 0 where it does not help.
    dear : bool array, shape (N,)
        Queries that are acted on, runs that tell something.
    judged : Judged
        Of the dear pairs.
    harm : float64 array, shape (levels, q)
        Which queries get slower at which of ``LEVELS``.
    boldest : int or None
        The level that is safe.
    """

    pairs: Pairs
    predicted: Floats
    latency_share: float
    dear: Flags
    judged: Judged
    harm: Floats
    boldest: int | None

    @property
    def acting(self) -> Integers:
        """The pair of ``judged.pairs`` that runs for each query behind the gate, or -1."""
        if self.boldest is None:
            return np.full_like(self.judged.preferred, -1)
        return self.judged.acting(LEVELS[self.boldest])


def held_out_choices(
    pairs: Pairs,
    watch: Watch,
    seed: int,
    cost_share: float = COST_SHARE,
    runs: PlanRuns | None = None,
    latency_share: float = 0.0,
) -> HeldOut:
    """What would be chosen for each query by models that saw nothing of its template.

    Parameters
    ----------
    cost_share : float
        The say of estimated cost.
    runs : PlanRuns, optional
        What a latency model learns from.
    latency_share : float
        Its say, if that helps.

    Raises
    ------
    ValueError
        If no query that took long enough has a complete run of another plan.
    """
    pairs = pairs.only(pairs.default_s >= LEAST_S)
    dear = _told(pairs) & (pairs.default_s >= LEAST_ACTED_S)
    if not dear.any():
        raise ValueError(
            f"no query whose own plan takes {LEAST_ACTED_S * 1e3:g} ms or more has a complete run of another "
            "plan"
        )
    vectors = rank_vectors(pairs.vectors)
    predicted = np.zeros(len(vectors))
    for test in held_out(pairs.templates, seed, ROUNDS):
        predicted[test] = _ensemble(pairs, ~test, watch, seed, cost_share).predict(vectors[test])
    predicted += cost_says(pairs.vectors, cost_share)
    heard = np.full(len(predicted), np.nan)
    if runs is not None and latency_share > 0.0:
        heard = _latency_says(pairs, runs, watch, seed)
    with_it = with_latency(predicted, heard, latency_share)
    target = _target(pairs)
    helps = rank_correlation(with_it, target) > rank_correlation(predicted, target)
    if np.isfinite(heard).mean() < LEAST_HEARD or not helps:
        latency_share = 0.0
    if latency_share > 0.0:
        predicted = with_it
    judged = Judged.of(pairs.only(dear), predicted[dear])
    harm = np.array([judged.harmed(judged.acting(level)) for level in LEVELS], np.float64)
    boldest = boldest_setting(harm, judged.templates, HARMED, confidence=CONFIDENCE)
    return HeldOut(pairs, predicted, latency_share, dear, judged, harm, boldest)


def _latency_says(pairs: Pairs, runs: PlanRuns, watch: Watch, seed: int) -> Floats:
    """ln(time ÷ that of the engine's own plan) of each pair by latency models that saw nothing of its
    template; NaN where a plan's pipelines are not known."""
    heard = np.full(len(pairs.log_ratio), np.nan)
    target = rates(runs, watch, seed)
    for test in held_out(pairs.templates, seed, ROUNDS):
        seen = ~np.isin(runs.templates, pairs.templates[test])
        if seen.any():
            predict = grow_latency(runs, target, seen, watch, seed).predict
            heard[test] = latency_says(predict, list(pairs.plans[test]), list(pairs.own_plans[test]))
    return heard


def ranker(
    pairs: Pairs,
    watch: Watch,
    seed: int,
    cost_share: float = COST_SHARE,
    runs: PlanRuns | None = None,
    latency_share: float = 0.0,
) -> Fitted:
    """ln(time of a plan / time of the engine's own plan), from their difference.

    Parameters
    ----------
    cost_share : float
        The say of estimated cost.
    runs, latency_share
        As :func:`held_out_choices` takes them.

    Raises
    ------
    ValueError
        If no query that took long enough has a complete run of another plan.
    """
    found = held_out_choices(pairs, watch, seed, cost_share, runs, latency_share)
    pairs, judged, harm, boldest = found.pairs, found.judged, found.harm, found.boldest
    target = _target(pairs)
    cost = pairs.vectors[:, PAIR_COLUMNS.index("delta_cost")]
    by_cost = Judged.of(pairs.only(found.dear), cost[found.dear])
    metrics = {
        "rank_correlation": rank_correlation(found.predicted, target),
        "cost_rank_correlation": rank_correlation(cost, target),
        "r_oracle": judged.ratio(judged.fastest),
        "r_preferred": judged.ratio(judged.preferred),
        "r_cost": by_cost.ratio(by_cost.preferred),
        "within_tenth": float(judged.within(judged.preferred, 1.1).mean()),
        "default_within_tenth": float(judged.within(np.full_like(judged.preferred, -1), 1.1).mean()),
        "r_chosen": 1.0,
        "acted": 0.0,
        "harmed": 0.0,
    }
    metrics |= coverage(judged.scores, judged.templates, clusters_of(pairs), seed)
    calibration: dict[str, float] = {}
    if boldest is not None:
        acting = found.acting
        metrics["r_chosen"] = judged.ratio(acting)
        metrics["acted"] = float((acting >= 0).mean())
        metrics["harmed"] = float(harm[boldest].mean())
        grid = np.quantile(judged.scores, np.linspace(0.0, 1.0, POINTS)).tolist()
        calibration = {
            "level": LEVELS[boldest],
            "scores": float(len(judged.scores)),
            "cost_share": cost_share,
            "latency_share": found.latency_share,
        }
        calibration |= {f"score_{at:03d}": value for at, value in enumerate(grid)}
    support = RangeTest.of(pairs.vectors, pairs.templates)
    calibration["allowed"] = support.allowed
    return Fitted(
        "ranker",
        _ensemble(pairs, np.ones(len(target), np.bool_), watch, seed, cost_share),
        rank_vectors(pairs.vectors),
        RANK_COLUMNS,
        len(target),
        len(np.unique(pairs.templates)),
        calibration,
        metrics,
        losses=ranker_losses(pairs, found.predicted),
        losses_of=lambda model, latency: ranker_losses(pairs, ranker_says(model, pairs, latency)),
        refused=_refusal(metrics, boldest),
        least=dict(zip(PAIR_COLUMNS, support.least.tolist(), strict=True)),
        most=dict(zip(PAIR_COLUMNS, support.most.tolist(), strict=True)),
    )


def _target(pairs: Pairs) -> Floats:
    target: Floats = np.clip(pairs.log_ratio, -MOST_RATIO, WORST_RATIO)
    return target


def _told(pairs: Pairs) -> Flags:
    """A run that was stopped early says neither that its plan is better nor that it is worse."""
    told: Flags = ~pairs.cut | (pairs.log_ratio > math.log(BUDGET))
    return told


def _ensemble(pairs: Pairs, rows: Flags, watch: Watch, seed: int, cost_share: float) -> Ensemble:
    """Fitted on some of the pairs."""
    return _together(
        _fit(pairs, _target(pairs), rows, watch, seed),
        _fit_plans(pairs, rows & _told(pairs), rows, watch, seed),
        (1.0 - cost_share) / 2.0,
    )


def _refusal(metrics: dict[str, float], boldest: int | None) -> str | None:
    if boldest is None:
        return (
            f"on held-out templates no bound keeps the queries that get more than {BUDGET:g} × slower surely "
            f"below {HARMED:.1%}: explore more of them"
        )
    if metrics["r_chosen"] >= 1.0:
        return "on held-out templates nothing is gained by it: explore more of them"
    if metrics["rank_correlation"] <= metrics["cost_rank_correlation"]:
        return (
            f"on held-out templates it orders plans no better (rank correlation "
            f"{metrics['rank_correlation']:.2f}) than estimated cost ({metrics['cost_rank_correlation']:.2f})"
        )
    return None


def _fit(pairs: Pairs, target: Floats, rows: Flags, watch: Watch, seed: int) -> Any:
    """Fit on some pairs; a run that was cut has taken at least so long, and as long as others let expect.

    One step of expectation and maximization for censored outcomes (Buckley and James 1979).
    """
    vectors, values = pairs.vectors, target
    # That a plan is slower than the engine's own is all that one wants to know of it.
    open_ = rows & pairs.cut & (target < math.log(BUDGET))
    if open_.any() and not (rows <= open_).all():
        first = grow(RANKER, vectors[rows & ~open_], values[rows & ~open_], watch, seed, loss="huber")
        values = values.copy()
        values[open_] = np.maximum(values[open_], first.predict(vectors[open_]))
    return grow(RANKER, vectors[rows], values[rows], watch, seed, loss="huber")


def _fit_plans(pairs: Pairs, told: Flags, rows: Flags, watch: Watch, seed: int) -> Any:
    """ln(seconds) of a plan by itself, from some pairs' runs and those of the engine's own plans."""
    count = len(PHYSICAL_COLUMNS)
    own = np.zeros(len(rows), np.bool_)
    own[np.unique(pairs.queries, return_index=True)[1]] = True
    # All pairs of a query are of one template, and so on one side.
    own &= rows
    log_s = np.log(pairs.default_s)
    ratio = np.clip(pairs.log_ratio, -MOST_RATIO, MOST_RATIO)
    return grow(
        PLAN,
        np.concatenate([rank_vectors(pairs.vectors)[told, 2 * count :], pairs.vectors[own, count:]]),
        np.concatenate([(log_s + ratio)[told], log_s[own]]),
        watch,
        seed,
        loss="huber",
    )


def _together(of_pairs: Any, of_plans: Any, share: float) -> Ensemble:
    count = len(PHYSICAL_COLUMNS)
    return Ensemble(
        (
            Member(of_pairs, 0, 2 * count, share),
            Member(of_plans, 2 * count, count, share),
            Member(of_plans, count, count, -share),
        )
    )


class Judged:
    """What would be chosen for each query, and what that takes.

    Attributes
    ----------
    pairs : Pairs
    preferred, fastest : int64 arrays, shape (q,)
        The pair that is predicted to be fastest, and the one that is; -1 where that is the engine's own plan.
    scores : float64 array, shape (q,)
        Outcome less prediction, of the pairs that are ranked first; infinite where the run was cut.
    templates : int64 array, shape (q,)
    """

    def __init__(self, pairs: Pairs, predicted: Floats, members: list[Integers]) -> None:
        self.pairs, self._predicted = pairs, predicted
        firsts = np.array([own[predicted[own].argmin()] for own in members], np.int64)
        self._firsts = firsts
        self.templates = pairs.templates[firsts]
        self.default_s = pairs.default_s[firsts]
        outcome = np.where(pairs.cut & (pairs.log_ratio > 0.0), math.inf, pairs.log_ratio)
        self.scores = np.minimum(outcome[firsts] - predicted[firsts], 10.0)
        complete = np.where(pairs.cut, math.inf, pairs.log_ratio)
        fastest = np.array([own[complete[own].argmin()] for own in members], np.int64)
        self.fastest = np.where(complete[fastest] < 0.0, fastest, -1)
        self.preferred = np.where(predicted[firsts] < 0.0, firsts, -1)

    @classmethod
    def of(cls, pairs: Pairs, predicted: Floats) -> Judged:
        """Group pairs by query."""
        order = np.argsort(pairs.queries, kind="stable")
        starts = np.flatnonzero(np.diff(pairs.queries[order], prepend=-1))
        return cls(pairs, predicted, np.split(order, starts[1:]))

    def acting(self, level: float) -> Integers:
        """The pair that runs for each query at a level of its bound, or -1, by other templates' scores."""
        found = np.full(len(self._firsts), -1, np.int64)
        for template in np.unique(self.templates):
            own = self.templates == template
            quantile = conformal_quantile(self.scores[~own], level) if (~own).any() else math.inf
            for at in np.flatnonzero(own):
                first = self._firsts[at]
                mean = self._predicted[first]
                if mean < 0.0 and mean + quantile <= math.log(BUDGET):
                    found[at] = first
        return found

    def harmed(self, chosen: Integers) -> Flags:
        """Which queries get slower than the budget allows."""
        ratio = np.where(chosen >= 0, self.pairs.log_ratio[chosen], 0.0)
        lost_s = self.default_s * np.expm1(ratio)
        beyond: Flags = (ratio > math.log(BUDGET)) & (lost_s > NOTICED_S)
        return beyond

    def within(self, chosen: Integers, factor: float) -> Flags:
        """Which queries take at most so many times what their fastest plan takes, noise and all."""
        taken = np.where(chosen >= 0, self.pairs.log_ratio[chosen], 0.0)
        best = np.where(self.fastest >= 0, self.pairs.log_ratio[self.fastest], 0.0)
        near: Flags = taken <= best + math.log(factor)
        return near

    def ratio(self, chosen: Integers) -> float:
        """Σ time over that of the engine's own plans."""
        ratio = np.exp(np.where(chosen >= 0, self.pairs.log_ratio[chosen], 0.0))
        return float((self.default_s * ratio).sum() / self.default_s.sum())
