"""The gate: which of an engine's plans passes, why others do not, and what outcomes do to its bounds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from learning.models.making import ensemble, file_of, model_of
from learning.rankers import ranker

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.errors import InvalidInput, ModelRefused
from godb_fast.learning.gate import Gate
from godb_fast.learning.models import Model
from godb_fast.learning.physical import (
    PAIR_COLUMNS,
    PHYSICAL_COLUMNS,
    RANK_COLUMNS,
    pair_vectors,
    plan_vector,
)
from godb_fast.learning.pipelines import PIPELINE_COLUMNS, packed, packed_seconds
from godb_fast.learning.support import RangeTest

NAMES = [feature.name for feature in PHYSICAL_COLUMNS]


def scan(rows: float, operator: str = "Seq Scan", cost: float | None = None, **extra) -> PhysicalNode:
    told = {"Total Cost": cost} if cost is not None else {}
    return PhysicalNode(operator, "scan", table="t", estimated_rows=rows, extra={**told, **extra})


def join(operator: str, left: PhysicalNode, right: PhysicalNode, rows: float, cost: float) -> PhysicalNode:
    return PhysicalNode(
        operator, "join", estimated_rows=rows, children=(left, right), extra={"Total Cost": cost}
    )


def plan(root: PhysicalNode) -> PhysicalPlan:
    return PhysicalPlan(root, "postgresql", "explain")


def vector(root: PhysicalNode) -> np.ndarray:
    return plan_vector(plan(root))


def values(root: PhysicalNode) -> dict[str, float]:
    return dict(zip(NAMES, plan_vector(plan(root)).tolist(), strict=True))


LOOP = join("Nested Loop", scan(2, cost=5.0), scan(10, "Index Scan", cost=40.0), 20, 90.0)
HASH = join("Hash Join", scan(1000, cost=50.0), scan(30, cost=10.0), 20, 80.0)


def test_a_plan_is_described_by_its_operators_and_by_what_its_estimates_hide():
    loop, hashed = values(LOOP), values(HASH)
    assert (loop["joins"], loop["loop_joins"], loop["blind_loops"], loop["index_scans"]) == (1, 1, 1, 1)
    assert loop["exposure"] == loop["largest_exposure"] == pytest.approx(math.log1p(40.0))
    # The inner side runs once per outer row.
    assert loop["index_rows"] == pytest.approx(math.log1p(20.0))
    assert (hashed["hash_joins"], hashed["loop_joins"], hashed["exposure"]) == (1, 0, 0)
    assert hashed["built_rows"] == pytest.approx(math.log1p(30.0))
    assert hashed["probed_rows"] == pytest.approx(math.log1p(1000.0))
    assert hashed["cost"] == pytest.approx(math.log1p(80.0))


def test_a_subplan_runs_once_per_row_and_an_initplan_once():
    correlated = scan(50, cost=1e4)
    below = scan(7, cost=100.0, **{"Parent Relationship": "SubPlan"})
    found = values(replace(correlated, children=(below,)))
    assert found["subplans"] == 1
    assert found["subplan_cost"] == pytest.approx(math.log1p(5000.0))
    once = replace(below, extra={**below.extra, "Parent Relationship": "InitPlan"})
    found = values(replace(correlated, children=(once,)))
    assert (found["subplans"], found["initplans"], found["subplan_cost"]) == (0, 1, 0)


@pytest.mark.parametrize("rows", [None, math.inf, math.nan, -3.0, 1e300])
def test_absurd_estimates_give_finite_numbers(rows):
    found = plan_vector(plan(replace(LOOP, estimated_rows=rows)))
    assert np.isfinite(found).all()
    assert (found >= 0.0).all()


def test_pairs_are_differences_and_then_the_engine_s_own_plan():
    own, other = plan_vector(plan(LOOP)), plan_vector(plan(HASH))
    (row,) = pair_vectors(other[None, :], own)
    assert row[PAIR_COLUMNS.index("delta_loop_joins")] == -1.0
    assert row[PAIR_COLUMNS.index("loop_joins")] == 1.0


def gate(**card) -> Gate:
    return Gate(Model(ranker("delta_loop_joins", below=-1.0, above=0.5, **card)))


def test_the_faster_plan_passes_with_its_bound_and_a_reason():
    choice = gate().choose(vector(LOOP), [vector(HASH)], 100.0, names=["own", "no loops"])
    assert choice.candidate == 1
    assert choice.log_ratio == pytest.approx(-1.0)
    assert choice.bound is not None
    assert math.exp(choice.bound.log_ratio) < 0.5
    assert choice.support is not None
    assert choice.support.inside
    assert choice.reason.startswith("no loops is predicted to take 0.37 ×")


def test_the_same_plans_are_predicted_once():
    one = gate()
    first = one.choose(vector(LOOP), [vector(HASH)], 100.0)
    assert (one.predictions.hits, one.predictions.misses) == (0, 1)
    again = one.choose(vector(LOOP), [vector(HASH), vector(LOOP)], 100.0)
    assert again.log_ratio == first.log_ratio
    # Beside another plan of the engine's own it is another pair.
    one.choose(vector(HASH), [vector(HASH)], 100.0)
    assert (one.predictions.hits, one.predictions.misses) == (1, 3)


def latency_model() -> Model:
    """Predicts that each source row takes e times as long in a pipeline with a loop."""
    at = [feature.name for feature in PIPELINE_COLUMNS].index("loops")
    tree = [("BRANCH_LEQ", at, 0.5, 1, 2), ("LEAF", 0.0), ("LEAF", -1.0)]
    columns = tuple(feature.name for feature in PIPELINE_COLUMNS)
    data = model_of([ensemble([tree])], len(columns))
    return Model(file_of(data, len(columns), columns=columns, kind="latency", name="duckdb-latency"))


def hearing(latency: Model | None, share: float = 0.25) -> Gate:
    calibration = ranker("joins", below=0, above=0).card.calibration | {"latency_share": share}
    file = ranker("delta_loop_joins", below=-1.0, above=0.5, calibration=calibration)
    return Gate(Model(file), latency=latency)


def test_the_latency_model_has_its_say_where_pipelines_are_known():
    own, other = packed(plan(LOOP)), packed(plan(HASH))
    seconds = packed_seconds(latency_model().predict, [other, own])
    says = max(min(math.log(seconds[0] / seconds[1]), 1.0), -3.0)
    assert says != 0.0
    held = hearing(latency_model())
    heard = held.choose(vector(LOOP), [vector(HASH)], 100.0, pipelines=[own, other])
    assert heard.log_ratio == pytest.approx(0.75 * -1.0 + 0.25 * says)
    # Of a plan that does not tell its pipelines, and of other versions of these, the ranker alone says.
    for pipelines in (None, [own, None], [None, other], [own, other + 1.0]):
        found = held.choose(vector(LOOP), [vector(HASH)], 100.0, pipelines=pipelines)
        assert found.log_ratio == pytest.approx(-1.0)
    with pytest.raises(InvalidInput, match="pipelines of 1 plans"):
        held.choose(vector(LOOP), [vector(HASH)], 100.0, pipelines=[own])


def test_a_ranker_without_the_latency_model_that_it_was_judged_with_is_refused():
    with pytest.raises(ModelRefused, match="together with duckdb-latency") as caught:
        hearing(None)
    assert caught.value.reason == "missing"
    assert hearing(None, share=0.0).choose(vector(LOOP), [vector(HASH)], 100.0).candidate == 1


def test_nothing_passes_that_is_slower_alike_or_not_worth_it():
    assert gate().choose(vector(HASH), [vector(LOOP)], 100.0).candidate == 0
    assert gate().choose(vector(LOOP), [], 100.0).candidate == 0
    same = gate().choose(vector(LOOP), [vector(LOOP)], 100.0)
    assert same.candidate == 0
    assert "could not be predicted" in same.reason
    cheap = gate().choose(vector(LOOP), [vector(HASH)], 0.1, overhead_ms=0.2)
    assert cheap.candidate == 0
    assert "not worth it" in cheap.reason


def test_nothing_passes_beyond_what_was_learned_from():
    near = dict.fromkeys(PAIR_COLUMNS, 0.0)
    held = gate(
        least=near,
        most=near,
        calibration=ranker("joins", below=0, above=0).card.calibration | {"allowed": 0.0},
    )
    choice = held.choose(vector(LOOP), [vector(HASH)], 100.0)
    assert choice.candidate == 0


@pytest.mark.parametrize(("times", "inside"), [(1.0, True), (8.0, True), (1e4, False)])
def test_data_may_have_grown_tenfold_since_training(times, inside):
    def larger(by: float) -> tuple[PhysicalNode, PhysicalNode]:
        # Of each outer row, as many inner ones as before.
        inner, outer = scan(10, "Index Scan", cost=40.0), scan(1000 * by, cost=50.0 * by)
        loop = join("Nested Loop", scan(2 * by), inner, 20 * by, 90.0 * by)
        return loop, join("Hash Join", outer, scan(30 * by, cost=10.0 * by), 20 * by, 80.0 * by)

    loop, hashed = larger(100.0)
    own = plan_vector(plan(loop))
    seen = pair_vectors(np.array([own, plan_vector(plan(hashed))]), own)
    names = {"least": seen.min(axis=0), "most": seen.max(axis=0)}
    held = gate(
        calibration=ranker("joins", below=0, above=0).card.calibration | {"allowed": 0.002},
        **{name: dict(zip(PAIR_COLUMNS, row.tolist(), strict=True)) for name, row in names.items()},
    )
    loop, hashed = larger(100.0 * times)
    choice = held.choose(vector(loop), [vector(hashed)], 100.0)
    assert choice.support is not None
    assert choice.support.inside is inside
    assert (choice.candidate == 1) is inside


def test_broken_bounds_close_the_gate_and_kept_ones_open_it_again():
    held = gate()
    choice = held.choose(vector(LOOP), [vector(HASH)], 100.0)
    assert not held.observe(choice, 1.5)
    for _ in range(15):
        held.observe(choice, 1.5)
    assert held.choose(vector(LOOP), [vector(HASH)], 100.0).candidate == 0
    for _ in range(400):
        held.observe(choice, -1.0)
    assert held.choose(vector(LOOP), [vector(HASH)], 100.0).candidate == 1
    assert not held.observe(choice, 0.2, cut=True)


@pytest.mark.parametrize(
    "card",
    [
        {"kind": "latency"},
        {"calibration": {"scores": 10.0, "allowed": 0.1}},
        {"least": {}},
        {"columns": tuple(f"c{number}" for number in range(len(RANK_COLUMNS)))},
    ],
)
def test_a_model_that_does_not_say_when_to_act_is_refused(card):
    with pytest.raises(ModelRefused):
        gate(**card)


def test_ranges_are_those_of_other_groups():
    rows = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.5], [0.5, 1.0]])
    test = RangeTest.of(rows, np.array([0, 1, 2, 2]))
    assert test.distances(rows).tolist() == [0.0] * 4
    assert test.allowed > 0.0
    assert test.verdict(np.array([1.0, 0.5])).inside
    assert not test.verdict(np.array([9.0, 9.0])).inside
    assert RangeTest.of(rows, np.zeros(4, np.int64)).allowed == 0.0
