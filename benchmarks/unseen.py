"""Queries of templates never seen, steered by what SQL says: ``python -m benchmarks.replay --track unseen``.

Each template is left out in turn. A model learns from a sample of the other templates' runtimes under all
arms; of the left-out queries it knows the SQL, not even the default's time. Kernel, bounds and the price of
risk are chosen on the training templates alone, each predicted by a process that had not seen it. Three
seeds draw the samples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import MissingData, Options, Report
from benchmarks.matrices import Matrix
from benchmarks.unseen_texts import terms_of
from godb_fast.evidence import ConformalBounds
from godb_fast.learning.choosing import Choice, Chooser, ChoosingPolicy
from godb_fast.learning.clustering import QueryClusters
from godb_fast.learning.pricing import Calibration, calibrated, ranked_first, safe_price, scores
from godb_fast.learning.support import SupportTest
from godb_fast.learning.terms import QueryTerms
from godb_fast.learning.transfer import Prediction, TransferModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: R that the gated choice must reach, by file name.
FLOORS = {"ceb-matrix": 0.9, "dsb-matrix": 0.97}
#: How many times slower a query may get, and the share of queries that may get slower than that.
BUDGET, SHARE = 1.2, 0.02
#: Bounds shall hold in this share of cases, in each cluster of so many queries between these limits.
LEVEL, OBSERVATIONS, COVERAGE = 0.9, 200, (0.88, 0.92)
#: The most queries of a template that a seed draws for training.
SAMPLE = 250


@dataclass(eq=False)
class Played:
    """What one seed's models chose and promised, per query; NaN where no arm was ranked before the default.

    ``held`` says whether a bound held that had learned from earlier outcomes, ``held_at_once`` whether one
    did that had not.
    """

    gated: Ints
    brave: Ints
    score: Floats
    held: Floats
    held_at_once: Floats
    outside: int = 0
    abstaining: int = 0
    train_s: float = 0.0
    choose_s: float = 0.0

    @classmethod
    def blank(cls, count: int) -> Played:
        """Nothing chosen, nothing promised."""
        none = np.full((3, count), np.nan)
        return cls(np.zeros(count, np.int64), np.zeros(count, np.int64), *none)


def compare(matrix: Matrix, options: Options, report: Report) -> None:
    """Rows and floors of one matrix."""
    if len(set(matrix.templates)) < 3:
        raise MissingData(
            f"{matrix.name}: templates cannot be left out, since its names tell of fewer than 3"
        )
    terms, source = terms_of(matrix, options)
    clusters = QueryClusters()
    named = [clusters.assign(query.structure) for query in terms]
    seeds = range(options.seed, options.seed + (1 if options.quick else 3))
    played = [play(matrix, terms, named, seed, SAMPLE // 3 if options.quick else SAMPLE) for seed in seeds]
    title = f"{matrix.name}: {len(matrix.queries)} queries of templates never seen, SQL only ({source})"
    rows = np.arange(len(matrix.queries))
    for name, arms in (
        ("default", np.zeros(len(rows), np.int64)),
        ("best static arm of the other templates", static_arms(matrix)),
        ("oracle", matrix.seconds.argmin(axis=1)),
    ):
        _row(report, title, name, matrix, [arms], [0.0])
    overheads = [found.choose_s for found in played]
    r, harmed = _row(report, title, "ours, gated", matrix, [found.gated for found in played], overheads)
    _row(report, title, "ours, courage (no gate)", matrix, [found.brave for found in played], overheads)
    report.row(
        "models",
        matrix=matrix.name,
        train_s=float(np.median([found.train_s for found in played])),
        choose_ms=float(np.median(overheads)) * 1e3,
        outside_support=int(np.median([found.outside for found in played])),
        templates_without_a_safe_price=int(np.median([found.abstaining for found in played])),
    )
    if matrix.name in FLOORS:
        report.floor(f"{matrix.name}: R of templates never seen", float(np.median(r)), FLOORS[matrix.name])
    report.floor(f"{matrix.name}: share slower than {BUDGET} ×", float(max(harmed)), SHARE)
    _coverage(matrix, named, played, report)


def play(
    matrix: Matrix, terms: Sequence[QueryTerms], clusters: Sequence[str], seed: int, sample: int
) -> Played:
    """Leave each template out in turn, and choose for its queries."""
    templates = np.array(matrix.templates)
    log_ratio = np.log(matrix.seconds / matrix.default_s[:, None])
    log_default = np.log(matrix.default_s)
    rng = np.random.default_rng(seed)
    drawn = np.zeros(len(templates), np.bool_)
    names = sorted(set(matrix.templates))
    for name in names:
        own = rng.permutation(np.nonzero(templates == name)[0])
        drawn[own[:sample]] = True
    count = len(templates)
    found = Played.blank(count)
    for name in names:
        train, test = np.nonzero(drawn & (templates != name))[0], np.nonzero(templates == name)[0]
        begun = time.process_time()
        gate = _learn([terms[i] for i in train], templates[train].tolist(), [clusters[i] for i in train],
                      log_ratio[train], log_default[train])  # fmt: skip
        found.train_s += time.process_time() - begun
        found.abstaining += gate.chooser.policy.price_ms == math.inf
        begun = time.perf_counter()
        for i in test[:20]:
            gate.choose(terms[i], clusters[i])
        overhead_s = (time.perf_counter() - begun) / len(test[:20])
        found.choose_s += overhead_s * len(test) / count
        prediction = gate.model.predict([terms[i] for i in test])
        found.brave[test] = ranked_first(prediction)
        found.score[test] = scores(prediction, log_ratio[test], found.brave[test])
        for place, i in enumerate(test):
            choice = gate.judge(prediction, place, terms[i], clusters[i])
            found.gated[i] = choice.candidate
            found.outside += choice.support is not None and not choice.support.inside
        _promise(found, calibrated(gate.calibration, LEVEL), test[rng.permutation(len(test))], clusters)
    return found


@dataclass(frozen=True, eq=False)
class Gate:
    """All that was learned from the training templates."""

    model: TransferModel
    calibration: Calibration
    support: SupportTest
    chooser: Chooser

    def choose(self, query: QueryTerms, cluster: str) -> int:
        """An arm for one query, from its terms on."""
        return self.judge(self.model.predict([query]), 0, query, cluster).candidate

    def judge(self, prediction: Prediction, row: int, query: QueryTerms, cluster: str) -> Choice:
        """The choice for one row of a prediction."""
        return self.chooser.choose(
            prediction.mean[row],
            prediction.scale[row],
            float(np.exp(prediction.log_default[row])) * 1e3,
            support=self.support.verdict(query.structure),
            cluster=cluster,
        )


def _learn(
    queries: Sequence[QueryTerms],
    templates: Sequence[str],
    clusters: Sequence[str],
    log_ratio: Floats,
    log_default: Floats,
) -> Gate:
    model = TransferModel.fit(queries, templates, log_ratio, log_default)
    labels = [repr((sorted(query.structure.items()), sorted(query.values.items()))) for query in queries]
    calibration = Calibration(model.held_out, log_ratio, templates, clusters, labels)
    price_s = safe_price(calibration, BUDGET, SHARE)
    support = SupportTest.of([query.structure for query in queries], templates)
    chooser = Chooser(calibrated(calibration, LEVEL), ChoosingPolicy(BUDGET, price_s * 1e3))
    return Gate(model, calibration, support, chooser)


def _promise(found: Played, bounds: ConformalBounds, order: Ints, clusters: Sequence[str]) -> None:
    """Bounds before each query, its outcome after it: with and without learning from the outcomes."""
    at_once = {cluster: bounds.scope(None, cluster)[1].quantile for cluster in {clusters[i] for i in order}}
    for i in order:
        score = float(found.score[i])
        if np.isnan(score):
            continue
        found.held_at_once[i] = score <= at_once[clusters[i]]
        found.held[i] = bounds.observe(score, cluster=clusters[i])


def static_arms(matrix: Matrix) -> Ints:
    """For each query the arm that was fastest over all queries of the other templates."""
    templates = np.array(matrix.templates)
    arms = np.zeros(len(templates), np.int64)
    for name in set(matrix.templates):
        own = templates == name
        arms[own] = matrix.seconds[~own].sum(axis=0).argmin()
    return arms


def _row(
    report: Report, title: str, name: str, matrix: Matrix, chosen: Sequence[Ints], overhead_s: Sequence[float]
) -> tuple[list[float], list[float]]:
    rows = np.arange(len(matrix.queries))
    r, geometric, harmed, twice, worst, steered = [], [], [], [], [], []
    for arms, overhead in zip(chosen, overhead_s, strict=True):
        ratio = matrix.seconds[rows, arms] / matrix.default_s
        total = float(matrix.seconds[rows, arms].sum()) + overhead * len(rows)
        r.append(total / float(matrix.default_s.sum()))
        geometric.append(float(np.exp(np.log(ratio).mean())))
        harmed.append(float((ratio > BUDGET).mean()))
        twice.append(float((ratio > 2.0).mean()))
        worst.append(float(ratio.max()))
        steered.append(float((arms > 0).mean()))
    report.row(
        title,
        choice=name,
        R=float(np.median(r)),
        spread=f"{min(r):.3f}-{max(r):.3f}" if len(r) > 1 else "",
        geometric_mean=float(np.median(geometric)),
        slower_1_2=f"{float(np.median(harmed)):.1%}",
        slower_1_2_most=f"{max(harmed):.1%}",
        slower_2=f"{float(np.median(twice)):.1%}",
        worst=max(worst),
        steered=f"{float(np.median(steered)):.1%}",
    )
    return r, harmed


def _coverage(matrix: Matrix, clusters: Sequence[str], played: Sequence[Played], report: Report) -> None:
    title = f"{matrix.name}: coverage of the {LEVEL:.0%} bound on the arm ranked first"
    labels = np.array(clusters)
    for name in dict.fromkeys(clusters):
        own = labels == name
        observed = [int((~np.isnan(found.held[own])).sum()) for found in played]
        if min(observed) == 0:
            continue
        learning = float(np.mean([np.nanmean(found.held[own]) for found in played]))
        report.row(
            title,
            cluster=name,
            templates=" ".join(sorted({matrix.templates[i] for i in np.nonzero(own)[0]})),
            queries=int(own.sum()),
            observed=int(np.median(observed)),
            before_any_outcome=float(np.mean([np.nanmean(found.held_at_once[own]) for found in played])),
            learning_from_outcomes=learning,
        )
        if min(observed) >= OBSERVATIONS:
            report.floor(f"{matrix.name}, {name}: least coverage", learning, COVERAGE[0], at_least=True)
            report.floor(f"{matrix.name}, {name}: most coverage", learning, COVERAGE[1])
