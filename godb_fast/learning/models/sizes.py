"""How large what an allowed graph makes can become, told before anything runs it.

Every operator on the list has a rule: from the sizes of what it reads to those of what it makes. Sizes are
upper bounds (a broadcast takes the larger side), so that what onnxruntime would find to be unequal is left to
its own trial. The point is the sum: a chain of ``Concat(x, x)`` doubles at each step, and a sum of a column
and a constant of three dimensions is a product, while each operator by itself looks harmless.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from godb_fast.learning.models import wire
from godb_fast.learning.models.graph import Graph, Node
from godb_fast.learning.models.tensors import MOST_DIMENSIONS

#: Numbers that all operators together may make of a row. Forests, which is what training exports, make one or
#: two; a network of ten layers of 1000 units makes 30,000.
MOST_NUMBERS_OF_A_ROW: Final = 1 << 15

Shape: TypeAlias = "tuple[int, ...]"
#: From an operator, the shapes that it reads, and the graph to the shapes that it makes.
Rule: TypeAlias = "Callable[[Node, Sequence[Shape], Graph], list[Shape]]"

#: Lists that may hold what is no number: what an Imputer looks for. Of trees, ``forest`` checks the
#: thresholds where they are asked for (leaves have some too), and nobody reads the hit rates.
_ANY_NUMBER: Final = frozenset({"replaced_value_float", "nodes_values", "nodes_hitrates"})


def check_graph(graph: Graph, rows: int) -> Mapping[str, Shape]:
    """Whether a graph computes with finite numbers, and makes little of so many rows.

    Returns
    -------
    mapping of str to tuple of int
        By tensor: no size is larger, whatever the numbers are, of so many rows or fewer.

    Raises
    ------
    ModelRefused
        With the reason ``malformed``.
    """
    given = graph.inputs[0]
    known: dict[str, Shape] = {name: constant.shape for name, constant in graph.constants.items()}
    known[given.name] = (rows, *(size or 0 for size in given.shape[1:]))
    left = rows * MOST_NUMBERS_OF_A_ROW
    for node in graph.nodes:
        _check_numbers(node)
        read = [known.get(name) for name in node.inputs if name]
        if not read or None in read:
            raise wire.unsound(f"{node.operator} reads what nothing before it makes")
        try:
            made = RULES[node.operator](node, [shape for shape in read if shape is not None], graph)
        except IndexError:
            raise wire.unsound(f"{node.operator} reads too few tensors, or of too few dimensions") from None
        left -= sum(math.prod(shape) for shape in made)
        if left < 0:
            raise wire.unsound(
                f"its operators make more than {MOST_NUMBERS_OF_A_ROW} numbers of a row (at {node.operator})"
            )
        known.update(zip(node.outputs, made, strict=False))
    return known


def _check_numbers(node: Node) -> None:
    for name, value in node.attributes.items():
        real = isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind == "f")
        if real and name not in _ANY_NUMBER and not np.isfinite(value).all():
            raise wire.unsound(f"the {name} of {node.operator} are not finite")


def _same(node: Node, read: Sequence[Shape], graph: Graph) -> list[Shape]:
    return [read[0]]


def _broadcast(node: Node, read: Sequence[Shape], graph: Graph) -> list[Shape]:
    return [_together(read[0], read[1])]


def _together(one: Shape, other: Shape) -> Shape:
    """NumPy's broadcast, of upper bounds."""
    size = max(len(one), len(other))
    padded = [(1,) * (size - len(shape)) + shape for shape in (one, other)]
    return tuple(map(max, *padded)) if size else ()


def _concat(node: Node, read: Sequence[Shape], graph: Graph) -> list[Shape]:
    axis = node.said("axis", 0)
    first = read[0]
    if any(len(shape) != len(first) for shape in read) or not -len(first) <= axis < len(first):
        raise wire.unsound("Concat joins tensors of different dimensions, or along none that they have")
    made = [max(sizes) for sizes in zip(*read, strict=True)]
    made[axis] = sum(shape[axis] for shape in read)
    return [tuple(made)]


def _product(node: Node, read: Sequence[Shape], graph: Graph) -> list[Shape]:
    one, other = read[0], read[1]
    # As NumPy's matmul: what has one dimension is a row on the left, a column on the right.
    rows, columns = one[-2:-1], other[-1:] if len(other) > 1 else ()
    return [(*_together(one[:-2], other[:-2]), *rows, *columns)]


def _gemm(node: Node, read: Sequence[Shape], graph: Graph) -> list[Shape]:
    rows = read[0][1 if node.said("transA", 0) else 0]
    return [(rows, read[1][0 if node.said("transB", 0) else 1])]


def _reshape(node: Node, read: Sequence[Shape], graph: Graph) -> list[Shape]:
    shape = graph.constants.get(node.inputs[1])
    if shape is None or len(shape.whole) != math.prod(shape.shape) or len(shape.whole) > MOST_DIMENSIONS:
        raise wire.unsound("Reshape takes a shape that is no constant")
    # 0 stands for the size that is there, one -1 for what is left.
    made = [read[0][at] if size == 0 else size for at, size in enumerate(shape.whole)]
    if min(made, default=1) < -1 or made.count(-1) > 1:
        raise wire.unsound(f"Reshape takes the shape {shape.whole}")
    if -1 in made:
        others = math.prod(size for size in made if size != -1)
        made[made.index(-1)] = -(-math.prod(read[0]) // max(others, 1))
    return [tuple(made)]


def _scores(node: Node, read: Sequence[Shape], graph: Graph) -> list[Shape]:
    """Of a regressor."""
    targets = node.said("n_targets" if node.operator.startswith("Tree") else "targets", 1)
    if targets < 1:
        raise wire.unsound(f"{node.operator} has {targets} targets")
    return [(_rows(read[0]), targets)]


def _classes(node: Node, read: Sequence[Shape], graph: Graph) -> list[Shape]:
    """Of a classifier: a label, and a score of each class (of one score, ONNX makes two)."""
    lists = [
        value
        for name in ("classlabels_ints", "classlabels_int64s", "classlabels_strings", "intercepts")
        if isinstance(value := node.attributes.get(name), tuple | np.ndarray)
    ]
    rows = _rows(read[0])
    return [(rows,), (rows, max(2, *map(len, lists), 0))]


def _rows(shape: Shape) -> int:
    return shape[0] if len(shape) > 1 else 1


#: By operator; there is one for each that is allowed.
RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(("Cast", "Identity", "Relu", "Sigmoid", "Softmax", "Tanh"), _same),
    **dict.fromkeys(("Imputer", "Normalizer", "Scaler"), _same),
    **dict.fromkeys(("Add", "Div", "Mul", "Sub"), _broadcast),
    **dict.fromkeys(("LinearRegressor", "TreeEnsembleRegressor"), _scores),
    **dict.fromkeys(("LinearClassifier", "TreeEnsembleClassifier"), _classes),
    "Concat": _concat,
    "Gemm": _gemm,
    "MatMul": _product,
    "Reshape": _reshape,
}
