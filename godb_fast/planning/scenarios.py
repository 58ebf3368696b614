"""The K assumptions under which every plan is costed: names, and how a relation's rows follow from each.

Lane 0 is the best guess. The next three change the *kind* of assumption: independent filters and uniform
joins (what textbooks and most engines assume); the pessimistic one (filters fully correlated, joins at the
bound that their common values allow, one spread more rows); the optimistic one. All further lanes perturb
the best guess by log-normal factors: each filter and each join column by its own spread, so a key's join
stays where it is while a guess about ``LIKE '%x%'`` moves by a factor of four. They come in pairs of
opposite sign, are drawn from the template's fingerprint, and so are the same in every process.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core.estimates import MAX_LANES
from godb_fast.errors import InvalidInput

Floats = NDArray[np.float64]

#: Scenarios costed unless said otherwise: one more than doubles what four say about a plan's robustness,
#: and eight lanes of doubles are one cache line.
DEFAULT_SCENARIOS: Final = 8
_NAMED: Final = ("best guess", "independent", "pessimistic", "optimistic")
#: Their lanes.
BEST, INDEPENDENT, PESSIMISTIC, OPTIMISTIC = range(4)
#: Perturbations beyond this many spreads are cut off.
_FARTHEST: Final = 2.0


@dataclass(frozen=True)
class Scenarios:
    """K scenarios.

    Parameters
    ----------
    count : int
        K, 1 to 16.
    seed : int
        From the template's fingerprint.
    """

    count: int = DEFAULT_SCENARIOS
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_LANES:
            raise InvalidInput(f"{self.count} scenarios asked for; choose 1 to {MAX_LANES}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """One name per lane."""
        perturbed = tuple(f"perturbed {lane}" for lane in range(1, self.count - len(_NAMED) + 1))
        return (_NAMED + perturbed)[: self.count]

    def perturbations(self, purpose: str, count: int) -> Floats:
        """Standard normal deviates, shape (count, K); 0 in the lanes that are not perturbed."""
        deviates = np.zeros((count, self.count))
        normal = NormalDist()
        for entry in range(count):
            for lane in range(len(_NAMED), self.count):
                pair, sign = divmod(lane - len(_NAMED), 2)
                text = f"{self.seed}/{purpose}/{entry}/{pair}".encode()
                drawn = int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "little")
                deviate = normal.inv_cdf((drawn + 0.5) / 2.0**48)
                deviates[entry, lane] = min(max(deviate, -_FARTHEST), _FARTHEST) * (1 - 2 * sign)
        return deviates

    def row_weights(self, purpose: str, count: int) -> Floats:
        """Shape (count, 4, K): what turns a relation's (back-off, product, most selective alone, spread)
        logarithms into ln rows per lane."""
        weights = np.zeros((count, 4, self.count))
        source = ([0, 1, 2, 1] + [0] * self.count)[: self.count]
        for lane, row in enumerate(source):
            weights[:, row, lane] = 1.0
        weights[:, 3, :] = self.perturbations(purpose, count)
        if self.count > 2:
            weights[:, 3, 2] = 1.0
        if self.count > 3:
            weights[:, 3, 3] = -1.0
        return weights

    def spread_out(
        self,
        purpose: str,
        best: Floats,
        uniform: Floats,
        upper: Floats,
        lower: Floats,
        spread: Floats,
    ) -> Floats:
        """Logarithms per lane, shape (count, K), from vectors of length count."""
        lanes = np.repeat(best[:, None], self.count, axis=1)
        for lane, values in enumerate((best, uniform, upper, lower)[: self.count]):
            lanes[:, lane] = values
        return np.ascontiguousarray(lanes + spread[:, None] * self.perturbations(purpose, len(best)))
