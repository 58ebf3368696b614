"""Coefficients from samples, so that *relative* errors are small.

Times span six orders of magnitude, and what is asked for is a ratio. So the loss is that of the log ratio of
predicted and measured time, with large ones clipped (Huber 1964): linear regressions on working responses
(Gauss and Newton's step), a few times over.

Two stages. Operators' coefficients come from operators' times. Statements take other times than their
operators together: planning, starting, threads that overlap, clocks that are read per row. Their coefficients
start from the operators' (as the prior) and add two terms: the statement, and the operators of its plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.feedback.costs.ridge import NonNegativeRidge
from godb_fast.feedback.costs.samples import CostSample
from godb_fast.feedback.costs.terms import NAMES, static_coefficients
from godb_fast.planning.calibration import cost_model

Floats = NDArray[np.float64]

#: The two ways to count a plan's rows: by estimates, before it runs, or as measured (or corrected).
VIEWS: Final = ("estimated", "executed")
STATEMENT_TERMS: Final = ("statement", "operators")


@dataclass(frozen=True)
class FitTuning:
    """How coefficients are fitted.

    Parameters
    ----------
    operator_floor_ns, statement_floor_ns : float
        Times are compared as if both had this much more: below it, ratios say nothing.
    operator_clip, statement_clip : float
        Log ratios beyond this count as this much.
    operator_noise, statement_noise : float
        Prior variance of a log ratio: the larger, the stronger the prior.
    iterations : int
    startup_ns : float
        How much starting an operator may well cost.
    refine : float
        How far a statement's coefficient may well be from the operator's, relative.
    forget : float
        What former rows still count after one more.
    step : float
        The most that one observation moves a coefficient, relative.
    """

    operator_floor_ns: float = 5e4
    statement_floor_ns: float = 1e5
    operator_clip: float = 2.0
    statement_clip: float = 0.8
    operator_noise: float = 1.0
    statement_noise: float = 0.1
    iterations: int = 12
    startup_ns: float = 1e4
    refine: float = 0.3
    forget: float = 0.9995
    step: float = 0.05


def operator_ridge(engine: str, tuning: FitTuning) -> NonNegativeRidge:
    """A regression on operators' times before it learned anything: the static coefficients."""
    return NonNegativeRidge(static_coefficients(engine), _scales(engine, tuning), noise=tuning.operator_noise)


def _scales(engine: str, tuning: FitTuning) -> Floats:
    static = static_coefficients(engine)
    # What entering a row into a hash table costs is the most that a row costs anywhere.
    typical = cost_model(engine).build
    scales = []
    for name, value in zip(NAMES, static, strict=True):
        if name.endswith("startup"):
            scales.append(tuning.startup_ns * (10.0 if name == "gather_startup" else 1.0))
        else:
            per_row = name.endswith("rows") or name in ("lookups", "groups")
            scales.append(max(value, typical * (0.5 if per_row else 0.2)))
    return np.array(scales)


def statement_ridge(operators: NonNegativeRidge, tuning: FitTuning) -> NonNegativeRidge:
    """A regression on statements' times before it learned anything: what operators take, and planning."""
    prior = np.append(operators.coefficients, [1e6, 1e5])
    scale = np.append(np.maximum(operators.coefficients * tuning.refine, operators.scale * 0.01), [5e6, 2e5])
    return NonNegativeRidge(prior, scale, noise=tuning.statement_noise)


def static_ridge(engine: str, tuning: FitTuning) -> NonNegativeRidge:
    """Static coefficients as a regression on statements' times; a statement itself costs nothing."""
    static = static_coefficients(engine)
    scale = np.append(np.maximum(static * tuning.refine, _scales(engine, tuning) * 0.01), [5e6, 2e5])
    return NonNegativeRidge(np.append(static, [0.0, 0.0]), scale, noise=tuning.statement_noise)


def statement_row(amounts: Floats, operators: int) -> Floats:
    """A plan's work with the statement's own two terms, shape (T + 2,)."""
    return np.append(amounts, [1.0, float(operators)])


def view_row(sample: CostSample, view: str) -> Floats:
    """A sample's row in one of the two views."""
    return statement_row(sample.estimated if view == "estimated" else sample.executed, len(sample.operators))


def fit_operators(ridge: NonNegativeRidge, samples: Sequence[CostSample], tuning: FitTuning) -> None:
    """Learn operators' coefficients from these samples alone."""
    amounts, times = operator_rows(samples)
    fit_log_loss(
        ridge,
        amounts,
        times,
        floor=tuning.operator_floor_ns,
        clip=tuning.operator_clip,
        iterations=tuning.iterations,
    )


def operator_rows(samples: Sequence[CostSample]) -> tuple[Floats, Floats]:
    """Work and time of all operators that were timed."""
    if not samples:
        return np.zeros((0, len(NAMES))), np.zeros(0)
    amounts = np.vstack([sample.amounts for sample in samples])
    times = np.concatenate([sample.times_ns for sample in samples])
    timed = np.isfinite(times)
    return amounts[timed], times[timed]


def fit_statements(
    ridge: NonNegativeRidge, samples: Sequence[CostSample], view: str, tuning: FitTuning
) -> None:
    """Learn statements' coefficients from these samples alone."""
    rows = np.array([view_row(sample, view) for sample in samples]).reshape(-1, ridge.prior.size)
    times = np.array([sample.latency_ns for sample in samples])
    fit_log_loss(
        ridge,
        rows,
        times,
        floor=tuning.statement_floor_ns,
        clip=tuning.statement_clip,
        iterations=tuning.iterations,
    )


def fit_log_loss(
    ridge: NonNegativeRidge, amounts: Floats, times: Floats, *, floor: float, clip: float, iterations: int
) -> None:
    """Learn from these rows alone, with clipped log ratios as the loss.

    Parameters
    ----------
    floor : float
        Times are compared as if both had this much more.
    clip : float
        Log ratios beyond this count as this much.
    """
    ridge.coefficients = ridge.prior.copy()
    for _ in range(iterations):
        before = ridge.coefficients
        ridge.fit(amounts, *working(ridge, amounts, times, floor, clip))
        if np.allclose(before, ridge.coefficients, rtol=1e-3, atol=1e-9):
            break


def working(
    ridge: NonNegativeRidge, amounts: Floats, times: Floats, floor: float, clip: float
) -> tuple[Floats, Floats]:
    """Working responses and weights of the log loss at the present coefficients."""
    predicted = ridge.predict(amounts)
    lifted = predicted + floor
    log_ratio = np.clip(np.log((times + floor) / lifted), -clip, clip)
    return predicted + lifted * log_ratio, 1.0 / lifted**2
