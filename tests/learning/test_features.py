"""The features' kernel on every backend against the definitions, and the extractor around it."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import join_order as oracle

from godb_fast import backend as backends
from godb_fast.core import OPERATORS, Block, Observation, PlanOperator, QueryGraph, Relation, Template
from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.errors import InvalidInput
from godb_fast.learning import FEATURES, QueryFeatureExtractor, SystemSampler, WorkloadHistory
from godb_fast.learning.extraction import estimate_features
from godb_fast.learning.features import CATEGORIES, COLUMN, PLAN_COLUMNS, SOURCES, TOGETHER, columns
from godb_fast.learning.history import place_of
from godb_fast.learning.validation import check_values
from godb_fast.planning.search import Planner
from godb_fast.sql import fingerprint, parse_template

LOADED = [name for name in backends.BACKENDS if backends.why_unavailable(name) is None]


def bare(graph: QueryGraph) -> tuple[Template, Block]:
    block = Block(0, None, "main", tuple(Relation(name, name) for name in graph.relations), graph)
    return Template(0, "", "duckdb", blocks=(block,)), block


def test_the_table_is_sound() -> None:
    assert len(COLUMN) == len(FEATURES)
    assert {feature.category for feature in FEATURES} == set(CATEGORIES)
    assert {feature.source for feature in FEATURES} == set(SOURCES)
    for source in SOURCES:
        # Sources stand side by side.
        assert {feature.source for feature in FEATURES[columns(source)]} == {source}
    assert sum(columns(s).stop - columns(s).start for s in SOURCES) == len(FEATURES)
    for name in LOADED:
        assert len(PLAN_COLUMNS) == backends.kernels("features", name).COLUMNS
    assert all(feature.least < feature.most for feature in FEATURES)
    assert {feature.together for feature in FEATURES} == set(TOGETHER)


def naive(nodes: np.ndarray, widths: list[float], memory: float) -> dict[str, float]:
    """Some columns by their definitions."""
    scan = nodes["operator"] == PlanOperator.SCAN
    joins = [node for node in nodes if node["operator"] != PlanOperator.SCAN]

    def width(node: np.void) -> float:
        return sum(w for i, w in enumerate(widths) if int(node["relations"]) >> i & 1)

    def depth(at: int) -> int:
        node = nodes[at]
        return 0 if node["left"] < 0 else 1 + max(depth(node["left"]), depth(node["right"]))

    built = [nodes[node["right"]] for node in joins if node["operator"] != PlanOperator.INDEX_JOIN]
    sizes = [float(node["rows"]) * width(node) for node in built]
    return {
        "plan_scans": scan.sum(),
        "plan_depth": depth(len(nodes) - 1),
        "plan_bushy_joins": sum(
            nodes[node["left"]]["left"] >= 0 and nodes[node["right"]]["left"] >= 0 for node in joins
        ),
        "plan_hash_joins": sum(node["operator"] == PlanOperator.HASH_JOIN for node in joins),
        "scanned_rows": math.log1p(nodes["rows"][scan].sum()),
        "joined_rows": math.log1p(sum(node["rows"] for node in joins)),
        "smallest_join_rows": math.log1p(min((float(node["rows"]) for node in joins), default=0.0)),
        "built_bytes": math.log1p(sum(sizes)),
        "spilled_bytes": math.log1p(sum(max(size - memory, 0.0) for size in sizes)),
        "largest_growth": math.log1p(
            max((float(n["rows"]) / (float(nodes[n["left"]]["rows"]) + 1) for n in joins), default=0.0)
        ),
        "plan_cost": math.log1p(float(nodes["cost"][-1])),
    }


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.randoms(use_true_random=False), st.integers(1, 4))
def test_backends_agree_to_the_bit_and_with_the_definitions(
    size: int, source: random.Random, lanes: int
) -> None:
    graph = oracle.random_graph(size, source) if size > 1 else QueryGraph(("a",), np.zeros((0, 2), np.int64))
    estimates = oracle.random_estimates(graph, source, lanes)
    plans = Planner(graph, backend=LOADED[0]).search(estimates, OPERATORS)
    widths = [source.choice([1.0, 8.0, 120.0]) for _ in range(size)]
    found = [
        QueryFeatureExtractor(*bare(graph), widths, memory_bytes=1e5, backend=name).extract(plans)
        for name in LOADED
    ]
    assert len({each.tobytes() for each in found}) == 1
    for row, nodes in zip(found[0], plans, strict=True):
        for name, value in naive(nodes, widths, 1e5).items():
            assert row[COLUMN[name]] == pytest.approx(value, rel=1e-9), name
    assert check_values(_neutral(found[0])) == []


def _neutral(vectors: np.ndarray) -> np.ndarray:
    """With what a system sample and nothing else would add."""
    filled = vectors.copy()
    filled[:, columns("system")] = SystemSampler().latest
    return filled


@pytest.mark.parametrize("name", LOADED)
def test_overflowing_estimates_have_finite_features(name: str) -> None:
    graph = QueryGraph.from_edges(3, [(0, 1), (1, 2)])
    plans = Planner(graph).search(np.full(6, 1e308)).copy()
    plans["rows"], plans["cost"] = np.inf, np.inf
    found = QueryFeatureExtractor(*bare(graph), [8.0] * 3, backend=name).extract(plans)
    assert check_values(_neutral(found)) == []


def test_plans_of_another_graph_are_refused() -> None:
    graph = QueryGraph.from_edges(3, [(0, 1), (1, 2)])
    other = QueryGraph.from_edges(2, [(0, 1)])
    extractor = QueryFeatureExtractor(*bare(graph), [8.0] * 3)
    with pytest.raises(InvalidInput, match="plans of 5 nodes"):
        extractor.extract(Planner(other).search([1.0, 2.0, 3.0]))
    with pytest.raises(InvalidInput, match="row_bytes"):
        QueryFeatureExtractor(*bare(graph), [8.0])
    with pytest.raises(InvalidInput, match="out has shape"):
        extractor.extract(Planner(graph).search(np.ones(6)), out=np.zeros((1, 3)))


def test_a_statement_s_structure() -> None:
    with DuckDBEngine.open() as engine:
        for statement in (
            "CREATE TABLE a (id INT, k INT, t VARCHAR)",
            "CREATE TABLE b (id INT, a_id INT, v INT)",
        ):
            engine.run(Rendered(statement))
        text = (
            "SELECT x.k, count(*) FROM a x JOIN b ON x.id = b.a_id LEFT JOIN a y ON y.id = b.v "
            "WHERE x.k = 1 AND x.t LIKE 'q%' AND (b.v > 3 OR b.v IS NULL) AND b.id IN (1, 2) GROUP BY x.k "
            "ORDER BY count(*), x.k LIMIT 10"
        )
        template = parse_template(fingerprint(text, "duckdb"), "duckdb", engine.schema())
    block = template.plannable[0]
    assert block.graph is not None
    extractor = QueryFeatureExtractor(template, block, [8.0] * 3)
    estimates = estimate_features(np.log([0.1, 0.5, 1.0]), np.log([1e3, 1e4, 1e3]), np.log([1e3, 50.0]))
    plans = Planner(block.graph).search(np.ones(len(Planner(block.graph).sets)))
    row = extractor.extract(plans, estimates)[0]
    values = {feature.name: row[position] for position, feature in enumerate(FEATURES)}
    expected = {
        "relations": 3, "left_joins": 1, "semi_joins": 0, "equality_filters": 1, "pattern_filters": 1,
        "range_filters": 1, "null_filters": 1, "list_filters": 1, "disjunctions": 1, "block_depth": 0,
        "grouping_columns": 1, "aggregated": 1, "self_joined": 2, "distinct": 0,
        "sort_keys": 2, "limited": 1,
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected
    assert values["filtered_share"] == pytest.approx(math.log(0.05))
    assert values["largest_table_rows"] == pytest.approx(math.log(1e4))


def test_the_machine_is_sampled_at_most_once_per_interval(tmp_path: Path) -> None:
    for name, text in {
        "proc/loadavg": "3.00 1 1 1/1 1",
        "proc/meminfo": "MemTotal: 4000 kB\nMemAvailable: 1000 kB\n",
        "proc/stat": "cpu 10 0 10 70 10 0 0 0 0 0\n",
        "sys/fs/cgroup/memory.max": "2048000\n",
        "sys/fs/cgroup/cpu.max": "100000 100000\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    now = [0.0]
    sampler = SystemSampler(10.0, root=tmp_path, clock=lambda: now[0])
    first = sampler.sample(buffer_hits=0.9)
    assert first.tolist() == pytest.approx([1.0, 3.0, math.log1p(2048000), 0.5, 0.0, 0.9, 1.0])
    (tmp_path / "proc/loadavg").write_text("7.00 1 1 1/1 1")
    (tmp_path / "proc/stat").write_text("cpu 10 0 10 140 40 0 0 0 0 0\n")
    now[0] = 9.0
    assert sampler.sample(concurrency=4).tolist() == pytest.approx([*first[:6], 4.0])
    now[0] = 11.0
    later = sampler.sample()
    assert later[1] == 7.0
    assert later[4] == pytest.approx(0.3)
    assert later[5] == 0.9
    nothing = SystemSampler(root=tmp_path / "absent").sample()
    assert np.isfinite(nothing).all()


def test_history_knows_only_what_was_before() -> None:
    history = WorkloadHistory(most=2)
    monday = datetime(2024, 1, 1, 6, tzinfo=UTC)

    def ran(fingerprint: int, ms: float, minutes: float, outcome: str = "ok") -> bool:
        at = monday + timedelta(minutes=minutes)
        return history.add(Observation("d", fingerprint, outcome, ms, cluster="c", at=at))

    before, rhythm = history.features(" ", 1, monday, "c")
    assert not before.any()
    assert rhythm.tolist() == pytest.approx([0, 0, 1, 0, 0, 0], abs=1e-9)
    assert ran(1, 2000.0, 0)
    assert ran(1, 4000.0, 10)
    assert not ran(1, 1e9, 11, "timeout")
    assert not ran(1, -5.0, 11)
    own, rhythm = history.features(" ", 1, monday + timedelta(minutes=20), "c")
    assert own[0] == pytest.approx(math.log1p(2))
    assert 2000 < math.expm1(own[1]) < 4000
    assert 0 < own[2] < 0.5
    assert own[3] == pytest.approx(math.log1p(600))
    assert rhythm[5] == 1.0
    # A neighbour of the same cluster that never ran itself.
    near = history.features(" ", 2, monday + timedelta(minutes=20), "c")[0]
    assert not near[:3].any()
    assert near[5] == own[5]
    for other in (2, 3):
        ran(other, 1.0, 30)
    assert not history.features(" ", 1, monday + timedelta(minutes=31))[0][:2].any()


def test_history_is_told_by_database_and_takes_no_absurd_time() -> None:
    history = WorkloadHistory()
    at = datetime(2026, 5, 1, tzinfo=UTC)
    seen = Observation(
        "", 7, "ok", 20.0, engine="duckdb", database="one role=a search_path=b", cluster="c", at=at
    )
    assert history.add(seen)
    assert not history.add(replace(seen, latency_ms=1e300))
    here, there = (place_of("duckdb", name) for name in ("one role=z", "two"))
    assert history.features(here, 7, at, "c")[0][[0, 4]].tolist() == pytest.approx([math.log(2.0)] * 2)
    assert not history.features(there, 7, at, "c")[0][[0, 1, 4]].any()
