"""A model of log(time under an arm ÷ default time) that starts with nothing and takes "longer than".

For a query q of class c and an arm a::

    y_qa = m_a + s_a · x_q + g_ca + v_a · u_q + noise_a
    u_q  = w_c + z_q,   w_c ~ N(0, τ² I),   z_q ~ N(0, (1 − τ²) I)

``m`` is the arm's mean, ``s`` its slope in the logarithm of the default time x, ``g`` what is peculiar to the
arm in that class, and ``v · u`` the low-rank part. Given the arms' vectors, classes and queries have Gaussian
posteriors in closed form (a tree: queries hang on their class). The arms' vectors come from a ridge
regression on expected sufficient statistics, and keep their own covariance, so that vectors which hardly any
run has touched do not claim certainty (variational Bayes for matrix factorization: Lim and Teh 2007; Bishop,
"Variational principal components", 1999). A cut run enters as its expected value above the bound under the
present fit (Tobit regression by expectation maximization: Tobin 1958; Dempster, Laird and Rubin 1977).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from godb_fast.exploring.normal import hazard
from godb_fast.exploring.observations import CENSORED, MEASURED, Observations
from godb_fast.exploring.space import Floats, PlanSpace


@dataclass(frozen=True)
class ModelSettings:
    """Priors; variances are of natural log ratios.

    Parameters
    ----------
    rank : int
        Length of v and u.
    spread : float
        Prior standard deviation of v · u.
    mean : float
        Prior mean of m: an arm that nobody knows is expected to be somewhat slower than the default.
    class_share : float
        τ²: how much of a query's vector its class explains.
    class_arm_variance : float
        Prior variance of g.
    noise, noise_floor, noise_runs : float
        Prior noise variance, the least that is ever believed, and the number of runs that the prior counts.
    ridge : float
        Prior precision of v, m and (five times) s.
    """

    rank: int = 6
    spread: float = 1.2
    mean: float = 0.3
    class_share: float = 0.5
    class_arm_variance: float = 0.6
    noise: float = 0.3
    noise_floor: float = 0.03
    noise_runs: float = 300.0
    ridge: float = 3.0


class LatencyModel:
    """Posterior means and variances of log ratios, refreshed from all observations.

    Parameters
    ----------
    seed : int
        Of the random prior means of the arms' vectors, which break the symmetry between arms.
    """

    def __init__(self, space: PlanSpace, settings: ModelSettings | None = None, seed: int = 0) -> None:
        self.space = space
        self.settings = settings = settings or ModelSettings()
        arms, rank = space.arms, settings.rank
        spread = float(space.log_default.std())
        self._x = (space.log_default - space.log_default.mean()) / max(spread, 1e-9)
        generator = np.random.Generator(np.random.PCG64(seed))
        self._prior = np.zeros((arms, rank + 2))
        self._prior[:, :rank] = generator.normal(size=(arms, rank)) * settings.spread / np.sqrt(rank)
        self._prior[:, rank] = settings.mean
        self._precision = np.full(rank + 2, settings.ridge)
        self._precision[rank + 1] *= 5.0
        # The default arm is its own unit: always 0, without doubt.
        self._prior[0] = 0.0
        self.coefficients = self._prior.copy()
        self.covariance = np.zeros((arms, rank + 2, rank + 2))
        self.covariance[1:] = np.diag(1.0 / self._precision)
        self.noise = np.full(arms, settings.noise)
        self.class_arm = np.zeros((space.classes, arms))
        self.class_arm_variance = np.full_like(self.class_arm, settings.class_arm_variance)
        self.vectors = np.zeros((space.queries, rank))
        self.update(Observations.start(space))

    def update(self, seen: Observations) -> None:
        """Posteriors of classes and queries, given the arms' vectors (the expectation step)."""
        space, settings, rank = self.space, self.settings, self.settings.rank
        kind, value = seen.kind[space.plans], seen.log_ratio[space.plans]
        is_cut = kind == CENSORED
        self._known = known = (kind == MEASURED) | is_cut
        loading = self.coefficients[:, :rank]
        base = self._fixed_part()
        self._value = filled = self._impute(value, is_cut, base, loading)
        outer = (loading[:, :, None] * loading[:, None, :] + self.covariance[:, :rank, :rank]).reshape(
            space.arms, -1
        )
        weight = known / self.noise
        information = (weight @ outer).reshape(space.queries, rank, rank)
        pull = (weight * (filled - base)) @ loading
        own = 1.0 - settings.class_share
        shrink = np.linalg.inv(np.eye(rank) + own * information)
        message = (shrink @ pull[:, :, None])[:, :, 0]
        total = space.sum_by_class(shrink @ information)
        self.class_covariance = np.linalg.inv(np.eye(rank) / settings.class_share + total)
        self.class_vectors = (self.class_covariance @ space.sum_by_class(message)[:, :, None])[:, :, 0]
        inherited = shrink @ self.class_vectors[space.group][:, :, None]
        self.vectors = own * message + inherited[:, :, 0]
        self.vector_covariance = own * shrink + shrink @ self.class_covariance[
            space.group
        ] @ shrink.transpose(0, 2, 1)
        self._update_class_arms(filled - base + self.class_arm[space.group] - self.vectors @ loading.T)

    def fit(self) -> None:
        """The arms' vectors and noise, given the posteriors of the last update (the maximization step)."""
        settings, space = self.settings, self.space
        features, moments = self._features()
        width = features.shape[1]
        known = self._known.astype(np.float64)
        target = np.where(self._known, self._value - self.class_arm[space.group], 0.0)
        gram = (known.T @ moments).reshape(space.arms, width, width)
        cross = target.T @ features
        prior = np.diag(self._precision)
        self.covariance = np.linalg.inv(gram / self.noise[:, None, None] + prior)
        right = cross / self.noise[:, None] + self._prior @ prior
        self.coefficients = (self.covariance @ right[:, :, None])[:, :, 0]
        self.covariance[0] = 0.0
        self.coefficients[0] = 0.0
        second = self.coefficients[:, :, None] * self.coefficients[:, None, :] + self.covariance
        squares = (
            (target * target).sum(axis=0)
            - 2.0 * (self.coefficients * cross).sum(axis=1)
            + (second * gram).sum(axis=(1, 2))
        )
        runs = known.sum(axis=0) + settings.noise_runs
        noise = (squares + settings.noise_runs * settings.noise) / runs
        self.noise = np.maximum(noise, settings.noise_floor)

    def predict(self) -> tuple[Floats, Floats]:
        """Mean and variance of the log ratio of every plan, shape (plans,) each."""
        space, rank = self.space, self.settings.rank
        _, moments = self._features()
        loading = self.coefficients[:, :rank]
        outer = (loading[:, :, None] * loading[:, None, :]).reshape(space.arms, -1)
        mean = self._fixed_part() + self.vectors @ loading.T
        variance = (
            self.vector_covariance.reshape(space.queries, -1) @ outer.T
            + moments @ self.covariance.reshape(space.arms, -1).T
            + self.class_arm_variance[space.group]
            + self.noise
        )
        return space.mean_over_arms(mean), space.mean_over_arms(variance)

    def class_effects(self, at: Floats) -> tuple[Floats, Floats, Floats]:
        """Mean and variance of an arm's level in each class, and the variance of one run around it.

        ``at`` is the log default time per class at which the level is asked; shapes (classes, arms), and
        (arms,) for the last.
        """
        rank = self.settings.rank
        loading = self.coefficients[:, :rank]
        outer = (loading[:, :, None] * loading[:, None, :]).reshape(self.space.arms, -1)
        scale = max(float(self.space.log_default.std()), 1e-9)
        x = (at - self.space.log_default.mean()) / scale
        mean = self.class_vectors @ loading.T + self.coefficients[:, rank] + self.class_arm
        mean = mean + x[:, None] * self.coefficients[:, rank + 1]
        variance = self.class_covariance.reshape(len(at), -1) @ outer.T + self.class_arm_variance
        around = (1.0 - self.settings.class_share) * (loading * loading).sum(axis=1) + self.noise
        return mean, variance, around

    def to_dict(self) -> dict[str, Any]:
        """What the next update and fit start from, as plain data."""
        return {
            "coefficients": self.coefficients.tolist(),
            "covariance": self.covariance.tolist(),
            "noise": self.noise.tolist(),
            "class_arm": self.class_arm.tolist(),
            "vectors": self.vectors.tolist(),
        }

    def restore(self, raw: dict[str, Any]) -> None:
        """Take over what :meth:`to_dict` wrote."""
        self.coefficients = np.array(raw["coefficients"], dtype=np.float64)
        self.covariance = np.array(raw["covariance"], dtype=np.float64)
        self.noise = np.array(raw["noise"], dtype=np.float64)
        self.class_arm = np.array(raw["class_arm"], dtype=np.float64)
        self.vectors = np.array(raw["vectors"], dtype=np.float64)

    def _fixed_part(self) -> Floats:
        rank = self.settings.rank
        part: Floats = (
            self.coefficients[:, rank]
            + self._x[:, None] * self.coefficients[:, rank + 1]
            + self.class_arm[self.space.group]
        )
        return part

    def _impute(self, value: Floats, is_cut: NDArray[np.bool_], base: Floats, loading: Floats) -> Floats:
        filled = value.copy()
        rows, columns = np.nonzero(is_cut)
        if rows.size:
            mean = (self.vectors[rows] * loading[columns]).sum(axis=1) + base[rows, columns]
            deviation = np.sqrt(self.noise[columns])
            bound = value[rows, columns]
            filled[rows, columns] = np.maximum(mean + deviation * hazard((bound - mean) / deviation), bound)
        return filled

    def _update_class_arms(self, residual: Floats) -> None:
        space = self.space
        runs = space.sum_by_class(self._known.astype(np.float64))
        self.class_arm_variance = 1.0 / (runs / self.noise + 1.0 / self.settings.class_arm_variance)
        total = space.sum_by_class(np.where(self._known, residual, 0.0))
        self.class_arm = total / self.noise * self.class_arm_variance
        self.class_arm[:, 0] = 0.0
        self.class_arm_variance[:, 0] = 0.0

    def _features(self) -> tuple[Floats, Floats]:
        """Rows (u, 1, x) of the regression and their expected outer products, flattened."""
        rank = self.settings.rank
        features = np.concatenate([self.vectors, np.ones((self.space.queries, 1)), self._x[:, None]], axis=1)
        moments = features[:, :, None] * features[:, None, :]
        moments[:, :rank, :rank] += self.vector_covariance
        return features, moments.reshape(self.space.queries, -1)
