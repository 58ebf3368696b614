"""Groups of relations replaced by derived tables that hold each combination of used values once, with the
number of rows that it stands for.

Let P be some core inputs of a block, C the conjuncts that look at nothing else, and K the columns of P that
anything else of the block uses. The derived table ``SELECT K, COUNT(*) AS n FROM P WHERE C GROUP BY K`` has
one row for each class of rows of σ_C(P) that agree on K. GROUP BY tells NULLs from values and holds equal
only what is the same value (:mod:`.identity`), so every conjunct, grouping key and argument outside sees of a
class exactly what it sees of each of its rows. A row of the block with the derived tables in place thus
stands for Π n rows of the original one: COUNT(*) is Σ Π n, SUM(x) is Σ x·Π n, and what does not count
duplicates (MIN, MAX, DISTINCT) is as it was. An aggregate of P's own columns is computed in the derived
table and combined: Σ of the class's count or sum times the other n's, MIN of MINs. That it holds for a
derived table in a derived table is the same argument again.

A padded input is reduced alone, its own conjuncts of ON inside. Its row of NULLs stands for one row, so its
n is COALESCE(n, 1); COUNT(x), SUM(x), MIN(x) and MAX(x) of a column ignore it, because the class's values
are NULL there.

There is no row with n = 0, because a derived table without K, which would have one, is not made. Sums are
made in HUGEINT or NUMERIC, and every product of a sum, too; so a result that fits cannot have overflowed on
its way unless one factor alone is beyond what a table can hold, and then the engine raises an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache

from sqlglot import exp

from godb_fast.rewriting.aggregates import (
    Aggregate,
    group_keys,
    loose_inputs,
    read_aggregates,
)
from godb_fast.rewriting.from_where import set_body
from godb_fast.rewriting.identity import is_identity
from godb_fast.rewriting.join_block import (
    Conjunct,
    JoinBlock,
    Ref,
    Unsuitable,
    column_of,
    identifier_for,
    ref_of,
)
from godb_fast.rewriting.output_names import check_names, keep_name
from godb_fast.sql.draft import arg
from godb_fast.sql.scopes import ascii_lower, below, copied

#: What columns of derived tables are named after.
_NAMES = {"rows": "count", "set": "distinct"}


@dataclass(frozen=True)
class Part:
    """Inputs that become one derived table, some of them in derived tables of their own."""

    own: frozenset[int]
    parts: tuple[Part, ...] = ()

    @property
    def members(self) -> frozenset[int]:
        """All inputs below."""
        return self.own.union(*(part.members for part in self.parts))

    def flat(self) -> Part:
        """The same inputs without derived tables among them."""
        return Part(self.members)


@dataclass(eq=False)
class _Derived:
    """A derived table as the level above sees it."""

    members: frozenset[int]
    padded: bool
    node: exp.Subquery
    alias: str
    columns: dict[Ref, str]
    rows: str
    values: dict[tuple[int, str], str]

    def column(self, name: str) -> exp.Column:
        return exp.Column(this=identifier_for(name), table=identifier_for(self.alias))


class Reduction:
    """What may be reduced in a block, and the block with it reduced.

    Parameters
    ----------
    distinct : frozenset of int, optional
        Numbers of COUNT(DISTINCT) aggregates that are computed in the derived table of their input alone:
        :mod:`.distinct_counts` says when that is right. None: a block whose aggregates count no duplicates
        is unsuitable.

    Raises
    ------
    Unsuitable
        If the block has no aggregate that counts duplicates, or one that cannot be combined.
    """

    def __init__(self, block: JoinBlock, distinct: frozenset[int] | None = None) -> None:
        self.block = block
        self.aggregates = read_aggregates(block)
        self._distinct = distinct or frozenset()
        if distinct is None and not any(aggregate.sees_duplicates for aggregate in self.aggregates):
            raise Unsuitable("no aggregate that counts duplicates")
        if any(isinstance(part, exp.Star) for item in block.select.expressions for part in _results(item)):
            raise Unsuitable("a * beside aggregates")
        check_names(block)
        self.keys = group_keys(block)
        self.loose = loose_inputs(block, self.keys)
        #: Columns that the block uses outside of aggregates, FROM and WHERE.
        self.carried = frozenset(
            ref
            for node in (*block.select.expressions, *self.keys, *_clauses(block.select))
            for part in _results(node)
            if (ref := ref_of(part)) is not None
        )
        self._wide = "HUGEINT" if block.dialect == "duckdb" else "NUMERIC"
        self._taken = {
            ascii_lower(part.name) for part in below(block.select) if isinstance(part, exp.Identifier)
        } | {ascii_lower(name) for entry in block.inputs for name in entry.columns}

    def pushing(self, distinct: frozenset[int]) -> Reduction:
        """The same block, of which other COUNT(DISTINCT) aggregates are computed in derived tables."""
        other = copy(self)
        other._distinct, other._taken = distinct, set(self._taken)
        return other

    def exports(self, members: frozenset[int]) -> list[Ref]:
        """Columns of some inputs that the rest of the block uses, if these become a derived table."""
        used = set(self.carried)
        for conjunct in self.block.conjuncts:
            if not self._is_inside(conjunct, members):
                used |= conjunct.refs
        for aggregate in self.aggregates:
            if not self._is_pushed(aggregate, members):
                used |= aggregate.refs
        return sorted(ref for ref in used if ref[0] in members)

    def may_reduce(self, members: frozenset[int]) -> bool:
        """Whether the proof holds for these inputs, and something may come of it."""
        keys = self.exports(members)
        if not keys or members & self.loose or not (members <= self.block.core or len(members) == 1):
            return False
        if not all(
            is_identity(self.block.inputs[number].types.get(name), self.block.dialect)
            for number, name in keys
        ):
            return False
        return not self.block.is_single(members, keys)

    def multiplies(self, members: frozenset[int]) -> bool:
        """Whether several rows of the other inputs may meet one class of these: a many-to-many join."""
        others = frozenset(range(len(self.block.inputs))) - members
        return bool(others) and not self.block.is_single(others, self.exports(members))

    def apply(self, parts: Sequence[Part]) -> None:
        """Change the block's SELECT in place."""
        block, select = self.block, self.block.select
        gone: frozenset[int] = frozenset().union(*(part.members for part in parts))
        own = frozenset(range(len(block.inputs))) - gone
        derived = [self._derive(part) for part in parts]
        select.set("expressions", [keep_name(block, item) for item in select.expressions])
        final = {id(aggregate.node): self._final(aggregate, derived) for aggregate in self.aggregates}
        for aggregate in self.aggregates:
            aggregate.node.replace(final[id(aggregate.node)])
        for clause in ("expressions", "group", "having", "order"):
            nodes = select.expressions if clause == "expressions" else [arg(select, clause)]
            for node in nodes:
                if node is not None:
                    self._substitute(node, derived)
        self._body(select, own, derived, top=True)

    def _is_inside(self, conjunct: Conjunct, members: frozenset[int]) -> bool:
        if not conjunct.inputs or not conjunct.inputs <= members:
            return False
        if members <= self.block.core:
            return conjunct.on is None
        return len(members) == 1 and conjunct.on in members

    def _is_pushed(self, aggregate: Aggregate, members: frozenset[int]) -> bool:
        if aggregate.number in self._distinct:
            return aggregate.inputs == members
        if aggregate.kind == "set" or not aggregate.inputs or not aggregate.inputs <= members:
            return False
        ref = ref_of(aggregate.argument) if aggregate.argument is not None else None
        if not members <= self.block.core and (ref is None or aggregate.condition is not None):
            return False
        if aggregate.kind in ("min", "max"):
            # Which of equal values MIN returns would be chosen anew.
            return ref is not None and is_identity(
                self.block.inputs[ref[0]].types.get(ref[1]), self.block.dialect
            )
        return True

    def _fresh(self, wanted: str) -> str:
        # PostgreSQL cuts names after 63 bytes.
        wanted = wanted.encode()[:50].decode(errors="ignore")
        name, number = wanted, 1
        while ascii_lower(name) in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(ascii_lower(name))
        return name

    def _derive(self, part: Part) -> _Derived:
        block, members = self.block, part.members
        derived = [self._derive(inner) for inner in part.parts]
        keys = self.exports(members)
        names: dict[Ref, str] = {}
        for ref in keys:
            taken = {ascii_lower(name) for name in names.values()}
            names[ref] = ref[1] if ascii_lower(ref[1]) not in taken else self._fresh(ref[1])
        first = block.inputs[min(members)]
        alias = self._fresh(f"{first.alias}_groups" if first.alias.isidentifier() else "input_groups")
        found = _Derived(
            members, not members <= block.core, exp.Subquery(), alias, names, self._fresh("group_rows"), {}
        )
        select = exp.Select()
        shown: list[exp.Expression] = []
        group: list[exp.Expression] = []
        for ref, name in names.items():
            column = self._column(ref, derived)
            group.append(column)
            shown.append(exp.Alias(this=copied(column), alias=identifier_for(name)))
        product = self._product(derived)
        rows = exp.Count(this=exp.Star(), big_int=True) if product is None else exp.Sum(this=product)
        shown.append(exp.Alias(this=rows, alias=identifier_for(found.rows)))
        for aggregate in self.aggregates:
            if self._is_pushed(aggregate, members):
                for role in ("sum", "count") if aggregate.kind == "avg" else (aggregate.kind,):
                    name = self._fresh(f"group_{_NAMES.get(role, role)}")
                    found.values[(aggregate.number, role)] = name
                    value = self._value(aggregate, role, derived)
                    shown.append(exp.Alias(this=value, alias=identifier_for(name)))
        select.set("expressions", shown)
        self._body(select, part.own, derived, top=False)
        select.set("group", exp.Group(expressions=group))
        found.node.set("this", select)
        found.node.set("alias", exp.TableAlias(this=identifier_for(alias)))
        return found

    def _body(
        self, select: exp.Select, own: frozenset[int], derived: Sequence[_Derived], *, top: bool
    ) -> None:
        """FROM and WHERE of a level, in terms of its own inputs and derived tables."""
        inputs = self.block.inputs
        members = own.union(*(table.members for table in derived))
        conjuncts = [
            (conjunct, self._substituted(conjunct.node, derived))
            for conjunct in self.block.conjuncts
            if (top or self._is_inside(conjunct, members))
            and not any(self._is_inside(conjunct, table.members) for table in derived)
        ]
        padded_own = own - self.block.core if top else frozenset()
        core: list[tuple[frozenset[int], exp.Expression]] = [
            *((frozenset({number}), inputs[number].leaf) for number in own - padded_own),
            *((table.members, table.node) for table in derived if not table.padded),
        ]
        if not core:
            raise Unsuitable("nothing that is not padded")
        padded = {number: inputs[number].leaf for number in padded_own}
        padded.update({min(table.members): table.node for table in derived if table.padded})
        set_body(select, core, padded, conjuncts)

    def _column(self, ref: Ref, derived: Sequence[_Derived]) -> exp.Column:
        for table in derived:
            if ref[0] in table.members:
                return table.column(table.columns[ref])
        return column_of(self.block.inputs[ref[0]], ref[1])

    def _substitute(self, node: exp.Expression, derived: Sequence[_Derived]) -> None:
        """Columns below a node in terms of a level's inputs and derived tables (the node itself stays)."""
        for part in below(node):
            ref = ref_of(part)
            if ref is not None:
                part.replace(self._column(ref, derived))

    def _substituted(self, node: exp.Expression, derived: Sequence[_Derived]) -> exp.Expression:
        holder = exp.Paren(this=copied(node))
        self._substitute(holder, derived)
        found: exp.Expression = holder.this
        return found.pop()

    def _cast(self, node: exp.Expression, kind: str) -> exp.Expression:
        # Each engine has its own idea of what NUMERIC without a precision is.
        return exp.Cast(this=node, to=copied(_data_type(kind, self.block.dialect)))

    def _factors(self, derived: Iterable[_Derived]) -> list[exp.Expression]:
        found: list[exp.Expression] = []
        for table in derived:
            rows = table.column(table.rows)
            found.append(exp.Coalesce(this=rows, expressions=[_number(1)]) if table.padded else rows)
        return found

    def _product(
        self, derived: Iterable[_Derived], value: exp.Expression | None = None
    ) -> exp.Expression | None:
        """Number of rows that a row of a level stands for, times a count."""
        factors = ([value] if value is not None else []) + self._factors(derived)
        if not factors:
            return None
        # Two counts of rows that a table holds have a product below 2⁶³; NUMERIC is slow in PostgreSQL.
        if len(factors) > (1 if self.block.dialect == "duckdb" else 2):
            factors[0] = self._cast(factors[0], self._wide)
        return _times(factors)

    def _scaled(
        self, value: exp.Expression, result: str | None, derived: Iterable[_Derived]
    ) -> exp.Expression:
        """A sum or a summand, times the number of rows that it stands for."""
        factors = self._factors(derived)
        if not factors:
            return value
        if result is not None and result.startswith("DECIMAL"):
            # DECIMAL × HUGEINT would be DOUBLE in DuckDB.
            product = _times(factors)
            return _times([self._cast(value, result), self._cast(product, "BIGINT")])
        return _times([self._cast(value, self._wide), *factors])

    def _value(self, aggregate: Aggregate, role: str, derived: Sequence[_Derived]) -> exp.Expression:
        """An aggregate at a level: of its rows, or of what the derived tables have of it already."""
        for table in derived:
            name = table.values.get((aggregate.number, role))
            if name is not None:
                others = [other for other in derived if other is not table]
                column = table.column(name)
                if role in ("min", "max"):
                    return _call(role, column)
                if role == "sum":
                    return exp.Sum(this=self._scaled(column, aggregate.result, others))
                return exp.Sum(this=self._product(others, column))
        if role in ("min", "max", "set"):
            return self._substituted(aggregate.node, derived)
        condition: exp.Expression | None = None
        argument: exp.Expression | None = None
        if aggregate.condition is not None:
            condition = exp.Paren(this=self._substituted(aggregate.condition, derived))
        if aggregate.argument is not None:
            argument = self._substituted(aggregate.argument, derived)
        if role == "sum":
            assert argument is not None
            return exp.Sum(this=_if(condition, self._scaled(argument, aggregate.result, derived)))
        product = self._product(derived)
        if product is None and condition is None:
            return exp.Count(this=argument or exp.Star(), big_int=True)
        if argument is not None:
            value = argument if isinstance(argument, exp.Column) else exp.Paren(this=argument)
            # Of a row of NULLs, PostgreSQL's IS NULL is true, and COUNT counts it.
            there = exp.NullSafeNEQ(this=value, expression=exp.Null())
            condition = there if condition is None else exp.And(this=there, expression=condition)
        if product is None:
            return exp.Count(this=_if(condition, _number(1)) if condition else exp.Star(), big_int=True)
        return exp.Sum(this=_if(condition, product))

    def _final(self, aggregate: Aggregate, derived: Sequence[_Derived]) -> exp.Expression:
        """An aggregate at the top, of the original's type."""
        if aggregate.kind == "set":
            for table in derived:
                if (name := table.values.get((aggregate.number, "set"))) is not None:
                    # The same in all rows of a group, where there is one.
                    return exp.Coalesce(this=exp.Max(this=table.column(name)), expressions=[_number(0)])
            return self._substituted(aggregate.node, derived)
        if aggregate.kind in ("min", "max"):
            return self._value(aggregate, aggregate.kind, derived)
        if aggregate.kind in ("rows", "count"):
            value = self._value(aggregate, aggregate.kind, derived)
            return self._cast(exp.Coalesce(this=value, expressions=[_number(0)]), "BIGINT")
        total = self._value(aggregate, "sum", derived)
        if aggregate.kind == "sum":
            return self._cast(total, str(aggregate.result))
        count = self._value(aggregate, "count", derived)
        divisor = exp.Nullif(this=self._cast(count, "NUMERIC"), expression=_number(0))
        return exp.Paren(this=exp.Div(this=self._cast(total, "NUMERIC"), expression=divisor, typed=True))


@cache
def _data_type(kind: str, dialect: str) -> exp.DataType:
    """A type as the parser reads it; to be copied."""
    return exp.DataType.build(kind, dialect=dialect)


def _results(node: exp.Expression) -> list[exp.Expression]:
    """Nodes below one that are outside of aggregates."""
    found = [node]
    todo = [node]
    while todo:
        part = todo.pop()
        if isinstance(part, (exp.Filter, exp.AggFunc)):
            continue
        found.append(part)
        todo.extend(part.iter_expressions())
    return found


def _clauses(select: exp.Select) -> list[exp.Expression]:
    return [node for name in ("having", "order") if (node := arg(select, name)) is not None]


def _times(factors: Sequence[exp.Expression]) -> exp.Expression:
    found = factors[0]
    for factor in factors[1:]:
        found = exp.Mul(this=found, expression=factor)
    return found


def _number(value: int) -> exp.Expression:
    return exp.Literal(this=str(value), is_string=False)


def _call(word: str, argument: exp.Expression) -> exp.Expression:
    return exp.Min(this=argument) if word == "min" else exp.Max(this=argument)


def _if(condition: exp.Expression | None, value: exp.Expression) -> exp.Expression:
    if condition is None:
        return value
    return exp.Case(ifs=[exp.If(this=condition, true=value)])
