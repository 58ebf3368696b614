"""What was decided for a query, and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from godb_fast.core.identity import random_id
from godb_fast.core.plan import Plan
from godb_fast.core.steering import NO_STEERING, Steering


@dataclass(frozen=True, eq=False)
class Candidate:
    """One plan that was considered for a block.

    ``costs`` holds one estimated cost per scenario, in the order of ``Decision.scenarios``.
    """

    name: str
    block: int
    plan: Plan
    costs: tuple[float, ...]
    chosen: bool = False


class LazyCandidates(Sequence[Candidate]):
    """Candidates that are made when somebody looks at them: a good part of what planning costs.

    Parameters
    ----------
    make : callable
        Returns the candidates; called at most once per thread that looks first.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Sequence[Candidate]]) -> None:
        self._make = make
        self._made: Sequence[Candidate] | None = None

    def _all(self) -> Sequence[Candidate]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __len__(self) -> int:
        return len(self._all())

    def __getitem__(self, index: Any) -> Any:
        return self._all()[index]

    def __repr__(self) -> str:
        return repr(tuple(self._all()))

    def __reduce__(self) -> Any:
        # What makes them cannot be copied to another process; what was made can.
        return tuple, (tuple(self._all()),)


class _Told:
    """A field of Decision that is made when first read, if :meth:`Decision.told_later` made the object.

    It is no data descriptor: a value in the object's dictionary comes first.
    """

    def __init__(self, default: Any) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, decision: Any, owner: type | None = None) -> Any:
        if decision is None:
            return self._default
        values = decision.__dict__
        values["reason"], values["block_reasons"] = values["_tell"]()
        return values[self._name]


@dataclass(frozen=True, eq=False)
class Decision:
    """The chosen steering, the candidates, the reason and the time each step took.

    Shared by all calls that hit it; executions get their own ids.

    Parameters
    ----------
    sql : str
        The statement as it would be sent under ``steering`` (the original where nothing is steered).
    action : str
        ``default`` or ``steer``.
    reason : str
        One sentence: why this action.
    timings_us : mapping of str to float
        Microseconds per step of the pipeline.
    """

    fingerprint: int
    sql: str
    steering: Steering = NO_STEERING
    action: str = "default"
    reason: str = cast(str, _Told(""))
    candidates: Sequence[Candidate] = ()
    scenarios: tuple[str, ...] = ()
    block_reasons: tuple[tuple[int, str], ...] = cast("tuple[tuple[int, str], ...]", _Told(()))
    engine: str = ""
    epoch: str = ""
    models: tuple[str, ...] = ()
    timings_us: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def told_later(
        cls, tell: Callable[[], tuple[str, tuple[tuple[int, str], ...]]], values: dict[str, Any]
    ) -> Decision:
        """A decision of which hardly anybody will read why: ``tell`` makes reason and block reasons then.

        ``values`` holds the other fields; what is not in it has its default, but for ``timings_us``, which
        must be there.
        """
        decision = object.__new__(cls)
        values["_tell"] = tell
        decision.__dict__.update(values)
        return decision

    @cached_property
    def id(self) -> str:
        """A UUID, made when first asked for."""
        return random_id()

    @property
    def total_us(self) -> float:
        """Microseconds that deciding took."""
        return float(sum(self.timings_us.values()))

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain data for JSON."""
        return {
            "id": self.id,
            "fingerprint": f"{self.fingerprint & (2**64 - 1):016x}",
            "engine": self.engine,
            "epoch": self.epoch,
            "action": self.action,
            "reason": self.reason,
            "sql": self.sql,
            "steering": json.loads(self.steering.to_json()),
            "scenarios": list(self.scenarios),
            "blocks": [{"block": block, "reason": reason} for block, reason in self.block_reasons],
            "candidates": [
                {
                    "name": entry.name,
                    "block": entry.block,
                    "chosen": entry.chosen,
                    "algorithm": entry.plan.algorithm,
                    "costs": list(entry.costs),
                    "rows": entry.plan.rows,
                    "tree": _named(entry.plan),
                }
                for entry in self.candidates
            ],
            "models": list(self.models),
            "timings_us": dict(self.timings_us),
        }

    def explain(self, format: str = "text") -> str:
        """Why this plan, as ``text`` or ``json``."""
        if format == "json":
            return json.dumps(self.to_dict(), indent=2)
        lines = [f"{self.action}: {self.reason}"]
        for block, reason in self.block_reasons:
            lines.append(f"block {block}: {reason}")
        for entry in self.candidates:
            costs = ", ".join(
                f"{name} {cost:,.0f}" for name, cost in zip(self.scenarios, entry.costs, strict=False)
            )
            lines.append(f"{'*' if entry.chosen else ' '} block {entry.block}, {entry.name}: {costs}")
            lines.extend("    " + line for line in entry.plan.draw().splitlines())
        steps = ", ".join(f"{name} {micros:.1f}" for name, micros in self.timings_us.items())
        lines.append(f"deciding took {self.total_us:.1f} µs ({steps})")
        return "\n".join(lines)


def _named(plan: Plan) -> Any:
    built: list[Any] = []
    for node in plan.nodes:
        if int(node["relation"]) >= 0:
            built.append({"relation": plan.relations[int(node["relation"])], "rows": float(node["rows"])})
        else:
            built.append(
                {
                    "left": built[int(node["left"])],
                    "right": built[int(node["right"])],
                    "rows": float(node["rows"]),
                    "cost": float(node["cost"]),
                }
            )
    return built[-1] if built else None
