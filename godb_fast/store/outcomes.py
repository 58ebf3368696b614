"""What the plans that a gate let through have turned out to be, for its bounds in the processes to come."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from godb_fast.store.reading import integer, number, readable, text, text_or_none
from godb_fast.store.tables import Table

#: Outcomes of all models that are kept.
MOST_OUTCOMES: Final = 20_000


@dataclass(frozen=True)
class Outcome:
    """One run of a plan that a model chose.

    Parameters
    ----------
    model : str
        Which version of which model, and the hash of its file.
    fingerprint, cluster : str or None
        Of the query.
    score : float
        ln(time ÷ time of the engine's own plan), less what was predicted of it.
    cut : bool
        The run was stopped by then.
    """

    model: str
    fingerprint: str | None
    cluster: str | None
    score: float
    cut: bool


class Outcomes(Table):
    """The table of outcomes in one store file.

    Every method raises :class:`~godb_fast.errors.StoreError` if the file cannot be used.
    """

    def keep(self, outcomes: Sequence[Outcome]) -> None:
        """Keep outcomes, all or none."""
        if not outcomes:
            return
        now = time.time()
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO outcomes (at, model, fingerprint, cluster, score, cut) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (now, each.model, each.fingerprint, each.cluster, each.score, int(each.cut))
                    for each in outcomes
                ],
            )
            connection.execute(
                "DELETE FROM outcomes WHERE id <= (SELECT max(id) FROM outcomes) - ?", (MOST_OUTCOMES,)
            )
            connection.execute("COMMIT")

    def of(self, model: str, limit: int) -> list[Outcome]:
        """The newest outcomes of a model, the oldest first; asking makes no file."""
        if not self.path.exists():
            return []
        with self._using() as connection:
            rows = connection.execute(
                "SELECT model, fingerprint, cluster, score, cut FROM outcomes WHERE model = ? "
                "ORDER BY id DESC LIMIT ?",
                (model, limit),
            ).fetchall()
        return readable(
            reversed(rows),
            lambda row: Outcome(
                text(row[0]),
                text_or_none(row[1]),
                text_or_none(row[2]),
                number(row[3]),
                bool(integer(row[4])),
            ),
            "outcomes of chosen plans",
            self.path,
        )
