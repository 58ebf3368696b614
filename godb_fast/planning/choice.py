"""Which of a block's candidate plans to propose, if any: the rule, on costs per plan and scenario."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from godb_fast import backend as backends
from godb_fast.core.ratio import ratio_text

#: A plan must be estimated this much cheaper than the engine's own in the best guess.
DEFAULT_MARGIN: Final = 1.25
#: ... and may be this much dearer in some scenario, or as much as the best guess gains, if that is more:
#: nothing is risked beyond what is won (a plan that is the engine's own choice in one scenario is the
#: cheapest there by definition, so that asking for no loss anywhere would refuse nearly every gain) ...
TOLERANCE: Final = 1.1
#: ... but never more than this much: past it the watchdog would do the choosing.
MOST_RISK: Final = 2.0
#: ... and save at least this much work (ns of one thread): planning, rendering and watching over a steered
#: query cost a good part of a millisecond, and a query's own fixed costs are more than that.
LEAST_GAIN: Final = 1e6


@dataclass(frozen=True)
class Rule:
    """When a candidate replaces the engine's own plan.

    Parameters
    ----------
    margin, tolerance, least_gain, most_risk : float
        See the constants above.
    """

    margin: float = DEFAULT_MARGIN
    tolerance: float = TOLERANCE
    least_gain: float = LEAST_GAIN
    most_risk: float = MOST_RISK

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """As the kernel ``assessment`` reads it, shape (4,)."""
        return np.array([self.margin, self.tolerance, self.least_gain, self.most_risk])


@dataclass(frozen=True)
class Choice:
    """The chosen row of the cost matrix, or None for the engine's own plan, and why."""

    chosen: int | None
    reason: str


class Summary(NamedTuple):
    """What the rule needs to know of one plan.

    Parameters
    ----------
    cost : float
        In the best guess.
    worst : float
        The largest ratio, over all scenarios, of the plan's cost to that of the engine's own plan.
    excess : float
        How far the plan is from the cheapest one of each scenario; 0 is the cheapest everywhere. The weighted
        mean, over scenarios, of the logarithm of its cost relative to the cheapest plan of that scenario:
        half of the weight on the best guess, the rest shared by the other scenarios. In ratios no scenario
        counts more because its rows are larger; the logarithm lets a plan that is ten times too dear in one
        scenario pay for it; the maximum instead of the mean would leave the choice to the single worst
        scenario, which the tolerance guards already.
    """

    cost: float
    worst: float
    excess: float


def summarize(costs: Sequence[Sequence[float]], default: int) -> list[Summary]:
    """Summaries of the rows of a cost matrix, plans × scenarios; ``default``: the engine's own, or -1.

    The kernel ``assessment`` computes the same.
    """
    cheapest = [min(column) for column in zip(*costs, strict=True)]
    own = costs[default] if default >= 0 else None
    found = []
    for row in costs:
        excess = list(map(_excess, row, cheapest))
        others = len(excess) - 1
        mean = 0.5 * excess[0] + 0.5 * sum(excess[1:]) / others if others else excess[0]
        found.append(Summary(row[0], 1.0 if own is None else max(map(_ratio, row, own)), mean))
    return found


def _excess(cost: float, best: float) -> float:
    if not cost > best:
        return 0.0
    return math.log(cost / best) if best > 0.0 else math.inf


def _ratio(cost: float, other: float) -> float:
    if cost == other:
        return 1.0
    return cost / other if other > 0.0 else math.inf


def choose(plans: Sequence[Sequence[float]], default: int, rule: Rule, backend: str | None = None) -> Choice:
    """Choose among plans, each given as a :class:`Summary` (or a list of its three numbers).

    ``default`` is the position of the engine's own plan.
    """
    kernel = backends.kernels("assessment", backend)
    outcome = np.empty(2)
    summary = np.array(plans, np.float64)
    code = kernel.choose(len(plans), default, summary, rule.numbers, outcome)
    return explained(int(code), int(outcome[0]), float(outcome[1]), rule)


#: The engine's own plan wins outright: the most frequent outcome.
_CHEAPEST: Final = Choice(None, "the engine's own plan is the cheapest")


def explained(code: int, chosen: int, figure: float, rule: Rule) -> Choice:
    """An outcome of the kernel's ``choose`` in words."""
    if code == 0:
        return _CHEAPEST
    if code == 1:
        return Choice(
            None,
            f"no plan is estimated {rule.margin:g} times cheaper than the engine's own "
            f"(the cheapest: {ratio_text(figure)} times)",
        )
    if code == 2:
        return Choice(None, f"the gain of {_duration(figure)} is not worth steering")
    if code == 3:
        return Choice(None, f"the cheaper plans are {ratio_text(figure)} times dearer in some scenario")
    return Choice(
        chosen, f"estimated {ratio_text(figure)} times cheaper, at a smaller risk in every scenario"
    )


def _duration(nanoseconds: float) -> str:
    if nanoseconds < 1e3:
        return f"{nanoseconds:.0f} ns"
    return f"{nanoseconds / 1e3:.0f} µs" if nanoseconds < 1e6 else f"{nanoseconds / 1e6:.1f} ms"
