"""Row counts of sub-plans, out of plans that an engine executed.

Only a *complete* count teaches something. What falsifies counts, and what is done about it:

============================================  =============================================================
an outer LIMIT stops its inputs early         nothing below counts, down to the next operator that consumes
                                              its whole input (sort, hash table, aggregation)
who asked may have read a part (a portal;     likewise, from the root on
a server's log does not tell)
a merge join stops with its shorter input     both inputs, likewise
the inner side of a nested loop               looked up per outer row: the inner side does not count
an empty build side ends a hash join          the probe side does not count
semi, anti and outer joins                    neither the join nor what holds it counts
filters that DuckDB derives from a scan's     what holds that scan counts from the topmost join on
join partners (by statistics, dynamically)    the filtered column; below a top-N, dynamic ones never
never executed branches                       do not count
a partition of parallel workers               summed where the scan is shared, averaged where each worker
                                              runs all of it
conditions that follow from equal columns     where a filter on a joined column, or two columns that
                                              equal a third, filter a relation: only with all of them
scans that look alike (self-joins in DuckDB)  only sub-plans that hold all of them, or none
============================================  =============================================================
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from godb_fast.core import Block, Observation, PhysicalNode, PhysicalPlan
from godb_fast.core.predicates import ColumnRef, Comparison, Not, Opaque, Predicate
from godb_fast.core.relation_set import relation_set
from godb_fast.feedback.corrections import Corrections, SubplanQuery
from godb_fast.feedback.shapes import Floats

#: Plans from these sources hold measured rows; an estimate teaches nothing.
MEASURED: Final = frozenset({"profile", "analyze", "auto_explain"})
#: Operators that read all of their input before they give the first row.
_BLOCKING: Final = frozenset({"Hash", "Sort", "ORDER_BY", "TOP_N"})
#: Operators with one input that neither add nor drop rows.
_PASSING: Final = frozenset(
    {
        "Hash",
        "Sort",
        "Incremental Sort",
        "Materialize",
        "Memoize",
        "Gather",
        "Gather Merge",
        "PROJECTION",
        "ORDER_BY",
    }
)
_WORD: Final = re.compile(r"\w+")
_INNER: Final = frozenset({None, "Inner", "INNER"})


@dataclass(frozen=True)
class SubplanRows:
    """A sub-plan of a block and the rows that it was seen to have."""

    relations: int
    rows: float


@dataclass(frozen=True)
class _Place:
    """Where a node stands: what is known of the way from the root to it."""

    #: Its consumer may not have read all of its rows.
    cut: bool = False
    #: It ran once per row of something else, or perhaps not at all.
    repeated: bool = False
    #: Several processes run it.
    workers: bool = False


class ExecutionFeedbackCollector:
    """Reads observations, and teaches corrections what their plans showed.

    Parameters
    ----------
    corrections : Corrections

    Attributes
    ----------
    skipped : Counter
        How many observations taught nothing, by reason.
    """

    def __init__(self, corrections: Corrections) -> None:
        self.corrections = corrections
        self.skipped: Counter[str] = Counter()

    def collect(self, observation: Observation, block: Block, query: SubplanQuery, log_rows: Floats) -> int:
        """Learn from one execution; how many sub-plans it showed.

        Parameters
        ----------
        observation : Observation
        block : Block
            Of the statement's template.
        query : SubplanQuery
            The block under the literals that were executed.
        log_rows : float64 array, shape (S,)
            The engine's or our own estimates, uncorrected.
        """
        return self.teach(self.read(observation, block), query, log_rows)

    def read(self, observation: Observation, block: Block) -> list[SubplanRows]:
        """What one execution showed of a block; nothing, and noted why, if its rows were not counted."""
        reason = unusable(observation)
        if reason is not None or observation.plan is None:
            self.skipped[reason or "no plan"] += 1
            return []
        found = subplan_rows(observation.plan, block)
        if not found:
            self.skipped["no complete count"] += 1
        return found

    def teach(self, shown: Sequence[SubplanRows], query: SubplanQuery, log_rows: Floats) -> int:
        """Learn from what an execution showed of a block; of how many sub-plans."""
        if not shown:
            return 0
        masks, rows = zip(*((each.relations, each.rows) for each in shown), strict=True)
        return self.corrections.observe(query, log_rows, masks, rows)


def unusable(observation: Observation) -> str | None:
    """Why nothing can be learned of row counts from an observation; None if something may."""
    if observation.outcome != "ok":
        return f"outcome {observation.outcome}"
    if observation.plan is None:
        return "no plan"
    source = observation.plan_source or observation.plan.source
    if source not in MEASURED:
        return f"plan from {source}"
    return None


def subplan_rows(plan: PhysicalPlan, block: Block) -> list[SubplanRows]:
    """The complete counts of a block's sub-plans in an executed plan, the topmost first."""
    return _Reader(plan, block).read()


class _Reader:
    def __init__(self, plan: PhysicalPlan, block: Block) -> None:
        self._plan = plan
        self._size = len(block.relations)
        tables: dict[str, list[int]] = {}
        for number, relation in enumerate(block.relations):
            if relation.table is not None:
                tables.setdefault(_bare(relation.table), []).append(number)
        self._tables = tables
        self._aliases = {relation.alias: number for number, relation in enumerate(block.relations)}
        self._block = block
        self._implied = _implied(block)
        scans = [node for node in plan.root.walk() if node.kind == "scan" and node.table is not None]
        self._scanned = Counter(_bare(str(node.table)) for node in scans)
        self._named = Counter(node.alias for node in scans if node.alias is not None)
        #: Per node: scans below as a count per relation group; None if it holds more than the block's joins.
        self._below: dict[int, Counter[int] | None] = {}
        self._shared: dict[int, bool] = {}
        #: Nodes whose counts filters from elsewhere have lowered.
        self._lowered: set[int] = set()
        self._equal = _equal_names(block)

    def read(self) -> list[SubplanRows]:
        nodes = list(self._plan.root.walk())
        for node in reversed(nodes):
            self._summarize(node)
        if not self._named:
            self._find_lowered()
        found: dict[int, float | None] = {}
        stack = [(self._plan.root, _Place(cut=self._plan.source == "auto_explain"))]
        while stack:
            node, place = stack.pop()
            self._note(node, place, found)
            stack.extend(reversed(self._inputs(node, place)))
        return [SubplanRows(mask, rows) for mask, rows in found.items() if rows is not None]

    # -- what lies below a node ----------------------------------------------------------------------------

    def _summarize(self, node: PhysicalNode) -> None:
        key = id(node)
        children = [child for child in node.children if _is_input(child)]
        self._shared[key] = bool(node.extra.get("Parallel Aware")) or any(
            self._shared[id(child)] for child in children
        )
        self._below[key] = self._relations(node, children)

    def _relations(self, node: PhysicalNode, children: list[PhysicalNode]) -> Counter[int] | None:
        if len(children) != len(node.children):
            # A subplan computes part of a condition.
            return None
        if node.operator == "Bitmap Heap Scan" or not children:
            relation = self._scan(node)
            return None if relation is None else Counter({relation: 1})
        below = [self._below[id(child)] for child in children]
        if any(part is None for part in below):
            return None
        if len(children) == 1:
            if node.kind in ("filter", "projection") or node.operator in _PASSING:
                return below[0]
            return None
        inner = node.join_type in _INNER and node.kind in ("join", "cross_product")
        if len(children) == 2 and inner:
            return (below[0] or Counter()) + (below[1] or Counter())
        return None

    def _scan(self, node: PhysicalNode) -> int | None:
        """The relation that a scan reads, or the first of those that look like it."""
        if node.kind != "scan" or node.table is None:
            return None
        table = _bare(node.table)
        if node.alias is not None:
            number = self._aliases.get(node.alias)
            if number is None or self._named[node.alias] != 1:
                return None
            named = self._block.relations[number].table
            return number if named is not None and _bare(named) == table else None
        group = self._tables.get(table)
        # Another block may read the same table.
        return group[0] if group is not None and self._scanned[table] == len(group) else None

    def _mask(self, node: PhysicalNode) -> int | None:
        below = self._below[id(node)]
        if below is None:
            return None
        mask = 0
        for relation, count in below.items():
            group = [relation]
            if not self._named:
                # DuckDB's plans leave aliases out: scans are told apart by their tables.
                group = self._tables[_bare(str(self._block.relations[relation].table))]
            if count != len(group):
                return None
            for each in group:
                mask |= 1 << each
        return mask

    def _find_lowered(self) -> None:
        """DuckDB filters scans by what it knows of their join partners: from statistics, and while it runs.

        Such a count is right again at the topmost join that compares one of the columns equal to the filtered
        one; a top-N's filters leave nothing right.
        """
        stack: list[tuple[PhysicalNode, tuple[PhysicalNode, ...]]] = [(self._plan.root, ())]
        while stack:
            node, path = stack.pop()
            if node.kind in ("scan", "filter"):
                dynamic = _words(str(node.extra.get("Dynamic Filters", "")))
                names = {name for text in node.predicates for name in _words(text)} | dynamic
                equal = {other for name in names for other in self._equal.get(name, ())}
                if equal or dynamic:
                    joins = [
                        place
                        for place, above in enumerate(path)
                        if above.kind == "join"
                        and any(equal & _words(condition) for condition in above.predicates)
                    ]
                    limited = dynamic and any(above.operator == "TOP_N" for above in path)
                    # Without such a join the filter comes from anywhere.
                    first = joins[0] + 1 if joins and not limited else 0
                    self._lowered.update(id(below) for below in (*path[first:], node))
            stack.extend((child, (*path, node)) for child in node.children)

    # -- which counts are complete -------------------------------------------------------------------------

    def _note(self, node: PhysicalNode, place: _Place, found: dict[int, float | None]) -> None:
        mask = self._mask(node)
        if mask is None or mask in found:
            return
        if any(mask & filtered and needed & ~mask for filtered, needed in self._implied):
            return
        rows = node.rows
        complete = rows is not None and not place.cut and not place.repeated and node.loops != 0
        complete = complete and id(node) not in self._lowered
        if not complete or rows is None:
            if node.kind == "filter" and node.predicates:
                # What comes out is not known, and what goes in is not the sub-plan.
                found[mask] = None
            return
        loops = node.loops or 1.0
        if place.workers and loops > 1 and not self._shared[id(node)]:
            rows /= loops
        # Averages over loops are rounded.
        found[mask] = float(round(rows))

    def _inputs(self, node: PhysicalNode, place: _Place) -> list[tuple[PhysicalNode, _Place]]:
        cut = place.cut
        if node.kind == "limit":
            cut = True
        elif node.operator in _BLOCKING or node.kind == "aggregate":
            # Groups that come in order are handed out one by one.
            cut = cut and node.kind == "aggregate" and _in_order(node)
        workers = place.workers or node.operator in ("Gather", "Gather Merge")
        inputs = [child for child in node.children if _is_input(child)]
        join = node.kind in ("join", "cross_product") and len(inputs) == 2
        places = []
        for child in node.children:
            if not _is_input(child):
                # Subplans run as often as they are asked.
                places.append((child, _Place(True, True, workers)))
                continue
            below = _Place(cut, place.repeated, workers)
            if join:
                below = _side(node, inputs, child, below)
            elif node.operator == "Materialize" and child.loops == 1:
                below = replace(below, repeated=False)
            places.append((child, below))
        return places


def _side(node: PhysicalNode, inputs: list[PhysicalNode], child: PhysicalNode, place: _Place) -> _Place:
    """Where an input of a join stands."""
    build = child is inputs[1]
    if "Merge" in node.operator or "MERGE" in node.operator:
        return replace(place, cut=True)
    if node.operator == "Nested Loop":
        if not build:
            return place
        # Behind a Materialize it ran once, if no first match ended it.
        stopped = node.extra.get("Inner Unique") is True or node.join_type not in _INNER
        return replace(place, cut=place.cut or stopped or child.operator != "Materialize", repeated=True)
    if build:
        return replace(place, cut=False)
    if not inputs[1].rows:
        # An empty hash table: what would probe it may never have run.
        return replace(place, cut=True, repeated=True)
    return place


def _implied(block: Block) -> list[tuple[int, int]]:
    """Masks of relations that engines filter by a condition of other relations, and of those others.

    A filter on a joined column is repeated for the columns equal to it. Two columns of one relation that both
    equal a third are compared with each other.
    """
    graph = block.graph
    if graph is None:
        return []
    groups: list[set[ColumnRef]] = []
    for start, stop in pairwise(graph.class_start.tolist()):
        groups.append(set(graph.class_columns[start:stop]))
    for predicate in graph.predicates:
        if predicate.operator == "=" and predicate.left is not None and predicate.right is not None:
            groups.append({predicate.left, predicate.right})
    found = []
    for group in _merged(groups):
        everyone = relation_set({column.relation for column in group})
        twice = Counter(column.relation for column in group)
        found += [(1 << relation, everyone) for relation, columns in twice.items() if columns > 1]
        for column in group:
            filters = block.filters[column.relation] if block.filters else ()
            if any(column.name == name for part in filters for name in _column_names(part)):
                found.append((everyone, 1 << column.relation))
    return found


def _merged(groups: Iterable[set[Any]]) -> list[set[Any]]:
    """Groups that share a member, united."""
    merged: list[set[Any]] = []
    for group in groups:
        touched = [other for other in merged if other & group]
        merged = [other for other in merged if not other & group] + [group.union(*touched)]
    return merged


def _equal_names(block: Block) -> dict[str, set[str]]:
    """For the name of each joined column the names of the columns that joins compare it with, and its own."""
    graph = block.graph
    groups: list[set[str]] = []
    if graph is not None:
        columns = graph.class_columns
        for start, stop in pairwise(graph.class_start.tolist()):
            groups.append({column.name.lower() for column in columns[start:stop]})
        for predicate in graph.predicates:
            sides = (predicate.left, predicate.right)
            groups.append({column.name.lower() for column in sides if column is not None})
    return {name: group for group in _merged(groups) for name in group}


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _column_names(predicate: Predicate) -> Iterator[str]:
    stack = [predicate]
    while stack:
        part = stack.pop()
        if isinstance(part, Comparison):
            yield part.column.name
        elif isinstance(part, Opaque):
            yield from (column.name for column in part.columns)
        elif isinstance(part, Not):
            stack.append(part.part)
        else:
            stack.extend(part.parts)


def _is_input(node: PhysicalNode) -> bool:
    return node.extra.get("Parent Relationship") not in ("SubPlan", "InitPlan")


def _in_order(node: PhysicalNode) -> bool:
    return node.operator in ("Group", "Unique") or node.extra.get("Strategy") == "Sorted"


def _bare(table: str) -> str:
    return table.rsplit(".", 1)[-1].strip('"').lower()
