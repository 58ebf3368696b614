"""Who sees a statement for the first time does not let it wait: another thread gets to know it meanwhile."""

from __future__ import annotations

import math
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from correlated import QUERY, SKEWED, filled, skewed

import godb_fast
from godb_fast import first_sight, optimizer, steered
from godb_fast.dbapi import wrap
from godb_fast.engines.base import Engine
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.engines.postgres import PostgresEngine, catalogue
from godb_fast.engines.registry import open_engine
from godb_fast.errors import EngineError, UnknownRelation
from godb_fast.first_sight import ATTEMPTS, FOREGROUND_MS, PER_CHARACTER_MS, FirstSights
from godb_fast.optimizer import UNMET, Optimizer, Policy
from godb_fast.session import Session
from godb_fast.sql import fingerprint

FOREGROUND = FOREGROUND_MS


@pytest.fixture(autouse=True)
def never_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_sight, "FOREGROUND_MS", 0.0)


@pytest.fixture(params=["duckdb", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """A database, and a statement of it."""
    if request.param == "duckdb":
        return str(skewed(tmp_path / "skewed.duckdb")), SKEWED
    return filled(request.getfixturevalue("postgres_url")), QUERY.format(3)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads that got to know a template."""
    names: list[str] = []
    seen = optimizer.first_sight

    def noting(*arguments: Any) -> Any:
        names.append(threading.current_thread().name)
        return seen(*arguments)

    monkeypatch.setattr(optimizer, "first_sight", noting)
    return names


def reason(session: Session, sql: str) -> str:
    decision = session.execute(sql).decision
    assert decision is not None
    return decision.reason


def test_another_thread_looks_while_the_statement_runs(where: tuple[str, str], threads: list[str]) -> None:
    url, sql = where
    with godb_fast.connect(url, mode="steer") as session:
        first = session.execute(sql)
        assert first.decision is not None
        assert first.decision.reason == UNMET
        assert first.decision.fingerprint == fingerprint(sql, session.engine.dialect).hash
        assert not first.decision.steering
        assert session.wait_prepared(30.0)
        assert threads == ["godb-fast-background"]
        second = session.execute(sql)
        assert second.decision is not None
        assert UNMET not in second.decision.reason
        assert session.optimizer.counters["met_in_background"] == 1
        assert second.fetchall() == first.fetchall()
        # The engine's own plan was asked for as well.
        scope = session.optimizer.scope(session.engine)
        known = scope.template(fingerprint(sql, session.engine.dialect))
        assert known is not None
        assert len(known.own_plans) == 1
        assert known.explain_ms > 0.0
        assert scope.meetings == {}


def test_who_asks_for_a_decision_waits_for_it(where: tuple[str, str], threads: list[str]) -> None:
    url, sql = where
    with godb_fast.connect(url, mode="steer") as session:
        assert UNMET not in session.optimize(sql).reason
        assert threads == [threading.current_thread().name]
    with godb_fast.connect(url, mode="steer", policy=Policy(background=False)) as session:
        assert UNMET not in reason(session, sql)
    assert set(threads) == {threading.current_thread().name}


def test_short_texts_are_known_at_once(where: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_sight, "FOREGROUND_MS", FOREGROUND)
    url, sql = where
    with godb_fast.connect(url, mode="steer") as session:
        assert UNMET not in reason(session, sql)
        assert session.optimizer.counters["met_in_background"] == 0
        # A long one is not.
        assert reason(session, f"{sql} AND {' AND '.join(['1 = 1'] * 300)}") == UNMET


def test_what_only_this_connection_sees_is_looked_at_here(where: tuple[str, str]) -> None:
    url, sql = where
    with godb_fast.connect(url, mode="steer") as session:
        session.execute("CREATE TEMPORARY TABLE own AS SELECT 1 AS k, 2 AS n")
        own = "SELECT count(*) FROM own x JOIN own y ON x.k = y.k WHERE x.n > 0"
        for text in (own, sql):
            assert reason(session, text) == UNMET
            assert session.wait_prepared(30.0)
            assert UNMET not in reason(session, text)


def test_what_is_wrong_is_told_by_the_engine_each_time(where: tuple[str, str]) -> None:
    url, sql = where
    wrong = f"{sql} AND nowhere.n = 1"
    with godb_fast.connect(url, mode="steer") as session:
        for _ in range(ATTEMPTS + 2):
            with pytest.raises(EngineError, match="nowhere"):
                session.execute(wrong)
            assert session.wait_prepared(30.0)
        assert session.optimizer.counters["met_in_background"] in range(1, ATTEMPTS + 1)
        assert session.optimizer.counters["preparation_failed"] == 0
        assert reason(session, sql) == UNMET


def test_what_is_no_query_is_judged_at_once(where: tuple[str, str]) -> None:
    url, sql = where
    with godb_fast.connect(url, mode="steer") as session:
        session.execute("CREATE TABLE kept (n BIGINT)")
        assert UNMET not in reason(session, "INSERT INTO kept VALUES (1), (2)")
        assert reason(session, f"WITH more AS ({sql}) SELECT count(*) FROM more") == UNMET
        assert session.wait_prepared(30.0)
        assert session.optimizer.counters["met_in_background"] == 1


def test_a_failure_leaves_the_next_call_to_look(
    where: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, sql = where
    seen = optimizer.first_sight

    def failing(*arguments: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise ZeroDivisionError("ours")
        return seen(*arguments)

    monkeypatch.setattr(optimizer, "first_sight", failing)
    with godb_fast.connect(url, mode="steer") as session:
        for _ in range(ATTEMPTS):
            assert reason(session, sql) == UNMET
            assert session.wait_prepared(30.0)
        assert UNMET not in reason(session, sql)
        assert session.optimizer.counters["preparation_failed"] == ATTEMPTS


def test_the_plan_of_another_region_is_asked_for_beside_the_statement(where: tuple[str, str]) -> None:
    url, sql = where
    with godb_fast.connect(url, mode="steer") as session:
        session.optimize(sql)
        scope = session.optimizer.scope(session.engine)
        known = scope.template(fingerprint(sql, session.engine.dialect))
        assert known is not None
        known.own_plans.clear()
        scope.forget_exact(known.template.fingerprint)
        known.route = known.proved = None
        assert UNMET in reason(session, sql)
        assert session.wait_prepared(30.0)
        assert len(known.own_plans) == 1
        assert UNMET not in reason(session, sql)
        # What is planned fast is asked for at once.
        known.own_plans.clear()
        scope.forget_exact(known.template.fingerprint)
        known.route = known.proved = None
        known.explain_ms = 0.0
        assert UNMET not in reason(session, sql)


def test_what_was_proved_serves_the_first_statement_of_a_process(
    where: tuple[str, str], tmp_path: Path
) -> None:
    url, sql = where
    with godb_fast.connect(url, mode="steer") as session:
        print_ = fingerprint(sql, session.engine.dialect)
        scope = session.optimizer.scope(session.engine)
        unsigned = print_.hash & (2**64 - 1)
        assert not scope.promises(print_)
        scope.chosen = frozenset({f"{unsigned:016x}"})
        assert scope.promises(print_)
        assert UNMET not in reason(session, sql)


def test_a_session_ends_while_somebody_looks(where: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    url, sql = where
    began, go_on = threading.Event(), threading.Event()
    seen = optimizer.first_sight

    def waiting(*arguments: Any) -> Any:
        began.set()
        assert go_on.wait(10.0)
        return seen(*arguments)

    monkeypatch.setattr(optimizer, "first_sight", waiting)
    with godb_fast.connect(url, mode="steer") as session:
        assert reason(session, sql) == UNMET
        assert began.wait(10.0)
        # The same statement does not wait for it either, nor is it looked at twice.
        assert reason(session, sql) == UNMET
        assert session.optimizer.counters["met_in_background"] == 1
        threading.Timer(0.1, go_on.set).start()
    assert session.optimizer.worker.wait(timeout_s=10.0)


def test_samples_are_shared_with_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    twin = DuckDBEngine.twin

    def noting(self: DuckDBEngine) -> Engine:
        names.append(threading.current_thread().name)
        return twin(self)

    monkeypatch.setattr(DuckDBEngine, "twin", noting)
    with godb_fast.connect(skewed(tmp_path / "skewed.duckdb"), mode="steer") as session:
        assert reason(session, SKEWED) == UNMET
        assert session.wait_prepared(30.0)
        rows = session.engine.statistics()
        # Another template of the same tables needs no further sample.
        with rows.within(10.0, 0.0):  # type: ignore[attr-defined]
            assert "being prepared" not in session.optimize(f"{SKEWED} AND b.m >= 0").reason
    assert names == ["godb-fast-background"]


def test_an_expectation_follows_what_was_seen_step_by_step(where: tuple[str, str]) -> None:
    sights = FirstSights(Optimizer().worker, lambda what: None)
    long = "x" * 1000
    with open_engine(where[0]) as engine:
        before = sights.expected_ms(engine, long)
        assert before == pytest.approx(1000 * PER_CHARACTER_MS[engine.name])
        assert sights.expected_ms(engine, "x") == sights.expected_ms(engine, "x" * 100) > 0.0
        sights.took(engine.name, long, 1e6)
        assert sights.expected_ms(engine, long) == pytest.approx(1.25 * before)
        for _ in range(50):
            sights.took(engine.name, long, 2.0)
        assert sights.expected_ms(engine, long) == pytest.approx(2.0)


class Foreign:
    """An engine of somebody else's, of which nothing is known yet."""

    name = "other"


def test_of_an_unknown_engine_nothing_is_expected_before_it_was_seen() -> None:
    sights, engine = FirstSights(Optimizer().worker, lambda what: None), cast("Engine", Foreign())
    assert sights.expected_ms(engine, "x" * 1000) == 0.0
    sights.took("other", "x" * 1000, 30.0)
    assert sights.expected_ms(engine, "x" * 1000) == pytest.approx(30.0)


def test_a_catalogue_that_takes_long_is_not_read_in_front_of_a_statement(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_sight, "FOREGROUND_MS", FOREGROUND)
    monkeypatch.setattr(steered, "LOOK_AGAIN_S", 0.0)
    sql, url = QUERY.format(3), filled(postgres_url)
    read: list[str] = []
    reading = catalogue.read_schema

    def slow(ask: Any) -> Any:
        read.append(threading.current_thread().name)
        time.sleep(0.1)
        return reading(ask)

    monkeypatch.setattr(catalogue, "read_schema", slow)
    here = threading.current_thread().name
    with godb_fast.connect(url, mode="steer") as session:
        # When it was opened.
        assert read == [here]
        assert UNMET not in reason(session, sql)
        with godb_fast.connect(url, mode="steer") as other:
            assert UNMET not in reason(other, sql)
            # What another connection has read.
            assert read == [here]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE more (n int)")
        assert reason(session, sql) == UNMET
        assert session.wait_prepared(30.0)
        assert UNMET not in reason(session, sql)
        assert session.optimize("SELECT count(*) FROM more m JOIN d ON d.id = m.n")
        assert read == [here, "godb-fast-background"]
        # What only this connection sees is read by it, and by no other.
        session.execute("CREATE TEMPORARY TABLE own (n int)")
        assert session.optimize("SELECT count(*) FROM own o JOIN d ON d.id = o.n")
        with godb_fast.connect(url, mode="steer") as other, pytest.raises(UnknownRelation):
            other.optimize("SELECT count(*) FROM own o JOIN d ON d.id = o.n")


@pytest.mark.parametrize("beside", [True, False])
def test_an_application_may_go_on_with_its_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    if not beside:
        monkeypatch.setattr(first_sight, "FOREGROUND_MS", math.inf)
    sql = "SELECT count(*) FROM a JOIN b ON a.k = b.k WHERE a.n < ?"
    with godb_fast.connect(skewed(tmp_path / "skewed.duckdb"), mode="steer") as session:
        values = [50]
        session.execute(sql, values)
        values[0] = 0
        assert session.wait_prepared(30.0)
        scope, engine = session.optimizer.scope(session.engine), session.engine
        prepared = session.optimizer.decide(engine, scope, sql, [50])
        assert list(prepared.params or ()) == [50]
        assert list(prepared.rendered.params or ()) == [50]
        known = prepared.known
        assert known is not None
        assert set(known.own_plans) == {prepared.bucket}


def test_the_first_run_bounds_later_ones(where: tuple[str, str]) -> None:
    url, sql = where
    with godb_fast.connect(url, mode="steer") as session:
        result = session.execute(sql)
        assert session.wait_prepared(30.0)
        scope = session.optimizer.scope(session.engine)
        known = scope.template(fingerprint(sql, session.engine.dialect))
        assert known is not None
        assert list(known.baseline_ms.values()) == [result.observation.latency_ms]
        assert known.columns == (result.columns, result.types)


def test_a_template_that_was_known_is_not_left_after_a_change(
    where: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_sight, "FOREGROUND_MS", 1.0)
    url, sql = where[0], f"{where[1]} AND {' AND '.join(['1 = 1'] * 30)}"
    monkeypatch.setattr(catalogue.SharedSchemas, "reading_ms", lambda *about: 0.0)
    monkeypatch.setattr(DuckDBEngine, "reading_ms", lambda self: 0.0)
    with godb_fast.connect(url, mode="steer") as session:
        session.optimize(sql)
        session.execute("CREATE TABLE other (n INT)")
        assert UNMET not in reason(session, sql)
        assert session.optimizer.counters["carried"] == 1


def test_plans_of_another_session_are_not_those_of_this_one(postgres_url: str) -> None:
    sql = QUERY.format(3)
    with godb_fast.connect(filled(postgres_url), mode="steer") as session:
        session.execute("SET join_collapse_limit = 1")
        assert UNMET not in reason(session, sql)
        session.execute("RESET join_collapse_limit")
        assert reason(session, f"{sql} AND 1 = 1") == UNMET


def test_where_there_can_be_no_thread_statements_wait(
    where: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, sql = where
    with godb_fast.connect(url, mode="steer") as session:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", _no_thread)
            assert UNMET not in reason(session, sql)
        assert reason(session, f"{sql} AND 1 = 1") == UNMET
        assert session.wait_prepared(30.0)
        assert UNMET not in reason(session, f"{sql} AND 1 = 1")


def _no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_session_does_not_wait_for_a_server_that_does_not_answer(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql, go_on = QUERY.format(3), threading.Event()
    twin = PostgresEngine.twin

    def stalled(self: PostgresEngine) -> PostgresEngine:
        assert go_on.wait(20.0)
        return twin(self)

    monkeypatch.setattr(PostgresEngine, "twin", stalled)
    session = godb_fast.connect(filled(postgres_url), mode="steer")
    assert reason(session, sql) == UNMET
    begun = time.monotonic()
    session.close()
    assert time.monotonic() - begun < 5.0
    go_on.set()
    assert session.optimizer.worker.wait(timeout_s=30.0)


@pytest.mark.parametrize("path", ["DEFAULT", "other, public"])
def test_behind_a_wrapper_another_connection_looks(postgres_url: str, threads: list[str], path: str) -> None:
    sql = QUERY.format(3)
    with wrap(
        psycopg.connect(filled(postgres_url), autocommit=True),
        "steer",
        Optimizer(policy=Policy(untried="off")),
    ) as wrapped:
        wrapped.execute("CREATE SCHEMA other")
        wrapped.execute(f"SET search_path = {path}")
        wrapped.execute("SELECT count(*) FROM f JOIN d ON d.id = f.d")
        assert wrapped.wait_advised(30.0)
        threads.clear()
        rows = [wrapped.execute(sql).fetchall()]
        assert wrapped.wait_advised(30.0)
        assert threads == ["godb-fast-adviser"]
        rows += [wrapped.execute(sql).fetchall() for _ in range(2)]
        assert wrapped.wait_advised(30.0)
        assert rows[0] == rows[1] == rows[2]
        # Where that one sees something else, it is looked at here, once.
        here = [threading.current_thread().name] if path != "DEFAULT" else []
        assert threads == ["godb-fast-adviser", *here]
        assert not wrapped.optimizer.counters["internal_errors"]


def test_connections_of_a_pool_share_who_looks(
    postgres_url: str, threads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sql, url, go_on = QUERY.format(3), filled(postgres_url), threading.Event()
    seen = optimizer.first_sight

    def waiting(*arguments: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            assert go_on.wait(30.0)
        return seen(*arguments)

    shared = Optimizer(policy=Policy(untried="off"))
    with ExitStack() as stack:
        pool = [
            stack.enter_context(wrap(psycopg.connect(url, autocommit=True), "steer", shared))
            for _ in range(4)
        ]
        for each in pool:
            each.execute("SELECT count(*) FROM f")
            assert each.wait_advised(30.0)
        threads.clear()
        monkeypatch.setattr(optimizer, "first_sight", waiting)
        rows = [each.execute(sql).fetchall() for each in pool]
        go_on.set()
        assert all(each.wait_advised(30.0) for each in pool)
        rows += [each.execute(sql).fetchall() for each in pool]
        assert len({tuple(each) for each in rows}) == 1
        assert threads == ["godb-fast-adviser"]
        assert not shared.counters["internal_errors"]


def test_where_an_adviser_can_have_no_thread_it_looks_another_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = QUERY.format(3)
    with wrap(
        psycopg.connect(filled(postgres_url), autocommit=True),
        "steer",
        Optimizer(policy=Policy(untried="off")),
    ) as wrapped:
        wrapped.execute("SELECT count(*) FROM f")
        assert wrapped.wait_advised(30.0)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", _no_thread)
            first = wrapped.execute(sql).fetchall()
            assert wrapped.wait_advised(1.0)
        assert wrapped.execute(sql).fetchall() == first
        assert wrapped.wait_advised(30.0)
        assert len(wrapped.optimizer.known_templates(fingerprint(sql, "postgres"))) == 1
