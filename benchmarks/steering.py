"""Explore on a live engine, then measure: what verified steering gains, with everything in it.

Statements are explored under a budget; then statements run interleaved under the engine's plans, under the
engine's plans again (A/A), and through ``execute()`` in mode steer, which plans each call as if its literals
were new. ``--track repeat`` measures other literals of the explored templates, ``--track unseen`` templates
that were not explored and that the model behind the choice has not seen. The benchmark loads TPC-H, TPC-DS or
the demo itself; files of statements need a loaded database (``--url``).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import methods, workloads
from benchmarks.common import Options, Report
from benchmarks.live_tracks import Plan, Track, repeat, unseen
from benchmarks.loading import TUNED
from benchmarks.workloads import Wanted, live_main
from godb_fast.errors import InvalidInput
from godb_fast.evidence import judge
from godb_fast.exploring.budget import Budget
from godb_fast.report.gain import Gain
from godb_fast.report.raw import raw_runs

_TITLES = {"ours": "ours / default", "again": "A/A: default / default"}
#: R that must not be exceeded on the repeat track, by engine and workload, from so much data on.
FLOORS: Mapping[tuple[str, str], tuple[float, float]] = {
    ("postgres", "tpcds"): (0.40, 1.0),
    ("duckdb", "demo"): (0.50, 1.0),
    ("duckdb", "demo-full"): (1.02, 0.2),
    ("duckdb", "tpch"): (1.02, 1.0),
    ("duckdb", "tpcds"): (1.02, 1.0),
}
DUCKDB_FLOOR = 1.02
#: Measured rounds of each query and arm, and of TPC's on DuckDB.
ROUNDS, SHORT_ROUNDS = 3, 9
#: Of the unseen track: R, the geometric mean, and the share of queries that are slower than 1.2 × the default
#: by more than 50 ms and the spread of A/A.
UNSEEN_R, UNSEEN_MEAN, UNSEEN_SLOWER = 0.85, 0.97, 0.02


@dataclass
class Settings:
    """What the command line says beside the common options."""

    engine: str = "duckdb"
    workload: str = "demo"
    scale: float | None = None
    url: str | None = None
    measure: str | None = None
    track: str = "repeat"
    stock: bool = False
    cache: Path | None = None
    budget: str | None = None
    cap_s: float = 20.0
    rounds: int | None = None
    methods: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    store: Path | None = None
    trials: Path | None = None
    untried: str = "plans"
    raw: Path | None = None
    resume: bool = False

    @property
    def wanted(self) -> Wanted:
        """The workload."""
        scale = self.scale or (0.2 if self.workload == "demo-full" else 1.0)
        return Wanted(self.engine, self.workload, scale, self.url, self.measure, self.cache)

    @property
    def repeats(self) -> int:
        """Measured rounds. DuckDB runs TPC's statements in milliseconds, of which three runs say little."""
        short = self.engine == "duckdb" and self.workload in workloads.GENERATED
        return self.rounds or (SHORT_ROUNDS if short else ROUNDS)

    def store_of(self, label: str) -> Path | None:
        """Each server's proofs are its own: what is slow under other settings is another plan."""
        if self.store is None or label != "stock":
            return self.store
        return self.store.with_name(f"{self.store.stem}-stock{self.store.suffix}")


SETTINGS = Settings()


def run(options: Options, report: Report) -> None:
    """Explore queries on a live engine, then measure the engine's plans, the same again, and ours."""
    settings = SETTINGS
    report.settings.update({key: str(value) for key, value in vars(settings).items()})
    report.settings |= {"scale": settings.wanted.scale, "rounds": settings.repeats}
    with raw_runs(settings.raw, resume=settings.resume) as raw:
        for label, server in _servers(settings):
            with ExitStack() as stack:
                loaded = workloads.load(stack, settings.wanted, options, server)
                if settings.only:
                    loaded = loaded.only(settings.only)
                for note in loaded.notes:
                    if note not in report.notes:
                        report.note(note)
                plan = Plan(
                    settings.budget, settings.cap_s, settings.repeats, options.seed,
                    settings.store_of(label), settings.resume, settings.methods, settings.trials,
                    settings.untried,
                )  # fmt: skip
                if settings.track == "unseen":
                    tracks = list(unseen(loaded, plan, f"{label} " if label else "", raw))
                    for track in tracks:
                        _tell(report, track)
                    if label != "stock":
                        _hold_unseen(report, tracks, settings, options)
                else:
                    track = repeat(loaded, plan, label, raw)
                    _tell(report, track)
                    if label != "stock":
                        _hold(report, track.gain, settings, options)


def _servers(settings: Settings) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Labels and settings of the servers to measure on; one without a label where it is not ours to set."""
    ours = settings.engine == "postgres" and settings.workload in workloads.GENERATED and not settings.url
    yield ("tuned" if ours else "", TUNED)
    if settings.stock:
        yield "stock", {}


# -- the report -------------------------------------------------------------------------------------------


def _tell(report: Report, track: Track) -> None:
    gain, prefix = track.gain, f"{track.part}: " if track.part else ""
    where = {"part": track.part} if track.part else {}
    _tell_exploration(report, track, where)
    if not gain.arms:
        report.note(f"{prefix}nothing was measured")
        return
    for row in gain.arms:
        ratios = row.ratios
        report.row(
            "R",
            **where,
            arms=_TITLES.get(row.arm, f"{row.arm} / default"),
            R=row.ratio.estimate,
            low=row.ratio.low,
            high=row.ratio.high,
            geometric_mean=ratios.geometric_mean,
            p50=ratios.p50,
            p95=ratios.p95,
            p99=ratios.p99,
            over_1_1=ratios.slower_1_1,
            over_2=ratios.slower_2,
            worst=f"{row.worst} {ratios.worst_ratio:.2f}",
        )
    intervals = {row.arm: row.ratio for row in gain.arms}
    bound = " (a bound: cut runs count as the cap)" if gain.cut else ""
    report.note(f"{prefix}verdict: {judge(intervals['ours'], intervals['again']).value}{bound}")
    summary, comparison = gain.summary, gain.comparison
    cap = f"{comparison.settings.timeout_s:g} s"
    if gain.cut:
        report.note(f"{prefix}cut at {cap} under the engine's plan: {', '.join(gain.cut)}")
    ours_cut = [entry.query.name for entry in comparison.compared if "ours" in entry.cut]
    if ours_cut:
        report.note(f"{prefix}cut at {cap} under ours: {', '.join(ours_cut)}")
    report.note(f"{prefix}steered in a measured run: {summary.steered} of {summary.compared}")
    for entry in comparison.queries:
        if entry.difference is not None:
            report.note(f"{prefix}DIFFERENT ANSWER: {entry.query.name}: {entry.difference}")
        if entry.outcome != "compared":
            report.note(f"{prefix}left out: {entry.query.name}: {(entry.problem or '').splitlines()[0]}")
    if summary.different:
        report.floor(f"{prefix}answers that differ", summary.different, 0)
    _tell_losses(report, gain, where)
    for note in track.notes:
        report.note(f"{prefix}{note}")
    medians = sorted(
        ((entry.query.name, *entry.median_ms) for entry in comparison.compared),
        key=lambda entry: entry[2] - entry[1],
    )
    for name, default_ms, ours_ms in medians[:10]:
        report.row(
            "largest differences",
            **where,
            query=name,
            default_s=default_ms / 1e3,
            ours_s=ours_ms / 1e3,
            saved_s=(default_ms - ours_ms) / 1e3,
        )


def _tell_exploration(report: Report, track: Track, where: Mapping[str, str]) -> None:
    gain, exploration = track.gain, track.gain.exploration
    report.row(
        "exploration",
        **where,
        queries=len(exploration.queries),
        promoted=len(exploration.promoted),
        trials=exploration.runs,
        spent_s=exploration.spent_s,
        budget_s=exploration.budget_s,
        wall_s=track.wall_s,
        workload_s=exploration.workload_s,
        proved_r=gain.proved_ratio,
        oracle_r=gain.oracle_ratio,
        oracle_gap=gain.oracle_gap,
    )
    for spent_s, workload_s in _thinned(gain.curve):
        report.row(
            "learning curve",
            **where,
            spent_s=spent_s,
            workload_times=spent_s / exploration.workload_s if exploration.workload_s else None,
            workload_s=workload_s,
            R=workload_s / exploration.workload_s if exploration.workload_s else None,
        )
    for entry in exploration.promoted:
        assert entry.entry is not None
        proof = entry.entry.evidence
        report.row(
            "promoted",
            **where,
            query=entry.name,
            arm=entry.arm,
            default_s=entry.default_s,
            ratio=proof.ratio,
            low=proof.low,
            high=proof.high,
            pairs=proof.pairs,
        )
    for note in exploration.notes:
        report.note(note)
    for refusal in exploration.refusals:
        report.note(f"refused: {refusal.query} under {refusal.arm}: {refusal.why.splitlines()[0]}")


def _thinned(curve: tuple[tuple[float, float], ...], most: int = 16) -> list[tuple[float, float]]:
    """Some of the points, with both ends."""
    if len(curve) <= most:
        return list(curve)
    return [curve[round(place * (len(curve) - 1) / (most - 1))] for place in range(most)]


def _tell_losses(report: Report, gain: Gain, where: Mapping[str, str]) -> None:
    report.row(
        "what steering lost",
        **where,
        slower_queries=len(gain.slower),
        lost_s=gain.lost_s,
        discarded_runs_s=gain.summary.wasted_ms / 1e3,
        ledger_s=sum(entry.lost_s for entry in gain.ledger),
        beyond_the_floor=sum(entry.beyond for entry in gain.slower),
    )
    for runs in gain.comparison.queries:
        if runs.fallbacks:
            report.row(
                "discarded steered runs",
                **where,
                query=runs.query.name,
                runs=len(runs.fallbacks),
                why=runs.fallbacks[0],
                default_s=runs.median_ms[0] / 1e3 if runs.outcome == "compared" else None,
                steered_because=(runs.decision.reason if runs.decision is not None else "")[:100],
            )
    for entry in gain.slower[:5]:
        report.row(
            "largest losses",
            **where,
            query=entry.query,
            default_s=entry.default_ms / 1e3,
            ours_s=entry.ours_ms / 1e3,
            default_spread_s=entry.spread_ms / 1e3,
            beyond=entry.beyond,
        )


def _hold(report: Report, gain: Gain, settings: Settings, options: Options) -> None:
    """Floors of the repeat track."""
    if not gain.arms or settings.measure is not None:
        return
    r = gain.arms[0].ratio.estimate
    wanted = settings.wanted
    known = FLOORS.get((settings.engine, settings.workload))
    if known is not None:
        floor, least_scale = known
        if wanted.scale >= least_scale and not options.quick and not settings.only:
            report.floor(f"R, {settings.workload} on {settings.engine}", r, floor)
        else:
            report.note(f"the floor, R ≤ {floor}, is for scale {least_scale:g} or more and all statements")
    elif settings.engine == "duckdb" and not _postgres(settings):
        report.floor(f"R, {Path(settings.workload).stem} on duckdb", r, DUCKDB_FLOOR)
    if settings.engine == "postgres" and settings.workload == "tpcds":
        report.floor(
            "queries slower than 1.2 × the default by more than 50 ms and the spread of A/A",
            sum(entry.beyond for entry in gain.slower),
            0,
        )


def _hold_unseen(report: Report, tracks: list[Track], settings: Settings, options: Options) -> None:
    """All splits as one workload, and its floors."""
    times = [(track, entry) for track in tracks for entry in track.gain.comparison.compared]
    if not times:
        return
    total = {"default": 0.0, "ours": 0.0}
    logs = []
    for _, entry in times:
        default, ours = entry.median_ms
        total["default"] += default
        total["ours"] += ours
        logs.append(math.log(ours / default))
    r = total["ours"] / total["default"]
    geometric = math.exp(sum(logs) / len(logs))
    beyond = sum(entry.beyond for track in tracks for entry in track.gain.slower)
    report.row(
        "all splits",
        queries=len(times),
        R=r,
        geometric_mean=geometric,
        slower_beyond_the_floor=beyond,
        share_slower=beyond / len(times),
        steered=sum(track.gain.summary.steered for track in tracks),
        discarded_runs_s=sum(track.gain.summary.wasted_ms for track in tracks) / 1e3,
    )
    ours = settings.engine == "postgres" and settings.workload == "tpcds"
    if not ours or settings.wanted.scale < 1.0 or options.quick or settings.only:
        report.note("the floors of unseen templates are for TPC-DS on PostgreSQL, scale 1, all statements")
        return
    report.floor("R, unseen templates", r, UNSEEN_R)
    report.floor("geometric mean, unseen templates", geometric, UNSEEN_MEAN)
    report.floor("share of unseen queries that got slower", beyond / len(times), UNSEEN_SLOWER)


def _postgres(settings: Settings) -> bool:
    return (settings.url or "").startswith(("postgres://", "postgresql://"))


# -- the command line -------------------------------------------------------------------------------------


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=("duckdb", "postgres"), default="duckdb", help="(duckdb)")
    parser.add_argument(
        "--workload",
        default="demo",
        metavar="W",
        help="demo (the site of godb-fast demo, with a heavy account), demo-full (of demo --full), tpch, "
        "tpcds, or a file of statements (demo); TPC-H and TPC-DS need their texts (--data)",
    )
    parser.add_argument("--scale", type=float, help="of the data (0.2 for demo-full, else 1)")
    parser.add_argument("--url", help="a loaded database, instead of loading one")
    parser.add_argument("--measure", metavar="FILE.sql", help="other statements to measure")
    parser.add_argument(
        "--track",
        choices=("repeat", "unseen"),
        default="repeat",
        help="other literals of the explored templates, or other templates (repeat)",
    )
    parser.add_argument(
        "--stock",
        action="store_true",
        help="PostgreSQL of our own: the same once more on a server as it comes, beside the tuned one",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="where generated data stay (default: the user's cache folder)",
    )
    parser.add_argument(
        "--budget", help="of the exploration: 2x, 300s, 5m (that of godb-fast explore: 2x, but at least 30s)"
    )
    parser.add_argument("--cap", type=float, default=20.0, metavar="S", help="of one run (20)")
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"measured rounds of each query and arm ({ROUNDS}; of TPC's on DuckDB {SHORT_ROUNDS})",
    )
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="MODULE:CLASS",
        help="a method of your own beside ours, with the same budget; see benchmarks/methods.py",
    )
    parser.add_argument(
        "--only", metavar="NAMES", help="only statements of these names: q1,q6 (floors are for all of them)"
    )
    parser.add_argument(
        "--trials",
        type=Path,
        metavar="STORE",
        help="for --track unseen: what python -m benchmarks.collecting STORE kept, to learn from",
    )
    parser.add_argument(
        "--untried",
        choices=("plans", "rewrites"),
        default="plans",
        help="what may be chosen unverified: settings and join orders, or other words as well (plans)",
    )
    parser.add_argument("--store", type=Path, metavar="FILE", help="keeps what is proved, for --resume")
    parser.add_argument(
        "--raw", type=Path, metavar="FILE", help="every measured run: CSV, or Parquet (.parquet)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with --store and --raw")


def _configure(parsed: argparse.Namespace) -> None:
    global SETTINGS
    few = parsed.rounds is not None and parsed.rounds < 1
    if few or parsed.cap <= 0 or (parsed.scale is not None and parsed.scale <= 0):
        raise InvalidInput("--rounds is at least 1, --cap and --scale are above 0")
    Budget.parse(parsed.budget)
    for method in parsed.method:
        # Better now than after an exploration.
        methods.named(method)
    SETTINGS = Settings(
        parsed.engine, parsed.workload, parsed.scale, parsed.url, parsed.measure, parsed.track, parsed.stock,
        parsed.cache, parsed.budget, parsed.cap, parsed.rounds, tuple(parsed.method),
        tuple(name for name in (parsed.only or "").split(",") if name), parsed.store, parsed.trials,
        parsed.untried, parsed.raw, parsed.resume,
    )  # fmt: skip
    if SETTINGS.stock and len(list(_servers(SETTINGS))) == 2 and next(_servers(SETTINGS))[0] != "tuned":
        raise InvalidInput("--stock is for a PostgreSQL server of our own: --engine postgres, no --url")


if __name__ == "__main__":
    sys.exit(live_main("steering", run, extend=_extend, configure=_configure))
