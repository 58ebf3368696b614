"""From predictions to a choice: rank, bound, support, overhead, and a reason.

Candidate 0 is the engine's own plan, which is what is chosen unless another one is surely not worse. Two
rules say what "surely" means:

- *strict* (no ``price_ms``): the conformal bound of the candidate lies inside the budget; - *priced*: a
candidate's worth is what it is expected to save, less its risk times a price. The risk is the level
  at which the conformal bound touches the budget: how probable it is that the query gets slower than the
  budget allows. :func:`~godb_fast.learning.pricing.safe_price` finds the price at which few enough queries
  of templates that the model has not seen would have been harmed. What promises much may thus risk more,
  and all of them together keep to the budget.

No engine, no clock, no state but the bounds that are handed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from godb_fast.core.choice import Bound, SupportVerdict
from godb_fast.errors import InvalidInput
from godb_fast.evidence.conformal import ConformalBounds
from godb_fast.learning.pricing import select

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ChoosingPolicy:
    """What a choice must keep to.

    Parameters
    ----------
    budget : float
        How many times slower than the default a query may get.
    price_ms : float or None
        What the certainty of going beyond the budget would cost; None for the strict rule.
    """

    budget: float = 1.2
    price_ms: float | None = None

    def __post_init__(self) -> None:
        price = self.price_ms
        if not (math.isfinite(self.budget) and self.budget >= 1.0):
            raise InvalidInput(f"budget {self.budget}: a ratio of at least 1")
        if price is not None and not price >= 0.0:
            raise InvalidInput(f"price {price} ms: nothing below 0")


@dataclass(frozen=True)
class Choice:
    """What was chosen among candidates, and why; its fields are those of a Decision.

    Parameters
    ----------
    candidate : int
        0 for the engine's own plan.
    reason : str
        One sentence.
    bound : Bound or None
        Of the chosen candidate, or of the one that was preferred and held back; None where none was.
    risk : float
        How probable it is that this candidate goes beyond the budget.
    saving_ms : float
        What it is expected to save, overhead subtracted.
    log_ratio : float
        Predicted ln(time ÷ default time) of the chosen candidate.
    """

    candidate: int
    reason: str
    bound: Bound | None = None
    support: SupportVerdict | None = None
    cluster: str | None = None
    risk: float = 0.0
    saving_ms: float = 0.0
    log_ratio: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "candidate": self.candidate,
            "reason": self.reason,
            "bound": None if self.bound is None else self.bound.to_dict(),
            "support": None if self.support is None else self.support.to_dict(),
            "cluster": self.cluster,
            "risk": self.risk,
            "saving_ms": self.saving_ms,
            "log_ratio": self.log_ratio,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Choice:
        """What :meth:`to_dict` wrote.

        Raises
        ------
        InvalidInput
            If it is something else.
        """
        try:
            bound, support, cluster = raw["bound"], raw["support"], raw["cluster"]
            return cls(
                int(raw["candidate"]),
                str(raw["reason"]),
                None if bound is None else Bound.from_dict(bound),
                None if support is None else SupportVerdict.from_dict(support),
                None if cluster is None else str(cluster),
                float(raw["risk"]),
                float(raw["saving_ms"]),
                float(raw["log_ratio"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"no choice: {error!r}") from error


class Chooser:
    """Chooses among candidates.

    Parameters
    ----------
    bounds : ConformalBounds
        Calibrated with scores (y - mean) / scale of the candidates that were ranked first
        (:func:`~godb_fast.learning.pricing.ranked_first`).
    """

    def __init__(self, bounds: ConformalBounds, policy: ChoosingPolicy | None = None) -> None:
        self.bounds = bounds
        self.policy = policy or ChoosingPolicy()

    def choose(
        self,
        mean: ArrayLike,
        scale: ArrayLike,
        default_ms: float,
        *,
        overhead_ms: float = 0.0,
        support: SupportVerdict | None = None,
        fingerprint: str | None = None,
        cluster: str | None = None,
        names: Sequence[str] | None = None,
    ) -> Choice:
        """Choose a candidate for one query.

        Parameters
        ----------
        mean, scale : float arrays, shape (K,)
            Predicted ln(time ÷ default time) of the candidates, and its standard deviation; entry 0 is the
            engine's own plan, whose mean is 0. A candidate with NaN is left out.
        default_ms : float
            Expected time of the engine's own plan.
        overhead_ms : float
            What steering itself costs.
        names : sequence of str, length K, optional
            How the reason calls the candidates.

        Raises
        ------
        InvalidInput
            If shapes differ or nothing is given.
        """
        means = np.asarray(mean, np.float64).reshape(-1)
        scales = np.asarray(scale, np.float64).reshape(-1)
        if means.size == 0 or means.shape != scales.shape:
            raise InvalidInput(f"{means.size} means and {scales.size} scales of candidates")
        if not (math.isfinite(default_ms) and default_ms >= 0.0):
            raise InvalidInput(f"expected default time {default_ms} ms")
        usable = np.isfinite(means) & np.isfinite(scales) & (scales > 0.0)
        usable[0] = True
        means = np.where(usable, means, math.inf)
        means[0] = 0.0
        preferred = int(means.argmin())
        if preferred == 0:
            why = "no candidate is predicted to be faster"
            if not usable.all():
                why += f" ({int((~usable).sum())} could not be predicted)"
            return Choice(0, why, support=support, cluster=cluster)
        called = names or [f"candidate {number}" for number in range(means.size)]
        risk = self._risk(means, scales, fingerprint, cluster)
        saving = np.where(np.isfinite(means), default_ms * -np.expm1(np.minimum(means, 50.0)), 0.0)
        saving[1:] -= overhead_ms

        def held_back(candidate: int, reason: str) -> Choice:
            found = self.bounds.bound(
                float(means[candidate]), float(scales[candidate]), fingerprint=fingerprint, cluster=cluster
            )
            return Choice(
                0, reason, found, support, cluster, float(risk[candidate]), float(saving[candidate])
            )

        if support is not None and not support.inside:
            return held_back(preferred, f"{called[preferred]} is not trusted: the query lies {support}")
        if saving.max() <= 0.0:
            gross = saving[preferred] + overhead_ms
            told = f"it would save {gross:.3g} ms, and steering costs {overhead_ms:.3g} ms"
            return held_back(preferred, f"{called[preferred]} is not worth it: {told}")
        price = self.policy.price_ms
        if price is None:
            allowed = self._within(means, scales, fingerprint, cluster)
            chosen = int(np.where(allowed, saving, 0.0).argmax())
        else:
            chosen = int(select(saving[None, :], risk[None, :], price)[0])
        if chosen == 0:
            best_worth = preferred
            if price is not None and math.isfinite(price):
                best_worth = int((saving - price * risk)[1:].argmax()) + 1
            reason = f"{called[best_worth]} is not surely within {self.policy.budget:.2f} ×"
            return held_back(best_worth, f"{reason}: risk {risk[best_worth]:.1%}")
        ratio = math.exp(float(means[chosen]))
        return Choice(
            chosen,
            f"{called[chosen]} is predicted to take {ratio:.2f} × the default's time, "
            f"and goes beyond {self.policy.budget:.2f} × with probability {risk[chosen]:.1%}",
            self.bounds.bound(
                float(means[chosen]), float(scales[chosen]), fingerprint=fingerprint, cluster=cluster
            ),
            support,
            cluster,
            float(risk[chosen]),
            float(saving[chosen]),
            float(means[chosen]),
        )

    def _risk(self, means: Floats, scales: Floats, fingerprint: str | None, cluster: str | None) -> Floats:
        tracker = self.bounds.scope(fingerprint, cluster)[1]
        budget = math.log(self.policy.budget)
        found = [
            tracker.risk((budget - mean) / scale) if math.isfinite(mean) else 1.0
            for mean, scale in zip(means.tolist()[1:], scales.tolist()[1:], strict=True)
        ]
        return np.array([0.0, *found])

    def _within(
        self, means: Floats, scales: Floats, fingerprint: str | None, cluster: str | None
    ) -> NDArray[np.bool_]:
        quantile = self.bounds.scope(fingerprint, cluster)[1].quantile
        inside = np.ones(len(means), np.bool_)
        inside[1:] = means[1:] + quantile * scales[1:] <= math.log(self.policy.budget)
        return inside
