"""The adaptive cost model of one database: every observation in, predicted times out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from godb_fast.core import Observation, PhysicalPlan
from godb_fast.core.forking import renews_locks
from godb_fast.errors import InvalidInput
from godb_fast.feedback.costs.accuracy import Accuracy, AccuracyTracker
from godb_fast.feedback.costs.fitting import VIEWS, FitTuning
from godb_fast.feedback.costs.lifecycle import CostLifecycle, LifecycleTuning, Stage, Transition
from godb_fast.feedback.costs.places import TableSizes
from godb_fast.feedback.costs.predictor import CostPredictor, PredictedTime
from godb_fast.feedback.costs.samples import CostSample, CostScope, cost_sample, refusal
from godb_fast.feedback.costs.terms import NAMES

_FORMAT: Final = 1
#: Statements of a class of the workload before it has coefficients of its own.
_OWN: Final = 30
#: Classes that have them; the others are predicted with the coefficients of all.
_MOST_CLASSES: Final = 64
#: No table has more rows.
_MOST_ROWS: Final = 1e18


class AdaptiveCostModel:
    """Coefficients per class of the workload, for one engine's database on one machine. Thread-safe.

    A class has coefficients of its own once it was executed often enough; they start from those of all
    statements. Learning takes about a millisecond a plan and belongs in the background: give each Observation
    that carries a measured plan to :meth:`observe`, after the statement.

    Parameters
    ----------
    scope : CostScope
        Observations of anything else are refused; its ``workload`` stays empty.
    tuning : FitTuning, optional
    lifecycle : LifecycleTuning, optional
    backend : str, optional
        Of the drift detectors' kernels.

    Attributes
    ----------
    refused : Counter
        How many observations taught nothing, by reason.
    """

    def __init__(
        self,
        scope: CostScope,
        *,
        tuning: FitTuning | None = None,
        lifecycle: LifecycleTuning | None = None,
        backend: str | None = None,
    ) -> None:
        if scope.workload:
            raise InvalidInput(f"workload {scope.workload!r}: a model tells the classes apart by itself")
        self.scope = scope
        self.sizes = TableSizes()
        self.refused: Counter[str] = Counter()
        self._tuning = tuning or FitTuning()
        self._lifecycle = lifecycle
        self._backend = backend
        self._lock = threading.RLock()
        renews_locks(self)
        self._all = self._living(CostPredictor(scope.engine, self._tuning))
        self._classes: dict[str, CostLifecycle] = {}
        self._waiting: Counter[str] = Counter()
        self._accuracy = {view: AccuracyTracker() for view in VIEWS}

    def _living(self, predictor: CostPredictor) -> CostLifecycle:
        return CostLifecycle(predictor, self._lifecycle, backend=self._backend)

    # -- learning ------------------------------------------------------------------------------------------

    def observe(self, observation: Observation) -> str | None:
        """Learn from one execution; why nothing was learned, None if something was."""
        with self._lock:
            reason = refusal(observation, self.scope)
            if reason is not None:
                self.refused[reason] += 1
                return reason
            sample = self._sample(observation)
            self._note_accuracy(sample, observation.cluster or "")
            self._all.observe(sample)
            if observation.cluster:
                self._observe_class(observation.cluster, sample)
            return None

    def fit(self, observations: Iterable[Observation]) -> int:
        """Learn from these executions alone, in place of all that was learned; how many taught something.

        Raises
        ------
        InvalidInput
            If none of them can teach anything.
        """
        with self._lock:
            usable = []
            sizes = TableSizes()
            for observation in observations:
                reason = refusal(observation, self.scope)
                if reason is not None:
                    self.refused[reason] += 1
                    continue
                assert observation.plan is not None
                sizes.learn(observation.plan)
                usable.append(observation)
            if not usable:
                reasons = ", ".join(sorted(self.refused)) or "there are none"
                raise InvalidInput(f"no observation can teach costs ({reasons}); run some with a profile")
            self.sizes = sizes
            by_class: dict[str, list[CostSample]] = {}
            for observation in usable:
                assert observation.plan is not None
                sample = cost_sample(observation.plan, observation.latency_ms, sizes, observation.fingerprint)
                by_class.setdefault(observation.cluster or "", []).append(sample)
            predictor = CostPredictor(self.scope.engine, self._tuning)
            predictor.fit([sample for samples in by_class.values() for sample in samples])
            self._all = self._living(predictor)
            self._classes.clear()
            self._waiting.clear()
            for name, samples in by_class.items():
                if name and len(samples) >= _OWN and len(self._classes) < _MOST_CLASSES:
                    own = CostPredictor(self.scope.engine, self._tuning, prior=predictor)
                    own.fit(samples)
                    self._classes[name] = self._living(own)
            return len(usable)

    def _sample(self, observation: Observation) -> CostSample:
        assert observation.plan is not None
        self.sizes.learn(observation.plan)
        return cost_sample(observation.plan, observation.latency_ms, self.sizes, observation.fingerprint)

    def _observe_class(self, name: str, sample: CostSample) -> None:
        living = self._classes.get(name)
        if living is not None:
            living.observe(sample)
            return
        self._waiting[name] += 1
        if self._waiting[name] >= _OWN and len(self._classes) < _MOST_CLASSES:
            del self._waiting[name]
            own = CostPredictor(self.scope.engine, self._tuning, prior=self._all.served)
            self._classes[name] = self._living(own)
        elif len(self._waiting) > 64 * _MOST_CLASSES:
            self._waiting.clear()

    def _note_accuracy(self, sample: CostSample, workload: str) -> None:
        predictor = self._serving(workload)
        for view, tracker in self._accuracy.items():
            tracker.note(predictor.predict_sample(sample, view).ms * 1e6, sample.latency_ns)

    # -- answering -----------------------------------------------------------------------------------------

    def predict(
        self, plan: PhysicalPlan, *, workload: str = "", view: str = "estimated", coverage: float = 0.9
    ) -> PredictedTime:
        """The time of a plan with its interval; before anything was learned, by static coefficients.

        Parameters
        ----------
        workload : str
            Cluster of the query.
        view : str
            ``estimated`` or ``executed``: whose rows count.
        """
        with self._lock:
            return self._serving(workload).predict(plan, self.sizes, view=view, coverage=coverage)

    def coefficients(self, workload: str = "") -> dict[str, tuple[float, float]]:
        """Nanoseconds a unit of each term, with its standard deviation."""
        with self._lock:
            return self._serving(workload).coefficients()

    def exercised(self, workload: str = "") -> frozenset[str]:
        """Names of the terms that executions had work for; the others are as they were before."""
        with self._lock:
            ridge = self._serving(workload).operators
            return frozenset(name for name, any_ in zip(NAMES, ridge.exercised, strict=True) if any_)

    def log_ratios(self, view: str = "estimated", workload: str = "") -> list[float]:
        """ln(measured / predicted) of statements as they were predicted before they were learned."""
        with self._lock:
            return list(self._serving(workload).residuals[view])

    @property
    def seen(self) -> int:
        """Executions that the served coefficients rest on."""
        return self._all.served.seen

    def accuracy(self, view: str = "estimated") -> Accuracy | None:
        """Of the last predictions, each made before its execution was learned; None before the first."""
        return self._accuracy[view].accuracy

    @property
    def stages(self) -> dict[str, Stage]:
        """Where the coefficients of all statements (under the empty name) and of each class stand."""
        with self._lock:
            return {"": self._all.stage} | {name: living.stage for name, living in self._classes.items()}

    @property
    def transitions(self) -> list[Transition]:
        """What drift has led to, for the coefficients of all statements."""
        return list(self._all.transitions)

    def _serving(self, workload: str) -> CostPredictor:
        return self._classes.get(workload, self._all).served

    # -- keeping -------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data: numbers and names of tables; what stands frozen or in shadow begins anew as served."""
        with self._lock:
            return {
                "format": _FORMAT,
                "scope": [self.scope.engine, self.scope.database, self.scope.machine],
                "sizes": dict(self.sizes.rows),
                "all": self._all.served.to_dict(),
                "classes": {name: living.served.to_dict() for name, living in self._classes.items()},
                "accuracy": {view: tracker.to_dict() for view, tracker in self._accuracy.items()},
                "refused": dict(self.refused),
            }

    @classmethod
    def from_dict(
        cls,
        raw: dict[str, Any],
        scope: CostScope,
        *,
        tuning: FitTuning | None = None,
        lifecycle: LifecycleTuning | None = None,
        backend: str | None = None,
    ) -> AdaptiveCostModel:
        """What :meth:`to_dict` wrote.

        Raises
        ------
        InvalidInput
            If it is of another scope or version, or damaged.
        """
        if not isinstance(raw, dict):
            raise InvalidInput(f"the kept cost model cannot be read: {type(raw).__name__} is no state")
        if raw.get("format") != _FORMAT:
            raise InvalidInput(f"cost model of format {raw.get('format')!r}; this version reads {_FORMAT}")
        kept = raw.get("scope")
        if kept != [scope.engine, scope.database, scope.machine]:
            raise InvalidInput(f"the kept cost model is of {kept}, not of this database on this machine")
        made = cls(scope, tuning=tuning, lifecycle=lifecycle, backend=backend)
        try:
            made.sizes = TableSizes({str(name): float(rows) for name, rows in raw["sizes"].items()})
            made._all = made._living(CostPredictor.from_dict(raw["all"], made._tuning))
            made._classes = {
                str(name): made._living(CostPredictor.from_dict(each, made._tuning))
                for name, each in raw["classes"].items()
            }
            made._accuracy = {view: AccuracyTracker.from_dict(raw["accuracy"][view]) for view in VIEWS}
            made.refused = Counter({str(why): int(count) for why, count in raw["refused"].items()})
            if not all(0.0 <= rows <= _MOST_ROWS for rows in made.sizes.rows.values()):
                raise InvalidInput("the kept cost model cannot be read: no table has so many rows")
            if min(made.refused.values(), default=0) < 0:
                raise InvalidInput("the kept cost model cannot be read: it refused less than nothing")
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"the kept cost model cannot be read: {error!r}") from error
        return made
