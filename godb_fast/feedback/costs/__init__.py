"""The adaptive cost model: what an operator's work costs, learned from what executions took.

:mod:`terms` says what is counted, :mod:`work` counts it in an engine's plan, :mod:`samples` refuses what
cannot be true, :mod:`ridge` and :mod:`fitting` learn coefficients, :mod:`predictor` predicts a time with its
interval, :mod:`accuracy` says how good that is, :mod:`drift` and :mod:`lifecycle` notice when it no longer is
and act, :mod:`joining` has join orders searched by what was learned, :mod:`comparison` compares two models on
live traffic and :mod:`trial` serves the better one, :mod:`settings` proposes PostgreSQL's own cost
settings. :mod:`model` puts them together: one :class:`AdaptiveCostModel` per database.
"""

from godb_fast.feedback.costs.accuracy import (
    Accuracy,
    AccuracyTracker,
    OperatorAccuracy,
    operator_accuracy,
    q_errors,
    rank_correlation,
)
from godb_fast.feedback.costs.comparison import Arm, CostComparison, Outcome, Standing
from godb_fast.feedback.costs.drift import Adwin, PageHinkley
from godb_fast.feedback.costs.fitting import VIEWS as COST_VIEWS
from godb_fast.feedback.costs.fitting import FitTuning
from godb_fast.feedback.costs.joining import join_costs
from godb_fast.feedback.costs.lifecycle import CostLifecycle, LifecycleTuning, Stage, Transition
from godb_fast.feedback.costs.model import AdaptiveCostModel
from godb_fast.feedback.costs.places import TableSizes
from godb_fast.feedback.costs.predictor import CostPredictor, PredictedTime
from godb_fast.feedback.costs.samples import CostSample, CostScope, cost_sample, refusal
from godb_fast.feedback.costs.settings import ProposedSetting, SettingsProposal, propose_settings
from godb_fast.feedback.costs.terms import TERMS, static_coefficients
from godb_fast.feedback.costs.trial import CostTrial
from godb_fast.feedback.costs.work import PlanWork, plan_work

__all__ = [
    "COST_VIEWS",
    "TERMS",
    "Accuracy",
    "AccuracyTracker",
    "AdaptiveCostModel",
    "Adwin",
    "Arm",
    "CostComparison",
    "CostLifecycle",
    "CostPredictor",
    "CostSample",
    "CostScope",
    "CostTrial",
    "FitTuning",
    "LifecycleTuning",
    "OperatorAccuracy",
    "Outcome",
    "PageHinkley",
    "PlanWork",
    "PredictedTime",
    "ProposedSetting",
    "SettingsProposal",
    "Stage",
    "Standing",
    "TableSizes",
    "Transition",
    "cost_sample",
    "join_costs",
    "operator_accuracy",
    "plan_work",
    "propose_settings",
    "q_errors",
    "rank_correlation",
    "refusal",
    "static_coefficients",
]
