"""Random numbers that are the same on every platform and with every version of numpy.

Only the raw words of PCG64, whose stream numpy guarantees, and arithmetic that IEEE 754 rounds correctly
(no exp, log or power: their last bits differ between libraries).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Source:
    """A stream of random numbers with a name; streams of different names are independent."""

    def __init__(self, seed: int, name: str) -> None:
        digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest, "little"))

    def uniform(self, count: int) -> Floats:
        """float64 in [0, 1), with 53 random bits."""
        words = np.asarray(self._bits.random_raw(count), dtype=np.uint64)
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, limit: int, count: int) -> Ints:
        """Integers 0 to limit - 1."""
        return (self.uniform(count) * limit).astype(np.int64)

    def chance(self, share: float | Floats, count: int) -> NDArray[np.bool_]:
        """True with probability ``share``."""
        hit: NDArray[np.bool_] = self.uniform(count) < share
        return hit

    def permutation(self, count: int) -> Ints:
        """The numbers 0 to count - 1 in random order."""
        order: Ints = np.argsort(self.uniform(count), kind="stable").astype(np.int64)
        return order

    def ranks(self, weights: Floats, count: int) -> Ints:
        """Positions drawn in proportion to weights."""
        cumulative = np.cumsum(weights)
        drawn = np.searchsorted(cumulative, self.uniform(count) * cumulative[-1], side="right")
        positions: Ints = np.minimum(drawn, len(weights) - 1).astype(np.int64)
        return positions

    def zipf(self, size: int, count: int, *, flat: float = 0.0) -> Ints:
        """Ranks 0 to size - 1 with Zipf–Mandelbrot weights 1 / (rank + 1 + flat)."""
        return self.ranks(1.0 / (np.arange(size, dtype=np.float64) + 1.0 + flat), count)

    def waiting(self, count: int, longest: int) -> Ints:
        """Whole numbers 0 to longest - 1 that thin out fast: the product of three uniforms."""
        product = self.uniform(count) * self.uniform(count) * self.uniform(count)
        return (product * longest).astype(np.int64)
