"""Plans that nobody has run, for an application's own connections: looked for on a connection of ours."""

from __future__ import annotations

import asyncio
import math
import time

import psycopg
import pytest
from correlated import QUERY, filled
from learning.rankers import ranker

from godb_fast import advising
from godb_fast.dbapi import wrap
from godb_fast.learning.models import ModelFolder, shipped
from godb_fast.session import Optimizer, Policy
from godb_fast.store import SqliteStore


@pytest.fixture(autouse=True)
def at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(advising, "LOOK_APART_S", 0.0)


@pytest.fixture
def server(postgres_url):
    return filled(postgres_url)


@pytest.fixture
def store(tmp_path):
    kept = SqliteStore(tmp_path / "store.sqlite")
    file = ranker("delta_loop_joins", below=-1.0, above=0.5, engine="postgresql")
    ModelFolder(kept.models).export(file.card, file.data)
    yield kept
    kept.close()


def optimizer(store) -> Optimizer:
    # Each run takes a few milliseconds: what is estimated to be cheaper is left alone, and no watchdog barks.
    policy = Policy(
        margin=1e9,
        learn_from_ms=1.0,
        patience=0.0,
        allowance_floor_ms=10_000.0,
        regression_budget=math.inf,
        untried="plans",
    )
    return Optimizer(policy=policy, store=store)


def counted(optimizer: Optimizer, what: str) -> int:
    return optimizer.counters.get(what, 0)


def prepared(connection, sql) -> None:
    """Run it until its statistics are there, so that it is planned for."""
    for _ in range(2):
        connection.execute(sql).fetchall()
        assert connection.optimizer.worker.wait(timeout_s=30.0)


@pytest.mark.parametrize("style", ["literals", "parameters"])
def test_a_wrapped_connection_is_steered_to_what_was_found_beside_it(server, store, style):
    sql = QUERY.format(3) if style == "literals" else QUERY.format("%(n)s::int")
    params = None if style == "literals" else {"n": 3}
    raw = psycopg.connect(server, autocommit=True)
    with wrap(raw, "steer", optimizer(store)) as wrapped:
        rows = set()
        for _ in range(8):
            rows.add(tuple(wrapped.execute(sql, params).fetchall()))
            assert wrapped.wait_advised(30.0)
            if counted(wrapped.optimizer, "untried"):
                break
        assert counted(wrapped.optimizer, "untried") == 1
        before = counted(wrapped.optimizer, "steered")
        rows.add(tuple(wrapped.execute(sql, params).fetchall()))
        assert counted(wrapped.optimizer, "steered") == before + 1
        assert len(rows) == 1
        assert counted(wrapped.optimizer, "internal_errors") == 0
        assert raw.execute("SHOW enable_nestloop").fetchone() == ("on",)
        # In a transaction of the caller's as well.
        with wrapped.transaction():
            rows.add(tuple(wrapped.execute(sql, params).fetchall()))
        assert len(rows) == 1
    raw.close()
    with psycopg.connect(server) as connection:
        others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'godb_fast'"
        deadline = time.monotonic() + 10.0
        while connection.execute(others).fetchone() != (0,) and time.monotonic() < deadline:
            connection.rollback()
            time.sleep(0.05)
        assert connection.execute(others).fetchone() == (0,)


def test_an_asynchronous_connection_is_served_alike(server, store):
    sql = QUERY.format(3)

    async def application():
        raw = await psycopg.AsyncConnection.connect(server, autocommit=True)
        async with wrap(raw, "steer", optimizer(store)) as wrapped:
            rows = set()
            for _ in range(8):
                cursor = await wrapped.execute(sql)
                rows.add(tuple(await cursor.fetchall()))
                assert await asyncio.to_thread(wrapped.wait_advised, 30.0)
                if counted(wrapped.optimizer, "untried"):
                    break
            assert counted(wrapped.optimizer, "untried") == 1
            before = counted(wrapped.optimizer, "steered")
            cursor = await wrapped.execute(sql)
            rows.add(tuple(await cursor.fetchall()))
            assert counted(wrapped.optimizer, "steered") == before + 1
            assert len(rows) == 1
            assert counted(wrapped.optimizer, "internal_errors") == 0

    asyncio.run(application())


@pytest.mark.parametrize("how", ["search_path", "temporary table", "mode", "policy", "fast"])
def test_what_our_connection_would_not_see_is_left_alone_and_the_decision_says_so(server, store, how):
    known = optimizer(store)
    if how == "policy":
        known = Optimizer(policy=Policy(margin=1e9, learn_from_ms=1.0, untried="off"), store=store)
    elif how == "fast":
        known = Optimizer(policy=Policy(margin=1e9, learn_from_ms=1e6), store=store)
    sql = QUERY.format(3)
    with wrap(psycopg.connect(server, autocommit=True), "steer", known) as wrapped:
        if how == "search_path":
            wrapped.execute("CREATE SCHEMA other")
            wrapped.execute("SET search_path = other, public")
        elif how == "temporary table":
            wrapped.execute("CREATE TEMPORARY TABLE d AS SELECT * FROM public.d")
        elif how == "mode":
            wrapped.mode = "advise"
        for _ in range(4):
            wrapped.execute(sql).fetchall()
            assert wrapped.wait_advised(30.0)
            assert known.worker.wait(timeout_s=30.0)
        assert counted(known, "untried") == 0
        if how in ("search_path", "temporary table"):
            wrapped.execute(sql).fetchall()
            reasons = [decision.reason for decision in store.decisions() if store.flush()]
            assert any("a connection of our own does not see what this one does" in why for why in reasons)


def test_a_session_on_a_caller_s_connection_says_why_it_looks_for_nothing(server, store):
    with (
        psycopg.connect(server, autocommit=True) as raw,
        optimizer(store).session(raw, mode="steer") as session,
    ):
        for _ in range(3):
            session.execute(QUERY.format(3))
        reason = session.optimize(QUERY.format(3)).reason
        assert "no plan is looked for that nobody has run: this connection is the caller's" in reason


def test_plans_beside_a_session_with_planner_settings_of_its_own_would_be_others(server, store):
    known = optimizer(store)
    sql = QUERY.format(3)
    with known.session(server, mode="steer") as session, known.session(server, mode="steer") as other:
        session.execute("SET enable_seqscan = off")
        for _ in range(3):
            session.execute(sql).fetchall()
            assert session.wait_prepared(30.0)
        assert "this session has planner settings of its own" in session.optimize(sql).reason
        assert counted(known, "untried") == 0
        # Nobody else is kept from looking.
        for _ in range(3):
            other.execute(sql).fetchall()
            assert other.wait_prepared(30.0)
        assert counted(known, "untried") == 1


def test_sqlalchemy_looks_and_serves_what_has_run_well(server, store):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from godb_fast.sqlalchemy import install

    known = optimizer(store)
    engine = sqlalchemy.create_engine(server.replace("postgresql://", "postgresql+psycopg://", 1))
    installed = install(engine, "steer", known)
    sql = sqlalchemy.text(QUERY.format(3))
    try:
        for _ in range(6):
            with engine.connect() as connection:
                rows = connection.execute(sql).fetchall()
            assert installed.wait(30.0)
            if counted(known, "untried"):
                break
        assert counted(known, "untried") == 1
        # What nobody has run is not applied here; a session runs it, and then it is.
        with engine.connect() as connection:
            connection.execute(sql).fetchall()
        assert counted(known, "steered") == 0
        assert counted(known, "internal_errors") == 0
        with known.session(server, mode="steer") as session:
            assert session.execute(QUERY.format(3)).observation.steered
            assert session.execute(QUERY.format(3)).fetchall() == [tuple(row) for row in rows]
    finally:
        engine.dispose()
