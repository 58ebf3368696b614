"""The caller's world stays as the driver alone would have left it, on every path."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from godb_fast.core import Steering
from godb_fast.engines.base import CancelToken, Rendered
from godb_fast.engines.postgres import PostgresEngine
from godb_fast.errors import (
    EngineBusy,
    EngineError,
    InvalidInput,
    QueryCancelled,
    QueryTimeout,
    ResultTooLarge,
)

STEERING = Steering(settings=(("enable_hashjoin", "off"), ("work_mem", "8192kB")))
BEFORE = ("SET LOCAL enable_hashjoin = 'off'", "SET LOCAL work_mem = '8192kB'")
SEEN = "SELECT current_setting('enable_hashjoin'), current_setting('work_mem')"


def steered(sql: str, params: Any = None) -> Rendered:
    return Rendered(sql, params, before=BEFORE, steering=STEERING)


#: Statement, options, and the error that it ends with.
PATHS: list[tuple[str, dict[str, Any], type[Exception] | None]] = [
    (SEEN, {}, None),
    (SEEN, {"profile": True}, None),
    (SEEN, {"timeout_s": 30.0, "max_rows": 5}, None),
    ("SELECT 1 / (x - 1) FROM generate_series(1, 3) AS g(x)", {}, EngineError),
    ("SELECT no_such_column FROM sample", {"profile": True}, EngineError),
    ("SELECT pg_sleep(20)", {"timeout_s": 0.05}, QueryTimeout),
    ("SELECT * FROM generate_series(1, 100000)", {"max_rows": 10}, ResultTooLarge),
    ("SELECT * FROM secret", {}, EngineError),
    ("SELECT pg_sleep(20)", {"cancel": "now"}, QueryCancelled),
]


@pytest.fixture
def world(postgres_url: str) -> str:
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute("CREATE TABLE sample (id int); INSERT INTO sample SELECT * FROM generate_series(1, 10)")
        raw.execute("CREATE TABLE secret (id int)")
        raw.execute("DO $$ BEGIN CREATE ROLE godb_ordinary; EXCEPTION WHEN duplicate_object THEN END $$")
        raw.execute(
            "GRANT SELECT, INSERT ON sample TO godb_ordinary; GRANT CREATE ON SCHEMA public TO godb_ordinary"
        )
    return postgres_url


def prepare(raw: Any) -> None:
    """A session with something of everything."""
    raw.execute("SET ROLE godb_ordinary")
    raw.execute("SET search_path = public, pg_catalog")
    raw.execute("SET statement_timeout = '15s'")
    raw.execute("SET enable_mergejoin = off")
    raw.execute("PREPARE mine AS SELECT 42")
    if not raw.autocommit:
        raw.commit()


def look(raw: Any) -> dict[str, Any]:
    """Everything that the owner of a connection can see of it; leaves its transaction as it is."""
    info = raw.info
    status = info.transaction_status
    seen: dict[str, Any] = {"status": status, "pipeline": raw.pgconn.pipeline_status, "closed": raw.closed}
    if status == TransactionStatus.INERROR:
        return seen
    autocommit = raw.autocommit
    cursor = psycopg.RawCursor(raw)
    queries = {
        "settings": "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'godb_fast.%' ORDER BY 1",
        "prepared": "SELECT name, statement FROM pg_prepared_statements ORDER BY 1",
        "cursors": "SELECT name FROM pg_cursors WHERE name <> '' ORDER BY 1",
        "role": "SELECT current_user, session_user",
    }
    for name, sql in queries.items():
        seen[name] = cursor.execute(sql, prepare=False).fetchall()
    if status == TransactionStatus.IDLE and not autocommit:
        raw.rollback()
    return seen


@contextmanager
def session(world: str, **options: Any) -> Iterator[tuple[Any, PostgresEngine]]:
    with psycopg.connect(world, **options) as raw:
        prepare(raw)
        yield raw, PostgresEngine.borrow(raw)
        raw.rollback()


def attempt(engine: PostgresEngine, path: tuple[str, dict[str, Any], type[Exception] | None]) -> Any:
    sql, options, error = path
    options = dict(options)
    if options.get("cancel") == "now":
        # Cancelled as soon as it runs: the first request may even come before it.
        import threading

        token = options["cancel"] = CancelToken()
        threading.Timer(0.05, token.cancel).start()
    if error is None:
        return engine.run(steered(sql), **options)
    with pytest.raises(error) as raised:
        engine.run(steered(sql), **options)
    assert type(raised.value) is error
    return None


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path[0][7:30]} {path[1]}")
def test_outside_of_a_transaction(world: str, path: Any) -> None:
    with session(world, autocommit=True) as (raw, engine):
        before = look(raw)
        assert before["status"] == TransactionStatus.IDLE
        result = attempt(engine, path)
        assert look(raw) == before
        if path[0] == SEEN:
            assert result.rows == [("off", "8MB")]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path[0][7:30]} {path[1]}")
@pytest.mark.parametrize("kind", ["begin", "driver", "savepoint", "read only", "serializable"])
def test_inside_of_a_transaction(world: str, kind: str, path: Any) -> None:
    with session(world, autocommit=kind != "driver") as (raw, engine):
        begin = {"read only": "BEGIN READ ONLY", "serializable": "BEGIN ISOLATION LEVEL SERIALIZABLE"}
        if kind != "driver":
            raw.execute(begin.get(kind, "BEGIN"))
        if kind == "savepoint":
            raw.execute("SAVEPOINT godb_fast_savepoint")
        if kind != "read only":
            raw.execute("INSERT INTO sample VALUES (11)")
        raw.execute("SET LOCAL work_mem = '5MB'")
        raw.execute("DECLARE theirs SCROLL CURSOR FOR SELECT id FROM sample ORDER BY id")
        assert raw.execute("FETCH 2 FROM theirs").fetchall() == [(1,), (2,)]
        before = look(raw)
        assert before["status"] == TransactionStatus.INTRANS
        attempt(engine, path)
        after = look(raw)
        assert after == before
        # The transaction goes on, with all that was done in it.
        assert raw.execute("FETCH 1 FROM theirs").fetchall() == [(3,)]
        assert raw.execute("SELECT count(*) FROM sample").fetchone() == (10 if kind == "read only" else 11,)
        assert raw.execute("SHOW work_mem").fetchone() == ("5MB",)
        if kind == "savepoint":
            raw.execute("ROLLBACK TO SAVEPOINT godb_fast_savepoint")
            assert raw.execute("SELECT count(*) FROM sample").fetchone() == (10,)
        raw.execute("COMMIT")
        assert raw.execute("SHOW work_mem").fetchone() == ("4MB",)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path[0][7:30]} {path[1]}")
def test_without_autocommit_a_transaction_begins_as_the_driver_would(world: str, path: Any) -> None:
    with session(world, autocommit=False) as (raw, engine):
        raw.isolation_level = IsolationLevel.REPEATABLE_READ
        raw.read_only = True
        before = look(raw)
        attempt(engine, path)
        # Unlike the driver's own, the transaction survives an error.
        assert raw.info.transaction_status == TransactionStatus.INTRANS
        assert raw.execute("SHOW transaction_isolation").fetchone() == ("repeatable read",)
        assert raw.execute("SHOW transaction_read_only").fetchone() == ("on",)
        raw.rollback()
        assert look(raw) == before


def test_looking_around_begins_no_transaction(world: str) -> None:
    with session(world, autocommit=False) as (raw, engine):
        before = look(raw)
        engine.environment()
        engine.schema_epoch()
        engine.schema()
        engine.explain("SELECT * FROM sample")
        with pytest.raises(EngineError):
            engine.explain("SELECT * FROM secret WHERE no_such_column = 1")
        engine.effects("SELECT * FROM sample")
        engine.check("SELECT * FROM sample")
        assert raw.info.transaction_status == TransactionStatus.IDLE
        assert look(raw) == before


def test_statements_of_the_caller_are_never_undone(world: str) -> None:
    """An error in the caller's own statement aborts the transaction, as without us."""
    with session(world, autocommit=True) as (raw, engine):
        engine.run(Rendered("BEGIN"))
        engine.run(Rendered("INSERT INTO sample VALUES (12)"))
        with pytest.raises(EngineError):
            engine.run(Rendered("SELECT 1 / 0"))
        assert raw.info.transaction_status == TransactionStatus.INERROR
        for call in (
            lambda: engine.run(steered(SEEN)),
            lambda: engine.schema_epoch(),
            lambda: engine.explain("SELECT 1"),
        ):
            with pytest.raises(EngineBusy, match="aborted"):
                call()
        assert raw.info.transaction_status == TransactionStatus.INERROR
        assert engine.environment()
        raw.execute("ROLLBACK")


def test_only_what_reads_is_steered(world: str) -> None:
    with session(world, autocommit=True) as (raw, engine):
        for sql in (
            "DELETE FROM sample",
            "INSERT INTO sample VALUES (1)",
            "SET work_mem = '1GB'",
            "/* SELECT */ COMMIT",
        ):
            with pytest.raises(InvalidInput, match="only a SELECT"):
                engine.run(steered(sql))
        # What a first word does not show, the server refuses.
        with pytest.raises(EngineError, match="read-only transaction"):
            engine.run(steered("WITH gone AS (DELETE FROM sample RETURNING id) SELECT * FROM gone"))
        with pytest.raises(EngineError, match="multiple commands"):
            engine.run(steered("SELECT 1; DELETE FROM sample"))
        assert raw.execute("SELECT count(*) FROM sample").fetchone() == (10,)


def test_nothing_is_prepared(world: str) -> None:
    with session(world, autocommit=True) as (raw, engine):
        raw.prepare_threshold = 0
        before = look(raw)["prepared"]
        for _ in range(8):
            engine.schema_epoch()
            engine.explain("SELECT * FROM sample WHERE id = %s", (1,))
            engine.run(steered("SELECT * FROM sample WHERE id = %s", (1,)))
        assert look(raw)["prepared"] == before


def test_a_lower_time_limit_of_the_caller_stays(world: str) -> None:
    with session(world, autocommit=True) as (raw, engine):
        shown = "SELECT current_setting('statement_timeout')"
        assert engine.run(steered(shown), timeout_s=2.0).rows == [("2s",)]
        assert engine.run(steered(shown), timeout_s=60.0).rows == [("15s",)]
        raw.execute("SET statement_timeout = 0")
        assert engine.run(steered(shown), timeout_s=60.0).rows == [("1min",)]
        raw.execute("SET statement_timeout = '30ms'")
        with pytest.raises(QueryTimeout, match="server's own"):
            engine.run(steered("SELECT pg_sleep(5)"), timeout_s=4.0)


def test_inside_of_a_pipeline_of_the_caller_nothing_of_ours_is_sent(world: str) -> None:
    with session(world, autocommit=True) as (raw, engine):
        with raw.pipeline():
            cursor = raw.execute("SELECT 7")
            with pytest.raises(EngineBusy, match="pipeline"):
                engine.run(steered(SEEN))
            assert cursor.fetchone() == (7,)
        assert engine.run(steered(SEEN)).rows == [("off", "8MB")]


def test_during_copy_and_stream_nothing_of_ours_is_sent(world: str) -> None:
    with session(world, autocommit=True) as (raw, engine):
        with raw.cursor() as cursor, cursor.copy("COPY sample TO STDOUT") as copy:
            first = next(iter(copy))
            with pytest.raises(EngineBusy, match="COPY"):
                engine.explain("SELECT 1")
            assert len([first, *copy]) == 10
        with raw.cursor() as cursor:
            rows = cursor.stream("SELECT id FROM sample ORDER BY id")
            assert next(rows) == (1,)
            with pytest.raises(EngineBusy, match="stream"):
                engine.run(steered(SEEN))
            assert len(list(rows)) == 9
        assert engine.run(steered(SEEN)).rows == [("off", "8MB")]


def test_the_callers_cursor_and_row_factories(world: str) -> None:
    for cursor_factory in (psycopg.Cursor, psycopg.ClientCursor):
        with session(world, autocommit=True, cursor_factory=cursor_factory, row_factory=dict_row) as (
            _,
            engine,
        ):
            for place in (Rendered, steered):
                result = engine.run(place("SELECT id, 'x%%' AS t FROM sample WHERE id = %s", (3,)))
                assert (result.columns, result.types) == (("id", "t"), ("int4", "text"))
                assert result.rows == [(3, "x%")]
    with session(world, autocommit=True, cursor_factory=psycopg.RawCursor) as (_, engine):
        for place in (Rendered, steered):
            assert engine.run(place("SELECT id, 'x%%' FROM sample WHERE id = $1", (3,))).rows == [(3, "x%%")]
    with session(world, autocommit=True) as (_, engine):
        for place in (Rendered, steered):
            assert engine.run(place("SELECT id FROM sample WHERE id % 4 = $2 AND id > $1", (3, 1))).rows == [
                (5,),
                (9,),
            ]


def test_the_callers_loaders_read_results_and_never_ours(world: str) -> None:
    class Loud(psycopg.adapt.Loader):
        def load(self, data: Any) -> str:
            return bytes(data).decode().upper() + "!"

    with session(world, autocommit=True) as (raw, engine):
        raw.adapters.register_loader("text", Loud)
        raw.adapters.register_loader("json", Loud)
        epoch = engine.schema_epoch()
        assert (
            engine.run(steered("SELECT 'a'::text")).rows
            == engine.run(Rendered("SELECT 'a'::text")).rows
            == [("A!",)]
        )
        assert engine.schema_epoch() == epoch
        assert engine.explain("SELECT * FROM sample").root.operator


def test_a_stop_that_is_asked_for_again_leaves_the_transaction(world: str) -> None:
    """A request to cancel may also come when the savepoint is rolled back to."""
    running = "SELECT query LIKE '%%pg_sleep%%' AND state = 'active' FROM pg_stat_activity WHERE pid = %s"

    def hammer(process_id: int) -> None:
        with psycopg.connect(world, autocommit=True) as other:
            while other.execute(running, (process_id,)).fetchone() != (True,):
                pass
            for _ in range(20):
                other.execute("SELECT pg_cancel_backend(%s)", (process_id,))

    with session(world, autocommit=False) as (raw, engine):
        raw.execute("INSERT INTO sample VALUES (11)")
        for _ in range(200):
            thread = threading.Thread(target=hammer, args=(raw.info.backend_pid,))
            thread.start()
            with pytest.raises(QueryCancelled):
                engine.run(steered("SELECT pg_sleep(20)"))
            thread.join()
            assert raw.info.transaction_status == TransactionStatus.INTRANS
        assert raw.execute("SELECT count(*) FROM sample").fetchone() == (11,)
