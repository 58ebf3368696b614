"""Predicates as terms of the kernel ``filters``; None where only a closure knows the form."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

from godb_fast import backend as backends
from godb_fast.core import And, ColumnKind, Comparison, JointStatistics, Not, Opaque, Or, Predicate, Slot
from godb_fast.planning.comparisons import Term as Closure
from godb_fast.planning.distribution import GUESSED, KNOWN, TINY, Distribution
from godb_fast.planning.joint import known_together
from godb_fast.planning.selectivity import Columns, Conjunction, alternatives, grouped, positive

#: A kernel's term.
Native: TypeAlias = Any


class Kernels(NamedTuple):
    """The kernels that filters need, of one backend."""

    filters: ModuleType
    columns: ModuleType

    @classmethod
    def of(cls, backend: str | None) -> Kernels:
        """Those of a backend; None: the selected one."""
        return cls(backends.kernels("filters", backend), backends.kernels("columns", backend))


def native_terms(
    conjunction: Conjunction, columns: Columns, kernels: Kernels
) -> list[tuple[Native | None, Closure]]:
    """Per conjunct the kernel's term, if it knows the form, and the closure of the same predicate."""
    natives = _conjuncts(conjunction.filters, columns, kernels, conjunction.joint)
    return list(zip(natives, conjunction.terms, strict=True))


def _conjuncts(
    filters: Sequence[Predicate],
    columns: Columns,
    kernels: Kernels,
    joint: Sequence[JointStatistics] = (),
) -> list[Native | None]:
    intervals, others = grouped(filters, columns)
    together, others = known_together(others, joint)
    found = [_interval(group, columns(group[0].column.name), kernels) for group in intervals]
    found.extend(_term(predicate, columns, kernels) for predicate in others)
    return [*found, *[None for _ in together]]


def _term(predicate: Predicate, columns: Columns, kernels: Kernels) -> Native | None:
    predicate = positive(predicate)
    if isinstance(predicate, Opaque):
        return None
    if isinstance(predicate, (And, Or)):
        if isinstance(predicate, And):
            parts = _conjuncts(predicate.parts, columns, kernels)
        else:
            parts = [_term(part, columns, kernels) for part in alternatives(predicate)]
        if any(part is None for part in parts):
            return None
        if len(parts) == 1:
            return parts[0]
        return kernels.filters.Term(
            kernels.filters.ALL if isinstance(predicate, And) else kernels.filters.ANY, parts=parts
        )
    if isinstance(predicate, Not):
        inner = predicate.part
        part = _term(inner, columns, kernels)
        if part is None:
            return None
        filled = 1.0
        if isinstance(inner, Comparison) and inner.operator != "is_null":
            filled -= columns(inner.column.name).null_share
        return kernels.filters.Term(kernels.filters.REST, parts=[part], share=filled)
    return _comparison(predicate, columns(predicate.column.name), kernels)


def _comparison(predicate: Comparison, column: Distribution, kernels: Kernels) -> Native | None:
    operator = predicate.operator
    if operator == "is_null":
        share, spread = max(column.null_share, TINY), KNOWN if column.known else GUESSED
        return kernels.filters.Term(kernels.filters.FIXED, share=share, spread=spread)
    if operator in ("<", "<=", ">", ">=", "between"):
        return _interval([predicate], column, kernels)
    native = column.native(kernels.columns)
    if native is None or predicate.function is not None or predicate.shift:
        return None
    operands: list[tuple[int, Any]] = []
    for operand in predicate.operands:
        if isinstance(operand, Slot):
            operands.append((operand.index, None))
            continue
        fixed = column.convert(operand.value)
        if not isinstance(fixed, (float, str)):
            return None
        operands.append((-1, fixed))
    if operator in ("=", "<>"):
        equal = kernels.filters.Term(kernels.filters.EQUAL, native, operands)
        if operator == "=":
            return equal
        return kernels.filters.Term(kernels.filters.REST, parts=[equal], share=1.0 - column.null_share)
    if operator == "in":
        return kernels.filters.Term(kernels.filters.IN, native, operands)
    if operator in ("like", "ilike") and column.kind is ColumnKind.TEXT:
        return kernels.filters.Term(
            kernels.filters.LIKE, native, operands, share=1.0 if operator == "ilike" else 0.0
        )
    return None


def _interval(group: Sequence[Comparison], column: Distribution, kernels: Kernels) -> Native | None:
    native = column.native(kernels.columns)
    text = column.kind is ColumnKind.TEXT
    if native is None or (text and any(predicate.shift for predicate in group)):
        return None
    sides: list[tuple[int, Any, int, int, float]] = []
    for predicate in group:
        if predicate.function is not None:
            return None
        for position, operand in enumerate(predicate.operands):
            between = predicate.operator == "between"
            low = position == 0 if between else predicate.operator[0] == ">"
            inclusive = between or predicate.operator in ("<=", ">=")
            if isinstance(operand, Slot):
                sides.append((operand.index, None, int(low), int(inclusive), predicate.shift))
                continue
            fixed = column.convert(operand.value)
            if isinstance(fixed, float) and not text:
                fixed += predicate.shift
            elif not (text and isinstance(fixed, str)):
                return None
            sides.append((-1, fixed, int(low), int(inclusive), 0.0))
    return kernels.filters.Term(kernels.filters.RANGE, native, sides)
