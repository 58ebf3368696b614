"""What the adaptive cost model has learned, a state per database and machine: numbers, names of tables."""

from __future__ import annotations

from typing import Any

from godb_fast.store.states import KeptStates, SharedState


class KeptCosts(KeptStates):
    """The table of cost models in one store file.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    table = "cost_models"
    key = ("engine", "database", "machine")
    what = "learned costs"

    def save(self, engine: str, database: str, machine: str, state: dict[str, Any]) -> None:
        """Keep a state (what ``AdaptiveCostModel.to_dict`` gives) in place of the former one."""
        self._save((engine, database, machine), state)

    def saved(self, engine: str, database: str, machine: str) -> dict[str, Any] | None:
        """The state of a database on a machine, if there is one; asking makes no file."""
        return self._saved((engine, database, machine))

    def shared(self, engine: str, database: str, machine: str) -> SharedState:
        """The state of a database on a machine, as one of several processes keeps it."""
        return SharedState(self, (engine, database, machine))

    def forget(self, engine: str, database: str, machine: str) -> None:
        """Drop the state of a database on a machine; nothing happens if there is none."""
        self._forget((engine, database, machine))
