"""The enumeration benchmark's floors as gates: ratios within one run, only where they are asked for."""

from __future__ import annotations

import os

import pytest
from gates import assert_floors_hold

pytestmark = pytest.mark.skipif(
    os.environ.get("GODB_FAST_BENCH_GATES") != "1",
    reason="speed is gated only where GODB_FAST_BENCH_GATES=1 (CI): it needs a quiet machine",
)


@pytest.mark.slow
def test_search_keeps_its_floors(benchmark):
    from benchmarks import enumeration

    assert_floors_hold(benchmark, "enumeration", enumeration.run)
