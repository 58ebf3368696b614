"""Which join orders an operator tree allows: from outer, semi and anti joins to hyperedges.

Given a block's joins as written, :func:`resolve` turns outer joins into inner ones where a predicate above
rejects the padded rows anyway, moves each conjunct to where it may be evaluated, and derives for each join
that is not freely reorderable its total eligibility set: the relations that must be present on either side
before it can run. The method is that of Moerkotte, Fender and Eich, "On the correct and complete enumeration
of the core search space", SIGMOD 2013, whose conditional conflict rules are folded into the sets:

- Rules need folding only where an operator's set touches the rule's left side. Elsewhere they hold by
  themselves: in a plan without cross products, a relation of an outer join's padded side meets relations
  from outside that side only through that join itself, through operators whose sets contain what the rule
  asks for, or through further outer joins that reject the padded rows.
- So :func:`orientation`, a test on two sets and the operators alone, decides whether two sets may be joined.
  It only forbids: whatever it allows gives the rows of the tree as written.

What may be assumed of a conjunct is two masks: the relations it mentions, and those on which it is *strong*
(never true when all columns of that relation are NULL).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, TypeAlias

from godb_fast.core.graph import JoinKind, JoinOperator
from godb_fast.core.relation_set import MAX_MASKED, members
from godb_fast.core.steering import JoinTree
from godb_fast.errors import InvalidInput

#: What :func:`orientation` answers: not a legal pair; legal with the first (second) set as left input;
#: legal either way.
ILLEGAL: Final = 0
FIRST_IS_LEFT: Final = 1
SECOND_IS_LEFT: Final = 2
EITHER: Final = 3


@dataclass(frozen=True)
class Conjunct:
    """One conjunct of a WHERE or ON clause.

    Parameters
    ----------
    relations : int
        Mask of the relations mentioned.
    strong : int
        Mask of the relations on which it is null-rejecting: false or unknown when all columns of that
        relation are NULL. A subset of ``relations``; claiming too little is safe.
    """

    relations: int
    strong: int = 0


@dataclass(frozen=True)
class JoinNode:
    """A join as written; RIGHT joins are written as LEFT joins with their inputs exchanged.

    Parameters
    ----------
    kind : JoinKind or None
        None for a kind that cannot be ordered (FULL): the block then keeps the engine's plan.
    left, right : OperatorTree
        Relation numbers or joins. LEFT preserves ``left``; SEMI and ANTI keep only the columns of ``left``.
    conjuncts : tuple of int
        Numbers of the conjuncts of its ON clause (for SEMI and ANTI: what correlates the subquery).
    """

    kind: JoinKind | None
    left: OperatorTree
    right: OperatorTree
    conjuncts: tuple[int, ...] = ()


OperatorTree: TypeAlias = int | JoinNode


@dataclass(frozen=True)
class OrderingConstraints:
    """What :func:`resolve` found. Conjuncts are named by their numbers throughout.

    Each conjunct is in exactly one place: ``filters``, ``joins``, an operator's ``predicates``, or ``late``.

    Parameters
    ----------
    tree : OperatorTree
        The simplified tree; with operators present, conjuncts sit at the joins that evaluate them.
    filters : tuple, one tuple of int per relation
        Conjuncts that may be evaluated on the relation alone, before any join.
    joins : tuple of int
        Inner join predicates that are free: evaluated by whichever join first has all their relations.
    late : tuple of int
        Conjuncts that must stay in the block's WHERE clause, above all joins.
    edges : tuple of (int, int)
        Connectivity by free join predicates, ascending pairs without duplicates.
    operators : tuple of JoinOperator
        Ordering constraints, left and right as in :class:`JoinOperator`. Empty for inner-only blocks.
    scopes : tuple of int, one per conjunct
        Number of the inner-joined region in which every surviving row satisfies the conjunct, -1 if none.
        Only conjuncts of one scope may share an equivalence class (see :meth:`may_share_class`).
    visible : int
        Mask of the relations whose columns the block's SELECT can see (not those under a semi join's right).
    legal : JoinTree or None
        A join tree that the operators allow, for ``QueryGraph.written``; None without operators.
    reason : str or None
        Why the block cannot be ordered; everything else is then empty but ``tree`` (as given).
    """

    tree: OperatorTree
    filters: tuple[tuple[int, ...], ...] = ()
    joins: tuple[int, ...] = ()
    late: tuple[int, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    operators: tuple[JoinOperator, ...] = ()
    scopes: tuple[int, ...] = ()
    visible: int = 0
    legal: JoinTree | None = None
    reason: str | None = None

    def may_share_class(self, first: int, second: int) -> bool:
        """Whether two equality conjuncts may be put in one equivalence class.

        Then what follows from them by transitivity holds for every row of their region, and the relations
        of the class may all be connected with each other by further ``edges``. Equalities of outer, semi
        and anti joins share a class with nothing.
        """
        return self.scopes[first] >= 0 and self.scopes[first] == self.scopes[second]


def resolve(
    relations: int, tree: OperatorTree, conjuncts: Sequence[Conjunct], where: Sequence[int] = ()
) -> OrderingConstraints:
    """Simplify an operator tree, place its conjuncts and derive its ordering constraints.

    Parameters
    ----------
    relations : int
        How many relations the block has; each appears once as a leaf.
    tree : OperatorTree
        The joins as written. A comma in FROM is an INNER join without conjuncts.
    conjuncts : sequence of Conjunct
        All conjuncts of the block.
    where : sequence of int
        Numbers of the conjuncts above the tree (the WHERE clause).

    Raises
    ------
    InvalidInput
        If a relation or a conjunct is missing, repeated or unknown.
    """
    work = _Tree(relations, tree, conjuncts, where)
    if work.unordered:
        return OrderingConstraints(tree, reason="a FULL join is not reordered")
    work.simplify()
    if all(kind is JoinKind.INNER for kind in work.kinds):
        return work.inner_only()
    if relations > MAX_MASKED:
        return OrderingConstraints(
            tree,
            reason=f"outer and semi joins are ordered for at most {MAX_MASKED} relations, not {relations}",
        )
    work.place_all()
    return work.constraints()


def orientation(adjacency: Sequence[int], operators: Sequence[JoinOperator], first: int, second: int) -> int:
    """Whether two disjoint relation sets may be joined, and which must be the left input.

    An operator is *new* on the pair if the two sets together hold its ``left | right`` and neither does
    alone. The pair is legal if each new operator has ``left`` within one set and ``right`` within the other;
    if a new operator that is not INNER is the only new one, with no edge crossing; and if something crosses
    at all: graphs with operators are never joined by a cross product that no operator stands for. Pairs
    whose union holds some of both sides of an operator but not all are refused as well: that operator could
    never be applied any more.

    Parameters
    ----------
    adjacency : sequence of int
        ``QueryGraph.adjacency``: by relation, the mask of its neighbours.
    operators : sequence of JoinOperator
        ``QueryGraph.operators``.

    Returns
    -------
    int
        ILLEGAL, FIRST_IS_LEFT, SECOND_IS_LEFT or EITHER. LEFT joins answer by their preserved side; an
        engine may still build on either side.
    """
    crossing = any(adjacency[i] & second for i in members(first))
    together = first | second
    answer = EITHER if crossing else ILLEGAL
    for operator in operators:
        needed = operator.left | operator.right
        if needed & ~together:
            if operator.left & together and operator.right & together:
                return ILLEGAL
            continue
        if not needed & ~first or not needed & ~second:
            continue
        forward = not operator.left & ~first and not operator.right & ~second
        if not forward and (operator.left & ~second or operator.right & ~first):
            return ILLEGAL
        if operator.kind is JoinKind.INNER:
            if answer in (FIRST_IS_LEFT, SECOND_IS_LEFT):
                return ILLEGAL
            answer = EITHER
        else:
            if answer != ILLEGAL:
                return ILLEGAL
            answer = FIRST_IS_LEFT if forward else SECOND_IS_LEFT
    return answer


class _Tree:
    """The tree as parallel lists in post-order (children first), so that depth costs no recursion.

    Position p < relations is the leaf of relation p; joins follow.
    """

    def __init__(
        self, relations: int, tree: OperatorTree, conjuncts: Sequence[Conjunct], where: Sequence[int]
    ) -> None:
        self.count = relations
        self.conjuncts = conjuncts
        self.kinds: list[JoinKind] = []
        self.unordered = False
        self.lefts: list[int] = []
        self.rights: list[int] = []
        self.ons: list[list[int]] = []
        self.masks: list[int] = [1 << i for i in range(relations)]
        self.visible = list(self.masks)
        self.where = list(where)
        self.filters: list[list[int]] = [[] for _ in range(relations)]
        self.late: list[int] = []
        # Conjuncts that must be evaluated right at an INNER join although they lie within one of its inputs.
        self.stuck: list[tuple[int, int]] = []
        self.root = self._load(tree)
        self._check()

    def _load(self, tree: OperatorTree) -> int:
        done: list[int] = []
        stack: list[tuple[OperatorTree, bool]] = [(tree, False)]
        seen = 0
        while stack:
            node, expanded = stack.pop()
            if isinstance(node, int):
                if not 0 <= node < self.count or seen >> node & 1:
                    raise InvalidInput(
                        f"relation {node} is repeated or not one of the {self.count} of the block"
                    )
                seen |= 1 << node
                done.append(node)
            elif expanded:
                right, left = done.pop(), done.pop()
                self.unordered |= node.kind is None
                self.kinds.append(JoinKind.INNER if node.kind is None else node.kind)
                self.lefts.append(left)
                self.rights.append(right)
                self.ons.append(list(node.conjuncts))
                self.masks.append(self.masks[left] | self.masks[right])
                hides = node.kind in (JoinKind.SEMI, JoinKind.ANTI)
                self.visible.append(self.visible[left] | (0 if hides else self.visible[right]))
                done.append(len(self.masks) - 1)
            else:
                stack.extend(((node, True), (node.right, False), (node.left, False)))
        if seen != (1 << self.count) - 1:
            raise InvalidInput(f"the operator tree lacks some of the block's {self.count} relations")
        return done[0]

    def _check(self) -> None:
        named = [number for on in self.ons for number in on] + self.where
        if sorted(named) != list(range(len(self.conjuncts))):
            raise InvalidInput("each conjunct belongs to exactly one ON or WHERE clause")
        clauses = [(self.where, self.visible[self.root])]
        for join, on in enumerate(self.ons):
            clauses.append((on, self.visible[self.lefts[join]] | self.visible[self.rights[join]]))
        for on, mask in clauses:
            for number in on:
                conjunct = self.conjuncts[number]
                if conjunct.relations & ~mask or conjunct.strong & ~conjunct.relations:
                    raise InvalidInput(f"conjunct {number} mentions a relation that it cannot see")

    def _strong(self, numbers: Sequence[int]) -> int:
        mask = 0
        for number in numbers:
            mask |= self.conjuncts[number].strong
        return mask

    def simplify(self) -> None:
        """LEFT to INNER where padded rows cannot survive: Galindo-Legaria and Rosenthal, TODS 1997."""
        stack = [(self.root, self._strong(self.where))]
        while stack:
            position, rejected = stack.pop()
            if position < self.count:
                continue
            join = position - self.count
            left, right = self.lefts[join], self.rights[join]
            if self.kinds[join] is JoinKind.LEFT and rejected & self.masks[right]:
                self.kinds[join] = JoinKind.INNER
            kind, own = self.kinds[join], self._strong(self.ons[join])
            # Rows of an input that its join drops anyway may as well be dropped inside that input.
            both = rejected | own
            stack.append((left, both if kind in (JoinKind.INNER, JoinKind.SEMI) else rejected))
            stack.append((right, both if kind is JoinKind.INNER else own))

    def tree(self) -> OperatorTree:
        built: list[OperatorTree] = list(range(self.count))
        for join, kind in enumerate(self.kinds):
            left, right = built[self.lefts[join]], built[self.rights[join]]
            built.append(JoinNode(kind, left, right, tuple(self.ons[join])))
        return built[self.root]

    def inner_only(self) -> OrderingConstraints:
        """Every conjunct is free: filters by relation, the rest joins wherever its relations first meet."""
        edges: set[tuple[int, int]] = set()
        joins, late, wide = [], [], []
        for number, conjunct in enumerate(self.conjuncts):
            size = conjunct.relations.bit_count()
            if size == 0:
                late.append(number)
            elif size == 1:
                self.filters[conjunct.relations.bit_length() - 1].append(number)
            else:
                joins.append(number)
                if size == 2:
                    low, high = members(conjunct.relations)
                    edges.add((low, high))
                else:
                    wide.append(conjunct.relations)
        _connect_wide(self.count, edges, wide)
        return OrderingConstraints(
            tree=self.tree(),
            filters=tuple(map(tuple, self.filters)),
            joins=tuple(joins),
            late=tuple(late),
            edges=tuple(sorted(edges)),
            scopes=tuple(0 if conjunct.relations else -1 for conjunct in self.conjuncts),
            visible=self.masks[self.root],
        )

    def place_all(self) -> None:
        """Move each conjunct down to the lowest place where evaluating it gives the same rows."""
        # From the root to a join of the same region a selection may also move up, to the WHERE clause.
        free = self._regions()[1]
        written, self.ons = self.ons, [[] for _ in self.ons]
        for number in self.where:
            if not self._push(self.root, number):
                self.late.append(number)
        for join in reversed(range(len(self.kinds))):
            kind, left, right = self.kinds[join], self.lefts[join], self.rights[join]
            for number in written[join]:
                wanted = self.conjuncts[number].relations
                if kind is JoinKind.INNER:
                    if self._push(self.count + join, number):
                        continue
                    if join in free:
                        self.late.append(number)
                    else:
                        self.stuck.append((number, join))
                else:
                    # An input whose rows may be filtered by the ON clause: not the preserved one.
                    inputs = (right, left) if kind is JoinKind.SEMI else (right,)
                    if not any(not wanted & ~self.masks[i] and self._push(i, number) for i in inputs):
                        self.ons[join].append(number)

    def _push(self, position: int, number: int) -> bool:
        """Place a selection on top of ``position`` below it; False if it has to stay on top."""
        wanted = self.conjuncts[number].relations
        if not wanted:
            return False
        while position >= self.count:
            join = position - self.count
            left, right = self.lefts[join], self.rights[join]
            if not wanted & ~self.masks[left]:
                position = left
            elif self.kinds[join] is not JoinKind.INNER:
                return False
            elif not wanted & ~self.masks[right]:
                position = right
            else:
                self.ons[join].append(number)
                return True
        self.filters[position].append(number)
        return True

    def _regions(self) -> tuple[list[int], set[int]]:
        """Inner-joined region of each relation, and the joins from which a selection may move to the top."""
        scope = [-1] * self.count
        free: set[int] = set()
        stack, used = [(self.root, 0)], 1
        while stack:
            position, region = stack.pop()
            if position < self.count:
                scope[position] = region
                continue
            join = position - self.count
            if region == 0:
                free.add(join)
            stack.append((self.lefts[join], region))
            if self.kinds[join] is JoinKind.INNER:
                stack.append((self.rights[join], region))
            else:
                stack.append((self.rights[join], used))
                used += 1
        return scope, free

    def constraints(self) -> OrderingConstraints:
        scope, _ = self._regions()
        scopes = [-1] * len(self.conjuncts)
        edges: set[tuple[int, int]] = set()
        operators: list[JoinOperator] = []
        joins: list[int] = []
        for relation, numbers in enumerate(self.filters):
            for number in numbers:
                scopes[number] = scope[relation]
        for join, kind in enumerate(self.kinds):
            if kind is not JoinKind.INNER:
                operators.append(JoinOperator(kind, *self._eligibility(join), tuple(self.ons[join])))
                continue
            for number in self.ons[join]:
                left, right = self._eligibility(join, number)
                if left.bit_count() == right.bit_count() == 1:
                    low, high = sorted((left.bit_length() - 1, right.bit_length() - 1))
                    edges.add((low, high))
                    joins.append(number)
                else:
                    operators.append(JoinOperator(kind, left, right, (number,)))
                regions = {scope[i] for i in members(self.conjuncts[number].relations)}
                if len(regions) == 1:
                    scopes[number] = regions.pop()
        for number, join in self.stuck:
            left, right = self.masks[self.lefts[join]], self.masks[self.rights[join]]
            operators.append(JoinOperator(JoinKind.INNER, left, right, (number,)))
            self.ons[join].append(number)
        cross_products, legal = self._cross_products(edges, operators)
        operators.extend(cross_products)
        return OrderingConstraints(
            tree=self.tree(),
            filters=tuple(map(tuple, self.filters)),
            joins=tuple(sorted(joins)),
            late=tuple(sorted(self.late)),
            edges=tuple(sorted(edges)),
            operators=tuple(operators),
            scopes=tuple(scopes),
            visible=self.visible[self.root],
            legal=legal,
        )

    def _below(self, position: int) -> list[int]:
        found, stack = [], [position]
        while stack:
            position = stack.pop()
            if position >= self.count:
                join = position - self.count
                found.append(join)
                stack.extend((self.lefts[join], self.rights[join]))
        return found

    def _eligibility(self, join: int, number: int | None = None) -> tuple[int, int]:
        """Total eligibility set of a join (or of one conjunct of an INNER join), by side."""
        kind = self.kinds[join]
        sides = self.masks[self.lefts[join]], self.masks[self.rights[join]]
        numbers = self.ons[join] if number is None else [number]
        needed = self._mentioned(numbers)
        # A degenerate predicate does not tell where it belongs: it waits for its whole input.
        for side in sides:
            if not needed & side:
                needed |= side
        if kind in (JoinKind.SEMI, JoinKind.ANTI):
            needed |= sides[1]
        rules = self._conflict_rules(join, self._strong(numbers))
        grown = True
        while grown:
            grown = False
            for touched, pulled in rules:
                if needed & touched and pulled & ~needed:
                    needed |= pulled
                    grown = True
        return needed & sides[0], needed & sides[1]

    def _mentioned(self, numbers: Sequence[int]) -> int:
        mask = 0
        for number in numbers:
            mask |= self.conjuncts[number].relations
        return mask

    def _conflict_rules(self, join: int, strong: int) -> list[tuple[int, int]]:
        """Pairs (T1, T2): once the join's set meets T1 it must hold T2 (CD-C, the rules of Figure 11).

        (A a B) b C = (A b C) a B holds for all four kinds of a and b (l-asscom), so it gives no rules.
        """
        inner, kind = JoinKind.INNER, self.kinds[join]
        rules = []
        for below in self._below(self.lefts[join]):
            # assoc: (A a B) b C = A a (B b C), for a b that touches B.
            left, right, pulled_left, _ = self._sides(below)
            lower = self.kinds[below]
            both_outer = lower is JoinKind.LEFT and kind is JoinKind.LEFT
            if lower is not inner and not (both_outer and strong & right):
                rules.append((right, pulled_left))
        for below in self._below(self.rights[join]):
            left, right, pulled_left, pulled_right = self._sides(below)
            lower = self.kinds[below]
            # assoc: A b (B a C) = (A b B) a C, for a b that touches B.
            both_outer = lower is JoinKind.LEFT and kind is JoinKind.LEFT
            if kind is not inner and not (both_outer and self._strong(self.ons[below]) & left):
                rules.append((left, pulled_right))
            # r-asscom: A b (B a C) = B a (A b C), for a b that touches C; only inner joins have it.
            if not (kind is inner and lower is inner):
                rules.append((right, pulled_left))
        return rules

    def _sides(self, join: int) -> tuple[int, int, int, int]:
        left, right = self.masks[self.lefts[join]], self.masks[self.rights[join]]
        if any(join == held for _, held in self.stuck):
            return left, right, left, right
        mentioned = self._mentioned(self.ons[join])
        return left, right, mentioned & left or left, mentioned & right or right

    def _cross_products(
        self, edges: set[tuple[int, int]], operators: Sequence[JoinOperator]
    ) -> tuple[list[JoinOperator], JoinTree]:
        """INNER operators without predicates for cross products, if a legal plan needs them; such a plan."""
        bare = [join for join, kind in enumerate(self.kinds) if kind is JoinKind.INNER and not self.ons[join]]
        if bare:
            legal = self._legal_tree(edges, operators)
            if legal is not None:
                return [], legal
        # With these the tree as it stands is legal: each join's own operators are new at that join only.
        crossed = [
            JoinOperator(JoinKind.INNER, self.masks[self.lefts[join]], self.masks[self.rights[join]])
            for join in bare
        ]
        built: list[JoinTree] = list(range(self.count))
        for left, right in zip(self.lefts, self.rights, strict=True):
            built.append((built[left], built[right]))
        return crossed, built[self.root]

    def _legal_tree(self, edges: set[tuple[int, int]], operators: Sequence[JoinOperator]) -> JoinTree | None:
        """Join what may be joined within each subtree in turn; None if that does not join everything."""
        adjacency = [0] * self.count
        for left, right in edges:
            adjacency[left] |= 1 << right
            adjacency[right] |= 1 << left
        parts: dict[int, JoinTree] = {1 << i: i for i in range(self.count)}
        for mask in self.masks[self.count :]:
            merged = True
            while merged:
                merged = False
                for first, second in combinations([part for part in parts if not part & ~mask], 2):
                    answer = orientation(adjacency, operators, first, second)
                    if answer == ILLEGAL:
                        continue
                    left, right = (second, first) if answer == SECOND_IS_LEFT else (first, second)
                    parts[first | second] = (parts.pop(left), parts.pop(right))
                    merged = True
                    break
        return next(iter(parts.values())) if len(parts) == 1 else None


def _connect_wide(count: int, edges: set[tuple[int, int]], wide: Sequence[int]) -> None:
    """Let predicates of three relations or more connect what nothing else does.

    They are not edges otherwise: joining two of their relations evaluates nothing.
    """
    group = list(range(count))

    def find(node: int) -> int:
        while group[node] != node:
            group[node] = group[group[node]]
            node = group[node]
        return node

    for left, right in edges:
        group[find(left)] = find(right)
    for mask in wide:
        parts: dict[int, list[int]] = {}
        for node in members(mask):
            parts.setdefault(find(node), []).append(node)
        if len(parts) < 2:
            continue
        pieces = list(parts.values())
        for position, piece in enumerate(pieces):
            for other in pieces[:position]:
                edges.update((min(i, j), max(i, j)) for i in piece for j in other)
        for other_root in parts:
            group[find(other_root)] = find(next(iter(parts)))
