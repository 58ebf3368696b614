"""From what a store holds to model files: latency per pipeline, a ranker, quantiles of the latency.

:mod:`gathering` reads the store and leaves out what teaches nothing, :mod:`splitting` keeps templates apart,
:mod:`trainers` fits scikit-learn's estimators and judges them on templates that they never saw,
:mod:`exporting` makes ONNX of them and proves that it says the same, :mod:`running` does it all, on two
threads, so that an interruption leaves the models before serving. Needs ``pip install 'godb_fast[train]'``;
nothing that serves imports this.
"""

from godb_fast.learning.training.running import Trained, TrainingReport, train

__all__ = ["Trained", "TrainingReport", "train"]
