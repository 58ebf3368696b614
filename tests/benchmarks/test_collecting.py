"""Collecting executions to train on, from a real engine."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from benchmarks import collecting
from benchmarks.selection import repeated
from godb_fast.learning.features import COLUMN, PHYSICAL_VERSION, columns
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
    # Half of the time a query's own history is told; what the machine did is not.
    own = found.served.vectors[:, COLUMN["past_runs"]] > 0
    assert 0.2 < own.mean() < 0.7
    assert (found.served.vectors[own, COLUMN["past_latency"]] > 0).all()
    assert not found.served.vectors[:, columns("system")].any()


def test_what_is_not_clearly_slower_is_run_again(tmp_path):
    store = tmp_path / "store.sqlite"
    arguments = [str(store), "--workloads", "demo", "--scale", "0.02", "--rounds", "1", "--limit", "20"]
    options = ["--repeats", "3", "--threads", "1", "--processor-time", "--share", "0.02"]
    assert collecting.main([*arguments, *options]) == 0
    runs = SqliteStore(store).trials.runs(PHYSICAL_VERSION, "duckdb", datetime.now(UTC))
    queries = repeated(runs)
    assert len(queries) > 5
    for query in queries.values():
        # The engine's own plan twice a pass; of others what took 1.5 × the best or less in every pass.
        assert len(query.runs[""]) == 6
        best = min(min(seconds) for seconds in query.runs.values())
        for plan, seconds in query.runs.items():
            if plan and len(seconds) < 3:
                assert min(seconds) > collecting.CLEARLY * best
    assert any(
        len(seconds) == 3 for query in queries.values() for plan, seconds in query.runs.items() if plan
    )


def test_threads_are_of_an_engine_in_this_process(tmp_path, capsys):
    arguments = [str(tmp_path / "store.sqlite"), "--engine", "postgres", "--threads", "1"]
    with pytest.raises(SystemExit):
        collecting.main(arguments)
    assert "--threads is for DuckDB" in capsys.readouterr().err
