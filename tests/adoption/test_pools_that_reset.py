"""Pools that reset a session between two users: DISCARD ALL forgets settings, tables and what is prepared.

On such pools psycopg itself must not prepare: it goes on using statements that the server has forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from postgres_server import PostgresServer
from skewed import QUERY, SETUP, VALUES, Eager, verify

from godb_fast.dbapi import wrap
from godb_fast.sqlalchemy import install, uninstall

sqlalchemy = pytest.importorskip("sqlalchemy")

NAMED = dict(zip(("kind", "state", "city"), VALUES, strict=True))
SENT = QUERY.format("%(kind)s", "%(state)s", "%(city)s")
TEXT = QUERY.format(":kind", ":state", ":city")
#: In another schema and in a temporary table the names mean other tables.
OTHER = (
    "CREATE SCHEMA other; CREATE TABLE other.vote AS SELECT * FROM public.vote WHERE post < 3000; "
    "CREATE TABLE other.post AS SELECT * FROM public.post; ANALYZE other.vote; ANALYZE other.post"
)
#: What a user of the pool does to his session, and whether the query then means other tables.
USERS: list[tuple[str, bool]] = [
    ("SELECT 1", False),
    ("SET search_path = other, public", True),
    ("SELECT 1", False),
    ("CREATE TEMPORARY TABLE vote AS SELECT * FROM other.vote", True),
    ("SET join_collapse_limit = 3", False),
    ("SET TimeZone = 'Asia/Tokyo'", False),
    ("SET default_transaction_isolation = 'serializable'", False),
    ("SET statement_timeout = '20s'", False),
    ("SELECT 1", False),
]


@pytest.fixture(scope="module")
def site(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.database() as url:
        with psycopg.connect(url, autocommit=True) as raw:
            raw.execute(SETUP)
            raw.execute(OTHER)
        yield url


@pytest.fixture(scope="module")
def answers(site: str) -> dict[bool, list[Any]]:
    """The rows of the bare driver, where names mean the one or the other tables."""
    with psycopg.connect(site, autocommit=True) as raw:
        usual = raw.execute(SENT, NAMED).fetchall()
        raw.execute("SET search_path = other, public")
        other = raw.execute(SENT, NAMED).fetchall()
    assert usual != other
    return {False: usual, True: other}


def world(raw: Any) -> Any:
    """What the next user finds."""
    return raw.execute(
        "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'godb_fast.%' ORDER BY 1", prepare=False
    ).fetchall(), raw.execute("SELECT name FROM pg_prepared_statements", prepare=False).fetchall()


def discard(raw: Any) -> None:
    """As a pool does it."""
    raw.rollback()
    before, raw.autocommit = raw.autocommit, True
    raw.execute("DISCARD ALL")
    raw.autocommit = before


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_wrapped_connection(site: str, answers: dict[bool, list[Any]], autocommit: bool) -> None:
    optimizer = Eager()
    with wrap(
        psycopg.connect(site, autocommit=autocommit, prepare_threshold=None), "steer", optimizer
    ) as connection:
        raw = connection.driver_connection
        discard(raw)
        fresh = world(raw)
        for preparation, other in USERS:
            connection.execute(preparation)
            connection.commit()
            for _ in range(3):
                assert connection.execute(SENT, NAMED).fetchall() == answers[other], preparation
            discard(connection)
            assert world(raw) == fresh, preparation
            raw.rollback()
    assert optimizer.counters["steered"] >= len(USERS)
    assert "internal_errors" not in optimizer.counters


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "AUTOCOMMIT"])
def test_an_engine_of_sqlalchemy(site: str, answers: dict[bool, list[Any]], isolation: str) -> None:
    optimizer = Eager()
    verify(optimizer, site, SENT, NAMED)
    engine = sqlalchemy.create_engine(
        site.replace("postgresql://", "postgresql+psycopg://"), isolation_level=isolation,
        pool_size=1, max_overflow=0, pool_reset_on_return=None,
        connect_args={"prepare_threshold": None},
    )  # fmt: skip

    @sqlalchemy.event.listens_for(engine, "reset")
    def reset(connection: Any, _record: Any, state: Any) -> None:
        if not state.terminate_only:
            discard(connection)

    install(engine, "steer", optimizer)
    earlier = Counter(optimizer.counters)
    seen = set()
    for preparation, other in USERS:
        with engine.connect() as connection:
            connection.exec_driver_sql(preparation)
            connection.commit()
            raw = connection.connection.driver_connection
            seen.add(id(raw))
            for _ in range(3):
                assert connection.execute(sqlalchemy.text(TEXT), NAMED).all() == answers[other], preparation
    assert len(seen) == 1
    assert (Counter(optimizer.counters) - earlier)["steered"] >= 6
    assert "internal_errors" not in optimizer.counters
    uninstall(engine)
    engine.dispose()
