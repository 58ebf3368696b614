"""The queries of a live exploration, with what is known of each before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from godb_fast.core import Template
from godb_fast.engines.base import ChecksStatements, Engine, Parameters
from godb_fast.engines.dependencies import Dependencies, TellsDependencies
from godb_fast.engines.positions import located
from godb_fast.errors import Disturbed, EngineError, GodbError, MissingStatistics, QueryTimeout
from godb_fast.exploring.undisturbed import undisturbed
from godb_fast.planning.calibration import cost_model
from godb_fast.planning.proposal import TemplatePlanner
from godb_fast.sql import beyond_limits, fingerprint, parse_template
from godb_fast.sql.fingerprint import has_parameters
from godb_fast.sql.reading_part import reading_part

#: Seconds that an engine may read a statement that is not run.
CHECK_LIMIT_S: Final = 0.5


@dataclass(frozen=True)
class LiveQuery:
    """A statement to explore, and how often the workload runs it."""

    name: str
    sql: str
    params: Parameters = None
    weight: float = 1.0


class Broken(str):
    """Why a statement is not explored, where the engine would not run it at all."""

    __slots__ = ()


@dataclass(frozen=True, eq=False)
class Subject:
    """A query that may be explored.

    Parameters
    ----------
    region : bytes
        Region of its parameters' selectivities; empty where the statement cannot be planned by us.
    planner : TemplatePlanner or None
        None where join trees cannot be proposed; settings and rewrites may still be tried.
    dependencies : Dependencies or None
        What it uses; None where nobody can tell.
    """

    query: LiveQuery
    template: Template
    literals: tuple[Any, ...]
    region: bytes = b""
    planner: TemplatePlanner | None = None
    dependencies: Dependencies | None = None


def bucket_number(region: bytes) -> int:
    """A region as the bucket of a :class:`~godb_fast.exploring.memo.MemoKey`; 0 for the whole template."""
    # The leading one keeps zeros.
    return int.from_bytes(b"\x01" + region, "big") if region else 0


def region_of(bucket: int) -> bytes:
    """The region that :func:`bucket_number` was given."""
    return bucket.to_bytes((bucket.bit_length() + 7) // 8, "big")[1:] if bucket else b""


def examine(engine: Engine, query: LiveQuery, backend: str | None = None) -> Subject | str:
    """What is known of a query, or why it is not explored.

    Statements that may write, and those whose answer depends on the plan, are never explored. Of one that
    writes what a query gives (CREATE … AS, INSERT … SELECT, COPY (…)) that query is explored alone.
    The reason is :class:`Broken` where the statement is.
    """
    try:
        return undisturbed(lambda: _examined(engine, query, backend))
    except Disturbed as error:
        # It is no fault of the statement's.
        return str(error)


def _examined(engine: Engine, query: LiveQuery, backend: str | None) -> Subject | str:
    try:
        print_ = fingerprint(query.sql, engine.dialect, backend=backend)
        inside = reading_part(query.sql, engine.dialect)
        if inside is not None:
            return _examined(engine, replace(query, name=f"{query.name}, its query", sql=inside), backend)
        beyond = beyond_limits(print_)
        if beyond is not None:
            return beyond
        left_alone = why_left_alone(engine, query)
        if left_alone is not None:
            return left_alone
        effects = engine.effects(query.sql)
        if not (effects.steerable or effects.checkable):
            return effects.reason
        template = parse_template(print_, engine.dialect, engine.schema())
        if template.order_sensitive and template.cut is None:
            return template.order_sensitive
        planner = _planner(engine, template, backend)
        region = b"" if planner is None else planner.draft(print_.literals, query.params).bucket
        uses = engine.dependencies(query.sql) if isinstance(engine, TellsDependencies) else None
    except Disturbed:
        raise
    except GodbError as error:
        return Broken(f"{error}{unbound(query, engine.dialect, backend)}")
    return Subject(query, template, print_.literals, region, planner, uses)


def unbound(query: LiveQuery, dialect: str, backend: str | None = None) -> str:
    """What to do about a statement that an engine refused, given without the values of its parameters."""
    try:
        print_ = fingerprint(query.sql, dialect, backend=backend)
    except GodbError:
        return ""
    told = query.params is not None or not has_parameters(print_)
    return "" if told else "; it has parameters: write values in their places"


def why_left_alone(engine: Engine, query: LiveQuery) -> str | None:
    """Why a statement is not certain to only read; None if it is.

    The reason is :class:`Broken`, in the engine's words, where the engine refuses the statement before it
    would run it.
    """
    effects = engine.effects(query.sql)
    if effects.pure:
        return None
    if isinstance(engine, ChecksStatements):
        try:
            engine.check(query.sql, query.params, timeout_s=CHECK_LIMIT_S)
        except (QueryTimeout, Disturbed):
            # It was read, or nobody knows: no fault of the statement's.
            pass
        except EngineError as error:
            return Broken(str(located(error, query.sql)))
    return effects.reason or "it may do more than read"


def _planner(engine: Engine, template: Template, backend: str | None) -> TemplatePlanner | None:
    capabilities = engine.capabilities
    if template.reason is not None or not template.plannable or not capabilities.join_trees:
        return None
    widest = max(block.graph.size for block in template.blocks if block.graph is not None)
    if widest > capabilities.widest_join:
        return None
    try:
        return TemplatePlanner(
            template, engine.statistics(), cost_model=cost_model(engine.name), backend=backend
        )
    except MissingStatistics:
        # Settings can be tried without them.
        return None
