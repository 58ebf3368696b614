"""What a gate found out about the plan that it let through or held back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from godb_fast.core.ratio import ratio_text


@dataclass(frozen=True)
class Bound:
    """An upper bound on ln(time under the plan ÷ time under the engine's own).

    Parameters
    ----------
    log_ratio : float
        The bound; infinite where nothing can be promised.
    level : float
        How often such bounds hold.
    scope : str
        Whose outcomes calibrated it: ``fingerprint``, ``cluster``, ``global`` or ``none``.
    points : int
        How many outcomes.
    """

    log_ratio: float
    level: float
    scope: str
    points: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, which knows no infinity."""
        finite = math.isfinite(self.log_ratio)
        return {
            "log_ratio": self.log_ratio if finite else None,
            "level": self.level,
            "scope": self.scope,
            "points": self.points,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Bound:
        """What :meth:`to_dict` wrote."""
        told = raw["log_ratio"]
        ratio = math.inf if told is None else float(told)
        return cls(ratio, float(raw["level"]), str(raw["scope"]), int(raw["points"]))

    def __str__(self) -> str:
        if not math.isfinite(self.log_ratio):
            return f"no bound at {self.level:.0%} ({self.points} outcomes)"
        ratio = math.exp(min(self.log_ratio, 700.0))
        return f"at most {ratio_text(ratio)} × at {self.level:.0%} ({self.scope}, {self.points} outcomes)"


@dataclass(frozen=True)
class SupportVerdict:
    """Whether a query lies where the training data lie.

    ``distance`` is that to the nearest training templates, ``allowed`` how far the training data's own
    queries lie from each other's templates.
    """

    inside: bool
    distance: float
    allowed: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, which knows no infinity."""
        return {
            "inside": self.inside,
            "distance": self.distance if math.isfinite(self.distance) else None,
            "allowed": self.allowed if math.isfinite(self.allowed) else None,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> SupportVerdict:
        """What :meth:`to_dict` wrote."""
        distance, allowed = (
            math.inf if raw[name] is None else float(raw[name]) for name in ("distance", "allowed")
        )
        return cls(bool(raw["inside"]), distance, allowed)

    def __str__(self) -> str:
        side = "inside" if self.inside else "outside"
        return f"{side} of what was learned from (distance {self.distance:.2f}, allowed {self.allowed:.2f})"
