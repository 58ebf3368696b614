"""Executions to train on: the demo, TPC-H and TPC-DS on a live engine, each query under several plans.

Run as ``python -m benchmarks.collecting STORE``, then ``godb-fast train STORE``. Each query runs under the
engine's own plan, under join trees of ours, in other words and, on PostgreSQL, under its arms; plans take
turns in random order. The store keeps each execution with its plan, each plan's time beside the engine's own,
and, where the query has blocks to plan, the vector of the plan that really ran. Nothing else is read: no
published evaluation data but the texts of the queries.

Vectors tell what history knew: half of the time nothing of the query itself, as if it had never run. What the
machine did, and the workload's rhythm, are not told: a collection knows one machine, and no rhythm.

With ``--repeats`` plans that were not clearly slower than the best run again, in turns: what
``python -m benchmarks.selection`` judges choices by.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clocks import ProcessorClock, WallClock, alone
from benchmarks.common import MissingData, Options
from benchmarks.loading import TUNED, tell
from benchmarks.workloads import Loaded, Wanted, load
from godb_fast.core import Decision, Observation
from godb_fast.engines.base import Engine
from godb_fast.engines.duckdb.engine import DuckDBEngine
from godb_fast.engines.registry import open_engine
from godb_fast.errors import EngineError, GodbError, QueryTimeout
from godb_fast.exploring.candidates import DEFAULT_ARM, Candidate, candidates
from godb_fast.exploring.subjects import LiveQuery, Subject, examine
from godb_fast.learning.clustering import QueryClusters
from godb_fast.learning.describing import StatementDescriber
from godb_fast.learning.features import FEATURES_VERSION, PHYSICAL_VERSION, columns
from godb_fast.learning.history import WorkloadHistory
from godb_fast.learning.terms import query_terms
from godb_fast.store import PlanRun, SqliteStore

WORKLOADS = ("demo-full", "tpch", "tpcds")
SITE = "demo"
Clock = WallClock | ProcessorClock
#: Candidates of a query that run, the engine's own plan apart.
MOST_CANDIDATES = 12
#: A plan may take so many times the engine's own, and a moment.
ALLOWANCE, LEAST_S = 6.0, 0.3
#: Plans that took so many times the fastest are not repeated: nobody will mistake them for the best.
CLEARLY = 1.5


@dataclass(frozen=True)
class Settings:
    """What is collected."""

    store: Path
    engine: str
    workloads: Sequence[str]
    scale: float
    rounds: int
    limit_s: float
    cap_s: float
    only: frozenset[str] = frozenset()
    most: int = MOST_CANDIDATES
    repeats: int = 1
    threads: int | None = None
    processor: bool = False
    share: float | None = None


def collect(settings: Settings, options: Options) -> int:
    """Run everything; how many executions were recorded."""
    store = SqliteStore(settings.store, queue_limit=100_000)
    past = Past(options.seed)
    recorded = 0
    for workload in settings.workloads:
        ran: set[str] = set()
        for draw in range(settings.rounds):
            drawn = Options(options.data, None, options.seed + draw)
            wanted = Wanted(settings.engine, workload, settings.scale, share=settings.share)
            with ExitStack() as stack:
                try:
                    loaded = load(stack, wanted, drawn, TUNED)
                except MissingData as missing:
                    tell(f"{workload} left out: {missing}")
                    break
                recorded += _workload(
                    workload, loaded, store, settings, drawn.seed, past, ran, first=draw == 0
                )
                tell(f"{workload}, draw {draw + 1}: {recorded:,} executions so far")
    store.close()
    return recorded


def _workload(
    workload: str,
    loaded: Loaded,
    store: SqliteStore,
    settings: Settings,
    seed: int,
    past: Past,
    ran: set[str],
    *,
    first: bool,
) -> int:
    """Every query once per plan and pass, and the engine's own plan twice."""
    queries = [*(loaded.explored if first else ())]
    queries += [LiveQuery(query.name, query.sql) for query in loaded.measured]
    queries = [query for query in queries if not settings.only or query.name in settings.only]
    if settings.repeats > 1:
        # Passes repeat them: what has no literals to draw anew would run as one of other parameters.
        queries = list({query.sql: query for query in queries if query.sql not in ran}.values())
        ran.update(query.sql for query in queries)
    end = time.monotonic() + settings.limit_s
    source, recorded = random.Random(seed), 0
    source.shuffle(queries)
    postgres = settings.engine == "postgres"
    engine = open_engine(alone(loaded.url) if postgres and settings.processor else loaded.url)
    try:
        _limit(engine, settings.threads)
        clock = ProcessorClock(engine) if settings.processor else WallClock()
        for number, query in enumerate(queries):
            if time.monotonic() > end:
                tell(f"the time of {settings.limit_s:.0f} s is over; queries that did not run are left out")
                break
            trials = Trials(engine, f"{workload} {query.name} {seed}-{number}")
            for observation, vector in _runs(engine, query, source, settings, clock, trials, past):
                store.record(Decision(observation.fingerprint, "", engine=engine.name), observation)
                if vector is not None:
                    # Described before anything ran, kept as of then.
                    store.features.keep(observation.execution_id, observation.at, FEATURES_VERSION, vector)
                recorded += 1
            store.trials.keep(PHYSICAL_VERSION, trials.runs)
    finally:
        engine.close()
    if not store.flush(60.0):
        raise GodbError(f"the store took no executions: {store.health().reason}")
    return recorded


def _limit(engine: Engine, threads: int | None) -> None:
    """How many threads an engine in this process may use."""
    if threads is None or not isinstance(engine, DuckDBEngine):
        return
    engine.call(lambda: engine.driver_connection.execute(f"SET threads = {int(threads)}"))


class Trials:
    """What the plans of one query took."""

    def __init__(self, engine: Engine, query: str) -> None:
        self._where = engine.name, engine.environment(), query
        self.runs: list[PlanRun] = []

    def ran(self, subject: Subject, entry: Candidate, seconds: float, *, cut: bool = False) -> None:
        """Note a run."""
        key = "" if entry.arm == DEFAULT_ARM else entry.steering.key
        template = subject.template.fingerprint
        now = datetime.now(UTC)
        self.runs.append(
            PlanRun(*self._where, template, key, entry.vector, seconds, cut, now, entry.pipelines)
        )

    def fastest(self) -> dict[str, float]:
        """Seconds of the fastest complete run of each plan, by its steering."""
        found: dict[str, float] = {}
        for run in self.runs:
            if not run.cut:
                found[run.steering] = min(run.seconds, found.get(run.steering, math.inf))
        return found


class Past:
    """What history knew before each run, of all that a collection ran."""

    def __init__(self, seed: int) -> None:
        self._history, self._clusters = WorkloadHistory(), QueryClusters()
        self._source = random.Random(seed)
        #: Of the query at hand: its cluster, and what its neighbours had taken before it first ran.
        self._now: tuple[int, str, Any] = 0, "", None

    def begin(self, subject: Subject) -> None:
        """A query is about to run for the first time."""
        template = subject.template
        cluster = self._clusters.assign(query_terms(template, [""] * len(template.slots)).structure)
        history, _ = self._history.features("", template.fingerprint, datetime.now(UTC), cluster)
        # Neighbours tell nothing of a query that is one of them.
        self._now = template.fingerprint, cluster, None if history[0] else history

    def context(self) -> tuple[Any, Any, Any]:
        """Features of machine, history and workload of a run that begins now."""
        fingerprint, cluster, neighbours = self._now
        history, _ = self._history.features("", fingerprint, datetime.now(UTC), cluster)
        if self._source.random() < 0.5:
            blank = neighbours is None or self._source.random() < 0.5
            history = np.zeros_like(history) if blank else neighbours
        sizes = [columns(source).stop - columns(source).start for source in ("system", "workload")]
        return np.zeros(sizes[0]), history, np.zeros(sizes[1])

    def ran(self, latency_ms: float) -> None:
        """It took so long."""
        self._history.note("", *self._now[:2], latency_ms, time.time())


def _runs(
    engine: Engine,
    query: LiveQuery,
    source: random.Random,
    settings: Settings,
    clock: Clock,
    trials: Trials,
    past: Past,
) -> Iterator[tuple[Observation, Any]]:
    subject = examine(engine, query)
    if not isinstance(subject, Subject):
        return
    try:
        found = candidates(engine, subject)
    except EngineError as error:
        tell(f"{query.name} left out: {error}")
        return
    cap_s = settings.cap_s
    own_s, unfinished = cap_s, False
    try:
        # Once for the caches, and to know what a candidate may take.
        own_s = engine.run(found[DEFAULT_ARM].rendered, timeout_s=cap_s).latency_ms / 1e3
    except QueryTimeout:
        unfinished = True
        trials.ran(subject, found[DEFAULT_ARM], cap_s, cut=True)
    except EngineError as error:
        tell(f"{query.name} left out: {error}")
        return
    others = [entry for arm, entry in found.items() if arm != DEFAULT_ARM]
    source.shuffle(others)
    own = [] if unfinished else [found[DEFAULT_ARM]] * 2
    plans = others[: settings.most]
    if settings.repeats > 1 and not plans:
        # Nothing to choose from.
        return
    planner = subject.planner
    describer = StatementDescriber(planner) if planner and planner.blocks else None
    past.begin(subject)
    for _ in range(settings.repeats):
        turns = plans + own
        source.shuffle(turns)
        for entry in turns:
            timeout_s = min(cap_s, ALLOWANCE * own_s + LEAST_S)
            yield from _run(engine, subject, entry, describer, timeout_s, clock, trials, past)
        took = trials.fastest()
        best_s = min(took.values(), default=0.0)
        plans = [entry for entry in plans if took.get(entry.steering.key, math.inf) <= CLEARLY * best_s]


def _run(
    engine: Engine,
    subject: Subject,
    entry: Candidate,
    describer: StatementDescriber | None,
    timeout_s: float,
    clock: Clock,
    trials: Trials,
    past: Past,
) -> Iterator[tuple[Observation, Any]]:
    common: dict[str, Any] = {
        "steered": entry.arm != DEFAULT_ARM,
        "steering_key": entry.steering.key if entry.steering else None,
        "engine": engine.name,
        "engine_version": engine.version,
        "database": engine.environment(),
    }
    context = past.context()
    clock.start()
    try:
        result = engine.run(entry.rendered, timeout_s=timeout_s, profile=True)
    except QueryTimeout:
        # What did not end tells nothing of its pipelines.
        trials.ran(subject, entry, timeout_s, cut=True)
        return
    except EngineError:
        return
    trials.ran(subject, entry, clock.seconds(result))
    past.ran(result.latency_ms)
    plan = result.plan
    vector = None
    if plan is not None and describer is not None:
        trees = engine.default_trees(subject.template, plan, subject.literals)
        if trees:
            vector = describer.vector(subject.literals, subject.query.params, trees, context)
    yield (
        Observation(
            "",
            subject.template.fingerprint,
            "ok",
            result.latency_ms,
            rows=len(result.rows),
            plan=plan,
            plan_source=None if plan is None else plan.source,
            **common,
        ),
        vector,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and collect; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collecting", description=collect.__doc__)
    parser.add_argument("store", type=Path, metavar="STORE", help="the store's file; what it holds is kept")
    parser.add_argument("--engine", choices=("duckdb", "postgres"), default="duckdb")
    parser.add_argument(
        "--workloads",
        nargs="+",
        choices=(*WORKLOADS, SITE),
        default=list(WORKLOADS),
        help="(the first three)",
    )
    parser.add_argument("--scale", type=float, default=0.1, help="of all workloads (0.1)")
    parser.add_argument("--rounds", type=int, default=2, help="draws of literals per query (2)")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds per workload and draw (600)")
    parser.add_argument("--cap", type=float, default=10.0, help="seconds that a run may take (10)")
    parser.add_argument("--only", metavar="NAMES", default="", help="only statements of these names: q1,q6")
    parser.add_argument(
        "--repeats", type=int, default=1, help="passes over the plans that are not clearly slower (1)"
    )
    parser.add_argument(
        "--most", type=int, default=MOST_CANDIDATES, help=f"plans beside the engine's own ({MOST_CANDIDATES})"
    )
    parser.add_argument("--threads", type=int, help="of DuckDB")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="what plans take is the processor's time, for busy machines; PostgreSQL gets no workers",
    )
    parser.add_argument("--share", type=float, help="of the heaviest account of the demo's site")
    parser.add_argument("--data", type=Path, metavar="DIR", help="default: GODB_FAST_BENCH_DATA")
    parser.add_argument("--seed", type=int, default=1)
    parsed = parser.parse_args(arguments)
    if parsed.threads is not None and parsed.engine != "duckdb":
        parser.error("--threads is for DuckDB; of PostgreSQL the server decides")
    named = parsed.data or os.environ.get("GODB_FAST_BENCH_DATA") or None
    settings = Settings(
        parsed.store, parsed.engine, parsed.workloads, parsed.scale, parsed.rounds, parsed.limit, parsed.cap,
        frozenset(name for name in parsed.only.split(",") if name), parsed.most, parsed.repeats,
        parsed.threads, parsed.processor_time, parsed.share,
    )  # fmt: skip
    try:
        count = collect(settings, Options(Path(named) if named else None, None, parsed.seed))
    except KeyboardInterrupt:
        print("interrupted; what ran is recorded", file=sys.stderr)
        return 130
    print(f"{count:,} executions recorded in {settings.store}")
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main())
