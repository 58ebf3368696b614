"""When a steered plan that nothing has verified is stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from godb_fast.errors import InvalidInput

#: An unverified plan may take this multiple of what the default takes at least.
WATCHDOG_FACTOR: Final = 1.5


@dataclass(frozen=True)
class Allowance:
    """Whether an unverified plan may be steered to, and when it is aborted.

    Parameters
    ----------
    steer : bool
    timeout_s : float
        The plan is aborted then and the default is run; 0 where ``steer`` is false.
    worst_loss_s : float
        What an abort costs at most; to be held against the ledger before steering.
    reason : str
        Why not, where ``steer`` is false.
    """

    steer: bool
    timeout_s: float
    worst_loss_s: float
    reason: str = ""


def allowance(
    default_low_s: float | None, *, factor: float = WATCHDOG_FACTOR, budget_left_s: float = math.inf
) -> Allowance:
    """The watchdog's rule: W × the lower bound of the default's expected time; without a bound, no steering.

    Parameters
    ----------
    default_low_s : float or None
        Lower bound of the default's expected time in seconds, None where there is none.
    budget_left_s : float
        What is left of the regression budget of the query's class. An abort loses the whole timeout, since
        the default runs after it: what the budget does not cover is not risked.

    Raises
    ------
    InvalidInput
        If the factor is not positive.
    """
    if not (math.isfinite(factor) and factor > 0.0):
        raise InvalidInput(f"the watchdog's factor is {factor}; give a positive number")
    if default_low_s is None or not math.isfinite(default_low_s) or default_low_s <= 0.0:
        return Allowance(False, 0.0, 0.0, "no lower bound of the default's time is known")
    timeout = factor * default_low_s
    if timeout > budget_left_s:
        return Allowance(
            False,
            0.0,
            0.0,
            f"the class's regression budget has {budget_left_s:.3g} s left of {timeout:.3g} s",
        )
    return Allowance(True, timeout, timeout)
