"""Feature vectors of slow statements, as they were when these began: what models of times are trained on.

What the machine did and what history says is noted before a statement runs; what its plan is follows from its
literals, and is put beside it when the run turns out to have been worth learning from. The machine is looked
at in the background, a server at most once in ten seconds and only after a statement that took long. History
begins with what the store holds.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray

from godb_fast.background import Task, Worker
from godb_fast.core import JoinTree, Observation, Template
from godb_fast.engines.base import Engine, TellsLoad, offers
from godb_fast.errors import EngineError, StoreError
from godb_fast.knowledge import KnownTemplate, Prepared
from godb_fast.learning.describing import StatementDescriber
from godb_fast.learning.features import FEATURES_VERSION
from godb_fast.learning.history import WorkloadHistory, place_of
from godb_fast.learning.system import SystemSampler

if TYPE_CHECKING:
    from godb_fast.store import SqliteStore

Floats = NDArray[np.float64]

#: Executions of earlier processes that history begins with.
MOST_PAST: Final = 5_000
#: Vectors that wait to be written.
MOST_WAITING: Final = 16
#: Of a template's slow executions the first so many are described, then one in so many: they are much alike.
FIRST: Final = 4
EVERY: Final = 8
#: Seconds between two looks at the machine.
SAMPLE_S: Final = 10.0
#: Describers that are kept; templates are forgotten in the order in which they came.
_MOST_DESCRIBERS: Final = 1_000

_all: weakref.WeakSet[LiveFeatures] = weakref.WeakSet()


@dataclass(frozen=True, eq=False)
class Begun:
    """What was known when a statement began."""

    known: KnownTemplate
    at: datetime
    context: tuple[Floats, Floats, Floats]


class LiveFeatures:
    """Describes statements as they run, and keeps what was worth it. Thread-safe.

    Parameters
    ----------
    store : SqliteStore
        Keeps the vectors, each beside its execution.
    worker : Worker or None
        Reads, describes, looks at the machine and writes in the background; None: at once.
    least_ms : float
        What a statement takes that is worth learning from.
    cluster_of : callable
        The cluster of a template: whose runs are its neighbours'.
    log_once : callable
        Logs a reason once.
    owner : object, optional
        Of what is done in the background: who waits for its tasks waits for these.
    """

    def __init__(
        self,
        store: SqliteStore,
        worker: Worker | None,
        least_ms: float,
        cluster_of: Callable[[Engine, Template], str | None],
        log_once: Callable[[str, str], None],
        backend: str | None = None,
        owner: object = None,
    ) -> None:
        self._cluster_of = cluster_of
        self._owner = self if owner is None else owner
        self._store = store
        self._worker = worker
        self._least_ms = least_ms
        self._log_once = log_once
        self._backend = backend
        self._system = SystemSampler(SAMPLE_S)
        self._history = WorkloadHistory()
        self._describers: dict[int, tuple[KnownTemplate, StatementDescriber]] = {}
        self._waiting: list[tuple[str, datetime, Floats]] = []
        self._running = 0
        self._looked_at = -SAMPLE_S
        #: Executions that came before history was read; None from then on.
        self._early: list[Observation] | None = []
        self.reset()
        _all.add(self)
        self.sample()
        self._later(self.read)

    def reset(self) -> None:
        """A lock that nobody holds: at first, and in the child of a fork."""
        self._lock = threading.Lock()

    def _later(self, work: Callable[[], None]) -> None:
        if self._worker is None:
            work()
        else:
            self._worker.submit(Task(self._owner, lambda task: work()))

    def read(self) -> None:
        """Read what the store knows of earlier executions. Nothing is raised."""
        past: list[Observation] = []
        try:
            past = self._store.features.past(MOST_PAST)
        except Exception as error:  # noqa: BLE001 - said; history begins without it
            self._log_once("history_not_recalled", str(error) or type(error).__name__)
        with self._lock:
            early, self._early = self._early or [], None
            begun_s = min((each.at.timestamp() for each in early), default=math.inf)
            for run in past:
                # What came meanwhile may stand in the store, too.
                if run.at.timestamp() < begun_s:
                    self._history.add(run)
            for each in early:
                self._history.add(each)

    def begin(self, prepared: Prepared, environment: Callable[[], str]) -> Begun | None:
        """Note what is known of a statement that runs now; None of one that is known to be fast.

        Parameters
        ----------
        environment : callable
            ``Engine.environment``, or what remembers it; asked where the statement may be slow.
        """
        known = prepared.known
        if known is None or known.planner is None or not known.planner.blocks:
            return None
        if known.recent_ms.get(prepared.bucket, self._least_ms) < self._least_ms:
            return None
        try:
            place = place_of(prepared.decision.engine, environment())
        except EngineError:
            # The statement itself will say what is wrong with its connection.
            return None
        now = datetime.now(UTC)
        with self._lock:
            if self._early is not None:
                # Serving would not know what history says, either.
                return None
            self._running += 1
            history, workload = self._history.features(place, known.template.fingerprint, now, known.cluster)
            system = self._system.latest.copy()
            system[-1] = max(system[-1], self._running)
        return Begun(known, now, (system, history, workload))

    def end(self, begun: Begun | None) -> None:
        """The statement has ended, however it did."""
        if begun is not None:
            with self._lock:
                self._running -= 1

    def keep(self, engine: Engine, prepared: Prepared, begun: Begun | None, observation: Observation) -> None:
        """Take in an execution, and keep the vectors of some of those that took long. Nothing is raised."""
        self.hear(observation)
        self.describe(engine, prepared, begun, observation)

    def hear(self, observation: Observation) -> None:
        """Take in an execution: it is history from now on."""
        with self._lock:
            if self._early is None:
                self._history.add(observation)
            elif len(self._early) < MOST_PAST:
                self._early.append(observation)

    def describe(
        self, engine: Engine, prepared: Prepared, begun: Begun | None, observation: Observation
    ) -> None:
        """Keep the vector of an execution that took long, as of when it began. Nothing is raised."""
        known = prepared.known
        if (
            begun is None
            or known is None
            or begun.known is not known
            or observation.latency_ms < self._least_ms
            or observation.fell_back is not None
        ):
            return
        with self._lock:
            known.described = count = known.described + 1
        if count > FIRST and count % EVERY:
            return
        try:
            if known.cluster is None:
                known.cluster = self._cluster_of(engine, known.template)
        except Exception as error:  # noqa: BLE001 - counted and logged: the caller's statement is done
            self._log_once("not_described", f"{type(error).__name__}: {error}")
            return
        # A statement of many blocks takes ten milliseconds and more.
        self._later(lambda: self._describe(prepared, known, begun, observation))
        self._look(engine)

    def _describe(
        self, prepared: Prepared, known: KnownTemplate, begun: Begun, observation: Observation
    ) -> None:
        try:
            vector = self._vector(prepared, known, begun, steered=observation.steered)
        except Exception as error:  # noqa: BLE001 - counted and logged: the caller's statement is done
            self._log_once("not_described", f"{type(error).__name__}: {error}")
            return
        if vector is None or not np.isfinite(vector).all():
            return
        with self._lock:
            self._waiting.append((observation.execution_id, begun.at, vector))
            full = len(self._waiting) >= MOST_WAITING
        if full:
            self.save()

    def _vector(
        self, prepared: Prepared, known: KnownTemplate, begun: Begun, *, steered: bool
    ) -> Floats | None:
        trees = _trees(prepared, known, steered=steered)
        describer = self._describer(known)
        return vector_of(prepared, trees, describer, begun.context, self._lock)

    def _describer(self, known: KnownTemplate) -> StatementDescriber:
        key = id(known)
        found = self._describers.get(key)
        if found is None or found[0] is not known:
            planner = known.planner or known.given_up
            assert planner is not None
            made = StatementDescriber(planner, backend=self._backend)
            with self._lock:
                self._describers[key] = found = (known, made)
                while len(self._describers) > _MOST_DESCRIBERS:
                    del self._describers[next(iter(self._describers))]
        return found[1]

    # -- the machine --------------------------------------------------------------------------------

    def _look(self, engine: Engine) -> None:
        """Have the machine looked at, and ask a server what it does, if the last time is long ago."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at < SAMPLE_S:
                return
            self._looked_at = now
        hits = running = None
        if offers(engine, TellsLoad) and not engine.in_transaction():
            try:
                hits, running = cast("TellsLoad", engine).load()
            except EngineError as error:
                self._log_once("load_not_told", str(error))
        self._later(lambda: self.sample(hits, running))

    def sample(self, hits: float | None = None, running: float | None = None) -> None:
        """Look at the machine."""
        self._system.sample(buffer_hits=hits, concurrency=running)

    # -- keeping ------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the vectors that the store does not hold yet. Nothing is raised."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        try:
            self._store.features.keep_all(FEATURES_VERSION, waiting)
        except StoreError as error:
            self._log_once("not_recorded", str(error))


def history_of(store: SqliteStore) -> WorkloadHistory:
    """What a store says of the executions that it holds.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    history = WorkloadHistory()
    for run in store.features.past(MOST_PAST):
        history.add(run)
    return history


def expected_vector(
    engine: Engine,
    prepared: Prepared,
    backend: str | None = None,
    *,
    history: WorkloadHistory | None = None,
    cluster: str | None = None,
) -> Floats | None:
    """The features of a statement under the engine's own plan, if it ran now, by itself.

    None where it has no block to plan, or that plan's orders of joins are not known.

    Parameters
    ----------
    history : WorkloadHistory, optional
        Of earlier executions; without, as if it ran for the first time.
    cluster : str, optional
        Whose executions are its neighbours'.
    """
    known = prepared.known
    if known is None or known.planner is None or not known.planner.blocks:
        return None
    describer = StatementDescriber(known.planner, backend=backend)
    told = history or WorkloadHistory()
    place = place_of(engine.name, engine.environment())
    past, workload = told.features(place, known.template.fingerprint, datetime.now(UTC), cluster)
    context = SystemSampler().sample(concurrency=1.0), past, workload
    return vector_of(prepared, _trees(prepared, known, steered=False), describer, context, nullcontext())


def vector_of(
    prepared: Prepared,
    trees: Mapping[int, JoinTree],
    describer: StatementDescriber,
    context: tuple[Floats, Floats, Floats],
    lock: AbstractContextManager[object],
) -> Floats | None:
    """The features of a statement under join trees, shape (F,); None if these are not known.

    ``lock`` is held while the describer works, whose scratch memory is its own.
    """
    known = prepared.known
    assert known is not None
    literals, params, planner = prepared.literals, prepared.params, known.planner
    if planner is None or not trees or (len(literals) != planner.slots and params is None):
        return None
    told = known.feedback.told(literals, params) if known.feedback else None
    return describer.vector(literals, params, trees, context, told, lock=lock)


def _trees(prepared: Prepared, known: KnownTemplate, *, steered: bool) -> Mapping[int, JoinTree]:
    """The join trees of the plan that ran; none where other things than their order were asked for."""
    own = known.own_plans.get(prepared.bucket)
    trees = {} if own is None else dict(own.trees)
    if not steered:
        return trees
    steering = prepared.decision.steering
    return (
        {} if steering.settings or steering.rewrites or steering.hints else trees | dict(steering.join_trees)
    )


def _after_fork() -> None:
    for each in list(_all):
        each.reset()
        # Nobody reads for the child, and nothing runs there.
        each._early, each._running = None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
