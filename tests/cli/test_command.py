"""The real command on real DuckDB files, in this process and in its own."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import duckdb
import pytest

import godb_fast
from godb_fast.cli import main
from godb_fast.cli.arguments import parser
from godb_fast.report import comparison as comparisons
from godb_fast.store import SqliteStore


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    path = tmp_path / "store.sqlite"
    monkeypatch.setenv("GODB_FAST_STORE", str(path))
    return path


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """Three tables with skewed many-to-many links."""
    path = tmp_path_factory.mktemp("shop") / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name VARCHAR, city VARCHAR)")
        connection.execute("INSERT INTO customers SELECT i, 'n' || i, 'c' || i % 7 FROM range(2000) r(i)")
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER, total DOUBLE)")
        connection.execute(
            "INSERT INTO orders SELECT i, CASE WHEN i % 2 = 0 THEN 1 ELSE i % 2000 END, i / 7.0 "
            "FROM range(20000) r(i)"
        )
        connection.execute("CREATE TABLE lines (order_id INTEGER, product_id INTEGER, amount INTEGER)")
        connection.execute(
            "INSERT INTO lines SELECT i % 20000, CASE WHEN i % 3 = 0 THEN 1 ELSE i % 500 END, i % 10 "
            "FROM range(60000) r(i)"
        )
    return path


QUERIES = """
-- name: by city
SELECT c.city, count(*) AS n, sum(o.total) AS s FROM customers c JOIN orders o ON o.customer_id = c.id
JOIN lines l ON l.order_id = o.id WHERE l.product_id = 1 GROUP BY c.city ORDER BY n DESC, c.city;
-- name: one customer
SELECT count(*) FROM customers c, orders o, lines l
WHERE c.id = o.customer_id AND o.id = l.order_id AND c.name = 'n1';
SELECT ';', count(*) FROM customers;
"""


@pytest.fixture
def queries(tmp_path):
    path = tmp_path / "queries.sql"
    path.write_text(QUERIES)
    return path


def godb(*arguments, **more):
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "godb_fast", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False, **more,
    )  # fmt: skip


def fast(*arguments):
    return main([str(argument) for argument in arguments])


# -- run -------------------------------------------------------------------------------------------------


def test_run_compares_a_users_queries(shop, queries, tmp_path):
    done = godb("run", shop, queries, "--repetitions", 2, "--json", tmp_path / "out.json")
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("by city", "one customer", "statement 3", "3 of 3 the same", "R = ours / engine", "A/A"):
        assert part in done.stdout, part
    raw = json.loads((tmp_path / "out.json").read_text())
    assert raw["summary"]["compared"] == 3
    assert all(len(entry["times_ms"]["ours"]) == 2 for entry in raw["queries"])
    assert raw["engine"]["name"] == "duckdb"
    store = SqliteStore(os.environ["GODB_FAST_STORE"])
    counts = store.counts()
    assert counts["observations"] >= 9
    assert counts["decisions"] >= 3
    assert not [entry for entry in store.decisions() if entry.sql is not None]


def test_run_reads_standard_input_and_writes_json_there(shop):
    done = godb("run", shop, "-", "--json", "-", "--repetitions", 1, "--store", "off",
                input="SELECT count(*) FROM orders JOIN customers c ON c.id = customer_id")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["compared"] == 1
    assert not os.path.exists(os.environ["GODB_FAST_STORE"])


def test_a_statement_that_fails_does_not_stop_the_others(shop, tmp_path, capsys):
    path = tmp_path / "mixed.sql"
    path.write_text("SELECT count(*) FROM customers;\n\nSELECT nope FROM customers;\nSELECT FROM WHERE;")
    assert fast("run", shop, path, "--repetitions", 1) == 1
    out = capsys.readouterr().out
    assert "1 compared" in out
    assert "failed  statement 2: line 3, column 8: Binder Error" in out
    assert "nope" in out
    assert "failed  statement 3: line 4, column 13: Parser Error" in out


def test_only_bad_statements_are_bad_input(shop, tmp_path, capsys):
    path = tmp_path / "bad.sql"
    path.write_text("SELECT * FROM custommers")
    assert fast("run", shop, path) == 2
    error = capsys.readouterr().err
    assert "customers" in error
    assert "Traceback" not in error


def test_statements_that_write_are_not_run(shop, tmp_path, capsys):
    path = tmp_path / "write.sql"
    path.write_text("DELETE FROM lines; CREATE TABLE t (a INT); SELECT count(*) FROM lines")
    assert fast("run", shop, path, "--repetitions", 1) == 0
    out = capsys.readouterr().out
    assert "1 compared, 0 steered, 2 left alone" in out
    assert "left alone  statement 1: not compared: " in out
    path.write_text("DELETE FROM lines")
    assert fast("run", shop, path, "--repetitions", 1) == 2
    assert "error: statement 1: not compared" in capsys.readouterr().err
    with duckdb.connect(str(shop), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM lines").fetchone() == (60000,)


def test_different_answers_are_a_failure(shop, queries, monkeypatch, capsys):
    # A real engine gives no wrong rows on demand.
    original = comparisons._answer
    monkeypatch.setattr(
        comparisons,
        "_answer",
        lambda result: comparisons.Answer(
            (answer := original(result)).columns, answer.types, answer.rows[1:]
        ),
    )
    assert fast("run", shop, queries, "--repetitions", 1) == 1
    out = capsys.readouterr().out
    assert "DIFFERENT ANSWER  by city" in out
    assert "3 DIFFERENT" in out


def test_answers_that_vary_by_themselves_are_no_failure(shop, tmp_path, capsys):
    path = tmp_path / "random.sql"
    path.write_text("SELECT random() AS x")
    code = fast("run", shop, path, "--repetitions", 1)
    out = capsys.readouterr().out
    assert "DIFFERENT" not in out
    assert code in (0, 2)


def test_a_run_past_the_limit_is_cut_off_and_not_averaged(shop, tmp_path, capsys):
    path = tmp_path / "slow.sql"
    path.write_text(
        "SELECT count(*) FROM lines a JOIN lines b ON a.amount = b.amount JOIN lines c ON b.amount = c.amount;"
        "SELECT count(*) FROM customers;"
    )
    assert fast("run", shop, path, "--repetitions", 1, "--timeout", 0.5) == 0
    out = capsys.readouterr().out
    assert "cut off  statement 1" in out
    assert "1 compared" in out


# -- errors of users ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "{tmp}/absent.duckdb", "{queries}"], "absent.duckdb"),
        (["run", "{tmp}/text.duckdb", "{queries}"], "text.duckdb"),
        (["run", "oracle://x", "{queries}"], "no engine for oracle:// URLs"),
        (["run", "{shop}", "{tmp}/absent.sql"], "cannot read"),
        (["run", "{shop}", "{tmp}/empty.sql"], "no statement in"),
        (["run", "", "{queries}"], "the URL is empty"),
        (["run", "{shop}", "{tmp}/open.sql"], "open.sql:2:8: the string that begins here does not end"),
        (["run", "{shop}", "{queries}", "--json", "{tmp}/no/such.json"], "cannot write"),
        (["explain", "{shop}", "SELECT 1; SELECT 2"], "explain takes one statement; here are 2"),
        (["explain", "{shop}", ""], "explain takes one statement; here are 0"),
        (["explain", "{shop}", "SELECT * FROM custommers"], "customers"),
        (["demo", "--full", "--only", "nothing*"], "no template matches"),
        (["demo", "--only", "*_star"], "--only: for the comparison of all templates"),
        (["demo", "--budget", "much"], "budget 'much'"),
        (["demo", "--full", "--keep", "{tmp}/text.duckdb"], "exists and cannot be opened"),
    ],
)  # fmt: skip
def test_mistakes_get_a_message_and_exit_2(arguments, message, shop, queries, tmp_path, capsys):
    (tmp_path / "text.duckdb").write_text("this is no database, only some text that is long enough" * 99)
    (tmp_path / "empty.sql").write_text("-- nothing\n;")
    (tmp_path / "open.sql").write_text("SELECT 1;\nSELECT 'open")
    filled = [text.format(tmp=tmp_path, queries=queries, shop=shop) for text in arguments]
    assert fast(*filled) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err + captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required"),
        (["dance"], "invalid choice"),
        (["demo", "--scale", "0"], "not at least 0.001"),
        (["demo", "--scale", "nan"], "not at least"),
        (["run"], "required"),
        (["run", "a", "b", "--repetitions", "x"], "no number"),
        (["run", "a", "b", "--timeout", "0"], "not above 0"),
        (["run", "a", "b", "--mode", "wild"], "invalid choice"),
    ],
)  # fmt: skip
def test_wrong_usage_exits_2(arguments, message, capsys):
    assert fast(*arguments) == 2
    assert message in capsys.readouterr().err


def test_a_syntax_error_is_placed(shop, capsys):
    assert fast("explain", shop, "SELECT count(*)\nFROM customers c JOIN orders o ON ON o.id") == 2
    assert "line 2, column 35: Parser Error" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sql", "place"),
    [
        ("SELEC 1", "line 1, column 1: Parser Error"),
        ("\n\nSELEC 1", "line 3, column 1: Parser Error"),
        ("INSERT INTO customers\nVALEUS (1)", "line 2, column"),
        ("CREATE TABLE t (a INTEGER,", "line 1, column 2"),
        ("UPDATE custommers SET name = 'x'", "customers"),
        ("PRAGMA no_such_pragma; SELEC 1", "explain takes one statement"),
    ],
)
def test_statements_that_are_no_select_are_checked_too(sql, place, shop, capsys):
    assert fast("explain", shop, sql) == 2
    captured = capsys.readouterr()
    assert place in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO customers VALUES (-1, 'x', 'y')",
        "DELETE FROM customers",
        "CREATE TABLE t (a INTEGER)",
        "SET threads = 2",
        "PRAGMA table_info('customers')",
        "BEGIN",
    ],
)
def test_good_statements_that_are_no_select_pass_through_unexecuted(sql, shop, capsys):
    assert fast("explain", shop, sql) == 0
    assert "left alone" in capsys.readouterr().out
    with duckdb.connect(str(shop), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM customers").fetchone() == (2000,)


def test_a_database_locked_by_another_process(tmp_path, queries):
    path = tmp_path / "locked.duckdb"
    holder = subprocess.Popen(
        [sys.executable, "-c", "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); input()",
         str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        holder.stdout.readline()
        done = godb("run", path, queries)
        assert done.returncode == 2
        assert "lock" in done.stderr.lower()
        assert "Traceback" not in done.stderr
    finally:
        holder.communicate("\n")


# -- explain, info, help ---------------------------------------------------------------------------------------


def test_explain_says_what_and_why(shop, capsys):
    sql = QUERIES.split(";")[1].partition("\n-- name: one customer\n")[2]
    assert fast("explain", shop, sql) == 0
    text = capsys.readouterr().out
    assert text.startswith(("default: ", "steer: "))
    assert "deciding took" in text
    assert fast("explain", shop, sql, "--json") == 0
    raw = json.loads(capsys.readouterr().out)
    assert raw["action"] in ("default", "steer")
    expected = raw["expected"]
    assert 0.0 < expected["low_ms"] <= expected["ms"] <= expected["high_ms"] < 60_000.0
    assert [name.partition("/")[0] for name in expected["models"]] == [
        "duckdb-p10",
        "duckdb-p50",
        "duckdb-p90",
    ]
    assert "the engine's own plan is expected to take" in text
    assert fast("explain", shop, "SELECT 42") == 0
    assert "expected" not in capsys.readouterr().out
    assert fast("explain", shop, sql, "--format", "sql") == 0
    steered = capsys.readouterr().out
    with duckdb.connect(str(shop), read_only=True) as connection:
        assert connection.execute(steered).fetchall() == connection.execute(sql).fetchall()


def test_info_for_people_and_as_json(capsys, own_store):
    assert fast("info") == 0
    text = capsys.readouterr().out
    assert f"godb_fast         {godb_fast.__version__}" in text
    assert str(own_store) in text
    assert fast("--store", "off", "info", "--json") == 0
    raw = json.loads(capsys.readouterr().out)
    assert raw["backend"]["selected"] in ("cython", "numba", "python")
    assert raw["store"]["path"] is None
    assert raw["packages"]["duckdb"] == duckdb.__version__
    own_store.write_text("no database at all, but text" * 50)
    assert fast("info") == 0
    assert "name a store's file" in capsys.readouterr().out


def test_info_tells_that_a_checkout_stands_before_the_installed_package(tmp_path, monkeypatch, capsys):
    assert fast("info") == 0
    assert "in place of" not in capsys.readouterr().out
    (tmp_path / "godb_fast").mkdir()
    (tmp_path / "godb_fast" / "__init__.py").touch()
    (tmp_path / "godb_fast-9.dist-info").mkdir()
    (tmp_path / "godb_fast-9.dist-info" / "METADATA").write_text("Name: godb_fast\nVersion: 9\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert fast("info") == 0
    assert (
        f"installed in {tmp_path.resolve() / 'godb_fast'}: start Python in another folder"
        in capsys.readouterr().out
    )


def test_info_says_why_a_named_backend_cannot_be_used():
    done = godb("info", env=os.environ | {"GODB_FAST_BACKEND": "fortran"})
    assert done.returncode == 0
    assert "unknown backend 'fortran'" in done.stdout


def test_a_lost_root_is_pointed_out(shop, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fast("explain", f"duckdb://{shop}", "SELECT 1") == 2
    assert f"duckdb:///{shop}" in capsys.readouterr().err
    assert fast("explain", f"duckdb:///{shop}", "SELECT 1") == 0
    capsys.readouterr()
    for command in ("run", "explain"):
        assert fast(command, "--help") == 0
        text = " ".join(capsys.readouterr().out.split())
        assert "duckdb:///relative.db has three slashes, duckdb:////absolute/path.db four" in text


@pytest.mark.parametrize("command", ["demo", "run", "explain", "info"])
def test_every_command_has_examples(command, capsys):
    assert fast(command, "--help") == 0
    out = capsys.readouterr().out
    examples = out.partition("examples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) >= 2
    for example in examples:
        # Only what the shell would give the command.
        given = shlex.split(example.rpartition("| ")[2].partition(" <")[0])
        assert given[:2] == ["godb-fast", command]
        assert parser().parse_args(given[1:]).command
    assert "--store" in out
    for code in ("0", "1", "2", "130"):
        assert f"\n  {code} " in out.partition("exit codes:")[2]


def test_version(capsys):
    assert fast("--version") == 0
    assert godb_fast.__version__ in capsys.readouterr().out


def test_a_store_that_cannot_be_used_costs_a_note(shop, queries, tmp_path):
    (tmp_path / "file").write_text("")
    done = godb("run", shop, queries, "--repetitions", 1, "--store", tmp_path / "file" / "store.sqlite")
    assert done.returncode == 0
    assert "3 of 3 the same" in done.stdout
    assert "records were not stored" in done.stderr
    assert "GODB_FAST_STORE" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_reader_that_goes_away_costs_no_traceback(shop, queries):
    process = subprocess.Popen(
        [sys.executable, "-m", "godb_fast", "run", str(shop), str(queries), "--repetitions", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pseudo-terminals")
def test_a_terminal_gets_colour_and_a_progress_bar(shop, queries):
    leader, follower = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "godb_fast", "run", str(shop), str(queries), "--repetitions", "200"],
        stdin=follower, stdout=follower, stderr=follower, env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(follower)
    seen = b""
    # Reading fails once the other end is closed.
    with contextlib.suppress(OSError):
        while chunk := os.read(leader, 65536):
            seen += chunk
    os.close(leader)
    assert process.wait() == 0
    text = seen.decode()
    assert "comparing: by city" in text
    assert "\x1b[" in text
    assert "3 of 3 the same" in text


# -- demo ------------------------------------------------------------------------------------------------------


def test_demo_builds_compares_and_keeps(tmp_path):
    path = tmp_path / "demo.duckdb"
    arguments = (
        "demo",
        "--full",
        "--scale",
        0.01,
        "--queries",
        1,
        "--repetitions",
        1,
        "--keep",
        path,
        "--only",
        "*_star",
    )
    done = godb(*arguments, "--json", tmp_path / "demo.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "built" in done.stdout
    assert "question_star" in done.stdout
    raw = json.loads((tmp_path / "demo.json").read_text())
    assert raw["summary"]["different"] == 0
    assert raw["scale"] == 0.01
    again = godb(*arguments)
    assert "found" in again.stdout


@pytest.mark.slow
def test_demo_on_all_templates_keeps_every_answer(tmp_path):
    arguments = ("--scale", 0.1, "--queries", 2, "--repetitions", 1, "--json", tmp_path / "demo.json")
    done = godb("demo", "--full", *arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    raw = json.loads((tmp_path / "demo.json").read_text())
    assert raw["summary"]["different"] == raw["summary"]["failed"] == raw["summary"]["disobeyed"] == 0
    assert raw["summary"]["steered"] > 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    "arguments", [["--full", "--queries", "50", "--scale", "0.02"], ["--budget", "600s", "--scale", "0.5"]]
)
def test_ctrl_c_reports_what_was_measured_and_leaves_nothing(arguments, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "godb_fast", "demo", *arguments, "--json",
         str(tmp_path / "demo.json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    # The first line comes with the data built; then modules are loaded, and it explores, or measures.
    assert "built" in process.stdout.readline()
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in out + err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("godb_fast-demo-*"))
    SqliteStore(os.environ["GODB_FAST_STORE"]).check()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("module", ["godb_fast.errors", "numpy.exceptions", "sqlglot.errors"])
def test_an_interruption_while_modules_are_imported_ends_quietly(module, tmp_path):
    """Python says on stderr what it has imported; the signal comes right after one of the first of ours."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "godb_fast", "explain", "duckdb://", "SELECT 1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stderr is not None
    imported = []
    for line in process.stderr:
        imported.append(line)
        if line.split("|")[-1].strip() == module:
            process.send_signal(signal.SIGINT)
            break
    else:
        pytest.fail(f"{module} was not imported: {''.join(imported[-5:])}")
    out, err = process.communicate(timeout=30)
    said = [line for line in err.splitlines() if not line.startswith("import time:")]
    assert process.returncode == 130, err
    assert (out, said) == ("", ["interrupted"])
