"""What a store holds that can be learned from, and what was left out, with the reason."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import Observation
from godb_fast.learning.features import FEATURES, FEATURES_VERSION, PLAN_COLUMNS, columns
from godb_fast.learning.pipelines import PIPELINE_COLUMNS, pipelines
from godb_fast.store import SqliteStore, TrainingRows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: The newest observations that are read.
MOST_OBSERVATIONS: Final = 20_000
#: No statement that an optimizer serves takes a day; a clock that was set does.
MOST_MS: Final = 86_400_000.0
#: What a statement takes at least.
LEAST_MS: Final = 1e-3
#: What follows the database in an environment.
_SETTINGS: Final = re.compile(" (?:role|search_path)=")
#: Columns in which two plans of one query are equal.
_QUERY: Final = (columns("template"), columns("estimates"))


@dataclass(frozen=True, eq=False)
class PlanRuns:
    """Executed plans, cut into pipelines.

    Attributes
    ----------
    vectors, source_rows, seconds : float64 arrays, shapes (P, C), (P,) and (P,)
        Of all plans' pipelines; seconds are NaN where the operators were not timed.
    starts : int64 array, shape (N,)
        Where each plan's pipelines begin.
    latency_s, templates : arrays, shape (N,)
    """

    vectors: Floats
    source_rows: Floats
    seconds: Floats
    starts: Integers
    latency_s: Floats
    templates: Integers

    def owners(self) -> Integers:
        """The plan of each pipeline."""
        sizes = np.diff(self.starts, append=len(self.vectors))
        return np.repeat(np.arange(len(self.starts)), sizes)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Plans beside the engine's own plan of the same query.

    Attributes
    ----------
    vectors : float64 array, shape (N, D)
        Differences of the plan's columns, then the engine's own plan's vector.
    log_ratio : float64 array, shape (N,)
        ln(time of the plan / time of the engine's own).
    default_s : float64 array, shape (N,)
    queries, templates : int64 arrays, shape (N,)
    """

    vectors: Floats
    log_ratio: Floats
    default_s: Floats
    queries: Integers
    templates: Integers


@dataclass(frozen=True, eq=False)
class Gathered:
    """What can be learned from, of one engine.

    ``dropped`` counts, by reason, what cannot.
    """

    engine: str
    runs: PlanRuns
    served: TrainingRows
    pairs: Pairs
    since: str
    until: str
    dropped: Counter[str]


#: Columns of a pair.
PAIR_COLUMNS: Final = (
    *(f"delta_{feature.name}" for feature in PLAN_COLUMNS),
    *(feature.name for feature in FEATURES),
)


def pair_vectors(plans: Floats, default: Floats) -> Floats:
    """What the ranker reads: candidates' vectors (n, F) against the engine's own plan's (F,)."""
    count = len(PLAN_COLUMNS)
    vectors = np.empty((len(plans), count + plans.shape[1]))
    vectors[:, :count] = plans[:, :count] - default[:count]
    vectors[:, count:] = default
    return vectors


def engines_of(store: SqliteStore, database: str | None = None) -> list[str]:
    """Engines of which the store holds complete runs."""
    runs = store.template_runs()
    return sorted(
        {each.engine for each in runs if database is None or same_database(each.database, database)}
    )


def same_database(one: str, other: str) -> bool:
    """Whether two environments are of one database, whatever their roles, search paths and settings."""
    return _SETTINGS.split(one, maxsplit=1)[0] == _SETTINGS.split(other, maxsplit=1)[0]


def gather(
    store: SqliteStore, engine: str, database: str | None = None, until: datetime | None = None
) -> Gathered:
    """Read a store.

    Parameters
    ----------
    database : str, optional
        Only what ran there (``Engine.environment()``).

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    until = until or datetime.now(UTC)
    dropped: Counter[str] = Counter()
    kept = []
    for observation in store.observations(MOST_OBSERVATIONS):
        why = _unfit(observation, engine, database, until)
        if why is None:
            kept.append(observation)
        elif why:
            dropped[why] += 1
    kept.reverse()
    served = _of(
        store.features.training(FEATURES_VERSION, until, MOST_OBSERVATIONS), engine, database, dropped
    )
    moments = [each.at.isoformat() for each in kept] + list(served.moments)
    return Gathered(
        engine,
        _cut(kept),
        served,
        _pairs(served),
        min(moments, default=""),
        max(moments, default=""),
        dropped,
    )


def _unfit(seen: Observation, engine: str, database: str | None, until: datetime) -> str | None:
    """Why nothing is learned of an execution's plan; empty where that is nothing to tell."""
    if seen.engine != engine:
        return ""
    if database is not None and not same_database(seen.database, database):
        return "of another database"
    if seen.outcome != "ok":
        return "not complete"
    if seen.fell_back is not None or seen.obeyed is False:
        return "not under the plan that was asked for"
    if seen.at > until:
        return "later than the window"
    why = _absurd(seen.latency_ms)
    if why is not None:
        return why
    return "without a plan" if seen.plan is None else None


def _absurd(latency_ms: float) -> str | None:
    if not math.isfinite(latency_ms) or latency_ms > MOST_MS:
        return "an absurd time"
    if latency_ms < 0.0:
        return "a negative time"
    return None


def _cut(kept: Iterable[Observation]) -> PlanRuns:
    vectors, rows, seconds, starts, latencies, templates = [], [], [], [], [], []
    at = 0
    for seen in kept:
        assert seen.plan is not None
        found = pipelines(seen.plan)
        latency = max(seen.latency_ms, LEAST_MS) / 1e3
        count = len(found.source_rows)
        # A profile's own clock and ours differ a little: ours is what is predicted.
        known = found.seconds
        scaled = np.full(count, np.nan) if known is None else known / known.sum() * latency
        vectors.append(found.vectors)
        rows.append(found.source_rows)
        seconds.append(scaled)
        starts.append(at)
        latencies.append(latency)
        templates.append(seen.fingerprint)
        at += count
    if not starts:
        nothing, none = np.zeros(0), np.zeros(0, np.int64)
        return PlanRuns(np.zeros((0, len(PIPELINE_COLUMNS))), nothing, nothing, none, nothing, none)
    return PlanRuns(
        np.concatenate(vectors),
        np.concatenate(rows),
        np.concatenate(seconds),
        np.array(starts, np.int64),
        np.array(latencies),
        np.array(templates, np.int64),
    )


def _of(rows: TrainingRows, engine: str, database: str | None, dropped: Counter[str]) -> TrainingRows:
    """The rows of one engine, without what was poisoned."""
    keep = []
    for at in range(len(rows.latencies_ms)):
        if rows.engines[at] != engine:
            continue
        foreign = database is not None and not same_database(rows.databases[at], database)
        why = "of another database" if foreign else None
        why = why or _absurd(float(rows.latencies_ms[at]))
        if why is None and rows.vectors.shape[1] != len(FEATURES):
            why = "of another number of features"
        if why is None:
            keep.append(at)
        else:
            dropped[f"features {why}"] += 1
    chosen = np.array(keep, np.int64)
    return TrainingRows(
        rows.vectors[chosen] if len(chosen) else np.zeros((0, len(FEATURES))),
        np.maximum(rows.latencies_ms[chosen], LEAST_MS),
        rows.censored[chosen],
        rows.fingerprints[chosen],
        rows.steered[chosen],
        *(tuple(values[at] for at in keep) for values in (rows.engines, rows.databases, rows.moments)),
    )


def _pairs(rows: TrainingRows) -> Pairs:
    """Plans against the median run of the engine's own plan of the same query."""
    queries: dict[tuple[str, int, bytes], tuple[list[int], list[int]]] = {}
    for at in range(len(rows.latencies_ms)):
        same = b"".join(rows.vectors[at, part].tobytes() for part in _QUERY)
        key = (rows.databases[at], int(rows.fingerprints[at]), same)
        queries.setdefault(key, ([], []))[int(rows.steered[at])].append(at)
    vectors, ratios, defaults, numbers, templates = [], [], [], [], []
    for number, ((_, template, _), (own, others)) in enumerate(queries.items()):
        complete = [at for at in own if not rows.censored[at]]
        if not complete or not others:
            continue
        default_ms = float(np.median(rows.latencies_ms[complete]))
        ratio = np.log(rows.latencies_ms[others] / default_ms)
        # A run that was cut is slower than its bound: known to be worse, or nothing is known.
        told = ~rows.censored[others] | (ratio > 0.0)
        several = np.array(others)[told]
        described = pair_vectors(rows.vectors[several], rows.vectors[complete[-1]])
        # Plans that differ in nothing that is described differ by chance.
        apart = described[:, : len(PLAN_COLUMNS)].any(axis=1)
        if not apart.any():
            continue
        several = several[apart]
        vectors.append(described[apart])
        ratios.append(ratio[told][apart])
        defaults.append(np.full(len(several), default_ms / 1e3))
        numbers.append(np.full(len(several), number))
        templates.append(np.full(len(several), template))
    if not vectors:
        nothing, none = np.zeros(0), np.zeros(0, np.int64)
        return Pairs(np.zeros((0, len(PAIR_COLUMNS))), nothing, nothing, none, none)
    return Pairs(
        np.concatenate(vectors),
        np.concatenate(ratios),
        np.concatenate(defaults),
        np.concatenate(numbers),
        np.concatenate(templates),
    )
