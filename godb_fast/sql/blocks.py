"""From a parsed statement to its tree of blocks.

One :class:`BlockReader` reads one text (a statement, or a view's). It walks queries from the outside in;
each SELECT becomes a block, and what keeps a block from being planned is caught here as its reason, while
the blocks within it are read all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlglot import exp

from godb_fast.core import Block, ColumnRef, Schema, Segments
from godb_fast.sql.conditions import read_where, resolve
from godb_fast.sql.draft import Draft, Output, arg, quoted, relation_of, renamed_output, spelled
from godb_fast.sql.from_clause import FromClause
from godb_fast.sql.graphs import assemble
from godb_fast.sql.layout import Layout, Leaf
from godb_fast.sql.places import Places, print_tokens
from godb_fast.sql.predicates import PredicateReader
from godb_fast.sql.scopes import CannotPlan, Scope, aliases_of, below, columns_of, fold, own_select
from godb_fast.sql.tokens import Tokens

#: Views inside views are looked into this deep, for estimates.
MAX_VIEW_DEPTH: Final = 4


class BlockReader:
    """Reads the queries of one text.

    Parameters
    ----------
    tokens : Tokens
        The text.
    blocks : list
        Where blocks are appended.
    view_depth : int
        0 for the statement itself; blocks of views only serve estimates.
    """

    def __init__(
        self, tokens: Tokens, dialect: str, schema: Schema, blocks: list[Block], view_depth: int = 0
    ) -> None:
        self.places = Places(tokens)
        self.dialect = dialect
        self.schema = schema
        self.blocks = blocks
        self.view_depth = view_depth
        self.layouts: dict[int, Layout] = {}
        self.scopes: dict[int, Scope] = {}
        #: Queries that have been read, by identity.
        self.done: set[int] = set()
        #: Queries whose text gives an output column its name.
        self._naming: set[int] = set()
        self._views: dict[str, int] = {}
        self._names = {text.strip('"').lower() for text in tokens.texts}

    # -- queries ------------------------------------------------------------------------------------

    def query(
        self,
        node: exp.Expression,
        parent: int | None,
        outer: Scope | None,
        ctes: dict[str, Output],
        role: str,
        materialized: bool | None = None,
    ) -> Output:
        """Read a SELECT, a set operation, or either in parentheses."""
        while isinstance(node, exp.Subquery) and arg(node, "with") is None:
            node = node.this
        if self.view_depth:
            role = "view"
        if isinstance(node, exp.Select):
            return self._select(node, parent, outer, ctes, role, materialized)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, parent, outer, ctes, role, materialized)
        reason = f"{type(node).__name__.lower()} in place of a query"
        return Output(self.reserve(parent, role, reason), (), complete=False)

    def reserve(self, parent: int | None, role: str, reason: str | None = None) -> int:
        """Number of a new block; its contents follow."""
        self.blocks.append(Block(len(self.blocks), parent, role, (), None, reason=reason))
        return len(self.blocks) - 1

    def _set_operation(
        self,
        node: exp.Expression,
        parent: int | None,
        outer: Scope | None,
        ctes: dict[str, Output],
        role: str,
        materialized: bool | None,
    ) -> Output:
        index = self.reserve(parent, role)
        ctes = self._with(node, index, outer, ctes)
        operands: list[exp.Expression] = []
        spine = node
        while isinstance(spine, exp.SetOperation) and (spine is node or arg(spine, "with") is None):
            self.done.add(id(spine))
            operands.append(spine.args["expression"])
            spine = spine.this
        operands.append(spine)
        outputs = [self.query(part, index, outer, ctes, "set_operand") for part in reversed(operands)]
        distinct = bool(node.args.get("distinct", True))
        self.blocks[index] = replace(self.blocks[index], distinct=distinct, materialized=materialized)
        columns = tuple(
            (name, kind if all(_type_at(other, place) == kind for other in outputs) else None)
            for place, (name, kind) in enumerate(outputs[0].columns)
        )
        return Output(index, columns, outputs[0].complete)

    def _with(
        self, node: exp.Expression, index: int, outer: Scope | None, ctes: dict[str, Output]
    ) -> dict[str, Output]:
        clause = arg(node, "with")
        if clause is None:
            return ctes
        known = dict(ctes)
        role = "view" if self.view_depth else "cte"
        for entry in clause.expressions:
            name, body = fold(entry.args["alias"].this, self.dialect), entry.this
            if clause.args.get("recursive") and _mentions(body, name, self.dialect):
                self.done.update(id(part) for part in below(body))
                known[name] = Output(self.reserve(index, role, "a recursive CTE"), (), complete=False)
            elif not isinstance(body, (exp.Select, exp.SetOperation, exp.Subquery)):
                reason = f"the CTE {name} is not a SELECT"
                known[name] = Output(self.reserve(index, role, reason), (), complete=False)
            else:
                found = self.query(body, index, outer, known, role, entry.args.get("materialized"))
                known[name] = renamed_output(found, entry.args["alias"], self.dialect)
        return known

    def _select(
        self,
        node: exp.Select,
        parent: int | None,
        outer: Scope | None,
        ctes: dict[str, Output],
        role: str,
        materialized: bool | None,
    ) -> Output:
        index = self.reserve(parent, role)
        self.done.add(id(node))
        scope = self.scopes[id(node)] = Scope(outer, self.dialect)
        scope.aliases = aliases_of(node, self.dialect)
        draft = Draft(index, scope, self.places.clauses(node))
        ctes = self._with(node, index, outer, ctes)
        block = Block(
            index,
            parent,
            role,
            (),
            None,
            aggregated=node.args.get("group") is not None or any(map(_aggregates, _shown(node))),
            distinct=bool(node.args.get("distinct")),
            materialized=materialized,
            sort_keys=len(order.expressions) if (order := node.args.get("order")) is not None else 0,
            limited=any(node.args.get(part) is not None for part in ("limit", "offset", "fetch")),
        )
        if self.dialect == "duckdb" and self.places.selects > 1:
            for entry in node.expressions:
                if not isinstance(entry, (exp.Alias, exp.Column, exp.Star)):
                    self._naming.update(id(part) for part in below(entry) if isinstance(part, exp.Select))
        try:
            self._read(draft, node, ctes)
        except CannotPlan as problem:
            draft.reason = str(problem)
        self.nested(node, index, scope, ctes)
        if draft.reason is None and draft.tree is not None:
            try:
                block = self._finish(draft, node, block)
            except CannotPlan as problem:
                draft.reason = str(problem)
        if draft.reason is not None:
            relations = tuple(relation_of(source) for source in draft.sources)
            block = replace(block, reason=draft.reason, relations=relations)
        self.blocks[index] = block
        return self._output(node, index, scope)

    def _read(self, draft: Draft, node: exp.Select, ctes: dict[str, Output]) -> None:
        origin = arg(node, "from")
        if origin is None:
            return
        FromClause(self, draft, ctes).read(origin.this, node.args.get("joins") or [])
        for part in ("laterals", "pivots", "connect", "match", "prewhere"):
            if node.args.get(part):
                raise CannotPlan(f"{part.removesuffix('s')} in FROM")
        if (where := node.args.get("where")) is not None:
            read_where(self, draft, where, ctes)

    def nested(self, node: exp.Expression, index: int, scope: Scope, ctes: dict[str, Output]) -> None:
        """Read the subqueries below a node that nothing has read yet."""
        if self.places.selects < 2:
            return
        stack: list[exp.Expression] = [node]
        while stack:
            part = stack.pop()
            if part is not node and isinstance(part, (exp.Select, exp.SetOperation)):
                if id(part) not in self.done:
                    self.query(part, index, scope, ctes, "subquery")
            elif not isinstance(part, exp.With):
                stack.extend(reversed(list(part.iter_expressions())))

    def view(self, parent: int, name: str, text: str) -> int:
        """The block of a view: only for estimates, so whatever goes wrong is merely its reason."""
        from godb_fast.sql.parsing import read_view

        if name not in self._views:
            if self.view_depth >= MAX_VIEW_DEPTH:
                reason = f"view {name} lies {MAX_VIEW_DEPTH} views deep"
                self._views[name] = self.reserve(parent, "view", reason)
            else:
                self._views[name] = read_view(self, parent, name, text)
        return self._views[name]

    def fresh_name(self, stem: str) -> str:
        """A name that the statement does not use."""
        # PostgreSQL cuts names after 63 bytes.
        stem = "".join(c if c.isascii() and c.isalnum() else "_" for c in stem.lower())[-50:]
        number = 1
        while f"{stem}_{number}" in self._names:
            number += 1
        self._names.add(f"{stem}_{number}")
        return f"{stem}_{number}"

    def looks_outside(self, item: exp.Expression) -> bool:
        """Whether a query uses a column that is not of its own making, or that nobody knows."""
        own = {id(self.scopes[id(part)]) for part in below(item) if id(part) in self.scopes}
        for column in columns_of(item):
            scope = self.scopes.get(id(own_select(column)))
            if isinstance(column.this, exp.Star) or scope is None or scope.open:
                # ORDER BY of a set operation names its output; open scopes keep their block unplanned.
                continue
            try:
                if id(scope.find(column)[0]) not in own:
                    return True
            except CannotPlan:
                if (
                    column.args.get("table") is not None
                    or fold(column.this, self.dialect) not in scope.aliases
                ):
                    return True
        return False

    # -- the finished block -------------------------------------------------------------------------

    def _finish(self, draft: Draft, node: exp.Select, block: Block) -> Block:
        own = [source.span for source in draft.scope.sources]
        clauses = self.places.check_from(draft.clauses, own)
        if id(node) in self._naming:
            raise CannotPlan("its text is the name of an output column")
        tokens = self.places.tokens
        signed = frozenset(
            slot
            for slot, text in zip(tokens.slots, tokens.texts, strict=True)
            if slot >= 0 and text.startswith("-")
        )
        reader = PredicateReader(
            lambda column: self._reference(draft, column),
            tokens.stand_ins,
            signed,
            tokens.literals if self.view_depth else None,
        )
        made = assemble(draft, reader, lambda number: self._text(draft, number))
        if not self.view_depth:
            self._stars(draft, node)
            self._merged(draft, node)
            self._whole_rows(draft, node)
            self.layouts[draft.index] = Layout(
                origin=clauses.origin,
                body_end=clauses.body_end,
                leaves=tuple(
                    draft.leaves.get(number, Leaf(source.span, source.alias_text))
                    for number, source in enumerate(draft.sources)
                ),
                where=tuple(draft.printed),
                conditions={number: self._text(draft, number) for number in made.printed},
                stays=made.stays,
                leaf_filters=made.leaf_filters,
                sheltered_filters=made.sheltered_filters,
                edits=draft.edits,
                columns=tuple(self._spelled(draft, ref) for ref in made.graph.class_columns),
            )
        return replace(
            block,
            relations=tuple(relation_of(source) for source in draft.sources),
            graph=made.graph,
            filters=made.filters,
            group_by=self._group_by(draft, node),
        )

    def _reference(self, draft: Draft, column: exp.Column) -> ColumnRef | None:
        try:
            return resolve(self, draft, column)
        except CannotPlan:
            return None

    def _spelled(self, draft: Draft, ref: ColumnRef) -> str:
        return spelled(draft.sources[ref.relation], ref.name, self.dialect)

    def _text(self, draft: Draft, number: int) -> Segments:
        """A condition as it is printed in an ON clause: each column with its relation's name."""
        condition = draft.conditions[number]
        if condition.node is None or condition.span is None:
            assert condition.left is not None
            assert condition.right is not None
            return (f"{self._spelled(draft, condition.left)} = {self._spelled(draft, condition.right)}",)
        tokens = self.places.tokens
        changed: dict[int, str] = {}
        for column in self.places.columns(condition.node):
            found = resolve(self, draft, column)
            if found is None:
                continue
            alias = draft.sources[found.relation].alias_text
            if column.args.get("table") is not None:
                changed[self.places.token(column.args["table"])] = alias
            else:
                token = self.places.token(column.this)
                changed[token] = f"{alias}.{tokens.texts[token]}"
        text = print_tokens(tokens, *condition.span, changed)
        return ("(", *text, ")") if isinstance(condition.node, exp.Or) else text

    def _stars(self, draft: Draft, node: exp.Select) -> None:
        """``*`` as the list of the relations, in the order of FROM."""
        for entry in node.expressions:
            if not isinstance(entry, exp.Star):
                if not isinstance(entry, exp.Column):
                    _check_stars(entry)
                continue
            if any(entry.args.values()):
                raise CannotPlan("a star with EXCLUDE, REPLACE or RENAME")
            pieces = []
            for number, source in enumerate(draft.sources):
                hidden = draft.hidden.get(number)
                if hidden and self.dialect != "duckdb":
                    raise CannotPlan("a star over columns that USING merged")
                if source.visible:
                    names = ", ".join(map(quoted, hidden or ()))
                    pieces.append(f"{source.alias_text}.*" + (f" EXCLUDE ({names})" if names else ""))
            assert draft.clauses is not None
            draft.edits[self.places.star(entry, draft.clauses)] = ", ".join(pieces)

    def _whole_rows(self, draft: Draft, node: exp.Select) -> None:
        """A row of PostgreSQL's has its table's type, and would lose it where filters move into FROM."""
        if self.dialect != "postgres":
            return
        for column in columns_of(node):
            name = fold(column.this, self.dialect)
            if (
                column.args.get("table") is None
                and any(source.alias == name for source in draft.sources)
                and not any(name in source.columns for source in draft.sources)
            ):
                raise CannotPlan(f"a whole row of {name}")

    def _merged(self, draft: Draft, node: exp.Select) -> None:
        """Unqualified uses of columns that USING or NATURAL had merged get the relation that they mean."""
        merged = draft.scope.merged
        for column in columns_of(node) if merged else ():
            name = fold(column.this, self.dialect)
            if column.args.get("table") is not None or name not in merged:
                continue
            scope = self.scopes.get(id(own_select(column)))
            if scope is None:
                raise CannotPlan(f"column {name} of USING in an unclear place")
            if scope.find(column)[0] is not draft.scope:
                continue
            entry: Any = column
            while entry.parent is not None and entry.parent is not node:
                entry = entry.parent
            if _sorts_by(column, node) and any(
                isinstance(shown, exp.Alias) and fold(shown.args["alias"], self.dialect) == name
                for shown in node.expressions
            ):
                raise CannotPlan(f"ORDER BY {name}, which is an alias and a column of USING")
            if entry.arg_key == "expressions" and not isinstance(entry, (exp.Alias, exp.Column)):
                raise CannotPlan(f"an unnamed expression over {name} of USING")
            token = self.places.token(column.this)
            words = self.places.tokens.words
            if (
                entry is column
                and entry.arg_key == "expressions"
                and not (
                    words[token - 1] in ("select", ",", "distinct", "all")
                    and (token + 1 == len(words) or words[token + 1] in (",", "from", ")"))
                )
            ):
                # The parser drops what changes nothing, such as a plus sign; the name keeps it.
                raise CannotPlan(f"an unnamed expression over {name} of USING")
            alias = draft.sources[merged[name]].alias_text
            draft.edits[token] = f"{alias}.{self.places.tokens.texts[token]}"

    def _group_by(self, draft: Draft, node: exp.Select) -> tuple[ColumnRef, ...]:
        group = node.args.get("group")
        if group is None:
            return ()
        entries = list(group.expressions)
        if group.args.get("all"):
            entries = [entry for entry in node.expressions if not _aggregates(entry)]
        found: list[ColumnRef] = []
        for entry in entries:
            if isinstance(entry, exp.Literal) and entry.name.isdigit() and not entry.is_string:
                place = int(entry.name) - 1
                entry = node.expressions[place] if 0 <= place < len(node.expressions) else entry
            shown = entry.this if isinstance(entry, exp.Alias) else entry
            if isinstance(shown, exp.Column) and (ref := self._reference(draft, shown)) is not None:
                found.append(ref)
        return tuple(found)

    def _output(self, node: exp.Select, index: int, scope: Scope) -> Output:
        columns: list[tuple[str | None, str | None]] = []
        complete = True
        for entry in node.expressions:
            shown = entry.this if isinstance(entry, exp.Alias) else entry
            star = shown.this if isinstance(shown, exp.Column) else shown
            if isinstance(star, exp.Star):
                wanted = fold(shown.args["table"], self.dialect) if star is not shown else None
                sources = [
                    source for source in scope.sources if source.visible and wanted in (None, source.alias)
                ]
                complete &= (
                    bool(sources)
                    and all(source.complete for source in sources)
                    and not any(star.args.values())
                    and not (scope.merged and wanted is None)
                )
                for source in sources:
                    columns.extend((seen, source.types.get(own)) for seen, own in source.columns.items())
                continue
            complete &= not isinstance(shown, (exp.Columns, exp.Unnest))
            kind = self._type(shown, scope)
            if isinstance(entry, exp.Alias) and entry.args.get("alias"):
                columns.append((fold(entry.args["alias"], self.dialect), kind))
            elif isinstance(shown, exp.Column):
                columns.append((fold(shown.this, self.dialect), kind))
            else:
                columns.append((None, kind))
        return Output(index, tuple(columns), complete)

    def _type(self, shown: exp.Expression, scope: Scope) -> str | None:
        """Type of a plain column of the SELECT list."""
        if not isinstance(shown, exp.Column):
            return None
        try:
            owner, number, name = scope.find(shown)
        except CannotPlan:
            return None
        return owner.sources[number].types.get(name)


def _shown(node: exp.Select) -> Sequence[exp.Expression]:
    having = node.args.get("having")
    return [*node.expressions, *([having] if having is not None else [])]


def _aggregates(node: exp.Expression) -> bool:
    """Whether an expression holds an aggregate that is no window function, outside of subqueries."""
    stack = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, exp.Window):
            continue
        if isinstance(part, exp.AggFunc):
            return True
        if not isinstance(part, (exp.Select, exp.SetOperation)):
            stack.extend(part.iter_expressions())
    return False


def _check_stars(entry: exp.Expression) -> None:
    """Refuse what shows several columns in the order of FROM, unless it is a plain star."""
    stack = [entry]
    while stack:
        part = stack.pop()
        if isinstance(part, exp.Columns):
            raise CannotPlan("COLUMNS(…) depends on the order of FROM")
        if isinstance(part, exp.Star) and not isinstance(part.parent, exp.Count):
            raise CannotPlan("a star inside of an expression")
        if not isinstance(part, (exp.Select, exp.SetOperation)):
            stack.extend(part.iter_expressions())


def _mentions(body: exp.Expression, name: str, dialect: str) -> bool:
    return any(fold(table.this, dialect) == name for table in body.find_all(exp.Table) if table.name)


def _type_at(found: Output, place: int) -> str | None:
    return found.columns[place][1] if place < len(found.columns) else None


def _sorts_by(column: exp.Column, select: exp.Select) -> bool:
    """Whether a column is a whole entry of a SELECT's ORDER BY."""
    part: Any = column.parent
    while isinstance(part, (exp.Paren, exp.Ordered)):
        part = part.parent
    return isinstance(part, exp.Order) and part.parent is select
