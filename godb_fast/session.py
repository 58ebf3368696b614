"""A Session: an Optimizer at one connection.

``execute()`` is where the contract is kept: the schema epoch is validated, only pure statements are
steered, never inside a caller's transaction, never without a bound on the default's time; a steered run that
fails, disobeys or takes too long is discarded and the engine's own plan decides.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from godb_fast.core import Decision, Observation
from godb_fast.core.forking import breaks_lock, is_broken
from godb_fast.engines.base import (
    CancelToken,
    Engine,
    EngineResult,
    Parameters,
    Rendered,
    SeesVariables,
)
from godb_fast.engines.cutting import kept, uncertain
from godb_fast.engines.registry import open_engine
from godb_fast.errors import (
    EngineError,
    InvalidInput,
    QueryCancelled,
    QueryTimeout,
    SchemaChanged,
    SessionClosed,
    shown,
)
from godb_fast.given import (
    check_cancel,
    check_params,
    check_progress,
    check_statement,
    checked_timeout,
)
from godb_fast.knowledge import MAX_EXACT_LENGTH
from godb_fast.optimizer import Optimizer, Policy, Prepared, pass_through
from godb_fast.policy import check_mode
from godb_fast.readiness import make_ready
from godb_fast.recording import Recorder
from godb_fast.result import Result
from godb_fast.steered import Outlook, ran_out_of_time

if TYPE_CHECKING:
    from godb_fast.exploring.live import ExplorationReport
    from godb_fast.exploring.subjects import Subject
    from godb_fast.live_features import Begun
    from godb_fast.logged import LearnedFromLog

__all__ = ["Optimizer", "Policy", "Result", "Session", "connect"]


#: How long a session's end waits for what its last runs teach.
LESSONS_S: Final = 2.0
#: How long it waits for a connection of ours that is being opened, or asked.
LEAVES_S: Final = 0.2
_NOTHING: Final = nullcontext()


class Session(Recorder):
    """One connection, planned for by an Optimizer. Calls from several threads wait for each other.

    Parameters
    ----------
    optimizer : Optimizer
        The shared knowledge.
    engine : Engine
        The connection.
    mode : str, optional
        Overrides the policy's mode: ``off``, ``observe``, ``advise`` or ``steer``.
    timeout_s : float, optional
        Default time limit of each statement, in seconds.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        engine: Engine,
        *,
        mode: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        given: object = engine
        if not hasattr(given, "dialect"):
            raise InvalidInput(
                f"a session takes an Engine, not {type(given).__name__}: optimizer.session(url) opens one"
            )
        super().__init__(optimizer, engine)
        self.mode = check_mode(mode or os.environ.get("GODB_FAST_MODE") or optimizer.policy.mode)
        self.timeout_s = checked_timeout(timeout_s)
        self._closed = False
        breaks_lock(self)
        if self.mode in ("advise", "steer"):
            make_ready(engine, optimizer.policy, optimizer.backend)
            # It reads the workload's history, so that this is known when statements come.
            self._live = optimizer.live

    # -- planning -----------------------------------------------------------------------------------

    def features(self, sql: str, params: Parameters = None) -> dict[str, float] | None:
        """What models read of a statement under the engine's own plan, by name; nothing is executed.

        The table is ``godb_fast.learning.FEATURES``; history is what the store holds of earlier runs. None of
        a statement that joins nothing, or whose own order of joins is not known.

        Raises
        ------
        SqlError, UnknownRelation, EngineError
            As :meth:`optimize`.
        StoreError
            If the store cannot be read.
        """
        from godb_fast.learning.features import FEATURES
        from godb_fast.live_features import expected_vector, history_of
        from godb_fast.store import SqliteStore

        check_statement(sql)
        check_params(params)
        with self._lock, self._seeing(sql):
            self._check_open()
            optimizer, engine = self.optimizer, self.engine
            prepared = optimizer.decide(engine, optimizer.scope(engine), sql, params)
            optimizer.check_readable(engine, prepared, sql, params)
            known, store = prepared.known, optimizer.store
            if known is None or known.planner is None or not known.planner.blocks:
                return None
            vector = expected_vector(
                engine,
                prepared,
                optimizer.backend,
                history=history_of(store) if isinstance(store, SqliteStore) else None,
                cluster=optimizer.untried.gates.cluster(engine.name, engine.environment(), known.template),
            )
        if vector is None:
            return None
        return dict(zip((feature.name for feature in FEATURES), vector.tolist(), strict=True))

    def optimize(self, sql: str, params: Parameters = None) -> Decision:
        """The decision for a statement; nothing is executed.

        A text seen before answers from memory, without looking whether the schema changed since:
        :meth:`execute` does that.

        Raises
        ------
        SqlError
            If the statement cannot be read; with line and column where they are known.
        UnknownRelation
            If it names a table or column that does not exist.
        EngineError
            If the engine refuses it.
        """
        if params is None:
            try:
                hit = self._exact.get(sql)
            except TypeError:
                # What cannot be a key is no statement: told below, off the short way.
                hit = None
            if hit is not None:
                return hit.decision
            answer = self._answer
            if answer is not None and type(sql) is str and len(sql) <= MAX_EXACT_LENGTH:
                # Asks nothing of the engine, so that it needs no turn at it.
                decision = answer(sql)
                if decision is not None:
                    return decision
        check_statement(sql)
        check_params(params)
        with self._lock, self._seeing(sql):
            self._check_open()
            scope = self._scope or self._enter_scope(self.engine.schema_epoch())
            try:
                prepared = self.optimizer.decide(self.engine, scope, sql, params, limit_s=self.timeout_s)
            except QueryTimeout as error:
                return pass_through(self.engine, scope, sql, params, ran_out_of_time(error)).decision
            self.optimizer.check_readable(self.engine, prepared, sql, params)
            return prepared.decision

    # -- executing ----------------------------------------------------------------------------------

    def execute(
        self,
        sql: str,
        params: Parameters = None,
        *,
        mode: str | None = None,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        fetch: str = "rows",
    ) -> Result:
        """Run a statement and return its complete result.

        Parameters
        ----------
        sql : str
            One statement.
        params : sequence or mapping, optional
            Bound by the driver.
        mode : str, optional
            Overrides the session's mode for this call.
        timeout_s : float, optional
            Time limit in seconds; it covers each run of the statement, and what the engine is asked before.
        cancel : CancelToken, optional
            Lets another thread stop the statement.
        fetch : str
            ``rows``, or ``arrow`` to keep a large result in the engine's columnar form (a third of the
            memory): ``arrow()`` and ``fetchdf()`` then cost little more; rows are made when somebody asks.
            Engines without such a form give rows.

        Raises
        ------
        InvalidInput
            If an argument is not what it should be.
        SessionClosed
            After :meth:`close`.
        QueryTimeout, QueryCancelled, EngineError
            From the run of the engine's own plan; errors of a steered run are never passed on.
        """
        mode = self.mode if mode is None else check_mode(mode)
        limit = self.timeout_s if timeout_s is None else checked_timeout(timeout_s)
        check_statement(sql)
        check_params(params)
        check_cancel(cancel)
        if fetch not in ("rows", "arrow"):
            raise InvalidInput(f"fetch is {fetch!r}; it is rows or arrow")
        with self._lock, self._seeing(sql):
            self._check_open()
            form = {"fetch": fetch} if fetch != "rows" and fetch in self.engine.capabilities.fetch else {}
            if mode in ("off", "observe"):
                prepared = self._observed(sql, params, mode)
                result = self._run_default(prepared, sql, params, limit, cancel, form)
                return self._finish(prepared, mode, result)
            outlook = self._outlook(sql, params, limit, mode == "steer")
            live = self._live = self._live or self.optimizer.live
            begun = None if live is None else live.begin(outlook.prepared, self._environment)
            try:
                return self._executed(outlook, begun, sql, params, mode, limit, cancel, form)
            finally:
                if live is not None:
                    live.end(begun)

    def _executed(
        self,
        outlook: Outlook,
        begun: Begun | None,
        sql: str,
        params: Parameters,
        mode: str,
        limit: float | None,
        cancel: CancelToken | None,
        form: dict[str, Any],
    ) -> Result:
        """Run a statement as was decided: steered, if that may be, else under the engine's own plan."""
        prepared, fell_back, wasted_ms = outlook.prepared, outlook.refused, 0.0
        if mode == "steer" and outlook.steers:
            started = time.perf_counter()
            try:
                steered, fell_back = self._try_steered(outlook, limit, cancel, form)
            except SchemaChanged as changed:
                self.optimizer.count("outdated")
                outlook = self._anew(sql, params, limit)
                prepared = outlook.prepared
                steered, fell_back = self._once_more(outlook, changed, limit, cancel, form)
            if steered is not None:
                self.optimizer.count("steered")
                finished = self._finish(prepared, mode, steered, begun, steered=True)
                if prepared.served is not None and prepared.served.choice is not None:
                    self._consider(prepared, sql, steered.latency_ms, steered=True)
                return finished
            wasted_ms = (time.perf_counter() - started) * 1e3
        started = time.perf_counter()
        try:
            result = self._run_default(prepared, sql, params, limit, cancel, form)
        except QueryTimeout:
            if mode == "steer":
                self._consider(prepared, sql, (time.perf_counter() - started) * 1e3, cut=True)
            raise
        self.optimizer.saw_default(prepared, result)
        finished = self._finish(prepared, mode, result, begun, fell_back=fell_back, wasted_ms=wasted_ms)
        if mode == "steer":
            self._consider(prepared, sql, result.latency_ms)
        return finished

    def run_default(
        self,
        sql: str,
        params: Parameters = None,
        *,
        timeout_s: float | None = None,
        profile: bool = False,
    ) -> EngineResult:
        """Run a statement under the engine's own plan, with nothing around it: one arm of a comparison."""
        check_statement(sql)
        check_params(params)
        limit = checked_timeout(timeout_s)
        with self._lock:
            self._check_open()
            self._about_to_run(sql)
            result = self.engine.run(Rendered(sql, params), timeout_s=limit, profile=profile)
            scope = self._scope
            known = scope.decided(sql) if scope is not None and params is None else None
            if known is not None:
                self.optimizer.saw_default(known, result)
            return result

    def run_steered(
        self,
        sql: str,
        params: Parameters = None,
        *,
        timeout_s: float | None = None,
        profile: bool = False,
    ) -> EngineResult:
        """Run a statement as its Decision says, without a fallback: the other arm of a comparison.

        Raises
        ------
        InvalidInput
            If the decision steers nothing, or steering is not possible here.
        QueryTimeout, EngineError
            From the steered run itself.
        """
        check_statement(sql)
        check_params(params)
        limit = checked_timeout(timeout_s)
        with self._lock:
            self._check_open()
            prepared = self.optimizer.decide(self.engine, self._valid_scope(), sql, params)
            if not prepared.decision.steering:
                raise InvalidInput(f"nothing to steer: {prepared.decision.reason}")
            refused = self._why_not_steerable(prepared)
            if refused is not None:
                raise InvalidInput(f"not steered: {refused}")
            result = self.engine.run(prepared.rendered, timeout_s=limit, profile=profile)
            certain = kept(prepared.rendered, result)
            if certain is None:
                raise EngineError(uncertain(prepared.rendered))
            return certain

    def obeyed(self, sql: str, result: EngineResult, params: Parameters = None) -> bool | None:
        """Whether a profiled steered result came from the plan that was asked for; None if unknown."""
        with self._lock:
            prepared = self.optimizer.decide(self.engine, self._valid_scope(), sql, params)
            if prepared.known is None or result.plan is None:
                return None
            return self.engine.obeyed(
                prepared.known.template, prepared.decision.steering, result.plan, prepared.literals
            )

    def _run_default(
        self,
        prepared: Prepared,
        sql: str,
        params: Parameters,
        limit: float | None,
        cancel: CancelToken | None,
        form: dict[str, Any],
    ) -> EngineResult:
        self._about_to_run(sql)
        try:
            if self.optimizer.wants_profile(self.engine, prepared):
                form = {**form, "profile": True}
            return self.engine.run(Rendered(sql, params), timeout_s=limit, cancel=cancel, **form)
        except EngineError as error:
            outcome = {QueryTimeout: "timeout", QueryCancelled: "cancelled"}.get(type(error), "error")
            try:
                self._record(prepared, self._observation(prepared, outcome, 0.0))
            except EngineError as unasked:
                # Nothing can be asked in a transaction that it aborted; the caller is told what went wrong.
                self.optimizer.log_once("not_recorded", str(unasked))
            raise

    def _consider(self, prepared: Prepared, sql: str, latency_ms: float, **how: bool) -> None:
        self.optimizer.consider(self.engine, self._scope, prepared, sql, latency_ms, **how)

    # -- exploring ----------------------------------------------------------------------------------

    def explore(
        self,
        queries: Sequence[Any],
        budget: str | float | None = None,
        *,
        cap_s: float = 60.0,
        resume: bool = False,
        progress: Any = None,
    ) -> ExplorationReport:
        """Look for better plans by running them, under a budget; what is proved steers from then on.

        Statements that may write, or whose answer depends on the plan, are not run.

        Parameters
        ----------
        queries : sequence of str or LiveQuery
        budget : str or float, optional
            ``2x`` (so many times what one run of the queries takes), ``300s``, ``5m``, or seconds; default
            ``2x``, but at least 30 s, and at least 1x beyond what running the engine's own plans takes.
        cap_s : float
            No run takes longer.
        resume : bool
            Go on with what the store keeps of an earlier exploration of the same queries.
        progress : callable, optional
            Called before each run with what is done, seconds spent, the budget, and the workload's time now
            over the default's.

        Raises
        ------
        InvalidInput
            If an argument is not what it should be, or a transaction is open.
        StoreError
            If another process explores the same with this store.
        EngineError
            If the server is lost or the schema changes meanwhile; what was found is kept.
        """
        from godb_fast.exploring.budget import Budget
        from godb_fast.exploring.live import LiveExploration, LiveSettings
        from godb_fast.exploring.subjects import LiveQuery
        from godb_fast.store import KeepsTrials

        wanted = Budget.parse(budget)
        settings = LiveSettings(cap_s=cap_s)
        check_progress(progress)
        if isinstance(queries, str | bytes) or not isinstance(queries, Iterable):
            raise InvalidInput(f"queries is {shown(queries)}; give a list of statements")
        named = [
            entry if isinstance(entry, LiveQuery) else LiveQuery(f"query {number}", entry)
            for number, entry in enumerate(queries, 1)
        ]
        for query in named:
            check_statement(query.sql)
        with self._lock:
            self._check_open()
            if self.engine.in_transaction():
                raise InvalidInput("a transaction is open on this connection; exploring would end in it")
            exploration = LiveExploration(
                self.engine,
                named,
                settings,
                records=self.optimizer.records,
                resume=resume,
                backend=self.optimizer.backend,
                progress=progress,
                teaches=self._taught,
                trials=store.trials if isinstance(store := self.optimizer.store, KeepsTrials) else None,
            )
            try:
                return exploration.run(wanted)
            finally:
                self.optimizer.keep_lessons(self._scope)
                self.optimizer.recorded(self.optimizer.policy.retrain_every)
                if self.optimizer.records is not None:
                    self._recall()

    def _recall(self) -> None:
        try:
            self.optimizer.recall(self.engine)
        except EngineError as error:
            # What is wrong with the connection was said by the exploration, or will be by what runs next.
            self.optimizer.log_once("not_recalled", str(error))

    def learn_from_log(self, *paths: str) -> LearnedFromLog:
        """Learn from plans that PostgreSQL's auto_explain wrote into the server's log; runs nothing.

        Row counts correct later decisions as those of our own runs do, and costs are learned. The log is to
        hold JSON plans with actual rows (``auto_explain.log_format = 'json'``, ``log_analyze = on``).

        Parameters
        ----------
        paths : str
            Files and folders of csvlog, jsonlog or stderr's format; rotated and compressed ones too.

        Raises
        ------
        InvalidInput
            If there is no such file, or none is a log of PostgreSQL; also on another engine.
        """
        from godb_fast.logged import learn_from_log

        with self._lock:
            self._check_open()
            return learn_from_log(self.optimizer, self.engine, self._valid_scope(), paths)

    def _taught(self, subject: Subject, observation: Observation) -> None:
        """An execution that exploration paid for."""
        scope = self._scope or self._enter_scope(self.engine.schema_epoch())
        self.optimizer.learn_apart(scope, subject, observation)

    # -- life ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """Release the connection if it was opened here; what was recorded is flushed.

        Results stay readable; everything else raises SessionClosed from now on.
        """
        # A file stays locked until everybody has left it; a server need not be waited for.
        limit_s = None if self._far is None else LEAVES_S
        if is_broken(self._lock):
            # The connection is the parent's: nothing is said on it here, not even that it ends.
            if self.optimizer.store is not None:
                self.optimizer.store.flush()
            return
        self.optimizer.worker.stop(self.engine, limit_s)
        with self._lock:
            try:
                # Also what another thread began meanwhile; from here on nothing is begun.
                self.optimizer.worker.stop(self.engine, limit_s)
                self.optimizer.worker.wait(self.optimizer, LESSONS_S)
                self.optimizer.keep_lessons(self._scope)
            finally:
                # Also where somebody stops the wait: a file stays locked until it is closed.
                self._ended()
                try:
                    self.engine.close()
                finally:
                    if self.optimizer.store is not None:
                        self.optimizer.store.flush()

    def _forsaken(self) -> None:
        """In the child of a fork, of what a thread of the parent was using: this session has ended here."""
        self._ended()

    def _ended(self) -> None:
        self._closed, self._scope, self._exact, self._answer = True, None, {}, None

    def wait_prepared(self, timeout_s: float | None = None) -> bool:
        """Wait until what was begun in the background is done; whether it was in time.

        Templates that :meth:`execute` saw for the first time are planned from then on, and what slow runs
        taught is known.
        """
        limit, worker = checked_timeout(timeout_s), self.optimizer.worker
        return worker.wait(self.engine, limit) and worker.wait(self.optimizer, limit)

    def _seeing(self, sql: str) -> AbstractContextManager[None]:
        """The variables that tables may be named after: those of the function that called us."""
        if not self._sees_variables:
            return _NOTHING
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__") == __name__:
            frame = frame.f_back
        if frame is None:
            return nullcontext()
        assert isinstance(self.engine, SeesVariables)
        return self.engine.seeing(sql, (frame.f_locals, frame.f_globals))

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosed("this session is closed; open another one with godb_fast.connect()")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_session(
    optimizer: Optimizer,
    connection: Any,
    *,
    mode: str | None = None,
    read_only: bool = False,
    timeout_s: float | None = None,
    password: str | Callable[[], str] | None = None,
) -> Session:
    engine = open_engine(connection, read_only=read_only, password=password)
    return Session(optimizer, engine, mode=mode, timeout_s=timeout_s)


Optimizer.open_session = staticmethod(_open_session)


def connect(
    connection: Any,
    *,
    mode: str | None = None,
    read_only: bool = False,
    timeout_s: float | None = None,
    policy: Policy | None = None,
    store: Any = None,
    password: str | Callable[[], str] | None = None,
) -> Session:
    """A Session with an Optimizer of its own.

    Parameters
    ----------
    connection : str or connection object
        A URL (``duckdb:///relative.db``, ``duckdb:////absolute/path.db`` with four slashes, ``duckdb://`` for
        one in memory, ``postgresql://user@host/database``), a path, or a duckdb or psycopg connection that
        stays the caller's. A borrowed DuckDB connection is never disturbed: on it only rewrites may steer.
    mode : str, optional
        ``off``, ``observe``, ``advise`` (default) or ``steer``.
    read_only : bool
        Open the file read-only.
    timeout_s : float, optional
        Default time limit of each statement, in seconds.
    policy : Policy, optional
        Margin, allowance, rollout.
    store : path, Store or None
        Where decisions and observations are recorded; None records nothing. ``"default"`` is the store of the
        commands (``GODB_FAST_STORE``, else one in the user's data folder), so that ``godb-fast train`` learns
        from this session and what ``godb-fast explore`` proved serves it.
    password : str or callable, optional
        For a server's URL. A callable is asked each time a connection is opened: tokens expire.

    Raises
    ------
    ConnectionFailed
        No such file, not a database, or locked by another process.
    InvalidInput
        For a URL of an engine that is not supported.
    """
    from godb_fast.store import open_store

    optimizer = Optimizer(policy=policy, store=open_store(store))
    return _open_session(
        optimizer, connection, mode=mode, read_only=read_only, timeout_s=timeout_s, password=password
    )
