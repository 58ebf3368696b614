"""``godb-fast train`` on real databases and stores: what it says, and its exit codes."""

from __future__ import annotations

import json

import duckdb
import pytest

import godb_fast
from benchmarks.executions import fill
from godb_fast.cli import main
from godb_fast.store import SqliteStore


def test_of_a_database_only_what_ran_there(tmp_path, capsys):
    store = tmp_path / "store.sqlite"
    files = [tmp_path / "one.duckdb", tmp_path / "two.duckdb"]
    for file in files:
        with duckdb.connect(str(file)) as connection:
            connection.execute("CREATE TABLE a AS SELECT i AS id FROM range(100) t(i)")
        with godb_fast.connect(str(file), store=store) as session:
            session.execute("SELECT count(*) FROM a").fetchall()
            session.optimizer.store.close()
    assert main(["train", str(files[0]), "--store", str(store), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["dropped"] == {"of another database": 1, "without a plan": 1}
    assert "0 of at least 100 executions" in said["skipped"]["duckdb-latency"]


def test_models_and_their_figures(tmp_path, capsys, small_forests):
    store = SqliteStore(tmp_path / "store.sqlite")
    fill(store, 210, templates=12)
    store.close()
    code = main(["train", str(store.path), "--models", str(tmp_path / "models")])
    out = capsys.readouterr().out
    assert code == 0, out
    assert "duckdb-latency/1: 210 executions of 12 templates; q_error_p50" in out
    assert (tmp_path / "models" / "duckdb-latency" / "1" / "card.json").is_file()


def test_help_has_examples(capsys):
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out
    assert "godb-fast train shop-store.sqlite --models models" in said
    assert "Exit code 1: nothing was exported" in said


@pytest.mark.parametrize("target", ["postgresql://nobody@127.0.0.1:1/none", "absent.duckdb"])
def test_what_cannot_be_opened_is_bad_input(target, tmp_path, capsys):
    assert main(["train", target, "--store", str(tmp_path / "s.sqlite")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
