"""Methods of exploration compete by one protocol, on stored runtimes and live."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from benchmarks import methods
from benchmarks.matrices import made_up
from benchmarks.replay import Workload, explore
from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.errors import InvalidInput
from godb_fast.exploring.subjects import LiveQuery
from godb_fast.report import Query

MATRIX = made_up(queries=60, arms=8, seed=3)
MARKS = (0.5, 1.0)


def test_the_example_learns_on_stored_runtimes():
    found, worst = methods.replay(MATRIX, np.ones(60), "examples.own_method:LongestFirst", 1, MARKS)
    assert found[1] <= found[0] < 0.95
    assert worst <= 1.0


def test_our_own_explorer_is_one_of_the_methods():
    found, _ = methods.replay(MATRIX, np.ones(60), "benchmarks.methods:OwnExplorer", 1, MARKS[-1:])
    direct = explore(MATRIX, Workload.uniform(60), "none", 1, classes=True, until=1.0)
    # The same but for where the last run is cut.
    assert found[0] == pytest.approx(direct.r[-1], rel=0.02)


@pytest.mark.parametrize("name", ["examples.own_method", "no.such:Thing", "builtins:dict"])
def test_what_is_no_method_is_refused(name):
    with pytest.raises(InvalidInput, match="--method"):
        methods.named(name)


class Lost:
    """Asks for what there is not."""

    def suggest(self, state):
        return len(state.queries), 0, 1.0

    def observe(self, *run):
        raise AssertionError("nothing ran")

    def choose(self, query):
        return 0


def test_a_suggestion_outside_is_refused():
    with pytest.raises(InvalidInput, match="no such query"):
        methods.replay(MATRIX, np.ones(60), f"{__name__}:Lost", 1, MARKS)


class Last:
    """Tries the last arm of each query once and chooses it."""

    def __init__(self):
        self.tried = []

    def suggest(self, state):
        query = len(self.tried)
        return (query, len(state.arms) - 1, 5.0) if query < len(state.queries) else None

    def observe(self, query, arm, seconds, finished):
        self.tried.append(arm)

    def choose(self, query):
        return self.tried[query]


def test_a_method_chooses_on_a_live_engine_and_its_choice_is_run(tmp_path):
    sql = "SELECT count(*) FROM a JOIN b ON a.k = b.k JOIN c ON b.n = c.n WHERE a.v < {}"
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("CREATE TABLE a AS SELECT i % 40 AS k, i AS v FROM range(500) r(i)")
        connection.execute("CREATE TABLE b AS SELECT i % 40 AS k, i % 7 AS n FROM range(500) r(i)")
        connection.execute("CREATE TABLE c AS SELECT i % 7 AS n FROM range(500) r(i)")
    with DuckDBEngine.open(tmp_path / "x.duckdb", read_only=True) as engine:
        queries = [LiveQuery("one", sql.format(100)), LiveQuery("two", sql.format(400))]
        found = methods.explore_live(engine, queries, f"{__name__}:Last", 5.0, cap_s=5.0)
        assert found.told.startswith(f"{__name__}:Last: ")
        for query in (Query("one", sql.format(7)), Query("other", sql.format(7))):
            assert found.run(query, 5.0).rows == engine.run(Rendered(query.sql, None)).rows
