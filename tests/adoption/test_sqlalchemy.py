"""An ORM application passes unchanged with godb_fast in front of its Engine, on real servers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from orm_application import Author, Book, Review, exercise, fill, reading, traced
from postgres_proxy import proxied
from postgres_server import PostgresServer
from skewed import QUERY, SETUP, VALUES, Eager, verify

from godb_fast.adoption import Observer
from godb_fast.engines.postgres import fence
from godb_fast.errors import InvalidInput
from godb_fast.optimizer import Optimizer
from godb_fast.sqlalchemy import install, uninstall
from godb_fast.store import open_store

sqlalchemy = pytest.importorskip("sqlalchemy")
pytest.importorskip("greenlet")


def url_of(postgres_url: str, driver: str = "psycopg") -> str:
    return postgres_url.replace("postgresql://", f"postgresql+{driver}://")


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Any]:
    made = sqlalchemy.create_engine(url_of(postgres_url))
    yield made
    uninstall(made)
    made.dispose()


@pytest.fixture(scope="module")
def expected(postgres_server: PostgresServer) -> Any:
    """What the application sees without godb_fast."""
    with postgres_server.database() as url:
        bare = sqlalchemy.create_engine(url_of(url))
        seen = exercise(bare)
        bare.dispose()
    return seen


class TestApplicationPasses:
    @pytest.mark.parametrize("mode", ["off", "observe", "advise", "steer"])
    def test_postgres(self, engine: Any, expected: Any, mode: str) -> None:
        adoption = install(engine, mode)
        assert exercise(engine) == expected
        assert adoption.wait()
        assert "internal_errors" not in adoption.optimizer.counters
        assert "not_advised" not in adoption.optimizer.counters
        assert (adoption.optimizer.counters.get("observed", 0) > 50) == (mode != "off")
        assert (adoption.optimizer.counters.get("advised", 0) > 5) == (mode in ("advise", "steer"))

    def test_with_comments_of_a_tracing_tool(self, engine: Any, expected: Any) -> None:
        traced(engine)
        adoption = install(engine, "advise")
        seen = exercise(engine)
        # The error names the statement with its comment, as it did without godb_fast.
        assert seen["writing"].pop("error_statement").startswith("/*traceparent=")
        assert seen["writing"].items() <= expected["writing"].items()
        assert seen["again"] == expected["again"]
        assert adoption.wait()
        first = adoption.optimizer.counters["advised"]
        with sqlalchemy.orm.Session(engine) as session:
            assert reading(session) == expected["again"]
        assert adoption.wait()
        # Other comments, the same templates.
        assert adoption.optimizer.counters["advised"] == first

    def test_autocommit(self, postgres_url: str) -> None:
        made = sqlalchemy.create_engine(url_of(postgres_url), isolation_level="AUTOCOMMIT")
        install(made, "advise")
        fill(made)
        with sqlalchemy.orm.Session(made) as session:
            # PostgreSQL streams within transactions only.
            assert len(reading(session, streaming=False)["lazy"]) == 12
        uninstall(made)
        made.dispose()

    @pytest.mark.parametrize("mode", ["observe", "advise", "steer"])
    def test_duckdb(self, tmp_path: Any, mode: str) -> None:
        pytest.importorskip("duckdb_engine")
        bare = sqlalchemy.create_engine(f"duckdb:///{tmp_path / 'bare.db'}")
        wanted = exercise(bare, savepoints=False)
        bare.dispose()
        made = sqlalchemy.create_engine(f"duckdb:///{tmp_path / 'site.db'}")
        adoption = install(made, mode)
        assert exercise(made, savepoints=False) == wanted
        assert adoption.wait()
        assert "internal_errors" not in adoption.optimizer.counters
        assert (adoption.optimizer.counters.get("advised", 0) > 5) == (mode != "observe")
        uninstall(made)
        made.dispose()


class TestAsync:
    @pytest.mark.parametrize("mode", ["observe", "advise", "steer"])
    def test_application(self, postgres_url: str, expected: Any, mode: str) -> None:
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
        from sqlalchemy.orm import selectinload

        async def application() -> Any:
            engine = create_async_engine(url_of(postgres_url))
            adoption = install(engine, mode)
            fill_engine = sqlalchemy.create_engine(url_of(postgres_url))
            fill(fill_engine)
            fill_engine.dispose()
            seen: dict[str, Any] = {}
            async with AsyncSession(engine) as session:
                seen["reading"] = await session.run_sync(reading)
                authors = await session.scalars(
                    sqlalchemy.select(Author).options(selectinload(Author.books)).order_by(Author.id)
                )
                seen["books"] = [len(author.books) for author in authors]
                streamed = await session.stream_scalars(
                    sqlalchemy.select(Review.id).order_by(Review.id).execution_options(yield_per=50)
                )
                seen["streamed"] = [number async for number in streamed]
                async with session.begin_nested():
                    session.add(Author(name="inner"))
                await session.rollback()
                seen["after"] = await session.scalar(
                    sqlalchemy.select(sqlalchemy.func.count()).select_from(Author)
                )

            async def one(number: int) -> Any:
                async with AsyncSession(engine) as session:
                    book = await session.get_one(Book, number)
                    return book.title

            seen["gathered"] = await asyncio.gather(*[one(number) for number in range(1, 9)])
            assert await asyncio.to_thread(adoption.wait)
            uninstall(engine)
            await engine.dispose()
            return seen, adoption.optimizer.counters

        seen, counters = asyncio.run(application())
        assert seen["reading"] == expected["reading"]
        assert seen["books"] == [4] * 12
        assert seen["streamed"] == list(range(1, 301))
        assert seen["after"] == 12
        assert len(set(seen["gathered"])) == 8
        assert "internal_errors" not in counters
        assert counters["observed"] > 20
        assert (counters.get("advised", 0) > 5) == (mode != "observe")


TEXT = sqlalchemy.text(QUERY.format(":kind", ":state", ":city"))
SENT = QUERY.format("%(kind)s", "%(state)s", "%(city)s")
NAMED = dict(zip(("kind", "state", "city"), VALUES, strict=True))


@pytest.fixture(scope="module")
def site(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.database() as url:
        with psycopg.connect(url, autocommit=True) as raw:
            raw.execute(SETUP)
        yield url


@pytest.fixture(scope="module")
def rows(site: str) -> list[Any]:
    with psycopg.connect(site) as raw:
        return raw.execute(SENT, NAMED).fetchall()


class TestSteering:
    @pytest.mark.parametrize("isolation", ["READ COMMITTED", "SERIALIZABLE", "AUTOCOMMIT"])
    def test_only_what_is_verified(self, site: str, rows: list[Any], isolation: str) -> None:
        optimizer = Eager()
        engine = sqlalchemy.create_engine(url_of(site), isolation_level=isolation)
        sent: list[str] = []
        install(engine, "steer", optimizer)

        @sqlalchemy.event.listens_for(engine, "after_cursor_execute")
        def note(_c: Any, cursor: Any, *_: Any) -> None:
            sent.append(cursor._query.query.decode())

        with engine.connect() as connection:
            for _ in range(4):
                assert connection.execute(TEXT, NAMED).all() == rows
            assert "steered" not in optimizer.counters
            assert not any("JOIN" in text for text in sent)
            verify(optimizer, site, SENT, NAMED)
            earlier = Counter(optimizer.counters)
            sent.clear()
            before = connection.exec_driver_sql(
                "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'godb_fast.%%'"
            ).all()
            for number in range(4):
                commented = sqlalchemy.text(f"/* {number} */ {TEXT.text}")
                result = connection.execute(commented, NAMED)
                assert list(result.keys()) == ["city", "votes", "least"]
                assert result.all() == rows
            assert (Counter(optimizer.counters) - earlier)["steered"] == 4
            assert all("JOIN" in text and text.startswith("/* ") for text in sent[1:])
            assert (
                connection.exec_driver_sql(
                    "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'godb_fast.%%'"
                ).all()
                == before
            )
            # Another region of values is another plan, and nothing is known of that one.
            assert "internal_errors" not in optimizer.counters
        uninstall(engine)
        with engine.connect() as connection:
            assert connection.execute(TEXT, NAMED).all() == rows
        assert (Counter(optimizer.counters) - earlier)["steered"] == 4
        engine.dispose()

    def test_streams_writes_and_many_are_not_steered(self, site: str, rows: list[Any]) -> None:
        optimizer = Eager()
        verify(optimizer, site, SENT, NAMED)
        engine = sqlalchemy.create_engine(url_of(site))
        install(engine, "steer", optimizer)
        earlier = Counter(optimizer.counters)
        with engine.connect() as connection:
            streamed = connection.execute(TEXT.execution_options(stream_results=True), NAMED)
            assert streamed.all() == rows
            connection.exec_driver_sql("CREATE TEMPORARY TABLE mine (city int, votes bigint, least int)")
            connection.execute(sqlalchemy.text(f"INSERT INTO mine {TEXT.text}"), [NAMED, NAMED])
            connection.execute(sqlalchemy.text(f"CREATE TEMPORARY TABLE made AS {TEXT.text}"), NAMED)
            assert connection.exec_driver_sql("SELECT count(*) FROM mine").scalar() == 2 * len(rows)
            assert Counter(optimizer.counters)["steered"] == earlier["steered"]
            connection.rollback()
            assert connection.execute(TEXT, NAMED).all() == rows
            assert (Counter(optimizer.counters) - earlier)["steered"] == 1
        uninstall(engine)
        engine.dispose()

    def test_an_error_of_a_steered_run_is_not_the_applications(
        self, site: str, rows: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        optimizer = Eager()
        verify(optimizer, site, SENT, NAMED)
        engine = sqlalchemy.create_engine(url_of(site))
        install(engine, "steer", optimizer)
        around = fence._around

        def failing(*arguments: Any) -> Any:
            before, after, undo = around(*arguments)
            return [*before, "SELECT 1 / 0"], after, undo

        monkeypatch.setattr(fence, "_around", failing)
        with engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL application_name = 'mine'")
            for _ in range(3):
                assert connection.execute(TEXT, NAMED).all() == rows
            assert connection.exec_driver_sql("SHOW application_name").scalar() == "mine"
        assert optimizer.counters["quarantined"] == 1
        assert optimizer.counters["fell_back"] == 1
        uninstall(engine)
        engine.dispose()

    def test_a_changed_table_is_noticed(self, postgres_url: str) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as raw:
            raw.execute(SETUP)
            optimizer = Eager()
            verify(optimizer, postgres_url, SENT, NAMED)
            engine = sqlalchemy.create_engine(url_of(postgres_url))
            install(engine, "steer", optimizer)
            earlier = Counter(optimizer.counters)
            with engine.connect() as connection:
                connection.execute(TEXT, NAMED)
                assert (Counter(optimizer.counters) - earlier)["steered"] == 1
                connection.commit()
                raw.execute("ALTER TABLE post ADD COLUMN extra int")
                connection.execute(TEXT, NAMED)
                assert (Counter(optimizer.counters) - earlier)["steered"] == 1
            uninstall(engine)
            engine.dispose()


class TestSteeringAsync:
    """As on a synchronous engine, within SQLAlchemy's greenlets."""

    @pytest.mark.parametrize("isolation", ["READ COMMITTED", "SERIALIZABLE", "AUTOCOMMIT"])
    def test_only_what_is_verified(self, site: str, rows: list[Any], isolation: str) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine

        optimizer = Eager()

        async def application() -> Counter[str]:
            engine = create_async_engine(url_of(site), isolation_level=isolation)
            install(engine, "steer", optimizer)
            show = sqlalchemy.text("SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'godb_fast.%'")
            async with engine.connect() as connection:
                for _ in range(3):
                    assert (await connection.execute(TEXT, NAMED)).all() == rows
                assert "steered" not in optimizer.counters
                await asyncio.to_thread(verify, optimizer, site, SENT, NAMED)
                earlier = Counter(optimizer.counters)
                before = (await connection.execute(show)).all()
                for number in range(4):
                    commented = sqlalchemy.text(f"/* {number} */ {TEXT.text}")
                    result = await connection.execute(commented, NAMED)
                    assert list(result.keys()) == ["city", "votes", "least"]
                    assert result.all() == rows
                assert (await connection.execute(show)).all() == before

            async def one(_: int) -> Any:
                async with engine.connect() as other:
                    return (await other.execute(TEXT, NAMED)).all()

            assert await asyncio.gather(*map(one, range(6))) == [rows] * 6
            uninstall(engine)
            await engine.dispose()
            return Counter(optimizer.counters) - earlier

        assert asyncio.run(application())["steered"] == 10
        assert "internal_errors" not in optimizer.counters

    def test_an_error_of_a_steered_run_is_not_the_applications(
        self, site: str, rows: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine

        optimizer = Eager()
        verify(optimizer, site, SENT, NAMED)
        around = fence._around

        def failing(*arguments: Any) -> Any:
            before, after, undo = around(*arguments)
            return [*before, "SELECT 1 / 0"], after, undo

        monkeypatch.setattr(fence, "_around", failing)

        async def application() -> None:
            engine = create_async_engine(url_of(site))
            install(engine, "steer", optimizer)
            async with engine.begin() as connection:
                await connection.execute(sqlalchemy.text("SET LOCAL application_name = 'mine'"))
                for _ in range(3):
                    assert (await connection.execute(TEXT, NAMED)).all() == rows
                name = await connection.scalar(sqlalchemy.text("SHOW application_name"))
                assert name == "mine"
            uninstall(engine)
            await engine.dispose()

        asyncio.run(application())
        assert optimizer.counters["fell_back"] == 1
        assert optimizer.counters["quarantined"] == 1

    def test_a_changed_table_is_noticed(self, postgres_url: str) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine

        optimizer = Eager()

        async def application(raw: Any) -> None:
            engine = create_async_engine(url_of(postgres_url))
            install(engine, "steer", optimizer)
            async with engine.connect() as connection:
                earlier = Counter(optimizer.counters)
                assert (await connection.execute(TEXT, NAMED)).all() == raw.execute(SENT, NAMED).fetchall()
                assert (Counter(optimizer.counters) - earlier)["steered"] == 1
                await connection.commit()
                raw.execute("ALTER TABLE post ADD COLUMN extra int; DELETE FROM vote WHERE id % 3 = 0")
                assert (await connection.execute(TEXT, NAMED)).all() == raw.execute(SENT, NAMED).fetchall()
                assert (Counter(optimizer.counters) - earlier)["steered"] == 1
            uninstall(engine)
            await engine.dispose()

        with psycopg.connect(postgres_url, autocommit=True) as raw:
            raw.execute(SETUP)
            verify(optimizer, postgres_url, SENT, NAMED)
            asyncio.run(application(raw))
        assert optimizer.counters["outdated"] == 1


class TestRules:
    def test_observing_executes_nothing_of_its_own(self, site: str) -> None:
        with proxied(site) as (url, proxy):
            engine = sqlalchemy.create_engine(url_of(url), isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(TEXT, NAMED)
                install(engine)
                for _ in range(3):
                    before = proxy.round_trips
                    connection.execute(TEXT, NAMED).all()
                    assert proxy.round_trips == before + 1
            uninstall(engine)
            engine.dispose()

    def test_observations_are_stored(self, site: str, rows: list[Any], tmp_path: Any) -> None:
        store = open_store(tmp_path / "store.sqlite")
        engine = sqlalchemy.create_engine(url_of(site))
        install(engine, "observe", store=store)
        with engine.connect() as connection:
            for number in range(3):
                connection.execute(TEXT, NAMED)
                connection.execute(sqlalchemy.text(f"SELECT {number}, 'secret'"))
            with pytest.raises(sqlalchemy.exc.ProgrammingError):
                connection.execute(sqlalchemy.text("SELECT nothing"))
        uninstall(engine)
        engine.dispose()
        assert store is not None
        assert store.flush()
        seen = store.observations()
        assert [entry.outcome for entry in seen].count("error") == 1
        assert sum(entry.rows == len(rows) for entry in seen) >= 3
        assert all(entry.latency_ms > 0 and not entry.steered for entry in seen)
        assert len({entry.fingerprint for entry in seen}) == 3
        assert all("@" not in entry.database for entry in seen)
        assert not any("secret" in (entry.text or "") for entry in store.decisions())
        store.close()

    def test_never_raises_into_the_application(
        self, site: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(*_: Any, **__: Any) -> Any:
            raise ZeroDivisionError("ours")

        engine = sqlalchemy.create_engine(url_of(site))
        optimizer = Eager()
        install(engine, "steer", optimizer)
        monkeypatch.setattr(Observer, "read", broken)
        with caplog.at_level(logging.WARNING), engine.connect() as connection:
            for _ in range(3):
                assert connection.execute(TEXT, NAMED).all()
        assert optimizer.counters["internal_errors"] == 3
        assert sum("ZeroDivisionError" in entry.getMessage() for entry in caplog.records) == 1
        monkeypatch.undo()
        monkeypatch.setattr(Optimizer, "count", broken)
        with engine.connect() as connection:
            assert connection.execute(TEXT, NAMED).all()
        uninstall(engine)
        engine.dispose()

    def test_connection_lost(self, site: str) -> None:
        with proxied(site) as (url, proxy):
            optimizer = Eager()
            engine = sqlalchemy.create_engine(url_of(url))
            verify(optimizer, url, SENT, NAMED)
            install(engine, "steer", optimizer)
            with engine.connect() as connection:
                connection.execute(TEXT, NAMED)
                assert optimizer.counters["steered"] >= 1
                proxy.cut()
                with pytest.raises(sqlalchemy.exc.OperationalError) as raised:
                    connection.execute(TEXT, NAMED)
                assert raised.value.connection_invalidated
                connection.rollback()
                assert connection.execute(TEXT, NAMED).all()
            assert "internal_errors" not in optimizer.counters
            uninstall(engine)
            engine.dispose()

    def test_installing_again_replaces(self, site: str) -> None:
        engine = sqlalchemy.create_engine(url_of(site))
        first = install(engine, "observe")
        second = install(engine, "observe")
        with engine.connect() as connection:
            connection.execute(TEXT, NAMED)
        assert "observed" not in first.optimizer.counters
        assert second.optimizer.counters["observed"] >= 1
        uninstall(engine)
        uninstall(engine)
        engine.dispose()

    def test_modes(self, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GODB_FAST_MODE", raising=False)
        engine = sqlalchemy.create_engine(url_of(site))
        assert install(engine).mode == "observe"
        monkeypatch.setenv("GODB_FAST_MODE", "advise")
        assert install(engine).mode == "advise"
        with pytest.raises(InvalidInput, match="off, observe, advise, steer"):
            install(engine, "go")
        uninstall(engine)
        with pytest.raises(InvalidInput, match="sqlite"):
            install(sqlalchemy.create_engine("sqlite://"))
        with pytest.raises(InvalidInput, match="not a SQLAlchemy Engine"):
            install(object())
