"""Locks that nobody holds in the child of a fork.

A thread that held a lock when its process forked does not exist in the child, which would wait for it for
good. What most locks guard is what was learned so far: at worst one change to it is missing in the child, and
the lock is made anew (:func:`renews_locks`, :class:`RenewedLock`). What a thread was doing at a connection
cannot be taken up by the child, as the parent goes on with it: such a lock is broken (:func:`breaks_lock`).
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Final, NoReturn, Protocol

from godb_fast.errors import SessionClosed

_NAMES: Final = ("_lock", "lock")

_owners: weakref.WeakSet[Any] = weakref.WeakSet()
_breaking: weakref.WeakSet[Forsakable] = weakref.WeakSet()


def renews_locks(owner: Any) -> None:
    """Have an object's ``_lock`` or ``lock`` be a new one in the child of a fork."""
    _owners.add(owner)


class RenewedLock:
    """A lock of a module, or one that several objects share, that is a new one in the child of a fork."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        renews_locks(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class BrokenLock:
    """In place of a lock that a thread of the parent held: whoever wants it is told at once.

    Raises
    ------
    SessionClosed
        By everything but its release.
    """

    def acquire(self, blocking: bool = True, timeout: float = -1) -> NoReturn:
        """As of a lock; nobody gets this one."""
        raise SessionClosed(
            "this session was in use by another thread when this process was forked from its parent, which "
            "goes on with it; open another one here"
        )

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        """Nobody got it."""


class Forsakable(Protocol):
    """What a thread uses for as long as it holds its ``_lock``."""

    _lock: Any

    def _forsaken(self) -> None:
        """Let go, in the child of a fork, of what a thread of the parent was using."""
        ...


def breaks_lock(owner: Forsakable) -> None:
    """Have an object's ``_lock`` raise SessionClosed in the child, if another thread held it at the fork."""
    _breaking.add(owner)


def is_broken(lock: Any) -> bool:
    """Whether a thread of the parent held this lock at the fork."""
    return isinstance(lock, BrokenLock)


def _held_elsewhere(lock: Any) -> bool:
    """Whether a thread that is not here holds a lock; one that may be taken again is, by who forks."""
    if is_broken(lock) or not lock.acquire(blocking=False):
        return True
    lock.release()
    return False


def _after_fork() -> None:
    reentrant = type(threading.RLock())
    for owner in list(_owners):
        for name in _NAMES:
            lock = getattr(owner, name, None)
            if lock is None:
                continue
            if not isinstance(lock, reentrant):
                setattr(owner, name, threading.Lock())
            elif _held_elsewhere(lock):
                setattr(owner, name, threading.RLock())
    for owner in list(_breaking):
        if not is_broken(owner._lock) and _held_elsewhere(owner._lock):
            owner._lock = BrokenLock()
            owner._forsaken()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
