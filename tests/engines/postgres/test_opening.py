"""Opening connections: libpq's own ways, and passwords that never come back out."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from postgres_server import PostgresServer

import godb_fast
from godb_fast.engines.base import Rendered
from godb_fast.engines.postgres import borrow, open_url
from godb_fast.engines.registry import open_engine
from godb_fast.errors import ConnectionFailed, EngineError, InvalidInput
from godb_fast.session import Optimizer

SECRET = "s3cr3t/%@:word"
QUOTED = "s3cr3t%2F%25%40%3Aword"


@pytest.fixture
def role(postgres_server: PostgresServer) -> str:
    if postgres_server.process_id is None:
        pytest.skip("a server of somebody else may not ask for passwords")
    with psycopg.connect(postgres_server.url, autocommit=True) as raw:
        raw.execute("DROP ROLE IF EXISTS godb_secretive")
        raw.execute(f"CREATE ROLE godb_secretive LOGIN PASSWORD '{SECRET}'")
    return "godb_secretive"


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_urls_of_the_registry(postgres_url: str) -> None:
    for url in (postgres_url, postgres_url.replace("postgresql://", "postgres://")):
        with open_engine(url) as engine:
            assert engine.name == "postgresql"
            assert engine.dialect == "postgres"
            assert engine.run(Rendered("SELECT 1")).rows == [(1,)]
    with psycopg.connect(postgres_url) as raw:
        assert open_engine(raw).run(Rendered("SELECT 1")).rows == [(1,)]


def test_a_password_in_a_url_is_shown_nowhere(
    postgres_server: PostgresServer, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres_server.database_url("postgres", user=role, password=SECRET)
    assert QUOTED in url
    caplog.set_level(logging.DEBUG)
    with open_url(url) as engine:
        assert engine.run(Rendered("SELECT current_user")).rows == [(role,)]
        with pytest.raises(EngineError) as refused:
            engine.run(Rendered("SELECT nothing"))
        texts = [repr(engine), engine.environment(), shown(refused.value), repr(engine._connection)]
    for text in [*texts, caplog.text]:
        assert SECRET not in text
        assert QUOTED not in text


@pytest.mark.parametrize("port", ["1", "65536", "nonsense"])
def test_a_password_is_in_no_error(port: str) -> None:
    for url in (
        f"postgresql://me:{QUOTED}@127.0.0.1:{port}/x?connect_timeout=2",
        f"postgresql://me@127.0.0.1:{port}/x?password={QUOTED}&connect_timeout=2",
        f"postgresql://me:{QUOTED}@127.0.0.1:{port}/x?no_such_option={QUOTED}",
        f"postgresql://me:{QUOTED}@[::1/x",
        f"postgresql://me:{QUOTED}%zz@h/x",
    ):
        with pytest.raises((ConnectionFailed, InvalidInput)) as refused:
            open_url(url)
        assert "s3cr3t" not in shown(refused.value), url
        assert str(refused.value)


def test_a_wrong_password(postgres_server: PostgresServer, role: str) -> None:
    with pytest.raises(ConnectionFailed, match="password authentication failed") as refused:
        open_url(postgres_server.database_url("postgres", user=role, password=SECRET[::-1]))
    assert SECRET[::-1] not in shown(refused.value)


def test_a_password_from_a_callable_is_asked_for_each_time(
    postgres_server: PostgresServer, role: str
) -> None:
    asked = []

    def token() -> str:
        asked.append(len(asked))
        return SECRET

    with open_url(postgres_server.database_url("postgres", user=role), password=token) as engine:
        process_id = engine.run(Rendered("SELECT pg_backend_pid()")).rows[0][0]
        with psycopg.connect(postgres_server.url, autocommit=True) as raw:
            raw.execute("SELECT pg_terminate_backend(%s, 5000)", (process_id,))
        with pytest.raises(ConnectionFailed):
            engine.run(Rendered("SELECT 1"))
        assert engine.run(Rendered("SELECT 1")).rows == [(1,)]
        assert SECRET not in repr(engine._connection.__dict__)
    assert asked == [0, 1]


def test_sessions_take_a_callable_too(postgres_server: PostgresServer, role: str) -> None:
    url = postgres_server.database_url("postgres", user=role)
    with godb_fast.connect(url, password=lambda: SECRET) as session:
        assert session.execute("SELECT current_user").fetchall() == [(role,)]
    with Optimizer().session(url, password=SECRET) as session:
        assert session.execute("SELECT current_user").fetchall() == [(role,)]
    with pytest.raises(InvalidInput, match="no password"):
        godb_fast.connect("duckdb://", password=SECRET)
    with psycopg.connect(postgres_server.url) as raw, pytest.raises(InvalidInput, match="open already"):
        godb_fast.connect(raw, password=SECRET)


def test_a_password_file_and_a_service(
    postgres_server: PostgresServer, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = urlsplit(postgres_server.url)
    passwords = tmp_path / "passwords"
    escaped = SECRET.replace("\\", "\\\\").replace(":", "\\:")
    passwords.write_text(f"*:*:*:{role}:{escaped}\n")
    passwords.chmod(0o600)
    services = tmp_path / "services"
    services.write_text(f"[shop]\nhost={parts.hostname}\nport={parts.port}\ndbname=postgres\nuser={role}\n")
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    with open_url("postgresql:///?service=shop") as engine:
        assert engine.run(Rendered("SELECT current_user")).rows == [(role,)]
    with pytest.raises(ConnectionFailed, match="other"):
        open_url("postgresql:///?service=other")


def test_what_is_no_connection_is_refused(postgres_url: str) -> None:
    with pytest.raises(InvalidInput, match="begins with postgresql://"):
        open_url("mysql://somewhere/x")
    with pytest.raises(InvalidInput, match="not a psycopg connection"):
        borrow(object())

    async def asynchronous() -> None:
        raw = await psycopg.AsyncConnection.connect(postgres_url)
        try:
            with pytest.raises(InvalidInput, match="AsyncConnection"):
                borrow(raw)
        finally:
            await raw.close()

    import asyncio

    asyncio.run(asynchronous())


def test_a_database_that_is_not_there(postgres_server: PostgresServer) -> None:
    with pytest.raises(ConnectionFailed, match="no_such_database"):
        open_url(postgres_server.database_url("no_such_database"))
