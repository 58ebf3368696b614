"""``godb-fast export``: what was proved, as SQL that works without us."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from godb_fast.errors import EngineError, InvalidInput, SqlError

if TYPE_CHECKING:
    from godb_fast.engines.base import Engine
    from godb_fast.exploring.memo import MemoEntry
    from godb_fast.knowledge import Prepared


def export(options: argparse.Namespace) -> int:
    """``godb-fast export``."""
    from godb_fast.cli.commands import open_for_reading
    from godb_fast.cli.explore import read_queries
    from godb_fast.session import Optimizer, Session
    from godb_fast.store import open_store

    queries = read_queries(options.files)
    store = open_store(getattr(options, "store", "default"))
    if store is None:
        raise InvalidInput("without a store nothing is known: name the one of godb-fast explore with --store")
    found = 0
    with Session(Optimizer(store=store), open_for_reading(options.url), mode="advise") as session:
        scope = session.optimizer.scope(session.engine)
        for query in queries:
            try:
                prepared = session.optimizer.decide(session.engine, scope, query.sql)
            except (EngineError, SqlError) as error:
                print(f"note: {query.name} is left out: {error}", file=sys.stderr)
                continue
            if prepared.verified is None:
                continue
            found += 1
            write = _ticket if options.ticket else _script
            write(query.name, query.sql, prepared, prepared.verified, session.engine, sys.stdout)
    if not found:
        print(
            "note: nothing was proved of these statements on this database as it is now; "
            "godb-fast explore looks for something",
            file=sys.stderr,
        )
    return 0


def without_us(prepared: Prepared, engine: Engine) -> Iterator[str]:
    """The statements that do the same without us."""
    sent = prepared.rendered
    text = sent.sql.strip().rstrip(";")
    if not sent.before:
        yield f"{text};"
        return
    if engine.dialect == "postgres":
        # Within the transaction only: nobody else's plans change.
        yield "BEGIN READ ONLY;"
        yield from (f"{statement};" for statement in sent.before)
        yield f"{text};"
        yield "COMMIT;"
        return
    yield "-- these settings hold for the whole instance until they are reset"
    yield from (f"{statement};" for statement in sent.before)
    yield f"{text};"
    yield from (f"RESET {name};" for name in _names(sent.before))


def _names(before: tuple[str, ...]) -> Iterator[str]:
    for statement in before:
        words = statement.replace("=", " ").split()
        yield words[2] if words[1].upper() in ("LOCAL", "GLOBAL", "SESSION") else words[1]


def _script(name: str, sql: str, prepared: Prepared, entry: MemoEntry, engine: Engine, out: TextIO) -> None:
    print(f"-- {name}: {_one_line(prepared.decision.reason)}", file=out)
    for line in without_us(prepared, engine):
        print(line, file=out)
    print(file=out)


def _ticket(name: str, sql: str, prepared: Prepared, entry: MemoEntry, engine: Engine, out: TextIO) -> None:
    proof, sent = entry.evidence, prepared.rendered
    postgres = engine.dialect == "postgres"
    changed = sent.sql.strip().rstrip(";") != sql.strip().rstrip(";")
    explain = "EXPLAIN (ANALYZE, BUFFERS, SETTINGS)" if postgres else "EXPLAIN ANALYZE"
    lines = [
        f"# Change request: {name}",
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
        "The statement's text changes; its answer does not." if changed else "The text stays as it is.",
        "",
        "```sql",
        *without_us(prepared, engine),
        "```",
        "",
        "## Risk",
        "",
        "- Verified for literals of about this selectivity, and for tables of about this size: verify again "
        "after a growth of a tenth or a new version.",
    ]
    if sent.before and postgres:
        lines.append("- SET LOCAL ends with the transaction: no other statement's plan changes.")
    elif sent.before:
        lines.append("- The settings hold for the whole instance: others that run meanwhile change.")
    lines += [
        "",
        "## Undo",
        "",
        "Send the statement as it was, without anything around it:",
        "",
        "```sql",
        f"{sql.strip().rstrip(';')};",
        "```",
        "",
        "## Check afterwards",
        "",
        "Run both a few times in turn, and compare the times and the rows:",
        "",
        "```sql",
        f"{explain} {sql.strip().rstrip(';')};",
        *[
            f"{explain} {line}" if line == f"{sent.sql.strip().rstrip(';')};" else line
            for line in without_us(prepared, engine)
        ],
        "```",
        "",
    ]
    print("\n".join(lines), file=out)


def _one_line(text: str) -> str:
    return " ".join(text.split())
