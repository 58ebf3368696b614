from __future__ import annotations

import datetime
import math
import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.evidence.answers import cut_is_certain, sort_keys
from godb_fast.report import Answer, difference

cells = (
    st.none()
    | st.integers(-3, 3)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=2)
    | st.binary(max_size=2)
    | st.lists(st.integers(0, 2), max_size=2)
    | st.dictionaries(st.text(max_size=1), st.integers(0, 2), max_size=2)
)
tables = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.tuples(*[cells] * width), max_size=6).map(
        lambda rows: Answer(tuple("abc"[:width]), ("X",) * width, rows)
    )
)


@given(tables, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_any_order_of_the_same_rows_is_the_same_answer(answer, chance):
    shuffled = list(answer.rows)
    chance.shuffle(shuffled)
    assert difference(answer, Answer(answer.columns, answer.types, shuffled)) is None


@given(tables.filter(lambda answer: answer.rows), st.integers(0, 100))
@settings(max_examples=200, deadline=None)
def test_a_missing_or_doubled_row_is_found(answer, at):
    rows = list(answer.rows)
    shorter = rows[: at % len(rows)] + rows[at % len(rows) + 1 :]
    assert "rows instead of" in difference(answer, Answer(answer.columns, answer.types, shorter))
    extra = ("something else",) * len(answer.columns)
    swapped = [*shorter, extra]
    assert "something else" in difference(answer, Answer(answer.columns, answer.types, swapped))


def answer(*rows, columns=("a", "b"), types=("INTEGER", "DOUBLE")):
    return Answer(columns, types, list(rows))


def test_floats_may_differ_in_their_last_bits_only():
    expected = answer((1, 0.1 + 0.2), (2, math.nan), (2, 1e300))
    assert difference(expected, answer((2, 1e300), (1, 0.3), (2, math.nan))) is None
    assert difference(expected, answer((1, 0.30001), (2, math.nan), (2, 1e300))) is not None
    assert difference(answer((1, 0.0)), answer((1, 1e-300))) is not None
    assert difference(answer(([0.1 + 0.2], 1.0)), answer(([0.3], 1.0))) is None


def test_sums_in_another_order_are_the_same():
    chance = random.Random(4)
    values = [chance.uniform(-1e6, 1e6) for _ in range(10_000)]
    shuffled = values[:]
    chance.shuffle(shuffled)
    assert difference(answer((1, sum(values))), answer((1, sum(shuffled)))) is None


def test_names_and_types_count():
    assert "columns ['a', 'c'] instead of ['a', 'b']" in difference(answer(), answer(columns=("a", "c")))
    assert "types" in difference(answer(), answer(types=("BIGINT", "DOUBLE")))
    assert difference(answer((1, 1)), answer((1, "1"))) is not None


def test_sort_keys_have_to_agree_and_ties_may_not():
    expected = answer((1, 5.0), (1, 6.0), (2, 7.0))
    assert difference(expected, answer((1, 6.0), (1, 5.0), (2, 7.0)), [0]) is None
    assert "out of order" in difference(expected, answer((2, 7.0), (1, 5.0), (1, 6.0)), [0])
    assert difference(expected, answer((2, 7.0), (1, 5.0), (1, 6.0))) is None


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a, b FROM t", ()),
        ("SELECT a, b FROM t ORDER BY B DESC, a", (1, 0)),
        ("SELECT a, b FROM t ORDER BY 2, a LIMIT 3", (1, 0)),
        ("SELECT a, b FROM t ORDER BY a + 1, b", ()),
        ("SELECT a, b FROM t ORDER BY a, c, b", (0,)),
        ("SELECT a, b FROM t UNION ALL SELECT a, b FROM u ORDER BY a", (0,)),
        ("SELECT a, b FROM (SELECT * FROM t ORDER BY b) x", ()),
        ("SELECT ((", ()),
    ],
)
def test_sort_keys_are_read_from_the_statement(sql, expected):
    assert sort_keys(sql, "duckdb", ["a", "b"]) == expected


DAY = datetime.date(2000, 1, 1)


@pytest.mark.parametrize(
    ("last", "first", "certain"),
    [
        ((1,), (2,), True),
        ((1,), (1,), False),
        ((None,), (1,), True),
        ((None,), (None,), False),
        ((None, 1), (None, 2), True),
        ((1, "a"), (1, "b"), True),
        # Blanks at the end of fixed-length texts do not count.
        (("a",), ("a  ",), False),
        ((Decimal("1.0"),), (Decimal("1.00"),), False),
        ((Decimal("NaN"),), (Decimal("NaN"),), False),
        ((DAY,), (DAY + datetime.timedelta(1),), True),
        ((1.0,), (2.0,), True),
        # Another plan may add in another order, and turn these round.
        ((1.0,), (1.0 + 1e-12,), False),
        ((1.0, 1), (1.0, 2), False),
        ((math.nan,), (1.0,), False),
        ((math.inf,), (1.0,), False),
        # Who knows which of these are equal in the engine.
        (([1],), ([2],), False),
        ((1,), ("1",), False),
    ],
)
def test_a_cut_is_certain_where_the_rows_beside_it_surely_differ(last, first, certain):
    keys = range(len(last))
    assert cut_is_certain([last, first], 1, keys) is certain
    # Nothing is cut off.
    assert cut_is_certain([last, first], 2, keys)
