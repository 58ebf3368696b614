"""What is run before a model can say anything: each arm in each class, cheaply and evenly.

A model that has seen a handful of runs is sure of the wrong arms. So exploration starts with a survey:
every arm is run in every class, at queries that cost a fraction of those where the class spends its time,
each at another query, and cut early. Classes come in the order of what is at stake per second of survey.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from godb_fast.exploring.observations import CENSORED, MEASURED, UNSEEN, Observations
from godb_fast.exploring.space import Floats, PlanSpace


@dataclass(frozen=True)
class SurveySettings:
    """How much is surveyed.

    Parameters
    ----------
    share : float
        The survey ends when this share of the workload's time is spent.
    rounds : int
        Runs of each arm in each class.
    timeout : float
        Runs are cut at this share of the query's best time.
    smaller : float
        Queries are taken whose default time is this much shorter than the class's typical second is spent in.
    """

    share: float = 0.04
    rounds: int = 1
    timeout: float = 0.5
    smaller: float = 5.0


def survey(
    space: PlanSpace, seen: Observations, settings: SurveySettings, known: NDArray[np.bool_], count: int
) -> list[tuple[int, int, float]]:
    """The next (query, plan, log timeout) of the survey, at different queries; empty when it is complete."""
    kind = seen.kind[space.plans]
    told = ((kind == MEASURED) | (kind == CENSORED)) & (space.plans != space.plans[:, :1])
    runs = space.sum_by_class(told.astype(np.float64))
    weighted = np.where(known, space.default_s * space.weight, 0.0)
    per_class = space.sum_by_class(weighted)
    center = space.sum_by_class(weighted * space.log_default) / np.maximum(per_class, 1e-300)
    off = np.abs(space.log_default - center[space.group] + math.log(settings.smaller))
    typical = np.exp(center) / settings.smaller
    chosen: list[tuple[int, int, float]] = []
    used = ~known
    for group in np.argsort(-per_class / typical, kind="stable").tolist():
        members = np.nonzero(space.group == group)[0]
        members = members[np.argsort(off[members], kind="stable")]
        for arm in _least_run(runs[group], settings.rounds):
            pick = _first(members, space, seen, arm, used)
            if pick is None:
                continue
            used[pick] = True
            limit = float(seen.best_log_ratio[pick]) + math.log(settings.timeout)
            chosen.append((pick, int(space.plans[pick, arm]), limit))
            if len(chosen) >= count:
                return chosen
    return chosen


def _least_run(runs: Floats, rounds: int) -> list[int]:
    order = np.argsort(runs, kind="stable")
    return [int(arm) for arm in order if runs[arm] < rounds and arm != 0]


def _first(
    members: NDArray[np.int64], space: PlanSpace, seen: Observations, arm: int, used: NDArray[np.bool_]
) -> int | None:
    open_ = members[(seen.kind[space.plans[members, arm]] == UNSEEN) & ~used[members]]
    return int(open_[0]) if open_.size else None
