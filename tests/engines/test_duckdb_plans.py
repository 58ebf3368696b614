"""Plans of both generations of DuckDB become the same PhysicalPlan."""

from __future__ import annotations

import json

import pytest

from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine, plans, quirks
from godb_fast.errors import EngineError

OLD_PROFILE = {
    "latency": 0.002,
    "system_peak_buffer_memory": 1234,
    "children": [
        {
            "operator_type": "HASH_JOIN",
            "operator_cardinality": 7,
            "operator_timing": 0.001,
            "operator_rows_scanned": 0,
            "result_set_size": 80,
            "extra_info": {"Join Type": "INNER", "Conditions": "a = b", "Estimated Cardinality": "5"},
            "children": [
                {
                    "operator_type": "TABLE_SCAN",
                    "operator_cardinality": 9,
                    "operator_timing": 0.0005,
                    "operator_rows_scanned": 100,
                    "extra_info": {"Table": "x", "Filters": "k=3", "Projections": ["a", "k"]},
                    "children": [],
                },
                {"operator_type": "EMPTY_RESULT", "operator_cardinality": 0, "children": []},
            ],
        }
    ],
}


def test_a_profile_of_the_first_generation() -> None:
    plan = plans.from_profile(OLD_PROFILE, "duckdb 1.4", 2.5)
    assert plan is not None
    assert (plan.source, plan.latency_ms, plan.memory_bytes) == ("profile", 2.5, 1234.0)
    join = plan.root
    assert (join.kind, join.join_type, join.rows, join.estimated_rows, join.time_ms) == (
        "join",
        "INNER",
        7,
        5,
        1.0,
    )
    assert join.predicates == ("a = b",)
    scan, empty = join.children
    assert (scan.table, scan.columns, scan.predicates, scan.rows) == ("x", ("a", "k"), ("k=3",), 9)
    assert scan.extra["rows_scanned"] == 100
    assert (empty.kind, empty.table, empty.time_ms) == ("scan", None, None)
    assert plans.from_profile({"children": []}, "duckdb", 1.0) is None


def test_explain_that_is_no_json_is_an_error() -> None:
    with pytest.raises(EngineError, match="no JSON"):
        plans.from_explain("┌───┐", "duckdb")


def test_a_plan_may_be_deeper_than_recursion_allows() -> None:
    node: dict[str, object] = {"name": "SEQ_SCAN", "children": [], "extra_info": {"Table": "t"}}
    for _ in range(5000):
        node = {"name": "FILTER", "children": [node], "extra_info": {}}
    text = '[{"name":"FILTER","children":' * 3000 + "[]" + "}]" * 3000
    assert plans.from_explain('[{"name": "SEQ_SCAN ", "children": []}]', "duckdb").root.operator == "SEQ_SCAN"
    plan = plans._node(node, profiled=False)
    assert sum(1 for _ in plan.walk()) == 5001
    with pytest.raises((EngineError, RecursionError)):
        plans.from_explain(text + "x", "duckdb")


def test_kinds_and_estimates_of_a_real_plan() -> None:
    with DuckDBEngine.open() as engine:
        engine.run(Rendered("CREATE TABLE a AS SELECT i AS id, i % 10 AS k FROM range(1000) r(i)"))
        engine.run(Rendered("CREATE TABLE b AS SELECT i AS id, i % 7 AS a_id FROM range(5000) r(i)"))
        sql = "SELECT a.k, count(*) AS n FROM a JOIN b ON a.id = b.a_id WHERE a.k < 8 GROUP BY a.k ORDER BY n LIMIT 3"
        explained = engine.explain(sql)
        profiled = engine.run(Rendered(sql), profile=True).plan
        assert profiled is not None
        for plan in (explained, profiled):
            kinds = {node.kind for node in plan.root.walk()}
            assert {"scan", "join", "aggregate", "sort"} <= kinds
            join = next(node for node in plan.root.walk() if node.kind == "join")
            assert join.join_type == "INNER"
            assert join.estimated_rows is not None
            assert len(join.children) == 2
        assert json.dumps(profiled.root.extra) is not None
        assert profiled.memory_bytes is not None
        assert sum(node.time_ms or 0 for node in profiled.root.walk()) > 0


@pytest.mark.parametrize(
    ("shown", "plain"),
    [
        ("memory.main.t", "memory.main.t"),
        ('memory.main."odd ""name; --"', 'memory.main.odd "name; --'),
        ('"a.b".main."c"', "a.b.main.c"),
        ('odd "name', 'odd "name'),
        ("CAST(x AS INTEGER)", "CAST(x AS INTEGER)"),
    ],
)
def test_quotes_of_names_are_taken_off(shown: str, plain: str) -> None:
    assert quirks.plain_name(shown) == plain


def test_column_statistics_of_both_generations() -> None:
    old = "[Min: 0, Max: 996][Has Null: false, Has No Null: true][Approx Unique: 173]"
    assert quirks.column_stats(old) == (173.0, "0", "996", False)
    new = {"approx_unique": 173, "has_null": True, "has_no_null": True, "min": 0, "max": 996}
    assert quirks.column_stats(new) == (173.0, "0", "996", True)
    text = "[Min: a, b, Max: z, Has Unicode: false, Max String Length: 3][Has Null: true, Has No Null: true]"
    assert quirks.column_stats(text) == (None, "a, b", "z", True)
    assert quirks.column_stats(None) == (None, None, None, None)
    assert quirks.version_tuple("v1.4.5") == (1, 4, 5)


def test_constants_of_both_generations() -> None:
    assert quirks.constant({"value": {"is_null": False, "value": 3}}) == (False, 3)
    assert quirks.constant({"value": {"is_null": True}}) == (True, None)
    assert quirks.constant({"literal": {"kind": "INTEGER", "text": "3"}}) == (False, 3)
    assert quirks.constant({"literal": {"kind": "NULL_LITERAL", "text": ""}}) == (True, None)
    assert quirks.constant({"literal": {"kind": "STRING", "text": "3"}}) == (False, None)
