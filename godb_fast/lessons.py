"""What executions of one database taught its optimizer, when that is asked, and when more is to be learned.

Correcting the estimates of a query costs some milliseconds, and a profiled run some per cent: so both are for
queries whose own plan was seen to take longer than ``Policy.learn_from_ms``. Of these a first run per region
of selectivities is profiled, and a sample of all later ones, so that a change of the data is noticed; neither
takes more than a share of their time (``Policy.learn_share``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from godb_fast.core.forking import renews_locks
from godb_fast.feedback import Corrections, TemplateFeedback
from godb_fast.feedback.costs import AdaptiveCostModel, CostScope, CostTrial, Stage, join_costs
from godb_fast.planning.block_planner import RowsBySet
from godb_fast.planning.draft import OwnPlans
from godb_fast.planning.proposal import TemplatePlanner
from godb_fast.spending import Spending

if TYPE_CHECKING:
    from godb_fast.core import Observation
    from godb_fast.engines.base import Parameters
    from godb_fast.feedback.costs import Outcome
    from godb_fast.knowledge import KnownTemplate, OnTrial
    from godb_fast.store import KeptCorrections, KeptCosts

#: Runs per region that are profiled at first (another one of the same plan would show the same), and one of
#: how many after that.
FIRST: Final = 1
EVERY: Final = 50
#: So often is it asked what was learned of a template before that may be found too dear.
_TRIES: Final = 2
#: In place of an epoch: what earlier versions kept knew tables by their names alone.
TABLES_WITH_COLUMNS: Final = "tables with columns"
#: Seconds between two writes to the store; the last one is when a session closes.
SAVE_EVERY_S: Final = 300.0


class _Saved:
    """Writes what has changed to a store, now and then. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        renews_locks(self)
        self._unsaved = False
        self._saved_at = time.monotonic()

    def _changed(self) -> None:
        with self._lock:
            self._unsaved = True

    def _keep(self) -> None:
        """Write everything, if there is a store."""
        raise NotImplementedError

    def save(self, *, now: bool = False) -> None:
        """Write to the store what it does not hold yet, ``now`` or when the last time is long ago.

        Raises
        ------
        StoreError
            If it cannot be written; the next time tries again.
        """
        with self._lock:
            if not self._unsaved or not (now or time.monotonic() - self._saved_at >= SAVE_EVERY_S):
                return
            self._unsaved, self._saved_at = False, time.monotonic()
        try:
            self._keep()
        except BaseException:
            self._changed()
            raise


class Lessons(_Saved):
    """Corrections of one database. Safe to share between threads.

    They know a table by its name and columns, and a view by what it reads, so that a change of the catalogue
    makes strangers of those that it touches, and of no others.

    Parameters
    ----------
    engine, database : str
        Whose executions teach.
    least_ms : float
        What a query's own plan takes at least.
    share : float
        Of its time that asking for corrections may take.
    kept : KeptCorrections or None
        Where they are kept between processes.

    Raises
    ------
    StoreError
        If the store cannot be read.
    InvalidInput
        If what it keeps is of another format, or damaged.
    """

    def __init__(
        self,
        engine: str,
        database: str,
        least_ms: float,
        share: float,
        kept: KeptCorrections | None = None,
    ) -> None:
        self._least_ms = least_ms
        self._share = share
        self._kept = None if kept is None else kept.shared(engine, database)
        super().__init__()
        state = None if self._kept is None else self._kept.read()
        self.corrections = Corrections() if state is None else Corrections.from_dict(state)
        self.corrections.enter(TABLES_WITH_COLUMNS)
        #: How often what was learned was not asked for, since that takes too long for the query.
        self.spared = 0

    def apply_to(self, known: KnownTemplate, bucket: bytes) -> bool:
        """Whether what was learned is to be asked for queries of a template in a region."""
        return self.corrections.clock > 0 and known.baseline_ms.get(bucket, 0.0) >= self._least_ms

    def corrected(
        self,
        known: KnownTemplate,
        bucket: bytes,
        literals: Sequence[Any],
        params: Parameters,
        own: OwnPlans,
    ) -> dict[int, RowsBySet]:
        """Rows by set of the blocks of which something is known, for a query in a region."""
        feedback = self._of(known) if self.apply_to(known, bucket) else None
        if feedback is None:
            return {}
        if self._too_dear(known, bucket):
            self.spared += 1
            return {}
        begun = time.perf_counter()
        found = feedback.corrected(literals, params, own)
        took_ms = (time.perf_counter() - begun) * 1e3
        asked, best_ms = known.corrections_ms
        known.corrections_ms = asked + 1, min(took_ms, best_ms)
        return found

    def _too_dear(self, known: KnownTemplate, bucket: bytes) -> bool:
        asked, best_ms = known.corrections_ms
        return asked >= _TRIES and best_ms > self._share * known.baseline_ms.get(bucket, 0.0)

    def learn(
        self, known: KnownTemplate, observation: Observation, literals: Sequence[Any], params: Parameters
    ) -> int:
        """Learn from one execution; of how many sub-plans it showed the rows."""
        feedback = self._of(known)
        seen = 0 if feedback is None else feedback.learn(observation, literals, params)
        if seen:
            self._changed()
        return seen

    def learn_apart(
        self, planner: TemplatePlanner, observation: Observation, literals: Sequence[Any], params: Parameters
    ) -> None:
        """Learn from an execution of a template that this process need not know."""
        if TemplateFeedback(planner, self.corrections).learn(observation, literals, params):
            self._changed()

    def _of(self, known: KnownTemplate) -> TemplateFeedback | None:
        if known.feedback is None and known.planner is not None:
            known.feedback = TemplateFeedback(known.planner, self.corrections)
        return known.feedback or None

    def _keep(self) -> None:
        if self._kept is not None:
            self._kept.write(self.corrections.to_dict, self.corrections.take_in)


class CostLessons(_Saved):
    """What operators cost on one database, as its executions show. Safe to share between threads.

    Parameters
    ----------
    scope : CostScope
        Whose executions teach.
    kept : KeptCosts or None
        Where that is kept between processes.

    Raises
    ------
    StoreError
        If the store cannot be read.
    InvalidInput
        If what it keeps is of another format, or damaged.
    """

    def __init__(self, scope: CostScope, kept: KeptCosts | None = None) -> None:
        self._kept = None if kept is None else kept.shared(scope.engine, scope.database, scope.machine)
        super().__init__()
        state = None if self._kept is None else self._kept.read()
        self.model = AdaptiveCostModel(scope) if state is None else AdaptiveCostModel.from_dict(state, scope)
        trial = None if state is None else state.get("trial")
        self.trial = CostTrial(scope.engine) if trial is None else CostTrial.from_dict(trial, scope.engine)
        self._told = 0

    def learn(self, observation: Observation) -> str | None:
        """Learn from one execution; why nothing was learned, None if something was."""
        reason = self.model.observe(observation)
        if reason is None:
            self._changed()
        return reason

    def measured(self, observations: Sequence[Observation]) -> int:
        """Learn from a measurement as a whole; how many of its executions taught something.

        It stands for itself where what was known rests on no more than that, and comes in addition else.

        Raises
        ------
        InvalidInput
            If none of them can teach anything.
        """
        model = AdaptiveCostModel(self.model.scope)
        count = model.fit(observations)
        if count >= self.model.seen:
            self.model, self._told = model, 0
        else:
            for observation in observations:
                self.model.observe(observation)
        self._changed()
        return count

    def try_learned(self) -> bool:
        """Put what was learned on trial, if that is worth it; whether a trial began."""
        model = self.model
        begun = self.trial.comparison is None and self.trial.consider(
            join_costs(model.scope.engine, model.coefficients(), model.exercised()), model.seen
        )
        if begun:
            self._changed()
        return begun

    def compare(self, run: OnTrial, latency_ms: float) -> Outcome:
        """Take in a run by one of two models of costs; where the trial stands."""
        found = self.trial.saw(run.arm, run.candidate, run.decision.fingerprint, latency_ms)
        self._changed()
        return found

    def drift(self) -> str | None:
        """Drift of costs that was seen since this was last asked."""
        transitions = self.model.transitions
        news, self._told = transitions[self._told :], len(transitions)
        return next((each.reason for each in news if each.after is Stage.FROZEN), None)

    def _keep(self) -> None:
        if self._kept is not None:
            self._kept.write(self._state, self._take_in)

    def _state(self) -> dict[str, Any]:
        return self.model.to_dict() | {"trial": self.trial.to_dict()}

    def _take_in(self, before: dict[str, Any] | None, theirs: dict[str, Any]) -> None:
        """Of two models the one that rests on more executions stays; trials are added up."""
        other = AdaptiveCostModel.from_dict(theirs, self.model.scope)
        if "trial" in theirs:
            self.trial.take_in(None if before is None else before.get("trial"), theirs["trial"])
        settled = all(stage is Stage.SERVING for stage in self.model.stages.values())
        if settled and other.seen > self.model.seen:
            self.model, self._told = other, 0


def wants_profile(known: KnownTemplate, bucket: bytes, spending: Spending) -> bool:
    """Whether the next run of a slow query is to be profiled; counts it.

    One for which there is nothing left to spend stays due.
    """
    runs = known.slow_runs.get(bucket, 0) + 1
    due = runs <= FIRST or runs > EVERY
    profiled = due and spending.affords(known.baseline_ms.get(bucket, 0.0))
    spending.put_off += due and not profiled
    known.slow_runs[bucket] = (FIRST if profiled else runs - 1) if due else runs
    return profiled
