"""What a ranker's choices are judged by."""

from __future__ import annotations

import numpy as np

from godb_fast.learning.physical import PAIR_COLUMNS
from godb_fast.learning.training.gathering import Pairs
from godb_fast.learning.training.ranking import Judged


def judged(log_ratios: list[list[float]], predicted: list[list[float]]) -> Judged:
    """Queries of one second each, with a template each, and candidates of each."""
    counts = [len(own) for own in log_ratios]
    queries = np.repeat(np.arange(len(counts)), counts)
    ratio = np.concatenate([np.array(own) for own in log_ratios])
    pairs = Pairs(
        np.zeros((len(ratio), len(PAIR_COLUMNS))),
        ratio,
        np.zeros(len(ratio), np.bool_),
        np.ones(len(ratio)),
        queries,
        queries,
        np.array([f"plan {number}" for number in range(len(ratio))]),
        np.full(len(ratio), None),
        np.full(len(ratio), None),
    )
    return Judged.of(pairs, np.concatenate([np.array(own) for own in predicted]))


def test_near_the_fastest_plan_is_told_of_candidates_and_of_the_engines_own():
    ln = np.log
    found = judged(
        [[ln(0.5), ln(0.52)], [ln(0.5), ln(0.9)], [ln(2.0)], [ln(0.95)]],
        [[-0.1, -0.2], [0.1, -0.2], [-0.3], [0.4]],
    )
    # The second best by little; the worse one; one that is slower than the engine's own; the engine's own.
    assert found.within(found.preferred, 1.1).tolist() == [True, False, False, True]
    none = np.full_like(found.preferred, -1)
    assert found.within(none, 1.1).tolist() == [False, False, True, True]
    assert found.within(found.fastest, 1.0 + 1e-9).all()
