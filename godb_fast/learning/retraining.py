"""Models that are trained anew while the ones before serve: in another process, at low priority.

:class:`ModelSlot` holds the model that serves under a name; a newer one takes its place between two calls.
:class:`Retrainer` counts executions and starts ``godb-fast train`` when there are enough new ones, or when
somebody saw drift. What the training holds against a model (its own gate) is what keeps the one before.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

from godb_fast.errors import InvalidInput, ModelRefused
from godb_fast.learning.models import Model, ModelFolder
from godb_fast.learning.models.shipped import find

log = logging.getLogger("godb_fast")

#: What ``godb-fast train`` exits with where there was nothing to export.
_NOTHING: Final = 1
#: How much less of the processor than its parent the training asks for (nice).
_NICER: Final = 10


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
    """

    def __init__(self, name: str, folder: str | os.PathLike[str] | None = None, **how: Any) -> None:
        self.name = name
        self.folder = folder
        self._how = how
        self._lock = threading.Lock()
        self.model: Model | None = find(name, folder, **how)

    def refresh(self) -> bool:
        """Load a newer version, if one was exported and can be used; whether the model changed."""
        with self._lock:
            before = self.model
            refused: list[ModelRefused] = []
            found = find(self.name, self.folder, refused=refused, **self._how)
            if found is None:
                return False
            if before is not None:
                # A file that was damaged since goes on serving from memory; an older one is no successor.
                damaged = bool(refused) and found.card.version < before.card.version
                if damaged or found.card == before.card:
                    return False
            self.model = found
            return True


class Retrainer:
    """Trains anew in the background. Thread-safe.

    Parameters
    ----------
    store : path
    folder : path
        Where models go.
    every : int
        After so many new executions.
    """

    def __init__(
        self, store: str | os.PathLike[str], folder: str | os.PathLike[str], *, every: int = 2_000
    ) -> None:
        if every < 1:
            raise InvalidInput(f"training every {every} executions; it is at least 1")
        self.store = Path(store)
        self.folder = Path(folder)
        self.every = every
        #: How often training ended, by its outcome: ``exported``, ``nothing``, ``failed``.
        self.outcomes: dict[str, int] = {}
        self._slots: list[ModelSlot] = []
        self._since = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def serves(self, slot: ModelSlot) -> ModelSlot:
        """Have a slot refreshed after each training; the slot."""
        self._slots.append(slot)
        return slot

    def noted(self, executions: int = 1) -> None:
        """So many executions were recorded; training begins when there are enough."""
        with self._lock:
            self._since += executions
            due = self._since >= self.every
        if due:
            self.begin()

    def begin(self) -> bool:
        """Begin training now, drift was seen say; False if one is under way."""
        self.poll()
        with self._lock:
            if self._process is not None:
                return False
            self._since = 0
            command = [
                sys.executable,
                "-m",
                "godb_fast",
                "train",
                str(self.store),
                "--models",
                str(self.folder),
            ]
            if os.name == "posix":
                command = ["nice", "-n", str(_NICER), *command]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            return True

    def poll(self) -> str | None:
        """Look whether a training has ended, and refresh the slots; its outcome, None if there was no end."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is None:
                return None
            self._process = None
        return self._ended(process)

    def wait(self, timeout_s: float | None = None) -> str | None:
        """Wait for the training under way; its outcome, None if there is none or time ran out."""
        process = self._process
        if process is None:
            return None
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        return self.poll()

    def close(self) -> None:
        """Stop a training under way; nothing half-done is left."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.communicate()

    def _ended(self, process: subprocess.Popen[bytes]) -> str:
        said = process.communicate()[1].decode(errors="replace").strip()
        outcome = {0: "exported", _NOTHING: "nothing"}.get(process.returncode, "failed")
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if outcome == "failed":
            last = said.splitlines()[-1] if said else f"exit code {process.returncode}"
            log.warning("training failed, the models before serve: %s", last)
        elif outcome == "exported":
            changed = [slot.model.key for slot in self._slots if slot.refresh() and slot.model is not None]
            log.info("models in service after training: %s", ", ".join(changed) or "as before")
        return outcome

    def exported(self) -> dict[str, list[int]]:
        """Versions of each model in the folder."""
        folder = ModelFolder(self.folder)
        return {name: folder.versions(name) for name in folder.names()}
