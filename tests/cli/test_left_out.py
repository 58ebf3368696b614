"""Statements that cannot be used: all commands that take files of statements agree on what that means."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from godb_fast.cli import main
from godb_fast.store import SqliteStore

COMMANDS = {
    "run": ["--repetitions", "1"],
    "explore": ["--budget", "0.2s"],
    "profile": ["--repetitions", "1"],
    "costs": ["--repetitions", "1"],
    "export": [],
}
GOOD = "-- name: good\nSELECT count(*) FROM t a JOIN t b ON a.x = b.x WHERE a.x < 500;\n"
BROKEN = "-- name: no-sql\ngarbage;\n-- name: no-table\nSELECT x FROM nope;\n"
WRITES = "-- name: writer\nDELETE FROM t;\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t AS SELECT i AS x FROM range(1000) r(i)")
    # Export wants one that is there.
    store = SqliteStore(tmp_path / "store.sqlite")
    store.explorations.lost("a class", 1.0, 1.0, 0.1)
    store.close()
    return path


def told(command: str, shop: Path, statements: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code, and the lines that were printed, on whichever stream."""
    file = shop.with_name("q.sql")
    file.write_text(statements)
    store = ["--store", str(shop.with_name("store.sqlite"))]
    code = main([command, str(shop), str(file), *COMMANDS[command], *store])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.mark.parametrize("command", COMMANDS)
def test_statements_that_do_not_run_are_a_failure_and_named(command, shop, capsys):
    code, said = told(command, shop, GOOD + BROKEN + WRITES, capsys)
    assert code == 1, said
    for name in ("no-sql", "no-table", "writer"):
        assert name in said, said
    assert "Parser Error" in said
    assert "nope" in said
    assert "DELETE" in said or "only read" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_a_statement_that_writes_is_left_alone_and_no_failure(command, shop, capsys):
    code, said = told(command, shop, GOOD + WRITES, capsys)
    assert code == 0, said
    assert "writer" in said
    with duckdb.connect(str(shop)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1000,)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_statement_that_would_write_what_is_not_there_is_a_failure(command, shop, capsys):
    code, said = told(command, shop, GOOD + "-- name: lost\nDELETE FROM nope;\n", capsys)
    assert code == 1, said
    assert "lost" in said


def test_a_profile_counts_what_only_reads(shop, tmp_path, capsys):
    (tmp_path / "q.sql").write_text(GOOD + WRITES)
    assert main(["profile", str(shop), str(tmp_path / "q.sql"), "--repetitions", "1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["statements"] == 1
    assert list(facts["left_out"]) == ["writer"]
    assert facts["left_out"]["writer"].startswith("not certain to only read: ")


def test_an_error_of_the_engine_is_told_in_one_line(shop, capsys):
    code, said = told(
        "costs", shop, GOOD + "-- name: wrong\nSELECT CAST(x || 'a' AS INTEGER)\nFROM t;\n", capsys
    )
    assert code == 1
    (line,) = [line for line in said.splitlines() if "wrong left out" in line]
    assert "Conversion Error" in line
    assert "LINE 1" in line


@pytest.mark.parametrize("command", ["models", "features"])
@pytest.mark.parametrize("named", [["{path}"], ["--store", "{path}"]])
def test_a_store_that_was_named_and_is_not_there(command, named, tmp_path, capsys):
    path = tmp_path / "nofile.sqlite"
    assert main([command, *(each.format(path=path) for each in named)]) == 2
    assert f"there is no store {path}; name one, or run queries first" in capsys.readouterr().err
    assert not path.exists()


def test_without_a_store_of_ones_own_what_ships_is_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GODB_FAST_STORE", str(tmp_path / "none.sqlite"))
    assert main(["models"]) == 0
    assert "(shipped): serves" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_told_by_train(tmp_path, capsys):
    store = SqliteStore(tmp_path / "store.sqlite")
    store.explorations.lost("a class", 1.0, 1.0, 0.1)
    store.close()
    assert main(["train", str(store.path), "--models", str(store.path / "deeper")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: cannot write models to")
