from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.errors import InvalidInput
from godb_fast.evidence import ConformalBounds, ConformalTracker, conformal_p_value, conformal_quantile

scores = st.lists(st.floats(-50, 50, allow_nan=False), min_size=0, max_size=60)


@given(scores, st.floats(0.01, 0.99))
@settings(max_examples=200, deadline=None)
def test_the_quantile_leaves_enough_scores_below_it_and_no_lower_one_does(values, level):
    quantile = conformal_quantile(values, level)
    demanded = level * (len(values) + 1) - 1e-9
    if math.isinf(quantile):
        assert len(values) < demanded
        return
    assert sum(value <= quantile for value in values) >= demanded
    lower = [value for value in values if value < quantile]
    assert len(lower) < demanded


@given(scores, st.floats(-60, 60, allow_nan=False), st.floats(0.01, 0.99))
@settings(max_examples=200, deadline=None)
def test_a_value_lies_above_the_bound_exactly_where_its_p_value_is_small(values, at, level):
    p = conformal_p_value(values, at)
    if abs(p - (1 - level)) > 1e-6:
        assert (conformal_quantile(values, level) <= at) == (p <= 1 - level)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("draw", ["normal", "heavy tails", "ties"])
def test_exchangeable_scores_are_covered_as_stated(level, draw):
    rng = np.random.default_rng(3)
    trials, count = 6000, 39
    samples = rng.standard_t(2, size=(trials, count + 1))
    if draw == "normal":
        samples = rng.normal(size=samples.shape)
    elif draw == "ties":
        samples = np.round(samples)
    held = np.mean([row[-1] <= conformal_quantile(row[:-1], level) for row in samples])
    error = 4 * math.sqrt(level * (1 - level) / trials)
    # At 39 scores (n + 1) level is an integer: without ties coverage is exact.
    assert held >= level - error
    if draw != "ties":
        assert held <= level + error


def test_a_censored_run_widens_the_bound_and_never_narrows_it():
    rng = np.random.default_rng(5)
    true = rng.normal(size=400)
    limit = 0.8
    known = np.where(true > limit, np.inf, true)
    for level in (0.5, 0.7, 0.9):
        assert conformal_quantile(known, level) >= conformal_quantile(true, level)
    # Taken as if complete, cut runs would make the bound too low.
    assert conformal_quantile(np.minimum(true, limit), 0.9) < conformal_quantile(true, 0.9)
    bounds = ConformalBounds(0.9)
    bounds.calibrate(true)
    before = bounds.bound(0.0, 1.0).log_ratio
    for _ in range(60):
        bounds.observe(limit, cut=True)
    assert bounds.bound(0.0, 1.0).log_ratio > before


@given(
    st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=300),
    st.sampled_from([0.8, 0.9]),
    st.sampled_from([0.01, 0.05, 0.2]),
)
@settings(max_examples=100, deadline=None)
def test_whatever_comes_the_share_of_broken_bounds_tends_to_the_stated_one(outcomes, level, step):
    # Gibbs and Candès 2021, proposition 4.1: for every sequence, not only on average.
    tracker = ConformalTracker(level, step=step, window=50)
    broken = sum(not tracker.observe(score) for score in outcomes)
    limit = (max(level, 1 - level) + step) / (step * len(outcomes))
    assert abs(broken / len(outcomes) - (1 - level)) <= limit + 1e-9


def test_coverage_comes_back_after_a_shift():
    rng = np.random.default_rng(7)
    before, after = rng.normal(size=600), rng.normal(2.0, 2.0, size=900)
    adaptive, fixed = ConformalTracker(step=0.03, window=400), ConformalTracker(step=0.0, window=10_000)
    for tracker in (adaptive, fixed):
        tracker.calibrate(before)
    held = {tracker: [tracker.observe(score) for score in after] for tracker in (adaptive, fixed)}
    assert np.mean(held[fixed][:150]) < 0.6
    assert np.mean(held[fixed][300:]) < np.mean(held[adaptive][300:])
    assert abs(np.mean(held[adaptive][300:]) - 0.9) < 4 * math.sqrt(0.09 / 600)


def test_a_bound_comes_from_the_narrowest_scope_that_has_seen_enough():
    bounds = ConformalBounds(0.8, enough=10)
    assert bounds.bound(0.0, 1.0).scope == "none"
    assert math.isinf(bounds.bound(0.0, 1.0).log_ratio)
    bounds.calibrate(np.linspace(0, 1, 50))
    bounds.calibrate_cluster("far", np.linspace(0, 1, 45))
    for number in range(9):
        bounds.observe(3.0 + number, fingerprint="q", cluster="near")
    assert bounds.bound(0.0, 1.0, fingerprint="q", cluster="near").scope == "global"
    bounds.observe(12.0, fingerprint="p", cluster="near")
    assert bounds.bound(0.0, 1.0, fingerprint="q", cluster="near").scope == "cluster"
    assert bounds.bound(0.0, 1.0, fingerprint="q", cluster="new").scope == "global"
    bounds.observe(12.0, fingerprint="q", cluster="near")
    found = bounds.bound(1.0, 2.0, fingerprint="q", cluster="near")
    assert (found.scope, found.points) == ("fingerprint", 10)
    assert found.log_ratio > bounds.bound(1.0, 2.0, fingerprint="q2", cluster="far").log_ratio


def test_risk_says_how_often_a_limit_is_passed_and_more_where_bounds_broke():
    tracker = ConformalTracker(0.9, step=0.05)
    tracker.calibrate(range(99))
    assert tracker.risk(89.0) == pytest.approx(0.10)
    assert tracker.risk(98.0) == pytest.approx(0.01)
    tracker.observe(200.0)
    assert tracker.risk(89.0) > 0.15


def test_what_was_kept_goes_on_as_if_nothing_had_happened():
    rng = np.random.default_rng(11)
    bounds = ConformalBounds(0.9, enough=5, window=40)
    for number, score in enumerate(rng.normal(size=70)):
        bounds.observe(float(score), fingerprint=f"q{number % 3}", cluster="c", cut=number % 9 == 0)
    again = ConformalBounds.from_dict(json.loads(json.dumps(bounds.to_dict())))
    for number in range(4):
        key = {"fingerprint": f"q{number}", "cluster": "c"}
        assert again.bound(0.3, 0.7, **key) == bounds.bound(0.3, 0.7, **key)


def test_bad_input_is_named():
    with pytest.raises(InvalidInput, match="NaN"):
        ConformalTracker().observe(math.nan)
    with pytest.raises(InvalidInput, match="level"):
        conformal_quantile([1.0], 1.0)
    with pytest.raises(InvalidInput, match="scale"):
        ConformalBounds().bound(0.0, 0.0)
    with pytest.raises(InvalidInput, match="conformal"):
        ConformalBounds.from_dict({"level": 0.9})
    with pytest.raises(InvalidInput, match="NaN"):
        ConformalBounds().calibrate([1.0, math.nan])
