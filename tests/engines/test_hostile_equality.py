"""Equalities that are not what they look like: across types, nearly, over no values; on the engines themselves."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

import godb_fast
from godb_fast import Policy
from godb_fast.core import Steering
from godb_fast.engines.base import Rendered
from godb_fast.engines.registry import open_engine
from godb_fast.rewriting import rewrites
from godb_fast.sql import fingerprint, parse_template

#: A LEFT JOIN whose padded rows the condition keeps; an inner join is far cheaper.
PADDED = (
    "SELECT count(*) AS n, count(a.x) AS m FROM b JOIN c ON c.k = b.k "
    "LEFT JOIN a ON a.id = b.id AND a.z = c.k WHERE {}"
)
HUGE = 2**127 - 1


def filled(session: godb_fast.Session, empty: str, seven: str) -> None:
    session.execute(
        f"CREATE TABLE b AS SELECT i AS id, i % 50 AS k, CASE WHEN i = 1999 THEN {empty} ELSE {seven} END AS arr "
        "FROM generate_series(1, 2000) AS g(i)"
    )
    session.execute(
        "CREATE TABLE a AS SELECT i AS id, i % 50 AS z, 1 AS x FROM generate_series(1, 10) AS g(i)"
    )
    session.execute("CREATE TABLE c AS SELECT i % 50 AS k, i AS z FROM generate_series(1, 300) AS g(i)")
    session.execute("ANALYZE")


def same_answers(session: godb_fast.Session, sql: str) -> None:
    wanted = session.run_default(sql).rows
    assert wanted[0][0] > wanted[0][1]
    assert [session.execute(sql).fetchall() for _ in range(4)] == [wanted] * 4


@pytest.mark.parametrize(
    "condition", ["NOT (a.x IN b.arr)", "a.x NOT IN []", "a.x <> ALL ([])", "NOT (a.x = ANY ([]))"]
)
def test_no_values_on_duckdb(condition: str) -> None:
    with godb_fast.connect(":memory:", mode="steer", policy=Policy(background=False)) as session:
        filled(session, "[]::INT[]", "[7]")
        same_answers(session, PADDED.format(condition))


@pytest.mark.parametrize(
    ("setting", "condition"),
    [
        ("SELECT 1", "NOT (a.x = ANY (b.arr))"),
        ("SELECT 1", "a.x <> ALL ('{}'::int[])"),
        ("SET transform_null_equals = on", "a.x = NULL"),
    ],
)
def test_no_values_on_postgres(postgres_url: str, setting: str, condition: str) -> None:
    with godb_fast.connect(postgres_url, mode="steer", policy=Policy(background=False)) as session:
        filled(session, "'{}'::int[]", "'{7}'::int[]")
        session.execute(setting)
        same_answers(session, PADDED.format(condition))


def rows_under_other_forms(url: str, setup: list[str], sql: str) -> tuple[Counter[str], list[Counter[str]]]:
    """Rows of a statement, and those of each rewrite and of some join trees of it."""
    with open_engine(url) as engine:
        for text in setup:
            engine.run(Rendered(text, None))

        def rows(sent: Rendered) -> Counter[str]:
            return Counter(map(repr, engine.run(sent).rows))

        template = parse_template(sql, engine.dialect, engine.schema())
        literals = fingerprint(sql, engine.dialect).literals
        assert template.order_sensitive is None
        steerings = [Steering(rewrites=(found.name,)) for found in rewrites(template, engine.schema())]
        for block in template.blocks:
            if block.graph is None:
                continue
            for number in range(12):
                steerings.append(Steering(join_trees=((block.index, drawn(block.graph.size, number)),)))
        found = []
        for steering in steerings:
            try:
                found.append(rows(engine.render(template, literals, steering)))
            except godb_fast.errors.InvalidInput:
                # This tree is not allowed.
                continue
        return rows(Rendered(sql, None)), found


def drawn(size: int, seed: int) -> Any:
    source, parts = random.Random(seed), list(range(size))
    while len(parts) > 1:
        one = parts.pop(source.randrange(len(parts)))
        other = parts.pop(source.randrange(len(parts)))
        parts.append((one, other))
    return parts[0]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a.id AS x, b.id AS y, c.id AS z FROM a, b, c WHERE a.h = b.u AND b.u = c.h",
        "SELECT c.id, (SELECT count(*) FROM b WHERE b.u = c.h) AS n FROM c",
        "SELECT b.id FROM b WHERE b.id = 77 OR EXISTS (SELECT 1 FROM c WHERE c.h = b.u)",
    ],
)
def test_duckdb_compares_its_largest_integers_as_double(sql: str) -> None:
    setup = ["CREATE TABLE a(id INTEGER, h HUGEINT)", "CREATE TABLE b(id INTEGER, u UHUGEINT)"]
    setup += [
        f"INSERT INTO a VALUES (1, {HUGE}), (2, {HUGE - 1})",
        f"INSERT INTO b VALUES (1, {HUGE}), (2, 5)",
    ]
    setup += [f"CREATE TABLE c AS SELECT 1 AS id, {HUGE}::HUGEINT AS h UNION ALL SELECT 2, {HUGE - 1}"]
    wanted, others = rows_under_other_forms("duckdb://", setup, sql)
    assert all(other == wanted for other in others)


def test_boxes_that_are_nearly_equal(postgres_url: str) -> None:
    setup = [
        f"CREATE TABLE {name} AS SELECT 1 AS id, box '(0,0),(1,{top})' AS b"
        for name, top in (("u", 1), ("c", 1.0000008), ("v", 1.0000016))
    ]
    sql = "SELECT u.id AS x, c.id AS y, v.id AS z FROM u, c, v WHERE u.b = c.b AND c.b = v.b"
    wanted, others = rows_under_other_forms(postgres_url, setup, sql)
    assert others
    assert sum(wanted.values()) == 1
    assert all(other == wanted for other in others)


@pytest.mark.parametrize(
    ("url", "key", "of_key", "more"),
    [
        ("duckdb://", "(i % 20)::VARCHAR", "INTEGER", "'01'"),
        ("postgres", "timestamp '2024-03-31 02:00' + (i % 2) * interval '1 hour'", "timestamptz", None),
    ],
)
def test_several_keys_that_equal_one(
    url: str, key: str, of_key: str, more: str | None, request: pytest.FixtureRequest
) -> None:
    numbers = "FROM generate_series(1, 40) AS g(i)"
    setup = [f"CREATE TABLE c AS SELECT {key} AS k, i AS x {numbers}"]
    if url == "postgres":
        url = request.getfixturevalue("postgres_url")
        setup.insert(0, "SET timezone = 'Europe/Berlin'")
        # In the hour that does not exist, two times are one.
        setup.append("CREATE TABLE u AS SELECT DISTINCT k::timestamptz AS id FROM c")
    else:
        setup.append("CREATE TABLE u AS SELECT i::INTEGER AS id FROM range(20) r(i)")
        setup.append(f"INSERT INTO c VALUES ({more}, 99)")
    setup.append("CREATE TABLE v AS SELECT u.id AS k, i AS y FROM u, generate_series(1, 3) AS g(i)")
    sql = (
        "SELECT u.id AS id, count(DISTINCT c.x) AS n, count(DISTINCT v.y) AS m FROM u "
        "LEFT JOIN c ON c.k = u.id LEFT JOIN v ON v.k = u.id GROUP BY u.id"
    )
    wanted, others = rows_under_other_forms(url, setup, sql)
    assert others
    assert all(other == wanted for other in others)


@pytest.mark.parametrize("counted", ["c.comp", "(c.y, NULL)", "c.y"])
def test_a_row_of_nulls_is_counted(postgres_url: str, counted: str) -> None:
    setup = [
        "CREATE TYPE comp AS (a int, b int)",
        "CREATE TABLE u AS SELECT 1 AS id, lvl FROM generate_series(1, 2) AS g(lvl)",
        "CREATE TABLE c(k int, comp comp, y int)",
        "INSERT INTO c VALUES (1, NULL, NULL), (1, ROW(NULL, NULL), NULL), (1, ROW(1, NULL), 2)",
        "CREATE TABLE v AS SELECT 1 AS k, y FROM generate_series(1, 2) AS g(y)",
    ]
    sql = f"SELECT u.lvl AS l, count({counted}) AS n FROM u JOIN c ON c.k = u.id JOIN v ON v.k = u.id GROUP BY u.lvl"
    wanted, others = rows_under_other_forms(postgres_url, setup, sql)
    assert len(others) > 5
    assert all(other == wanted for other in others)


NUMBERS = "FROM generate_series(0, 19) AS g(i)"
LONG = "orders_" + "x" * 56


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
@pytest.mark.parametrize(
    "sql",
    [
        # An alias is what ORDER BY means, not the column of USING.
        "SELECT -k AS k FROM a JOIN c USING (k)",
        # ALL of no values is true for NULL as well.
        "SELECT a.k FROM a WHERE (SELECT max(c.w) FROM c WHERE c.k = a.v + 50) > ALL (SELECT k FROM a WHERE k > 99)",
    ],
)
def test_names_and_quantifiers(engine: str, sql: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else "duckdb://"
    setup = [
        f"CREATE TABLE a AS SELECT i::int AS k, (i % 7)::int AS v {NUMBERS}",
        f"CREATE TABLE c AS SELECT i::int AS k, (i % 4)::int AS w {NUMBERS}",
    ]
    wanted, others = rows_under_other_forms(url, setup, sql)
    assert others
    assert all(other == wanted for other in others)
    if "USING" in sql:
        with open_engine(url) as opened:
            for text in setup if engine == "duckdb" else ():
                opened.run(Rendered(text))
            template = parse_template(f"{sql} ORDER BY k LIMIT 3", opened.dialect, opened.schema())
            assert "ORDER BY k" in str(template.blocks[0].reason)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT o.id FROM o JOIN p ON p.k = o.k WHERE EXISTS (SELECT i.k AS z FROM i WHERE i.y = o.id AND z = 3)",
        "SELECT s.id FROM o s JOIN p ON p.k = s.k WHERE s.k IN (SELECT i.k FROM i WHERE i.y = s.x)",
        "SELECT s.id FROM o s WHERE s.z > 100 OR EXISTS (SELECT 1 FROM i WHERE i.k = s.x)",
        "SELECT s.id, (SELECT count(*) FROM i WHERE i.k = s.x) AS n FROM o s",
        "SELECT r.k FROM r JOIN p ON p.k = r.k WHERE EXISTS (SELECT 1 FROM i WHERE i.k = r.k AND rowid = 5)",
        "SELECT o.id FROM o WHERE (SELECT max(i.l) FROM i WHERE i.k = o.id + 99) + o.l = [7]",
    ],
)
def test_names_that_duckdb_finds_further_inside(sql: str) -> None:
    setup = [
        f"CREATE TABLE o AS SELECT i::INT AS id, i::INT AS k, i::INT AS x, (i % 4)::INT AS z, [7] AS l {NUMBERS}",
        f"CREATE TABLE p AS SELECT i::INT AS k {NUMBERS}",
        "CREATE TABLE i AS SELECT j::INT AS k, j::INT AS y, [1] AS l, "
        "{'x': CASE WHEN j = 3 THEN 3 ELSE 100 + j END} AS s FROM generate_series(0, 7) AS g(j)",
        f"CREATE TABLE r AS SELECT (i + 3)::INT AS rowid, i::INT AS k {NUMBERS}",
    ]
    wanted, others = rows_under_other_forms("duckdb://", setup, sql)
    assert all(other == wanted for other in others)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT k, pg_typeof(k) FROM a JOIN b USING (k)",
        "SELECT k, pg_typeof(sum(k)) AS n FROM a JOIN b USING (k) JOIN c USING (k) GROUP BY k",
        "SELECT DISTINCT pg_typeof(k) FROM a JOIN b USING (k)",
        "SELECT c.k, a, pg_typeof(a) FROM c LEFT JOIN a ON a.k = c.k AND a.v = 3 JOIN b ON b.k = c.k",
        "SELECT c.k FROM d1, d2, c WHERE d1.g = d2.g AND d2.g = c.g",
        f"SELECT {LONG}.k FROM {LONG} JOIN c ON c.k = {LONG}.k WHERE {LONG}.k IN (SELECT {LONG}.k FROM {LONG} WHERE {LONG}.g = 3)",
        'SELECT "User".k FROM "User" JOIN c ON c.k = "User".k WHERE "User".k IN (SELECT "User".k FROM "User" WHERE "User".k < 3)',
    ],
)
def test_types_and_names_of_postgres(postgres_url: str, sql: str) -> None:
    setup = [
        "CREATE DOMAIN near AS box",
        f"CREATE TABLE a AS SELECT i AS k, i % 7 AS v {NUMBERS}",
        f"CREATE TABLE b AS SELECT i::bigint AS k {NUMBERS}",
        f"CREATE TABLE c AS SELECT i AS k, box(point(0,0), point(1, 1 + i * 0.0000008))::near AS g {NUMBERS}",
        "CREATE TABLE d1 AS SELECT g FROM c WHERE k = 0",
        "CREATE TABLE d2 AS SELECT g FROM c WHERE k = 1",
        f"CREATE TABLE {LONG} AS SELECT i AS k, i % 4 AS g {NUMBERS}",
        f'CREATE TABLE "User" AS SELECT i AS k {NUMBERS}',
    ]
    wanted, others = rows_under_other_forms(postgres_url, setup, sql)
    assert all(other == wanted for other in others)


def test_sums_of_floats_are_computed_once() -> None:
    query = "WITH r AS (SELECT k, {} AS total FROM l GROUP BY k) SELECT count(*) AS n FROM r a JOIN r b ON a.total = b.total"
    with open_engine("duckdb://") as engine:
        engine.run(Rendered("CREATE TABLE l(k INTEGER, n INTEGER, x DOUBLE)"))
        for value, inlined in (("sum(n)", True), ("sum(x)", False), ("max(x)", True), ("sum(n * x)", False)):
            template = parse_template(query.format(value), "duckdb", engine.schema())
            names = [found.name for found in rewrites(template, engine.schema())]
            assert any("inline" in name for name in names) is inlined, value
            assert any("materialized-" in name for name in names)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ARRAY(SELECT a.k FROM a) AS l",
        "SELECT JSON_ARRAY(SELECT a.k FROM a) AS l",
        "SELECT arr[1], max(k) FROM a GROUP BY arr ORDER BY arr LIMIT 3",
        "SELECT ts AT TIME ZONE 'UTC', max(k) FROM a GROUP BY timezone, ts ORDER BY timezone, ts LIMIT 3",
        "SELECT k, unnest(arr) AS u FROM a GROUP BY k, arr ORDER BY k, arr LIMIT 3",
    ],
)
def test_rows_that_depend_on_the_plan_on_postgres(postgres_url: str, sql: str) -> None:
    with open_engine(postgres_url) as engine:
        engine.run(Rendered("CREATE TABLE a(k int, arr int[], ts timestamp, timezone int)"))
        engine.run(Rendered(sql))
        assert not engine.effects(sql).steerable
        assert parse_template(sql, "postgres", engine.schema()).order_sensitive is not None
        sound = "SELECT ARRAY(SELECT a.k FROM a ORDER BY k) AS l"
        assert engine.effects(sound).steerable


@pytest.mark.parametrize(
    "view",
    [
        "SELECT s, count(*) AS n FROM a GROUP BY ALL LIMIT 3",
        "SELECT 1 AS v FROM a WHERE false UNION ALL BY NAME SELECT 1 AS v, s FROM a ORDER BY v LIMIT 3",
        "SELECT s, v FROM a ORDER BY COLUMNS('v') LIMIT 3",
        "SELECT a.* FROM a, (SELECT 1 AS b) t ORDER BY t.* LIMIT 3",
        "SELECT v, unnest([k, s]) AS u FROM a GROUP BY v, k, s ORDER BY v, k, s LIMIT 3",
        "SELECT s FROM a WHERE current_setting('disabled_optimizers') = ''",
    ],
)
def test_views_that_depend_on_the_plan_on_duckdb(view: str) -> None:
    with open_engine("duckdb://") as engine:
        engine.run(Rendered("CREATE TABLE a(k INTEGER, v INTEGER, s INTEGER)"))
        engine.run(Rendered(f"CREATE VIEW seen AS {view}"))
        assert not engine.effects("SELECT count(*) AS n FROM seen").steerable
        assert engine.effects("SELECT * FROM a ORDER BY ALL LIMIT 3").steerable
