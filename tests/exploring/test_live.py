"""Exploration on real engines: what it proves, what it keeps, and what happens when it is disturbed."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import Any

import duckdb
import pytest
from postgres_server import running_server

from godb_fast.core import Steering
from godb_fast.demo.site import HEAVY_SHARE, QUERIES, load_site
from godb_fast.engines.base import HasArms, Rendered
from godb_fast.engines.postgres.engine import PostgresEngine
from godb_fast.engines.registry import open_engine
from godb_fast.errors import ConnectionFailed, EngineError, InvalidInput, StoreError
from godb_fast.exploring.budget import Budget
from godb_fast.exploring.candidates import candidates
from godb_fast.exploring.explorer import Explorer
from godb_fast.exploring.live import LiveExploration, LiveSettings
from godb_fast.exploring.memo import MemoEntry
from godb_fast.exploring.space import PlanSpace
from godb_fast.exploring.subjects import LiveQuery, Subject, bucket_number, examine, region_of
from godb_fast.exploring.widening import widened
from godb_fast.session import Optimizer, Session
from godb_fast.store import Explorations, SqliteStore

#: Two many-to-many joins by a heavy value: in the order of FROM four million rows pass, the other way none.
SKEWED = LiveQuery(
    "skewed",
    "SELECT count(*) FROM a JOIN b ON a.k = b.k JOIN c ON c.m = b.m AND c.n = a.n WHERE c.tag = 'rare' AND a.n < 50",
)
COUNTED = LiveQuery("counted", "SELECT a.k, count(*) FROM a JOIN b ON a.k = b.k GROUP BY a.k ORDER BY a.k")
WRITING = LiveQuery("writing", "DELETE FROM a")
TABLES = (
    "CREATE TABLE a (k INTEGER, n INTEGER)",
    "CREATE TABLE b (k INTEGER, m INTEGER)",
    "CREATE TABLE c (m INTEGER, n INTEGER, tag VARCHAR)",
    "INSERT INTO a SELECT CASE WHEN i % 2 = 0 THEN 1 ELSE i END, i % 100 FROM generate_series(1, {n}) r(i)",
    "INSERT INTO b SELECT CASE WHEN i % 2 = 0 THEN 1 ELSE i END, i % 50 FROM generate_series(1, {n}) r(i)",
    "INSERT INTO c SELECT i % 50, i % 100, CASE WHEN i % 500 = 0 THEN 'rare' ELSE 'common' END "
    "FROM generate_series(1, {n}) r(i)",
)


@pytest.fixture
def records(tmp_path) -> Explorations:
    return SqliteStore(tmp_path / "store.sqlite").explorations


@pytest.fixture
def skewed(tmp_path) -> str:
    path = str(tmp_path / "skewed.duckdb")
    with duckdb.connect(path) as connection:
        for statement in TABLES:
            connection.execute(statement.format(n=3000))
    return path


@pytest.fixture
def server(postgres_url) -> str:
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in TABLES:
            connection.execute(statement.format(n=1500))
        connection.execute("ANALYZE")
    return postgres_url


class Stop:
    """Does something before the trial of a number."""

    def __init__(self, at: int, action: Any) -> None:
        self.at, self.action, self.seen = at, action, 0

    def __call__(self, what: str, spent_s: float, budget_s: float, ratio: float) -> None:
        if ":" in what:
            self.seen += 1
            if self.seen == self.at:
                self.action()


def interrupt() -> None:
    raise KeyboardInterrupt


# Nothing is worth exploring when the least time is a minute: the third save is then the last one.
@pytest.mark.parametrize("least_s", [0.0, 60.0])
def test_ctrl_c_right_after_the_state_was_written(least_s, skewed, records, monkeypatch):
    """It is as if it had come a moment later: nobody else explores here."""
    save, calls = Explorations.save, []
    monkeypatch.setattr("godb_fast.exploring.triage.LEAST_S", least_s)

    def interrupted(self, *arguments):
        found = save(self, *arguments)
        calls.append(found.revision)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Explorations, "save", interrupted)
    monkeypatch.setattr("godb_fast.exploring.saving.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr("godb_fast.exploring.saving.SAVE_TIMES", 0.0)
    with open_engine(skewed, read_only=True) as engine:
        report = LiveExploration(engine, [SKEWED, COUNTED], LiveSettings(cap_s=10.0), records=records).run(
            Budget(seconds=2.0)
        )
    assert report.interrupted
    assert calls == sorted(set(calls))
    assert len(calls) >= 4


@pytest.mark.parametrize(
    "budget", [("2x", None, 2.0), ("300s", 300.0, None), ("5m", 300.0, None), (2, 2.0, None)]
)
def test_budgets_are_read(budget):
    text, seconds, workloads = budget
    assert Budget.parse(text) == Budget(seconds, workloads)


def test_without_a_budget_short_workloads_get_half_a_minute():
    usual = Budget.parse(None)
    assert usual.seconds_for(100.0) == 200.0
    assert usual.raised(100.0) is None
    assert usual.seconds_for(1.5) == 30.0
    assert "3 s" in str(usual.raised(1.5))
    # Short queries run twice, and profiled: whatever that took, one run of all is left for trials.
    assert usual.seconds_for(100.0, 230.0) == 330.0
    assert "330 s" in str(usual.raised(100.0, 230.0))
    assert usual.seconds_for(100.0, 90.0) == 200.0
    assert Budget.parse("2x").seconds_for(100.0, 230.0) == 200.0
    # What a caller asks for is what there is.
    assert Budget.parse("2x").seconds_for(1.5) == 3.0
    assert Budget.parse("2x").raised(1.5) is Budget.parse("1s").raised(1.5) is None
    with pytest.raises(InvalidInput):
        Budget(workloads=2.0, least_s=float("inf"))
    with pytest.raises(InvalidInput):
        Budget(workloads=2.0, left=-1.0)


def test_half_a_minute_is_told_and_leaves_time_for_trials(skewed, monkeypatch):
    monkeypatch.setattr("godb_fast.exploring.triage.LEAST_S", 0.0)
    with open_engine(skewed, read_only=True) as engine:
        report = LiveExploration(engine, [SKEWED, COUNTED]).run(Budget.parse(None))
    assert report.budget_s == 30.0
    assert report.runs > 0
    assert [note for note in report.notes if "no budget was given" in note]


def test_queries_count_as_often_as_they_are_called(skewed, monkeypatch):
    """The shares of the workload's time are those of the calls; what a budget is a multiple of is not."""
    monkeypatch.setattr("godb_fast.exploring.triage.LEAST_S", 0.0)
    queries = [replace(COUNTED, weight=1.0), replace(SKEWED, weight=1e6)]
    with open_engine(skewed, read_only=True) as engine:
        report = LiveExploration(engine, queries).run(Budget(workloads=50.0))
    seldom, often = report.queries
    assert often.weight == pytest.approx(1e6 * seldom.weight)
    assert report.workload_s == pytest.approx(seldom.default_s + often.default_s)
    assert report.workload_s == pytest.approx(
        seldom.weight * seldom.default_s + often.weight * often.default_s
    )
    assert report.budget_s == pytest.approx(50.0 * report.workload_s)
    assert seldom.reason == "left alone: too little of the workload's time"
    assert often.plans > 0


@pytest.mark.parametrize("text", ["", "2", "x", "-1s", "0x", "1 week", True, float("nan")])
def test_other_budgets_are_refused(text):
    with pytest.raises(InvalidInput):
        Budget.parse(text)


@pytest.mark.parametrize("region", [b"", b"\0", b"\0\0\1", bytes(range(9))])
def test_regions_survive_as_buckets(region):
    assert region_of(bucket_number(region)) == region


def test_duckdb_exploration_keeps_within_its_budget_and_tells_what_it_left_alone(skewed, records):
    with open_engine(skewed) as engine:
        report = LiveExploration(engine, [SKEWED, COUNTED, WRITING], records=records).run(Budget(seconds=3.0))
        assert [entry.name for entry in report.queries] == ["skewed", "counted", "writing"]
        assert report.queries[2].reason.startswith("left alone")
        assert report.spent_s <= 3.0 + 1.0 or report.overspent is not None
        assert engine.run(examined(engine, COUNTED)).rows
    kept = records.remembered("duckdb", engine_name(skewed))
    assert [MemoEntry.from_dict(entry).steering for entry in kept] == [
        entry.entry.steering for entry in report.promoted if entry.entry is not None
    ]


def test_a_budget_that_ends_before_the_first_trial_is_said_and_can_be_gone_on_with(skewed, records):
    with open_engine(skewed) as engine:
        report = LiveExploration(engine, [SKEWED, COUNTED], records=records).run(Budget(seconds=1e-4))
        first, second = report.queries
        assert (first.default_s > 0.0, second.reason, report.runs) == (True, "not reached", 0)
        assert report.overspent is not None
        assert "left nothing for trials" in report.overspent
        assert 1e-4 < report.prepared_s <= report.spent_s
        further = LiveExploration(engine, [SKEWED, COUNTED], records=records, resume=True)
        assert further.run(Budget(seconds=4.0)).queries[1].default_s > 0.0


def test_what_is_spent_beyond_a_budget_is_told(skewed, records):
    with open_engine(skewed) as engine:
        report = LiveExploration(engine, [SKEWED, COUNTED]).run(Budget(workloads=0.01))
    assert report.budget_s == pytest.approx(0.01 * report.workload_s)
    assert report.overspent is not None
    assert f"{report.prepared_s:.2g} s" in report.overspent
    assert replace(report, spent_s=report.budget_s).overspent is None
    compared = replace(report, budget_s=5.0, prepared_s=1.0, spent_s=5.25).overspent
    assert compared == "0.25 s over the budget: answers of the last run were compared and kept"


def examined(engine: Any, query: LiveQuery) -> Any:
    subject = examine(engine, query)
    assert isinstance(subject, Subject)
    return candidates(engine, subject)["default"].rendered


def engine_name(path: str) -> str:
    with open_engine(path) as engine:
        return engine.environment()


def test_every_candidate_answers_as_the_default_does(skewed, server):
    for url in (skewed, server):
        with open_engine(url) as engine:
            for query in (SKEWED, COUNTED):
                subject = examine(engine, query)
                assert isinstance(subject, Subject)
                found = candidates(engine, subject)
                answers = {arm: sorted(engine.run(entry.rendered).rows) for arm, entry in found.items()}
                assert len(found) > 1, "nothing to try"
                assert all(rows == answers["default"] for rows in answers.values()), answers


def test_plans_are_told_apart_and_settings_put_back(server):
    with open_engine(server) as engine:
        assert isinstance(engine, HasArms)
        subject = examine(engine, COUNTED)
        assert isinstance(subject, Subject)
        found = candidates(engine, subject)
        digests = [entry.digest for entry in found.values()]
        assert len(set(digests)) == len(digests)
        off = engine.under(COUNTED.sql, None, Steering(settings=(("enable_hashjoin", "off"),)))
        assert "Hash Join" not in {node.operator for node in engine.explain_steered(off).root.walk()}
        engine.run(off)
        assert engine.explain(COUNTED.sql).digest() == found["default"].digest


def test_interrupted_and_resumed(server, records):
    with open_engine(server) as engine:
        first = LiveExploration(engine, [SKEWED, COUNTED], records=records, progress=Stop(3, interrupt))
        report = first.run(Budget(seconds=5.0))
        assert report.interrupted
        assert report.runs == 2
    with open_engine(server) as engine:
        second = LiveExploration(engine, [SKEWED, COUNTED], records=records, resume=True)
        again = second.run(Budget(seconds=report.spent_s + 5.0))
        assert not again.interrupted
        assert again.runs > 2
        assert again.spent_s > report.spent_s


def test_another_cap_does_not_resume(server, records):
    with open_engine(server) as engine:
        LiveExploration(engine, [COUNTED], records=records).run(Budget(seconds=0.1))
        with pytest.raises(InvalidInput, match="cap"):
            LiveExploration(engine, [COUNTED], LiveSettings(cap_s=5.0), records=records, resume=True)


def test_two_explorations_with_one_store(server, records):
    with open_engine(server) as engine, open_engine(server) as other:

        def also() -> None:
            LiveExploration(other, [COUNTED], records=records).run(Budget(seconds=0.2))

        first = LiveExploration(engine, [COUNTED], records=records, progress=Stop(2, also))
        with pytest.raises(StoreError, match="another process explores"):
            first.run(Budget(seconds=5.0))
        resumed = LiveExploration(engine, [COUNTED], records=records, resume=True).run(Budget(seconds=10.0))
        assert resumed.runs


def test_the_server_ends_the_connection(server, records):
    import psycopg

    with open_engine(server) as engine, psycopg.connect(server, autocommit=True) as killer:

        def kill() -> None:
            killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

        exploration = LiveExploration(engine, [SKEWED, COUNTED], records=records, progress=Stop(2, kill))
        with pytest.raises(ConnectionFailed, match="what was found is kept"):
            exploration.run(Budget(seconds=5.0))
    with open_engine(server) as engine:
        report = LiveExploration(engine, [SKEWED, COUNTED], records=records, resume=True).run(
            Budget(seconds=2.0)
        )
        assert report.runs >= 2


def test_a_server_that_is_killed_leaves_what_was_found_and_says_so(postgres_server, tmp_path, monkeypatch):
    import psycopg

    save, states = Explorations.save, []

    def noted(self, before, state):
        found = save(self, before, state)
        states.append(state)
        return found

    monkeypatch.setattr(Explorations, "save", noted)
    if postgres_server.process_id is None:
        pytest.skip("the server was not started by the tests, so it is not theirs to kill")
    store = SqliteStore(tmp_path / "store.sqlite")
    with running_server() as mortal:
        with psycopg.connect(mortal.url, autocommit=True) as connection:
            for statement in (*TABLES, "ANALYZE"):
                connection.execute(statement.format(n=500))

        def kill() -> None:
            os.kill(mortal.process_id, signal.SIGQUIT)
            while True:
                try:
                    psycopg.connect(mortal.url).close()
                except psycopg.Error:
                    return

        with (
            Session(Optimizer(store=store), open_engine(mortal.url)) as session,
            pytest.raises(ConnectionFailed, match="what was found is kept: resume goes on with it"),
        ):
            session.explore([SKEWED, COUNTED], "20s", progress=Stop(2, kill))
    assert len(states[-1]["baselines"]) == 2
    assert states[-1]["explorer"]["runs"] >= 1


def test_a_table_goes_away(server, records):
    import psycopg

    with open_engine(server) as engine, psycopg.connect(server, autocommit=True) as other:
        exploration = LiveExploration(
            engine, [COUNTED], records=records, progress=Stop(2, lambda: other.execute("DROP TABLE b"))
        )
        with pytest.raises(EngineError, match="tables or views have changed"):
            exploration.run(Budget(seconds=5.0))
        report = LiveExploration(engine, [COUNTED, SKEWED], records=records).run(Budget(seconds=0.5))
        assert report.queries[0].reason.startswith("left alone")


def test_permission_denied(server, records, tmp_path):
    import psycopg
    from psycopg.conninfo import make_conninfo

    with psycopg.connect(server, autocommit=True) as connection:
        name = "godb_explorer_" + server.rsplit("_", 1)[1]
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
        connection.execute(f"GRANT SELECT ON a, b TO {name}")
        try:
            from godb_fast.engines.postgres import PostgresEngine

            with (
                psycopg.connect(make_conninfo(server, user=name, password="x"), autocommit=True) as raw,
                PostgresEngine.borrow(raw) as engine,
            ):
                report = LiveExploration(engine, [SKEWED, COUNTED], records=records).run(Budget(seconds=5.0))
                assert "permission denied" in report.queries[0].reason
                assert report.queries[1].default_s > 0.0
        finally:
            connection.execute(f"DROP OWNED BY {name} CASCADE")
            connection.execute(f"DROP ROLE {name}")


def test_a_result_that_is_too_large_is_left_alone(server):
    with open_engine(server) as engine:
        report = LiveExploration(engine, [COUNTED], LiveSettings(most_rows=10)).run(Budget(seconds=0.5))
        assert "more than 10 rows" in report.queries[0].reason


def test_a_default_that_does_not_end_is_a_bound(server, records):
    slow = LiveQuery("slow", "SELECT count(*) FROM a, a x, b, b y WHERE a.n + x.n + b.m + y.m < 0")
    with open_engine(server) as engine:
        report = LiveExploration(engine, [slow], LiveSettings(cap_s=0.3), records=records).run(
            Budget(seconds=1.0)
        )
        assert report.queries[0].unfinished
        assert report.queries[0].default_s == 0.3


def test_sessions_explore(server, tmp_path):
    optimizer = Optimizer(store=SqliteStore(tmp_path / "s.sqlite"))
    with Session(optimizer, open_engine(server)) as session:
        report = session.explore([COUNTED.sql, WRITING], "0.5s", cap_s=5)
        assert report.queries[1].reason.startswith("left alone")
        session.execute("BEGIN")
        with pytest.raises(InvalidInput, match="transaction"):
            session.explore([COUNTED.sql], "1s")
        session.execute("ROLLBACK")
    optimizer.store.close()


def test_a_rewrite_that_the_engine_finds_cheaper_is_tried_first(server):
    """A subquery that is computed for each row again: the default does not end, its decorrelated form does."""
    endless = LiveQuery(
        "endless",
        "SELECT a.n, count(*) AS c FROM a WHERE a.n > (SELECT 0.5 * avg(x.n) FROM a x, b y WHERE x.k = y.k AND x.n = a.n) "
        "GROUP BY a.n ORDER BY a.n",
    )
    with open_engine(server) as engine:
        exploration = LiveExploration(engine, [endless], LiveSettings(cap_s=3.0))
        report = exploration.run(Budget(seconds=40.0))
    (outcome,) = report.queries
    assert outcome.entry is not None, report.refusals
    assert outcome.entry.steering.rewrites
    assert str(outcome.arm).startswith("rewrite decorrelate_aggregate@1")
    assert outcome.entry.evidence.ratio < 0.5


def test_of_a_statement_that_writes_its_query_is_explored_alone(server):
    writing = LiveQuery("writing", f"CREATE TABLE made AS {COUNTED.sql}")
    with open_engine(server) as engine:
        subject = examine(engine, writing)
        assert isinstance(subject, Subject)
        assert (subject.query.name, subject.query.sql) == ("writing, its query", COUNTED.sql)
        report = LiveExploration(engine, [writing], LiveSettings(cap_s=5.0)).run(Budget(seconds=5.0))
        assert report.queries[0].default_s > 0.0
        assert engine.run(Rendered("SELECT to_regclass('made')")).rows == [(None,)]


def test_the_temporary_files_of_a_trial_are_limited_where_the_role_may_ask(server):
    steering = Steering(settings=(("enable_hashjoin", "off"),))
    with open_engine(server) as engine:
        assert isinstance(engine, PostgresEngine)
        sql = "SELECT current_setting('temp_file_limit')"
        assert engine.run(engine.guarded(engine.under(sql, None, steering))).rows == [("10GB",)]
        assert engine.run(Rendered(sql)).rows == [("-1",)]
        # As an ordinary role sees it.
        del engine.steering_settings().allowed["temp_file_limit"]
        assert engine.guarded(engine.under(sql, None, steering)) == engine.under(sql, None, steering)


def test_queries_that_the_budget_has_no_time_for_are_not_asked_about(skewed, records, monkeypatch):
    """Asking takes a part of what the baselines left; a next process goes on with that, or more if it may."""
    queries = [
        LiveQuery(f"q{n}", f"SELECT count(*) FROM a JOIN b ON a.k = b.k WHERE a.n <> {n}") for n in range(12)
    ]
    monkeypatch.setattr("godb_fast.exploring.triage.LEAST_S", 0.0)
    monkeypatch.setattr("godb_fast.exploring.live.ASKING_SHARE", 0.0)
    with open_engine(skewed, read_only=True) as engine:
        report = LiveExploration(engine, queries, records=records).run(Budget(seconds=30.0))
        assert [entry.plans > 0 for entry in report.queries].count(True) == 1
        assert [entry.reason for entry in report.queries].count("left alone: the budget did not reach it") > 0
        monkeypatch.setattr("godb_fast.exploring.live.ASKING_SHARE", 1.0)
        again = LiveExploration(engine, queries, records=records, resume=True).run(Budget(seconds=30.0))
        assert [entry.plans for entry in again.queries] == [entry.plans for entry in report.queries]
        more = LiveExploration(engine, queries, records=records, resume=True).run(Budget(seconds=60.0))
        assert all(entry.plans > 0 for entry in more.queries)
        assert again.spent_s > report.spent_s
        assert not again.notes


def test_reading_the_statements_is_charged(skewed, records, monkeypatch):
    from godb_fast.exploring import live

    def slowly(engine, query, backend=None):
        time.sleep(0.3)
        return examine(engine, query, backend)

    monkeypatch.setattr(live, "examine", slowly)
    with open_engine(skewed, read_only=True) as engine:
        report = LiveExploration(engine, [SKEWED, COUNTED], records=records).run(Budget(seconds=2.0))
    assert report.spent_s >= 0.6


def test_with_more_to_spend_it_goes_on_over_queries_that_it_had_no_time_for(tmp_path, records):
    with duckdb.connect(str(tmp_path / "site.duckdb")) as connection:
        load_site(connection, HEAVY_SHARE, 0.2)
    queries = [LiveQuery(name, sql.strip()) for name, sql in QUERIES.items()]
    with open_engine(str(tmp_path / "site.duckdb"), read_only=True) as engine:
        first = LiveExploration(engine, queries, records=records)
        few = first.run(Budget(workloads=1.0))
        asked = len(first._candidates)
        assert asked < len(first._chosen) + len(first._beyond)
        seen = first._explorer.seen.kind.copy()
    with open_engine(str(tmp_path / "site.duckdb"), read_only=True) as engine:
        # As much as before: it goes on where it was.
        same = LiveExploration(engine, queries, records=records, resume=True)
        same.run(Budget(seconds=few.budget_s))
        assert len(same._candidates) == asked
    with open_engine(str(tmp_path / "site.duckdb"), read_only=True) as engine:
        second = LiveExploration(engine, queries, records=records, resume=True)
        more = second.run(Budget(seconds=few.spent_s + 30.0))
        assert len(second._candidates) > asked
        assert not any("begin anew" in note for note in more.notes)
        # What was seen is not asked again.
        kept = second._explorer.seen.kind[: len(seen)]
        assert (kept[seen != 0] == seen[seen != 0]).all()
        assert more.runs > few.runs
        assert len(more.promoted) > len(few.promoted)
        assert more.now_s < 0.9 * more.workload_s


def test_trials_outlive_a_process_that_is_stopped_among_further_baselines(skewed, records, monkeypatch):
    queries = [
        LiveQuery(f"q{n}", SKEWED.sql.replace("count(*)", ", ".join(["count(*)"] * (n + 1))))
        for n in range(6)
    ]
    monkeypatch.setattr("godb_fast.exploring.triage.LEAST_S", 0.0)
    monkeypatch.setattr("godb_fast.exploring.triage.TIME_SHARE", 1.1)

    def explore(numbers, stop=False, **how):
        """With the engine's own plans of these queries alone; then stopped, if that is asked for."""

        def measure(self, budget):
            for number in numbers:
                if number not in self._baselines:
                    self._baselines[number] = self._executor.baseline(number)
                    self._saving.save()
            if stop:
                raise KeyboardInterrupt

        monkeypatch.setattr(LiveExploration, "_measure_defaults", measure)
        with open_engine(skewed, read_only=True) as engine:
            exploration = LiveExploration(engine, queries, records=records, **how)
            return exploration, exploration.run(Budget(seconds=30.0))

    first, report = explore([4, 5])
    assert len(first._digests) == 2
    assert report.runs > 0
    seen = first._explorer.seen.kind
    assert explore([0, 1], stop=True, resume=True)[1].interrupted
    second, more = explore(range(6), resume=True)
    assert not any("begin anew" in note for note in more.notes)
    assert second._chosen[:2] == first._chosen
    kept = second._explorer.seen.kind[: len(seen)]
    assert (kept[seen != 0] == seen[seen != 0]).all()


def test_an_exploration_with_other_plans_is_not_widened():
    space = PlanSpace.of([["a", "b"], ["c", "c"]], [1.0, 1.0])
    state = Explorer(space).to_dict()
    wider = PlanSpace.of([["a", "b"], ["c", "c"], ["d", "e"]], [1.0, 1.0, 2.0])
    now = [["a", "b"], ["c", "c"], ["d", "e"]]
    found = widened(state, now[:2], now, Explorer(wider), [(0, 1, 0.5), (2, 1, 0.5)])
    assert found is not None
    resumed = Explorer(wider, state=found)
    assert resumed.workload_s == 4.0
    assert resumed.next(100.0).query == 2
    assert widened(state, now[:2], [["a", "x"], *now[1:]], Explorer(wider), []) is None
    assert widened(state, now, now, Explorer(wider), []) is None
