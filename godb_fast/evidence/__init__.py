"""Statistics that all rooms share to tell an effect from noise: pure functions on numpy arrays.

Paired measurements go in (the same query under two arms, run interleaved), and out come ratios with
bootstrap intervals, percentiles, an A/A row, a verdict, and tests that may be looked at after each run.
Predictions get bounds that hold as often as they say (:mod:`conformal`), rules a harm that stays below a
budget (:mod:`risk`).
"""

from godb_fast.evidence.bootstrap import Interval, PairedRuns, ratio_of_sums
from godb_fast.evidence.conformal import (
    ConformalBounds,
    ConformalTracker,
    conformal_p_value,
    conformal_quantile,
)
from godb_fast.evidence.risk import boldest_setting, risk_limit
from godb_fast.evidence.sequential import LogRatioTest, log_ratio_test, sign_evidence
from godb_fast.evidence.summary import RatioSummary, geometric_mean, percentile, summarize_ratios
from godb_fast.evidence.verdict import Verdict, judge

__all__ = [
    "ConformalBounds",
    "ConformalTracker",
    "Interval",
    "LogRatioTest",
    "PairedRuns",
    "RatioSummary",
    "Verdict",
    "boldest_setting",
    "conformal_p_value",
    "conformal_quantile",
    "geometric_mean",
    "judge",
    "log_ratio_test",
    "percentile",
    "ratio_of_sums",
    "risk_limit",
    "sign_evidence",
    "summarize_ratios",
]
