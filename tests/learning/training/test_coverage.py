"""How often bounds hold is told in all and by cluster, on templates that lend no outcome to their own bounds."""

from __future__ import annotations

import numpy as np
import pytest

from godb_fast.learning.physical import PAIR_COLUMNS, PHYSICAL_COLUMNS
from godb_fast.learning.training.coverage import clusters_of, coverage
from godb_fast.learning.training.gathering import Pairs


def drawn(count=40, runs=50, seed=1):
    source = np.random.default_rng(seed)
    return source.normal(size=count * runs), np.repeat(np.arange(count), runs)


def test_exchangeable_outcomes_are_covered_as_stated():
    scores, templates = drawn()
    clusters = {template: str(template % 4) for template in range(40)}
    found = coverage(scores, templates, clusters, 0)
    assert found["coverage_at_once"] == pytest.approx(0.9, abs=0.02)
    assert found["coverage"] == pytest.approx(0.9, abs=0.02)
    assert 0.87 < found["coverage_least"] <= found["coverage_most"] < 0.93


def test_a_cluster_whose_bounds_break_is_told_though_all_together_hold():
    scores, templates = drawn()
    # A tenth of the templates turns out far worse than all others let expect.
    scores[templates % 10 == 0] += 4.0
    clusters = {template: "worse" if template % 10 == 0 else "as told" for template in range(40)}
    found = coverage(scores, templates, clusters, 0)
    # Its bounds, which learn, come to hold more often than they would at once.
    at_once = coverage(scores, templates, dict.fromkeys(range(40), "all"), 0)["coverage_at_once"]
    assert found["coverage_at_once"] == at_once
    worse = scores[templates % 10 == 0]
    assert (worse <= np.quantile(scores, 0.9)).mean() < 0.5
    assert found["coverage_least"] > 0.8
    assert found["coverage_least"] < found["coverage_most"]


def test_few_outcomes_say_nothing_of_a_cluster():
    scores, templates = drawn(10, 12)
    found = coverage(scores, templates, {template: str(template) for template in range(10)}, 0)
    assert set(found) == {"coverage", "coverage_at_once"}
    # One template has no others.
    assert coverage(scores[:12], templates[:12], {0: "one"}, 0) == {}


def test_templates_with_the_same_operators_are_alike():
    vectors = np.zeros((4, len(PAIR_COLUMNS)))
    columns = [PHYSICAL_COLUMNS.index(each) for each in PHYSICAL_COLUMNS if each.unit == "count"][:4]
    own = len(PHYSICAL_COLUMNS)
    vectors[:2, [own + columns[0], own + columns[1]]] = [[2.0, 1.0], [2.0, 1.0]]
    vectors[2:, [own + columns[2], own + columns[3]]] = [[1.0, 3.0], [1.0, 3.0]]
    # What a candidate does otherwise makes no other cluster.
    vectors[:, columns[0]] = [5.0, -1.0, 0.0, 2.0]
    pairs = Pairs(
        vectors,
        np.zeros(4),
        np.zeros(4, np.bool_),
        np.ones(4),
        np.arange(4),
        np.array([7, 8, 9, 7]),
        np.array(["a", "b", "c", "d"]),
        np.full(4, None),
        np.full(4, None),
    )
    found = clusters_of(pairs)
    assert found[7] == found[8] != found[9]
