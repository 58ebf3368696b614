"""How long training takes, and what it brings: 10,000 executions on this machine, reading them included.

Run as ``python -m benchmarks.training``; it needs the extra ``train``. The executions are drawn
(``benchmarks.executions``): figures of accuracy say that the law was learned, not how good models of real
engines are.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

from benchmarks.common import Options, Report, main
from benchmarks.executions import fill
from godb_fast.learning.training import train
from godb_fast.store import SqliteStore

EXECUTIONS = 10_000
QUICK = 1_500
#: The mission allows 30 minutes.
LIMIT_S = 60.0


def run(options: Options, report: Report) -> None:
    """Seconds of reading, training and exporting all models, per 10,000 executions."""
    if importlib.util.find_spec("sklearn") is None or importlib.util.find_spec("skl2onnx") is None:
        report.note("nothing is measured: it needs scikit-learn and skl2onnx, pip install 'godb_fast[train]'")
        return
    count = QUICK if options.quick else EXECUTIONS
    for timed in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            store = SqliteStore(Path(folder) / "store.sqlite", queue_limit=2 * count)
            fill(store, count, seed=options.seed, timed=timed)
            found = train(store, Path(folder) / "models", seed=options.seed)
            store.close()
        what = "timed operators" if timed else "only total times"
        for entry in found.trained:
            for name, value in entry.card.metrics.items():
                report.row(
                    f"{count:,} executions, {what}: held-out templates",
                    model=entry.card.name,
                    metric=name,
                    value=value,
                )
        for name, why in found.skipped.items():
            report.note(f"{what}: {name} was not exported: {why}")
        report.floor(f"seconds for {count:,} executions, {what}", found.seconds, LIMIT_S)
        report.floor(f"models of five exported, {what}", len(found.trained), 5, at_least=True)


if __name__ == "__main__":
    sys.exit(main("training", run))
