"""What an Optimizer has not tried: plans that nobody has run, and models that nobody has trained yet."""

from __future__ import annotations

import hashlib
import logging
import threading
from typing import TYPE_CHECKING

from godb_fast.core.forking import renews_locks
from godb_fast.engines.base import Engine
from godb_fast.knowledge import Prepared, Scope, explored_near
from godb_fast.policy import Policy
from godb_fast.sql import fingerprint

if TYPE_CHECKING:
    from godb_fast.background import Worker
    from godb_fast.core import Template
    from godb_fast.learning.retraining import Retrainer
    from godb_fast.live_features import LiveFeatures
    from godb_fast.store import Store
    from godb_fast.untried import Untried

log = logging.getLogger("godb_fast")


class Trying:
    """The part of an :class:`~godb_fast.optimizer.Optimizer` that models choose for, and that trains them."""

    #: Does what may wait, in the background.
    worker: Worker

    def __init__(self, policy: Policy, store: Store | None, backend: str | None) -> None:
        self.policy = policy
        self.backend = backend
        self.store = store
        self._lock = threading.Lock()
        renews_locks(self)
        self._logged: set[str] = set()
        self._counters: dict[str, int] = {}
        self._untried: Untried | None = None
        self._live: LiveFeatures | None = None
        self._retrainer = self._retraining() if self.policy.retrains else None

    # -- what nobody has tried ----------------------------------------------------------------------

    def in_rollout(self, fingerprint_: int) -> bool:
        """Whether a template is among the share that may be steered."""
        if self.policy.rollout >= 1.0:
            return True
        digest = hashlib.blake2b(fingerprint_.to_bytes(8, "little", signed=True), digest_size=4).digest()
        return int.from_bytes(digest, "little") / 2**32 < self.policy.rollout

    def consider(
        self,
        engine: Engine,
        scope: Scope | None,
        prepared: Prepared,
        sql: str,
        latency_ms: float,
        *,
        cut: bool = False,
        steered: bool = False,
        here: bool = False,
    ) -> None:
        """Look for a plan that nobody has run, after a run of the engine's own that took long.

        Also after one of a plan that a model chose (``steered``), where a newer model is there to ask.
        ``cut`` says that the run was stopped, ``here`` that nobody waits for this connection. Nothing is
        raised.
        """
        try:
            self._consider(engine, scope, prepared, sql, latency_ms, cut=cut, steered=steered, here=here)
        except Exception as error:
            log.debug("no untried plan was looked for", exc_info=True)
            self.log_once("not_looked_for", f"{type(error).__name__}: {error}")

    def _consider(
        self,
        engine: Engine,
        scope: Scope | None,
        prepared: Prepared,
        sql: str,
        latency_ms: float,
        *,
        cut: bool,
        steered: bool,
        here: bool,
    ) -> None:
        known = prepared.known
        if scope is None or known is None or self.policy.untried == "off":
            return
        if prepared.decision.steering:
            served = prepared.served
            if served is None or served.choice is None:
                return
            if steered:
                if not self.untried.outdated(engine.name, known, served):
                    return
                latency_ms = served.entry.evidence.default_s * 1e3
        if latency_ms < self.policy.learn_from_ms:
            return
        if not self.in_rollout(prepared.decision.fingerprint) or explored_near(known, prepared.bucket):
            return
        if cut and prepared.bucket not in known.baseline_ms:
            # It takes longer than that: as good a bound for the watchdog.
            known.baseline_ms[prepared.bucket] = latency_ms
        from godb_fast.untried import Slow

        literals = prepared.literals
        if not literals and known.template.slots:
            literals = fingerprint(sql, engine.dialect, backend=self.backend).literals
        slow = Slow(sql, prepared.params, known, literals, prepared.bucket, latency_ms, cut)
        self.untried.consider(engine, scope, slow, here=here)

    @property
    def untried(self) -> Untried:
        """Chooses among plans that nobody has run."""
        if self._untried is None:
            from godb_fast.store import SqliteStore
            from godb_fast.untried import Untried

            store = self.store if isinstance(self.store, SqliteStore) else None
            made = Untried(self.policy, self.worker, store, self.count, self.log_once, self.backend)
            with self._lock:
                self._untried = self._untried or made
        return self._untried

    @property
    def live(self) -> LiveFeatures | None:
        """Describes statements as they run, for training; None without a store that keeps that."""
        if self._live is None and self.store is not None:
            self._live = self._describing()
        return self._live

    def _describing(self) -> LiveFeatures | None:
        from godb_fast.live_features import LiveFeatures
        from godb_fast.store import SqliteStore

        if not isinstance(self.store, SqliteStore):
            return None
        worker = self.worker if self.policy.background else None
        least_ms = self.policy.learn_from_ms
        made = LiveFeatures(
            self.store, worker, least_ms, self._cluster, self.log_once, self.backend, owner=self
        )
        with self._lock:
            return self._live or made

    def _cluster(self, engine: Engine, template: Template) -> str | None:
        return self.untried.gates.cluster(engine.name, engine.environment(), template)

    def _chosen(self, scope: Scope) -> frozenset[str]:
        """Templates for which models chose here, in whatever process."""
        from godb_fast.store import KeepsChoices

        store: object = self.store
        if self.policy.untried == "off" or not isinstance(store, KeepsChoices):
            return frozenset()
        if self._untried is not None:
            self._untried.save()
        return store.choices.templates(scope.engine, scope.environment)

    # -- training in the background -----------------------------------------------------------------

    def _retraining(self) -> Retrainer | None:
        from godb_fast.learning.retraining import Retrainer, why_not
        from godb_fast.store import SqliteStore

        missing = why_not() if isinstance(self.store, SqliteStore) else "it learns from a store in a file"
        if missing is not None:
            self.log_once("not_retrained", missing)
            return None
        assert isinstance(self.store, SqliteStore)
        return Retrainer(self.store, every=self.policy.retrain_every, say=self._trained)

    def _trained(self, what: str, why: str) -> None:
        """Something became of a training."""
        if what != "model_promoted":
            self.log_once(what, why)
            return
        self.count(what)
        if self._untried is not None:
            self._untried.refresh()

    def recorded(self, executions: int = 1) -> None:
        """So much was recorded in the store: models may be due for training, or for comparison."""
        retrainer = self._retrainer
        if retrainer is not None and retrainer.noted(executions):
            from godb_fast.background import Task

            self.worker.submit(Task(retrainer, lambda task: retrainer.look()))

    # -- counters -----------------------------------------------------------------------------------

    def count(self, what: str) -> None:
        """Count an event."""
        with self._lock:
            self._counters[what] = self._counters.get(what, 0) + 1

    def log_once(self, what: str, reason: str, of: int | None = None) -> None:
        """Count a fallback and log its reason, each reason once; of each statement, where that is told.

        Parameters
        ----------
        of : int, optional
            The statement's fingerprint.
        """
        self.count(what)
        if of is not None:
            reason = f"statement {of & (2**64 - 1):016x}: {reason}"
        with self._lock:
            first = (key := f"{what}:{reason}") not in self._logged
            if first and len(self._logged) < 10_000:
                self._logged.add(key)
        if first:
            # Programs that configure no logging print it bare: it is to say who speaks.
            log.warning("godb_fast: %s: %s", what.replace("_", " "), reason)
