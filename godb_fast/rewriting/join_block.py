"""One SELECT as the duplicate-aware rules see it: inputs, conjuncts, and which column is whose.

Read are blocks of inner joins (commas, JOIN … ON, USING) with LEFT JOINs of single relations. For those,
FROM and WHERE mean: the product of the *core* inputs, filtered by all conjuncts of WHERE and of the inner
joins' ON; then each LEFT JOIN in turn pads. So core inputs may be joined in any order and any grouping,
before the padded ones. A block that is not of this kind raises :class:`Unsuitable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from sqlglot import exp

from godb_fast.core import Schema, Table
from godb_fast.sql.draft import arg, bare, present
from godb_fast.sql.scopes import below, copied, fold, words

#: Number of an input, and a column's own name.
Ref: TypeAlias = tuple[int, str]

_META: Final = "input column"
_SELECT: Final = words(
    "expressions from_ from joins where group having order limit offset distinct with_ with"
)
#: Functions that may change places: immutable, or stable within one statement. Connectives are among the
#: parser's functions.
_FUNCTIONS: Final[tuple[type, ...]] = (
    exp.Abs, exp.And, exp.Case, exp.Cast, exp.Ceil, exp.Coalesce, exp.Concat, exp.CurrentDate,
    exp.CurrentTimestamp, exp.DateTrunc, exp.Exists,
    exp.Extract, exp.Floor, exp.Greatest, exp.If, exp.Least, exp.Length, exp.Lower, exp.Nullif, exp.Or,
    exp.Round, exp.Sqrt, exp.Substring, exp.TimestampTrunc, exp.Trim, exp.TryCast, exp.Upper, exp.Xor,
    exp.Year, exp.Month, exp.Day, exp.Left, exp.Right, exp.AggFunc,
)  # fmt: skip
_REFUSED: Final = (exp.Window, exp.Operator, exp.Dot, exp.TableSample, exp.Lateral, exp.Unnest, exp.Into)


class Unsuitable(Exception):
    """Why a rule leaves a SELECT alone; never leaves this room."""


@dataclass(eq=False)
class Input:
    """One relation of FROM.

    Parameters
    ----------
    leaf : exp.Expression
        As it stands in FROM, alias included.
    columns : dict of str to str
        Own name by folded name.
    known : bool
        False for derived tables and CTEs, whose columns are not looked up: every column of the block has to
        be qualified then.
    padded : bool
        Whether it is the right side of a LEFT JOIN.
    """

    number: int
    alias: str
    leaf: exp.Expression
    columns: dict[str, str]
    types: dict[str, str]
    unique: tuple[tuple[str, ...], ...] = ()
    not_null: frozenset[str] = frozenset()
    known: bool = True
    padded: bool = False


@dataclass(eq=False)
class Conjunct:
    """A condition of WHERE or ON that must hold.

    Parameters
    ----------
    on : int or None
        The padded input whose ON it belongs to; None for what filters the block.
    """

    node: exp.Expression
    refs: frozenset[Ref]
    on: int | None = None
    is_equality: bool = False

    @property
    def inputs(self) -> frozenset[int]:
        """Inputs that it looks at."""
        return frozenset(number for number, _ in self.refs)


@dataclass(eq=False)
class JoinBlock:
    """A SELECT whose FROM and WHERE have been read."""

    select: exp.Select
    dialect: str
    inputs: list[Input] = field(default_factory=list)
    conjuncts: list[Conjunct] = field(default_factory=list)
    #: Pairs of columns that a conjunct of the whole block holds equal.
    equal: list[tuple[Ref, Ref]] = field(default_factory=list)
    #: Columns that a conjunct of the whole block holds equal to a literal.
    fixed: set[Ref] = field(default_factory=set)
    #: Whether USING merged columns, whose bare names are ambiguous once it is written as ON.
    has_merged: bool = False

    def label(self, members: Iterable[int]) -> str:
        """Short names of some inputs, for the name of a form."""
        names = []
        for number in sorted(members):
            alias = self.inputs[number].alias
            names.append(alias if alias.isascii() and alias.isidentifier() else f"input{number}")
        return "-".join(names)

    @property
    def core(self) -> frozenset[int]:
        """Inputs that no join pads."""
        return frozenset(entry.number for entry in self.inputs if not entry.padded)

    def neighbours(
        self, number: int, among: Iterable[int], implied: frozenset[Ref] = frozenset()
    ) -> set[int]:
        """Inputs that a conjunct of the whole block connects with one.

        Parameters
        ----------
        implied : frozenset of Ref
            Equalities of two of these columns do not count.
        """
        found: set[int] = set()
        for conjunct in self.conjuncts:
            if conjunct.on is None and number in conjunct.inputs and not (
                conjunct.is_equality and conjunct.refs <= implied
            ):  # fmt: skip
                found |= conjunct.inputs
        return (found - {number}) & set(among)

    def components(
        self, members: Iterable[int], implied: frozenset[Ref] = frozenset()
    ) -> list[frozenset[int]]:
        """Connected parts of some inputs, in the order of FROM."""
        left = set(members)
        found = []
        while left:
            part = {min(left)}
            todo = list(part)
            while todo:
                new = self.neighbours(todo.pop(), left, implied) - part
                part |= new
                todo.extend(new)
            left -= part
            found.append(frozenset(part))
        return found

    def equals_of(self, number: int) -> frozenset[Ref]:
        """Columns that are equal to a column of an input, its own included."""
        found = {ref for pair in self.equal for ref in pair if ref[0] == number}
        changed = True
        while changed:
            changed = False
            for one, other in self.equal:
                if (one in found) != (other in found):
                    found |= {one, other}
                    changed = True
        return frozenset(found)

    def is_single(self, members: Iterable[int], known: Iterable[Ref]) -> bool:
        """Whether some inputs, joined, have one row at most for given values of some columns.

        A closure over keys, equalities and fixed columns. Used to leave out what cannot pay; no proof of a
        rewrite rests on it.
        """
        columns = set(known) | self.fixed
        todo = set(members)
        changed = True
        while changed and todo:
            changed = False
            for left, right in self.equal:
                for one, other in ((left, right), (right, left)):
                    if one in columns and other not in columns:
                        columns.add(other)
                        changed = True
            for number in tuple(todo):
                entry = self.inputs[number]
                if any(all((number, name) in columns for name in key) for key in entry.unique):
                    columns |= {(number, name) for name in entry.columns.values()}
                    todo.discard(number)
                    changed = True
        return not todo


def ref_of(column: exp.Expression) -> Ref | None:
    """The input's column that a column of a read block stands for; None for columns of inner queries and
    names of the SELECT list."""
    found = column.meta.get(_META) if isinstance(column, exp.Column) else None
    return (int(found[0]), str(found[1])) if found is not None else None


def refs_below(node: exp.Expression) -> frozenset[Ref]:
    """All columns of the block's inputs below a node, those in inner queries too."""
    found = (ref_of(part) for part in below(node) if isinstance(part, exp.Column))
    return frozenset(ref for ref in found if ref is not None)


def selects(tree: exp.Expression) -> list[exp.Select]:
    """All SELECTs of a statement, in an order that a template always has."""
    return [part for part in below(tree) if isinstance(part, exp.Select)]


def cte_names(tree: exp.Expression, dialect: str) -> frozenset[str]:
    """Folded names of all common table expressions, wherever they are seen."""
    return frozenset(
        fold(part.args["alias"].this, dialect)
        for part in below(tree)
        if isinstance(part, exp.CTE) and part.args.get("alias") is not None
    )


def read_join_block(select: exp.Select, schema: Schema, dialect: str, ctes: frozenset[str]) -> JoinBlock:
    """Inputs and conjuncts of a SELECT; its columns are marked, so that copies of its parts know them.

    Raises
    ------
    Unsuitable
        If it is not made of inner joins and LEFT JOINs of single relations, looks at a query around it, or
        holds what must not change places.
    """
    return _Reader(select, schema, dialect, ctes).read()


@dataclass(frozen=True)
class _InnerQuery:
    """A query within a condition: its relations with their columns (None: not known), and its aliases."""

    sources: dict[str, frozenset[str] | None]
    shown: frozenset[str]


class _Reader:
    def __init__(self, select: exp.Select, schema: Schema, dialect: str, ctes: frozenset[str]) -> None:
        self.block = JoinBlock(select, dialect)
        self.schema = schema
        self.dialect = dialect
        self.ctes = ctes
        #: Columns that USING merged: the input whose column the bare name stands for.
        self.merged: dict[str, Ref] = {}
        self.shown: dict[str, exp.Expression] = {}

    def read(self) -> JoinBlock:
        block, select = self.block, self.block.select
        distinct = select.args.get("distinct")
        if isinstance(distinct, exp.Distinct) and distinct.args.get("on"):
            raise Unsuitable("DISTINCT ON")
        extra = present(select) - _SELECT
        if extra:
            raise Unsuitable(f"a SELECT with {sorted(extra)[0]}")
        origin = arg(select, "from")
        if origin is None:
            raise Unsuitable("no FROM")
        self._check_functions(select)
        for part in below(select):
            # What another rule marked before this one.
            if isinstance(part, exp.Column) and part._meta:
                part._meta.pop(_META, None)
        pending: list[tuple[exp.Expression, int | None]] = []
        self._add(origin.this, padded=False)
        for join in select.args.get("joins") or []:
            self._join(join, pending)
        if len({entry.alias for entry in block.inputs}) < len(block.inputs):
            raise Unsuitable("a relation twice under one name")
        where = arg(select, "where")
        if where is not None:
            pending.append((where.this, None))
        for entry in block.inputs:
            if not entry.known:
                self._mark(entry.leaf, [])
                if refs_below(entry.leaf):
                    raise Unsuitable("a derived table that looks at its neighbours")
        for condition, on in pending:
            self._mark(condition, [])
            for node in _conjuncts(condition):
                block.conjuncts.append(Conjunct(node, refs_below(node), on))
        self._find_equalities()
        self._mark_results()
        return block

    def _check_functions(self, select: exp.Select) -> None:
        for part in below(select):
            if isinstance(part, _REFUSED):
                raise Unsuitable(f"a SELECT with {type(part).__name__.lower()}")
            if isinstance(part, exp.Func) and not isinstance(part, _FUNCTIONS):
                raise Unsuitable(f"{part.sql_name().lower()} is not known to be immutable")

    def _join(self, join: exp.Join, pending: list[tuple[exp.Expression, int | None]]) -> None:
        side = str(join.args.get("side") or "").upper()
        kind = str(join.args.get("kind") or "").upper()
        if join.args.get("method") or (side, kind) not in (
            ("", ""), ("", "INNER"), ("", "CROSS"), ("LEFT", ""), ("LEFT", "OUTER"),
        ):  # fmt: skip
            raise Unsuitable("a join that is neither inner nor LEFT")
        left = len(self.block.inputs)
        padded = side == "LEFT"
        self._add(join.this, padded=padded)
        on = left if padded else None
        if join.args.get("on") is not None:
            if padded and any(isinstance(part, exp.Select) for part in below(join.args["on"])):
                # DuckDB 2.0 fails with an internal error on some of these, depending on what is beside them.
                raise Unsuitable("a subquery in the ON of a LEFT JOIN")
            pending.append((join.args["on"], on))
        for name in join.args.get("using") or []:
            pending.append((self._using(name, left), on))
        if on is None and join.args.get("on") is not None:
            # (x LEFT JOIN b) JOIN c ON p(c, b) would have to wait for the padding.
            self._mark(join.args["on"], [])
            if any(self.block.inputs[number].padded for number, _ in refs_below(join.args["on"])):
                raise Unsuitable("an inner join on a padded relation")

    def _using(self, name: exp.Expression, right: int) -> exp.Expression:
        folded = fold(name, self.dialect)
        inputs = self.block.inputs
        if not all(entry.known for entry in inputs):
            raise Unsuitable("USING with a relation whose columns are not known")
        holders = [entry.number for entry in inputs[:right] if folded in entry.columns]
        merged = self.merged.get(folded)
        if merged is None and len(holders) == 1:
            merged = (holders[0], inputs[holders[0]].columns[folded])
        if merged is None or folded not in inputs[right].columns or inputs[merged[0]].padded:
            raise Unsuitable("USING with an ambiguous column")
        kinds = {
            inputs[number].types.get(spelled)
            for number, spelled in (merged, (right, inputs[right].columns[folded]))
        }
        if len(kinds) != 1 or None in kinds:
            raise Unsuitable("USING joins columns of two types")
        self.merged[folded] = merged
        self.block.has_merged = True
        return exp.EQ(
            this=self._column(merged), expression=self._column((right, inputs[right].columns[folded]))
        )

    def _column(self, ref: Ref) -> exp.Column:
        return column_of(self.block.inputs[ref[0]], ref[1])

    def _add(self, leaf: exp.Expression, *, padded: bool) -> None:
        number = len(self.block.inputs)
        alias = leaf.args.get("alias")
        if alias is not None and (alias.args.get("columns") or alias.args.get("this") is None):
            raise Unsuitable("a relation with renamed columns")
        if isinstance(leaf, exp.Subquery):
            if alias is None or present(leaf) - {"this", "alias"} or isinstance(leaf.this, exp.Table):
                raise Unsuitable("joins in parentheses")
            self.block.inputs.append(
                Input(number, fold(alias.this, self.dialect), leaf, {}, {}, known=False, padded=padded)
            )
            return
        if not isinstance(leaf, exp.Table) or not isinstance(leaf.this, exp.Identifier):
            raise Unsuitable("more than tables in FROM")
        if present(leaf) - {"this", "db", "catalog", "alias"}:
            raise Unsuitable("more than names of tables in FROM")
        table = self._table(leaf)
        if alias is None and leaf.args.get("db") is not None:
            raise Unsuitable("a qualified table without an alias")
        name = fold(alias.this if alias is not None else leaf.this, self.dialect)
        if table is None:
            entry = Input(number, name, leaf, {}, {}, known=False, padded=padded)
        else:
            entry = Input(
                number,
                name,
                leaf,
                {_fold_own(column, self.dialect): column for column in table.columns},
                dict(zip(table.columns, table.types, strict=True)),
                table.unique,
                table.not_null,
                padded=padded,
            )
        self.block.inputs.append(entry)

    def _table(self, leaf: exp.Table) -> Table | None:
        """None for a common table expression."""
        if leaf.args.get("db") is None and fold(leaf.this, self.dialect) in self.ctes:
            return None
        parts = [leaf.args.get("catalog"), leaf.args.get("db"), leaf.this]
        names = tuple(fold(part, self.dialect) for part in parts if isinstance(part, exp.Identifier))
        table = self.schema.resolve(names)
        if table is None:
            raise Unsuitable(f"no table {'.'.join(names)}")
        return table

    def _mark(self, node: exp.Expression, inner: Sequence[_InnerQuery]) -> None:
        """Mark the columns of the block's inputs below a node; ``inner``: the queries around it within."""
        if isinstance(node, exp.Column):
            ref = self._find(node, inner)
            if ref is not None:
                node.meta[_META] = ref
            return
        if isinstance(node, exp.Select):
            inner = [*inner, self._inner_query(node)]
        for child in node.iter_expressions():
            self._mark(child, inner)

    def _inner_query(self, select: exp.Select) -> _InnerQuery:
        origin = arg(select, "from")
        leaves = [origin.this] if origin is not None else []
        leaves += [join.this for join in select.args.get("joins") or []]
        found: dict[str, frozenset[str] | None] = {}
        for leaf in leaves:
            alias = leaf.args.get("alias")
            plain = isinstance(leaf, exp.Table) and isinstance(leaf.this, exp.Identifier)
            derived = isinstance(leaf, exp.Subquery) and alias is not None
            if leaf.args.get("joins") or not (plain or derived):
                raise Unsuitable("an inner query with more than plain relations")
            if alias is not None and alias.args.get("columns"):
                raise Unsuitable("an inner query with renamed columns")
            name = fold(alias.this if alias is not None else leaf.this, self.dialect)
            table = self._table(leaf) if plain else None
            found[name] = (
                frozenset(_fold_own(column, self.dialect) for column in table.columns) if table else None
            )
        shown = [item.args["alias"] for item in select.expressions if isinstance(item, exp.Alias)]
        return _InnerQuery(found, frozenset(fold(alias, self.dialect) for alias in shown))

    def _find(self, column: exp.Column, inner: Sequence[_InnerQuery]) -> Ref | None:
        if isinstance(column.this, exp.Star) and column.args.get("table") is None:
            return None
        if column.args.get("db") is not None:
            raise Unsuitable("a column qualified by a schema")
        name = fold(column.this, self.dialect)
        qualifier = column.args.get("table")
        wanted = fold(qualifier, self.dialect) if qualifier is not None else None
        for query in reversed(inner):
            if wanted is not None:
                if wanted in query.sources:
                    return None
                if any(columns is None or wanted in columns for columns in query.sources.values()):
                    raise Unsuitable(f"{wanted} may be a column with fields")
                continue
            if any(columns is not None and name in columns for columns in query.sources.values()):
                return None
            if None in query.sources.values() or name in query.shown:
                # Which clause prefers which differs from engine to engine.
                if any(name in entry.columns or not entry.known for entry in self.block.inputs):
                    raise Unsuitable(f"whose column {name} is cannot be told")
                return None
        inputs = self.block.inputs
        if wanted is not None:
            for entry in inputs:
                if entry.alias == wanted:
                    if entry.known and name not in entry.columns:
                        raise Unsuitable(f"{wanted}.{name} is no column")
                    return entry.number, entry.columns.get(name, column.name)
            raise Unsuitable(f"{wanted}.{name} is not of this SELECT")
        if not all(entry.known for entry in inputs):
            raise Unsuitable("a bare column beside relations whose columns are not known")
        if name in self.merged:
            return self.merged[name]
        holders = [entry for entry in inputs if name in entry.columns]
        if len(holders) != 1:
            raise Unsuitable(f"column {name} is {'ambiguous' if holders else 'not known'}")
        return holders[0].number, holders[0].columns[name]

    def _find_equalities(self) -> None:
        for conjunct in self.block.conjuncts:
            node = bare(conjunct.node)
            if conjunct.on is not None or not isinstance(node, exp.EQ):
                continue
            left, right = bare(node.this), bare(node.expression)
            one, other = ref_of(left), ref_of(right)
            if one is not None and other is not None:
                self.block.equal.append((one, other))
                conjunct.is_equality = True
            elif one is not None and isinstance(right, (exp.Literal, exp.Placeholder, exp.Parameter)):
                self.block.fixed.add(one)
            elif other is not None and isinstance(left, (exp.Literal, exp.Placeholder, exp.Parameter)):
                self.block.fixed.add(other)

    def _mark_results(self) -> None:
        """SELECT list, GROUP BY, HAVING and ORDER BY; in the last three, names of the SELECT list count."""
        select = self.block.select
        for item in select.expressions:
            self._mark(item, [])
        for item in select.expressions:
            if isinstance(item, exp.Alias):
                self.shown[fold(item.args["alias"], self.dialect)] = bare(item.this)
            elif isinstance(item, exp.Column):
                self.shown[fold(item.this, self.dialect)] = item
        for clause in ("group", "having", "order"):
            node = arg(select, clause)
            if node is not None:
                for part in below(node):
                    if isinstance(part, exp.Column):
                        self._mark_result(part)
                    elif isinstance(part, (exp.Select, exp.SetOperation)):
                        raise Unsuitable(f"a subquery in {clause.upper()}")
        for item in select.expressions:
            if any(isinstance(part, (exp.Select, exp.SetOperation)) for part in below(item)):
                raise Unsuitable("a subquery in the SELECT list")

    def _mark_result(self, column: exp.Column) -> None:
        shown = None
        if column.args.get("table") is None:
            shown = self.shown.get(fold(column.this, self.dialect))
        try:
            self._mark(column, [])
        except Unsuitable:
            # Beside relations whose columns are not known, a bare name surely is the SELECT list's only
            # where ORDER BY has it alone.
            known = all(entry.known for entry in self.block.inputs)
            if shown is None or not (known or isinstance(column.parent, exp.Ordered)):
                raise
            return
        if shown is not None and ref_of(shown) != ref_of(column):
            raise Unsuitable(f"{column.name} names a column and something else")


def column_of(entry: Input, name: str) -> exp.Column:
    """A column of an input, qualified and marked."""
    alias = entry.leaf.args.get("alias")
    identifier = alias.this if alias is not None else entry.leaf.this
    found = exp.Column(this=identifier_for(name), table=copied(identifier))
    found.meta[_META] = (entry.number, name)
    return found


def identifier_for(name: str) -> exp.Identifier:
    """An identifier that means exactly this name, as a label or after a dot (keywords may stand there)."""
    plain = name.isascii() and name.isidentifier() and name == name.lower()
    return exp.Identifier(this=name, quoted=not plain)


def _fold_own(name: str, dialect: str) -> str:
    """A catalogue's name as a reference to it folds: PostgreSQL's are exact."""
    return name if dialect == "postgres" else fold(name, dialect)


def _conjuncts(node: exp.Expression) -> Sequence[exp.Expression]:
    found: list[exp.Expression] = []
    todo = [node]
    while todo:
        part = bare(todo.pop())
        if isinstance(part, exp.And):
            todo += [part.expression, part.this]
        else:
            found.append(part)
    return found


def block_at(tree: exp.Expression, number: int, schema: Schema, dialect: str) -> JoinBlock:
    """The block of a statement's SELECT of that number (in the order of :func:`selects`).

    Raises
    ------
    Unsuitable
        As :func:`read_join_block` does.
    """
    return read_join_block(selects(tree)[number], schema, dialect, cte_names(tree, dialect))


class Blocks:
    """The blocks of a statement's SELECTs, each read once from a copy of its own; to be looked at only."""

    def __init__(self, tree: exp.Expression, schema: Schema, dialect: str) -> None:
        self._read = partial(block_at, schema=schema, dialect=dialect)
        self._tree = tree
        self._known: dict[int, JoinBlock | Unsuitable] = {}
        self.selects = selects(tree)

    def at(self, number: int) -> JoinBlock:
        """The block of one SELECT.

        Raises
        ------
        Unsuitable
            As :func:`read_join_block` does.
        """
        found = self._known.get(number)
        if found is None:
            try:
                found = self._read(copied(self._tree), number)
            except Unsuitable as reason:
                found = reason
            self._known[number] = found
        if isinstance(found, Unsuitable):
            raise found
        return found
