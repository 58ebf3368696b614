"""Non-negative linear regression, ridge-regularised towards prior coefficients, whole or one row at a time.

The posterior of Bayesian linear regression under a normal prior (Hoerl and Kennard 1970 towards zero; here
towards the prior), kept as its precision, so that a row is one rank-1 sum, and restricted to coefficients
≥ 0 by pivoting (Portugal, Júdice and Vicente 1994) and coordinate descent on the quadratic (Franc, Hlaváč and
Navara 2005). Old rows fade by a forgetting factor, as in recursive least squares.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from godb_fast.errors import InvalidInput

Floats = NDArray[np.float64]

_PIVOTS: Final = 50
_SWEEPS: Final = 500
_TOLERANCE: Final = 1e-9
#: Rows that are multiplied at once. Of more, BLAS makes work for a thread on each of the host's cores; beside
#: queries that keep these busy, such threads wait for each other far longer than one takes by itself.
_BLOCK: Final = 128
#: No number that is learned is larger; products of five such are finite.
_MOST: Final = 1e60


class NonNegativeRidge:
    """Regression of times on amounts of work.

    Inside, coefficients are multiples of ``scale``, so that one strength of the prior fits all units.

    Parameters
    ----------
    prior : float64 array, shape (K,)
        Where coefficients are drawn to; ≥ 0.
    scale : float64 array, shape (K,)
        How far from the prior a coefficient may well be (its prior standard deviation); > 0.
    noise : float
        Prior relative noise of a row (its variance, in units of its weight).

    Attributes
    ----------
    coefficients : float64 array, shape (K,)
        Present estimate, ≥ 0.
    rows : float
        Evidence: rows learned, faded.
    """

    def __init__(self, prior: ArrayLike, scale: ArrayLike, *, noise: float = 1.0) -> None:
        self.prior: Floats = np.array(prior, np.float64)
        self.scale: Floats = np.array(scale, np.float64)
        if self.prior.ndim != 1 or self.prior.shape != self.scale.shape:
            raise InvalidInput(f"prior of shape {self.prior.shape}, scale of shape {self.scale.shape}")
        if not (np.isfinite(self.prior).all() and (self.prior >= 0).all()):
            raise InvalidInput("prior coefficients are finite and not negative")
        if not (np.isfinite(self.scale).all() and (self.scale > 0).all() and noise > 0):
            raise InvalidInput("scales and noise are finite and positive")
        self.coefficients: Floats = self.prior.copy()
        self._gram: Floats = np.zeros((self.prior.size, self.prior.size))
        self._moment: Floats = np.zeros(self.prior.size)
        self._squares = 0.0
        self.rows = 0.0
        self._noise = float(noise)
        self._covariance: Floats | None = None

    # -- learning ------------------------------------------------------------------------------------------

    def fit(self, amounts: ArrayLike, times: ArrayLike, weights: ArrayLike) -> None:
        """Learn from these rows alone, in place of all that was learned before.

        Parameters
        ----------
        amounts : float64 array, shape (N, K)
        times : float64 array, shape (N,)
        weights : float64 array, shape (N,)
            Inverse variances of the rows, up to a factor; ≥ 0.
        """
        self._gram[:] = 0.0
        self._moment[:] = 0.0
        self._squares = self.rows = 0.0
        self._add(*self._checked(amounts, times, weights))
        self.coefficients = self._solve()

    def update(
        self,
        amounts: ArrayLike,
        times: ArrayLike,
        weights: ArrayLike,
        *,
        forget: float = 1.0,
        step: float = 0.1,
    ) -> None:
        """Learn from more rows; no coefficient moves by more than a bounded step.

        Parameters
        ----------
        forget : float
            What former rows still count, in (0, 1].
        step : float
            The most that a coefficient changes, relative to the larger of itself and its scale.
        """
        if not (0.0 < forget <= 1.0 and step > 0.0):
            raise InvalidInput(f"forget {forget} is not in (0, 1], or step {step} is not positive")
        checked = self._checked(amounts, times, weights)
        self._gram *= forget
        self._moment *= forget
        self._squares *= forget
        self.rows *= forget
        self._add(*checked)
        wanted = self._solve()
        reach = step * np.maximum(self.coefficients, self.scale)
        self.coefficients = np.maximum(
            self.coefficients + np.clip(wanted - self.coefficients, -reach, reach), 0.0
        )

    def _checked(
        self, amounts: ArrayLike, times: ArrayLike, weights: ArrayLike
    ) -> tuple[Floats, Floats, Floats]:
        work = np.asarray(amounts, np.float64).reshape(-1, self.prior.size)
        took, weigh = np.asarray(times, np.float64).reshape(-1), np.asarray(weights, np.float64).reshape(-1)
        if not len(work) == len(took) == len(weigh):
            raise InvalidInput(f"{len(work)} rows of work, {len(took)} times, {len(weigh)} weights")
        if not (np.isfinite(work).all() and np.isfinite(took).all() and np.isfinite(weigh).all()):
            raise InvalidInput("work, times and weights are finite")
        if (weigh < 0).any():
            raise InvalidInput("weights are not negative")
        return work, took, weigh

    def _add(self, work: Floats, took: Floats, weigh: Floats) -> None:
        self._covariance = None
        for first in range(0, len(took), _BLOCK):
            block = slice(first, first + _BLOCK)
            scaled = work[block] * self.scale
            left = took[block] - work[block] @ self.prior
            weighed = scaled * weigh[block, None]
            self._gram += weighed.T @ scaled
            self._moment += weighed.T @ left
            self._squares += float(weigh[block] @ (left * left))
        self.rows += float(len(took))

    def _solve(self) -> Floats:
        """argmin over θ ≥ 0 of the penalised squares."""
        precision = self._gram / self._noise + np.eye(self.prior.size)
        moment = self._moment / self._noise
        least = -self.prior / self.scale
        found = _pivot(precision, moment, least)
        diagonal = np.diag(precision)
        # The pivot is exact where it ended; these sweeps end at once then, and converge anyway.
        for _ in range(_SWEEPS):
            moved = 0.0
            for number in range(found.size):
                value = found[number] + (moment[number] - precision[number] @ found) / diagonal[number]
                value = max(value, least[number])
                moved = max(moved, abs(value - found[number]))
                found[number] = value
            if moved < _TOLERANCE * (1.0 + float(np.abs(found).max(initial=0.0))):
                break
        return np.maximum(self.prior + self.scale * found, 0.0)

    @property
    def exercised(self) -> NDArray[np.bool_]:
        """Which coefficients some row had work for, shape (K,)."""
        found: NDArray[np.bool_] = np.diag(self._gram) > 0.0
        return found

    # -- what is known --------------------------------------------------------------------------------------

    @property
    def noise(self) -> float:
        """Variance of a row of weight 1: what the rows show, shrunk towards the prior noise."""
        offset = (self.coefficients - self.prior) / self.scale
        residual = self._squares - 2.0 * float(self._moment @ offset) + float(offset @ self._gram @ offset)
        return (self._noise * _PRIOR_ROWS + max(residual, 0.0)) / (_PRIOR_ROWS + self.rows)

    def covariance(self) -> Floats:
        """Posterior covariance of the coefficients (as if they could be negative), shape (K, K)."""
        if self._covariance is None:
            precision = self._gram / self.noise + np.eye(self.prior.size)
            inverse: Floats = np.asarray(np.linalg.inv(precision), np.float64)
            self._covariance = inverse * np.outer(self.scale, self.scale)
            self._covariance.setflags(write=False)
        return self._covariance

    def predict(self, amounts: ArrayLike) -> Floats:
        """Expected times, shape (N,)."""
        work = np.asarray(amounts, np.float64).reshape(-1, self.prior.size)
        expected: Floats = (work * self.coefficients).sum(axis=1)
        return expected

    def deviation(self, amounts: ArrayLike) -> float:
        """Standard deviation of the expected time of one row of work, from the coefficients' uncertainty."""
        work = np.asarray(amounts, np.float64).reshape(self.prior.size)
        return math.sqrt(max(float(work @ self.covariance() @ work), 0.0))

    # -- keeping --------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "prior": self.prior.tolist(),
            "scale": self.scale.tolist(),
            "noise": self._noise,
            "coefficients": self.coefficients.tolist(),
            "gram": self._gram.tolist(),
            "moment": self._moment.tolist(),
            "squares": self._squares,
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> NonNegativeRidge:
        """What :meth:`to_dict` wrote.

        Raises
        ------
        InvalidInput
            If it is not whole, or holds what no regression can have learned.
        """
        try:
            made = cls(raw["prior"], raw["scale"], noise=float(raw["noise"]))
            coefficients = np.array(raw["coefficients"], np.float64)
            gram, moment = np.array(raw["gram"], np.float64), np.array(raw["moment"], np.float64)
            squares, rows = float(raw["squares"]), float(raw["rows"])
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise InvalidInput(f"kept coefficients cannot be read: {error!r}") from error
        size = made.prior.size
        whole = coefficients.shape == (size,) and gram.shape == (size, size) and moment.shape == (size,)
        learned = (coefficients, gram, moment, made.prior, made.scale, np.array([squares, rows, made._noise]))
        finite = all((np.abs(each) <= _MOST).all() for each in learned)
        finite = finite and min(made.scale.min(initial=1.0), made._noise) >= 1.0 / _MOST
        if not whole or not finite or (coefficients < 0).any() or squares < 0 or rows < 0:
            raise InvalidInput("kept coefficients are damaged: of another shape, not finite, or negative")
        if not _is_gram(gram):
            raise InvalidInput("kept coefficients are damaged: no work has such products")
        made.coefficients, made._gram, made._moment = coefficients, gram, moment
        made._squares, made.rows = squares, rows
        return made


def _is_gram(products: Floats) -> bool:
    """Whether these may be sums of products of amounts of work; Cauchy and Schwarz, but for rounding."""
    own = np.diag(products)
    if (own < 0.0).any() or not np.allclose(products, products.T, rtol=1e-6, atol=1e-9):
        return False
    most = np.sqrt(np.outer(own, own))
    return bool((np.abs(products) <= most * (1.0 + 1e-6) + 1e-9).all())


#: Rows that the prior noise counts as.
_PRIOR_ROWS: Final = 10.0


def _pivot(precision: Floats, moment: Floats, least: Floats) -> Floats:
    """Minimum of a quadratic above lower bounds, by exchanging all offending variables at once."""
    found = np.maximum(np.zeros(moment.size), least)
    bound = np.zeros(moment.size, np.bool_)
    for _ in range(_PIVOTS):
        free = ~bound
        found = least.copy()
        if free.any():
            known = moment[free] - precision[np.ix_(free, bound)] @ least[bound]
            found[free] = np.linalg.solve(precision[np.ix_(free, free)], known)
        slope = precision @ found - moment
        wrong = (free & (found < least - 1e-12)) | (bound & (slope < -1e-12 * (1.0 + np.abs(moment))))
        if not wrong.any():
            break
        bound ^= wrong
    return np.maximum(found, least)
