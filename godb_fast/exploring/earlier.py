"""What earlier explorations left behind: steerings to verify again, and what the engine's plans were then.

An engine's own plan of a query may change (new statistics, another version, another setting) and be slower
than before. Each exploration therefore keeps the default plan's digest, its time and its join trees; where
the next one finds another plan that is slower, the former join trees are candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from godb_fast.core import Steering
from godb_fast.exploring.candidates import Candidate
from godb_fast.exploring.memo import MemoEntry, MemoKey
from godb_fast.exploring.subjects import Subject, bucket_number
from godb_fast.store import Explorations

_UNSIGNED: Final = 2**64 - 1
#: Another default plan that takes more than this times what the former took is a regression of the engine.
SLOWER: Final = 1.2
#: A former plan is cut at this many times what it took then.
PATIENCE: Final = 1.5
FORMER_ARM: Final = "the engine's former plan"
PROVED_ARM: Final = "proved earlier"


@dataclass(frozen=True)
class FormerPlan:
    """The engine's own plan of a query, as an exploration saw it.

    Parameters
    ----------
    digest : str
    seconds : float
        What it took; where it was cut, until then.
    trees : Steering
        Its join trees; empty if they cannot be asked for.
    at_s : float
        When, in seconds since 1970.
    """

    digest: str
    seconds: float
    trees: Steering
    at_s: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "trees": self.trees.to_json()}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> FormerPlan:
        """What :meth:`to_dict` wrote."""
        return cls(raw["digest"], raw["seconds"], Steering.from_json(raw["trees"]), raw["at_s"])


def key_of(subject: Subject) -> MemoKey:
    """The memo's key of a query."""
    return MemoKey(subject.template.fingerprint & _UNSIGNED, bucket_number(subject.region))


class Earlier:
    """What a store keeps of one database. Without a store, nothing."""

    def __init__(self, records: Explorations | None, engine: str, database: str) -> None:
        self._records = records
        self._where = engine, database
        self._entries: dict[MemoKey, MemoEntry] = {}
        self._plans: dict[MemoKey, FormerPlan] = {}
        if records is not None:
            for raw in records.remembered(engine, database):
                entry = MemoEntry.from_dict(raw)
                self._entries[entry.key] = entry
            for fingerprint, bucket, plan in records.default_plans(engine, database):
                self._plans[MemoKey(int(fingerprint, 16), int(bucket))] = FormerPlan.from_dict(plan)

    def steerings(self, subject: Subject, digest: str) -> Iterator[tuple[str, Steering]]:
        """What is a candidate because of what was there before, by arm; ``digest`` is the default plan's."""
        entry = self._entries.get(key_of(subject))
        if entry is not None:
            yield PROVED_ARM, entry.steering
        former = self._former(subject, digest)
        if former is not None:
            yield FORMER_ARM, former.trees

    def to_verify(self, subject: Subject, digest: str, default_s: float) -> Iterator[tuple[Steering, float]]:
        """What to verify first, and the seconds that it may take; ``digest`` is the default plan's."""
        entry = self._entries.get(key_of(subject))
        if entry is not None:
            yield entry.steering, default_s
        former = self._former(subject, digest)
        if former is not None and default_s > SLOWER * former.seconds:
            yield former.trees, PATIENCE * former.seconds

    def _former(self, subject: Subject, digest: str) -> FormerPlan | None:
        """The engine's former plan of a query, if it was another and can be asked for."""
        former = self._plans.get(key_of(subject))
        return former if former is not None and former.digest != digest and former.trees else None

    def entry(self, subject: Subject) -> MemoEntry | None:
        """What was proved of a query."""
        return self._entries.get(key_of(subject))

    def forget(self, entry: MemoEntry) -> None:
        """What was proved does not hold any more."""
        self._entries.pop(entry.key, None)
        if self._records is not None:
            self._records.forget(*self._where, entry.to_dict())

    def note_plans(
        self, subjects: Sequence[Subject], own: Sequence[Candidate], took_s: Sequence[float], at_s: float
    ) -> list[str]:
        """Keep the engine's own plans as they are now; says where they are others than before, and slower."""
        plans = [
            (subject, FormerPlan(entry.digest, seconds, entry.trees, at_s))
            for subject, entry, seconds in zip(subjects, own, took_s, strict=True)
        ]
        worse = []
        for subject, plan in plans:
            former = self._plans.get(key_of(subject))
            if former is None or former.digest == plan.digest or plan.seconds <= SLOWER * former.seconds:
                continue
            done = "is tried" if former.trees else "cannot be asked for again"
            worse.append(
                f"{subject.query.name}: the engine's own plan has changed, and takes {plan.seconds:.3g} s "
                f"instead of {former.seconds:.3g} s; the former one {done}"
            )
        self._keep_plans(plans)
        return worse

    def _keep_plans(self, plans: Sequence[tuple[Subject, FormerPlan]]) -> None:
        """Of a query whose plan has changed, the faster one."""
        if self._records is None:
            return
        kept: list[tuple[str, str, dict[str, Any]]] = []
        for subject, plan in plans:
            key = key_of(subject)
            former = self._plans.get(key)
            if former is not None and former.digest != plan.digest and former.seconds < plan.seconds:
                continue
            self._plans[key] = plan
            kept.append((f"{key.fingerprint:016x}", str(key.bucket), plan.to_dict()))
        self._records.keep_default_plans(*self._where, kept)
