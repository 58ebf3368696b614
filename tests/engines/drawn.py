"""Random join queries as templates, and their SQL under a join tree: no parser needed."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from godb_fast.core import (
    Block,
    ColumnRef,
    Comparison,
    JoinPredicate,
    JoinTree,
    QueryGraph,
    Relation,
    Slot,
    Template,
)

#: Rows of the tables t0, t1 …
SIZES = (10, 1000, 5000, 300, 2000, 5, 8000, 700)
COLUMNS = ("id", "f1", "f2", "v", "s")


def tables() -> list[str]:
    """Statements that build the tables; odd ones have no key."""
    made = []
    for number, rows in enumerate(SIZES):
        made.append(
            f"CREATE TABLE t{number} AS SELECT i AS id, (hash(i * 7 + {number}) % {max(rows // 3, 2)})::BIGINT AS f1, "
            f"(hash(i * 13 + {number}) % {max(rows // 10, 2)})::BIGINT AS f2, (hash(i) % 50)::INT AS v, "
            f"'s' || (hash(i) % 30) AS s FROM range({rows}) r(i)"
        )
        if number % 2 == 0:
            made.append(f"ALTER TABLE t{number} ADD PRIMARY KEY (id)")
    return made


@dataclass(frozen=True)
class Drawn:
    """A query: its template, the text of its joins and filters, its output."""

    template: Template
    joins: tuple[tuple[int, int, str], ...]
    filters: tuple[str, ...]
    output: str

    def sql(self, tree: JoinTree | None = None) -> str:
        """The query, as a list of tables or under a join tree."""
        relations = self.template.blocks[0].relations
        names = [f"{relation.table.split('.')[-1]} AS {relation.alias}" for relation in relations]
        where = list(self.filters)
        if tree is None:
            source = ", ".join(names)
            where += [text for _, _, text in self.joins]
        else:
            source = self._joined(tree, names)[0]
        return f"SELECT {self.output} FROM {source}" + (f" WHERE {' AND '.join(where)}" if where else "")

    def _joined(self, tree: JoinTree, names: list[str]) -> tuple[str, set[int]]:
        if isinstance(tree, int):
            return names[tree], {tree}
        (left, one), (right, two) = (self._joined(side, names) for side in tree)
        on = [
            text
            for first, second, text in self.joins
            if {first, second} <= one | two and not {first, second} <= one and not {first, second} <= two
        ]
        kind = f"JOIN {right} ON {' AND '.join(on)}" if on else f"CROSS JOIN {right}"
        return f"({left} {kind})", one | two


def draw(rng: random.Random, *, self_joins: bool = False, most: int = 7) -> Drawn:
    """A connected query of 2 to ``most`` relations with random filters."""
    count = rng.randint(2, most)
    tables_ = (
        [rng.randrange(len(SIZES)) for _ in range(count)]
        if self_joins
        else rng.sample(range(len(SIZES)), count)
    )
    relations = tuple(
        Relation(alias=f"r{number}", table=f"memory.main.t{table}", columns=COLUMNS)
        for number, table in enumerate(tables_)
    )
    joins: list[tuple[int, int, str]] = []
    predicates = []
    pairs = [(number, rng.randrange(number)) for number in range(1, count)]
    if count > 3 and rng.random() < 0.4:
        pairs.append(tuple(sorted(rng.sample(range(count), 2), reverse=True)))  # type: ignore[arg-type]
    for one, two in pairs:
        operator = "=" if rng.random() < 0.95 else rng.choice(["<", ">="])
        first, second = rng.choice(COLUMNS[:3]), rng.choice(COLUMNS[:3])
        joins.append((one, two, f"r{one}.{first} {operator} r{two}.{second}"))
        predicates.append(
            JoinPredicate(
                (1 << one) | (1 << two),
                (joins[-1][2],),
                ColumnRef(one, first),
                ColumnRef(two, second),
                operator,
            )
        )
    filters: list[str] = []
    by_relation: list[tuple[Comparison, ...]] = []
    for number in range(count):
        column, operator, text = rng.choice(
            [
                ("v", "=", f"r{number}.v = {rng.randint(0, 49)}"),
                ("s", "like", f"r{number}.s LIKE '%{rng.randint(0, 9)}'"),
                ("v", "in", f"r{number}.v IN (1, 2, 3, {rng.randint(4, 9)})"),
                ("id", "<", f"r{number}.id < {rng.choice([3, 100, 1000])}"),
                ("", "", ""), ("", "", ""), ("", "", ""),
            ]
        )  # fmt: skip
        by_relation.append((Comparison(operator, ColumnRef(number, column), (Slot(0),)),) if column else ())
        if column:
            filters.append(text)
    graph = _graph(tuple(relation.alias for relation in relations), predicates)
    block = Block(0, None, "main", relations, graph, tuple(by_relation))
    output = rng.choice(
        ["count(*)", f"min(r0.s), max(r{count - 1}.f1), count(*)", "sum(r0.id)", "count(DISTINCT r0.v)"]
    )
    return Drawn(Template(0, "", "duckdb", blocks=(block,)), tuple(joins), tuple(filters), output)


def _graph(names: tuple[str, ...], predicates: list[JoinPredicate]) -> QueryGraph:
    """The graph with its equivalence classes and the edges that follow from them."""
    classes: list[set[ColumnRef]] = []
    for predicate in predicates:
        if predicate.operator == "=" and predicate.left is not None and predicate.right is not None:
            joined = {predicate.left, predicate.right}
            touched = [entry for entry in classes if entry & joined]
            classes = [entry for entry in classes if not entry & joined] + [joined.union(*touched)]
    edges = {
        (entry.left.relation, entry.right.relation) for entry in predicates if entry.left and entry.right
    }
    columns: list[ColumnRef] = []
    starts = [0]
    for entry in classes:
        # One column per relation, as the class of a graph has it.
        chosen = {column.relation: column for column in sorted(entry, key=lambda column: column.name)}
        columns.extend(chosen[relation] for relation in sorted(chosen))
        starts.append(len(columns))
        edges |= {
            (one.relation, two.relation) for one in entry for two in entry if one.relation < two.relation
        }
    return QueryGraph(
        names,
        np.array(sorted(edges), np.int64),
        class_start=np.array(starts),
        class_member=np.array([column.relation for column in columns], np.int64),
        class_columns=tuple(columns),
        predicates=tuple(predicates),
    )


def random_tree(rng: random.Random, drawn: Drawn) -> JoinTree:
    """A bushy tree without cross products."""
    parts: list[tuple[set[int], JoinTree]] = [
        ({n}, n) for n in range(len(drawn.template.blocks[0].relations))
    ]
    while len(parts) > 1:
        rng.shuffle(parts)
        one, two = next(
            (i, j)
            for i in range(len(parts))
            for j in range(len(parts))
            if i != j
            and any(
                (a in parts[i][0] and b in parts[j][0]) or (b in parts[i][0] and a in parts[j][0])
                for a, b, _ in drawn.joins
            )
        )
        merged = (parts[one][0] | parts[two][0], (parts[one][1], parts[two][1]))
        parts = [part for number, part in enumerate(parts) if number not in (one, two)] + [merged]
    return parts[0][1]
