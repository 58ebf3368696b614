"""What a server does now: how much its cache holds, and how many statements run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

#: Of others' sessions an ordinary role sees no state; then only its own count.
_ASKED: Final = """
SELECT blks_hit, blks_read,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a
         WHERE a.datid = d.datid AND a.state = 'active' AND a.pid <> pg_catalog.pg_backend_pid())
  FROM pg_catalog.pg_stat_database d WHERE datname = pg_catalog.current_database()
"""


class LoadProbe:
    """Shares of cached blocks between one look and the next."""

    def __init__(self) -> None:
        self._seen: tuple[float, float] | None = None

    def look(self, ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> tuple[float | None, float | None]:
        """As :meth:`~godb_fast.engines.base.TellsLoad.load`; the share is None where no block was read."""
        rows = ask(_ASKED)
        if not rows:
            return None, None
        hit, read, running = (float(value or 0) for value in rows[0])
        before, self._seen = self._seen or (0.0, 0.0), (hit, read)
        if before[0] > hit or before[1] > read:
            # The server's counters were reset.
            before = (0.0, 0.0)
        blocks = hit - before[0] + read - before[1]
        return ((hit - before[0]) / blocks if blocks > 0 else None), running
