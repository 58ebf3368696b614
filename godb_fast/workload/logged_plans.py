"""Plans with actual rows that auto_explain wrote into a server's log: knowledge that costs no run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from godb_fast.core import PhysicalPlan
from godb_fast.engines.postgres.plans import physical_plan
from godb_fast.errors import EngineError, InvalidInput, SqlError
from godb_fast.workload.collecting import PLAN
from godb_fast.workload.files import LogReader, Progress, log_files
from godb_fast.workload.logs import Reading, format_of, runs_of
from godb_fast.workload.postgres_messages import LoggedRun, Sessions
from godb_fast.workload.shapes import bound, is_complete, quoted

#: What the server has to log for its plans to teach something.
HOW: Final = (
    "auto_explain.log_format = 'json' with auto_explain.log_analyze = on (and log_timing, for costs), and "
    "auto_explain.log_min_duration"
)


@dataclass(frozen=True, eq=False)
class LoggedPlan:
    """One execution.

    Parameters
    ----------
    sql : str or None
        The statement with its values; None where they are not in the log.
    text : str
        The statement as it was sent.
    plan : PhysicalPlan
        With actual rows; its source is ``auto_explain``.
    """

    sql: str | None
    text: str
    latency_ms: float
    plan: PhysicalPlan


class LoggedPlans:
    """The plans in log files, as an iterable that is read once; memory stays that of one message.

    Parameters
    ----------
    paths : sequence of str
        Files and folders, rotated and gzip-compressed ones too.
    database : str, optional
        Only executions in this database, where the format names it (csvlog, jsonlog).

    Attributes
    ----------
    skipped : Counter
        How many plans taught nothing, by reason; complete once all was read.

    Raises
    ------
    InvalidInput
        If there is no such file.
    """

    def __init__(
        self, paths: tuple[str, ...], *, database: str | None = None, progress: Progress | None = None
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._paths = paths
        self._database = database
        self._reader = LogReader(log_files(paths), progress)

    def __iter__(self) -> Iterator[LoggedPlan]:
        """All plans with actual rows.

        Raises
        ------
        InvalidInput
            If none of the files is a log of PostgreSQL.
        """
        reading, read = Reading(Sessions(), self._database), 0
        for _, beginning, lines in self._reader.each():
            kind = format_of(beginning)
            if kind is None or kind == "duckdb":
                continue
            read += 1
            for run in runs_of(kind, lines, reading):
                found = self._plan(run) if run.kind == PLAN else None
                if found is not None:
                    yield found
        if not read:
            raise InvalidInput(
                f"no log of PostgreSQL in {', '.join(self._paths)}: csvlog, jsonlog or stderr's, with {HOW}"
            )
        if reading.sessions.other_plans:
            self.skipped["neither JSON nor text"] += reading.sessions.other_plans

    def _plan(self, run: LoggedRun) -> LoggedPlan | None:
        if run.explained is None:
            self.skipped["as text, or without actual rows"] += 1
            return None
        if not run.exact or run.latency_ms is None:
            self.skipped["not UTF-8"] += 1
            return None
        try:
            plan = physical_plan(run.explained, source="auto_explain")
        except EngineError:
            self.skipped["not a plan"] += 1
            return None
        plan = replace(plan, latency_ms=run.latency_ms)
        return LoggedPlan(_with_values(run), run.sql, run.latency_ms, plan)


def _with_values(run: LoggedRun) -> str | None:
    try:
        if run.parameters is not None:
            return bound(run.sql, [quoted(value) for value in run.parameters], "postgres")
        return run.sql if is_complete(run.sql, "postgres") else None
    except SqlError:
        return None
