"""What a template holds: blocks, reasons, graphs, filters bound to slots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.catalogue import Catalogue

from godb_fast.core import (
    And,
    Block,
    ColumnRef,
    Comparison,
    Constant,
    JoinKind,
    Not,
    Opaque,
    Or,
    Slot,
    Template,
)
from godb_fast.sql import parse_template

DAY = 86400.0


def template(schema: Catalogue, sql: str, dialect: str = "duckdb") -> Template:
    return parse_template(sql, dialect, schema)


def main(schema: Catalogue, sql: str, dialect: str = "duckdb") -> Block:
    return template(schema, sql, dialect).blocks[0]


def edges(block: Block) -> set[str]:
    assert block.graph is not None
    names = block.graph.relations
    return {f"{names[i]}-{names[j]}" for i, j in block.graph.edges.tolist()}


# Graphs ------------------------------------------------------------------------------------------------


def test_transitive_equalities_connect(schema: Catalogue) -> None:
    block = main(schema, "SELECT 1 FROM a, b, e WHERE a.id = b.id AND b.id = e.id AND a.x < e.k")
    assert edges(block) == {"a-b", "b-e", "a-e"}
    graph = block.graph
    assert graph is not None
    assert np.diff(graph.class_start).tolist() == [3]
    assert sorted(graph.class_columns, key=repr) == [
        ColumnRef(0, "id"),
        ColumnRef(1, "id"),
        ColumnRef(2, "id"),
    ]
    assert [predicate.equivalence for predicate in graph.predicates] == [0, 0, -1]
    assert [predicate.selective for predicate in graph.predicates] == [-1, -1, 0]
    assert graph.selective_member.tolist() == [0, 2]


def test_only_equal_types_are_transitive(schema: Catalogue) -> None:
    # INTEGER = DOUBLE may round: nothing follows from it.
    block = main(schema, "SELECT 1 FROM a, c, e WHERE a.id = c.y AND c.y = e.id")
    assert edges(block) == {"a-c", "c-e"}
    assert block.graph is not None
    assert block.graph.class_start.tolist() == [0]
    # INTEGER and BIGINT compare exactly.
    assert edges(main(schema, "SELECT 1 FROM a, d, e WHERE a.id = d.c_id AND d.c_id = e.id")) == {
        "a-d", "d-e", "a-e",
    }  # fmt: skip


def test_a_class_has_one_column_of_a_relation(schema: Catalogue) -> None:
    block = main(schema, "SELECT 1 FROM a, b WHERE a.id = b.a_id AND a.id = b.x")
    graph = block.graph
    assert graph is not None
    assert graph.class_member.tolist() == [0, 1]
    assert sorted(predicate.equivalence for predicate in graph.predicates) == [-1, 0]


def test_outer_joins_are_operators(schema: Catalogue) -> None:
    graph = main(schema, "SELECT 1 FROM a LEFT JOIN b ON a.id = b.a_id JOIN e ON a.id = e.id").graph
    assert graph is not None
    (operator,) = graph.operators
    assert (operator.kind, operator.left, operator.right) == (JoinKind.LEFT, 0b001, 0b010)
    assert edges(main(schema, "SELECT 1 FROM a LEFT JOIN b ON a.id = b.a_id WHERE b.x = 1")) == {"a-b"}


def test_an_or_implies_what_all_branches_demand(schema: Catalogue) -> None:
    block = main(
        schema,
        "SELECT 1 FROM a, b WHERE (a.id = b.a_id AND a.x = 1 AND b.x > 2) OR (b.a_id = a.id AND a.x = 3)",
    )
    assert edges(block) == {"a-b"}
    assert block.graph is not None
    assert [predicate.operator for predicate in block.graph.predicates] == [None, "="]
    (both,) = block.filters[0]
    assert both == Or(
        (
            Comparison("=", ColumnRef(0, "x"), (Slot(1),)),
            Comparison("=", ColumnRef(0, "x"), (Slot(3),)),
        )
    )
    assert block.filters[1] == ()


def test_filters_of_padded_relations_are_none(schema: Catalogue) -> None:
    block = main(
        schema, "SELECT 1 FROM a LEFT JOIN b ON a.id = b.a_id AND b.x = 1 WHERE b.s IS NULL AND a.x = 2"
    )
    assert block.filters[0] == (Comparison("=", ColumnRef(0, "x"), (Slot(2),)),)
    assert block.filters[1] == (Comparison("=", ColumnRef(1, "x"), (Slot(1),)),)


# Filters -----------------------------------------------------------------------------------------------

X, S, D, ID = (ColumnRef(0, name) for name in ("x", "s", "d", "id"))


@pytest.mark.parametrize(
    ("condition", "predicate"),
    [
        ("x = 5", Comparison("=", X, (Slot(0),))),
        ("5 < x", Comparison(">", X, (Slot(0),))),
        ("x <> -5", Comparison("<>", X, (Slot(0),))),
        ("x = - 5", Opaque("column_comparison:=", (X,))),
        ("x != (5)", Comparison("<>", X, (Slot(0),))),
        ("x IN (1, 2, 3)", Comparison("in", X, (Slot(0),))),
        ("x NOT IN (1, 2)", Not(Comparison("in", X, (Slot(0),)))),
        ("x BETWEEN 1 AND 2", Comparison("between", X, (Slot(0), Slot(1)))),
        ("s LIKE 'a%'", Comparison("like", S, (Slot(0),))),
        ("s NOT ILIKE 'a%'", Not(Comparison("ilike", S, (Slot(0),)))),
        ("x IS NULL", Comparison("is_null", X)),
        ("x IS NOT NULL", Not(Comparison("is_null", X))),
        ("x IS NOT DISTINCT FROM 1", Comparison("is_not_distinct", X, (Slot(0),))),
        ("x = NULL", Comparison("=", X, (Constant(None),))),
        ("x = ?", Comparison("=", X, (Slot(0),))),
        ("(x = 1 OR (x = 2 AND s = 'a'))", Or((
            Comparison("=", X, (Slot(0),)),
            And((Comparison("=", X, (Slot(1),)), Comparison("=", S, (Slot(2),)))),
        ))),
        ("NOT (x = 1)", Not(Comparison("=", X, (Slot(0),)))),
        ("x = id", Opaque("column_comparison:=", (X, ID))),
        ("x + id < 3", Opaque("column_comparison:<", (X, ID))),
        ("d >= DATE '2020-01-01'", Comparison(">=", D, (Slot(0),))),
        ("d < DATE '2020-01-01' + INTERVAL '3' DAY", Comparison("<", D, (Slot(0),), None, 3 * DAY)),
        ("d < CAST('2020-01-01' AS DATE) - INTERVAL 1 WEEK", Comparison("<", D, (Slot(0),), None, -7 * DAY)),
        ("d + INTERVAL '2 days' > '2020-01-01'", Comparison(">", D, (Slot(0),), None, -2 * DAY)),
        ("extract(year FROM d) = 2020", Comparison("=", D, (Slot(0),), "year")),
        ("month(d) = 2", Comparison("=", D, (Slot(0),), "month")),
        ("lower(s) = 'a'", Comparison("=", S, (Slot(0),), "lower")),
        ("substring(s, 1, 2) IN ('a', 'b')", Comparison("in", S, (Slot(2),), "substring")),
        ("s || 'x' = 'ax'", Opaque("column_comparison:=", (S,))),
        ("starts_with(s, 'a')", Opaque("function", (S,))),
        ("x > (SELECT avg(x) FROM b)", Opaque("column_comparison:>", (X,))),
    ],
)  # fmt: skip
def test_filters(schema: Catalogue, condition: str, predicate: Any) -> None:
    block = main(schema, f"SELECT id FROM a WHERE {condition}")
    found = block.filters[0]
    if "SELECT" in condition:
        assert found in ((Opaque("column_comparison:>", (X,)),), (Opaque("subquery", (X,)),))
    else:
        assert found == (predicate,)


def test_both_dialects_read_alike(schema: Catalogue) -> None:
    sql = "SELECT a.id FROM a, b WHERE a.id = b.a_id AND b.x IN (1, 2) AND a.d < DATE '2020-01-01' + INTERVAL '1' DAY"
    one, two = main(schema, sql), main(schema, sql, "postgres")
    assert one.filters == two.filters
    assert edges(one) == edges(two)


# Blocks ------------------------------------------------------------------------------------------------


def test_the_tree_of_blocks(schema: Catalogue) -> None:
    found = template(
        schema,
        "WITH w AS MATERIALIZED (SELECT id FROM a GROUP BY id) "
        "SELECT DISTINCT w.id FROM w, (SELECT x, count(*) AS n FROM b GROUP BY 1 UNION SELECT k, 1 FROM e) t, v "
        "WHERE w.id = t.x AND v.id = w.id AND t.n > (SELECT min(y) FROM c)",
    )
    summary = [(block.parent, block.role, block.aggregated, block.distinct) for block in found.blocks]
    assert summary == [
        (None, "main", False, True),
        (0, "cte", True, False),
        (0, "derived", False, True),
        (2, "set_operand", True, False),
        (2, "set_operand", False, False),
        (0, "view", False, False),
        (0, "subquery", True, False),
    ]
    assert found.blocks[1].materialized is True
    assert found.blocks[1].group_by == (ColumnRef(0, "id"),)
    assert found.blocks[3].group_by == (ColumnRef(0, "x"),)
    assert [relation.block for relation in found.blocks[0].relations] == [1, 2, 5]
    assert found.blocks[5].graph is not None
    assert [block.index for block in found.plannable] == [0]
    # A view's literals never differ: they are constants.
    assert found.blocks[5].filters[0] == (Comparison(">", ColumnRef(0, "x"), (Constant(1.0),)),)


def test_semi_joined_relations_belong_to_the_block(schema: Catalogue) -> None:
    found = template(schema, "SELECT id FROM a WHERE id IN (SELECT a_id FROM b WHERE x = 1) AND a.x = 2")
    (block,) = found.blocks
    assert [relation.alias for relation in block.relations] == ["a", "b"]
    assert block.filters == (
        (Comparison("=", ColumnRef(0, "x"), (Slot(1),)),),
        (Comparison("=", ColumnRef(1, "x"), (Slot(0),)),),
    )


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT 1 FROM a FULL JOIN b ON a.id = b.id", "a FULL join"),
        ("SELECT 1 FROM a, LATERAL (SELECT a.x) t", "lateral in FROM"),
        ("SELECT 1 FROM a, (SELECT a.x AS y) t WHERE t.y = a.id", "looks at what is outside"),
        ("SELECT 1 FROM a, range(3) r", "table function"),
        ("SELECT 1 FROM a, 'file.parquet' f", "not in the catalogue"),
        ("SELECT 1 FROM a, nosuch n WHERE a.id = n.id", "nosuch is not in the catalogue"),
        ("SELECT 1 FROM a, bb WHERE a.id = 1", "bb is not in the catalogue"),
        ("SELECT 1 FROM a, a WHERE a.id = 1", "a appears twice"),
        ("SELECT 1 FROM a, b WHERE id = 1", "column id is ambiguous"),
        ("SELECT 1 FROM a, b WHERE a.nosuch = 1", "a.nosuch is no column"),
        ("SELECT 1 FROM a, b WHERE q = 1", "column q is not known"),
        ("SELECT a.x AS q FROM a, b WHERE q = 1", "column q is not known"),
        ("SELECT 1 FROM a JOIN b ON a.id = b.id AND EXISTS (SELECT 1)", "a subquery in an ON clause"),
        ("SELECT 1 FROM a, (SELECT 1)", "a derived table without a name"),
        ("SELECT 1 FROM a, (VALUES (1)) t(q)", "in FROM"),
        ("SELECT COLUMNS(*) FROM a, b", "COLUMNS"),
        ("SELECT * EXCLUDE (s) FROM a, b", "EXCLUDE"),
        ("SELECT main.a.id FROM a, b WHERE main.a.id = b.id", "a schema's name"),
        ("SELECT 1 FROM a PIVOT (count(*) FOR x IN (1)) p, b", "pivot"),
        ("SELECT 1 FROM a RIGHT JOIN b USING (id)", "RIGHT join with USING"),
        ("SELECT 1 FROM a NATURAL JOIN (SELECT 1 AS zz) t", "without a common column"),
        ("SELECT 1 FROM a JOIN c USING (x)", "not one column on either side"),
        ("SELECT id + 1 FROM a JOIN b USING (id)", "unnamed expression"),
    ],
)
def test_blocks_that_keep_the_engines_plan(schema: Catalogue, sql: str, reason: str) -> None:
    block = main(schema, sql)
    assert block.graph is None
    assert reason in (block.reason or "")


def test_duckdbs_from_first_syntax_is_left_alone(schema: Catalogue) -> None:
    # Some versions of sqlglot read it, but then the clauses are not where they are expected.
    assert template(schema, "FROM a, b SELECT a.id WHERE a.id = b.id").plannable == ()


def test_near_names_are_offered(schema: Catalogue) -> None:
    (table,) = [name for name in schema.tables if name == "e"]
    assert table
    reason = main(schema, "SELECT 1 FROM a, vv WHERE a.id = 1").reason
    assert reason == "vv is not in the catalogue (near names: v)"


def test_inner_blocks_are_planned_where_the_outer_is_not(schema: Catalogue) -> None:
    found = template(
        schema,
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) "
        "SELECT * FROM r FULL JOIN (SELECT a.id FROM a, b WHERE a.id = b.a_id) t ON r.n = t.id",
    )
    assert [block.reason for block in found.blocks] == [
        "the columns of r are not known",
        "a recursive CTE",
        None,
    ]
    assert [block.index for block in found.plannable] == [2]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("", "an empty statement"),
        ("-- nothing", "an empty statement"),
        ("INSERT INTO a SELECT * FROM a", "not a SELECT"),
        ("CREATE TABLE z AS SELECT 1", "not a SELECT"),
        ("EXPLAIN SELECT 1", "not a SELECT"),
        ("VALUES (1)", "not a SELECT"),
        ("SELECT 1; SELECT 2", "several statements"),
        ("WITH w AS (INSERT INTO a VALUES (1) RETURNING id) SELECT * FROM w", "INSERT"),
        ("SELECT FROM WHERE", "the parser does not understand it"),
        ("SELEC 1", "not a SELECT"),
        ("SELECT (1", "the parser does not understand it"),
        ("WITH", "the parser does not understand it"),
    ],
)
def test_statements_that_pass_through(schema: Catalogue, sql: str, reason: str) -> None:
    found = template(schema, sql)
    assert reason in (found.reason or "")
    assert found.plannable == ()


def test_hints_of_the_user_are_left_alone(schema: Catalogue) -> None:
    sql = "/*+ HashJoin(a b) */ SELECT a.id FROM a, b WHERE a.id = b.a_id"
    assert template(schema, sql, "postgres").reason == "the statement carries hints of its own"
    assert template(schema, sql).reason is None


# Order -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "sensitive"),
    [
        ("SELECT id FROM a LIMIT 3", True),
        ("SELECT id FROM a OFFSET 3", True),
        ("SELECT id FROM a ORDER BY id", False),
        ("SELECT id, x FROM a ORDER BY x LIMIT 3", True),
        ("SELECT id, x FROM a ORDER BY x, id LIMIT 3", False),
        ("SELECT id, x FROM a ORDER BY 2, 1 LIMIT 3", False),
        ("SELECT id, x + 1 AS y FROM a ORDER BY y, a.id LIMIT 3", True),
        ("SELECT * FROM a ORDER BY id LIMIT 3", True),
        ("SELECT * FROM a ORDER BY ALL LIMIT 3", False),
        ("SELECT x, count(*) FROM a GROUP BY x ORDER BY count(*) LIMIT 3", True),
        ("SELECT x, count(*) FROM a GROUP BY x ORDER BY count(*), x LIMIT 3", False),
        ("SELECT x, s, count(*) FROM a GROUP BY 1, s ORDER BY s, x LIMIT 3", False),
        ("SELECT count(*) FROM a LIMIT 1", False),
        ("SELECT id FROM a WHERE EXISTS (SELECT 1 FROM b LIMIT 1)", False),
        ("SELECT id FROM (SELECT id FROM a LIMIT 3) t", True),
        ("SELECT id FROM a UNION ALL SELECT id FROM b LIMIT 3", True),
        ("SELECT x FROM a ORDER BY id FETCH FIRST 3 ROWS ONLY", True),
        ("SELECT DISTINCT ON (x) x, id FROM a", True),
        ("SELECT DISTINCT x FROM a", False),
        ("SELECT id FROM a USING SAMPLE 10%", True),
        ("SELECT id FROM a TABLESAMPLE 10%", True),
        ("SELECT id FROM a FOR UPDATE", True),
        ("SELECT row_number() OVER (ORDER BY x) FROM a", True),
        ("SELECT lag(x) OVER (ORDER BY x) FROM a", True),
        ("SELECT rank() OVER (ORDER BY x) FROM a", False),
        ("SELECT sum(id) OVER (PARTITION BY x ORDER BY s) FROM a", False),
        ("SELECT sum(id) OVER (ORDER BY s ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM a", True),
        (
            "SELECT sum(id) OVER (ORDER BY s ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM a",
            False,
        ),
        ("SELECT string_agg(s, ',') FROM a", True),
        ("SELECT list(id) FROM a", True),
        ("SELECT first(id) FROM a", True),
        ("SELECT any_value(id) FROM a", True),
        ("SELECT max(id) FROM a", False),
        ("SELECT random() FROM a", True),
        ("SELECT a.id FROM a ASOF JOIN b ON a.id >= b.id", True),
    ],
)
def test_order_sensitivity(schema: Catalogue, sql: str, sensitive: bool) -> None:
    found = template(schema, sql)
    assert (found.order_sensitive is not None) == sensitive, found.order_sensitive
    assert found.reason == found.order_sensitive


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_not_null_is_no_null(schema: Catalogue, dialect: str) -> None:
    found = template(schema, "SELECT a.id FROM a WHERE a.s IS NOT NULL AND a.x IS NULL", dialect)
    filters = found.blocks[0].filters[0]
    assert [type(part).__name__ for part in filters] == ["Not", "Comparison"]
