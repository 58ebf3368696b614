"""Runs of plans that live statements show, for training: the engine's own plan beside one that was chosen."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from godb_fast.core.forking import renews_locks
from godb_fast.engines.base import Parameters
from godb_fast.knowledge import KnownTemplate, Scope
from godb_fast.learning.features import PHYSICAL_VERSION
from godb_fast.store import PlanRun, TrialStore

Floats = NDArray[np.float64]

#: Runs of one choice that are kept.
MOST_RUNS: Final = 3
#: Choices of which the plan is remembered; the oldest are forgotten first.
_MOST_PLANS: Final = 4_096


class Described(NamedTuple):
    """A plan as models read it: as a whole, and its pipelines where these are told."""

    vector: Floats
    pipelines: Floats | None


_NOTHING: Final = Described(np.zeros(0), None)


class LiveRuns:
    """Notes runs, and writes them when asked to. Thread-safe."""

    def __init__(self) -> None:
        #: Per choice of this process the query that it was made for, its plan, and its runs so far.
        self._plans: dict[tuple[int, bytes, str], tuple[str, Described, int]] = {}
        self._runs: list[PlanRun] = []
        self._lock = threading.Lock()
        renews_locks(self)

    def default(
        self, scope: Scope, known: KnownTemplate, query: str, plan: Described, ms: float, *, cut: bool
    ) -> None:
        """A run of the engine's own plan."""
        if ms > 0.0:
            run = _run(scope, known, query, "", plan, ms, cut)
            with self._lock:
                self._runs.append(run)

    def chose(self, known: KnownTemplate, region: bytes, steering: str, query: str, plan: Described) -> None:
        """A plan was chosen for a region, for this query: its runs are worth keeping."""
        with self._lock:
            self._plans[known.template.fingerprint, region, steering] = query, plan, 0
            while len(self._plans) > _MOST_PLANS:
                del self._plans[next(iter(self._plans))]

    def ran(
        self,
        scope: Scope,
        known: KnownTemplate,
        region: bytes,
        steering: str,
        query: str,
        ms: float,
        *,
        cut: bool,
    ) -> None:
        """A run of a plan that was chosen; kept, if it is of the query for which it was."""
        key = known.template.fingerprint, region, steering
        with self._lock:
            told, plan, runs = self._plans.get(key, ("", _NOTHING, MOST_RUNS))
            if told == query and runs < MOST_RUNS and ms > 0.0:
                self._plans[key] = told, plan, runs + 1
                self._runs.append(_run(scope, known, query, steering, plan, ms, cut))

    def save(self, trials: TrialStore) -> None:
        """Write what was noted since the last time; what cannot be written is dropped.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        with self._lock:
            runs, self._runs = self._runs, []
        trials.keep(PHYSICAL_VERSION, runs)


def query_of(known: KnownTemplate, literals: tuple[Any, ...], params: Parameters) -> str:
    """The same for all runs of a query with these literals, over these data; says nothing of them."""
    uses = known.dependencies
    basis = None if uses is None else (uses.digest, uses.analyzed)
    told = repr((known.template.fingerprint, literals, params, basis)).encode()
    return f"live:{hashlib.blake2b(told, digest_size=12).hexdigest()}"


def _run(
    scope: Scope,
    known: KnownTemplate,
    query: str,
    steering: str,
    plan: Described,
    ms: float,
    cut: bool,
) -> PlanRun:
    fingerprint, now = known.template.fingerprint, datetime.now(UTC)
    where = scope.engine, scope.environment
    return PlanRun(*where, query, fingerprint, steering, plan.vector, ms / 1e3, cut, now, plan.pipelines)
