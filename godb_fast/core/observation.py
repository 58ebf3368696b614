"""What one execution showed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

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

        In a third of the time that ``__init__`` takes to assign two dozen fields one by one.
        """
        observation = object.__new__(cls)
        values["execution_id"] = quick_id()
        values["at"] = datetime.now(UTC)
        observation.__dict__.update(values)
        return observation
