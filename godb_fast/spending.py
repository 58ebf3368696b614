"""What learning may take of the time of the statements that it learns from."""

from __future__ import annotations

import math
import threading
from typing import Final

from godb_fast.core.forking import renews_locks

#: A profiled run takes so much longer, as a share of its time.
PROFILING: Final = 0.06
#: What learning from a run is expected to take before it was seen, in ms.
LEARNING_MS: Final = 10.0
#: How much each time that learning took moves what is expected of the next.
_MOVES: Final = 0.3
#: What slow statements have earned and nobody needed is not saved beyond so many ms.
_MOST_MS: Final = 10_000.0


class Spending:
    """Slow statements earn a share of their time; profiled runs and learning from them spend it. Thread-safe.

    Parameters
    ----------
    share : float
        ``inf`` sets no limit.

    Attributes
    ----------
    put_off : int
        Profiled runs that were due and not affordable yet.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.put_off = 0
        self._left_ms = 0.0
        self._learning_ms = LEARNING_MS
        self._lock = threading.Lock()
        renews_locks(self)

    def earn(self, latency_ms: float) -> None:
        """A slow statement has run."""
        earned = self.share * latency_ms if latency_ms > 0.0 else 0.0
        with self._lock:
            self._left_ms = min(self._left_ms + earned, _MOST_MS)

    def affords(self, latency_ms: float) -> bool:
        """Whether the next run of a statement that takes so long may be profiled and learned from."""
        if math.isinf(self.share):
            return True
        # What is saved for a long run is bounded, and so is what it has to have earned.
        return self._left_ms >= min(PROFILING * latency_ms + self._learning_ms, _MOST_MS)

    def spend(self, latency_ms: float, learning_ms: float) -> None:
        """A profiled run took so long, and learning from it."""
        with self._lock:
            self._left_ms -= PROFILING * latency_ms + learning_ms
            self._learning_ms += _MOVES * (min(learning_ms, _MOST_MS) - self._learning_ms)
