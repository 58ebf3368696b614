"""Equal sub-plans have equal keys, whatever their aliases, the order of FROM and the query around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.core import QueryGraph
from godb_fast.errors import InvalidInput
from godb_fast.feedback import Edge, QueryShape
from godb_fast.feedback.shapes import MAX_SETS
from godb_fast.planning.search import Planner


def shape_of(tables: list[str], filters: list[str], joins: list[tuple[int, int]]) -> QueryShape:
    edges = [Edge(a, b, f"{tables[a]}.x={tables[b]}.y", f"{tables[b]}.y={tables[a]}.x") for a, b in joins]
    graph = QueryGraph.from_edges(len(tables), joins)
    return QueryShape.of(tables, filters, edges, Planner(graph).sets)


@st.composite
def drawn(draw: st.DrawFn) -> tuple[list[str], list[str], list[tuple[int, int]], list[int]]:
    count = draw(st.integers(2, 6))
    tables = draw(st.lists(st.sampled_from("abc"), min_size=count, max_size=count))
    filters = draw(st.lists(st.sampled_from(["", "p = #"]), min_size=count, max_size=count))
    joins = {(draw(st.integers(0, i - 1)), i) for i in range(1, count)}
    joins |= {
        (min(a, b), max(a, b))
        for a, b in draw(st.lists(st.tuples(*[st.integers(0, count - 1)] * 2), max_size=2))
        if a != b
    }
    return tables, filters, sorted(joins), draw(st.permutations(range(count)))


@settings(max_examples=80, deadline=None)
@given(drawn())
def test_keys_do_not_depend_on_the_order_of_from(
    query: tuple[list[str], list[str], list[tuple[int, int]], list[int]],
) -> None:
    tables, filters, joins, moved = query
    one = shape_of(tables, filters, joins)
    back = {new: old for old, new in enumerate(moved)}
    two = QueryShape.of(
        [tables[back[i]] for i in range(len(tables))],
        [filters[back[i]] for i in range(len(tables))],
        # Written the other way round.
        [
            Edge(moved[b], moved[a], f"{tables[b]}.y={tables[a]}.x", f"{tables[a]}.x={tables[b]}.y")
            for a, b in joins
        ],
        Planner(QueryGraph.from_edges(len(tables), [(moved[a], moved[b]) for a, b in joins])).sets,
    )
    for at, mask in enumerate(one.masks.tolist()):
        image = sum(1 << moved[i] for i in range(len(tables)) if mask >> i & 1)
        there = two.position[image]
        assert one.keys[at] == two.keys[there]
        assert one.parents[at] == two.parents[there]


def test_a_part_has_the_key_of_the_query_that_is_only_that_part() -> None:
    whole = shape_of(["a", "b", "c"], ["p = #", "", "q < #"], [(0, 1), (1, 2)])
    part = shape_of(["b", "c"], ["", "q < #"], [(0, 1)])
    assert whole.keys[whole.position[0b110]] == part.keys[part.position[0b11]]
    assert whole.keys[whole.position[0b011]] != part.keys[part.position[0b11]]


def test_what_tells_shapes_apart() -> None:
    base = shape_of(["a", "b"], ["p = #", ""], [(0, 1)])
    other_filter = shape_of(["a", "b"], ["p < #", ""], [(0, 1)])
    assert base.keys[-1] != other_filter.keys[-1]
    assert base.parents[-1] == other_filter.parents[-1]
    on_other_columns = QueryShape.of(["a", "b"], ["p = #", ""], [Edge(0, 1, "z=y", "y=z")], [1, 2, 3])
    assert base.parents[-1] != on_other_columns.parents[-1]
    # The same multiset of relations and of conditions, joined otherwise: a path and a star of like tables.
    path = shape_of(["a"] * 4, [""] * 4, [(0, 1), (1, 2), (2, 3)])
    star = shape_of(["a"] * 4, [""] * 4, [(0, 1), (0, 2), (0, 3)])
    assert path.keys[-1] != star.keys[-1]


def test_keys_are_the_same_on_every_platform() -> None:
    shape = shape_of(["a", "b"], ["p = #", ""], [(0, 1)])
    assert [hex(key) for key in shape.keys.tolist()] == [
        "0x2c33d4b1bec633d6",
        "0xf003056945b08e4e",
        "0xa83fa1d6e19a099c",
    ]


def test_too_many_sets_and_missing_relations_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at most"):
        QueryShape.of(["a", "b"], ["", ""], [], np.arange(1, MAX_SETS + 2))
    with pytest.raises(InvalidInput, match="every single one"):
        QueryShape.of(["a", "b"], ["", ""], [Edge(0, 1, "x", "y")], [1, 3])
