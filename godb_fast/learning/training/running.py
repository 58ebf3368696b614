"""Trains what a store's data suffice for, and exports it; the models before serve until then."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from godb_fast.errors import InvalidInput, ModelRefused
from godb_fast.learning.models import Card, Model, ModelFolder
from godb_fast.learning.models.shipped import SHIPPED
from godb_fast.learning.training import ranking, trainers
from godb_fast.learning.training.asking import check_asked, check_installed, folder_of, store_of
from godb_fast.learning.training.exporting import export
from godb_fast.learning.training.gathering import Gathered, engines_of, gather
from godb_fast.learning.training.splitting import rounds
from godb_fast.learning.training.trainers import Fitted, Stopped, Watch
from godb_fast.store import SqliteStore

log = logging.getLogger("godb_fast")

#: Quantiles of the latency that get a model.
HEADS: Final = (0.1, 0.5, 0.9)
#: scikit-learn lets go of the interpreter while it grows a tree: two fits run side by side.
THREADS: Final = 2
#: Another process may have exported the same version meanwhile.
ATTEMPTS: Final = 3

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Shipped:
    """How the model that ships does where the new one was judged: on templates that the new one had not seen.

    Parameters
    ----------
    compared : int
        Queries, or executions.
    error, own_error : float
        Mean loss (``learning.losses``) of the model that ships, and of the new one.
    """

    model: str
    compared: int
    error: float
    own_error: float

    @property
    def better(self) -> bool:
        """Whether the model that ships does better."""
        return self.error < self.own_error

    def __str__(self) -> str:
        return (
            f"mean error {self.own_error:.3g} on {self.compared:,} held-out outcomes, that of {self.model}, "
            f"which ships, is {self.error:.3g}"
        )


@dataclass(frozen=True)
class Trained:
    """A model that was exported; ``shipped`` tells of the one that ships under its name, if one does."""

    card: Card
    path: Path
    seconds: float
    shipped: Shipped | None = None


@dataclass(frozen=True)
class TrainingReport:
    """What training came to.

    Attributes
    ----------
    trained : tuple of Trained
    skipped : mapping of str to str
        Why a model was not made, or not exported.
    dropped : mapping of str to int
        Executions of which nothing is learned, by reason.
    """

    trained: tuple[Trained, ...]
    skipped: dict[str, str]
    dropped: dict[str, int]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "trained": [
                {
                    "model": entry.card.key,
                    "kind": entry.card.kind,
                    "path": str(entry.path),
                    "observations": entry.card.observations,
                    "templates": entry.card.templates,
                    "metrics": dict(entry.card.metrics),
                    "calibration": dict(entry.card.calibration),
                    "bytes": entry.card.size_bytes,
                    "seconds": round(entry.seconds, 2),
                    "shipped": None if entry.shipped is None else asdict(entry.shipped),
                }
                for entry in self.trained
            ],
            "skipped": self.skipped,
            "dropped": self.dropped,
            "seconds": round(self.seconds, 2),
        }


@dataclass(eq=False)
class _Progress:
    """Trees that grew, of those that are to grow."""

    report: Progress
    total: int = 0
    grown: int = 0
    what: str = field(default="")

    def __call__(self, trees: int) -> None:
        self.grown += trees
        self.report(self.what, min(self.grown / self.total, 1.0) if self.total else 0.0)


def train(
    store: SqliteStore | str | os.PathLike[str],
    folder: ModelFolder | str | os.PathLike[str] | None = None,
    *,
    engine: str | None = None,
    database: str | None = None,
    until: datetime | None = None,
    seed: int = 0,
    trained_from: str = "executions in a store, by godb-fast train",
    progress: Progress | None = None,
) -> TrainingReport:
    """Train models from what a store holds, and export those that are better than guessing.

    Parameters
    ----------
    store : SqliteStore or path
    folder : path or ModelFolder, optional
        Where models go, ``<name>/<version>``; default: the folder ``models`` beside the store.
    engine : str, optional
        Only of this one, such as ``duckdb`` (all that the store knows).
    database : str, optional
        Only what ran there (``Engine.environment()``).
    until : datetime, optional
        Learn as of then.
    progress : callable, optional
        Takes what is done now and the share that is done.

    Raises
    ------
    MissingDependency
        Without scikit-learn and skl2onnx.
    InvalidInput
        If there is no such store, or an argument is not what it should be.
    StoreError
        If the store cannot be read.
    ModelRefused
        If the folder cannot be written, which is tried first, or a model; those before it serve.
    KeyboardInterrupt
        Within the time that one tree takes; nothing half-done is left.
    """
    begun = time.perf_counter()
    check_installed()
    check_asked(engine, database, until, seed, trained_from, progress)
    store = store_of(store)
    models = folder_of(store, folder)
    engines = [engine] if engine is not None else engines_of(store, database)
    trained: list[Trained] = []
    skipped: dict[str, str] = {}
    dropped: dict[str, int] = {}
    if not engines:
        skipped["all models"] = "the store holds no complete executions"
    counted = _Progress(progress or (lambda what, share: None))
    for each in engines:
        counted.what = f"reading {each}"
        counted(0)
        found = gather(store, each, database, until)
        for reason, count in found.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
        _train_one(found, models, seed, trained_from, counted, trained, skipped)
    return TrainingReport(tuple(trained), skipped, dropped, time.perf_counter() - begun)


def _train_one(
    found: Gathered,
    models: ModelFolder,
    seed: int,
    trained_from: str,
    counted: _Progress,
    trained: list[Trained],
    skipped: dict[str, str],
) -> None:
    """All models of one engine."""
    watch = Watch(grew=counted)
    jobs: dict[str, Callable[[], Fitted]] = {}
    for job in _jobs(found, watch, seed):
        known = len(np.unique(job.templates))
        if job.rows < job.least or known < trainers.LEAST_TEMPLATES:
            skipped[job.name] = (
                f"too little to learn from: {job.rows} of at least {job.least} {job.unit}, {known} of at "
                f"least {trainers.LEAST_TEMPLATES} templates; {job.more}"
            )
        else:
            jobs[job.name] = job.train
            # One fit on all, and one for each round of held-out templates.
            counted.total += job.trees * (1 + job.rounds)
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="godb_fast-train")
    try:
        futures = {name: pool.submit(_timed, job) for name, job in jobs.items()}
        fits: dict[str, tuple[Fitted, float]] = {}
        for name, future in futures.items():
            counted.what = name
            try:
                fitted, seconds = _result(future)
            except ValueError as error:
                skipped[name] = str(error)
                continue
            if fitted.refused is not None:
                skipped[name] = fitted.refused
                continue
            fits[name] = fitted, seconds
        heads = [_head(found.engine, level) for level in HEADS]
        refused = [name for name in heads if name in skipped]
        for name in heads:
            if refused and fits.pop(name, None) is not None:
                skipped[name] = f"it serves together with {' and '.join(refused)} alone"
        for name, (fitted, seconds) in fits.items():
            begun = time.perf_counter()
            card, path = _export(fitted, name, found, models, trained_from)
            shipped = _shipped(fitted, name, found.engine)
            trained.append(Trained(card, path, seconds + time.perf_counter() - begun, shipped))
    except BaseException:
        watch.stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _shipped(fitted: Fitted, name: str, engine: str) -> Shipped | None:
    """How the model that ships under a name does beside the new one; None if there is none that can tell."""
    model = Model.newest(SHIPPED, name)
    if model is None or not len(fitted.losses):
        return None
    latency = Model.newest(SHIPPED, f"{engine}-latency") if fitted.kind == "ranker" else None
    try:
        losses = fitted.losses_of(model, latency)
    except InvalidInput as error:
        log.info("%s is not compared with %s: %s", name, model.key, error)
        return None
    return Shipped(model.key, len(losses), float(losses.mean()), float(fitted.losses.mean()))


def _head(engine: str, level: float) -> str:
    return f"{engine}-p{level * 100:02.0f}"


#: What adds executions with a plan, by engine: PostgreSQL tells none of a plain execution.
_MEASURED: Final = {
    "duckdb": "godb-fast costs URL FILE.sql adds some of each statement, and sessions some of slow ones "
    "(Policy(learn_from_ms=50))",
    "postgresql": "godb-fast costs URL FILE.sql adds some of each statement, with --log those that "
    "auto_explain wrote",
}
#: What adds executions whose statements were described before they ran.
_DESCRIBED: Final = (
    "statements of Policy(learn_from_ms=50) or more add some in sessions of the modes advise and steer: the "
    "first four runs of a template, then one in eight"
)


@dataclass(frozen=True, eq=False)
class _Job:
    """A model to train: what there is to learn from, what it needs, and what its training takes."""

    name: str
    rows: int
    templates: Any
    least: int
    trees: int
    rounds: int
    train: Callable[[], Fitted]
    unit: str
    more: str


def _jobs(found: Gathered, watch: Watch, seed: int) -> list[_Job]:
    runs, pairs, served = found.runs, found.pairs, found.served
    share = ranking.COST_SHARES.get(found.engine, ranking.COST_SHARE)
    latency_share = ranking.LATENCY_SHARES.get(found.engine, 0.0)
    if len(runs.starts) < trainers.LEAST_RUNS or len(np.unique(runs.templates)) < trainers.LEAST_TEMPLATES:
        latency_share = 0.0
    heard_trees = trainers.LATENCY.trees if latency_share > 0.0 else 0
    complete = served.fingerprints[~served.censored]
    return [
        _Job(
            f"{found.engine}-latency",
            len(runs.starts),
            runs.templates,
            trainers.LEAST_RUNS,
            trainers.LATENCY.trees,
            rounds(len(runs.vectors)),
            partial(trainers.latency, runs, watch, seed),
            "executions with a plan",
            _MEASURED.get(found.engine, _MEASURED["duckdb"]),
        ),
        _Job(
            f"{found.engine}-ranker",
            len(pairs.log_ratio),
            pairs.templates,
            trainers.LEAST_PAIRS,
            ranking.RANKER.trees + ranking.PLAN.trees + heard_trees,
            ranking.ROUNDS,
            partial(ranking.ranker, pairs, watch, seed, share, runs, latency_share),
            "plans beside the engine's own",
            "godb-fast explore adds some of each query that it explores",
        ),
        *(
            _Job(
                _head(found.engine, level),
                len(complete),
                complete,
                trainers.LEAST_RUNS,
                trainers.QUANTILE.trees,
                rounds(len(complete)),
                partial(trainers.quantile, served, level, watch, seed),
                "executions that were described",
                _DESCRIBED,
            )
            for level in HEADS
        ),
    ]


def _timed(job: Callable[[], Fitted]) -> tuple[Fitted, float]:
    begun = time.perf_counter()
    return job(), time.perf_counter() - begun


def _result(future: Future[tuple[Fitted, float]]) -> tuple[Fitted, float]:
    """Wait in steps, so that Ctrl-C arrives between them."""
    while not wait([future], timeout=0.2).done:
        pass
    try:
        return future.result()
    except Stopped as stopped:
        raise KeyboardInterrupt from stopped


def _export(
    fitted: Fitted, name: str, found: Gathered, models: ModelFolder, trained_from: str
) -> tuple[Card, Path]:
    for attempt in range(1, ATTEMPTS + 1):
        file = export(
            fitted.estimator,
            fitted.rows,
            name=name,
            version=models.next_version(name),
            kind=fitted.kind,
            engine=found.engine,
            columns=fitted.columns,
            quantile=fitted.quantile,
            since=found.since,
            until=found.until,
            observations=fitted.observations,
            templates=fitted.templates,
            trained_from=trained_from,
            calibration=fitted.calibration,
            metrics=fitted.metrics,
            least=fitted.least,
            most=fitted.most,
        )
        try:
            return file.card, models.export(file.card, file.data)
        except ModelRefused as error:
            if error.reason != "exists" or attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")
