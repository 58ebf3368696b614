"""A streaming standby: it cannot be written on, its replay ends statements, and its catalogue changes unasked."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from postgres_standby import Pair

from godb_fast.core import Steering
from godb_fast.engines.base import Rendered
from godb_fast.engines.postgres import open_url
from godb_fast.errors import Disturbed, EngineError
from godb_fast.exploring.trials import LiveExecutor
from godb_fast.exploring.undisturbed import ATTEMPTS
from godb_fast.session import Optimizer, Session
from godb_fast.store import SqliteStore

STEERING = Steering(settings=(("enable_hashjoin", "off"),))
SLOW = "SELECT count(*), pg_sleep(20) FROM item"


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
    # Nothing is left to be replayed, which would end statements at once here.
    pair.write("SELECT 1")
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
