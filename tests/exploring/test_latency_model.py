"""The censored model: it learns what classes share, and takes a bound for a bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.matrices import made_up
from godb_fast.exploring import PlanSpace
from godb_fast.exploring.latency_model import LatencyModel
from godb_fast.exploring.normal import hazard, normal_cdf
from godb_fast.exploring.observations import Observations


def taught(space: PlanSpace, teach) -> LatencyModel:
    seen = Observations.start(space)
    teach(seen)
    model = LatencyModel(space)
    for _ in range(10):
        model.update(seen)
        model.fit()
    model.update(seen)
    return model


def test_an_arm_that_wins_in_a_class_is_expected_to_win_there_only():
    classes = np.repeat([0, 1], 20)
    space = PlanSpace.of(np.tile(np.arange(5), (40, 1)), np.ones(40), groups=list(classes))

    def teach(seen):
        for query in range(10):
            seen.measured(query, int(space.plans[query, 2]), -1.5)
            seen.measured(20 + query, int(space.plans[20 + query, 2]), 1.5)

    mean, variance = taught(space, teach).predict()
    unseen = [int(space.plans[query, 2]) for query in range(10, 20)]
    others = [int(space.plans[query, 2]) for query in range(30, 40)]
    assert mean[unseen].max() < -0.8
    assert mean[others].min() > 0.8
    never = [int(space.plans[query, 4]) for query in range(10, 20)]
    assert variance[unseen].max() < variance[never].min()


def test_a_bound_pushes_predictions_above_it_more_the_higher_it_is():
    space = PlanSpace.of(np.tile(np.arange(4), (30, 1)), np.ones(30))
    means = []
    for bound in (-2.0, 0.0, 1.0, 2.0):

        def teach(seen, bound=bound):
            for query in range(15):
                seen.censored(int(space.plans[query, 1]), bound)

        mean, _ = taught(space, teach).predict()
        means.append(float(mean[space.plans[20:, 1]].mean()))
    assert means == sorted(means)
    assert means[-1] > 1.5


def test_a_bound_is_never_lowered_and_a_time_is_never_turned_into_one():
    space = PlanSpace.of([[0, 1]], [1.0])
    seen = Observations.start(space)
    seen.censored(1, -0.5)
    seen.censored(1, -1.0)
    assert seen.log_ratio[1] == -0.5
    seen.measured(0, 1, -0.2)
    seen.censored(1, 3.0)
    assert seen.log_ratio[1] == -0.2
    seen.refuse(space, 0, 1)
    assert seen.best[0] == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), queries=st.integers(1, 30), arms=st.integers(1, 8))
def test_predictions_are_finite_whatever_is_seen(seed, queries, arms):
    matrix = made_up(templates=2, queries=queries, arms=arms, seed=seed)
    space = PlanSpace.of(matrix.seconds, matrix.default_s, groups=matrix.templates)
    rng = np.random.default_rng(seed)

    def teach(seen):
        for plan in range(space.plan_count):
            query = int(space.query_of_plan[plan])
            if seen.kind[plan] == 0 and rng.random() < 0.5:
                if rng.random() < 0.5:
                    seen.measured(query, plan, float(rng.normal(0, 8)))
                else:
                    seen.censored(plan, float(rng.normal(0, 8)))

    mean, variance = taught(space, teach).predict()
    assert np.isfinite(mean).all()
    assert (variance >= 0).all()
    assert mean[space.first_plan] == pytest.approx(0.0, abs=1e-9) or arms > 1


def test_the_normal_distribution_is_near_enough():
    from math import erf, exp, pi, sqrt

    grid = np.linspace(-6, 6, 241)
    exact = np.array([0.5 * (1 + erf(value / sqrt(2))) for value in grid])
    assert np.abs(normal_cdf(grid) - exact).max() < 3e-4
    assert normal_cdf(grid.astype(np.float32)).dtype == np.float32
    within = grid[(grid > -3) & (grid < 4)]
    density = np.array([exp(-0.5 * value * value) / sqrt(2 * pi) for value in within])
    survival = np.array([0.5 * (1 - erf(value / sqrt(2))) for value in within])
    assert np.abs(hazard(within) / (density / survival) - 1).max() < 0.02
    far = np.array([5.0, 20.0, 1e4])
    assert ((hazard(far) > far) & (hazard(far) < far + 0.2)).all()
