"""Predicates as the estimator reads them: columns, operators, and where each compared value comes from.

Values are kept apart from structure: a :class:`Slot` is a place in the text where a literal or a parameter
stands, so that a known template with new literals is re-estimated without parsing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class ColumnRef:
    """A column of one relation of a block: the relation's number and the column's name in its table."""

    relation: int
    name: str


@dataclass(frozen=True)
class Slot:
    """A literal (or a list of literals, after IN) whose value differs between queries of one template."""

    index: int


@dataclass(frozen=True)
class Constant:
    """A value that is part of the template: NULL, a boolean, an interval, a folded expression.

    Numbers are floats, times are seconds since 1970 as floats, text is ``str``; None is NULL.
    """

    value: Any


@dataclass(frozen=True)
class Comparison:
    """``column operator operands``.

    ``operator`` is one of ``= <> < <= > >= in between like ilike is_null is_distinct is_not_distinct``.
    ``between`` has two operands, ``is_null`` none, ``in`` one Slot for a literal list or several operands.
    ``function`` names what is applied to the column before comparing (``lower``, ``substring``, ``year``
    …), else None. ``shift`` is added to the operand's value (date arithmetic with a constant interval, in
    seconds; plain arithmetic with a constant).
    """

    operator: str
    column: ColumnRef
    operands: tuple[Slot | Constant, ...] = ()
    function: str | None = None
    shift: float = 0.0


@dataclass(frozen=True)
class Opaque:
    """A predicate that is not modelled (two columns of one relation, an unknown function).

    ``hint`` names its nearest kind: ``column_comparison:=``, ``column_comparison:<``, ``function``,
    ``subquery``, ``other``.
    """

    hint: str
    columns: tuple[ColumnRef, ...] = ()


@dataclass(frozen=True)
class And:
    parts: tuple[Predicate, ...]


@dataclass(frozen=True)
class Or:
    parts: tuple[Predicate, ...]


@dataclass(frozen=True)
class Not:
    part: Predicate


Predicate: TypeAlias = Comparison | Opaque | And | Or | Not


@dataclass(frozen=True)
class JoinPredicate:
    """One conjunct that mentions two relations or more, as it is rendered.

    Parameters
    ----------
    relations : int
        Mask of the relations mentioned (of the block's own level).
    sql : tuple of (str or int)
        Text segments, with slot numbers between them.
    left, right : ColumnRef or None
        The two columns of ``left operator right`` when it has that form.
    operator : str or None
        ``=``, ``<`` and so on, for that form.
    equivalence : int
        Index of the equivalence class that covers this predicate for estimates, or -1.
    selective : int
        Index into the graph's selective predicates, or -1.
    """

    relations: int
    sql: tuple[str | int, ...]
    left: ColumnRef | None = None
    right: ColumnRef | None = None
    operator: str | None = None
    equivalence: int = -1
    selective: int = -1
