"""Random join trees that a graph's ordering constraints allow."""

from __future__ import annotations

from random import Random

from godb_fast.core import JoinTree, QueryGraph
from godb_fast.core.conflicts import ILLEGAL, SECOND_IS_LEFT, orientation


def random_tree(graph: QueryGraph, rng: Random) -> JoinTree:
    """A legal join tree; cross products only where nothing connects."""
    for _ in range(200):
        tree = _attempt(graph, rng)
        if tree is not None:
            return tree
    raise AssertionError("no legal join tree was found")


def _attempt(graph: QueryGraph, rng: Random) -> JoinTree | None:
    adjacency = graph.adjacency.tolist()
    parts: list[tuple[int, JoinTree]] = [(1 << i, i) for i in range(graph.size)]
    while len(parts) > 1:
        pairs = [(a, b) for a in range(len(parts)) for b in range(len(parts)) if a != b]
        rng.shuffle(pairs)
        for a, b in pairs:
            allowed = orientation(adjacency, graph.operators, parts[a][0], parts[b][0])
            if allowed not in (ILLEGAL, SECOND_IS_LEFT):
                break
        else:
            if graph.operators:
                return None
            a, b = pairs[0]
        joined = (parts[a][0] | parts[b][0], (parts[a][1], parts[b][1]))
        parts = [part for place, part in enumerate(parts) if place not in (a, b)] + [joined]
    return parts[0][1]
