"""Which query a writing statement reads with."""

from __future__ import annotations

import pytest

from godb_fast.sql.reading_part import reading_part

QUERY = "SELECT a, 'as select' FROM t WHERE x IN (SELECT y FROM u) /* returning */ ORDER BY 1"


@pytest.mark.parametrize(
    "sql",
    [
        f"CREATE TABLE n AS {QUERY}",
        f"CREATE TEMP TABLE n (a, b) AS {QUERY} WITH NO DATA;",
        f"create or replace view v as\n{QUERY};",
        f"CREATE MATERIALIZED VIEW v AS {QUERY} WITH DATA",
        f"INSERT INTO n {QUERY}",
        f"INSERT INTO n (a, b) {QUERY} ON CONFLICT (a) DO NOTHING",
        f"/* x */ INSERT INTO n {QUERY} RETURNING a",
        f"COPY ({QUERY}) TO STDOUT",
        f"copy ( {QUERY} ) TO 'f.csv' (FORMAT csv)",
    ],
)
def test_the_query_as_it_is_written(sql):
    found = reading_part(sql, "postgres")
    assert found is not None
    # A comment at its end is no part of it.
    assert found.replace("/* returning */ ", "") == QUERY.replace("/* returning */ ", "")


def test_a_cte_belongs_to_it():
    assert reading_part("INSERT INTO n WITH w AS (SELECT 1) SELECT * FROM w", "duckdb") == (
        "WITH w AS (SELECT 1) SELECT * FROM w"
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "COPY t TO STDOUT",
        "COPY t (a, b) FROM STDIN",
        "CREATE TABLE t (a integer)",
        "CREATE TABLE t (a integer DEFAULT (SELECT 1))",
        "DELETE FROM t WHERE a IN (SELECT 1)",
        "UPDATE t SET a = (SELECT 1)",
        "COPY (DELETE FROM t RETURNING a) TO STDOUT",
        "",
    ],
)
def test_others_have_none(sql):
    assert reading_part(sql, "postgres") is None
