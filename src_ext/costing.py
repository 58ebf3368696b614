"""Dynamic programming over csgs: the cheapest cost of each, in K row scenarios (lanes) at once.

A pair's cost is separable: each set S has a cost as probe side ``a[S]`` (its own cost plus what probing with
its rows costs), as build side ``b[S]``, as either input of a merge join ``m[S]`` and as the probing side of
an index ``x[S]``; a pair costs one addition per alternative. C_out needs ``a`` only. Which of them a search
needs is its *mode*: 0 C_out, +1 hash joins with sides of different cost, +2 merge joins; whether pairs are
*oriented* (the first of the pair is the left input, because of ordering constraints); and whether there are
*lookups*, the sets from which one indexed relation can be split off.

``model`` is the coefficients' array: scan, build, probe, output, lookup, sort. Tables have one row of
``lanes`` costs per slot: a csg's index, or its mask where a kernel says so. Which pair was best is not
recorded but found again for the few sets of the final plan (extraction): so the inner loops are additions and
minima, over four lanes at a time that registers hold.
"""

import cython
from cython.cimports.godb_fast._kernels.enumeration import lowest
from cython.cimports.libc.math import log


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def settle(
    slot: cython.longlong,
    index: cython.longlong,
    cost: cython.double,
    rows: cython.double,
    mode: cython.longlong,
    lookups: cython.longlong,
    model: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.void:
    """Enter a set's final cost in one lane. Coefficients of 0 are skipped: rows may be infinite.

    ``slot`` and ``index`` are the places of that lane in the tables and in ``x``.
    """
    a[slot] = cost
    if mode & 1 != 0:
        if model[2] > 0.0:
            a[slot] = cost + model[2] * rows
        b[slot] = cost
        if model[1] > 0.0:
            b[slot] = cost + model[1] * rows
    if mode & 2 != 0:
        m[slot] = cost
        if model[5] > 0.0:
            m[slot] = cost + model[5] * rows * log(1.0 + rows)
    if lookups != 0:
        x[index] = cost
        if model[4] > 0.0:
            x[index] = cost + model[4] * rows


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def scan_cost(rows: cython.double, model: cython.p_double) -> cython.double:
    """Cost of reading one relation."""
    if model[0] > 0.0:
        return model[0] * rows
    return 0.0


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def joined_cost(inputs: cython.double, rows: cython.double, model: cython.p_double) -> cython.double:
    """Cost of a join whose inputs cost that much; a result of unknown (infinite) size costs infinity."""
    if model[3] > 0.0:
        return inputs + model[3] * rows
    if rows == 1e999:
        return rows
    return inputs


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def pair_cost(
    left: cython.longlong,
    right: cython.longlong,
    mode: cython.longlong,
    oriented: cython.longlong,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
) -> cython.double:
    """The cheapest way to join two slots, before output."""
    cost: cython.double
    other: cython.double
    if mode == 0:
        return a[left] + a[right]
    cost = 1e999
    if mode & 1 != 0:
        cost = a[left] + b[right]
        if oriented == 0:
            other = a[right] + b[left]
            cost = other if other < cost else cost
    else:
        cost = a[left] + a[right]
    if mode & 2 != 0:
        other = m[left] + m[right]
        cost = other if other < cost else cost
    return cost


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def listed_four(
    pair: cython.longlong,
    stop: cython.longlong,
    pairs: cython.p_int,
    lanes: cython.longlong,
    lane: cython.longlong,
    mode: cython.longlong,
    a: cython.p_double,
    b: cython.p_double,
    best: cython.p_double,
) -> cython.void:
    """The best pair of a list in four lanes, mode 0 or 1, into ``best``."""
    left: cython.longlong
    right: cython.longlong
    cost: cython.double
    first: cython.double = 1e999
    second: cython.double = 1e999
    third: cython.double = 1e999
    fourth: cython.double = 1e999
    if mode == 0:
        while pair < stop:
            left = (pairs[pair] & 65535) * lanes + lane
            right = ((pairs[pair] >> 16) & 65535) * lanes + lane
            cost = a[left] + a[right]
            first = cost if cost < first else first
            cost = a[left + 1] + a[right + 1]
            second = cost if cost < second else second
            cost = a[left + 2] + a[right + 2]
            third = cost if cost < third else third
            cost = a[left + 3] + a[right + 3]
            fourth = cost if cost < fourth else fourth
            pair += 1
    else:
        while pair < stop:
            left = (pairs[pair] & 65535) * lanes + lane
            right = ((pairs[pair] >> 16) & 65535) * lanes + lane
            cost = a[left] + b[right]
            first = cost if cost < first else first
            cost = b[left] + a[right]
            first = cost if cost < first else first
            cost = a[left + 1] + b[right + 1]
            second = cost if cost < second else second
            cost = b[left + 1] + a[right + 1]
            second = cost if cost < second else second
            cost = a[left + 2] + b[right + 2]
            third = cost if cost < third else third
            cost = b[left + 2] + a[right + 2]
            third = cost if cost < third else third
            cost = a[left + 3] + b[right + 3]
            fourth = cost if cost < fourth else fourth
            cost = b[left + 3] + a[right + 3]
            fourth = cost if cost < fourth else fourth
            pair += 1
    best[lane] = first
    best[lane + 1] = second
    best[lane + 2] = third
    best[lane + 3] = fourth


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def listed_one(
    pair: cython.longlong,
    stop: cython.longlong,
    pairs: cython.p_int,
    lanes: cython.longlong,
    lane: cython.longlong,
    mode: cython.longlong,
    oriented: cython.longlong,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
) -> cython.double:
    """The best pair of a list in one lane, any mode."""
    left: cython.longlong
    right: cython.longlong
    cost: cython.double
    best: cython.double = 1e999
    if mode == 0:
        while pair < stop:
            left = (pairs[pair] & 65535) * lanes + lane
            right = ((pairs[pair] >> 16) & 65535) * lanes + lane
            cost = a[left] + a[right]
            best = cost if cost < best else best
            pair += 1
    elif mode == 1 and oriented == 0:
        while pair < stop:
            left = (pairs[pair] & 65535) * lanes + lane
            right = ((pairs[pair] >> 16) & 65535) * lanes + lane
            cost = a[left] + b[right]
            best = cost if cost < best else best
            cost = b[left] + a[right]
            best = cost if cost < best else best
            pair += 1
    else:
        while pair < stop:
            left = (pairs[pair] & 65535) * lanes + lane
            right = ((pairs[pair] >> 16) & 65535) * lanes + lane
            cost = pair_cost(left, right, mode, oriented, a, b, m)
            best = cost if cost < best else best
            pair += 1
    return best


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def tree_four(
    whole: cython.longlong,
    below: cython.p_longlong,
    lanes: cython.longlong,
    lane: cython.longlong,
    mode: cython.longlong,
    a: cython.p_double,
    b: cython.p_double,
    best: cython.p_double,
) -> cython.void:
    """The best tree split in four lanes, mode 0 or 1, into ``best``."""
    left: cython.longlong
    right: cython.longlong
    rest: cython.longlong = whole
    following: cython.longlong = rest & (rest - 1)
    cost: cython.double
    first: cython.double = 1e999
    second: cython.double = 1e999
    third: cython.double = 1e999
    fourth: cython.double = 1e999
    if mode == 0:
        while following != 0:
            right = whole & below[lowest(rest)]
            left = (whole ^ right) * lanes + lane
            right = right * lanes + lane
            cost = a[left] + a[right]
            first = cost if cost < first else first
            cost = a[left + 1] + a[right + 1]
            second = cost if cost < second else second
            cost = a[left + 2] + a[right + 2]
            third = cost if cost < third else third
            cost = a[left + 3] + a[right + 3]
            fourth = cost if cost < fourth else fourth
            rest = following
            following = rest & (rest - 1)
    else:
        while following != 0:
            right = whole & below[lowest(rest)]
            left = (whole ^ right) * lanes + lane
            right = right * lanes + lane
            cost = a[left] + b[right]
            first = cost if cost < first else first
            cost = b[left] + a[right]
            first = cost if cost < first else first
            cost = a[left + 1] + b[right + 1]
            second = cost if cost < second else second
            cost = b[left + 1] + a[right + 1]
            second = cost if cost < second else second
            cost = a[left + 2] + b[right + 2]
            third = cost if cost < third else third
            cost = b[left + 2] + a[right + 2]
            third = cost if cost < third else third
            cost = a[left + 3] + b[right + 3]
            fourth = cost if cost < fourth else fourth
            cost = b[left + 3] + a[right + 3]
            fourth = cost if cost < fourth else fourth
            rest = following
            following = rest & (rest - 1)
    best[lane] = first
    best[lane + 1] = second
    best[lane + 2] = third
    best[lane + 3] = fourth


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def tree_one(
    whole: cython.longlong,
    below: cython.p_longlong,
    lanes: cython.longlong,
    lane: cython.longlong,
    mode: cython.longlong,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
) -> cython.double:
    """The best tree split in one lane, any mode."""
    left: cython.longlong
    right: cython.longlong
    rest: cython.longlong = whole
    following: cython.longlong = rest & (rest - 1)
    cost: cython.double
    best: cython.double = 1e999
    if mode == 0:
        while following != 0:
            right = whole & below[lowest(rest)]
            left = (whole ^ right) * lanes + lane
            right = right * lanes + lane
            cost = a[left] + a[right]
            best = cost if cost < best else best
            rest = following
            following = rest & (rest - 1)
    elif mode == 1:
        while following != 0:
            right = whole & below[lowest(rest)]
            left = (whole ^ right) * lanes + lane
            right = right * lanes + lane
            cost = a[left] + b[right]
            best = cost if cost < best else best
            cost = b[left] + a[right]
            best = cost if cost < best else best
            rest = following
            following = rest & (rest - 1)
    else:
        while following != 0:
            right = whole & below[lowest(rest)]
            left = (whole ^ right) * lanes + lane
            right = right * lanes + lane
            cost = pair_cost(left, right, mode, 0, a, b, m)
            best = cost if cost < best else best
            rest = following
            following = rest & (rest - 1)
    return best


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def subset_four(
    whole: cython.longlong,
    lanes: cython.longlong,
    lane: cython.longlong,
    mode: cython.longlong,
    a: cython.p_double,
    b: cython.p_double,
    best: cython.p_double,
) -> cython.void:
    """The best subset split in four lanes, mode 0 or 1, into ``best``."""
    left: cython.longlong
    right: cython.longlong
    within: cython.longlong = whole & (whole - 1)
    part: cython.longlong = within
    cost: cython.double
    first: cython.double = 1e999
    second: cython.double = 1e999
    third: cython.double = 1e999
    fourth: cython.double = 1e999
    if mode == 0:
        while part != 0:
            left = (whole ^ part) * lanes + lane
            right = part * lanes + lane
            cost = a[left] + a[right]
            first = cost if cost < first else first
            cost = a[left + 1] + a[right + 1]
            second = cost if cost < second else second
            cost = a[left + 2] + a[right + 2]
            third = cost if cost < third else third
            cost = a[left + 3] + a[right + 3]
            fourth = cost if cost < fourth else fourth
            part = (part - 1) & within
    else:
        while part != 0:
            left = (whole ^ part) * lanes + lane
            right = part * lanes + lane
            cost = a[left] + b[right]
            first = cost if cost < first else first
            cost = b[left] + a[right]
            first = cost if cost < first else first
            cost = a[left + 1] + b[right + 1]
            second = cost if cost < second else second
            cost = b[left + 1] + a[right + 1]
            second = cost if cost < second else second
            cost = a[left + 2] + b[right + 2]
            third = cost if cost < third else third
            cost = b[left + 2] + a[right + 2]
            third = cost if cost < third else third
            cost = a[left + 3] + b[right + 3]
            fourth = cost if cost < fourth else fourth
            cost = b[left + 3] + a[right + 3]
            fourth = cost if cost < fourth else fourth
            part = (part - 1) & within
    best[lane] = first
    best[lane + 1] = second
    best[lane + 2] = third
    best[lane + 3] = fourth


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def subset_one(
    whole: cython.longlong,
    lanes: cython.longlong,
    lane: cython.longlong,
    mode: cython.longlong,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
) -> cython.double:
    """The best subset split in one lane, any mode."""
    left: cython.longlong
    right: cython.longlong
    within: cython.longlong = whole & (whole - 1)
    part: cython.longlong = within
    cost: cython.double
    best: cython.double = 1e999
    if mode == 0:
        while part != 0:
            left = (whole ^ part) * lanes + lane
            right = part * lanes + lane
            cost = a[left] + a[right]
            best = cost if cost < best else best
            part = (part - 1) & within
    elif mode == 1:
        while part != 0:
            left = (whole ^ part) * lanes + lane
            right = part * lanes + lane
            cost = a[left] + b[right]
            best = cost if cost < best else best
            cost = b[left] + a[right]
            best = cost if cost < best else best
            part = (part - 1) & within
    else:
        while part != 0:
            left = (whole ^ part) * lanes + lane
            right = part * lanes + lane
            cost = pair_cost(left, right, mode, 0, a, b, m)
            best = cost if cost < best else best
            part = (part - 1) & within
    return best


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def finish(
    slot: cython.longlong,
    index: cython.longlong,
    lanes: cython.longlong,
    rows: cython.p_double,
    mode: cython.longlong,
    lookup_ends: cython.p_int,
    lookup_left: cython.p_int,
    lookups: cython.longlong,
    model: cython.p_double,
    best: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.void:
    """Settle a join of every lane from its cheapest inputs, ``best``, and from index joins."""
    k: cython.longlong
    asked: cython.longlong
    cost: cython.double
    other: cython.double
    size: cython.double
    output: cython.double = model[3]
    probe: cython.double = model[2]
    build: cython.double = model[1]
    # The common models: every coefficient that the mode needs is there, and so are no special cases.
    if lookups == 0 and output > 0.0 and mode == 0:
        for k in range(lanes):
            a[slot * lanes + k] = best[k] + output * rows[index * lanes + k]
        return
    if lookups == 0 and output > 0.0 and mode == 1 and probe > 0.0 and build > 0.0:
        for k in range(lanes):
            size = rows[index * lanes + k]
            cost = best[k] + output * size
            a[slot * lanes + k] = cost + probe * size
            b[slot * lanes + k] = cost + build * size
        return
    for k in range(lanes):
        cost = best[k]
        if lookups != 0:
            for asked in range(lookup_ends[index - 1] if index > 0 else 0, lookup_ends[index]):
                other = x[lookup_left[asked] * lanes + k]
                cost = other if other < cost else cost
        cost = joined_cost(cost, rows[index * lanes + k], model)
        settle(
            slot * lanes + k,
            index * lanes + k,
            cost,
            rows[index * lanes + k],
            mode,
            lookups,
            model,
            a,
            b,
            m,
            x,
        )


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def finish_scan(
    slot: cython.longlong,
    index: cython.longlong,
    lanes: cython.longlong,
    rows: cython.p_double,
    mode: cython.longlong,
    lookups: cython.longlong,
    model: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.void:
    """Settle one relation in every lane."""
    k: cython.longlong
    size: cython.double
    for k in range(lanes):
        size = rows[index * lanes + k]
        settle(
            slot * lanes + k,
            index * lanes + k,
            scan_cost(size, model),
            size,
            mode,
            lookups,
            model,
            a,
            b,
            m,
            x,
        )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def search_pairs(
    count: cython.longlong,
    sets: cython.p_longlong,
    ends: cython.p_int,
    pairs: cython.p_int,
    lanes: cython.longlong,
    rows: cython.p_double,
    mode: cython.longlong,
    oriented: cython.longlong,
    lookup_ends: cython.p_int,
    lookup_left: cython.p_int,
    lookups: cython.longlong,
    model: cython.p_double,
    best: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.void:
    """Search over a pair list grouped by union; slots are csg indices. ``best`` has room for 16 numbers."""
    i: cython.longlong
    lane: cython.longlong
    start: cython.longlong = 0
    stop: cython.longlong
    whole: cython.longlong
    for i in range(count):
        whole = sets[i]
        if whole & (whole - 1) == 0:
            finish_scan(i, i, lanes, rows, mode, lookups, model, a, b, m, x)
            continue
        stop = ends[i]
        lane = 0
        while mode < 2 and oriented == 0 and lane + 4 <= lanes:
            listed_four(start, stop, pairs, lanes, lane, mode, a, b, best)
            lane += 4
        while lane < lanes:
            best[lane] = listed_one(start, stop, pairs, lanes, lane, mode, oriented, a, b, m)
            lane += 1
        start = stop
        finish(i, i, lanes, rows, mode, lookup_ends, lookup_left, lookups, model, best, a, b, m, x)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def search_trees(
    count: cython.longlong,
    sets: cython.p_longlong,
    below: cython.p_longlong,
    lanes: cython.longlong,
    rows: cython.p_double,
    mode: cython.longlong,
    lookup_ends: cython.p_int,
    lookup_left: cython.p_int,
    lookups: cython.longlong,
    model: cython.p_double,
    best: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.void:
    """Search of an acyclic graph by tree splits; slots are masks, ``below`` the subtree masks.

    ``best`` has room for 16 numbers.
    """
    i: cython.longlong
    lane: cython.longlong
    whole: cython.longlong
    for i in range(count):
        whole = sets[i]
        if whole & (whole - 1) == 0:
            finish_scan(whole, i, lanes, rows, mode, lookups, model, a, b, m, x)
            continue
        lane = 0
        while mode < 2 and lane + 4 <= lanes:
            tree_four(whole, below, lanes, lane, mode, a, b, best)
            lane += 4
        while lane < lanes:
            best[lane] = tree_one(whole, below, lanes, lane, mode, a, b, m)
            lane += 1
        finish(whole, i, lanes, rows, mode, lookup_ends, lookup_left, lookups, model, best, a, b, m, x)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def search_subsets(
    count: cython.longlong,
    sets: cython.p_longlong,
    lanes: cython.longlong,
    rows: cython.p_double,
    mode: cython.longlong,
    lookup_ends: cython.p_int,
    lookup_left: cython.p_int,
    lookups: cython.longlong,
    model: cython.p_double,
    best: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.void:
    """Search by subset splits; slots are masks, infinite from the start for disconnected sets.

    ``best`` has room for 16 numbers.
    """
    i: cython.longlong
    lane: cython.longlong
    whole: cython.longlong
    for i in range(count):
        whole = sets[i]
        if whole & (whole - 1) == 0:
            finish_scan(whole, i, lanes, rows, mode, lookups, model, a, b, m, x)
            continue
        lane = 0
        while mode < 2 and lane + 4 <= lanes:
            subset_four(whole, lanes, lane, mode, a, b, best)
            lane += 4
        while lane < lanes:
            best[lane] = subset_one(whole, lanes, lane, mode, a, b, m)
            lane += 1
        finish(whole, i, lanes, rows, mode, lookup_ends, lookup_left, lookups, model, best, a, b, m, x)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def settle_until(
    start: cython.longlong,
    stop: cython.longlong,
    sets: cython.p_longlong,
    lanes: cython.longlong,
    rows: cython.p_double,
    mode: cython.longlong,
    lookup_ends: cython.p_int,
    lookup_left: cython.p_int,
    lookups: cython.longlong,
    model: cython.p_double,
    found: cython.p_double,
    best: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.void:
    """Settle the csgs from ``start`` up to (not including) ``stop``, all of whose pairs have been seen."""
    i: cython.longlong
    k: cython.longlong
    for i in range(start, stop):
        if sets[i] & (sets[i] - 1) == 0:
            finish_scan(i, i, lanes, rows, mode, lookups, model, a, b, m, x)
        else:
            for k in range(lanes):
                best[k] = found[i * lanes + k]
            finish(i, i, lanes, rows, mode, lookup_ends, lookup_left, lookups, model, best, a, b, m, x)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def start_stream(count: cython.longlong, found: cython.p_double) -> cython.void:
    """Before :func:`search_stream`."""
    i: cython.longlong
    for i in range(count):
        found[i] = 1e999


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def search_stream(
    settled: cython.longlong,
    filled: cython.longlong,
    chunk: cython.p_int,
    sets: cython.p_longlong,
    lanes: cython.longlong,
    rows: cython.p_double,
    mode: cython.longlong,
    oriented: cython.longlong,
    lookup_ends: cython.p_int,
    lookup_left: cython.p_int,
    lookups: cython.longlong,
    model: cython.p_double,
    found: cython.p_double,
    best: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.longlong:
    """Search over one chunk of streamed pairs; returns how many csgs are settled by now.

    ``found`` holds infinity at first; it receives what each csg's cheapest inputs cost, by lane.
    """
    i: cython.longlong
    k: cython.longlong
    left: cython.longlong
    right: cython.longlong
    both: cython.longlong
    later: cython.longlong
    cost: cython.double
    for i in range(filled):
        left = chunk[3 * i]
        right = chunk[3 * i + 1]
        both = chunk[3 * i + 2] * lanes
        later = left if left > right else right
        if later >= settled:
            settle_until(
                settled, later + 1, sets, lanes, rows, mode, lookup_ends, lookup_left, lookups, model, found,
                best, a, b, m, x,
            )  # fmt: skip
            settled = later + 1
        for k in range(lanes):
            cost = pair_cost(left * lanes + k, right * lanes + k, mode, oriented, a, b, m)
            found[both + k] = cost if cost < found[both + k] else found[both + k]
    return settled


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def scanned(rows: cython.double, model: cython.p_double) -> cython.double:
    """:func:`scan_cost` for other modules, which cannot inline it."""
    return scan_cost(rows, model)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def joined(inputs: cython.double, rows: cython.double, model: cython.p_double) -> cython.double:
    """:func:`joined_cost` for other modules."""
    return joined_cost(inputs, rows, model)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def paired(
    left: cython.longlong,
    right: cython.longlong,
    mode: cython.longlong,
    oriented: cython.longlong,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
) -> cython.double:
    """:func:`pair_cost` for other modules."""
    return pair_cost(left, right, mode, oriented, a, b, m)
