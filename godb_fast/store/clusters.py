"""Which queries look alike, one state per database: names of tables and columns, never literals."""

from __future__ import annotations

from typing import Any

from godb_fast.store.states import KeptStates


class KeptClusters(KeptStates):
    """The table of clusters in one store file.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    table = "query_clusters"
    key = ("engine", "database")
    what = "clusters of queries"

    def save(self, engine: str, database: str, state: dict[str, Any]) -> None:
        """Keep a state (what ``QueryClusters.to_dict`` gives) in place of the former one."""
        self._save((engine, database), state)

    def saved(self, engine: str, database: str) -> dict[str, Any] | None:
        """The state of a database, if there is one; asking makes no file."""
        return self._saved((engine, database))
