"""The explorer: a state machine that says what to run next and takes in what became of it.

It knows no engine. :meth:`Explorer.next` names a trial, :meth:`Explorer.record` takes its outcome, and
between the two nothing has changed: whoever drives it may stop, save :meth:`Explorer.to_dict`, and go on in
another process with the same trial. :meth:`Explorer.explore` is the plain driver over an :class:`Executor`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import InvalidInput
from godb_fast.exploring.choice import Calibration, Choice, ChoiceSettings, as_dict, choose
from godb_fast.exploring.latency_model import LatencyModel, ModelSettings
from godb_fast.exploring.observations import REFUSED, Observations
from godb_fast.exploring.promotion import DEFAULT_CUT, PairEvidence, PairRule, Standing
from godb_fast.exploring.space import Floats, PlanSpace
from godb_fast.exploring.survey import SurveySettings, survey

STATE_VERSION: Final = 2
#: What suggestions have shown is confirmed before a survey if that pays within so many runs of the workload.
CONFIRM_WITHIN: Final = 3.0


class Role(Enum):
    """What a trial is for."""

    EXPLORE = "explore"
    CANDIDATE = "candidate"
    DEFAULT = "default"


@dataclass(frozen=True)
class Trial:
    """One run that the explorer asks for; an executor must stop it at ``timeout_s``."""

    query: int
    arm: int
    timeout_s: float
    role: Role = Role.EXPLORE


@dataclass(frozen=True)
class Run:
    """What became of a trial.

    Parameters
    ----------
    seconds : float
        How long it ran. Of a ``censored`` run (cut at its timeout) this is a lower bound and the charge,
        never a time of the plan.
    failed : bool
        The engine refused or aborted it for another reason; the plan is never run again.
    """

    seconds: float
    censored: bool = False
    failed: bool = False


class Executor(Protocol):
    """Runs a query under an arm."""

    def run(self, query: int, arm: int, timeout_s: float) -> Run:
        """Run once, cut at the timeout. An exception leaves the exploration as it was before the trial."""
        ...


@dataclass(frozen=True)
class ExplorerSettings:
    """Settings of an exploration.

    Parameters
    ----------
    confirm : str
        ``pairs``: an arm is promoted once interleaved pairs have confirmed it; ``none``: once one run was
        faster than the default's known time (for stored runtimes, which carry no noise).
    batch_share : float
        The model is consulted after each run at first, and later after this share of the runs so far.
    fit_share : float
        The arms' vectors are fitted anew after this share of the runs so far.
    """

    confirm: str = "pairs"
    rule: PairRule = field(default_factory=PairRule)
    model: ModelSettings = field(default_factory=ModelSettings)
    choice: ChoiceSettings = field(default_factory=ChoiceSettings)
    survey: SurveySettings = field(default_factory=SurveySettings)
    batch_share: float = 0.05
    fit_share: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class Promotion:
    """An arm that queries may be steered to.

    ``ratio`` is its time over the default's; ``evidence`` the pairs that confirmed it, None without
    confirmation.
    """

    query: int
    arm: int
    plan: int
    ratio: float
    evidence: PairEvidence | None = None


class Explorer:
    """Explores a space of plans under a budget in seconds.

    Parameters
    ----------
    space : PlanSpace
    settings : ExplorerSettings
    state : dict, optional
        What :meth:`to_dict` of an explorer of the same space and settings returned.

    Raises
    ------
    InvalidInput
        If ``confirm`` is unknown or the state belongs to another space or version.
    """

    def __init__(
        self, space: PlanSpace, settings: ExplorerSettings | None = None, state: dict[str, Any] | None = None
    ) -> None:
        self.space = space
        self.settings = settings = settings or ExplorerSettings()
        if settings.confirm not in ("none", "pairs"):
            raise InvalidInput(f"confirm is {settings.confirm!r}; give 'none' or 'pairs'")
        self.seen = Observations.start(space)
        self.spent_s = 0.0
        self.runs = 0
        #: Improvements: (seconds spent, seconds of the workload under promoted arms).
        self.curve: list[tuple[float, float]] = []
        #: Seconds of one run of the workload under the promoted arms, by what was measured.
        self.workload_s = space.workload_s
        self._model = LatencyModel(space, settings.model, settings.seed)
        self._calibration = Calibration(space.classes)
        self._known: NDArray[np.bool_] = np.ones(space.queries, dtype=np.bool_)
        self._promoted: dict[int, Promotion] = {}
        self._evidence: dict[int, PairEvidence] = {}
        self._agenda: list[Choice | int] = []
        self._candidate_s: float | None = None
        #: What had been spent when the survey began.
        self._surveyed_from_s: float | None = None
        self._fitted = 0
        self._consulted = -1
        if state is not None:
            self._restore(state)

    def admit(self, known: NDArray[np.bool_]) -> None:
        """Only the queries marked here have arrived; the others wait. All have, unless this is called."""
        self._known = np.array(known, dtype=np.bool_)

    def suggest(self, tries: Sequence[tuple[int, int, float]]) -> None:
        """Plans to try before anything else, in this order.

        Parameters
        ----------
        tries : sequence of (query, arm, share)
            Each is cut at this share of the query's default time.

        Raises
        ------
        InvalidInput
            If something is under way already, or there is no such query, arm or share.
        """
        if self._agenda or self.runs:
            raise InvalidInput("suggestions come before the first run")
        for query, arm, share in tries:
            inside = 0 <= query < self.space.queries and 0 < arm < self.space.arms
            if not (inside and 0.0 < share <= 1.0):
                raise InvalidInput(f"cannot try arm {arm} of query {query} for {share} × its default time")
            plan = int(self.space.plans[query, arm])
            if plan != self.space.first_plan[query]:
                self._agenda.append(Choice(query, plan, math.log(share), 0.0, 0.0))

    def next(self, budget_s: float = math.inf) -> Trial | None:
        """The trial to run now, cut so that ``budget_s`` is kept; None if the budget or the plans ran out.

        Asking again without recording gives the same trial.
        """
        # Each run costs a little beside its own time.
        left = budget_s - self.spent_s - self.settings.choice.overhead_s
        if left <= 0.0:
            return None
        if not self._agenda:
            self._plan()
        if not self._agenda:
            return None
        self._confirm_at_once()
        item = self._agenda[0]
        if isinstance(item, Choice):
            arm, role = int(self.space.arm_of_plan[item.plan]), Role.EXPLORE
            query = item.query
            # Something better may have been found since this was planned.
            limit = min(item.log_timeout, float(self.seen.best_log_ratio[query]))
            timeout = math.exp(limit) * self._default(query)
        elif self._candidate_s is None:
            query, role = item, Role.CANDIDATE
            arm, timeout = int(self.space.arm_of_plan[self.seen.best[item]]), self._full_timeout(item)
        else:
            query, role, arm, timeout = item, Role.DEFAULT, 0, self._full_timeout(item)
        return Trial(query, arm, min(timeout, left), role)

    def record(self, trial: Trial, run: Run) -> None:
        """Take in the outcome of the trial that :meth:`next` named, and charge it.

        Raises
        ------
        InvalidInput
            If no trial is due for that query, or the time is not a positive number.
        """
        item = self._agenda[0] if self._agenda else None
        due = item.query if isinstance(item, Choice) else item
        if due != trial.query:
            raise InvalidInput(f"no trial of query {trial.query} is due")
        if not (math.isfinite(run.seconds) and run.seconds >= 0.0) or (run.seconds == 0.0 and not run.failed):
            raise InvalidInput(f"a run took {run.seconds} s; give a positive number")
        self.spent_s += run.seconds + self.settings.choice.overhead_s
        self.runs += 1
        if isinstance(item, Choice):
            del self._agenda[0]
            self._explored(item, run)
        else:
            self._confirmed(trial, run)

    def charge(self, seconds: float) -> None:
        """Charge time that no outcome came of: a run that was interrupted, say.

        Raises
        ------
        InvalidInput
            If it is negative or not finite.
        """
        if not (math.isfinite(seconds) and seconds >= 0.0):
            raise InvalidInput(f"cannot charge {seconds} s")
        self.spent_s += seconds

    def explore(
        self,
        executor: Executor,
        budget_s: float,
        progress: Callable[[Explorer, Trial, Run], None] | None = None,
    ) -> None:
        """Run trials until ``budget_s`` seconds in all are spent or nothing is worth a run.

        Whatever the executor raises, KeyboardInterrupt included, passes through and leaves a state from
        which the exploration can go on.
        """
        while (trial := self.next(budget_s)) is not None:
            run = executor.run(trial.query, trial.arm, trial.timeout_s)
            self.record(trial, run)
            if progress is not None:
                progress(self, trial, run)

    def refused(self) -> set[tuple[int, int]]:
        """(query, arm) of what failed, or lost its confirmation."""
        refused = np.argwhere(self.seen.kind[self.space.plans] == REFUSED)
        return {(int(query), int(arm)) for query, arm in refused}

    def promotions(self) -> list[Promotion]:
        """Arms that have beaten the default, by query."""
        return [self._promoted[query] for query in sorted(self._promoted)]

    def evidence(self, query: int) -> PairEvidence | None:
        """The pairs run for the query's present candidate."""
        return self._evidence.get(query)

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data, which JSON keeps to the bit; with space and settings enough to go on."""
        return {
            "version": STATE_VERSION,
            "plans": self.space.plan_count,
            "seen": self.seen.to_dict(),
            "spent_s": self.spent_s,
            "runs": self.runs,
            "workload_s": self.workload_s,
            "curve": [list(point) for point in self.curve],
            "model": self._model.to_dict(),
            "won": self._calibration.won.tolist(),
            "expected": self._calibration.expected.tolist(),
            "known": self._known.tolist(),
            "promoted": [_promotion_to_dict(entry) for entry in self.promotions()],
            "evidence": [[query, pairs.to_dict()] for query, pairs in sorted(self._evidence.items())],
            "agenda": [as_dict(item) if isinstance(item, Choice) else item for item in self._agenda],
            "candidate_s": self._candidate_s,
            "surveyed_from_s": self._surveyed_from_s,
            "fitted": self._fitted,
            "consulted": self._consulted,
        }

    def _restore(self, raw: dict[str, Any]) -> None:
        if raw.get("version") != STATE_VERSION or raw.get("plans") != self.space.plan_count:
            raise InvalidInput(
                f"the saved exploration has version {raw.get('version')} and {raw.get('plans')} plans, "
                f"this one {STATE_VERSION} and {self.space.plan_count}; start anew"
            )
        self.seen = Observations.from_dict(raw["seen"])
        self.spent_s, self.runs = float(raw["spent_s"]), int(raw["runs"])
        self.workload_s = float(raw["workload_s"])
        self.curve = [(float(spent), float(workload)) for spent, workload in raw["curve"]]
        self._model.restore(raw["model"])
        self._calibration.won = np.array(raw["won"], dtype=np.float64)
        self._calibration.expected = np.array(raw["expected"], dtype=np.float64)
        self._known = np.array(raw["known"], dtype=np.bool_)
        self._promoted = {int(entry["query"]): _promotion_from_dict(entry) for entry in raw["promoted"]}
        self._evidence = {int(query): PairEvidence.from_dict(pairs) for query, pairs in raw["evidence"]}
        self._agenda = [Choice(**item) if isinstance(item, dict) else int(item) for item in raw["agenda"]]
        self._candidate_s = None if raw["candidate_s"] is None else float(raw["candidate_s"])
        begun = raw["surveyed_from_s"]
        self._surveyed_from_s = None if begun is None else float(begun)
        self._fitted, self._consulted = int(raw["fitted"]), int(raw["consulted"])

    def _default(self, query: int) -> float:
        return float(self.space.default_s[query])

    def _full_timeout(self, query: int) -> float:
        """Where the next run of a pair is cut, unless the budget ends before."""
        return self._default(query) if self._candidate_s is None else DEFAULT_CUT * self._candidate_s

    def _plan(self) -> None:
        """Take the next few trials from the survey, and when it is done, from the model."""
        if self._surveyed_from_s is None:
            # What suggestions have shown is confirmed before anything is asked that nobody knows.
            rates = self._pair_rates() if self.settings.confirm == "pairs" else np.zeros(1)
            most = int(np.argmax(rates))
            if rates[most] >= 1.0 / CONFIRM_WITHIN:
                self._agenda = [most]
                return
            self._surveyed_from_s = self.spent_s
        if self.spent_s - self._surveyed_from_s < self.settings.survey.share * self.space.workload_s:
            due = survey(self.space, self.seen, self.settings.survey, self._known, 4)
            if due:
                self._agenda = [Choice(query, plan, limit, 0.0, 0.0) for query, plan, limit in due]
                return
        if self._consulted != self.runs:
            self._model.update(self.seen)
            if self.runs >= self._fitted * (1.0 + self.settings.fit_share):
                self._model.fit()
                self._model.update(self.seen)
                self._fitted = self.runs + 1
            self._consulted = self.runs
        choices = choose(
            self.space,
            self._model,
            self.seen,
            self._calibration,
            self.settings.choice,
            count=max(1, int(self.settings.batch_share * self.runs)),
            known=self._known,
        )
        self._agenda = list(choices)
        if self.settings.confirm == "pairs":
            self._plan_pairs(choices)

    def _plan_pairs(self, choices: list[Choice]) -> None:
        """Put confirmations that pay more per second than the best exploration before it."""
        threshold = choices[0].rate if choices else 0.0
        rates = self._pair_rates()
        due = np.nonzero(rates > threshold)[0]
        due = due[np.argsort(-rates[due], kind="stable")][: max(1, len(choices))]
        if due.size:
            self._agenda = [int(query) for query in due]

    def _confirm_at_once(self) -> None:
        """Between suggestions, confirm what pays for its confirmation within one run of the workload."""
        item = self._agenda[0]
        if isinstance(item, Choice) and item.rate == 0.0 and self.settings.confirm == "pairs":
            rates = self._pair_rates()
            due = int(np.argmax(rates))
            if rates[due] >= 1.0:
                self._agenda.insert(0, due)

    def _pair_rates(self) -> Floats:
        """Seconds gained per second by confirming a query's best plan in pairs; 0 if none is due."""
        ratio = np.exp(self.seen.best_log_ratio)
        promoted = np.ones(self.space.queries)
        for query, entry in self._promoted.items():
            promoted[query] = entry.ratio
        gain = np.where(self._known & (self.seen.best != self.space.first_plan), promoted - ratio, 0.0)
        pairs_left = np.full(self.space.queries, 5.0)
        for query, evidence in self._evidence.items():
            pairs_left[query] = max(1.0, 5.0 - evidence.pairs)
        for query, entry in self._promoted.items():
            if entry.plan == self.seen.best[query]:
                gain[query] = 0.0
        overhead = 2.0 * self.settings.choice.overhead_s / self.space.default_s
        cost = pairs_left * ((1.0 + DEFAULT_CUT) * ratio + overhead)
        rates: Floats = np.maximum(gain, 0.0) / cost
        return rates

    def _explored(self, choice: Choice, run: Run) -> None:
        query, plan = choice.query, choice.plan
        finished = not run.failed and not run.censored
        if choice.rate > 0.0:
            self._calibration.note(int(self.space.group[query]), choice.probability, finished)
        if run.failed:
            self.seen.refuse(self.space, query, plan)
            return
        log_ratio = math.log(run.seconds / self._default(query))
        if run.censored:
            self.seen.censored(plan, log_ratio)
            return
        if self.seen.measured(query, plan, log_ratio):
            self._evidence.pop(query, None)
            if self.settings.confirm == "none":
                self._promote(query, plan, math.exp(log_ratio), None)

    def _confirmed(self, trial: Trial, run: Run) -> None:
        query, plan = trial.query, int(self.seen.best[trial.query])
        evidence = self._evidence.setdefault(query, PairEvidence())
        if trial.role is Role.CANDIDATE and not run.failed and not run.censored:
            self._candidate_s = run.seconds
            return
        # A run that the end of the budget has cut short tells nothing: the pair is void.
        void = run.censored and trial.timeout_s < self._full_timeout(query)
        if trial.role is Role.CANDIDATE and not void:
            evidence.candidate_cut()
        elif trial.role is Role.DEFAULT and not void and not run.failed:
            assert self._candidate_s is not None
            evidence.pair(self._candidate_s, run.seconds)
        self._candidate_s = None
        del self._agenda[0]
        standing = self.settings.rule.standing(evidence)
        if standing is Standing.PROMOTED:
            ratio = min(evidence.ratio, math.exp(float(self.seen.log_ratio[plan])))
            self._promote(query, plan, ratio, evidence)
            del self._evidence[query]
        elif standing is Standing.REFUTED:
            self.seen.refuse(self.space, query, plan)
            del self._evidence[query]

    def _promote(self, query: int, plan: int, ratio: float, evidence: PairEvidence | None) -> None:
        before = self._promoted[query].ratio if query in self._promoted else 1.0
        self.workload_s -= (before - ratio) * self._default(query) * float(self.space.weight[query])
        self._promoted[query] = Promotion(query, int(self.space.arm_of_plan[plan]), plan, ratio, evidence)
        self.curve.append((self.spent_s, self.workload_s))


def _promotion_to_dict(entry: Promotion) -> dict[str, Any]:
    raw = dict(vars(entry))
    raw["evidence"] = None if entry.evidence is None else entry.evidence.to_dict()
    return raw


def _promotion_from_dict(raw: dict[str, Any]) -> Promotion:
    evidence = None if raw["evidence"] is None else PairEvidence.from_dict(raw["evidence"])
    return Promotion(int(raw["query"]), int(raw["arm"]), int(raw["plan"]), float(raw["ratio"]), evidence)
