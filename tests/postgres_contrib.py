"""A server with PostgreSQL's contrib modules, which logs everything in all formats."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postgres_server import BIN_VARIABLE, NoServer, PostgresServer

#: ``log_directory`` below the server's data.
LOGS = "logs"
SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements,auto_explain",
    "logging_collector": "on",
    "log_destination": "stderr,csvlog,jsonlog",
    "log_directory": LOGS,
    "log_filename": "server.log",
    "log_file_mode": "0644",
    "log_min_messages": "warning",
    "log_min_duration_statement": "0",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
}


def contrib_programs() -> Path:
    """Programs of a server that has ``pg_stat_statements``, which the one from pip has not."""
    named = os.environ.get(BIN_VARIABLE)
    folders = [Path(named)] if named else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        for library in ("lib", "lib/postgresql"):
            if (folder.parent / library / "pg_stat_statements.so").exists():
                return folder
    raise NoServer("no PostgreSQL with contrib modules: apt-get install postgresql (15 or newer)")


@dataclass(frozen=True)
class LoggingServer:
    """A server and the folder of its logs."""

    server: PostgresServer

    @property
    def logs(self) -> Path:
        assert self.server.folder is not None
        return self.server.folder / "data" / LOGS

    def settled(self) -> Path:
        """The folder, once the log's collector has written what was logged so far in all formats."""
        import psycopg

        mark = f"godb_mark_{time.monotonic_ns()}"
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(f"SELECT '{mark}'")
        deadline = time.monotonic() + 20
        while any(
            mark not in (self.logs / f"server.{kind}").read_text(errors="replace")
            for kind in ("log", "csv", "json")
        ):
            assert time.monotonic() < deadline, "the log was not written"
            time.sleep(0.02)
        return self.logs


def fill(connection: Any) -> None:
    """A customers and an orders table, with statistics."""
    connection.execute("CREATE TABLE customers (id int PRIMARY KEY, city text, since date)")
    connection.execute(
        "INSERT INTO customers SELECT i, 'c' || i % 7, date '2020-01-01' + i % 300 "
        "FROM generate_series(1, 500) i"
    )
    connection.execute("CREATE TABLE orders (id int PRIMARY KEY, customer_id int, note text)")
    connection.execute(
        "INSERT INTO orders SELECT i, i % 500 + 1, 'it''s ' || i % 3 FROM generate_series(1, 3000) i"
    )
    connection.execute("ANALYZE")
