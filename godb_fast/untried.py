"""Plans that nobody has run yet: chosen by a model for queries that were never explored.

It begins with a run of the engine's own plan that took long. That run is the bound that the watchdog needs,
and shows that looking for something better may pay. Then the same candidates that exploration would try are
explained, a ranker tells what each will take beside the engine's own plan, and the gate
(:mod:`godb_fast.learning.gate`) lets the best one pass if it is surely not worse. From the next call on it
serves its region of selectivities, under the watchdog, like what was proved; but it is never applied where
only what was proved may be (statements that write, drivers that cannot run a statement again).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from godb_fast import recall
from godb_fast.background import Task, Worker
from godb_fast.engines.base import Engine, HasTwins, Parameters
from godb_fast.errors import EngineError, GodbError, ModelRefused, QueryCancelled
from godb_fast.exploring.candidates import DEFAULT_ARM, Candidate, candidates
from godb_fast.exploring.memo import Evidence, MemoEntry, MemoKey
from godb_fast.exploring.subjects import LiveQuery, Subject, bucket_number
from godb_fast.knowledge import KnownTemplate, Scope, Served
from godb_fast.policy import Policy

if TYPE_CHECKING:
    from godb_fast.learning.gate import Gate

log = logging.getLogger("godb_fast")

#: What steering a statement costs beside its own run, in ms.
OVERHEAD_MS: Final = 0.2
#: Regions of a template that are looked at.
MOST_REGIONS: Final = 16


@dataclass(frozen=True)
class Slow:
    """A run of a statement under the engine's own plan that took long (or was stopped after so long)."""

    sql: str
    params: Parameters
    known: KnownTemplate
    literals: tuple[Any, ...]
    bucket: bytes
    default_ms: float


class Untried:
    """Chooses plans for statements that were slow. Thread-safe.

    Parameters
    ----------
    policy : Policy
    worker : Worker
        For the looking, where the engine can be asked on a second connection.
    models : path or None
        The user's own models; those that ship serve where there are none.
    count, log_once : callable
        Count an event by its name; log its reason once.
    """

    def __init__(
        self,
        policy: Policy,
        worker: Worker,
        models: Path | None,
        count: Callable[[str], None],
        log_once: Callable[[str, str], None],
        backend: str | None = None,
    ) -> None:
        self._policy = policy
        self._worker = worker
        self._models = models
        self._count = count
        self._log_once = log_once
        self._backend = backend
        self._gates: dict[str, Gate | None] = {}
        self._lock = threading.Lock()

    def consider(self, engine: Engine, scope: Scope, slow: Slow) -> None:
        """Look for a better plan, once per region: in the background, or now where the policy says so.

        In the background nothing is looked for on a connection that has no second one beside it: the caller
        would wait. Nothing is raised: the caller's statement is done.
        """
        known = slow.known
        apart = isinstance(engine, HasTwins) and engine.has_twins
        if (self._policy.background and not apart) or not self._may(engine, known, slow):
            return
        known.looked_for.add(slow.bucket)
        if not self._policy.background:
            self._look(engine, scope, slow)
            return

        def work(task: Task) -> None:
            twin = cast(Any, cast(HasTwins, engine).twin())
            try:
                task.interrupt = twin.interrupt
                # What only the session's connection sees (temporary tables, SET) would be planned otherwise.
                same = (twin.schema_epoch(), twin.environment()) == (scope.epoch, scope.environment)
                if same and not task.stopped:
                    self._look(twin, scope, slow)
            finally:
                task.interrupt = None
                twin.close()

        self._worker.submit(Task(engine, work))

    def _may(self, engine: Engine, known: KnownTemplate, slow: Slow) -> bool:
        if self._policy.untried == "off" or slow.default_ms < self._policy.learn_from_ms:
            return False
        if slow.bucket in known.looked_for or len(known.looked_for) >= MOST_REGIONS:
            return False
        effects = known.effects
        if not (effects.pure and (effects.steerable or effects.checkable)) or known.unprepared:
            return False
        return engine.capabilities.isolated and not (
            engine.in_transaction() and not engine.capabilities.savepoints
        )

    def _look(self, engine: Engine, scope: Scope, slow: Slow) -> None:
        try:
            gate = self.gate(engine.name)
            served = None if gate is None else self._chosen(engine, scope, slow, gate)
        except QueryCancelled:
            # By the end of the session, or of the process.
            self._count("looking_interrupted")
            return
        except EngineError as error:
            self._log_once("not_looked_for", str(error))
            return
        except Exception as error:
            log.debug("no untried plan was looked for", exc_info=True)
            self._log_once("not_looked_for", f"{type(error).__name__}: {error}")
            return
        if served is None:
            return
        known = slow.known
        with scope.lock:
            known.verified = (*known.verified, served)
            known.route = None
            known.proved = recall.short_way(known, self._backend)
            scope.forget_exact(known.template.fingerprint)
        self._count("untried")

    def gate(self, engine: str) -> Gate | None:
        """The gate of an engine's plans; None if there is no model that can be used."""
        with self._lock:
            if engine not in self._gates:
                self._gates[engine] = self._loaded(engine)
            return self._gates[engine]

    def _loaded(self, engine: str) -> Gate | None:
        from godb_fast.learning.gate import Gate
        from godb_fast.learning.models.shipped import find

        refused: list[ModelRefused] = []
        try:
            model = find(f"{engine}-ranker", self._models, refused=refused, backend=self._backend)
            gate = None if model is None else Gate(model)
        except GodbError as error:
            self._log_once("model_refused", str(error))
            return None
        for each in refused:
            self._log_once("model_refused", str(each))
        return gate

    def _chosen(self, engine: Engine, scope: Scope, slow: Slow, gate: Gate) -> Served | None:
        known = slow.known
        region = slow.bucket if known.planner is not None else b""
        query = LiveQuery("query", slow.sql, slow.params)
        subject = Subject(query, known.template, slow.literals, region, known.planner)
        found = candidates(engine, subject, feedback=known.feedback or None)
        default = found.pop(DEFAULT_ARM)
        others = [entry for entry in found.values() if self._allows(known, entry)]
        assert default.plan is not None
        choice = gate.choose(
            default.plan,
            [entry.plan for entry in others if entry.plan is not None],
            slow.default_ms,
            overhead_ms=OVERHEAD_MS,
            names=["the engine's own plan", *(entry.arm for entry in others)],
        )
        log.debug("template %016x: %s", known.template.fingerprint & (2**64 - 1), choice.reason)
        if choice.candidate == 0:
            return None
        assert choice.bound is not None
        chosen = others[choice.candidate - 1]
        ratio = math.exp(choice.log_ratio)
        entry = MemoEntry(
            MemoKey(known.template.fingerprint, bucket_number(region)),
            chosen.steering,
            scope.epoch,
            Evidence(
                pairs=0,
                ratio=ratio,
                low=0.0,
                high=math.exp(min(choice.bound.log_ratio, 700.0)),
                at_s=time.time(),
                note=chosen.arm,
                default_s=slow.default_ms / 1e3,
            ),
        )
        guarded = recall.guards_of(engine, known) if chosen.rewritten else set()
        served = recall.served_by(engine, known, entry, scope.environment, guarded)
        reason = f"not verified: {choice.reason}"
        return replace(served, reason=reason, near=recall.NEAREST, choice=choice, model=gate.model.key)

    def _allows(self, known: KnownTemplate, entry: Candidate) -> bool:
        if entry.steering.key in known.quarantine:
            return False
        return self._policy.untried == "rewrites" or not entry.rewritten

    def saw(self, engine: str, served: Served, log_ratio: float, *, cut: bool = False) -> None:
        """Learn how a choice turned out: ln(time ÷ time of the engine's own plan)."""
        gate = self.gate(engine)
        if gate is not None and served.choice is not None:
            self._count("bounds_held" if gate.observe(served.choice, log_ratio, cut=cut) else "bounds_broken")
