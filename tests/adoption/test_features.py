"""What models are trained on, of an application's own statements: described beside its connection."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta

import duckdb
import psycopg
import pytest
import sqlalchemy
from correlated import filled, skewed

from godb_fast import advising
from godb_fast.dbapi import wrap
from godb_fast.learning.features import COLUMN, FEATURES_VERSION
from godb_fast.learning.validation import check_values
from godb_fast.session import Optimizer, Policy
from godb_fast.sqlalchemy import install
from godb_fast.store import SqliteStore

#: On PostgreSQL's tables, and on DuckDB's.
JOINED = "SELECT count(*) FROM f JOIN d ON d.id = f.d WHERE f.a < {}"
PAIRS = "SELECT count(*) FROM a JOIN b ON a.k = b.k WHERE a.n < {}"
RUNS = 4


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(advising, "LOOK_APART_S", 0.0)


@pytest.fixture
def store(tmp_path):
    kept = SqliteStore(tmp_path / "store.sqlite")
    yield kept
    kept.close()


def optimizer(store, **policy) -> Optimizer:
    return Optimizer(policy=Policy(**{"learn_from_ms": 0.001, "untried": "off", **policy}), store=store)


def described(known: Optimizer, store):
    """The vectors that were kept, in the order of their runs."""
    if known.live_now is not None:
        assert known.worker.wait(timeout_s=30.0)
        known.live_now.save()
    assert store.flush()
    return store.features.training(FEATURES_VERSION, datetime.now(UTC) + timedelta(seconds=1))


def check(found, tables: float) -> None:
    """All that were described are sound, and know of earlier runs only."""
    assert check_values(found.vectors) == []
    # The first run may be over before there is somebody to describe it.
    assert 1 <= len(found.vectors) <= RUNS
    assert (found.vectors[:, COLUMN["relations"]] == tables).all()
    past = found.vectors[:, COLUMN["past_runs"]]
    assert (past <= math.log(RUNS) + 1e-9).all()
    assert (past[1:] > past[:-1]).all()
    assert (found.vectors[:, COLUMN["concurrency"]] == 1.0).all()


@pytest.mark.parametrize("mode", ["advise", "steer"])
def test_psycopg(postgres_url, store, mode):
    known = optimizer(store)
    with wrap(psycopg.connect(filled(postgres_url), autocommit=True), mode, known) as wrapped:
        for number in range(RUNS):
            wrapped.execute(JOINED.format("%s"), (3 + number,))
            assert wrapped.wait_advised(30.0)
        wrapped.execute("SELECT count(*) FROM f")
        assert wrapped.wait_advised(30.0)
    assert not known.counters["internal_errors"]
    check(described(known, store), 2.0)


def test_psycopg_async(postgres_url, store):
    known = optimizer(store)

    async def application():
        raw = await psycopg.AsyncConnection.connect(filled(postgres_url), autocommit=True)
        async with wrap(raw, "steer", known) as wrapped:
            for number in range(RUNS):
                await wrapped.execute(JOINED.format(3 + number))
                assert await asyncio.to_thread(wrapped.wait_advised, 30.0)

    asyncio.run(application())
    assert not known.counters["internal_errors"]
    check(described(known, store), 2.0)


def test_duckdb(tmp_path, store):
    known = optimizer(store)
    raw = duckdb.connect(skewed(tmp_path / "skewed.duckdb"))
    with wrap(raw, "advise", known) as wrapped:
        for number in range(RUNS):
            wrapped.execute(PAIRS.format(7 + number)).fetchall()
            assert wrapped.wait_advised(30.0)
        # Nobody knows how long this would have taken.
        wrapped.execute("SELECT a.n FROM a JOIN b ON a.k = b.k").fetchone()
    assert not known.counters["internal_errors"]
    check(described(known, store), 2.0)


def test_sqlalchemy(postgres_url, store):
    known = optimizer(store)
    engine = sqlalchemy.create_engine(filled(postgres_url).replace("postgresql://", "postgresql+psycopg://"))
    adoption = install(engine, "advise", known)
    with engine.connect() as connection:
        for number in range(RUNS):
            statement = sqlalchemy.text(JOINED.format(":n"))
            connection.execute(statement, {"n": 3 + number}).all()
            assert adoption.wait(30.0)
    engine.dispose()
    assert not known.counters["internal_errors"]
    check(described(known, store), 2.0)


@pytest.mark.parametrize("why", ["observe", "fast", "error", "no store"])
def test_what_nobody_learns_from_is_not_described(postgres_url, store, why):
    known = optimizer(None if why == "no store" else store, learn_from_ms=1e6 if why == "fast" else 0.001)
    mode = "observe" if why == "observe" else "advise"
    sql = JOINED.format("1 / 0" if why == "error" else "7")
    with wrap(psycopg.connect(filled(postgres_url), autocommit=True), mode, known) as wrapped:
        for _ in range(3):
            try:
                wrapped.execute(sql)
            except psycopg.errors.DivisionByZero:
                assert why == "error"
            assert wrapped.wait_advised(30.0)
    assert not known.counters["internal_errors"]
    assert len(described(known, store).vectors) == 0
