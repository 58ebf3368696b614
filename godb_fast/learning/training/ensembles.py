"""Several forests whose weighted sum is the prediction, exported as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Member:
    """A forest of scikit-learn that reads ``width`` columns from ``first`` on, and its weight in the sum."""

    estimator: Any
    first: int
    width: int
    weight: float


@dataclass(frozen=True, eq=False)
class Ensemble:
    """A weighted sum of forests over one row of columns."""

    members: tuple[Member, ...]

    @property
    def trees(self) -> list[Any]:
        """All trees of scikit-learn, each once."""
        estimators = {id(member.estimator): member.estimator for member in self.members}
        return [tree.tree_ for each in estimators.values() for tree in each.estimators_.ravel()]

    def predict(self, rows: Floats) -> Floats:
        """What the members say together, shape (n,)."""
        total = np.zeros(len(rows))
        for member in self.members:
            part = rows[:, member.first : member.first + member.width]
            total += member.weight * member.estimator.predict(part)
        return total


def merged(graphs: Sequence[Any], members: Sequence[Member]) -> dict[str, Any]:
    """The attributes of one TreeEnsembleRegressor that says what the weighted sum of several says.

    Parameters
    ----------
    graphs : sequence of onnx.NodeProto
        The TreeEnsembleRegressor of each member.
    """
    from onnx.helper import get_attribute_value

    total: dict[str, Any] = {}
    base, trees = 0.0, 0
    for node, member in zip(graphs, members, strict=True):
        said = {each.name: get_attribute_value(each) for each in node.attribute}
        base += member.weight * float(sum(said.pop("base_values", [0.0])))
        said["target_weights"] = [member.weight * value for value in said["target_weights"]]
        said["nodes_featureids"] = [number + member.first for number in said["nodes_featureids"]]
        last = max(said["nodes_treeids"])
        for name in ("nodes_treeids", "target_treeids"):
            said[name] = [number + trees for number in said[name]]
        trees += last + 1
        for name, value in said.items():
            total[name] = total[name] + value if isinstance(value, list) and name in total else value
    total["base_values"] = [base]
    return total
