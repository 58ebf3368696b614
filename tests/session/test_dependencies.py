"""What was learned of a statement ends with what the statement itself uses, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from godb_fast import carrying, experience
from godb_fast.core import Steering
from godb_fast.engines.registry import open_engine
from godb_fast.exploring import Evidence, MemoEntry, MemoKey
from godb_fast.exploring.candidates import candidates
from godb_fast.exploring.subjects import LiveQuery, Subject, bucket_number, examine
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.store import SqliteStore

SQL = "SELECT a.k, count(*) AS n FROM a JOIN b ON a.k = b.k JOIN v ON v.k = b.k WHERE a.n < 500 GROUP BY a.k ORDER BY a.k"
TABLES = (
    "CREATE TABLE a AS SELECT i % 40 AS k, i % 1000 AS n FROM generate_series(1, 4000) r(i)",
    "CREATE TABLE b AS SELECT i % 40 AS k FROM generate_series(1, 400) r(i)",
    "CREATE TABLE c AS SELECT i % 40 AS k FROM generate_series(1, 40) r(i)",
    "CREATE VIEW v AS SELECT k FROM c WHERE k < 30",
    "CREATE TABLE other AS SELECT i AS id FROM generate_series(1, 100) r(i)",
)


class Database:
    """One engine's database; ``admin`` runs a statement on another connection, of whoever owns it."""

    def __init__(self, url: str, admin: Callable[[str], Any], settings: Steering | None) -> None:
        self.url, self.admin, self.settings = url, admin, settings

    def steering(self) -> Steering:
        if self.settings is not None:
            return self.settings
        with open_engine(self.url) as engine:
            subject = examine(engine, LiveQuery("q", SQL))
            assert isinstance(subject, Subject)
            found = candidates(engine, subject).values()
            return next((each.steering for each in found if each.steering.join_trees), _ANY_TREE)


#: c first, then b, then a.
_ANY_TREE = Steering(join_trees=((0, ((2, 1), 0)),))


@pytest.fixture(params=["postgres", "duckdb"])
def database(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Database]:
    if request.param == "postgres":
        import psycopg

        url = request.getfixturevalue("postgres_url")
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in (*TABLES, "ANALYZE"):
                connection.execute(statement)
            yield Database(url, connection.execute, Steering(settings=(("enable_hashjoin", "off"),)))
        return
    import duckdb

    path = str(tmp_path / "x.duckdb")

    def admin(statement: str) -> None:
        # DuckDB lets one process write: each change is made while nobody else has the file.
        with duckdb.connect(path) as connection:
            connection.execute(statement)

    for statement in TABLES:
        admin(statement)
    yield Database(path, admin, None)


@pytest.fixture
def store(tmp_path: Any) -> SqliteStore:
    return SqliteStore(tmp_path / "store.sqlite")


def prove(database: Database, store: SqliteStore, url: str | None = None) -> MemoEntry:
    """What a promotion keeps."""
    steering = database.steering()
    with open_engine(url or database.url) as engine:
        subject = examine(engine, LiveQuery("q", SQL))
        assert isinstance(subject, Subject)
        uses = subject.dependencies
        assert uses is not None
        rows = tuple((table, float(engine.statistics().rows(table))) for table in uses.tables)
        proof = Evidence(5, 0.4, 0.3, 0.6, 0.0, "arm", 60.0, rows=rows, analyzed=uses.analyzed)
        entry = MemoEntry(
            MemoKey(subject.template.fingerprint, bucket_number(subject.region)),
            steering,
            engine.schema_epoch(),
            proof,
            dependencies=uses.digest,
        )
        store.explorations.remember(engine.name, engine.environment(), entry.to_dict())
        return entry


def session(url: str, store: SqliteStore | None = None, **policy: Any) -> Session:
    optimizer = Optimizer(policy=Policy(background=False, **policy), store=store)
    return Session(optimizer, open_engine(url), mode="steer")


def steers(database: Database, store: SqliteStore) -> bool:
    """Whether a new process steers by what was proved; its rows are right in either case."""
    with session(database.url, store) as opened:
        result = opened.execute(SQL)
        assert result.fetchall() == list(opened.run_default(SQL).rows)
        decision = result.decision
        assert decision is not None
        assert result.observation.steered == decision.reason.startswith("verified")
        return result.observation.steered


UNRELATED = (
    "CREATE TABLE one_more (id integer)",
    "CREATE VIEW another AS SELECT id FROM other",
    "ALTER TABLE other ADD COLUMN z integer",
    "CREATE UNIQUE INDEX other_id ON other (id)",
    "INSERT INTO other SELECT id + 1000 FROM other",
    "DROP TABLE other CASCADE",
)


@pytest.mark.parametrize("change", UNRELATED)
def test_a_change_of_something_else_ends_nothing(database, store, change):
    prove(database, store)
    assert steers(database, store)
    with open_engine(database.url) as engine:
        before = engine.schema_epoch()
    if change.startswith("DROP") and not database.url.startswith("postgres"):
        change = "DROP TABLE other"
    database.admin(change)
    with open_engine(database.url) as engine:
        assert engine.schema_epoch() != before or change.startswith(("INSERT", "CREATE UNIQUE"))
    assert steers(database, store)


USED = (
    "ALTER TABLE a ADD COLUMN z integer",
    "ALTER TABLE c ADD COLUMN z integer",
    "ALTER TABLE b ALTER COLUMN k TYPE numeric(18)",
    "ALTER TABLE a RENAME COLUMN n TO m; ALTER TABLE a ADD COLUMN n integer DEFAULT 7",
    "CREATE INDEX by_k ON b (k)",
    "CREATE OR REPLACE VIEW v AS SELECT k FROM c WHERE k < 3",
    "DROP TABLE b; CREATE TABLE b AS SELECT i % 40 AS k, i AS j FROM generate_series(1, 400) r(i)",
    "INSERT INTO c SELECT k FROM c, generate_series(1, 50)",
)


@pytest.mark.parametrize("change", USED)
def test_a_change_of_what_it_uses_ends_it(database, store, change):
    prove(database, store)
    assert steers(database, store)
    for statement in change.split(";"):
        database.admin(statement)
    assert not steers(database, store)


def test_what_does_not_say_on_what_it_rests_rests_on_the_whole_catalogue(database, store):
    entry = replace(prove(database, store), dependencies="")
    raw = entry.to_dict()
    # As a store of an earlier version holds it.
    del raw["dependencies"]
    del raw["evidence"]["analyzed"]
    assert MemoEntry.from_dict(raw).evidence == replace(entry.evidence, analyzed=())
    with open_engine(database.url) as engine:
        store.explorations.remember(engine.name, engine.environment(), raw)
    assert steers(database, store)
    database.admin(UNRELATED[0])
    assert not steers(database, store)


def test_explored_then_something_else_changes_then_a_new_process(database, store):
    """The whole way: what an exploration keeps is what a later process finds."""
    with session(database.url, store) as opened:
        report = opened.explore([SQL], "3s", cap_s=5.0)
        (outcome,) = report.queries
    # So small a query may have nothing better: then what would have been kept is.
    if outcome.entry is None:
        prove(database, store)
    else:
        assert outcome.entry.dependencies
        assert {table.rpartition(".")[2] for table, _ in outcome.entry.evidence.rows} == {"a", "b", "c"}
    database.admin(UNRELATED[0])
    assert steers(database, store)
    database.admin(USED[0])
    assert not steers(database, store)


# -- within one process ---------------------------------------------------------------------------------


@pytest.fixture
def server(postgres_url: str) -> Iterator[Database]:
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in (*TABLES, "ANALYZE"):
            connection.execute(statement)
        yield Database(postgres_url, connection.execute, Steering(settings=(("enable_hashjoin", "off"),)))


def test_a_running_session_goes_on_after_a_change_of_something_else(server, store):
    prove(server, store)
    with session(server.url, store) as opened:
        assert opened.execute(SQL).observation.steered
        server.admin("CREATE TABLE one_more (id integer)")
        # The steered run's own round trip finds another epoch: that result is discarded, and decided anew.
        result = opened.execute(SQL)
        assert result.observation.steered
        assert result.fetchall() == list(opened.run_default(SQL).rows)
        assert opened.optimizer.counters["outdated"] == 1
        assert opened.optimizer.counters["carried"] == 1
        server.admin("ALTER TABLE a ADD COLUMN z integer")
        opened.execute(SQL)
        assert not opened.execute(SQL).observation.steered
        assert opened.optimizer.counters["carried"] == 1


def test_who_changes_the_schema_all_the_time_is_steered_as_well(server, store):
    """A session that makes a temporary table before each statement."""
    prove(server, store)
    with session(server.url, store) as opened:
        for number in range(5):
            opened.execute(f"CREATE TEMP TABLE scratch_{number} AS SELECT {number} AS id")
            assert opened.execute(SQL).observation.steered
        opened.execute("CREATE TEMP TABLE b AS SELECT 1 AS k")
        result = opened.execute(SQL)
        assert not result.observation.steered
        assert len(result.fetchall()) == 1


def test_a_wrapped_connection_is_steered_after_a_change_of_something_else(server, store):
    import psycopg

    from godb_fast.dbapi import wrap

    prove(server, store)
    optimizer = Optimizer(policy=Policy(background=False), store=store)
    with wrap(psycopg.connect(server.url, autocommit=True), optimizer=optimizer, mode="steer") as connection:
        for number in range(3):
            expected = connection.execute(SQL).fetchall()
            assert optimizer.counters["steered"] == number + 1
            server.admin(f"CREATE TABLE more_{number} (id integer)")
        assert optimizer.counters["outdated"] == 2
        server.admin("CREATE OR REPLACE VIEW v AS SELECT k FROM c WHERE k < 3")
        assert connection.execute(SQL).fetchall() == expected[:3]
        assert optimizer.counters["steered"] == 3


def test_what_was_refused_stays_refused_after_a_change_of_something_else(server):
    with session(server.url) as opened:
        opened.execute(SQL)
        scope = opened.optimizer.scope(opened.engine)
        ((_, known),) = scope.templates.values()
        known.quarantine["x"] = "it was slow"
        known.baseline_ms[b"r"] = 5.0
        server.admin("CREATE TABLE one_more (id integer)")
        opened.optimizer.decide(opened.engine, new := opened.optimizer.scope(opened.engine), SQL)
        assert new is not scope
        ((_, carried),) = new.templates.values()
        assert carried is not known
        assert carried.planner is known.planner
        assert carried.quarantine == {"x": "it was slow"}
        assert carried.baseline_ms[b"r"] == 5.0
        # From here on each learns for itself.
        carried.quarantine["y"] = "it failed"
        assert "y" not in known.quarantine
        for change in ("ANALYZE b", "ALTER TABLE c ADD COLUMN z integer"):
            server.admin(change)
            server.admin(f"CREATE TABLE more_{change[:3]} (id integer)")
            opened.optimizer.decide(opened.engine, last := opened.optimizer.scope(opened.engine), SQL)
            ((_, fresh),) = last.templates.values()
            assert not fresh.quarantine, change
            fresh.quarantine["x"] = "again"


def test_carried_templates_decide_as_fresh_ones(server):
    """New literals, on the short way too, come to the same plans."""
    texts = [SQL.replace("500", str(number)) for number in (3, 50, 400, 900)]
    with session(server.url) as opened:
        for text in texts:
            opened.optimize(text)
        server.admin("CREATE TABLE one_more (id integer)")
        opened.execute(texts[0])
        assert opened.optimizer.counters["carried"] == 1
        carried = [opened.optimize(text.replace("<", "<=")).steering for text in texts]
        again = [opened.optimize(text + " ").steering for text in texts]
    with session(server.url) as fresh:
        assert carried == [fresh.optimize(text.replace("<", "<=")).steering for text in texts]
        assert again == [fresh.optimize(text + " ").steering for text in texts]


SHADOWS = (
    "CREATE TEMP TABLE b AS SELECT 1 AS k",
    "CREATE TEMP VIEW v AS SELECT 1 AS k",
    "CREATE TEMP TABLE c AS SELECT 5 AS k; SELECT 1",
    "SET search_path = first, public",
)


@pytest.mark.parametrize("shadow", SHADOWS)
def test_a_name_that_means_something_else_gives_right_rows(server, store, shadow):
    """Proved of the tables in public; then a temporary one, or one earlier in the path, takes a name."""
    prove(server, store)
    server.admin("CREATE SCHEMA first")
    server.admin("CREATE TABLE first.a AS SELECT 1 AS k, 1 AS n")
    with session(server.url, store) as opened:
        assert opened.execute(SQL).observation.steered
        for statement in shadow.split(";"):
            opened.execute(statement)
        expected = list(opened.run_default(SQL).rows)
        for _ in range(3):
            result = opened.execute(SQL)
            assert result.fetchall() == expected
            # A temporary c is behind no view: v reads public.c. But the name alone is not trusted.
            assert not (result.decision is not None and result.decision.reason.startswith("verified"))


def test_a_new_view_earlier_in_the_path_ends_it(server, store):
    server.admin("CREATE SCHEMA first")
    url = f"{server.url}{'&' if '?' in server.url else '?'}options=-csearch_path%3Dfirst,public"
    prove(server, store, url)
    with session(url, store) as opened:
        assert opened.execute(SQL).observation.steered
        server.admin("CREATE VIEW first.b AS SELECT 1 AS k")
        for _ in range(2):
            result = opened.execute(SQL)
            assert result.fetchall() == list(opened.run_default(SQL).rows)
            assert len(opened.run_default(SQL).rows) == 1
        assert not result.observation.steered


def test_growth_and_analyze_are_noticed_in_a_running_process(server, store, monkeypatch):
    monkeypatch.setattr(experience, "LOOK_AT_TABLES_S", 0.0)
    for change in ("ANALYZE b", "INSERT INTO a SELECT k, n FROM a LIMIT 1000", "CREATE INDEX ON c (k)"):
        prove(server, store)
        with session(server.url, store) as opened:
            assert opened.execute(SQL).observation.steered, change
            assert opened.execute(SQL).observation.steered, change
            server.admin(change)
            # What other sessions counted shows within a second.
            for _ in range(30):
                result = opened.execute(SQL)
                if not result.observation.steered:
                    break
                server.admin("SELECT pg_sleep(0.1)")
            assert not result.observation.steered, change
            assert opened.optimizer.counters["outgrown"] == 1
            assert not opened.optimize(SQL).reason.startswith("verified")


def test_tables_are_looked_at_now_and_then_only(server, store, monkeypatch):
    prove(server, store)
    looks = []
    look = carrying.look
    monkeypatch.setattr(carrying, "look", lambda *given: (looks.append(1), look(*given)))
    with session(server.url, store) as opened:
        for number in range(20):
            assert opened.execute(SQL.replace("500", str(500 + number))).observation.steered
    assert len(looks) == 1


# -- roles ----------------------------------------------------------------------------------------------


@pytest.fixture
def application(server: Database) -> Iterator[str]:
    """The URL of an ordinary role that may read."""
    from urllib.parse import urlsplit, urlunsplit

    server.admin("DROP ROLE IF EXISTS app_reader")
    server.admin("CREATE ROLE app_reader LOGIN PASSWORD 'secret'")
    server.admin("GRANT SELECT ON ALL TABLES IN SCHEMA public TO app_reader")
    parts = urlsplit(server.url)
    host = parts.netloc.rpartition("@")[2]
    yield urlunsplit(parts._replace(netloc=f"app_reader:secret@{host}"))
    server.admin("DROP OWNED BY app_reader")
    server.admin("DROP ROLE app_reader")


def test_another_role_uses_what_the_administrator_proved(server, application, store):
    prove(server, store)
    with session(application, store) as opened:
        result = opened.execute(SQL)
        assert result.observation.steered
        assert result.fetchall() == list(opened.run_default(SQL).rows)
        prepared = opened.optimizer.decide(opened.engine, opened.optimizer.scope(opened.engine), SQL)
        # It fails for the application: given up for everybody.
        opened.optimizer.quarantine(opened.optimizer.scope(opened.engine), prepared, "it failed")
    assert not steers(server, store)
    with session(application, store) as opened:
        assert not opened.execute(SQL).observation.steered


def test_row_security_keeps_a_proof_to_those_whom_it_does_not_restrict(server, application, store):
    server.admin("ALTER TABLE b ENABLE ROW LEVEL SECURITY")
    server.admin("CREATE POLICY few ON b FOR SELECT TO app_reader USING (k < 10)")
    prove(server, store)
    assert steers(server, store)
    with session(application, store) as opened:
        result = opened.execute(SQL)
        assert not result.observation.steered
        assert len(result.fetchall()) == 10


def test_another_search_path_uses_it_only_where_names_mean_the_same(server, store):
    server.admin("CREATE SCHEMA mine")
    server.admin("CREATE SCHEMA apart")
    server.admin("CREATE TABLE apart.b AS SELECT 3 AS k")
    prove(server, store)
    for path, same in (("mine,public", True), ("apart,public", False)):
        url = f"{server.url}{'&' if '?' in server.url else '?'}options=-csearch_path%3D{path}"
        with session(url, store) as opened:
            result = opened.execute(SQL)
            assert result.observation.steered == same, path
            assert result.fetchall() == list(opened.run_default(SQL).rows)


def test_other_settings_that_answers_depend_on_do_not_use_it(server, store):
    prove(server, store)
    url = f"{server.url}{'&' if '?' in server.url else '?'}options=-cextra_float_digits%3D0"
    with session(url, store) as opened:
        assert not opened.execute(SQL).observation.steered


def test_an_entry_of_its_own_comes_first(server, application, store):
    """Where the application's own was given up, the administrator's is not used in its place."""
    entry = prove(server, store)
    with open_engine(application) as engine:
        kept = replace(entry, reverify=True).to_dict()
        store.explorations.remember(engine.name, engine.environment(), kept)
    assert steers(server, store)
    with session(application, store) as opened:
        assert not opened.execute(SQL).observation.steered
