"""The demo's templates through the whole path: found, rendered with other literals, run on both engines."""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import psycopg
import pytest
from oracles.answers import Answer, duckdb_answer, postgres_answer
from oracles.catalogue import Catalogue
from postgres_server import PostgresServer

from godb_fast.core import Schema, Steering
from godb_fast.demo import stream
from godb_fast.demo.database import load
from godb_fast.demo.postgres import load_postgres
from godb_fast.engines.postgres.catalogue import read_schema
from godb_fast.rewriting import rewrites, rewritten
from godb_fast.sql.fingerprint import fingerprint
from godb_fast.sql.parsing import parse_template

SCALE = 0.004
#: Whose templates are of many-to-many joins.
REWRITTEN = (
    "busy_member",
    "answers_times_comments",
    "activity_star",
    "spam_hunters",
    "voices",
    "spam_or_not",
)


def compare(schema: Schema, dialect: str, answer: Callable[[str], Answer]) -> dict[str, int]:
    """Every rewrite of every template, with the literals of its second instance: rewrites by template."""
    found: dict[str, int] = {}
    for query in stream(instances=2, scale=SCALE):
        if query.instance == 0:
            template = parse_template(query.sql, dialect, schema)
            offered = rewrites(template, schema)
            found[query.template] = len(offered)
            continue
        expected = answer(query.sql) if offered else None
        literals = fingerprint(query.sql, dialect).literals
        for rewrite in offered:
            text = rewritten(template, schema, literals, Steering(rewrites=(rewrite.name,)))
            assert answer(text) == expected, (rewrite.name, query.sql, text)
    return found


def test_answers_stay_on_duckdb() -> None:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        load(connection, SCALE)
        found = compare(Catalogue(connection), "duckdb", lambda sql: duckdb_answer(connection, sql))
    assert all(found[name] for name in REWRITTEN)
    assert sum(count > 0 for count in found.values()) > 40
    assert max(found.values()) <= 12


@pytest.mark.slow
def test_answers_stay_on_postgres(postgres_server: PostgresServer) -> None:
    with postgres_server.database("rewrites") as url, psycopg.connect(url, autocommit=True) as connection:
        load_postgres(connection, SCALE)
        schema = read_schema(lambda sql, values: connection.execute(sql, values or None).fetchall())
        found = compare(schema, "postgres", lambda sql: postgres_answer(connection, sql))
    assert all(found[name] for name in REWRITTEN)
