"""Types of which equal values are one value: asked of the engines themselves."""

from __future__ import annotations

import duckdb
import psycopg
import pytest

from godb_fast.rewriting.identity import is_identity, sum_type

#: Two values that are equal and differ in their text, by type.
EQUAL_DUCKDB = {
    "DOUBLE": ("'0.0'", "'-0.0'"),
    "FLOAT": ("'0.0'", "'-0.0'"),
    "INTERVAL": ("'1 month'", "'30 days'"),
}
EQUAL_POSTGRES = {
    "double precision": ("'0.0'", "'-0.0'"),
    "real": ("'0.0'", "'-0.0'"),
    "numeric": ("'1.0'", "'1.00'"),
    "interval": ("'1 month'", "'30 days'"),
    "jsonb": ("'1.0'", "'1.00'"),
    "numeric[]": ("'{1.0}'", "'{1.00}'"),
}


@pytest.mark.parametrize("kind", EQUAL_DUCKDB)
def test_duckdb_types_with_equal_but_different_values_are_no_keys(kind: str) -> None:
    left, right = EQUAL_DUCKDB[kind]
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT count(DISTINCT x), count(DISTINCT x::VARCHAR) FROM "
            f"(VALUES (CAST({left} AS {kind})), (CAST({right} AS {kind}))) v(x)"
        ).fetchone()
    assert found == (1, 2)
    assert not is_identity(kind, "duckdb")


def test_postgres_types_with_equal_but_different_values_are_no_keys(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        for kind, (left, right) in EQUAL_POSTGRES.items():
            found = connection.execute(
                f"SELECT count(DISTINCT x), count(DISTINCT x::text) FROM "
                f"(VALUES (CAST({left} AS {kind})), (CAST({right} AS {kind}))) v(x)"
            ).fetchone()
            assert found == (1, 2), kind
            assert not is_identity(kind, "postgres")


@pytest.mark.parametrize(
    ("kind", "dialect", "expected"),
    [
        ("INTEGER", "duckdb", True),
        ("DECIMAL(8,2)", "duckdb", True),
        ("ENUM('a', 'b')", "duckdb", True),
        ("INTEGER[]", "duckdb", False),
        ("STRUCT(a DOUBLE)", "duckdb", False),
        ("JSON", "duckdb", False),
        ("numeric(8,2)", "postgres", True),
        ("character varying(10)", "postgres", True),
        ("timestamp(3) without time zone", "postgres", True),
        ("character(10)", "postgres", False),
        ("citext", "postgres", False),
        ("text[]", "postgres", False),
        ("money", "postgres", False),
        (None, "postgres", False),
    ],
)
def test_which_types_may_be_keys(kind: str | None, dialect: str, expected: bool) -> None:
    assert is_identity(kind, dialect) is expected


@pytest.mark.parametrize(
    "kind", ["TINYINT", "INTEGER", "BIGINT", "UBIGINT", "DECIMAL(8,2)", "DECIMAL(38,10)"]
)
def test_sums_are_of_the_type_that_duckdb_gives_them(kind: str) -> None:
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT typeof(sum(x)) FROM (SELECT CAST(1 AS {kind}) AS x)").fetchone()
    assert found is not None
    assert found[0] == str(sum_type(kind, "duckdb")).replace(" ", "")


def test_sums_are_of_the_type_that_postgres_gives_them(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        for kind in ("smallint", "integer", "bigint", "numeric(8,2)", "numeric"):
            found = connection.execute(
                f"SELECT pg_typeof(sum(x))::text FROM (SELECT CAST(1 AS {kind}) AS x) t"
            ).fetchone()
            assert found == (str(sum_type(kind, "postgres")).lower(),)


@pytest.mark.parametrize("kind", ["DOUBLE", "FLOAT", "HUGEINT", "INTERVAL", "VARCHAR", None])
def test_other_sums_are_left_alone(kind: str | None) -> None:
    assert sum_type(kind, "duckdb") is None
    assert sum_type("real", "postgres") is sum_type("double precision", "postgres") is None
