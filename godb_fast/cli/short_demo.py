"""``godb-fast demo``: what it gains and what it costs, in about a minute, on a site that is built twice."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from godb_fast.cli.progress import progress_bar
from godb_fast.core.ratio import ratio_text

if TYPE_CHECKING:
    from rich.console import Console

    from godb_fast.demo.showing import Row, Shown
    from godb_fast.demo.site import Site
    from godb_fast.session import Session

#: Our gain is shown as one from here on, and as a loss below its inverse.
NOTABLE: Final = 1.1
#: What fits into about a minute: PostgreSQL takes longer for joins that multiply.
SCALES: Final = {"duckdb": 1.0, "postgres": 0.4}
#: For exploring each site, times what one run of its queries takes. Pairs of quick runs are dear beside them.
BUDGETS: Final = {"heavy": "5x", "even": "12x"}
#: Lines of SQL that are shown.
SQL_LINES: Final = 24


def demo(options: argparse.Namespace) -> int:
    """The short demo: both sites, one after the other."""
    from godb_fast.cli.commands import say, writable
    from godb_fast.demo.showing import show_site
    from godb_fast.demo.site import HEAVY_SHARE, QUERIES, SEED
    from godb_fast.exploring.budget import Budget

    # Better now than after a minute.
    if options.budget:
        Budget.parse(options.budget)
    if options.json and options.json != "-":
        writable(Path(options.json))
    seed = SEED if options.seed is None else options.seed
    options.scale = options.scale or SCALES[options.engine]
    told = _Told(options)
    begun = time.perf_counter()
    shown: dict[str, Shown] = {}
    with contextlib.ExitStack() as stack:
        sites = stack.enter_context(_sites(options, seed))
        for name, share in (("heavy", HEAVY_SHARE), ("even", 0.0)):
            with progress_bar(f"{name} site") as bar, sites.opened(name, share, bar) as (session, site):

                def progress(what: str, done: float, bar: Any = bar) -> None:
                    bar(what, 0.2 + 0.8 * done)

                if not shown:
                    say(
                        options,
                        f"{session.engine.name} {session.engine.version}: a question-and-answer site, built "
                        "twice, with queries that everyone has written",
                    )
                elsewhere = shown["heavy"].proved if shown else None
                result = show_site(
                    session,
                    site,
                    QUERIES,
                    budget=options.budget or BUDGETS[name],
                    cap_s=options.cap,
                    seed=seed % 2**63,
                    elsewhere=elsewhere,
                    progress=progress,
                )
                shown[name] = result
                best = _best(result)
                alone = _alone(session, best) if best is not None and name == "heavy" else None
            told.site(name, result)
            if alone is not None and best is not None:
                told.unaided(best, alone)
            if result.interrupted:
                break
    seconds = time.perf_counter() - begun
    interrupted = any(result.interrupted for result in shown.values())
    told.end(shown, seconds, interrupted)
    if options.json:
        facts = {
            "scale": options.scale,
            "seed": seed,
            "budget": {name: options.budget or BUDGETS[name] for name in shown},
            "cap_s": options.cap,
            "seconds": seconds,
            "sites": {name: result.to_dict() for name, result in shown.items()},
        }
        text = json.dumps(facts, indent=1, default=str)
        if options.json == "-":
            print(text)
        else:
            Path(options.json).write_text(text + "\n", encoding="utf-8")
    if interrupted:
        return 130
    rows = [row for result in shown.values() for row in result.rows]
    return 1 if any(row.different or row.problem for row in rows) else 0


# -- the two sites ---------------------------------------------------------------------------------------


class _Sites:
    """Builds a site and opens it as a user would: read-only, in mode steer, with a store."""

    def __init__(self, folder: Path, options: argparse.Namespace, seed: int, server: Any = None) -> None:
        self._folder, self._options, self._seed, self._server = folder, options, seed, server

    @contextlib.contextmanager
    def opened(self, name: str, share: float, bar: Any) -> Iterator[tuple[Session, Site]]:
        """A session on a site of its own, until it is closed."""
        from godb_fast.cli.commands import open_for_reading
        from godb_fast.session import Optimizer, Policy, Session
        from godb_fast.store import open_store

        def building(what: str, done: float) -> None:
            bar(what, 0.2 * done)

        with self._built(name, share, building) as (url, site):
            # What is proved of a database that is soon gone is nothing for the user's own store.
            store = open_store(getattr(self._options, "store", str(self._folder / "store.db")))
            # The one that explores needs one to keep what it proved.
            store = store or open_store(str(self._folder / "store.db"))
            optimizer = Optimizer(policy=Policy(mode="steer", background=False), store=store)
            with Session(optimizer, open_for_reading(url), mode="steer") as session:
                yield session, site

    @contextlib.contextmanager
    def _built(self, name: str, share: float, building: Any) -> Iterator[tuple[str, Site]]:
        from godb_fast.demo.site import load_site, load_site_postgres

        if self._server is not None:
            import psycopg

            with self._server.database(name) as url:
                with psycopg.connect(url, autocommit=True) as connection:
                    site = load_site_postgres(connection, share, self._options.scale, self._seed, building)
                yield url, site
            return
        import duckdb

        path = self._folder / f"{name}.duckdb"
        with duckdb.connect(str(path)) as connection:
            site = load_site(connection, share, self._options.scale, self._seed, building)
        yield str(path), site


@contextlib.contextmanager
def _sites(options: argparse.Namespace, seed: int) -> Iterator[_Sites]:
    with tempfile.TemporaryDirectory(prefix="godb_fast-demo-", ignore_cleanup_errors=True) as folder:
        if options.engine != "postgres":
            yield _Sites(Path(folder), options, seed)
            return
        from godb_fast.demo.postgres import TUNED
        from godb_fast.demo.postgres_server import running_server

        with running_server(settings=TUNED) as server:
            yield _Sites(Path(folder), options, seed, server)


def _best(shown: Shown) -> Row | None:
    """The query that gained most of those that something was proved of."""
    proved = [row for row in shown.rows if row.outcome.entry is not None and (row.gain or 0.0) > NOTABLE]
    return max(proved, key=lambda row: row.gain or 0.0, default=None)


def _alone(session: Session, row: Row) -> list[str]:
    """What ``godb-fast export`` prints of a query."""
    from godb_fast.cli.remedies import without_us

    engine = session.engine
    prepared = session.optimizer.decide(engine, session.optimizer.scope(engine), row.sql)
    return list(without_us(prepared, engine))


# -- what a person reads -----------------------------------------------------------------------------------


class _Told:
    """Prints as results come; on stderr where JSON goes to stdout."""

    def __init__(self, options: argparse.Namespace) -> None:
        from godb_fast.report.text import console

        self._options = options
        self._out: Console = console(sys.stderr if options.json == "-" else sys.stdout)

    def site(self, name: str, shown: Shown) -> None:
        """One site: who is heavy, what exploring cost, the table, and what follows."""
        site, explored = shown.site, shown.explored
        what = (
            f"its heaviest account wrote {site.heaviest:.1%} of the comments"
            if name == "heavy"
            else f"no account wrote more than {site.heaviest:.3%} of the comments"
        )
        counts = ", ".join(f"{rows:,} {table}" for table, rows in site.rows.items())
        self._line()
        self._line(f"The {name} site: {what}", style="bold")
        self._line(f"{counts}")
        self._line(
            f"explored: {explored.spent_s:.1f} of {explored.budget_s:.1f} s "
            f"(--budget {self._options.budget or BUDGETS[name]}), the engine's own plans included; "
            f"{len(explored.promoted)} of {len(shown.rows)} queries proved faster"
        )
        self._table(shown)
        self._below(shown)

    def _table(self, shown: Shown) -> None:
        from rich import box
        from rich.table import Table

        if not shown.measured:
            return
        table = Table(
            box=box.SIMPLE_HEAD if self._out.is_terminal else box.ASCII2, show_edge=False, pad_edge=False
        )
        for title, right in (
            ("query", False), ("engine", True), ("ours", True), ("times faster", True), ("rows", False),
            ("how", False),
        ):  # fmt: skip
            table.add_column(title, justify="right" if right else "left", no_wrap=right, overflow="fold")
        for row in shown.rows:
            style = ""
            if row.outcome.entry is not None and row.gain is not None:
                style = "green" if row.gain >= NOTABLE else "red" if row.gain <= 1 / NOTABLE else ""
            table.add_row(
                row.name,
                _time(row.default_ms, bound=row.cut_s is not None),
                _time(row.median_ms("ours")),
                _gain(row),
                "DIFFERENT" if row.different else row.rows,
                _how(row),
                style="red" if row.different or row.problem else style,
            )
        table.add_section()
        default, ours = shown.total_ms("default"), shown.total_ms("ours")
        bound = any(row.cut_s is not None for row in shown.measured)
        ratio = f"{'> ' if bound else ''}{default / ours:.1f}"
        table.add_row("all of them", _time(default, bound=bound), _time(ours), ratio, "", "", style="bold")
        if shown.noise is not None:
            again = sum(row.median_ms("again") or 0.0 for row in shown.measured)
            finished = sum(row.median_ms("default") or 0.0 for row in shown.measured)
            table.add_row(
                "A/A: engine, engine again", _time(finished), _time(again), f"{1 / shown.noise:.2f}", "",
                "the noise",
            )  # fmt: skip
        self._out.print(table)

    def _below(self, shown: Shown) -> None:
        from godb_fast.report.text import duration

        for row in shown.rows:
            if row.different or row.problem:
                self._line(f"{row.name}: {row.problem or row.rows}", style="red")
        cut = [row.name for row in shown.rows if row.cut_s is not None]
        if cut:
            self._line(f"cut off after {self._options.cap:g} s under the engine's plan: {', '.join(cut)}")
        overhead = sorted(value for row in shown.rows for value in row.overhead_us)
        first = [row.first_ms for row in shown.rows if row.times_ms["ours"]]
        # Where the cap is short, not one may have come to its end.
        if overhead and first:
            first_ms = statistics.median(first)
            call_ms = statistics.median(overhead) / 1e3
            self._line(
                f"our overhead, in the figures above: {duration(call_ms)} a call (median; "
                f"worst {duration(overhead[-1] / 1e3)}); a template's first call {duration(first_ms)}"
            )
        saved_s = (shown.total_ms("default") - shown.total_ms("ours")) / 1e3
        if saved_s > 0.01 * shown.total_ms("default") / 1e3 and shown.explored.promoted:
            self._line(
                f"exploring took {shown.explored_s:.1f} s, and each run of these queries saves "
                f"{saved_s:.2f} s: paid back after {math.ceil(shown.explored_s / saved_s)} runs"
            )

    def unaided(self, row: Row, lines: list[str]) -> None:
        """SQL that does the same without us."""
        self._line()
        self._line(f"The same for {row.name!r} without us, as godb-fast export prints it:", style="bold")
        wrapped = [
            part
            for line in "\n".join(lines).splitlines()
            for part in textwrap.wrap(line, self._out.width - 4, break_on_hyphens=False)
        ]
        for line in wrapped[:SQL_LINES]:
            self._line(f"  {line}")
        if len(wrapped) > SQL_LINES:
            self._line(f"  … {len(wrapped) - SQL_LINES} more lines")

    def end(self, shown: dict[str, Shown], seconds: float, interrupted: bool) -> None:
        """What it took, and what to do next."""
        url = "postgresql://me@host/database" if self._options.engine == "postgres" else "YOUR.duckdb"
        self._line()
        if interrupted:
            self._line("interrupted: this is what was seen until then", style="yellow")
            return
        self._line(f"all of this took {seconds:.0f} s. On your own data, which is only read:", style="bold")
        if self._options.engine == "postgres":
            self._line(f"  godb-fast slow {url} --output queries.sql")
        self._line(f"  godb-fast explore {url} queries.sql --budget 2x")
        self._line(f"  godb-fast export {url} queries.sql --ticket")

    def _line(self, text: str = "", style: str = "") -> None:
        self._out.print(text, style=style, soft_wrap=not self._out.is_terminal)


def _time(milliseconds: float | None, *, bound: bool = False) -> str:
    from godb_fast.report.text import duration

    return "-" if milliseconds is None else ("> " if bound else "") + duration(milliseconds)


def _gain(row: Row) -> str:
    if row.gain is None:
        return "-"
    text = f"{row.gain:.0f}" if row.gain >= 10 else f"{row.gain:.1f}" if row.gain >= 2 else f"{row.gain:.2f}"
    return f"> {text}" if row.cut_s is not None else text


def _how(row: Row) -> str:
    entry = row.outcome.entry
    if entry is not None:
        rules = ", ".join(rule.partition("@")[0].replace("_", " ") for rule in entry.steering.rewrites)
        kind = rules or ("a setting" if entry.steering.settings else "another join order")
        return f"{kind}, {entry.evidence.pairs} pairs" + ("" if row.steered else "; not steered now")
    if row.blind_ms is not None and row.default_ms:
        ratio = row.blind_ms / row.default_ms
        took = "does not finish" if math.isinf(ratio) else f"takes {ratio_text(ratio)} ×"
        return f"left alone; heavy's plan {took} here"
    return _REASONS.get(row.outcome.reason, row.outcome.reason)


#: Shorter than exploration says it, for the table.
_REASONS: Final = {
    "nothing better was proved": "left alone: nothing proved",
    "left alone: too little of the workload's time": "left alone: quick enough",
}
