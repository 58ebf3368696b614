"""Executions in, one row a template out, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from godb_fast.errors import SqlError
from godb_fast.sql import fingerprint
from godb_fast.sql.fingerprint import MAX_BYTES
from godb_fast.workload.shapes import is_complete, is_single, reads
from godb_fast.workload.usage import QueryUsage, Workload, ordered

#: Templates kept; past it the cheaper half is summed up and forgotten.
MAX_TEMPLATES: Final = 20_000
#: Bytes of texts and examples kept together.
MAX_KEPT_BYTES: Final = 128_000_000
#: Exact texts whose template is remembered, so that a prepared statement is read once.
MAX_REMEMBERED: Final = 10_000
MAX_REMEMBERED_LENGTH: Final = 2_000

#: How an execution was told of. The same one may stand in a log twice, as a statement and with its plan.
STATEMENT: Final = 0
PLAN: Final = 1


@dataclass(slots=True)
class _Tally:
    calls: int = 0
    timed: int = 0
    total_ms: float = 0.0
    max_ms: float = 0.0
    rows: int = 0
    counted: int = 0


@dataclass(slots=True)
class _Group:
    text: str
    fingerprint: int
    spelling: str | None = None
    name: str | None = None
    example: str | None = None
    example_ms: float = -1.0
    provenance: str = "none"
    tallies: tuple[_Tally, _Tally] = field(default_factory=lambda: (_Tally(), _Tally()))

    def tally(self) -> _Tally:
        """What counts: plans only where they tell of more executions (nested ones, another limit)."""
        statements, plans = self.tallies
        return plans if plans.calls > statements.calls else statements

    def rows(self) -> int | None:
        """Only plans tell of rows in PostgreSQL's logs; where they are as many, it is the same runs."""
        tally = self.tally()
        known = [found for found in self.tallies if found.counted and found.counted >= tally.calls]
        return known[0].rows if known else None

    def size(self) -> int:
        return 2 * len(self.text) + len(self.spelling or "") + len(self.example or "") + 500


class Collector:
    """Groups executions by fingerprint.

    Parameters
    ----------
    dialect : str
        Of the statements: ``postgres`` or ``duckdb``.
    limit, limit_bytes : int
        Templates, and bytes of their texts, that are kept.
    """

    def __init__(self, dialect: str, limit: int = MAX_TEMPLATES, limit_bytes: int = MAX_KEPT_BYTES) -> None:
        self.dialect = dialect
        #: Texts that are no statements: cut off, or in another language.
        self.unreadable = 0
        #: Executions whose templates were forgotten because there were too many.
        self.forgotten = 0
        self._forgotten_ms = 0.0
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._groups: dict[bytes, _Group] = {}
        self._known: dict[str, _Group] = {}

    def add(
        self,
        sql: str,
        *,
        calls: int = 1,
        total_ms: float | None = None,
        max_ms: float | None = None,
        rows: int | None = None,
        kind: int = STATEMENT,
        provenance: str = "none",
        example: Callable[[], str | None] | None = None,
        name: str | None = None,
    ) -> bool:
        """Count executions of a statement; False if it cannot be read.

        ``example`` gives the statement with its values; it is called only if that is kept.
        """
        group = self._known.get(sql) or self._group(sql)
        if group is None:
            return False
        tally = group.tallies[kind]
        tally.calls += calls
        if total_ms is not None:
            tally.timed += calls
            tally.total_ms += total_ms
            tally.max_ms = max(tally.max_ms, total_ms / max(calls, 1) if max_ms is None else max_ms)
        if rows is not None:
            tally.counted += calls
            tally.rows += rows
        if name is not None and group.name is None:
            group.name = name
        if example is not None and provenance != "none":
            self._offer(group, example, total_ms or 0.0, provenance)
        return True

    def _group(self, sql: str) -> _Group | None:
        try:
            found = fingerprint(sql, self.dialect)
        except SqlError:
            self.unreadable += 1
            return None
        if not found.key:
            return None
        group = self._groups.get(found.key)
        if group is None:
            if len(self._groups) >= self._limit or self._bytes >= self._limit_bytes:
                self._forget()
            group = self._groups[found.key] = _Group(
                found.text, found.hash, sql if reads(sql) and is_single(sql, self.dialect) else None
            )
            self._bytes += group.size()
        if len(sql) <= MAX_REMEMBERED_LENGTH:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[sql] = group
        return group

    def _offer(
        self, group: _Group, example: Callable[[], str | None], latency_ms: float, provenance: str
    ) -> None:
        if group.example is not None and latency_ms <= group.example_ms:
            return
        text = example()
        # What writes is never offered for running; what is not complete cannot be run.
        if text is None or len(text) > MAX_BYTES or not reads(text) or not is_complete(text, self.dialect):
            return
        self._bytes += len(text) - len(group.example or "")
        group.example, group.example_ms, group.provenance = text, latency_ms, provenance

    def _forget(self) -> None:
        """Sum up the cheaper half."""
        by_cost = sorted(
            self._groups.items(), key=lambda entry: (entry[1].tally().total_ms, entry[1].tally().calls)
        )
        for key, group in by_cost[: max(len(by_cost) // 2, 1)]:
            tally = group.tally()
            self.forgotten += tally.calls
            self._forgotten_ms += tally.total_ms
            self._bytes -= group.size()
            del self._groups[key]
        self._known.clear()

    def workload(self, source: str, notes: tuple[str, ...] = ()) -> Workload:
        """Everything that was counted, what costs most first."""
        queries: list[QueryUsage] = []
        calls, total_ms, timed = self.forgotten, self._forgotten_ms, False
        for group in self._groups.values():
            tally = group.tally()
            calls += tally.calls
            total_ms += tally.total_ms
            timed = timed or tally.timed > 0
            queries.append(
                QueryUsage(
                    group.text,
                    group.fingerprint,
                    tally.calls,
                    tally.total_ms if tally.timed else None,
                    tally.max_ms if tally.timed else None,
                    group.rows(),
                    group.example,
                    group.provenance,
                    group.name,
                    group.spelling,
                )
            )
        more = list(notes)
        if self.unreadable:
            more.append(f"{self.unreadable} texts are no statements that can be read (cut off, most likely)")
        if self.forgotten:
            more.append(f"{self.forgotten} calls of rare templates are counted but not listed")
        return Workload(
            source, self.dialect, ordered(queries), calls, total_ms if timed else None, tuple(more)
        )
