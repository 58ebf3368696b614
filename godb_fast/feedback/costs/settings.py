"""PostgreSQL's own cost settings, proposed from what its scans took.

The planner charges a scan ``pages · page cost + tuples · cpu_tuple_cost + tuples · conditions ·
cpu_operator_cost``, an index scan random pages and ``cpu_index_tuple_cost`` too. Executed plans (with
BUFFERS) show the pages (each time that one is touched), tuples and conditions of each scan beside its time,
so these five are coefficients of a regression like those of operators: non-negative, drawn to the present
settings. Only their proportions mean something to the planner: ``cpu_tuple_cost`` stays as it is and the
others are told in its unit. ``effective_cache_size`` is left alone (it is no cost).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import Observation, PhysicalNode
from godb_fast.errors import InvalidInput
from godb_fast.feedback.costs.accuracy import q_errors, rank_correlation
from godb_fast.feedback.costs.fitting import FitTuning, fit_log_loss
from godb_fast.feedback.costs.ridge import NonNegativeRidge
from godb_fast.feedback.costs.samples import CostScope, refusal
from godb_fast.feedback.costs.work import condition_count

Floats = NDArray[np.float64]

#: PostgreSQL's defaults.
DEFAULTS: Final[Mapping[str, float]] = {
    "seq_page_cost": 1.0,
    "random_page_cost": 4.0,
    "cpu_tuple_cost": 0.01,
    "cpu_index_tuple_cost": 0.005,
    "cpu_operator_cost": 0.0025,
}
_NAMES: Final = tuple(DEFAULTS)
_UNIT: Final = "cpu_tuple_cost"
#: Scans that are needed before anything is proposed, and templates that they come from.
LEAST_SCANS: Final = 50
LEAST_TEMPLATES: Final = 8
#: Scans below this say more of the clock.
_LEAST_MS: Final = 0.02
#: No setting is moved further at once, either way.
_MOST_CHANGE: Final = 10.0
_FOLDS: Final = 4
_SEQUENTIAL: Final = frozenset({"Seq Scan", "Parallel Seq Scan"})
_INDEXED: Final = frozenset({"Index Scan", "Index Only Scan"})


@dataclass(frozen=True)
class ProposedSetting:
    """One setting; ``low`` and ``high`` bound what was learned at two standard deviations.

    Where the present value lies between them it is the proposed one.
    """

    name: str
    present: float
    proposed: float
    low: float
    high: float

    @property
    def changes(self) -> bool:
        """Whether it is to be set."""
        return self.proposed != self.present


@dataclass(frozen=True)
class SettingsProposal:
    """Proposed cost settings with their evidence, all of it from templates that a fit left out.

    Parameters
    ----------
    settings : tuple of ProposedSetting
    scans, templates : int
        What was learned from.
    q_error_present, q_error_proposed : float
        Median q-error of scans' times under the present and the proposed settings, each with the one factor
        that fits it best.
    rank_present, rank_proposed : float
        Rank correlation of scans' costs with their times.
    recommended : bool
        The proposed settings tell times better in both respects, and one of them at least changes.
    reason : str
    """

    settings: tuple[ProposedSetting, ...]
    scans: int
    templates: int
    q_error_present: float
    q_error_proposed: float
    rank_present: float
    rank_proposed: float
    recommended: bool
    reason: str

    def sql(self) -> tuple[str, ...]:
        """SET statements of what changes; nothing if it is not recommended."""
        if not self.recommended:
            return ()
        return tuple(
            f"SET {setting.name} = {setting.proposed:.4g};" for setting in self.settings if setting.changes
        )


def propose_settings(
    observations: Iterable[Observation], scope: CostScope, present: Mapping[str, float] | None = None
) -> SettingsProposal:
    """Cost settings under which the costs of scans are nearest to what they took.

    Parameters
    ----------
    observations : iterable of Observation
        With plans of EXPLAIN (ANALYZE, BUFFERS) or auto_explain; others are passed over.
    scope : CostScope
        Observations of anything else are passed over.
    present : mapping of str to float, optional
        The server's settings; PostgreSQL's defaults without.

    Raises
    ------
    InvalidInput
        If too few scans were seen, or a present setting is not a number ≥ 0.
    """
    now = {**DEFAULTS, **(present or {})}
    for name in _NAMES:
        if not (math.isfinite(now[name]) and now[name] >= 0.0):
            raise InvalidInput(f"{name} is {now[name]}; cost settings are not negative")
    amounts, times, groups = _scans(observations, scope)
    templates = sorted(set(groups.tolist()))
    if len(times) < LEAST_SCANS or len(templates) < LEAST_TEMPLATES:
        raise InvalidInput(
            f"{len(times)} scans of {len(templates)} templates were seen with pages and times; cost settings "
            f"need {LEAST_SCANS} of {LEAST_TEMPLATES}: run EXPLAIN (ANALYZE, BUFFERS), or auto_explain with "
            "log_analyze and log_buffers"
        )
    old = np.array([now[name] for name in _NAMES])
    told = np.zeros((2, len(times)))
    for fold in range(_FOLDS):
        held = np.isin(groups, templates[fold::_FOLDS])
        learned = _in_units(_learned(amounts[~held], times[~held], old), old)
        new = np.array([setting.proposed for setting in learned])
        for number, settings in enumerate((old, new)):
            factor = np.median(times[~held] / _costs(amounts[~held], settings))
            told[number, held] = _costs(amounts[held], settings) * factor
    ridge = _learned(amounts, times, old)
    q_old, q_new = (float(np.median(q_errors(each, times))) for each in told)
    rank_old, rank_new = (rank_correlation(each, times) for each in told)
    proposed = _in_units(ridge, old)
    better = q_new < q_old and rank_new >= rank_old
    changes = any(setting.changes for setting in proposed)
    reason = (
        "the present settings tell scans' times as well"
        if not better
        else "no setting is certain to differ"
        if not changes
        else "scans of left-out templates are told better"
    )
    return SettingsProposal(
        proposed, len(times), len(templates), q_old, q_new, rank_old, rank_new, better and changes, reason
    )


def _costs(amounts: Floats, settings: Floats) -> Floats:
    costs: Floats = np.maximum(amounts @ settings, 1e-9)
    return costs


def _learned(amounts: Floats, times: Floats, old: Floats) -> NonNegativeRidge:
    """Nanoseconds per unit of each setting, drawn to the present ones."""
    factor = float(np.median(times / _costs(amounts, old)))
    prior = old * factor
    # Pages in memory may cost next to nothing: any proportion is well possible.
    ridge = NonNegativeRidge(prior, np.maximum(prior, prior.max() * 1e-3), noise=0.5)
    fit_log_loss(ridge, amounts, times, floor=2e4, clip=2.0, iterations=FitTuning().iterations)
    return ridge


def _in_units(ridge: NonNegativeRidge, old: Floats) -> tuple[ProposedSetting, ...]:
    unit = _NAMES.index(_UNIT)
    covariance = ridge.covariance()
    base = float(ridge.coefficients[unit])
    if base <= 0.0:
        # Tuples that cost nothing cannot be the unit: the present proportions stay.
        base = float(ridge.prior[unit])
    found = []
    for number, name in enumerate(_NAMES):
        value = float(ridge.coefficients[number])
        present = float(old[number])
        if number == unit:
            found.append(ProposedSetting(name, present, present, present, present))
            continue
        ratio = value / base
        # Variance of a quotient, to first order.
        variance = (
            covariance[number, number]
            - 2.0 * ratio * covariance[number, unit]
            + ratio * ratio * covariance[unit, unit]
        ) / base**2
        reach = 2.0 * math.sqrt(max(float(variance), 0.0)) * old[unit]
        exact = ratio * float(old[unit])
        low, high = max(float(exact - reach), 0.0), float(exact + reach)
        # What is not certain to differ stays.
        bounded = min(max(exact, present / _MOST_CHANGE), present * _MOST_CHANGE)
        found.append(
            ProposedSetting(name, present, present if low <= present <= high else bounded, low, high)
        )
    by_name = {setting.name: setting for setting in found}
    sequential, random = by_name["seq_page_cost"], by_name["random_page_cost"]
    if random.proposed < sequential.proposed:
        # A page out of order is never cheaper than one in order (PostgreSQL's manual, 19.7.2).
        found[found.index(random)] = replace(random, proposed=sequential.proposed)
    return tuple(found)


def _scans(observations: Iterable[Observation], scope: CostScope) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Per scan its units of each setting, its time in nanoseconds, and its template."""
    rows: list[Sequence[float]] = []
    times: list[float] = []
    groups: list[int] = []
    for observation in observations:
        if refusal(observation, scope) is not None or observation.plan is None:
            continue
        for node in observation.plan.root.walk():
            units = _units(node)
            if units is not None and node.time_ms is not None and node.time_ms >= _LEAST_MS:
                rows.append(units)
                times.append(node.time_ms * 1e6)
                groups.append(observation.fingerprint)
    return np.array(rows).reshape(-1, len(_NAMES)), np.array(times), np.array(groups, np.int64)


def _units(node: PhysicalNode) -> tuple[float, ...] | None:
    """(sequential pages, random pages, tuples, index tuples, operators) of a scan; None of anything else."""
    sequential, indexed = node.operator in _SEQUENTIAL, node.operator in _INDEXED
    pages = [node.extra.get(f"Shared {kind} Blocks") for kind in ("Hit", "Read")]
    if not (sequential or indexed) or None in pages or node.rows is None or not node.loops or node.children:
        return None
    if node.extra.get("Parallel Aware"):
        # Its time is one process's, its pages are everybody's.
        return None
    touched = sum(float(each or 0.0) for each in pages)
    removed = float(node.extra.get("Rows Removed by Filter", 0) or 0) * node.loops
    tuples = node.rows + removed
    operators = tuples * condition_count(node)
    return (
        touched if sequential else 0.0,
        touched if indexed else 0.0,
        tuples,
        tuples if indexed else 0.0,
        operators,
    )
