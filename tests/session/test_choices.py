"""What a model chose outlives its process: served after the same checks, looked at again when there is news."""

from __future__ import annotations

import math
from dataclasses import replace

import duckdb
import psycopg
import pytest
from correlated import QUERY, SKEWED, filled, skewed
from learning.rankers import ranker

from godb_fast import untried
from godb_fast.choices import RegionChoice, settled
from godb_fast.core import Steering
from godb_fast.engines.registry import open_engine
from godb_fast.errors import InvalidInput
from godb_fast.exploring.memo import Evidence, MemoEntry, MemoKey
from godb_fast.learning.choosing import Choice
from godb_fast.learning.features import PHYSICAL_VERSION
from godb_fast.learning.models import ModelFolder, shipped
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.store import SqliteStore

NO_LOOPS = {"column": "delta_loop_joins", "below": -1.0, "above": 0.5, "engine": "postgresql"}
#: Says of every plan that it is slower.
SHY = {"column": "delta_loop_joins", "below": 0.5, "above": 0.5, "engine": "postgresql"}


@pytest.fixture(autouse=True)
def nothing_ships(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(untried, "REFRESH_S", 0.0)


@pytest.fixture
def server(postgres_url):
    return filled(postgres_url)


@pytest.fixture
def store(tmp_path):
    kept = SqliteStore(tmp_path / "store.sqlite")
    yield kept
    kept.close()


def give(store, version=1, **what):
    file = ranker(**{**NO_LOOPS, **what}, version=version)
    ModelFolder(store.models).export(file.card, file.data)


def session(url, store, **policy) -> Session:
    """As a new process: nothing is known but what the store keeps."""
    calm = {"allowance_floor_ms": 10_000.0, "regression_budget": math.inf}
    values = {"background": False, "learn_from_ms": 1.0, "patience": 0.0, **calm, **policy}
    return Session(Optimizer(policy=Policy(**values), store=store), open_engine(url), mode="steer")


def first(server, store, runs=2, **policy):
    """A process that looks for a plan, and runs it."""
    with session(server, store, **policy) as steering:
        results = [steering.execute(QUERY.format(3)) for _ in range(runs)]
        return results, dict(steering.optimizer.counters)


def steered(server, store, literal=3, **policy):
    with session(server, store, **policy) as steering:
        result = steering.execute(QUERY.format(literal))
        return result, dict(steering.optimizer.counters)


def test_the_next_process_serves_it_without_looking_again(server, store):
    give(store)
    (_, second), counters = first(server, store)
    assert second.observation.steered
    again, counters = steered(server, store)
    assert again.observation.steered
    assert again.fetchall() == second.fetchall()
    assert counters.get("choices_recalled") == 1
    assert "untried" not in counters
    decision = again.decision
    assert decision.reason.startswith("not verified: no nested loops is predicted")
    assert "1 run so far" in decision.reason
    assert decision.models == ("postgresql-ranker/1",)
    assert decision.bound is not None
    assert decision.support is not None
    assert decision.cluster is not None
    assert decision.steering == second.decision.steering
    # Other literals of its region too, and by the short way.
    other, _ = steered(server, store, 5)
    assert other.observation.steered


def test_what_was_discarded_is_not_chosen_by_the_next_process(server, store):
    give(store, column="delta_loop_joins", at=0.5, below=0.5, above=-2.0)
    query = "SELECT count(*) FROM f a JOIN f b ON a.d = b.d JOIN d ON d.id = a.d"
    with session(server, store, allowance_floor_ms=0.0, allowance=1.0) as steering:
        for _ in range(6):
            rows = steering.execute(query).fetchall()
        discarded = steering.optimizer.counters["quarantined"]
    assert discarded >= 1
    (kept,) = kept_by(store)
    assert len(kept["discarded"]) == discarded
    assert any("allowance" in why or "slower" in why for why in kept["discarded"].values())
    with session(server, store, allowance_floor_ms=0.0, allowance=1.0) as steering:
        results = [steering.execute(query) for _ in range(3)]
        assert [result.fetchall() for result in results] == [rows] * 3
        known = next(iter(steering._scope.templates.values()))[1]
        assert set(kept["discarded"]) <= set(known.quarantine)
        for result in results:
            assert result.observation.steering_key not in kept["discarded"]


def steering_database(store) -> str:
    return store.observations(1)[0].database


def kept_by(store) -> list[dict]:
    where = "postgresql", steering_database(store)
    return [
        state for template in store.choices.templates(*where) for state in store.choices.of(*where, template)
    ]


@pytest.mark.parametrize(
    "change",
    [
        "ANALYZE d",
        "INSERT INTO d SELECT i, i % 7, 1 + i % 20000 FROM generate_series(60001, 90000) i",
        "CREATE INDEX ON f (a)",
        "ALTER TABLE d ADD COLUMN more int",
    ],
)
def test_it_ends_with_what_it_rests_on(server, store, change):
    give(store)
    first(server, store)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(change)
        if change.startswith("INSERT"):
            connection.execute("VACUUM d")
    result, counters = steered(server, store)
    assert not result.observation.steered
    assert "choices_recalled" not in counters
    # It is looked at anew, on what there is now.
    assert counters["untried"] == 1
    result, counters = steered(server, store)
    assert result.observation.steered


def test_a_change_elsewhere_leaves_it(server, store):
    give(store)
    first(server, store)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE TABLE unrelated (id int)")
    result, _ = steered(server, store)
    assert result.observation.steered


def test_it_ends_in_this_process_too(server, store, monkeypatch):
    monkeypatch.setattr("godb_fast.experience.LOOK_AT_TABLES_S", 0.0)
    give(store)
    with session(server, store) as steering:
        assert [steering.execute(QUERY.format(3)).observation.steered for _ in range(2)] == [False, True]
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("ANALYZE f")
        result = steering.execute(QUERY.format(3))
        assert not result.observation.steered
        assert steering.optimizer.counters["outgrown"] == 1
        assert steering.execute(QUERY.format(3)).observation.steered


@pytest.mark.parametrize("fault", ["gone", "tampered", "card"])
def test_it_ends_with_its_model(server, store, fault):
    import shutil

    give(store)
    first(server, store)
    place = store.models / "postgresql-ranker" / "1"
    if fault == "gone":
        shutil.rmtree(place)
    elif fault == "tampered":
        data = bytearray((place / "model.onnx").read_bytes())
        data[-1] ^= 1
        (place / "model.onnx").write_bytes(data)
    else:
        (place / "card.json").write_text("{}")
    result, counters = steered(server, store)
    assert not result.observation.steered
    assert counters["model_refused"] >= 1


@pytest.mark.parametrize("policy", [{"untried": "off"}, {"rollout": 0.0}])
def test_it_is_served_only_where_the_policy_allows_it(server, store, policy):
    give(store)
    first(server, store)
    assert not steered(server, store, **policy)[0].observation.steered
    assert steered(server, store)[0].observation.steered


def test_where_nothing_was_chosen_only_a_newer_model_is_asked_again(server, store):
    give(store, **SHY)
    results, counters = first(server, store, runs=3)
    assert counters["looked_for_in_vain"] == 1
    told = results[-1].decision
    assert "; nor to a plan that nobody has run: no candidate is predicted to be faster" in told.reason
    assert told.models == ("postgresql-ranker/1",)
    assert told.cluster is not None
    assert told.support is not None
    # By the next process neither.
    _, counters = first(server, store, runs=3)
    assert "looked_for_in_vain" not in counters
    with session(server, store) as steering:
        assert not steering.execute(QUERY.format(3)).observation.steered
        give(store, version=2)
        assert [steering.execute(QUERY.format(3)).observation.steered for _ in range(2)] == [False, True]
        assert steering.optimizer.counters["models_replaced"] == 1
        assert steering.optimize(QUERY.format(3)).models == ("postgresql-ranker/2",)


def test_where_nothing_was_chosen_new_statistics_are_reason_enough(server, store, monkeypatch):
    monkeypatch.setattr(untried, "AGAIN_S", 0.0)
    give(store, **SHY)
    with session(server, store) as steering:
        for _ in range(3):
            steering.execute(QUERY.format(3))
        assert steering.optimizer.counters["looked_for_in_vain"] == 1
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("ANALYZE f")
        steering.execute(QUERY.format(3))
        assert steering.optimizer.counters["looked_for_in_vain"] == 2


def test_a_newer_model_looks_at_what_an_older_one_chose(server, store):
    give(store)
    first(server, store)
    give(store, version=2)
    with session(server, store) as steering:
        assert steering.execute(QUERY.format(3)).observation.steered
        # It had run well: what ran says more than what is predicted.
        assert steering.execute(QUERY.format(3)).observation.steered
        (kept,) = kept_by(store)
        assert kept["model"].startswith("postgresql-ranker/2@")
        assert kept["runs"] >= 1


def test_outcomes_move_the_bounds_of_the_next_process(server, store):
    give(store)
    with session(server, store) as steering:
        for _ in range(14):
            steering.execute(QUERY.format(3))
        gate = steering.optimizer.untried.gates.gate("postgresql")
        before = gate._bounds.to_dict()
        cluster = steering.optimize(QUERY.format(3)).cluster
    assert before["narrow"]
    with session(server, store) as steering:
        gate = steering.optimizer.untried.gates.gate("postgresql")
        after = gate._bounds.to_dict()
        assert after == before
        assert {(scope, name) for scope, name, _ in after["narrow"]} >= {("cluster", cluster)}
        assert {scope for scope, _, _ in after["narrow"]} == {"cluster", "fingerprint"}
    # A newer version begins with the bounds of its own card.
    give(store, version=2)
    with session(server, store) as steering:
        assert steering.optimizer.untried.gates.gate("postgresql")._bounds.to_dict()["narrow"] == []


def test_bounds_that_break_too_often_are_a_reason_to_train(server, store):
    give(store)
    with session(server, store, retrain="on", retrain_every=10**6) as steering:
        for _ in range(3):
            steering.execute(QUERY.format(3))
        retrainer = steering.optimizer._retrainer
        assert retrainer._drift is None
        gate = steering.optimizer.untried.gates.gate("postgresql")
        for number in range(10):
            gate.replay(3.0 + number, None, None, cut=False)
        assert gate.strained
        steering.execute(QUERY.format(3))
        assert retrainer._drift == "the bounds of the ranker break more often than they may"


def test_runs_of_a_choice_are_kept_to_train_on(server, store):
    from datetime import UTC, datetime

    from godb_fast.learning.training.gathering import gather

    give(store)
    first(server, store, runs=8)
    runs = store.trials.runs(PHYSICAL_VERSION, "postgresql", datetime.now(UTC))
    assert [bool(run.steering) for run in runs] == [False, True, True, True]
    assert len({run.query for run in runs}) == 1
    pairs = gather(store, "postgresql", only="ranker").pairs
    assert len(pairs.log_ratio) == 1


def test_observations_tell_their_cluster(server, store):
    give(store)
    with session(server, store) as steering:
        for _ in range(3):
            steering.execute(QUERY.format(3))
        decision = steering.optimize(QUERY.format(3))
    assert store.observations(1)[0].cluster == decision.cluster
    assert store.clusters.saved("postgresql", steering_database(store)) is not None


def test_without_a_store_it_stays_with_its_process_and_survives_changes_elsewhere(
    server, tmp_path, monkeypatch
):
    kept = SqliteStore(tmp_path / "store.sqlite")
    give(kept)
    monkeypatch.setattr(shipped, "SHIPPED", kept.models)
    with session(server, None) as steering:
        assert [steering.execute(QUERY.format(3)).observation.steered for _ in range(2)] == [False, True]
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("CREATE TABLE unrelated (id int)")
        assert steering.execute(QUERY.format(3)).observation.steered


def test_a_damaged_choice_is_said_and_nothing_is_served(server, store, caplog):
    import sqlite3

    give(store)
    first(server, store)
    with sqlite3.connect(store.path) as raw:
        raw.execute("UPDATE choices SET state = x'00'")
    result, counters = steered(server, store)
    assert not result.observation.steered
    assert counters["not_recalled"] >= 1
    assert "what models chose is damaged" in caplog.text


# -- on the blackboard --------------------------------------------------------------------------------


def record(settings=(), *, predicted=-1.0, model="m/1@a", runs=0, best_s=0.0, discarded=None):
    entry = MemoEntry(
        MemoKey(7, 0),
        Steering(settings=settings),
        "epoch",
        Evidence(0, math.exp(predicted), 0.0, 1.0, 0.0, default_s=1.0),
        dependencies="digest",
    )
    choice = Choice(int(bool(settings)), "why", log_ratio=predicted)
    return RegionChoice(entry, choice, model, discarded or {}, runs, best_s)


A, B = (("enable_nestloop", "off"),), (("enable_hashjoin", "off"),)


def test_what_ran_says_more_than_what_is_predicted():
    newer = "m/2@b"
    for before, now, expected in (
        (None, record(A, model=newer), A),
        (record(A), record(B, model=newer), B),
        (record(A), record((), model=newer), ()),
        (record(A, runs=3, best_s=0.5), record((), model=newer), A),
        (record(A, runs=3, best_s=0.2), record(B, model=newer), A),
        (record(A, runs=3, best_s=0.9), record(B, model=newer), B),
        (record(A, runs=3, best_s=1.5), record((), model=newer), ()),
        (record(()), record(A, model=newer), A),
    ):
        after = settled(before, now)
        assert after.entry.steering.settings == expected
        assert after.model == newer
    kept = settled(record(A, runs=3, best_s=0.5, discarded={"x": "slow"}), record(A, model=newer))
    assert (kept.runs, kept.best_s, kept.discarded) == (3, 0.5, {"x": "slow"})


def test_records_come_back_as_they_were_written():
    made = record(A, runs=2, best_s=0.4, discarded={"x": "slow"})
    again = RegionChoice.from_dict(made.to_dict())
    assert again == made
    assert not made.without(made.entry.steering.key, "slow").steers
    with pytest.raises(InvalidInput, match="cannot be read"):
        RegionChoice.from_dict({"entry": {}})


def test_two_processes_keep_what_either_discarded(store):
    mine, other = record(A, discarded={"x": "slow"}), record(B, discarded={"y": "slower"})
    store.choices.keep("e", "d", mine.to_dict())
    store.choices.keep("e", "d", other.to_dict())
    (kept,) = store.choices.of("e", "d", mine.to_dict()["fingerprint"])
    assert kept["discarded"] == {"x": "slow", "y": "slower"}
    # On other data what was slow may be fast.
    elsewhere = replace(other, entry=replace(other.entry, dependencies="other"), discarded={})
    store.choices.keep("e", "d", elsewhere.to_dict())
    assert store.choices.of("e", "d", f"{7:016x}")[0]["discarded"] == {}
    assert store.choices.templates("e", "d") == {f"{7:016x}"}
    assert store.choices.templates("e", "elsewhere") == set()
    assert store.choices.forget("e", "d") == 1


def test_on_duckdb_too(tmp_path, store):
    path = skewed(tmp_path / "skewed.duckdb")
    eager = ranker("delta_joins", at=0.5, below=-1.0, above=0.5)
    ModelFolder(store.models).export(eager.card, eager.data)
    # No plan of ours is estimated to be so much cheaper: what is chosen is the model's choice.
    policy = {"margin": 1e9, "allowance": 50.0}
    with session(str(path), store, **policy) as steering:
        rows = [steering.execute(SKEWED) for _ in range(2)]
        assert [row.observation.steered for row in rows] == [False, True]
    with session(str(path), store, **policy) as steering:
        again = steering.execute(SKEWED)
        assert again.observation.steered
        assert again.fetchall() == rows[0].fetchall()
        assert again.decision.steering.join_trees == rows[1].decision.steering.join_trees
        assert "untried" not in steering.optimizer.counters
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO a SELECT i, i % 100 FROM range(3000, 6000) r(i)")
    with session(str(path), store, **policy) as steering:
        assert not steering.execute(SKEWED).observation.steered


def test_a_search_that_fails_is_not_begun_with_every_slow_run(server, store, monkeypatch):
    def broken(*_, **__):
        raise ValueError("nobody expected this")

    give(store)
    tries = []
    monkeypatch.setattr(untried, "candidates", lambda *_, **__: tries.append(1) or broken())
    with session(server, store) as steering:
        for _ in range(4):
            steering.execute(QUERY.format(3))
        assert steering.optimizer.counters["not_looked_for"] == 1
    assert len(tries) == 1


def test_the_child_of_a_fork_looks_for_itself(server, store):
    import os

    if not hasattr(os, "fork"):
        pytest.skip("nothing to fork")
    give(store)
    with session(server, store) as steering:
        steering.execute(QUERY.format(3))
        gates = steering.optimizer.untried.gates
        with gates._lock:
            child = os.fork()
            if not child:
                # Whoever held the lock is not here.
                ended = os._exit
                try:
                    ended(0 if gates._lock.acquire(timeout=5.0) and gates.gate("postgresql") else 1)
                finally:
                    ended(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
