"""``godb-fast slow``: what a database spends its time on, most first."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from godb_fast import __version__
from godb_fast.cli.progress import progress_bar
from godb_fast.errors import ConnectionFailed, EngineError, InvalidInput, SqlError

if TYPE_CHECKING:
    from godb_fast.engines.base import Engine
    from godb_fast.store import SqliteStore
    from godb_fast.workload import RankedQuery, Workload

#: Seconds that reading one statement's statistics, and its plan, may take.
_LIMIT_S: Final = 5.0
_VALUES: Final = {
    "observed": "values seen by us",
    "logged": "values from the log",
    "written": "as it is written",
    "synthetic": "values made up",
    "none": "no values known",
}


def slow(options: argparse.Namespace) -> int:
    """Rank, judge what can be steered, show."""
    from godb_fast.workload import rank
    from godb_fast.workload.intake import Request, gather, with_synthetic

    if options.url is not None and Path(options.url).is_dir():
        raise InvalidInput(f"{options.url} is a folder: godb-fast slow --files {options.url}")
    if options.url is None and not options.log and not options.files and options.source != "store":
        raise InvalidInput("give a URL, --log, --files, or --source store")
    if options.output:
        _writable(Path(options.output))
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(_opened(options))
        request = Request(
            engine,
            options.source,
            tuple(options.log),
            tuple(options.files),
            _store(options),
            _dialect(options),
        )
        with progress_bar("reading") as report:
            workload = gather(request, report)
        ranked = rank(workload, options.top)
        if engine is not None and not options.no_plan:
            with progress_bar("planning") as report:
                judge = judging(engine, request.store)
                for number, entry in enumerate(ranked):
                    report(f"statement {number + 1}", number / len(ranked))
                    usage = with_synthetic(engine, entry.usage)
                    ranked[number] = judge(replace(entry, usage=usage))
    if options.output:
        written = _write(Path(options.output), workload, ranked)
    if options.json:
        print(json.dumps(_as_dict(workload, ranked), indent=1))
    else:
        show(workload, ranked, sys.stdout)
        if options.output:
            print(f"\n{written} of {len(ranked)} written to {options.output}")
    return 0 if ranked else 1


def judging(engine: Engine, store: SqliteStore | None = None) -> Callable[[RankedQuery], RankedQuery]:
    """What says of a statement whether it can be steered, and what would be done with it; runs nothing.

    With a store, what was proved counts.
    """
    from godb_fast.optimizer import Optimizer
    from godb_fast.workload.shapes import reads

    optimizer = Optimizer(store=store)
    scope = optimizer.scope(engine)

    def judge(entry: RankedQuery) -> RankedQuery:
        if not reads(entry.usage.text):
            return replace(entry, steerable=False, only_reads=False, verdict="left alone: not a SELECT")
        # Without values there is the plan that holds for all of them (PostgreSQL 16 and newer).
        sql = entry.usage.example or (entry.usage.spelling if engine.name == "postgresql" else None)
        if sql is None:
            return replace(entry, verdict="no values known with which it can be planned")
        try:
            prepared = optimizer.decide(engine, scope, sql, limit_s=_LIMIT_S)
        except ConnectionFailed:
            raise
        except (EngineError, SqlError, LookupError) as error:
            return replace(entry, verdict=f"cannot be planned: {' '.join(str(error).split())}")
        known = prepared.known
        return replace(
            entry,
            steerable=prepared.verified is not None or (known is not None and known.planner is not None),
            only_reads=known is not None and known.effects.pure,
            verdict=prepared.decision.reason,
        )

    return judge


@contextlib.contextmanager
def _opened(options: argparse.Namespace) -> Iterator[Engine | None]:
    """The engine, where something is to be asked of it."""
    from godb_fast.cli.commands import open_for_reading

    listed = options.source == "statements" or (options.source == "auto" and _dialect(options) == "postgres")
    by_file = (options.log or options.files) and not (listed and not options.files)
    if options.url is None or (options.no_plan and by_file):
        yield None
        return
    engine = open_for_reading(options.url)
    try:
        yield engine
    finally:
        engine.close()


def _dialect(options: argparse.Namespace) -> str:
    scheme, separator, _ = (options.url or "").partition("://")
    if options.url is None:
        return str(options.dialect)
    return "postgres" if separator and scheme.startswith("postgres") else "duckdb"


def _store(options: argparse.Namespace) -> Any:
    from godb_fast.store import SqliteStore, open_store

    store = open_store(getattr(options, "store", "default"))
    return store if isinstance(store, SqliteStore) else None


def _writable(path: Path) -> None:
    try:
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}") from error


# -- what is shown -----------------------------------------------------------------------------------------


def show(workload: Workload, ranked: list[RankedQuery], stream: IO[str]) -> None:
    """The ranking for people; a statement takes a line of figures and a line of text."""
    from godb_fast.workload.shapes import plain

    width = max(shutil.get_terminal_size((110, 24)).columns, 60)
    timed = workload.total_ms is not None
    whole = f", {_time(workload.total_ms)} in all" if timed else "; no times are known, so calls are ranked"
    print(
        f"{printable(workload.source)}: {_count(len(workload.queries), 'template')}, "
        f"{_count(workload.calls, 'call')}{whole}",
        file=stream,
    )
    if ranked:
        print(
            f"\n{'':>4}{'time':>8}{'sum':>8}{'calls':>11}{'total':>11}{'mean':>11}{'max':>11}{'rows/call':>11}"
            f"  {'steerable'}",
            file=stream,
        )
    for number, entry in enumerate(ranked, 1):
        usage = entry.usage
        per_call = None if usage.rows is None or not usage.calls else usage.rows / usage.calls
        print(
            f"{number:>3} {_share(entry.share):>8}{_share(entry.cumulative_share):>8}{usage.calls:>11,}"
            f"{_time(usage.total_ms):>11}{_time(usage.mean_ms):>11}{_time(usage.max_ms):>11}"
            f"{'-' if per_call is None else f'{per_call:,.4g}':>11}"
            f"  {'?' if entry.steerable is None else 'yes' if entry.steerable else 'no'}",
            file=stream,
        )
        name = f"{usage.name}: " if usage.name else ""
        print(f"      {_fitted(name + plain(usage.text), width - 6)}", file=stream)
        verdict = f"{entry.verdict}; {_VALUES[usage.provenance]}" if entry.verdict else ""
        print(f"      → {_fitted(verdict or _VALUES[usage.provenance], width - 8)}", file=stream)
    if not ranked:
        print("no statement found", file=stream)
    if any(entry.steerable is False and entry.only_reads for entry in ranked):
        print(
            "note: steerable is what can be decided without running anything; godb-fast explore also tries "
            "settings and other words, for some that say no here",
            file=stream,
        )
    for note in workload.notes:
        print(f"note: {printable(note)}", file=stream)


def printable(text: str) -> str:
    """One line without control characters: what is found in logs may try to steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _fitted(text: str, width: int) -> str:
    line = printable(text[: 4 * width])
    return line if len(line) <= width else line[: width - 1] + "…"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _time(ms: float | None) -> str:
    if ms is None:
        return "-"
    if ms < 1_000:
        return f"{ms:.3g} ms"
    return f"{ms / 1e3:.3g} s" if ms < 1e5 else f"{ms / 1e3:,.0f} s"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _as_dict(workload: Workload, ranked: list[RankedQuery]) -> dict[str, Any]:
    return {
        "godb_fast": __version__,
        "source": workload.source,
        "dialect": workload.dialect,
        "templates": len(workload.queries),
        "calls": workload.calls,
        "total_ms": workload.total_ms,
        "notes": list(workload.notes),
        "queries": [
            {
                "rank": number,
                # 64 bits: more than a JSON number holds everywhere.
                "fingerprint": f"{entry.usage.fingerprint & (2**64 - 1):016x}",
                "text": entry.usage.text,
                "name": entry.usage.name,
                "calls": entry.usage.calls,
                "total_ms": entry.usage.total_ms,
                "mean_ms": entry.usage.mean_ms,
                "max_ms": entry.usage.max_ms,
                "rows": entry.usage.rows,
                "time_share": entry.share,
                "cumulative_share": entry.cumulative_share,
                "example": entry.usage.example,
                "provenance": entry.usage.provenance,
                "steerable": entry.steerable,
                "only_reads": entry.only_reads,
                "verdict": entry.verdict or None,
            }
            for number, entry in enumerate(ranked, 1)
        ],
    }


def _write(path: Path, workload: Workload, ranked: list[RankedQuery]) -> int:
    """A file that ``godb-fast run`` and ``explore`` take; how many statements are in it."""
    from godb_fast.sql.scripts import split
    from godb_fast.workload.shapes import plain

    lines = [f"-- what costs most, from {printable(workload.source)}"]
    written = 0
    for number, entry in enumerate(ranked, 1):
        usage = entry.usage
        share = "" if entry.share is None else f", {_share(entry.share)} of the time"
        figures = f"{_count(usage.calls, 'call')}{share}, {_VALUES[usage.provenance]}"
        example = usage.example if entry.only_reads is not False else None
        # A comment without its end would swallow what follows.
        if example is not None:
            with contextlib.suppress(SqlError):
                if len(split(example + "\n;")) == 1:
                    label = f"slow {number}" + (f" {printable(usage.name)}" if usage.name else "")
                    # What exploring goes by, beside the time that each takes.
                    counted = [f"-- calls: {usage.calls}"] if usage.calls > 1 else []
                    lines += [f"\n-- {figures}", *counted, f"-- name: {label}", example.strip(), ";"]
                    written += 1
                    continue
        why = f"{figures}; {entry.verdict}" if entry.verdict else figures
        lines.append(
            f"\n-- slow {number} is left out ({printable(why)}): {printable(plain(usage.text))[:500]}"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return written
