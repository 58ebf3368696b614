"""``godb-fast slow`` on real engines, in this process and in its own."""

from __future__ import annotations

import json
import subprocess
import sys

import duckdb
import psycopg
import pytest

import godb_fast
from godb_fast.cli import main
from godb_fast.cli.explore import read_queries
from godb_fast.sql.scripts import split
from godb_fast.store import SqliteStore


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    path = tmp_path / "store.sqlite"
    monkeypatch.setenv("GODB_FAST_STORE", str(path))
    return path


def slow(*arguments):
    return main(["slow", *map(str, arguments)])


JOIN = (
    "SELECT count(*) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.city = '{}' AND o.id < 90"
)


@pytest.fixture
def shop(tmp_path):
    """A DuckDB file, and a folder with the log of what ran on it."""
    path, log = tmp_path / "shop.duckdb", tmp_path / "query_log"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, city VARCHAR)")
        connection.execute("INSERT INTO customers SELECT i, 'c' || i % 7 FROM range(500) r(i)")
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER)")
        connection.execute("INSERT INTO orders SELECT i, i % 500 FROM range(3000) r(i)")
        connection.execute(
            f"CALL enable_logging(['QueryLog', 'Metrics'], storage = 'file', storage_path = '{log}')"
        )
        connection.execute("PRAGMA enable_profiling = 'no_output'")
        for number in (1, 2, 3):
            connection.execute(JOIN.format(f"c{number}")).fetchall()
        connection.execute("SELECT random() > 2 AS volatile").fetchall()
        connection.execute("SELECT count(*) FROM customers WHERE city <> ?", ["c1"]).fetchall()
        connection.execute("DELETE FROM orders WHERE id = 2999")
    return path, log


def test_a_duckdb_log(shop, capsys, monkeypatch):
    # On a narrow screen less of a text is shown.
    monkeypatch.setenv("COLUMNS", "200")
    path, log = shop
    assert slow(path, "--log", log) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    # Where a text is wrapped depends on how wide the figures beside it are.
    told = " ".join(shown.out.split())
    for part in ("DuckDB's query log", "steerable", "from customers c join orders o", "values made up"):
        assert part in told, part
    assert "c.city = ? and" in told
    assert "'c1'" not in shown.out


def test_json_says_everything(shop, capsys):
    path, log = shop
    assert slow(path, "--log", log, "--json", "--top", 50) == 0
    told = json.loads(capsys.readouterr().out)
    queries = {entry["text"]: entry for entry in told["queries"]}
    join = next(entry for text, entry in queries.items() if "join orders" in text)
    assert (join["calls"], join["provenance"], join["steerable"]) == (3, "logged", True)
    assert join["example"] in [JOIN.format(f"c{number}") for number in (1, 2, 3)]
    volatile = next(entry for text, entry in queries.items() if "volatile" in text)
    assert volatile["steerable"] is False
    assert "random" in volatile["verdict"]
    bound = next(entry for text, entry in queries.items() if "<> ?p" in text)
    assert bound["provenance"] == "synthetic"
    delete = next(entry for text, entry in queries.items() if text.startswith("delete"))
    assert (delete["steerable"], delete["example"]) == (False, None)
    assert told["queries"] == sorted(told["queries"], key=lambda entry: -(entry["total_ms"] or 0))
    assert sum(entry["time_share"] or 0 for entry in told["queries"]) == pytest.approx(1.0)


def test_without_planning_the_engine_is_not_even_opened(shop, capsys):
    path, log = shop
    with duckdb.connect(str(path)):  # a writer: nobody else may open the file
        assert slow(path, "--log", log, "--no-plan", "--json") == 0
    assert {entry["steerable"] for entry in json.loads(capsys.readouterr().out)["queries"]} == {None}


def test_what_is_written_can_be_run(shop, tmp_path, capsys):
    path, log = shop
    output = tmp_path / "slow.sql"
    assert slow(path, "--log", log, "--output", output) == 0
    text = output.read_text()
    assert "-- slow" in text
    statements = split(text)
    assert any(statement.sql in map(JOIN.format, ("c1", "c2", "c3")) for statement in statements)
    # What writes, and what answers differently each time, is named in comments only.
    assert not [
        statement for statement in statements if "DELETE" in statement.sql or "random" in statement.sql
    ]
    assert "random() is volatile" in text
    assert "delete from orders" in text
    assert f"{len(statements)} of" in capsys.readouterr().out
    assert main(["run", str(path), str(output), "--repetitions", "1"]) == 0
    # Exploring counts each as often as it was called.
    called = {query.sql: query.weight for query in read_queries([str(output)])}
    assert [
        weight for sql, weight in called.items() if sql.startswith("SELECT count(*) FROM customers c")
    ] == [3]
    assert set(called.values()) == {1.0, 3.0}


def test_statements_with_odd_ends_stay_apart(tmp_path, capsys):
    script = tmp_path / "odd.sql"
    script.write_text("SELECT 1 AS one -- no end\n;\nSELECT 2 AS two /* ; */;\nSELECT ';' AS three, $$;$$")
    output = tmp_path / "out.sql"
    assert slow("--files", script, "--output", output, "--dialect", "duckdb") == 0
    statements = split(output.read_text())
    assert len(statements) == 3
    for statement in statements:
        duckdb.execute(statement.sql)


def test_a_folder_needs_no_server(shop, tmp_path, capsys):
    folder = tmp_path / "queries"
    folder.mkdir()
    (folder / "a.sql").write_text("-- name: by city\n" + JOIN.format("c1") + ";\n" + JOIN.format("c2"))
    assert slow("--files", folder) == 0
    assert "calls are ranked" in capsys.readouterr().out
    assert slow(folder) == 2
    assert f"slow --files {folder}" in capsys.readouterr().err
    assert slow(shop[0], "--files", folder, "--json") == 0
    entry = json.loads(capsys.readouterr().out)["queries"][0]
    assert (entry["name"], entry["calls"], entry["steerable"]) == ("by city", 2, True)


def test_our_own_store_is_asked_where_there_is_nothing_else(shop, own_store, capsys):
    path = shop[0]
    assert slow(path) == 2
    assert "enable_logging" in capsys.readouterr().err
    store = SqliteStore(own_store, keep_literals=True)
    with godb_fast.connect(str(path), store=store, read_only=True) as session:
        session.execute(JOIN.format("c1")).fetchall()
    store.close()
    assert slow(path, "--json") == 0
    entry = json.loads(capsys.readouterr().out)["queries"][0]
    assert (entry["calls"], entry["provenance"]) == (1, "observed")
    assert slow("--source", "store", "--dialect", "duckdb") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give a URL"),
        (("--log", "/nowhere/at/all"), "no file or folder"),
        (("--files", "/nowhere/at/all"), "no file or folder"),
        (("/nowhere/at/all.duckdb", "--source", "statements"), "nowhere"),
        (("--source", "log", "--files", "."), "--log"),
        (("--files", ".", "--output", "/nowhere/at/all.sql"), "cannot write"),
        (("mysql://me:geheim@host/db",), "no engine"),
    ],
)
def test_bad_input_is_named(arguments, said, capsys):
    assert slow(*arguments) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert "geheim" not in shown.err + shown.out


def test_nothing_found_is_no_success(tmp_path, capsys):
    (tmp_path / "empty.sql").write_text("-- nothing\n")
    assert slow("--files", tmp_path / "empty.sql") == 1
    assert "no statement found" in capsys.readouterr().out


def test_what_a_log_holds_cannot_steer_the_terminal(tmp_path, capsys):
    line = '{"error_severity":"LOG","message":"duration: 1 ms  statement: SELECT 1 AS \\"\\u001b[2J\\r\\u202e\\"","session_id":"1"}\n'
    (tmp_path / "log.json").write_text(line)
    output = tmp_path / "out.sql"
    assert slow("--log", tmp_path / "log.json", "--output", output) == 0
    shown = capsys.readouterr().out
    assert "select" in shown
    assert not {"\x1b", "\r", "\u202e"} & set(shown)
    assert len(split(output.read_text())) == 1


# -- PostgreSQL --------------------------------------------------------------------------------------------


def test_a_server_without_a_list_says_what_to_do(postgres_url, capsys):
    assert slow(postgres_url) == 2
    shown = capsys.readouterr()
    assert "CREATE EXTENSION" in shown.err
    assert secret(postgres_url) not in shown.err + shown.out


def secret(url):
    return url.split(":")[2].split("@")[0]


def test_a_log_is_judged_by_the_server_and_in_its_dialect(postgres_url, shop, tmp_path, capsys):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE customers (id int PRIMARY KEY, city text)")
        connection.execute("CREATE TABLE orders (id int PRIMARY KEY, customer_id int)")
    record = {"error_severity": "LOG", "session_id": "1", "dbname": postgres_url.rsplit("/", 1)[1]}
    messages = ["duration: 5 ms  statement: " + JOIN.format("c1"), "duration: 4 ms  statement: SELECT now()",
                "duration: 3 ms  statement: SELECT absent FROM nowhere"]  # fmt: skip
    log = tmp_path / "server.json"
    log.write_text("".join(json.dumps(record | {"message": message}) + "\n" for message in messages))
    assert slow(postgres_url, "--log", log, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["steerable"] for entry in told["queries"]] == [True, False, False]
    assert "nowhere" in told["queries"][2]["verdict"]
    assert any("CREATE EXTENSION" in note for note in told["notes"])
    # Each server's log is for its own engine.
    assert slow(postgres_url, "--log", shop[1], "--source", "log") == 2
    assert "another engine" in capsys.readouterr().err
    assert slow(shop[0], "--log", log) == 2
    assert "another engine" in capsys.readouterr().err


def test_the_command_in_its_own_process_prints_no_password(postgres_url, tmp_path):
    (tmp_path / "a.sql").write_text("SELECT 1 AS one")
    for arguments in ((postgres_url,), (postgres_url, "--files", tmp_path / "a.sql", "--json")):
        done = subprocess.run(
            [sys.executable, "-m", "godb_fast", "slow", *map(str, arguments)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 2)
        assert secret(postgres_url) not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        # Progress is for terminals.
        assert "reading" not in done.stderr
