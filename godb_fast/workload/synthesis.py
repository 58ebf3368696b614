"""Values for placeholders of which no real ones are known: sampled from the engine's statistics.

What comes out is for looking at plans and for trying a statement out; it is labelled synthetic, because
plans and times under made-up values say little of those under real ones.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from godb_fast.core import And, ColumnKind, ColumnStatistics, Comparison, Not, Or, Predicate, Slot, Template
from godb_fast.engines.base import Engine, Rendered
from godb_fast.errors import ConnectionFailed, EngineError, GodbError, SessionClosed, SqlError
from godb_fast.sql import beyond_limits, fingerprint, parse_template
from godb_fast.workload.shapes import bound, is_complete, is_single, placeholders, quoted, reads

#: Seconds that the engine may take to plan a made-up statement.
_LIMIT_S: Final = 2.0
_BEFORE: Final = re.compile(r"([A-Za-z_]+)\s*$")
_CAST: Final = re.compile(r"\s*::\s*([A-Za-z]+)")
#: A literal of a type, by the word before it or the cast after it.
_BY_TYPE: Final = {
    "date": "'2020-01-01'",
    "timestamp": "'2020-01-01 00:00:00'",
    "timestamptz": "'2020-01-01 00:00:00+00'",
    "time": "'12:00:00'",
    "interval": "'1 day'",
    "int": "1",
    "integer": "1",
    "smallint": "1",
    "bigint": "1",
    "numeric": "1",
    "float": "1",
    "real": "1",
    "double": "1",
    "text": "'x'",
    "varchar": "'x'",
    "character": "'x'",
    "boolean": "TRUE",
    "bool": "TRUE",
}
#: These words make a literal of a string that follows.
_PREFIXES: Final = frozenset({"date", "timestamp", "timestamptz", "time", "interval"})
_BY_CLAUSE: Final = {"limit": "100", "offset": "0", "first": "100", "next": "100"}
#: What is tried for a place of which nothing is known: of any type, a number. (NULL would mostly be accepted,
#: and planned as no rows at all.)
_LAST: Final = ("'1'", "1")
#: A value of a type that our statistics have no order for, as the server writes it.
_SAMPLE: Final = """
SELECT (coalesce(s.most_common_vals::text, s.histogram_bounds::text)::text[])[1], s.most_common_elems::text
  FROM pg_catalog.pg_stats s WHERE s.schemaname = {} AND s.tablename = {} AND s.attname = {}
"""


def synthesized(engine: Engine, sql: str) -> str | None:
    """The statement with made-up values, which the engine is seen to accept; None if none are found.

    Nothing is executed: the engine is asked for a plan.

    Raises
    ------
    EngineError
        If the connection is lost.
    """
    # One query: engines may run what stands behind it, whatever is put in front.
    if not reads(sql) or not is_single(sql, engine.dialect):
        return None
    try:
        places = placeholders(sql, engine.dialect)
        if not places:
            return None
        last = max(number for _, _, number in places)
        values = _by_context(sql, places)
        # A type before a placeholder is no SQL: those go first, so that the rest can be parsed.
        partly = bound(
            sql, [values.get(number, f"${number}") for number in range(1, last + 1)], engine.dialect
        )
        values = (_by_statistics(engine, partly) if partly is not None else {}) | values
        for attempt in _LAST:
            found = bound(sql, [values.get(number, attempt) for number in range(1, last + 1)], engine.dialect)
            if found is not None and is_complete(found, engine.dialect) and _accepted(engine, found):
                return found
            if all(number in values for _, _, number in places):
                break
    except SqlError:
        pass  # Cut off, or in a syntax of its own: there is nothing to fill in.
    return None


def _accepted(engine: Engine, sql: str) -> bool:
    try:
        engine.explain(sql, timeout_s=_LIMIT_S)
    except EngineError as error:
        if isinstance(error, ConnectionFailed | SessionClosed):
            raise
        return False
    return True


def _by_context(sql: str, places: list[tuple[int, int, int]]) -> dict[int, str]:
    """Values that the words around a place ask for."""
    raw = sql.encode("utf-8")
    values: dict[int, str] = {}
    for start, end, number in places:
        before = _BEFORE.search(raw[max(start - 40, 0) : start].decode("latin-1"))
        word = before[1].lower() if before is not None else ""
        if word in _PREFIXES:
            values[number] = _BY_TYPE[word]
        elif word in _BY_CLAUSE:
            values.setdefault(number, _BY_CLAUSE[word])
        else:
            cast = _CAST.match(raw[end : end + 40].decode("latin-1"))
            if cast is not None and cast[1].lower() in _BY_TYPE:
                values.setdefault(number, _BY_TYPE[cast[1].lower()])
    return values


def _by_statistics(engine: Engine, sql: str) -> dict[int, str]:
    """Values of the columns that places are compared with."""
    found = fingerprint(sql, engine.dialect)
    if beyond_limits(found) is not None:
        return {}
    try:
        template = parse_template(found, engine.dialect, engine.schema())
        statistics = engine.statistics()
    except GodbError:
        return {}
    chance = random.Random(found.hash)
    values: dict[int, str] = {}
    for table, comparison in _comparisons(template):
        numbers = [
            number
            for operand in comparison.operands
            if isinstance(operand, Slot) and operand.index < len(found.literals)
            for number in _numbers(found.literals[operand.index])
        ]
        if not numbers or comparison.function is not None:
            continue
        try:
            column = statistics.column(table, comparison.column.name)
        except GodbError:
            continue
        if column is None or column.kind is ColumnKind.OTHER:
            sample = _sample(engine, table, comparison.column.name)
            if sample is not None:
                values.update((number, sample) for number in numbers if number not in values)
            continue
        drawn = [_draw(column, chance) for _ in numbers]
        if comparison.operator == "between" and None not in drawn:
            drawn.sort(key=lambda value: (isinstance(value, str), value))
        for number, value in zip(numbers, drawn, strict=True):
            text = None if value is None else _literal(value, column.kind, comparison.operator)
            if text is not None:
                values.setdefault(number, text)
    return values


def _sample(engine: Engine, table: str, column: str) -> str | None:
    """A value that PostgreSQL's statistics hold as text: a uuid, an enum, an array of a common element."""
    parts = table.split(".")
    if engine.name != "postgresql" or len(parts) != 3:
        return None
    sql = _SAMPLE.format(quoted(parts[1]), quoted(parts[2]), quoted(column))
    try:
        rows = engine.run(Rendered(sql), timeout_s=_LIMIT_S).rows
    except EngineError as error:
        if isinstance(error, ConnectionFailed | SessionClosed):
            raise
        return None
    value, elements = rows[0] if rows else (None, None)
    return quoted(value or elements) if value or elements else None


def _comparisons(template: Template) -> Iterator[tuple[str, Comparison]]:
    """Each comparison of a base table's column, with the table."""
    for block in template.blocks:
        for filters in block.filters:
            for predicate in filters:
                for comparison in _parts(predicate):
                    table = block.relations[comparison.column.relation].table
                    if table is not None:
                        yield table, comparison


def _parts(predicate: Predicate) -> Iterator[Comparison]:
    if isinstance(predicate, Comparison):
        yield predicate
    elif isinstance(predicate, And | Or):
        for part in predicate.parts:
            yield from _parts(part)
    elif isinstance(predicate, Not):
        yield from _parts(predicate.part)


def _numbers(literal: str | tuple[str, ...]) -> list[int]:
    texts = literal if isinstance(literal, tuple) else (literal,)
    return [int(text[1:]) for text in texts if text[:1] == "$" and text[1:].isdigit()]


def _draw(column: ColumnStatistics, chance: random.Random) -> float | str | None:
    """A value as likely as it is in the column, as far as statistics know."""
    common = float(sum(column.common_shares))
    if column.common_values and (not column.histogram or chance.random() < common):
        return chance.choices(column.common_values, list(map(float, column.common_shares)))[0]
    if column.histogram:
        return chance.choice(column.histogram)
    return column.minimum


def _literal(value: float | str, kind: ColumnKind, operator: str) -> str | None:
    if kind is ColumnKind.TEXT:
        text = str(value)
        return quoted(text[:3] + "%" if operator in ("like", "ilike") else text)
    if not isinstance(value, float | int):
        return None
    if kind is ColumnKind.NUMBER:
        return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
    if kind is ColumnKind.BOOLEAN:
        return "TRUE" if value else "FALSE"
    if kind is ColumnKind.TIME:
        try:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=float(value))
        except (OverflowError, ValueError):
            return None
        # A date without a time of day serves dates and timestamps alike.
        return f"'{moment:%Y-%m-%d}'" if value % 86_400 == 0 else f"'{moment:%Y-%m-%d %H:%M:%S}'"
    return None
