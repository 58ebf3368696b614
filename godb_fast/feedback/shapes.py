"""Canonical hashes of a query's connected sub-plans, and how their corrections follow from one another.

A sub-plan's *shape* is the multiset of its relations (table and predicate shape, no literals) and the join
edges among them. Equal shapes of different queries, whatever their aliases or the order of FROM, have equal
keys: every relation is labelled by its table and predicates, labels are refined once by the labels and
conditions of the neighbours within the sub-plan (Weisfeiler and Leman's colour refinement), and the key is a
hash of their sum. The *parent* shape leaves predicates away.

Keys are platform-independent: BLAKE2b of text, and arithmetic modulo 2^64.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.core.relation_set import members
from godb_fast.errors import InvalidInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

#: Sub-plans of more sets than this are not corrected: beyond, a table over all sets outweighs its use.
MAX_SETS: Final = 4096
#: Sub-plans of more relations than this keep no evidence of their own; they follow from smaller ones.
MAX_WIDTH: Final = 16
#: The most ways in which a sub-plan's correction is extrapolated from smaller ones.
_WAYS: Final = 8


def stable_hash(text: str) -> int:
    """64 bits of a text, the same on every platform."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mixed(words: Words) -> Words:
    """SplitMix64's finalizer: sums of the results hardly ever collide."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


@dataclass(frozen=True)
class Edge:
    """A join condition between two relations, as either of them sees it.

    ``left_view`` names the left relation's column first (``site_id=id``), ``right_view`` the right one's
    (``id=site_id``), so that it does not matter which of the two was written first.
    """

    left: int
    right: int
    left_view: str
    right_view: str


@dataclass(frozen=True, eq=False)
class Level:
    """The sets of one size: where their corrections are extrapolated from.

    The correction of S without evidence is that of S less u, plus that of S less v, less that of S less both:
    u and v are taken to be independent given the rest. Shape (sets, ways); an index past the last set stands
    for a correction of 0, weights of a set add up to 1.
    """

    sets: slice
    first: Ints
    second: Ints
    both: Ints
    weight: Floats


@dataclass(frozen=True, eq=False)
class QueryShape:
    """All connected sub-plans of one join graph, ordered by size.

    Attributes
    ----------
    masks : int64 array, shape (S,)
        Relation sets, ordered by size.
    given : int64 array, shape (S,)
        For each set its position among the sets that the caller gave.
    keys, parents : uint64 arrays, shape (S,)
        Hashes of the shapes, with and without predicates.
    order, parent_order : int64 arrays, shape (S, W)
        The relations of each set in canonical order; entries past its size are n.
    inside : float64 array, shape (S, n)
        1 where a relation is in a set.
    sizes : int64 array, shape (S,)
    levels : tuple of Level
        For sizes 2, 3 and so on.
    position : dict
        From mask to position in ``masks``.
    """

    relations: int
    masks: Ints
    given: Ints
    keys: Words
    parents: Words
    order: Ints
    parent_order: Ints
    inside: Floats
    sizes: Ints
    levels: tuple[Level, ...]
    position: dict[int, int]

    @classmethod
    def of(
        cls,
        tables: Sequence[str],
        filters: Sequence[str],
        edges: Sequence[Edge],
        sets: Sequence[int] | Ints,
    ) -> QueryShape:
        """Shapes of the given connected sets.

        Parameters
        ----------
        tables, filters : sequences of str, length n
            Table and predicate shape of each relation; an empty filter is none.
        edges : sequence of Edge
        sets : sequence of int
            Masks; all single relations among them (``Planner.sets``).

        Raises
        ------
        InvalidInput
            If there are more sets than :data:`MAX_SETS`, or a single relation is missing.
        """
        count = len(tables)
        given = np.asarray(sets, np.int64)
        if given.size > MAX_SETS:
            raise InvalidInput(f"{given.size} sub-plans; at most {MAX_SETS} are corrected")
        bits = ((given[:, None] >> np.arange(count)) & 1).astype(np.bool_)
        sizes = bits.sum(axis=1)
        by_size = np.lexsort((given, sizes))
        masks, bits, sizes = given[by_size], bits[by_size], sizes[by_size]
        if (sizes[:count] != 1).any() or given.size < count:
            raise InvalidInput(f"the sub-plans of {count} relations must include every single one")
        full = [stable_hash(f"{table}\0{filter_}") for table, filter_ in zip(tables, filters, strict=True)]
        bare = [stable_hash(table) for table in tables]
        keys, order = _canonical(bits, full, edges)
        parents, parent_order = _canonical(bits, bare, edges)
        position = {mask: at for at, mask in enumerate(masks.tolist())}
        return cls(
            count,
            masks,
            by_size.astype(np.int64),
            keys,
            parents,
            order,
            parent_order,
            bits.astype(np.float64),
            sizes.astype(np.int64),
            _levels(masks.tolist(), sizes, position),
            position,
        )


def _canonical(bits: NDArray[np.bool_], labels: Sequence[int], edges: Sequence[Edge]) -> tuple[Words, Ints]:
    """Keys of the sets, and their relations in an order that equal sub-plans share."""
    count = bits.shape[1]
    refined: Words = np.broadcast_to(np.array(labels, np.uint64), bits.shape).copy()
    for edge in edges:
        together = bits[:, edge.left] & bits[:, edge.right]
        for own, other, view in (
            (edge.left, edge.right, edge.left_view),
            (edge.right, edge.left, edge.right_view),
        ):
            term = np.uint64(stable_hash(f"{labels[other]}\0{view}"))
            refined[together, own] += mixed(np.full(1, term, np.uint64))[0]
    refined = mixed(refined)
    refined[~bits] = 0
    keys = mixed(refined.sum(axis=1, dtype=np.uint64))
    # What lies outside sorts last; equal labels stay in the order of FROM.
    ranked = np.where(bits, refined >> np.uint64(1), np.uint64(1 << 63))
    order = np.argsort(ranked, axis=1, kind="stable").astype(np.int64)
    order[np.arange(count) >= bits.sum(axis=1)[:, None]] = count
    width = min(count, MAX_WIDTH)
    return keys, np.ascontiguousarray(order[:, :width])


def _levels(masks: list[int], sizes: NDArray[np.int64], position: dict[int, int]) -> tuple[Level, ...]:
    none = len(masks)
    found = []
    for size in range(2, int(sizes[-1]) + 1 if len(masks) else 0):
        start, stop = (int(at) for at in np.searchsorted(sizes, [size, size + 1]))
        if start == stop:
            continue
        ways = np.full((stop - start, _WAYS, 3), none, np.int64)
        weight = np.zeros((stop - start, _WAYS))
        for row, mask in enumerate(masks[start:stop]):
            options = _options(mask, size, position, none)
            ways[row, : len(options)] = options
            weight[row, : len(options)] = 1.0 / len(options)
        first, second, both = (np.ascontiguousarray(ways[:, :, part]) for part in range(3))
        found.append(Level(slice(start, stop), first, second, both, weight))
    return tuple(found)


def _options(mask: int, size: int, position: dict[int, int], none: int) -> list[tuple[int, int, int]]:
    inside = list(members(mask))
    if size == 2:
        return [(position[1 << inside[0]], position[1 << inside[1]], none)]
    removable = [(1 << i, position[mask ^ 1 << i]) for i in inside if mask ^ 1 << i in position]
    options = [
        (left, right, position[mask ^ u ^ v])
        for number, (u, left) in enumerate(removable)
        for v, right in removable[:number]
        if mask ^ u ^ v in position
    ]
    if not options:
        options = [(rest, position[u], none) for u, rest in removable]
    if not options:
        # Ordering constraints can leave a set without smaller neighbours.
        return [(none, none, none)]
    # Evenly among all, so that no relation is preferred.
    step = max(len(options) / _WAYS, 1.0)
    return [options[int(number * step)] for number in range(min(len(options), _WAYS))]
