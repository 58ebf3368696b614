"""What learning from executions adds to them: a session that learns, beside sessions that do not.

DuckDB runs the queries of ``godb-fast demo``'s site (slow ones, with and without a heavy account) in three
sessions that take turns: one learns from slow runs (some of them profiled, as by default), two do not: what
these differ by is noise. Nothing is steered. Each query runs so often that the default sampling has its way;
a ratio is the sum over all runs of a query, profiled ones included.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common import Options, Report
from benchmarks.workloads import live_main
from godb_fast.demo.site import HEAVY_SHARE, QUERIES, load_site
from godb_fast.engines.registry import open_engine
from godb_fast.lessons import EVERY, FIRST
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.store import SqliteStore

#: The most that learning may add to what queries take.
SHARE = 0.03
#: Sessions by name, with what each asks for.
ARMS = {"learns": 50.0, "does not": math.inf, "does not, again": math.inf}


@dataclass
class Chosen:
    """What the command line says beside the common options."""

    scale: float = 1.0
    runs: int = 52


CHOSEN = Chosen()


def run(options: Options, report: Report) -> None:
    """What learning from slow executions adds to them on DuckDB."""
    scale, runs = (0.5, 2 * FIRST + 4) if options.quick else (CHOSEN.scale, CHOSEN.runs)
    report.settings.update({"scale": scale, "runs": runs})
    order = np.random.default_rng(options.seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="godb_fast-feedback-")))
        path = folder / "site.duckdb"
        import duckdb

        with duckdb.connect(str(path)) as connection:
            load_site(connection, HEAVY_SHARE, scale)
        sessions = {}
        for number, (name, learn_from_ms) in enumerate(ARMS.items()):
            store = SqliteStore(folder / f"{number}.sqlite")
            stack.callback(store.close)
            policy = Policy(learn_from_ms=learn_from_ms, untried="off")
            session = Session(
                Optimizer(policy=policy, store=store), open_engine(str(path), read_only=True), mode="advise"
            )
            sessions[name] = stack.enter_context(session)
        total = dict.fromkeys(ARMS, 0.0)
        for query, sql in QUERIES.items():
            taken = _taken(sessions, sql, runs, order)
            if taken["does not"] / runs < ARMS["learns"] / 1e3:
                continue
            for name, seconds in taken.items():
                total[name] += seconds
            report.row(
                "seconds of all runs",
                query=query,
                one_run_ms=taken["does not"] / runs * 1e3,
                learning=taken["learns"] / taken["does not"],
                **{"A/A": taken["does not, again"] / taken["does not"]},
            )
        counters = sessions["learns"].optimizer.counters
        learned, put_off = counters["learned"], counters["profiles_put_off"]
    if not total["does not"]:
        report.note(f"no query takes {ARMS['learns']:g} ms at scale {scale:g}: nothing is learned from")
        return
    base = (total["does not"] + total["does not, again"]) / 2.0
    report.row(
        "together",
        learning=total["learns"] / base,
        **{"A/A": total["does not, again"] / total["does not"]},
        learned_from=learned,
        put_off=put_off,
    )
    report.note(
        f"of a query's slow runs the first {FIRST} are profiled, then each {EVERY}th, as far as "
        f"{Policy().learn_share:.0%} of what slow runs take pays for it"
    )
    if not options.quick:
        report.floor("share that learning adds", total["learns"] / base - 1.0, SHARE)


def _taken(sessions: dict[str, Session], sql: str, runs: int, order: np.random.Generator) -> dict[str, float]:
    """Seconds of all runs in each session; a run that is thrown away comes first, and what it begins ends."""
    for session in sessions.values():
        session.execute(sql)
        session.wait_prepared()
    taken = dict.fromkeys(sessions, 0.0)
    names = list(sessions)
    for _ in range(runs):
        for place in order.permutation(len(names)):
            begun = time.perf_counter()
            sessions[names[place]].execute(sql)
            taken[names[place]] += time.perf_counter() - begun
    return taken


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", type=float, default=1.0, help="of the site (1)")
    parser.add_argument("--runs", type=int, default=52, help="of each query in each session (52)")


def _configure(parsed: argparse.Namespace) -> None:
    global CHOSEN
    CHOSEN = Chosen(parsed.scale, parsed.runs)


if __name__ == "__main__":
    sys.exit(live_main("feedback", run, extend=_extend, configure=_configure))
