"""Runs of plans with what EXPLAIN told of them, for training: which plan of a query took how long.

They are no executions that anybody asked for, so that no history counts them. A row holds numbers and hashes,
never a text or a literal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import InvalidInput
from godb_fast.store.reading import (
    STORED,
    Row,
    doubles,
    integer,
    moment,
    number,
    readable,
    rows_of_doubles,
    text,
)
from godb_fast.store.tables import Table, utc

Floats = NDArray[np.float64]

#: The newest rows of the table that are kept.
CAPACITY: Final = 200_000


@dataclass(frozen=True, eq=False)
class PlanRun:
    """One run of one plan of one query.

    Parameters
    ----------
    query : str
        The same for all plans of a query with these literals, over these data.
    fingerprint : int
        Its template.
    steering : str
        Key of what was asked for; empty for the engine's own plan.
    vector : float64 array, shape (C,)
        Of the plan, as explained before it ran.
    seconds : float
    cut : bool
        The run was stopped: it would have taken longer.
    pipelines : float64 array, shape (P, D), optional
        Of the plan (``learning.pipelines.packed``).
    """

    engine: str
    database: str
    query: str
    fingerprint: int
    steering: str
    vector: Floats
    seconds: float
    cut: bool
    at: datetime
    pipelines: Floats | None = None


class TrialStore(Table):
    """The table of plan runs in one store file.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    def keep(self, version: int, runs: Iterable[PlanRun]) -> None:
        """Keep runs, all or none, whose vectors are of a version of the features.

        Raises
        ------
        InvalidInput
            If a vector is not one row of finite numbers, pipelines are not rows of such, a time is not above
            0, or ``at`` has no time zone.
        """
        rows = [(version, *_row(run)) for run in runs]
        if not rows:
            return
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO trials (version, engine, database, query, fingerprint, steering, vector, "
                "seconds, cut, at, pipelines) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            connection.execute("DELETE FROM trials WHERE id <= (SELECT max(id) FROM trials) - ?", (CAPACITY,))
            connection.execute("COMMIT")

    def runs(
        self,
        version: int,
        engine: str,
        until: datetime,
        limit: int = -1,
        *,
        since: datetime | None = None,
        left_out: Counter[str] | None = None,
    ) -> list[PlanRun]:
        """The newest runs up to a moment, the oldest first; of all engines where ``engine`` is empty.

        ``since`` leaves out those of that moment and before; ``left_out`` counts, by engine, what cannot be
        read.
        """
        if not self.path.exists():
            return []
        with self._using() as connection:
            rows = connection.execute(
                "SELECT engine, database, query, fingerprint, steering, vector, seconds, cut, at, pipelines "
                "FROM trials WHERE version = ?1 AND (engine = ?2 OR ?2 = '') AND at <= ?3 "
                "AND (?5 IS NULL OR at > ?5) "
                "ORDER BY id DESC LIMIT ?4",
                (version, engine, utc(until), limit, None if since is None else utc(since)),
            ).fetchall()
        return readable(reversed(rows), _run, "plan runs", self.path, left_out, 0)

    def forget(self, before: datetime | None = None) -> int:
        """Delete runs (those older than a moment); how many."""
        if not self.path.exists():
            return 0
        limit = None if before is None else utc(before)
        with self._using() as connection:
            return connection.execute("DELETE FROM trials WHERE ?1 IS NULL OR at < ?1", (limit,)).rowcount


def _run(row: Row) -> PlanRun:
    seconds = number(row[6])
    if seconds == 0.0:
        raise ValueError("a run that took no time")
    return PlanRun(
        engine=text(row[0]),
        database=text(row[1]),
        query=text(row[2]),
        fingerprint=integer(row[3]),
        steering=text(row[4]),
        vector=doubles(row[5]),
        seconds=seconds,
        cut=bool(integer(row[7])),
        at=moment(row[8]),
        pipelines=None if row[9] is None else rows_of_doubles(row[9]),
    )


def _row(run: PlanRun) -> tuple[object, ...]:
    vector = np.asarray(run.vector, np.float64)
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise InvalidInput(f"the vector of a plan is one row of finite numbers, not of shape {vector.shape}")
    if not (np.isfinite(run.seconds) and run.seconds > 0.0):
        raise InvalidInput(f"a run of {run.seconds} s; it takes some time")
    pipelines = run.pipelines
    if pipelines is not None and not (
        pipelines.ndim == 2 and pipelines.size and np.isfinite(pipelines).all()
    ):
        raise InvalidInput(f"pipelines are rows of finite numbers, not of shape {pipelines.shape}")
    signed = (run.fingerprint + 2**63) % 2**64 - 2**63
    return (
        run.engine, run.database, run.query, signed, run.steering, vector.astype(STORED).tobytes(),
        float(run.seconds), int(run.cut), utc(run.at), None if pipelines is None else _bytes(pipelines),
    )  # fmt: skip


def _bytes(pipelines: Floats) -> bytes:
    """The number of rows, then all rows."""
    return np.append(float(len(pipelines)), pipelines).astype(STORED).tobytes()
