"""The state of a live exploration in a store: saved as it goes, and found again by one that goes on."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from godb_fast.errors import InvalidInput
from godb_fast.exploring.subjects import LiveQuery
from godb_fast.store import Explorations, SavedExploration

#: Of what is saved; another one is refused.
STATE_VERSION: Final = 3
#: Seconds between two saves, where trials are shorter, and at least so many times what one takes.
SAVE_EVERY_S: Final = 0.25
SAVE_TIMES: Final = 40.0


class Saving:
    """Saves the state of one exploration, if there is where.

    Parameters
    ----------
    records : Explorations or None
        Without it nothing is kept.
    key : str
        Of the same queries on the same database (:func:`key_of`).
    state : callable
        The state as it is now; plain data.
    resume : bool
        Go on with what was saved, if anything was.
    along : callable, optional
        Writes what else there is to keep, each time.

    Raises
    ------
    InvalidInput
        If there is nothing that could be resumed.
    """

    def __init__(
        self,
        records: Explorations | None,
        key: str,
        state: Callable[[], dict[str, Any]],
        *,
        resume: bool,
        along: Callable[[], None] | None = None,
    ) -> None:
        self._records = records
        self._key = key
        self._state = state
        self._along = along
        self._saved: SavedExploration | None = None
        self._saved_at = -math.inf
        self._took_s = 0.0
        if records is None and resume:
            raise InvalidInput("nothing is kept without a store, so there is nothing to resume")
        if records is not None and resume:
            self._saved = records.saved(key)
        #: Whether an earlier exploration goes on.
        self.resumed = self._saved is not None
        if records is not None and not self.resumed:
            self._saved = records.begin(key, state())

    @property
    def last(self) -> dict[str, Any] | None:
        """The state as it was last saved; None if nothing is kept."""
        return None if self._saved is None else self._saved.state

    def save(self, *, spare: bool = False) -> None:
        """Save the state as it is; with ``spare``, not if that was done a moment ago.

        Raises
        ------
        StoreError
            If it cannot be written, or another process has gone on with this exploration.
        """
        now = time.perf_counter()
        if spare and now - self._saved_at < max(SAVE_EVERY_S, SAVE_TIMES * self._took_s):
            return
        if self._along is not None:
            self._along()
        if self._records is None or self._saved is None:
            return
        before = self._saved
        try:
            self._saved = self._records.save(before, self._state())
        except KeyboardInterrupt:
            # It may have come after the state was written; nobody else goes on with it in this moment.
            found = self._records.saved(self._key)
            if found is not None and (found.run, found.revision) == (before.run, before.revision + 1):
                self._saved = found
            raise
        self._saved_at = time.perf_counter()
        self._took_s = self._saved_at - now


def key_of(engine: str, database: str, queries: Sequence[LiveQuery]) -> str:
    """What an exploration is kept under: a hash of its queries, and where they are explored."""
    hashed = hashlib.blake2b(digest_size=12)
    for query in queries:
        hashed.update(repr((query.sql, query.params, query.weight)).encode())
    return f"{engine} {database} {hashed.hexdigest()}"
