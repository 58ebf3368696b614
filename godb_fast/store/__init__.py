"""Where decisions and observations are kept between processes.

``Store`` is the small interface; ``SqliteStore`` fills it with one file in WAL mode that several threads and
processes share. A store never fails a query: what it cannot write it drops, counts, and says so once.
"""

from godb_fast.store.base import (
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
from godb_fast.store.corrections import KeptCorrections
from godb_fast.store.costs import KeptCosts
from godb_fast.store.explorations import Explorations, SavedExploration
from godb_fast.store.features import FeatureStore, TrainingRows
from godb_fast.store.sqlite import SqliteStore
from godb_fast.store.trials import PlanRun, TrialStore

__all__ = [
    "Explorations",
    "FeatureStore",
    "KeepsCorrections",
    "KeepsCosts",
    "KeepsExplorations",
    "KeepsTrials",
    "KeptCorrections",
    "KeptCosts",
    "LatencySummary",
    "PlanRun",
    "SavedExploration",
    "SqliteStore",
    "Store",
    "StoreHealth",
    "StoredDecision",
    "TemplateRuns",
    "TrainingRows",
    "TrialStore",
    "default_path",
    "open_store",
]
