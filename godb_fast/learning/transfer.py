"""What the arms of an engine did to queries of known templates, carried over to templates never seen.

A Gaussian process per arm over ln(time under the arm ÷ default time), all with one kernel::

    k(p, q) = a s(p, q) + b v(p, q) (1 + s(p, q)) + c [same template] (1 + v(p, q)) + noise

``s`` and ``v`` are Gaussian kernels of structure and of what literals say. The third part is what is
peculiar to a template: for one never seen it is unknown, which makes the prediction as uncertain as it is.
One more process predicts ln(default time). Rasmussen and Williams, "Gaussian Processes for Machine
Learning", 2006.

Every training query also has a prediction by a process that did not see its template (a block of the
inverse gives it in closed form: Sundararajan and Keerthi, "Predictive approaches for choosing
hyperparameters in Gaussian processes", 2001). These choose the kernel, and are what bounds and gates are
calibrated on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from godb_fast.errors import InvalidInput
from godb_fast.learning.encoding import TermEncoder
from godb_fast.learning.terms import QueryTerms

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Rows are cubed: give a sample of more.
MOST_ROWS: Final = 4000
#: Ratios beyond this (ln) tell no more than that the arm is far better or worse.
_CLIP: Final = 3.0
#: Queries whose kernel rows are held at a time.
_CHUNK: Final = 512


@dataclass(frozen=True)
class KernelSettings:
    """One kernel; variances are of ln ratios.

    Parameters
    ----------
    reach : float
        Length scale of structure, in medians of the distance between templates.
    structure, values, template, noise : float
        a, b, c of the module's formula, and the noise variance.
    """

    reach: float = 0.5
    structure: float = 0.3
    values: float = 0.3
    template: float = 0.3
    noise: float = 0.1


#: Kernels that are tried: how far structure carries, and how much of it.
KERNELS: Final = (
    KernelSettings(reach=0.35, structure=1.0, template=0.1),
    KernelSettings(reach=0.5, structure=1.0, template=0.1),
    KernelSettings(reach=0.5),
    KernelSettings(reach=1.0),
)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted ln ratios, shape (n, arms); column 0 is the default itself.

    ``scale`` is their standard deviation; ``log_default``, shape (n,), is ln of the default's seconds.
    """

    mean: Floats
    scale: Floats
    log_default: Floats


@dataclass(frozen=True, eq=False)
class _Rows:
    """Encoded training rows, and medians of their distances."""

    structure: Floats
    values: Floats
    group: Ints
    between: float
    spread: float

    @classmethod
    def of(cls, structure: Floats, values: Floats, group: Ints) -> _Rows:
        apart = _squares(structure, structure)[group[:, None] != group]
        between = float(np.sqrt(max(float(np.median(apart)), 1e-12)))
        spread = float(np.sqrt(max(float(np.median(_squares(values, values))), 1e-12)))
        return cls(structure, values, group, between, spread)

    def distances(self, structure: Floats, values: Floats, group: Ints) -> _Distances:
        """Of queries to these rows."""
        return _Distances(
            _squares(structure, self.structure) / (2.0 * self.between**2),
            np.exp(-_squares(values, self.values) / (2.0 * self.spread**2)),
            group[:, None] == self.group,
        )


@dataclass(frozen=True, eq=False)
class _Distances:
    """What all kernels are made of: distances of structure, likeness of values, equality of templates."""

    apart: Floats
    alike: Floats
    same: NDArray[np.bool_]

    def covariance(self, settings: KernelSettings) -> Floats:
        """The kernel of the module's formula, without noise."""
        near = np.exp(-self.apart / settings.reach**2)
        found: Floats = (
            settings.structure * near
            + settings.values * self.alike * (1.0 + near)
            + settings.template * self.same * (1.0 + self.alike)
        )
        return found


class TransferModel:
    """See the module. Make one with :meth:`fit`.

    Attributes
    ----------
    held_out : Prediction
        Of every training query, by a process that did not see its template.
    settings : KernelSettings
        The kernel that was chosen.
    """

    def __init__(
        self,
        encoder: TermEncoder,
        rows: _Rows,
        settings: KernelSettings,
        inverse: Floats,
        middle: Floats,
        weights: Floats,
        arm_scale: Floats,
        held_out: Prediction,
    ) -> None:
        self._encoder = encoder
        self._rows = rows
        self.settings = settings
        self._inverse = inverse
        self._middle = middle
        self._weights = weights
        self._arm_scale = arm_scale
        self.held_out = held_out

    @classmethod
    def fit(
        cls,
        queries: Sequence[QueryTerms],
        groups: Sequence[str],
        log_ratio: ArrayLike,
        log_default: ArrayLike,
        kernels: Sequence[KernelSettings] = KERNELS,
    ) -> TransferModel:
        """Learn from queries whose times under every arm are known.

        Parameters
        ----------
        queries : sequence of QueryTerms, length n
        groups : sequence of str, length n
            The template of each; at least two.
        log_ratio : float array, shape (n, arms)
            ln(time under the arm ÷ default time); column 0, the default's own, is zero. Complete runs only:
            take a cut one's time as if complete, and leave its row out of calibration.
        log_default : float array, shape (n,)
            ln of the default's seconds.

        Raises
        ------
        InvalidInput
            If shapes differ, a number is not finite, there is one template only, or rows are too many.
        """
        ratios = np.asarray(log_ratio, np.float64)
        default = np.asarray(log_default, np.float64)
        count = len(queries)
        if ratios.ndim != 2 or len(ratios) != count or default.shape != (count,) or len(groups) != count:
            raise InvalidInput(
                f"{count} queries, {len(groups)} groups, ratios of shape {ratios.shape}, default times of "
                f"shape {default.shape}: they do not fit together"
            )
        if not (np.isfinite(ratios).all() and np.isfinite(default).all()):
            raise InvalidInput("a time is not finite; leave queries with failed arms out")
        if count > MOST_ROWS:
            raise InvalidInput(f"{count} queries; learn from a sample of at most {MOST_ROWS}")
        group = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
        if int(group.max(initial=0)) < 1:
            raise InvalidInput("all queries are of one template; what carries over is learned from several")
        encoder = TermEncoder.of(queries)
        structure, values = encoder.encode(queries)
        target = np.column_stack([np.clip(ratios, -_CLIP, _CLIP), default])
        rows = _Rows.of(structure, values, group)
        distances = rows.distances(structure, values, group)
        fitted = [_fit(encoder, rows, settings, distances, target) for settings in kernels]
        if not fitted:
            raise InvalidInput("no kernel to try")
        return min(fitted, key=lambda made: made[0])[1]

    def predict(self, queries: Sequence[QueryTerms]) -> Prediction:
        """Predictions for queries of templates never seen."""
        structure, values = self._encoder.encode(queries)
        new = np.full(len(queries), -1, np.int64)
        settings = self.settings
        prior = settings.structure + 2.0 * settings.values + settings.noise + 2.0 * settings.template
        means, deviations = [], []
        for start in range(0, len(queries), _CHUNK):
            part = slice(start, start + _CHUNK)
            against = self._rows.distances(structure[part], values[part], new[part]).covariance(settings)
            means.append(self._middle + against @ self._weights)
            explained = ((against @ self._inverse) * against).sum(axis=1)
            deviations.append(np.sqrt(np.maximum(prior - explained, settings.noise)))
        return _prediction(
            np.concatenate([*means, np.zeros((0, len(self._middle)))]),
            np.concatenate([*deviations, np.zeros(0)]),
            self._arm_scale,
        )


def _fit(
    encoder: TermEncoder, rows: _Rows, settings: KernelSettings, distances: _Distances, target: Floats
) -> tuple[float, TransferModel]:
    """A process, and how badly it predicts the templates that it has not seen (negative log-likelihood)."""
    covariance = distances.covariance(settings)
    covariance[np.diag_indices_from(covariance)] += settings.noise
    inverse = np.asarray(np.linalg.inv(covariance), np.float64)
    members = [np.nonzero(rows.group == label)[0] for label in range(int(rows.group.max()) + 1)]
    # Templates count alike: one that runs often says no more of the next template.
    middle: Floats = np.mean([target[own].mean(axis=0) for own in members], axis=0)
    weights = inverse @ (target - middle)
    mean = np.empty_like(target)
    variance = np.empty(len(target))
    for own in members:
        block = np.linalg.inv(inverse[np.ix_(own, own)])
        mean[own] = target[own] - block @ weights[own]
        variance[own] = np.diag(block)
    squares = (target - mean)[:, :-1] ** 2 / variance[:, None]
    by_template = np.array([squares[own].mean(axis=0) for own in members])
    arm_scale = np.sqrt(np.maximum(by_template.mean(axis=0), 1e-4))
    logs = np.mean([np.log(variance[own]).mean() for own in members])
    loss = 0.5 * float(logs + by_template[:, 1:].mean())
    held_out = _prediction(mean, np.sqrt(variance), arm_scale)
    return loss, TransferModel(encoder, rows, settings, inverse, middle, weights, arm_scale, held_out)


def _prediction(found: Floats, deviation: Floats, arm_scale: Floats) -> Prediction:
    mean = found[:, :-1].copy()
    mean[:, 0] = 0.0
    return Prediction(mean, deviation[:, None] * arm_scale, found[:, -1])


def _squares(left: Floats, right: Floats) -> Floats:
    """Squared distances of all pairs of rows."""
    found = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1) - 2.0 * (left @ right.T)
    positive: Floats = np.maximum(found, 0.0)
    return positive
