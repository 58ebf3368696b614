"""What callers give: statements, parameters and time limits, refused in words where they are not that."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, Final

from godb_fast.engines.base import Parameters
from godb_fast.errors import InvalidInput

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
    if isinstance(given, bool) or not isinstance(given, Real) or not float(given) > 0:
        raise InvalidInput(f"timeout_s is {given!r}; give seconds above 0, or None for no limit")
    # No watchdog needs to be set for longer than that.
    return None if float(given) > LONGEST_S else float(given)


def check_statement(sql: Any) -> None:
    """Refuse what is not a text with InvalidInput."""
    if isinstance(sql, str):
        return
    if isinstance(sql, bytes | bytearray):
        raise InvalidInput(f"a statement is a str, and this is {shown(sql)}: decode it, as in sql.decode()")
    raise InvalidInput(f"a statement is a str, and this is {shown(sql)}")


def shown(value: Any) -> str:
    """A wrong argument in a message, not all of a long one."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}… ({type(value).__name__})"


def check_params(params: Parameters) -> None:
    """Refuse what is neither a sequence nor a mapping with InvalidInput."""
    given: Any = params
    if given is None or isinstance(given, list | tuple | Mapping):
        return
    # Arrays and the like serve; a text would be taken for its letters.
    if isinstance(given, str | bytes) or not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        raise InvalidInput(
            f"params is {given!r}; give a sequence of values ([{given!r}] for one), or a mapping by name"
        )


def held(params: Parameters) -> Parameters:
    """Parameters that may be looked at later: their owner may change his list or dictionary meanwhile."""
    if params is None:
        return None
    return dict(params) if isinstance(params, Mapping) else tuple(params)
