"""Made-up values, on both engines: accepted by the engine, from the columns' own values."""

from __future__ import annotations

import duckdb
import psycopg
import pytest
from postgres_contrib import fill

from godb_fast.engines.base import Rendered
from godb_fast.engines.postgres import open_url
from godb_fast.engines.registry import open_engine
from godb_fast.workload.synthesis import synthesized

STATEMENTS = [
    "SELECT count(*) FROM customers WHERE city = $1",
    "SELECT count(*) FROM customers WHERE id BETWEEN $1 AND $2 AND city LIKE $3",
    "SELECT count(*) FROM customers WHERE since >= $1 AND since < date $2",
    "SELECT count(*) FROM customers WHERE since + interval $1 > $2::date",
    "SELECT c.city, $1 FROM customers c JOIN orders o ON o.customer_id = c.id WHERE o.id IN ($2, $3) LIMIT $4 OFFSET $5",
    "WITH few AS (SELECT id FROM customers WHERE city <> $1) SELECT count(*) FROM few WHERE id > $2",
    "SELECT count(*) FROM customers WHERE city = $1 OR (NOT city = $2 AND id = $3)",
    "SELECT count(*) FROM orders WHERE note = $2 AND id = -$1",
]


@pytest.fixture(scope="module")
def postgres(postgres_server):
    with postgres_server.database("synthesis") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            fill(connection)
        with open_url(url, read_only=True) as engine:
            yield engine


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("synthesis") / "shop.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, city VARCHAR, since DATE)")
        connection.execute(
            "INSERT INTO customers SELECT i, 'c' || i % 7, DATE '2020-01-01' + (i % 300)::INTEGER FROM range(500) r(i)"
        )
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER, note VARCHAR)")
        connection.execute("INSERT INTO orders SELECT i, i % 500, 'it''s ' || i % 3 FROM range(3000) r(i)")
    with open_engine(path, read_only=True) as engine:
        yield engine


@pytest.fixture(params=["postgres", "embedded"])
def engine(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("sql", STATEMENTS)
def test_values_are_found_with_which_it_can_be_planned(engine, sql):
    made = synthesized(engine, sql)
    assert made is not None
    assert "$" not in made
    engine.explain(made)
    assert synthesized(engine, sql) == made


def test_values_are_the_columns_own(engine):
    made = synthesized(engine, "SELECT city FROM customers WHERE city = $1 AND since > $2")
    value = made.split("city = ")[1].split(" AND")[0]
    assert value in [f"'c{number}'" for number in range(7)]
    assert "'2020-" in made


def test_what_has_no_answer_has_none(engine):
    assert synthesized(engine, "SELECT nothing FROM nowhere WHERE a = $1") is None
    assert synthesized(engine, "SELECT 1") is None
    assert synthesized(engine, "DELETE FROM customers WHERE id = $1") is None
    assert synthesized(engine, "SELECT 'cut off, $1") is None
    assert synthesized(engine, "SELECT $1 +") is None


def test_nothing_is_executed(postgres):
    # Its planning is fine; its execution would raise.
    assert synthesized(postgres, "SELECT 1 / (id - id) FROM customers WHERE city = $1") is not None


def test_types_without_an_order_of_ours(postgres_server):
    """Values of uuids and enums are the columns' own; where there are none, the generic plan judges."""
    with postgres_server.database("types") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
            connection.execute("CREATE TABLE t (id uuid, m mood, tags text[])")
            connection.execute(
                "INSERT INTO t SELECT gen_random_uuid(), 'ok', ARRAY['a'] FROM generate_series(1, 100)"
            )
            connection.execute("ANALYZE")
            known = {str(row[0]) for row in connection.execute("SELECT id FROM t").fetchall()}
        with open_url(url, read_only=True) as engine:
            made = synthesized(engine, "SELECT count(*) FROM t WHERE id = $1 AND m = $2")
            assert made.split("'")[1] in known
            assert made.endswith("m = 'ok'")
            assert synthesized(engine, "SELECT count(*) FROM t WHERE tags @> $1") is None


HOSTILE = [
    "SELECT $1; CREATE TABLE made_by_a_log (a int)",
    "SELECT $1 /* ; */ ; CREATE TABLE made_by_a_log (a int); --",
    "WITH x AS (SELECT $1) SELECT 1; COMMIT; CREATE TABLE made_by_a_log (a int)",
    "SELECT 1; CREATE TABLE made_by_a_log AS SELECT $1 AS a",
    "SELECT city FROM customers WHERE tags @> $1; CREATE TABLE made_by_a_log (a int)",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_what_stands_behind_a_query_never_runs(postgres_url, sql):
    """Even where it could be written: the connections here are not read-only."""
    from godb_fast.cli.slow import judging
    from godb_fast.errors import EngineError
    from godb_fast.workload import QueryUsage, RankedQuery

    for url, tables in (
        (postgres_url, "SELECT count(*) FROM pg_tables WHERE tablename = 'made_by_a_log'"),
        ("duckdb://", "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'made_by_a_log'"),
    ):
        with open_engine(url) as engine:
            engine.run(Rendered("CREATE TABLE customers (city text, tags text[])"))
            assert synthesized(engine, sql) is None
            judging(engine)(RankedQuery(QueryUsage("select ?p", 1, 1, spelling=sql), None, None))
            if url != "duckdb://":
                with pytest.raises(EngineError):
                    engine.explain(sql)
            assert engine.run(Rendered(tables)).rows[0][0] == 0
