"""Row counts and column distributions from PostgreSQL's own statistics; no table of a user is ever read.

Row counts are what the planner itself would take: the density at the last ANALYZE times the size of the files
now, where they have grown since. The server's count of live rows serves only where there was no ANALYZE:
right after one it is wrong (a session's last second of changes is then counted twice). Growth between two
looks is also seen from the counters of inserted and deleted rows. Columns come from ``pg_stats``, which shows
an ordinary role exactly those columns that it may read.

What PostgreSQL knows beyond that has no place in :class:`~godb_fast.core.ColumnStatistics` and is not read:
correlation with the order of storage, statistics of array elements and expressions, and extended statistics.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from godb_fast.core import ColumnKind, ColumnStatistics, JointStatistics, Table
from godb_fast.core.forking import renews_locks
from godb_fast.engines.postgres.catalogue import PostgresSchema
from godb_fast.engines.postgres.connection import Ask
from godb_fast.errors import MissingStatistics

#: Growth of a table past which what was derived from its statistics no longer holds.
GROWTH: Final = 0.1
#: Bytes of a row's header with its line pointer, and of a page's header.
_ROW_BYTES: Final = 28.0
_PAGE_HEADER: Final = 24.0

_NUMBERS: Final = frozenset({"int2", "int4", "int8", "numeric", "float4", "float8", "oid"})
_TIMES: Final = frozenset({"date", "timestamp", "timestamptz", "time"})
_TEXTS: Final = frozenset({"text", "varchar", "bpchar", "name", "char", "uuid"})

#: Counters reach the server's shared statistics a second late, or when they are asked to.
_FLUSH: Final = "SELECT pg_catalog.pg_stat_force_next_flush()"
#: Sizes of tables, those of their partitions and heirs summed up; one row a table, without reading any.
_SIZES: Final = """
WITH RECURSIVE wanted(root, oid) AS (
  SELECT w.oid, w.oid FROM pg_catalog.unnest(%s::oid[]) AS w(oid)
  UNION ALL
  SELECT w.root, i.inhrelid FROM wanted w JOIN pg_catalog.pg_inherits i ON i.inhparent = w.oid)
SELECT w.root::int8, c.relkind::text, c.reltuples::float8, c.relpages::float8,
       CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_relation_size(c.oid)::float8 END,
       pg_catalog.current_setting('block_size')::float8,
       pg_catalog.pg_stat_get_live_tuples(c.oid)::float8,
       (pg_catalog.pg_stat_get_tuples_inserted(c.oid) - pg_catalog.pg_stat_get_tuples_deleted(c.oid))::float8,
       (pg_catalog.pg_stat_get_analyze_count(c.oid) + pg_catalog.pg_stat_get_autoanalyze_count(c.oid))::int8
  FROM wanted w JOIN pg_catalog.pg_class c ON c.oid = w.oid
"""
#: Average width of a row, as far as types tell; for tables that were never analysed.
_WIDTHS: Final = """
SELECT a.attrelid::int8,
       pg_catalog.sum(CASE WHEN t.typlen > 0 THEN t.typlen
                           WHEN t.typname IN ('bpchar', 'varchar') AND a.atttypmod > 4
                           THEN LEAST((a.atttypmod - 4) / 2, 1000) ELSE 32 END)::float8
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = ANY (%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
 GROUP BY 1
"""
#: One row a column: its base type, and the statistics of the table with everything below it where there are
#: any. Values are converted here, under the same DateStyle in which the server prints them.
_COLUMNS: Final = """
WITH RECURSIVE wanted AS MATERIALIZED (
  SELECT c.oid AS of, n.nspname AS space, c.relname AS relation, a.attname AS name, a.attnum AS place,
         a.atttypid AS type
    FROM ROWS FROM (pg_catalog.unnest(%s::oid[]), pg_catalog.unnest(%s::text[])) AS asked(of, name)
         JOIN pg_catalog.pg_class c ON c.oid = asked.of
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname::text = asked.name
   WHERE a.attnum > 0 AND NOT a.attisdropped),
bases(declared, type, level) AS (
  SELECT type, type, 0 FROM (SELECT DISTINCT type FROM wanted) w
  UNION ALL
  SELECT b.declared, t.typbasetype, b.level + 1
    FROM bases b JOIN pg_catalog.pg_type t ON t.oid = b.type WHERE t.typtype = 'd'),
typed AS MATERIALIZED (
  SELECT DISTINCT ON (b.declared) b.declared, t.typname::text AS base, t.typtype = 'e' AS enumerated
    FROM bases b JOIN pg_catalog.pg_type t ON t.oid = b.type ORDER BY b.declared, b.level DESC),
stats AS MATERIALIZED (
  SELECT DISTINCT ON (w.of, w.place) w.of, w.place, s.null_frac, s.n_distinct, s.most_common_freqs,
         s.most_common_vals, s.histogram_bounds
    FROM wanted w JOIN pg_catalog.pg_stats s
         ON s.schemaname = w.space AND s.tablename = w.relation AND s.attname = w.name
   ORDER BY w.of, w.place, s.inherited DESC)
SELECT w.of::int8, w.name::text, t.base, t.enumerated, s.null_frac::float8, s.n_distinct::float8,
       s.most_common_freqs::float8[], common.of, bounds.of
  FROM wanted w JOIN typed t ON t.declared = w.type LEFT JOIN stats s ON s.of = w.of AND s.place = w.place,
       LATERAL (SELECT {common} AS of) common, LATERAL (SELECT {bounds} AS of) bounds
"""


#: One row per statistics object on several columns, of tables of this role: its columns with their types, and
#: what was counted. Objects on expressions tell of their columns only.
_JOINT: Final = """
SELECT c.oid::int8, a.numbers, a.names, a.types, a.enumerated, s.exprs IS NULL, s.n_distinct::text,
       s.dependencies::text, s.most_common_vals::text[], s.most_common_freqs::float8[]
  FROM pg_catalog.pg_stats_ext s
       JOIN pg_catalog.pg_namespace n ON n.nspname = s.schemaname
       JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename, LATERAL (
       SELECT pg_catalog.array_agg(b.attnum::int4 ORDER BY k.place) AS numbers,
              pg_catalog.array_agg(b.attname::text ORDER BY k.place) AS names,
              pg_catalog.array_agg(t.typname::text ORDER BY k.place) AS types,
              pg_catalog.array_agg(t.typtype = 'e' ORDER BY k.place) AS enumerated
         FROM pg_catalog.unnest(s.attnames) WITH ORDINALITY AS k(name, place)
              JOIN pg_catalog.pg_attribute b ON b.attrelid = c.oid AND b.attname = k.name
              JOIN pg_catalog.pg_type t ON t.oid = b.atttypid) a
 WHERE c.oid = ANY (%s::oid[])
 ORDER BY c.oid, s.statistics_name
"""
_COUNTED: Final = re.compile(r'"([^"]+)": ([0-9.eE+-]+)')


def _converted(values: str) -> str:
    """SQL that makes an array of texts of a statistics column, times as seconds since 1970."""
    moments = "\n".join(
        f"""WHEN t.base = '{base}' THEN (SELECT pg_catalog.array_agg(EXTRACT(epoch FROM v)::text ORDER BY o)
         FROM pg_catalog.unnest({values}::text::{base}[]) WITH ORDINALITY AS e(v, o))"""
        for base in sorted(_TIMES)
    )
    plain = ", ".join(f"'{base}'" for base in sorted(_NUMBERS | _TEXTS | {"bool"}))
    return f"""CASE {moments}
       WHEN t.base IN ({plain}) OR t.enumerated THEN {values}::text::text[] END"""


_COLUMNS_SQL: Final = _COLUMNS.format(
    common=_converted("s.most_common_vals"), bounds=_converted("s.histogram_bounds")
)


def kind_of(base: str, enumerated: bool = False) -> ColumnKind:
    """How values of a type are ordered and compared, by its name in pg_type (domains: their base type's)."""
    if base in _NUMBERS:
        return ColumnKind.NUMBER
    if base in _TIMES:
        return ColumnKind.TIME
    if base in _TEXTS or enumerated:
        return ColumnKind.TEXT
    return ColumnKind.BOOLEAN if base == "bool" else ColumnKind.OTHER


class PostgresStatistics:
    """Statistics of one connection's tables, at one state of its catalogue.

    Parameters
    ----------
    ask : callable
        Runs statements of ours.
    schema : PostgresSchema
        The catalogue.
    epoch : str
        The catalogue's epoch.
    """

    def __init__(self, ask: Ask, schema: PostgresSchema, epoch: str) -> None:
        self.schema = schema
        self._ask = ask
        self._epoch = epoch
        self._lock = threading.RLock()
        renews_locks(self)
        self._generation = 0
        self._sizes: dict[str, _Size] = {}
        self._columns: dict[tuple[str, str], ColumnStatistics | None] = {}
        self._joint: dict[str, tuple[JointStatistics, ...]] = {}

    # -- the protocol -------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        """Changes with the schema, and when a table that was asked for is analysed or grows by a tenth.

        Asks the server, in two statements (a millisecond), once some table was asked for. Rows that other
        sessions added in the last second may not count yet.
        """
        with self._lock:
            if self._sizes:
                self._refresh()
            return f"{self._epoch}.{self._generation}"

    def rows(self, table: str) -> float:
        """Rows of a table, its partitions and heirs included.

        Raises
        ------
        MissingStatistics
            If there is no such table, or PostgreSQL cannot know (a view, a foreign table never analysed).
        """
        with self._lock:
            if table not in self._sizes:
                self._measure([table])
            return self._sizes[table].rows

    def column(self, table: str, column: str) -> ColumnStatistics | None:
        """Distribution of a column; None if it was never analysed, or this role may not read it."""
        with self._lock:
            if (table, column) not in self._columns:
                self.load({table: (column,)})
            return self._columns[table, column]

    def joint(self, table: str) -> tuple[JointStatistics, ...]:
        """Extended statistics of a table, which PostgreSQL shows to its owner and that role's members."""
        with self._lock:
            if table not in self._joint:
                self._load_joint([table])
            return self._joint[table]

    def load(self, wanted: Mapping[str, Iterable[str]]) -> None:
        """Read statistics of the given columns (by table): of all columns, and of all tables together."""
        with self._lock:
            missing = [name for name in wanted if name not in self._sizes]
            if missing:
                self._measure(missing)
            new = [
                (name, column)
                for name, columns in wanted.items()
                for column in columns
                if (name, column) not in self._columns
            ]
            if new:
                self._load(new)
            unread = [name for name in wanted if name not in self._joint]
            if unread:
                self._load_joint(unread)

    # -- rows ---------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        measured = self._measured(list(self._sizes))
        stale = [name for name, size in self._sizes.items() if size.differs(measured.get(name))]
        if not stale:
            return
        self._generation += 1
        for name in stale:
            before, now = self._sizes.pop(name), measured.get(name)
            if now is not None:
                self._sizes[name] = now.after(before)
            self._joint.pop(name, None)
        for key in [key for key in self._columns if key[0] in stale]:
            del self._columns[key]

    def _measure(self, names: Sequence[str]) -> None:
        measured = self._measured(names)
        for name in names:
            if name not in measured:
                table = self.schema.table(name)
                if table is None:
                    raise MissingStatistics(f"the catalogue has no table {name!r}")
                raise MissingStatistics(f"PostgreSQL has no row count for {name!r}; run ANALYZE on it")
        self._sizes.update(measured)

    def _measured(self, names: Sequence[str]) -> dict[str, _Size]:
        """Rows and analyses of tables, without those of which nothing is known."""
        by_oid = {
            relation.oid: name
            for name in names
            if (relation := self.schema.relation(name)) is not None and relation.kind != "v"
        }
        if not by_oid:
            return {}
        self._ask(_FLUSH, ())
        parts: dict[int, list[_Part]] = {}
        for root, *part in self._ask(_SIZES, (list(by_oid),)):
            parts.setdefault(int(root), []).append(_Part(*part))
        unknown = [oid for oid, found in parts.items() if any(part.needs_width for part in found)]
        widths = {int(oid): float(width) for oid, width in self._ask(_WIDTHS, (unknown,))} if unknown else {}
        measured: dict[str, _Size] = {}
        for oid, found in parts.items():
            counts = [part.rows(widths.get(oid, 32.0)) for part in found]
            known = [count for count in counts if count is not None]
            if known:
                rows = math.fsum(known)
                analyses = sum(part.analyses for part in found)
                net = math.fsum(part.net for part in found)
                measured[by_oid[oid]] = _Size(rows, rows, analyses, net)
        return measured

    # -- columns ------------------------------------------------------------------------------------

    def _load(self, wanted: Sequence[tuple[str, str]]) -> None:
        names: dict[int, tuple[str, Table]] = {}
        oids: list[int] = []
        for name, _ in wanted:
            table, relation = self.schema.table(name), self.schema.relation(name)
            if table is None or relation is None:
                raise MissingStatistics(f"the catalogue has no table {name!r}")
            names[relation.oid] = (name, table)
            oids.append(relation.oid)
        rows = self._ask(_COLUMNS_SQL, (oids, [column for _, column in wanted]))
        self._columns.update(dict.fromkeys(wanted))
        for oid, column, *found in rows:
            name, table = names[int(oid)]
            self._columns[name, column] = _statistics(
                found, self._sizes[name].rows, (column,) in table.unique
            )

    def _load_joint(self, names: Sequence[str]) -> None:
        by_oid = {
            relation.oid: name for name in names if (relation := self.schema.relation(name)) is not None
        }
        found: dict[str, list[JointStatistics]] = {name: [] for name in names}
        for oid, *row in self._ask(_JOINT, (list(by_oid),)) if by_oid else ():
            found[by_oid[int(oid)]].append(_joint_statistics(row))
        self._joint.update((name, tuple(entries)) for name, entries in found.items())


@dataclass(frozen=True)
class _Size:
    """A table's rows; ``estimate``, ``analyses`` and ``net`` tell whether it has changed since."""

    rows: float
    estimate: float
    analyses: int
    #: Inserted less deleted rows, as far as the server's counters go back.
    net: float

    def differs(self, now: _Size | None) -> bool:
        """Whether it was analysed, grew or shrank since."""
        return (
            now is None
            or now.analyses != self.analyses
            or abs(now.estimate - self.estimate) > GROWTH * max(1.0, self.estimate)
            or abs(now.net - self.net) > GROWTH * max(1.0, self.rows)
        )

    def after(self, before: _Size) -> _Size:
        """With rows that fit into the pages of the last look added: these do not show in the estimate."""
        if self.analyses != before.analyses or self.estimate != before.estimate:
            return self
        return replace(self, rows=max(0.0, before.rows + self.net - before.net))


@dataclass(frozen=True)
class _Part:
    """One file of a table: the table itself, a partition or an heir."""

    kind: str
    tuples: float
    pages: float
    size: float | None
    block: float
    live: float
    net: float
    analyses: int

    @property
    def needs_width(self) -> bool:
        return self.kind in ("r", "m") and self.tuples < 0 and not self.live and bool(self.size)

    def rows(self, width: float) -> float | None:
        """Rows; None for what holds none itself, or if PostgreSQL cannot know."""
        if self.kind == "f":
            return self.tuples if self.tuples >= 0 else None
        if self.kind not in ("r", "m"):
            # A partitioned table holds none; without partitions it is empty.
            return 0.0
        # A table that was dropped meanwhile has no size.
        now = (self.size or 0.0) / self.block
        if self.tuples < 0 or (self.pages <= 0 and now > 0):
            if self.live:
                return self.live
            if not now:
                return 0.0
            # Never analysed, and its counters are lost: as full as rows of this width make it.
            return round(now * (self.block - _PAGE_HEADER) / (width + _ROW_BYTES))
        # Never below what was counted: a VACUUM that gives pages back counts anew, and pages that a table was
        # extended by in advance and that hold nothing yet are missing on a standby.
        return self.tuples * (max(now / self.pages, 1.0) if self.pages > 0 else 1.0)


def _statistics(row: Sequence[Any], rows: float, unique: bool) -> ColumnStatistics | None:
    base, enumerated, null_share, distinct, shares, common, bounds = row
    kind = kind_of(base, enumerated)
    if null_share is None or distinct is None:
        return ColumnStatistics(kind, rows, unique=True) if unique else None
    null_share = min(max(float(null_share), 0.0), 1.0)
    filled = rows * (1.0 - null_share)
    if unique:
        distinct = filled
    elif distinct < 0:
        # A share of all rows, NULLs included, in single precision.
        distinct = min(float(round(-distinct * rows)), max(filled, 1.0))
    elif distinct == 0 and null_share < 1.0:
        return None
    values: list[float | str] = []
    frequencies: list[float] = []
    for value, share in zip(common or (), shares or (), strict=False):
        placed = _placed(value, kind, base)
        if placed is not None:
            values.append(placed)
            frequencies.append(float(share))
    # Collations order text in their own way; planning compares by code points, as C does.
    histogram = sorted(placed for value in bounds or () if (placed := _placed(value, kind, base)) is not None)
    ends = [*values, *histogram]
    return ColumnStatistics(
        kind=kind,
        distinct=max(float(distinct), float(len(values))),
        null_share=null_share,
        minimum=min(ends) if ends else None,
        maximum=max(ends) if ends else None,
        common_values=tuple(values),
        common_shares=np.array(frequencies, np.float64),
        histogram=tuple(histogram),
        unique=unique,
    )


def _joint_statistics(row: Sequence[Any]) -> JointStatistics:
    numbers, columns, types, enumerated, plain, distinct, dependencies, values, shares = row
    names = {str(number): str(name) for number, name in zip(numbers, columns, strict=True)}
    combinations: dict[frozenset[str], float] = {}
    for key, count in _COUNTED.findall(distinct or ""):
        places = key.split(", ")
        # Expressions have negative numbers.
        if all(place in names for place in places):
            combinations[frozenset(names[place] for place in places)] = float(count)
    implied: dict[tuple[frozenset[str], str], float] = {}
    for key, degree in _COUNTED.findall(dependencies or ""):
        some, _, one = key.partition(" => ")
        if one in names and all(place in names for place in some.split(", ")):
            implied[frozenset(names[place] for place in some.split(", ")), names[one]] = float(degree)
    kinds = [kind_of(base, is_enum) for base, is_enum in zip(types, enumerated, strict=True)]
    common: dict[tuple[float | str | None, ...], float] = {}
    if plain and values and not {ColumnKind.TIME, ColumnKind.OTHER} & set(kinds):
        for entry, share in zip(values, shares, strict=True):
            placed = [_placed(text, kind, base) for text, kind, base in zip(entry, kinds, types, strict=True)]
            common[tuple(placed)] = float(share)
    return JointStatistics(
        tuple(columns), combinations, implied, tuple(common), np.array(list(common.values()), np.float64)
    )


def _placed(text: str | None, kind: ColumnKind, base: str) -> float | str | None:
    """A value in its column's domain; None for what has no place there (NaN, infinity)."""
    if text is None:
        return None
    if kind is ColumnKind.TEXT:
        return text.rstrip(" ") if base == "bpchar" else text
    if kind is ColumnKind.BOOLEAN:
        return 1.0 if text in ("t", "true") else 0.0
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
