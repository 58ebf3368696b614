"""What all ways into an existing application share: modes, observing without touching, and what is verified.

Nothing here sends anything to a database on the application's connection, and nothing here raises into the
application: an error of ours is logged once, counted, and the statement goes on unchanged.
"""

from __future__ import annotations

import logging
import math
import os
import platform
from typing import TYPE_CHECKING, Any, Final

from godb_fast.core import Decision, Observation
from godb_fast.engines.base import EngineResult, Parameters
from godb_fast.errors import GodbError
from godb_fast.knowledge import MAX_EXACT_LENGTH, exact_key
from godb_fast.optimizer import Optimizer, Prepared, Scope
from godb_fast.policy import check_mode
from godb_fast.session import Session
from godb_fast.sql import Fingerprint, fingerprint
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

    def look_again(self) -> None:
        """Somebody else has run what may change what this connection sees."""
        self._looked_at = -math.inf

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

    def seek(self, sql: str, params: Parameters, default_ms: float) -> None:
        """Look for a plan that nobody has run, here and now, for a statement that somebody else runs.

        Parameters
        ----------
        default_ms : float
            How long it took there under the engine's own plan.

        Raises
        ------
        GodbError
            If the statement cannot be planned here.
        """
        with self._lock:
            self._check_open()
            scope = self._valid_scope()
            prepared = self.optimizer.decide(self.engine, scope, sql, params)
            self.optimizer.consider(self.engine, scope, prepared, sql, default_ms, here=True)

    def begins(self, prepared: Prepared | None) -> Begun | None:
        """A statement that was decided on here runs now, under the engine's own plan.

        Whoever gets something gives it to :meth:`ended`, and may give it to :meth:`described`.
        """
        live = self._live = self._live or self.optimizer.live
        return None if live is None or prepared is None else live.begin(prepared, self._environment)

    def ended(self, begun: Begun | None) -> None:
        """It runs no longer."""
        if self._live is not None:
            self._live.end(begun)

    def described(self, prepared: Prepared | None, begun: Begun | None, observation: Observation) -> None:
        """How it went: what slow runs were like is kept for models."""
        if self._live is not None and prepared is not None and prepared.known is not None:
            self._live.keep(self.engine, prepared, begun, observation)

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

    def saw(
        self, print_: Fingerprint | None, outcome: str, latency_ms: float, rows: int | None, **more: Any
    ) -> Observation | None:
        """One execution; what is recorded of it, if anything is. Never raises."""
        try:
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
            return observation
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
