"""Texts of several statements: result, error and what is left done are those of the driver itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import godb_fast
from godb_fast.dbapi import connect, wrap
from godb_fast.engines.base import CancelToken, Rendered
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.errors import EngineError, QueryTimeout

SETUP = "CREATE TABLE log (m INTEGER)"
TEXTS = [
    "SELECT 42 AS z; INSERT INTO log VALUES (1)",
    "INSERT INTO log VALUES (1); SELECT 42 AS z",
    "SELECT 42 AS z; UPDATE log SET m = 2",
    "SELECT 42 AS z; CREATE TABLE IF NOT EXISTS n (i INTEGER)",
    "SELECT 42 AS z; SET threads = 1",
    "SELECT 42 AS z; PRAGMA threads = 1",
    "PRAGMA threads = 1; SELECT 42 AS z",
    "SELECT 42 AS z; PRAGMA table_info('log')",
    "SELECT 1 AS a; SELECT 2 AS b",
    "SELECT 1 AS a; SELECT 2 AS b; SET threads = 1",
    "SELECT 1 AS a; SELECT 2 AS b WHERE false",
    "SELECT [1] AS a; INSERT INTO log VALUES (1)",
    "SELECT 1 AS a; ; -- nothing more",
    "INSERT INTO log VALUES (1), (2); UPDATE log SET m = 2",
    "INSERT INTO log VALUES (1), (2); CREATE TABLE n (i INTEGER)",
    "CREATE TABLE n (i INTEGER); INSERT INTO n VALUES (1), (2)",
    "INSERT INTO log VALUES (1) RETURNING m; SET threads = 1",
    "SELECT 42 AS z; INSERT INTO log VALUES (1) RETURNING m",
    "SET threads = 1; SET threads = 1",
    "BEGIN; INSERT INTO log VALUES (1); SELECT 42 AS z; COMMIT",
    "BEGIN; INSERT INTO log VALUES (1); SELECT 42 AS z; ROLLBACK",
    "SELECT 42 AS z; BEGIN; INSERT INTO log VALUES (1)",
    "PREPARE p AS SELECT 7 AS s; EXECUTE p; DEALLOCATE p",
    "SELECT 1 AS a; VACUUM; CHECKPOINT",
    "INSERT INTO log VALUES (1); SELECT error('no'); INSERT INTO log VALUES (2)",
    "INSERT INTO log VALUES (1); SELECT * FROM missing; INSERT INTO log VALUES (2)",
    "INSERT INTO log VALUES (1); SELEC 2; INSERT INTO log VALUES (2)",
    "BEGIN; INSERT INTO log VALUES (1); SELEC 2",
    "SELEC 2",
]
BOUND = [
    ("INSERT INTO log VALUES (1); SELECT ? AS z", [5]),
    ("SELECT ? AS z; INSERT INTO log VALUES (1)", [5]),
    ("SELECT 42 AS z; INSERT INTO log VALUES ($m)", {"m": 3}),
    ("SELECT $m AS z; INSERT INTO log VALUES ($m)", {"m": 3}),
    ("SELECT 1 AS a; SELECT 2 AS b", []),
]
#: What a text has left: rows, tables, whether a transaction is open (a second BEGIN then fails), a setting.
LEFT = (
    "SELECT count(*), sum(m) FROM log",
    "SELECT count(*) FROM information_schema.tables",
    "SELECT current_setting('threads')",
    "BEGIN",
)
Asked = Callable[..., tuple[Any, ...]]


def _of_driver(connection: Any) -> Asked:
    def ask(sql: str, params: Any = None) -> tuple[Any, ...]:
        try:
            arguments = (sql,) if params is None else (sql, params)
            connection.execute(*arguments)
            columns = tuple((entry[0], str(entry[1])) for entry in connection.description or ())
            return columns, connection.fetchall()
        except duckdb.Error as error:
            return ("error", str(error).strip())

    return ask


def _of_session(session: godb_fast.Session) -> Asked:
    def ask(sql: str, params: Any = None) -> tuple[Any, ...]:
        try:
            result = session.execute(sql, params)
        except EngineError as error:
            return ("error", str(error))
        return tuple(zip(result.columns, result.types, strict=True)), result.fetchall()

    return ask


@pytest.fixture(params=["off", "steer", "borrowed", "opened", "wrapped"])
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asked]:
    path = str(tmp_path / "ours.duckdb")
    if request.param == "opened":
        with connect(path, "steer") as made:
            yield _of_driver(made)
    elif request.param == "wrapped":
        with wrap(duckdb.connect(path), "steer") as made:
            yield _of_driver(made)
    elif request.param == "borrowed":
        with duckdb.connect(path) as raw, godb_fast.connect(raw, mode="steer") as session:
            yield _of_session(session)
    else:
        with godb_fast.connect(path, mode=request.param) as session:
            yield _of_session(session)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Asked]:
    with duckdb.connect(str(tmp_path / "bare.duckdb")) as raw:
        yield _of_driver(raw)


@pytest.mark.parametrize(("sql", "params"), [*((sql, None) for sql in TEXTS), *BOUND])
def test_as_the_driver_alone(ours: Asked, bare: Asked, sql: str, params: Any) -> None:
    ours(SETUP)
    bare(SETUP)
    assert ours(sql, params) == bare(sql, params)
    for left in LEFT:
        assert ours(left) == bare(left)


@pytest.mark.parametrize("fetch", ["rows", "arrow", "df"])
def test_each_form_of_the_result(fetch: str) -> None:
    sql = "SELECT 42 AS z; INSERT INTO log VALUES (1)"
    with duckdb.connect() as bare:
        bare.execute(SETUP)
        expected = bare.execute(sql).description[0][0]
    engine = DuckDBEngine.open()
    try:
        engine.run(Rendered(SETUP))
        result = engine.run(Rendered(sql), fetch=fetch)
        assert result.columns == (expected,)
        if fetch != "rows":
            named = result.native.column_names if fetch == "arrow" else list(result.native.columns)
            assert named == [expected]
        assert list(engine.run(Rendered("FROM log")).rows) == [(1,)]
    finally:
        engine.close()


@pytest.mark.parametrize("how", ["limit", "cancel"])
def test_a_text_is_stopped_in_the_midst(how: str) -> None:
    endless = (
        "SELECT count(*) FROM range(1000000000) a(i), range(1000000000) b(i) WHERE a.i * 7 + b.i * 3 % 5 = -1"
    )
    engine = DuckDBEngine.open()
    try:
        engine.run(Rendered(SETUP))
        text = f"INSERT INTO log VALUES (1); {endless}; INSERT INTO log VALUES (2)"
        if how == "limit":
            with pytest.raises(QueryTimeout):
                engine.run(Rendered(text), timeout_s=0.3)
        else:
            token = CancelToken()
            timer = threading.Timer(0.3, token.cancel)
            timer.start()
            with pytest.raises(EngineError, match="cancelled"):
                engine.run(Rendered(text), cancel=token)
            timer.join()
        assert list(engine.run(Rendered("FROM log")).rows) == [(1,)]
    finally:
        engine.close()


def test_a_single_statement_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = DuckDBEngine.open()
    try:
        given = []
        execute = engine._connection.execute
        monkeypatch.setattr(
            engine._connection,
            "execute",
            lambda what, params=None: given.append(what) or execute(what, params),
        )
        engine.run(Rendered("SELECT 1"))
        engine.run(Rendered("SELECT 1; SELECT 2"))
        assert [isinstance(each, str) for each in given] == [False, True]
    finally:
        engine.close()
