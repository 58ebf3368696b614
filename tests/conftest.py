"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from godb_fast import backend as backends


@pytest.fixture(params=backends.BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each kernel backend in turn; absent ones are skipped by name, unless the run requires them all."""
    reason = backends.why_unavailable(request.param)
    if reason is not None:
        if os.environ.get("GODB_FAST_TEST_ALL_BACKENDS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the published evaluation data."""
    named = os.environ.get("GODB_FAST_BENCH_DATA")
    if not named:
        pytest.skip("GODB_FAST_BENCH_DATA does not name the folder with the published evaluation data")
    return Path(named)
