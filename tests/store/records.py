"""Decisions and observations to store."""

from __future__ import annotations

from typing import Any

import numpy as np

from godb_fast.core import (
    PLAN_NODE,
    Candidate,
    Decision,
    Observation,
    PhysicalNode,
    PhysicalPlan,
    Plan,
    Steering,
)

TEXT = "select count(*) from a, b where a.id = b.id and a.name = ?"


def decision(fingerprint: int = -7, **more: Any) -> Decision:
    nodes = np.array([(0, 0, -1, -1, 1, 5, 0), (0, 1, -1, -1, 2, 6, 0), (1, -1, 0, 1, 3, 30, 41)], PLAN_NODE)
    fields: dict[str, Any] = {
        "fingerprint": fingerprint,
        "sql": "SELECT count(*) FROM a, b WHERE a.id = b.id AND a.name = 'Ada Secret'",
        "steering": Steering(join_trees=((0, (0, 1)),)),
        "action": "steer",
        "reason": "estimated 3.2 times cheaper",
        "candidates": (Candidate("search", 0, Plan(("a", "b"), nodes), (41.0,), True),),
        "scenarios": ("best",),
        "engine": "duckdb",
        "epoch": "e1",
        "timings_us": {"search": 3.5},
    }
    return Decision(**(fields | more))


def plan(depth: int = 1) -> PhysicalPlan:
    node = PhysicalNode(
        "SEQ_SCAN",
        "scan",
        table="a",
        predicates=("name='Ada Secret' AND born > 1815",),
        columns=("id",),
        estimated_rows=5.0,
        rows=4.0,
        extra={"Filters": "(name = 'Ada Secret')", "depth": 3},
    )
    other = PhysicalNode("SEQ_SCAN", "scan", table="b", rows=6.0)
    for _ in range(depth):
        node = PhysicalNode("HASH_JOIN", "join", join_type="INNER", rows=30.0, children=(node, other))
    return PhysicalPlan(node, "duckdb", "profile", 1.5, 1024.0)


def observation(of: Decision, latency_ms: float = 2.0, **more: Any) -> Observation:
    fields: dict[str, Any] = {
        "decision_id": of.id,
        "fingerprint": of.fingerprint,
        "outcome": "ok",
        "latency_ms": latency_ms,
        "rows": 1,
        "engine": "duckdb",
        "engine_version": "2.0.0",
        "database": "shop",
        "machine": "m1",
    }
    return Observation(**(fields | more))
