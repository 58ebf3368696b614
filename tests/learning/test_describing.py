"""Vectors of candidates as serving and training both make them, from an engine's own statistics."""

from __future__ import annotations

import numpy as np
import pytest

from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.exploring.subjects import LiveQuery, Subject, examine
from godb_fast.learning.describing import PlanDescriber
from godb_fast.learning.features import COLUMN, FEATURES
from godb_fast.learning.validation import check_values

SQL = (
    "SELECT count(*) FROM a JOIN b ON a.id = b.a_id JOIN (SELECT DISTINCT v FROM b) d ON d.v = b.v "
    "WHERE a.k = {}"
)


@pytest.fixture
def engine():
    with DuckDBEngine.open() as opened:
        opened.run(Rendered("CREATE TABLE a AS SELECT i AS id, i % 100 AS k FROM range(10000) t(i)"))
        opened.run(
            Rendered("CREATE TABLE b AS SELECT i AS id, i % 1000 AS a_id, i % 7 AS v FROM range(50000) t(i)")
        )
        yield opened


def described(engine: DuckDBEngine, literal: int) -> np.ndarray:
    subject = examine(engine, LiveQuery("q", SQL.format(literal)))
    assert isinstance(subject, Subject)
    planner = subject.planner
    assert planner is not None
    proposal = planner.propose(subject.literals)
    block = proposal.blocks[0]
    describer = PlanDescriber(subject.template, subject.template.blocks[block.index], engine.statistics())
    return describer.vectors(block.assessment.plans, planner.estimates(subject.literals)[block.index])


def test_candidates_differ_in_what_depends_on_the_plan_alone(engine: DuckDBEngine) -> None:
    rows = described(engine, 3)
    assert rows.shape[1] == len(FEATURES)
    query = [at for at, feature in enumerate(FEATURES) if feature.source in ("template", "estimates")]
    assert len({row[query].tobytes() for row in rows}) == 1
    one = {feature.name: rows[0, at] for at, feature in enumerate(FEATURES)}
    assert one["relations"] == 3
    assert one["filtered_share"] == pytest.approx(np.log(0.01), abs=0.3)
    assert one["largest_table_rows"] == pytest.approx(np.log(50_000), abs=0.01)
    assert one["distinct_values"] > 0
    sound = rows.copy()
    # Nobody sampled the machine here; one processor is the least.
    sound[:, COLUMN["processors"]] = 1
    assert check_values(sound) == []


def test_the_same_query_has_the_same_vectors(engine: DuckDBEngine) -> None:
    assert (described(engine, 3) == described(engine, 3)).all()
    assert described(engine, 3).tobytes() != described(engine, 100_000).tobytes()
