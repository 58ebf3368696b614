"""``godb-fast export``: what was proved, as SQL that works without us."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from godb_fast.cli.remedies import remedies, without_us
from godb_fast.engines.cutting import as_asked
from godb_fast.errors import EngineError, InvalidInput, SqlError, UnknownRelation

if TYPE_CHECKING:
    from godb_fast.engines.base import Engine
    from godb_fast.exploring.subjects import LiveQuery
    from godb_fast.knowledge import Prepared


def export(options: argparse.Namespace) -> int:
    """``godb-fast export``."""
    from godb_fast.cli.commands import not_used, open_for_reading
    from godb_fast.cli.explore import read_queries
    from godb_fast.exploring.subjects import Broken, why_left_alone
    from godb_fast.session import Optimizer, Session
    from godb_fast.store import SqliteStore, open_store

    if options.try_statistics and not options.ticket:
        raise InvalidInput("--try-statistics is for change requests: give --ticket too")
    queries = read_queries(options.files)
    store = open_store(getattr(options, "store", "default"))
    if store is None:
        raise InvalidInput("without a store nothing is known: name the one of godb-fast explore with --store")
    if isinstance(store, SqliteStore) and not store.path.exists():
        raise InvalidInput(
            f"there is no store at {store.path}: name the one of godb-fast explore with --store, "
            "or explore first"
        )
    kept_back = 0
    failed = False
    found: list[tuple[LiveQuery, Prepared]] = []
    with Session(Optimizer(store=store), open_for_reading(options.url), mode="advise") as session:
        scope = session.optimizer.scope(session.engine)
        for query in queries:
            try:
                why = why_left_alone(session.engine, query)
                prepared = session.optimizer.decide(session.engine, scope, query.sql)
            except (EngineError, SqlError, UnknownRelation) as error:
                why = Broken(error)
            if why is not None:
                failed |= isinstance(why, Broken)
                said = why if isinstance(why, Broken) else f"not certain to only read: {why}"
                print(f"note: {query.name} is left out: {_one_line(said)}", file=sys.stderr)
                continue
            if prepared.verified is None:
                reasons = not_used(session, prepared)
                kept_back += len(reasons)
                for reason in reasons:
                    print(f"note: {query.name}: {reason}", file=sys.stderr)
                continue
            found.append((query, prepared))
        # After all was decided: trying statistics analyzes tables, and what was proved on them waits then.
        for query, prepared in found:
            if options.ticket:
                _ticket(query, prepared, session.engine, options)
            else:
                _script(query, prepared, session.engine)
    if not found and not kept_back:
        print(
            "note: nothing was proved of these statements on this database as it is now; "
            "godb-fast explore looks for something",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _script(query: LiveQuery, prepared: Prepared, engine: Engine) -> None:
    print(f"-- {query.name}: {_one_line(prepared.decision.reason)}")
    for line in without_us(prepared, engine):
        print(line)
    print()


def _ticket(query: LiveQuery, prepared: Prepared, engine: Engine, options: argparse.Namespace) -> None:
    entry = prepared.verified
    assert entry is not None
    proof, sql = entry.evidence, query.sql.strip().rstrip(";")
    ways = remedies(query.sql, prepared, engine, options.url, trying=options.try_statistics)
    explain = "EXPLAIN (ANALYZE, BUFFERS, SETTINGS)" if engine.dialect == "postgres" else "EXPLAIN ANALYZE"
    sent = f"{as_asked(prepared.rendered, engine.dialect).strip().rstrip(';')};"
    lines = [
        f"# Change request: {query.name}",
        "",
        "## Evidence",
        "",
        f"- {_one_line(prepared.decision.reason)}",
        f"- The engine's own plan took {proof.default_s:.3g} s when this was measured, on {engine.name} "
        f"{engine.version}.",
        *(f"- `{table}` had {rows:,.0f} rows." for table, rows in proof.rows),
        "",
        "## Change",
        "",
        "One of these, the least intrusive first." if len(ways) > 1 else "There is one way.",
        "",
    ]
    offered = [way for way in ways if way.change]
    for way in ways:
        number = f"{offered.index(way) + 1}. " if way.change else ""
        lines += [f"### {number}{_capital(way.title)}", "", way.standing, ""]
        if way.change:
            lines += ["```sql", *way.change, "```", ""]
    lines += ["## Risk", ""]
    lines += [f"- {place}: {way.risk}" for place, way in enumerate(offered, 1)]
    lines += [
        "- Verified for literals of about this selectivity, and for tables of about this size: verify again "
        "after a growth of a tenth or a new version.",
        "",
        "## Undo",
        "",
        "```sql",
    ]
    for place, way in enumerate(offered, 1):
        lines += [f"-- {place}", *way.undo]
    lines += [
        "```",
        "",
        "## Check afterwards",
        "",
        "Run both a few times in turn, and compare the times and the rows. After any change but the last, "
        "the first has to show the plan that the second has.",
        "",
        "```sql",
        f"{explain} {sql};",
        *[f"{explain} {line}" if line == sent else line for line in without_us(prepared, engine)],
        "```",
        "",
    ]
    print("\n".join(lines))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _one_line(text: str) -> str:
    return " ".join(text.split())
