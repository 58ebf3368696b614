"""Explore on a live engine, then measure: what verified steering gains, with everything in it.

The repeat track: queries are explored under a budget, then queries of the same templates run interleaved
under the engine's plans, under the engine's plans again (A/A), and through ``execute()`` in mode steer, which
plans each call as if its literals were new. With the demo the measured queries have other literals than the
explored ones; with files of one's own, ``--measure`` names those to measure (without it, the explored ones
are measured themselves, and the report says so).
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.common import MissingData, Options, Report, main
from godb_fast.engines.registry import open_engine
from godb_fast.errors import EngineError, GodbError, InvalidInput, QueryTimeout
from godb_fast.evidence import Interval, PairedRuns, judge, ratio_of_sums, summarize_ratios
from godb_fast.exploring.budget import Budget
from godb_fast.exploring.live import ExplorationReport
from godb_fast.exploring.subjects import LiveQuery
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.sql.scripts import split
from godb_fast.store import SqliteStore

ARMS = ("default", "again", "ours")


@dataclass
class Settings:
    """What the command line says beside the common options."""

    engine: str = "duckdb"
    workload: str = "demo"
    scale: float = 0.2
    url: str | None = None
    measure: str | None = None
    budget: str = "2x"
    cap_s: float = 20.0
    rounds: int = 3
    store: Path | None = None
    raw: Path | None = None
    resume: bool = False


@dataclass
class Measured:
    """Seconds per arm of one query, one a round; a run that was cut counts as the cap."""

    name: str
    seconds: dict[str, list[float]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    cut: set[str] = field(default_factory=set)
    steered: int = 0


SETTINGS = Settings()


def run(options: Options, report: Report) -> None:
    """Explore queries on a live engine, then measure the engine's plans, the same again, and ours."""
    settings = SETTINGS
    report.settings.update({key: str(value) for key, value in vars(settings).items()})
    with ExitStack() as stack:
        url, explored, measured = _workload(stack, settings, options)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="godb_fast-steering-"))
        store = SqliteStore(settings.store or Path(folder) / "store.sqlite")
        stack.callback(store.close)
        optimizer = Optimizer(policy=Policy(background=False), store=store)
        session = stack.enter_context(Session(optimizer, open_engine(url, read_only=True), mode="steer"))
        begun = time.perf_counter()
        exploration = session.explore(
            explored,
            settings.budget,
            cap_s=settings.cap_s,
            resume=settings.resume and settings.store is not None,
        )
        _tell_exploration(report, exploration, time.perf_counter() - begun)
        _tell(report, _measure(session, measured, settings, options.seed), settings)


# -- the workload -----------------------------------------------------------------------------------------


def _workload(
    stack: ExitStack, settings: Settings, options: Options
) -> tuple[str, list[LiveQuery], list[LiveQuery]]:
    """URL, queries to explore, queries to measure."""
    if settings.workload == "demo":
        return _demo(stack, settings, options)
    if settings.url is None:
        raise MissingData(f"workload {settings.workload}: name a loaded database with --url")
    explored = _read(settings.workload)
    if settings.measure is None:
        return settings.url, explored, explored
    return settings.url, explored, _read(settings.measure)


def _read(path: str) -> list[LiveQuery]:
    if not Path(path).exists():
        raise MissingData(f"workload {path}: no such file of statements")
    return [LiveQuery(entry.name, entry.sql) for entry in split(Path(path).read_text(encoding="utf-8"))]


def _demo(
    stack: ExitStack, settings: Settings, options: Options
) -> tuple[str, list[LiveQuery], list[LiveQuery]]:
    from godb_fast.demo import SEED, TEMPLATES, build, stream

    templates = TEMPLATES[:12] if options.quick else TEMPLATES
    scale = min(settings.scale, 0.05) if options.quick else settings.scale

    def draw(seed: int) -> list[LiveQuery]:
        drawn = stream(instances=1, scale=scale, seed=seed, templates=templates)
        return [LiveQuery(query.name, query.sql) for query in drawn]

    queries = draw(SEED), draw(SEED + 1 + options.seed)
    if settings.url is not None:
        return settings.url, *queries
    if settings.engine == "postgres":
        from godb_fast.demo.postgres import throwaway_demo

        url, *_ = stack.enter_context(throwaway_demo(scale, SEED, lambda what, share: None))
        return url, *queries
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="godb_fast-steering-"))
    return str(build(Path(folder) / "demo.duckdb", scale=scale, seed=SEED).path), *queries


# -- measuring --------------------------------------------------------------------------------------------


def _measure(session: Session, queries: Sequence[LiveQuery], settings: Settings, seed: int) -> list[Measured]:
    order = random.Random(seed)
    known = _resumed(settings)
    found: list[Measured] = []
    with _raw(settings) as write:
        for query in queries:
            if not session.engine.effects(query.sql).pure:
                continue
            entry = Measured(query.name)
            begun = len(known.get(query.name, ())) // len(ARMS)
            try:
                if begun < settings.rounds:
                    # Thrown away: caches, the template's statistics.
                    for arm in ARMS:
                        _one(session, query, arm, settings.cap_s)
                for number in range(settings.rounds):
                    arms = list(ARMS)
                    order.shuffle(arms)
                    for arm in arms:
                        row = known.get(query.name, {}).get((number, arm))
                        if row is None:
                            row = _one(session, query, arm, settings.cap_s)
                            write([query.name, number, arm, *row])
                        seconds, cut, steered = row
                        entry.seconds[arm].append(seconds)
                        entry.steered += steered
                        if cut:
                            entry.cut.add(arm)
            except EngineError as error:
                print(f"{query.name}: left out, {error}", file=sys.stderr)
                continue
            found.append(entry)
    return found


def _one(session: Session, query: LiveQuery, arm: str, cap_s: float) -> tuple[float, bool, bool]:
    """Seconds, whether it was cut, and whether it was steered."""
    if arm == "ours":
        fingerprint = session.optimize(query.sql).fingerprint
        session.optimizer.scope(session.engine).forget_exact(fingerprint)
    begun = time.perf_counter()
    try:
        if arm == "ours":
            result = session.execute(query.sql, timeout_s=cap_s)
            return time.perf_counter() - begun, False, result.observation.steered
        session.run_default(query.sql, timeout_s=cap_s)
    except QueryTimeout:
        # What a wasted steered run took comes on top of the cap.
        took = time.perf_counter() - begun
        return (max(cap_s, took) if arm == "ours" else cap_s), True, False
    return time.perf_counter() - begun, False, False


_Rows = dict[str, dict[tuple[int, str], tuple[float, bool, bool]]]


def _resumed(settings: Settings) -> _Rows:
    found: _Rows = defaultdict(dict)
    if settings.resume and settings.raw is not None and settings.raw.exists():
        with settings.raw.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                value = (float(row["seconds"]), row["cut"] == "True", row["steered"] == "True")
                found[row["query"]][int(row["round"]), row["arm"]] = value
    return found


@contextmanager
def _raw(settings: Settings) -> Iterator[Callable[[list[object]], None]]:
    """Writes each run to ``--raw`` as it ends."""
    path = settings.raw
    if path is None:
        yield lambda row: None
        return
    append = settings.resume and path.exists()
    with path.open("a" if append else "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if not append:
            writer.writerow(["query", "round", "arm", "seconds", "cut", "steered"])

        def write(row: list[object]) -> None:
            writer.writerow(row)
            file.flush()

        yield write


# -- the report -------------------------------------------------------------------------------------------


def _tell_exploration(report: Report, exploration: ExplorationReport, took_s: float) -> None:
    report.row(
        "exploration",
        queries=len(exploration.queries),
        promoted=len(exploration.promoted),
        trials=exploration.runs,
        spent_s=exploration.spent_s,
        budget_s=exploration.budget_s,
        wall_s=took_s,
        workload_s=exploration.workload_s,
        expected_r=exploration.now_s / exploration.workload_s if exploration.workload_s else None,
    )
    for entry in exploration.promoted:
        assert entry.entry is not None
        proof = entry.entry.evidence
        report.row(
            "promoted",
            query=entry.name,
            arm=entry.arm,
            default_s=entry.default_s,
            ratio=proof.ratio,
            low=proof.low,
            high=proof.high,
            pairs=proof.pairs,
        )
    for refusal in exploration.refusals:
        report.note(f"refused: {refusal.query} under {refusal.arm}: {refusal.why.splitlines()[0]}")


def _tell(report: Report, measured: list[Measured], settings: Settings) -> None:
    if not measured:
        report.note("nothing was measured")
        return
    default = [entry.seconds["default"] for entry in measured]
    intervals: dict[str, Interval] = {}
    for arm, title in (("ours", "ours / default"), ("again", "A/A: default / default")):
        runs = PairedRuns.of([entry.seconds[arm] for entry in measured], default)
        intervals[arm] = interval = ratio_of_sums(runs)
        summary = summarize_ratios(runs.ratios)
        report.row(
            "R",
            arms=title,
            R=interval.estimate,
            low=interval.low,
            high=interval.high,
            geometric_mean=summary.geometric_mean,
            p50=summary.p50,
            p95=summary.p95,
            p99=summary.p99,
            over_1_1=summary.slower_1_1,
            over_2=summary.slower_2,
            worst=f"{measured[summary.worst].name} {summary.worst_ratio:.2f}",
        )
    cut = [entry.name for entry in measured if "default" in entry.cut]
    bound = " (a bound: cut runs count as the cap)" if cut else ""
    report.note(f"verdict: {judge(intervals['ours'], intervals['again']).value}{bound}")
    if cut:
        report.note(f"cut at {settings.cap_s:g} s under the engine's plan: {', '.join(cut)}")
    steered = [entry.name for entry in measured if entry.steered]
    report.note(f"steered in a measured run: {len(steered)} of {len(measured)}")
    if settings.workload != "demo" and settings.measure is None:
        report.note("the measured statements are those that were explored, with the same literals")
    for entry in sorted(measured, key=lambda entry: -_saved(entry))[:10]:
        report.row(
            "largest differences",
            query=entry.name,
            default_s=float(np.median(entry.seconds["default"])),
            ours_s=float(np.median(entry.seconds["ours"])),
            saved_s=_saved(entry),
        )


def _saved(entry: Measured) -> float:
    return float(np.median(entry.seconds["default"]) - np.median(entry.seconds["ours"]))


# -- the command line -------------------------------------------------------------------------------------


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=("duckdb", "postgres"), default="duckdb", help="(duckdb)")
    parser.add_argument(
        "--workload", default="demo", metavar="demo|FILE.sql", help="demo, or a file of statements (demo)"
    )
    parser.add_argument("--scale", type=float, default=0.2, help="of the demo's data (0.2)")
    parser.add_argument("--url", help="a loaded database, for a file of statements")
    parser.add_argument("--measure", metavar="FILE.sql", help="other statements to measure")
    parser.add_argument("--budget", default="2x", help="of the exploration: 2x, 300s, 5m (2x)")
    parser.add_argument("--cap", type=float, default=20.0, metavar="S", help="of one run (20)")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of each query and arm (3)")
    parser.add_argument("--store", type=Path, metavar="FILE", help="keeps what is proved, for --resume")
    parser.add_argument("--raw", type=Path, metavar="FILE.csv", help="every measured run")
    parser.add_argument("--resume", action="store_true", help="go on with --store and --raw")


def _configure(parsed: argparse.Namespace) -> None:
    global SETTINGS
    if parsed.rounds < 1:
        raise SystemExit("--rounds is at least 1")
    Budget.parse(parsed.budget)
    SETTINGS = Settings(
        parsed.engine, parsed.workload, parsed.scale, parsed.url, parsed.measure, parsed.budget, parsed.cap,
        parsed.rounds, parsed.store, parsed.raw, parsed.resume,
    )  # fmt: skip


def _main() -> int:
    try:
        return main("steering", run, extend=_extend, configure=_configure)
    except (MissingData, InvalidInput) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except GodbError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(_main())
