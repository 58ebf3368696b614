"""The two tracks of the live benchmark.

*Repeat*: statements are explored, then statements of the same templates are measured. *Unseen*: half of the
templates are explored and the other half measured, with the best static arm learnt from the former beside
it; three splits.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import methods
from benchmarks.workloads import Loaded
from godb_fast.core import Steering
from godb_fast.engines.base import Engine, HasArms
from godb_fast.engines.registry import open_engine
from godb_fast.errors import EngineError, InvalidInput, QueryTimeout
from godb_fast.exploring.live import ExplorationReport
from godb_fast.exploring.subjects import LiveQuery
from godb_fast.report import Comparison, Query, Settings, compare
from godb_fast.report.comparison import Arm, Extras
from godb_fast.report.gain import Gain, gain_of
from godb_fast.report.raw import RawRuns, part_of
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.store import SqliteStore

#: Splits of the unseen track.
SPLITS = 3
#: Fewer templates cannot be split.
LEAST_TEMPLATES = 4


@dataclass(frozen=True)
class Plan:
    """How to explore and measure."""

    budget: str = "2x"
    cap_s: float = 20.0
    rounds: int = 3
    seed: int = 1
    store: Path | None = None
    resume: bool = False
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Track:
    """What one part came to; ``wall_s`` is the time that exploring took on the clock."""

    part: str
    gain: Gain
    wall_s: float
    notes: tuple[str, ...] = ()


@contextmanager
def _session(url: str, store: SqliteStore) -> Iterator[Session]:
    optimizer = Optimizer(policy=Policy(background=False), store=store)
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
            with _session(loaded.url, store) as session:
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
    """Explore half of the templates and measure the other half, in three splits.

    Raises
    ------
    InvalidInput
        If there are too few templates.
    """
    names = [entry.name for entry in loaded.explored]
    if len(names) < LEAST_TEMPLATES:
        raise InvalidInput(f"{len(names)} templates cannot be split; the unseen track needs more")
    if plan.methods:
        raise InvalidInput("methods choose among statements that they explored: they have the repeat track")
    for seed in range(plan.seed, plan.seed + SPLITS):
        mixed = names.copy()
        random.Random(seed).shuffle(mixed)
        training = set(mixed[: len(mixed) // 2])
        yield _split(loaded, plan, f"{part}split {seed}", raw, training)


def _split(loaded: Loaded, plan: Plan, part: str, raw: RawRuns | None, training: set[str]) -> Track:
    explored = [entry for entry in loaded.explored if entry.name in training]
    measured = [entry for entry in loaded.measured if entry.name not in training]
    with tempfile.TemporaryDirectory(prefix="godb_fast-steering-") as folder:
        # Splits must not know of each other: each has a store of its own.
        path = Path(folder) / "store.sqlite"
        if plan.store is not None:
            path = plan.store.with_name(f"{plan.store.name}-{part.replace(' ', '-')}")
        store = SqliteStore(path)
        try:
            with _session(loaded.url, store) as session:
                exploration, wall_s = _explore(session, explored, plan)
                arms: dict[str, Arm] = {}
                notes = []
                if isinstance(session.engine, HasArms):
                    static = best_static_arm(session.engine, explored, exploration, plan.cap_s)
                    notes.append(static.told)
                    arms["best static arm"] = static.arm(session.engine)
                else:
                    notes.append(f"{session.engine.name} has no settings for arms: no static arm beside ours")
                gain = _measure(session, measured, exploration, plan, part, raw, arms)
        finally:
            store.close()
    return Track(part, gain, wall_s, tuple(notes))


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


def best_static_arm(
    engine: Engine, queries: Sequence[LiveQuery], exploration: ExplorationReport, cap_s: float
) -> StaticArm:
    """The arm under which the explored statements take least, each arm cut when it is beaten.

    What that takes is told, and is not in the exploration's budget.
    """
    assert isinstance(engine, HasArms)
    default_s = {entry.name: entry.default_s for entry in exploration.queries if entry.default_s > 0.0}
    dearest_first = sorted(
        (entry for entry in queries if entry.name in default_s), key=lambda entry: -default_s[entry.name]
    )
    applies: dict[str, set[str]] = {}
    settings: dict[str, tuple[tuple[str, str], ...]] = {}
    for query in dearest_first:
        for arm in engine.arms(engine.explain(query.sql)):
            settings[arm.name] = arm.settings
            applies.setdefault(arm.name, set()).add(query.name)
    best_s, best = sum(default_s.values()), ""
    spent_s = 0.0
    for name, values in settings.items():
        # Where an arm cannot change the plan, the default's time is its time.
        total = sum(seconds for query, seconds in default_s.items() if query not in applies[name])
        steering = Steering(settings=values)
        for query in dearest_first:
            if query.name not in applies[name]:
                continue
            if total >= best_s:
                break
            limit = min(cap_s, best_s - total)
            begun = time.perf_counter()
            try:
                engine.run(engine.under(query.sql, None, steering), timeout_s=limit)
                took = time.perf_counter() - begun
            except QueryTimeout:
                took = limit
            except EngineError:
                took = best_s
            spent_s += time.perf_counter() - begun
            total += took
        if total < best_s:
            best_s, best = total, name
    ratio = best_s / sum(default_s.values()) if default_s else 1.0
    told = (
        f"best static arm on the explored templates: {best or 'none, the default'} ({ratio:.2f} there); "
        f"finding it took {spent_s:.0f} s"
    )
    return StaticArm(best, settings.get(best, ()), told)
