"""An OR of branches that exclude each other."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from oracles.answers import duckdb_answer
from oracles.catalogue import Catalogue
from oracles.correlated_queries import TABLES, rows

from godb_fast.core import Schema, Steering
from godb_fast.errors import InvalidInput
from godb_fast.rewriting import rewrites
from godb_fast.sql import fingerprint, parse_template, render


@pytest.fixture(scope="module")
def database() -> Iterator[Any]:
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    for statement in TABLES:
        connection.execute(statement)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def schema(database: Any) -> Catalogue:
    return Catalogue(database)


def split(sql: str, schema: Schema, literals: tuple[Any, ...] | None = None) -> str | None:
    found = fingerprint(sql, "duckdb")
    template = parse_template(found, "duckdb", schema)
    for rewrite in rewrites(template, schema):
        if rewrite.name.startswith("or_to_union") and "+" not in rewrite.name:
            return render(template, literals or found.literals, Steering(rewrites=(rewrite.name,)))
    return None


def test_what_it_becomes(schema: Catalogue) -> None:
    sql = "WITH c AS (SELECT 1 AS n) SELECT o.id FROM o, i WHERE o.k = i.k AND ((o.m = 1 AND i.x > 2) OR (o.m IN (3, 4) AND o.x < 3))"
    assert split(sql, schema) == (
        "WITH c AS (SELECT 1 AS n) SELECT o.id FROM o, i WHERE o.k = i.k AND o.m = 1 AND i.x > 2 "
        "UNION ALL SELECT o.id FROM o, i WHERE o.k = i.k AND o.m IN (3, 4) AND o.x < 3"
    )


def test_the_guard_asks_for_different_values(database: Any, schema: Catalogue) -> None:
    sql = "SELECT o.id FROM o WHERE (o.m = 1 AND o.k > 0) OR (o.m = 2 AND o.x > 0)"
    with pytest.raises(InvalidInput, match="distinct"):
        split(sql, schema, ("1", "0", "1.0", "0"))
    database.execute("BEGIN; INSERT INTO o VALUES (1, 1, 1, 1, 'a')")
    try:
        same = "SELECT o.id FROM o WHERE (o.m = 1 AND o.k > 0) OR (o.m = 1 AND o.x > 0)"
        twice = "SELECT id FROM o WHERE m = 1 AND k > 0 UNION ALL SELECT id FROM o WHERE m = 1 AND x > 0"
        assert len(database.execute(same).fetchall()) == 1
        assert len(database.execute(twice).fetchall()) == 2
    finally:
        database.execute("ROLLBACK")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT o.id FROM o WHERE o.m = 1 OR o.k = 2",
        "SELECT o.id FROM o WHERE o.m = 1 OR o.m > 2",
        "SELECT o.id FROM o WHERE o.m = 1 OR NOT o.m = 2",
        "SELECT count(*) AS n FROM o WHERE o.m = 1 OR o.m = 2",
        "SELECT DISTINCT o.k FROM o WHERE o.m = 1 OR o.m = 2",
        "SELECT o.id FROM o WHERE o.m = 1 OR o.m = 2 ORDER BY o.id",
        "SELECT o.id FROM o WHERE o.s = 1 OR o.s = 2",
        "SELECT p.id FROM p WHERE p.f = 1.5 OR p.f = 2.5",
        "SELECT o.id FROM o WHERE o.m = '1' OR o.m = '01'",
        "SELECT o.id, random() AS r FROM o WHERE o.m = 1 OR o.m = 2",
        "SELECT o.id FROM o WHERE o.m = 1 OR (o.m = 2 AND CAST(o.s AS INTEGER) = 1)",
        "SELECT o.id FROM o WHERE o.k IN (SELECT i.k FROM i WHERE i.m = 1 OR i.m = 2)",
    ],
)
def test_what_is_left_alone(sql: str, schema: Catalogue) -> None:
    assert split(sql, schema) is None


def test_rows_stay(database: Any, schema: Catalogue) -> None:
    draw = random.Random(11)
    changed = 0
    database.execute("BEGIN")
    try:
        for _ in range(10):
            for table in ("o", "i", "p"):
                database.execute(f"DELETE FROM {table}")
            for statement in rows(draw):
                database.execute(statement)
            for _ in range(5):
                column, values = draw.choice(
                    (("o.k", ("1", "2", "3")), ("i.m", ("1", "2")), ("o.s", ("'a'", "'b'")))
                )
                more = ("i.x > 0", "o.x IS NULL", "i.n < 1", "o.id IN (1, 2)", "i.s = o.s")
                branches = [
                    f"({column} = {value} AND {draw.choice(more)})" for value in draw.sample(values, 2)
                ]
                join = draw.choice(("o, i", "o JOIN i ON o.m = i.m", "o LEFT JOIN i ON o.k = i.k"))
                shown = draw.choice(("*", "o.id, i.x AS x", "o.*"))
                sql = f"SELECT {shown} FROM {join} WHERE ({' OR '.join(branches)}) AND {draw.choice(more)}"
                if draw.random() < 0.3:
                    sql = f"SELECT count(*) AS n FROM ({sql.replace('*', 'o.id').replace('o.o.', 'o.')}) AS d"
                text = split(sql, schema)
                if text is not None:
                    changed += 1
                    assert duckdb_answer(database, text) == duckdb_answer(database, sql), text
    finally:
        database.execute("ROLLBACK")
    assert changed > 30
