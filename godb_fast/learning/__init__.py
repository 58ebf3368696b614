"""The learned side: features of plans and queries, and (above them) the models that read them.

:mod:`features` is the one table of features, :mod:`extraction` computes them, :mod:`system` and
:mod:`history` observe what some of them say, :mod:`validation` looks for what spoils training or serving.

:mod:`terms` reads what SQL alone tells of a query; :mod:`clustering` and :mod:`support` compare queries by
it, :mod:`transfer` carries over to unknown templates what arms did to known ones. :mod:`choosing` turns any
model's predictions into a choice with a bound and a reason, :mod:`pricing` says what risk has to cost.
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
