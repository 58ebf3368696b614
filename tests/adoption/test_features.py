"""What models are trained on, of an application's own statements on wrapped connections."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta

import duckdb
import psycopg
import pytest
from correlated import filled, skewed

from godb_fast.dbapi import connect, wrap
from godb_fast.learning.features import COLUMN, FEATURES_VERSION
from godb_fast.learning.validation import check_values
from godb_fast.session import Optimizer, Policy
from godb_fast.store import SqliteStore

#: On PostgreSQL's tables, and on DuckDB's.
JOINED = "SELECT count(*) FROM f JOIN d ON d.id = f.d WHERE f.a < {}"
PAIRS = "SELECT count(*) FROM a JOIN b ON a.k = b.k WHERE a.n < {}"
RUNS = 4


@pytest.fixture
def store(tmp_path):
    kept = SqliteStore(tmp_path / "store.sqlite")
    yield kept
    kept.close()


def optimizer(store, **policy) -> Optimizer:
    return Optimizer(policy=Policy(**{"learn_from_ms": 0.001, "untried": "off", **policy}), store=store)


def described(known: Optimizer, store):
    """The vectors that were kept, in the order of their runs."""
    if known.live is not None:
        assert known.worker.wait(timeout_s=30.0)
        known.live.save()
    assert store.flush()
    return store.features.training(FEATURES_VERSION, datetime.now(UTC) + timedelta(seconds=1))


def check(found, tables: float, runs: int = RUNS) -> None:
    """All were described, are sound, and know of earlier runs only."""
    assert check_values(found.vectors) == []
    assert len(found.vectors) == runs
    assert (found.vectors[:, COLUMN["relations"]] == tables).all()
    past = found.vectors[:, COLUMN["past_runs"]]
    assert past[0] == 0.0
    assert (past <= math.log(runs) + 1e-9).all()
    assert (past[1:] > past[:-1]).all()
    assert (found.vectors[:, COLUMN["concurrency"]] == 1.0).all()


def test_psycopg(postgres_url, store):
    known = optimizer(store)
    with wrap(psycopg.connect(filled(postgres_url), autocommit=True), "steer", known) as wrapped:
        params = [0]
        for number in range(RUNS):
            params[0] = 3 + number
            wrapped.execute(JOINED.format("%s"), params)
            # The application goes on with its list.
            params[0] = -1
        wrapped.execute("SELECT count(*) FROM f")
    assert not known.counters["internal_errors"]
    found = described(known, store)
    check(found, 2.0)
    # More rows pass with each.
    rows = found.vectors[:, COLUMN["joined_rows"]]
    assert (rows[1:] > rows[:-1]).all()


def test_psycopg_async(postgres_url, store):
    known = optimizer(store)

    async def application():
        raw = await psycopg.AsyncConnection.connect(filled(postgres_url), autocommit=True)
        async with wrap(raw, "steer", known) as wrapped:
            for number in range(RUNS):
                await wrapped.execute(JOINED.format(3 + number))

    asyncio.run(application())
    assert not known.counters["internal_errors"]
    check(described(known, store), 2.0)


def test_duckdb(tmp_path, store):
    known = optimizer(store)
    with connect(str(skewed(tmp_path / "skewed.duckdb")), "steer", known) as wrapped:
        for number in range(RUNS - 1):
            wrapped.execute(PAIRS.format(7 + number)).fetchall()
        # Nobody knows how long this would have taken.
        wrapped.execute("SELECT a.n FROM a JOIN b ON a.k = b.k").fetchone()
        for _ in range(3):
            # Who drops a cursor does not say that its statement has ended.
            wrapped.cursor().execute("SELECT a.n FROM a JOIN b ON a.k = b.k").fetchone()
        wrapped.execute(PAIRS.format(90)).fetchall()
    assert not known.counters["internal_errors"]
    check(described(known, store), 2.0)


def test_what_fails_while_it_is_fetched_is_no_complete_run(tmp_path, store):
    known = optimizer(store)
    with connect(str(skewed(tmp_path / "skewed.duckdb")), "steer", known) as wrapped:
        failing = (
            "SELECT CASE WHEN a.n = 99 THEN error('late') ELSE 'x' END FROM a JOIN b ON a.k = b.k "
            "JOIN range(50) r(i) ON true ORDER BY a.n"
        )
        with pytest.raises(duckdb.Error):
            wrapped.execute(failing).fetchall()
    assert store.flush()
    assert [each.outcome for each in store.observations(10)] == ["error"]
    assert len(described(known, store).vectors) == 0


@pytest.mark.parametrize("how", ["search_path", "temporary table"])
def test_what_is_described_is_what_the_application_saw(postgres_url, store, how):
    known = optimizer(store)
    with wrap(psycopg.connect(filled(postgres_url), autocommit=True), "steer", known) as wrapped:
        wrapped.execute(JOINED.format(3))
        if how == "search_path":
            wrapped.execute("CREATE SCHEMA other")
            wrapped.execute("CREATE TABLE other.f AS SELECT * FROM public.f LIMIT 10")
            wrapped.execute("ANALYZE other.f")
            wrapped.execute("SET search_path = other, public")
        else:
            wrapped.execute("CREATE TEMPORARY TABLE f AS SELECT * FROM public.f LIMIT 10")
            wrapped.execute("ANALYZE f")
        for _ in range(2):
            wrapped.execute(JOINED.format(3))
    assert not known.counters["internal_errors"]
    found = described(known, store)
    rows = found.vectors[:, COLUMN["table_rows"]]
    assert len(rows) == 3
    assert rows[1] == rows[2] < rows[0]


@pytest.mark.parametrize("why", ["observe", "advise", "fast", "error", "no store"])
def test_what_nobody_learns_from_is_not_described(postgres_url, store, why):
    known = optimizer(None if why == "no store" else store, learn_from_ms=1e6 if why == "fast" else 0.001)
    mode = why if why in ("observe", "advise") else "steer"
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
