"""A lock for groups: statements that need the same instance-wide settings run side by side, others wait.

DuckDB's ``disabled_optimizers`` belongs to the instance, so a statement that runs under it must not overlap
with any statement that must not. This is group mutual exclusion (Joung, "Asynchronous group mutual
exclusion", PODC 1998): any number of holders of one group at a time; groups take turns in order of arrival,
so neither default nor steered statements starve.

The price: a steered statement waits until default statements of the same instance that
are already running have ended, and the other way around. Statements of one group never wait for each other,
unless another group queued up before.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable


class Turns:
    """Group mutual exclusion with a hook at every change of group.

    Parameters
    ----------
    switch : callable
        Called as ``switch(group, entering)`` by the first holder of a group before it enters and by the last
        one as it leaves, with everybody else kept out. If entering raises, the turn is not taken.
    """

    def __init__(self, switch: Callable[[Hashable, bool], None]) -> None:
        self._switch = switch
        self._condition = threading.Condition()
        self._group: Hashable = None
        self._holders = 0
        self._queue: deque[tuple[object, Hashable]] = deque()

    def acquire(self, group: Hashable, timeout_s: float | None = None) -> bool:
        """Take part in a group's turn; False if that did not come within ``timeout_s``."""
        ticket = object()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._condition:
            self._queue.append((ticket, group))
            try:
                while not self._may_enter(ticket, group):
                    wait = None if deadline is None else deadline - time.monotonic()
                    if wait is not None and wait <= 0:
                        return False
                    self._condition.wait(wait)
                if self._holders == 0:
                    self._switch(group, True)
                    self._group = group
                self._holders += 1
                return True
            finally:
                self._queue.remove((ticket, group))
                # Those behind may join this group, or have been waiting for this ticket only.
                self._condition.notify_all()

    def release(self) -> None:
        """Leave; the last holder hands the turn on."""
        with self._condition:
            self._holders -= 1
            if self._holders == 0:
                group, self._group = self._group, None
                try:
                    self._switch(group, False)
                finally:
                    self._condition.notify_all()

    def renew(self) -> tuple[Hashable, bool]:
        """Begin anew in the child of a fork, whose parent's other threads have no turns here.

        Returns
        -------
        group : hashable
            Whose turn it was; None for nobody's.
        switching : bool
            Whether a thread may have been in the midst of changing groups.
        """
        switching = not self._condition.acquire(blocking=False)
        if not switching:
            self._condition.release()
        group = self._group if self._holders else None
        self._condition = threading.Condition()
        self._group, self._holders, self._queue = None, 0, deque()
        return group, switching

    def _may_enter(self, ticket: object, group: Hashable) -> bool:
        if self._holders and self._group != group:
            return False
        # In order of arrival, but a run of waiters of the same group enters together.
        for waiting, wanted in self._queue:
            if waiting is ticket:
                return True
            if wanted != group:
                return False
        return True
