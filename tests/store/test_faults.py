"""Full disks, locks, damage, kills, forks: a warning, never an exception, and only whole records."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from store.records import decision, observation, plan

from godb_fast.errors import StoreError
from godb_fast.store import SqliteStore, writer
from godb_fast.store.schema import APPLICATION_ID, VERSION

TESTS = Path(__file__).resolve().parent.parent


def program(body: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python process that can import the records of this folder."""
    head = f"import sys; sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(body), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


ENDLESS = """
    from store.records import decision, observation, plan
    from godb_fast.store import SqliteStore
    store = SqliteStore(sys.argv[1])
    number = 0
    while True:
        number += 1
        chosen = decision(number)
        store.record(chosen, observation(chosen, plan=plan(20)), f"text {number}")
        if number % 50 == 0:
            store.flush()
            print(number, flush=True)
"""


def test_a_kill_in_mid_write_leaves_whole_records_only(tmp_path):
    path = tmp_path / "store.sqlite"
    process = program(ENDLESS, str(path))
    assert process.stdout is not None
    for _ in range(4):
        reached = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    process.wait()
    store = SqliteStore(path)
    store.check()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    connection.close()
    counts = store.counts()
    assert counts["observations"] >= reached
    assert counts["observations"] == counts["decisions"] == counts["templates"]
    kept = {entry.id for entry in store.decisions(limit=10**6)}
    for entry in store.observations(limit=10**6):
        assert entry.decision_id in kept
        assert entry.plan.root.rows == 30.0


def test_two_processes_write_at_once(tmp_path):
    path = tmp_path / "store.sqlite"
    body = """
        from store.records import decision, observation
        from godb_fast.store import SqliteStore
        store = SqliteStore(sys.argv[1])
        chosen = decision()
        for _ in range(300):
            store.record(chosen, observation(chosen))
            if _ % 10 == 0: store.flush()
        assert store.flush(30)
        print(store.health().dropped)
    """
    processes = [program(body, str(path)) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out.strip(), err) == (0, "0", "")
    assert SqliteStore(path).counts() == {"decisions": 2, "observations": 600, "templates": 0}


def test_what_is_queued_at_exit_is_written(tmp_path):
    path = tmp_path / "store.sqlite"
    body = """
        from store.records import decision, observation
        from godb_fast.store import SqliteStore
        store = SqliteStore(sys.argv[1])
        chosen = decision()
        for _ in range(200):
            store.record(chosen, observation(chosen))
    """
    process = program(body, str(path))
    assert process.communicate(timeout=60)[1] == ""
    assert SqliteStore(path).counts()["observations"] == 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_writes_through_its_own_connection(tmp_path):
    path = tmp_path / "store.sqlite"
    # In a process of its own: forking a test runner with threads is asking for trouble.
    body = """
        import os
        from store.records import decision, observation
        from godb_fast.store import SqliteStore
        store = SqliteStore(sys.argv[1])
        chosen = decision()
        for _ in range(100):
            store.record(chosen, observation(chosen))
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                assert store.health().written == 0
                for _ in range(50):
                    store.record(chosen, observation(chosen))
                ok = store.flush(30)
                os._exit(0 if ok else 3)
            children.append(child)
        for _ in range(100):
            store.record(chosen, observation(chosen))
        assert store.flush(30)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        store.record(chosen, observation(chosen))
        assert store.flush(30)
    """
    process = program(body, str(path))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    store = SqliteStore(path)
    store.check()
    assert store.counts() == {"decisions": 1, "observations": 351, "templates": 0}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_fork_waits_for_a_transaction_and_its_child_inherits_no_lock(tmp_path):
    path = tmp_path / "store.sqlite"
    body = """
        import os, threading, time
        from store.records import decision, observation
        from godb_fast.store import SqliteStore, writer
        insert, holding = writer._insert, threading.Event()

        def slowly(connection, rows):
            connection.execute("BEGIN IMMEDIATE")
            holding.set()
            time.sleep(0.3)
            connection.execute("ROLLBACK")
            insert(connection, rows)

        writer._insert = slowly
        store = SqliteStore(sys.argv[1])
        chosen = decision()
        store.record(chosen, observation(chosen))
        holding.wait()
        child = os.fork()
        if child == 0:
            writer._insert = insert
            store.record(chosen, observation(chosen))
            written = store.flush(60) and store.health().written == 1 and store.counts()["observations"] >= 1
            os._exit(0 if written else 3)
        assert os.waitpid(child, 0)[1] == 0
        store.record(chosen, observation(chosen))
        assert store.flush(30)
        assert store.health().written == 2
    """
    process = program(body, str(path))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert SqliteStore(path).counts()["observations"] == 3


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_costs_a_warning_and_records_only(tmp_path):
    body = """
        import resource, signal
        from store.records import decision, observation, plan
        from godb_fast.store import SqliteStore
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = SqliteStore(sys.argv[1])
        chosen = decision()
        store.record(chosen, observation(chosen))
        assert store.flush()
        # So small that no batch fits: a smaller last one must not succeed by chance.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
        for number in range(2000):
            store.record(decision(number), observation(chosen, plan=plan(30)))
        assert not store.flush(60)
        health = store.health()
        assert health.state == "degraded" and health.dropped > 0, health
        assert "free space" in health.reason, health
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.record(chosen, observation(chosen))
        assert store.flush(60)
        assert store.health().state == "ok"
        store.check()
    """
    process = program(body, str(tmp_path / "store.sqlite"))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err.count("free space on its disk") == 1


def faulty(path: Path) -> SqliteStore:
    """A store on which one record was tried."""
    store = SqliteStore(path)
    chosen = decision()
    store.record(chosen, observation(chosen))
    assert not store.flush(30)
    return store


def test_a_path_that_cannot_be_made(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    store = faulty(tmp_path / "file" / "store.sqlite")
    assert store.health().state == "degraded"
    assert "GODB_FAST_STORE=off" in caplog.text
    with pytest.raises(StoreError, match="name a writable file"):
        store.check()
    chosen = decision()
    for _ in range(5):
        store.record(chosen, observation(chosen))
    assert store.health().dropped == 6
    assert len(caplog.records) == 1


def test_a_folder_is_no_store(tmp_path, caplog):
    assert "name a writable file" in str(faulty(tmp_path).health().reason)
    assert len(caplog.records) == 1


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database, but long enough to be looked at" * 40)
    store = faulty(path)
    assert "name a store's file" in store.health().reason
    with pytest.raises(StoreError, match="nor any SQLite file"):
        store.observations()
    assert path.read_bytes().startswith(b"not a database")


def test_a_read_only_file(tmp_path, monkeypatch):
    path = tmp_path / "store.sqlite"
    SqliteStore(path).check()
    original = sqlite3.connect
    # Root may write anything, so the mode of the file proves nothing here: SQLite is told instead.
    monkeypatch.setattr(
        writer.sqlite3, "connect", lambda p, **more: original(f"file:{p}?mode=ro", uri=True, **more)
    )
    store = faulty(path)
    assert "readonly" in store.health().reason
    assert "name a writable file" in store.health().reason


def test_another_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE decisions (mine)")
    other.close()
    before = path.read_bytes()
    assert "another program" in faulty(path).health().reason
    with pytest.raises(StoreError, match="another program"):
        SqliteStore(path).decisions()
    assert sqlite3.connect(path).execute("SELECT sql FROM sqlite_master").fetchall() == [
        ("CREATE TABLE decisions (mine)",)
    ]
    assert len(before) == len(path.read_bytes())


def test_a_store_of_a_newer_release_is_left_alone(tmp_path):
    path = tmp_path / "store.sqlite"
    SqliteStore(path).check()
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    newer.close()
    assert "upgrade godb_fast" in faulty(path).health().reason


def test_a_failed_migration_leaves_the_old_version(tmp_path):
    path = tmp_path / "store.sqlite"
    with sqlite3.connect(path) as old:
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        old.execute("CREATE TABLE templates (already_here)")
    old.close()
    assert faulty(path).health().state == "degraded"
    with sqlite3.connect(path) as after:
        assert after.execute("PRAGMA user_version").fetchone()[0] == 1
        assert after.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 1
    after.close()


def test_a_lock_that_stays_costs_a_warning_and_passes(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(writer, "BUSY_TIMEOUT_MS", 20)
    path = tmp_path / "store.sqlite"
    store = SqliteStore(path)
    chosen = decision()
    store.record(chosen, observation(chosen))
    assert store.flush()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    store.record(chosen, observation(chosen))
    assert not store.flush(30)
    assert "stays locked" in caplog.text
    holder.execute("ROLLBACK")
    holder.close()
    store.record(chosen, observation(chosen))
    assert store.flush(30)
    assert store.health().state == "ok"
    assert store.counts()["observations"] == 2
    store.close()


def test_a_full_queue_drops_and_says_so_once(tmp_path, monkeypatch, caplog):
    release = threading.Event()
    original = writer.connect

    def slow(path):
        release.wait(30)
        return original(path)

    monkeypatch.setattr(writer, "connect", slow)
    store = SqliteStore(tmp_path / "store.sqlite", queue_limit=10)
    chosen = decision()
    for _ in range(1000):
        store.record(chosen, observation(chosen, plan=plan()))
    assert store.health().dropped >= 1000 - 10 - writer.BATCH
    release.set()
    store.flush(30)
    store.close()
    health = store.health()
    assert health.written + health.dropped == 1000
    assert store.counts()["observations"] == health.written
    assert caplog.text.count("wait to be written") == 1
