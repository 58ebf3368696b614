"""Our plans: post-order arrays of joins and scans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from godb_fast.core.steering import JoinTree


class PlanOperator(IntEnum):
    """Operators of a plan node."""

    SCAN = 0
    HASH_JOIN = 1
    INDEX_JOIN = 2
    MERGE_JOIN = 3
    CROSS_PRODUCT = 4


#: One node. ``left`` and ``right`` are positions of earlier nodes (-1 for a scan); ``relation`` is a scan's
#: relation number (-1 for a join); ``relations`` the mask of all relations below (0 beyond 62 relations);
#: ``cost`` includes everything below. The right input is the build side.
PLAN_NODE: Final = np.dtype(
    [
        ("operator", np.int32),
        ("relation", np.int32),
        ("left", np.int32),
        ("right", np.int32),
        ("relations", np.int64),
        ("rows", np.float64),
        ("cost", np.float64),
    ]
)


@dataclass(frozen=True, eq=False)
class Plan:
    """A plan of one block: its nodes in post-order, the root last.

    Parameters
    ----------
    relations : tuple of str
        Names of the block's relations.
    nodes : structured array of PLAN_NODE, shape (2n - 1,)
        A row of the 2-D array that all candidates of a block share.
    """

    relations: tuple[str, ...]
    nodes: NDArray[Any]
    algorithm: str = ""

    @property
    def cost(self) -> float:
        """Estimated cost of the whole plan, in the cost model's unit."""
        return float(self.nodes[-1]["cost"]) if len(self.nodes) else 0.0

    @property
    def rows(self) -> float:
        """Estimated rows of the result."""
        return float(self.nodes[-1]["rows"]) if len(self.nodes) else 0.0

    def tree(self) -> JoinTree:
        """The join tree: a relation number, or a pair (left, right) of trees, right being the build side."""
        built: list[JoinTree] = []
        for operator, relation, left, right in zip(
            self.nodes["operator"].tolist(),
            self.nodes["relation"].tolist(),
            self.nodes["left"].tolist(),
            self.nodes["right"].tolist(),
            strict=True,
        ):
            built.append(relation if operator == PlanOperator.SCAN else (built[left], built[right]))
        return built[-1]

    def draw(self) -> str:
        """The plan as an indented tree, one node a line."""
        return "\n".join(self._lines(len(self.nodes) - 1, "", ""))

    def _lines(self, position: int, head: str, tail: str) -> Iterator[str]:
        # An explicit stack: plans of a thousand relations may be a thousand deep.
        stack = [(position, head, tail)]
        while stack:
            position, head, tail = stack.pop()
            node = self.nodes[position]
            operator = PlanOperator(int(node["operator"]))
            label = (
                self.relations[int(node["relation"])]
                if operator is PlanOperator.SCAN
                else operator.name.lower().replace("_", " ")
            )
            yield f"{head}{label}  rows {float(node['rows']):,.0f}  cost {float(node['cost']):,.0f}"
            if operator is not PlanOperator.SCAN:
                stack.append((int(node["right"]), tail + "└─ ", tail + "   "))
                stack.append((int(node["left"]), tail + "├─ ", tail + "│  "))
