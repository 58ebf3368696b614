"""Predictions that were made before: what was not used for long makes room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from godb_fast.errors import InvalidInput

_LEAST: Final = 10

#: By model, by plan.
_Known = dict[str, dict[int, float]]


class PredictionCache:
    """Remembers one number per plan and model version. Thread-safe.

    Plans are named by their hash, models by :attr:`Card.key`: another version of a model never sees what the
    one before said. There are two generations. What is used joins the younger one; once that holds
    ``capacity`` entries, it becomes the older one, and the former older one goes. A hit among the younger
    thus writes nothing but a count. A threads' race costs a count or a prediction that is made twice, never
    a wrong number.

    Parameters
    ----------
    capacity : int
        So many of the most recently used entries are kept, and at most twice as many; at least 10.

    Attributes
    ----------
    hits, misses : int
    """

    __slots__ = ("_fresh", "_old", "_room", "capacity", "hits", "misses")

    def __init__(self, capacity: int = 10_000) -> None:
        if capacity < _LEAST:
            raise InvalidInput(f"a cache of {capacity} entries; it needs at least {_LEAST}")
        self.capacity = capacity
        self.hits = 0
        self.misses = 0
        self._fresh: _Known = {}
        self._old: _Known = {}
        self._room = capacity

    def __len__(self) -> int:
        return sum(len(plans) for known in (self._fresh, self._old) for plans in list(known.values()))

    @property
    def hit_rate(self) -> float:
        """Share of look-ups that found something; 0 before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0

    def get(self, plan: int, model: str) -> float | None:
        """What the model said of the plan; None if that is not known."""
        try:
            value = self._fresh[model][plan]
        except KeyError:
            return self._remembered(plan, model)
        self.hits += 1
        return value

    def find(self, plans: Sequence[int], model: str) -> list[float | None]:
        """As :meth:`get` of each plan, at a fraction of its cost."""
        try:
            found: list[float | None] = list(map(self._fresh[model].__getitem__, plans))
        except KeyError:
            return [self.get(plan, model) for plan in plans]
        self.hits += len(found)
        return found

    def put(self, plan: int, model: str, value: float) -> None:
        """Remember what the model says of the plan."""
        plans = self._fresh.get(model, {})
        if plan not in plans:
            if self._room <= 0:
                self._room = self.capacity
                self._old, self._fresh = self._fresh, {}
            plans = self._fresh.setdefault(model, {})
            self._room -= 1
        plans[plan] = value

    def forget(self, model: str) -> int:
        """Drop what one model said; how many entries went."""
        fresh, old = self._fresh.pop(model, {}), self._old.pop(model, {})
        self._room += len(fresh)
        return len(fresh) + len(old)

    def _remembered(self, plan: int, model: str) -> float | None:
        """What the older generation knows of the plan; it joins the younger one."""
        value = self._old.get(model, {}).pop(plan, None)
        if value is None:
            self.misses += 1
            return None
        self.hits += 1
        self.put(plan, model, value)
        return value
