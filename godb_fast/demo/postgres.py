"""The demo database in PostgreSQL: the same rows, keys and queries as in DuckDB."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from godb_fast.demo.community import SEED
from godb_fast.demo.database import TABLES, load
from godb_fast.demo.postgres_server import running_server

#: As a small server of today is set up; PostgreSQL's own defaults are those of a machine of 1999.
TUNED: Final[Mapping[str, str]] = {
    "shared_buffers": "1GB",
    "work_mem": "64MB",
    "effective_cache_size": "4GB",
    "random_page_cost": "1.1",
    "max_wal_size": "4GB",
    "maintenance_work_mem": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
}
_CHUNK: Final = 1 << 20


def load_postgres(
    connection: Any,
    scale: float = 1.0,
    seed: int = SEED,
    progress: Callable[[str, float], None] | None = None,
) -> int:
    """Create, fill and analyze all tables on a psycopg connection in autocommit; the number of rows.

    DuckDB generates the rows, and COPY brings them over.

    Parameters
    ----------
    progress : callable, optional
        Called with what is being done and the share done, 0 to 1.
    """
    import duckdb

    say = progress or (lambda _what, _share: None)
    with duckdb.connect() as source, tempfile.TemporaryDirectory(prefix="godb_fast-demo-") as folder:
        rows = load(source, scale, seed, lambda what, share: say(what, 0.5 * share))
        file = Path(folder) / "rows.csv"
        for number, table in enumerate(TABLES):
            say(f"copying {table.name}", 0.5 + 0.4 * number / len(TABLES))
            connection.execute(table.ddl)
            source.execute(f"COPY {table.name} TO '{str(file).replace(chr(39), chr(39) * 2)}' (HEADER false)")
            with (
                file.open("rb") as csv,
                connection.cursor().copy(f"COPY {table.name} FROM STDIN (FORMAT csv)") as copy,
            ):
                while block := csv.read(_CHUNK):
                    copy.write(block)
        say("analyzing", 0.95)
        connection.execute("VACUUM ANALYZE")
    say("done", 1.0)
    return rows


@contextmanager
def throwaway_demo(
    scale: float = 1.0, seed: int = SEED, progress: Callable[[str, float], None] | None = None
) -> Iterator[tuple[str, int, float]]:
    """A server of its own with the demo database: URL, rows, and seconds that building took.

    Raises
    ------
    MissingDependency
        If psycopg or the server's programs are not installed.
    ConnectionFailed
        If the server does not start.
    """
    import psycopg

    begun = time.perf_counter()
    with running_server(settings=TUNED) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            rows = load_postgres(connection, scale, seed, progress)
        yield server.url, rows, time.perf_counter() - begun
