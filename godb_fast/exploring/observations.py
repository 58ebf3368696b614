"""What runs have told about each plan: a time, a lower bound, or nothing yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.exploring.space import Floats, PlanSpace

UNSEEN: Final = 0
MEASURED: Final = 1
CENSORED: Final = 2
REFUSED: Final = 3


@dataclass(eq=False)
class Observations:
    """Knowledge per plan; logarithms are natural, of the time over the query's default time.

    Parameters
    ----------
    kind : int8 array, (plans,)
        UNSEEN, MEASURED, CENSORED ("longer than": a run cut at its timeout) or REFUSED (failed, or lost its
        confirmation; never run again).
    log_ratio : float array, (plans,)
        The measured value, or the largest bound at which the plan was cut.
    best : int array, (queries,)
        The fastest measured plan of each query; its default's at first.
    """

    kind: NDArray[np.int8]
    log_ratio: Floats
    best: NDArray[np.int64]

    @classmethod
    def start(cls, space: PlanSpace) -> Observations:
        """Only the default plans are known, to be as fast as themselves."""
        kind = np.zeros(space.plan_count, dtype=np.int8)
        kind[space.first_plan] = MEASURED
        return cls(kind, np.zeros(space.plan_count), space.first_plan.copy())

    @property
    def best_log_ratio(self) -> Floats:
        """Log ratio of each query's fastest plan, at most 0."""
        values: Floats = self.log_ratio[self.best]
        return values

    def measured(self, query: int, plan: int, log_ratio: float) -> bool:
        """Note a complete run; whether it is the query's new best."""
        self.kind[plan] = MEASURED
        self.log_ratio[plan] = log_ratio
        if log_ratio < self.log_ratio[self.best[query]]:
            self.best[query] = plan
            return True
        return False

    def censored(self, plan: int, log_bound: float) -> None:
        """Note a run that was cut: the plan takes longer than the bound, and nothing else is known."""
        if self.kind[plan] == UNSEEN:
            self.kind[plan], self.log_ratio[plan] = CENSORED, log_bound
        elif self.kind[plan] == CENSORED:
            self.log_ratio[plan] = max(float(self.log_ratio[plan]), log_bound)

    def refuse(self, space: PlanSpace, query: int, plan: int) -> None:
        """Never run the plan again, and fall back to the query's next best one."""
        self.kind[plan] = REFUSED
        if self.best[query] == plan:
            first = int(space.first_plan[query])
            last = int(space.first_plan[query + 1]) if query + 1 < space.queries else space.plan_count
            known = [number for number in range(first, last) if self.kind[number] == MEASURED]
            self.best[query] = min(known, key=lambda number: (float(self.log_ratio[number]), number))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "kind": self.kind.tolist(),
            "log_ratio": self.log_ratio.tolist(),
            "best": self.best.tolist(),
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Observations:
        """What :meth:`to_dict` wrote."""
        return cls(
            np.array(raw["kind"], dtype=np.int8),
            np.array(raw["log_ratio"], dtype=np.float64),
            np.array(raw["best"], dtype=np.int64),
        )
