"""What corrections make of observations: recall, transfer, shrinkage, bounds, forgetting."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.core import QueryGraph
from godb_fast.errors import InvalidInput, StoreError
from godb_fast.feedback import Corrections, Edge, QueryShape, SubplanQuery, Tuning
from godb_fast.feedback.observed import Observed
from godb_fast.planning.search import Planner
from godb_fast.store import SqliteStore

FILTERS = ["p = #", "", "q < #", ""]
GRAPH = QueryGraph.from_edges(4, [(0, 1), (1, 2), (2, 3)])
PLANNER = Planner(GRAPH)
SETS = PLANNER.sets.tolist()
SHAPE = QueryShape.of(
    ["a", "b", "c", "d"],
    FILTERS,
    [Edge(i, i + 1, f"x{i}=y{i}", f"y{i}=x{i}") for i in range(3)],
    PLANNER.sets,
)
#: ln rows: a of 100, b of 10 000, c of 1000, d of 10 000; joins are expected to keep the smaller side.
SINGLES = np.log([100.0, 1e4, 1e3, 1e4])
ESTIMATES = np.array([min(SINGLES[i] for i in range(4) if mask >> i & 1) for mask in SETS])


def query(one: str = "1", two: str = "7", selectivity: float = -3.0) -> SubplanQuery:
    return SubplanQuery.of(SHAPE, [selectivity, 0.0, -2.0, 0.0], [[one], [], [two], []], FILTERS)


def at(mask: int) -> int:
    return SETS.index(mask)


def rows(corrections: Corrections, asked: SubplanQuery, mask: int) -> float:
    return float(np.exp(corrections.correct(asked, ESTIMATES).log_rows[at(mask)]))


def test_without_evidence_estimates_stay_as_they_are() -> None:
    found = Corrections().correct(query(), ESTIMATES)
    assert np.array_equal(found.log_rows, ESTIMATES)
    assert not found.support.any()


def test_what_was_observed_is_recalled_and_reaches_every_larger_subplan() -> None:
    corrections = Corrections()
    assert corrections.observe(query(), ESTIMATES, [0b0011], [50_000]) == 1
    found = corrections.correct(query(), ESTIMATES)
    assert found.log_rows[at(0b0011)] == pytest.approx(np.log(50_000), rel=0.01)
    assert found.support[at(0b0011)] > 0.95
    # A ratio of 500; sub-plans that hold a ⋈ b have it too, others do not.
    for mask in (0b0111, 0b1111):
        assert rows(corrections, query(), mask) == pytest.approx(500 * np.exp(ESTIMATES[at(mask)]), rel=0.15)
    for mask in (0b0001, 0b0010, 0b1110):
        assert rows(corrections, query(), mask) == pytest.approx(np.exp(ESTIMATES[at(mask)]))
    # But for half of the surprise that a join of two was once, shrunk by five others.
    for mask in (0b0110, 0b1100):
        moved = found.log_rows[at(mask)] - ESTIMATES[at(mask)]
        assert moved == pytest.approx(0.5 * np.log(500.0) / 6.0, rel=0.01)


def test_estimates_at_the_floor_of_one_row_are_what_lies_below() -> None:
    corrections = Corrections()
    # a ⋈ b and b ⋈ c are expected to hold e² and e¹ of b's e³ rows: with both conditions less than one is left.
    single, joins = {1: 3.0, 2: 3.0, 4: 3.0, 8: 3.0}, {0b0011: 2.0, 0b0110: 1.0, 0b1100: 3.0}
    estimates = np.array([(single | joins).get(mask, 0.0) for mask in SETS])
    corrections.observe(query(), estimates, [0b0011, 0b0110], [np.exp(7.0), np.exp(5.0)])
    found = corrections.correct(query(), estimates).log_rows
    # Ratios of e⁵ and e⁴ on e^(2 + 1 - 3): not on one row that was said instead of e^0.
    assert found[at(0b0111)] == pytest.approx(9.0, abs=0.3)
    lower = np.array([(single | joins | {0b0110: 0.0}).get(mask, 0.0) for mask in SETS])
    corrections = Corrections()
    corrections.observe(query(), lower, [0b0011], [np.exp(7.0)])
    found = corrections.correct(query(), lower).log_rows
    # e^(2 + 0 - 3) before, so that e⁴ is left of e⁵.
    assert found[at(0b0111)] == pytest.approx(4.0, abs=0.3)


def test_the_same_question_has_the_same_answer_whatever_is_estimated_now() -> None:
    corrections = Corrections()
    for literal in ("1", "2", "3"):
        corrections.observe(query(literal), ESTIMATES, [0b0011], [50_000])
    # As after ANALYZE: what was observed stays, and what was estimated is another.
    now = ESTIMATES.copy()
    now[at(0b0011)] += 2.0
    found = corrections.correct(query("1"), now).log_rows
    assert found[at(0b0011)] == pytest.approx(np.log(50_000), rel=0.01)
    # Nor does another estimate say that the data have changed, so that what is known would age.
    seen = corrections.evidence.seen.copy()
    corrections.observe(query("1"), now, [0b0011], [50_000])
    moved = (corrections.evidence.seen != seen).sum()
    assert moved == 1
    # Without the rows there is the ratio.
    state = corrections.to_dict()
    observed = Observed.from_dict(state["evidence"])
    state["evidence"] = replace(observed, log_rows=np.full(len(observed), np.nan)).to_dict()
    old = Corrections.from_dict(state).correct(query("2"), now).log_rows
    assert old[at(0b0011)] == pytest.approx(np.log(50_000) + 2.0, rel=0.02)


def test_joins_that_nobody_saw_share_the_mean_surprise_and_never_sink() -> None:
    def after(ratio: float) -> np.ndarray:
        corrections = Corrections()
        for number in range(30):
            shape = QueryShape.of([f"t{number}", "u"], ["", ""], [Edge(0, 1, "x", "y")], [1, 2, 3])
            asked = SubplanQuery.of(shape, [0.0, 0.0], [[], []], ["", ""])
            corrections.observe(asked, np.array([8.0, 8.0, 8.0]), [3], [np.exp(8.0 + ratio)])
        return corrections.correct(query(), ESTIMATES).log_rows - ESTIMATES

    larger, smaller = after(4.0), after(-4.0)
    joined = np.bitwise_count(np.array(SETS)) == 2
    assert larger[joined] == pytest.approx(0.5 * 4.0 * 30 / 35, rel=0.02)
    assert not larger[~joined].any()
    assert not smaller.any()


def test_a_join_seen_beside_others_is_recalled_where_it_stands_alone() -> None:
    corrections = Corrections()
    corrections.observe(query(), ESTIMATES, [0b0110], [300_000])
    part = QueryShape.of(["c", "b"], ["q < #", ""], [Edge(0, 1, "y1=x1", "x1=y1")], [1, 2, 3])
    asked = SubplanQuery.of(part, [-2.0, 0.0], [["7"], []], ["q < #", ""])
    found = corrections.correct(asked, np.log([1e3, 1e4, 1e3]))
    assert found.log_rows[2] == pytest.approx(np.log(300_000), rel=0.01)


def test_neighbours_count_by_nearness_and_shrink_to_the_estimate() -> None:
    corrections = Corrections()
    corrections.observe(query("1", selectivity=-3.0), ESTIMATES, [0b0011], [10_000])
    same = rows(corrections, query("1", selectivity=-3.0), 0b0011)
    near = rows(corrections, query("2", selectivity=-3.1), 0b0011)
    far = rows(corrections, query("3", selectivity=-9.0), 0b0011)
    assert same > near > far > np.exp(ESTIMATES[at(0b0011)])
    for literal in range(10, 30):
        corrections.observe(query(str(literal), selectivity=-3.1), ESTIMATES, [0b0011], [10_000])
    assert rows(corrections, query("2", selectivity=-3.1), 0b0011) > 2 * near


def test_other_predicates_of_the_same_tables_are_a_start() -> None:
    corrections = Corrections()
    for literal in range(8):
        corrections.observe(query(str(literal)), ESTIMATES, [1, 2, 0b0011], [100, 10_000, 20_000])
    shape = QueryShape.of(["a", "b"], ["r like #", ""], [Edge(0, 1, "x0=y0", "y0=x0")], [1, 2, 3])
    asked = SubplanQuery.of(shape, [-3.0, 0.0], [["%x"], []], ["r like #", ""])
    found = corrections.correct(asked, np.log([100.0, 1e4, 100.0]))
    assert np.log(100) + 1 < found.log_rows[2] < np.log(20_000)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SETS), st.floats(0, 1e15)), min_size=1, max_size=12))
def test_no_subplan_exceeds_its_cross_product_nor_falls_below_a_row(
    seen: list[tuple[int, float]],
) -> None:
    corrections = Corrections()
    for mask, number in seen:
        corrections.observe(query(), ESTIMATES, [mask], [number])
    found = corrections.correct(query("other"), ESTIMATES).log_rows
    assert (found >= 0).all()
    for mask in SETS:
        most = sum(found[at(1 << i)] for i in range(4) if mask >> i & 1)
        assert found[at(mask)] <= most + 1e-9


def test_broken_counts_teach_nothing() -> None:
    corrections = Corrections()
    masks = [0b0011, 0b0110, 0b1100, 0b0101]
    assert corrections.observe(query(), ESTIMATES, masks, [np.nan, -1.0, np.inf, 10.0]) == 0
    assert np.array_equal(corrections.correct(query(), ESTIMATES).log_rows, ESTIMATES)
    with pytest.raises(InvalidInput, match="NaN"):
        corrections.correct(query(), np.full(len(SETS), np.nan))


def test_old_evidence_fades() -> None:
    corrections = Corrections(Tuning(half_life=4.0))
    corrections.observe(query("1"), ESTIMATES, [0b0011], [50_000])
    before = rows(corrections, query("2"), 0b0011)
    for _ in range(40):
        corrections.observe(query("1"), ESTIMATES, [0b1100], [1000])
    assert rows(corrections, query("2"), 0b0011) < before / 2


def test_rows_that_moved_fourfold_age_what_was_seen_of_that_shape() -> None:
    steady, moved = Corrections(), Corrections()
    for corrections, now in ((steady, 50_000), (moved, 100)):
        for literal in ("1", "2", "3", "4"):
            corrections.observe(query(literal), ESTIMATES, [0b0011], [50_000])
        corrections.observe(query("1"), ESTIMATES, [0b0011], [now])
    assert rows(moved, query("1"), 0b0011) == pytest.approx(100, rel=0.1)
    assert rows(moved, query("9"), 0b0011) < rows(steady, query("9"), 0b0011) / 2


def test_another_epoch_forgets_everything() -> None:
    corrections = Corrections()
    assert not corrections.enter("1")
    corrections.observe(query(), ESTIMATES, [0b0011], [50_000])
    assert not corrections.enter("1")
    assert rows(corrections, query(), 0b0011) > 10_000
    assert corrections.enter("2")
    assert np.array_equal(corrections.correct(query(), ESTIMATES).log_rows, ESTIMATES)


def test_memory_is_bounded() -> None:
    corrections = Corrections(max_shapes=8, per_shape=4)
    for number in range(40):
        shape = QueryShape.of([f"t{number}", "b"], ["p = #", ""], [Edge(0, 1, "x", "y")], [1, 2, 3])
        for literal in range(6):
            asked = SubplanQuery.of(shape, [-1.0, 0.0], [[str(literal)], []], ["p = #", ""])
            corrections.observe(asked, np.zeros(3), [1, 3], [5, 500])
    assert len(corrections.evidence.rows) == len(corrections.parents.rows) == 8
    assert corrections.evidence.ratio.shape == (8, 4)
    # The last one is still known.
    assert corrections.correct(asked, np.zeros(3)).log_rows[2] > 1.0


def test_an_unseen_query_leaves_its_default_plan_only_for_what_is_supported() -> None:
    corrections = Corrections()
    # Every join turned out a hundred times larger than estimated; a ⋈ b ⋈ c was never seen.
    for literal in range(12):
        small = QueryShape.of(["b", "c"], ["", "q < #"], [Edge(0, 1, "x1=y1", "y1=x1")], [1, 2, 3])
        asked = SubplanQuery.of(small, [0.0, -2.0], [[], [str(literal)]], ["", "q < #"])
        corrections.observe(asked, np.log([1e4, 1e3, 1e3]), [1, 2, 3], [1e4, 1e3, 1e5])
    default = (0b0110, 0b0111, 0b1111)
    found = corrections.correct(query(), ESTIMATES, default)
    assert found.log_rows[at(0b0110)] > ESTIMATES[at(0b0110)] + 3
    raised = found.guarded - found.log_rows
    assert not raised[[at(mask) for mask in (*default, 1, 2, 4, 8)]].any()
    assert raised[at(0b0011)] > 2
    assert raised[at(0b1110)] > 2
    # Its own executions let it explore.
    for _ in range(20):
        corrections.observe(query("new"), ESTIMATES, [0b1111], [100])
    after = corrections.correct(query("new"), ESTIMATES, default)
    assert (after.guarded - after.log_rows)[at(0b0011)] < raised[at(0b0011)] / 2


def test_a_known_question_is_answered_without_computing() -> None:
    corrections = Corrections()
    corrections.observe(query(), ESTIMATES, [0b0011], [50_000])
    first = corrections.correct(query(), ESTIMATES)
    assert corrections.correct(query(), ESTIMATES.copy()) is first
    assert corrections.correct(query(), ESTIMATES + 0.5) is not first
    # What other shapes showed does not matter; what these did, does.
    first = corrections.correct(query(), ESTIMATES)
    other = QueryShape.of(["y", "z"], ["", ""], [Edge(0, 1, "x", "y")], [1, 2, 3])
    corrections.observe(query(), ESTIMATES, [0b0011], [10])
    assert rows(corrections, query(), 0b0011) < 20
    asked = SubplanQuery.of(other, [0.0, 0.0], [[], []], ["", ""])
    corrections.observe(asked, np.zeros(3), [3], [9])
    found = corrections.correct(query(), ESTIMATES)
    corrections.observe(asked, np.zeros(3), [3], [8])
    assert corrections.correct(query(), ESTIMATES) is found


def test_kept_in_the_store_without_literals(tmp_path) -> None:  # type: ignore[no-untyped-def]
    corrections = Corrections()
    corrections.enter("7")
    for literal in ("a secret", "another"):
        corrections.observe(query(literal), ESTIMATES, [1, 0b0011, 0b1111], [70, 5000, 9])
    state = corrections.to_dict()
    assert "secret" not in json.dumps(state)
    kept = SqliteStore(tmp_path / "s.sqlite").corrections
    assert kept.saved("duckdb", "d") is None
    assert not kept.path.exists()
    kept.save("duckdb", "d", state)
    again = Corrections.from_dict(kept.saved("duckdb", "d") or {})
    assert again.epoch == "7"
    for literal in ("a secret", "a third"):
        one = corrections.correct(query(literal), ESTIMATES)
        two = again.correct(query(literal), ESTIMATES)
        for left, right in zip(one, two, strict=True):
            np.testing.assert_allclose(left, right, atol=1e-3)
    kept.forget("duckdb", "d")
    assert kept.saved("duckdb", "d") is None


def test_what_two_processes_learn_adds_up() -> None:
    begun = Corrections()
    begun.enter("7")
    begun.observe(query("both"), ESTIMATES, [0b0011], [50_000])
    state = json.loads(json.dumps(begun.to_dict()))
    here, there = Corrections.from_dict(state), Corrections.from_dict(state)
    here.observe(query("here"), ESTIMATES, [0b0011], [700])
    for _ in range(2):
        there.observe(query("there", selectivity=-5.0), ESTIMATES, [0b0011, 0b1100], [9, 4000])
    # The same question again, later than here: its answer is newer.
    here.observe(query("both"), ESTIMATES, [0b0011], [60_000])
    for _ in range(4):
        there.observe(query("both"), ESTIMATES, [0b0011], [70_000])
    theirs = json.loads(json.dumps(there.to_dict()))
    assert here.take_in(state, theirs) > 0
    assert rows(here, query("here"), 0b0011) == pytest.approx(700, rel=0.05)
    assert rows(here, query("there", selectivity=-5.0), 0b0011) == pytest.approx(9, rel=0.05)
    assert rows(here, query("there", selectivity=-5.0), 0b1100) == pytest.approx(4000, rel=0.05)
    assert rows(here, query("both"), 0b0011) == pytest.approx(70_000, rel=0.05)
    # One at the beginning, two here, six there.
    assert here.executions(SHAPE) == 9
    # That was all: the same once more is no news.
    assert here.take_in(theirs, theirs) == 0
    assert here.executions(SHAPE) == 9
    # What began with nothing takes everything.
    fresh = Corrections()
    fresh.enter("7")
    assert fresh.take_in(None, theirs) == theirs["evidence"]["count"] + theirs["parents"]["count"]
    assert fresh.executions(SHAPE) == 7


def test_of_another_epoch_or_damaged_nothing_is_taken_in() -> None:
    here, there = Corrections(), Corrections()
    here.enter("8")
    there.enter("7")
    there.observe(query(), ESTIMATES, [0b0011], [50_000])
    assert here.take_in(None, there.to_dict()) == 0
    there.enter("8")
    there.observe(query(), ESTIMATES, [0b0011], [50_000])
    before = here.to_dict()
    broken = there.to_dict()
    broken["parents"]["ratio"] = broken["parents"]["ratio"][:-8]
    with pytest.raises(InvalidInput, match="damaged"):
        here.take_in(None, broken)
    assert here.to_dict() == before


def test_what_an_earlier_version_kept_is_begun_anew() -> None:
    former = {**Corrections().to_dict(), "format": 1, "evidence": {"shapes": []}, "parents": {"shapes": []}}
    assert Corrections.from_dict(former).clock == 0
    here = Corrections()
    here.observe(query(), ESTIMATES, [0b0011], [50_000])
    before = here.to_dict()
    assert here.take_in(None, former) == here.take_in(former, {**former, "clock": 7}) == 0
    assert here.to_dict() == before
    assert here.take_in(former, before) == 0


def test_what_was_found_to_be_old_is_not_brought_back() -> None:
    begun = Corrections()
    begun.observe(query("a"), ESTIMATES, [0b0011], [50_000])
    begun.observe(query("b"), ESTIMATES, [0b0011], [50_000])
    state = begun.to_dict()
    here, there = Corrections.from_dict(state), Corrections.from_dict(state)
    # Another answer to the same question: all that was observed of the shape is old.
    here.observe(query("a"), ESTIMATES, [0b0011], [100])
    there.observe(query("c"), ESTIMATES, [0b1100], [4000])
    expected = rows(here, query("b"), 0b0011)
    assert here.take_in(state, there.to_dict()) > 0
    assert rows(here, query("b"), 0b0011) == pytest.approx(expected, rel=1e-6)


IMPOSSIBLE = {
    "a list": [],
    "no epoch": {"epoch": 7},
    "a format that is no key": {"format": []},
    "clock -1": {"clock": -1},
    "a clock beyond all": {"clock": 10**40},
    "no clock": {"clock": math.nan},
    "fewer than none": {"executions": [[1, -1]]},
    "executions beyond all": {"executions": [[1, 10**40]]},
    "surprises of a number below 0": {"surprise": [[-5.0, 1e300, 1e300]] * 64},
    "one surprise for all sizes": {"surprise": [1.0, 1.0, 1.0]},
    "a surprise without a number": {"surprise": [[0.0, 5.0, 0.0]] * 64},
    "surprises that add up to more than their squares": {"surprise": [[4.0, 9.0, 16.0]] * 64},
    "squares below 0": {"surprise": [[4.0, 0.0, -1e6]] * 64},
    "surprises beyond all numbers": {"surprise": [[4.0, 2e154, 1e308]] * 64},
    "more surprises than are counted": {"surprise": [[1e300, 0.0, 0.0]] * 64},
    "no surprise": {"surprise": None},
}


@pytest.mark.parametrize("change", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_no_execution_can_have_taught_is_damaged(change: Any) -> None:
    corrections = Corrections()
    corrections.observe(query(), ESTIMATES, [0b0011, 0b0110], [50_000, 7])
    state = corrections.to_dict()
    assert Corrections.from_dict(state).clock == 1
    ruined = change if isinstance(change, list) else {**state, **change}
    with pytest.raises(InvalidInput, match="forget them"):
        Corrections.from_dict(ruined)
    with pytest.raises(InvalidInput, match="forget them"):
        corrections.take_in(None, ruined)
    assert corrections.to_dict() == state


def test_what_was_seen_long_after_the_clock_is_damaged() -> None:
    corrections = Corrections()
    corrections.observe(query(), ESTIMATES, [0b0011, 0b0110], [50_000, 7])
    state = corrections.to_dict()
    observed = Observed.from_dict(state["evidence"])
    state["evidence"] = replace(observed, seen=np.full(len(observed), 9e11)).to_dict()
    # It would weigh 2^(9e11 / 20,000) times what was seen now.
    with pytest.raises(InvalidInput, match="damaged"):
        Corrections.from_dict(state)
    # Of a process that is so far ahead it is taken in, and no number is lost.
    assert corrections.take_in(None, {**state, "clock": 9 * 10**11}) > 0
    assert corrections.clock == 9 * 10**11
    assert np.isfinite(corrections.correct(query(), ESTIMATES)).all()


def test_damaged_states_are_refused_by_name(tmp_path) -> None:  # type: ignore[no-untyped-def]
    state = Corrections().to_dict()
    with pytest.raises(InvalidInput, match="format 99"):
        Corrections.from_dict({**state, "format": 99})
    with pytest.raises(InvalidInput, match="damaged"):
        Corrections.from_dict({**state, "evidence": {"count": 1}})
    kept = SqliteStore(tmp_path / "s.sqlite").corrections
    kept.save("duckdb", "d", state)
    with kept._using() as connection:
        connection.execute("UPDATE corrections SET state = x'00'")
    with pytest.raises(StoreError, match="damaged"):
        kept.saved("duckdb", "d")
