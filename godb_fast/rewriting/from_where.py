"""FROM and WHERE of a SELECT, written anew from inputs and conjuncts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from sqlglot import exp

from godb_fast.rewriting.join_block import Conjunct
from godb_fast.sql.scopes import below, copied

#: A conjunct, and how it is written at this place.
Written: TypeAlias = tuple[Conjunct, exp.Expression]


def set_body(
    select: exp.Select,
    core: Sequence[tuple[frozenset[int], exp.Expression]],
    padded: Mapping[int, exp.Expression],
    conjuncts: Sequence[Written],
    further: Iterable[exp.Expression] = (),
) -> None:
    """Give a SELECT its FROM and WHERE.

    Parameters
    ----------
    core : sequence of (inputs, relation)
        What is joined, each with the numbers of the inputs whose columns it has.
    padded : mapping of int to relation
        What is joined by LEFT JOIN, with the conjuncts of its ON.
    further : iterable of conditions
        More conjuncts of WHERE.
    """
    todo = sorted(core, key=lambda item: min(item[0]))
    left = [entry for entry in conjuncts if entry[0].on not in padded]
    placed, first = todo.pop(0)
    joins = []
    while todo:
        index = next((i for i, item in enumerate(todo) if _between(left, placed, item[0])), 0)
        members, leaf = todo.pop(index)
        on = _between(left, placed, members)
        left = [entry for entry in left if entry not in on]
        placed |= members
        condition = all_of(node for _, node in on)
        joins.append(
            exp.Join(this=copied(leaf), kind="CROSS")
            if condition is None
            else exp.Join(this=copied(leaf), on=condition)
        )
    for number, leaf in sorted(padded.items()):
        condition = all_of(node for conjunct, node in conjuncts if conjunct.on == number)
        joins.append(exp.Join(this=copied(leaf), side="LEFT", on=condition or exp.Boolean(this=True)))
    where = all_of([*(node for _, node in left), *further])
    select.set("from_" if "from_" in exp.Select.arg_types else "from", exp.From(this=copied(first)))
    select.set("joins", joins)
    select.set("where", exp.Where(this=where) if where is not None else None)


def all_of(nodes: Iterable[exp.Expression]) -> exp.Expression | None:
    """Conditions, copied, connected by AND."""
    found: exp.Expression | None = None
    for node in nodes:
        part = copied(node)
        if isinstance(part, (exp.Or, exp.Xor)):
            part = exp.Paren(this=part)
        found = part if found is None else exp.And(this=found, expression=part)
    return found


def _between(conjuncts: Sequence[Written], placed: frozenset[int], members: frozenset[int]) -> list[Written]:
    """Conjuncts that may be evaluated once some inputs join those already placed."""
    return [
        (conjunct, node)
        for conjunct, node in conjuncts
        if conjunct.inputs & members
        and conjunct.inputs & placed
        and conjunct.inputs <= placed | members
        and not any(isinstance(part, exp.Select) for part in below(node))
    ]
