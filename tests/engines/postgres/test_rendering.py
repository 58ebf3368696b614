"""Statements under a steering: equal answers, parameters in their places, comments kept, joins as asked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from godb_fast.core import JoinTree, Steering, Template
from godb_fast.engines.base import Parameters, Rendered
from godb_fast.engines.postgres import PostgresEngine, borrow, open_url
from godb_fast.engines.postgres.rendering import leading_comments
from godb_fast.errors import InvalidInput
from godb_fast.sql import fingerprint, parse_template
from godb_fast.testing import EngineContract, random_tree, same_rows

JOINED = (
    "SELECT c.name, o.id, p.kind FROM customer c, orders o, item i, product p WHERE c.id = o.customer_id "
    "AND i.order_id = o.id AND p.id = i.product_id"
)
#: A statement, its parameters.
BOUND: tuple[tuple[str, Parameters], ...] = (
    (
        f"{JOINED} AND p.kind = %s AND o.total < %s AND c.name LIKE %s AND i.quantity + %s = 4",
        ("kind 1", 90, "name 1%", 3),
    ),
    (
        f"{JOINED} AND p.kind = $3 AND o.total < $1 AND c.name LIKE $2 AND i.quantity + 3 = 4",
        (90, "name 1%", "kind 1"),
    ),
    (
        f"{JOINED} AND p.kind = %(kind)s AND o.total < %(most)s AND c.name LIKE 'name 1%%' AND o.total > -%(most)s",
        {"most": 90, "kind": "kind 1"},
    ),
    (f"{JOINED} AND p.kind IN (%s, 'kind 2', %s) AND o.total IN (%s, %s, 5)", ("kind 1", "kind 3", 10, 20)),
    (
        "SELECT c.name, o.id FROM customer c LEFT JOIN orders o ON o.customer_id = c.id AND o.total < %s "
        "JOIN country y ON y.id = c.country_id AND y.name <> %s WHERE c.score > %s",
        (50, "country 3", 40.0),
    ),
)


@pytest.fixture
def engine(postgres_url: str) -> Iterator[PostgresEngine]:
    with open_url(postgres_url) as opened:
        for statement in (*EngineContract.SCHEMA, "ANALYZE"):
            opened.run(Rendered(statement))
        yield opened


def template_of(engine: PostgresEngine, sql: str) -> tuple[Template, Any]:
    statement = fingerprint(sql, "postgres")
    template = parse_template(statement, "postgres", engine.schema())
    assert template.plannable, (template.reason, [block.reason for block in template.blocks])
    return template, statement.literals


def trees_of(template: Template, rng: random.Random) -> Steering:
    return Steering(
        join_trees=tuple(
            (block.index, random_tree(block.graph, rng))
            for block in template.plannable
            if block.graph is not None
        )
    )


@pytest.mark.parametrize(("sql", "params"), BOUND, ids=range(len(BOUND)))
def test_parameters_keep_their_values_under_every_tree(
    engine: PostgresEngine, sql: str, params: Parameters
) -> None:
    rng = random.Random(5)
    default = engine.run(Rendered(sql, params))
    assert default.rows
    template, literals = template_of(engine, sql)
    texts = set()
    for _ in range(12):
        try:
            statement = engine.render(template, literals, trees_of(template, rng), params)
        except InvalidInput:
            continue  # a random tree may break an outer join's order
        texts.add(statement.sql)
        result = engine.run(statement, timeout_s=60)
        assert (result.columns, result.types) == (default.columns, default.types)
        assert same_rows(result.rows, default.rows), statement.sql
        assert engine.explain_steered(statement).root.walk()
    assert len(texts) > 2


@pytest.mark.parametrize("kind", [psycopg.Cursor, psycopg.ClientCursor, psycopg.RawCursor])
def test_parameters_on_every_kind_of_cursor(engine: PostgresEngine, postgres_url: str, kind: type) -> None:
    rng = random.Random(6)
    with psycopg.connect(postgres_url, autocommit=True, cursor_factory=kind) as raw:
        borrowed = borrow(raw)
        for sql, params in BOUND[1:2] if kind is psycopg.RawCursor else BOUND:
            default = borrowed.run(Rendered(sql, params))
            template, literals = template_of(borrowed, sql)
            for _ in range(3):
                try:
                    statement = borrowed.render(template, literals, trees_of(template, rng), params)
                except InvalidInput:
                    continue
                assert same_rows(borrowed.run(statement).rows, default.rows), statement.sql


#: Semi and anti joins above all others, outer joins, derived tables, subqueries.
SHAPES = (
    "SELECT c.name, y.name FROM customer c JOIN country y ON y.id = c.country_id WHERE EXISTS "
    "(SELECT 1 FROM orders o WHERE o.customer_id = c.id AND o.status = 'open') AND NOT EXISTS "
    "(SELECT 1 FROM orders o2 WHERE o2.customer_id = c.id AND o2.total > 1200)",
    "SELECT y.name, d.n FROM country y, (SELECT c.country_id, o.status, i.quantity AS n FROM customer c, orders o, "
    "item i WHERE c.id = o.customer_id AND i.order_id = o.id AND o.total < 40) d WHERE d.country_id = y.id",
    "WITH w AS (SELECT o.customer_id, count(*) AS n FROM orders o JOIN item i ON i.order_id = o.id "
    "GROUP BY o.customer_id) SELECT c.name, w.n FROM w JOIN customer c ON c.id = w.customer_id "
    "JOIN country y ON y.id = c.country_id WHERE w.n > 2",
    "SELECT c.name, o.total, i.quantity FROM customer c LEFT JOIN orders o ON o.customer_id = c.id "
    "LEFT JOIN item i ON i.order_id = o.id WHERE c.id < 60",
)


@pytest.mark.parametrize("sql", SHAPES, ids=range(len(SHAPES)))
def test_other_shapes_keep_their_answers(engine: PostgresEngine, sql: str) -> None:
    rng = random.Random(7)
    default = engine.run(Rendered(sql))
    template, literals = template_of(engine, sql)
    seen = 0
    for _ in range(30):
        steering = trees_of(template, rng)
        try:
            statement = engine.render(template, literals, steering)
        except InvalidInput:
            continue
        seen += 1
        result = engine.run(statement, timeout_s=60, profile=True)
        assert same_rows(result.rows, default.rows), statement.sql
        assert result.plan is not None
        assert engine.obeyed(template, steering, result.plan, literals) is not False, (
            statement.sql,
            statement.before,
            steering,
            result.plan.draw(),
        )
    assert seen


def test_settings_alone(engine: PostgresEngine) -> None:
    template, literals = template_of(engine, EngineContract.QUERIES[2])
    steering = Steering(settings=(("enable_hashjoin", "off"), ("enable_mergejoin", "off"), ("jit", "off")))
    statement = engine.render(template, literals, steering)
    assert statement.before == (
        "SET LOCAL enable_hashjoin = 'off'",
        "SET LOCAL enable_mergejoin = 'off'",
        "SET LOCAL jit = 'off'",
    )
    operators = {node.operator for node in engine.explain_steered(statement).root.walk()}
    assert "Nested Loop" in operators
    assert not operators & {"Hash Join", "Merge Join"}
    assert {node.operator for node in engine.explain(statement.sql).root.walk()} & {"Hash Join", "Merge Join"}


def test_what_cannot_be_asked_for_is_refused(engine: PostgresEngine) -> None:
    template, literals = template_of(engine, EngineContract.QUERIES[0])
    tree: JoinTree = (0, 1)
    with pytest.raises(InvalidInput, match="no pg_hint_plan"):
        engine.render(template, literals, Steering(hints=("SeqScan(a)",)))
    with pytest.raises(InvalidInput, match="not one that PostgreSQL is steered by"):
        engine.render(template, literals, Steering(settings=(("role", "postgres"),)))
    with pytest.raises(InvalidInput, match="literals for the"):
        engine.render(template, (), Steering(join_trees=((0, tree),)))
    with pytest.raises(InvalidInput, match="block 7"):
        engine.render(template, literals, Steering(join_trees=((7, tree),)))


@pytest.mark.parametrize(
    ("sql", "comments"),
    [
        ("SELECT 1", ""),
        ("/* app='x' */ SELECT 1", "/* app='x' */ "),
        ("  /*traceparent='00-1'*/SELECT 1", "  /*traceparent='00-1'*/ "),
        ("-- who\n/* a /* nested */ b */\nSELECT 1", "-- who\n/* a /* nested */ b */ "),
        ("/*+ Leading(a b) */ SELECT 1", ""),
        ("/* a */ /*+ Leading(a b) */ SELECT 1", "/* a */ "),
        ("/* not closed", ""),
        ("SELECT 1 /* behind */", ""),
    ],
)
def test_comments_in_front(sql: str, comments: str) -> None:
    assert leading_comments(sql) == comments
