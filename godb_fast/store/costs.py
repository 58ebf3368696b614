"""What the adaptive cost model has learned, a state per database and machine: numbers, names of tables."""

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


class KeptCosts:
    """The table of cost models in one store file.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, engine: str, database: str, machine: str, state: dict[str, Any]) -> None:
        """Keep a state (what ``AdaptiveCostModel.to_dict`` gives) in place of the former one."""
        with self._using() as connection:
            connection.execute(
                "INSERT INTO cost_models (engine, database, machine, state, at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (engine, database, machine) "
                "DO UPDATE SET state = excluded.state, at = excluded.at",
                (engine, database, machine, pack(state), time.time()),
            )

    def saved(self, engine: str, database: str, machine: str) -> dict[str, Any] | None:
        """The state of a database on a machine, if there is one; asking makes no file."""
        if not self.path.exists():
            return None
        with self._using() as connection:
            row = connection.execute(
                "SELECT state FROM cost_models WHERE engine = ? AND database = ? AND machine = ?",
                (engine, database, machine),
            ).fetchone()
        if row is None:
            return None
        try:
            state: dict[str, Any] = unpack(row[0])
        except (zlib.error, ValueError) as error:
            raise StoreError(
                f"the cost model of {database} in store {self.path} is damaged ({error}); forget it"
            ) from error
        return state

    def forget(self, engine: str, database: str, machine: str) -> None:
        """Drop the state of a database on a machine; nothing happens if there is none."""
        with self._using() as connection:
            connection.execute(
                "DELETE FROM cost_models WHERE engine = ? AND database = ? AND machine = ?",
                (engine, database, machine),
            )

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        try:
            # A connection per question: a fork never shares one.
            with GATE.inside(), contextlib.closing(connect(self.path)) as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreError(diagnose(error, self.path)[1]) from error
