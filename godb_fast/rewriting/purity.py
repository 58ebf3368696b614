"""Which expressions may be evaluated elsewhere, more often or for other rows.

An allow-list: what is not known to be immutable is not moved, what is not known to be total (to have a value,
never an error, for every input) is not evaluated for rows for which the statement would not evaluate it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from sqlglot import exp

from godb_fast.sql.scopes import below

_Kinds: TypeAlias = tuple[type[Any], ...]


def _kinds(names: str) -> _Kinds:
    return tuple(getattr(exp, name) for name in names.split())


#: Syntax, not functions.
_PLAIN: _Kinds = _kinds(
    "Identifier Column Literal Boolean Null Star Paren Alias Tuple Condition Connector Predicate Unary "
    "Select SetOperation Subquery From Join Where Group Having Order Ordered Limit Offset Fetch Table "
    "TableAlias With CTE Distinct DataType DataTypeParam Var If Window WindowSpec Filter Interval Cube "
    "Rollup GroupingSets Values All Any"
)
#: Functions that give equal values for equal arguments, on both engines.
_IMMUTABLE: _Kinds = _kinds(
    "And Or Xor Count Sum Avg Min Max Coalesce Nullif Abs Round Floor Ceil Upper Lower Substring Length "
    "Case If Cast Extract Concat Greatest Least Trim Exists StddevSamp Stddev Rank DenseRank Grouping "
    "LogicalAnd LogicalOr Sqrt Sign Year Month Day DateAdd DateSub Variance VariancePop StddevPop"
)
#: Of those, what fails for no input of its types, but for overflows at the end of a type's range.
_TOTAL_FUNCTIONS: _Kinds = _kinds(
    "And Or Xor Count Sum Avg Min Max Coalesce Nullif Abs Round Floor Ceil Upper Lower Length Case If "
    "Greatest Least Exists Concat Extract Year Month Day"
)
_TOTAL_OPERATORS: _Kinds = _kinds(
    "EQ NEQ LT LTE GT GTE Add Sub Mul Neg Not Paren Between In Is NullSafeEQ NullSafeNEQ DPipe Interval"
)
_LEAVES: _Kinds = _kinds(
    "Identifier Column Literal Boolean Null Star Alias Tuple From Join Where Group Having Table "
    "TableAlias Select Subquery SetOperation Distinct DataType DataTypeParam Var With CTE"
)


def is_immutable(node: exp.Expression) -> bool:
    """Whether an expression, or a query, gives the same for the same tables wherever it is evaluated."""
    for part in below(node):
        if isinstance(part, exp.Func):
            if not isinstance(part, _IMMUTABLE):
                return False
        elif not isinstance(part, _PLAIN):
            return False
        if isinstance(part, exp.Table) and not isinstance(part.this, exp.Identifier):
            return False
    return True


def is_total(node: exp.Expression) -> bool:
    """Whether an immutable expression, or query, has a value for every row: no division, no cast of values.

    Sums and products count as total: an overflow at the end of a type's range is an error under any plan that
    reaches it, and an error of ours gives way to the engine's own plan.
    """
    if not is_immutable(node):
        return False
    todo = [node]
    while todo:
        part = todo.pop()
        if isinstance(part, exp.Cast):
            if not _is_sure_cast(part):
                return False
            continue
        if isinstance(part, exp.Like):
            if not isinstance(part.expression, exp.Literal) or part.args.get("escape"):
                return False
        elif isinstance(part, exp.Substring):
            length = part.args.get("length")
            # A negative length is an error in PostgreSQL; the sign of a literal is no part of a template.
            if length is not None:
                return False
        elif isinstance(part, exp.Func):
            if not isinstance(part, _TOTAL_FUNCTIONS):
                return False
        elif not isinstance(part, (*_TOTAL_OPERATORS, *_LEAVES)):
            return False
        todo.extend(child for child in part.iter_expressions())
    return True


def _is_sure_cast(node: exp.Cast) -> bool:
    """A literal's cast is computed before any row is read, under any plan."""
    value = node.this
    while isinstance(value, (exp.Paren, exp.Neg)):
        value = value.this
    return isinstance(value, exp.Literal) and type(node) is exp.Cast
