"""Row counts and column distributions from DuckDB itself, sampled when a query first needs them.

DuckDB keeps minimum, maximum and an approximate number of distinct values per column (``stats()``, about a
millisecond); common values, histograms and NULL shares come from one sample query a table. Small tables are
read whole. Larger ones are sampled by row (Bernoulli) while that is cheap, since DuckDB's system sampling
takes whole vectors of 2048 neighbours, which misleads on columns that follow the insertion order; very large
ones by system sampling.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import ColumnKind, ColumnStatistics, Table
from godb_fast.core.forking import renews_locks
from godb_fast.engines.duckdb import quirks
from godb_fast.engines.duckdb.connection import Connection
from godb_fast.engines.duckdb.schema import DuckDBSchema
from godb_fast.errors import (
    EngineError,
    InvalidInput,
    MissingStatistics,
    QueryTimeout,
    StatisticsNotReady,
)

#: Tables up to this size are read whole: their statistics are exact.
EXACT_ROWS: Final = 100_000
#: Rows that a sample should have.
SAMPLE_ROWS: Final = 60_000
#: Row sampling reads every row; above this many values (rows times columns) whole vectors are sampled.
ROW_SAMPLED_VALUES: Final = 40_000_000
#: Seconds that a table may cost; past it the columns keep what ``stats()`` knows.
TABLE_BUDGET_S: Final = 2.0
#: At most so many common values, and so many histogram buckets.
COMMON_VALUES: Final = 100
BUCKETS: Final = 100
#: Growth of a table past which its statistics are taken anew.
GROWTH: Final = 0.1
_SEED: Final = 42

_NUMBERS: Final = re.compile(
    r"(?:U?(?:TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|REAL|DECIMAL|BIGNUM|VARINT)\b"
)
_TIMES: Final = re.compile(r"(?:DATE|TIME|TIMESTAMP(?:_S|_MS|_NS)?|TIMESTAMP WITH TIME ZONE)")


def kind_of(type_name: str) -> ColumnKind:
    """How values of a DuckDB type are ordered and compared."""
    name = type_name.upper()
    if name.endswith("]"):
        return ColumnKind.OTHER
    if _NUMBERS.match(name):
        return ColumnKind.NUMBER
    if _TIMES.fullmatch(name):
        return ColumnKind.TIME
    if name.startswith(("VARCHAR", "ENUM")):
        return ColumnKind.TEXT
    if name == "BOOLEAN":
        return ColumnKind.BOOLEAN
    return ColumnKind.OTHER


class DuckDBStatistics:
    """Statistics of one connection's tables, at one state of its catalogue.

    Parameters
    ----------
    schema : DuckDBSchema
        The catalogue; ``previous`` statistics of tables that did not change since are kept.
    """

    def __init__(
        self, connection: Connection, schema: DuckDBSchema, previous: DuckDBStatistics | None = None
    ) -> None:
        self.schema = schema
        self._connection = connection
        self._lock = threading.RLock()
        renews_locks(self)
        #: What :meth:`within` says, of the calling thread.
        self._limits = threading.local()
        self._generation = 0
        self._sizes: dict[str, float] = {}
        self._stamp: int | None = None
        self._rows: dict[str, float] = {}
        self._columns: dict[tuple[str, str], ColumnStatistics | None] = {}
        if previous is not None:
            self._generation = previous._generation
            self._keep(previous)
        self._refresh()

    def _keep(self, previous: DuckDBStatistics) -> None:
        for name in {table for table, _ in previous._columns} | set(previous._rows):
            if self.schema.table(name) == previous.schema.table(name):
                if name in previous._sizes:
                    self._sizes[name] = previous._sizes[name]
                if name in previous._rows:
                    self._rows[name] = previous._rows[name]
        for key, value in previous._columns.items():
            if key[0] in self._rows:
                self._columns[key] = value

    # -- freshness ----------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        """Changes with the schema, and when a table whose statistics were used grew by a tenth.

        Deleted rows count once DuckDB has cleared them away at a checkpoint.
        """
        self._refresh()
        return f"{self.schema.epoch}.{self._generation}"

    def _refresh(self) -> None:
        with self._lock:
            self._refreshed()

    def _refreshed(self) -> None:
        instance = self._connection.instance
        if instance is not None and self._stamp == instance.changes:
            return
        if instance is not None:
            self._stamp = instance.changes
        now = {
            f"{database}.{schema}.{name}": float(size or 0)
            for database, schema, name, size in self._connection.query(
                "SELECT database_name, schema_name, table_name, estimated_size "
                "FROM system.main.duckdb_tables()"
            )
        }
        stale = {
            name
            for name in self._rows
            if name in self._sizes
            and abs(now.get(name, 0.0) - self._sizes[name]) > GROWTH * max(1.0, self._sizes[name])
        }
        if stale:
            self._generation += 1
            for name in stale:
                del self._rows[name]
            for key in [key for key in self._columns if key[0] in stale]:
                del self._columns[key]
        for name, size in now.items():
            if name not in self._rows:
                self._sizes[name] = size

    # -- the protocol -------------------------------------------------------------------------------

    def rows(self, table: str) -> float:
        """Rows of a table; of a view, DuckDB's own estimate.

        Raises
        ------
        MissingStatistics
            If the catalogue has no such table.
        """
        with self._lock:
            found = self._rows.get(table)
            if found is None:
                found = self._rows[table] = self._counted(self._known(table))
            return found

    def column(self, table: str, column: str) -> ColumnStatistics | None:
        """Distribution of a column, sampled at the first call; None if there is none."""
        key = (table, column)
        if key not in self._columns:
            self.load({table: (column,)})
        return self._columns.get(key)

    def load(self, wanted: Mapping[str, Iterable[str]]) -> None:
        """Sample the given columns (by table), all columns of a table in one query."""
        with self._lock:
            limit = getattr(self._limits, "foreseen_s", None)
            if limit is not None:
                missing = self._missing(wanted)
                seconds = sum(self._foreseen_s(name, len(columns)) for name, columns in missing.items())
                if seconds > limit:
                    raise StatisticsNotReady(f"sampling takes about {seconds * 1e3:.0f} ms", missing)
            for name, columns in wanted.items():
                self._load(name, tuple(columns))

    def _missing(self, wanted: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
        """What of it is not known yet and would be sampled."""
        missing: dict[str, tuple[str, ...]] = {}
        for name, columns in wanted.items():
            table = self.schema.table(name)
            if table is not None and not self.schema.is_view(table):
                unknown = tuple(column for column in columns if (name, column) not in self._columns)
                if unknown:
                    missing[name] = unknown
        return missing

    def _foreseen_s(self, name: str, columns: int) -> float:
        """About what sampling columns costs: a few statements, the values in Python, the scan."""
        rows = self._sizes.get(name, 0.0)
        return 0.002 + columns * (min(rows, EXACT_ROWS) * 2e-7 + rows * 1e-8)

    def adopt(self, other: Any) -> None:
        """Take over what another connection's statistics know and these do not."""
        if not isinstance(other, DuckDBStatistics):
            raise InvalidInput(f"{type(other).__name__} are no statistics of DuckDB")
        with other._lock:
            rows, sizes, columns = dict(other._rows), dict(other._sizes), dict(other._columns)
        with self._lock:
            same = {name for name in rows if self.schema.table(name) == other.schema.table(name)}
            for name in same:
                if name not in self._rows:
                    self._rows[name] = rows[name]
                    if name in sizes:
                        self._sizes[name] = sizes[name]
            for key, value in columns.items():
                if key[0] in same:
                    self._columns.setdefault(key, value)

    @contextmanager
    def within(self, seconds: float, foreseen_s: float | None = None) -> Iterator[None]:
        """Limit what loading may cost this thread.

        Past ``seconds`` it raises QueryTimeout, and what was loaded is kept. Where it is foreseen to take
        more than ``foreseen_s`` it does not begin, but raises StatisticsNotReady.
        """
        limits = self._limits
        before = getattr(limits, "deadline", None), getattr(limits, "foreseen_s", None)
        limits.deadline, limits.foreseen_s = time.monotonic() + seconds, foreseen_s
        try:
            yield
        finally:
            limits.deadline, limits.foreseen_s = before

    def _left_s(self) -> float:
        """Seconds that the next statement may take: a table's budget, or what is left of the deadline."""
        at = getattr(self._limits, "deadline", None)
        if at is None:
            return TABLE_BUDGET_S
        left: float = at - time.monotonic()
        if left <= 0.0:
            raise QueryTimeout("loading statistics did not end within its time limit")
        return min(TABLE_BUDGET_S, left)

    def _load(self, name: str, columns: tuple[str, ...]) -> None:
        table = self._known(name)
        names = {entry.lower(): entry for entry in table.columns}
        missing = [
            names[column.lower()]
            for column in columns
            if column.lower() in names and (name, column) not in self._columns
        ]
        if missing and not self.schema.is_view(table):
            # First, so that nothing is noted as absent when its time runs out.
            for column, statistics in self._sampled(table, list(dict.fromkeys(missing))).items():
                self._columns[(name, column)] = statistics
        for column in columns:
            self._columns.setdefault((name, column), None)
        if not missing or self.schema.is_view(table):
            return
        for column in columns:
            if column.lower() in names:
                self._columns[(name, column)] = self._columns[(name, names[column.lower()])]

    def _known(self, name: str) -> Table:
        table = self.schema.table(name)
        if table is None:
            raise MissingStatistics(f"the catalogue has no table {name!r}")
        return table

    # -- reading ------------------------------------------------------------------------------------

    def _counted(self, table: Table) -> float:
        source = _quoted(table)
        if self.schema.is_view(table):
            return self._estimated(f"SELECT * FROM {source}", table)
        return float(self._ask(f"SELECT system.main.count(*) FROM {source}")[0][0])

    def _estimated(self, sql: str, table: Table) -> float:
        """DuckDB's own row estimate of a query."""
        from godb_fast.engines.duckdb.plans import from_explain

        plan = from_explain(self._ask(f"EXPLAIN (FORMAT JSON) {sql}")[0][1], "duckdb")
        for node in plan.root.walk():
            if node.estimated_rows is not None:
                return node.estimated_rows
        raise MissingStatistics(f"DuckDB has no row estimate for {table.name}")

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        connection = self._connection
        return connection.guarded(lambda: connection.rows(sql), timeout_s=self._left_s())

    def _sampled(self, table: Table, columns: list[str]) -> dict[str, ColumnStatistics | None]:
        rows = self.rows(table.name)
        kinds = {
            name: kind_of(type_name)
            for name, type_name in zip(table.columns, table.types, strict=True)
            if name in columns
        }
        cheap = self._kept_by_duckdb(table, columns)
        exact = rows <= EXACT_ROWS
        selected = ", ".join(
            f"{_expression(column, kinds[column])} AS c{position}" for position, column in enumerate(columns)
        )
        sql = f"SELECT {selected} FROM {_quoted(table)}{_clause(rows, len(columns))}"
        connection = self._connection

        def work() -> dict[str, Any]:
            fetched: dict[str, Any] = connection.raw.execute(sql).fetchnumpy()
            return fetched

        limit = self._left_s()
        try:
            values = list(connection.guarded(work, timeout_s=limit).values()) if rows else []
        except QueryTimeout:
            if limit < TABLE_BUDGET_S:
                raise
            values = []
        found: dict[str, ColumnStatistics | None] = {}
        for position, column in enumerate(columns):
            unique = (column,) in table.unique
            if values:
                found[column] = summarized(
                    values[position], kinds[column], rows, exact=exact, kept=cheap.get(column), unique=unique
                )
            else:
                found[column] = _from_kept(kinds[column], rows, cheap.get(column), unique)
        return found

    def _kept_by_duckdb(self, table: Table, columns: list[str]) -> dict[str, tuple[Any, ...]]:
        """What ``stats()`` says of columns: distinct values, minimum, maximum, may hold NULL."""
        wanted = ", ".join(f"system.main.stats({quirks.quote_name(column)})" for column in columns)
        try:
            row = self._ask(f"SELECT {wanted} FROM {_quoted(table)} LIMIT 1")
        except QueryTimeout:
            raise
        except EngineError:
            # Nested types have none in some versions; the sample still serves.
            return {}
        if not row:
            return {}
        return {column: quirks.column_stats(raw) for column, raw in zip(columns, row[0], strict=True)}


def _quoted(table: Table) -> str:
    # Canonical names may hold dots; the first two parts of a table of ours do not in practice, and a name
    # that is ambiguous is not resolved (schema.py).
    return ".".join(quirks.quote_name(part) for part in table.name.split(".", 2))


def _expression(column: str, kind: ColumnKind) -> str:
    name = quirks.quote_name(column)
    if kind in (ColumnKind.NUMBER, ColumnKind.BOOLEAN):
        return f"CAST({name} AS DOUBLE)"
    if kind is ColumnKind.TIME:
        return f"system.main.epoch({name})"
    if kind is ColumnKind.TEXT:
        return f"CAST({name} AS VARCHAR)"
    # Only counted: equal values have equal hashes.
    return (
        f"CASE WHEN {name} IS NOT NULL THEN CAST(system.main.hash({name}) % 9007199254740992 AS DOUBLE) END"
    )


def _clause(rows: float, columns: int) -> str:
    if rows <= EXACT_ROWS:
        return ""
    percent = max(100.0 * SAMPLE_ROWS / rows, 0.0001)
    method = "bernoulli" if rows * columns <= ROW_SAMPLED_VALUES else "system"
    return f" TABLESAMPLE {method}({percent:.6f}%) REPEATABLE ({_SEED})"


# -- summaries ------------------------------------------------------------------------------------------


def summarized(
    values: Any,
    kind: ColumnKind,
    rows: float,
    *,
    exact: bool,
    kept: tuple[Any, ...] | None = None,
    unique: bool = False,
) -> ColumnStatistics:
    """Statistics of a column from a sample (or all) of its values.

    Parameters
    ----------
    values : array or masked array
        Float64 for numbers, times and booleans; objects for text; NULLs masked (or None, or NaN).
    rows : float
        Rows of the table.
    exact : bool
        The values are the whole column.
    kept : tuple, optional
        What DuckDB itself keeps: distinct values, minimum, maximum, may hold NULL.
    """
    present, total = _present(values, kind)
    sampled = len(present)
    null_share = 0.0 if total == 0 else (total - sampled) / total
    if sampled == 0:
        return ColumnStatistics(kind=kind, distinct=0.0, null_share=min(1.0, null_share), unique=unique)
    ordered, counts = _counted_values(present, kind)
    filled = max(1.0, rows * (1.0 - null_share))
    distinct = float(len(ordered)) if exact else _distinct(counts, sampled, filled, kept)
    if unique:
        distinct = filled
    distinct = min(max(distinct, float(len(ordered))), max(filled, float(len(ordered))))
    unique = unique or (exact and len(ordered) == sampled)
    if kind is ColumnKind.OTHER:
        return ColumnStatistics(kind=kind, distinct=distinct, null_share=null_share, unique=unique)
    common = _common(counts, sampled, distinct, exact=exact)
    low, high = _value(ordered[0]), _value(ordered[-1])
    if not exact and kept is not None:
        # A sample seldom holds the extremes; DuckDB keeps them for numbers and times.
        low, high = _widened(kind, low, high, kept)
    shares = counts[common] / total
    rest = np.ones(len(ordered), bool)
    rest[common] = False
    return ColumnStatistics(
        kind=kind,
        distinct=distinct,
        null_share=null_share,
        minimum=low,
        maximum=high,
        common_values=tuple(_value(ordered[index]) for index in common),
        common_shares=shares,
        histogram=_bounds(ordered[rest], counts[rest]),
        unique=unique,
    )


def _present(values: Any, kind: ColumnKind) -> tuple[Any, int]:
    total = len(values)
    if isinstance(values, np.ma.MaskedArray):
        values = values.compressed()
    if kind is ColumnKind.TEXT:
        return [value for value in values if isinstance(value, str)], total
    numbers = np.asarray(values, np.float64)
    # DuckDB orders NaN above everything; no estimate is made of it.
    return numbers[np.isfinite(numbers)], total


def _counted_values(present: Any, kind: ColumnKind) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Distinct values ascending, and how often each occurs."""
    if kind is not ColumnKind.TEXT:
        ordered, counts = np.unique(present, return_counts=True)
        return ordered, counts.astype(np.float64)
    # Code points sort as DuckDB's bytes of UTF-8 do.
    tally = Counter(present)
    names = sorted(tally)
    ordered = np.empty(len(names), object)
    ordered[:] = names
    return ordered, np.array([tally[name] for name in names], np.float64)


def _distinct(
    counts: NDArray[np.float64], sampled: int, filled: float, kept: tuple[Any, ...] | None
) -> float:
    """Distinct values of the whole column from a sample's.

    DuckDB's own approximation (HyperLogLog) where there is one; else the estimator Duj1 of Haas, Naughton,
    Seshadri and Stokes, VLDB 1995. A sample without any repetition is taken for a key.
    """
    singles = float((counts == 1).sum())
    if singles >= sampled * 0.999 and sampled >= 1000:
        return filled
    if kept is not None and kept[0]:
        return float(kept[0])
    share = min(1.0, sampled / filled)
    return float(len(counts) / max(1.0 - (1.0 - share) * singles / sampled, 1e-9))


def _common(counts: NDArray[np.float64], sampled: int, distinct: float, *, exact: bool) -> NDArray[np.int64]:
    """Indices of the most common values, most common first.

    As PostgreSQL does: all values if they are few and all were seen; else those that are clearly more common
    than the average one (by a quarter, and in a sample by four standard errors, as many values are tested).
    """
    order = np.argsort(-counts, kind="stable")
    if len(counts) <= COMMON_VALUES and (exact or len(counts) >= 0.95 * distinct):
        return order.astype(np.int64)
    average = sampled / max(distinct, 1.0)
    bar = 1.25 * average
    if not exact:
        bar = max(bar, average + 4.0 * np.sqrt(average + 1.0))
    chosen = order[:COMMON_VALUES]
    return chosen[counts[chosen] > bar].astype(np.int64)


def _bounds(ordered: NDArray[Any], counts: NDArray[np.float64]) -> tuple[Any, ...]:
    """Equi-depth histogram bounds over values with their counts."""
    if len(ordered) < 2:
        return tuple(_value(entry) for entry in ordered) * 2
    buckets = min(BUCKETS, len(ordered) - 1)
    reached = np.cumsum(counts)
    targets = np.linspace(0.0, reached[-1], buckets + 1)
    places = np.minimum(np.searchsorted(reached, targets, side="left"), len(ordered) - 1)
    places[0], places[-1] = 0, len(ordered) - 1
    return tuple(_value(entry) for entry in ordered[places])


def _value(entry: Any) -> float | str:
    return entry if isinstance(entry, str) else float(entry)


def _widened(
    kind: ColumnKind, low: float | str, high: float | str, kept: tuple[Any, ...]
) -> tuple[float | str, float | str]:
    first, last = _bound(kind, kept[1]), _bound(kind, kept[2])
    if isinstance(low, float) and first is not None:
        low = min(low, first)
    if isinstance(high, float) and last is not None:
        high = max(high, last)
    return low, high


def _bound(kind: ColumnKind, text: str | None) -> float | None:
    """A minimum or maximum as DuckDB prints it; None for text (cut off there) and what cannot be read."""
    if text is None:
        return None
    try:
        if kind is ColumnKind.NUMBER:
            number = float(text)
            return number if np.isfinite(number) else None
        if kind is ColumnKind.TIME:
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        return None
    return None


def _from_kept(
    kind: ColumnKind, rows: float, kept: tuple[Any, ...] | None, unique: bool
) -> ColumnStatistics | None:
    """What can be said without a sample."""
    if not rows:
        return ColumnStatistics(kind=kind, distinct=0.0, unique=unique)
    distinct = rows if unique else (kept[0] if kept else None)
    if distinct is None:
        return None
    return ColumnStatistics(
        kind=kind,
        distinct=min(float(distinct), rows),
        minimum=_bound(kind, kept[1]) if kept else None,
        maximum=_bound(kind, kept[2]) if kept else None,
        unique=unique,
    )
