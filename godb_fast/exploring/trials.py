"""Runs trials on an engine, and compares what they answer with what the default answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from godb_fast.core import PhysicalPlan
from godb_fast.engines.base import Analyzes, Engine, EngineResult, Guards, Rendered, offers
from godb_fast.engines.cutting import kept, uncertain
from godb_fast.errors import (
    ConnectionFailed,
    EngineBusy,
    EngineError,
    QueryCancelled,
    QueryTimeout,
    ResultTooLarge,
)
from godb_fast.evidence.answers import Answer, difference, sort_keys
from godb_fast.exploring.candidates import Candidate
from godb_fast.exploring.explorer import Run
from godb_fast.exploring.slices import compare_slices
from godb_fast.exploring.subjects import Subject, unbound
from godb_fast.exploring.undisturbed import undisturbed

#: A result of more rows is not explored: both answers would have to be held to compare them.
MOST_ROWS: Final = 1_000_000
#: A default that takes less is run twice, and the better run counts: the first one warms the caches.
RUN_TWICE_S: Final = 0.05
#: Times the cap of a run that comparing the parts of one query may take.
PARTS_SHARE: Final = 1.0
LEAST_FOR_PARTS_S: Final = 10.0
#: Where an engine counts rows only in runs whose result is thrown away, a default of at most this share of
#: the cap is run for them once more, for at most so many times as long.
ANALYZED_SHARE: Final = 0.25
ANALYZED_SLOWDOWN: Final = 3.0

#: Takes a subject's number and the plan of an execution of its default, with actual rows.
Learns = Callable[[int, PhysicalPlan], None]


@dataclass(frozen=True)
class Baseline:
    """What the default plan of a query took.

    ``unfinished`` says that it was cut at ``seconds``; ``problem`` why it cannot be explored, and ``failed``
    that the engine would not run it. ``handed_on`` are the rows that its operators handed on, where they were
    counted.
    """

    seconds: float
    unfinished: bool = False
    rows: int | None = None
    problem: str | None = None
    spent_s: float = 0.0
    failed: bool = False
    handed_on: float | None = None


@dataclass(frozen=True)
class Refusal:
    """A candidate that the engine refused, or that answered otherwise."""

    query: str
    arm: str
    why: str
    differs: bool = False


class LiveExecutor:
    """Runs (query, arm) on an engine.

    Parameters
    ----------
    candidates : sequence of mapping
        Per subject its candidates by arm; an arm that is missing there has the default's plan.
    arms : sequence of str
        Names by number; the first is the default.
    learns : callable, optional
        What executions of the default show is for it.
    """

    def __init__(
        self,
        engine: Engine,
        subjects: Sequence[Subject],
        candidates: Sequence[Mapping[str, Candidate]] = (),
        arms: Sequence[str] = (),
        *,
        cap_s: float,
        most_rows: int = MOST_ROWS,
        learns: Learns | None = None,
    ) -> None:
        self.engine = engine
        self._learns = learns
        self.subjects = subjects
        self.candidates = candidates
        self.arms = arms
        self.cap_s = cap_s
        self.most_rows = most_rows
        self.refusals: list[Refusal] = []
        #: How rewrites were compared, by query and arm, where the default does not finish.
        self.parts: dict[tuple[int, str], str] = {}
        #: Why queries could not be compared in parts: no other rewrite of them is tried.
        self._uncut: dict[int, str] = {}
        self._answers: dict[int, Answer] = {}
        self._unfinished: set[int] = set()
        #: Queries whose rows tie where their LIMIT cuts: no answer of theirs is certain.
        self._tied: set[int] = set()

    def baseline(self, query: int) -> Baseline:
        """Run the default plan, and keep its answer.

        Raises
        ------
        ConnectionFailed, QueryCancelled
        """
        begun = time.perf_counter()
        try:
            result = self._default(query, profile=self._learns is not None)
            took = result.latency_ms / 1e3
            if took < min(RUN_TWICE_S, self.cap_s / 2):
                took = min(took, self._default(query).latency_ms / 1e3)
        except QueryTimeout:
            self._unfinished.add(query)
            return Baseline(self.cap_s, True, spent_s=time.perf_counter() - begun)
        except (ConnectionFailed, QueryCancelled):
            raise
        except ResultTooLarge:
            problem = f"its result has more than {self.most_rows:,} rows"
            return Baseline(0.0, problem=problem, spent_s=time.perf_counter() - begun)
        except EngineError as error:
            spent_s = time.perf_counter() - begun
            what_to_do = unbound(self.subjects[query].query, self.engine.dialect)
            return Baseline(0.0, problem=f"{error}{what_to_do}", spent_s=spent_s, failed=True)
        self._keep(query, result)
        self._learn(query, result, took)
        return Baseline(
            max(took, 1e-6),
            rows=len(result.rows),
            spent_s=time.perf_counter() - begun,
            handed_on=None if result.plan is None else result.plan.handed_on(),
        )

    def _learn(self, query: int, result: EngineResult, took_s: float) -> None:
        """Hand on the actual rows of a run of the default; it is run for them if that is not too dear."""
        if self._learns is None:
            return
        plan = result.plan
        if self.engine.capabilities.profile or not offers(self.engine, Analyzes):
            if plan is not None:
                self._learns(query, plan)
            return
        if took_s > ANALYZED_SHARE * self.cap_s:
            return
        limit = max(ANALYZED_SLOWDOWN * took_s, 0.1)
        try:
            plan = cast("Analyzes", self.engine).analyze(self._plain(query), timeout_s=limit)
        except (ConnectionFailed, QueryCancelled):
            raise
        except EngineError:
            # Counting rows may take several times as long as not to.
            return
        self._learns(query, plan)

    def narrowed(
        self,
        numbers: Sequence[int],
        subjects: Sequence[Subject],
        candidates: Sequence[Mapping[str, Candidate]],
        arms: Sequence[str],
    ) -> LiveExecutor:
        """An executor for the subjects of these numbers alone; what was answered is kept."""
        other = LiveExecutor(
            self.engine, subjects, candidates, arms, cap_s=self.cap_s, most_rows=self.most_rows
        )
        for row, number in enumerate(numbers):
            if number in self._answers:
                other._answers[row] = self._answers[number]
            if number in self._unfinished:
                other._unfinished.add(row)
        return other

    def unfinished(self, query: int) -> None:
        """The default of a query is known not to finish: what it answers is not known either."""
        self._unfinished.add(query)

    def run(self, query: int, arm: int, timeout_s: float) -> Run:
        """Run once, cut at the timeout.

        Raises
        ------
        ConnectionFailed, QueryCancelled, EngineBusy
            Which tell nothing about the plan.
        """
        name = self.arms[arm]
        candidate = self.candidates[query].get(name)
        trial = candidate is not None and arm != 0
        sent = candidate.rendered if candidate is not None and trial else self._plain(query)
        if trial and offers(self.engine, Guards):
            sent = cast("Guards", self.engine).guarded(sent)
        if arm and query in self._tied:
            return Run(0.0, failed=True)
        begun = time.perf_counter()
        try:
            result = self._undisturbed(sent, timeout_s)
        except QueryTimeout:
            return Run(timeout_s, censored=True)
        except (ConnectionFailed, QueryCancelled, EngineBusy):
            raise
        except EngineError as error:
            self.refusals.append(Refusal(self.subjects[query].query.name, name, str(error)))
            return Run(time.perf_counter() - begun, failed=True)
        seconds = max(result.latency_ms / 1e3, 1e-6)
        if arm and candidate is not None:
            certain = kept(sent, result)
            if certain is None:
                self._tied.add(query)
                self.refusals.append(Refusal(self.subjects[query].query.name, name, uncertain(sent)))
                return Run(seconds, failed=True)
            differs = self._differs(query, candidate, certain)
            if differs is not None:
                # What could not be compared is not believed; that is not to say that it differs.
                told = query not in self._uncut
                self.refusals.append(Refusal(self.subjects[query].query.name, name, differs, differs=told))
                return Run(seconds, failed=True)
        return Run(seconds)

    def compared(self, query: int) -> bool:
        """Whether candidates of a query are compared with the default's answer."""
        return query in self._answers

    def _plain(self, query: int) -> Rendered:
        subject = self.subjects[query]
        return Rendered(subject.query.sql, subject.query.params)

    def _default(self, query: int, *, profile: bool = False) -> EngineResult:
        # An engine that would merely explain does that elsewhere.
        profile = profile and self.engine.capabilities.profile
        return self._undisturbed(self._plain(query), self.cap_s, profile=profile)

    def _undisturbed(self, sent: Rendered, timeout_s: float, *, profile: bool = False) -> EngineResult:
        """A run that neither a standby's replay nor other statements got in the way of."""
        return undisturbed(
            lambda: self.engine.run(sent, timeout_s=timeout_s, max_rows=self.most_rows, profile=profile)
        )

    def _keep(self, query: int, result: EngineResult) -> None:
        self._answers[query] = Answer(result.columns, result.types, result.rows)

    def _differs(self, query: int, candidate: Candidate, result: EngineResult) -> str | None:
        expected = self._answers.get(query)
        if expected is None and query not in self._unfinished:
            # An exploration that goes on in another process asks again.
            try:
                self._keep(query, self._default(query))
            except QueryTimeout:
                self._unfinished.add(query)
            expected = self._answers.get(query)
        if expected is None:
            # Settings and join trees cannot change an answer; other words can.
            return self._differs_in_parts(query, candidate) if candidate.rewritten else None
        subject = self.subjects[query]
        keys = sort_keys(subject.query.sql, self.engine.dialect, expected.columns)
        return difference(expected, Answer(result.columns, result.types, result.rows), keys)

    def _differs_in_parts(self, query: int, candidate: Candidate) -> str | None:
        """Where the default does not finish, other words are believed once parts of the query agree."""
        if (query, candidate.arm) in self.parts:
            return None
        if query in self._uncut:
            return self._uncut[query]
        found = compare_slices(
            self.engine,
            self.subjects[query],
            candidate.steering,
            self._undisturbed,
            limit_s=self.cap_s,
            total_s=max(PARTS_SHARE * self.cap_s, LEAST_FOR_PARTS_S),
            settings=[entry.steering for entry in self.candidates[query].values() if entry.first],
        )
        if found.differs is not None:
            return f"{found.differs}; for example: {found.example}"
        if not found.enough:
            compared = f"{found.agreed} of its parts agree" if found.by else "it cannot be cut into parts"
            why = f"the default did not finish, and too little says that the answer is right: {compared}"
            self._uncut[query] = why
            return why
        self.parts[query, candidate.arm] = f"compared on {found.agreed} parts, by {found.by}"
        return None
