"""What a store holds that can be learned from, and what was left out, with the reason."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import Observation
from godb_fast.learning.features import FEATURES, FEATURES_VERSION, PHYSICAL_VERSION
from godb_fast.learning.history import database_of
from godb_fast.learning.physical import PAIR_COLUMNS, PHYSICAL_COLUMNS, pair_vectors
from godb_fast.learning.pipelines import PIPELINE_COLUMNS, Pipelines, is_packed, pipelines
from godb_fast.store import PlanRun, SqliteStore, TrainingRows
from godb_fast.store.tables import utc

log = logging.getLogger("godb_fast")

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: The newest observations that are read.
MOST_OBSERVATIONS: Final = 20_000
#: The newest runs of plans that are read.
MOST_TRIALS: Final = 50_000
#: No statement that an optimizer serves takes a day; a clock that was set does.
MOST_MS: Final = 86_400_000.0
#: What a statement takes at least.
LEAST_MS: Final = 1e-3
#: Why rows are left out that the store cannot read.
DAMAGED: Final = "damaged in the store"
_COST: Final = [feature.name for feature in PHYSICAL_COLUMNS].index("cost")


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
        In the order of ``PAIR_COLUMNS``.
    log_ratio : float64 array, shape (N,)
        ln(time of the plan / time of the engine's own).
    cut : bool array, shape (N,)
        The plan's run was stopped: its ratio is at least so much.
    default_s : float64 array, shape (N,)
    queries, templates : int64 arrays, shape (N,)
    steerings : str array, shape (N,)
        What was asked for.
    plans, own_plans : object arrays, shape (N,)
        The pipelines of the plan and of the engine's own (``learning.pipelines.packed``), or None.
    """

    vectors: Floats
    log_ratio: Floats
    cut: NDArray[np.bool_]
    default_s: Floats
    queries: Integers
    templates: Integers
    steerings: NDArray[np.str_]
    plans: NDArray[np.object_]
    own_plans: NDArray[np.object_]

    def only(self, rows: NDArray[np.bool_]) -> Pairs:
        """Some of them."""
        return Pairs(*(getattr(self, each.name)[rows] for each in fields(self)))


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


def engines_of(store: SqliteStore, database: str | None = None) -> list[str]:
    """Engines of which the store holds runs."""
    seen = {(each.engine, each.database) for each in store.template_runs()}
    trials = store.trials.runs(PHYSICAL_VERSION, "", datetime.now(UTC), MOST_TRIALS)
    seen |= {(run.engine, run.database) for run in trials}
    return sorted({engine for engine, where in seen if database is None or same_database(where, database)})


def same_database(one: str, other: str) -> bool:
    """Whether two environments are of one database, whatever their roles, search paths and settings."""
    return database_of(one) == database_of(other)


def gather(
    store: SqliteStore,
    engine: str,
    database: str | None = None,
    until: datetime | None = None,
    *,
    since: datetime | None = None,
    only: str | None = None,
    most: int = MOST_OBSERVATIONS,
) -> Gathered:
    """Read a store.

    Parameters
    ----------
    database : str, optional
        Only what ran there (``Engine.environment()``).
    since : datetime, optional
        Only what came later than that.
    only : str, optional
        Only what models of this kind read.
    most : int
        The newest executions that are read.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    until = until or datetime.now(UTC)
    dropped: Counter[str] = Counter()
    damaged: Counter[str] = Counter()
    kept: list[tuple[Observation, Pipelines]] = []
    read = store.observations(most, since=since, left_out=damaged) if only in (None, "latency") else ()
    for observation in read:
        why = _unfit(observation, engine, database, until)
        if since is not None and observation.at <= since:
            why = ""
        if why is None:
            found = _described(observation)
            if found is not None:
                kept.append((observation, found))
            else:
                damaged[engine] += 1
        elif why:
            dropped[why] += 1
    _note(dropped, DAMAGED, damaged, engine)
    kept.reverse()
    trials = []
    if only in (None, "ranker"):
        trials = _trials(store, engine, database, until, dropped, since)
    damaged = Counter()
    limit = most if only in (None, "quantile") else 0
    rows = store.features.training(FEATURES_VERSION, until, limit, left_out=damaged)
    _note(dropped, f"features {DAMAGED}", damaged, engine)
    served = _of(rows, engine, database, dropped, since)
    moments = [each.at.isoformat() for each, _ in kept] + [run.at.isoformat() for run in trials]
    moments += served.moments
    return Gathered(
        engine,
        _cut(kept),
        served,
        pairs_of(trials),
        min(moments, default=""),
        max(moments, default=""),
        dropped,
    )


def _note(dropped: Counter[str], why: str, damaged: Counter[str], engine: str) -> None:
    if damaged[engine]:
        dropped[why] += damaged[engine]


def _described(seen: Observation) -> Pipelines | None:
    """An execution's pipelines; None where its plan is none that any engine tells."""
    assert seen.plan is not None
    try:
        with np.errstate(all="ignore"):
            found = pipelines(seen.plan)
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        log.debug("a plan cannot be described: %s", error)
        return None
    told = (found.vectors, found.source_rows, *(() if found.seconds is None else (found.seconds,)))
    return found if all(np.isfinite(each).all() for each in told) else None


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


def _trials(
    store: SqliteStore,
    engine: str,
    database: str | None,
    until: datetime,
    dropped: Counter[str],
    since: datetime | None,
) -> list[PlanRun]:
    """Runs of plans, without what was poisoned."""
    kept = []
    damaged: Counter[str] = Counter()
    runs = store.trials.runs(PHYSICAL_VERSION, engine, until, MOST_TRIALS, since=since, left_out=damaged)
    _note(dropped, f"plan runs {DAMAGED}", damaged, engine)
    for run in runs:
        foreign = database is not None and not same_database(run.database, database)
        why = "of another database" if foreign else _absurd(run.seconds * 1e3)
        if why is None and len(run.vector) != len(PHYSICAL_COLUMNS):
            why = "of another number of features"
        if why is None and run.vector[_COST] == 0.0:
            # By a version that had no costs of engines that tell none, nor sound rows of imposed joins.
            why = "described without costs"
        if why is None:
            kept.append(run)
        else:
            dropped[f"plan runs {why}"] += 1
    return kept


def _absurd(latency_ms: float) -> str | None:
    if not math.isfinite(latency_ms) or latency_ms > MOST_MS:
        return "an absurd time"
    if latency_ms < 0.0:
        return "a negative time"
    return None


def _cut(kept: Iterable[tuple[Observation, Pipelines]]) -> PlanRuns:
    vectors, rows, seconds, starts, latencies, templates = [], [], [], [], [], []
    at = 0
    for seen, found in kept:
        latency = max(seen.latency_ms, LEAST_MS) / 1e3
        count = len(found.source_rows)
        # A profile's own clock and ours differ a little: ours is what is predicted.
        known = found.seconds
        scaled = (
            np.full(count, np.nan)
            if known is None or not known.sum() > 0.0
            else known / known.sum() * latency
        )
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


def _of(
    rows: TrainingRows,
    engine: str,
    database: str | None,
    dropped: Counter[str],
    since: datetime | None,
) -> TrainingRows:
    """The rows of one engine, without what was poisoned."""
    keep = []
    begin = "" if since is None else utc(since)
    for at in range(len(rows.latencies_ms)):
        if rows.engines[at] != engine or rows.moments[at] <= begin:
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


@dataclass(eq=False)
class _Query:
    """The runs of one query's plans: the engine's own, and others by what was asked for."""

    template: int
    own: list[PlanRun] = field(default_factory=list)
    others: dict[str, list[PlanRun]] = field(default_factory=dict)


def pairs_of(kept: Iterable[PlanRun]) -> Pairs:
    """Plans against the engine's own plan of the same query."""
    queries: dict[tuple[str, str], _Query] = {}
    for run in kept:
        query = queries.setdefault((run.database, run.query), _Query(run.fingerprint))
        (query.others.setdefault(run.steering, []) if run.steering else query.own).append(run)
    rows: list[tuple[Floats, float, bool, float, int, int, str]] = []
    plans: list[tuple[Floats | None, Floats | None]] = []
    for number, query in enumerate(queries.values()):
        if not query.own:
            continue
        own_s, unfinished = _seconds(query.own)
        own, own_plan = query.own[-1].vector, _packed(query.own)
        for steering, runs in query.others.items():
            took, cut = _seconds(runs)
            # Plans that differ in nothing that is described differ by chance; where both were cut, nothing
            # is known.
            if np.array_equal(runs[-1].vector, own) or (cut and unfinished):
                continue
            pair = pair_vectors(runs[-1].vector[None, :], own)[0]
            rows.append((pair, math.log(took / own_s), cut, own_s, number, query.template, steering))
            plans.append((_packed(runs), own_plan))
    columns = zip(*rows, strict=True) if rows else ((),) * 7
    vectors, ratios, cuts, defaults, numbers, templates, steerings = columns
    return Pairs(
        np.array(vectors, np.float64).reshape(len(rows), len(PAIR_COLUMNS)),
        np.array(ratios, np.float64),
        np.array(cuts, np.bool_),
        np.array(defaults, np.float64),
        np.array(numbers, np.int64),
        np.array(templates, np.int64),
        np.array(steerings, np.str_),
        _objects([plan for plan, _ in plans]),
        _objects([own for _, own in plans]),
    )


def _packed(runs: list[PlanRun]) -> Floats | None:
    """The pipelines of a plan, if they are told as they are described now."""
    return next((run.pipelines for run in reversed(runs) if is_packed(run.pipelines)), None)


def _objects(entries: list[Floats | None]) -> NDArray[np.object_]:
    found = np.empty(len(entries), np.object_)
    for at, entry in enumerate(entries):
        found[at] = entry
    return found


def _seconds(runs: list[PlanRun]) -> tuple[float, bool]:
    """The median of the complete runs; else the longest that was cut, and that it was."""
    complete = [run.seconds for run in runs if not run.cut]
    return (float(np.median(complete)), False) if complete else (max(run.seconds for run in runs), True)
