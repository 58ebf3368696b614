"""Everything in which DuckDB 2.0 differs from 1.4 and 1.5, and what stands in for it.

===========================  =======================================  ===================================
what                         1.4, 1.5                                 2.0
===========================  =======================================  ===================================
profile of a statement       written to a file (``profiling_output``)  ``get_profiling_information()``
its keys                     ``operator_cardinality``, ``children``    ``intermediate_rows``, ``operator``
names in plans               ``SEQ_SCAN␠``, ``t``, never quoted        ``SEQ_SCAN``, ``catalog.schema."t"``
``stats(column)``            text                                     struct
``ALTER TABLE``              a new ``table_oid``                      the same ``table_oid``
Ctrl-C                       ``RuntimeError`` after the KeyboardInterrupt, the statement still running;
                             in 2.0 (and 1.5's fetch) it waits until the statement ends, or stops it with
                             ``RuntimeError("Query interrupted")`` that names no cause
error in a transaction       binder errors leave it open               every error aborts it
arrow                        ``fetch_arrow_table()``,                 ``to_arrow_table()``,
                             ``fetch_record_batch()``                 ``to_arrow_reader()``
syntax tree: constants       ``value``                                 ``literal``
syntax tree: calls, set ops  ``children``; ``left``, ``right``         ``arguments``; ``children``
window functions             not in ``duckdb_functions()``             listed
===========================  =======================================  ===================================
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
from typing import Any

_STATS = re.compile(r"\[Min: (?P<min>.*?), Max: (?P<max>.*?)(?:, [A-Z][^\[\]]*)?\]", re.DOTALL)
#: So often may interrupts of others hit the statements that put settings back.
_TRIES = 100
_UNIQUE = re.compile(r"\[Approx Unique: (\d+)\]")


def version_tuple(text: str) -> tuple[int, ...]:
    """``v1.4.5`` → (1, 4, 5)."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


class Profiler:
    """Collects the profile of one statement on a connection, and leaves its settings as they were."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._direct = hasattr(connection, "get_profiling_information")
        self._file: str | None = None
        self._before: tuple[Any, ...] = ()

    def start(self) -> None:
        """Profile from the next statement on."""
        self._before = self._connection.execute(
            "SELECT system.main.current_setting('enable_profiling'), "
            "system.main.current_setting('profiling_output')"
        ).fetchall()[0]
        if self._direct:
            self._connection.execute("SET enable_profiling = 'no_output'")
        else:
            handle, self._file = tempfile.mkstemp(prefix="godb_fast_profile_", suffix=".json")
            os.close(handle)
            self._connection.execute(f"SET profiling_output = {quote_text(self._file)}")
            self._connection.execute("SET enable_profiling = 'json'")

    def read(self) -> dict[str, Any] | None:
        """The profile of the statement that just ended, None if there is none."""
        if self._direct:
            text = self._connection.get_profiling_information()
        else:
            assert self._file is not None
            with open(self._file, encoding="utf-8") as file:
                text = file.read()
        return json.loads(text) if text.strip() else None

    def stop(self) -> None:
        """Put the caller's settings back, even if a watchdog's interrupt or a Ctrl-C arrives just now.

        Raises
        ------
        KeyboardInterrupt
            If there was a Ctrl-C, once all is put back.
        """
        pending: list[str] = []
        if self._before:
            mode, output = self._before
            back = f"SET enable_profiling = {quote_text(str(mode))}"
            pending.append("RESET enable_profiling" if mode is None else back)
            if not self._direct:
                pending.append(f"SET profiling_output = {quote_text(str(output or ''))}")
        interrupted: BaseException | None = None
        tries = 0
        try:
            while pending:
                try:
                    tries += 1
                    self._connection.execute(pending[0])
                    del pending[0]
                except KeyboardInterrupt as error:
                    interrupted = error
                except Exception as error:
                    if was_ctrl_c(error):
                        interrupted = error
                    elif tries > _TRIES or type(error).__name__ != "InterruptException":
                        # What was meant for the statement before (timer, cancel) may hit this one.
                        raise
            self._before = ()
        finally:
            if self._file is not None:
                os.unlink(self._file)
                self._file = None
        if interrupted is not None:
            raise KeyboardInterrupt from interrupted


def was_ctrl_c(error: BaseException) -> bool:
    """Whether an error of the driver is what it made of a KeyboardInterrupt (2.0 does not say so)."""
    if isinstance(error.__cause__, KeyboardInterrupt):
        return True
    return type(error) is RuntimeError and str(error) == "Query interrupted"


def arrow_table(connection: Any) -> Any:
    """The pending result as an arrow table."""
    if not hasattr(connection, "to_arrow_table"):
        return connection.fetch_arrow_table()
    with warnings.catch_warnings():
        # 2.0 would rather have its relations used, which cannot be timed and stopped as statements are.
        warnings.simplefilter("ignore", UserWarning)
        return connection.to_arrow_table()


def arrow_reader(connection: Any, rows: int) -> Any:
    """The pending result as a reader of arrow batches of at most ``rows`` rows."""
    if hasattr(connection, "to_arrow_reader"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return connection.to_arrow_reader(rows)
    return connection.fetch_record_batch(rows)


def profile_operators(profile: dict[str, Any]) -> dict[str, Any] | None:
    """The root operator of a profile, in the keys of 2.0."""
    if "operator" in profile:
        roots = profile["operator"]
    else:
        roots = profile.get("children", [])
    return _modern(roots[0]) if roots else None


def _modern(node: dict[str, Any]) -> dict[str, Any]:
    if "operator_type" not in node:
        return node
    return {
        "type": node["operator_type"],
        "extra_info": node.get("extra_info", {}),
        "intermediate_rows": node.get("operator_cardinality"),
        "rows_scanned": node.get("operator_rows_scanned"),
        "timing": node.get("operator_timing"),
        "intermediate_size_bytes": node.get("result_set_size"),
        "children": [_modern(child) for child in node.get("children", [])],
    }


def peak_memory(profile: dict[str, Any]) -> float | None:
    """Bytes of buffers at the peak of the statement."""
    found = profile.get("system_peak_buffer_memory")
    if found is None:
        found = profile.get("system", {}).get("peak_buffer_memory")
    return None if found is None else float(found)


def column_stats(raw: Any) -> tuple[float | None, str | None, str | None, bool | None]:
    """(distinct values, minimum, maximum, may hold NULL) from what ``stats(column)`` gave."""
    if raw is None:
        return None, None, None, None
    if isinstance(raw, dict):
        low, high = raw.get("min"), raw.get("max")
        distinct = raw.get("approx_unique")
        return (
            None if distinct is None else float(distinct),
            None if low is None else str(low),
            None if high is None else str(high),
            raw.get("has_null"),
        )
    text = str(raw)
    unique, bounds = _UNIQUE.search(text), _STATS.search(text)
    low, high = (bounds["min"], bounds["max"]) if bounds else (None, None)
    return (
        float(unique[1]) if unique else None,
        None if low in (None, "NULL") else low,
        None if high in (None, "NULL") else high,
        "Has Null: true" in text if "Has Null" in text else None,
    )


def constant(node: dict[str, Any]) -> tuple[bool, int | None]:
    """Of a CONSTANT in a syntax tree: whether it is NULL, and its value if that is an integer."""
    literal = node.get("literal")
    if isinstance(literal, dict):
        number = literal.get("text") if literal.get("kind") == "INTEGER" else None
        return literal.get("kind") == "NULL_LITERAL", None if number is None else int(number)
    value = node.get("value") or {}
    number = value.get("value")
    return bool(value.get("is_null")), number if type(number) is int else None


def arguments(node: dict[str, Any]) -> list[dict[str, Any]]:
    """The arguments of a function call in a syntax tree."""
    if "arguments" in node:
        return [entry["expression"] for entry in node["arguments"]]
    return list(node.get("children", ()))


def operands(node: dict[str, Any]) -> list[dict[str, Any]]:
    """The queries of a set operation in a syntax tree."""
    return list(node.get("children") or (node["left"], node["right"]))


def widest_join(version: str) -> int:
    """Tables that are planned in about a quarter of a second; 64 take 0.6 s in 2.0, 100 take 17 s in 1.4."""
    return 48 if version_tuple(version) >= (2, 0) else 40


def only_explain_refused(message: str) -> bool:
    """Whether an error of EXPLAIN says nothing against the statement itself.

    A writing statement on a database that is open read-only; in 1.x a PRAGMA, which its parser expands.
    """
    return "attached in read-only mode" in message or "PRAGMA function does not have" in message


_QUOTED_NAME = re.compile(r"(?:\"(?:[^\"]|\"\")*\"|[^\".]+)(?:\.(?:\"(?:[^\"]|\"\")*\"|[^\".]+))*")
_PART = re.compile(r"\"((?:[^\"]|\"\")*)\"|([^\".]+)")


def plain_name(shown: str) -> str:
    """A name without the quotes that 2.0's plans put where SQL would need them."""
    if '"' not in shown or not _QUOTED_NAME.fullmatch(shown):
        return shown
    return ".".join(
        part[1].replace('""', '"') if part[1] is not None else part[2] for part in _PART.finditer(shown)
    )


def quote_text(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("'", "''") + "'"


def quote_name(name: str) -> str:
    """An identifier, always quoted."""
    return '"' + name.replace('"', '""') + '"'
