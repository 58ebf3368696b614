"""The pairs that the search enumerates: exactly the csg-cmp pairs, counted and listed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from oracles import join_order as oracle

from godb_fast.planning.search import DEFAULT_PAIR_BUDGET, Planner


def pairs(text, backend):
    """Listed pairs of a graph of letters, as ``{"A|BC"}``, the part with the lowest letter first."""
    listed = Planner(oracle.letters(text), backend=backend).listed_pairs().tolist()
    named = ["|".join(sorted((oracle.name(left), oracle.name(right)))) for left, right in listed]
    assert len(named) == len(set(named))
    return set(named)


def test_two_relations(backend):
    assert pairs("A-B", backend) == {"A|B"}


def test_star_of_three(backend):
    assert pairs("A-B A-C", backend) == {"A|B", "A|C", "AB|C", "AC|B"}


def test_chain_of_four(backend):
    assert pairs("A-B B-C C-D", backend) == {
        *("A|B", "B|C", "C|D"),
        *("A|BC", "AB|C", "B|CD", "BC|D"),
        *("A|BCD", "AB|CD", "ABC|D"),
    }


def test_triangle(backend):
    assert pairs("A-B B-C A-C", backend) == {"A|B", "A|C", "B|C", "A|BC", "AB|C", "AC|B"}


def test_cycle_of_four(backend):
    assert pairs("A-B B-C C-D A-D", backend) == {
        *("A|B", "B|C", "C|D", "A|D"),
        *("AB|C", "A|BC", "BC|D", "B|CD", "A|CD", "AD|C", "AB|D", "AD|B"),
        *("ABC|D", "ABD|C", "ACD|B", "A|BCD", "AB|CD", "AD|BC"),
    }


CLOSED_FORMS = {
    "chain": (oracle.chain, lambda n: (n**3 - n) // 6, lambda n: n * (n + 1) // 2),
    "cycle": (oracle.cycle, lambda n: (n**3 - 2 * n**2 + n) // 2, lambda n: n * n - n + 1),
    "star": (oracle.star, lambda n: (n - 1) * 2 ** (n - 2), lambda n: 2 ** (n - 1) + n - 1),
    "clique": (oracle.clique, lambda n: (3**n - 2 ** (n + 1) + 1) // 2, lambda n: 2**n - 1),
}


@pytest.mark.parametrize("list_bytes", [1 << 20, 0])
@pytest.mark.parametrize("shape", CLOSED_FORMS)
def test_counts_are_the_closed_forms(shape, list_bytes, backend):
    graph_of, pair_count, set_count = CLOSED_FORMS[shape]
    for size in range(3, 9):
        planner = Planner(graph_of(size), backend=backend, list_bytes=list_bytes)
        assert planner.pairs == pair_count(size)
        assert len(planner.sets) == set_count(size)


@pytest.mark.parametrize(
    ("shape", "size"), [("chain", 62), ("cycle", 62), ("star", 18), ("clique", 12), ("clique", 13)]
)
def test_counts_of_large_shapes(shape, size):
    graph_of, pair_count, set_count = CLOSED_FORMS[shape]
    planner = Planner(graph_of(size))
    assert planner.pairs == pair_count(size) <= DEFAULT_PAIR_BUDGET
    assert len(planner.sets) == set_count(size)


def test_random_graphs_have_exactly_their_pairs(backend):
    source = random.Random(4)
    for _ in range(30):
        graph = oracle.random_graph(7, source)
        planner = Planner(graph, backend=backend)
        low = np.sort(planner.listed_pairs(), axis=1).tolist()
        assert len(low) == planner.pairs
        assert {tuple(pair) for pair in low} == {tuple(sorted(pair)) for pair in oracle.pairs(graph)}


def test_sets_come_after_their_subsets(backend):
    source = random.Random(6)
    for _ in range(20):
        seen = []
        for mask in Planner(oracle.random_graph(8, source), backend=backend).sets.tolist():
            assert not any(mask & earlier == mask for earlier in seen)
            seen.append(mask)


def test_the_budget_counts_pairs_not_relations(backend):
    assert Planner(oracle.chain(14), pair_budget=455, backend=backend).exact
    assert not Planner(oracle.chain(14), pair_budget=454, backend=backend).exact
    assert not Planner(oracle.cycle(14), pair_budget=1000, backend=backend).exact
    assert not Planner(oracle.star(14), pair_budget=10_000, backend=backend).exact
    assert not Planner(oracle.clique(8), pair_budget=3000, backend=backend).exact


@pytest.mark.parametrize(
    ("shape", "size", "algorithm", "replayed"),
    [
        (oracle.star, 10, "dptree", True),
        (oracle.star, 17, "dptree", False),
        (oracle.clique, 10, "dpccp", True),
        (oracle.clique, 12, "dpccp", True),
        (oracle.clique, 13, "dpsub", False),
        (oracle.cycle, 40, "dpccp", True),
    ],
)
def test_the_rule_picks_by_shape_and_pairs(shape, size, algorithm, replayed):
    planner = Planner(shape(size))
    assert (planner.algorithm, planner.replayed) == (algorithm, replayed)


def test_sparse_graphs_beyond_the_list_are_streamed(backend):
    source = random.Random(2)
    graph = oracle.cycle(14)
    planner = Planner(graph, list_bytes=0, backend=backend)
    assert planner.algorithm == "dpccp"
    estimates = oracle.random_estimates(graph, source)
    kept = Planner(graph, backend=backend)
    assert planner.search(estimates).tobytes() == kept.search(estimates).tobytes()


@pytest.mark.skipif(sys.platform != "linux", reason="limits address space as Linux does")
def test_a_huge_budget_takes_no_memory_where_sets_are_few():
    code = """
import resource
from oracles import join_order as oracle
from godb_fast.planning.search import Planner
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
assert Planner(oracle.cycle(50), pair_budget=10**9).exact
"""
    folder = Path(__file__).parents[1]
    paths = os.pathsep.join([str(folder), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
