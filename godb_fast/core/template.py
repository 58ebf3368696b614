"""A query without its literals: a tree of blocks, each with its join graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from godb_fast.core.graph import QueryGraph
from godb_fast.core.predicates import ColumnRef, Predicate

#: SQL text with slot numbers where literals go.
Segments: TypeAlias = tuple["str | int", ...]


@dataclass(frozen=True)
class LiteralSlot:
    """A place where a literal stands in the text.

    ``kind`` is ``integer``, ``decimal``, ``string``, ``parameter`` (bound by the driver: ``?``, ``$1``,
    ``:name``) or ``list`` (all literals of an IN list, however many).
    """

    index: int
    kind: str


@dataclass(frozen=True)
class Relation:
    """One entry of a block's FROM (or one EXISTS/IN subquery turned into a semi or anti join).

    Parameters
    ----------
    alias : str
        Unique in its block.
    table : str or None
        Canonical name of a base table, None if another block computes it.
    block : int or None
        Number of the block (derived table, CTE, view) that computes it.
    columns : tuple of str
        All columns in the table's order, so that ``*`` keeps its meaning.
    """

    alias: str
    table: str | None = None
    block: int | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Block:
    """One SELECT of the statement.

    Parameters
    ----------
    index : int
        Position in ``Template.blocks``.
    parent : int or None
        The block that contains it.
    role : str
        ``main``, ``cte``, ``derived``, ``view``, ``subquery``, ``set_operand``.
    relations : tuple of Relation
        In the order of FROM.
    graph : QueryGraph or None
        None if the block cannot be planned; ``reason`` says why.
    filters : tuple, one tuple of Predicate per relation
        Conjuncts on that relation alone.
    group_by : tuple of ColumnRef
        Plain grouping columns (for row estimates of a derived block).
    aggregated, distinct : bool
        The block groups, or removes duplicates.
    reason : str or None
        Why this block keeps the engine's own plan.
    materialized : bool or None
        For a CTE: whether the statement says MATERIALIZED (True) or NOT MATERIALIZED (False).
    sort_keys : int
        Keys of ORDER BY.
    limited : bool
        The block has a LIMIT or OFFSET.
    """

    index: int
    parent: int | None
    role: str
    relations: tuple[Relation, ...]
    graph: QueryGraph | None
    filters: tuple[tuple[Predicate, ...], ...] = ()
    group_by: tuple[ColumnRef, ...] = ()
    aggregated: bool = False
    distinct: bool = False
    reason: str | None = None
    materialized: bool | None = None
    sort_keys: int = 0
    limited: bool = False


@dataclass(frozen=True)
class Cut:
    """A statement's own LIMIT, whose order is not total: which rows it keeps has to be looked at.

    Under every plan they are the same unless rows that tie stand on both sides of the cut; one row more than
    the statement asks for shows whether they do.

    Parameters
    ----------
    limit : int
        Rows that the statement keeps.
    keys : tuple of int or str
        Leading keys of ORDER BY: positions in the result, or names of its columns.
    """

    limit: int
    keys: tuple[int | str, ...]

    def positions(self, columns: Sequence[str]) -> tuple[int, ...]:
        """Positions of the keys in a result; those behind a name that is not one column's tell nothing."""
        found: list[int] = []
        for key in self.keys:
            if isinstance(key, str):
                if columns.count(key) != 1:
                    break
                key = columns.index(key)
            found.append(key)
        return tuple(found)


@dataclass(frozen=True, eq=False)
class Template:
    """What all queries of one fingerprint share.

    Parameters
    ----------
    fingerprint : int
        64-bit hash of ``text`` (as a signed integer).
    text : str
        The normalized text; compared on each hit, so that a hash collision never mixes two queries.
    dialect : str
        sqlglot's name of the dialect.
    slots : tuple of LiteralSlot
        In the order of the text.
    blocks : tuple of Block
        Block 0 is the outermost; empty if the statement passes through.
    reason : str or None
        Why the whole statement passes through unchanged, None if some block can be planned.
    syntax : object
        The parsed statement, owned by ``godb_fast.sql``.
    order_sensitive : str or None
        What in the syntax makes the answer depend on the plan (LIMIT without a total order, sampling …);
        such a statement also has a ``reason``.
    cut : Cut or None
        Where that is all, and each answer shows whether it depended on the plan.
    """

    fingerprint: int
    text: str
    dialect: str
    slots: tuple[LiteralSlot, ...] = ()
    blocks: tuple[Block, ...] = ()
    reason: str | None = None
    syntax: Any = field(default=None, repr=False)
    order_sensitive: str | None = None
    cut: Cut | None = None

    @property
    def plannable(self) -> tuple[Block, ...]:
        """Blocks with a join to order (those of views are there for estimates only)."""
        return tuple(
            block
            for block in self.blocks
            if block.graph is not None and block.graph.size > 1 and block.role != "view"
        )
