"""The wire format of protocol buffers: enough to read a model without the packages that write one.

Messages are walked field by field over the bytes at hand; a length that points beyond them, an endless
varint or an unknown wire type is an error, never a guess. Source: protobuf.dev/programming-guides/encoding.
ONNX does not pack its lists: a tree ensemble is a hundred thousand fields of one number each, so runs of
equal numeric fields are read at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import ModelRefused

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

_WORD: Final = 1 << 64
#: A varint of 64 bits.
_MOST_BYTES: Final = 10

Integers: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float32]
#: Content of a field: an integer, bytes, or a run of numbers.
Content: TypeAlias = "int | bytes | Integers | Floats"
#: Number of the field, its wire type, and its content.
Field: TypeAlias = "tuple[int, int, Content]"


def malformed(what: str) -> ModelRefused:
    """The refusal of bytes that are no message."""
    return ModelRefused(f"the file is not an ONNX model: {what}", "malformed")


def unsound(what: str) -> ModelRefused:
    """The refusal of a message that says what cannot be meant."""
    return ModelRefused(f"the model makes no sense: {what}", "malformed")


def varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned varint, and the position behind it."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise malformed("it ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (_WORD - 1), at
        shift += 7
        if shift >= 7 * _MOST_BYTES:
            raise malformed("a number of more than ten bytes")


def fields(data: bytes, *, runs: bool = False) -> Iterator[Field]:
    """The fields of one message, in the order in which they stand.

    Parameters
    ----------
    runs : bool
        Fields of numbers up to 15 that follow each other with the same key come at once, as an array.

    Raises
    ------
    ModelRefused
        If the bytes are no message.
    """
    at, end = 0, len(data)
    while at < end:
        begin = at
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise malformed("a field without a number")
        if runs and at == begin + 1 and kind in (VARINT, FIXED32):
            several, at = _run_of_integers(data, begin) if kind == VARINT else _run_of_floats(data, begin)
            yield number, kind, several
            continue
        if kind == VARINT:
            value, at = varint(data, at)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, at = varint(data, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise malformed(f"wire type {kind} of field {number}")
        if size > end - at:
            raise malformed(f"field {number} claims {size} bytes of {end - at}")
        yield number, kind, data[at : at + size]
        at += size


def _run_of_floats(data: bytes, at: int) -> tuple[Floats, int]:
    """All float fields from here on that repeat the key of the first, and the position behind them."""
    rest = np.frombuffer(data, np.uint8, offset=at)
    records = rest[: len(rest) // 5 * 5].reshape(-1, 5)
    same = records[:, 0] == data[at]
    count = len(records) if same.all() else int(same.argmin())
    if count == 0:
        raise malformed("it ends inside a number")
    return records[:count, 1:].copy().view("<f4").ravel(), at + 5 * count


def _run_of_integers(data: bytes, at: int) -> tuple[Integers, int]:
    """All varint fields from here on that repeat the key of the first, and the position behind them."""
    rest = np.frombuffer(data, np.uint8, offset=at)
    # A key of one byte and a varint both end in a byte below 128.
    ends = np.flatnonzero(rest < 0x80)
    keys, ends = ends[0::2], ends[1::2]
    keys = keys[: len(ends)]
    begins = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else keys
    same = (keys == begins) & (rest[begins] == rest[0])
    count = len(keys) if same.all() else int(same.argmin())
    if count == 0:
        raise malformed("it ends inside a number")
    return _varints(rest, keys[:count] + 1, ends[:count]), at + int(ends[count - 1]) + 1


def _varints(data: NDArray[np.uint8], begins: NDArray[Any], ends: NDArray[Any]) -> Integers:
    """The varints between these positions (the last ones included)."""
    lengths = ends - begins + 1
    longest = int(lengths.max(initial=0))
    if longest > _MOST_BYTES:
        raise malformed("a number of more than ten bytes")
    values = np.zeros(len(begins), np.uint64)
    for byte in range(longest):
        held = np.flatnonzero(lengths > byte)
        values[held] |= (data[begins[held] + byte] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * byte)
    return values.view(np.int64)


def signed(value: int) -> int:
    """An unsigned varint as the int64 that it stands for."""
    return value - _WORD if value >= _WORD // 2 else value


def integers(content: Content) -> Integers:
    """A repeated int64 field: a run of entries, or many that are packed."""
    if not isinstance(content, bytes):
        return np.atleast_1d(np.asarray(content, np.int64))
    packed = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(packed < 0x80)
    if len(packed) and (not len(ends) or ends[-1] != len(packed) - 1):
        raise malformed("it ends inside a number")
    return _varints(packed, np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends, ends)


def floats(content: Content) -> Floats:
    """A repeated float field: a run of entries, or many that are packed."""
    if isinstance(content, np.ndarray) and content.dtype == np.float32:
        found: Floats = content.view(np.float32)
        return found
    if not isinstance(content, bytes) or len(content) % 4 or not content:
        raise malformed("a list of floats that is none")
    return np.frombuffer(content, "<f4")


def text(content: Content) -> str:
    """A string field."""
    try:
        return message(content).decode()
    except UnicodeDecodeError:
        raise malformed("a text that is not UTF-8") from None


def message(content: Content) -> bytes:
    """The bytes of a message inside a message."""
    if not isinstance(content, bytes):
        raise malformed("a number in place of a message")
    return content


def number(content: Content) -> int:
    """An integer field."""
    if isinstance(content, int):
        return signed(content)
    if isinstance(content, np.ndarray) and content.dtype == np.int64:
        return int(content[-1])
    raise malformed("bytes in place of a number")
