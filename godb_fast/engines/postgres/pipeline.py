"""Several statements in one round trip, on libpq's pipeline.

Everything that is sent before one ``Sync`` and outside of a transaction is *one implicit transaction* of the
server: ``set_config(…, true)`` before a query holds for that query and is gone after it, on every path, even
if the client dies. Nothing has to be put back, and no BEGIN and COMMIT are sent.

psycopg's own ``Connection.pipeline()`` begins transactions on connections without autocommit and cannot
bound a result's memory; so this talks to ``Connection.pgconn`` through ``Connection.wait()``, as documented
for psycopg's low level. Nothing here is prepared, so no cached plan can hide a setting.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from operator import call
from typing import Any, Final

from psycopg import adapters, capabilities, errors
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader, PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.waiting import Ready, Wait

from godb_fast.errors import EngineBusy, EngineError

log = logging.getLogger("godb_fast")

#: Seconds in which an interrupted statement is to end, and after which it is asked to once more.
_END_S: Final = 10.0
_ASK_AGAIN_S: Final = 1.0
#: What the protocol can count.
_MOST_VALUES: Final = 65_535
#: Rows that libpq hands over at a time, at most, while a result is bounded.
CHUNK_ROWS: Final = 4096

_FORMATS: Final = {"s": PyFormat.AUTO, "b": PyFormat.BINARY, "t": PyFormat.TEXT}
_ROWS: Final = frozenset({ExecStatus.TUPLES_OK, ExecStatus.TUPLES_CHUNK, ExecStatus.SINGLE_TUPLE})


@dataclass(frozen=True)
class Command:
    """One statement with bound values.

    Parameters
    ----------
    sql : str
        With ``$1``, ``$2`` … for the values.
    formats : sequence of str
        As :func:`~godb_fast.engines.postgres.parameters.numbered` gives them.
    max_rows : int or None
        Rows kept at most; past it the whole result is dropped and ``Reply.overflow`` is set.
    own : bool
        A statement of ours: values and rows go through psycopg's adapters, not through those that the
        caller registered on the connection.
    parse_only : bool
        The statement is parsed and bound, and not executed.
    """

    sql: str
    values: Sequence[Any] = ()
    formats: Sequence[str] = ()
    max_rows: int | None = None
    own: bool = False
    parse_only: bool = False


class _Utf8Loader(Loader):
    """Text of a connection in SQL_ASCII, which psycopg reads as bytes."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "replace")


_ascii_adapters = AdaptersMap(adapters)
for _name in ("text", "name", "varchar", "bpchar", '"char"'):
    _ascii_adapters.register_loader(_name, _Utf8Loader)


class _OwnAdapters:
    """psycopg's adapters on a connection whose owner may have registered others."""

    def __init__(self, raw: Any) -> None:
        self.connection = raw
        self.adapters = _ascii_adapters if raw.info.encoding == "ascii" else adapters


def own_rows(raw: Any, result: Any) -> list[tuple[Any, ...]]:
    """Rows of a libpq result of a statement of ours, whatever adapters the connection's owner registered."""
    transformer = Transformer(_OwnAdapters(raw))
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)


@dataclass
class Reply:
    """What the server answered to one command."""

    status: int | None = None
    columns: tuple[str, ...] = ()
    oids: tuple[int, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    overflow: bool = False
    error: Exception | None = None


def exchange(
    raw: Any,
    commands: Sequence[Command],
    *,
    overflowed: Callable[[], None] | None = None,
) -> list[Reply]:
    """Send all commands and read all answers; one round trip.

    The first error ends them: later ones have no status.

    Parameters
    ----------
    overflowed : callable, optional
        Called once when a result outgrows its limit, while the server may still be sending it.

    Raises
    ------
    EngineBusy
        If the connection is in the midst of something else (a pipeline or COPY of the caller).
    psycopg.Error
        If the connection breaks; errors of the server are in the replies.
    """
    pgconn = raw.pgconn
    theirs = Transformer(raw)
    ours = Transformer(_OwnAdapters(raw))
    transformers = [ours if command.own else theirs for command in commands]
    encoding = raw.info.encoding
    prepared = [
        _dumped(transformer, command, encoding)
        for transformer, command in zip(transformers, commands, strict=True)
    ]
    # Before the lock too: in stream() and copy() the driver holds it while its owner reads, maybe in this
    # very thread.
    _check_idle(pgconn)
    with raw.lock:
        _check_idle(pgconn)
        replies = [Reply() for _ in commands]
        try:
            raw.wait(_exchange(pgconn, transformers, commands, prepared, replies, overflowed))
        except BaseException:
            _end(raw)
            raise
    return replies


def _check_idle(pgconn: Any) -> None:
    if pgconn.pipeline_status or pgconn.transaction_status == TransactionStatus.ACTIVE:
        raise EngineBusy("the connection is in the midst of a pipeline, stream or COPY of its owner")


_Sent = tuple[bytes, Any, Any, Any]


def _dumped(transformer: Any, command: Command, encoding: str) -> _Sent:
    text = command.sql.encode("utf-8" if encoding == "ascii" else encoding)
    if "\0" in command.sql:
        raise EngineError("a statement cannot hold a NUL character")
    if not command.values:
        return text, None, None, None
    wanted = [_FORMATS[letter] for letter in command.formats] or [PyFormat.AUTO] * len(command.values)
    if len(command.values) > _MOST_VALUES:
        raise EngineError(f"{len(command.values):,} values; a statement takes at most {_MOST_VALUES:,}")
    values = transformer.dump_sequence(command.values, wanted)
    return text, values, tuple(transformer.types), list(transformer.formats)


def _exchange(
    pgconn: Any,
    transformers: Sequence[Any],
    commands: Sequence[Command],
    prepared: Sequence[_Sent],
    replies: list[Reply],
    overflowed: Callable[[], None] | None,
) -> Generator[Any, Any, None]:
    steps: list[Callable[[], None]] = [pgconn.enter_pipeline_mode]
    for command, sent in zip(commands, prepared, strict=True):
        if command.parse_only:
            # The unnamed statement: the next one that is sent takes its place.
            steps.append(partial(pgconn.send_prepare, b"", sent[0], sent[2]))
        else:
            steps.append(partial(pgconn.send_query_params, *sent))
    # In one go, between whose parts no Ctrl-C is heard: nothing is sent, or all with what undoes settings.
    deque(map(call, [*steps, pgconn.pipeline_sync]), maxlen=0)
    while pgconn.flush():
        ready = yield Wait.RW
        if ready and ready & Ready.R:
            # The server may wait for us to read before it reads on.
            pgconn.consume_input()
    for transformer, command, reply in zip(transformers, commands, replies, strict=True):
        if command.max_rows is not None:
            # Refused where the server's answer is already here, be it that it ended the connection: then it
            # is read as a whole, and says so.
            with suppress(errors.Error):
                if capabilities.has_stream_chunked():
                    pgconn.set_chunked_rows_mode(max(1, min(CHUNK_ROWS, command.max_rows)))
                else:
                    pgconn.set_single_row_mode()
        yield from _read(pgconn, transformer, command, reply, overflowed)
    # A statement that was stopped while its rows came in parts may end twice, and those after it then seem to
    # have ended before they did: the mark at the end of all is what counts.
    ends = 0
    while ends <= len(commands):
        synced = yield from _next(pgconn)
        if synced is None:
            ends += 1
        elif synced.status == ExecStatus.PIPELINE_SYNC:
            break
    pgconn.exit_pipeline_mode()


def settle(raw: Any) -> None:
    """Stop what an interrupted statement of the driver left running, so that the connection can go on.

    Heard between the sending of a statement and the waiting for its answers, Ctrl-C leaves them unread.
    """
    with raw.lock:
        if raw.pgconn.transaction_status == TransactionStatus.ACTIVE:
            _finish(raw, lambda: bool(raw.pgconn.transaction_status != TransactionStatus.ACTIVE))


def _end(raw: Any) -> None:
    """Stop what runs, and read the answers that nobody waits for any more, so that the connection can go on.

    Ctrl-C may be heard while answers are read, rather than by the driver that waits for them.
    """
    pgconn = raw.pgconn
    if pgconn.status == ConnStatus.OK and pgconn.pipeline_status:
        _finish(raw, partial(_has_left, pgconn))


def _finish(raw: Any, ended: Callable[[], bool]) -> None:
    """Read all answers; if that does not end in time, or is interrupted as well, the connection is closed."""
    try:
        raw.wait(_read_out(raw, ended, time.monotonic() + _END_S))
    except BaseException as error:
        log.warning("an interrupted statement does not end (%s): the connection is closed", error)
        raw.close()
        if not isinstance(error, Exception):
            raise


def _read_out(raw: Any, ended: Callable[[], bool], until: float) -> Generator[Any, Any, None]:
    pgconn, asked = raw.pgconn, -math.inf
    if pgconn.pipeline_status:
        # Also where what was to be sent was refused: the server answers all before a mark. One too many is
        # none.
        pgconn.pipeline_sync()
    while pgconn.flush():
        ready = yield Wait.RW
        if ready and ready & Ready.R:
            pgconn.consume_input()
    pgconn.consume_input()
    while not ended():
        while True:
            now = time.monotonic()
            if now > until:
                raise errors.OperationalError("the server does not answer")
            if not pgconn.is_busy():
                break
            if now - asked > _ASK_AGAIN_S:
                asked = now
                # A request that does not get through is made again, until the time is up.
                with suppress(errors.Error):
                    raw.cancel_safe(timeout=_ASK_AGAIN_S)
            ready = yield Wait.R
            if ready is None or ready & Ready.R:
                pgconn.consume_input()
        pgconn.get_result()


def _has_left(pgconn: Any) -> bool:
    """Leave the pipeline, if no answer is left in it."""
    try:
        pgconn.exit_pipeline_mode()
    except errors.OperationalError:
        return False
    return True


def _read(
    pgconn: Any,
    transformer: Any,
    command: Command,
    reply: Reply,
    overflowed: Callable[[], None] | None,
) -> Generator[Any, Any, None]:
    """All results of one command, up to the empty one that ends them."""
    while (result := (yield from _next(pgconn))) is not None:
        status = ExecStatus(result.status)
        if status == ExecStatus.FATAL_ERROR:
            reply.error = errors.error_from_result(result, encoding=transformer.encoding)
            continue
        reply.status = status
        if status not in _ROWS or reply.overflow or reply.error is not None:
            continue
        if not reply.oids:
            _describe(result, reply, transformer.encoding)
        count = result.ntuples
        if command.max_rows is not None and len(reply.rows) + count > command.max_rows:
            reply.overflow, reply.rows = True, []
            if overflowed is not None:
                overflowed()
        elif count:
            try:
                transformer.set_pgresult(result)
                reply.rows.extend(transformer.load_rows(0, count, tuple))
            except Exception as error:  # noqa: BLE001 - the caller's own loaders may raise anything
                # It is raised once all answers are taken: the connection must not be left half-way.
                reply.rows, reply.error = [], error


def _describe(result: Any, reply: Reply, encoding: str) -> None:
    fields = range(result.nfields)
    codec = "utf-8" if encoding == "ascii" else encoding
    reply.columns = tuple((result.fname(number) or b"").decode(codec, "replace") for number in fields)
    reply.oids = tuple(result.ftype(number) for number in fields)


def _next(pgconn: Any) -> Generator[Any, Any, Any]:
    """The next result, or None between two commands."""
    while pgconn.is_busy():
        # After Ctrl-C the driver goes on without saying what is ready.
        ready = yield Wait.R
        if ready is None or ready & Ready.R:
            pgconn.consume_input()
    return pgconn.get_result()
