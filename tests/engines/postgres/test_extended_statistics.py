"""CREATE STATISTICS on several columns: read as any role may see it, and used in estimates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from postgres_server import PostgresServer

from godb_fast.engines.postgres import PostgresEngine, open_url
from godb_fast.planning.binding import Binder
from godb_fast.planning.columns import Distributions
from godb_fast.planning.estimation import TemplateEstimator
from godb_fast.planning.joint import log_combinations
from godb_fast.planning.scenarios import Scenarios
from godb_fast.sql import fingerprint, parse_template

SETUP = """
CREATE TABLE plain AS SELECT i % 50 AS city, 'r' || (i % 50) / 5 AS region, i % 3 AS kind, (i % 2)::bool AS odd
  FROM generate_series(1, 20000) AS g(i);
CREATE TABLE known AS SELECT * FROM plain;
CREATE TABLE counted AS SELECT * FROM plain;
CREATE STATISTICS of_known (ndistinct, dependencies) ON city, region, kind FROM known;
CREATE STATISTICS of_counted ON city, region, odd, (kind + 1) FROM counted;
CREATE STATISTICS listed (mcv) ON region, city FROM counted;
CREATE TABLE other (id int, city int);
INSERT INTO other SELECT i, i % 50 FROM generate_series(1, 1000) AS g(i);
ANALYZE
"""


@pytest.fixture(scope="module")
def engine(postgres_server: PostgresServer) -> Iterator[PostgresEngine]:
    with postgres_server.database() as url:
        with psycopg.connect(url, autocommit=True) as raw:
            raw.execute(SETUP)
        with open_url(url) as opened:
            yield opened


def joint(engine: PostgresEngine, table: str) -> Any:
    found = engine.schema().resolve((table,))
    assert found is not None
    return engine.statistics().joint(found.name)  # type: ignore[attr-defined]


def rows(engine: PostgresEngine, table: str, where: str) -> float:
    """Our estimate of a filtered table's rows, in the best guess."""
    sql = f"SELECT count(*) FROM {table} x, other o WHERE o.city = x.city AND {where}"
    print_ = fingerprint(sql, "postgres")
    template = parse_template(print_, "postgres", engine.schema())
    estimator = TemplateEstimator(template, Distributions(engine.statistics()), Scenarios())
    (estimates,) = estimator.estimates(Binder(template)(print_.literals)).values()
    return math.exp(float(estimates.log_rows[0][0]))


def test_it_is_read(engine: PostgresEngine) -> None:
    assert joint(engine, "plain") == ()
    (known,) = joint(engine, "known")
    assert known.columns == ("city", "region", "kind")
    assert known.distinct[frozenset({"city", "region"})] == 50
    assert known.dependencies[frozenset({"city"}), "region"] == 1.0
    assert (frozenset({"region"}), "city") not in known.dependencies
    listed, of_counted = joint(engine, "counted")
    assert of_counted.columns == ("city", "region", "odd")
    assert of_counted.common_values == ()
    assert listed.common_values
    assert dict(zip(listed.common_values, listed.common_shares, strict=True))[7.0, "r1"] == pytest.approx(
        0.02
    )


@pytest.mark.parametrize(
    ("where", "plain", "known", "counted"),
    [
        # The city determines the region; back-off alone takes half of the region's filter to be news.
        ("x.city = 7 AND x.region = 'r1'", 126.5, 400.0, 400.0),
        ("x.city = 7 AND x.kind = 1", 231.0, None, None),
        # No city is in two regions. Only a list of combinations can tell, and this one holds them all.
        ("x.city = 7 AND x.region = 'r4'", 126.5, 400.0, 1.0),
        ("x.city = 7 AND x.kind = 1 AND x.region = 'r1'", None, 133.0, None),
    ],
)
def test_equalities_are_estimated_together(
    engine: PostgresEngine, where: str, plain: float | None, known: float | None, counted: float | None
) -> None:
    for table, expected in (("plain", plain), ("known", known), ("counted", counted)):
        if expected is not None:
            assert rows(engine, table, where) == pytest.approx(expected, rel=0.1), table


def test_combinations_that_are_grouped_by(engine: PostgresEngine) -> None:
    distinct = {"city": 50.0, "region": 10.0, "kind": 3.0}
    assert math.exp(log_combinations(distinct, joint(engine, "plain"))) == pytest.approx(1500)
    assert math.exp(log_combinations(distinct, joint(engine, "known"))) == pytest.approx(150)
    two = {"city": 50.0, "region": 10.0, "odd": 2.0, "kind": 3.0}
    assert math.exp(log_combinations(two, joint(engine, "counted"))) == pytest.approx(150)


def test_an_ordinary_role_sees_those_of_its_own_tables(
    engine: PostgresEngine, postgres_server: PostgresServer
) -> None:
    connection = engine._connection.raw
    database = connection.info.dbname
    connection.execute("CREATE ROLE godb_reader LOGIN PASSWORD 'x'; ALTER TABLE known OWNER TO godb_reader")
    try:
        url = postgres_server.database_url(database, user="godb_reader", password="x")
        with open_url(url) as opened:
            assert len(joint(opened, "known")) == 1
            assert joint(opened, "counted") == ()
    finally:
        connection.execute("ALTER TABLE known OWNER TO CURRENT_USER; DROP ROLE godb_reader")
