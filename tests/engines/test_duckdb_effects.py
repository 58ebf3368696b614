"""What only reads, and what gives the same answer under every plan."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine, functions
from godb_fast.engines.duckdb.functions import built_in_functions, why_impure

SETUP = (
    "CREATE TABLE t (a INTEGER, b VARCHAR, c DOUBLE)",
    "CREATE TABLE g (a INTEGER, b DOUBLE AS (random()))",
    "CREATE TABLE g2 (a INTEGER, b DOUBLE AS (a + 1))",
    "CREATE SEQUENCE s",
    "CREATE MACRO mine(x) AS x + 1",
    "CREATE MACRO mine_table(x) AS TABLE SELECT x AS a",
    "CREATE VIEW cut AS SELECT * FROM t LIMIT 3",
    "CREATE VIEW counting AS SELECT nextval('s') AS n",
    "CREATE VIEW outer_counting AS SELECT * FROM counting",
    "CREATE VIEW renamed (x, y) AS SELECT a, b FROM t",
    "CREATE TABLE folded (a VARCHAR COLLATE nocase)",
    'CREATE TABLE "we ird\'" ("AS" INTEGER)',
    'CREATE VIEW "v AS (" AS SELECT "AS" FROM "we ird\'"',
)

STEERABLE = (
    "SELECT * FROM t",
    "FROM t",
    "VALUES (1), (2)",
    "SELECT a, count(*) FROM t GROUP BY a ORDER BY 1 LIMIT 3",
    "SELECT a, count(*) FROM t GROUP BY a ORDER BY a LIMIT 3",
    "SELECT a AS k, count(*) FROM t GROUP BY k ORDER BY 2, k LIMIT 3",
    "SELECT a, b FROM t ORDER BY b, a LIMIT 3",
    "SELECT * FROM t ORDER BY ALL LIMIT 3",
    "SELECT sum(a) + 1 AS x, 5 FROM t LIMIT 1",
    "SELECT a FROM t LIMIT ALL",
    "SELECT a FROM t UNION ALL SELECT a FROM t ORDER BY a LIMIT 2",
    "SELECT DISTINCT a FROM t",
    "SELECT rank() OVER (ORDER BY a), sum(a) OVER (ORDER BY b) FROM t",
    "SELECT string_agg(b, ',' ORDER BY b) FROM t",
    "SELECT now(), current_date",
    "SELECT * FROM renamed",
    "SELECT * FROM g2",
    'SELECT * FROM "v AS ("',
    "SELECT * FROM range(10)",
    "SELECT * FROM 'folder/x.parquet'",
    "SELECT * FROM read_csv('x.csv')",
    "WITH q AS (SELECT * FROM t) SELECT * FROM q",
    "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 5) SELECT * FROM r",
    "SELECT CASE WHEN a > 1 THEN b END, a BETWEEN 1 AND 2, a::VARCHAR, b LIKE '%x' FROM t",
    "SELECT * FROM t x JOIN t y USING (a) LEFT JOIN t z ON z.b = y.b WHERE EXISTS (SELECT 1 FROM g2 WHERE g2.a = x.a)",
    "SELECT quantile_cont(a, 0.5), median(a), stddev(c), count(*) FILTER (a > 1), sum(DISTINCT a) FROM t",
    "SELECT list_transform([1, 2], x -> x + 1), {'x': 1}.x, [1, 2][1], nullif(a, 1), list_reverse([1]) FROM t",
    "SELECT extract(year FROM now()), date_trunc('day', now()), trim(b), b || 'y', coalesce(a, 1) FROM t",
    "SELECT grouping(a) FROM t GROUP BY CUBE (a)",
    "SELECT histogram(a) FROM t",
)

PLAN_DEPENDENT = {
    "SELECT * FROM t LIMIT 3": "LIMIT without a total order",
    "SELECT a, b FROM t ORDER BY b LIMIT 3": "LIMIT without a total order",
    "SELECT a FROM t OFFSET 3": "LIMIT without a total order",
    "SELECT a FROM t LIMIT 10%": "LIMIT without a total order",
    "SELECT * FROM t UNION SELECT * FROM t ORDER BY a LIMIT 2": "LIMIT without a total order",
    "SELECT * FROM t WHERE a IN (SELECT a FROM t LIMIT 1)": "LIMIT without a total order",
    "SELECT * FROM cut": "LIMIT without a total order",
    "SELECT DISTINCT ON (a) a, b FROM t": "DISTINCT ON",
    "SELECT row_number() OVER (ORDER BY a) FROM t": "row_number",
    "SELECT sum(a) OVER (ORDER BY b ROWS 3 PRECEDING) FROM t": "counts rows",
    "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY a ORDER BY b) = 1": "row_number",
    "SELECT string_agg(b, ',') FROM t": "string_agg",
    "SELECT string_agg(b, ',' ORDER BY a) FROM t": "string_agg",
    "SELECT list(a) FROM t": "list",
    "SELECT first(a) FROM t": "first",
    "SELECT any_value(a) FROM t": "any_value",
    "SELECT arg_min(a, b) FROM t": "arg_min",
    "SELECT mode(a) FROM t": "mode",
    "SELECT * FROM t TABLESAMPLE 10%": "samples",
    "SELECT * FROM t USING SAMPLE 5 ROWS": "samples",
    "SELECT a COLLATE nocase FROM t": "COLLATE",
    "SELECT * FROM folded": "collation",
    "SELECT * FROM t POSITIONAL JOIN g2": "POSITIONAL",
    "SELECT * FROM t ASOF JOIN g2 ON t.a >= g2.a": "ASOF",
    "SELECT * FROM duckdb_tables()": "state",
}

IMPURE = {
    "SELECT random()": "volatile",
    "SELECT uuid()": "volatile",
    "SELECT setseed(0.5)": "volatile",
    "SELECT nextval('s')": "volatile",
    "SELECT currval('s')": "volatile",
    "SELECT a FROM t WHERE a < (SELECT nextval('s'))": "volatile",
    "SELECT * FROM outer_counting": "volatile",
    "SELECT * FROM g": "volatile",
    "SELECT mine(a) FROM t": "user's own function",
    "SELECT * FROM mine_table(3)": "not known",
    "SELECT * FROM query('SELECT 1')": "not known",
    "SELECT no_such_function(1)": "not one of DuckDB's own",
    "SELECT * FROM no_such_table": "no table",
    "INSERT INTO t VALUES (1, 'x', 2)": "INSERT",
    "INSERT INTO t VALUES (1, 'x', 2) RETURNING a": "INSERT",
    "WITH q AS (INSERT INTO t VALUES (1, 'x', 2) RETURNING a) SELECT * FROM q": "",
    "SELECT * FROM t FOR UPDATE": "cannot read",
    "SELECT 1 INTO x": "cannot read",
    "SELECT 1; DROP TABLE t": "several statements",
    "CREATE TABLE z AS SELECT 1 AS x": "CREATE",
    "COPY t TO '/tmp/never-written.csv'": "COPY",
    "EXPLAIN SELECT 1": "EXPLAIN",
    "BEGIN": "TRANSACTION",
    "SET threads = 1": "SET",
    "DESCRIBE t": "SHOW_REF",
    "PRAGMA version": "",
    "PIVOT t ON a USING sum(c)": "",
    "": "",
    "SELEC": "cannot read",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    with DuckDBEngine.open() as opened:
        for statement in SETUP:
            opened.run(Rendered(statement))
        yield opened


@pytest.mark.parametrize("sql", STEERABLE)
def test_steerable(engine: DuckDBEngine, sql: str) -> None:
    found = engine.effects(sql)
    assert found.pure, found.reason
    assert found.steerable, found.reason


@pytest.mark.parametrize("sql", PLAN_DEPENDENT)
def test_pure_but_plan_dependent(engine: DuckDBEngine, sql: str) -> None:
    found = engine.effects(sql)
    assert found.pure, found.reason
    assert not found.steerable
    assert PLAN_DEPENDENT[sql] in found.reason


@pytest.mark.parametrize("sql", IMPURE)
def test_impure_or_unknown(engine: DuckDBEngine, sql: str) -> None:
    found = engine.effects(sql)
    assert not found.pure
    assert not found.steerable
    assert found.reason
    assert IMPURE[sql] in found.reason


def test_each_judged_table_function_and_aggregate_exists() -> None:
    assert {"sum", "lower", "read_parquet", "string_agg", "random", "count_star"} <= set(built_in_functions())
    assert why_impure("lower") is None
    assert why_impure("nextval") is not None
    # A built-in macro is judged by what it calls.
    assert why_impure("list_reverse") is None


def test_deep_nesting_is_refused_not_followed(engine: DuckDBEngine) -> None:
    for sql in (
        "SELECT " + "(" * 400 + "1" + ")" * 400,
        "SELECT " + "1 + " * 3000 + "1",
        "SELECT " + "-" * 900 + "1",
    ):
        found = engine.effects(sql)
        assert found.pure or found.reason


def test_a_macro_that_takes_a_built_in_name_is_seen(engine: DuckDBEngine) -> None:
    with DuckDBEngine.open() as own:
        sql = "SELECT lower('A'), count(*) FROM range(3)"
        assert own.effects(sql).pure
        own.run(Rendered("CREATE SEQUENCE s"))
        own.run(Rendered("CREATE MACRO lower(x) AS nextval('s')"))
        assert "lower() is a user's own function" in own.effects(sql).reason
        own.run(Rendered("DROP MACRO lower"))
        assert own.effects(sql).pure


def test_python_functions_are_unknown_on_a_borrowed_connection() -> None:
    with duckdb.connect() as connection:
        borrowed = DuckDBEngine.borrow(connection)
        assert borrowed.effects("SELECT upper('a')").pure
        connection.create_function("noisy", lambda x: x, ["BIGINT"], "BIGINT")  # type: ignore[list-item]
        assert not borrowed.effects("SELECT noisy(1)").pure
        assert borrowed.effects("SELECT upper('a')").pure
        connection.execute("CREATE MACRO upper(x) AS random()")
        assert not borrowed.effects("SELECT upper('a')").pure


def test_settings_that_make_answers_depend_on_the_plan() -> None:
    with DuckDBEngine.open() as own:
        assert own.effects("SELECT 'a' = 'A'").steerable
        own.run(Rendered("SET default_collation = 'nocase'"))
        assert not own.effects("SELECT 'a' = 'A'").steerable
        own.run(Rendered("RESET default_collation"))
        own.run(Rendered("SET scalar_subquery_error_on_multiple_rows = false"))
        assert not own.effects("SELECT 'a' = 'A'").steerable


def test_ctrl_c_while_functions_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB makes an error of its own of it in the main thread."""

    class Interrupted:
        def execute(self, sql: str) -> None:
            raise RuntimeError("Query interrupted")

        def close(self) -> None:
            pass

    monkeypatch.setattr(functions, "_CATALOGUES", {})
    monkeypatch.setattr(duckdb, "connect", lambda *given: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        built_in_functions()
