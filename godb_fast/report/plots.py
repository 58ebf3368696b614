"""Two plots as SVG, drawn by hand so that a page needs nothing else: no script and no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

from godb_fast.core.ratio import ratio_text

_WIDTH: Final = 720
_INK, _FAINT, _GAIN, _LOSS, _NOISE = "#222", "#ccc", "#1a7f37", "#c62828", "#888"
#: Ratios beyond these are drawn at the edge, with their figure.
_LEAST_RATIO: Final = 1 / 64
_MOST_RATIO: Final = 8.0
#: Letters of a query's name, and pixels of one.
_NAME_LENGTH: Final = 28
_LETTER: Final = 6.6


@dataclass(frozen=True)
class Bar:
    """A query's ratio to the engine's default, and that of the default to itself."""

    name: str
    ratio: float
    same: float
    bound: bool = False


def _svg(height: float, body: Sequence[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'height="{height:.0f}" role="img" font-family="sans-serif" font-size="11" fill="{_INK}">'
        f"<title>{escape(title)}</title>"
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(body)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"/>'


def _ticks(most: float) -> list[float]:
    """A few round numbers from 0 to ``most``."""
    if most <= 0.0:
        return [0.0]
    step = 10.0 ** math.floor(math.log10(most))
    while most / step < 4:
        step /= 2
    return [step * number for number in range(int(most / step) + 1)]


def curve_plot(points: Sequence[tuple[float, float]], oracle_s: float | None = None) -> str:
    """Seconds of the workload over the seconds spent on exploring, as steps.

    Parameters
    ----------
    points : sequence of (seconds spent, seconds of the workload)
    oracle_s : float, optional
        Seconds of the workload if each query had the best plan that was seen.
    """
    height, left, right, top, bottom = 300.0, 60.0, 20.0, 30.0, 40.0
    most_x = max(max(x for x, _ in points), 1e-9)
    most_y = max(max(y for _, y in points), 1e-9) * 1.05

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + x / most_x * (_WIDTH - left - right),
            height - bottom - y / most_y * (height - top - bottom),
        )

    body = [_text(left, 18, "seconds of one run of the workload")]
    for tick in _ticks(most_y):
        _, y = at(0, tick)
        body += [_line(left, y, _WIDTH - right, y, _FAINT), _text(left - 6, y + 4, f"{tick:g}", "end")]
    for tick in _ticks(most_x):
        x, _ = at(tick, 0)
        body += [
            _line(x, height - bottom, x, height - bottom + 4, _INK),
            _text(x, height - bottom + 17, f"{tick:g}", "middle"),
        ]
    body.append(_text(_WIDTH - right, height - 6, "seconds spent on exploring", "end"))
    if oracle_s is not None:
        _, y = at(0, oracle_s)
        # On the left, where the curve is still high; below the line where that is near.
        _, start = at(*points[0])
        body += [
            _line(left, y, _WIDTH - right, y, _NOISE),
            _text(
                left + 6, y + (13 if y - start < 20 else -4), f"with the best plans seen: {oracle_s:.3g} s"
            ),
        ]
    path = [at(*points[0])]
    for before, after in pairwise(points):
        path += [at(after[0], before[1]), at(*after)]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
    body.append(f'<polyline points="{drawn}" fill="none" stroke="{_GAIN}" stroke-width="2"/>')
    return _svg(height, body, "Learning curve: workload time against time spent on exploring")


def ratios_plot(bars: Sequence[Bar]) -> str:
    """A bar per query, its time under ours over the engine's, on a logarithmic axis; a mark for A/A."""
    names = [
        bar.name if len(bar.name) <= _NAME_LENGTH else f"{bar.name[: _NAME_LENGTH - 1]}…" for bar in bars
    ]
    row, right, top, bottom = 16.0, 64.0, 70.0, 10.0
    left = 20.0 + _LETTER * max((len(name) for name in names), default=0)
    height = top + bottom + row * len(bars)
    low = math.log(max(_LEAST_RATIO, min(0.5, *(bar.ratio for bar in bars), 0.5)))
    high = math.log(min(_MOST_RATIO, max(2.0, *(bar.ratio for bar in bars), 2.0)))

    def at(ratio: float) -> float:
        place = (min(max(math.log(ratio), low), high) - low) / (high - low)
        return left + place * (_WIDTH - left - right)

    body = [
        _text(12, 16, "time under ours ÷ time under the engine's plan (logarithmic)"),
        *_key(12, 34, _GAIN, "ours is faster"),
        *_key(118, 34, _LOSS, "ours is slower"),
        _dot(230, 30.5),
        _text(238, 34, "the engine's plan ÷ the engine's plan: the noise"),
    ]
    for tick in (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0):
        if low <= math.log(tick) <= high:
            x = at(tick)
            label = f"{tick:g}" if tick >= 1 else f"1/{1 / tick:.0f}"
            body += [
                _line(x, top - 6, x, height - bottom, _INK if tick == 1.0 else _FAINT),
                _text(x, top - 10, label, "middle"),
            ]
    for number, bar in enumerate(bars):
        y = top + row * number
        start, end = sorted((at(1.0), at(bar.ratio)))
        colour = _GAIN if bar.ratio < 1.0 else _LOSS
        body += [
            _text(left - 8, y + 11, names[number], "end"),
            f'<rect x="{start:.1f}" y="{y + 2:.1f}" width="{max(end - start, 0.5):.1f}" '
            f'height="{row - 5:.1f}" fill="{colour}"/>',
            _dot(at(bar.same), y + row / 2 - 0.5),
            _text(_WIDTH - right + 6, y + 11, f"{'≤ ' if bar.bound else ''}{ratio_text(bar.ratio)}"),
        ]
    return _svg(height, body, "Ratio of each query")


def _key(x: float, y: float, colour: str, text: str) -> list[str]:
    """What a colour means."""
    box = f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" fill="{colour}"/>'
    return [box, _text(x + 15, y, text)]


def _dot(x: float, y: float) -> str:
    # The rim tells it from the bar that it lies on.
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_NOISE}" stroke="#fff" stroke-width="1"/>'
