"""What was learned, one state per key in a table of its own: numbers and hashes, never literals."""

from __future__ import annotations

import time
import zlib
from typing import Any, ClassVar

from godb_fast.errors import StoreError
from godb_fast.store.plans import pack, unpack
from godb_fast.store.tables import Table


class KeptStates(Table):
    """One table of a store file. Subclasses say which, and take its key's columns by their names.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    #: The table, the columns of its key, and what a message calls a state.
    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]
    what: ClassVar[str]

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
