"""The pipeline from a statement to a Decision, and the knowledge that a process shares.

``Optimizer`` holds no connection. What it knows is kept per *scope*: an engine's database, search path,
role and settings at one schema epoch. A scope is left as a whole when its epoch changes, so that no decision
outlives the names and columns on which it rests; what a statement does not rest on leaves what was learned of
it as it is (:mod:`godb_fast.carrying`).
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from godb_fast import backend as backends
from godb_fast import carrying
from godb_fast.core import NO_STEERING, Decision, LateDecision, Steering
from godb_fast.engines.base import (
    ChecksStatements,
    Engine,
    KeepsComments,
    Parameters,
    SharesSamples,
    is_fragile,
    offers,
)
from godb_fast.engines.positions import located
from godb_fast.errors import (
    EngineError,
    GodbError,
    InvalidInput,
    QueryTimeout,
    SqlError,
    UnknownRelation,
)
from godb_fast.experience import Experience
from godb_fast.first_sight import FirstSights, first_sight
from godb_fast.given import checked_policy, held
from godb_fast.knowledge import (
    MAX_EXACT,
    MAX_EXACT_LENGTH,
    FirstRun,
    Kept,
    KnownTemplate,
    OnTrial,
    Prepared,
    Scope,
    Unasked,
    Unmet,
    distance,
    exact_key,
    explored_near,
)
from godb_fast.late_decisions import Clock, drafted, made, pass_through
from godb_fast.planning.draft import Draft, OwnPlans
from godb_fast.planning.proposal import TemplatePlanner
from godb_fast.policy import MODES, Policy
from godb_fast.preparation import Preparer
from godb_fast.sql import Fingerprint, abridged, beyond_limits, fingerprint, is_query
from godb_fast.sql.fingerprint import lexer

if TYPE_CHECKING:
    from godb_fast.store import Store

log = logging.getLogger("godb_fast")

#: Seconds that the engine may plan on our behalf; a template that twice takes longer is left alone.
EXPLAIN_LIMIT_S: Final = 0.5
EXPLAIN_ATTEMPTS: Final = 2
#: An EXPLAIN that had to be stopped would take the caller's transaction with it.
UNASKED: Final = "left alone: a transaction is open, and the engine is not asked for its plan within it"
#: Getting to know it would have kept the statement waiting.
UNMET: Final = "not known yet: another connection looks while the engine's own plan runs"
#: Default plans captured per template, one per region of selectivities; beyond it the nearest serves.
MAX_BUCKETS: Final = 64
#: Scopes kept, so that a search path that is switched to and fro stays warm.
MAX_SCOPES: Final = 16


class Optimizer(Experience):
    """Knowledge of queries and databases, shared by all sessions of a process. Thread-safe.

    Parameters
    ----------
    policy : Policy, optional
        Mode, margin, allowance, rollout.
    store : path or Store, optional
        Where decisions and observations are recorded; None records nothing, ``"default"`` is the store of the
        commands.
    backend : str, optional
        Kernel backend; default as ``GODB_FAST_BACKEND`` or the best there is.

    Examples
    --------
    >>> optimizer = Optimizer(policy=Policy(mode="steer"))
    >>> with optimizer.session("duckdb:///shop.db") as session:  # doctest: +SKIP
    ...     session.execute("SELECT count(*) FROM orders").fetchall()
    """

    #: Set by ``godb_fast.session``, the floor above: how a session at a connection is made.
    open_session: ClassVar[Callable[..., Any] | None] = None

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        store: Store | str | os.PathLike[str] | None = None,
        backend: str | None = None,
    ) -> None:
        checked = checked_policy(policy)
        if store is not None:
            from godb_fast.store import open_store

            store = open_store(store)
        super().__init__(checked, store, backend)
        self._scopes: OrderedDict[tuple[str, str, str], Scope] = OrderedDict()
        #: Decisions by routes of scopes that were forgotten.
        self._decided = 0
        self._preparer = Preparer(self.policy.margin, backend, self.count, self.log_once)
        #: Prepares templates while their first queries run, and looks for better plans after slow ones.
        self.worker = self._preparer.worker
        self.first_sights = FirstSights(self.worker, self.count)

    def session(self, connection: Any, **options: Any) -> Any:
        """A :class:`godb_fast.Session` of this Optimizer at one connection (a URL or a driver's object)."""
        import_session()
        assert Optimizer.open_session is not None
        return Optimizer.open_session(self, connection, **options)

    def explore(
        self, connection: Any, queries: Any, budget: str | float | None = None, **options: Any
    ) -> Any:
        """Explore queries at a connection (a URL or a driver's object): see :meth:`Session.explore`."""
        with self.session(connection) as session:
            return session.explore(queries, budget, **options)

    def train(self, folder: Any = None, **options: Any) -> Any:
        """Train models from what the store holds: see :func:`godb_fast.learning.training.train`."""
        from godb_fast.learning.training import train
        from godb_fast.store import SqliteStore

        if not isinstance(self.store, SqliteStore):
            raise InvalidInput("training needs a store in a file: Optimizer(store=open_store(PATH))")
        self.store.flush()
        return train(self.store, folder, **options)

    def recall(self, engine: Engine) -> None:
        """Use what exploration has proved since the current scope was entered, in whatever process."""
        self._recall_anew(engine, self.scope(engine))

    def scope(self, engine: Engine, epoch: str | None = None) -> Scope:
        """The knowledge for an engine's current environment and epoch."""
        key = (engine.name, engine.environment(), epoch or engine.schema_epoch())
        fresh = False
        with self._lock:
            scope = self._scopes.get(key)
            if scope is None:
                former = next(
                    (seen for at, seen in reversed(self._scopes.items()) if at[:2] == key[:2]), None
                )
                scope = self._scopes[key] = Scope(*key, former=former)
                if former is not None:
                    # One is enough: it has what it could take over of the one before.
                    former.former = None
                    # Neither rests on an epoch.
                    scope.lessons, scope.costs = former.lessons, former.costs
                scope.routes = backends.kernels("routes", self.backend).Routes(
                    lexer(engine.dialect, self.backend), scope.templates, scope.exact, MAX_EXACT,
                    LateDecision, Prepared, NO_STEERING, partial(made, scope, None),
                )  # fmt: skip
                fresh = True
                while len(self._scopes) > MAX_SCOPES:
                    _, gone = self._scopes.popitem(last=False)
                    self._decided += gone.routes.decided
            else:
                self._scopes.move_to_end(key)
        if fresh:
            self._recall(scope)
        return scope

    def known_templates(self, print_: Fingerprint) -> list[KnownTemplate]:
        """What is known of a template, in whatever scope; asks no engine."""
        with self._lock:
            found = [scope.template(print_) for scope in self._scopes.values()]
        return [known for known in found if known is not None]

    # -- the pipeline -------------------------------------------------------------------------------

    def decide(
        self,
        engine: Engine,
        scope: Scope,
        sql: str,
        params: Parameters = None,
        *,
        limit_s: float | None = None,
        background: bool = False,
        compares: bool = False,
    ) -> Prepared:
        """Text → fingerprint → template → estimates → candidates → decision.

        Parameters
        ----------
        limit_s : float, optional
            What loading statistics and the engine's EXPLAIN may take each, below the limits of our own.
        background : bool
            Leave the statement alone while another thread looks at what takes long to be known of it.
        compares : bool
            The statement runs as is decided: costs that are on trial may decide (``Policy.costs``).

        Raises
        ------
        SqlError, UnknownRelation
            If the statement cannot be read.
        QueryTimeout
            If the engine did not answer within the limits.
        EngineError
            If the engine refuses the statement.
        """
        key = exact_key(sql, params)
        hit = scope.decided(key) if key is not None else None
        if hit is not None:
            return hit
        begun = time.perf_counter_ns()
        # Decisions are kept, and learned from later.
        params = held(params)
        found = scope.routes.find(sql) if params is None and key is not None else None
        if hasattr(found, "prepared"):
            return scope.decided(key) or cast("Kept", found).prepared()
        if hasattr(found, "outcome"):
            return self._routed(engine, scope, sql, found)
        clock = Clock(begun)
        print_: Fingerprint = found or fingerprint(sql, engine.dialect, backend=self.backend)
        clock.lap("fingerprint")
        known = scope.template(print_)
        first = known is None
        if known is None:
            if background and (unmet := self._left(engine, scope, print_, sql, params, limit_s)) is not None:
                return unmet
            known = self._met(engine, scope, print_, sql, limit_s, background)
            known = scope.remember(print_, known)
            scope.routes.learn(print_)
            clock.lap("template")
        elif known.unprepared and not is_fragile(engine):
            self._preparer.prepare(engine, known, limit_s, background)
            clock.lap("template")
        served = None
        if known.verified:
            from godb_fast import recall

            served = recall.recalled(engine, scope, known, print_, sql, params, clock.laps)
        if served is not None:
            prepared = served
        elif known.planner is None:
            reason = UNASKED if known.unprepared and is_fragile(engine) else known.reason
            prepared = self._leave(scope, known, sql, params, reason, clock)
        else:
            given = engine, scope, known, print_, sql, params, clock, limit_s, background
            if self.policy.costs == "static":
                prepared = self._plan(*given, known.planner)
            else:
                prepared = self._compared(scope, known, partial(self._plan, *given), compares)
        if key is not None and not known.unprepared and type(prepared) is Prepared and not known.rival:
            scope.remember_exact(key, prepared)
        if first:
            self.first_sights.took(engine.name, sql, known.read_ms + known.explain_ms)
        self.count("decisions")
        return prepared

    def _left(
        self,
        engine: Engine,
        scope: Scope,
        print_: Fingerprint,
        sql: str,
        params: Parameters,
        limit_s: float | None,
    ) -> Prepared | None:
        """A statement as it is, while another thread gets to know it; None if it is got to know here."""
        if beyond_limits(print_) is not None or not is_query(print_) or scope.promises(print_):
            return None
        expected_ms = self.first_sights.expected_ms(engine, sql, carried=scope.carries(print_))
        run = FirstRun(self.saw_default)
        look = partial(self._beside, scope, sql, params, limit_s, run)
        if not self.first_sights.aside(engine, scope, (print_.hash, print_.casing), expected_ms, look):
            return None
        decision = Decision(print_.hash, sql, reason=UNMET, engine=engine.name, epoch=scope.epoch)
        self.count("decisions")
        unmet = Unmet(decision, params=params, text=print_.text)
        unmet.first_run = run
        return unmet

    def _beside(
        self,
        scope: Scope,
        sql: str,
        params: Parameters,
        limit_s: float | None,
        run: FirstRun | None,
        twin: Engine,
    ) -> None:
        """Get to know a statement on another connection, while it runs."""
        prepared = self.decide(twin, scope, sql, params, limit_s=limit_s)
        if run is not None:
            run.known(prepared)

    def _met(
        self,
        engine: Engine,
        scope: Scope,
        print_: Fingerprint,
        sql: str,
        limit_s: float | None,
        background: bool,
    ) -> KnownTemplate:
        """A template that is new in its scope: carried over from the former one, or never seen before."""
        begun = time.perf_counter()
        former = None if scope.former is None else scope.former.template(print_)
        text = abridged(print_) if len(sql) > MAX_EXACT_LENGTH else sql
        known = None if former is None else carrying.carried(engine, former, text)
        if known is not None:
            self.count("carried")
        else:
            known = first_sight(engine, print_, sql)
            carrying.rest(engine, known, text)
            known.read_ms = (time.perf_counter() - begun) * 1e3
            if known.unprepared and not is_fragile(engine):
                self._preparer.prepare(engine, known, limit_s, background)
                if not isinstance(engine, SharesSamples):
                    # Statistics that are read are part of it; what sampling takes is foreseen by itself.
                    known.read_ms = (time.perf_counter() - begun) * 1e3
        known.explored = scope.explored.get(known.template.fingerprint & (2**64 - 1), ())
        if scope.verified:
            self._attach(engine, scope, known)
        if known.regions or scope.chosen:
            self.untried.attach(engine, scope, known)
        carrying.shorten(known)
        return known

    def _plan(
        self,
        engine: Engine,
        scope: Scope,
        known: KnownTemplate,
        print_: Fingerprint,
        sql: str,
        params: Parameters,
        clock: Clock,
        limit_s: float | None,
        background: bool,
        planner: TemplatePlanner,
    ) -> Prepared:
        literals = print_.literals
        draft = planner.draft(literals, params)
        bucket = draft.bucket
        clock.lap("estimates")
        own = known.own_plans.get(bucket)
        unasked = None
        if own is None and is_fragile(engine):
            unasked = UNASKED
        elif own is None and background and len(known.own_plans) < MAX_BUCKETS:
            look = partial(self._beside, scope, sql, params, limit_s, None)
            key = print_.hash, print_.casing, bucket
            if self.first_sights.aside(engine, scope, key, known.explain_ms, look):
                unasked = UNMET
        if unasked is not None:
            draft.discard()
            left = self._leave(scope, known, sql, params, unasked, clock)
            return Unasked(left.decision, None, known, bucket, literals, params)
        if own is None:
            own = self._own_plans(engine, known, planner, bucket, sql, params, literals, limit_s)
            clock.lap("engine_explain")
        corrected = None
        if known.corrected and scope.lessons is not None:
            corrected = scope.lessons.corrected(known, bucket, literals, params, own)
            clock.lap("corrections")
        draft.propose(own, known.margin, corrected)
        clock.lap("search")
        return self._decided_on(engine, scope, known, draft, sql, params, literals, clock.laps)

    def _compared(
        self, scope: Scope, known: KnownTemplate, plan: Callable[[TemplatePlanner], Prepared], runs: bool
    ) -> Prepared:
        """A decision by the costs that are served, or for slow statements by lot by those on trial."""
        assert known.planner is not None
        trial = self._trial(scope)
        if known.planner.cost_model != trial.served:
            known.planner = known.planner.priced(trial.served)
            known.route = None
            carrying.shorten(known)
        prepared, candidate = plan(known.planner), trial.candidate
        if candidate is None or not known.slow(self.policy.learn_from_ms):
            return prepared
        if known.rival is None or known.rival.cost_model != candidate:
            known.rival, known.route = known.planner.priced(candidate), None
        other = plan(known.rival)
        if other.decision.steering == prepared.decision.steering:
            if runs:
                trial.alike()
            return prepared
        if not runs:
            return prepared
        from godb_fast.feedback.costs import Arm

        arm = trial.draw()
        chosen = other if arm is Arm.CANDIDATE else prepared
        drawn = OnTrial(
            chosen.decision, chosen._rendered, known, chosen.bucket, chosen.literals, chosen.params
        )
        drawn.arm, drawn.candidate = arm, candidate
        self.count("costs_compared")
        return drawn

    def _routed(self, engine: Engine, scope: Scope, sql: str, planned: Any) -> Prepared:
        """The decision to steer that a route came to."""
        known: KnownTemplate = planned.owner
        prepared = self._decided_on(
            engine, scope, known, drafted(planned), sql, None, planned.literals, planned.timings_us
        )
        scope.remember_exact(sql, prepared)
        self.count("decisions")
        return prepared

    def _decided_on(
        self,
        engine: Engine,
        scope: Scope,
        known: KnownTemplate,
        draft: Draft,
        sql: str,
        params: Parameters,
        literals: tuple[Any, ...],
        laps: dict[str, float],
    ) -> Prepared:
        """From what was proposed to a Decision, rendered where it steers."""
        steering, tell = draft.steering, draft.reasons
        if steering is not NO_STEERING and engine.capabilities.whole:
            steering = draft.completed()
        if steering is not NO_STEERING:
            refused = self._refused(engine, known, steering, draft)
            if refused is not None:
                steering, tell = NO_STEERING, refused
        rendered = None
        sent = sql
        if steering is not NO_STEERING:
            begun = time.perf_counter_ns()
            rendered = engine.render(known.template, literals, steering, params)
            if offers(engine, KeepsComments):
                rendered = cast("KeepsComments", engine).with_comments(rendered, sql)
            sent = rendered.sql
            laps["render"] = (time.perf_counter_ns() - begun) / 1e3
        values = {
            "fingerprint": known.template.fingerprint,
            "sql": sent,
            "steering": steering,
            "_make": partial(made, scope, draft, laps, tell=tell, known=known if rendered is None else None),
        }
        if rendered is not None:
            values["action"] = "steer"
        return Prepared(LateDecision(values), rendered, known, draft.bucket, literals, params)

    def _refused(
        self, engine: Engine, known: KnownTemplate, steering: Steering, draft: Draft
    ) -> Callable[[], tuple[str, tuple[tuple[int, str], ...]]] | None:
        """How to tell why a steering is not used after all; None if it is."""
        if known.explored and explored_near(known, draft.bucket):
            why = "it was explored, and what was proved does not cover this"
            return lambda: (f"{draft.reasons()[0]}; not steered: {why}", draft.reasons()[1])
        because = known.quarantine.get(steering.key)
        if because is not None:
            return lambda: (f"quarantined: {because}", draft.reasons()[1])
        if not engine.capabilities.join_trees:
            # Advice only: what would be asked for cannot be rendered for this connection.
            why = engine.capabilities.reason
            return lambda: (f"{draft.reasons()[0]}; not steered here: {why}", draft.reasons()[1])
        return None

    def _leave(
        self,
        scope: Scope,
        known: KnownTemplate,
        sql: str,
        params: Parameters,
        reason: str,
        clock: Clock,
    ) -> Prepared:
        more, fields = known.unchosen(b"")
        decision = Decision(
            fingerprint=known.template.fingerprint,
            sql=sql,
            reason=reason + more,
            engine=scope.engine,
            epoch=scope.epoch,
            timings_us=clock.laps,
            **fields,
        )
        return Prepared(decision, None, known, params=params)

    def check_readable(self, engine: Engine, prepared: Prepared, sql: str, params: Parameters) -> None:
        """Ask the engine whether it accepts a statement that we could not read; once per template.

        Raises
        ------
        SqlError
            If it does not; with line and column.
        UnknownRelation
            If a table or column does not exist.
        """
        known = prepared.known
        if known is None or known.planner is not None or known.readable or is_fragile(engine):
            return
        template = known.template
        if template.reason == "an empty statement":
            raise SqlError("there is no statement in this text")
        unbound = params is None and any(slot.kind == "parameter" for slot in template.slots)
        other = unbound or template.reason in ("not a SELECT", "several statements")
        if isinstance(engine, ChecksStatements) or not other:
            try:
                if isinstance(engine, ChecksStatements):
                    engine.check(sql, params, timeout_s=EXPLAIN_LIMIT_S)
                else:
                    engine.explain(sql, params, timeout_s=EXPLAIN_LIMIT_S)
            except QueryTimeout:
                # Parsed and bound; it was the planning that took so long.
                known.readable = True
            except EngineError as error:
                placed = located(error, sql)
                if "does not exist" in str(placed) or "not found" in str(placed):
                    raise UnknownRelation(str(placed)) from error
                raise placed from error
        known.readable = True

    def _own_plans(
        self,
        engine: Engine,
        known: KnownTemplate,
        planner: TemplatePlanner,
        bucket: bytes,
        sql: str,
        params: Parameters,
        literals: tuple[Any, ...],
        limit_s: float | None,
    ) -> OwnPlans:
        """The engine's own plans in this bucket: asked once, then re-costed with our rows."""
        if len(known.own_plans) >= MAX_BUCKETS:
            nearest = min(known.own_plans, key=lambda seen: distance(seen, bucket))
            return known.own_plans[nearest]
        limit = EXPLAIN_LIMIT_S if limit_s is None else min(limit_s, EXPLAIN_LIMIT_S)
        begun = time.perf_counter()
        try:
            plan = engine.explain(sql, params, timeout_s=limit)
            known.explain_ms = (time.perf_counter() - begun) * 1e3
        except QueryTimeout:
            known.explain_ms = limit * 1e3
            if limit == EXPLAIN_LIMIT_S:
                known.slow_explains += 1
                if known.slow_explains >= EXPLAIN_ATTEMPTS:
                    # Decisions that were made by it may still be told.
                    known.given_up = known.planner
                    known.planner, known.route, known.readable = None, None, True
                    known.reason = f"left alone: the engine plans it for more than {EXPLAIN_LIMIT_S:g} s"
            raise
        trees = engine.default_trees(known.template, plan, literals)
        own = known.own_plans[bucket] = planner.own_plans(trees)
        if known.route is None and not (known.verified or known.corrected or known.rival):
            known.route = planner.route(known, known.margin)
        if known.route is not None and (nodes := planner.only_own(own)) is not None:
            known.route.learn(bucket, nodes)
        return own

    @property
    def counters(self) -> Counter[str]:
        """Counts of what happened, by name: decisions, steered, fell_back, …; 0 of what did not."""
        with self._lock:
            found = Counter(self._counters)
            routed = self._decided + sum(scope.routes.decided for scope in self._scopes.values())
            # Scopes of other epochs share their lessons.
            lessons = {id(scope.lessons): scope.lessons for scope in self._scopes.values()}
        if routed:
            found["decisions"] = found.get("decisions", 0) + routed
        remembered, asked = (0, 0) if self._untried is None else self._untried.gates.predictions
        spared = sum(each.spared for each in lessons.values() if each is not None)
        more = {
            "predictions_remembered": remembered,
            "predictions_made": asked,
            "profiles_put_off": self.spending.put_off,
            "corrections_spared": spared,
        }
        found.update({name: count for name, count in more.items() if count})
        return found


def import_session() -> None:
    """Make sure that the session floor has registered itself."""
    if Optimizer.open_session is None:
        raise InvalidInput("import godb_fast.session (or use godb_fast.Optimizer) to open sessions")


#: Errors of reading a statement: in ``execute()`` the engine itself decides what the statement is worth.
UNREADABLE: Final = (SqlError, UnknownRelation, InvalidInput)
__all__ = [
    "MODES",
    "UNREADABLE",
    "Clock",
    "EngineError",
    "GodbError",
    "KnownTemplate",
    "Optimizer",
    "Policy",
    "Prepared",
    "Scope",
    "Steering",
    "pass_through",
]
