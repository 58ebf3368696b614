"""Learned coefficients as the search of join orders reads them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from godb_fast.core import CostModel
from godb_fast.planning.calibration import cost_model

#: What a row of a join costs is learned by terms; a usual row has so many units of each.
_USUAL: Final[Mapping[str, Mapping[str, float]]] = {
    "scan": {"scan_rows": 1.0, "scan_values": 2.0, "scan_conditions": 1.0},
    "build": {"build_rows": 1.0, "build_values": 2.0},
    "probe": {"probe_rows": 1.0, "probe_misses": 1.0},
    "output": {"hash_output": 1.0},
    "lookup": {"lookups": 1.0, "lookup_misses": 1.0, "lookup_rows": 1.0},
    "sort": {"sort_comparisons": 1.0 / math.log(2.0)},
}
#: Without executions that built and probed hash tables nothing is known of joins.
_NEEDED: Final = frozenset({"build_rows", "probe_rows"})
#: A coefficient is believed to within this factor of what it was before, all of them rescaled alike.
MOST_CHANGE: Final = 10.0


def join_costs(
    engine: str, coefficients: Mapping[str, tuple[float, float]], exercised: Collection[str]
) -> CostModel | None:
    """Coefficients of the join-order search, from those that executions taught.

    Work that no execution showed keeps its proportion to the rest.

    Parameters
    ----------
    engine : str
        ``Engine.name``.
    coefficients : mapping of str to (float, float)
        What ``AdaptiveCostModel.coefficients`` tells: nanoseconds a unit, and how uncertain that is.
    exercised : collection of str
        Terms that executions had work for.

    Returns
    -------
    CostModel or None
        None where nothing is known of joins.
    """
    if not _NEEDED.issubset(exercised):
        return None
    static = cost_model(engine)
    learned: dict[str, float] = {}
    for name, units in _USUAL.items():
        priced = [unit * coefficients[term][0] for term, unit in units.items() if term in exercised]
        if priced and math.isfinite(getattr(static, name)) and sum(priced) > 0.0:
            learned[name] = sum(priced)
    if not learned:
        return None
    clock = math.exp(
        statistics.median(math.log(value / getattr(static, name)) for name, value in learned.items())
    )
    usual = {name: clock * getattr(static, name) for name in _USUAL}
    values = {
        name: min(max(learned.get(name, before), before / MOST_CHANGE), before * MOST_CHANGE)
        for name, before in usual.items()
    }
    return replace(static, **values, name=f"{engine}, learned")


def apart(one: CostModel, other: CostModel) -> float:
    """By what factor two coefficients of two models differ most, clocks aside; 1 where all are alike."""
    logs = [
        math.log(getattr(one, name) / getattr(other, name))
        for name in _USUAL
        if math.isfinite(getattr(one, name)) and getattr(one, name) > 0.0 and getattr(other, name) > 0.0
    ]
    return math.exp(max(logs) - min(logs)) if logs else 1.0
