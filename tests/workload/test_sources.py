"""DuckDB's query log, our own store, SQL files and dbt projects."""

from __future__ import annotations

import json
from contextlib import closing

import duckdb
import pytest

import godb_fast
from godb_fast.engines.registry import open_engine
from godb_fast.errors import InvalidInput
from godb_fast.store import SqliteStore
from godb_fast.workload import rank
from godb_fast.workload.duckdb_logs import of_connection
from godb_fast.workload.intake import Request, gather
from godb_fast.workload.logs import read_logs
from godb_fast.workload.observations import read_store
from godb_fast.workload.scripts import read_scripts


def found(workload, part):
    matching = [usage for usage in workload.queries if part in usage.text]
    assert len(matching) == 1, [usage.text for usage in matching]
    return matching[0]


# -- DuckDB ------------------------------------------------------------------------------------------------


def busy(connection):
    connection.execute("CREATE TABLE t AS SELECT range AS a, 'x' AS s FROM range(1000)")
    connection.execute("PRAGMA enable_profiling = 'no_output'")
    for limit in (5, 6, 7):
        connection.execute(f"SELECT a FROM t WHERE a < {limit}").fetchall()
    connection.execute("SELECT count(*)\n FROM t WHERE s = 'a,\"b' AND a > 5").fetchall()
    connection.execute("SELECT count(*) FROM t WHERE a <> ?", [9]).fetchall()
    connection.execute("PRAGMA disable_profiling")
    connection.execute("SELECT max(a) AS unprofiled FROM t").fetchall()


@pytest.fixture
def instance():
    with duckdb.connect() as connection:
        yield connection


@pytest.mark.parametrize("normalized", [True, False])
def test_a_log_in_files(instance, tmp_path, normalized):
    # One file of all columns, or two that are to be joined (and a path that is none aborts DuckDB 2.0).
    folder = tmp_path / ("query_log" if normalized else "query_log.csv")
    instance.execute(
        f"CALL enable_logging(['QueryLog', 'Metrics'], storage = 'file', storage_path = '{folder}', "
        f"storage_normalize = {normalized})"
    )
    busy(instance)
    instance.execute("CALL disable_logging()")
    workload = read_logs((str(folder),))
    assert workload.dialect == "duckdb"
    assert not [note for note in workload.notes if "left out" in note]
    check(workload)


def test_a_log_in_memory(instance):
    with pytest.raises(InvalidInput, match="enable_logging"):
        of_connection(instance)
    instance.execute("CALL enable_logging(['QueryLog', 'Metrics'])")
    busy(instance)
    check(of_connection(instance))


def check(workload):
    few = found(workload, "where a < ?i")
    assert few.calls == 3
    assert few.total_ms > 0
    assert few.example in [f"SELECT a FROM t WHERE a < {limit}" for limit in (5, 6, 7)]
    assert found(workload, "s = ?s").example == "SELECT count(*)\n FROM t WHERE s = 'a,\"b' AND a > 5"
    # Bound values are not logged.
    assert (found(workload, "<> ?p").example, found(workload, "<> ?p").provenance) == (None, "none")
    assert found(workload, "unprofiled").total_ms is None
    assert found(workload, "create table t").example is None
    timed = [usage for usage in workload.queries if usage.total_ms is not None]
    assert workload.total_ms == pytest.approx(sum(usage.total_ms for usage in timed))


# -- our own store -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [True, False])
def test_what_a_session_recorded(tmp_path, keep):
    store = SqliteStore(tmp_path / "store.sqlite", keep_literals=keep)
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t AS SELECT range AS a FROM range(1000)")
    with godb_fast.connect(str(path), store=store, read_only=True) as session:
        for limit in (1, 2, 3):
            session.execute(f"SELECT a FROM t WHERE a < {limit}").fetchall()
        with pytest.raises(godb_fast.GodbError):
            session.execute("SELECT nothing FROM t")
    with godb_fast.connect("duckdb://", store=store) as session:
        session.execute("SELECT 1 AS in_memory").fetchall()
    with open_engine(str(path), read_only=True) as engine:
        workload = read_store(store, engine)
    usage = found(workload, "select a")
    assert (usage.calls, usage.rows) == (3, 6)
    assert usage.total_ms >= usage.max_ms > 0
    assert [other.text for other in workload.queries] == [usage.text]
    if keep:
        assert usage.provenance == "observed"
        assert usage.example.startswith("SELECT a FROM t WHERE a < ")
    else:
        assert (usage.example, usage.provenance) == (None, "none")
    assert len(read_store(store, dialect="duckdb").queries) == 2
    with pytest.raises(InvalidInput, match="holds no execution of a postgres database"):
        read_store(store)
    store.close()


@pytest.mark.parametrize("mode", ["observe", "advise"])
def test_each_mode_records_what_the_workload_is(tmp_path, mode):
    with closing(SqliteStore(tmp_path / "store.sqlite")) as store:
        with godb_fast.connect("duckdb://", store=store, mode=mode) as session:
            for limit in (1, 2):
                session.execute(f"SELECT range AS a FROM range(5) WHERE range < {limit}").fetchall()
            session.execute("SELECT 1 AS other").fetchall()
        workload = read_store(store, dialect="duckdb")
    assert [usage.calls for usage in sorted(workload.queries, key=lambda usage: -usage.calls)] == [2, 1]
    assert workload.notes == ()


# -- files -------------------------------------------------------------------------------------------------


def test_a_folder_of_scripts(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.sql").write_text("SELECT 1; -- name: by city\nSELECT city FROM t WHERE a = 1;\n")
    (tmp_path / "sub" / "b.SQL").write_text("select city from t where a = 2; DELETE FROM t")
    (tmp_path / "latin.sql").write_bytes(b"SELECT '\xe4'")
    (tmp_path / "open.sql").write_text("SELECT 'never ends")
    (tmp_path / "notes.txt").write_text("SELECT 5")
    workload = read_scripts((str(tmp_path),), "postgres")
    city = found(workload, "city")
    assert (city.calls, city.total_ms, city.name, city.provenance) == (2, None, "by city", "written")
    assert city.example == "SELECT city FROM t WHERE a = 1"
    assert found(workload, "delete").example is None
    assert len(workload.queries) == 3
    assert any("latin.sql is not UTF-8" in note for note in workload.notes)
    assert any("open.sql:1:8" in note for note in workload.notes)
    with pytest.raises(InvalidInput, match="no file or folder"):
        read_scripts((str(tmp_path / "absent"),), "postgres")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match=r"no \.sql file"):
        read_scripts((str(tmp_path / "empty"),), "postgres")


def test_a_dbt_project_with_its_times(tmp_path):
    compiled = tmp_path / "target" / "compiled" / "shop" / "models" / "marts"
    compiled.mkdir(parents=True)
    (tmp_path / "dbt_project.yml").write_text("name: shop\n")
    (compiled / "revenue.sql").write_text("\n\nwith o as (select * from orders)\nselect sum(total) from o\n")
    (compiled / "never_ran.sql").write_text("select 1 as never")
    tests = tmp_path / "target" / "compiled" / "shop" / "models" / "schema.yml"
    tests.mkdir()
    (tests / "not_null_orders_id.sql").write_text("select id from orders where id is null")
    results = [
        {"unique_id": "model.shop.revenue", "status": "success", "execution_time": 2.5,
         "adapter_response": {"rows_affected": 42}},
        {"unique_id": "test.shop.not_null_orders_id.9c1", "status": "pass", "execution_time": 0.25,
         "adapter_response": {}},
        {"unique_id": "model.shop.never_ran", "status": "error", "execution_time": 9.0},
        {"unique_id": "seed.shop.cities", "status": "success", "execution_time": 1.0},
    ]  # fmt: skip
    run_results = tmp_path / "target" / "run_results.json"
    run_results.write_text(json.dumps({"metadata": {}, "results": results}))
    for given in (tmp_path, tmp_path / "target"):
        workload = read_scripts((str(given),), "postgres")
        first, second, third = rank(workload, 5)
        assert (first.usage.name, first.usage.total_ms, first.usage.rows) == ("revenue", 2500.0, 42)
        assert (second.usage.name, second.usage.total_ms) == ("not_null_orders_id", 250.0)
        assert (third.usage.name, third.usage.total_ms, third.share) == ("never_ran", None, None)
        assert first.share == pytest.approx(2.5 / 2.75)
        assert any("cities" in note for note in workload.notes)
    for content in ("{", "[]", '{"results": 5}', '{"results": [5]}', '{"results": [{"unique_id": 7}]}'):
        run_results.write_text(content)
        workload = read_scripts((str(tmp_path),), "postgres")
        assert len(workload.queries) == 3
        assert workload.total_ms is None


# -- which is asked ----------------------------------------------------------------------------------------


def test_what_is_missing_is_named(tmp_path):
    for source, needs in (
        ("log", "--log"),
        ("files", "--files"),
        ("store", "--store"),
        ("statements", "URL"),
    ):
        with pytest.raises(InvalidInput, match=needs):
            gather(Request(None, source))
    with pytest.raises(InvalidInput, match="choose one of"):
        gather(Request(None, "rumour"))
    with pytest.raises(InvalidInput, match="nothing to rank"):
        gather(Request(None))
    with open_engine("duckdb://") as engine, pytest.raises(InvalidInput, match="enable_logging"):
        gather(Request(engine, store=SqliteStore(tmp_path / "store.sqlite")))
