"""What a comparison shows, in numbers."""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from godb_fast.evidence import (
    Interval,
    PairedRuns,
    RatioSummary,
    Verdict,
    judge,
    percentile,
    ratio_of_sums,
    summarize_ratios,
)
from godb_fast.report.comparison import Comparison, QueryRuns

_IN_BRACKETS: Final = re.compile(r"\s*\([^()]*\d[^()]*\)")
_FIGURE: Final = re.compile(r"(?<!block )\b\d+(?:[.,]\d+)*")
#: Version of the JSON that :func:`to_dict` gives.
FORMAT: Final = 1


@dataclass(frozen=True)
class TemplateRow:
    """All queries of one template; times are sums of medians."""

    template: str
    queries: int
    steered: int
    default_ms: float
    ours_ms: float
    ratio: float
    worst_ratio: float


@dataclass(frozen=True, eq=False)
class Summary:
    """The figures of a comparison; ``ratio`` and what depends on it are None if nothing was measured.

    Parameters
    ----------
    ratio, same : Interval or None
        R of ours over the engine's default, and the default again over itself (A/A).
    ratios, same_ratios : RatioSummary or None
        The same query by query.
    steered_ratio : Interval or None
        R over the steered queries alone.
    cached_ratio : float or None
        R if every decision had come from memory: our planning time taken off.
    one_pass_ratio : float or None
        R of a first pass over all queries: first sights and discarded first runs charged in full.
    """

    queries: int
    compared: int
    steered: int
    fell_back: int
    censored: int
    failed: int
    left_alone: int
    different: int
    unstable: int
    obeyed: int
    disobeyed: int
    unverified: int
    ratio: Interval | None
    same: Interval | None
    steered_ratio: Interval | None
    cached_ratio: float | None
    one_pass_ratio: float | None
    ratios: RatioSummary | None
    same_ratios: RatioSummary | None
    verdict: Verdict
    default_ms: float
    ours_ms: float
    latency_ms: dict[str, dict[str, float]]
    planning_us: dict[str, float]
    first_sight_ms: float
    wasted_ms: float
    templates: tuple[TemplateRow, ...]
    reasons: tuple[tuple[str, int], ...]
    worst: str | None
    best: str | None


def summarize(comparison: Comparison) -> Summary:
    """The figures of a comparison."""
    compared = comparison.compared
    steered = [entry for entry in compared if entry.steered]
    ratio = same = steered_ratio = cached = one_pass = ratios = same_ratios = None
    verdict = Verdict.INCONCLUSIVE
    default_ms = ours_ms = 0.0
    latency: dict[str, dict[str, float]] = {}
    worst = best = None
    seed = comparison.settings.seed
    first_sight = sum(entry.first_sight_ms for entry in compared)
    wasted = sum(entry.wasted_ms for entry in compared)
    if compared:
        runs = _paired(compared, "ours")
        ratio = ratio_of_sums(runs, seed=seed)
        again = _paired(compared, "again")
        same, same_ratios = ratio_of_sums(again, seed=seed), summarize_ratios(again.ratios)
        ours, default = runs.medians
        default_ms, ours_ms = float(default.sum()), float(ours.sum())
        cached = (ours_ms - sum(map(_median_planning_ms, compared))) / default_ms
        one_pass = (ours_ms + first_sight + wasted) / default_ms
        ratios = summarize_ratios(runs.ratios)
        worst = compared[ratios.worst].query.name
        best = compared[int(np.argmin(runs.ratios))].query.name
        verdict = judge(ratio, same)
        latency = {
            name: {f"p{share}": percentile(values, share / 100) for share in (50, 95, 99)}
            for name, values in (("default", default), ("ours", ours))
        }
    if steered:
        steered_ratio = ratio_of_sums(_paired(steered, "ours"), seed=seed)
    elif compared and verdict is not Verdict.WORSE:
        # Where no plan was changed, a ratio below 1 is noise whatever its interval.
        verdict = Verdict.NO_GAIN
    planning = [value for entry in compared for value in entry.planning_us]
    return Summary(
        queries=len(comparison.queries),
        compared=len(compared),
        steered=len(steered),
        fell_back=sum(bool(entry.fallbacks) for entry in compared),
        censored=sum(entry.outcome == "censored" for entry in comparison.queries),
        failed=sum(entry.outcome == "failed" for entry in comparison.queries),
        left_alone=sum(entry.outcome == "left alone" for entry in comparison.queries),
        different=sum(entry.difference is not None for entry in comparison.queries),
        unstable=sum(entry.unstable for entry in comparison.queries),
        obeyed=sum(entry.obeyed is True for entry in steered),
        disobeyed=sum(entry.obeyed is False for entry in compared),
        unverified=sum(entry.obeyed is None for entry in steered),
        ratio=ratio,
        same=same,
        steered_ratio=steered_ratio,
        cached_ratio=cached,
        one_pass_ratio=one_pass,
        ratios=ratios,
        same_ratios=same_ratios,
        verdict=verdict,
        default_ms=default_ms,
        ours_ms=ours_ms,
        latency_ms=latency,
        planning_us={f"p{share}": percentile(planning, share / 100) for share in (50, 95, 99)}
        if planning
        else {},
        first_sight_ms=first_sight,
        wasted_ms=wasted,
        templates=_templates(compared),
        reasons=_reasons(comparison),
        worst=worst,
        best=best,
    )


def _median_planning_ms(entry: QueryRuns) -> float:
    return float(np.median(entry.planning_us)) / 1e3 if entry.planning_us else 0.0


def _paired(entries: list[QueryRuns], arm: str) -> PairedRuns:
    return PairedRuns.of(
        [entry.times_ms[arm] for entry in entries], [entry.times_ms["default"] for entry in entries]
    )


def _templates(compared: list[QueryRuns]) -> tuple[TemplateRow, ...]:
    groups: dict[str, list[QueryRuns]] = {}
    for entry in compared:
        groups.setdefault(entry.query.template or entry.query.name, []).append(entry)
    rows = []
    for name, entries in groups.items():
        ours, default = _paired(entries, "ours").medians
        rows.append(
            TemplateRow(
                template=name,
                queries=len(entries),
                steered=sum(entry.steered for entry in entries),
                default_ms=float(default.sum()),
                ours_ms=float(ours.sum()),
                ratio=float(ours.sum() / default.sum()),
                worst_ratio=float((ours / default).max()),
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.default_ms))


def _reasons(comparison: Comparison) -> tuple[tuple[str, int], ...]:
    """Why queries were not steered, most frequent first; figures do not tell reasons apart."""
    groups: dict[str, Counter[str]] = {}
    for entry in comparison.queries:
        if not entry.steered and entry.outcome == "compared":
            reason = _IN_BRACKETS.sub("", entry.reason)
            groups.setdefault(_FIGURE.sub("…", reason), Counter())[reason] += 1
    counted = Counter(
        {next(iter(group)) if len(group) == 1 else key: group.total() for key, group in groups.items()}
    )
    return tuple(counted.most_common())


def to_dict(comparison: Comparison, summary: Summary, **more: Any) -> dict[str, Any]:
    """Everything, as plain data for JSON."""
    figures = asdict(summary)
    figures["verdict"] = summary.verdict.value
    figures["templates"] = [asdict(row) for row in summary.templates]
    figures["reasons"] = [{"reason": reason, "queries": count} for reason, count in summary.reasons]
    return {
        "format": FORMAT,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
        },
        "engine": {"name": comparison.engine, "version": comparison.engine_version},
        "settings": asdict(comparison.settings),
        "interrupted": comparison.interrupted,
        "seconds": comparison.seconds,
        **more,
        "summary": figures,
        "queries": [_query(entry) for entry in comparison.queries],
    }


def _query(entry: QueryRuns) -> dict[str, Any]:
    decision = entry.decision
    return {
        "name": entry.query.name,
        "template": entry.query.template,
        "sql": entry.query.sql,
        "outcome": entry.outcome,
        "problem": entry.problem,
        "times_ms": entry.times_ms,
        "planning_us": entry.planning_us,
        "first_sight_ms": entry.first_sight_ms,
        "wasted_ms": entry.wasted_ms,
        "steered": entry.steered,
        "obeyed": entry.obeyed,
        "fallbacks": entry.fallbacks,
        "reason": entry.reason,
        "rows": entry.rows,
        "difference": entry.difference,
        "unstable": entry.unstable,
        "censored_ours_ms": entry.censored_ours_ms,
        "decision": decision.to_dict() if decision is not None else None,
    }
