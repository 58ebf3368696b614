"""From a template's block and its bound values to what corrections are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import Block, Template
from godb_fast.core.predicates import And, Comparison, Not, Opaque, Or, Predicate, Slot
from godb_fast.core.relation_set import members
from godb_fast.errors import InvalidInput
from godb_fast.feedback.corrections import SubplanQuery
from godb_fast.feedback.shapes import Edge, QueryShape
from godb_fast.planning.domains import UNKNOWN


class BlockShape:
    """The shape of one block's sub-plans; make it once per template.

    Parameters
    ----------
    template : Template
    block : Block
        A plannable one, with a graph.
    sets : int64 array
        ``Planner.sets`` of its graph.

    Raises
    ------
    InvalidInput
        If the block has no graph, or more connected sets than are corrected.
    """

    def __init__(self, template: Template, block: Block, sets: NDArray[np.int64]) -> None:
        if block.graph is None:
            raise InvalidInput(f"block {block.index} has no join graph: {block.reason}")
        self.block = block
        self.filters: list[str] = []
        self.slots: list[tuple[int, ...]] = []
        opaque: list[int] = []
        for relation in range(len(block.relations)):
            slots: list[int] = []
            texts = [_text(part, slots) for part in _filters(block, relation)]
            # What is computed by another block is known by that block's text, which no hash here sees: the
            # whole statement stands for it, and all that is bound in it.
            if block.relations[relation].table is None:
                texts.append(f"block {block.relations[relation].block} of {template.text}")
                texts.append(_computed(template, block.relations[relation].block))
            if block.relations[relation].table is None or any("opaque " in text for text in texts):
                opaque.append(relation)
            self.filters.append(" and ".join(sorted(texts)))
            self.slots.append(tuple(slots))
        # An opaque condition does not say where its literals stand: any that no other condition has.
        stray = {slot.index for slot in template.slots} - {slot for slots in self.slots for slot in slots}
        for relation in opaque:
            self.slots[relation] += tuple(sorted(stray))
        # With its columns: a table of another definition is another one.
        tables = [
            f"{relation.table or f'block {relation.block}'}({','.join(relation.columns)})".lower()
            for relation in block.relations
        ]
        self.shape = QueryShape.of(tables, self.filters, block_edges(block), sets)

    def query(self, values: Sequence[Any], log_selectivity: Sequence[float]) -> SubplanQuery | None:
        """The block under these values by slot; None if one of them is not known.

        ``log_selectivity`` is ln of the share of rows that each relation's filters are estimated to keep.
        """
        literals = []
        for slots in self.slots:
            texts: list[str] = []
            for slot in slots:
                value = values[slot] if slot < len(values) else UNKNOWN
                entries = value if isinstance(value, (list, tuple)) else [value]
                if any(entry is UNKNOWN for entry in entries):
                    return None
                texts.extend(_spelled(entry) for entry in entries)
            literals.append(texts)
        return SubplanQuery.of(self.shape, log_selectivity, literals, self.filters)


def block_edges(block: Block) -> list[Edge]:
    """The graph's edges with their conditions as texts."""
    graph = block.graph
    if graph is None:
        return []
    columns = graph.class_columns
    views: dict[tuple[int, int], list[tuple[str, str]]] = {
        (left, right): [] for left, right in graph.edges.tolist()
    }
    for number, (start, stop) in enumerate(pairwise(graph.class_start.tolist())):
        entries = [
            (int(graph.class_member[at]), columns[at].name if columns else f"class {number}")
            for at in range(start, stop)
        ]
        for left, column in entries:
            for right, other in entries:
                if (left, right) in views:
                    views[left, right].append((f"{column}={other}", f"{other}={column}"))
    for predicate in graph.predicates:
        if predicate.equivalence >= 0:
            continue
        inside = list(members(predicate.relations))
        text = "".join(part if isinstance(part, str) else "#" for part in predicate.sql)
        for left in inside:
            for right in inside:
                if (left, right) in views:
                    views[left, right].append((text, text))
    for operator in graph.operators:
        kind = operator.kind.name
        for left, right in views:
            if operator.left >> left & 1 and operator.right >> right & 1:
                views[left, right].append((f"{kind} to", f"{kind} from"))
            elif operator.left >> right & 1 and operator.right >> left & 1:
                views[left, right].append((f"{kind} from", f"{kind} to"))
    return [
        Edge(left, right, "&".join(sorted(v for v, _ in each)), "&".join(sorted(v for _, v in each)))
        for (left, right), each in sorted(views.items())
    ]


def _computed(template: Template, index: int | None) -> str:
    """What a block reads and how, with the blocks in it: of a view, the statement's text does not say."""
    if index is None:
        return ""
    block = template.blocks[index]
    parts: list[Any] = [block.reason, block.aggregated, block.distinct, [str(key) for key in block.group_by]]
    for relation, entry in enumerate(block.relations):
        filters = sorted(_text(part, []) for part in _filters(block, relation))
        inside = None if entry.block is None or entry.block == index else _computed(template, entry.block)
        parts.append((entry.table, entry.columns, filters, inside))
    parts += [(edge.left, edge.right, edge.left_view, edge.right_view) for edge in block_edges(block)]
    return repr(parts)


def _spelled(value: Any) -> str:
    """One spelling of equal numbers: a driver binds 5, the text's literal is read as 5.0."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53:
        return repr(float(value))
    return repr(value)


def _filters(block: Block, relation: int) -> tuple[Predicate, ...]:
    return block.filters[relation] if block.filters else ()


def _text(predicate: Predicate, slots: list[int]) -> str:
    """A predicate without its literals; their slots are added to ``slots``."""
    if isinstance(predicate, Comparison):
        operands = []
        for operand in predicate.operands:
            if isinstance(operand, Slot):
                slots.append(operand.index)
                operands.append("#")
            else:
                operands.append(repr(operand.value))
        shift = f"{predicate.shift:+}" if predicate.shift else ""
        name = predicate.column.name
        column = f"{predicate.function}({name})" if predicate.function else name
        return f"{column} {predicate.operator} {','.join(operands)}{shift}"
    if isinstance(predicate, Opaque):
        return f"opaque {predicate.hint}({','.join(column.name for column in predicate.columns)})"
    if isinstance(predicate, Not):
        return f"not ({_text(predicate.part, slots)})"
    word = "and" if isinstance(predicate, And) else "or"
    assert isinstance(predicate, And | Or)
    return f"({f' {word} '.join(_text(part, slots) for part in predicate.parts)})"
