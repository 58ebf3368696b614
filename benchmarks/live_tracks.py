"""The two tracks of the live benchmark.

*Repeat*: statements are explored, then statements of the same templates are measured. *Unseen*: a model
chooses for a third of the templates, having learned from others alone, with the best static arm of those
beside it; three splits.
"""

from __future__ import annotations

import logging
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import methods
from benchmarks.workloads import Loaded
from godb_fast.core import Decision, Steering
from godb_fast.engines.base import Engine, HasArms
from godb_fast.engines.registry import open_engine
from godb_fast.errors import GodbError, InvalidInput
from godb_fast.exploring.live import ExplorationReport
from godb_fast.exploring.subjects import LiveQuery
from godb_fast.learning.features import PHYSICAL_VERSION
from godb_fast.learning.gate import hears_latency
from godb_fast.learning.training import TrainingReport, train
from godb_fast.report import Comparison, Query, Settings, compare
from godb_fast.report.comparison import Arm, Extras
from godb_fast.report.gain import Gain, gain_of
from godb_fast.report.raw import RawRuns, part_of
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.sql import fingerprint
from godb_fast.store import PlanRun, SqliteStore

#: Nothing is explored on the unseen track.
_NOTHING = ExplorationReport([], 0.0, 0.0, 0.0, 0.0, 0)
log = logging.getLogger("godb_fast")

#: Splits of the unseen track.
SPLITS = 3
#: Executions that are read of a store of trials.
_MOST_EXECUTIONS = 1_000_000
#: Seconds that a look for a better plan may take.
_LOOKS_S = 30.0
#: Fewer templates cannot be split.
LEAST_TEMPLATES = 4


@dataclass(frozen=True)
class Plan:
    """How to explore and measure."""

    budget: str | None = None
    cap_s: float = 20.0
    rounds: int = 3
    seed: int = 1
    store: Path | None = None
    resume: bool = False
    methods: tuple[str, ...] = ()
    trials: Path | None = None
    untried: str = "plans"


@dataclass(frozen=True, eq=False)
class Track:
    """What one part came to; ``wall_s`` is the time that exploring took on the clock."""

    part: str
    gain: Gain
    wall_s: float
    notes: tuple[str, ...] = ()


@contextmanager
def _session(url: str, store: SqliteStore, policy: Policy) -> Iterator[Session]:
    optimizer = Optimizer(policy=policy, store=store)
    with Session(optimizer, open_engine(url, read_only=True), mode="steer") as session:
        yield session


def repeat(loaded: Loaded, plan: Plan, part: str, raw: RawRuns | None) -> Track:
    """Explore the statements, then measure others of the same templates.

    Raises
    ------
    GodbError
        If the engine is lost, or a method asks for what there is not.
    """
    with tempfile.TemporaryDirectory(prefix="godb_fast-steering-") as folder:
        store = SqliteStore(plan.store or Path(folder) / "store.sqlite")
        try:
            with _session(loaded.url, store, Policy(background=False, untried="off")) as session:
                exploration, wall_s = _explore(session, loaded.explored, plan)
                arms: dict[str, Arm] = {}
                notes: list[str] = []
                for name in plan.methods:
                    explored = methods.explore_live(
                        session.engine, loaded.explored, name, exploration.budget_s, cap_s=plan.cap_s
                    )
                    arms[name] = explored.run
                    notes.append(explored.told)
                gain = _measure(session, loaded.measured, exploration, plan, part, raw, arms)
        finally:
            store.close()
    return Track(part, gain, wall_s, tuple(notes))


def unseen(loaded: Loaded, plan: Plan, part: str, raw: RawRuns | None) -> Iterator[Track]:
    """Measure templates that no model has seen, a third of them at a time.

    A ranker is trained on the runs in ``plan.trials``, without those of the templates that are held out. Each
    held-out statement runs once, under the engine's own plan; what it is steered to from then on is measured.

    Raises
    ------
    InvalidInput
        If there are too few templates, or no trials to learn from.
    """
    names = [entry.name for entry in loaded.explored]
    if len(names) < LEAST_TEMPLATES:
        raise InvalidInput(f"{len(names)} templates cannot be split; the unseen track needs more")
    if plan.methods:
        raise InvalidInput("methods choose among statements that they explored: they have the repeat track")
    if plan.trials is None:
        raise InvalidInput(
            "the unseen track needs --trials STORE to learn from: python -m benchmarks.collecting STORE"
        )
    mixed = names.copy()
    random.Random(plan.seed).shuffle(mixed)
    for split in range(SPLITS):
        yield _split(loaded, plan, f"{part}split {split + 1}", raw, set(mixed[split::SPLITS]))


def _split(loaded: Loaded, plan: Plan, part: str, raw: RawRuns | None, held_out: set[str]) -> Track:
    measured = [entry for entry in loaded.measured if entry.name in held_out]
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="godb_fast-steering-") as folder:
        store = SqliteStore(Path(folder) / "store.sqlite")
        try:
            assert plan.trials is not None
            # As a service that ran each of them often enough for looking to pay.
            policy = Policy(untried=plan.untried, patience=0.0)
            with _session(loaded.url, store, policy) as session:
                texts = [entry.sql for entry in (*loaded.explored, *measured) if entry.name in held_out]
                trials = SqliteStore(plan.trials)
                known = _without(session.engine, trials, texts)
                store.trials.keep(PHYSICAL_VERSION, known)
                _executed(session.engine, trials, known, store)
                trained = train(store, engine=session.engine.name, trained_from=f"{plan.trials}, {part}")
                notes = [_told(trained, session.engine.name, known)]
                arms: dict[str, Arm] = {}
                if isinstance(session.engine, HasArms):
                    static = best_static_arm(session.engine, known, [entry.sql for entry in measured])
                    notes.append(static.told)
                    arms["best static arm"] = static.arm(session.engine)
                else:
                    notes.append(f"{session.engine.name} has no settings for arms: no static arm beside ours")
                _see(session, measured, plan.cap_s)
                wall_s = time.perf_counter() - begun
                gain = _measure(session, measured, _NOTHING, plan, part, raw, arms)
                counters = session.optimizer.counters
                held, broken = counters.get("bounds_held", 0), counters.get("bounds_broken", 0)
                notes.append(
                    f"chosen unverified: {counters.get('untried', 0)} of {len(measured)} statements; "
                    f"of {held + broken} runs {held} kept to their bound"
                )
        finally:
            store.close()
    return Track(part, gain, wall_s, tuple(notes))


def _without(engine: Engine, trials: SqliteStore, texts: Sequence[str]) -> list[PlanRun]:
    """The runs of a store but those of some statements' templates."""
    hidden = {fingerprint(text, engine.dialect).hash for text in texts}
    runs = trials.trials.runs(PHYSICAL_VERSION, engine.name, datetime.now(UTC))
    hidden_names = {run.query.rpartition(" ")[0] for run in runs if run.fingerprint in hidden}
    # Other literals may have made another template of the same statement.
    return [run for run in runs if run.query.rpartition(" ")[0] not in hidden_names]


def _executed(engine: Engine, source: SqliteStore, known: Sequence[PlanRun], store: SqliteStore) -> None:
    """Copy the executions of the templates that may be learned from: latency models read their plans."""
    allowed = {run.fingerprint for run in known}
    for observation in source.observations(_MOST_EXECUTIONS):
        if observation.engine == engine.name and observation.fingerprint in allowed:
            store.record(Decision(observation.fingerprint, "", engine=engine.name), observation)
    if not store.flush(120.0):
        raise GodbError(f"the executions could not be copied: {store.health().reason}")


def _told(trained: TrainingReport, engine: str, known: Sequence[PlanRun]) -> str:
    name, templates = f"{engine}-ranker", len({run.fingerprint for run in known})
    names = {entry.card.name for entry in trained.trained}
    for entry in trained.trained:
        if entry.card.name == name:
            if hears_latency(entry.card) and f"{engine}-latency" not in names:
                # The one that ships has seen these templates.
                raise InvalidInput(f"no latency model was trained beside {name}: {trained.skipped}")
            figures = ", ".join(f"{key} {value:.3g}" for key, value in entry.card.metrics.items())
            level, share = entry.card.calibration["level"], entry.card.calibration["latency_share"]
            return (
                f"ranker trained on {len(known)} runs of {templates} templates (level {level:g}, say of the "
                f"latency model {share:g}; on templates held out within these: {figures})"
            )
    return f"no ranker: {trained.skipped.get(name, 'nothing to learn from')}"


def _see(session: Session, queries: Sequence[Query], cap_s: float) -> None:
    """Run each statement once, as a service would have before, and wait for what is looked for beside it."""
    for query in queries:
        try:
            session.optimize(query.sql)
            session.execute(query.sql, timeout_s=cap_s)
        except GodbError as error:
            log.info("%s: %s", query.name, error)
        session.wait_prepared(_LOOKS_S)


def _explore(session: Session, queries: Sequence[LiveQuery], plan: Plan) -> tuple[ExplorationReport, float]:
    begun = time.perf_counter()
    exploration = session.explore(
        queries, plan.budget, cap_s=plan.cap_s, resume=plan.resume and plan.store is not None
    )
    if exploration.interrupted:
        raise KeyboardInterrupt
    return exploration, time.perf_counter() - begun


def _measure(
    session: Session,
    queries: Sequence[Query],
    exploration: ExplorationReport,
    plan: Plan,
    part: str,
    raw: RawRuns | None,
    arms: Mapping[str, Arm],
) -> Gain:
    records = session.optimizer.records
    key = part_of(queries, plan.cap_s, part)
    begun = time.time()
    comparison: Comparison = compare(
        session,
        queries,
        Settings.capped(plan.rounds, plan.cap_s, plan.seed),
        extras=Extras(arms=arms) if raw is None else raw.extras(key, arms),
    )
    if comparison.interrupted:
        raise KeyboardInterrupt
    return gain_of(exploration, comparison, [] if records is None else records.losses(begun))


# -- the best static arm ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class StaticArm:
    """Settings for all statements alike; no settings: the engine's own plans were best."""

    name: str
    settings: tuple[tuple[str, str], ...]
    told: str

    def arm(self, engine: Engine) -> Arm:
        """Runs a statement under the settings."""
        steering = Steering(settings=self.settings)

        def run(query: Query, timeout_s: float) -> object:
            assert isinstance(engine, HasArms)
            return engine.run(engine.under(query.sql, None, steering), timeout_s=timeout_s)

        return run


def best_static_arm(engine: Engine, known: Sequence[PlanRun], texts: Sequence[str]) -> StaticArm:
    """The arm under which the runs of a store took least; queries without a run under it took the default's.

    Parameters
    ----------
    texts : sequence of str
        Statements whose plans say which arms there are.
    """
    assert isinstance(engine, HasArms)
    arms: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {}
    for text in texts:
        for arm in engine.arms(engine.explain(text)):
            arms[Steering(settings=arm.settings).key] = arm.name, arm.settings
    own: dict[str, list[float]] = {}
    under: dict[str, dict[str, float]] = {}
    for run in known:
        if not run.steering:
            own.setdefault(run.query, []).append(run.seconds)
        elif run.steering in arms:
            under.setdefault(run.steering, {})[run.query] = run.seconds
    defaults = {query: statistics.median(seconds) for query, seconds in own.items()}
    default_s = sum(defaults.values())
    totals = {
        key: sum(runs.get(query, seconds) for query, seconds in defaults.items())
        for key, runs in under.items()
    }
    best = min(totals, key=lambda key: totals[key], default=None)
    if best is None or totals[best] >= default_s:
        return StaticArm("", (), "best static arm of the templates learned from: none, the default")
    name, settings = arms[best]
    told = f"best static arm of the templates learned from: {name} ({totals[best] / default_s:.2f} there)"
    return StaticArm(name, settings, told)
