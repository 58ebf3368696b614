"""What SQL alone tells of a query, as named numbers: no statistics, no plan, no engine.

A *term* is a table, a join of two columns, a condition on a column, or a value that is compared with. Names
are canonical (tables instead of aliases), so that different templates over one schema share terms, and what
was learned of a filter in one is known in another. Values appear as hashes: a model that keeps terms keeps
no literal.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from godb_fast.core import Block, Template
from godb_fast.core.graph import JoinKind
from godb_fast.core.predicates import (
    And,
    ColumnRef,
    Comparison,
    Constant,
    JoinPredicate,
    Not,
    Opaque,
    Or,
    Predicate,
    Slot,
)
from godb_fast.sql import literal_value

#: Changes with the meaning of a term: what was learned under another version is refused by name.
TERMS_VERSION: Final = 1

_BOUNDS: Final = {
    "<": ("most",),
    "<=": ("most",),
    ">": ("least",),
    ">=": ("least",),
    "between": ("least", "most"),
}
_KINDS: Final = {JoinKind.LEFT: "left", JoinKind.SEMI: "semi", JoinKind.ANTI: "anti"}


@dataclass(frozen=True)
class QueryTerms:
    """Terms of one query.

    Parameters
    ----------
    structure : dict of str to float
        What all queries of the template share: tables, joins, conditions by column and operator, counts.
    values : dict of str to float
        What its literals say: ``value column#hash`` for each value that is compared with, ``values column``
        for the length of a list (ln), ``least column`` and ``most column`` for the bounds of a range,
        ``pattern column`` and ``open column`` for the length of a LIKE pattern and whether it starts open.
    """

    structure: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


def query_terms(template: Template, literals: Sequence[str | Sequence[str]]) -> QueryTerms:
    """Terms of a query of a template.

    Parameters
    ----------
    literals : sequence
        As ``Fingerprint.literals`` has them. Values bound by a driver are unknown, and give no terms.
    """
    reader = _Reader(literals)
    for block in template.blocks:
        reader.block(block)
    return QueryTerms(reader.structure, reader.values)


def unit_vector(structure: Mapping[str, float]) -> dict[str, float]:
    """ln(1 + count) of each term, scaled to length 1; empty for a query without terms."""
    vector = {term: math.log1p(value) for term, value in structure.items()}
    length = math.sqrt(sum(value * value for value in vector.values()))
    return {term: value / length for term, value in vector.items()} if length > 0.0 else {}


class _Reader:
    def __init__(self, literals: Sequence[str | Sequence[str]]) -> None:
        self.literals = literals
        self.structure: dict[str, float] = {}
        self.values: dict[str, float] = {}

    def block(self, block: Block) -> None:
        names = [relation.table or f"<{relation.alias}>" for relation in block.relations]
        short = [name.rpartition(".")[2] for name in names]
        self._count("blocks")
        self._count(f"role {block.role}")
        self._count("relations", len(names))
        self._count("aggregated", block.aggregated)
        self._count("distinct", block.distinct)
        self._count("grouping columns", len(block.group_by))
        for relation, name in zip(block.relations, short, strict=True):
            self._count("table " + name if relation.table is not None else "computed relation")
        graph = block.graph
        if graph is not None:
            self._count("edges", len(graph.edges))
            self._count("cycles", max(len(graph.edges) - graph.size + len(graph.components), 0))
            for operator in graph.operators:
                if operator.kind in _KINDS:
                    self._count(f"{_KINDS[operator.kind]} joins")
            for join in graph.predicates:
                self._join(join, short)
        for filters in block.filters:
            for predicate in filters:
                self._predicate(predicate, short)

    def _join(self, join: JoinPredicate, tables: Sequence[str]) -> None:
        if join.left is None or join.right is None:
            self._count("opaque joins")
            return
        ends = sorted((_column(join.left, tables), _column(join.right, tables)))
        self._count(f"join {ends[0]} {join.operator} {ends[1]}")

    def _predicate(self, predicate: Predicate, tables: Sequence[str]) -> None:
        pending = [predicate]
        while pending:
            part = pending.pop()
            if isinstance(part, (And, Or)):
                if isinstance(part, Or):
                    self._count("disjunctions")
                pending.extend(part.parts)
            elif isinstance(part, Not):
                self._count("negations")
                pending.append(part.part)
            elif isinstance(part, Opaque):
                for column in part.columns:
                    self._count(f"filter {_column(column, tables)} {part.hint}")
                self._count(f"opaque {part.hint}")
            else:
                self._comparison(part, tables)

    def _comparison(self, part: Comparison, tables: Sequence[str]) -> None:
        column = _column(part.column, tables)
        if part.function is not None:
            column = f"{part.function}({column})"
        self._count(f"filter {column} {part.operator}")
        found = [value for operand in part.operands for value in self._values(operand)]
        if part.operator in ("=", "in", "<>", "is_not_distinct"):
            for value in found:
                self._add(f"value {column}#{_hashed(value)}", 1.0)
            if part.operator == "in":
                self._add(f"values {column}", math.log1p(len(found)))
        elif part.operator in ("like", "ilike"):
            for value in found:
                self._add(f"value {column}#{_hashed(value)}", 1.0)
                if isinstance(value, str):
                    self._add(f"pattern {column}", float(len(value.strip("%"))))
                    self._add(f"open {column}", float(value.startswith(("%", "_"))))
        elif part.operator in _BOUNDS:
            for bound, value in zip(_BOUNDS[part.operator], found, strict=False):
                if isinstance(value, float):
                    self.values[f"{bound} {column}"] = value + part.shift

    def _values(self, operand: Slot | Constant) -> list[float | str]:
        if isinstance(operand, Constant):
            return [operand.value] if isinstance(operand.value, (float, str)) else []
        text = self.literals[operand.index]
        texts = (text,) if isinstance(text, str) else text
        return [value for value in map(literal_value, texts) if value is not None]

    def _count(self, name: str, by: float = 1.0) -> None:
        if by:
            self.structure[name] = self.structure.get(name, 0.0) + float(by)

    def _add(self, name: str, by: float) -> None:
        self.values[name] = self.values.get(name, 0.0) + by


def _column(column: ColumnRef, tables: Sequence[str]) -> str:
    return f"{tables[column.relation]}.{column.name}"


def _hashed(value: float | str) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=6).hexdigest()
