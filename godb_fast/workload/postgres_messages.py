"""What PostgreSQL's log messages say of executions: durations, statements, parameters, plans."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from godb_fast.workload.collecting import PLAN, STATEMENT

#: Sessions whose last statement waits for its duration.
MAX_SESSIONS: Final = 10_000
#: What every message of interest holds.
MARKS: Final = ("duration: ", "statement: ", "execute ")

_DURATION: Final = re.compile(r"duration: (\d+(?:\.\d+)?) ms(?:  (.*))?\s*\Z", re.DOTALL)
_SAID: Final = re.compile(
    r"(?:(?P<what>statement|plan)|(?P<step>parse|bind|execute fetch from|execute) (?P<portal>[^\n]*?))"
    r":[ \n](?P<sql>.*)\Z",
    re.DOTALL,
)
#: Executions come in messages of their own.
_IDLE: Final = re.compile(r"duration: [\d.]+ ms  (?:parse|bind) ")
_PARAMETERS: Final = re.compile(r"\s*parameters: ", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"\$(\d+) = (?:'((?:[^']|'')*)'|(NULL))(?:, |\s*\Z)")
#: The first line of a plan as text.
_PLAN_LINE: Final = re.compile(r"^\S[^\n]*\(cost=\d[^\n]*$", re.MULTILINE)
_ACTUAL_ROWS: Final = re.compile(r"\(actual [^)]*?rows=(\d+)(?:\.\d+)? ")
_QUERY_PARAMETERS: Final = re.compile(r"^Query Parameters: ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """One execution.

    Parameters
    ----------
    latency_ms : float or None
        None if the log holds no duration of it.
    parameters : tuple of (str or None) or None
        Values of ``$1``, ``$2`` …; None if they were not logged, or not in full.
    kind : int
        ``STATEMENT`` or ``PLAN``.
    explained : dict or None
        What EXPLAIN (ANALYZE, FORMAT JSON) would have given, of a plan with actual rows.
    calls : int
        0 for the second and later fetches from one portal.
    """

    sql: str
    latency_ms: float | None
    parameters: tuple[str | None, ...] | None = None
    rows: int | None = None
    kind: int = STATEMENT
    calls: int = 1
    exact: bool = True
    explained: dict[str, Any] | None = None

    def text(self) -> str:
        """The statement."""
        return self.sql


class Sessions:
    """Puts together what a session logs in several messages."""

    def __init__(self) -> None:
        #: Milliseconds of durations whose statements are not in the log.
        self.unattributed_ms = 0.0
        self.unattributed = 0
        #: Plans in a format that is not read.
        self.other_plans = 0
        self._waiting: OrderedDict[str, LoggedRun] = OrderedDict()

    def interesting(self, message: str) -> bool:
        """Whether a message may say anything, told without reading it: half of them time a parse or bind."""
        return _IDLE.match(message) is None

    def read(self, session: str, message: str, detail: str | None, exact: bool = True) -> Iterator[LoggedRun]:
        """Executions that a message completes."""
        timed = _DURATION.match(message)
        if timed is None:
            said = _SAID.match(message)
            if said is None or said["what"] == "plan" or said["step"] in ("parse", "bind"):
                return
            # Written before it runs (log_statement); its duration may follow.
            yield from self._wait(session, LoggedRun(said["sql"], None, parameters(detail), exact=exact))
            return
        latency_ms = float(timed[1])
        if timed[2] is None:
            waiting = self._waiting.pop(session, None)
            if waiting is None:
                self.unattributed += 1
                self.unattributed_ms += latency_ms
            else:
                yield LoggedRun(waiting.sql, latency_ms, waiting.parameters, exact=waiting.exact)
            return
        said = _SAID.match(timed[2])
        if said is None or said["step"] in ("parse", "bind"):
            return
        if said["what"] == "plan":
            found = plan(said["sql"], latency_ms, exact)
            if found is None:
                self.other_plans += 1
            else:
                yield found
            return
        calls = 0 if said["step"] == "execute fetch from" else 1
        yield LoggedRun(said["sql"], latency_ms, parameters(detail), calls=calls, exact=exact)

    def finish(self) -> Iterator[LoggedRun]:
        """Statements whose durations never came."""
        while self._waiting:
            yield self._waiting.popitem(last=False)[1]

    def _wait(self, session: str, run: LoggedRun) -> Iterator[LoggedRun]:
        earlier = self._waiting.pop(session, None)
        if earlier is not None:
            yield earlier
        self._waiting[session] = run
        if len(self._waiting) > MAX_SESSIONS:
            yield self._waiting.popitem(last=False)[1]


def parameters(detail: str | None) -> tuple[str | None, ...] | None:
    """Values of ``parameters: $1 = '…', $2 = NULL``; None if there are none, or one is cut off."""
    if not detail:
        return None
    head = _PARAMETERS.match(detail)
    return None if head is None else _values(detail[head.end() :])


def _values(text: str) -> tuple[str | None, ...] | None:
    values: list[str | None] = []
    position = 0
    while position < len(text.rstrip()):
        found = _PARAMETER.match(text, position)
        if found is None or int(found[1]) != len(values) + 1:
            return None
        value = found[2]
        if value is not None and value.endswith("..."):
            # log_parameter_max_length cut it.
            return None
        values.append(None if found[3] else value.replace("''", "'"))
        position = found.end()
    return tuple(values) or None


def plan(text: str, latency_ms: float, exact: bool = True) -> LoggedRun | None:
    """The execution that auto_explain logged with its plan, as text or JSON; None for other formats."""
    if text.lstrip().startswith("{"):
        return _json_plan(text, latency_ms, exact)
    if not text.startswith("Query Text: "):
        return None
    begin = _PLAN_LINE.search(text, len("Query Text: "))
    if begin is None:
        return None
    sql, values = text[len("Query Text: ") : begin.start()].rstrip("\n"), None
    for named in _QUERY_PARAMETERS.finditer(sql):
        # The statement itself may hold such a line; then it does not go on like that to the end.
        values = _values(sql[named.end() :])
        if values is not None:
            sql = sql[: named.start()].rstrip("\n")
            break
    rows = _ACTUAL_ROWS.search(begin[0])
    return LoggedRun(sql, latency_ms, values, None if rows is None else int(rows[1]), PLAN, exact=exact)


def _json_plan(text: str, latency_ms: float, exact: bool) -> LoggedRun | None:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    sql = found.get("Query Text") if isinstance(found, dict) else None
    if not isinstance(sql, str):
        return None
    named, root = found.get("Query Parameters"), found.get("Plan")
    rows = root.get("Actual Rows") if isinstance(root, dict) else None
    if isinstance(rows, bool) or not isinstance(rows, int | float) or not 0 <= rows < 2**63:
        rows = None
    return LoggedRun(
        sql,
        latency_ms,
        _values(named) if isinstance(named, str) else None,
        None if rows is None else int(rows),
        PLAN,
        exact=exact,
        explained=found if isinstance(root, dict) and "Actual Loops" in root else None,
    )
