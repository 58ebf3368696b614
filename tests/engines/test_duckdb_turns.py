"""Statements under other settings take turns; every path puts the settings back."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from godb_fast.core import Steering
from godb_fast.engines.base import Guards, Rendered, offers
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.engines.duckdb.instance import JOIN_TREE_SETTINGS, parse_settings, setting_statement
from godb_fast.engines.duckdb.quirks import Profiler
from godb_fast.engines.duckdb.turns import Turns
from godb_fast.errors import EngineBusy, EngineError, InvalidInput, QueryTimeout

BEFORE = tuple(setting_statement(name, value) for name, value in JOIN_TREE_SETTINGS)
OURS = "join_order,build_side_probe_side"
SETTING = "SELECT current_setting('disabled_optimizers')"
SLOW = "SELECT count(*) FROM range(100000) a(x), range(1000000) b(y) WHERE (x * y) % 7 = 3"


@pytest.fixture
def engine() -> Iterator[DuckDBEngine]:
    with DuckDBEngine.open() as opened:
        yield opened


def steered(sql: str) -> Rendered:
    return Rendered(sql, before=BEFORE)


def value(engine: DuckDBEngine, statement: Rendered | None = None) -> str:
    return str(engine.run(statement or Rendered(SETTING)).rows[0][0])


# -- the lock -------------------------------------------------------------------------------------------


def test_no_two_groups_overlap_and_everybody_comes_to_turn() -> None:
    switches: list[tuple[object, bool]] = []
    turns = Turns(lambda group, entering: switches.append((group, entering)))
    inside: dict[str, int] = {"A": 0, "B": 0, "C": 0}
    overlaps, done, together = [], [], []
    guard = threading.Lock()

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(30):
            group = rng.choice("ABC")
            assert turns.acquire(group)
            with guard:
                inside[group] += 1
                overlaps.append(sum(1 for count in inside.values() if count) > 1)
                together.append(inside[group])
            time.sleep(rng.random() * 1e-4)
            with guard:
                inside[group] -= 1
            turns.release()
        done.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(done) == list(range(8))
    assert not any(overlaps)
    assert max(together) > 1, "one group's holders run side by side"
    # Entering and leaving alternate, for the same group.
    assert all(one[0] == two[0] for one, two in zip(switches[::2], switches[1::2], strict=True))
    assert [entering for _, entering in switches] == [True, False] * (len(switches) // 2)


def test_a_waiting_group_is_not_overtaken() -> None:
    turns = Turns(lambda group, entering: None)
    order: list[str] = []
    assert turns.acquire("A")

    def enter(group: str) -> None:
        assert turns.acquire(group)
        order.append(group)
        turns.release()

    waiting = threading.Thread(target=enter, args=("B",))
    waiting.start()
    time.sleep(0.05)
    late = threading.Thread(target=enter, args=("A",))
    late.start()
    time.sleep(0.05)
    assert order == [], "a late A does not pass the waiting B"
    turns.release()
    waiting.join()
    late.join()
    assert order == ["B", "A"]


def test_waiting_ends_at_its_limit_and_lets_others_through() -> None:
    turns = Turns(lambda group, entering: None)
    assert turns.acquire("A")
    assert not turns.acquire("B", timeout_s=0.02)
    assert turns.acquire("A", timeout_s=0.02), "the B that gave up is not waited for"


def test_a_switch_that_fails_takes_no_turn() -> None:
    def switch(group: object, entering: bool) -> None:
        if group == "broken" and entering:
            raise OSError("no")

    turns = Turns(switch)
    with pytest.raises(OSError, match="no"):
        turns.acquire("broken")
    assert turns.acquire("fine", timeout_s=0.02)


# -- settings -------------------------------------------------------------------------------------------


def test_the_setting_holds_during_a_steered_statement_only(engine: DuckDBEngine) -> None:
    assert value(engine, steered(SETTING)) == OURS
    assert value(engine) == ""


def test_a_users_own_value_stays_in_force(engine: DuckDBEngine) -> None:
    engine.run(Rendered("SET disabled_optimizers = 'top_n,join_order'"))
    assert set(value(engine, steered(SETTING)).split(",")) == {"top_n", *OURS.split(",")}
    assert set(value(engine).split(",")) == {"top_n", "join_order"}
    engine.run(Rendered("RESET disabled_optimizers"))
    assert value(engine, steered(SETTING)) == OURS
    assert value(engine) == ""


def test_only_settings_that_can_be_put_back_are_taken(engine: DuckDBEngine) -> None:
    assert parse_settings(("SET GLOBAL a_b = 'it''s'",)) == (("a_b", "it's"),)
    for text in ("SET disabled_optimizers = 'x'", "DROP TABLE t", "SET GLOBAL a = 'b'; DROP TABLE t"):
        with pytest.raises(InvalidInput, match="cannot be put back"):
            engine.run(Rendered("SELECT 1", before=(text,)))
    with pytest.raises(InvalidInput, match="no instance-wide setting 'search_path'"):
        engine.run(Rendered("SELECT 1", before=("SET GLOBAL search_path = 'main'",)))
    # The first of two was set, then put back.
    with pytest.raises(InvalidInput, match="no instance-wide setting"):
        engine.run(Rendered("SELECT 1", before=(*BEFORE, "SET GLOBAL no_such = 'x'")))
    assert value(engine) == ""


def test_only_a_select_outside_transactions_is_steered(engine: DuckDBEngine) -> None:
    with pytest.raises(InvalidInput, match="only a single SELECT is steered"):
        engine.run(steered("CREATE TABLE t AS SELECT 1 AS x"))
    with pytest.raises(InvalidInput, match="only a single SELECT is steered"):
        engine.run(steered("SELECT 1; SELECT 2"))
    engine.run(Rendered("BEGIN"))
    with pytest.raises(EngineError, match="a transaction is open"):
        engine.run(steered("SELECT 1"))
    assert engine.run(Rendered("SELECT 1")).rows == [(1,)], "the transaction goes on"
    engine.run(Rendered("COMMIT"))


def test_a_steered_statement_does_not_wait_forever(engine: DuckDBEngine) -> None:
    other = engine.cursor()
    stopped: list[type[BaseException]] = []

    def default() -> None:
        try:
            other.run(Rendered(SLOW), timeout_s=2)
        except EngineError as error:
            stopped.append(type(error))

    thread = threading.Thread(target=default)
    thread.start()
    time.sleep(0.1)
    with pytest.raises(EngineBusy, match="take turns"):
        engine.run(steered("SELECT 1"), timeout_s=0.1)
    # Default statements go on beside each other.
    assert engine.run(Rendered("SELECT 1"), timeout_s=1).rows == [(1,)]
    thread.join()
    assert stopped == [QueryTimeout]
    assert engine.run(steered("SELECT 1")).rows == [(1,)]
    other.close()


def test_a_default_statement_waits_for_steered_ones_at_most_its_limit(engine: DuckDBEngine) -> None:
    other = engine.cursor()
    ended: list[type[BaseException]] = []

    def steer() -> None:
        try:
            other.run(steered(SLOW), timeout_s=1)
        except EngineError as error:
            ended.append(type(error))

    thread = threading.Thread(target=steer)
    thread.start()
    time.sleep(0.1)
    with pytest.raises(QueryTimeout, match="did not start within"):
        engine.run(Rendered(SETTING), timeout_s=0.1)
    # Once it may start, the setting is gone.
    assert value(engine) == ""
    thread.join()
    assert ended == [QueryTimeout]
    other.close()


def test_steered_statements_run_side_by_side(engine: DuckDBEngine) -> None:
    cursors = [engine.cursor() for _ in range(3)]
    barrier = threading.Barrier(3, timeout=20)
    ended: list[str] = []

    def work(cursor: DuckDBEngine) -> None:
        # All three hold the turn when the slowest one reads the setting.
        barrier.wait()
        sql = f"SELECT current_setting('disabled_optimizers') FROM range(3000000) r(i) WHERE i % {id(cursor)} = 0"
        ended.append(value(cursor, steered(sql)))
        cursor.close()

    threads = [threading.Thread(target=work, args=(cursor,)) for cursor in cursors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [OURS] * 3
    assert value(engine) == ""


def test_a_limit_that_ends_before_the_statement_starts_still_stops_it(engine: DuckDBEngine) -> None:
    for limit in (1e-6, 1e-4, 1e-3):
        with pytest.raises(QueryTimeout):
            engine.run(steered(SLOW), timeout_s=limit)
        assert value(engine) == ""


@pytest.mark.parametrize("before", [(), BEFORE], ids=["default", "steered"])
def test_control_c_stops_a_statement_and_puts_settings_back(before: tuple[str, ...]) -> None:
    if os.name == "nt":
        pytest.skip("no signal can be sent to oneself here")
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        pytest.skip("SIGINT is handled otherwise in this process")
    with DuckDBEngine.open(interruptible=True) as engine:
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            engine.run(Rendered(SLOW, before=before), timeout_s=60)
        timer.join()
        assert value(engine) == ""
        assert engine.run(Rendered("SELECT 42")).rows == [(42,)]


@pytest.mark.parametrize("at", [0, 1], ids=["changed", "put back"])
def test_control_c_while_settings_are_changed_is_one(engine: DuckDBEngine, at: int) -> None:
    """The driver tells it as a RuntimeError; it may arrive within microseconds that no signal can be aimed at."""
    instance = engine._connection.instance
    assert instance is not None

    class Interrupted:
        """The instance's own connection, one change of settings on which meets a Ctrl-C."""

        def __init__(self, control: Any) -> None:
            self.control, self.changes = control, 0

        def execute(self, statement: str) -> Any:
            found = self.control.execute(statement)
            if statement.startswith(("SET", "RESET")):
                self.changes += 1
                if self.changes == at + 1:
                    raise RuntimeError("Query interrupted")
            return found

        def interrupt(self) -> None:
            self.control.interrupt()

    control = instance._control
    instance._control = Interrupted(control)
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.run(steered("SELECT 42"))
        assert instance._control.changes > at
    finally:
        instance._control = control
    assert value(engine) == ""
    assert instance.broken is None
    assert engine.run(steered("SELECT 42")).rows == [(42,)]


def test_what_the_driver_makes_of_control_c_is_one(engine: DuckDBEngine) -> None:
    """2.0 raises a RuntimeError without a cause, if it looks up in time (which no test can count on)."""

    def interrupted() -> None:
        raise RuntimeError("Query interrupted")

    def interrupted_in_1() -> None:
        raise RuntimeError("Query interrupted") from KeyboardInterrupt()

    for work in (interrupted, interrupted_in_1):
        with pytest.raises(KeyboardInterrupt):
            engine._connection.guarded(work, settings=(("disabled_optimizers", "join_order"),))
        assert value(engine) == ""
    with pytest.raises(EngineError, match="Query interrupted by a rule"):
        engine._connection.guarded(lambda: raise_(RuntimeError("Query interrupted by a rule")))
    assert engine.run(Rendered("SELECT 42")).rows == [(42,)]


class Hit:
    """A connection on which a statement that puts the profiler's settings back meets an interrupt."""

    def __init__(self, raw: Any, *, first: BaseException) -> None:
        self._raw, self._left = raw, [first]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def execute(self, statement: Any, *params: Any) -> Any:
        if self._left and str(statement).startswith("RESET"):
            raise self._left.pop()
        return self._raw.execute(statement, *params)


@pytest.mark.parametrize(
    ("first", "outcome"),
    [
        (RuntimeError("Query interrupted"), KeyboardInterrupt),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (duckdb.InterruptException("INTERRUPT Error: Interrupted!"), None),
    ],
)
def test_control_c_while_a_profile_ends_leaves_no_setting(
    engine: DuckDBEngine, first: BaseException, outcome: type[BaseException] | None
) -> None:
    profiling = Rendered("SELECT current_setting('enable_profiling')")
    before = engine.run(profiling).rows
    connection = engine._connection
    raw = connection.raw
    connection.raw = Hit(raw, first=first)
    try:
        if outcome is None:
            assert engine.run(Rendered("SELECT 42"), profile=True).plan is not None
        else:
            with pytest.raises(outcome):
                engine.run(Rendered("SELECT 42"), profile=True)
    finally:
        connection.raw = raw
    assert engine.run(profiling).rows == before


def test_a_profile_that_nobody_ended_is_ended_before_the_next_statement(engine: DuckDBEngine) -> None:
    profiling = Rendered("SELECT current_setting('enable_profiling')")
    before = engine.run(profiling).rows
    connection = engine._connection
    # As if a Ctrl-C were heard just before it would have been ended.
    connection.profiler = Profiler(connection.raw)
    connection.profiler.start()
    assert engine.run(profiling).rows == before


def raise_(error: Exception) -> None:
    raise error


# -- temporary files ------------------------------------------------------------------------------------

TEMPORARY = "SELECT current_setting('max_temp_directory_size')"
#: Sorts some 200 MB in 60 MB of memory.
SPILLING = "SELECT max(h) FROM (SELECT i, hash(i) AS h, i::VARCHAR || repeat('x', 40) AS s FROM range(2000000) r(i) ORDER BY h, s LIMIT 1500000)"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[DuckDBEngine]:
    """An instance with little memory, as one that was opened with it."""
    with DuckDBEngine.open(tmp_path / "small.duckdb") as opened:
        control = opened._connection.instance._control  # type: ignore[union-attr]
        control.execute("SET memory_limit = '60MB'; SET threads = 1")
        yield opened


def test_temporary_files_of_a_trial_are_limited(small: DuckDBEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert offers(small, Guards)
    assert value(small, small.guarded(Rendered(TEMPORARY))) == "10.0 GiB"
    assert value(small, Rendered(TEMPORARY)) == "90% of available disk space"
    monkeypatch.setattr("godb_fast.engines.duckdb.engine.TEMPORARY_MOST_BYTES", 20 * 1024**2)
    limited = small.guarded(Rendered(SPILLING, before=BEFORE))
    assert limited.before[: len(BEFORE)] == BEFORE
    with pytest.raises(EngineError, match="max_temp_directory_size"):
        small.run(limited)
    assert value(small) == ""
    # Now DuckDB says how many bytes its share of the disk is; trials are limited all the same.
    assert value(small, Rendered(TEMPORARY)) not in ("20.0 MiB", "90% of available disk space")
    assert value(small, small.guarded(Rendered(TEMPORARY))) == "20.0 MiB"
    assert value(small, Rendered(TEMPORARY)) != "20.0 MiB"
    assert small.run(Rendered(SPILLING), timeout_s=60).rows
    # What is in use already does not count.
    small.run(
        Rendered("CREATE TEMP TABLE t AS SELECT hash(i) AS h, hash(i + 1) AS g FROM range(8000000) r(i)")
    )
    (used,) = small.run(Rendered("SELECT sum(size) FROM duckdb_temporary_files()")).rows[0]
    assert used > 20 * 1024**2
    with pytest.raises(EngineError, match="max_temp_directory_size"):
        small.run(limited)


def test_a_users_own_limit_of_temporary_files_stays(small: DuckDBEngine) -> None:
    for own in ("9 GB", "20 GB"):
        small.run(Rendered(f"SET max_temp_directory_size = '{own}'"))
        told = value(small, Rendered(TEMPORARY))
        for _ in range(3):
            assert value(small, small.guarded(Rendered(TEMPORARY))) == told
            assert value(small, Rendered(TEMPORARY)) == told
    small.run(Rendered("RESET max_temp_directory_size"))
    assert value(small, small.guarded(Rendered(TEMPORARY))) == "10.0 GiB"


def test_a_disk_with_little_room_is_not_filled(small: DuckDBEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def nearly_full(folder: object) -> object:
        return shutil._ntuple_diskusage(10**10, 10**10 - 2**30, 2**30)  # type: ignore[attr-defined]

    monkeypatch.setattr("shutil.disk_usage", nearly_full)
    assert value(small, small.guarded(Rendered(TEMPORARY))) == "921.5 MiB"


def test_temporary_files_are_not_limited_on_a_borrowed_connection_nor_in_a_transaction(
    engine: DuckDBEngine,
) -> None:
    plain = Rendered("SELECT 1")
    assert DuckDBEngine.borrow(duckdb.connect()).guarded(plain) == plain
    engine.run(Rendered("BEGIN"))
    assert engine.guarded(plain) == plain
    engine.run(Rendered("ROLLBACK"))
    with pytest.raises(InvalidInput, match="in bytes"):
        engine.run(Rendered("SELECT 1", before=(setting_statement("max_temp_directory_size", "1GB"),)))
    assert value(engine, engine.guarded(Rendered(TEMPORARY))) == "10.0 GiB"


# -- borrowed connections -------------------------------------------------------------------------------


def test_a_borrowed_connection_is_never_steered_by_settings() -> None:
    connection = duckdb.connect()
    bystander = connection.cursor()
    bystander.execute("CREATE TABLE a AS SELECT i FROM range(1000) r(i)")
    bystander.execute("CREATE TABLE b AS SELECT i FROM range(10) r(i)")
    sql = "SELECT count(*) FROM b JOIN a USING (i)"

    def plan() -> str:
        return str(bystander.execute(f"EXPLAIN {sql}").fetchall())

    before = plan()
    engine = DuckDBEngine.borrow(connection)
    capabilities = engine.capabilities
    assert not capabilities.join_trees
    assert not capabilities.isolated
    assert "not opened by godb_fast" in capabilities.reason
    with pytest.raises(EngineError, match="not opened by godb_fast"):
        engine.run(steered(sql))
    engine.run(Rendered(sql), profile=True)
    engine.explain(sql)
    assert plan() == before
    assert bystander.execute(SETTING).fetchall() == [("",)]
    with pytest.raises(InvalidInput, match="borrowed"):
        engine.cursor()
    engine.close()


def test_profiling_leaves_a_callers_profiling_as_it_was() -> None:
    connection = duckdb.connect()
    connection.execute("SET enable_profiling = 'no_output'")
    engine = DuckDBEngine.borrow(connection)
    asked = "SELECT current_setting('enable_profiling'), current_setting('profiling_output')"
    before = connection.execute(asked).fetchall()
    assert engine.run(Rendered("SELECT 1"), profile=True).plan is not None
    assert connection.execute(asked).fetchall() == before
    with pytest.raises(EngineError):
        engine.run(Rendered("SELECT CAST('x' AS INTEGER)"), profile=True)
    with pytest.raises(QueryTimeout):
        engine.run(Rendered(SLOW), profile=True, timeout_s=0.1)
    assert connection.execute(asked).fetchall() == before


def test_a_profile_within_a_callers_transaction_is_left_out() -> None:
    engine = DuckDBEngine.borrow(duckdb.connect())
    engine.run(Rendered("BEGIN"))
    assert engine.run(Rendered("SELECT 1"), profile=True).plan is None
    with pytest.raises(EngineError):
        engine.run(Rendered("SELECT CAST('x' AS INTEGER)"), profile=True)
    assert engine.in_transaction()
    engine.run(Rendered("ROLLBACK"))
    assert engine.run(Rendered("SELECT 1"), profile=True).plan is not None


def test_hints_are_refused(engine: DuckDBEngine) -> None:
    from godb_fast.core import Template

    with pytest.raises(InvalidInput, match="no hints"):
        engine.render(Template(0, "", "duckdb"), (), Steering(hints=("HashJoin(a b)",)))
