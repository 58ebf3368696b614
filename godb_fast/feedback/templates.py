"""A template's way to corrections: what its executions showed, and what that says of other literals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import Block, Observation
from godb_fast.feedback.blocks import BlockShape
from godb_fast.feedback.collector import ExecutionFeedbackCollector, SubplanRows
from godb_fast.feedback.corrections import Corrections, SubplanQuery
from godb_fast.feedback.shapes import MAX_SETS, Floats
from godb_fast.planning.binding import Parameters
from godb_fast.planning.draft import OwnPlans
from godb_fast.planning.proposal import TemplatePlanner

#: Evidence below this support for every join of a block leaves its estimates as they are.
LEAST_SUPPORT: Final = 0.1
#: The lane of :mod:`godb_fast.planning.scenarios` that assumes the worst.
_PESSIMISTIC: Final = 2


#: Row counts by block.
Shown = Mapping[int, Sequence[SubplanRows]]


class _Asked(NamedTuple):
    block: Block
    sets: NDArray[np.int64]
    query: SubplanQuery
    #: ln rows by set and lane, shape (S, K).
    log_rows: Floats


class TemplateFeedback:
    """Corrections for the blocks of one template. Make it once; safe to share between threads.

    Parameters
    ----------
    planner : TemplatePlanner
    corrections : Corrections
        Of the template's database and epoch.
    """

    def __init__(self, planner: TemplatePlanner, corrections: Corrections) -> None:
        self._planner = planner
        self._corrections = corrections
        self._collector = ExecutionFeedbackCollector(corrections)
        self._blocks: list[tuple[Any, Block, BlockShape, Floats]] = []
        for planned in planner.blocks:
            block = planner.template.blocks[planned.index]
            if not 0 < len(planned.sets) <= MAX_SETS:
                continue
            shape = BlockShape(planner.template, block, planned.sets)
            self._blocks.append((planned, block, shape, np.log(planner.table_rows(block))))

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def _asked(self, literals: Sequence[Any], params: Parameters) -> Iterator[_Asked]:
        planner = self._planner
        estimates = planner.estimates(literals, params)
        values = planner.bind(literals, params)
        for planned, block, shape, tables in self._blocks:
            rows = estimates[block.index]
            query = shape.query(values, (rows.log_rows[:, 0] - tables).tolist())
            if query is not None:
                with np.errstate(divide="ignore"):
                    log_rows = np.maximum(np.log(planned.rows(rows)), -700.0)
                yield _Asked(block, planned.sets, query, log_rows)

    def corrected(
        self, literals: Sequence[Any], params: Parameters, own: OwnPlans
    ) -> dict[int, NDArray[np.float64]]:
        """Rows by set in every scenario, shape (S, K), of the blocks of which something is known.

        Where there is evidence, the scenarios come together at what it says; where there is none, they stay
        apart as they were. The pessimistic one charges joins that nobody saw with the surprise that such
        joins were before.

        Parameters
        ----------
        literals : sequence of str
            Source texts by slot.
        own : OwnPlans
            The engine's own: its joins are not charged.
        """
        found = {}
        for block, sets, query, log_rows in self._asked(literals, params):
            corrected = self._corrections.correct(
                query, np.ascontiguousarray(log_rows[:, 0]), _joins(own.nodes.get(block.index))
            )
            joined = np.bitwise_count(sets) > 1
            if not joined.any() or corrected.support[joined].max() < LEAST_SUPPORT:
                continue
            apart = (1.0 - corrected.support)[:, None] * (log_rows - log_rows[:, :1])
            lanes = corrected.log_rows[:, None] + apart
            if lanes.shape[1] > _PESSIMISTIC:
                np.maximum(lanes[:, _PESSIMISTIC], corrected.guarded, out=lanes[:, _PESSIMISTIC])
            found[block.index] = np.exp(np.clip(lanes, 0.0, 600.0))
        return found

    def told(self, literals: Sequence[Any], params: Parameters) -> dict[int, tuple[Floats, Floats]]:
        """By how much each sub-plan of a block is corrected (ln), and how much evidence there is of it."""
        found = {}
        for block, _, query, log_rows in self._asked(literals, params):
            estimated = np.ascontiguousarray(log_rows[:, 0])
            corrected = self._corrections.correct(query, estimated)
            found[block.index] = (corrected.log_rows - estimated, corrected.support)
        return found

    def learn(self, observation: Observation, literals: Sequence[Any], params: Parameters) -> int:
        """Learn from one execution of the template; of how many sub-plans it showed the rows."""
        return self.teach(self.read(observation), literals, params)

    def read(self, observation: Observation) -> Shown:
        """What an execution showed: nothing if its rows were not counted."""
        found = {block.index: self._collector.read(observation, block) for _, block, *_ in self._blocks}
        return {block: shown for block, shown in found.items() if shown}

    def teach(self, shown: Shown, literals: Sequence[Any], params: Parameters) -> int:
        """Learn from what an execution with these literals showed; from how many counts."""
        if not shown:
            return 0
        taught = 0
        for asked in self._asked(literals, params):
            log_rows = np.ascontiguousarray(asked.log_rows[:, 0])
            taught += self._collector.teach(shown.get(asked.block.index, ()), asked.query, log_rows)
        return taught


def _joins(nodes: Any) -> tuple[int, ...]:
    """Masks of the joins of a plan; none of one that is not known."""
    if not isinstance(nodes, np.ndarray):
        return ()
    return tuple(int(mask) for mask in nodes["relations"])
