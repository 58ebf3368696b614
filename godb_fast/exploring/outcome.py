"""What a live exploration came to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from godb_fast.exploring.memo import MemoEntry
from godb_fast.exploring.trials import Baseline, Refusal


@dataclass(frozen=True)
class QueryOutcome:
    """What exploration came to for one query.

    ``reason`` says why it was left alone, where it was, and ``failed`` that it does not run at all; ``arm``
    is the promoted one, with its evidence; ``best_s`` the best time that any candidate was seen to take,
    proved or not. ``weight`` is what its time counts in that of the workload, 1 where all are called alike.
    """

    name: str
    default_s: float = 0.0
    unfinished: bool = False
    plans: int = 0
    reason: str = ""
    arm: str | None = None
    entry: MemoEntry | None = None
    best_s: float | None = None
    failed: bool = False
    weight: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "default_s": self.default_s,
            "unfinished": self.unfinished,
            "plans": self.plans,
            "reason": self.reason,
            "failed": self.failed,
            "arm": self.arm,
            "best_s": self.best_s,
            "weight": self.weight,
            "promoted": None if self.entry is None else self.entry.to_dict(),
        }


def outcome_of(
    name: str,
    baseline: Baseline | None,
    *,
    reached: bool = True,
    plans: int | None = None,
    best_ratio: float | None = None,
    entry: MemoEntry | None = None,
) -> QueryOutcome:
    """What exploration came to for a query.

    Parameters
    ----------
    baseline : Baseline or None
        None where not even the engine's own plan was run.
    reached : bool
        Whether the budget had time for its candidates.
    plans : int or None
        Its candidates; None where they were not worth looking for.
    best_ratio : float or None
        The best time that any of them was seen to take, over that of the engine's own plan.
    entry : MemoEntry or None
        What was proved.
    """
    if baseline is None:
        return QueryOutcome(name, reason="not reached")
    outcome = QueryOutcome(name, baseline.seconds, baseline.unfinished)
    if baseline.problem is not None:
        return replace(outcome, reason=f"left alone: {baseline.problem}", failed=baseline.failed)
    if not reached:
        return replace(outcome, reason="left alone: the budget did not reach it")
    if plans is None:
        return replace(outcome, reason="left alone: too little of the workload's time")
    best_s = None if best_ratio is None else best_ratio * baseline.seconds
    outcome = replace(outcome, plans=plans, best_s=best_s)
    if entry is None:
        return replace(outcome, reason="nothing better was proved")
    return replace(outcome, arm=entry.evidence.note.partition(";")[0], entry=entry)


@dataclass
class ExplorationReport:
    """What an exploration found, and what it cost.

    Parameters
    ----------
    workload_s, now_s : float
        One run of the workload under default plans, and under what was promoted (as measured on the way:
        a fair comparison is another run). Where queries are called more or less often, the shares of its
        time are those of the calls.
    prepared_s : float
        The part of ``spent_s`` that went by before the first trial: the engine's own plans are run and
        profiled, candidates are planned. In workload-times a budget is not known before, so that this may
        be more than all of it.
    """

    queries: list[QueryOutcome]
    budget_s: float
    spent_s: float
    workload_s: float
    now_s: float
    runs: int
    refusals: list[Refusal] = field(default_factory=list)
    interrupted: bool = False
    exhausted: bool = False
    curve: list[tuple[float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    prepared_s: float = 0.0

    @property
    def overspent(self) -> str | None:
        """By how much the budget was exceeded, and why; None if it was not."""
        over = self.spent_s - self.budget_s
        if over <= 0.0 or not self.budget_s:
            return None
        if self.prepared_s > self.budget_s:
            return (
                f"{over:.2g} s over the budget: running the engine's own plans and planning others took "
                f"{self.prepared_s:.2g} s, which left nothing for trials; give a larger one"
            )
        return f"{over:.2g} s over the budget: answers of the last run were compared and kept"

    @property
    def promoted(self) -> list[QueryOutcome]:
        """Queries for which something better was proved."""
        return [entry for entry in self.queries if entry.entry is not None]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "queries": [entry.to_dict() for entry in self.queries],
            "budget_s": self.budget_s,
            "spent_s": self.spent_s,
            "workload_s": self.workload_s,
            "now_s": self.now_s,
            "runs": self.runs,
            "refusals": [vars(entry) for entry in self.refusals],
            "interrupted": self.interrupted,
            "exhausted": self.exhausted,
            "curve": self.curve,
            "notes": self.notes,
            "prepared_s": self.prepared_s,
            "overspent": self.overspent,
        }
