"""What is kept of an exploration, and what steering may lose."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.core import Steering
from godb_fast.errors import InvalidInput
from godb_fast.exploring import (
    Evidence,
    Ledger,
    Memo,
    MemoEntry,
    MemoKey,
    PairEvidence,
    PairRule,
    Standing,
)


def entry(number: int, epoch: str = "e1") -> MemoEntry:
    steering = Steering(settings=(("enable_nestloop", "off"),))
    return MemoEntry(MemoKey(number, 2), steering, epoch, Evidence(6, 0.4, 0.3, 0.6, 1.5e9))


def test_a_memo_forgets_what_was_asked_for_least():
    memo = Memo(capacity=2)
    memo.put(entry(1))
    memo.put(entry(2))
    assert memo.steering(MemoKey(1, 2), "e1")
    memo.put(entry(3))
    assert memo.entry(MemoKey(2, 2)) is None
    assert memo.entry(MemoKey(1, 2)) == entry(1)
    assert len(memo) == 2


def test_another_epoch_demotes_and_a_new_verification_restores():
    memo = Memo()
    memo.put(entry(1))
    assert memo.steering(MemoKey(1, 2), "e2") is None
    # Going back to the old epoch does not make the entry good again.
    assert memo.steering(MemoKey(1, 2), "e1") is None
    assert [waiting.key for waiting in memo.to_verify()] == [MemoKey(1, 2)]
    memo.put(entry(1, "e2"))
    assert memo.steering(MemoKey(1, 2), "e2") == entry(1).steering
    assert not memo.to_verify()


def test_a_memo_survives_json():
    memo = Memo()
    for number in (5, 2**63 + 1):
        memo.put(entry(number))
    back = Memo.from_dicts(json.loads(json.dumps(memo.to_dicts())))
    assert back.to_dicts() == memo.to_dicts()
    assert back.entry(MemoKey(2**63 + 1, 2)) == entry(2**63 + 1)


def test_a_spent_budget_stops_its_class_only_and_ages():
    ledger = Ledger(share=0.05, window_s=100.0)
    ledger.note("a", 0.0, 10.0)
    ledger.note("b", 0.0, 10.0)
    assert ledger.standing("a", 1.0) == (10.0, 0.0)
    ledger.note("a", 2.0, 1.0, 0.6)
    assert ledger.standing("a", 2.0) == (11.0, 0.6)
    assert ledger.spent("a", 3.0)
    assert not ledger.spent("b", 3.0)
    assert not ledger.spent("unseen", 3.0)
    ledger.note("a", 100.5, 5.0)
    assert ledger.spent("a", 100.5)
    assert not ledger.spent("a", 104.5)


def test_more_time_of_a_class_allows_more_losses():
    ledger = Ledger(share=0.05)
    ledger.note("a", 0.0, 1.0, 1.0)
    assert ledger.spent("a", 1.0)
    ledger.note("a", 2.0, 19.0)
    assert not ledger.spent("a", 3.0)


def test_a_clock_that_goes_back_frees_nothing():
    ledger = Ledger(share=0.1, window_s=100.0)
    ledger.note("a", 1000.0, 10.0, 2.0)
    ledger.note("a", 10.0, 0.0, 0.5)
    assert ledger.spent("a", 10.0)
    assert ledger.standing("a", 1050.0) == (10.0, 2.5)


def test_memory_does_not_grow_with_executions():
    ledger = Ledger(window_s=96.0)
    for number in range(5000):
        ledger.note("a", number / 10, 0.001)
    assert ledger.standing("a", 500.0)[0] == pytest.approx(0.96, abs=0.02)
    assert len(ledger._accounts["a"].parts) <= 97


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 500), st.floats(0, 9), st.floats(0, 3))))
def test_what_is_saved_restores_the_same(entries):
    ledger, saved = Ledger(window_s=2000.0), []
    for name, at, took, lost in entries:
        ledger.note(name, at, took, lost)
        if lost:
            saved.append((name, at, ledger.unsaved_s(name), lost))
    back = Ledger(window_s=2000.0)
    back.restore(saved)
    for name in "ab":
        took, lost = ledger.standing(name, 500.0)
        assert back.standing(name, 500.0) == pytest.approx((took - ledger.unsaved_s(name), lost))
        assert back.unsaved_s(name) == 0.0


def test_pairs_promote_a_clear_winner_and_refute_a_loser():
    rule = PairRule()
    winner = PairEvidence()
    while rule.standing(winner) is Standing.OPEN:
        winner.pair(1.0, 1.2)
    assert rule.standing(winner) is Standing.PROMOTED
    assert 3 <= winner.pairs <= 7
    loser = PairEvidence()
    while rule.standing(loser) is Standing.OPEN:
        loser.pair(1.0, 0.9)
    assert rule.standing(loser) is Standing.REFUTED
    assert loser.pairs <= 3
    cut = PairEvidence([-1.0] * 20)
    cut.candidate_cut()
    assert rule.standing(cut) is Standing.REFUTED
    assert PairEvidence.from_dict(json.loads(json.dumps(cut.to_dict()))) == cut


def test_peeking_after_every_pair_promotes_an_equal_plan_rarely():
    import numpy as np

    rng = np.random.default_rng(4)
    rule = PairRule(alpha=0.05, most_pairs=30)
    promoted = 0
    for _ in range(400):
        evidence = PairEvidence()
        while rule.standing(evidence) is Standing.OPEN:
            candidate, default = np.exp(rng.normal(0.0, 0.2, size=2))
            evidence.pair(float(candidate), float(min(default, 1.2 * candidate)))
        promoted += rule.standing(evidence) is Standing.PROMOTED
    assert promoted <= 0.05 * 400


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_pairs_refuse_what_is_no_time(seconds):
    with pytest.raises(InvalidInput):
        PairEvidence().pair(seconds, 1.0)
    with pytest.raises(InvalidInput):
        PairEvidence().pair(1.0, seconds)
