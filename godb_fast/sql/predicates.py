"""From a condition of the syntax tree to predicates that can be estimated.

What is not understood becomes :class:`Opaque`, with the nearest kind as a hint: the estimate is then a
guess, and says so, but the condition itself is printed as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sqlglot import exp

from godb_fast.core import And, ColumnRef, Comparison, Constant, Not, Opaque, Or, Predicate, Slot
from godb_fast.sql.draft import bare
from godb_fast.sql.literals import literal_value
from godb_fast.sql.scopes import below, has_query

_COMPARISONS: Final[dict[type[exp.Expression], str]] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.NullSafeEQ: "is_not_distinct",
    exp.NullSafeNEQ: "is_distinct",
    exp.Like: "like",
    exp.ILike: "ilike",
}
FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_SECONDS: Final = {
    "microsecond": 1e-6,
    "millisecond": 1e-3,
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
    "week": 7 * 86400.0,
    # Averages of the Gregorian calendar: estimates need no exact dates.
    "month": 30.436875 * 86400.0,
    "quarter": 3 * 30.436875 * 86400.0,
    "year": 365.2425 * 86400.0,
}
_INTERVAL: Final = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*([a-z]+?)s?\s*$", re.IGNORECASE)
#: Functions that say little more than their column does, by the estimator's names.
_FUNCTIONS: Final[dict[type[exp.Expression], str]] = {
    exp.Lower: "lower",
    exp.Upper: "upper",
    exp.Trim: "trim",
    exp.Substring: "substring",
    exp.Left: "substring",
    exp.Year: "year",
    exp.Month: "month",
    exp.Quarter: "quarter",
    exp.Day: "day",
    exp.Week: "week",
    exp.Hour: "hour",
    exp.Minute: "minute",
    exp.Second: "second",
    exp.DayOfWeek: "dayofweek",
    exp.Length: "length",
    exp.Abs: "abs",
}
#: Expressions that are NULL whenever one of their inputs is.
_STRICT: Final = (
    exp.Paren, exp.Cast, exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Lower, exp.Upper,
    exp.Substring, exp.Trim, exp.Extract, exp.Year, exp.Month, exp.Day, exp.Abs, exp.Length, exp.Left,
)  # fmt: skip
_STRICT_CONDITIONS: Final = (
    exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Like, exp.ILike, exp.Between,
)  # fmt: skip

#: Relation number and own name of a column of the block; None for columns of outer blocks.
Resolve = Callable[[exp.Column], ColumnRef | None]


class PredicateReader:
    """Reads the conditions of one block.

    Parameters
    ----------
    resolve : callable
        Finds a column of the block.
    stand_ins : dict of str to int
        Literals that stand for slots.
    signed : set of int
        Slots whose minus sign belongs to the literal.
    constants : sequence of literal texts, optional
        For texts whose literals never differ (views): slots become constants.
    """

    def __init__(
        self,
        resolve: Resolve,
        stand_ins: dict[str, int],
        signed: frozenset[int],
        constants: tuple[str | tuple[str, ...], ...] | None = None,
    ) -> None:
        self.resolve = resolve
        self.stand_ins = stand_ins
        self.signed = signed
        self.constants = constants

    def read(self, node: exp.Expression) -> Predicate:
        """The predicate of a condition that mentions one relation."""
        if isinstance(node, exp.Paren):
            return self.read(node.this)
        if isinstance(node, exp.And):
            return And(tuple(self.read(part) for part in flatten(node, exp.And)))
        if isinstance(node, exp.Or):
            return Or(tuple(self.read(part) for part in flatten(node, exp.Or)))
        if isinstance(node, exp.Not):
            return Not(self.read(node.this))
        operator = _COMPARISONS.get(type(node))
        if operator is not None:
            found = self._comparison(node, operator)
            return Not(found) if node.args.get("negate") else found
        if isinstance(node, exp.Between):
            return self._between(node)
        if isinstance(node, exp.In):
            return self._in(node)
        if isinstance(node, exp.Is):
            return self._is(node)
        if isinstance(node, exp.Column) and (column := self.resolve(node)) is not None:
            return Comparison("=", column, (Constant(1.0),))
        return Opaque(self._hint(node), self._columns(node))

    def _comparison(self, node: exp.Expression, operator: str) -> Predicate:
        left, right = node.this, node.expression
        side = self._side(left)
        value = self._value(right)
        if side is None or value is None:
            other, back = self._side(right), self._value(left)
            if other is not None and back is not None and operator not in ("like", "ilike"):
                side, value, operator = other, back, FLIPPED.get(operator, operator)
        if side is not None and value is not None:
            column, function, moved = side
            operand, shift = value
            return Comparison(operator, column, (operand,), function, shift - moved)
        symbol = {"is_distinct": "<>", "is_not_distinct": "="}.get(operator, operator)
        if symbol in ("like", "ilike") or has_query(node):
            return Opaque(self._hint(node), self._columns(node))
        return Opaque(f"column_comparison:{symbol}", self._columns(node))

    def _between(self, node: exp.Between) -> Predicate:
        side = self._side(node.this)
        low, high = self._value(node.args["low"]), self._value(node.args["high"])
        if side is None or node.args.get("symmetric"):
            return Opaque("column_comparison:<", self._columns(node))
        column, function, moved = side
        if low is not None and high is not None and low[1] == high[1]:
            return Comparison("between", column, (low[0], high[0]), function, low[1] - moved)
        parts: list[Predicate] = []
        for operator, bound in ((">=", low), ("<=", high)):
            if bound is None:
                parts.append(Opaque(f"column_comparison:{operator}", (column,)))
            else:
                parts.append(Comparison(operator, column, (bound[0],), function, bound[1] - moved))
        return And(tuple(parts))

    def _in(self, node: exp.In) -> Predicate:
        side = self._side(node.this)
        listed = node.expressions
        if side is None or side[2] or not listed or node.args.get("query") or node.args.get("unnest"):
            return Opaque("subquery" if has_query(node) else "other", self._columns(node))
        values = [self._value(entry) for entry in listed]
        known = [value[0] for value in values if value is not None and not value[1]]
        if len(known) != len(values):
            return Opaque("other", self._columns(node))
        return Comparison("in", side[0], tuple(known), side[1])

    def _is(self, node: exp.Is) -> Predicate:
        side = self._side(node.this)
        wanted = node.expression
        found: Predicate = Opaque("other", self._columns(node))
        if side is not None and isinstance(wanted, exp.Null):
            found = Comparison("is_null", side[0], (), side[1])
        elif side is not None and isinstance(wanted, exp.Boolean):
            found = Comparison("is_not_distinct", side[0], (Constant(float(bool(wanted.this))),), side[1])
        # PostgreSQL's IS NOT NULL is an operator of its own (of rows it is not the opposite of IS NULL).
        return Not(found) if node.args.get("negate") else found

    def _side(self, node: exp.Expression) -> tuple[ColumnRef, str | None, float] | None:
        """Column, function applied to it, and constant added to it."""
        function: str | None = None
        moved = 0.0
        while True:
            if isinstance(node, exp.Paren):
                node = node.this
            elif isinstance(node, exp.Column):
                column = self.resolve(node)
                return None if column is None else (column, function, moved)
            elif function is not None:
                return None
            elif isinstance(node, (exp.Add, exp.Sub)):
                added = self._shift(node.expression)
                if added is None:
                    return None
                moved += added if isinstance(node, exp.Add) else -added
                node = node.this
            elif isinstance(node, (exp.Cast, exp.TryCast)):
                # A cast keeps order and values in nearly all uses that a filter makes of it.
                node = node.this
            elif isinstance(node, exp.Extract):
                function = str(node.this.name).lower()
                node = node.expression
            elif type(node) in _FUNCTIONS:
                function = _FUNCTIONS[type(node)]
                node = node.this
            elif isinstance(node, (exp.TsOrDsToDate, exp.Date, exp.TimestampTrunc, exp.DateTrunc)):
                if isinstance(node, (exp.TimestampTrunc, exp.DateTrunc)):
                    function = "date_trunc"
                node = node.this
            elif isinstance(node, exp.Anonymous) and len(node.expressions) == 1:
                function = str(node.name).lower()
                node = node.expressions[0]
            else:
                return None

    def _value(self, node: exp.Expression) -> tuple[Slot | Constant, float] | None:
        """Where a compared value comes from, and the constant added to it."""
        shift = 0.0
        while True:
            if isinstance(node, (exp.Paren, exp.Cast, exp.TryCast, exp.TsOrDsToDate, exp.Date)):
                node = node.this
            elif isinstance(node, (exp.Add, exp.Sub)):
                added = self._shift(node.expression)
                if added is None:
                    return None
                shift += added if isinstance(node, exp.Add) else -added
                node = node.this
            elif isinstance(node, exp.Literal):
                return self._literal(node, False, shift)
            elif isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal):
                return self._literal(node.this, True, shift)
            elif isinstance(node, exp.Null):
                return Constant(None), shift
            elif isinstance(node, exp.Boolean):
                return Constant(float(bool(node.this))), shift
            else:
                return None

    def _literal(
        self, node: exp.Literal, negated: bool, shift: float
    ) -> tuple[Slot | Constant, float] | None:
        slot = self.stand_ins.get(node.name)
        if slot is None:
            value = literal_value(f"'{node.name}'" if node.is_string else node.name)
            if negated and isinstance(value, float):
                value = -value
            return Constant(value), shift
        if negated != (slot in self.signed):
            return None
        if self.constants is not None:
            text = self.constants[slot]
            if isinstance(text, tuple):
                # A list of one template: only its first value; the estimate of a view stays rough.
                text = text[0]
            return Constant(literal_value(text)), shift
        return Slot(slot), shift

    def _shift(self, node: exp.Expression) -> float | None:
        """Seconds of an interval, or a number that is part of the template."""
        if isinstance(node, exp.Paren):
            return self._shift(node.this)
        if isinstance(node, exp.Interval):
            amount, unit = node.this, node.args.get("unit")
            if not isinstance(amount, exp.Literal) or amount.name in self.stand_ins:
                return None
            text = amount.name if unit is None else f"{amount.name} {unit.name}"
            found = _INTERVAL.match(text)
            if found is None or found[2].lower() not in _SECONDS:
                return None
            return float(found[1]) * _SECONDS[found[2].lower()]
        if isinstance(node, exp.Literal) and not node.is_string and node.name not in self.stand_ins:
            value = literal_value(node.name)
            return value if isinstance(value, float) else None
        return None

    def _hint(self, node: exp.Expression) -> str:
        if has_query(node):
            return "subquery"
        return "function" if any(isinstance(part, exp.Func) for part in below(node)) else "other"

    def _columns(self, node: exp.Expression) -> tuple[ColumnRef, ...]:
        found: dict[ColumnRef, None] = {}
        for part in below(node):
            if isinstance(part, exp.Column) and (column := self.resolve(part)) is not None:
                found[column] = None
        return tuple(found)


def flatten(node: exp.Expression, kind: type[exp.Expression]) -> list[exp.Expression]:
    """Operands of nested ANDs (ORs), in order; looks into parentheses that hold nothing else."""
    found: list[exp.Expression] = []
    stack = [node]
    while stack:
        part = stack.pop()
        inner = part
        while isinstance(inner, exp.Paren):
            inner = inner.this
        if isinstance(inner, kind):
            stack.extend((inner.args["expression"], inner.this))
        else:
            found.append(part)
    return found


def strong(node: exp.Expression, owner: Callable[[exp.Column], int]) -> int:
    """Mask of the relations on which a condition is null-rejecting: never true when all of their columns
    are NULL. Claims too little rather than too much.

    Parameters
    ----------
    owner : callable
        Mask of the relation that a column belongs to, 0 for outer ones.
    """
    if isinstance(node, exp.Paren):
        return strong(node.this, owner)
    if isinstance(node, exp.And):
        mask = 0
        for part in flatten(node, exp.And):
            mask |= strong(part, owner)
        return mask
    if isinstance(node, exp.Or):
        parts = flatten(node, exp.Or)
        mask = strong(parts[0], owner)
        for part in parts[1:]:
            mask &= strong(part, owner)
        return mask
    if isinstance(node, exp.Not):
        inner = bare(node.this)
        if isinstance(inner, exp.Is):
            return 0 if inner.args.get("negate") else _not_null(inner, owner)
        return _null_condition(inner, owner, negated=True)
    if isinstance(node, exp.Is) and node.args.get("negate"):
        return _not_null(node, owner)
    return _null_condition(node, owner)


def _not_null(node: exp.Is, owner: Callable[[exp.Column], int]) -> int:
    """Of what is not NULL."""
    return _strict(node.this, owner) if isinstance(node.expression, exp.Null) else 0


def _null_condition(
    node: exp.Expression, owner: Callable[[exp.Column], int], *, negated: bool = False
) -> int:
    """Relations whose NULLs keep a comparison, or what negates it, from being true."""
    negated = negated or bool(node.args.get("negate"))
    if isinstance(node, exp.Between):
        # a BETWEEN b AND c is an AND: only a NULL in ``a`` is sure to make it NULL.
        return _strict(node.this, owner)
    if isinstance(node, _STRICT_CONDITIONS):
        if compares_values(node):
            return _strict(node.this, owner) | _strict(node.expression, owner)
        # Of no values ANY is false.
        return _strict(node.this, owner) if isinstance(node.expression, exp.Any) and not negated else 0
    if isinstance(node, exp.In) and not node.args.get("query"):
        # What is no list of expressions may be an array, and as empty as that of ANY.
        listed = node.expressions and not node.args.get("field") and not node.args.get("unnest")
        return _strict(node.this, owner) if listed or not negated else 0
    return 0


def compares_values(node: exp.Expression) -> bool:
    """Whether a comparison (no BETWEEN) is NULL where one of its sides is.

    Not so of ANY and ALL, which are false and true of no values, whatever stands beside; nor of NULL itself,
    as PostgreSQL's ``transform_null_equals`` reads ``x = NULL`` as ``x IS NULL``.
    """
    sides = (bare(node.this), bare(node.expression))
    return not any(isinstance(side, exp.Null) or _is_quantified(side) for side in sides)


def adds_values(node: exp.Add) -> bool:
    """Whether a sum is one for sure: of DuckDB's lists, NULL + [7] is [7]."""
    sides = (bare(node.this), bare(node.expression))
    return any(isinstance(side, (exp.Literal, exp.Neg, exp.Interval)) for side in sides)


def _is_quantified(node: exp.Expression) -> bool:
    return isinstance(node, (exp.Any, exp.All)) or (
        # Without a subquery, ALL and SOME are read as functions.
        isinstance(node, exp.Anonymous) and str(node.this).upper() in ("ALL", "SOME", "ANY")
    )


def _strict(node: exp.Expression, owner: Callable[[exp.Column], int]) -> int:
    node = bare(node)
    if isinstance(node, exp.Column):
        return owner(node)
    if isinstance(node, exp.Add) and not adds_values(node):
        return 0
    if isinstance(node, _STRICT):
        mask = 0
        for part in (node.args.get("this"), node.args.get("expression")):
            if isinstance(part, exp.Expression):
                mask |= _strict(part, owner)
        return mask
    return 0
