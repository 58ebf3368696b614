"""Names resolve as in DuckDB, and the epoch changes with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.engines.duckdb.schema import generated_expressions, view_body

MACROS = (
    "CREATE MACRO count(x) AS 42",
    "CREATE MACRO hash(x) AS 8",
    "CREATE MACRO bit_xor(x) AS 7",
    "CREATE MACRO list(x) AS 9",
    "CREATE MACRO lower(x) AS 'q'",
    "CREATE MACRO current_setting(x) AS 'evil'",
    "CREATE MACRO current_database() AS 'evil'",
    "CREATE MACRO txid_current() AS 5",
    "CREATE MACRO stats(x) AS 'evil'",
    "CREATE MACRO json_serialize_sql(x) AS 'evil'",
    "CREATE MACRO epoch(x) AS 3",
)


@pytest.fixture(params=["own", "borrowed"])
def engine(request: pytest.FixtureRequest) -> Iterator[DuckDBEngine]:
    if request.param == "own":
        with DuckDBEngine.open() as opened:
            yield opened
    else:
        with duckdb.connect() as connection:
            yield DuckDBEngine.borrow(connection)


def run(engine: DuckDBEngine, *statements: str) -> None:
    for statement in statements:
        engine.run(Rendered(statement))


def name(engine: DuckDBEngine, *parts: str) -> str | None:
    table = engine.schema().resolve(parts)
    return None if table is None else table.name


def test_the_search_path_decides(engine: DuckDBEngine) -> None:
    run(
        engine,
        "CREATE TABLE t (a INTEGER)",
        "CREATE SCHEMA other",
        "CREATE TABLE other.t (b INTEGER)",
        'CREATE SCHEMA "we, ird"',
        'CREATE TABLE "we, ird".u (c INTEGER)',
    )
    assert name(engine, "t") == "memory.main.t"
    assert name(engine, "T") == "memory.main.t"
    assert name(engine, "other", "t") == "memory.other.t"
    assert name(engine, "memory", "other", "t") == "memory.other.t"
    assert name(engine, "u") is None
    epoch, environment = engine.schema_epoch(), engine.environment()
    run(engine, "SET search_path = 'other,main'")
    assert engine.schema_epoch() != epoch
    assert engine.environment() != environment
    assert name(engine, "t") == "memory.other.t"
    run(engine, "USE memory.main")
    assert name(engine, "t") == "memory.main.t"


def test_attached_databases(engine: DuckDBEngine, tmp_path: Path) -> None:
    run(engine, "CREATE TABLE t (a INTEGER)")
    epoch = engine.schema_epoch()
    run(engine, f"ATTACH '{tmp_path / 'other.db'}' AS other")
    attached = engine.schema_epoch()
    assert attached != epoch
    run(engine, "CREATE TABLE other.u (b INTEGER)", "CREATE TABLE other.t (b INTEGER)")
    assert engine.schema_epoch() != attached
    assert name(engine, "other", "u") == "other.main.u"
    assert name(engine, "other", "main", "u") == "other.main.u"
    assert name(engine, "u") is None
    assert name(engine, "t") == "memory.main.t"
    assert engine.statistics().rows("other.main.u") == 0
    run(engine, "USE other")
    assert name(engine, "t") == "other.main.t"
    run(engine, "USE memory", "DETACH other")
    assert name(engine, "other", "u") is None


def test_keys_not_null_and_views(engine: DuckDBEngine) -> None:
    run(
        engine,
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER NOT NULL, c INTEGER UNIQUE, d INTEGER, UNIQUE (b, d))",
        "CREATE VIEW v AS SELECT a FROM t WHERE b > 1",
        "CREATE VIEW w (x) AS SELECT a FROM t",
    )
    table = engine.schema().resolve(("t",))
    assert table is not None
    assert set(table.unique) == {("a",), ("c",), ("b", "d")}
    assert table.not_null == {"a", "b"}
    assert table.types == ("INTEGER",) * 4
    view = engine.schema().resolve(("v",))
    assert view is not None
    assert view.view_sql is not None
    assert engine.run(Rendered(view.view_sql)).columns == ("a",)
    renamed = engine.schema().resolve(("w",))
    assert renamed is not None
    # Its SELECT has other column names: it is used as it is.
    assert (renamed.columns, renamed.view_sql) == (("x",), None)


def test_a_temporary_view_shadows_and_a_rollback_takes_back(engine: DuckDBEngine) -> None:
    run(engine, "CREATE TABLE t (a INTEGER)")
    epoch = engine.schema_epoch()
    run(engine, "BEGIN", "ALTER TABLE t ADD COLUMN b INTEGER")
    changed = engine.schema_epoch()
    assert changed != epoch
    run(engine, "ROLLBACK")
    assert engine.schema_epoch() == epoch
    run(engine, "CREATE TEMP VIEW t AS SELECT 1 AS only_here")
    assert engine.schema_epoch() not in (epoch, changed)
    assert name(engine, "t") == "temp.main.t"


def test_an_own_instance_notices_macros_and_another_cursors_changes() -> None:
    with DuckDBEngine.open() as engine, engine.cursor() as other:
        seen = {engine.schema_epoch()}
        for statement in (
            "CREATE MACRO f(x) AS x + 1",
            "CREATE OR REPLACE MACRO f(x) AS x + 2",
            "CREATE TABLE t (a INTEGER)",
            "ALTER TABLE t RENAME a TO b",
            "ALTER TABLE t ALTER b SET DATA TYPE BIGINT",
            "DROP TABLE t",
        ):
            other.run(Rendered(statement))
            if statement.startswith("DROP"):
                assert engine.schema_epoch() in seen, "nothing but the macro is left"
            else:
                assert engine.schema_epoch() not in seen, statement
            seen.add(engine.schema_epoch())


def test_a_temporary_table_is_its_cursors_own() -> None:
    with DuckDBEngine.open() as engine, engine.cursor() as other:
        run(engine, "CREATE TABLE t (a INTEGER)")
        before = other.schema_epoch()
        run(engine, "CREATE TEMP TABLE t (b INTEGER)")
        assert name(engine, "t") == "temp.main.t"
        assert name(other, "t") == "memory.main.t"
        assert engine.schema_epoch() != other.schema_epoch()
        assert other.schema().resolve(("t",)) is not None
        assert before == other.schema_epoch() or before != engine.schema_epoch()


def test_users_macros_cannot_mislead_the_catalogue(engine: DuckDBEngine) -> None:
    run(engine, "CREATE TABLE t AS SELECT i AS a, DATE '2020-01-01' + i::INTEGER AS d FROM range(10) r(i)")
    epoch, environment = engine.schema_epoch(), engine.environment()
    run(engine, *MACROS)
    assert engine.environment() == environment
    run(engine, "ALTER TABLE t ADD COLUMN b INTEGER")
    assert engine.schema_epoch() != epoch
    table = engine.schema().resolve(("t",))
    assert table is not None
    assert table.columns == ("a", "d", "b")
    column = engine.statistics().column(table.name, "d")
    assert column is not None
    assert (column.distinct, column.minimum) == (10, 1577836800.0)
    assert not engine.in_transaction()
    assert engine.effects("SELECT a FROM t").pure
    assert not engine.effects("SELECT count(a) FROM t").pure


@pytest.mark.parametrize(
    "identifier",
    ["select", 'a"b', "a.b", "it's", "--", "/*", "ünï cödé", "x" * 300, "$$", "%s", "{0}", "new\nline"],
)
def test_hostile_identifiers(engine: DuckDBEngine, identifier: str) -> None:
    quoted = '"' + identifier.replace('"', '""') + '"'
    run(engine, f"CREATE TABLE {quoted} ({quoted} INTEGER)", f"INSERT INTO {quoted} VALUES (1), (2)")
    table = engine.schema().resolve((identifier,))
    assert table is not None
    assert table.columns == (identifier,)
    assert engine.statistics().rows(table.name) == 2
    column = engine.statistics().column(table.name, identifier)
    assert column is not None
    assert column.distinct == 2
    plan = engine.explain(f"SELECT * FROM {quoted} WHERE {quoted} > 1")
    scan = next(node for node in plan.root.walk() if node.kind == "scan")
    assert scan.table is not None
    assert table.name.endswith(scan.table)


def test_near_names(engine: DuckDBEngine) -> None:
    run(engine, "CREATE TABLE customers (a INTEGER)", "CREATE TABLE orders (a INTEGER)")
    assert engine.schema().near("customer")[0] == "customers"
    assert engine.schema().near("zzzzzz") == ()


def test_the_text_behind_a_view_is_found() -> None:
    assert view_body("CREATE VIEW v AS SELECT 1 AS x;") == ("SELECT 1 AS x", False)
    assert view_body("CREATE VIEW w (a, b) AS SELECT 1, 2;") == ("SELECT 1, 2", True)
    assert view_body('CREATE VIEW "x AS y"."AS (" AS SELECT \'AS\' AS "AS";') == (
        "SELECT 'AS' AS \"AS\"",
        False,
    )
    assert view_body("nonsense") is None
    made_by = "CREATE TABLE g(a INTEGER, b INTEGER GENERATED ALWAYS AS((a + length(')'))), c VARCHAR);"
    assert generated_expressions(made_by) == ("((a + length(')')))",)
