"""Is a query where the training data are? Models answer everywhere; they know something near what they saw.

Distances are those of structure, as for clusters: 1 less the cosine of ln(1 + count) over terms. A query is
inside the support if its nearest groups of training queries are as near as those groups are to each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core.choice import SupportVerdict
from godb_fast.errors import InvalidInput
from godb_fast.learning.terms import TERMS_VERSION, unit_vector

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Structure = Mapping[str, float]

#: Nearest groups whose mean distance counts.
NEIGHBOURS: Final = 2


@dataclass(frozen=True, eq=False)
class SupportTest:
    """Distances to training queries, and how far is allowed.

    Parameters
    ----------
    names : tuple of str
        Terms of structure.
    vectors : float64 array, shape (t, n)
        Distinct structures as unit vectors.
    groups : int64 array, shape (t,)
        Which of them belong together.
    allowed : float
        The quantile of the groups' own distances, each measured without itself.
    """

    names: tuple[str, ...]
    vectors: Floats
    groups: Ints
    allowed: float

    @classmethod
    def of(
        cls, structures: Sequence[Structure], groups: Sequence[str], *, quantile: float = 0.9
    ) -> SupportTest:
        """The test of a training set; equal structures count once.

        Parameters
        ----------
        groups : sequence of str
            Which queries are variants of one another (templates, clusters): how near those are says nothing
            of how near a query of a new kind is. With one group, nothing but its own structures is inside.

        Raises
        ------
        InvalidInput
            If nothing was given, lengths differ, or the quantile is not between 0 and 1.
        """
        if not structures or len(structures) != len(groups) or not 0.0 < quantile <= 1.0:
            raise InvalidInput(
                f"{len(structures)} structures, {len(groups)} groups, quantile {quantile}: nothing to compare"
            )
        distinct = {
            (tuple(sorted(one.items())), group): one for one, group in zip(structures, groups, strict=True)
        }
        labels = np.unique([group for _, group in distinct], return_inverse=True)[1].astype(np.int64)
        names = tuple(sorted({name for one in distinct.values() for name in one}))
        position = {name: number for number, name in enumerate(names)}
        vectors = np.zeros((len(distinct), len(names)))
        for row, one in zip(vectors, distinct.values(), strict=True):
            for name, value in unit_vector(one).items():
                row[position[name]] = value
        apart = 1.0 - vectors @ vectors.T
        own = np.array(
            [_nearest(row, labels, without=int(label)) for row, label in zip(apart, labels, strict=True)]
        )
        # Each group counts alike, however many variants it has.
        count = int(labels.max()) + 1
        medians = [float(np.median(own[labels == label])) for label in range(count)]
        return cls(names, vectors, labels, float(np.quantile(medians, quantile)) if count > 1 else 0.0)

    def verdict(self, structure: Structure) -> SupportVerdict:
        """Whether a query of this structure is inside; terms that training never saw make it farther."""
        found = unit_vector(structure)
        vector = np.array([found.get(name, 0.0) for name in self.names])
        apart = 1.0 - self.vectors @ vector
        nearest = float(apart.min())
        distance = max(nearest if nearest < 1e-9 else _nearest(apart, self.groups), 0.0)
        return SupportVerdict(distance <= self.allowed + 1e-9, distance, self.allowed)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "terms": TERMS_VERSION,
            "names": list(self.names),
            "vectors": self.vectors.tolist(),
            "groups": self.groups.tolist(),
            "allowed": self.allowed,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> SupportTest:
        """What :meth:`to_dict` wrote.

        Raises
        ------
        InvalidInput
            If it is something else, or of another version of terms.
        """
        try:
            if raw["terms"] != TERMS_VERSION:
                raise InvalidInput(f"support of terms {raw['terms']}; this is {TERMS_VERSION}: learn anew")
            names = tuple(str(name) for name in raw["names"])
            vectors = np.array(raw["vectors"], np.float64)
            groups = np.array(raw["groups"], np.int64)
            allowed = float(raw["allowed"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"no support test: {error!r}") from error
        if not len(groups) or vectors.shape != (len(groups), len(names)):
            raise InvalidInput(f"no support test: {len(names)} names, vectors of shape {vectors.shape}")
        return cls(names, vectors, groups, allowed)


@dataclass(frozen=True, eq=False)
class RangeTest:
    """Whether rows of numbers lie between those that a model was trained on.

    The distance of a row is how far it lies outside, column by column, in widths of the columns' ranges, on
    average over the columns.

    Parameters
    ----------
    least, most : float64 arrays, shape (D,)
        The ranges.
    allowed : float
        The quantile of the distances of each training group's rows from the ranges of all others.
    """

    least: Floats
    most: Floats
    allowed: float

    @classmethod
    def of(cls, rows: Floats, groups: Ints, *, quantile: float = 0.95) -> RangeTest:
        """The test of training rows, shape (n, D), that belong together by groups, shape (n,)."""
        names = np.unique(groups)
        lows = np.array([rows[groups == name].min(axis=0) for name in names])
        highs = np.array([rows[groups == name].max(axis=0) for name in names])
        least, most = lows.min(axis=0), highs.max(axis=0)
        if len(names) < 2:
            return cls(least, most, 0.0)
        apart = []
        for at, name in enumerate(names):
            others = np.arange(len(names)) != at
            ranges = cls(lows[others].min(axis=0), highs[others].max(axis=0), 0.0)
            apart.append(float(np.median(ranges.distances(rows[groups == name]))))
        return cls(least, most, float(np.quantile(apart, quantile)))

    def distances(self, rows: Floats) -> Floats:
        """Distance of each row, shape (n,); 0 inside."""
        outside = np.maximum(np.maximum(self.least - rows, rows - self.most), 0.0)
        # A column that never varied has a width of its own: one unit.
        width = np.where(self.most > self.least, self.most - self.least, 1.0)
        found: Floats = (outside / width).mean(axis=1)
        return found

    def verdict(self, row: Floats) -> SupportVerdict:
        """Whether a row, shape (D,), is inside."""
        distance = float(self.distances(row[None, :])[0])
        return SupportVerdict(distance <= self.allowed + 1e-9, distance, self.allowed)


def _nearest(apart: Floats, groups: Ints, *, without: int = -1) -> float:
    """Mean distance to the nearest groups, each as near as its nearest member."""
    least = np.full(int(groups.max()) + 1, np.inf)
    np.minimum.at(least, groups, apart)
    if without >= 0:
        least[without] = np.inf
    least = np.sort(least[np.isfinite(least)])[:NEIGHBOURS]
    return float(least.mean()) if least.size else math.inf
