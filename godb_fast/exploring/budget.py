"""How much an exploration may spend."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from godb_fast.errors import InvalidInput

_FORM: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>x|s|m|min|h)")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """Seconds, or multiples of what one run of the workload takes under default plans.

    Exactly one of the two is given.
    """

    seconds: float | None = None
    workloads: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.seconds, self.workloads) if value is not None]
        if len(given) != 1 or not (math.isfinite(given[0]) and given[0] > 0.0):
            raise InvalidInput("a budget is a positive number of seconds, or of workload-times")

    @classmethod
    def parse(cls, text: str | float) -> Budget:
        """What ``2x``, ``300s``, ``5m`` or a number of seconds means.

        Raises
        ------
        InvalidInput
            For anything else.
        """
        if isinstance(text, (int, float)) and not isinstance(text, bool):
            return cls(seconds=float(text))
        found = _FORM.fullmatch(str(text).strip().lower())
        if found is None:
            raise InvalidInput(
                f"budget {text!r}: write 2x (twice what one run of the queries takes), 300s, 5m or 1h"
            )
        number = float(found["number"])
        if found["unit"] == "x":
            return cls(workloads=number)
        return cls(seconds=number * _SECONDS[found["unit"]])

    def seconds_for(self, workload_s: float) -> float:
        """The budget in seconds, for a workload that takes so long."""
        if self.seconds is not None:
            return self.seconds
        assert self.workloads is not None
        return self.workloads * workload_s
