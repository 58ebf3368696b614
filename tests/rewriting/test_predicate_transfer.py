"""Conditions repeated for equal columns."""

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


def transferred(sql: str, schema: Schema, dialect: str = "duckdb") -> str | None:
    found = fingerprint(sql, dialect)
    template = parse_template(found, dialect, schema)
    for rewrite in rewrites(template, schema):
        if rewrite.name.startswith("predicate_transfer") and "+" not in rewrite.name:
            return render(template, found.literals, Steering(rewrites=(rewrite.name,)))
    return None


@pytest.mark.parametrize(
    ("sql", "added"),
    [
        ("SELECT o.id FROM o, i WHERE o.k = i.k AND o.k IN (1, 2)", "i.k IN (1, 2)"),
        ("SELECT o.id FROM o JOIN i ON o.k = i.k WHERE i.k BETWEEN 1 AND 3", "o.k BETWEEN 1 AND 3"),
        ("SELECT o.id FROM o, i, p WHERE o.k = i.k AND i.k = p.k AND p.k > -1", "i.k > -1 AND o.k > -1"),
        ("SELECT o.id FROM o, i WHERE o.s = i.s AND o.s <> 'a' AND i.s <> 'b'", "i.s <> 'a' AND o.s <> 'b'"),
        ("SELECT o.id FROM o LEFT JOIN i ON i.m = o.m WHERE o.k = i.k AND o.k IN (1, 2)", "i.k IN (1, 2)"),
    ],
)
def test_what_is_added(sql: str, added: str, schema: Catalogue) -> None:
    text = transferred(sql, schema)
    assert text is not None
    assert sorted(text.split(" WHERE ")[1].split(" AND ")[-added.count(" AND ") - 1 :]) == sorted(
        added.split(" AND ")
    )


@pytest.mark.parametrize(
    "sql",
    [
        # The equality does not hold for padded rows.
        "SELECT o.id FROM o LEFT JOIN i ON o.k = i.k WHERE o.k IN (1, 2)",
        # Two types: the constant may mean two things.
        "SELECT o.id FROM o, i WHERE o.x = i.b AND o.x IN (1, 2)",
        "SELECT o.id FROM p, p q, o WHERE p.f = q.f AND p.f > 1",
        # An equality or a condition that need not hold.
        "SELECT o.id FROM o, i WHERE (o.k = i.k OR o.m = 1) AND o.k IN (1, 2)",
        "SELECT o.id FROM o, i WHERE o.k = i.k AND (o.k IN (1, 2) OR i.x = 1)",
        # No constant, and what is there already.
        "SELECT o.id FROM o, i WHERE o.k = i.k AND o.k < o.m",
        "SELECT o.id FROM o, i WHERE o.k = i.k AND o.k IN (SELECT m FROM i)",
    ],
)
def test_what_is_left_alone(sql: str, schema: Catalogue) -> None:
    assert transferred(sql, schema) is None


def test_a_padded_row_would_be_lost(database: Any) -> None:
    """What the precondition on outer joins is for."""
    database.execute("BEGIN; INSERT INTO o VALUES (1, 1, 1, 1, 'a')")
    try:
        asked = "SELECT o.id FROM o LEFT JOIN i ON o.k = i.k WHERE o.k IN (1, 2)"
        assert database.execute(asked).fetchall() != database.execute(asked + " AND i.k IN (1, 2)").fetchall()
    finally:
        database.execute("ROLLBACK")


def test_rows_stay(database: Any, schema: Catalogue) -> None:
    draw = random.Random(5)
    changed = 0
    database.execute("BEGIN")
    try:
        for _ in range(12):
            for table in ("o", "i", "p"):
                database.execute(f"DELETE FROM {table}")
            for statement in rows(draw):
                database.execute(statement)
            for _ in range(10):
                conditions = draw.sample(
                    (
                        "o.k = i.k", "i.m = o.m", "o.x = i.x", "o.s = i.s", "i.k = p.k", "o.k IN (1, 2)", "i.x > 0",
                        "o.m BETWEEN 1 AND 2", "p.k <> 1", "i.s < 'b'", "o.x <= 2", "(o.x = 1 OR i.m = 2)",
                    ),
                    draw.choice((3, 4, 5)),
                )  # fmt: skip
                join = draw.choice(
                    ("o, i, p", "o JOIN i ON o.k = i.k CROSS JOIN p", "o LEFT JOIN i ON o.k = i.k, p")
                )
                sql = f"SELECT o.id, i.x, p.k FROM {join} WHERE {' AND '.join(conditions)}"
                text = transferred(sql, schema)
                if text is not None:
                    changed += 1
                    assert duckdb_answer(database, text) == duckdb_answer(database, sql), text
    finally:
        database.execute("ROLLBACK")
    assert changed > 30
