"""In front of SQLAlchemy: ``install(engine)`` observes, advises on and steers what an Engine executes.

A hook sees a statement before the driver does and may change it, but a user's execution is no place for
trials: so only *verified* steerings are applied here, those that were seen to be obeyed and faster in runs of
a :class:`~godb_fast.Session` with the same Optimizer, or that exploration proved. Everything else passes
unchanged and is observed.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from godb_fast.adoption import CursorSession, Observer, chosen_mode
from godb_fast.advising import Adviser, Beside, beside_duckdb, beside_postgres
from godb_fast.engines.addresses import plainly
from godb_fast.engines.base import Engine, Parameters, Rendered
from godb_fast.engines.registry import open_engine
from godb_fast.errors import GodbError, InvalidInput, MissingDependency, SchemaChanged
from godb_fast.optimizer import Optimizer, Prepared
from godb_fast.sql import Fingerprint, is_query
from godb_fast.steered import Outlook
from godb_fast.store import open_store
from godb_fast.worth import best_gain_ms, verified_gain_ms

if TYPE_CHECKING:
    import sqlalchemy

#: SQLAlchemy's name of a dialect → ours.
ENGINES: Final = {"postgresql": "postgresql", "duckdb": "duckdb"}
#: Seconds that the connection for planning in the background is kept. A DuckDB file stays locked meanwhile.
IDLE_S: Final = {"postgresql": 5.0, "duckdb": 0.1}
#: Drivers whose connections can be planned for.
PLANNED: Final = frozenset({"psycopg", "psycopg_async", "duckdb_engine"})
#: What looking and the settings around a steered statement cost, in ms. It takes one round trip, as the
#: statement alone does; where it was seen to take more, a session's SteeringCost knows.
OVERHEAD_MS: Final = 0.5
_KEY: Final = "godb_fast"


#: Does what may ask the server, and gives what comes of it.
_Ask = Callable[[Callable[[], Any]], Any]


@dataclass(eq=False)
class _Call:
    """One execution under way."""

    print: Fingerprint | None
    started: float = 0.0
    #: To be planned for in the background, if it succeeds.
    unplanned: tuple[str, Parameters] | None = None
    original: tuple[str, Any] | None = None
    prepared: Prepared | None = None
    outlook: Outlook | None = None
    session: CursorSession | None = None
    ask: _Ask | None = None
    steered: bool = False
    fell_back: str | None = None


class Adoption:
    """What :func:`install` put on an Engine.

    Attributes
    ----------
    mode : str
        ``off``, ``observe``, ``advise`` or ``steer``.
    optimizer : Optimizer
        Its ``counters`` say what happened: observed, advised, steered, fell_back, internal_errors.
    """

    def __init__(self, engine: sqlalchemy.Engine, mode: str, optimizer: Optimizer) -> None:
        self.mode = mode
        self.optimizer = optimizer
        self._engine = weakref.ref(engine)
        self._name = ENGINES[engine.dialect.name]
        self._driver = engine.dialect.driver
        self._asynchronous = engine.dialect.is_async
        self._observer = Observer(self._name, optimizer, database=_database(engine))
        self._adviser = Adviser(self._observer, IDLE_S[self._name]) if mode in ("advise", "steer") else None
        #: The DuckDB connection on a cursor of which advice is made.
        self._parent: Any = None
        self._listeners: list[tuple[str, Callable[..., Any], bool]] = [
            ("before_cursor_execute", self._before, True),
            ("after_cursor_execute", self._after, False),
            ("handle_error", self._on_error, False),
            ("close", self._on_close, False),
        ]
        if mode == "steer" and self._can_steer:
            # The hook above changes the statement; here its settings are put around it, and it is fenced.
            self._listeners += [
                ("do_execute", self._execute, False),
                ("do_execute_no_params", self._execute_no_params, False),
            ]

    def wait(self, timeout_s: float = 10.0) -> bool:
        """Wait until the templates seen so far are planned for; False if time ran out."""
        return self._adviser is None or self._adviser.wait(timeout_s)

    def _listen(self) -> None:
        from sqlalchemy import event

        for name, listener, changes in self._listeners:
            event.listen(self._engine(), name, listener, **({"retval": True} if changes else {}))

    def _remove(self) -> None:
        from sqlalchemy import event

        engine = self._engine()
        if engine is not None:
            for name, listener, _ in self._listeners:
                if event.contains(engine, name, listener):
                    event.remove(engine, name, listener)
        if self._adviser is not None:
            self._adviser.stop()
        if self.optimizer.store is not None:
            self.optimizer.store.flush()

    # -- before -------------------------------------------------------------------------------------

    def _before(
        self, connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> tuple[str, Any]:
        call: _Call | None = None
        changed = statement, parameters
        try:
            call = _Call(self._observer.read(statement, self.mode))
            if context is not None:
                context._godb_fast = call
            if self._adviser is not None and call.print is not None and not executemany:
                changed = self._considered(connection, statement, parameters, context, call)
        except Exception as error:  # noqa: BLE001 - logged and counted: the statement goes on unchanged
            self._observer.failed("before a statement", error)
            changed = statement, parameters
        if call is not None:
            call.started = time.perf_counter()
        return changed

    def _considered(
        self, connection: Any, statement: str, parameters: Any, context: Any, call: _Call
    ) -> tuple[str, Any]:
        print_ = call.print
        assert print_ is not None
        if not is_query(print_) or _streams(context):
            return statement, parameters
        params = parameters or None
        known = self.optimizer.known_templates(print_) if self.mode == "steer" else []
        gain = max((best_gain_ms(template) or 0.0 for template in known), default=0.0)
        if gain <= OVERHEAD_MS or not self._can_steer:
            call.unplanned = statement, params
            return statement, parameters
        rendered = self._verified(connection, statement, params, call)
        if rendered is None:
            return statement, parameters
        call.original = statement, parameters
        return rendered.sql, rendered.params if rendered.params is not None else parameters

    @property
    def _can_steer(self) -> bool:
        return self._name == "postgresql" and self._driver in ("psycopg", "psycopg_async")

    def _planning_session(self, connection: Any) -> Callable[[], Beside]:
        """How to open a connection like the application's; asked for where the application's can be seen."""
        driver = connection.connection.driver_connection
        if self._name == "duckdb":
            self._parent = connection.connection.dbapi_connection
            # duckdb_engine wraps the driver's connection; its methods are bound to that.
            return beside_duckdb(driver.execute.__self__, self.optimizer)
        return beside_postgres(driver, self.optimizer)

    def _verified(self, connection: Any, statement: str, params: Parameters, call: _Call) -> Rendered | None:
        """The statement under a verified steering; None if it goes as it is."""
        from godb_fast.engines.postgres import fence

        raw = connection.connection.driver_connection
        if fence.why_not(raw) is not None:
            return None
        try:
            session, ask = self._session(connection.info, raw)
            outlook = ask(partial(session.prepare, statement, params))
        except GodbError as error:
            self.optimizer.log_once("passed_through", f"passed through: {error}")
            return None
        prepared = outlook.prepared
        gain = verified_gain_ms(prepared)
        if gain is None or gain <= OVERHEAD_MS or not outlook.steers:
            return None
        call.prepared, call.outlook, call.session, call.ask = prepared, outlook, session, ask
        return fence.with_comments(statement, prepared.rendered)

    def _session(self, info: dict[Any, Any], raw: Any) -> tuple[CursorSession, _Ask]:
        """The session at a driver's connection, made once for each, and how it is asked."""
        kept = info.get(_KEY)
        if kept is None or kept[0] is not raw or kept[1] is not self.optimizer:
            ask: _Ask = _at_once
            connect: Callable[[], Engine] = partial(open_engine, raw)
            if self._asynchronous:
                from godb_fast.engines.postgres import PostgresEngine
                from godb_fast.engines.postgres.twin import Twin

                twin = Twin(raw)
                ask, connect = partial(_awaited, twin), lambda: PostgresEngine.borrow(twin.connection())
            session = ask(lambda: CursorSession(self.optimizer, connect(), mode="steer"))
            kept = info[_KEY] = (raw, self.optimizer, (session, ask))
        found: tuple[CursorSession, _Ask] = kept[2]
        return found

    # -- instead of the driver: only where a verified steering is applied ---------------------------

    def _execute(self, cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        call: _Call | None = getattr(context, "_godb_fast", None)
        if call is None or call.prepared is None or call.original is None:
            return False
        from godb_fast.engines.postgres import PostgresEngine, fence
        from godb_fast.engines.postgres.driver import blames_no_plan

        prepared, outlook, session = call.prepared, call.outlook, call.session
        assert outlook is not None
        assert session is not None
        ask = call.ask or _at_once
        engine = session.engine
        assert isinstance(engine, PostgresEngine)
        raw = context.root_connection.connection.driver_connection
        rendered = prepared.rendered
        fenced = Rendered(statement, parameters or None, rendered.before, steering=rendered.steering)
        limit = self.optimizer.allowance_s(prepared)
        begun = time.perf_counter()
        try:
            validation = None if outlook.expected is None else engine.validation(outlook.expected)
            if not self._asynchronous:
                fence.run_on_cursor(raw, raw, cursor, fenced, timeout_s=limit, validation=validation)
            else:
                adapted = context.root_connection.connection.dbapi_connection
                fence.run_on_cursor(raw, adapted, cursor, fenced, timeout_s=limit)
                if validation is not None:
                    # Behind it, in a round trip of its own: an epoch that was left never comes back.
                    ask(validation.look)
        except Exception as error:
            took = time.perf_counter() - begun
            if fence.belongs_to_caller(error, raw, took, limit):
                raise
            call.fell_back = f"the steered run failed: {str(error).strip() or type(error).__name__}"
            if isinstance(error, SchemaChanged) or ask(partial(session.changed, outlook)):
                # Nothing is held against the steering, which rests on another schema.
                self.optimizer.count("outdated")
            elif not blames_no_plan(error):
                self.optimizer.quarantine(session.scope_now, prepared, call.fell_back, took)
                self.optimizer.log_once("fell_back", call.fell_back, prepared.decision.fingerprint)
            call.started = time.perf_counter()
            sql, params = call.original
            if params:
                cursor.execute(sql, params)
            else:
                cursor.execute(sql)
        else:
            call.steered = True
            self.optimizer.count("steered")
            session.validated(outlook)
            self.optimizer.saw_steered(session.scope_now, prepared, (time.perf_counter() - begun) * 1e3)
        return True

    def _execute_no_params(self, cursor: Any, statement: str, context: Any) -> bool:
        return self._execute(cursor, statement, None, context)

    # -- after --------------------------------------------------------------------------------------

    def _after(
        self, connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> None:
        ended = time.perf_counter()
        try:
            call: _Call | None = getattr(context, "_godb_fast", None)
            if call is None:
                return
            took_ms = (ended - call.started) * 1e3
            self._saw(connection, call, "ok", ended, cursor)
            if call.unplanned is not None and call.print is not None and self._adviser is not None:
                self._adviser.consider(
                    call.print, *call.unplanned, lambda: self._planning_session(connection)
                )
                if self.mode == "steer" and self._can_steer:
                    self._adviser.look(
                        call.print, *call.unplanned, took_ms, lambda: self._planning_session(connection)
                    )
        except Exception as error:  # noqa: BLE001 - logged and counted: the result is the application's
            self._observer.failed("after a statement", error)

    def _on_error(self, problem: Any) -> None:
        ended = time.perf_counter()
        try:
            call: _Call | None = getattr(problem.execution_context, "_godb_fast", None)
            if call is None or not call.started:
                return
            state = getattr(problem.original_exception, "sqlstate", None)
            self._saw(problem.connection, call, "cancelled" if state == "57014" else "error", ended, None)
        except Exception as error:  # noqa: BLE001 - logged and counted: the application gets its own error
            self._observer.failed("after an error", error)

    def _saw(self, connection: Any, call: _Call, outcome: str, ended: float, cursor: Any) -> None:
        if not self._observer.version and connection is not None:
            version = connection.dialect.server_version_info or ()
            self._observer.version = ".".join(str(part) for part in version)
        count = getattr(cursor, "rowcount", -1)
        steering = call.prepared.decision.steering if call.prepared is not None and call.steered else None
        self._observer.saw(
            call.print,
            outcome,
            (ended - call.started) * 1e3,
            count if isinstance(count, int) and count >= 0 else None,
            **({"steered": True, "steering_key": steering.key, "obeyed": True} if steering else {}),
            fell_back=call.fell_back,
        )
        call.started = 0.0

    def _on_close(self, connection: Any, record: Any) -> None:
        """The pool closes a connection: DuckDB refuses while a cursor of it is at work."""
        try:
            if self._name == "duckdb" and self._adviser is not None and self._parent is connection:
                self._adviser.halt()
        except Exception as error:  # noqa: BLE001 - logged and counted: closing goes on
            self._observer.failed("before a connection is closed", error)


def _at_once(work: Callable[[], Any]) -> Any:
    return work()


def _awaited(twin: Any, work: Callable[[], Any]) -> Any:
    """Within SQLAlchemy's greenlet: the event loop goes on meanwhile."""
    from sqlalchemy.util import await_only

    return await_only(twin.call(work))


_installed: weakref.WeakKeyDictionary[Any, Adoption] = weakref.WeakKeyDictionary()


def install(
    engine: Any,
    mode: str | None = None,
    optimizer: Optimizer | None = None,
    *,
    store: Any = None,
) -> Adoption:
    """Put godb_fast in front of a SQLAlchemy Engine (an AsyncEngine, or its ``sync_engine``).

    Installing again replaces what was installed.

    Parameters
    ----------
    engine : sqlalchemy.Engine or sqlalchemy.ext.asyncio.AsyncEngine
        With psycopg (3) or duckdb_engine; with another PostgreSQL driver it can be observed only.
    mode : str, optional
        ``off``, ``observe``, ``advise`` or ``steer``; else that of ``GODB_FAST_MODE``; else ``observe`` on
        PostgreSQL, where nothing of ours is executed, and ``advise`` on DuckDB. Advice is made in the
        background, on a connection of its own.
    optimizer : Optimizer, optional
        Shared with the sessions in which steerings are verified. ``steer`` applies those and no others.
    store : path, Store or None
        Where observations are recorded, if no Optimizer is given.

    Raises
    ------
    InvalidInput
        For another database, an unknown mode, or a mode that this driver does not allow.
    MissingDependency
        If SQLAlchemy is not installed, or older than 2.0.
    """
    try:
        import sqlalchemy
    except ImportError as error:
        raise MissingDependency(f"this is for SQLAlchemy ({error}); pip install 'sqlalchemy>=2.0'") from error
    if int(sqlalchemy.__version__.partition(".")[0]) < 2:
        raise MissingDependency(f"SQLAlchemy {sqlalchemy.__version__} is too old; 2.0 or newer is needed")
    engine = getattr(engine, "sync_engine", engine)
    if not isinstance(engine, sqlalchemy.Engine):
        raise InvalidInput(f"{type(engine).__name__} is not a SQLAlchemy Engine")
    if engine.dialect.name not in ENGINES:
        raise InvalidInput(
            f"no engine for SQLAlchemy's dialect {engine.dialect.name!r}; there are {' and '.join(ENGINES)}"
        )
    chosen = chosen_mode(mode, ENGINES[engine.dialect.name])
    if chosen in ("advise", "steer") and engine.dialect.driver not in PLANNED:
        if mode is not None:
            raise InvalidInput(
                f"mode {mode} needs psycopg (3) or duckdb_engine, not {engine.dialect.driver}; "
                "mode observe works with it"
            )
        chosen = "observe"
    if optimizer is None:
        optimizer = Optimizer(store=open_store(store))
    elif store is not None:
        raise InvalidInput("give a store or an optimizer, which has its own")
    uninstall(engine)
    adoption = Adoption(engine, chosen, optimizer)
    if chosen != "off":
        adoption._listen()
    _installed[engine] = adoption
    return adoption


def uninstall(engine: Any) -> None:
    """Take away what :func:`install` put on an Engine; without effect if nothing is there."""
    adoption = _installed.pop(getattr(engine, "sync_engine", engine), None)
    if adoption is not None:
        adoption._remove()


def _streams(context: Any) -> bool:
    """Whether a result is to stream from the server: such a statement is never touched."""
    if context is None:
        return True
    return bool(
        getattr(context, "_is_server_side", False) or context.execution_options.get("stream_results", False)
    )


def _database(engine: Any) -> str:
    url = engine.url
    place = f"{url.host}:{url.port or 5432}/{url.database or ''}" if url.host else url.database or ""
    return plainly(place) if ENGINES[engine.dialect.name] == "postgresql" else place
