"""From a cold start to a changed workload: what a session is worth at each stage of its life.

On the site of ``godb-fast demo`` with its heavy account, the engine's own plans and ours are compared:

1. *cold start*: an empty store, nothing explored;
2. *learning*: after exploring for so many workload-times in all, a curve that should fall;
3. *few resources*: one processor and little memory, with the proofs of the stages before;
4. *other data*: the heavy account is gone (all keys are even now, tables are as large as before), so that
   what was proved may lose; at once, and again after exploring anew.

Each stage opens the database anew and has the store that the stages before have left, as services do that
start again. Measured are other literals than those that were explored.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import workloads
from benchmarks.common import Options, Report
from benchmarks.loading import TUNED
from benchmarks.workloads import Loaded, Wanted, live_main
from godb_fast.demo.postgres_server import running_server
from godb_fast.demo.site import HEAVY_SHARE, ROWS, TABLES, load_site, load_site_postgres
from godb_fast.engines.registry import open_engine
from godb_fast.exploring.live import ExplorationReport
from godb_fast.report import Settings, compare
from godb_fast.report.gain import Gain, gain_of
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.store import SqliteStore

#: R that nothing but our overhead may make of a cold start, beside the A/A row.
COLD = 1.05
#: R that must be reached once all was learned, by engine.
LEARNED = {"duckdb": 0.5, "postgres": 0.8}
#: How far a step of the curve may rise: repeated measurements differ by as much.
RISE = 1.10
#: Of a stage in which what was proved need not fit any more.
UNFIT = 1.05
BUDGETS = ("1x", "2x", "4x", "8x")
#: What each engine is left with, beside one processor.
DUCKDB_LIMITS = {"threads": "1", "memory_limit": "128MB"}
POSTGRES_LIMITS = {"work_mem": "1MB", "max_parallel_workers_per_gather": "0", "hash_mem_multiplier": "1"}


@dataclass
class Chosen:
    """What the command line says beside the common options."""

    engine: str = "duckdb"
    scale: float = 1.0
    rounds: int = 5
    cap_s: float = 20.0


CHOSEN = Chosen()


@dataclass(eq=False)
class Site:
    """A database that stages open; ``limited`` says whether few resources are asked for."""

    loaded: Loaded
    store: Path
    scale: float
    server: int | None = None
    stages: dict[str, Gain] = field(default_factory=dict)

    @contextmanager
    def session(self, limits: Mapping[str, str] | None = None) -> Iterator[Session]:
        """A session like that of a process that has just started."""
        with ExitStack() as stack:
            store = SqliteStore(self.store)
            stack.callback(store.close)
            optimizer = Optimizer(policy=Policy(background=False), store=store)
            engine = stack.enter_context(self._engine(limits or {}))
            yield stack.enter_context(Session(optimizer, engine, mode="steer"))

    @contextmanager
    def _engine(self, limits: Mapping[str, str]) -> Iterator[Any]:
        if self.server is not None:
            options = "".join(f" -c {name}={value}" for name, value in limits.items()).strip()
            asked = f"?options={options.replace(' ', '%20').replace('=', '%3D')}" if options else ""
            with open_engine(self.loaded.url + asked, read_only=True) as engine:
                yield engine
        elif not limits:
            with open_engine(self.loaded.url, read_only=True) as engine:
                yield engine
        else:
            import duckdb

            with duckdb.connect(self.loaded.url, read_only=True, config=dict(limits)) as connection:
                yield open_engine(connection)

    def even(self) -> None:
        """All keys even, and tables as large as before."""
        sizes = {name: max(50, int(count * self.scale)) for name, count in ROWS.items()}
        spread = "1 + mod(CAST(id AS BIGINT) * {step} + {start}, {size})"
        updates = [
            f"UPDATE {table} SET "
            + ", ".join(
                f"{column} = "
                + spread.format(step=step, start=step % 101, size=sizes[column.removesuffix("_id") + "s"])
                for column, step in (("user_id", 7919), ("post_id", 104729))
                if column in columns
            )
            for table, columns in TABLES.items()
            if table != "users"
        ]
        if self.server is not None:
            import psycopg

            with psycopg.connect(self.loaded.url, autocommit=True) as connection:
                for update in updates:
                    connection.execute(update)
                connection.execute("VACUUM FULL ANALYZE")
        else:
            import duckdb

            with duckdb.connect(self.loaded.url) as connection:
                for update in updates:
                    connection.execute(update)


@contextmanager
def _site(options: Options) -> Iterator[Site]:
    chosen = CHOSEN
    scale = min(chosen.scale, workloads.QUICK_SITE_SCALE) if options.quick else chosen.scale
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="godb_fast-lifetime-")))
        server = None
        if chosen.engine == "postgres":
            import psycopg

            running = stack.enter_context(running_server(settings=TUNED))
            server, url = running.process_id, running.url
            with psycopg.connect(url, autocommit=True) as connection:
                load_site_postgres(connection, HEAVY_SHARE, scale)
        else:
            import duckdb

            url = str(folder / "site.duckdb")
            with duckdb.connect(url) as connection:
                load_site(connection, HEAVY_SHARE, scale)
        wanted = Wanted(chosen.engine, "demo", scale, url)
        yield Site(workloads.load(stack, wanted, options, TUNED), folder / "store.sqlite", scale, server)


def run(options: Options, report: Report) -> None:
    """What a session is worth from a cold start on: learning, few resources, other data."""
    chosen = CHOSEN
    report.settings.update(vars(chosen))
    rounds = 2 if options.quick else chosen.rounds
    with _site(options) as site:
        for note in site.loaded.notes:
            report.note(note)

        def stage(
            name: str,
            *,
            explore: str | None = None,
            resume: bool = True,
            limits: Mapping[str, str] | None = None,
        ) -> None:
            with site.session(limits) as session:
                explored = _NOTHING
                if explore is not None:
                    explored = session.explore(
                        site.loaded.explored, explore, cap_s=chosen.cap_s, resume=resume
                    )
                    if explored.interrupted:
                        raise KeyboardInterrupt
                comparison = compare(
                    session, site.loaded.measured, Settings.capped(rounds, chosen.cap_s, options.seed)
                )
                if comparison.interrupted:
                    raise KeyboardInterrupt
                site.stages[name] = gain_of(explored, comparison, [])
            _tell(report, name, site.stages[name])

        stage("cold start")
        for number, budget in enumerate(BUDGETS[: 2 if options.quick else None]):
            stage(f"learned for {budget}", explore=budget, resume=number > 0)
        with _one_processor(site.server):
            limits = POSTGRES_LIMITS if chosen.engine == "postgres" else DUCKDB_LIMITS
            stage("few resources", limits=limits)
        site.even()
        stage("other data, at once")
        stage("other data, explored anew", explore="2x", resume=False)
        said = ", ".join(f"{name} {value}" for name, value in limits.items())
        report.note(f"few resources: one processor, {said}")
        report.note(
            f"this process took {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most, "
            + ("the engine apart" if site.server is not None else "the engine and its data with it")
        )
        _hold(report, site.stages, chosen.engine, options)


_NOTHING = ExplorationReport([], 0.0, 0.0, 0.0, 0.0, 0)


@contextmanager
def _one_processor(server: int | None) -> Iterator[None]:
    """This process, and a server of ours with whoever connects from now on, on one processor."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    processes = [0] if server is None else [0, server]
    before = {process: os.sched_getaffinity(process) for process in processes}
    try:
        for process, processors in before.items():
            os.sched_setaffinity(process, {min(processors)})
        yield
    finally:
        for process, processors in before.items():
            os.sched_setaffinity(process, processors)


def _tell(report: Report, name: str, gain: Gain) -> None:
    ours, again = gain.arms[0], gain.arms[1]
    report.row(
        "stages",
        stage=name,
        explored_s=gain.exploration.spent_s,
        promoted=len(gain.exploration.promoted),
        steered=f"{gain.summary.steered} of {gain.summary.compared}",
        R=ours.ratio.estimate,
        low=ours.ratio.low,
        high=ours.ratio.high,
        **{"A/A": again.ratio.estimate},
        worst=f"{ours.worst} {ours.ratios.worst_ratio:.2f}",
        slower=sum(entry.beyond for entry in gain.slower),
        discarded_s=gain.summary.wasted_ms / 1e3,
    )
    for entry in gain.comparison.queries:
        if entry.difference is not None:
            report.note(f"{name}: DIFFERENT ANSWER: {entry.query.name}: {entry.difference}")
        if entry.outcome != "compared":
            report.note(f"{name}: left out: {entry.query.name}: {(entry.problem or '').splitlines()[0]}")


def _hold(report: Report, stages: Mapping[str, Gain], engine: str, options: Options) -> None:
    report.floor("answers that differ", sum(gain.summary.different for gain in stages.values()), 0)
    if options.quick or CHOSEN.scale < 1.0:
        report.note("the floors of R are for scale 1")
        return

    def ratio(name: str) -> float:
        return stages[name].arms[0].ratio.estimate

    noise = stages["cold start"].arms[1].ratio.estimate
    report.floor("R of a cold start over A/A", ratio("cold start") / noise, COLD)
    curve = [ratio(f"learned for {budget}") for budget in BUDGETS]
    report.floor("R once learned", curve[-1], LEARNED[engine])
    steps = [after / before for before, after in itertools.pairwise(curve)]
    report.floor("the steepest rise of the curve", max(steps), RISE)
    report.floor("R with few resources", ratio("few resources"), 1.0)
    report.floor("R on other data, at once", ratio("other data, at once"), UNFIT)
    report.floor("R on other data, explored anew", ratio("other data, explored anew"), UNFIT)
    report.floor(
        "queries slower than 1.2 × the default by more than 50 ms and the spread of A/A, in any stage",
        sum(entry.beyond for gain in stages.values() for entry in gain.slower),
        0,
    )


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=("duckdb", "postgres"), default="duckdb", help="(duckdb)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the site (1)")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of each query and arm (5)")
    parser.add_argument("--cap", type=float, default=20.0, metavar="S", help="of one run (20)")


def _configure(parsed: argparse.Namespace) -> None:
    global CHOSEN
    CHOSEN = Chosen(parsed.engine, parsed.scale, parsed.rounds, parsed.cap)


if __name__ == "__main__":
    sys.exit(live_main("lifetime", run, extend=_extend, configure=_configure))
