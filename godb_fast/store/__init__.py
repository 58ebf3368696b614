"""Where decisions and observations are kept between processes.

``Store`` is the small interface; ``SqliteStore`` fills it with one file in WAL mode that several threads and
processes share. A store never fails a query: what it cannot write it drops, counts, and says so once.
"""

from godb_fast.store.base import (
    KeepsChoices,
    KeepsCorrections,
    KeepsCosts,
    KeepsExplorations,
    KeepsTrials,
    LatencySummary,
    Store,
    StoredDecision,
    StoreHealth,
    TemplateRuns,
    default_path,
    open_store,
)
from godb_fast.store.choices import KeptChoices
from godb_fast.store.clusters import KeptClusters
from godb_fast.store.corrections import KeptCorrections
from godb_fast.store.costs import KeptCosts
from godb_fast.store.explorations import Explorations, SavedExploration
from godb_fast.store.features import FeatureStore, TrainingRows
from godb_fast.store.outcomes import Outcome, Outcomes
from godb_fast.store.sqlite import SqliteStore
from godb_fast.store.trainings import ModelVerdict, Training, Trainings
from godb_fast.store.trials import PlanRun, TrialStore

__all__ = [
    "Explorations",
    "FeatureStore",
    "KeepsChoices",
    "KeepsCorrections",
    "KeepsCosts",
    "KeepsExplorations",
    "KeepsTrials",
    "KeptChoices",
    "KeptClusters",
    "KeptCorrections",
    "KeptCosts",
    "LatencySummary",
    "ModelVerdict",
    "Outcome",
    "Outcomes",
    "PlanRun",
    "SavedExploration",
    "SqliteStore",
    "Store",
    "StoreHealth",
    "StoredDecision",
    "TemplateRuns",
    "Training",
    "TrainingRows",
    "Trainings",
    "TrialStore",
    "default_path",
    "open_store",
]
