"""Fixtures that every test may use."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from postgres_server import NoServer, PostgresServer, running_server

from godb_fast import backend as backends
from godb_fast import first_sight
from godb_fast.learning.training import ranking, trainers

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    and threading.current_thread() is threading.main_thread()
):
    # As a shell leaves it to what it runs in the background; what these tests begin would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def first_sights_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements wait until they are known, however busy the machine is; tests of what is not so say so."""
    monkeypatch.setattr(first_sight, "FOREGROUND_MS", math.inf)


@pytest.fixture
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training grows a fifth of its trees: for tests of all but what models are worth."""
    for module, name in (
        (trainers, "LATENCY"),
        (trainers, "QUANTILE"),
        (ranking, "RANKER"),
        (ranking, "PLAN"),
    ):
        shape = getattr(module, name)
        monkeypatch.setattr(module, name, replace(shape, trees=shape.trees // 5, rate=3.0 * shape.rate))


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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server (see postgres_server.py), started when a test first asks for it.

    Without one the test is skipped by name, unless the run requires it.
    """
    running = running_server()
    try:
        server = running.__enter__()
    except NoServer as reason:
        if os.environ.get("GODB_FAST_TEST_REQUIRE_POSTGRES") == "1":
            pytest.fail(str(reason))
        pytest.skip(str(reason))
    try:
        yield server
    finally:
        running.__exit__(None, None, None)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A fresh database on it, as a superuser: a ``postgresql://`` URL."""
    with postgres_server.database() as url:
        yield url
