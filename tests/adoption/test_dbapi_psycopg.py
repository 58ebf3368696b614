"""psycopg connections with godb_fast in front: as the driver does it, and steered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from postgres_proxy import proxied
from postgres_server import PostgresServer
from psycopg import sql as composing
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row, namedtuple_row
from skewed import QUERY, SETUP, VALUES, Eager

from godb_fast.dbapi import connect, wrap
from godb_fast.errors import InvalidInput
from godb_fast.store import open_store

STEERED = QUERY.format("%s", "%s", "%s")


@pytest.fixture(scope="module")
def site(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.database() as url:
        with psycopg.connect(url, autocommit=True) as raw:
            raw.execute(SETUP)
        yield url


@pytest.fixture(params=["off", "observe", "advise", "steer"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def settings(raw: Any) -> list[Any]:
    return raw.execute(
        "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'godb_fast.%' ORDER BY 1", prepare=False
    ).fetchall()


class TestAsTheDriver:
    """Every mode gives what the bare driver gives."""

    @pytest.fixture
    def both(self, site: str, mode: str) -> Iterator[tuple[Any, Any]]:
        with psycopg.connect(site) as bare, wrap(psycopg.connect(site), mode, Eager()) as wrapped:
            yield bare, wrapped
            assert "internal_errors" not in wrapped.optimizer.counters

    @pytest.mark.parametrize(
        ("sql", "params"),
        [
            ("SELECT 1 AS one, 'text' AS two, NULL AS three", None),
            ("SELECT %s::int + 1 AS next, %s::text", (41, "a%b")),
            ("SELECT %(name)s::text AS name, %(name)s::text AS again", {"name": "x"}),
            ("SELECT '100%%' WHERE %s", (True,)),
            ("SELECT '100%' AS percent", None),
            ("VALUES (1, 'a'), (2, 'b')", None),
            ("SELECT * FROM account WHERE id < %s ORDER BY id", [7]),
            ("TABLE account LIMIT 0", None),
            ("SHOW work_mem", None),
            ("/* app */ SELECT count(*) FROM post -- the end", None),
            (STEERED, VALUES),
            (
                QUERY.format("%(kind)s", "%(state)s", "%(city)s"),
                dict(zip(("kind", "state", "city"), VALUES, strict=True)),
            ),
        ],
    )
    def test_select(self, both: tuple[Any, Any], sql: str, params: Any) -> None:
        seen = []
        for connection in both:
            rounds = []
            for _ in range(7):
                cursor = connection.cursor()
                assert cursor.execute(sql, params) is cursor
                described = [tuple(column) for column in cursor.description]
                rounds.append(
                    (described, cursor.rowcount, cursor.rownumber, cursor.statusmessage, cursor.fetchall())
                )
                assert cursor.fetchone() is None
                cursor.close()
            assert all(entry == rounds[0] for entry in rounds)
            seen.append(rounds[0])
        assert seen[0] == seen[1]

    def test_fetching(self, both: tuple[Any, Any]) -> None:
        seen = []
        for connection in both:
            for _ in range(3):
                with connection.cursor() as cursor:
                    assert cursor.arraysize == 1
                    cursor.arraysize = 4
                    cursor.execute(STEERED, VALUES)
                    rows: list[Any] = [cursor.fetchone(), cursor.fetchmany(), cursor.fetchmany(2)]
                    cursor.scroll(-1)
                    rows += [list(cursor), cursor.fetchall()]
                assert cursor.closed
            seen.append(rows)
        assert seen[0] == seen[1]

    def test_row_factories(self, both: tuple[Any, Any]) -> None:
        for factory in (dict_row, namedtuple_row):
            seen = []
            for connection in both:
                for _ in range(3):
                    rows = connection.cursor(row_factory=factory).execute(STEERED, VALUES).fetchall()
                seen.append(rows)
            assert seen[0] == seen[1]
            assert type(seen[0][0]).__name__ == type(seen[1][0]).__name__

    def test_writing_and_transactions(self, both: tuple[Any, Any]) -> None:
        seen = []
        for number, connection in enumerate(both):
            notes: list[Any] = []
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE TABLE note{number} (id int PRIMARY KEY, text text)")
                cursor.executemany(f"INSERT INTO note{number} VALUES (%s, %s)", [(1, "a"), (2, "b")])
                notes.append(cursor.rowcount)
                cursor.execute(f"INSERT INTO note{number} VALUES (3, 'c') RETURNING id, text")
                notes.append(cursor.fetchall())
                with cursor.copy(f"COPY note{number} FROM STDIN") as copy:
                    copy.write_row((4, "d"))
                with connection.transaction(), connection.transaction(force_rollback=True):
                    cursor.execute(f"DELETE FROM note{number}")
                    notes.append(cursor.rowcount)
                    notes.append(cursor.execute(STEERED, VALUES).rowcount)
                notes.append(cursor.execute(f"SELECT count(*) FROM note{number}").fetchone())
                with pytest.raises(psycopg.errors.UniqueViolation):
                    cursor.execute(f"INSERT INTO note{number} VALUES (1, 'again')")
                with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                    cursor.execute(STEERED, VALUES)
            connection.rollback()
            notes.append(connection.info.transaction_status)
            with pytest.raises(psycopg.errors.UndefinedTable):
                connection.execute(f"SELECT * FROM note{number}")
            connection.rollback()
            seen.append(notes)
        assert seen[0] == seen[1]

    def test_what_is_passed_untouched(self, both: tuple[Any, Any]) -> None:
        seen = []
        for connection in both:
            notes: list[Any] = []
            with connection.cursor("named") as streaming:
                streaming.execute("SELECT i FROM generate_series(1, 5) AS g(i)")
                notes.append(list(streaming))
            notes.append(connection.execute(composing.SQL("SELECT {}").format(7)).fetchall())
            notes.append(connection.execute(b"SELECT 8").fetchall())
            notes.append(connection.execute(STEERED, VALUES, prepare=True).fetchall())
            notes.append(connection.execute(STEERED, VALUES, binary=True).fetchall())
            with connection.pipeline():
                first = connection.execute(STEERED, VALUES)
                second = connection.execute("SELECT 9")
                notes += [first.fetchall(), second.fetchall()]
            several = connection.execute("SELECT 1; SELECT 2")
            notes += [several.fetchall(), several.nextset(), several.fetchall(), several.nextset()]
            notes.append(list(connection.cursor().stream(STEERED, VALUES)))
            connection.commit()
            seen.append(notes)
        assert seen[0] == seen[1]

    def test_errors_are_the_drivers(self, both: tuple[Any, Any]) -> None:
        for connection in both:
            cursor = connection.cursor()
            with pytest.raises(psycopg.errors.UndefinedColumn, match="no_such"):
                cursor.execute("SELECT no_such FROM account a JOIN post p ON p.account = a.id")
            connection.rollback()
            with pytest.raises(psycopg.ProgrammingError):
                cursor.execute("SELECT %s, %s", (1,))
            with pytest.raises(psycopg.errors.DivisionByZero):
                cursor.execute("SELECT 1 / (a.id - a.id) FROM account a JOIN post p ON p.account = a.id")
            connection.rollback()
            cursor.close()
            with pytest.raises(psycopg.InterfaceError):
                cursor.execute(STEERED, VALUES)
            with pytest.raises(psycopg.ProgrammingError):
                connection.cursor().fetchone()

    def test_the_session_is_left_alone(self, both: tuple[Any, Any]) -> None:
        _, wrapped = both
        before = settings(wrapped.driver_connection)
        for _ in range(4):
            wrapped.execute(STEERED, VALUES)
        assert wrapped.info.transaction_status == TransactionStatus.INTRANS
        assert settings(wrapped.driver_connection) == before
        wrapped.rollback()
        assert settings(wrapped.driver_connection) == before
        wrapped.rollback()
        wrapped.autocommit = True
        assert wrapped.driver_connection.autocommit
        with pytest.raises(AttributeError):
            _ = wrapped.no_such_attribute


class TestSteering:
    @pytest.mark.parametrize("autocommit", [True, False])
    def test_after_the_first_run_steered(self, site: str, autocommit: bool, tmp_path: Any) -> None:
        store = open_store(tmp_path / "store.sqlite")
        optimizer = Eager(store=store)
        with wrap(psycopg.connect(site, autocommit=autocommit), "steer", optimizer) as connection:
            rows = [connection.execute(STEERED, VALUES).fetchall() for _ in range(5)]
            assert all(entry == rows[0] for entry in rows)
            assert optimizer.counters["steered"] == 4
            wanted = TransactionStatus.IDLE if autocommit else TransactionStatus.INTRANS
            assert connection.info.transaction_status == wanted
        assert store is not None
        assert store.flush()
        observed = store.observations()
        assert sorted(entry.steered for entry in observed) == [False, True, True, True, True]
        assert {entry.rows for entry in observed} == {len(rows[0])}
        assert all(entry.obeyed for entry in observed if entry.steered)
        store.close()

    def test_it_really_runs_under_the_settings(self, site: str) -> None:
        optimizer = Eager()
        with wrap(psycopg.connect(site), "steer", optimizer) as connection:
            sent: list[str] = []
            cursor = connection.cursor()
            connection.execute(STEERED, VALUES)
            cursor.execute(STEERED, VALUES)
            sent.append(cursor.driver_cursor._query.query.decode())
            assert "JOIN" in sent[0]
            assert optimizer.counters["steered"] == 1

    def test_comments_stay(self, site: str) -> None:
        with wrap(psycopg.connect(site), "steer", Eager()) as connection:
            cursor = connection.cursor()
            for number in range(3):
                cursor.execute(f"/* request {number} */ {STEERED} /*traceparent='00-{number}'*/", VALUES)
            sent = cursor.driver_cursor._query.query.decode()
            assert sent.startswith("/* request 2 */")
            assert sent.endswith("/*traceparent='00-2'*/")
            assert "JOIN" in sent
            # One template: the first run gave the bound for the others.
            assert connection.optimizer.counters["steered"] == 2

    def test_an_error_of_a_steered_run_is_discarded(self, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from godb_fast.engines.postgres import PostgresEngine

        render = PostgresEngine.render

        def failing(self: Any, *arguments: Any) -> Any:
            from dataclasses import replace

            rendered = render(self, *arguments)
            return replace(rendered, sql=rendered.sql.replace("SELECT", "SELECT 1 / (a.city - a.city),", 1))

        monkeypatch.setattr(PostgresEngine, "render", failing)
        optimizer = Eager()
        with wrap(psycopg.connect(site), "steer", optimizer) as connection, psycopg.connect(site) as bare:
            connection.execute("CREATE TEMPORARY TABLE mine (id int)")
            expected = bare.execute(STEERED, VALUES).fetchall()
            for _ in range(3):
                assert connection.execute(STEERED, VALUES).fetchall() == expected
            assert optimizer.counters["quarantined"] == 1
            assert connection.execute("SELECT count(*) FROM mine").fetchone() == (0,)

    def test_too_slow_is_stopped_and_discarded(self, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from godb_fast.engines.postgres import PostgresEngine

        render = PostgresEngine.render

        def sleeping(self: Any, *arguments: Any) -> Any:
            from dataclasses import replace

            rendered = render(self, *arguments)
            return replace(
                rendered, sql=rendered.sql.replace("WHERE", "WHERE pg_sleep(2) IS NOT NULL AND", 1)
            )

        monkeypatch.setattr(PostgresEngine, "render", sleeping)
        optimizer = Eager()
        optimizer.claimed_ms = 10.0
        with wrap(psycopg.connect(site), "steer", optimizer) as connection, psycopg.connect(site) as bare:
            expected = bare.execute(STEERED, VALUES).fetchall()
            for _ in range(3):
                assert connection.execute(STEERED, VALUES).fetchall() == expected
            assert optimizer.counters["quarantined"] == 1
            assert "steered" not in optimizer.counters

    def test_a_cancel_of_the_caller_is_passed_on(self, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from godb_fast.engines.postgres import PostgresEngine

        render = PostgresEngine.render

        def sleeping(self: Any, *arguments: Any) -> Any:
            from dataclasses import replace

            rendered = render(self, *arguments)
            return replace(
                rendered, sql=rendered.sql.replace("WHERE", "WHERE pg_sleep(20) IS NOT NULL AND", 1)
            )

        monkeypatch.setattr(PostgresEngine, "render", sleeping)
        with wrap(psycopg.connect(site), "steer", Eager()) as connection:
            connection.execute(STEERED, VALUES)
            timer = threading.Timer(0.5, connection.cancel)
            timer.start()
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute(STEERED, VALUES)
            timer.join()
            connection.rollback()
            assert connection.execute("SELECT 1").fetchone() == (1,)


class TestFaults:
    @pytest.mark.parametrize("mode", ["observe", "advise", "steer"])
    def test_connection_lost(self, site: str, mode: str) -> None:
        with proxied(site) as (url, proxy):
            connection = wrap(psycopg.connect(url), mode, Eager())
            connection.execute(STEERED, VALUES).fetchall()
            connection.execute(STEERED, VALUES).fetchall()
            proxy.cut()
            with pytest.raises(psycopg.OperationalError):
                connection.execute(STEERED, VALUES)
            assert connection.closed
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
            connection.close()
            assert "internal_errors" not in connection.optimizer.counters

    def test_internal_errors_do_not_reach_the_application(
        self, site: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        from godb_fast.adoption import CursorSession

        def broken(*_: Any) -> Any:
            raise ZeroDivisionError("ours")

        monkeypatch.setattr(CursorSession, "prepare", broken)
        optimizer = Eager()
        with wrap(psycopg.connect(site), "steer", optimizer) as connection:
            for _ in range(3):
                assert connection.execute(STEERED, VALUES).fetchall()
        assert optimizer.counters["internal_errors"] == 3
        assert sum("ZeroDivisionError" in entry.getMessage() for entry in caplog.records) == 1

    def test_observing_executes_nothing_of_its_own(self, site: str) -> None:
        with (
            proxied(site) as (url, proxy),
            wrap(psycopg.connect(url, autocommit=True), "observe", Eager()) as connection,
        ):
            for sql, params in (("SELECT 1", None), (STEERED, VALUES), (STEERED, VALUES)):
                before = proxy.round_trips
                connection.execute(sql, params).fetchall()
                assert proxy.round_trips == before + 1

    def test_threads(self, site: str) -> None:
        optimizer = Eager()
        with wrap(psycopg.connect(site), "steer", optimizer) as connection:
            expected = connection.execute(STEERED, VALUES).fetchall()
            seen: list[Any] = []

            def work() -> None:
                for _ in range(10):
                    seen.append(connection.execute(STEERED, VALUES).fetchall())

            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert seen == [expected] * 30
            assert optimizer.counters["steered"] == 30


class TestModes:
    def test_default_is_observe(self, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GODB_FAST_MODE", raising=False)
        with wrap(psycopg.connect(site)) as connection:
            assert connection.mode == "observe"
        monkeypatch.setenv("GODB_FAST_MODE", "advise")
        with connect(site) as connection:
            assert connection.mode == "advise"

    def test_advice_is_made_beside(self, site: str) -> None:
        with proxied(site) as (url, proxy), connect(url, "advise", autocommit=True) as connection:
            connection.execute(STEERED, VALUES)
            assert connection.wait_advised()
            assert connection.optimizer.counters["advised"] == 1
            before = proxy.round_trips
            connection.execute(STEERED, (3, "k9", 5))
            assert connection.wait_advised()
            assert proxy.round_trips == before + 1

    def test_what_cannot_be_wrapped(self, site: str) -> None:
        import sqlite3

        with pytest.raises(InvalidInput, match="duckdb or psycopg"):
            wrap(sqlite3.connect(":memory:"))
        with pytest.raises(InvalidInput, match="off, observe, advise, steer"):
            connect(site, "go")


class TestTurns:
    """Threads that share a connection: nothing falls into a steered statement of another one."""

    @pytest.mark.parametrize("way", ["composed", "bytes", "copy", "named", "transaction", "many", "stream"])
    def test_other_statements_wait(self, site: str, way: str) -> None:
        from psycopg import sql

        optimizer = Eager()
        with psycopg.connect(site, autocommit=True) as raw:
            raw.execute("CREATE TEMPORARY TABLE written (n int)")
            connection = wrap(raw, "steer", optimizer)
            for _ in range(3):
                expected = connection.execute(STEERED, VALUES).fetchall()
            failed: list[BaseException] = []

            def one(number: int) -> None:
                text = f"INSERT INTO written VALUES ({number})"
                if way == "composed":
                    connection.execute(sql.SQL(text))
                elif way == "bytes":
                    connection.execute(text.encode())
                elif way == "copy":
                    with connection.cursor().copy("COPY written FROM STDIN") as copying:
                        copying.write_row((number,))
                elif way == "named":
                    with connection.transaction(), connection.cursor(name=f"c{number}") as cursor:
                        cursor.execute("SELECT generate_series(1, 50)")
                        assert len(list(cursor)) == 50
                elif way == "transaction":
                    with connection.transaction():
                        connection.execute(text)
                elif way == "many":
                    connection.cursor().executemany("INSERT INTO written VALUES (%s)", [(number,)])
                else:
                    assert len(list(connection.cursor().stream("SELECT generate_series(1, 50)"))) == 50

            def others() -> None:
                try:
                    for number in range(20):
                        one(number)
                except BaseException as error:  # noqa: BLE001 - told below
                    failed.append(error)

            thread = threading.Thread(target=others)
            thread.start()
            rounds = 0
            while thread.is_alive() or rounds < 5:
                assert connection.execute(STEERED, VALUES).fetchall() == expected
                rounds += 1
            thread.join()
            assert not failed, failed
            if way in ("composed", "bytes", "copy", "transaction", "many"):
                assert raw.execute("SELECT count(*), sum(n) FROM written").fetchone() == (20, 190)
            assert "quarantined" not in optimizer.counters
