"""What a policy refuses, before anything runs under it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from godb_fast import Optimizer, connect
from godb_fast.errors import InvalidInput
from godb_fast.policy import Policy


@pytest.mark.parametrize(
    "field",
    [
        "margin",
        "allowance",
        "allowance_floor_ms",
        "regression_budget",
        "rollout",
        "patience",
        "learn_from_ms",
        "learn_share",
    ],
)
@pytest.mark.parametrize("value", ["x", None, True, math.nan, -1.0])
def test_what_is_no_number_or_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=field.partition("_")[0]):
        Policy(**{field: value})


@pytest.mark.parametrize("field", ["margin", "allowance", "allowance_floor_ms"])
def test_a_watchdog_without_an_end_is_none(field: str) -> None:
    with pytest.raises(InvalidInput):
        Policy(**{field: math.inf})


@pytest.mark.parametrize("value", [-1, 1.5, True, None])
def test_rows_are_counted(value: Any) -> None:
    with pytest.raises(InvalidInput, match="max_buffered_rows"):
        Policy(max_buffered_rows=value)


@pytest.mark.parametrize("value", ["no", 0, None, pytest.param(10**5000, id="many digits")])
def test_a_switch_is_on_or_off(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"background is .*; it is True or False"):
        Policy(background=value)


@pytest.mark.parametrize("value", [-1, 0, "steer", {"mode": "steer"}, Policy])
def test_what_is_no_policy_is_refused_before_anything_is_opened(value: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"policy is .*; give a godb_fast\.Policy"):
        Optimizer(policy=value)
    path = tmp_path / "x.db"
    with pytest.raises(InvalidInput, match="policy is"):
        connect(str(path), policy=value)
    assert not path.exists()


@pytest.mark.parametrize("value", [-1, 0, b"x", []])
def test_what_is_no_store(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"store is .*; give a path"):
        Optimizer(store=value)


def test_what_has_no_limit_says_so() -> None:
    assert Policy(regression_budget=math.inf, learn_from_ms=math.inf).learn_from_ms == math.inf


def test_a_time_limit_that_never_comes_is_none() -> None:
    with connect("duckdb://", timeout_s=math.inf) as session:
        assert session.timeout_s is None
        for long in (1e300, 10**400):
            assert session.execute("SELECT 7", timeout_s=long).fetchall() == [(7,)]
            assert session.run_default("SELECT 7", timeout_s=long).rows == [(7,)]
            assert session.wait_prepared(long)
