"""What a live exploration tries before anything else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from godb_fast.core import Steering
from godb_fast.exploring.candidates import DEFAULT_ARM, Candidate
from godb_fast.exploring.earlier import Earlier
from godb_fast.exploring.space import PlanSpace
from godb_fast.exploring.subjects import Subject
from godb_fast.exploring.trials import Baseline

#: A rewrite that is estimated to cost at most this share of the original is tried before anything
#: else, and cut at that share of the original's time; so many of each query, the cheapest.
PROMISING: Final = 0.5
MOST_PROMISING: Final = 1
#: So are the arms that come first, on queries that hold at least this share of the workload's time.
DEAR: Final = 0.01

#: Query, arm, and the share of the query's default time at which the run is cut.
Try = tuple[int, int, float]


def openings(
    subjects: Sequence[Subject],
    candidates: Sequence[Mapping[str, Candidate]],
    arms: Sequence[str],
    defaults: Sequence[Baseline],
    space: PlanSpace,
    earlier: Earlier,
) -> Iterator[Try]:
    """What was proved earlier; rewrites that the engine estimates to be much cheaper; arms that come first.

    Of all three the dearest queries come first. Only of rewrites does an engine's estimate tell anything: of
    all plans of one text it has chosen the one that it takes for the cheapest.
    """
    number = {arm: place for place, arm in enumerate(arms)}
    dearest = sorted(range(len(candidates)), key=lambda query: -space.default_s[query])
    for query in dearest:
        default_s = float(space.default_s[query])
        own = candidates[query][DEFAULT_ARM].digest
        for steering, expected_s in earlier.to_verify(subjects[query], own, default_s):
            arm = arm_of(candidates[query].values(), steering)
            if arm is not None:
                yield query, number[arm], min(1.0, expected_s / default_s)
    for query in dearest:
        for arm in _cheaper(candidates[query], defaults[query]):
            yield query, number[arm], PROMISING
        if space.default_s[query] * space.weight[query] >= DEAR * space.workload_s:
            for entry in candidates[query].values():
                if entry.first:
                    yield query, number[entry.arm], PROMISING


def arm_of(candidates: Iterable[Candidate], steering: Steering) -> str | None:
    """The arm that asks for a steering."""
    return next((entry.arm for entry in candidates if entry.steering == steering), None)


def _cheaper(candidates: Mapping[str, Candidate], default: Baseline) -> list[str]:
    """Rewrites that promise to be much cheaper, the cheapest first."""
    own = candidates[DEFAULT_ARM].cost
    if own is not None:
        costs = [(entry.cost, entry) for entry in candidates.values() if entry.cost is not None]
    else:
        # Where an engine tells no cost, the rows that operators hand on stand for it: the default's as they
        # were counted, as it is the engine's estimates of its joins that are wrong where other words pay.
        own = math.inf if default.unfinished else default.handed_on or candidates[DEFAULT_ARM].rows
        costs = [(entry.rows, entry) for entry in candidates.values()]
    found = sorted((cost, entry.arm) for cost, entry in costs if entry.rewritten and cost <= PROMISING * own)
    return [arm for _, arm in found[:MOST_PROMISING]]
