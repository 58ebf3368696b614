"""Several forests as one file."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor

from godb_fast.learning.training.ensembles import Ensemble, Member
from godb_fast.learning.training.exporting import export


def forest(rows: np.ndarray, target: np.ndarray, seed: int) -> GradientBoostingRegressor:
    return GradientBoostingRegressor(n_estimators=20, max_depth=3, random_state=seed).fit(rows, target)


def test_a_weighted_sum_of_forests_is_exported_as_one_forest():
    rows = np.random.default_rng(3).normal(size=(400, 6)).astype(np.float32).astype(np.float64)
    left = forest(rows[:, :4], rows[:, 0] - rows[:, 3], 1)
    right = forest(rows[:, 4:], 5.0 + rows[:, 4] * rows[:, 5], 2)
    ensemble = Ensemble((Member(left, 0, 4, 0.5), Member(right, 4, 2, 0.25), Member(right, 1, 2, -2.0)))
    said = ensemble.predict(rows)
    by_hand = (
        0.5 * left.predict(rows[:, :4])
        + 0.25 * right.predict(rows[:, 4:])
        - 2.0 * right.predict(rows[:, 1:3])
    )
    np.testing.assert_allclose(said, by_hand)
    # Compares both servers with the ensemble, and raises where they differ.
    file = export(
        ensemble, rows, name="drawn-ranker", version=1, kind="ranker", engine="drawn",
        columns=tuple(f"c{number}" for number in range(6)), observations=400, templates=5,
        calibration={}, metrics={}, since="", until="", trained_from="a test",
    )  # fmt: skip
    assert file.card.size_bytes == len(file.data)
