"""Runs queries under the engine's plans and under ours, interleaved: the one place where that is measured.

Per query: our decision; a run of each arm that is thrown away, in which the answers are compared; then
rounds of three runs in random order: the engine's plan, the engine's plan again (the A/A row, which shows
the noise), and ours. Our arm is the whole of what a user would call: schema check, planning anew as for
literals not seen before, the steered run under its watchdog, and the fallback where that strikes. A caller
may add arms of its own to the rounds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from godb_fast.core import Decision
from godb_fast.engines.base import ChecksStatements
from godb_fast.errors import GodbError, InvalidInput, QueryTimeout
from godb_fast.evidence.answers import Answer, difference, sort_keys
from godb_fast.exploring.subjects import CHECK_LIMIT_S

if TYPE_CHECKING:
    from godb_fast.session import Result, Session

ARMS: Final = ("default", "again", "ours")
_QUERY: Final = re.compile(r"[\s(]*(?:select|with|from|values|table)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Query:
    """A statement to compare; queries of one ``template`` are summed up in one line."""

    name: str
    sql: str
    template: str = ""
    line: int | None = None


@dataclass(frozen=True)
class Settings:
    """How to compare.

    Parameters
    ----------
    repetitions : int
        Measured rounds per query.
    timeout_s : float
        Limit of each run.
    query_cap_s : float
        No further round of a query begins after this long; one round is always measured.
    mode : str
        Mode of our arm: ``steer`` (default), ``advise``, ``observe`` or ``off``.
    count_cut : bool
        A run that is cut counts as what it took until then, at least the limit, and its query is named; the
        ratio is a bound. Without it, a query whose own plan does not finish is in no ratio.
    """

    repetitions: int = 3
    timeout_s: float = 60.0
    query_cap_s: float = 30.0
    seed: int = 0
    mode: str = "steer"
    count_cut: bool = False

    @classmethod
    def capped(cls, repetitions: int, cap_s: float, seed: int) -> Settings:
        """For what was explored: runs that are cut count; no round begins after five times the cap."""
        return cls(repetitions, cap_s, 5.0 * cap_s, seed, count_cut=True)

    def __post_init__(self) -> None:
        if self.repetitions < 1:
            raise InvalidInput(f"repetitions is {self.repetitions}; at least 1 round is measured")
        if not self.timeout_s > 0 or not self.query_cap_s > 0:
            raise InvalidInput("time limits are seconds above 0")


@dataclass(frozen=True)
class Timed:
    """One measured run; what was ``cut`` ran for at least that long."""

    milliseconds: float
    cut: bool = False
    steered: bool = False


#: Measured runs by query, then by (round, arm).
Known = Mapping[str, Mapping[tuple[int, str], Timed]]
#: Called with query, round, arm and the run after each run that is measured.
OnRun = Callable[[str, int, str, Timed], None]
#: An arm of the caller's: runs the query within so many seconds, or raises QueryTimeout.
Arm = Callable[[Query, float], object]


@dataclass(frozen=True)
class Extras:
    """What a comparison may be given beside its queries.

    Parameters
    ----------
    known
        Runs of an earlier comparison: they are not run again.
    arms
        More arms by name, which take part in every round.
    """

    known: Known = field(default_factory=dict)
    on_run: OnRun | None = None
    arms: Mapping[str, Arm] = field(default_factory=dict)


@dataclass(eq=False)
class QueryRuns:
    """What was seen of one query.

    ``times_ms`` holds one list per arm, equally long. ``outcome`` is ``compared``, ``censored`` (a run of
    the engine's own plan was cut off: no measurement), ``left alone`` (it may do more than read), or
    ``failed``; ``problem`` says why.
    """

    query: Query
    outcome: str = "compared"
    problem: str | None = None
    decision: Decision | None = None
    times_ms: dict[str, list[float]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    #: Microseconds of each planning in our measured runs (a known template, as if its literals were new).
    planning_us: list[float] = field(default_factory=list)
    #: Milliseconds of the first decision: parsing, statistics, the engine's EXPLAIN.
    first_sight_ms: float = 0.0
    #: Milliseconds of a steered first run that was discarded.
    wasted_ms: float = 0.0
    #: Measured runs of our arm that were steered.
    steered_runs: int = 0
    #: Reasons of steered runs that were discarded.
    fallbacks: list[str] = field(default_factory=list)
    #: Why the last run did not follow a decision to steer.
    not_steered: str | None = None
    obeyed: bool | None = None
    rows: int | None = None
    #: How our answer differed; None if it never did.
    difference: str | None = None
    #: The engine's own plan gives different answers from run to run.
    unstable: bool = False
    #: Arms of which a run was cut and counted as the limit.
    cut: set[str] = field(default_factory=set)
    #: Milliseconds of our run where the engine's own plan was cut off.
    censored_ours_ms: float | None = None

    @property
    def steered(self) -> bool:
        """Our measured runs were on a plan of ours."""
        return self.steered_runs > 0

    @property
    def median_ms(self) -> tuple[float, float]:
        """Medians of the default and of ours."""
        return float(np.median(self.times_ms["default"])), float(np.median(self.times_ms["ours"]))

    @property
    def reason(self) -> str:
        """Why this query was steered or left alone."""
        if self.fallbacks and not self.steered:
            return f"fell back: {self.fallbacks[0]}"
        if self.not_steered is not None and not self.steered:
            return f"not steered: {self.not_steered}"
        return self.decision.reason if self.decision is not None else self.problem or ""


@dataclass(eq=False)
class Comparison:
    """All queries of one comparison."""

    queries: list[QueryRuns]
    settings: Settings
    engine: str
    engine_version: str
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def compared(self) -> list[QueryRuns]:
        """Queries with measurements."""
        return [entry for entry in self.queries if entry.outcome == "compared" and entry.times_ms["ours"]]


def compare(
    session: Session,
    queries: Iterable[Query],
    settings: Settings | None = None,
    progress: Callable[[Query], None] | None = None,
    extras: Extras | None = None,
) -> Comparison:
    """Compare the engine's plans with ours on some queries.

    A failing statement is reported and does not stop the others. Ctrl-C ends the comparison early: what was
    measured so far is returned, marked as interrupted.

    Parameters
    ----------
    progress : callable, optional
        Called with each query before it runs.
    """
    settings, extras = settings or Settings(), extras or Extras()
    comparison = Comparison([], settings, session.engine.name, session.engine.version)
    order = np.random.Generator(np.random.PCG64(settings.seed))
    begun = time.perf_counter()
    try:
        for query in queries:
            if progress is not None:
                progress(query)
            runs = QueryRuns(query, times_ms={arm: [] for arm in (*ARMS, *extras.arms)})
            try:
                _Measuring(session, runs, settings, extras).measure(order)
            except QueryTimeout as error:
                # A run near the limit finished once and not again: what was measured is not complete.
                runs.outcome, runs.problem = "censored", str(error)
            except _LeftAlone as error:
                runs.outcome, runs.problem = "left alone", str(error)
            except GodbError as error:
                runs.outcome, runs.problem = "failed", str(error)
            comparison.queries.append(runs)
    except KeyboardInterrupt:
        comparison.interrupted = True
    comparison.seconds = time.perf_counter() - begun
    return comparison


class _LeftAlone(InvalidInput):
    """A statement that runs, and that a comparison must not run."""


class _Measuring:
    """The measuring of one query."""

    def __init__(self, session: Session, runs: QueryRuns, settings: Settings, extras: Extras) -> None:
        self._session, self._runs, self._settings, self._extras = session, runs, settings, extras
        self._known = extras.known.get(runs.query.name, {})
        self._expected: Answer | None = None
        self._keys: tuple[int, ...] = ()

    def measure(self, order: np.random.Generator) -> None:
        """Run everything."""
        runs, settings = self._runs, self._settings
        self._check_pure()
        if not self._complete() and not self._warm_up():
            _censored(self._session, runs, settings)
            return
        spent_ms = 0.0
        names = list(runs.times_ms)
        for number in range(settings.repetitions):
            took: dict[str, Timed] = {}
            for place in order.permutation(len(names)):
                arm = names[int(place)]
                timed = self._known.get((number, arm))
                if timed is None:
                    timed = self._run(arm)
                    if self._extras.on_run is not None:
                        self._extras.on_run(runs.query.name, number, arm, timed)
                took[arm] = timed
            for arm, timed in took.items():
                runs.times_ms[arm].append(timed.milliseconds)
                spent_ms += timed.milliseconds
                if timed.cut:
                    runs.cut.add(arm)
            runs.steered_runs += took["ours"].steered
            if spent_ms > settings.query_cap_s * 1e3:
                break
        if runs.unstable:
            runs.difference = None

    def _check_pure(self) -> None:
        sql = self._runs.query.sql
        effects = self._session.engine.effects(sql)
        if not effects.pure:
            if _QUERY.match(sql):
                # The engine's own words for a misspelt name or bad syntax are better than ours.
                self._session.engine.explain(sql)
            elif isinstance(self._session.engine, ChecksStatements):
                with suppress(QueryTimeout):
                    self._session.engine.check(sql, timeout_s=CHECK_LIMIT_S)
            # What may write would change what the next arm sees.
            raise _LeftAlone(f"not compared: {effects.reason or 'it may do more than read'}")

    def _complete(self) -> bool:
        """Whether an earlier comparison has measured all rounds, or as many as time allowed."""
        arms = list(self._runs.times_ms)
        spent_ms = 0.0
        for number in range(self._settings.repetitions):
            if any((number, arm) not in self._known for arm in arms):
                return False
            spent_ms += sum(self._known[number, arm].milliseconds for arm in arms)
            if spent_ms > self._settings.query_cap_s * 1e3:
                break
        return True

    def _warm_up(self) -> bool:
        """Runs that are thrown away; False where the engine's own plan is cut and that does not count."""
        session, runs, settings = self._session, self._runs, self._settings
        sql, limit = runs.query.sql, settings.timeout_s
        try:
            reference = session.run_default(sql, timeout_s=limit)
        except QueryTimeout:
            if not settings.count_cut:
                return False
        else:
            self._expected = Answer(reference.columns, reference.types, reference.rows)
            self._keys = sort_keys(sql, session.engine.dialect, reference.columns)
            runs.rows = len(reference.rows)
        steers = False
        if settings.mode in ("advise", "steer"):
            # The decision is waited for, also where a session would prepare it in the background; whatever
            # is wrong with it shows in the execution.
            with suppress(GodbError):
                steers = bool(session.optimize(sql).steering)
        if self._expected is not None or steers:
            self._warm_up_ours()
        for arm in self._extras.arms.values():
            with suppress(QueryTimeout):
                arm(runs.query, limit)
        return True

    def _warm_up_ours(self) -> None:
        # As in any session: the first execution decides and takes the engine's plan, for a bound on its time;
        # the second tries ours, profiled, under the watchdog.
        runs = self._runs
        first = self._ours_if_it_ends()
        if first is None:
            return
        if first.decision is not None:
            runs.first_sight_ms = first.decision.total_us / 1e3
        self._check(first)
        if first.decision is not None and first.decision.steering and not first.observation.steered:
            _as_if_new(self._session, runs)
            again = self._ours_if_it_ends()
            if again is None:
                return
            first = again
            self._check(first)
        runs.wasted_ms = first.observation.wasted_ms
        runs.obeyed = first.observation.obeyed if first.observation.steered else None

    def _ours_if_it_ends(self) -> Result | None:
        try:
            return _ours(self._session, self._runs, self._settings)
        except QueryTimeout:
            if not self._settings.count_cut:
                raise
            return None

    def _run(self, arm: str) -> Timed:
        session, runs, limit = self._session, self._runs, self._settings.timeout_s
        if arm == "ours":
            _as_if_new(session, runs)
        begun = time.perf_counter()
        try:
            if arm == "ours":
                result = _ours(session, runs, self._settings)
            elif arm in self._extras.arms:
                self._extras.arms[arm](runs.query, limit)
            else:
                again = session.run_default(runs.query.sql, timeout_s=limit)
        except QueryTimeout:
            if not self._settings.count_cut:
                raise
            took = (time.perf_counter() - begun) * 1e3
            # To every arm by one rule: what a wasted steered run took, and the cutting itself, come on top.
            return Timed(max(limit * 1e3, took), cut=True)
        took = (time.perf_counter() - begun) * 1e3
        if arm == "ours":
            if result.decision is not None:
                runs.planning_us.append(result.decision.total_us)
            self._check(result)
            return Timed(took, steered=result.observation.steered)
        if arm in ("default", "again") and self._expected is not None:
            answer = Answer(again.columns, again.types, again.rows)
            if difference(self._expected, answer, self._keys) is not None:
                runs.unstable = True
        return Timed(took)

    def _check(self, result: Result) -> None:
        if self._runs.difference is None and self._expected is not None:
            self._runs.difference = difference(self._expected, _answer(result), self._keys)


def _as_if_new(session: Session, runs: QueryRuns) -> None:
    """Let the next decision be made as for literals that were not seen before."""
    if runs.decision is not None:
        session.optimizer.scope(session.engine).forget_exact(runs.decision.fingerprint)


def _ours(session: Session, runs: QueryRuns, settings: Settings) -> Result:
    """Our whole arm."""
    result = session.execute(runs.query.sql, mode=settings.mode, timeout_s=settings.timeout_s)
    steered = result.observation.steered
    if result.decision is not None and (steered or not runs.steered_runs):
        # Later a quarantine may have decided otherwise: what the report shows is the plan that ran.
        runs.decision = result.decision
    runs.not_steered = result.observation.fell_back
    if result.observation.fell_back is not None and result.observation.wasted_ms > 0:
        runs.fallbacks.append(result.observation.fell_back)
    return result


def _answer(result: Result) -> Answer:
    return Answer(result.columns, result.types, result.fetchall())


def _censored(session: Session, runs: QueryRuns, settings: Settings) -> None:
    """The engine's own plan ran past the limit: there is a lower bound of its time, and maybe our time."""
    runs.outcome = "censored"
    runs.problem = f"the engine's own plan was stopped after {settings.timeout_s:g} s"
    if settings.mode != "steer":
        return
    try:
        runs.decision = session.optimize(runs.query.sql)
        if not runs.decision.steering:
            return
        begun = time.perf_counter()
        session.run_steered(runs.query.sql, timeout_s=settings.timeout_s)
        runs.censored_ours_ms = (time.perf_counter() - begun) * 1e3
    except GodbError as error:
        runs.problem += f"; ours: {error}"
