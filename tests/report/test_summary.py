from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest

from godb_fast.core import PLAN_NODE, Candidate, Decision, Plan, Steering
from godb_fast.errors import InvalidInput
from godb_fast.evidence import Verdict
from godb_fast.report import Comparison, Query, QueryRuns, Settings, summarize, to_dict
from godb_fast.report.text import changed_trees, console, duration, render, verdict_line


def plan(*order: int) -> Plan:
    names = ("orders", "lines", "parts")
    nodes = [(0, order[0], -1, -1, 1 << order[0], 10, 0)]
    mask = 1 << order[0]
    for relation in order[1:]:
        mask |= 1 << relation
        nodes.append((0, relation, -1, -1, 1 << relation, 10, 0))
        nodes.append((1, -1, len(nodes) - 2, len(nodes) - 1, mask, 100, 100))
    return Plan(names, np.array(nodes, PLAN_NODE))


STEERED = Decision(
    fingerprint=1, sql="s", action="steer", reason="estimated 3.0 times cheaper",
    steering=Steering(join_trees=((0, ((0, 1), 2)),)), scenarios=("best",),
    candidates=(Candidate("default", 0, plan(2, 1, 0), (9.0,)), Candidate("search", 0, plan(0, 1, 2), (3.0,), True)),
)  # fmt: skip
LEFT = Decision(fingerprint=2, sql="s", reason="left alone: no join to order")


def runs(name: str, default: float, ours: float, steered: bool = True, **more) -> QueryRuns:
    template = name.partition("#")[0]
    entry = QueryRuns(Query(name, f"SELECT '{name}'", template))
    entry.decision = STEERED if steered else LEFT
    entry.times_ms = {
        "default": [default * 0.99, default, default * 1.01],
        "again": [default, default * 1.01, default * 0.99],
        "ours": [ours * 1.01, ours * 0.99, ours],
    }
    entry.planning_us = [50.0, 60.0, 70.0]
    entry.steered_runs = 3 if steered else 0
    entry.obeyed = True if steered else None
    for key, value in more.items():
        setattr(entry, key, value)
    return entry


def comparison(*entries: QueryRuns) -> Comparison:
    return Comparison(list(entries), Settings(), "duckdb", "2.0.0", seconds=1.5)


def printed(what: Comparison) -> str:
    stream = io.StringIO()
    render(what, summarize(what), console(stream))
    return stream.getvalue()


GAIN = comparison(
    runs("star#0", 100, 20, first_sight_ms=5.0, wasted_ms=2.0),
    runs("star#1", 80, 20),
    runs("chain#0", 10, 10, steered=False),
    runs("chain#1", 12, 36),
)


def test_figures_of_a_gain():
    summary = summarize(GAIN)
    assert summary.ratio.estimate == pytest.approx(86 / 202)
    assert summary.same.estimate == pytest.approx(1.0)
    assert summary.steered_ratio.estimate == pytest.approx(76 / 192)
    assert summary.cached_ratio == pytest.approx((86 - 4 * 0.06) / 202)
    assert summary.one_pass_ratio == pytest.approx(93 / 202)
    assert (summary.compared, summary.steered, summary.obeyed) == (4, 3, 3)
    assert (summary.ratios.slower_1_1, summary.ratios.slower_2, summary.worst) == (1, 1, "chain#1")
    assert summary.best == "star#0"
    assert summary.planning_us["p50"] == 60.0
    star, chain = summary.templates
    assert (star.template, star.queries, star.default_ms, star.ratio) == (
        "star",
        2,
        180.0,
        pytest.approx(40 / 180),
    )
    assert (chain.steered, chain.worst_ratio) == (1, pytest.approx(3.0))
    assert summary.reasons == (("left alone: no join to order", 1),)


def test_the_report_says_what_matters():
    text = printed(GAIN)
    for part in ("star", "R = ours / engine", "A/A", "0.426", "geometric mean", "worst 3.00 × (chain#1)",
                 "4 of 4 the same", "Plans that changed most", "orders", "left alone: no join to order",
                 "3 obeyed", "star#0: 80.0 ms saved"):  # fmt: skip
        assert part in text, part
    assert "\x1b[" not in text
    assert max(map(len, text.splitlines())) <= 118


def test_a_gain_needs_more_than_noise():
    many = [runs(f"q{number}#0", 50 + number, 10 + number) for number in range(20)]
    assert summarize(comparison(*many)).verdict is Verdict.GAIN
    assert "gain: ours takes" in printed(comparison(*many))
    slower = [runs(f"q{number}#0", 10 + number, 50 + number) for number in range(20)]
    assert summarize(comparison(*slower)).verdict is Verdict.WORSE
    assert "worse: ours takes" in printed(comparison(*slower))


def test_few_steered_queries_that_clearly_gain():
    """Over further queries like these nothing is sure: most may not be steered."""
    kept = [runs(f"kept#{i}", 100, 100, steered=False) for i in range(8)]
    what = comparison(*kept, runs("quick#0", 100, 7), runs("quick#1", 100, 7))
    summary = summarize(what)
    assert summary.verdict is Verdict.INCONCLUSIVE
    line = verdict_line(summary)
    assert line.startswith("inconclusive for queries like these (R 0.8")
    assert "the 2 that are take 0.07" in line
    assert "noise" not in line


def test_no_steering_is_no_gain_whatever_the_noise_says():
    lucky = comparison(*[runs(f"q{number}#0", 50, 40, steered=False) for number in range(20)])
    assert summarize(lucky).verdict is Verdict.NO_GAIN
    assert "no gain here: the engine's plans are kept" in printed(lucky)


def test_what_went_wrong_is_said_and_not_averaged():
    censored = QueryRuns(
        Query("slow", "s"), "censored", "the engine's own plan was stopped after 60 s", censored_ours_ms=300.0
    )
    failed = QueryRuns(Query("bad", "s", line=7), "failed", "no such table")
    wrong = runs("wrong#0", 10, 10, difference="row (1,) instead of (2,)")
    unstable = runs("dice#0", 10, 10, unstable=True)
    back = runs("back#0", 10, 12, steered=False, fallbacks=["stopped after its allowance of 25 ms"])
    what = comparison(censored, failed, wrong, unstable, back)
    summary = summarize(what)
    assert (summary.compared, summary.censored, summary.failed) == (3, 1, 1)
    assert (summary.different, summary.unstable, summary.fell_back) == (1, 1, 1)
    text = printed(what)
    for part in ("DIFFERENT ANSWER  wrong#0: row (1,) instead of (2,)", "cut off  slow", "ours took 300.0 ms",
                 "failed  bad: no such table", "unstable  dice#0", "fell back: stopped after",
                 "1 of 3 the same, 1 DIFFERENT, 1 unstable"):  # fmt: skip
        assert part in text, part


def test_reasons_that_differ_in_figures_are_one():
    reasons = ["the gain of 23 µs is too small", "the gain of 9 µs is too small", "block 0: kept (the best: 1.3)",
               "block 1: kept (the best: 1.3)", "block 1: kept (the best: 1.2)"]  # fmt: skip
    entries = []
    for number, reason in enumerate(reasons):
        entries.append(runs(f"q{number}#0", 10, 10, steered=False))
        entries[-1].decision = Decision(fingerprint=2, sql="s", reason=reason)
    assert set(summarize(comparison(*entries)).reasons) == {
        ("the gain of … µs is too small", 2), ("block 1: kept", 2), ("block 0: kept", 1),
    }  # fmt: skip


def test_nothing_measured():
    empty = comparison(QueryRuns(Query("bad", "s"), "failed", "no"))
    assert summarize(empty).ratio is None
    assert "nothing was measured" in printed(empty)
    json.dumps(to_dict(empty, summarize(empty)))


def test_json_holds_everything():
    raw = json.loads(json.dumps(to_dict(GAIN, summarize(GAIN), scale=1.0)))
    assert raw["summary"]["ratio"]["estimate"] == pytest.approx(86 / 202)
    assert raw["scale"] == 1.0
    assert [entry["name"] for entry in raw["queries"]] == ["star#0", "star#1", "chain#0", "chain#1"]
    assert raw["queries"][0]["decision"]["action"] == "steer"
    assert raw["queries"][0]["times_ms"]["default"] == [99.0, 100, 101.0]


def test_trees_that_changed():
    ((block, default, ours),) = changed_trees(STEERED)
    assert block == 0
    assert default.index("parts") < default.index("orders")
    assert ours.index("orders") < ours.index("parts")
    assert changed_trees(LEFT) == []


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [(0.0123, "12.3 µs"), (3.21, "3.2 ms"), (9999.0, "9,999.0 ms"), (61_500, "61.5 s")],
)
def test_durations(milliseconds, expected):
    assert duration(milliseconds) == expected


def test_settings_are_checked():
    with pytest.raises(InvalidInput, match="repetitions is 0"):
        Settings(repetitions=0)
    with pytest.raises(InvalidInput, match="above 0"):
        Settings(timeout_s=0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_narrow_terminal_gets_colour_and_trees_under_each_other(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    render(GAIN, summarize(GAIN), console(stream))
    text = stream.getvalue()
    assert "\x1b[" in text
    assert "(chain#1)" in text
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()]
    # The engine's tree of five nodes stands between the two titles.
    assert lines.index("ours") - lines.index("engine") == 6
