"""A Session: an Optimizer at one connection.

``execute()`` is where the contract is kept: the schema epoch is validated, only pure statements are
steered, never inside a caller's transaction, never without a bound on the default's time; a steered run that
fails, disobeys or takes too long is discarded and the engine's own plan decides.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from numbers import Real
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from godb_fast.core import Decision, Observation
from godb_fast.engines.base import (
    CancelToken,
    Engine,
    EngineResult,
    LooksFirst,
    Parameters,
    Rendered,
    SeesVariables,
    ValidatesInPassing,
)
from godb_fast.engines.cutting import kept, uncertain
from godb_fast.engines.registry import open_engine
from godb_fast.errors import (
    Disturbed,
    EngineBusy,
    EngineError,
    GodbError,
    InvalidInput,
    QueryCancelled,
    QueryTimeout,
    ResultTooLarge,
    SchemaChanged,
    SessionClosed,
)
from godb_fast.knowledge import MAX_EXACT_LENGTH
from godb_fast.optimizer import UNREADABLE, Optimizer, Policy, Prepared, Scope, log, pass_through
from godb_fast.policy import check_mode
from godb_fast.sql import fingerprint
from godb_fast.worth import SteeringCost, left_aside

if TYPE_CHECKING:
    from godb_fast.exploring.live import ExplorationReport

__all__ = ["Optimizer", "Policy", "Result", "Session", "connect"]


_MACHINE: Final = platform.node()
_NOTHING: Final = nullcontext()
#: A statement under the engine's own plan is right whatever the schema is. So where asking for the epoch
#: costs a round trip, it is asked for on its behalf no more often than once in so many seconds.
LOOK_AGAIN_S: Final = 1.0
#: A steering whose answers were uncertain so often, because rows tie where LIMIT cuts, is given up.
MOST_TIES: Final = 3


@dataclass(frozen=True, eq=False)
class Outlook:
    """What is about to be done with a statement.

    Parameters
    ----------
    expected : str or None
        The epoch on which the decision rests, where the statement's own round trip is to validate it.
    refused : str or None
        Why its steering is not applied.
    """

    prepared: Prepared
    expected: str | None = None
    refused: str | None = None

    @property
    def steers(self) -> bool:
        """Whether the statement is to be steered."""
        return self.refused is None and bool(self.prepared.decision.steering)


class Result:
    """Rows of one execution, with the Decision and the Observation that belong to it.

    Iterating yields tuples; of a result that was fetched as arrow they are made a block at a time.
    ``fetchdf()`` and ``arrow()`` need pandas and pyarrow.
    """

    def __init__(self, result: EngineResult, decision: Decision | None, observation: Observation) -> None:
        self._result = result
        self._next = 0
        #: What was decided, None in mode ``off`` and ``observe``.
        self.decision = decision
        #: What the execution showed.
        self.observation = observation

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names."""
        return self._result.columns

    @property
    def types(self) -> tuple[str, ...]:
        """Column types, as the engine prints them."""
        return self._result.types

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows that were not fetched yet."""
        rows = self._result.rows[self._next :]
        self._next = len(self._result.rows)
        return list(rows)

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, or None."""
        if self._next >= len(self._result.rows):
            return None
        self._next += 1
        return self._result.rows[self._next - 1]

    def fetchdf(self) -> Any:
        """All rows as a pandas DataFrame, with the types that the engine gives it.

        Raises
        ------
        MissingDependency
            If pandas is not installed.
        """
        from godb_fast.engines.tabular import to_dataframe

        return to_dataframe(self._result)

    def arrow(self) -> Any:
        """All rows as a pyarrow Table, with the engine's exact types; also of a result without rows.

        Raises
        ------
        MissingDependency
            If pyarrow is not installed.
        InvalidInput
            If rows that were fetched as such hold a value that arrow cannot: then ask for
            ``execute(…, fetch="arrow")``.
        """
        from godb_fast.engines.tabular import to_arrow

        return to_arrow(self._result)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (row := self.fetchone()) is not None:
            yield row

    def __len__(self) -> int:
        return len(self._result.rows)


class Session:
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
        self.optimizer = optimizer
        self.engine = engine
        self._looks = engine if isinstance(engine, LooksFirst) else None
        self.mode = check_mode(mode or os.environ.get("GODB_FAST_MODE") or optimizer.policy.mode)
        self.timeout_s = _checked_timeout(timeout_s)
        self._lock = threading.RLock()
        self._scope: Scope | None = None
        self._exact: dict[Any, Prepared] = {}
        self._find: Callable[[str], Any] | None = None
        self._closed = False
        self._sees_variables = isinstance(engine, SeesVariables) and engine.sees_variables
        #: The engine, where it is so far away that a round trip counts.
        self._far = engine if isinstance(engine, ValidatesInPassing) and engine.validates_in_passing else None
        self._looked_at = 0.0
        #: What steering costs here, where the engine is far away.
        self.cost = SteeringCost()

    # -- planning -----------------------------------------------------------------------------------

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
            hit = self._exact.get(sql)
            if hit is not None:
                return hit.decision
            find = self._find
            if find is not None and type(sql) is str and len(sql) <= MAX_EXACT_LENGTH:
                # Asks nothing of the engine, so that it needs no turn at it.
                found = find(sql)
                if type(found) is Prepared:
                    return found.decision
        _check_params(params)
        with self._lock, self._seeing(sql):
            self._check_open()
            scope = self._scope or self._enter_scope(self.engine.schema_epoch())
            try:
                prepared = self.optimizer.decide(self.engine, scope, sql, params, limit_s=self.timeout_s)
            except QueryTimeout as error:
                return pass_through(self.engine, scope, sql, params, _ran_out_of_time(error)).decision
            self.optimizer.check_readable(self.engine, prepared, sql, params)
            return prepared.decision

    def _enter_scope(self, epoch: str) -> Scope:
        scope = self.optimizer.scope(self.engine, epoch)
        self._scope, self._exact = scope, scope.exact
        self._find = None if self._sees_variables else scope.routes.find
        return scope

    def _valid_scope(self) -> Scope:
        """The scope of what the engine holds now: a foreign ALTER must not give wrong rows."""
        begun = time.perf_counter()
        epoch = self.engine.schema_epoch()
        self._looked_at = now = time.perf_counter()
        self.cost.asked((now - begun) * 1e3)
        scope = self._scope
        if scope is None or scope.epoch != epoch or scope.environment != self.engine.environment():
            return self._enter_scope(epoch)
        return scope

    def _outlook(self, sql: str, params: Parameters, limit: float | None, steer: bool) -> Outlook:
        """What to do with a statement; ``steer`` is whether it may be steered."""
        outlook = self._foreseen(sql, params, limit, steer) if self._far is not None else None
        if outlook is not None:
            return outlook
        outlook = self._judged(self._decide(sql, params, limit), sql, steer)
        if self._far is not None and self._scope is not None and steer and outlook.steers:
            # It was looked at just now; what is committed until the statement is parsed counts too.
            return Outlook(outlook.prepared, self._scope.epoch)
        return outlook

    def _foreseen(self, sql: str, params: Parameters, limit: float | None, steer: bool) -> Outlook | None:
        """As the epoch was when last seen; None if it has to be looked at before anything is done.

        A steered statement validates the epoch by itself. One that is not needs none, but would never learn
        of a change, were it not looked at now and then; in a transaction, what is noted of it could outlive
        a change that is rolled back.
        """
        scope, engine = self._scope, self.engine
        if scope is None or scope.environment != engine.environment():
            return None
        begun = time.perf_counter()
        try:
            if not scope.knows(sql, params, engine.dialect, self.optimizer.backend):
                return None
            prepared = self.optimizer.decide(engine, scope, sql, params, limit_s=limit)
        except Exception as error:  # noqa: BLE001 - logged; the usual way meets it again, and tells
            log.debug("not foreseen: %s: %s", type(error).__name__, error)
            return None
        now = time.perf_counter()
        outlook = self._judged(prepared, sql, steer)
        if prepared.decision.steering:
            self.cost.decided((now - begun) * 1e3)
        if steer and outlook.steers:
            return Outlook(outlook.prepared, scope.epoch)
        recent = now - self._looked_at < LOOK_AGAIN_S
        return outlook if recent and not engine.in_transaction() else None

    def _judged(self, prepared: Prepared, sql: str, steer: bool) -> Outlook:
        if not steer or not prepared.decision.steering:
            return Outlook(prepared)
        refused = self._may_steer(prepared)
        if refused is None and self._far is not None:
            aside = left_aside(prepared, self.cost, sql)
            if aside is not None:
                self.cost.abstained()
                self.optimizer.count("not_worth_it")
                return Outlook(aside)
        return Outlook(prepared, None, refused)

    def _changed(self, outlook: Outlook) -> bool:
        """Whether a steered run that was to validate its epoch may have gone wrong for its sake."""
        if outlook.expected is None:
            return False
        try:
            return self._valid_scope().epoch != outlook.expected
        except EngineError as error:
            log.debug("the epoch cannot be told: %s", error)
            return True

    def _decide(self, sql: str, params: Parameters, limit: float | None = None) -> Prepared:
        """As :meth:`optimize`, but whatever goes wrong in planning, the statement goes through as it is."""
        scope: Scope | None = None
        if self._looks is not None and isinstance(sql, str) and not self._looks.may_be_planned(sql):
            return pass_through(self.engine, self._scope, sql, params, "not a SELECT")
        try:
            scope = self._valid_scope()
            background = self.optimizer.policy.background
            return self.optimizer.decide(
                self.engine, scope, sql, params, limit_s=limit, background=background
            )
        except UNREADABLE as error:
            reason = f"passed through: {error}"
        except QueryTimeout as error:
            reason = _ran_out_of_time(error)
        except EngineError as error:
            reason = f"passed through, the engine says: {error}"
        except Exception as error:  # noqa: BLE001 - logged, counted, and shown in the Decision
            log.exception("planning failed; the statement goes through unchanged")
            reason = f"passed through after an internal error: {type(error).__name__}: {error}"
        self.optimizer.log_once("passed_through", reason)
        return pass_through(self.engine, scope, sql, params, reason)

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
        limit = self.timeout_s if timeout_s is None else _checked_timeout(timeout_s)
        _check_params(params)
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
            prepared, fell_back, wasted_ms = outlook.prepared, outlook.refused, 0.0
            if mode == "steer" and outlook.steers:
                begun = time.perf_counter()
                try:
                    steered, fell_back = self._try_steered(outlook, limit, cancel, form)
                except SchemaChanged as changed:
                    steered, fell_back = None, str(changed)
                    self.optimizer.count("outdated")
                    prepared = self._decide(sql, params, limit)
                if steered is not None:
                    self.optimizer.count("steered")
                    return self._finish(prepared, mode, steered, steered=True)
                wasted_ms = (time.perf_counter() - begun) * 1e3
            result = self._run_default(prepared, sql, params, limit, cancel, form)
            self.optimizer.saw_default(prepared, result)
            return self._finish(prepared, mode, result, fell_back=fell_back, wasted_ms=wasted_ms)

    def run_default(
        self,
        sql: str,
        params: Parameters = None,
        *,
        timeout_s: float | None = None,
        profile: bool = False,
    ) -> EngineResult:
        """Run a statement under the engine's own plan, with nothing around it: one arm of a comparison."""
        with self._lock:
            self._check_open()
            result = self.engine.run(Rendered(sql, params), timeout_s=timeout_s, profile=profile)
            scope = self._scope
            known = scope.exact.get(sql) if scope is not None and params is None else None
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
        with self._lock:
            self._check_open()
            prepared = self.optimizer.decide(self.engine, self._valid_scope(), sql, params)
            if not prepared.decision.steering:
                raise InvalidInput(f"nothing to steer: {prepared.decision.reason}")
            refused = self._why_not_steerable(prepared)
            if refused is not None:
                raise InvalidInput(f"not steered: {refused}")
            result = self.engine.run(prepared.rendered, timeout_s=timeout_s, profile=profile)
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
        try:
            return self.engine.run(Rendered(sql, params), timeout_s=limit, cancel=cancel, **form)
        except EngineError as error:
            outcome = {QueryTimeout: "timeout", QueryCancelled: "cancelled"}.get(type(error), "error")
            self._record(prepared, self._observation(prepared, outcome, 0.0))
            raise

    def _why_not_steerable(self, prepared: Prepared) -> str | None:
        capabilities = self.engine.capabilities
        if prepared.decision.steering.join_trees and not (capabilities.join_trees and capabilities.isolated):
            return capabilities.reason or "this connection cannot be steered"
        known = prepared.known
        if known is None or not known.effects.pure:
            return "not certain to only read"
        if not known.effects.steerable and prepared.rendered.cut is None:
            return known.effects.reason
        if not capabilities.savepoints and self.engine.in_transaction():
            return "a transaction is open on this connection"
        return None

    def _may_steer(self, prepared: Prepared) -> str | None:
        """Why this statement is not steered now; None if it may be."""
        if not self.optimizer.in_rollout(prepared.decision.fingerprint):
            return "outside the rollout"
        refused = self._why_not_steerable(prepared)
        if refused is None and self.optimizer.allowance_s(prepared) is None:
            refused = "no bound yet on the default's time: the first run takes the engine's own plan"
        return refused or self.optimizer.over_budget(prepared)

    def _try_steered(
        self, outlook: Outlook, limit: float | None, cancel: CancelToken | None, form: dict[str, Any]
    ) -> tuple[EngineResult | None, str | None]:
        """A steered run under the watchdog: its result, or why it was discarded.

        Raises
        ------
        SchemaChanged
            If it validated its epoch, and that is another: nothing is held against the steering then.
        """
        prepared = outlook.prepared
        if outlook.expected is not None:
            form = {**form, "expected": outlook.expected}
        allowance = self.optimizer.allowance_s(prepared)
        assert allowance is not None
        assert prepared.known is not None
        known, steering = prepared.known, prepared.decision.steering
        unverified = steering.key not in known.obeyed
        slow = False
        begun = time.perf_counter()
        try:
            result = self.engine.run(
                prepared.rendered,
                timeout_s=allowance if limit is None else min(allowance, limit),
                cancel=cancel,
                profile=unverified,
                max_rows=self.optimizer.policy.max_buffered_rows,
                **form,
            )
        except (QueryCancelled, SchemaChanged):
            raise
        except (EngineBusy, Disturbed) as error:
            # Nothing ran, or something else ended it. That says nothing about the plan.
            self.optimizer.log_once("fell_back", str(error))
            return None, str(error)
        except QueryTimeout:
            why, slow = f"stopped after its allowance of {allowance * 1e3:.0f} ms", True
        except ResultTooLarge as error:
            why = str(error)
        except EngineError as error:
            why = f"the steered run failed: {error}"
        else:
            if (certain := kept(prepared.rendered, result)) is None:
                why = uncertain(prepared.rendered)
                known.ties[steering.key] = ties = known.ties.get(steering.key, 0) + 1
                if ties < MOST_TIES:
                    # These rows tie, others may not.
                    self.optimizer.lost(prepared, time.perf_counter() - begun)
                    self.optimizer.log_once("fell_back", why)
                    return None, why
            elif known.columns is not None and (result.columns, result.types) != known.columns:
                why = "the steered result has other columns"
            elif unverified and self._disobeyed(prepared, result):
                why = "the engine did not run the join tree that was asked for"
            else:
                self._validated(outlook)
                if not unverified:
                    self.optimizer.saw_steered(
                        self._scope or self._valid_scope(), prepared, result.latency_ms
                    )
                return certain, None
        lost_s = time.perf_counter() - begun
        if self._changed(outlook):
            raise SchemaChanged(f"the schema changed since the decision; {why}")
        self.optimizer.quarantine(self._scope or self._valid_scope(), prepared, why, lost_s, slow=slow)
        self.optimizer.log_once("fell_back", why)
        return None, why

    def _validated(self, outlook: Outlook) -> None:
        """A steered run is complete, and its epoch was the right one."""
        if outlook.expected is not None and self._far is not None:
            self._looked_at = time.perf_counter()
            self.cost.steered(self._far.further_looks)

    def _disobeyed(self, prepared: Prepared, result: EngineResult) -> bool:
        known, steering = prepared.known, prepared.decision.steering
        if known is None or result.plan is None:
            return False
        obeyed = self.engine.obeyed(known.template, steering, result.plan, prepared.literals)
        if obeyed:
            known.obeyed.add(steering.key)
        return obeyed is False

    # -- exploring ----------------------------------------------------------------------------------

    def explore(
        self,
        queries: Sequence[Any],
        budget: str | float = "2x",
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
        budget : str or float
            ``2x`` (so many times what one run of the queries takes), ``300s``, ``5m``, or seconds.
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

        wanted = Budget.parse(budget)
        named = [
            entry if isinstance(entry, LiveQuery) else LiveQuery(f"query {number}", entry)
            for number, entry in enumerate(queries, 1)
        ]
        with self._lock:
            self._check_open()
            if self.engine.in_transaction():
                raise InvalidInput("a transaction is open on this connection; exploring would end in it")
            exploration = LiveExploration(
                self.engine,
                named,
                LiveSettings(cap_s=cap_s),
                records=self.optimizer.records,
                resume=resume,
                backend=self.optimizer.backend,
                progress=progress,
            )
            try:
                return exploration.run(wanted)
            finally:
                if self.optimizer.records is not None:
                    self.optimizer.recall(self.engine)

    # -- recording ----------------------------------------------------------------------------------

    def _observed(self, sql: str, params: Parameters, mode: str) -> Prepared:
        """A statement as it is; with a fingerprint, where it is recorded."""
        if mode == "observe" and self.optimizer.store is not None:
            try:
                print_ = fingerprint(sql, self.engine.dialect, backend=self.optimizer.backend)
            except GodbError:
                # The engine itself will say what is wrong with the text.
                pass
            else:
                decision = Decision(print_.hash, sql, reason="mode observe", engine=self.engine.name)
                return Prepared(decision, params=params, text=print_.text)
        return pass_through(self.engine, self._scope, sql, params, f"mode {mode}")

    def _observation(self, prepared: Prepared, outcome: str, latency_ms: float, **more: Any) -> Observation:
        decision = prepared.decision
        engine = self.engine
        more["fingerprint"] = decision.fingerprint
        more["outcome"] = outcome
        more["latency_ms"] = latency_ms
        # A statement that nobody asks about is not worth an id.
        recorded = self.optimizer.store is not None or prepared.known is not None
        more["decision_id"] = decision.id if recorded else ""
        more["engine"] = engine.name
        more["engine_version"] = engine.version
        more["database"] = engine.environment()
        more["machine"] = _MACHINE
        return Observation.noted(more)

    def _finish(
        self,
        prepared: Prepared,
        mode: str,
        result: EngineResult,
        *,
        steered: bool = False,
        fell_back: str | None = None,
        wasted_ms: float = 0.0,
    ) -> Result:
        steering = prepared.decision.steering
        key = steering.key if steered else None
        known = prepared.known
        observation = self._observation(
            prepared,
            "ok",
            result.latency_ms,
            rows=len(result.rows),
            steered=steered,
            steering_key=key,
            fell_back=fell_back,
            wasted_ms=wasted_ms,
            obeyed=(key in known.obeyed or None) if known is not None and key is not None else None,
            plan=result.plan,
            plan_source=result.plan.source if result.plan is not None else None,
            memory_bytes=result.memory_bytes,
        )
        if mode != "off":
            self._record(prepared, observation)
        return Result(result, prepared.decision if mode in ("advise", "steer") else None, observation)

    def _record(self, prepared: Prepared, observation: Observation) -> None:
        store = self.optimizer.store
        if store is not None:
            known = prepared.known
            text = prepared.text if known is None else known.template.text
            store.record(prepared.decision, observation, text)

    # -- life ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """Release the connection if it was opened here; what was recorded is flushed.

        Results stay readable; everything else raises SessionClosed from now on.
        """
        self.optimizer.worker.stop(self.engine)
        with self._lock:
            # Also what another thread began meanwhile; from here on nothing is begun.
            self.optimizer.worker.stop(self.engine)
            self._closed, self._scope, self._exact, self._find = True, None, {}, None
            self.engine.close()
            if self.optimizer.store is not None:
                self.optimizer.store.flush()

    def wait_prepared(self, timeout_s: float | None = None) -> bool:
        """Wait until what was begun in the background is done; whether it was in time.

        Templates that :meth:`execute` saw for the first time are planned from then on.
        """
        return self.optimizer.worker.wait(self.engine, _checked_timeout(timeout_s))

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


def _ran_out_of_time(error: QueryTimeout) -> str:
    return f"passed through, planning it took too long: {error}"


def _checked_timeout(timeout_s: float | None) -> float | None:
    if timeout_s is None:
        return None
    given: Any = timeout_s
    if isinstance(given, bool) or not isinstance(given, Real) or not float(given) > 0:
        raise InvalidInput(f"timeout_s is {given!r}; give seconds above 0, or None for no limit")
    return float(given)


def _check_params(params: Parameters) -> None:
    given: Any = params
    if given is None or isinstance(given, list | tuple | Mapping):
        return
    # Arrays and the like serve; a text would be taken for its letters.
    if isinstance(given, str | bytes) or not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        raise InvalidInput(
            f"params is {given!r}; give a sequence of values ([{given!r}] for one), or a mapping by name"
        )


def _open_session(
    optimizer: Optimizer,
    connection: Any,
    *,
    mode: str | None = None,
    read_only: bool = False,
    timeout_s: float | None = None,
) -> Session:
    return Session(optimizer, open_engine(connection, read_only=read_only), mode=mode, timeout_s=timeout_s)


Optimizer.open_session = staticmethod(_open_session)


def connect(
    connection: Any,
    *,
    mode: str | None = None,
    read_only: bool = False,
    timeout_s: float | None = None,
    policy: Policy | None = None,
    store: Any = None,
) -> Session:
    """A Session with an Optimizer of its own.

    Parameters
    ----------
    connection : str or connection object
        A URL (``duckdb:///relative.db``, ``duckdb:////absolute/path.db`` with four slashes, ``duckdb://`` for
        one in memory), a path, or a DuckDB connection that stays the caller's. A borrowed connection is never
        disturbed: on it only rewrites may steer.
    mode : str, optional
        ``off``, ``observe``, ``advise`` (default) or ``steer``.
    read_only : bool
        Open the file read-only.
    timeout_s : float, optional
        Default time limit of each statement, in seconds.
    policy : Policy, optional
        Margin, allowance, rollout.
    store : path, Store or None
        Where decisions and observations are recorded; None records nothing.

    Raises
    ------
    ConnectionFailed
        No such file, not a database, or locked by another process.
    InvalidInput
        For a URL of an engine that is not supported.
    """
    from godb_fast.store import open_store

    optimizer = Optimizer(policy=policy, store=open_store(store))
    return _open_session(optimizer, connection, mode=mode, read_only=read_only, timeout_s=timeout_s)
