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


def robust_order(costs: Sequence[Sequence[float]]) -> list[int]:
    """Rows of a cost matrix (plans × scenarios), most robust first.

    A plan's score is the weighted mean, over scenarios, of the logarithm of its cost relative to the
    cheapest plan of that scenario: half of the weight on the best guess, the rest shared by the other
    scenarios. In ratios no scenario counts more because its rows are larger; the logarithm lets a plan that
    is ten times too dear in one scenario pay for it; the maximum instead of the mean would leave the choice
    to the single worst scenario, which the tolerance guards already. Equal scores: the cheaper best guess.
    """
    lanes = len(costs[0])
    best = [max(min(column), 1e-300) for column in zip(*costs, strict=True)]
    weight = 0.5 / (lanes - 1) if lanes > 1 else 0.0
    first = 0.5 if lanes > 1 else 1.0
    scores = []
    for position, row in enumerate(costs):
        total = first * _excess(row[0], best[0])
        if weight:
            total += weight * sum(map(_excess, row[1:], best[1:]))
        # Plans within a thousandth of each other are equal.
        scores.append((round(total, 3), row[0], position))
    scores.sort()
    return [position for _, _, position in scores]


def _excess(cost: float, best: float) -> float:
    return math.log(cost / best) if cost > best else 0.0


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
    failed = ""
    for position in robust_order(costs):
        if position == default:
            continue
        row = costs[position]
        if row[0] * rule.margin > own[0] or own[0] - row[0] < rule.least_gain:
            failed = failed or "the cheaper plans are not the robust ones"
            continue
        if any(mine > theirs * rule.tolerance for mine, theirs in zip(row, own, strict=True)):
            worst = max(map(_ratio, row, own))
            failed = f"the cheaper plan is {worst:.2f} times dearer in one scenario"
            continue
        gain = _ratio(own[0], row[0])
        return Choice(position, f"estimated {gain:.2f} times cheaper, in no scenario clearly dearer")
    return Choice(None, failed)


def _duration(nanoseconds: float) -> str:
    if nanoseconds < 1e3:
        return f"{nanoseconds:.0f} ns"
    return f"{nanoseconds / 1e3:.0f} µs" if nanoseconds < 1e6 else f"{nanoseconds / 1e6:.1f} ms"
