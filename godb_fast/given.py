"""What callers give: statements, parameters, time limits and the like, refused where they are not that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, Final

from godb_fast.engines.base import CancelToken, Parameters
from godb_fast.errors import InvalidInput, shown
from godb_fast.policy import Policy

#: A time limit beyond this, some thirty years, is none.
LONGEST_S: Final = 1e9


def checked_timeout(timeout_s: float | None) -> float | None:
    """Seconds, or None for no limit.

    Raises
    ------
    InvalidInput
        If it is not a number above 0.
    """
    if timeout_s is None:
        return None
    given: Any = timeout_s
    if isinstance(given, bool) or not isinstance(given, Real) or not timeout_s > 0:
        raise InvalidInput(f"timeout_s is {shown(given)}; give seconds above 0, or None for no limit")
    # No watchdog needs to be set for longer than that; an integer may be too large for a float besides.
    return None if timeout_s > LONGEST_S else float(timeout_s)


def check_statement(sql: Any) -> None:
    """Refuse what is not a text with InvalidInput."""
    if isinstance(sql, str):
        return
    if isinstance(sql, bytes | bytearray):
        raise InvalidInput(f"a statement is a str, and this is {shown(sql)}: decode it, as in sql.decode()")
    raise InvalidInput(f"a statement is a str, and this is {shown(sql)}")


def check_params(params: Parameters) -> None:
    """Refuse what is neither a sequence nor a mapping with InvalidInput."""
    given: Any = params
    if given is None or isinstance(given, list | tuple):
        return
    if isinstance(given, Mapping):
        for name in given:
            if not isinstance(name, str):
                raise InvalidInput(f"params names {shown(name)}; names of parameters are str")
        return
    # Arrays and the like serve; a text would be taken for its letters.
    if isinstance(given, str | bytes) or not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        raise InvalidInput(
            f"params is {shown(given)}; give a sequence of values ([{shown(given)}] for one), "
            "or a mapping by name"
        )


def checked_policy(policy: Policy | None) -> Policy:
    """The policy itself, the default one for None; anything else is refused with InvalidInput."""
    given: Any = policy
    if given is None:
        return Policy()
    if not isinstance(given, Policy):
        raise InvalidInput(f"policy is {shown(given)}; give a godb_fast.Policy, as in Policy(mode='steer')")
    return given


def check_cancel(cancel: CancelToken | None) -> None:
    """Refuse what is no CancelToken with InvalidInput."""
    given: Any = cancel
    if given is not None and not isinstance(given, CancelToken):
        raise InvalidInput(f"cancel is {shown(given)}; give a CancelToken, or None")


def check_progress(progress: Callable[..., object] | None) -> None:
    """Refuse what cannot be called with InvalidInput."""
    given: Any = progress
    if given is not None and not callable(given):
        raise InvalidInput(f"progress is {shown(given)}; give a function to call, or None")


def held(params: Parameters) -> Parameters:
    """Parameters that may be looked at later: their owner may change his list or dictionary meanwhile."""
    if params is None:
        return None
    return dict(params) if isinstance(params, Mapping) else tuple(params)
