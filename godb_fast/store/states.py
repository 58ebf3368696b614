"""What was learned, one state per key in a table of its own: numbers and hashes, never literals."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from godb_fast.errors import StoreError
from godb_fast.store.plans import pack, unpack
from godb_fast.store.writer import GATE, connect, diagnose


class KeptStates:
    """One table of a store file. Subclasses say which, and take its key's columns by their names.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    #: The table, the columns of its key, and what a message calls a state.
    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]
    what: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path

    def _save(self, key: tuple[str, ...], state: dict[str, Any]) -> None:
        columns = ", ".join(self.key)
        marks = ", ".join("?" for _ in self.key)
        with self._using() as connection:
            connection.execute(
                f"INSERT INTO {self.table} ({columns}, state, at) VALUES ({marks}, ?, ?) "
                f"ON CONFLICT ({columns}) DO UPDATE SET state = excluded.state, at = excluded.at",
                (*key, pack(state), time.time()),
            )

    def _saved(self, key: tuple[str, ...]) -> dict[str, Any] | None:
        if not self.path.exists():
            # Asking makes no file.
            return None
        with self._using() as connection:
            row = connection.execute(f"SELECT state FROM {self.table} WHERE {self._of_key}", key).fetchone()
        if row is None:
            return None
        try:
            state: dict[str, Any] = unpack(row[0])
        except (zlib.error, ValueError) as error:
            raise StoreError(
                f"the {self.what} of {key[1]} in store {self.path} are damaged ({error}); forget them"
            ) from error
        return state

    def _forget(self, key: tuple[str, ...]) -> None:
        with self._using() as connection:
            connection.execute(f"DELETE FROM {self.table} WHERE {self._of_key}", key)

    @property
    def _of_key(self) -> str:
        return " AND ".join(f"{column} = ?" for column in self.key)

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        try:
            # A connection per question: a fork never shares one.
            with GATE.inside(), contextlib.closing(connect(self.path)) as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreError(diagnose(error, self.path)[1]) from error
