"""The regression budget of each query class: what steering has lost, against what it may lose in a day."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from godb_fast.errors import InvalidInput

DAY_S: Final = 86_400.0


@dataclass
class _Account:
    total: deque[tuple[float, float]] = field(default_factory=deque)
    lost: deque[tuple[float, float]] = field(default_factory=deque)


class Ledger:
    """Losses and total time of each class in the last day.

    Steering of a class stops while its losses reach ``share`` of its time, and goes on when they have aged.
    Times of day come from the caller. A clock that went backwards never frees a budget: entries are kept at
    the latest time seen.

    Parameters
    ----------
    share : float
        The part of a class's time that regressions may cost.
    window_s : float
        Length of the window in seconds.

    Raises
    ------
    InvalidInput
        If the share is negative or the window is not positive.
    """

    def __init__(self, share: float = 0.05, window_s: float = DAY_S) -> None:
        if not (math.isfinite(share) and share >= 0.0 and math.isfinite(window_s) and window_s > 0.0):
            raise InvalidInput(f"share {share}, window {window_s} s: out of range")
        self.share = share
        self.window_s = window_s
        self._accounts: dict[str, _Account] = {}
        self._latest = -math.inf

    def note(self, query_class: str, at_s: float, took_s: float, lost_s: float = 0.0) -> None:
        """An execution of a class: how long it took in all, and what of that steering has lost.

        Raises
        ------
        InvalidInput
            If a time is negative or not finite.
        """
        for value in (took_s, lost_s):
            if not (math.isfinite(value) and value >= 0.0):
                raise InvalidInput(f"{value} is not a time in seconds")
        self._latest = max(self._latest, at_s)
        account = self._accounts.setdefault(query_class, _Account())
        account.total.append((self._latest, took_s))
        if lost_s:
            account.lost.append((self._latest, lost_s))

    def left_s(self, query_class: str, at_s: float) -> float:
        """Seconds that steering of the class may still lose; 0 where nothing of it was seen yet."""
        self._latest = max(self._latest, at_s)
        account = self._accounts.get(query_class)
        if account is None:
            return 0.0
        for entries in (account.total, account.lost):
            while entries and entries[0][0] <= self._latest - self.window_s:
                entries.popleft()
        total = sum(seconds for _, seconds in account.total)
        return max(0.0, self.share * total - sum(seconds for _, seconds in account.lost))

    def may_steer(self, query_class: str, at_s: float) -> bool:
        """Whether anything of the class's budget is left."""
        return self.left_s(query_class, at_s) > 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "share": self.share,
            "window_s": self.window_s,
            "latest": None if self._latest == -math.inf else self._latest,
            "accounts": {
                name: {
                    "total": [list(entry) for entry in account.total],
                    "lost": [list(e) for e in account.lost],
                }
                for name, account in self._accounts.items()
            },
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Ledger:
        """What :meth:`to_dict` wrote."""
        ledger = cls(float(raw["share"]), float(raw["window_s"]))
        ledger._latest = -math.inf if raw["latest"] is None else float(raw["latest"])
        for name, account in raw["accounts"].items():
            ledger._accounts[name] = _Account(
                deque((float(at), float(took)) for at, took in account["total"]),
                deque((float(at), float(lost)) for at, lost in account["lost"]),
            )
        return ledger
