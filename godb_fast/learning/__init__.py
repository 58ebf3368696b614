"""The learned side: features of plans and queries, and (above them) the models that read them.

:mod:`features` is the one table of features, :mod:`extraction` computes them, :mod:`system` and
:mod:`history` observe what some of them say, :mod:`validation` looks for what spoils training or serving.
"""

from godb_fast.learning.extraction import QueryFeatureExtractor
from godb_fast.learning.features import FEATURES, FEATURES_VERSION, Feature
from godb_fast.learning.history import WorkloadHistory
from godb_fast.learning.system import SystemSampler

__all__ = [
    "FEATURES",
    "FEATURES_VERSION",
    "Feature",
    "QueryFeatureExtractor",
    "SystemSampler",
    "WorkloadHistory",
]
