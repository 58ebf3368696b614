"""One query of a known template, from its literals to what is steered to: the short way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import NO_STEERING, Candidate, JoinTree, Plan, RowEstimates, Steering
from godb_fast.planning.binding import Parameters
from godb_fast.planning.block_planner import RowsBySet
from godb_fast.planning.choice import DEFAULT_MARGIN, Choice, explained
from godb_fast.planning.estimation import LazyValues

if TYPE_CHECKING:
    from godb_fast.planning.proposal import Proposal, TemplatePlanner

#: Behind the reason of what was decided on corrected rows.
CORRECTED: Final = "; by the rows that executions showed"


@dataclass(frozen=True)
class OwnPlans:
    """The engine's own join trees, by block.

    Parameters
    ----------
    trees : mapping of int to JoinTree
    nodes : mapping of int
        Per planned block the tree as an array of nodes, or a Choice that says why there is none.
    """

    trees: Mapping[int, JoinTree]
    nodes: Mapping[int, Any]


class Draft:
    """One query of a template on its way: estimates when it is made, a proposal by :meth:`propose`.

    Short where every query passes: in a program that then runs a statement, the processor's caches hold
    nothing of ours, and a line of Python costs a microsecond.

    Attributes
    ----------
    bucket : bytes
        Region of selectivities: each relation's rows, to within a factor of four.
    steering : Steering
        After :meth:`propose`: the join trees to steer to; empty means the engine's own plan.
    """

    __slots__ = (
        "_bound", "_corrected", "_found", "_left", "_literals", "_margin", "_natives", "_own", "_params",
        "_planner",
        "bucket", "steering",
    )  # fmt: skip

    def __init__(
        self, planner: TemplatePlanner, natives: list[Any], literals: Sequence[Any], params: Parameters
    ) -> None:
        self._planner = planner
        self._natives = natives
        self._literals = literals
        self._params = params
        self._bound: list[Any] | None = None
        self._left = ""
        self._corrected: Mapping[int, RowsBySet] = {}
        texts = literals if params is None and len(literals) == planner.slots else None
        if planner.plain:
            self.bucket: bytes = natives[0].estimate(texts, self, None)
            return
        outputs: dict[int, NDArray[np.float64]] = {}
        values = LazyValues(None, texts, self.bound)
        self.bucket = b""
        for block, native in zip(planner.order, natives, strict=True):
            if native is None:
                outputs[block.index] = block.output(None, outputs)
                continue
            self.bucket += native.estimate(texts, self, block.added(outputs))
            if block.binds:
                block.bind(values, native.estimates[1])
            if block.is_read:
                outputs[block.index] = block.output(RowEstimates(*native.estimates), outputs)

    @classmethod
    def planned(cls, planner: TemplatePlanner, planned: Any, own: OwnPlans, margin: float) -> Draft:
        """What a route came to (``kernels.routes.Planned``), as if it had been drafted and proposed here."""
        draft = object.__new__(cls)
        draft._planner, draft._natives, draft._params = planner, [], None
        draft._literals, draft._bound, draft._left, draft._corrected = planned.literals, None, "", {}
        draft._own, draft._margin, draft._found = own, margin, [planned.outcome]
        draft.bucket, draft.steering = planned.bucket, NO_STEERING
        if planned.chosen >= 0:
            (block,) = planner.blocks
            tree = Plan(block.relations, planned.plan).tree()
            draft.steering = Steering(join_trees=((block.index, tree),))
        return draft

    def bound(self, literals: object = None) -> list[Any]:
        """Values by slot, for filters that cannot be judged by the literals' texts alone."""
        if self._bound is None:
            self._bound = self._planner.bind(self._literals, self._params)
        return self._bound

    def propose(
        self,
        own: OwnPlans,
        margin: float = DEFAULT_MARGIN,
        corrected: Mapping[int, RowsBySet] | None = None,
    ) -> Steering:
        """The join trees to steer to. To be called once: the memory goes back to the planner.

        ``corrected`` has the rows by set of blocks whose estimates are not used.
        """
        planner = self._planner
        self._own, self._margin, self._corrected = own, margin, corrected or {}
        rule = planner.rule(margin)
        self._found: list[Any] = []
        steered: list[tuple[int, JoinTree]] = []
        for block in planner.blocks:
            native = self._natives[block.position]
            nodes = own.nodes[block.index]
            rows = self._corrected.get(block.index)
            if type(nodes) is Choice:
                self._found.append(nodes)
            elif native.searches and rows is None:
                found = block.choose(native, nodes, rule)
                self._found.append(found)
                if found[1] >= 0:
                    steered.append((block.index, Plan(block.relations, native.plan(found[1])).tree()))
            else:
                estimates = RowEstimates(*native.estimates) if rows is None else rows
                slowly = block.plan(estimates, nodes, rule, Counter())
                self._found.append(slowly.choice)
                if slowly.tree is not None:
                    steered.append((block.index, slowly.tree))
        planner.give_back(self._natives)
        self.steering = Steering(join_trees=tuple(steered)) if steered else NO_STEERING
        if steered and len(planner.blocks) > 1:
            # Seldom, and of long statements: what all blocks cost is told by the longer way.
            whole = self._again()
            if not whole.steering:
                self._left, self.steering = whole.reason, NO_STEERING
        return self.steering

    def discard(self) -> None:
        """Give back the memory of a draft that nothing is proposed from."""
        self._planner.give_back(self._natives)

    def completed(self) -> Steering:
        """The steering with the engine's own join trees of the blocks that it leaves alone.

        For engines that take the joins of all other blocks as they are written. Nothing is steered if one of
        the engine's own trees is not known.
        """
        trees = {**self._own.trees, **dict(self.steering.join_trees)}
        for block in self._planner.template.blocks:
            joined = block.graph is not None and block.graph.size > 1 and block.role != "view"
            if joined and block.index not in trees:
                self._left = (
                    f"the joins of block {block.index} would be taken as they are written: the engine's own "
                    "order of them is not known"
                )
                self.steering = NO_STEERING
                return NO_STEERING
        named = sorted((index, tree) for index, tree in trees.items() if isinstance(tree, tuple))
        self.steering = Steering(join_trees=tuple(named))
        return self.steering

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Names, in the order of each candidate's costs."""
        return self._planner.scenarios

    def reasons(self) -> tuple[str, tuple[tuple[int, str], ...]]:
        """One sentence for all, and one per block."""
        rule = self._planner.rule(self._margin)
        if self._left:
            return self._left, tuple((block.index, self._left) for block in self._planner.blocks)
        choices = [
            found if isinstance(found, Choice) else explained(found[0], found[1], found[2], rule)
            for found in self._found
        ]
        reason, reasons = self._planner.conclude(choices, self.steering)
        return f"{reason}{CORRECTED}" if self._corrected else reason, reasons

    def candidates(self) -> tuple[Candidate, ...]:
        """Every plan considered: planned again, as hardly anybody looks."""
        return self._again().candidates

    def _again(self) -> Proposal:
        return self._planner.propose(
            self._literals, self._params, self._own.trees, margin=self._margin, corrected=self._corrected
        )
