"""Search, assessment and choice for one block, and what they propose."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import Block, Candidate, CostModel, JoinTree, Plan, RowEstimates
from godb_fast.errors import InvalidInput
from godb_fast.planning.assessing import Assessment, Assessor
from godb_fast.planning.choice import Choice, Rule, choose
from godb_fast.planning.search import Planner

#: csg-cmp pairs times scenarios that one search may take, a millisecond or two: past it fewer scenarios are
#: searched. (A query of so many joins that this matters runs for longer than that.)
SEARCHED_PAIRS: Final = 400_000
RowsBySet = NDArray[np.float64]
#: The engine's own plan cannot be told for a block.
UNKNOWN_ORDER: Final = Choice(None, "the engine's own join order of this block is not known")


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


class BlockPlanner:
    """Search, assessment and choice for one block; shared by threads."""

    def __init__(
        self, block: Block, cost_model: CostModel, scenarios: tuple[str, ...], backend: str | None
    ) -> None:
        assert block.graph is not None
        self.index = block.index
        self.position = 0
        self.relations = block.graph.relations
        self._scenarios = scenarios
        self._cost_model = cost_model
        self._backend = backend
        self._planner = Planner(block.graph, backend=backend)
        # Every plan is costed in every scenario; only those of the first ones are looked for in large graphs.
        lanes = len(scenarios)
        self._searched = lanes
        if self._planner.pairs * lanes > SEARCHED_PAIRS:
            self._searched = max(min(lanes, SEARCHED_PAIRS // self._planner.pairs), 1)
        self._assessor = Assessor(self._planner, cost_model, backend)

    def compile(self, tree: JoinTree | None) -> Any:
        """The engine's own join tree as an array of nodes; a Choice that says why, if that cannot be."""
        if tree is None:
            return UNKNOWN_ORDER
        try:
            return self._planner.compile(tree)
        except InvalidInput as error:
            return Choice(None, f"the engine's own join tree does not fit: {error}")

    def choose(self, native: Any, own: Any, rule: Rule) -> tuple[int, int, float]:
        """What the re-planning kernel chooses."""
        if self._planner.backend == "cython":
            found: tuple[int, int, float] = native.choose(own, rule.numbers)
            return found
        # NumPy's scalars warn where C is silent: of infinite rows.
        with np.errstate(all="ignore"):
            found = native.choose(own, rule.numbers)
        return found

    def kernels(self) -> tuple[Any, Any, int, Any]:
        """Planner (None: a large graph) and assessor for one thread, lanes to search, coefficients."""
        assessor = self._assessor.kernel()
        planner = None if assessor is None else self._planner.lend()
        return planner, assessor, self._searched, self._cost_model.coefficients()

    @property
    def sets(self) -> NDArray[np.int64]:
        """The relation sets whose rows may be corrected, as masks; none of a graph that is too large."""
        return self._planner.sets

    def rows(self, estimates: RowEstimates) -> RowsBySet:
        """Rows of each of :attr:`sets`, shape (S, K)."""
        return self._planner.rows(estimates)

    def plan(
        self, estimates: RowEstimates | RowsBySet, own: Any, rule: Rule, times: dict[str, int]
    ) -> BlockProposal:
        """Candidates and choice; ``own`` comes from :meth:`compile`. Nanoseconds are added to ``times``."""
        start = perf_counter_ns()
        found = self._planner.search(_first_lanes(estimates, self._searched), self._cost_model)
        searched = perf_counter_ns()
        unknown = isinstance(own, Choice)
        assessment = self._assessor.assess(found, None if unknown else own, estimates)
        assessed = perf_counter_ns()
        if unknown:
            choice = own
        else:
            choice = choose(assessment.summaries, assessment.which[-1], rule, self._backend)
        times["search"] += searched - start
        times["recost"] += assessed - searched
        times["choice"] += perf_counter_ns() - assessed
        return BlockProposal(
            self.index, self.relations, self._scenarios, self._planner.algorithm, assessment, choice
        )


def _first_lanes(estimates: RowEstimates | RowsBySet, lanes: int) -> RowEstimates | RowsBySet:
    if not isinstance(estimates, RowEstimates):
        return np.ascontiguousarray(estimates[:, :lanes])
    if lanes == estimates.lanes:
        return estimates
    return RowEstimates(
        np.ascontiguousarray(estimates.log_rows[:, :lanes]),
        np.ascontiguousarray(estimates.log_distinct[:, :lanes]),
        np.ascontiguousarray(estimates.log_selectivity[:, :lanes]),
    )
