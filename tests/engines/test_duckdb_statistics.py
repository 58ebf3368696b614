"""Statistics: exact on small tables, close on large ones, renewed when tables grow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.core import ColumnKind
from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine, statistics
from godb_fast.engines.duckdb.statistics import kind_of, summarized
from godb_fast.errors import MissingStatistics

LARGE = 400_000
MADE = (
    "CREATE TABLE {name} AS SELECT i AS id, (i * i) % 1000 AS k, "
    "CASE WHEN i % 7 = 0 THEN NULL ELSE 's' || (i % 50) END AS s, "
    "DATE '2020-01-01' + (i % 400)::INTEGER AS d, i % 4 = 0 AS flag, "
    "TIMESTAMP '2020-01-01' + INTERVAL (i) SECOND AS ts, (i / 3.0)::DECIMAL(12, 2) AS money, [i % 3] AS nested, "
    "CASE WHEN hash(i) % 10 < 3 THEN 5 ELSE hash(i * 7) % 90000 END AS skewed, NULL::INTEGER AS nothing "
    "FROM range({rows}) r(i)"
)


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    with DuckDBEngine.open() as opened:
        opened.run(Rendered(MADE.format(name="small", rows=5000)))
        opened.run(Rendered(MADE.format(name="large", rows=LARGE)))
        opened.run(Rendered("CREATE TABLE keyed (a INTEGER PRIMARY KEY, b INTEGER)"))
        opened.run(Rendered("CREATE TABLE empty (a INTEGER, b VARCHAR)"))
        opened.run(Rendered("CREATE VIEW seen AS SELECT * FROM small WHERE k = 1"))
        yield opened


def test_small_tables_are_read_whole(engine: DuckDBEngine) -> None:
    found = engine.statistics()
    name = "memory.main.small"
    assert found.rows(name) == 5000
    key = found.column(name, "id")
    assert key is not None
    assert (key.distinct, key.minimum, key.maximum, key.unique) == (5000, 0.0, 4999.0, True)
    squares = found.column(name, "k")
    assert squares is not None
    truth = engine.run(Rendered("SELECT k, count(*) / 5000.0 FROM small GROUP BY k ORDER BY 2 DESC, 1")).rows
    assert squares.distinct == len(truth)
    shares = dict(zip(squares.common_values, squares.common_shares.tolist(), strict=True))
    assert all(abs(shares[value] - share) < 1e-9 for value, share in truth[:2])
    text = found.column(name, "s")
    assert text is not None
    assert text.kind is ColumnKind.TEXT
    assert text.distinct == 50
    assert abs(text.null_share - 1 / 7) < 1e-3
    assert (text.minimum, text.maximum) == ("s0", "s9")
    assert abs(text.null_share + float(text.common_shares.sum()) - 1) < 1e-9
    day = found.column(name, "d")
    assert day is not None
    assert (day.kind, day.minimum) == (ColumnKind.TIME, 1577836800.0)
    flag = found.column(name, "flag")
    assert flag is not None
    assert (flag.kind, flag.common_values) == (ColumnKind.BOOLEAN, (0.0, 1.0))
    nested = found.column(name, "nested")
    assert nested is not None
    assert (nested.kind, nested.distinct) == (ColumnKind.OTHER, 3)
    nothing = found.column(name, "nothing")
    assert nothing is not None
    assert (nothing.distinct, nothing.null_share) == (0, 1.0)
    assert found.column(name, "no_such_column") is None


def test_large_tables_are_sampled_well(engine: DuckDBEngine) -> None:
    found = engine.statistics()
    name = "memory.main.large"
    assert found.rows(name) == LARGE
    found.load({name: ("id", "k", "s", "d", "ts", "money", "skewed", "ID")})
    key, text, moment, money, skewed = (
        found.column(name, column) for column in ("id", "s", "ts", "money", "skewed")
    )
    assert key is not None
    assert abs(key.distinct / LARGE - 1) < 0.05
    assert (key.minimum, key.maximum) == (0.0, LARGE - 1)
    assert found.column(name, "ID") is key
    assert text is not None
    assert abs(text.null_share - 1 / 7) < 0.01
    assert text.distinct == pytest.approx(50, rel=0.1)
    assert moment is not None
    assert (moment.minimum, moment.maximum) == (1577836800.0, 1577836800.0 + LARGE - 1)
    assert money is not None
    middle = money.histogram[len(money.histogram) // 2]
    assert middle == pytest.approx(LARGE / 6, rel=0.05)
    assert skewed is not None
    assert skewed.common_values[0] == 5.0
    assert float(skewed.common_shares[0]) == pytest.approx(0.3, abs=0.02)
    assert len(skewed.common_values) < 10, "what is not clearly common is left to the histogram"
    assert skewed.distinct == pytest.approx(90_000 * (1 - np.exp(-0.7 * LARGE / 90_000)), rel=0.25)


def test_keys_views_and_empty_tables(engine: DuckDBEngine) -> None:
    found = engine.statistics()
    assert found.rows("memory.main.empty") == 0
    nothing = found.column("memory.main.empty", "a")
    assert nothing is not None
    assert nothing.distinct == 0
    key = found.column("memory.main.keyed", "a")
    assert key is not None
    assert key.unique
    assert 0 < found.rows("memory.main.seen") < 5000
    assert found.column("memory.main.seen", "k") is None
    with pytest.raises(MissingStatistics, match=r"no table 'memory\.main\.nosuch'"):
        found.rows("memory.main.nosuch")


def test_statistics_are_renewed_by_growth_and_by_new_columns() -> None:
    with DuckDBEngine.open() as engine:
        engine.run(Rendered("CREATE TABLE t AS SELECT i AS a FROM range(1000) r(i)"))
        engine.run(Rendered("CREATE TABLE u AS SELECT i AS a FROM range(1000) r(i)"))
        found = engine.statistics()
        kept = found.column("memory.main.u", "a")
        assert found.column("memory.main.t", "a") is not None
        epoch = found.epoch
        engine.run(Rendered("INSERT INTO t SELECT i FROM range(50) r(i)"))
        assert engine.statistics().epoch == epoch, "a twentieth is not worth it"
        engine.run(Rendered("INSERT INTO t SELECT 1000 + i FROM range(100) r(i)"))
        assert engine.statistics().epoch != epoch
        assert engine.statistics().rows("memory.main.t") == 1150
        column = engine.statistics().column("memory.main.t", "a")
        assert column is not None
        assert column.maximum == 1099.0
        epoch = engine.statistics().epoch
        engine.run(Rendered("ALTER TABLE t ADD COLUMN b INTEGER DEFAULT 7"))
        renewed = engine.statistics()
        assert renewed.epoch != epoch
        assert renewed.column("memory.main.u", "a") is kept, "an untouched table keeps its statistics"
        added = renewed.column("memory.main.t", "b")
        assert added is not None
        assert added.common_values == (7.0,)


def test_a_table_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with DuckDBEngine.open() as engine:
        slow = "length(repeat(md5(a::VARCHAR), 1000))"
        engine.run(Rendered(f"CREATE TABLE t (a INTEGER PRIMARY KEY, b BIGINT AS ({slow}))"))
        engine.run(Rendered("INSERT INTO t (a) SELECT i FROM range(90000) r(i)"))
        found = engine.statistics()
        assert found.rows("memory.main.t") == 90_000
        monkeypatch.setattr(statistics, "TABLE_BUDGET_S", 0.05)
        found.load({"memory.main.t": ("a", "b")})
        assert found.column("memory.main.t", "b") is None
        key = found.column("memory.main.t", "a")
        assert key is not None, "what the catalogue knows stays"
        assert (key.distinct, key.unique) == (90_000, True)
        assert engine.run(Rendered("SELECT 1")).rows == [(1,)]


@pytest.mark.parametrize(
    ("type_name", "kind"),
    [
        ("INTEGER", ColumnKind.NUMBER), ("UBIGINT", ColumnKind.NUMBER), ("HUGEINT", ColumnKind.NUMBER),
        ("DECIMAL(12,2)", ColumnKind.NUMBER), ("DOUBLE", ColumnKind.NUMBER), ("DATE", ColumnKind.TIME),
        ("TIME", ColumnKind.TIME), ("TIMESTAMP_NS", ColumnKind.TIME),
        ("TIMESTAMP WITH TIME ZONE", ColumnKind.TIME), ("INTERVAL", ColumnKind.OTHER),
        ("VARCHAR", ColumnKind.TEXT), ("ENUM('a', 'b')", ColumnKind.TEXT), ("BOOLEAN", ColumnKind.BOOLEAN),
        ("INTEGER[]", ColumnKind.OTHER), ("VARCHAR[3]", ColumnKind.OTHER), ("STRUCT(a INTEGER)", ColumnKind.OTHER),
        ("UUID", ColumnKind.OTHER), ("BLOB", ColumnKind.OTHER),
    ],
)  # fmt: skip
def test_kinds_of_types(type_name: str, kind: ColumnKind) -> None:
    assert kind_of(type_name) is kind


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-20, 20)), max_size=80))
def test_summaries_of_whole_columns_are_exact(values: list[int | None]) -> None:
    present = [value for value in values if value is not None]
    array = np.ma.masked_array(
        [value or 0 for value in values], [value is None for value in values], dtype=float
    )
    found = summarized(array, ColumnKind.NUMBER, len(values), exact=True)
    assert found.distinct == len(set(present))
    assert found.null_share == pytest.approx(values.count(None) / len(values) if values else 0)
    if present:
        assert (found.minimum, found.maximum) == (min(present), max(present))
        for value, share in zip(found.common_values, found.common_shares, strict=True):
            assert share == pytest.approx(present.count(value) / len(values))
        covered = set(found.common_values) | set(found.histogram)
        assert {min(present), max(present)} <= covered
        assert list(found.histogram) == sorted(found.histogram)


def test_not_a_number_is_left_out() -> None:
    found = summarized(np.array([1.0, np.nan, np.inf, 2.0]), ColumnKind.NUMBER, 4, exact=True)
    assert (found.minimum, found.maximum, found.distinct) == (1.0, 2.0, 2.0)
