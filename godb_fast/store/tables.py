"""What the tables of a store file that are asked directly have in common."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from godb_fast.errors import InvalidInput, StoreError
from godb_fast.store.writer import GATE, connect, diagnose


class Table:
    """A table of a store file. Every method raises StoreError if the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        try:
            # A connection per question: a fork never shares one. What is not committed goes with it.
            with GATE.inside(), contextlib.closing(connect(self.path)) as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreError(diagnose(error, self.path)[1]) from error


def utc(moment: datetime) -> str:
    """The store's times: texts that sort as the moments do.

    Raises
    ------
    InvalidInput
        If the moment has no time zone.
    """
    if moment.tzinfo is None:
        raise InvalidInput(f"{moment} has no time zone; give UTC")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
