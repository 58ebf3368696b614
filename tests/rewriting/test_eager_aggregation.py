"""Eager aggregation: what it makes of a query, what it leaves alone, and whether answers stay."""

from __future__ import annotations

import random
from typing import Any

import psycopg
import pytest
from oracles.answers import duckdb_answer, postgres_answer
from oracles.catalogue import Catalogue
from oracles.multiplying_queries import Tables, compared, query
from sqlglot import parse_one

from godb_fast.core import Schema, Steering
from godb_fast.engines.postgres.catalogue import read_schema
from godb_fast.errors import InvalidInput
from godb_fast.rewriting import reduction, rewrites, rewritten
from godb_fast.rewriting.block_rules import changed_trees
from godb_fast.rewriting.eager_aggregation import EagerAggregation
from godb_fast.rewriting.join_block import Unsuitable, block_at
from godb_fast.sql.fingerprint import fingerprint
from godb_fast.sql.parsing import parse_template

FROM_SITE = "FROM users u JOIN posts p ON p.user_id = u.id JOIN comments c ON c.user_id = u.id"


def forms(sql: str, schema: Schema, dialect: str = "duckdb") -> dict[str, str]:
    """The changed texts by place."""
    changed = changed_trees(EagerAggregation(), parse_one(sql, dialect=dialect), schema, dialect)
    return {place: tree.sql(dialect) for place, tree in changed}


def refusal(sql: str, schema: Schema, dialect: str = "duckdb") -> str:
    """Why the outermost SELECT is left alone."""
    try:
        block = block_at(parse_one(sql, dialect=dialect), 0, schema, dialect)
        return "" if list(EagerAggregation().plans(block)) else "nothing to reduce"
    except Unsuitable as reason:
        return str(reason)


def test_each_many_to_many_side_is_counted_by_its_key(site_schema: Catalogue) -> None:
    sql = "SELECT u.name, count(*) AS n FROM users u, posts p, comments c WHERE p.user_id = u.id AND c.user_id = u.id GROUP BY u.name"
    assert forms(sql, site_schema)["0-around-u"] == (
        "SELECT u.name AS name, CAST(COALESCE(SUM(CAST(p_groups.group_rows AS INT128) * c_groups.group_rows_2), 0)"
        " AS BIGINT) AS n FROM users AS u"
        " JOIN (SELECT p.user_id AS user_id, COUNT(*) AS group_rows FROM posts AS p GROUP BY p.user_id)"
        " AS p_groups ON p_groups.user_id = u.id"
        " JOIN (SELECT c.user_id AS user_id, COUNT(*) AS group_rows_2 FROM comments AS c GROUP BY c.user_id)"
        " AS c_groups ON c_groups.user_id = u.id GROUP BY u.name"
    )


def test_aggregates_are_computed_where_their_columns_are(site_schema: Catalogue) -> None:
    sql = f"SELECT max(c.score) AS best, sum(p.views) AS views {FROM_SITE} WHERE c.mood = 'spam'"
    assert forms(sql, site_schema)["0-around-p"] == (
        "SELECT MAX(c_groups.group_max) AS best,"
        " CAST(SUM(CAST(p.views AS INT128) * c_groups.group_rows) AS INT128) AS views"
        " FROM users AS u JOIN posts AS p ON p.user_id = u.id"
        " JOIN (SELECT c.user_id AS user_id, COUNT(*) AS group_rows, MAX(c.score) AS group_max"
        " FROM comments AS c WHERE c.mood = 'spam' GROUP BY c.user_id) AS c_groups ON c_groups.user_id = u.id"
    )


def test_a_row_of_nulls_counts_once(site_schema: Catalogue) -> None:
    sql = (
        "SELECT u.level, count(*) AS n, count(v.kind) AS kinds FROM users u JOIN comments c ON c.user_id = u.id "
        "LEFT JOIN votes v ON v.user_id = u.id AND v.kind = 'up' GROUP BY u.level"
    )
    assert forms(sql, site_schema)["0-around-c"] == (
        "SELECT u.level AS level, CAST(COALESCE(SUM(COALESCE(v_groups.group_rows, 1)), 0) AS BIGINT) AS n,"
        " CAST(COALESCE(SUM(v_groups.group_count), 0) AS BIGINT) AS kinds FROM users AS u"
        " JOIN comments AS c ON c.user_id = u.id"
        " LEFT JOIN (SELECT v.user_id AS user_id, COUNT(*) AS group_rows, COUNT(v.kind) AS group_count"
        " FROM votes AS v WHERE v.kind = 'up' GROUP BY v.user_id) AS v_groups ON v_groups.user_id = u.id"
        " GROUP BY u.level"
    )


def test_a_chain_is_reduced_from_its_end(site_schema: Catalogue) -> None:
    sql = (
        "SELECT count(*) AS n FROM votes v JOIN users u ON u.id = v.user_id JOIN posts p ON p.user_id = u.id "
        "JOIN comments c ON c.post_id = p.id"
    )
    found = forms(sql, site_schema)
    assert found["0-around-u"] == (
        "SELECT CAST(COALESCE(SUM(CAST(v_groups.group_rows AS INT128) * p_groups.group_rows_3), 0) AS BIGINT) AS n"
        " FROM (SELECT v.user_id AS user_id, COUNT(*) AS group_rows FROM votes AS v GROUP BY v.user_id) AS v_groups"
        " JOIN users AS u ON u.id = v_groups.user_id"
        " JOIN (SELECT p.user_id AS user_id, SUM(c_groups.group_rows_2) AS group_rows_3 FROM posts AS p"
        " JOIN (SELECT c.post_id AS post_id, COUNT(*) AS group_rows_2 FROM comments AS c GROUP BY c.post_id)"
        " AS c_groups ON c_groups.post_id = p.id GROUP BY p.user_id) AS p_groups ON p_groups.user_id = u.id"
    )
    # Users are single for a vote's key: they never are a derived table of their own.
    assert not any("u_groups" in text for text in found.values())


def test_postgres_sums_keep_their_types(site_schema: Catalogue) -> None:
    found = forms(
        f"SELECT count(*), sum(p.views) AS s, avg(c.score) AS a {FROM_SITE}", site_schema, "postgres"
    )
    assert found["0-around-p"].startswith(
        "SELECT CAST(COALESCE(SUM(c_groups.group_rows), 0) AS BIGINT) AS count,"
        " CAST(SUM(CAST(p.views AS DECIMAL) * c_groups.group_rows) AS BIGINT) AS s,"
    )


@pytest.mark.parametrize(
    ("select", "reason"),
    [
        ("SELECT sum(p.ratio) AS s", "sums are not exact"),
        ("SELECT avg(p.views) AS s", "avg divides in floating point"),
        ("SELECT count(*) AS n, string_agg(c.mood, ',') AS s", "the aggregate"),
        ("SELECT count(*) AS n, sum(p.views + c.score) AS s", "sums are not exact, or not known"),
        ("SELECT count(*) + 1", "without a name"),
        ("SELECT p.views, count(*) OVER () AS n", "window"),
        ("SELECT count(*) AS n, (SELECT max(v.kind) FROM votes v WHERE v.user_id = 1) AS k", "subquery in the SELECT"),
        ("SELECT count(DISTINCT c.mood) AS n, max(p.views) AS m", "no aggregate that counts duplicates"),
        ("SELECT count(*) AS n, random() AS r", "rand is not known to be immutable"),
        ("SELECT min(p.views) AS n, list(c.score) AS l", "the aggregate"),
    ],
)  # fmt: skip
def test_left_alone(site_schema: Catalogue, select: str, reason: str) -> None:
    assert reason in refusal(f"{select} {FROM_SITE}", site_schema)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT count(*) AS n FROM users u FULL JOIN posts p ON p.user_id = u.id", "neither inner nor LEFT"),
        ("SELECT count(*) AS n FROM users u JOIN posts p ON p.user_id = u.id", "nothing to reduce"),
        ("SELECT count(*) AS n FROM posts p, comments c", "nothing to reduce"),
        ("SELECT u.level, count(*) AS n FROM users u JOIN posts p ON p.user_id = u.id "
         "JOIN comments c ON c.user_id = u.id GROUP BY ROLLUP (u.level)", "grouping sets"),
        ("SELECT count(*) AS n FROM users u LEFT JOIN posts p ON p.user_id = u.id JOIN comments c ON c.post_id = p.id",
         "on a padded relation"),
        ("SELECT count(*) AS n FROM posts p JOIN comments c ON c.user_id = p.user_id "
         "QUALIFY row_number() OVER () = 1", "qualify"),
        ("SELECT count(*) AS n FROM posts p JOIN comments c ON c.user_id = p.user_id WHERE p.id IN "
         "(SELECT max(z.user_id) AS views FROM votes z GROUP BY views)", "whose column views is"),
        ("SELECT count(*) AS n FROM posts p TABLESAMPLE 10% JOIN comments c ON c.user_id = p.user_id", ""),
    ],
)  # fmt: skip
def test_other_shapes_are_left_alone(site_schema: Catalogue, sql: str, reason: str) -> None:
    assert reason in refusal(sql, site_schema)
    assert refusal(sql, site_schema)


def test_floats_that_are_equal_may_differ(
    site: Any, site_schema: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.0 and −0.0 are equal to GROUP BY and differ in 1/x: as a key of a derived table one would vanish."""
    sql = (
        "SELECT count(DISTINCT CAST(v.ratio AS VARCHAR)) AS texts, count(*) AS n FROM users u "
        "JOIN votes v ON v.user_id = u.id JOIN posts p ON p.user_id = u.id"
    )
    assert not any("v_groups" in text for text in forms(sql, site_schema).values())
    monkeypatch.setattr(reduction, "is_identity", lambda kind, dialect: True)
    forced = [text for text in forms(sql, site_schema).values() if "v_groups" in text]
    assert forced
    assert all(duckdb_answer(site, text) != duckdb_answer(site, sql) for text in forced)


def test_expressions_of_padded_columns_stay_above(
    site: Any, site_schema: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COALESCE(v.ratio, …) is a value where v.ratio is a row of NULLs: counted in the derived table it is lost."""
    sql = (
        "SELECT count(coalesce(v.kind, 'none')) AS n FROM users u JOIN comments c ON c.user_id = u.id "
        "LEFT JOIN votes v ON v.user_id = u.id AND v.kind = 'down'"
    )
    assert forms(sql, site_schema)
    for text in forms(sql, site_schema).values():
        assert duckdb_answer(site, text) == duckdb_answer(site, sql)
    monkeypatch.setattr(
        reduction.Reduction, "_is_pushed", lambda self, aggregate, members: aggregate.inputs <= members
    )
    assert any(
        duckdb_answer(site, text) != duckdb_answer(site, sql) for text in forms(sql, site_schema).values()
    )


def test_what_a_primary_key_determines_is_not_hidden(site_schema: Catalogue) -> None:
    """PostgreSQL lets u.name stand beside GROUP BY u.id because u is a table; a derived one would not do."""
    sql = f"SELECT u.name, count(*) AS n {FROM_SITE} GROUP BY u.id"
    found = forms(sql, site_schema, "postgres")
    assert found
    assert not any("u_groups" in text for text in found.values())


def test_an_empty_input_keeps_its_null_and_its_zero(site: Any, site_schema: Catalogue) -> None:
    sql = f"SELECT count(*) AS n, count(c.score) AS m, sum(p.views) AS s, max(c.mood) AS t {FROM_SITE} WHERE u.id = 99"
    found = forms(sql, site_schema)
    assert len(found) > 2
    for text in found.values():
        assert site.execute(text).fetchall() == [(0, 0, None, None)]
        assert duckdb_answer(site, text) == duckdb_answer(site, sql)


def test_sums_do_not_overflow_on_their_way(site: Any, site_schema: Catalogue) -> None:
    """9.2e18 times two rows is beyond BIGINT; DuckDB's SUM is not, and so must be our products."""
    sql = (
        "SELECT sum(p.total) AS s, count(*) AS n FROM big_posts p JOIN comments c ON c.user_id = p.user_id "
        "JOIN votes v ON v.user_id = p.user_id"
    )
    connection = site.cursor()
    connection.execute(
        "CREATE TABLE big_posts AS SELECT user_id, 9223372036854775807::BIGINT AS total FROM posts"
    )
    schema = Catalogue(connection)
    found = forms(sql, schema)
    assert found
    for text in found.values():
        assert duckdb_answer(connection, text) == duckdb_answer(connection, sql)
    connection.execute("DROP TABLE big_posts")


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_the_type_of_a_sum_of_literals_rests_on_their_size(site_schema: Catalogue, dialect: str) -> None:
    sql = f"SELECT sum(CASE WHEN c.mood = 'spam' THEN {{}} ELSE 0 END) AS s {FROM_SITE}"
    template = parse_template(sql.format(3), dialect, site_schema)
    found = rewrites(template, site_schema)
    assert found
    steering = Steering(rewrites=(found[0].name,))
    for literal, is_small in (
        ("-5", True),
        ("2147483647", True),
        ("2147483648", False),
        ("99999999999", False),
    ):
        literals = fingerprint(sql.format(literal), dialect).literals
        if is_small:
            assert f"THEN {literal} " in rewritten(template, site_schema, literals, steering)
        else:
            with pytest.raises(InvalidInput, match="literals"):
                rewritten(template, site_schema, literals, steering)


def test_every_branch_of_a_union_at_once(site: Any, site_schema: Catalogue) -> None:
    sql = (
        f"SELECT 'a' AS what, count(*) AS n {FROM_SITE} UNION ALL "
        f"SELECT 'b' AS what, sum(p.views) AS n {FROM_SITE} WHERE c.mood = 'spam'"
    )
    found = forms(sql, site_schema)
    assert next(iter(found)) == "all"
    assert found["all"].count("c_groups ON") == 2
    for text in found.values():
        assert duckdb_answer(site, text) == duckdb_answer(site, sql)


@pytest.mark.parametrize("seed", range(24))
def test_answers_stay_on_generated_data(seed: int) -> None:
    assert compared(seed, 12, forms) > 0


@pytest.mark.slow
def test_answers_stay_on_much_generated_data() -> None:
    assert sum(compared(seed, 30, forms) for seed in range(100, 110)) > 300


def test_answers_stay_on_postgres(postgres_url: str) -> None:
    chance = random.Random(5)
    compared = 0
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for number in range(6):
            connection.execute(f"CREATE SCHEMA s{number}")
            connection.execute(f"SET search_path TO s{number}")
            tables = Tables(chance)
            for statement in tables.statements:
                connection.execute(statement)
            schema = read_schema(lambda sql, values: connection.execute(sql, values or None).fetchall())
            for _ in range(40):
                sql = query(tables, chance, "postgres")
                expected = postgres_answer(connection, sql)
                for place, text in forms(sql, schema, "postgres").items():
                    assert postgres_answer(connection, text) == expected, (place, sql, text)
                    compared += 1
    assert compared > 100
