"""What a session records of its runs: an Observation of each, for the store and for what learns from it."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, Final

from godb_fast.core import Decision, Observation
from godb_fast.engines.base import Engine, EngineResult, Parameters
from godb_fast.errors import GodbError
from godb_fast.knowledge import OnTrial, Prepared
from godb_fast.optimizer import Optimizer, pass_through
from godb_fast.result import Result
from godb_fast.sql import fingerprint
from godb_fast.steered import Steerer

if TYPE_CHECKING:
    from godb_fast.live_features import Begun, LiveFeatures

_MACHINE: Final = platform.node()


class Recorder(Steerer):
    """The part of a :class:`~godb_fast.session.Session` that makes runs known. Callers hold ``_lock``."""

    def __init__(self, optimizer: Optimizer, engine: Engine) -> None:
        super().__init__(optimizer, engine)
        self._live: LiveFeatures | None = None

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
        more["database"] = self._environment()
        more["machine"] = _MACHINE
        if prepared.known is not None:
            more["cluster"] = prepared.known.cluster
        return Observation.noted(more)

    def _finish(
        self,
        prepared: Prepared,
        mode: str,
        result: EngineResult,
        begun: Begun | None = None,
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
            obeyed=(known.has_obeyed(prepared.bucket, key) or None)
            if known is not None and key is not None
            else None,
            plan=result.plan,
            plan_source=result.plan.source if result.plan is not None else None,
            memory_bytes=result.memory_bytes,
        )
        if mode != "off":
            self._record(prepared, observation)
            refused = fell_back is not None and wasted_ms == 0.0
            if type(prepared) is OnTrial and self._scope is not None and not refused:
                self.optimizer.compare_costs(self._scope, prepared, result.latency_ms + wasted_ms)
            if self._live is not None and prepared.known is not None:
                self._live.keep(self.engine, prepared, begun, observation)
            if result.latency_ms >= self.optimizer.policy.learn_from_ms and self._scope is not None:
                self.optimizer.learn_soon(self._scope, prepared, observation)
        return Result(result, prepared.decision if mode in ("advise", "steer") else None, observation)

    def _record(self, prepared: Prepared, observation: Observation) -> None:
        store = self.optimizer.store
        if store is not None:
            known = prepared.known
            text = prepared.text if known is None else known.template.text
            store.record(prepared.decision, observation, text)
            self.optimizer.recorded()
