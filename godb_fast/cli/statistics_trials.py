"""Whether better statistics would give a statement the plan that was verified: tried and rolled back.

PostgreSQL keeps no statistics of columns together unless told to, and guesses numbers of distinct values from
a sample, of large tables often far too low. Where that is why it chose badly, the least intrusive change is
to tell it. Each candidate is tried in a transaction of its own: made, ANALYZE, EXPLAIN, ROLLBACK.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from godb_fast.core import Template
from godb_fast.core.predicates import And, Comparison, Not, Opaque, Or, Predicate
from godb_fast.errors import EngineError

if TYPE_CHECKING:
    from godb_fast.engines.postgres import PostgresEngine
    from godb_fast.engines.postgres.catalogue import PostgresSchema

#: Seconds that a lock is waited for, and that one statement of a trial may take.
LOCK_S: Final = 2
STATEMENT_S: Final = 60
#: Columns of one statistics object (PostgreSQL takes eight), and candidates of a statement.
MOST_COLUMNS: Final = 4
MOST_CANDIDATES: Final = 6
#: An estimate of distinct values is wrong from this factor on.
WRONG: Final = 2.0


@dataclass(frozen=True)
class StatisticsChange:
    """SQL that gives the planner better statistics, and what undoes it.

    ``tables`` are analyzed after it.
    """

    title: str
    change: tuple[str, ...]
    undo: tuple[str, ...]
    tables: tuple[str, ...]

    def script(self) -> list[str]:
        """The change with its ANALYZE."""
        return [*self.change, *(f"ANALYZE {table};" for table in self.tables)]


@dataclass(frozen=True)
class Trial:
    """What trying came to: what leads to the verified plan, or why nothing is known of it."""

    found: StatisticsChange | None
    tried: int
    problem: str | None = None


def quoted(name: str) -> str:
    """An identifier as PostgreSQL reads it."""
    return '"' + name.replace('"', '""') + '"'


def _name(schema: PostgresSchema, table: str | None) -> str | None:
    """A table as it is written in SQL, from its canonical name; None for views and what computes rows."""
    found = schema.relation(table) if table is not None else None
    if found is None or found.kind not in ("r", "p"):
        return None
    return f"{quoted(found.schema)}.{quoted(found.name)}"


def extended(template: Template, schema: PostgresSchema) -> list[StatisticsChange]:
    """Statistics objects for columns that a statement filters or groups by together."""
    found: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for block in template.blocks:
        for number, relation in enumerate(block.relations):
            table = _name(schema, relation.table)
            if table is None:
                continue
            filters = block.filters[number] if number < len(block.filters) else ()
            filtered = sorted({column for part in filters for column in _columns(part)})
            grouped = sorted({column.name for column in block.group_by if column.relation == number})
            for names, kinds in ((filtered, {"dependencies", "mcv"}), (grouped, {"ndistinct"})):
                if 1 < len(names) <= MOST_COLUMNS:
                    found.setdefault((table, tuple(names)), set()).update(kinds)
    changes = []
    for (table, columns), kinds in list(found.items())[:MOST_CANDIDATES]:
        name = quoted("_".join(("godb", *table.replace('"', "").split(".")[-1:], *columns))[:60])
        changes.append(
            StatisticsChange(
                f"statistics of {', '.join(columns)} of {table} together",
                (
                    f"CREATE STATISTICS {name} ({', '.join(sorted(kinds))}) "
                    f"ON {', '.join(map(quoted, columns))} FROM {table};",
                ),
                (f"DROP STATISTICS {name};",),
                (table,),
            )
        )
    return changes


def _columns(predicate: Predicate) -> Iterator[str]:
    if isinstance(predicate, Comparison):
        if predicate.function is None:
            yield predicate.column.name
    elif isinstance(predicate, (And, Or)):
        for part in predicate.parts:
            yield from _columns(part)
    elif isinstance(predicate, Not):
        yield from _columns(predicate.part)
    elif isinstance(predicate, Opaque) and predicate.hint.startswith("column_comparison"):
        yield from (column.name for column in predicate.columns)


def key_columns(template: Template, schema: PostgresSchema) -> list[tuple[str, str]]:
    """Columns of base tables by which a statement joins or groups, as (table, column)."""
    found: dict[tuple[str, str], None] = {}
    for block in template.blocks:
        used = list(block.group_by)
        if block.graph is not None:
            for predicate in block.graph.predicates:
                used += [side for side in (predicate.left, predicate.right) if side is not None]
        for column in used:
            if column.relation < len(block.relations):
                table = _name(schema, block.relations[column.relation].table)
                if table is not None:
                    found[table, column.name] = None
    return list(found)


def try_statistics(url: str, sql: str, template: Template, verified: str) -> Trial:
    """Look for a change of statistics after which the engine's own plan is the verified one.

    Needs the tables' owner. A trial locks its table against other ANALYZE, VACUUM and DDL until it is rolled
    back, not against reads and writes. Of an ANALYZE that is rolled back PostgreSQL keeps the numbers of rows
    and pages, nothing else.

    Parameters
    ----------
    verified : str
        The digest of the plan that was verified.
    """
    import psycopg

    from godb_fast.engines.postgres import PostgresEngine

    tried = 0
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            engine = PostgresEngine.borrow(connection)
            for change in _changes(connection, template, engine.schema()):
                tried += 1
                if _digest(connection, engine, sql, change) == verified:
                    return Trial(change, tried)
    except (psycopg.Error, EngineError) as error:
        return Trial(None, tried, str(error).partition("\n")[0])
    return Trial(None, tried)


def _changes(connection: Any, template: Template, schema: PostgresSchema) -> Iterator[StatisticsChange]:
    """What is tried, in this order."""
    together = extended(template, schema)
    tables = [table for table, _ in key_columns(template, schema)]
    tables += [table for change in together for table in change.tables]
    # Old statistics may be all that is wrong.
    yield StatisticsChange("fresh statistics", (), (), tuple(dict.fromkeys(tables)))
    yield from together
    if len(together) > 1:
        yield _together(together)
    # Counting is dear: only if nothing else led there.
    distinct = _distinct(connection, key_columns(template, schema))
    yield from distinct
    if len(distinct) > 1:
        yield _together(distinct)


def _together(changes: Sequence[StatisticsChange]) -> StatisticsChange:
    return StatisticsChange(
        "; ".join(one.title for one in changes),
        tuple(line for one in changes for line in one.change),
        tuple(line for one in changes for line in one.undo),
        tuple(dict.fromkeys(table for one in changes for table in one.tables)),
    )


@contextlib.contextmanager
def _rolled_back(connection: Any) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_S}s'")
        connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_S}s'")
        yield
    finally:
        connection.execute("ROLLBACK")


def _digest(connection: Any, engine: PostgresEngine, sql: str, change: StatisticsChange) -> str:
    with _rolled_back(connection):
        for statement in change.script():
            connection.execute(statement)
        return engine.explain(sql).digest()


def _distinct(connection: Any, columns: Iterable[tuple[str, str]]) -> list[StatisticsChange]:
    """What the numbers of distinct values are, where the planner takes them for something else."""
    found = []
    with _rolled_back(connection):
        for table, column in _largest(connection, columns):
            rows, counted, guessed = connection.execute(
                f"SELECT count(*), count(DISTINCT {quoted(column)}), (SELECT CASE WHEN s.n_distinct < 0 "
                "THEN -s.n_distinct * c.reltuples ELSE s.n_distinct END FROM pg_stats s JOIN pg_class c "
                "ON c.oid = %s::regclass JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = %s "
                f"ORDER BY s.inherited LIMIT 1) FROM {table}",
                (table, column),
            ).fetchone()
            if not counted or not guessed or max(counted / guessed, guessed / counted) < WRONG:
                continue
            # As a share where it grows with the table, as PostgreSQL itself decides.
            value = f"{-counted / rows:.6g}" if counted > 0.1 * rows else str(counted)
            alter = f"ALTER TABLE {table} ALTER COLUMN {quoted(column)}"
            found.append(
                StatisticsChange(
                    f"{counted:,} distinct values of {table}.{column}, which are taken for {guessed:,.0f}",
                    (f"{alter} SET (n_distinct = {value});",),
                    (f"{alter} RESET (n_distinct);",),
                    (table,),
                )
            )
    return found[:MOST_CANDIDATES]


def _largest(connection: Any, columns: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The columns of the largest tables: sampling is good enough for small ones."""
    sized = []
    for table, column in columns:
        (size,) = connection.execute(
            "SELECT reltuples FROM pg_class WHERE oid = %s::regclass", (table,)
        ).fetchone()
        sized.append((-size, table, column))
    return [(table, column) for _, table, column in sorted(sized)[:MOST_CANDIDATES]]
