"""One timer thread for the whole process: it stops statements that outlive their time limit.

A ``threading.Timer`` per statement would start a thread for each; here a heap of deadlines is served by one
daemon thread, started at the first limited statement and again in a child after ``fork``.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger("godb_fast")

#: Seconds between calls of ``stop`` while the statement does not end: a call that comes before DuckDB has
#: started it has no effect.
REPEAT_S: Final = 0.02


class Alarm:
    """One armed deadline. After :meth:`disarm` returned, ``stop`` will not be called any more."""

    __slots__ = ("_lock", "_stop", "deadline", "fired")

    def __init__(self, deadline: float, stop: Callable[[], None]) -> None:
        self.deadline = deadline
        #: Whether the deadline passed while armed.
        self.fired = False
        self._stop: Callable[[], None] | None = stop
        self._lock = threading.Lock()

    def fire(self) -> None:
        """Stop the statement, if it still runs."""
        with self._lock:
            if self._stop is not None:
                self.fired = True
                self._stop()

    def disarm(self) -> None:
        """From now on the statement is safe; waits for a stop that is just being sent."""
        with self._lock:
            # Not kept until the deadline: it holds the connection.
            self._stop = None

    @property
    def armed(self) -> bool:
        """Whether the deadline still counts."""
        return self._stop is not None


class Watchdog:
    """Deadlines of this process."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._sweep_at = 64

    def arm(self, seconds: float, stop: Callable[[], None]) -> Alarm:
        """Call ``stop`` after ``seconds``, and again until disarmed or until it raises; it must be quick."""
        alarm = Alarm(time.monotonic() + seconds, stop)
        with self._condition:
            if len(self._heap) >= self._sweep_at:
                # Statements mostly end long before their limit: their alarms must not pile up.
                self._heap = [entry for entry in self._heap if entry[2].armed]
                heapq.heapify(self._heap)
                self._sweep_at = max(64, 2 * len(self._heap))
            heapq.heappush(self._heap, (alarm.deadline, next(self._order), alarm))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._serve, name="godb-fast-watchdog", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is alarm:
                self._condition.notify()
        return alarm

    def _serve(self) -> None:
        while True:
            with self._condition:
                while not self._heap or (wait := self._heap[0][0] - time.monotonic()) > 0:
                    self._condition.wait(wait if self._heap else None)
                alarm = heapq.heappop(self._heap)[2]
            try:
                alarm.fire()
            except Exception as error:  # noqa: BLE001 - drivers raise what they like
                # A connection that was closed meanwhile has nothing to stop. Others' deadlines still count.
                log.debug("a statement is not stopped: %s: %s", type(error).__name__, error)
                alarm.disarm()
            if alarm.armed:
                with self._condition:
                    heapq.heappush(self._heap, (time.monotonic() + REPEAT_S, next(self._order), alarm))
            del alarm


#: The process's only watchdog.
WATCHDOG: Final = Watchdog()


def _after_fork() -> None:
    # The child has no timer thread, and may have been forked while the parent held the lock.
    WATCHDOG.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
