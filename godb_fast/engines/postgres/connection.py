"""One PostgreSQL connection, ours or a caller's, and everything that is sent on it.

The rule of this file: whatever happens, the connection's owner finds it as the driver alone would have left
it. So statements of our own are never prepared, hold their settings in an implicit transaction (see
:mod:`~godb_fast.engines.postgres.pipeline`), and within the owner's transaction they stand in a savepoint.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from godb_fast.core.forking import breaks_lock
from godb_fast.engines.base import CancelToken, Parameters
from godb_fast.engines.postgres.driver import STOPPED, import_psycopg, is_lost, sqlstate, translated
from godb_fast.engines.postgres.parameters import is_numbered, numbered
from godb_fast.engines.postgres.statements import first_word
from godb_fast.engines.postgres.stopping import Stopper
from godb_fast.errors import (
    ConnectionFailed,
    EngineBusy,
    EngineError,
    QueryCancelled,
    QueryTimeout,
    ResultTooLarge,
)

#: Runs one of *our own* catalogue statements with bound ``%s`` parameters, without disturbing the caller's
#: transaction. In an aborted transaction it raises EngineError.
Ask: TypeAlias = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
#: Settings for one statement: names with values.
Settings: TypeAlias = Sequence[tuple[str, str]]

SAVEPOINT: Final = "godb_fast_savepoint"
#: The server's own ``statement_timeout`` stops a steered statement; our request to cancel comes only if it
#: does not (a stopped server process, a proxy in between).
GRACE_S: Final = 0.5

log = logging.getLogger("godb_fast")


@dataclass(frozen=True)
class Fetched:
    """Rows of one statement, with the types' OIDs."""

    columns: tuple[str, ...]
    oids: tuple[int, ...]
    rows: list[tuple[Any, ...]]
    latency_ms: float


class Connection:
    """A psycopg connection with time limits, cancelling, errors in our terms, and settings that never stay.

    Parameters
    ----------
    raw : psycopg.Connection
        The driver's connection.
    reopen : callable or None
        Opens a connection like it; None for a borrowed one.
    secrets : callable
        Gives the passwords that are to be kept out of messages.
    """

    def __init__(
        self,
        raw: Any,
        reopen: Callable[[], Any] | None = None,
        secrets: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self.raw = raw
        self.closed = False
        #: Counts connections: 1, and one more each time an own one was reopened.
        self.incarnation = 1
        self._reopen = reopen
        self._secrets = secrets
        self._lost_in_transaction = False
        self._lock: Any = threading.RLock()
        breaks_lock(self)
        self._psycopg = import_psycopg()
        #: States of a connection with a transaction open.
        self._open = (self._status.INTRANS, self._status.INERROR, self._status.ACTIVE)

    # -- state --------------------------------------------------------------------------------------

    @property
    def owned(self) -> bool:
        """Whether the connection was opened here."""
        return self._reopen is not None

    def in_transaction(self) -> bool:
        """Whether a transaction is open, aborted ones and those lost with their connection included."""
        if self._lost_in_transaction:
            return True
        return self.raw.pgconn.transaction_status in self._open

    @property
    def _status(self) -> Any:
        return self._psycopg.pq.TransactionStatus

    def _ready(self, sql: str = "") -> None:
        """Reopen an own connection that was lost, unless a transaction went with it.

        Raises
        ------
        ConnectionFailed
            If the connection is gone for good, or the lost transaction was not yet rolled back.
        """
        if self.closed:
            raise EngineError("this connection is closed")
        if not self.raw.closed and not self._lost_in_transaction:
            return
        if self._reopen is None:
            raise ConnectionFailed("this connection is closed or lost; it is its owner's to open another")
        if self._lost_in_transaction:
            if first_word(sql) not in ("rollback", "abort"):
                raise ConnectionFailed(
                    "the connection was lost in the middle of a transaction, whose changes are rolled back; "
                    "send ROLLBACK to go on"
                )
            self._lost_in_transaction = False
        if self.raw.closed:
            self.raw = self._reopen()
            self.incarnation += 1
            log.warning("the connection to the server was lost and is opened anew")

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Errors in our terms; notes whether a transaction went down with the connection."""
        before = self.raw.info.transaction_status
        try:
            yield
        except Exception as error:
            if is_lost(error, self.raw):
                self._gave_up(before)
            ours = translated(error, self.raw, self._secrets())
            if ours is error:
                raise
            raise ours from error
        except BaseException:
            # Ctrl-C. What it makes of a borrowed connection is as the driver alone would have left it.
            if self.owned and not self.raw.closed:
                from godb_fast.engines.postgres import pipeline

                try:
                    pipeline.settle(self.raw)
                finally:
                    if self.raw.closed:
                        self._gave_up(before)
            raise

    def _gave_up(self, before: Any) -> None:
        """The connection is of no more use; a transaction that was open ``before`` went with it."""
        if not self.raw.closed:
            self.raw.close()
        if self.owned and before in (self._status.INTRANS, self._status.INERROR):
            self._lost_in_transaction = True

    # -- statements ---------------------------------------------------------------------------------

    def ask(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of one of our own catalogue statements; the caller's transaction is left as it was.

        Raises
        ------
        EngineError
            If the server refuses it, or the caller's transaction is aborted.
        """
        from godb_fast.engines.postgres.pipeline import Command

        text, values, formats = numbered(sql, params) if params else (sql, [], [])
        rows: list[tuple[Any, ...]] = self.apart([Command(text, values, formats, own=True)])[0].rows
        return rows

    def command(self, sql: str, params: Parameters, max_rows: int | None = None) -> Any:
        """A caller's statement for a pipeline, with its parameters bound as this connection's cursors do."""
        from godb_fast.engines.postgres.pipeline import Command

        if params is None:
            return Command(sql, max_rows=max_rows)
        if self.takes_numbers():
            return Command(sql, list(params), max_rows=max_rows)
        if self._is_cursor(self._psycopg.ClientCursor) and not is_numbered(sql, params):
            return Command(self._psycopg.ClientCursor(self.raw).mogrify(sql, params), max_rows=max_rows)
        text, values, formats = numbered(sql, params)
        return Command(text, values, formats, max_rows)

    def takes_numbers(self) -> bool:
        """Whether this connection's cursors take ``$1`` and leave percent signs alone."""
        return self._is_cursor(self._psycopg.RawCursor)

    def _is_cursor(self, kind: type) -> bool:
        factory = self.raw.cursor_factory
        return isinstance(factory, type) and issubclass(factory, kind)

    def apart(
        self,
        commands: Sequence[Any],
        settings: Settings = (),
        *,
        begin: bool = False,
        read_only: bool = False,
        stopper: Stopper | None = None,
    ) -> list[Any]:
        """Run statements that only read, under settings that hold for them alone; one round trip.

        Outside of a transaction they are one implicit transaction. Within the caller's they stand
        in a savepoint; the settings get their old values back, and after an error all is rolled back to it.

        Parameters
        ----------
        begin : bool
            On a connection without autocommit, begin the transaction that the driver would have begun.
        read_only : bool
            Let the server refuse to write, where they are a transaction of their own.

        Raises
        ------
        EngineBusy
            If the connection is in the midst of something else, or its transaction is aborted.
        """
        from godb_fast.engines.postgres import pipeline

        with self._lock:
            self._ready()
            with self._watched():
                before, after, savepoint = self._around(settings, begin, read_only)
                overflowed = None if stopper is None else lambda: stopper.stop("rows")
                sent = [*before, *commands, *after]
                try:
                    replies = pipeline.exchange(self.raw, sent, overflowed=overflowed)
                finally:
                    if savepoint and self.raw.info.transaction_status == self._status.INERROR:
                        self._roll_back()
                _check(replies)
                return replies[len(before) : len(before) + len(commands)]

    def _around(self, settings: Settings, begin: bool, read_only: bool) -> tuple[list[Any], list[Any], bool]:
        """What goes before and after the statements, and whether there is a savepoint among it."""
        from godb_fast.engines.postgres.pipeline import Command

        status = self.raw.info.transaction_status
        if status == self._status.INERROR:
            raise EngineBusy("the transaction is aborted; nothing can be asked before ROLLBACK")
        begins = begin and status == self._status.IDLE and not self.raw.autocommit
        if status == self._status.IDLE and not begins:
            # Gone with the implicit transaction.
            wanted = [*settings, *([("transaction_read_only", "on")] if read_only else [])]
            return ([_set(wanted)] if wanted else []), [], False
        before = [Command(self._begin(), own=True)] if begins else []
        before.append(Command(f"SAVEPOINT {SAVEPOINT}", own=True))
        after = [Command(f"RELEASE SAVEPOINT {SAVEPOINT}", own=True)]
        if settings:
            # Releasing the savepoint keeps what was set, and rolling back to it would also give up the locks
            # that keep the tables as the caller has read them. So the old values wait in settings of ours.
            names = [name for name, _ in settings]
            keep = ", ".join(
                f"pg_catalog.set_config('godb_fast.kept_{number}', pg_catalog.current_setting("
                f"${number + 1}), true)"
                for number in range(len(names))
            )
            put_back = ", ".join(
                f"pg_catalog.set_config(${number + 1}, pg_catalog.current_setting("
                f"'godb_fast.kept_{number}'), true)"
                for number in range(len(names))
            )
            before += [Command(f"SELECT {keep}", names, own=True), _set(settings)]
            after.insert(0, Command(f"SELECT {put_back}", names, own=True))
        return before, after, True

    def _begin(self) -> str:
        """The BEGIN that psycopg would send."""
        raw, words = self.raw, ["BEGIN"]
        if raw.isolation_level is not None:
            words.append(f"ISOLATION LEVEL {raw.isolation_level.name.replace('_', ' ')}")
        if raw.read_only is not None:
            words.append("READ ONLY" if raw.read_only else "READ WRITE")
        if raw.deferrable is not None:
            words.append("DEFERRABLE" if raw.deferrable else "NOT DEFERRABLE")
        return " ".join(words)

    def _roll_back(self) -> None:
        """Back to before our statements, in the caller's transaction.

        What stopped them is asked for again and again until it is heard, and may stop this as well: then it
        is done once more.
        """
        from godb_fast.engines.postgres import pipeline

        undo = (f"ROLLBACK TO SAVEPOINT {SAVEPOINT}", f"RELEASE SAVEPOINT {SAVEPOINT}")
        while True:
            replies = pipeline.exchange(self.raw, [pipeline.Command(text) for text in undo])
            if not any(sqlstate(reply.error) == STOPPED for reply in replies):
                return

    # -- the caller's statements ----------------------------------------------------------------------

    def execute(
        self, sql: str, params: Parameters, max_rows: int | None = None, stopper: Stopper | None = None
    ) -> Fetched:
        """A caller's statement as the driver runs it, on a cursor of the caller's own kind.

        With ``max_rows``, ``stopper`` ends what outgrows it.
        """
        with self._lock:
            self._ready(sql)
            with self._watched():
                if max_rows is not None and stopper is not None:
                    return self._bounded(sql, params, max_rows, stopper)
                begun = time.perf_counter()
                cursor = self._cursor(sql, params)
                cursor.execute(sql, params)
                result = cursor.pgresult
                count = 0 if result is None else result.nfields
                if result is None or (count == 0 and cursor.description is None):
                    if result is not None and result.status == self._psycopg.pq.ExecStatus.EMPTY_QUERY:
                        raise EngineError("there is no statement in this text")
                    return Fetched((), (), [], (time.perf_counter() - begun) * 1e3)
                rows = cursor.fetchall()
                latency_ms = (time.perf_counter() - begun) * 1e3
                # What cursor.description says, without an object per column.
                encoding = self.raw.info.encoding
                names = tuple([(result.fname(i) or b"").decode(encoding) for i in range(count)])
                return Fetched(names, tuple([result.ftype(i) for i in range(count)]), rows, latency_ms)

    def _cursor(self, sql: str, params: Parameters) -> Any:
        tuple_row = self._psycopg.rows.tuple_row
        if params is not None and not self.takes_numbers() and is_numbered(sql, params):
            return self._psycopg.RawCursor(self.raw, row_factory=tuple_row)
        return self.raw.cursor(row_factory=tuple_row)

    def _bounded(self, sql: str, params: Parameters, max_rows: int, stopper: Stopper) -> Fetched:
        from godb_fast.engines.postgres import pipeline

        command = self.command(sql, params, max_rows)
        status = self.raw.info.transaction_status
        begins = status == self._status.IDLE and not self.raw.autocommit
        before = [pipeline.Command(self._begin(), own=True)] if begins else []
        begun = time.perf_counter()
        replies = pipeline.exchange(self.raw, [*before, command], overflowed=lambda: stopper.stop("rows"))
        latency_ms = (time.perf_counter() - begun) * 1e3
        _check(replies)
        answer = replies[-1]
        if answer.overflow:
            raise too_large(max_rows)
        if answer.status == self._psycopg.pq.ExecStatus.EMPTY_QUERY:
            raise EngineError("there is no statement in this text")
        return Fetched(answer.columns, answer.oids, answer.rows, latency_ms)

    @contextmanager
    def stoppable(
        self, timeout_s: float | None, cancel: CancelToken | None, *, grace_s: float = 0.0
    ) -> Iterator[Stopper]:
        """Within this block a statement can be stopped; the error then says by what.

        Raises
        ------
        QueryTimeout, QueryCancelled, ResultTooLarge
        """
        if cancel is not None and cancel.cancelled:
            raise QueryCancelled("cancelled before it started")
        stopper = Stopper(lambda: self.raw)
        begun = time.monotonic()
        try:
            if timeout_s is not None:
                stopper.after(timeout_s + grace_s)
            if cancel is None:
                yield stopper
            else:
                with cancel.on_cancel(lambda: stopper.stop("cancel")):
                    yield stopper
        except (QueryCancelled, QueryTimeout) as error:
            if stopper.reason == "timeout" or (
                stopper.reason is None and timeout_s is not None and time.monotonic() - begun >= timeout_s
            ):
                raise QueryTimeout(f"stopped after its time limit of {timeout_s:g} s") from error
            if stopper.reason == "cancel":
                raise QueryCancelled("cancelled") from error
            raise
        finally:
            if stopper.close():
                self._absorb()

    def _absorb(self) -> None:
        """Let a cancel request that came too late hit a statement of ours instead of the caller's next."""
        from godb_fast.engines.postgres import pipeline

        if self.raw.closed or self.raw.info.transaction_status != self._status.IDLE:
            # Within a transaction an error would abort it. The server drops a request that finds it waiting,
            # and this one was sent before anything else can be.
            return
        try:
            replies = pipeline.exchange(self.raw, [pipeline.Command("SELECT 1")])
        except (self._psycopg.Error, EngineError) as error:
            log.debug("nothing was left to absorb: %s", type(error).__name__)
            return
        if replies[0].error is not None and sqlstate(replies[0].error) != STOPPED:
            log.debug("the server answers %s after a cancel", sqlstate(replies[0].error))

    # -- the end ------------------------------------------------------------------------------------

    def _forsaken(self) -> None:
        """In the child of a fork, of what the parent uses: its socket is left alone."""
        self.closed = True

    def close(self) -> None:
        """Close a connection of ours; a borrowed one stays open."""
        if self.closed:
            return
        self.closed = True
        if self.owned and not self.raw.closed:
            self.raw.close()

    def __repr__(self) -> str:
        info = self.raw.info
        where = "closed" if self.raw.closed else f"{info.dbname!r} at {info.host}:{info.port}"
        return f"<{type(self).__name__} {'own' if self.owned else 'borrowed'}, {where}>"


def _check(replies: Sequence[Any]) -> None:
    """Raise the first error, unless a result was too large: then all errors come from stopping it."""
    if not any(reply.overflow for reply in replies):
        for reply in replies:
            if reply.error is not None:
                raise reply.error


def _set(settings: Settings) -> Any:
    """A SELECT that sets settings until the end of the transaction; a lower time limit stays."""
    from godb_fast.engines.postgres.pipeline import Command

    calls = []
    for number, (name, _) in enumerate(settings):
        value = f"${2 * number + 2}"
        if name == "statement_timeout":
            now = "pg_catalog.current_setting('statement_timeout')"
            value = (
                f"CASE WHEN {now}::pg_catalog.interval > '0' AND {now}::pg_catalog.interval "
                f"< ({value}::pg_catalog.text || 'ms')::pg_catalog.interval "
                f"THEN {now} ELSE {value}::pg_catalog.text END"
            )
        calls.append(f"pg_catalog.set_config(${2 * number + 1}, {value}, true)")
    return Command(f"SELECT {', '.join(calls)}", [text for entry in settings for text in entry], own=True)


def too_large(max_rows: int) -> ResultTooLarge:
    """The error for a result past its limit."""
    return ResultTooLarge(f"the result has more than {max_rows} rows, the limit of its buffer")
