"""Linearized and greedy searches against naive ones, on every backend."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import large_joins as oracle
from oracles import outer_joins

from godb_fast.core import (
    C_OUT,
    OPERATORS,
    PLAN_NODE,
    CostModel,
    JoinKind,
    JoinOperator,
    Plan,
    PlanOperator,
    QueryGraph,
    RowEstimates,
)
from godb_fast.core.conflicts import (
    ILLEGAL,
    SECOND_IS_LEFT,
    OrderingConstraints,
    orientation,
    resolve,
)
from godb_fast.errors import InvalidInput
from godb_fast.planning.large import LargeSearch, search_large

MODELS = (
    C_OUT,
    OPERATORS,
    CostModel(scan=0.1, build=2.0, probe=1.0, lookup=3.0, sort=0.02, name="all operators"),
    CostModel(scan=1.0, build=3.0, probe=1.0, lookup=0.5, name="indexes"),
    CostModel(sort=0.01, name="merge"),
)


def shaped(shape: str, size: int, seed: int = 1, lanes: int = 1) -> tuple[QueryGraph, RowEstimates]:
    """Graphs as benchmarks draw them, one selectivity per edge."""
    rng = Random(seed)
    tree = [(rng.randrange(i), i) for i in range(1, size)]
    edges = {
        "chain": [(i, i + 1) for i in range(size - 1)],
        "star": [(0, i) for i in range(1, size)],
        "hub last": [(i, size - 1) for i in range(size - 1)],
        "tree": tree,
        "sparse": tree + [(rng.randrange(i), i) for i in range(1, size, 2)],
        "clique": [(i, j) for j in range(size) for i in range(j)],
    }[shape]
    graph = QueryGraph.from_edges(size, edges)
    logs = [[rng.uniform(2, 14) for _ in range(lanes)] for _ in range(size)]
    selectivity = [[-rng.uniform(1, 12) for _ in range(lanes)] for _ in graph.edges]
    return graph, RowEstimates.from_logs(graph, logs, selectivity)


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 8), st.integers(0, 4), st.sampled_from(MODELS))
def test_intervals_of_the_linear_order_are_searched_exactly(
    rng: Random, size: int, extra: int, model: CostModel
) -> None:
    graph, estimates = oracle.random_graph(rng, size, extra)
    indexed = {i for i in range(size) if rng.random() < 0.3}
    search = LargeSearch(graph, indexed=indexed)
    nodes, algorithm = search.search(estimates, model, method="linearized")
    assert algorithm == "linearized"
    assert oracle.check_plan(graph, estimates, model, indexed, nodes[0]) == 0
    order = search.last_order()
    assert sorted(order) == list(range(size))
    expected = oracle.best_of_intervals(graph, estimates, order, model, indexed)
    assert nodes[0][-1]["cost"] == pytest.approx(expected, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 7))
def test_the_linear_order_of_a_tree_is_its_best_left_deep_one(rng: Random, size: int) -> None:
    edges = [(rng.randrange(i), i) for i in range(1, size)]
    graph = QueryGraph.from_edges(size, edges)
    estimates = RowEstimates.from_logs(
        graph, [rng.uniform(0, 12) for _ in range(size)], [-rng.uniform(0, 10) for _ in graph.edges]
    )
    search = LargeSearch(graph)
    nodes, _ = search.search(estimates, method="linearized")
    best = oracle.best_left_deep(graph, estimates)
    assert oracle.left_deep_cost(graph, estimates, search.last_order()) == pytest.approx(best, rel=1e-9)
    assert nodes[0][-1]["cost"] <= best * (1 + 1e-9)


@settings(max_examples=100, deadline=None)
@given(
    st.randoms(use_true_random=False), st.integers(1, 8), st.integers(0, 4), st.sampled_from((1, 1, 1, 2, 3))
)
def test_greedy_ordering_joins_the_smallest_pair_first(
    rng: Random, size: int, extra: int, components: int
) -> None:
    graph, estimates = oracle.random_graph(rng, size, extra, components)
    nodes, algorithm = search_large(graph, estimates, method="greedy")
    assert algorithm == "greedy"
    oracle.check_plan(graph, estimates, C_OUT, set(), nodes[0])
    expected = oracle.greedy_cost(graph, estimates)
    assume(expected is not None)
    assert nodes[0][-1]["cost"] == pytest.approx(expected, rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(
    st.randoms(use_true_random=False), st.integers(1, 9), st.sampled_from(MODELS), st.sampled_from((1, 2, 3))
)
def test_components_are_joined_last(rng: Random, size: int, model: CostModel, components: int) -> None:
    graph, estimates = oracle.random_graph(rng, size, 2, components)
    indexed = {i for i in range(size) if rng.random() < 0.3}
    for method in ("linearized", "greedy", None):
        nodes, _ = search_large(graph, estimates, model, method=method, indexed=indexed)
        products = oracle.check_plan(graph, estimates, model, indexed, nodes[0])
        assert products == len(graph.components) - 1
        # Cross products are the topmost joins, each with a whole component on one side.
        above = [node for node in nodes[0] if node["operator"] == PlanOperator.CROSS_PRODUCT]
        whole = {sum(1 << i for i in part) for part in graph.components}
        for node in above:
            inputs = {int(nodes[0][node[side]]["relations"]) for side in ("left", "right")}
            assert inputs & whole


@pytest.mark.parametrize("shape", ["chain", "star", "hub last", "tree", "sparse", "clique"])
def test_the_default_is_never_worse_than_either_method(shape: str) -> None:
    for seed in range(10):
        graph, estimates = shaped(shape, 24, seed)
        costs = {
            method: search_large(graph, estimates, OPERATORS, method=method)[0][0][-1]["cost"]
            for method in (None, "linearized", "greedy")
        }
        assert costs[None] <= min(costs["linearized"], costs["greedy"])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_backends_agree_to_the_bit(backend: str, model: CostModel) -> None:
    rng = Random(5)
    for size in (1, 2, 5, 17, 40):
        components = 1 + size % 2
        graph, estimates = oracle.random_graph(rng, size, size // 3, components, lanes=3)
        for method in ("linearized", "greedy", None):
            found, reference = (
                search_large(graph, estimates, model, method=method, indexed=range(0, size, 3), backend=name)
                for name in (backend, "python")
            )
            assert found[1] == reference[1]
            assert found[0].tobytes() == reference[0].tobytes()


@pytest.mark.parametrize("shape", ["chain", "star", "hub last", "tree", "sparse", "clique"])
def test_lanes_are_searched_each_by_its_own_rows(shape: str) -> None:
    graph, estimates = shaped(shape, 20, lanes=4)
    nodes, _ = search_large(graph, estimates, OPERATORS)
    assert nodes.shape == (4, 39)
    for lane in range(4):
        single = RowEstimates.from_logs(
            graph, estimates.log_rows[:, lane], estimates.log_selectivity[:, lane], ()
        )
        alone, _ = search_large(graph, single, OPERATORS)
        assert nodes[lane].tobytes() == alone[0].tobytes()
        oracle.check_plan(graph, estimates, OPERATORS, set(), nodes[lane], lane)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        *(("chain", 128), ("tree", 128), ("clique", 100), ("sparse", 200), ("clique", 200)),
        *((shape, 1000) for shape in ("chain", "star", "hub last", "sparse")),
    ],
)
def test_large_graphs_hold_every_relation_once_and_no_cross_product(shape: str, size: int) -> None:
    graph, estimates = shaped(shape, size)
    nodes, algorithm = search_large(graph, estimates, OPERATORS)
    assert algorithm == ("linearized" if size <= 128 else "greedy")
    plan = nodes[0]
    scans = plan[plan["operator"] == PlanOperator.SCAN]["relation"]
    assert sorted(scans.tolist()) == list(range(size))
    assert not (plan["operator"] == PlanOperator.CROSS_PRODUCT).any()
    assert np.isfinite(plan["cost"]).all()
    assert (plan["relations"] == 0).all()
    # Each join's inputs are connected: the right one's relations lie directly before the join.
    leaves = [frozenset[int]()] * len(plan)
    near: dict[int, set[int]] = {i: set() for i in range(size)}
    for i, j in graph.edges.tolist():
        near[i].add(j)
        near[j].add(i)
    for position, node in enumerate(plan.tolist()):
        if node[0] == PlanOperator.SCAN:
            leaves[position] = frozenset({node[1]})
        else:
            small, big = sorted((leaves[node[2]], leaves[node[3]]), key=len)
            assert any(not near[i].isdisjoint(big) for i in small)
            leaves[position] = small | big
    Plan(graph.relations, plan, algorithm).draw()


def test_all_backends_order_150_relations_greedily(backend: str) -> None:
    graph, estimates = shaped("sparse", 150)
    assert search_large(graph, estimates, backend=backend)[0].tobytes() == (
        search_large(graph, estimates, backend="python")[0].tobytes()
    )


def test_a_thousand_isolated_relations_are_multiplied_by_ascending_rows() -> None:
    graph = QueryGraph.from_edges(1000, [])
    estimates = RowEstimates.from_logs(graph, [0.001 * (i * 7919 % 1000) for i in range(1000)])
    nodes, _ = search_large(graph, estimates)
    plan = nodes[0]
    assert (plan["operator"] == PlanOperator.CROSS_PRODUCT).sum() == 999
    position, added = len(plan) - 1, []
    while plan[position]["operator"] != PlanOperator.SCAN:
        inputs = plan[position]["left"], plan[position]["right"]
        position, single = sorted(inputs, key=lambda at: plan[at]["operator"] == PlanOperator.SCAN)
        added.append(float(plan[single]["rows"]))
    assert added == sorted(added, reverse=True)


def test_empty_and_single() -> None:
    empty = QueryGraph((), np.zeros((0, 2), np.int64))
    nodes, _ = search_large(empty, RowEstimates.from_logs(empty, np.zeros((0, 2))))
    assert nodes.shape == (2, 0)
    single = QueryGraph.from_edges(1, [])
    nodes, _ = search_large(single, RowEstimates.of(single, [50.0]), CostModel(scan=2.0))
    assert nodes.dtype == PLAN_NODE
    assert nodes.tolist() == [[(0, 0, -1, -1, 1, pytest.approx(50.0), pytest.approx(100.0))]]


def test_zero_rows_are_planned() -> None:
    graph = QueryGraph.from_edges(5, [(0, 1), (1, 2), (2, 3), (3, 4)])
    estimates = RowEstimates.of(graph, [0, 10, 0, 1e6, 3], [0.1, 0, 0.5, 1])
    for method in ("linearized", "greedy", None):
        nodes, _ = search_large(graph, estimates, OPERATORS, method=method)
        oracle.check_plan(graph, estimates, OPERATORS, set(), nodes[0])


def test_the_limits_and_bad_arguments_are_named() -> None:
    graph, estimates = shaped("chain", 129)
    with pytest.raises(InvalidInput, match="at most 128 relations, not 129"):
        search_large(graph, estimates, method="linearized")
    with pytest.raises(InvalidInput, match="unknown method 'genetic'"):
        search_large(graph, estimates, method="genetic")
    with pytest.raises(InvalidInput, match="log_rows has 129 entries, but the graph needs 3"):
        search_large(QueryGraph.from_edges(3, []), estimates)


# ---- Ordering constraints -----------------------------------------------------------------------------


def constrained(
    rng: Random, relations: int
) -> tuple[outer_joins.Case, OrderingConstraints, QueryGraph, RowEstimates]:
    case = outer_joins.random_case(rng, relations)
    found = resolve(relations, case.tree, case.conjuncts, case.where)
    return case, found, *outer_joins.as_graph(rng, case, found)


@settings(max_examples=120, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 6), st.sampled_from(MODELS))
def test_plans_under_ordering_constraints_keep_the_rows(
    rng: Random, relations: int, model: CostModel
) -> None:
    case, found, graph, estimates = constrained(rng, relations)
    expected = frozenset(outer_joins.original_rows(case).items())
    indexed = {i for i in range(relations) if rng.random() < 0.5}
    for method in ("linearized", "greedy", None):
        nodes, _ = search_large(graph, estimates, model, method=method, indexed=indexed)
        for plan in nodes:
            assert outer_joins.execute_nodes(case, found, plan) == expected


def test_constrained_backends_agree_to_the_bit(backend: str) -> None:
    rng = Random(11)
    for _ in range(12):
        _, _, graph, estimates = constrained(rng, rng.randint(3, 8))
        for method in ("linearized", "greedy", None):
            arguments = {"method": method, "indexed": [0, 1]}
            nodes, _ = search_large(graph, estimates, MODELS[2], backend=backend, **arguments)
            reference, _ = search_large(graph, estimates, MODELS[2], backend="python", **arguments)
            assert nodes.tobytes() == reference.tobytes()


def test_forty_relations_with_outer_joins() -> None:
    # A chain of inner joins, every second relation with an optional part.
    edges = [(i, i + 1) for i in range(19)]
    operators = tuple(JoinOperator(JoinKind.LEFT, 1 << i, 1 << (20 + i)) for i in range(20))
    graph = QueryGraph(
        tuple(f"r{i}" for i in range(40)),
        np.array(edges),
        operators,
        selective_start=np.arange(0, 2 * 39 + 1, 2),
        selective_member=np.array([*edges, *((i, 20 + i) for i in range(20))]).reshape(-1),
    )
    estimates = RowEstimates.from_logs(
        graph, [5.0 + i % 7 for i in range(40)], [-4.0 - i % 5 for i in range(39)]
    )
    adjacency = graph.adjacency.tolist()
    for method in ("linearized", "greedy", None):
        nodes, _ = search_large(graph, estimates, OPERATORS, method=method)
        masks = nodes[0]["relations"].tolist()
        for node in nodes[0]:
            if node["operator"] != PlanOperator.SCAN:
                first, second = masks[node["left"]], masks[node["right"]]
                assert orientation(adjacency, operators, first, second) != ILLEGAL


def test_semi_joins_never_build_on_their_left_side() -> None:
    # The left side has few rows, and building costs more than probing: only the constraint forbids it.
    graph = QueryGraph(("a", "b"), np.zeros((0, 2)), (JoinOperator(JoinKind.SEMI, 1, 2),))
    nodes, _ = search_large(graph, RowEstimates.of(graph, [10.0, 1e6]), OPERATORS)
    assert Plan(graph.relations, nodes[0]).tree() == (0, 1)
    assert orientation([0, 0], graph.operators, 2, 1) == SECOND_IS_LEFT


def test_a_tree_against_the_constraints_is_refused() -> None:
    def search(written: object) -> Plan:
        operators = (JoinOperator(JoinKind.LEFT, 1, 6),)
        graph = QueryGraph(("a", "b", "c"), np.array([[1, 2]]), operators, written=written)  # type: ignore[arg-type]
        nodes, _ = search_large(graph, RowEstimates.of(graph, [10.0, 20.0, 30.0]))
        return Plan(graph.relations, nodes[0])

    assert search((0, (1, 2))).tree() in ((0, (1, 2)), (0, (2, 1)), ((1, 2), 0), ((2, 1), 0))
    with pytest.raises(InvalidInput, match="joins a with b against the ordering constraints"):
        search(((0, 1), 2))
    with pytest.raises(InvalidInput, match="does not hold each of the graph's 3 relations once"):
        search((1, 2))
    with pytest.raises(InvalidInput, match="names relation 7"):
        search((7, (1, 2)))


def test_unsatisfiable_constraints_are_an_error() -> None:
    graph = QueryGraph(("a", "b", "c"), np.array([[0, 1]]), (JoinOperator(JoinKind.SEMI, 1, 2),))
    with pytest.raises(InvalidInput, match="no join order was found"):
        search_large(graph, RowEstimates.of(graph, [10.0, 20.0, 30.0]))
