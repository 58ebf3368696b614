"""Stopping one statement from another thread: a time limit, a cancel, a result that grows too large."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from godb_fast.engines.watchdog import WATCHDOG, Alarm

#: A cancel request that arrives before the statement has begun has no effect, so it is sent again after this
#: many seconds, and then less and less often.
REPEAT_S: Final = 0.02
REPEAT_MOST_S: Final = 1.0
#: A cancel request takes a connection of its own, which a dead network must not hold for ever.
REQUEST_S: Final = 5.0


class Stopper:
    """Stops one statement; without effect once closed. ``raw`` gives the driver's connection.

    Each request runs in a short-lived thread of its own, never in the thread that asks for it: it opens a
    connection, and the process's one timer thread must not wait for a network.

    Attributes
    ----------
    reason : str or None
        Why the statement was stopped: ``timeout``, ``cancel``, ``rows``; the first one counts.
    """

    def __init__(self, raw: Callable[[], Any]) -> None:
        self.reason: str | None = None
        self._raw = raw
        self._lock = threading.Lock()
        self._closed = False
        self._ended: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self._alarm: Alarm | None = None

    def stop(self, reason: str) -> None:
        """Ask the server to stop the statement; returns at once."""
        with self._lock:
            if self._closed or self._thread is not None:
                return
            self.reason = reason
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._serve, name="godb-fast-cancel", daemon=True)
            self._thread.start()

    def after(self, seconds: float) -> None:
        """Stop the statement once it has run for so long."""
        self._alarm = WATCHDOG.arm(seconds, lambda: self.stop("timeout"))

    def _serve(self) -> None:
        pause, ended = REPEAT_S, self._ended
        assert ended is not None
        while not ended.is_set():
            try:
                self._raw().cancel_safe(timeout=REQUEST_S)
            except Exception:  # noqa: BLE001 - whatever the network says, the next request may get through
                # A broken connection ends the statement by itself; there is nobody to tell here.
                pause = REPEAT_MOST_S
            ended.wait(pause)
            pause = min(2 * pause, REPEAT_MOST_S)

    def close(self) -> bool:
        """From now on nothing is stopped; True if a request was sent that may still be under way."""
        if self._alarm is not None:
            self._alarm.disarm()
        with self._lock:
            self._closed = True
            if self._ended is not None:
                self._ended.set()
            thread = self._thread
        if thread is None:
            return False
        thread.join()
        return True
