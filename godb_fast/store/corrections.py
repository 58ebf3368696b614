"""What cardinality feedback has learned, one state per database: hashes and numbers, never literals."""

from __future__ import annotations

from typing import Any

from godb_fast.store.states import KeptStates, SharedState


class KeptCorrections(KeptStates):
    """The table of corrections in one store file.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    table = "corrections"
    key = ("engine", "database")
    what = "corrections"

    def save(self, engine: str, database: str, state: dict[str, Any]) -> None:
        """Keep a state (what ``Corrections.to_dict`` gives) in place of the former one."""
        self._save((engine, database), state)

    def saved(self, engine: str, database: str) -> dict[str, Any] | None:
        """The state of a database, if there is one; asking makes no file."""
        return self._saved((engine, database))

    def shared(self, engine: str, database: str) -> SharedState:
        """The state of a database, as one of several processes keeps it."""
        return SharedState(self, (engine, database))

    def forget(self, engine: str, database: str) -> None:
        """Drop the state of a database; nothing happens if there is none."""
        self._forget((engine, database))
