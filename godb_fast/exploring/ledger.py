"""The regression budget of each query class: what steering has lost, against what it may lose in a day."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import Final

from godb_fast.core.forking import renews_locks
from godb_fast.errors import InvalidInput

DAY_S: Final = 86_400.0
#: A window is kept in so many parts; what is older than a window leaves a part at a time.
PARTS: Final = 96


@dataclass
class _Account:
    """Seconds (taken, lost) by part of the window; whether any were lost; seconds taken and not saved yet."""

    parts: dict[int, list[float]] = field(default_factory=dict)
    losing: bool = False
    unsaved_s: float = 0.0


class Ledger:
    """Losses and total time of each class in the last day. Thread-safe.

    Steering of a class stops while its losses exceed ``share`` of its time, and goes on when they have aged.
    Times of day come from the caller. A clock that went backwards never frees a budget: entries are kept at
    the latest time seen.

    Parameters
    ----------
    share : float
        The part of a class's time that regressions may cost.
    window_s : float
        Length of the window in seconds.
    grace_s : float
        Losses of less in all stop nothing: timer noise of short queries.

    Raises
    ------
    InvalidInput
        If the share is negative or the window is not positive.
    """

    def __init__(self, share: float = 0.05, window_s: float = DAY_S, grace_s: float = 0.05) -> None:
        if not (share >= 0.0 and 0.0 < window_s < math.inf and grace_s >= 0.0):
            raise InvalidInput(f"share {share}, window {window_s} s, grace {grace_s} s: out of range")
        self.share = share
        self.grace_s = grace_s
        self.window_s = window_s
        self._part_s = window_s / PARTS
        self._accounts: dict[str, _Account] = {}
        self._latest = -math.inf
        self._lock = threading.Lock()
        renews_locks(self)

    def note(self, query_class: str, at_s: float, took_s: float, lost_s: float = 0.0) -> None:
        """An execution of a class: how long it took in all, and what of that steering has lost.

        Raises
        ------
        InvalidInput
            If a time is negative or not finite.
        """
        if not (0.0 <= took_s < math.inf and 0.0 <= lost_s < math.inf):
            raise InvalidInput(f"{took_s} and {lost_s} are not times in seconds")
        with self._lock:
            self._latest = max(self._latest, at_s)
            account = self._accounts.setdefault(query_class, _Account())
            account.unsaved_s += took_s
            account.losing = account.losing or lost_s > 0.0
            part = account.parts.setdefault(int(self._latest // self._part_s), [0.0, 0.0])
            part[0] += took_s
            part[1] += lost_s

    def standing(self, query_class: str, at_s: float) -> tuple[float, float]:
        """Seconds that a class took, and those of them that steering has lost, in the window until now."""
        with self._lock:
            self._latest = max(self._latest, at_s)
            account = self._accounts.get(query_class)
            if account is None:
                return 0.0, 0.0
            oldest = int((self._latest - self.window_s) // self._part_s)
            for part in [part for part in account.parts if part <= oldest]:
                del account.parts[part]
            took = math.fsum(part[0] for part in account.parts.values())
            return took, math.fsum(part[1] for part in account.parts.values())

    def spent(self, query_class: str, at_s: float) -> bool:
        """Whether the class has lost more than its budget; one that was never seen has not."""
        account = self._accounts.get(query_class)
        if account is None or not account.losing:
            # Asked before each steered run: most have never lost anything.
            return False
        took, lost = self.standing(query_class, at_s)
        return lost > max(self.share * took, self.grace_s)

    def unsaved_s(self, query_class: str) -> float:
        """Seconds that the class took since this was last asked."""
        with self._lock:
            account = self._accounts.get(query_class)
            if account is None:
                return 0.0
            seconds, account.unsaved_s = account.unsaved_s, 0.0
            return seconds

    def restore(self, entries: list[tuple[str, float, float, float]]) -> None:
        """Take in (class, time, seconds taken, seconds lost), as other processes have saved them."""
        for query_class, at_s, took_s, lost_s in sorted(entries, key=lambda entry: entry[1]):
            self.note(query_class, at_s, took_s, lost_s)
            self._accounts[query_class].unsaved_s -= took_s
