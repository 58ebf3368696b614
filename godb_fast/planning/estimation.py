"""From literals to the rows of each block's relations and joins, in K scenarios.

Everything that depends only on the template and the statistics is computed once, when the template is first
seen: join selectivities (as effective distinct counts), perturbations, the filters as closures. New literals
then cost one closure call per filter and a handful of array operations per block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from godb_fast.core import (
    Block,
    ColumnRef,
    Comparison,
    Not,
    Opaque,
    Predicate,
    QueryGraph,
    Relation,
    RowEstimates,
    Template,
)
from godb_fast.core.estimates import MAX_LOG_ROWS
from godb_fast.planning.columns import UNKNOWN_ROWS, UNKNOWN_ROWS_SPREAD, Distributions, derived_column
from godb_fast.planning.comparisons import Values
from godb_fast.planning.distribution import Distribution
from godb_fast.planning.domains import UNKNOWN
from godb_fast.planning.join_filters import bind_join_columns
from godb_fast.planning.joins import (
    PairSelectivity,
    effective_distinct,
    equality,
    inequality,
    opaque_join,
)
from godb_fast.planning.joint import log_combinations
from godb_fast.planning.result_rows import (
    LEAST_LOG_ROWS,
    joins_share,
    log_cardenas,
    operator_corrections,
)
from godb_fast.planning.scenarios import Floats, Scenarios
from godb_fast.planning.selectivity import Conjunction
from godb_fast.planning.terms import Kernels, native_terms

#: Rows left by a filter that cannot be true (a comparison with NULL, an empty range).
EMPTY_LOG_ROWS: Final = math.log(0.01)
#: Two queries share a bucket if each relation's estimated rows agree within a factor of about four.
BUCKET_WIDTH: Final = math.log(4.0)


class LazyValues:
    """Values by slot, bound from the literals' texts when somebody needs them.

    Parameters
    ----------
    values : sequence or None
        Values that are bound already.
    literals : sequence of str, optional
        Texts by slot from which ``bind`` makes values; None if they alone do not determine them (parameters).
    """

    __slots__ = ("_bind", "_values", "literals")

    def __init__(
        self,
        values: Values | None,
        literals: Sequence[Any] | None = None,
        bind: Callable[[Any], Values] | None = None,
    ) -> None:
        self._values = values
        self.literals = literals
        self._bind = bind

    def bound(self) -> Values:
        """The values."""
        if self._values is None:
            assert self._bind is not None
            self._values = self._bind(self.literals)
        return self._values


class TemplateEstimator:
    """Estimates for all blocks of one template, under one statistics epoch. Immutable; thread-safe.

    Parameters
    ----------
    template : Template
    distributions : Distributions
    scenarios : Scenarios
    backend : str or None
        Of the kernels.
    """

    def __init__(
        self,
        template: Template,
        distributions: Distributions,
        scenarios: Scenarios,
        backend: str | None = None,
    ) -> None:
        self._backend = backend
        self.template = template
        self.distributions = distributions
        self.scenarios = scenarios
        self._blocks: dict[int, BlockEstimator] = {}
        self._unknown = [UNKNOWN] * _slot_count(template)
        self._started: set[int] = set()
        distributions.load(_columns_used(template))
        for block in template.blocks:
            self._prepare(block.index)
        # Only what a plannable block needs is computed per query: itself and the blocks below it.
        needed: list[int] = []
        for block in template.plannable:
            self._collect(block.index, needed)
        #: The estimators of the blocks that a query needs, each after those that it reads.
        self.order = [self._blocks[index] for index in needed]
        self._wanted = frozenset(block.index for block in template.plannable)

    def estimates(self, values: Values) -> dict[int, RowEstimates]:
        """Row estimates of each plannable block, for values by slot."""
        return self.estimates_of(LazyValues(values))

    def estimates_of(self, values: LazyValues) -> dict[int, RowEstimates]:
        """Row estimates of each plannable block."""
        outputs: dict[int, Floats] = {}
        estimates: dict[int, RowEstimates] = {}
        for block in self.order:
            rows = block.estimate(values, outputs)
            if rows is not None and block.index in self._wanted:
                estimates[block.index] = rows
            if block.is_read:
                outputs[block.index] = block.output(rows, outputs)
        return estimates

    def missing(self, block: int) -> tuple[str, ...]:
        """Tables that a block reads, itself or through others, and whose rows nobody knows."""
        needed: list[int] = []
        self._collect(block, needed)
        names = (name for index in needed for name in self._blocks[index].missing)
        return tuple(dict.fromkeys(names))

    def _prepare(self, index: int) -> BlockEstimator | None:
        """The estimator of a block, after those of the blocks that it reads."""
        if index in self._blocks or index in self._started:
            # A block that reads itself (a recursive CTE) is estimated as unknown.
            return self._blocks.get(index)
        self._started.add(index)
        block = self.template.blocks[index]
        below = {}
        for relation in block.relations:
            if relation.block is not None:
                prepared = self._prepare(relation.block)
                if prepared is not None:
                    below[relation.block] = prepared
        operands = [
            prepared
            for other in self.template.blocks
            if other.parent == index and other.role == "set_operand"
            if (prepared := self._prepare(other.index)) is not None
        ]
        for prepared in (*below.values(), *operands):
            prepared.is_read = True
        estimator = BlockEstimator(
            block, self.distributions, self.scenarios, below, operands, self._unknown, self._backend
        )
        # How large the block is with average literals: what distributions of its columns rest on.
        outputs: dict[int, Floats] = {}
        for other in self._blocks.values():
            outputs[other.index] = other.typical
        estimator.typical = estimator.output(estimator.estimate(LazyValues(self._unknown), outputs), outputs)
        self._blocks[index] = estimator
        return estimator

    def _collect(self, index: int, into: list[int]) -> None:
        if index in into:
            return
        estimator = self._blocks[index]
        for other in estimator.reads:
            self._collect(other, into)
        into.append(index)


class BlockEstimator:
    """Estimates of one block."""

    def __init__(
        self,
        block: Block,
        distributions: Distributions,
        scenarios: Scenarios,
        below: Mapping[int, BlockEstimator],
        operands: Sequence[BlockEstimator],
        unknown: Values,
        backend: str | None,
    ) -> None:
        self.block = block
        self.index = block.index
        self.is_read = False
        self.typical = np.full(scenarios.count, math.log(UNKNOWN_ROWS))
        self.missing: tuple[str, ...] = ()
        self._distributions = distributions
        self._scenarios = scenarios
        self._below = below
        self._kernels = Kernels.of(backend)
        self._pool: list[Any] = []
        self._operands = operands
        self.reads = (*below, *(operand.index for operand in operands))
        if block.graph is None:
            self._largest = self._without_graph()
            return
        self._graph = block.graph
        self._prepare_relations(block, unknown)
        self._prepare_joins(block.graph)
        self._joined = joins_share(block.graph, self.log_distinct, self.log_selectivity)
        self._log_groups = self._combinations(block)

    # -- once per template ----------------------------------------------------------------------------

    def _combinations(self, block: Block) -> float:
        """ln of the distinct combinations of what a block groups by."""
        by_relation: dict[int, dict[str, float]] = {}
        for column in block.group_by:
            distinct = self.column(column.relation, column.name).distinct
            by_relation.setdefault(column.relation, {})[column.name] = distinct
        total = 0.0
        for relation, columns in by_relation.items():
            table = block.relations[relation].table
            total += log_combinations(columns, () if table is None else self._distributions.joint(table))
        return total

    def column(self, relation: int, name: str) -> Distribution:
        """Distribution of a column of one of the block's relations."""
        entry = self.block.relations[relation]
        if entry.table is not None:
            return self._distributions.column(entry.table, name)
        rows = UNKNOWN_ROWS
        source = None if entry.block is None else self._below.get(entry.block)
        if source is not None:
            rows = math.exp(min(float(source.typical[0]), 100.0))
            inner = source.through(name)
            if inner is not None:
                return derived_column(inner, rows, source.groups_by_only(name))
        return Distribution(None, rows)

    def through(self, name: str) -> Distribution | None:
        """The column behind an output column of this block, if its name says which it is."""
        graph = self.block.graph
        if graph is None:
            # All operands of a set operation have the first one's column names.
            return self._operands[0].through(name) if self._operands else None
        visible = [i for i, relation in enumerate(self.block.relations) if name in relation.columns]
        if len(visible) > 1:
            grouped = {column.relation for column in self.block.group_by if column.name == name}
            visible = [i for i in visible if i in grouped] or visible[:1]
        return self.column(visible[0], name) if visible else None

    def groups_by_only(self, name: str) -> bool:
        """Whether the block's rows are unique in an output column, because it groups by that column."""
        return [column.name for column in self.block.group_by] == [name]

    def _without_graph(self) -> Floats:
        """ln rows of a block that cannot be planned: its largest input, or what is assumed of all."""
        known = [rows for relation in self.block.relations if (rows := self._table_rows(relation))]
        lanes = np.full(self._scenarios.count, math.log(max(known, default=UNKNOWN_ROWS)))
        deviates = self._scenarios.perturbations(f"block {self.index}", 1)[0]
        return np.asarray(np.maximum(lanes + UNKNOWN_ROWS_SPREAD * deviates, LEAST_LOG_ROWS))

    def _table_rows(self, relation: Relation) -> float | None:
        return None if relation.table is None else self._distributions.rows(relation.table)

    def _prepare_relations(self, block: Block, unknown: Values) -> None:
        count = len(block.relations)
        weights = self._scenarios.row_weights(f"rows {self.index}", count)
        highest = np.full(count, MAX_LOG_ROWS)
        fixed: list[tuple[float, float, float, float]] = []
        filtered: list[tuple[int, list[Any]]] = []
        self._derived: list[tuple[int, int]] = []
        self._typical_shares = [1.0] * count
        missing: list[str] = []
        for i, relation in enumerate(block.relations):
            spread = 0.0
            if relation.table is None:
                base = 0.0
                if relation.block is not None and relation.block in self._below:
                    self._derived.append((i, relation.block))
                else:
                    base, spread = math.log(UNKNOWN_ROWS), UNKNOWN_ROWS_SPREAD
            else:
                rows = self._distributions.rows(relation.table)
                if rows is None:
                    missing.append(relation.table)
                    base, spread = math.log(UNKNOWN_ROWS), UNKNOWN_ROWS_SPREAD
                else:
                    base = math.log(max(rows, 1.0))
                    highest[i] = base
            fixed.append((base, base, base, spread))
            filters = block.filters[i] if i < len(block.filters) else ()
            if filters:
                joint = () if relation.table is None else self._distributions.joint(relation.table)
                conjunction = Conjunction(filters, self._columns_of(i), joint)
                self._typical_shares[i] = math.exp(conjunction.evaluate(unknown)[0])
                filtered.append((i, native_terms(conjunction, self._columns_of(i), self._kernels)))
        self.missing = tuple(missing)
        limits = (LEAST_LOG_ROWS, EMPTY_LOG_ROWS, 1.0 / BUCKET_WIDTH)
        self._filters = self._kernels.filters.Filters(
            self._scenarios.count, fixed, weights, highest, limits, filtered
        )

    def _columns_of(self, relation: int) -> Callable[[str], Distribution]:
        return lambda name: self.column(relation, name)

    def _prepare_joins(self, graph: QueryGraph) -> None:
        names = graph.class_columns
        self._class_columns = [
            self.column(names[entry].relation, names[entry].name)
            if names
            else Distribution(None, UNKNOWN_ROWS)
            for entry in range(graph.class_member.size)
        ]
        parts: dict[str, list[float]] = {name: [] for name in ("best", "uniform", "upper", "lower", "spread")}
        for start, stop in pairwise(graph.class_start.tolist()):
            shares = [self._typical_shares[relation] for relation in graph.class_member[start:stop].tolist()]
            effective = effective_distinct(self._class_columns[start:stop], shares)
            for name, entries in parts.items():
                entries.extend(getattr(effective, name))
        vectors = {name: np.array(entries, np.float64) for name, entries in parts.items()}
        self.log_distinct = np.maximum(self._scenarios.spread_out(f"distinct {self.index}", **vectors), 0.0)
        pairs = [self._selective(graph, entry) for entry in range(graph.selective_start.size - 1)]
        logs = {
            name: np.log(np.array([getattr(pair, name) for pair in pairs], np.float64))
            for name in ("best", "uniform", "upper", "lower")
        }
        spread = np.array([pair.spread for pair in pairs], np.float64)
        self.log_selectivity = np.minimum(
            self._scenarios.spread_out(f"selective {self.index}", spread=spread, **logs), 0.0
        )
        for array in (self.log_distinct, self.log_selectivity):
            array.setflags(write=False)
        self._bound = bind_join_columns(self.block, graph, self._class_columns, self._columns_of)

    def _selective(self, graph: QueryGraph, entry: int) -> PairSelectivity:
        found: PairSelectivity | None = None
        for predicate in graph.predicates:
            if predicate.selective != entry:
                continue
            if predicate.left is None or predicate.right is None:
                pair = opaque_join()
            else:
                left = self.column(predicate.left.relation, predicate.left.name)
                right = self.column(predicate.right.relation, predicate.right.name)
                if predicate.operator in ("=", "is_not_distinct"):
                    pair = equality(left, right)
                elif predicate.operator in ("<", "<=", ">", ">=", "<>"):
                    pair = inequality(left, predicate.operator, right)
                else:
                    pair = opaque_join()
            found = pair if found is None else found.and_also(pair)
        return found or opaque_join()

    # -- per query ------------------------------------------------------------------------------------

    def estimate(self, values: LazyValues, outputs: Mapping[int, Floats]) -> RowEstimates | None:
        """Row estimates for literals by slot; ``outputs`` has ln rows of the blocks below."""
        if self.block.graph is None:
            return None
        log_rows = np.empty((len(self.block.relations), self._scenarios.count))
        try:
            filters = self._pool.pop()
        except IndexError:
            filters = self.filters()
        filters.rows(values.literals, values, self.added(outputs), log_rows)
        self._pool.append(filters)
        log_distinct = self.log_distinct
        if self._bound:
            log_distinct = log_distinct.copy()
            self.bind(values, log_distinct)
        return RowEstimates(log_rows, log_distinct, self.log_selectivity)

    def filters(self) -> Any:
        """The kernel that estimates the relations' rows, for one thread."""
        return self._filters.twin()

    def added(self, outputs: Mapping[int, Floats]) -> Floats | None:
        """ln rows of the blocks that this one reads, in their relations' rows; None: it reads none."""
        if not self._derived:
            return None
        added = np.zeros((len(self.block.relations), self._scenarios.count))
        for relation, below in self._derived:
            added[relation] = outputs[below]
        return added

    @property
    def adds(self) -> bool:
        """Whether the rows of blocks that this one reads are among its relations' rows."""
        return bool(self._derived)

    @property
    def binds(self) -> bool:
        """Whether literals change the distinct counts of join columns."""
        return bool(self._bound)

    def bind(self, values: LazyValues, log_distinct: Floats) -> None:
        """Correct ln distinct counts, shape (members, K), in place for a query's literals."""
        log_distinct[:] = self.log_distinct
        for bind in self._bound:
            bind(values.bound(), log_distinct)

    def output(self, rows: RowEstimates | None, outputs: Mapping[int, Floats]) -> Floats:
        """ln of the block's result rows, per lane."""
        if rows is None:
            known = [outputs[operand.index] for operand in self._operands if operand.index in outputs]
            return np.asarray(np.logaddexp.reduce(known)) if known else self._largest
        graph = self._graph
        if self._bound or graph.operators:
            joined = joins_share(graph, rows.log_distinct, rows.log_selectivity)
            joined = joined + operator_corrections(graph, rows)
        else:
            joined = self._joined
        total = np.clip(rows.log_rows.sum(axis=0) + joined, LEAST_LOG_ROWS, MAX_LOG_ROWS)
        if not self.block.aggregated:
            return np.asarray(total)
        if not self.block.group_by:
            return np.zeros_like(total)
        return log_cardenas(min(self._log_groups, MAX_LOG_ROWS), total)


def _columns_used(template: Template) -> dict[str, set[str]]:
    """Columns of base tables that estimates ask for, by table."""
    used: dict[str, set[str]] = {}

    def note(block: Block, column: ColumnRef | None) -> None:
        if column is not None and (table := block.relations[column.relation].table) is not None:
            used.setdefault(table, set()).add(column.name)

    for block in template.blocks:
        graph = block.graph
        if graph is None:
            continue
        for column in (*graph.class_columns, *block.group_by):
            note(block, column)
        for joined in graph.predicates:
            if joined.selective >= 0:
                note(block, joined.left)
                note(block, joined.right)
        stack: list[Predicate] = [predicate for filters in block.filters for predicate in filters]
        while stack:
            predicate = stack.pop()
            if isinstance(predicate, Comparison):
                note(block, predicate.column)
            elif isinstance(predicate, Opaque):
                for column in predicate.columns:
                    note(block, column)
            elif isinstance(predicate, Not):
                stack.append(predicate.part)
            else:
                stack.extend(predicate.parts)
    return used


def _slot_count(template: Template) -> int:
    return max((slot.index for slot in template.slots), default=-1) + 1
