"""Models that were trained in the background, and wait in shadow until they are known to be no worse.

They lie in ``shadow/<name>/<version>`` below the folder of the models that serve, where nothing that serves
looks. A version that is promoted moves up, in one step; one that is refused stays, with the reason beside it,
so that its number is not given to another.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

from godb_fast.errors import ModelRefused
from godb_fast.learning.models.card import Card
from godb_fast.learning.models.folder import ModelFolder

SHADOW: Final = "shadow"
REFUSED: Final = "refused.txt"


class ShadowFolder(ModelFolder):
    """Models in shadow, below the folder of those that serve.

    Parameters
    ----------
    serving : path
        The folder of the models that serve.
    """

    def __init__(self, serving: str | os.PathLike[str]) -> None:
        self.serving = ModelFolder(serving)
        super().__init__(self.serving.path / SHADOW)

    def next_version(self, name: str) -> int:
        """One more than the newest version that serves or waits."""
        return max(super().next_version(name), self.serving.next_version(name))

    def waiting(self, name: str) -> int | None:
        """The version that waits to be compared: the newest, if it was not refused."""
        newest = max(self.versions(name), default=None)
        return None if newest is None or self.refused(name, newest) is not None else newest

    def refused(self, name: str, version: int) -> str | None:
        """Why a version was refused; None if it was not."""
        try:
            return (self.path / name / str(version) / REFUSED).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def refuse(self, name: str, version: int, reason: str) -> None:
        """Have a version serve never.

        Raises
        ------
        ModelRefused
            If that cannot be noted.
        """
        place = self.path / name / str(version)
        beside = place / f".{REFUSED}"
        try:
            beside.write_text(reason, encoding="utf-8")
            beside.replace(place / REFUSED)
        except OSError as error:
            raise ModelRefused(f"cannot write {place}: {error.strerror or error}", "unwritable") from error

    def promote(self, name: str, version: int) -> Card | None:
        """Have a version serve: its card then; None if another process was first.

        Raises
        ------
        ModelRefused
            If it cannot be read or moved.
        """
        source, target = self.path / name / str(version), self.serving.path / name / str(version)
        try:
            file = self.load(name, version)
        except ModelRefused:
            if not source.exists():
                return None
            raise
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                source.rename(target)
                return file.card
        except FileNotFoundError:
            return None
        except OSError as error:
            if not target.exists():
                why = error.strerror or str(error)
                raise ModelRefused(f"cannot move {source} to {target}: {why}", "unwritable") from error
        # Somebody trained by hand meanwhile, and that has this number.
        card = replace(file.card, version=self.next_version(name))
        self.serving.export(card, file.data)
        shutil.rmtree(source, ignore_errors=True)
        return card

    def sweep(self) -> None:
        """Remove what is of no use any more: versions before the newest, and halves of exports.

        Only for who holds the lease of training: nobody else exports here.
        """
        for name in self.names() if self.path.is_dir() else []:
            newest = max(self.versions(name))
            for version in self.versions(name):
                if version < newest:
                    shutil.rmtree(self.path / name / str(version), ignore_errors=True)
        for half in self.path.glob("*/.*-*"):
            shutil.rmtree(half, ignore_errors=True)

    def place(self, name: str, version: int) -> Path:
        """Where a version lies."""
        return self.path / name / str(version)
