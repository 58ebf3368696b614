"""``godb-fast features``: what is wrong with vectors that a store holds, and what of them has moved."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np

import godb_fast
from godb_fast.cli import main
from godb_fast.core import Decision, Observation
from godb_fast.learning.features import COLUMN, FEATURES, FEATURES_VERSION
from godb_fast.live_features import EVERY, FIRST
from godb_fast.policy import Policy
from godb_fast.store import SqliteStore

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def fill(path, vectors, latencies_ms):
    store = SqliteStore(path)
    decision = Decision(1, "", engine="duckdb")
    rows = []
    for number, latency_ms in enumerate(latencies_ms):
        at = NOON + timedelta(minutes=number)
        seen = Observation(decision.id, number % 7, "ok", latency_ms, engine="duckdb", database="here", at=at)
        store.record(decision, seen)
        rows.append((seen.execution_id, at - timedelta(seconds=1), vectors[number]))
    assert store.flush()
    store.features.keep_all(FEATURES_VERSION, rows)
    store.close()


def drawn(count=80, seed=1):
    source = np.random.default_rng(seed)
    least = np.array([feature.least for feature in FEATURES])
    most = np.minimum(np.array([feature.most for feature in FEATURES]), least + 20)
    return source.uniform(least, most, (count, len(FEATURES))), source.uniform(10.0, 500.0, count)


def told(store, capsys, *options):
    code = main(["features", str(store), *options])
    return code, capsys.readouterr().out


def test_sound_vectors(tmp_path, capsys):
    fill(tmp_path / "s.sqlite", *drawn())
    code, said = told(tmp_path / "s.sqlite", capsys)
    assert code == 0, said
    assert "duckdb: 80 executions of 7 templates" in said
    assert "sound: nothing out of range" in said


def test_what_is_wrong_is_named(tmp_path, capsys):
    vectors, latencies = drawn(400)
    vectors[3, COLUMN["support"]] = 1.5
    vectors[:, COLUMN["past_latency"]] = np.log(latencies)
    vectors[:, COLUMN["memory"]] = 20.0
    vectors[300:, COLUMN["table_rows"]] += 30.0
    fill(tmp_path / "s.sqlite", vectors, latencies)
    code, said = told(tmp_path / "s.sqlite", capsys, "--json", "--since", "2026-01-31T17:00")
    assert code == 1
    (engine,) = json.loads(said)["engines"]
    assert engine["compared"] == [300, 100]
    found = {(each["feature"], each["kind"]) for each in engine["findings"]}
    assert found == {
        ("support", "range"),
        ("past_latency", "leak"),
        ("memory", "constant"),
        ("table_rows", "drift"),
    }
    # All of them, and without a moment the halves are compared.
    code, said = told(tmp_path / "s.sqlite", capsys, "--all")
    assert code == 1
    assert "support: outside of its range in 0.2% of the rows" in said
    assert "past_latency: orders executions as their time does (rank correlation 1.000)" in said
    assert "workload  burst" in said


def test_what_moves_within_hours_may_be_the_time_of_day(tmp_path, capsys):
    vectors, latencies = drawn(80)
    vectors[40:, COLUMN["hour_sine"]] = 1.0
    fill(tmp_path / "s.sqlite", vectors, latencies)
    code, said = told(tmp_path / "s.sqlite", capsys)
    assert code == 0
    assert "hour_sine: has moved" in said
    assert "all of that within 1:19:00 h" in said


def test_what_sessions_leave_is_sound(tmp_path, capsys):
    path = tmp_path / "a.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE a AS SELECT i AS k, i % 50 AS n FROM range(3000) t(i)")
        connection.execute("CREATE TABLE b AS SELECT i AS k FROM range(2000) t(i)")
    policy = Policy(learn_from_ms=0.001, learn_share=math.inf, background=False)
    with godb_fast.connect(str(path), store=tmp_path / "s.sqlite", policy=policy) as session:
        for literal in range(12):
            session.execute(f"SELECT count(*) FROM a JOIN b ON a.k = b.k WHERE a.n < {literal + 20}")
        session.optimizer.store.close()
    code, said = told(tmp_path / "s.sqlite", capsys)
    assert code == 0, said
    assert f"duckdb: {FIRST + 12 // EVERY} executions of 1 templates" in said
    assert "too few for drift" in said
    assert "always the same, so that nothing is learned of them: plan_scans" in said


def test_nothing_to_look_at_and_bad_input(tmp_path, capsys):
    assert main(["features", str(tmp_path / "absent.sqlite")]) == 2
    assert "there is no store" in capsys.readouterr().err
    empty = SqliteStore(tmp_path / "empty.sqlite")
    empty.record(Decision(1, ""), Observation("", 1, "ok", 1.0))
    assert empty.flush()
    empty.close()
    code, said = told(tmp_path / "empty.sqlite", capsys)
    assert code == 0
    assert "no vectors: they are kept of statements that take 50 ms or more" in said
    assert main(["features", "off"]) == 2
    assert main(["features", str(tmp_path / "s.sqlite"), "--since", "yesterday"]) == 2
    assert "no moment" in capsys.readouterr().err
