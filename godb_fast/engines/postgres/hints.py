"""Steerings as pg_hint_plan's hints: for servers that have it, and for people who use it elsewhere.

``Leading(((a b) c))`` fixes order *and* sides: in each pair the first is the outer (probing), the second the
inner (built) input. Names stand in double quotes wherever they are not plain, and a quote within is doubled.
See pg_hint_plan's documentation, "The hint list".
"""

from __future__ import annotations

import re
from typing import Final

from godb_fast.core import Block, JoinTree, Steering, Template
from godb_fast.engines.postgres.settings import KNOBS
from godb_fast.errors import InvalidInput

_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]*")
_VALUE: Final = re.compile(r"[A-Za-z0-9_.]+")


def hints_of(template: Template, steering: Steering) -> tuple[str, ...]:
    """What a steering asks for, as pg_hint_plan's hints.

    pg_hint_plan names relations by alias over the whole statement, so an alias that stands in two blocks
    cannot be told apart.

    Raises
    ------
    InvalidInput
        If a tree does not fit the template, or names an alias that the statement uses twice.
    """
    counts: dict[str, int] = {}
    for block in template.blocks:
        for relation in block.relations:
            counts[relation.alias] = counts.get(relation.alias, 0) + 1
    found = []
    for index, tree in steering.join_trees:
        if not 0 <= index < len(template.blocks):
            raise InvalidInput(f"there is no block {index} in the statement")
        found.append(leading(template.blocks[index], tree, counts))
    for name, value in steering.settings:
        if name not in KNOBS or not _VALUE.fullmatch(value):
            raise InvalidInput(f"setting {name} = {value!r} cannot be written as a hint")
        found.append(f"Set({name} {value})")
    return (*found, *steering.hints)


def leading(block: Block, tree: JoinTree, counts: dict[str, int] | None = None) -> str:
    """The Leading hint of a block's join tree."""
    pieces: list[str] = []
    seen: set[int] = set()
    # An explicit stack: trees may be hundreds of joins deep.
    stack: list[JoinTree | str] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            pieces.append(item)
        elif isinstance(item, int):
            if not 0 <= item < len(block.relations) or item in seen:
                raise InvalidInput(f"relation {item} is repeated in the join tree, or not in the block")
            seen.add(item)
            alias = block.relations[item].alias
            if counts is not None and counts.get(alias, 1) > 1:
                raise InvalidInput(f"alias {alias!r} stands in several places; a hint cannot tell them apart")
            pieces.append(quoted(alias))
        else:
            stack.extend((")", item[1], " ", item[0], "("))
    if isinstance(tree, int):
        raise InvalidInput("a join order needs two relations")
    return f"Leading({''.join(pieces)})"


def quoted(name: str) -> str:
    """A name as pg_hint_plan reads it.

    Raises
    ------
    InvalidInput
        If the name would end the comment that holds the hint.
    """
    if "*/" in name or "/*" in name or "\0" in name:
        raise InvalidInput(f"name {name!r} cannot stand in a comment")
    if _PLAIN.fullmatch(name):
        return name
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
