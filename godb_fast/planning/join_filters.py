"""Filters on join columns: the one kind of filter that changes a join's selectivity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from godb_fast.core import Block, ColumnRef, Comparison, Predicate, QueryGraph
from godb_fast.planning.comparisons import Values
from godb_fast.planning.distribution import Distribution
from godb_fast.planning.scenarios import Floats
from godb_fast.planning.selectivity import Conjunction

#: Corrects ln distinct counts, shape (members, K), in place for literals by slot.
Binding: TypeAlias = Callable[[Values, Floats], None]


def bind_join_columns(
    block: Block,
    graph: QueryGraph,
    columns: Sequence[Distribution],
    columns_of: Callable[[int], Callable[[str], Distribution]],
) -> list[Binding]:
    """Functions that correct the distinct counts of classes whose own columns are filtered.

    A filter on the join column itself is not independent of the join. If it is an equality, every row that
    passes has that one value: the member counts one value, and an unfiltered member is met by that value's
    share of it (which its common values know). If it is a range or a list on two members or more,
    what one lets pass the others let pass too: their counts shrink with their rows.
    """
    bindings: list[Binding] = []
    if not graph.class_columns:
        return bindings
    for start, stop in pairwise(graph.class_start.tolist()):
        entries = range(start, stop)
        own = {entry: _own_filters(block, graph.class_columns[entry]) for entry in entries}
        if stop - start < 2 or not any(own.values()):
            continue
        points = {
            entry: Conjunction([points[0]], columns_of(graph.class_columns[entry].relation))
            for entry in entries
            if (points := [p for p in own[entry] if p.operator == "="])
        }
        if points:
            first = next(p for p in own[next(iter(points))] if p.operator == "=")
            others = {
                entry: Conjunction([first], _always(columns[entry]))
                for entry in entries
                if entry not in points
            }
            bindings.append(_bind_point(list(points), others))
            continue
        filtered = [entry for entry in entries if own[entry]]
        if len(filtered) > 1:
            shrunk = {
                entry: Conjunction(own[entry], columns_of(graph.class_columns[entry].relation))
                for entry in filtered
            }
            bindings.append(_bind_ranges(shrunk))
    return bindings


def _always(column: Distribution) -> Callable[[str], Distribution]:
    return lambda name: column


def _own_filters(block: Block, column: ColumnRef) -> list[Comparison]:
    filters: tuple[Predicate, ...] = ()
    if column.relation < len(block.filters):
        filters = block.filters[column.relation]
    operators = ("=", "in", "<", "<=", ">", ">=", "between")
    return [
        predicate
        for predicate in filters
        if isinstance(predicate, Comparison)
        if predicate.column == column and predicate.function is None and predicate.operator in operators
    ]


def _bind_point(points: list[int], others: dict[int, Conjunction]) -> Binding:
    def bind(values: Values, log_distinct: Floats) -> None:
        log_distinct[points] = 0.0
        for entry, conjunction in others.items():
            log = conjunction.evaluate(values)[0]
            if log > -math.inf:
                log_distinct[entry] = -log

    return bind


def _bind_ranges(shrunk: dict[int, Conjunction]) -> Binding:
    def bind(values: Values, log_distinct: Floats) -> None:
        for entry, conjunction in shrunk.items():
            log = conjunction.evaluate(values)[0]
            if log > -math.inf:
                log_distinct[entry] = np.maximum(log_distinct[entry] + log, 0.0)

    return bind
