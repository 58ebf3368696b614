"""What the rules that change one SELECT at a time have in common: they offer several forms of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Final, Protocol, TypeVar

from sqlglot import exp

from godb_fast.core import Schema
from godb_fast.rewriting.base import Change, Guard, Statement
from godb_fast.rewriting.join_block import Blocks, JoinBlock, Unsuitable, block_at
from godb_fast.sql.scopes import below, copied

#: What tells one form of a block from another.
Plan = TypeVar("Plan")
#: Forms of one statement that a rule offers: each costs the explorer a run.
MAX_CHANGES: Final = 6


class Forms(Protocol[Plan]):
    """Forms of one block, and how to change the block's SELECT."""

    def may_fit(self, select: exp.Select) -> bool:
        """Whether a SELECT with joins may have forms, by a look that costs little."""
        ...

    def plans(self, block: JoinBlock) -> Iterator[tuple[str, Plan]]:
        """Names and plans of the forms, the likeliest first; a plan holds for every copy of the block."""
        ...

    def apply(self, block: JoinBlock, plan: Plan) -> None:
        """Change the block's SELECT in place."""
        ...


def changes(
    forms: Forms[Plan], statement: Statement, note: str, guards: tuple[Guard, ...] = ()
) -> Iterator[Change]:
    """The changes of a rule: see :func:`changed_trees`."""
    trees = changed_trees(forms, statement.tree, statement.schema, statement.dialect, statement.blocks)
    for place, tree in islice(trees, MAX_CHANGES):
        yield Change(place, tree, guards, f"{note} ({place})")


def changed_trees(
    forms: Forms[Plan],
    tree: exp.Expression,
    schema: Schema,
    dialect: str,
    blocks: Blocks | None = None,
) -> Iterator[tuple[str, exp.Expression]]:
    """Every form of every SELECT of a statement, one at a time: its place, and the changed statement.

    Where several SELECTs have forms, the likeliest of each at once comes first; then the likeliest of each
    SELECT, then the second of each, and so on.
    """
    if any(isinstance(part, exp.With) and part.args.get("recursive") for part in below(tree)):
        # A recursive term may not be referenced from every place that we put relations to.
        return
    places: list[tuple[int, list[tuple[str, Plan]]]] = []
    blocks = blocks or Blocks(tree, schema, dialect)
    for number, select in enumerate(blocks.selects):
        if not (select.args.get("joins") and forms.may_fit(select)):
            continue
        try:
            plans = list(forms.plans(blocks.at(number)))
        except Unsuitable:
            continue
        if plans:
            places.append((number, plans))
    if len(places) > 1:
        # A SELECT that has a form by itself may have none once one below it was changed.
        with suppress(Unsuitable):
            every = copied(tree)
            # From the last to the first: what is put below a SELECT comes after it, so numbers before stay.
            for number, plans in reversed(places):
                forms.apply(block_at(every, number, schema, dialect), plans[0][1])
            yield "all", every
    for rank in range(max((len(plans) for _, plans in places), default=0)):
        for number, plans in places:
            if rank < len(plans):
                name, plan = plans[rank]
                changed = copied(tree)
                forms.apply(block_at(changed, number, schema, dialect), plan)
                yield f"{number}-{name}", changed
