"""C_out in one scenario: the inner loops of ``costing`` with nothing else in them; and a check of rows."""

import cython
from cython.cimports.godb_fast._kernels.enumeration import lowest

if not cython.compiled:

    def least(pair, stop, pairs, a):
        """Cost of the cheapest pair of a list; infinity if there is none."""
        best = 1e999
        while pair < stop:
            cost = a[pairs[pair] & 65535] + a[(pairs[pair] >> 16) & 65535]
            best = cost if cost < best else best
            pair += 1
        return best

    # With Numba, a call that passes arrays counts references.
    least.inlined = True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def plain_pairs(
    count: cython.longlong,
    sets: cython.p_longlong,
    ends: cython.p_int,
    pairs: cython.p_int,
    rows: cython.p_double,
    output: cython.double,
    a: cython.p_double,
) -> cython.void:
    """C_out in one scenario over a pair list grouped by union; slots are csg indices."""
    i: cython.longlong
    start: cython.longlong = 0
    for i in range(count):
        if sets[i] & (sets[i] - 1) == 0:
            a[i] = 0.0
        else:
            a[i] = least(start, ends[i], pairs, a) + output * rows[i]
            start = ends[i]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def plain_trees(
    count: cython.longlong,
    sets: cython.p_longlong,
    below: cython.p_longlong,
    rows: cython.p_double,
    output: cython.double,
    a: cython.p_double,
) -> cython.void:
    """C_out in one scenario by tree splits; slots are masks."""
    i: cython.longlong
    whole: cython.longlong
    rest: cython.longlong
    following: cython.longlong
    lower: cython.longlong
    best: cython.double
    cost: cython.double
    for i in range(count):
        whole = sets[i]
        rest = whole
        following = rest & (rest - 1)
        if following == 0:
            a[whole] = 0.0
            continue
        best = 1e999
        while following != 0:
            lower = whole & below[lowest(rest)]
            cost = a[lower] + a[whole ^ lower]
            best = cost if cost < best else best
            rest = following
            following = rest & (rest - 1)
        a[whole] = best + output * rows[i]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def plain_subsets(
    count: cython.longlong,
    sets: cython.p_longlong,
    rows: cython.p_double,
    output: cython.double,
    a: cython.p_double,
) -> cython.void:
    """C_out in one scenario by subset splits (DPsub); slots are masks.

    Slots of disconnected sets hold infinity from the start, so that no split is tested for connectivity.
    """
    i: cython.longlong
    whole: cython.longlong
    within: cython.longlong
    part: cython.longlong
    best: cython.double
    second: cython.double
    cost: cython.double
    for i in range(count):
        whole = sets[i]
        # The part without the lowest relation stands for both orders of a split.
        within = whole & (whole - 1)
        if within == 0:
            a[whole] = 0.0
            continue
        # Two minima at once: after the first, an even number of parts is left.
        best = a[within] + a[whole ^ within]
        second = 1e999
        part = (within - 1) & within
        while part != 0:
            cost = a[part] + a[whole ^ part]
            best = cost if cost < best else best
            part = (part - 1) & within
            cost = a[part] + a[whole ^ part]
            second = cost if cost < second else second
            part = (part - 1) & within
        best = second if second < best else best
        a[whole] = best + output * rows[i]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def plain_start(count: cython.longlong, sets: cython.p_longlong, a: cython.p_double) -> cython.void:
    """Before :func:`plain_stream`: 0 for single relations, else infinity."""
    i: cython.longlong
    for i in range(count):
        a[i] = 0.0 if sets[i] & (sets[i] - 1) == 0 else 1e999


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def plain_stop(
    settled: cython.longlong,
    count: cython.longlong,
    sets: cython.p_longlong,
    rows: cython.p_double,
    output: cython.double,
    a: cython.p_double,
) -> cython.void:
    """After :func:`plain_stream`: settle the csgs that are part of no other."""
    i: cython.longlong
    for i in range(settled, count):
        if sets[i] & (sets[i] - 1) != 0:
            a[i] += output * rows[i]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def plain_stream(
    settled: cython.longlong,
    filled: cython.longlong,
    chunk: cython.p_int,
    sets: cython.p_longlong,
    rows: cython.p_double,
    output: cython.double,
    a: cython.p_double,
) -> cython.longlong:
    """C_out in one scenario over one chunk of streamed pairs; returns how many csgs are settled by now.

    At first ``a`` holds 0 for single relations, else infinity. Until a csg is settled, its slot holds what
    its cheapest inputs cost.
    """
    i: cython.longlong
    left: cython.longlong
    right: cython.longlong
    both: cython.longlong
    later: cython.longlong
    before: cython.longlong = -1
    cost: cython.double
    best: cython.double = 1e999
    for i in range(filled):
        left = chunk[3 * i]
        right = chunk[3 * i + 1]
        both = chunk[3 * i + 2]
        if both != before:
            if before >= 0:
                a[before] = best
            before = both
            best = a[both]
        later = left if left > right else right
        while settled <= later:
            if sets[settled] & (sets[settled] - 1) != 0:
                a[settled] += output * rows[settled]
            settled += 1
        cost = a[left] + a[right]
        best = cost if cost < best else best
    if before >= 0:
        a[before] = best
    return settled


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def count_invalid(count: cython.longlong, rows: cython.p_double) -> cython.longlong:
    """How many row counts are negative or not a number."""
    i: cython.longlong
    invalid: cython.longlong = 0
    for i in range(count):
        invalid += 0 if rows[i] >= 0.0 else 1
    return invalid
