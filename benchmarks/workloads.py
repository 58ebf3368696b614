"""What a live benchmark runs: a loaded database, statements to explore, and statements to measure."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import corpora, loading, tpcds_parameters, tpch_parameters
from benchmarks.common import MissingData, Options, Run, main
from godb_fast.errors import GodbError, InvalidInput
from godb_fast.exploring.subjects import LiveQuery
from godb_fast.report import Query
from godb_fast.sql.scripts import split

GENERATED = ("tpch", "tpcds")
#: Statements of a smaller run: those that take longest on one of the engines, and a few others.
QUICK = {"tpch": (1, 3, 9, 17, 18, 20, 21), "tpcds": (1, 3, 6, 17, 25, 42, 72, 81)}
QUICK_SCALE = 0.01
QUICK_SITE_SCALE = 0.1


@dataclass
class Wanted:
    """Which workload, where.

    Parameters
    ----------
    url
        A database that is loaded already.
    measure
        Other statements to measure than those to explore, for a file of statements.
    share
        Of the comments, that the heaviest account of the demo's site wrote (that of ``godb-fast demo``).
    """

    engine: str = "duckdb"
    workload: str = "demo"
    scale: float = 0.2
    url: str | None = None
    measure: str | None = None
    cache: Path | None = None
    share: float | None = None


@dataclass
class Loaded:
    """A database with its statements; ``notes`` go into the report."""

    url: str
    explored: list[LiveQuery]
    measured: list[Query]
    notes: list[str] = field(default_factory=list)

    def only(self, names: Sequence[str]) -> Loaded:
        """The statements of these names.

        Raises
        ------
        MissingData
            If there is none of a name.
        """
        unknown = set(names) - {entry.name for entry in self.explored}
        if unknown:
            raise MissingData(f"no statement is named {', '.join(sorted(unknown))}")
        explored = [entry for entry in self.explored if entry.name in names]
        measured = [entry for entry in self.measured if entry.name in names]
        return Loaded(self.url, explored, measured, self.notes)


def load(stack: ExitStack, wanted: Wanted, options: Options, server: Mapping[str, str]) -> Loaded:
    """Load the data where needed; servers and folders go when the stack ends.

    Parameters
    ----------
    server : mapping of str to str
        Settings of a PostgreSQL server of our own.

    Raises
    ------
    MissingData
        If data, texts or a generator are missing.
    """
    if wanted.workload == "demo":
        return _site(stack, wanted, options)
    if wanted.workload == "demo-full":
        return _demo(stack, wanted, options)
    if wanted.workload in GENERATED:
        return _generated(stack, wanted, options, server)
    if wanted.url is None:
        raise MissingData(f"workload {wanted.workload}: name a loaded database with --url")
    explored = _read(wanted.workload)
    if wanted.measure is not None:
        return Loaded(wanted.url, explored, _queries(_read(wanted.measure)))
    same = "the measured statements are those that were explored, with the same literals"
    return Loaded(wanted.url, explored, _queries(explored), [same])


def _read(path: str) -> list[LiveQuery]:
    if not Path(path).exists():
        raise MissingData(f"workload {path}: no such file of statements")
    return [LiveQuery(entry.name, entry.sql) for entry in split(Path(path).read_text(encoding="utf-8"))]


def _queries(found: list[LiveQuery]) -> list[Query]:
    return [Query(entry.name, entry.sql) for entry in found]


#: Literals of the short demo's statements, and what else each may be.
_SITE_LITERALS = {
    "'moderator'": [f"'{level}'" for level in ("new", "regular", "trusted", "editor")],
    "c.score > 2": [f"c.score > {score}" for score in (1, 3, 4)],
    "v.kind = 2": [f"v.kind = {kind}" for kind in (0, 1, 3)],
    "SELECT 2 * avg": ["SELECT 1.5 * avg", "SELECT 1.8 * avg"],
    "p.views > 900": [f"p.views > {views}" for views in (800, 850, 950)],
    "'user 17'": [f"'user {number}'" for number in range(18, 60)],
}


def _site(stack: ExitStack, wanted: Wanted, options: Options) -> Loaded:
    """The site of ``godb-fast demo``, with its heavy account."""
    from godb_fast.demo.site import HEAVY_SHARE, QUERIES, load_site, load_site_postgres

    scale = min(wanted.scale, QUICK_SITE_SCALE) if options.quick else wanted.scale
    share = HEAVY_SHARE if wanted.share is None else wanted.share
    rng = random.Random(options.seed)
    explored = [LiveQuery(name, text.strip()) for name, text in QUERIES.items()]
    measured, redrawn = [], 0
    for query in explored:
        swaps = {old: rng.choice(new) for old, new in _SITE_LITERALS.items() if old in query.sql}
        fresh = tpch_parameters.swapped(query.sql, swaps) if swaps else query.sql
        assert fresh is not None
        redrawn += fresh != query.sql
        measured.append(Query(query.name, fresh))
    notes = [f"measured with new literals: {redrawn} of {len(measured)} statements; the others have none"]
    if wanted.url is not None:
        url = wanted.url
    elif wanted.engine == "postgres":
        import psycopg

        from godb_fast.demo.postgres import TUNED
        from godb_fast.demo.postgres_server import running_server

        url = stack.enter_context(running_server(settings=TUNED)).url
        with psycopg.connect(url, autocommit=True) as connection:
            load_site_postgres(connection, share, scale)
    else:
        import duckdb

        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="godb_fast-steering-"))
        url = str(Path(folder) / "site.duckdb")
        with duckdb.connect(url) as connection:
            load_site(connection, share, scale)
    return Loaded(url, explored, measured, notes)


def _demo(stack: ExitStack, wanted: Wanted, options: Options) -> Loaded:
    from godb_fast.demo import SEED, TEMPLATES, build, stream

    templates = TEMPLATES[:12] if options.quick else TEMPLATES
    scale = min(wanted.scale, 0.05) if options.quick else wanted.scale

    def draw(seed: int) -> list[LiveQuery]:
        drawn = stream(instances=1, scale=scale, seed=seed, templates=templates)
        return [LiveQuery(query.name, query.sql) for query in drawn]

    explored, measured = draw(SEED), _queries(draw(SEED + 1 + options.seed))
    if wanted.url is not None:
        return Loaded(wanted.url, explored, measured)
    if wanted.engine == "postgres":
        from godb_fast.demo.postgres import throwaway_demo

        url, *_ = stack.enter_context(throwaway_demo(scale, SEED, lambda what, share: None))
        return Loaded(url, explored, measured)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="godb_fast-steering-"))
    path = build(Path(folder) / "demo.duckdb", scale=scale, seed=SEED).path
    return Loaded(str(path), explored, measured)


def _generated(stack: ExitStack, wanted: Wanted, options: Options, server: Mapping[str, str]) -> Loaded:
    texts = corpora.numbered(options, wanted.workload)
    scale = min(wanted.scale, QUICK_SCALE) if options.quick else wanted.scale
    if options.quick:
        texts = {number: texts[number] for number in QUICK[wanted.workload]}
    dataset = loading.generate(wanted.workload, scale, loading.cache_folder(wanted.cache))
    notes = []
    if wanted.url is not None:
        url = wanted.url
    elif wanted.engine == "postgres":
        url, left_out = stack.enter_context(loading.postgres(dataset, server))
        notes += [left_out] if left_out else []
    else:
        url = str(loading.duckdb_file(dataset))
    explored = [LiveQuery(f"q{number}", text) for number, text in texts.items()]
    measured, redrawn = [], 0
    values = Values(dataset)
    for number, text in texts.items():
        rng = random.Random(options.seed * 1000 + number)
        if wanted.workload == "tpch":
            fresh = tpch_parameters.redraw(number, text, rng, scale)
        else:
            fresh = tpcds_parameters.redraw(text, rng, values)
        redrawn += fresh is not None
        measured.append(Query(f"q{number}", fresh or text))
    same = "" if redrawn == len(texts) else "; the others have the same literals as when they were explored"
    notes.append(f"measured with new literals: {redrawn} of {len(texts)} statements{same}")
    return Loaded(url, explored, measured, notes)


class Values:
    """Distinct values of columns, asked once."""

    def __init__(self, dataset: loading.Dataset) -> None:
        self._dataset = dataset
        self._known: dict[tuple[str, str], list[Any]] = {}

    def __call__(self, table: str, column: str) -> list[Any]:
        if (table, column) not in self._known:
            self._known[table, column] = self._dataset.values(table, column)
        return self._known[table, column]


def live_main(benchmark: str, run: Run, **more: Any) -> int:
    """:func:`benchmarks.common.main` of a benchmark that runs on engines: what they say is told in a line."""
    try:
        return main(benchmark, run, **more)
    except (MissingData, InvalidInput) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except GodbError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
