"""Every loaded backend gives the same plans to the bit, and the same errors to the letter."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import join_order as oracle

from godb_fast import backend as backends
from godb_fast.core import C_OUT, OPERATORS, CostModel, JoinKind, JoinOperator, QueryGraph, RowEstimates
from godb_fast.errors import InvalidInput
from godb_fast.planning.search import Planner

LOADED = [name for name in backends.BACKENDS if backends.why_unavailable(name) is None]
MODELS = (C_OUT, OPERATORS, CostModel(scan=0.2, build=2.0, probe=1.0, lookup=3.0, sort=0.15, name="all"))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 8),
    st.randoms(use_true_random=False),
    st.sampled_from(MODELS),
    st.sampled_from([1 << 20, 0]),
    st.integers(1, 5),
)
def test_plans_rows_and_costs_agree_to_the_bit(size, source, model, list_bytes, lanes):
    graph = oracle.random_graph(size, source)
    estimates = oracle.random_estimates(graph, source, lanes)
    indexed = [source.random() < 0.5 for _ in range(size)]
    results = []
    for name in LOADED:
        planner = Planner(graph, indexed=indexed, backend=name, list_bytes=list_bytes)
        nodes = planner.search(estimates, model)
        rows = planner.rows(estimates)
        again = planner.search(rows, model)
        costs = planner.recost([*nodes, ((0, 1), 2) if size == 3 else nodes[0]], estimates, model)
        found = (planner.algorithm, planner.pairs, planner.sets.tobytes(), nodes.tobytes(), rows.tobytes())
        results.append((*found, again.tobytes(), costs.tobytes()))
    assert all(result == results[0] for result in results)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 6), st.randoms(use_true_random=False), st.sampled_from(MODELS))
def test_constrained_plans_agree_to_the_bit(size, source, model):
    kinds = [JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI]
    edges = [(i, i + 1) for i in range(size - 2)]
    operators = (JoinOperator(source.choice(kinds), 1 << source.randrange(size - 1), 1 << (size - 1)),)
    graph = QueryGraph(tuple("abcdef"[:size]), np.array(edges), operators=operators)
    estimates = oracle.random_estimates(graph, source, 3)
    for list_bytes in (1 << 20, 0):
        planners = [Planner(graph, backend=name, list_bytes=list_bytes) for name in LOADED]
        assert len({planner.search(estimates, model).tobytes() for planner in planners}) == 1
        assert len({planner.rows(estimates).tobytes() for planner in planners}) == 1


def test_extreme_estimates_stay_finite_and_agree():
    graph = oracle.star(6)
    for rows, selectivity in ((1e300, 1.0), (0.0, 0.0), (1e-300, 1e-300), (1e300, 1e-300)):
        estimates = RowEstimates.of(graph, [rows] * 6, [selectivity] * 5)
        found = set()
        for name in LOADED:
            nodes = Planner(graph, backend=name).search(estimates, OPERATORS)
            assert np.isfinite(nodes["cost"]).all()
            found.add(nodes.tobytes())
        assert len(found) == 1


def test_errors_agree_to_the_letter():
    graph = oracle.letters("A-B B-C")

    def texts(act):
        found = set()
        for name in LOADED:
            with pytest.raises(InvalidInput) as caught:
                act(Planner(graph, backend=name))
            found.add(str(caught.value))
        return found

    for bad in (-1.0, -0.5, float("nan"), -np.inf):
        assert len(texts(lambda planner, bad=bad: planner.search([1, 1, 1, bad, 1, 1]))) == 1
    assert len(texts(lambda planner: planner.search([1.0, 2.0]))) == 1
    assert len(texts(lambda planner: planner.search(np.ones((6, 40))))) == 1
    assert len(texts(lambda planner: planner.recost([(0, 1)], np.ones(6)))) == 1


def test_negative_zero_is_a_row_count(backend):
    assert Planner(oracle.letters("A-B"), backend=backend).search([-0.0, 1.0, 2.0])[0, -1]["cost"] == 2.0


def test_sixty_two_relations_fit_a_mask(backend):
    source = random.Random(62)
    size = 62 if backend != "python" else 24
    graph = oracle.chain(size)
    estimates = oracle.random_estimates(graph, source)
    nodes = Planner(graph, backend=backend).search(estimates)[0]
    assert int(nodes[-1]["relations"]) == (1 << size) - 1
