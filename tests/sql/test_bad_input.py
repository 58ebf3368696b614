"""Whatever is thrown at the front end: a clear error of ours, or a template that passes through."""

from __future__ import annotations

import time
from random import Random
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.catalogue import Catalogue
from oracles.join_trees import random_tree

from godb_fast.core import Steering, Table
from godb_fast.errors import SqlError
from godb_fast.sql import fingerprint, parse_template, render
from godb_fast.sql.fingerprint import MAX_BYTES, MAX_JOINS, MAX_NESTING, MAX_TOKENS

#: Far above what any of these take; only a hang or a quadratic blow-up comes near.
PATIENCE_S = 60.0


class Empty:
    """A catalogue without tables."""

    def resolve(self, parts: tuple[str, ...]) -> Table | None:
        """Nothing."""
        return None

    def near(self, name: str) -> tuple[str, ...]:
        """Nothing."""
        return ()


class TwoTables(Empty):
    """A catalogue with a and b."""

    def resolve(self, parts: tuple[str, ...]) -> Table | None:
        """One of the two."""
        columns = {"a": ("id", "x"), "b": ("id", "a_id")}.get(parts[-1].lower())
        return None if columns is None else Table(parts[-1], columns, ("INTEGER", "INTEGER"))


def reason(sql: str | bytes, backend: str, dialect: str = "duckdb", schema: Any = None) -> str | None:
    started = time.perf_counter()
    found = parse_template(fingerprint(sql, dialect, backend=backend), dialect, schema or Empty())
    assert time.perf_counter() - started < PATIENCE_S
    assert found.plannable == () or schema is not None
    return found.reason


LONG = [
    ("SELECT '" + "x" * 5_000_000 + "'", f"more than {MAX_BYTES} bytes"),
    ("SELECT 1" + " " * 5_000_000, f"more than {MAX_BYTES} bytes"),
    ("SELECT 1 IN (" + ", ".join("1" * 200_000) + ")", f"more than {MAX_BYTES} bytes"),
    ("SELECT " + "1 + " * MAX_TOKENS + "1", "tokens, more than"),
    ("SELECT 1 FROM " + ", ".join(f"t{i}" for i in range(1000)), f"999 joins, more than {MAX_JOINS}"),
    ("SELECT 1 FROM t" + " JOIN t ON true" * 1000, f"1000 joins, more than {MAX_JOINS}"),
    ("SELECT " + "(" * 200 + "1" + ")" * 200, f"200 nested levels, more than {MAX_NESTING}"),
    ("SELECT " + "(" * 400_000, "more than"),
    ("SELECT " + "NOT " * 2000 + "true", "nested levels"),
    ("SELECT " + "- " * 2000 + "1", "nested levels"),
    ("SELECT " + "CASE WHEN true THEN " * 500 + "1" + " END" * 500, "nested levels"),
    ("SELECT " + "[" * 100 + "]" * 100, "nested levels"),
    ("SELECT 1" + " UNION ALL SELECT 1" * 3000, "tokens, more than"),
]


@pytest.mark.parametrize(("sql", "expected"), LONG, ids=[expected[:30] for _, expected in LONG])
def test_beyond_the_limits(sql: str, expected: str, backend: str) -> None:
    assert expected in (reason(sql, backend) or "")


WITHIN = [
    "SELECT 1 WHERE " + " AND ".join(["true"] * 3000),
    "SELECT 1 WHERE " + " OR ".join(["1 = 2"] * 900),
    "SELECT 1" + " UNION ALL SELECT 1" * 1200,
    "SELECT " + "(" * (MAX_NESTING - 1) + "1" + ")" * (MAX_NESTING - 1),
    "SELECT " + "CASE WHEN true THEN " * (MAX_NESTING - 1) + "1" + " END" * (MAX_NESTING - 1),
    "SELECT " + " || ".join(["'x'"] * 2000),
    "SELECT 1 ** " + "2 ** " * 2000 + "1",
    "SELECT a" + ".b" * 1500,
    "SELECT 1" + "::INTEGER" * 1500,
    "SELECT 1 FROM t" + ", t" * (MAX_JOINS - 1),
    "SELECT 1 FROM t" + " JOIN t ON t.a = t.b" * (MAX_JOINS - 1),
    "SELECT 1 FROM t" + " JOIN t" * (MAX_JOINS - 1) + " ON t.a = t.b" * (MAX_JOINS - 1),
    "SELECT 1 IN (" + ", ".join("1" * 80_000) + ")",
    "WITH " + ", ".join(f"w{i} AS (SELECT 1)" for i in range(700)) + " SELECT 1",
    "SELECT 1 -- " + "x" * (MAX_BYTES - 20),
    "SELECT /* " + "/* */" * (MAX_BYTES // 6) + " */ 1",
    'SELECT "' + "x" * (MAX_BYTES - 20) + '"',
    "SELECT 1 WHERE x = 1 BETWEEN 2 AND 3 AND 4 BETWEEN",
    "SELECT a.* FROM (SELECT * FROM (SELECT * FROM (SELECT 1 AS q) a) a) a",
]


@pytest.mark.parametrize("sql", WITHIN, ids=[sql[:30] for sql in WITHIN])
def test_just_within_the_limits(sql: str, backend: str) -> None:
    for dialect in ("duckdb", "postgres"):
        reason(sql, backend, dialect)


HOSTILE = [
    'SELECT "a""b".""";DROP TABLE x;--" FROM "a""b"',
    "SELECT '/*' FROM t WHERE x = '--' AND y = '*/'",
    'SELECT "/*" FROM "--" WHERE "\'" = 1',
    "SELECT $$ ' $$ , $a$ $$ $a$ FROM t",
    "SELECT 1 /* ' */ FROM t -- '",
    "SELECT ';' ; -- ;",
    "SELECT U&'d!0061t' UESCAPE '!'",
    "SELECT 'slot 810000000', 810000000, '810000001' FROM t WHERE x LIMIT 810000000",
    "SELECT \u202e1, 'a\u0000b'.\u00a0c FROM t\u3000x",
    "SELECT '\U0001f600' AS \U0001f600 FROM \u00e9 WHERE \u00e9.\u00df = 'x'",
    "\ufeffSELECT 1",
    "SELECT E'\\'", "SELECT 'a\\", "?", "$", "$1", ":", "::", ".", "..", "1.", ".1.2.3", "1e", "1e+", "0x", "'", '"',
    "/*", "*/", "--", ";", "()", ")(", "]", "SELECT )", "SELECT (]", "select select select", "with with with",
    "from", "(", "((", "(select", "select 1 from (", "select * from a where", "select a from b where c in",
    "select a from b where c in (", "select a from b where c in (1", "select case", "select case when", "values",
    "select 1 union", "select 1 union all", "with a as", "with a as (select 1", "select %s, %(a)s, %(b", "select :a",
]  # fmt: skip


@pytest.mark.parametrize("sql", HOSTILE)
@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_hostile_texts(sql: str, dialect: str, backend: str) -> None:
    try:
        reason(sql, backend, dialect)
    except SqlError as error:
        places = (error.line, error.column)
    else:
        places = (1, 1)
    assert None not in places


@pytest.mark.parametrize(
    "raw", [b"\xff", b"SELECT '\xc3'", b"SELECT \xed\xa0\x80", b"\x00", b"SELECT 1\x00", b"\x80" * 99]
)
def test_bytes_that_are_no_text(raw: bytes, backend: str) -> None:
    with pytest.raises(
        SqlError, match=r"(invalid UTF-8|NUL byte outside of a string literal) at line 1, column"
    ):
        fingerprint(raw, backend=backend)


def test_literals_like_the_stand_ins(schema: Catalogue, database: Any) -> None:
    sql = (
        "SELECT a.id, 810000000 AS n FROM a, b WHERE a.id = b.a_id AND b.x < 810000001 AND a.s <> '810000002' "
        "GROUP BY ALL ORDER BY ALL LIMIT 810000000"
    )
    found = fingerprint(sql)
    template = parse_template(found, "duckdb", schema)
    assert template.reason is None
    steered = render(template, found.literals, Steering(((0, (1, 0)),)))
    assert database.execute(steered).fetchall() == database.execute(sql).fetchall()


FRAGMENTS = [
    "SELECT", "FROM", "WHERE", "a", "b", "c", "a.id", "b.a_id", "x", "*", ",", "(", ")", "=", "<", "AND", "OR", "NOT",
    "JOIN", "LEFT JOIN", "ON", "USING", "(id)", "1", "-1", "'s'", "IN", "EXISTS", "(SELECT", "AS", "t", "WITH",
    "UNION", "ALL", "GROUP BY", "ORDER BY", "LIMIT", "BETWEEN", "CASE", "WHEN", "THEN", "END", "NULL", "IS", ";",
    "::", ".", "\"Q\"", "count(*)", "OVER", "DISTINCT", "INTERVAL", "DATE", "LIKE", "?", "$1", "NATURAL", "FULL",
    "RIGHT", "SEMI", "ANTI", "ASOF", "LATERAL", "VALUES", "v", "e", "EXCLUDE", "COLUMNS(*)", "[", "]", "--", "/*",
]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30), st.sampled_from(["duckdb", "postgres"]))
@settings(max_examples=300, deadline=None)
def test_any_words(words: list[str], dialect: str) -> None:
    schema = TwoTables()
    for start in ("", "SELECT ", "SELECT a.id FROM a, b WHERE a.id = b.a_id AND "):
        try:
            template = parse_template(start + " ".join(words), dialect, schema)
        except SqlError:
            continue
        for block in template.plannable:
            assert block.graph is not None


MUTANTS = [
    # Found by mutating statements: each once gave another answer, or none.
    "SELECT (*) FROM a b, c",
    "SELECT * id FROM a JOIN b USING (id) WHERE id > 3",
    "SELECT *, + id FROM a LEFT JOIN b USING (id, x) ORDER BY id",
    "SELECT* FROM a SEMI JOIN b ON a.id = b.a_id JOIN e ON a.id = e.id",
    "SELECT*, id FROM a LEFT JOIN b USING (id, x) ORDER BY id",
    "SELECT a.id FROM a WHERE NOT EXISTS (FROM a b WHERE b.x = a.id)",
    "SELECT a.id, d.id FROM b, a LEFT JOIN c ON b.id = c.b_id LEFT JOIN d ON c.id = d.c_id WHERE a.id = b.a_id",
    "SELECT a.id, (SELECT count(*) FROM b, c WHERE b.id = c.b_id AND b.a_id = a.id) FROM a, e WHERE a.id = e.id",
]  # fmt: skip


@pytest.mark.parametrize("sql", MUTANTS)
def test_mutants(database: Any, schema: Catalogue, sql: str) -> None:
    found = fingerprint(sql)
    template = parse_template(found, "duckdb", schema)
    try:
        result = database.execute(sql)
    except duckdb.Error:
        # DuckDB refuses it as well: nothing may be steered into an answer.
        assert template.plannable == ()
        return
    expected = [name for name, *_ in result.description], sorted(map(repr, result.fetchall()))
    for seed in range(4 if template.plannable else 0):
        trees = tuple((block.index, random_tree(block.graph, Random(seed))) for block in template.plannable)
        steered = database.execute(render(template, found.literals, Steering(trees)))
        assert ([name for name, *_ in steered.description], sorted(map(repr, steered.fetchall()))) == expected
