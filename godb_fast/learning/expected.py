"""How long a plan will take, from quantile models: a median, and an interval that held on unseen templates.

The interval is conformalized: each of the outer models is moved by the quantile of its own errors on
templates that were held out in training (its card has them), so that as many runs lie within it as it says
(Romano, Patterson and Candès, "Conformalized quantile regression", NeurIPS 2019, each side by itself). Where
they cross they are put in order (Chernozhukov, Fernández-Val and Galichon, "Quantile and probability curves
without crossing", Econometrica 2010).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import ModelRefused
from godb_fast.learning.features import FEATURES
from godb_fast.learning.models import Model, shipped

Floats = NDArray[np.float64]

#: No statement takes longer than e to this many milliseconds.
_MOST: float = 50.0


@dataclass(frozen=True)
class ExpectedTime:
    """What a statement is expected to take, in ms.

    Parameters
    ----------
    ms : float
        The median.
    low_ms, high_ms : float
        Between these lie eight of ten runs of statements of templates that the models never saw.
    models : tuple of str
        Who says so.
    """

    ms: float
    low_ms: float
    high_ms: float
    models: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.ms:.3g} ms, eight of ten between {self.low_ms:.3g} and {self.high_ms:.3g} ms "
            f"({', '.join(self.models)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"ms": self.ms, "low_ms": self.low_ms, "high_ms": self.high_ms, "models": list(self.models)}


class QuantileHeads:
    """The models of the 10, 50 and 90 % quantile of an engine's latencies."""

    def __init__(self, low: Model, median: Model, high: Model) -> None:
        self._heads = low, median, high

    @classmethod
    def find(
        cls,
        engine: str,
        folder: str | os.PathLike[str] | None = None,
        *,
        refused: list[ModelRefused] | None = None,
    ) -> QuantileHeads | None:
        """The user's own three of a folder, else the three that ship; None if one of them is missing.

        Heads of two trainings are never mixed: a median of other data may lie beyond both bounds.
        """
        for place in (folder, shipped.SHIPPED):
            heads = None if place is None else cls._of(place, engine, refused)
            if heads is not None:
                return heads
        return None

    @classmethod
    def _of(
        cls, place: str | os.PathLike[str], engine: str, refused: list[ModelRefused] | None
    ) -> QuantileHeads | None:
        names = [feature.name for feature in FEATURES]
        found = [Model.newest(place, f"{engine}-{head}", refused=refused) for head in ("p10", "p50", "p90")]
        sound = [
            each
            for each in found
            if each is not None and each.card.kind == "quantile" and list(each.card.columns) == names
        ]
        return cls(*sound) if len(sound) == len(found) else None

    def expect(self, vector: Floats) -> ExpectedTime:
        """What a statement takes whose features these are, shape (F,)."""
        low, median, high = (float(head.predict(vector[None, :])[0]) for head in self._heads)
        low += self._heads[0].card.calibration.get("p10", 0.0)
        high += self._heads[2].card.calibration.get("p90", 0.0)
        # Models that were fitted apart may cross: put in order they are nearer to the quantiles than before.
        low_ms, ms, high_ms = (math.exp(min(value, _MOST)) for value in sorted((low, median, high)))
        return ExpectedTime(ms, low_ms, high_ms, tuple(head.key for head in self._heads))
