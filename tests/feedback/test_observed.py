"""Evidence in columns: what is kept is what was there, whatever room there is, and nothing that cannot be."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from godb_fast.feedback.evidence import Evidence
from godb_fast.feedback.observed import Observed

ARRAYS = ("ratio", "seen", "literal", "log_rows", "selectivity", "tokens")


def filled(shapes: int = 90, of_each: int = 5, **bounds: int) -> Evidence:
    """More shapes than there is room for at first, of one to three relations; literals are shared by shapes."""
    source = np.random.default_rng(3)
    evidence = Evidence(**bounds)
    for number in range(shapes * of_each):
        key = (number % shapes + 1) * 2**56
        width = 1 + number % 3
        evidence.add(
            key,
            float(source.normal()),
            float(number),
            number // shapes + 2**63,
            source.normal(size=width),
            source.integers(1, 2**63, width).astype(np.uint64),
            float(source.uniform(0.0, 9.0)) if number % 2 else np.nan,
        )
    return evidence


def kept(evidence: Evidence) -> Observed:
    return Observed.from_dict(json.loads(json.dumps(evidence.observed().to_dict())))


def told(evidence: Evidence) -> dict[int, set[tuple[object, ...]]]:
    """By shape, all that is known of each observation."""
    return {
        key: {
            tuple(np.nan_to_num(getattr(evidence, name)[row, column], nan=-1.0).tobytes() for name in ARRAYS)
            for column in np.flatnonzero(np.isfinite(evidence.seen[row]))
        }
        for key, row in evidence.rows.items()
    }


def test_what_is_kept_is_what_was_there() -> None:
    evidence = filled()
    evidence.age(2**56, 1e4, 9999.0)
    again = Evidence()
    again.load(kept(evidence))
    assert told(again) == told(evidence)
    assert again.observed().tokens.shape == (450, 3)
    # Loaded over something else, of that nothing stays.
    other = filled(shapes=200)
    other.load(kept(evidence))
    assert told(other) == told(evidence)
    # It goes on as the first would have.
    for each in (evidence, again):
        each.add(7, 1.0, 1e6, 3, np.zeros(1), np.ones(1, np.uint64))
        each.add(2**56, 2.0, 1e6, 2**63, np.zeros(1), np.ones(1, np.uint64))
    assert told(again) == told(evidence)
    empty = Evidence()
    empty.load(kept(Evidence()))
    assert not empty.rows


def test_with_less_room_the_latest_stay() -> None:
    evidence = filled()
    small = Evidence(max_shapes=16, per_shape=2)
    small.load(kept(evidence))
    assert len(small.rows) == 16
    assert set(small.rows) == {(number + 1) * 2**56 for number in range(74, 90)}
    assert small.seen.min() == 3 * 90 + 74


def test_what_no_execution_has_shown_is_left_out() -> None:
    observed = filled(shapes=1, of_each=6).observed()
    ratio, seen, selectivity = observed.ratio.copy(), observed.seen.copy(), observed.selectivity.copy()
    ratio[:2] = np.nan, 1e4
    seen[2:4] = np.inf, -1e13
    selectivity[4, 0] = np.nan
    raw = replace(observed, ratio=ratio, seen=seen, selectivity=selectivity).to_dict()
    assert Observed.from_dict(raw).seen.tolist() == [5.0]


@pytest.mark.parametrize(
    "change",
    [{"count": 3}, {"count": -1}, {"width": 99}, {"ratio": "x"}, {"tokens": None}, {"seen": ""}],
    ids=str,
)
def test_damaged_columns_are_refused(change: dict[str, object]) -> None:
    raw = filled(shapes=2, of_each=2).observed().to_dict()
    with pytest.raises((KeyError, TypeError, ValueError)):
        Observed.from_dict({**raw, **change})


def test_news_are_what_is_not_the_same() -> None:
    before = filled()
    after = Evidence()
    after.load(kept(before))
    after.add(2**56, 0.5, 1e4, 2**63, np.zeros(1), np.ones(1, np.uint64))
    after.add(11, 0.5, 1e4, 5, np.zeros(1), np.ones(1, np.uint64))
    news = kept(after).news(kept(before))
    assert sorted(news.key.tolist()) == [11, 2**56]
    assert before.take_in(news) == 2
    assert told(before) == told(after)
    # Known already.
    assert before.take_in(news) == 0
