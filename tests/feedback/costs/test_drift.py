"""Change detectors: all backends to the bit, against river and against a window that keeps every value."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast import backend as backends
from godb_fast.errors import InvalidInput
from godb_fast.feedback.costs import Adwin, PageHinkley

LOADED = [name for name in backends.BACKENDS if backends.why_unavailable(name) is None]


def stream(seed: int, parts: int = 4) -> np.ndarray:
    source = np.random.default_rng(seed)
    return np.concatenate(
        [
            source.normal(source.normal(0, 1.5), source.choice([0.1, 1.0, 4.0]), int(source.integers(1, 500)))
            for _ in range(parts)
        ]
    )


@pytest.mark.parametrize("seed", range(12))
def test_backends_agree_to_the_bit(seed):
    values = stream(seed)
    found = []
    for name in LOADED:
        adwin, page_hinkley = Adwin(backend=name), PageHinkley(threshold=10.0, backend=name)
        found.append(
            (
                adwin.update(values).tolist(),
                adwin.to_dict(),
                page_hinkley.update(values).tolist(),
                page_hinkley.to_dict(),
            )
        )
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("confidence", [0.002, 0.05])
def test_adwin_cuts_where_rivers_does(seed, confidence):
    river = pytest.importorskip("river.drift")
    values = stream(seed)
    theirs, expected, widths = river.ADWIN(delta=confidence), [], []
    ours, cuts = Adwin(confidence=confidence), []
    for value in values.tolist():
        theirs.update(value)
        expected.append(theirs.drift_detected)
        cuts.append(bool(ours.update(value)[0]))
        widths.append(theirs.width)
        assert ours.width == theirs.width
    assert cuts == expected
    assert ours.mean == pytest.approx(theirs.estimation)
    assert ours.variance * ours.width == pytest.approx(theirs.variance, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_page_hinkley_alarms_where_rivers_does(seed):
    river = pytest.importorskip("river.drift")
    values = stream(seed)
    theirs, expected = river.PageHinkley(threshold=20.0, delta=0.01, alpha=0.999), []
    for value in values.tolist():
        theirs.update(value)
        expected.append(theirs.drift_detected)
    ours = PageHinkley(threshold=20.0, tolerance=0.01, fading=0.999)
    assert ours.update(values).tolist() == expected
    assert any(expected) or seed != 1


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=300))
@settings(max_examples=60, deadline=None)
def test_without_a_cut_the_window_is_all_values(values):
    adwin = Adwin(confidence=1e-12, every=10**9)
    assert not adwin.update(values).any()
    assert adwin.width == len(values)
    assert adwin.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert adwin.variance == pytest.approx(np.var(values), rel=1e-6, abs=1e-5)
    held = adwin.to_dict()["held"]
    assert sum(count << row for row, count in enumerate(held)) == len(values)
    assert len(values) < 20 or sum(held) <= 6 * math.ceil(math.log2(len(values)))


def test_a_constant_stream_never_changes_and_a_jump_is_found_soon():
    for detector in (Adwin(), PageHinkley(threshold=10.0)):
        source = np.random.default_rng(1)
        assert not detector.update(np.full(2000, 0.3)).any()
        assert not detector.update(0.3 + source.normal(0, 1e-6, 1000)).any()
        changes = detector.update(2.3 + source.normal(0, 0.2, 200))
        assert changes.any()
        assert int(np.argmax(changes)) < 64


def test_false_alarms_are_rare_under_noise():
    alarms = sum(
        int(Adwin(confidence=0.002).update(np.random.default_rng(seed).normal(0, 1, 1000)).any())
        for seed in range(100)
    )
    assert alarms <= 5


def test_a_stream_in_pieces_is_the_stream():
    values = stream(7)
    for make in (Adwin, PageHinkley):
        whole, pieces = make(), make()
        expected = whole.update(values)
        found = [pieces.update(part) for part in np.array_split(values, 13)]
        assert np.concatenate(found).tolist() == expected.tolist()
        assert pieces.to_dict() == whole.to_dict()
        again = make()
        again.restore(json.loads(json.dumps(whole.to_dict())))
        assert again.update(values).tolist() == whole.update(values).tolist()


def test_what_is_no_number_or_no_state_is_refused():
    for detector in (Adwin(), PageHinkley()):
        for bad in ([np.nan], [np.inf], [[1.0, 2.0]]):
            with pytest.raises(InvalidInput):
                detector.update(bad)
        for raw in ({}, {name: [1.0] for name in detector.to_dict()}, {"state": "x"}):
            with pytest.raises(InvalidInput):
                detector.restore(raw)
    damaged = {**Adwin().to_dict(), "counts": [1, 1, 99, 0]}
    with pytest.raises(InvalidInput, match="damaged"):
        Adwin().restore(damaged)
    for make, wrong in (
        (Adwin, {"confidence": 2.0}),
        (Adwin, {"most": 1}),
        (PageHinkley, {"threshold": 0.0}),
    ):
        with pytest.raises(InvalidInput, match="out of range"):
            make(**wrong)
