"""What a live benchmark runs: a loaded database, statements to explore, and statements to measure."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import corpora, loading, tpcds_parameters, tpch_parameters
from benchmarks.common import MissingData, Options
from godb_fast.exploring.subjects import LiveQuery
from godb_fast.report import Query
from godb_fast.sql.scripts import split

GENERATED = ("tpch", "tpcds")
#: Statements of a smaller run: those that take longest on one of the engines, and a few others.
QUICK = {"tpch": (1, 3, 9, 17, 18, 20, 21), "tpcds": (1, 3, 6, 17, 25, 42, 72, 81)}
QUICK_SCALE = 0.01


@dataclass
class Wanted:
    """Which workload, where.

    Parameters
    ----------
    url
        A database that is loaded already.
    measure
        Other statements to measure than those to explore, for a file of statements.
    """

    engine: str = "duckdb"
    workload: str = "demo"
    scale: float = 0.2
    url: str | None = None
    measure: str | None = None
    cache: Path | None = None


@dataclass
class Loaded:
    """A database with its statements; ``notes`` go into the report."""

    url: str
    explored: list[LiveQuery]
    measured: list[Query]
    notes: list[str] = field(default_factory=list)


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
    values = _Values(dataset)
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


class _Values:
    """Distinct values of columns, asked once."""

    def __init__(self, dataset: loading.Dataset) -> None:
        self._dataset = dataset
        self._known: dict[tuple[str, str], list[Any]] = {}

    def __call__(self, table: str, column: str) -> list[Any]:
        if (table, column) not in self._known:
            self._known[table, column] = self._dataset.values(table, column)
        return self._known[table, column]
