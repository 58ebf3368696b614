"""A server with PostgreSQL's contrib modules, which logs everything in all formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from postgres_contrib import SETTINGS, LoggingServer, contrib_programs, fill
from postgres_server import NoServer, started


@pytest.fixture(scope="session")
def logging_server() -> Iterator[LoggingServer]:
    """The server; tests that need it are skipped where there are no contrib modules."""
    try:
        running = started(contrib_programs(), SETTINGS)
        server = running.__enter__()
    except NoServer as reason:
        pytest.skip(str(reason))
    try:
        yield LoggingServer(server)
    finally:
        running.__exit__(None, None, None)


@pytest.fixture
def listed_url(logging_server: LoggingServer) -> Iterator[str]:
    """A fresh database on it with the extension and a small shop."""
    import psycopg

    with logging_server.server.database("workload") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
            fill(connection)
            connection.execute("SELECT pg_stat_statements_reset()")
        yield url


@pytest.fixture
def session_of() -> Iterator[Callable[[str], Any]]:
    """Opens psycopg connections that are closed afterwards."""
    import psycopg

    opened: list[Any] = []

    def connect(url: str) -> Any:
        opened.append(psycopg.connect(url, autocommit=True))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()
