"""Plans that nobody has run: chosen after a slow run, under the watchdog, never where only proof may act."""

from __future__ import annotations

import logging
import math
import time

import psycopg
import pytest
from correlated import QUERY, SKEWED, filled, skewed
from learning.rankers import ranker

from godb_fast.demo.site import QUERIES, load_site
from godb_fast.engines.registry import open_engine
from godb_fast.errors import InvalidInput, QueryTimeout
from godb_fast.learning.models import ModelFolder
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.store import SqliteStore


@pytest.fixture
def server(postgres_url):
    return filled(postgres_url)


def store_with(tmp_path, file) -> SqliteStore:
    """A store beside which a ranker lies."""
    if not (tmp_path / "models").exists():
        ModelFolder(tmp_path / "models").export(file.card, file.data)
    return SqliteStore(tmp_path / "store.sqlite")


NO_LOOPS = {"column": "delta_loop_joins", "below": -1.0, "above": 0.5, "engine": "postgresql"}


def session(url, store, **policy) -> Session:
    # Runs of a few milliseconds on a busy machine take as long as they take: the watchdog has tests of its own.
    calm = {"allowance_floor_ms": 10_000.0, "regression_budget": math.inf}
    values = {"background": False, "learn_from_ms": 1.0, "patience": 0.0, **calm, **policy}
    return Session(Optimizer(policy=Policy(**values), store=store), open_engine(url), mode="steer")


def test_the_second_call_is_steered_to_a_plan_that_nobody_ran(server, tmp_path):
    store = store_with(tmp_path, ranker(**NO_LOOPS))
    with session(server, store) as steering:
        first = steering.execute(QUERY.format(3))
        assert not first.observation.steered
        assert steering.optimizer.counters["untried"] == 1
        second = steering.execute(QUERY.format(3))
        assert second.observation.steered
        assert second.fetchall() == first.fetchall()
        decision = steering.optimize(QUERY.format(3))
        assert "enable_nestloop" in dict(decision.steering.settings)
        assert decision.reason.startswith("not verified: no nested loops")
        assert decision.models == ("postgresql-ranker/1",)
        assert decision.bound is not None
        assert decision.support is not None
        assert "bound: at most" in decision.explain()
        # Other literals of the region take the short way to the same.
        other = steering.optimize(QUERY.format(5))
        assert other.steering == decision.steering
        assert (other.models, other.bound) == (decision.models, decision.bound)
        assert steering.execute(QUERY.format(5)).observation.steered
        counters = steering.optimizer.counters
        assert counters.get("bounds_held", 0) + counters.get("bounds_broken", 0) >= 1
    # Nothing of it is proved, and nothing is kept as if it were.
    assert store.explorations.remembered("postgresql", first.observation.database) == []


def test_it_is_looked_for_once_the_statement_has_taken_long_enough_for_that(server, tmp_path):
    store = store_with(tmp_path, ranker(**NO_LOOPS))
    with session(server, store, patience=math.inf) as steering:
        assert not any(steering.execute(QUERY.format(3)).observation.steered for _ in range(5))
        assert "untried" not in steering.optimizer.counters
    with session(server, store, patience=4.0) as steering:
        taken_ms = steering.execute(QUERY.format(3)).observation.latency_ms
        steering.optimizer.untried._look_ms["postgresql"] = look_ms = 2.0 * taken_ms
        while "untried" not in steering.optimizer.counters:
            assert taken_ms < 4.0 * look_ms
            result = steering.execute(QUERY.format(3))
            assert not result.observation.steered
            taken_ms += result.observation.latency_ms
        assert taken_ms >= 4.0 * look_ms
        assert steering.execute(QUERY.format(3)).observation.steered
        # What it took moves what is expected of the next look.
        assert steering.optimizer.untried._look_ms["postgresql"] != look_ms


def test_it_is_found_on_a_second_connection_while_the_caller_goes_on(server, tmp_path):
    with session(server, store_with(tmp_path, ranker(**NO_LOOPS)), background=True) as steering:
        assert steering.wait_prepared(30.0)
        steering.execute(QUERY.format(3))
        assert steering.wait_prepared(30.0)
        steering.execute(QUERY.format(3))
        assert steering.wait_prepared(30.0)
        assert steering.execute(QUERY.format(3)).observation.steered
    with psycopg.connect(server, autocommit=True) as connection:
        others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'godb_fast'"
        # The server's processes end a little after their connections.
        deadline = time.monotonic() + 20.0
        while connection.execute(others).fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_nobody_waits_on_a_connection_that_has_no_second_one(server, tmp_path):
    with psycopg.connect(server, autocommit=True) as connection:
        with session(connection, store_with(tmp_path, ranker(**NO_LOOPS)), background=True) as steering:
            for _ in range(2):
                assert not steering.execute(QUERY.format(3)).observation.steered
            assert "untried" not in steering.optimizer.counters
        with session(connection, store_with(tmp_path, ranker(**NO_LOOPS))) as steering:
            assert [steering.execute(QUERY.format(3)).observation.steered for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    "policy", [{"untried": "off"}, {"learn_from_ms": 1e6}, {"mode": "advise"}], ids=["off", "fast", "advise"]
)
def test_nothing_is_chosen_where_the_policy_does_not_say_so(server, tmp_path, policy):
    mode = policy.pop("mode", "steer")
    with session(server, store_with(tmp_path, ranker(**NO_LOOPS)), **policy) as steering:
        for _ in range(3):
            assert not steering.execute(QUERY.format(3), mode=mode).observation.steered
        assert "untried" not in steering.optimizer.counters


def test_a_model_that_errs_is_stopped_and_its_plan_is_not_tried_again(server, tmp_path):
    # It prefers loops where the engine hashes: what takes longer than allowed is stopped.
    wrong = ranker("delta_loop_joins", at=0.5, below=0.5, above=-2.0, engine="postgresql")
    query = "SELECT count(*) FROM f a JOIN f b ON a.d = b.d JOIN d ON d.id = a.d"
    with session(server, store_with(tmp_path, wrong), allowance_floor_ms=0.0, allowance=1.0) as steering:
        rows = [steering.execute(query) for _ in range(6)]
        assert len({tuple(result.fetchall()) for result in rows}) == 1
        counters = steering.optimizer.counters
        assert counters["untried"] >= 1
        assert counters.get("bounds_broken", 0) >= 1
        assert counters.get("quarantined", 0) >= 1
        assert not rows[-1].observation.steered


def test_a_default_that_was_cut_is_a_bound_as_well(server, tmp_path):
    query = QUERY.format(3) + " AND (SELECT count(*) FROM pg_sleep(0.0)) >= 0"
    with session(server, store_with(tmp_path, ranker(**NO_LOOPS))) as steering:
        with pytest.raises(QueryTimeout):
            steering.execute(QUERY.format(3), timeout_s=0.004)
        assert steering.optimizer.counters["untried"] == 1
        assert not steering.execute(query).observation.steered


def test_writes_and_what_only_proof_may_change_stay_as_they_are(server, tmp_path):
    with session(server, store_with(tmp_path, ranker(**NO_LOOPS))) as steering:
        steering.execute("CREATE TABLE kept (n bigint, v bigint)")
        for _ in range(2):
            steering.execute(f"INSERT INTO kept {QUERY.format(3)}")
        assert "untried" not in steering.optimizer.counters
        steering.execute(QUERY.format(3))
        prepared = steering.optimizer.decide(
            steering.engine, steering.optimizer.scope(steering.engine), QUERY.format(3)
        )
        assert prepared.decision.steering
        assert prepared.verified is None


def test_without_a_model_or_with_a_damaged_one_the_engine_s_own_plan_runs(
    server, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("godb_fast.learning.models.shipped.SHIPPED", tmp_path / "none")
    with session(server, SqliteStore(tmp_path / "store.sqlite")) as steering:
        for _ in range(2):
            assert not steering.execute(QUERY.format(3)).observation.steered
    store = store_with(tmp_path, ranker(**NO_LOOPS))
    damaged = tmp_path / "models" / "postgresql-ranker" / "1" / "model.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-3])
    with session(server, store) as steering, caplog.at_level(logging.WARNING, "godb_fast"):
        for _ in range(2):
            assert not steering.execute(QUERY.format(3)).observation.steered
        assert steering.optimizer.counters["model_refused"] == 1
    assert "it was cut" in caplog.text


def test_duckdb_is_steered_to_another_join_order(tmp_path):
    path = skewed(tmp_path / "skewed.duckdb")
    eager = ranker("delta_joins", at=0.5, below=-1.0, above=0.5)
    # No plan of ours is estimated to be so much cheaper: what is chosen is the model's choice.
    policy = {"margin": 1e9, "allowance": 50.0}
    with session(str(path), store_with(tmp_path, eager), **policy) as steering:
        rows = [steering.execute(SKEWED) for _ in range(3)]
        assert [result.fetchall() for result in rows[1:]] == [rows[0].fetchall()] * 2
        assert steering.optimizer.counters["untried"] == 1
        decision = steering.optimize(SKEWED)
        assert decision.steering.join_trees
        assert decision.reason.startswith("not verified: join tree")
        assert rows[2].observation.steered


def test_a_policy_names_what_there_is():
    with pytest.raises(InvalidInput, match="off, plans, rewrites"):
        Policy(untried="everything")


def test_the_ranker_that_ships_finds_duckdb_s_rows_that_multiply(tmp_path):
    import duckdb

    path = tmp_path / "site.duckdb"
    with duckdb.connect(str(path)) as connection:
        load_site(connection, share=0.01, scale=0.3, seed=7)
    store = SqliteStore(tmp_path / "store.sqlite")
    found = {}
    with session(str(path), store, untried="rewrites", allowance=50.0) as steering:
        for name in ("top users", "busiest posts", "active users by level"):
            rows = [steering.execute(QUERIES[name]).fetchall() for _ in range(3)]
            assert rows[1:] == rows[:1] * 2
            found[name] = steering.optimize(QUERIES[name])
    chosen = [decision for decision in found.values() if decision.steering.rewrites]
    assert chosen
    assert all(decision.models == ("duckdb-ranker/1",) for decision in chosen)
    assert all(decision.reason.startswith("not verified: rewrite") for decision in chosen)
