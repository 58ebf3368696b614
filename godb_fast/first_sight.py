"""First sights: what a template is, and how to get to know it while its first query runs.

Reading a text, asking what it uses and what its tables are like, and for the engine's own plan takes some
milliseconds for a short statement and a tenth of a second for a long one. What is expected to take longer
than :data:`FOREGROUND_MS` is done by another thread on a connection of its own: the statement runs meanwhile
under the engine's own plan, and nobody waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Final, cast

from godb_fast.background import Task, Worker
from godb_fast.core.forking import renews_locks
from godb_fast.engines.base import (
    Effects,
    Engine,
    ForeseesReading,
    HasTwins,
    SampledStatistics,
    SharesSamples,
    TunesPlanner,
)
from godb_fast.errors import GodbError, QueryCancelled
from godb_fast.knowledge import MAX_EXACT_LENGTH, MAX_TEMPLATES, KnownTemplate, Scope
from godb_fast.sql import Fingerprint, abridged, beyond_limits, parse_template

log = logging.getLogger("godb_fast")

#: What may be done in front of a statement, in ms.
FOREGROUND_MS: Final = 20.0
#: What a first sight takes for each character of a text before one was seen, in ms; by what factor each one
#: moves that, at most: single ones hold pauses of the collector and of other processes.
PER_CHARACTER_MS: Final = {"duckdb": 0.015, "postgresql": 0.03}
_STEP: Final = 1.25
#: Shorter texts take as long as these: much of it does not depend on the length.
_SHORTEST: Final = 250
#: How often a template may be left to another thread. What that does not see is looked at in front of the
#: statement from then on.
ATTEMPTS: Final = 2


def first_sight(engine: Engine, print_: Fingerprint, sql: str) -> KnownTemplate:
    """What a template is and may be; its tables are looked at later.

    Raises
    ------
    EngineError
        If the engine does not answer.
    """
    template = parse_template(print_, engine.dialect, engine.schema())
    beyond = beyond_limits(print_)
    if beyond is not None:
        return KnownTemplate(template, Effects(pure=False, reason=beyond), reason=f"left alone: {beyond}")
    effects = engine.effects(abridged(print_) if len(sql) > MAX_EXACT_LENGTH else sql)
    if not effects.pure or not effects.steerable:
        return KnownTemplate(template, effects, reason=f"left alone: {effects.reason}")
    if template.reason is not None:
        return KnownTemplate(template, effects, reason=f"left alone: {template.reason}")
    if not template.plannable:
        reasons = {block.reason for block in template.blocks if block.reason}
        why = "; ".join(sorted(reasons)) or "no join to order"
        return KnownTemplate(template, effects, reason=f"left alone: {why}")
    widest = max(block.graph.size for block in template.blocks if block.graph is not None)
    if widest > engine.capabilities.widest_join:
        why = f"a join of {widest} tables, which the engine plans for too long to be asked"
        return KnownTemplate(template, effects, reason=f"left alone: {why}")
    return KnownTemplate(template, effects, reason="not prepared yet", unprepared=True)


class FirstSights:
    """Has another thread do what would keep a statement waiting. Thread-safe.

    Parameters
    ----------
    worker : Worker
        The thread.
    count : callable
        Counts an event by its name.
    """

    def __init__(self, worker: Worker, count: Callable[[str], None]) -> None:
        self._worker = worker
        self._count = count
        self._per_character_ms = dict(PER_CHARACTER_MS)
        self._lock = threading.Lock()
        renews_locks(self)

    def expected_ms(self, engine: Engine, sql: str, *, carried: bool = False) -> float:
        """What getting to know a text is expected to take, but for what has to be sampled.

        ``carried`` says that it is known from the scope before, and only looked at again.
        """
        reading_ms = engine.reading_ms() if isinstance(engine, ForeseesReading) else 0.0
        if carried:
            return reading_ms
        return reading_ms + self._per_character_ms.get(engine.name, 0.0) * max(len(sql), _SHORTEST)

    def took(self, engine: str, sql: str, ms: float) -> None:
        """A first sight has taken so long, but for what had to be sampled."""
        seen = ms / max(len(sql), _SHORTEST)
        with self._lock:
            before = self._per_character_ms.get(engine, seen)
            self._per_character_ms[engine] = min(max(seen, before / _STEP), before * _STEP)

    def aside(
        self, engine: Engine, scope: Scope, key: Hashable, expected_ms: float, look: Callable[[Engine], Any]
    ) -> bool:
        """Whether something is left to another thread, for it would keep the statement waiting.

        Parameters
        ----------
        key : hashable
            Of what is looked at, within the scope.
        look : callable
            Does it, on the engine that it is given.
        """
        if expected_ms <= FOREGROUND_MS or not (isinstance(engine, HasTwins) and engine.has_twins):
            return False
        # Samples go by the catalogue, which is not read here.
        reads = isinstance(engine, ForeseesReading) and engine.reading_ms() > 0.0
        samples = engine.samples() if isinstance(engine, SharesSamples) and not reads else None
        task = Task(engine, self._work(engine, scope, key, samples, look))

        def begin() -> bool:
            tuned = isinstance(engine, TunesPlanner) and engine.tuned()
            return not tuned and self._worker.submit(task)

        return self.left(scope, key, task, begin)

    def left(
        self, scope: Scope, key: Hashable, task: Task, begin: Callable[[], bool], at_most: int = ATTEMPTS
    ) -> bool:
        """Whether something is looked at by somebody else, who has begun before or begins now.

        Parameters
        ----------
        begin : callable
            Has the task done; False if that cannot be.
        at_most : int
            How often it is tried.
        """
        with self._lock:
            before, attempts = scope.meetings.get(key, (None, 0))
            if before is not None and not before.ended:
                return True
            if attempts >= at_most:
                return False
            while len(scope.meetings) >= MAX_TEMPLATES:
                scope.meetings.pop(next(iter(scope.meetings)), None)
            scope.meetings[key] = task, attempts + 1
        begun = False
        try:
            begun = begin()
        finally:
            if not begun:
                scope.meetings.pop(key, None)
                task.lose()
        if not begun:
            return False
        self._count("met_in_background")
        return True

    def _work(
        self,
        engine: Engine,
        scope: Scope,
        key: Hashable,
        samples: SampledStatistics | None,
        look: Callable[[Engine], Any],
    ) -> Callable[[Task], None]:
        def work(task: Task) -> None:
            twin = cast("Any", cast("HasTwins", engine).twin())
            try:
                task.interrupt = twin.interrupt
                if task.stopped:
                    return
                if (twin.schema_epoch(), twin.environment()) != (scope.epoch, scope.environment):
                    # For good: temporary tables stay, and SET does.
                    scope.meetings[key] = task, ATTEMPTS
                    return
                begun = time.perf_counter()
                if samples is not None:
                    twin.samples().adopt(samples)
                try:
                    look(twin)
                    scope.meetings.pop(key, None)
                finally:
                    if samples is not None:
                        samples.adopt(twin.samples())
                log.debug("met in the background in %.1f ms", (time.perf_counter() - begun) * 1e3)
            except QueryCancelled:
                raise
            except GodbError as error:
                # The engine itself says what is wrong with the statement.
                log.debug("not met in the background: %s", error)
            finally:
                task.interrupt = None
                twin.close()

        return work
