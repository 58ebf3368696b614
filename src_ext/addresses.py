"""Arrays as kernels with memory of their own read them.

Compiled, they are bare pointers (``addresses.pxd``); otherwise flat views of an element type.
"""

import cython
import numpy

if not cython.compiled:

    def doubles(array):
        return array.reshape(-1).view(numpy.float64)

    def longs(array):
        return array.reshape(-1).view(numpy.int64)

    def ints(array):
        return array.reshape(-1).view(numpy.int32)

    def floats(array):
        return array.reshape(-1).view(numpy.float32)
