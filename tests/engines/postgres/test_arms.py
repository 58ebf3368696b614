"""Arms of PostgreSQL: when they are tried, and what memory they may ask for."""

from __future__ import annotations

import pytest

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.engines.arms import Arm, traits, worth_trying
from godb_fast.engines.postgres.arms import ARMS, arms
from godb_fast.engines.postgres.settings import KNOBS, SteeringSettings

ALLOWED = {name: "on" for name, knob in KNOBS.items() if knob.kind == "switch"} | {
    "work_mem": "4096", "max_parallel_workers_per_gather": "2", "random_page_cost": "4", "cpu_tuple_cost": "0.01",
    "join_collapse_limit": "8", "from_collapse_limit": "8", "parallel_setup_cost": "1000",
    "parallel_tuple_cost": "0.1",
}  # fmt: skip


def plan(*operators: str, **extra: object) -> PhysicalPlan:
    node = PhysicalNode("Result", extra=dict(extra))
    for operator in operators:
        kind = "join" if "Join" in operator or operator == "Nested Loop" else "other"
        node = PhysicalNode(operator, kind, children=(node,))
    return PhysicalPlan(PhysicalNode("Result", children=(node,), extra=dict(extra)), "postgresql", "explain")


def names(tried: PhysicalPlan, allowed: dict[str, str] = ALLOWED, shared_kb: float = 4 * 2**20) -> set[str]:
    return {arm.name for arm in arms(tried, SteeringSettings(allowed, shared_kb))}


def test_names_are_unique_and_settings_known():
    assert len({arm.name for arm in ARMS}) == len(ARMS)
    assert {name for arm in ARMS for name, _ in arm.settings} <= set(KNOBS)


def test_only_what_the_plan_uses_is_tried():
    assert "no hash joins" in names(plan("Hash Join"))
    assert "no nested loops" not in names(plan("Hash Join"))
    assert "no compilation" not in names(plan("Hash Join"))
    assert "no compilation" in names(plan("Hash Join", JIT={"Functions": 3}))
    assert "exhaustive join search" in names(plan(*["Hash Join"] * 11))
    assert names(plan()) == set()


def test_what_is_set_so_already_is_not_tried():
    assert "no hash joins" not in names(plan("Hash Join"), {**ALLOWED, "enable_hashjoin": "off"})
    assert "no hash joins" not in names(plan("Hash Join"), {"work_mem": "4096"})


@pytest.mark.parametrize(
    ("shared_kb", "workers", "expected"),
    [(4 * 2**20, 0, "16384kB"), (4 * 2**20, 99, "10485kB"), (100.0, 0, "16384kB"), (100.0, 15, None)],
)
def test_memory_is_divided_by_the_processes_that_use_it(shared_kb, workers, expected):
    tried = PhysicalPlan(
        PhysicalNode("Gather", extra={"Workers Planned": workers}, children=(PhysicalNode("Sort"),)),
        "",
        "explain",
    )
    found = {arm.name: dict(arm.settings) for arm in arms(tried, SteeringSettings(ALLOWED, shared_kb))}
    assert found.get("more memory", {}).get("work_mem") == expected


def test_a_digest_is_of_the_plan_alone():
    one = PhysicalPlan(PhysicalNode("Sort", estimated_rows=5.0, extra={"Total Cost": 1.0}), "", "explain")
    other = PhysicalPlan(
        PhysicalNode("Sort", estimated_rows=9.0, extra={"Total Cost": 2.0, "Disabled": True}), "", ""
    )
    assert one.digest() == other.digest()
    assert one.digest() != PhysicalPlan(PhysicalNode("Sort", table="t"), "", "explain").digest()
    nested = PhysicalPlan(
        PhysicalNode("A", children=(PhysicalNode("B", children=(PhysicalNode("C"),)),)), "", ""
    )
    flat = PhysicalPlan(PhysicalNode("A", children=(PhysicalNode("B"), PhysicalNode("C"))), "", "")
    assert nested.digest() != flat.digest()


def test_strategies_are_traits():
    assert "Aggregate:Hashed" in traits(plan("Aggregate", Strategy="Hashed")) | traits(
        PhysicalPlan(PhysicalNode("Aggregate", extra={"Strategy": "Hashed"}), "", "")
    )
    assert worth_trying([Arm("x", (), frozenset({"Sort"}))], plan("Hash Join")) == ()
