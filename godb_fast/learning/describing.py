"""Feature vectors of a query's candidate plans, by one definition for training and for serving."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import Block, RowEstimates, Statistics, Template
from godb_fast.errors import MissingStatistics
from godb_fast.learning.extraction import QueryFeatureExtractor, estimate_features

Floats = NDArray[np.float64]

#: Of a column whose width nobody says.
COLUMN_BYTES: Final = 8.0


class PlanDescriber:
    """Describes candidates of one block; make it once per template and statistics epoch.

    Serves one thread at a time (its extractor owns scratch memory).

    Parameters
    ----------
    template : Template
    block : Block
        Of a graph.
    statistics : Statistics
        For the rows of the tables.
    """

    def __init__(
        self, template: Template, block: Block, statistics: Statistics, *, backend: str | None = None
    ) -> None:
        widths = [COLUMN_BYTES * max(len(relation.columns), 1) for relation in block.relations]
        self._extractor = QueryFeatureExtractor(template, block, widths, backend=backend)
        rows = [
            np.nan if relation.table is None else _rows(statistics, relation.table)
            for relation in block.relations
        ]
        self._log_table = np.log(np.maximum(np.array(rows), 1.0))
        #: A derived relation is as large as it is estimated.
        self._derived = np.isnan(self._log_table)
        self._any_derived = bool(self._derived.any())

    def vectors(
        self,
        plans: NDArray[np.void],
        estimates: RowEstimates,
        context: tuple[Floats, Floats, Floats] | None = None,
        corrected: tuple[Floats, Floats] | None = None,
    ) -> Floats:
        """One row per plan, in the order of ``FEATURES``.

        Parameters
        ----------
        plans : PLAN_NODE array, shape (P, 2n - 1)
        estimates : RowEstimates
            Of the query; lane 0 is read.
        context : three float64 arrays, optional
            Features of sources ``system``, ``history`` and ``workload``; zeros without.
        corrected : two float64 arrays, shape (S,), optional
            By how much cardinality feedback corrects each sub-plan (ln), and how much evidence there is.
        """
        log_rows = estimates.log_rows[:, 0]
        log_table = self._log_table
        if self._any_derived:
            log_table = np.where(self._derived, log_rows, log_table)
        described = estimate_features(
            np.minimum(log_rows - log_table, 0.0), log_table, estimates.log_distinct[:, 0], *(corrected or ())
        )
        return self._extractor.extract(plans, described, context)


def _rows(statistics: Statistics, table: str) -> float:
    try:
        return float(statistics.rows(table))
    except MissingStatistics:
        return float("nan")
