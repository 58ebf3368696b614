"""What can be explored: queries, arms, which arms give one plan, and what the default costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from godb_fast.errors import InvalidInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PlanSpace:
    """Queries × arms, with the distinct plans among them; arm 0 is the engine's own plan.

    Parameters
    ----------
    plans : int array, (queries, arms)
        Number of the plan that an arm gives a query; arms of one query with one number share a plan. Numbers
        run from 0 without gaps, ordered by query and then by the first arm that has the plan.
    default_s : float array, (queries,)
        Known time of the default plan, in seconds.
    weight : float array, (queries,)
        Executions of the query in one run of the workload.
    group : int array, (queries,)
        Class of the query (its template, say); classes share what is learned of arms.
    """

    plans: Ints
    default_s: Floats
    weight: Floats
    group: Ints

    @classmethod
    def of(
        cls,
        plan_hashes: ArrayLike,
        default_s: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        groups: Sequence[object] | None = None,
    ) -> PlanSpace:
        """A checked space.

        Parameters
        ----------
        plan_hashes : array, (queries, arms)
            Anything that is equal exactly where two arms of one query give one plan.
        groups : sequence, optional
            A label per query; without it all queries are one class.

        Raises
        ------
        InvalidInput
            If shapes disagree, a time or weight is not positive, or there is no query or arm.
        """
        hashes = np.asarray(plan_hashes)
        if hashes.ndim != 2 or 0 in hashes.shape:
            raise InvalidInput(f"plan hashes have shape {hashes.shape}; give queries × arms, at least 1 × 1")
        queries, arms = hashes.shape
        times = np.array(default_s, dtype=np.float64)
        weights = np.ones(queries) if weight is None else np.array(weight, dtype=np.float64)
        for name, values in (("default time", times), ("weight", weights)):
            if values.shape != (queries,):
                raise InvalidInput(f"{name}: shape {values.shape} for {queries} queries")
            if not (np.isfinite(values) & (values > 0)).all():
                raise InvalidInput(f"a {name} is not a positive number of seconds or runs")
        labels = [0] * queries if groups is None else list(groups)
        if len(labels) != queries:
            raise InvalidInput(f"{len(labels)} group labels for {queries} queries")
        number: dict[object, int] = {}
        group = np.array([number.setdefault(label, len(number)) for label in labels], dtype=np.int64)
        first = (hashes[:, :, None] == hashes[:, None, :]).argmax(axis=2)
        is_first = first == np.arange(arms)
        rank = np.cumsum(is_first).reshape(queries, arms) - 1
        plans = np.take_along_axis(rank, first, axis=1).astype(np.int64)
        return cls(plans, times, weights, group)

    @property
    def queries(self) -> int:
        """Number of queries."""
        return int(self.plans.shape[0])

    @property
    def arms(self) -> int:
        """Number of arms."""
        return int(self.plans.shape[1])

    @cached_property
    def workload_s(self) -> float:
        """Seconds of one run of the workload under default plans."""
        return float(self.default_s @ self.weight)

    @cached_property
    def first_plan(self) -> Ints:
        """Number of each query's first plan; a query's plans are consecutive."""
        starts: Ints = self.plans[:, 0]
        return starts

    @cached_property
    def plan_count(self) -> int:
        """Number of distinct plans of all queries."""
        return int(self.plans.max()) + 1

    @cached_property
    def query_of_plan(self) -> Ints:
        """Query of each plan, shape (plans,)."""
        owner = np.zeros(self.plan_count, dtype=np.int64)
        owner[self.plans] = np.arange(self.queries)[:, None]
        return owner

    @cached_property
    def arm_of_plan(self) -> Ints:
        """First arm that gives each plan, shape (plans,)."""
        _, place = np.unique(self.plans.reshape(-1), return_index=True)
        return place.astype(np.int64) % self.arms

    @cached_property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.group.max()) + 1

    def sum_by_class(self, values: Floats) -> Floats:
        """Sum of the rows (queries) of each class, shape (classes, …)."""
        order, starts = self._by_class
        total: Floats = np.add.reduceat(values[order], starts, axis=0)
        return total

    @cached_property
    def _by_class(self) -> tuple[Ints, Ints]:
        order = np.argsort(self.group, kind="stable")
        return order, np.searchsorted(self.group[order], np.arange(self.classes)).astype(np.int64)

    @cached_property
    def log_default(self) -> Floats:
        """Natural logarithm of the default times."""
        values: Floats = np.log(self.default_s)
        return values

    def mean_over_arms(self, values: Floats) -> Floats:
        """Mean of a (queries, arms) array over the arms that give each plan, shape (plans,)."""
        order, starts, counts = self._by_plan
        means: Floats = np.add.reduceat(values.reshape(-1)[order], starts) / counts
        return means

    @cached_property
    def _by_plan(self) -> tuple[Ints, Ints, Ints]:
        flat = self.plans.reshape(-1)
        counts = np.bincount(flat, minlength=self.plan_count)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)[:-1]])
        return np.argsort(flat, kind="stable"), starts, counts.astype(np.int64)
