"""Ensembles of decision trees, many rows at a time.

A node is 16 bytes: the column it asks about, its left child, its threshold, the weight of a leaf. Siblings
lie side by side, and a leaf is its own left child under an infinite threshold, so that one step is
``at = left + 4 * (x > threshold)`` without a branch (places count in fours, as the views do). Eight trees are
walked in step: their loads do not wait for each other. Rows and thresholds are float32, as ONNX has them;
sums are float64, in the order of the trees, so that all backends agree to the bit.
"""

import cython
from cython.cimports.libc.math import exp


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def forest_scores(
    trees: cython.longlong,
    columns: cython.longlong,
    missing: cython.double,
    base: cython.double,
    logistic: cython.longlong,
    integers: cython.p_int,
    reals: cython.p_float,
    inputs: cython.p_float,
    first: cython.longlong,
    count: cython.longlong,
    rows: cython.p_double,
    out: cython.p_double,
) -> cython.longlong:
    """Write the scores of ``count`` rows from ``first`` on; how many of their values were NaN.

    ``integers`` and ``reals`` are two flat views of one array of nodes (four of either a node); a left child
    is the place of its first number. Node t, for t below ``trees``, is the root of tree t, and the steps that
    its group of trees needs are the first number of the node ``trees + t``, a header that no walk enters.
    ``missing`` is what a NaN counts as: the infinity of the side to which the forest sends it. ``inputs`` is
    scratch for the rows as float32.
    """
    row: cython.longlong
    tree: cython.longlong
    column: cython.longlong
    at: cython.longlong
    step: cython.longlong
    steps: cython.longlong
    absent: cython.longlong
    value: cython.double
    score: cython.double
    a: cython.longlong
    b: cython.longlong
    c: cython.longlong
    d: cython.longlong
    e: cython.longlong
    f: cython.longlong
    g: cython.longlong
    h: cython.longlong
    absent = 0
    for row in range(count):
        at = (first + row) * columns
        for column in range(columns):
            value = rows[at + column]
            if value != value:
                absent += 1
                value = missing
            inputs[row * columns + column] = value
        out[first + row] = base
    for tree in range(0, trees, 8):
        steps = integers[4 * (trees + tree)]
        for row in range(count):
            at = row * columns
            a = 4 * tree
            b = 4 * tree + 4
            c = 4 * tree + 8
            d = 4 * tree + 12
            e = 4 * tree + 16
            f = 4 * tree + 20
            g = 4 * tree + 24
            h = 4 * tree + 28
            for step in range(steps):
                a = integers[a + 1] + 4 * (inputs[at + integers[a]] > reals[a + 2])
                b = integers[b + 1] + 4 * (inputs[at + integers[b]] > reals[b + 2])
                c = integers[c + 1] + 4 * (inputs[at + integers[c]] > reals[c + 2])
                d = integers[d + 1] + 4 * (inputs[at + integers[d]] > reals[d + 2])
                e = integers[e + 1] + 4 * (inputs[at + integers[e]] > reals[e + 2])
                f = integers[f + 1] + 4 * (inputs[at + integers[f]] > reals[f + 2])
                g = integers[g + 1] + 4 * (inputs[at + integers[g]] > reals[g + 2])
                h = integers[h + 1] + 4 * (inputs[at + integers[h]] > reals[h + 2])
            score = out[first + row]
            score += reals[a + 3]
            score += reals[b + 3]
            score += reals[c + 3]
            score += reals[d + 3]
            score += reals[e + 3]
            score += reals[f + 3]
            score += reals[g + 3]
            score += reals[h + 3]
            out[first + row] = score
    if logistic != 0:
        for row in range(count):
            score = out[first + row]
            if score >= 0.0:
                out[first + row] = 1.0 / (1.0 + exp(-score))
            else:
                value = exp(score)
                out[first + row] = value / (1.0 + value)
    return absent
