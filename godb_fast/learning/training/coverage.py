"""How often the bounds of a ranker hold on templates that it never saw: in all, and cluster by cluster.

A bound that holds in nine of ten cases of all queries may hold in seven of ten of those that look alike. So
the outcomes of each template are played against the scores of all others, as the gate meets them: first the
bound before any outcome of that template is known, then bounds that learn from each (adaptive conformal
inference).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.evidence.conformal import ConformalBounds, conformal_quantile
from godb_fast.learning.clustering import QueryClusters
from godb_fast.learning.gate import STEP, WINDOW
from godb_fast.learning.physical import PHYSICAL_COLUMNS
from godb_fast.learning.training.gathering import Pairs

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: The share of bounds that shall hold.
LEVEL: Final = 0.9
#: A cluster of fewer outcomes than this says more of chance than of bounds.
ENOUGH: Final = 200


def clusters_of(pairs: Pairs) -> dict[int, str]:
    """The cluster of each template, by the operators of the engine's own plan."""
    counted = [at for at, feature in enumerate(PHYSICAL_COLUMNS) if feature.unit == "count"]
    names = [PHYSICAL_COLUMNS[at].name for at in counted]
    own = pairs.vectors[:, len(PHYSICAL_COLUMNS) :][:, counted]
    clusters = QueryClusters()
    templates, first = np.unique(pairs.templates, return_index=True)
    return {
        template: clusters.assign(
            {name: value for name, value in zip(names, own[at].tolist(), strict=True) if value > 0.0}
        )
        for template, at in zip(templates.tolist(), first.tolist(), strict=True)
    }


def coverage(scores: Floats, templates: Integers, clusters: dict[int, str], seed: int) -> dict[str, float]:
    """The share of bounds at :data:`LEVEL` that hold, of plans that are ranked first.

    Parameters
    ----------
    scores : float64 array, shape (q,)
        Outcome less prediction, by a model that had not seen the query's template; infinite where it was cut.
    templates : int64 array, shape (q,)
    clusters : dict
        By template.
    seed : int
        Of the order in which outcomes come.

    Returns
    -------
    dict
        ``coverage_at_once`` before any outcome of a template is known, ``coverage`` with bounds that learn,
        and ``coverage_least`` and ``coverage_most`` of the clusters of at least :data:`ENOUGH` queries, if
        any; nothing of a single template.
    """
    if len(np.unique(templates)) < 2:
        return {}
    at_once, learning = np.zeros(len(scores), np.bool_), np.zeros(len(scores), np.bool_)
    source = np.random.default_rng(seed)
    for template in np.unique(templates).tolist():
        own = np.flatnonzero(templates == template)
        others = scores[templates != template]
        at_once[own] = scores[own] <= conformal_quantile(others, LEVEL)
        bounds = ConformalBounds(LEVEL, step=STEP, window=WINDOW)
        bounds.calibrate(others)
        for at in source.permutation(own).tolist():
            learning[at] = bounds.observe(
                float(scores[at]), fingerprint=str(template), cluster=clusters[template]
            )
    found = {"coverage_at_once": float(at_once.mean()), "coverage": float(learning.mean())}
    names = np.array([clusters[template] for template in templates.tolist()])
    shares = [
        float(learning[names == name].mean())
        for name in sorted(set(names.tolist()))
        if np.count_nonzero(names == name) >= ENOUGH
    ]
    if shares:
        found |= {"coverage_least": min(shares), "coverage_most": max(shares)}
    return found
