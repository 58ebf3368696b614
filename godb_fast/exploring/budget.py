"""How much an exploration may spend."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from godb_fast.errors import InvalidInput

#: Without a budget of the caller: so many workload-times, at least so many seconds, and at least so many
#: workload-times beyond what went by before: of short queries, running each to see what it takes (twice, and
#: profiled), reading it and planning others costs more than twice as much as the queries do.
DEFAULT_WORKLOADS: Final = 2.0
DEFAULT_LEAST_S: Final = 30.0
DEFAULT_LEFT: Final = 1.0

_FORM: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>x|s|m|min|h)")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """Seconds, or multiples of what one run of the workload takes under default plans.

    Exactly one of the two is given. ``least_s`` are seconds that workload-times come to at least, ``left``
    the workload-times that they leave at least once the engine's own plans have run.
    """

    seconds: float | None = None
    workloads: float | None = None
    least_s: float = 0.0
    left: float = 0.0

    def __post_init__(self) -> None:
        given = [value for value in (self.seconds, self.workloads) if value is not None]
        if len(given) != 1 or not (math.isfinite(given[0]) and given[0] > 0.0):
            raise InvalidInput("a budget is a positive number of seconds, or of workload-times")
        for least in (self.least_s, self.left):
            if not (math.isfinite(least) and least >= 0.0):
                raise InvalidInput(f"the least of a budget is {least}; give a number of at least 0")

    @classmethod
    def parse(cls, text: str | float | None) -> Budget:
        """What ``2x``, ``300s``, ``5m`` or a number of seconds means; None is ``2x``, but at least 30 s,
        and ``1x`` beyond what was spent before.

        Raises
        ------
        InvalidInput
            For anything else.
        """
        if text is None:
            return cls(workloads=DEFAULT_WORKLOADS, least_s=DEFAULT_LEAST_S, left=DEFAULT_LEFT)
        if isinstance(text, (int, float)) and not isinstance(text, bool):
            try:
                return cls(seconds=float(text))
            except OverflowError:
                raise InvalidInput("budget is larger than any number that can be reckoned with") from None
        found = _FORM.fullmatch(str(text).strip().lower())
        if found is None:
            raise InvalidInput(
                f"budget {text!r}: write 2x (twice what one run of the queries takes), 300s, 5m or 1h"
            )
        number = float(found["number"])
        if found["unit"] == "x":
            return cls(workloads=number)
        return cls(seconds=number * _SECONDS[found["unit"]])

    def seconds_for(self, workload_s: float, before_s: float = 0.0) -> float:
        """The budget in seconds, for a workload that takes so long, and took so long to be looked at."""
        if self.seconds is not None:
            return self.seconds
        assert self.workloads is not None
        least = before_s + self.left * workload_s if self.left else 0.0
        return max(self.workloads * workload_s, self.least_s, least)

    def raised(self, workload_s: float, before_s: float = 0.0) -> str | None:
        """What a workload was given beyond its multiple, in words; None if nothing."""
        given = self.seconds_for(workload_s, before_s)
        if self.workloads is None or given <= self.workloads * workload_s:
            return None
        return (
            f"no budget was given: {given:.3g} s, as {self.workloads:g}x, here "
            f"{self.workloads * workload_s:.2g} s, would hardly leave time to try anything"
        )
