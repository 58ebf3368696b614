"""Writing down the plan that a search found: post-order nodes, each join with operator and build side.

Where several choices cost the same, a plan is decided by these rules, in this order: the pair that the
enumeration meets first; a hash join before an index join, that before a merge join; the input with fewer rows
as build side (right); the input that holds the relation of lowest number on the left.
"""

import cython
from cython.cimports.godb_fast._kernels.costing import joined, paired, scanned
from cython.cimports.godb_fast._kernels.enumeration import find, lowest, orientations
from cython.cimports.libc.math import log


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
    built: cython.p_int,
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
    3 among the csgs. ``named`` and ``names`` are the csgs and relations in
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
                part = pairs[pair] & 65535
                within = (pairs[pair] >> 16) & 65535
                if mode == 0:
                    cost = a[part * lanes + lane] + a[within * lanes + lane]
                else:
                    cost = paired(part * lanes + lane, within * lanes + lane, mode, oriented, a, b, m)
                if cost < best or left < 0:
                    best = cost
                    left = part
                    right = within
                pair += 1
        elif kind == 1:
            within = whole
            while within & (within - 1) != 0:
                part = whole & below[lowest(within)]
                within &= within - 1
                cost = paired((whole ^ part) * lanes + lane, part * lanes + lane, mode, 0, a, b, m)
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
                cost = paired((whole ^ part) * lanes + lane, part * lanes + lane, mode, 0, a, b, m)
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
            # Only csgs with the same lowest relation can be its first part; they lie together, before it.
            within = whole & -whole
            pair = csg - 1
            while pair >= 0 and sets[pair] & within != 0 and sets[pair] & (within - 1) == 0:
                part = sets[pair]
                stop = -1
                if part & ~whole == 0:
                    stop = find(whole ^ part, slots, wrap, sets)
                if stop >= 0:
                    allowed = 3
                    if oriented != 0:
                        allowed = orientations(part, sets[stop], operators, constraints, free)
                        if built[pair] == 0 or built[stop] == 0:
                            allowed = 0
                    straight = 1e999
                    crossed = 1e999
                    if allowed & 1 != 0:
                        straight = paired(pair * lanes + lane, stop * lanes + lane, mode, 1, a, b, m)
                    if allowed & 2 != 0:
                        crossed = paired(stop * lanes + lane, pair * lanes + lane, mode, 1, a, b, m)
                    cost = crossed if crossed < straight else straight
                    if allowed & 3 != 0 and (cost <= best or left < 0):
                        best = cost
                        left = pair
                        right = stop
                pair -= 1
        operator = 1
        if lookups != 0:
            pair = 0 if csg == 0 else lookup_ends[csg - 1]
            stop = lookup_ends[csg]
            while pair < stop:
                cost = x[lookup_left[pair] * lanes + lane]
                if cost < best:
                    best = cost
                    operator = 2
                    left = lookup_left[pair]
                pair += 1
        if operator == 2:
            right = find(whole ^ sets[left], slots, wrap, sets)
        else:
            left_slot = left * lanes + lane
            right_slot = right * lanes + lane
            if kind == 1 or kind == 2:
                left_slot = sets[left] * lanes + lane
                right_slot = sets[right] * lanes + lane
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
                costs[i * lanes + k] = scanned(rows[i * lanes + k], model)
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
            costs[i * lanes + k] = joined(cost, rows[i * lanes + k], model)
