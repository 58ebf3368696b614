"""Every plan that the ordering constraints allow gives the rows of the query as written."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import outer_joins as oracle

from godb_fast.core import C_OUT, OPERATORS, CostModel
from godb_fast.core.conflicts import resolve
from godb_fast.planning.large import search_large
from godb_fast.planning.search import Planner


def check_every_plan(case: oracle.Case) -> int:
    """Execute all legal plans naively; returns how many there are."""
    found = resolve(len(case.tables), case.tree, case.conjuncts, case.where)
    assert found.reason is None
    results, plans = oracle.all_plan_results(case, found)
    assert plans, f"no legal plan\n{case.describe()}\n{found}"
    expected = frozenset(oracle.original_rows(case).items())
    assert results == {expected}, f"a plan changes the rows\n{case.describe()}\n{found}"
    closed_case, closed = oracle.with_closure(case, found)
    if closed.joins != found.joins:
        results, plans = oracle.all_plan_results(closed_case, closed)
        assert results == {expected}, f"a transitive equality changes the rows\n{case.describe()}\n{closed}"
    return plans


@settings(max_examples=400, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 5))
def test_every_plan_gives_the_rows_of_the_tree_as_written(rng: Random, relations: int) -> None:
    check_every_plan(oracle.random_case(rng, relations))


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_every_plan_of_six_relations(rng: Random) -> None:
    check_every_plan(oracle.random_case(rng, 6, rows=3))


@settings(max_examples=120, deadline=None)
@given(
    st.randoms(use_true_random=False),
    st.integers(2, 6),
    st.sampled_from((C_OUT, OPERATORS, CostModel(build=2, probe=1, lookup=2.0, sort=0.02))),
)
def test_the_exact_search_emits_the_cheapest_legal_plan(
    rng: Random, relations: int, model: CostModel
) -> None:
    case = oracle.random_case(rng, relations)
    found = resolve(relations, case.tree, case.conjuncts, case.where)
    graph, estimates = oracle.as_graph(rng, case, found)
    planner = Planner(graph, indexed=[rng.random() < 0.3 for _ in range(relations)])
    assert planner.exact
    expected = frozenset(oracle.original_rows(case).items())
    nodes = planner.search(estimates, model)
    for plan in nodes:
        assert oracle.execute_nodes(case, found, plan) == expected
    large, _ = search_large(graph, estimates, model)
    for lane in range(estimates.lanes):
        if not found.operators and len(graph.components) > 1:
            continue
        assert nodes[lane][-1]["cost"] <= large[lane][-1]["cost"] * (1 + 1e-9)
        assert nodes[lane][-1]["rows"] == pytest.approx(large[lane][-1]["rows"], rel=1e-9)
    if model is C_OUT and found.operators:
        by_set = dict(zip(planner.sets.tolist(), planner.rows(estimates)[:, 0].tolist(), strict=True))
        best = {1 << i: 0.0 for i in range(relations)}
        for subset, pairs in enumerate(oracle.all_legal_sets(case, found)):
            if pairs:
                best[subset] = by_set[subset] + min(best[left] + best[right] for left, right in pairs)
        assert nodes[0][-1]["cost"] == pytest.approx(best[(1 << relations) - 1], rel=1e-9)


@pytest.fixture(scope="module")
def connection() -> Iterator[Any]:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        connection.execute("SET disabled_optimizers='join_order,build_side_probe_side'")
        connection.execute("SET threads=1")
        yield connection


def test_duckdb_agrees_with_the_oracle_on_queries_and_plans(connection: Any) -> None:
    rng = Random(20)
    for _ in range(60):
        case = oracle.random_case(rng, rng.randint(2, 5))
        for i, rows in enumerate(case.tables):
            connection.execute(f"CREATE OR REPLACE TABLE t{i} (a INTEGER, b INTEGER)")
            if rows:
                connection.executemany(f"INSERT INTO t{i} VALUES (?, ?)", rows)
        expected = oracle.expected_tuples(case, oracle.original_rows(case))
        found = resolve(len(case.tables), case.tree, case.conjuncts, case.where)
        plan = oracle.random_plan(rng, case, found)
        assert plan is not None
        for sql in (oracle.original_sql(case), oracle.plan_sql(case, found, plan)):
            rows = sorted(connection.execute(sql).fetchall(), key=oracle.sort_key)
            assert rows == expected, f"{sql}\n{case.describe()}"
