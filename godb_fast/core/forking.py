"""Locks that nobody holds in the child of a fork.

A thread that held a lock when its process forked does not exist in the child, which would wait for it for
good. What such a lock guards is what was learned so far: at worst one change to it is missing in the child.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Final

_NAMES: Final = ("_lock", "lock")

_owners: weakref.WeakSet[Any] = weakref.WeakSet()


def renews_locks(owner: Any) -> None:
    """Have an object's ``_lock`` or ``lock`` be a new one in the child of a fork."""
    _owners.add(owner)


def _after_fork() -> None:
    reentrant = type(threading.RLock())
    for owner in list(_owners):
        for name in _NAMES:
            lock = getattr(owner, name, None)
            if lock is not None:
                setattr(owner, name, threading.RLock() if isinstance(lock, reentrant) else threading.Lock())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
