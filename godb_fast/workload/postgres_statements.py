"""PostgreSQL's own list of what its time was spent on: the extension ``pg_stat_statements``."""

from __future__ import annotations

from typing import Any, Final

from godb_fast.engines.base import Engine, Rendered
from godb_fast.errors import EngineError, InvalidInput
from godb_fast.workload.collecting import Collector
from godb_fast.workload.shapes import is_complete
from godb_fast.workload.usage import Workload

#: Entries that are read; the server keeps 5000 unless it was told otherwise.
MAX_ENTRIES: Final = 10_000
_LIMIT_S: Final = 60.0
#: What the view shows for statements of other roles.
_HIDDEN: Final = "<insufficient privilege>"
_FOUND: Final = """
SELECT n.nspname,
  EXISTS (SELECT 1 FROM pg_catalog.pg_available_extensions a WHERE a.name = 'pg_stat_statements'),
  EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'toplevel'),
  EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'total_exec_time'),
  pg_catalog.current_database(), current_user
FROM (SELECT 1) one
LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'pg_stat_statements'
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'pg_stat_statements'
"""
_LOAD: Final = "set shared_preload_libraries = 'pg_stat_statements' in postgresql.conf and restart the server"
_ELSE: Final = "or rank a log: godb-fast slow URL --log FOLDER"


def read_statements(engine: Engine) -> Workload:
    """The workload of the engine's database since its statistics were last reset.

    Raises
    ------
    InvalidInput
        If the extension is absent, not loaded, or not for this role; the message says what to do.
    EngineError
        If the server does not answer.
    """
    from godb_fast.engines.postgres import PostgresEngine

    if isinstance(engine, PostgresEngine):
        engine.check_path()
    schema, available, toplevel, current, database, role = _ask(engine, _FOUND)[0]
    if schema is None:
        if not available:
            raise InvalidInput(
                "this server does not have the extension pg_stat_statements: install its contrib package "
                f"(postgresql-contrib; hosted servers mostly have it), {_LOAD}, then CREATE EXTENSION "
                f"pg_stat_statements; {_ELSE}"
            )
        raise InvalidInput(
            f"pg_stat_statements is not created in database {database}: {_LOAD} (unless it is), then as its "
            f"owner CREATE EXTENSION pg_stat_statements; {_ELSE}"
        )
    if not current:
        raise InvalidInput(
            f"pg_stat_statements of database {database} is of PostgreSQL 12 or older: ALTER EXTENSION "
            "pg_stat_statements UPDATE"
        )
    view = f'"{str(schema).replace(chr(34), chr(34) * 2)}".pg_stat_statements'
    try:
        entries = _ask(engine, _entries(view, bool(toplevel)))
    except EngineError as error:
        state = getattr(error.__cause__, "sqlstate", None)
        if state == "55000":
            raise InvalidInput(f"pg_stat_statements is not loaded: {_LOAD}; {_ELSE}") from error
        if state == "42501":
            raise InvalidInput(
                f"role {role} may not read pg_stat_statements: GRANT pg_read_all_stats TO {role}, and "
                f"GRANT SELECT ON {view} TO {role}; {_ELSE}"
            ) from error
        raise
    return _workload(entries, str(database), str(role))


def _entries(view: str, toplevel: bool) -> str:
    # Statements within functions are part of the function's call.
    only = "AND s.toplevel" if toplevel else ""
    return (
        "SELECT s.query, s.calls, s.total_exec_time, s.max_exec_time, s.rows, "
        "sum(s.calls) OVER (), sum(s.total_exec_time) OVER () "
        f"FROM {view} s JOIN pg_catalog.pg_database d ON d.oid = s.dbid "
        f"WHERE d.datname = pg_catalog.current_database() {only} AND s.query IS NOT NULL "
        f"ORDER BY s.total_exec_time DESC LIMIT {MAX_ENTRIES}"
    )


def _ask(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    return list(engine.run(Rendered(sql), timeout_s=_LIMIT_S).rows)


def _workload(entries: list[tuple[Any, ...]], database: str, role: str) -> Workload:
    collector = Collector("postgres")
    hidden, hidden_ms = 0, 0.0
    for text, calls, total_ms, max_ms, rows, _, _ in entries:
        if text == _HIDDEN:
            hidden += calls
            hidden_ms += total_ms
            continue
        # A statement without any constant stands there as it was sent.
        collector.add(
            text,
            calls=calls,
            total_ms=total_ms,
            max_ms=max_ms,
            rows=rows,
            provenance="logged",
            example=lambda sql=text: sql if is_complete(sql, "postgres") else None,  # type: ignore[misc]
        )
    found = collector.workload(f"pg_stat_statements of {database}")
    notes = list(found.notes)
    if hidden:
        notes.append(
            f"{hidden} calls ({hidden_ms / 1e3:.1f} s) are of other roles, whose texts are hidden: GRANT "
            f"pg_read_all_stats TO {role}"
        )
    calls, total_ms = (int(entries[0][5]), float(entries[0][6])) if entries else (0, 0.0)
    return Workload(found.source, found.dialect, found.queries, calls, total_ms, tuple(notes))
