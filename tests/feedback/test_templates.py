"""A template's corrections, through its planner: from what executions showed to another choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.warehouse import BAD, ROWS, planner, star

from godb_fast.core import Observation, PhysicalNode, PhysicalPlan
from godb_fast.feedback import Corrections, TemplateFeedback

LITERALS = ["7", "0"]


def scan(alias: str, rows: float) -> PhysicalNode:
    table = "facts" if alias == "f" else alias
    return PhysicalNode("Seq Scan", "scan", table=table, alias=alias, rows=rows, loops=1)


def joined(left: PhysicalNode, right: PhysicalNode, rows: float) -> PhysicalNode:
    return PhysicalNode("Hash Join", "join", join_type="Inner", rows=rows, loops=1, children=(left, right))


def executed(root: PhysicalNode) -> Observation:
    plan = PhysicalPlan(root, "postgresql", "analyze")
    return Observation("d", 1, "ok", 100.0, plan=plan, plan_source="analyze")


#: What was thought to keep a thousandth keeps nearly all, and the other way round.
SHOWN = [
    executed(joined(scan("f", 2e6), scan("a", 90_000.0), 1.9e6)),
    executed(joined(scan("f", 2e6), scan("b", 25.0), 1e3)),
]


def innermost(tree: Any) -> set[int]:
    while isinstance(tree, tuple):
        if not isinstance(tree[0], tuple) and not isinstance(tree[1], tuple):
            return set(tree)
        tree = tree[0] if isinstance(tree[0], tuple) else tree[1]
    raise AssertionError(tree)


def test_what_executions_showed_changes_the_choice() -> None:
    proposals = planner(star())
    own = proposals.own_plans({0: BAD})
    feedback = TemplateFeedback(proposals, Corrections())
    assert feedback.corrected(LITERALS, None, own) == {}
    before = proposals.propose(LITERALS, None, {0: BAD})
    assert innermost(before.steering.join_trees[0][1]) == {0, 1}
    for shown in SHOWN:
        assert feedback.learn(shown, LITERALS, None) == 3
    corrected = feedback.corrected(LITERALS, None, own)
    after = proposals.propose(LITERALS, None, {0: BAD}, corrected=corrected)
    assert innermost(after.steering.join_trees[0][1]) == {0, 2}
    # The usual way from a text comes to the same.
    draft = proposals.draft(LITERALS)
    assert draft.propose(own, corrected=corrected) == after.steering
    assert [entry.costs for entry in draft.candidates()] == [entry.costs for entry in after.candidates]


def test_scenarios_come_together_where_there_is_evidence_and_stay_apart_elsewhere() -> None:
    proposals = planner(star())
    own = proposals.own_plans({0: BAD})
    feedback = TemplateFeedback(proposals, Corrections())
    for shown in SHOWN * 3:
        feedback.learn(shown, LITERALS, None)
    (rows,) = feedback.corrected(LITERALS, None, own).values()
    block = proposals.blocks[0]
    place = {int(mask): at for at, mask in enumerate(block.sets)}
    usual = block.rows(proposals.estimates(LITERALS)[0])
    assert rows.shape == usual.shape
    for mask, seen in ((0b0011, 1.9e6), (0b0101, 1e3), (0b0010, 90_000.0)):
        assert rows[place[mask]] == pytest.approx(seen, rel=0.1)
        assert np.ptp(np.log(usual[place[mask]])) > np.ptp(np.log(rows[place[mask]]))
    # Nothing was seen of a join with c: its scenarios differ as they did, but for what its parts teach.
    unseen = np.log(rows[place[0b1001]]), np.log(usual[place[0b1001]])
    assert np.ptp(np.delete(unseen[0], 2)) == pytest.approx(np.ptp(np.delete(unseen[1], 2)), abs=0.2)
    # The plan that the engine ran anyway is charged with nothing in the pessimistic scenario.
    assert rows.min() >= 1.0
    assert rows[place[0b0001]] == pytest.approx(ROWS["facts"], rel=0.01)


def test_what_nobody_measured_teaches_nothing() -> None:
    proposals = planner(star())
    corrections = Corrections()
    feedback = TemplateFeedback(proposals, corrections)
    root = joined(scan("f", 2e6), scan("a", 90_000.0), 1.9e6)
    explained = Observation("d", 1, "ok", 1.0, plan=PhysicalPlan(root, "postgresql", "explain"))
    assert feedback.learn(explained, LITERALS, None) == 0
    # A value that nobody knows has no evidence of its own.
    assert feedback.learn(SHOWN[0], [LITERALS[0]], None) == 0
    assert corrections.clock == 0
