"""Plans with actual rows out of a real server's log: they teach what our own runs would, and nothing runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres_contrib import SETTINGS, LoggingServer, contrib_programs
from postgres_server import NoServer, started

from godb_fast import connect
from godb_fast.cli import main
from godb_fast.errors import InvalidInput
from godb_fast.planning.draft import CORRECTED
from godb_fast.policy import Policy
from godb_fast.store import SqliteStore
from godb_fast.workload.logged_plans import LoggedPlans

TABLES = (
    "CREATE TABLE a AS SELECT i % 50 AS k, CASE WHEN i % 3 = 0 THEN 1 ELSE 2 + i % 50 END AS x, "
    "CASE WHEN i % 3 = 0 THEN 1 ELSE 2 + i % 49 END AS y, CASE WHEN i % 3 = 0 THEN 1 ELSE 2 + i % 51 END AS z "
    "FROM generate_series(0, 5999) r(i)",
    "CREATE TABLE b AS SELECT i % 50 AS k, i * 7919 % 500 AS m FROM generate_series(0, 5999) r(i)",
    "CREATE TABLE d AS SELECT i AS m, i % 100 AS t FROM generate_series(0, 499) r(i)",
    "ANALYZE",
)
#: The three conditions on a hold for the same third of its rows.
SQL = "SELECT count(*) FROM a, b, d WHERE a.k = b.k AND b.m = d.m AND a.x = 1 AND a.y = 1 AND a.z = 1 AND d.t < {}"


@pytest.fixture(scope="module")
def server() -> Iterator[LoggingServer]:
    """One of its own: other tests count what is in the log of theirs."""
    try:
        running = started(contrib_programs(), SETTINGS)
        opened = running.__enter__()
    except NoServer as reason:
        pytest.skip(str(reason))
    try:
        yield LoggingServer(opened)
    finally:
        running.__exit__(None, None, None)


@pytest.fixture
def logged(server: LoggingServer) -> Any:
    """A database, and the folder with the log of what ran on it."""
    with server.server.database("plans") as url:
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as raw:
            for statement in TABLES:
                raw.execute(statement)
            raw.execute("SET auto_explain.log_format = 'json'")
            for number in range(1, 41):
                raw.execute(SQL.format(number)).fetchall()
            # What reads a part of its rows, and what writes.
            with raw.transaction(), raw.cursor("part") as cursor:
                cursor.execute("SELECT a.k FROM a, b WHERE a.k = b.k AND a.x = 1").fetchmany(3)
            raw.execute("DELETE FROM d WHERE m = -1")
            raw.execute("SET auto_explain.log_analyze = off")
            raw.execute(SQL.format(50)).fetchall()
        yield url, str(server.settled())


def test_each_plan_is_as_explain_analyze_would_show_it(logged: Any) -> None:
    url, folder = logged
    plans = LoggedPlans((folder,), database=url.rsplit("/", 1)[1])
    found = {plan.text: plan for plan in plans}
    assert {SQL.format(number) for number in range(1, 41)} <= set(found)
    assert SQL.format(50) not in found
    assert plans.skipped["as text, or without actual rows"] >= 1
    plan = found[SQL.format(20)]
    assert (plan.sql, plan.plan.source) == (SQL.format(20), "auto_explain")
    assert plan.plan.latency_ms == plan.latency_ms > 0
    scans = {node.table.rsplit(".")[-1]: node.rows for node in plan.plan.root.walk() if node.table}
    assert (scans["a"], scans["d"]) == (2000, 100)


def test_rows_correct_decisions_and_are_kept(logged: Any, tmp_path: Path) -> None:
    url, folder = logged
    policy = Policy(learn_from_ms=1e-3, learn_share=math.inf, background=False)
    store = SqliteStore(tmp_path / "store.sqlite")
    with connect(url, mode="advise", policy=policy, store=store) as session:
        session.execute(SQL.format(20))
        assert CORRECTED not in session.optimize(SQL.format(21)).reason
        learned = session.learn_from_log(folder)
        assert (learned.plans, learned.templates) == (20, 1)
        assert learned.skipped["beyond 20 of one statement"] == 20
        # The portal that was read in part, and what writes.
        assert learned.skipped["a statement that is not planned for"] >= 2
        session.execute(SQL.format(20))
        assert session.optimize(SQL.format(21)).reason.endswith(CORRECTED)
        assert session.optimizer.counters.get("not_learned", 0) == 0
    with connect(url, mode="advise", policy=policy, store=store) as session:
        session.execute(SQL.format(22))
        session.execute(SQL.format(22))
        assert session.optimize(SQL.format(23)).reason.endswith(CORRECTED)
    store.close()


def test_costs_are_learned_without_running_anything(logged: Any, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("GODB_FAST_STORE", "off")
    url, folder = logged
    assert main(["costs", url, "--log", folder, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["executions"] >= 40
    assert {"scan_rows", "build_rows"} <= {each["term"] for each in facts["coefficients"]}
    assert any("log_analyze" in why for why in facts["left_out"].values())


def test_what_is_no_such_log_is_said(logged: Any, tmp_path: Path, capsys: Any) -> None:
    url, _ = logged
    (tmp_path / "other.txt").write_text("no log at all\n")
    with connect(url, mode="advise") as session:
        with pytest.raises(InvalidInput, match=r"auto_explain\.log_format"):
            session.learn_from_log(str(tmp_path))
        with pytest.raises(InvalidInput, match="no file or folder"):
            session.learn_from_log(str(tmp_path / "nowhere"))
    with connect("duckdb://") as session, pytest.raises(InvalidInput, match="this is duckdb"):
        session.learn_from_log(str(tmp_path))
    assert main(["costs", url]) == 2
    assert "--log" in capsys.readouterr().err
