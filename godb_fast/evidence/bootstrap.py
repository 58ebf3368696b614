"""The ratio of total times of two arms, with a bootstrap interval over queries, then repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from godb_fast.core.ratio import ratio_text
from godb_fast.errors import InvalidInput

Floats = NDArray[np.float64]

#: Resampled numbers held at a time, so that memory stays bounded whatever the number of queries.
_CHUNK: Final = 2_000_000


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that covers it at ``level`` confidence."""

    estimate: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{ratio_text(self.estimate, 3)} ({ratio_text(self.low, 3)} to {ratio_text(self.high, 3)})"


@dataclass(frozen=True, eq=False)
class PairedRuns:
    """Times of two arms over the same queries; round i of a query ran both arms one after the other.

    Parameters
    ----------
    treatment, baseline : sequence of float arrays
        One array of times per query; both arms have as many rounds of a query. All positive and finite:
        a run that was cut off is no measurement and does not belong here.
    """

    treatment: tuple[Floats, ...]
    baseline: tuple[Floats, ...]

    @classmethod
    def of(cls, treatment: Sequence[ArrayLike], baseline: Sequence[ArrayLike]) -> PairedRuns:
        """Checked runs.

        Raises
        ------
        InvalidInput
            If the arms differ in queries or rounds, a query has no round, or a time is not positive.
        """
        if len(treatment) != len(baseline):
            raise InvalidInput(f"{len(treatment)} queries in one arm, {len(baseline)} in the other")
        arms: list[tuple[Floats, ...]] = []
        for arm in (treatment, baseline):
            rows = tuple(np.asarray(values, dtype=np.float64).reshape(-1) for values in arm)
            for number, row in enumerate(rows):
                if row.size == 0:
                    raise InvalidInput(f"query {number} has no measured round")
                if not (np.isfinite(row) & (row > 0)).all():
                    raise InvalidInput(f"query {number} has a time that is not a positive number: {row}")
            arms.append(rows)
        for number, (left, right) in enumerate(zip(*arms, strict=True)):
            if left.size != right.size:
                raise InvalidInput(f"query {number} has {left.size} and {right.size} rounds in its two arms")
        return cls(*arms)

    def __len__(self) -> int:
        return len(self.baseline)

    @cached_property
    def medians(self) -> tuple[Floats, Floats]:
        """Median time per query: treatment, baseline."""
        return (
            np.array([np.median(row) for row in self.treatment]),
            np.array([np.median(row) for row in self.baseline]),
        )

    @property
    def ratios(self) -> Floats:
        """Per query: median of the treatment over median of the baseline."""
        treatment, baseline = self.medians
        ratios: Floats = treatment / baseline
        return ratios


def ratio_of_sums(runs: PairedRuns, *, draws: int = 2000, level: float = 0.95, seed: int = 0) -> Interval:
    """R: the treatment's total time over the baseline's, each query counted by its median round.

    The interval is a percentile bootstrap in two stages (Davison and Hinkley 1997, section 3.8): queries
    are drawn with replacement, then rounds within each drawn query. Rounds are drawn in pairs, since the
    two runs of a round met the same state of the machine.

    Raises
    ------
    InvalidInput
        If there are no queries.
    """
    if not len(runs):
        raise InvalidInput("a ratio needs at least one query")
    treatment, baseline = runs.medians
    estimate = float(treatment.sum() / baseline.sum())
    count = len(runs)
    rounds = np.array([row.size for row in runs.baseline])
    widest = int(rounds.max())
    padded = np.full((2, count, widest), np.nan)
    for arm, rows in enumerate((runs.treatment, runs.baseline)):
        for number, row in enumerate(rows):
            padded[arm, number, : row.size] = row
    generator = np.random.Generator(np.random.PCG64(seed))
    ratios = np.empty(draws)
    step = max(1, _CHUNK // (count * widest))
    for start in range(0, draws, step):
        batch = min(step, draws - start)
        queries = generator.integers(count, size=(batch, count))
        drawn_rounds = rounds[queries][..., None]
        picked = np.floor(generator.random((batch, count, widest)) * drawn_rounds).astype(np.int64)
        unused = np.arange(widest) >= drawn_rounds
        totals = [
            _median(np.where(unused, np.nan, padded[arm][queries[..., None], picked]), drawn_rounds[..., 0])
            for arm in (0, 1)
        ]
        ratios[start : start + batch] = totals[0].sum(axis=1) / totals[1].sum(axis=1)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(ratios, (tail, 1.0 - tail))
    # The percentile interval may miss the estimate by rounding when all draws agree.
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate), level)


def _median(values: Floats, counts: NDArray[np.int64]) -> Floats:
    """Median along the last axis of the first ``counts`` values; NaN sorts to the end."""
    ordered = np.sort(values, axis=-1)
    lower = np.take_along_axis(ordered, ((counts - 1) // 2)[..., None], axis=-1)[..., 0]
    upper = np.take_along_axis(ordered, (counts // 2)[..., None], axis=-1)[..., 0]
    middle: Floats = (lower + upper) / 2.0
    return middle
