"""The engine protocol on one DuckDB connection."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from godb_fast.core import JoinTree, PhysicalPlan, Steering, Template
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
from godb_fast.engines.duckdb import effects, plans, quirks, trees
from godb_fast.engines.duckdb.connection import UNKNOWN, Connection, kind_of_statement
from godb_fast.engines.duckdb.dependencies import dependencies
from godb_fast.engines.duckdb.functions import built_in_functions
from godb_fast.engines.duckdb.instance import (
    JOIN_TREE_SETTINGS,
    TEMPORARY_FILES,
    Instance,
    import_duckdb,
    open_instance,
    parse_settings,
    setting_statement,
)
from godb_fast.engines.duckdb.results import CONVERSIONS, ColumnarRows, fetch_table, is_columnar
from godb_fast.engines.duckdb.schema import DuckDBSchema, read_indexes, schema_epoch
from godb_fast.engines.duckdb.statistics import DuckDBStatistics
from godb_fast.errors import ConnectionFailed, EngineError, InvalidInput, QueryCancelled, QueryTimeout

#: Settings that may change what a statement returns: part of :meth:`DuckDBEngine.environment`.
RESULT_SETTINGS: Final = (
    "Calendar",
    "TimeZone",
    "default_collation",
    "default_null_order",
    "default_order",
    "dialect_compatibility_mode",
    "error_on_division_by_zero",
    "ieee_floating_point_ops",
    "integer_division",
    "null_order",
    "old_implicit_casting",
    "order_by_non_integer_literal",
    "regex_match_operator_semantics",
    "scalar_subquery_error_on_multiple_rows",
)
#: Statements that can be bound without doing anything.
BOUND: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE_INTO"})
#: Longer statements that change rows are only parsed when they are checked.
MAX_EXPLAINED: Final = 2_000
#: How long a steered run waits for default statements of its instance before it gives up.
STEERING_WAIT_S: Final = 0.5
_BORROWED: Final = (
    "DuckDB's switch for join orders is instance-wide and this connection was not opened by godb_fast, so "
    "others could feel it; open the file with godb_fast to steer join orders"
)


#: Such a statement reads, or writes rows; it changes neither catalogue nor settings.
_QUERY: Final = re.compile(r"[\s(]*(?:select|with|from|values|table)\b", re.IGNORECASE)
_NAMES: Final = re.compile(r'"(?P<quoted>(?:[^"]|"")*)"|[^\W\d]\w*')
#: Packages of what DuckDB reads as a table.
_TABULAR: Final = frozenset({"duckdb", "_duckdb", "numpy", "pandas", "polars", "pyarrow"})


def _is_tabular(value: Any) -> bool:
    if isinstance(value, import_duckdb().DuckDBPyConnection):
        return False
    return type(value).__module__.partition(".")[0] in _TABULAR or hasattr(value, "__arrow_c_stream__")


class DuckDBEngine:
    """One DuckDB connection: a cursor of an instance that we opened, or a caller's own.

    Make one with :meth:`open`, :meth:`borrow` or :meth:`cursor`. Not for use by several threads at once;
    give each its own :meth:`cursor`.
    """

    name = "duckdb"
    dialect = "duckdb"

    def __init__(self, connection: Connection, path: str, *, sibling: tuple[str, str] | None = None) -> None:
        self._connection = connection
        self._path = path
        self._version, self._environment_sql = sibling or self._introduced()
        self._widest_join = quirks.widest_join(self._version)
        self._environment: tuple[int, str] | None = None
        self._capabilities: Capabilities | None = None
        self._epoch: tuple[int, str] | None = None
        self._schema: DuckDBSchema | None = None
        self._statistics: DuckDBStatistics | None = None
        self._effects = effects.Judge(connection)

    def _introduced(self) -> tuple[str, str]:
        """Version, and the statement that tells the environment: the same for all cursors of an instance."""
        connection = self._connection
        version = str(connection.query("SELECT system.main.version()")[0][0]).lstrip("v")
        if quirks.version_tuple(version) < (1, 4):
            raise ConnectionFailed(f"DuckDB {version} is not supported; pip install 'duckdb>=1.4'")
        known = {name for (name,) in connection.query("SELECT name FROM system.main.duckdb_settings()")}
        settings = ", ".join(
            f"system.main.current_setting({quirks.quote_text(name)})"
            for name in RESULT_SETTINGS
            if name in known
        )
        return version, (
            "SELECT system.main.current_database(), system.main.current_schema(), "
            f"system.main.current_setting('search_path'), {settings}"
        )

    # -- opening and closing ------------------------------------------------------------------------

    @classmethod
    def open(
        cls, path: Any = ":memory:", *, read_only: bool = False, interruptible: bool = False
    ) -> DuckDBEngine:
        """Open a database file (or a new one in memory) as an instance of our own.

        Parameters
        ----------
        path : str or path
            A file; ``:memory:`` for a database in memory.
        read_only : bool
            Open without a right to write; several processes may then read the file at once.
        interruptible : bool
            Let Ctrl-C stop a running statement at once (for command lines); see :class:`Connection`.

        Raises
        ------
        ConnectionFailed
            No such file, not a database, locked by another process, or open in this process already.
        """
        instance, raw = open_instance(str(path), read_only)
        return cls._on(instance, raw, interruptible)

    @classmethod
    def _on(
        cls,
        instance: Instance,
        raw: Any,
        interruptible: bool,
        sibling: tuple[str, str] | None = None,
    ) -> DuckDBEngine:
        try:
            connection = Connection(raw, instance, interruptible=interruptible)
            return cls(connection, instance.path, sibling=sibling)
        except BaseException:
            raw.close()
            instance.release()
            raise

    @classmethod
    def borrow(cls, connection: Any) -> DuckDBEngine:
        """Work on a caller's connection, which stays open and whose settings stay as they are.

        Statements run on that connection: as with any ``execute()`` on it, rows of an earlier result that
        were not fetched are gone. Use a ``cursor()`` to keep them.
        """
        if not isinstance(connection, import_duckdb().DuckDBPyConnection):
            raise InvalidInput(f"{type(connection).__name__} is not a DuckDB connection")
        borrowed = Connection(connection, None)
        path = borrowed.query(
            "SELECT coalesce(path, ':memory:') FROM system.main.duckdb_databases() "
            "WHERE database_name = current_database()"
        )
        return cls(borrowed, str(path[0][0]) if path else ":memory:")

    def cursor(self) -> DuckDBEngine:
        """Another connection to the same instance of ours, for another thread.

        Raises
        ------
        InvalidInput
            On a borrowed connection: make a cursor of it yourself.
        """
        instance = self._connection.instance
        if instance is None:
            raise InvalidInput("this connection is borrowed; borrow a cursor() of it instead")
        about = (self._version, self._environment_sql)
        return type(self)._on(instance, instance.cursor(), self._connection.interruptible, about)

    @property
    def has_twins(self) -> bool:
        """On an instance of ours; a borrowed connection is its caller's to use and to copy."""
        return self._connection.instance is not None

    def twin(self) -> DuckDBEngine:
        """A cursor for another thread.

        What belongs to this connection alone (temporary tables, an open transaction, USE) is not seen on it:
        then its :meth:`schema_epoch` differs.
        """
        return self.cursor()

    def interrupt(self) -> None:
        """End the statement that runs on this connection; called from another thread."""
        self._connection.raw.interrupt()

    def close(self) -> None:
        """Close our cursor (the last one closes the database); a borrowed connection stays open."""
        self._connection.close()

    def __enter__(self) -> DuckDBEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what it is ---------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """DuckDB's version, such as ``2.0.0``."""
        return self._version

    @property
    def capabilities(self) -> Capabilities:
        """Join trees on our own instances only."""
        instance = self._connection.instance
        reason = _BORROWED if instance is None else instance.broken or ""
        if self._capabilities is None or self._capabilities.reason != reason:
            self._capabilities = Capabilities(
                join_trees=not reason,
                isolated=instance is not None,
                profile=True,
                cancel=True,
                reason=reason,
                widest_join=self._widest_join,
                estimates_imposed=False,
                fetch=("rows", "arrow", "df"),
            )
        return self._capabilities

    @property
    def interruptible(self) -> bool:
        """Whether Ctrl-C stops a running statement at once (for command lines; costs a thread switch)."""
        return self._connection.interruptible

    @interruptible.setter
    def interruptible(self, wanted: bool) -> None:
        self._connection.interruptible = wanted

    def environment(self) -> str:
        """Database, search path and a hash of the settings that may change results."""
        stamp = self._stamp()
        if (text := self._known("environment", self._environment, stamp)) is not None:
            return text
        database, schema, path, *settings = self._connection.query(self._environment_sql)[0]
        digest = hashlib.blake2b(repr(settings).encode(), digest_size=6).hexdigest()
        text = f"{self._path} {database}.{schema} search_path={path} settings={digest}"
        if stamp is not None:
            self._environment = self._learnt("environment", stamp, text)
        return text

    def _known(self, what: str, own: tuple[int, str] | None, stamp: int | None) -> str | None:
        """What is known at this stamp, of this connection or of any other that never did more than read."""
        connection = self._connection
        if own is not None and own[0] == stamp:
            return own[1]
        if connection.instance is None or not connection.only_read:
            return None
        fresh = connection.instance.fresh.get(what)
        return fresh[1] if fresh is not None and fresh[0] == stamp else None

    def _learnt(self, what: str, stamp: int, text: str) -> tuple[int, str]:
        instance = self._connection.instance
        if instance is not None and self._connection.only_read:
            instance.fresh[what] = (stamp, text)
        return stamp, text

    def _stamp(self) -> int | None:
        """A number that changes with catalogue and settings; None if nobody counts (borrowed)."""
        instance = self._connection.instance
        return None if instance is None else instance.catalog_changes

    def schema_epoch(self) -> str:
        """A hash of everything that names can resolve to.

        On our own instance it is computed anew only after a statement that may have changed it (all pass
        through here); on a borrowed connection each call asks the catalogue. Users' functions are part of it
        on our own instance only (listing them takes some 15 ms); :meth:`effects` looks at them anyway.
        """
        stamp = self._stamp()
        if (known := self._known("epoch", self._epoch, stamp)) is not None:
            return known
        epoch = schema_epoch(self._connection, functions=stamp is not None)
        if stamp is not None:
            self._epoch = self._learnt("epoch", stamp, epoch)
        return epoch

    def schema(self) -> DuckDBSchema:
        """The catalogue at the current epoch."""
        epoch = self.schema_epoch()
        if self._schema is None or self._schema.epoch != epoch:
            instance = self._connection.instance
            shared = None if instance is None else instance.schemas.get(epoch)
            if shared is None:
                begun = time.perf_counter()
                shared = DuckDBSchema(self._connection, epoch)
                took_ms = (time.perf_counter() - begun) * 1e3
                if instance is not None and self.schema_epoch() == epoch:
                    # Nothing was changed while it was read.
                    instance.keep_schema(shared, took_ms)
            self._schema = shared
        return self._schema

    def reading_ms(self) -> float:
        """What reading the catalogue would take now, in ms, as far as that is known; asks nothing."""
        epoch = self._known("epoch", self._epoch, self._stamp())
        instance = self._connection.instance
        if instance is None or (self._schema is not None and self._schema.epoch == epoch):
            return 0.0
        return 0.0 if epoch in instance.schemas else instance.schema_ms

    def statistics(self) -> DuckDBStatistics:
        """Row counts and column distributions, sampled when first asked for."""
        schema = self.schema()
        if self._statistics is None or self._statistics.schema is not schema:
            self._statistics = DuckDBStatistics(self._connection, schema, self._statistics)
        return self._statistics

    def samples(self) -> DuckDBStatistics:
        """What was sampled so far."""
        return self.statistics()

    def get_ready(self) -> None:
        """Load DuckDB's list of functions, and a file's catalogue and sizes."""
        built_in_functions()
        # A database in memory has tables only after the first statement.
        if self._connection.instance is not None and self._path != ":memory:":
            self.statistics()
            self.environment()
            self._effects.get_ready()

    def effects(self, sql: str) -> Effects:
        """Whether a statement only reads, and whether its answer is the same under every plan."""
        return self._effects.judge(sql, self.schema())

    def dependencies(self, sql: str) -> Dependencies | None:
        """What a statement uses; the same for every search path under which its names mean the same."""
        settings = self.environment().rpartition(" settings=")[2]
        indexes = read_indexes(self._connection)
        return dependencies(sql, self.schema(), indexes, (self._version, settings))

    @property
    def sees_variables(self) -> bool:
        """On a borrowed connection, as on the caller's own; not on an instance of ours."""
        return self._connection.instance is None

    @property
    def asks_each_time(self) -> bool:
        """On a borrowed connection, whose caller may change anything; on our own, changes are counted."""
        return self._connection.instance is None

    def may_change(self, sql: str) -> bool:
        """Whether a statement begins otherwise than a query, or may be several."""
        return _QUERY.match(sql) is None or ";" in sql.rstrip("; \t\r\n")

    @contextmanager
    def seeing(self, sql: str, namespaces: Sequence[Mapping[str, Any]]) -> Iterator[None]:
        """Inside, statements see the data frames and arrow tables that ``sql`` names."""
        found: dict[str, Any] = {}
        for token in _NAMES.finditer(sql):
            name = token[0] if token["quoted"] is None else token["quoted"].replace('""', '"')
            for namespace in namespaces:
                if name not in found and name in namespace and _is_tabular(namespace[name]):
                    found[name] = namespace[name]
        before, self._connection.variables = self._connection.variables, found
        try:
            yield
        finally:
            self._connection.variables = before

    def in_transaction(self) -> bool:
        """Whether a transaction is open on this connection (an aborted one counts)."""
        return self._connection.in_transaction()

    # -- plans --------------------------------------------------------------------------------------

    def explain(self, sql: str, params: Parameters = None, *, timeout_s: float | None = None) -> PhysicalPlan:
        """The engine's own plan, not executed.

        Raises
        ------
        QueryTimeout
            If DuckDB plans for longer than ``timeout_s``. It does not look up from ordering joins: see
            ``Capabilities.widest_join``.
        EngineError
            If DuckDB refuses the statement.
        """
        return self._explain(Rendered(sql, params), timeout_s)

    def check(self, sql: str, params: Parameters = None, *, timeout_s: float | None = None) -> None:
        """Parse statements of any kind, bind queries and changes of rows; nothing is executed.

        Raises
        ------
        QueryTimeout
            If binding takes longer than ``timeout_s``.
        EngineError
            If DuckDB refuses the text: its message quotes the place.
        """
        connection = self._connection
        parsed = connection.statements(sql)
        if not parsed:
            raise EngineError("there is no statement in this text")
        kind = kind_of_statement(parsed[0])
        if len(parsed) != 1 or kind not in BOUND or (params is None and parsed[0].named_parameters):
            return
        # DESCRIBE binds and does not plan; there is none of other statements than queries.
        bind = "DESCRIBE" if kind == "SELECT" else "EXPLAIN"
        if bind == "EXPLAIN" and (len(sql) > MAX_EXPLAINED or connection.in_transaction()):
            # It may plan for long; and in 2.0 an error, also of binding, would abort the transaction.
            return
        try:
            connection.guarded(lambda: connection.rows(f"{bind} {sql}", params), timeout_s=timeout_s)
        except (QueryTimeout, QueryCancelled):
            raise
        except EngineError as error:
            # The statement itself was parsed before.
            if not str(error).startswith("Parser Error") and not quirks.only_explain_refused(str(error)):
                raise

    def explain_steered(self, statement: Rendered, *, timeout_s: float | None = None) -> PhysicalPlan:
        """The plan that a steered statement would get, not executed."""
        return self._explain(statement, timeout_s)

    def _explain(self, statement: Rendered, timeout_s: float | None = None) -> PhysicalPlan:
        connection = self._connection
        if connection.kinds(statement.sql) != ("SELECT",):
            # A text of two statements would run the second.
            raise EngineError("only a single SELECT is explained")
        rows = connection.guarded(
            lambda: connection.rows(f"EXPLAIN (FORMAT JSON) {statement.sql}", statement.params),
            settings=parse_settings(statement.before),
            timeout_s=timeout_s,
        )
        if len(rows) != 1 or rows[0][0] != "physical_plan":
            raise EngineError("EXPLAIN gave no single physical plan; is this one SELECT?")
        return plans.from_explain(rows[0][1], f"duckdb {self._version}")

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
        """The statement under a steering, with the settings that make DuckDB follow it.

        Raises
        ------
        InvalidInput
            If the steering does not fit the template, or asks for what DuckDB cannot do here.
        """
        # sqlglot comes with it: only once something is rendered.
        from godb_fast.sql.render import render

        if steering.hints:
            raise InvalidInput("DuckDB takes no hints")
        before = _before(steering)
        if before and not self.capabilities.join_trees:
            raise InvalidInput(self.capabilities.reason)
        sql = render(template, literals, steering)
        return Rendered(sql=sql, params=params, before=before, steering=steering)

    def guarded(self, statement: Rendered) -> Rendered:
        """A steered statement whose temporary files are limited, on an instance of ours.

        That limit belongs to the instance, so on a borrowed connection there is none; nor in a transaction,
        where settings stay as they are.
        """
        if self._connection.instance is None or self.in_transaction():
            return statement
        limit = setting_statement(TEMPORARY_FILES, str(TEMPORARY_MOST_BYTES))
        return replace(statement, before=(*statement.before, limit))

    # -- execution ----------------------------------------------------------------------------------

    @property
    def driver_connection(self) -> Any:
        """The driver's connection, to fetch from; what changes something on it goes through :meth:`call`."""
        return self._connection.raw

    def call(self, work: Callable[[], Any]) -> Any:
        """Let the driver do something of its own, in a turn; it may have changed anything.

        Raises
        ------
        EngineError
            With the driver's own error as its cause.
        """
        try:
            return self._connection.guarded(work)
        finally:
            self._connection.noted((UNKNOWN,))

    def start(self, sql: str, params: Parameters = None) -> bool:
        """Execute a text unsteered; the result that the driver gives of it waits on the driver's connection.

        False if there is no statement in the text.

        Raises
        ------
        EngineError
            With the driver's own error as its cause.
        """
        connection = self._connection
        given, kinds = connection.parsed(sql)
        try:
            # A text without a statement drops the result of the one before.
            connection.guarded(lambda: connection.execute(given, params))
        finally:
            connection.noted(kinds)
        return bool(kinds)

    def run(
        self,
        statement: Rendered,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        profile: bool = False,
        max_rows: int | None = None,
        fetch: str = "rows",
    ) -> EngineResult:
        """Execute a statement and return its complete result; settings are as before on every path.

        A steered statement takes turns with the unsteered ones of its instance: it waits for those that run
        already, at most ``STEERING_WAIT_S``, then raises EngineBusy without having run.

        Parameters
        ----------
        fetch : str
            ``rows`` for tuples, made at once of plain scalars and when looked at of anything else; ``arrow``
            for an arrow table in ``EngineResult.native``, of which rows are made when looked at; ``df`` for a
            data frame there, without rows.

        Raises
        ------
        QueryTimeout, QueryCancelled, ResultTooLarge, EngineBusy, EngineError
        """
        settings = parse_settings(statement.before)
        connection = self._connection
        if settings:
            if not self.capabilities.join_trees:
                raise EngineError(self.capabilities.reason)
            if connection.in_transaction():
                raise EngineError("not steered: a transaction is open on this connection")
        if fetch not in ("rows", "arrow", "df"):
            raise InvalidInput(f"fetch is {fetch!r}; it is rows, arrow or df")
        given, kinds = connection.parsed(statement.sql)
        if not kinds:
            raise EngineError("there is no statement in this text")
        if settings and kinds != ("SELECT",):
            raise InvalidInput("only a single SELECT is steered")
        # Within a transaction an error would leave no way to put the profiler's settings back (2.0).
        profiled = profile and kinds == ("SELECT",) and not connection.in_transaction()
        profiler = quirks.Profiler(connection.raw) if profiled else None
        began = ended = 0.0
        report: dict[str, Any] | None = None

        def work() -> tuple[Any, tuple[str, ...], Sequence[tuple[Any, ...]], Any]:
            nonlocal began, ended, report
            raw = connection.raw
            try:
                if profiler is not None:
                    connection.profiler = profiler
                    profiler.start()
                began = time.perf_counter()
                connection.execute(given, statement.params)
                description = raw.description or []
                types = tuple(str(entry[1]) for entry in description)
                rows: Sequence[tuple[Any, ...]] = []
                native = None
                if fetch == "df":
                    native = raw.df()
                elif fetch == "arrow" or is_columnar(types):
                    native = fetch_table(raw, max_rows)
                    rows = ColumnarRows(native, types)
                else:
                    rows = connection.fetch(max_rows)
                ended = time.perf_counter()
                if profiler is not None:
                    report = profiler.read()
                return description, types, rows, native
            finally:
                connection.end_profile()

        try:
            description, types, rows, native = connection.guarded(
                work,
                settings=settings,
                timeout_s=timeout_s,
                busy_after_s=STEERING_WAIT_S if settings else None,
                cancel=cancel,
            )
        finally:
            connection.noted(kinds)
        latency_ms = (ended - began) * 1e3
        plan = plans.from_profile(report, f"duckdb {self._version}", latency_ms) if report else None
        return EngineResult(
            columns=tuple(str(entry[0]) for entry in description),
            types=types,
            rows=rows,
            latency_ms=latency_ms,
            plan=plan,
            memory_bytes=plan.memory_bytes if plan is not None else None,
            native=native,
            conversions=CONVERSIONS,
        )


@lru_cache(maxsize=1024)
def _before(steering: Steering) -> tuple[str, ...]:
    """The settings that make DuckDB follow a steering.

    Raises
    ------
    InvalidInput
        If one cannot be put back.
    """
    settings = dict(steering.settings)
    if steering.join_trees:
        for name, value in JOIN_TREE_SETTINGS:
            asked = [part for part in settings.get(name, "").split(",") if part]
            settings[name] = ",".join(dict.fromkeys([*value.split(","), *asked]))
    before = tuple(setting_statement(name, value) for name, value in settings.items())
    parse_settings(before)
    return before
