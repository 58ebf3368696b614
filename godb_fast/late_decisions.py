"""Decisions whose reasons and candidates are told when somebody asks, and what these are made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from godb_fast.core import Decision, LazyCandidates
from godb_fast.engines.base import Engine, Parameters
from godb_fast.knowledge import NO_MODEL, KnownTemplate, Prepared, Scope
from godb_fast.planning.draft import Draft


class Clock:
    """Laps in microseconds, from a reading of ``time.perf_counter_ns()`` on."""

    __slots__ = ("_last", "laps")

    def __init__(self, begun: int) -> None:
        self.laps: dict[str, float] = {}
        self._last = begun

    def lap(self, name: str) -> None:
        now = time.perf_counter_ns()
        self.laps[name] = (now - self._last) / 1e3
        self._last = now


def drafted(planned: Any) -> Draft:
    known: KnownTemplate = planned.owner
    planner = known.planner or known.given_up
    assert planner is not None
    return Draft.planned(planner, planned, known.own_plans[planned.bucket], known.margin)


def made(
    scope: Scope,
    draft: Draft | None,
    planned: Any,
    field: str,
    tell: Callable[[], Any] | None = None,
    known: KnownTemplate | None = None,
) -> dict[str, Any]:
    """Fields of a LateDecision: the reasons, or all others.

    Without a draft, ``planned`` is what a route came to; else the times of its steps. ``known`` is given
    where nothing is steered.
    """
    laps = planned
    if draft is None and planned.served is not None:
        from godb_fast.recall import chosen_fields

        return {
            "reason": planned.served[2].reason,
            "block_reasons": (),
            "candidates": (),
            "scenarios": (),
            "engine": scope.engine,
            "epoch": scope.epoch,
            "timings_us": planned.timings_us,
            **chosen_fields(planned.served[2]),
        }
    if draft is None:
        draft, laps, known = drafted(planned), planned.timings_us, planned.owner
    more, fields = ("", NO_MODEL) if known is None else known.unchosen(draft.bucket)
    if field in ("reason", "block_reasons"):
        reason, block_reasons = (tell or draft.reasons)()
        return {"reason": reason + more, "block_reasons": block_reasons}
    return {
        "candidates": LazyCandidates(draft.candidates),
        "scenarios": draft.scenarios,
        "engine": scope.engine,
        "epoch": scope.epoch,
        "timings_us": laps,
        **fields,
    }


def pass_through(engine: Engine, scope: Scope | None, sql: str, params: Parameters, reason: str) -> Prepared:
    """A decision to send the statement as it is."""
    decision = Decision(
        fingerprint=0,
        sql=sql,
        reason=reason,
        engine=engine.name,
        epoch=scope.epoch if scope else "",
    )
    return Prepared(decision, params=params)
