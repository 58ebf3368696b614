"""Statements with their plans and times: what a cost model learns from, and what it is judged by."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import corpora, loading, tpcds_parameters, tpch_parameters
from benchmarks.common import Options
from benchmarks.workloads import Values
from godb_fast.core import PhysicalPlan
from godb_fast.engines.base import Engine, Rendered
from godb_fast.engines.postgres.engine import PostgresEngine
from godb_fast.engines.registry import open_engine
from godb_fast.errors import EngineError, QueryTimeout

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class MeasuredPlan:
    """One statement: its plan as it ran (with its estimates), and what an unobserved run took.

    ``latency_ms`` is the fastest of several runs without a profile: noise on a shared machine only adds.
    """

    template: str
    draw: int
    plan: PhysicalPlan
    latency_ms: float


@dataclass
class Measuring:
    """What is measured.

    Parameters
    ----------
    draws
        Draws of literals per template; the first is the published text.
    cap_s
        Statements that take longer are left out, and counted.
    """

    engine: str
    workload: str
    scale: float
    draws: int = 3
    runs: int = 4
    cap_s: float = 10.0


@contextmanager
def database(
    dataset: loading.Dataset, engine: str, settings: Mapping[str, str] = loading.TUNED
) -> Iterator[tuple[str, str]]:
    """The URL of the loaded data, and what was left out."""
    if engine == "postgres":
        with loading.postgres(dataset, settings) as (url, left_out):
            yield url, left_out
    else:
        yield str(loading.duckdb_file(dataset)), ""


def statements(
    dataset: loading.Dataset, wanted: Measuring, options: Options
) -> Iterator[tuple[str, int, str]]:
    """(template, draw, text); draws that give a text again are left out."""
    values = Values(dataset)
    for number, text in corpora.numbered(options, wanted.workload).items():
        texts = [text]
        for draw in range(1, wanted.draws):
            rng = random.Random(options.seed * 100_000 + number * 100 + draw)
            if wanted.workload == "tpch":
                fresh = tpch_parameters.redraw(number, text, rng, wanted.scale)
            else:
                fresh = tpcds_parameters.redraw(text, rng, values)
            if fresh is not None and fresh not in texts:
                texts.append(fresh)
        for draw, each in enumerate(texts):
            yield f"q{number}", draw, each


def measure(engine: Engine, sql: str, wanted: Measuring) -> tuple[PhysicalPlan, float] | None:
    """(executed plan, latency in ms) of a statement; None if it takes too long.

    A first run warms the caches. Runs with and without a profile take turns.
    """
    statement = Rendered(sql)
    try:
        engine.run(statement, timeout_s=wanted.cap_s)
        times, executed = [], None
        for turn in range(wanted.runs):
            times.append(engine.run(statement, timeout_s=wanted.cap_s).latency_ms)
            if turn == 0:
                if isinstance(engine, PostgresEngine):
                    executed = engine.analyze(statement, timeout_s=4 * wanted.cap_s)
                else:
                    executed = engine.run(statement, timeout_s=4 * wanted.cap_s, profile=True).plan
    except (QueryTimeout, EngineError):
        return None
    assert executed is not None
    return executed, min(times)


def collect(
    url: str, dataset: loading.Dataset, wanted: Measuring, options: Options, say: Say
) -> tuple[list[MeasuredPlan], list[str]]:
    """All statements in random order, and the names of those that were left out."""
    drawn = list(statements(dataset, wanted, options))
    random.Random(options.seed).shuffle(drawn)
    found: list[MeasuredPlan] = []
    left_out: list[str] = []
    engine = open_engine(url, read_only=True)
    try:
        for number, (template, draw, sql) in enumerate(drawn):
            measured = measure(engine, sql, wanted)
            if measured is None:
                left_out.append(f"{template}.{draw}")
            else:
                found.append(MeasuredPlan(template, draw, *measured))
            if number % 50 == 49:
                say(f"  {number + 1} of {len(drawn)} statements")
    finally:
        engine.close()
    return found, left_out
