"""One DuckDB instance that godb_fast opened: whose every cursor we issue, and whose settings we may change.

How nobody else gets in: the file is opened with a ``custom_user_agent`` of its own, and DuckDB refuses a
second ``connect()`` to the same file with another configuration, so that a bystander in this process gets
DuckDB's error instead of our plans. Our own second ``open()`` of the file shares the instance.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import uuid
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakSet, WeakValueDictionary

from godb_fast.core.forking import RenewedLock, renews_locks
from godb_fast.engines.duckdb import quirks
from godb_fast.engines.duckdb.turns import Turns
from godb_fast.errors import (
    ConnectionFailed,
    EngineBusy,
    EngineError,
    InvalidInput,
    MissingDependency,
    SessionClosed,
)

if TYPE_CHECKING:
    from godb_fast.engines.duckdb.schema import DuckDBSchema

#: Catalogues that are kept: as it is, and as another connection sees it.
MOST_SCHEMAS: Final = 3
#: Settings of one group of statements: (name, value) pairs.
Settings: TypeAlias = tuple[tuple[str, str], ...]

#: What must be off for a written join tree to be followed: the passes that reorder joins and swap sides. All
#: others stay on (filter pushdown and statistics propagation above all).
JOIN_TREE_SETTINGS: Final[Settings] = (("disabled_optimizers", "join_order,build_side_probe_side"),)

#: Limits the temporary files of the whole instance.
TEMPORARY_FILES: Final = "max_temp_directory_size"
#: What DuckDB reports as long as nobody has set a limit and there was no temporary file. Afterwards it
#: reports the bytes that this came to, rounded: no other than a limit that was set, which cannot be put back.
_BY_DEFAULT: Final = "90% of available disk space"
#: That share, for us as well.
_SHARE_OF_DISK: Final = 0.9
_TEMPORARY: Final = (
    "SELECT system.main.current_setting('temp_directory'), "
    "(SELECT coalesce(sum(size), 0) FROM system.main.duckdb_temporary_files())"
)
_GLOBAL: Final = "SELECT name FROM system.main.duckdb_settings() WHERE scope = 'GLOBAL'"
_SETTING = re.compile(r"SET GLOBAL (?P<name>[a-z_]+) = '(?P<value>(?:[^']|'')*)'")


def setting_statement(name: str, value: str) -> str:
    """``SET GLOBAL name = 'value'``."""
    return f"SET GLOBAL {name} = {quirks.quote_text(value)}"


def parse_settings(statements: tuple[str, ...]) -> Settings:
    """The pairs behind the statements of :func:`setting_statement`.

    Raises
    ------
    InvalidInput
        If a statement is anything else: it could not be put back.
    """
    pairs = []
    for text in statements:
        found = _SETTING.fullmatch(text)
        if found is None:
            raise InvalidInput(f"{text!r} cannot be put back; write SET GLOBAL name = 'value'")
        pairs.append((found["name"], found["value"].replace("''", "'")))
    return tuple(pairs)


class Instance:
    """An opened database, shared by the engines (cursors) on it.

    Attributes
    ----------
    changes, catalog_changes : int
        Count statements, of any cursor, that were not plain SELECTs, and those that may have changed more
        than rows. As every cursor is ours, tables (the catalogue) are unchanged while these are.
    turns : Turns
        Keeps statements under changed settings apart from all others.
    """

    def __init__(self, path: str, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self.token = uuid.uuid4().hex
        self.changes = 0
        self.catalog_changes = 0
        self._settings_changed = False
        self.broken: str | None = None
        #: Environment and epoch that a new connection has, each with the count of catalogue changes.
        self.fresh: dict[str, tuple[int, str]] = {}
        #: Catalogues that connections have read, by epoch, and how long the last one took, in ms.
        self.schemas: dict[str, DuckDBSchema] = {}
        self.schema_ms = 0.0
        self._users = 0
        self._lock = threading.Lock()
        renews_locks(self)
        #: Why nothing can be run on it in the child of a fork.
        self._lost: str | None = None
        #: Settings of a turn that the parent was in are still to be put back in the child of a fork.
        self._inherited_turn = False
        #: Names of settings that are changed now, with the statements that put them back.
        self._saved: list[tuple[str, str]] = []
        self._values: dict[str, tuple[int, str]] = {}
        self._control = _connect(path, read_only, self.token)
        try:
            self._global = frozenset(name for (name,) in self._control.execute(_GLOBAL).fetchall())
        except Exception as error:
            self._control.close()
            if quirks.was_ctrl_c(error):
                raise KeyboardInterrupt from error
            raise
        self.turns = Turns(self._switch)
        _INSTANCES.add(self)

    def after_fork(self) -> None:
        """In the child: nobody is in a turn, and settings of a turn are put back before the next."""
        group, switching = self.turns.renew()
        if switching:
            self._lost = (
                "the settings of this DuckDB instance were being changed by another thread when this process "
                "was forked from its parent; open another database here"
            )
        self._inherited_turn |= bool(group)

    def cursor(self) -> Any:
        """A new connection to the instance."""
        with self._lock:
            self._users += 1
            return self._control.cursor()

    def release(self) -> None:
        """One cursor fewer; the last one closes the instance."""
        # Under the registry's lock, so that nobody is given an instance that is about to close.
        with _REGISTRY_LOCK:
            with self._lock:
                self._users -= 1
                last = self._users == 0
            if last:
                if _REGISTRY.get(self.path) is self:
                    del _REGISTRY[self.path]
                self._control.close()

    def keep_schema(self, schema: DuckDBSchema, took_ms: float) -> None:
        """A catalogue for other connections that see the same."""
        with self._lock:
            self.schema_ms = took_ms
            while len(self.schemas) >= MOST_SCHEMAS:
                del self.schemas[next(iter(self.schemas))]
            self.schemas[schema.epoch] = schema

    def changed(self, *, catalog: bool, settings: bool) -> None:
        """A statement ran that may have changed rows, more than that, or settings."""
        with self._lock:
            self.changes += 1
            self.catalog_changes += catalog
            self._settings_changed |= settings

    def enter(self, settings: Settings, timeout_s: float | None) -> None:
        """Take part in a turn under these settings (none: the user's own).

        Raises
        ------
        EngineBusy
            If other statements did not make room within ``timeout_s``.
        """
        if self._lost is not None:
            raise SessionClosed(self._lost)
        if settings and self.broken is not None:
            raise EngineBusy(self.broken)
        if not self.turns.acquire(settings, timeout_s):
            raise EngineBusy(
                f"waited {timeout_s:g} s for statements under other settings of this DuckDB instance; "
                "steered and default statements of one instance take turns"
            )

    def leave(self) -> None:
        """End of the turn."""
        self.turns.release()

    def _switch(self, group: Hashable, entering: bool) -> None:
        if self._inherited_turn:
            self._inherited_turn = False
            self._restore()
        if not group:
            return
        assert isinstance(group, tuple)
        try:
            if not entering:
                self._restore()
                return
            self._saved = []
            try:
                for name, value in group:
                    self._put(name, value)
            except BaseException:
                self._restore()
                raise
        except RuntimeError as error:
            if quirks.was_ctrl_c(error):
                raise KeyboardInterrupt from error
            raise

    def _put(self, name: str, value: str) -> None:
        if name not in self._global:
            raise InvalidInput(f"DuckDB has no instance-wide setting {name!r}")
        before = self._current(name)
        if name == TEMPORARY_FILES:
            if not value.isdecimal():
                raise InvalidInput(f"{TEMPORARY_FILES} is asked for in bytes, and not as {value!r}")
            self._limit_temporary_files(before, int(value))
            return
        self._saved.append((name, setting_statement(name, before)))
        if name == "disabled_optimizers" and before:
            # The user's own choice stays in force; ours is added.
            value = ",".join(dict.fromkeys([*before.split(","), *value.split(",")]))
        self._control.execute(setting_statement(name, value))

    def _limit_temporary_files(self, before: str, most_bytes: int) -> None:
        """Let statements write so much beyond what is written now; a limit that a user set stays."""
        if before != _BY_DEFAULT and self._settings_changed:
            return
        folder, used = self._control.execute(_TEMPORARY).fetchone()
        if not folder:
            # Nothing is written at all.
            return
        limit = int(used) + min(most_bytes, int(_SHARE_OF_DISK * _free_bytes(folder)))
        self._saved.append((TEMPORARY_FILES, f"RESET GLOBAL {TEMPORARY_FILES}"))
        self._control.execute(setting_statement(TEMPORARY_FILES, f"{limit} bytes"))

    def _current(self, name: str) -> str:
        """The user's own value, read anew only after a statement that may have set it."""
        known = self._values.get(name)
        if known is None or known[0] != self.catalog_changes:
            stamp = self.catalog_changes
            row = self._control.execute(
                f"SELECT system.main.current_setting({quirks.quote_text(name)})"
            ).fetchone()
            known = self._values[name] = (stamp, "" if row[0] is None else str(row[0]))
        return known[1]

    def _restore(self) -> None:
        while self._saved:
            name, statement = self._saved[-1]
            try:
                self._control.execute(statement)
            except BaseException as error:
                # A Ctrl-C may arrive exactly here; the settings of others come first.
                self._control.interrupt()
                try:
                    self._control.execute(statement)
                except Exception as again:
                    self.broken = f"the setting {name} could not be put back ({statement}): {again}"
                    raise EngineError(self.broken) from again
                self._saved.pop()
                self._restore()
                raise error
            self._saved.pop()


_REGISTRY: WeakValueDictionary[str, Instance] = WeakValueDictionary()
_REGISTRY_LOCK = RenewedLock()
#: All there are, also those in memory.
_INSTANCES: WeakSet[Instance] = WeakSet()


def _after_fork() -> None:
    for instance in list(_INSTANCES):
        instance.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def open_instance(path: str, read_only: bool) -> tuple[Instance, Any]:
    """The instance at a path (the one that is open already, if it is ours) and a new cursor on it.

    Raises
    ------
    ConnectionFailed
        No such file, not a database, locked by another process, or open in this process under other terms.
    """
    if path == ":memory:":
        instance = Instance(path, False)
        return instance, instance.cursor()
    # Links are resolved: DuckDB 1.4 takes a link for another file and would open it twice.
    given, path = path, os.path.realpath(path)
    with _REGISTRY_LOCK:
        known = _REGISTRY.get(path)
        if known is None:
            try:
                known = _REGISTRY[path] = Instance(path, read_only)
            except _Absent as error:
                raise ConnectionFailed(f"{error}{_absolute_hint(given)}") from None
        elif known.read_only != read_only:
            raise ConnectionFailed(
                f"{path} is open in this process already, "
                f"{'read-only' if known.read_only else 'for writing'}; "
                "close that session first, or open it the same way"
            )
        return known, known.cursor()


class _Absent(ConnectionFailed):
    """There is nothing at the path."""


def _absolute_hint(given: str) -> str:
    """What to write if the root of an absolute path was lost in a URL of three slashes."""
    rooted = os.sep + given
    if os.path.isabs(given) or not os.path.exists(rooted):
        return ""
    return f". There is {rooted}: URLs of absolute paths have four slashes, duckdb:///{rooted}"


def _free_bytes(folder: str) -> int:
    """Free bytes of the disk where a folder is, or will be."""
    place = os.path.abspath(folder)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    return shutil.disk_usage(place).free


def import_duckdb() -> Any:
    """The driver, imported when first needed."""
    try:
        import duckdb
    except ImportError as error:
        raise MissingDependency("this needs DuckDB; pip install duckdb") from error
    return duckdb


def _connect(path: str, read_only: bool, token: str) -> Any:
    duckdb = import_duckdb()
    # Statements name tables, not our local variables.
    config = {"custom_user_agent": f"godb_fast/{token}", "python_enable_replacements": "false"}
    if path != ":memory:":
        if os.path.isdir(path):
            raise ConnectionFailed(f"{path} is a folder, not a DuckDB database")
        if not os.path.exists(path):
            if read_only:
                raise _Absent(f"no such file: {path}; read-only needs one that exists")
            folder = os.path.dirname(path)
            if not os.path.isdir(folder):
                raise _Absent(f"no such folder: {folder}")
        elif _is_sqlite(path):
            raise ConnectionFailed(f"{path} is an SQLite database, not one of DuckDB")
    try:
        return duckdb.connect(path, read_only=read_only, config=config)
    except duckdb.Error as error:
        raise ConnectionFailed(_why(path, str(error))) from error


def _is_sqlite(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(15) == b"SQLite format 3"


def _why(path: str, message: str) -> str:
    if "Could not set lock" in message:
        holder = re.search(r"Conflicting lock is held in (.*?) \(PID (\d+)\)", message)
        who = f" (process {holder[2]}, {holder[1]})" if holder else ""
        return (
            f"{path} is locked by another process{who}. Close it there; or use godb_fast inside that "
            "process, with godb_fast.connect(its_duckdb_connection); or work on a copy of the file"
        )
    if "different configuration" in message:
        return (
            f"{path} is open in this process already. Give that connection, "
            "godb_fast.connect(your_duckdb_connection), or close it first"
        )
    if "not a valid DuckDB" in message:
        return f"{path} is not a DuckDB database"
    return f"{path} cannot be opened: {message}"
