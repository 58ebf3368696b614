"""From literals to candidate plans and a proposal, for one template under one statistics epoch.

Per block: estimates in K scenarios → the cheapest plan of each scenario → every distinct plan, and the
engine's own, costed in every scenario → the rule of :mod:`godb_fast.planning.choice`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter_ns
from typing import Any, Final

import numpy as np

from godb_fast.core import (
    NO_STEERING,
    Block,
    Candidate,
    CostModel,
    JoinTree,
    Plan,
    RowEstimates,
    Statistics,
    Steering,
    Template,
)
from godb_fast.errors import InvalidInput
from godb_fast.planning.assessing import Assessment, Assessor
from godb_fast.planning.binding import Binder, Parameters
from godb_fast.planning.calibration import DUCKDB
from godb_fast.planning.choice import DEFAULT_MARGIN, LEAST_GAIN, TOLERANCE, Choice, Rule, choose
from godb_fast.planning.columns import Distributions
from godb_fast.planning.estimation import LazyValues, TemplateEstimator
from godb_fast.planning.scenarios import DEFAULT_SCENARIOS, Scenarios
from godb_fast.planning.search import Planner

#: csg-cmp pairs times scenarios that one search may take, a millisecond or two: past it fewer scenarios are
#: searched. (A query of so many joins that this matters runs for longer than that.)
SEARCHED_PAIRS: Final = 400_000


@dataclass(frozen=True, eq=False)
class Proposal:
    """What planning one statement came to.

    Parameters
    ----------
    steering : Steering
        Join trees of the blocks to steer; empty means the engine's own plan.
    reason : str
        One sentence.
    block_reasons : tuple of (int, str)
        Per block, why it is steered or left alone.
    timings_us : mapping of str to float
        ``estimates``, ``search``, ``recost`` and ``choice``.
    """

    steering: Steering
    reason: str
    block_reasons: tuple[tuple[int, str], ...]
    timings_us: Mapping[str, float] = field(default_factory=dict)
    blocks: tuple[BlockProposal, ...] = field(default=(), repr=False)

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every plan considered, with one cost per scenario; the engine's own is named ``default``.

        Made when first asked for: a tenth of what planning costs.
        """
        return tuple(candidate for block in self.blocks for candidate in block.candidates())


@dataclass(frozen=True, eq=False)
class BlockProposal:
    """Candidates of one block, and which of them was chosen."""

    index: int
    relations: tuple[str, ...]
    scenarios: tuple[str, ...]
    algorithm: str
    assessment: Assessment
    choice: Choice

    @property
    def tree(self) -> JoinTree | None:
        """The join tree to steer to, None for the engine's own plan."""
        if self.choice.chosen is None:
            return None
        return Plan(self.relations, self.assessment.plans[self.choice.chosen]).tree()

    def candidates(self) -> list[Candidate]:
        """One candidate per distinct plan."""
        plans, costs, which, _ = self.assessment
        return [
            Candidate(
                name,
                self.index,
                Plan(self.relations, plans[number], "default" if number == which[-1] else self.algorithm),
                tuple(cost),
                number == self.choice.chosen,
            )
            for number, (name, cost) in enumerate(zip(self._names(), costs.tolist(), strict=True))
        ]

    def _names(self) -> list[str]:
        """Plans are named after the scenarios in which they are the cheapest; the engine's is ``default``."""
        *lanes, own = self.assessment.which
        names = [""] * len(self.assessment.plans)
        if lanes.count(0) == len(self.scenarios) > 1:
            names[0] = "all scenarios"
        else:
            for scenario, number in zip(self.scenarios, lanes, strict=False):
                names[number] = f"{names[number]}, {scenario}" if names[number] else scenario
        if own >= 0:
            names[own] = f"default = {names[own]}" if names[own] else "default"
        return names


class TemplatePlanner:
    """Proposes plans for the queries of one template. Thread-safe.

    Parameters
    ----------
    template : Template
    statistics : Statistics or Distributions
        Of the engine; columns are loaded here, once. Another epoch needs another planner.
    cost_model : CostModel
        In nanoseconds, so that gains can be compared with our own overhead.
    scenarios : int
        How many (K).
    tolerance, least_gain : float
        See :class:`~godb_fast.planning.choice.Rule`.
    backend : str or None
        Of the kernels.

    Attributes
    ----------
    scenarios : tuple of str
        Names, in the order of each candidate's costs.
    epoch : str
        Of the statistics.

    Raises
    ------
    InvalidInput
        If the statistics hold absurd numbers.
    """

    def __init__(
        self,
        template: Template,
        statistics: Statistics | Distributions,
        *,
        cost_model: CostModel = DUCKDB,
        scenarios: int = DEFAULT_SCENARIOS,
        tolerance: float = TOLERANCE,
        least_gain: float = LEAST_GAIN,
        backend: str | None = None,
    ) -> None:
        lanes = Scenarios(scenarios, template.fingerprint)
        distributions = statistics if isinstance(statistics, Distributions) else Distributions(statistics)
        self.template = template
        self.scenarios = lanes.names
        self.epoch = distributions.epoch
        self._tolerance, self._least_gain = tolerance, least_gain
        self._bind = Binder(template)
        self._estimator = TemplateEstimator(template, distributions, lanes, backend)
        self._blocks: list[_BlockPlanner] = []
        self._left_alone: list[tuple[int, str]] = []
        for block in template.blocks:
            reason = self._obstacle(block)
            if reason is None:
                try:
                    planner = _BlockPlanner(block, cost_model, self.scenarios, backend)
                except InvalidInput as error:
                    reason = str(error)
                else:
                    self._blocks.append(planner)
            if reason is not None:
                self._left_alone.append((block.index, reason))

    def _obstacle(self, block: Block) -> str | None:
        """Why a block is never steered; None if it may be."""
        if block.reason is not None:
            return block.reason
        if block.graph is None or block.graph.size < 2:
            return "no join to order"
        if block.role == "view":
            # A view's text is not ours to rewrite; its block serves the estimates of its reader.
            return "the joins of a view keep the engine's order"
        missing = self._estimator.missing(block.index)
        return f"no statistics for table {', '.join(map(repr, missing))}" if missing else None

    def estimates(self, literals: Sequence[Any], params: Parameters = None) -> dict[int, RowEstimates]:
        """Row estimates per plannable block, for literals' source texts in the order of the slots."""
        if params is None and len(literals) == len(self.template.slots):
            return self._estimator.estimates_of(LazyValues(None, literals, self._bind))
        return self._estimator.estimates(self._bind(literals, params))

    def propose(
        self,
        literals: Sequence[Any],
        params: Parameters = None,
        default_trees: Mapping[int, JoinTree] | None = None,
        *,
        margin: float = DEFAULT_MARGIN,
        estimates: Mapping[int, RowEstimates] | None = None,
    ) -> Proposal:
        """Candidate plans of each block, and which to steer to.

        Parameters
        ----------
        default_trees : mapping of int to JoinTree, optional
            The engine's own join tree, by block; a block whose tree is not known is left alone.
        margin : float
            How many times cheaper than the engine's own a plan must be estimated.
        estimates : mapping, optional
            What :meth:`estimates` returned for these literals, if that was asked before.
        """
        times = {"search": 0, "recost": 0, "choice": 0}
        start = perf_counter_ns()
        if estimates is None:
            estimates = self.estimates(literals, params)
            times = {"estimates": perf_counter_ns() - start, **times}
        rule = Rule(margin, self._tolerance, self._least_gain)
        trees = default_trees or {}
        steered: list[tuple[int, JoinTree]] = []
        blocks: list[BlockProposal] = []
        reasons: list[tuple[int, str]] = []
        for block in self._blocks:
            found = block.plan(estimates[block.index], trees.get(block.index), rule, times)
            blocks.append(found)
            reasons.append((block.index, found.choice.reason))
            tree = found.tree
            if tree is not None:
                steered.append((block.index, tree))
        reasons.extend(self._left_alone)
        reasons.sort()
        if steered:
            steering = Steering(join_trees=tuple(steered))
            numbers = {number for number, _ in steered}
        else:
            steering = NO_STEERING
            numbers = {block.index for block in self._blocks}
        told = [(number, text) for number, text in reasons if number in numbers] or reasons
        if len(told) == 1:
            reason = told[0][1]
        else:
            reason = "; ".join(f"block {number}: {text}" for number, text in told) or "no join to order"
        timings = {name: spent / 1e3 for name, spent in times.items()}
        return Proposal(steering, reason, tuple(reasons), timings, tuple(blocks))


def _first_lanes(estimates: RowEstimates, lanes: int) -> RowEstimates:
    if lanes == estimates.lanes:
        return estimates
    return RowEstimates(
        np.ascontiguousarray(estimates.log_rows[:, :lanes]),
        np.ascontiguousarray(estimates.log_distinct[:, :lanes]),
        np.ascontiguousarray(estimates.log_selectivity[:, :lanes]),
    )


class _BlockPlanner:
    """Search, assessment and choice for one block; shared by threads."""

    def __init__(
        self, block: Block, cost_model: CostModel, scenarios: tuple[str, ...], backend: str | None
    ) -> None:
        assert block.graph is not None
        self.index = block.index
        self._relations = block.graph.relations
        self._scenarios = scenarios
        self._cost_model = cost_model
        self._planner = Planner(block.graph, backend=backend)
        # Every plan is costed in every scenario; only those of the first ones are looked for in large graphs.
        lanes = len(scenarios)
        self._searched = lanes
        if self._planner.pairs * lanes > SEARCHED_PAIRS:
            self._searched = max(min(lanes, SEARCHED_PAIRS // self._planner.pairs), 1)
        self._assessor = Assessor(self._planner, cost_model, backend)

    def plan(
        self, estimates: RowEstimates, default: JoinTree | None, rule: Rule, times: dict[str, int]
    ) -> BlockProposal:
        """Candidates and choice; nanoseconds are added to ``times``."""
        start = perf_counter_ns()
        found = self._planner.search(_first_lanes(estimates, self._searched), self._cost_model)
        searched = perf_counter_ns()
        own, reason = None, "the engine's own join order of this block is not known"
        if default is not None:
            try:
                own = self._planner.compile(default)
            except InvalidInput as error:
                reason = f"the engine's own join tree does not fit: {error}"
        assessment = self._assessor.assess(found, own, estimates)
        assessed = perf_counter_ns()
        position = assessment.which[-1]
        if position >= 0:
            choice = choose(assessment.summaries, position, rule)
        else:
            choice = Choice(None, reason)
        times["search"] += searched - start
        times["recost"] += assessed - searched
        times["choice"] += perf_counter_ns() - assessed
        return BlockProposal(
            self.index, self._relations, self._scenarios, self._planner.algorithm, assessment, choice
        )
