"""What an ONNX model file holds, read without the ``onnx`` package, and only if all of it is allowed.

The list of operators is what tree ensembles, linear models, scalers and small networks of scikit-learn
become. None of them has a subgraph or reads a file, so that a model can neither loop nor reach outside; how
much they may make is bounded in ``sizes``. Field numbers: onnx/onnx.proto of ONNX 1.23.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import ModelRefused
from godb_fast.learning.models import wire
from godb_fast.learning.models.tensors import Constant, read_tensor

ML: Final = "ai.onnx.ml"
#: Operators that may occur, by domain; "" is ONNX's own.
ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset(
        {"Add", "Cast", "Concat", "Div", "Gemm", "Identity", "MatMul", "Mul", "Relu", "Reshape", "Sigmoid"}
        | {"Softmax", "Sub", "Tanh"}
    ),
    ML: frozenset(
        {"Imputer", "LinearClassifier", "LinearRegressor", "Normalizer", "Scaler"}
        | {"TreeEnsembleClassifier", "TreeEnsembleRegressor"}
    ),
}
#: TensorProto.DataType.FLOAT.
FLOAT: Final = 1
#: Fields of an attribute that hold a graph, a type or a sparse tensor.
_SUBGRAPHS: Final = frozenset({6, 11, 14, 15})
_SPARSE: Final = frozenset({22, 23})

#: What an attribute holds: one number or text, or a list of them.
Attribute: TypeAlias = "float | int | str | NDArray[np.int64] | NDArray[np.float32] | tuple[str, ...]"
_One = TypeVar("_One", int, str)


@dataclass(frozen=True)
class Node:
    """One operator of the graph. Tensor attributes are checked, but not kept."""

    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    def said(self, name: str, default: _One) -> _One:
        """An attribute that is one number or text, or what it is where nothing is said of it.

        Raises
        ------
        ModelRefused
            If it is of another type than the default.
        """
        value = self.attributes.get(name, default)
        if not isinstance(value, type(default)):
            raise wire.unsound(f"the {name} of {self.operator} is no {type(default).__name__}")
        return value


@dataclass(frozen=True)
class Tensor:
    """An input or an output: its name, TensorProto.DataType, and dimensions (None where they are free)."""

    name: str
    element: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Graph:
    """A model that was read and found to hold nothing but what is allowed."""

    nodes: tuple[Node, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    constants: Mapping[str, Constant]
    opsets: Mapping[str, int]

    def output(self, name: str) -> Tensor:
        """The output of that name.

        Raises
        ------
        ModelRefused
            If there is none.
        """
        for tensor in self.outputs:
            if tensor.name == name:
                return tensor
        raise ModelRefused(
            f"the card names the output {name!r}, the model has {', '.join(t.name for t in self.outputs)}",
            "card",
        )


def read_graph(data: bytes) -> Graph:
    """Read the bytes of a model.

    Raises
    ------
    ModelRefused
        With the reason ``malformed``, ``operator``, ``external_data`` or ``sparse_initializer``.
    """
    graph: bytes | None = None
    opsets: dict[str, int] = {}
    for number, _, content in wire.fields(data):
        if number == 7:
            if graph is not None:
                raise wire.malformed("it has two graphs")
            graph = wire.message(content)
        elif number == 8:
            domain, version = _opset(wire.message(content))
            opsets[domain] = max(version, opsets.get(domain, 0))
        elif number in (20, 25):
            what = "training information" if number == 20 else "functions of its own"
            raise ModelRefused(f"the model has {what}, which nothing here needs", "operator")
    if graph is None:
        raise wire.malformed("it has no graph")
    for domain in opsets:
        if domain not in ALLOWED:
            raise ModelRefused(
                f"the model imports operators of the domain {domain!r}; allowed are ai.onnx and {ML}",
                "operator",
            )
    return _graph(graph, opsets)


def _opset(data: bytes) -> tuple[str, int]:
    domain, version = "", 0
    for number, _, content in wire.fields(data):
        if number == 1:
            domain = _domain(wire.text(content))
        elif number == 2:
            version = wire.number(content)
    return domain, version


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _graph(data: bytes, opsets: Mapping[str, int]) -> Graph:
    nodes: list[Node] = []
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    constants: dict[str, Constant] = {}
    for number, _, content in wire.fields(data):
        if number == 1:
            nodes.append(_node(wire.message(content)))
        elif number == 5:
            constant = read_tensor(wire.message(content))
            constants[constant.name] = constant
        elif number == 11:
            inputs.append(_value(wire.message(content)))
        elif number == 12:
            outputs.append(_value(wire.message(content)))
        elif number == 15:
            raise ModelRefused("the model has sparse initializers", "sparse_initializer")
    if not nodes or not outputs:
        raise wire.malformed("its graph has no operators or no outputs")
    given = tuple(tensor for tensor in inputs if tensor.name not in constants)
    return Graph(tuple(nodes), given, tuple(outputs), constants, dict(opsets))


def _node(data: bytes) -> Node:
    operator = domain = ""
    inputs: list[str] = []
    outputs: list[str] = []
    raw: list[bytes] = []
    for number, _, content in wire.fields(data):
        if number == 1:
            inputs.append(wire.text(content))
        elif number == 2:
            outputs.append(wire.text(content))
        elif number == 4:
            operator = wire.text(content)
        elif number == 5:
            raw.append(wire.message(content))
        elif number == 7:
            domain = _domain(wire.text(content))
    if operator not in ALLOWED.get(domain, frozenset()):
        full = f"{domain}.{operator}" if domain else operator
        raise ModelRefused(f"the model uses the operator {full!r}, which is not on the list", "operator")
    attributes: dict[str, Attribute] = {}
    for each in raw:
        name, value = _attribute(each)
        if value is not None:
            attributes[name] = value
    return Node(operator, domain, tuple(inputs), tuple(outputs), attributes)


def _attribute(data: bytes) -> tuple[str, Attribute | None]:
    name = ""
    value: Attribute | None = None
    texts: list[str] = []
    for number, _, content in wire.fields(data, runs=True):
        if number == 8:
            value = wire.integers(content)
        elif number == 7:
            value = wire.floats(content)
        elif number == 9:
            texts.append(wire.text(content))
        elif number == 1:
            name = wire.text(content)
        elif number == 2:
            value = float(wire.floats(content)[0])
        elif number == 3:
            value = wire.number(content)
        elif number == 4:
            value = wire.text(content)
        elif number in (5, 10):
            read_tensor(wire.message(content))
        elif number in _SUBGRAPHS:
            raise ModelRefused(f"attribute {name!r} holds a graph or a type", "operator")
        elif number in _SPARSE:
            raise ModelRefused(f"attribute {name!r} holds a sparse tensor", "sparse_initializer")
        elif number == 21:
            raise ModelRefused(f"attribute {name!r} refers to a function's", "operator")
    return name, tuple(texts) if texts else value


def _value(data: bytes) -> Tensor:
    name, element = "", 0
    shape: list[int | None] = []
    for number, _, content in wire.fields(data):
        if number == 1:
            name = wire.text(content)
        elif number == 2:
            for kind, _, inner in wire.fields(wire.message(content)):
                if kind != 1:
                    raise ModelRefused(f"{name!r} is no dense tensor", "operator")
                element, shape = _dense(wire.message(inner))
    return Tensor(name, element, tuple(shape))


def _dense(data: bytes) -> tuple[int, list[int | None]]:
    element = 0
    shape: list[int | None] = []
    for number, _, content in wire.fields(data):
        if number == 1:
            element = wire.number(content)
        elif number == 2:
            for _, _, dimension in wire.fields(wire.message(content)):
                size: int | None = None
                for part, _, length in wire.fields(wire.message(dimension)):
                    if part == 1:
                        size = wire.number(length)
                shape.append(size)
    return element, shape
