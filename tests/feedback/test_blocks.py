"""A template's blocks as sub-plan queries: literals apart, aliases and their order of no matter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from godb_fast.core import Schema
from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.errors import InvalidInput
from godb_fast.feedback import BlockShape, SubplanQuery
from godb_fast.planning.binding import Binder
from godb_fast.planning.search import Planner
from godb_fast.sql import fingerprint, parse_template


@pytest.fixture(scope="module")
def schema() -> Schema:
    with DuckDBEngine.open() as engine:
        engine.run(Rendered("CREATE TABLE a (id INT, k INT, t VARCHAR)"))
        engine.run(Rendered("CREATE TABLE b (id INT, a_id INT, v INT)"))
        engine.run(Rendered("CREATE TABLE c (id INT, b_id INT)"))
        return engine.schema()


def asked(sql: str, schema: Schema, params: Any = None) -> tuple[BlockShape, SubplanQuery | None]:
    statement = fingerprint(sql, "duckdb")
    template = parse_template(statement, "duckdb", schema)
    block = template.plannable[0]
    assert block.graph is not None
    shape = BlockShape(template, block, Planner(block.graph).sets)
    values = Binder(template)(statement.literals, params)
    return shape, shape.query(values, np.zeros(len(block.relations)))


ONE = "SELECT count(*) FROM a, b, c WHERE a.id = b.a_id AND b.id = c.b_id AND a.k = 5 AND b.v IN (1, 2)"


def test_aliases_order_and_literals_are_no_part_of_the_shape(schema: Schema) -> None:
    one, first = asked(ONE, schema)
    two, second = asked(
        "SELECT max(z.id) FROM c AS z JOIN b AS y ON z.b_id = y.id JOIN a AS x ON y.a_id = x.id "
        "WHERE y.v IN (7, 8, 9) AND x.k = 6",
        schema,
    )
    assert first is not None
    assert second is not None
    assert set(one.shape.keys.tolist()) == set(two.shape.keys.tolist())
    assert one.shape.keys[-1] == two.shape.keys[-1]
    assert first.literals.tolist() != second.literals.tolist()
    again = asked(ONE, schema)[1]
    assert again is not None
    assert again.literals.tolist() == first.literals.tolist()
    # The relation without filters has no literals.
    assert first.literals[2] == first.tokens[2] == 0
    assert first.tokens[1].bit_count() == 2


@pytest.mark.parametrize(
    "changed",
    [
        ONE.replace("a.k = 5", "a.k < 5"),
        ONE.replace("a.k = 5", "a.t = 'x'"),
        ONE.replace("a.k = 5", "a.k + a.id = 5"),
        ONE.replace("a.id = b.a_id", "a.k = b.a_id"),
        ONE.replace("a.id = b.a_id", "a.id < b.a_id"),
        ONE.replace(" AND a.k = 5", ""),
    ],
)
def test_other_predicates_and_joins_are_other_shapes(schema: Schema, changed: str) -> None:
    assert asked(ONE, schema)[0].shape.keys[-1] != asked(changed, schema)[0].shape.keys[-1]


def test_literals_of_opaque_conditions_are_not_lost(schema: Schema) -> None:
    text = "SELECT count(*) FROM a, b WHERE a.id = b.a_id AND a.k * a.id + {} = a.id AND b.v = 3"
    one, two = asked(text.format(1), schema)[1], asked(text.format(2), schema)[1]
    assert one is not None
    assert two is not None
    assert one.literals[0] != two.literals[0]
    assert one.literals[1] == two.literals[1]


def test_parameters_are_values_and_without_them_nothing_is_asked(schema: Schema) -> None:
    text = ONE.replace("a.k = 5", "a.k = ?")
    bound = asked(text, schema, [5])[1]
    written = asked(ONE, schema)[1]
    assert bound is not None
    assert written is not None
    assert bound.literals[0] == written.literals[0]
    assert asked(text, schema)[1] is None


def test_outer_joins_are_other_shapes_and_blocks_without_graphs_are_refused(schema: Schema) -> None:
    outer = "SELECT count(*) FROM a LEFT JOIN b ON a.id = b.a_id JOIN c ON c.id = a.k"
    inner = outer.replace("LEFT JOIN", "JOIN")
    assert asked(outer, schema)[0].shape.keys[-1] != asked(inner, schema)[0].shape.keys[-1]
    template = parse_template(fingerprint(ONE, "duckdb"), "duckdb", schema)
    with pytest.raises(InvalidInput, match="no join graph"):
        BlockShape(template, replace(template.blocks[0], graph=None), np.zeros(0, np.int64))


def keys_after(*changes: str) -> list[int]:
    """Keys of the sub-plans of b and c, of c alone, and of the whole, after changes of the catalogue."""
    sql = "SELECT count(*) FROM w AS x, b, c WHERE x.id = b.a_id AND b.id = c.b_id AND b.v = 3"
    with DuckDBEngine.open() as engine:
        for table in ("a (id INT, k INT)", "b (id INT, a_id INT, v INT)", "c (id INT, b_id INT)"):
            engine.run(Rendered(f"CREATE TABLE {table}"))
        engine.run(Rendered("CREATE VIEW w AS SELECT a.id, a.k FROM a WHERE k > 1"))
        for change in changes:
            engine.run(Rendered(change))
        shape, _ = asked(sql, engine.schema())
    # Singles come first, in the order of the relations, then pairs.
    _, _, c, _, b_and_c, whole = shape.shape.keys.tolist()
    return [b_and_c, c, whole]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ("CREATE TABLE more (id INT)", [True, True, True]),
        ("ALTER TABLE b ADD COLUMN z INT", [False, True, False]),
        ("ALTER TABLE c RENAME COLUMN id TO number", [False, False, False]),
        ("CREATE OR REPLACE VIEW w AS SELECT a.id, a.k FROM a WHERE k > 1", [True, True, True]),
        ("CREATE OR REPLACE VIEW w AS SELECT a.id, a.k FROM a WHERE k <> 1", [True, True, False]),
        ("CREATE OR REPLACE VIEW w AS SELECT DISTINCT a.id, a.k FROM a WHERE k > 1", [True, True, False]),
        (
            "CREATE OR REPLACE VIEW w AS SELECT a.id, a.k FROM a, b WHERE a.k > 1 AND a.id = b.v",
            [True, True, False],
        ),
    ],
)
def test_a_table_or_view_of_another_definition_is_a_stranger(change: str, same: list[bool]) -> None:
    before, after = keys_after(), keys_after(change)
    assert [one == other for one, other in zip(before, after, strict=True)] == same
