"""LIMITs whose rows an answer shows to be certain: which there are, and the text that asks for a row more."""

from __future__ import annotations

import pytest

from godb_fast.core import Cut, Table
from godb_fast.errors import InvalidInput
from godb_fast.sql import parse_template
from godb_fast.sql.cut import widened


class Columns:
    """A schema of one table ``t`` with columns a, b and c."""

    def resolve(self, parts: tuple[str, ...]) -> Table | None:
        return Table("x.public.t", ("a", "b", "c"), ("integer",) * 3) if parts == ("t",) else None

    def near(self, name: str) -> tuple[str, ...]:
        return ()


def cut_of(sql: str) -> Cut | None:
    template = parse_template(sql, "postgres", Columns())
    assert template.order_sensitive is not None or template.cut is None
    return template.cut


@pytest.mark.parametrize(
    ("sql", "keys"),
    [
        ("SELECT a, b FROM t ORDER BY b LIMIT 10", (1,)),
        ("SELECT a AS x, b, c FROM t ORDER BY x, lower(b), b LIMIT 10", (0,)),
        (
            "SELECT a, count(*) AS n, max(b) FROM t GROUP BY a, c ORDER BY 2 DESC, a NULLS FIRST LIMIT 10",
            (1, 0),
        ),
        ("SELECT (a), b FROM t ORDER BY a LIMIT 10", (0,)),
        ("SELECT * FROM t ORDER BY B, 1, t.c LIMIT 10", ("b", 0)),
        ("WITH w AS (SELECT a, b FROM t) SELECT b, a FROM w ORDER BY a LIMIT 10", (1,)),
        ("SELECT a, sum(b), c FROM t GROUP BY ROLLUP (a, c) ORDER BY a, sum(b) LIMIT 10", (0, 1)),
    ],
)
def test_keys_in_the_result_tell(sql, keys):
    assert cut_of(sql) == Cut(10, keys)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, b FROM t LIMIT 10",
        "SELECT a, b FROM t ORDER BY c LIMIT 10",
        "SELECT * FROM t ORDER BY t.a LIMIT 10",
        "SELECT a, b FROM t ORDER BY a LIMIT 10 OFFSET 5",
        "SELECT a, b FROM t ORDER BY a OFFSET 5",
        "SELECT a, b FROM t ORDER BY a LIMIT 0",
        "SELECT a, b FROM t ORDER BY a LIMIT $1",
        "SELECT a, b FROM t ORDER BY a LIMIT 5 + 5",
        "SELECT a, b FROM t ORDER BY a FETCH FIRST 10 ROWS WITH TIES",
        "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a LIMIT 10",
        "SELECT a, b FROM t ORDER BY a LIMIT 10 FOR UPDATE",
        "SELECT a, row_number() OVER (ORDER BY b) FROM t ORDER BY a LIMIT 10",
        "SELECT a, b FROM (SELECT a, b FROM t LIMIT 5) u ORDER BY a LIMIT 10",
        "SELECT a, array_agg(b) FROM t GROUP BY a, c ORDER BY a LIMIT 10",
        # A total order needs no look.
        "SELECT a, b FROM t ORDER BY b, a LIMIT 10",
    ],
)
def test_what_else_depends_on_the_plan_is_not_looked_at(sql):
    assert cut_of(sql) is None


def test_names_are_places_where_one_column_has_them():
    cut = Cut(10, ("b", 0, "a", "c"))
    assert cut.positions(("a", "b", "c")) == (1, 0, 0, 2)
    assert cut.positions(("a", "b", "a")) == (1, 0)
    assert cut.positions(("x", "y")) == ()


def test_a_row_more_and_nothing_else():
    sql = "/* ö */ SELECT a, 'limit 10' FROM t -- limit 10\nORDER BY a  limit /* x */ 10 ; -- end"
    assert widened(sql, "postgres", Cut(10, (0,))) == (
        "/* ö */ SELECT a, 'limit 10' FROM t -- limit 10\nORDER BY a  limit /* x */ 11 ; -- end"
    )


@pytest.mark.parametrize(
    "sql", ["SELECT a FROM t", "SELECT a FROM t LIMIT 11", "SELECT a FROM t LIMIT 10 OFFSET 1"]
)
def test_another_text_is_refused(sql):
    with pytest.raises(InvalidInput, match="does not end with"):
        widened(sql, "postgres", Cut(10, (0,)))
