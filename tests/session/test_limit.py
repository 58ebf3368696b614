"""LIMIT without a total order: steered only where the answer itself shows that no other plan keeps other rows."""

from __future__ import annotations

import math

import pytest

from godb_fast.cli.remedies import without_us
from godb_fast.core import Steering
from godb_fast.engines.registry import open_engine
from godb_fast.exploring import Evidence, MemoEntry, MemoKey
from godb_fast.exploring.candidates import candidates
from godb_fast.exploring.subjects import LiveQuery, Subject, bucket_number, examine
from godb_fast.exploring.trials import LiveExecutor
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.steered import MOST_TIES
from godb_fast.store import SqliteStore

#: Every k has two names; the counts of the first ten are all different, those of the others tie.
TOP = "SELECT k, name, count(*) AS n FROM a JOIN b USING (k) GROUP BY k, name ORDER BY n DESC, k LIMIT {0}"
NO_HASH = Steering(settings=(("enable_hashjoin", "off"), ("enable_hashagg", "off")))


@pytest.fixture
def server(postgres_url) -> str:
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE a AS SELECT k, 'name ' || s AS name FROM generate_series(1, 50) k, generate_series(1, 2) s"
        )
        connection.execute(
            "CREATE TABLE b AS SELECT k FROM generate_series(1, 50) k, generate_series(1, 3000 * greatest(11 - k, 1)) i"
        )
        connection.execute("ANALYZE")
    return postgres_url


@pytest.fixture
def store(tmp_path) -> SqliteStore:
    return SqliteStore(tmp_path / "store.sqlite")


def prove(url: str, store: SqliteStore, sql: str) -> None:
    with open_engine(url) as engine:
        subject = examine(engine, LiveQuery("q", sql))
        assert isinstance(subject, Subject), subject
        entry = MemoEntry(
            MemoKey(subject.template.fingerprint, bucket_number(subject.region)),
            NO_HASH,
            engine.schema_epoch(),
            Evidence(5, 0.4, 0.3, 0.6, 0.0, "no hash joins", 60.0),
        )
        store.explorations.remember(engine.name, engine.environment(), entry.to_dict())


@pytest.mark.parametrize("limit", [4, 6, 200])
def test_a_cut_between_rows_that_differ_is_steered(server, store, limit):
    sql = TOP.format(limit)
    prove(server, store, sql)
    with Session(Optimizer(store=store), open_engine(server), mode="steer") as session:
        result = session.execute(sql)
        assert result.observation.steered
        assert result.observation.rows == min(limit, 100)
        assert sorted(result.fetchall()) == sorted(session.run_default(sql).rows)
        assert len(session.run_steered(sql).rows) == min(limit, 100)


def test_a_cut_between_rows_that_tie_is_left_to_the_engine(server, store):
    sql = TOP.format(5)
    prove(server, store, sql)
    policy = Policy(regression_budget=math.inf)
    with Session(Optimizer(store=store, policy=policy), open_engine(server), mode="steer") as session:
        for _ in range(MOST_TIES):
            result = session.execute(sql)
            assert not result.observation.steered
            assert "tie where LIMIT 5 cuts" in str(result.observation.fell_back)
            assert len(result) == 5
        # Given up: nothing more is wasted.
        result = session.execute(sql)
        assert result.observation.fell_back is None
        assert not result.observation.steered


@pytest.mark.parametrize("limit", [5, 4])
def test_exploring_does_not_go_on_where_rows_tie(server, limit):
    with open_engine(server) as engine:
        subject = examine(engine, LiveQuery("top", TOP.format(limit)))
        assert isinstance(subject, Subject)
        found = candidates(engine, subject)
        assert not any(candidate.rewritten for candidate in found.values())
        executor = LiveExecutor(engine, [subject], [found], list(found), cap_s=60.0)
        assert executor.baseline(0).rows == limit
        assert executor.run(0, 1, 60.0).failed is (limit == 5)
        again = executor.run(0, 2, 60.0)
        # Where one answer was not certain, none is: nothing runs.
        assert (again.failed, again.seconds == 0.0) == (limit == 5, limit == 5)
        said = [refusal.why for refusal in executor.refusals]
        assert said == (
            ["rows tie where LIMIT 5 cuts, so which are kept depends on the plan"] if limit == 5 else []
        )


def test_a_driver_s_cursor_is_not_steered(server, store):
    import psycopg

    import godb_fast.dbapi

    sql = TOP.format(4)
    prove(server, store, sql)
    with psycopg.connect(server) as raw:
        wrapped = godb_fast.dbapi.wrap(raw, mode="steer", store=store)
        cursor = wrapped.cursor()
        for _ in range(2):
            cursor.execute(sql)
            assert len(cursor.fetchall()) == 4


def test_what_is_exported_has_the_limit_that_was_asked_for(server, store):
    sql = TOP.format(4)
    prove(server, store, sql)
    with Session(Optimizer(store=store), open_engine(server), mode="advise") as session:
        prepared = session.optimizer.decide(session.engine, session.optimizer.scope(session.engine), sql)
        lines = list(without_us(prepared, session.engine))
    assert f"{sql};" in lines
    assert "SET LOCAL enable_hashjoin = 'off';" in lines
