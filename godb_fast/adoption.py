"""What all ways into an existing application share: modes, observing without touching, and what is verified.

Nothing here sends anything to a database on the application's connection, and nothing here raises into the
application: an error of ours is logged once, counted, and the statement goes on unchanged.
"""

from __future__ import annotations

import logging
import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from godb_fast.core import Decision, Observation
from godb_fast.engines.base import EngineResult, Parameters
from godb_fast.errors import GodbError
from godb_fast.knowledge import MAX_EXACT_LENGTH, exact_key
from godb_fast.optimizer import Optimizer, Prepared, Scope
from godb_fast.policy import check_mode
from godb_fast.session import Session
from godb_fast.sql import Fingerprint, fingerprint, is_query
from godb_fast.steered import Outlook

if TYPE_CHECKING:
    from godb_fast.live_features import Begun

log = logging.getLogger("godb_fast")

#: Where nobody says otherwise. A server is shared and every question costs a round trip: there we only look.
DEFAULT_MODES: Final = {"postgresql": "observe", "duckdb": "advise"}
#: Engine → dialect of its texts.
DIALECTS: Final = {"postgresql": "postgres", "duckdb": "duckdb"}
#: Templates of which an Observer keeps the decision; the oldest are forgotten first.
MAX_TEMPLATES: Final = 5_000
#: Texts of which an Observer keeps the fingerprint: an application sends the same ones, with parameters.
MAX_TEXTS: Final = 1_000


@dataclass(frozen=True, eq=False)
class SlowRun:
    """A run of an application's statement under the engine's own plan that models may learn from."""

    begun: Begun
    observation: Observation


def chosen_mode(mode: str | None, engine: str) -> str:
    """The mode that is given, else that of ``GODB_FAST_MODE``, else the engine's first one.

    Raises
    ------
    InvalidInput
        If it is none of the four.
    """
    return check_mode(mode or os.environ.get("GODB_FAST_MODE") or DEFAULT_MODES.get(engine, "observe"))


class CursorSession(Session):
    """A Session at a connection whose statements somebody else executes, on a cursor of the driver's."""

    def scope(self) -> Scope:
        """The knowledge for what the engine holds now; asks the engine for its epoch."""
        return self._valid_scope()

    @property
    def scope_seen(self) -> Scope | None:
        """The scope of the last decision, if there was one."""
        return self._scope

    @property
    def scope_now(self) -> Scope:
        """The scope of the last decision; asks nothing."""
        return self._scope or self._valid_scope()

    def prepare(self, sql: str, params: Parameters = None) -> Outlook:
        """What to do with a statement; whatever goes wrong in planning, it is to go through as it is."""
        return self._outlook(sql, params, self.timeout_s, True)

    def at_once(self, sql: str, params: Parameters = None) -> Outlook | None:
        """As :meth:`prepare`, without asking anything; None if that cannot be told."""
        scope, key = self._scope, exact_key(sql, params)
        if scope is None or key is None or (known := scope.decided(key)) is None:
            return None
        if self.optimizer.looks(known):
            # That asks the server.
            return None
        return self._foreseen(sql, params, self.timeout_s, True)

    def steered(self, outlook: Outlook) -> tuple[EngineResult | None, str | None]:
        """A steered run under the watchdog: its complete result, or why it was discarded."""
        return self._try_steered(outlook, self.timeout_s, None, {})

    def validated(self, outlook: Outlook) -> None:
        """A steered run was complete, and what it was to validate is as expected."""
        self._validated(outlook)

    def slow(
        self, sql: str, params: Parameters, default_ms: float, run: SlowRun | None, *, seeks: bool
    ) -> None:
        """Learn from a statement that somebody else runs and that was slow, here and now.

        Parameters
        ----------
        default_ms : float
            How long it took there under the engine's own plan.
        run : SlowRun, optional
            Is described for models.
        seeks : bool
            Look for a plan that nobody has run.

        Raises
        ------
        GodbError
            If the statement cannot be planned here.
        """
        with self._lock:
            self._check_open()
            scope = self._valid_scope()
            prepared = self.optimizer.decide(self.engine, scope, sql, params)
            if run is not None and self._live is not None:
                self._live.describe(self.engine, prepared, run.begun, run.observation)
            if seeks:
                self.optimizer.consider(self.engine, scope, prepared, sql, default_ms, here=True)

    def changed(self, outlook: Outlook) -> bool:
        """Whether a steered run failed because the schema changed since it was decided on."""
        return self._changed(outlook)

    def _may_steer(self, prepared: Prepared) -> str | None:
        if prepared.rendered.cut is not None:
            return "its LIMIT's rows would have to be looked at before they are handed out"
        return super()._may_steer(prepared)


class Observer:
    """Notes executions of an application's statements: latency, rows where they are known, outcome.

    Parameters
    ----------
    engine : str
        ``postgresql`` or ``duckdb``.
    optimizer : Optimizer
        Its store records what is observed, if it has one; its counters count.
    version, database : str
        Of the server, without credentials.
    """

    def __init__(self, engine: str, optimizer: Optimizer, version: str = "", database: str = "") -> None:
        self.engine = engine
        self.optimizer = optimizer
        self.version = version
        self.database = database
        self._dialect = DIALECTS[engine]
        self._machine = platform.node()
        self._decisions: dict[tuple[int, int], Decision] = {}
        self._prints: dict[str, Fingerprint] = {}
        #: How long the last run of a template took, in ms.
        self._took: dict[tuple[int, int], float] = {}

    def read(self, sql: str, mode: str = "") -> Fingerprint | None:
        """The fingerprint of a statement; None where the lexer cannot read it, or nobody wants to know."""
        if mode == "observe" and self.optimizer.store is None:
            return None
        known = self._prints.get(sql)
        if known is not None:
            return known
        try:
            found = fingerprint(sql, self._dialect, backend=self.optimizer.backend)
        except GodbError:
            return None
        if len(sql) <= MAX_EXACT_LENGTH:
            if len(self._prints) >= MAX_TEXTS:
                self._prints.pop(next(iter(self._prints)), None)
            self._prints[sql] = found
        return found

    def advised(self, print_: Fingerprint, decision: Decision) -> None:
        """What was decided for a template: observations belong to that decision from now on."""
        self._keep((print_.hash, print_.casing), decision)

    def decision(self, print_: Fingerprint) -> Decision | None:
        """What was decided for a template, if anything was."""
        return self._decisions.get((print_.hash, print_.casing))

    def _keep(self, key: tuple[int, int], decision: Decision) -> None:
        if len(self._decisions) >= MAX_TEMPLATES:
            self._decisions.pop(next(iter(self._decisions)), None)
        self._decisions[key] = decision

    def begins(self, print_: Fingerprint | None, mode: str) -> Begun | None:
        """What is known of a statement that runs now; None where models will not learn from it. Never raises.

        Whoever gets something gives it to :meth:`saw`.
        """
        live = self.optimizer.live_now
        if live is None or print_ is None or mode not in ("advise", "steer") or not is_query(print_):
            return None
        try:
            least_ms, key = self.optimizer.policy.learn_from_ms, (print_.hash, print_.casing)
            if self._took.get(key, least_ms) < least_ms:
                return None
            cluster = next((each.cluster for each in self.optimizer.known_templates(print_)), None)
            return live.meet(self.engine, self.database, print_.hash, cluster)
        except Exception as error:  # noqa: BLE001 - logged and counted: nothing of ours stops a statement
            self.failed("describing", error)
            return None

    def saw(
        self,
        print_: Fingerprint | None,
        outcome: str,
        latency_ms: float,
        rows: int | None,
        *,
        begun: Begun | None = None,
        **more: Any,
    ) -> SlowRun | None:
        """One execution, and what :meth:`begins` said; what models may learn from it. Never raises."""
        try:
            live = self.optimizer.live_now
            if live is not None:
                live.end(begun)
            self.optimizer.count("observed")
            store = self.optimizer.store
            if store is None or print_ is None:
                return None
            key = print_.hash, print_.casing
            decision = self._decisions.get(key)
            if decision is None:
                decision = Decision(print_.hash, print_.text, reason="observed only", engine=self.engine)
                self._keep(key, decision)
            observation = Observation.noted(
                {
                    "decision_id": decision.id,
                    "fingerprint": print_.hash,
                    "outcome": outcome,
                    "latency_ms": latency_ms,
                    "rows": rows,
                    "engine": self.engine,
                    "engine_version": self.version,
                    "database": self.database,
                    "machine": self._machine,
                    **more,
                }
            )
            store.record(decision, observation, print_.text)
            self.optimizer.recorded()
            if live is not None:
                live.hear(observation)
            if outcome != "ok":
                return None
            if len(self._took) >= MAX_TEMPLATES:
                self._took.pop(next(iter(self._took)), None)
            self._took[key] = latency_ms
            slow = latency_ms >= self.optimizer.policy.learn_from_ms
            return SlowRun(begun, observation) if begun is not None and slow else None
        except Exception as error:  # noqa: BLE001 - logged and counted: nothing of ours stops a statement
            self.failed("observing", error)
            return None

    def failed(self, doing: str, error: BaseException) -> None:
        """An error of ours: counted, and logged the first time with its trace."""
        try:
            first = "internal_errors" not in self.optimizer.counters
            self.optimizer.log_once("internal_errors", f"{doing}: {type(error).__name__}: {error}")
            if first:
                log.warning("the statement goes on unchanged", exc_info=error)
        except Exception:
            # The last resort: not even the book-keeping of errors stops a statement.
            log.exception("an internal error could not be counted")
