"""Every plan that the ordering constraints allow gives the rows of the query as written."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import outer_joins as oracle

from godb_fast.core.conflicts import resolve


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
