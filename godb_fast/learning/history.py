"""What earlier executions say of a query: its own, its neighbours', and the workload's rhythm."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import Observation

Floats = NDArray[np.float64]
Key = TypeVar("Key")

#: Runs that an entry remembers: older ones fade.
_MEMORY = 50.0
#: Rates are averaged over about so long, and over a twelfth of that for bursts.
_HOUR_S = 3600.0
#: No statement runs for longer than a week.
_LONGEST_MS: Final = 7 * 86_400_000.0
#: What follows the database in an environment.
_SETTINGS: Final = re.compile(" (?:role|search_path)=")


def database_of(environment: str) -> str:
    """The database of an environment, whatever the role, the search path and settings."""
    return _SETTINGS.split(environment, maxsplit=1)[0]


def place_of(engine: str, environment: str) -> str:
    """Whose history an execution belongs to: a database's, whatever the role and the search path."""
    return f"{engine} {database_of(environment)}"


@dataclass
class _Entry:
    runs: float = 0.0
    mean: float = 0.0
    square: float = 0.0
    last_s: float = 0.0
    rate: float = 0.0
    recent: float = 0.0

    def add(self, log_ms: float, at_s: float) -> None:
        self.runs += 1.0
        share = 1.0 / min(self.runs, _MEMORY)
        away = log_ms - self.mean
        self.mean += share * away
        self.square = (1.0 - share) * (self.square + share * away * away)
        self.rate, self.recent = self.rates(at_s)
        self.rate += 1.0
        self.recent += 12.0
        self.last_s = max(self.last_s, at_s)

    def rates(self, at_s: float) -> tuple[float, float]:
        """Executions an hour, lately and just now."""
        passed = max(at_s - self.last_s, 0.0)
        return self.rate * math.exp(-passed / _HOUR_S), self.recent * math.exp(-12.0 * passed / _HOUR_S)


class WorkloadHistory:
    """Latencies and frequencies by fingerprint and by cluster, in bounded memory.

    Observations are added after they happened and features are read before a decision, so that a vector never
    holds what serving could not have known. Only complete runs count; a discarded steered run does not.
    """

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._queries: OrderedDict[tuple[str, int], _Entry] = OrderedDict()
        self._clusters: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    def add(self, observation: Observation) -> bool:
        """Take in an execution; False if it says nothing."""
        if observation.outcome != "ok":
            return False
        at_s = observation.at.timestamp()
        place = place_of(observation.engine, observation.database)
        return self.note(place, observation.fingerprint, observation.cluster, observation.latency_ms, at_s)

    def note(self, place: str, fingerprint: int, cluster: str | None, latency_ms: float, at_s: float) -> bool:
        """Take in a complete run, after all that came before it; False if its time is absurd.

        Parameters
        ----------
        place : str
            See :func:`place_of`.
        at_s : float
            Seconds since 1970.
        """
        if not 0.0 <= latency_ms <= _LONGEST_MS:
            return False
        log_ms = math.log1p(latency_ms)
        self._touch(self._queries, (place, fingerprint)).add(log_ms, at_s)
        if cluster is not None:
            self._touch(self._clusters, (place, cluster)).add(log_ms, at_s)
        return True

    def _touch(self, entries: OrderedDict[Key, _Entry], key: Key) -> _Entry:
        entry = entries.get(key)
        if entry is None:
            entry = entries[key] = _Entry()
            if len(entries) > self._most:
                entries.popitem(last=False)
        entries.move_to_end(key)
        return entry

    def features(
        self, place: str, fingerprint: int, at: datetime, cluster: str | None = None
    ) -> tuple[Floats, Floats]:
        """The features of sources ``history`` and ``workload`` for a statement that arrives now."""
        at_s = at.timestamp()
        own = self._queries.get((place, fingerprint)) or _Entry(last_s=at_s)
        near = self._clusters.get((place, cluster or "")) or _Entry()
        recency_s = max(at_s - own.last_s, 0.0)
        history = np.array(
            [
                math.log1p(own.runs),
                own.mean,
                math.sqrt(max(own.square, 0.0)),
                math.log1p(recency_s),
                math.log1p(near.runs),
                near.mean,
            ]
        )
        rate, recent = own.rates(at_s)
        utc = at.astimezone(UTC)
        angle = 2.0 * math.pi * (utc.hour + utc.minute / 60.0) / 24.0
        workload = np.array(
            [
                math.log1p(rate),
                math.log1p(recent / (rate + 1.0)),
                math.sin(angle),
                math.cos(angle),
                float(utc.weekday() >= 5),
                # A second or more, less than ten times an hour: a report rather than a transaction.
                float(own.runs > 0 and own.mean >= math.log1p(1000.0) and rate < 10.0),
            ]
        )
        return history, workload
