"""Candidates and proposals of templates written by hand, under statistics written by hand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from oracles.hand_built import block
from oracles.warehouse import BAD, JOINS, ROWS, STAR, Warehouse, kind_is, planner, star

from godb_fast.core import (
    NO_STEERING,
    Block,
    Constant,
    JoinKind,
    JoinOperator,
    Slot,
)
from godb_fast.planning.calibration import DUCKDB
from godb_fast.planning.search import Planner


def test_a_better_plan_is_proposed(backend):
    found = planner(star(), backend=backend).propose(["7", "0"], None, {0: BAD})
    assert [index for index, _ in found.steering.join_trees] == [0]
    tree = found.steering.join_trees[0][1]
    assert tree[0] != BAD[0]
    assert innermost(tree) == {0, 1}
    assert "times cheaper" in found.reason
    chosen = [entry for entry in found.candidates if entry.chosen]
    assert len(chosen) == 1
    assert chosen[0].plan.tree() == tree


def innermost(tree):
    while isinstance(tree, tuple):
        if not isinstance(tree[0], tuple) and not isinstance(tree[1], tuple):
            return set(tree)
        tree = tree[0] if isinstance(tree[0], tuple) else tree[1]
    raise AssertionError(tree)


def test_literals_decide(backend):
    proposals = planner(star(), backend=backend)
    first, second = (
        innermost(proposals.propose(literals, None, {0: BAD}).steering.join_trees[0][1])
        for literals in (["7", "0"], ["0", "7"])
    )
    assert (first, second) == ({0, 1}, {0, 2})
    parameters = planner(star(), slots=("parameter", "parameter"))
    bound = parameters.propose(["$1", "$2"], [7, 0], {0: BAD})
    assert innermost(bound.steering.join_trees[0][1]) == {0, 1}


def test_candidates_are_costed_in_every_scenario(backend):
    proposals = planner(star(), backend=backend, scenarios=16)
    found = proposals.propose(["7", "8"], None, {0: BAD})
    estimates = proposals.estimates(["7", "8"])[0]
    graph = star().graph
    search = Planner(graph, backend=backend)
    assert len(proposals.scenarios) == 16
    trees = [entry.plan.tree() for entry in found.candidates]
    assert len(set(trees)) == len(trees)
    assert found.candidates[-1].name == "default"
    assert trees[-1] == BAD
    costs = np.array([entry.costs for entry in found.candidates])
    assert np.allclose(costs, search.recost(trees, estimates, DUCKDB), rtol=1e-12)
    optimal = search.search(estimates, DUCKDB)["cost"][:, -1]
    assert np.allclose(costs.min(axis=0), optimal, rtol=1e-12)
    # What is drawn is the best guess.
    for entry in found.candidates:
        assert entry.plan.cost == pytest.approx(entry.costs[0])
        assert entry.plan.nodes["rows"].min() > 0


def test_all_backends_propose_the_same():
    from godb_fast import backend as backends

    usable = [name for name in backends.BACKENDS if backends.why_unavailable(name) is None]
    found = [planner(star(), backend=name).propose(["7", "8"], None, {0: BAD}) for name in usable]
    first = found[0]
    for other in found[1:]:
        assert other.steering == first.steering
        assert [entry.costs for entry in other.candidates] == [entry.costs for entry in first.candidates]


def test_the_engines_own_plan_is_kept_if_it_is_the_best():
    proposals = planner(star())
    best = proposals.propose(["7", "0"], None, {0: BAD}).steering.join_trees[0][1]
    found = proposals.propose(["7", "0"], None, {0: best})
    assert found.steering == NO_STEERING
    assert found.reason == "the engine's own plan is the cheapest"
    assert [entry.name.startswith("default = ") for entry in found.candidates].count(True) == 1
    assert not any(entry.chosen for entry in found.candidates)


def test_the_margin_is_the_callers():
    found = planner(star()).propose(["7", "0"], None, {0: BAD}, margin=1000.0)
    assert found.steering == NO_STEERING
    assert "no plan is estimated 1000 times cheaper" in found.reason


@pytest.mark.parametrize("trees", [None, {}, {3: BAD}])
def test_an_unknown_default_is_left_alone(trees):
    found = planner(star()).propose(["7", "0"], None, trees)
    assert found.steering == NO_STEERING
    assert found.reason == "the engine's own join order of this block is not known"
    assert found.candidates


@pytest.mark.parametrize("tree", [((0, 1), 2), (((0, 1), 2), 2), (((0, 1), 2), 9), 0])
def test_a_default_that_does_not_fit_is_left_alone(tree):
    found = planner(star()).propose(["7", "0"], None, {0: tree})
    assert found.steering == NO_STEERING
    assert "does not fit" in found.reason


def test_tiny_queries_are_left_alone():
    tiny = Warehouse({table: rows / 1000.0 for table, rows in ROWS.items()})
    found = planner(star(), statistics=tiny).propose(["7", "0"], None, {0: BAD})
    assert found.steering == NO_STEERING
    assert "not worth steering" in found.reason
    eager = planner(star(), statistics=tiny, least_gain=0.0).propose(["7", "0"], None, {0: BAD})
    assert eager.steering


def test_blocks_that_are_not_understood_are_left_alone():
    strange = block(
        {"x": ("elsewhere", "id"), "a": ("a", "id kind")}, ["x.id = a.id"], index=1, parent=0, role="cte"
    )
    passed = Block(2, 0, "subquery", (), None, reason="a FULL join")
    found = planner(star(), strange, passed).propose(["7", "0"], None, {0: BAD, 1: (0, 1)})
    assert [index for index, _ in found.steering.join_trees] == [0]
    assert dict(found.block_reasons)[1] == "no statistics for table 'elsewhere'"
    assert dict(found.block_reasons)[2] == "a FULL join"


def test_missing_statistics_below_are_named():
    inner = block({"x": ("elsewhere", "id")}, [], index=1, parent=0, role="derived")
    outer = block({"d": (1, "id"), "f": ("facts", "a_id")}, ["d.id = f.a_id"])
    found = planner(outer, inner).propose([], None, {0: (0, 1)})
    assert dict(found.block_reasons)[0] == "no statistics for table 'elsewhere'"


def test_the_joins_of_views_are_left_alone():
    view = star(index=1, parent=0, role="view")
    outer = block({"v": (1, "a_id kind"), "a": ("a", "id kind")}, ["v.a_id = a.id"])
    found = planner(outer, view).propose(["7", "0"], None, {0: (0, 1)})
    assert [entry.index for entry in found.blocks] == [0]
    assert dict(found.block_reasons)[1] == "the joins of a view keep the engine's order"


def test_blocks_are_steered_one_by_one():
    found = planner(star(), star(index=1, parent=0, role="subquery")).propose(
        ["7", "0"], None, {0: BAD, 1: BAD}
    )
    assert [index for index, _ in found.steering.join_trees] == [0, 1]
    assert found.reason.startswith("block 0: estimated")


def test_a_block_whose_gain_is_a_small_part_of_the_whole_is_left_alone(backend):
    """Few rows of what another block computes may be joined three times cheaper, and nothing is gained."""
    joined = {"g": ("giant", "a_id"), "a": ("a", "id kind")}

    def both(rows):
        giant = block(joined, ["g.a_id = a.id"], index=1, parent=0, role="subquery")
        return planner(star(), giant, statistics=Warehouse({**ROWS, "giant": rows}), backend=backend)

    own = {0: BAD, 1: (0, 1)}
    for rows, steered in ((1e6, True), (1e9, False)):
        proposals = both(rows)
        found = proposals.propose(["7", "0"], None, own)
        assert bool(found.steering) is steered
        draft = proposals.draft(("7", "0"), None)
        assert draft.propose(proposals.own_plans(own)) == found.steering
        assert draft.reasons() == (found.reason, found.block_reasons)
        assert ("of the work of all joins, is not worth steering" in found.reason) is not steered


def test_outer_joins_are_planned():
    joins = [*JOINS, "f.a_id = n.a_id"]
    relations = {**STAR, "n": ("notes", "a_id kind")}
    left = JoinOperator(JoinKind.LEFT, 1, 16, (3,))
    edges = block(relations, joins, {"a": kind_is("a", Slot(0))})
    # The left join's predicate belongs to its operator, not to the inner edges.
    inner = block(relations, JOINS, {"a": kind_is("a", Slot(0))}, operators=[left])
    graph = type(inner.graph)(
        inner.graph.relations,
        inner.graph.edges,
        operators=(left,),
        class_start=edges.graph.class_start,
        class_member=edges.graph.class_member,
        class_columns=edges.graph.class_columns,
        predicates=edges.graph.predicates,
    )
    outer = Block(0, None, "main", inner.relations, graph, inner.filters)
    own = ((((0, 3), 2), 4), 1)
    found = planner(outer).propose(["7", "0"], None, {0: own})
    assert found.steering
    tree = found.steering.join_trees[0][1]
    assert tree == (tree[0], 4) or innermost(tree) == {0, 1}
    costs = np.array([entry.costs for entry in found.candidates])
    trees = [entry.plan.tree() for entry in found.candidates]
    again = Planner(graph).recost(trees, planner(outer).estimates(["7", "0"])[0], DUCKDB)
    assert np.allclose(costs, again, rtol=1e-9)


def test_disconnected_blocks_are_planned():
    apart = block({"f": STAR["f"], "a": STAR["a"], "s": ("small", "id")}, ["f.a_id = a.id"])
    found = planner(apart).propose([], None, {0: ((0, 2), 1)})
    assert found.candidates
    assert found.candidates[0].costs[0] < found.candidates[-1].costs[0]


def test_large_blocks_are_planned():
    count = 70
    relations = {f"t{i}": ("a" if i % 2 else "facts", "id a_id kind") for i in range(count)}
    joins = [f"t{i}.a_id = t{i + 1}.id" for i in range(count - 1)]
    tree = 0
    for i in range(1, count):
        tree = (tree, i)
    found = planner(block(relations, joins)).propose([], None, {0: tree})
    assert found.candidates
    assert all(len(entry.plan.nodes) == 2 * count - 1 for entry in found.candidates)


def test_fewer_scenarios_are_searched_in_large_graphs(monkeypatch):
    monkeypatch.setattr("godb_fast.planning.block_planner.SEARCHED_PAIRS", 25)
    few = planner(star()).propose(["7", "8"], None, {0: BAD})
    monkeypatch.setattr("godb_fast.planning.block_planner.SEARCHED_PAIRS", 10**6)
    all_ = planner(star()).propose(["7", "8"], None, {0: BAD})
    assert Planner(star().graph).pairs == 12
    assert all(len(entry.costs) == 8 for entry in few.candidates)
    assert not any("perturbed" in entry.name for entry in few.candidates)
    assert few.candidates[0].costs == all_.candidates[0].costs


def test_a_literal_that_matches_nothing():
    null = block(STAR, JOINS, {"a": kind_is("a", Constant(None))})
    found = planner(null).propose([], None, {0: BAD})
    assert found.steering
    assert innermost(found.steering.join_trees[0][1]) == {0, 1}


def test_steps_are_timed():
    proposals = planner(star())
    assert set(proposals.propose(["7", "0"]).timings_us) == {"estimates", "search", "recost", "choice"}
    before = proposals.estimates(["7", "0"])
    assert "estimates" not in proposals.propose(["7", "0"], estimates=before).timings_us


def test_threads_share_a_planner():
    proposals = planner(star())

    def ask(number):
        found = proposals.propose([str(number), str(7 * number % 1000)], None, {0: BAD})
        return found.steering, [entry.costs for entry in found.candidates]

    alone = [ask(number) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(200))) == alone


def test_distributions_are_shared_per_epoch():
    statistics = Warehouse()
    asked = []
    original = statistics.column
    statistics.column = lambda table, column: asked.append((table, column)) or original(table, column)
    planner(star(), statistics=statistics)
    first = len(asked)
    planner(star(), statistics=statistics)
    assert len(asked) == first
    statistics.epoch = "2"
    assert planner(star(), statistics=statistics).epoch == "2"
    assert len(asked) == 2 * first


def test_texts_and_values_give_the_same_estimates():
    proposals = planner(star())
    for first in range(0, 900, 7):
        literals = (str(first), str(first * 13 % 1000))
        by_value = proposals._estimator.estimates(proposals.bind(literals))[0]
        assert (by_value.log_rows == proposals.estimates(literals)[0].log_rows).all()
    listed = proposals.estimates(["7", ["8", "9"]])[0].log_rows
    assert (listed == proposals._estimator.estimates([7.0, [8.0, 9.0]])[0].log_rows).all()
    parameters = planner(star(), slots=("parameter", "parameter"))
    seven, zero, unknown = (
        parameters.estimates(("$1", "$2"), params)[0].log_rows[1, 0] for params in ([7, 0], [0, 7], None)
    )
    assert zero > unknown
    assert zero > seven


@pytest.mark.parametrize("tree", [BAD, (((0, 1), 2), 3), None, (0, 1)])
def test_a_draft_comes_to_what_propose_does(backend, tree):
    proposals = planner(star(), backend=backend)
    trees = {} if tree is None else {0: tree}
    own = proposals.own_plans(trees)
    steered = 0
    for first in range(0, 1000, 90):
        literals = (str(first), str(first * 13 % 1000))
        slow = proposals.propose(literals, None, trees, margin=1.1)
        draft = proposals.draft(literals)
        assert draft.propose(own, 1.1) == slow.steering
        assert draft.reasons() == (slow.reason, slow.block_reasons)
        assert [entry.costs for entry in draft.candidates()] == [entry.costs for entry in slow.candidates]
        steered += bool(slow.steering)
    assert (steered > 0) is (tree == BAD)


def test_threads_share_drafts():
    proposals = planner(star())
    own = proposals.own_plans({0: BAD})

    def ask(number):
        draft = proposals.draft((str(number), str(7 * number % 1000)))
        return draft.bucket, draft.propose(own), draft.reasons()

    alone = [ask(number) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(200))) == alone


def test_a_whole_steering_names_every_block():
    proposals = planner(star(), star(index=1, parent=0, role="set_operand"))
    for trees, named in (
        ({0: BAD, 1: BAD}, {0, 1}),
        ({0: BAD, 1: (((0, 1), 2), 3)}, {0, 1}),
        ({0: BAD}, set()),
    ):
        draft = proposals.draft(("7", "0"))
        assert draft.propose(proposals.own_plans(trees))
        steering = draft.completed()
        assert {index for index, _ in steering.join_trees} == named
        if named:
            ours = dict(steering.join_trees)
            assert ours[0] != BAD
            assert ours[1] == trees[1] or trees[1] == BAD
        else:
            assert "block 1" in draft.reasons()[0]
    draft = proposals.draft(("7", "0"))
    assert [index for index, _ in draft.propose(proposals.own_plans({0: BAD})).join_trees] == [0]
