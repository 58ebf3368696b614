from __future__ import annotations

import re
import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store.records import TEXT, decision, observation, plan

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.errors import InvalidInput, StoreError
from godb_fast.store import SqliteStore, Store, default_path, open_store
from godb_fast.store.plans import plan_from_bytes, plan_to_bytes, redact
from godb_fast.store.schema import APPLICATION_ID, MIGRATIONS, VERSION


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path / "made" / "store.sqlite")
    yield store
    store.close()


def test_what_is_recorded_comes_back(store):
    chosen = decision()
    seen = observation(
        chosen, 2.5, steered=True, steering_key="k", obeyed=True, plan=plan(), plan_source="profile",
        memory_bytes=2048.0, cluster="c1", fell_back=None, wasted_ms=1.25,
    )  # fmt: skip
    store.record(chosen, seen, TEXT)
    assert store.flush()
    (kept,) = store.decisions()
    assert (kept.id, kept.fingerprint, kept.action, kept.text) == (chosen.id, -7, "steer", TEXT)
    assert kept.steering == chosen.steering.to_json()
    assert kept.details["candidates"][0]["tree"] == chosen.to_dict()["candidates"][0]["tree"]
    assert kept.details["timings_us"] == {"search": 3.5}
    (back,) = store.observations()
    for name in seen.__dataclass_fields__:
        if name != "plan":
            assert getattr(back, name) == getattr(seen, name), name
    assert back.plan.draw() == seen.plan.draw()
    assert store.counts() == {"decisions": 1, "observations": 1, "templates": 1}
    assert store.health().written == 1


def test_literals_are_kept_only_if_allowed(tmp_path):
    message = "Conversion Error: Could not convert string 'Ada Secret'\nLINE 1: name = 'Ada Secret'"
    for keep in (False, True):
        store = SqliteStore(tmp_path / f"{keep}.sqlite", keep_literals=keep)
        chosen = decision(reason=f"passed through, the engine says: {message}")
        store.record(chosen, observation(chosen, plan=plan(), fell_back=message), TEXT)
        assert store.flush()
        store.close()
        seen = store.observations()[0]
        everything = repr((store.decisions(), seen, list(seen.plan.root.walk())))
        assert ("Secret" in everything) is keep
        # A word of its own: ids and times are random digits.
        assert (re.search(r"(?<![\w.-])1815(?![\w.-])", everything) is not None) is keep


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name='O''Brien' AND x", "name=? AND x"),
        ("t1.c2 >= -12.5e3 OR #1 = 7", "t1.c2 >= ? OR #1 = ?"),
        ("s ~~ 'open", "s ~~ ?"),
        ("a = $$quo'te$$ AND b = $x$ 'y' $x$", "a = ? AND b = ?"),
        ("d > '1995-01-01'::DATE", "d > ?::DATE"),
        ("x IN (.5, 1_000, 3)", "x IN (?, ?, ?)"),
    ],
)
def test_redaction(text, expected):
    assert redact(text) == expected


@given(st.text(alphabet="ab'$1 .e-", max_size=20), st.text(alphabet="xyz'", min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_redaction_never_lets_a_quoted_string_through(around, secret):
    literal = "'SECRET" + secret.replace("'", "''") + "'"
    balanced = around.replace("'", "").replace("$", "")
    assert "SECRET" not in redact(f"{balanced} {literal} {balanced}")


nodes = st.recursive(
    st.builds(PhysicalNode, st.sampled_from(["SCAN", "FILTER"]), rows=st.none() | st.floats(0, 1e9)),
    lambda inner: st.builds(
        lambda children, extra: PhysicalNode("JOIN", "join", children=tuple(children), extra=extra),
        st.lists(inner, min_size=1, max_size=3),
        st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5), max_size=2),
    ),
    max_leaves=12,
)


@given(nodes)
@settings(max_examples=100, deadline=None)
def test_plans_survive_the_round_trip(root):
    before = PhysicalPlan(root, "duckdb", "explain")
    after = plan_from_bytes(plan_to_bytes(before, keep_literals=True))
    assert after.draw() == before.draw()
    assert [node.extra for node in after.root.walk()] == [node.extra for node in root.walk()]


def test_a_plan_a_thousand_deep_is_stored(store):
    chosen = decision()
    store.record(chosen, observation(chosen, plan=plan(depth=3000)))
    assert store.flush()
    assert sum(1 for _ in store.observations()[0].plan.root.walk()) == 6001


def test_a_decision_is_stored_once_for_all_its_executions(store):
    chosen = decision()
    for latency in range(1, 21):
        store.record(chosen, observation(chosen, float(latency)))
    assert store.flush()
    assert store.counts()["decisions"] == 1
    assert store.counts()["observations"] == 20
    newest = store.observations(limit=3)
    assert [entry.latency_ms for entry in newest] == [20.0, 19.0, 18.0]


def test_latencies_count_complete_runs_by_kind_of_plan(store):
    one, other = decision(1), decision(2)
    for latency in (1.0, 2.0, 3.0, 100.0):
        store.record(one, observation(one, latency))
    store.record(one, observation(one, 0.5, steered=True))
    store.record(one, observation(one, 9e9, outcome="timeout"))
    store.record(other, observation(other, 7.0))
    assert store.flush()
    first, second, third = store.latencies()
    assert (first.fingerprint, first.steered, first.runs, first.p50_ms) == (1, False, 4, 2.0)
    assert (first.total_ms, first.worst_ms) == (106.0, 100.0)
    assert (second.fingerprint, third.steered) == (2, True)
    assert [entry.fingerprint for entry in store.latencies(2)] == [2]


def test_questions_can_be_narrowed(store):
    old = datetime(2020, 1, 1, tzinfo=UTC)
    one, other = decision(1), decision(2)
    store.record(one, observation(one, at=old))
    store.record(other, observation(other))
    assert store.flush()
    assert [entry.fingerprint for entry in store.observations(fingerprint=1)] == [1]
    assert [entry.fingerprint for entry in store.observations(since=old + timedelta(days=1))] == [2]
    assert [entry.fingerprint for entry in store.decisions(fingerprint=2)] == [2]
    assert store.prune(timedelta(days=365)) == 1
    assert store.counts()["observations"] == 1


def test_asking_an_absent_store_makes_no_file(tmp_path):
    store = SqliteStore(tmp_path / "none.sqlite")
    assert store.decisions() == []
    assert store.counts() == {"decisions": 0, "observations": 0, "templates": 0}
    assert store.size_bytes() == 0
    assert not store.path.exists()
    assert store.flush()
    store.check()
    assert store.size_bytes() > 0


def test_many_threads_record_at_once(store):
    chosen = [decision(number) for number in range(8)]

    def work(own):
        for _ in range(50):
            store.record(own, observation(own))

    threads = [threading.Thread(target=work, args=(own,)) for own in chosen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.flush(30)
    assert store.counts()["observations"] == 400
    assert store.counts()["decisions"] == 8


def tables(connection):
    return sorted(row[0] for row in connection.execute("SELECT name FROM sqlite_master"))


def test_a_version_1_store_is_migrated(tmp_path):
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as old:
        for statement in MIGRATIONS[0]:
            old.execute(statement)
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        for number in range(3):
            old.execute(
                "INSERT INTO decisions VALUES (?, '2024-01-0' || ? || 'T00:00:00.000000+00:00', 5, 'duckdb', "
                "'e', 'default', 'r', '{}', 'select ?', NULL, ?)",
                (f"d{number}", number + 1, b"x\x9c\xabV*I-.Q\xb2\x02\x00\x0c\xd0\x02\xb3"),
            )
        old.execute(
            "INSERT INTO observations VALUES ('x1', 'd0', '2024-01-01T00:00:00.000000+00:00', 5, 'ok', 4.5, "
            "1, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, 'duckdb', '1.4', 'db', 'm')"
        )
    old.close()
    store = SqliteStore(path)
    # Reading alone migrates.
    (seen,) = store.observations()
    assert (seen.execution_id, seen.latency_ms, seen.cluster) == ("x1", 4.5, None)
    assert store.counts() == {"decisions": 3, "observations": 1, "templates": 1}
    chosen = decision(5)
    store.record(chosen, observation(chosen, cluster="c"), "select ?")
    assert store.flush()
    assert store.counts() == {"decisions": 4, "observations": 2, "templates": 1}
    assert store.observations()[0].cluster == "c"
    store.close()
    with sqlite3.connect(path) as now:
        assert now.execute("PRAGMA user_version").fetchone()[0] == VERSION
        assert now.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        schema = sorted(
            row[0] for row in now.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'")
        )
    now.close()
    fresh = SqliteStore(tmp_path / "new.sqlite")
    fresh.check()
    with sqlite3.connect(fresh.path) as new:
        assert schema == tables(new)
    new.close()


def test_open_store_takes_what_users_give(tmp_path, monkeypatch):
    assert open_store(None) is None
    assert open_store("off") is None
    store = open_store(tmp_path / "s.sqlite")
    assert isinstance(store, Store)
    assert open_store(store) is store
    monkeypatch.setenv("GODB_FAST_STORE", str(tmp_path / "named.sqlite"))
    assert open_store("default").path == tmp_path / "named.sqlite"
    monkeypatch.setenv("GODB_FAST_STORE", "off")
    assert open_store("default") is None
    monkeypatch.delenv("GODB_FAST_STORE")
    assert default_path().name == "store.sqlite"
    with pytest.raises(InvalidInput, match="store is 7"):
        open_store(7)
    with pytest.raises(InvalidInput, match="queue_limit is 0"):
        SqliteStore(tmp_path / "x", queue_limit=0)


def test_records_after_close_are_dropped_and_counted(store):
    chosen = decision()
    store.record(chosen, observation(chosen))
    store.close()
    store.record(chosen, observation(chosen))
    health = store.health()
    assert (health.state, health.written, health.dropped) == ("closed", 1, 1)


def test_a_record_that_cannot_be_stored_costs_only_itself(store, caplog):
    chosen = decision()
    store.record(chosen, observation(chosen, rows="many"))
    store.record(chosen, observation(chosen))
    assert not store.flush()
    assert store.counts() == {"decisions": 1, "observations": 1, "templates": 0}
    assert "cannot be stored" in caplog.text


def test_a_damaged_page_is_reported_by_check(store):
    chosen = decision()
    for _ in range(200):
        store.record(chosen, observation(chosen, plan=plan(50)))
    assert store.flush()
    store.close()
    content = bytearray(store.path.read_bytes())
    content[8192:16384] = b"\xff" * 8192
    store.path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        store.check()
