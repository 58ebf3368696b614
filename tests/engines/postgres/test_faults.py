"""What goes wrong on servers and networks: nothing is lost, and the error says what happened."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import psycopg
import pytest
from postgres_server import BIN_VARIABLE, PostgresServer, running_server
from psycopg.pq import TransactionStatus
from psycopg.waiting import Wait

from godb_fast.core import Steering
from godb_fast.demo.postgres_server import kept_server
from godb_fast.engines.base import Rendered
from godb_fast.engines.postgres import PostgresEngine, borrow, open_url, pipeline
from godb_fast.errors import ConnectionFailed, EngineError, QueryCancelled, ResultTooLarge

STEERING = Steering(settings=(("enable_hashjoin", "off"),))


def steered(sql: str) -> Rendered:
    return Rendered(sql, before=("SET LOCAL enable_hashjoin = 'off'",), steering=STEERING)


@contextmanager
def opened(url: str) -> Iterator[PostgresEngine]:
    with open_url(url) as engine:
        yield engine


def backend(engine: PostgresEngine) -> int:
    return int(engine.run(Rendered("SELECT pg_backend_pid()")).rows[0][0])


def terminate(url: str, process_id: int) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (process_id,))
        while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (process_id,)).fetchone():
            time.sleep(0.01)


@pytest.mark.parametrize("place", [Rendered, steered], ids=["default", "steered"])
def test_a_server_that_is_killed_in_mid_query(postgres_server: PostgresServer, place: type) -> None:
    if postgres_server.process_id is None:
        pytest.skip("the server was not started by the tests, so it is not theirs to kill")
    with running_server() as server, opened(server.url) as engine:
        timer = threading.Timer(0.3, os.kill, (server.process_id, signal.SIGQUIT))
        timer.start()
        with pytest.raises(ConnectionFailed, match="lost"):
            engine.run(place("SELECT pg_sleep(60)"), timeout_s=50.0)
        timer.join()
        assert engine.in_transaction() is False
        assert engine.environment()
        with pytest.raises(ConnectionFailed, match="no connection"):
            engine.run(Rendered("SELECT 1"))


@pytest.mark.parametrize("place", [Rendered, steered], ids=["default", "steered"])
def test_a_server_that_is_restarted_in_mid_query(postgres_server: PostgresServer, place: type) -> None:
    if postgres_server.process_id is None:
        pytest.skip("the programs of the server in use are not known")
    named = os.environ.get(BIN_VARIABLE)
    programs = Path(named) if named else None
    folder = Path(tempfile.mkdtemp(prefix="godb_kept_"))
    folder.chmod(0o755)
    try:
        with kept_server(folder, programs) as server:
            engine = open_url(server.url)
            engine.run(Rendered("CREATE TABLE kept AS SELECT 1 AS x"))
            # These servers are quick rather than safe.
            engine.run(Rendered("CHECKPOINT"))
            epoch, environment = engine.schema_epoch(), engine.environment()
            timer = threading.Timer(0.3, os.kill, (server.process_id, signal.SIGQUIT))
            timer.start()
            with pytest.raises(ConnectionFailed, match="lost"):
                engine.run(place("SELECT pg_sleep(60)"), timeout_s=50.0)
            timer.join()
        with kept_server(folder, programs) as again:
            if again.url != server.url:
                pytest.skip("somebody else took the port meanwhile")
            assert engine.run(place("SELECT x FROM kept")).rows == [(1,)]
            assert (engine.schema_epoch(), engine.environment()) == (epoch, environment)
            engine.close()
    finally:
        rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("place", [Rendered, steered], ids=["default", "steered"])
def test_an_own_connection_that_was_terminated_is_opened_anew(postgres_url: str, place: type) -> None:
    with opened(postgres_url) as engine:
        first = backend(engine)
        epoch = engine.schema_epoch()
        terminate(postgres_url, first)
        with pytest.raises(ConnectionFailed, match="lost"):
            engine.run(place("SELECT 1"))
        assert engine.run(place("SELECT 1")).rows == [(1,)]
        assert backend(engine) != first
        assert engine.schema_epoch() == epoch
        assert "search_path" in engine.environment()


@pytest.mark.parametrize("place", [Rendered, steered], ids=["default", "steered"])
def test_a_connection_terminated_between_its_settings_and_the_query(postgres_url: str, place: type) -> None:
    with opened(postgres_url) as engine:
        with pytest.raises(ConnectionFailed, match="lost"):
            engine.run(place("SELECT pg_terminate_backend(pg_backend_pid())"))
        assert engine.run(Rendered("SHOW enable_hashjoin")).rows == [("on",)]


def test_a_transaction_is_never_silently_left(postgres_url: str) -> None:
    with opened(postgres_url) as engine:
        engine.run(Rendered("CREATE TABLE kept (x int)"))
        engine.run(Rendered("BEGIN"))
        engine.run(Rendered("INSERT INTO kept VALUES (1)"))
        terminate(postgres_url, backend(engine))
        with pytest.raises(ConnectionFailed, match="lost"):
            engine.run(Rendered("INSERT INTO kept VALUES (2)"))
        for sql in ("INSERT INTO kept VALUES (3)", "COMMIT", "SELECT 1"):
            with pytest.raises(ConnectionFailed, match="send ROLLBACK"):
                engine.run(Rendered(sql))
            assert engine.in_transaction() is True
        with pytest.raises(ConnectionFailed, match="send ROLLBACK"):
            engine.schema_epoch()
        engine.run(Rendered("/* a comment */ ROLLBACK"))
        assert engine.in_transaction() is False
        assert engine.run(Rendered("SELECT count(*) FROM kept")).rows == [(0,)]


def test_a_borrowed_connection_is_never_opened_anew(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        engine = borrow(raw)
        terminate(postgres_url, raw.info.backend_pid)
        with pytest.raises(ConnectionFailed, match="lost"):
            engine.run(steered("SELECT 1"))
        for call in (lambda: engine.run(Rendered("SELECT 1")), lambda: engine.schema_epoch()):
            with pytest.raises(ConnectionFailed, match="its owner's"):
                call()
        assert engine.environment() is not None
        assert engine.in_transaction() is False


@pytest.mark.parametrize("place", [Rendered, steered], ids=["default", "steered"])
@pytest.mark.parametrize("transaction", [False, True], ids=["idle", "transaction"])
def test_ctrl_c(postgres_url: str, place: type, transaction: bool) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        engine = borrow(raw)
        if transaction:
            raw.execute("BEGIN")
            raw.execute("CREATE TABLE mine (x int)")
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            engine.run(place("SELECT pg_sleep(30)"))
        timer.join()
        assert time.monotonic() - begun < 20
        if transaction and place is Rendered:
            assert raw.info.transaction_status == TransactionStatus.INERROR
            return
        assert engine.run(place("SHOW enable_hashjoin" if place is Rendered else "SELECT 'on'")).rows == [
            ("on",)
        ]
        if transaction:
            assert raw.execute("SELECT count(*) FROM mine").fetchone() == (0,)


@pytest.mark.parametrize("transaction", [False, True], ids=["idle", "transaction"])
def test_ctrl_c_while_answers_are_read(
    postgres_url: str, transaction: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heard in our code, not by the driver that waits: before each of the answers."""
    read, interrupted = pipeline._next, 0

    def interrupt(at: int) -> Callable[[Any], Generator[Any, Any, Any]]:
        left = iter(range(at, -1, -1))

        def reading(pgconn: Any) -> Generator[Any, Any, Any]:
            if next(left, None) == 0:
                if at == 0:
                    # While the statement runs: the driver looks up now and then.
                    yield Wait.R
                raise KeyboardInterrupt
            return (yield from read(pgconn))

        return reading

    with psycopg.connect(postgres_url, autocommit=True) as raw:
        engine = borrow(raw)
        if transaction:
            raw.execute("BEGIN")
            raw.execute("CREATE TABLE mine (x int)")
        for at in range(14):
            begun = time.monotonic()
            with monkeypatch.context() as patched:
                patched.setattr(pipeline, "_next", interrupt(at))
                try:
                    engine.run(steered("SELECT 1" if at else "SELECT pg_sleep(30)"))
                except KeyboardInterrupt:
                    interrupted += 1
            assert time.monotonic() - begun < 20, at
            assert raw.info.transaction_status == (
                TransactionStatus.INTRANS if transaction else TransactionStatus.IDLE
            )
            assert engine.run(steered("SELECT 'on'")).rows == [("on",)]
            assert raw.execute("SHOW enable_hashjoin").fetchone() == ("on",)
            if transaction:
                assert raw.execute("SELECT count(*) FROM mine").fetchone() == (0,)
    assert interrupted >= 5


def test_an_interrupted_statement_that_does_not_end_closes_the_connection(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(pgconn: Any) -> Generator[Any, Any, Any]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(pipeline, "_END_S", 0.0)
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        engine = borrow(raw)
        # Nobody hears that it is to be stopped.
        monkeypatch.setattr(raw, "cancel_safe", lambda *, timeout: None)
        with monkeypatch.context() as patched:
            patched.setattr(pipeline, "_next", interrupted)
            with pytest.raises(KeyboardInterrupt):
                engine.run(steered("SELECT pg_sleep(3)"))
        assert raw.closed
        with pytest.raises(ConnectionFailed, match="its owner's"):
            engine.run(Rendered("SELECT 1"))


@pytest.mark.parametrize("transaction", [False, True], ids=["idle", "transaction"])
@pytest.mark.parametrize("ends", [True, False], ids=["ends", "closed"])
def test_ctrl_c_between_sending_and_waiting_leaves_an_own_connection_of_use(
    postgres_url: str, transaction: bool, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the driver alone, a connection would stay in the midst of a statement, for good."""

    with opened(postgres_url) as engine:
        engine.run(Rendered("CREATE TABLE mine (x int)"))
        if transaction:
            engine.run(Rendered("BEGIN"))
            engine.run(Rendered("INSERT INTO mine VALUES (1)"))
        raw = engine._connection.raw
        if not ends:
            monkeypatch.setattr(pipeline, "_END_S", -1.0)
        wait, sent = raw.wait, []

        def waiting(generator: Any, *arguments: Any, **more: Any) -> Any:
            if sent:
                return wait(generator, *arguments, **more)
            # The statement goes out; the first answer is not waited for.
            sent.append(next(generator))
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(raw, "wait", waiting)
            with pytest.raises(KeyboardInterrupt):
                engine.run(Rendered("SELECT pg_sleep(30)"))
        assert sent
        assert raw.closed is not ends
        assert engine.in_transaction() is transaction
        if transaction:
            engine.run(Rendered("ROLLBACK"))
        assert engine.run(Rendered("SELECT count(*) FROM mine")).rows == [(0,)]


def test_more_values_than_the_protocol_counts_leave_the_connection_as_it_was(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        engine = borrow(raw)
        sql = f"SELECT {' + '.join(['%s'] * 70_000)}"
        with pytest.raises(EngineError, match="70,000 values; a statement takes at most 65,535"):
            engine.run(replace(steered(sql), params=[1] * 70_000))
        assert engine.run(steered("SELECT 1")).rows == [(1,)]


@pytest.mark.parametrize("place", [Rendered, steered], ids=["default", "steered"])
def test_a_statement_cancelled_from_outside(postgres_url: str, place: type) -> None:
    with opened(postgres_url) as engine, psycopg.connect(postgres_url, autocommit=True) as other:
        process_id = backend(engine)
        timer = threading.Timer(0.2, lambda: other.execute("SELECT pg_cancel_backend(%s)", (process_id,)))
        timer.start()
        with pytest.raises(QueryCancelled, match="stopped by the server"):
            engine.run(place("SELECT pg_sleep(30)"), timeout_s=25.0)
        timer.join()
        assert engine.run(place("SELECT 1")).rows == [(1,)]


def test_a_read_only_connection(postgres_url: str) -> None:
    with opened(postgres_url) as engine:
        engine.run(Rendered("CREATE TABLE kept (x int)"))
    with open_url(postgres_url, read_only=True) as engine:
        with pytest.raises(EngineError, match="read-only transaction"):
            engine.run(Rendered("INSERT INTO kept VALUES (1)"))
        assert engine.run(steered("SELECT count(*) FROM kept")).rows == [(0,)]


def test_a_closed_engine_says_so(postgres_url: str) -> None:
    engine = open_url(postgres_url)
    engine.close()
    engine.close()
    for call in (lambda: engine.run(Rendered("SELECT 1")), lambda: engine.schema_epoch()):
        with pytest.raises(EngineError, match="closed"):
            call()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
def test_databases_in_other_encodings(
    postgres_server: PostgresServer, postgres_url: str, encoding: str
) -> None:
    name = f"godb_{encoding.lower()}_{os.getpid()}"
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    try:
        word = "日本" if encoding == "EUC_JP" else "Zürich"
        with opened(postgres_server.database_url(name)) as engine:
            engine.run(Rendered(f'CREATE TABLE "{word}" ("{word}" text)'))
            engine.run(Rendered(f"INSERT INTO \"{word}\" VALUES ('{word}')"))
            for place in (Rendered, steered):
                result = engine.run(place(f'SELECT "{word}" FROM "{word}" WHERE "{word}" = \'{word}\''))
                assert (result.columns, result.rows) == ((word,), [(word,)])
            assert engine.explain(f'SELECT * FROM "{word}"').root.table
            if encoding == "LATIN1":
                with pytest.raises(EngineError):
                    engine.run(steered("SELECT '日本'"))
            if encoding == "SQL_ASCII":
                # Anything goes in there; what is no UTF-8 cannot be read as text, and nothing is broken by it.
                engine.run(Rendered(f"INSERT INTO \"{word}\" VALUES (E'\\xff')"))
                for place in (Rendered, steered):
                    with pytest.raises(EngineError, match="encoding"):
                        engine.run(place(f'SELECT * FROM "{word}"'))
                    assert engine.run(place("SELECT 1")).rows == [(1,)]
        with psycopg.connect(postgres_server.database_url(name), autocommit=True) as raw:
            # A caller's connection in the database's own encoding.
            raw.execute(f"SET client_encoding = '{encoding}'")
            engine = borrow(raw)
            if encoding != "SQL_ASCII":
                assert engine.run(steered(f'SELECT * FROM "{word}"')).rows == [(word,)]
            assert engine.schema_epoch()
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as raw:
            raw.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_1600_columns(postgres_url: str) -> None:
    with opened(postgres_url) as engine:
        columns = ", ".join(f"c{number} bool" for number in range(1600))
        engine.run(Rendered(f"CREATE TABLE wide ({columns})"))
        engine.run(Rendered("INSERT INTO wide (c0, c1599) SELECT true, false FROM generate_series(1, 5)"))
        default = engine.run(Rendered("SELECT * FROM wide"))
        result = engine.run(steered("SELECT * FROM wide"), max_rows=5)
        assert len(result.columns) == 1600
        assert (result.columns, result.types, result.rows) == (default.columns, default.types, default.rows)
        table = engine.schema().resolve(("wide",))
        assert table is not None
        assert len(table.columns) == 1600


def test_texts_that_no_server_reads(postgres_url: str) -> None:
    with opened(postgres_url) as engine:
        for place in (Rendered, steered):
            for sql in ("SELECT '\0'", "SELECT '\ud800'", "SELECT 'x", "SELECT /* x"):
                with pytest.raises(EngineError):
                    engine.run(place(sql))
                assert engine.run(place("SELECT 1")).rows == [(1,)]


def test_many_rows_are_bounded_in_memory_and_the_rest_is_not_waited_for(postgres_url: str) -> None:
    with opened(postgres_url) as engine:
        for place in (Rendered, steered):
            begun = time.monotonic()
            with pytest.raises(ResultTooLarge, match="more than 50 rows"):
                engine.run(
                    place("SELECT a, pg_sleep(0.001) FROM generate_series(1, 100000) AS g(a)"), max_rows=50
                )
            assert time.monotonic() - begun < 60
            assert engine.run(place("SELECT 1")).rows == [(1,)]
