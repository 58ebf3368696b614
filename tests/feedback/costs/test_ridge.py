"""Non-negative ridge regression against its definition, minimized by brute force."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.errors import InvalidInput
from godb_fast.feedback.costs.ridge import NonNegativeRidge


def loss(theta, amounts, times, weights, prior, scale, noise):
    residual = times - amounts @ theta
    return float(weights @ residual**2) / noise + float((((theta - prior) / scale) ** 2).sum())


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_no_feasible_step_lowers_the_penalised_loss(seed):
    source = np.random.default_rng(seed)
    size, rows = int(source.integers(1, 6)), int(source.integers(0, 12))
    amounts = source.uniform(0, 10, (rows, size)) * (source.uniform(size=(rows, size)) < 0.7)
    times, weights = source.normal(5, 20, rows), source.uniform(0, 2, rows)
    prior, scale = source.uniform(0, 3, size), source.uniform(0.1, 5, size)
    ridge = NonNegativeRidge(prior, scale, noise=0.5)
    ridge.fit(amounts, times, weights)
    best = loss(ridge.coefficients, amounts, times, weights, prior, scale, 0.5)
    assert (ridge.coefficients >= 0).all()
    for _ in range(200):
        other = np.maximum(ridge.coefficients + source.normal(0, source.choice([1e-3, 0.1, 2.0]), size), 0)
        assert loss(other, amounts, times, weights, prior, scale, 0.5) >= best - 1e-9 * (1 + abs(best))


def test_without_rows_the_prior_stays_and_with_many_it_is_forgotten():
    ridge = NonNegativeRidge([2.0, 0.0], [1.0, 1.0])
    ridge.fit(np.zeros((0, 2)), [], [])
    assert ridge.coefficients.tolist() == [2.0, 0.0]
    amounts = np.random.default_rng(1).uniform(0, 5, (5000, 2))
    ridge.fit(amounts, amounts @ [7.0, 3.0], np.ones(5000))
    assert ridge.coefficients == pytest.approx([7.0, 3.0], rel=1e-3)


def test_an_update_moves_each_coefficient_by_a_bounded_step_and_gets_there_in_the_end():
    ridge = NonNegativeRidge([1.0, 1.0], [1.0, 1.0])
    source = np.random.default_rng(2)
    for _ in range(400):
        before = ridge.coefficients.copy()
        row = source.uniform(0, 5, (1, 2))
        ridge.update(row, row @ [30.0, 0.0], [1.0], step=0.1)
        assert (np.abs(ridge.coefficients - before) <= 0.1 * np.maximum(before, 1.0) + 1e-12).all()
        assert (ridge.coefficients >= 0).all()
    assert ridge.coefficients == pytest.approx([30.0, 0.0], abs=0.2)


def test_forgetting_follows_a_change_that_remembering_averages():
    found = {}
    for forget in (1.0, 0.98):
        ridge = NonNegativeRidge([1.0], [1.0])
        for number in range(600):
            ridge.update([[1.0]], [2.0 if number < 300 else 6.0], [1.0], forget=forget, step=0.5)
        found[forget] = float(ridge.coefficients[0])
    assert found[1.0] == pytest.approx(4.0, abs=0.1)
    assert found[0.98] == pytest.approx(6.0, abs=0.2)


def test_uncertainty_falls_with_rows_and_covers_the_truth():
    source = np.random.default_rng(3)
    inside, widths = 0, []
    for trial in range(200):
        rows = 40
        amounts = source.uniform(0, 4, (rows, 2))
        ridge = NonNegativeRidge([5.0, 5.0], [50.0, 50.0], noise=1.0)
        ridge.fit(amounts, amounts @ [8.0, 6.0] + source.normal(0, 1, rows), np.ones(rows))
        deviation = np.sqrt(np.diag(ridge.covariance()))
        inside += abs(ridge.coefficients[0] - 8.0) < 1.96 * deviation[0]
        if trial == 0:
            widths = [deviation[0]]
            ridge.fit(np.tile(amounts, (4, 1)), np.tile(amounts @ [8.0, 6.0], 4), np.ones(4 * rows))
            widths.append(np.sqrt(ridge.covariance()[0, 0]))
    assert 0.90 <= inside / 200 <= 0.99
    assert widths[1] < 0.6 * widths[0]


def test_it_is_kept_as_it_was_and_damage_is_refused():
    ridge = NonNegativeRidge([1.0, 2.0], [1.0, 1.0])
    ridge.update([[1.0, 2.0], [3.0, 0.5]], [9.0, 4.0], [1.0, 2.0])
    raw = json.loads(json.dumps(ridge.to_dict()))
    again = NonNegativeRidge.from_dict(raw)
    for each in (ridge, again):
        each.update([[2.0, 2.0]], [3.0], [1.0])
    assert again.coefficients.tolist() == ridge.coefficients.tolist()
    for name, value in {
        "coefficients": [1.0, -2.0], "gram": [[1.0]], "moment": [float("nan"), 1.0], "rows": -1.0, "prior": "x",
    }.items():  # fmt: skip
        with pytest.raises(InvalidInput):
            NonNegativeRidge.from_dict({**raw, name: value})


@pytest.mark.parametrize(
    ("amounts", "times", "weights"),
    [([[1.0, np.nan]], [1.0], [1.0]), ([[1.0, 1.0]], [np.inf], [1.0]), ([[1.0, 1.0]], [1.0], [-1.0])],
)
def test_numbers_that_are_none_are_refused(amounts, times, weights):
    with pytest.raises(InvalidInput):
        NonNegativeRidge([1.0, 1.0], [1.0, 1.0]).update(amounts, times, weights)
