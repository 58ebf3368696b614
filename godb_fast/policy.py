"""What an Optimizer may do."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from numbers import Real
from typing import Final

from godb_fast.errors import InvalidInput, shown

MODES: Final = ("off", "observe", "advise", "steer")
UNTRIED: Final = ("off", "plans", "rewrites")
RETRAIN: Final = ("off", "on")
COSTS: Final = ("static", "compare")


@dataclass(frozen=True)
class Policy:
    """What an Optimizer may do.

    Parameters
    ----------
    mode : str
        ``off`` (pass everything through), ``observe`` (record only), ``advise`` (plan and say, do not
        steer; the default) or ``steer``.
    margin : float
        A plan is proposed only if its estimated cost times this is below the default plan's.
    allowance : float
        A steered run is stopped at this many times the lower bound of the default's time.
    allowance_floor_ms : float
        Never stopped before this: below it timer noise decides.
    regression_budget : float
        Share of a query's time in the last day that steering may lose; while it has lost more, the query is
        not steered. ``inf`` sets no limit.
    rollout : float
        Share of the templates, 0 to 1, that may be steered; a template is always in or always out.
    max_buffered_rows : int
        A steered result waits in memory until it is complete; past this many rows the default runs.
    untried : str
        Which plans that no run has verified may serve queries whose own plan took at least ``learn_from_ms``:
        ``off`` (none), ``plans`` (other settings and join orders, which cannot change an answer; the default)
        or ``rewrites`` (other words as well, whose answers are equal by proof and were not compared). A model
        chooses them; without one there are none.
    patience : float
        Such a plan is looked for once the statement has taken so many times what looking takes (some 50 ms on
        DuckDB, a few 100 ms on PostgreSQL): looking costs at most one part in so many of its time. 0: after
        its first slow run.
    learn_from_ms : float
        Executions of queries whose own plan takes at least so many milliseconds teach the optimizer: some of
        them are profiled, where the engine can, and what they show corrects the estimates of such queries.
        ``inf`` learns nothing.
    learn_share : float
        Share of these executions' time that profiling some of them, and learning from it, may take; as much
        again of a query's time may go to asking what was learned of it. ``inf`` sets no limit.
    costs : str
        What joins are ordered by: ``static`` (the coefficients that were measured for each engine; the
        default), or ``compare``: where executions teach other ones, slow statements that the two plan
        differently take the plan of one of them by lot, and what is found to run faster serves from then on.
    background : bool
        ``execute()`` runs the engine's own plan at once while the statistics of a new template are sampled
        on a second connection, where that takes more than a few milliseconds. Off, it waits for them.
    retrain : str, optional
        ``on`` lets a process of low priority train models anew from what the store holds, at most once an
        hour; ``off`` never. None (the default) is what ``GODB_FAST_RETRAIN`` says, else ``off``.
    retrain_every : int
        Train after so many new executions and runs of plans, and when drift was seen.
    """

    mode: str = "advise"
    margin: float = 1.25
    allowance: float = 1.5
    allowance_floor_ms: float = 25.0
    regression_budget: float = 0.05
    rollout: float = 1.0
    max_buffered_rows: int = 2_000_000
    untried: str = "plans"
    patience: float = 20.0
    learn_from_ms: float = 50.0
    learn_share: float = 0.01
    costs: str = "static"
    background: bool = True
    retrain: str | None = None
    retrain_every: int = 1_000

    def __post_init__(self) -> None:
        check_mode(self.mode)
        if self.untried not in UNTRIED:
            raise InvalidInput(f"untried is {self.untried!r}; it is one of {', '.join(UNTRIED)}")
        if self.costs not in COSTS:
            raise InvalidInput(f"costs is {self.costs!r}; it is one of {', '.join(COSTS)}")
        if self.retrain is not None and self.retrain not in RETRAIN:
            raise InvalidInput(f"retrain is {self.retrain!r}; it is one of {', '.join(RETRAIN)}, or None")
        aside: object = self.background
        if not isinstance(aside, bool):
            raise InvalidInput(f"background is {shown(aside)}; it is True or False")
        every: object = self.retrain_every
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise InvalidInput(f"retrain_every is {every!r}; give a whole number of at least 1")
        for name in (
            "margin",
            "allowance",
            "allowance_floor_ms",
            "regression_budget",
            "rollout",
            "patience",
            "learn_from_ms",
            "learn_share",
        ):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise InvalidInput(f"{name} is {value!r}; give a number")
            try:
                float(value)
            except OverflowError:
                raise InvalidInput(f"{name} is larger than any number that can be reckoned with") from None
        if not (math.isfinite(self.margin) and math.isfinite(self.allowance)):
            raise InvalidInput(f"margin {self.margin} and allowance {self.allowance} must be finite")
        if not (math.isfinite(self.allowance_floor_ms) and self.allowance_floor_ms >= 0.0):
            raise InvalidInput(
                f"allowance_floor_ms is {self.allowance_floor_ms}; give milliseconds of at least 0"
            )
        most: object = self.max_buffered_rows
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            raise InvalidInput(f"max_buffered_rows is {most!r}; give a whole number of at least 0")
        if not self.margin >= 1.0 or not self.allowance >= 1.0:
            raise InvalidInput(f"margin {self.margin} and allowance {self.allowance} must be at least 1")
        if not self.regression_budget >= 0.0:
            raise InvalidInput(f"regression budget {self.regression_budget} is not a share of at least 0")
        if not self.patience >= 0.0:
            raise InvalidInput(f"patience is {self.patience}; give a number of at least 0")
        if not self.learn_share >= 0.0:
            raise InvalidInput(f"learn_share is {self.learn_share}; give a share of at least 0")
        if not self.learn_from_ms >= 0.0:
            raise InvalidInput(f"learn_from_ms is {self.learn_from_ms}; give milliseconds of at least 0")
        if not 0.0 <= self.rollout <= 1.0:
            raise InvalidInput(f"rollout {self.rollout} is not a share between 0 and 1")

    @property
    def retrains(self) -> bool:
        """Whether models are trained anew in the background.

        Raises
        ------
        InvalidInput
            If that is left to ``GODB_FAST_RETRAIN``, which says neither on nor off.
        """
        named = self.retrain or os.environ.get("GODB_FAST_RETRAIN", "").strip().lower() or "off"
        if named not in RETRAIN:
            raise InvalidInput(f"GODB_FAST_RETRAIN is {named!r}; it is one of {', '.join(RETRAIN)}")
        return named == "on"


def check_mode(mode: str) -> str:
    """The mode itself, or InvalidInput naming the four there are."""
    if mode not in MODES:
        raise InvalidInput(f"unknown mode {mode!r}; choose one of {', '.join(MODES)}")
    return mode
