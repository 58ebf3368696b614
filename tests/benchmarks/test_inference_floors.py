"""Floors of predictions and of training as gates, only where they are asked for."""

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


def test_inference_keeps_its_floors(benchmark):
    from benchmarks import inference

    assert_floors_hold(benchmark, "inference", inference.run)


def test_training_keeps_its_floors(benchmark):
    from benchmarks import training

    assert_floors_hold(benchmark, "training", training.run)
