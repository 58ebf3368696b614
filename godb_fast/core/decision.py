"""What was decided for a query, and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Final, cast

from godb_fast.core.choice import Bound, SupportVerdict
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
    models : tuple of str
        Name and version of each model that was asked.
    bound : Bound or None
        What was promised for the chosen plan (or, where that kept it back, for the best one).
    support : SupportVerdict or None
        Whether the query lies where the models learned; None where no model was asked.
    cluster : str or None
        The cluster that the query belongs to.
    timings_us : mapping of str to float
        Microseconds per step of the pipeline.
    """

    fingerprint: int
    sql: str
    steering: Steering = NO_STEERING
    action: str = "default"
    reason: str = ""
    candidates: Sequence[Candidate] = ()
    scenarios: tuple[str, ...] = ()
    block_reasons: tuple[tuple[int, str], ...] = ()
    engine: str = ""
    epoch: str = ""
    models: tuple[str, ...] = ()
    timings_us: Mapping[str, float] = field(default_factory=dict)
    bound: Bound | None = None
    support: SupportVerdict | None = None
    cluster: str | None = None

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
            "bound": None if self.bound is None else self.bound.to_dict(),
            "support": None if self.support is None else self.support.to_dict(),
            "cluster": self.cluster,
            "timings_us": dict(self.timings_us),
        }

    def explain(self, format: str = "text") -> str:
        """Why this plan, as ``text`` or ``json``."""
        if format == "json":
            return json.dumps(self.to_dict(), indent=2)
        lines = [f"{self.action}: {self.reason}"]
        if self.bound is not None:
            lines.append(f"bound: {self.bound}")
        if self.support is not None:
            lines.append(f"support: {self.support}")
        if self.cluster is not None:
            lines.append(f"cluster: {self.cluster}")
        for block, reason in self.block_reasons:
            lines.append(f"block {block}: {reason}")
        for entry in self.candidates:
            costs = ", ".join(
                f"{name} {cost:,.0f}" for name, cost in zip(self.scenarios, entry.costs, strict=False)
            )
            lines.append(f"{'*' if entry.chosen else ' '} block {entry.block}, {entry.name}: {costs}")
            lines.extend("    " + line for line in entry.plan.draw().splitlines())
        # A first sight loads modules and statistics: then microseconds tell nobody anything.
        unit, us = ("µs", 1.0) if self.total_us < LONG_US else ("ms", 1e3)
        steps = ", ".join(f"{name} {micros / us:.1f}" for name, micros in self.timings_us.items())
        lines.append(f"deciding took {self.total_us / us:.1f} {unit} ({steps})")
        return "\n".join(lines)


#: Beyond so many microseconds, milliseconds are told.
LONG_US: Final = 10_000.0


class _Late:
    """A field that is made when first read. It is no data descriptor: what is in the object comes first."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, decision: Any, owner: type | None = None) -> Any:
        if decision is None:
            return self
        values = decision.__dict__
        for name, value in values["_make"](self._name).items():
            values.setdefault(name, value)
        return values[self._name]


class LateDecision(Decision):
    """A Decision of which hardly anybody reads more than whether to steer.

    Parameters
    ----------
    values : dict
        ``fingerprint``, ``sql`` and ``steering`` (with ``action``, if there is one), and ``_make``: called
        with the name of a field when that is first read, it returns at least this field by its name. Becomes
        the object's own.
    """

    candidates = cast("Sequence[Candidate]", _Late())
    scenarios = cast("tuple[str, ...]", _Late())
    engine = cast(str, _Late())
    epoch = cast(str, _Late())
    timings_us = cast("Mapping[str, float]", _Late())
    reason = cast(str, _Late())
    block_reasons = cast("tuple[tuple[int, str], ...]", _Late())
    models = cast("tuple[str, ...]", _Late())
    bound = cast("Bound | None", _Late())
    support = cast("SupportVerdict | None", _Late())
    cluster = cast("str | None", _Late())

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    def __reduce__(self) -> Any:
        # What makes the fields cannot be copied to another process; what was made can.
        return Decision, tuple(getattr(self, each.name) for each in fields(Decision))


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
