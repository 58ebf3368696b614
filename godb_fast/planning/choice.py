"""Which of a block's candidate plans to propose, if any: the rule, on a matrix of costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: A plan must be estimated this much cheaper than the engine's own in the best guess.
DEFAULT_MARGIN: Final = 1.25
#: ... and in no scenario more than this much dearer.
TOLERANCE: Final = 1.1
#: ... and save at least this much work (ns of one thread): planning, rendering and watching over a steered
#: query cost a good part of a millisecond, and a query's own fixed costs are more than that.
LEAST_GAIN: Final = 1e6


@dataclass(frozen=True)
class Rule:
    """When a candidate replaces the engine's own plan.

    Parameters
    ----------
    margin, tolerance, least_gain : float
        See the constants above.
    """

    margin: float = DEFAULT_MARGIN
    tolerance: float = TOLERANCE
    least_gain: float = LEAST_GAIN


@dataclass(frozen=True)
class Choice:
    """The chosen row of the cost matrix, or None for the engine's own plan, and why."""

    chosen: int | None
    reason: str


def robustness(row: Sequence[float], cheapest: Sequence[float]) -> float:
    """How far a plan's costs are from the ``cheapest`` plan's of each scenario; 0 is the cheapest everywhere.

    The weighted mean, over scenarios, of the logarithm of the plan's cost relative to the cheapest plan of
    that scenario: half of the weight on the best guess, the rest shared by the other scenarios. In ratios no
    scenario counts more because its rows are larger; the logarithm lets a plan that is ten times too dear in
    one scenario pay for it; the maximum instead of the mean would leave the choice to the single worst
    scenario, which the tolerance guards already.
    """
    excess = list(map(_excess, row, cheapest))
    others = len(excess) - 1
    return 0.5 * excess[0] + 0.5 * sum(excess[1:]) / others if others else excess[0]


def _excess(cost: float, best: float) -> float:
    if not cost > best:
        return 0.0
    return math.log(cost / best) if best > 0.0 else math.inf


def _ratio(cost: float, other: float) -> float:
    if cost == other:
        return 1.0
    return cost / other if other > 0.0 else math.inf


def choose(costs: Sequence[Sequence[float]], default: int, rule: Rule) -> Choice:
    """Choose among the rows of a cost matrix; ``default`` is the row of the engine's own plan."""
    own = costs[default]
    cheapest = min(row[0] for row in costs)
    if len(costs) == 1 or cheapest >= own[0]:
        return Choice(None, "the engine's own plan is the cheapest")
    if cheapest * rule.margin > own[0]:
        return Choice(
            None,
            f"no plan is estimated {rule.margin:g} times cheaper than the engine's own "
            f"(the cheapest: {_ratio(own[0], cheapest):.2f} times)",
        )
    if own[0] - cheapest < rule.least_gain:
        return Choice(None, f"the gain of {_duration(own[0] - cheapest)} is not worth steering")
    fit: list[int] = []
    worst = math.inf
    for position, row in enumerate(costs):
        if position == default or row[0] * rule.margin > own[0] or own[0] - row[0] < rule.least_gain:
            continue
        for mine, theirs in zip(row, own, strict=True):
            if mine > theirs * rule.tolerance:
                worst = min(worst, max(map(_ratio, row, own)))
                break
        else:
            fit.append(position)
    if not fit:
        return Choice(None, f"the cheaper plans are {worst:.2f} times dearer in some scenario")
    chosen = fit[0]
    if len(fit) > 1:
        # Plans within a thousandth of each other are equally robust: the cheaper best guess decides.
        best = list(map(min, *costs))
        chosen = min(fit, key=lambda one: (round(robustness(costs[one], best), 3), costs[one][0], one))
    gain = _ratio(own[0], costs[chosen][0])
    return Choice(chosen, f"estimated {gain:.2f} times cheaper, in no scenario clearly dearer")


def _duration(nanoseconds: float) -> str:
    if nanoseconds < 1e3:
        return f"{nanoseconds:.0f} ns"
    return f"{nanoseconds / 1e3:.0f} µs" if nanoseconds < 1e6 else f"{nanoseconds / 1e6:.1f} ms"
