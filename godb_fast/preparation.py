"""Makes the planner of a template: at once, or in the background where statistics take their time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from godb_fast.background import Task, Worker
from godb_fast.core import Statistics
from godb_fast.engines.base import Engine, HasTwins, SampledStatistics, TimedStatistics
from godb_fast.errors import MissingStatistics, QueryCancelled, StatisticsNotReady
from godb_fast.knowledge import KnownTemplate
from godb_fast.planning.calibration import cost_model, least_margin
from godb_fast.planning.proposal import TemplatePlanner

#: Seconds that the statistics of one template may take; those loaded by then are kept for the next time.
STATISTICS_LIMIT_S: Final = 10.0
#: Statistics that are sampled sooner than this are not worth a second thread; nor is a third attempt.
FOREGROUND_S: Final = 0.01
PREPARATIONS: Final = 2


class Preparer:
    """Prepares templates for planning.

    Parameters
    ----------
    margin : float
        How many times cheaper than the engine's own a plan must be estimated, at least.
    backend : str or None
        Of the kernels.
    count : callable
        Counts an event by its name.
    log_once : callable
        Counts an event and logs its reason.
    """

    def __init__(
        self,
        margin: float,
        backend: str | None,
        count: Callable[[str], None],
        log_once: Callable[[str, str], None],
    ) -> None:
        self._margin = margin
        self._backend = backend
        self._count = count
        self._log_once = log_once
        #: Prepares templates while their first queries run.
        self.worker = Worker(self._failed)

    def prepare(self, engine: Engine, known: KnownTemplate, limit_s: float | None, background: bool) -> None:
        """Make the planner of a template: now, or (``background``) later where statistics take their time."""
        task = known.preparation
        if background and task is not None and not task.ended:
            return
        statistics = engine.statistics()
        limit = STATISTICS_LIMIT_S if limit_s is None else min(limit_s, STATISTICS_LIMIT_S)
        timed: AbstractContextManager[None] = nullcontext()
        if isinstance(statistics, TimedStatistics):
            apart = background and isinstance(engine, HasTwins) and engine.has_twins
            apart = apart and known.preparations < PREPARATIONS
            timed = statistics.within(limit, FOREGROUND_S if apart else None)
        try:
            with timed:
                self._prepared(engine.name, known, statistics)
        except StatisticsNotReady as error:
            known.reason = f"being prepared, the engine's own plan runs: {error}"
            known.preparations += 1
            known.preparation = task = Task(engine, self._preparation(engine, known, statistics))
            self.worker.submit(task)
            self._count("prepared_in_background")

    def _prepared(self, engine: str, known: KnownTemplate, statistics: Statistics) -> None:
        known.margin = max(self._margin, least_margin(engine))
        try:
            known.planner = TemplatePlanner(
                known.template, statistics, cost_model=cost_model(engine), backend=self._backend
            )
        except MissingStatistics as error:
            known.reason = f"left alone: {error}"
        known.unprepared = False

    def _preparation(
        self, engine: Engine, known: KnownTemplate, statistics: Statistics
    ) -> Callable[[Task], None]:
        """Work for another thread: make the planner on a connection of its own, and share what was sampled.

        Nothing is asked of the session's connection, which may be running a statement.

        Where nothing comes of it (names that only the session's connection sees, a failure), the next
        decision prepares the template itself.
        """
        epoch = engine.schema_epoch()
        assert isinstance(engine, HasTwins)
        twins: HasTwins = engine

        def work(task: Task) -> None:
            twin = twins.twin()
            try:
                assert isinstance(twin, HasTwins)
                task.interrupt = twin.interrupt
                if task.stopped:
                    return
                if twin.schema_epoch() != epoch:
                    # For good: temporary tables stay, and USE does.
                    known.preparations = PREPARATIONS
                    return
                sampled = twin.statistics()
                assert isinstance(sampled, SampledStatistics)
                assert isinstance(statistics, SampledStatistics)
                sampled.adopt(statistics)
                try:
                    with sampled.within(STATISTICS_LIMIT_S):
                        self._prepared(engine.name, known, sampled)
                finally:
                    statistics.adopt(sampled)
            finally:
                task.interrupt = None
                twin.close()

        return work

    def _failed(self, task: Task) -> None:
        if isinstance(task.failure, QueryCancelled) or task.stopped:
            # By the end of the process, whatever the engine says while it is closed, or by a time limit: the
            # next decision prepares the template itself.
            self._count("preparation_interrupted")
            return
        self._log_once("preparation_failed", f"{type(task.failure).__name__}: {task.failure}")
