"""The rule that chooses among candidates, on cost matrices."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from godb_fast.planning.choice import Rule, choose, summarize

MS = 1e6
RULE = Rule(margin=1.25, tolerance=1.1, least_gain=MS)


def chosen(*rows, rule=RULE):
    """The row chosen, the last row being the engine's own plan."""
    return choose(summarize(rows, len(rows) - 1), len(rows) - 1, rule)


def test_a_cheaper_plan_in_all_scenarios_is_chosen():
    found = chosen([10 * MS, 12 * MS], [100 * MS, 90 * MS])
    assert found.chosen == 0
    assert found.reason == "estimated 10.00 times cheaper, at a smaller risk in every scenario"


@pytest.mark.parametrize(("cost", "expected"), [(79.0, 0), (80.0, 0), (81.0, None)])
def test_the_margin(cost, expected):
    assert chosen([cost * MS, 50 * MS], [100 * MS, 90 * MS]).chosen == expected


def test_the_margin_is_named():
    assert "1.25 times cheaper" in chosen([90 * MS], [100 * MS]).reason
    assert chosen([100 * MS], [100 * MS]).reason == "the engine's own plan is the cheapest"
    assert chosen([100 * MS]).chosen is None


@pytest.mark.parametrize(("worse", "expected"), [(1.99, 0), (2.01, None)])
def test_the_most_that_is_risked(worse, expected):
    found = chosen([10 * MS, worse * 90 * MS, MS], [100 * MS, 90 * MS, 2 * MS])
    assert found.chosen == expected


@pytest.mark.parametrize(("worse", "expected"), [(1.29, 0), (1.31, None)])
def test_no_more_is_risked_than_won(worse, expected):
    found = chosen([100 * MS, worse * 90 * MS, MS], [130 * MS, 90 * MS, 2 * MS])
    assert found.chosen == expected


def test_a_robust_plan_beats_the_cheapest_one():
    cheapest = [10 * MS, 900 * MS, 20 * MS]
    robust = [20 * MS, 30 * MS, 25 * MS]
    assert chosen(cheapest, robust, [100 * MS, 90 * MS, 95 * MS]).chosen == 1


def test_a_plan_that_fails_the_rule_leaves_the_next_best():
    fragile = [10 * MS, 200 * MS, 1 * MS, 1 * MS]
    steady = [70 * MS, 80 * MS, 70 * MS, 70 * MS]
    own = [100 * MS, 80 * MS, 90 * MS, 90 * MS]
    plans = summarize([fragile, steady, own], 2)
    assert plans[0].excess < plans[1].excess
    assert chosen(fragile, steady, own).chosen == 1


def test_tiny_queries_are_left_alone():
    found = chosen([0.1 * MS], [0.9 * MS])
    assert found.chosen is None
    assert found.reason == "the gain of 800 µs is not worth steering"


def test_an_infinite_plan_is_no_gain():
    own = [math.inf, 7e15, math.inf, 0.0]
    assert chosen([0.0, math.inf, 0.0, 0.0], [math.inf, 8e15, math.inf, 0.0], own).chosen is None


COSTS = st.floats(0, 1e300) | st.just(math.inf)


@given(
    st.integers(1, 5).flatmap(
        lambda k: st.lists(st.lists(COSTS, min_size=k, max_size=k), min_size=1, max_size=5)
    )
)
def test_whatever_is_chosen_obeys_the_rule(costs):
    default = len(costs) - 1
    plans = summarize(costs, default)
    found = choose(plans, default, RULE)
    assert found.reason
    assert all(plan.excess >= 0 and plan.worst >= 0 for plan in plans)
    if found.chosen is not None:
        mine, own = costs[found.chosen], costs[default]
        assert mine[0] * RULE.margin <= own[0]
        allowed = max(RULE.tolerance, min(own[0] / mine[0] if mine[0] else math.inf, RULE.most_risk))
        assert all(m <= o * allowed * (1 + 1e-9) for m, o in zip(mine, own, strict=True))
