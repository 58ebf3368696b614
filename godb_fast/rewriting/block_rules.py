"""What the rules that change one SELECT at a time have in common: they offer several forms of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Final, Protocol

from sqlglot import exp

from godb_fast.core import Schema
from godb_fast.rewriting.base import Change, Guard, Statement
from godb_fast.rewriting.join_block import JoinBlock, Unsuitable, block_at, selects
from godb_fast.sql.scopes import below

#: Forms of one statement that a rule offers: each costs the explorer a run.
MAX_CHANGES: Final = 6


class Forms(Protocol):
    """Forms of one block: names, the likeliest first, and how to change the block's SELECT."""

    def names(self, block: JoinBlock) -> Iterator[str]:
        """Names of the forms."""
        ...

    def apply(self, block: JoinBlock, name: str) -> None:
        """Change the block's SELECT in place to the form of that name."""
        ...


def changes(
    forms: Forms, statement: Statement, note: str, guards: tuple[Guard, ...] = ()
) -> Iterator[Change]:
    """The changes of a rule: see :func:`changed_trees`."""
    trees = changed_trees(forms, statement.tree, statement.schema, statement.dialect)
    for place, tree in islice(trees, MAX_CHANGES):
        yield Change(place, tree, guards, f"{note} ({place})")


def changed_trees(
    forms: Forms, tree: exp.Expression, schema: Schema, dialect: str
) -> Iterator[tuple[str, exp.Expression]]:
    """Every form of every SELECT of a statement, one at a time: its place, and the changed statement.

    Where several SELECTs have forms, the likeliest of each at once comes first; then the likeliest of each
    SELECT, then the second of each, and so on.
    """
    if any(isinstance(part, exp.With) and part.args.get("recursive") for part in below(tree)):
        # A recursive term may not be referenced from every place that we put relations to.
        return
    places: list[tuple[int, list[str]]] = []
    for number in range(len(selects(tree))):
        try:
            names = list(forms.names(block_at(tree.copy(), number, schema, dialect)))
        except Unsuitable:
            continue
        if names:
            places.append((number, names))
    if len(places) > 1:
        # A SELECT that has a form by itself may have none once one below it was changed.
        with suppress(Unsuitable):
            every = tree.copy()
            # From the last to the first: what is put below a SELECT comes after it, so numbers before stay.
            for number, names in reversed(places):
                forms.apply(block_at(every, number, schema, dialect), names[0])
            yield "all", every
    for rank in range(max((len(names) for _, names in places), default=0)):
        for number, names in places:
            if rank < len(names):
                changed = tree.copy()
                forms.apply(block_at(changed, number, schema, dialect), names[rank])
                yield f"{number}-{names[rank]}", changed
