"""Learned costs on trial: only what weighs joins otherwise is tried, and the faster of the two serves."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from godb_fast.errors import InvalidInput
from godb_fast.feedback.costs import Arm, CostTrial, Outcome, join_costs, static_coefficients
from godb_fast.feedback.costs.joining import MOST_CHANGE, apart
from godb_fast.feedback.costs.terms import NAMES
from godb_fast.feedback.costs.trial import LEAST_SEEN, MOST_ALIKE
from godb_fast.planning.calibration import DUCKDB, POSTGRES

ALL = frozenset(NAMES)


def learned(engine: str, **changes: float) -> dict[str, tuple[float, float]]:
    """The static coefficients, some of them so many times as large."""
    static = dict(zip(NAMES, static_coefficients(engine).tolist(), strict=True))
    return {name: (value * changes.get(name, 1.0), 0.0) for name, value in static.items()}


@pytest.mark.parametrize(("engine", "static"), [("duckdb", DUCKDB), ("postgresql", POSTGRES)])
def test_what_was_not_learned_changes_nothing(engine, static):
    found = join_costs(engine, learned(engine), ALL)
    assert found is not None
    assert apart(found, static) == pytest.approx(
        1.0 if engine == "duckdb" else 1.0 + POSTGRES.scan / POSTGRES.lookup
    )


def test_a_faster_clock_is_no_other_model():
    found = join_costs("duckdb", learned("duckdb", **dict.fromkeys(NAMES, 3.0)), ALL)
    assert found is not None
    assert found.build == pytest.approx(3.0 * DUCKDB.build)
    assert apart(found, DUCKDB) == pytest.approx(1.0)


def test_what_was_never_seen_keeps_its_proportion():
    seen = ALL - {"scan_rows", "scan_values", "scan_conditions"}
    found = join_costs("duckdb", learned("duckdb", **dict.fromkeys(NAMES, 4.0)), seen)
    assert found is not None
    assert found.scan == pytest.approx(4.0 * DUCKDB.scan)


def test_no_coefficient_is_believed_beyond_a_factor():
    found = join_costs("duckdb", learned("duckdb", probe_rows=1e9), ALL)
    assert found is not None
    assert found.probe == pytest.approx(MOST_CHANGE * DUCKDB.probe)
    nothing = join_costs("duckdb", learned("duckdb", hash_output=0.0), ALL)
    assert nothing is not None
    assert nothing.output > 0.0


def test_without_hash_joins_nothing_is_known_of_joins():
    assert join_costs("duckdb", learned("duckdb"), ALL - {"build_rows"}) is None


OTHER = replace(DUCKDB, output=3.0 * DUCKDB.output, name="duckdb, learned")


def test_only_what_weighs_joins_otherwise_is_tried():
    trial = CostTrial("duckdb")
    assert not trial.consider(None, 1000)
    assert not trial.consider(OTHER, LEAST_SEEN - 1)
    assert not trial.consider(replace(DUCKDB, output=1.1 * DUCKDB.output), 1000)
    assert trial.draw() is Arm.SERVED
    assert trial.consider(OTHER, LEAST_SEEN)
    assert not trial.consider(replace(OTHER, build=500.0), 1000)
    drawn = [trial.draw() for _ in range(400)]
    assert 120 < drawn.count(Arm.CANDIDATE) < 280


def run(trial: CostTrial, ratio: float, most: int = 400) -> Outcome:
    source = np.random.default_rng(5)
    candidate = trial.candidate
    assert candidate is not None
    for number in range(most):
        arm = trial.draw()
        latency = math.exp(source.normal(3.0, 0.2)) * (ratio if arm is Arm.CANDIDATE else 1.0)
        outcome = trial.saw(arm, candidate, number % 4, latency)
        if outcome is not Outcome.OPEN:
            return outcome
    return Outcome.OPEN


def test_the_faster_one_serves():
    trial = CostTrial("duckdb")
    trial.consider(OTHER, 100)
    assert run(trial, 0.6) is Outcome.CANDIDATE
    assert (trial.served, trial.candidate, trial.comparison) == (OTHER, None, None)
    assert "is better" in trial.past[-1]
    # What was served before may come back.
    assert trial.consider(DUCKDB, 100)


def test_the_slower_one_is_not_tried_again():
    trial = CostTrial("duckdb")
    trial.consider(OTHER, 100)
    assert run(trial, 1.7) is Outcome.SERVED
    assert trial.served == DUCKDB
    assert not trial.consider(replace(OTHER, output=1.1 * OTHER.output), 1000)
    assert trial.consider(replace(DUCKDB, scan=10.0 * DUCKDB.scan), 1000)


def test_runs_of_a_trial_that_has_ended_say_nothing_of_the_next():
    trial = CostTrial("duckdb")
    trial.consider(OTHER, 100)
    assert trial.saw(Arm.CANDIDATE, replace(OTHER, scan=1.0), 1, 5.0) is Outcome.OPEN
    assert trial.comparison is not None
    assert trial.comparison.standing.latency.pairs == 0


def test_it_goes_on_in_another_process():
    trial = CostTrial("duckdb")
    trial.consider(OTHER, 100)
    run(trial, 1.7)
    trial.consider(replace(DUCKDB, scan=10.0 * DUCKDB.scan), 100)
    run(trial, 0.9, most=20)
    again = CostTrial.from_dict(json.loads(json.dumps(trial.to_dict())), "duckdb")
    assert again.to_dict() == trial.to_dict()
    assert again.served.lookup == math.inf
    assert again.comparison is not None
    assert again.comparison.standing == trial.comparison.standing
    assert not again.consider(OTHER, 1000)


@pytest.mark.parametrize(
    "change",
    [{"format": 7}, {"served": None}, {"served": {"scan": "x"}}, {"past": 3}, {"refuted": [{}]}],
    ids=["format", "none", "text", "past", "refuted"],
)
def test_a_damaged_one_is_refused(change):
    with pytest.raises(InvalidInput):
        CostTrial.from_dict(CostTrial("duckdb").to_dict() | change, "duckdb")


@pytest.mark.parametrize("name", ["scan", "lookup"])
@pytest.mark.parametrize(
    "value", [math.nan, -1.0, 1e308, 1e-300, 10**40, 10**400, math.inf, "x", []], ids=str
)
def test_what_is_no_cost_is_refused(name, value):
    raw = CostTrial("duckdb").to_dict()
    raw["served"][name] = value
    with pytest.raises(InvalidInput):
        CostTrial.from_dict(raw, "duckdb")


def test_no_scan_is_forbidden():
    raw = CostTrial("duckdb").to_dict()
    assert raw["served"]["lookup"] is None
    raw["served"]["scan"] = None
    with pytest.raises(InvalidInput, match="scan is None"):
        CostTrial.from_dict(raw, "duckdb")


def test_a_trial_in_which_nothing_differs_ends():
    trial = CostTrial("duckdb")
    candidate = replace(DUCKDB, name="learned", probe=4.0 * DUCKDB.probe)
    assert trial.consider(candidate, LEAST_SEEN)
    for _ in range(MOST_ALIKE - 1):
        trial.alike()
    # One that differs begins the count anew.
    assert trial.saw(Arm.SERVED, candidate, 7, 100.0) is Outcome.OPEN
    for _ in range(MOST_ALIKE - 1):
        trial.alike()
    assert trial.candidate == candidate
    trial.alike()
    assert trial.candidate is None
    assert trial.comparison is None
    assert "planned differently" in trial.past[-1]
    assert trial.served == DUCKDB
    assert not trial.consider(candidate, LEAST_SEEN)


def plain(trial: CostTrial) -> dict:
    return json.loads(json.dumps(trial.to_dict()))


def see(trial: CostTrial, ratio: float, pairs: int = 400) -> Outcome:
    """So many pairs of runs, if they do not decide it before."""
    candidate, outcome = trial.candidate, Outcome.OPEN
    assert candidate is not None
    for number in range(pairs):
        trial.saw(Arm.SERVED, candidate, number % 4, 20.0)
        outcome = trial.saw(Arm.CANDIDATE, candidate, number % 4, 20.0 * ratio * (0.9, 1.1)[number % 2])
        if outcome is not Outcome.OPEN:
            break
    return outcome


def in_two_processes() -> tuple[dict, CostTrial, CostTrial]:
    """An open trial with some pairs, as it was kept, and twice as two processes go on from there."""
    trial = CostTrial("duckdb")
    trial.consider(OTHER, 100)
    see(trial, 0.95, 4)
    kept = plain(trial)
    return kept, CostTrial.from_dict(kept, "duckdb"), CostTrial.from_dict(kept, "duckdb")


def pairs(trial: CostTrial) -> int:
    assert trial.comparison is not None
    return trial.comparison.standing.latency.pairs


def test_pairs_of_two_processes_are_added_up():
    kept, here, there = in_two_processes()
    assert see(here, 0.95, 6) is see(there, 0.95, 8) is Outcome.OPEN
    assert (pairs(here), pairs(there)) == (10, 12)
    here.take_in(kept, plain(there))
    assert pairs(here) == 18
    # Together they decide what neither has decided: the other one is a pair short of it.
    kept, here, there = in_two_processes()
    short = plain(there)
    while see(there, 0.6, 1) is Outcome.OPEN:
        short = plain(there)
    assert see(here, 0.6, 4) is Outcome.OPEN
    here.take_in(kept, short)
    assert (here.served, here.comparison) == (OTHER, None)


def test_a_trial_that_ended_in_another_process_ends_here():
    kept, here, there = in_two_processes()
    see(here, 0.95, 4)
    assert see(there, 0.5) is Outcome.CANDIDATE
    here.take_in(kept, plain(there))
    assert (here.served, here.candidate, here.past) == (OTHER, None, there.past)
    # One that began there goes on here, if none is open here.
    kept = plain(here)
    third = replace(DUCKDB, scan=10.0 * DUCKDB.scan)
    assert there.consider(third, 100)
    here.take_in(kept, plain(there))
    assert here.candidate == third


def test_what_ended_here_stands():
    kept, here, there = in_two_processes()
    assert see(here, 0.5) is Outcome.CANDIDATE
    assert see(there, 1.9) is Outcome.SERVED
    before = plain(here)
    here.take_in(kept, plain(there))
    assert plain(here) == before
    # Nor is anything taken from a process that only went on.
    kept, here, there = in_two_processes()
    assert see(here, 0.5) is Outcome.CANDIDATE
    see(there, 0.95, 4)
    before = plain(here)
    here.take_in(kept, plain(there))
    assert plain(here) == before
    with pytest.raises(InvalidInput):
        here.take_in(None, {"format": 99})
    assert plain(here) == before
