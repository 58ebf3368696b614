"""Who trains models from a store now, and what came of it: one at a time, whatever the number of processes.

A training holds a lease, which it renews while it lives; a process that was killed renews nothing, so that
its lease ends by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from godb_fast.core.identity import random_id
from godb_fast.store.tables import Table, utc

#: A training that did not renew its lease for so many seconds is gone.
LEASE_S: Final = 60.0
#: What became of a training: it exported models, there was nothing to export, it failed, somebody stopped
#: it, or its process vanished.
OUTCOMES: Final = ("exported", "nothing", "failed", "interrupted", "lost")
#: Trainings, and verdicts on models, that are kept.
MOST_KEPT: Final = 200


@dataclass(frozen=True)
class Training:
    """One training in the background.

    Parameters
    ----------
    by : str
        Process and machine that asked for it.
    why : str
        What made it due.
    began_s, ended_s : float
        Seconds since 1970; ``ended_s`` is None while it runs.
    outcome : str or None
        One of :data:`OUTCOMES`.
    told : str
        What was made, or why nothing was.
    """

    id: str
    by: str
    why: str
    began_s: float
    ended_s: float | None
    outcome: str | None
    told: str


@dataclass(frozen=True)
class ModelVerdict:
    """A model that was trained in the background began to serve (``promoted``), or was ``refused``."""

    at_s: float
    model: str
    outcome: str
    reason: str


class Trainings(Table):
    """The tables of trainings and of verdicts on what they made, in one store file.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    clock: Callable[[], float] = staticmethod(time.time)

    def begin(self, by: str, why: str, *, apart_s: float) -> Training | str:
        """Take the lease; or why not: another training runs, or began less than ``apart_s`` seconds ago."""
        now = self.clock()
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            # A clock that was set back makes leases of the future, which nobody renews.
            connection.execute(
                "UPDATE trainings SET ended = ?1, outcome = 'lost', told = 'its process is gone' "
                "WHERE ended IS NULL AND abs(?1 - alive) > ?2",
                (now, LEASE_S),
            )
            running = connection.execute("SELECT by FROM trainings WHERE ended IS NULL").fetchone()
            recent = connection.execute(
                "SELECT max(began) FROM trainings WHERE began > ? AND began <= ?", (now - apart_s, now)
            ).fetchone()[0]
            training = Training(random_id(), by, why, now, None, None, "")
            refused = None
            if running is not None:
                refused = f"{running[0]} is training"
            elif recent is not None:
                refused = f"the last training began {now - recent:.0f} s ago, less than {apart_s:.0f} s"
            else:
                connection.execute(
                    "INSERT INTO trainings (id, by, why, began, alive, told) VALUES (?, ?, ?, ?, ?, '')",
                    (training.id, by, why, now, now),
                )
                connection.execute(
                    "DELETE FROM trainings WHERE id NOT IN "
                    "(SELECT id FROM trainings ORDER BY began DESC LIMIT ?)",
                    (MOST_KEPT,),
                )
            connection.execute("COMMIT")
        return training if refused is None else refused

    def renew(self, training: str) -> bool:
        """Whether a training still holds its lease, which is as good as new then."""
        with self._using() as connection:
            return (
                connection.execute(
                    "UPDATE trainings SET alive = ? WHERE id = ? AND ended IS NULL", (self.clock(), training)
                ).rowcount
                == 1
            )

    def end(self, training: str, outcome: str, told: str = "") -> bool:
        """Give the lease back, with what came of it; False if it was over already."""
        with self._using() as connection:
            return (
                connection.execute(
                    "UPDATE trainings SET ended = ?, outcome = ?, told = ? WHERE id = ? AND ended IS NULL",
                    (self.clock(), outcome, told, training),
                ).rowcount
                == 1
            )

    def recent(self, limit: int = 10) -> list[Training]:
        """The last trainings, the newest first; asking makes no file."""
        if not self.path.exists():
            return []
        with self._using() as connection:
            rows = connection.execute(
                "SELECT id, by, why, began, ended, outcome, told FROM trainings ORDER BY began DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [Training(*row) for row in rows]

    def judged(self, model: str, outcome: str, reason: str) -> None:
        """Note that a model was ``promoted`` or ``refused``."""
        with self._using() as connection:
            connection.execute(
                "INSERT INTO verdicts (at, model, outcome, reason) VALUES (?, ?, ?, ?)",
                (self.clock(), model, outcome, reason),
            )
            connection.execute(
                "DELETE FROM verdicts WHERE id <= (SELECT max(id) FROM verdicts) - ?", (MOST_KEPT,)
            )

    def verdicts(self, limit: int = 10) -> list[ModelVerdict]:
        """The last verdicts on models, the newest first; asking makes no file."""
        if not self.path.exists():
            return []
        with self._using() as connection:
            rows = connection.execute(
                "SELECT at, model, outcome, reason FROM verdicts ORDER BY id DESC LIMIT ?", (limit,)
            ).fetchall()
        return [ModelVerdict(*row) for row in rows]

    def fresh(self, since: datetime, most: int) -> int:
        """Executions and runs of plans that were recorded since a moment; no more than ``most`` are counted.

        Raises
        ------
        InvalidInput
            If the moment has no time zone.
        """
        if not self.path.exists():
            return 0
        counted = 0
        with self._using() as connection:
            for table in ("observations", "trials"):
                counted += connection.execute(
                    f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE at > ? LIMIT ?)", (utc(since), most)
                ).fetchone()[0]
        return min(counted, most)
