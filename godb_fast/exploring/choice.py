"""Which plan to run next, and for how long: expected gain per expected second.

For a plan whose time t is log-normal under the model, cut at a timeout τ below the best time b so far, the
gain is E[(b − t) 1(t < τ)] and the cost E[min(t, τ)]; both have closed forms, also where an earlier cut run
tells that t exceeds a bound. Each plan gets the timeout of a short ladder with the best rate.

To the gain comes a share of the *value of knowing*: what the class as a whole stands to gain if one more run
of the arm moves the class's estimate (the knowledge gradient of Frazier, Powell and Dayanik 2008, per class
and arm). It is worth more at a query that resembles those where the class spends its time, and less if the
run is cut early. So cheap queries of a class are asked first, and the dear ones run what has proved itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.exploring.latency_model import LatencyModel
from godb_fast.exploring.normal import normal_cdf
from godb_fast.exploring.observations import CENSORED, MEASURED, REFUSED, Observations
from godb_fast.exploring.space import Floats, Ints, PlanSpace

_Singles = NDArray[np.float32]
_NO_BOUND: Final = np.float32(-30.0)


@dataclass(frozen=True)
class ChoiceSettings:
    """How choices are made.

    Parameters
    ----------
    ladder : tuple of float
        Timeouts tried, as shares of the best time so far; the first is 1.
    knowing : float
        Share of a class's value of knowing that one run is credited with.
    knowing_span : float
        Natural log units of default time over which a query resembles those where its class spends its time.
    longer_again : float
        A plan that was cut runs again only with the full timeout, or one longer by this factor.
    calibration_runs : float
        Runs that the prior of a class's calibration counts.
    overhead_s : float
        Seconds that any run costs beside its own time.
    """

    ladder: tuple[float, ...] = (1.0, 0.7, 0.45, 0.28, 0.17, 0.1, 0.06)
    knowing: float = 0.03
    knowing_span: float = 1.2
    longer_again: float = 3.0
    calibration_runs: float = 3.0
    overhead_s: float = 0.0


class Calibration:
    """How often the runs that were chosen in a class did beat their timeout, against what was predicted.

    Choosing the most promising plan picks errors in its favour (the winner's curse), in some classes more
    than in others; the ratio scales the predictions of the class. Old runs fade.
    """

    _FADE: Final = 0.98
    _MOST: Final = 1.2

    def __init__(self, classes: int) -> None:
        self.won = np.zeros(classes)
        self.expected = np.zeros(classes)

    def note(self, group: int, expected: float, won: bool) -> None:
        """One run of a class, its predicted probability of success, and what became of it."""
        self.won[group] = self.won[group] * self._FADE + float(won)
        self.expected[group] = self.expected[group] * self._FADE + expected

    def factor(self, prior_runs: float) -> Floats:
        """Factor on the predicted probabilities, per class."""
        values: Floats = np.minimum((self.won + prior_runs) / (self.expected + prior_runs), self._MOST)
        return values


@dataclass(frozen=True)
class Choice:
    """A plan to run, its timeout as a log ratio, and the predicted probability that it ends before it."""

    query: int
    plan: int
    log_timeout: float
    probability: float
    rate: float


def choose(
    space: PlanSpace,
    model: LatencyModel,
    seen: Observations,
    calibration: Calibration,
    settings: ChoiceSettings,
    *,
    count: int,
    known: NDArray[np.bool_] | None = None,
) -> list[Choice]:
    """The best choices, at most one a query and ``count`` in all, best rate first.

    ``known`` restricts the queries to those that have arrived.
    """
    mean, variance = model.predict()
    open_ = (seen.kind != MEASURED) & (seen.kind != REFUSED)
    if known is not None:
        open_ &= known[space.query_of_plan]
    plans = np.nonzero(open_)[0]
    if not plans.size:
        return []
    query = space.query_of_plan[plans]
    best = seen.best_log_ratio[query].astype(np.float32)
    bound = np.where(seen.kind[plans] == CENSORED, seen.log_ratio[plans], _NO_BOUND).astype(np.float32)
    rate, timeout, probability = _rates(
        mean[plans].astype(np.float32),
        np.sqrt(variance[plans]).astype(np.float32),
        best,
        bound,
        calibration.factor(settings.calibration_runs)[space.group[query]].astype(np.float32),
        _knowing(space, model, seen, settings, plans).astype(np.float32),
        (settings.overhead_s / space.default_s[query]).astype(np.float32),
        settings,
    )
    return _top(query, plans, rate, timeout, probability, count)


def _rates(
    mean: _Singles,
    deviation: _Singles,
    best: _Singles,
    bound: _Singles,
    factor: _Singles,
    knowing: _Singles,
    overhead: _Singles,
    settings: ChoiceSettings,
) -> tuple[_Singles, _Singles, _Singles]:
    """Rate, log timeout and raw probability of each plan at its best timeout; rate −1 where none is open."""
    expected = np.exp(np.minimum(mean + deviation * deviation / 2, np.float32(60.0)))
    best_time = np.exp(best)
    below, below_time = np.zeros_like(mean), np.zeros_like(mean)
    cut = np.nonzero(bound > _NO_BOUND)[0]
    at = (bound[cut] - mean[cut]) / deviation[cut]
    below[cut] = normal_cdf(at)
    below_time[cut] = expected[cut] * normal_cdf(at - deviation[cut])
    survival = np.maximum(1 - below, np.float32(1e-4))
    rate = np.full_like(mean, -1.0)
    timeout, probability = np.zeros_like(mean), np.zeros_like(mean)
    for share in settings.ladder:
        limit = best + np.float32(np.log(share))
        seconds = best_time * np.float32(share)
        at = (limit - mean) / deviation
        chance = np.clip((normal_cdf(at) - below) / survival, 0, 1)
        time = np.maximum((expected * normal_cdf(at - deviation) - below_time) / survival, 0) * factor
        likely = chance * factor
        # The approximate distribution function can put the mean below the bound a hair too high.
        time = np.minimum(time, likely * seconds)
        cost = time + seconds * np.maximum(1 - likely, 0) + overhead
        told = likely + (1 - likely) * np.minimum(seconds, 1)
        value = (best_time * likely - time + knowing * told) / cost
        least = np.float32(0.1 if share == settings.ladder[0] else np.log(settings.longer_again))
        better = (limit > bound + least) & (value > rate)
        rate[better], timeout[better], probability[better] = value[better], limit[better], chance[better]
    return rate, timeout, probability


def _knowing(
    space: PlanSpace, model: LatencyModel, seen: Observations, settings: ChoiceSettings, plans: Ints
) -> Floats:
    """Credit for what a complete run of each plan tells its class, in units of its query's weighted time."""
    if settings.knowing == 0.0:
        return np.zeros(plans.size)
    weighted = space.default_s * space.weight
    remaining = weighted * np.exp(seen.best_log_ratio)
    per_class = np.maximum(space.sum_by_class(remaining), 1e-300)
    best = space.sum_by_class(remaining * seen.best_log_ratio) / per_class
    center = space.sum_by_class(remaining * space.log_default) / per_class
    mean, variance, around = model.class_effects(center)
    mean = mean - best[:, None]
    # Standard deviation of the class's posterior mean after one more run.
    moved = variance / np.sqrt(variance + around) + 1e-6
    ratio = np.exp(np.minimum(mean + moved * moved / 2, 60.0))
    after = normal_cdf(-mean / moved) - ratio * normal_cdf(-mean / moved - moved)
    worth = np.maximum(after - np.maximum(1.0 - ratio, 0.0), 0.0) * per_class[:, None]
    query = space.query_of_plan[plans]
    group = space.group[query]
    distance = (space.log_default[query] - center[group]) / settings.knowing_span
    share = settings.knowing * np.exp(-0.5 * distance * distance)
    credit: Floats = share * worth[group, space.arm_of_plan[plans]] / weighted[query]
    return credit


def _top(
    query: Ints, plans: Ints, rate: _Singles, timeout: _Singles, probability: _Singles, count: int
) -> list[Choice]:
    starts = np.nonzero(np.diff(query, prepend=-1))[0]
    highest = np.maximum.reduceat(rate, starts)
    ends = np.append(starts[1:], len(rate))
    chosen: list[Choice] = []
    for row in np.argsort(-highest, kind="stable")[:count].tolist():
        if highest[row] <= 0:
            break
        first = int(starts[row])
        place = first + int(np.argmax(rate[first : ends[row]]))
        chosen.append(
            Choice(
                int(query[place]),
                int(plans[place]),
                float(timeout[place]),
                float(probability[place]),
                float(highest[row]),
            )
        )
    return chosen


def as_dict(choice: Choice) -> dict[str, Any]:
    """Plain data."""
    return dict(vars(choice))
