"""Two cost models on live traffic: which one's choices run faster, and which one's times are nearer.

Each statement is planned by one of the two, by lot. Of each template, the n-th run under one model is paired
with the n-th under the other, so that templates weigh as they run and their differences cancel. Both models
predict every statement, whichever planned it.

The tests may be looked at after every statement (:mod:`godb_fast.evidence.sequential`): the e-value of the
choice is the mean of a t-test's and a sign test's, which is an e-value again.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from godb_fast.core.ratio import ratio_text
from godb_fast.errors import InvalidInput
from godb_fast.evidence import LogRatioTest, log_ratio_test, sign_evidence

#: Runs of one template that wait for their partner.
_WAITING: Final = 64
#: Templates whose runs wait.
_TEMPLATES: Final = 4096
#: No plan takes e^100 times what another takes.
_MOST_LOG: Final = 100.0


class Arm(Enum):
    """The model that is served, and the one that may replace it."""

    SERVED = "served"
    CANDIDATE = "candidate"


class Outcome(Enum):
    """Where a comparison stands."""

    OPEN = "open"
    CANDIDATE = "the candidate is better"
    SERVED = "the served model is better"
    UNDECIDED = "no difference that matters was found in time"


@dataclass(frozen=True)
class Standing:
    """What is known now.

    Parameters
    ----------
    outcome : Outcome
    latency : LogRatioTest
        Of the candidate's latencies over the served model's, with the interval of their ratio.
    nearer, compared : int
        In how many statements the candidate's predicted time was nearer, of how many.
    reason : str
    """

    outcome: Outcome
    latency: LogRatioTest
    nearer: int
    compared: int
    reason: str


class CostComparison:
    """An A/B test of two cost models.

    Parameters
    ----------
    share : float
        Of the traffic that the candidate plans, in (0, 1).
    alpha : float
        Probability of ever calling one better whose choices are not faster.
    most_pairs : int
        Pairs after which the comparison ends undecided.
    seed : int
        Of the lot.
    """

    def __init__(
        self, *, share: float = 0.5, alpha: float = 0.05, most_pairs: int = 2000, seed: int = 0
    ) -> None:
        if not (0.0 < share < 1.0 and 0.0 < alpha < 1.0 and most_pairs >= 2):
            raise InvalidInput(f"share {share}, alpha {alpha}, most_pairs {most_pairs}: out of range")
        self.share, self.alpha, self.most_pairs, self.seed = share, alpha, most_pairs, seed
        self._log_ratios: list[float] = []
        self._waiting: dict[int, tuple[Arm, deque[float]]] = {}
        self._nearer = self._compared = 0
        self._decided: Outcome | None = None

    def arm(self, execution_id: str) -> Arm:
        """Which model plans a statement; the same for the same execution, in every process."""
        digest = hashlib.blake2b(f"{self.seed}\0{execution_id}".encode(), digest_size=8).digest()
        lot = int.from_bytes(digest, "little") / 2**64
        return Arm.CANDIDATE if lot < self.share else Arm.SERVED

    def saw(
        self,
        arm: Arm,
        fingerprint: int,
        latency_ms: float,
        *,
        predicted: tuple[float, float] | None = None,
    ) -> None:
        """A complete run.

        Parameters
        ----------
        arm : Arm
            That planned it.
        predicted : (float, float), optional
            Milliseconds that the served model and the candidate predicted for the plan that ran.

        Raises
        ------
        InvalidInput
            If a time is not positive.
        """
        for value in (latency_ms, *(predicted or ())):
            if not (math.isfinite(value) and value > 0.0):
                raise InvalidInput(f"{value} is not a time in milliseconds")
        if self._decided is not None:
            return
        if predicted is not None:
            errors = [abs(math.log(latency_ms / each)) for each in predicted]
            if errors[0] != errors[1]:
                self._compared += 1
                self._nearer += errors[1] < errors[0]
        self._pair(arm, fingerprint, latency_ms)

    def _pair(self, arm: Arm, fingerprint: int, latency_ms: float) -> None:
        other, waiting = self._waiting.pop(fingerprint, (arm, deque[float](maxlen=_WAITING)))
        if other is arm:
            waiting.append(latency_ms)
        else:
            partner = waiting.popleft()
            ratio = latency_ms / partner if arm is Arm.CANDIDATE else partner / latency_ms
            self._log_ratios.append(math.log(ratio))
        if waiting:
            while len(self._waiting) >= _TEMPLATES:
                self._waiting.pop(next(iter(self._waiting)))
            self._waiting[fingerprint] = other, waiting
        self._decide()

    def _decide(self) -> None:
        pairs = len(self._log_ratios)
        enough = 1.0 / self.alpha
        # Half of alpha to each side.
        if self._evidence(1) >= 2.0 * enough:
            self._decided = Outcome.CANDIDATE
        elif self._evidence(-1) >= 2.0 * enough:
            self._decided = Outcome.SERVED
        elif pairs >= self.most_pairs:
            self._decided = Outcome.UNDECIDED

    def _evidence(self, side: int) -> float:
        """E-value that the candidate (1) or the served model (-1) is not the faster one."""
        if not self._log_ratios:
            return 1.0
        wins = sum(side * value < 0.0 for value in self._log_ratios)
        decided = sum(value != 0.0 for value in self._log_ratios)
        test = log_ratio_test(self._log_ratios)
        faster = (test.ratio < 1.0) if side > 0 else (test.ratio > 1.0)
        # The t-test is of any difference: it speaks for a side only where the mean lies there.
        return 0.5 * ((test.evidence if faster else 0.0) + sign_evidence(wins, decided))

    @property
    def standing(self) -> Standing:
        """May be looked at after every statement."""
        test = log_ratio_test(self._log_ratios, alpha=self.alpha)
        outcome = self._decided or Outcome.OPEN
        reason = (
            f"{outcome.value}: {test.pairs} pairs, latency ratio {ratio_text(test.ratio, 3)} "
            f"[{ratio_text(test.low, 3)}, {ratio_text(test.high, 3)}], "
            f"nearer in {self._nearer} of {self._compared} predictions"
        )
        return Standing(outcome, test, self._nearer, self._compared, reason)

    def take_in(self, before: CostComparison | None, theirs: CostComparison) -> None:
        """Add the pairs that another process saw since both began with ``before`` (None: with none)."""
        pairs, nearer, compared = (
            (0, 0, 0) if before is None else (len(before._log_ratios), before._nearer, before._compared)
        )
        if self._decided is not None:
            return
        self._log_ratios += theirs._log_ratios[pairs:]
        self._nearer += max(theirs._nearer - nearer, 0)
        self._compared += max(theirs._compared - compared, 0)
        self._decide()

    def to_dict(self) -> dict[str, Any]:
        """Plain data; runs that wait for a partner are left out."""
        return {
            "share": self.share,
            "alpha": self.alpha,
            "most_pairs": self.most_pairs,
            "seed": self.seed,
            "log_ratios": list(self._log_ratios),
            "nearer": self._nearer,
            "compared": self._compared,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> CostComparison:
        """What :meth:`to_dict` wrote.

        Raises
        ------
        InvalidInput
            If it cannot be read.
        """
        try:
            made = cls(
                share=float(raw["share"]),
                alpha=float(raw["alpha"]),
                most_pairs=int(raw["most_pairs"]),
                seed=int(raw["seed"]),
            )
            made._log_ratios = [float(value) for value in raw["log_ratios"]]
            made._nearer, made._compared = int(raw["nearer"]), int(raw["compared"])
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise InvalidInput(f"a kept comparison of cost models cannot be read: {error!r}") from error
        possible = all(abs(value) <= _MOST_LOG for value in made._log_ratios)
        if not possible or not 0 <= made._nearer <= made._compared:
            raise InvalidInput("a kept comparison of cost models is damaged")
        made._decide()
        return made
