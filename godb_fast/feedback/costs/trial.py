"""Which coefficients plan joins: those that are served, or learned ones on trial beside them.

Learned coefficients that weigh joins otherwise than the served ones come on trial: of the statements that the
two plan differently, each takes the plan of one of them by lot (:mod:`comparison`). What runs faster serves
from then on; what does not is not tried again, unless what is learned later is something else.
"""

from __future__ import annotations

import math
import secrets
import threading
from dataclasses import fields
from typing import Any, Final

from godb_fast.core import CostModel
from godb_fast.core.forking import renews_locks
from godb_fast.errors import InvalidInput
from godb_fast.feedback.costs.comparison import Arm, CostComparison, Outcome
from godb_fast.feedback.costs.joining import apart
from godb_fast.planning.calibration import cost_model

#: Executions that learned coefficients rest on before they are tried.
LEAST_SEEN: Final = 30
#: Coefficients that differ by less, clocks aside, plan alike.
LEAST_APART: Final = 1.25
#: After so many slow statements that both plan alike there is nothing to find out.
MOST_ALIKE: Final = 2_000
#: Trials whose end is remembered.
_MOST_PAST: Final = 20
#: No row costs more nanoseconds, nor less than one by it, unless nothing.
_MOST: Final = 1e12
_FORMAT: Final = 1


class CostTrial:
    """The coefficients that are served, those on trial, and how former trials ended. Thread-safe.

    Parameters
    ----------
    engine : str
        ``Engine.name``: its coefficients before any feedback are served at first.

    Attributes
    ----------
    served : CostModel
    candidate : CostModel or None
        On trial.
    comparison : CostComparison or None
        Of the two.
    past : list of str
        How former trials ended.
    """

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.served = cost_model(engine)
        self.candidate: CostModel | None = None
        self.comparison: CostComparison | None = None
        self.past: list[str] = []
        self._refuted: list[CostModel] = []
        self._alike = 0
        self._lock = threading.Lock()
        renews_locks(self)

    def consider(self, learned: CostModel | None, seen: int) -> bool:
        """Put learned coefficients on trial, if that is worth it; whether a trial began.

        Parameters
        ----------
        seen : int
            Executions that they rest on.
        """
        with self._lock:
            if learned is None or self.comparison is not None or seen < LEAST_SEEN:
                return False
            if any(apart(learned, known) < LEAST_APART for known in (self.served, *self._refuted)):
                return False
            self.candidate, self.comparison = learned, CostComparison()
            return True

    def draw(self) -> Arm:
        """Which of the two plans the next statement, by lot."""
        comparison = self.comparison
        return Arm.SERVED if comparison is None else comparison.arm(secrets.token_hex(8))

    def saw(self, arm: Arm, candidate: CostModel, fingerprint: int, latency_ms: float) -> Outcome:
        """A complete run of a statement that the two planned differently; where the trial stands.

        Parameters
        ----------
        candidate : CostModel
            What was on trial when the statement was planned; a trial that ended meanwhile learns nothing.
        latency_ms : float
            With everything that the plan cost: a discarded run as well.
        """
        with self._lock:
            comparison = self.comparison
            if comparison is None or candidate != self.candidate:
                return Outcome.OPEN
            self._alike = 0
            comparison.saw(arm, fingerprint, latency_ms)
            return self._ended(candidate, comparison)

    def _ended(self, candidate: CostModel, comparison: CostComparison) -> Outcome:
        """Where a trial stands; if it is decided, it ends."""
        standing = comparison.standing
        if standing.outcome is not Outcome.OPEN:
            self.past = [*self.past, standing.reason][-_MOST_PAST:]
            if standing.outcome is Outcome.CANDIDATE:
                self.served, self._refuted = candidate, []
            else:
                self._refuted = [*self._refuted, candidate][-_MOST_PAST:]
            self.candidate = self.comparison = None
        return standing.outcome

    def alike(self) -> None:
        """A slow statement is planned alike by both (or what one of them would do is refused for good)."""
        with self._lock:
            self._alike += 1
            if self.candidate is None or self._alike < MOST_ALIKE:
                return
            ended = f"ended: of the last {MOST_ALIKE:,} slow statements none was planned differently"
            self.past = [*self.past, ended][-_MOST_PAST:]
            self._refuted = [*self._refuted, self.candidate][-_MOST_PAST:]
            self.candidate = self.comparison = None
            self._alike = 0

    def take_in(self, before: dict[str, Any] | None, theirs: dict[str, Any]) -> None:
        """Take in what another process found out.

        Pairs of the same trial are added up. A trial that ended there ends here as well, unless one has ended
        here meanwhile.

        Parameters
        ----------
        before : dict or None
            The state (of :meth:`to_dict`) that both began with; None if they began with nothing.
        theirs : dict
            What the other one made of it.

        Raises
        ------
        InvalidInput
            If theirs is of another format, or damaged.
        """
        other = CostTrial.from_dict(theirs, self.engine)
        first = CostTrial(self.engine) if before is None else CostTrial.from_dict(before, self.engine)
        with self._lock:
            mine, candidate = self.comparison, self.candidate
            if other.comparison is not None and mine is not None and other.candidate == candidate is not None:
                mine.take_in(first.comparison if first.candidate == candidate else None, other.comparison)
                self._ended(candidate, mine)
            elif self.past == first.past and (other.past != first.past or mine is None):
                self.served, self.past, self._refuted = other.served, other.past, other._refuted
                self.candidate, self.comparison = other.candidate, other.comparison
                self._alike = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        with self._lock:
            return {
                "format": _FORMAT,
                "served": _plain(self.served),
                "candidate": None if self.candidate is None else _plain(self.candidate),
                "comparison": None if self.comparison is None else self.comparison.to_dict(),
                "past": list(self.past),
                "refuted": [_plain(each) for each in self._refuted],
            }

    @classmethod
    def from_dict(cls, raw: dict[str, Any], engine: str) -> CostTrial:
        """What :meth:`to_dict` wrote.

        Raises
        ------
        InvalidInput
            If it is of another format, or damaged.
        """
        made = cls(engine)
        try:
            if raw["format"] != _FORMAT:
                raise InvalidInput(f"trial of costs of format {raw['format']!r}, not {_FORMAT}")
            made.served = _read(raw["served"])
            made.past = [str(each) for each in raw["past"]]
            made._refuted = [_read(each) for each in raw["refuted"]]
            if raw["candidate"] is not None and raw["comparison"] is not None:
                made.candidate = _read(raw["candidate"])
                made.comparison = CostComparison.from_dict(raw["comparison"])
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"a kept trial of costs cannot be read: {error!r}") from error
        return made


_NUMBERS: Final = tuple(entry.name for entry in fields(CostModel) if entry.name != "name")


def _plain(model: CostModel) -> dict[str, Any]:
    """JSON knows no infinity."""
    numbers = {name: getattr(model, name) for name in _NUMBERS}
    return {"name": model.name} | {
        name: value if math.isfinite(value) else None for name, value in numbers.items()
    }


def _read(raw: dict[str, Any]) -> CostModel:
    numbers = {name: math.inf if raw[name] is None else float(raw[name]) for name in _NUMBERS}
    for name, value in numbers.items():
        # Only these two forbid their operator.
        forbids = math.isinf(value) and raw[name] is None and name in ("lookup", "sort")
        if not (value == 0.0 or forbids or 1.0 / _MOST <= value <= _MOST):
            raise InvalidInput(f"the kept cost coefficient {name} is {raw[name]}")
    return CostModel(**numbers, name=str(raw["name"]))
