"""What was learned, one state per key in a table of its own: numbers and hashes, never literals."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final

from godb_fast.core.forking import renews_locks
from godb_fast.errors import InvalidInput, StoreError
from godb_fast.store.plans import pack
from godb_fast.store.reading import state_of
from godb_fast.store.tables import Table

#: So often is ours made ready while others may write; after that they wait.
_TRIES: Final = 3


class KeptStates(Table):
    """One table of a store file. Subclasses say which, and take its key's columns by their names.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    #: The table, the columns of its key, and what a message calls a state.
    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]
    what: ClassVar[str]

    def _save(self, key: tuple[str, ...], state: dict[str, Any]) -> None:
        with self._using() as connection:
            self._put(connection, key, pack(state))

    def _saved(self, key: tuple[str, ...]) -> dict[str, Any] | None:
        packed = self._packed(key)
        return None if packed is None else self._unpacked(key, packed)

    def _packed(self, key: tuple[str, ...]) -> bytes | None:
        if not self.path.exists():
            # Asking makes no file.
            return None
        with self._using() as connection:
            row = connection.execute(f"SELECT state FROM {self.table} WHERE {self._of_key}", key).fetchone()
        return None if row is None else self._blob(key, row[0])

    def _unpacked(self, key: tuple[str, ...], packed: bytes) -> dict[str, Any]:
        try:
            return state_of(packed)
        except ValueError as error:
            raise self._damaged(key, str(error)) from error

    def _blob(self, key: tuple[str, ...], value: object) -> bytes:
        # SQLite keeps any value in any column, and bytes() of a number is as many zeros.
        if not isinstance(value, bytes):
            raise self._damaged(key, f"no bytes, but {type(value).__name__}")
        return value

    def _damaged(self, key: tuple[str, ...], why: str) -> StoreError:
        return StoreError(
            f"the {self.what} of {key[1]} in store {self.path} are damaged ({why}); forget them"
        )

    def _replace(self, key: tuple[str, ...], former: bytes | None, state: bytes) -> bool:
        """Write a state if the one that is kept is still ``former``; whether it was."""
        return self._exchange(key, lambda found: state if found == former else None) is not None

    def _exchange(
        self, key: tuple[str, ...], made_of: Callable[[bytes | None], bytes | None]
    ) -> bytes | None:
        """Write what is made of the state that is kept, while everybody else waits; what was written."""
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(f"SELECT state FROM {self.table} WHERE {self._of_key}", key).fetchone()
            state = made_of(None if row is None else self._blob(key, row[0]))
            if state is not None:
                self._put(connection, key, state)
            connection.execute("COMMIT")
        return state

    def _put(self, connection: sqlite3.Connection, key: tuple[str, ...], state: bytes) -> None:
        columns = ", ".join(self.key)
        marks = ", ".join("?" for _ in self.key)
        connection.execute(
            f"INSERT INTO {self.table} ({columns}, state, at) VALUES ({marks}, ?, ?) "
            f"ON CONFLICT ({columns}) DO UPDATE SET state = excluded.state, at = excluded.at",
            (*key, state, time.time()),
        )

    def _forget(self, key: tuple[str, ...]) -> None:
        with self._using() as connection:
            connection.execute(f"DELETE FROM {self.table} WHERE {self._of_key}", key)

    @property
    def _of_key(self) -> str:
        return " AND ".join(f"{column} = ?" for column in self.key)


class SharedState:
    """One state that several processes learn: what others wrote is taken in before ours takes its place."""

    def __init__(self, table: KeptStates, key: tuple[str, ...]) -> None:
        self._table, self._key = table, key
        # A session that closes and the background may write at once: nothing is to be taken in twice.
        self._lock = threading.Lock()
        renews_locks(self)
        #: As it was read or written here last, packed.
        self._known: bytes | None = None

    def read(self) -> dict[str, Any] | None:
        """The state, if there is one; asking makes no file.

        Raises
        ------
        StoreError
            If the file cannot be used, or the state is damaged.
        """
        packed = self._table._packed(self._key)
        found = None if packed is None else self._table._unpacked(self._key, packed)
        self._known = packed
        return found

    def write(
        self,
        state: Callable[[], dict[str, Any]],
        take_in: Callable[[dict[str, Any] | None, dict[str, Any]], object],
    ) -> None:
        """Keep our state.

        Parameters
        ----------
        state : callable
            Gives ours, plain data.
        take_in : callable
            Takes the state that ours was made from (None: it began anew) and what others made of it since.

        Raises
        ------
        StoreError
            If the file cannot be used, or what others wrote cannot be read: it stays as it is.
        """
        with self._lock:
            for _ in range(_TRIES):
                found = self._table._packed(self._key)
                ours = self._made_of(found, state, take_in)
                if ours == found or self._table._replace(self._key, found, ours):
                    self._known = ours
                    return
            self._known = self._table._exchange(self._key, lambda found: self._made_of(found, state, take_in))

    def _made_of(
        self,
        found: bytes | None,
        state: Callable[[], dict[str, Any]],
        take_in: Callable[[dict[str, Any] | None, dict[str, Any]], object],
    ) -> bytes:
        """Our state with what others wrote."""
        if found is not None and found != self._known:
            before = None if self._known is None else self._table._unpacked(self._key, self._known)
            try:
                take_in(before, self._table._unpacked(self._key, found))
            except InvalidInput as error:
                raise StoreError(
                    f"the {self._table.what} that another process wrote to store {self._table.path} "
                    f"cannot be read here, and stay as they are: {error}"
                ) from error
            self._known = found
        return pack(state())
