"""The thread that writes records in the background, so that no query waits on a disk.

The queue is bounded: past its limit records are dropped and counted. No connection is open while the process
forks (:class:`ForkGate`): the child has neither thread nor connection, starts with an empty queue, and opens
the file anew.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from godb_fast.core import Decision, Observation
from godb_fast.errors import StoreError
from godb_fast.store.plans import pack, plan_to_bytes, redact_error
from godb_fast.store.schema import prepare

log = logging.getLogger("godb_fast.store")

#: An execution: its decision, what it showed, the normalized text.
Record: TypeAlias = "tuple[Decision, Observation, str | None]"

BATCH: Final = 256
#: A record that somebody waits for wakes the writer at the cost of the thread that records (some 50 µs), so
#: it sleeps this many seconds after the first one; there is no cost in those that come meanwhile.
GATHER_S: Final = 0.05
BUSY_TIMEOUT_MS: Final = 2_000
BUSY_ATTEMPTS: Final = 3
#: Decisions known to be stored already; a decision is shared by all executions that hit it.
REMEMBERED: Final = 20_000

#: How long a fork waits for statements under way, which themselves wait for other processes.
FORK_PATIENCE_S: Final = 10.0

_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


class ForkGate:
    """Sees to it that no SQLite connection is open, nor any call into SQLite under way, when a process forks.

    SQLite books the locks of a file per process. A child that inherits the books believes that it holds what
    its parent held at the fork: where that was the write lock, every write of the child is refused as busy,
    for ever; where it was a mutex of the library, the child hangs.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._forks = 0

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """A block that uses SQLite; not to be nested. Waits while the process forks."""
        with self._condition:
            self._condition.wait_for(lambda: self._forks == 0)
            self._inside += 1
        try:
            yield
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    def shut(self) -> None:
        """Before a fork: wait until nobody is inside, and keep everybody out."""
        with self._condition:
            self._forks += 1
            self._condition.wait_for(lambda: self._inside == 0, FORK_PATIENCE_S)

    def open(self) -> None:
        """After a fork, in the parent."""
        with self._condition:
            self._forks -= 1
            self._condition.notify_all()


GATE: Final = ForkGate()


class _Marker:
    """Reaches the writer after everything that was recorded before it."""

    def __init__(self, dropped: int, *, stop: bool) -> None:
        self.dropped = dropped
        self.stop = stop
        self.reached = threading.Event()


class Writer:
    """Owns the queue and the thread of one store."""

    def __init__(self, path: Path, *, keep_literals: bool, limit: int) -> None:
        self.path = path
        self.keep_literals = keep_literals
        self.limit = limit
        self.closed = False
        _writers.add(self)
        self.reset()

    def reset(self) -> None:
        """Start with nothing: at first, and in the child of a fork."""
        self.written = 0
        self.dropped = 0
        self.reason: str | None = None
        self._given_up = False
        self._warned: set[str] = set()
        self._queue: SimpleQueue[Record | _Marker] = SimpleQueue()
        self._hurry = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None

    def put(self, record: Record) -> None:
        """Queue a record, or drop it where the store cannot take it."""
        if self._given_up or self.closed:
            self._drop(1)
        elif self._queue.qsize() >= self.limit:
            self._drop(1)
            self._warn(
                "queue", f"{self.path}: {self.limit} records wait to be written; newer ones are dropped"
            )
        else:
            self._queue.put(record)
            if self._thread is None or not self._thread.is_alive():
                self._start()

    @property
    def queued(self) -> int:
        """Records that wait."""
        return self._queue.qsize()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was recorded is written; whether all of it was."""
        if self._thread is None:
            return not self._given_up
        marker = _Marker(self.dropped, stop=False)
        self._queue.put(marker)
        self._hurry.set()
        return marker.reached.wait(timeout_s) and self.dropped == marker.dropped and not self._given_up

    def stop(self, timeout_s: float = 5.0) -> None:
        """Write what is queued and end the thread."""
        with self._lock:
            self.closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(_Marker(0, stop=True))
            self._hurry.set()
            thread.join(timeout_s)

    def disconnect(self) -> None:
        """Close the connection; the next batch opens one. Only inside the gate, or while it is shut."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # A connection that failed may be beyond closing in order.
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _start(self) -> None:
        with self._lock:
            if (self._thread is None or not self._thread.is_alive()) and not self.closed:
                self._thread = threading.Thread(
                    target=self._run, args=(self._queue, self._hurry), name="godb_fast store", daemon=True
                )
                self._thread.start()

    def _drop(self, count: int) -> None:
        with self._lock:
            self.dropped += count

    def _warn(self, kind: str, message: str) -> None:
        with self._lock:
            self.reason = message
            first = kind not in self._warned
            self._warned.add(kind)
        if first:
            log.warning("%s (queries go on; this is said once)", message)

    # -- in the thread ------------------------------------------------------------------------------

    def _run(self, queue: SimpleQueue[Record | _Marker], hurry: threading.Event) -> None:
        stored: OrderedDict[str, None] = OrderedDict()
        stop = False
        while not stop:
            batch = [queue.get()]
            if not isinstance(batch[0], _Marker) and queue.qsize() < BATCH:
                hurry.wait(GATHER_S)
                hurry.clear()
            with contextlib.suppress(Empty):
                while len(batch) < BATCH:
                    batch.append(queue.get_nowait())
            records = [entry for entry in batch if not isinstance(entry, _Marker)]
            if records:
                with GATE.inside():
                    try:
                        self._write(records, stored)
                    except Exception as error:  # noqa: BLE001 - dropped and said; the thread goes on
                        self.disconnect()
                        self._drop(len(records))
                        self._warn("record", f"{self.path}: records cannot be stored: {error!r}")
            for entry in batch:
                if isinstance(entry, _Marker):
                    stop = stop or entry.stop
                    entry.reached.set()
        with GATE.inside():
            self.disconnect()

    def _write(self, records: list[Record], stored: OrderedDict[str, None]) -> None:
        """Write a batch in one transaction."""
        if self._given_up:
            self._drop(len(records))
            return
        rows = self._rows(records, stored)
        for attempt in range(BUSY_ATTEMPTS):
            try:
                if self._connection is None:
                    self._connection = connect(self.path)
                _insert(self._connection, rows)
            except (sqlite3.Error, StoreError, OSError) as error:
                kind, message, final = diagnose(error, self.path)
                if kind == "busy" and attempt + 1 < BUSY_ATTEMPTS:
                    continue
                # A connection that failed may hold a broken page cache: open anew next time.
                self.disconnect()
                self._given_up = final
                self._drop(len(rows))
                self._warn(kind, message)
                return
            break
        with self._lock:
            self.written += len(rows)
            self.reason = None
        for decision, _, _ in rows:
            if decision is not None:
                stored[decision[0]] = None
        while len(stored) > REMEMBERED:
            stored.popitem(last=False)

    def _rows(self, records: list[Record], stored: OrderedDict[str, None]) -> list[Row]:
        now = datetime.now(UTC)
        rows: list[Row] = []
        fresh: set[str] = set()
        for decision, observation, text in records:
            try:
                known = decision.id in stored or decision.id in fresh
                described = None if known else decision_row(decision, now, self.keep_literals)
                template = (decision.fingerprint, text, _utc(now)) if text and not known else None
                rows.append((described, template, observation_row(observation, self.keep_literals)))
                fresh.add(decision.id)
            except Exception as error:  # noqa: BLE001 - dropped and said; the thread goes on
                self._drop(1)
                self._warn("record", f"{self.path}: a record cannot be stored: {error!r}")
        return rows


Row: TypeAlias = "tuple[tuple[Any, ...] | None, tuple[int, str, str] | None, tuple[Any, ...]]"


def decision_row(decision: Decision, at: datetime, keep_literals: bool) -> tuple[Any, ...]:
    """A decision as the columns of its table."""
    details = decision.to_dict()
    for column in ("id", "sql", "fingerprint", "engine", "epoch", "action", "reason", "steering"):
        del details[column]
    try:
        packed = pack(details)
    except RecursionError:
        # Join trees are nested; those of hundreds of relations are deeper than JSON can go.
        for candidate in details["candidates"]:
            candidate["tree"] = None
        packed = pack(details)
    return (
        decision.id,
        _utc(at),
        int(decision.fingerprint),
        decision.engine,
        decision.epoch,
        decision.action,
        decision.reason if keep_literals else redact_reason(decision.reason),
        decision.steering.to_json(),
        decision.sql if keep_literals else None,
        packed,
    )


def redact_reason(reason: str) -> str:
    """A reason of ours keeps its figures; a reason that quotes an engine's message loses its literals."""
    head, marker, tail = reason.partition(": ")
    return (
        f"{head}{marker}{redact_error(tail)}" if "passed through" in head or "quarantined" in head else reason
    )


def observation_row(observation: Observation, keep_literals: bool) -> tuple[Any, ...]:
    """An observation as the columns of its table."""
    fell_back = observation.fell_back
    return (
        observation.execution_id,
        observation.decision_id,
        _utc(observation.at),
        int(observation.fingerprint),
        observation.outcome,
        float(observation.latency_ms),
        None if observation.rows is None else int(observation.rows),
        int(observation.steered),
        observation.steering_key,
        fell_back if fell_back is None or keep_literals else redact_error(fell_back),
        float(observation.wasted_ms),
        None if observation.obeyed is None else int(observation.obeyed),
        None if observation.plan is None else plan_to_bytes(observation.plan, keep_literals=keep_literals),
        observation.plan_source,
        None if observation.memory_bytes is None else float(observation.memory_bytes),
        observation.engine,
        observation.engine_version,
        observation.database,
        observation.machine,
        observation.cluster,
    )


def _insert(connection: sqlite3.Connection, rows: list[Row]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Keys are UUIDs: a batch that is written twice changes nothing.
        connection.executemany(
            "INSERT OR IGNORE INTO decisions (id, at, fingerprint, engine, epoch, action, reason, steering, "
            "sql, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [decision for decision, _, _ in rows if decision is not None],
        )
        connection.executemany(
            "INSERT OR IGNORE INTO templates (fingerprint, text, first_seen) VALUES (?, ?, ?)",
            [template for _, template, _ in rows if template is not None],
        )
        connection.executemany(
            "INSERT OR IGNORE INTO observations (execution_id, decision_id, at, fingerprint, outcome, "
            "latency_ms, rows, steered, steering_key, fell_back, wasted_ms, obeyed, plan, plan_source, "
            "memory_bytes, engine, engine_version, database, machine, cluster) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [observation for _, _, observation in rows],
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _utc(moment: datetime) -> str:
    # A fixed width, so that texts sort as times do.
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def connect(path: Path) -> sqlite3.Connection:
    """A connection that may write; the file and its tables are made if they are absent.

    Raises
    ------
    StoreError, OSError, sqlite3.Error
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_MS / 1e3, isolation_level=None, check_same_thread=False
    )
    try:
        deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1e3
        while True:
            try:
                # On file systems without shared memory SQLite keeps its rollback journal: also whole.
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # Two processes that create the file at once: this pragma does not wait by itself.
                if not _busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        connection.execute("PRAGMA synchronous = NORMAL")
        prepare(connection, str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def _busy(error: sqlite3.Error) -> bool:
    # The low byte is the primary code: 5 busy, 6 locked.
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (5, 6)


def diagnose(error: Exception, path: Path) -> tuple[str, str, bool]:
    """Kind of a fault, a message with the way out, and whether this process should stop trying."""
    if isinstance(error, StoreError):
        return "refused", str(error), True
    if isinstance(error, OSError):
        return (
            "unwritable",
            f"cannot use store {path}: {error.strerror or error}; name a writable file with --store or "
            "GODB_FAST_STORE, or turn recording off with GODB_FAST_STORE=off",
            True,
        )
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (5, 6):
        return (
            "busy",
            f"store {path} stays locked by another process: {error}; records of the last seconds are lost",
            False,
        )
    if code == 26:
        return (
            "corrupt",
            f"{path} is no store, nor any SQLite file: {error}; name a store's file with --store or "
            "GODB_FAST_STORE",
            True,
        )
    if code == 11:
        message = f"store {path} is damaged: {error}; move it away, and a new one is made"
        return "corrupt", message, True
    if code in (8, 14, 3, 23):
        return (
            "unwritable",
            f"cannot write store {path}: {error}; name a writable file with --store or GODB_FAST_STORE, or "
            "turn recording off with GODB_FAST_STORE=off",
            True,
        )
    if code in (13, 10):
        return (
            "full",
            f"cannot write store {path}: {error}; free space on its disk, or name another file with --store",
            False,
        )
    return "error", f"store {path}: {error}", False


def _before_fork() -> None:
    GATE.shut()
    for writer in list(_writers):
        writer.disconnect()


def _after_fork_in_child() -> None:
    GATE.__init__()  # type: ignore[misc]
    for writer in list(_writers):
        writer.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=GATE.open, after_in_child=_after_fork_in_child)
