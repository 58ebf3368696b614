"""Ordering constraints of operator trees, case by case; test_outer_join_oracle executes what they allow."""

from __future__ import annotations

import pytest

from godb_fast.core.conflicts import (
    EITHER,
    FIRST_IS_LEFT,
    ILLEGAL,
    SECOND_IS_LEFT,
    Conjunct,
    JoinNode,
    OperatorTree,
    OrderingConstraints,
    orientation,
    resolve,
)
from godb_fast.core.graph import JoinKind, JoinOperator
from godb_fast.core.relation_set import members
from godb_fast.errors import InvalidInput

KINDS = {"*": JoinKind.INNER, "<": JoinKind.LEFT, "&": JoinKind.SEMI, "!": JoinKind.ANTI}


class Query:
    """Blackboard notation: ``(A < B) * C``, with ``on`` per join, inner parentheses and left inputs first.

    A conjunct is written as its relations, strong on all; ``B?`` marks a relation on which it is not strong.
    """

    def __init__(self, text: str, *on: str, where: tuple[str, ...] = ()) -> None:
        self.names = sorted({letter for letter in text if letter.isalpha()})
        self.conjuncts: list[Conjunct] = []
        self.position, self.text = 0, text.replace(" ", "")
        self.pending = [tuple(self._conjunct(one) for one in part.split()) for part in on]
        tree = self._parse()
        self.result = resolve(len(self.names), tree, self.conjuncts, [self._conjunct(one) for one in where])

    def _conjunct(self, text: str) -> int:
        relations = strong = 0
        for position, letter in enumerate(text):
            if letter.isalpha():
                bit = 1 << self.names.index(letter)
                relations |= bit
                strong |= 0 if text[position + 1 : position + 2] == "?" else bit
        self.conjuncts.append(Conjunct(relations, strong))
        return len(self.conjuncts) - 1

    def _parse(self) -> OperatorTree:
        left = self._leaf()
        while self.position < len(self.text) and self.text[self.position] in KINDS:
            kind = KINDS[self.text[self.position]]
            self.position += 1
            right = self._leaf()
            left = JoinNode(kind, left, right, self.pending.pop(0) if self.pending else ())
        return left

    def _leaf(self) -> OperatorTree:
        letter = self.text[self.position]
        self.position += 1
        if letter != "(":
            return self.names.index(letter)
        inner = self._parse()
        self.position += 1
        return inner

    def letters(self, mask: int) -> str:
        return "".join(self.names[i] for i in members(mask))

    @property
    def edges(self) -> set[str]:
        return {f"{self.names[i]}{self.names[j]}" for i, j in self.result.edges}

    @property
    def operators(self) -> set[str]:
        return {
            f"{self.letters(one.left)} {next(s for s, k in KINDS.items() if k is one.kind)} {self.letters(one.right)}"
            for one in self.result.operators
        }


def test_inner_joins_have_edges_and_no_operators() -> None:
    query = Query("A * B * C", "AB", "BC", where=("A", "AC"))
    assert query.edges == {"AB", "BC", "AC"}
    assert query.operators == set()
    assert query.result.filters == ((2,), (), ())
    assert query.result.joins == (0, 1, 3)
    assert query.result.scopes == (0, 0, 0, 0)


def test_a_comma_connects_nothing_by_itself() -> None:
    query = Query("A * B * C", "", "BC")
    assert query.edges == {"BC"}


def test_a_predicate_of_three_relations_is_an_edge_only_where_nothing_else_connects() -> None:
    assert Query("A * B * C", "AB", "BC", where=("ABC",)).edges == {"AB", "BC"}
    assert Query("A * B * C", "AB", "ABC").edges == {"AB", "AC", "BC"}
    query = Query("A * B * C", "", "ABC")
    assert query.edges == {"AB", "AC", "BC"}
    assert query.result.joins == (0,)


def test_an_inner_join_moves_past_a_left_join_on_its_preserved_side() -> None:
    query = Query("(A < B) * C", "AB", "AC")
    assert query.operators == {"A < B"}
    assert query.edges == {"AC"}


def test_a_strong_predicate_above_makes_a_left_join_inner() -> None:
    assert Query("(A < B) * C", "AB", "BC").operators == set()
    assert Query("(A < B) * C", "AB", "BC").edges == {"AB", "BC"}
    assert Query("A < B", "AB", where=("B",)).operators == set()
    # Transitively: C makes the upper join inner, whose predicate then makes the lower one inner.
    assert Query("(A < B) < C", "AB", "BC", where=("C",)).edges == {"AB", "BC"}
    # The ON clause of an outer join rejects rows within its padded side.
    query = Query("A < (B < C)", "BC", "AC")
    assert query.edges == {"BC"}
    assert query.operators == {"A < BC"}


def test_a_semi_join_rejects_padded_rows_and_an_anti_join_keeps_them() -> None:
    assert Query("(A < B) & C", "AB", "BC").operators == {"B & C"}
    assert Query("(A < B) ! C", "AB", "BC").operators == {"A < B", "AB ! C"}


def test_a_predicate_that_padded_rows_may_satisfy_waits_for_the_left_join() -> None:
    query = Query("(A < B) * C", "AB", "B?C")
    assert query.operators == {"A < B", "AB * C"}
    assert query.edges == set()


def test_left_joins_associate_only_where_the_upper_one_rejects_nulls() -> None:
    assert Query("(A < B) < C", "AB", "BC").operators == {"A < B", "B < C"}
    assert Query("(A < B) < C", "AB", "B?C").operators == {"A < B", "AB < C"}
    assert Query("A < (B < C)", "BC", "AB").operators == {"B < C", "A < B"}
    assert Query("A < (B < C)", "B?C", "AB").operators == {"B < C", "A < BC"}


def test_the_padded_side_is_joined_first() -> None:
    assert Query("A < (B * C)", "BC", "AB").operators == {"A < BC"}
    assert Query("A < (B & C)", "BC", "AB").operators == {"B & C", "A < BC"}


def test_the_right_side_of_semi_and_anti_joins_is_whole() -> None:
    assert Query("A & (B * C * D)", "BC", "CD", "AB").operators == {"A & BCD"}
    query = Query("A ! (B < C)", "BC", "AB")
    assert query.operators == {"B < C", "A ! BC"}
    assert query.letters(query.result.visible) == "A"


def test_semi_joins_commute_with_inner_joins() -> None:
    query = Query("(A * B) & C", "AB", "AC")
    assert query.operators == {"A & C"}
    assert query.edges == {"AB"}


def test_a_degenerate_predicate_waits_for_its_whole_input() -> None:
    assert Query("(A * B) < C", "AB", "").operators == {"AB < C"}
    # A filter of the padded side moves into it; on the preserved side it stays with the join.
    query = Query("A < B", "AB A B")
    assert query.operators == {"A < B"}
    assert query.result.operators[0].predicates == (0, 1)
    assert query.result.filters == ((), (2,))


def test_where_filters_stay_above_outer_joins_that_pad_their_relation() -> None:
    query = Query("A < B", "AB", where=("A", "B?"))
    assert query.result.filters == ((1,), ())
    assert query.result.late == (2,)


def test_a_filter_above_a_left_join_inside_a_padded_side_holds_that_side_together() -> None:
    query = Query("X < ((A < B) * C)", "AB", "AC B?", "XC")
    assert query.operators == {"A < B", "AB * C", "X < ABC"}
    # At the top of the block it may simply stay in WHERE.
    query = Query("(A < B) * C", "AB", "AC B?")
    assert query.result.late == (2,)
    assert query.operators == {"A < B"}


def test_cross_products_amid_outer_joins_are_operators() -> None:
    query = Query("(A < B) * C", "AB")
    assert query.operators == {"A < B", "AB * C"}
    assert query.result.legal == ((0, 1), 2)
    # Not needed where another path connects.
    query = Query("(A * B) * (C < D)", "", "CD", "AC BC")
    assert "A * B" not in query.operators


def test_full_joins_are_passed_through() -> None:
    found = resolve(2, JoinNode(None, 0, 1, (0,)), [Conjunct(3, 3)])
    assert found.reason == "a FULL join is not reordered"
    assert found.tree == JoinNode(None, 0, 1, (0,))


def test_more_than_62_relations_are_ordered_only_if_all_joins_are_inner() -> None:
    def chain(kind: JoinKind) -> OrderingConstraints:
        tree: OperatorTree = 0
        for i in range(1, 70):
            tree = JoinNode(kind, tree, i, (i - 1,))
        return resolve(70, tree, [Conjunct(3 << i, 3 << i) for i in range(69)])

    assert len(chain(JoinKind.INNER).edges) == 69
    assert chain(JoinKind.LEFT).reason == "outer and semi joins are ordered for at most 62 relations, not 70"


def test_two_thousand_inner_joins_do_not_recurse() -> None:
    tree: OperatorTree = 0
    for i in range(1, 2000):
        tree = JoinNode(JoinKind.INNER, i, tree, (i - 1,))
    found = resolve(2000, tree, [Conjunct(3 << i, 3 << i) for i in range(1999)])
    assert len(found.edges) == 1999


def test_classes_are_shared_only_within_one_inner_joined_region() -> None:
    # A-B and B-C on the preserved side share a class, D-E inside the padded side has its own, the outer
    # join's equality has none.
    query = Query("(A * B) < (D * E) * C", "AB", "DE", "BD", "BC")
    share = query.result.may_share_class
    assert query.result.operators[0].kind is JoinKind.LEFT
    numbers = {"AB": 0, "DE": 1, "BD": 2, "BC": 3}
    assert share(numbers["AB"], numbers["BC"])
    assert not share(numbers["AB"], numbers["DE"])
    assert not share(numbers["AB"], numbers["BD"])
    assert not share(numbers["BD"], numbers["BD"])


def test_orientation_by_cases() -> None:
    left, semi = JoinOperator(JoinKind.LEFT, 0b001, 0b010), JoinOperator(JoinKind.SEMI, 0b001, 0b010)
    inner = JoinOperator(JoinKind.INNER, 0b011, 0b100)
    none = [0, 0, 0]
    assert orientation(none, [left], 0b001, 0b010) == FIRST_IS_LEFT
    assert orientation(none, [semi], 0b010, 0b001) == SECOND_IS_LEFT
    assert orientation(none, [inner], 0b100, 0b011) == EITHER
    assert orientation([2, 1, 0], [], 0b001, 0b010) == EITHER
    # Nothing crosses: never a free cross product.
    assert orientation(none, [left], 0b001, 0b100) == ILLEGAL
    # An outer join is evaluated alone: no edge, no second operator beside it.
    assert orientation([2, 1, 0], [left], 0b001, 0b010) == ILLEGAL
    assert orientation(none, [left, semi], 0b001, 0b010) == ILLEGAL
    # An operator whose sides do not fall on different sets.
    assert orientation([0, 4, 2], [inner], 0b001, 0b110) == ILLEGAL
    # The union holds a part of both sides: the operator could never be applied.
    assert orientation([0, 4, 2], [inner], 0b010, 0b100) == ILLEGAL


@pytest.mark.parametrize(
    ("relations", "tree", "conjuncts", "where", "message"),
    [
        (2, 0, [], [], "lacks some of the block's 2 relations"),
        (2, JoinNode(JoinKind.INNER, 0, 0), [], [], "relation 0 is repeated"),
        (2, JoinNode(JoinKind.INNER, 0, 5), [], [], "relation 5 is repeated or not one of the 2"),
        (2, JoinNode(JoinKind.INNER, 0, 1), [Conjunct(3)], [], "exactly one ON or WHERE clause"),
        (2, JoinNode(JoinKind.INNER, 0, 1, (0,)), [Conjunct(3)], [0], "exactly one ON or WHERE clause"),
        (
            2,
            JoinNode(JoinKind.SEMI, 0, 1),
            [Conjunct(2)],
            [0],
            "conjunct 0 mentions a relation that it cannot",
        ),
        (
            3,
            JoinNode(JoinKind.INNER, JoinNode(JoinKind.ANTI, 0, 1), 2, (0,)),
            [Conjunct(6)],
            [],
            "conjunct 0 mentions a relation that it cannot see",
        ),
        (2, JoinNode(JoinKind.INNER, 0, 1), [Conjunct(1, 3)], [0], "conjunct 0 mentions a relation"),
    ],
)
def test_malformed_trees_are_refused(
    relations: int, tree: OperatorTree, conjuncts: list[Conjunct], where: list[int], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        resolve(relations, tree, conjuncts, where)


def test_the_simplified_tree_holds_conjuncts_where_they_are_evaluated() -> None:
    query = Query("(A < B) * C", "AB", "AC B?")
    assert query.result.tree == JoinNode(JoinKind.INNER, JoinNode(JoinKind.LEFT, 0, 1, (0,)), 2, (1,))
