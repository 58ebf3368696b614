"""The model of a database: what it refuses and why, what it learns, how it is kept."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from feedback.costs.made import SCOPE, TRUTH, drawn, observation

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.errors import InvalidInput, StoreError
from godb_fast.feedback.costs import AdaptiveCostModel, CostPredictor, CostScope, Stage
from godb_fast.lessons import CostLessons
from godb_fast.store import SqliteStore
from godb_fast.store.writer import connect


def with_root(plan: PhysicalPlan, **change) -> PhysicalPlan:
    root = plan.root
    values = {name: getattr(root, name) for name in root.__dataclass_fields__}
    return PhysicalPlan(PhysicalNode(**{**values, **change}), plan.engine, plan.source, plan.latency_ms)


def untimed(plan: PhysicalPlan) -> PhysicalPlan:
    def strip(node: PhysicalNode) -> PhysicalNode:
        values = {name: getattr(node, name) for name in node.__dataclass_fields__}
        return PhysicalNode(**{**values, "time_ms": None, "children": tuple(map(strip, node.children))})

    return PhysicalPlan(strip(plan.root), plan.engine, plan.source, plan.latency_ms)


PLAN = drawn(1, 1)[0]
POISON = {
    "outcome timeout": {"outcome": "timeout"},
    "no plan": {"plan": None},
    "plan from explain": {"plan_source": "explain"},
    "another engine": {"engine": "postgresql"},
    "another database": {"database": "elsewhere"},
    "another machine": {"machine": "m2"},
    "a plan of another engine": {"plan": replace(PLAN, engine="postgresql")},
    "latency is not a positive number": {"latency_ms": -3.0},
    "latency of more than a week": {"latency_ms": 1e12},
    "rows is negative": {"plan": with_root(PLAN, rows=-1.0)},
    "rows is not finite": {"plan": with_root(PLAN, rows=float("nan"))},
    "estimated_rows is not finite": {"plan": with_root(PLAN, estimated_rows=float("inf"))},
    "time_ms is negative": {"plan": with_root(PLAN, time_ms=-0.5)},
    "more rows than any table holds": {"plan": with_root(PLAN, rows=1e18)},
    "operators took longer than all threads could": {"plan": with_root(PLAN, time_ms=1e9)},
    "no operator was timed": {"plan": untimed(PLAN)},
}


@pytest.mark.parametrize("reason", POISON)
def test_poison_is_refused_by_name_and_teaches_nothing(reason):
    model = AdaptiveCostModel(SCOPE)
    for number, plan in enumerate(drawn(2, 20)):
        assert model.observe(observation(plan, number)) is None
    before = model.to_dict()
    assert model.observe(observation(PLAN, **POISON[reason])) == reason
    assert model.refused == Counter({reason: 1})
    assert {**model.to_dict(), "refused": {}} == before
    assert model.observe(observation(PLAN, latency_ms=float("nan"))) == "latency is not a positive number"


def test_accuracy_grows_as_executions_are_seen():
    model = AdaptiveCostModel(SCOPE)
    assert model.accuracy() is None
    for number, plan in enumerate(drawn(3, 256)):
        model.observe(observation(plan, number % 30))
    early = model.accuracy("executed")
    for number, plan in enumerate(drawn(4, 256)):
        model.observe(observation(plan, number % 30))
    late = model.accuracy("executed")
    assert early is not None
    assert late is not None
    assert late.q_error < early.q_error
    assert late.q_error < 1.25
    assert late.rank_correlation > 0.9
    assert model.seen == 512


def test_a_class_gets_coefficients_of_its_own():
    model = AdaptiveCostModel(SCOPE)
    dear = TRUTH * 3
    for number, plan in enumerate(drawn(5, 60)):
        model.observe(observation(plan, number % 20, cluster="cheap"))
    for number, plan in enumerate(drawn(6, 150, dear)):
        model.observe(observation(plan, number % 20, cluster="dear"))
    assert set(model.stages) == {"", "cheap", "dear"}
    plan = drawn(7, 1)[0]
    cheap, costly = (model.predict(plan, workload=name, view="executed").ms for name in ("cheap", "dear"))
    assert costly > 1.5 * cheap
    assert model.predict(plan, workload="never seen") == model.predict(plan)


def test_a_batch_teaches_what_single_executions_do():
    plans = drawn(8, 200)
    model = AdaptiveCostModel(SCOPE)
    taught = model.fit(
        [observation(plan, number % 25, cluster="c") for number, plan in enumerate(plans)]
        + [observation(plans[0], outcome="error")]
    )
    assert taught == 200
    assert model.refused == Counter({"outcome error": 1})
    assert set(model.stages) == {"", "c"}
    for plan in drawn(9, 20):
        time = model.predict(plan, view="executed")
        assert plan.latency_ms / 1.6 < time.ms < plan.latency_ms * 1.6
    with pytest.raises(InvalidInput, match="no observation can teach costs"):
        model.fit([observation(plans[0], outcome="error")])


def test_before_anything_is_seen_static_coefficients_answer_with_a_wide_interval():
    time = AdaptiveCostModel(SCOPE).predict(PLAN)
    assert 0 < time.low_ms < time.ms < time.high_ms
    assert time.high_ms > 5 * time.low_ms


def test_drift_is_visible_and_acted_upon():
    model = AdaptiveCostModel(SCOPE)
    for number, plan in enumerate(drawn(10, 200)):
        model.observe(observation(plan, number % 20))
    assert model.stages[""] is Stage.SERVING
    assert not model.transitions
    for number, plan in enumerate(drawn(11, 200, TRUTH * 15)):
        model.observe(observation(plan, number % 20))
    assert [each.after for each in model.transitions[:2]] == [Stage.FROZEN, Stage.SHADOW]


def test_the_store_keeps_it(tmp_path: Path):
    model = AdaptiveCostModel(SCOPE)
    for number, plan in enumerate(drawn(12, 60)):
        model.observe(observation(plan, number, cluster="c"))
    store = SqliteStore(tmp_path / "store.sqlite")
    key = (SCOPE.engine, SCOPE.database, SCOPE.machine)
    assert store.costs.saved(*key) is None
    store.costs.save(*key, {"old": True})
    store.costs.save(*key, model.to_dict())
    again = AdaptiveCostModel.from_dict(store.costs.saved(*key), SCOPE)
    assert again.predict(PLAN) == model.predict(PLAN)
    assert again.predict(PLAN, workload="c") == model.predict(PLAN, workload="c")
    assert again.accuracy() == model.accuracy()
    assert again.to_dict() == json.loads(json.dumps(model.to_dict()))
    assert store.costs.saved("duckdb", "shop", "m2") is None
    store.costs.forget(*key)
    assert store.costs.saved(*key) is None


def test_of_two_processes_models_the_one_that_rests_on_more_stays(tmp_path: Path):
    kept = SqliteStore(tmp_path / "store.sqlite").costs
    service, batch = CostLessons(SCOPE, kept), CostLessons(SCOPE, kept)
    for number, plan in enumerate(drawn(12, 60)):
        batch.learn(observation(plan, number))
    batch.save(now=True)
    for number, plan in enumerate(drawn(13, 5)):
        service.learn(observation(plan, number))
    service.save(now=True)
    assert service.model.to_dict() == batch.model.to_dict()
    for number, plan in enumerate(drawn(14, 5)):
        service.learn(observation(plan, number))
    service.save(now=True)
    assert CostLessons(SCOPE, kept).model.seen == service.model.seen == 65
    # Frozen by drift, a process goes its own way.
    for number, plan in enumerate(drawn(11, 60, TRUTH * 15)):
        batch.learn(observation(plan, number % 20))
        if batch.model.stages[""] is not Stage.SERVING:
            break
    assert batch.model.stages[""] is Stage.FROZEN
    seen = batch.model.seen
    theirs = service.model.to_dict()
    theirs["all"]["seen"] = 10**6
    kept.save(SCOPE.engine, SCOPE.database, SCOPE.machine, theirs)
    batch.save(now=True)
    assert batch.model.stages[""] is Stage.FROZEN
    assert batch.model.seen == seen


def put(state: Any, place: str, value: Any) -> None:
    *way, last = [int(each) if each.isdecimal() else each for each in place.split(".")]
    for each in way:
        state = state[each]
    state[last] = value


@pytest.mark.parametrize(
    "place",
    [
        "sizes.a",
        "refused.x",
        "accuracy.estimated.window",
        "accuracy.estimated.pairs.0.1",
        "all.seen",
        "all.usual.estimated",
        "all.basis.executed",
        "all.residuals.executed.0",
        "all.operators.noise",
        "all.operators.rows",
        "all.operators.squares",
        "all.operators.prior.0",
        "all.operators.scale.0",
        "all.operators.coefficients.0",
        "all.operators.gram.0.0",
        "all.statements.estimated.moment.0",
    ],
)
def test_what_no_execution_can_have_taught_is_refused(place: str):
    model = AdaptiveCostModel(SCOPE)
    for plan in drawn(9, 3):
        assert model.observe(observation(plan)) is None
    good = json.loads(json.dumps(model.to_dict()))
    good["sizes"]["a"], good["refused"]["x"] = 5.0, 1
    AdaptiveCostModel.from_dict(good, SCOPE)
    beyond = [None, "x", [], {}, math.nan]
    beyond += [] if "moment" in place or "residuals" in place else [-1.0]
    # What is only counted may be any number.
    beyond += [] if place == "refused.x" else [1e308]
    for value in beyond:
        raw = copy.deepcopy(good)
        put(raw, place, value)
        with pytest.raises(InvalidInput):
            AdaptiveCostModel.from_dict(raw, SCOPE)


@pytest.mark.parametrize("state", [None, [1], "x", 5, {"format": []}, {}], ids=str)
def test_what_is_no_state_is_refused(state: Any):
    for read in (lambda: AdaptiveCostModel.from_dict(state, SCOPE), lambda: CostPredictor.from_dict(state)):
        with pytest.raises(InvalidInput):
            read()


def test_a_damaged_state_is_refused(tmp_path: Path):
    raw = AdaptiveCostModel(SCOPE).to_dict()
    with pytest.raises(InvalidInput, match="not of this database"):
        AdaptiveCostModel.from_dict(raw, CostScope("duckdb", "elsewhere", "m1"))
    for change in ({"format": 9}, {"sizes": None}, {"all": {}}, {"classes": []}, {"accuracy": {}}):
        with pytest.raises(InvalidInput):
            AdaptiveCostModel.from_dict({**raw, **change}, SCOPE)
    with pytest.raises(InvalidInput, match="classes"):
        AdaptiveCostModel(CostScope("duckdb", "shop", "m1", "reports"))
    store = SqliteStore(tmp_path / "store.sqlite")
    store.costs.save("duckdb", "shop", "m1", raw)
    connection = connect(store.path)
    connection.execute("UPDATE cost_models SET state = x'00ff'")
    connection.close()
    with pytest.raises(StoreError, match="damaged"):
        store.costs.saved("duckdb", "shop", "m1")
