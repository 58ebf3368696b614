"""Which source is asked, and where examples come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from godb_fast.engines.base import Engine, Rendered
from godb_fast.errors import GodbError, InvalidInput, StoreError
from godb_fast.store import SqliteStore
from godb_fast.workload.files import Progress
from godb_fast.workload.logs import read_logs
from godb_fast.workload.observations import read_store
from godb_fast.workload.postgres_statements import read_statements
from godb_fast.workload.scripts import read_scripts
from godb_fast.workload.shapes import numbered, reads, shape
from godb_fast.workload.synthesis import synthesized
from godb_fast.workload.usage import QueryUsage, Workload

SOURCES: Final = ("auto", "statements", "log", "store", "files")


@dataclass(frozen=True)
class Request:
    """What to rank.

    Parameters
    ----------
    engine : Engine or None
        The database; None where only files are looked at.
    source : str
        One of ``SOURCES``: ``statements`` is the server's own list (pg_stat_statements), ``auto`` the first
        that is there.
    logs, files : tuple of str
        Files and folders.
    store : SqliteStore or None
        Our own observations.
    dialect : str
        Of files, where no engine says it.
    """

    engine: Engine | None
    source: str = "auto"
    logs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    store: SqliteStore | None = None
    dialect: str = "postgres"


def gather(request: Request, progress: Progress | None = None) -> Workload:
    """The workload, with examples from logs and from our own store where they are known.

    Raises
    ------
    InvalidInput
        If the source is not there; the message says what to do.
    """
    source = _chosen(request)
    log = _log(request, progress) if request.logs else None
    notes: tuple[str, ...] = ()
    if source == "statements":
        assert request.engine is not None
        try:
            workload = read_statements(request.engine)
        except InvalidInput as error:
            if request.source != "auto":
                raise
            workload = _instead(request, log, error)
            notes = (str(error),)
    elif source == "log":
        assert log is not None
        workload = log
    elif source == "files":
        dialect = request.dialect if request.engine is None else request.engine.dialect
        workload = read_scripts(request.files, dialect)
    else:
        workload = _store(request)
    examples = [found for found in (log, _seen(request, source)) if found is not None]
    workload = _without_catalogue(workload)
    queries = with_examples(workload.queries, examples)
    return replace(workload, queries=tuple(queries), notes=workload.notes + notes)


def _without_catalogue(workload: Workload) -> Workload:
    """Without what tools ask the catalogue of PostgreSQL, our own questions too: it is nobody's workload."""
    if workload.dialect != "postgres":
        return workload
    ours = [usage for usage in workload.queries if _is_tools(usage.text)]
    if not ours:
        return workload
    others = tuple(usage for usage in workload.queries if not _is_tools(usage.text))
    seconds = sum(usage.total_ms or 0.0 for usage in ours) / 1e3
    note = (
        f"{sum(usage.calls for usage in ours)} calls ({seconds:.1f} s) read the system catalogue or ask for "
        "plans, as tools do: counted, not listed"
    )
    return replace(workload, queries=others, notes=(*workload.notes, note))


def _is_tools(text: str) -> bool:
    return "pg_catalog." in text or text.startswith("explain")


def _chosen(request: Request) -> str:
    if request.source not in SOURCES:
        raise InvalidInput(f"unknown source {request.source!r}; choose one of {', '.join(SOURCES)}")
    if request.source != "auto":
        missing = {
            "statements": request.engine is None or request.engine.name != "postgresql",
            "log": not request.logs,
            "files": not request.files,
            "store": request.store is None,
        }[request.source]
        if missing:
            needs = {
                "statements": "a postgresql:// URL",
                "log": "--log FILE or FOLDER",
                "files": "--files FILE or FOLDER",
                "store": "a store (see --store)",
            }[request.source]
            raise InvalidInput(f"source {request.source} needs {needs}")
        return request.source
    if request.files:
        return "files"
    if request.engine is not None and request.engine.name == "postgresql":
        return "statements"
    return "log" if request.logs else "store"


def _log(request: Request, progress: Progress | None) -> Workload:
    database = None
    if request.engine is not None and request.engine.name == "postgresql":
        database = str(request.engine.run(Rendered("SELECT pg_catalog.current_database()")).rows[0][0])
    found = read_logs(request.logs, database=database, progress=progress)
    if request.engine is not None and request.engine.dialect != found.dialect:
        raise InvalidInput(
            f"{', '.join(request.logs)}: this is {found.source}, of another engine than the URL"
        )
    return found


def _instead(request: Request, log: Workload | None, error: InvalidInput) -> Workload:
    """What else is there where the server keeps no list."""
    if log is not None:
        return log
    try:
        return _store(request)
    except (InvalidInput, StoreError):
        raise error from None


def _store(request: Request) -> Workload:
    from godb_fast.workload.duckdb_logs import HOW

    duckdb = request.engine is not None and request.engine.name == "duckdb"
    hint = f"; let DuckDB log with {HOW} and give that folder with --log" if duckdb else ""
    if request.store is None:
        raise InvalidInput(f"there is nothing to rank: no --log, no --files, and the store is off{hint}")
    try:
        return read_store(request.store, request.engine, request.dialect)
    except InvalidInput as error:
        raise InvalidInput(f"{error}; rank a log (--log) or files (--files) instead{hint}") from None


def _seen(request: Request, source: str) -> Workload | None:
    """Our own observations, for their examples; a store that cannot be read has none."""
    if request.store is None or source == "store":
        return None
    try:
        return read_store(request.store, request.engine, request.dialect)
    except GodbError:
        return None


def with_examples(queries: Sequence[QueryUsage], sources: Sequence[Workload]) -> list[QueryUsage]:
    """The queries, those without an example given that of the same statement elsewhere."""
    known: dict[str, QueryUsage] = {}
    for source in sources:
        for usage in source.queries:
            if usage.example is not None:
                known.setdefault(shape(usage.text), usage)
    if not known:
        return list(queries)
    found: list[QueryUsage] = []
    for usage in queries:
        other = known.get(shape(usage.text)) if usage.example is None else None
        found.append(
            usage if other is None else replace(usage, example=other.example, provenance=other.provenance)
        )
    return found


def with_synthetic(engine: Engine, usage: QueryUsage) -> QueryUsage:
    """The query with made-up values, if it has no others and the engine accepts them."""
    if usage.example is not None or not reads(usage.text):
        return usage
    for sql in (usage.spelling, numbered(usage.text)):
        example = None if sql is None else synthesized(engine, sql)
        if example is not None:
            return replace(usage, example=example, provenance="synthetic")
    return usage
