"""``godb-fast bench``: explore, then measure, and hand over a page of what it brought."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from godb_fast.cli.explore import read_queries
from godb_fast.cli.progress import progress_bar
from godb_fast.errors import InvalidInput

if TYPE_CHECKING:
    from godb_fast.exploring.live import ExplorationReport
    from godb_fast.exploring.subjects import LiveQuery
    from godb_fast.report import Comparison
    from godb_fast.report.gain import Gain
    from godb_fast.report.raw import RawRuns
    from godb_fast.session import Session


def bench(options: argparse.Namespace) -> int:
    """``godb-fast bench``."""
    from godb_fast.cli.commands import open_for_reading
    from godb_fast.exploring.budget import Budget
    from godb_fast.report.raw import raw_runs
    from godb_fast.session import Optimizer, Policy, Session
    from godb_fast.store import open_store

    # Better now than after minutes of exploring.
    Budget.parse(options.budget)
    explored = read_queries(options.files)
    measured = read_queries(options.measure) if options.measure else explored
    folder = _folder(options.out)
    store = open_store(getattr(options, "store", "default"))
    # Each statement is waited for while it is prepared, as that is in its time.
    optimizer = Optimizer(policy=Policy(background=False), store=store)
    with (
        Session(optimizer, open_for_reading(options.url), mode="steer") as session,
        raw_runs(folder / (options.raw or "runs.csv"), resume=options.resume) as raw,
    ):
        exploration = _explore(session, explored, options)
        if exploration.interrupted:
            return _interrupted(options, "what was found is kept")
        begun = time.time()
        comparison = _measure(session, measured, raw, options)
        records = optimizer.records
        losses = [] if records is None else records.losses(begun)
    from godb_fast.report.gain import gain_of

    gain = gain_of(exploration, comparison, losses)
    _write(gain, folder, options)
    if comparison.interrupted:
        return _interrupted(options, f"what was measured is in {folder}")
    return 1 if gain.summary.different or gain.summary.failed else 0


def _folder(named: str) -> Path:
    folder = Path(named)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.md.partial").write_text("", encoding="utf-8")
        (folder / "report.md.partial").unlink()
    except OSError as error:
        raise InvalidInput(f"cannot write to {folder}: {error.strerror or error}") from error
    return folder


def _explore(
    session: Session, queries: Sequence[LiveQuery], options: argparse.Namespace
) -> ExplorationReport:
    with progress_bar("exploring") as bar:

        def progress(what: str, spent_s: float, budget_s: float, ratio: float) -> None:
            gain = f", {1.0 - ratio:.0%} gained" if ratio < 1.0 else ""
            bar(f"{what} ({spent_s:.0f} of {budget_s:.0f} s{gain})", min(1.0, spent_s / budget_s))

        return session.explore(
            queries, options.budget, cap_s=options.cap, resume=options.resume, progress=progress
        )


def _measure(
    session: Session, queries: Sequence[LiveQuery], raw: RawRuns | None, options: argparse.Namespace
) -> Comparison:
    from godb_fast.report import Query, Settings, compare
    from godb_fast.report.raw import part_of

    assert raw is not None
    compared = [Query(query.name, query.sql) for query in queries]
    part = part_of(compared, options.cap)
    done = 0
    with progress_bar("measuring") as bar:

        def progress(query: Query) -> None:
            nonlocal done
            bar(query.name, done / len(compared))
            done += 1

        return compare(
            session,
            compared,
            Settings.capped(options.repetitions, options.cap, options.seed),
            progress,
            raw.extras(part),
        )


def _write(gain: Gain, folder: Path, options: argparse.Namespace) -> None:
    from godb_fast.cli.commands import without_password
    from godb_fast.report import to_dict
    from godb_fast.report.gain import figures
    from godb_fast.report.page import Page
    from godb_fast.report.text import console, verdict_line

    database = without_password(options.url)
    page = Page.now(gain, database, _command(options))
    written = page.write(folder)
    everything = to_dict(gain.comparison, gain.summary, url=database, files=options.files, gain=figures(gain))
    text = json.dumps(everything, indent=1, default=str)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")
    if options.json:
        print(text)
        return
    out = console(sys.stdout)
    for row in gain.arms:
        title = {"ours": "R = ours / engine", "again": "A/A = engine / engine"}.get(row.arm, row.arm)
        out.print(f"{title:<24} {row.ratio}", soft_wrap=True)
    if gain.cut:
        out.print(f"cut at {options.cap:g} s under the engine's plan: {', '.join(gain.cut)}", soft_wrap=True)
    for entry in gain.comparison.queries:
        if entry.outcome == "failed":
            # Errors of an engine may have several lines.
            problem = " ".join((entry.problem or "").split())
            out.print(f"failed  {entry.query.name}: {problem}", soft_wrap=True)
        elif entry.outcome == "left alone":
            out.print(f"left alone  {entry.query.name}: {entry.problem}", soft_wrap=True)
        if entry.difference is not None:
            out.print(f"DIFFERENT ANSWER  {entry.query.name}: {entry.difference}", soft_wrap=True)
    out.print(verdict_line(gain.summary), style="bold", soft_wrap=True)
    out.print(f"page: {written[1]} (and {written[0].name}, result.json)", soft_wrap=True)


def _command(options: argparse.Namespace) -> str:
    from godb_fast.cli.commands import without_password

    parts = ["godb-fast", "bench", without_password(options.url), *options.files]
    if options.measure:
        parts += ["--measure", *options.measure]
    if options.budget is not None:
        parts += ["--budget", options.budget]
    parts += ["--cap", f"{options.cap:g}", "--out", options.out]
    parts += ["--repetitions", str(options.repetitions), "--seed", str(options.seed)]
    for name in ("store", "raw"):
        if getattr(options, name, None):
            parts += [f"--{name}", getattr(options, name)]
    return shlex.join(parts)


def _interrupted(options: argparse.Namespace, kept: str) -> int:
    print(f"interrupted; {kept}. Go on with: {_command(options)} --resume", file=sys.stderr)
    return 130
