"""Results in DuckDB's columnar form: kept as it gave them, Python rows made of them when somebody looks.

Tuples of plain scalars say what DuckDB knows of a value, and cost least for small results: they are fetched
as such, and an arrow table is made of them with the types that DuckDB gives it. Everything else (intervals,
nanoseconds, zones, nested values …) is fetched as arrow where pyarrow is installed, and rows are made by
DuckDB itself, in an instance of our own, a block at a time.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, Final, overload

from godb_fast.engines.base import EngineResult
from godb_fast.engines.duckdb import quirks
from godb_fast.engines.duckdb.instance import import_duckdb
from godb_fast.engines.tabular import dataframe_of_rows, import_pandas, import_pyarrow
from godb_fast.errors import EngineError, InvalidInput, ResultTooLarge

Row = tuple[Any, ...]

#: Rows that iterating over a columnar result makes at a time.
BLOCK_ROWS: Final = 65_536
#: Types whose values are plain Python scalars that lose nothing.
_PLAIN: Final = re.compile(
    r"BOOLEAN|U?(?:TINYINT|SMALLINT|INTEGER|BIGINT)|HUGEINT|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)|VARCHAR|JSON|BLOB|DATE"
    r'|TIME|TIMESTAMP|TIMESTAMP_S|TIMESTAMP_MS|UUID|"NULL"'
)
#: Types whose arrow form does not say all that their Python values do.
_ROWS_ONLY: Final = re.compile(r"\b(?:BIT|TIME WITH TIME ZONE)\b")
_NAME: Final = "godb_fast_result"


def is_columnar(types: Sequence[str]) -> bool:
    """Whether a result of these types is fetched as arrow: rows would lose something, and arrow nothing."""
    return (
        any(not _PLAIN.fullmatch(name) for name in types)
        and not any(_ROWS_ONLY.search(name) for name in types)
        and _has_pyarrow()
    )


@cache
def _has_pyarrow() -> bool:
    return find_spec("pyarrow") is not None


class ColumnarRows(Sequence[Row]):
    """Rows of an arrow table, made when somebody looks; iterating holds one block of them at a time.

    Parameters
    ----------
    table : pyarrow.Table
    types : sequence of str
        DuckDB's types of the columns: values are what its own ``fetchall()`` would have given.
    """

    def __init__(self, table: Any, types: Sequence[str]) -> None:
        self._table = table
        self._types = tuple(types)
        self._block: tuple[int, list[Row]] = (-1, [])

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return self[:][index]
            return _rows(self._table.slice(start, max(0, stop - start)), self._types)
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"row {index} of a result of {len(self)} rows")
        number, offset = divmod(position, BLOCK_ROWS)
        if self._block[0] != number:
            begin = number * BLOCK_ROWS
            self._block = (number, self[begin : begin + BLOCK_ROWS])
        return self._block[1][offset]

    def __iter__(self) -> Iterator[Row]:
        for begin in range(0, len(self), BLOCK_ROWS):
            yield from self[begin : begin + BLOCK_ROWS]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {len(self._types)} columns>"


class DuckDBConversions:
    """Arrow tables and data frames of results, as DuckDB itself makes them."""

    def arrow(self, result: EngineResult) -> Any:
        """The result as DuckDB's arrow table.

        Of rows that were fetched as such, infinite dates and times are the largest there are, as in
        ``fetchall()``.

        Raises
        ------
        MissingDependency
            If pyarrow is not installed.
        InvalidInput
            If the rows hold a value that arrow's type cannot.
        """
        pyarrow = import_pyarrow()
        if result.native is not None:
            return result.native
        schema = _schema(result.types)
        columns = zip(*result.rows, strict=True) if result.rows else [()] * len(result.columns)
        arrays = []
        for name, kind, field, column in zip(result.columns, result.types, schema, columns, strict=True):
            values: Sequence[Any] = column
            if _ROWS_ONLY.search(kind):
                raise _unsayable(name, kind, "its rows do not hold arrow's form of it")
            if kind == "UUID":
                values = [None if value is None else str(value) for value in values]
            try:
                arrays.append(pyarrow.array(values, type=field.type))
            except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise _unsayable(name, kind, str(error)) from error
        named = [field.with_name(name) for field, name in zip(schema, result.columns, strict=True)]
        return pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(named))

    def dataframe(self, result: EngineResult) -> Any:
        """The result as DuckDB's data frame; without pyarrow one that pandas makes of the rows.

        Raises
        ------
        MissingDependency
            If pandas is not installed.
        """
        import_pandas()
        if not _has_pyarrow() or any(_ROWS_ONLY.search(name) for name in result.types):
            return dataframe_of_rows(result)
        try:
            table = self.arrow(result)
        except InvalidInput:
            # A HUGEINT past 38 digits.
            return dataframe_of_rows(result)
        try:
            frame = _converted(table, result.types, "df")
        except EngineError:
            # DuckDB has no NumPy form of some types (UHUGEINT, BIGNUM).
            return dataframe_of_rows(result)
        frame.columns = list(result.columns)
        return frame


#: They keep nothing of a result.
CONVERSIONS: Final = DuckDBConversions()


def fetch_table(raw: Any, max_rows: int | None) -> Any:
    """The pending result as an arrow table of at most ``max_rows`` rows.

    Raises
    ------
    ResultTooLarge
        Past ``max_rows``.
    """
    if max_rows is None:
        return quirks.arrow_table(raw)
    pyarrow = import_pyarrow()
    reader = quirks.arrow_reader(raw, min(BLOCK_ROWS, max_rows + 1))
    batches, count = [], 0
    try:
        for batch in reader:
            batches.append(batch)
            count += batch.num_rows
            if count > max_rows:
                raise ResultTooLarge(f"the result has more than {max_rows} rows, the limit of its buffer")
    except (pyarrow.ArrowException, OSError) as error:
        # The reader only passes on DuckDB's words.
        if "INTERRUPT" in str(error):
            raise import_duckdb().InterruptException(str(error)) from error
        raise
    return pyarrow.Table.from_batches(batches, schema=reader.schema)


def _unsayable(name: str, kind: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"column {name!r} of type {kind} cannot be made an arrow column afterwards: {why}; "
        "ask for it with execute(…, fetch='arrow')"
    )


# -- an instance of our own ---------------------------------------------------------------------------------

_lock = threading.Lock()
_instance: Any = None
#: What a fork left: without its threads an instance can be neither used nor closed.
_inherited: list[Any] = []


def _cursor() -> Any:
    """A connection to our own instance; each process has its own."""
    global _instance
    with _lock:
        if _instance is None:
            _instance = import_duckdb().connect(":memory:", config={"threads": 1})
        return _instance.cursor()


def _after_fork() -> None:
    global _instance, _lock
    # The parent may have been forked while it held the lock.
    _lock = threading.Lock()
    _inherited.append(_instance)
    _instance = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _schema(types: Sequence[str]) -> Any:
    """Arrow's types for DuckDB's, asked of DuckDB."""
    with _cursor() as cursor:
        columns = ", ".join(f"NULL::{name} AS c{number}" for number, name in enumerate(types))
        cursor.execute(f"SELECT {columns} WHERE false")
        return quirks.arrow_table(cursor).schema


def _rows(table: Any, types: Sequence[str]) -> list[Row]:
    for name, kind in zip(table.column_names, types, strict=True):
        if _ROWS_ONLY.search(kind):
            raise InvalidInput(
                f"column {name!r} of type {kind} cannot be read back from arrow; "
                "execute without fetch='arrow' for its rows"
            )
    rows: list[Row] = _converted(table, types, "fetchall") if table.num_rows else []
    return rows


def _converted(table: Any, types: Sequence[str], form: str) -> Any:
    """``fetchall()`` or ``df()`` of an arrow table, in DuckDB's original types."""
    duckdb = import_duckdb()
    named = table.rename_columns([f"c{number}" for number in range(len(types))])
    # Arrow has no name for some types (HUGEINT, UUID): a cast gives them back.
    columns = ", ".join(f"c{number}::{name}" for number, name in enumerate(types))
    try:
        with _cursor() as cursor:
            zone = _zone(table.schema)
            if zone is not None:
                cursor.execute(f"SET TimeZone = {quirks.quote_text(zone)}")
            cursor.register(_NAME, named)
            return getattr(cursor.execute(f"SELECT {columns} FROM {_NAME}"), form)()
    except duckdb.Error as error:
        raise EngineError(str(error).strip()) from error


def _zone(schema: Any) -> str | None:
    """The time zone of the connection that gave a table."""
    stack = [field.type for field in schema]
    while stack:
        kind = stack.pop()
        zone = getattr(kind, "tz", None)
        if zone is not None:
            return str(zone)
        stack.extend(kind.field(number).type for number in range(kind.num_fields))
    return None
