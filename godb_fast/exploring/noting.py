"""Keeps every run of an exploration with what EXPLAIN told of its plan: that is what models learn from."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from godb_fast.core.identity import random_id
from godb_fast.errors import StoreError
from godb_fast.exploring.candidates import Candidate
from godb_fast.exploring.explorer import Run
from godb_fast.exploring.subjects import Subject
from godb_fast.learning.features import PHYSICAL_VERSION
from godb_fast.store import PlanRun, TrialStore

log = logging.getLogger("godb_fast")


class NotedRuns:
    """Runs of one exploration, written now and then.

    A store that cannot be written ends the noting, and nothing else: that is said once.
    """

    def __init__(self, trials: TrialStore, engine: str, database: str) -> None:
        self._trials: TrialStore | None = trials
        self._where = engine, database
        self._exploration = random_id()
        self._runs: list[PlanRun] = []

    def tried(self, subject: Subject, candidate: Candidate | None, default: Candidate, run: Run) -> None:
        """Note a run of a candidate of a subject; one that failed tells nothing of its plan."""
        entry = default if candidate is None else candidate
        if self._trials is None or run.failed or entry.plan is None or not run.seconds > 0.0:
            return
        self._runs.append(
            PlanRun(
                *self._where,
                f"{self._exploration}:{subject.query.name}",
                subject.template.fingerprint,
                "" if entry is default else entry.steering.key,
                entry.vector,
                run.seconds,
                run.censored,
                datetime.now(UTC),
                entry.pipelines,
            )
        )

    def save(self) -> None:
        """Write what was noted since the last time."""
        if self._trials is None or not self._runs:
            return
        try:
            self._trials.keep(PHYSICAL_VERSION, self._runs)
        except StoreError as error:
            log.warning("the exploration's runs are not kept for training: %s", error)
            self._trials = None
        self._runs = []
