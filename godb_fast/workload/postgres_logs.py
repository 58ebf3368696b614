"""PostgreSQL's server logs: csvlog, jsonlog and stderr's text, as messages of sessions."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from godb_fast.workload.csvlog import CsvRecords
from godb_fast.workload.files import decoded
from godb_fast.workload.postgres_messages import MARKS, MAX_SESSIONS, LoggedRun, Sessions

_MARKS: Final = tuple(mark.encode() for mark in MARKS)
#: A csvlog's record begins with its time; user and database follow.
CSV_BEGINS: Final = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [^,\"]{1,40},")
#: A record of the time of a parse or bind. A logged text cannot forge it: there each double quote is doubled.
_CSV_IDLE: Final = re.compile(rb',LOG,00000,"duration: [\d.]+ ms  (?:parse|bind) ')
_CSV_COLUMNS: Final = range(22, 41)
_DATABASE, _SESSION, _SEVERITY, _MESSAGE, _DETAIL = 2, 5, 11, 13, 14

#: A line of stderr's log: whatever log_line_prefix says, then what it is.
STDERR_BEGINS: Final = re.compile(
    rb"(?!\t)(?P<prefix>[^\n]{0,300}?)\b(?P<what>LOG|DETAIL|STATEMENT|CONTEXT|HINT|ERROR|FATAL|PANIC|WARNING"
    rb"|NOTICE|INFO|DEBUG\d?|QUERY|LOCATION):  (?P<text>.*)",
    re.DOTALL,
)
_PROCESS: Final = re.compile(rb"\[(\d+)[\]-]")
#: Lines of one message that are kept; plans of thousands of lines say nothing more.
MAX_MESSAGE: Final = 1_000_000


def csv_runs(lines: Iterator[bytes], sessions: Sessions, database: str | None) -> tuple[CsvRecords, Any]:
    """Reader of a csvlog, and its executions."""
    records = CsvRecords(CSV_BEGINS.match, _is_record, _MARKS, _CSV_IDLE.search)
    return records, _csv_runs(records.read(lines), sessions, database)


def _is_record(fields: list[str]) -> bool:
    return len(fields) in _CSV_COLUMNS and fields[6].isdigit() and fields[_SEVERITY].isalnum()


def _csv_runs(records: Iterator[list[str]], sessions: Sessions, database: str | None) -> Iterator[LoggedRun]:
    for fields in records:
        if fields[_SEVERITY] != "LOG" or not sessions.interesting(fields[_MESSAGE]):
            continue
        if database is not None and decoded(fields[_DATABASE])[0] != database:
            continue
        message, exact = decoded(fields[_MESSAGE])
        detail, exact_detail = decoded(fields[_DETAIL])
        yield from sessions.read(fields[_SESSION], message, detail or None, exact and exact_detail)


class JsonRecords:
    """The messages of a jsonlog: one object a line."""

    def __init__(self) -> None:
        #: Lines that are no objects.
        self.torn = 0

    def runs(self, lines: Iterator[bytes], sessions: Sessions, database: str | None) -> Iterator[LoggedRun]:
        """Executions."""
        for line in lines:
            if not any(mark in line for mark in _MARKS):
                continue
            text, exact = decoded(line.decode("latin-1"))
            try:
                record = json.loads(text)
            except (ValueError, RecursionError):
                self.torn += 1
                continue
            if not isinstance(record, dict) or record.get("error_severity") != "LOG":
                continue
            if database is not None and record.get("dbname") != database:
                continue
            message, detail = record.get("message"), record.get("detail")
            if not isinstance(message, str) or "\x00" in message:
                continue
            session = str(record.get("session_id") or record.get("pid"))
            yield from sessions.read(session, message, detail if isinstance(detail, str) else None, exact)


@dataclass(slots=True)
class _Message:
    text: list[bytes]
    size: int
    detail: list[bytes] | None = None

    def read(self, session: str, sessions: Sessions) -> Iterator[LoggedRun]:
        message, exact = decoded(b"".join(self.text).rstrip(b"\r\n").decode("latin-1"))
        detail, exact_detail = decoded(b"".join(self.detail or []).rstrip(b"\r\n").decode("latin-1"))
        yield from sessions.read(session, message, detail or None, exact and exact_detail)


def stderr_runs(lines: Iterator[bytes], sessions: Sessions) -> Iterator[LoggedRun]:
    """Executions of a log in stderr's format.

    A message waits for its session's next one, because its parameters come as a DETAIL after it. The
    database is not told, unless by a prefix that anyone may choose: all of them are read.
    """
    waiting: OrderedDict[bytes, _Message] = OrderedDict()
    current: _Message | None = None
    for line in lines:
        if line[:1] == b"\t":
            # A message goes on; the server puts a tab before each further line.
            if current is not None and current.size < MAX_MESSAGE:
                current.size += len(line)
                (current.text if current.detail is None else current.detail).append(line[1:])
            continue
        found = STDERR_BEGINS.match(line)
        if found is None:
            current = None
            continue
        process = _PROCESS.search(found["prefix"])
        session = process[1] if process is not None else b""
        what = found["what"]
        if what == b"DETAIL":
            current = waiting.get(session)
            if current is not None:
                current.detail = [found["text"]]
            continue
        earlier = waiting.pop(session, None)
        if earlier is not None:
            yield from earlier.read(session.decode(), sessions)
        if what != b"LOG" or not any(mark in found["text"] for mark in _MARKS):
            current = None
            continue
        current = waiting[session] = _Message([found["text"]], len(line))
        if len(waiting) > MAX_SESSIONS:
            oldest, message = waiting.popitem(last=False)
            yield from message.read(oldest.decode(), sessions)
    for session, message in waiting.items():
        yield from message.read(session.decode(), sessions)
