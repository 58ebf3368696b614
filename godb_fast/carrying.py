"""What the knowledge of one statement rests on, and what a new scope takes over of the one before it.

A scope ends when anything in its catalogue changes. A template is carried over to the next one where the
statement uses what it used (:mod:`godb_fast.engines.dependencies`), its effects are judged as they were, and
its tables have neither been analysed nor grown by more than a tenth: then template, estimates, the engine's
own plans, the times seen of them and what was refused are what they would become again.
"""

from __future__ import annotations

import time

from godb_fast.engines.base import Engine, offers
from godb_fast.engines.dependencies import Dependencies, TellsDependencies, grown
from godb_fast.knowledge import KnownTemplate


def dependencies_of(engine: Engine, sql: str) -> Dependencies | None:
    """What a statement uses; None where the engine cannot tell.

    Raises
    ------
    EngineError
        If the engine does not answer.
    """
    return engine.dependencies(sql) if isinstance(engine, TellsDependencies) else None


def rest(engine: Engine, known: KnownTemplate, sql: str) -> None:
    """Note what a template rests on now, if it may be steered at all."""
    effects = known.effects
    if effects.pure and (effects.steerable or effects.checkable):
        known.sql = sql
        look(engine, known)


def look(engine: Engine, known: KnownTemplate) -> None:
    """Look again what a template rests on."""
    known.dependencies = dependencies_of(engine, known.sql)
    known.looked_at = time.monotonic()


def carried(engine: Engine, former: KnownTemplate, sql: str) -> KnownTemplate | None:
    """What was known of a template in the former scope, for the next one; None if it does not hold there.

    Raises
    ------
    EngineError
        If the engine does not answer.
    """
    before = former.dependencies
    if before is None or former.unprepared or not offers(engine, TellsDependencies):
        return None
    now = dependencies_of(engine, sql)
    if now is None or now.digest != before.digest or now.analyzed_since(before.analyzed):
        return None
    if engine.effects(sql) != former.effects or grown(engine.statistics(), _planned_rows(former)):
        return None
    known = former.carried()
    known.dependencies, known.looked_at = now, time.monotonic()
    return known


def shorten(known: KnownTemplate) -> None:
    """Make the short way of new literals to a decision out of the plans that are known."""
    planner = known.planner
    if planner is None or known.verified or known.corrected or known.rival or not known.own_plans:
        return
    known.route = planner.route(known, known.margin)
    if known.route is not None:
        for bucket, own in known.own_plans.items():
            if (nodes := planner.only_own(own)) is not None:
                known.route.learn(bucket, nodes)


def _planned_rows(known: KnownTemplate) -> tuple[tuple[str, float], ...]:
    """Rows of the tables for which a template was planned."""
    planner = known.planner
    if planner is None:
        return ()
    found: dict[str, float] = {}
    for planned in planner.blocks:
        block = known.template.blocks[planned.index]
        for relation, rows in zip(block.relations, planner.table_rows(block).tolist(), strict=True):
            if relation.table is not None:
                found[relation.table] = rows
    return tuple(found.items())
