"""Which of the queries are worth exploring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from godb_fast.exploring.subjects import Subject
from godb_fast.exploring.trials import Baseline

#: Queries beyond this share of the workload's time, the cheapest ones, are not worth asking about.
TIME_SHARE: Final = 0.98
#: Neither are those whose default takes less than this.
LEAST_S: Final = 0.002
#: Queries of one template that make a class of their own: fewer teach too little about its arms.
LEAST_CLASS: Final = 4


def triage(baselines: Mapping[int, Baseline], subjects: Sequence[Subject]) -> list[int]:
    """Queries worth exploring: those that hold nearly all of the time, dearest first."""
    costs = {
        number: entry.seconds * subjects[number].query.weight
        for number, entry in baselines.items()
        if entry.problem is None and entry.seconds >= LEAST_S
    }
    total, passed = sum(costs.values()), 0.0
    chosen = []
    for number in sorted(costs, key=lambda number: (-costs[number], number)):
        if passed >= TIME_SHARE * total:
            break
        passed += costs[number]
        chosen.append(number)
    return chosen


def classes(subjects: Sequence[Subject]) -> list[int]:
    """Templates with several queries are classes of their own; all others are one."""
    prints = [subject.template.fingerprint for subject in subjects]
    return [found if prints.count(found) >= LEAST_CLASS else 0 for found in prints]


def weights_of(baselines: Mapping[int, Baseline], subjects: Sequence[Subject]) -> list[float]:
    """What each query counts: its calls, scaled so that all together take what one run of each does."""
    workload = sum(entry.seconds for entry in baselines.values())
    counted = sum(entry.seconds * subjects[number].query.weight for number, entry in baselines.items())
    scale = workload / counted if counted > 0.0 else 1.0
    return [subject.query.weight * scale for subject in subjects]
