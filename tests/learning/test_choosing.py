"""The chooser: rank, bound, support, overhead, reason."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.core import Decision, SupportVerdict
from godb_fast.errors import InvalidInput
from godb_fast.evidence import ConformalBounds
from godb_fast.learning.choosing import Chooser, ChoosingPolicy

INSIDE, OUTSIDE = SupportVerdict(True, 0.1, 0.3), SupportVerdict(False, 0.5, 0.3)


def chooser(price_ms=None, budget=1.2, points=199):
    bounds = ConformalBounds(0.9)
    bounds.calibrate(np.random.default_rng(1).normal(size=points))
    return Chooser(bounds, ChoosingPolicy(budget, price_ms))


def test_a_candidate_that_is_surely_faster_is_chosen_with_its_bound():
    found = chooser().choose([0.0, -1.0, -0.2], [0.0, 0.3, 0.1], 100.0, support=INSIDE, cluster="c")
    assert found.candidate == 1
    assert found.bound is not None
    assert found.bound.log_ratio < math.log(1.2)
    assert (found.bound.scope, found.support, found.cluster) == ("global", INSIDE, "c")
    assert found.saving_ms == pytest.approx(100 * (1 - math.exp(-1)))
    assert "0.37 ×" in found.reason


@pytest.mark.parametrize(
    ("mean", "scale", "more", "reason"),
    [
        ([0.0, 0.3], [0.0, 0.1], {}, "no candidate is predicted to be faster"),
        ([0.0], [0.0], {}, "no candidate is predicted to be faster"),
        ([0.0, math.nan], [0.0, 0.1], {}, "1 could not be predicted"),
        ([0.0, -1.0], [0.0, 0.3], {"support": OUTSIDE}, "outside of what was learned from"),
        ([0.0, -1.0], [0.0, 0.3], {"overhead_ms": 90.0}, "not worth it: it would save 63.2 ms"),
        ([0.0, -0.5], [0.0, 2.0], {}, "not surely within 1.20 ×"),
    ],
)
def test_the_default_is_kept_for_a_reason(mean, scale, more, reason):
    found = chooser().choose(mean, scale, 100.0, **more)
    assert found.candidate == 0
    assert reason in found.reason


def test_without_a_single_outcome_nothing_is_promised_and_nothing_chosen():
    found = Chooser(ConformalBounds()).choose([0.0, -3.0], [0.0, 0.1], 1e4)
    assert found.candidate == 0
    assert found.bound is not None
    assert math.isinf(found.bound.log_ratio)


def test_a_price_lets_those_risk_more_that_promise_more():
    means, scales = [0.0, -0.7], [0.0, 1.2]
    priced = chooser(price_ms=2000.0)
    small, large = (priced.choose(means, scales, default) for default in (10.0, 100_000.0))
    assert (small.candidate, large.candidate) == (0, 1)
    assert small.risk == large.risk
    assert chooser().choose(means, scales, 100_000.0).candidate == 0
    assert chooser(price_ms=math.inf).choose(means, scales, 1e9).candidate == 0


def test_of_two_candidates_the_price_takes_the_safer_one_where_savings_are_alike():
    means, scales = [0.0, -0.75, -0.7], [0.0, 1.5, 0.2]
    assert chooser(price_ms=0.0).choose(means, scales, 1000.0).candidate == 1
    assert chooser(price_ms=3000.0).choose(means, scales, 1000.0).candidate == 2


def test_outcomes_of_the_fingerprint_decide_once_there_are_enough():
    found = chooser()
    query = {"fingerprint": "q", "cluster": "c"}
    assert found.choose([0.0, -1.0], [0.0, 0.3], 100.0, **query).candidate == 1
    for _ in range(40):
        found.bounds.observe(9.0, **query)
    held = found.choose([0.0, -1.0], [0.0, 0.3], 100.0, **query)
    assert held.candidate == 0
    assert held.bound is not None
    assert held.bound.scope == "fingerprint"
    assert found.choose([0.0, -1.0], [0.0, 0.3], 100.0, fingerprint="other").bound.scope == "global"


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(0.01, 3)), min_size=1, max_size=8),
    st.floats(0, 1e6),
    st.floats(0, 100),
    st.sampled_from([None, 0.0, 10.0, 1e5]),
)
@settings(max_examples=200, deadline=None)
def test_what_is_chosen_saves_more_than_it_costs_and_keeps_the_rule(
    candidates, default_ms, overhead_ms, price
):
    one = chooser(price)
    means, scales = ([0.0, *values] for values in zip(*candidates, strict=True))
    found = one.choose(means, scales, default_ms, overhead_ms=overhead_ms)
    if found.candidate:
        assert found.saving_ms > 0.0
        assert found.bound is not None
        if price is None:
            assert found.bound.log_ratio <= math.log(1.2) + 1e-9
        else:
            assert found.saving_ms > price * found.risk
    assert found.reason


def test_a_decision_carries_what_the_chooser_found():
    found = chooser().choose([0.0, -1.0], [0.0, 0.3], 100.0, support=INSIDE, cluster="1:ab")
    decision = Decision(
        7, "SELECT 1", reason=found.reason, bound=found.bound, support=found.support, cluster=found.cluster
    )
    plain = decision.to_dict()
    assert plain["bound"]["scope"] == "global"
    assert plain["support"]["inside"] is True
    assert plain["cluster"] == "1:ab"
    for part in ("bound: at most", "support: inside", "cluster: 1:ab"):
        assert part in decision.explain()
    assert Decision(7, "SELECT 1").to_dict()["bound"] is None


def test_bad_input_is_named():
    with pytest.raises(InvalidInput, match="budget"):
        ChoosingPolicy(0.9)
    with pytest.raises(InvalidInput, match="price"):
        ChoosingPolicy(price_ms=-1.0)
    with pytest.raises(InvalidInput, match="scales"):
        chooser().choose([0.0, 1.0], [0.0], 1.0)
    with pytest.raises(InvalidInput, match="default time"):
        chooser().choose([0.0, -1.0], [0.0, 0.1], math.nan)
