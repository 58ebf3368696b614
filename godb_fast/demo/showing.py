"""The short demo on one site: explore under a stated budget, then run both plans in turn.

Nothing here is special to the demo: :meth:`Session.explore` looks for plans, and :meth:`Session.execute` in
mode ``steer`` uses what it proved.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from godb_fast.core import Steering
from godb_fast.demo.site import Site
from godb_fast.errors import GodbError, QueryTimeout
from godb_fast.evidence.answers import Answer, difference, sort_keys
from godb_fast.exploring.candidates import render_for
from godb_fast.exploring.subjects import LiveQuery
from godb_fast.sql import fingerprint

if TYPE_CHECKING:
    from godb_fast.exploring.live import ExplorationReport, QueryOutcome
    from godb_fast.session import Session

ARMS: Final = ("default", "again", "ours")
#: Rounds of each query, every one with all arms in random order; none begins after so many seconds.
ROUNDS: Final = 5
ROUNDS_S: Final = 1.5
#: Runs of a plan that was proved on the other site and not on this one.
BLIND_RUNS: Final = 2


@dataclass(eq=False)
class Row:
    """One query of the demo.

    Attributes
    ----------
    times_ms : dict
        One list per arm; those of the engine's plan are empty where it was cut off.
    cut_s : float or None
        Seconds after which the engine's own plan was cut off.
    rows : str
        How the answers were compared, and what came of it: ``same``; where the engine's plan is cut off,
        ``same before`` (while exploring, when it finished), ``parts agree``, or ``same text`` (a setting or a
        join order); else how they differ.
    blind_ms : float or None
        What the plan would have taken here that was proved on the other site.
    """

    name: str
    sql: str
    outcome: QueryOutcome
    times_ms: dict[str, list[float]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    cut_s: float | None = None
    rows: str = ""
    different: bool = False
    steered: bool = False
    first_ms: float = 0.0
    overhead_us: list[float] = field(default_factory=list)
    blind_ms: float | None = None
    problem: str | None = None

    def median_ms(self, arm: str) -> float | None:
        """Median of an arm; None if it was not measured."""
        times = self.times_ms[arm]
        return statistics.median(times) if times else None

    @property
    def default_ms(self) -> float | None:
        """The engine's plan; a lower bound where it was cut off."""
        return self.cut_s * 1e3 if self.cut_s is not None else self.median_ms("default")

    @property
    def gain(self) -> float | None:
        """Times faster than the engine's plan; a lower bound where that was cut off."""
        default, ours = self.default_ms, self.median_ms("ours")
        return default / ours if default and ours else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "sql": self.sql,
            "times_ms": self.times_ms,
            "cut_s": self.cut_s,
            "gain": self.gain,
            "rows": self.rows,
            "different": self.different,
            "steered": self.steered,
            "first_ms": self.first_ms,
            "overhead_us": self.overhead_us,
            "blind_ms": self.blind_ms,
            "problem": self.problem,
            "explored": self.outcome.to_dict(),
        }


@dataclass(eq=False)
class Shown:
    """What one site showed."""

    site: Site
    explored: ExplorationReport
    explored_s: float
    rows: list[Row]
    interrupted: bool = False

    @property
    def measured(self) -> list[Row]:
        """Queries of which both plans have a time or a bound."""
        return [row for row in self.rows if row.default_ms and row.median_ms("ours")]

    def total_ms(self, arm: str) -> float:
        """Sum of an arm's medians over what was measured; cut ones count as the cap."""
        if arm == "default":
            return sum(row.default_ms or 0.0 for row in self.measured)
        return sum(row.median_ms(arm) or row.default_ms or 0.0 for row in self.measured)

    @property
    def noise(self) -> float | None:
        """The A/A row: the engine's plan against itself, over what finished."""
        pairs = [(row.median_ms("again"), row.median_ms("default")) for row in self.measured]
        finished = [(again, default) for again, default in pairs if again and default]
        if not finished:
            return None
        return sum(again for again, _ in finished) / sum(default for _, default in finished)

    @property
    def proved(self) -> dict[str, Steering]:
        """What exploration proved, by query."""
        return {row.name: row.outcome.entry.steering for row in self.rows if row.outcome.entry is not None}

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "rows": self.site.rows,
            "heaviest": self.site.heaviest,
            "explored": {"seconds": self.explored_s, **self.explored.to_dict()},
            "queries": [row.to_dict() for row in self.rows],
            "default_ms": self.total_ms("default"),
            "ours_ms": self.total_ms("ours"),
            "noise": self.noise,
            "interrupted": self.interrupted,
        }


def show_site(
    session: Session,
    site: Site,
    queries: Mapping[str, str],
    *,
    budget: str,
    cap_s: float,
    seed: int = 0,
    elsewhere: Mapping[str, Steering] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Shown:
    """Explore some queries under a budget, then measure them.

    Ctrl-C ends it early: what was seen by then is returned, marked as interrupted.

    Parameters
    ----------
    budget : str
        For exploring, as :meth:`Session.explore` takes it.
    elsewhere : mapping, optional
        Plans that were proved on another site: those not proved here are run as well, to show what using
        them unproved would cost.
    progress : callable, optional
        Called with what is being done and the share done, 0 to 1.
    """
    say = progress or (lambda _what, _share: None)
    begun = time.perf_counter()

    def exploring(what: str, spent_s: float, budget_s: float, ratio: float) -> None:
        say(what, 0.6 * min(1.0, spent_s / budget_s))

    texts = {name: sql.strip() for name, sql in queries.items()}
    explored = session.explore(
        [LiveQuery(name, sql) for name, sql in texts.items()], budget, cap_s=cap_s, progress=exploring
    )
    rows = [
        Row(outcome.name, texts[outcome.name], outcome, cut_s=cap_s if outcome.unfinished else None)
        for outcome in explored.queries
    ]
    shown = Shown(site, explored, time.perf_counter() - begun, rows, explored.interrupted)
    if explored.interrupted:
        return shown
    order = np.random.Generator(np.random.PCG64(seed))
    try:
        for number, row in enumerate(rows):
            say(f"measuring {row.name}", 0.6 + 0.4 * number / len(rows))
            try:
                try:
                    _measure(session, row, cap_s, order)
                except QueryTimeout:
                    # It finished once, and not again: what was measured of it is not complete.
                    row.cut_s, row.times_ms = cap_s, {arm: [] for arm in ARMS}
                if row.outcome.entry is None and row.name in (elsewhere or {}) and row.cut_s is None:
                    row.blind_ms = _blind_ms(session, row, (elsewhere or {})[row.name], cap_s)
            except GodbError as error:
                row.problem = str(error)
    except KeyboardInterrupt:
        shown.interrupted = True
    return shown


def _measure(session: Session, row: Row, cap_s: float, order: np.random.Generator) -> None:
    expected = None
    row.rows = "not compared"
    if row.cut_s is None:
        # The first run is not measured: it warms the caches, and gives the answer to compare with.
        try:
            result = session.run_default(row.sql, timeout_s=cap_s)
            expected = Answer(result.columns, result.types, result.rows)
        except QueryTimeout:
            row.cut_s = cap_s
    if row.cut_s is not None and row.outcome.entry is None:
        # It would only be cut again, in every run.
        return
    _compare(session, row, cap_s, expected)
    begun = time.perf_counter()
    arms = ARMS if row.cut_s is None else ("ours",)
    for number in range(ROUNDS):
        if number and time.perf_counter() - begun > ROUNDS_S:
            break
        for place in order.permutation(len(arms)):
            _run(session, row, arms[place], cap_s)


def _compare(session: Session, row: Row, cap_s: float, expected: Answer | None) -> None:
    """The first execution of ours: all its planning, and the rows."""
    began = time.perf_counter()
    first = session.execute(row.sql, timeout_s=cap_s)
    row.first_ms = (time.perf_counter() - began) * 1e3 - first.observation.latency_ms
    if expected is not None:
        keys = sort_keys(row.sql, session.engine.dialect, expected.columns)
        found = difference(expected, Answer(first.columns, first.types, first.fetchall()), keys)
        row.different = found is not None
        row.rows = found or "same"
        return
    entry = row.outcome.entry
    if entry is None:
        return
    if not row.outcome.unfinished:
        row.rows = "same before"
    elif not entry.steering.rewrites:
        row.rows = "same text"
    elif "compared on" in entry.evidence.note:
        row.rows = "parts agree"


def _run(session: Session, row: Row, arm: str, cap_s: float) -> None:
    begun = time.perf_counter()
    if arm != "ours":
        if row.cut_s is not None:
            return
        try:
            session.run_default(row.sql, timeout_s=cap_s)
        except QueryTimeout:
            if row.outcome.entry is None:
                raise
            # It finished once, and not again: what was measured of it is not complete.
            row.cut_s, row.times_ms["default"], row.times_ms["again"] = cap_s, [], []
            return
        row.times_ms[arm].append((time.perf_counter() - begun) * 1e3)
        return
    result = session.execute(row.sql, timeout_s=cap_s)
    took_ms = (time.perf_counter() - begun) * 1e3
    row.times_ms["ours"].append(took_ms)
    row.steered = result.observation.steered
    row.overhead_us.append((took_ms - result.observation.latency_ms) * 1e3)


def _blind_ms(session: Session, row: Row, steering: Steering, cap_s: float) -> float | None:
    """What a plan would take that nothing was proved of here; infinite if it is cut off."""
    from godb_fast.rewriting import rewrites

    engine = session.engine
    prepared = session.optimizer.decide(engine, session.optimizer.scope(engine), row.sql)
    if prepared.known is None:
        return None
    template = prepared.known.template
    rewrites(template, engine.schema())
    # Of a statement that is left alone a decision has none.
    literals = fingerprint(row.sql, engine.dialect).literals
    sent = render_for(engine, template, literals, row.sql, None, steering)
    times = []
    for _ in range(BLIND_RUNS):
        begun = time.perf_counter()
        try:
            engine.run(sent, timeout_s=cap_s)
        except QueryTimeout:
            return float("inf")
        times.append((time.perf_counter() - begun) * 1e3)
    return min(times)
