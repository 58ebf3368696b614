"""One background thread for what may wait: tasks in order, stopped on request, gone after a fork."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final

#: Seconds between calls of a task's ``interrupt`` while it does not end.
_REPEAT_S: Final = 0.02
#: How long the end of the interpreter waits for a running task.
_EXIT_S: Final = 5.0

_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


class Task:
    """Something to do in the background.

    Parameters
    ----------
    owner : object
        Whose tasks are stopped together.
    work : callable
        Gets the task; it returns early once :attr:`stopped` is true, and keeps :attr:`interrupt` set to what
        ends the call that it waits in.
    """

    def __init__(self, owner: object, work: Callable[[Task], None]) -> None:
        self.owner = owner
        self.work = work
        self.stopped = False
        #: The exception that ended it.
        self.failure: Exception | None = None
        self.interrupt: Callable[[], None] | None = None
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether it was done, failed or was stopped."""
        return self._ended.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; whether it came in time."""
        return self._ended.wait(timeout_s)

    def end(self) -> None:
        """Nobody waits any longer. The work is let go: it may hold connections."""
        self.work = self.interrupt = _nothing
        self._ended.set()

    def lose(self) -> None:
        """It will never be done: in the child of a fork, above all."""
        self.stopped = True
        self._ended = threading.Event()
        self.end()


def _nothing(*_: object) -> None:
    pass


class Worker:
    """Runs tasks one after the other in a daemon thread that ends when there are none.

    Parameters
    ----------
    failed : callable
        Told of each task that raised, in the thread.
    """

    def __init__(self, failed: Callable[[Task], None]) -> None:
        self._failed = failed
        _workers.add(self)
        self.reset()

    def reset(self) -> None:
        """Start with nothing: at first, and in the child of a fork."""
        lost = (*getattr(self, "_queue", ()), getattr(self, "_running", None))
        self._lock = threading.Lock()
        self._queue: deque[Task] = deque()
        self._running: Task | None = None
        self._thread: threading.Thread | None = None
        for task in lost:
            if task is not None:
                task.lose()

    def submit(self, task: Task) -> bool:
        """Do it after those that were submitted before; False if there can be no thread for it."""
        with self._lock:
            self._queue.append(task)
            if self._thread is not None:
                return True
            self._thread = threading.Thread(target=self._serve, name="godb-fast-background", daemon=True)
            try:
                self._thread.start()
                return True
            except RuntimeError as error:
                task.failure, self._thread = error, None
                self._queue.remove(task)
        task.end()
        self._failed(task)
        return False

    def stop(self, owner: object = None, timeout_s: float | None = None) -> bool:
        """Drop the tasks of an owner (of all: None), and end the one that runs; whether it ended in time."""
        with self._lock:
            dropped = [task for task in self._queue if owner is None or task.owner is owner]
            for task in dropped:
                self._queue.remove(task)
            running = self._running
            if running is not None and owner is not None and running.owner is not owner:
                running = None
        for task in dropped:
            task.stopped = True
            task.end()
        if running is None:
            return True
        running.stopped = True
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        # A call that comes before the statement has started has no effect: again, until it ends.
        while not running.wait(_REPEAT_S):
            if deadline is not None and time.monotonic() > deadline:
                return False
            interrupt = running.interrupt
            if interrupt is not None:
                interrupt()
        return True

    def wait(self, owner: object = None, timeout_s: float | None = None) -> bool:
        """Wait for the tasks of an owner (of all: None); whether they ended in time."""
        with self._lock:
            tasks = [*self._queue, *([self._running] if self._running is not None else [])]
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        return all(
            task.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
            for task in tasks
            if owner is None or task.owner is owner
        )

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._thread = self._running = None
                    return
                task = self._running = self._queue.popleft()
            try:
                task.work(task)
            except Exception as error:  # noqa: BLE001 - told to whoever submitted it
                task.failure = error
                if not task.stopped:
                    self._failed(task)
            finally:
                with self._lock:
                    self._running = None
                task.end()


def _stop_all() -> None:
    # A thread that comes back from a driver into an interpreter that is gone would take the process down.
    for worker in list(_workers):
        worker.stop(timeout_s=_EXIT_S)


def _after_fork() -> None:
    for worker in list(_workers):
        worker.reset()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
