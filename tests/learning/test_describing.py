"""Vectors of candidates as serving and training both make them, from an engine's own statistics."""

from __future__ import annotations

import numpy as np
import pytest

from godb_fast.engines.base import Engine, Rendered
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.engines.registry import open_engine
from godb_fast.exploring.subjects import LiveQuery, Subject, examine
from godb_fast.learning.describing import PlanDescriber, StatementDescriber, together
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
    assert one["uncertainty"] > 0
    assert one["correlation"] == 0.0
    # As many distinct values as rows: a key. A tenth of them are in b. The other join is with none.
    assert one["key_joins"] == 0.5
    assert one["key_coverage"] == pytest.approx(0.1, abs=0.02)
    assert one["skew"] == pytest.approx(0.0, abs=1e-6)
    sound = rows.copy()
    # Nobody sampled the machine here; one processor is the least.
    sound[:, COLUMN["processors"]] = 1
    assert check_values(sound) == []


def features_of(engine: Engine, sql: str) -> dict[str, float]:
    """The features of a query of one block, under its first candidate."""
    subject = examine(engine, LiveQuery("q", sql))
    assert isinstance(subject, Subject)
    assert subject.planner is not None
    block = subject.planner.propose(subject.literals).blocks[0]
    describer = PlanDescriber(subject.template, subject.template.blocks[block.index], engine.statistics())
    estimates = subject.planner.estimates(subject.literals)[block.index]
    row = describer.vectors(block.assessment.plans[:1], estimates)[0]
    assert check_values(np.where(np.arange(len(row)) == COLUMN["processors"], 1.0, row)[None]) == []
    return {feature.name: row[at] for at, feature in enumerate(FEATURES)}


def test_the_data_s_characteristics_are_told_apart(postgres_url: str) -> None:
    with open_engine(postgres_url) as engine:
        for statement in (
            "CREATE TABLE site (id int PRIMARY KEY, region int, town int)",
            "INSERT INTO site SELECT i, i % 50, i % 50 * 2 FROM generate_series(1, 20000) i",
            "CREATE TABLE even (site int, other int)",
            "INSERT INTO even SELECT i % 500 + 1, i % 20 FROM generate_series(1, 20000) i",
            "CREATE TABLE heavy (site int, other int)",
            "INSERT INTO heavy SELECT CASE WHEN i % 2 = 0 THEN 1 ELSE i % 500 + 1 END, i % 20 "
            "FROM generate_series(1, 20000) i",
            "ANALYZE site, even, heavy",
        ):
            engine.run(Rendered(statement))
        keyed = features_of(
            engine, "SELECT count(*) FROM site s JOIN even e ON e.site = s.id WHERE s.region = 3"
        )
        assert keyed["key_joins"] == 1.0
        # Of twenty thousand sites five hundred have rows.
        assert keyed["key_coverage"] == pytest.approx(0.025, abs=0.002)
        assert keyed["skew"] == pytest.approx(0.0, abs=1e-6)
        assert keyed["correlation"] == 0.0
        both = "SELECT count(*) FROM site s JOIN even e ON e.site = s.id WHERE s.region = 3 AND s.town = 6"
        # Of filters that may depend on each other, more rows are expected than of independent ones.
        assert features_of(engine, both)["correlation"] == pytest.approx(np.log(50.0) / 2, abs=0.2)
        assert features_of(engine, both)["uncertainty"] > keyed["uncertainty"]
        many = "SELECT count(*) FROM even a JOIN {} b ON a.site = b.site WHERE a.other = 3"
        assert features_of(engine, many.format("even"))["skew"] == pytest.approx(0.0, abs=0.3)
        skewed = features_of(engine, many.replace("even a", "heavy a").format("heavy"))
        # Half of the rows of both are of one site of 251: a quarter of the product, instead of one in 251.
        assert skewed["skew"] == pytest.approx(np.log(251 / 4), abs=0.1)
        assert skewed["key_joins"] == skewed["key_coverage"] == 0.0
        mixed = "SELECT count(*) FROM site s JOIN even e ON e.site = s.id JOIN heavy h ON h.other = e.other"
        assert features_of(engine, mixed)["key_joins"] == 0.5


def test_the_same_query_has_the_same_vectors(engine: DuckDBEngine) -> None:
    assert (described(engine, 3) == described(engine, 3)).all()
    assert described(engine, 3).tobytes() != described(engine, 100_000).tobytes()


TWO = (
    "WITH few AS (SELECT a.k, count(*) AS n FROM a JOIN b ON a.id = b.a_id WHERE a.k < {} GROUP BY a.k) "
    "SELECT few.k, sum(few.n) FROM few JOIN a ON a.k = few.k JOIN b ON b.a_id = a.id WHERE b.v = 3 GROUP BY 1"
)


def test_blocks_make_a_statement(engine: DuckDBEngine) -> None:
    subject = examine(engine, LiveQuery("q", TWO.format(50)))
    assert isinstance(subject, Subject)
    planner = subject.planner
    assert planner is not None
    first, second = planner.blocks
    plan = engine.explain(subject.query.sql)
    trees = engine.default_trees(subject.template, plan, subject.literals)
    describer = StatementDescriber(planner)
    found = describer.vector(subject.literals, None, trees)
    assert found is not None
    assert found[COLUMN["relations"]] == 5
    assert found[COLUMN["plan_scans"]] == 5
    parts = [
        PlanDescriber(subject.template, subject.template.blocks[block.index], engine.statistics()).vectors(
            proposed.assessment.plans[max(proposed.assessment.which[-1], 0)][None],
            planner.estimates(subject.literals)[block.index],
        )[0]
        for block, proposed in zip(
            (first, second), planner.propose(subject.literals, None, trees).blocks, strict=True
        )
    ]
    for name, expected in {
        "plan_cost": np.log(sum(np.expm1(part[COLUMN["plan_cost"]]) for part in parts) + 1),
        "largest_join_rows": max(part[COLUMN["largest_join_rows"]] for part in parts),
        "least_support": min(part[COLUMN["least_support"]] for part in parts),
        "key_joins": np.mean([part[COLUMN["key_joins"]] for part in parts]),
        "filtered_share": sum(part[COLUMN["filtered_share"]] for part in parts),
    }.items():
        assert found[COLUMN[name]] == pytest.approx(expected), name
    assert found[COLUMN["processors"]] == 0.0
    # What is known of one block is told with the best guess of the other.
    one = describer.vector(subject.literals, None, {first.index: trees[first.index]})
    assert one is not None
    assert one[COLUMN["relations"]] == 5
    assert describer.vector(subject.literals, None, {}) is None


def test_what_blocks_have_together_stays_within_the_table(engine: DuckDBEngine) -> None:
    most = np.array([feature.most for feature in FEATURES])
    assert (together(np.tile(most, (3, 1))) <= most).all()
    one = np.arange(len(FEATURES), dtype=np.float64)
    assert (together(one[None]) == one).all()
