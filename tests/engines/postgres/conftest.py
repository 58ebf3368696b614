"""A connection to a fresh database, as the modules that only read see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
from postgres_server import PostgresServer
from postgres_standby import Pair, copied

Ask = Callable[..., list[tuple[Any, ...]]]


def _asking(connection: Any) -> Ask:
    def ask(sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        ask.asked += 1  # type: ignore[attr-defined]
        return list(connection.execute(sql, params or None).fetchall())

    ask.asked = 0  # type: ignore[attr-defined]
    return ask


@pytest.fixture
def asking() -> Callable[[Any], Ask]:
    """Makes what runs the modules' own statements on a connection; ``ask.asked`` counts them."""
    return _asking


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Any]:
    """An autocommitting connection as a superuser."""
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def ask(connection: Any) -> Ask:
    """Runs statements on it."""
    return _asking(connection)


@pytest.fixture
def second(postgres_url: str) -> Iterator[Any]:
    """Somebody else's connection to the same database."""
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def ordinary(postgres_server: PostgresServer, postgres_url: str, connection: Any) -> Iterator[Any]:
    """A connection of a role without any privilege but to connect."""
    import psycopg

    name = "godb_ordinary_" + postgres_url.rsplit("_", 1)[1]
    connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    database = postgres_url.rsplit("/", 1)[1]
    try:
        with psycopg.connect(
            postgres_server.database_url(database, user=name, password="x"), autocommit=True
        ) as opened:
            yield opened
    finally:
        connection.execute(f"DROP OWNED BY {name} CASCADE")
        connection.execute(f"DROP ROLE {name}")


@pytest.fixture(scope="module")
def standby(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that follows the test server."""
    with copied(postgres_server) as server:
        yield server


@pytest.fixture(scope="module")
def pair(postgres_server: PostgresServer, standby: PostgresServer) -> Iterator[Pair]:
    """A database with some tables on both."""
    import psycopg

    with postgres_server.database() as url, psycopg.connect(url, autocommit=True) as raw:
        made = Pair(raw, url, standby.database_url(urlsplit(url).path[1:]))
        made.write(
            "CREATE TABLE item AS SELECT i AS id, i % 7 AS kind FROM generate_series(1, 5000) AS g(i);"
            "CREATE TABLE part AS SELECT i AS id, 1 + i % 5000 AS item FROM generate_series(1, 20000) AS g(i);"
            "CREATE VIEW few AS SELECT * FROM item WHERE kind = 1; ANALYZE"
        )
        yield made
