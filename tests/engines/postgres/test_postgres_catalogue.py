"""PostgreSQL's catalogue: names resolved as the server does, keys that hold, an epoch that misses nothing."""

from __future__ import annotations

from typing import Any

import pytest

from godb_fast.engines.postgres.catalogue import Epochs, read_epoch, read_schema


def make(connection: Any, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


# -- names --------------------------------------------------------------------------------------------------


def test_names_follow_the_search_path(connection: Any, ask: Any) -> None:
    make(
        connection,
        "CREATE SCHEMA one",
        "CREATE SCHEMA two",
        "CREATE TABLE one.t (a int)",
        "CREATE TABLE two.t (b int)",
        "CREATE TABLE two.only (c int)",
        "SET search_path = two, one",
    )
    schema = read_schema(ask)
    assert schema.resolve(("t",)).columns == ("b",)
    assert schema.resolve(("one", "t")).columns == ("a",)
    assert schema.resolve((schema.database, "one", "t")).columns == ("a",)
    assert schema.resolve(("other_database", "one", "t")) is None
    assert schema.resolve(("only",)).name == f"{schema.database}.two.only"
    connection.execute("SET search_path = one")
    assert read_schema(ask).resolve(("only",)) is None


def test_the_servers_own_tables_come_first(connection: Any, ask: Any) -> None:
    make(connection, "CREATE TABLE public.pg_class (mine int)")
    schema = read_schema(ask)
    assert "relname" in schema.resolve(("pg_class",)).columns
    assert schema.resolve(("public", "pg_class")).columns == ("mine",)
    assert "table_name" in schema.resolve(("information_schema", "tables")).columns
    assert schema.resolve(("pg_views",)).view_sql is None


def test_a_temporary_table_shadows_and_is_ours_alone(connection: Any, ask: Any, second: Any) -> None:
    make(connection, "CREATE TABLE t (a int)", "CREATE TEMPORARY TABLE t (b int)")
    second.execute("CREATE TEMPORARY TABLE t (c int)")
    schema = read_schema(ask)
    assert schema.resolve(("t",)).columns == ("b",)
    assert schema.resolve(("t",)).temporary
    assert schema.resolve(("pg_temp", "t")).columns == ("b",)
    assert schema.resolve(("public", "t")).columns == ("a",)


def test_hostile_and_long_names(connection: Any, ask: Any) -> None:
    long = "n" * 70
    make(
        connection,
        'CREATE TABLE "odd ""name; --" ("at" int, "select" int, "ünï cödé" text, "%s" int)',
        f"CREATE TABLE {long} (x int)",
        'CREATE TABLE "Mixed" (x int)',
        "CREATE TABLE nothing ()",
    )
    schema = read_schema(ask)
    assert schema.resolve(('odd "name; --',)).columns == ("at", "select", "ünï cödé", "%s")
    assert schema.resolve((long,)).columns == ("x",)
    assert schema.resolve(("Mixed",)) is not None
    assert schema.resolve(("mixed",)) is None
    assert schema.resolve(("nothing",)).columns == ()
    assert schema.near("mixd") == ("Mixed",)


def test_names_with_dots_that_look_alike_are_not_known_by_them(connection: Any, ask: Any) -> None:
    make(connection, 'CREATE SCHEMA "a.b"', "CREATE SCHEMA a", 'CREATE TABLE "a.b".c (x int)')
    make(connection, 'CREATE TABLE a."b.c" (y int)')
    schema = read_schema(ask)
    assert schema.resolve(("a.b", "c")).columns == ("x",)
    assert schema.table(schema.resolve(("a.b", "c")).name) is None


# -- columns, keys, views -----------------------------------------------------------------------------------


def test_columns_keep_their_order_and_types(connection: Any, ask: Any) -> None:
    make(
        connection,
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
        "CREATE TABLE t (a numeric(12, 2), gone int, b varchar(20), c timestamptz, d int[], e positive)",
        "ALTER TABLE t DROP COLUMN gone",
        "ALTER TABLE t ADD COLUMN f bigint",
    )
    table = read_schema(ask).resolve(("t",))
    assert table.columns == ("a", "b", "c", "d", "e", "f")
    assert table.types == (
        "numeric(12,2)",
        "character varying(20)",
        "timestamp with time zone",
        "integer[]",
        "positive",
        "bigint",
    )


def test_only_keys_that_always_hold_are_keys(connection: Any, ask: Any) -> None:
    make(
        connection,
        "CREATE TABLE t (id int PRIMARY KEY, a int UNIQUE, b int, c int, d int, e int, f int UNIQUE "
        "DEFERRABLE INITIALLY DEFERRED, UNIQUE (b, c))",
        "CREATE UNIQUE INDEX ON t (d) INCLUDE (e)",
        "CREATE UNIQUE INDEX ON t (e) WHERE e > 0",
        "CREATE UNIQUE INDEX ON t ((e + 1))",
    )
    table = read_schema(ask).resolve(("t",))
    assert table.unique == (("a",), ("b", "c"), ("d",), ("id",))
    assert table.not_null == {"id"}


def test_a_table_with_heirs_has_no_keys_of_its_own(connection: Any, ask: Any) -> None:
    make(
        connection,
        "CREATE TABLE parent (id int PRIMARY KEY, a int NOT NULL)",
        "CREATE TABLE child () INHERITS (parent)",
        "INSERT INTO parent VALUES (1, 1)",
        "INSERT INTO child VALUES (1, 1)",
    )
    table = read_schema(ask).resolve(("parent",))
    assert (table.unique, table.not_null) == ((), frozenset())


def test_a_not_null_that_was_not_validated_is_none(connection: Any, ask: Any) -> None:
    if connection.info.server_version < 180000:
        pytest.skip("NOT NULL … NOT VALID came with PostgreSQL 18")
    make(
        connection,
        "CREATE TABLE t (a int)",
        "INSERT INTO t VALUES (NULL)",
        "ALTER TABLE t ADD CONSTRAINT filled NOT NULL a NOT VALID",
    )
    assert read_schema(ask).resolve(("t",)).not_null == frozenset()


def test_views_show_their_select_and_materialized_ones_are_tables(connection: Any, ask: Any) -> None:
    make(
        connection,
        "CREATE TABLE t (a int, b int)",
        "CREATE VIEW v (x) AS SELECT a + 1 FROM t",
        "CREATE MATERIALIZED VIEW m AS SELECT a FROM t",
    )
    schema = read_schema(ask)
    view = schema.resolve(("v",))
    assert view.columns == ("x",)
    assert view.view_sql.startswith("SELECT")
    assert not view.view_sql.endswith(";")
    assert schema.resolve(("m",)).view_sql is None
    assert schema.find(("m",)).kind == "m"


def test_foreign_tables_promise_nothing(connection: Any, ask: Any) -> None:
    make(
        connection,
        "CREATE FOREIGN DATA WRAPPER w",
        "CREATE SERVER s FOREIGN DATA WRAPPER w",
        "CREATE FOREIGN TABLE f (a int NOT NULL) SERVER s",
    )
    schema = read_schema(ask)
    assert schema.find(("f",)).kind == "f"
    assert schema.resolve(("f",)).not_null == frozenset()


def test_a_thousand_partitions_cost_no_more_statements(connection: Any, ask: Any) -> None:
    make(
        connection,
        "CREATE TABLE p (id int PRIMARY KEY, a int) PARTITION BY RANGE (id)",
        "DO $$ BEGIN FOR i IN 0..299 LOOP EXECUTE format('CREATE TABLE p_%s PARTITION OF p FOR VALUES "
        "FROM (%s) TO (%s)', i, i * 10, i * 10 + 10); END LOOP; END $$",
    )
    before = ask.asked
    schema = read_schema(ask)
    assert schema.resolve(("p",)).unique == (("id",),)
    assert ask.asked - before == 4
    assert schema.resolve(("p_7",)).columns == ("id", "a")
    assert schema.resolve(("p_8",)).unique == (("id",),)
    assert ask.asked - before == 6


def test_an_ordinary_role_sees_what_it_may_not_read(connection: Any, asking: Any, ordinary: Any) -> None:
    make(connection, "CREATE TABLE t (a int PRIMARY KEY)", "CREATE VIEW v AS SELECT a FROM t")
    ask = asking(ordinary)
    schema = read_schema(ask)
    assert schema.resolve(("t",)).unique == (("a",),)
    assert schema.resolve(("v",)).view_sql is not None
    assert read_epoch(ask)


# -- the epoch ----------------------------------------------------------------------------------------------

CHANGES = (
    "ALTER TABLE t ADD COLUMN c int",
    "ALTER TABLE t RENAME COLUMN c TO d",
    "ALTER TABLE t ALTER COLUMN d SET NOT NULL",
    "ALTER TABLE t ALTER COLUMN b TYPE varchar(30)",
    "ALTER TABLE t DROP COLUMN d",
    "ALTER TABLE t RENAME TO s",
    "ALTER TABLE s RENAME TO t",
    "ALTER SCHEMA apart RENAME TO separate",
    "CREATE OR REPLACE VIEW v AS SELECT a + 1 AS x FROM t",
    "CREATE TABLE new (x int)",
    "CREATE UNIQUE INDEX ON t (a)",
    "DROP TABLE new",
    "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 2'",
    "CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE POLICY p ON t USING (a > 1)",
    "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
)
BASE = (
    "CREATE SCHEMA apart",
    "CREATE TABLE t (a int, b varchar(20))",
    "CREATE VIEW v AS SELECT a AS x FROM t",
    "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
)


def test_the_epoch_notices_what_others_change(connection: Any, ask: Any, second: Any) -> None:
    make(connection, *BASE)
    epochs = Epochs()
    seen = {epochs.read(ask)}
    for change in CHANGES:
        second.execute(change)
        epoch = epochs.read(ask)
        assert epoch not in seen, change
        assert epochs.read(ask) == epoch == read_epoch(ask), change
        seen.add(epoch)


def test_the_epoch_notices_each_change_within_one_transaction(connection: Any, ask: Any) -> None:
    make(connection, *BASE)
    epochs = Epochs()
    before = epochs.read(ask)
    seen = {before}
    with connection.transaction(force_rollback=True):
        for change in CHANGES:
            connection.execute(change)
            epoch = epochs.read(ask)
            assert epoch not in seen, change
            seen.add(epoch)
    assert epochs.read(ask) == before


def test_the_epoch_notices_this_sessions_own_names(connection: Any, ask: Any) -> None:
    make(connection, *BASE)
    epochs = Epochs()
    seen = {epochs.read(ask)}
    for change in (
        "CREATE TEMPORARY TABLE t (z int)",
        "SET search_path = apart, public",
        "SET search_path = public, apart",
        "DROP TABLE pg_temp.t",
    ):
        connection.execute(change)
        epoch = epochs.read(ask)
        assert epoch not in seen, change
        seen.add(epoch)


def test_the_epoch_is_the_same_for_everyone_and_stays(
    connection: Any, ask: Any, asking: Any, second: Any, ordinary: Any
) -> None:
    make(connection, *BASE)
    epochs = Epochs()
    epoch = epochs.read(ask)
    make(
        second,
        "INSERT INTO t SELECT i, 'x' FROM generate_series(1, 1000) AS g(i)",
        "ANALYZE t",
        "VACUUM t",
        "CREATE INDEX ON t (b)",
        "CREATE TEMPORARY TABLE theirs (x int)",
        "DELETE FROM t",
    )
    assert epochs.read(ask) == epoch
    assert read_epoch(ask) == epoch
    assert read_epoch(asking(ordinary)) == epoch
    second.execute("DROP TABLE theirs")
    assert read_epoch(asking(second)) == epoch


def test_a_quiet_server_is_asked_one_cheap_statement(connection: Any, ask: Any, second: Any) -> None:
    make(connection, *BASE)
    epochs = Epochs()
    epochs.read(ask)
    before = ask.asked
    for _ in range(5):
        epochs.read(ask)
    assert ask.asked - before == 5
    second.execute("INSERT INTO t VALUES (1, 'x')")
    epochs.read(ask)
    assert ask.asked - before == 7
