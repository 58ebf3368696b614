"""psycopg's AsyncConnection with godb_fast in front: as the driver does it, observed, advised on and steered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres_proxy import proxied
from postgres_server import PostgresServer
from psycopg.rows import dict_row
from skewed import QUERY, SETUP, VALUES, Eager

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
    # One run that took a millisecond gives no bound that is worth steering for.
    assert "steered" not in counters
    outcomes = [entry.outcome for entry in store.observations()]
    store.close()
    if mode == "off":
        assert (counters, outcomes) == ({}, [])
        return
    assert outcomes.count("error") == 1
    assert outcomes.count("ok") == counters["observed"] - 1 >= 7
    assert ("advised" in counters) is (mode == "advise")
    assert ("decisions" in counters) is (mode in ("advise", "steer"))


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


class TestSteered:
    """Always to a plan of ours, whether that pays or not."""

    async def steered(self, connection: Any, times: int = 5, values: Any = VALUES) -> list[list[Any]]:
        found = []
        for _ in range(times):
            cursor = await connection.execute(JOINED, values)
            found.append(await cursor.fetchall())
        return found

    @pytest.mark.parametrize("autocommit", [True, False])
    def test_rows_and_the_transaction_are_the_drivers(self, site: str, autocommit: bool) -> None:
        optimizer = Eager()

        async def both() -> None:
            bare = await psycopg.AsyncConnection.connect(site, autocommit=autocommit)
            raw = await psycopg.AsyncConnection.connect(site, autocommit=autocommit)
            async with bare, wrap(raw, "steer", optimizer) as connection:
                expected = await (await bare.execute(JOINED, VALUES)).fetchall()
                assert await self.steered(connection) == [expected] * 5
                assert optimizer.counters["steered"] >= 3
                assert raw.info.transaction_status == bare.info.transaction_status
                # New values, on the driver's own cursors of any kind, within savepoints and without.
                for number in (11, 12):
                    async with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                        await cursor.execute(JOINED, (2, "open", number))
                        seen = await cursor.fetchall()
                    async with bare.cursor(row_factory=dict_row) as cursor:
                        await cursor.execute(JOINED, (2, "open", number))
                        assert seen == await cursor.fetchall()
                for name in ("join_collapse_limit", "statement_timeout", "transaction_read_only"):
                    for each in (bare, raw):
                        await each.rollback()
                    one, other = [
                        await (await each.execute(f"SHOW {name}")).fetchone() for each in (bare, raw)
                    ]
                    assert one == other

        asyncio.run(both())
        assert "internal_errors" not in optimizer.counters
        assert "fell_back" not in optimizer.counters

    def test_it_takes_three_round_trips(self, site: str) -> None:
        optimizer = Eager()

        async def counted() -> None:
            with proxied(site + "?sslmode=disable") as (url, proxy):
                raw = await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=None)
                async with wrap(raw, "steer", optimizer) as connection:
                    await self.steered(connection)
                    seen = []
                    for _ in range(10):
                        before = proxy.round_trips
                        await self.steered(connection, 1)
                        seen.append(proxy.round_trips - before)
                    assert min(seen) == 3, seen
                    assert seen.count(3) > 5, seen

        asyncio.run(counted())
        assert optimizer.counters["steered"] >= 13

    def test_the_loop_goes_on_while_a_decision_asks(self, site: str) -> None:
        optimizer = Eager()

        async def together() -> float:
            longest, running = 0.0, True

            async def tick() -> None:
                nonlocal longest
                clock = asyncio.get_running_loop().time
                while running:
                    begun = clock()
                    await asyncio.sleep(0.001)
                    longest = max(longest, clock() - begun)

            with proxied(site + "?sslmode=disable", 0.15) as (url, _):
                raw = await psycopg.AsyncConnection.connect(url, autocommit=True)
                async with wrap(raw, "steer", optimizer) as connection:
                    ticking = asyncio.create_task(tick())
                    await asyncio.sleep(0.01)
                    await self.steered(connection, 2)
                    running = False
                    await ticking
            return longest

        # Each question takes 0.3 s on this line, and the first decision asks for several things.
        assert asyncio.run(together()) < 0.25

    def test_somebody_changes_the_schema(self, postgres_server: PostgresServer) -> None:
        optimizer = Eager()

        async def changed(url: str) -> None:
            raw = await psycopg.AsyncConnection.connect(url, autocommit=True)
            async with wrap(raw, "steer", optimizer) as connection:
                await self.steered(connection)
                with psycopg.connect(url, autocommit=True) as other:
                    other.execute(
                        "ALTER TABLE account ADD COLUMN more int; DELETE FROM vote WHERE id % 3 = 0"
                    )
                    expected = other.execute(JOINED, VALUES).fetchall()
                assert optimizer.counters.get("outdated", 0) == 0
                assert await self.steered(connection, 1) == [expected]
                assert optimizer.counters["outdated"] == 1
                assert await self.steered(connection, 4) == [expected] * 4

        with postgres_server.database() as url:
            with psycopg.connect(url, autocommit=True) as setup:
                setup.execute(SETUP)
            asyncio.run(changed(url))
        assert "quarantined" not in optimizer.counters

    @pytest.mark.parametrize("autocommit", [True, False])
    def test_a_task_is_cancelled(self, site: str, autocommit: bool) -> None:
        """While the statement runs steered, and while something is asked in a thread."""
        optimizer = Eager()

        async def cancelled() -> None:
            with proxied(site + "?sslmode=disable") as (url, proxy):
                raw = await psycopg.AsyncConnection.connect(url, autocommit=autocommit)
                async with wrap(raw, "steer", optimizer) as connection:
                    (expected, *_) = await self.steered(connection)
                    proxy.delay_s = 0.3
                    for values in (VALUES, (2, "k7", 3), (1, "open", 17)):
                        task = asyncio.create_task(connection.execute(JOINED, values))
                        await asyncio.sleep(0.1)
                        task.cancel()
                        with pytest.raises((asyncio.CancelledError, psycopg.errors.QueryCanceled)):
                            await task
                        await connection.rollback()
                    proxy.delay_s = 0.0
                    assert await self.steered(connection, 2) == [expected] * 2

        asyncio.run(cancelled())

    def test_tasks_that_share_a_connection(self, site: str) -> None:
        optimizer = Eager()

        async def shared() -> None:
            raw = await psycopg.AsyncConnection.connect(site)
            async with wrap(raw, "steer", optimizer) as connection:
                (expected, *_) = await self.steered(connection)

                async def one(number: int) -> Any:
                    if number % 3 == 0:
                        await connection.commit()
                    return await (await connection.execute(JOINED, VALUES)).fetchall()

                assert await asyncio.gather(*map(one, range(12))) == [expected] * 12

        asyncio.run(shared())
        assert optimizer.counters["steered"] >= 12

    def test_an_error_of_the_statement_is_the_drivers(self, site: str) -> None:
        optimizer = Eager()
        sql = JOINED.replace("a.city < %s", "10 / (a.city - %s) < 1000")

        async def failing() -> None:
            raw = await psycopg.AsyncConnection.connect(site)
            async with wrap(raw, "steer", optimizer) as connection:
                for number in (-1, -1, -1, 7):
                    try:
                        await connection.execute(sql, (2, "open", number))
                    except psycopg.errors.DivisionByZero:
                        assert number == 7
                        assert raw.info.transaction_status.name == "INERROR"
                        await connection.rollback()
                assert await (await connection.execute("SELECT 1")).fetchone() == (1,)

        asyncio.run(failing())
        assert optimizer.counters["fell_back"] == 1

    @pytest.mark.parametrize("way", ["composed", "copy", "named", "transaction", "many", "stream"])
    def test_nothing_falls_into_a_steered_statement(self, site: str, way: str) -> None:
        from psycopg import sql

        optimizer = Eager()

        async def one(connection: Any, number: int) -> None:
            text = f"INSERT INTO written VALUES ({number})"
            if way == "composed":
                await connection.execute(sql.SQL(text))
            elif way == "copy":
                async with connection.cursor() as cursor, cursor.copy("COPY written FROM STDIN") as copying:
                    await copying.write_row((number,))
            elif way == "named":
                async with connection.transaction(), connection.cursor(name=f"c{number}") as cursor:
                    await cursor.execute("SELECT generate_series(1, 50)")
                    assert len(await cursor.fetchall()) == 50
            elif way == "transaction":
                async with connection.transaction():
                    await connection.execute(text)
            elif way == "many":
                await connection.cursor().executemany("INSERT INTO written VALUES (%s)", [(number,)])
            else:
                rows = [row async for row in connection.cursor().stream("SELECT generate_series(1, 50)")]
                assert len(rows) == 50

        async def together() -> None:
            raw = await psycopg.AsyncConnection.connect(site, autocommit=True)
            async with wrap(raw, "steer", optimizer) as connection:
                await connection.execute("CREATE TEMPORARY TABLE written (n int)")
                (expected, *_) = await self.steered(connection, 3)

                async def others() -> None:
                    for number in range(20):
                        await one(connection, number)

                other = asyncio.create_task(others())
                rounds = 0
                while not other.done() or rounds < 5:
                    assert await self.steered(connection, 1) == [expected]
                    rounds += 1
                await other
                if way in ("composed", "copy", "transaction", "many"):
                    found = await (await raw.execute("SELECT count(*), sum(n) FROM written")).fetchone()
                    assert found == (20, 190)

        asyncio.run(together())
        assert "quarantined" not in optimizer.counters

    @pytest.mark.parametrize("autocommit", [True, False])
    def test_what_is_written_after_cancelled_statements_stays(self, site: str, autocommit: bool) -> None:
        """Cancelled as soon as they have begun, new ones and known ones in turns."""
        optimizer = Eager()

        async def cancelled(connection: Any, values: Any) -> None:
            task = asyncio.create_task(connection.execute(JOINED, values))
            await asyncio.sleep(0)
            task.cancel()
            # One that the server has begun aborts its transaction, as it would without us.
            with suppress(
                asyncio.CancelledError, psycopg.errors.QueryCanceled, psycopg.errors.InFailedSqlTransaction
            ):
                await task

        async def writing() -> None:
            raw = await psycopg.AsyncConnection.connect(site, autocommit=autocommit)
            async with wrap(raw, "steer", optimizer) as connection:
                await connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
                await self.steered(connection, 3)
                await connection.commit()
                for number in range(40):
                    await cancelled(connection, (2, "open", number))
                    await cancelled(connection, VALUES)
                await connection.rollback()
                for number in range(5):
                    await connection.execute("INSERT INTO kept VALUES (%s)", (number,))
                await connection.commit()

        asyncio.run(writing())
        with psycopg.connect(site, autocommit=True) as other:
            assert other.execute("SELECT count(*) FROM kept").fetchone() == (5,)
            other.execute("DROP TABLE kept")
