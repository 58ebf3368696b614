"""Sessions that have models trained anew: only where somebody asked for it, and never in their way."""

from __future__ import annotations

import json
import time

import duckdb
import pytest

from benchmarks.executions import fill
from godb_fast.cli import main
from godb_fast.errors import InvalidInput
from godb_fast.learning import retraining
from godb_fast.learning.models import shipped
from godb_fast.session import Optimizer, Policy, connect
from godb_fast.store import SqliteStore, open_store


@pytest.fixture(autouse=True)
def nothing_ships(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "numbers.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE a AS SELECT i AS id FROM range(100) t(i)")
    return str(path)


@pytest.fixture
def store(tmp_path):
    kept = SqliteStore(tmp_path / "store.sqlite")
    fill(kept, 150, templates=12)
    yield kept
    kept.close()


def run(database, policy, store, times=30):
    with connect(database, policy=policy, store=store) as session:
        for number in range(times):
            session.execute(f"SELECT count(*) FROM a WHERE id > {number}").fetchall()
        assert session.optimizer.worker.wait(timeout_s=60.0)
        return session.optimizer


def test_nobody_trains_who_did_not_ask_for_it(database, store, monkeypatch):
    monkeypatch.delenv("GODB_FAST_RETRAIN", raising=False)
    assert run(database, Policy(retrain_every=1), store)._retrainer is None
    monkeypatch.setenv("GODB_FAST_RETRAIN", "on")
    assert run(database, Policy(retrain="off", retrain_every=1), store)._retrainer is None
    assert store.trainings.recent() == []
    monkeypatch.setenv("GODB_FAST_RETRAIN", "perhaps")
    with pytest.raises(InvalidInput, match="GODB_FAST_RETRAIN is 'perhaps'; it is one of off, on"):
        Optimizer()
    with pytest.raises(InvalidInput, match="retrain is 'always'"):
        Policy(retrain="always")
    with pytest.raises(InvalidInput, match="retrain_every"):
        Policy(retrain="on", retrain_every=0)


@pytest.mark.parametrize("how", ["policy", "environment"])
def test_a_session_trains_after_enough_executions_and_once_an_hour(database, store, monkeypatch, how, capsys):
    if how == "environment":
        monkeypatch.setenv("GODB_FAST_RETRAIN", "on")
    policy = Policy(retrain="on" if how == "policy" else None, retrain_every=100)
    optimizer = run(database, policy, store)
    retrainer = optimizer._retrainer
    assert retrainer.wait(300.0)
    assert [each.outcome for each in store.trainings.recent()] == ["exported"]
    # The next executions have it judged; nothing serves beside it, so that it is promoted.
    with optimizer.session(database) as session:
        session.execute("SELECT count(*) FROM a").fetchall()
        assert optimizer.worker.wait(timeout_s=60.0)
    assert optimizer.counters["model_promoted"] >= 1
    assert (store.models / "duckdb-latency").is_dir()
    monkeypatch.setattr(retraining, "LOOK_S", 0.0)
    run(database, Policy(retrain="on", retrain_every=1), store)
    assert len(store.trainings.recent()) == 1
    assert main(["models", str(store.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    states = {entry["model"]: entry["state"] for entry in told["models"] if entry["place"] == "own"}
    assert states["duckdb-latency/1"] == "serves"
    assert told["trainings"][0]["why"] == "100 new executions and runs of plans"
    assert main(["models", str(store.path)]) == 0
    assert "exported after" in capsys.readouterr().out
    assert main(["--store", str(store.path), "info"]) == 0
    assert "last training" in capsys.readouterr().out


def test_without_scikit_learn_or_a_store_it_is_said_once(database, store, monkeypatch, capsys):
    optimizer = run(database, Policy(retrain="on", retrain_every=1), None)
    assert optimizer.counters["not_retrained"] == 1
    monkeypatch.setattr(retraining, "NEEDED", {"sklearn_that_nobody_has": "sklearn_that_nobody_has"})
    optimizer = run(database, Policy(retrain="on", retrain_every=1), store)
    assert optimizer.counters["not_retrained"] == 1
    assert store.trainings.recent() == []
    monkeypatch.setenv("GODB_FAST_RETRAIN", "on")
    assert main(["info"]) == 0
    assert "training needs sklearn_that_nobody_has" in capsys.readouterr().out


def test_a_closed_session_leaves_the_training_to_its_process(database, store, monkeypatch):
    optimizer = run(database, Policy(retrain="on", retrain_every=100), store)
    begun = time.monotonic()
    optimizer._retrainer.close()
    assert time.monotonic() - begun < 30.0
    assert [each.outcome for each in store.trainings.recent()] in (["interrupted"], ["exported"])


def test_a_store_that_cannot_be_used_stops_no_statement(database, tmp_path):
    path = tmp_path / "broken.sqlite"
    path.write_bytes(b"no database" * 100)
    optimizer = run(database, Policy(retrain="on", retrain_every=1), open_store(path))
    assert optimizer.counters["retraining_failed"] == 1
