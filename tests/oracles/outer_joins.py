"""Random blocks with inner, outer, semi and anti joins, a naive evaluator for them, and every legal plan.

Nothing here shares code with what it checks but the data types and the pair rule itself
(:func:`godb_fast.core.conflicts.orientation`), whose *consequences* are executed: a rule that allowed one
wrong join order shows as different rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np

from godb_fast.core.conflicts import (
    ILLEGAL,
    SECOND_IS_LEFT,
    Conjunct,
    JoinNode,
    OperatorTree,
    OrderingConstraints,
    orientation,
)
from godb_fast.core.estimates import RowEstimates
from godb_fast.core.graph import JoinKind, JoinOperator, QueryGraph
from godb_fast.core.plan import PlanOperator
from godb_fast.core.relation_set import members

COLUMNS = ("a", "b")
PADDED = (None, None)

#: A row of an intermediate result: by relation number its two column values, None if it is not (or no
#: longer) part of it.
Row = tuple[tuple[int | None, int | None] | None, ...]
Truth = bool | None


def _equal(x: int | None, y: int | None) -> Truth:
    return None if x is None or y is None else x == y


def _less(x: int | None, y: int | None) -> Truth:
    return None if x is None or y is None else x < y


def _or(x: Truth, y: Truth) -> Truth:
    return True if x or y else (None if x is None or y is None else False)


@dataclass(frozen=True)
class Form:
    """A shape of predicate over ``arity`` columns, with the arguments on which it is strong."""

    sql: str
    arity: int
    strong: tuple[int, ...]
    truth: Callable[..., Truth]


FORMS = (
    Form("{0} = {1}", 2, (0, 1), _equal),
    Form("{0} < {1}", 2, (0, 1), _less),
    Form("{0} IS NOT DISTINCT FROM {1}", 2, (), lambda x, y: x == y),
    Form("coalesce({0}, 1) = {1}", 2, (1,), lambda x, y: _equal(1 if x is None else x, y)),
    Form("({0} = {1} OR {0} IS NULL)", 2, (), lambda x, y: _or(_equal(x, y), x is None)),
    Form("({0} < {1} OR {1} IS NULL)", 2, (), lambda x, y: _or(_less(x, y), y is None)),
    Form(
        "{0} + {1} = {2}",
        3,
        (0, 1, 2),
        lambda x, y, z: None if x is None or y is None else _equal(x + y, z),
    ),
    Form("({0} = {1} OR {1} = {2})", 3, (1,), lambda x, y, z: _or(_equal(x, y), _equal(y, z))),
    Form("coalesce({0}, {1}, 2) = {2}", 3, (2,), lambda x, y, z: _equal(_first(x, y, 2), z)),
    Form("{0} = 1", 1, (0,), lambda x: _equal(x, 1)),
    Form("{0} > 0", 1, (0,), lambda x: _less(0, x)),
    Form("{0} IS NULL", 1, (), lambda x: x is None),
    Form("coalesce({0}, 0) < 2", 1, (), lambda x: _less(_first(x, 0), 2)),
    Form("2 > 1", 0, (), lambda: True),
)
BY_ARITY = {arity: [form for form in FORMS if form.arity == arity] for arity in range(4)}


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


@dataclass(frozen=True)
class Condition:
    """A conjunct: a form applied to columns, each (relation, column position)."""

    form: Form
    arguments: tuple[tuple[int, int], ...]

    @property
    def conjunct(self) -> Conjunct:
        relations = strong = 0
        for relation, _ in self.arguments:
            relations |= 1 << relation
        for position in self.form.strong:
            strong |= 1 << self.arguments[position][0]
        return Conjunct(relations, strong)

    def holds(self, row: Row) -> bool:
        values = [row[relation][column] for relation, column in self.arguments]  # type: ignore[index]
        return self.form.truth(*values) is True

    def sql(self) -> str:
        return self.form.sql.format(*(f"r{relation}{COLUMNS[column]}" for relation, column in self.arguments))


@dataclass
class Case:
    """A block: tables (rows by relation), an operator tree, its conjuncts, and those of WHERE."""

    tables: list[list[tuple[int | None, int | None]]]
    tree: OperatorTree = 0
    conditions: list[Condition] = field(default_factory=list)
    where: list[int] = field(default_factory=list)

    @property
    def conjuncts(self) -> list[Conjunct]:
        return [condition.conjunct for condition in self.conditions]

    def describe(self) -> str:
        """The query as SQL, for a failing example."""
        return f"{original_sql(self)}\n-- tables {self.tables}"


#: Kinds of random joins, by how often they are drawn.
KINDS = (*[JoinKind.INNER] * 2, *[JoinKind.LEFT] * 3, JoinKind.SEMI, JoinKind.ANTI)


def random_case(rng: Random, relations: int, rows: int = 4) -> Case:
    """A random block; any tree shape, all four kinds of joins, zero to two conjuncts a join."""
    case = Case(
        [
            [(_value(rng), _value(rng)) for _ in range(rng.randint(0 if rng.random() < 0.1 else 1, rows))]
            for _ in range(relations)
        ]
    )
    order = list(range(relations))
    rng.shuffle(order)
    case.tree, visible = _random_tree(rng, case, order)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        case.where.append(_random_condition(rng, case, visible, visible))
    return case


def _value(rng: Random) -> int | None:
    return rng.choice((None, 0, 0, 0, 1, 1, 1, 2, 3))


def _random_tree(rng: Random, case: Case, order: list[int]) -> tuple[OperatorTree, list[int]]:
    if len(order) == 1:
        return order[0], order
    cut = rng.randint(1, len(order) - 1)
    left, left_visible = _random_tree(rng, case, order[:cut])
    right, right_visible = _random_tree(rng, case, order[cut:])
    kind = rng.choice(KINDS)
    count = rng.choice((0, 1, 1, 1, 1, 2)) if kind is JoinKind.INNER else rng.choice((1, 1, 1, 2))
    on = tuple(_random_condition(rng, case, left_visible, right_visible) for _ in range(count))
    keeps = kind in (JoinKind.INNER, JoinKind.LEFT)
    return JoinNode(kind, left, right, on), left_visible + right_visible if keeps else left_visible


def _random_condition(rng: Random, case: Case, left: list[int], right: list[int]) -> int:
    arity = rng.choice((2, 2, 2, 2, 2, 2, 3, 3, 1, 1) if rng.random() < 0.98 else (0,))
    form = rng.choice(BY_ARITY[arity]) if rng.random() < 0.6 else BY_ARITY[arity][0]
    sides = [rng.choice(left), rng.choice(right), rng.choice(left + right)]
    if arity == 1:
        sides = [rng.choice(left + right)]
    sides = sides[:arity]
    rng.shuffle(sides)
    case.conditions.append(Condition(form, tuple((relation, rng.randint(0, 1)) for relation in sides)))
    return len(case.conditions) - 1


# ---- Evaluation, naively ------------------------------------------------------------------------------


def scan(case: Case, relation: int) -> list[Row]:
    """All rows of one relation."""
    width = len(case.tables)
    return [tuple(row if i == relation else None for i in range(width)) for row in case.tables[relation]]


def join(
    kind: JoinKind, left: list[Row], right: list[Row], padded: int, conditions: list[Condition]
) -> list[Row]:
    """Nested-loop join; ``padded`` is the mask of the relations visible in ``right``."""
    result = []
    for first in left:
        matched = False
        for second in right:
            both = tuple(x if x is not None else y for x, y in zip(first, second, strict=True))
            if all(condition.holds(both) for condition in conditions):
                matched = True
                if kind in (JoinKind.INNER, JoinKind.LEFT):
                    result.append(both)
        if kind is JoinKind.LEFT and not matched:
            result.append(tuple(PADDED if padded >> i & 1 else x for i, x in enumerate(first)))
        if (kind is JoinKind.SEMI and matched) or (kind is JoinKind.ANTI and not matched):
            result.append(first)
    return result


def original_rows(case: Case) -> Counter[Row]:
    """Rows of the block as written."""

    def evaluate(node: OperatorTree) -> tuple[list[Row], int]:
        if isinstance(node, int):
            return scan(case, node), 1 << node
        left, left_visible = evaluate(node.left)
        right, right_visible = evaluate(node.right)
        assert node.kind is not None
        rows = join(node.kind, left, right, right_visible, [case.conditions[i] for i in node.conjuncts])
        keeps = node.kind in (JoinKind.INNER, JoinKind.LEFT)
        return rows, left_visible | right_visible if keeps else left_visible

    rows, _ = evaluate(case.tree)
    return Counter(row for row in rows if all(case.conditions[i].holds(row) for i in case.where))


def with_closure(case: Case, found: OrderingConstraints) -> tuple[Case, OrderingConstraints]:
    """The same block with every equality that follows by transitivity as a further join predicate."""
    parts: dict[tuple[int, tuple[int, int]], set[tuple[int, int]]] = {}
    equalities = [i for i, one in enumerate(case.conditions) if one.form is FORMS[0]]
    for i in equalities:
        for j in equalities:
            if i < j and found.may_share_class(i, j):
                scope = found.scopes[i]
                for number in (i, j):
                    x, y = case.conditions[number].arguments
                    union = parts.get((scope, x), {x}) | parts.get((scope, y), {y})
                    for column in union:
                        parts[scope, column] = union
    conditions, joins, edges = list(case.conditions), list(found.joins), set(found.edges)
    for union in {frozenset(union) for union in parts.values()}:
        for x in sorted(union):
            for y in sorted(union):
                if x[0] < y[0]:
                    joins.append(len(conditions))
                    conditions.append(Condition(FORMS[0], (x, y)))
                    edges.add((x[0], y[0]))
    wider = replace(case, conditions=conditions)
    return wider, replace(found, joins=tuple(joins), edges=tuple(sorted(edges)))


# ---- Every plan that the rule allows ------------------------------------------------------------------


@dataclass(frozen=True)
class Legal:
    """A legal join of two sets: left input, right input, kind, and the conjuncts that it evaluates."""

    left: int
    right: int
    kind: JoinKind
    conjuncts: tuple[int, ...]


def adjacency(count: int, edges: tuple[tuple[int, int], ...]) -> list[int]:
    rows = [0] * count
    for left, right in edges:
        rows[left] |= 1 << right
        rows[right] |= 1 << left
    return rows


def new_operators(operators: tuple[JoinOperator, ...], first: int, second: int) -> Iterator[JoinOperator]:
    for operator in operators:
        needed = operator.left | operator.right
        if not needed & ~(first | second) and needed & ~first and needed & ~second:
            yield operator


def legal_join(case: Case, found: OrderingConstraints, first: int, second: int) -> Legal | None:
    """How two sets are joined, or None if they may not be."""
    answer = orientation(adjacency(len(case.tables), found.edges), found.operators, first, second)
    if answer == ILLEGAL and (found.operators or not _is_cross_allowed(case, found, first, second)):
        return None
    if answer == SECOND_IS_LEFT:
        first, second = second, first
    new = list(new_operators(found.operators, first, second))
    kind = next((operator.kind for operator in new if operator.kind is not JoinKind.INNER), JoinKind.INNER)
    conjuncts = [number for operator in new for number in operator.predicates]
    for number in found.joins:
        wanted = case.conditions[number].conjunct.relations
        if not wanted & ~(first | second) and wanted & ~first and wanted & ~second:
            conjuncts.append(number)
    return Legal(first, second, kind, tuple(conjuncts))


def _is_cross_allowed(case: Case, found: OrderingConstraints, first: int, second: int) -> bool:
    """Cross products of inner-only blocks: between whole components."""
    rows = adjacency(len(case.tables), found.edges)
    return all(not rows[i] & ~part for part in (first, second) for i in members(part))


def splits(whole: int) -> Iterator[tuple[int, int]]:
    """Every split of a set in two, each once."""
    lowest = whole & -whole
    rest = whole ^ lowest
    part = rest
    while True:
        part = (part - 1) & rest
        yield part | lowest, rest ^ part
        if not part:
            return


def all_plan_results(case: Case, found: OrderingConstraints) -> tuple[set[frozenset[tuple[Row, int]]], int]:
    """Results (as multisets) of *every* legal plan of the block, and how many plans there are.

    Plans of a set are grouped by the rows they give, so that each group is executed once: what a join does
    depends on its inputs' rows only.
    """
    whole = (1 << len(case.tables)) - 1
    results: dict[int, dict[frozenset[tuple[Row, int]], list[Row]]] = {}
    counts: dict[int, int] = {}
    visible: dict[int, int] = {}
    for relation in range(len(case.tables)):
        rows = [
            row
            for row in scan(case, relation)
            if all(case.conditions[i].holds(row) for i in found.filters[relation])
        ]
        results[1 << relation] = {frozenset(Counter(rows).items()): rows}
        counts[1 << relation] = 1
        visible[1 << relation] = 1 << relation
    for subset in range(1, whole + 1):
        if subset.bit_count() == 1:
            continue
        values: dict[frozenset[tuple[Row, int]], list[Row]] = {}
        plans = 0
        for first, second in splits(subset):
            if first not in results or second not in results:
                continue
            legal = legal_join(case, found, first, second)
            if legal is None:
                continue
            plans += counts[first] * counts[second]
            conditions = [case.conditions[i] for i in legal.conjuncts]
            keeps = legal.kind in (JoinKind.INNER, JoinKind.LEFT)
            visible[subset] = visible[legal.left] | (visible[legal.right] if keeps else 0)
            for left in results[legal.left].values():
                for right in results[legal.right].values():
                    rows = join(legal.kind, left, right, visible[legal.right], conditions)
                    values.setdefault(frozenset(Counter(rows).items()), rows)
        if values:
            results[subset] = values
            counts[subset] = plans
    final = set()
    for rows in results.get(whole, {}).values():
        kept = (row for row in rows if all(case.conditions[i].holds(row) for i in found.late))
        final.add(frozenset(Counter(kept).items()))
    return final, counts.get(whole, 0)


def random_plan(rng: Random, case: Case, found: OrderingConstraints) -> object | None:
    """A legal plan drawn at random, as nested (Legal, left plan, right plan); leaves are relations."""
    plannable: dict[int, list[Legal]] = {}
    whole = (1 << len(case.tables)) - 1
    for subset in range(1, whole + 1):
        if subset.bit_count() > 1:
            found_here = [
                legal
                for first, second in splits(subset)
                if all(part.bit_count() == 1 or part in plannable for part in (first, second))
                and (legal := legal_join(case, found, first, second)) is not None
            ]
            if found_here:
                plannable[subset] = found_here

    def build(subset: int) -> object:
        if subset.bit_count() == 1:
            return subset.bit_length() - 1
        legal = rng.choice(plannable[subset])
        return legal, build(legal.left), build(legal.right)

    return build(whole) if whole.bit_count() == 1 or whole in plannable else None


# ---- The same as SQL, for the engine ------------------------------------------------------------------


def _base(relation: int) -> str:
    return f"(SELECT a AS r{relation}a, b AS r{relation}b FROM t{relation}) AS q{relation}"


def _on(case: Case, numbers: tuple[int, ...] | list[int]) -> str:
    return " AND ".join(case.conditions[i].sql() for i in numbers) or "TRUE"


def _visible_relations(node: OperatorTree) -> list[int]:
    if isinstance(node, int):
        return [node]
    keeps = node.kind in (JoinKind.INNER, JoinKind.LEFT)
    return _visible_relations(node.left) + (_visible_relations(node.right) if keeps else [])


def _columns(case: Case) -> str:
    return ", ".join(f"r{i}{column}" for i in sorted(_visible_relations(case.tree)) for column in COLUMNS)


def original_sql(case: Case) -> str:
    """The block as a user writes it: semi and anti joins as EXISTS."""

    def render(node: OperatorTree) -> str:
        if isinstance(node, int):
            return _base(node)
        on = _on(case, node.conjuncts)
        if node.kind in (JoinKind.SEMI, JoinKind.ANTI):
            negated = "NOT " if node.kind is JoinKind.ANTI else ""
            return (
                f"(SELECT * FROM {render(node.left)} WHERE {negated}EXISTS "
                f"(SELECT 1 FROM {render(node.right)} WHERE {on}))"
            )
        words = "JOIN" if node.kind is JoinKind.INNER else "LEFT JOIN"
        return f"({render(node.left)} {words} {render(node.right)} ON {on})"

    return f"SELECT {_columns(case)} FROM {render(case.tree)} WHERE {_on(case, case.where)}"


def plan_sql(case: Case, found: OrderingConstraints, plan: object) -> str:
    """A plan as nested parenthesised joins, each in the given order."""
    words = {JoinKind.INNER: "JOIN", JoinKind.LEFT: "LEFT JOIN", JoinKind.SEMI: "SEMI JOIN"}
    words[JoinKind.ANTI] = "ANTI JOIN"

    def render(node: object) -> str:
        if isinstance(node, int):
            kept = _on(case, found.filters[node])
            return f"(SELECT a AS r{node}a, b AS r{node}b FROM t{node} WHERE {kept.replace(f'r{node}', '')})"
        legal, left, right = node  # type: ignore[misc]
        return f"({render(left)} {words[legal.kind]} {render(right)} ON {_on(case, legal.conjuncts)})"

    return f"SELECT {_columns(case)} FROM {render(plan)} WHERE {_on(case, found.late)}"


def expected_tuples(case: Case, rows: Counter[Row]) -> list[tuple[int | None, ...]]:
    """The rows of :func:`original_rows` as the engine returns them, sorted."""
    wanted = sorted(_visible_relations(case.tree))
    flat: list[tuple[int | None, ...]] = []
    for row, count in rows.items():
        values = tuple(value for i in wanted for value in (row[i] or PADDED))
        flat.extend([values] * count)
    return sorted(flat, key=sort_key)


def sort_key(row: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(-1 if value is None else value for value in row)


# ---- Plans of a search --------------------------------------------------------------------------------


def as_graph(
    rng: Random, case: Case, found: OrderingConstraints, lanes: int = 2
) -> tuple[QueryGraph, RowEstimates]:
    """The block as searches get it, with random estimates."""
    size = len(case.tables)
    classes, predicates = [], []
    for number in found.joins:
        relations = tuple(members(case.conditions[number].conjunct.relations))
        is_equality = case.conditions[number].form is FORMS[0]
        (classes if is_equality and rng.random() < 0.5 else predicates).append(relations)
    graph = QueryGraph(
        tuple(f"r{i}" for i in range(size)),
        np.array(found.edges, np.int64).reshape(-1, 2),
        found.operators,
        class_start=np.cumsum([0, *map(len, classes)]),
        class_member=np.array([i for one in classes for i in one], np.int64),
        selective_start=np.cumsum([0, *map(len, predicates)]),
        selective_member=np.array([i for one in predicates for i in one], np.int64),
        written=found.legal,
    )
    estimates = RowEstimates.from_logs(
        graph,
        [[rng.uniform(0, 5) for _ in range(lanes)] for _ in range(size)],
        [[-rng.uniform(0, 4) for _ in range(lanes)] for _ in predicates],
        [[rng.uniform(0, 4) for _ in range(lanes)] for _ in graph.class_member],
    )
    return graph, estimates


def all_legal_sets(case: Case, found: OrderingConstraints) -> list[list[tuple[int, int]]]:
    """By relation set: every legal pair that makes it, left input first; what no plan reaches has none."""
    whole = (1 << len(case.tables)) - 1
    pairs: list[list[tuple[int, int]]] = [[] for _ in range(whole + 1)]
    for subset in range(1, whole + 1):
        for first, second in splits(subset) if subset.bit_count() > 1 else ():
            if all(part.bit_count() == 1 or pairs[part] for part in (first, second)):
                legal = legal_join(case, found, first, second)
                if legal is not None:
                    pairs[subset].append((legal.left, legal.right))
    return pairs


def execute_nodes(case: Case, found: OrderingConstraints, nodes: Any) -> frozenset[tuple[Row, int]]:
    """Rows of a plan (PLAN_NODE array), each join checked against the pair rule, sides included.

    A left join may have its preserved side on the right: engines then run it as a right join.
    """
    results: list[list[Row]] = []
    masks: list[int] = []
    visible: list[int] = []
    for node in nodes:
        if node["operator"] == PlanOperator.SCAN:
            relation = int(node["relation"])
            conditions = [case.conditions[i] for i in found.filters[relation]]
            results.append([row for row in scan(case, relation) if all(one.holds(row) for one in conditions)])
            masks.append(1 << relation)
            visible.append(1 << relation)
            continue
        left, right = int(node["left"]), int(node["right"])
        legal = legal_join(case, found, masks[left], masks[right])
        assert legal is not None, f"an illegal join of {masks[left]:b} and {masks[right]:b}"
        if legal.left != masks[left]:
            assert legal.kind is JoinKind.LEFT, f"{legal.kind.name} join with its sides exchanged"
            left, right = right, left
        keeps = legal.kind in (JoinKind.INNER, JoinKind.LEFT)
        conditions = [case.conditions[i] for i in legal.conjuncts]
        results.append(join(legal.kind, results[left], results[right], visible[right], conditions))
        masks.append(masks[left] | masks[right])
        visible.append(visible[left] | visible[right] if keeps else visible[left])
    kept = (row for row in results[-1] if all(case.conditions[i].holds(row) for i in found.late))
    return frozenset(Counter(kept).items())
