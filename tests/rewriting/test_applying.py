"""From templates to rewrites and to text: what is offered, what is not, and guards."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from oracles.catalogue import Catalogue

from godb_fast.core import Guard, Steering
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.errors import InvalidInput
from godb_fast.rewriting import rewrites, rewritten
from godb_fast.rewriting.applying import read_statement
from godb_fast.rewriting.base import Refused
from godb_fast.sql import fingerprint, parse_template, render
from godb_fast.sql.guards import holds

TABLES = """
CREATE TABLE t (id INTEGER PRIMARY KEY, g INTEGER, x INTEGER, s VARCHAR, d DATE);
CREATE TABLE u (t_id INTEGER, y INTEGER NOT NULL, s VARCHAR);
INSERT INTO t SELECT i, i % 3, CASE WHEN i % 4 > 0 THEN i END, 'n' || (i % 5), DATE '2020-01-01' + i::INTEGER
  FROM range(12) r(i);
INSERT INTO u SELECT i % 5, i, 'n' || (i % 3) FROM range(20) r(i);
"""
CTE = "WITH c AS (SELECT g, sum(x) AS n FROM t WHERE id > 2 GROUP BY g) SELECT a.g, b.n FROM c a, c b WHERE a.g = b.g"


@pytest.fixture(scope="module")
def database() -> Any:
    connection = duckdb.connect()
    connection.execute(TABLES)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def schema(database: Any) -> Catalogue:
    return Catalogue(database)


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
@pytest.mark.parametrize(
    "sql",
    [
        "select s, COUNT(*) from t where x NOT IN (1, 2) and s not like 'a%' group by s order by s desc nulls first",
        "SELECT substring(s, 1, 2) AS a, x::decimal(10,2) y FROM t WHERE d >= date '2020-01-02' AND -x <> -5",
        "SELECT (x + 1)::integer FROM t INNER JOIN u ON t.id=u.t_id LEFT OUTER JOIN u v ON v.y = t.x WHERE t.x != 3",
        "SELECT DISTINCT t.* FROM t, u WHERE x BETWEEN 1 AND 2 OR EXISTS (SELECT 1 FROM u WHERE y IN (1,2,3)) ",
        "SELECT CASE WHEN x > 1 THEN 'a' ELSE 'b' END FROM t UNION ALL (SELECT s FROM u) ORDER BY 1",
        "SELECT EXTRACT(YEAR FROM d), coalesce(x, 0), \"s\" || 'x' FROM t;",
    ],
)
def test_what_the_parser_prints_faithfully(sql: str, dialect: str, schema: Catalogue) -> None:
    statement = read_statement(parse_template(sql, dialect, schema), schema)
    assert statement.template.text


@pytest.mark.parametrize(
    ("dialect", "sql", "why"),
    [
        ("postgres", "SELECT s FROM t WHERE date_trunc('month', d) = '2020-01-01' LIMIT 3", "LIMIT"),
        ("duckdb", "SELECT s FROM t ORDER BY x NULLS LAST", "nulls"),
        ("duckdb", "SELECT list_transform([1, 2], lambda q : q + 1), ifnull(x, 1) FROM t", "prints"),
    ],
)
def test_what_is_not_rewritten(dialect: str, sql: str, why: str, schema: Catalogue) -> None:
    template = parse_template(sql, dialect, schema)
    with pytest.raises(Refused, match=why):
        read_statement(template, schema)
    assert rewrites(template, schema) == ()


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_cte_toggles(dialect: str, schema: Catalogue) -> None:
    found = parse_template(CTE, dialect, schema)
    names = [rewrite.name for rewrite in rewrites(found, schema)]
    assert names == ["cte_materialization@1:inline-0-c", "cte_materialization@1:materialized-0-c"]
    text = rewritten(found, schema, ("9",), Steering(rewrites=(names[0],)))
    assert text == (
        "WITH c AS NOT MATERIALIZED (SELECT g, SUM(x) AS n FROM t WHERE id > 9 GROUP BY g) "
        "SELECT a.g, b.n FROM c AS a, c AS b WHERE a.g = b.g"
    )


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE c AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT a.n FROM c a, c b",
        "WITH c AS (SELECT random() AS n FROM t) SELECT a.n FROM c a, c b",
        "WITH c AS (SELECT somebodys_function(x) AS n FROM t) SELECT a.n FROM c a, c b",
        "WITH c AS (SELECT x AS n FROM t LIMIT 3) SELECT a.n FROM c a, c b",
    ],
)
def test_ctes_that_stay(sql: str, schema: Catalogue) -> None:
    assert rewrites(parse_template(sql, "postgres", schema), schema) == ()


def test_render_knows_what_was_found(schema: Catalogue) -> None:
    template = parse_template(CTE, "duckdb", schema)
    steering = Steering(rewrites=("cte_materialization@1:inline-0-c",))
    with pytest.raises(InvalidInput, match="not known yet"):
        render(template, ("1",), steering)
    rewrites(template, schema)
    assert "NOT MATERIALIZED" in render(template, ("1",), steering)
    with pytest.raises(InvalidInput, match="has no rewrite 'nothing@1'"):
        render(template, ("1",), Steering(rewrites=("nothing@1",)))
    with pytest.raises(InvalidInput, match="not both"):
        render(template, ("1",), Steering(((0, (0, 1)),), steering.rewrites))


def test_duckdb_runs_a_rewrite(database: Any) -> None:
    engine = DuckDBEngine.borrow(database) if hasattr(DuckDBEngine, "borrow") else DuckDBEngine(database)
    found = fingerprint(CTE, "duckdb")
    template = parse_template(found, "duckdb", engine.schema())
    original = engine.run(engine.render(template, found.literals, Steering()))
    for rewrite in rewrites(template, engine.schema()):
        steering = Steering(rewrites=(rewrite.name,))
        rendered = engine.render(template, found.literals, steering)
        assert not rendered.before
        result = engine.run(rendered)
        assert (result.columns, result.types) == (original.columns, original.types)
        assert sorted(result.rows) == sorted(original.rows)
        assert engine.obeyed(template, steering, engine.explain(rendered.sql)) is not False


@pytest.mark.parametrize(
    ("literals", "expected"),
    [
        (("1", "2"), True),
        (("1", "1.0"), False),
        (("1", "$1"), False),
        (("1", "NULL"), False),
        (("'a'", "'b'"), True),
        (("'a'", "'a  '"), False),
        (("'a'", "E'a'"), False),
        (("1", "'1'"), False),
        ((("1", "2"), ("3", "3")), True),
        ((("1", "2"), ("3", "2")), False),
    ],
)
def test_guard_of_different_values(literals: Any, expected: bool) -> None:
    assert holds(Guard("distinct", (0, 1)), literals) is expected


def test_unknown_guards_are_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown guard"):
        holds(Guard("sorted", (0,)), ("1",))
