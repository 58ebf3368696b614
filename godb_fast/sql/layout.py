"""What rendering needs of a block: where its parts stand among the tokens, and which text goes where."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from godb_fast.core import Rewrite, Segments
from godb_fast.sql.clauses import Span
from godb_fast.sql.tokens import Tokens


@dataclass(frozen=True)
class Leaf:
    """How a relation is written as an input of a join.

    The tokens of ``span``; with ``renamed``, only those of the name, followed by that alias; with
    ``columns``, those of a subquery, followed by the alias and a list of column names.
    """

    span: Span
    alias: str
    renamed: bool = False
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Layout:
    """One block in the text.

    Parameters
    ----------
    origin, body_end : int
        The FROM token, and the end of FROM and WHERE: what a join tree replaces.
    leaves : tuple of Leaf
        By relation.
    where : tuple of (int or None, Span, bool)
        Conjuncts of WHERE in order: number of the conjunct (None for one that always stays), its tokens, and
        whether it needs parentheses.
    conditions : mapping of int to segments
        Text of the numbered conjuncts, columns qualified.
    stays : frozenset of int
        Numbers that are rendered in WHERE: filters of relations that no outer join pads, and what has to
        wait for all joins.
    leaf_filters : mapping of int to tuple of int
        Conjuncts to apply to a relation before it is joined, because WHERE would come too late.
    sheltered_filters : mapping of int to tuple of int
        Filters of WHERE that are repeated at the relation where it lies below the right input of a RIGHT
        JOIN: DuckDB pushes nothing from WHERE into there.
    edits : mapping of int to str
        Other tokens that change with the FROM clause: ``*``, and columns that USING had merged.
    columns : tuple of str
        By entry of the graph's ``class_member``: the column as it is written.
    """

    origin: int
    body_end: int
    leaves: tuple[Leaf, ...]
    where: tuple[tuple[int | None, Span, bool], ...]
    conditions: Mapping[int, Segments]
    stays: frozenset[int]
    leaf_filters: Mapping[int, tuple[int, ...]]
    sheltered_filters: Mapping[int, tuple[int, ...]]
    edits: Mapping[int, str]
    columns: tuple[str, ...] = ()


@dataclass(eq=False)
class Syntax:
    """What ``Template.syntax`` holds: the tokens, a layout per steerable block, rendered segments by
    steering (least recently used), and the rewrites by name.

    Rewrites are found by ``godb_fast.rewriting``, which fills them in (None: nobody has asked yet); so that
    engines can render them without knowing that room.
    """

    tokens: Tokens
    layouts: dict[int, Layout]
    rendered: OrderedDict[object, Segments] = field(default_factory=OrderedDict)
    rewrites: dict[str, Rewrite] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
