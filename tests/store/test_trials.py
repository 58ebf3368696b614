"""Runs of plans in the store: kept whole, read back by version and engine, bounded, forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from godb_fast.errors import InvalidInput, StoreError
from godb_fast.store import KeepsTrials, PlanRun, SqliteStore

AT = datetime(2026, 5, 1, tzinfo=UTC)
RUN = PlanRun("duckdb", "d", "q 1", 2**64 - 5, "", np.array([1.0, 2.5]), 0.25, False, AT)


def test_runs_come_back_as_they_were_kept(tmp_path):
    store = SqliteStore(tmp_path / "store.sqlite")
    assert isinstance(store, KeepsTrials)
    assert store.trials.runs(1, "duckdb", AT) == []
    assert not store.path.exists()
    later = replace(RUN, steering="key", seconds=1.5, cut=True, at=AT + timedelta(seconds=1))
    store.trials.keep(1, [RUN, later])
    store.trials.keep(2, [replace(RUN, engine="postgresql")])
    first, second = store.trials.runs(1, "", AT + timedelta(days=1))
    assert first.vector.tolist() == [1.0, 2.5]
    assert first.fingerprint == -5
    assert (second.steering, second.seconds, second.cut, second.at) == ("key", 1.5, True, later.at)
    assert [run.cut for run in store.trials.runs(1, "duckdb", AT)] == [False]
    assert len(store.trials.runs(1, "", AT + timedelta(days=1), 1)) == 1
    assert store.trials.runs(2, "duckdb", AT) == []
    assert store.trials.forget(AT + timedelta(milliseconds=1)) == 2
    assert store.trials.forget() == 1


def test_pipelines_come_back_row_by_row(tmp_path):
    store = SqliteStore(tmp_path / "store.sqlite")
    table = np.arange(6.0).reshape(2, 3)
    store.trials.keep(1, [RUN, replace(RUN, pipelines=table)])
    first, second = store.trials.runs(1, "duckdb", AT)
    assert first.pipelines is None
    assert second.pipelines.tolist() == table.tolist()


@pytest.mark.parametrize(
    "bad",
    [
        {"pipelines": np.array([[1.0, np.nan]])},
        {"pipelines": np.zeros(3)},
        {"pipelines": np.zeros((0, 3))},
        {"vector": np.array([1.0, np.nan])},
        {"vector": np.zeros((1, 2))},
        {"seconds": 0.0},
        {"seconds": float("inf")},
        {"at": AT.replace(tzinfo=None)},
    ],
)
def test_all_or_none_are_kept(tmp_path, bad):
    store = SqliteStore(tmp_path / "store.sqlite")
    with pytest.raises(InvalidInput):
        store.trials.keep(1, [RUN, replace(RUN, **bad)])
    assert store.trials.runs(1, "", AT) == []


def test_a_file_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "store.sqlite").write_bytes(b"no database at all, but long enough to be looked into" * 40)
    with pytest.raises(StoreError):
        SqliteStore(tmp_path / "store.sqlite").trials.keep(1, [RUN])


def test_the_oldest_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr("godb_fast.store.trials.CAPACITY", 3)
    store = SqliteStore(tmp_path / "store.sqlite")
    store.trials.keep(1, [replace(RUN, query=f"q {number}") for number in range(5)])
    assert [run.query for run in store.trials.runs(1, "", AT)] == ["q 2", "q 3", "q 4"]
