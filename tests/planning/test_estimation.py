"""Estimated rows of joins and blocks against counts by DuckDB, on data made here."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.column_statistics import CountedStatistics
from oracles.hand_built import block, template

from godb_fast.core import (
    Block,
    ColumnKind,
    ColumnRef,
    ColumnStatistics,
    Comparison,
    Constant,
    JoinKind,
    JoinOperator,
    Slot,
)
from godb_fast.errors import InvalidInput, MissingStatistics
from godb_fast.planning.binding import Binder
from godb_fast.planning.columns import Distributions
from godb_fast.planning.distribution import Distribution
from godb_fast.planning.domains import UNKNOWN
from godb_fast.planning.estimation import EMPTY_LOG_ROWS, TemplateEstimator
from godb_fast.planning.joins import cardenas, effective_distinct, equality, inequality
from godb_fast.planning.result_rows import inner_rows
from godb_fast.planning.scenarios import Scenarios

SHOP = """
CREATE MACRO pick(i, seed, n) AS (hash(i * 1009 + seed) % n)::INTEGER;
CREATE MACRO zipf(i, seed, n) AS floor(pow(n + 1, pick(i, seed, 100000) / 100000.0) - 1)::INTEGER;
CREATE TABLE users AS SELECT range AS id, pick(range, 1, 50) AS city, pick(range, 2, 10) AS age FROM range(2000);
CREATE TABLE goods AS SELECT range AS id, pick(range, 3, 100) AS kind, pick(range, 4, 1000) AS price FROM range(500);
CREATE TABLE sales AS SELECT range AS id, pick(range, 5, 2000) AS buyer, zipf(range, 6, 500) AS good,
    CASE WHEN pick(range, 7, 2) = 0 THEN pick(range, 8, 100) END AS coupon, pick(range, 9, 1000) AS day
    FROM range(20000);
CREATE TABLE views AS SELECT range AS id, pick(range, 10, 2000) AS viewer, zipf(range, 11, 500) AS good,
    CASE WHEN pick(range, 12, 4) = 0 THEN pick(range, 13, 100) END AS coupon, pick(range, 14, 1000) AS day
    FROM range(10000);
CREATE TABLE nothing (id BIGINT, x INTEGER);
"""
USERS, GOODS, SALES = (
    ("users", "id city age"),
    ("goods", "id kind price"),
    ("sales", "id buyer good coupon day"),
)
VIEWS = ("views", "id viewer good coupon day")


@pytest.fixture(scope="module")
def shop():
    connection = duckdb.connect()
    for statement in SHOP.split(";"):
        connection.execute(statement)
    yield connection, CountedStatistics(connection, keys=("users.id", "goods.id", "sales.id", "views.id"))
    connection.close()


def estimator(statistics, *blocks, slots=(), lanes=8, fingerprint=7):
    plan = template(*blocks, slots=slots, fingerprint=fingerprint)
    return TemplateEstimator(plan, Distributions(statistics), Scenarios(lanes, fingerprint))


def rows(statistics, one, relations=None, values=(), lane=0):
    """Estimated rows of a set of the block's relations (all of them)."""
    estimates = estimator(statistics, one).estimates(values)[0]
    names = one.graph.relations
    mask = sum(1 << names.index(name) for name in relations or names)
    return float(np.exp(inner_rows(one.graph, estimates, mask)[lane]))


def q_error(estimated, actual):
    estimated, actual = max(estimated, 1.0), max(actual, 1.0)
    return max(estimated / actual, actual / estimated)


def count(connection, tail):
    return connection.execute(f"SELECT count(*) FROM {tail}").fetchone()[0]


def is_(name, operator, *values):
    return lambda column: [Comparison(operator, column(name), tuple(Constant(value) for value in values))]


def test_a_key_join(shop):
    connection, statistics = shop
    one = block({"s": SALES, "u": USERS}, ["s.buyer = u.id"])
    assert rows(statistics, one) == pytest.approx(count(connection, "sales s JOIN users u ON s.buyer = u.id"))


def test_filters_on_both_sides_of_a_key_join(shop):
    connection, statistics = shop
    one = block(
        {"s": SALES, "u": USERS},
        ["s.buyer = u.id"],
        {"s": is_("s.day", "<", 100.0), "u": is_("u.age", "=", 7.0)},
    )
    actual = count(connection, "sales s JOIN users u ON s.buyer = u.id WHERE s.day < 100 AND u.age = 7")
    assert q_error(rows(statistics, one), actual) < 1.4


def test_common_values_know_skew(shop):
    connection, statistics = shop
    one = block({"s": SALES, "v": VIEWS}, ["s.good = v.good"])
    actual = count(connection, "sales s JOIN views v ON s.good = v.good")
    assert q_error(rows(statistics, one), actual) < 1.1
    independent = Scenarios(8).names.index("independent")
    assert q_error(rows(statistics, one, lane=independent), actual) > 5
    pessimistic = Scenarios(8).names.index("pessimistic")
    assert rows(statistics, one, lane=pessimistic) >= actual


def test_the_pessimist_expects_filters_to_keep_what_matches_most(shop):
    _, statistics = shop
    filtered = block({"s": SALES, "g": GOODS}, ["s.good = g.id"], {"g": is_("g.price", "=", 7.0)})
    plain = block({"s": SALES, "g": GOODS}, ["s.good = g.id"])
    pessimistic = Scenarios(8).names.index("pessimistic")
    # Unfiltered, each sale has exactly one good.
    assert rows(statistics, plain, lane=pessimistic) == pytest.approx(20_000)
    common = statistics.column("sales", "good").common_shares[0]
    one = math.exp(estimator(statistics, filtered).estimates(())[0].log_rows[1, pessimistic])
    assert (
        3 * rows(statistics, filtered) < rows(statistics, filtered, lane=pessimistic) < 20_000 * common * one
    )


def test_nulls_do_not_join(shop):
    connection, statistics = shop
    one = block({"s": SALES, "v": VIEWS}, ["s.coupon = v.coupon"])
    actual = count(connection, "sales s JOIN views v ON s.coupon = v.coupon")
    assert q_error(rows(statistics, one), actual) < 1.1


def test_a_class_of_three_keeps_each_pair(shop):
    connection, statistics = shop
    one = block({"g": GOODS, "s": SALES, "v": VIEWS}, ["s.good = g.id", "v.good = g.id"])
    pair = count(connection, "sales s JOIN views v ON s.good = v.good")
    assert q_error(rows(statistics, one, "gs"), 20000) < 1.01
    assert q_error(rows(statistics, one, "gv"), 10000) < 1.01
    assert q_error(rows(statistics, one, "sv"), pair) < 1.1
    assert q_error(rows(statistics, one), pair) < 1.1


def test_a_value_of_the_join_column_is_met_by_its_own_share(shop):
    connection, statistics = shop
    for good in (0, 3, 400):
        one = block({"g": GOODS, "s": SALES}, ["s.good = g.id"], {"g": is_("g.id", "=", float(good))})
        actual = count(connection, f"goods g JOIN sales s ON s.good = g.id WHERE g.id = {good}")
        # Rare values differ among each other, too.
        assert q_error(rows(statistics, one), actual) < (1.01 if good < 50 else 5)


def test_a_value_on_both_sides_counts_once(shop):
    connection, statistics = shop
    both = {"s": is_("s.good", "=", 3.0), "v": is_("v.good", "=", 3.0)}
    one = block({"s": SALES, "v": VIEWS}, ["s.good = v.good"], both)
    actual = count(connection, "sales s JOIN views v ON s.good = v.good WHERE s.good = 3 AND v.good = 3")
    assert q_error(rows(statistics, one), actual) < 1.01


def test_a_range_on_both_sides_counts_once(shop):
    connection, statistics = shop
    both = {"s": is_("s.buyer", "<", 100.0), "v": is_("v.viewer", "<", 100.0)}
    one = block({"s": SALES, "v": VIEWS}, ["s.buyer = v.viewer"], both)
    actual = count(
        connection, "sales s JOIN views v ON s.buyer = v.viewer WHERE s.buyer < 100 AND v.viewer < 100"
    )
    assert q_error(rows(statistics, one), actual) < 1.3


def test_inequality_joins(shop):
    connection, statistics = shop
    for operator in ("<", ">=", "<>"):
        one = block({"s": SALES, "g": GOODS}, [f"s.coupon {operator} g.kind"])
        actual = count(connection, f"sales s JOIN goods g ON s.coupon {operator} g.kind")
        assert q_error(rows(statistics, one), actual) < 1.1, operator


# Blocks that read blocks -------------------------------------------------------------------------------


def test_grouped_blocks(shop):
    _, statistics = shop
    groups = (ColumnRef(0, "buyer"),)
    inner = block({"s": SALES}, [], index=1, parent=0, role="derived", group_by=groups, aggregated=True)
    outer = block({"u": USERS, "d": (1, "buyer total")}, ["u.id = d.buyer"])
    estimates = estimator(statistics, outer, inner).estimates(())[0]
    assert math.exp(estimates.log_rows[1, 0]) == pytest.approx(2000, rel=0.02)
    total = float(np.exp(inner_rows(outer.graph, estimates, 3)[0]))
    assert total == pytest.approx(2000, rel=0.05)


def test_filters_reach_through_blocks(shop):
    _, statistics = shop
    inner = block(
        {"s": SALES},
        [],
        {"s": lambda c: [Comparison("<", c("s.day"), (Slot(0),))]},
        index=1,
        parent=0,
        role="cte",
    )
    outer = block(
        {"u": USERS, "d": (1, "buyer good")},
        ["u.id = d.buyer"],
        {"d": lambda c: [Comparison("=", c("d.good"), (Slot(1),))]},
    )
    plan = estimator(statistics, outer, inner, slots=("integer", "integer"))
    few, many = (math.exp(plan.estimates([day, 0.0])[0].log_rows[1, 0]) for day in (10.0, 1000.0))
    assert many / few == pytest.approx(100, rel=0.2)
    common, rare = (math.exp(plan.estimates([1000.0, good])[0].log_rows[1, 0]) for good in (0.0, 400.0))
    assert common > 20 * rare


def test_an_aggregate_without_groups_is_one_row(shop):
    _, statistics = shop
    inner = block({"s": SALES}, [], index=1, parent=0, role="derived", aggregated=True)
    outer = block({"u": USERS, "d": (1, "most")}, ["u.age = d.most"])
    assert (estimator(statistics, outer, inner).estimates(())[0].log_rows[1] == 0).all()


def test_set_operations_add_up(shop):
    _, statistics = shop
    union = Block(1, 0, "derived", (), None, reason="a set operation")
    parts = [
        block({"s": SALES}, [], index=2, parent=1, role="set_operand"),
        block({"v": VIEWS}, [], index=3, parent=1, role="set_operand"),
    ]
    outer = block({"u": USERS, "d": (1, "buyer good")}, ["u.id = d.buyer"])
    estimates = estimator(statistics, outer, union, *parts).estimates(())[0]
    assert math.exp(estimates.log_rows[1, 0]) == pytest.approx(30_000)


def test_a_recursive_block_ends(shop):
    _, statistics = shop
    inner = block({"u": USERS, "d": (1, "id")}, ["u.id = d.id"], index=1, parent=0, role="cte")
    outer = block({"s": SALES, "d": (1, "id")}, ["s.buyer = d.id"])
    estimates = estimator(statistics, outer, inner).estimates(())
    assert all(np.isfinite(entry.log_rows).all() for entry in estimates.values())


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [(JoinKind.LEFT, 1999, 2001), (JoinKind.SEMI, 80, 120), (JoinKind.ANTI, 1880, 1920)],
)
def test_outer_and_semi_joins_below(shop, kind, low, high):
    _, statistics = shop
    inner = block(
        {"u": USERS, "s": SALES},
        ["u.id = s.buyer"],
        {"s": is_("s.day", "<", 5.0)},
        index=1,
        parent=0,
        role="derived",
        operators=[JoinOperator(kind, 1, 2, (0,))],
    )
    outer = block({"v": VIEWS, "d": (1, "id")}, ["v.viewer = d.id"])
    estimated = math.exp(estimator(statistics, outer, inner).estimates(())[0].log_rows[1, 0])
    assert low <= estimated <= high


# Scenarios ---------------------------------------------------------------------------------------------


def guesswork(lanes=8, fingerprint=7, statistics=None):
    filters = {
        "s": lambda c: [Comparison("like", c("s.day"), (Constant("%1%"),)), *is_("s.coupon", "=", 5.0)(c)]
    }
    one = block({"s": SALES, "u": USERS, "v": VIEWS}, ["s.buyer = u.id", "v.day < s.day"], filters)
    return one, estimator(statistics, one, lanes=lanes, fingerprint=fingerprint).estimates(())[0]


def test_lanes_are_in_order(shop):
    one, estimates = guesswork(statistics=shop[1])
    best, independent, pessimistic, optimistic = inner_rows(one.graph, estimates, 7)[:4]
    assert pessimistic > best > optimistic
    assert best > independent > optimistic
    assert Scenarios(6).names == (
        "best guess", "independent", "pessimistic", "optimistic", "perturbed 1", "perturbed 2",
    )  # fmt: skip


def test_perturbations_are_scaled_by_what_is_not_known(shop):
    _, estimates = guesswork(lanes=16, statistics=shop[1])
    perturbed = estimates.log_rows[:, 4:]
    assert perturbed[0].std() > 0.5
    assert perturbed[1:].std(axis=1).max() < 1e-12
    assert estimates.log_distinct[:, 4:].std(axis=1).max() < 0.1
    # Pairs of opposite sign.
    moved = perturbed[0] - estimates.log_rows[0, 0]
    assert moved[0::2] == pytest.approx(-moved[1::2])


def test_perturbations_depend_on_the_fingerprint_alone(shop):
    first, again, other = (
        guesswork(fingerprint=number, statistics=shop[1])[1].log_rows for number in (7, 7, 8)
    )
    assert (first == again).all()
    assert (first[:, :4] == other[:, :4]).all()
    assert (first != other).any()


@pytest.mark.parametrize("lanes", range(1, 17))
def test_any_number_of_lanes(shop, lanes):
    _, estimates = guesswork(lanes=lanes, statistics=shop[1])
    assert estimates.log_rows.shape[1] == estimates.log_distinct.shape[1] == lanes
    assert estimates.log_selectivity.shape == (1, lanes)
    assert estimates.log_rows.flags.c_contiguous


def test_too_many_lanes():
    with pytest.raises(InvalidInput, match="17 scenarios asked for; choose 1 to 16"):
        Scenarios(17)


# Bad statistics ----------------------------------------------------------------------------------------


class Told:
    """Statistics that say what a test tells them to."""

    epoch = "told"

    def __init__(self, rows, column=None):
        self._rows, self._column = rows, column

    def rows(self, table):
        if self._rows is None:
            raise MissingStatistics(f"no statistics for table {table!r}")
        return self._rows

    def column(self, table, column):
        return self._column


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0])
def test_absurd_row_counts_are_refused(number):
    with pytest.raises(InvalidInput, match=f"statistics give {number} rows for table 'sales'"):
        estimator(Told(number), block({"s": SALES, "u": USERS}, ["s.buyer = u.id"]))


def test_missing_tables_are_named():
    plan = estimator(Told(None), block({"s": SALES, "u": USERS}, ["s.buyer = u.id"]))
    assert plan.missing(0) == ("sales", "users")
    assert np.isfinite(plan.estimates(())[0].log_rows).all()


def test_an_empty_table_counts_as_one_row(shop):
    _, statistics = shop
    one = block({"n": ("nothing", "id x"), "u": USERS}, ["n.x = u.id"])
    assert (estimator(statistics, one).estimates(())[0].log_rows[0] == 0).all()


def test_what_cannot_be_true_leaves_less_than_a_row(shop):
    _, statistics = shop
    one = block({"s": SALES, "u": USERS}, ["s.buyer = u.id"], {"s": is_("s.day", "=", None)})
    assert (estimator(statistics, one).estimates(())[0].log_rows[0] == EMPTY_LOG_ROWS).all()


@st.composite
def numbers_column(draw):
    values = st.integers(0, 20).map(float)
    common = draw(st.lists(values, max_size=5, unique=True))
    return ColumnStatistics(
        ColumnKind.NUMBER,
        draw(st.floats(0, 1e9)),
        null_share=draw(st.floats(0, 1)),
        minimum=draw(st.none() | values),
        maximum=draw(st.none() | values),
        common_values=tuple(common),
        common_shares=np.array(draw(st.lists(st.floats(0, 1), min_size=len(common), max_size=len(common)))),
        histogram=tuple(sorted(draw(st.lists(values, max_size=5)))),
        unique=draw(st.booleans()),
    )


@given(st.lists(st.tuples(numbers_column() | st.none(), st.floats(0, 1e9)), min_size=2, max_size=4))
@settings(max_examples=300, deadline=None)
def test_joins_are_never_nan_and_in_order(columns):
    distributions = [Distribution(statistics, rows) for statistics, rows in columns]
    for pair in (
        equality(*distributions[:2]),
        *(inequality(distributions[0], o, distributions[1]) for o in ["<", ">=", "<>"]),
    ):
        assert 0 < pair.lower <= pair.best <= pair.upper <= 1
        assert pair.uniform <= pair.upper
    same = equality(distributions[1], distributions[0])
    assert same.best == pytest.approx(equality(*distributions[:2]).best)
    effective = effective_distinct(distributions)
    assert all(
        math.isfinite(entry) and entry >= 0 for entry in effective.best + effective.upper + effective.lower
    )
    if len(distributions) == 2:
        assert max(effective.best) == pytest.approx(-math.log(equality(*distributions).best))


@given(st.floats(0, 1e9), st.floats(0, 1e12))
def test_cardenas_is_bounded(distinct, rows):
    found = cardenas(distinct, rows)
    assert 0 <= found <= min(distinct, rows) * (1 + 1e-9) + 1e-9


# Binding -----------------------------------------------------------------------------------------------


def test_literals_and_parameters_meet_their_slots():
    kinds = ("integer", "string", "parameter", "list", "decimal", "parameter")
    bind = Binder(template(slots=kinds))
    literals = ["42", "'it''s'", "$2", ("'a'", "$1", "NULL"), "1e3", "$1"]
    assert bind(literals, ["x", None]) == [42.0, "it's", None, ["a", "x", None], 1000.0, "x"]
    assert bind(literals) == [42.0, "it's", UNKNOWN, ["a", UNKNOWN, None], 1000.0, UNKNOWN]
    named = Binder(template(slots=("parameter", "parameter")))
    assert named([":day", "$good"], {"day": 5, "other": 1}) == [5, UNKNOWN]
    assert bind(["42"])[1:] == [UNKNOWN] * 5


def test_threads_share_one_estimator(shop):
    _, statistics = shop
    filters = {
        "s": lambda c: [Comparison("<", c("s.day"), (Slot(0),)), Comparison("like", c("s.good"), (Slot(1),))]
    }
    one = block({"s": SALES, "u": USERS}, ["s.buyer = u.id"], filters)
    plan = estimator(statistics, one, slots=("integer", "string"))

    def ask(day):
        return plan.estimates([float(day), f"%{day}%"])[0].log_rows

    alone = [ask(day) for day in range(100)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            together = list(pool.map(ask, range(100)))
            assert all((a == b).all() for a, b in zip(alone, together, strict=True))
