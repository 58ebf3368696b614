"""EXISTS and IN as semi joins, NOT EXISTS and NOT IN as anti joins: only where that is provably the same.

Only conjuncts of WHERE are considered: there, NULL and false are alike.

- EXISTS (SELECT … FROM r WHERE c) is a semi join with r on c, if the subquery cannot have rows of its own
  making (no aggregate, no LIMIT, no set operation) and looks at the block around it by comparisons only.
- x IN (SELECT y FROM r WHERE c) is a semi join on x = y AND c, if both columns are of one family of types (so
  that IN and = compare alike). Any other subquery that does not look outside may stand as a derived table.
- x NOT IN (SELECT y …) is an anti join only if neither x nor y can be NULL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from godb_fast.core import ColumnRef, JoinKind
from godb_fast.core.conflicts import JoinNode, OperatorTree
from godb_fast.sql.clauses import Span
from godb_fast.sql.draft import Condition, Draft, Output, arg, bare, family, present
from godb_fast.sql.layout import Leaf
from godb_fast.sql.scopes import CannotPlan, Scope, Source, aliases_of

if TYPE_CHECKING:
    from godb_fast.sql.blocks import BlockReader

_ALLOWED: Final = {"expressions", "from_", "from", "joins", "where", "distinct"}
_PLAIN: Final = (exp.Column, exp.Literal, exp.Star, exp.Null, exp.Boolean)
_COMPARISONS: Final = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)


@dataclass(frozen=True)
class Membership:
    """A conjunct of the form [NOT] EXISTS (query) or member [NOT] IN (query)."""

    anti: bool
    query: exp.Expression
    member: exp.Column | None


def membership_join(
    reader: BlockReader, draft: Draft, node: exp.Expression, span: Span, ctes: dict[str, Output]
) -> bool:
    """Turn a conjunct of WHERE into a semi or anti join of the draft; False if it must stay as it is."""
    found = _membership(node)
    if found is None:
        return False
    sources, conditions, absorbed = len(draft.sources), len(draft.conditions), len(draft.absorbed)
    try:
        if _is_plain(found):
            _join_relations(reader, draft, found, ctes)
        elif found.member is not None and not found.anti:
            _join_result(reader, draft, found, span, ctes)
        else:
            return False
    except CannotPlan:
        del draft.sources[sources:], draft.conditions[conditions:], draft.absorbed[absorbed:]
        for number in [number for number in draft.leaves if number >= sources]:
            del draft.leaves[number]
        for key, ref in list(draft.resolved.items()):
            if ref is not None and ref.relation >= sources:
                del draft.resolved[key]
        return False
    return True


def _membership(node: exp.Expression) -> Membership | None:
    anti = False
    while isinstance(node, (exp.Paren, exp.Not)):
        anti ^= isinstance(node, exp.Not)
        node = node.this
    if isinstance(node, exp.Exists):
        return Membership(anti, _query(node.this), None)
    if isinstance(node, exp.In) and node.args.get("query") and not node.args.get("negate"):
        member = bare(node.this)
        if isinstance(member, exp.Column):
            return Membership(anti, _query(node.args["query"]), member)
    return None


def _query(node: exp.Expression) -> exp.Expression:
    while isinstance(node, exp.Subquery) and present(node) <= {"this"}:
        node = node.this
    return node


def _is_plain(found: Membership) -> bool:
    """Whether a subquery is only FROM and WHERE, with a SELECT list that computes nothing."""
    query = found.query
    if not isinstance(query, exp.Select) or not present(query) <= _ALLOWED or arg(query, "from") is None:
        return False
    distinct = query.args.get("distinct")
    if isinstance(distinct, exp.Distinct) and distinct.args.get("on"):
        return False
    shown = [entry.this if isinstance(entry, exp.Alias) else entry for entry in query.expressions]
    if not all(isinstance(entry, _PLAIN) for entry in shown):
        return False
    if found.member is None:
        return True
    return len(shown) == 1 and isinstance(shown[0], exp.Column) and not isinstance(shown[0].this, exp.Star)


def _join_relations(reader: BlockReader, draft: Draft, found: Membership, ctes: dict[str, Output]) -> None:
    """The subquery's relations become relations of the block."""
    from godb_fast.sql.from_clause import FromClause

    query = found.query
    inner = Draft(draft.index, Scope(draft.scope, reader.dialect), reader.places.clauses(query))
    origin = arg(query, "from")
    joins = query.args.get("joins") or []
    assert origin is not None
    leaves = [origin.this, *(join.this for join in joins)]
    if not all(isinstance(leaf, exp.Table) and not leaf.args.get("joins") for leaf in leaves):
        raise CannotPlan("more than tables in the subquery")
    for join in joins:
        kind = str(join.args.get("kind") or "").upper()
        if any(join.args.get(name) for name in ("side", "method", "using")) or kind not in (
            "", "INNER", "CROSS",
        ):  # fmt: skip
            raise CannotPlan("outer joins in the subquery")
    blocks = len(reader.blocks)
    inner.scope.aliases = aliases_of(query, reader.dialect)
    reader.scopes[id(query)] = inner.scope
    try:
        relations = FromClause(reader, inner, ctes)
        for leaf in leaves:
            relations.add_sources(leaf)
        if relations.reasons:
            raise CannotPlan(relations.reasons[0])
        reader.places.check_from(inner.clauses, [source.span for source in inner.sources])
        if len({source.alias for source in inner.sources}) < len(inner.sources):
            raise CannotPlan("a relation twice in the subquery")
        inner.scope.sources = inner.sources
        base = len(draft.sources)
        draft.absorbed.append((inner.scope, base))
        draft.sources.extend(inner.sources)
        _add_join(reader, draft, inner, found, base)
    except CannotPlan:
        # Views of the subquery may have left blocks; the subquery will be read again as a block.
        del reader.blocks[blocks:]
        reader.scopes.pop(id(query), None)
        raise
    reader.done.add(id(query))


def _add_join(reader: BlockReader, draft: Draft, inner: Draft, found: Membership, base: int) -> None:
    from godb_fast.sql.conditions import condition_of, resolve

    query = found.query
    pieces = []
    if (where := query.args.get("where")) is not None:
        pieces.extend(reader.places.where(where.this, inner.clauses))
    for join in query.args.get("joins") or []:
        if join.args.get("on") is not None:
            pieces.extend(reader.places.on(join.args["on"]))
    own: list[int] = []
    correlated: list[int] = []
    for part, span in pieces:
        if reader.places.has_query(part):
            raise CannotPlan("a subquery in the subquery")
        condition, further = condition_of(reader, draft, part, span)
        if further:
            raise CannotPlan("the subquery looks further out than one block")
        if condition.mask & ((1 << base) - 1):
            if not isinstance(bare(part), _COMPARISONS):
                raise CannotPlan("the subquery is correlated by more than comparisons")
            correlated.append(len(draft.conditions))
        else:
            own.append(len(draft.conditions))
        draft.conditions.append(condition)
    if found.member is not None:
        shown = query.expressions[0]
        column = shown.this if isinstance(shown, exp.Alias) else shown
        left, right = resolve(reader, draft, found.member), resolve(reader, draft, column)
        if left is None or right is None or right.relation < base:
            raise CannotPlan("IN compares with an outer block")
        _check_types(draft, left, right)
        if found.anti:
            _check_not_null(draft, left, right)
        correlated.append(len(draft.conditions))
        draft.conditions.append(_equality(left, right))
    if not correlated:
        raise CannotPlan("an EXISTS that does not look at the block around it")
    _tell_apart(reader, draft, base)
    tree: OperatorTree = base
    for number in range(base + 1, base + len(inner.sources)):
        tree = JoinNode(JoinKind.INNER, tree, number)
    if isinstance(tree, JoinNode):
        tree = replace(tree, conjuncts=tuple(own))
    else:
        correlated = [*own, *correlated]
    _attach(draft, found, tree, correlated)
    # From here on the columns of the subquery are found by what was remembered of each.
    for number in range(base, base + len(inner.sources)):
        draft.sources[number] = replace(draft.sources[number], visible=False)


def _attach(draft: Draft, found: Membership, tree: OperatorTree, conjuncts: list[int]) -> None:
    assert draft.tree is not None
    kind = JoinKind.ANTI if found.anti else JoinKind.SEMI
    draft.tree = JoinNode(kind, draft.tree, tree, tuple(conjuncts))


def _equality(left: ColumnRef, right: ColumnRef) -> Condition:
    mask = 1 << left.relation | 1 << right.relation
    return Condition(None, None, mask, mask, left, right, "=")


def _check_types(draft: Draft, left: ColumnRef, right: ColumnRef) -> None:
    kind = family(draft.sources[left.relation].types.get(left.name))
    if kind is None or kind != family(draft.sources[right.relation].types.get(right.name)):
        raise CannotPlan("IN compares two types")


def _check_not_null(draft: Draft, left: ColumnRef, right: ColumnRef) -> None:
    if draft.outer_joins or not all(
        ref.name in draft.sources[ref.relation].not_null for ref in (left, right)
    ):
        raise CannotPlan("NOT IN over columns that may be NULL")


def _tell_apart(reader: BlockReader, draft: Draft, base: int) -> None:
    """Relations of a subquery share a FROM clause with the block's own: names that clash are changed."""
    taken = {source.alias for source in draft.sources[:base]}
    for number in range(base, len(draft.sources)):
        source = draft.sources[number]
        if source.alias in taken:
            if source.span[1] - source.name_span[1] > 2:
                raise CannotPlan("a relation with renamed columns")
            name = reader.fresh_name(f"{source.alias}_inner")
            draft.sources[number] = replace(source, alias_text=name)
            draft.leaves[number] = Leaf(source.name_span, name, renamed=True)
            taken.add(name)
        taken.add(source.alias)


def _join_result(
    reader: BlockReader, draft: Draft, found: Membership, span: Span, ctes: dict[str, Output]
) -> None:
    """x IN (any query that does not look outside): a semi join with the query as a derived table."""
    from godb_fast.sql.conditions import resolve

    assert found.member is not None
    tokens = reader.places.tokens
    left = resolve(reader, draft, found.member)
    closing = span[1] - 1
    while closing > span[0] and tokens.words[tokens.partner[closing] - 1] != "in":
        closing -= 1
    opening = tokens.partner[closing]
    if left is None or opening <= span[0] or tokens.words[opening] != "(":
        raise CannotPlan("an IN whose text cannot be found")
    made = reader.query(found.query, draft.index, draft.scope, ctes, "subquery")
    kind = family(draft.sources[left.relation].types.get(left.name))
    if (
        kind is None
        or len(made.columns) != 1
        or family(made.columns[0][1]) != kind
        or reader.looks_outside(found.query)
        or any(found.query.args.get(name) for name in ("limit", "offset", "fetch"))
    ):
        raise CannotPlan("an IN that is no semi join with a result")
    reader.blocks[made.block] = replace(reader.blocks[made.block], role="derived")
    alias, column, number = reader.fresh_name("in_list"), "member", len(draft.sources)
    draft.sources.append(
        Source(
            alias,
            alias,
            {column: column},
            {column: made.columns[0][1] or ""},
            block=made.block,
            order=(column,),
            span=(opening, closing + 1),
            visible=False,
        )
    )
    draft.leaves[number] = Leaf((opening, closing + 1), alias, columns=(column,))
    draft.conditions.append(_equality(left, ColumnRef(number, column)))
    _attach(draft, found, number, [len(draft.conditions) - 1])
