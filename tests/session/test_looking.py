"""How often a borrowed DuckDB connection is asked whether anything has changed, and what is seen in between."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress

import duckdb
import pytest

from godb_fast import steered
from godb_fast.engines.registry import open_engine
from godb_fast.errors import EngineError
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.store import SqliteStore

SQL = "SELECT count(*) FROM a WHERE n < 7"


class Counted:
    """A session on a caller's connection, with the questions that were asked of it beside the statements."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, store: SqliteStore, mode: str) -> None:
        self.caller, self.store = connection, store
        engine = open_engine(connection)
        self.session = Session(Optimizer(policy=Policy(background=False), store=store), engine, mode=mode)
        self.asked: list[str] = []
        ask = engine._connection.query

        def query(sql: str, *more: object) -> object:
            self.asked.append(sql)
            return ask(sql, *more)

        engine._connection.query = query

    def questions(self, sql: str = SQL) -> int:
        before = len(self.asked)
        self.session.execute(sql)
        return len(self.asked) - before

    def databases(self) -> list[str]:
        assert self.store.flush()
        with sqlite3.connect(self.store.path) as kept:
            rows = kept.execute("SELECT database FROM observations ORDER BY at").fetchall()
        return [row[0].split(" ")[1] for row in rows]


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute("CREATE TABLE a AS SELECT i AS n FROM range(20) r(i)")
        yield made


@pytest.fixture(params=["steer", "advise", "observe"])
def counted(request, connection, tmp_path, monkeypatch) -> Iterator[Counted]:
    # However slow the machine is, the tests below happen within one such time.
    monkeypatch.setattr(steered, "LOOK_AGAIN_S", 3600.0)
    store = SqliteStore(tmp_path / "store.sqlite")
    made = Counted(connection, store, request.param)
    # Knows the statement, and has a time of the engine's own plan.
    made.session.execute(SQL)
    made.session.execute(SQL)
    yield made
    made.session.close()
    store.close()


def test_what_is_left_alone_asks_nothing(counted):
    assert counted.questions() == 0
    assert counted.questions(SQL.replace("7", "9")) == 0 or counted.session.mode != "observe"
    assert counted.questions(SQL.replace("7", "9")) == 0


def test_it_is_asked_again_after_a_while(counted, monkeypatch):
    assert counted.questions() == 0
    monkeypatch.setattr(steered, "LOOK_AGAIN_S", 0.0)
    assert counted.questions() > 0


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE b (n INT)", "SET TimeZone = 'UTC'", "BEGIN", "SELECT 1; SELECT 2"]
)
def test_statements_that_may_change_something_are_followed_by_questions(counted, statement):
    before = len(counted.asked)
    with suppress(EngineError):  # several at once may be refused
        counted.session.execute(statement)
    counted.session.execute(SQL)
    assert len(counted.asked) > before


def test_runs_after_use_belong_to_the_other_database(counted):
    counted.session.execute("ATTACH ':memory:' AS other")
    counted.session.execute("CREATE TABLE other.a AS SELECT 1 AS n")
    counted.session.execute(SQL)
    counted.session.execute("USE other")
    counted.session.execute(SQL)
    found = counted.databases()
    assert found[-1] == "other.main"
    assert found[-3] == "memory.main"


def test_what_the_caller_changes_meanwhile_gives_right_rows(counted):
    counted.caller.execute("DROP TABLE a")
    counted.caller.execute("CREATE TABLE a AS SELECT 'x' AS m, i % 3 AS n FROM range(50) r(i)")
    assert counted.session.execute(SQL).fetchall() == counted.caller.execute(SQL).fetchall() == [(50,)]


def test_slow_statements_are_looked_at_each_time(connection, tmp_path):
    store = SqliteStore(tmp_path / "store.sqlite")
    optimizer = Optimizer(policy=Policy(background=False, learn_from_ms=0.0), store=store)
    made = Counted(connection, store, "steer")
    made.session.optimizer = optimizer
    for _ in range(3):
        made.session.execute(SQL)
    assert made.questions() > 0
    made.session.close()
    store.close()
