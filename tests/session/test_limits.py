"""Planning is bounded: long texts and wide joins pass through, the engine is asked for a limited time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import godb_fast
from godb_fast import optimizer as optimizers
from godb_fast.errors import InvalidInput, QueryTimeout, SessionClosed, UnknownRelation
from godb_fast.knowledge import MAX_EXACT_LENGTH
from godb_fast.session import Session
from godb_fast.sql.fingerprint import MAX_BYTES, MAX_JOINS

JOIN = "SELECT count(*) FROM t a JOIN t b ON a.id = b.id WHERE a.id IN ({})"


@pytest.fixture
def session() -> Iterator[Session]:
    with godb_fast.connect("duckdb://") as opened:
        opened.execute("CREATE TABLE t AS SELECT i AS id FROM range(1000) r(i)")
        yield opened


def chain(tables: int) -> str:
    joins = " ".join(f"JOIN t t{i} ON t{i}.id = t{i - 1}.id" for i in range(1, tables))
    return f"SELECT count(*) FROM t t0 {joins}"


def fail(*arguments: object, **options: object) -> None:
    raise AssertionError("the engine was asked")


def test_a_long_list_passes_through_and_the_engine_reads_it_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = JOIN.format(", ".join(map(str, range(200_000))))
    monkeypatch.setattr(session.engine, "effects", fail)
    monkeypatch.setattr(session.engine, "explain", fail)
    result = session.execute(sql)
    assert result.fetchall() == [(1000,)]
    assert result.decision is not None
    assert result.decision.reason == f"left alone: more than {MAX_BYTES} bytes"


def test_a_wide_join_passes_through_and_the_engine_plans_it_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.engine, "effects", fail)
    monkeypatch.setattr(session.engine, "explain", fail)
    decision = session._decide(chain(MAX_JOINS + 2), None).decision
    assert decision.reason == f"left alone: {MAX_JOINS + 1} joins, more than {MAX_JOINS}"


def test_a_join_that_the_engine_plans_for_long_is_not_explained(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    widest = session.engine.capabilities.widest_join
    tables = range(widest + 1)
    where = " AND ".join(f"t{i}.id = t{i + 1}.id" for i in tables[:-1])
    session.execute(
        f"CREATE VIEW wide AS SELECT t0.id FROM {', '.join(f't t{i}' for i in tables)} WHERE {where}"
    )
    explain = session.engine.explain
    monkeypatch.setattr(session.engine, "explain", fail)
    why = f"a join of {widest + 1} tables, which the engine plans for too long to be asked"
    for sql in (chain(widest + 1), "SELECT count(*) FROM wide, t a, t b WHERE a.id = b.id"):
        # Bound, so that a mistake is found, but not planned.
        assert session.optimize(sql).reason == f"left alone: {why}"
    with pytest.raises(UnknownRelation, match="no_such"):
        session.optimize(chain(widest + 50) + " WHERE no_such = 1")
    monkeypatch.setattr(session.engine, "explain", explain)
    assert session.optimize(chain(widest // 2)).candidates


def test_long_texts_are_planned_but_not_remembered_one_by_one(session: Session) -> None:
    for start in range(3):
        sql = JOIN.format(", ".join(map(str, range(start, start + 4000))))
        assert MAX_EXACT_LENGTH < len(sql) < MAX_BYTES
        result = session.execute(sql)
        assert result.fetchall() == [(1000 - start,)]
        assert result.decision is not None
        assert result.decision.candidates
    assert session._scope is not None
    assert not session._scope.exact
    assert len(session._scope.templates) == 1


def test_an_engine_that_plans_for_too_long_is_not_asked_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = chain(session.engine.capabilities.widest_join)
    monkeypatch.setattr(optimizers, "EXPLAIN_LIMIT_S", 0.02)
    for _ in range(optimizers.EXPLAIN_ATTEMPTS):
        prepared = session._decide(sql, None)
        assert "planning it took too long" in prepared.decision.reason
        assert prepared.rendered.sql == sql
    monkeypatch.setattr(session.engine, "explain", fail)
    assert (
        session._decide(sql, None).decision.reason == "left alone: the engine plans it for more than 0.02 s"
    )
    assert session.optimize(sql).action == "default"
    assert session.optimizer.counters["passed_through"] == optimizers.EXPLAIN_ATTEMPTS


def test_the_engine_plans_under_the_callers_time_limit(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []
    explain = session.engine.explain

    def noting(sql: str, params: Any = None, *, timeout_s: float | None = None) -> Any:
        assert timeout_s is not None
        limits.append(timeout_s)
        return explain(sql, params, timeout_s=timeout_s)

    monkeypatch.setattr(session.engine, "explain", noting)
    session.execute(JOIN.format("1"), timeout_s=0.3)
    session.execute(JOIN.format("1, 2, 3") + " AND b.id > 0", timeout_s=60)
    assert limits == [0.3, optimizers.EXPLAIN_LIMIT_S]


def test_a_short_limit_of_a_caller_spoils_nothing_for_the_next(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = JOIN.format("1")
    statistics = session.engine.statistics()
    with pytest.raises(QueryTimeout), statistics.within(0.0):
        statistics.load({"memory.main.t": ("id",)})
    explain = session.engine.explain

    def slow(sql: str, params: Any = None, *, timeout_s: float | None = None) -> Any:
        raise QueryTimeout(f"stopped after its time limit of {timeout_s} s")

    monkeypatch.setattr(session.engine, "explain", slow)
    for _ in range(5):
        assert session.execute(sql, timeout_s=0.2).fetchall() == [(1,)]
    monkeypatch.setattr(session.engine, "explain", explain)
    result = session.execute(sql)
    assert result.decision is not None
    assert result.decision.candidates
    found = statistics.column("memory.main.t", "id")
    assert found is not None
    assert found.distinct == 1000


CALLS = ["execute", "optimize", "features", "run_default", "run_steered"]


@pytest.mark.parametrize("call", [*CALLS, "explore"])
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (None, "a statement is a str, and this is None"),
        (b"SELECT 1", r"a statement is a str, and this is b'SELECT 1': decode it, as in sql.decode\(\)"),
        (["SELECT 1"], r"a statement is a str, and this is \['SELECT 1'\]"),
        (b"x" * 10**6, r"b'x{58}… \(bytes\)"),
    ],
)
def test_what_is_no_text_is_said_to_be_none(session: Session, call: str, statement: Any, said: str) -> None:
    before = dict(session.optimizer.counters)
    given = [statement] if call == "explore" else statement
    with pytest.raises(InvalidInput, match=said):
        getattr(session, call)(given)
    assert session.optimizer.counters == before


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("params", "said"),
    [
        (-1, r"params is -1; give a sequence of values \(\[-1\] for one\)"),
        ("x", "params is 'x'"),
        pytest.param(10**5000, "params is a int that cannot be shown", id="many digits"),
        ({"a": 1, 2: 3}, "params names 2; names of parameters are str"),
    ],
)
def test_what_are_no_parameters(session: Session, call: str, params: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        getattr(session, call)("SELECT count(*) FROM t WHERE id = ?", params)


@pytest.mark.parametrize("call", ["execute", "run_default", "run_steered"])
@pytest.mark.parametrize("limit", [0, -1, "1", True, pytest.param(-(10**5000), id="many digits")])
def test_what_is_no_time_limit(session: Session, call: str, limit: Any) -> None:
    with pytest.raises(InvalidInput, match=r"timeout_s is .*; give seconds above 0"):
        getattr(session, call)("SELECT 1", timeout_s=limit)


@pytest.mark.parametrize("cancel", [-1, 0, True, "now"])
def test_what_cannot_cancel(session: Session, cancel: Any) -> None:
    with pytest.raises(InvalidInput, match=r"cancel is .*; give a CancelToken"):
        session.execute("SELECT 1", cancel=cancel)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"budget": 10**400}, "budget is larger than any number"),
        ({"cap_s": None}, "cap_s is None; give seconds"),
        ({"cap_s": True}, "cap_s is True"),
        ({"cap_s": 10**400}, r"the cap of a run is beyond 1e\+09 s"),
        ({"cap_s": float("inf")}, "the cap of a run is beyond"),
        ({"cap_s": float("nan")}, "the cap of a run is nan s"),
        ({"progress": -1}, "progress is -1; give a function"),
        ({"progress": 0}, "progress is 0"),
    ],
)
def test_what_no_exploration_can_keep_to(session: Session, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        session.explore(["SELECT 1"], **{"budget": "1s", **given})


@pytest.mark.parametrize("address", ["\0", "a\0b.db", "\ud800", "bytes\udcff.db", "duckdb:///\0"])
def test_an_address_that_no_file_can_have(address: str) -> None:
    with pytest.raises(InvalidInput, match="no database has the address"):
        godb_fast.connect(address)


def test_a_closed_session_describes_nothing() -> None:
    session = godb_fast.connect("duckdb://")
    session.close()
    with pytest.raises(SessionClosed):
        session.features("SELECT 1")


@pytest.mark.parametrize("queries", [None, "SELECT 1", b"SELECT 1", 7])
def test_one_text_is_no_list_of_statements(session: Session, queries: Any) -> None:
    with pytest.raises(InvalidInput, match="give a list of statements"):
        session.explore(queries, "1s")
