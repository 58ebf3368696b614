"""Every statement of a workload on the bare driver and through ``godb-fast run``: are the rows the same?

Each statement first runs as it is written, on psycopg or duckdb alone. Then the function behind ``godb-fast
run`` compares it in mode steer on a session of its own, and the rows of *each* of our executions are held
against the bare driver's. Statements that do not end within the cap are named. What was explored before is
served as well, where ``--store`` names the file that keeps it; ``--explore`` explores first, so that there is
something to serve.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import workloads
from benchmarks.common import Options, Report
from benchmarks.loading import TUNED
from benchmarks.workloads import Wanted, live_main
from godb_fast.engines.registry import open_engine
from godb_fast.errors import InvalidInput
from godb_fast.evidence.answers import Answer, difference, sort_keys
from godb_fast.exploring.budget import Budget
from godb_fast.report import Query, Settings, compare
from godb_fast.report.comparison import QueryRuns
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.store import SqliteStore

#: A run that took more than this share of the cap may not end within it the next time.
NEAR = 0.5


@dataclass
class Chosen:
    """What the command line says beside the common options."""

    engine: str = "postgres"
    workload: str = "tpch"
    scale: float = 1.0
    url: str | None = None
    cache: Path | None = None
    cap_s: float = 20.0
    store: Path | None = None
    explore: str | None = None
    only: tuple[str, ...] = ()


CHOSEN = Chosen()


@dataclass(eq=False)
class Bare:
    """A statement on the driver alone: its answer, or why there is none."""

    seconds: float
    answer: Answer | None = None
    problem: str | None = None
    cut: bool = False


@dataclass(eq=False)
class Watched:
    """Executions of ours of one statement, as its rows are held against the bare driver's."""

    expected: Answer | None = None
    keys: tuple[int, ...] = ()
    runs: int = 0
    steered: int = 0
    seconds: list[float] = field(default_factory=list)
    difference: str | None = None


class WatchedSession(Session):
    """A session that looks at each answer of its own."""

    watched: Watched

    def execute(self, sql: str, *arguments: Any, **named: Any) -> Any:
        """As in any session."""
        begun = time.perf_counter()
        result = super().execute(sql, *arguments, **named)
        seen = self.watched
        seen.seconds.append(time.perf_counter() - begun)
        seen.runs += 1
        seen.steered += result.observation.steered
        if seen.expected is not None and seen.difference is None:
            answer = Answer(result.columns, result.types, result._result.rows)
            seen.difference = difference(seen.expected, answer, seen.keys)
        return result


def run(options: Options, report: Report) -> None:
    """Compare the rows of each statement on the bare driver with those of godb-fast run."""
    chosen = CHOSEN
    report.settings.update({key: str(value) for key, value in vars(chosen).items()})
    wanted = Wanted(chosen.engine, chosen.workload, chosen.scale, chosen.url, None, chosen.cache)
    with ExitStack() as stack:
        loaded = workloads.load(stack, wanted, options, TUNED)
        if chosen.only:
            loaded = loaded.only(chosen.only)
        queries = [Query(entry.name, entry.sql) for entry in loaded.explored]
        bare = dict(_bare_runs(loaded.url, queries, chosen.cap_s))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="godb_fast-answers-"))
        store = SqliteStore(chosen.store or Path(folder) / "store.sqlite")
        stack.callback(store.close)
        optimizer = Optimizer(policy=Policy(mode="steer", background=False), store=store)
        engine = open_engine(loaded.url, read_only=True)
        with WatchedSession(optimizer, engine, mode="steer") as session:
            if chosen.explore is not None:
                found = session.explore(loaded.explored, chosen.explore, cap_s=chosen.cap_s)
                if found.interrupted:
                    raise KeyboardInterrupt
                differing = [f"{each.query} under {each.arm}" for each in found.refusals if each.differs]
                report.note(
                    f"explored for {found.spent_s:.0f} s: {found.runs} trials, better plans proved for "
                    f"{len(found.promoted)} statements; refused as their answers differ: "
                    f"{', '.join(differing) or 'none'}"
                )
            _tell(report, session, queries, bare, chosen.cap_s)


def _tell(
    report: Report, session: WatchedSession, queries: Sequence[Query], bare: dict[str, Bare], cap_s: float
) -> None:
    settings = Settings(repetitions=1, timeout_s=cap_s, query_cap_s=5.0 * cap_s)
    differing: list[str] = []
    cut: list[str] = []
    lost: list[str] = []
    for query in queries:
        alone = bare[query.name]
        session.watched = seen = Watched(alone.answer)
        if alone.answer is not None:
            seen.keys = sort_keys(query.sql, session.engine.dialect, alone.answer.columns)
        comparison = compare(session, [query], settings)
        if comparison.interrupted:
            raise KeyboardInterrupt
        (runs,) = comparison.queries
        outcome = _outcome(alone, seen, runs, cap_s)
        {"differs": differing, "cut": cut, "fails": lost, "not finished": lost}.get(outcome, []).append(
            query.name
        )
        told = seen.difference or runs.difference or alone.problem or runs.problem or ""
        report.row(
            "rows",
            statement=query.name,
            outcome=outcome,
            rows=None if alone.answer is None else len(alone.answer.rows),
            bare_s=round(alone.seconds, 3),
            ours_s=round(min(seen.seconds), 3) if seen.seconds else None,
            executions=seen.runs,
            steered=seen.steered,
            note=told.splitlines()[0][:90] if told else "",
        )
    if cut:
        report.note(f"not compared, as they do not end within {cap_s:g} s: {', '.join(cut)}")
    refused = [query.name for query in queries if bare[query.name].problem and not bare[query.name].cut]
    if refused:
        report.note(f"refused by the engine itself: {', '.join(refused)}")
    steered = sum(1 for row in report.rows if row["steered"])
    equal = sum(1 for row in report.rows if row["outcome"] == "equal")
    report.note(
        f"{equal} of {len(queries)} statements have equal rows in each execution; {steered} were steered"
    )
    report.floor("statements whose rows differ", len(differing), 0)
    report.floor("statements that end on the bare driver, and not through us", len(lost), 0)
    report.floor("statements compared", equal + len(differing), 1, at_least=True)


def _outcome(alone: Bare, seen: Watched, runs: QueryRuns, cap_s: float) -> str:
    if alone.cut:
        return "cut"
    if alone.problem is not None:
        return "refused"
    if runs.unstable:
        return "unstable"
    if seen.difference is not None or runs.difference is not None:
        return "differs"
    if runs.outcome == "failed":
        return "fails"
    if runs.outcome == "censored" and not seen.runs:
        return "cut" if alone.seconds > NEAR * cap_s else "not finished"
    return "equal"


# -- the driver alone -------------------------------------------------------------------------------------


def _bare_runs(url: str, queries: Sequence[Query], cap_s: float) -> Iterator[tuple[str, Bare]]:
    postgres = url.startswith(("postgres://", "postgresql://"))
    with _psycopg(url, cap_s) if postgres else _duckdb(url, cap_s) as once:
        for query in queries:
            yield query.name, once(query.sql)


@contextmanager
def _psycopg(url: str, cap_s: float) -> Iterator[Any]:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SET statement_timeout = {round(cap_s * 1e3)}")
        connection.execute("SET default_transaction_read_only = on")

        def once(sql: str) -> Bare:
            begun = time.perf_counter()
            try:
                cursor = connection.execute(sql.encode())
                rows = cursor.fetchall()
            except psycopg.Error as error:
                cut = isinstance(error, psycopg.errors.QueryCanceled)
                return Bare(time.perf_counter() - begun, None, str(error), cut)
            took = time.perf_counter() - begun
            described = cursor.description or []
            types = tuple(_type_name(connection, entry.type_code) for entry in described)
            return Bare(took, Answer(tuple(entry.name for entry in described), types, rows))

        yield once


def _type_name(connection: Any, oid: int) -> str:
    found = connection.adapters.types.get(oid)
    if found is None:
        return f"oid {oid}"
    return f"{found.name}[]" if oid == found.array_oid else str(found.name)


@contextmanager
def _duckdb(url: str, cap_s: float) -> Iterator[Any]:
    import duckdb

    with duckdb.connect(url, read_only=True) as connection:

        def once(sql: str) -> Bare:
            timer = threading.Timer(cap_s, connection.interrupt)
            timer.start()
            begun = time.perf_counter()
            try:
                rows = connection.execute(sql).fetchall()
            except duckdb.Error as error:
                cut = isinstance(error, duckdb.InterruptException)
                return Bare(time.perf_counter() - begun, None, str(error), cut)
            finally:
                timer.cancel()
            took = time.perf_counter() - begun
            described = connection.description or []
            types = tuple(str(entry[1]) for entry in described)
            return Bare(took, Answer(tuple(str(entry[0]) for entry in described), types, rows))

        yield once


# -- the command line -------------------------------------------------------------------------------------


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=("duckdb", "postgres"), default="postgres", help="(postgres)")
    parser.add_argument(
        "--workload",
        default="tpch",
        metavar="W",
        help="tpch, tpcds, demo, demo-full, or a file of statements, which needs --url (tpch)",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of the data (1)")
    parser.add_argument("--url", help="a loaded database, instead of loading one")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where generated data stay")
    parser.add_argument("--cap", type=float, default=20.0, metavar="S", help="of one run (20)")
    parser.add_argument("--store", type=Path, metavar="FILE", help="what was explored, to be served as well")
    parser.add_argument("--explore", metavar="BUDGET", help="explore first: 1x, 300s (not at all)")
    parser.add_argument("--only", metavar="NAMES", help="only statements of these names: q1,q6")


def _configure(parsed: argparse.Namespace) -> None:
    global CHOSEN
    if parsed.cap <= 0 or parsed.scale <= 0:
        raise InvalidInput("--cap and --scale are above 0")
    if parsed.explore is not None:
        Budget.parse(parsed.explore)
    CHOSEN = Chosen(
        parsed.engine, parsed.workload, parsed.scale, parsed.url, parsed.cache, parsed.cap, parsed.store,
        parsed.explore, tuple(name for name in (parsed.only or "").split(",") if name),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(live_main("answers", run, extend=_extend, configure=_configure))
