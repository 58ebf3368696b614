"""The terms of an operator's time: what is counted, and what each unit costs before anything was learned.

An operator's time is a sum of non-negative coefficients times amounts of work (Gunther 1993; Siddiqui et al.,
"Cost models for big data query processing", SIGMOD 2020, learn such sums per operator). Amounts are rows, or
rows times what is done to each (values, conditions), so that one coefficient holds for all sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import CostModel
from godb_fast.planning.calibration import cost_model

Floats = NDArray[np.float64]

#: Rises when a term is added or counts something else: coefficients of another version are not read.
TERMS_VERSION: Final = 1


@dataclass(frozen=True)
class Term:
    """One kind of work; ``operator`` is the class of operators that does it, ``unit`` what is counted."""

    name: str
    operator: str
    unit: str


TERMS: Final[tuple[Term, ...]] = (
    Term("scan_startup", "scan", "scans"),
    Term("scan_rows", "scan", "rows read"),
    Term("scan_values", "scan", "values read"),
    Term("scan_conditions", "scan", "rows read times conditions"),
    Term("scan_patterns", "scan", "rows read times patterns (LIKE)"),
    Term("scan_output", "scan", "values out"),
    Term("lookup_startup", "lookup", "index scans"),
    Term("lookups", "lookup", "descents of an index"),
    Term("lookup_misses", "lookup", "descents times how large the table is"),
    Term("lookup_rows", "lookup", "rows fetched through an index"),
    Term("filter_startup", "filter", "filters"),
    Term("filter_conditions", "filter", "rows in times conditions"),
    Term("projection_startup", "projection", "projections"),
    Term("projection_values", "projection", "values computed"),
    Term("hash_startup", "hash_join", "hash joins and hash tables"),
    Term("build_rows", "hash_join", "rows entered into a hash table"),
    Term("build_values", "hash_join", "values entered into a hash table"),
    Term("probe_rows", "hash_join", "rows that probe"),
    Term("probe_misses", "hash_join", "rows that probe times how large the hash table is"),
    Term("hash_output", "hash_join", "rows out"),
    Term("merge_startup", "merge_join", "merge joins"),
    Term("merge_rows", "merge_join", "rows in"),
    Term("merge_output", "merge_join", "rows out"),
    Term("loop_startup", "nested_loop", "nested loops"),
    Term("loop_rows", "nested_loop", "outer rows"),
    Term("loop_pairs", "nested_loop", "pairs compared"),
    Term("loop_conditions", "nested_loop", "pairs times conditions"),
    Term("loop_output", "nested_loop", "rows out"),
    Term("aggregate_startup", "aggregate", "aggregations in a hash table"),
    Term("aggregate_rows", "aggregate", "rows in"),
    Term("aggregate_values", "aggregate", "rows in times keys and aggregates"),
    Term("groups", "aggregate", "groups"),
    Term("group_misses", "aggregate", "rows in times how large the hash table is"),
    Term("fold_startup", "fold", "aggregations without a hash table"),
    Term("fold_rows", "fold", "rows in"),
    Term("fold_values", "fold", "rows in times keys and aggregates"),
    Term("sort_startup", "sort", "sorts"),
    Term("sort_comparisons", "sort", "n log2 n of rows in"),
    Term("sort_values", "sort", "values sorted"),
    Term("top_startup", "top", "top-n's and limits"),
    Term("top_rows", "top", "rows in"),
    Term("window_startup", "window", "window functions"),
    Term("window_comparisons", "window", "n log2 n of rows in"),
    Term("window_values", "window", "rows in times functions"),
    Term("cte_startup", "cte", "common tables and set operations"),
    Term("cte_rows", "cte", "rows read again"),
    Term("cte_conditions", "cte", "rows read again times conditions"),
    Term("materialize_startup", "materialize", "materializations"),
    Term("materialize_rows", "materialize", "rows kept or handed out again"),
    Term("materialize_lookups", "materialize", "look-ups of what was kept"),
    Term("gather_startup", "gather", "starts of parallel workers"),
    Term("gather_rows", "gather", "rows handed over by workers"),
    Term("other_startup", "other", "other operators"),
    Term("other_rows", "other", "rows in"),
)
NAMES: Final = tuple(term.name for term in TERMS)
INDEX: Final = {name: number for number, name in enumerate(NAMES)}
OPERATORS: Final = tuple(dict.fromkeys(term.operator for term in TERMS))
#: Columns of each class of operators.
COLUMNS: Final = {
    operator: tuple(number for number, term in enumerate(TERMS) if term.operator == operator)
    for operator in OPERATORS
}


def static_coefficients(engine: str) -> Floats:
    """Coefficients of an engine before any feedback, in nanoseconds a unit, shape (T,).

    They are those of the join-order search (:func:`godb_fast.planning.calibration.cost_model`); operators
    that it does not price take the one of the most similar work. Nothing is charged for starting an operator.

    Parameters
    ----------
    engine : str
        ``Engine.name``.
    """
    model = cost_model(engine)
    return np.array([_prior(name, model) for name in NAMES])


def _prior(name: str, model: CostModel) -> float:
    sort = model.sort if math.isfinite(model.sort) else model.probe
    lookup = model.lookup if math.isfinite(model.lookup) else model.build
    priced = {
        "scan_rows": model.scan,
        "lookups": lookup,
        "lookup_rows": model.scan,
        "build_rows": model.build,
        "probe_rows": model.probe,
        "hash_output": model.output,
        "merge_rows": model.probe,
        "merge_output": model.output,
        "loop_pairs": model.probe,
        "loop_output": model.output,
        "aggregate_rows": model.probe,
        "groups": model.build,
        "fold_rows": model.probe,
        # The search's coefficient is per natural logarithm.
        "sort_comparisons": sort * math.log(2.0),
        "window_comparisons": sort * math.log(2.0),
        "top_rows": model.scan,
        "cte_rows": model.scan,
        "materialize_rows": model.scan,
        "gather_rows": model.output,
        "other_rows": model.scan,
    }
    return priced.get(name, 0.0)
