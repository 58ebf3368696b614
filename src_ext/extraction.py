"""Writing down the plan that a search found: post-order nodes, each join with operator and build side.

Where several choices cost the same, a plan is decided by these rules, in this order: the pair that the
enumeration meets first; a hash join before an index join, that before a merge join; the input with fewer rows
as build side (right); the input that holds the relation of lowest number on the left.
"""

import cython
from cython.cimports.godb_fast._kernels.costing import joined, paired, scanned
from cython.cimports.godb_fast._kernels.enumeration import find, lowest, orientations


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def extract(
    size: cython.longlong,
    kind: cython.longlong,
    node: cython.longlong,
    sets: cython.p_longlong,
    named: cython.p_longlong,
    names: cython.p_longlong,
    slots: cython.p_int,
    wrap: cython.longlong,
    below: cython.p_longlong,
    ends: cython.p_int,
    pairs: cython.p_int,
    lookup_ends: cython.p_int,
    lookup_left: cython.p_int,
    lookups: cython.longlong,
    operators: cython.longlong,
    constraints: cython.p_longlong,
    free: cython.p_longlong,
    lanes: cython.longlong,
    lane: cython.longlong,
    rows: cython.p_double,
    mode: cython.longlong,
    model: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
    stack: cython.p_longlong,
    out_int: cython.p_int,
    out_long: cython.p_longlong,
    out_double: cython.p_double,
) -> cython.double:
    """Write one lane's plan to the nodes from ``node`` on; its cost.

    ``kind`` says how a csg's pairs are found again: 0 in the pair list, 1 by tree splits, 2 by subset splits,
    3 in ``pairs`` as the choice recorded for each csg. ``named`` and ``names`` are the csgs and relations in
    the caller's numbering. ``out_*`` are three views of one PLAN_NODE array.
    """
    one: cython.longlong = 1
    depth: cython.longlong = 1
    at: cython.longlong
    csg: cython.longlong
    whole: cython.longlong
    within: cython.longlong
    part: cython.longlong
    pair: cython.longlong
    stop: cython.longlong
    left: cython.longlong = 0
    right: cython.longlong = 0
    left_slot: cython.longlong
    right_slot: cython.longlong
    operator: cython.longlong
    allowed: cython.longlong
    swap: cython.longlong
    oriented: cython.longlong = 1 if operators > 0 else 0
    best: cython.double
    cost: cython.double
    straight: cython.double
    crossed: cython.double
    stack[0] = find((one << size) - 1, slots, wrap, sets)
    stack[1] = node + 2 * size - 2
    while depth > 0:
        depth -= 1
        csg = stack[2 * depth]
        at = stack[2 * depth + 1]
        whole = sets[csg]
        out_long[5 * at + 2] = named[csg]
        out_double[5 * at + 3] = rows[csg * lanes + lane]
        if whole & (whole - 1) == 0:
            out_int[10 * at] = 0
            out_int[10 * at + 1] = names[lowest(whole)]
            out_int[10 * at + 2] = -1
            out_int[10 * at + 3] = -1
            out_double[5 * at + 4] = scanned(rows[csg * lanes + lane], model)
            continue
        best = 1e999
        left = -1
        if kind == 0:
            pair = 0 if csg == 0 else ends[csg - 1]
            stop = ends[csg]
            while pair < stop:
                cost = paired(pairs[2 * pair], pairs[2 * pair + 1], mode, oriented, a, b, m)
                if cost < best or left < 0:
                    best = cost
                    left = pairs[2 * pair]
                    right = pairs[2 * pair + 1]
                pair += 1
        elif kind == 1:
            within = whole
            while within & (within - 1) != 0:
                part = whole & below[lowest(within)]
                within &= within - 1
                cost = paired(whole ^ part, part, mode, 0, a, b, m)
                if cost < best or left < 0:
                    best = cost
                    left = whole ^ part
                    right = part
            left = find(left, slots, wrap, sets)
            right = find(right, slots, wrap, sets)
        elif kind == 2:
            within = whole & (whole - 1)
            part = within
            stop = 0
            while part != 0:
                cost = paired(whole ^ part, part, mode, 0, a, b, m)
                if cost < best:
                    best = cost
                    left = whole ^ part
                    right = part
                elif left < 0 and slots[part] >= 0 and slots[whole ^ part] >= 0:
                    left = whole ^ part
                    right = part
                part = (part - 1) & within
            left = find(left, slots, wrap, sets)
            right = find(right, slots, wrap, sets)
        else:
            left = pairs[2 * csg]
            right = pairs[2 * csg + 1]
            best = paired(left, right, mode, oriented, a, b, m)
        operator = 1
        if lookups != 0:
            pair = 0 if csg == 0 else lookup_ends[csg - 1]
            stop = lookup_ends[csg]
            while pair < stop:
                cost = x[lookup_left[pair]]
                if cost < best:
                    best = cost
                    operator = 2
                    left = lookup_left[pair]
                pair += 1
        if operator == 2:
            right = find(whole ^ sets[left], slots, wrap, sets)
        else:
            left_slot = left
            right_slot = right
            if kind == 1 or kind == 2:
                left_slot = sets[left]
                right_slot = sets[right]
            allowed = 3
            if oriented != 0:
                allowed = orientations(sets[left], sets[right], operators, constraints, free)
            straight = paired(left_slot, right_slot, mode & 1, 1, a, b, m)
            crossed = paired(right_slot, left_slot, mode & 1, 1, a, b, m)
            if mode & 2 != 0:
                cost = m[left_slot] + m[right_slot]
                if cost == best and not (
                    (allowed & 1 != 0 and straight == best) or (allowed & 2 != 0 and crossed == best)
                ):
                    operator = 3
                    straight = cost
                    crossed = cost
            swap = 0
            if allowed & 1 == 0:
                swap = 1
            elif allowed & 2 != 0:
                if crossed < straight:
                    swap = 1
                elif crossed == straight:
                    cost = rows[right * lanes + lane] - rows[left * lanes + lane]
                    if cost > 0.0:
                        swap = 1
                    elif not cost < 0.0 and named[right] & -named[right] < named[left] & -named[left]:
                        swap = 1
            if swap != 0:
                stop = left
                left = right
                right = stop
        out_int[10 * at] = operator
        out_int[10 * at + 1] = -1
        out_double[5 * at + 4] = joined(best, rows[csg * lanes + lane], model)
        # Post-order: the left subtree's nodes, the right one's, the join.
        part = sets[right]
        stop = 0
        while part != 0:
            part &= part - 1
            stop += 1
        out_int[10 * at + 2] = at - 2 * stop - node
        out_int[10 * at + 3] = at - 1 - node
        stack[2 * depth] = left
        stack[2 * depth + 1] = at - 2 * stop
        stack[2 * depth + 2] = right
        stack[2 * depth + 3] = at - 1
        depth += 2
    return out_double[5 * (node + 2 * size - 2) + 4]
