"""Bounds that hold as often as they say, whatever the model behind them is worth.

A model predicts μ with scale σ; the *score* of an outcome y is (y - μ) / σ. The bound for a new query is μ
+ qσ, where q is a quantile of scores that were seen: it holds at the stated level if the new outcome is
exchangeable with those (split conformal prediction: Papadopoulos et al. 2002; Lei et al.,
"Distribution-free predictive inference for regression", JASA 2018). Where the world moves, the level that
is asked of the quantile moves against the error (adaptive conformal inference: Gibbs and Candès, NeurIPS
2021): then the share of broken bounds tends to the stated one for *every* sequence of outcomes.

Scores belong to a fingerprint, its cluster, and all queries; a bound comes from the narrowest that has seen
enough. A run that was cut is known to have taken at least so long, so its score is infinite: the bound may
get wider by it, never narrower. (If the *default* was cut, the true ratio is smaller than the one at the
cut, which therefore serves as it is.)
"""

from __future__ import annotations

import bisect
import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from godb_fast.core.choice import Bound
from godb_fast.errors import InvalidInput

#: Fingerprints and clusters whose scores are kept; the one not asked for longest goes.
CAPACITY: Final = 4096


def conformal_quantile(scores: ArrayLike, level: float) -> float:
    """The ⌈(n + 1) level⌉-th smallest of n scores; infinite if n is too small for the level.

    A score that is exchangeable with these does not exceed it with probability at least ``level``.

    Raises
    ------
    InvalidInput
        If a score is NaN or the level is not between 0 and 1.
    """
    values = np.sort(_scores(scores))
    if not 0.0 < level < 1.0:
        raise InvalidInput(f"level {level} is not between 0 and 1")
    return _at_rank(values.tolist(), level)


def conformal_p_value(scores: ArrayLike, at: float) -> float:
    """How probable it is at most that a further score exceeds ``at``: (1 + scores above) / (n + 1).

    Raises
    ------
    InvalidInput
        If a score is NaN.
    """
    values = _scores(scores)
    return float((1 + np.count_nonzero(values > at)) / (values.size + 1))


class ConformalTracker:
    """The scores of one scope, the newest first to count, and the level that their quantile is asked for.

    Parameters
    ----------
    level : float
        The share of bounds that shall hold.
    step : float
        By how much one broken bound moves the working level (γ of Gibbs and Candès); 0 is split conformal.
        Larger steps mend a wrong start within fewer outcomes, smaller ones keep bounds steadier.
    window : int
        Scores that are kept.
    """

    __slots__ = ("_recent", "_sorted", "level", "step", "window", "working")

    def __init__(self, level: float = 0.9, *, step: float = 0.05, window: int = 1000) -> None:
        if not (0.0 < level < 1.0 and 0.0 <= step < 1.0 and window >= 1):
            raise InvalidInput(f"level {level}, step {step}, window {window}: out of range")
        self.level, self.step, self.window = level, step, window
        #: What the quantile is asked for now; at or beyond 0 and 1 bounds are infinite.
        self.working = level
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    @property
    def quantile(self) -> float:
        """The present bound, in units of the score."""
        if self.working >= 1.0:
            return math.inf
        if self.working <= 0.0:
            return -math.inf
        return _at_rank(self._sorted, self.working)

    def risk(self, at: float) -> float:
        """How probable it is that the next score exceeds ``at``, higher where bounds broke of late."""
        above = len(self._sorted) - bisect.bisect_right(self._sorted, at)
        plain = (1 + above) / (len(self._sorted) + 1)
        shortfall = max(1.0 - self.working, 1e-9)
        return min(1.0, plain * (1.0 - self.level) / shortfall)

    @property
    def scores(self) -> tuple[float, ...]:
        """What is kept, the oldest first."""
        return tuple(self._recent)

    def calibrate(self, scores: Iterable[float]) -> None:
        """Take scores that no bound was given for: of calibration data, in one go."""
        for score in scores:
            self._keep(score)

    def observe(self, score: float) -> bool:
        """Take the outcome of a query that a bound was given for; whether the bound held.

        Raises
        ------
        InvalidInput
            If the score is NaN.
        """
        if math.isnan(score):
            raise InvalidInput("a score is NaN; was the prediction?")
        held = score <= self.quantile
        self.working += self.step * (self.level - held)
        self._keep(score)
        return held

    def _keep(self, score: float) -> None:
        if math.isnan(score):
            raise InvalidInput("a score is NaN; was the prediction?")
        self._recent.append(score)
        bisect.insort(self._sorted, score)
        if len(self._recent) > self.window:
            old = self._recent.popleft()
            del self._sorted[bisect.bisect_left(self._sorted, old)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; infinite scores are written as null."""
        return {
            "level": self.level,
            "step": self.step,
            "window": self.window,
            "working": self.working,
            "scores": [score if math.isfinite(score) else None for score in self._recent],
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ConformalTracker:
        """What :meth:`to_dict` wrote.

        Raises
        ------
        InvalidInput
            If it is something else.
        """
        try:
            tracker = cls(float(raw["level"]), step=float(raw["step"]), window=int(raw["window"]))
            tracker.working = float(raw["working"])
            tracker.calibrate(math.inf if score is None else float(score) for score in raw["scores"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"no tracker of conformal scores: {error!r}") from error
        return tracker


class ConformalBounds:
    """Trackers per fingerprint, per cluster and of all queries; for one thread at a time.

    Parameters
    ----------
    enough : int
        Scores that a narrower scope needs before its bounds are used.
    """

    def __init__(
        self, level: float = 0.9, *, step: float = 0.05, window: int = 1000, enough: int = 30
    ) -> None:
        if enough < 1:
            raise InvalidInput(f"enough {enough}: at least one score is needed")
        self.level, self.step, self.window, self.enough = level, step, window, enough
        self._all = ConformalTracker(level, step=step, window=window)
        self._narrow: OrderedDict[tuple[str, str], ConformalTracker] = OrderedDict()

    def calibrate(self, scores: ArrayLike) -> None:
        """Take the scores of calibration data, which the model was not trained on.

        Parameters
        ----------
        scores : array of float, shape (n,)
            Infinite for runs that were cut.
        """
        self._all.calibrate(_scores(scores).tolist())

    def calibrate_cluster(self, cluster: str, scores: ArrayLike) -> None:
        """Take the scores of calibration data for the bounds of one cluster (only)."""
        self._tracker("cluster", cluster).calibrate(_scores(scores).tolist())

    def scope(
        self, fingerprint: str | None = None, cluster: str | None = None
    ) -> tuple[str, ConformalTracker]:
        """The narrowest scope that has seen enough, by name, and its scores."""
        for name, key in (("fingerprint", fingerprint), ("cluster", cluster)):
            if key is not None:
                tracker = self._narrow.get((name, key))
                if tracker is not None and len(tracker) >= self.enough:
                    return name, tracker
        return ("global" if len(self._all) else "none"), self._all

    def bound(
        self, mean: float, scale: float, *, fingerprint: str | None = None, cluster: str | None = None
    ) -> Bound:
        """An upper bound on an outcome that is predicted as ``mean`` with ``scale``.

        Raises
        ------
        InvalidInput
            If the prediction is not finite, or the scale not positive.
        """
        if not (math.isfinite(mean) and math.isfinite(scale) and scale > 0.0):
            raise InvalidInput(f"prediction {mean} with scale {scale}: neither may be infinite or NaN")
        name, tracker = self.scope(fingerprint, cluster)
        return Bound(mean + tracker.quantile * scale, self.level, name, len(tracker))

    def observe(
        self, score: float, *, fingerprint: str | None = None, cluster: str | None = None, cut: bool = False
    ) -> bool:
        """Take an outcome; whether the bound that was given for it held.

        Parameters
        ----------
        cut : bool
            The run under the plan was stopped: it would have taken longer than ``score`` says.
        """
        score = math.inf if cut else score
        used = self.scope(fingerprint, cluster)[1]
        held = True
        trackers = [self._all]
        trackers += [self._tracker("cluster", cluster)] if cluster is not None else []
        trackers += [self._tracker("fingerprint", fingerprint)] if fingerprint is not None else []
        for tracker in trackers:
            result = tracker.observe(score)
            if tracker is used:
                held = result
        return held

    def _tracker(self, scope: str, name: str) -> ConformalTracker:
        key = (scope, name)
        tracker = self._narrow.get(key)
        if tracker is None:
            tracker = ConformalTracker(self.level, step=self.step, window=self.window)
            self._narrow[key] = tracker
            if len(self._narrow) > CAPACITY:
                self._narrow.popitem(last=False)
        self._narrow.move_to_end(key)
        return tracker

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "level": self.level,
            "step": self.step,
            "window": self.window,
            "enough": self.enough,
            "all": self._all.to_dict(),
            "narrow": [[*key, tracker.to_dict()] for key, tracker in self._narrow.items()],
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ConformalBounds:
        """What :meth:`to_dict` wrote.

        Raises
        ------
        InvalidInput
            If it is something else.
        """
        try:
            bounds = cls(
                float(raw["level"]),
                step=float(raw["step"]),
                window=int(raw["window"]),
                enough=int(raw["enough"]),
            )
            bounds._all = ConformalTracker.from_dict(raw["all"])
            for scope, name, tracker in raw["narrow"]:
                bounds._narrow[str(scope), str(name)] = ConformalTracker.from_dict(tracker)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"no conformal bounds: {error!r}") from error
        return bounds


def _scores(scores: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = np.asarray(scores, dtype=np.float64).reshape(-1)
    if np.isnan(values).any():
        raise InvalidInput("a score is NaN; was the prediction?")
    return values


def _at_rank(ordered: list[float], level: float) -> float:
    # A level like 0.9 times n + 1 may come out a rounding error above the integer that it is.
    rank = math.ceil((len(ordered) + 1) * level - 1e-9)
    return ordered[rank - 1] if rank <= len(ordered) else math.inf
