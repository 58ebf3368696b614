"""Models for the tests: fitted by scikit-learn, or built node by node with the ``onnx`` package."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from godb_fast.learning.features import VERSIONS
from godb_fast.learning.models import Card, ModelFile
from godb_fast.learning.models.folder import sha256


def card_of(data: bytes, width: int, **more: Any) -> Card:
    """A sound card of these bytes."""
    values: dict[str, Any] = {
        "name": "duckdb-latency",
        "version": 1,
        "kind": "latency",
        "engine": "duckdb",
        "features_version": VERSIONS[more.get("kind", "latency")],
        "columns": tuple(f"column_{number}" for number in range(width)),
        "input": "features",
        "output": "variable",
        "sha256": sha256(data),
        "size_bytes": len(data),
    }
    return Card(**(values | more))


def fitted(
    kind: str = "regressor", columns: int = 5, trees: int = 20, seed: int = 0, rows: int = 400
) -> tuple[Any, ModelFile]:
    """An estimator, and what it is exported to."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    source = np.random.default_rng(seed)
    inputs = source.normal(size=(rows, columns)).astype(np.float32).astype(np.float64)
    target = 15.0 + inputs[:, 0] * inputs[:, 1] + np.abs(inputs[:, 2])
    classifier = kind == "classifier"
    make = GradientBoostingClassifier if classifier else GradientBoostingRegressor
    estimator = make(n_estimators=trees, max_depth=4, subsample=0.5, random_state=seed)
    estimator.fit(inputs, target > np.median(target) if classifier else target)
    model = to_onnx(
        estimator,
        initial_types=[("features", FloatTensorType([None, columns]))],
        options={"zipmap": False} if classifier else None,
        target_opset=17,
    )
    data = model.SerializeToString()
    more = {"kind": "ranker", "output": "probabilities"} if classifier else {}
    return estimator, ModelFile.of(card_of(data, columns, **more), data)


def model_of(nodes: list[Any], columns: int, initializers: list[Any] | None = None, **more: Any) -> Any:
    """An ONNX model of these nodes, from ``features`` to ``variable``."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info("variable", TensorProto.FLOAT, [None, 1])],
        initializers or [],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)


def ensemble(trees: list[list[tuple[Any, ...]]], missing_true: bool = False, **more: Any) -> Any:
    """A TreeEnsembleRegressor node.

    Each tree is a list of nodes by number: ``(mode, column, threshold, true, false)`` or ``("LEAF", weight)``.
    """
    values: dict[str, list[Any]] = {
        name: []
        for name in (
            "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_modes", "nodes_values",
            "nodes_truenodeids", "nodes_falsenodeids", "nodes_hitrates", "nodes_missing_value_tracks_true",
            "target_treeids", "target_nodeids", "target_ids", "target_weights",
        )
    }  # fmt: skip
    for tree, nodes in enumerate(trees):
        for number, node in enumerate(nodes):
            leaf = node[0] == "LEAF"
            _, column, threshold, true, false = ("LEAF", 0, 0.0, 0, 0) if leaf else node
            values["nodes_treeids"].append(tree)
            values["nodes_nodeids"].append(number)
            values["nodes_featureids"].append(column)
            values["nodes_modes"].append(node[0])
            values["nodes_values"].append(float(threshold))
            values["nodes_truenodeids"].append(true)
            values["nodes_falsenodeids"].append(false)
            values["nodes_hitrates"].append(1.0)
            values["nodes_missing_value_tracks_true"].append(int(missing_true and not leaf))
            if leaf:
                values["target_treeids"].append(tree)
                values["target_nodeids"].append(number)
                values["target_ids"].append(0)
                values["target_weights"].append(float(node[1]))
    return helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["variable"],
        domain="ai.onnx.ml",
        n_targets=1,
        **(values | more),
    )


def file_of(model: Any, width: int, **more: Any) -> ModelFile:
    """The checked file of an ONNX model that reads rows of a width."""
    data = model.SerializeToString()
    return ModelFile.of(card_of(data, width, **more), data)


__all__ = ["card_of", "ensemble", "file_of", "fitted", "model_of", "onnx"]
