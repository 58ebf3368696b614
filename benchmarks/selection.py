"""How near the chosen plan is to the best: held-out templates, judged by medians of repeated runs.

Run ``python -m benchmarks.collecting STORE --repeats 4 --most 40`` first, then
``python -m benchmarks.selection STORE``. Rankers choose for templates that they were trained without, as
``godb-fast train`` judges them; ``--learn STORE`` adds runs to train on, of the same templates or others.

The best of thirty plans by one run each is the luckiest, so that no choice could be near it: each plan's
first run names the best, and all *later* runs, of which medians are taken, judge. Beside that stand the best
by the later medians themselves (lucky, too, but less) and A/A: the engine's own plan against itself.

A query may be held out with its template, or alone. Tables of *other parameters* are of queries whose
template ran with other parameters as well: there, a choice may also rest on one run each of the plans that
are ranked first, of those other parameters, and on later runs that confirm it, as a verified exploration
does. Nothing of the judged query is read for that.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.common import MissingData, Options, Report
from benchmarks.workloads import live_main
from godb_fast.learning.features import PHYSICAL_VERSION
from godb_fast.learning.physical import PAIR_COLUMNS
from godb_fast.learning.training.gathering import gather, pairs_of
from godb_fast.learning.training.ranking import (
    COST_SHARE,
    COST_SHARES,
    LATENCY_SHARES,
    LEAST_ACTED_S,
    HeldOut,
    Judged,
    held_out_choices,
)
from godb_fast.learning.training.trainers import Watch
from godb_fast.store import PlanRun, SqliteStore

#: The chosen plan takes at most so many times the best one's time, for at least this share of the queries.
NEAR, SHARE = 1.1, 0.9
#: So many plans that are ranked first are run once.
MEASURED = (2, 4, 8)
OWN = ""
#: What is judged where a template is new, and where other parameters of it ran.
GATED, TAUGHT, CONFIRMED = "ensemble, gated", "other parameters' fastest of {} ranked first", ", confirmed"
#: A query, by its database and name.
Name = tuple[str, str]


@dataclass
class Settings:
    """What the command line says beside the common options."""

    store: Path = Path()
    learn: tuple[Path, ...] = ()
    engine: str = "postgresql"


SETTINGS = Settings()


@dataclass(eq=False)
class Repeated:
    """The runs of one query's plans, each plan's in the order of time; a run that was cut is endless."""

    runs: dict[str, list[float]] = field(default_factory=dict)

    def first_s(self, plan: str) -> float:
        """Its first run."""
        return self.runs[plan][0]

    def later_s(self, plan: str, *, again: bool = False) -> float:
        """The median of its later runs; of what was clearly slower there are none, and the first one counts.

        The engine's own plan runs twice in each pass, and ``again`` takes the second ones.
        """
        runs = self.runs[plan]
        if plan == OWN:
            runs = runs[again::2]
        return statistics.median(runs[1:]) if len(runs) > 1 else runs[0]

    @property
    def known(self) -> bool:
        """Whether there is something to choose from, and later runs to judge it by."""
        return len(self.runs) > 1 and len(self.runs.get(OWN, ())) >= 4 and math.isfinite(self.later_s(OWN))

    def fastest(self, *, later: bool) -> str:
        """The plan that was fastest in its first run, or in the later ones."""
        return min(self.runs, key=self.later_s if later else self.first_s)


def run(options: Options, report: Report) -> None:
    """Share of held-out queries whose chosen plan is within a tenth of the best, by choice."""
    settings = SETTINGS
    judged_runs = _read(settings.store, settings.engine)
    runs = judged_runs + [each for path in settings.learn for each in _read(path, settings.engine)]
    report.settings.update(
        store=str(settings.store), learn=list(map(str, settings.learn)), engine=settings.engine
    )
    executed = gather(SqliteStore(settings.store), settings.engine, only="latency").runs
    queries = repeated(judged_runs)
    known = {name: query for name, query in queries.items() if query.known}
    if not known:
        raise MissingData(
            f"{settings.store} holds no repeated runs of {settings.engine}: collect with --repeats"
        )
    names = list(dict.fromkeys((each.database, each.query) for each in runs))
    templates = {(each.database, each.query): each.fingerprint for each in judged_runs}
    siblings = _siblings(known, templates)
    choices: dict[str, list[dict[Name, str]]] = {}
    elsewhere: dict[str, list[dict[Name, str]]] = {}
    for seed in range(1 if options.quick else 3):
        share = COST_SHARES.get(settings.engine, COST_SHARE)
        heard = LATENCY_SHARES.get(settings.engine, 0.0)
        try:
            found = held_out_choices(pairs_of(runs), Watch(), seed, share, executed, heard)
        except ValueError as error:
            raise MissingData(f"{settings.store}: {error}; collect at a larger --scale") from error
        ranked = _ranked(found, names, known)
        for choice, chosen in (*_choices(found, names), *_measured(ranked, known)):
            choices.setdefault(choice, []).append(chosen)
        for choice, chosen in _taught(ranked, known, siblings):
            elsewhere.setdefault(choice, []).append(chosen)
    slow = f"own plan of {LEAST_ACTED_S * 1e3:.0f} ms or more"
    taught = TAUGHT.format(MEASURED[-1]) + CONFIRMED
    for title, least_s, names_of, rows, judged in (
        (slow, LEAST_ACTED_S, known, choices, GATED),
        ("all queries", 0.0, known, choices, GATED),
        (f"other parameters, {slow}", LEAST_ACTED_S, siblings, choices | elsewhere, taught),
        ("other parameters, all queries", 0.0, siblings, choices | elsewhere, taught),
    ):
        part = {name: known[name] for name in names_of if known[name].later_s(OWN) >= least_s}
        if part:
            shares = _table(report, f"{settings.engine}, {title}: {len(part)} queries", part, rows)
            what = f"{title}: {judged}, within a tenth of the best"
            report.floor(what, shares[judged], SHARE, at_least=True)
    report.note(
        "queries with nothing to choose from are not among these; below 10 ms nothing is predicted, and of "
        "queries whose own plan takes less than 50 ms the gate chooses none"
    )


def repeated(runs: Sequence[PlanRun]) -> dict[Name, Repeated]:
    """The runs by query and plan; queries by their database and name."""
    found: dict[Name, Repeated] = {}
    for each in runs:
        query = found.setdefault((each.database, each.query), Repeated())
        query.runs.setdefault(each.steering, []).append(math.inf if each.cut else each.seconds)
    return found


def _read(path: Path, engine: str) -> list[PlanRun]:
    if not path.exists():
        raise MissingData(f"there is no store {path}: python -m benchmarks.collecting {path} --repeats 4")
    store = SqliteStore(path)
    try:
        return sorted(store.trials.runs(PHYSICAL_VERSION, engine, datetime.now(UTC)), key=lambda run: run.at)
    finally:
        store.close()


def _choices(found: HeldOut, names: Sequence[Name]) -> Iterator[tuple[str, dict[Name, str]]]:
    """What each way to choose chooses, by query; queries that are not named keep the engine's own plan."""
    by_cost = Judged.of(found.pairs, found.pairs.vectors[:, PAIR_COLUMNS.index("delta_cost")])
    ranked = Judged.of(found.pairs, found.predicted)
    for name, judged, chosen in (
        ("estimated cost", by_cost, by_cost.preferred),
        ("ensemble", ranked, ranked.preferred),
        (GATED, found.judged, found.acting),
    ):
        yield (
            name,
            {names[judged.pairs.queries[at]]: str(judged.pairs.steerings[at]) for at in chosen[chosen >= 0]},
        )


def _siblings(known: dict[Name, Repeated], templates: dict[Name, int]) -> dict[Name, list[Name]]:
    """By query, the others of its template over the same data; queries without any are left out."""
    together = defaultdict(list)
    for name in known:
        together[name[0], templates[name]].append(name)
    return {
        name: [other for other in group if other != name]
        for group in together.values()
        for name in group
        if len(group) > 1
    }


def _ranked(found: HeldOut, names: Sequence[Name], known: dict[Name, Repeated]) -> dict[Name, list[str]]:
    """Plans of each query, that which is predicted to be fastest first, by models without its template."""
    ranked: dict[Name, list[str]] = {}
    for at in np.argsort(found.predicted, kind="stable"):
        name = names[found.pairs.queries[at]]
        if name in known:
            ranked.setdefault(name, []).append(str(found.pairs.steerings[at]))
    return ranked


def _taught(
    ranked: dict[Name, list[str]], known: dict[Name, Repeated], siblings: dict[Name, list[Name]]
) -> Iterator[tuple[str, dict[Name, str]]]:
    """What the same template's other parameters choose: plans ranked first there, by one run each.

    Confirmed: the later runs there decide between that plan and the engine's own, as an exploration's pairs
    do.
    """
    for most in MEASURED:
        chosen, confirmed = {}, {}
        for name, others in siblings.items():
            # A plan that this query never ran cannot be judged here: it keeps the engine's own.
            told: dict[str, list[Repeated]] = defaultdict(list)
            for other in others:
                for plan in ranked.get(other, [])[:most]:
                    if plan in known[name].runs and math.isfinite(known[other].first_s(OWN)):
                        told[plan].append(known[other])
            best = min(told, key=lambda plan: _gain(told[plan], plan, Repeated.first_s), default=OWN)
            found = told.get(best, [])
            chosen[name] = best if _gain(found, best, Repeated.first_s) < 0.0 else OWN
            confirmed[name] = chosen[name] if _gain(found, best, Repeated.later_s) < 0.0 else OWN
        yield TAUGHT.format(most), chosen
        yield TAUGHT.format(most) + CONFIRMED, confirmed


def _gain(queries: Sequence[Repeated], plan: str, taken: Callable[[Repeated, str], float]) -> float:
    """Mean ln of a plan's time over that of the engine's own; 0 of no queries."""
    if not queries:
        return 0.0
    return statistics.fmean(math.log(taken(each, plan) / taken(each, OWN)) for each in queries)


def _measured(
    ranked: dict[Name, list[str]], known: dict[Name, Repeated]
) -> Iterator[tuple[str, dict[Name, str]]]:
    """What one run each of the plans that are ranked first chooses, beside the engine's own."""
    for most in MEASURED:
        yield (
            f"fastest by one run of {most} ranked first",
            {name: min([OWN, *plans[:most]], key=known[name].first_s) for name, plans in ranked.items()},
        )


def _table(
    report: Report,
    title: str,
    queries: dict[Name, Repeated],
    choices: dict[str, list[dict[Name, str]]],
) -> dict[str, float]:
    """One row for each way to choose; the share that is near the plan that was fastest in its first run."""
    nothing: dict[Name, str] = {}
    rows: dict[str, list[dict[Name, str]]] = {
        "engine's own plan": [nothing],
        **choices,
        "fastest in its first run": [{name: query.fastest(later=False) for name, query in queries.items()}],
        "fastest in the later runs": [{name: query.fastest(later=True) for name, query in queries.items()}],
    }
    shares = {}
    for name, variants in rows.items():
        columns: dict[str, list[float]] = {}
        for chosen in variants:
            for column, value in _figures(queries, chosen).items():
                columns.setdefault(column, []).append(value)
        means = {column: float(np.mean(values)) for column, values in columns.items()}
        shares[name] = means["within_a_tenth"]
        report.row(title, choice=name, **means)
    again = [query.later_s(OWN, again=True) / query.later_s(OWN) for query in queries.values()]
    near = float(np.mean([ratio <= NEAR for ratio in again]))
    total = sum(query.later_s(OWN, again=True) for query in queries.values())
    columns = dict.fromkeys(("of_best_later", "by_one_run"), math.nan)
    ratio = total / sum(query.later_s(OWN) for query in queries.values())
    report.row(
        title, choice="A/A: own plan, beside itself", within_a_tenth=near, **columns, R=ratio, chosen=math.nan
    )
    return shares


def _figures(queries: dict[Name, Repeated], chosen: dict[Name, str]) -> dict[str, float]:
    near, nearest, once, taken, own = [], [], [], 0.0, 0.0
    for name, query in queries.items():
        plan = chosen.get(name, OWN)
        first, later = query.fastest(later=False), query.fastest(later=True)
        near.append(query.later_s(plan) <= NEAR * query.later_s(first))
        nearest.append(query.later_s(plan) <= NEAR * query.later_s(later))
        once.append(query.first_s(plan) <= NEAR * query.first_s(first))
        taken += query.later_s(plan)
        own += query.later_s(OWN)
    return {
        "within_a_tenth": float(np.mean(near)),
        "of_best_later": float(np.mean(nearest)),
        "by_one_run": float(np.mean(once)),
        "R": taken / own,
        "chosen": float(np.mean([name in chosen and chosen[name] != OWN for name in queries])),
    }


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", type=Path, metavar="STORE", help="what benchmarks.collecting --repeats kept")
    parser.add_argument(
        "--learn", type=Path, action="append", default=[], metavar="STORE", help="more to train on"
    )
    parser.add_argument(
        "--engine", choices=("duckdb", "postgresql"), default="postgresql", help="(postgresql)"
    )


def _configure(parsed: argparse.Namespace) -> None:
    global SETTINGS
    SETTINGS = Settings(parsed.store, tuple(parsed.learn), parsed.engine)


if __name__ == "__main__":
    sys.exit(live_main("selection", run, extend=_extend, configure=_configure))
