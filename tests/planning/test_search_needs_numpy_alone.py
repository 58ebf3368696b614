"""For builders of engines: graphs, estimates and the search work where only numpy is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import importlib.abc, os, sys

class Nothing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"duckdb", "sqlglot", "onnxruntime", "rich", "platformdirs", "scipy"}:
            raise ModuleNotFoundError(f"no module named {name!r}", name=name)
        if BACKEND != "numba" and name.split(".")[0] == "numba":
            raise ModuleNotFoundError(f"no module named {name!r}", name=name)
        return None

BACKEND = sys.argv[1]
sys.meta_path.insert(0, Nothing())
from godb_fast.core import OPERATORS, QueryGraph, RowEstimates
from godb_fast.planning.search import Planner, plan

graph = QueryGraph.from_edges(["a", "b", "c"], [(0, 1), (1, 2)])
estimates = RowEstimates.of(graph, [10, 1000, 20], [0.1, 0.01])
print(Planner(graph, backend=BACKEND).plans(estimates, OPERATORS)[0].tree())
print(plan(graph, estimates, pair_budget=1, backend=BACKEND).tree())
"""


def test_search_without_other_packages(backend):
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, backend], capture_output=True, text=True, check=False, timeout=300
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[0] == "((1, 2), 0)"


def test_examples_in_the_documentation():
    import doctest

    from godb_fast.planning import search

    failed, tried = doctest.testmod(search, extraglobs={"QueryGraph": search.QueryGraph})
    assert tried
    if failed:
        pytest.fail("an example in planning.search gives something else")
