"""What exploration proved, when statements are executed: used, refused, and given up."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import pytest

from godb_fast.core import Steering
from godb_fast.engines.registry import open_engine
from godb_fast.errors import EngineError
from godb_fast.exploring import Evidence, MemoEntry, MemoKey
from godb_fast.exploring.candidates import candidates
from godb_fast.exploring.subjects import LiveQuery, Subject, bucket_number, examine
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.sql import fingerprint, parse_template
from godb_fast.store import SqliteStore

SQL = "SELECT a.k, count(*) AS n FROM a JOIN b ON a.k = b.k WHERE a.n < {0} GROUP BY a.k ORDER BY a.k"
NO_HASH = Steering(settings=(("enable_hashjoin", "off"),))


@pytest.fixture
def server(postgres_url) -> str:
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE a AS SELECT i % 40 AS k, i % 1000 AS n FROM generate_series(1, 4000) r(i)"
        )
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k FROM generate_series(1, 400) r(i)")
        connection.execute("ANALYZE")
    return postgres_url


@pytest.fixture
def store(tmp_path) -> SqliteStore:
    return SqliteStore(tmp_path / "store.sqlite")


def subject_of(engine: Any, sql: str) -> Subject:
    found = examine(engine, LiveQuery("q", sql))
    assert isinstance(found, Subject)
    return found


def prove(url: str, store: SqliteStore, sql: str, steering: Steering, **evidence: Any) -> MemoEntry:
    with open_engine(url) as engine:
        subject = subject_of(engine, sql)
        tables = {
            entry.table for block in subject.template.blocks for entry in block.relations if entry.table
        }
        proof = Evidence(5, 0.4, 0.3, 0.6, 0.0, "no hash joins", 60.0)
        rows = tuple((table, float(engine.statistics().rows(table))) for table in sorted(tables))
        entry = MemoEntry(
            MemoKey(subject.template.fingerprint, bucket_number(subject.region)),
            steering,
            engine.schema_epoch(),
            replace(proof, rows=rows, **evidence),
        )
        store.explorations.remember(engine.name, engine.environment(), entry.to_dict())
        return entry


def session(url: str, store: SqliteStore, **policy: Any) -> Session:
    return Session(Optimizer(policy=Policy(**policy), store=store), open_engine(url), mode="steer")


def test_a_verified_steering_is_used_at_once_and_says_why(server, store):
    prove(server, store, SQL.format(500), NO_HASH)
    with session(server, store) as opened:
        result = opened.execute(SQL.format(500))
        assert result.observation.steered
        assert result.fetchall() == list(opened.run_default(SQL.format(500)).rows)
        assert result.decision is not None
        for word in ("verified on 1970-01-01", "0.40 ×", "5 interleaved pairs", "no hash joins"):
            assert word in result.decision.reason
        # Other literals of the same region: of the same template, in the exact cache after that.
        assert opened.optimize(SQL.format(501)).steering == NO_HASH
        assert opened.optimize(SQL.format(501)).steering == NO_HASH
        assert opened.execute(SQL.format(510)).observation.steered


def test_far_from_where_it_was_verified_it_is_not_used(server, store):
    prove(server, store, SQL.format(900), NO_HASH)
    with session(server, store) as opened:
        assert opened.optimize(SQL.format(880)).steering == NO_HASH
        assert opened.optimize(SQL.format(1)).steering != NO_HASH


def test_join_trees_on_duckdb(tmp_path, store):
    import duckdb

    path = str(tmp_path / "x.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE a AS SELECT i % 40 AS k, i % 1000 AS n FROM range(4000) r(i)")
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k FROM range(400) r(i)")
    with open_engine(path) as engine:
        found = candidates(engine, subject_of(engine, SQL.format(500)))
        steering = next((entry.steering for entry in found.values() if entry.steering.join_trees), None)
    if steering is None:
        steering = Steering(join_trees=((0, (1, 0)),))
    prove(path, store, SQL.format(500), steering)
    with session(path, store) as opened:
        result = opened.execute(SQL.format(501))
        for text in (SQL.format(502), f"/* trace */ {SQL.format(503)}"):
            # On the short way, and with a comment that is to be kept.
            decision = opened.optimize(text)
            print_ = fingerprint(text, "duckdb")
            template = parse_template(print_, "duckdb", opened.engine.schema())
            sent = opened.engine.render(template, print_.literals, steering)
            assert decision.steering == steering
            assert decision.sql.removeprefix("/* trace */ ") == sent.sql
            assert opened.execute(text).fetchall() == list(opened.run_default(text).rows)
            assert "recall" in decision.timings_us
            assert decision.reason.startswith("verified")
        assert result.observation.steered
        assert result.fetchall() == list(opened.run_default(SQL.format(501)).rows)


def test_another_epoch_waits_for_verification(server, store):
    import psycopg

    prove(server, store, SQL.format(500), NO_HASH)
    with session(server, store) as opened, psycopg.connect(server, autocommit=True) as other:
        assert opened.execute(SQL.format(500)).observation.steered
        other.execute("ALTER TABLE a ADD COLUMN z integer")
        assert not opened.execute(SQL.format(500)).observation.steered


def test_a_table_that_has_grown_waits_for_verification(server, store):
    import psycopg

    prove(server, store, SQL.format(500), NO_HASH)
    with psycopg.connect(server, autocommit=True) as other:
        other.execute("INSERT INTO a SELECT k, n FROM a")
        other.execute("ANALYZE")
    with session(server, store) as opened:
        assert opened.optimize(SQL.format(500)).steering != NO_HASH


def test_what_takes_too_long_is_given_up_in_every_process(server, store):
    entry = prove(server, store, SQL.format(500), NO_HASH, default_s=1e-6)
    with session(server, store, allowance_floor_ms=0.001) as opened:
        result = opened.execute(SQL.format(500))
        assert not result.observation.steered
        assert "allowance" in (result.observation.fell_back or "")
        assert result.observation.wasted_ms > 0
        assert len(result.fetchall()) == 40
        assert opened.optimize(SQL.format(500)).steering != NO_HASH
    with open_engine(server) as engine:
        (kept,) = store.explorations.remembered("postgresql", engine.environment())
    assert kept["reverify"]
    assert "allowance" in kept["evidence"]["note"]
    ((query_class, _, took_s, lost_s),) = store.explorations.losses(0.0)
    assert int(query_class, 16) == entry.key.fingerprint & (2**64 - 1)
    assert took_s >= lost_s > 0
    with session(server, store) as opened:
        assert opened.optimize(SQL.format(500)).steering != NO_HASH


def test_a_dropped_table_is_the_engines_to_tell(server, store):
    import psycopg

    prove(server, store, SQL.format(500), NO_HASH)
    with session(server, store) as opened, psycopg.connect(server, autocommit=True) as other:
        assert opened.execute(SQL.format(500)).observation.steered
        other.execute("DROP TABLE b")
        with pytest.raises(EngineError, match='relation "b" does not exist'):
            opened.execute(SQL.format(500))


def test_a_setting_that_is_not_allowed_here_is_not_asked_for(server, store):
    prove(server, store, SQL.format(500), Steering(settings=(("work_mem", "100GB"),)))
    with session(server, store) as opened:
        assert not opened.execute(SQL.format(500)).observation.steered


def test_what_another_process_proves_is_used_after_recall(server, store):
    with session(server, store) as opened:
        before = opened.optimize(SQL.format(500))
        assert before.steering != NO_HASH
        prove(server, store, SQL.format(500), NO_HASH)
        opened.optimizer.recall(opened.engine)
        assert opened.optimize(SQL.format(500)).steering == NO_HASH
        assert opened.execute(SQL.format(7)).decision is not None
        assert opened.optimize(SQL.format(502)).steering == NO_HASH


def test_a_damaged_store_does_not_stop_queries(server, tmp_path):
    path = tmp_path / "broken.sqlite"
    path.write_text("this is no database")
    with session(server, SqliteStore(path)) as opened:
        assert len(opened.execute(SQL.format(500)).fetchall()) == 40
        assert opened.optimizer.counters["not_recalled"] == 1


def test_a_query_that_has_lost_its_budget_is_not_steered_until_it_has_aged(server, store, monkeypatch):
    sql = SQL.format(500)
    entry = prove(server, store, sql, NO_HASH)
    query_class = f"{entry.key.fingerprint & (2**64 - 1):016x}"
    store.explorations.lost(query_class, time.time() - 3600.0, 100.0, 6.0)
    with session(server, store) as opened:
        result = opened.execute(sql)
        assert not result.observation.steered
        assert "lost 6 s of the 100 s" in str(result.observation.fell_back)
    with session(server, store, regression_budget=0.1) as opened:
        assert opened.execute(sql).observation.steered
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_400.0)
    with session(server, store) as opened:
        assert opened.execute(sql).observation.steered


def test_a_regression_is_charged_and_a_clock_that_goes_back_does_not_free_it(server, store, monkeypatch):
    sql = SQL.format(500)
    prove(server, store, sql, NO_HASH, default_s=1e-6)
    now = time.time()
    with session(server, store, regression_budget=0.05, allowance_floor_ms=30_000.0) as opened:
        opened.optimizer.ledger.grace_s = 30.0
        # It takes far longer than the default is said to take: nearly all of the run is lost.
        assert opened.execute(sql).observation.steered
        # That is within the grace of short queries.
        assert opened.execute(sql).observation.steered
        opened.optimizer.ledger.grace_s = 0.0
        monkeypatch.setattr(time, "time", lambda: now - 7 * 86_400.0)
        result = opened.execute(sql)
        assert not result.observation.steered
        assert "regression budget of 5%" in str(result.observation.fell_back)
        assert result.fetchall() == list(opened.run_default(sql).rows)


def test_beside_its_region_the_engine_s_own_plan_has_a_turn_and_shows_a_loss(server, store):
    """Proved for few rows; beside, where it takes long, what the engine's own plan takes is found out once."""
    home, beside = SQL.format(120), SQL.format(400)
    prove(server, store, home, NO_HASH, ratio=0.01, low=0.009, high=0.02, default_s=0.001)
    with session(server, store, allowance_floor_ms=10_000.0, regression_budget=math.inf) as opened:
        assert opened.execute(beside).observation.steered
        # Far more than 0.1 ms, halfway between what it and the engine's own plan took at home.
        own = opened.execute(beside)
        assert not own.observation.steered
        assert "has its turn" in str(own.observation.fell_back)
        (known,) = (each for _, each in opened._scope.templates.values())
        (bucket,) = known.baseline_ms
        assert known.baseline_ms[bucket] == own.observation.latency_ms
        # Once; from now on a loss would show.
        known.baseline_ms[bucket] = 0.001
        steered = [opened.execute(beside).observation.steered for _ in range(4)]
        assert steered == [True, True, False, False]
        assert opened.optimizer.counters["quarantined"] == 1
        assert opened.optimize(beside).steering != NO_HASH
        assert opened.optimize(home).steering == NO_HASH


def test_fast_beside_its_region_nothing_is_asked(server, store):
    home, beside = SQL.format(120), SQL.format(400)
    prove(server, store, home, NO_HASH, default_s=1e4)
    with session(server, store) as opened:
        assert all(opened.execute(beside).observation.steered for _ in range(4))


def test_slow_beside_its_region_a_steering_is_split_off_there_alone(server, store):
    """Proved for few rows; beside, where there are many, it fails: at home it goes on."""
    home, beside = SQL.format(120), SQL.format(400)
    entry = prove(server, store, home, NO_HASH)
    with open_engine(server) as engine:
        assert subject_of(engine, beside).region != subject_of(engine, home).region
    with session(server, store, allowance_floor_ms=0.001) as opened:
        assert opened.optimize(beside).steering == NO_HASH
        prepared = opened.optimizer.decide(opened.engine, opened.optimizer.scope(opened.engine), beside)
        prepared.known.baseline_ms[prepared.bucket] = 1e-3
        served = prepared.served
        assert served is not None
        opened.optimizer.quarantine(
            opened.optimizer.scope(opened.engine), prepared, "stopped after its allowance", 0.01, slow=True
        )
        assert opened.optimize(beside).steering != NO_HASH
        assert opened.optimize(home).steering == NO_HASH
    with open_engine(server) as engine:
        (kept,) = store.explorations.remembered("postgresql", engine.environment())
    assert not kept["reverify"]
    assert MemoEntry.from_dict(kept) == replace(
        entry, key=MemoEntry.from_dict(entry.to_dict()).key, apart=(bucket_number(prepared.bucket),)
    )
    with session(server, store) as opened:
        assert opened.optimize(beside).steering != NO_HASH
        assert opened.optimize(home).steering == NO_HASH
        # An error is no matter of selectivity: it is refused everywhere.
        prepared = opened.optimizer.decide(opened.engine, opened.optimizer.scope(opened.engine), home)
        opened.optimizer.quarantine(opened.optimizer.scope(opened.engine), prepared, "it failed")
        assert opened.optimize(home).steering != NO_HASH
