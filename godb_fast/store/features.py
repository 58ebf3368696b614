"""Feature vectors as they were served, for training: versioned, and correct in time.

A vector is kept when the decision is made and never computed again, so that training sees what serving saw.
It is joined with the outcome of its own execution, and only where it was computed before that outcome was
known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import Observation
from godb_fast.errors import InvalidInput
from godb_fast.store.reading import (
    STORED,
    Row,
    doubles,
    integer,
    moment,
    number,
    readable,
    text,
    text_or_none,
)
from godb_fast.store.tables import Table, utc

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Vectors with their outcomes, the oldest first.

    Attributes
    ----------
    vectors : float64 array, shape (N, F)
    latencies_ms : float64 array, shape (N,)
    censored : bool array, shape (N,)
        The run was stopped: its latency is a lower bound.
    fingerprints : int64 array, shape (N,)
        To split by.
    steered : bool array, shape (N,)
        The plan was not the engine's own.
    engines, databases, moments : tuple of str, length N
        Where and when (ISO 8601) each ran.
    """

    vectors: Floats
    latencies_ms: Floats
    censored: NDArray[np.bool_]
    fingerprints: NDArray[np.int64]
    steered: NDArray[np.bool_]
    engines: tuple[str, ...]
    databases: tuple[str, ...]
    moments: tuple[str, ...]


class FeatureStore(Table):
    """The table of feature vectors in one store file.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    def keep(self, execution_id: str, at: datetime, version: int, vector: Floats) -> None:
        """Keep the vector of the plan that an execution runs, as it was served; the first one stays.

        Raises
        ------
        InvalidInput
            If the vector is not one row of finite numbers, or ``at`` has no time zone.
        """
        self.keep_all(version, [(execution_id, at, vector)])

    def keep_all(self, version: int, rows: Sequence[tuple[str, datetime, Floats]]) -> None:
        """As :meth:`keep`, of several executions: ids, when their vectors were served, and these."""
        written = []
        for execution_id, at, vector in rows:
            row = np.asarray(vector, np.float64)
            if row.ndim != 1 or not np.isfinite(row).all():
                raise InvalidInput(f"a feature vector is one row of finite numbers, not of shape {row.shape}")
            written.append((execution_id, utc(at), version, row.astype(STORED).tobytes()))
        if not written:
            return
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR IGNORE INTO features (execution_id, at, version, vector) VALUES (?, ?, ?, ?)",
                written,
            )
            connection.execute("COMMIT")

    def training(
        self, version: int, until: datetime, limit: int = -1, *, left_out: Counter[str] | None = None
    ) -> TrainingRows:
        """What could be learned from by a moment: vectors of one version whose outcomes were known by then.

        The newest ``limit`` of them (all, if it is negative), the oldest first. Left out are vectors computed
        after their outcome, runs that failed or fell back to another plan, and what cannot be read, which
        ``left_out`` counts by engine.
        """
        rows: list[Row] = []
        if self.path.exists():
            with self._using() as connection:
                rows = connection.execute(
                    "SELECT f.vector, o.latency_ms, o.outcome, o.fingerprint, o.steered, "
                    "o.engine, o.database, o.at FROM features f "
                    "JOIN observations o ON o.execution_id = f.execution_id "
                    "WHERE f.version = ? AND f.at <= o.at AND o.at <= ? AND o.fell_back IS NULL "
                    "AND o.outcome IN ('ok', 'timeout') ORDER BY o.at DESC, o.execution_id DESC LIMIT ?",
                    (version, utc(until), limit),
                ).fetchall()
        # Vectors of one version are of one length: others are what is left of some.
        lengths = Counter(len(row[0]) for row in rows if isinstance(row[0], bytes))
        length = max(lengths, key=lambda each: (lengths[each], each), default=0)

        def read(row: Row) -> Row:
            kept = doubles(row[0])
            if len(row[0]) != length:
                raise ValueError(
                    f"a vector of {len(kept)} numbers, others are of {length // STORED.itemsize}"
                )
            moment(row[7])
            return (
                kept, number(row[1]), text(row[2]), integer(row[3]), bool(integer(row[4])), text(row[5]),
                text(row[6]), row[7],
            )  # fmt: skip

        found = readable(reversed(rows), read, "features", self.path, left_out, 5)
        return TrainingRows(
            np.array([row[0] for row in found]) if found else np.zeros((0, 0)),
            np.array([row[1] for row in found], np.float64),
            np.array([row[2] == "timeout" for row in found], np.bool_),
            np.array([row[3] for row in found], np.int64),
            np.array([row[4] for row in found], np.bool_),
            tuple(row[5] for row in found),
            tuple(row[6] for row in found),
            tuple(row[7] for row in found),
        )

    def past(self, limit: int) -> list[Observation]:
        """The newest complete runs, the oldest first, without plans; what cannot be read is left out."""
        if not self.path.exists():
            return []
        with self._using() as connection:
            rows: list[Row] = connection.execute(
                "SELECT engine, database, fingerprint, cluster, latency_ms, at FROM observations "
                "WHERE outcome = 'ok' AND fell_back IS NULL ORDER BY at DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return readable(reversed(rows), _past, "earlier runs", self.path)

    def forget(self, before: datetime | None = None) -> int:
        """Delete vectors (those older than a moment); how many."""
        if not self.path.exists():
            return 0
        limit = None if before is None else utc(before)
        with self._using() as connection:
            return connection.execute("DELETE FROM features WHERE ?1 IS NULL OR at < ?1", (limit,)).rowcount


def _past(row: Row) -> Observation:
    engine, database, fingerprint, cluster, latency_ms, at = row
    seen = Observation(
        "",
        integer(fingerprint),
        "ok",
        number(latency_ms),
        engine=text(engine),
        database=text(database),
        cluster=text_or_none(cluster),
        at=moment(at),
    )
    seen.at.timestamp()
    return seen
