"""Constants of an ONNX model: tensors that lie whole in its file, of types that are computed with, finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import ModelRefused
from godb_fast.learning.models import wire

#: Dimensions of a tensor: no model of tables has this many.
MOST_DIMENSIONS: Final = 8
#: TensorProto.DataLocation.EXTERNAL.
_EXTERNAL: Final = 1
#: By TensorProto.DataType: how raw data has a number, and the field of numbers that are not raw.
_KINDS: Final[Mapping[int, tuple[np.dtype[Any], int]]] = {
    1: (np.dtype("<f4"), 4),
    6: (np.dtype("<i4"), 5),
    7: (np.dtype("<i8"), 7),
    9: (np.dtype("?"), 5),
    11: (np.dtype("<f8"), 10),
}
_RAW: Final = 9
_INT64: Final = 7


@dataclass(frozen=True)
class Constant:
    """A tensor of a model's file.

    Parameters
    ----------
    name : str
    shape : tuple of int
    whole : tuple of int
        The numbers of a short list of int64, such as names a shape; else empty.
    """

    name: str
    shape: tuple[int, ...]
    whole: tuple[int, ...]


def read_tensor(data: bytes) -> Constant:
    """Read a TensorProto.

    Raises
    ------
    ModelRefused
        With the reason ``external_data``; or ``malformed``, if its numbers are not as many as its dimensions
        say (which onnxruntime would make room for), not finite, or of a type that no model here needs.
    """
    name, kind = "", 0
    shape: list[int] = []
    parts: dict[int, list[wire.Content]] = {}
    for number, _, content in wire.fields(data):
        if number == 13 or (number == 14 and content == _EXTERNAL):
            raise ModelRefused("the model keeps tensors in other files (external data)", "external_data")
        if number == 1:
            shape += wire.integers(content).tolist() if isinstance(content, bytes) else [wire.number(content)]
        elif number == 2:
            kind = wire.number(content)
        elif number == 8:
            name = wire.text(content)
        else:
            parts.setdefault(number, []).append(content)
    if len(shape) > MOST_DIMENSIONS or min(shape, default=1) < 0:
        raise wire.unsound(f"the tensor {name!r} has impossible dimensions")
    if kind not in _KINDS:
        raise wire.unsound(f"the tensor {name!r} is of type {kind}, which nothing here computes with")
    values = _values(parts, *_KINDS[kind])
    if len(values) != math.prod(shape):
        raise wire.unsound(f"the tensor {name!r} of dimensions {tuple(shape)} holds {len(values)} numbers")
    # What is finite as it stands may yet be infinite where it is computed with.
    if values.dtype.kind == "f" and not (np.abs(values) <= np.finfo(np.float32).max).all():
        raise wire.unsound(f"the tensor {name!r} holds numbers that are not finite")
    short = kind == _INT64 and len(shape) == 1 and len(values) <= MOST_DIMENSIONS
    return Constant(name, tuple(shape), tuple(values.tolist()) if short else ())


def _values(parts: dict[int, list[wire.Content]], kind: np.dtype[Any], field: int) -> NDArray[Any]:
    """The numbers of a tensor, raw or not."""
    if _RAW in parts:
        return _unpacked(parts[_RAW][-1], kind)
    pieces = parts.get(field, [])
    if kind.kind == "f":
        found = [_unpacked(piece, kind) for piece in pieces]
    else:
        found = [wire.integers(piece if isinstance(piece, bytes) else wire.number(piece)) for piece in pieces]
    return np.concatenate([np.zeros(0, kind), *found])


def _unpacked(content: wire.Content, kind: np.dtype[Any]) -> NDArray[Any]:
    data = wire.message(content)
    if len(data) % kind.itemsize:
        raise wire.malformed("a tensor that ends inside a number")
    return np.frombuffer(data, kind)
