"""What exploring and then measuring has shown: the ratio, what it cost, what it lost, what more there was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from godb_fast.evidence import Interval, PairedRuns, RatioSummary, ratio_of_sums, summarize_ratios
from godb_fast.report.comparison import Comparison, QueryRuns
from godb_fast.report.summary import Summary, summarize

if TYPE_CHECKING:
    from godb_fast.exploring.live import ExplorationReport

#: A query is slower than it may be beyond so many times the default, and so many milliseconds.
SLOWER_RATIO: Final = 1.2
SLOWER_MS: Final = 50.0


@dataclass(frozen=True)
class ArmRow:
    """One arm over the engine's default: the ratio of sums, and query by query."""

    arm: str
    ratio: Interval
    ratios: RatioSummary
    worst: str


@dataclass(frozen=True)
class Slowdown:
    """A query that our arm made slower; ``spread_ms`` is how far the default's own runs lay apart."""

    query: str
    default_ms: float
    ours_ms: float
    spread_ms: float

    @property
    def beyond(self) -> bool:
        """More than 1.2 × the default, by more than 50 ms and the spread of the default's own runs."""
        return self.ours_ms - SLOWER_RATIO * self.default_ms > SLOWER_MS + self.spread_ms


@dataclass(frozen=True)
class Lost:
    """What steering has lost in one class of queries, by the ledger."""

    query_class: str
    took_s: float
    lost_s: float


@dataclass(frozen=True, eq=False)
class Gain:
    """Figures of an exploration with the comparison that followed it.

    Parameters
    ----------
    arms : tuple of ArmRow
        Every arm over the default; ``ours`` first, ``again`` is the A/A row.
    cut : tuple of str
        Queries of which a run of the engine's own plan was cut and counts as the limit: R is a bound.
    slower : tuple of Slowdown
        Queries slower than the default, the greatest loss first.
    proved_ratio, oracle_ratio : float or None
        The workload's time over the default's as exploration saw it: under what was proved, and if each
        query had the best candidate that was ever run.
    curve : tuple of (float, float)
        Seconds spent on exploring, and seconds of the workload after that.
    ledger : tuple of Lost
    """

    exploration: ExplorationReport
    comparison: Comparison
    summary: Summary
    arms: tuple[ArmRow, ...]
    cut: tuple[str, ...]
    slower: tuple[Slowdown, ...]
    proved_ratio: float | None
    oracle_ratio: float | None
    curve: tuple[tuple[float, float], ...]
    ledger: tuple[Lost, ...]

    @property
    def lost_s(self) -> float:
        """Seconds of all medians that lie above the default's."""
        return sum(entry.ours_ms - entry.default_ms for entry in self.slower) / 1e3

    @property
    def oracle_gap(self) -> float | None:
        """The proved ratio over the oracle's: 1 means that nothing that was seen was missed."""
        if self.proved_ratio is None or not self.oracle_ratio:
            return None
        return self.proved_ratio / self.oracle_ratio


def gain_of(
    exploration: ExplorationReport,
    comparison: Comparison,
    losses: Sequence[tuple[str, float, float, float]] = (),
) -> Gain:
    """The figures.

    Parameters
    ----------
    losses : sequence of (class, time, seconds taken, seconds lost)
        The store's ledger since the measuring began.
    """
    timed = [entry for entry in exploration.queries if entry.default_s > 0.0]
    total = sum(entry.weight * entry.default_s for entry in timed)
    oracle = sum(entry.weight * (entry.best_s or entry.default_s) for entry in timed)
    slower = [entry for entry in map(_slowdown, comparison.compared) if entry.ours_ms > entry.default_ms]
    return Gain(
        exploration,
        comparison,
        summarize(comparison),
        arm_rows(comparison),
        tuple(entry.query.name for entry in comparison.compared if entry.cut & {"default", "again"}),
        tuple(sorted(slower, key=lambda entry: entry.default_ms - entry.ours_ms)),
        exploration.now_s / exploration.workload_s if exploration.workload_s else None,
        oracle / total if total else None,
        learning_curve(exploration),
        _by_class(losses),
    )


def arm_rows(comparison: Comparison) -> tuple[ArmRow, ...]:
    """Every arm over the default, ours first, then the default again."""
    compared = comparison.compared
    if not compared:
        return ()
    default = [entry.times_ms["default"] for entry in compared]
    rows = []
    for arm in ("ours", *(arm for arm in compared[0].times_ms if arm not in ("ours", "default"))):
        runs = PairedRuns.of([entry.times_ms[arm] for entry in compared], default)
        ratios = summarize_ratios(runs.ratios)
        interval = ratio_of_sums(runs, seed=comparison.settings.seed)
        rows.append(ArmRow(arm, interval, ratios, compared[ratios.worst].query.name))
    return tuple(rows)


def learning_curve(exploration: ExplorationReport) -> tuple[tuple[float, float], ...]:
    """Seconds spent and seconds of the workload after each promotion, from the start to the end."""
    # The explorer counts the queries that are worth exploring; the others' time is the same throughout.
    rest = exploration.now_s - exploration.curve[-1][1] if exploration.curve else 0.0
    steps = [(spent, seconds + rest) for spent, seconds in exploration.curve]
    return (
        (0.0, exploration.workload_s),
        *steps,
        (max(exploration.spent_s, steps[-1][0] if steps else 0.0), exploration.now_s),
    )


def _slowdown(entry: QueryRuns) -> Slowdown:
    own = [*entry.times_ms["default"], *entry.times_ms["again"]]
    return Slowdown(
        entry.query.name,
        float(np.median(entry.times_ms["default"])),
        float(np.median(entry.times_ms["ours"])),
        max(own) - min(own),
    )


def _by_class(losses: Sequence[tuple[str, float, float, float]]) -> tuple[Lost, ...]:
    found: dict[str, Lost] = {}
    for query_class, _, took_s, lost_s in losses:
        known = found.get(query_class, Lost(query_class, 0.0, 0.0))
        found[query_class] = Lost(query_class, known.took_s + took_s, known.lost_s + lost_s)
    return tuple(sorted((entry for entry in found.values() if entry.lost_s > 0), key=lambda e: -e.lost_s))


def figures(gain: Gain) -> dict[str, Any]:
    """The figures beyond the comparison's own, as plain data."""
    return {
        "exploration": gain.exploration.to_dict(),
        "arms": [{**vars(row), "ratio": vars(row.ratio), "ratios": vars(row.ratios)} for row in gain.arms],
        "cut": list(gain.cut),
        "slower": [{**vars(entry), "beyond": entry.beyond} for entry in gain.slower],
        "lost_s": gain.lost_s,
        "proved_ratio": gain.proved_ratio,
        "oracle_ratio": gain.oracle_ratio,
        "oracle_gap": gain.oracle_gap,
        "curve": [list(point) for point in gain.curve],
        "ledger": [vars(entry) for entry in gain.ledger],
    }
