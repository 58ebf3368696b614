from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.errors import InvalidInput
from godb_fast.evidence import geometric_mean, log_ratio_test, percentile, sign_evidence, summarize_ratios

logs = st.lists(st.floats(-3, 3, allow_nan=False), min_size=2, max_size=40)


@given(logs, st.floats(0.2, 5))
@settings(max_examples=150, deadline=None)
def test_the_interval_holds_the_ratios_that_the_test_does_not_reject(values, null_ratio):
    test = log_ratio_test(values, null_ratio=null_ratio)
    inside = test.low <= null_ratio <= test.high
    rejected = test.evidence >= 1 / 0.05
    edge = min(abs(null_ratio / test.low - 1) if test.low else 1.0, abs(null_ratio / test.high - 1))
    if edge > 1e-6:
        assert inside != rejected


@given(logs)
@settings(max_examples=100, deadline=None)
def test_swapping_the_arms_mirrors_the_interval(values):
    one, other = log_ratio_test(values), log_ratio_test([-value for value in values])
    assert one.evidence == pytest.approx(other.evidence)
    assert one.ratio == pytest.approx(1 / other.ratio)
    if math.isfinite(one.high):
        assert one.high == pytest.approx(1 / other.low)


def by_quadrature(values: np.ndarray, effect: float) -> float:
    """The mixture likelihood ratio, integrated over effect size and scale instead of solved."""
    deltas = np.linspace(-9 * effect, 9 * effect, 1201)
    prior = np.exp(-0.5 * (deltas / effect) ** 2)
    prior /= prior.sum()
    log_scales = np.linspace(-9, 9, 1201)
    scales = np.exp(log_scales)
    n, total, squares = values.size, values.sum(), (values**2).sum()

    def marginal(delta: np.ndarray) -> np.ndarray:
        # Right-Haar measure dσ/σ is uniform in ln σ.
        exponent = (
            -0.5 * squares / scales**2
            + np.multiply.outer(delta, total / scales)
            - 0.5 * n * np.square(delta)[..., None]
        )
        return np.exp(exponent - n * log_scales).sum(axis=-1)

    return float((prior * marginal(deltas)).sum() / marginal(np.zeros(1))[0])


@pytest.mark.parametrize("effect", [0.5, 1.0])
def test_evidence_is_the_mixture_that_its_sources_define(effect):
    values = np.random.Generator(np.random.PCG64(3)).normal(0.6, 0.8, 7)
    ours = log_ratio_test(values, effect=effect).evidence
    assert ours == pytest.approx(by_quadrature(values, effect), rel=1e-3)


def test_looking_after_every_pair_rejects_a_true_null_at_most_alpha():
    generator = np.random.Generator(np.random.PCG64(11))
    paths, false_alarms = 600, 0
    for _ in range(paths):
        values = generator.normal(0.0, 0.4, 120)
        false_alarms += any(
            log_ratio_test(values[:n]).faster or log_ratio_test(values[:n]).slower for n in range(2, 121)
        )
    assert false_alarms / paths <= 0.05


def test_a_real_difference_is_found():
    values = np.random.Generator(np.random.PCG64(2)).normal(math.log(0.7), 0.2, 30)
    test = log_ratio_test(values)
    assert test.faster
    assert not test.slower
    assert test.low < 0.7 < test.high
    assert log_ratio_test(-values).slower


def test_too_few_pairs_say_nothing():
    for values in ([], [0.5]):
        test = log_ratio_test(values)
        assert (test.low, test.high, test.evidence) == (0.0, math.inf, 1.0)


def test_bad_ratios_are_refused():
    with pytest.raises(InvalidInput, match="not finite"):
        log_ratio_test([0.1, math.inf])
    with pytest.raises(InvalidInput, match="alpha"):
        log_ratio_test([0.1, 0.2], alpha=1.5)


@pytest.mark.parametrize("pairs", range(1, 12))
def test_sign_evidence_has_expectation_one_under_a_fair_coin(pairs):
    mean = sum(
        Fraction(math.comb(pairs, wins), 2**pairs) * Fraction(sign_evidence(wins, pairs))
        for wins in range(pairs + 1)
    )
    assert float(mean) == pytest.approx(1.0)


@given(st.integers(0, 200), st.integers(0, 200))
@settings(max_examples=100, deadline=None)
def test_sign_evidence_is_a_martingale_at_one_half_and_falls_below_it(wins, losses):
    now = sign_evidence(wins, wins + losses)
    up, down = sign_evidence(wins + 1, wins + losses + 1), sign_evidence(wins, wins + losses + 1)
    assert (up + down) / 2 == pytest.approx(now)
    assert up > down
    assert 0.3 * up + 0.7 * down < now


def test_sign_evidence_of_eight_wins_in_a_row_suffices():
    assert sign_evidence(8, 8) >= 20 > sign_evidence(6, 6)
    assert sign_evidence(5000, 5000) == math.inf
    with pytest.raises(InvalidInput, match="3 wins of 2 pairs"):
        sign_evidence(3, 2)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=50))
@settings(max_examples=100, deadline=None)
def test_summary_counts_and_percentiles(ratios):
    summary = summarize_ratios(ratios)
    assert summary.slower_2 == sum(value > 2 for value in ratios) <= summary.slower_1_1
    assert summary.worst_ratio == max(ratios) == ratios[summary.worst]
    assert summary.p50 <= summary.p95 <= summary.p99 <= summary.worst_ratio
    assert {summary.p50, summary.p95, summary.p99} <= set(ratios)
    assert math.log(summary.geometric_mean) == pytest.approx(
        sum(map(math.log, ratios)) / len(ratios), abs=1e-9
    )


def test_summaries_refuse_what_they_cannot_summarize():
    with pytest.raises(InvalidInput, match="geometric mean"):
        geometric_mean([1.0, 0.0])
    with pytest.raises(InvalidInput, match="percentile"):
        percentile([], 0.5)
    with pytest.raises(InvalidInput, match="share"):
        percentile([1.0], 1.5)
