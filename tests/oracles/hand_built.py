"""Blocks and templates written by hand, for tests that should not need the SQL parser."""

from __future__ import annotations

import numpy as np

from godb_fast.core import Block, ColumnRef, JoinPredicate, LiteralSlot, QueryGraph, Relation, Template


def block(relations, joins, filters=None, *, index=0, parent=None, role="main", operators=(), **options):
    """A block.

    ``relations`` maps aliases to ``(source, columns)``, the source being a table's name or a block's
    number; ``joins`` are texts such as ``"a.x = b.y"`` or ``"a.x < b.y"``; ``filters`` maps aliases to
    functions from a maker of column references to a list of predicates.
    """
    names = list(relations)
    entries = tuple(
        Relation(
            alias,
            source if isinstance(source, str) else None,
            None if isinstance(source, str) else source,
            tuple(columns.split()),
        )
        for alias, (source, columns) in relations.items()
    )

    def column(text):
        alias, name = text.split(".")
        return ColumnRef(names.index(alias), name)

    classes: list[list[ColumnRef]] = []
    selective: list[tuple[int, int]] = []
    predicates, edges = [], []
    for text in joins:
        left, operator, right = text.split(" ")
        a, b = column(left), column(right)
        edges.append((a.relation, b.relation))
        if operator == "=":
            touched = [group for group in classes if a in group or b in group]
            merged = list(dict.fromkeys([*(c for group in touched for c in group), a, b]))
            classes = [group for group in classes if group not in touched] + [merged]
            predicates.append((a, operator, b, -1))
        else:
            predicates.append((a, operator, b, len(selective)))
            selective.append((a.relation, b.relation))
    for group in classes:
        edges.extend((x.relation, y.relation) for i, x in enumerate(group) for y in group[:i])
    graph = QueryGraph(
        tuple(names),
        np.array(edges, np.int64).reshape(-1, 2),
        operators=tuple(operators),
        class_start=np.cumsum([0, *(len(group) for group in classes)]),
        class_member=np.array([c.relation for group in classes for c in group], np.int64),
        class_columns=tuple(c for group in classes for c in group),
        selective_start=np.arange(0, 2 * len(selective) + 1, 2),
        selective_member=np.array(selective, np.int64).ravel(),
        predicates=tuple(
            JoinPredicate(
                1 << a.relation | 1 << b.relation,
                (),
                a,
                b,
                operator,
                equivalence=next(
                    (i for i, group in enumerate(classes) if operator == "=" and a in group), -1
                ),
                selective=which,
            )
            for a, operator, b, which in predicates
        ),
    )
    filters = filters or {}
    return Block(
        index,
        parent,
        role,
        entries,
        graph,
        tuple(tuple(filters[name](column)) if name in filters else () for name in names),
        **options,
    )


def template(*blocks, slots=(), fingerprint=7):
    """A template of blocks, with slots of the given kinds."""
    return Template(
        fingerprint,
        "hand built",
        "duckdb",
        tuple(LiteralSlot(i, kind) for i, kind in enumerate(slots)),
        tuple(blocks),
    )
