from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.errors import InvalidInput
from godb_fast.evidence import boldest_setting, risk_limit


def test_the_limit_is_the_mean_with_its_error_over_groups_and_one_more_outcome():
    harm = [1, 0, 0, 0, 0, 0, 0, 1]
    groups = list("aabbccdd")
    # Deviations per group from 2 · 0.25: 0.5, -0.5, -0.5, 0.5; √(4 · 0.25 · 4/3) / 8.
    # Student's t with 3 degrees of freedom at 0.9 is 1.638.
    assert risk_limit(harm, groups) == pytest.approx(0.25 + 1.638 * (4 / 3) ** 0.5 / 8 + 0.75 / 9, abs=2e-3)
    assert risk_limit(harm, groups, confidence=0.5) == pytest.approx(0.25 + 0.75 / 9)
    assert risk_limit(harm, ["one"] * 8) == float("inf")


@pytest.mark.parametrize(
    ("confidence", "groups", "student"),
    [(0.9, 8, 1.415), (0.95, 8, 1.895), (0.9, 35, 1.307), (0.99, 11, 2.764)],
)
def test_the_quantiles_are_those_of_tables(confidence, groups, student):
    harm = np.tile([1.0, 0.0], groups // 2 + 1)[:groups]
    limit = risk_limit(harm, np.arange(groups), confidence=confidence)
    mean = harm.mean()
    error = np.sqrt(((harm - mean) ** 2).sum() * groups / (groups - 1)) / groups
    assert (limit - mean - (1 - mean) / (groups + 1)) / error == pytest.approx(student, rel=5e-3)


def test_what_looks_alike_counts_once():
    harm, groups = np.zeros(200), np.repeat(np.arange(10), 20)
    assert risk_limit(harm, groups) == pytest.approx(1 / 201)
    assert risk_limit(harm, groups, alike=groups) == pytest.approx(1 / 11)


def test_harm_of_one_group_is_less_certain_than_harm_spread_over_all():
    groups = np.repeat(np.arange(10), 20)
    lumped = (groups == 3).astype(float)
    spread = np.tile([1.0] * 2 + [0.0] * 18, 10)
    assert lumped.mean() == spread.mean()
    assert risk_limit(lumped, groups) > 1.5 * risk_limit(spread, groups)


def test_the_budget_is_kept_on_average_by_what_is_chosen():
    # Settings are thresholds on a score that is harmful with a known probability.
    rng = np.random.default_rng(2)
    thresholds = np.linspace(1.0, 0.0, 41)
    true = []
    for _ in range(300):
        score = rng.random(400)
        harmful = rng.random(400) < score * 0.4
        chosen = boldest_setting(
            [(score < limit) * harmful for limit in thresholds], np.arange(400), 0.05, confidence=0.5
        )
        assert chosen is not None
        true.append(0.2 * thresholds[chosen] ** 2)
    assert 0.03 < np.mean(true) <= 0.05


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=12, max_size=12), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_no_setting_after_the_chosen_one_is_over_the_budget(rows):
    groups = np.repeat(np.arange(4), 3)
    chosen = boldest_setting(rows, groups, 0.3)
    limits = [risk_limit(row, groups) for row in rows]
    if chosen is None:
        assert limits[-1] > 0.3
    else:
        assert max(limits[chosen:]) <= 0.3
        assert chosen == 0 or limits[chosen - 1] > 0.3


def test_bad_input_is_named():
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        risk_limit([2.0], ["a"])
    with pytest.raises(InvalidInput, match="outcomes"):
        risk_limit([], [])
    with pytest.raises(InvalidInput, match="confidence"):
        risk_limit([0.0], ["a"], confidence=1.0)
    with pytest.raises(InvalidInput, match="dimensions"):
        boldest_setting([0.0, 1.0], ["a", "b"], 0.1)
