"""What a rule gets and what it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from sqlglot import exp

from godb_fast.core import Guard, Rewrite, Schema, Template
from godb_fast.sql.scopes import below, copied, fold
from godb_fast.sql.tokens import Tokens

if TYPE_CHECKING:
    from godb_fast.rewriting.join_block import Blocks
    from godb_fast.rewriting.names import Names

__all__ = ["Change", "Guard", "Refused", "Rewrite", "Rule", "Statement"]


class Refused(Exception):
    """Why a rule leaves a place alone; never leaves this room."""


@dataclass(eq=False)
class Statement:
    """A template's syntax tree, in which stand-ins (integers and strings) take the places of literals.

    Parameters
    ----------
    tree : Expression
        To read, never to change: :meth:`fresh` gives a copy.
    tokens : Tokens
        The template's own text.
    """

    template: Template
    schema: Schema
    tree: exp.Expression
    tokens: Tokens

    @property
    def dialect(self) -> str:
        """``duckdb`` or ``postgres``."""
        return self.template.dialect

    def fresh(self) -> exp.Expression:
        """A deep copy of the tree; nodes are in the order of :func:`godb_fast.sql.scopes.below` in both."""
        return copied(self.tree)

    def changed(self, tree: exp.Expression) -> Statement:
        """The same statement in other words."""
        return Statement(self.template, self.schema, tree, self.tokens)

    def slot(self, node: exp.Expression) -> int | None:
        """The slot whose stand-in a literal is."""
        return self.tokens.stand_ins.get(node.name) if isinstance(node, exp.Literal) else None

    @cached_property
    def names(self) -> Names:
        """What each column of :attr:`tree` is."""
        from godb_fast.rewriting.names import Names

        return Names(self.tree, self.schema, self.dialect)

    @cached_property
    def blocks(self) -> Blocks:
        """The joins of each SELECT of :attr:`tree`."""
        from godb_fast.rewriting.join_block import Blocks

        return Blocks(self.tree, self.schema, self.dialect)

    def unused(self, wanted: str, tree: exp.Expression | None = None) -> str:
        """A name that no identifier of the statement has: the wanted one, or that with a number."""
        taken = {
            fold(part, "duckdb")
            for part in below(self.tree if tree is None else tree)
            if isinstance(part, exp.Identifier)
        }
        taken.update(word.strip('"').lower() for word in self.tokens.words)
        number, name = 1, wanted
        while name in taken:
            number += 1
            name = f"{wanted}_{number}"
        return name


@dataclass(frozen=True, eq=False)
class Change:
    """One application of a rule.

    Parameters
    ----------
    place : str
        What tells it apart from other applications of the rule to the same statement; the same in every
        process. Letters, digits and ``_ - . ,``.
    tree : Expression
        The whole statement, changed.
    guards : tuple of Guard
        What the proof asks of the literals.
    note : str
        One sentence on what was done.
    """

    place: str
    tree: exp.Expression
    guards: tuple[Guard, ...] = ()
    note: str = ""


class Rule(Protocol):
    """A rewrite rule.

    The changed statement has the same output columns (names, order and types) and the same multiset of rows,
    in the order of ORDER BY; its new text uses no function that the statement did not, but those of
    PostgreSQL and DuckDB alike that :mod:`.purity` knows.
    """

    @property
    def name(self) -> str:
        """Name with version, as ``decorrelate_aggregate@1``."""
        ...

    def changes(self, statement: Statement) -> Iterator[Change]:
        """Applications of the rule: one a place, and one of all places where there are several."""
        ...
