"""What exploration keeps in the store file."""

from __future__ import annotations

import itertools
import sqlite3

import pytest

from godb_fast.core import Steering
from godb_fast.errors import StoreError
from godb_fast.exploring import Evidence, MemoEntry, MemoKey
from godb_fast.store import Explorations, KeepsExplorations, SqliteStore, explorations


@pytest.fixture
def records(tmp_path) -> Explorations:
    store = SqliteStore(tmp_path / "s.sqlite")
    assert isinstance(store, KeepsExplorations)
    return store.explorations


def entry(fingerprint: int, bucket: int = 0, ratio: float = 0.5) -> dict:
    steering = Steering(settings=(("enable_nestloop", "off"),))
    return MemoEntry(MemoKey(fingerprint, bucket), steering, "e", Evidence(5, ratio, 0.4, 0.6, 1.0)).to_dict()


def test_asking_makes_no_file(records):
    assert records.remembered("x", "y") == []
    assert records.losses(0.0) == []
    assert not records.path.exists()


def test_entries_replace_each_other_by_key(records):
    records.remember("postgresql", "db", entry(1))
    records.remember("postgresql", "db", entry(-1, 2**70 + 1))
    records.remember("postgresql", "other", entry(1))
    records.remember("postgresql", "db", entry(1, ratio=0.3))
    kept = {
        (e["fingerprint"], e["bucket"]): e["evidence"]["ratio"]
        for e in records.remembered("postgresql", "db")
    }
    assert kept == {(f"{1:016x}", 0): 0.3, ("f" * 16, 2**70 + 1): 0.5}
    records.forget("postgresql", "db", entry(1))
    assert len(records.remembered("postgresql", "db")) == 1
    assert len(records.remembered("postgresql", "other")) == 1


def test_an_exploration_that_went_on_elsewhere_is_refused(records):
    begun = records.begin("k", {"n": 0})
    first = records.save(begun, {"n": 1})
    with pytest.raises(StoreError, match="another process"):
        records.save(begun, {"n": 2})
    assert records.saved("k").state == {"n": 1}
    records.begin("k", {"n": 10})
    with pytest.raises(StoreError, match="another process"):
        records.save(first, {"n": 2})
    assert records.saved("k").state == {"n": 10}


def test_losses_are_kept_by_time(records):
    records.lost("q", 10.0, 1.0, 0.0)
    records.lost("q", 20.0, 2.0, 0.5)
    assert records.losses(15.0) == [("q", 20.0, 2.0, 0.5)]


def test_what_was_used_longest_ago_makes_room(records, monkeypatch):
    monkeypatch.setattr(explorations, "MOST_KEPT", 3)
    now = itertools.count(1.0)
    monkeypatch.setattr(explorations.time, "time", lambda: next(now))
    for number in (1, 2, 3):
        records.remember("postgresql", "db", entry(number))
    records.used("postgresql", "db", [entry(1)])
    records.remember("postgresql", "db", entry(4))
    assert {int(kept["fingerprint"], 16) for kept in records.remembered("postgresql", "db")} == {1, 3, 4}


def test_default_plans_replace_each_other(records):
    assert records.default_plans("duckdb", "db") == []
    for digest in ("one", "two"):
        records.keep_default_plans("duckdb", "db", [("0f", "3", {"digest": digest})])
    assert records.default_plans("duckdb", "db") == [("0f", "3", {"digest": "two"})]
    assert records.default_plans("duckdb", "other") == []


def test_what_is_damaged_is_said(records):
    records.remember("x", "y", entry(1))
    records.keep_default_plans("x", "y", [("f", "0", {"seconds": 1.0})])
    with sqlite3.connect(records.path) as connection:
        connection.execute("UPDATE memo SET entry = zeroblob(20)")
        connection.execute("UPDATE default_plans SET plan = zeroblob(20)")
    for read in (records.remembered, records.default_plans):
        with pytest.raises(StoreError, match=r"damaged in store .*s\.sqlite"):
            read("x", "y")
