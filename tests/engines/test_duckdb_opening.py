"""Opening: what fails says why and offers a way out; nobody else gets into an instance of ours."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine, open_url
from godb_fast.engines.registry import open_engine
from godb_fast.errors import ConnectionFailed, EngineError, InvalidInput


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.db"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    return path


def test_a_new_file_is_made_unless_read_only(tmp_path: Path) -> None:
    with DuckDBEngine.open(tmp_path / "new.db") as engine:
        engine.run(Rendered("CREATE TABLE t (x INTEGER)"))
    assert (tmp_path / "new.db").exists()
    with pytest.raises(ConnectionFailed, match=r"no such file: .*missing\.db"):
        DuckDBEngine.open(tmp_path / "missing.db", read_only=True)
    with pytest.raises(ConnectionFailed, match="no such folder"):
        DuckDBEngine.open(tmp_path / "nowhere" / "x.db")
    with pytest.raises(ConnectionFailed, match="is a folder"):
        DuckDBEngine.open(tmp_path)


def test_a_lost_root_is_pointed_out(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = str(file).lstrip("/")
    for read_only in (True, False):
        with pytest.raises(ConnectionFailed) as caught:
            open_url(f"duckdb:///{relative}", read_only=read_only)
        assert f"no such {'file' if read_only else 'folder'}: {tmp_path}/" in str(caught.value)
        assert str(caught.value).endswith(f"four slashes, duckdb:////{relative}")
    open_url(f"duckdb:////{relative}").close()
    with pytest.raises(ConnectionFailed) as caught:
        open_url("duckdb:///no/such/thing.db")
    assert "four slashes" not in str(caught.value)


def test_other_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("hello " * 5000)
    with pytest.raises(ConnectionFailed, match="is not a DuckDB database"):
        DuckDBEngine.open(text)
    lite = tmp_path / "lite.db"
    connection = sqlite3.connect(lite)
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    connection.close()
    with pytest.raises(ConnectionFailed, match="is an SQLite database"):
        DuckDBEngine.open(lite)


def test_read_only_reads_and_does_not_write(file: Path) -> None:
    with DuckDBEngine.open(file, read_only=True) as engine:
        assert engine.run(Rendered("SELECT x FROM t")).rows == [(1,)]
        assert engine.statistics().rows("data.main.t") == 1
        with pytest.raises(EngineError, match="read-only"):
            engine.run(Rendered("INSERT INTO t VALUES (2)"))


def test_a_file_that_another_process_holds(file: Path) -> None:
    code = (
        "import duckdb, sys\n"
        f"connection = duckdb.connect({str(file)!r})\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(ConnectionFailed) as caught:
            DuckDBEngine.open(file)
        other.communicate("")
    message = str(caught.value)
    assert f"locked by another process (process {other.pid}" in message
    assert "godb_fast.connect(its_duckdb_connection)" in message
    assert "a copy of the file" in message
    DuckDBEngine.open(file).close()


def test_nobody_in_this_process_shares_an_instance_of_ours(file: Path) -> None:
    with DuckDBEngine.open(file):
        with pytest.raises(duckdb.ConnectionException):
            duckdb.connect(str(file))
        with pytest.raises(duckdb.Error):
            duckdb.connect().execute(f"ATTACH '{file}' AS other")
    duckdb.connect(str(file)).close()


def test_a_file_that_this_process_holds_already(file: Path) -> None:
    with duckdb.connect(str(file)) as held:
        with pytest.raises(ConnectionFailed, match=r"open in this process already.*your_duckdb_connection"):
            DuckDBEngine.open(file)
        engine = DuckDBEngine.borrow(held)
        assert engine.run(Rendered("SELECT x FROM t")).rows == [(1,)]
        assert str(file) in engine.environment()


def test_opening_a_file_twice_shares_the_instance(file: Path) -> None:
    link = file.with_name("link.db")
    link.symlink_to(file)
    with DuckDBEngine.open(file) as one, DuckDBEngine.open(link) as two:
        one.run(Rendered("INSERT INTO t VALUES (7)"))
        assert two.run(Rendered("SELECT count(*) FROM t")).rows == [(2,)]
        assert one.environment() == two.environment()
        with pytest.raises(ConnectionFailed, match="open in this process already, for writing"):
            DuckDBEngine.open(file, read_only=True)
        one.close()
        assert two.run(Rendered("SELECT count(*) FROM t")).rows == [(2,)]
    # The last one closed it.
    duckdb.connect(str(file)).close()


def test_databases_in_memory_are_apart() -> None:
    with DuckDBEngine.open() as one, DuckDBEngine.open(":memory:") as two:
        one.run(Rendered("CREATE TABLE t (x INTEGER)"))
        assert two.schema().resolve(("t",)) is None


def test_urls(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    for url in (f"duckdb:///{file}", "duckdb:///data.db"):
        with open_url(url, read_only=True) as engine:
            assert engine.run(Rendered("SELECT x FROM t")).rows == [(1,)]
    for url in ("duckdb://", "duckdb://:memory:", "duckdb:///:memory:"):
        with open_url(url) as engine:
            assert engine.environment().startswith(":memory:")
    with pytest.raises(InvalidInput, match="not a DuckDB URL"):
        open_url("postgres://x")
    with pytest.raises(InvalidInput, match="not a DuckDB connection"):
        DuckDBEngine.borrow("x")
    opened = open_engine(file)
    assert opened.capabilities.join_trees
    opened.close()
    with duckdb.connect() as connection:
        assert not open_engine(connection).capabilities.join_trees


def test_a_closed_engine_says_so() -> None:
    engine = DuckDBEngine.open()
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(Rendered("SELECT 1"))


def test_our_variables_are_no_tables() -> None:
    statement = [1, 2]
    with DuckDBEngine.open() as engine, pytest.raises(EngineError, match="statement does not exist"):
        engine.run(Rendered("SELECT * FROM statement"))
    assert statement


def test_results_as_arrow_and_data_frame() -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    with DuckDBEngine.open() as engine:
        statement = Rendered("SELECT i AS x, 'a' AS y FROM range(3) r(i)")
        table = engine.run(statement, fetch="arrow").native
        assert table.to_pydict() == {"x": [0, 1, 2], "y": ["a"] * 3}
        frame = engine.run(statement, fetch="df").native
        assert list(frame["x"]) == [0, 1, 2]
        with pytest.raises(InvalidInput, match="fetch is 'xml'"):
            engine.run(statement, fetch="xml")


def test_parameters_by_position_and_by_name() -> None:
    with DuckDBEngine.open() as engine:
        assert engine.run(Rendered("SELECT ? + ?", [1, 2])).rows == [(3,)]
        assert engine.run(Rendered("SELECT $a || $b", {"a": "x", "b": "y"})).rows == [("xy",)]
        plan = engine.explain("SELECT count(*) FROM range(10) r(i) WHERE i > ?", [3])
        assert plan.root.operator
        with pytest.raises(EngineError, match="parameter"):
            engine.run(Rendered("SELECT ?"))


def test_text_that_is_no_utf8_is_refused() -> None:
    with DuckDBEngine.open() as engine:
        with pytest.raises(EngineError, match="UTF-8"):
            engine.run(Rendered("SELECT 'a\udc80'"))
        assert not engine.effects("SELECT 'a\udc80'").pure
        with pytest.raises(EngineError):
            engine.run(Rendered("SELECT \x00"))
        assert engine.run(Rendered("SELECT 1")).rows == [(1,)]
