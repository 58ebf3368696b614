"""The files of models: ``<name>/<version>/{model.onnx, card.json}`` under one folder.

A version appears whole or not at all: it is written beside its place and renamed into it. What is read is
bytes; they are hashed before anything looks into them. Pickle and joblib files are never opened.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from godb_fast.core.identity import random_id
from godb_fast.errors import ModelRefused
from godb_fast.learning.models.card import Card
from godb_fast.learning.models.decoding import decoding
from godb_fast.learning.models.graph import FLOAT, Graph, read_graph

log = logging.getLogger("godb_fast")

MODEL: Final = "model.onnx"
CARD: Final = "card.json"
#: No model of ours is near this; one that is would not be read in a blink.
MOST_BYTES: Final = 64 << 20
MOST_CARD_BYTES: Final = 1 << 20

Loaded = TypeVar("Loaded")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}\Z")


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model that was checked: its card, its bytes, and what they hold."""

    card: Card
    data: bytes
    graph: Graph

    @classmethod
    def of(cls, card: Card, data: bytes) -> ModelFile:
        """Check bytes against their card, and what they hold.

        Raises
        ------
        ModelRefused
            Naming the reason.
        """
        check_bytes(card, data)
        with decoding(card.key):
            graph = read_graph(data)
            _check_shapes(card, graph)
        return cls(card, data, graph)


def check_bytes(card: Card, data: bytes) -> None:
    """Whether bytes are those that a card describes, and its features those that are computed here.

    Raises
    ------
    ModelRefused
        Naming the reason.
    """
    card.check_features()
    if len(data) < card.size_bytes:
        raise ModelRefused(
            f"model {card.key} has {len(data)} bytes, its card says {card.size_bytes}: it was cut",
            "truncated",
        )
    if len(data) > MOST_BYTES:
        raise ModelRefused(f"model {card.key} has {len(data)} bytes, more than {MOST_BYTES}", "malformed")
    found = sha256(data)
    if found != card.sha256:
        raise ModelRefused(
            f"model {card.key} is not the file that its card describes (SHA-256 {found[:12]}…, not "
            f"{card.sha256[:12]}…)",
            "tampered",
        )


def _check_shapes(card: Card, graph: Graph) -> None:
    if len(graph.inputs) != 1 or graph.inputs[0].name != card.input:
        names = ", ".join(tensor.name for tensor in graph.inputs)
        raise ModelRefused(f"model {card.key} has the inputs {names}, not {card.input!r} alone", "card")
    given = graph.inputs[0]
    if given.element != FLOAT or given.shape != (None, len(card.columns)):
        raise ModelRefused(
            f"model {card.key} takes {given.shape} of type {given.element}, not any number of rows of "
            f"{len(card.columns)} float32 columns",
            "card",
        )
    made = graph.output(card.output)
    # None: a forest's width is told by its trees; onnxruntime's server needs it to be declared.
    if made.shape[:1] != (None,) or made.shape[1:] not in ((), (None,), (1,), (2,)):
        raise ModelRefused(
            f"model {card.key} gives {card.output!r} of shape {made.shape}, not one number per row (or two)",
            "card",
        )
    if made.element != FLOAT:
        raise ModelRefused(f"model {card.key} gives {card.output!r} of another type than float32", "card")


class ModelFolder:
    """Models under one folder.

    Parameters
    ----------
    path : path
        It need not exist before the first export.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def names(self) -> list[str]:
        """Names of models of which there is a version."""
        try:
            if not self.path.is_dir():
                return []
            folders = [each.name for each in self.path.iterdir() if each.is_dir()]
        except OSError as error:
            log.warning("%s", _unreadable(self.path, error))
            return []
        return sorted(name for name in folders if self.versions(name))

    def versions(self, name: str) -> list[int]:
        """Versions of a model, the oldest first; none of a folder that cannot be read, which is logged."""
        try:
            return self._listed(name)
        except ModelRefused as error:
            log.warning("%s", error)
            return []

    def _listed(self, name: str) -> list[int]:
        """Versions of a model; raises ModelRefused if its folder cannot be read."""
        place = self.path / name
        try:
            if not place.is_dir():
                return []
            names = [each.name for each in place.iterdir() if each.is_dir() and _VERSION.match(each.name)]
        except OSError as error:
            raise _unreadable(place, error) from error
        return sorted(map(int, names))

    def load(self, name: str, version: int) -> ModelFile:
        """Read one version.

        Raises
        ------
        ModelRefused
            Naming the reason.
        """
        return ModelFile.of(*self._read(name, version))

    def check(self, name: str, version: int) -> Card:
        """The card of one version, whose file is there as the card says; what it holds is not looked at.

        Raises
        ------
        ModelRefused
            Naming the reason.
        """
        card, data = self._read(name, version)
        check_bytes(card, data)
        return card

    def _read(self, name: str, version: int) -> tuple[Card, bytes]:
        place = self.path / name / str(version)
        card = Card.from_json(_read(place / CARD, MOST_CARD_BYTES))
        if (card.name, card.version) != (name, version):
            raise ModelRefused(f"{place} holds the card of {card.key}", "card")
        return card, _read(place / MODEL, MOST_BYTES)

    def newest(
        self, name: str, make: Callable[[ModelFile], Loaded], refused: list[ModelRefused] | None = None
    ) -> Loaded | None:
        """The newest version that can be used, as ``make`` makes it; None if there is none.

        Versions that are refused are logged, and added to ``refused``; the one before serves.
        """
        versions: list[int] = []
        try:
            versions = self._listed(name)
        except ModelRefused as error:
            log.warning("%s", error)
            if refused is not None:
                refused.append(error)
        for version in reversed(versions):
            try:
                return make(self.load(name, version))
            except ModelRefused as error:
                log.warning("model %s/%d is refused (%s): %s", name, version, error.reason, error)
                if refused is not None:
                    refused.append(error)
        return None

    def check_writable(self) -> None:
        """Make and remove a file, and the folders that are not there yet: what is refused is said now.

        Raises
        ------
        ModelRefused
            As :meth:`export` would, once there is something to write.
        """
        made: list[Path] = []
        try:
            place = self.path.absolute()
            for folder in (*reversed(place.parents), place):
                if not folder.is_dir():
                    folder.mkdir()
                    made.append(folder)
            probe = place / f".{random_id()}"
            probe.touch(exist_ok=False)
            probe.unlink()
        except (OSError, ValueError) as error:
            # ValueError: a name that no file can have.
            why = getattr(error, "strerror", None) or str(error)
            raise ModelRefused(f"cannot write models to {self.path}: {why}", "unwritable") from error
        finally:
            for folder in reversed(made):
                # Another process may have put something there meanwhile.
                with suppress(OSError):
                    folder.rmdir()

    def next_version(self, name: str) -> int:
        """One more than the newest version; raises ModelRefused if these cannot be read."""
        return max(self._listed(name), default=0) + 1

    def export(self, card: Card, data: bytes) -> Path:
        """Write a version; whatever interrupts it, the versions before stay as they are.

        Raises
        ------
        ModelRefused
            If the bytes are not the card's, the version exists, or the folder cannot be written.
        """
        ModelFile.of(card, data)
        place = self.path / card.name / str(card.version)
        if place.exists():
            raise ModelRefused(f"{place} exists; a version is never replaced", "exists")
        beside = place.with_name(f".{card.version}-{random_id()}")
        try:
            beside.mkdir(parents=True)
            _write(beside / MODEL, data)
            _write(beside / CARD, card.to_json().encode())
            _sync(beside)
            # On POSIX a folder that is not empty is not replaced: who comes second is told.
            beside.rename(place)
            _sync(place.parent)
        except OSError as error:
            why = error.strerror or str(error)
            raise ModelRefused(f"cannot write {place}: {why}", "unwritable") from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return place


def _unreadable(place: Path, error: OSError) -> ModelRefused:
    return ModelRefused(f"cannot read the models in {place}: {error.strerror or error}", "missing")


def sha256(data: bytes) -> str:
    """As cards have it."""
    return hashlib.sha256(data).hexdigest()


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ModelRefused(f"cannot read {path}: {error.strerror or error}", "missing") from error
    if len(data) > most:
        raise ModelRefused(f"{path} has more than {most} bytes", "malformed")
    return data


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
