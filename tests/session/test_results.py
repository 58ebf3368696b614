"""Results as rows, arrow tables and data frames; arguments; a closed session; variables as tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

import godb_fast
from godb_fast.engines.base import Capabilities, EngineResult
from godb_fast.engines.duckdb import results as columnar
from godb_fast.engines.tabular import to_arrow
from godb_fast.errors import GodbError, InvalidInput, QueryTimeout, ResultTooLarge, SessionClosed
from godb_fast.optimizer import Policy
from godb_fast.session import Session

pyarrow = pytest.importorskip("pyarrow")
pandas = pytest.importorskip("pandas")

VALUES = [
    "1::TINYINT", "7::HUGEINT", "sum(1)", "1.5::DECIMAL(9,3)", "1.5::DECIMAL(38,3)", "1.5::FLOAT", "true", "'é'",
    "'\\xAA'::BLOB", "'12345678-1234-1234-1234-123456789012'::UUID", "DATE '2020-02-29'", "TIME '10:00:00.123'",
    "TIMESTAMP '2020-01-01 10:00:00.123456'", "TIMESTAMP_S '2020-01-01'", "TIMESTAMP_MS '2020-01-01'",
    "TIMESTAMP_NS '2020-01-01 00:00:00.123456789'", "INTERVAL '1 month 3 days 4 us'", "'a'::ENUM('a', 'b''c')",
    "'y'::mood", "MAP{'a': 1}", "MAP{'a': 'x', 'b': NULL}", "{'a b': 1, 'y': [1, NULL, 3]}", "[1, 2]::INTEGER[2]",
    "[{'k': DATE '2020-01-01'}]", "{'h': 1::HUGEINT, 'u': '12345678-1234-1234-1234-123456789012'::UUID}",
    "union_value(k := 1)", "NULL", "'{\"a\": 1}'::JSON", "3::UHUGEINT",
]  # fmt: skip


@pytest.fixture
def session() -> Iterator[Session]:
    with godb_fast.connect("duckdb://") as opened:
        opened.execute("CREATE TYPE mood AS ENUM ('x', 'y')")
        yield opened


@pytest.fixture
def stock() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TYPE mood AS ENUM ('x', 'y')")
        yield connection


def arrow_of(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    from godb_fast.engines.duckdb.quirks import arrow_table

    connection.execute(sql)
    return arrow_table(connection)


class TestTypes:
    @pytest.mark.parametrize("fetch", ["rows", "arrow"])
    @pytest.mark.parametrize("value", VALUES)
    def test_rows_and_arrow_are_the_engines_own(
        self, session: Session, stock: duckdb.DuckDBPyConnection, value: str, fetch: str
    ) -> None:
        for rows in ("", " WHERE false", " FROM range(3) r(i)"):
            sql = f'SELECT {value} AS v, 1 AS "n 1"{rows}'
            result = session.execute(sql, fetch=fetch)
            expected = arrow_of(stock, sql)
            assert result.arrow().equals(expected), (result.arrow().schema, expected.schema)
            assert len(result) == expected.num_rows
            assert repr(result.fetchall()) == repr(stock.execute(sql).fetchall())
            assert result.columns == ("v", "n 1")

    @pytest.mark.parametrize("fetch", ["rows", "arrow"])
    @pytest.mark.parametrize("value", [value for value in VALUES if "UHUGEINT" not in value])
    def test_data_frames_are_the_engines_own(
        self, session: Session, stock: duckdb.DuckDBPyConnection, value: str, fetch: str
    ) -> None:
        for rows in ("", " WHERE false"):
            sql = f"SELECT {value} AS v, 1 AS n{rows}"
            expected = stock.execute(sql).df()
            frame = session.execute(sql, fetch=fetch).fetchdf()
            pandas.testing.assert_frame_equal(frame, expected)

    def test_zones(self, session: Session, stock: duckdb.DuckDBPyConnection) -> None:
        sql = "SELECT TIMESTAMPTZ '2020-07-01 00:00:00+00' AS t, [TIMESTAMPTZ '2020-07-01 00:00:00+00'] AS l"
        for zone in ("Europe/Rome", "Asia/Tokyo"):
            for execute in (session.execute, stock.execute):
                execute(f"SET TimeZone = '{zone}'")
            result = session.execute(sql)
            assert str(result.arrow().schema.field("t").type) == f"timestamp[us, tz={zone}]"
            assert result.arrow().equals(arrow_of(stock, sql))
            assert str(result.fetchdf()["t"].dtype).endswith(f"{zone}]")
            try:
                expected = stock.execute(sql).fetchall()
            except duckdb.Error:
                # DuckDB itself needs pytz for these rows.
                with pytest.raises(GodbError, match="pytz"):
                    result.fetchall()
            else:
                assert result.fetchall() == expected

    def test_names_may_repeat(self, session: Session) -> None:
        result = session.execute("SELECT 1 AS a, [2] AS a")
        assert result.arrow().column_names == ["a", "a"]
        assert list(result.fetchdf().columns) == ["a", "a"]
        assert result.fetchall() == [(1, [2])]

    @pytest.mark.parametrize("value", ["'101'::BIT", "['101'::BIT]", "'10:00:00+02'::TIMETZ"])
    def test_what_one_form_cannot_say_is_refused_there(
        self, session: Session, stock: duckdb.DuckDBPyConnection, value: str
    ) -> None:
        sql = f"SELECT {value} AS v"
        rows, arrow = session.execute(sql), session.execute(sql, fetch="arrow")
        assert rows.fetchall() == stock.execute(sql).fetchall()
        with pytest.raises(InvalidInput, match="fetch='arrow'"):
            rows.arrow()
        assert arrow.arrow().equals(arrow_of(stock, sql))
        with pytest.raises(InvalidInput, match="without fetch='arrow'"):
            arrow.fetchall()

    def test_a_number_that_arrow_cannot_hold(self, session: Session) -> None:
        result = session.execute("SELECT 170141183460469231731687303715884105727::HUGEINT AS v")
        assert result.fetchall() == [(170141183460469231731687303715884105727,)]
        with pytest.raises(InvalidInput, match="column 'v' of type HUGEINT"):
            result.arrow()
        assert result.fetchdf()["v"][0] == 170141183460469231731687303715884105727

    def test_of_an_engine_without_types_of_its_own(self) -> None:
        result = EngineResult(("a", "b"), ("x", "y"), [(1, {"k": 1}), (2, [1])], 0.0)
        with pytest.raises(InvalidInput, match="column 'b' of type y"):
            to_arrow(result)
        assert Capabilities(False, False, False, False).fetch == ("rows",)


class TestColumnarRows:
    def test_rows_are_made_a_block_at_a_time(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(columnar, "BLOCK_ROWS", 1000)
        made: list[int] = []
        convert = columnar._rows
        monkeypatch.setattr(
            columnar, "_rows", lambda table, types: made.append(table.num_rows) or convert(table, types)
        )
        result = session.execute("SELECT i, i * 2 AS d FROM range(2500) r(i)", fetch="arrow")
        assert made == []
        assert [result.fetchone() for _ in range(3)] == [(0, 0), (1, 2), (2, 4)]
        assert made == [1000]
        assert len(list(result)) == 2497
        assert made == [1000, 1000, 500]
        assert result.fetchall() == []
        rows = session.engine.run(godb_fast.session.Rendered("SELECT [i] AS l FROM range(2500) r(i)")).rows
        assert rows == [([i],) for i in range(2500)]
        assert rows[-1] == ([2499],)
        assert rows[10:1500:700] == [([10],), ([710],), ([1410],)]
        assert rows != [(1,)]
        with pytest.raises(IndexError):
            rows[2500]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
    def test_a_forked_child_makes_rows_on_its_own(self, session: Session) -> None:
        result = session.execute("SELECT [i] AS l FROM range(3) r(i)")
        assert result.fetchone() == ([0],)
        child = os.fork()
        if child == 0:
            os._exit(0 if result.fetchall() == [([1],), ([2],)] else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert result.fetchall() == [([1],), ([2],)]

    def test_results_outlive_their_session(self, session: Session) -> None:
        result = session.execute("SELECT [1] AS l", fetch="arrow")
        session.close()
        assert result.fetchall() == [([1],)]

    def test_a_steered_result_in_arrow_form_is_bounded_too(self, session: Session) -> None:
        rendered = godb_fast.session.Rendered("SELECT [i] AS l FROM range(100000) r(i)")
        for fetch in ("rows", "arrow"):
            with pytest.raises(ResultTooLarge, match="more than 70000 rows"):
                session.engine.run(rendered, fetch=fetch, max_rows=70_000)
            assert len(session.engine.run(rendered, fetch=fetch, max_rows=100_000).rows) == 100_000
            slow = "SELECT [a.i * b.i] AS l FROM range(1000000) a(i), range(1000000) b(i) WHERE a.i * b.i % 1009 = -1"
            with pytest.raises(QueryTimeout):
                session.engine.run(godb_fast.session.Rendered(slow), fetch=fetch, max_rows=100, timeout_s=0.1)

    def test_steered_results_come_in_arrow_form(self) -> None:
        with godb_fast.connect("duckdb://", mode="steer", policy=Policy(margin=1.0)) as session:
            session.execute("CREATE TABLE a AS SELECT i AS id, i % 10 AS k FROM range(1000) r(i)")
            sql = "SELECT x.id FROM a x, a y, a z WHERE x.id = y.id AND y.k = z.k AND z.id < 3"
            for _ in range(3):
                result = session.execute(sql, fetch="arrow")
                assert result.arrow().num_rows == 300
                assert sorted(result.fetchall()) == sorted(session.execute(sql, mode="off").fetchall())


class TestArguments:
    @pytest.mark.parametrize("timeout_s", ["a", b"1", True, [1], 0, -1.0, float("nan")])
    def test_timeouts(self, session: Session, timeout_s: Any) -> None:
        with pytest.raises(InvalidInput, match="timeout_s is"):
            session.execute("SELECT 1", timeout_s=timeout_s)
        with pytest.raises(InvalidInput, match="timeout_s is"):
            godb_fast.connect("duckdb://", timeout_s=timeout_s)

    @pytest.mark.parametrize("params", [5, 1.5, "abc", b"x", object(), {1, 2}])
    def test_parameters(self, session: Session, params: Any, caplog: pytest.LogCaptureFixture) -> None:
        for call in (session.execute, session.optimize):
            with pytest.raises(InvalidInput, match="params is"):
                call("SELECT ?", params)
        assert not caplog.records

    def test_good_parameters(self, session: Session) -> None:
        assert session.execute("SELECT ?", (5,)).fetchall() == [(5,)]
        assert session.execute("SELECT $a", {"a": 5}).fetchall() == [(5,)]
        assert session.execute("SELECT ? + ?", (2, 3)).fetchall() == [(5,)]

    def test_unknown_form(self, session: Session) -> None:
        with pytest.raises(InvalidInput, match="fetch is 'df'; it is rows or arrow"):
            session.execute("SELECT 1", fetch="df")


class TestClosed:
    def test_a_closed_session_says_so(self) -> None:
        session = godb_fast.connect("duckdb://")
        session.optimize("SELECT 1")
        session.close()
        session.close()
        for call in (session.execute, session.optimize, session.run_default, session.run_steered):
            with pytest.raises(SessionClosed, match="this session is closed"):
                call("SELECT 1")

    def test_also_on_a_borrowed_connection_which_stays_open(self) -> None:
        with duckdb.connect() as connection:
            session = godb_fast.connect(connection)
            session.close()
            with pytest.raises(SessionClosed):
                session.execute("SELECT 1")
            assert connection.execute("SELECT 1").fetchall() == [(1,)]


GLOBAL_FRAME = pandas.DataFrame({"x": [1, 2]})


class TestVariables:
    def test_frames_of_the_caller_are_tables_on_a_borrowed_connection(self) -> None:
        frame = pandas.DataFrame({"x": [3, 4], "y": ["a", "b"]})
        table = pyarrow.table({"x": [3]})
        with duckdb.connect() as connection, godb_fast.connect(connection, mode="steer") as session:
            connection.execute("CREATE TABLE t AS SELECT i AS x FROM range(5) r(i)")
            sql = "SELECT count(*) FROM t JOIN frame USING (x) JOIN t u USING (x)"
            for _ in range(3):
                assert session.execute(sql).fetchall() == [(2,)]
            assert session.execute("SELECT sum(x) FROM GLOBAL_FRAME").fetchall() == [(3,)]
            assert session.execute('SELECT * FROM "table" JOIN frame USING (x)').fetchall() == [(3, "a")]
            assert "no table frame" in session.optimize(sql).reason
            with pytest.raises(GodbError, match='"z" not found'):
                session.optimize("SELECT z FROM frame")
            # As in DuckDB, a table of that name comes first.
            connection.execute("CREATE TABLE frame AS SELECT 0 AS x")
            assert session.execute("SELECT x FROM frame").fetchall() == [(0,)]
        assert len(frame) == 2
        assert table.num_rows == 1

    def test_our_own_variables_are_nobodys_tables(self) -> None:
        with duckdb.connect() as connection, godb_fast.connect(connection) as session:
            for name in ("rows", "statement", "connection", "sql", "columnar"):
                with pytest.raises(GodbError, match="does not exist"):
                    session.execute(f"SELECT * FROM {name}")

    def test_on_an_instance_of_ours_they_are_not(self, session: Session) -> None:
        frame = pandas.DataFrame({"x": [3]})
        with pytest.raises(GodbError, match="does not exist"):
            session.execute("SELECT * FROM frame")
        assert len(frame) == 1
