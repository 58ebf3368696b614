"""What follows from drift: freeze, retrain, shadow, and then promote or roll back.

::

    serving ──drift──► frozen ──enough new samples: retrain──► shadow ──better──► serving (the candidate)
                                                                 └──not better──► serving (the former model)

While frozen the served model learns nothing more, so that what drifted cannot spoil it. The candidate is
fitted to samples seen since the drift alone; in shadow both predict every statement before it is learned, and
a sequential test (valid at every look) of their absolute log errors decides. No decision within the patience
is a roll-back. A model that was promoted is the one served from then on; the former is kept until the next
drift.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from godb_fast.errors import InvalidInput
from godb_fast.evidence import sign_evidence
from godb_fast.feedback.costs.drift import Adwin, PageHinkley
from godb_fast.feedback.costs.predictor import CostPredictor
from godb_fast.feedback.costs.samples import CostSample

#: Beyond this a log error says nothing more: single outliers are no drift.
_CLIP: Final = 3.0


class Stage(Enum):
    """Where a model stands."""

    SERVING = "serving"
    FROZEN = "frozen"
    SHADOW = "shadow"


@dataclass(frozen=True)
class LifecycleTuning:
    """When a stage ends.

    Parameters
    ----------
    fresh : int
        Samples since the drift from which a candidate is fitted.
    alpha : float
        Probability of ever promoting a candidate that predicts no better.
    patience : int
        Statements in shadow after which the former model stays.
    threshold, tolerance : float
        Of the Page–Hinkley test on log errors.
    confidence : float
        Of ADWIN.
    """

    fresh: int = 60
    alpha: float = 0.05
    patience: int = 200
    threshold: float = 25.0
    tolerance: float = 0.05
    confidence: float = 0.002


@dataclass(frozen=True)
class Transition:
    """A change of stage; ``reason`` says why, ``at`` after how many samples."""

    at: int
    before: Stage
    after: Stage
    reason: str


class CostLifecycle:
    """A served predictor, and what happens to it under drift.

    Parameters
    ----------
    predictor : CostPredictor
    tuning : LifecycleTuning, optional
    view : str
        In which errors are watched and compared.
    backend : str, optional
        Of the detectors' kernels.
    """

    def __init__(
        self,
        predictor: CostPredictor,
        tuning: LifecycleTuning | None = None,
        *,
        view: str = "estimated",
        backend: str | None = None,
    ) -> None:
        self.tuning = tuning or LifecycleTuning()
        if self.tuning.fresh < 2 or self.tuning.patience < 1 or not 0 < self.tuning.alpha < 1:
            raise InvalidInput(f"{self.tuning}: fresh is at least 2, patience at least 1, alpha in (0, 1)")
        self.served = predictor
        self.candidate: CostPredictor | None = None
        self.former: CostPredictor | None = None
        self.stage = Stage.SERVING
        self.transitions: list[Transition] = []
        self.samples = 0
        self._view = view
        self._backend = backend
        self._fresh: deque[CostSample] = deque(maxlen=self.tuning.fresh)
        self._wins = self._pairs = self._shadowed = 0
        self._watch()

    def observe(self, sample: CostSample) -> Transition | None:
        """Take one more executed statement; the change of stage that it led to, if any."""
        self.samples += 1
        error = self.served.log_ratio(sample, self._view)
        if self.stage is Stage.SERVING:
            drift = self._drifted(error)
            if drift is None:
                self.served.update(sample)
                return None
            self._fresh.clear()
            self._fresh.append(sample)
            return self._go(Stage.FROZEN, drift)
        if self.stage is Stage.FROZEN:
            self._fresh.append(sample)
            if len(self._fresh) < self.tuning.fresh:
                return None
            return self._retrain()
        return self._compare(sample, error)

    def freeze(self, reason: str) -> Transition:
        """Stop learning, and retrain from what comes: on drift that somebody else noticed."""
        if self.stage is not Stage.SERVING:
            raise InvalidInput(f"the cost model is {self.stage.value} already")
        self._fresh.clear()
        return self._go(Stage.FROZEN, reason)

    def roll_back(self, reason: str) -> Transition:
        """Serve the model again that was served before the last promotion.

        Raises
        ------
        InvalidInput
            If none was promoted.
        """
        if self.former is None:
            raise InvalidInput("there is no former cost model to go back to: none was promoted")
        self.served, self.former, self.candidate = self.former, None, None
        self._watch()
        return self._go(Stage.SERVING, reason)

    def _drifted(self, error: float) -> str | None:
        value = min(max(error, -_CLIP), _CLIP)
        if self._page_hinkley.update([value]).any():
            return "drift: Page-Hinkley test of log errors"
        if self._adwin.update([value]).any():
            return "drift: ADWIN of log errors"
        return None

    def _retrain(self) -> Transition:
        candidate = CostPredictor(self.served.engine, self.served.tuning, prior=self.served)
        candidate.fit(list(self._fresh))
        self.candidate = candidate
        self._wins = self._pairs = self._shadowed = 0
        return self._go(Stage.SHADOW, f"retrained from {len(self._fresh)} statements since the drift")

    def _compare(self, sample: CostSample, error: float) -> Transition | None:
        assert self.candidate is not None
        other = self.candidate.log_ratio(sample, self._view)
        self._shadowed += 1
        if abs(other) != abs(error):
            self._pairs += 1
            self._wins += abs(other) < abs(error)
        # What it predicted is noted: now it may learn.
        self.candidate.update(sample)
        enough = 1.0 / self.tuning.alpha
        if sign_evidence(self._wins, self._pairs) >= enough:
            self.served, self.former, self.candidate = self.candidate, self.served, None
            self._watch()
            return self._go(Stage.SERVING, f"promoted: nearer in {self._wins} of {self._pairs} statements")
        worse = sign_evidence(self._pairs - self._wins, self._pairs) >= enough
        if worse or self._shadowed >= self.tuning.patience:
            self.candidate = None
            self._watch()
            return self._go(
                Stage.SERVING, f"rolled back: nearer in only {self._wins} of {self._pairs} statements"
            )
        return None

    def _go(self, stage: Stage, reason: str) -> Transition:
        transition = Transition(self.samples, self.stage, stage, reason)
        self.transitions.append(transition)
        self.stage = stage
        return transition

    def _watch(self) -> None:
        """Start the detectors anew."""
        tuning = self.tuning
        self._page_hinkley = PageHinkley(
            threshold=tuning.threshold, tolerance=tuning.tolerance, backend=self._backend
        )
        self._adwin = Adwin(confidence=tuning.confidence, backend=self._backend)
