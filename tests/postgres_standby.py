"""Copies of the test server's data: a standby that follows it, or a server that goes its own way."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from urllib.parse import urlsplit

import psycopg
import pytest
from postgres_server import BIN_VARIABLE, PostgresServer

from godb_fast.demo import postgres_server as servers


@contextmanager
def copied(original: PostgresServer, *, following: bool = True) -> Iterator[PostgresServer]:
    """A server on a copy of another one's data, while the block runs; skips where none can be made."""
    if original.folder is None:
        pytest.skip("copies are made only of a server that the tests started themselves")
    named = os.environ.get(BIN_VARIABLE)
    folder = Path(tempfile.mkdtemp(prefix="godb_standby_"))
    try:
        user = servers.unprivileged()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        programs = servers.reachable(Path(named) if named else servers.found_programs(), folder, user)
        if not (programs / "pg_basebackup").exists():
            pytest.skip(f"{programs} has no pg_basebackup")
        parts = urlsplit(original.url)
        subprocess.run(
            [programs / "pg_basebackup", "-D", folder / "data", *(["-R"] if following else []), "-X", "stream",
             "-c", "fast", "--no-sync",
             "-d", f"host=127.0.0.1 port={parts.port} user={parts.username} password={parts.password}"],
            check=True, capture_output=True, cwd=folder, **servers.as_user(user),
        )  # fmt: skip
        settings = {
            "listen_addresses": "127.0.0.1", "fsync": "off", "max_standby_streaming_delay": "0",
            "max_connections": "60", "shared_buffers": "32MB", "log_min_messages": "fatal",
            "autovacuum": "off",
        }  # fmt: skip
        with servers.serving(programs, folder, user, settings, str(parts.password)) as server:
            yield server
    finally:
        rmtree(folder, ignore_errors=True)


class Pair:
    """A database on both: ``url`` and ``primary_url``, and a connection to write on it."""

    def __init__(self, primary: psycopg.Connection, primary_url: str, url: str) -> None:
        self.primary = primary
        self.primary_url = primary_url
        self.url = url

    def write(self, sql: str) -> None:
        """On the primary; returns once it is replayed."""
        self.primary.execute(sql)
        row = self.primary.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        assert row is not None
        self.await_("SELECT pg_last_wal_replay_lsn() >= %s", row[0])

    def await_(self, sql: str, *values: object) -> None:
        for _ in range(2000):
            try:
                with psycopg.connect(self.url, autocommit=True) as raw:
                    while raw.execute(sql, values).fetchone() != (True,):
                        time.sleep(0.01)
                return
            except psycopg.OperationalError:
                time.sleep(0.01)
        raise AssertionError(f"never: {sql}")
