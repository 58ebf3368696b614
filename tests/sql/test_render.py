"""Every statement and its steered forms run on the real engine: same names, same types, same rows."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from oracles.catalogue import Catalogue
from oracles.join_trees import random_tree

from godb_fast.core import NO_STEERING, Steering, Template
from godb_fast.errors import InvalidInput
from godb_fast.sql import fingerprint, parse_template, render


def answer(database: Any, sql: str, params: Any = None) -> tuple[list[tuple[str, str]], Counter[Any]]:
    result = database.execute(sql, params) if params is not None else database.execute(sql)
    return [(name, str(kind)) for name, kind, *_ in result.description], Counter(map(repr, result.fetchall()))


def steer(template: Template, rng: Random) -> Steering:
    return Steering(tuple((block.index, random_tree(block.graph, rng)) for block in template.plannable))


def check(
    database: Any, schema: Catalogue, sql: str, blocks: int, rounds: int = 6, params: Any = None
) -> Template:
    """Steer all plannable blocks (their number is given) to random trees and compare the answers."""
    found = fingerprint(sql)
    template = parse_template(found, "duckdb", schema)
    reasons = [block.reason for block in template.blocks if block.reason]
    assert template.reason is None
    assert len(template.plannable) == blocks, reasons
    expected = answer(database, sql, params)
    assert answer(database, render(template, found.literals, NO_STEERING), params) == expected
    for seed in range(rounds):
        steered = render(template, found.literals, steer(template, Random(seed)))
        assert answer(database, steered, params) == expected, steered
    return template


JOINS = [
    ("SELECT a.id, b.id, c.id FROM a, b, c WHERE a.id = b.a_id AND b.id = c.b_id AND a.x > 0", 1),
    ("SELECT * FROM a, b, c WHERE a.id = b.a_id AND b.id = c.b_id", 1),
    ("SELECT *, a.x + 1 FROM b JOIN a ON a.id = b.a_id AND b.x = 2 JOIN c ON b.id = c.b_id", 1),
    ("SELECT A.Id, COUNT(*), Min(B.X + 1) FROM a JOIN B ON a.id = b.a_id, c WHERE c.b_id = b.id GROUP BY 1", 1),
    ("SELECT count(*) FROM a, b WHERE a.id = b.a_id OR a.x = b.x", 1),
    ("SELECT count(*) FROM a, b, c WHERE (a.id = b.a_id AND (b.id = c.b_id AND c.y > 1)) AND (a.x = 1 OR a.x = 2)", 1),
    ("SELECT count(*) FROM a x, a y, a z WHERE x.id = y.x AND y.id = z.x AND x.s <> z.s", 1),
    ("SELECT a.id, b.id, c.id FROM a, b, c WHERE a.id = b.a_id AND a.x < c.y", 1),
    ("SELECT a.id FROM a, b, e WHERE a.id = b.id AND b.id = e.id AND a.id = e.id AND e.k BETWEEN 1 AND 3", 1),
    ("SELECT count(*) FROM a, b, c, d WHERE a.x + b.x = d.x AND c.id = d.c_id AND a.id = b.a_id", 1),
    ("SELECT count(*) FROM a, b, c", 1),
    ("SELECT s FROM a JOIN b USING (s) JOIN c USING (s)", 1),
    ("SELECT * FROM a JOIN b USING (id) WHERE id > 3", 1),
    ("SELECT *, id FROM a LEFT JOIN b USING (id, x) ORDER BY id", 1),
    ("SELECT id, count(*) AS n FROM a NATURAL JOIN e GROUP BY id HAVING id > 1", 1),
    ("SELECT t.* FROM a AS t(p, q), b WHERE t.p = b.a_id", 1),
    ('SELECT "Order" FROM d, c WHERE d."Order" = c.id AND d.id > 1', 1),
    ("SELECT main.a.id FROM a, b WHERE a.id = b.a_id", 1),
    ("SELECT a.id FROM main.a, memory.main.b WHERE a.id = b.a_id", 1),
    ("SELECT a.id FROM (a JOIN b ON a.id = b.a_id) JOIN (c JOIN d ON c.id = d.c_id) ON b.id = c.b_id", 1),
    ("SELECT count(*) FROM a CROSS JOIN b JOIN c ON b.id = c.b_id", 1),
    ("SELECT a.id FROM a, b WHERE a.id=b.a_id and a.d>=date'2020-01-03'+interval'1'day and a.s like'n%'", 1),
    ("SELECT x.id FROM a x JOIN b y ON x.id = y.a_id AND x.id IN (1, 2, 3, 7) AND y.x IN (-1, 2)", 1),
    ("SELECT CASE WHEN a.x = 1 AND b.x = 2 THEN 1 END FROM a, b WHERE CASE WHEN a.x = 1 AND b.x > 1 THEN true ELSE a.id = b.a_id END AND a.id > 2", 1),
    ("SELECT count(*) FROM a, b WHERE a.id = b.a_id AND NOT (a.x = 1 OR b.x = 2) AND a.s NOT LIKE 'n1' AND b.s IS NOT NULL", 1),
    ("SELECT a.id, sum(a.id) OVER (PARTITION BY a.s) FROM a, b WHERE a.id = b.a_id", 1),
    ("SELECT DISTINCT a.s FROM a, b WHERE a.id = b.a_id ORDER BY a.s DESC", 1),
    ("SELECT a.id FROM a, b WHERE a.id = b.a_id -- comment ' with quote\n AND /* \" */ a.x = 1;", 1),
    ("SELECT count(*) FROM a, b, c WHERE (a.id = b.a_id AND a.x = 1 AND c.id = b.id) OR (a.id = b.a_id AND a.x = 2 AND c.id = b.x)", 1),
    ("select b.id from a join b on (a.id = b.a_id) where (((a.x > 0))) and ((b.x = 1 or b.x = 2))", 1),
    ("SELECT count(*) FROM a, b WHERE a.x IS NOT DISTINCT FROM b.x AND a.id = b.a_id", 1),
]  # fmt: skip

OUTER = [
    ("SELECT a.id, b.id FROM a LEFT JOIN b ON a.id = b.a_id", 1),
    ("SELECT * FROM a LEFT JOIN b ON a.id = b.a_id LEFT JOIN c ON b.id = c.b_id WHERE a.x = 1", 1),
    ("SELECT * FROM a LEFT JOIN b ON a.id = b.a_id AND b.x > 1 AND a.x = 2 JOIN e ON a.id = e.id", 1),
    ("SELECT * FROM a RIGHT JOIN b ON a.id = b.a_id WHERE b.x = 1", 1),
    ("SELECT a.id, c.id FROM a LEFT JOIN (b JOIN c ON b.id = c.b_id AND b.x > 1) ON a.id = b.a_id", 1),
    ("SELECT count(*) FROM a LEFT JOIN b ON a.id = b.a_id WHERE b.id IS NULL", 1),
    ("SELECT count(*) FROM a LEFT JOIN b ON a.id = b.a_id WHERE b.x = 1", 1),
    ("SELECT count(*) FROM a LEFT JOIN b ON a.id = b.a_id LEFT JOIN c ON a.x = c.y WHERE coalesce(b.x, 0) = coalesce(c.id, 0)", 1),
    ("SELECT * FROM d, a RIGHT JOIN b ON a.id = b.a_id WHERE d.x = b.x", 1),
    ("SELECT a.id, d.id FROM a, b LEFT JOIN c ON b.id = c.b_id LEFT JOIN d ON c.id = d.c_id WHERE a.id = b.a_id", 1),
    ("SELECT count(*) FROM a LEFT JOIN b ON true WHERE a.id = 1", 1),
    ("SELECT * FROM a SEMI JOIN b ON a.id = b.a_id JOIN e ON a.id = e.id", 1),
    ("SELECT * FROM a ANTI JOIN b ON a.id = b.a_id AND b.x = 1 JOIN e ON a.id = e.id", 1),
    ("SELECT * FROM a SEMI JOIN (b JOIN c ON b.id = c.b_id AND c.y > 2) ON a.id = b.a_id", 1),
]  # fmt: skip

SUBQUERIES = [
    ("SELECT a.id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.a_id = a.id)", 1),
    ("SELECT a.id FROM a WHERE EXISTS (SELECT * FROM b WHERE a_id = a.id AND b.x > 1) AND a.x = 1", 1),
    ("SELECT a.id FROM a, e WHERE a.id = e.id AND NOT EXISTS (SELECT b.x, 1 FROM b WHERE b.a_id = a.id AND b.s = a.s)", 1),
    ("SELECT a.id FROM a WHERE EXISTS (SELECT 1 FROM b, c WHERE b.id = c.b_id AND b.a_id = a.id AND c.y <> a.x)", 1),
    ("SELECT a.id FROM a WHERE NOT EXISTS (SELECT 1 FROM a b WHERE b.x = a.id)", 1),
    ("SELECT a.id FROM a WHERE EXISTS (SELECT 1 FROM a WHERE a.x > 100)", 0),
    ("SELECT b.id FROM b WHERE EXISTS (SELECT 1 FROM b b WHERE b.x = 1)", 0),
    ("SELECT x.id FROM a x, b WHERE x.id = b.a_id AND EXISTS (SELECT 1 FROM b WHERE b.x = x.x AND id > 2)", 1),
    ("SELECT a.id FROM a WHERE a.id IN (SELECT a_id FROM b WHERE x = 1)", 1),
    ("SELECT a.id FROM a, e WHERE a.id = e.k AND a.id IN (SELECT b.a_id FROM b, c WHERE b.id = c.b_id)", 1),
    ("SELECT a.id FROM a WHERE a.id IN (SELECT a_id FROM b GROUP BY a_id HAVING count(*) > 1)", 1),
    ("SELECT a.id FROM a WHERE ((a.id IN ((SELECT a_id FROM b UNION ALL SELECT b_id FROM c))))", 1),
    ("SELECT a.id FROM a WHERE a.id NOT IN (SELECT a_id FROM b)", 0),
    ("SELECT a.id FROM a WHERE a.id NOT IN (SELECT a_id FROM b WHERE a_id IS NOT NULL)", 0),
    ("SELECT a.id FROM a WHERE a.id NOT IN (SELECT k FROM e)", 1),
    ("SELECT a.id FROM a WHERE a.x NOT IN (SELECT k FROM e)", 0),
    ("SELECT a.id FROM e LEFT JOIN a ON a.id = e.id WHERE a.id NOT IN (SELECT k FROM e)", 1),
    ("SELECT a.id FROM a WHERE a.id IN (SELECT y FROM c)", 0),
    ("SELECT a.id FROM a WHERE (a.id, a.x) IN (SELECT a_id, x FROM b)", 0),
    ("SELECT a.id FROM a WHERE a.id IN (SELECT a_id FROM b WHERE b.x = a.x)", 1),
    ("SELECT a.id FROM a WHERE EXISTS (SELECT max(x) FROM b WHERE b.a_id = a.id)", 0),
    ("SELECT a.id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.a_id = a.id OR b.x = 1)", 0),
    ("SELECT a.id FROM a, b WHERE a.id = b.a_id AND b.x > (SELECT avg(x) FROM b i WHERE i.a_id = a.id)", 1),
    ("SELECT a.id, (SELECT count(*) FROM b, c WHERE b.id = c.b_id AND b.a_id = a.id) FROM a, e WHERE a.id = e.id", 1),
    ("SELECT a.id, (SELECT count(*) FROM b, c WHERE b.id = c.b_id AND b.a_id = a.id) n FROM a, e WHERE a.id = e.id", 2),
    ("SELECT EXISTS (SELECT 1 FROM b, c WHERE b.id = c.b_id AND b.a_id = a.id) FROM a", 0),
    ("SELECT a.id FROM a, b WHERE a.id = b.a_id AND a.x = (SELECT max(c.y) FROM c, d WHERE c.id = d.c_id AND d.x = a.x)", 2),
    ("SELECT a.id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.a_id = a.id AND EXISTS (SELECT 1 FROM c WHERE c.b_id = b.id AND c.y > a.x))", 0),
    ("SELECT a.id FROM a JOIN e ON a.id = e.id WHERE a.id IN (SELECT a_id FROM b) OR a.x = 1", 1),
    ("SELECT t.n FROM (SELECT a.s, count(*) AS n FROM a, b WHERE a.id = b.a_id GROUP BY a.s) t, c WHERE t.s = c.s", 2),
    ("SELECT * FROM (SELECT a.id, b.x FROM a JOIN b ON a.id = b.a_id) AS t(p, q) JOIN e ON t.p = e.id", 2),
    ("SELECT * FROM (SELECT * FROM a, b WHERE a.id = b.a_id) t", 1),
    ("WITH w AS (SELECT a.id, b.x FROM a, b WHERE a.id = b.a_id) SELECT * FROM w, w u, e WHERE w.id = u.x AND u.id = e.id", 2),
    ("WITH w(p) AS MATERIALIZED (SELECT id FROM a), u AS (SELECT p FROM w, b WHERE p = b.a_id) SELECT u.p FROM u JOIN e ON u.p = e.id", 2),
    ("WITH w AS (SELECT id FROM a) SELECT b.id FROM b WHERE b.a_id IN (SELECT id FROM w)", 1),
    ("SELECT a.id FROM a, b WHERE a.id = b.a_id UNION ALL SELECT c.id FROM c, d WHERE c.id = d.c_id EXCEPT SELECT 3", 2),
    ("SELECT v.bx FROM v, e WHERE v.id = e.id", 1),
    ("SELECT s FROM a JOIN b USING (s) WHERE EXISTS (SELECT 1 FROM c WHERE c.s = s AND c.y > 1)", 1),
    ("SELECT (SELECT max(c.y) FROM c WHERE c.s = a.s) AS m, count(*) FROM a JOIN b USING (s) GROUP BY a.s", 1),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "blocks"), JOINS + OUTER + SUBQUERIES)
def test_same_answers(database: Any, schema: Catalogue, sql: str, blocks: int) -> None:
    check(database, schema, sql, blocks)


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT a.id FROM a, b, c WHERE c.y > ? AND a.id = b.a_id AND b.id = c.b_id AND a.x > ?", [1, 0]),
        ("SELECT a.id FROM a, b WHERE a.id = b.a_id AND b.x IN (?, ?) AND a.s = ?", [1, 2, "n1"]),
        ("SELECT a.id FROM a, b WHERE a.id = b.a_id AND b.x > $2 AND a.x = $1", [1, 0]),
        ("SELECT a.id + ? FROM a, b WHERE a.id = b.a_id AND b.x + a.x > ?", [5, 1]),
        (
            "SELECT a.id FROM a, b WHERE a.id = b.a_id AND a.s = $name AND b.x > $low",
            {"low": 0, "name": "n1"},
        ),
    ],
)
def test_parameters_keep_their_places(database: Any, schema: Catalogue, sql: str, params: Any) -> None:
    check(database, schema, sql, 1, params=params)


def test_literals_of_another_query_of_the_template(database: Any, schema: Catalogue) -> None:
    first = "select a.id from a,b where a.id=b.a_id and a.s like'n%'and b.x in(1)and a.x>-1"
    others = [
        "select a.id from a,b where a.id=b.a_id and a.s like E'n\\x31' and b.x in (1, 2,3) and a.x > -2",
        "select a.id from a,b where a.id=b.a_id and a.s like $$n2$$ and b.x in (0) and a.x>-5",
    ]
    template = parse_template(first, "duckdb", schema)
    for sql in [first, *others]:
        found = fingerprint(sql)
        assert found.hash == template.fingerprint
        for seed in range(4):
            steered = render(template, found.literals, steer(template, Random(seed)))
            assert answer(database, steered) == answer(database, sql)


def rendered(schema: Catalogue, sql: str, tree: Any, dialect: str = "duckdb") -> str:
    found = fingerprint(sql, dialect)
    template = parse_template(found, dialect, schema)
    return render(template, found.literals, Steering(((template.plannable[0].index, tree),)))


CHAIN = "SELECT * FROM a, b, c WHERE a.id = b.a_id AND b.id = c.b_id AND a.x = 1"
TRIANGLE = "SELECT a.id FROM a, b, e WHERE a.id = b.id AND b.id = e.id AND a.s = 'n1'"


@pytest.mark.parametrize(
    ("sql", "tree", "expected"),
    [
        (CHAIN, ((0, 1), 2), "SELECT a.*, b.*, c.* FROM a JOIN b ON a.id = b.a_id JOIN c ON b.id = c.b_id WHERE a.x = 1"),
        (CHAIN, (2, (1, 0)), "SELECT a.*, b.*, c.* FROM c JOIN (b JOIN a ON a.id = b.a_id) ON b.id = c.b_id WHERE a.x = 1"),
        # A derived equality connects a and e, and is printed; what follows from it is not printed again.
        (TRIANGLE, ((0, 2), 1), "SELECT a.id FROM a JOIN e ON a.id = e.id JOIN b ON a.id = b.id WHERE a.s = 'n1'"),
        (TRIANGLE, (0, (1, 2)), "SELECT a.id FROM a JOIN (b JOIN e ON b.id = e.id) ON a.id = b.id WHERE a.s = 'n1'"),
        (
            "SELECT a.id FROM a, c WHERE a.id < c.id OR a.x = c.y", (1, 0),
            "SELECT a.id FROM c JOIN a ON (a.id < c.id OR a.x = c.y)",
        ),
        (
            "SELECT a.id FROM b LEFT JOIN a ON a.id = b.a_id WHERE b.x = 1", (1, 0),
            "SELECT a.id FROM a RIGHT JOIN (SELECT * FROM b WHERE b.x = 1) AS b ON a.id = b.a_id WHERE b.x = 1",
        ),
        (
            "SELECT a.id FROM a WHERE EXISTS (SELECT 1 FROM a WHERE x = 5 AND s = a.s) AND x = 1", None,
            None,
        ),
        (
            "SELECT o.id FROM a o WHERE EXISTS (SELECT 1 FROM b WHERE a_id = o.id) AND o.x = 1", (0, 1),
            "SELECT o.id FROM a o SEMI JOIN b ON b.a_id = o.id WHERE o.x = 1",
        ),
        (
            "SELECT b.id FROM a, b WHERE a.id = b.a_id AND EXISTS (SELECT 1 FROM a i WHERE i.x = b.x)", (0, (1, 2)),
            "SELECT b.id FROM a JOIN (b SEMI JOIN a i ON i.x = b.x) ON a.id = b.a_id",
        ),
        (
            "SELECT b.id FROM b, a i WHERE i.id = b.a_id AND EXISTS (SELECT 1 FROM a AS i WHERE i.x = b.x)", ((1, 0), 2),
            "SELECT b.id FROM a i JOIN b ON i.id = b.a_id SEMI JOIN a AS i_inner_1 ON i_inner_1.x = b.x",
        ),
        (
            "SELECT a.id FROM a WHERE a.id IN (SELECT a_id FROM b GROUP BY a_id)", (0, 1),
            "SELECT a.id FROM a SEMI JOIN (SELECT a_id FROM b GROUP BY a_id) AS in_list_1(member) ON a.id = in_list_1.member",
        ),
        (
            "SELECT * FROM a JOIN b USING (id)", (1, 0),
            "SELECT a.*, b.* EXCLUDE (id) FROM b JOIN a ON a.id = b.id",
        ),
    ],
)  # fmt: skip
def test_text(schema: Catalogue, sql: str, tree: Any, expected: str | None) -> None:
    if expected is None:
        assert parse_template(sql, "duckdb", schema).plannable == ()
    else:
        assert rendered(schema, sql, tree) == expected


def test_postgres_has_exists_above_all_joins(schema: Catalogue) -> None:
    sql = (
        "SELECT a.id FROM a, e WHERE a.id = e.id AND EXISTS (SELECT 1 FROM b WHERE b.a_id = a.id AND b.x = 1)"
    )
    assert rendered(schema, sql, ((1, 0), 2), "postgres") == (
        "SELECT a.id FROM e JOIN a ON a.id = e.id WHERE EXISTS "
        "(SELECT 1 FROM (SELECT * FROM b WHERE b.x = 1) AS b WHERE b.a_id = a.id)"
    )
    with pytest.raises(InvalidInput, match="no syntax for a semi join"):
        rendered(schema, sql, (1, (0, 2)), "postgres")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ((0, 1), "lacks c"),
        (((0, 1), 1), "repeated"),
        (((0, 1), 7), "not in the block"),
    ],
)
def test_trees_that_do_not_fit(schema: Catalogue, tree: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        rendered(schema, CHAIN, tree)


def test_trees_that_break_a_constraint(schema: Catalogue) -> None:
    sql = "SELECT a.id FROM a LEFT JOIN (b JOIN c ON b.id = c.b_id) ON a.id = b.a_id"
    with pytest.raises(InvalidInput, match="breaks the constraint"):
        rendered(schema, sql, ((0, 1), 2))
    semi = "SELECT a.id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.a_id = a.id)"
    with pytest.raises(InvalidInput, match="breaks the constraint"):
        rendered(schema, semi, (1, 0))


def test_what_cannot_be_rendered(schema: Catalogue) -> None:
    template = parse_template("INSERT INTO a SELECT * FROM b", "duckdb", schema)
    with pytest.raises(InvalidInput, match="passes through"):
        render(template, (), Steering(((0, (0, 1)),)))
    template = parse_template("SELECT 1 FROM a FULL JOIN b ON a.id = b.id", "duckdb", schema)
    with pytest.raises(InvalidInput, match="FULL join"):
        render(template, ("1",), Steering(((0, (0, 1)),)))
    with pytest.raises(InvalidInput, match="no such block"):
        render(template, ("1",), Steering(((9, (0, 1)),)))
    with pytest.raises(InvalidInput, match="2 literals for the 1 slots"):
        render(template, ("1", "2"), NO_STEERING)


def test_spelling_of_output_columns_survives(database: Any, schema: Catalogue) -> None:
    lower = "select a.x + 1, a.s Name from a, b where a.id = b.a_id"
    upper = "SELECT A.X + 1, A.S NAME FROM A, B WHERE A.ID = B.A_ID"
    for sql in (lower, upper):
        template = check(database, schema, sql, 1)
        assert template.text == fingerprint(sql).text


def test_segments_are_remembered(schema: Catalogue) -> None:
    found = fingerprint(CHAIN)
    template = parse_template(found, "duckdb", schema)
    steering = Steering(((0, ((0, 1), 2)),))
    assert render(template, found.literals, steering) == render(template, found.literals, steering)
    for seed in range(200):
        render(template, found.literals, steer(template, Random(seed)))
    assert len(template.syntax.rendered) <= 64
