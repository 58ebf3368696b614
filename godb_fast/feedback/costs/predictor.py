"""Coefficients of one scope, what they predict, and how sure that is."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import PhysicalPlan
from godb_fast.errors import InvalidInput
from godb_fast.feedback.costs import fitting
from godb_fast.feedback.costs.fitting import VIEWS, FitTuning
from godb_fast.feedback.costs.places import TableSizes
from godb_fast.feedback.costs.ridge import NonNegativeRidge
from godb_fast.feedback.costs.samples import CostSample
from godb_fast.feedback.costs.terms import NAMES, TERMS_VERSION
from godb_fast.feedback.costs.work import plan_work

Floats = NDArray[np.float64]

#: What may be served in a view: its own coefficients, the other view's, those before anything was learned.
CANDIDATES: Final = ("view", "other view", "before")
_FORMAT: Final = 1
#: Residuals kept for intervals.
_RESIDUALS: Final = 512
#: Folds of templates that residuals are told by.
_FOLDS: Final = 4
#: Spread of log ratios before any was seen: a factor of about three.
_PRIOR_SPREAD: Final = 1.1
#: Observations that the prior spread counts as.
_PRIOR_COUNT: Final = 5.0
#: No statement takes e^100 times what was predicted, nor less by that.
_MOST_LOG: Final = 100.0
#: No database has executed so many statements.
_MOST_SEEN: Final = 10**12


@dataclass(frozen=True)
class PredictedTime:
    """A time with its interval, in milliseconds.

    ``log_deviation`` is the part of the interval's width that the coefficients' own uncertainty makes, as a
    standard deviation of the log.
    """

    ms: float
    low_ms: float
    high_ms: float
    log_deviation: float


class CostPredictor:
    """Coefficients of operators and statements.

    Parameters
    ----------
    engine : str
        ``Engine.name``; its static coefficients are the prior.
    tuning : FitTuning
    prior : CostPredictor, optional
        Of a wider scope: its coefficients are the prior instead.
    """

    def __init__(
        self, engine: str, tuning: FitTuning | None = None, *, prior: CostPredictor | None = None
    ) -> None:
        self.engine = engine
        self.tuning = tuning or FitTuning()
        self.operators = fitting.operator_ridge(engine, self.tuning)
        self.statements = {view: fitting.statement_ridge(self.operators, self.tuning) for view in VIEWS}
        self.residuals: dict[str, deque[float]] = {view: deque(maxlen=_RESIDUALS) for view in VIEWS}
        #: Whose coefficients a view is served with, one of ``CANDIDATES``.
        self.basis = dict.fromkeys(VIEWS, "view")
        #: How uncertain the coefficients usually make a time, per view, as a deviation of its log.
        self._usual = dict.fromkeys(VIEWS, 0.0)
        self.seen = 0
        #: Of a wider scope, where statements' coefficients start from.
        self._wider: dict[str, NonNegativeRidge] | None = None
        if prior is not None:
            self.operators = _beginning(prior.operators)
            self._wider = {view: _beginning(ridge) for view, ridge in prior.statements.items()}
            self.statements = {view: _beginning(ridge) for view, ridge in prior.statements.items()}
            self.residuals = {view: deque(kept, maxlen=_RESIDUALS) for view, kept in prior.residuals.items()}

    # -- learning ------------------------------------------------------------------------------------------

    def fit(self, samples: Sequence[CostSample]) -> None:
        """Learn from these samples alone; what templates show that a fit left out decides what is served.

        Per view there are three candidates: the coefficients that were learned in this view, those learned in
        the other, and those that there were before. The one with the least spread of residuals on left-out
        templates is served: where estimates are so wrong that learning from them helps nobody, nothing is
        lost. Too few templates to leave any out, and the view's own coefficients are.
        """
        if not samples:
            raise InvalidInput("no samples to learn from; observe executed plans first")
        groups = sorted({sample.group for sample in samples})
        told: dict[str, dict[str, list[float]]] = {
            view: {candidate: [] for candidate in CANDIDATES} for view in VIEWS
        }
        if len(groups) >= 2 * _FOLDS:
            for fold in range(_FOLDS):
                held = set(groups[fold::_FOLDS])
                self._fit([sample for sample in samples if sample.group not in held])
                self._tell([sample for sample in samples if sample.group in held], told)
        self._fit(samples)
        if len(groups) < 2 * _FOLDS:
            self._tell(samples, told)
        served = {}
        for view in VIEWS:
            self.basis[view] = (
                min(CANDIDATES, key=lambda candidate: _spread(told[view][candidate]))
                if len(groups) >= 2 * _FOLDS
                else "view"
            )
            served[view] = self._candidate(view, self.basis[view])
            self.residuals[view].clear()
            self.residuals[view].extend(told[view][self.basis[view]])
        self.statements = served
        self.seen = len(samples)
        for view in VIEWS:
            spread = [self._own(fitting.view_row(sample, view), view) for sample in samples]
            self._usual[view] = float(np.median(spread))

    def _fit(self, samples: Sequence[CostSample]) -> None:
        fitting.fit_operators(self.operators, samples, self.tuning)
        for view in VIEWS:
            self.statements[view] = (
                fitting.statement_ridge(self.operators, self.tuning)
                if self._wider is None
                else _copy(self._wider[view])
            )
            fitting.fit_statements(self.statements[view], samples, view, self.tuning)

    def _candidate(self, view: str, candidate: str) -> NonNegativeRidge:
        """A candidate's coefficients, not shared with any other view."""
        if candidate == "view":
            return self.statements[view]
        if candidate == "other view":
            return _copy(self.statements[VIEWS[1 - VIEWS.index(view)]])
        if self._wider is not None:
            return _copy(self._wider[view])
        return fitting.static_ridge(self.engine, self.tuning)

    def _tell(self, samples: Sequence[CostSample], told: dict[str, dict[str, list[float]]]) -> None:
        """Note the candidates' residuals on these samples."""
        took = np.log(np.maximum([sample.latency_ns for sample in samples], 1.0))
        for view in VIEWS:
            rows = np.array([fitting.view_row(sample, view) for sample in samples])
            for candidate in CANDIDATES:
                predicted = np.maximum(self._candidate(view, candidate).predict(rows), 1.0)
                told[view][candidate].extend((took - np.log(predicted)).tolist())

    def update(self, sample: CostSample) -> None:
        """Learn from one more sample, by bounded steps; its residuals are those before it was learned."""
        tuning = self.tuning
        for view in VIEWS:
            self.residuals[view].append(self.log_ratio(sample, view))
        rows = fitting.operator_rows([sample])
        if len(rows[1]):
            self.operators.update(
                rows[0],
                *fitting.working(self.operators, *rows, tuning.operator_floor_ns, tuning.operator_clip),
                forget=tuning.forget,
                step=tuning.step,
            )
        for view in VIEWS:
            ridge = self.statements[view]
            row = fitting.view_row(sample, view)[None, :]
            took = np.array([sample.latency_ns])
            ridge.update(
                row,
                *fitting.working(ridge, row, took, tuning.statement_floor_ns, tuning.statement_clip),
                forget=tuning.forget,
                step=tuning.step,
            )
        self.seen += 1

    # -- predicting ----------------------------------------------------------------------------------------

    def log_ratio(self, sample: CostSample, view: str) -> float:
        """ln(measured / predicted) of a sample."""
        predicted = float(self.statements[view].predict(fitting.view_row(sample, view))[0])
        return math.log(max(sample.latency_ns, 1.0) / max(predicted, 1.0))

    def predict(
        self, plan: PhysicalPlan, sizes: TableSizes, *, view: str = "estimated", coverage: float = 0.9
    ) -> PredictedTime:
        """The time of a plan.

        Parameters
        ----------
        view : str
            ``estimated``: the rows are the engine's estimates; ``executed``: they were measured.
        coverage : float
            Of the interval.

        Raises
        ------
        InvalidInput
            If the view is unknown, or the coverage is not in (0, 1).
        """
        work = plan_work(plan, sizes, executed=view == "executed")
        return self.predict_row(
            fitting.statement_row(work.amounts.sum(axis=0), len(work.operators)), view, coverage
        )

    def predict_sample(self, sample: CostSample, view: str, coverage: float = 0.9) -> PredictedTime:
        """The time of a sample's statement, as if it had not run."""
        return self.predict_row(fitting.view_row(sample, view), view, coverage)

    def predict_row(self, row: Floats, view: str, coverage: float = 0.9) -> PredictedTime:
        """The time of a row of work (:func:`fitting.statement_row`)."""
        if view not in VIEWS:
            raise InvalidInput(f"view {view!r}; there are {', '.join(VIEWS)}")
        if not 0.0 < coverage < 1.0:
            raise InvalidInput(f"coverage is {coverage}; it lies between 0 and 1")
        ridge = self.statements[view]
        time_ns = max(float(ridge.predict(row)[0]), 1.0)
        kept = np.array(self.residuals[view])
        centre = float(np.median(kept)) if kept.size else 0.0
        spread = float(
            np.sqrt(
                (np.sum((kept - centre) ** 2) + _PRIOR_COUNT * _PRIOR_SPREAD**2) / (kept.size + _PRIOR_COUNT)
            )
        )
        own = self._own(row, view)
        # Residuals were made with coefficients as uncertain as usual; what is more than that widens.
        wider = math.sqrt(max(spread**2 + own**2 - self._usual[view] ** 2, spread**2)) / spread
        low, high = _quantiles(kept, coverage, centre, spread)
        middle = time_ns * math.exp(centre)
        return PredictedTime(
            middle / 1e6,
            middle * math.exp((low - centre) * wider) / 1e6,
            middle * math.exp((high - centre) * wider) / 1e6,
            own,
        )

    def _own(self, row: Floats, view: str) -> float:
        ridge = self.statements[view]
        return min(ridge.deviation(row) / max(float(ridge.predict(row)[0]), 1.0), _PRIOR_SPREAD)

    def coefficients(self) -> dict[str, tuple[float, float]]:
        """Operators' coefficients by name, in nanoseconds a unit, each with its standard deviation."""
        deviations = np.sqrt(np.maximum(np.diag(self.operators.covariance()), 0.0))
        pairs = zip(self.operators.coefficients.tolist(), deviations.tolist(), strict=True)
        return dict(zip(NAMES, pairs, strict=True))

    # -- keeping -------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "format": _FORMAT,
            "terms": TERMS_VERSION,
            "engine": self.engine,
            "operators": self.operators.to_dict(),
            "statements": {view: ridge.to_dict() for view, ridge in self.statements.items()},
            "residuals": {view: list(kept) for view, kept in self.residuals.items()},
            "basis": dict(self.basis),
            "usual": dict(self._usual),
            "seen": self.seen,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any], tuning: FitTuning | None = None) -> CostPredictor:
        """What :meth:`to_dict` wrote.

        Raises
        ------
        InvalidInput
            If it is of another version, or damaged.
        """
        if not isinstance(raw, dict):
            raise InvalidInput(f"kept cost coefficients cannot be read: {type(raw).__name__} is no state")
        if raw.get("format") != _FORMAT or raw.get("terms") != TERMS_VERSION:
            raise InvalidInput(
                f"cost coefficients of format {raw.get('format')!r}, terms {raw.get('terms')!r}; this "
                f"version reads {_FORMAT} and {TERMS_VERSION}: learn them again"
            )
        try:
            made = cls(str(raw["engine"]), tuning)
            made.operators = _same_size(NonNegativeRidge.from_dict(raw["operators"]), made.operators)
            made.statements = {
                view: _same_size(NonNegativeRidge.from_dict(raw["statements"][view]), made.statements[view])
                for view in VIEWS
            }
            for view in VIEWS:
                kept = [float(value) for value in raw["residuals"][view]]
                if not all(abs(value) <= _MOST_LOG for value in kept):
                    raise InvalidInput("kept residuals are not those of executions")
                made.residuals[view].extend(kept)
            made.basis = {view: str(raw["basis"][view]) for view in VIEWS}
            made._usual = {view: float(raw["usual"][view]) for view in VIEWS}
            made.seen = int(raw["seen"])
            if not (set(made.basis.values()) <= set(CANDIDATES) and 0 <= made.seen <= _MOST_SEEN):
                raise InvalidInput(f"kept cost coefficients rest on {made.basis}, {made.seen} executions")
            if not all(0.0 <= value <= _MOST_LOG for value in made._usual.values()):
                raise InvalidInput(f"kept cost coefficients are uncertain by {made._usual}")
        except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise InvalidInput(f"kept cost coefficients cannot be read: {error!r}") from error
        return made


def _beginning(wider: NonNegativeRidge) -> NonNegativeRidge:
    """A regression that starts where another one is."""
    noise = wider.to_dict()["noise"]
    scale = np.maximum(wider.coefficients * 0.5, wider.scale * 0.05)
    return NonNegativeRidge(wider.coefficients, scale, noise=noise)


def _copy(ridge: NonNegativeRidge) -> NonNegativeRidge:
    return NonNegativeRidge.from_dict(ridge.to_dict())


def _spread(log_ratios: Sequence[float]) -> float:
    """Median absolute deviation: what is left of the median q-error once the factor is right."""
    return float(np.median(np.abs(np.array(log_ratios) - np.median(log_ratios))))


def _same_size(kept: NonNegativeRidge, expected: NonNegativeRidge) -> NonNegativeRidge:
    if kept.prior.shape != expected.prior.shape:
        raise InvalidInput(f"{kept.prior.size} kept coefficients, but there are {expected.prior.size} terms")
    return kept


def _quantiles(kept: Floats, coverage: float, centre: float, spread: float) -> tuple[float, float]:
    """Bounds of log ratios: split-conformal ranks, or a normal's where there are too few for those."""
    tail = (1.0 - coverage) / 2.0
    rank = math.ceil((kept.size + 1) * (1.0 - tail))
    if rank <= kept.size:
        ordered = np.sort(kept)
        return float(ordered[kept.size - rank]), float(ordered[rank - 1])
    from statistics import NormalDist

    reach = NormalDist().inv_cdf(1.0 - tail) * spread
    return centre - reach, centre + reach
