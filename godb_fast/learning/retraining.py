"""Models that are trained anew while the ones before serve: in another process, at low priority.

:class:`ModelSlot` holds the model that serves under a name; a newer one takes its place between two calls.
:class:`Retrainer` counts what executions a store got, and has models trained
(:mod:`godb_fast.learning.training.apart`) when there are enough new ones, or when somebody saw drift: at most
once an hour and one at a time for a store, whatever the number of processes that use it. What comes of it
waits in shadow (:mod:`godb_fast.learning.shadow`) until it is known to be no worse than what serves.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import platform
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from godb_fast.errors import GodbError, InvalidInput, ModelRefused, StoreError
from godb_fast.learning.models import Model, ModelFolder
from godb_fast.learning.models.shipped import find
from godb_fast.learning.models.waiting import ShadowFolder
from godb_fast.store import SqliteStore

log = logging.getLogger("godb_fast")

#: Seconds between two trainings from one store.
APART_S: Final = 3600.0
#: Seconds between two looks at what there is to do.
LOOK_S: Final = 60.0
#: Modules that training needs, and the packages that bring them.
NEEDED: Final = {"sklearn": "scikit-learn", "skl2onnx": "skl2onnx"}
#: How long a training has to end by itself when its process does, and then once it was told.
PATIENCE_S: Final = 1.0

_retrainers: weakref.WeakSet[Retrainer] = weakref.WeakSet()


class ModelSlot:
    """The model that serves under a name. Thread-safe: whoever has taken it keeps it for their call.

    Parameters
    ----------
    name : str
        Such as ``duckdb-ranker``.
    folder : path, optional
        The user's own models; those that ship serve where there are none.
    **how
        As :class:`Model` takes it.

    Attributes
    ----------
    model : Model or None
        None if there is none that can be used.
    refused : tuple of ModelRefused
        What was refused when it was last looked for.
    """

    def __init__(self, name: str, folder: str | os.PathLike[str] | None = None, **how: Any) -> None:
        self.name = name
        self.folder = folder
        self._how = how
        self.reset()
        self._seen = self._versions()
        refused: list[ModelRefused] = []
        self.model: Model | None = find(name, folder, refused=refused, **how)
        self.refused = tuple(refused)

    def reset(self) -> None:
        """A lock that nobody holds: at first, and in the child of a fork."""
        self._lock = threading.Lock()

    def _versions(self) -> tuple[int, ...]:
        return () if self.folder is None else tuple(ModelFolder(self.folder).versions(self.name))

    def refresh(self) -> bool:
        """Load a newer version, if one was exported and can be used; whether the model changed."""
        with self._lock:
            versions, before = self._versions(), self.model
            if versions == self._seen:
                return False
            self._seen = versions
            refused: list[ModelRefused] = []
            found = find(self.name, self.folder, refused=refused, **self._how)
            self.refused = tuple(refused)
            if found is None:
                return False
            if before is not None:
                # A file that was damaged since goes on serving from memory; an older one is no successor.
                damaged = bool(refused) and found.card.version < before.card.version
                if damaged or found.card == before.card:
                    return False
            self.model = found
            return True


def why_missing(module: str) -> str:
    """What to do about a module that is not there, by the name of its package, which pip knows."""
    return f"training needs {NEEDED[module]}; pip install 'godb_fast[train]'"


def why_not() -> str | None:
    """Why this installation cannot train; None if it can."""
    for module in NEEDED:
        if importlib.util.find_spec(module) is None:
            return why_missing(module)
    if not Path(sys.executable or "").name.lower().startswith(("python", "pypy")):
        return f"there is no Python interpreter to train with (sys.executable is {sys.executable!r})"
    return None


class Retrainer:
    """Trains anew in the background. Thread-safe.

    Parameters
    ----------
    store : SqliteStore
    folder : path, optional
        Where models go; the store's own folder.
    every : int
        After so many new executions and runs of plans.
    say : callable, optional
        Takes what happened and why, each time: ``retraining_failed`` and a reason, say.

    Attributes
    ----------
    outcomes : dict of str to int
        How often a training of this process ended, by its outcome.
    """

    def __init__(
        self,
        store: SqliteStore,
        folder: str | os.PathLike[str] | None = None,
        *,
        every: int = 1_000,
        say: Callable[[str, str], None] | None = None,
    ) -> None:
        if every < 1:
            raise InvalidInput(f"training every {every} executions; it is at least 1")
        self.store = store
        self.folder = ShadowFolder(store.models if folder is None else folder)
        self.every = every
        self.outcomes: dict[str, int] = {}
        self._say = say or (lambda what, why: None)
        self._step = max(1, every // 10)
        _retrainers.add(self)
        self.reset()

    def reset(self) -> None:
        """Start with nothing under way: at first, and in the child of a fork."""
        process: subprocess.Popen[bytes] | None = getattr(self, "_process", None)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._waiter: threading.Thread | None = None
        self._since = 0
        self._next_look = 0.0
        self._drift: str | None = None
        self._closed = False
        if process is not None:
            # The parent's: while we held its input, the training would not see that the parent is gone.
            for pipe in (process.stdin, process.stderr):
                if pipe is not None:
                    pipe.close()
            process.returncode = 0

    # -- what happens ---------------------------------------------------------------------------------

    def noted(self, executions: int = 1) -> bool:
        """So many executions were recorded; whether it is time for a :meth:`look`."""
        self._since += executions
        if self._since < self._step and self._drift is None:
            return False
        if time.monotonic() < self._next_look:
            return False
        # Nobody else is sent meanwhile.
        self._next_look = float("inf")
        return True

    def drifted(self, reason: str) -> None:
        """What models rest on has changed: train as soon as that is allowed."""
        self._drift = self._drift or reason

    def look(self) -> None:
        """Judge models in shadow, and begin training if it is due. Takes a while; nothing is raised."""
        try:
            self.judge()
            why = self.due()
            if why is not None:
                self.begin(why)
        except GodbError as error:
            self._say("retraining_failed", str(error))
        except Exception as error:
            log.debug("not looked at models", exc_info=True)
            self._say("retraining_failed", f"{type(error).__name__}: {error}")
        finally:
            self._since = 0
            self._next_look = time.monotonic() + LOOK_S

    def judge(self) -> list[str]:
        """Compare models in shadow with those that serve; keys of those that were promoted.

        Raises
        ------
        StoreError, ModelRefused
            If the store or the folder cannot be used.
        """
        from godb_fast.learning import shadow

        promoted = []
        for name in self.folder.names():
            verdict = shadow.judge(self.folder, name, self.store)
            if verdict is None:
                continue
            what, reason = verdict
            log.info("model %s: %s", what, reason)
            if what == "promoted":
                promoted.append(reason.partition(":")[0])
            if what != "in shadow":
                self._say(f"model_{what}", reason)
        return promoted

    def due(self) -> str | None:
        """Why training is due now; None if it is not.

        Raises
        ------
        StoreError
            If the store cannot be read.
        """
        self.store.flush()
        since = self._learned_until()
        # Drift is no reason to learn the same again.
        wanted = self.every if self._drift is None else self._step
        if self.store.trainings.fresh(since, wanted) < wanted:
            return None
        return self._drift or f"{wanted} new executions and runs of plans"

    def _learned_until(self) -> datetime:
        """Up to when models were learned from, or were tried to."""
        known = [datetime(1970, 1, 1, tzinfo=UTC)]
        for training in self.store.trainings.recent():
            if training.outcome in ("exported", "nothing"):
                known.append(datetime.fromtimestamp(0, UTC) + timedelta(seconds=training.began_s))
                break
        for folder in (self.folder, self.folder.serving):
            for name in folder.names():
                try:
                    card = folder.load(name, folder.versions(name)[-1]).card
                except ModelRefused:
                    # It cannot serve: nothing was learned.
                    continue
                if card.until:
                    known.append(datetime.fromisoformat(card.until))
        return max(known)

    # -- training -------------------------------------------------------------------------------------

    def begin(self, why: str = "asked for") -> bool:
        """Begin training now, unless this or another process is training, or did within the hour.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        missing = why_not()
        if missing is not None:
            self._say("not_retrained", missing)
            return False
        with self._lock:
            if self._process is not None or self._closed:
                return False
            trainings = self.store.trainings
            by = f"process {os.getpid()} on {platform.node()}"
            training = trainings.begin(by, why, apart_s=APART_S)
            if isinstance(training, str):
                log.debug("not trained now: %s", training)
                return False
            self._drift = None
            try:
                self._process = self._started(training.id)
            except OSError as error:
                trainings.end(training.id, "failed", f"no process could be started: {error}")
                self._say("retraining_failed", f"no process could be started: {error}")
                return False
            self._waiter = threading.Thread(
                target=self._await, args=(self._process, training.id), name="godb-fast-training", daemon=True
            )
            self._waiter.start()
        log.info("training models in the background: %s", why)
        return True

    def _started(self, lease: str) -> subprocess.Popen[bytes]:
        package = str(Path(__file__).resolve().parents[2])
        paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        command = [sys.executable, "-P", "-m", "godb_fast.learning.training.apart"]
        return subprocess.Popen(
            [*command, str(self.store.path), str(self.folder.serving.path), lease],
            # Its end is how the training sees ours.
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*paths, package])},
            # Ctrl-C is for us to decide on.
            start_new_session=True,
        )

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for a training that this process began; whether none is under way any more."""
        waiter = self._waiter
        if waiter is not None:
            waiter.join(timeout_s)
        return waiter is None or not waiter.is_alive()

    def close(self) -> None:
        """Stop a training that this process began; nothing half-done is left."""
        with self._lock:
            self._closed = True
            process, waiter = self._process, self._waiter
        if process is None or waiter is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        for end in (process.terminate, process.kill):
            try:
                process.wait(PATIENCE_S)
                break
            except subprocess.TimeoutExpired:
                end()
        waiter.join(PATIENCE_S)

    def _await(self, process: subprocess.Popen[bytes], lease: str) -> None:
        """In a thread of its own: until the training ends."""
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace").strip()
        code = process.wait()
        for pipe in (process.stdin, process.stderr):
            if pipe is not None and not pipe.closed:
                pipe.close()
        outcome, told = self._outcome(lease, code, said)
        with self._lock:
            self._process = None
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
            # What it made is looked at with the next execution.
            self._since, self._next_look = self._step, 0.0
        if outcome == "failed":
            self._say("retraining_failed", f"the models before serve: {told}")
        log.info("training in the background: %s: %s", outcome, told)

    def _outcome(self, lease: str, code: int, said: str) -> tuple[str, str]:
        last = said.splitlines()[-1] if said else f"exit code {code}"
        outcome, told = "failed", f"killed by signal {-code}" if code < 0 else last
        if self._closed:
            outcome, told = "interrupted", "the process that asked for it ended"
        try:
            if self.store.trainings.end(lease, outcome, told):
                return outcome, told
            for training in self.store.trainings.recent():
                if training.id == lease and training.outcome is not None:
                    return training.outcome, training.told
        except StoreError as error:
            return outcome, f"{told}; {error}"
        return outcome, told


def _close_all() -> None:
    for retrainer in list(_retrainers):
        retrainer.close()


def _after_fork() -> None:
    for retrainer in list(_retrainers):
        retrainer.reset()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
