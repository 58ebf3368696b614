"""What was proved on a standby serves its primary and the other way round; a copy that went its own way does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from postgres_proxy import proxied
from postgres_server import PostgresServer
from postgres_standby import Pair, copied

from godb_fast.core import Steering
from godb_fast.engines.dependencies import Dependencies
from godb_fast.engines.postgres import open_url
from godb_fast.exploring import Evidence, MemoEntry, MemoKey
from godb_fast.exploring.entries import rows_of
from godb_fast.exploring.subjects import LiveQuery, Subject, bucket_number, examine
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.store import SqliteStore

SQL = "SELECT i.kind, count(*) AS n FROM item i JOIN part p ON p.item = i.id GROUP BY i.kind ORDER BY i.kind"
#: The engine's own plan of it takes long.
SLOW = (
    "SELECT i.kind, count(*) AS n FROM item i WHERE i.id < 800 AND "
    "i.id > (SELECT 0.5 * avg(p.item) FROM part p WHERE p.item = i.id) GROUP BY i.kind ORDER BY i.kind"
)


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "store.sqlite")


def session(url: str, store: SqliteStore) -> Session:
    return Session(Optimizer(policy=Policy(background=False), store=store), open_url(url), mode="steer")


def prove(url: str, store: SqliteStore, at_s: float) -> None:
    """What a promotion keeps."""
    with open_url(url) as engine:
        subject = examine(engine, LiveQuery("q", SQL))
        assert isinstance(subject, Subject)
        uses = subject.dependencies
        assert uses is not None
        rows = rows_of(engine, subject, uses)
        proof = Evidence(5, 0.4, 0.3, 0.6, at_s, "arm", 60.0, rows=rows, analyzed=uses.analyzed)
        entry = MemoEntry(
            MemoKey(subject.template.fingerprint, bucket_number(subject.region)),
            Steering(settings=(("enable_hashjoin", "off"),)),
            engine.schema_epoch(),
            proof,
            dependencies=uses.digest,
        )
        store.explorations.remember(engine.name, engine.environment(), entry.to_dict())


def steers(url: str, store: SqliteStore, sql: str = SQL) -> bool:
    """Whether a new process steers by what was proved; its rows are right in either case."""
    with session(url, store) as opened:
        result = opened.execute(sql)
        assert result.fetchall() == list(opened.run_default(sql).rows)
        return result.observation.steered


def now(url: str) -> float:
    """Seconds since 1970 by the server's clock."""
    with psycopg.connect(url) as raw:
        row = raw.execute("SELECT date_part('epoch', clock_timestamp())").fetchone()
    assert row is not None
    return float(row[0])


def uses(url: str) -> Dependencies:
    with open_url(url) as engine:
        found = engine.dependencies(SQL)
    assert found is not None
    return found


def test_what_was_explored_on_a_standby_steers_its_primary_until_that_is_analysed(
    pair: Pair, store: SqliteStore
) -> None:
    with session(pair.url, store) as there:
        report = there.explore([SLOW], "60s", cap_s=20.0)
        assert report.queries[0].arm is not None, report.to_dict()
    assert steers(pair.primary_url, store, SLOW)
    assert steers(pair.url, store, SLOW)
    pair.write("ANALYZE item")
    assert not steers(pair.primary_url, store, SLOW)


def test_what_was_proved_on_the_primary_steers_a_standby_until_tables_grow(
    pair: Pair, store: SqliteStore
) -> None:
    prove(pair.primary_url, store, now(pair.url))
    assert steers(pair.primary_url, store)
    assert steers(pair.url, store)
    pair.write("CREATE INDEX part_item ON part (item)")
    try:
        assert not steers(pair.url, store)
    finally:
        pair.write("DROP INDEX part_item")
    assert steers(pair.url, store)
    # Nobody counts there: what shows is that the file is longer.
    pair.write("INSERT INTO part SELECT id, item FROM part; CHECKPOINT")
    try:
        assert not steers(pair.url, store)
    finally:
        pair.write("DELETE FROM part WHERE ctid NOT IN (SELECT min(ctid) FROM part GROUP BY id)")
        pair.write("VACUUM FULL part")
        pair.write("ANALYZE part")


def test_what_was_proved_again_on_a_standby_takes_the_place_of_what_is_outdated(
    pair: Pair, store: SqliteStore
) -> None:
    prove(pair.primary_url, store, now(pair.primary_url))
    assert steers(pair.primary_url, store)
    pair.write("ANALYZE item")
    assert not steers(pair.primary_url, store)
    prove(pair.url, store, now(pair.url))
    assert steers(pair.primary_url, store)
    # It fails here: from then on it serves nobody, and the standby's word alone does not change that.
    with session(pair.primary_url, store) as opened:
        prepared = opened.optimizer.decide(opened.engine, opened.optimizer.scope(opened.engine), SQL)
        opened.optimizer.quarantine(opened.optimizer.scope(opened.engine), prepared, "it failed")
    assert not steers(pair.primary_url, store)
    assert not steers(pair.url, store)
    pair.write("ANALYZE item")
    prove(pair.primary_url, store, now(pair.primary_url))
    with session(pair.primary_url, store) as opened:
        prepared = opened.optimizer.decide(opened.engine, opened.optimizer.scope(opened.engine), SQL)
        opened.optimizer.quarantine(opened.optimizer.scope(opened.engine), prepared, "it failed")
    prove(pair.url, store, now(pair.url))
    assert not steers(pair.primary_url, store)
    assert steers(pair.url, store)


def test_both_count_the_same_rows(pair: Pair) -> None:
    """A table is extended by more pages than it needs, and those are not there on the standby."""
    counted = []
    for url in (pair.primary_url, pair.url):
        with open_url(url) as engine:
            statistics = engine.statistics()
            counted.append([statistics.rows(table) for table in uses(url).tables])
    assert counted[0] == counted[1]


def test_the_address_does_not_matter(pair: Pair, store: SqliteStore) -> None:
    prove(pair.primary_url, store, now(pair.primary_url))
    with proxied(pair.primary_url + "?sslmode=disable") as (through, _):
        assert steers(through, store)


def test_a_standby_tells_of_no_analyze(pair: Pair) -> None:
    assert len(uses(pair.primary_url).analyzed) == 2
    assert uses(pair.url).analyzed == ()
    assert uses(pair.url).digest == uses(pair.primary_url).digest


@pytest.fixture
def copy(postgres_server: PostgresServer, pair: Pair) -> Iterator[str]:
    """The URL of the database in a copy that goes its own way."""
    with copied(postgres_server, following=False) as server:
        yield server.database_url(urlsplit(pair.primary_url).path[1:])


def test_a_copy_shares_proofs_until_it_is_analysed(pair: Pair, copy: str, store: SqliteStore) -> None:
    prove(copy, store, now(copy))
    assert steers(copy, store)
    assert steers(pair.primary_url, store)
    with psycopg.connect(copy, autocommit=True) as raw:
        raw.execute("ANALYZE part")
    assert not steers(copy, store)
    # Proved on statistics that only the copy has, however old those of the original are.
    prove(copy, store, now(copy))
    assert steers(copy, store)
    assert not steers(pair.primary_url, store)


def test_a_copy_shares_proofs_until_it_grows(pair: Pair, copy: str, store: SqliteStore) -> None:
    with psycopg.connect(copy, autocommit=True) as raw:
        raw.execute("INSERT INTO part SELECT id, item FROM part")
    prove(copy, store, now(copy))
    assert steers(copy, store)
    assert not steers(pair.primary_url, store)
