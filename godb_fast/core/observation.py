"""What one execution showed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from time import time
from typing import Any, cast

from godb_fast.core.identity import quick_id, random_id
from godb_fast.core.physical import PhysicalPlan


@dataclass(frozen=True, eq=False)
class Observation:
    """One execution of a statement.

    Parameters
    ----------
    outcome : str
        ``ok``, ``error``, ``timeout``, ``cancelled``.
    steered : bool
        The rows come from a steered run.
    fell_back : str or None
        Why a steered run was discarded and the engine's own plan ran instead.
    obeyed : bool or None
        Whether the engine ran the join trees that were asked for; None if that cannot be told.
    latency_ms : float
        Wall time of the engine's run that produced the rows.
    wasted_ms : float
        Time of a discarded steered run.
    plan_source : str or None
        ``profile``, ``explain``, ``analyze``, ``auto_explain``; None without a plan.
    decision_id : str
        Of the :class:`Decision`; empty where nothing was decided and nothing is recorded.
    """

    decision_id: str
    fingerprint: int
    outcome: str
    latency_ms: float
    rows: int | None = None
    steered: bool = False
    steering_key: str | None = None
    fell_back: str | None = None
    wasted_ms: float = 0.0
    obeyed: bool | None = None
    plan: PhysicalPlan | None = None
    plan_source: str | None = None
    memory_bytes: float | None = None
    engine: str = ""
    engine_version: str = ""
    database: str = ""
    machine: str = ""
    cluster: str | None = None
    execution_id: str = field(default_factory=random_id)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def noted(cls, values: dict[str, Any]) -> Observation:
        """An Observation of these fields (which become its own), made now; the others have their defaults.

        After a statement the processor's caches hold nothing of ours: what ``__init__`` does to two dozen
        fields, and the text of an id that seldom anybody reads, would take as long as planning.
        """
        observation = object.__new__(_Noted)
        values["_at_s"] = time()
        observation.__dict__.update(values)
        return observation


class _Made:
    """A field that is made of the others when first read; what is in the object comes first."""

    def __init__(self, make: Callable[[dict[str, Any]], Any]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, observation: Any, owner: type | None = None) -> Any:
        if observation is None:
            return self
        values = observation.__dict__
        # Threads that read it at once agree on one.
        return values.setdefault(self._name, self._make(values))


class _Noted(Observation):
    execution_id = cast(str, _Made(lambda values: quick_id()))
    at = cast(datetime, _Made(lambda values: datetime.fromtimestamp(values["_at_s"], UTC)))

    def __reduce__(self) -> Any:
        return Observation, tuple(getattr(self, each.name) for each in fields(Observation))
