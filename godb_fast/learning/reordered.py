"""A plan whose join order was imposed, described beside the engine's own by estimates of one source.

DuckDB estimates no filters below joins whose order it was told: the EXPLAIN of such a plan counts millions
where its own plan of the same query counts seven, and the two cannot be compared. So the joins of both are
taken by *our* estimates, and the difference is what the imposed plan has beside the engine's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import PlanOperator
from godb_fast.learning.physical import PHYSICAL_COLUMNS

Floats = NDArray[np.float64]
#: PLAN_NODE arrays by block, with rows, and costs of everything below.
Joins = Mapping[int, NDArray[Any]]

_SCALED: Final = ("built_rows", "probed_rows", "largest_rows", "hash_cost")
_COUNTED: Final = ("products", "hash_joins")
_AT: Final = {feature.name: at for at, feature in enumerate(PHYSICAL_COLUMNS)}


def reordered(own: Floats, before: Joins, after: Joins) -> Floats:
    """The vector of a plan with other join trees, shape (C,), in the order of ``PHYSICAL_COLUMNS``.

    Parameters
    ----------
    own : float64 array, shape (C,)
        Of the engine's own plan, by its EXPLAIN.
    before, after : mapping of int to PLAN_NODE array
        The join trees of the engine's own plan and of the other one, as the planner costs them; blocks that
        are not in both are taken to be alike.
    """
    known = [block for block in after if block in before]
    one, other = (_sizes([joins[block] for block in known]) for joins in (before, after))
    found: Floats = own.copy()
    for name in _SCALED:
        found[_AT[name]] = max(own[_AT[name]] + np.log1p(other[name]) - np.log1p(one[name]), 0.0)
    for name in _COUNTED:
        found[_AT[name]] = max(own[_AT[name]] + other[name] - one[name], 0.0)
    # What the joins cost more or less, beside all that the statement does otherwise.
    cost, joined = np.expm1(own[_AT["cost"]]), np.expm1(own[_AT["hash_cost"]])
    rest = max(cost - joined, 0.0)
    found[_AT["cost"]] = np.log1p(rest + np.expm1(found[_AT["hash_cost"]]))
    return found


def _sizes(blocks: list[NDArray[Any]]) -> dict[str, float]:
    total = dict.fromkeys((*_SCALED, *_COUNTED), 0.0)
    for nodes in blocks:
        rows, joins = nodes["rows"], nodes[nodes["left"] >= 0]
        products = joins["operator"] == PlanOperator.CROSS_PRODUCT
        total["probed_rows"] += float(rows[joins["left"]].sum())
        total["built_rows"] += float(rows[joins["right"]].sum())
        total["largest_rows"] = max(total["largest_rows"], float(joins["rows"].max(initial=0.0)))
        total["hash_cost"] += float(nodes["cost"][-1])
        total["products"] += float(products.sum())
        total["hash_joins"] += float((~products).sum())
    return total
