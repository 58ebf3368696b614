"""Rows of a block's result: of all its joins together, and of grouping on top, per scenario.

The search estimates the same for every relation set (natively); this is for blocks that other blocks read,
whose rows are needed before anything is searched.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from godb_fast.core import JoinKind, QueryGraph, RowEstimates
from godb_fast.core.relation_set import members
from godb_fast.planning.scenarios import Floats

#: A relation has at least one row: estimates below it are never trusted, and a join order that bets on an
#: empty input loses everything when one row shows up.
LEAST_LOG_ROWS: Final = 0.0
#: The least share of an anti join's rows that find no match, as in the search's own estimates.
ANTI_LEAST: Final = 0.1


def joins_share(graph: QueryGraph, log_distinct: Floats, log_selectivity: Floats) -> Floats:
    """What all joins together add to the sum of ln rows, per lane."""
    total = log_selectivity.sum(axis=0)
    for start, stop in pairwise(graph.class_start.tolist()):
        if stop - start > 1:
            entries = log_distinct[start:stop]
            total = total - (entries.sum(axis=0) - entries.min(axis=0))
    return np.asarray(total)


def log_cardenas(log_distinct: float, log_rows: Floats) -> Floats:
    """ln of the expected number of groups: distinct · (1 - exp(-rows / distinct)), see joins.cardenas."""
    ratio = np.exp(np.minimum(log_rows - log_distinct, 50.0))
    return np.clip(log_distinct + np.log(-np.expm1(-ratio)), LEAST_LOG_ROWS, log_rows)


def operator_corrections(graph: QueryGraph, rows: RowEstimates) -> Floats:
    """What outer, semi and anti joins add to ln rows of all relations, as the search's estimates have it."""
    total = np.zeros(rows.lanes)
    for operator in graph.operators:
        if operator.kind is JoinKind.INNER:
            continue
        both = inner_rows(graph, rows, operator.left | operator.right)
        matches = both - inner_rows(graph, rows, operator.left)
        if operator.kind is JoinKind.LEFT:
            total += np.maximum(-matches, 0.0)
        elif operator.kind is JoinKind.SEMI:
            total += np.minimum(-matches, 0.0)
        else:
            bounded = np.minimum(matches, 50.0)
            total += np.log(np.maximum(1.0 - np.exp(bounded), ANTI_LEAST)) - matches
    return total


def inner_rows(graph: QueryGraph, rows: RowEstimates, mask: int) -> Floats:
    """ln rows of a relation set if all its joins were inner joins."""
    inside = list(members(mask))
    total = rows.log_rows[inside].sum(axis=0)
    for start, stop in pairwise(graph.class_start.tolist()):
        entries = [i for i in range(start, stop) if mask >> int(graph.class_member[i]) & 1]
        if len(entries) > 1:
            part = rows.log_distinct[entries]
            total = total - (part.sum(axis=0) - part.min(axis=0))
    for entry, (start, stop) in enumerate(pairwise(graph.selective_start.tolist())):
        if stop > start and all(mask >> one & 1 for one in graph.selective_member[start:stop].tolist()):
            total = total + rows.log_selectivity[entry]
    return np.asarray(total)
