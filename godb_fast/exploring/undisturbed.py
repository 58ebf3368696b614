"""Does again what something else than the statement has ended: a standby's replay, others' turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from godb_fast.errors import Disturbed, EngineBusy

T = TypeVar("T")

#: How often something is tried.
ATTEMPTS: Final = 3
#: Seconds before the second attempt, and how many times as long before each further one: what is replayed
#: comes in bursts.
_WAIT_S: Final = 0.05
_LONGER: Final = 5.0


def undisturbed(work: Callable[[], T]) -> T:
    """What ``work`` gives, tried up to :data:`ATTEMPTS` times.

    Raises
    ------
    EngineBusy, Disturbed
        If the last attempt was ended, too.
    """
    wait_s = _WAIT_S
    for _ in range(ATTEMPTS - 1):
        try:
            return work()
        except (EngineBusy, Disturbed):
            time.sleep(wait_s)
            wait_s *= _LONGER
    return work()
