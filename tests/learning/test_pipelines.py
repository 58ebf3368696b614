"""Plans cut into pipelines: by hand, and as real engines explain and profile them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.learning.pipelines import PIPELINE_COLUMN, PIPELINE_COLUMNS, pipelines, plan_seconds


def plan(root: PhysicalNode, latency_ms: float | None = None) -> PhysicalPlan:
    return PhysicalPlan(root, "duckdb", "profile", latency_ms)


def named(row: np.ndarray) -> dict[str, float]:
    """What is not zero of a pipeline."""
    return {feature.name: row[at] for at, feature in enumerate(PIPELINE_COLUMNS) if row[at]}


def scan(expected: float, **more) -> PhysicalNode:
    return PhysicalNode("SEQ_SCAN", "scan", estimated_rows=expected, columns=("a", "b"), **more)


def test_a_hash_join_below_a_group_by_has_three_pipelines() -> None:
    joined = PhysicalNode(
        "HASH_JOIN",
        "join",
        estimated_rows=200.0,
        time_ms=3.0,
        children=(scan(1000.0, time_ms=1.0), scan(50.0, predicates=("a LIKE 'x%'", "b = 1"), time_ms=0.5)),
    )
    grouped = PhysicalNode("HASH_GROUP_BY", "aggregate", estimated_rows=10.0, time_ms=0.4, children=(joined,))
    root = PhysicalNode(
        "PROJECTION", "projection", estimated_rows=10.0, rows=9.0, time_ms=0.1, children=(grouped,)
    )
    found = pipelines(plan(root, 10.0))
    build, probe, result = (named(row) for row in found.vectors)
    assert found.source_rows.tolist() == [50.0, 1000.0, 10.0]
    assert build["sink_build"] == build["patterns"] == build["comparisons"] == 1
    assert probe["hash_probes"] == probe["sink_aggregate"] == 1
    assert probe["groups"] == pytest.approx(math.log1p(10))
    assert probe["largest_probed_rows"] == pytest.approx(math.log1p(50))
    assert probe["joined_share"] == pytest.approx(math.log1p(0.2))
    assert probe["row_bytes"] == pytest.approx(math.log1p(32))
    assert result["source_materialized"] == result["projections"] == result["sink_result"] == 1
    assert result["plan_pipelines"] == 3
    # Latency in the operators' shares; the join's time by the rows of its sides.
    assert found.seconds.sum() == pytest.approx(0.010)
    assert found.seconds[1] / found.seconds[2] == pytest.approx((1.4 + 3.0 * 1001 / 1051) / 0.1)
    assert plan_seconds(found.source_rows, -np.log(found.seconds / found.source_rows), [0])[0] == (
        pytest.approx(0.010)
    )


def test_what_was_measured_is_never_read() -> None:
    def query(rows: float | None) -> PhysicalPlan:
        inner = PhysicalNode("Index Scan", "scan", estimated_rows=3.0, rows=rows, loops=rows)
        loop = PhysicalNode(
            "Nested Loop", "join", estimated_rows=90.0, rows=rows, children=(scan(30.0, rows=rows), inner)
        )
        return plan(PhysicalNode("Sort", "sort", estimated_rows=90.0, rows=rows, children=(loop,)))

    one, other = pipelines(query(None)), pipelines(query(7.0))
    assert (one.vectors == other.vectors).all()
    assert one.seconds is None
    first = named(one.vectors[0])
    # The inner side of a nested loop is no pipeline of its own.
    assert len(one.vectors) == 2
    assert first["loops"] == first["sink_sort"] == 1
    assert first["loop_share"] == pytest.approx(math.log1p(3.0))


@st.composite
def trees(draw: st.DrawFn, depth: int = 4) -> PhysicalNode:
    kinds = [
        ("SEQ_SCAN", "scan"), ("HASH_JOIN", "join"), ("Nested Loop", "join"), ("CROSS_PRODUCT", "cross_product"),
        ("ORDER_BY", "sort"), ("UNION", "set_operation"), ("FILTER", "filter"), ("WINDOW", "other"),
    ]  # fmt: skip
    operator, kind = draw(st.sampled_from(kinds)) if depth else kinds[0]
    count = 0 if operator == "SEQ_SCAN" else 2 if kind in ("join", "cross_product", "set_operation") else 1
    rows = draw(st.sampled_from([None, 0.0, 1.0, 1e6, 1e300, float("inf"), float("nan"), -1.0]))
    children = tuple(draw(trees(depth=depth - 1)) for _ in range(count))
    return PhysicalNode(operator, kind, estimated_rows=rows, children=children)


@settings(max_examples=100, deadline=None)
@given(trees())
def test_any_plan_has_finite_rows_within_their_ranges(root: PhysicalNode) -> None:
    found = pipelines(plan(root))
    assert len(found.vectors) == len(found.source_rows) >= 1
    assert np.isfinite(found.vectors).all()
    for at, feature in enumerate(PIPELINE_COLUMNS):
        assert (found.vectors[:, at] >= feature.least).all(), feature.name
        assert (found.vectors[:, at] <= feature.most).all(), feature.name
    sinks = [at for name, at in PIPELINE_COLUMN.items() if name.startswith("sink_")]
    assert (found.vectors[:, sinks].sum(axis=1) == 1).all()
    assert found.vectors[:, PIPELINE_COLUMN["sink_result"]].sum() == 1


def test_a_plan_a_thousand_deep() -> None:
    node = scan(10.0)
    for _ in range(1500):
        node = PhysicalNode("FILTER", "filter", estimated_rows=10.0, children=(node,))
    found = pipelines(plan(node))
    assert named(found.vectors[0])["filters"] == 1500


def test_duckdb_explains_what_it_profiles() -> None:
    with DuckDBEngine.open() as engine:
        engine.run(Rendered("CREATE TABLE a AS SELECT i AS id, i % 100 AS k FROM range(20000) t(i)"))
        engine.run(Rendered("CREATE TABLE b AS SELECT i AS id, i % 1000 AS a_id FROM range(50000) t(i)"))
        text = "SELECT a.k, count(*) FROM a JOIN b ON a.id = b.a_id GROUP BY a.k ORDER BY 2 DESC"
        explained = pipelines(engine.explain(text))
        profile = engine.run(Rendered(text), profile=True).plan
    assert profile is not None
    profiled = pipelines(profile)
    assert explained.seconds is None
    assert profiled.seconds.sum() * 1e3 == pytest.approx(profile.latency_ms)
    assert (explained.vectors == profiled.vectors).all()
    sinks = {name for row in profiled.vectors for name in named(row) if name.startswith("sink_")}
    assert sinks == {"sink_build", "sink_aggregate", "sink_sort", "sink_result"}
