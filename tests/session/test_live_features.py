"""What models of times are trained on is filled while statements run: all categories, and nothing of the outcome."""

from __future__ import annotations

import math
import os
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest
from correlated import QUERY, SKEWED, filled, skewed

from godb_fast.engines.base import Rendered
from godb_fast.engines.registry import open_engine
from godb_fast.errors import EngineError, SqlError, UnknownRelation
from godb_fast.learning.features import CATEGORIES, COLUMN, FEATURES, FEATURES_VERSION
from godb_fast.learning.validation import check_values
from godb_fast.live_features import EVERY, FIRST, expected_vector, history_of
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.store import SqliteStore

#: The same for all literals: many rows.
PAIRS = "SELECT count(*) FROM a JOIN b ON a.k = b.k WHERE a.n < {}"


@pytest.fixture
def path(tmp_path):
    return skewed(tmp_path / "skewed.duckdb")


@pytest.fixture
def store(tmp_path):
    kept = SqliteStore(tmp_path / "store.sqlite")
    yield kept
    kept.close()


def session(where, store, **policy) -> Session:
    values = {
        "background": False,
        "learn_from_ms": 0.001,
        "learn_share": math.inf,
        "untried": "off",
        **policy,
    }
    return Session(Optimizer(policy=Policy(**values), store=store), open_engine(str(where)), mode="steer")


def rows_of(store):
    assert store.flush()
    return store.features.training(FEATURES_VERSION, datetime.now(UTC) + timedelta(seconds=1))


def test_each_category_is_filled_with_what_was_known_before_the_run(path, store):
    with session(path, store) as steering:
        results = [steering.execute(PAIRS.format(7)) for _ in range(3)]
        assert {result.observation.steered for result in results} == {False}
    found = rows_of(store)
    assert check_values(found.vectors) == []
    assert found.latencies_ms.tolist() == [result.observation.latency_ms for result in results]
    assert found.vectors[:, COLUMN["plan_scans"]].tolist() == [2.0, 2.0, 2.0]
    assert found.vectors[:, COLUMN["relations"]].tolist() == [2.0, 2.0, 2.0]
    assert (found.vectors[:, COLUMN["table_rows"]] > math.log(6000.0) - 0.1).all()
    # The machine, as it is; the statement itself is the only one that runs.
    assert 1.0 <= found.vectors[0, COLUMN["processors"]] <= (os.cpu_count() or 1)
    assert (found.vectors[:, COLUMN["memory"]] > math.log(1e6)).all()
    assert (found.vectors[:, COLUMN["concurrency"]] == 1.0).all()
    # History holds the runs before, never the one that is described.
    first, second, third = found.vectors
    assert first[COLUMN["past_runs"]] == first[COLUMN["past_latency"]] == 0.0
    assert second[COLUMN["past_runs"]] == pytest.approx(math.log(2.0))
    assert second[COLUMN["past_latency"]] == pytest.approx(math.log1p(found.latencies_ms[0]))
    assert third[COLUMN["past_runs"]] == pytest.approx(math.log(3.0))
    assert third[COLUMN["past_deviation"]] > 0.0
    assert third[COLUMN["frequency"]] > second[COLUMN["frequency"]] > first[COLUMN["frequency"]] == 0.0
    for category in CATEGORIES:
        columns = [at for at, feature in enumerate(FEATURES) if feature.category == category]
        assert found.vectors[-1, columns].any(), category


def test_neighbours_and_earlier_processes_count(path, store):
    with session(path, store) as steering:
        for _ in range(2):
            steering.execute(PAIRS.format(7))
        # Of the same structure, but another template.
        steering.execute(PAIRS.format(7).replace("count(*)", "count(*), count(*)"))
    with session(path, store) as steering:
        steering.execute(PAIRS.format(8).replace("count(*)", "count(*), count(*)"))
        steering.execute(PAIRS.format(9).replace("count(*)", "count(*), count(*)"))
    found = rows_of(store).vectors
    assert found[3, COLUMN["past_runs"]] == pytest.approx(math.log(2.0))
    assert found[4, COLUMN["past_runs"]] == pytest.approx(math.log(3.0))
    # Its cluster is known from its first slow run on; the other template's second run is of it.
    assert found[4, COLUMN["neighbour_runs"]] >= math.log(2.0)
    assert found[4, COLUMN["neighbour_latency"]] > 0.0


def test_what_is_expected_of_a_statement_knows_how_long_it_took_before(path, store):
    with session(path, store) as steering:
        for _ in range(2):
            steering.execute(PAIRS.format(7))
        assert store.flush()
        scope = steering.optimizer.scope(steering.engine)
        prepared = steering.optimizer.decide(steering.engine, scope, PAIRS.format(7))
        fresh = expected_vector(steering.engine, prepared)
        known = expected_vector(steering.engine, prepared, history=history_of(store))
        told = steering.features(PAIRS.format(7))
        assert steering.features("SELECT 42") is None
        # What the engine refuses is no statement that joins nothing.
        with pytest.raises(UnknownRelation):
            steering.features("SELECT * FROM nope")
        with pytest.raises(SqlError):
            steering.features("garbage")
    assert list(told) == [feature.name for feature in FEATURES]
    assert told["past_runs"] == known[COLUMN["past_runs"]]
    assert told["plan_cost"] == known[COLUMN["plan_cost"]]
    assert fresh[COLUMN["past_runs"]] == 0.0
    assert known[COLUMN["past_runs"]] == pytest.approx(math.log(3.0))
    assert known[COLUMN["past_latency"]] > 0.0
    plan = [at for at, feature in enumerate(FEATURES) if feature.source in ("plan", "template", "estimates")]
    assert (fresh[plan] == known[plan]).all()


def test_statements_of_several_blocks_are_described(path, store):
    sql = (
        "WITH few AS (SELECT a.k, count(*) AS n FROM a JOIN b ON a.k = b.k WHERE a.n < 7 GROUP BY a.k) "
        "SELECT a.n, count(*) FROM few JOIN a ON a.k = few.k GROUP BY a.n ORDER BY a.n"
    )
    with session(path, store) as steering:
        for _ in range(2):
            steering.execute(sql, mode="advise")
        scope = steering.optimizer.scope(steering.engine)
        prepared = steering.optimizer.decide(steering.engine, scope, sql)
        assert prepared.known is not None
        assert len(prepared.known.planner.blocks) == 2
        expected = expected_vector(steering.engine, prepared)
    found = rows_of(store).vectors
    assert len(found) == 2
    assert check_values(found) == []
    assert found[:, COLUMN["relations"]].tolist() == [4.0, 4.0]
    assert found[:, COLUMN["blocks"]].tolist() == [2.0, 2.0]
    assert found[:, COLUMN["sort_keys"]].tolist() == [1.0, 1.0]
    structure = [at for at, feature in enumerate(FEATURES) if feature.source in ("plan", "template")]
    assert (expected[structure] == found[0, structure]).all()


def test_of_many_runs_some_are_described(path, store):
    with session(path, store) as steering:
        for _ in range(20):
            steering.execute(SKEWED, mode="advise")
    assert len(rows_of(store).vectors) == FIRST + 20 // EVERY


def test_what_executions_corrected_is_told(path, store):
    with session(path, store) as steering:
        for _ in range(3):
            steering.execute(SKEWED, mode="advise")
    found = rows_of(store).vectors
    assert (found[0, [COLUMN["support"], COLUMN["corrected_by"]]] == 0.0).all()
    assert found[-1, COLUMN["support"]] > 0.0
    assert found[-1, COLUMN["corrected_by"]] != 0.0


def test_the_plan_that_ran_is_described(path, store):
    with session(path, store, margin=1.0, allowance=100.0, allowance_floor_ms=1e4) as steering:
        results = [steering.execute(SKEWED, mode=mode) for mode in ("advise", "steer", "steer")]
        assert [result.observation.steered for result in results] == [False, True, True]
    found = rows_of(store)
    plan = slice(0, COLUMN["relations"])
    assert found.steered.tolist() == [False, True, True]
    assert (found.vectors[0, plan] != found.vectors[-1, plan]).any()


def test_fast_statements_and_those_without_a_plan_leave_nothing(path, store):
    with session(path, store, learn_from_ms=1e6) as steering:
        steering.execute(PAIRS.format(7))
    with session(path, store) as steering:
        steering.execute("SELECT 42")
        steering.execute("CREATE TEMP TABLE t AS SELECT 1 AS x")
        with pytest.raises(EngineError, match="nowhere"):
            steering.execute("SELECT count(*) FROM nowhere JOIN a ON nowhere.k = a.k")
        live = steering.optimizer.live
        assert live is not None
        assert live._running == 0
    assert len(rows_of(store).vectors) == 0


def test_without_a_store_nothing_is_described(path):
    with session(path, None) as steering:
        steering.execute(PAIRS.format(7))
        assert steering.optimizer.live is None


def test_sessions_of_several_threads_share_a_history(path, store):
    optimizer = Optimizer(policy=Policy(background=False, learn_from_ms=0.001, untried="off"), store=store)

    def run():
        with optimizer.session(str(path), mode="advise") as each:
            for literal in range(5, 15):
                each.execute(PAIRS.format(literal))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = rows_of(store)
    assert len(found.vectors) == FIRST + 30 // EVERY
    assert np.isfinite(found.vectors).all()
    assert found.vectors[:, COLUMN["past_runs"]].max() <= math.log1p(29)
    assert optimizer.live._running == 0


def test_a_server_tells_what_its_cache_holds(postgres_url, store):
    filled(postgres_url)
    with session(postgres_url, store, background=True) as steering:
        assert steering.wait_prepared(30.0)
        steering.execute(QUERY.format(3))
        assert steering.wait_prepared(30.0)
        steering.execute(QUERY.format(3))
        assert steering.optimizer.worker.wait(timeout_s=30.0)
        hits = steering.optimizer.live._system.latest[5]
        assert 0.0 < hits <= 1.0
        assert steering.execute(QUERY.format(5)).fetchall()
    found = rows_of(store)
    assert len(found.vectors) >= 1
    assert check_values(found.vectors) == []
    assert found.vectors[-1, COLUMN["buffer_hits"]] == hits


def test_the_server_s_counters_may_be_reset(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) x")
    engine = open_engine(postgres_url)
    try:
        assert engine.load()[0] is not None
        engine.run(Rendered("SELECT pg_stat_reset()"))
        hits, running = engine.load()
        assert hits is None or 0.0 <= hits <= 1.0
        assert running >= 0.0
    finally:
        engine.close()
