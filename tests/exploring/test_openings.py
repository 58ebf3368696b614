"""What is tried first: by costs where an engine tells them, else by the rows that operators hand on."""

from __future__ import annotations

import pytest

from godb_fast.core import PhysicalNode, PhysicalPlan, Steering
from godb_fast.engines.base import Rendered
from godb_fast.exploring.candidates import Candidate
from godb_fast.exploring.earlier import Earlier
from godb_fast.exploring.openings import PROMISING, openings
from godb_fast.exploring.space import PlanSpace
from godb_fast.exploring.trials import Baseline


def candidate(arm: str, *, cost: float | None = None, rows: float = 0.0) -> Candidate:
    steering = Steering(rewrites=(arm,)) if arm.startswith("rewrite") else Steering()
    return Candidate(arm, steering, Rendered(arm), arm, cost, rows)


class Nothing(Earlier):
    """No store."""

    def __init__(self) -> None:
        pass

    def to_verify(self, subject, digest, default_s):
        return iter(())


def first(default: Baseline, *found: Candidate) -> list[str]:
    arms = [entry.arm for entry in found]
    space = PlanSpace.of([[entry.digest for entry in found]], [default.seconds])
    tries = openings([None], [{entry.arm: entry for entry in found}], arms, [default], space, Nothing())
    return [arms[arm] for _, arm, share in tries if share == PROMISING]


def test_without_costs_the_rewrite_that_hands_on_least_comes_first():
    """The default's rows are those that were counted: its estimates are what is wrong."""
    found = (
        candidate("default", rows=100.0),
        candidate("rewrite a", rows=400.0),
        candidate("rewrite b", rows=300.0),
        candidate("join tree", rows=1.0),
    )
    assert first(Baseline(1.0, handed_on=10_000.0), *found) == ["rewrite b"]
    assert first(Baseline(1.0, handed_on=600.0), *found) == ["rewrite b"]
    assert first(Baseline(1.0, handed_on=599.0), *found) == []
    assert first(Baseline(1.0), *found) == []


def test_where_the_default_did_not_finish_any_rewrite_is_worth_a_run():
    found = candidate("default", rows=1.0), candidate("rewrite a", rows=1e9)
    assert first(Baseline(60.0, unfinished=True), *found) == ["rewrite a"]


def test_costs_count_where_there_are_any():
    found = (
        candidate("default", cost=100.0, rows=1.0),
        candidate("rewrite a", cost=50.0, rows=1e9),
        candidate("rewrite b", cost=51.0, rows=0.0),
    )
    assert first(Baseline(1.0, handed_on=1.0), *found) == ["rewrite a"]


@pytest.mark.parametrize(("rows", "expected"), [(7.0, 10.0), (None, 8.0)])
def test_rows_handed_on_are_counted_ones_where_they_were_counted(rows, expected):
    scan = PhysicalNode("SEQ_SCAN", estimated_rows=5.0, rows=rows)
    unknown = PhysicalNode("CTE_SCAN")
    root = PhysicalNode("HASH_JOIN", estimated_rows=3.0, children=(scan, unknown))
    assert PhysicalPlan(root, "duckdb", "explain").handed_on() == expected
