"""What exploration keeps: verified steerings, the state of explorations, what steering has lost.

Written at once, in transactions of their own (a trial takes far longer than a commit), so that whatever
stops a process, what was recorded before is whole. Two processes may explore with one file: entries replace
each other one by one, and an exploration that another process has taken further is refused to the first.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from godb_fast.core.identity import random_id
from godb_fast.errors import StoreError
from godb_fast.store.plans import pack
from godb_fast.store.reading import number, readable, state_of, text
from godb_fast.store.writer import GATE, connect, diagnose

#: Verified steerings, and default plans, that one store keeps; those used longest ago are forgotten first.
MOST_KEPT: Final = 10_000


@dataclass(frozen=True)
class SavedExploration:
    """An exploration as it was last saved.

    ``run`` names it, ``revision`` counts its saves: together they say whether anybody else went on with it.
    """

    key: str
    run: str
    revision: int
    at_s: float
    state: dict[str, Any]


class Explorations:
    """The tables of exploration in one store file.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    # -- verified steerings -------------------------------------------------------------------------

    def remember(self, engine: str, database: str, entry: dict[str, Any]) -> None:
        """Keep a verified steering (what ``MemoEntry.to_dict`` gives) in place of its key's former one."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO memo (engine, database, fingerprint, bucket, entry, at) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (engine, database, fingerprint, bucket) "
                "DO UPDATE SET entry = excluded.entry, at = excluded.at",
                (
                    engine, database, str(entry["fingerprint"]), str(entry["bucket"]), pack(entry),
                    time.time(),
                ),
            )  # fmt: skip
            _bound(connection, "memo")

    def used(self, engine: str, database: str, entries: Sequence[dict[str, Any]]) -> None:
        """Note that verified steerings are in use: those that are not make room first."""
        with self._writing() as connection:
            connection.executemany(
                "UPDATE memo SET at = ? WHERE engine = ? AND database = ? AND fingerprint = ? AND bucket = ?",
                [
                    (time.time(), engine, database, str(entry["fingerprint"]), str(entry["bucket"]))
                    for entry in entries
                ],
            )

    def forget(self, engine: str, database: str, entry: dict[str, Any]) -> None:
        """Drop a verified steering; nothing happens if there is none."""
        with self._writing() as connection:
            connection.execute(
                "DELETE FROM memo WHERE engine = ? AND database = ? AND fingerprint = ? AND bucket = ?",
                (engine, database, str(entry["fingerprint"]), str(entry["bucket"])),
            )

    def remembered(self, engine: str, database: str) -> list[dict[str, Any]]:
        """All verified steerings of a database, the oldest first."""
        if not self.path.exists():
            # Asking makes no file.
            return []
        with self._writing() as connection:
            rows = connection.execute(
                "SELECT entry FROM memo WHERE engine = ? AND database = ? ORDER BY at, fingerprint, bucket",
                (engine, database),
            ).fetchall()
        return [self._unpacked(row[0]) for row in rows]

    def remembered_elsewhere(self, engine: str, database: str) -> list[tuple[str, dict[str, Any]]]:
        """All verified steerings of other databases (of other roles and settings, say) with theirs."""
        if not self.path.exists():
            return []
        with self._writing() as connection:
            rows = connection.execute(
                "SELECT database, entry FROM memo WHERE engine = ? AND database <> ? "
                "ORDER BY at, fingerprint, bucket",
                (engine, database),
            ).fetchall()
        return [(str(row[0]), self._unpacked(row[1])) for row in rows]

    # -- the engine's own plans ----------------------------------------------------------------------

    def keep_default_plans(
        self, engine: str, database: str, plans: Sequence[tuple[str, str, dict[str, Any]]]
    ) -> None:
        """Keep the engine's own plans of queries in place of the former ones: (fingerprint, bucket, plan)."""
        with self._writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR REPLACE INTO default_plans (engine, database, fingerprint, bucket, plan, at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (engine, database, fingerprint, bucket, pack(plan), time.time())
                    for fingerprint, bucket, plan in plans
                ],
            )
            _bound(connection, "default_plans")
            connection.execute("COMMIT")

    def default_plans(self, engine: str, database: str) -> list[tuple[str, str, dict[str, Any]]]:
        """(fingerprint, bucket, plan) of all queries of a database."""
        if not self.path.exists():
            return []
        with self._writing() as connection:
            rows = connection.execute(
                "SELECT fingerprint, bucket, plan FROM default_plans WHERE engine = ? AND database = ?",
                (engine, database),
            ).fetchall()
        return [(str(row[0]), str(row[1]), self._unpacked(row[2])) for row in rows]

    def explored(self, engine: str, database: str) -> list[tuple[str, str]]:
        """(fingerprint, bucket) of all queries of a database that were explored, whatever came of it."""
        if not self.path.exists():
            return []
        with self._writing() as connection:
            rows = connection.execute(
                "SELECT fingerprint, bucket FROM default_plans WHERE engine = ? AND database = ?",
                (engine, database),
            ).fetchall()
        return [(str(row[0]), str(row[1])) for row in rows]

    # -- the state of explorations ------------------------------------------------------------------

    def begin(self, key: str, state: dict[str, Any]) -> SavedExploration:
        """Start an exploration, in place of the former one of its key."""
        saved = SavedExploration(key, random_id(), 0, time.time(), state)
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO explorations (key, run, revision, at, state) VALUES (?, ?, ?, ?, ?)",
                (key, saved.run, 0, saved.at_s, pack(state)),
            )
        return saved

    def saved(self, key: str) -> SavedExploration | None:
        """The exploration of a key, if there is one."""
        with self._writing() as connection:
            row = connection.execute(
                "SELECT run, revision, at, state FROM explorations WHERE key = ?", (key,)
            ).fetchone()
        return None if row is None else SavedExploration(key, row[0], row[1], row[2], self._unpacked(row[3]))

    def save(self, before: SavedExploration, state: dict[str, Any]) -> SavedExploration:
        """Save the next state of an exploration.

        Raises
        ------
        StoreError
            Also if another process has gone on with it, or begun it anew, since ``before``.
        """
        now = SavedExploration(before.key, before.run, before.revision + 1, time.time(), state)
        with self._writing() as connection:
            changed = connection.execute(
                "UPDATE explorations SET revision = ?, at = ?, state = ? "
                "WHERE key = ? AND run = ? AND revision = ?",
                (now.revision, now.at_s, pack(state), before.key, before.run, before.revision),
            ).rowcount
        if changed != 1:
            raise StoreError(
                f"another process explores the same queries with store {self.path}; "
                "let one of them finish, or name another file with --store"
            )
        return now

    # -- the ledger ---------------------------------------------------------------------------------

    def lost(self, query_class: str, at_s: float, took_s: float, lost_s: float) -> None:
        """Note executions of a class: how long they took in all, and what steering lost in them."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO ledger (class, at, took_s, lost_s) VALUES (?, ?, ?, ?)",
                (query_class, at_s, took_s, lost_s),
            )

    def losses(self, since_s: float) -> list[tuple[str, float, float, float]]:
        """(class, time, seconds taken, seconds lost) since a time, in order."""
        if not self.path.exists():
            return []
        with self._writing() as connection:
            rows = connection.execute(
                "SELECT class, at, took_s, lost_s FROM ledger WHERE at > ? ORDER BY at, id", (since_s,)
            ).fetchall()
        return readable(
            rows,
            lambda row: (text(row[0]), number(row[1]), number(row[2]), number(row[3])),
            "losses of steering",
            self.path,
        )

    def _unpacked(self, blob: object) -> dict[str, Any]:
        try:
            return state_of(blob)
        except ValueError as error:
            raise StoreError(
                f"what explorations proved is damaged in store {self.path} ({error}); move the file away, "
                "and explore again"
            ) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            # A connection per question: a fork never shares one.
            with GATE.inside(), contextlib.closing(connect(self.path)) as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreError(diagnose(error, self.path)[1]) from error


def _bound(connection: sqlite3.Connection, table: str) -> None:
    """Forget what was used longest ago, beyond :data:`MOST_KEPT`."""
    kept = f"(SELECT at FROM {table} ORDER BY at DESC LIMIT 1 OFFSET {MOST_KEPT - 1})"
    connection.execute(f"DELETE FROM {table} WHERE at < {kept}")
