"""What an explorer is compared with on stored runtimes: random, greedy, and low-rank (ALS) choice.

All of them know default times, take equal plans as one, and cut runs at the best time so far.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.matrices import Matrix
from godb_fast.exploring.space import PlanSpace

Floats = NDArray[np.float64]
#: Seconds spent and seconds of the workload after it, at each improvement.
Curve = list[tuple[float, float]]


class Simulation:
    """Stored runtimes with what was seen of them: the state that rivals share."""

    def __init__(self, matrix: Matrix, space: PlanSpace) -> None:
        self.matrix, self.space = matrix, space
        self.best = matrix.default_s.copy()
        self.seen = np.zeros(matrix.seconds.shape, dtype=np.bool_)
        self.bound = np.zeros(matrix.seconds.shape)
        self.spent_s = 0.0
        self.curve: Curve = [(0.0, space.workload_s)]
        self.seen[space.plans == space.plans[:, :1]] = True

    def run(self, query: int, arm: int, timeout_s: float) -> None:
        """Run a plan until it ends or is cut, and note it for all arms that share it."""
        time = float(self.matrix.seconds[query, arm])
        self.spent_s += min(time, timeout_s)
        same = self.space.plans[query] == self.space.plans[query, arm]
        if time < timeout_s:
            self.seen[query, same] = True
        self.bound[query, same] = np.maximum(self.bound[query, same], min(time, timeout_s))
        if time < self.best[query] and time < timeout_s:
            self.best[query] = time
            self.curve.append((self.spent_s, float(self.best @ self.space.weight)))

    def open_arms(self, query: int) -> NDArray[np.int64]:
        """Arms that a run with the best time as its timeout could still tell something about."""
        return np.nonzero(~self.seen[query] & (self.bound[query] < self.best[query]))[0]


def random_choice(state: Simulation, budget_s: float, seed: int) -> None:
    """Any open plan of any query."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(state.matrix.seconds.size)
    for place in places.tolist():
        if state.spent_s >= budget_s:
            return
        query, arm = divmod(place, state.space.arms)
        if not state.seen[query, arm] and state.bound[query, arm] < state.best[query]:
            state.run(query, arm, state.best[query])


def greedy_choice(state: Simulation, budget_s: float, seed: int) -> None:
    """A random open plan of the query that takes longest now."""
    rng = np.random.default_rng(seed)
    closed = np.zeros(state.space.queries, dtype=np.bool_)
    while state.spent_s < budget_s and not closed.all():
        query = int(np.argmax(np.where(closed, -1.0, state.best * state.space.weight)))
        arms = state.open_arms(query)
        if arms.size:
            state.run(query, int(rng.choice(arms)), state.best[query])
        else:
            closed[query] = True


def low_rank_choice(
    state: Simulation, budget_s: float, seed: int, *, rank: int = 5, batch: int = 32, rounds: int = 10
) -> None:
    """Alternating least squares on the seconds seen, non-negative, as LimeQO does it (SIGMOD 2025).

    Unseen entries are completed by a low-rank product; those of cut runs are raised to their bound. The
    queries with the largest predicted share of improvement run their predicted best arm; where the
    prediction sees none, random open plans run.
    """
    rng = np.random.default_rng(seed)
    factors = rng.uniform(size=(state.space.queries, rank)), rng.uniform(size=(state.space.arms, rank))
    while state.spent_s < budget_s:
        completed, factors = _complete(state, factors, rounds)
        guess = np.where(state.seen | (state.bound >= state.best[:, None]), np.inf, completed)
        arm = guess.argmin(axis=1)
        expected = guess[np.arange(len(arm)), arm]
        promising = np.isfinite(expected)
        finite = np.where(promising, expected, 1.0)
        gain = np.where(promising, (state.best - finite) / np.maximum(finite, 1e-9), -np.inf)
        order = np.argsort(-gain, kind="stable")[:batch]
        chosen = [(int(query), int(arm[query])) for query in order if gain[query] > 0]
        open_places = np.argwhere(~state.seen & (state.bound < state.best[:, None]))
        if not len(open_places):
            return
        if len(chosen) < batch:
            extra = open_places[rng.permutation(len(open_places))[: batch - len(chosen)]]
            chosen += [(int(query), int(number)) for query, number in extra]
        for query, number in chosen:
            if state.spent_s >= budget_s:
                return
            if not state.seen[query, number]:
                state.run(query, number, min(state.best[query], max(2.0 * completed[query, number], 1e-3)))


def _complete(
    state: Simulation, factors: tuple[Floats, Floats], rounds: int
) -> tuple[Floats, tuple[Floats, Floats]]:
    left, right = factors
    ridge = 0.2 * np.eye(left.shape[1])
    truth = np.where(state.seen, state.matrix.seconds, 0.0)
    is_cut = ~state.seen & (state.bound > 0)
    filled = truth
    for _ in range(rounds):
        product = left @ right.T
        filled = np.where(state.seen, truth, np.where(is_cut, np.maximum(product, state.bound), product))
        left = np.maximum(filled @ right @ np.linalg.inv(right.T @ right + ridge), 0.0)
        right = np.maximum(filled.T @ left @ np.linalg.inv(left.T @ left + ridge), 0.0)
    product = left @ right.T
    return np.where(state.seen, truth, np.where(is_cut, np.maximum(product, state.bound), product)), (
        left,
        right,
    )


RIVALS: dict[str, Callable[[Simulation, float, int], None]] = {
    "random": random_choice,
    "greedy": greedy_choice,
    "low rank (ALS)": low_rank_choice,
}
