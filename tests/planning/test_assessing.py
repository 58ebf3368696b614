"""Candidates are costed as the definitions of rows and costs say, on all backends alike."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import join_order as oracle
from oracles import outer_joins
from oracles.join_trees import random_tree

from godb_fast import backend as backends
from godb_fast.core import OPERATORS, PLAN_NODE, CostModel, Plan, PlanOperator, QueryGraph, RowEstimates
from godb_fast.core.conflicts import resolve
from godb_fast.planning.assessing import Assessor
from godb_fast.planning.calibration import DUCKDB
from godb_fast.planning.choice import summarize
from godb_fast.planning.result_rows import inner_rows, joins_share, operator_corrections
from godb_fast.planning.search import Planner

LOADED = [name for name in backends.BACKENDS if backends.why_unavailable(name) is None]
MERGING = CostModel(scan=0.2, build=2.0, probe=1.0, output=1.0, sort=0.15, name="merging")


def check(graph, estimates, own, searched, model):
    """Assess one search and one tree on all backends; everything against the oracle."""
    some = RowEstimates(*(part[:, :searched].copy() for part in parts(estimates)))
    results = []
    for backend in LOADED:
        planner = Planner(graph, backend=backend)
        found = planner.search(some, model)
        compiled = None if own is None else planner.compile(own)
        plans, costs, which, summaries = Assessor(planner, model, backend).assess(found, compiled, estimates)
        results.append((plans.tobytes(), costs.tolist(), which, summaries))
    assert all(entry == results[0] for entry in results)
    assert len(which) == searched + 1
    assert (which[-1] == -1) == (own is None)
    trees = [Plan(graph.relations, plan).tree() for plan in plans]
    assert len(set(trees)) == len(trees)
    for lane in range(searched):
        assert Plan(graph.relations, found[lane]).tree() == trees[which[lane]]
        assert costs[which[lane]][lane] == pytest.approx(float(found[lane, -1]["cost"]), rel=1e-9)
    if own is not None:
        assert trees[which[-1]] == own
    assert np.allclose(costs, planner.recost(trees, estimates, model), rtol=1e-9)
    assert np.allclose(summaries, summarize(costs.tolist(), which[-1]), rtol=1e-9, atol=1e-9)
    rows = oracle.rows_of(graph, estimates, 0)
    for plan, cost in zip(plans, costs, strict=True):
        assert plan["operator"].min() >= PlanOperator.SCAN
        for node in plan:
            assert float(node["rows"]) == pytest.approx(rows(int(node["relations"])), rel=1e-9)
        assert float(plan[-1]["cost"]) == cost[0]


def parts(estimates):
    return estimates.log_rows, estimates.log_distinct, estimates.log_selectivity


def with_classes(source, size):
    members = [source.sample(range(size), source.randint(2, size)) for _ in range(source.randint(1, 3))]
    members.append(list(range(size)))
    edges = [(a, b) for group in members for a in group for b in group if a < b]
    return QueryGraph(
        tuple(f"r{i}" for i in range(size)),
        np.array(edges),
        class_start=np.cumsum([0, *map(len, members)]),
        class_member=np.array([i for group in members for i in group]),
        selective_start=np.array([0, 2, 3, 3]),
        selective_member=np.array([0, size - 1, 1]),
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 7), st.randoms(use_true_random=False), st.sampled_from([OPERATORS, DUCKDB, MERGING]))
def test_inner_joins(size, source, model):
    graph = with_classes(source, size) if source.random() < 0.6 else oracle.random_graph(size, source)
    estimates = oracle.random_estimates(graph, source, source.choice([1, 3, 16]))
    own = random_tree(graph, source) if source.random() < 0.8 else None
    check(graph, estimates, own, source.randint(1, estimates.lanes), model)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.randoms(use_true_random=False))
def test_outer_semi_and_anti_joins(size, source):
    case = outer_joins.random_case(source, size)
    graph, estimates = outer_joins.as_graph(
        source, case, resolve(size, case.tree, case.conjuncts, case.where)
    )
    check(graph, estimates, random_tree(graph, source), 2, DUCKDB)
    # The rows of the whole block, as blocks that read it see them.
    whole = (1 << size) - 1
    rows = estimates.log_rows.sum(axis=0) + joins_share(
        graph, estimates.log_distinct, estimates.log_selectivity
    )
    assert np.allclose(rows, inner_rows(graph, estimates, whole))
    total = np.exp(rows + operator_corrections(graph, estimates))
    assert total[0] == pytest.approx(oracle.rows_of(graph, estimates, 0)(whole), rel=1e-9)


def test_cross_products():
    graph = QueryGraph(("a", "b", "c"), np.array([[0, 1]]), selective_start=[0, 2], selective_member=[0, 1])
    source = random.Random(3)
    for _ in range(10):
        check(graph, oracle.random_estimates(graph, source, 4), ((0, 2), 1), 4, DUCKDB)


def test_one_relation():
    graph = QueryGraph(("a",), np.zeros((0, 2)))
    plans, costs, which, summaries = Assessor(Planner(graph), DUCKDB).assess(
        np.array([[(0, 0, -1, -1, 1, 5.0, 1.0)]], PLAN_NODE), None, RowEstimates.of(graph, [5.0])
    )
    assert plans["rows"].tolist() == [[pytest.approx(5.0)]]
    assert costs.tolist() == [[pytest.approx(25.0)]]
    assert which == [0, -1]
    assert summaries == [[pytest.approx(25.0), 1.0, 0.0]]
