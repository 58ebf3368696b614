"""What our own store has seen: every statement that went through a Session with a store."""

from __future__ import annotations

from godb_fast.engines.addresses import plainly
from godb_fast.engines.base import Engine
from godb_fast.errors import InvalidInput
from godb_fast.store import SqliteStore, TemplateRuns
from godb_fast.workload.shapes import is_complete, reads
from godb_fast.workload.usage import QueryUsage, Workload, ordered

_DIALECTS = {"postgresql": "postgres", "duckdb": "duckdb"}


def read_store(store: SqliteStore, engine: Engine | None = None, dialect: str = "postgres") -> Workload:
    """The workload that a store has recorded, of one database or of all that speak a dialect.

    Raises
    ------
    StoreError
        If the store cannot be read.
    InvalidInput
        If it holds nothing of that.
    """
    dialect = dialect if engine is None else engine.dialect
    # A database by its place: roles and search paths come and go.
    place = None if engine is None else place_of(engine.environment())
    merged: dict[str, list[TemplateRuns]] = {}
    calls, total_ms, unnamed = 0, 0.0, 0
    for runs in store.template_runs():
        if _DIALECTS.get(runs.engine) != dialect or place not in (None, place_of(runs.database)):
            continue
        calls += runs.runs
        total_ms += runs.total_ms
        if runs.text is None:
            unnamed += runs.runs
        else:
            merged.setdefault(runs.text, []).append(runs)
    if not calls:
        where = "of this database" if engine is not None else f"of a {dialect} database"
        raise InvalidInput(f"the store {store.path} holds no execution {where}")
    notes = (
        (f"{unnamed} executions were recorded without their statements (which could not be read)",)
        if unnamed
        else ()
    )
    queries = ordered([_usage(text, runs, dialect) for text, runs in merged.items()])
    return Workload(f"the store {store.path}", dialect, queries, calls, total_ms, notes)


def place_of(environment: str) -> str:
    """Server and database, or the file: what stands before the role, search path and settings.

    Addresses of this machine are written one way: who merely observes does not ask the server who it is.
    """
    return plainly(environment.partition(" ")[0])


def _usage(text: str, runs: list[TemplateRuns], dialect: str) -> QueryUsage:
    example = next((found.sql for found in runs if found.sql is not None and reads(found.sql)), None)
    if example is not None and not is_complete(example, dialect):
        example = None
    rows = [found.rows for found in runs if found.rows is not None]
    return QueryUsage(
        text,
        runs[0].fingerprint,
        sum(found.runs for found in runs),
        sum(found.total_ms for found in runs),
        max(found.worst_ms for found in runs),
        sum(rows) if rows else None,
        example,
        "none" if example is None else "observed",
    )
