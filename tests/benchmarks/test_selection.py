"""How choices are judged by repeated runs."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from benchmarks import selection
from benchmarks.common import MissingData, Options, Report
from godb_fast.learning.features import PHYSICAL_VERSION
from godb_fast.learning.physical import PHYSICAL_COLUMNS
from godb_fast.store import PlanRun, SqliteStore

LOOPS = [feature.name for feature in PHYSICAL_COLUMNS].index("loop_joins")
COST = [feature.name for feature in PHYSICAL_COLUMNS].index("cost")


def test_the_first_run_names_the_best_and_later_runs_judge():
    query = selection.Repeated(
        {"": [1.0, 1.1, 0.9, 1.0, 1.0, 1.2, 1.1, 0.8], "lucky": [0.5, 0.95, 0.99, 0.97], "slow": [math.inf]}
    )
    assert query.known
    assert query.fastest(later=False) == "lucky"
    assert query.later_s("lucky") == 0.97
    # Two runs of the engine's own plan in each pass: 0.9, 1.0, 1.1 after the first; beside them 1.0, 1.2, 0.8.
    assert query.later_s("") == 1.0
    assert query.later_s("", again=True) == 1.0
    assert query.later_s("slow") == math.inf
    # Three times as fast by one run, and within a tenth by all others.
    figures = selection._figures({("d", "q"): query}, {})
    assert (figures["within_a_tenth"], figures["by_one_run"], figures["R"]) == (1.0, 0.0, 1.0)


def test_what_ran_once_judges_nothing():
    assert not selection.Repeated({"": [1.0, 1.0], "other": [0.5]}).known
    assert not selection.Repeated({"": [1.0] * 8}).known


def drawn(path, templates=48):
    """Queries of one template each: plans without loops take half the time of the own plan, others thrice."""
    rng, at, runs = np.random.default_rng(5), datetime(2026, 1, 1, tzinfo=UTC), []
    for number in range(templates):
        own_s = rng.uniform(0.1, 0.4)
        vectors = rng.uniform(1.0, 9.0, (3, len(PHYSICAL_COLUMNS)))
        vectors[:, LOOPS] = 2.0, 0.0, 5.0
        # Of which cost says nothing, but not loudly.
        vectors[:, COST] = rng.uniform(5.0, 5.2, 3)
        for turn in range(4):
            for plan, factor in ((0, 1.0), (0, 1.0), (1, 0.5), (2, 3.0)):
                at += timedelta(seconds=1)
                seconds = own_s * factor * rng.uniform(0.98, 1.02)
                if plan < 2 or turn == 0:
                    runs.append(
                        PlanRun(
                            "postgresql", "d", f"q{number}", number, ("", "none", "more")[plan],
                            vectors[plan], seconds, False, at,
                        )
                    )  # fmt: skip
    store = SqliteStore(path)
    store.trials.keep(PHYSICAL_VERSION, runs)
    store.close()


def test_a_law_that_holds_for_all_templates_is_chosen_by(tmp_path, monkeypatch):
    drawn(tmp_path / "store.sqlite")
    monkeypatch.setattr(selection, "SETTINGS", selection.Settings(tmp_path / "store.sqlite"))
    report = Report("selection")
    selection.run(Options(quick=True), report)
    rows = {row["choice"]: row for row in report.rows if "all queries" in row["table"]}
    assert rows["engine's own plan"]["within_a_tenth"] == 0.0
    assert rows["fastest in its first run"]["within_a_tenth"] == 1.0
    assert rows["A/A: own plan, beside itself"]["within_a_tenth"] == 1.0
    assert rows["ensemble"]["within_a_tenth"] > 0.9
    assert rows["ensemble, gated"]["R"] < 0.6 < rows["estimated cost"]["R"]
    assert not report.broken


def test_other_parameters_choose_by_their_first_runs_and_nothing_of_the_judged_query_is_read():
    def query(**plans):
        return selection.Repeated(
            {"": [1.0] * 8, **{plan: [first, *[1.0] * 3] for plan, first in plans.items()}}
        )

    one, two, three, four = ("d", "1"), ("d", "2"), ("d", "3"), ("e", "1")
    known = {
        one: query(a=0.4, b=0.9), two: query(a=0.9, b=0.5, c=0.2), three: query(a=0.4), four: query(a=0.4)
    }  # fmt: skip
    templates = {one: 7, two: 7, three: 8, four: 7}
    siblings = selection._siblings(known, templates)
    assert siblings == {one: [two], two: [one]}
    ranked = {one: ["b", "a"], two: ["a", "b", "c"]}
    chosen = dict(selection._taught(ranked, known, siblings))
    assert list(chosen)[::2] == [selection.TAUGHT.format(most) for most in selection.MEASURED]
    # Later runs there, all alike, confirm none of it.
    confirmed = chosen[selection.TAUGHT.format(8) + selection.CONFIRMED]
    assert set(confirmed.values()) == {selection.OWN}
    known[one].runs["a"][1:] = known[two].runs["b"][1:] = [0.8] * 3
    confirmed = dict(selection._taught(ranked, known, siblings))[
        selection.TAUGHT.format(8) + selection.CONFIRMED
    ]
    assert confirmed == {one: "b", two: "a"}
    # "c" would be best there, but was never run here.
    assert chosen[selection.TAUGHT.format(8)] == {one: "b", two: "a"}
    # Two of a template agree by their mean: 0.9 and 0.2 of "a", 0.5 twice of "b".
    known[two], known[three] = query(a=0.9, b=0.5), query(a=0.2, b=0.5)
    siblings = selection._siblings(
        {one: known[one], two: known[two], three: known[three]}, dict.fromkeys(known, 7)
    )
    ranked[two] = ranked[three] = ["a", "b"]
    assert dict(selection._taught(ranked, known, siblings))[selection.TAUGHT.format(8)][one] == "a"
    assert (
        dict(selection._taught({two: ["b"], three: ["b"]}, known, siblings))[selection.TAUGHT.format(8)][one]
        == "b"
    )
    # What was slower there is not chosen here.
    known[two] = known[three] = query(a=1.1, b=math.inf)
    assert dict(selection._taught(ranked, known, siblings))[selection.TAUGHT.format(8)][one] == selection.OWN


def test_without_repeated_runs_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(selection, "SETTINGS", selection.Settings(tmp_path / "store.sqlite"))
    with pytest.raises(MissingData, match=r"benchmarks\.collecting"):
        selection.run(Options(), Report("selection"))
    store = SqliteStore(tmp_path / "store.sqlite")
    now, vector = datetime.now(UTC), np.ones(len(PHYSICAL_COLUMNS))
    store.trials.keep(PHYSICAL_VERSION, [PlanRun("postgresql", "d", "q", 1, "", vector, 0.1, False, now)])
    store.close()
    with pytest.raises(MissingData, match="no repeated runs"):
        selection.run(Options(), Report("selection"))
