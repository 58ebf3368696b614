"""The enumeration benchmark's floors as gates: ratios within one run, only where they are asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.environ.get("GODB_FAST_BENCH_GATES") != "1",
    reason="speed is gated only where GODB_FAST_BENCH_GATES=1 (CI): it needs a quiet machine",
)


@pytest.mark.slow
def test_search_keeps_its_floors(benchmark):
    from benchmarks import enumeration
    from benchmarks.common import Options, collect

    named = os.environ.get("GODB_FAST_BENCH_DATA")
    options = Options(data=Path(named) if named else None, quick=True)
    report = benchmark.pedantic(collect, ("enumeration", enumeration.run, options), rounds=1)
    assert report.floors
    assert not report.broken, report.text()
