"""A tree ensemble that owns its nodes and scratch memory, so that one call takes only rows and results.

This topic has the Cython and the Python form; what it calls has Numba's, too.
"""

from __future__ import annotations

import cython
import numpy
from cython.cimports.godb_fast._kernels.addresses import doubles, floats, ints
from cython.cimports.godb_fast._kernels.forest import forest_scores


@cython.cclass
class Ensemble:
    """Scores rows. Serves one thread at a time.

    Parameters
    ----------
    nodes : structured array
        Flattened trees, as ``learning.models.forest.flatten`` makes them.
    trees, columns : int
    base : float
    logistic : bool
    missing : float
    most_rows : int
        Rows that are walked through a group of trees before the next group's turn.
    """

    def __init__(self, nodes, trees, columns, base, logistic, missing, most_rows):
        self.held = (nodes, numpy.zeros(most_rows * columns, numpy.float32))
        self.trees = trees
        self.columns = columns
        self.base = base
        self.logistic = logistic
        self.missing = missing
        self.most = most_rows
        self.integers = ints(self.held[0])
        self.reals = floats(self.held[0])
        self.inputs = floats(self.held[1])

    @cython.ccall
    def scores(self, rows, out):
        """Write one score per row; how many values were NaN.

        Parameters
        ----------
        rows : float64 array, shape (n, columns), C-contiguous
        out : float64 array, shape (n,), C-contiguous
            Neither is checked.
        """
        total: cython.longlong = len(out)
        first: cython.longlong = 0
        count: cython.longlong
        absent: cython.longlong = 0
        if total == 0:
            return 0
        rows_at: cython.p_double = doubles(rows)
        out_at: cython.p_double = doubles(out)
        while first < total:
            count = total - first
            if count > self.most:
                count = self.most
            absent += forest_scores(
                self.trees, self.columns, self.missing, self.base, self.logistic, self.integers, self.reals,
                self.inputs, first, count, rows_at, out_at,
            )  # fmt: skip
            first += count
        return absent
