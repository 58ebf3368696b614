"""Of which conditions a LEFT JOIN's padded rows are sure to be left out."""

from __future__ import annotations

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from godb_fast.sql.predicates import strong


def on_a(condition: str, dialect: str) -> bool:
    where = sqlglot.parse_one(f"SELECT 1 FROM a, b WHERE {condition}", dialect=dialect).args["where"].this

    def owner(column: exp.Column) -> int:
        return {"a": 1, "b": 2}[column.table]

    return bool(strong(where, owner) & 1)


@pytest.mark.parametrize(
    ("dialect", "condition", "rejects"),
    [
        ("postgres", "a.x = 1", True),
        ("postgres", "NOT a.x = 1", True),
        ("postgres", "a.x = ANY (b.arr)", True),
        ("postgres", "NOT (a.x = ANY (b.arr))", False),
        ("postgres", "NOT a.x = ANY ('{}'::int[])", False),
        ("postgres", "NOT a.x = SOME (b.arr)", False),
        ("postgres", "a.x <> ALL ('{}')", False),
        ("postgres", "a.x <> ALL (ARRAY[7])", False),
        ("postgres", "a.t LIKE ANY ('{a}')", True),
        ("postgres", "NOT (a.t LIKE ANY ('{}'))", False),
        ("postgres", "a.t NOT LIKE ALL ('{}')", False),
        ("postgres", "a.t NOT LIKE 'x'", True),
        ("postgres", "NOT (a.x = ANY (SELECT 1))", False),
        ("postgres", "a.x NOT IN (1, 2)", True),
        ("postgres", "a.x NOT IN (SELECT 1)", False),
        # transform_null_equals
        ("postgres", "a.x = NULL", False),
        ("postgres", "(NULL) = a.x", False),
        ("postgres", "NOT a.x BETWEEN 1 AND 2", True),
        ("postgres", "a.x IS NOT NULL", True),
        ("postgres", "NOT (a.x IS NOT NULL)", False),
        ("postgres", "NOT a.x IS NULL", True),
        ("postgres", "a.x IS NULL", False),
        ("duckdb", "a.x IS NOT NULL", True),
        ("duckdb", "NOT (a.x IS NOT NULL)", False),
        ("postgres", "a.x + 1 > b.y", True),
        ("duckdb", "a.x IN b.arr", True),
        ("duckdb", "NOT (a.x IN b.arr)", False),
        ("duckdb", "a.x NOT IN []", False),
        ("duckdb", "a.x <> ALL ([])", False),
        ("duckdb", "NOT (a.x = ANY ([]))", False),
        ("duckdb", "a.l + [7] = [7]", False),
        ("duckdb", "a.l + b.l = [7]", False),
        ("duckdb", "a.d - INTERVAL 1 DAY < b.d", True),
    ],
)
def test_conditions(dialect: str, condition: str, rejects: bool) -> None:
    assert on_a(condition, dialect) is rejects


@pytest.mark.parametrize(
    "condition",
    [
        "a.x NOT IN []",
        "a.x <> ALL ([])",
        "NOT (a.x IN b.arr)",
        "a.l + [7] = [7]",
        "a.x NOT IN (7, 8)",
        "a.x IN [7]",
    ],
)
def test_duckdb_says_so(condition: str) -> None:
    """What is said to reject NULLs rejects them in the engine."""
    padded = (
        "SELECT count(*) FROM (SELECT 1 AS id, []::INT[] AS arr) b "
        f"LEFT JOIN (SELECT 2 AS id, 1 AS x, [1] AS l) a USING (id) WHERE {condition}"
    )
    (kept,) = duckdb.connect().execute(padded).fetchone() or (None,)
    assert not (on_a(condition, "duckdb") and kept)
