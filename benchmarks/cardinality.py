"""What cardinality feedback gains, on published true cardinalities: q-errors, and how dear chosen plans are.

Run as ``python -m benchmarks.cardinality``. A query is "executed" by the plan that the exact search finds
under the estimates of that moment (cost: C_out); it reveals the true rows of the sub-plans that this plan
joins, and nothing else. A plan is judged by its C_out under the truth ÷ the optimum's. Sub-plans without a
genuine truth (the publication's runs timed out) are offered to no search.

Three tracks, three seeds each: queries that were executed before (*repeated*), *new parameters* of templates
of which the other half was executed, and *unseen templates*, each left out in turn. ``none`` are the
estimates as published: PostgreSQL's for Stack, the textbook's for CEB. With the truth, all ratios are 1.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.common import MissingData, Options, Report, main, percentiles
from benchmarks.subplans import Floats, Published, ceb, stack
from godb_fast.feedback.corrections import Corrections

SEEDS = 3
#: Queries per template of CEB: it has many templates, and the floors are Stack's.
CEB_QUERIES = 60


@dataclass
class Judged:
    """A query with what judging it needs."""

    published: Published
    rows: Floats
    optimum: float
    default: tuple[int, ...]
    default_ratio: float


@dataclass
class Outcome:
    """Figures of a list of queries."""

    ratios: list[float] = field(default_factory=list)
    errors: list[Floats] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Count another list's queries too."""
        self.ratios += other.ratios
        self.errors += other.errors


def judged(published: Published) -> Judged:
    """The optimum, and the plan under the published estimates."""
    planner = published.planner
    rows = np.where(np.isnan(published.true), np.inf, np.maximum(published.true, 1.0))
    optimum = float(planner.recost([planner.search(rows)[0]], rows)[0, 0])
    found = Judged(published, rows, optimum, (), 1.0)
    found.default_ratio, found.default = execute(found, published.log_estimates)
    return found


def execute(query: Judged, log_rows: Floats) -> tuple[float, tuple[int, ...]]:
    """C_out of the plan chosen under these estimates ÷ the optimum, and the sub-plans that it joins."""
    planner = query.published.planner
    known = np.isfinite(query.rows)
    nodes = planner.search(np.where(known, np.exp(log_rows), np.inf))[0]
    cost = float(planner.recost([nodes], query.rows)[0, 0])
    return cost / query.optimum, tuple(nodes["relations"].tolist())


def learn(corrections: Corrections, queries: Sequence[Judged]) -> list[float]:
    """One pass: choose, execute, reveal; the ratios met on the way."""
    ratios = []
    for query in queries:
        published = query.published
        corrected = corrections.correct(published.query, published.log_estimates, query.default)
        ratio, masks = execute(query, corrected.guarded)
        ratios.append(ratio)
        position = {mask: at for at, mask in enumerate(published.planner.sets.tolist())}
        true = [published.true[position[mask]] for mask in masks]
        corrections.observe(published.query, published.log_estimates, masks, true)
    return ratios


def outcome(queries: Sequence[Judged], corrections: Corrections | None) -> Outcome:
    """Figures of queries under corrected estimates, or under the published ones."""
    found = Outcome()
    for query in queries:
        published = query.published
        log_rows = published.log_estimates
        if corrections is None:
            found.ratios.append(query.default_ratio)
        else:
            corrected = corrections.correct(published.query, log_rows, query.default)
            found.ratios.append(execute(query, corrected.guarded)[0])
            log_rows = corrected.log_rows
        sets = published.planner.sets
        judge = ~np.isnan(published.true) & (sets & (sets - 1) != 0)
        errors = np.abs(log_rows[judge] - np.log(np.maximum(published.true[judge], 1.0)))
        found.errors.append(np.exp(errors))
    return found


def halves(queries: Sequence[Judged], seed: int) -> dict[str, tuple[list[Judged], list[Judged]]]:
    """Two random halves of each template: executed, and kept aside."""
    source = random.Random(seed)
    by_template: dict[str, list[Judged]] = {}
    for query in queries:
        by_template.setdefault(query.published.template, []).append(query)
    parts = {}
    for template, entries in sorted(by_template.items()):
        entries = source.sample(entries, len(entries))
        parts[template] = (entries[: len(entries) // 2], entries[len(entries) // 2 :])
    return parts


def _data_set(report: Report, name: str, queries: list[Judged], options: Options, *, floors: bool) -> None:
    totals: dict[tuple[str, str], Outcome] = {}

    def count(track: str, feedback: str, found: Outcome) -> None:
        totals.setdefault((track, feedback), Outcome()).add(found)

    passes = 1 if options.quick else 5
    for seed in range(options.seed, options.seed + (1 if options.quick else SEEDS)):
        parts = halves(queries, seed)
        source = random.Random(seed)
        executed = [query for train, _ in parts.values() for query in train]
        aside = [query for _, test in parts.values() for query in test]
        count("repeated", "none", outcome(executed, None))
        count("new parameters", "none", outcome(aside, None))
        corrections = Corrections()
        for number in range(1, passes + 1):
            ratios = learn(corrections, source.sample(executed, len(executed)))
            if number == 1:
                count("repeated", "during the first pass", Outcome(ratios, []))
            if number in (1, 5):
                label = "one pass" if number == 1 else "five passes"
                count("repeated", label, outcome(executed, corrections))
                count("new parameters", label, outcome(aside, corrections))
        for template, (_, test) in parts.items():
            corrections = Corrections()
            others = [query for other, (train, _) in parts.items() if other != template for query in train]
            learn(corrections, source.sample(others, len(others)))
            before, after = outcome(test, None), outcome(test, corrections)
            count("unseen templates", "none", before)
            count("unseen templates", "one pass", after)
            if floors:
                report.row(
                    f"{name}: each template left out, C_out of chosen plans ÷ optimum",
                    template=template,
                    seed=seed,
                    **_points("none", before.ratios),
                    **_points("one pass", after.ratios),
                )
    for (track, feedback), found in totals.items():
        errors = np.concatenate(found.errors) if found.errors else np.zeros(0)
        report.row(
            f"{name}: q-error of all sub-plans, and C_out of chosen plans ÷ optimum",
            track=track,
            feedback=feedback,
            queries=len(found.ratios),
            **_points("q-error", errors if len(errors) else None),
            **_points("C_out", found.ratios),
        )
    if not floors:
        return
    new = percentiles(totals["new parameters", "one pass"].ratios, 50, 90, 99)
    unseen = percentiles(totals["unseen templates", "one pass"].ratios, 50, 90, 99)
    plain = percentiles(totals["unseen templates", "none"].ratios, 50, 90, 99)
    for point, value, floor in zip((50, 90, 99), new, (1.01, 2.0, 10.0), strict=True):
        report.floor(f"new parameters after one pass, p{point}", value, floor)
    for point, value, floor in zip((50, 90, 99), unseen, plain, strict=True):
        report.floor(f"unseen templates against PostgreSQL's estimates, p{point}", value, floor)


def _points(name: str, values: Sequence[float] | Floats | None) -> dict[str, float | None]:
    if values is None:
        return {f"{name} p{point}": None for point in (50, 90, 99)}
    found = percentiles(values, 50, 90, 99)
    return {f"{name} p{point}": value for point, value in zip((50, 90, 99), found, strict=True)}


def _speed(report: Report, name: str, queries: Sequence[Judged]) -> None:
    """What a correction takes, of queries with at least ten relations if there are any."""
    size = min(10, max(query.published.planner.graph.size for query in queries))
    chosen = [query for query in queries if query.published.planner.graph.size == size][:64]
    corrections = Corrections()
    learn(corrections, chosen[: len(chosen) // 2])
    for label, entries in (("known", chosen[: len(chosen) // 2]), ("new", chosen[len(chosen) // 2 :])):
        taken = []
        for query in entries:
            published = query.published
            best = np.inf
            for _ in range(5):
                begin = time.perf_counter_ns()
                corrections.correct(published.query, published.log_estimates, query.default)
                best = min(best, time.perf_counter_ns() - begin)
                if label == "new":
                    # The second time, it is known.
                    break
            taken.append(best / 1e3)
        if taken:
            report.row(
                f"{name}: microseconds of a correction",
                relations=size,
                parameters=label,
                queries=len(taken),
                subplans=max(len(query.published.planner.sets) for query in entries),
                median=float(np.median(taken)),
                worst=max(taken),
            )
            if label == "known" and size == 10:
                report.floor("microseconds for a known query of 10 relations, median", np.median(taken), 20.0)


def run(options: Options, report: Report) -> None:
    """Cardinality feedback on published true cardinalities: q-errors, and C_out of the plans chosen."""
    try:
        entries = stack(options)
        if options.quick:
            entries = _sample(entries, 0.2, options.seed)
        queries = [judged(entry) for entry in entries]
        _data_set(report, "Stack", queries, options, floors=True)
        _speed(report, "Stack", queries)
    except MissingData as missing:
        report.note(f"Stack left out: {missing}")
    try:
        entries = ceb(options)
        per_template = 20 if options.quick else CEB_QUERIES
        queries = [judged(entry) for entry in _at_most(entries, per_template, options.seed)]
        queries = [query for query in queries if np.isfinite(query.optimum)]
        _data_set(report, "CEB", queries, options, floors=False)
        _speed(report, "CEB", queries)
        report.note(f"CEB: at most {per_template} queries of each template.")
    except MissingData as missing:
        report.note(f"CEB left out: {missing}")


def _sample(entries: list[Published], share: float, seed: int) -> list[Published]:
    return random.Random(seed).sample(entries, int(len(entries) * share))


def _at_most(entries: Sequence[Published], most: int, seed: int) -> list[Published]:
    source = random.Random(seed)
    by_template: dict[str, list[Published]] = {}
    for entry in entries:
        by_template.setdefault(entry.template, []).append(entry)
    return [
        entry
        for _, group in sorted(by_template.items())
        for entry in source.sample(group, min(most, len(group)))
    ]


if __name__ == "__main__":
    sys.exit(main("cardinality", run))
