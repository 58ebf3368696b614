"""A ratio is never written so that it says nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from godb_fast.core.ratio import ratio_text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.834, "0.83"), (0.1, "0.10"), (0.0996, "0.1"), (0.0043, "0.0043"), (0.001, "0.001"),
        (0.00099, "< 0.001"), (0.0, "< 0.001"), (1.0, "1.00"), (38.456, "38.46"), (12345.6, "12,346"),
        (math.inf, "∞"), (math.nan, "unknown"), (-0.25, "-0.25"),
    ],
)  # fmt: skip
def test_as_it_is_written(ratio: float, text: str) -> None:
    assert ratio_text(ratio) == text


def test_with_more_digits() -> None:
    assert (ratio_text(0.98765, 3), ratio_text(0.02, 3)) == ("0.988", "0.02")


@given(st.floats(0.001, 1e6))
def test_what_is_read_back_is_near(ratio: float) -> None:
    assert float(ratio_text(ratio).replace(",", "")) == pytest.approx(ratio, rel=0.06)
