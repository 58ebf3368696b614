"""Join graphs for benchmarks: generated shapes, and published graphs with true cardinalities."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import QueryGraph, RowEstimates

PUBLICATION = "CEB-IMDb join graphs with true cardinalities, DPconv, SIGMOD 2025"


def chain(size: int) -> QueryGraph:
    """Relations in a row."""
    return QueryGraph.from_edges(size, [(i, i + 1) for i in range(size - 1)])


def cycle(size: int) -> QueryGraph:
    """A chain whose ends meet."""
    return QueryGraph.from_edges(size, [(i, (i + 1) % size) for i in range(size)])


def star(size: int) -> QueryGraph:
    """One hub, joined with all others."""
    return QueryGraph.from_edges(size, [(0, i) for i in range(1, size)])


def clique(size: int) -> QueryGraph:
    """Everything joined with everything."""
    return QueryGraph.from_edges(size, list(itertools.combinations(range(size), 2)))


def random_tree(size: int, seed: int) -> QueryGraph:
    """An acyclic graph; each relation joins an earlier one at random."""
    source = random.Random(seed)
    return QueryGraph.from_edges(size, [(source.randrange(i), i) for i in range(1, size)])


def random_graph(size: int, extra: int, seed: int) -> QueryGraph:
    """A random tree with ``extra`` further edges."""
    source = random.Random(seed)
    edges = {(source.randrange(i), i) for i in range(1, size)}
    others = [edge for edge in itertools.combinations(range(size), 2) if edge not in edges]
    edges |= set(source.sample(others, min(extra, len(others))))
    return QueryGraph.from_edges(size, sorted(edges))


def snowflake(size: int, seed: int) -> QueryGraph:
    """A fact table with four arms of dimensions."""
    source = random.Random(seed)
    edges = [(0 if i <= 4 else source.choice([i - 4, max(1, i - 8)]), i) for i in range(1, size)]
    return QueryGraph.from_edges(size, edges)


def random_estimates(graph: QueryGraph, seed: int, lanes: int = 1) -> RowEstimates:
    """Rows of 10 to a million, and joins that keep between a thousandth and ten times the larger input.

    Where the graph has equivalence classes: columns with between the fifth root of the rows and all of them
    as distinct counts.
    """
    source = np.random.default_rng(seed)
    log_rows = source.uniform(np.log(10), np.log(1e6), (graph.size, lanes))
    if graph.class_member.size:
        share = source.uniform(0.2, 1.0, (graph.class_member.size, lanes))
        return RowEstimates.from_logs(graph, log_rows, (), share * log_rows[graph.class_member])
    larger = np.maximum(log_rows[graph.edges[:, 0]], log_rows[graph.edges[:, 1]])
    selectivity = np.minimum(0.0, source.uniform(np.log(1e-3), np.log(10), larger.shape) - larger)
    return RowEstimates.from_logs(graph, log_rows, selectivity)


@dataclass(frozen=True, eq=False)
class PublishedGraph:
    """A query's join graph and the true cardinality of every connected subset, NaN where it is unknown."""

    name: str
    template: str
    graph: QueryGraph
    masks: NDArray[np.int64]
    cardinalities: NDArray[np.float64]

    def rows(self, sets: NDArray[np.int64]) -> NDArray[np.float64]:
        """True rows of the given sets, infinite where they are unknown."""
        known = dict(zip(self.masks.tolist(), self.cardinalities.tolist(), strict=True))
        rows = np.array([known.get(mask, np.inf) for mask in sets.tolist()])
        rows[np.isnan(rows)] = np.inf
        return rows


def ceb_graphs(folder: Path) -> Iterator[PublishedGraph]:
    """The published CEB graphs, in the order of the file; ``folder`` is the data folder."""
    import zstandard

    path = folder / "join_graphs_true_cards" / "ceb_imdb_13k.jsonl.zst"
    with path.open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file).read()
    for line in text.splitlines():
        entry: dict[str, Any] = json.loads(line)
        graph = QueryGraph.from_edges(entry["aliases"], [tuple(edge) for edge in entry["edges"]])
        masks = np.array([mask for mask, _ in entry["cards"]], np.int64)
        rows = [np.nan if rows is None else float(rows) for _, rows in entry["cards"]]
        yield PublishedGraph(entry["id"], entry["template"], graph, masks, np.array(rows))


_ALIAS = re.compile(r"(\w+)\s+as\s+(\w+)", re.IGNORECASE)
_EQUALITY = re.compile(r"\b([a-z]\w*)\.(\w+)\s*=\s*([a-z]\w*)\.(\w+)", re.IGNORECASE)


def job_graphs(folder: Path) -> Iterator[tuple[str, QueryGraph]]:
    """The 113 JOB queries' join graphs, with the equalities that follow by transitivity.

    The texts are so regular that two patterns read them: ``table AS alias`` and ``a.x = b.y``.
    """
    import zstandard

    path = folder / "imdb_sql" / "job.jsonl.zst"
    with path.open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file).read()
    for line in text.splitlines():
        entry: dict[str, Any] = json.loads(line)
        clauses = entry["sql"].split(" FROM ", 1)[1]
        tables, conditions = re.split(r"\sWHERE\s", clauses, maxsplit=1)
        aliases = [alias for _, alias in _ALIAS.findall(tables)]
        classes: list[set[tuple[int, str]]] = []
        for a, x, b, y in _EQUALITY.findall(conditions):
            ends = {(aliases.index(a), x), (aliases.index(b), y)}
            touched = [group for group in classes if group & ends]
            classes = [group for group in classes if not group & ends] + [ends.union(*touched)]
        members = [sorted({relation for relation, _ in group}) for group in classes]
        edges = [pair for group in members for pair in itertools.combinations(group, 2)]
        graph = QueryGraph(
            tuple(aliases),
            np.array(edges, np.int64),
            class_start=np.cumsum([0, *map(len, members)]),
            class_member=np.array([relation for group in members for relation in group], np.int64),
        )
        yield entry["id"], graph


def naive_optimum(published: PublishedGraph) -> float:
    """C_out of the best plan, from the definition: every split of every connected set into two such sets."""
    graph = published.graph
    adjacency = graph.adjacency.tolist()
    sets = np.sort(np.array(_connected_sets(adjacency), np.int64))
    rows = published.rows(sets)
    costs = np.zeros(len(sets))
    for i, whole in enumerate(sets.tolist()):
        if whole & (whole - 1) == 0:
            continue
        # Subsets are smaller numbers. With every part its complement is tried, connected or not.
        parts = sets[:i][sets[:i] & ~whole == 0]
        others = whole ^ parts
        at = np.searchsorted(sets, others)
        known = (at < i) & (sets[np.minimum(at, len(sets) - 1)] == others)
        left = costs[:i][sets[:i] & ~whole == 0][known]
        costs[i] = (left + costs[at[known]]).min() + rows[i]
    return float(costs[-1])


def _connected_sets(adjacency: list[int]) -> list[int]:
    frontier = {1 << i for i in range(len(adjacency))}
    found = set(frontier)
    while frontier:
        grown = set()
        for mask in frontier:
            near = 0
            for i, neighbours in enumerate(adjacency):
                if mask >> i & 1:
                    near |= neighbours
            grown |= {mask | 1 << i for i in range(len(adjacency)) if near & ~mask & 1 << i}
        frontier = grown - found
        found |= grown
    return list(found)
