"""What an Optimizer has learned from executions and explorations, and what it does about it."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from godb_fast import carrying
from godb_fast.background import Task
from godb_fast.engines.base import Engine, EngineResult
from godb_fast.errors import EngineError, InvalidInput, StoreError
from godb_fast.exploring.ledger import Ledger
from godb_fast.knowledge import KnownTemplate, Prepared, Scope, Unmet
from godb_fast.policy import Policy
from godb_fast.spending import Spending
from godb_fast.trying import Trying

if TYPE_CHECKING:
    from godb_fast.core import Observation
    from godb_fast.exploring.subjects import Subject
    from godb_fast.feedback.costs import CostTrial
    from godb_fast.knowledge import OnTrial
    from godb_fast.lessons import CostLessons, Lessons
    from godb_fast.store import Explorations, Store

log = logging.getLogger("godb_fast")

#: How much the latest run counts in what a statement took lately.
RECENT: Final = 0.3

#: A steering is judged by the best of this many runs, and refused if that is this much slower than the best
#: of the default's: several runs, because one may be disturbed.
STEERED_RUNS: Final = 3
#: Seconds after which it is looked again whether the tables of a verified statement are what they were.
LOOK_AT_TABLES_S: Final = 60.0
SLOWER: Final = 1.1


class Experience(Trying):
    """The part of an :class:`~godb_fast.optimizer.Optimizer` that executions and explorations teach."""

    def __init__(self, policy: Policy, store: Store | None, backend: str | None) -> None:
        super().__init__(policy, store, backend)
        #: What steering has lost in the last day, by query.
        self.ledger = Ledger(policy.regression_budget)
        #: What profiled runs, and learning from them, may take.
        self.spending = Spending(policy.learn_share)
        self._restored = False

    @property
    def records(self) -> Explorations | None:
        """Where the store keeps what exploration proves; None if it does not."""
        from godb_fast.store import KeepsExplorations

        return self.store.explorations if isinstance(self.store, KeepsExplorations) else None

    # -- what exploration proved --------------------------------------------------------------------

    def _recall_anew(self, engine: Engine, scope: Scope) -> None:
        self._recall(scope)
        with scope.lock:
            for _, known in list(scope.templates.values()):
                fingerprint_ = known.template.fingerprint & (2**64 - 1)
                if (regions := scope.explored.get(fingerprint_, ())) != known.explored:
                    known.explored = regions
                    scope.forget_exact(known.template.fingerprint)
                if known.verified or fingerprint_ in scope.verified:
                    if known.sql:
                        carrying.look(engine, known)
                    self._attach(engine, scope, known)
                    scope.forget_exact(known.template.fingerprint)

    def _recall(self, scope: Scope) -> None:
        from godb_fast import recall

        def read(records: Explorations) -> None:
            if not self._restored:
                # Once: from then on the ledger knows more than the store.
                self._restored = True
                self.ledger.restore(records.losses(time.time() - self.ledger.window_s))
            scope.verified = recall.load(records, scope.engine, scope.environment, scope.epoch)
            scope.explored = recall.explored(records, scope.engine, scope.environment)
            scope.chosen = self._chosen(scope)

        self._with_records(read, failing="not_recalled")

    def _with_records(self, work: Callable[[Explorations], None], *, failing: str = "not_recorded") -> None:
        """Read or write what exploration keeps, if anything is; a store that fails is logged and counted."""
        if (records := self.records) is not None:
            try:
                work(records)
            except StoreError as error:
                self.log_once(failing, str(error))

    def _attach(self, engine: Engine, scope: Scope, known: KnownTemplate) -> None:
        from godb_fast import recall

        if known.effects.pure and (known.effects.steerable or known.effects.checkable):
            recall.attach(engine, known, scope.verified, self.backend)
            for where in sorted({served.database for served in known.verified}):
                entries = [each.entry.to_dict() for each in known.verified if each.database == where]
                self._with_records(partial(_used, scope.engine, where, entries))

    def looks(self, prepared: Prepared) -> bool:
        """Whether :meth:`still_holds` would ask the engine."""
        known = prepared.known
        if known is None or prepared.served is None or not known.sql:
            return False
        return time.monotonic() - known.looked_at >= LOOK_AT_TABLES_S

    def still_holds(self, engine: Engine, scope: Scope, prepared: Prepared) -> bool:
        """Whether what was proved of a statement rests on what there is; looked at now and then.

        A change of names and columns is another epoch; that tables have grown, were analysed or have another
        index is none.
        """
        known, served = prepared.known, prepared.served
        if known is None or served is None or not self.looks(prepared) or engine.in_transaction():
            return True
        from godb_fast import recall

        try:
            carrying.look(engine, known)
            # Asking for it has sizes looked up anew.
            log.debug("statistics are as of %s", engine.statistics().epoch)
        except EngineError as error:
            # What is wrong with the connection shows in the statement itself.
            self.log_once("not_looked_at", str(error))
            return True
        held = tuple(each for each in known.verified if recall.holds(engine, known, each.entry))
        if len(held) < len(known.verified):
            for each in known.verified:
                if each.choice is not None and each not in held:
                    self.untried.outgrown(known, each)
            known.verified = held
            known.proved = recall.short_way(known, self.backend)
            carrying.shorten(known)
            scope.forget_exact(known.template.fingerprint)
            self.count("outgrown")
        return any(each.entry == served.entry for each in held)

    # -- what executions teach ----------------------------------------------------------------------

    def allowance_s(self, prepared: Prepared) -> float | None:
        """Seconds that a steered run may take; None without a bound on the default's time."""
        bound = _default_ms(prepared)
        if bound is None:
            return None
        return max(self.policy.allowance * bound, self.policy.allowance_floor_ms) / 1e3

    def saw_default(self, prepared: Prepared, result: EngineResult) -> None:
        """A complete run of the default plan; the fastest is the lower bound of its time."""
        if type(prepared) is Unmet:
            prepared.first_run.ran(result)
        if prepared.known is not None:
            seen, took = prepared.known.baseline_ms, result.latency_ms
            seen[prepared.bucket] = min(took, seen.get(prepared.bucket, took))
            recent = prepared.known.recent_ms
            before = recent.get(prepared.bucket, took)
            recent[prepared.bucket] = before + RECENT * (took - before)
            prepared.known.columns = (result.columns, result.types)
            if prepared.decision.steering:
                self._charge(prepared, took / 1e3)

    def saw_steered(self, scope: Scope, prepared: Prepared, latency_ms: float) -> None:
        """A complete steered run; a steering that is slower than the default at its best is refused."""
        known = prepared.known
        if known is None:
            return
        key = (prepared.bucket, prepared.decision.steering.key)
        runs, best = known.steered_ms.get(key, (0, latency_ms))
        known.steered_ms[key] = runs, best = runs + 1, min(best, latency_ms)
        default_ms = _default_ms(prepared)
        lost_ms = 0.0 if default_ms is None else max(0.0, latency_ms - SLOWER * default_ms)
        self._charge(prepared, latency_ms / 1e3, lost_ms / 1e3)
        self._turned_out(scope, prepared, latency_ms)
        bound = known.baseline_ms.get(prepared.bucket)
        if bound is not None and runs >= STEERED_RUNS and best > bound * SLOWER:
            self.quarantine(
                scope,
                prepared,
                f"slower than the engine's own plan: {best:.1f} ms at best in {runs} runs, "
                f"not {bound:.1f} ms",
                slow=True,
            )

    def _turned_out(self, scope: Scope, prepared: Prepared, latency_ms: float, *, cut: bool = False) -> None:
        """Tell the gate how a plan that it let through has done."""
        served, default_ms = prepared.served, _default_ms(prepared)
        if served is None or served.choice is None or not default_ms or not latency_ms > 0.0:
            return
        try:
            self.untried.saw(scope, prepared, latency_ms, default_ms, cut=cut)
            if self._retrainer is not None and self.untried.gates.strained(scope.engine):
                self._retrainer.drifted("the bounds of the ranker break more often than they may")
        except Exception as error:
            # The rows are the caller's, whatever goes wrong here.
            log.debug("an outcome was not learned from", exc_info=True)
            self.log_once("not_learned", f"{type(error).__name__}: {error}")

    def owes_own_plan(self, prepared: Prepared) -> str | None:
        """Why the engine's own plan has its turn, once, beside the region in which a steering was proved.

        What it takes there is not known, so that a loss would not show. It is asked where a steered run took
        more than the mean (of logs) of what it and the engine's own plan took at home.
        """
        known, proof = prepared.known, prepared.verified
        if known is None or proof is None or prepared.served is None:
            return None
        if prepared.served.region in (b"", prepared.bucket) or prepared.bucket in known.baseline_ms:
            return None
        runs, best_ms = known.steered_ms.get((prepared.bucket, prepared.served.key), (0, 0.0))
        halfway_ms = proof.evidence.default_s * 1e3 * math.sqrt(max(proof.evidence.ratio, 0.0))
        if not runs or best_ms <= halfway_ms:
            return None
        return (
            f"the engine's own plan has its turn: here, beside where it was verified, the steering took "
            f"{best_ms:.3g} ms, and what its own takes is not known"
        )

    def wants_profile(self, engine: Engine, prepared: Prepared) -> bool:
        """Whether the engine's own plan is to be profiled now, to learn from it."""
        known = prepared.known
        if known is None or known.planner is None:
            return False
        if known.baseline_ms.get(prepared.bucket, 0.0) < self.policy.learn_from_ms:
            return False
        if not (engine.capabilities.profile and engine.capabilities.isolated):
            return False
        from godb_fast import lessons

        return lessons.wants_profile(known, prepared.bucket, self.spending)

    def learn_soon(self, scope: Scope, prepared: Prepared, observation: Observation) -> None:
        """As :meth:`learn`; in the background, where the policy says so, so that nobody waits for it."""
        self.spending.earn(observation.latency_ms)
        if self.policy.background:
            self.worker.submit(Task(self, lambda task: self.learn(scope, prepared, observation)))
        else:
            self.learn(scope, prepared, observation)

    def learn(self, scope: Scope, prepared: Prepared, observation: Observation) -> None:
        """Learn from an execution that took long; what comes of it is asked from the next decision on.

        Nothing is raised: the rows are the caller's, whatever goes wrong here.
        """
        begun = time.perf_counter()
        self._learn(scope, prepared, observation)
        if observation.plan is not None:
            self.spending.spend(observation.latency_ms, (time.perf_counter() - begun) * 1e3)

    def _learn(self, scope: Scope, prepared: Prepared, observation: Observation) -> None:
        self._learn_costs(scope, observation)
        known = prepared.known
        if known is None or known.planner is None:
            return
        try:
            if known.rival is None and self.policy.costs == "compare" and self._trial(scope).comparison:
                # The short way of planning knows nothing of costs on trial.
                known.route = None
                scope.forget_exact(prepared.decision.fingerprint)
            learned = self._lessons(scope)
            seen = learned.learn(known, observation, prepared.literals, prepared.params)
            if seen or (not known.corrected and learned.apply_to(known, prepared.bucket)):
                # The short way of planning knows nothing of it.
                known.corrected, known.route = True, None
                scope.forget_exact(prepared.decision.fingerprint)
            if seen:
                self.count("learned")
            learned.save()
        except StoreError as error:
            self.log_once("not_recorded", str(error))
        except Exception as error:
            log.debug("not learned", exc_info=True)
            self.log_once("not_learned", f"{type(error).__name__}: {error}")

    def learn_apart(self, scope: Scope, subject: Subject, observation: Observation) -> None:
        """As :meth:`learn`, from an execution that exploration paid for."""
        self._learn_costs(scope, observation)
        if subject.planner is None:
            return
        try:
            self._lessons(scope).learn_apart(
                subject.planner, observation, subject.literals, subject.query.params
            )
        except Exception as error:
            log.debug("not learned", exc_info=True)
            self.log_once("not_learned", f"{type(error).__name__}: {error}")

    def keep_lessons(self, scope: Scope | None) -> None:
        """Write what was learned to the store, if there is one. Nothing is raised."""
        for lessons in () if scope is None else (scope.lessons, scope.costs):
            if lessons is not None:
                try:
                    lessons.save(now=True)
                except StoreError as error:
                    self.log_once("not_recorded", str(error))
                except Exception as error:
                    # Sessions close with it: whatever is wrong with lessons, connections are given back.
                    log.debug("lessons not kept", exc_info=True)
                    self.log_once("not_recorded", f"{type(error).__name__}: {error}")
        if self._untried is not None:
            self._untried.save()
        if self._live is not None:
            self._live.save()

    def _learn_costs(self, scope: Scope, observation: Observation) -> None:
        """Learn from an execution what its operators cost, if it was measured; takes some milliseconds."""
        if observation.plan is None or observation.plan_source == "explain":
            return
        try:
            learned = self._costs(scope)
            told = learned.learn(observation) is None
            if told and self.policy.costs == "compare" and learned.try_learned():
                self.count("cost_trials")
            learned.save()
            if self._retrainer is not None and (drift := learned.drift()) is not None:
                self._retrainer.drifted(drift)
        except StoreError as error:
            self.log_once("not_recorded", str(error))
        except Exception as error:
            log.debug("costs not learned", exc_info=True)
            self.log_once("costs_not_learned", f"{type(error).__name__}: {error}")

    def _costs(self, scope: Scope) -> CostLessons:
        if scope.costs is None:
            from godb_fast.feedback.costs import CostScope
            from godb_fast.lessons import CostLessons
            from godb_fast.store import KeepsCosts

            kept = self.store.costs if isinstance(self.store, KeepsCosts) else None
            of = CostScope(scope.engine, scope.environment, platform.node())
            with scope.lock:
                scope.costs = scope.costs or self._begun(partial(CostLessons, of), kept)
        found: CostLessons = scope.costs
        return found

    def _trial(self, scope: Scope) -> CostTrial:
        return self._costs(scope).trial

    def compare_costs(self, scope: Scope, run: OnTrial, latency_ms: float) -> None:
        """Take in a run of a statement that two models of costs plan differently. Nothing is raised."""
        from godb_fast.feedback.costs import Outcome

        try:
            lessons = self._costs(scope)
            outcome = lessons.compare(run, latency_ms)
            if outcome is Outcome.OPEN:
                return
            self.count("costs_replaced" if outcome is Outcome.CANDIDATE else "costs_kept")
            log.info("learned costs: %s", lessons.trial.past[-1])
            with scope.lock:
                replaced = outcome is Outcome.CANDIDATE
                for _, known in scope.templates.values():
                    tried, known.rival = known.rival is not None, None
                    if replaced:
                        # The next decision on it has another planner made.
                        known.route = None
                    elif tried:
                        carrying.shorten(known)
                if replaced:
                    scope.exact.clear()
            lessons.save(now=True)
        except StoreError as error:
            self.log_once("not_recorded", str(error))
        except Exception as error:
            log.debug("costs not compared", exc_info=True)
            self.log_once("costs_not_compared", f"{type(error).__name__}: {error}")

    def _lessons(self, scope: Scope) -> Lessons:
        if scope.lessons is None:
            from godb_fast.lessons import Lessons
            from godb_fast.store import KeepsCorrections

            kept = self.store.corrections if isinstance(self.store, KeepsCorrections) else None
            policy = self.policy
            where = scope.engine, scope.environment, policy.learn_from_ms, policy.learn_share
            with scope.lock:
                scope.lessons = scope.lessons or self._begun(partial(Lessons, *where), kept)
        found: Lessons = scope.lessons
        return found

    def _begun(self, make: Callable[..., Any], kept: Any) -> Any:
        """What a store keeps; where that cannot be read it stays as it is, and this process begins anew."""
        try:
            return make(kept)
        except Exception as error:
            if not isinstance(error, (StoreError, InvalidInput)):
                log.debug("what was kept cannot be read", exc_info=True)
            self.log_once("not_recalled", str(error) or type(error).__name__)
            return make()

    def quarantine(
        self, scope: Scope, prepared: Prepared, reason: str, lost_s: float = 0.0, *, slow: bool = False
    ) -> None:
        """Refuse this steering from now on; ``lost_s`` is what its discarded run took.

        One that was merely slow beside the region of selectivities in which it was proved is refused in the
        region of this call alone.
        """
        from godb_fast import recall

        known, served = prepared.known, prepared.served
        if slow:
            self._turned_out(scope, prepared, lost_s * 1e3, cut=True)
        if served is not None and served.choice is not None:
            # Nothing was proved, so that nothing is to be proved anew.
            self.untried.discarded(scope, prepared, reason)
            served = None
        beside = slow and served is not None and served.region not in (b"", prepared.bucket)
        if served is not None:
            entry = recall.split(served, prepared.bucket) if beside else recall.failed(served, reason)
            kept, where = entry.to_dict(), served.database or scope.environment
            self._with_records(lambda records: records.remember(scope.engine, where, kept))
            if known is not None and beside:
                recall.serve_anew(known, served, entry)
        if known is not None:
            if not beside:
                known.quarantine[prepared.decision.steering.key] = reason
            if known.proved is not None:
                known.proved = recall.short_way(known, self.backend)
            scope.forget_exact(prepared.decision.fingerprint)
        self.lost(prepared, lost_s)
        self.count("quarantined")

    # -- the regression budget ----------------------------------------------------------------------

    def lost(self, prepared: Prepared, lost_s: float) -> None:
        """A steered run that was discarded: all of it is lost."""
        if lost_s > 0.0:
            self._charge(prepared, lost_s, lost_s)

    def over_budget(self, prepared: Prepared) -> str | None:
        """Why the query is not steered now, if that has lost too much of its time in the last day."""
        if not self.ledger.spent(query_class := class_of(prepared), now := time.time()):
            return None
        took, lost = self.ledger.standing(query_class, now)
        return (
            f"steering has lost {lost:.3g} s of the {took:.3g} s that this query took in the last day, more "
            f"than its regression budget of {self.policy.regression_budget:.0%}"
        )

    def _charge(self, prepared: Prepared, took_s: float, lost_s: float = 0.0) -> None:
        query_class, now = class_of(prepared), time.time()
        self.ledger.note(query_class, now, took_s, lost_s)
        if lost_s > 0.0:
            self._with_records(
                lambda records: records.lost(query_class, now, self.ledger.unsaved_s(query_class), lost_s)
            )


def _used(engine: str, database: str, entries: list[dict[str, Any]], records: Explorations) -> None:
    records.used(engine, database, entries)


def class_of(prepared: Prepared) -> str:
    """The class of the regression budget that a query belongs to: its fingerprint."""
    return f"{prepared.decision.fingerprint & (2**64 - 1):016x}"


def _default_ms(prepared: Prepared) -> float | None:
    """The lower bound of the default's time, in milliseconds; None if nothing is known of it."""
    if prepared.known is None:
        return None
    bound = prepared.known.baseline_ms.get(prepared.bucket)
    if prepared.verified is not None:
        # Nothing has to be seen first: it was, when this was verified.
        return max(bound or 0.0, prepared.verified.evidence.default_s * 1e3)
    if bound is None and prepared.served is not None:
        # What was chosen unverified was chosen beside a run of a region nearby.
        return prepared.served.entry.evidence.default_s * 1e3
    return bound
