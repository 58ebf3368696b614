"""What models chose for regions of a statement: kept between processes, and served after the same checks.

A choice rests on what a proof rests on: what the statement uses, the rows and the statistics of its tables
(:mod:`godb_fast.carrying`); and on its model, which has to be there and sound. Where nothing was chosen, that
is kept as well, so that nobody looks again before a newer model or other statistics say something new.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from godb_fast import recall
from godb_fast.engines.base import Engine
from godb_fast.engines.dependencies import grown
from godb_fast.errors import InvalidInput
from godb_fast.exploring.memo import MemoEntry
from godb_fast.exploring.subjects import region_of
from godb_fast.knowledge import KnownTemplate, Served
from godb_fast.learning.choosing import Choice

#: A plan that turned out like the engine's own, or better, is not given up for what a model says of it.
_AS_GOOD = 1.0


@dataclass(frozen=True)
class RegionChoice:
    """What a model said of a region of a statement, and how that turned out.

    Parameters
    ----------
    entry : MemoEntry
        The plan that was chosen (no steering: the engine's own), on what that rests, and the time of the
        engine's own plan beside which it was chosen.
    choice : Choice
        Why.
    model : str
        Which model (``godb_fast.learning.gates.identity``).
    discarded : mapping of str to str
        Steerings that were chosen here and refused since, with the reason.
    runs, best_s : int, float
        Complete runs of the plan, and the fastest of them.
    """

    entry: MemoEntry
    choice: Choice
    model: str
    discarded: Mapping[str, str] = field(default_factory=dict)
    runs: int = 0
    best_s: float = 0.0

    @property
    def region(self) -> bytes:
        """The region of selectivities; empty for the whole template."""
        return region_of(self.entry.key.bucket)

    @property
    def steers(self) -> bool:
        """Whether another plan than the engine's own was chosen."""
        return bool(self.entry.steering)

    @property
    def ratio(self) -> float | None:
        """Time of its fastest run over that of the engine's own plan; None before the first."""
        return self.best_s / self.entry.evidence.default_s if self.runs else None

    def ran(self, seconds: float) -> RegionChoice:
        """After one more complete run."""
        return replace(self, runs=self.runs + 1, best_s=min(seconds, self.best_s) if self.runs else seconds)

    def without(self, steering: str, reason: str) -> RegionChoice:
        """After its plan was refused."""
        entry = replace(self.entry, steering=type(self.entry.steering)())
        return replace(self, entry=entry, discarded={**self.discarded, steering: reason}, runs=0, best_s=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        entry = self.entry.to_dict()
        return {
            "fingerprint": entry["fingerprint"],
            "bucket": entry["bucket"],
            "basis": self.entry.dependencies or self.entry.epoch,
            "entry": entry,
            "choice": self.choice.to_dict(),
            "model": self.model,
            "discarded": dict(self.discarded),
            "runs": self.runs,
            "best_s": self.best_s,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> RegionChoice:
        """What :meth:`to_dict` wrote; fingerprints come back unsigned.

        Raises
        ------
        InvalidInput
            If it is something else.
        """
        try:
            found = cls(
                MemoEntry.from_dict(raw["entry"]),
                Choice.from_dict(raw["choice"]),
                str(raw["model"]),
                {str(key): str(why) for key, why in raw["discarded"].items()},
                int(raw["runs"]),
                float(raw["best_s"]),
            )
            found.check()
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise InvalidInput(f"what a model chose cannot be read: {error!r}") from error
        return found

    def check(self) -> None:
        """Raise ValueError if a number is not one that can have been."""
        evidence = self.entry.evidence
        numbers = (evidence.default_s, evidence.ratio, self.best_s, self.choice.log_ratio)
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise ValueError(f"numbers that are none: {numbers}")
        if evidence.default_s <= 0.0 or self.runs < 0 or self.entry.key.bucket < 0 or len(self.model) > 500:
            raise ValueError("numbers out of range")


def holds(engine: Engine, known: KnownTemplate, record: RegionChoice, epoch: str) -> bool:
    """Whether what a choice rests on is what there is now."""
    entry = record.entry
    if not entry.dependencies:
        return entry.epoch == epoch and not grown(engine.statistics(), entry.evidence.rows)
    return recall.holds(engine, known, entry)


def served_by(engine: Engine, known: KnownTemplate, record: RegionChoice, database: str) -> Served:
    """A choice with what every call that it serves needs."""
    rewritten = bool(record.entry.steering.rewrites)
    guarded = recall.guards_of(engine, known) if rewritten else set()
    served = recall.served_by(engine, known, record.entry, database, guarded)
    reason = f"not verified: {record.choice.reason}"
    ratio = record.ratio
    if ratio is not None:
        runs = "1 run" if record.runs == 1 else f"{record.runs} runs"
        reason += f"; {runs} so far, {ratio:.2f} × at best"
    model = record.model.partition("@")[0]
    return replace(served, reason=reason, near=recall.NEAREST, choice=record.choice, model=model)


def settled(before: RegionChoice | None, now: RegionChoice) -> RegionChoice:
    """What serves a region after another model looked at it.

    What ran says more than what is predicted: a plan that turned out well is given up only for one that is
    predicted to do better than that.
    """
    if before is None:
        return now
    now = replace(now, discarded={**before.discarded, **now.discarded})
    if before.entry.steering == now.entry.steering:
        return replace(now, runs=before.runs, best_s=before.best_s)
    ratio = before.ratio if before.steers else None
    if ratio is None or ratio > _AS_GOOD or (now.steers and now.entry.evidence.ratio < ratio):
        return now
    evidence = replace(now.entry.evidence, ratio=before.entry.evidence.ratio, note=before.entry.evidence.note)
    entry = replace(now.entry, steering=before.entry.steering, evidence=evidence)
    return replace(now, entry=entry, choice=before.choice, runs=before.runs, best_s=before.best_s)
