"""Regions of statements that a model was asked for, and what it chose: served by the processes to come."""

from __future__ import annotations

import time
from typing import Any, Final

from godb_fast.errors import StoreError
from godb_fast.store.plans import pack
from godb_fast.store.reading import state_of
from godb_fast.store.tables import Table

#: Regions that one store keeps; those that were written longest ago are forgotten first.
MOST_CHOICES: Final = 10_000


class KeptChoices(Table):
    """The table of choices in one store file.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    def keep(self, engine: str, database: str, state: dict[str, Any]) -> None:
        """Keep what is known of a region (``RegionChoice.to_dict``) in place of what was.

        Steerings that another process has ``discarded`` since stay so, where the region rests on the same.
        """
        key = engine, database, str(state["fingerprint"]), str(state["bucket"])
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(
                "SELECT state FROM choices "
                "WHERE engine = ? AND database = ? AND fingerprint = ? AND bucket = ?",
                key,
            ).fetchone()
            if row is not None:
                before = self._unpacked(row[0])
                if before["basis"] == state["basis"]:
                    state = {**state, "discarded": {**before["discarded"], **state["discarded"]}}
            connection.execute(
                "INSERT OR REPLACE INTO choices (engine, database, fingerprint, bucket, state, at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (*key, pack(state), time.time()),
            )
            connection.execute(
                "DELETE FROM choices WHERE at < (SELECT at FROM choices ORDER BY at DESC LIMIT 1 OFFSET ?)",
                (MOST_CHOICES - 1,),
            )
            connection.execute("COMMIT")

    def templates(self, engine: str, database: str) -> frozenset[str]:
        """Fingerprints of which there is a region; asking makes no file."""
        if not self.path.exists():
            return frozenset()
        with self._using() as connection:
            rows = connection.execute(
                "SELECT DISTINCT fingerprint FROM choices WHERE engine = ? AND database = ?",
                (engine, database),
            ).fetchall()
        return frozenset(row[0] for row in rows)

    def of(self, engine: str, database: str, fingerprint: str) -> list[dict[str, Any]]:
        """All regions of a template, the oldest first; asking makes no file."""
        if not self.path.exists():
            return []
        with self._using() as connection:
            rows = connection.execute(
                "SELECT state FROM choices WHERE engine = ? AND database = ? AND fingerprint = ? "
                "ORDER BY at, bucket",
                (engine, database, fingerprint),
            ).fetchall()
        return [self._unpacked(row[0]) for row in rows]

    def forget(self, engine: str, database: str) -> int:
        """Drop all regions of a database; how many."""
        with self._using() as connection:
            return connection.execute(
                "DELETE FROM choices WHERE engine = ? AND database = ?", (engine, database)
            ).rowcount

    def _unpacked(self, blob: object) -> dict[str, Any]:
        try:
            state = state_of(blob)
            if not ("basis" in state and isinstance(state.get("discarded"), dict)):
                raise ValueError("no region")
        except ValueError as error:
            raise StoreError(
                f"what models chose is damaged in store {self.path} ({error}); move the file away"
            ) from error
        return state
