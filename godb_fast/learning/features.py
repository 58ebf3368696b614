"""The table of features: what a model may read, in the order of its input.

A row says the feature's name, unit, category, source, the version that brought it, and the range in which
sound values lie. Sources: ``plan`` is computed per plan by the kernel ``features``; ``template`` once per
block; ``estimates`` per query; ``system``, ``history`` and ``workload`` are read from what was observed
*before* the decision. Changing a row raises :data:`FEATURES_VERSION`: models of another version are refused
by name. Pipelines and whole plans have tables of their own (:mod:`.pipelines`, :mod:`.physical`), with
versions of their own, so that a new feature of queries does not end models that never read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Version of the table as a whole.
FEATURES_VERSION: Final = 2
#: Of ``PIPELINE_COLUMNS``, and of ``PHYSICAL_COLUMNS``.
PIPELINES_VERSION: Final = 1
PHYSICAL_VERSION: Final = 1
#: What a model of each kind reads.
VERSIONS: Final = {"quantile": FEATURES_VERSION, "latency": PIPELINES_VERSION, "ranker": PHYSICAL_VERSION}

CATEGORIES: Final = ("structure", "data", "system", "history", "workload")
#: ``total`` adds what the logarithms are of.
TOGETHER: Final = ("sum", "total", "largest", "least", "mean")
SOURCES: Final = ("plan", "template", "estimates", "system", "history", "workload")


@dataclass(frozen=True)
class Feature:
    """One column of a model's input.

    ``ln`` units are ln(1 + x) of the named quantity. ``together`` says how the values of several blocks make
    that of their statement: one of :data:`TOGETHER`.
    """

    name: str
    unit: str
    category: str
    source: str
    least: float
    most: float
    version: int = 1
    together: str = "largest"


_LOG: Final = 700.0
_COUNT: Final = 1e4

#: Columns that the kernel writes, in its order.
PLAN_COLUMNS: Final[tuple[Feature, ...]] = (
    Feature("plan_scans", "count", "structure", "plan", 1, _COUNT, together="sum"),
    Feature("plan_hash_joins", "count", "structure", "plan", 0, _COUNT, together="sum"),
    Feature("plan_index_joins", "count", "structure", "plan", 0, _COUNT, together="sum"),
    Feature("plan_merge_joins", "count", "structure", "plan", 0, _COUNT, together="sum"),
    Feature("plan_cross_products", "count", "structure", "plan", 0, _COUNT, together="sum"),
    Feature("plan_depth", "joins", "structure", "plan", 0, _COUNT),
    Feature("plan_bushy_joins", "count", "structure", "plan", 0, _COUNT, together="sum"),
    Feature("plan_built_joins", "count", "structure", "plan", 0, _COUNT, together="sum"),
    Feature("plan_pipelines", "count", "structure", "plan", 1, _COUNT, together="sum"),
    Feature("plan_growing_joins", "count", "data", "plan", 0, _COUNT, together="sum"),
    Feature("scanned_rows", "ln rows", "data", "plan", 0, _LOG, together="total"),
    Feature("largest_scan_rows", "ln rows", "data", "plan", 0, _LOG),
    Feature("joined_rows", "ln rows", "data", "plan", 0, _LOG, together="total"),
    Feature("largest_join_rows", "ln rows", "data", "plan", 0, _LOG),
    Feature("smallest_join_rows", "ln rows", "data", "plan", 0, _LOG, together="least"),
    Feature("built_rows", "ln rows", "data", "plan", 0, _LOG, together="total"),
    Feature("largest_build_rows", "ln rows", "data", "plan", 0, _LOG),
    Feature("probed_rows", "ln rows", "data", "plan", 0, _LOG, together="total"),
    Feature("built_bytes", "ln bytes", "data", "plan", 0, _LOG, together="total"),
    Feature("largest_build_bytes", "ln bytes", "data", "plan", 0, _LOG),
    Feature("spilled_bytes", "ln bytes", "data", "plan", 0, _LOG, together="total"),
    Feature("largest_growth", "ln rows per row", "data", "plan", 0, _LOG),
    Feature("moved_bytes", "ln bytes", "data", "plan", 0, _LOG, together="total"),
    Feature("plan_cost", "ln cost", "data", "plan", 0, _LOG, together="total"),
)

FEATURES: Final[tuple[Feature, ...]] = (
    *PLAN_COLUMNS,
    Feature("relations", "count", "structure", "template", 1, _COUNT, together="sum"),
    Feature("inner_edges", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("left_joins", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("semi_joins", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("anti_joins", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("cycles", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("equality_filters", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("range_filters", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("pattern_filters", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("list_filters", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("null_filters", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("opaque_filters", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("disjunctions", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("block_depth", "blocks", "structure", "template", 0, _COUNT),
    Feature("blocks", "count", "structure", "template", 1, _COUNT),
    Feature("set_operands", "count", "structure", "template", 0, _COUNT),
    Feature("aggregated", "flag", "structure", "template", 0, 1),
    Feature("grouping_columns", "count", "structure", "template", 0, _COUNT, together="sum"),
    Feature("distinct", "flag", "structure", "template", 0, 1),
    Feature("self_joined", "relations", "structure", "template", 0, _COUNT, together="sum"),
    Feature("sort_keys", "count", "structure", "template", 0, _COUNT, 2, together="sum"),
    Feature("limited", "flag", "structure", "template", 0, 1, 2),
    Feature("filtered_share", "ln share", "data", "estimates", -_LOG, 0.0, together="sum"),
    Feature("most_filtered_share", "ln share", "data", "estimates", -_LOG, 0.0, together="least"),
    Feature("table_rows", "ln rows", "data", "estimates", 0, _LOG, together="total"),
    Feature("largest_table_rows", "ln rows", "data", "estimates", 0, _LOG),
    Feature("distinct_values", "ln values", "data", "estimates", 0, _LOG),
    Feature("corrected_by", "ln rows per row", "data", "estimates", -_LOG, _LOG, together="mean"),
    Feature("support", "share", "data", "estimates", 0, 1, together="mean"),
    Feature("least_support", "share", "data", "estimates", 0, 1, together="least"),
    Feature("uncertainty", "ln rows per row", "data", "estimates", 0, _LOG, 2, together="sum"),
    Feature("correlation", "ln rows per row", "data", "estimates", 0, _LOG, 2, together="sum"),
    Feature("skew", "ln rows per row", "data", "estimates", 0, _LOG, 2),
    Feature("key_joins", "share", "data", "estimates", 0, 1, 2, together="mean"),
    Feature("key_coverage", "share", "data", "estimates", 0, 1, 2, together="least"),
    Feature("processors", "count", "system", "system", 1, 1e5),
    Feature("load", "runnable per processor", "system", "system", 0, 1e4),
    Feature("memory", "ln bytes", "system", "system", 0, _LOG),
    Feature("memory_available", "share", "system", "system", 0, 1),
    Feature("io_wait", "share", "system", "system", 0, 1),
    Feature("buffer_hits", "share", "system", "system", 0, 1),
    Feature("concurrency", "statements", "system", "system", 0, 1e5),
    Feature("past_runs", "ln runs", "history", "history", 0, _LOG),
    Feature("past_latency", "ln ms", "history", "history", 0, _LOG),
    Feature("past_deviation", "ln ratio", "history", "history", 0, _LOG),
    Feature("past_recency", "ln s", "history", "history", 0, _LOG),
    Feature("neighbour_runs", "ln runs", "history", "history", 0, _LOG),
    Feature("neighbour_latency", "ln ms", "history", "history", 0, _LOG),
    Feature("frequency", "ln per hour", "workload", "workload", 0, _LOG),
    Feature("burst", "ln ratio", "workload", "workload", 0, _LOG),
    Feature("hour_sine", "of the day", "workload", "workload", -1, 1),
    Feature("hour_cosine", "of the day", "workload", "workload", -1, 1),
    Feature("weekend", "flag", "workload", "workload", 0, 1),
    Feature("reporting_class", "flag", "workload", "workload", 0, 1),
)

#: Position of each feature.
COLUMN: Final = {feature.name: position for position, feature in enumerate(FEATURES)}


def columns(source: str) -> slice:
    """The columns of one source; they stand side by side."""
    positions = [position for position, feature in enumerate(FEATURES) if feature.source == source]
    return slice(positions[0], positions[-1] + 1)
