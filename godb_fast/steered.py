"""Whether a statement is steered at a connection, and the steered run under its watchdog.

The part of a :class:`~godb_fast.session.Session` that keeps the contract: a decision rests on a schema epoch
that is validated, before the run or in its own round trip; what fails, disobeys or takes too long is
discarded.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from godb_fast.core import Decision
from godb_fast.engines.base import (
    AsksEachTime,
    CancelToken,
    Engine,
    EngineResult,
    LooksFirst,
    Parameters,
    SeesVariables,
    ValidatesInPassing,
    is_fragile,
)
from godb_fast.engines.cutting import kept, uncertain
from godb_fast.errors import (
    Disturbed,
    EngineBusy,
    EngineError,
    QueryCancelled,
    QueryTimeout,
    ResultTooLarge,
    SchemaChanged,
)
from godb_fast.knowledge import Kept
from godb_fast.optimizer import UNREADABLE, Optimizer, Prepared, Scope, log, pass_through
from godb_fast.worth import SteeringCost, left_aside

#: A statement under the engine's own plan is right whatever the schema is. So where asking for the epoch
#: costs a round trip or a query, it is asked for on its behalf no more often than once in so many seconds.
LOOK_AGAIN_S: Final = 1.0
#: A steering whose answers were uncertain so often, because rows tie where LIMIT cuts, is given up.
MOST_TIES: Final = 3
#: A run that was stopped before this share of a limit was stopped by another one.
_NEARLY: Final = 0.95


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


class Steerer:
    """An Optimizer's decisions at one connection, with what was last seen of it. Callers hold ``_lock``."""

    def __init__(self, optimizer: Optimizer, engine: Engine) -> None:
        self.optimizer = optimizer
        self.engine = engine
        self._looks = engine if isinstance(engine, LooksFirst) else None
        self._lock: Any = threading.RLock()
        self._scope: Scope | None = None
        self._exact: dict[Any, Prepared | Kept] = {}
        self._answer: Callable[[str], Decision | None] | None = None
        self._sees_variables = isinstance(engine, SeesVariables) and engine.sees_variables
        #: The engine, where it is so far away that a round trip counts.
        self._far = engine if isinstance(engine, ValidatesInPassing) and engine.validates_in_passing else None
        #: The engine, where each look at its catalogue is a query.
        self._asked = engine if isinstance(engine, AsksEachTime) and engine.asks_each_time else None
        self._looked_at = -math.inf
        #: The environment as it was last asked for, and when.
        self._seen: tuple[float, str] = (-math.inf, "")
        #: What steering costs here, where the engine is far away.
        self.cost = SteeringCost()

    # -- the scope ----------------------------------------------------------------------------------

    def _enter_scope(self, epoch: str) -> Scope:
        scope = self.optimizer.scope(self.engine, epoch)
        self._scope, self._exact = scope, scope.exact
        self._answer = None if self._sees_variables else scope.routes.answer
        return scope

    def _valid_scope(self) -> Scope:
        """The scope of what the engine holds now: a foreign ALTER must not give wrong rows."""
        begun = time.perf_counter()
        epoch = self.engine.schema_epoch()
        self._looked_at = now = time.perf_counter()
        self.cost.asked((now - begun) * 1e3)
        scope, environment = self._scope, self.engine.environment()
        self._seen = now, environment
        if scope is None or scope.epoch != epoch or scope.environment != environment:
            return self._enter_scope(epoch)
        return scope

    def _environment(self) -> str:
        """Where a run belongs: as asked for now, or within the last second where asking is a query."""
        if self._asked is None:
            return self.engine.environment()
        at, known = self._seen
        now = time.perf_counter()
        if now - at >= LOOK_AGAIN_S:
            known = self.engine.environment()
            self._seen = now, known
        return known

    def _about_to_run(self, sql: str) -> None:
        """What the statement may change is asked for anew afterwards."""
        if self._asked is not None and self._asked.may_change(sql):
            self._looked_at, self._seen = -math.inf, (-math.inf, "")
        elif self._looks is not None and not self._looks.may_be_planned(sql):
            self._looked_at = -math.inf

    # -- deciding -----------------------------------------------------------------------------------

    def _outlook(self, sql: str, params: Parameters, limit: float | None, steer: bool) -> Outlook:
        """What to do with a statement; ``steer`` is whether it may be steered."""
        outlook = None
        if self._far is not None:
            outlook = self._foreseen(sql, params, limit, steer)
        elif self._asked is not None and time.perf_counter() - self._looked_at < LOOK_AGAIN_S:
            outlook = self._left_alone(sql, params, limit)
        if outlook is not None:
            return outlook
        outlook = self._judged(self._decide(sql, params, limit, runs=steer), sql, steer)
        if self._far is not None and self._scope is not None and steer and outlook.steers:
            # It was looked at just now; what is committed until the statement is parsed counts too.
            return Outlook(outlook.prepared, self._scope.epoch)
        return outlook

    def _foreseen(self, sql: str, params: Parameters, limit: float | None, steer: bool) -> Outlook | None:
        """As the epoch was when last seen; None if it has to be looked at before anything is done.

        A steered statement validates the epoch by itself. One that is not needs none, but would never learn
        of a change, were it not looked at now and then, and after each statement that may change something.
        """
        scope = self._scope
        if scope is None or scope.environment != self.engine.environment():
            return None
        begun = time.perf_counter()
        prepared = self._decide_as_seen(scope, sql, params, limit, runs=steer)
        if prepared is None:
            return None
        now = time.perf_counter()
        outlook = self._judged(prepared, sql, steer)
        if prepared.decision.steering:
            self.cost.decided((now - begun) * 1e3)
        if steer and outlook.steers:
            return Outlook(outlook.prepared, scope.epoch)
        return outlook if now - self._looked_at < LOOK_AGAIN_S else None

    def _decide_as_seen(
        self, scope: Scope, sql: str, params: Parameters, limit: float | None, *, runs: bool = False
    ) -> Prepared | None:
        """The decision at the epoch that was last seen; None if that takes more than is known."""
        try:
            if not scope.knows(sql, params, self.engine.dialect, self.optimizer.backend):
                return None
            background = self.optimizer.policy.background
            return self.optimizer.decide(
                self.engine, scope, sql, params, limit_s=limit, background=background, compares=runs
            )
        except Exception as error:  # noqa: BLE001 - logged; the usual way meets it again, and tells
            log.debug("not foreseen: %s: %s", type(error).__name__, error)
            return None

    def _left_alone(self, sql: str, params: Parameters, limit: float | None) -> Outlook | None:
        """A fast statement that would not be steered, as the catalogue was a moment ago; else None.

        What is steered rests on the catalogue as it is, and slow runs teach.
        """
        scope = self._scope
        if scope is None:
            return None
        prepared = self._decide_as_seen(scope, sql, params, limit)
        if prepared is None or prepared.decision.steering or prepared.known is None:
            return None
        took = prepared.known.baseline_ms.get(prepared.bucket)
        fast = took is not None and took < self.optimizer.policy.learn_from_ms
        return Outlook(prepared) if fast else None

    def _judged(self, prepared: Prepared, sql: str, steer: bool) -> Outlook:
        if not steer or not prepared.decision.steering:
            return Outlook(prepared)
        refused = self._may_steer(prepared)
        if (
            refused is None
            and prepared.served is not None
            and self._scope is not None
            and not self.optimizer.still_holds(self.engine, self._scope, prepared)
        ):
            refused = "its tables have changed since it was verified; explore it again"
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

    def _decide(
        self, sql: str, params: Parameters, limit: float | None = None, *, runs: bool = False
    ) -> Prepared:
        """As :meth:`optimize`, but whatever goes wrong in planning, the statement goes through as it is."""
        scope: Scope | None = None
        if self._looks is not None and isinstance(sql, str) and not self._looks.may_be_planned(sql):
            return pass_through(self.engine, self._scope, sql, params, "not a SELECT")
        try:
            scope = self._valid_scope()
            background = self.optimizer.policy.background
            return self.optimizer.decide(
                self.engine, scope, sql, params, limit_s=limit, background=background, compares=runs
            )
        except UNREADABLE as error:
            reason = f"passed through: {error}"
        except QueryTimeout as error:
            reason = ran_out_of_time(error)
        except EngineError as error:
            reason = f"passed through, the engine says: {error}"
        except Exception as error:  # noqa: BLE001 - logged, counted, and shown in the Decision
            log.exception("planning failed; the statement goes through unchanged")
            reason = f"passed through after an internal error: {type(error).__name__}: {error}"
        self.optimizer.log_once("passed_through", reason)
        return pass_through(self.engine, scope, sql, params, reason)

    # -- running ------------------------------------------------------------------------------------

    def _why_not_steerable(self, prepared: Prepared) -> str | None:
        capabilities = self.engine.capabilities
        if prepared.decision.steering.join_trees and not (capabilities.join_trees and capabilities.isolated):
            return capabilities.reason or "this connection cannot be steered"
        known = prepared.known
        if known is None or not known.effects.pure:
            return "not certain to only read"
        if not known.effects.steerable and prepared.rendered.cut is None:
            return known.effects.reason
        if is_fragile(self.engine):
            return "a transaction is open on this connection"
        return None

    def _may_steer(self, prepared: Prepared) -> str | None:
        """Why this statement is not steered now; None if it may be."""
        if not self.optimizer.in_rollout(prepared.decision.fingerprint):
            return "outside the rollout"
        refused = self._why_not_steerable(prepared)
        if refused is None and self.optimizer.allowance_s(prepared) is None:
            refused = "no bound yet on the default's time: the first run takes the engine's own plan"
        return refused or self.optimizer.over_budget(prepared) or self.optimizer.owes_own_plan(prepared)

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
        unverified = not known.has_obeyed(prepared.bucket, steering.key)
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
            self.optimizer.log_once("fell_back", str(error), prepared.decision.fingerprint)
            return None, str(error)
        except QueryTimeout:
            took_s = time.perf_counter() - begun
            if took_s < _NEARLY * allowance:
                # That says nothing about the plan.
                self.optimizer.lost(prepared, took_s)
                if limit is not None and took_s >= _NEARLY * limit:
                    # The caller waits no longer.
                    raise
                why = f"stopped by a time limit of the connection after {took_s * 1e3:.0f} ms"
                self.optimizer.log_once("fell_back", why, prepared.decision.fingerprint)
                return None, why
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
                    self.optimizer.log_once("fell_back", why, prepared.decision.fingerprint)
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
        self.optimizer.log_once("fell_back", why, prepared.decision.fingerprint)
        return None, why

    def _anew(self, sql: str, params: Parameters, limit: float | None) -> Outlook:
        """What to do with a statement whose steered run found another schema than that of its decision."""
        outlook = self._judged(self._decide(sql, params, limit), sql, True)
        if outlook.steers and self._far is not None and self._scope is not None:
            return Outlook(outlook.prepared, self._scope.epoch)
        return outlook

    def _once_more(
        self,
        outlook: Outlook,
        changed: SchemaChanged,
        limit: float | None,
        cancel: CancelToken | None,
        form: dict[str, Any],
    ) -> tuple[EngineResult | None, str | None]:
        """The steered run again, if what changed left its decision standing; else why it was discarded.

        Once: who changes schemas all the time is not waited for.
        """
        if not outlook.steers:
            return None, str(changed)
        try:
            return self._try_steered(outlook, limit, cancel, form)
        except SchemaChanged as again:
            self.optimizer.count("outdated")
            return None, str(again)

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
            # Other values may get another plan of a server, where looking takes no further round trip.
            known.obeyed.add((prepared.bucket if self._far is not None else b"", steering.key))
        return obeyed is False


def ran_out_of_time(error: QueryTimeout) -> str:
    """The reason of a decision that was not made in time."""
    return f"passed through, planning it took too long: {error}"
