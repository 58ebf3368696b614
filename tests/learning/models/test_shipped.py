"""Models that ship, and the user's own before them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from learning.models.making import fitted

from godb_fast.learning.features import FEATURES
from godb_fast.learning.models import Model, ModelFolder, shipped
from godb_fast.learning.physical import RANK_COLUMNS
from godb_fast.learning.pipelines import PIPELINE_COLUMNS

COLUMNS = {
    "latency": tuple(feature.name for feature in PIPELINE_COLUMNS),
    "ranker": RANK_COLUMNS,
    "quantile": tuple(feature.name for feature in FEATURES),
}


def test_the_user_s_own_model_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, file = fitted()
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    assert shipped.find("duckdb-latency", tmp_path / "own") is None
    ModelFolder(tmp_path / "shipped").export(replace(file.card, version=7), file.data)
    assert shipped.find("duckdb-latency", tmp_path / "own").key == "duckdb-latency/7"
    ModelFolder(tmp_path / "own").export(file.card, file.data)
    assert shipped.find("duckdb-latency", tmp_path / "own").key == "duckdb-latency/1"
    (tmp_path / "own" / "duckdb-latency" / "1" / "model.onnx").write_bytes(file.data[:-1])
    refused: list = []
    assert shipped.find("duckdb-latency", tmp_path / "own", refused=refused).key == "duckdb-latency/7"
    assert [error.reason for error in refused] == ["truncated"]


def test_what_ships_is_sound_on_both_servers() -> None:
    folder = ModelFolder(shipped.SHIPPED)
    for name in folder.names():
        for version in folder.versions(name):
            file = folder.load(name, version)
            assert file.card.columns == COLUMNS[file.card.kind], name
            assert "benchmarks.collecting" in file.card.trained_from, name
            rows = np.random.default_rng(0).uniform(0, 10, (50, len(file.card.columns)))
            native = Model(file, server="native").predict(rows)
            np.testing.assert_allclose(
                native, Model(file, server="onnxruntime").predict(rows), rtol=1e-4, atol=1e-5
            )
