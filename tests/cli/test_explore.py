"""``godb-fast explore`` on real files."""

from __future__ import annotations

import json

import duckdb
import pytest

from godb_fast.cli import main


@pytest.fixture
def tags(tmp_path):
    path = tmp_path / "tags.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE a AS SELECT i % 40 AS k, i % 100 AS n FROM range(4000) r(i)")
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k, i % 50 AS m FROM range(4000) r(i)")
    return path


SQL = "-- name: pairs\nSELECT a.n, count(*) FROM a JOIN b ON a.k = b.k GROUP BY a.n ORDER BY a.n;\nDROP TABLE a;"


def test_it_explores_and_goes_on(tags, tmp_path, capsys):
    file = tmp_path / "q.sql"
    file.write_text(SQL)
    store = ["--store", str(tmp_path / "s.sqlite")]
    assert main(["explore", str(tags), str(file), "--budget", "0.3s", *store]) == 0
    text = capsys.readouterr().out
    assert "pairs" in text
    assert "left alone" in text
    assert "spent" in text
    assert main(["explore", str(tags), str(file), "--budget", "0.5s", "--resume", "--json", *store]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["queries"][0]["default_s"] > 0.0
    assert (report["overspent"] is not None) == (report["spent_s"] > 0.5)
    assert 0.0 <= report["prepared_s"] <= report["spent_s"]
    with duckdb.connect(str(tags)) as connection:
        assert connection.execute("SELECT count(*) FROM a").fetchone() == (4000,)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--budget", "much"], "budget"), (["--resume", "--store", "off"], "store"), (["--cap", "0"], "cap")],
)
def test_wrong_usage(tags, tmp_path, capsys, arguments, word):
    file = tmp_path / "q.sql"
    file.write_text(SQL)
    assert main(["explore", str(tags), str(file), *arguments]) == 2
    assert word in capsys.readouterr().err


def test_statements_that_do_not_run_are_told_by_the_exit_code(tags, tmp_path, capsys):
    queries = tmp_path / "q.sql"
    queries.write_text("SELECT count(*) FROM a; SELEC 1; SELECT n FROM a WHERE k = $1; DELETE FROM a;\n")
    arguments = ["--store", str(tmp_path / "s.sqlite"), "explore", str(tags), str(queries)]
    arguments += ["--budget", "1s"]
    assert main([*arguments, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["queries"]
    assert [entry["failed"] for entry in found] == [False, True, True, False]
    assert found[2]["reason"].endswith("it has parameters: write values in their places")
    assert "parameters" not in found[1]["reason"]
    assert main(arguments) == 1
    told = capsys.readouterr().out.splitlines()
    assert sum(" left alone: " in line for line in told) == 4, told
