"""The explorer's loop: interruptions change nothing, cut runs are no times, nothing slower is promoted."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.matrices import Matrix, made_up
from benchmarks.replay import Stored
from godb_fast.errors import InvalidInput
from godb_fast.exploring import Explorer, ExplorerSettings, PlanSpace, Role, Run, Trial
from godb_fast.exploring.choice import ChoiceSettings
from godb_fast.exploring.observations import CENSORED, MEASURED, REFUSED


def space_of(matrix: Matrix) -> PlanSpace:
    return PlanSpace.of(matrix.seconds, matrix.default_s, groups=matrix.templates)


def small(seed: int = 1) -> Matrix:
    return made_up(templates=3, queries=12, arms=6, seed=seed)


class Interrupted(Stored):
    """Breaks off before every second run."""

    def __init__(self, seconds):
        super().__init__(seconds)
        self.calls = 0

    def run(self, query, arm, timeout_s):
        self.calls += 1
        if self.calls % 2:
            raise KeyboardInterrupt
        return super().run(query, arm, timeout_s)


@pytest.mark.parametrize("confirm", ["none", "pairs"])
def test_interrupted_and_resumed_at_every_step_it_ends_the_same(confirm):
    matrix = small()
    space = space_of(matrix)
    rules = ExplorerSettings(confirm=confirm)
    budget = 3.0 * space.workload_s
    straight = Explorer(space, rules)
    straight.explore(Stored(matrix.seconds), budget)

    broken = Explorer(space, rules)
    executor = Interrupted(matrix.seconds)
    stops = 0
    while True:
        try:
            broken.explore(executor, budget)
            break
        except KeyboardInterrupt:
            stops += 1
            broken = Explorer(space, rules, json.loads(json.dumps(broken.to_dict())))
    assert stops == straight.runs
    assert broken.runs == straight.runs > 20
    assert broken.to_dict() == straight.to_dict()


def test_asking_again_gives_the_same_trial():
    matrix = small()
    explorer = Explorer(space_of(matrix))
    assert explorer.next() == explorer.next()
    assert explorer.runs == 0


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    budget=st.floats(0.05, 4.0),
    confirm=st.sampled_from(["none", "pairs"]),
    classes=st.booleans(),
)
def test_no_promoted_arm_is_slower_and_everything_is_charged(seed, budget, confirm, classes):
    matrix = made_up(templates=3, queries=20, arms=7, seed=seed)
    space = PlanSpace.of(matrix.seconds, matrix.default_s, groups=matrix.templates if classes else None)
    explorer = Explorer(space, ExplorerSettings(confirm=confirm, seed=seed))
    charged = []
    explorer.explore(
        Stored(matrix.seconds), budget * space.workload_s, lambda _, trial, run: charged.append((trial, run))
    )
    assert explorer.spent_s == pytest.approx(sum(run.seconds for _, run in charged))
    assert explorer.spent_s <= budget * space.workload_s * (1 + 1e-12)
    times = matrix.default_s.copy()
    for promotion in explorer.promotions():
        times[promotion.query] = matrix.seconds[promotion.query, promotion.arm]
        assert times[promotion.query] < matrix.default_s[promotion.query]
        assert promotion.ratio == pytest.approx(times[promotion.query] / matrix.default_s[promotion.query])
    assert explorer.workload_s == pytest.approx(times.sum())
    assert [workload for _, workload in explorer.curve] == sorted(
        (workload for _, workload in explorer.curve), reverse=True
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_cut_run_is_a_bound_and_never_a_time(seed):
    matrix = made_up(templates=2, queries=15, arms=6, seed=seed)
    space = space_of(matrix)
    explorer = Explorer(space, ExplorerSettings(confirm="none"))
    explorer.explore(Stored(matrix.seconds), 1.5 * space.workload_s)
    true = np.log(
        matrix.seconds[space.query_of_plan, space.arm_of_plan] / space.default_s[space.query_of_plan]
    )
    kind, value = explorer.seen.kind, explorer.seen.log_ratio
    assert np.allclose(value[kind == MEASURED], true[kind == MEASURED])
    assert (value[kind == CENSORED] <= true[kind == CENSORED] + 1e-12).all()
    assert (kind[explorer.seen.best] == MEASURED).all()


def test_timeouts_never_exceed_the_best_time_so_far():
    matrix = small(3)
    space = space_of(matrix)
    best = matrix.default_s.copy()

    def watch(explorer, trial, run):
        assert trial.timeout_s <= best[trial.query] * (1 + 1e-6)
        if not run.censored:
            best[trial.query] = min(best[trial.query], run.seconds)

    Explorer(space, ExplorerSettings(confirm="none")).explore(Stored(matrix.seconds), 9e9, watch)


def test_with_time_enough_every_query_gets_its_best_plan():
    matrix = small(5)
    space = space_of(matrix)
    explorer = Explorer(space, ExplorerSettings(confirm="none"))
    explorer.explore(Stored(matrix.seconds), 1e9)
    # A plan that is better by less than a tenth of a log unit than where it was cut may stay unseen.
    assert explorer.workload_s <= matrix.seconds.min(axis=1).sum() * np.exp(0.1)


def test_a_pair_runs_the_candidate_first_and_cuts_the_default():
    matrix = small(2)
    space = space_of(matrix)
    trials: list[tuple[Trial, Run]] = []
    explorer = Explorer(space, ExplorerSettings(confirm="pairs"))
    explorer.explore(Stored(matrix.seconds), 20 * space.workload_s, lambda _, t, r: trials.append((t, r)))
    pairs = 0
    for (first, ran), (then, _) in pairwise(trials):
        if first.role is Role.CANDIDATE and not ran.censored:
            assert (then.role, then.query, then.arm) == (Role.DEFAULT, first.query, 0)
            assert then.timeout_s <= 1.2 * ran.seconds * (1 + 1e-12)
            pairs += 1
    assert pairs > 5
    assert explorer.promotions()
    for promotion in explorer.promotions():
        assert promotion.evidence is not None
        assert promotion.evidence.pairs >= 2


def test_a_pair_that_the_budget_cuts_short_is_no_evidence():
    space = PlanSpace.of([[0, 1]], [10.0])
    explorer = Explorer(space, ExplorerSettings(confirm="pairs"))
    executor = Stored(np.array([[10.0, 2.0]]))
    while (trial := explorer.next()) is not None and trial.role is not Role.DEFAULT:
        explorer.record(trial, executor.run(trial.query, trial.arm, trial.timeout_s))
    assert trial is not None
    assert trial.timeout_s == pytest.approx(2.4)
    saved = explorer.to_dict()
    for left in (0.1, 1.0, 2.39):
        explorer = Explorer(space, explorer.settings, saved)
        explorer.explore(executor, explorer.spent_s + left)
        evidence = explorer.evidence(0)
        assert evidence is None or (evidence.pairs, evidence.cut) == (0, False)
        explorer.explore(executor, 1e9)
        assert [promotion.arm for promotion in explorer.promotions()] == [1]


class Noisy:
    """Every plan is the default in truth; runs scatter by a third."""

    def __init__(self, default_s, seed):
        self.default_s = default_s
        self.rng = np.random.default_rng(seed)

    def run(self, query, arm, timeout_s):
        taken = float(self.default_s[query] * np.exp(self.rng.normal(0.0, 0.3)))
        return Run(taken) if taken < timeout_s else Run(timeout_s, censored=True)


def test_noise_alone_is_hardly_ever_promoted_after_pairs_but_would_be_without():
    queries = 40
    hashes = np.tile(np.arange(4), (queries, 1))
    space = PlanSpace.of(hashes, np.full(queries, 1.0))
    with_pairs = Explorer(space, ExplorerSettings(confirm="pairs"))
    with_pairs.explore(Noisy(space.default_s, 1), 500.0)
    without = Explorer(space, ExplorerSettings(confirm="none"))
    without.explore(Noisy(space.default_s, 1), 500.0)
    assert len(without.promotions()) > 20
    assert len(with_pairs.promotions()) <= 4


def test_a_failed_run_is_charged_and_its_plan_never_runs_again():
    matrix = small(4)
    space = space_of(matrix)
    seen = set()

    class Failing(Stored):
        def run(self, query, arm, timeout_s):
            if arm == 3:
                plan = int(space.plans[query, arm])
                assert plan not in seen
                seen.add(plan)
                return Run(0.001, failed=True)
            return super().run(query, arm, timeout_s)

    explorer = Explorer(space, ExplorerSettings(confirm="none"))
    explorer.explore(Failing(matrix.seconds), 1e9)
    assert seen
    assert all(explorer.seen.kind[plan] == REFUSED for plan in seen)
    assert not seen & {promotion.plan for promotion in explorer.promotions()}


def test_equal_plans_of_a_query_run_once():
    matrix = small(6)
    same = replace(matrix, seconds=np.repeat(matrix.seconds[:, :2], 3, axis=1))
    space = space_of(same)
    assert space.plan_count <= 2 * space.queries
    ran = []
    explorer = Explorer(space, ExplorerSettings(confirm="none"))
    explorer.explore(Stored(same.seconds), 1e9, lambda _, trial, run: ran.append((trial, run)))
    finished = [(trial.query, trial.arm) for trial, run in ran if not run.censored]
    assert len(finished) == len(set(finished))
    assert {arm for _, arm in finished} <= {3}


def test_queries_that_have_not_come_wait():
    matrix = small(7)
    space = space_of(matrix)
    explorer = Explorer(space, ExplorerSettings(confirm="none"))
    known = np.arange(space.queries) < 4
    explorer.admit(known)
    asked = []
    explorer.explore(Stored(matrix.seconds), 1e9, lambda _, trial, run: asked.append(trial.query))
    assert asked
    assert max(asked) < 4


def test_overhead_is_charged_with_each_run():
    matrix = small()
    space = space_of(matrix)
    rules = ExplorerSettings(confirm="none", choice=ChoiceSettings(overhead_s=0.01))
    explorer = Explorer(space, rules)
    took = []
    explorer.explore(Stored(matrix.seconds), space.workload_s, lambda _, trial, run: took.append(run.seconds))
    assert explorer.spent_s == pytest.approx(sum(took) + 0.01 * len(took))


def test_time_that_nothing_came_of_can_be_charged():
    explorer = Explorer(space_of(small()))
    trial = explorer.next(10.0)
    explorer.charge(4.0)
    assert (explorer.spent_s, explorer.next(10.0)) == (4.0, trial)
    explorer.charge(6.0)
    assert explorer.next(10.0) is None
    with pytest.raises(InvalidInput, match="cannot charge"):
        explorer.charge(-1.0)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused_and_changes_nothing(seconds):
    explorer = Explorer(space_of(small()))
    trial = explorer.next()
    assert trial is not None
    before = explorer.to_dict()
    with pytest.raises(InvalidInput, match="give a positive number"):
        explorer.record(trial, Run(seconds))
    assert explorer.to_dict() == before


def test_states_of_other_spaces_and_unknown_rules_are_refused():
    state = Explorer(space_of(small())).to_dict()
    with pytest.raises(InvalidInput, match="start anew"):
        Explorer(space_of(made_up(queries=5, arms=3)), state=state)
    with pytest.raises(InvalidInput, match="'none' or 'pairs'"):
        Explorer(space_of(small()), ExplorerSettings(confirm="maybe"))


@pytest.mark.parametrize(
    ("hashes", "times", "text"),
    [
        (np.zeros((0, 3)), [], "at least 1"),
        (np.zeros((2, 3)), [1.0], "shape"),
        (np.zeros((2, 3)), [1.0, 0.0], "positive"),
        (np.zeros((2, 3)), [1.0, float("nan")], "positive"),
    ],
)
def test_spaces_are_checked_at_the_door(hashes, times, text):
    with pytest.raises(InvalidInput, match=text):
        PlanSpace.of(hashes, times)


def test_one_query_with_one_arm_has_nothing_to_explore():
    explorer = Explorer(PlanSpace.of([[1]], [2.0]))
    assert explorer.next() is None
    assert explorer.promotions() == []


def test_suggestions_are_tried_first_and_in_order():
    matrix = small()
    space = space_of(matrix)
    arm = [int(np.nonzero(row != row[0])[0][0]) for row in space.plans[:3]]
    explorer = Explorer(space, ExplorerSettings(confirm="none"))
    explorer.suggest(
        [
            (2, arm[2], 0.5),
            (0, arm[0], 0.25),
            (1, 1 if space.plans[1, 1] == space.plans[1, 0] else arm[1], 1.0),
        ]
    )
    seen = []
    for _ in range(2):
        trial = explorer.next(1e9)
        assert trial is not None
        seen.append(
            (
                trial.query,
                int(space.plans[trial.query, trial.arm]),
                trial.timeout_s / space.default_s[trial.query],
            )
        )
        resumed = Explorer(space, ExplorerSettings(confirm="none"), explorer.to_dict())
        assert resumed.next(1e9) == trial
        explorer.record(trial, Run(trial.timeout_s, censored=True))
    assert [(query, plan) for query, plan, _ in seen] == [
        (2, space.plans[2, arm[2]]),
        (0, space.plans[0, arm[0]]),
    ]
    assert [share for *_, share in seen] == pytest.approx([0.5, 0.25])
    with pytest.raises(InvalidInput, match="before the first run"):
        explorer.suggest([])


@pytest.mark.parametrize("wrong", [(0, 0, 0.5), (999, 1, 0.5), (0, 999, 0.5), (0, 1, 0.0), (0, 1, 1.5)])
def test_suggestions_are_checked(wrong):
    explorer = Explorer(space_of(small()))
    with pytest.raises(InvalidInput, match="cannot try arm"):
        explorer.suggest([wrong])


def test_what_suggestions_showed_is_confirmed_before_the_survey_the_best_first():
    """A winner of 3 % is confirmed at once, winners of 10 and 20 % after all suggestions, one of 60 % is not."""
    space = PlanSpace.of([[f"{query}-{arm}" for arm in range(3)] for query in range(4)], [1.0] * 4)
    explorer = Explorer(space)
    ratios = {0: 0.2, 1: 0.03, 2: 0.6, 3: 0.1}
    explorer.suggest([(query, 1, 1.0) for query in ratios])
    confirmed, explored = [], []
    for _ in range(100):
        trial = explorer.next(1e9)
        assert trial is not None
        if trial.arm == 2 or (trial.role is Role.EXPLORE and trial.query in explored):
            break
        seconds = 1.0 if trial.role is Role.DEFAULT else ratios[trial.query]
        if trial.role is Role.EXPLORE:
            explored.append(trial.query)
        elif trial.query not in confirmed:
            confirmed.append(trial.query)
            assert trial.query != 1 or explored == [0, 1]
            assert trial.query == 1 or explored == [0, 1, 2, 3]
        run = min(seconds, trial.timeout_s)
        explorer.record(trial, Run(run, censored=run < seconds))
    assert confirmed == [1, 3, 0]
    assert [entry.query for entry in explorer.promotions()] == [0, 1, 3]
