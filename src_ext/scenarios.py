"""A block's rows in every scenario, from what its filters say."""

from __future__ import annotations

import cython
import numpy

if not cython.compiled:
    # Kernels take bare pointers when compiled (scenarios.pxd), otherwise flat arrays.

    def doubles(array):
        return array.reshape(-1).view(numpy.float64)


def spread_rows(lanes: cython.longlong, entries: list, weights, added, lowest: cython.double, highest, out):
    """ln rows per relation and lane, between a floor and the table's rows.

    Parameters
    ----------
    entries : list of tuple of float, length n
        Per relation ln rows under back-off, under the product, under the most selective filter alone, and the
        spread.
    weights : float64 array, shape (n, 4, K)
        What each of the four counts in each lane.
    added : float64 array, shape (n, K), or None
        Added to the weighted sums: ln rows of blocks that other blocks read.
    highest : float64 array, shape (n,)
        ln rows of the table.
    out : float64 array, shape (n, K)
        Written.
    """
    weights_at: cython.p_double = doubles(weights)
    highest_at: cython.p_double = doubles(highest)
    out_at: cython.p_double = doubles(out)
    added_at: cython.p_double = doubles(out if added is None else added)
    adds: cython.longlong = 0 if added is None else 1
    count: cython.longlong = len(entries)
    i: cython.longlong
    k: cython.longlong
    at: cython.longlong
    first: cython.double
    second: cython.double
    third: cython.double
    fourth: cython.double
    value: cython.double
    for i in range(count):
        first, second, third, fourth = entries[i]
        for k in range(lanes):
            at = 4 * i * lanes + k
            value = (
                first * weights_at[at]
                + second * weights_at[at + lanes]
                + third * weights_at[at + 2 * lanes]
                + fourth * weights_at[at + 3 * lanes]
            )
            if adds != 0:
                value += added_at[i * lanes + k]
            value = value if value > lowest else lowest
            value = value if value < highest_at[i] else highest_at[i]
            out_at[i * lanes + k] = value
