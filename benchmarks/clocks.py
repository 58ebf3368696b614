"""What a run took: time on the wall, or of the processor, which a busy machine lengthens far less."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import quote

from godb_fast.engines.base import Engine, EngineResult, Rendered
from godb_fast.engines.duckdb.engine import DuckDBEngine
from godb_fast.errors import InvalidInput

#: Of PostgreSQL, one process does all the work of a statement.
_ALONE = quote("-c max_parallel_workers_per_gather=0")


class WallClock:
    """The time that the engine's answer took."""

    def start(self) -> None:
        """A run begins."""

    def seconds(self, result: EngineResult) -> float:
        """What it took."""
        return max(result.latency_ms / 1e3, 1e-6)


class ProcessorClock:
    """Processor time: of this process for DuckDB, of the connection's server process for PostgreSQL.

    Raises
    ------
    InvalidInput
        If the server's process is not on this machine, or the system does not count it.
    """

    def __init__(self, engine: Engine) -> None:
        self._file: Path | None = None
        self._begun = 0.0
        if not isinstance(engine, DuckDBEngine):
            ((process,),) = engine.run(Rendered("SELECT pg_backend_pid()", None)).rows
            self._file = Path(f"/proc/{process}/schedstat")
            if not self._file.exists() or "postgres" not in Path(f"/proc/{process}/comm").read_text():
                raise InvalidInput("processor time needs a PostgreSQL server on this machine, and Linux")

    def _now(self) -> float:
        if self._file is None:
            return time.process_time()
        # Nanoseconds on a processor, and those that it waited for one.
        return float(self._file.read_text().split()[0]) / 1e9

    def start(self) -> None:
        """A run begins."""
        self._begun = self._now()

    def seconds(self, result: EngineResult) -> float:
        """What it took."""
        return max(self._now() - self._begun, 1e-6)


def alone(url: str) -> str:
    """The URL of a PostgreSQL database under which no statement gets workers beside its own process."""
    return f"{url}{'&' if '?' in url else '?'}options={_ALONE}"
