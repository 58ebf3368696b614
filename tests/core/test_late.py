"""Decisions and observations of which fields are made when they are read."""

from __future__ import annotations

import copy
import uuid
from dataclasses import FrozenInstanceError, asdict
from datetime import UTC, datetime, timedelta

import pytest

from godb_fast.core import NO_STEERING, Decision, LateDecision, Observation


def test_a_noted_observation_is_one():
    noted = Observation.noted(
        {"decision_id": "d", "fingerprint": 7, "outcome": "ok", "latency_ms": 1.5, "rows": 3}
    )
    other = Observation.noted({"decision_id": "d", "fingerprint": 7, "outcome": "ok", "latency_ms": 1.5})
    assert (noted.rows, noted.steered, noted.plan, noted.engine) == (3, False, None, "")
    assert noted.execution_id == noted.execution_id != other.execution_id
    assert uuid.UUID(noted.execution_id).version == 4
    before = datetime.now(UTC)
    assert before - timedelta(minutes=1) < noted.at <= before
    copied = copy.copy(noted)
    assert asdict(copied) == asdict(noted)
    assert type(copied) is Observation
    with pytest.raises(FrozenInstanceError):
        noted.rows = 4


def test_a_late_decision_is_one():
    asked = []

    def make(name):
        asked.append(name)
        if name in ("reason", "block_reasons"):
            return {"reason": "because", "block_reasons": ((0, "so"),)}
        return {
            "candidates": (),
            "scenarios": ("a",),
            "engine": "e",
            "epoch": "1",
            "timings_us": {"search": 2.0},
            "models": (),
            "bound": None,
            "support": None,
            "cluster": None,
        }

    late = LateDecision({"fingerprint": 7, "sql": "SELECT 1", "steering": NO_STEERING, "_make": make})
    assert (late.fingerprint, late.sql, bool(late.steering), late.action, asked) == (
        7,
        "SELECT 1",
        False,
        "default",
        [],
    )
    assert (late.reason, late.block_reasons, late.reason) == ("because", ((0, "so"),), "because")
    assert (late.engine, late.scenarios, late.total_us) == ("e", ("a",), 2.0)
    assert asked == ["reason", "engine"]
    copied = copy.copy(late)
    assert type(copied) is Decision
    assert copied.to_dict() | {"id": 0} == late.to_dict() | {"id": 0}
