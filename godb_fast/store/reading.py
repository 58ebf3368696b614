"""Reading what a store file holds: SQLite keeps any value in any column, and other programs write, too.

Where one state is read, :func:`state_of` says why it is none. Where rows are read in bulk, :func:`readable`
leaves out those that cannot be read, so that one damaged row is one row less.
"""

from __future__ import annotations

import logging
import math
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from godb_fast.core.forking import renews_locks
from godb_fast.store.plans import unpack

log = logging.getLogger("godb_fast")

Floats = NDArray[np.float64]
Row = tuple[Any, ...]
Read = TypeVar("Read")

#: Little-endian doubles, on every platform.
STORED: Final = np.dtype("<f8")
#: Reasons that one process logs; others are counted all the same.
_MOST_TOLD: Final = 1000
#: What is raised where values are of another type than was written.
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    zlib.error,
)


class _Told:
    """What this process has logged, so that nobody reads it at each training."""

    def __init__(self) -> None:
        self._told: set[tuple[Path, str]] = set()
        self._lock = threading.Lock()
        renews_locks(self)

    def is_news(self, path: Path, what: str) -> bool:
        with self._lock:
            news = (path, what) not in self._told and len(self._told) < _MOST_TOLD
            if news:
                self._told.add((path, what))
            return news


_TOLD: Final = _Told()


def readable(
    rows: Iterable[Row],
    read: Callable[[Row], Read],
    what: str,
    path: Path,
    left_out: Counter[str] | None = None,
    engine: int | None = None,
) -> list[Read]:
    """What can be read of the rows of a store, in their order.

    The others are left out; that is logged once per process, store and ``what``, with the first one's reason.

    Parameters
    ----------
    read : callable
        Raises ValueError (or what Python raises for values of another type) for a row that it cannot read.
    what : str
        Calls the rows in the message.
    path : Path
        The store.
    left_out : Counter, optional
        Counts those that were left out, by their engine.
    engine : int, optional
        The column of that.
    """
    found: list[Read] = []
    bad, why = 0, ""
    for row in rows:
        try:
            found.append(read(row))
        except _UNREADABLE as error:
            bad, why = bad + 1, why or f"{type(error).__name__}: {error}"
            if left_out is not None:
                left_out["" if engine is None else str(row[engine])] += 1
    if bad and _TOLD.is_news(path, what):
        log.warning("%d of the %s in store %s cannot be read and are left out: %s", bad, what, path, why)
    return found


def state_of(value: object) -> dict[str, Any]:
    """A state that ``plans.pack`` packed.

    Raises
    ------
    ValueError
        If it is none.
    """
    # bytes() of a number would be as many zeros.
    if not isinstance(value, bytes):
        raise ValueError(f"no bytes, but {type(value).__name__}")
    try:
        state = unpack(value)
    except (zlib.error, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(state, dict):
        raise ValueError(f"no state, but {type(state).__name__}")
    return state


def text(value: object) -> str:
    """A text, or ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} where a text should be")
    return value


def text_or_none(value: object) -> str | None:
    """A text or None, or ValueError."""
    return None if value is None else text(value)


def integer(value: object) -> int:
    """A whole number, or ValueError."""
    if not isinstance(value, int):
        raise ValueError(f"{_shown(value)} where a whole number should be")
    return value


def number(value: object) -> float:
    """A number, perhaps an infinite one (what is too much is for callers to say), or ValueError."""
    if not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(f"{_shown(value)} where a number should be")
    return value


def moment(value: object) -> datetime:
    """A moment with its time zone, or ValueError."""
    found = datetime.fromisoformat(text(value))
    if found.tzinfo is None:
        raise ValueError(f"{_shown(value)} has no time zone")
    return found


def doubles(value: object) -> Floats:
    """Finite doubles, shape (n,), read-only, or ValueError."""
    if not isinstance(value, bytes):
        raise ValueError(f"{_shown(value)} where a vector should be")
    found: Floats = np.frombuffer(value, STORED)
    if not np.isfinite(found).all():
        raise ValueError("a vector of numbers that are not finite")
    return found


def rows_of_doubles(value: object) -> Floats:
    """Rows of finite doubles after their number, shape (n, w), or ValueError."""
    numbers = doubles(value)
    if not numbers.size:
        raise ValueError("a table without a number of rows")
    found: Floats = numbers[1:].reshape(int(numbers[0]), -1)
    return found


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
