"""DuckDB follows written join trees, and plans are read back into trees."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from engines.drawn import Drawn, draw, random_tree, tables

from godb_fast.core import (
    Block,
    ColumnRef,
    Comparison,
    JoinTree,
    PhysicalNode,
    PhysicalPlan,
    QueryGraph,
    Relation,
    Slot,
    Steering,
    Template,
)
from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine, trees
from godb_fast.engines.duckdb.instance import JOIN_TREE_SETTINGS, setting_statement

BEFORE = tuple(setting_statement(name, value) for name, value in JOIN_TREE_SETTINGS)


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    with DuckDBEngine.open() as opened:
        for statement in tables():
            opened.run(Rendered(statement))
        yield opened


def steered(drawn: Drawn, tree: JoinTree) -> Rendered:
    return Rendered(drawn.sql(tree), before=BEFORE, steering=Steering(join_trees=((0, tree),)))


def test_two_hundred_random_trees_are_followed(engine: DuckDBEngine) -> None:
    rng = random.Random(7)
    verdicts = []
    for _ in range(200):
        drawn = draw(rng)
        tree = random_tree(rng, drawn)
        statement = steered(drawn, tree)
        verdicts.append(engine.obeyed(drawn.template, statement.steering, engine.explain_steered(statement)))
    assert verdicts == [True] * 200


def test_another_tree_counts_as_disobeyed(engine: DuckDBEngine) -> None:
    rng = random.Random(8)
    seen = 0
    for _ in range(60):
        drawn = draw(rng)
        one, two = random_tree(rng, drawn), random_tree(rng, drawn)
        if one == two:
            continue
        seen += 1
        plan = engine.explain_steered(steered(drawn, one))
        assert engine.obeyed(drawn.template, Steering(join_trees=((0, two),)), plan) is False
    assert seen > 30


def test_steered_rows_equal_default_rows_and_profiles_tell_the_tree(engine: DuckDBEngine) -> None:
    rng = random.Random(9)
    for _ in range(40):
        drawn = draw(rng, most=5)
        tree = random_tree(rng, drawn)
        default = engine.run(Rendered(drawn.sql()), timeout_s=60, profile=True)
        result = engine.run(steered(drawn, tree), timeout_s=60, profile=True)
        assert result.rows == default.rows
        assert (result.columns, result.types) == (default.columns, default.types)
        assert result.plan is not None
        assert default.plan is not None
        assert engine.obeyed(drawn.template, Steering(join_trees=((0, tree),)), result.plan)
        # An executed plan and an explained one are read alike.
        explained = engine.default_trees(drawn.template, engine.explain(drawn.sql()))
        assert engine.default_trees(drawn.template, default.plan) == explained


def test_the_default_tree_steers_to_itself(engine: DuckDBEngine) -> None:
    rng = random.Random(10)
    told = 0
    for _ in range(80):
        drawn = draw(rng)
        found = engine.default_trees(drawn.template, engine.explain(drawn.sql()))
        if 0 in found:
            told += 1
            statement = steered(drawn, found[0])
            again = engine.default_trees(drawn.template, engine.explain_steered(statement))
            assert again == found
    assert told > 60


def test_self_joins_are_never_told_wrongly(engine: DuckDBEngine) -> None:
    rng = random.Random(11)
    verdicts: list[bool | None] = []
    for _ in range(150):
        drawn = draw(rng, self_joins=True, most=6)
        tree = random_tree(rng, drawn)
        plan = engine.explain_steered(steered(drawn, tree))
        verdicts.append(engine.obeyed(drawn.template, Steering(join_trees=((0, tree),)), plan))
        found = engine.default_trees(drawn.template, plan)
        assert found in ({}, {0: tree})
    # A followed tree may be impossible to tell, but must never be called another one.
    assert False not in verdicts
    assert verdicts.count(True) > 75


def scan(table: str, *columns: str, filters: tuple[str, ...] = ()) -> PhysicalNode:
    return PhysicalNode("SEQ_SCAN", "scan", table, columns=columns, predicates=filters)


def join(left: PhysicalNode, right: PhysicalNode) -> PhysicalNode:
    return PhysicalNode("HASH_JOIN", "join", children=(left, right))


def template_of(*relations: tuple[str, tuple[str, ...]]) -> Template:
    made = tuple(Relation(f"r{n}", table, columns=("id", "k")) for n, (table, _) in enumerate(relations))
    edges = [(n - 1, n) for n in range(1, len(relations))]
    filters = tuple(
        tuple(Comparison("=", ColumnRef(n, column), (Slot(0),)) for column in columns)
        for n, (_, columns) in enumerate(relations)
    )
    graph = QueryGraph.from_edges(tuple(relation.alias for relation in made), edges)
    return Template(0, "", "duckdb", blocks=(Block(0, None, "main", made, graph, filters),))


def plan_of(root: PhysicalNode) -> PhysicalPlan:
    return PhysicalPlan(root, "duckdb", "explain")


def test_a_filtered_self_join_is_told_by_its_filter() -> None:
    template = template_of(("m.main.a", ("k",)), ("m.main.a", ()))
    plan = plan_of(join(scan("m.main.a"), scan("m.main.a", filters=("(k = 3)",))))
    assert trees.default_trees(template, plan) == {0: (1, 0)}
    assert trees.obeyed(template, Steering(join_trees=((0, (1, 0)),)), plan) is True
    assert trees.obeyed(template, Steering(join_trees=((0, (0, 1)),)), plan) is False


def test_equal_self_joins_are_unverified() -> None:
    template = template_of(("m.main.a", ()), ("m.main.a", ()))
    plan = plan_of(join(scan("m.main.a"), scan("m.main.a")))
    assert trees.default_trees(template, plan) == {}
    assert trees.obeyed(template, Steering(join_trees=((0, (0, 1)),)), plan) is None


def test_text_in_a_filter_is_no_column() -> None:
    template = template_of(("m.main.a", ("id",)), ("m.main.a", ("k",)))
    plan = plan_of(
        join(scan("m.main.a", filters=("(id = 'k')",)), scan("m.main.a", filters=("(\"k\" = 'id')",)))
    )
    assert trees.default_trees(template, plan) == {0: (0, 1)}


def test_a_scan_too_many_leaves_the_block_out() -> None:
    template = template_of(("m.main.a", ()), ("m.main.b", ()))
    plan = plan_of(join(join(scan("m.main.a"), scan("m.main.b")), scan("m.main.b")))
    assert trees.default_trees(template, plan) == {}
    assert trees.obeyed(template, Steering(join_trees=((0, (0, 1)),)), plan) is None


def test_bare_and_qualified_names_are_matched() -> None:
    template = template_of(("m.main.a", ()), ("m.main.b", ()))
    assert trees.default_trees(template, plan_of(join(scan("b"), scan("a")))) == {0: (1, 0)}
    # A table whose name merely ends alike is another one.
    assert trees.default_trees(template, plan_of(join(scan("b"), scan("xa")))) == {}


def test_a_relation_that_another_block_computes_is_one_leaf() -> None:
    inner = template_of(("m.main.a", ()), ("m.main.b", ())).blocks[0]
    outer = Block(
        0, None, "main", (Relation("q", block=1), Relation("c", "m.main.c", columns=("id",))),
        QueryGraph.from_edges(("q", "c"), [(0, 1)]),
    )  # fmt: skip
    inside = Block(1, 0, "derived", inner.relations, inner.graph, inner.filters)
    template = Template(0, "", "duckdb", blocks=(outer, inside))
    aggregate = PhysicalNode(
        "HASH_GROUP_BY", "aggregate", children=(join(scan("m.main.b"), scan("m.main.a")),)
    )
    plan = plan_of(join(scan("m.main.c"), aggregate))
    assert trees.default_trees(template, plan) == {0: (1, 0), 1: (1, 0)}
    # Joined through the derived table: no order of the outer block.
    mixed = plan_of(join(join(scan("m.main.b"), scan("m.main.c")), scan("m.main.a")))
    assert trees.default_trees(template, mixed) == {}


def test_what_is_provably_empty_stands_for_the_relation_that_is_missing() -> None:
    template = template_of(("m.main.a", ()), ("m.main.b", ()))
    empty = PhysicalNode("EMPTY_RESULT", "scan")
    assert (
        trees.obeyed(template, Steering(join_trees=((0, (0, 1)),)), plan_of(join(scan("a"), empty))) is True
    )
    assert (
        trees.obeyed(template, Steering(join_trees=((0, (1, 0)),)), plan_of(join(scan("a"), empty))) is False
    )


def test_blocks_apart_are_matched_apart() -> None:
    one = template_of(("m.main.a", ()), ("m.main.b", ()), ("m.main.c", ())).blocks[0]
    two = template_of(("m.main.a", ()), ("m.main.b", ()), ("m.main.d", ())).blocks[0]
    top = Block(0, None, "main", (), None)
    first = Block(1, 0, "set_operand", one.relations, one.graph, one.filters)
    second = Block(2, 0, "set_operand", two.relations, two.graph, two.filters)
    template = Template(0, "", "duckdb", blocks=(top, first, second))
    left = join(scan("m.main.c"), join(scan("m.main.b"), scan("m.main.a")))
    right = join(join(scan("m.main.a"), scan("m.main.b")), scan("m.main.d"))
    union = PhysicalNode("UNION", "set_operation", children=(left, right))
    assert trees.default_trees(template, plan_of(union)) == {1: (2, (1, 0)), 2: ((0, 1), 2)}
    # Two blocks alike, in different orders: which is which cannot be told.
    same = Template(0, "", "duckdb", blocks=(top, first, Block(2, 0, "set_operand", *_parts(one))))
    other = join(join(scan("m.main.a"), scan("m.main.b")), scan("m.main.c"))
    both = plan_of(PhysicalNode("UNION", "set_operation", children=(left, other)))
    assert trees.default_trees(same, both) == {}
    assert trees.obeyed(same, Steering(join_trees=((1, (2, (1, 0))),)), both) is None
    assert trees.obeyed(same, Steering(join_trees=((1, (1, (2, 0))),)), both) is False


def _parts(block: Block) -> tuple[Any, ...]:
    return block.relations, block.graph, block.filters


def test_a_scan_that_no_block_explains_leaves_the_block_out(engine: DuckDBEngine) -> None:
    template = template_of(("memory.main.t1", ()), ("memory.main.t3", ()))
    sql = "SELECT count(*) FROM t1 r0, t3 r1, t5 r2 WHERE r0.id = r1.id AND r2.f1 = r0.f1"
    assert engine.default_trees(template, engine.explain(sql)) == {}
