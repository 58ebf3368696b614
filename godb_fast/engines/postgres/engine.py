"""The engine protocol on one PostgreSQL connection: opening it, and running statements.

What the server tells is in :mod:`~godb_fast.engines.postgres.server`, plans and steering in
:mod:`~godb_fast.engines.postgres.explaining`.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from godb_fast.core import PhysicalPlan
from godb_fast.engines.base import CancelToken, EngineResult, Rendered
from godb_fast.engines.postgres import plans
from godb_fast.engines.postgres.connection import GRACE_S, Connection, Fetched, too_large
from godb_fast.engines.postgres.driver import check_connection
from godb_fast.engines.postgres.explaining import Explaining
from godb_fast.engines.postgres.opening import Opener, Password
from godb_fast.engines.postgres.pipeline import Command
from godb_fast.engines.postgres.settings import imposed, limited
from godb_fast.engines.postgres.statements import check_reads, reads
from godb_fast.errors import InvalidInput

log = logging.getLogger("godb_fast")

#: Seconds that asking a server to end a statement may take.
CANCEL_S: Final = 1.0


class PostgresEngine(Explaining):
    """One PostgreSQL connection, opened here or a caller's own.

    Make one with :meth:`open` or :meth:`borrow`. Not for use by several threads at once; give each its own.
    """

    name = "postgresql"

    def __init__(self, connection: Connection, opener: Opener | None = None) -> None:
        super().__init__(connection, opener)
        self._types: dict[int, str] = {}

    # -- opening and closing ------------------------------------------------------------------------

    @classmethod
    def open(cls, url: str, *, read_only: bool = False, password: Password = None) -> PostgresEngine:
        """Open a connection of our own, in autocommit mode; it is opened anew if it gets lost.

        Parameters
        ----------
        url : str
            ``postgresql://…``, as libpq reads it.
        read_only : bool
            Its transactions may not write.
        password : str or callable, optional
            Overrides the URL's; a callable is asked each time a connection is opened.

        Raises
        ------
        ConnectionFailed
            No such server, role or database, or the password is refused.
        InvalidInput
            If the URL cannot be read.
        """
        return cls._through(Opener(url, read_only, password))

    @classmethod
    def _through(cls, opener: Opener) -> PostgresEngine:
        raw = opener()
        try:
            return cls(Connection(raw, opener, lambda: opener.secrets), opener)
        except BaseException:
            raw.close()
            raise

    @classmethod
    def borrow(cls, connection: Any) -> PostgresEngine:
        """Work on a caller's connection, which stays open and is left as it was.

        Raises
        ------
        InvalidInput
            If it is no synchronous psycopg 3 connection.
        """
        check_connection(connection)
        return cls(Connection(connection))

    @property
    def has_twins(self) -> bool:
        """Where the connection was opened here."""
        return self._opener is not None

    def twin(self) -> PostgresEngine:
        """Another connection like it, for another thread.

        What was set or made on this connection alone is not seen on it.

        Raises
        ------
        ConnectionFailed
            If the server gives no further one.
        InvalidInput
            If this connection is borrowed: opening another is its owner's.
        """
        if self._opener is None:
            raise InvalidInput("this connection is borrowed; open another one for another thread")
        return self._through(self._opener)

    def interrupt(self) -> None:
        """End the statement that runs on this connection; called from another thread.

        A server that does not answer is not waited for: the statement then runs to its end.
        """
        try:
            self._connection.raw.cancel_safe(timeout=CANCEL_S)
        except Exception as error:  # noqa: BLE001 - logged: whoever ends something cannot do more
            log.debug("not cancelled: %s", error)

    def close(self) -> None:
        """Close a connection of ours; a borrowed one stays open."""
        self._connection.close()

    def __enter__(self) -> PostgresEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<PostgresEngine {self._version} {self._connection!r}>"

    # -- execution ----------------------------------------------------------------------------------

    def run(
        self,
        statement: Rendered,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        profile: bool = False,
        max_rows: int | None = None,
        expected: str | None = None,
    ) -> EngineResult:
        """Execute a statement and return its complete result; settings are as before on every path.

        A statement without a steering goes to the driver as it is. A steered one is sent unprepared, with
        its settings, in one round trip: as a read-only transaction of its own, or in a savepoint of the
        caller's. ``profile`` adds the plan by EXPLAIN, of the statement as it is sent and under the same
        settings; rows per operator are what :meth:`analyze` is for. With ``expected``, the epoch on which a
        steered statement rests, it is validated in the same round trip.

        Raises
        ------
        SchemaChanged
            If the statement may have been parsed at another epoch than the expected one.
        QueryTimeout, QueryCancelled, ResultTooLarge, EngineBusy, EngineError
        """
        if not statement.before and not statement.steering:
            if self._opener is None or not self._opener.pooled:
                return self._run_as_it_is(statement, timeout_s, cancel, profile, max_rows)
            # A pool keeps no setting for us that would let the server refuse to write: each statement has it.
            if not reads(statement.sql):
                raise InvalidInput("only a SELECT can be run read-only through a connection pool")
        check_reads(statement.sql)
        connection = self._connection
        settings = limited(imposed(statement) if statement.before or statement.steering else (), timeout_s)
        validation = None if expected is None else self.validation(expected)
        commands = [self._explain_command(statement)] if profile else []
        commands.append(connection.command(statement.sql, statement.params, max_rows))
        count = len(commands)
        if validation is not None:
            commands += [Command(question, own=True) for question in validation.questions]
        with connection.stoppable(timeout_s, cancel, grace_s=GRACE_S) as stopper:
            begun = time.perf_counter()
            replies = connection.apart(commands, settings, begin=True, read_only=True, stopper=stopper)
            latency_ms = (time.perf_counter() - begun) * 1e3
        answer = replies[count - 1]
        if answer.overflow:
            assert max_rows is not None
            raise too_large(max_rows)
        if validation is not None:
            validation.judge([reply.rows for reply in replies[count:]], inside=connection.in_transaction())
        plan = plans.physical_plan(replies[0].rows[0][0]) if profile else None
        return self._result(Fetched(answer.columns, answer.oids, answer.rows, latency_ms), plan)

    def _run_as_it_is(
        self,
        statement: Rendered,
        timeout_s: float | None,
        cancel: CancelToken | None,
        profile: bool,
        max_rows: int | None,
    ) -> EngineResult:
        connection = self._connection
        if timeout_s is None and cancel is None and max_rows is None and not profile:
            return self._result(connection.execute(statement.sql, statement.params), None)
        with connection.stoppable(timeout_s, cancel) as stopper:
            plan = None
            if profile and reads(statement.sql):
                plan = self._explain(statement, None)
            fetched = connection.execute(statement.sql, statement.params, max_rows, stopper)
        return self._result(fetched, plan)

    def _result(self, fetched: Fetched, plan: PhysicalPlan | None) -> EngineResult:
        types = self.type_names(fetched.oids)
        return EngineResult(fetched.columns, types, fetched.rows, fetched.latency_ms, plan)

    def type_names(self, oids: tuple[int, ...]) -> tuple[str, ...]:
        """Names of types as results have them; ``oid 12345`` for what only the server could tell."""
        known = self._types
        try:
            return tuple([known[oid] for oid in oids])
        except KeyError:
            return self._type_names(oids)

    def _type_names(self, oids: tuple[int, ...]) -> tuple[str, ...]:
        """Names of types, from the driver's register; those of the database itself are asked for once."""
        registered = self._connection.raw.adapters.types
        for oid in oids:
            info = registered.get(oid)
            if info is not None:
                self._types[oid] = f"{info.name}[]" if oid == info.array_oid else info.name
        unknown = sorted({oid for oid in oids if oid not in self._types})
        if unknown and self._connection.owned:
            asked = self._connection.ask(
                "SELECT oid, pg_catalog.format_type(oid, NULL) FROM pg_catalog.pg_type WHERE oid = ANY(%s)",
                (unknown,),
            )
            self._types.update({int(oid): str(name) for oid, name in asked})
        # On a borrowed connection nothing of ours is asked while somebody's statement is merely run.
        return tuple(self._types.get(oid, f"oid {oid}") for oid in oids)
