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
from numpy.typing import NDArray

from godb_fast import backend as backends
from godb_fast.core import (
    NO_STEERING,
    PLAN_NODE,
    Block,
    Candidate,
    CostModel,
    JoinTree,
    RowEstimates,
    Statistics,
    Steering,
    Template,
)
from godb_fast.errors import InvalidInput
from godb_fast.planning.binding import Binder, Parameters
from godb_fast.planning.block_planner import BlockPlanner, BlockProposal, RowsBySet
from godb_fast.planning.calibration import DUCKDB
from godb_fast.planning.choice import DEFAULT_MARGIN, LEAST_GAIN, TOLERANCE, Choice, Rule
from godb_fast.planning.columns import Distributions
from godb_fast.planning.draft import Draft, OwnPlans
from godb_fast.planning.estimation import BlockEstimator, LazyValues, TemplateEstimator
from godb_fast.planning.scenarios import DEFAULT_SCENARIOS, Scenarios

#: Share of the work of all of a statement's joins that has to be saved where it has several blocks.
LEAST_SHARE: Final = 0.1


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


def _gained(blocks: Sequence[BlockProposal]) -> float:
    """Share of the work of all joins, in the best guess, that the chosen plans save.

    A block that joins a few rows of what other blocks compute may well be three times cheaper in another
    order, and the statement takes as long as before.
    """
    before = after = 0.0
    for block in blocks:
        _, costs, which, _ = block.assessment
        own = float(costs[max(which[-1], 0)][0])
        before += own
        after += own if block.choice.chosen is None else float(costs[block.choice.chosen][0])
    return 1.0 - after / before if before > 0.0 else 0.0


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
    cost_model : CostModel
        By which joins are ordered.

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
        self.distributions = distributions
        self.template = template
        self.cost_model = cost_model
        self.scenarios = lanes.names
        self.epoch = distributions.epoch
        self._tolerance, self._least_gain = tolerance, least_gain
        self._rules: dict[float, Rule] = {}
        self._backend = backend
        self.bind = Binder(template)
        self.slots = len(template.slots)
        self._estimator = TemplateEstimator(template, distributions, lanes, backend)
        self.blocks: list[BlockPlanner] = []
        self._left_alone: list[tuple[int, str]] = []
        for block in template.blocks:
            reason = self._obstacle(block)
            if reason is None:
                try:
                    planner = BlockPlanner(block, cost_model, self.scenarios, backend)
                except InvalidInput as error:
                    reason = str(error)
                else:
                    self.blocks.append(planner)
            if reason is not None:
                self._left_alone.append((block.index, reason))
        self._by_index = {block.index: block for block in self.blocks}
        #: The estimators of the blocks that a query needs, each after those that it reads.
        self.order = self._estimator.order
        for position, estimator in enumerate(self.order):
            if (planned := self._by_index.get(estimator.index)) is not None:
                planned.position = position
        #: One block that reads no other: the usual query.
        self.plain = (
            len(self.order) == 1
            and len(self.blocks) == 1
            and self.order[0].block.graph is not None
            and not (self.order[0].is_read or self.order[0].binds or self.order[0].reads)
        )
        self._pool: list[list[Any]] = []

    def priced(self, cost_model: CostModel) -> TemplatePlanner:
        """Another planner of the template, of the same statistics and other costs."""
        return TemplatePlanner(
            self.template,
            self._estimator.distributions,
            cost_model=cost_model,
            scenarios=len(self.scenarios),
            tolerance=self._tolerance,
            least_gain=self._least_gain,
            backend=self._backend,
        )

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

    def table_rows(self, block: Block) -> NDArray[np.float64]:
        """Rows of the table that each of a block's relations reads, 1 where it reads none or nobody knows."""
        rows = self._estimator.distributions.rows
        found = [None if entry.table is None else rows(entry.table) for entry in block.relations]
        return np.array([1.0 if each is None else max(each, 1.0) for each in found])

    def estimates(self, literals: Sequence[Any], params: Parameters = None) -> dict[int, RowEstimates]:
        """Row estimates per plannable block, for literals' source texts in the order of the slots."""
        if params is None and len(literals) == self.slots:
            return self._estimator.estimates_of(LazyValues(None, literals, self.bind))
        return self._estimator.estimates(self.bind(literals, params))

    def draft(self, literals: Sequence[Any], params: Parameters = None) -> Draft:
        """Estimates for new literals, in native memory that :meth:`Draft.propose` plans in.

        What :meth:`estimates` and :meth:`propose` say of the same literals, by fewer and shorter steps.
        """
        try:
            natives = self._pool.pop()
        except IndexError:
            natives = self._natives()
        return Draft(self, natives, literals, params)

    def _natives(self) -> list[Any]:
        return [self._native(block) for block in self.order]

    def route(self, owner: object, margin: float) -> Any:
        """The short way to :meth:`Draft.propose` (``kernels.routes.Route``); None if there is none."""
        if not self.plain:
            return None
        natives = self._pool.pop() if self._pool else self._natives()
        self.give_back(natives)
        if not natives[0].searches:
            return None
        return backends.kernels("routes", self._backend).Route(
            owner, self.slots, self._natives, self._pool, self.bind, self.rule(margin).numbers
        )

    def regions(self, owner: object) -> Any:
        """The short way to :attr:`Draft.bucket` (a Route); None if literals alone do not tell it natively."""
        if any(block.adds for block in self.order if block.block.graph is not None):
            return None
        if not self._pool:
            # Not while the first text waits.
            self.give_back(self._natives())
        return backends.kernels("routes", self._backend).Route(
            owner, self.slots, self._natives, self._pool, self.bind, self.rule(DEFAULT_MARGIN).numbers
        )

    def give_back(self, natives: list[Any]) -> None:
        """Memory that a draft needs no more."""
        self._pool.append(natives)

    def _native(self, block: BlockEstimator) -> Any:
        """The kernel that re-plans one block; None if the block has no graph."""
        if block.block.graph is None:
            return None
        planned = self._by_index.get(block.index)
        lanes = len(self.scenarios)
        parts = (None, None, lanes, np.zeros(6)) if planned is None else planned.kernels()
        planner, assessor, searched, model = parts
        return backends.kernels("replanning", self._backend).Replanner(
            block.filters(), planner, assessor, lanes, searched, model, block.log_distinct,
            block.log_selectivity, PLAN_NODE,
        )  # fmt: skip

    def only_own(self, own: OwnPlans) -> Any:
        """The engine's own plan of the only block, as a route takes it; None if it is not known."""
        (block,) = self.blocks
        nodes = own.nodes[block.index]
        return None if type(nodes) is Choice else nodes

    def own_plans(self, trees: Mapping[int, JoinTree]) -> OwnPlans:
        """The engine's own join trees, by block, as :meth:`Draft.propose` needs them."""
        return OwnPlans(trees, {block.index: block.compile(trees.get(block.index)) for block in self.blocks})

    def propose(
        self,
        literals: Sequence[Any],
        params: Parameters = None,
        default_trees: Mapping[int, JoinTree] | None = None,
        *,
        margin: float = DEFAULT_MARGIN,
        estimates: Mapping[int, RowEstimates] | None = None,
        corrected: Mapping[int, RowsBySet] | None = None,
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
        corrected : mapping, optional
            Rows by set, shape (S, K), of blocks whose estimates are not used.
        """
        times = {"search": 0, "recost": 0, "choice": 0}
        start = perf_counter_ns()
        if estimates is None:
            estimates = self.estimates(literals, params)
            times = {"estimates": perf_counter_ns() - start, **times}
        rule = self.rule(margin)
        own = self.own_plans(default_trees or {})
        blocks = [
            block.plan(
                (corrected or {}).get(block.index, estimates[block.index]),
                own.nodes[block.index],
                rule,
                times,
            )
            for block in self.blocks
        ]
        trees = [(block.index, tree) for block in blocks if (tree := block.tree) is not None]
        steering = Steering(join_trees=tuple(trees)) if trees else NO_STEERING
        reason, reasons = self.conclude([block.choice for block in blocks], steering)
        gained = _gained(blocks)
        if trees and len(blocks) > 1 and gained < LEAST_SHARE:
            steering = NO_STEERING
            reason = f"what is gained, {gained:.0%} of the work of all joins, is not worth steering"
            reasons = tuple((block.index, reason) for block in blocks)
        timings = {name: spent / 1e3 for name, spent in times.items()}
        return Proposal(steering, reason, reasons, timings, tuple(blocks))

    def rule(self, margin: float) -> Rule:
        """The rule of choice under a margin."""
        rule = self._rules.get(margin)
        if rule is None:
            rule = self._rules[margin] = Rule(margin, self._tolerance, self._least_gain)
        return rule

    def conclude(
        self, choices: Sequence[Choice], steering: Steering
    ) -> tuple[str, tuple[tuple[int, str], ...]]:
        """The reason and the reasons by block, from what was chosen for each planned block."""
        reasons = [(block.index, choice.reason) for block, choice in zip(self.blocks, choices, strict=True)]
        reasons.extend(self._left_alone)
        reasons.sort()
        numbers = {number for number, _ in steering.join_trees} or {block.index for block in self.blocks}
        told = [(number, text) for number, text in reasons if number in numbers] or reasons
        if len(told) == 1:
            reason = told[0][1]
        else:
            reason = "; ".join(f"block {number}: {text}" for number, text in told) or "no join to order"
        return reason, tuple(reasons)
