"""What a policy refuses, before anything runs under it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from godb_fast import connect
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


def test_what_has_no_limit_says_so() -> None:
    assert Policy(regression_budget=math.inf, learn_from_ms=math.inf).learn_from_ms == math.inf


def test_a_time_limit_that_never_comes_is_none() -> None:
    with connect("duckdb://", timeout_s=math.inf) as session:
        assert session.timeout_s is None
        assert session.execute("SELECT 7", timeout_s=1e300).fetchall() == [(7,)]
