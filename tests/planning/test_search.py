"""The exact search finds the optimum, and says honestly what its plans are."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import join_order as oracle
from oracles import outer_joins

from godb_fast import backend as backends
from godb_fast.core import (
    C_OUT,
    OPERATORS,
    PLAN_NODE,
    CostModel,
    JoinKind,
    JoinOperator,
    Plan,
    QueryGraph,
    RowEstimates,
)
from godb_fast.core.conflicts import resolve
from godb_fast.errors import InvalidInput
from godb_fast.planning.layout import connected_parts
from godb_fast.planning.search import Planner, plan

#: All operators compete: about as many index and merge joins as hash joins are chosen.
ALL_OPERATORS = CostModel(scan=0.2, build=2.0, probe=1.0, output=1.0, lookup=3.0, sort=0.15, name="all")
MODELS = (C_OUT, OPERATORS, ALL_OPERATORS)
LOADED = [name for name in backends.BACKENDS if backends.why_unavailable(name) is None]
#: A kept pair list, and enumeration anew.
LIST_BYTES = (1 << 20, 0)


def solve(graph, estimates, model, backend, indexed=(), list_bytes=1 << 20):
    planner = Planner(graph, backend=backend, indexed=indexed, list_bytes=list_bytes)
    nodes = planner.search(estimates, model)
    for lane in range(estimates.lanes):
        rows = oracle.rows_of(graph, estimates, lane)
        oracle.check_plan(graph, nodes[lane], rows, model, indexed)
        wanted = oracle.optimum(graph, rows, model, indexed)
        assert nodes[lane, -1]["cost"] == pytest.approx(wanted, rel=1e-9)
    return planner


@pytest.mark.parametrize("list_bytes", LIST_BYTES)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_optimum_of_every_small_graph(size, list_bytes, backend):
    source = random.Random(size)
    for graph in oracle.connected_graphs(size):
        estimates = oracle.random_estimates(graph, source)
        indexed = [source.random() < 0.5 for _ in range(size)]
        for model in MODELS:
            solve(graph, estimates, model, backend, indexed, list_bytes)


@pytest.mark.parametrize("size", [5, 6])
def test_optimum_of_graphs_of_five_and_six(size, backend):
    source = random.Random(size)
    graphs = list(oracle.connected_graphs(size)) if size == 5 else []
    if size == 6 or backend == "python":
        graphs = [oracle.random_graph(size, source) for _ in range(60)]
    for number, graph in enumerate(graphs):
        indexed = [source.random() < 0.5 for _ in range(size)]
        estimates = oracle.random_estimates(graph, source)
        solve(graph, estimates, MODELS[number % 3], backend, indexed, LIST_BYTES[number % 2])


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(LOADED),
    st.integers(2, 8),
    st.randoms(use_true_random=False),
    st.sampled_from(MODELS),
    st.sampled_from(LIST_BYTES),
)
def test_optimum_of_random_graphs(backend, size, source, model, list_bytes):
    graph = oracle.random_graph(size, source)
    indexed = [source.random() < 0.5 for _ in range(size)]
    solve(graph, oracle.random_estimates(graph, source), model, backend, indexed, list_bytes)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(LOADED),
    st.integers(2, 6),
    st.randoms(use_true_random=False),
    st.sampled_from(MODELS),
    st.sampled_from(LIST_BYTES),
)
def test_optimum_with_equivalence_classes(backend, size, source, model, list_bytes):
    members = [source.sample(range(size), source.randint(2, size)) for _ in range(source.randint(1, 3))]
    members.append(list(range(size)))
    edges = [(a, b) for group in members for a in group for b in group if a < b]
    starts = np.cumsum([0, *(len(group) for group in members)])
    graph = QueryGraph(
        tuple(f"r{i}" for i in range(size)),
        np.array(edges),
        class_start=starts,
        class_member=np.array([i for group in members for i in group]),
        selective_start=np.array([0, 2]),
        selective_member=np.array([0, size - 1]),
    )
    indexed = [source.random() < 0.5 for _ in range(size)]
    solve(graph, oracle.random_estimates(graph, source, 2), model, backend, indexed, list_bytes)


def outer_join_case(source, size):
    """A random block with outer, semi and anti joins, and its graph."""
    case = outer_joins.random_case(source, size)
    found = resolve(size, case.tree, case.conjuncts, case.where)
    joins = [case.conjuncts[i].relations for i in (*found.joins, *sum_predicates(found))]
    starts = np.cumsum([0, *(mask.bit_count() for mask in joins)])
    graph = QueryGraph(
        tuple(f"r{i}" for i in range(size)),
        np.array(found.edges).reshape(-1, 2),
        operators=found.operators,
        selective_start=starts,
        selective_member=np.array([i for mask in joins for i in oracle.members(mask)], np.int64),
    )
    return case, found, graph


def sum_predicates(found):
    return [number for operator in found.operators for number in operator.predicates]


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(LOADED),
    st.integers(2, 6),
    st.randoms(use_true_random=False),
    st.sampled_from(MODELS),
    st.sampled_from(LIST_BYTES),
)
def test_outer_joins_optimum_and_rows(backend, size, source, model, list_bytes):
    """The cheapest legal plan, and executed on tables with NULLs and duplicates it gives the query's rows."""
    case, found, graph = outer_join_case(source, size)
    assume(len(connected_parts(graph)) == 1)
    indexed = [source.random() < 0.5 for _ in range(size)]
    estimates = oracle.random_estimates(graph, source)
    planner = solve(graph, estimates, model, backend, indexed, list_bytes)
    expected = frozenset(outer_joins.original_rows(case).items())
    assert outer_joins.execute_nodes(case, found, planner.search(estimates, model)[0]) == expected


def test_constraints_bind_only_where_they_are():
    """With the same rows, constraints never make a plan cheaper; unconstrained graphs have all pairs."""
    source = random.Random(3)
    bound = 0
    for _ in range(60):
        _, _, graph = outer_join_case(source, 5)
        if not graph.operators or len(connected_parts(graph)) > 1:
            continue
        planner = Planner(graph)
        listed = {tuple(sorted(pair)) for pair in planner.listed_pairs().tolist()}
        assert len(listed) <= planner.pairs
        bound += len(listed) < planner.pairs
    assert bound > 10


def test_contradicting_constraints_are_refused(backend):
    operators = (JoinOperator(JoinKind.LEFT, 0b001, 0b010),)
    graph = QueryGraph(("a", "b", "c"), np.array([[0, 1], [1, 2]]), operators=operators)
    with pytest.raises(InvalidInput, match="admit no join order"):
        Planner(graph, backend=backend)


# -- Rows by set, unknown rows, bad rows -----------------------------------------------------------------


@pytest.mark.parametrize("list_bytes", LIST_BYTES)
def test_rows_by_set(list_bytes, backend):
    source = random.Random(9)
    for _ in range(20):
        graph = oracle.random_graph(6, source)
        planner = Planner(graph, backend=backend, list_bytes=list_bytes)
        assert sorted(planner.sets.tolist()) == oracle.connected_sets(graph)
        by_set = {mask: float(source.randrange(1, 1000)) for mask in planner.sets.tolist()}
        rows = np.array([by_set[mask] for mask in planner.sets.tolist()])
        nodes = planner.search(rows)[0]
        oracle.check_plan(graph, nodes, by_set.__getitem__, C_OUT)
        assert nodes[-1]["cost"] == oracle.optimum(graph, by_set.__getitem__, C_OUT)
        for given_rows in (by_set, by_set.__getitem__, rows):
            assert plan(graph, given_rows, backend=backend).cost == nodes[-1]["cost"]


@pytest.mark.parametrize("list_bytes", LIST_BYTES)
@pytest.mark.parametrize("shape", [oracle.chain, oracle.cycle, oracle.clique])
def test_unknown_rows_are_infinite(shape, list_bytes, backend):
    graph = shape(5)
    planner = Planner(graph, backend=backend, list_bytes=list_bytes)
    rows = np.ones(len(planner.sets))
    position = {mask: i for i, mask in enumerate(planner.sets.tolist())}
    rows[position[0b00011]] = np.inf
    nodes = planner.search(rows)[0]
    assert nodes[-1]["cost"] == 4
    assert 0b00011 not in nodes["relations"]
    rows[position[0b11111]] = np.inf
    for model in MODELS:
        nodes = planner.search(rows, model)[0]
        assert nodes[-1]["cost"] == np.inf
        assert nodes[-1]["relations"] == 0b11111
        assert Plan(graph.relations, nodes).tree()


@pytest.mark.parametrize("bad", [-1.0, float("nan"), -np.inf])
def test_bad_rows_have_the_same_message_everywhere(bad, backend):
    planner = Planner(oracle.letters("A-B B-C"), backend=backend)
    rows = np.ones((len(planner.sets), 3))
    rows[planner.sets.tolist().index(0b110), 1] = bad
    with pytest.raises(InvalidInput) as caught:
        planner.search(rows)
    assert str(caught.value) == f"rows of {{B,C}} are {bad} in lane 1; row counts are not negative"
    assert planner.search(np.ones(len(planner.sets)))[0, -1]["cost"] == 2


def test_bad_shapes_are_refused(backend):
    planner = Planner(oracle.letters("A-B B-C"), backend=backend)
    with pytest.raises(InvalidInput, match=r"rows have shape \(5,\), but the graph has 6 sets"):
        planner.search(np.ones(5))
    with pytest.raises(InvalidInput, match="1 to 16 scenarios"):
        planner.search(np.ones((6, 17)))
    with pytest.raises(InvalidInput, match="out has shape"):
        planner.search(np.ones(6), out=np.zeros((1, 4), PLAN_NODE))
    other = oracle.letters("A-B")
    with pytest.raises(InvalidInput, match="estimates are for"):
        planner.search(RowEstimates.of(other, [1, 1], [1]))
    with pytest.raises(InvalidInput, match="indexed has 1 entries"):
        Planner(other, indexed=[True], backend=backend)
    with pytest.raises(InvalidInput, match=r"no rows are given for the relation set \{A,B\}"):
        plan(other, {1: 1.0, 2: 1.0}, backend=backend)


def test_out_is_written_in_place(backend):
    planner = Planner(oracle.letters("A-B B-C"), backend=backend)
    out = np.zeros((2, 5), PLAN_NODE)
    assert planner.search(np.ones((6, 2)), out=out) is out
    assert out[1, -1]["relations"] == 0b111


# -- Shapes without a choice, or without a connection ----------------------------------------------------


def test_no_and_one_relation(backend):
    empty = Planner(QueryGraph((), np.zeros((0, 2))), backend=backend)
    assert empty.search(RowEstimates.of(empty.graph, [])).shape == (1, 0)
    assert empty.plans(np.zeros((0, 1)))[0].cost == 0
    single = Planner(QueryGraph(("a",), np.zeros((0, 2))), backend=backend)
    found = single.plans(RowEstimates.of(single.graph, [7.0]), OPERATORS)[0]
    assert (found.tree(), found.rows) == (0, pytest.approx(7.0))
    assert found.cost == pytest.approx(1.4)


def test_disconnected_graphs_cross_last_in_ascending_rows(backend):
    graph = QueryGraph.from_edges("abcde", [(0, 1), (3, 4)])
    estimates = RowEstimates.of(graph, [[100, 1], [100, 1], [5, 500], [10, 10], [10, 10]], [1, 1])
    first, second = Planner(graph, backend=backend).plans(estimates, OPERATORS)
    assert first.tree() == ((2, (3, 4)), (0, 1))
    assert second.tree() == (((0, 1), (3, 4)), 2)
    assert first.rows == pytest.approx(5 * 100 * 10_000)
    scans = 0.2 * (100 + 100 + 5 + 10 + 10)
    joins = (100 + 200 + 10_000) + (10 + 20 + 100)
    crosses = (5 * 100 + 500) + (500 * 10_000 + 5_000_000)
    assert first.cost == pytest.approx(scans + joins + crosses)
    planner = Planner(graph, backend=backend)
    again = planner.plans(planner.rows(estimates), OPERATORS)[0]
    assert (again.tree(), again.cost) == (first.tree(), pytest.approx(first.cost))
    assert planner.recost([first, first.tree()], estimates, OPERATORS)[:, 0] == pytest.approx(first.cost)


def test_beyond_the_budget_plans_are_linearized(backend):
    graph = oracle.star(8)
    source = random.Random(1)
    estimates = oracle.random_estimates(graph, source)
    planner = Planner(graph, pair_budget=100, backend=backend)
    assert not planner.exact
    nodes = planner.search(estimates)
    rows = oracle.rows_of(graph, estimates)
    oracle.check_plan(graph, nodes[0], rows, C_OUT)
    assert planner.algorithm
    assert nodes[0, -1]["cost"] >= oracle.optimum(graph, rows, C_OUT) * (1 - 1e-9)
    with pytest.raises(InvalidInput, match="exceeds the pair budget"):
        planner.search(np.ones(5))
    assert planner.recost([nodes[0]], estimates)[0, 0] == pytest.approx(nodes[0, -1]["cost"])


@pytest.mark.parametrize("size", [63, 100, 300])
def test_more_relations_than_bits(size):
    graph = oracle.chain(size)
    estimates = oracle.random_estimates(graph, random.Random(size), 2)
    planner = Planner(graph)
    first, _ = planner.plans(estimates)
    assert sorted(first.nodes["relation"][first.nodes["relation"] >= 0].tolist()) == list(range(size))
    if size == 63:
        assert planner.recost([first], estimates)[0, 0] == pytest.approx(first.cost)


# -- Re-costing, lanes, replay, threads ------------------------------------------------------------------


def test_recost_agrees_with_the_search_and_with_the_definition(backend):
    source = random.Random(5)
    for _ in range(20):
        graph = oracle.random_graph(6, source)
        estimates = oracle.random_estimates(graph, source, 3)
        indexed = [source.random() < 0.5 for _ in range(6)]
        planner = Planner(graph, indexed=indexed, backend=backend)
        for model in MODELS:
            plans = planner.plans(estimates, model)
            costs = planner.recost([*plans, *(entry.tree() for entry in plans)], estimates, model)
            assert costs.shape == (6, 3)
            for lane, entry in enumerate(plans):
                # The optimum of a lane is at most what any other plan costs there.
                assert costs[lane, lane] == pytest.approx(entry.cost, rel=1e-12)
                assert (costs[:, lane] >= entry.cost * (1 - 1e-12)).all()
                assert costs[3 + lane, lane] == pytest.approx(entry.cost, rel=1e-12)
        assert planner.recost(plans, planner.rows(estimates), model) == pytest.approx(costs[:3], rel=1e-12)


def test_recost_of_trees_with_cross_products(backend):
    graph = oracle.letters("A-B B-C")
    planner = Planner(graph, backend=backend)
    estimates = RowEstimates.of(graph, [10, 20, 30], [0.1, 0.1])
    assert planner.recost([((0, 2), 1)], estimates)[0, 0] == pytest.approx(300 + 60)
    assert planner.recost([((0, 2), 1)], planner.rows(estimates))[0, 0] == pytest.approx(300 + 60)
    operators = planner.recost([((0, 2), 1)], estimates, OPERATORS)[0, 0]
    assert operators == pytest.approx(0.2 * 60 + (10 * 30 + 300) + (300 + 2 * 20 + 60))
    for tree in ((0, 1), ((0, 1), 1), ((0, 1), 7)):
        with pytest.raises(InvalidInput, match="join tree"):
            planner.recost([tree], estimates)


@pytest.mark.parametrize("list_bytes", LIST_BYTES)
def test_lanes_equal_single_searches(list_bytes, backend):
    source = random.Random(8)
    shapes = [
        oracle.star(7),
        oracle.clique(6),
        oracle.chain(14),
        oracle.cycle(14),
        oracle.random_graph(7, source),
    ]
    for graph in shapes:
        for lanes in (2, 3, 8, 16):
            estimates = oracle.random_estimates(graph, source, lanes)
            indexed = [source.random() < 0.5 for _ in range(graph.size)]
            planner = Planner(graph, indexed=indexed, backend=backend, list_bytes=list_bytes)
            for model in MODELS:
                together = planner.search(estimates, model)
                for lane in range(lanes):
                    alone = RowEstimates.from_logs(
                        graph,
                        estimates.log_rows[:, lane],
                        estimates.log_selectivity[:, lane],
                        estimates.log_distinct[:, lane],
                    )
                    assert planner.search(alone, model).tobytes() == together[lane].tobytes()


def test_replay_equals_direct(backend):
    source = random.Random(11)
    shapes = [
        oracle.star(8),
        oracle.clique(7),
        oracle.chain(15),
        oracle.cycle(15),
        oracle.random_graph(8, source),
    ]
    seen = set()
    for graph in shapes:
        estimates = oracle.random_estimates(graph, source, 2)
        kept = Planner(graph, backend=backend)
        direct = Planner(graph, backend=backend, list_bytes=0)
        assert kept.replayed
        assert not direct.replayed
        seen.add(direct.algorithm)
        for model in MODELS:
            a, b = kept.search(estimates, model), direct.search(estimates, model)
            assert (a[:, -1]["cost"] == b[:, -1]["cost"]).all()
            if direct.algorithm == kept.algorithm:
                assert a.tobytes() == b.tobytes()
    assert seen == {"dptree", "dpsub", "dpccp"}


@pytest.mark.parametrize("list_bytes", LIST_BYTES)
def test_threads_share_a_planner(list_bytes):
    source = random.Random(12)
    graph = oracle.random_graph(11, source)
    estimates = [oracle.random_estimates(graph, source, 1 + number % 3) for number in range(24)]
    planner = Planner(graph, list_bytes=list_bytes)
    wanted = [Planner(graph, list_bytes=list_bytes).search(entry, OPERATORS).tobytes() for entry in estimates]
    with ThreadPoolExecutor(6) as threads:
        for _ in range(10):
            found = threads.map(lambda entry: planner.search(entry, OPERATORS).tobytes(), estimates)
            assert list(found) == wanted


def test_ties_put_the_smaller_input_on_the_build_side(backend):
    graph = oracle.letters("A-B")
    planner = Planner(graph, backend=backend)
    assert planner.plans(RowEstimates.of(graph, [10, 20], [1]))[0].tree() == (1, 0)
    assert planner.plans(RowEstimates.of(graph, [20, 10], [1]))[0].tree() == (0, 1)
    assert planner.plans(RowEstimates.of(graph, [10, 10], [1]))[0].tree() == (0, 1)


# -- Published graphs --------------------------------------------------------------------------------------


@pytest.mark.data
def test_published_graphs_with_true_cardinalities(data):
    """Every 30th of the 7363 CEB graphs: the optimum, by trying every split (unknown sets are infinite)."""
    graphs = pytest.importorskip("benchmarks.graphs")
    for number, published in enumerate(graphs.ceb_graphs(data)):
        if number % 30:
            continue
        planner = Planner(published.graph)
        nodes = planner.search(published.rows(planner.sets))[0]
        assert nodes[-1]["cost"] == graphs.naive_optimum(published)
    assert number == 7362
