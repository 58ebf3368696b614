"""Data is checked once, at the door: graphs, estimates, plans, steerings, statistics."""

from __future__ import annotations

import json
import math
import uuid
from dataclasses import replace

import numpy as np
import pytest

from godb_fast.core import (
    C_OUT,
    NO_STEERING,
    PLAN_NODE,
    Block,
    Candidate,
    ColumnKind,
    ColumnStatistics,
    CostModel,
    Decision,
    JoinKind,
    JoinOperator,
    Observation,
    Plan,
    PlanOperator,
    QueryGraph,
    Relation,
    RowEstimates,
    Steering,
    Template,
)
from godb_fast.core.estimates import MAX_LOG_ROWS
from godb_fast.core.identity import random_id
from godb_fast.core.relation_set import MAX_MASKED, members, relation_set
from godb_fast.errors import InvalidInput


def graph(*edges: str) -> QueryGraph:
    """``graph("AB", "BC")``: relations by letter."""
    names = sorted(set("".join(edges)))
    return QueryGraph.from_edges(names, [(names.index(a), names.index(b)) for a, b in edges])


def three_nodes() -> np.ndarray:
    return np.array(
        [
            (PlanOperator.SCAN, 1, -1, -1, 2, 10.0, 0.0),
            (PlanOperator.SCAN, 0, -1, -1, 1, 5.0, 0.0),
            (PlanOperator.HASH_JOIN, -1, 0, 1, 3, 20.0, 20.0),
        ],
        PLAN_NODE,
    )


# ---- Relation sets and graphs -------------------------------------------------------------------------


def test_relation_sets_are_signed_masks() -> None:
    assert relation_set([0, 3, 61]) == 1 | 8 | 1 << 61
    assert list(members(1 | 8 | 1 << 61)) == [0, 3, 61]
    assert relation_set(range(MAX_MASKED)) < 2**63


def test_edges_are_sorted_unique_and_read_only() -> None:
    found = QueryGraph(("A", "B", "C"), np.array([[2, 1], [1, 2], [1, 0]]))
    assert found.edges.tolist() == [[0, 1], [1, 2]]
    assert found.adjacency.tolist() == [2, 5, 2]
    with pytest.raises(ValueError, match="read-only"):
        found.edges[0, 0] = 2


def test_components_name_every_relation_once() -> None:
    found = QueryGraph.from_edges(6, [(0, 3), (3, 5), (1, 2)])
    assert found.components == ((0, 3, 5), (1, 2), (4,))
    assert QueryGraph((), np.zeros((0, 2))).components == ()


def test_from_edges_gives_each_edge_one_selectivity() -> None:
    found = graph("BC", "AB")
    assert found.selective_start.tolist() == [0, 2, 4]
    assert found.selective_member.tolist() == [0, 1, 1, 2]
    assert found.names(0b101) == "A,C"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"relations": ("a", "a"), "edges": []}, "relation 'a' appears twice"),
        ({"relations": ("a", "b"), "edges": [[0, 2]]}, "an edge names relation 2, but the graph has 2"),
        ({"relations": ("a", "b"), "edges": [[-1, 1]]}, "the graph has 2"),
        ({"relations": ("a", "b"), "edges": [[1, 1]]}, "joins a relation with itself"),
        (
            {"relations": ("a",), "edges": [], "class_start": [0, 2], "class_member": [0]},
            "class_start is not",
        ),
        ({"relations": ("a",), "edges": [], "class_start": [], "class_member": []}, "class_start is not"),
        (
            {"relations": ("a",), "edges": [], "class_start": [0, 1], "class_member": [4]},
            "class_member names",
        ),
        (
            {"relations": ("a",), "edges": [], "selective_start": [0, 2, 1, 2], "selective_member": [0, 0]},
            "selective_start is not",
        ),
        (
            {"relations": ("a", "b"), "edges": [], "operators": (JoinOperator(JoinKind.LEFT, 1, 4),)},
            "does not fit a graph of 2 relations",
        ),
        (
            {"relations": ("a", "b"), "edges": [], "operators": (JoinOperator(JoinKind.LEFT, 3, 2),)},
            "does not fit a graph of 2 relations",
        ),
    ],
)
def test_malformed_graphs_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        QueryGraph(**arguments)  # type: ignore[arg-type]


def test_constraints_and_masks_end_at_62_relations() -> None:
    names = tuple(f"r{i}" for i in range(63))
    with pytest.raises(InvalidInput, match="at most 62 relations, not 63"):
        QueryGraph(names, np.zeros((0, 2)), (JoinOperator(JoinKind.LEFT, 1, 2),))
    with pytest.raises(InvalidInput, match="63 relations do not fit a mask"):
        _ = QueryGraph.from_edges(names, []).adjacency


# ---- Estimates ----------------------------------------------------------------------------------------


def test_estimates_are_logarithms_by_lane() -> None:
    found = RowEstimates.of(graph("AB"), [[10.0, 100.0], [1.0, 2.0]], [[0.5, 0.25]])
    assert found.lanes == 2
    assert found.log_rows[0].tolist() == pytest.approx([math.log(10), math.log(100)])
    assert found.log_selectivity.shape == (1, 2)
    assert found.log_distinct.shape == (0, 2)


def test_single_lanes_are_broadcast() -> None:
    found = RowEstimates.of(graph("AB"), [[10.0, 100.0], [1.0, 2.0]], [0.5])
    assert found.log_selectivity.tolist() == [[math.log(0.5)] * 2]


def test_zero_rows_and_huge_logarithms_are_clamped() -> None:
    assert RowEstimates.of(graph("AB"), [0.0, 1.0], [0.0]).log_rows[0, 0] == -MAX_LOG_ROWS
    assert RowEstimates.from_logs(graph("AB"), [1e9, 0.0], [0.0]).log_rows[0, 0] == MAX_LOG_ROWS


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_estimates_are_finite_and_not_negative(bad: float) -> None:
    with pytest.raises(InvalidInput, match=r"rows holds (nan|inf|-1.0); estimates are finite"):
        RowEstimates.of(graph("AB"), [1.0, bad], [1.0])
    with pytest.raises(InvalidInput, match="selectivities holds"):
        RowEstimates.of(graph("AB"), [1.0, 1.0], [bad])


def test_shapes_of_estimates_are_checked() -> None:
    with pytest.raises(InvalidInput, match=r"log_rows has shape \(3, 1\), but the graph needs \(2, K\)"):
        RowEstimates.of(graph("AB"), [1.0, 2.0, 3.0], [1.0])
    with pytest.raises(InvalidInput, match="log_selectivity has shape"):
        RowEstimates.of(graph("AB"), [1.0, 2.0], [])
    with pytest.raises(InvalidInput, match="17 scenarios asked for; at most 16"):
        RowEstimates.of(graph("AB"), np.ones((2, 17)), [1.0])
    with pytest.raises(InvalidInput, match="scenario counts differ"):
        RowEstimates.of(graph("AB"), np.ones((2, 3)), np.ones((1, 2)))
    with pytest.raises(InvalidInput, match="log_rows holds NaN"):
        RowEstimates.from_logs(graph("AB"), [math.nan, 0.0], [0.0])


def test_cost_coefficients_are_not_negative() -> None:
    assert C_OUT.coefficients().tolist() == [0.0, 0.0, 0.0, 1.0, math.inf, math.inf]
    with pytest.raises(InvalidInput, match="cost coefficient probe is -1"):
        CostModel(probe=-1.0)
    with pytest.raises(InvalidInput, match="cost coefficient build is nan"):
        CostModel(build=math.nan)


# ---- Plans and steerings ------------------------------------------------------------------------------


def test_plan_nodes_are_forty_bytes() -> None:
    # The kernels read them through int32, int64 and float64 views.
    assert PLAN_NODE.itemsize == 40
    assert PLAN_NODE.fields is not None
    assert [PLAN_NODE.fields[name][1] for name in PLAN_NODE.names or ()] == [0, 4, 8, 12, 16, 24, 32]


def test_a_plan_reads_and_draws_its_tree() -> None:
    plan = Plan(("a", "b"), three_nodes())
    assert plan.tree() == (1, 0)
    assert (plan.cost, plan.rows) == (20.0, 20.0)
    assert plan.draw().splitlines() == [
        "hash join  rows 20  cost 20",
        "├─ b  rows 10  cost 0",
        "└─ a  rows 5  cost 0",
    ]


def test_an_empty_plan_costs_nothing() -> None:
    plan = Plan((), np.zeros(0, PLAN_NODE))
    assert (plan.cost, plan.rows) == (0.0, 0.0)


def test_a_plan_of_a_thousand_relations_draws_without_recursion() -> None:
    nodes = [(PlanOperator.SCAN, 0, -1, -1, 0, 1.0, 0.0)]
    for i in range(1, 1200):
        nodes.append((PlanOperator.SCAN, i, -1, -1, 0, 1.0, 0.0))
        nodes.append((PlanOperator.HASH_JOIN, -1, len(nodes) - 2, len(nodes) - 1, 0, 1.0, 1.0))
    plan = Plan(tuple(f"r{i}" for i in range(1200)), np.array(nodes, PLAN_NODE))
    assert len(plan.draw().splitlines()) == 2399


def test_a_steering_survives_its_json() -> None:
    steering = Steering(((0, ((0, 1), 2)), (3, 1)), ("rule/1",), (("threads", "4"),), ("Leading(a b)",))
    assert Steering.from_json(steering.to_json()) == steering
    assert steering
    assert not NO_STEERING
    assert Steering.from_json(NO_STEERING.to_json()) == NO_STEERING


def test_steering_keys_are_stable_across_platforms() -> None:
    steering = Steering(((0, (0, 1)),))
    assert steering.to_json() == '{"join_trees":[[0,[0,1]]],"rewrites":[],"settings":[],"hints":[]}'
    assert steering.key == "d2171e0b249fadf5"
    assert steering.key != Steering(((0, (1, 0)),)).key


def test_a_decision_explains_itself_as_text_and_json() -> None:
    plan = Plan(("a", "b"), three_nodes(), "dpccp")
    decision = Decision(
        -1,
        "SELECT 1",
        action="steer",
        reason="our plan costs half",
        candidates=(Candidate("corrected", 0, plan, (20.0, 30.0), chosen=True),),
        scenarios=("corrected", "pessimistic"),
        block_reasons=((1, "a FULL join is not reordered"),),
        timings_us={"search": 1.5, "gate": 0.5},
    )
    text = decision.explain()
    assert text.startswith("steer: our plan costs half")
    assert "block 1: a FULL join is not reordered" in text
    assert "deciding took 2.0 µs (search 1.5, gate 0.5)" in text
    slow = replace(decision, timings_us={"template": 1_168_765.5, "search": 5_000.0})
    assert "deciding took 1173.8 ms (template 1168.8, search 5.0)" in slow.explain()
    found = json.loads(decision.explain("json"))
    assert found["fingerprint"] == "f" * 16
    assert found["candidates"][0]["tree"]["left"] == {"relation": "b", "rows": 10.0}
    assert decision.id != Decision(-1, "SELECT 1").id


def test_observations_carry_utc_and_ids_of_their_own() -> None:
    first, second = (Observation("decision", 7, "ok", 1.5) for _ in range(2))
    assert first.execution_id != second.execution_id
    assert str(uuid.UUID(first.execution_id)) == first.execution_id
    assert uuid.UUID(first.execution_id).version == 4
    assert all(uuid.UUID(random_id()).variant == uuid.RFC_4122 for _ in range(64))
    assert first.at.utcoffset() is not None
    assert first.at.utcoffset() == second.at.utcoffset()


# ---- Statistics and templates -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distinct": -1.0}, "distinct count -1.0 is not a finite number"),
        ({"distinct": math.nan}, "distinct count nan"),
        ({"distinct": math.inf}, "distinct count inf"),
        ({"distinct": 1.0, "null_share": 1.5}, "null share 1.5 is not between 0 and 1"),
        ({"distinct": 1.0, "null_share": math.nan}, "null share nan"),
        ({"distinct": 1.0, "common_values": (1.0,)}, "each common value needs a finite share"),
        (
            {"distinct": 1.0, "common_values": (1.0,), "common_shares": np.array([-0.5])},
            "each common value needs a finite share",
        ),
    ],
)
def test_column_statistics_are_checked(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ColumnStatistics(ColumnKind.NUMBER, **arguments)  # type: ignore[arg-type]


def test_only_blocks_with_a_join_are_plannable() -> None:
    def block(index: int, found: QueryGraph | None) -> Block:
        return Block(index, None, "main", (Relation("a", "t"),), found)

    blocks = (block(0, graph("AB")), block(1, None), block(2, QueryGraph.from_edges(1, [])))
    assert Template(0, "", "duckdb", blocks=blocks).plannable == (blocks[0],)
