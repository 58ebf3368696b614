"""Training in a process of its own: ``python -m godb_fast.learning.training.apart STORE MODELS LEASE``.

It runs at low priority, holds the lease of the store's trainings, and exports into the shadow of the models
that serve. It ends early when the process that asked for it does (whose end closes our standard input, even
if it was killed), or when its lease was given to another one. Whatever ends it, the models before serve.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

from godb_fast.errors import GodbError, ModelRefused, StoreError
from godb_fast.learning.models.waiting import ShadowFolder
from godb_fast.learning.training.running import TrainingReport, train
from godb_fast.store import SqliteStore
from godb_fast.store.trainings import Trainings

#: How much less of the processor than others the training asks for (nice).
NICER: Final = 10
#: Seconds between two renewals of the lease.
RENEWED_S: Final = 10.0
#: What the cards say of where the data come from.
TRAINED_FROM: Final = "executions in a store, in the background"


class Watch:
    """Interrupts the main thread, once, and knows why."""

    def __init__(self) -> None:
        self.reason = ""
        self.over = threading.Event()

    def stop(self, reason: str) -> None:
        """Interrupt the training."""
        if not self.reason and not self.over.is_set():
            self.reason = reason
            _thread.interrupt_main()

    def parent(self) -> None:
        """Stop when standard input ends."""
        # A read from the descriptor itself: a thread that holds the lock of sys.stdin would hinder the end.
        with contextlib.suppress(OSError):
            while os.read(0, 64):
                pass
        self.stop("the process that asked for it ended")

    def lease(self, trainings: Trainings, training: str) -> None:
        """Renew the lease; stop when it is lost."""
        while not self.over.wait(RENEWED_S):
            # A store that is busy now may not be the next time.
            with contextlib.suppress(StoreError):
                if not trainings.renew(training):
                    self.stop("its lease was given to another process")


def main(arguments: list[str]) -> int:
    """Train; the exit code is 0 where something was exported, 1 where nothing was, 2 after a failure."""
    path, models, lease = arguments
    if hasattr(os, "nice"):
        os.nice(NICER)
    watch, store = Watch(), SqliteStore(path)
    trainings = store.trainings

    def terminated(number: int, frame: FrameType | None) -> None:
        watch.reason = watch.reason or f"stopped by signal {number}"
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminated)
    # Who ignores it passes that on to processes that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def work() -> TrainingReport:
        # Who is watched from here on may be interrupted from here on.
        for watched in (watch.parent, lambda: watch.lease(trainings, lease)):
            threading.Thread(target=watched, daemon=True).start()
        folder = ShadowFolder(models)
        folder.sweep()
        return train(store, folder, trained_from=TRAINED_FROM)

    outcome, told = _outcome(work, watch)
    watch.over.set()
    try:
        trainings.end(lease, outcome, told)
    except StoreError as error:
        print(error, file=sys.stderr)
    if outcome in ("failed", "interrupted"):
        print(told, file=sys.stderr)
    return {"exported": 0, "nothing": 1}.get(outcome, 2)


def _outcome(work: Callable[[], TrainingReport], watch: Watch) -> tuple[str, str]:
    try:
        report = work()
    except KeyboardInterrupt:
        return "interrupted", watch.reason or "interrupted"
    except ModelRefused as error:
        return "failed", f"{error} ({error.reason})"
    except GodbError as error:
        return "failed", str(error)
    except Exception as error:  # noqa: BLE001 - the last resort: whoever asked for it is told
        return "failed", f"{type(error).__name__}: {error}"
    if report.trained:
        return "exported", ", ".join(entry.card.key for entry in report.trained)
    return "nothing", "; ".join(f"{name}: {why}" for name, why in report.skipped.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
