"""Loads the demo's data into a DuckDB file."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.demo import names
from godb_fast.demo.community import SEED, Columns, generate
from godb_fast.errors import InvalidInput

#: Changes with generator or layout, so that a kept file of an older release is not taken for this one.
FORMAT: Final = 1


@dataclass(frozen=True)
class DemoTable:
    """One table: its columns as declared, and how each is computed from the generator's columns."""

    name: str
    columns: tuple[tuple[str, str, str], ...]
    key: tuple[str, ...] = ()

    @property
    def ddl(self) -> str:
        """CREATE TABLE."""
        parts = [f"{name} {type_}" for name, type_, _ in self.columns]
        if self.key:
            parts.append(f"PRIMARY KEY ({', '.join(self.key)})")
        return f"CREATE TABLE {self.name} ({', '.join(parts)})"

    @property
    def insert(self) -> str:
        """INSERT from the registered arrays."""
        return f"INSERT INTO {self.name} SELECT {', '.join(sql for _, _, sql in self.columns)} FROM generated"


def _pick(values: Sequence[str], code: str) -> str:
    return f"[{', '.join(repr(value) for value in values)}][{code} + 1]"


def _day(column: str) -> str:
    return f"DATE '2015-01-01' + {column}::INTEGER"


_ID = ("id", "INTEGER NOT NULL", "id")


def _key(name: str) -> tuple[str, str, str]:
    return (name, "INTEGER NOT NULL", name)


def _date(name: str) -> tuple[str, str, str]:
    return (name, "DATE NOT NULL", _day(name))


def _text(name: str, values: Sequence[str]) -> tuple[str, str, str]:
    return (name, "VARCHAR NOT NULL", _pick(values, name))


_NAME = ("name", "VARCHAR NOT NULL", "name")

#: All tables, referenced ones first. Link tables declare no keys: real ones often do not either.
TABLES: Final = (
    DemoTable(
        "region",
        (_ID, _NAME, _text("country", names.COUNTRIES), _text("continent", names.CONTINENTS)),
        ("id",),
    ),
    DemoTable(
        "member",
        (
            _ID,
            _NAME,
            ("region_id", "INTEGER", "nullif(region_id, 0)"),
            _text("language", names.LANGUAGES),
            _text("level", names.LEVELS),
            ("reputation", "INTEGER NOT NULL", "reputation"),
            _date("joined"),
            ("is_bot", "BOOLEAN NOT NULL", "is_bot"),
        ),
        ("id",),
    ),
    DemoTable("tag", (_ID, _NAME, _text("area", names.AREAS), _date("created")), ("id",)),
    DemoTable(
        "club",
        (
            _ID,
            _NAME,
            _text("area", names.AREAS),
            _date("founded"),
            ("is_public", "BOOLEAN NOT NULL", "is_public"),
        ),
        ("id",),
    ),
    DemoTable("badge", (_ID, _NAME, _text("tier", names.TIERS)), ("id",)),
    DemoTable(
        "question",
        (
            _ID,
            _key("author_id"),
            _text("language", names.LANGUAGES),
            _date("asked"),
            _text("status", names.STATUSES),
            ("score", "INTEGER NOT NULL", "score"),
            ("views", "INTEGER NOT NULL", "views"),
            ("closed", "DATE", f"CASE WHEN closed >= 0 THEN {_day('closed')} END"),
        ),
        ("id",),
    ),
    DemoTable(
        "answer",
        (
            _ID,
            _key("question_id"),
            _key("author_id"),
            _date("posted"),
            ("accepted", "BOOLEAN NOT NULL", "accepted"),
            ("score", "INTEGER NOT NULL", "score"),
            ("length", "INTEGER NOT NULL", "length"),
        ),
        ("id",),
    ),
    DemoTable("question_tag", (_key("question_id"), _key("tag_id"))),
    DemoTable(
        "vote",
        (_ID, _key("answer_id"), _key("voter_id"), _text("kind", names.VOTE_KINDS), _date("cast_on")),
    ),
    DemoTable(
        "comment",
        (_ID, _key("question_id"), _key("author_id"), _text("mood", names.MOODS), _date("posted")),
    ),
    DemoTable("membership", (_key("club_id"), _key("member_id"), _text("role", names.ROLES), _date("since"))),
    DemoTable("follow", (_key("follower_id"), _key("followed_id"), _date("since"))),
    DemoTable("interest", (_key("member_id"), _key("tag_id"), ("strength", "INTEGER NOT NULL", "strength"))),
    DemoTable("award", (_key("member_id"), _key("badge_id"), _date("awarded"))),
    DemoTable(
        "bounty",
        (
            _ID,
            _key("question_id"),
            _key("sponsor_id"),
            ("amount", "INTEGER NOT NULL", "amount"),
            _date("offered"),
        ),
        ("id",),
    ),
)

_NAMED: Final[dict[str, Callable[[int], str]]] = {
    "region": names.region_name,
    "member": names.member_name,
    "tag": names.tag_name,
    "club": names.club_name,
    "badge": names.badge_name,
}


@dataclass(frozen=True)
class BuiltDatabase:
    """A demo database on disk."""

    path: Path
    scale: float
    seed: int
    rows: int
    seconds: float
    reused: bool = False


def load(
    connection: Any,
    scale: float = 1.0,
    seed: int = SEED,
    progress: Callable[[str, float], None] | None = None,
) -> int:
    """Create and fill all tables on an open DuckDB connection; the number of rows.

    Parameters
    ----------
    progress : callable, optional
        Called with what is being done and the share done, 0 to 1.
    """
    say = progress or (lambda _what, _share: None)
    say("generating", 0.0)
    data = generate(scale, seed)
    total = sum(len(next(iter(columns.values()))) for columns in data.values())
    done = 0
    for table in TABLES:
        say(f"loading {table.name}", 0.4 + 0.6 * done / total)
        columns = dict(data.pop(table.name))
        if table.name in _NAMED:
            columns["name"] = _names(columns, _NAMED[table.name])
        fill(connection, table.ddl, table.insert, columns)
        done += len(columns[next(iter(columns))])
    connection.execute("CREATE TABLE about_this_demo (format INTEGER, seed BIGINT, scale DOUBLE)")
    connection.execute("INSERT INTO about_this_demo VALUES (?, ?, ?)", [FORMAT, seed, scale])
    say("done", 1.0)
    return total


def fill(connection: Any, ddl: str, insert: str, columns: Columns) -> None:
    """Create a table and insert arrays, which the statement calls ``generated``."""
    connection.execute(ddl)
    connection.register("generated", columns)
    try:
        connection.execute(insert)
    finally:
        connection.unregister("generated")


def _names(columns: Columns, name: Callable[[int], str]) -> NDArray[np.object_]:
    # DuckDB reads arrays of str objects as VARCHAR, without pandas; fixed-width arrays become an ENUM.
    return np.array([name(rank) for rank in columns["rank"].tolist()], dtype=np.object_)


def build(
    path: str | os.PathLike[str],
    *,
    scale: float = 1.0,
    seed: int = SEED,
    progress: Callable[[str, float], None] | None = None,
) -> BuiltDatabase:
    """Build the demo database in a file, or find it there.

    The file appears under its name only when it is complete; what an interrupted build leaves is removed.

    Raises
    ------
    InvalidInput
        If the scale is out of range, the folder is absent, or the file holds something else.
    """
    target = Path(path).expanduser().absolute()
    begun = time.perf_counter()
    if target.exists():
        return _found(target, scale, seed)
    if not target.parent.is_dir():
        raise InvalidInput(f"cannot build {target}: the folder {target.parent} does not exist")
    import duckdb

    unfinished = target.with_name(f"{target.name}.{uuid.uuid4().hex[:12]}.unfinished")
    try:
        connection = duckdb.connect(str(unfinished))
        try:
            rows = load(connection, scale, seed, progress)
            connection.execute("CHECKPOINT")
        finally:
            connection.close()
        unfinished.replace(target)
    finally:
        for leftover in (unfinished, unfinished.with_name(unfinished.name + ".wal")):
            with contextlib.suppress(FileNotFoundError):
                leftover.unlink()
    return BuiltDatabase(target, scale, seed, rows, time.perf_counter() - begun)


def _found(target: Path, scale: float, seed: int) -> BuiltDatabase:
    import duckdb

    advice = "name another path, or remove the file"
    try:
        connection = duckdb.connect(str(target), read_only=True)
    except duckdb.Error as error:
        raise InvalidInput(
            f"{target} exists and cannot be opened ({_first_line(error)}); {advice}"
        ) from error
    try:
        try:
            about = connection.execute("SELECT format, seed, scale FROM about_this_demo").fetchone()
        except duckdb.Error as error:
            raise InvalidInput(f"{target} exists and is no demo database; {advice}") from error
        if about != (FORMAT, seed, scale):
            raise InvalidInput(
                f"{target} holds another demo (format, seed, scale: {about}), not {(FORMAT, seed, scale)}; "
                f"{advice}"
            )
        rows = 0
        for table in TABLES:
            counted = connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()
            rows += counted[0] if counted else 0
    finally:
        connection.close()
    return BuiltDatabase(target, scale, seed, rows, 0.0, reused=True)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
