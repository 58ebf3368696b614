"""A/B of two cost models: decided soon where one is better, seldom wrongly, and never by the mix of templates."""

from __future__ import annotations

import json

import numpy as np
import pytest

from godb_fast.errors import InvalidInput
from godb_fast.feedback.costs import Arm, CostComparison, Outcome


def traffic(comparison: CostComparison, seed: int, count: int, ratio: float, noise: float = 0.3) -> int:
    """Statements of eight templates, whose latencies are ``ratio`` times theirs under the candidate."""
    source = np.random.default_rng(seed)
    for number in range(count):
        template = int(source.integers(8))
        arm = comparison.arm(f"{seed}-{number}")
        usual = 10.0 ** (template - 2)
        latency = usual * np.exp(source.normal(0, noise)) * (ratio if arm is Arm.CANDIDATE else 1.0)
        comparison.saw(arm, template, float(latency), predicted=(2 * usual, 1.1 * usual))
        if comparison.standing.outcome is not Outcome.OPEN:
            return number + 1
    return count


@pytest.mark.parametrize(("ratio", "outcome"), [(0.7, Outcome.CANDIDATE), (1.4, Outcome.SERVED)])
def test_the_better_model_is_found(ratio, outcome):
    comparison = CostComparison()
    took = traffic(comparison, 1, 2000, ratio)
    standing = comparison.standing
    assert standing.outcome is outcome
    assert took < 300
    assert standing.latency.high < 1.0 or standing.latency.low > 1.0
    assert (standing.latency.ratio < 1.0) == (ratio < 1.0)
    assert standing.compared == took
    assert standing.nearer >= 0.5 * took
    assert outcome.value in standing.reason


def test_equal_models_are_seldom_told_apart_though_looked_at_after_every_statement():
    wrong = 0
    for seed in range(100):
        comparison = CostComparison(alpha=0.05)
        traffic(comparison, seed, 200, 1.0)
        wrong += comparison.standing.outcome is not Outcome.OPEN
    assert wrong <= 8


def test_it_ends_undecided():
    comparison = CostComparison(most_pairs=20)
    traffic(comparison, 3, 200, 1.0)
    assert comparison.standing.outcome is Outcome.UNDECIDED
    assert comparison.standing.latency.pairs == 20


def test_a_mix_of_templates_that_differs_by_arm_says_nothing():
    comparison = CostComparison()
    for number in range(400):
        # The candidate gets the quick template nine times in ten.
        quick = number % 10 != 0
        arm = Arm.CANDIDATE if quick == (number % 2 == 0) else Arm.SERVED
        comparison.saw(arm, int(quick), 1.0 if quick else 1000.0)
    assert comparison.standing.outcome is Outcome.OPEN
    assert comparison.standing.latency.ratio == pytest.approx(1.0)


def test_the_lot_is_fair_and_the_same_everywhere():
    comparison = CostComparison(share=0.2, seed=5)
    arms = [comparison.arm(f"e{number}") for number in range(5000)]
    assert arms == [CostComparison(share=0.2, seed=5).arm(f"e{number}") for number in range(5000)]
    assert 0.17 < arms.count(Arm.CANDIDATE) / 5000 < 0.23
    assert arms != [CostComparison(share=0.2, seed=6).arm(f"e{number}") for number in range(5000)]


def test_it_is_kept_as_it_was():
    comparison = CostComparison(seed=2)
    traffic(comparison, 4, 60, 0.95)
    raw = json.loads(json.dumps(comparison.to_dict()))
    again = CostComparison.from_dict(raw)
    assert again.standing == comparison.standing
    for change in ({"log_ratios": [float("nan")]}, {"nearer": 10**6}, {"share": 2.0}, {"alpha": None}):
        with pytest.raises(InvalidInput):
            CostComparison.from_dict({**raw, **change})


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_time_is_refused(bad):
    with pytest.raises(InvalidInput, match="not a time"):
        CostComparison().saw(Arm.SERVED, 1, bad)
    with pytest.raises(InvalidInput, match="not a time"):
        CostComparison().saw(Arm.SERVED, 1, 1.0, predicted=(1.0, bad))
