"""Executions from log files, whichever server wrote them; nothing that is found is ever executed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from godb_fast.errors import InvalidInput, SqlError
from godb_fast.workload import duckdb_logs, postgres_logs
from godb_fast.workload.collecting import Collector
from godb_fast.workload.files import LogReader, Progress, log_files
from godb_fast.workload.postgres_messages import LoggedRun, Sessions
from godb_fast.workload.shapes import bound, quoted
from godb_fast.workload.usage import Workload

#: Notes about files that are listed; a folder may hold thousands of others.
_NOTES: Final = 8


@dataclass(slots=True)
class Reading:
    """What one pass over all files keeps."""

    sessions: Sessions
    database: str | None
    torn: int = 0
    inexact: int = 0
    read: int = 0


def read_logs(
    paths: tuple[str, ...], *, database: str | None = None, progress: Progress | None = None
) -> Workload:
    """The workload that log files tell of: PostgreSQL's (csvlog, jsonlog, stderr) or DuckDB's.

    Parameters
    ----------
    paths : tuple of str
        Files and folders; rotated and gzip-compressed ones too.
    database : str, optional
        Only executions in this database, where the format names it (csvlog, jsonlog).
    progress : callable, optional
        Told what is read and the share that is done.

    Raises
    ------
    InvalidInput
        If there is no such file, or none is a log that can be read.
    """
    reader = LogReader(log_files(paths), progress)
    state = Reading(Sessions(), database)
    collectors: dict[str, Collector] = {}
    for path, beginning, lines in reader.each():
        kind = format_of(beginning)
        if kind is None:
            if beginning and not beginning.startswith(duckdb_logs.CONTEXTS):
                reader.notes.append(f"{path} is in no format that is known here, and left out")
            continue
        state.read += 1
        dialect = "duckdb" if kind == "duckdb" else "postgres"
        collector = collectors.setdefault(dialect, Collector(dialect))
        _count(collector, runs_of(kind, lines, state), state)
    if "postgres" in collectors:
        _count(collectors["postgres"], state.sessions.finish(), state)
    if not state.read:
        raise InvalidInput(
            f"no log that can be read in {', '.join(paths)}: PostgreSQL's csvlog, jsonlog or stderr's, or "
            f"DuckDB's duckdb_log_entries.csv ({'; '.join(reader.notes) or 'the files are empty'})"
        )
    chosen = max(collectors, key=lambda dialect: collectors[dialect].workload("").calls)
    notes = _notes(reader.notes, state)
    if len(collectors) > 1:
        notes.append(f"there are logs of two servers; only {chosen}'s are ranked")
    if chosen == "postgres" and not collectors[chosen].workload("").calls:
        notes.append(
            "no execution is logged: set log_min_duration_statement (or auto_explain.log_min_duration), with "
            "lc_messages = 'C', as only English messages are read"
        )
    name = {"postgres": "PostgreSQL's log", "duckdb": "DuckDB's query log"}[chosen]
    return collectors[chosen].workload(f"{name} ({_files(state.read)})", tuple(notes))


def format_of(beginning: bytes) -> str | None:
    """``csvlog``, ``jsonlog``, ``stderr``, ``duckdb``, or None."""
    text = beginning.lstrip()
    if duckdb_logs.HEADER.match(text.partition(b"\n")[0]):
        return "duckdb"
    lines = text.split(b"\n")[:200]
    for line in lines:
        # A rotated file may begin in the middle of a record.
        if postgres_logs.CSV_BEGINS.match(line):
            return "csvlog"
        if line.startswith(b"{") and b'"error_severity"' in line:
            return "jsonlog"
        if postgres_logs.STDERR_BEGINS.match(line):
            return "stderr"
    return None


def runs_of(kind: str, lines: Iterator[bytes], state: Reading) -> Iterator[LoggedRun]:
    """The executions in the lines of one file of a format."""
    if kind == "csvlog":
        records, runs = postgres_logs.csv_runs(lines, state.sessions, state.database)
        yield from runs
        state.torn += records.torn
    elif kind == "jsonlog":
        objects = postgres_logs.JsonRecords()
        yield from objects.runs(lines, state.sessions, state.database)
        state.torn += objects.torn
    elif kind == "stderr":
        yield from postgres_logs.stderr_runs(lines, state.sessions)
    else:
        entries = duckdb_logs.DuckdbRecords()
        yield from entries.runs(lines)
        state.torn += entries.torn


def _count(collector: Collector, runs: Iterator[LoggedRun], state: Reading) -> None:
    for run in runs:
        if not run.exact:
            state.inexact += 1
        collector.add(
            run.sql,
            calls=run.calls,
            total_ms=run.latency_ms,
            max_ms=run.latency_ms,
            rows=run.rows,
            kind=run.kind,
            provenance="logged",
            example=_example(run, collector.dialect) if run.exact else None,
        )


def _example(run: LoggedRun, dialect: str) -> Callable[[], str | None]:
    def make() -> str | None:
        if run.parameters is None:
            return run.sql
        try:
            return bound(run.sql, [quoted(value) for value in run.parameters], dialect)
        except SqlError:
            return None

    return make


def _notes(found: list[str], state: Reading) -> list[str]:
    notes = found[:_NOTES]
    if len(found) > _NOTES:
        notes.append(f"… and {len(found) - _NOTES} more such files")
    if state.torn:
        notes.append(f"{state.torn} records are torn and were passed over")
    if state.inexact:
        notes.append(f"{state.inexact} statements are not UTF-8: counted, but never taken as examples")
    sessions = state.sessions
    if sessions.unattributed:
        notes.append(
            f"{sessions.unattributed} durations ({sessions.unattributed_ms / 1e3:.1f} s) name no statement: "
            "set log_min_duration_statement rather than log_duration"
        )
    if sessions.other_plans:
        notes.append(f"{sessions.other_plans} plans are neither text nor JSON (auto_explain.log_format)")
    return notes


def _files(count: int) -> str:
    return "one file" if count == 1 else f"{count} files"
