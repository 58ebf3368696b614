"""PostgreSQL's own statistics as row counts and distributions."""

from __future__ import annotations

from typing import Any

import pytest

from godb_fast.core import ColumnKind, ColumnStatistics
from godb_fast.engines.postgres.catalogue import read_epoch, read_schema
from godb_fast.engines.postgres.statistics import PostgresStatistics
from godb_fast.errors import MissingStatistics
from godb_fast.planning.distribution import Distribution


def read(ask: Any) -> PostgresStatistics:
    return PostgresStatistics(ask, read_schema(ask), read_epoch(ask))


def name_of(statistics: PostgresStatistics, table: str) -> str:
    return statistics.schema.resolve((table,)).name


def column(ask: Any, table: str, name: str) -> ColumnStatistics | None:
    statistics = read(ask)
    return statistics.column(name_of(statistics, table), name)


# -- rows ---------------------------------------------------------------------------------------------------


def test_rows_before_and_after_analyze(connection: Any, ask: Any) -> None:
    connection.execute("CREATE TABLE t AS SELECT i FROM generate_series(1, 5000) AS g(i)")
    statistics = read(ask)
    assert statistics.rows(name_of(statistics, "t")) == 5000
    connection.execute("ANALYZE t")
    assert read(ask).rows(name_of(statistics, "t")) == 5000


def test_rows_without_counters_come_from_the_size(connection: Any, ask: Any) -> None:
    connection.execute("CREATE TABLE t AS SELECT i, 'text ' || i AS x FROM generate_series(1, 5000) AS g(i)")
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("SELECT pg_stat_reset()")
    statistics = read(ask)
    assert 1500 < statistics.rows(name_of(statistics, "t")) < 15000
    connection.execute("ANALYZE t")
    connection.execute("SELECT pg_stat_reset()")
    connection.execute("INSERT INTO t SELECT i, 'text ' || i FROM generate_series(1, 5000) AS g(i)")
    # The counters know of 5000 rows only; density and size know better.
    assert abs(read(ask).rows(name_of(statistics, "t")) - 10000) < 1000


def test_partitions_and_heirs_are_counted_with_their_table(connection: Any, ask: Any) -> None:
    connection.execute("CREATE TABLE p (id int, a int) PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE p_1_1 PARTITION OF p_1 FOR VALUES FROM (0) TO (100)")
    connection.execute("CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (100) TO (1000)")
    connection.execute("CREATE TABLE parent (x int)")
    connection.execute("CREATE TABLE child () INHERITS (parent)")
    connection.execute("INSERT INTO p SELECT i, i % 5 FROM generate_series(0, 999) AS g(i)")
    connection.execute("INSERT INTO parent SELECT 1 FROM generate_series(1, 10) AS g(i)")
    connection.execute("INSERT INTO child SELECT i FROM generate_series(1, 90) AS g(i)")
    for _ in range(2):
        statistics = read(ask)
        counted = [
            statistics.rows(name_of(statistics, name)) for name in ("p", "p_1", "p_2", "parent", "child")
        ]
        assert counted == [1000, 100, 900, 100, 90]
        connection.execute("ANALYZE")
    whole = column(ask, "parent", "x")
    assert whole is not None
    # Of the table with its heirs, not of the ten equal rows that it holds itself.
    assert whole.distinct == 90
    of_all = column(ask, "p", "a")
    assert of_all is not None
    assert of_all.distinct == 5


def test_empty_tables_and_what_has_no_rows_of_its_own(connection: Any, ask: Any) -> None:
    connection.execute("CREATE TABLE empty (x int)")
    connection.execute("CREATE TABLE p (x int) PARTITION BY RANGE (x)")
    connection.execute("CREATE VIEW v AS SELECT 1 AS x")
    connection.execute("CREATE FOREIGN DATA WRAPPER w")
    connection.execute("CREATE SERVER s FOREIGN DATA WRAPPER w")
    connection.execute("CREATE FOREIGN TABLE f (x int) SERVER s")
    for _ in range(2):
        statistics = read(ask)
        assert statistics.rows(name_of(statistics, "empty")) == 0
        assert statistics.rows(name_of(statistics, "p")) == 0
        for name in ("v", "f"):
            with pytest.raises(MissingStatistics, match=r"\.public\."):
                statistics.rows(name_of(statistics, name))
        with pytest.raises(MissingStatistics, match="no table"):
            statistics.rows("no.such.table")
        connection.execute("ANALYZE empty")
        connection.execute("VACUUM empty")


# -- columns ------------------------------------------------------------------------------------------------


def test_every_kind_of_column(connection: Any, ask: Any) -> None:
    connection.execute("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
    connection.execute("CREATE DOMAIN small AS int")
    connection.execute("CREATE DOMAIN smaller AS small")
    connection.execute("SET DateStyle = 'SQL, DMY'")
    connection.execute(
        "CREATE TABLE t (id int PRIMARY KEY, number numeric, share float8, flag bool, day date, moment timestamp, "
        "zoned timestamptz, clock time, word text, fixed char(6), feeling mood, low smaller, many int[], "
        "doc jsonb, gone int)"
    )
    connection.execute(
        "INSERT INTO t SELECT i, i / 4.0, i * 0.5, i % 3 = 0, date '2020-03-01' + i % 100, "
        "timestamp '2020-03-01' + i * interval '1 hour', timestamptz '2020-03-01 00:00+00' + i * interval '1 hour', "
        "time '00:00' + i % 50 * interval '1 min', CASE WHEN i % 2 = 0 THEN 'even, \"quoted\"' ELSE 'w' || i END, "
        "'f' || i % 3, (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood, i % 4, ARRAY[i, i], '{}', NULL "
        "FROM generate_series(1, 2000) AS g(i)"
    )
    connection.execute("ANALYZE t")
    statistics = read(ask)
    name = name_of(statistics, "t")
    before = ask.asked
    table = statistics.schema.table(name)
    assert table is not None
    statistics.load({name: table.columns})
    assert ask.asked - before == 4
    found = {column: statistics.column(name, column) for column in table.columns}
    assert ask.asked - before == 4
    kinds = {column: entry.kind.value for column, entry in found.items() if entry is not None}
    assert kinds == {
        "id": "number", "number": "number", "share": "number", "flag": "boolean", "day": "time",
        "moment": "time", "zoned": "time", "clock": "time", "word": "text", "fixed": "text", "feeling": "text",
        "low": "number", "many": "other", "doc": "other", "gone": "other" if found["gone"] is None else "number",
    }  # fmt: skip
    day = 86400.0
    start = 18322 * day  # 2020-03-01
    key = found["id"]
    assert (key.distinct, key.unique, key.minimum, key.maximum) == (2000, True, 1, 2000)
    assert len(key.histogram) == 101
    assert (found["number"].minimum, found["number"].maximum) == (0.25, 500)
    assert found["number"].distinct == 2000
    assert not found["number"].unique
    assert (found["share"].minimum, found["share"].maximum) == (0.5, 1000)
    flags = dict(zip(found["flag"].common_values, found["flag"].common_shares, strict=True))
    assert flags == pytest.approx({0.0: 2 / 3, 1.0: 1 / 3}, abs=0.01)
    assert (found["day"].minimum, found["day"].maximum) == (start, start + 99 * day)
    assert found["day"].distinct == 100
    for column in ("moment", "zoned"):
        assert (found[column].minimum, found[column].maximum) == (start + 3600, start + 2000 * 3600)
    assert found["clock"].maximum == 49 * 60
    assert found["word"].common_values[0] == 'even, "quoted"'
    assert found["word"].common_shares[0] == pytest.approx(0.5)
    assert set(found["fixed"].common_values) == {"f0", "f1", "f2"}
    assert set(found["feeling"].common_values) == {"sad", "ok", "happy"}
    assert set(found["low"].common_values) == {0.0, 1.0, 2.0, 3.0}
    assert found["many"].common_values == found["doc"].histogram == ()
    assert found["gone"].null_share == 1.0
    assert statistics.column(name, "no_such_column") is None
    for entry in found.values():
        Distribution(entry, 2000.0)


def test_values_without_a_place_are_left_out(connection: Any, ask: Any) -> None:
    connection.execute("CREATE TABLE t (n numeric, f float8, d date, m timestamp)")
    connection.execute(
        "INSERT INTO t SELECT i, i, date '2020-01-01' + i, timestamp '2020-01-01' FROM generate_series(1, 500) AS g(i)"
    )
    connection.execute(
        "INSERT INTO t VALUES ('NaN', 'NaN', 'infinity', 'infinity'), ('1e400', 'Infinity', '-infinity', '-infinity'), "
        "('0', '-Infinity', '4713-01-01 BC', '294276-12-31')"
    )
    connection.execute("ANALYZE t")
    for name in ("n", "f", "d", "m"):
        found = column(ask, "t", name)
        assert found is not None
        for value in (*found.common_values, *found.histogram, found.minimum, found.maximum):
            assert isinstance(value, float)
            assert abs(value) < 1e18


def test_text_is_ordered_by_code_points(connection: Any, ask: Any) -> None:
    collations = connection.execute(
        "SELECT collname FROM pg_collation WHERE collname IN ('en-x-icu', 'en_US.utf8', 'en_US') LIMIT 1"
    ).fetchall()
    if not collations:
        pytest.skip("this server has no collation but C")
    connection.execute(f'CREATE TABLE t (word text COLLATE "{collations[0][0]}")')
    connection.execute(
        "INSERT INTO t SELECT CASE WHEN i % 2 = 0 THEN 'a' ELSE 'B' END || i FROM generate_series(1, 1000) AS g(i)"
    )
    connection.execute("ANALYZE t")
    found = column(ask, "t", "word")
    assert found is not None
    assert list(found.histogram) == sorted(found.histogram)
    assert found.histogram[0].startswith("B")
    assert found.histogram[-1].startswith("a")


def test_a_negative_count_is_a_share_of_the_rows(connection: Any, ask: Any) -> None:
    connection.execute(
        "CREATE TABLE t AS SELECT CASE WHEN i % 4 = 0 THEN NULL ELSE i / 2 END AS a FROM generate_series(0, 3999) AS g(i)"
    )
    connection.execute("ANALYZE t")
    assert connection.execute("SELECT n_distinct FROM pg_stats WHERE tablename = 't'").fetchone()[0] < 0
    found = column(ask, "t", "a")
    assert found is not None
    assert found.distinct == pytest.approx(2000, rel=0.05)
    assert found.null_share == pytest.approx(0.25, abs=0.01)


def test_what_was_never_analysed_is_not_known_but_keys_are(connection: Any, ask: Any) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY, a int)")
    connection.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 300) AS g(i)")
    assert column(ask, "t", "a") is None
    key = column(ask, "t", "id")
    assert key is not None
    assert (key.kind, key.distinct, key.unique) == (ColumnKind.NUMBER, 300, True)


def test_an_ordinary_role_gets_what_it_may_read(connection: Any, asking: Any, ordinary: Any) -> None:
    connection.execute("CREATE TABLE t AS SELECT i AS a, i AS b FROM generate_series(1, 1000) AS g(i)")
    connection.execute("ANALYZE t")
    role = ordinary.execute("SELECT current_user").fetchone()[0]
    connection.execute(f"GRANT SELECT (a) ON t TO {role}")
    ask = asking(ordinary)
    assert column(ask, "t", "a") is not None
    assert column(ask, "t", "b") is None
    statistics = read(ask)
    assert statistics.rows(name_of(statistics, "t")) == 1000


# -- the epoch ----------------------------------------------------------------------------------------------


def test_growth_and_analyze_change_the_epoch_and_little_else_does(
    connection: Any, ask: Any, second: Any
) -> None:
    connection.execute("CREATE TABLE t AS SELECT i AS a FROM generate_series(1, 1000) AS g(i)")
    statistics = read(ask)
    name = name_of(statistics, "t")
    assert statistics.epoch == statistics.epoch
    assert statistics.column(name, "a") is None
    epoch = statistics.epoch
    connection.execute("INSERT INTO t SELECT 1 FROM generate_series(1, 50) AS g(i)")
    assert statistics.epoch == epoch
    connection.execute("INSERT INTO t SELECT 1 FROM generate_series(1, 100) AS g(i)")
    grown = statistics.epoch
    assert grown != epoch
    assert abs(statistics.rows(name) - 1150) <= 1
    second.execute("ANALYZE t")
    second.execute("SELECT pg_stat_force_next_flush()")
    analysed = statistics.epoch
    assert analysed != grown
    assert statistics.column(name, "a") is not None
    connection.execute("DELETE FROM t WHERE a > 500")
    assert statistics.epoch != analysed


def test_many_tables_are_one_statement(connection: Any, ask: Any) -> None:
    names = [f"t_{number}" for number in range(12)]
    for table in names:
        connection.execute(f"CREATE TABLE {table} AS SELECT i AS a FROM generate_series(1, 100) AS g(i)")
    connection.execute("ANALYZE")
    statistics = read(ask)
    before = ask.asked
    statistics.load({name_of(statistics, table): ["a"] for table in names})
    assert ask.asked - before == 4
