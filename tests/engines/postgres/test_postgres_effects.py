"""What only reads on PostgreSQL, and what gives the same answer under every plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from postgres_server import PostgresServer

from godb_fast.engines.base import Effects
from godb_fast.engines.postgres.catalogue import read_schema
from godb_fast.engines.postgres.effects import judge
from godb_fast.testing import EngineContract

BASE = (
    "CREATE TABLE t (id int PRIMARY KEY, a int, name text, day date, doc jsonb)",
    "CREATE TABLE u (id int, t_id int)",
    "CREATE SEQUENCE s",
)


@pytest.fixture
def judged(connection: Any, ask: Any) -> Any:
    """Judges statements on a database with two tables."""
    for statement in BASE:
        connection.execute(statement)

    def one(sql: str, *before: str) -> Effects:
        for statement in before:
            connection.execute(statement)
        return judge(sql, ask, read_schema(ask))

    return one


@pytest.fixture(scope="module")
def shared(postgres_server: PostgresServer) -> Iterator[Any]:
    """Judges statements that change nothing, all on one database."""
    import psycopg

    with postgres_server.database() as url, psycopg.connect(url, autocommit=True) as connection:
        for statement in BASE:
            connection.execute(statement)

        def ask(sql: str, params: Any = ()) -> list[tuple[Any, ...]]:
            return list(connection.execute(sql, params or None).fetchall())

        schema = read_schema(ask)
        yield lambda sql: judge(sql, ask, schema)


def test_the_contracts_statements(connection: Any, ask: Any) -> None:
    for statement in EngineContract.SCHEMA:
        connection.execute(statement)
    schema = read_schema(ask)
    for sql in (*EngineContract.PURE, *EngineContract.QUERIES, EngineContract.SELF_JOIN):
        assert judge(sql, ask, schema) == Effects(pure=True, steerable=True), sql
    for sql in EngineContract.NOT_STEERABLE:
        found = judge(sql, ask, schema)
        assert (found.pure, found.steerable) == (True, False), sql
        assert found.reason, sql
    for sql in EngineContract.IMPURE:
        found = judge(sql, ask, schema)
        assert (found.pure, found.steerable) == (False, False), sql
        assert found.reason, sql


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*), sum(a), avg(a), min(name), max(day) FROM t",
        "SELECT lower(name), upper(trim(name)), substring(name FROM 1 FOR 2), position('a' IN name), name || 'x' FROM t",
        "SELECT now(), current_date, extract(year FROM day), date_trunc('month', day), to_char(day, 'YYYY') FROM t",
        "SELECT CAST(a AS numeric(12, 2)), a::text, day + interval '1 month', coalesce(a, 0), nullif(a, 1) FROM t",
        "SELECT doc ->> 'x', doc @> '{}', jsonb_array_length(doc), greatest(a, 1), least(a, 2) FROM t",
        "SELECT x.y FROM generate_series(1, 3) AS x(y), t, unnest(ARRAY[1, 2]) AS z(i)",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a), count(*) FILTER (WHERE a > 1), bool_or(a > 1) FROM t",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 9) SELECT count(*) FROM r",
        "SELECT a, sum(a) OVER (PARTITION BY name), rank() OVER (ORDER BY a), dense_rank() OVER w FROM t WINDOW w AS (ORDER BY a)",
        "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.t_id = t.id) AND a IN (SELECT id FROM u)",
        "SELECT pg_catalog.lower(name), public.t.a FROM public.t WHERE a = %s AND name LIKE 'x%%'",
        "SELECT * FROM t WHERE a = $1 AND name = ANY($2)",
        "SELECT a FROM t GROUP BY GROUPING SETS ((a), ())",
        "SELECT id FROM t ORDER BY id LIMIT 5",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "VALUES (1), (2)",
        "SELECT \"name\", E'it\\'s', $$ nextval('s') $$, 'pg_sleep(1)' FROM t -- nextval('s')",
        "/* traceparent=1 */ SELECT t.id FROM t;",
    ],
)
def test_what_only_reads(shared: Any, sql: str) -> None:
    assert shared(sql) == Effects(pure=True, steerable=True)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT nextval('s')", "nextval"),
        ("SELECT pg_catalog.nextval('s')", "nextval"),
        ("SELECT \"nextval\"('s')", "nextval"),
        ("SELECT NEXTVAL /* x */ ('s')", "nextval"),
        ("SELECT U&\"\\006eextval\"('s')", "Unicode"),
        ("SELECT * FROM nextval('s')", "nextval"),
        ("SELECT 1 FROM t ORDER BY nextval('s')", "nextval"),
        ("SELECT setval('s', 1)", "setval"),
        ("SELECT currval('s')", "currval"),
        ("SELECT pg_advisory_lock(1)", "pg_advisory_lock"),
        ("SELECT pg_try_advisory_xact_lock(1)", "pg_try_advisory"),
        ("SELECT set_config('work_mem', '1MB', false)", "set_config"),
        ("SELECT pg_sleep(1)", "pg_sleep"),
        ("SELECT txid_current()", "txid_current"),
        ("SELECT pg_current_xact_id()", "pg_current_xact_id"),
        ("SELECT pg_notify('a', 'b')", "pg_notify"),
        ("SELECT query_to_xml('DELETE FROM t', true, true, '')", "query_to_xml"),
        ("SELECT table_to_xml('t', true, true, '')", "table_to_xml"),
        ("SELECT * FROM ts_stat('SELECT 1')", "ts_stat"),
        ("SELECT lo_unlink(1)", "lo_unlink"),
        ("SELECT pg_read_file('x')", "pg_read_file"),
        ("SELECT random()", "random"),
        ("SELECT clock_timestamp()", "clock_timestamp"),
        ("SELECT gen_random_uuid()", "gen_random_uuid"),
        ("SELECT dblink('x', 'y')", "dblink"),
        ("SELECT other.f(1)", "f"),
        ("SELECT id FROM t FOR UPDATE", "lock"),
        ("SELECT id FROM t FOR KEY SHARE", "lock"),
        ("SELECT id FROM (SELECT id FROM t FOR NO KEY UPDATE) q", "lock"),
        ("SELECT id INTO x FROM t", "INTO"),
        ("SELECT id INTO TEMPORARY x FROM t", "INTO"),
        ("WITH q AS (DELETE FROM t RETURNING id) SELECT * FROM q", "DELETE"),
        ("WITH q AS (INSERT INTO u VALUES (1) RETURNING id) SELECT * FROM q", "INSERT"),
        ("WITH q AS (UPDATE t SET a = 1 RETURNING id) SELECT * FROM q", "UPDATE"),
        ("SELECT * FROM no_such_table", "no_such_table"),
        ("SELECT * FROM s", "s"),
        ("COPY t TO STDOUT", "COPY"),
        ("EXPLAIN ANALYZE SELECT 1", "EXPLAIN"),
        ("CALL p()", "CALL"),
        ("DO $$ BEGIN END $$", "DO"),
        ("SET work_mem = '1MB'", "SET"),
        ("LISTEN x", "LISTEN"),
        ("PREPARE p AS SELECT 1", "PREPARE"),
        ("EXECUTE p", "EXECUTE"),
        ("TRUNCATE t", "TRUNCATE"),
        ("VACUUM", "VACUUM"),
        ("SELECT 1; SELECT 2", "several"),
        ("SELECT 'unfinished", "read"),
        ("-- only a comment", "no statement"),
    ],
)
def test_what_may_act(shared: Any, sql: str, why: str) -> None:
    found = shared(sql)
    assert (found.pure, found.steerable) == (False, False)
    assert why in found.reason


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM t LIMIT 1",
        "SELECT id FROM t ORDER BY a FETCH FIRST 3 ROWS ONLY",
        "SELECT id FROM t ORDER BY a OFFSET 3",
        "SELECT DISTINCT ON (a) a, id FROM t",
        "SELECT array_agg(a) FROM t",
        "SELECT json_agg(a), jsonb_object_agg(name, a) FROM t",
        "SELECT string_agg(name, ',' ORDER BY a) FROM t",
        "SELECT first_value(a) OVER (ORDER BY day) FROM t",
        "SELECT sum(a) OVER (ORDER BY day ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
        'SELECT name COLLATE "C" FROM t',
        "SELECT current_setting('work_mem')",
        "SELECT * FROM pg_settings",
        "SELECT * FROM information_schema.tables",
        "SELECT pg_get_userbyid(10), has_table_privilege('t', 'select')",
    ],
)
def test_what_depends_on_the_plan(shared: Any, sql: str) -> None:
    found = shared(sql)
    assert (found.pure, found.steerable) == (True, False)
    assert found.reason


# -- what users made ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("volatility", ["IMMUTABLE", "STABLE", "VOLATILE"])
def test_users_functions_never_pass(judged: Any, volatility: str) -> None:
    found = judged(
        "SELECT f(a) FROM t", f"CREATE FUNCTION f(int) RETURNS int LANGUAGE sql {volatility} AS 'SELECT 1'"
    )
    assert not found.pure
    assert "f()" in found.reason


def test_an_overload_of_a_built_in_name_makes_it_unknown(judged: Any) -> None:
    shadow = "CREATE FUNCTION apart.lower(text) RETURNS text LANGUAGE sql AS 'SELECT $1'"
    assert judged("SELECT lower(name) FROM t", "CREATE SCHEMA apart", shadow).pure
    assert not judged("SELECT apart.lower(name) FROM t").pure
    assert not judged("SELECT lower(name) FROM t", "SET search_path = public, apart").pure
    assert judged("SELECT pg_catalog.lower(name) FROM t").pure


def test_a_temporary_function_is_seen(judged: Any) -> None:
    function = "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    assert not judged("SELECT pg_temp.f()", function).pure


def test_attributes_may_be_functions(judged: Any) -> None:
    assert judged("SELECT t.name FROM t").pure
    function = "CREATE FUNCTION shout(t) RETURNS text LANGUAGE sql AS 'SELECT nextval(''s'')::text'"
    found = judged("SELECT t.shout FROM t", function)
    assert not found.pure
    assert "shout" in found.reason
    assert judged("SELECT t.name FROM t").pure


def test_users_operators_and_casts(judged: Any) -> None:
    function = "CREATE FUNCTION spy(int, int) RETURNS int LANGUAGE sql AS 'SELECT nextval(''s'')::int'"
    operator = "CREATE OPERATOR <-> (LEFTARG = int, RIGHTARG = int, FUNCTION = spy)"
    assert judged("SELECT a + 1 FROM t", function, operator).pure
    found = judged("SELECT a <-> 1 FROM t")
    assert not found.pure
    assert "spy" in found.reason
    cast = "CREATE FUNCTION cast_spy(date) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    assert judged("SELECT a + 1 FROM t", cast, "CREATE CAST (date AS int) WITH FUNCTION cast_spy(date)").pure
    assert not judged("SELECT day::int FROM t").pure
    assert not judged("SELECT CAST(day AS int) FROM t").pure


def test_users_types_matter_only_where_they_are(judged: Any) -> None:
    for statement in (
        "CREATE TYPE pair AS (a int, b int)",
        "CREATE FUNCTION pair_less(pair, pair) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1.a < $2.a'",
        "CREATE FUNCTION pair_compare(pair, pair) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1.a - $2.a'",
        "CREATE OPERATOR < (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_less)",
        "CREATE OPERATOR CLASS pairs DEFAULT FOR TYPE pair USING btree AS OPERATOR 1 <, FUNCTION 1 pair_compare(pair, pair)",
        "CREATE TABLE pairs (x pair)",
    ):
        judged("SELECT 1", statement)
    assert judged("SELECT a FROM t WHERE a < 3 ORDER BY a").steerable
    assert not judged("SELECT x FROM pairs ORDER BY x").pure
    assert not judged("SELECT (a, 1)::pair < (a, 2)::pair FROM t").pure


def test_an_operator_behind_plain_words(judged: Any) -> None:
    function = "CREATE FUNCTION same(t, t) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
    operator = "CREATE OPERATOR = (LEFTARG = t, RIGHTARG = t, FUNCTION = same)"
    assert not judged("SELECT DISTINCT t FROM t", function, operator).pure


def test_domains_are_judged_by_their_checks(judged: Any) -> None:
    harmless = "CREATE DOMAIN positive AS int CHECK (VALUE > abs(0))"
    assert judged("SELECT a::positive FROM t", harmless).pure
    function = "CREATE FUNCTION checked(int) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
    domain = "CREATE DOMAIN odd AS int CHECK (checked(VALUE))"
    assert not judged("SELECT a::odd FROM t", function, domain).pure
    assert judged("SELECT a FROM t").pure


def test_views_are_judged_by_their_bodies(judged: Any) -> None:
    assert judged("SELECT * FROM v", "CREATE VIEW v AS SELECT a, lower(name) AS x FROM t").steerable
    assert not judged("SELECT * FROM w", "CREATE VIEW w AS SELECT random() AS r").pure
    assert not judged("SELECT * FROM x", "CREATE VIEW x AS SELECT * FROM w").pure
    found = judged("SELECT * FROM y", "CREATE VIEW y AS SELECT id FROM t LIMIT 3")
    assert (found.pure, found.steerable) == (True, False)
    assert judged("SELECT * FROM m", "CREATE MATERIALIZED VIEW m AS SELECT random() AS r").pure


def test_row_security_and_its_policies(judged: Any, connection: Any, asking: Any, ordinary: Any) -> None:
    role = ordinary.execute("SELECT current_user").fetchone()[0]
    for statement in (
        "CREATE TABLE plain (a int)",
        "CREATE TABLE guarded (a int)",
        "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON guarded USING (a = 1)",
        f"GRANT SELECT ON plain, guarded TO {role}",
    ):
        connection.execute(statement)
    ask = asking(ordinary)
    assert judge("SELECT * FROM plain", ask, read_schema(ask)).steerable
    found = judge("SELECT * FROM guarded", ask, read_schema(ask))
    assert (found.pure, found.steerable) == (True, False)
    assert judged("SELECT * FROM guarded").steerable, "superusers are not restricted"
    connection.execute("CREATE FUNCTION allowed() RETURNS boolean LANGUAGE sql AS 'SELECT true'")
    connection.execute("CREATE POLICY q ON guarded USING (allowed())")
    assert not judge("SELECT * FROM guarded", ask, read_schema(ask)).pure


def test_foreign_tables_and_foreign_partitions(judged: Any) -> None:
    found = judged(
        "SELECT * FROM f",
        "CREATE FOREIGN DATA WRAPPER w",
        "CREATE SERVER fs FOREIGN DATA WRAPPER w",
        "CREATE FOREIGN TABLE f (a int) SERVER fs",
    )
    assert not found.pure
    found = judged(
        "SELECT * FROM p",
        "CREATE TABLE p (a int) PARTITION BY LIST (a)",
        "CREATE FOREIGN TABLE p_1 PARTITION OF p FOR VALUES IN (1) SERVER fs",
    )
    assert not found.pure


def test_values_that_are_equal_and_differ(judged: Any, connection: Any) -> None:
    try:
        connection.execute(
            "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    except Exception as error:  # noqa: BLE001
        pytest.skip(f"no such collation here: {error}")
    found = judged("SELECT min(x) FROM loose", "CREATE TABLE loose (x text COLLATE ci)")
    assert (found.pure, found.steerable) == (True, False)


def test_listed_extensions_are_taken_as_declared(judged: Any, connection: Any) -> None:
    available = {
        name for (name,) in connection.execute("SELECT name FROM pg_available_extensions").fetchall()
    }
    if not available & {"hstore", "vector"}:
        pytest.skip("this server has no extension to try")
    if "hstore" in available:
        table = "CREATE TABLE h (x hstore)"
        sql = "SELECT x -> 'a', akeys(x), hstore('a', 'b') FROM h WHERE x ? 'a'"
    else:
        table = "CREATE TABLE h (x vector(2))"
        sql = "SELECT x <-> '[1,2]', vector_dims(x), l2_distance(x, x) FROM h WHERE x <> '[0,0]'"
    name = "hstore" if "hstore" in available else "vector"
    found = judged(sql, f"CREATE EXTENSION {name}", table)
    assert found == Effects(pure=True, steerable=True)


def test_strings_with_backslashes_are_not_read(judged: Any) -> None:
    found = judged("SELECT name FROM t", "SET standard_conforming_strings = off")
    assert not found.pure


def test_what_others_change_is_seen_with_the_next_schema(judged: Any, second: Any) -> None:
    assert judged("SELECT lower(name) FROM t").pure
    second.execute("CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    assert not judged("SELECT lower(name) FROM t").pure


def test_an_ordinary_role_is_enough(judged: Any, asking: Any, ordinary: Any) -> None:
    ask = asking(ordinary)
    assert judge("SELECT lower(name), count(*) FROM t GROUP BY 1", ask, read_schema(ask)).steerable


def test_few_statements_are_asked(judged: Any, ask: Any, connection: Any) -> None:
    connection.execute("CREATE VIEW v AS SELECT a, lower(name) AS x FROM t")
    schema = read_schema(ask)
    judge("SELECT 1", ask, schema)
    before = ask.asked
    judge("SELECT count(*), max(t.a), upper(u.id::text) FROM t, u GROUP BY 3", ask, schema)
    assert ask.asked - before == 2
    judge("SELECT count(*) FROM v", ask, schema)
    assert ask.asked - before <= 5
