"""``godb-fast explore``: better plans, found by running them under a budget."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from godb_fast.cli import statements
from godb_fast.cli.progress import progress_bar
from godb_fast.core.ratio import ratio_text
from godb_fast.errors import InvalidInput, SqlError

if TYPE_CHECKING:
    from godb_fast.exploring.live import ExplorationReport
    from godb_fast.exploring.subjects import LiveQuery


def explore(options: argparse.Namespace) -> int:
    """``godb-fast explore``."""
    from godb_fast.cli.commands import open_for_reading
    from godb_fast.exploring.budget import Budget
    from godb_fast.session import Optimizer, Session
    from godb_fast.store import open_store

    # Better now than after minutes of exploring.
    Budget.parse(options.budget)
    queries = read_queries(options.files)
    store = open_store(getattr(options, "store", "default"))
    with (
        Session(Optimizer(store=store), open_for_reading(options.url), mode="steer") as session,
        progress_bar("exploring") as bar,
    ):

        def progress(what: str, spent_s: float, budget_s: float, ratio: float) -> None:
            gain = f", {1.0 - ratio:.0%} gained" if ratio < 1.0 else ""
            bar(f"{what} ({spent_s:.0f} of {budget_s:.0f} s{gain})", min(1.0, spent_s / budget_s))

        report = session.explore(
            queries, options.budget, cap_s=options.cap, resume=options.resume, progress=progress
        )
    if options.json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        show(report, sys.stdout, kept=store is not None)
    if report.interrupted:
        return 130
    return 1 if any(entry.failed for entry in report.queries) else 0


def read_queries(files: Sequence[str]) -> list[LiveQuery]:
    """The statements of some files, named.

    Raises
    ------
    InvalidInput, SqlError
        If a file cannot be read, or holds no statement.
    """
    from godb_fast.exploring.subjects import LiveQuery

    found: list[LiveQuery] = []
    for path in files:
        try:
            entries = statements.split(statements.read(path))
        except SqlError as error:
            raise SqlError(f"{path}:{error.line}:{error.column}: {error.args[0]}") from error
        prefix = f"{Path(path).stem}: " if len(files) > 1 else ""
        found += [LiveQuery(prefix + entry.name, entry.sql, weight=float(entry.calls)) for entry in entries]
    if not found:
        raise InvalidInput(f"no statement in {', '.join(files)}")
    return found


def show(report: ExplorationReport, out: TextIO, *, kept: bool) -> None:
    """The report as text."""
    for entry in report.queries:
        took = f"{entry.default_s:9.3f} s{'+' if entry.unfinished else ' '}" if entry.default_s else " " * 12
        if entry.entry is not None:
            proof = entry.entry.evidence
            what = (
                f"{ratio_text(proof.ratio)} × under {entry.arm!r}, {proof.pairs} pairs "
                f"(interval {ratio_text(proof.low)} to {ratio_text(proof.high)})"
            )
        else:
            # Errors of an engine may have several lines.
            what = " ".join(entry.reason.split())
        print(f"{entry.name:<24} {took} {what}", file=out)
    for refusal in report.refusals:
        kind = "answers differ" if refusal.differs else "refused"
        print(f"{kind}: {refusal.query} under {refusal.arm!r}: {refusal.why.splitlines()[0]}", file=out)
    for note in report.notes:
        print(f"note: {note}", file=out)
    end = "interrupted" if report.interrupted else "nothing more is worth a run" if report.exhausted else ""
    print(
        f"\nspent {report.spent_s:.1f} of {report.budget_s:.1f} s in {report.runs} trials"
        f"{f' ({end})' if end else ''}; one run of the queries takes {report.workload_s:.2f} s under the "
        f"engine's plans and about {report.now_s:.2f} s under what was proved for {len(report.promoted)} of "
        f"{len(report.queries)}",
        file=out,
    )
    if report.overspent is not None:
        print(report.overspent, file=out)
    if any(entry.unfinished for entry in report.queries):
        print("+ stopped at the cap: the figure is a lower bound", file=out)
    if kept and report.promoted:
        print("what was proved is kept in the store: execute() steers to it in mode steer", file=out)
