"""Estimated shares of a table's rows against counts by DuckDB, on data made here."""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal
from itertools import pairwise

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.column_statistics import CountedStatistics

from godb_fast.core import (
    And,
    ColumnKind,
    ColumnRef,
    ColumnStatistics,
    Comparison,
    Constant,
    Not,
    Opaque,
    Or,
    Slot,
)
from godb_fast.planning.distribution import TINY, Distribution
from godb_fast.planning.domains import UNKNOWN, to_number, to_time
from godb_fast.planning.patterns import pattern
from godb_fast.planning.selectivity import Conjunction, compile_predicate

ROWS = 20_000
#: Columns of the table ``t`` with independent values unless said otherwise.
COLUMNS = {
    "uniform": "pick(i, 7, 1000)",
    "dense": "pick(i, 5, 10)",
    "skewed": "floor(pow(pick(i, 3, 100000) / 100000.0, 6) * 500)::INTEGER",
    "real": "pick(i, 11, 1000000) / 1000.0",
    "sparse": "CASE WHEN pick(i, 13, 4) > 0 THEN NULL ELSE pick(i, 17, 50) END",
    "name": "['alpha', 'beta', 'gamma', 'delta'][1 + pick(i, 19, 4)] || '-' || (pick(i, 23, 900) + 100)",
    "word": "['red (old)', 'green', 'blue (old)', 'Red'][1 + pick(i, 29, 4)]",
    "day": "DATE '1995-01-01' + pick(i, 31, 2000)",
    "flag": "pick(i, 37, 10) = 0",
}


@pytest.fixture(scope="module")
def table():
    connection = duckdb.connect()
    connection.execute("CREATE MACRO pick(i, seed, n) AS (hash(i * 1009 + seed) % n)::INTEGER")
    columns = ", ".join(f"{text} AS {name}" for name, text in COLUMNS.items())
    connection.execute(
        f"CREATE TABLE t AS SELECT i AS id, {columns} FROM (SELECT range AS i FROM range({ROWS}))"
    )
    yield connection, CountedStatistics(connection, keys=("t.id",))
    connection.close()


def column(name):
    return ColumnRef(0, name)


def compare(name, operator, *values, **options):
    return Comparison(operator, column(name), tuple(Constant(value) for value in values), **options)


def columns_of(statistics):
    return lambda name: Distribution(statistics.column("t", name), ROWS)


def estimate(statistics, predicate, values=()):
    share, spread = compile_predicate(predicate, columns_of(statistics))(values)
    assert 0.0 <= share <= 1.0
    assert spread >= 0.0
    return share * ROWS


def q_error(estimated, actual):
    estimated, actual = max(estimated, 1.0), max(actual, 1.0)
    return max(estimated / actual, actual / estimated)


DAY = 86400.0


@pytest.mark.parametrize(
    ("predicate", "sql", "bound"),
    [
        (compare("uniform", "=", 77.0), "uniform = 77", 1.6),
        (compare("uniform", "<>", 77.0), "uniform <> 77", 1.01),
        (compare("uniform", "<", 250.0), "uniform < 250", 1.05),
        (compare("uniform", "<=", 250.0), "uniform <= 250", 1.05),
        (compare("uniform", ">", 990.0), "uniform > 990", 1.2),
        (compare("uniform", "between", 100.0, 110.0), "uniform BETWEEN 100 AND 110", 1.2),
        (compare("dense", "=", 3.0), "dense = 3", 1.01),
        (compare("dense", "<", 3.0), "dense < 3", 1.01),
        (compare("dense", "in", 3.0, 4.0, 3.0, 99.0), "dense IN (3, 4, 3, 99)", 1.01),
        (compare("skewed", "=", 0.0), "skewed = 0", 1.01),
        (compare("skewed", ">", 100.0), "skewed > 100", 1.05),
        (compare("real", "<", 123.4), "real < 123.4", 1.05),
        (compare("sparse", "is_null"), "sparse IS NULL", 1.001),
        (Not(compare("sparse", "is_null")), "sparse IS NOT NULL", 1.001),
        (compare("sparse", "<>", 7.0), "sparse <> 7", 1.05),
        (Not(compare("sparse", "in", 7.0, 8.0)), "sparse NOT IN (7, 8)", 1.05),
        (compare("sparse", "is_distinct", 7.0), "sparse IS DISTINCT FROM 7", 1.01),
        (compare("sparse", "is_not_distinct", None), "sparse IS NOT DISTINCT FROM NULL", 1.01),
        (compare("id", "=", 500.0), "id = 500", 1.01),
        (compare("id", "<", 500.0), "id < 500", 1.1),
        (compare("name", "like", "beta%"), "name LIKE 'beta%'", 1.2),
        (compare("name", "like", "%mma-1%"), "name LIKE '%mma-1%'", 1.8),
        (compare("name", "<", "c"), "name < 'c'", 1.1),
        (compare("word", "like", "%(old)%"), "word LIKE '%(old)%'", 1.01),
        (compare("word", "ilike", "r_d%"), "word ILIKE 'r_d%'", 1.01),
        (Not(compare("word", "like", "%(old)%")), "word NOT LIKE '%(old)%'", 1.01),
        (compare("word", "=", "red", function="lower"), "lower(word) = 'red'", 1.01),
        (compare("day", "<", to_time("1996-01-01")), "day < DATE '1996-01-01'", 1.1),
        (compare("day", "=", 1996.0, function="year"), "year(day) = 1996", 1.1),
        (compare("day", ">", 1996.0, function="year"), "year(day) > 1996", 1.1),
        (compare("day", "=", 2.0, function="month"), "month(day) = 2", 1.4),
        (compare("day", "<", to_time("1996-01-01"), shift=100 * DAY), "day < DATE '1996-01-01' + 100", 1.1),
        (compare("flag", "=", True), "flag", 1.01),
        (Or((compare("dense", "=", 1.0), compare("dense", "=", 2.0))), "dense = 1 OR dense = 2", 1.01),
        (Or((compare("dense", "=", 1.0), compare("real", "<", 500.0))), "dense = 1 OR real < 500", 1.05),
        (
            Not(And((compare("dense", "=", 1.0), compare("uniform", "<", 500.0)))),
            "NOT (dense = 1 AND uniform < 500)",
            1.3,
        ),
        (Opaque("column_comparison:=", (column("dense"), column("uniform"))), "dense = uniform", 3.0),
    ],
)  # fmt: skip
def test_close_to_true_counts(table, predicate, sql, bound):
    connection, statistics = table
    actual = connection.execute(f"SELECT count(*) FROM t WHERE {sql}").fetchone()[0]
    assert q_error(estimate(statistics, predicate), actual) <= bound


def rows_of(statistics, filters, values=()):
    return [ROWS * math.exp(log) for log in Conjunction(filters, columns_of(statistics)).evaluate(values)[:3]]


def test_two_sides_of_a_range_are_one_range(table):
    connection, statistics = table
    sides = [compare("uniform", ">=", 100.0), compare("uniform", "<", 110.0)]
    actual = connection.execute("SELECT count(*) FROM t WHERE uniform >= 100 AND uniform < 110").fetchone()[0]
    for rows in rows_of(statistics, sides):
        assert q_error(rows, actual) < 1.2
    # As if independent: 0.9 · 0.11 of the rows, ten times too many.
    alone = [estimate(statistics, side) / ROWS for side in sides]
    assert q_error(math.prod(alone) * ROWS, actual) > 8


def test_conjuncts_product_and_back_off(table):
    connection, statistics = table
    filters = [compare("dense", "=", 1.0), compare("uniform", "<", 200.0)]
    actual = connection.execute("SELECT count(*) FROM t WHERE dense = 1 AND uniform < 200").fetchone()[0]
    backed, product, least = rows_of(statistics, filters)
    assert q_error(product, actual) < 1.2
    assert product < backed < least
    assert q_error(backed, ROWS * 0.1 * math.sqrt(0.2)) < 1.05
    assert q_error(least, ROWS * 0.1) < 1.05


def test_implied_not_null_is_not_counted_twice(table):
    _, statistics = table
    alone = [compare("sparse", "<", 25.0)]
    both = [*alone, Not(compare("sparse", "is_null"))]
    assert rows_of(statistics, alone) == rows_of(statistics, both)


@pytest.mark.parametrize(
    "predicate",
    [
        compare("uniform", "=", None),
        compare("uniform", "<>", None),
        compare("uniform", "<", None),
        compare("uniform", "between", 1.0, None),
        compare("word", "like", None),
        Not(compare("uniform", "=", None)),
        Not(compare("dense", "in", 1.0, None)),
        compare("uniform", "between", 5.0, 4.0),
    ],
)
def test_nothing_passes(table, predicate):
    _, statistics = table
    assert estimate(statistics, predicate) == 0.0


def test_null_in_a_list_matches_nothing(table):
    _, statistics = table
    assert estimate(statistics, compare("dense", "in", 1.0, None)) == estimate(
        statistics, compare("dense", "=", 1.0)
    )


def test_values_outside_the_domain_are_nearly_nobody(table):
    _, statistics = table
    assert 0 < estimate(statistics, compare("uniform", "=", 5000.0)) <= 1.0
    assert 0 < estimate(statistics, compare("uniform", ">", 5000.0)) <= 1.0
    assert estimate(statistics, compare("uniform", "<", 5000.0)) == ROWS
    assert estimate(statistics, compare("uniform", "<", math.inf)) == ROWS


def test_literals_come_from_slots(table):
    _, statistics = table
    predicate = Comparison("in", column("dense"), (Slot(1),))
    one = estimate(statistics, predicate, [None, ["3"]])
    assert estimate(statistics, predicate, [None, ["3", "4", "3"]]) == pytest.approx(2 * one, rel=0.05)
    between = Comparison("between", column("day"), (Slot(0), Slot(1)))
    texts = estimate(statistics, between, ["1995-06-01", "1995-07-01"])
    assert texts == estimate(statistics, between, [date(1995, 6, 1), date(1995, 7, 1)])


def test_unknown_values_have_the_average_selectivity(table):
    _, statistics = table
    equal = Comparison("=", column("uniform"), (Slot(0),))
    assert estimate(statistics, equal, [UNKNOWN]) == pytest.approx(ROWS / 1000, rel=0.01)
    assert estimate(statistics, equal, ["not a number"]) == estimate(statistics, equal, [UNKNOWN])
    between = Comparison("between", column("uniform"), (Slot(0), Slot(1)))
    half_known = estimate(statistics, between, [0, UNKNOWN])
    assert 0 < half_known < ROWS


def test_numbers_of_all_types_are_one_value():
    assert {to_number(value) for value in (5, 5.0, "5", Decimal("5.0"), np.int32(5))} == {5.0}
    assert to_number(10**400) == math.inf
    assert to_number(float("nan")) is UNKNOWN
    assert to_time("2000-03-01 12:00:00+02:00") == to_time("2000-03-01T10:00:00")
    assert to_time("1994-1-5") == pytest.approx(to_time("1994-01-05"), abs=2 * DAY)


def test_no_statistics_means_documented_defaults():
    unknown = Distribution(None, 1e6)
    predicate = compare("c", "=", 5.0)
    share, spread = compile_predicate(predicate, lambda name: unknown)(())
    assert share == pytest.approx(0.95 / 200)
    assert spread > 1.0
    share, _ = compile_predicate(compare("c", ">", 5.0), lambda name: unknown)(())
    assert share == pytest.approx(0.95 / 3)


# LIKE ------------------------------------------------------------------------------------------------


@given(st.text("ab%_", max_size=8), st.lists(st.text("abA", max_size=8), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_patterns_match_as_duckdb_does(text, subjects):
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT s LIKE $1, s ILIKE $1 FROM (SELECT unnest($2::VARCHAR[]) AS s)", [text, subjects]
        ).fetchall()
    like, ilike = pattern(text, False), pattern(text, True)
    ours = [(like.matches(s), ilike.matches(s.lower())) for s in subjects]
    assert ours == found


def test_patterns_are_matched_in_linear_time():
    assert not pattern("%a" * 2000 + "%b", False).matches("a" * 20_000)


# Anything goes in: numbers come out --------------------------------------------------------------------

VALUES = st.one_of(
    st.none(),
    st.just(UNKNOWN),
    st.floats(),
    st.integers(),
    st.text(max_size=5),
    st.booleans(),
    st.dates(),
    st.decimals(),
    st.binary(max_size=3),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=4),
)


@st.composite
def column_statistics(draw):
    kind = draw(st.sampled_from(list(ColumnKind)))
    value = st.text(max_size=4) if kind is ColumnKind.TEXT else st.floats(width=32)
    common = draw(st.lists(value, max_size=5, unique=True))
    return ColumnStatistics(
        kind,
        draw(st.floats(0, 1e12)),
        null_share=draw(st.floats(0, 1)),
        minimum=draw(st.none() | value),
        maximum=draw(st.none() | value),
        common_values=tuple(common),
        common_shares=np.array(draw(st.lists(st.floats(0, 2), min_size=len(common), max_size=len(common)))),
        histogram=tuple(draw(st.lists(value, max_size=6))),
        unique=draw(st.booleans()),
    )


OPERATORS = "= <> < <= > >= in between like ilike is_null is_distinct is_not_distinct"


def comparisons():
    operand = st.builds(Slot, st.integers(0, 3)) | st.builds(Constant, VALUES)
    return st.builds(
        Comparison,
        st.sampled_from(OPERATORS.split(" ")),
        st.just(column("c")),
        st.lists(operand, min_size=2, max_size=3).map(tuple),
        st.sampled_from([None, None, None, "lower", "year", "month", "substring"]),
        st.sampled_from([0.0, 86400.0]),
    )


PREDICATES = st.recursive(
    comparisons() | st.builds(Opaque, st.sampled_from(["other", "column_comparison:<", "x"])),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


@given(
    column_statistics() | st.none(),
    st.floats(0, 1e12),
    st.lists(PREDICATES, max_size=4),
    st.lists(VALUES, min_size=4, max_size=4),
)
@settings(max_examples=400, deadline=None)
def test_never_a_nan(statistics, rows, filters, values):
    distribution = Distribution(statistics, rows)
    combined = Conjunction(filters, lambda name: distribution).evaluate(values)
    assert not any(math.isnan(part) for part in combined)
    backed, product, least, spread = combined
    assert product - 1e-9 <= backed <= least + 1e-9
    assert least <= 1e-9
    assert 0 <= spread < 20
    assert backed == -math.inf or backed >= math.log(TINY) - 1e-9


@given(column_statistics(), st.lists(st.floats(allow_nan=False), min_size=2, max_size=8), st.booleans())
@settings(max_examples=300, deadline=None)
def test_ranges_are_monotone(statistics, numbers, inclusive):
    distribution = Distribution(statistics, 1e6)
    if statistics.kind in (ColumnKind.TEXT, ColumnKind.OTHER):
        values = sorted(str(number)[:5] for number in numbers)
    else:
        values = sorted(distribution.convert(number) for number in numbers)
    shares = [distribution.interval(None, True, value, inclusive)[0] for value in values]
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(shares))
    above = [distribution.interval(value, inclusive, None, True)[0] for value in values]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(above))
    if distribution.bounds:
        strict = [distribution.below(value, False) for value in values]
        assert all(s <= distribution.below(v, True) + 1e-12 for s, v in zip(strict, values, strict=True))
