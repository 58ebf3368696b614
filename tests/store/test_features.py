"""Feature vectors: kept as served, joined with outcomes that were known at the time asked about."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from store.records import decision

from godb_fast.core import Decision, Observation
from godb_fast.errors import InvalidInput
from godb_fast.store import SqliteStore

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_training_sees_what_serving_saw_and_nothing_later(tmp_path):
    store = SqliteStore(tmp_path / "s.sqlite")
    features = store.features
    assert len(features.training(1, NOON).vectors) == 0
    assert not features.path.exists()
    made = decision()

    def ran(number, served_s, ended_s, version=1, **more):
        observation = Observation(
            made.id,
            number,
            **(
                {"outcome": "ok", "latency_ms": 10.0 * number, "at": NOON + timedelta(seconds=ended_s)} | more
            ),
        )
        store.record(made, observation)
        features.keep(
            observation.execution_id, NOON + timedelta(seconds=served_s), version, np.array([number, 0.5])
        )
        return observation

    first = ran(1, 0, 10)
    ran(2, 5, 20)
    ran(3, 40, 30)  # Computed after its outcome: it may hold what serving could not know.
    ran(4, 5, 30, version=2)
    ran(5, 5, 31, outcome="error")
    ran(6, 5, 32, outcome="timeout")
    ran(7, 5, 33, fell_back="watchdog")
    ran(8, 5, 500)
    assert store.flush()
    found = features.training(1, NOON + timedelta(seconds=100))
    assert found.fingerprints.tolist() == [1, 2, 6]
    assert found.vectors.tolist() == [[1, 0.5], [2, 0.5], [6, 0.5]]
    assert found.latencies_ms.tolist() == [10, 20, 60]
    assert found.censored.tolist() == [False, False, True]
    assert features.training(1, NOON + timedelta(seconds=100), limit=2).fingerprints.tolist() == [2, 6]
    assert features.training(1, NOON + timedelta(seconds=15)).fingerprints.tolist() == [1]
    assert features.training(2, NOON + timedelta(seconds=100)).fingerprints.tolist() == [4]
    # What was served is never replaced.
    features.keep(first.execution_id, NOON, 1, np.array([9.0, 9.0]))
    assert features.training(1, NOON + timedelta(seconds=15)).vectors.tolist() == [[1, 0.5]]
    assert features.forget(NOON + timedelta(seconds=5)) == 1
    assert features.forget() == 7
    store.close()


def test_what_is_no_vector_is_refused(tmp_path):
    features = SqliteStore(tmp_path / "s.sqlite").features
    with pytest.raises(InvalidInput, match="finite"):
        features.keep("x", NOON, 1, np.array([1.0, np.nan]))
    with pytest.raises(InvalidInput, match="one row"):
        features.keep("x", NOON, 1, np.zeros((2, 2)))
    with pytest.raises(InvalidInput, match="time zone"):
        features.keep("x", datetime(2024, 1, 1), 1, np.zeros(2))


def test_a_damaged_run_is_left_out_of_history(tmp_path):
    store = SqliteStore(tmp_path / "store.sqlite")
    decision = Decision(1, "", engine="duckdb")
    for number in range(4):
        store.record(decision, Observation(decision.id, number, "ok", 5.0, engine="duckdb", database="d"))
    assert store.flush()
    with sqlite3.connect(store.path) as connection:
        for number, change in enumerate(("at = 'yesterday'", "latency_ms = 'long'", "at = '9999-99'")):
            connection.execute(f"UPDATE observations SET {change} WHERE fingerprint = ?", (number,))
    assert [run.fingerprint for run in store.features.past(10)] == [3]
    store.close()
