"""Drift leads to freeze, retraining, shadow, and promotion or roll-back."""

from __future__ import annotations

import numpy as np
import pytest
from feedback.costs.made import TRUTH, drawn, samples

from godb_fast.errors import InvalidInput
from godb_fast.feedback.costs import CostLifecycle, CostPredictor, LifecycleTuning, Stage, q_errors


def trained(count: int = 200) -> CostPredictor:
    predictor = CostPredictor("duckdb")
    predictor.fit(samples(drawn(1, count)))
    return predictor


def error(predictor, held) -> float:
    predicted = [predictor.predict_sample(sample, "estimated").ms for sample in held]
    return float(np.median(q_errors(predicted, [sample.latency_ns / 1e6 for sample in held])))


def test_nothing_happens_without_drift_but_learning():
    living = CostLifecycle(trained())
    assert all(living.observe(sample) is None for sample in samples(drawn(2, 300)))
    assert living.stage is Stage.SERVING
    assert living.served.seen == 500


def test_a_slower_machine_leads_to_a_promoted_model():
    # Too fast for the bounded steps of learning.
    slower = TRUTH * 12
    living = CostLifecycle(trained(), LifecycleTuning(fresh=40))
    for sample in samples(drawn(2, 60)) + samples(drawn(3, 200, slower)):
        living.observe(sample)
    first = [(t.before, t.after) for t in living.transitions[:3]]
    assert first == [
        (Stage.SERVING, Stage.FROZEN), (Stage.FROZEN, Stage.SHADOW), (Stage.SHADOW, Stage.SERVING),
    ]  # fmt: skip
    frozen, shadow, promoted = living.transitions[:3]
    assert frozen.reason.startswith("drift")
    assert promoted.reason.startswith("promoted")
    assert shadow.at - frozen.at == 39
    held = samples(drawn(4, 60, slower))
    assert living.former is not None
    assert error(living.served, held) < 1.6 < 3.0 < error(living.former, held)


def test_while_frozen_the_served_model_learns_nothing():
    living = CostLifecycle(trained(), LifecycleTuning(fresh=50))
    before = living.served.to_dict()
    living.freeze("asked")
    for sample in samples(drawn(5, 30, TRUTH * 20)):
        assert living.observe(sample) is None
    assert living.served.to_dict() == before
    with pytest.raises(InvalidInput, match="frozen"):
        living.freeze("again")


def test_a_candidate_that_predicts_no_better_is_rolled_back():
    living = CostLifecycle(trained(400), LifecycleTuning(fresh=20, patience=60))
    served = living.served
    living.freeze("asked")
    # It learns from a disturbed spell, and is judged in a quiet one.
    for sample in samples(drawn(6, 20, TRUTH * 8)):
        living.observe(sample)
    assert living.stage is Stage.SHADOW
    last = None
    for sample in samples(drawn(7, 60)):
        last = living.observe(sample) or last
        if living.stage is Stage.SERVING:
            break
    assert living.stage is Stage.SERVING
    assert living.served is served
    assert living.candidate is None
    assert last is not None
    assert last.reason.startswith("rolled back")


def test_a_promotion_can_be_undone():
    living = CostLifecycle(trained(), LifecycleTuning(fresh=40))
    with pytest.raises(InvalidInput, match="none was promoted"):
        living.roll_back("too early")
    before = living.served
    for sample in samples(drawn(2, 60)) + samples(drawn(8, 300, TRUTH * 12)):
        living.observe(sample)
        if living.former is not None:
            break
    assert living.served is not before
    transition = living.roll_back("an alarm of the operator")
    assert living.served is before
    assert transition.reason == "an alarm of the operator"


def test_promotion_is_rare_where_both_are_as_good():
    wrong, first = 0, trained(100)
    for seed in range(20):
        living = CostLifecycle(first, LifecycleTuning(fresh=20, patience=60))
        living.freeze("asked")
        living.stage = Stage.SHADOW
        # The same model once more, whose errors differ from the served one's by chance alone.
        twin = CostPredictor("duckdb")
        twin.fit(samples(drawn(100 + seed, 100)))
        living.served = CostPredictor("duckdb")
        living.served.fit(samples(drawn(200 + seed, 100)))
        living.candidate = twin
        for sample in samples(drawn(300 + seed, 60)):
            living.observe(sample)
            if living.stage is Stage.SERVING:
                break
        wrong += living.former is not None
    assert wrong <= 5


@pytest.mark.parametrize("bad", [{"fresh": 1}, {"patience": 0}, {"alpha": 0.0}])
def test_stages_have_an_end(bad):
    with pytest.raises(InvalidInput):
        CostLifecycle(CostPredictor("duckdb"), LifecycleTuning(**bad))
