"""Clusters of queries that look alike, so that what few of each have shown can be told from what all have.

Leader clustering (Hartigan 1975): a query joins the nearest leader if that is near enough, else it leads a
cluster of its own. One pass, no re-assignment: a query keeps its cluster, whatever comes later. A cluster is
named by a hash of its leader's structure, so that processes that begin with the same queries agree.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Mapping
from typing import Any, Final

from godb_fast.core.forking import renews_locks
from godb_fast.errors import InvalidInput
from godb_fast.learning.terms import TERMS_VERSION, unit_vector

#: Changes with the distance or the threshold's meaning; names of clusters begin with it.
CLUSTERING_VERSION: Final = 1
#: Past so many clusters queries join the nearest one.
MOST_CLUSTERS: Final = 512


class QueryClusters:
    """Clusters by structure; the same order of queries gives the same clusters on every machine.

    Parameters
    ----------
    radius : float
        1 less the cosine similarity (of ln(1 + count) over terms of structure) up to which queries are alike.
    """

    def __init__(self, radius: float = 0.1) -> None:
        if not 0.0 <= radius < 1.0:
            raise InvalidInput(f"radius {radius}: a cosine distance between 0 and 1")
        self.radius = radius
        self._leaders: dict[str, dict[str, float]] = {}
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()
        renews_locks(self)

    def __len__(self) -> int:
        return len(self._leaders)

    def assign(self, structure: Mapping[str, float]) -> str:
        """The cluster of a query; its own if no leader is near enough."""
        name = _name(structure)
        found = self._known.get(name)
        if found is None:
            with self._lock:
                found = self._known.get(name)
                if found is None:
                    found = self._known[name] = self._place(name, structure)
        return found

    def _place(self, name: str, structure: Mapping[str, float]) -> str:
        vector = unit_vector(structure)
        nearest, apart = None, math.inf
        # Leaders in the order in which they came: ties go to the oldest.
        for leader, other in self._leaders.items():
            distance = 1.0 - sum(value * other.get(term, 0.0) for term, value in vector.items())
            if distance < apart - 1e-12:
                nearest, apart = leader, distance
        if nearest is not None and (apart <= self.radius or len(self._leaders) >= MOST_CLUSTERS):
            return nearest
        self._leaders[name] = vector
        return name

    def adopt(self, other: QueryClusters) -> None:
        """Take over queries that others have placed; those known here keep their clusters."""
        with self._lock:
            for name, leader in other._known.items():
                if name not in self._known:
                    self._known[name] = leader
                    self._leaders.setdefault(leader, other._leaders[leader])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        with self._lock:
            return {
                "clustering": CLUSTERING_VERSION,
                "terms": TERMS_VERSION,
                "radius": self.radius,
                "leaders": {name: dict(vector) for name, vector in self._leaders.items()},
                "known": dict(self._known),
            }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> QueryClusters:
        """What :meth:`to_dict` wrote.

        Raises
        ------
        InvalidInput
            If it is something else, or of another version.
        """
        try:
            version = (raw["clustering"], raw["terms"])
            if version != (CLUSTERING_VERSION, TERMS_VERSION):
                wanted = (CLUSTERING_VERSION, TERMS_VERSION)
                raise InvalidInput(f"clusters of version {version}; this is {wanted}: cluster anew")
            clusters = cls(float(raw["radius"]))
            clusters._leaders = {
                str(name): {str(term): float(value) for term, value in vector.items()}
                for name, vector in raw["leaders"].items()
            }
            clusters._known = {str(name): str(leader) for name, leader in raw["known"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInput(f"no clusters: {error!r}") from error
        if not set(clusters._known.values()) <= set(clusters._leaders):
            raise InvalidInput("no clusters: a query belongs to a cluster without a leader")
        return clusters


def _name(structure: Mapping[str, float]) -> str:
    text = json.dumps(sorted(structure.items()))
    return f"{CLUSTERING_VERSION}:{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
