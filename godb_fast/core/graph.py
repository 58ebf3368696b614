"""The join graph of one query block, in the form that the kernels read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from godb_fast.core.predicates import ColumnRef, JoinPredicate
from godb_fast.core.relation_set import MAX_MASKED, members
from godb_fast.core.steering import JoinTree
from godb_fast.errors import InvalidInput

Ints = NDArray[np.int64]


class JoinKind(IntEnum):
    """Kinds of join operators that the search can order. FULL joins are passed through."""

    INNER = 0
    LEFT = 1
    SEMI = 2
    ANTI = 3


@dataclass(frozen=True)
class JoinOperator:
    """A join that is not freely reorderable, as a hyperedge.

    A pair of relation sets may be joined by it only if one side holds all of ``left`` and the other all of
    ``right``. For SEMI and ANTI the side that holds ``left`` is the left (probing) input; for LEFT it is the
    preserved side, and either side may be built (a plan with it on the right is a RIGHT JOIN). The masks are
    total eligibility sets: Moerkotte, Fender and Eich, "On the correct and complete enumeration of the core
    search space", SIGMOD 2013.

    Parameters
    ----------
    kind : JoinKind
        INNER operators appear here only if a conflict with an outer, semi or anti join binds them.
    left, right : int
        Masks of the relations that must be present on either side.
    predicates : tuple of int
        Which of the graph's predicates this operator evaluates.
    """

    kind: JoinKind
    left: int
    right: int
    predicates: tuple[int, ...] = ()


def _frozen(values: Any, width: int | None = None) -> Ints:
    array = np.ascontiguousarray(values, dtype=np.int64)
    if width is not None:
        array = array.reshape(-1, width)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class QueryGraph:
    """Relations and what connects them, in three separate structures.

    *Connectivity* (``edges`` and ``operators``) says which joins are possible, *equivalence classes* serve
    estimates, *predicates* serve rendering. One structure for all three is a known trap: a transitive
    equality must connect, must not be counted twice, and must be rendered once.

    Parameters
    ----------
    relations : tuple of str
        Names (aliases), unique.
    edges : int64 array, shape (m, 2)
        Pairs of relation numbers that a join predicate connects, transitive equalities included.
    operators : tuple of JoinOperator
        Ordering constraints of outer, semi and anti joins, and of inner joins that these bind.
        Empty for a block with inner joins only.
    class_start, class_member : int64 arrays, shapes (c + 1,) and (k,)
        Equivalence classes of joined columns, in CSR form: the relations of class i are
        ``class_member[class_start[i]:class_start[i + 1]]``, at most one column per relation.
    class_columns : tuple of ColumnRef, length k
        The column behind each entry of ``class_member``; may be empty if the caller has no columns.
    selective_start, selective_member : int64 arrays, shapes (p + 1,) and (q,)
        Join predicates that no class covers (inequalities, functions of several columns), CSR: predicate i
        can be evaluated once all of its relations are joined. They multiply the row count by a selectivity.
    predicates : tuple of JoinPredicate
        All join predicates as written, for rendering. Empty if the graph was built without SQL.
    written : JoinTree or None
        A join tree that the operators allow, the last resort of large searches. Not needed without operators.

    Raises
    ------
    InvalidInput
        On duplicate names, relation numbers out of range, loops, or a constraint beyond 62 relations.
    """

    relations: tuple[str, ...]
    edges: Ints
    operators: tuple[JoinOperator, ...] = ()
    class_start: Ints = field(default_factory=lambda: np.zeros(1, np.int64))
    class_member: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    class_columns: tuple[ColumnRef, ...] = ()
    selective_start: Ints = field(default_factory=lambda: np.zeros(1, np.int64))
    selective_member: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    predicates: tuple[JoinPredicate, ...] = ()
    written: JoinTree | None = None

    def __post_init__(self) -> None:
        assign = object.__setattr__
        assign(self, "relations", tuple(self.relations))
        count = len(self.relations)
        if len(set(self.relations)) != count:
            twice = next(name for name in self.relations if self.relations.count(name) > 1)
            raise InvalidInput(f"relation {twice!r} appears twice in the graph; give each its own alias")
        edges = _frozen(self.edges, 2)
        if edges.size:
            if edges.min() < 0 or edges.max() >= count:
                raise InvalidInput(f"an edge names relation {int(edges.max())}, but the graph has {count}")
            edges = np.sort(edges, axis=1)
            if (edges[:, 0] == edges[:, 1]).any():
                raise InvalidInput("an edge joins a relation with itself; make it a filter of that relation")
            edges = np.unique(edges, axis=0)
        assign(self, "edges", _frozen(edges, 2))
        for start, member in (("class_start", "class_member"), ("selective_start", "selective_member")):
            starts, entries = _frozen(getattr(self, start)), _frozen(getattr(self, member))
            if (
                starts.size == 0
                or starts[0] != 0
                or starts[-1] != entries.size
                or (np.diff(starts) < 0).any()
            ):
                raise InvalidInput(f"{start} is not a list of offsets into {member}")
            if entries.size and (entries.min() < 0 or entries.max() >= count):
                raise InvalidInput(f"{member} names a relation that the graph does not have")
            assign(self, start, starts)
            assign(self, member, entries)
        if self.operators and count > MAX_MASKED:
            raise InvalidInput(
                f"outer and semi joins are ordered for at most {MAX_MASKED} relations, not {count}"
            )
        everything = (1 << count) - 1
        for operator in self.operators:
            if (operator.left | operator.right) & ~everything or operator.left & operator.right:
                raise InvalidInput(f"operator {operator} does not fit a graph of {count} relations")

    @classmethod
    def from_edges(cls, relations: int | Sequence[str], edges: Sequence[tuple[int, int]]) -> QueryGraph:
        """Graph with one selectivity per edge and no classes, as textbooks draw it.

        ``RowEstimates.log_selectivity`` then has one row per edge, in the order of the graph's ``edges``
        (each pair ascending, pairs sorted, duplicates merged).
        """
        names = tuple(f"r{i}" for i in range(relations)) if isinstance(relations, int) else tuple(relations)
        bare = cls(names, np.asarray(edges, np.int64).reshape(-1, 2))
        count = len(bare.edges)
        return cls(
            names,
            bare.edges,
            selective_start=np.arange(0, 2 * count + 1, 2, dtype=np.int64),
            selective_member=bare.edges.ravel(),
        )

    @property
    def size(self) -> int:
        """Number of relations."""
        return len(self.relations)

    @cached_property
    def adjacency(self) -> Ints:
        """int64, shape (n,): bit j of entry i is set if an edge joins i and j. Only up to 62 relations."""
        if self.size > MAX_MASKED:
            raise InvalidInput(f"{self.size} relations do not fit a mask; use edges")
        rows = [0] * self.size
        for left, right in self.edges.tolist():
            rows[left] |= 1 << right
            rows[right] |= 1 << left
        return _frozen(np.array(rows, np.int64))

    @cached_property
    def components(self) -> tuple[tuple[int, ...], ...]:
        """Connected components, each ascending; several mean that a cross product is needed."""
        parent = list(range(self.size))

        def find(node: int) -> int:
            while parent[node] != node:
                parent[node] = parent[parent[node]]
                node = parent[node]
            return node

        for left, right in self.edges.tolist():
            parent[find(left)] = find(right)
        groups: dict[int, list[int]] = {}
        for node in range(self.size):
            groups.setdefault(find(node), []).append(node)
        return tuple(sorted(tuple(group) for group in groups.values()))

    def names(self, mask: int) -> str:
        """Names of a relation set, for messages."""
        return ",".join(self.relations[i] for i in members(mask))
