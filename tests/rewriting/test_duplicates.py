"""Semi-joins for what only multiplies rows: what becomes of a query, what is left alone, and its answers."""

from __future__ import annotations

import random
from typing import Any

import psycopg
import pytest
from oracles.answers import duckdb_answer, postgres_answer
from oracles.catalogue import Catalogue
from oracles.multiplying_queries import Tables, compared, query
from sqlglot import parse_one

from godb_fast.core import Schema
from godb_fast.engines.postgres.catalogue import read_schema
from godb_fast.rewriting import duplicates
from godb_fast.rewriting.block_rules import changed_trees
from godb_fast.rewriting.duplicates import SemiJoins
from godb_fast.rewriting.eager_aggregation import EagerAggregation
from godb_fast.rewriting.join_block import Unsuitable, block_at

FROM_SITE = "FROM users u JOIN posts p ON p.user_id = u.id JOIN comments c ON c.post_id = p.id"


def forms(sql: str, schema: Schema, dialect: str = "duckdb") -> dict[str, str]:
    """The changed texts by place."""
    changed = changed_trees(SemiJoins(), parse_one(sql, dialect=dialect), schema, dialect)
    return {place: tree.sql(dialect) for place, tree in changed}


def refusal(sql: str, schema: Schema) -> str:
    """Why the outermost SELECT is left alone."""
    try:
        block = block_at(parse_one(sql, dialect="duckdb"), 0, schema, "duckdb")
        return "" if list(SemiJoins().plans(block)) else "nothing multiplies"
    except Unsuitable as reason:
        return str(reason)


def test_what_only_multiplies_becomes_exists(site_schema: Catalogue) -> None:
    found = forms(f"SELECT DISTINCT u.name {FROM_SITE} WHERE c.mood = 'spam'", site_schema)
    assert found == {
        "0-all": (
            "SELECT DISTINCT u.name FROM users AS u WHERE EXISTS(SELECT 1 FROM posts AS p"
            " JOIN comments AS c ON c.post_id = p.id WHERE p.user_id = u.id AND c.mood = 'spam')"
        ),
        "0-nested": (
            "SELECT DISTINCT u.name FROM users AS u WHERE EXISTS(SELECT 1 FROM posts AS p WHERE p.user_id = u.id"
            " AND EXISTS(SELECT 1 FROM comments AS c WHERE c.post_id = p.id AND c.mood = 'spam'))"
        ),
    }


def test_each_branch_alone(site_schema: Catalogue) -> None:
    sql = (
        "SELECT u.level, count(DISTINCT u.id) AS n, max(u.name) AS last FROM users u, posts p, votes v "
        "WHERE p.user_id = u.id AND v.user_id = u.id AND p.views > 5 GROUP BY u.level"
    )
    found = forms(sql, site_schema)
    assert list(found) == ["0-all", "0-p", "0-v"]
    assert found["0-all"] == (
        "SELECT u.level, COUNT(DISTINCT u.id) AS n, MAX(u.name) AS last FROM users AS u"
        " WHERE EXISTS(SELECT 1 FROM posts AS p WHERE p.user_id = u.id AND p.views > 5)"
        " AND EXISTS(SELECT 1 FROM votes AS v WHERE v.user_id = u.id) GROUP BY u.level"
    )


def test_a_left_join_that_nobody_looks_at_goes(site_schema: Catalogue) -> None:
    sql = "SELECT DISTINCT p.title FROM posts p LEFT JOIN comments c ON c.post_id = p.id AND c.score > 1"
    assert forms(sql, site_schema) == {"0-all": "SELECT DISTINCT p.title FROM posts AS p"}


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        (f"SELECT u.name {FROM_SITE}", "own rows are counted"),
        (f"SELECT count(*) AS n {FROM_SITE}", "counts duplicates"),
        (f"SELECT max(u.name) AS n {FROM_SITE} HAVING count(*) > 3", "counts duplicates"),
        (f"SELECT u.name {FROM_SITE} GROUP BY u.name ORDER BY sum(p.views)", "counts duplicates"),
        (f"SELECT DISTINCT c.mood, u.name {FROM_SITE}", "nothing multiplies"),
        ("SELECT DISTINCT p.title FROM posts p JOIN users u ON u.id = p.user_id", "nothing multiplies"),
        (f"SELECT DISTINCT * {FROM_SITE}", "a *"),
        (f"SELECT DISTINCT ON (u.name) u.name {FROM_SITE}", "DISTINCT ON"),
        ("SELECT DISTINCT p.title FROM posts p LEFT JOIN comments c ON c.post_id = p.id WHERE c.score IS NULL",
         "nothing multiplies"),
        ("SELECT DISTINCT u.name, row_number() OVER () AS r FROM users u JOIN posts p ON p.user_id = u.id", "window"),
    ],
)  # fmt: skip
def test_left_alone(site_schema: Catalogue, sql: str, reason: str) -> None:
    assert reason in refusal(sql, site_schema)


def test_a_count_would_change(site: Any, site_schema: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = f"SELECT u.level, count(u.id) AS n {FROM_SITE} GROUP BY u.level"
    assert forms(sql, site_schema) == {}
    monkeypatch.setattr(duplicates, "read_aggregates", lambda block: [])
    found = forms(sql, site_schema)
    assert found
    for text in found.values():
        assert duckdb_answer(site, text) != duckdb_answer(site, sql)


def test_using_keeps_its_names(site: Any, site_schema: Catalogue) -> None:
    sql = "SELECT DISTINCT user_id FROM posts JOIN votes USING (user_id) WHERE title = 'x'"
    found = forms(sql, site_schema)
    assert found
    for text in found.values():
        assert duckdb_answer(site, text) == duckdb_answer(site, sql)


@pytest.mark.parametrize("seed", range(200, 220))
def test_answers_stay_on_generated_data(seed: int) -> None:
    assert compared(seed, 15, forms, counting=False) > 0


@pytest.mark.slow
def test_answers_stay_on_much_generated_data() -> None:
    assert sum(compared(seed, 30, forms, counting=False) for seed in range(300, 310)) > 125


def test_answers_stay_on_postgres(postgres_url: str) -> None:
    chance = random.Random(6)
    compared = 0
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for number in range(6):
            connection.execute(f"CREATE SCHEMA s{number}")
            connection.execute(f"SET search_path TO s{number}")
            tables = Tables(chance)
            for statement in tables.statements:
                connection.execute(statement)
            schema = read_schema(lambda sql, values: connection.execute(sql, values or None).fetchall())
            for _ in range(30):
                sql = query(tables, chance, "postgres", counting=False)
                expected = postgres_answer(connection, sql)
                for place, text in forms(sql, schema, "postgres").items():
                    assert postgres_answer(connection, text) == expected, (place, sql, text)
                    compared += 1
    assert compared > 100


def test_marks_of_an_earlier_rule_are_forgotten(site: Any, site_schema: Catalogue) -> None:
    """Rules run on the result of others: what they noted on its columns does not hold any more."""
    sql = (
        "SELECT DISTINCT u.name FROM users u JOIN posts p ON p.user_id = u.id JOIN (SELECT c.user_id, count(*) AS n "
        "FROM comments c JOIN votes v ON v.user_id = c.user_id GROUP BY c.user_id) x ON x.user_id = u.id"
    )
    first = EagerAggregation()
    trees = [
        tree for _, tree in changed_trees(first, parse_one(sql, dialect="duckdb"), site_schema, "duckdb")
    ]
    again = [
        changed.sql("duckdb")
        for tree in trees
        for _, changed in changed_trees(SemiJoins(), tree, site_schema, "duckdb")
    ]
    assert again
    for text in again:
        assert duckdb_answer(site, text) == duckdb_answer(site, sql)
