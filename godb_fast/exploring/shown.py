"""What the default runs of an exploration showed of its queries' joins.

An exploration has corrections of its own, so that one that goes on in another process finds the candidates
that it had: they follow from the counts that its state keeps.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import Any

from godb_fast.core import Observation, PhysicalPlan
from godb_fast.engines.base import Engine
from godb_fast.exploring.subjects import Subject
from godb_fast.feedback import Corrections, Shown, SubplanRows, TemplateFeedback

#: Told of each execution of a default whose rows were counted.
Teaches = Callable[[Subject, Observation], None]


class ShownRows:
    """Row counts by subject, and corrections that follow from them.

    Parameters
    ----------
    subjects : sequence of Subject
    teaches : callable, optional
        Is handed every execution, too.
    engine : Engine, optional
        Where they run, of which executions tell.
    """

    def __init__(
        self, subjects: Sequence[Subject], teaches: Teaches | None = None, engine: Engine | None = None
    ) -> None:
        self._where: dict[str, Any] = {}
        if engine is not None:
            self._where = {
                "engine": engine.name,
                "engine_version": engine.version,
                "database": engine.environment(),
                "machine": platform.node(),
            }
        corrections = Corrections()
        self._subjects = subjects
        self._teaches = teaches
        self._shown: dict[int, Shown] = {}
        self._feedback = [
            None if subject.planner is None else TemplateFeedback(subject.planner, corrections)
            for subject in subjects
        ]

    def learn(self, number: int, plan: PhysicalPlan) -> None:
        """Take the plan of an executed default, with actual rows."""
        feedback, subject = self._feedback[number], self._subjects[number]
        if feedback is None:
            return
        seen = Observation(
            "",
            subject.template.fingerprint,
            "ok",
            plan.latency_ms or 0.0,
            plan=plan,
            plan_source=plan.source,
            **self._where,
        )
        if shown := feedback.read(seen):
            self._teach(number, shown)
        if self._teaches is not None:
            self._teaches(subject, seen)

    def feedback(self, number: int) -> TemplateFeedback | None:
        """What is known of a subject's template; None if it has no joins that are ours to order."""
        return self._feedback[number]

    def to_list(self) -> list[Any]:
        """Plain data: relation sets and counts."""
        return [
            [
                number,
                [[block, [[each.relations, each.rows] for each in rows]] for block, rows in shown.items()],
            ]
            for number, shown in self._shown.items()
        ]

    def restore(self, raw: list[Any]) -> None:
        """Take what :meth:`to_list` gave."""
        for number, shown in raw:
            self._teach(number, {block: [SubplanRows(*each) for each in rows] for block, rows in shown})

    def _teach(self, number: int, shown: Shown) -> None:
        feedback, subject = self._feedback[number], self._subjects[number]
        if feedback is not None:
            self._shown[number] = shown
            feedback.teach(shown, subject.literals, subject.query.params)
