"""Published queries with the true rows of their sub-plans: Stack with PostgreSQL's estimates, CEB on IMDb."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Options
from benchmarks.corpora import lines
from benchmarks.graphs import PUBLICATION, ceb_graphs
from godb_fast.core import QueryGraph, RowEstimates
from godb_fast.feedback.corrections import SubplanQuery
from godb_fast.feedback.shapes import Edge, QueryShape
from godb_fast.planning.search import Planner

Floats = NDArray[np.float64]

STACK = "CEB on Stack with true and PostgreSQL's cardinalities, VLDB 2021"
STATISTICS = "column statistics of the zero-shot cost models, VLDB 2022"

_LITERAL = re.compile(r"'(?:[^']|'')*'|(?<![\w.])\d+(?:\.\d+)?\b")
_LIST = re.compile(r"#(?:\s*,\s*#)+")
_FROM = re.compile(r"\b(\w+)\s+as\s+(\w+)", re.IGNORECASE)
_EQUALITY = re.compile(r"^\s*(\w+)\.(\w+)\s*=\s*(\w+)\.(\w+)\s*$")


@dataclass(frozen=True, eq=False)
class Published:
    """One query. ``true`` and ``log_estimates`` follow ``planner.sets``; a truth that is not known is NaN."""

    name: str
    template: str
    planner: Planner
    query: SubplanQuery
    true: Floats
    log_estimates: Floats


class _Shapes:
    """Planners and shapes, made once for all queries that share them."""

    def __init__(self) -> None:
        self._planners: dict[Any, Planner] = {}
        self._shapes: dict[Any, QueryShape] = {}

    def planner(self, graph: QueryGraph) -> Planner:
        key = (graph.relations, graph.edges.tobytes())
        if key not in self._planners:
            self._planners[key] = Planner(graph)
        return self._planners[key]

    def shape(
        self, planner: Planner, tables: Sequence[str], filters: Sequence[str], edges: Sequence[Edge]
    ) -> QueryShape:
        key = (id(planner), *tables, *filters, *edges)
        if key not in self._shapes:
            self._shapes[key] = QueryShape.of(tables, filters, edges, planner.sets)
        return self._shapes[key]


def predicate_shape(alias: str, predicates: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Predicates without alias and literals, in an order of their own; and their literals."""
    cleaned = sorted(re.sub(rf"\b{alias}\.", "", " ".join(text.split())) for text in predicates)
    text = " and ".join(cleaned)
    literals = tuple(sorted(set(_LITERAL.findall(text))))
    return _LIST.sub("#", _LITERAL.sub("#", text)), literals


def _edges(aliases: Sequence[str], joins: Sequence[tuple[str, str, str, str]]) -> list[Edge]:
    views: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for left, column, right, other in joins:
        a, b = aliases.index(left), aliases.index(right)
        if a > b:
            a, b, column, other = b, a, other, column
        views.setdefault((a, b), []).append((f"{column}={other}", f"{other}={column}"))
    return [
        Edge(a, b, "&".join(sorted(v for v, _ in each)), "&".join(sorted(v for _, v in each)))
        for (a, b), each in sorted(views.items())
    ]


def stack(options: Options) -> list[Published]:
    """The Stack queries, estimates by PostgreSQL. A scan that the data do not list (of the tiny table
    ``site``) is estimated as one row per literal, and its rows are not known.
    """
    shared = _Shapes()
    found = []
    for record in lines(options, "ceb_stack", "ceb_stack.jsonl.zst", STACK):
        aliases = list(record["tables"])
        joins = []
        for _, _, condition in record["joins"]:
            match = _EQUALITY.match(condition)
            if match is None:
                raise ValueError(f"{record['name']}: not an equality: {condition}")
            joins.append((match[1], match[2], match[3], match[4]))
        edges = _edges(aliases, joins)
        planner = shared.planner(QueryGraph.from_edges(aliases, [(edge.left, edge.right) for edge in edges]))
        parts = [predicate_shape(alias, record["predicates"].get(alias) or []) for alias in aliases]
        filters = [f for f, _ in parts]
        shape = shared.shape(planner, [record["tables"][a] for a in aliases], filters, edges)
        listed = {sum(1 << aliases.index(alias) for alias in plan[0]): plan for plan in record["subplans"]}
        true, estimates = np.full(len(planner.sets), np.nan), np.zeros(len(planner.sets))
        selectivity = np.zeros(len(aliases))
        for at, mask in enumerate(planner.sets.tolist()):
            plan = listed.get(mask)
            single = mask & (mask - 1) == 0
            number = mask.bit_length() - 1
            if plan is not None:
                estimates[at] = np.log(max(plan[2], 1))
                # Flags mark what timed out or was a cross product: no genuine truth.
                if plan[1] is not None and len(plan) == 5:
                    true[at] = plan[1]
                if single:
                    selectivity[number] = estimates[at] - np.log(max(plan[4], 1))
            elif single:
                estimates[at] = selectivity[number] = np.log(max(len(parts[number][1]), 1))
        query = SubplanQuery.of(shape, selectivity, [literals for _, literals in parts], filters)
        found.append(Published(record["name"], record["group"], planner, query, true, estimates))
    return found


def ceb(options: Options) -> list[Published]:
    """The CEB queries on IMDb, estimates by the textbook: exact scans, independent joins of columns whose
    distinct counts are published. The data hold no engine's estimates.
    """
    options.folder("join_graphs_true_cards", PUBLICATION)
    texts: dict[str, str] = {}
    for file in ("ceb-imdb-13k.jsonl.zst", "ceb-imdb-3k.jsonl.zst"):
        for record in lines(options, "imdb_sql", file, "Cardinality Estimation Benchmark, VLDB 2021"):
            texts[record["id"]] = record["sql"]
    distinct = _distinct_counts(options)
    shared = _Shapes()
    found = []
    assert options.data is not None
    for published in ceb_graphs(options.data):
        if published.name not in texts:
            continue
        head, _, conditions = texts[published.name].partition("WHERE")
        tables = {alias: table for table, alias in _FROM.findall(head)}
        graph = published.graph
        aliases = list(graph.relations)
        planner = shared.planner(graph)
        joins, predicates = _split(conditions, aliases)
        edges = _edges(aliases, joins)
        parts = [predicate_shape(alias, predicates[alias]) for alias in aliases]
        filters = [f for f, _ in parts]
        shape = shared.shape(planner, [tables[a] for a in aliases], filters, edges)
        true = published.rows(planner.sets)
        true[np.isinf(true)] = np.nan
        rows = true[[planner.sets.tolist().index(1 << i) for i in range(graph.size)]]
        if np.isnan(rows).any():
            continue
        estimates = _textbook(graph, joins, tables, rows, distinct, planner)
        query = SubplanQuery.of(shape, np.log(np.maximum(rows, 1)), [ls for _, ls in parts], filters)
        found.append(Published(published.name, published.template, planner, query, true, estimates))
    return found


def _split(
    conditions: str, aliases: Sequence[str]
) -> tuple[list[tuple[str, str, str, str]], dict[str, list[str]]]:
    """Join equalities and each relation's filters; the texts have one conjunct a line."""
    joins: list[tuple[str, str, str, str]] = []
    filters: dict[str, list[str]] = {alias: [] for alias in aliases}
    for line in conditions.strip().removesuffix(";").splitlines():
        text = re.sub(r"^\s*AND\b", "", line, flags=re.IGNORECASE).strip()
        match = _EQUALITY.match(text)
        if match is not None:
            joins.append((match[1], match[2], match[3], match[4]))
            continue
        named = [alias for alias in aliases if re.search(rf"\b{alias}\.", text)]
        for alias in named[:1]:
            filters[alias].append(text)
    return joins, filters


def _distinct_counts(options: Options) -> dict[tuple[str, str], float]:
    import zstandard

    path = options.folder("real_db_column_statistics", STATISTICS) / "column_stats_20dbs.tar.zst"
    with zstandard.open(path, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.name.endswith("/imdb_full/column_statistics.json"):
                file = archive.extractfile(member)
                if file is None:
                    break
                statistics = json.loads(file.read())
                return {
                    (table, column): float(entry["num_unique"])
                    for table, columns in statistics.items()
                    for column, entry in columns.items()
                    if entry.get("num_unique")
                }
    raise ValueError(f"{path} holds no column statistics of imdb_full")


def _textbook(
    graph: QueryGraph,
    joins: Sequence[tuple[str, str, str, str]],
    tables: dict[str, str],
    rows: Floats,
    distinct: dict[tuple[str, str], float],
    planner: Planner,
) -> Floats:
    classes: list[set[tuple[int, str]]] = []
    aliases = graph.relations
    for left, column, right, other in joins:
        ends = {(aliases.index(left), column), (aliases.index(right), other)}
        touched = [group for group in classes if group & ends]
        classes = [group for group in classes if not group & ends] + [ends.union(*touched)]
    entries = [sorted(group) for group in classes]
    by_class = QueryGraph(
        aliases,
        graph.edges,
        class_start=np.cumsum([0, *map(len, entries)]),
        class_member=np.array([relation for group in entries for relation, _ in group], np.int64),
    )
    counts = [
        distinct.get((tables[aliases[relation]], column), 1e6)
        for group in entries
        for relation, column in group
    ]
    estimates = RowEstimates.from_logs(
        by_class, np.log(np.maximum(rows, 1)), (), np.log(np.maximum(counts, 1.0))
    )
    masks = Planner(by_class)
    found = dict(zip(masks.sets.tolist(), masks.rows(estimates)[:, 0].tolist(), strict=True))
    return np.log(np.maximum([found[mask] for mask in planner.sets.tolist()], 1.0))
