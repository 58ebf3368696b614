"""Plots that a person can read: no text lies on another or beyond the edge, and axes name their units."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest

from godb_fast.report.plots import Bar, curve_plot, ratios_plot

#: Of letters as most sans-serif fonts have them, at the plots' size.
LETTER, ABOVE, BELOW = 6.2, 9.0, 2.0

BARS = {
    "usual": [Bar("q1", 0.03, 1.02), Bar("q2", 0.97, 0.99), Bar("q3", 1.4, 1.1)],
    "one": [Bar("one", 1.0, 1.0)],
    "extreme": [Bar("a very long name of a statement out of a file", 1e-4, 0.5, True), Bar("", 300.0, 3.0)],
    "all slower": [Bar(f"q{number}", 1.0 + number / 4, 1.0) for number in range(30)],
}
CURVES = {
    "usual": ([(0.0, 7.4), (11.5, 5.2), (16.3, 0.35), (20.0, 0.33)], 0.33),
    "nothing gained": ([(0.0, 3.0), (6.0, 3.0)], 3.0),
    "little to gain": ([(0.0, 3.0), (6.0, 2.9)], 2.9),
    "long": ([(0.0, 223.0), (669.0, 80.0)], 70.0),
    "short": ([(0.0, 1e-3), (1e-2, 1e-4)], 1e-4),
    "no best": ([(0.0, 1.0)], None),
}


def boxes(svg: str) -> list[tuple[float, float, float, float, str]]:
    root = ElementTree.fromstring(svg)
    found = []
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        words = text.text or ""
        width = LETTER * len(words)
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        x -= {"start": 0.0, "middle": width / 2, "end": width}[text.attrib["text-anchor"]]
        found.append((x, y - ABOVE, x + width, y + BELOW, words))
    return [box for box in found if box[4]]


def check(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    wide, high = float(root.attrib["width"]), float(root.attrib["height"])
    placed = boxes(svg)
    assert placed
    for left, top, right, bottom, words in placed:
        assert min(left, top) >= 0, words
        assert right <= wide, words
        assert bottom <= high, words
    for one, other in combinations(placed, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one[4], other[4])


@pytest.mark.parametrize("bars", BARS.values(), ids=BARS)
def test_ratios_can_be_read(bars):
    svg = ratios_plot(bars)
    check(svg)
    texts = " ".join(words for *_, words in boxes(svg))
    assert "time under ours ÷ time under the engine's plan" in texts
    assert "the noise" in texts


@pytest.mark.parametrize(("points", "oracle_s"), CURVES.values(), ids=CURVES)
def test_a_curve_can_be_read(points, oracle_s):
    svg = curve_plot(points, oracle_s)
    check(svg)
    texts = " ".join(words for *_, words in boxes(svg))
    assert "seconds of one run of the workload" in texts
    assert "seconds spent on exploring" in texts
    assert ("best plans seen" in texts) == (oracle_s is not None)
