"""What the subcommands do."""

from __future__ import annotations

import argparse
import fnmatch
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from godb_fast.cli import statements
from godb_fast.cli.progress import progress_bar
from godb_fast.engines.positions import located
from godb_fast.errors import EngineError, GodbError, InvalidInput, ModelRefused, SqlError, StoreError

if TYPE_CHECKING:
    from godb_fast.engines.base import Engine
    from godb_fast.knowledge import Prepared
    from godb_fast.learning.expected import ExpectedTime
    from godb_fast.report import Comparison, Query, Settings, Summary
    from godb_fast.session import Session


def demo(options: argparse.Namespace) -> int:
    """``godb-fast demo``: the short one, or with ``--full`` the comparison of all templates."""
    from godb_fast.cli import short_demo

    given = {name: getattr(options, name) for name in OF_FULL if getattr(options, name) is not None}
    if not options.full:
        if given:
            names = ", ".join("--" + name.replace("_", "-") for name in given)
            raise InvalidInput(f"{names}: for the comparison of all templates, godb-fast demo --full")
        return short_demo.demo(options)
    vars(options).update(OF_FULL | given)
    options.scale = options.scale or 1.0
    return _full_demo(options)


#: Options that only the full demo has, and what they are if not given.
OF_FULL: Final[dict[str, Any]] = {
    "queries": 5,
    "only": "*",
    "keep": "",
    "repetitions": 3,
    "mode": "steer",
    "timeout": 60.0,
    "query_cap": 30.0,
    "margin": 0.0,
}


def _full_demo(options: argparse.Namespace) -> int:
    from godb_fast.demo import SEED, TEMPLATES, build, stream
    from godb_fast.report import Query

    seed = SEED if options.seed is None else options.seed
    templates = [template for template in TEMPLATES if fnmatch.fnmatchcase(template.name, options.only)]
    if not templates:
        names = ", ".join(template.name for template in TEMPLATES)
        raise InvalidInput(f"no template matches {options.only!r}; there are {names}")
    queries = [
        Query(query.name, query.sql, query.template)
        for query in stream(instances=options.queries, scale=options.scale, seed=seed, templates=templates)
    ]
    what = {"scale": options.scale, "seed": seed}
    if options.engine == "postgres":
        return _demo_on_postgres(options, queries, what, seed)
    with tempfile.TemporaryDirectory(prefix="godb_fast-demo-", ignore_cleanup_errors=True) as folder:
        path = Path(options.keep) if options.keep else Path(folder) / "demo.duckdb"
        with progress_bar("demo database") as report:
            built = build(path, scale=options.scale, seed=seed, progress=report)
        say(
            options,
            f"{'found' if built.reused else 'built'} {built.rows:,} rows in 15 tables"
            + ("" if built.reused else f" in {built.seconds:.1f} s")
            + (f": {built.path}" if options.keep else ""),
        )
        with _session(str(built.path), options) as session:
            return _compare(session, queries, options, what)


def _demo_on_postgres(
    options: argparse.Namespace, queries: Sequence[Query], what: dict[str, Any], seed: int
) -> int:
    if options.keep:
        raise InvalidInput("--keep is for the demo on DuckDB; the PostgreSQL server goes with its data")
    from godb_fast.demo.postgres import throwaway_demo

    with ExitStack() as stack:
        with progress_bar("demo server") as report:
            url, rows, seconds = stack.enter_context(throwaway_demo(options.scale, seed, report))
        say(options, f"started a server and loaded {rows:,} rows in 15 tables in {seconds:.1f} s")
        with _session(url, options) as session:
            return _compare(session, queries, options, what)


def run(options: argparse.Namespace) -> int:
    """``godb-fast run``."""
    from godb_fast.report import Query

    queries: list[Query] = []
    for path in options.files:
        text = statements.read(path)
        try:
            found = statements.split(text)
        except SqlError as error:
            raise SqlError(f"{path}:{error.line}:{error.column}: {error.args[0]}") from error
        prefix = f"{Path(path).stem}: " if len(options.files) > 1 else ""
        queries += [Query(prefix + entry.name, entry.sql, "", entry.line) for entry in found]
    if not queries:
        raise InvalidInput(f"no statement in {', '.join(options.files)}")
    with _session(options.url, options) as session:
        what = {"url": without_password(options.url), "files": options.files}
        return _compare(session, queries, options, what)


def explain(options: argparse.Namespace) -> int:
    """``godb-fast explain``."""
    text = statements.read("-") if options.sql == "-" else options.sql
    found = statements.split(text)
    if len(found) != 1:
        raise InvalidInput(f"explain takes one statement; here are {len(found)}")
    from godb_fast.session import Optimizer, Session
    from godb_fast.store import open_store

    # Nothing is executed or recorded; what executions, explorations and models left in the store decides.
    store = open_store(getattr(options, "store", "default"))
    with Session(Optimizer(store=store), open_for_reading(options.url), mode="advise") as session:
        sql = found[0].sql
        try:
            decision = session.optimize(sql)
        except (EngineError, SqlError) as error:
            raise located(error, sql, found[0].line) from error
        expected, why = (None, "") if options.format == "sql" else _expected(session, sql)
        kept_back: list[str] = []
        if options.format != "sql":
            scope = session.optimizer.scope(session.engine)
            prepared = session.optimizer.decide(session.engine, scope, sql)
            try:
                kept_back = not_used(session, prepared)
            except StoreError as error:
                # What was decided is told all the same.
                print(f"warning: {error}", file=sys.stderr)
    if options.format == "sql":
        print(decision.sql)
    elif options.format == "json":
        told = None if expected is None else expected.to_dict()
        more = {"expected": told, "expected_why": why, "proved_but_not_used": kept_back}
        print(json.dumps(decision.to_dict() | more, indent=2))
    else:
        print(decision.explain())
        for reason in kept_back:
            print(f"proved, but {reason}")
        if expected is not None:
            print(f"the engine's own plan is expected to take {expected}")
        elif why:
            print(f"how long the engine's own plan will take is not told: {why}")
    return 0


def not_used(session: Session, prepared: Prepared) -> list[str]:
    """What was proved of a statement and is not used, because it waits for verification.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    from godb_fast import recall
    from godb_fast.store import SqliteStore

    store, known = session.optimizer.store, prepared.known
    if prepared.verified is not None or known is None or not isinstance(store, SqliteStore):
        return []
    return recall.waiting(store.explorations, session.engine, known)


def _expected(session: Session, sql: str) -> tuple[ExpectedTime | None, str]:
    """How long the engine's own plan will take, or why that is not told; neither of what joins nothing."""
    import numpy as np

    from godb_fast.learning.expected import QuantileHeads
    from godb_fast.store import SqliteStore

    name, optimizer = session.engine.name, session.optimizer
    store = optimizer.store if isinstance(optimizer.store, SqliteStore) else None
    refused: list[ModelRefused] = []
    try:
        found = session.features(sql)
        if found is None:
            known = optimizer.decide(session.engine, optimizer.scope(session.engine), sql).known
            joins = known is not None and known.planner is not None and known.planner.blocks
            return None, "its own order of joins is not known" if joins else ""
        heads = QuantileHeads.find(name, None if store is None else store.models, refused=refused)
    except GodbError as error:
        # What was decided is told all the same.
        return None, str(error)
    if heads is None:
        return None, "; ".join(map(str, refused)) or f"there are no quantile models of {name}"
    return heads.expect(np.array(list(found.values()))), ""


def info(options: argparse.Namespace) -> int:
    """``godb-fast info``."""
    from godb_fast.cli.information import collect, show

    facts = collect(getattr(options, "store", "default"), options.url)
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        show(facts, sys.stdout)
    return 0


def without_password(url: str) -> str:
    """A URL that may be shown."""
    hidden = re.sub(r"(://[^/?#@:]*):[^/?#]*@", r"\1:***@", url)
    return re.sub(r"((?:ssl)?password=)[^&#\s]*", r"\1***", hidden, flags=re.IGNORECASE)


def open_for_reading(url: str) -> Engine:
    """The engine at a URL or path, opened so that nothing can be written, and that Ctrl-C stops at once."""
    from godb_fast.engines.registry import open_engine

    if not url.strip():
        # A variable that is not set, most often: an empty database in memory would have none of the tables.
        raise InvalidInput("the URL is empty; name a DuckDB file, or :memory:, or a postgresql:// URL")
    scheme, separator, rest = url.partition("://")
    if separator and scheme != "duckdb":
        return open_engine(url, read_only=True)
    from godb_fast.engines.addresses import check_text
    from godb_fast.engines.duckdb import DuckDBEngine

    check_text(url)
    path = rest.removeprefix("/") if separator else url
    in_memory = path in ("", ":memory:")
    return DuckDBEngine.open(path or ":memory:", read_only=not in_memory, interruptible=True)


def _session(url: str, options: argparse.Namespace) -> Session:
    from godb_fast.session import Optimizer, Policy, Session
    from godb_fast.store import open_store

    # A comparison waits for each template to be prepared, as its time is reported.
    policy = Policy(mode=options.mode, background=False)
    if options.margin:
        policy = replace(policy, margin=options.margin)
    store = open_store(getattr(options, "store", "default"))
    return Session(Optimizer(policy=policy, store=store), open_for_reading(url), mode=options.mode)


def _compare(
    session: Session, queries: Sequence[Query], options: argparse.Namespace, what: dict[str, Any]
) -> int:
    from godb_fast.report import Settings, compare, summarize, to_dict

    if options.json and options.json != "-":
        # Better now than after minutes of measuring.
        writable(Path(options.json))
    settings: Settings = Settings(
        repetitions=options.repetitions,
        timeout_s=options.timeout,
        query_cap_s=options.query_cap,
        seed=options.seed or 0,
        mode=options.mode,
    )
    done = 0
    with progress_bar("comparing") as report:

        def progress(query: Query) -> None:
            nonlocal done
            report(query.name, done / len(queries))
            done += 1

        comparison = compare(session, queries, settings, progress)
    for entry in comparison.queries:
        if entry.outcome == "failed" and entry.problem is not None:
            problem = located(EngineError(entry.problem), entry.query.sql, entry.query.line or 1)
            entry.problem = str(problem)
    summary = summarize(comparison)
    if options.json:
        text = json.dumps(to_dict(comparison, summary, **what), indent=1, default=str)
        if options.json == "-":
            print(text)
        else:
            Path(options.json).write_text(text + "\n", encoding="utf-8")
    if options.json != "-":
        from godb_fast.report.text import console, render

        render(comparison, summary, console(sys.stdout))
    _warn_of_store(session)
    return _exit_code(comparison, summary)


def _exit_code(comparison: Comparison, summary: Summary) -> int:
    if comparison.interrupted:
        return 130
    if summary.different:
        return 1
    if summary.compared:
        return 1 if summary.failed else 0
    unusable = [entry for entry in comparison.queries if entry.outcome in ("failed", "left alone")]
    for entry in unusable:
        print(f"error: {entry.query.name}: {entry.problem}", file=sys.stderr)
    return 2 if unusable else 0


def writable(path: Path) -> None:
    try:
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}") from error


def _warn_of_store(session: Session) -> None:
    store = session.optimizer.store
    if store is None:
        return
    store.flush()
    health = store.health()
    if health.dropped:
        print(f"note: {health.dropped} records were not stored: {health.reason}", file=sys.stderr)


def say(options: argparse.Namespace, text: str) -> None:
    """A line for people: on stdout, or on stderr where stdout is JSON."""
    print(text, file=sys.stderr if options.json == "-" else sys.stdout, flush=True)


__all__ = ["GodbError", "demo", "explain", "info", "run"]
