"""Change detectors over a stream of numbers: Page–Hinkley's test, and adaptive windowing (ADWIN).

Page, "Continuous inspection schemes", Biometrika 1954, with Hinkley's running mean (1971) and a fading
factor; Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", SDM 2007. A call takes
any number of values, and leaves its state in the caller's arrays. After a change both start anew with the
next value.
"""

import cython
from cython.cimports.libc.math import fabs, log, sqrt

#: What a Page–Hinkley test keeps: values seen, their mean, the sum that grows with increases and its least
#: value, the sum that falls with decreases and its greatest, whether the last value was a change.
PAGE_HINKLEY_STATE = 7
#: What ADWIN keeps beside its buckets, as integers: width of its window, values seen, rows of buckets in use,
#: whether the last value was a change.
ADWIN_COUNTS = 4
#: And as numbers: total and sum of squared deviations of its window.
ADWIN_STATE = 2


@cython.ccall
@cython.nogil
@cython.exceptval(check=False)
def page_hinkley(
    count: cython.longlong,
    values: cython.const[cython.double][::1],
    least_values: cython.double,
    tolerance: cython.double,
    threshold: cython.double,
    fading: cython.double,
    state: cython.double[::1],
    changes: cython.longlong[::1],
) -> cython.longlong:
    """Mark in ``changes`` (0 or 1) at which values the mean had changed; how many there were."""
    number: cython.longlong
    found: cython.longlong
    deviation: cython.double
    found = 0
    for number in range(count):
        if state[6] != 0.0:
            state[0] = 0.0
            state[6] = 0.0
        if state[0] == 0.0:
            state[1] = 0.0
            state[2] = 0.0
            state[3] = 0.0
            state[4] = 0.0
            state[5] = 0.0
        state[0] += 1.0
        state[1] += (values[number] - state[1]) / state[0]
        deviation = values[number] - state[1]
        state[2] = fading * state[2] + deviation - tolerance
        state[4] = fading * state[4] + deviation + tolerance
        if state[0] == 1.0 or state[2] < state[3]:
            state[3] = state[2]
        if state[0] == 1.0 or state[4] > state[5]:
            state[5] = state[4]
        changes[number] = 0
        if state[0] >= least_values and (state[2] - state[3] > threshold or state[5] - state[4] > threshold):
            changes[number] = 1
            state[6] = 1.0
            found += 1
    return found


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _drop(
    totals: cython.double[:, ::1],
    squares: cython.double[:, ::1],
    held: cython.longlong[::1],
    counts: cython.longlong[::1],
    state: cython.double[::1],
) -> cython.void:
    """Drop the oldest bucket from the window."""
    row: cython.longlong
    dropped: cython.longlong
    other: cython.longlong
    size: cython.double
    apart: cython.double
    width: cython.double
    row = counts[2] - 1
    dropped = 1
    for other in range(row):
        dropped *= 2
    size = dropped
    counts[0] -= dropped
    width = counts[0]
    state[0] -= totals[row, 0]
    if width > 0.0:
        apart = totals[row, 0] / size - state[0] / width
        state[1] -= squares[row, 0] + size * width * apart * apart / (size + width)
    if width <= 0.0 or state[1] < 0.0:
        state[1] = 0.0
    for other in range(held[row] - 1):
        totals[row, other] = totals[row, other + 1]
        squares[row, other] = squares[row, other + 1]
    held[row] -= 1
    if held[row] == 0:
        counts[2] -= 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _keep(
    value: cython.double,
    most: cython.longlong,
    totals: cython.double[:, ::1],
    squares: cython.double[:, ::1],
    held: cython.longlong[::1],
    counts: cython.longlong[::1],
    state: cython.double[::1],
) -> cython.void:
    """Put a value into the window, and merge buckets where a row has too many."""
    row: cython.longlong
    other: cython.longlong
    size: cython.double
    apart: cython.double
    width: cython.double
    counts[0] += 1
    width = counts[0]
    if width > 1.0:
        apart = value - state[0] / (width - 1.0)
        state[1] += (width - 1.0) * apart * apart / width
    state[0] += value
    if counts[2] == 0:
        counts[2] = 1
    totals[0, held[0]] = value
    squares[0, held[0]] = 0.0
    held[0] += 1
    row = 0
    size = 1.0
    # A row holds buckets of 2^row values, the oldest first; one more than allowed: its two oldest become one.
    while held[row] > most:
        if row + 1 >= held.shape[0]:
            # There is no room for larger buckets: the window forgets its oldest.
            _drop(totals, squares, held, counts, state)
            return
        if row + 1 >= counts[2]:
            counts[2] = row + 2
            held[row + 1] = 0
        apart = (totals[row, 0] - totals[row, 1]) / size
        totals[row + 1, held[row + 1]] = totals[row, 0] + totals[row, 1]
        squares[row + 1, held[row + 1]] = squares[row, 0] + squares[row, 1] + 0.5 * size * apart * apart
        held[row + 1] += 1
        for other in range(held[row] - 2):
            totals[row, other] = totals[row, other + 2]
            squares[row, other] = squares[row, other + 2]
        held[row] -= 2
        row += 1
        size *= 2.0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _splits(
    confidence: cython.double,
    shortest: cython.longlong,
    totals: cython.double[:, ::1],
    held: cython.longlong[::1],
    counts: cython.longlong[::1],
    state: cython.double[::1],
) -> cython.longlong:
    """1 if the window's older part and its newer part differ in their means somewhere."""
    row: cython.longlong
    bucket: cython.longlong
    number: cython.longlong
    last: cython.longlong
    size: cython.double
    older: cython.double
    newer: cython.double
    older_total: cython.double
    newer_total: cython.double
    doubt: cython.double
    width: cython.double
    variance: cython.double
    reach: cython.double
    older = 0.0
    older_total = 0.0
    newer = counts[0]
    newer_total = state[0]
    variance = state[1] / newer
    doubt = log(2.0 * log(newer) / confidence)
    number = counts[2] - 1
    size = 1.0
    for row in range(number):
        size *= 2.0
    for row in range(number, -1, -1):
        last = held[row]
        for bucket in range(last):
            if row == 0 and bucket == last - 1:
                return 0
            older += size
            newer -= size
            older_total += totals[row, bucket]
            newer_total -= totals[row, bucket]
            if older >= shortest and newer >= shortest:
                width = 1.0 / (older - shortest + 1.0) + 1.0 / (newer - shortest + 1.0)
                reach = sqrt(2.0 * width * variance * doubt) + 2.0 / 3.0 * doubt * width
                if fabs(older_total / older - newer_total / newer) > reach:
                    return 1
        size *= 0.5
    return 0


@cython.ccall
@cython.nogil
@cython.exceptval(check=False)
def adwin(
    count: cython.longlong,
    values: cython.const[cython.double][::1],
    confidence: cython.double,
    every: cython.longlong,
    most: cython.longlong,
    shortest: cython.longlong,
    grace: cython.longlong,
    totals: cython.double[:, ::1],
    squares: cython.double[:, ::1],
    held: cython.longlong[::1],
    counts: cython.longlong[::1],
    state: cython.double[::1],
    changes: cython.longlong[::1],
) -> cython.longlong:
    """Mark in ``changes`` (0 or 1) at which values the window was cut; how many there were.

    ``totals`` and ``squares`` have a row per bucket size and ``most`` + 1 columns, ``held`` an entry per row.
    A cut is looked for at every ``every``-th value, once there are more than ``grace``.
    """
    number: cython.longlong
    found: cython.longlong
    row: cython.longlong
    found = 0
    for number in range(count):
        if counts[3] != 0:
            for row in range(held.shape[0]):
                held[row] = 0
            for row in range(4):
                counts[row] = 0
            state[0] = 0.0
            state[1] = 0.0
        _keep(values[number], most, totals, squares, held, counts, state)
        counts[1] += 1
        changes[number] = 0
        if counts[1] % every == 0 and counts[0] > grace:
            while counts[0] > 1 and _splits(confidence, shortest, totals, held, counts, state) == 1:
                changes[number] = 1
                _drop(totals, squares, held, counts, state)
        if changes[number] == 1:
            counts[3] = 1
            found += 1
    return found
