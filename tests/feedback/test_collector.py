"""What an executed plan shows of sub-plans, checked by counting the same joins on the engine itself."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import psycopg
import pytest
from engines.drawn import SIZES, Drawn, draw, random_tree, tables
from postgres_server import PostgresServer

from godb_fast.core import Observation, PhysicalNode, PhysicalPlan
from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.engines.duckdb.instance import JOIN_TREE_SETTINGS, setting_statement
from godb_fast.engines.postgres.plans import physical_plan
from godb_fast.feedback import BlockShape, Corrections, ExecutionFeedbackCollector, subplan_rows
from godb_fast.planning.search import Planner

BEFORE = tuple(setting_statement(name, value) for name, value in JOIN_TREE_SETTINGS)


def counting(drawn: Drawn, mask: int) -> str:
    """A query that counts the rows of a sub-plan, with the equalities that follow by transitivity."""
    block = drawn.template.blocks[0]
    inside = [number for number in range(len(block.relations)) if mask >> number & 1]
    graph = block.graph
    assert graph is not None
    conditions = [text for one, two, text in drawn.joins if one in inside and two in inside]
    for start, stop in pairwise(graph.class_start.tolist()):
        columns = [column for column in graph.class_columns[start:stop] if column.relation in inside]
        conditions += [f"r{a.relation}.{a.name} = r{b.relation}.{b.name}" for a, b in pairwise(columns)]
    conditions += [text for text in drawn.filters if int(text[1 : text.index(".")]) in inside]
    names = [f"{block.relations[n].table.split('.')[-1]} AS r{n}" for n in inside]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT count(*) FROM {', '.join(names)}{where}"


def check(drawn: Drawn, plan: PhysicalPlan, count: Callable[[str], int]) -> int:
    """Every count that is collected is the truth; how many there were."""
    found = subplan_rows(plan, drawn.template.blocks[0])
    for each in found:
        assert each.rows == count(counting(drawn, each.relations)), (
            drawn.sql(),
            each,
            "\n" + plan.draw(),
        )
    return len(found)


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    with DuckDBEngine.open() as opened:
        for statement in tables():
            opened.run(Rendered(statement))
        yield opened


@pytest.mark.parametrize("self_joins", [False, True])
def test_duckdb_profiles_show_true_counts(engine: DuckDBEngine, self_joins: bool) -> None:
    rng = random.Random(5)
    told = 0
    for number in range(60):
        drawn = draw(rng, most=5, self_joins=self_joins)
        drawn = replace(drawn, output="count(*)") if number % 4 else replace(drawn, output="r0.id")
        sql = drawn.sql(random_tree(rng, drawn) if number % 2 else None)
        if number % 4 == 0:
            sql += " LIMIT 3" if number % 8 else " ORDER BY r0.id LIMIT 3"
        ran = engine.run(Rendered(sql, before=BEFORE if number % 2 else ()), timeout_s=60, profile=True)
        assert ran.plan is not None
        told += check(drawn, ran.plan, lambda text: int(engine.run(Rendered(text)).rows[0][0]))
    assert told > 60


@pytest.fixture(scope="module")
def connection(postgres_server: PostgresServer) -> Iterator[Any]:
    with postgres_server.database() as url, psycopg.connect(url, autocommit=True) as opened:
        for number, rows in enumerate(SIZES):
            opened.execute(
                f"CREATE TABLE t{number} AS SELECT i AS id, (i * 7919 + {number}) % {max(rows // 3, 2)} AS f1, "
                f"(i * 104729 + {number}) % {max(rows // 10, 2)} AS f2, i % 50 AS v, 's' || i % 30 AS s "
                f"FROM generate_series(1, {rows}) AS g(i)"
            )
            if number % 2 == 0:
                opened.execute(f"ALTER TABLE t{number} ADD PRIMARY KEY (id)")
        opened.execute("ANALYZE")
        yield opened


SETTINGS = (
    (),
    ("enable_hashjoin = off",),
    ("enable_hashjoin = off", "enable_mergejoin = off"),
    ("enable_hashjoin = off", "enable_nestloop = off"),
    ("enable_indexscan = off", "enable_seqscan = off"),
    (
        "parallel_setup_cost = 0",
        "parallel_tuple_cost = 0",
        "min_parallel_table_scan_size = 0",
        "debug_parallel_query = off",
    ),
)


def test_postgres_analyses_show_true_counts(connection: Any) -> None:
    rng = random.Random(6)
    told = 0
    for number in range(72):
        drawn = replace(draw(rng, most=5, self_joins=number % 3 == 0), output="count(*)")
        sql = drawn.sql()
        if number % 4 == 0:
            sql = replace(drawn, output="r0.id").sql() + (" LIMIT 3" if number % 8 else " ORDER BY 1 LIMIT 3")
        with connection.transaction(force_rollback=True):
            for setting in SETTINGS[number % len(SETTINGS)]:
                connection.execute(f"SET LOCAL {setting}")
            explained = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}").fetchone()[0]
        told += check(
            drawn, physical_plan(explained), lambda text: int(connection.execute(text).fetchone()[0])
        )
    assert told > 150


def leaf(table: str, rows: float, **more: Any) -> PhysicalNode:
    return PhysicalNode("SEQ_SCAN", "scan", table=table, rows=rows, **more)


def two_tables() -> Drawn:
    rng = random.Random(1)
    while True:
        drawn = draw(rng, most=2)
        if len(drawn.template.blocks[0].relations) == 2 and drawn.joins[0][2].count("=") == 1:
            return drawn


def test_what_may_be_learned_is_decided_by_source_and_outcome() -> None:
    drawn = two_tables()
    block = drawn.template.blocks[0]
    names = [str(relation.table) for relation in block.relations]
    join = PhysicalNode(
        "HASH_JOIN", "join", join_type="INNER", rows=7, children=(leaf(names[0], 5), leaf(names[1], 3))
    )
    assert block.graph is not None
    sets = Planner(block.graph).sets
    shape = BlockShape(drawn.template, block, sets)
    query = shape.query([1.0], [0.0, 0.0])
    assert query is not None
    corrections = Corrections()
    collector = ExecutionFeedbackCollector(corrections)
    estimates = np.log(np.array([5.0, 3.0, 1.0]))

    def observed(outcome: str, source: str, root: PhysicalNode = join) -> int:
        plan = PhysicalPlan(root, "duckdb", source)
        observation = Observation("d", 1, outcome, 1.0, plan=plan, plan_source=source)
        return collector.collect(observation, block, query, estimates)

    assert observed("timeout", "profile") == 0
    assert observed("ok", "explain") == 0
    assert observed("ok", "profile", PhysicalNode("LIMIT", "limit", rows=1, children=(join,))) == 1
    assert observed("ok", "profile", replace(join, rows=None, children=())) == 0
    assert collector.skipped == {
        "outcome timeout": 1,
        "plan from explain": 1,
        "no complete count": 1,
    }
    assert observed("ok", "profile") == 3
    corrected = corrections.correct(query, estimates)
    at = sets.tolist().index(3)
    assert corrected.log_rows[at] == pytest.approx(np.log(7), abs=0.1)


@pytest.mark.parametrize("rows", [3.0, 0.0])
def test_an_empty_build_side_says_nothing_of_the_probe_side(rows: float) -> None:
    drawn = two_tables()
    block = drawn.template.blocks[0]
    names = [str(relation.table) for relation in block.relations]
    join = PhysicalNode(
        "HASH_JOIN", "join", join_type="INNER", rows=0, children=(leaf(names[0], 0), leaf(names[1], rows))
    )
    found = {each.relations: each.rows for each in subplan_rows(PhysicalPlan(join, "d", "profile"), block)}
    assert found == ({3: 0, 1: 0, 2: 3} if rows else {3: 0, 2: 0})


@pytest.mark.parametrize("kind", ["SEMI", "ANTI", "LEFT", "MARK"])
def test_other_joins_and_what_pushes_filters_do_not_count(kind: str) -> None:
    drawn = two_tables()
    block = drawn.template.blocks[0]
    names = [str(relation.table) for relation in block.relations]
    columns = re.findall(r"\.(\w+)", drawn.joins[0][2])
    pushed = leaf(names[0], 2, extra={"Dynamic Filters": f"optional: {columns[0]} IN PRF({columns[1]})"})
    join = PhysicalNode(
        "HASH_JOIN",
        "join",
        join_type="INNER",
        predicates=(f"{columns[0]} = {columns[1]}",),
        rows=2,
        children=(pushed, leaf(names[1], 3)),
    )
    plan = PhysicalPlan(join, "d", "profile")
    assert {each.relations for each in subplan_rows(plan, block)} == {3, 2}
    top = PhysicalPlan(PhysicalNode("TOP_N", "sort", rows=1, children=(join,)), "d", "profile")
    assert {each.relations for each in subplan_rows(top, block)} == {2}
    other = PhysicalPlan(replace(join, join_type=kind), "d", "profile")
    assert {each.relations for each in subplan_rows(other, block)} == {2}
