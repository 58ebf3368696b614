"""What cardinality feedback has learned, one state per database: hashes and numbers, never literals."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from godb_fast.errors import StoreError
from godb_fast.store.plans import pack, unpack
from godb_fast.store.writer import GATE, connect, diagnose


class KeptCorrections:
    """The table of corrections in one store file.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, engine: str, database: str, state: dict[str, Any]) -> None:
        """Keep a state (what ``Corrections.to_dict`` gives) in place of the former one."""
        with self._using() as connection:
            connection.execute(
                "INSERT INTO corrections (engine, database, state, at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (engine, database) DO UPDATE SET state = excluded.state, at = excluded.at",
                (engine, database, pack(state), time.time()),
            )

    def saved(self, engine: str, database: str) -> dict[str, Any] | None:
        """The state of a database, if there is one; asking makes no file."""
        if not self.path.exists():
            return None
        with self._using() as connection:
            row = connection.execute(
                "SELECT state FROM corrections WHERE engine = ? AND database = ?", (engine, database)
            ).fetchone()
        if row is None:
            return None
        try:
            state: dict[str, Any] = unpack(row[0])
        except (zlib.error, ValueError) as error:
            raise StoreError(
                f"the corrections of {database} in store {self.path} are damaged ({error}); forget them"
            ) from error
        return state

    def forget(self, engine: str, database: str) -> None:
        """Drop the state of a database; nothing happens if there is none."""
        with self._using() as connection:
            connection.execute(
                "DELETE FROM corrections WHERE engine = ? AND database = ?", (engine, database)
            )

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        try:
            # A connection per question: a fork never shares one.
            with GATE.inside(), contextlib.closing(connect(self.path)) as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreError(diagnose(error, self.path)[1]) from error
