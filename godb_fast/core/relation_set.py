"""Sets of relations as 64-bit masks: bit i stands for relation i, bits 0 to 61.

An ``int64``, never ``uint64``: NumPy turns ``uint64 + int64`` into ``float64``. Beyond
:data:`MAX_MASKED` relations no masks are used, only index arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

#: The most relations that a mask can hold.
MAX_MASKED: Final = 62


def relation_set(members: Iterable[int]) -> int:
    """Mask of the given relation numbers."""
    mask = 0
    for member in members:
        mask |= 1 << member
    return mask


def members(mask: int) -> Iterator[int]:
    """Relation numbers of a mask, ascending."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
