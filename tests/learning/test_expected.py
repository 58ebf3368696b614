"""Expected times: three models, moved by their own errors, never crossed, and none without all three."""

from __future__ import annotations

import math

import numpy as np
import pytest
from learning.models.making import ensemble, file_of, model_of

from godb_fast.learning.expected import QuantileHeads
from godb_fast.learning.features import FEATURES
from godb_fast.learning.models import ModelFolder, shipped

NAMES = [feature.name for feature in FEATURES]


def head(name, quantile, leaf, calibration, columns=NAMES):
    """A model that says the same of every statement."""
    tree = [("BRANCH_LEQ", 0, 0.5, 1, 2), ("LEAF", leaf), ("LEAF", leaf)]
    return file_of(
        model_of([ensemble([tree])], len(columns)),
        len(columns),
        name=f"duckdb-{name}",
        kind="quantile",
        engine="duckdb",
        quantile=quantile,
        columns=tuple(columns),
        calibration=calibration,
    )


@pytest.fixture(autouse=True)
def nothing_ships(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")


def export(folder, *files):
    for file in files:
        ModelFolder(folder).export(file.card, file.data)


def test_the_interval_is_moved_by_held_out_errors(tmp_path):
    export(
        tmp_path,
        head("p10", 0.1, 2.0, {"p10": -0.5, "p90": 9.0}),
        head("p50", 0.5, 3.0, {}),
        head("p90", 0.9, 4.0, {"p10": -9.0, "p90": 0.25}),
    )
    found = QuantileHeads.find("duckdb", tmp_path).expect(np.zeros(len(FEATURES)))
    assert (found.low_ms, found.ms, found.high_ms) == pytest.approx(
        (math.exp(1.5), math.exp(3), math.exp(4.25))
    )
    assert str(found).startswith("20.1 ms, eight of ten between 4.48 and 70.1 ms (duckdb-p10/1, ")


def test_models_that_cross_are_put_in_order(tmp_path):
    export(
        tmp_path, head("p10", 0.1, 5.0, {}), head("p50", 0.5, 3.0, {}), head("p90", 0.9, 1e6, {"p90": 0.0})
    )
    found = QuantileHeads.find("duckdb", tmp_path).expect(np.zeros(len(FEATURES)))
    assert (found.low_ms, found.ms) == pytest.approx((math.exp(3.0), math.exp(5.0)), rel=1e-6)
    assert found.ms < found.high_ms < math.inf


def test_one_that_is_missing_or_reads_other_columns_is_one_too_few(tmp_path):
    export(tmp_path, head("p10", 0.1, 2.0, {}), head("p50", 0.5, 3.0, {}))
    assert QuantileHeads.find("duckdb", tmp_path) is None
    export(tmp_path, head("p90", 0.9, 2.0, {}, columns=NAMES[::-1]))
    assert QuantileHeads.find("duckdb", tmp_path) is None
    assert QuantileHeads.find("duckdb", None) is None


def test_heads_of_two_trainings_are_not_mixed(tmp_path):
    whole = head("p10", 0.1, 2.0, {}), head("p50", 0.5, 3.0, {}), head("p90", 0.9, 4.0, {})
    export(tmp_path / "shipped", *whole)
    export(tmp_path / "own", head("p50", 0.5, 9.0, {}))
    found = QuantileHeads.find("duckdb", tmp_path / "own").expect(np.zeros(len(FEATURES)))
    assert found.ms == pytest.approx(math.exp(3.0))
    export(tmp_path / "own", head("p10", 0.1, 8.0, {}), head("p90", 0.9, 10.0, {}))
    found = QuantileHeads.find("duckdb", tmp_path / "own").expect(np.zeros(len(FEATURES)))
    assert (found.low_ms, found.ms) == pytest.approx((math.exp(8.0), math.exp(9.0)))
