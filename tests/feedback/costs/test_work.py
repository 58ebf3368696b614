"""The work that is counted in plans of real engines, against what is known of the data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from feedback.costs.made import observation
from postgres_server import PostgresServer

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.engines.postgres import PostgresEngine
from godb_fast.engines.postgres.settings import statement as setting
from godb_fast.errors import InvalidInput
from godb_fast.feedback.costs import (
    AdaptiveCostModel,
    CostScope,
    TableSizes,
    plan_work,
    propose_settings,
)
from godb_fast.feedback.costs.settings import DEFAULTS
from godb_fast.feedback.costs.terms import INDEX, OPERATORS

ORDERS, ITEMS = 60_000, 500
DATA = (
    f"CREATE TABLE items AS SELECT i AS id, i % 7 AS kind FROM generate_series(0, {ITEMS - 1}) g(i)",
    f"CREATE TABLE orders AS SELECT i AS id, i % {ITEMS} AS item, i % 1000 AS price "
    f"FROM generate_series(0, {ORDERS - 1}) g(i)",
)
SQL = "SELECT kind, sum(price) FROM orders JOIN items ON item = items.id WHERE price < 250 GROUP BY kind"


def total(work, name: str) -> float:
    return float(work.amounts[:, INDEX[name]].sum())


@pytest.fixture(scope="module")
def duckdb_engine() -> Iterator[DuckDBEngine]:
    with DuckDBEngine.open() as engine:
        for statement in DATA:
            engine.run(Rendered(statement))
        yield engine


@pytest.fixture(scope="module")
def postgres_engine(postgres_server: PostgresServer) -> Iterator[PostgresEngine]:
    with postgres_server.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in DATA:
                connection.execute(statement)
            connection.execute("CREATE INDEX orders_by_item ON orders (item)")
            connection.execute("CREATE UNIQUE INDEX items_by_id ON items (id)")
            connection.execute("VACUUM ANALYZE")
        engine = PostgresEngine.open(url)
        try:
            yield engine
        finally:
            engine.close()


def profiled(engine: DuckDBEngine, sql: str) -> PhysicalPlan:
    plan = engine.run(Rendered(sql), profile=True).plan
    assert plan is not None
    return plan


def test_duckdb_rows_are_counted_as_they_are(duckdb_engine):
    plan = profiled(duckdb_engine, SQL)
    sizes = TableSizes()
    sizes.learn(plan)
    assert sorted(sizes.rows.values()) == [ITEMS, ORDERS]
    work = plan_work(plan, sizes, executed=True)
    assert total(work, "scan_rows") == ORDERS + ITEMS
    assert total(work, "probe_rows") + total(work, "build_rows") == ORDERS / 4 + ITEMS
    assert total(work, "hash_output") == ORDERS / 4
    aggregated = total(work, "aggregate_rows") + total(work, "fold_rows")
    assert aggregated == ORDERS / 4
    assert np.isfinite(work.times_ns).any()
    assert (work.times_ns[np.isfinite(work.times_ns)] >= 0).all()


def test_estimates_count_what_scans_will_read(duckdb_engine):
    executed = profiled(duckdb_engine, SQL)
    sizes = TableSizes()
    sizes.learn(executed)
    work = plan_work(duckdb_engine.explain(SQL), sizes, executed=False)
    assert total(work, "scan_rows") == ORDERS + ITEMS
    # Without a scan that was seen, what comes out is all that is known.
    unknown = plan_work(duckdb_engine.explain(SQL), TableSizes(), executed=False)
    assert total(unknown, "scan_rows") <= ORDERS + ITEMS
    assert np.isnan(work.times_ns).all()


@pytest.mark.parametrize("join", ["hashjoin", "mergejoin", "nestloop"])
def test_postgres_rows_are_counted_under_every_join(postgres_engine, join):
    off = [name for name in ("hashjoin", "mergejoin", "nestloop") if name != join]
    before = tuple(setting(f"enable_{name}", "off") for name in off)
    plan = postgres_engine.analyze(Rendered(SQL, before=before))
    sizes = TableSizes()
    sizes.learn(plan)
    work = plan_work(plan, sizes, executed=True)
    joined = {"hashjoin": "hash_output", "mergejoin": "merge_output", "nestloop": "loop_output"}[join]
    assert total(work, joined) == pytest.approx(ORDERS / 4, rel=0.01)
    if join == "hashjoin":
        assert total(work, "build_rows") == ITEMS
        assert total(work, "probe_rows") == pytest.approx(ORDERS / 4, rel=0.01)
    estimated = plan_work(plan, sizes, executed=False)
    assert total(estimated, joined) == pytest.approx(ORDERS / 4, rel=0.5)
    kinds = {OPERATORS[number] for number in work.operators}
    assert {"hashjoin": "hash_join", "mergejoin": "merge_join", "nestloop": "nested_loop"}[join] in kinds


def test_inner_sides_run_once_per_outer_row(postgres_engine):
    sql = "SELECT count(*) FROM items JOIN orders ON item = items.id WHERE kind = 3"
    before = tuple(setting(f"enable_{name}", "off") for name in ("hashjoin", "mergejoin", "memoize"))
    plan = postgres_engine.analyze(Rendered(sql, before=before))
    outer = sum(number % 7 == 3 for number in range(ITEMS))
    sizes = TableSizes()
    sizes.learn(plan)
    for executed in (True, False):
        work = plan_work(plan, sizes, executed=executed)
        assert total(work, "lookups") == pytest.approx(outer, rel=0.5), executed
        assert total(work, "lookup_rows") == pytest.approx(outer * ORDERS / ITEMS, rel=0.5), executed


def test_a_subplan_is_expected_as_often_as_the_planner_charges_for_it(postgres_engine):
    sql = "SELECT id FROM items i WHERE 100 < (SELECT max(price) FROM orders o WHERE o.item = i.id)"
    plan = postgres_engine.analyze(Rendered(sql))
    sizes = TableSizes()
    sizes.learn(plan)
    runs = [total(plan_work(plan, sizes, executed=executed), "fold_rows") for executed in (True, False)]
    assert runs[1] == pytest.approx(runs[0], rel=0.8)


def test_a_limit_reads_no_more_than_it_hands_out():
    scan = PhysicalNode("Seq Scan", "scan", "t", estimated_rows=1e6)
    limit = PhysicalNode("Limit", "limit", estimated_rows=10, children=(scan,))
    work = plan_work(PhysicalPlan(limit, "postgresql", "explain"), TableSizes(), executed=False)
    assert total(work, "top_rows") == 10


def test_both_engines_learn_from_their_own_runs(duckdb_engine, postgres_engine):
    statements = [
        f"SELECT kind, sum(price) FROM orders JOIN items ON item = items.id WHERE price < {price} GROUP BY kind"
        for price in range(50, 1000, 50)
    ]
    for engine in (duckdb_engine, postgres_engine):
        model = AdaptiveCostModel(CostScope(engine.name, "d", "m"))
        for number, sql in enumerate(statements):
            if isinstance(engine, PostgresEngine):
                plan = engine.analyze(Rendered(sql))
            else:
                plan = profiled(engine, sql)
            assert plan.latency_ms is not None
            seen = observation(plan, number, engine=engine.name, database="d", machine="m")
            assert model.observe(seen) is None
        assert model.seen == len(statements)
        time = model.predict(engine.explain(statements[3]))
        assert time.low_ms < time.ms < time.high_ms
        accuracy = model.accuracy()
        assert accuracy is not None
        assert accuracy.count == len(statements)


def test_cost_settings_are_proposed_with_evidence(postgres_engine):
    scope = CostScope(postgres_engine.name, "d", "m")
    seen = []
    for number in range(40):
        low = 20 * number
        for sql in (
            f"SELECT count(*) FROM orders WHERE price > {low} AND id % 3 <> 1",
            f"SELECT sum(price) FROM orders WHERE item < {1 + number * 3}",
            f"SELECT count(*) FROM items WHERE kind <> {number % 7}",
        ):
            # A scan that several processes share is passed over.
            plan = postgres_engine.analyze(
                Rendered(sql, before=(setting("max_parallel_workers_per_gather", "0"),))
            )
            template = number % 10 + 100 * len(seen)
            seen.append(observation(plan, template, engine=scope.engine, database="d", machine="m"))
    proposal = propose_settings(seen, scope)
    assert {each.name for each in proposal.settings} == set(DEFAULTS)
    assert proposal.scans >= 50
    by_name = {each.name: each for each in proposal.settings}
    assert by_name["cpu_tuple_cost"].proposed == DEFAULTS["cpu_tuple_cost"]
    for each in proposal.settings:
        assert 0.0 <= each.low <= each.high
        assert DEFAULTS[each.name] / 10 <= each.proposed <= DEFAULTS[each.name] * 10
    assert by_name["random_page_cost"].proposed >= by_name["seq_page_cost"].proposed
    assert bool(proposal.sql()) == proposal.recommended
    for statement in proposal.sql():
        # The server takes them.
        name, value = statement.removeprefix("SET ").removesuffix(";").split(" = ")
        postgres_engine.run(Rendered("SELECT 1", before=(setting(name, value),)))
    with pytest.raises(InvalidInput, match="were seen"):
        propose_settings(seen[:5], scope)
    with pytest.raises(InvalidInput, match="were seen"):
        propose_settings(seen, CostScope(scope.engine, "elsewhere", "m"))
    with pytest.raises(InvalidInput, match="not negative"):
        propose_settings(seen, scope, {"seq_page_cost": -1.0})
