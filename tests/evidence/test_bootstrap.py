from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.errors import InvalidInput
from godb_fast.evidence import Interval, PairedRuns, Verdict, judge, ratio_of_sums

times = st.floats(0.01, 1e4, allow_nan=False)
rounds = st.integers(1, 5)


@st.composite
def paired(draw: st.DrawFn) -> tuple[list[list[float]], list[list[float]]]:
    shape = draw(st.lists(rounds, min_size=1, max_size=8))
    arms = [[draw(st.lists(times, min_size=n, max_size=n)) for n in shape] for _ in range(2)]
    return arms[0], arms[1]


@given(paired())
@settings(max_examples=60, deadline=None)
def test_estimate_is_the_ratio_of_summed_medians_and_lies_inside(runs):
    interval = ratio_of_sums(PairedRuns.of(*runs), draws=100)
    expected = sum(np.median(row) for row in runs[0]) / sum(np.median(row) for row in runs[1])
    assert interval.estimate == pytest.approx(expected)
    assert interval.low <= interval.estimate <= interval.high


@given(paired(), st.floats(0.01, 100))
@settings(max_examples=60, deadline=None)
def test_scaling_the_treatment_scales_the_interval(runs, factor):
    plain = ratio_of_sums(PairedRuns.of(*runs), draws=100)
    scaled = ratio_of_sums(
        PairedRuns.of([[value * factor for value in row] for row in runs[0]], runs[1]), draws=100
    )
    for ours, theirs in ((scaled.low, plain.low), (scaled.high, plain.high)):
        assert ours == pytest.approx(theirs * factor)


def test_an_arm_against_itself_is_exactly_one():
    rows = [[3.0, 4.0, 9.0], [1.0], [2.0, 2.5]]
    assert ratio_of_sums(PairedRuns.of(rows, rows), draws=50) == Interval(1.0, 1.0, 1.0)


def naive_bootstrap(treatment, baseline, draws, generator):
    ratios = []
    for _ in range(draws):
        top = bottom = 0.0
        for _ in range(len(baseline)):
            query = generator.integers(len(baseline))
            picks = generator.integers(len(baseline[query]), size=len(baseline[query]))
            top += np.median(np.asarray(treatment[query])[picks])
            bottom += np.median(np.asarray(baseline[query])[picks])
        ratios.append(top / bottom)
    return np.quantile(ratios, (0.025, 0.975))


def test_interval_agrees_with_a_naive_two_stage_bootstrap():
    generator = np.random.Generator(np.random.PCG64(5))
    shape = [3, 5, 4, 1, 3, 3, 2, 5, 3, 3, 3, 4]
    base = [generator.lognormal(3, 0.2, n) * (i + 1) for i, n in enumerate(shape)]
    treat = [row * generator.lognormal(-0.3, 0.3, row.size) for row in base]
    interval = ratio_of_sums(PairedRuns.of(treat, base), draws=4000, seed=1)
    low, high = naive_bootstrap(treat, base, 4000, generator)
    assert interval.low == pytest.approx(low, rel=0.02)
    assert interval.high == pytest.approx(high, rel=0.02)


def test_chunks_do_not_change_the_result(monkeypatch):
    generator = np.random.Generator(np.random.PCG64(8))
    base = generator.lognormal(3, 0.5, (40, 3))
    runs = PairedRuns.of(list(base * 0.9), list(base))
    whole = ratio_of_sums(runs, draws=200)
    monkeypatch.setattr("godb_fast.evidence.bootstrap._CHUNK", 40 * 3 * 7)
    assert ratio_of_sums(runs, draws=200).estimate == whole.estimate
    assert ratio_of_sums(runs, draws=200).low == pytest.approx(whole.low)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        generator = np.random.Generator(np.random.PCG64(seed))
        base = generator.lognormal(2, 0.3, (60, 1)) * generator.lognormal(0, 0.05, (60, 3))
        treat = base * 0.8 * generator.lognormal(0, 0.05, (60, 3))
        interval = ratio_of_sums(PairedRuns.of(list(treat), list(base)), draws=300, seed=seed)
        covered += interval.low <= 0.8 <= interval.high
    assert covered >= 180


@pytest.mark.parametrize(
    ("treatment", "baseline", "message"),
    [
        ([[1.0]], [], "1 queries in one arm, 0 in the other"),
        ([[1.0, 2.0]], [[1.0]], "query 0 has 2 and 1 rounds"),
        ([[]], [[]], "query 0 has no measured round"),
        ([[float("nan")]], [[1.0]], "not a positive number"),
        ([[1.0]], [[0.0]], "not a positive number"),
    ],
)
def test_bad_runs_are_refused(treatment, baseline, message):
    with pytest.raises(InvalidInput, match=message):
        PairedRuns.of(treatment, baseline)


def test_no_queries_give_no_ratio():
    with pytest.raises(InvalidInput, match="at least one query"):
        ratio_of_sums(PairedRuns.of([], []))


QUIET = Interval(1.0, 0.99, 1.01)
NOISY = Interval(1.0, 0.7, 1.3)


@pytest.mark.parametrize(
    ("ratio", "noise", "expected"),
    [
        (Interval(0.8, 0.7, 0.9), QUIET, Verdict.GAIN),
        (Interval(0.8, 0.7, 0.9), NOISY, Verdict.INCONCLUSIVE),
        (Interval(0.8, 0.5, 1.1), QUIET, Verdict.INCONCLUSIVE),
        (Interval(1.2, 1.1, 1.3), QUIET, Verdict.WORSE),
        (Interval(1.2, 1.1, 1.3), NOISY, Verdict.INCONCLUSIVE),
        (Interval(1.0, 0.99, 1.01), QUIET, Verdict.NO_GAIN),
        (Interval(1.005, 0.99, 1.08), QUIET, Verdict.NO_GAIN),
        (Interval(1.005, 0.9, 1.08), QUIET, Verdict.INCONCLUSIVE),
    ],
)
def test_verdicts(ratio, noise, expected):
    assert judge(ratio, noise) is expected


intervals = st.tuples(*[st.floats(0.05, 20)] * 3).map(sorted).map(lambda v: Interval(v[1], v[0], v[2]))


@given(intervals, intervals)
@settings(max_examples=200, deadline=None)
def test_an_effect_inside_the_noise_is_neither_gain_nor_loss(ratio, noise):
    reach = max(noise.high, 1 / noise.low, 1 / noise.high, noise.low)
    verdict = judge(ratio, noise)
    if 1 / reach <= ratio.estimate <= reach:
        assert verdict in (Verdict.INCONCLUSIVE, Verdict.NO_GAIN)
    if verdict is Verdict.GAIN:
        assert ratio.high < 1
    if verdict is Verdict.WORSE:
        assert ratio.low > 1


def test_verdict_refuses_a_broken_interval():
    with pytest.raises(InvalidInput, match="ordered"):
        judge(Interval(1.0, 1.2, 1.3), QUIET)
