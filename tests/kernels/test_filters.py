"""Filters from literals' texts: what the kernel estimates is what the closures do, to the bit."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from godb_fast import backend as backends
from godb_fast.core import (
    PLAN_NODE,
    And,
    ColumnKind,
    ColumnRef,
    ColumnStatistics,
    Comparison,
    Constant,
    LiteralSlot,
    Not,
    Or,
    Predicate,
    Slot,
)
from godb_fast.planning import distribution
from godb_fast.planning.distribution import Distribution
from godb_fast.planning.selectivity import Conjunction
from godb_fast.planning.terms import Kernels, native_terms
from godb_fast.sql import fingerprint
from godb_fast.sql.literals import literal_value

LOADED = [name for name in backends.BACKENDS if backends.why_unavailable(name) is None]
WORDS = [
    "",
    "a",
    "abc",
    "Abc",
    "abd",
    "ab%c",
    "bcd",
    "über",
    "zebra (old)",
    "zebra (new)",
    "Ω",
    "a\u0000b",
    "'q'",
]
NUMBERS = [-3.5, 0.0, 1.0, 2.0, 7.0, 7.5, 100.0, 1e300, 2000.0]
DAY = datetime(1995, 1, 1)
#: Unusual texts, which only the closures read; each is a literal of its engine.
ODD = {
    "n": ["0x1F", "1_000", "NULL", "'7'"],
    "t": ["e'a\\nb'", "$$abc$$", "NULL", "12"],
    "d": ["'1995-1-5'", "'infinity'", "NULL", "'1995-02-30'", "'1995-03-01 12:30:00.5'", "'noon'"],
}
OPERATORS = {
    "n": ["=", "<>", "<", "<=", ">", ">=", "between", "in", "is_null"],
    "t": ["=", "<>", "in", "like", "ilike", "is_null", "<", "<=", ">", ">=", "between"],
    "d": ["=", "<", "<=", ">", ">=", "between", "in"],
}
PIECES = ["a", "ab", "b", "(old)", "zebra", "Ü", "c", "%", "%", "%", "_", ""]


class Bound:
    """Values by slot, as a query's closures ask for them."""

    def __init__(self, texts: tuple[Any, ...]) -> None:
        self.texts = texts

    def bound(self) -> list[Any]:
        from godb_fast.core import Template
        from godb_fast.planning.binding import Binder

        slots = tuple(
            LiteralSlot(number, "list" if type(text) is tuple else "string" if text[:1] == "'" else "decimal")
            for number, text in enumerate(self.texts)
        )
        return Binder(Template(0, "", "duckdb", slots=slots))(self.texts)


def quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


class Drawing:
    """One random table, predicate and literals."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.texts: list[Any] = []
        self.columns = {name: Distribution(self.statistics(name), self.rows) for name in "ntd"}

    @property
    def rows(self) -> float:
        return 10_000.0

    def statistics(self, name: str) -> ColumnStatistics | None:
        source = self.source
        if source.random() < 0.1:
            return None
        domain: list[Any] = {
            "n": NUMBERS,
            "t": WORDS,
            "d": [(DAY + timedelta(hours=7 * i) - datetime(1970, 1, 1)).total_seconds() for i in range(9)],
        }[name]
        kind = {"n": ColumnKind.NUMBER, "t": ColumnKind.TEXT, "d": ColumnKind.TIME}[name]
        common = tuple(source.sample(domain, source.randint(0, 6)))
        histogram = tuple(sorted(source.choice(domain) for _ in range(source.choice([0, 2, 5, 15]))))
        shares = np.array([source.random() * 0.1 for _ in common])
        known = sorted(domain) if source.random() < 0.8 else [None, None]
        return ColumnStatistics(
            kind, float(source.randint(1, 500)), source.choice([0.0, 0.2]), known[0], known[-1], common, shares,
            histogram, source.random() < 0.1,
        )  # fmt: skip

    def literal(self, name: str) -> str:
        source = self.source
        if source.random() < 0.05:
            return source.choice(ODD[name])
        if name == "n":
            return repr(source.choice([*NUMBERS, 3.0, 5000.0])).removesuffix(".0")
        if name == "t":
            return quoted(source.choice([*WORDS, "nothing", "Zebra (OLD)"]))
        moment = DAY + timedelta(hours=source.randint(-50, 100))
        return quoted(moment.strftime(source.choice(["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"])))

    def operand(self, name: str, text: Any) -> Slot | Constant:
        if type(text) is str and self.source.random() < 0.15:
            value = literal_value(text)
            if value is not None:
                return Constant(value)
        self.texts.append(text)
        return Slot(len(self.texts) - 1)

    def comparison(self) -> Comparison:
        source = self.source
        name = source.choice("nttd")
        operator = source.choice(OPERATORS[name])
        column = ColumnRef(0, name)
        if operator == "is_null":
            return Comparison(operator, column)
        if operator in ("like", "ilike"):
            pattern = "".join(source.choice(PIECES) for _ in range(source.randint(0, 5)))
            return Comparison(operator, column, (self.operand(name, quoted(pattern)),))
        if operator == "in" and source.random() < 0.7:
            return Comparison(
                operator,
                column,
                (Slot(self.listed(tuple(self.literal(name) for _ in range(source.randint(1, 5))))),),
            )
        count = source.randint(1, 3) if operator == "in" else 2 if operator == "between" else 1
        shift = 3600.0 if name == "d" and operator != "in" and source.random() < 0.2 else 0.0
        return Comparison(
            operator, column, tuple(self.operand(name, self.literal(name)) for _ in range(count)), None, shift
        )

    def listed(self, texts: tuple[str, ...]) -> int:
        self.texts.append(texts)
        return len(self.texts) - 1

    def predicate(self, depth: int = 0) -> Predicate:
        roll = self.source.random()
        if depth < 3 and roll < 0.3:
            kind = And if roll < 0.1 else Or
            return kind(tuple(self.predicate(depth + 1) for _ in range(self.source.randint(1, 3))))
        if depth < 3 and roll < 0.42:
            return Not(self.predicate(depth + 1))
        return self.comparison()


def combined(kernel: Any, terms: list[Any], literals: Any, values: Any) -> np.ndarray:
    """(back-off, product, most selective alone, spread) as the kernel finds them."""
    weights = np.eye(4).reshape(1, 4, 4)
    filters = kernel.Filters(4, [(0.0,) * 4], weights, np.array([1e9]), (-1e9, -math.inf, 0.7), [(0, terms)])
    out = np.zeros((1, 4))
    filters.rows(literals, values, None, out)
    return out[0]


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_kernel_estimates_what_the_closures_do(seed):
    drawing = Drawing(random.Random(seed))
    conjunction = Conjunction(
        [drawing.predicate() for _ in range(drawing.source.randint(1, 4))], drawing.columns.get
    )
    texts = tuple(drawing.texts)
    values = Bound(texts)
    expected = np.array(conjunction.evaluate(values.bound()))
    if expected[0] == -math.inf:
        expected[:] = -math.inf
    for name in LOADED:
        kernel = backends.kernels("filters", name)
        terms = native_terms(conjunction, drawing.columns.get, Kernels.of(name))
        assert combined(kernel, terms, texts, values).tobytes() == expected.tobytes(), (
            name,
            conjunction.filters,
            texts,
        )
        assert combined(kernel, terms, None, values).tobytes() == expected.tobytes()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_who_asks_for_the_region_alone_gets_the_same(seed):
    source = random.Random(seed)
    drawing = Drawing(source)
    conjunction = Conjunction([drawing.predicate() for _ in range(source.randint(1, 3))], drawing.columns.get)
    texts = tuple(drawing.texts)
    # Outside of a list that is no slot.
    assume("NULL" not in texts)
    values = Bound(texts)
    entries = [(source.uniform(-2.0, 20.0),) * 3 + (source.random(),) for _ in range(3)]
    weights = np.array([[[source.uniform(-1.0, 1.5) for _ in range(2)] for _ in range(4)] for _ in range(3)])
    regions = set()
    for name in LOADED:
        terms = native_terms(conjunction, drawing.columns.get, Kernels.of(name))
        filters = backends.kernels("filters", name).Filters(
            2, entries, weights, np.array([18.0, 5.0, 20.0]), (-3.0, -9.0, 0.7), [(1, terms)]
        )
        nothing = np.zeros((0, 2))
        replanner = backends.kernels("replanning", name).Replanner(
            filters.twin(), None, None, 2, 2, np.zeros(6), nothing, nothing, PLAN_NODE
        )
        literals = (f"a IN ({', '.join(text)})" if type(text) is tuple else f"a = {text}" for text in texts)
        found = fingerprint(f"SELECT {' AND '.join(literals)}", "postgres", backend=name)
        assert found.literals == texts
        regions.add(replanner.region(found, values, len(texts)))
        assert replanner.region(found, values, len(texts) + 1) is None
        regions.add(replanner.estimate(texts, values, None))
    assert len(regions) == 1, (conjunction.filters, texts)
    assert len(regions.pop()) == 3


@pytest.mark.parametrize("name", LOADED)
def test_frequent_forms_need_no_closure(name):
    kernel = backends.kernels("filters", name)
    drawing = Drawing(random.Random(5))
    column = Distribution(
        ColumnStatistics(ColumnKind.TEXT, 50.0, common_values=("a", "b"), common_shares=np.array([0.2, 0.1])),
        1e4,
    )
    number = Distribution(ColumnStatistics(ColumnKind.NUMBER, 50.0, minimum=0.0, maximum=100.0), 1e4)
    day = Distribution(ColumnStatistics(ColumnKind.TIME, 50.0, minimum=0.0, maximum=1e9), 1e4)
    columns = {"t": column, "n": number, "d": day}
    forms = [
        Comparison("=", ColumnRef(0, "t"), (Slot(0),)),
        Comparison("<>", ColumnRef(0, "n"), (Slot(1),)),
        Comparison("in", ColumnRef(0, "t"), (Slot(2),)),
        Comparison("between", ColumnRef(0, "n"), (Slot(1), Slot(1))),
        Comparison(">=", ColumnRef(0, "d"), (Slot(3),), None, 86400.0),
        Not(Comparison("in", ColumnRef(0, "n"), (Slot(1), Constant(7.0)))),
        Or((Comparison("=", ColumnRef(0, "n"), (Slot(1),)), Comparison("is_null", ColumnRef(0, "n")))),
    ]
    if name == "cython":
        forms.append(Not(Comparison("like", ColumnRef(0, "t"), (Slot(4),))))
    literals = ("'it''s'", "12.5", ("'a'", "'c'"), "'1995-02-28 23:59:59'", "'%a%b'")
    assert drawing.rows
    for form in forms:
        ((term, _),) = native_terms(Conjunction([form], columns.get), columns.get, Kernels.of(name))
        assert term is not None

        def refuse(values: Any) -> Any:
            raise AssertionError("the closure was asked")

        assert combined(kernel, [(term, refuse)], literals, None)[0] < 0.0


@pytest.mark.parametrize("name", LOADED)
def test_its_constants_are_those_of_the_distributions(name):
    kernel = backends.kernels("filters", name)
    told = kernel.constants()
    assert told == {key: getattr(distribution, key) for key in told}
    assert len(told) > 10


@pytest.mark.parametrize("name", LOADED)
def test_dates_are_those_of_the_calendar(name):
    kernel = backends.kernels("columns", name)
    column = Distribution(ColumnStatistics(ColumnKind.TIME, 10.0), 1e4).native(kernel)
    source = random.Random(3)
    for _ in range(2000):
        moment = datetime(1, 1, 1) + timedelta(seconds=source.randrange(0, 9998 * 365 * 86400))
        text = f"'{moment.year:04d}-{moment:%m-%d %H:%M:%S}'"
        expected = (moment - datetime(1970, 1, 1)).total_seconds()
        assert kernel.placed(column, text) == expected
        assert kernel.placed(column, text[:11] + "'") == expected - expected % 86400
    for text in (
        "'1995-02-29'",
        "'1995-13-01'",
        "'1995-00-01'",
        "'95-01-01'",
        "'1995-01-01 24:00:00'",
        "now()",
    ):
        assert kernel.placed(column, text) is None
