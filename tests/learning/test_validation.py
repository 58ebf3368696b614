"""Each defect is found in the column that has it, and sound vectors have none."""

from __future__ import annotations

import numpy as np
import pytest

from godb_fast.errors import InvalidInput
from godb_fast.learning.features import COLUMN, FEATURES
from godb_fast.learning.validation import (
    check_values,
    constant_columns,
    drifted_columns,
    leaking_columns,
    serving_skew,
)


def sound(rows: int = 200, seed: int = 1) -> np.ndarray:
    source = np.random.default_rng(seed)
    least = np.array([feature.least for feature in FEATURES])
    most = np.minimum(np.array([feature.most for feature in FEATURES]), least + 20)
    return source.uniform(least, most, (rows, len(FEATURES)))


def test_sound_vectors_have_no_findings() -> None:
    vectors = sound()
    target = np.random.default_rng(2).normal(size=len(vectors))
    assert check_values(vectors) == []
    assert constant_columns(vectors) == []
    assert leaking_columns(vectors, target) == []
    assert serving_skew(vectors, vectors) == []
    assert drifted_columns(vectors, sound(seed=3)) == []


def test_nan_and_range() -> None:
    vectors = sound(10)
    vectors[3, COLUMN["load"]] = np.nan
    vectors[4, COLUMN["joined_rows"]] = np.inf
    vectors[[1, 2], COLUMN["support"]] = 1.5
    found = {(each.feature, each.kind): each.value for each in check_values(vectors)}
    assert found == {("load", "nan"): 0.1, ("joined_rows", "nan"): 0.1, ("support", "range"): 0.2}


def test_constant_and_leaking_columns() -> None:
    vectors = sound()
    vectors[:, COLUMN["memory"]] = 20.0
    assert [(each.feature, each.value) for each in constant_columns(vectors)] == [("memory", 20.0)]
    # A monotone transform of the target is the target.
    target = np.exp(vectors[:, COLUMN["past_latency"]])
    assert [each.feature for each in leaking_columns(vectors, target)] == ["past_latency"]
    assert leaking_columns(vectors, -target)[0].value == pytest.approx(-1.0)


def test_skew_between_training_and_serving() -> None:
    trained, served = sound(), sound()
    served[5, COLUMN["past_runs"]] += 1.0
    served[6, COLUMN["load"]] = np.nan
    found = {each.feature: each.value for each in serving_skew(trained, served)}
    assert found == {"past_runs": pytest.approx(1.0), "load": np.inf}


@pytest.mark.parametrize("shift", ["moved", "piled"])
def test_drift(shift: str) -> None:
    before, now = sound(), sound(seed=4)
    column = COLUMN["table_rows"]
    now[:, column] = now[:, column] + 8.0 if shift == "moved" else before[0, column]
    assert [each.feature for each in drifted_columns(before, now)] == ["table_rows"]
    # Counts that pile up on few values, the same ones: no drift.
    for vectors in (before, now):
        vectors[:, column] = np.round(sound(seed=len(vectors))[:, column]) > 5
    assert drifted_columns(before, now) == []


def test_other_widths_are_refused() -> None:
    with pytest.raises(InvalidInput, match="columns"):
        check_values(np.zeros((3, 2)))
    with pytest.raises(InvalidInput, match="row by row"):
        serving_skew(sound(3), sound(4))
