"""What learning costs from executions brings: predicted time of templates that were left out.

Each statement of TPC-H or TPC-DS runs with a profile (DuckDB) or under EXPLAIN ANALYZE (PostgreSQL), and some
times without. The learned model learns from three quarters of the templates (of both workloads, where both
are measured), and predicts the times of the others: four folds, three seeds. As in a session, each workload
is a class with coefficients of its own, which start from those of all statements (a row shows these alone).

The static model is what planning has before anything was learned: its nanoseconds "as they are". It prices
all operators, also those that the search does not. Two rows give it what feedback alone can tell, one factor
(the median ratio on the workload's other templates), or a factor and a power: what is gained beyond a clock
that runs right is told beside them. The floors are over the static model as it is.

Plans are costed by the engine's estimates, and once more by the rows that were measured, which tells what the
cost model lacks from what the estimates lack.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import loading
from benchmarks.common import MissingData, Options, Report, main
from benchmarks.measured_plans import MeasuredPlan, Measuring, collect, database
from godb_fast.feedback.costs import (
    COST_VIEWS,
    CostPredictor,
    CostSample,
    TableSizes,
    cost_sample,
    operator_accuracy,
    rank_correlation,
    static_coefficients,
)

Floats = NDArray[np.float64]

#: By how much the median q-error must fall, of what it is under the static model.
IMPROVEMENT = 0.40
#: What planning has before any feedback.
STATIC = "static, as it is"
SEEDS = 3
FOLDS = 4
_ENGINES = {"duckdb": "duckdb", "postgres": "postgresql"}
_TITLES = {"estimated": "by estimated rows", "executed": "by measured rows"}


@dataclass
class Settings:
    """What the command line says beside the common options."""

    engines: tuple[str, ...] = ("duckdb", "postgres")
    workloads: tuple[str, ...] = ("tpch", "tpcds")
    scale: float = 0.1
    draws: int = 3
    cap_s: float = 4.0
    cache: Path | None = None


SETTINGS = Settings()


def run(options: Options, report: Report) -> None:
    """Predicted time of left-out templates: cost models that learned from executions, and the static one."""
    report.settings.update(
        {"engines": SETTINGS.engines, "workloads": SETTINGS.workloads, "scale": SETTINGS.scale}
    )
    for engine in SETTINGS.engines:
        measured: dict[str, list[MeasuredPlan]] = {}
        for workload in SETTINGS.workloads:
            try:
                measured[workload] = _measured(engine, workload, options, report)
            except MissingData as missing:
                report.note(f"{workload} on {engine} left out: {missing}")
        if measured:
            _judge(report, engine, measured, options)


def _measured(engine: str, workload: str, options: Options, report: Report) -> list[MeasuredPlan]:
    scale = min(SETTINGS.scale, 0.05) if options.quick else SETTINGS.scale
    dataset = loading.generate(workload, scale, loading.cache_folder(SETTINGS.cache))
    wanted = Measuring(engine, workload, scale, 2 if options.quick else SETTINGS.draws, cap_s=SETTINGS.cap_s)
    loading.tell(f"measuring {workload} at scale {scale:g} on {engine}")
    with ExitStack() as stack:
        url, _ = stack.enter_context(database(dataset, engine))
        measured, left_out = collect(url, dataset, wanted, options, loading.tell)
    if left_out:
        named = ", ".join(sorted(left_out))
        report.note(f"{workload} on {engine}: left out, slower than {SETTINGS.cap_s:g} s: {named}")
    return measured


@dataclass
class _Scores:
    """What one model reached on the folds of one seed."""

    predicted: list[float]
    took: list[float]

    @property
    def q_errors(self) -> Floats:
        ratio = np.array(self.predicted) / np.array(self.took)
        return np.maximum(ratio, 1.0 / ratio)


#: Scores by workload and view, then a dictionary by model for each seed.
_Results = dict[tuple[str, str], list[dict[str, _Scores]]]
_Covered = dict[tuple[str, str], list[bool]]


def _judge(
    report: Report, engine: str, measured: Mapping[str, Sequence[MeasuredPlan]], options: Options
) -> None:
    name = _ENGINES[engine]
    results: _Results = {(workload, view): [] for workload in measured for view in COST_VIEWS}
    covered: _Covered = {key: [] for key in results}
    for seed in range(options.seed, options.seed + SEEDS):
        for scores in results.values():
            scores.append({})
        source = np.random.default_rng(seed)
        orders = {
            workload: source.permutation(sorted({entry.template for entry in entries}))
            for workload, entries in measured.items()
        }
        for fold in range(FOLDS):
            held = {workload: set(order[fold::FOLDS].tolist()) for workload, order in orders.items()}
            _fold(name, measured, held, results, covered)
        loading.tell(f"  {engine}: seed {seed} judged")
    for (workload, view), by_seed in results.items():
        _tell(report, f"{workload} on {engine}, {_TITLES[view]}", by_seed, covered[workload, view])
        if view == "estimated":
            _hold(report, f"{workload} on {engine}", by_seed)
    _operators(report, engine, name, measured)


def _fold(
    name: str,
    measured: Mapping[str, Sequence[MeasuredPlan]],
    held: Mapping[str, set[str]],
    results: _Results,
    covered: _Covered,
) -> None:
    split = _split(measured, held)
    predictor = CostPredictor(name)
    predictor.fit([sample for training, _ in split.values() for sample in training])
    own = {workload: CostPredictor(name, prior=predictor) for workload in split}
    for workload, (training, testing) in split.items():
        own[workload].fit(training)
        for view in COST_VIEWS:
            scores = results[workload, view][-1]
            static = (_static(training, view, name), _static(testing, view, name))
            _note(scores, STATIC, static[1], testing)
            _fitted(scores, "static", static, training, testing)
            if name == "postgresql" and view == "estimated":
                costs = tuple(
                    np.array(
                        [
                            e.plan.total_cost
                            for e in measured[workload]
                            if (e.template in held[workload]) is out
                        ]
                    )
                    for out in (False, True)
                )
                _fitted(scores, "PostgreSQL's cost", (costs[0], costs[1]), training, testing)
            times = [predictor.predict_sample(sample, view) for sample in testing]
            _note(scores, "learned, all statements", np.array([time.ms * 1e6 for time in times]), testing)
            times = [own[workload].predict_sample(sample, view) for sample in testing]
            _note(scores, "learned", np.array([time.ms * 1e6 for time in times]), testing)
            covered[workload, view] += [
                time.low_ms * 1e6 <= sample.latency_ns <= time.high_ms * 1e6
                for time, sample in zip(times, testing, strict=True)
            ]


def _fitted(
    scores: dict[str, _Scores],
    model: str,
    predicted: tuple[Floats, Floats],
    training: Sequence[CostSample],
    testing: Sequence[CostSample],
) -> None:
    """A model's predictions, (training, testing), in the time that the training statements took."""
    took = np.log([sample.latency_ns for sample in training])
    seen, unseen = np.log(predicted[0]), np.log(predicted[1])
    _note(scores, f"{model}, one factor", np.exp(unseen + np.median(took - seen)), testing)
    slope, offset = np.polyfit(seen, took, 1)
    _note(scores, f"{model}, factor and power", np.exp(offset + slope * unseen), testing)


def _note(scores: dict[str, _Scores], model: str, predicted: Floats, testing: Sequence[CostSample]) -> None:
    kept = scores.setdefault(model, _Scores([], []))
    kept.predicted.extend(predicted.tolist())
    kept.took.extend(sample.latency_ns for sample in testing)


def _split(
    measured: Mapping[str, Sequence[MeasuredPlan]], held: Mapping[str, set[str]]
) -> dict[str, tuple[list[CostSample], list[CostSample]]]:
    """Samples to learn from, and to predict; sizes of tables are those that the former have shown."""
    split: dict[str, tuple[list[CostSample], list[CostSample]]] = {}
    groups: dict[tuple[str, str], int] = {}
    for workload, entries in measured.items():
        sizes = TableSizes()
        for entry in entries:
            if entry.template not in held[workload]:
                sizes.learn(entry.plan)
        split[workload] = ([], [])
        for entry in entries:
            group = groups.setdefault((workload, entry.template), len(groups))
            sample = cost_sample(entry.plan, entry.latency_ms, sizes, group)
            split[workload][entry.template in held[workload]].append(sample)
    return split


def _static(samples: Sequence[CostSample], view: str, name: str) -> Floats:
    rows = np.array([sample.estimated if view == "estimated" else sample.executed for sample in samples])
    # A plan that the static model takes for free costs a nanosecond.
    return np.maximum(rows @ static_coefficients(name), 1.0)


def _tell(report: Report, title: str, by_seed: Sequence[Mapping[str, _Scores]], covered: list[bool]) -> None:
    static, scaled = _median(by_seed, STATIC), _median(by_seed, "static, one factor")
    for model in by_seed[0]:
        errors = np.concatenate([scores[model].q_errors for scores in by_seed])
        median = _median(by_seed, model)
        report.row(
            title,
            model=model,
            **{
                "q-error p50": median,
                "p90": float(np.percentile(errors, 90)),
                "rank correlation": _rank(by_seed, model),
                "p50 falls by": 1.0 - median / static,
                "of one factor's": 1.0 - median / scaled,
                "in 90 % interval": float(np.mean(covered)) if model == "learned" else None,
            },
        )


def _median(by_seed: Sequence[Mapping[str, _Scores]], model: str) -> float:
    return float(np.mean([np.median(scores[model].q_errors) for scores in by_seed]))


def _rank(by_seed: Sequence[Mapping[str, _Scores]], model: str) -> float:
    return float(
        np.mean([rank_correlation(scores[model].predicted, scores[model].took) for scores in by_seed])
    )


def _hold(report: Report, where: str, by_seed: Sequence[Mapping[str, _Scores]]) -> None:
    report.floor(
        f"{where}: median q-error falls by",
        1.0 - _median(by_seed, "learned") / _median(by_seed, STATIC),
        IMPROVEMENT,
        at_least=True,
    )
    most = 1.0 - 1.0 / _median(by_seed, STATIC)
    report.note(f"{where}: a model that is never wrong would have the median q-error fall by {most:.0%}")
    report.floor(
        f"{where}: rank correlation rises by",
        _rank(by_seed, "learned") - _rank(by_seed, STATIC),
        0.0,
        at_least=True,
    )


def _operators(
    report: Report, engine: str, name: str, measured: Mapping[str, Sequence[MeasuredPlan]]
) -> None:
    held = {
        workload: set(sorted({entry.template for entry in entries})[::FOLDS])
        for workload, entries in measured.items()
    }
    split = _split(measured, held)
    predictor = CostPredictor(name)
    predictor.fit([sample for training, _ in split.values() for sample in training])
    for workload, (_, testing) in split.items():
        before = {entry.operator: entry for entry in operator_accuracy(CostPredictor(name), testing)}
        for entry in operator_accuracy(predictor, testing):
            report.row(
                f"{workload} on {engine}, operators of left-out templates by their measured rows",
                operator=entry.operator,
                operators=entry.count,
                **{
                    "share of time": entry.time_share,
                    "q-error p50": entry.q_error,
                    "static": before[entry.operator].q_error,
                    "rank correlation": entry.rank_correlation,
                    "static ": before[entry.operator].rank_correlation,
                },
            )


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=tuple(_ENGINES), help="one engine alone (both)")
    parser.add_argument("--workload", choices=("tpch", "tpcds"), help="one workload alone (both)")
    parser.add_argument("--scale", type=float, default=0.1, help="of the data (0.1)")
    parser.add_argument("--draws", type=int, default=3, help="draws of literals per template (3)")
    parser.add_argument(
        "--cap", type=float, default=4.0, metavar="S", help="slower statements are left out (4)"
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where generated data are kept")


def _configure(parsed: argparse.Namespace) -> None:
    global SETTINGS
    SETTINGS = Settings(
        engines=(parsed.engine,) if parsed.engine else tuple(_ENGINES),
        workloads=(parsed.workload,) if parsed.workload else ("tpch", "tpcds"),
        scale=parsed.scale,
        draws=parsed.draws,
        cap_s=parsed.cap,
        cache=parsed.cache,
    )


if __name__ == "__main__":
    sys.exit(main("cost_model", run, extend=_extend, configure=_configure))
