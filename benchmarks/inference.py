"""What a prediction costs, and whether it is scikit-learn's: a kernel, onnxruntime, scikit-learn, a cache.

Run as ``python -m benchmarks.inference``; it needs the extra ``train``. A latency model of the size that
``godb-fast train`` makes is fitted to drawn rows, exported, and served in every way. Each call gets other
rows: repeating the same ones flatters trees.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Options, Report, interleave, main, percentiles, ratio
from godb_fast import backend as backends
from godb_fast.learning.features import FEATURES, PIPELINES_VERSION
from godb_fast.learning.models import Card, Model, ModelFile, PredictionCache
from godb_fast.learning.models.folder import sha256
from godb_fast.learning.models.onnx_server import open_session

Floats = NDArray[np.float64]

COLUMNS = len(FEATURES)
BATCHES = (1, 4, 16, 64)
#: Of a decision by default.
CANDIDATES = 8
#: The decision between K = 8 to 16 candidates.
BATCH = 16
PARITY_ROWS = 10_000
#: Plain Python takes a millisecond a row: a quick run checks fewer.
QUICK_ROWS = 300
#: Per turn; of scikit-learn, which takes a hundred times as long, fewer.
CALLS = 50
SLOW_CALLS = 5


def run(options: Options, report: Report) -> None:
    """Microseconds per call by batch size, times faster than scikit-learn, parity, and a cache hit."""
    if importlib.util.find_spec("sklearn") is None or importlib.util.find_spec("skl2onnx") is None:
        report.note("nothing is measured: it needs scikit-learn and skl2onnx, pip install 'godb_fast[train]'")
        return
    rows = drawn(options.seed, PARITY_ROWS)
    estimator, file = model(options.seed)
    names = [name for name in backends.BACKENDS if backends.why_unavailable(name) is None]
    native = {name: Model(file, server="native", backend=name) for name in names}
    onnx = Model(file, server="onnxruntime")
    report.note(
        f"the model: {estimator.n_estimators_} trees of depth {estimator.max_depth}, {COLUMNS} columns, "
        f"{file.card.size_bytes:,} bytes of ONNX; rows are drawn, and other ones in each call"
    )
    report.note(f"{names[0]} is the backend that serves; raw onnxruntime: one row copied in, IOBinding")
    _speed(options, report, rows, estimator, file, native[names[0]], onnx)
    _parity(options, report, rows, estimator, {**native, "onnxruntime": onnx})
    _cache(options, report)


def drawn(seed: int, count: int) -> Floats:
    """Rows within the ranges of the features: counts, logarithms, shares and flags."""
    source = np.random.default_rng(seed)
    rows = np.empty((count, COLUMNS))
    for column, feature in enumerate(FEATURES):
        if feature.unit.startswith("ln"):
            low = -8.0 if feature.least < 0 else 0.0
            rows[:, column] = source.uniform(low, 25.0 if feature.most > 0 else 0.0, count)
        elif feature.most > 1:
            rows[:, column] = source.geometric(0.25, count) - 1 + feature.least
        elif feature.unit == "flag":
            rows[:, column] = source.integers(0, 2, count)
        else:
            rows[:, column] = source.uniform(feature.least, feature.most, count)
    # A model's input is float32; scikit-learn rounds thresholds between them, so do we.
    rounded: Floats = rows.astype(np.float32).astype(np.float64)
    return rounded


def model(seed: int) -> tuple[Any, ModelFile]:
    """A fitted estimator and its exported file: -ln(seconds per row), as of a pipeline."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import GradientBoostingRegressor

    rows = drawn(seed + 1, 4000)
    source = np.random.default_rng(seed + 2)
    weights = source.normal(size=COLUMNS) / (rows.std(axis=0) + 1e-9)
    sums = rows @ weights
    target = 15.0 + 2.0 * np.tanh((sums - sums.mean()) / sums.std()) + source.normal(0, 0.1, len(rows))
    estimator = GradientBoostingRegressor(
        n_estimators=200, max_depth=5, subsample=0.5, max_features=0.3, random_state=seed
    )
    estimator.fit(rows, target)
    data = to_onnx(
        estimator, initial_types=[("features", FloatTensorType([None, COLUMNS]))], target_opset=17
    ).SerializeToString()
    card = Card(
        name="benchmark-latency",
        version=1,
        kind="latency",
        engine="benchmark",
        features_version=PIPELINES_VERSION,
        columns=tuple(feature.name for feature in FEATURES),
        input="features",
        output="variable",
        sha256=sha256(data),
        size_bytes=len(data),
    )
    return estimator, ModelFile.of(card, data)


def _speed(
    options: Options,
    report: Report,
    rows: Floats,
    estimator: Any,
    file: ModelFile,
    native: Model,
    onnx: Model,
) -> None:
    rounds = 30 if options.quick else 60
    for batch in BATCHES:
        pieces = [
            np.ascontiguousarray(rows[first : first + batch])
            for first in range(0, len(rows) - batch + 1, batch)
        ]
        out = np.zeros(batch)

        def served(by: Model, pieces: list[Floats] = pieces, out: Floats = out) -> Callable[[int], object]:
            return lambda number: by.predict(pieces[number % len(pieces)], out)

        def fitted(number: int, pieces: list[Floats] = pieces) -> object:
            return estimator.predict(pieces[number % len(pieces)])

        raw = _raw(file, pieces)
        arms = {"native": served(native), "raw onnxruntime": raw, "onnxruntime": served(onnx), "A/A": raw}
        calls = {name: _times(CALLS, call) for name, call in arms.items()}
        calls["scikit-learn"] = _times(SLOW_CALLS, fitted)
        taken = interleave(calls, rounds, warm=2, seed=options.seed)
        for name, seconds in taken.items():
            seconds /= SLOW_CALLS if name == "scikit-learn" else CALLS
        for name, seconds in taken.items():
            report.row(
                "microseconds per call",
                rows=batch,
                server=name,
                fastest=float(seconds.min()) * 1e6,
                median=percentiles(seconds, 50)[0] * 1e6,
                of_raw_onnxruntime=ratio(seconds, taken["raw onnxruntime"]),
            )
        if batch == 1:
            report.floor("µs of a single prediction", float(taken["native"].min()) * 1e6, 12.0)
            report.floor(
                "single prediction, times raw onnxruntime",
                ratio(taken["native"], taken["raw onnxruntime"]),
                1.5,
            )
            report.floor(
                "the same served by onnxruntime, times raw onnxruntime",
                ratio(taken["onnxruntime"], taken["raw onnxruntime"]),
                1.5,
            )
            report.floor(
                "times faster than scikit-learn, one row",
                ratio(taken["scikit-learn"], taken["native"]),
                100.0,
                at_least=True,
            )
        if batch == BATCH:
            report.floor(
                f"native, share of onnxruntime's time, {BATCH} rows",
                ratio(taken["native"], taken["raw onnxruntime"]),
                1 / 3,
            )


def _times(count: int, call: Callable[[int], object]) -> Callable[[int], None]:
    """So many calls, each of another input."""

    def several(number: int) -> None:
        for each in range(number * count, (number + 1) * count):
            call(each)

    return several


def _raw(file: ModelFile, pieces: list[Floats]) -> Callable[[int], object]:
    """Nothing but onnxruntime: rows, float64 as features are, are copied where its input is bound."""
    session = open_session(file.data, file.card.key)
    inputs = np.zeros(pieces[0].shape, np.float32)
    outputs = np.zeros((len(inputs), 1), np.float32)
    binding = session.io_binding()
    for bind, name, array in (
        (binding.bind_input, file.card.input, inputs),
        (binding.bind_output, file.card.output, outputs),
    ):
        bind(name, "cpu", 0, np.float32, list(array.shape), array.__array_interface__["data"][0])

    def call(number: int) -> object:
        inputs[:] = pieces[number % len(pieces)]
        session.run_with_iobinding(binding)
        return outputs

    return call


def _parity(
    options: Options, report: Report, rows: Floats, estimator: Any, servers: dict[str, Model]
) -> None:
    truth = estimator.predict(rows)
    for name, model in servers.items():
        count = QUICK_ROWS if options.quick and name == "python" else len(rows)
        apart = np.abs(model.predict(rows[:count]) - truth[:count]) / np.abs(truth[:count])
        report.row("parity with scikit-learn", server=name, rows=count, largest_relative=float(apart.max()))
        report.floor(f"largest relative difference from scikit-learn ({name})", float(apart.max()), 1e-5)


def _cache(options: Options, report: Report) -> None:
    """Hits of plans in random order, among few and among all that a process keeps: alone and by decisions."""
    source = np.random.default_rng(options.seed)
    key = "benchmark-latency/1"
    for kept in (1_000, PredictionCache().capacity):
        cache = PredictionCache()
        known = source.integers(1, 2**62, kept).tolist()
        for plan in known:
            cache.put(plan, key, 1.5)
        asked = source.permutation(known).tolist()[:1000]
        decisions = [asked[first : first + CANDIDATES] for first in range(0, len(asked), CANDIDATES)]

        def alone(number: int, asked: list[int] = asked, get: Callable[..., object] = cache.get) -> None:
            for plan in asked:
                get(plan, key)

        def together(
            number: int, decisions: list[list[int]] = decisions, find: Callable[..., object] = cache.find
        ) -> None:
            for plans in decisions:
                find(plans, key)

        calls = {"one plan": alone, f"{CANDIDATES} candidates, per plan": together, "A/A": alone}
        taken = interleave(calls, 20 if options.quick else 60, warm=2, seed=options.seed)
        for name, seconds in taken.items():
            seconds /= len(asked)
            report.row(
                "a prediction that was made before",
                plans=kept,
                asked=name,
                microseconds=float(seconds.min()) * 1e6,
                median=percentiles(seconds, 50)[0] * 1e6,
                hit_rate=cache.hit_rate,
            )
        # As the gate asks.
        hit = float(taken[f"{CANDIDATES} candidates, per plan"].min()) * 1e6
        report.floor(f"µs of a cache hit among {kept:,}", hit, 0.3)


if __name__ == "__main__":
    sys.exit(main("inference", run))
