"""A streaming standby: it cannot be written on, its replay ends statements, and its catalogue changes unasked."""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from urllib.parse import urlsplit

import psycopg
import pytest
from postgres_server import BIN_VARIABLE, PostgresServer

from godb_fast.core import Steering
from godb_fast.demo import postgres_server as servers
from godb_fast.engines.base import Rendered
from godb_fast.engines.postgres import open_url
from godb_fast.errors import Disturbed, EngineError
from godb_fast.exploring.trials import ATTEMPTS, LiveExecutor
from godb_fast.session import Optimizer, Session
from godb_fast.store import SqliteStore

STEERING = Steering(settings=(("enable_hashjoin", "off"),))
SLOW = "SELECT count(*), pg_sleep(20) FROM item"


@pytest.fixture(scope="module")
def standby(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    if postgres_server.folder is None:
        pytest.skip("a standby is made only of a server that the tests started themselves")
    named = os.environ.get(BIN_VARIABLE)
    folder = Path(tempfile.mkdtemp(prefix="godb_standby_"))
    try:
        user = servers.unprivileged()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        programs = servers.reachable(Path(named) if named else servers.found_programs(), folder, user)
        if not (programs / "pg_basebackup").exists():
            pytest.skip(f"{programs} has no pg_basebackup")
        parts = urlsplit(postgres_server.url)
        subprocess.run(
            [programs / "pg_basebackup", "-D", folder / "data", "-R", "-X", "stream", "-c", "fast", "--no-sync",
             "-d", f"host=127.0.0.1 port={parts.port} user={parts.username} password={parts.password}"],
            check=True, capture_output=True, cwd=folder, **servers.as_user(user),
        )  # fmt: skip
        settings = {
            "listen_addresses": "127.0.0.1", "fsync": "off", "max_standby_streaming_delay": "0",
            "max_connections": "60", "shared_buffers": "32MB", "log_min_messages": "fatal",
        }  # fmt: skip
        with servers.serving(programs, folder, user, settings, str(parts.password)) as server:
            yield server
    finally:
        rmtree(folder, ignore_errors=True)


class Pair:
    """A database on both."""

    def __init__(self, primary: psycopg.Connection, url: str) -> None:
        self.primary = primary
        self.url = url

    def write(self, sql: str) -> None:
        """On the primary; returns once it is replayed."""
        self.primary.execute(sql)
        row = self.primary.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        assert row is not None
        self.await_("SELECT pg_last_wal_replay_lsn() >= %s", row[0])

    def await_(self, sql: str, *values: object) -> None:
        for _ in range(2000):
            try:
                with psycopg.connect(self.url, autocommit=True) as raw:
                    while raw.execute(sql, values).fetchone() != (True,):
                        time.sleep(0.01)
                return
            except psycopg.OperationalError:
                time.sleep(0.01)
        raise AssertionError(f"never: {sql}")


@pytest.fixture(scope="module")
def pair(postgres_server: PostgresServer, standby: PostgresServer) -> Iterator[Pair]:
    with postgres_server.database() as url, psycopg.connect(url, autocommit=True) as raw:
        made = Pair(raw, standby.database_url(urlsplit(url).path[1:]))
        made.write(
            "CREATE TABLE item AS SELECT i AS id, i % 7 AS kind FROM generate_series(1, 5000) AS g(i);"
            "CREATE TABLE part AS SELECT i AS id, 1 + i % 5000 AS item FROM generate_series(1, 20000) AS g(i);"
            "CREATE VIEW few AS SELECT * FROM item WHERE kind = 1; ANALYZE"
        )
        yield made


def conflicting(pair: Pair, call: Callable[[], object]) -> None:
    """Replay asks for a lock on ``item`` while a call reads it."""
    done = threading.Event()

    def disturb() -> None:
        waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'item'::regclass AND granted)"
        with psycopg.connect(pair.url, autocommit=True) as raw:
            while not done.is_set():
                if raw.execute(waiting).fetchone() == (True,):
                    pair.primary.execute("LOCK TABLE item; SELECT txid_current()")
                time.sleep(0.02)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        call()
    finally:
        done.set()
        thread.join()


def test_it_is_read_and_planned_for_and_refuses_to_be_written_on(pair: Pair) -> None:
    sql = "SELECT count(*) FROM item i, part p WHERE p.item = i.id AND i.kind = 2"
    with Optimizer().session(pair.url, mode="steer") as session:
        assert session.optimize(sql).candidates
        assert len({session.execute(sql).fetchall()[0] for _ in range(3)}) == 1
        result = session.engine.run(
            Rendered(sql, before=("SET LOCAL enable_hashjoin = 'off'",), steering=STEERING)
        )
        assert result.rows == session.execute(sql, mode="off").fetchall()
        with pytest.raises(EngineError, match="read-only"):
            session.execute("INSERT INTO item VALUES (1, 1)")
        assert session.execute(sql).fetchall() == result.rows


def test_a_replay_conflict_is_told_and_blames_no_plan(pair: Pair) -> None:
    with open_url(pair.url) as engine:
        for statement in (
            Rendered(SLOW),
            Rendered(SLOW, before=("SET LOCAL enable_hashjoin = 'off'",), steering=STEERING),
        ):

            def run(statement: Rendered = statement) -> None:
                with pytest.raises(Disturbed, match="conflict with recovery"):
                    engine.run(statement, timeout_s=30.0)

            conflicting(pair, run)
            assert engine.run(Rendered("SELECT current_setting('enable_hashjoin')")).rows == [("on",)]
        assert not engine.in_transaction()
        executor = LiveExecutor(engine, (), cap_s=30.0)
        tries: list[Rendered] = []

        def trial() -> None:
            plain = engine.run

            def counted(sent: Rendered, **options: object) -> object:
                tries.append(sent)
                return plain(sent, **options)  # type: ignore[arg-type]

            engine.run = counted  # type: ignore[assignment, method-assign]
            with pytest.raises(Disturbed):
                executor._undisturbed(Rendered(SLOW), 30.0)

        conflicting(pair, trial)
        # It is no timing: it is run again.
        assert len(tries) == ATTEMPTS


def test_it_is_explored_and_what_is_proved_steers_there(pair: Pair, tmp_path: Path) -> None:
    sql = (
        "SELECT i.kind, count(*) AS n FROM item i WHERE i.id < 800 AND "
        "i.id > (SELECT 0.5 * avg(p.item) FROM part p WHERE p.item = i.id) GROUP BY i.kind ORDER BY i.kind"
    )
    store = SqliteStore(tmp_path / "store.sqlite")
    with Session(Optimizer(store=store), open_url(pair.url), mode="steer") as session:
        report = session.explore([sql], "60s", cap_s=20.0)
        assert report.queries[0].arm is not None, report.to_dict()
        result = session.execute(sql)
        assert result.observation.steered
        assert result.fetchall() == session.execute(sql, mode="off").fetchall()


def test_what_is_replayed_changes_the_epoch(pair: Pair) -> None:
    """A standby's snapshot looks the same after a commit, while an older transaction goes on."""
    with (
        open_url(pair.url) as engine,
        psycopg.connect(pair.primary.info.dsn, password=pair.primary.info.password) as older,
        psycopg.connect(pair.primary.info.dsn, password=pair.primary.info.password) as changing,
    ):
        older.execute("INSERT INTO part VALUES (0, 0)")
        changing.execute("CREATE OR REPLACE VIEW few AS SELECT * FROM item WHERE kind = 2")
        pair.write(f"CREATE TABLE later_{secrets.token_hex(4)} (x int)")
        before = engine.schema_epoch()
        assert engine.schema_epoch() == before
        changing.commit()
        pair.await_("SELECT pg_get_viewdef('few'::regclass) LIKE '%% = 2%%'")
        assert engine.schema_epoch() != before
        older.rollback()
