"""Collecting executions to train on, from a real engine."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import collecting
from godb_fast.learning.physical import PHYSICAL_COLUMNS
from godb_fast.learning.training.gathering import gather
from godb_fast.store import SqliteStore


@pytest.mark.slow
def test_executions_of_the_demo_can_be_learned_from(tmp_path, capsys):
    store = tmp_path / "store.sqlite"
    arguments = [str(store), "--workloads", "demo-full", "--scale", "0.01", "--rounds", "1", "--limit", "25"]
    assert collecting.main(arguments) == 0
    found = gather(SqliteStore(store), "duckdb")
    assert f"{len(found.runs.starts)} executions recorded" in capsys.readouterr().out
    assert len(found.runs.starts) > 30
    assert not np.isnan(found.runs.seconds).any()
    # Other join trees than the engine's own ran, and each knows which query's default it is compared with.
    assert len(found.pairs.log_ratio) > 5
    assert np.isfinite(found.pairs.vectors).all()
    assert (found.pairs.vectors[:, : len(PHYSICAL_COLUMNS)] != 0).any(axis=1).all()
    assert not found.dropped
