"""The aggregates of a SELECT, and what it is grouped by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from godb_fast.rewriting.identity import sum_type
from godb_fast.rewriting.join_block import JoinBlock, Ref, Unsuitable, ref_of, refs_below
from godb_fast.sql.draft import arg, bare
from godb_fast.sql.scopes import below, fold

_WORDS: Final[dict[type, str]] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Min: "min",
    exp.Max: "max",
    exp.Avg: "avg",
}
#: Aggregates whose value does not depend on how often a value occurs, beside MIN, MAX and DISTINCT ones.
_SETS: Final[tuple[type, ...]] = (exp.LogicalAnd, exp.LogicalOr, exp.BitwiseAndAgg, exp.BitwiseOrAgg)


@dataclass(eq=False)
class Aggregate:
    """One aggregate call.

    Parameters
    ----------
    kind : str
        ``rows`` (COUNT(*)), ``count``, ``sum``, ``avg``, ``min``, ``max``, or ``set``: any other that does
        not see how often a value occurs, and stays as it is.
    node : exp.Expression
        The call with its FILTER.
    argument, condition : exp.Expression or None
        What is aggregated, and FILTER's condition.
    result : str or None
        Type of a sum.
    """

    number: int
    kind: str
    node: exp.Expression
    argument: exp.Expression | None
    condition: exp.Expression | None
    refs: frozenset[Ref]
    result: str | None = None

    @property
    def inputs(self) -> frozenset[int]:
        """Inputs that it looks at."""
        return frozenset(number for number, _ in self.refs)

    @property
    def sees_duplicates(self) -> bool:
        """Whether a row that is there twice makes a difference."""
        return self.kind in ("rows", "count", "sum", "avg")


def read_aggregates(block: JoinBlock) -> list[Aggregate]:
    """Aggregates of SELECT list, HAVING and ORDER BY.

    Raises
    ------
    Unsuitable
        If there is one that counts duplicates in a way that we do not know.
    """
    found: list[Aggregate] = []
    for node in aggregate_nodes(block.select):
        found.append(_read(block, node, len(found)))
    return found


def aggregate_nodes(select: exp.Select) -> list[exp.Expression]:
    """Aggregate calls with their FILTERs, outside of inner queries."""
    clauses = [arg(select, name) for name in ("having", "order")]
    found: list[exp.Expression] = []
    todo: list[exp.Expression] = [*select.expressions, *(node for node in clauses if node is not None)]
    while todo:
        node = todo.pop(0)
        if isinstance(node, (exp.Filter, exp.AggFunc)):
            found.append(node)
        elif not isinstance(node, (exp.Select, exp.SetOperation)):
            todo.extend(node.iter_expressions())
    return found


def _read(block: JoinBlock, node: exp.Expression, number: int) -> Aggregate:
    call, condition = node, None
    if isinstance(node, exp.Filter):
        if not isinstance(node.expression, exp.Where):
            raise Unsuitable("a FILTER that is no WHERE")
        call, condition = node.this, node.expression.this
    word = _WORDS.get(type(call))
    if not isinstance(call, exp.AggFunc) or (word is None and not isinstance(call, _SETS)):
        raise Unsuitable(f"the aggregate {call.sql_name().lower() if isinstance(call, exp.Func) else call}")
    if call.args.get("expressions") or any(
        isinstance(part, exp.AggFunc) for child in call.iter_expressions() for part in below(child)
    ):
        raise Unsuitable("an aggregate of several arguments, or of aggregates")
    argument = call.this
    refs = refs_below(node)
    if word is None or isinstance(argument, exp.Distinct):
        if isinstance(argument, exp.Distinct) and argument.args.get("on"):
            raise Unsuitable("DISTINCT ON in an aggregate")
        return Aggregate(number, "set", node, argument, condition, refs)
    if isinstance(argument, (exp.Order, exp.Limit, exp.HavingMax, exp.IgnoreNulls, exp.RespectNulls)):
        raise Unsuitable("an aggregate with ORDER BY")
    if word == "count" and isinstance(argument, (exp.Star, exp.Literal)):
        return Aggregate(number, "rows", node, None, condition, refs)
    if argument is None:
        raise Unsuitable("an aggregate without an argument")
    result = None
    if word in ("sum", "avg"):
        result = _sum_of(block, argument)
        if result is None:
            raise Unsuitable(f"{word} of something whose sums are not exact, or not known to be")
        if word == "avg" and block.dialect != "postgres":
            raise Unsuitable("avg divides in floating point")
    return Aggregate(number, word, node, bare(argument), condition, refs, result)


def branch_values(node: exp.Expression) -> list[exp.Expression]:
    """What an expression made of CASE and COALESCE may be."""
    node = bare(node)
    if isinstance(node, exp.Case):
        values = [branch.args["true"] for branch in node.args["ifs"]]
        values += [node.args["default"]] if node.args.get("default") is not None else []
    elif isinstance(node, exp.Coalesce):
        values = [node.this, *node.expressions]
    else:
        return [node]
    return [value for part in values for value in branch_values(part)]


def is_whole_literal(node: exp.Expression) -> bool:
    """Whether a branch is a whole number (whose size a guard has to limit)."""
    return isinstance(node, exp.Literal) and not node.is_string and node.name.isdigit()


def _sum_of(block: JoinBlock, argument: exp.Expression) -> str | None:
    """Type of a sum of a column, or of CASE and COALESCE over whole numbers; None if it is not exact."""
    kinds = set()
    values = branch_values(argument)
    for value in values:
        ref = ref_of(value)
        if ref is not None:
            kinds.add(sum_type(block.inputs[ref[0]].types.get(ref[1]), block.dialect))
        elif is_whole_literal(value):
            kinds.add(sum_type("INTEGER", block.dialect))
        elif not isinstance(value, exp.Null):
            return None
    if len(kinds) > 1 and kinds != {"BIGINT", "NUMERIC"}:
        return None
    if len(values) > 1 and any(kind is None or kind.startswith("DECIMAL") for kind in kinds):
        return None
    return "NUMERIC" if len(kinds) > 1 else next(iter(kinds), None)


def group_keys(block: JoinBlock) -> list[exp.Expression]:
    """What a SELECT is grouped by, ordinals and names of the SELECT list looked up.

    Raises
    ------
    Unsuitable
        For grouping sets.
    """
    select = block.select
    group = arg(select, "group")
    if group is None:
        return []
    if any(value for name, value in group.args.items() if name != "expressions"):
        raise Unsuitable("GROUP BY with grouping sets")
    found: list[exp.Expression] = []
    for key in group.expressions:
        if isinstance(key, exp.Literal) and not key.is_string and key.name.isdigit():
            place = int(key.name) - 1
            if not 0 <= place < len(select.expressions):
                raise Unsuitable("GROUP BY with an ordinal that names nothing")
            key = select.expressions[place]
            key = key.this if isinstance(key, exp.Alias) else key
        elif isinstance(key, exp.Column) and ref_of(key) is None:
            named = [
                item.this
                for item in select.expressions
                if isinstance(item, exp.Alias)
                and fold(item.args["alias"], block.dialect) == fold(key.this, block.dialect)
            ]
            if len(named) != 1:
                raise Unsuitable(f"GROUP BY {key.name} names no one thing")
            key = named[0]
        if isinstance(key, (exp.Rollup, exp.Cube, exp.GroupingSets, exp.Literal, exp.Tuple)):
            raise Unsuitable("GROUP BY with grouping sets or literals")
        found.append(bare(key))
    return found


def loose_inputs(block: JoinBlock, keys: list[exp.Expression]) -> frozenset[int]:
    """Inputs with columns in the result that GROUP BY does not list: PostgreSQL allows that for what a
    listed primary key determines, and knows it of tables only, not of derived ones."""
    columns = {ref for key in keys if (ref := ref_of(key)) is not None}
    whole = [key for key in keys if not isinstance(key, exp.Column)]
    texts = {key.sql() for key in whole}
    kinds = {key.__class__ for key in whole}
    found: set[int] = set()
    clauses = [arg(block.select, name) for name in ("having", "order")]
    todo = [*block.select.expressions, *(node for node in clauses if node is not None)]
    while todo:
        node = todo.pop()
        if isinstance(node, (exp.Filter, exp.AggFunc)):
            continue
        inner = bare(node)
        if inner.__class__ in kinds and inner.sql() in texts:
            continue
        ref = ref_of(node)
        if ref is not None and ref not in columns:
            found.add(ref[0])
        todo.extend(node.iter_expressions())
    return frozenset(found)
