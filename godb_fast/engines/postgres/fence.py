"""A steered statement on a caller's own cursor: description, rows and row factory are the driver's.

Settings hold for this statement alone, within a savepoint of the caller's transaction or, with autocommit,
in a transaction of its own. If anything goes wrong, the transaction is as it was and the cursor can be used.
On a synchronous connection all of it is one pipeline, that is one round trip; behind an asynchronous one
(SQLAlchemy's adapter of it) it takes three.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from godb_fast.engines.base import Rendered
from godb_fast.engines.postgres.connection import SAVEPOINT
from godb_fast.engines.postgres.driver import STOPPED, import_psycopg, is_lost, sqlstate
from godb_fast.engines.postgres.rendering import leading_comments
from godb_fast.engines.postgres.settings import imposed
from godb_fast.errors import EngineBusy

if TYPE_CHECKING:
    from godb_fast.engines.postgres.validation import Validation

#: How often a cancellation may be heard while a transaction is put back.
_HEARD: Final = 10
#: invalid_savepoint_specification
_NO_SAVEPOINT: Final = "3B001"


def why_not(raw: Any) -> str | None:
    """Why nothing can be fenced on a driver's connection at this moment; None if it can."""
    pq = import_psycopg().pq
    if raw.closed:
        return "the connection is closed"
    if raw.pgconn.pipeline_status != pq.PipelineStatus.OFF:
        return "the connection is in the midst of a pipeline"
    if raw.pgconn.transaction_status not in (pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS):
        return "the connection is busy, or its transaction is aborted"
    return None


def with_comments(original: str, statement: Rendered) -> Rendered:
    """The rendered statement between the comments around the original, as tracing tools add them."""
    before, after = leading_comments(original), trailing_comment(original)
    if not before and not after:
        return statement
    return replace(statement, sql=f"{before}{statement.sql}{after}")


def trailing_comment(sql: str) -> str:
    """The block comment that ends a statement, with a space before it; empty if there is none."""
    text = sql.rstrip(" \t\r\n;")
    start = text.rfind("/*")
    # A comment by itself, wherever it began in the original: it ends where the text does.
    return f" {text[start:]}" if start > 0 and text.find("*/", start + 2) == len(text) - 2 else ""


def belongs_to_caller(error: BaseException, raw: Any, took_s: float, limit_s: float | None) -> bool:
    """Whether an error of a steered run is the caller's to see: a lost connection, a cancel of his own.

    The server stops a statement with the same SQLSTATE at its time limit; only the time tells them apart.
    """
    if not isinstance(error, Exception) or is_lost(error, raw):
        return True
    return sqlstate(error) == STOPPED and (limit_s is None or took_s < 0.95 * limit_s)


def run_on_cursor(
    raw: Any,
    connection: Any,
    cursor: Any,
    statement: Rendered,
    *,
    timeout_s: float | None = None,
    validation: Validation | None = None,
) -> None:
    """Execute a steered statement that only reads; its result is the cursor's.

    Parameters
    ----------
    raw : psycopg.Connection or psycopg.AsyncConnection
        The driver's connection.
    connection : object
        What gives further cursors on it whose ``execute`` is synchronous: ``raw`` itself, or an adapter.
    cursor : object
        The caller's cursor.
    timeout_s : float, optional
        The server stops the statement after this time; a lower ``statement_timeout`` stays.
    validation : Validation, optional
        Of the epoch on which the statement rests; on a synchronous connection in the same round trip.

    Raises
    ------
    SchemaChanged
        If it does not hold: what the cursor holds is not the statement's result.
    Exception
        The driver's error, after the transaction was put back to where it was.
    """
    psycopg = import_psycopg()
    synchronous = isinstance(raw, psycopg.Connection) and psycopg.Pipeline.is_supported()
    alone = raw.autocommit and raw.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
    before, after, undo = _around(imposed(statement), timeout_s, alone, synchronous)
    pipeline: AbstractContextManager[Any] = raw.pipeline() if synchronous else nullcontext()
    with _unprepared(raw):
        helper = connection.cursor()
        asked: list[Any] = []
        sent = False
        try:
            try:
                with pipeline:
                    _send(helper, before, one_by_one=synchronous)
                    if statement.params is None:
                        cursor.execute(statement.sql)
                    else:
                        cursor.execute(statement.sql, statement.params)
                    if validation is not None:
                        asked = [_asked(raw, question) for question in validation.questions]
                    _send(helper, after, one_by_one=synchronous)
                    sent = True
            except BaseException:
                if undo and _is_open(raw, sent):
                    for _ in range(_HEARD):
                        try:
                            _send(helper, undo, one_by_one=False)
                            break
                        except psycopg.Error as error:
                            if not _again(error):
                                break
                raise
        finally:
            helper.close()
    if validation is not None:
        from godb_fast.engines.postgres.pipeline import own_rows

        answers = [own_rows(raw, entry.pgresult) for entry in asked]
        validation.judge(answers, inside=not alone)


async def run_on_async_cursor(
    raw: Any,
    cursor: Any,
    statement: Rendered,
    *,
    timeout_s: float | None = None,
    validation: Validation | None = None,
) -> bool:
    """As :func:`run_on_cursor`, on an asynchronous connection; whether the validation takes another look.

    All of it happens under the connection's lock, which every operation of the driver takes: no other task's
    statement, COPY or transaction falls into it. It takes three round trips, of the driver's usual kind: a
    pipeline that is cancelled while it begins or ends may stay open, and what is sent into it is lost.

    Raises
    ------
    EngineBusy
        If the connection is in the midst of something else by now.
    """
    psycopg = import_psycopg()

    async def send(sent: Any, sql: str, params: Any = None) -> None:
        # What AsyncCursor.execute() does once it has the lock.
        await raw.wait(sent._execute_gen(sql, params))

    answers: list[list[tuple[Any, ...]]] = []
    async with raw.lock:
        if (busy := why_not(raw)) is not None:
            raise EngineBusy(busy)
        alone = raw.autocommit and raw.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        before, after, undo = _around(imposed(statement), timeout_s, alone, False)
        helper, behind = psycopg.AsyncCursor(raw), psycopg.AsyncCursor(raw)
        sent = False
        with _unprepared(raw):
            try:
                await send(helper, "; ".join(before))
                await send(cursor, statement.sql, statement.params)
                questions = () if validation is None else validation.questions
                await send(behind, "; ".join([*questions, *after]))
                sent = True
            except BaseException:
                if undo and _is_open(raw, sent):
                    for _ in range(_HEARD):
                        try:
                            await _to_its_end(send(helper, "; ".join(undo)))
                            break
                        except psycopg.Error as error:
                            if not _again(error):
                                break
                raise
        from godb_fast.engines.postgres.pipeline import own_rows

        for _ in questions:
            answers.append(own_rows(raw, behind.pgresult))
            behind.nextset()
    return validation is not None and not validation.holds(answers, inside=not alone)


def _again(error: BaseException) -> bool:
    """Whether the transaction is to be put back once more, after an error in doing so.

    A cancellation may be heard late: by what puts things back, or by the SAVEPOINT of the statement after
    the one that it was meant for. Then there is nothing to go back to, and the caller's transaction is
    aborted, as it would be without us.
    """
    if (state := sqlstate(error)) not in (STOPPED, _NO_SAVEPOINT):
        raise error
    return state == STOPPED


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await something that must not be cut short, whoever cancels meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


def _is_open(raw: Any, sent: bool) -> bool:
    """Whether the transaction around a statement that failed is left open: its savepoint, or all of it.

    An interrupt may come when all was sent and went well: then nothing is left.
    """
    status = import_psycopg().pq.TransactionStatus
    if raw.closed:
        return False
    left = raw.pgconn.transaction_status
    return bool(left == status.INERROR or (left == status.INTRANS and not sent))


def _asked(raw: Any, question: str) -> Any:
    """A cursor of the plainest kind, in whose result the answer will be."""
    return import_psycopg().Cursor(raw).execute(question)


def _send(helper: Any, statements: Sequence[str], *, one_by_one: bool) -> None:
    """A pipeline takes one statement at a time; elsewhere all go in one message."""
    for text in statements if one_by_one else ("; ".join(statements),):
        helper.execute(text)


@contextmanager
def _unprepared(raw: Any) -> Iterator[None]:
    """A prepared statement's cached plan would ignore the settings."""
    before, raw.prepare_threshold = raw.prepare_threshold, None
    try:
        yield
    finally:
        raw.prepare_threshold = before


def _around(
    settings: Sequence[tuple[str, str]], timeout_s: float | None, alone: bool, pipelined: bool
) -> tuple[list[str], list[str], list[str]]:
    """What goes before, what after, and what puts things back after an error."""
    wanted = {name: f"'{value}'" for name, value in settings}
    if alone and pipelined:
        # A pipeline is one implicit transaction, which takes the settings with it.
        wanted["transaction_read_only"] = "'on'"
    if timeout_s is not None:
        limit = max(1, round(timeout_s * 1e3))
        now = "pg_catalog.current_setting('statement_timeout')"
        span = f"CAST({now} AS pg_catalog.interval)"
        wanted["statement_timeout"] = (
            f"CASE WHEN {span} > '0' AND {span} < '{limit} ms' THEN {now} ELSE '{limit}' END"
        )
    calls = [f"pg_catalog.set_config('{name}', {value}, true)" for name, value in wanted.items()]
    impose = [f"SELECT {', '.join(calls)}"] if calls else []
    if alone and pipelined:
        return impose, [], []
    if alone:
        return ["BEGIN READ ONLY", *impose], ["COMMIT"], ["ROLLBACK"]
    # Releasing a savepoint keeps what was set within it: the old values wait in settings of ours.
    keep = [
        f"pg_catalog.set_config('godb_fast.kept_{number}', pg_catalog.current_setting('{name}'), true)"
        for number, name in enumerate(wanted)
    ]
    put_back = [
        f"pg_catalog.set_config('{name}', pg_catalog.current_setting('godb_fast.kept_{number}'), true)"
        for number, name in enumerate(wanted)
    ]
    release = f"RELEASE SAVEPOINT {SAVEPOINT}"
    return (
        [f"SAVEPOINT {SAVEPOINT}", *([f"SELECT {', '.join(keep)}"] if keep else []), *impose],
        [*([f"SELECT {', '.join(put_back)}"] if put_back else []), release],
        [f"ROLLBACK TO SAVEPOINT {SAVEPOINT}", release],
    )
