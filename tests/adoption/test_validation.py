"""A steered statement validates the schema it rests on in its own round trip, and never gives wrong rows."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from postgres_proxy import proxied
from postgres_server import PostgresServer
from skewed import SETUP, Eager

from godb_fast.core import Decision
from godb_fast.dbapi import wrap
from godb_fast.errors import QueryTimeout
from godb_fast.session import Session
from godb_fast.sql import fingerprint

VIEW = "CREATE OR REPLACE VIEW busy AS SELECT id, account FROM post WHERE state = '{}'"
JOINED = "FROM account a, busy p, vote v WHERE p.account = a.id AND v.post = p.id AND v.kind IN (2, 4) AND a.city < 2"
QUERY = f"SELECT * {JOINED}"


@pytest.fixture
def site(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.database() as url:
        with psycopg.connect(url, autocommit=True) as raw:
            raw.execute(f"{SETUP}; {VIEW.format('open')}; CREATE SCHEMA other; CREATE TABLE noise (x int)")
        yield url


class Caller:
    """An application at a connection, steered, behind a proxy that counts."""

    def __init__(self, stack: ExitStack, way: str, url: str, autocommit: bool) -> None:
        through, self.proxy = stack.enter_context(proxied(url + "?sslmode=disable"))
        self.optimizer = Eager()
        # The driver's own prepared statements do not survive a change of the schema.
        self.raw = stack.enter_context(
            psycopg.connect(through, autocommit=autocommit, prepare_threshold=None)
        )
        if way == "session":
            session = stack.enter_context(self.optimizer.session(self.raw, mode="steer"))
            self.session: Session = session
            self._run: Callable[[str], Any] = lambda sql: session.execute(sql).fetchall()
        else:
            connection = wrap(self.raw, "steer", self.optimizer)
            self._run = lambda sql: connection.execute(sql).fetchall()

    def run(self, sql: str = QUERY) -> tuple[list[Any], str, int]:
        """Sorted rows, how they came about, and the round trips that it took."""
        before, trips = Counter(self.optimizer.counters), self.proxy.round_trips
        rows = self._run(sql)
        trips = self.proxy.round_trips - trips
        what = Counter(self.optimizer.counters) - before
        ways = [name for name in ("steered", "outdated") if what[name]]
        assert not what["quarantined"], "nothing is held against a steering for a change of the schema"
        return sorted(rows, key=repr), "+".join(ways), trips

    def warm(self, sql: str = QUERY) -> None:
        """Steer until nothing is new any more.

        What somebody else commits on the server in the meantime is another round trip, once.
        """
        seen = [self.run(sql)[1:] for _ in range(5)]
        while seen[-1] != ("steered", 1):
            assert len(seen) < 20, seen
            seen.append(self.run(sql)[1:])


@pytest.fixture(params=["session", "dbapi"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["autocommit", "transaction"])
def caller(request: pytest.FixtureRequest, way: str, site: str) -> Iterator[Caller]:
    with ExitStack() as stack:
        made = Caller(stack, way, site, request.param)
        made.warm()
        yield made


def plain(caller: Caller, sql: str = QUERY) -> list[Any]:
    """Rows of the statement as the server gives them on this connection."""
    return sorted(psycopg.Cursor(caller.raw).execute(sql).fetchall(), key=repr)


def test_somebody_changes_the_schema(caller: Caller, site: str) -> None:
    with psycopg.connect(site, autocommit=True) as other:
        for change in (
            VIEW.format("k7"),
            "CREATE OR REPLACE VIEW busy AS SELECT id, account, state FROM post",
            "DROP VIEW busy; CREATE TABLE busy AS SELECT 1 AS more, * FROM post WHERE state = 'k9'",
        ):
            caller.raw.commit()
            caller.warm()
            caller.raw.commit()
            other.execute(change)
            rows, how, _ = caller.run()
            assert how == "outdated"
            assert rows
            assert rows == plain(caller)
            caller.raw.commit()
        # Looking at it once more, they agree again.
        caller.warm()


def test_the_caller_changes_what_names_mean(caller: Caller) -> None:
    for change in (
        "CREATE TEMPORARY TABLE busy AS SELECT id, account FROM post WHERE state = 'k7'",
        "DROP TABLE pg_temp.busy",
        "CREATE TABLE other.vote AS SELECT * FROM vote WHERE id % 7 = 0",
        "SET search_path = other, public",
        "ALTER TABLE account ADD COLUMN extra text DEFAULT 'x'",
        "SET extra_float_digits = 0",
    ):
        caller.raw.execute(change)
        rows, _, _ = caller.run()
        assert rows == plain(caller), change
    assert caller.optimizer.counters["outdated"] >= 3


def test_what_the_caller_rolls_back(caller: Caller) -> None:
    before = plain(caller)
    caller.raw.commit()
    caller.raw.execute("BEGIN" if caller.raw.autocommit else "SELECT 1")
    caller.raw.execute("ALTER TABLE account ADD COLUMN extra text DEFAULT 'x'")
    for _ in range(3):
        assert caller.run()[0] == plain(caller)
    caller.raw.rollback()
    for _ in range(3):
        assert caller.run()[0] == before
    assert caller.run()[1] == "steered"


def test_a_change_for_which_the_statement_waits(caller: Caller, site: str) -> None:
    """It is sent under one schema and parsed under another."""
    caller.raw.commit()
    with psycopg.connect(site) as other:
        other.execute(VIEW.format("k7"))
        done: list[Any] = []
        thread = threading.Thread(target=lambda: done.append(caller.run()))
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        with psycopg.connect(site, autocommit=True) as third:
            while third.execute(waiting).fetchone() == (0,):
                thread.join(0.01)
        other.commit()
        thread.join()
    rows, how, _ = done[0]
    assert how == "outdated"
    assert rows == plain(caller)


def test_round_trips(way: str, site: str) -> None:
    other = JOINED.replace("kind = 2", "kind = 3")
    with ExitStack() as stack:
        caller = Caller(stack, way, site, True)
        caller.warm()
        # Other literals of the same template, once the server was asked for its plan there.
        caller.run(f"SELECT * {other}")
        assert caller.run(f"SELECT * {other}")[1:] == ("steered", 1)
        # Where others commit all the time, what is asked for along with the statement is more.
        with psycopg.connect(site, autocommit=True) as busy:
            seen = []
            for number in range(6):
                busy.execute("INSERT INTO noise VALUES (%s)", (number,))
                seen.append(caller.run()[1:])
            assert seen[1:] == [("steered", 1)] * 5
        # What nothing is gained for does not pay for asking, within a second.
        simple = "SELECT count(*) FROM account"
        caller.run(simple)
        assert caller.run(simple)[1:] == ("", 1)


def test_serializable_takes_another_look(way: str, site: str) -> None:
    with ExitStack() as stack:
        caller = Caller(stack, way, site, True)
        caller.raw.execute("SET default_transaction_isolation = 'serializable'")
        for _ in range(4):
            caller.run()
        assert caller.run()[1:] == ("steered", 2)
        with psycopg.connect(site, autocommit=True) as other:
            other.execute(VIEW.format("k7"))
        assert caller.run()[:2] == (plain(caller), "outdated")


@pytest.mark.parametrize("gain_ms", [1.0, 400.0])
def test_what_costs_more_than_it_gains_is_left_aside(site: str, gain_ms: float) -> None:
    with ExitStack() as stack:
        caller = Caller(stack, "session", site, True)

        def decided() -> Decision:
            # Whatever the machine's bursts made of the runs before, and of which template of several epochs.
            for known in caller.optimizer.known_templates(fingerprint(QUERY, "postgres")):
                for (bucket, _), (_, best) in known.steered_ms.items():
                    known.baseline_ms[bucket] = best + gain_ms
            decision = caller.session.execute(QUERY).decision
            assert decision is not None
            return decision

        # Here each steered statement takes another round trip, and that becomes slow.
        caller.raw.execute("SET default_transaction_isolation = 'serializable'")
        for _ in range(5):
            caller.run()
        # Far above what the runs of a busy machine differ by.
        caller.proxy.delay_s = 0.02
        decisions = [decided() for _ in range(40)]
        # The average takes the slow round trip up by a fifth of it.
        assert caller.session.cost.round_trip_ms > 3.0
        aside = [each for each in decisions if not each.steering]
        if gain_ms > 100.0:
            assert not aside
        else:
            # Not each time from then on: what is known of further round trips fades.
            assert aside
            for each in aside:
                assert "below what steering costs" in each.reason
                assert each.sql == QUERY
        assert ("not_worth_it" in caller.optimizer.counters) == (gain_ms < 100.0)


@pytest.mark.parametrize("whose", ["caller", "server"])
def test_another_limit_than_the_allowance_says_nothing_of_a_plan(site: str, whose: str) -> None:
    sql = (
        "SELECT count(*) AS n FROM account a, post p, vote v "
        "WHERE p.account = a.id AND v.post <> p.id AND v.id < 400 AND a.city < 40"
    )
    optimizer = Eager()
    with optimizer.session(site, mode="steer") as session:
        first = [session.execute(sql) for _ in range(4)]
        assert first[-1].observation.steered
        rows = first[-1].fetchall()
        if whose == "server":
            session.execute("SET statement_timeout = '5ms'")
        with pytest.raises(QueryTimeout):
            session.execute(sql, timeout_s=0.005 if whose == "caller" else None)
        session.execute("SET statement_timeout = 0")
        again = session.execute(sql)
        assert again.fetchall() == rows
        assert again.observation.steered
    assert "quarantined" not in optimizer.counters
