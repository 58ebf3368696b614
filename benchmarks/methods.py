"""The protocol by which a method of exploration competes: ``--method module:Class``, live and on replay.

A method is a class without arguments. It never touches an engine: it is told what can be run, says what to
run next, and is told what became of it. Everything that it runs is charged to the same budget as ours, and
its choices are then measured as ours are. ``examples/own_method.py`` is one of twenty lines.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.matrices import Matrix
from godb_fast.engines.base import Engine, Rendered
from godb_fast.errors import ConnectionFailed, EngineError, InvalidInput, QueryTimeout
from godb_fast.exploring import Executor, Explorer, ExplorerSettings, PlanSpace, Run
from godb_fast.exploring.candidates import DEFAULT_ARM, Candidate, candidates, render_for
from godb_fast.exploring.subjects import LiveQuery, Subject, examine
from godb_fast.exploring.trials import Baseline, LiveExecutor
from godb_fast.report import Query
from godb_fast.sql import fingerprint

Floats = NDArray[np.float64]


@dataclass
class State:
    """What a method knows. It may keep whatever else it likes, but must not write here.

    Parameters
    ----------
    queries, arms : tuple of str
        Names; arm 0 is the engine's own plan.
    texts : tuple of str
        SQL by query; empty texts on stored runtimes that come without.
    templates : tuple of str
        A label per query, which queries of one template share.
    plans : int array, (queries, arms)
        Arms of a query with one number have one plan: running one of them tells about all.
    default_s : float array, (queries,)
        Seconds under the engine's own plan, known from the start.
    weight : float array, (queries,)
        How often each query runs in one pass of the workload.
    seconds : float array, (queries, arms)
        Measured times; NaN where there is none. Equal plans share theirs.
    cut_s : float array, (queries, arms)
        The longest time after which a plan had not ended yet; 0 where it was never cut.
    spent_s, budget_s : float
        Seconds that runs have taken, and may take.
    seed : int
        For what is drawn at random.
    """

    queries: tuple[str, ...]
    arms: tuple[str, ...]
    texts: tuple[str, ...]
    templates: tuple[str, ...]
    plans: NDArray[np.int64]
    default_s: Floats
    weight: Floats
    budget_s: float
    seed: int = 0
    spent_s: float = 0.0
    seconds: Floats = field(init=False)
    cut_s: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.seconds = np.where(self.plans == self.plans[:, :1], self.default_s[:, None], np.nan)
        self.cut_s = np.zeros(self.plans.shape)

    def note(self, query: int, arm: int, run: Run) -> None:
        """Take in a run."""
        same = self.plans[query] == self.plans[query, arm]
        self.spent_s += run.seconds
        if run.failed:
            self.cut_s[query, same] = math.inf
        elif run.censored:
            self.cut_s[query, same] = np.maximum(self.cut_s[query, same], run.seconds)
        else:
            self.seconds[query, same] = run.seconds


class Method(Protocol):
    """What a method has to answer."""

    def suggest(self, state: State) -> tuple[int, int, float] | None:
        """Query, arm, and seconds after which to cut the run; None when nothing is worth a run."""
        ...

    def observe(self, query: int, arm: int, seconds: float, finished: bool) -> None:
        """What became of the run: its time, or the time at which it was cut or failed."""
        ...

    def choose(self, query: int) -> int:
        """The arm for a query, by what is known now."""
        ...


def named(name: str) -> Method:
    """The method of ``module:Class``.

    Raises
    ------
    InvalidInput
        If there is none, or it lacks a part of the protocol.
    """
    module, _, class_name = name.partition(":")
    try:
        found: Method = getattr(importlib.import_module(module), class_name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"--method {name}: {error}; give module:Class of a class without arguments"
        ) from error
    for part in ("suggest", "observe", "choose"):
        if not callable(getattr(found, part, None)):
            raise InvalidInput(
                f"--method {name}: it has no {part}(); benchmarks/methods.py says what it needs"
            )
    return found


def drive(method: Method, state: State, executor: Executor, budget_s: float) -> None:
    """Run what the method suggests until so many seconds are spent or it wants no more.

    Raises
    ------
    InvalidInput
        If it suggests what there is not.
    """
    while state.spent_s < budget_s:
        suggested = method.suggest(state)
        if suggested is None:
            return
        query, arm, timeout_s = int(suggested[0]), int(suggested[1]), float(suggested[2])
        inside = 0 <= query < len(state.queries) and 0 <= arm < len(state.arms)
        if not (inside and timeout_s > 0.0):
            raise InvalidInput(f"the method suggests {suggested}: there is no such query, arm or time")
        run = executor.run(query, arm, min(timeout_s, budget_s - state.spent_s))
        state.note(query, arm, run)
        method.observe(query, arm, run.seconds, not (run.censored or run.failed))


def choices(method: Method, state: State) -> list[int]:
    """An arm per query.

    Raises
    ------
    InvalidInput
        If it chooses an arm that there is not.
    """
    chosen = [int(method.choose(query)) for query in range(len(state.queries))]
    for query, arm in enumerate(chosen):
        if not 0 <= arm < len(state.arms):
            raise InvalidInput(f"the method chooses arm {arm} for {state.queries[query]}: there is none")
    return chosen


class OwnExplorer:
    """The product's explorer as a method like any other, without confirmation by pairs."""

    confirm = "none"

    def __init__(self) -> None:
        self._explorer: Explorer | None = None
        self._promoted: dict[int, int] = {}

    def suggest(self, state: State) -> tuple[int, int, float] | None:
        """The explorer's next trial."""
        if self._explorer is None:
            space = PlanSpace.of(state.plans, state.default_s, weight=state.weight, groups=state.templates)
            self._explorer = Explorer(space, ExplorerSettings(confirm=self.confirm, seed=state.seed))
        trial = self._explorer.next(state.budget_s)
        return None if trial is None else (trial.query, trial.arm, trial.timeout_s)

    def observe(self, query: int, arm: int, seconds: float, finished: bool) -> None:
        """Record it."""
        assert self._explorer is not None
        trial = self._explorer.next()
        assert trial is not None
        self._explorer.record(trial, Run(seconds, censored=not finished))
        self._promoted = {entry.query: entry.arm for entry in self._explorer.promotions()}

    def choose(self, query: int) -> int:
        """What was promoted."""
        return self._promoted.get(query, 0)


class ConfirmingExplorer(OwnExplorer):
    """The same with the product's own rule: five pairs before anything is promoted."""

    confirm = "pairs"


# -- stored runtimes --------------------------------------------------------------------------------------


class _Stored:
    """An executor that looks runs up."""

    def __init__(self, seconds: Floats) -> None:
        self._seconds = seconds

    def run(self, query: int, arm: int, timeout_s: float) -> Run:
        taken = float(self._seconds[query, arm])
        return Run(taken) if taken < timeout_s else Run(timeout_s, censored=True)


def replay(
    matrix: Matrix, weight: Floats, name: str, seed: int, marks: Sequence[float]
) -> tuple[list[float], float]:
    """R of a method on stored runtimes after so many workload-times, and its worst choice's ratio at the end.

    Its choices are asked for at each mark; the run under way then is cut and charged.

    Raises
    ------
    InvalidInput
        If there is no such method, or it asks for what there is not.
    """
    method = named(name)
    space = PlanSpace.of(matrix.seconds, matrix.default_s, weight=weight, groups=matrix.templates)
    state = State(
        matrix.queries,
        tuple(f"arm {number}" for number in range(space.arms)),
        ("",) * space.queries,
        matrix.templates,
        space.plans,
        space.default_s,
        space.weight,
        marks[-1] * space.workload_s,
        seed,
    )
    found, rows = [], np.arange(space.queries)
    times = matrix.default_s
    for mark in marks:
        drive(method, state, _Stored(matrix.seconds), mark * space.workload_s)
        times = matrix.seconds[rows, choices(method, state)]
        found.append(float(times @ weight) / space.workload_s)
    return found, float((times / matrix.default_s).max())


# -- live -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Explored:
    """What a method chose on a live engine; :meth:`run` is its arm of a comparison."""

    engine: Engine
    chosen: dict[str, Candidate]
    subjects: dict[str, Subject]
    told: str

    def run(self, query: Query, timeout_s: float) -> object:
        """Run a statement as the method chose for the one of that name; errors fall back to the default."""
        candidate = self.chosen.get(query.name)
        begun = time.perf_counter()
        if candidate is not None:
            template = self.subjects[query.name].template
            literals = fingerprint(query.sql, self.engine.dialect).literals
            try:
                sent = render_for(self.engine, template, literals, query.sql, None, candidate.steering)
                return self.engine.run(sent, timeout_s=timeout_s)
            except (QueryTimeout, ConnectionFailed):
                raise
            except (EngineError, InvalidInput):
                # The new literals do not allow it, or the engine refuses it: as in the product.
                timeout_s = max(1e-3, timeout_s - (time.perf_counter() - begun))
        return self.engine.run(Rendered(query.sql, None), timeout_s=timeout_s)


def explore_live(
    engine: Engine, queries: Sequence[LiveQuery], name: str, budget_s: float, *, cap_s: float, seed: int = 0
) -> Explored:
    """Let a method explore on a live engine; answers are compared, and defaults charged.

    Raises
    ------
    InvalidInput
        If there is no such method, or it asks for what there is not.
    """
    method = named(name)
    subjects = [entry for query in queries if isinstance(entry := examine(engine, query), Subject)]
    executor = LiveExecutor(engine, subjects, cap_s=cap_s)
    baselines = [executor.baseline(number) for number in range(len(subjects))]
    numbers = [number for number, entry in enumerate(baselines) if entry.problem is None]
    if not numbers:
        raise InvalidInput(f"--method {name}: no statement can be explored")
    begun = time.perf_counter()
    subjects = [subjects[number] for number in numbers]
    found = [candidates(engine, subject) for subject in subjects]
    arms = tuple(dict.fromkeys(arm for entry in found for arm in entry))
    digests = [[entry.get(arm, entry[DEFAULT_ARM]).digest for arm in arms] for entry in found]
    state = _state(subjects, arms, digests, [baselines[number] for number in numbers], budget_s, seed)
    state.spent_s = sum(entry.spent_s for entry in baselines) + time.perf_counter() - begun
    drive(method, state, executor.narrowed(numbers, subjects, found, arms), budget_s)
    chosen: dict[str, Candidate] = {}
    for number, arm in enumerate(choices(method, state)):
        candidate = found[number].get(arms[arm])
        if arm and candidate is not None:
            chosen[subjects[number].query.name] = candidate
    told = f"{name}: {len(chosen)} of {len(queries)} statements steered after {state.spent_s:.0f} s"
    return Explored(engine, chosen, {subject.query.name: subject for subject in subjects}, told)


def _state(
    subjects: Sequence[Subject],
    arms: tuple[str, ...],
    digests: list[list[str]],
    baselines: Sequence[Baseline],
    budget_s: float,
    seed: int,
) -> State:
    space = PlanSpace.of(
        digests,
        [entry.seconds for entry in baselines],
        weight=[subject.query.weight for subject in subjects],
    )
    return State(
        tuple(subject.query.name for subject in subjects),
        arms,
        tuple(subject.query.sql for subject in subjects),
        tuple(str(subject.template.fingerprint) for subject in subjects),
        space.plans,
        space.default_s,
        space.weight,
        budget_s,
        seed,
    )
