"""godb_fast: a learned query optimizer in front of a stock engine, with a native planning core.

The public names are imported when they are first used: ``import godb_fast`` alone loads no engine, no
parser, no model runtime.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Public name → module that defines it.
_HOMES = {
    "C_OUT": "godb_fast.core",
    "OPERATORS": "godb_fast.core",
    "CostModel": "godb_fast.core",
    "Decision": "godb_fast.core",
    "GodbError": "godb_fast.errors",
    "Observation": "godb_fast.core",
    "Optimizer": "godb_fast.session",
    "Plan": "godb_fast.core",
    "Planner": "godb_fast.planning.search",
    "Policy": "godb_fast.policy",
    "QueryGraph": "godb_fast.core",
    "Result": "godb_fast.session",
    "RowEstimates": "godb_fast.core",
    "Session": "godb_fast.session",
    "Steering": "godb_fast.core",
    "connect": "godb_fast.session",
    "plan": "godb_fast.planning.search",
}

__all__ = [
    "C_OUT",
    "OPERATORS",
    "CostModel",
    "Decision",
    "GodbError",
    "Observation",
    "Optimizer",
    "Plan",
    "Planner",
    "Policy",
    "QueryGraph",
    "Result",
    "RowEstimates",
    "Session",
    "Steering",
    "__version__",
    "connect",
    "plan",
]

if TYPE_CHECKING:
    from godb_fast.core import (
        C_OUT,
        OPERATORS,
        CostModel,
        Decision,
        Observation,
        Plan,
        QueryGraph,
        RowEstimates,
        Steering,
    )
    from godb_fast.errors import GodbError
    from godb_fast.planning.search import Planner, plan
    from godb_fast.policy import Policy
    from godb_fast.session import Optimizer, Result, Session, connect


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'godb_fast' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
