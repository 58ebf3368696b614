"""Learning from the plans that a server logs by itself: nothing is run for them."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from godb_fast.core import Observation
from godb_fast.engines.base import Engine, Rendered
from godb_fast.errors import GodbError, InvalidInput
from godb_fast.exploring.subjects import LiveQuery, examine
from godb_fast.sql import fingerprint

if TYPE_CHECKING:
    from godb_fast.knowledge import Scope
    from godb_fast.optimizer import Optimizer
    from godb_fast.workload.logged_plans import LoggedPlan, LoggedPlans

#: More runs of one template teach little, and a log may hold millions.
MOST_OF_A_TEMPLATE: Final = 20


@dataclass(frozen=True)
class LearnedFromLog:
    """What came of reading a log.

    Parameters
    ----------
    plans : int
        Executions that were learned from.
    templates : int
        Of how many statements, whatever their values.
    skipped : dict of str to int
        How many were not, by reason.
    """

    plans: int
    templates: int
    skipped: dict[str, int]


def logged_plans(engine: Engine, paths: tuple[str, ...]) -> LoggedPlans:
    """The plans in log files of executions in the database that an engine is connected to.

    Raises
    ------
    InvalidInput
        If the engine is not PostgreSQL, or there is no such file.
    """
    if engine.name != "postgresql":
        raise InvalidInput(f"plans are read from PostgreSQL's log, and this is {engine.name}")
    # It takes the driver, which is there now.
    from godb_fast.workload.logged_plans import LoggedPlans

    (row,) = engine.run(Rendered("SELECT pg_catalog.current_database()")).rows
    return LoggedPlans(paths, database=str(row[0]))


def observed(plan: LoggedPlan, engine: Engine, hashed: int) -> Observation:
    """A logged execution as an Observation of the database that an engine is connected to."""
    return Observation(
        "", hashed, "ok", plan.latency_ms, plan=plan.plan, plan_source=plan.plan.source, engine=engine.name,
        engine_version=engine.version, database=engine.environment(), machine=platform.node(),
    )  # fmt: skip


def learn_from_log(
    optimizer: Optimizer, engine: Engine, scope: Scope, paths: tuple[str, ...]
) -> LearnedFromLog:
    """Rows of sub-plans and costs of operators, from logged executions of what only reads.

    Names in them are read as this connection reads them.

    Raises
    ------
    InvalidInput
        If the engine is not PostgreSQL, or there is no log of it at ``paths``.
    """
    runs: Counter[int] = Counter()
    skipped: Counter[str] = Counter()
    logged = logged_plans(engine, paths)
    for plan in logged:
        if plan.sql is None:
            skipped["without the values of their parameters"] += 1
            continue
        try:
            hashed = fingerprint(plan.sql, engine.dialect, backend=optimizer.backend).hash
        except GodbError:
            skipped["a statement that cannot be read"] += 1
            continue
        if runs[hashed] >= MOST_OF_A_TEMPLATE:
            skipped[f"beyond {MOST_OF_A_TEMPLATE} of one statement"] += 1
            continue
        subject = examine(engine, LiveQuery("logged", plan.sql), optimizer.backend)
        if isinstance(subject, str):
            skipped["a statement that is not planned for"] += 1
            continue
        runs[hashed] += 1
        optimizer.learn_apart(scope, subject, observed(plan, engine, hashed))
    optimizer.keep_lessons(scope)
    return LearnedFromLog(sum(runs.values()), len(runs), dict(skipped + logged.skipped))
