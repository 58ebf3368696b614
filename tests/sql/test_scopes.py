"""Copies of trees: equal, whole, and apart from what they were made of."""

from __future__ import annotations

import pytest
import sqlglot

from godb_fast.demo import stream
from godb_fast.sql.scopes import below, copied

STATEMENTS = [
    "SELECT CAST(a AS DECIMAL(8, 2)), count(*) FILTER (WHERE b > 1) FROM t AS u(a, b) GROUP BY 1 ORDER BY 2 DESC",
    "WITH w AS MATERIALIZED (SELECT 1 AS x) SELECT * FROM w, LATERAL (SELECT w.x + 1) l WHERE x IN (1, 2)",
    "SELECT a, b FROM t UNION ALL (SELECT CASE WHEN a THEN NULL ELSE 'x' END, sum(b) OVER (PARTITION BY a) FROM t)",
    *[query.sql for query in stream(instances=1, scale=0.01)],
]


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_a_copy_is_what_the_parsers_own_copy_is(dialect):
    for sql in STATEMENTS:
        tree = sqlglot.parse_one(sql, dialect=dialect)
        own, theirs = copied(tree), tree.copy()
        assert own == tree
        assert own.sql(dialect) == theirs.sql(dialect)
        for one, other, old in zip(below(own), below(theirs), below(tree), strict=True):
            assert one is not old
            assert type(one) is type(other)
            assert list(one.args) == list(other.args)
            assert (one.arg_key, one.index) == (other.arg_key, other.index)
            assert (one.parent is None) == (other.parent is None)
            assert one.meta == other.meta


def test_what_is_changed_in_a_copy_stays_there():
    tree = sqlglot.parse_one("SELECT a FROM t WHERE b = 1", dialect="duckdb")
    before = tree.sql()
    hash(tree)
    other = copied(tree)
    for node in below(other):
        node.meta["mark"] = True
    other.args["where"].this.set("expression", sqlglot.exp.Literal.number(2))
    other.expressions.append(sqlglot.exp.column("c"))
    assert tree.sql() == before
    assert other != tree
    assert not any("mark" in node.meta for node in below(tree))
