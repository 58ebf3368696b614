"""Plans whose join order was imposed, beside the engine's own by estimates of one source."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from godb_fast.core import PLAN_NODE, PlanOperator, Steering
from godb_fast.engines.registry import open_engine
from godb_fast.exploring.candidates import DEFAULT_ARM, candidates
from godb_fast.exploring.subjects import LiveQuery, Subject, examine
from godb_fast.learning.physical import PHYSICAL_COLUMNS, plan_vector
from godb_fast.learning.reordered import reordered

AT = {feature.name: at for at, feature in enumerate(PHYSICAL_COLUMNS)}
SCAN, HASH, CROSS = PlanOperator.SCAN, PlanOperator.HASH_JOIN, PlanOperator.CROSS_PRODUCT


def joins(*nodes) -> np.ndarray:
    """Nodes as (operator, left, right, rows, cost)."""
    return np.array([(op, 0, left, right, 0, rows, cost) for op, left, right, rows, cost in nodes], PLAN_NODE)


A, B, C = (SCAN, -1, -1, 1000.0, 1.0), (SCAN, -1, -1, 100.0, 1.0), (SCAN, -1, -1, 10.0, 1.0)
#: (A B) C and A (B C), of which the second joins few rows first.
WIDE = joins(A, B, (HASH, 0, 1, 5000.0, 600.0), C, (HASH, 2, 3, 50.0, 900.0))
THIN = joins(A, B, C, (HASH, 1, 2, 10.0, 60.0), (HASH, 0, 3, 50.0, 300.0))


def own() -> np.ndarray:
    found = np.zeros(len(PHYSICAL_COLUMNS))
    for name, value in {
        "built_rows": 110.0,
        "probed_rows": 6000.0,
        "hash_cost": 500.0,
        "cost": 2000.0,
    }.items():
        found[AT[name]] = np.log1p(value)
    found[AT["hash_joins"]] = 2.0
    return found


def test_the_same_trees_make_no_difference():
    assert reordered(own(), {0: WIDE}, {0: WIDE}) == pytest.approx(own())
    # Nor do blocks of which one of the two plans does not tell its tree.
    assert reordered(own(), {}, {0: THIN}) == pytest.approx(own())
    assert reordered(own(), {1: WIDE}, {0: THIN}) == pytest.approx(own())


def test_what_joins_cost_less_the_statement_costs_less():
    found = reordered(own(), {0: WIDE}, {0: THIN})
    assert found[AT["built_rows"]] < own()[AT["built_rows"]]
    assert found[AT["probed_rows"]] < own()[AT["probed_rows"]]
    # A third of 500, and all else as it was.
    assert np.expm1(found[AT["hash_cost"]]) == pytest.approx(500.0 / 3, rel=0.01)
    assert np.expm1(found[AT["cost"]]) == pytest.approx(1500.0 + 500.0 / 3, rel=0.01)
    assert found[AT["hash_joins"]] == 2.0


def test_products_are_counted():
    product = joins(A, C, (CROSS, 0, 1, 1e4, 1e5), B, (HASH, 2, 3, 50.0, 2e5))
    found = reordered(own(), {0: WIDE}, {0: product})
    assert (found[AT["products"]], found[AT["hash_joins"]]) == (1.0, 1.0)
    assert found[AT["cost"]] > own()[AT["cost"]]


TEXT = """
SELECT count(*) FROM sales s JOIN items i ON i.id = s.item JOIN shops p ON p.id = s.shop
WHERE p.name = 'shop 7' AND i.price < 50"""


@pytest.fixture
def engine(tmp_path):
    path = str(tmp_path / "sales.duckdb")
    with duckdb.connect(path) as connection:
        for statement in (
            "CREATE TABLE shops AS SELECT range AS id, 'shop ' || range AS name FROM range(500)",
            "CREATE TABLE items AS SELECT range AS id, range % 100 AS price FROM range(2000)",
            "CREATE TABLE sales AS SELECT range AS id, range % 500 AS shop, range * 7 % 2000 AS item FROM range(50000)",
        ):
            connection.execute(statement)
    opened = open_engine(path)
    yield opened
    opened.close()


def test_an_imposed_order_is_not_described_by_what_duckdb_says_of_it(engine):
    subject = examine(engine, LiveQuery("q", TEXT))
    assert isinstance(subject, Subject)
    (block,) = subject.template.plannable
    items_first = Steering(join_trees=((block.index, ((0, 1), 2)),))
    found = candidates(engine, subject, lambda digest: [("items first", items_first)])
    default, imposed = found[DEFAULT_ARM], found["items first"]
    assert imposed.plan is not None
    told, described = plan_vector(imposed.plan), imposed.vector
    # Whatever the order, the statement returns one row of what few rows the joins leave; DuckDB, which knows
    # no filters below an imposed order, tells of all of them.
    assert told[AT["largest_rows"]] >= np.log(50_000)
    # More rows probe and are joined than in the order of DuckDB's own, which reads the one shop first.
    assert described[AT["cost"]] > default.vector[AT["cost"]]
    assert described[AT["probed_rows"]] > default.vector[AT["probed_rows"]]
    assert not np.array_equal(described, told)
    assert np.isfinite(described).all()
    assert described[AT["scans"]] == default.vector[AT["scans"]]


def test_an_engine_that_tells_no_costs_gets_those_of_its_rows(engine):
    few, many = (
        engine.explain(f"SELECT * FROM sales s JOIN items i ON i.id = s.item {where}")
        for where in ("WHERE s.id = 7", "")
    )
    one, other = plan_vector(few), plan_vector(many)
    for name in ("cost", "hash_cost"):
        assert 0.0 < one[AT[name]] < other[AT[name]]
    assert one[AT["hash_cost"]] < one[AT["cost"]]
