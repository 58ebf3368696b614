"""Tree ensembles of ONNX, flattened for the kernel ``forest``, and checked to be trees on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast import backend as backends
from godb_fast.errors import ModelRefused
from godb_fast.learning.models.graph import ML, Graph, Node

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Reals = NDArray[np.float32]

#: One node, 16 bytes; the layout is the kernel's (``left`` counts in fours).
NODE: Final = np.dtype([("column", "<i4"), ("left", "<i4"), ("threshold", "<f4"), ("weight", "<f4")])
#: Trees that the kernel walks in step.
STRIDE: Final = 8
_OPERATORS: Final = ("TreeEnsembleRegressor", "TreeEnsembleClassifier")
_MODES: Final = ("BRANCH_LEQ", "BRANCH_LT", "LEAF")
#: Modes that ONNX knows beside those.
_FOREIGN: Final = ("BRANCH_EQ", "BRANCH_GT", "BRANCH_GTE", "BRANCH_NEQ")


class NotNative(Exception):
    """A sound model that the kernel does not know; onnxruntime serves it."""


@dataclass(frozen=True, eq=False)
class Forest:
    """A flattened ensemble.

    Parameters
    ----------
    nodes : NODE array
        Roots, as many headers, then the other nodes; siblings side by side.
    trees : int
        A multiple of :data:`STRIDE`: the last ones may be padding, a single leaf of weight 0.
    columns : int
        Of a row.
    base : float
        What the sum starts from.
    logistic : bool
        The score is the logistic function of the sum.
    missing : float
        What the kernel takes a NaN for: inf goes right, -inf goes left.
    """

    nodes: NDArray[Any]
    trees: int
    columns: int
    base: float
    logistic: bool
    missing: float


def flatten(graph: Graph) -> Forest:
    """Flatten the ensemble of a graph that holds nothing else.

    Raises
    ------
    NotNative
        If the model is sound, but of another kind.
    ModelRefused
        With reason ``malformed``, if what it calls trees are none.
    """
    ensembles = [node for node in graph.nodes if node.operator in _OPERATORS]
    # Before anything else is asked: onnxruntime goes round in some circles for ever.
    trees = [_Trees(node) for node in ensembles]
    others = {node.operator for node in graph.nodes} - {*_OPERATORS, "Identity"}
    if len(ensembles) != 1 or others:
        raise NotNative(f"the kernel knows one tree ensemble, not {', '.join(sorted(others)) or 'several'}")
    node = ensembles[0]
    shape = graph.inputs[0].shape
    columns = shape[1] if len(shape) == 2 else None
    if columns is None or node.domain != ML:
        raise NotNative("the kernel needs a fixed number of columns")
    classifier = node.operator == "TreeEnsembleClassifier"
    leaves = _leaves(node, classifier)
    base = _reals(node, "base_values")
    if len(base) > 1:
        raise NotNative(f"{len(base)} base values")
    transform = node.said("post_transform", "NONE")
    if transform not in ("NONE", "LOGISTIC") or classifier != (transform == "LOGISTIC"):
        raise NotNative(f"{node.operator} with the post transform {transform!r}")
    if (aggregate := node.said("aggregate_function", "SUM")) != "SUM":
        raise NotNative(f"the aggregate {aggregate!r}")
    return _flat(node, trees[0], leaves, columns, float(base[0]) if len(base) else 0.0, classifier)


def _leaves(node: Node, classifier: bool) -> tuple[Integers, Integers, Reals]:
    """Tree, node and weight of each leaf."""
    kind = "class" if classifier else "target"
    owners = _integers(node, f"{kind}_ids")
    if classifier:
        labels = _integers(node, "classlabels_int64s")
        if labels.tolist() != [0, 1] or len(set(owners.tolist())) > 1:
            raise NotNative("a classifier that is not binary")
    elif node.said("n_targets", 1) != 1 or owners.any():
        raise NotNative("several targets")
    trees, nodes = _integers(node, f"{kind}_treeids"), _integers(node, f"{kind}_nodeids")
    weights = _reals(node, f"{kind}_weights")
    if not len(trees) == len(nodes) == len(weights) == len(owners) or not np.isfinite(weights).all():
        raise ModelRefused("the leaves of the ensemble are of different numbers, or not finite", "malformed")
    if classifier and (weights >= 0).all():
        # ONNX reads sums of positive weights as probabilities already.
        raise NotNative("a classifier of positive weights alone")
    return trees, nodes, weights


class _Trees:
    """The nodes of an ensemble, which are those of trees, whatever they ask."""

    def __init__(self, node: Node) -> None:
        treeids = _integers(node, "nodes_treeids")
        size = len(treeids)
        names = ("nodes_nodeids", "nodes_truenodeids", "nodes_falsenodeids")
        ids, yes, no = (_integers(node, name, size) for name in names)
        listed = node.attributes.get("nodes_modes")
        self.modes = np.array(listed, str) if isinstance(listed, tuple) else np.zeros(0, str)
        if size == 0 or len(self.modes) != size:
            raise ModelRefused("the ensemble's nodes are none, or have no modes", "malformed")
        self.foreign = set(self.modes.tolist()) - {*_MODES}
        if unknown := self.foreign - {*_FOREIGN}:
            raise ModelRefused(f"the ensemble has nodes of mode {min(unknown)!r}", "malformed")
        self.splits = splits = self.modes != "LEAF"
        self.roots = np.flatnonzero(np.diff(treeids, prepend=treeids[0] - 1))
        #: By node, its tree counted from 0.
        self.tree = np.cumsum(np.diff(treeids, prepend=treeids[0]) != 0)
        if len(np.unique(treeids[self.roots])) != len(self.roots):
            raise ModelRefused("the ensemble's trees do not stand one after another", "malformed")
        self.find = find = _Places(treeids, ids)
        self.below = below = np.full((size, 2), -1)
        below[splits] = np.stack(
            [find(treeids[splits], yes[splits]), find(treeids[splits], no[splits])], axis=1
        )
        if (below[splits] < 0).any():
            raise ModelRefused("a node of the ensemble points outside its tree", "malformed")
        self.levels = _levels(self.roots, below, splits)


def _flat(
    node: Node,
    trees: _Trees,
    leaves: tuple[Integers, Integers, Reals],
    columns: int,
    base: float,
    logistic: bool,
) -> Forest:
    size, splits, roots, tree = len(trees.modes), trees.splits, trees.roots, trees.tree
    below, levels, find = trees.below, trees.levels, trees.find
    asked = _integers(node, "nodes_featureids", size)
    thresholds = _reals(node, "nodes_values", size).copy()
    if trees.foreign:
        raise NotNative(f"nodes of mode {', '.join(sorted(trees.foreign))}")
    right = _nan_goes_right(node, splits)
    if not np.isfinite(thresholds[splits]).all():
        raise ModelRefused("a threshold of the ensemble is no finite number", "malformed")
    if ((asked[splits] < 0) | (asked[splits] >= columns)).any():
        raise ModelRefused(f"the ensemble asks for a column beyond its {columns}", "malformed")
    less = trees.modes == "BRANCH_LT"
    # x < t is x <= the float32 below t.
    thresholds[less] = np.nextafter(thresholds[less], np.float32(-np.inf))
    padded = -(-len(roots) // STRIDE) * STRIDE
    flat = np.zeros(padded + size + padded - len(roots), NODE)
    # Each tree's nodes lie together, siblings side by side as their level has them.
    others = np.concatenate([np.zeros(0, np.int64), *levels[1:]])
    others = others[np.argsort(tree[others], kind="stable")]
    slot = np.zeros(size, np.int64)
    slot[roots] = np.arange(len(roots))
    slot[others] = 2 * padded + np.arange(len(others))
    flat["left"] = 4 * np.arange(len(flat))
    flat["threshold"] = np.inf
    flat["column"][slot[splits]] = asked[splits]
    flat["left"][slot[splits]] = 4 * slot[below[splits, 0]]
    flat["threshold"][slot[splits]] = thresholds[splits]
    weights = np.zeros(size)
    at = find(leaves[0], leaves[1])
    if (at < 0).any() or splits[at].any():
        raise ModelRefused("a leaf's weight belongs to no leaf", "malformed")
    np.add.at(weights, at, leaves[2])
    flat["weight"][slot] = weights
    depths = np.zeros(padded, np.int64)
    for depth, level in enumerate(levels):
        depths[tree[level]] = depth
    flat["column"][padded : 2 * padded] = np.repeat(depths.reshape(-1, STRIDE).max(axis=1), STRIDE)
    flat.setflags(write=False)
    return Forest(flat, padded, columns, base, logistic, np.inf if right else -np.inf)


def _levels(roots: Integers, below: Integers, splits: NDArray[np.bool_]) -> list[Integers]:
    """The nodes of all trees by their depth, brothers side by side; every node is met once."""
    levels, met = [], np.zeros(len(below), np.int64)
    level = roots
    while len(level):
        np.add.at(met, level, 1)
        if met[level].max() > 1:
            raise ModelRefused("a node of the ensemble has two parents", "malformed")
        levels.append(level)
        level = below[level[splits[level]]].ravel()
    if not met.all():
        raise ModelRefused("the ensemble has nodes that nothing leads to", "malformed")
    return levels


def _nan_goes_right(node: Node, splits: NDArray[np.bool_]) -> bool:
    tracked = _integers(node, "nodes_missing_value_tracks_true", len(splits), optional=True)
    sides = set(tracked[splits].astype(bool).tolist()) if len(tracked) else {False}
    if len(sides) > 1:
        raise NotNative("nodes that send NaN to different sides")
    return sides != {True}


class _Places:
    """Where a node of a tree stands among all nodes; -1 where there is none."""

    def __init__(self, trees: Integers, nodes: Integers) -> None:
        self._most = int(nodes.max()) + 1
        if nodes.min() < 0 or trees.min() < 0 or self._most * (int(trees.max()) + 1) >= 2**62:
            raise ModelRefused("numbers of trees and nodes that are none", "malformed")
        keys = trees * self._most + nodes
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._trees = int(trees.max())
        if (np.diff(self._keys) == 0).any():
            raise ModelRefused("the ensemble has two nodes of one number", "malformed")

    def __call__(self, trees: Integers, nodes: Integers) -> Integers:
        within = (nodes >= 0) & (nodes < self._most) & (trees >= 0) & (trees <= self._trees)
        wanted = np.where(within, trees * self._most + nodes, -1)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        found: Integers = np.where(self._keys[at] == wanted, self._order[at], -1)
        return found


def _integers(node: Node, name: str, size: int | None = None, *, optional: bool = False) -> Integers:
    return _listed(node, name, np.dtype(np.int64), size, optional)


def _reals(node: Node, name: str, size: int | None = None) -> Reals:
    return _listed(node, name, np.dtype(np.float32), size, False)


def _listed(node: Node, name: str, kind: np.dtype[Any], size: int | None, optional: bool) -> NDArray[Any]:
    # ONNX leaves out a list of which nothing is said.
    value = node.attributes.get(name)
    found: Any = np.zeros(0, kind) if value is None else value
    wrong = not isinstance(found, np.ndarray) or found.dtype != kind
    if wrong or (size is not None and len(found) != size and not (optional and not len(found))):
        raise ModelRefused(f"the ensemble's {name} are not one number of type {kind} a node", "malformed")
    listed: NDArray[Any] = found
    return listed


class ForestServer:
    """Runs the kernel on one flattened ensemble. Serves one thread at a time: it owns scratch memory."""

    def __init__(self, forest: Forest, most_rows: int, backend: str | None = None) -> None:
        name = backend or backends.selected()
        self.name = f"native ({name})"
        self.scores = (
            backends.kernels("ensemble", name)
            .Ensemble(
                forest.nodes,
                forest.trees,
                forest.columns,
                forest.base,
                forest.logistic,
                forest.missing,
                most_rows,
            )
            .scores
        )
        if name == "python":
            # NumPy's scalars warn where C is silent: of values beyond float32.
            self.scores = np.errstate(all="ignore")(self.scores)
