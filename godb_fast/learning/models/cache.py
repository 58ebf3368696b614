"""Predictions that were made before: least recently used ones make room."""

from __future__ import annotations

import threading
from typing import Final

from godb_fast.errors import InvalidInput

#: What makes room at once when the cache is full.
_SHARE: Final = 10


class PredictionCache:
    """Remembers one number per plan and model version. Thread-safe.

    Plans are named by their hash, models by :attr:`Card.key`: another version of a model never sees what the
    one before said. A threads' race costs a count or a prediction that is made twice, never a wrong number.

    Parameters
    ----------
    capacity : int
        Entries kept; at least 10.

    Attributes
    ----------
    hits, misses : int
    """

    # A dict keeps its entries in the order of insertion: what is used is taken out and put back at its end.
    __slots__ = ("_entries", "_lock", "capacity", "hits", "misses")

    def __init__(self, capacity: int = 50_000) -> None:
        if capacity < _SHARE:
            raise InvalidInput(f"a cache of {capacity} entries; it needs at least {_SHARE}")
        self.capacity = capacity
        self.hits = 0
        self.misses = 0
        self._entries: dict[tuple[int, str], float] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def hit_rate(self) -> float:
        """Share of look-ups that found something; 0 before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0

    def get(self, plan: int, model: str) -> float | None:
        """What the model said of the plan; None if that is not known."""
        key = (plan, model)
        entries = self._entries
        value = entries.pop(key, None)
        if value is None:
            self.misses += 1
            return None
        entries[key] = value
        self.hits += 1
        return value

    def put(self, plan: int, model: str, value: float) -> None:
        """Remember what the model says of the plan."""
        self._entries[plan, model] = value
        if len(self._entries) > self.capacity:
            with self._lock:
                # A copy: other threads look things up meanwhile.
                oldest = list(self._entries)[: len(self._entries) - self.capacity + self.capacity // _SHARE]
                for key in oldest:
                    self._entries.pop(key, None)

    def forget(self, model: str) -> int:
        """Drop what one model said; how many entries went."""
        gone = [key for key in list(self._entries) if key[1] == model]
        for key in gone:
            self._entries.pop(key, None)
        return len(gone)
