"""Dynamic programming over csgs: the cheapest cost of each, for one row scenario.

A pair's cost is separable: each set S has a cost as probe side ``a[S]`` (its own cost plus what probing with
its rows costs), as build side ``b[S]``, as either input of a merge join ``m[S]`` and as the probing side of
an index ``x[S]``; a pair costs one addition per alternative. C_out needs ``a`` only. Which of them a search
needs is its *mode*: 0 C_out, +1 hash joins with sides of different cost, +2 merge joins; whether pairs are
*oriented* (the first of the pair is the left input, because of ordering constraints); and whether there are
*lookups*, the sets from which one indexed relation can be split off.

``model`` is the coefficients' array: scan, build, probe, output, lookup, sort. Tables are indexed by slot: a
csg's index, or its mask where a kernel says so. Which pair was best is not recorded here but found again for
the few sets of the final plan (extraction), except where pairs are streamed.
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
    """Enter a set's final cost into the tables. Coefficients of 0 are skipped: rows may be infinite."""
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
@cython.exceptval(check=False)
def replay_pairs(
    count: cython.longlong,
    sets: cython.p_longlong,
    ends: cython.p_int,
    pairs: cython.p_int,
    lanes: cython.longlong,
    lane: cython.longlong,
    rows: cython.p_double,
    mode: cython.longlong,
    oriented: cython.longlong,
    lookup_ends: cython.p_int,
    lookup_left: cython.p_int,
    lookups: cython.longlong,
    model: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.void:
    """Search over a pair list grouped by union; slots are csg indices."""
    i: cython.longlong
    pair: cython.longlong = 0
    stop: cython.longlong
    asked: cython.longlong = 0
    best: cython.double
    cost: cython.double
    other: cython.double
    size: cython.double
    for i in range(count):
        size = rows[i * lanes + lane]
        if sets[i] & (sets[i] - 1) == 0:
            settle(i, i, scan_cost(size, model), size, mode, lookups, model, a, b, m, x)
            continue
        stop = ends[i]
        best = 1e999
        if mode == 0:
            while pair < stop:
                cost = a[pairs[2 * pair]] + a[pairs[2 * pair + 1]]
                best = cost if cost < best else best
                pair += 1
        elif mode == 1 and oriented == 0:
            while pair < stop:
                cost = a[pairs[2 * pair]] + b[pairs[2 * pair + 1]]
                other = b[pairs[2 * pair]] + a[pairs[2 * pair + 1]]
                best = cost if cost < best else best
                best = other if other < best else best
                pair += 1
        else:
            while pair < stop:
                cost = pair_cost(pairs[2 * pair], pairs[2 * pair + 1], mode, oriented, a, b, m)
                best = cost if cost < best else best
                pair += 1
        if lookups != 0:
            stop = lookup_ends[i]
            while asked < stop:
                cost = x[lookup_left[asked]]
                best = cost if cost < best else best
                asked += 1
        settle(i, i, joined_cost(best, size, model), size, mode, lookups, model, a, b, m, x)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def split_trees(
    count: cython.longlong,
    sets: cython.p_longlong,
    below: cython.p_longlong,
    lanes: cython.longlong,
    lane: cython.longlong,
    rows: cython.p_double,
    mode: cython.longlong,
    lookup_ends: cython.p_int,
    lookup_left: cython.p_int,
    lookups: cython.longlong,
    model: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.void:
    """Search of an acyclic graph by tree splits; slots are masks, ``below`` the subtree masks."""
    i: cython.longlong
    asked: cython.longlong = 0
    stop: cython.longlong
    whole: cython.longlong
    rest: cython.longlong
    lower: cython.longlong
    following: cython.longlong
    best: cython.double
    cost: cython.double
    other: cython.double
    size: cython.double
    for i in range(count):
        size = rows[i * lanes + lane]
        whole = sets[i]
        rest = whole
        following = rest & (rest - 1)
        if following == 0:
            settle(whole, i, scan_cost(size, model), size, mode, lookups, model, a, b, m, x)
            continue
        best = 1e999
        if mode == 0:
            while following != 0:
                lower = whole & below[lowest(rest)]
                cost = a[lower] + a[whole ^ lower]
                best = cost if cost < best else best
                rest = following
                following = rest & (rest - 1)
        elif mode == 1:
            while following != 0:
                lower = whole & below[lowest(rest)]
                cost = a[whole ^ lower] + b[lower]
                other = b[whole ^ lower] + a[lower]
                best = cost if cost < best else best
                best = other if other < best else best
                rest = following
                following = rest & (rest - 1)
        else:
            while following != 0:
                lower = whole & below[lowest(rest)]
                cost = pair_cost(whole ^ lower, lower, mode, 0, a, b, m)
                best = cost if cost < best else best
                rest = following
                following = rest & (rest - 1)
        if lookups != 0:
            stop = lookup_ends[i]
            while asked < stop:
                cost = x[lookup_left[asked]]
                best = cost if cost < best else best
                asked += 1
        settle(whole, i, joined_cost(best, size, model), size, mode, lookups, model, a, b, m, x)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def split_subsets(
    count: cython.longlong,
    sets: cython.p_longlong,
    lanes: cython.longlong,
    lane: cython.longlong,
    rows: cython.p_double,
    mode: cython.longlong,
    lookup_ends: cython.p_int,
    lookup_left: cython.p_int,
    lookups: cython.longlong,
    model: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.void:
    """Search by all splits of each csg (DPsub); slots are masks.

    Slots of disconnected sets hold infinity from the start, so that no split is tested for connectivity.
    """
    i: cython.longlong
    asked: cython.longlong = 0
    stop: cython.longlong
    whole: cython.longlong
    within: cython.longlong
    part: cython.longlong
    best: cython.double
    cost: cython.double
    other: cython.double
    size: cython.double
    for i in range(count):
        size = rows[i * lanes + lane]
        whole = sets[i]
        within = whole & (whole - 1)
        if within == 0:
            settle(whole, i, scan_cost(size, model), size, mode, lookups, model, a, b, m, x)
            continue
        best = 1e999
        # The part without the lowest relation stands for both orders of a split.
        part = within
        if mode == 0:
            while part != 0:
                cost = a[part] + a[whole ^ part]
                best = cost if cost < best else best
                part = (part - 1) & within
        elif mode == 1:
            while part != 0:
                cost = a[whole ^ part] + b[part]
                other = b[whole ^ part] + a[part]
                best = cost if cost < best else best
                best = other if other < best else best
                part = (part - 1) & within
        else:
            while part != 0:
                cost = pair_cost(whole ^ part, part, mode, 0, a, b, m)
                best = cost if cost < best else best
                part = (part - 1) & within
        if lookups != 0:
            stop = lookup_ends[i]
            while asked < stop:
                cost = x[lookup_left[asked]]
                best = cost if cost < best else best
                asked += 1
        settle(whole, i, joined_cost(best, size, model), size, mode, lookups, model, a, b, m, x)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def settle_until(
    start: cython.longlong,
    stop: cython.longlong,
    sets: cython.p_longlong,
    lanes: cython.longlong,
    lane: cython.longlong,
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
    """Settle the csgs from ``start`` up to (not including) ``stop``, all of whose pairs have been seen."""
    i: cython.longlong
    asked: cython.longlong
    size: cython.double
    cost: cython.double
    for i in range(start, stop):
        size = rows[i * lanes + lane]
        if sets[i] & (sets[i] - 1) == 0:
            cost = scan_cost(size, model)
        else:
            cost = best[i]
            if lookups != 0:
                for asked in range(0 if i == 0 else lookup_ends[i - 1], lookup_ends[i]):
                    cost = x[lookup_left[asked]] if x[lookup_left[asked]] < cost else cost
            cost = joined_cost(cost, size, model)
        settle(i, i, cost, size, mode, lookups, model, a, b, m, x)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def replay_stream(
    settled: cython.longlong,
    filled: cython.longlong,
    chunk: cython.p_int,
    sets: cython.p_longlong,
    lanes: cython.longlong,
    lane: cython.longlong,
    rows: cython.p_double,
    mode: cython.longlong,
    oriented: cython.longlong,
    lookup_ends: cython.p_int,
    lookup_left: cython.p_int,
    lookups: cython.longlong,
    model: cython.p_double,
    best: cython.p_double,
    choice: cython.p_int,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.longlong:
    """Search over one chunk of streamed pairs; returns how many csgs are settled by now.

    ``best`` holds infinity at first; ``choice[2 i]`` and ``choice[2 i + 1]`` receive csg i's best pair.
    """
    i: cython.longlong
    left: cython.longlong
    right: cython.longlong
    both: cython.longlong
    later: cython.longlong
    cost: cython.double
    for i in range(filled):
        left = chunk[3 * i]
        right = chunk[3 * i + 1]
        both = chunk[3 * i + 2]
        later = left if left > right else right
        if later >= settled:
            settle_until(
                settled, later + 1, sets, lanes, lane, rows, mode, lookup_ends, lookup_left, lookups, model,
                best, a, b, m, x,
            )  # fmt: skip
            settled = later + 1
        cost = pair_cost(left, right, mode, oriented, a, b, m)
        if cost < best[both] or choice[2 * both] < 0:
            best[both] = cost
            choice[2 * both] = left
            choice[2 * both + 1] = right
    return settled


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scanned(rows: cython.double, model: cython.p_double) -> cython.double:
    """:func:`scan_cost` for other modules, which cannot inline it."""
    return scan_cost(rows, model)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def joined(inputs: cython.double, rows: cython.double, model: cython.p_double) -> cython.double:
    """:func:`joined_cost` for other modules."""
    return joined_cost(inputs, rows, model)


@cython.cfunc
@cython.nogil
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


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recost(
    nodes: cython.longlong,
    node_int: cython.p_int,
    indexed: cython.longlong,
    lanes: cython.longlong,
    rows: cython.p_double,
    model: cython.p_double,
    costs: cython.p_double,
) -> cython.void:
    """Cost of every node of a given plan in every lane, shape (nodes, lanes), from its nodes' rows.

    ``node_int`` views a PLAN_NODE array; an operator of -1 asks for the cheapest one
    with the inputs as they stand. ``indexed`` is the mask of relations that an index join can look up.
    """
    i: cython.longlong
    k: cython.longlong
    operator: cython.longlong
    left: cython.longlong
    right: cython.longlong
    one: cython.longlong = 1
    probes: cython.double
    builds: cython.double
    cost: cython.double
    other: cython.double
    for i in range(nodes):
        operator = node_int[10 * i]
        if node_int[10 * i + 1] >= 0:
            for k in range(lanes):
                costs[i * lanes + k] = scan_cost(rows[i * lanes + k], model)
            continue
        left = node_int[10 * i + 2] * lanes
        right = node_int[10 * i + 3] * lanes
        for k in range(lanes):
            probes = rows[left + k]
            builds = rows[right + k]
            cost = 1e999
            if operator == 1 or operator == -1:
                other = costs[left + k]
                if model[2] > 0.0:
                    other += model[2] * probes
                cost = costs[right + k]
                if model[1] > 0.0:
                    cost += model[1] * builds
                cost = other + cost
            if operator == 3 or (operator == -1 and model[5] < 1e999):
                other = costs[left + k] + costs[right + k]
                if model[5] > 0.0:
                    other = (costs[left + k] + model[5] * probes * log(1.0 + probes)) + (
                        costs[right + k] + model[5] * builds * log(1.0 + builds)
                    )
                cost = other if other < cost else cost
            if operator == 2 or (
                operator == -1
                and model[4] < 1e999
                and node_int[10 * node_int[10 * i + 3] + 1] >= 0
                and (indexed >> node_int[10 * node_int[10 * i + 3] + 1]) & one != 0
            ):
                other = costs[left + k]
                if model[4] > 0.0:
                    other += model[4] * probes
                cost = other if other < cost else cost
            if operator == 4:
                cost = costs[left + k] + costs[right + k]
                if model[2] > 0.0:
                    cost += model[2] * probes * (builds if builds > 1.0 else 1.0)
            costs[i * lanes + k] = joined_cost(cost, rows[i * lanes + k], model)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def first_invalid(count: cython.longlong, rows: cython.p_double) -> cython.longlong:
    """Where the first row count stands that is negative or not a number; -1 if there is none."""
    i: cython.longlong
    for i in range(count):
        if not rows[i] >= 0.0:
            return i
    return -1
