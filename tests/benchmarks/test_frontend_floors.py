"""Floors of the front end, of ``optimize()`` and of its peers as gates, only where they are asked for.

Without ``GODB_FAST_BENCH_DATA`` they are those of the demo's queries and of generated topologies.
"""

from __future__ import annotations

import os

import pytest
from gates import assert_floors_hold

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("GODB_FAST_BENCH_GATES") != "1",
        reason="speed is gated only where GODB_FAST_BENCH_GATES=1 (CI): it needs a quiet machine",
    ),
]


def test_front_end_keeps_its_floors(benchmark):
    from benchmarks import frontend

    assert_floors_hold(benchmark, "frontend", frontend.run)


def test_optimize_keeps_its_floors(benchmark):
    from benchmarks import optimize

    assert_floors_hold(benchmark, "optimize", optimize.run)


def test_optimize_keeps_ahead_of_the_engines(benchmark):
    from benchmarks import peers

    assert_floors_hold(benchmark, "peers", peers.run)
