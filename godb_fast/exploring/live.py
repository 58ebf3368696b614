"""Explores queries on a live engine: baselines, candidates, trials, promotions, each step kept.

The state is saved after every trial (of short ones, four times a second), so that whatever ends it (Ctrl-C,
a killed server, the end of the process) costs the run under way and little else; ``resume`` goes on from
there. It holds no SQL and no literals.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any, Final

from godb_fast.engines.base import Engine
from godb_fast.errors import ConnectionFailed, EngineError, InvalidInput, shown
from godb_fast.exploring.budget import Budget
from godb_fast.exploring.candidates import DEFAULT_ARM, Candidate, candidates
from godb_fast.exploring.choice import ChoiceSettings
from godb_fast.exploring.earlier import Earlier
from godb_fast.exploring.explorer import Explorer, ExplorerSettings, Run
from godb_fast.exploring.noting import NotedRuns
from godb_fast.exploring.openings import openings
from godb_fast.exploring.outcome import ExplorationReport, QueryOutcome, outcome_of
from godb_fast.exploring.proofs import Proofs
from godb_fast.exploring.saving import STATE_VERSION, Saving, key_of
from godb_fast.exploring.shown import ShownRows, Teaches
from godb_fast.exploring.space import PlanSpace
from godb_fast.exploring.subjects import Broken, LiveQuery, Subject, examine
from godb_fast.exploring.survey import SurveySettings
from godb_fast.exploring.triage import classes, triage, weights_of
from godb_fast.exploring.trials import MOST_ROWS, Baseline, LiveExecutor
from godb_fast.exploring.widening import widened
from godb_fast.store import Explorations, TrialStore

#: Seconds that a run costs beside its own time: round trips, and ourselves.
RUN_OVERHEAD_S: Final = 0.002
#: No run of a trial is waited for longer than some thirty years.
LONGEST_CAP_S: Final = 1e9
#: Asking what could be tried may take this share of what the baselines have left of the budget.
ASKING_SHARE: Final = 0.25
#: One that goes on with so many times the budget looks at queries that it had no time for.
MORE: Final = 1.2
#: The survey may take this share of one run of the workload.
SURVEY_SHARE: Final = 0.08
#: What is being done, seconds spent, the budget in seconds, and the workload's time now over the default's.
Progress = Callable[[str, float, float, float], None]


@dataclass(frozen=True)
class LiveSettings:
    """Settings of a live exploration.

    Parameters
    ----------
    cap_s : float
        No run takes longer; a default that has not ended by then counts as this much, and says so.
    """

    cap_s: float = 60.0
    most_rows: int = MOST_ROWS
    seed: int = 0

    def __post_init__(self) -> None:
        cap: Any = self.cap_s
        if isinstance(cap, bool) or not isinstance(cap, Real):
            raise InvalidInput(f"cap_s is {shown(cap)}; give seconds above 0, such as 60.0")
        if not 0.0 < self.cap_s <= LONGEST_CAP_S:
            told = f"{cap} s" if not self.cap_s > LONGEST_CAP_S else f"beyond {LONGEST_CAP_S:g} s"
            raise InvalidInput(f"the cap of a run is {told}; give seconds above 0 and at most that many")


class LiveExploration:
    """One exploration of some queries on one engine. Not thread-safe; the engine is used by it alone.

    Parameters
    ----------
    records : Explorations, optional
        Where promotions and the state are kept; without it, they are in the report only.
    resume : bool
        Go on with what was saved of the same queries on the same database.
    clock : callable
        Seconds since 1970.
    teaches : callable, optional
        Takes what default runs show of row counts, subject by subject.
    trials : TrialStore, optional
        Where all runs are kept for training.
    """

    def __init__(
        self,
        engine: Engine,
        queries: Sequence[LiveQuery],
        settings: LiveSettings | None = None,
        *,
        records: Explorations | None = None,
        resume: bool = False,
        backend: str | None = None,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.time,
        teaches: Teaches | None = None,
        trials: TrialStore | None = None,
    ) -> None:
        if not queries:
            raise InvalidInput("there is no query to explore")
        self.engine = engine
        self.settings = settings or LiveSettings()
        self.epoch = engine.schema_epoch()
        self.database = engine.environment()
        self.notes: list[str] = []
        self._queries = list(queries)
        self._records = records
        self._backend = backend
        self._progress = progress or (lambda what, spent, budget, ratio: None)
        self._clock = clock
        self._baselines: dict[int, Baseline] = {}
        self._explorer: Explorer | None = None
        self._arms: list[str] = [DEFAULT_ARM]
        self._digests: list[list[str]] = []
        self._chosen: list[int] = []
        #: What a former process had explored, until this one goes on with it.
        self._former: dict[str, Any] = {}
        #: Queries for which the budget has no time.
        self._beyond: frozenset[int] = frozenset()
        self._candidates: list[dict[str, Candidate]] = []
        self._budget_s = self._prepared_s = 0.0
        self._exhausted = False
        self._earlier = Earlier(records, engine.name, self.database)
        self._proofs = Proofs(engine, records, self.database, self.epoch, self._earlier, clock)
        begun = time.perf_counter()
        self._examined = [examine(engine, query, backend) for query in self._queries]
        #: Seconds that we took ourselves and that are not charged yet.
        self._own_s = time.perf_counter() - begun
        self._subjects = [entry for entry in self._examined if isinstance(entry, Subject)]
        self._shown = ShownRows(self._subjects, teaches, engine)
        self._executor = LiveExecutor(
            engine,
            self._subjects,
            cap_s=self.settings.cap_s,
            most_rows=self.settings.most_rows,
            learns=self._shown.learn,
        )
        self._noted = None if trials is None else NotedRuns(trials, engine.name, self.database)
        key = key_of(engine.name, self.database, self._queries)
        along = None if self._noted is None else self._noted.save
        self._saving = Saving(records, key, self._state, resume=resume, along=along)
        if self._saving.resumed and self._saving.last is not None:
            self._restore(self._saving.last)

    def run(self, budget: Budget) -> ExplorationReport:
        """Explore until the budget is spent or nothing is worth a run.

        Ctrl-C ends it early: the report says so, and what was found by then is kept.

        Raises
        ------
        ConnectionFailed, EngineError
            If the engine is gone, or the schema changed. The state is kept: resume goes on.
        StoreError
            If the store cannot be written, or another process explores the same.
        """
        interrupted = False
        try:
            self._measure_defaults(budget)
            self._prepare(budget)
            if self._explorer is not None:
                self._drive(self._explorer)
        except KeyboardInterrupt:
            interrupted = True
        except ConnectionFailed as error:
            self._saving.save()
            if self._records is None:
                raise
            raise ConnectionFailed(f"{error}; what was found is kept: resume goes on with it") from error
        try:
            self._forget_refuted()
            self._saving.save()
        except KeyboardInterrupt:
            # One that comes at the very end; another one after it is obeyed at once.
            interrupted = True
            self._forget_refuted()
            self._saving.save()
        return self._report(budget, interrupted)

    # -- baselines and candidates -------------------------------------------------------------------

    def _measure_defaults(self, budget: Budget) -> None:
        """Run the engine's own plans, as many of them as a budget in seconds has room for, one at least."""
        for number, subject in enumerate(self._subjects):
            if number in self._baselines:
                if self._baselines[number].unfinished:
                    self._executor.unfinished(number)
                continue
            spent = self._own_s + self._baselines_s()
            if self._baselines and budget.seconds is not None and spent >= budget.seconds:
                return
            self._progress(f"default of {subject.query.name}", 0.0, math.inf, 1.0)
            self._baselines[number] = self._executor.baseline(number)
            self._saving.save(spare=True)

    def _prepare(self, budget: Budget) -> None:
        """Triage, candidates, and the explorer over them."""
        # What was explored keeps its place, whatever more baselines have shown.
        asked = list(self._former.get("asked", ()))
        triaged = triage(self._baselines, self._subjects)
        self._chosen = asked + [number for number in triaged if number not in asked]
        workload_s, before_s = self._workload_s(), self._own_s + self._baselines_s()
        self._budget_s = budget.seconds_for(workload_s, before_s)
        if not self._chosen:
            return
        if (raised := budget.raised(workload_s, before_s)) is not None:
            self.notes.append(raised)
        if any(subject.query.weight != 1.0 for subject in self._subjects):
            self.notes.append("a query counts as often as it is called, beside what one run of it takes")
        begun, weights = time.perf_counter(), weights_of(self._baselines, self._subjects)
        found = self._all_candidates()
        arms = list(dict.fromkeys(arm for entry in found for arm in entry))
        digests = [[entry.get(arm, entry[DEFAULT_ARM]).digest for arm in arms] for entry in found]
        defaults = [self._baselines[number] for number in self._chosen]
        subjects = [self._subjects[number] for number in self._chosen]
        space = PlanSpace.of(
            digests,
            [entry.seconds for entry in defaults],
            weight=[weights[number] for number in self._chosen],
            groups=classes(subjects),
        )
        saved = self._saving.last or {}
        state = saved.get("explorer")
        spent = self._baselines_s()
        settings = ExplorerSettings(
            choice=ChoiceSettings(overhead_s=RUN_OVERHEAD_S),
            survey=SurveySettings(share=SURVEY_SHARE),
            seed=self.settings.seed,
        )
        first, new = list(openings(subjects, found, arms, defaults, space, self._earlier)), 0
        if state is not None and saved["digests"] != digests:
            wider = widened(state, saved["digests"], digests, Explorer(space, settings), first)
            if wider is None:
                self.notes.append("plans have changed since the exploration was saved: their runs begin anew")
                spent = float(state["spent_s"])
            else:
                new = len(saved["digests"])
            state = wider
        self._arms, self._digests, self._candidates = arms, digests, found
        explorer = Explorer(space, settings, state=state)
        if state is None:
            explorer.charge(spent)
            explorer.suggest(first)
        if state is None or new:
            plans = [entries[DEFAULT_ARM] for entries in found[new:]]
            took = [baseline.seconds for baseline in defaults[new:]]
            self.notes += self._earlier.note_plans(subjects[new:], plans, took, self._clock())
        self._executor = self._executor.narrowed(self._chosen, subjects, found, arms)
        self._explorer = explorer
        self._note_proofs(explorer)
        if self._noted is not None:
            for subject, entries, baseline in zip(subjects, found, defaults, strict=True):
                own = entries[DEFAULT_ARM]
                self._noted.tried(subject, own, own, Run(baseline.seconds, censored=baseline.unfinished))
        self._saving.save()
        explorer.charge(self._own_s + time.perf_counter() - begun)
        self._own_s = 0.0
        if state is None:
            self._prepared_s = explorer.spent_s

    def _all_candidates(self) -> list[dict[str, Candidate]]:
        """Candidates of the queries worth exploring, as far down as the budget has time to try them.

        One that goes on finds those that it had, and with more to spend others.
        """
        begun, saved = time.perf_counter(), self._saving.last or {}
        before = saved.get("digests", ())
        explorer = saved.get("explorer")
        spent_s = self._baselines_s() + self._own_s if explorer is None else float(explorer["spent_s"])
        most_s = ASKING_SHARE * (self._budget_s - spent_s)
        more = not before or self._budget_s >= MORE * float(saved.get("budget_s", math.inf))
        found: list[dict[str, Candidate]] = []
        for number in self._chosen:
            late = not more or time.perf_counter() - begun >= most_s
            if found and len(found) >= len(before) and late:
                break
            self._progress(f"candidates of {self._subjects[number].query.name}", 0.0, math.inf, 1.0)
            found.append(self._candidates_of(number))
        self._beyond = frozenset(self._chosen[len(found) :])
        del self._chosen[len(found) :]
        return found

    def _candidates_of(self, number: int) -> dict[str, Candidate]:
        subject = self._subjects[number]
        more = partial(self._earlier.steerings, subject)
        return candidates(self.engine, subject, more, self._shown.feedback(number))

    def _baselines_s(self) -> float:
        return sum(entry.spent_s for entry in self._baselines.values())

    def _workload_s(self) -> float:
        """What one run of each query takes."""
        return sum(entry.seconds for entry in self._baselines.values())

    # -- trials -------------------------------------------------------------------------------------

    def _drive(self, explorer: Explorer) -> None:
        while True:
            begun = time.perf_counter()
            trial = explorer.next(self._budget_s)
            if trial is None:
                self._exhausted = explorer.spent_s < self._budget_s
                return
            self._progress(
                f"{self._executor.subjects[trial.query].query.name}: {self._arms[trial.arm]}",
                explorer.spent_s,
                self._budget_s,
                explorer.workload_s / explorer.space.workload_s,
            )
            try:
                run = self._executor.run(trial.query, trial.arm, trial.timeout_s)
            except ConnectionFailed as error:
                # It may have been this plan that took the server down: it is not asked for again.
                explorer.record(trial, Run(time.perf_counter() - begun, failed=True))
                self._saving.save()
                name = self._executor.subjects[trial.query].query.name
                raise ConnectionFailed(f"{error} (while {name} ran under {self._arms[trial.arm]})") from error
            except BaseException:
                explorer.charge(time.perf_counter() - begun)
                self._saving.save()
                raise
            if run.failed and self._proofs.now(self._executor.subjects[trial.query]) is None:
                explorer.charge(run.seconds)
                self._saving.save()
                raise EngineError(
                    "tables or views have changed since the exploration began; what was proved before is "
                    "kept, start another one"
                )
            explorer.record(trial, run)
            if self._noted is not None:
                subject, found = self._executor.subjects[trial.query], self._candidates[trial.query]
                self._noted.tried(subject, found.get(self._arms[trial.arm]), found[DEFAULT_ARM], run)
            self._note_proofs(explorer)
            self._saving.save(spare=True)
            # Choosing, comparing and keeping are charged as well.
            explorer.charge(max(0.0, time.perf_counter() - begun - run.seconds - RUN_OVERHEAD_S))

    def _note_proofs(self, explorer: Explorer) -> None:
        baselines = [self._baselines[number] for number in self._chosen]
        self._proofs.note(explorer, self._executor, baselines)

    def _forget_refuted(self) -> None:
        if self._explorer is not None:
            self.notes += self._proofs.forget_refuted(self._explorer, self._executor)

    # -- what is kept -------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "version": STATE_VERSION,
            "cap_s": self.settings.cap_s,
            "budget_s": self._budget_s,
            "baselines": [[number, vars(entry)] for number, entry in self._baselines.items()],
            "shown": self._shown.to_list(),
            "digests": self._digests,
            "asked": self._chosen[: len(self._digests)],
            "explorer": None if self._explorer is None else self._explorer.to_dict(),
        } | (self._former if self._explorer is None else {})

    def _restore(self, state: dict[str, Any]) -> None:
        if state.get("version") != STATE_VERSION:
            raise InvalidInput("the saved exploration is of another version; begin anew, without resume")
        if state["cap_s"] != self.settings.cap_s:
            raise InvalidInput(
                f"the saved exploration cut runs at {state['cap_s']:g} s, not {self.settings.cap_s:g} s; "
                "give the same cap, or begin anew"
            )
        self._baselines = {int(number): Baseline(**entry) for number, entry in state["baselines"]}
        self._shown.restore(state["shown"])
        if state["explorer"] is not None:
            kept = ("budget_s", "digests", "asked", "explorer")
            self._former = {name: state[name] for name in kept if name in state}

    def _report(self, budget: Budget, interrupted: bool) -> ExplorationReport:
        explorer, weights = self._explorer, weights_of(self._baselines, self._subjects)
        place = {number: row for row, number in enumerate(self._chosen)} if explorer is not None else {}
        outcomes: list[QueryOutcome] = []
        number = -1
        for query, examined in zip(self._queries, self._examined, strict=True):
            if isinstance(examined, str):
                broken = isinstance(examined, Broken)
                outcomes.append(QueryOutcome(query.name, reason=f"left alone: {examined}", failed=broken))
                continue
            number += 1
            outcome = self._outcome(number, place.get(number), query)
            outcomes.append(replace(outcome, weight=weights[number]))
        total = self._workload_s()
        gained = 0.0 if explorer is None else explorer.space.workload_s - explorer.workload_s
        return ExplorationReport(
            queries=outcomes,
            budget_s=self._budget_s or (budget.seconds or 0.0),
            spent_s=self._own_s + (self._baselines_s() if explorer is None else explorer.spent_s),
            workload_s=total,
            now_s=total - gained,
            runs=0 if explorer is None else explorer.runs,
            refusals=self._executor.refusals,
            interrupted=interrupted,
            exhausted=self._exhausted,
            curve=[] if explorer is None else explorer.curve,
            notes=self.notes,
            prepared_s=self._own_s + self._baselines_s() if explorer is None else self._prepared_s,
        )

    def _outcome(self, number: int, row: int | None, query: LiveQuery) -> QueryOutcome:
        baseline, explorer = self._baselines.get(number), self._explorer
        reached = number not in self._beyond
        if row is None:
            return outcome_of(query.name, baseline, reached=reached)
        best = 0.0 if explorer is None else min(0.0, float(explorer.seen.best_log_ratio[row]))
        return outcome_of(
            query.name,
            baseline,
            reached=reached,
            plans=len(self._candidates[row]),
            best_ratio=None if explorer is None else math.exp(best),
            entry=self._proofs.entry(row),
        )


__all__ = ["ExplorationReport", "LiveExploration", "LiveSettings", "Progress", "QueryOutcome"]
