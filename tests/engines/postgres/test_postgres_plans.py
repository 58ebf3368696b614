"""PostgreSQL's EXPLAIN as PhysicalPlans, with every node and what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from postgres_server import PostgresServer

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.engines.postgres.plans import physical_plan
from godb_fast.errors import EngineError


@pytest.fixture(scope="module")
def loaded(postgres_server: PostgresServer) -> Iterator[Any]:
    with postgres_server.database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE small (id int PRIMARY KEY, a int)")
        connection.execute("CREATE TABLE large (id int PRIMARY KEY, small_id int, x text)")
        connection.execute("INSERT INTO small SELECT i, i % 10 FROM generate_series(1, 100) AS g(i)")
        connection.execute(
            "INSERT INTO large SELECT i, 1 + i % 100, 'text ' || i FROM generate_series(1, 20000) AS g(i)"
        )
        connection.execute("CREATE INDEX ON large (small_id)")
        connection.execute("CREATE TABLE parts (id int, a int) PARTITION BY RANGE (id)")
        connection.execute("CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100)")
        connection.execute("CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200)")
        connection.execute("INSERT INTO parts SELECT i, i FROM generate_series(0, 199) AS g(i)")
        connection.execute("VACUUM ANALYZE")
        yield connection


def explained(connection: Any, sql: str, *settings: str, options: str = "") -> tuple[PhysicalPlan, Any]:
    with connection.transaction(force_rollback=True):
        for setting in settings:
            connection.execute(f"SET LOCAL {setting}")
        raw = connection.execute(f"EXPLAIN (FORMAT JSON{options}) {sql}").fetchone()[0]
    return physical_plan(raw), raw


def count(raw: Any) -> int:
    return json.dumps(raw).count('"Node Type"')


def find(plan: PhysicalPlan, operator: str) -> PhysicalNode:
    return next(node for node in plan.root.walk() if node.operator == operator)


KEPT = {
    "hash join": (
        "SELECT count(*) FROM small s JOIN large l ON l.small_id = s.id",
        (),
        {"Hash Join", "Hash", "Seq Scan"},
    ),
    "merge join": (
        "SELECT count(*) FROM small s JOIN large l ON l.small_id = s.id",
        ("enable_hashjoin = off", "enable_nestloop = off"),
        {"Merge Join"},
    ),
    "memoize": (
        "SELECT count(*) FROM large l JOIN small s ON s.id = l.small_id",
        ("enable_hashjoin = off", "enable_mergejoin = off"),
        {"Nested Loop", "Memoize", "Index Only Scan"},
    ),
    "bitmap": (
        "SELECT * FROM large WHERE small_id = 5 OR small_id = 6",
        ("enable_seqscan = off", "enable_indexscan = off"),
        {"Bitmap Heap Scan", "Bitmap Index Scan"},
    ),
    "subplans": (
        "SELECT (SELECT max(x) FROM large), (SELECT count(*) FROM large l WHERE l.small_id = s.id) FROM small s",
        (),
        {"Aggregate"},
    ),
    "CTE": (
        "WITH q AS MATERIALIZED (SELECT id FROM large WHERE x > 'text 5') SELECT count(*) FROM q a JOIN q b USING (id)",
        (),
        {"CTE Scan"},
    ),
    "recursion": (
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 50) SELECT count(*) FROM r",
        (),
        {"Recursive Union", "WorkTable Scan"},
    ),
    "partitions": ("SELECT * FROM parts p WHERE a > 5", (), {"Append"}),
    "parallel": (
        "SELECT count(*) FROM large l JOIN small s ON s.id = l.small_id WHERE x LIKE '%7%'",
        ("parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"),
        {"Gather"},
    ),
    "windows and sets": (
        "SELECT rank() OVER (ORDER BY a) FROM small UNION ALL SELECT DISTINCT small_id FROM large ORDER BY 1 LIMIT 5",
        (),
        {"WindowAgg", "Limit", "Sort"},
    ),
    "functions and values": (
        "SELECT * FROM generate_series(1, 5) AS g(i), (VALUES (1), (2)) AS v(x), unnest(ARRAY[1, 2]) AS u(y)",
        (),
        {"Function Scan", "Values Scan"},
    ),
}


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("options", ["", ", ANALYZE, BUFFERS"])
def test_every_node_is_kept(loaded: Any, name: str, options: str) -> None:
    sql, settings, operators = KEPT[name]
    plan, raw = explained(loaded, sql, *settings, options=options)
    nodes = list(plan.root.walk())
    assert len(nodes) == count(raw)
    assert operators <= {node.operator for node in nodes}
    assert all(node.estimated_rows is not None for node in nodes)
    assert plan.source == ("analyze" if options else "explain")
    assert (plan.latency_ms is not None) == bool(options)
    for node in nodes:
        assert (node.rows is not None) == (node.loops is not None) == bool(options)
        if options:
            assert node.time_ms is not None
            assert node.time_ms >= 0
            assert "Shared Hit Blocks" in node.extra
    if options:
        total = sum(node.time_ms or 0.0 for node in nodes)
        assert total <= plan.latency_ms * 1.2 + 0.5
    assert plan.draw()


def test_joins_have_the_build_side_last(loaded: Any) -> None:
    plan, _ = explained(
        loaded, "SELECT (SELECT 1 FROM small LIMIT 1) FROM small s JOIN large l ON l.small_id = s.id"
    )
    join = find(plan, "Hash Join")
    assert join.kind == "join"
    assert join.join_type == "Inner"
    assert join.predicates == ("(l.small_id = s.id)",)
    outer, inner = join.children[-2:]
    assert (outer.table, outer.alias) == ("large", "l")
    assert inner.operator == "Hash"
    assert (inner.children[0].table, inner.children[0].alias) == ("small", "s")
    # A subplan is no input: it comes first.
    assert all(child.extra["Parent Relationship"] == "InitPlan" for child in join.children[:-2])


def test_rows_are_totals_and_estimates_are_per_loop(loaded: Any) -> None:
    sql = "SELECT count(*) FROM small s JOIN large l ON l.small_id = s.id"
    plan, _ = explained(
        loaded, sql, "enable_hashjoin = off", "enable_mergejoin = off", "enable_memoize = off",
        "max_parallel_workers_per_gather = 0", "enable_material = off", options=", ANALYZE",
    )  # fmt: skip
    join = find(plan, "Nested Loop")
    assert join.kind == "join"
    assert join.rows == 20000
    inner = join.children[-1]
    assert inner.loops is not None
    assert inner.loops > 1
    assert inner.rows == pytest.approx(20000, rel=0.02)
    assert inner.estimated_rows < 2000


def test_what_never_ran_has_no_rows(loaded: Any) -> None:
    plan, _ = explained(
        loaded,
        "SELECT * FROM small s JOIN large l ON l.small_id = s.id WHERE s.a > 1000",
        options=", ANALYZE",
    )
    never = [node for node in plan.root.walk() if node.loops == 0]
    assert never
    assert all(node.rows == 0 and node.time_ms == 0 for node in never)


def test_cross_products_are_told_from_parameterized_loops(loaded: Any) -> None:
    plan, _ = explained(loaded, "SELECT count(*) FROM small a, small b")
    assert find(plan, "Nested Loop").kind == "cross_product"
    plan, _ = explained(
        loaded, "SELECT count(*) FROM small s JOIN large l ON l.small_id = s.id WHERE s.id = 5 OR s.id = 7",
        "enable_hashjoin = off", "enable_mergejoin = off",
    )  # fmt: skip
    assert find(plan, "Nested Loop").kind == "join"
    plan, _ = explained(loaded, "SELECT count(*) FROM small a JOIN small b ON a.id < b.id")
    assert find(plan, "Nested Loop").kind == "join"


def test_memory_and_spills(loaded: Any) -> None:
    plan, _ = explained(
        loaded, "SELECT count(*) FROM small s JOIN large l ON l.small_id = s.id", options=", ANALYZE, BUFFERS"
    )
    assert find(plan, "Hash").memory_bytes > 1000
    plan, _ = explained(loaded, "SELECT * FROM large ORDER BY x", "work_mem = '64kB'", "enable_indexscan = off",
                        "max_parallel_workers_per_gather = 0", options=", ANALYZE, BUFFERS")  # fmt: skip
    sort = find(plan, "Sort")
    assert sort.memory_bytes is None
    assert sort.extra["Sort Space Type"] == "Disk"
    assert sort.extra["Temp Written Blocks"] > 0


def test_time_is_a_nodes_own(loaded: Any) -> None:
    plan, raw = explained(
        loaded, "SELECT count(*) FROM small s JOIN large l ON l.small_id = s.id", "max_parallel_workers_per_gather = 0",
        options=", ANALYZE",
    )  # fmt: skip
    inclusive = raw[0]["Plan"]["Actual Total Time"]
    assert sum(node.time_ms for node in plan.root.walk()) == pytest.approx(inclusive, rel=0.05, abs=0.05)


def test_a_ctes_time_is_counted_once(loaded: Any) -> None:
    plan, raw = explained(
        loaded,
        "WITH q AS MATERIALIZED (SELECT id, x FROM large ORDER BY x) SELECT count(*) FROM q a JOIN q b USING (id)",
        "max_parallel_workers_per_gather = 0",
        options=", ANALYZE",
    )
    inclusive = raw[0]["Plan"]["Actual Total Time"]
    assert sum(node.time_ms for node in plan.root.walk()) == pytest.approx(inclusive, rel=0.1, abs=0.1)


def test_text_and_objects_are_read_alike(loaded: Any) -> None:
    plan, raw = explained(loaded, "SELECT count(*) FROM small s JOIN large l ON l.small_id = s.id")
    again = physical_plan(json.dumps(raw))
    assert again.draw() == plan.draw()
    logged = physical_plan(raw[0], source="auto_explain")
    assert (logged.source, logged.draw()) == ("auto_explain", plan.draw())


def test_a_schema_is_shown_where_the_plan_has_one(loaded: Any) -> None:
    plan, _ = explained(loaded, "SELECT * FROM small", options=", VERBOSE")
    assert plan.root.table == "public.small"
    assert plan.root.columns == ("id", "a")


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", "[{}]", '[{"Plan": 3}]', "null", "[" * 100000])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="EXPLAIN gave no"):
        physical_plan(text)


def test_deep_plans_are_no_trouble() -> None:
    raw: dict[str, Any] = {"Node Type": "Seq Scan", "Relation Name": "t", "Alias": "t", "Plan Rows": 1}
    for _ in range(5000):
        raw = {"Node Type": "Materialize", "Plan Rows": 1, "Plans": [raw]}
    plan = physical_plan([{"Plan": raw}])
    assert sum(1 for _ in plan.root.walk()) == 5001
