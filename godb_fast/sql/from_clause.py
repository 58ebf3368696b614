"""FROM: its relations, and the tree of its joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from godb_fast.core import ColumnRef, JoinKind
from godb_fast.core.conflicts import JoinNode, OperatorTree
from godb_fast.sql.conditions import condition_of
from godb_fast.sql.draft import (
    Condition,
    Draft,
    Output,
    described,
    family,
    made_source,
    present,
    rename_source,
    renamed_output,
)
from godb_fast.sql.scopes import CannotPlan, Source, fold

if TYPE_CHECKING:
    from godb_fast.sql.blocks import BlockReader


class FromClause:
    """Reads the FROM clause of one block.

    Relations come first, so that every derived table is read whatever else is wrong; then the joins.
    """

    def __init__(self, reader: BlockReader, draft: Draft, ctes: dict[str, Output]) -> None:
        self.reader = reader
        self.draft = draft
        self.ctes = ctes
        self.dialect = reader.dialect
        self.places = reader.places
        self.reasons: list[str] = []
        self._numbers: dict[int, int] = {}

    def read(self, first: exp.Expression, joins: Sequence[exp.Expression]) -> None:
        """Fill in the draft's sources and tree.

        Raises
        ------
        CannotPlan
        """
        draft = self.draft
        for item in [first, *(join.this for join in joins)]:
            self.add_sources(item)
        seen: set[str] = set()
        for source in draft.sources:
            if source.alias in seen:
                self.reasons.append(f"{source.alias} appears twice in FROM")
            seen.add(source.alias)
        draft.scope.sources = list(draft.sources)
        draft.scope.open = any(not source.complete for source in draft.sources)
        if self.reasons:
            raise CannotPlan(self.reasons[0])
        draft.tree, _ = self._joins(first, joins)

    # -- relations ----------------------------------------------------------------------------------

    def add_sources(self, item: exp.Expression) -> None:
        """Relations of one item, in the order of the text."""
        number = len(self.draft.sources)
        try:
            item = _group(item)
            source = self._source(item)
        except CannotPlan as problem:
            self.reasons.append(str(problem))
            alias = item.args.get("alias")
            named = alias.this if isinstance(alias, exp.TableAlias) and alias.this else item
            source = Source(fold(named, self.dialect), named.name, {}, complete=False)
        self._numbers[id(item)] = number
        self.draft.sources.append(source)
        for join in item.args.get("joins") or []:
            self.add_sources(join.this)

    def _source(self, item: exp.Expression) -> Source:
        if isinstance(item, exp.Table):
            return self._table(item)
        if isinstance(item, exp.Subquery) and not isinstance(item.this, exp.Table):
            return self._derived(item)
        raise CannotPlan(f"{described(item)} in FROM")

    def _table(self, item: exp.Table) -> Source:
        extra = present(item) - {"this", "db", "catalog", "alias", "joins"}
        if not isinstance(item.this, exp.Identifier):
            raise CannotPlan("a table function in FROM")
        if extra:
            raise CannotPlan(f"{described(min(extra))} in FROM")
        parts = [item.args[name] for name in ("catalog", "db", "this") if item.args.get(name)]
        alias = item.args.get("alias")
        named = alias.this if alias is not None and alias.this is not None else parts[-1]
        first, last = self.places.token(parts[0]), self.places.token(named)
        renamed = list(alias.args.get("columns") or []) if alias is not None else []
        text = self.places.tokens.texts[last]
        if renamed:
            last = self.places.closing(last + 1)
        name = fold(parts[-1], self.dialect)
        made = self.ctes.get(name) if len(parts) == 1 else None
        if made is not None:
            if not made.complete:
                raise CannotPlan(f"the columns of {name} are not known")
            source = made_source(made, fold(named, self.dialect), text)
        else:
            source = self._stored(parts, fold(named, self.dialect), text)
        if renamed:
            rename_source(source, renamed, self.dialect)
        source.span = (first, last + 1)
        source.name_span = (first, self.places.token(parts[-1]) + 1)
        return source

    def _stored(self, parts: Sequence[exp.Expression], alias: str, text: str) -> Source:
        names = tuple(fold(part, self.dialect) if self.dialect == "postgres" else part.name for part in parts)
        table = self.reader.schema.resolve(names)
        if table is None:
            near = self.reader.schema.near(names[-1])
            hint = f" (near names: {', '.join(near)})" if near else ""
            raise CannotPlan(f"{'.'.join(names)} is not in the catalogue{hint}")
        columns = {
            name if self.dialect == "postgres" else fold(name, self.dialect): name for name in table.columns
        }
        if len(columns) != len(table.columns):
            raise CannotPlan(f"{table.name} has columns that differ only by case")
        source = Source(
            alias,
            text,
            columns,
            dict(zip(table.columns, table.types, strict=True)),
            order=table.columns,
            not_null=table.not_null,
        )
        if table.view_sql is None:
            source.table = table.name
        else:
            source.block = self.reader.view(self.draft.index, table.name, table.view_sql)
        return source

    def _derived(self, item: exp.Subquery) -> Source:
        tokens = self.places.tokens
        outer = self.draft.scope.parent
        found = self.reader.query(item, self.draft.index, outer, self.ctes, "derived")
        alias = item.args.get("alias")
        if alias is None or alias.this is None:
            raise CannotPlan("a derived table without a name")
        extra = present(item) - {"this", "alias", "joins", "with_", "with"}
        if extra:
            raise CannotPlan(f"{described(min(extra))} in FROM")
        name, named = fold(alias.this, self.dialect), self.places.token(alias.this)
        closing = named - 2 if tokens.words[named - 1] == "as" else named - 1
        opening = tokens.partner[closing] if tokens.words[closing] == ")" else -1
        if opening < 0:
            raise CannotPlan("a derived table whose text cannot be found")
        if self.reader.looks_outside(item):
            raise CannotPlan(f"the derived table {name} looks at what is outside of it")
        if not found.complete:
            raise CannotPlan(f"the columns of {name} are not known")
        last = self.places.closing(named + 1) if alias.args.get("columns") else named
        source = made_source(renamed_output(found, alias, self.dialect), name, tokens.texts[named])
        source.span = (opening, last + 1)
        return source

    # -- joins --------------------------------------------------------------------------------------

    def _joins(
        self, first: exp.Expression, joins: Sequence[exp.Expression], nested: bool = True
    ) -> tuple[OperatorTree, list[int]]:
        """The tree of a list of items and its relations; commas bind less than joins."""
        items: list[OperatorTree] = []
        everything: list[int] = []
        current, inside = self._item(first) if nested else self._leaf(first)
        for join in joins:
            right, right_inside = self._item(join.this)
            if _is_comma(join):
                items.append(current)
                everything.extend(inside)
                current, inside = right, right_inside
            else:
                current = self._join(join, current, inside, right, right_inside)
                inside = [*inside, *right_inside]
        items.append(current)
        everything.extend(inside)
        tree = items[0]
        for item in items[1:]:
            tree = JoinNode(JoinKind.INNER, tree, item)
        return tree, everything

    def _item(self, item: exp.Expression) -> tuple[OperatorTree, list[int]]:
        item = _group(item)
        joins = item.args.get("joins") or []
        if not joins:
            return self._leaf(item)
        if isinstance(item, exp.Subquery):
            raise CannotPlan("joins inside of a derived table's parentheses")
        return self._joins(item, joins, nested=False)

    def _leaf(self, item: exp.Expression) -> tuple[OperatorTree, list[int]]:
        number = self._numbers[id(item)]
        return number, [number]

    def _join(
        self,
        join: exp.Expression,
        left: OperatorTree,
        left_inside: list[int],
        right: OperatorTree,
        right_inside: list[int],
    ) -> JoinNode:
        method, side, kind = (str(join.args.get(name) or "").upper() for name in ("method", "side", "kind"))
        extra = present(join) - {"this", "on", "using", "method", "side", "kind"}
        if extra or method not in ("", "NATURAL"):
            raise CannotPlan(f"{method.lower() or min(extra)} join")
        if side == "FULL":
            raise CannotPlan("a FULL join is not reordered")
        semi = kind in ("SEMI", "ANTI")
        if kind not in ("", "INNER", "CROSS", "OUTER", "SEMI", "ANTI") or side not in ("", "LEFT", "RIGHT"):
            raise CannotPlan(f"{side} {kind} join".lower())
        if semi and side == "RIGHT":
            raise CannotPlan("right semi join")
        operator = JoinKind.INNER
        if semi:
            operator = JoinKind.SEMI if kind == "SEMI" else JoinKind.ANTI
        elif side:
            operator = JoinKind.LEFT
        numbers: list[int] = []
        if (on := join.args.get("on")) is not None:
            numbers = self._on(on)
        elif (using := join.args.get("using")) or method == "NATURAL":
            names = [fold(entry, self.dialect) for entry in using or ()]
            if side == "RIGHT":
                raise CannotPlan("a RIGHT join with USING")
            numbers = self._using(
                names or self._natural(left_inside, right_inside), left_inside, right_inside, not semi
            )
        if semi:
            for number in right_inside:
                self.draft.sources[number].visible = False
        self.draft.outer_joins |= operator is JoinKind.LEFT
        if side == "RIGHT":
            left, right = right, left
        return JoinNode(operator, left, right, tuple(numbers))

    def _on(self, on: exp.Expression) -> list[int]:
        numbers = []
        for part, span in self.places.on(on):
            if self.places.has_query(part):
                raise CannotPlan("a subquery in an ON clause")
            condition, outer = condition_of(self.reader, self.draft, part, span)
            if outer:
                raise CannotPlan("an ON clause that looks at an outer query")
            self.draft.conditions.append(condition)
            numbers.append(len(self.draft.conditions) - 1)
        return numbers

    def _natural(self, left: list[int], right: list[int]) -> list[str]:
        sources = self.draft.sources
        ours = {name for number in left for name in sources[number].columns}
        names = [name for number in right for name in sources[number].columns if name in ours]
        if not names:
            raise CannotPlan("a NATURAL join without a common column")
        return names

    def _using(self, names: Sequence[str], left: list[int], right: list[int], merge: bool) -> list[int]:
        draft = self.draft
        numbers = []
        for name in names:
            merged = draft.scope.merged.get(name)
            ours = [i for i in left if name in draft.sources[i].columns]
            if merged is not None and merged in ours:
                ours = [merged]
            theirs = [i for i in right if name in draft.sources[i].columns]
            if len(ours) != 1 or len(theirs) != 1:
                raise CannotPlan(f"USING ({name}) is not one column on either side")
            one, other = ours[0], theirs[0]
            left_ref = ColumnRef(one, draft.sources[one].columns[name])
            right_ref = ColumnRef(other, draft.sources[other].columns[name])
            if merge:
                kinds = [
                    draft.sources[one].types.get(left_ref.name),
                    draft.sources[other].types.get(right_ref.name),
                ]
                # What is merged has the wider type.
                if family(kinds[0]) is None or kinds[0] != kinds[1]:
                    raise CannotPlan(f"USING ({name}) joins columns of two types")
                draft.scope.merged[name] = one
                draft.hidden.setdefault(other, []).append(name)
            mask = 1 << one | 1 << other
            draft.conditions.append(Condition(None, None, mask, mask, left_ref, right_ref, "="))
            numbers.append(len(draft.conditions) - 1)
        return numbers


def _group(item: exp.Expression) -> exp.Expression:
    """The first item of joins in parentheses, which carries the others; any other item as it is."""
    while isinstance(item, exp.Subquery) and isinstance(item.this, exp.Table) and not item.args.get("alias"):
        if item.args.get("joins"):
            raise CannotPlan("joins behind parentheses that hold joins")
        item = item.this
    return item


def _is_comma(join: exp.Expression) -> bool:
    return not any(join.args.get(name) for name in ("on", "using", "side", "kind", "method"))
