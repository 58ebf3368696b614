"""The store's tables, their versions, and how one version becomes the next."""

from __future__ import annotations

import sqlite3
from typing import Final

from godb_fast.errors import StoreError

#: Marks a file as ours ("GoFs"), so that no other program's database is ever altered.
APPLICATION_ID: Final = 0x476F4673

#: Step i brings a store from version i to i + 1. Steps are never edited once released, only added.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE decisions (
            id TEXT PRIMARY KEY, at TEXT NOT NULL, fingerprint INTEGER NOT NULL, engine TEXT NOT NULL,
            epoch TEXT NOT NULL, action TEXT NOT NULL, reason TEXT NOT NULL, steering TEXT NOT NULL,
            text TEXT, sql TEXT, details BLOB NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE observations (
            execution_id TEXT PRIMARY KEY, decision_id TEXT NOT NULL, at TEXT NOT NULL,
            fingerprint INTEGER NOT NULL, outcome TEXT NOT NULL, latency_ms REAL NOT NULL, rows INTEGER,
            steered INTEGER NOT NULL, steering_key TEXT, fell_back TEXT, wasted_ms REAL NOT NULL,
            obeyed INTEGER, plan BLOB, plan_source TEXT, memory_bytes REAL, engine TEXT NOT NULL,
            engine_version TEXT NOT NULL, database TEXT NOT NULL, machine TEXT NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX observations_by_time ON observations (at)",
        "CREATE INDEX decisions_by_time ON decisions (at)",
    ),
    # A text per template instead of one per decision; the cluster of a query; look-ups by fingerprint.
    (
        """CREATE TABLE templates (
            fingerprint INTEGER NOT NULL, text TEXT NOT NULL, first_seen TEXT NOT NULL,
            PRIMARY KEY (fingerprint, text)) WITHOUT ROWID""",
        """INSERT INTO templates SELECT fingerprint, text, min(at) FROM decisions
            WHERE text IS NOT NULL GROUP BY fingerprint, text""",
        "ALTER TABLE decisions DROP COLUMN text",
        "ALTER TABLE observations ADD COLUMN cluster TEXT",
        "CREATE INDEX observations_by_fingerprint ON observations (fingerprint, at)",
        "CREATE INDEX decisions_by_fingerprint ON decisions (fingerprint, at)",
    ),
    # Verified exploration: what was proved, how far explorations have come, what steering has lost.
    (
        """CREATE TABLE memo (
            engine TEXT NOT NULL, database TEXT NOT NULL, fingerprint TEXT NOT NULL, bucket TEXT NOT NULL,
            entry BLOB NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (engine, database, fingerprint, bucket)) WITHOUT ROWID""",
        """CREATE TABLE explorations (
            key TEXT PRIMARY KEY, run TEXT NOT NULL, revision INTEGER NOT NULL, at REAL NOT NULL,
            state BLOB NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE ledger (
            id INTEGER PRIMARY KEY, class TEXT NOT NULL, at REAL NOT NULL, took_s REAL NOT NULL,
            lost_s REAL NOT NULL)""",
        "CREATE INDEX ledger_by_time ON ledger (at)",
    ),
    # What cardinality feedback has learned.
    (
        """CREATE TABLE corrections (
            engine TEXT NOT NULL, database TEXT NOT NULL, state BLOB NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (engine, database)) WITHOUT ROWID""",
    ),
    # The engine's own plans as explorations saw them: when they change and are slower, that is noticed.
    (
        """CREATE TABLE default_plans (
            engine TEXT NOT NULL, database TEXT NOT NULL, fingerprint TEXT NOT NULL, bucket TEXT NOT NULL,
            plan BLOB NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (engine, database, fingerprint, bucket)) WITHOUT ROWID""",
    ),
    # Feature vectors as they were served.
    (
        """CREATE TABLE features (
            execution_id TEXT PRIMARY KEY, at TEXT NOT NULL, version INTEGER NOT NULL,
            vector BLOB NOT NULL) WITHOUT ROWID""",
    ),
    # What operators cost, as learned from executions.
    (
        """CREATE TABLE cost_models (
            engine TEXT NOT NULL, database TEXT NOT NULL, machine TEXT NOT NULL, state BLOB NOT NULL,
            at REAL NOT NULL, PRIMARY KEY (engine, database, machine)) WITHOUT ROWID""",
    ),
    # Which plan of a query took how long, for training.
    (
        """CREATE TABLE trials (
            id INTEGER PRIMARY KEY, version INTEGER NOT NULL, engine TEXT NOT NULL, database TEXT NOT NULL,
            query TEXT NOT NULL, fingerprint INTEGER NOT NULL, steering TEXT NOT NULL, vector BLOB NOT NULL,
            seconds REAL NOT NULL, cut INTEGER NOT NULL, at TEXT NOT NULL)""",
        "CREATE INDEX trials_by_time ON trials (at)",
    ),
    # Trainings in the background, one at a time, and what was found of the models that they made.
    (
        """CREATE TABLE trainings (
            id TEXT PRIMARY KEY, by TEXT NOT NULL, why TEXT NOT NULL, began REAL NOT NULL,
            alive REAL NOT NULL, ended REAL, outcome TEXT, told TEXT NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE verdicts (
            id INTEGER PRIMARY KEY, at REAL NOT NULL, model TEXT NOT NULL, outcome TEXT NOT NULL,
            reason TEXT NOT NULL)""",
    ),
    # What models chose for regions of statements, how that turned out, and which queries look alike.
    (
        """CREATE TABLE choices (
            engine TEXT NOT NULL, database TEXT NOT NULL, fingerprint TEXT NOT NULL, bucket TEXT NOT NULL,
            state BLOB NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (engine, database, fingerprint, bucket)) WITHOUT ROWID""",
        """CREATE TABLE outcomes (
            id INTEGER PRIMARY KEY, at REAL NOT NULL, model TEXT NOT NULL, fingerprint TEXT, cluster TEXT,
            score REAL NOT NULL, cut INTEGER NOT NULL)""",
        "CREATE INDEX outcomes_by_model ON outcomes (model, id)",
        """CREATE TABLE query_clusters (
            engine TEXT NOT NULL, database TEXT NOT NULL, state BLOB NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (engine, database)) WITHOUT ROWID""",
    ),
    # The pipelines of plans that ran: how long these take has a say among plans.
    ("ALTER TABLE trials ADD COLUMN pipelines BLOB",),
)
VERSION: Final = len(MIGRATIONS)


def prepare(connection: sqlite3.Connection, location: str) -> None:
    """Create the tables, or bring them to the current version, in one transaction.

    The connection is in autocommit mode.

    Raises
    ------
    StoreError
        If the file belongs to another program, or to a newer godb_fast.
    """
    if _version(connection) == VERSION and _pragma(connection, "application_id") == APPLICATION_ID:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have done the same while we waited for the lock.
        owner, version = _pragma(connection, "application_id"), _version(connection)
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if owner != APPLICATION_ID and (tables or version):
            raise StoreError(
                f"{location} is an SQLite database of another program; name another file with --store "
                "or GODB_FAST_STORE"
            )
        if version > VERSION:
            raise StoreError(
                f"{location} was written by a newer godb_fast (store version {version}, this one knows "
                f"{VERSION}); upgrade godb_fast, or name another file with --store or GODB_FAST_STORE"
            )
        for step in range(version, VERSION):
            for statement in MIGRATIONS[step]:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        # An interrupt may come when all is committed.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return _pragma(connection, "user_version")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
