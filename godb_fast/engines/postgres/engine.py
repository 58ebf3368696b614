"""The engine protocol on one PostgreSQL connection."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from godb_fast.core import JoinTree, PhysicalPlan, Statistics, Steering, Template
from godb_fast.engines.arms import Arm
from godb_fast.engines.base import (
    TEMPORARY_MOST_BYTES,
    CancelToken,
    Capabilities,
    Effects,
    EngineResult,
    Parameters,
    Rendered,
)
from godb_fast.engines.dependencies import Dependencies
from godb_fast.engines.postgres import arms, catalogue, effects, plans, trees
from godb_fast.engines.postgres.connection import GRACE_S, Connection, Fetched, first_word, too_large
from godb_fast.engines.postgres.dependencies import dependencies
from godb_fast.engines.postgres.driver import NO_TABLE, UNBOUND, check_connection, sqlstate
from godb_fast.engines.postgres.facts import facts
from godb_fast.engines.postgres.identity import Identity
from godb_fast.engines.postgres.opening import Opener, Password
from godb_fast.engines.postgres.parameters import doubled, numbered
from godb_fast.engines.postgres.pipeline import Command
from godb_fast.engines.postgres.rendering import hint_comment, leading_comments, render_steered
from godb_fast.engines.postgres.settings import SteeringSettings, imposed, parse
from godb_fast.engines.postgres.settings import statement as setting_statement
from godb_fast.engines.postgres.statistics import PostgresStatistics
from godb_fast.engines.postgres.validation import Validation
from godb_fast.errors import EngineError, InvalidInput, SqlError
from godb_fast.sql import fingerprint
from godb_fast.sql.fingerprint import has_several_statements

#: What may change a result and is reported by the server unasked: it costs nothing to look at.
REPORTED: Final = (
    b"search_path",  # from 18 on
    b"DateStyle",
    b"IntervalStyle",
    b"TimeZone",
    b"client_encoding",
    b"standard_conforming_strings",
    b"is_superuser",
    b"session_authorization",
)
#: Of these, what names and rights rest on: who asks, and where he looks.
OF_ROLE: Final = frozenset({b"search_path", b"is_superuser", b"session_authorization"})
#: What may change a result and has to be asked for.
ASKED: Final = (
    "role",
    "search_path",
    "extra_float_digits",
    "bytea_output",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "array_nulls",
    "xmlbinary",
    "xmloption",
    "transform_null_equals",
    "quote_all_identifiers",
    "row_security",
    "default_text_search_config",
    "timezone_abbreviations",
)
#: First words of what only reads, as far as words go.
READS: Final = frozenset({"select", "with", "values", "table"})
#: Without an operator (see :func:`~godb_fast.engines.postgres.catalogue.check_path`).
_SETTINGS: Final = (
    "pg_catalog.current_setting('role'), pg_catalog.current_setting('search_path'), "
    + "pg_catalog.concat_ws('|', "
    + ", ".join(f"pg_catalog.current_setting('{name}')" for name in ASKED[2:])
    + ")"
)
_ENVIRONMENT: Final = Command(f"SELECT {_SETTINGS}", own=True)
_MISSING: Final = re.compile(r'^relation "(?P<name>[^\n]+)" does not exist')
#: Parameters without values: unknown to EXPLAIN, or missing when it is bound.
_UNBOUND: Final = ("42P02", UNBOUND)
_TEMPORARY_MOST_KB: Final = TEMPORARY_MOST_BYTES // 1024
#: EXPLAIN (GENERIC_PLAN) came with 16.
_GENERIC_PLANS: Final = 160000


class PostgresEngine:
    """One PostgreSQL connection, opened here or a caller's own.

    Make one with :meth:`open` or :meth:`borrow`. Not for use by several threads at once; give each its own.
    """

    name = "postgresql"
    dialect = "postgres"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._opener: Opener | None = None
        info = connection.raw.info
        self._identity = Identity(connection.raw, connection.ask)
        self._version = str(info.parameter_status("server_version") or info.server_version).split()[0]
        self._reported: tuple[bytes | None, ...] = ()
        self._asked: tuple[str, ...] | None = None
        self._environment = ""
        self._incarnation = connection.incarnation
        self._capabilities: Capabilities | None = None
        self._hints = False
        self._settings: SteeringSettings | None = None
        self._schema: tuple[str, catalogue.PostgresSchema] | None = None
        self._statistics: PostgresStatistics | None = None
        self._epochs = catalogue.Epochs()
        self._types: dict[int, str] = {}
        #: Round trips that the last validation of an epoch took beyond the statement's own.
        self.further_looks = 0
        # Asked for now, so that merely observing somebody's statements asks for nothing.
        self.environment()

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
            engine = cls(Connection(raw, opener, lambda: opener.secrets))
            engine._opener = opener
            return engine
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
        """End the statement that runs on this connection; called from another thread."""
        self._connection.raw.cancel()

    def close(self) -> None:
        """Close a connection of ours; a borrowed one stays open."""
        self._connection.close()

    def __enter__(self) -> PostgresEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<PostgresEngine {self._version} {self._connection!r}>"

    # -- what it is ---------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """The server's version, such as ``18.4``."""
        return self._version

    @property
    def capabilities(self) -> Capabilities:
        """Join trees everywhere: settings hold for one transaction, and for nobody else."""
        if self._capabilities is None:
            self._capabilities = Capabilities(
                join_trees=True, isolated=True, profile=False, cancel=True, savepoints=True, whole=True
            )
        return self._capabilities

    def steering_settings(self) -> SteeringSettings:
        """What this server and role can be asked for; read once per connection."""
        self._forget_if_reopened()
        if self._settings is None:
            self._settings = SteeringSettings.discover(self._connection.ask)
            loaded = self._connection.ask(
                "SELECT pg_catalog.current_setting('pg_hint_plan.enable_hint', true)"
            )
            self._hints = loaded[0][0] in ("on", "force")
        return self._settings

    def facts(self) -> dict[str, Any]:
        """What a person wants to know of this server and role; a few small statements."""
        self.check_path()
        settings = self.steering_settings()
        pooled = self._opener is not None and self._opener.pooled
        return facts(self._connection.ask, settings, hints=self._hints, pooled=pooled)

    def environment(self) -> str:
        """Database, search path, role and a hash of the settings that may change results.

        What the server reports unasked is as of now; the rest as of the last :meth:`schema_epoch`, which
        asks for it in the same round trip. So this costs none.
        """
        self._forget_if_reopened()
        raw = self._connection.raw
        if not raw.closed:
            status = raw.pgconn.parameter_status
            reported = tuple([status(name) for name in REPORTED])
            if self._asked is None:
                self._ask_environment()
            elif reported == self._reported:
                return self._environment
            self._reported = reported
            self._environment = self._label(reported)
        return self._environment

    def _ask_environment(self) -> None:
        try:
            self._asked = self._connection.apart([_ENVIRONMENT])[0].rows[0]
            self._look()
        except EngineError:
            # Nothing can be asked in an aborted transaction: the next schema_epoch() tells.
            self._asked = None

    def _look(self) -> None:
        """Ask the server who it is, once per connection, where its address alone does not tell."""
        if self._identity.look():
            self._reported = ()

    def _label(self, reported: tuple[bytes | None, ...]) -> str:
        role, path, rest = self._asked or ("?", "?", "?")
        if role == "none":
            role = (reported[REPORTED.index(b"session_authorization")] or b"?").decode("utf-8", "replace")
        if reported[0] is not None:
            path = reported[0].decode("utf-8", "replace")
        digest = hashlib.blake2b(repr((reported, rest)).encode(), digest_size=6).hexdigest()
        place, identifier = self._identity.name
        system = f" system={identifier}" if identifier else ""
        return f"{place} role={role} search_path={path}{system} settings={digest}"

    def _forget_if_reopened(self) -> None:
        if self._incarnation != self._connection.incarnation:
            self._incarnation = self._connection.incarnation
            self._asked = self._settings = None
            self._identity.forget()
            self._epochs = catalogue.Epochs()

    # -- the catalogue ------------------------------------------------------------------------------

    def schema_epoch(self) -> str:
        """A hash of everything that names can resolve to; each call asks the server.

        One round trip while nothing was committed on it since the last call, else two.
        """
        self._forget_if_reopened()
        return self._epochs.read(self._ask_with_environment)

    def check_path(self) -> None:
        """Whether statements on the catalogue mean what they say under the search path as it is now.

        Raises
        ------
        EngineError
            As :func:`~godb_fast.engines.postgres.catalogue.check_path`.
        """
        (row,) = self._connection.ask("SELECT pg_catalog.current_schemas(true)::pg_catalog.text[]")
        catalogue.check_path(row[0], self._connection.ask)

    def _ask_with_environment(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        text, values, formats = numbered(sql, params) if params else (sql, [], [])
        answer, about = self._connection.apart([Command(text, values, formats, own=True), _ENVIRONMENT])
        self._forget_if_reopened()
        self._look()
        self._take_environment(about.rows[0])
        rows: list[tuple[Any, ...]] = answer.rows
        return rows

    def _take_environment(self, asked: tuple[Any, ...]) -> None:
        if asked != self._asked:
            self._asked = asked
            self._reported = ()

    @property
    def validates_in_passing(self) -> bool:
        """A round trip saved; see :mod:`~godb_fast.engines.postgres.validation`."""
        return True

    def questions(self) -> tuple[str, ...]:
        """What to ask behind a statement for epoch and environment; :meth:`answered` takes the rows."""
        self._forget_if_reopened()
        first, *more = self._epochs.questions()
        return (f"{first}, {_SETTINGS}", *more)

    def validation(self, expected: str) -> Validation:
        """The validation of a statement that rests on an epoch, for who sends it himself."""
        return Validation(self, expected)

    def answered(self, answers: Sequence[list[tuple[Any, ...]]]) -> str | None:
        """The epoch by what was asked; None if it takes another look."""
        (row,), *more = answers
        self._take_environment(row[-3:])
        return self._epochs.answered([row[:-3]], *more)

    def schema(self) -> catalogue.PostgresSchema:
        """The catalogue at the current epoch."""
        epoch = self.schema_epoch()
        if self._schema is None or self._schema[0] != epoch:
            self._schema = (epoch, catalogue.read_schema(self._connection.ask))
        return self._schema[1]

    def statistics(self) -> Statistics:
        """Row counts and column distributions, from the server's own statistics."""
        schema = self.schema()
        assert self._schema is not None
        if self._statistics is None or self._statistics.schema is not schema:
            self._statistics = PostgresStatistics(self._connection.ask, schema, self._schema[0])
        return self._statistics

    def effects(self, sql: str) -> Effects:
        """Whether a statement only reads, and whether its answer is the same under every plan."""
        return effects.judge(sql, self._connection.ask, self.schema())

    def dependencies(self, sql: str) -> Dependencies | None:
        """What a statement uses; the same for every role and search path for which its names mean the same.

        Role, search path and what makes a role a superuser are no part of it; the settings that results
        depend on are. On a standby it is what it is on its primary.
        """
        schema = self.schema()
        self.environment()
        settings = [
            value for name, value in zip(REPORTED, self._reported, strict=False) if name not in OF_ROLE
        ]
        place = self._identity.of_proofs()
        where = (place, schema.database, self._version, repr(settings), (self._asked or ("?",))[-1])
        return dependencies(sql, self._connection.ask, schema, where)

    def may_be_planned(self, sql: str) -> bool:
        """Whether a statement begins as a query does.

        Before anything else nothing is asked: ``SET TRANSACTION`` must be the first in its transaction.
        """
        return first_word(sql) in READS

    def in_transaction(self) -> bool:
        """Whether a transaction is open on this connection (an aborted one counts)."""
        return self._connection.in_transaction()

    # -- plans --------------------------------------------------------------------------------------

    def explain(self, sql: str, params: Parameters = None, *, timeout_s: float | None = None) -> PhysicalPlan:
        """The engine's own plan, not executed.

        A statement whose parameters are not given gets its generic plan (from 16 on).

        Raises
        ------
        QueryTimeout
            If planning alone takes longer than ``timeout_s``.
        EngineError
            If PostgreSQL refuses the statement.
        """
        return self._explain(Rendered(sql, params), timeout_s)

    def explain_steered(self, statement: Rendered, *, timeout_s: float | None = None) -> PhysicalPlan:
        """The plan that a steered statement gets under its settings, as it will be sent; not executed."""
        return self._explain(statement, timeout_s)

    def _explain(self, statement: Rendered, timeout_s: float | None) -> PhysicalPlan:
        try:
            return self._explained(self._explain_command(statement), statement, timeout_s)
        except EngineError as error:
            unbound = statement.params is None and sqlstate(error.__cause__) in _UNBOUND
            supported = self._connection.raw.info.server_version >= _GENERIC_PLANS
            # By the simple protocol only, the other one wants values; so not where an error would abort.
            if not unbound:
                raise
            if not supported or statement.before or self.in_transaction():
                later = "" if supported else " (from PostgreSQL 16 on there is a plan for all values)"
                raise EngineError(
                    f"the statement has parameters without values: write literals in their place{later}"
                ) from error.__cause__
            # That protocol takes several statements, and would run the others.
            if has_several_statements(fingerprint(statement.sql, self.dialect)):
                raise
        sql = f"EXPLAIN (FORMAT JSON, GENERIC_PLAN) {statement.sql}"
        with self._connection.stoppable(timeout_s, None) as stopper:
            return plans.physical_plan(self._connection.execute(sql, None, None, stopper).rows[0][0])

    def _explained(self, command: Command, statement: Rendered, timeout_s: float | None) -> PhysicalPlan:
        settings = _limited(parse(statement.before), timeout_s)
        with self._connection.stoppable(timeout_s, None, grace_s=GRACE_S):
            answer = self._connection.apart([command], settings)[0]
        return plans.physical_plan(answer.rows[0][0])

    def check(self, sql: str, params: Parameters = None, *, timeout_s: float | None = None) -> None:
        """Parse and bind one statement of any kind; nothing is executed. A text of several is let pass.

        Raises
        ------
        QueryTimeout
            If that takes longer than ``timeout_s``.
        EngineError
            If PostgreSQL would refuse it, with its own words and the place.
        """
        try:
            if has_several_statements(fingerprint(sql, self.dialect)):
                return
        except SqlError as error:
            raise EngineError(str(error)) from error
        sent = self._connection.command(sql, params)
        parsed = Command(sent.sql, sent.values, sent.formats, own=True, parse_only=True)
        try:
            with self._connection.stoppable(timeout_s, None, grace_s=GRACE_S):
                self._connection.apart([parsed], _limited((), timeout_s))
        except EngineError as error:
            near = _near_names(error, self.schema) if sqlstate(error.__cause__) == NO_TABLE else ""
            raise (EngineError(f"{error}{near}") if near else error) from error.__cause__

    def _explain_command(self, statement: Rendered, options: str = "FORMAT JSON") -> Command:
        sent = self._connection.command(statement.sql, statement.params)
        return Command(f"EXPLAIN ({options}) {sent.sql}", sent.values, sent.formats, own=True)

    def analyze(
        self,
        statement: Rendered,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
    ) -> PhysicalPlan:
        """Execute a statement that only reads for its actual rows and times; its result is thrown away.

        For runs that somebody pays for: a user's own execution never costs this.

        Raises
        ------
        QueryTimeout, QueryCancelled, EngineError
        """
        _check_reads(statement.sql)
        settings = _limited(parse(statement.before), timeout_s)
        command = self._explain_command(statement, "ANALYZE, BUFFERS, SETTINGS, FORMAT JSON")
        with self._connection.stoppable(timeout_s, cancel, grace_s=GRACE_S) as stopper:
            replies = self._connection.apart([command], settings, read_only=True, stopper=stopper)
        return plans.physical_plan(replies[0].rows[0][0])

    def default_trees(
        self, template: Template, plan: PhysicalPlan, literals: Sequence[Any] | None = None
    ) -> dict[int, JoinTree]:
        """Join tree per block of the engine's plan, for the blocks where it can be told."""
        return trees.default_trees(template, plan, literals)

    def obeyed(
        self,
        template: Template,
        steering: Steering,
        plan: PhysicalPlan,
        literals: Sequence[Any] | None = None,
    ) -> bool | None:
        """Whether a plan follows the steering's join trees; None if that cannot be told."""
        return trees.obeyed(template, steering, plan, literals)

    def render(
        self, template: Template, literals: Sequence[Any], steering: Steering, params: Parameters = None
    ) -> Rendered:
        """The statement under a steering, with the settings that make PostgreSQL follow it.

        Raises
        ------
        InvalidInput
            If the steering does not fit the template, or asks for what this server or role cannot do.
        """
        settings = self.steering_settings()
        return render_steered(
            template,
            literals,
            steering,
            params,
            settings,
            numbers=self._connection.takes_numbers(),
            hints=self._hints,
        )

    def with_comments(self, rendered: Rendered, sql: str) -> Rendered:
        """A rendered statement with the comments in front of ``sql``, which tracing tools read."""
        comments = leading_comments(sql)
        if not comments:
            return rendered
        if rendered.params is not None and not self._connection.takes_numbers():
            comments = doubled(comments)
        # pg_hint_plan reads the first comment only.
        hints = f"{hint_comment(rendered.steering.hints)} " if rendered.steering.hints else ""
        return replace(rendered, sql=f"{hints}{comments}{rendered.sql[len(hints) :]}")

    def arms(self, plan: PhysicalPlan) -> tuple[Arm, ...]:
        """Settings worth trying on a statement with this default plan."""
        return arms.arms(plan, self.steering_settings())

    def under(self, sql: str, params: Parameters, steering: Steering) -> Rendered:
        """A statement, whose text stays as it is, under a steering of settings alone.

        Raises
        ------
        InvalidInput
            If the steering holds anything else, or what this server or role does not allow.
        """
        if steering.join_trees or steering.rewrites or steering.hints:
            raise InvalidInput("only settings leave a statement's text as it is")
        checked = self.steering_settings().check(steering.settings)
        before = tuple(setting_statement(name, value) for name, value in checked)
        return Rendered(sql, params, before, steering=steering)

    def guarded(self, statement: Rendered) -> Rendered:
        """A steered statement whose temporary files are limited, where this role may ask for that.

        Elsewhere its time limit, and the bounds of its memory, have to do.
        """
        now = self.steering_settings().allowed.get("temp_file_limit")
        if now is None or 0.0 <= float(now) <= _TEMPORARY_MOST_KB:
            return statement
        limit = setting_statement("temp_file_limit", f"{_TEMPORARY_MOST_KB}kB")
        return replace(statement, before=(*statement.before, limit))

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
            if first_word(statement.sql) not in READS:
                raise InvalidInput("only a SELECT can be run read-only through a connection pool")
        _check_reads(statement.sql)
        connection = self._connection
        settings = _limited(imposed(statement) if statement.before or statement.steering else (), timeout_s)
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
            if profile and first_word(statement.sql) in READS:
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


def _near_names(error: EngineError, schema: Callable[[], catalogue.PostgresSchema]) -> str:
    """Tables like the one that does not exist, as the server hints at columns; empty if there are none."""
    found = _MISSING.search(str(error))
    near = schema().near(found["name"].rpartition(".")[2]) if found is not None else ()
    return f"\nHINT:  There is {', '.join(near)}." if near else ""


def _check_reads(sql: str) -> None:
    if first_word(sql) not in READS:
        raise InvalidInput("only a SELECT is steered")


def _limited(settings: tuple[tuple[str, str], ...], timeout_s: float | None) -> tuple[tuple[str, str], ...]:
    """Settings with the time limit, which the server then keeps by itself."""
    if timeout_s is None:
        return settings
    return (*settings, ("statement_timeout", str(max(1, round(timeout_s * 1e3)))))
