"""The features of all candidate plans of a block, in one array."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from godb_fast import backend as backends
from godb_fast.core import PLAN_NODE, Block, JoinKind, Template
from godb_fast.core.predicates import And, Comparison, Not, Opaque, Or, Predicate
from godb_fast.errors import InvalidInput
from godb_fast.learning.features import FEATURES, columns

Floats = NDArray[np.float64]

_TEMPLATE: Final = columns("template")
_ESTIMATES: Final = columns("estimates")
_LEAST: Final = np.array([feature.least for feature in FEATURES[_ESTIMATES]])
_MOST: Final = np.array([feature.most for feature in FEATURES[_ESTIMATES]])
_CONTEXT: Final = tuple(columns(source) for source in ("system", "history", "workload"))
_CLASSES: Final = {
    "=": 0, "is_distinct": 0, "is_not_distinct": 0, "<>": 1, "<": 1, "<=": 1, ">": 1, ">=": 1, "between": 1,
    "like": 2, "ilike": 2, "in": 3, "is_null": 4,
}  # fmt: skip


class QueryFeatureExtractor:
    """Computes the features of one block's plans; make it once per template.

    Serves one thread at a time (it owns scratch memory).

    Parameters
    ----------
    template : Template
    block : Block
    row_bytes : sequence of float
        Bytes per row of each relation; at least 1.
    memory_bytes : float
        What one hash table may take before it spills.
    backend : str or None
        Of the kernel.
    """

    def __init__(
        self,
        template: Template,
        block: Block,
        row_bytes: ArrayLike,
        *,
        memory_bytes: float = 64e6,
        backend: str | None = None,
    ) -> None:
        name = backend or backends.selected()
        self._kernel = backends.kernels("features", name).plan_features
        self._warns = name == "python"
        widths = np.maximum(np.nan_to_num(np.array(row_bytes, np.float64), nan=1.0), 1.0)
        if widths.shape != (len(block.relations),):
            raise InvalidInput(
                f"row_bytes has shape {widths.shape}, but the block joins {len(block.relations)} relations"
            )
        self._widths = widths
        self._memory = float(memory_bytes)
        self._nodes = max(2 * len(block.relations) - 1, 1)
        self._depth = np.zeros(self._nodes, np.int64)
        self._bytes = np.zeros(self._nodes)
        self.static = template_features(template, block)

    def extract(
        self,
        plans: NDArray[Any],
        estimates: Floats | None = None,
        context: tuple[Floats, Floats, Floats] | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """Features of a batch of plans, shape (P, F), in the order of ``FEATURES``.

        Parameters
        ----------
        plans : PLAN_NODE array, shape (P, 2n - 1)
            Candidates as the search returns them.
        estimates : float64 array, optional
            What :func:`estimate_features` gives; zeros without.
        context : three float64 arrays, optional
            Features of sources ``system``, ``history`` and ``workload``; zeros without.
        out : float64 array, shape (P, F), optional

        Raises
        ------
        InvalidInput
            If plans are of another graph.
        """
        if plans.dtype != PLAN_NODE or plans.ndim != 2 or plans.shape[1] != self._nodes:
            raise InvalidInput(
                f"plans of shape {plans.shape} and type {plans.dtype}; "
                f"this block has plans of {self._nodes} nodes"
            )
        count = len(plans)
        if out is None:
            out = np.zeros((count, len(FEATURES)))
        elif out.shape != (count, len(FEATURES)) or not out.flags.c_contiguous:
            raise InvalidInput(f"out has shape {out.shape}; {count} plans need ({count}, {len(FEATURES)})")
        flat = np.ascontiguousarray(plans).reshape(-1)
        # NumPy's scalars warn where C is silent: of infinite rows.
        with np.errstate(all="ignore") if self._warns else nullcontext():
            self._kernel(
                count,
                self._nodes,
                flat.view(np.int32),
                flat.view(np.float64),
                self._widths,
                self._memory,
                self._depth,
                self._bytes,
                out,
            )
        out[:, _TEMPLATE] = self.static
        if estimates is not None:
            out[:, _ESTIMATES] = estimates
        if context is not None:
            for part, values in zip(_CONTEXT, context, strict=True):
                out[:, part] = values
        return out


def estimate_features(
    log_selectivity: Floats,
    log_table_rows: Floats,
    log_distinct: Floats,
    corrections: Floats | None = None,
    support: Floats | None = None,
    unsure: Floats | None = None,
) -> Floats:
    """The features of source ``estimates`` of one query.

    Parameters
    ----------
    log_selectivity, log_table_rows : float64 arrays, shape (n,)
        ln of the share that filters keep, and of the tables' rows.
    log_distinct : float64 array
        ln of the distinct counts of joined columns; may be empty.
    corrections, support : float64 arrays, shape (S,), optional
        By how much cardinality feedback corrected each sub-plan (ln), and how much evidence there was.
    unsure : float64 array, shape (5,), optional
        ``uncertainty``, ``correlation``, ``skew``, ``key_joins`` and ``key_coverage``; zeros without.
    """
    found = np.zeros(_ESTIMATES.stop - _ESTIMATES.start)
    found[0] = log_selectivity.sum()
    found[1] = log_selectivity.min(initial=0.0)
    found[2] = np.log1p(np.exp(np.minimum(log_table_rows, 600.0)).sum())
    found[3] = log_table_rows.max(initial=0.0)
    found[4] = log_distinct.max(initial=0.0)
    if corrections is not None and corrections.size:
        found[5] = corrections.mean()
    if support is not None and support.size:
        found[6], found[7] = support.mean(), support.min()
    if unsure is not None:
        found[8:] = unsure
    # Not np.clip: it takes longer than all of the above.
    clipped: Floats = np.minimum(np.maximum(found, _LEAST), _MOST)
    return clipped


def template_features(template: Template, block: Block) -> Floats:
    """The features of source ``template``: joins and predicates by class, depth, grouping."""
    graph = block.graph
    kinds = Counter(operator.kind for operator in graph.operators) if graph is not None else Counter()
    edges = 0 if graph is None else len(graph.edges)
    components = 1 if graph is None else len(graph.components)
    predicates, disjunctions = [0] * 6, 0
    for filters in block.filters:
        for predicate in filters:
            disjunctions += _count(predicate, predicates)
    tables = Counter(relation.table for relation in block.relations if relation.table is not None)
    depth, parent = 0, block.parent
    while parent is not None:
        depth += 1
        parent = template.blocks[parent].parent
    return np.array(
        [
            len(block.relations),
            edges,
            kinds[JoinKind.LEFT],
            kinds[JoinKind.SEMI],
            kinds[JoinKind.ANTI],
            max(edges - len(block.relations) + components, 0),
            *predicates,
            disjunctions,
            depth,
            len(template.blocks),
            sum(other.role == "set_operand" for other in template.blocks),
            block.aggregated,
            len(block.group_by),
            block.distinct,
            sum(count for count in tables.values() if count > 1),
            block.sort_keys,
            block.limited,
        ],
        np.float64,
    )


def _count(predicate: Predicate, counts: list[int]) -> int:
    """Count a predicate's comparisons by class; the disjunctions in it."""
    disjunctions = 0
    pending = [predicate]
    while pending:
        part = pending.pop()
        if isinstance(part, Comparison):
            counts[_CLASSES[part.operator]] += 1
        elif isinstance(part, Opaque):
            counts[5] += 1
        elif isinstance(part, Not):
            pending.append(part.part)
        else:
            assert isinstance(part, And | Or)
            disjunctions += isinstance(part, Or)
            pending.extend(part.parts)
    return disjunctions
