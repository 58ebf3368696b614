"""DuckDB's query log, as files or in an instance: statements, and their times where it also logs metrics.

``CALL enable_logging(['QueryLog', 'Metrics'], storage = 'file', storage_path = 'folder')`` writes both; times
come only while profiling is on (``PRAGMA enable_profiling = 'no_output'``). Without them calls are counted.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

from godb_fast.errors import InvalidInput
from godb_fast.workload.collecting import Collector
from godb_fast.workload.csvlog import CsvRecords
from godb_fast.workload.files import decoded
from godb_fast.workload.postgres_messages import LoggedRun
from godb_fast.workload.usage import Workload

#: The header of ``duckdb_log_entries.csv``; denormalized logs have more columns.
HEADER: Final = re.compile(rb'"?context_id"?,.*\bmessage\b')
#: Of a file beside it, in which nothing is that is wanted.
CONTEXTS: Final = b"context_id,scope,"
MAX_WAITING: Final = 10_000
#: Names of metrics, from 1.4 and from 2.0 on.
_LATENCY: Final = ("LATENCY", "query.total_time")
_ROWS: Final = ("ROWS_RETURNED", "query.rows_returned")
_METRIC: Final = re.compile(r"\{'metric': '?(?P<name>[\w.]+)'?, 'value': '?(?P<value>[\d.eE+-]+)'?[,}]")
_BEGINS: Final = re.compile(rb"\d+,\d{4}-\d\d-\d\d ")
_BEGINS_WIDE: Final = re.compile(rb"\d+,[A-Z]+,\d*,")
HOW: Final = (
    "CALL enable_logging(['QueryLog', 'Metrics'], storage = 'file', storage_path = 'query_log'); "
    "PRAGMA enable_profiling = 'no_output';"
)


class DuckdbRecords:
    """Executions with their metrics, if there are any."""

    def __init__(self) -> None:
        self.torn = 0
        self._waiting: OrderedDict[str, LoggedRun] = OrderedDict()

    def runs(self, lines: Iterator[bytes]) -> Iterator[LoggedRun]:
        """Executions of one ``duckdb_log_entries.csv``."""
        header = next(lines, b"").decode("latin-1").strip().replace('"', "").split(",")
        if not {"context_id", "type", "message"} <= set(header):
            return
        context, kind, message = (header.index(name) for name in ("context_id", "type", "message"))
        wide = len(header) > 5
        records = CsvRecords(
            (_BEGINS_WIDE if wide else _BEGINS).match,
            lambda fields: len(fields) == len(header) and fields[context].isdigit(),
            (b"QueryLog", *(name.encode() for name in (*_LATENCY, *_ROWS))),
        )
        for fields in records.read(lines):
            text, exact = decoded(fields[message])
            yield from self.entry(fields[context], fields[kind], text, exact)
        self.torn += records.torn
        yield from self.finish()

    def entry(self, context: str, kind: str, message: str, exact: bool = True) -> Iterator[LoggedRun]:
        """What one entry completes."""
        if kind == "QueryLog":
            # Numbers begin anew with each process that writes to the file.
            earlier = self._waiting.pop(context, None)
            if earlier is not None:
                yield earlier
            self._waiting[context] = LoggedRun(message, None, exact=exact)
            if len(self._waiting) > MAX_WAITING:
                yield self._waiting.popitem(last=False)[1]
            return
        found = _METRIC.match(message) if kind == "Metrics" else None
        run = self._waiting.get(context)
        if found is None or run is None:
            return
        try:
            value = float(found["value"])
        except ValueError:
            return
        latency_ms, rows = run.latency_ms, run.rows
        if found["name"] in _LATENCY:
            latency_ms = value * 1e3
        elif found["name"] in _ROWS:
            rows = int(value)
        self._waiting[context] = LoggedRun(run.sql, latency_ms, None, rows, exact=run.exact)

    def finish(self) -> Iterator[LoggedRun]:
        """What waits for metrics that will not come."""
        while self._waiting:
            yield self._waiting.popitem(last=False)[1]


def of_connection(connection: Any) -> Workload:
    """What an instance has in its own log, through any connection to it.

    Raises
    ------
    InvalidInput
        If its log is off, or holds no statement.
    """
    entries = connection.execute(
        "SELECT CAST(context_id AS VARCHAR), type, message FROM duckdb_logs "
        "WHERE type IN ('QueryLog', 'Metrics') ORDER BY timestamp"
    ).fetchall()
    records, collector = DuckdbRecords(), Collector("duckdb")
    for context, kind, message in entries:
        count(collector, records.entry(context, kind, message))
    count(collector, records.finish())
    workload = collector.workload("DuckDB's query log")
    if not workload.queries:
        raise InvalidInput(f"this instance has logged no statement; turn its log on with: {HOW}")
    return workload


def count(collector: Collector, runs: Iterator[LoggedRun]) -> None:
    """Count executions whose texts are as they were sent."""
    for run in runs:
        collector.add(
            run.sql,
            total_ms=run.latency_ms,
            rows=run.rows,
            provenance="logged",
            example=run.text if run.exact else None,
        )
