"""A store in one SQLite file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import weakref
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from godb_fast.core import Decision, Observation
from godb_fast.errors import InvalidInput, StoreError
from godb_fast.evidence import percentile
from godb_fast.store.base import LatencySummary, StoredDecision, StoreHealth, TemplateRuns
from godb_fast.store.choices import KeptChoices
from godb_fast.store.clusters import KeptClusters
from godb_fast.store.corrections import KeptCorrections
from godb_fast.store.costs import KeptCosts
from godb_fast.store.explorations import Explorations
from godb_fast.store.features import FeatureStore
from godb_fast.store.outcomes import Outcomes
from godb_fast.store.plans import plan_from_bytes
from godb_fast.store.reading import Row, integer, moment, number, readable, state_of, text, text_or_none
from godb_fast.store.trainings import Trainings
from godb_fast.store.trials import TrialStore
from godb_fast.store.writer import BUSY_TIMEOUT_MS, GATE, Writer, connect, diagnose

#: Records that may wait to be written; about 100 MB with large plans.
QUEUE_LIMIT: Final = 10_000


class SqliteStore:
    """Decisions and observations in one file: WAL mode, written in the background, shared by processes.

    Nothing is opened before the first record or question. A fault of the file (full disk, locked, damaged,
    read-only) is logged once with what to do, and records are dropped and counted; only explicit questions
    raise.

    Parameters
    ----------
    path : path
        The file; its folder is made if it is absent.
    keep_literals : bool
        Also keep literals: statements as sent, and texts of plans and errors as they are. Off by default:
        then only normalized texts are stored.
    queue_limit : int
        Records that may wait; beyond it newer ones are dropped.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, keep_literals: bool = False, queue_limit: int = QUEUE_LIMIT
    ) -> None:
        if queue_limit < 1:
            raise InvalidInput(f"queue_limit is {queue_limit}; it is at least 1")
        self.path = Path(path).expanduser().absolute()
        self.keep_literals = keep_literals
        self._writer = Writer(self.path, keep_literals=keep_literals, limit=queue_limit)
        # Also runs when the interpreter ends.
        self._finalizer = weakref.finalize(self, Writer.stop, self._writer)

    @property
    def explorations(self) -> Explorations:
        """What exploration keeps in this file."""
        return Explorations(self.path)

    @property
    def corrections(self) -> KeptCorrections:
        """What cardinality feedback keeps in this file."""
        return KeptCorrections(self.path)

    @property
    def costs(self) -> KeptCosts:
        """What the adaptive cost model keeps in this file."""
        return KeptCosts(self.path)

    @property
    def features(self) -> FeatureStore:
        """Feature vectors as they were served."""
        return FeatureStore(self.path)

    @property
    def trials(self) -> TrialStore:
        """Runs of plans, for training."""
        return TrialStore(self.path)

    @property
    def models(self) -> Path:
        """The folder of the models that are trained from this file; it need not exist."""
        return self.path.parent / "models"

    @property
    def trainings(self) -> Trainings:
        """Trainings in the background, and what became of their models."""
        return Trainings(self.path)

    @property
    def choices(self) -> KeptChoices:
        """What models chose for regions of statements."""
        return KeptChoices(self.path)

    @property
    def outcomes(self) -> Outcomes:
        """How what they chose has turned out."""
        return Outcomes(self.path)

    @property
    def clusters(self) -> KeptClusters:
        """Which queries look alike."""
        return KeptClusters(self.path)

    # -- never raising ------------------------------------------------------------------------------

    def record(self, decision: Decision, observation: Observation, text: str | None = None) -> None:
        """Keep an execution and, once, the decision behind it; ``text`` is the normalized statement."""
        self._writer.put((decision, observation, text))

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until what was recorded so far is written; False if it was dropped or time ran out."""
        return self._writer.flush(timeout_s)

    def close(self) -> None:
        """Write what is queued and release the file; later records are dropped."""
        self._writer.stop()

    def health(self) -> StoreHealth:
        """Counts of this process, and the state."""
        writer = self._writer
        state = "closed" if writer.closed else "degraded" if writer.reason else "ok"
        return StoreHealth(
            state, str(self.path), writer.written, writer.dropped, writer.queued, writer.reason
        )

    # -- explicit questions -------------------------------------------------------------------------

    def check(self) -> None:
        """Open the file for writing and test its integrity.

        Raises
        ------
        StoreError
            With the reason and what to do.
        """
        with self._guarded(), contextlib.closing(connect(self.path)) as connection:
            found = connection.execute("PRAGMA quick_check").fetchone()[0]
            if found != "ok":
                raise StoreError(
                    f"store {self.path} is damaged: {found}; move it away, and a new one is made"
                )

    def size_bytes(self) -> int:
        """Bytes on disk, the write-ahead log included; 0 if the file does not exist yet."""
        parts = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(part.stat().st_size for part in parts if part.exists())

    def counts(self) -> dict[str, int]:
        """Number of decisions, observations and templates."""
        with self._reading() as connection:
            return {
                table: 0
                if connection is None
                else int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
                for table in ("decisions", "observations", "templates")
            }

    def decisions(self, limit: int = 100, *, fingerprint: int | None = None) -> list[StoredDecision]:
        """The most recent decisions, newest first."""
        condition, values = (
            ("WHERE d.fingerprint = ?", (fingerprint,)) if fingerprint is not None else ("", ())
        )
        rows = self._rows(
            "SELECT d.id, d.at, d.fingerprint, d.engine, d.epoch, d.action, d.reason, d.steering, "
            "(SELECT min(t.text) FROM templates t WHERE t.fingerprint = d.fingerprint), d.sql, d.details "
            f"FROM decisions d {condition} ORDER BY d.at DESC, d.id LIMIT ?",
            (*values, limit),
        )
        return readable(rows, _decision, "decisions", self.path)

    def observations(
        self,
        limit: int = 100,
        *,
        fingerprint: int | None = None,
        since: datetime | None = None,
        left_out: Counter[str] | None = None,
    ) -> list[Observation]:
        """The most recent observations with their plans, newest first.

        What cannot be read is left out, logged, and counted by engine in ``left_out``.
        """
        conditions: list[str] = []
        values: list[Any] = []
        if fingerprint is not None:
            conditions.append("fingerprint = ?")
            values.append(fingerprint)
        if since is not None:
            conditions.append("at >= ?")
            values.append(since.astimezone(UTC).isoformat(timespec="microseconds"))
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        rows = self._rows(
            "SELECT execution_id, decision_id, at, fingerprint, outcome, latency_ms, rows, steered, "
            "steering_key, fell_back, wasted_ms, obeyed, plan, plan_source, memory_bytes, engine, "
            f"engine_version, database, machine, cluster FROM observations {where} "
            "ORDER BY at DESC, execution_id LIMIT ?",
            (*values, limit),
        )
        return readable(rows, _observation, "executions", self.path, left_out, 15)

    def template_runs(self) -> list[TemplateRuns]:
        """Complete executions by template and database, largest total first."""
        # A steered decision's text is the one that we wrote; a wasted run costs its user time all the same.
        rows = self._rows(
            "SELECT o.fingerprint, o.engine, o.database, count(*), sum(o.latency_ms + o.wasted_ms) AS total, "
            "max(o.latency_ms), sum(o.rows), "
            "(SELECT min(t.text) FROM templates t WHERE t.fingerprint = o.fingerprint), "
            "(SELECT d.sql FROM decisions d WHERE d.fingerprint = o.fingerprint AND d.engine = o.engine "
            "AND d.action <> 'steer' AND d.sql IS NOT NULL ORDER BY d.at DESC LIMIT 1) "
            # Text is more than any number, and a template is more than one damaged run of it.
            "FROM observations o WHERE o.outcome = 'ok' AND typeof(o.latency_ms) = 'real' "
            "AND typeof(o.wasted_ms) = 'real' AND typeof(o.rows) IN ('integer', 'null') "
            "GROUP BY o.fingerprint, o.engine, o.database ORDER BY total DESC",
            (),
        )
        return readable(rows, _runs, "templates", self.path)

    def latencies(self, fingerprint: int | None = None) -> list[LatencySummary]:
        """Latencies of complete runs per fingerprint and kind of plan, largest total first."""
        condition, values = ("AND fingerprint = ?", (fingerprint,)) if fingerprint is not None else ("", ())
        groups: dict[tuple[int, bool], list[float]] = {}
        rows = self._rows(
            f"SELECT fingerprint, steered, latency_ms FROM observations WHERE outcome = 'ok' {condition}",
            values,
        )
        for key, steered, latency in readable(rows, _latency, "latencies", self.path):
            groups.setdefault((key, steered), []).append(latency)
        summaries = [
            LatencySummary(
                fingerprint=key,
                steered=steered,
                runs=len(times),
                total_ms=sum(times),
                p50_ms=percentile(times, 0.50),
                p95_ms=percentile(times, 0.95),
                worst_ms=max(times),
            )
            for (key, steered), times in groups.items()
        ]
        return sorted(summaries, key=lambda entry: (-entry.total_ms, entry.fingerprint, entry.steered))

    def prune(self, older_than: timedelta) -> int:
        """Delete observations older than this, and decisions that none refers to; how many rows went.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        before = (datetime.now(UTC) - older_than).isoformat(timespec="microseconds")
        with self._guarded(), contextlib.closing(connect(self.path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            gone = connection.execute("DELETE FROM observations WHERE at < ?", (before,)).rowcount
            connection.execute("DELETE FROM features WHERE at < ?", (before,))
            gone += connection.execute(
                "DELETE FROM decisions WHERE at < ? AND NOT EXISTS "
                "(SELECT 1 FROM observations o WHERE o.decision_id = decisions.id)",
                (before,),
            ).rowcount
            connection.execute("COMMIT")
        return gone

    def _rows(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        with self._reading() as connection:
            return [] if connection is None else connection.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """A read-only connection, opened for one question (so a fork never shares it); None if there is no
        file yet, since asking should not create one."""
        with self._guarded():
            if not self.path.exists():
                yield None
                return
            from godb_fast.store.schema import VERSION

            address = self.path.as_uri() + "?mode=ro"
            with contextlib.closing(
                sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_MS / 1e3, isolation_level=None)
            ) as connection:
                if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                    # An older store is migrated before it is read; another program's file is refused.
                    connect(self.path).close()
                yield connection

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with GATE.inside():
                yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(diagnose(error, self.path)[1]) from error


def _decision(row: Row) -> StoredDecision:
    return StoredDecision(
        id=text(row[0]),
        at=moment(row[1]),
        fingerprint=integer(row[2]),
        engine=text(row[3]),
        epoch=text(row[4]),
        action=text(row[5]),
        reason=text(row[6]),
        steering=text(row[7]),
        text=text_or_none(row[8]),
        sql=text_or_none(row[9]),
        details=state_of(row[10]),
    )


def _observation(row: Row) -> Observation:
    return Observation(
        execution_id=text(row[0]),
        decision_id=text(row[1]),
        at=moment(row[2]),
        fingerprint=integer(row[3]),
        outcome=text(row[4]),
        latency_ms=number(row[5]),
        rows=None if row[6] is None else integer(row[6]),
        steered=bool(integer(row[7])),
        steering_key=text_or_none(row[8]),
        fell_back=text_or_none(row[9]),
        wasted_ms=number(row[10]),
        obeyed=None if row[11] is None else bool(integer(row[11])),
        plan=None if row[12] is None else plan_from_bytes(row[12]),
        plan_source=text_or_none(row[13]),
        memory_bytes=None if row[14] is None else number(row[14]),
        engine=text(row[15]),
        engine_version=text(row[16]),
        database=text(row[17]),
        machine=text(row[18]),
        cluster=text_or_none(row[19]),
    )


def _runs(row: Row) -> TemplateRuns:
    return TemplateRuns(
        fingerprint=integer(row[0]),
        engine=text(row[1]),
        database=text(row[2]),
        runs=integer(row[3]),
        total_ms=number(row[4]),
        worst_ms=number(row[5]),
        rows=None if row[6] is None else integer(row[6]),
        text=text_or_none(row[7]),
        sql=text_or_none(row[8]),
    )


def _latency(row: Row) -> tuple[int, bool, float]:
    return integer(row[0]), bool(integer(row[1])), number(row[2])
