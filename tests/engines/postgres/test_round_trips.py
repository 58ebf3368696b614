"""What each call costs in round trips, counted by a proxy in front of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from postgres_proxy import Proxy, proxied

from godb_fast.core import Steering
from godb_fast.engines.base import Rendered
from godb_fast.engines.postgres import PostgresEngine, borrow, open_url
from godb_fast.errors import ConnectionFailed, EngineError

BEFORE = ("SET LOCAL enable_hashjoin = 'off'", "SET LOCAL work_mem = '8192kB'")
STEERED = Rendered(
    "SELECT current_setting('enable_hashjoin')",
    before=BEFORE,
    steering=Steering(settings=(("enable_hashjoin", "off"), ("work_mem", "8192kB"))),
)


@pytest.fixture
def line(postgres_url: str) -> Iterator[tuple[str, Proxy]]:
    with proxied(postgres_url + "?sslmode=disable") as found:
        yield found


def counted(proxy: Proxy, call: Callable[[], Any]) -> int:
    before = proxy.round_trips
    call()
    return proxy.round_trips - before


def test_a_steered_statement_takes_one_round_trip(line: tuple[str, Proxy]) -> None:
    url, proxy = line
    with psycopg.connect(url, autocommit=True) as raw:
        engine = borrow(raw)

        def steer(**options: Any) -> None:
            assert engine.run(STEERED, **options).rows == [("off",)]

        assert counted(proxy, lambda: engine.run(Rendered("SELECT 1"))) == 1
        assert counted(proxy, steer) == 1
        assert counted(proxy, lambda: steer(timeout_s=5.0, max_rows=100)) == 1
        assert counted(proxy, lambda: steer(profile=True)) == 1
        raw.execute("BEGIN")
        assert counted(proxy, steer) == 1
        assert counted(proxy, lambda: steer(timeout_s=5.0, max_rows=100, profile=True)) == 1
        raw.execute("ROLLBACK")
    with psycopg.connect(url) as raw:
        engine = borrow(raw)
        # BEGIN, which the driver owes, goes along.
        assert counted(proxy, lambda: engine.run(STEERED)) == 1


def test_an_error_takes_a_second_one_only_within_a_transaction(line: tuple[str, Proxy]) -> None:
    url, proxy = line
    failing = Rendered("SELECT 1 / 0", before=BEFORE, steering=STEERED.steering)
    with psycopg.connect(url, autocommit=True) as raw:
        engine = borrow(raw)

        def fail() -> None:
            with pytest.raises(EngineError, match="division"):
                engine.run(failing)

        assert counted(proxy, fail) == 1
        raw.execute("BEGIN")
        assert counted(proxy, fail) == 2


def test_looking_around(line: tuple[str, Proxy]) -> None:
    url, proxy = line
    with psycopg.connect(url, autocommit=True) as raw:
        engine = borrow(raw)
        engine.schema_epoch()
        assert counted(proxy, engine.environment) == 0
        assert counted(proxy, engine.in_transaction) == 0
        assert counted(proxy, engine.schema_epoch) == 1
        assert counted(proxy, lambda: engine.explain("SELECT 1")) == 1
        assert counted(proxy, lambda: engine.capabilities) == 0


def test_the_environment_follows_what_the_caller_sets(line: tuple[str, Proxy]) -> None:
    url, proxy = line
    with psycopg.connect(url, autocommit=True) as raw:
        engine = borrow(raw)
        engine.schema_epoch()
        seen = {engine.environment()}
        for statement in (
            "SET TimeZone = 'Asia/Tokyo'",
            "SET DateStyle = 'German'",
            "SET IntervalStyle = 'iso_8601'",
        ):
            raw.execute(statement)
            # Reported by the server unasked.
            assert counted(proxy, engine.environment) == 0
            assert engine.environment() not in seen, statement
            seen.add(engine.environment())
        for statement in (
            "SET search_path = pg_catalog",
            "SET extra_float_digits = 0",
            "SET bytea_output = 'escape'",
            "CREATE ROLE godb_somebody",
            "SET ROLE godb_somebody",
        ):
            raw.execute(statement)
            engine.schema_epoch()
            if not statement.startswith("CREATE"):
                assert engine.environment() not in seen, statement
            seen.add(engine.environment())
        raw.execute("RESET ROLE")
        raw.execute("DROP ROLE godb_somebody")


def test_the_line_is_cut_in_mid_query(line: tuple[str, Proxy]) -> None:
    import threading

    url, proxy = line
    with open_url(url) as engine:
        for place in (Rendered("SELECT pg_sleep(30)"), Rendered("SELECT pg_sleep(30)", before=BEFORE)):
            timer = threading.Timer(0.2, proxy.cut)
            timer.start()
            with pytest.raises(ConnectionFailed, match="lost"):
                engine.run(place, timeout_s=20.0)
            timer.join()
            assert engine.run(Rendered("SELECT 1")).rows == [(1,)]


def test_a_slow_line_changes_nothing_but_the_time(line: tuple[str, Proxy]) -> None:
    url, proxy = line
    with open_url(url) as engine:
        assert isinstance(engine, PostgresEngine)
        proxy.delay_s = 0.005
        result = engine.run(STEERED, profile=True)
        assert result.rows == [("off",)]
        # There and back.
        assert result.latency_ms >= 10.0
