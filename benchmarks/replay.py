"""Verified exploration, simulated on stored runtimes: ``python -m benchmarks.replay --matrix FILE…``.

``--method module:Class`` lets a method of one's own compete (:mod:`benchmarks.methods`). ``--track unseen``
asks something else: what a model gains on templates that nobody has run (:mod:`benchmarks.unseen`).

The very code that explores live engines runs here; only its executor is a matrix of measured seconds, query ×
arm. R after x workload-times is the time of one workload run under the arms promoted by then over that under
default plans, exploration of x times the latter having been paid. Default times are known from the start (the
workload has been running), and equal stored runtimes of one query count as one plan.
"""

from __future__ import annotations

import argparse
import bisect
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Small matrices gain nothing from more threads, and waiting ones would count as our own compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from benchmarks import methods, unseen
from benchmarks.common import MissingData, Options, Report, main
from benchmarks.matrices import Matrix, made_up, read
from benchmarks.rival_explorers import RIVALS, Simulation
from godb_fast.core import Steering
from godb_fast.errors import InvalidInput
from godb_fast.exploring import Evidence, Explorer, ExplorerSettings, Memo, MemoEntry, MemoKey, PlanSpace, Run

Floats = NDArray[np.float64]

#: Workload-times after which R is reported.
MARKS = (0.1, 0.25, 0.5, 1.0, 2.0)
#: R after 0.25 and 1.0 workload-times that ``--confirm none`` must reach, by file name.
FLOORS = {"ceb-matrix": {0.25: 0.42, 1.0: 0.32}, "dsb-matrix": {0.25: 0.71, 1.0: 0.70}}
#: Seconds of our own processor time for an exploration of 3000 queries.
COMPUTE_S = 10.0
COMPUTE_QUERIES = 3000


@dataclass
class Arguments:
    """What this benchmark can be told beside the options of all."""

    track: str = "explore"
    matrices: Sequence[Path] = ()
    order: str = "uniform"
    confirm: Sequence[str] = ("none", "pairs")
    templates: str = "names"
    halves: bool = False
    methods: Sequence[str] = ()


ARGUMENTS = Arguments()


class Stored:
    """An executor that looks runs up."""

    def __init__(self, seconds: Floats) -> None:
        self._seconds = seconds

    def run(self, query: int, arm: int, timeout_s: float) -> Run:
        """The stored time, or the timeout where that is shorter."""
        taken = float(self._seconds[query, arm])
        return Run(taken) if taken < timeout_s else Run(timeout_s, censored=True)


@dataclass(frozen=True, eq=False)
class Workload:
    """How often each query runs in one pass, and when in the first pass (0 to 1) it first comes."""

    weight: Floats
    first: Floats

    @classmethod
    def uniform(cls, queries: int) -> Workload:
        """Each query once, all known from the start."""
        return cls(np.ones(queries), np.zeros(queries))

    @classmethod
    def redbench_like(cls, queries: int, seed: int) -> Workload:
        """Few queries repeat often and most hardly ever, and each is known once it has come.

        Repetitions follow a power law of the rank (exponent 0.8), as the fleet statistics behind Redbench
        show; a query that comes w times in a pass of the workload first comes after an exponential time.
        """
        rng = np.random.default_rng(seed)
        weight = (1.0 + np.arange(queries)) ** -0.8
        weight = rng.permutation(weight * queries / weight.sum())
        return cls(weight, np.minimum(rng.exponential(1.0, size=queries) / weight, 1.0))


@dataclass(frozen=True)
class Outcome:
    """One simulated exploration."""

    r: tuple[float, ...]
    worst: float
    promoted: int
    runs: int
    compute_s: float


def explore(
    matrix: Matrix, workload: Workload, confirm: str, seed: int, *, classes: bool, until: float
) -> Outcome:
    """Explore until ``until`` workload-times are spent, then serve the workload through a memo."""
    begun = time.process_time()
    space = PlanSpace.of(
        matrix.seconds,
        matrix.default_s,
        weight=workload.weight,
        groups=matrix.templates if classes else None,
    )
    explorer = Explorer(space, ExplorerSettings(confirm=confirm, seed=seed))
    _drive(explorer, Stored(matrix.seconds), workload, until * space.workload_s)
    compute = time.process_time() - begun
    served = _serve(explorer, matrix)
    r = _read_off([(0.0, space.workload_s), *explorer.curve], space.workload_s, until)
    return Outcome(
        tuple(r),
        float((served / matrix.default_s).max()),
        len(explorer.promotions()),
        explorer.runs,
        compute,
    )


def _drive(explorer: Explorer, executor: Stored, workload: Workload, budget_s: float) -> None:
    """Explore at the workload's own pace: after x workload-times, the queries of the first x have come."""
    arrivals = np.unique(np.ceil(workload.first * 100) / 100)
    explorer.admit(workload.first <= arrivals[0])
    step = 1
    idle_s = 0.0
    while True:
        while (
            step < len(arrivals) and explorer.spent_s + idle_s >= arrivals[step] * explorer.space.workload_s
        ):
            explorer.admit(workload.first <= arrivals[step])
            step += 1
        trial = explorer.next(budget_s)
        if trial is not None:
            explorer.record(trial, executor.run(trial.query, trial.arm, trial.timeout_s))
        elif step < len(arrivals) and explorer.spent_s < budget_s:
            idle_s = arrivals[step] * explorer.space.workload_s - explorer.spent_s
        else:
            return


def _serve(explorer: Explorer, matrix: Matrix) -> Floats:
    """Times of all queries as the memo steers them, each promotion put there with its evidence."""
    memo = Memo(capacity=max(1, len(matrix.queries)))
    for promotion in explorer.promotions():
        pairs = promotion.evidence
        low, high = pairs.interval if pairs is not None else (0.0, float("inf"))
        memo.put(
            MemoEntry(
                MemoKey(promotion.query),
                Steering(hints=(str(promotion.arm),)),
                "stored",
                Evidence(pairs.pairs if pairs is not None else 0, promotion.ratio, low, high, 0.0),
            )
        )
    steered = (memo.steering(MemoKey(query), "stored") for query in range(len(matrix.queries)))
    arms = [int(steering.hints[0]) if steering is not None else 0 for steering in steered]
    times: Floats = matrix.seconds[np.arange(len(arms)), arms]
    return times


def run(options: Options, report: Report) -> None:
    """Verified exploration on stored runtimes against its rivals."""
    if ARGUMENTS.track == "unseen":
        report.settings["track"] = "unseen"
        _unseen(options, report)
        return
    report.settings |= {"order": ARGUMENTS.order, "templates": ARGUMENTS.templates}
    if ARGUMENTS.order == "redbench-like":
        report.note("Rivals know all queries from the start; ours, as a live explorer, once they have come.")
    for matrix in _matrices(options, report):
        parts = [matrix]
        if ARGUMENTS.halves:
            parts += [
                matrix.part(slice(0, None, 2), f"{matrix.name}, even rows (settings were chosen on these)"),
                matrix.part(slice(1, None, 2), f"{matrix.name}, odd rows"),
            ]
        for part in parts:
            _compare(part, options, report)


def _unseen(options: Options, report: Report) -> None:
    if not ARGUMENTS.matrices and options.data is None:
        report.note(
            "--track unseen needs runtimes with their SQL: name a data folder (--data DIR or "
            "GODB_FAST_BENCH_DATA: LimeQO's matrices, CEB and DSB), or --matrix FILE with a column 'sql'"
        )
        return
    for matrix in _matrices(options, report):
        unseen.compare(matrix, options, report)


def _matrices(options: Options, report: Report) -> list[Matrix]:
    if ARGUMENTS.matrices:
        return [read(path) for path in ARGUMENTS.matrices]
    if options.data is None:
        report.note(
            "a made-up matrix, since neither --matrix nor a data folder was named "
            "(--data DIR or GODB_FAST_BENCH_DATA)"
        )
        return [made_up(seed=options.seed)]
    folder = options.folder("limeqo", "measured hint sets of LimeQO, SIGMOD 2025, MIT")
    return [read(folder / f"{name}.csv") for name in FLOORS]


def _compare(matrix: Matrix, options: Options, report: Report) -> None:
    seeds = range(options.seed, options.seed + (1 if options.quick else 3))
    until = 1.0 if options.quick else MARKS[-1]
    marks = [mark for mark in MARKS if mark <= until]
    table = (
        f"{matrix.name}: {len(matrix.queries)} queries × {matrix.seconds.shape[1]} arms, R after exploring"
    )
    workloads = [_workload(len(matrix.queries), seed) for seed in seeds]
    _references(matrix, workloads[0], marks, table, report)
    for name, rival in RIVALS.items():
        results = [
            _rival(matrix, workload, rival, seed, until)
            for workload, seed in zip(workloads, seeds, strict=True)
        ]
        _row(report, table, name, marks, np.array(results))
    for method in ARGUMENTS.methods:
        played = [
            methods.replay(matrix, workload.weight, method, seed, marks)
            for workload, seed in zip(workloads, seeds, strict=True)
        ]
        _row(report, table, method, marks, np.array([r for r, _ in played]))
        report.note(f"{matrix.name}: worst choice of {method}: {max(worst for _, worst in played):.2f} ×")
    for confirm in ARGUMENTS.confirm:
        outcomes = [
            explore(matrix, workload, confirm, seed, classes=ARGUMENTS.templates == "names", until=until)
            for workload, seed in zip(workloads, seeds, strict=True)
        ]
        r = np.array([outcome.r for outcome in outcomes])
        _row(report, table, f"ours, --confirm {confirm}", marks, r)
        report.row(
            "explorations",
            matrix=matrix.name,
            confirm=confirm,
            promoted=int(np.median([outcome.promoted for outcome in outcomes])),
            worst=max(outcome.worst for outcome in outcomes),
            runs=int(np.median([outcome.runs for outcome in outcomes])),
            compute_s=float(np.median([outcome.compute_s for outcome in outcomes])),
        )
        _hold(matrix, confirm, marks, r, outcomes, report)


def _hold(
    matrix: Matrix, confirm: str, marks: list[float], r: Floats, outcomes: list[Outcome], report: Report
) -> None:
    tag = f"{matrix.name} ({confirm})"
    report.floor(f"{tag}: worst promoted arm, ratio", max(outcome.worst for outcome in outcomes), 1.0)
    allowed = COMPUTE_S * max(1.0, len(matrix.queries) / COMPUTE_QUERIES)
    report.floor(f"{tag}: own compute, s", min(outcome.compute_s for outcome in outcomes), allowed)
    if confirm == "none" and ARGUMENTS.order == "uniform":
        for mark, floor in FLOORS.get(matrix.name, {}).items():
            if mark in marks:
                report.floor(f"{matrix.name}: R after {mark}", np.median(r[:, marks.index(mark)]), floor)


def _workload(queries: int, seed: int) -> Workload:
    if ARGUMENTS.order == "uniform":
        return Workload.uniform(queries)
    return Workload.redbench_like(queries, seed)


def _references(matrix: Matrix, workload: Workload, marks: list[float], table: str, report: Report) -> None:
    total = float(matrix.default_s @ workload.weight)
    for name, value in (
        ("default", 1.0),
        ("best static arm (in hindsight)", float((workload.weight @ matrix.seconds).min()) / total),
        ("oracle", float(matrix.seconds.min(axis=1) @ workload.weight) / total),
    ):
        _row(report, table, name, marks, np.full((1, len(marks)), value))


def _rival(matrix: Matrix, workload: Workload, rival: Any, seed: int, until: float) -> list[float]:
    space = PlanSpace.of(matrix.seconds, matrix.default_s, weight=workload.weight)
    state = Simulation(matrix, space)
    rival(state, until * space.workload_s, seed)
    return _read_off(state.curve, space.workload_s, until)


def _read_off(curve: Sequence[tuple[float, float]], workload_s: float, until: float) -> list[float]:
    """R at the marks up to ``until``."""
    at = [spent for spent, _ in curve]
    return [
        curve[bisect.bisect(at, mark * workload_s) - 1][1] / workload_s for mark in MARKS if mark <= until
    ]


def _row(report: Report, table: str, method: str, marks: list[float], r: Floats) -> None:
    columns: dict[str, Any] = {f"{mark:g}": float(np.median(r[:, i])) for i, mark in enumerate(marks)}
    spread = f"{r[:, 1].min():.3f}-{r[:, 1].max():.3f}" if len(r) > 1 else ""
    report.row(table, method=method, **columns, **{f"spread at {marks[1]:g}": spread})


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--matrix",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        help="CSV: a name, then seconds per arm",
    )
    parser.add_argument(
        "--track",
        choices=("explore", "unseen"),
        default="explore",
        help="explore known queries, or choose for queries of templates left out, by their SQL alone",
    )
    parser.add_argument("--order", choices=("uniform", "redbench-like"), default="uniform")
    parser.add_argument(
        "--confirm",
        choices=("none", "pairs"),
        default=None,
        help="only this rule of promotion (both unless given)",
    )
    parser.add_argument(
        "--templates", choices=("names", "none"), default="names", help="whether siblings are known as such"
    )
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="MODULE:CLASS",
        help="a method of your own beside ours; see benchmarks/methods.py",
    )
    parser.add_argument("--halves", action="store_true", help="also the even and the odd rows alone")


def _configure(parsed: argparse.Namespace) -> None:
    global ARGUMENTS
    ARGUMENTS = Arguments(
        parsed.track,
        tuple(parsed.matrix),
        parsed.order,
        ("none", "pairs") if parsed.confirm is None else (parsed.confirm,),
        parsed.templates,
        parsed.halves,
        tuple(parsed.method),
    )
    for method in ARGUMENTS.methods:
        # Better now than after minutes.
        methods.named(method)


if __name__ == "__main__":
    try:
        sys.exit(main("replay", run, extend=_extend, configure=_configure))
    except (MissingData, InvalidInput) as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        sys.exit(2)
