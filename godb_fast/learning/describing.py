"""Feature vectors of plans and of whole statements, by one definition for training and for serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import Block, JoinTree, RowEstimates, Statistics, Template
from godb_fast.learning.extraction import QueryFeatureExtractor, estimate_features
from godb_fast.learning.features import FEATURES, TOGETHER, columns
from godb_fast.planning.columns import Distributions
from godb_fast.planning.proposal import TemplatePlanner
from godb_fast.planning.scenarios import BEST, INDEPENDENT, OPTIMISTIC, PESSIMISTIC

Floats = NDArray[np.float64]

#: Of a column whose width nobody says.
COLUMN_BYTES: Final = 8.0

Context = tuple[Floats, Floats, Floats]

_TOGETHER: Final = {way: np.array([feature.together == way for feature in FEATURES]) for way in TOGETHER}
_LEAST: Final = np.array([feature.least for feature in FEATURES])
_MOST: Final = np.array([feature.most for feature in FEATURES])


class PlanDescriber:
    """Describes candidates of one block; make it once per template and statistics epoch.

    Serves one thread at a time (its extractor owns scratch memory).

    Parameters
    ----------
    template : Template
    block : Block
        Of a graph.
    statistics : Statistics or Distributions
        For the rows of the tables, and for which of the joined columns are keys. Of a planner's distributions
        nothing more is loaded.
    """

    def __init__(
        self,
        template: Template,
        block: Block,
        statistics: Statistics | Distributions,
        *,
        backend: str | None = None,
    ) -> None:
        known = statistics if isinstance(statistics, Distributions) else Distributions(statistics)
        widths = [COLUMN_BYTES * max(len(relation.columns), 1) for relation in block.relations]
        self._extractor = QueryFeatureExtractor(template, block, widths, backend=backend)
        rows = [
            np.nan if relation.table is None else _rows(known, relation.table) for relation in block.relations
        ]
        self._log_table = np.log(np.maximum(np.array(rows), 1.0))
        #: A derived relation is as large as it is estimated.
        self._derived = np.isnan(self._log_table)
        self._any_derived = bool(self._derived.any())
        self._keys = _key_joins(block, known)

    def vectors(
        self,
        plans: NDArray[np.void],
        estimates: RowEstimates,
        context: Context | None = None,
        corrected: tuple[Floats, Floats] | None = None,
    ) -> Floats:
        """One row per plan, in the order of ``FEATURES``.

        Parameters
        ----------
        plans : PLAN_NODE array, shape (P, 2n - 1)
        estimates : RowEstimates
            Of the query; lane 0 is what is read, the named scenarios tell how sure it is.
        context : three float64 arrays, optional
            Features of sources ``system``, ``history`` and ``workload``; zeros without.
        corrected : two float64 arrays, shape (S,), optional
            By how much cardinality feedback corrects each sub-plan (ln), and how much evidence there is.
        """
        log_rows = estimates.log_rows[:, 0]
        log_table = self._log_table
        if self._any_derived:
            log_table = np.where(self._derived, log_rows, log_table)
        corrections, support = corrected or (None, None)
        described = estimate_features(
            np.minimum(log_rows - log_table, 0.0),
            log_table,
            estimates.log_distinct[:, 0],
            corrections,
            support,
            np.array([*_unsure(estimates), *self._keys]),
        )
        return self._extractor.extract(plans, described, context)


class StatementDescriber:
    """Describes a whole statement, its blocks together; make it once per template and statistics epoch.

    Serves one thread at a time, as the describers of its blocks.

    Parameters
    ----------
    planner : TemplatePlanner
        Of a statement with a block to plan; what it knows of tables is enough, so that no engine is asked.
    """

    def __init__(self, planner: TemplatePlanner, *, backend: str | None = None) -> None:
        self._planner, template = planner, planner.template
        self._blocks = {
            block.index: PlanDescriber(
                template, template.blocks[block.index], planner.distributions, backend=backend
            )
            for block in planner.blocks
        }

    def vector(
        self,
        literals: Sequence[Any],
        params: Any,
        trees: Mapping[int, JoinTree],
        context: Context | None = None,
        corrected: Mapping[int, tuple[Floats, Floats]] | None = None,
        *,
        lock: AbstractContextManager[object] | None = None,
    ) -> Floats | None:
        """The features of a statement under join trees, shape (F,); None if these are not its.

        Parameters
        ----------
        trees : mapping of int to JoinTree
            By block. For one whose tree is not known that of the best guess stands, if any is known.
        context : three float64 arrays, optional
            Features of sources ``system``, ``history`` and ``workload``; zeros without.
        corrected : mapping, optional
            By block, what :meth:`PlanDescriber.vectors` takes.
        lock : context manager, optional
            Held while scratch memory is used.
        """
        estimates = self._planner.estimates(literals, params)
        planned = self._planner.propose(literals, params, trees, estimates=estimates).blocks
        chosen = [(block.assessment, block.assessment.which) for block in planned]
        if not any(which[-1] >= 0 for _, which in chosen):
            return None
        rows = np.empty((len(planned), len(FEATURES)))
        with lock or nullcontext():
            for row, block, (assessment, which) in zip(rows, planned, chosen, strict=True):
                at = which[-1] if which[-1] >= 0 else which[0]
                told = None if corrected is None else corrected.get(block.index)
                plans = assessment.plans[at : at + 1]
                row[:] = self._blocks[block.index].vectors(plans, estimates[block.index], context, told)[0]
        return together(rows)


def together(rows: Floats) -> Floats:
    """The features of a statement from those of its blocks, shape (B, F): as each row of the table says."""
    found: Floats = rows.max(axis=0)
    if len(rows) == 1:
        return found
    for way, summed in (("sum", rows.sum(axis=0)), ("least", rows.min(axis=0)), ("mean", rows.mean(axis=0))):
        found[_TOGETHER[way]] = summed[_TOGETHER[way]]
    totals = _TOGETHER["total"]
    found[totals] = np.log1p(np.minimum(np.expm1(rows[:, totals]).sum(axis=0), np.exp(_MOST[totals])))
    # What is no block's own (machine, history, workload) is alike in all rows.
    own = slice(0, columns("system").start)
    found[own] = np.minimum(np.maximum(found[own], _LEAST[own]), _MOST[own])
    return found


def _rows(known: Distributions, table: str) -> float:
    rows = known.rows(table)
    return float("nan") if rows is None else rows


def _unsure(estimates: RowEstimates) -> tuple[float, float, float]:
    """How far the scenarios lie apart, as logarithms of rows: pessimistic from optimistic; filters that
    depend on each other from independent ones; joined columns as skewed as they are from uniform ones.

    Zeros where fewer scenarios were estimated than have names.
    """
    rows, distinct = estimates.log_rows, estimates.log_distinct
    if rows.shape[1] <= OPTIMISTIC:
        return 0.0, 0.0, 0.0
    apart = (rows[:, PESSIMISTIC] - rows[:, OPTIMISTIC]).sum()
    apart += (distinct[:, OPTIMISTIC] - distinct[:, PESSIMISTIC]).sum()
    dependent = (rows[:, BEST] - rows[:, INDEPENDENT]).sum()
    skewed = (distinct[:, INDEPENDENT] - distinct[:, BEST]).max(initial=0.0)
    return float(apart), float(dependent), float(skewed)


def _key_joins(block: Block, distributions: Distributions) -> tuple[float, float]:
    """The share of joins by equality in which one side is a key, and the least share of a key's values that
    the other side has (0 without keys)."""
    graph = block.graph
    if graph is None or not graph.class_columns:
        return 0.0, 0.0
    joins, keyed, covered = 0, 0, 1.0
    for start, stop in pairwise(graph.class_start.tolist()):
        known = []
        for column in graph.class_columns[start:stop]:
            table = block.relations[column.relation].table
            if table is not None and (found := distributions.column(table, column.name)).known:
                known.append(found)
        joins += max(stop - start - 1, 0)
        keys = [max(column.distinct, 1.0) for column in known if column.unique]
        if keys and stop - start > 1:
            keyed += stop - start - 1
            others = [column.distinct for column in known if not column.unique] or keys
            covered = min(covered, min(others) / max(keys))
    if not keyed:
        return 0.0, 0.0
    return keyed / joins, min(covered, 1.0)
