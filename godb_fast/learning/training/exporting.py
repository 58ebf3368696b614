"""From an estimator to ONNX that says the same, proved before anything is written."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import ModelRefused
from godb_fast.learning.features import VERSIONS
from godb_fast.learning.models import Card, Model, ModelFile
from godb_fast.learning.models.folder import sha256
from godb_fast.learning.training.ensembles import Ensemble, merged

Floats = NDArray[np.float64]

INPUT: Final = "features"
OPSET: Final = 17
#: Largest relative difference between the estimator and its export.
PARITY: Final = 1e-5
#: Rows on which that is checked.
CHECKED: Final = 2_000


def to_bytes(estimator: Any, columns: int) -> tuple[bytes, str]:
    """A forest of scikit-learn, or several, as ONNX, and the name of the output."""
    ensemble = estimator if isinstance(estimator, Ensemble) else None
    for tree in (
        [each.tree_ for each in estimator.estimators_.ravel()] if ensemble is None else ensemble.trees
    ):
        _round_thresholds(tree)
    model = _converted(estimator if ensemble is None else ensemble.members[0].estimator, columns)
    if ensemble is not None:
        from onnx import helper

        # Of each forest alone, the columns that it reads.
        nodes = [_converted(each.estimator, each.width).graph.node[0] for each in ensemble.members]
        node = model.graph.node[0]
        one = helper.make_node(
            node.op_type, list(node.input), list(node.output), node.name, domain=node.domain,
            **merged(nodes, ensemble.members),
        )  # fmt: skip
        node.CopyFrom(one)
    return model.SerializeToString(), model.graph.output[0].name


def _converted(estimator: Any, columns: int) -> Any:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    return to_onnx(estimator, initial_types=[(INPUT, FloatTensorType([None, columns]))], target_opset=OPSET)


def _round_thresholds(tree: Any) -> None:
    """Thresholds as float32, rounded down: of rows in float32, which trees read, none changes its side."""
    exact = tree.threshold
    rounded = exact.astype(np.float32)
    above = rounded > exact
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    exact[:] = rounded


def export(estimator: Any, rows: Floats, **card: Any) -> ModelFile:
    """The checked file of an estimator.

    Parameters
    ----------
    rows : float64 array, shape (n, F)
        On some of which the export is compared with the estimator.
    **card
        Fields of the card beside those that the file tells.

    Raises
    ------
    ModelRefused
        If the export does not say what the estimator says.
    """
    data, output = to_bytes(estimator, rows.shape[1])
    file = ModelFile.of(
        Card(
            features_version=VERSIONS[card["kind"]],
            input=INPUT,
            output=output,
            sha256=sha256(data),
            size_bytes=len(data),
            packages={name: metadata.version(name) for name in ("scikit-learn", "skl2onnx", "numpy")},
            **card,
        ),
        data,
    )
    sample = rows[:: max(len(rows) // CHECKED, 1)].astype(np.float32).astype(np.float64)
    truth = estimator.predict(sample)
    for server in ("native", "onnxruntime"):
        model = Model(file, server=server)
        apart = np.abs(model.predict(sample) - truth) / np.maximum(np.abs(truth), 1.0)
        if not float(apart.max()) <= PARITY:
            raise ModelRefused(
                f"the export of {file.card.key} differs from scikit-learn by {apart.max():.2g} "
                f"({model.server}), more than {PARITY:g}",
                "server",
            )
    return file
