"""psycopg's AsyncConnection with godb_fast in front: as the driver does it, observed and advised on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres_server import PostgresServer
from psycopg.rows import dict_row
from skewed import QUERY, SETUP, VALUES

from godb_fast import Optimizer
from godb_fast.dbapi import wrap
from godb_fast.store import SqliteStore

JOINED = QUERY.format("%s", "%s", "%s")


@pytest.fixture(scope="module")
def site(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.database() as url:
        with psycopg.connect(url, autocommit=True) as raw:
            raw.execute(SETUP)
        yield url


@asynccontextmanager
async def wrapped(site: str, mode: str, optimizer: Optimizer) -> AsyncIterator[Any]:
    connection = wrap(await psycopg.AsyncConnection.connect(site), mode, optimizer)
    async with connection:
        yield connection


async def application(connection: Any) -> list[Any]:
    """What an application does, and what it sees."""
    seen: list[Any] = []
    for number in range(3):
        cursor = await connection.execute(JOINED, VALUES)
        seen.append(([column.name for column in cursor.description], await cursor.fetchall(), number))
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT %(x)s::int AS x", {"x": 7})
        seen.append(await cursor.fetchone())
        await cursor.execute("SELECT i FROM generate_series(1, 5) AS g(i)")
        seen.append([row async for row in cursor])
    async with connection.transaction():
        await connection.execute("CREATE TEMPORARY TABLE note (id int) ON COMMIT DROP")
        cursor = connection.cursor()
        await cursor.executemany("INSERT INTO note VALUES (%s)", [(1,), (2,)])
        seen.append(await (await connection.execute("SELECT count(*) FROM note")).fetchone())
    async with connection.cursor(name="streaming") as cursor:
        await cursor.execute("SELECT generate_series(1, 4)")
        seen.append(await cursor.fetchmany(3))
    with pytest.raises(psycopg.errors.UndefinedTable):
        await connection.execute("SELECT * FROM nowhere")
    await connection.rollback()
    seen.append(connection.info.transaction_status)
    return seen


@pytest.mark.parametrize("mode", ["off", "observe", "advise", "steer"])
def test_as_the_driver(site: str, mode: str, tmp_path: Path) -> None:
    optimizer = Optimizer(store=SqliteStore(tmp_path / "store.db"))

    async def both() -> tuple[list[Any], list[Any]]:
        async with await psycopg.AsyncConnection.connect(site) as bare:
            expected = await application(bare)
        async with wrapped(site, mode, optimizer) as connection:
            seen = await application(connection)
            assert await asyncio.to_thread(connection.wait_advised)
        return expected, seen

    expected, seen = asyncio.run(both())
    assert seen == expected
    counters = optimizer.counters
    store = optimizer.store
    assert store is not None
    store.flush()
    assert "internal_errors" not in counters
    assert "steered" not in counters
    outcomes = [entry.outcome for entry in store.observations()]
    store.close()
    if mode == "off":
        assert (counters, outcomes) == ({}, [])
        return
    assert outcomes.count("error") == 1
    assert outcomes.count("ok") == counters["observed"] - 1 >= 7
    assert ("advised" in counters) is (mode in ("advise", "steer"))
    assert ("not_steered" in counters) is (mode == "steer")


def test_a_cancelled_task_is_noted(site: str, tmp_path: Path) -> None:
    optimizer = Optimizer(store=SqliteStore(tmp_path / "store.db"))

    async def cancelled() -> None:
        async with wrapped(site, "observe", optimizer) as connection:
            task = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await connection.rollback()
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)

    asyncio.run(cancelled())
    store = optimizer.store
    assert store is not None
    store.flush()
    assert sorted(entry.outcome for entry in store.observations()) == ["cancelled", "ok"]
    store.close()
