"""What a statement that nobody has seen before waits for, beyond its run.

Each statement of a workload is executed in mode steer through a session that knows nothing yet, a few times,
with a pause for what is done in the background; then all is forgotten, and it begins anew. Told is what was
added to the run: by the first call, and by later ones. The floor is over the statements' medians: single
figures hold the pauses of Python's collector and of other processes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import workloads
from benchmarks.common import MissingData, Options, Report
from benchmarks.loading import TUNED
from benchmarks.workloads import Wanted, live_main
from godb_fast.engines.registry import open_engine
from godb_fast.errors import GodbError
from godb_fast.session import Optimizer, Policy, Session

#: The most that anything of ours may add to a statement, in ms.
MOST_MS = 50.0
#: Calls of a statement in a session, and sessions that know nothing.
CALLS, SESSIONS = 3, 3
#: Seconds that what is done in the background may take.
PATIENCE_S = 30.0


@dataclass
class Chosen:
    """What the command line says beside the common options."""

    engine: str = "duckdb"
    workload: str = "tpch"
    scale: float = 0.1
    url: str | None = None
    cache: Path | None = None
    cap_s: float = 2.0
    sessions: int = SESSIONS
    only: tuple[str, ...] = ()
    background: bool = True


CHOSEN = Chosen()


def run(options: Options, report: Report) -> None:
    """What a statement waits for that nobody has seen before, beyond its run."""
    chosen = CHOSEN
    report.settings.update({key: str(value) for key, value in vars(chosen).items()})
    wanted = Wanted(chosen.engine, chosen.workload, chosen.scale, chosen.url, None, chosen.cache)
    added: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in range(CALLS)])
    counted: dict[str, int] = defaultdict(int)
    with ExitStack() as stack:
        loaded = workloads.load(stack, wanted, options, TUNED)
        if chosen.only:
            loaded = loaded.only(chosen.only)
        for _ in range(1 if options.quick else chosen.sessions):
            optimizer = Optimizer(policy=Policy(background=chosen.background))
            with Session(optimizer, open_engine(loaded.url, read_only=True), mode="steer") as session:
                for query in loaded.explored:
                    for call, ms in enumerate(_added(session, query.sql, chosen.cap_s)):
                        if ms is not None:
                            added[query.name][call].append(ms)
            for name, count in optimizer.counters.items():
                counted[name] += count
    _tell(report, added)
    report.note(f"got to know in the background: {counted['met_in_background']} times")


def _added(session: Session, sql: str, cap_s: float) -> list[float | None]:
    """What each call added to its run, in ms; None of one that was stopped or failed."""
    found: list[float | None] = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        try:
            result = session.execute(sql, timeout_s=cap_s)
        except GodbError:
            found.append(None)
        else:
            # What a discarded run wasted is charged to the regression budget.
            runs_ms = result.observation.latency_ms + result.observation.wasted_ms
            found.append((time.perf_counter() - begun) * 1e3 - runs_ms)
        session.wait_prepared(PATIENCE_S)
    return found


def _tell(report: Report, added: dict[str, list[list[float]]]) -> None:
    worst = 0.0
    for call in range(CALLS):
        medians = {name: float(np.median(calls[call])) for name, calls in added.items() if calls[call]}
        if not medians:
            raise MissingData("no statement ended within the cap: raise --cap")
        slowest = max(medians, key=lambda name: medians[name])
        every = [ms for calls in added.values() for ms in calls[call]]
        worst = max(worst, medians[slowest])
        report.row(
            "ms added to a statement's run (medians of the sessions, over the statements)",
            call=call + 1,
            statements=len(medians),
            p50=float(np.median(list(medians.values()))),
            p95=float(np.percentile(list(medians.values()), 95)),
            worst=medians[slowest],
            of=slowest,
            **{"worst single": max(every)},
        )
    report.floor("ms added to a statement, the worst median", worst, MOST_MS)


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=("duckdb", "postgres"), default="duckdb")
    parser.add_argument("--workload", choices=("tpch", "tpcds", "demo"), default="tpch")
    parser.add_argument("--scale", type=float, default=0.1, help="of the data (0.1)")
    parser.add_argument("--url", help="a database that is loaded already")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where generated data are kept")
    parser.add_argument("--cap", type=float, default=2.0, metavar="S", help="slower runs are stopped (2)")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help=f"that know nothing yet ({SESSIONS})")
    parser.add_argument("--only", default="", metavar="NAMES", help="only statements of these names: q1,q6")
    parser.add_argument(
        "--foreground", action="store_true", help="get to know everything in front of the statement"
    )


def _configure(parsed: argparse.Namespace) -> None:
    global CHOSEN
    CHOSEN = Chosen(
        engine=parsed.engine,
        workload=parsed.workload,
        scale=parsed.scale,
        url=parsed.url,
        cache=parsed.cache,
        cap_s=parsed.cap,
        sessions=parsed.sessions,
        only=tuple(name for name in parsed.only.split(",") if name),
        background=not parsed.foreground,
    )


if __name__ == "__main__":
    sys.exit(live_main("first_sights", run, extend=_extend, configure=_configure))
