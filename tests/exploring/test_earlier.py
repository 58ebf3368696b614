"""What earlier explorations left behind: verified again first, forgotten where it is lost, former plans tried."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from godb_fast.core import Steering
from godb_fast.engines.registry import open_engine
from godb_fast.exploring import Evidence, MemoEntry
from godb_fast.exploring.budget import Budget
from godb_fast.exploring.candidates import candidates
from godb_fast.exploring.earlier import FORMER_ARM, PROVED_ARM, Earlier, FormerPlan, key_of
from godb_fast.exploring.live import LiveExploration, LiveSettings
from godb_fast.exploring.subjects import LiveQuery, Subject, examine
from godb_fast.store import Explorations, SqliteStore

#: Of a and of b. Hashing the two joined makes nine million rows; with c first there are few.
ROWS = 6_000
QUERY = LiveQuery(
    "skewed",
    "SELECT count(*) FROM a JOIN b ON a.k = b.k JOIN c ON c.m = b.m AND c.n = a.n WHERE c.tag = 'rare' AND a.n < 50",
)
SLOW: Any = (0, (2, (0, 1)))
FAST: Any = (0, (0, (1, 2)))


@pytest.fixture
def database(tmp_path) -> str:
    path = str(tmp_path / "skewed.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute(
            f"CREATE TABLE a AS SELECT CASE WHEN i % 2 = 0 THEN 1 ELSE i END AS k, i % 100 AS n FROM range({ROWS}) r(i)"
        )
        connection.execute(
            f"CREATE TABLE b AS SELECT CASE WHEN i % 2 = 0 THEN 1 ELSE i END AS k, i % 50 AS m FROM range({ROWS}) r(i)"
        )
        connection.execute(
            "CREATE TABLE c AS SELECT i % 50 AS m, i % 100 AS n, CASE WHEN i % 50000 = 1 THEN 'rare' ELSE 'common' END "
            "AS tag FROM range(2000000) r(i)"
        )
    return path


@pytest.fixture
def records(tmp_path) -> Explorations:
    return SqliteStore(tmp_path / "store.sqlite").explorations


def subject_of(engine: Any) -> Subject:
    subject = examine(engine, QUERY)
    assert isinstance(subject, Subject)
    return subject


class Watched(LiveExploration):
    """Notes what is tried."""

    def __init__(self, engine: Any, records: Explorations) -> None:
        self.tried: list[str] = []
        super().__init__(
            engine,
            [QUERY],
            LiveSettings(cap_s=20.0),
            records=records,
            progress=lambda what, *_: self.see(what),
        )

    def see(self, what: str) -> None:
        if ": " in what and not what.endswith(": default"):
            self.tried.append(what.split(": ")[1])


@pytest.mark.parametrize("steering", [Steering(join_trees=(SLOW,)), Steering(join_trees=(FAST,))])
def test_what_was_proved_earlier_is_verified_first_and_kept_only_if_it_holds(database, records, steering):
    with open_engine(database, read_only=True) as engine:
        subject = subject_of(engine)
        default_s = (
            min(engine.run(candidates(engine, subject)["default"].rendered).latency_ms for _ in range(3))
            / 1e3
        )
        sent = engine.render(subject.template, subject.literals, steering)
        slower = min(engine.run(sent).latency_ms for _ in range(3)) / 1e3 > 1.5 * default_s
        proof = Evidence(5, 0.4, 0.3, 0.6, 1.0, "a tale", default_s)
        records.remember(
            "duckdb",
            engine.environment(),
            MemoEntry(key_of(subject), steering, engine.schema_epoch(), proof, reverify=True).to_dict(),
        )
        exploration = Watched(engine, records)
        report = exploration.run(Budget(seconds=10.0))
        found = candidates(engine, subject, lambda digest: [(PROVED_ARM, steering)])
        mine = [arm for arm, candidate in found.items() if candidate.steering == steering]
        kept = [MemoEntry.from_dict(raw) for raw in records.remembered("duckdb", engine.environment())]
    if not mine:
        pytest.skip("the engine's own plan has these join trees already")
    assert exploration.tried[0] == mine[0]
    refuted = any("does not hold any more" in note for note in report.notes)
    if slower:
        assert all(entry.steering != steering for entry in kept), report.to_dict()
        assert refuted or report.promoted
    # What is neither better nor worse, as far as the budget goes, waits for the next exploration.
    assert any(entry.reverify for entry in kept) is not (refuted or bool(report.promoted)), report.to_dict()


def test_a_plan_of_the_engine_that_got_worse_is_noticed_and_the_former_tried(database, records):
    with open_engine(database, read_only=True) as engine:
        subject, where = subject_of(engine), engine.environment()
        Watched(engine, records).run(Budget(seconds=0.5))
        ((fingerprint, bucket, plan),) = records.default_plans("duckdb", where)
        now = FormerPlan.from_dict(plan)
        assert now.digest == candidates(engine, subject)["default"].digest
        assert now.trees.join_trees
        # As if it had been another plan, and faster: the worse of two orders, to see that it is not believed.
        before = FormerPlan("another", now.seconds / 10, Steering(join_trees=(SLOW,)), 1.0)
        records.keep_default_plans("duckdb", where, [(fingerprint, bucket, before.to_dict())])
        exploration = Watched(engine, records)
        report = exploration.run(Budget(seconds=3.0))
        (note,) = [note for note in report.notes if "own plan has changed" in note]
        assert f"instead of {before.seconds:.3g} s" in note
        same = now.trees == before.trees
        assert same or exploration.tried[0] in (FORMER_ARM, *candidates(engine, subject))
        # The faster one stays on record, so that it goes on being missed.
        ((*_, plan),) = records.default_plans("duckdb", where)
        assert FormerPlan.from_dict(plan) == before


@pytest.mark.parametrize("trees", [Steering(), Steering(join_trees=(SLOW,)), Steering(join_trees=(FAST,))])
def test_the_same_plan_that_took_longer_this_time_is_nothing_to_go_back_to(database, records, trees):
    with open_engine(database, read_only=True) as engine:
        subject, where = subject_of(engine), engine.environment()
        own = candidates(engine, subject)["default"]
        key = key_of(subject)
        before = FormerPlan(own.digest, 1e-6, trees, 1.0)
        kept = (f"{key.fingerprint:016x}", str(key.bucket), before.to_dict())
        records.keep_default_plans("duckdb", where, [kept])
        assert not list(Earlier(records, "duckdb", where).to_verify(subject, own.digest, 1.0))
        exploration = Watched(engine, records)
        report = exploration.run(Budget(seconds=0.5))
        assert FORMER_ARM not in exploration.tried
        assert not report.notes
        # Another plan of which nothing can be asked for is none to go back to, either.
        gone = FormerPlan("another", 1e-6, Steering(), 1.0)
        records.keep_default_plans("duckdb", where, [(*kept[:2], gone.to_dict())])
        assert any(
            "own plan has changed" in note for note in Watched(engine, records).run(Budget(seconds=0.5)).notes
        )
