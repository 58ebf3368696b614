"""Logs as a real server writes them, and as disks and people leave them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.errors import InvalidInput
from godb_fast.workload.csvlog import split
from godb_fast.workload.files import MAX_LINE
from godb_fast.workload.logs import read_logs
from godb_fast.workload.postgres_messages import Sessions, parameters, plan

VALUES = ["plain", "it's", "two\nlines\tand a tab", "back\\slash", "ünïcode €", "", "$2 = 'x', $3", None]


def found(workload, part):
    matching = [usage for usage in workload.queries if part in usage.text]
    assert len(matching) == 1, [usage.text for usage in matching]
    return matching[0]


def figures(workload):
    return [
        (usage.text, usage.calls, usage.total_ms, usage.rows, usage.example, usage.provenance)
        for usage in workload.queries
    ]


@pytest.fixture(scope="module")
def logged(logging_server, tmp_path_factory):
    """A folder with one server's log in all three formats, of a session that did all sorts of things."""
    import psycopg

    with (
        logging_server.server.database("logged") as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE items (id int, note text)")
        for value in VALUES:
            connection.execute("INSERT INTO items VALUES (%s, %s)", (1, value))
        for value in VALUES:
            connection.execute(
                "SELECT id, note FROM items WHERE note = %s AND id < %s", (value, 5)
            ).fetchall()
        connection.execute(
            "SELECT count(*)\n  FROM items -- 'a comment'\n WHERE note <> 'two\nlines'"
        ).fetchall()
        connection.execute("SET auto_explain.log_format = 'json'")
        connection.execute("SELECT max(id) AS planned_as_json FROM items WHERE id > 0").fetchall()
        # Its plan is logged, the statement itself is not.
        connection.execute("SET log_min_duration_statement = -1")
        connection.execute("SELECT min(id) AS only_planned FROM items WHERE id > 0").fetchall()
        connection.execute("RESET log_min_duration_statement")
        # Logged before it runs; the duration comes in a line of its own.
        connection.execute("SET log_statement = 'all'")
        connection.execute("SET auto_explain.log_min_duration = -1")
        connection.execute("SELECT id AS said_first FROM items").fetchall()
        connection.execute("SELECT id AS said_with FROM items WHERE id = %s", (1,)).fetchall()
        connection.execute("RESET ALL")
        with connection.transaction(), connection.cursor("by_parts") as cursor:
            cursor.execute("SELECT note AS fetched FROM items")
            cursor.fetchmany(2)
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.execute("SELECT nowhere FROM items")
        with logging_server.server.database("elsewhere") as other, psycopg.connect(other) as second:
            second.execute("SELECT 1 AS in_another_database")
        folder = tmp_path_factory.mktemp("logged") / "logs"
        shutil.copytree(logging_server.settled(), folder)
        yield folder, url.rsplit("/", 1)[1], connection


@pytest.fixture(params=["csv", "json", "log"])
def one(request, logged, tmp_path):
    """The log in each format in turn."""
    return shutil.copy(logged[0] / f"server.{request.param}", tmp_path / "postgresql-Mon")


def test_every_format_tells_the_same(logged):
    folder = logged[0]
    told = [figures(read_logs((str(folder / f"server.{kind}"),))) for kind in ("csv", "json", "log")]
    assert told[0]
    assert told[0] == told[1] == told[2]
    assert figures(read_logs((str(folder),))) == told[0]


def test_executions_are_counted_once_with_their_rows(one):
    workload = read_logs((str(one),))
    assert found(workload, "from items where note = ?p and id").calls == len(VALUES)
    counted = found(workload, "select count")
    assert (counted.calls, counted.rows) == (1, 1)
    for name in ("planned_as_json", "only_planned", "said_first", "said_with"):
        usage = found(workload, name)
        assert (usage.calls, usage.total_ms > 0) == (1, True), name
    assert found(workload, "only_planned").rows == 1
    assert not [usage for usage in workload.queries if "nowhere" in usage.text]
    assert workload.calls == sum(usage.calls for usage in workload.queries)


def test_examples_are_the_statements_that_ran(one, logged):
    workload = read_logs((str(one),))
    connection = logged[2]
    for part in ("from items where note = ?p and id", "select count", "said_with"):
        usage = found(workload, part)
        assert usage.provenance == "logged"
        connection.execute(usage.example).fetchall()
    assert found(workload, "select count").example.endswith("<> 'two\nlines'")
    for part in ("insert into items", "create table items", "set log_statement"):
        assert found(workload, part).example is None


def test_only_one_database_is_read_where_the_format_names_it(logged):
    folder, database, _ = logged
    for kind in ("csv", "json"):
        path = str(folder / f"server.{kind}")
        assert found(read_logs((path,)), "in_another_database")
        narrowed = read_logs((path,), database=database)
        assert found(narrowed, "said_first")
        assert not [usage for usage in narrowed.queries if "in_another_database" in usage.text]


def test_every_logged_value_comes_back_from_a_real_log(logged):
    folder, _, connection = logged
    lines = (folder / "server.json").read_text().splitlines()
    seen = [
        parameters(record["detail"])
        for record in map(json.loads, lines)
        if "execute" in record["message"] and "INSERT INTO items" in record["message"]
    ]
    assert seen == [("1", value) for value in VALUES]
    from godb_fast.workload.shapes import bound, quoted

    for value in VALUES:
        sql = bound("SELECT $1::text, -$2, '$1'", [quoted(value), "-5"], "postgres")
        for conforming in ("on", "off"):
            connection.execute(f"SET standard_conforming_strings = {conforming}")
            assert connection.execute(sql).fetchone() == (value, 5, "$1")
    connection.execute("RESET standard_conforming_strings")


# -- what happens to files ---------------------------------------------------------------------------------


def test_rotated_and_compressed_files_are_read_together(logged, tmp_path):
    folder = logged[0]
    content = (folder / "server.csv").read_bytes()
    whole = read_logs((str(folder / "server.csv"),))
    (tmp_path / "postgresql.csv").write_bytes(content)
    (tmp_path / "postgresql.csv.1").write_bytes(content)
    with gzip.open(tmp_path / "postgresql.csv.2.gz", "wb") as file:
        file.write(content)
    (tmp_path / ".hidden").write_bytes(content)
    workload = read_logs((str(tmp_path),))
    assert workload.calls == 3 * whole.calls
    assert workload.total_ms == pytest.approx(3 * whole.total_ms)


def test_a_gzip_file_that_is_cut_off_gives_what_it_holds(logged, tmp_path):
    packed = gzip.compress((logged[0] / "server.csv").read_bytes() * 20)
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    workload = read_logs((str(path),))
    assert workload.calls > 0
    assert any("cut off" in note for note in workload.notes)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.71, 0.93])
def test_torn_in_the_middle_only_what_is_torn_is_lost(one, share, tmp_path):
    content = one.read_bytes()
    whole = read_logs((str(one),))
    cut = int(len(content) * share)
    path = tmp_path / "torn"
    # A crash: the first part ends anywhere, and the server goes on writing behind it.
    path.write_bytes(content[:cut] + b"\n" + content)
    workload = read_logs((str(path),))
    for usage in whole.queries:
        again = [other for other in workload.queries if other.text == usage.text]
        assert again, usage.text
        assert again[0].calls >= usage.calls - 1


def test_other_encodings_are_counted_but_never_taken_as_examples(logged, tmp_path):
    content = (logged[0] / "server.csv").read_bytes().replace("ünïcode".encode(), b"\xfcn\xefcode")
    content += content.splitlines(keepends=True)[-1].replace(b"SELECT", b"SELECT '\xe4' AS latin,")
    path = tmp_path / "latin.csv"
    path.write_bytes(content)
    workload = read_logs((str(path),))
    latin = found(workload, "as latin")
    assert (latin.calls, latin.example) == (1, None)
    assert any("UTF-8" in note for note in workload.notes)


def test_what_is_no_log_is_said_to_be_none(tmp_path):
    with pytest.raises(InvalidInput, match="no file or folder"):
        read_logs((str(tmp_path / "absent"),))
    with pytest.raises(InvalidInput, match="no file in"):
        read_logs((str(tmp_path),))
    (tmp_path / "poem.txt").write_text("Tyger tyger, burning bright\n")
    with pytest.raises(InvalidInput, match="in no format that is known"):
        read_logs((str(tmp_path),))
    (tmp_path / "poem.txt").write_text("")
    with pytest.raises(InvalidInput, match="empty"):
        read_logs((str(tmp_path),))


def record(message: str, detail: str = "", session: str = "6b0588ad.4b50") -> str:
    """A record as the server writes it: texts in quotes, everything else without."""

    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if text else ""

    return (
        f'2026-11-24 12:53:01.899 UTC,"me","shop",19280,"[local]",{session},1,"SELECT",2026-11-24 12:53:01 UTC,'
        f'3/0,0,LOG,00000,{quoted(message)},{quoted(detail)},,,,,,,,"","client backend",,42\n'
    )


def test_memory_stays_bounded_however_long_the_log(tmp_path):
    """A file of 60 MB once it is unpacked, with lines far too long."""
    path = tmp_path / "long.csv.gz"
    block = "".join(
        record(f"duration: {n}.5 ms  statement: SELECT c{n} FROM t WHERE a = {n}") for n in range(100)
    )
    with gzip.open(path, "wt", compresslevel=1) as file:
        for _ in range(100):
            file.write(block)
        for _ in range(4):
            file.write('2026-11-24 12:53:01.899 UTC,"' + "x" * (3 * MAX_LINE) + "\n")
        file.write(record("duration: 90000 ms  statement: SELECT at_the_end FROM t"))
    tracemalloc.start()
    workload = read_logs((str(path),))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    assert workload.calls == 10_001
    assert workload.total_ms == pytest.approx(100 * sum(n + 0.5 for n in range(100)) + 90_000)
    assert workload.queries[0].text == "select at_the_end from t"


# -- hostile and odd content -------------------------------------------------------------------------------


def read_text(tmp_path, text):
    path = tmp_path / "postgresql.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return read_logs((str(path),))


def test_a_statement_that_looks_like_a_log_is_one_statement(tmp_path):
    hostile = (
        "SELECT 'x\n2026-11-24 12:53:01.899 UTC,\"me\",\"shop\",1,,,,,,,,LOG,,\"duration: 9999999 ms  statement: "
        "SELECT forged\",,' AS quoted_log"
    )  # fmt: skip
    workload = read_text(tmp_path, record(f"duration: 2.5 ms  statement: {hostile}"))
    assert [usage.text for usage in workload.queries] == ["select ?s as quoted_log"]
    assert workload.total_ms == 2.5
    assert workload.queries[0].example == hostile


@pytest.mark.parametrize(
    "message",
    [
        "duration: 1e999 ms  statement: SELECT 1",
        "duration: nan ms  statement: SELECT 1",
        "duration:  ms  statement: SELECT 1",
        "duration: 5 ms  statement: ",
        "duration: 5 ms  statement: SELECT 'never ends",
        "duration: 5 ms  execute \x1b[31m: SELECT \x00",
        "duration: 5 ms  plan:\nQuery Text: ",
        "duration: 5 ms  plan:\n{\"Query Text\": 5}",
        "duration: 5 ms  plan:\n{\"Query Text\": \"SELECT 1\", \"Plan\": {\"Actual Rows\": 1e999}}",
        "duration: 5 ms  plan:\n" + "[" * 100_000,
        "duration: 5 ms  plan:\n{\"a\":" * 2_000,
        "duration: 5 ms  statement: " + "(" * 100_000,
    ],
)  # fmt: skip
def test_odd_messages_harm_nothing(tmp_path, message):
    good = record("duration: 1 ms  statement: SELECT good FROM t")
    workload = read_text(tmp_path, good + record(message) + good)
    assert found(workload, "good").calls == 2


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=8))
def test_fields_are_those_that_python_writes(fields):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(fields)
    raw = out.getvalue()[:-1].encode()
    expected = [field.encode().decode("latin-1") for field in fields]
    assert split(raw) == expected
    long = [*expected, "x" * 200_000]
    assert split(raw + b',"' + b"x" * 200_000 + b'"') == long


@settings(max_examples=150, deadline=None)
@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=1))
def test_parameters_are_those_that_the_server_writes(values):
    def written(number, value):
        return f"${number} = " + ("NULL" if value is None else "'" + value.replace("'", "''") + "'")

    text = "Parameters: " + ", ".join(written(number, value) for number, value in enumerate(values, 1))
    cut_off = any(value is not None and value.endswith("...") for value in values)
    assert parameters(text) == (None if cut_off else tuple(values))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_records_around_a_tear_are_kept(data):
    """Whatever bytes are lost or added in one place, records that end before it and begin after it count."""
    texts = data.draw(st.lists(st.sampled_from(["a", 'b ""q""', "c\nd", "e'f"]), min_size=4, max_size=9))
    records = [
        record(f'duration: 1 ms  statement: SELECT n{number}, "{text}"') for number, text in enumerate(texts)
    ]
    torn = data.draw(st.integers(1, len(records) - 2))
    keep = data.draw(st.integers(0, len(records[torn]) - 1))
    content = "".join([*records[:torn], records[torn][:keep], "\n", *records[torn + 1 :]])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        path.write_text(content, encoding="utf-8", newline="")
        workload = read_logs((str(path),))
    kept = sum(usage.calls for usage in workload.queries)
    assert kept >= len(records) - 1


def test_durations_without_statements_are_named(tmp_path):
    workload = read_text(
        tmp_path,
        record("statement: SELECT a FROM t", session="one")
        + record("duration: 7 ms", session="two")
        + record("duration: 3 ms", session="one"),
    )
    assert found(workload, "select a").total_ms == 3
    assert any("1 durations" in note for note in workload.notes)


def test_sessions_that_never_end_are_forgotten():
    sessions = Sessions()
    done = [
        run for number in range(20_000) for run in sessions.read(str(number), "statement: SELECT 1", None)
    ]
    assert len(done) == 10_000
    assert len(list(sessions.finish())) == 10_000


def test_plans_with_parameters_as_newer_servers_write_them():
    text = (
        "Query Text: SELECT *\nFROM t WHERE a = $1 AND b = $2\n"
        "Query Parameters: $1 = '5', $2 = 'it''s\nQuery Parameters: $1 = ''x'''\n"
        "Seq Scan on t  (cost=0.00..1.00 rows=1 width=4) (actual time=0.1..0.2 rows=3.00 loops=1)\n"
    )
    run = plan(text, 4.0)
    assert run.sql == "SELECT *\nFROM t WHERE a = $1 AND b = $2"
    assert run.parameters == ("5", "it's\nQuery Parameters: $1 = 'x'")
    assert (run.rows, run.latency_ms) == (3, 4.0)
    run = plan(json.dumps({"Query Text": "SELECT $1", "Query Parameters": "$1 = NULL", "Plan": {}}), 4.0)
    assert (run.sql, run.parameters, run.rows) == ("SELECT $1", (None,), None)
    assert plan('Query Text: "SELECT 1"\nPlan: \n  Node Type: "Result"', 1.0) is None


def test_prefixes_of_all_kinds(tmp_path):
    """Parameters find their statement by the process, or by standing behind it."""
    for number, prefix in enumerate(
        ("2026-11-24 12:53:01 UTC [42] me@shop ", "", "<2026> user=me:[42]:", "2026 [::1] ")
    ):
        path = tmp_path / f"{number}.txt"
        path.write_text(
            f"{prefix}LOG:  duration: 2.5 ms  execute <unnamed>: SELECT a\n\tFROM t WHERE b = $1\n"
            f"{prefix}DETAIL:  parameters: $1 = 'two\n\tlines'\n"
            f'{prefix}ERROR:  column "x" does not exist\n{prefix}STATEMENT:  SELECT x\n'
        )
        usage = found(read_logs((str(path),)), "select a")
        assert (usage.total_ms, usage.example) == (2.5, "SELECT a\nFROM t WHERE b = 'two\nlines'")


def test_a_log_without_executions_says_what_to_set(tmp_path):
    (tmp_path / "a.log").write_text("2026-11-24 12:53:01 UTC [42] LOG:  database system is ready\n")
    workload = read_logs((str(tmp_path),))
    assert workload.calls == 0
    assert any("log_min_duration_statement" in note for note in workload.notes)


def test_progress_grows_to_the_whole(tmp_path):
    line = record("duration: 1 ms  statement: SELECT 1")
    (tmp_path / "a.csv").write_text(line * 50_000)
    with gzip.open(tmp_path / "b.csv.gz", "wt") as file:
        file.write(line * 50_000)
    shares: list[tuple[str, float]] = []
    read_logs((str(tmp_path),), progress=lambda what, share: shares.append((what, share)))
    assert [what for what, _ in shares] == ["a.csv"] * 2 + ["b.csv.gz"] * 2
    assert [share for _, share in shares] == sorted(share for _, share in shares)
    assert 0.0 < shares[0][1] < 0.5
    assert shares[-1][1] <= 1.0
