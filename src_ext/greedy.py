"""Join ordering for large graphs, second part: greedy operator ordering, and finishing a tree of joins.

Greedy operator ordering (Fegaras 1998) joins, again and again, the two connected parts whose join has the
fewest rows. A part's best partner is kept with it; where a merge makes the partner's join larger, the kept
value stays as a lower bound and is only computed anew when it surfaces as the least of all. So a merge costs
its neighbours, not all pairs, and a thousand relations cost milliseconds.

In compiled form, arrays are bare pointers whose sizes the caller guarantees.
"""

import cython
from cython.cimports.godb_fast._kernels.costing import joined, scanned
from cython.cimports.godb_fast._kernels.linearized import joinable, log_rows_of_mask, rows_of, sum_weights
from cython.cimports.libc.math import log


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def start_parts(
    size: cython.longlong,
    edges: cython.longlong,
    edge_ends: cython.p_int,
    class_starts: cython.p_int,
    classes: cython.p_int,
    class_entries: cython.p_int,
    wide_starts: cython.p_int,
    wides: cython.p_int,
    log_distinct: cython.p_double,
    heads: cython.p_int,
    following: cython.p_int,
    previous: cython.p_int,
    ends: cython.p_int,
    class_heads: cython.p_int,
    class_next: cython.p_int,
    class_least: cython.p_double,
    wide_heads: cython.p_int,
    wide_next: cython.p_int,
) -> cython.void:
    """One part per relation. Half-edges 2e and 2e + 1 of edge e hang in a doubly linked list per part."""
    i: cython.longlong
    k: cython.longlong
    at: cython.longlong
    side: cython.longlong
    for i in range(size):
        heads[i] = -1
        class_heads[i] = -1
        for k in range(class_starts[i], class_starts[i + 1]):
            class_next[k] = class_heads[i]
            class_heads[i] = k
            class_least[k] = log_distinct[class_entries[k]]
        wide_heads[i] = -1
        for k in range(wide_starts[i], wide_starts[i + 1]):
            wide_next[k] = wide_heads[i]
            wide_heads[i] = k
    for i in range(edges - 1, -1, -1):
        for side in range(2):
            at = edge_ends[2 * i + side]
            k = 2 * i + side
            ends[k] = edge_ends[2 * i + 1 - side]
            previous[k] = -1
            following[k] = heads[at]
            if heads[at] >= 0:
                previous[heads[at]] = k
            heads[at] = k


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def drop_half(
    half: cython.longlong,
    part: cython.longlong,
    heads: cython.p_int,
    following: cython.p_int,
    previous: cython.p_int,
) -> cython.void:
    """Take a half-edge out of its part's list."""
    if previous[half] >= 0:
        following[previous[half]] = following[half]
    else:
        heads[part] = following[half]
    if following[half] >= 0:
        previous[following[half]] = previous[half]


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def shared_factor(
    part: cython.longlong,
    classes: cython.p_int,
    class_heads: cython.p_int,
    class_next: cython.p_int,
    class_least: cython.p_double,
    class_marks: cython.p_int,
    wides: cython.p_int,
    wide_heads: cython.p_int,
    wide_next: cython.p_int,
    wide_left: cython.p_int,
    wide_marks: cython.p_int,
    log_selectivity: cython.p_double,
) -> cython.double:
    """ln of what classes and wide predicates take from the join of ``part`` with the marked part."""
    k: cython.longlong
    other: cython.longlong
    total: cython.double = 0.0
    k = class_heads[part]
    while k >= 0:
        other = class_marks[classes[k]]
        if other >= 0:
            total -= class_least[other] if class_least[other] > class_least[k] else class_least[k]
        k = class_next[k]
    k = wide_heads[part]
    while k >= 0:
        if wide_marks[wides[k]] != 0 and wide_left[wides[k]] == 2:
            total += log_selectivity[wides[k]]
        k = wide_next[k]
    return total


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def join_greedily(
    size: cython.longlong,
    edges: cython.longlong,
    edge_ends: cython.p_int,
    edge_starts: cython.p_int,
    edge_predicates: cython.p_int,
    class_starts: cython.p_int,
    classes: cython.p_int,
    class_entries: cython.p_int,
    wide_starts: cython.p_int,
    wides: cython.p_int,
    predicate_count: cython.longlong,
    predicate_sizes: cython.p_int,
    log_rows: cython.p_double,
    log_distinct: cython.p_double,
    log_selectivity: cython.p_double,
    heads: cython.p_int,
    following: cython.p_int,
    previous: cython.p_int,
    ends: cython.p_int,
    weights: cython.p_double,
    values: cython.p_double,
    class_heads: cython.p_int,
    class_next: cython.p_int,
    class_least: cython.p_double,
    class_marks: cython.p_int,
    wide_heads: cython.p_int,
    wide_next: cython.p_int,
    wide_left: cython.p_int,
    wide_marks: cython.p_int,
    logs: cython.p_double,
    best: cython.p_double,
    partner: cython.p_int,
    stale: cython.p_int,
    alive: cython.p_int,
    via: cython.p_int,
    nodes: cython.p_int,
    inputs: cython.p_int,
    node_rows: cython.p_double,
    allowed: cython.p_int,
) -> cython.void:
    """Joins in the order of greedy operator ordering; parts without a common edge last, fewest rows first.

    Node r < size is relation r's scan, join t is node ``size + t`` with inputs ``inputs[2 t]`` and
    ``inputs[2 t + 1]``, for :func:`finish_tree`. ``class_marks`` (all -1), ``wide_marks`` (all 0) and ``via``
    (all -1) are left as they were. Ties: the part with the lowest relation first.
    """
    i: cython.longlong
    j: cython.longlong
    k: cython.longlong
    x: cython.longlong
    half: cython.longlong
    other: cython.longlong
    step: cython.longlong
    living: cython.longlong = size
    connected: cython.longlong = 1
    value: cython.double
    least: cython.double
    for k in range(predicate_count):
        wide_left[k] = predicate_sizes[k]
    start_parts(
        size, edges, edge_ends, class_starts, classes, class_entries, wide_starts, wides, log_distinct, heads,
        following, previous, ends, class_heads, class_next, class_least, wide_heads, wide_next,
    )  # fmt: skip
    sum_weights(edges, edge_starts, edge_predicates, log_selectivity, weights)
    for i in range(size):
        alive[i] = i
        nodes[i] = i
        logs[i] = log_rows[i]
        for k in range(wide_starts[i], wide_starts[i + 1]):
            if predicate_sizes[wides[k]] == 1:
                logs[i] += log_selectivity[wides[k]]
        node_rows[i] = rows_of(logs[i])
    for i in range(size):
        best[i] = 1e999
        partner[i] = -1
        stale[i] = 0
        k = class_heads[i]
        while k >= 0:
            class_marks[classes[k]] = k
            k = class_next[k]
        k = wide_heads[i]
        while k >= 0:
            wide_marks[wides[k]] = 1
            k = wide_next[k]
        half = heads[i]
        while half >= 0:
            x = ends[half]
            # Each edge once, by its lower end; the upper end reads the value.
            if x > i:
                values[half // 2] = logs[i] + logs[x] + weights[half // 2] + shared_factor(
                    x, classes, class_heads, class_next, class_least, class_marks, wides, wide_heads,
                    wide_next, wide_left, wide_marks, log_selectivity,
                )  # fmt: skip
            if values[half // 2] < best[i] or (values[half // 2] == best[i] and x < partner[i]):
                best[i] = values[half // 2]
                partner[i] = x
            half = following[half]
        k = class_heads[i]
        while k >= 0:
            class_marks[classes[k]] = -1
            k = class_next[k]
        k = wide_heads[i]
        while k >= 0:
            wide_marks[wides[k]] = 0
            k = wide_next[k]
    for step in range(size - 1):
        i = -1
        if connected != 0:
            least = 1e999
            for k in range(living):
                x = alive[k]
                if stale[x] == 0 and best[x] < least:
                    least = best[x]
                    i = x
            # Lower bounds last: few of them are below the least of the values that hold.
            for k in range(living):
                x = alive[k]
                if stale[x] == 0 or best[x] > least or (best[x] == least and x > i):
                    continue
                stale[x] = 0
                best[x] = 1e999
                partner[x] = -1
                half = heads[x]
                while half >= 0:
                    if values[half // 2] < best[x] or (
                        values[half // 2] == best[x] and ends[half] < partner[x]
                    ):
                        best[x] = values[half // 2]
                        partner[x] = ends[half]
                    half = following[half]
                if best[x] < least or (best[x] == least and x < i):
                    least = best[x]
                    i = x
            if i < 0:
                connected = 0
                # What is left has no edges: by ascending rows from here on (insertion sort).
                for k in range(1, living):
                    x = alive[k]
                    other = k - 1
                    while other >= 0 and (
                        logs[alive[other]] > logs[x] or (logs[alive[other]] == logs[x] and alive[other] > x)
                    ):
                        alive[other + 1] = alive[other]
                        other -= 1
                    alive[other + 1] = x
        if connected != 0:
            j = partner[i]
            if j < i:
                x = i
                i = j
                j = x
        else:
            i = alive[0]
            j = alive[1]
        # The second part's place in the list is closed, order kept: ties are decided by it.
        other = 0
        for k in range(living):
            if alive[k] != j:
                alive[other] = alive[k]
                other += 1
        living -= 1
        k = class_heads[i]
        while k >= 0:
            class_marks[classes[k]] = k
            k = class_next[k]
        k = wide_heads[i]
        while k >= 0:
            wide_marks[wides[k]] = 1
            k = wide_next[k]
        if connected != 0:
            logs[i] = best[i] if partner[i] == j and stale[i] == 0 else best[j]
        else:
            logs[i] += logs[j] + shared_factor(
                j, classes, class_heads, class_next, class_least, class_marks, wides, wide_heads, wide_next,
                wide_left, wide_marks, log_selectivity,
            )  # fmt: skip
        inputs[2 * step] = nodes[i]
        inputs[2 * step + 1] = nodes[j]
        nodes[i] = size + step
        node_rows[size + step] = rows_of(logs[i])
        allowed[step] = 15 if connected != 0 else -1
        best[j] = 1e999
        # The second part's classes and wide predicates move to the first.
        k = class_heads[j]
        while k >= 0:
            other = class_next[k]
            x = class_marks[classes[k]]
            if x >= 0:
                class_least[x] = class_least[k] if class_least[k] < class_least[x] else class_least[x]
            else:
                class_marks[classes[k]] = k
                class_next[k] = class_heads[i]
                class_heads[i] = k
            k = other
        k = wide_heads[j]
        while k >= 0:
            other = wide_next[k]
            if wide_marks[wides[k]] != 0:
                wide_left[wides[k]] -= 1
            else:
                wide_marks[wides[k]] = 1
                wide_next[k] = wide_heads[i]
                wide_heads[i] = k
            k = other
        if connected != 0:
            half = heads[i]
            while half >= 0:
                other = following[half]
                if ends[half] == j:
                    drop_half(half, i, heads, following, previous)
                    drop_half(half ^ 1, j, heads, following, previous)
                else:
                    via[ends[half]] = half
                half = other
            half = heads[j]
            while half >= 0:
                other = following[half]
                x = ends[half]
                if via[x] >= 0:
                    weights[via[x] // 2] += weights[half // 2]
                    drop_half(half ^ 1, x, heads, following, previous)
                else:
                    via[x] = half
                    ends[half ^ 1] = i
                    previous[half] = -1
                    following[half] = heads[i]
                    if heads[i] >= 0:
                        previous[heads[i]] = half
                    heads[i] = half
                half = other
            best[i] = 1e999
            partner[i] = -1
            stale[i] = 0
            half = heads[i]
            while half >= 0:
                x = ends[half]
                via[x] = -1
                value = logs[i] + logs[x] + weights[half // 2] + shared_factor(
                    x, classes, class_heads, class_next, class_least, class_marks, wides, wide_heads,
                    wide_next, wide_left, wide_marks, log_selectivity,
                )  # fmt: skip
                values[half // 2] = value
                if value < best[i] or (value == best[i] and x < partner[i]):
                    best[i] = value
                    partner[i] = x
                if value < best[x] or (value == best[x] and (stale[x] != 0 or i < partner[x])):
                    best[x] = value
                    partner[x] = i
                    stale[x] = 0
                elif partner[x] == i or partner[x] == j:
                    # At least this much from now on: computed anew when it surfaces.
                    stale[x] = 1
                half = following[half]
        k = class_heads[i]
        while k >= 0:
            class_marks[classes[k]] = -1
            k = class_next[k]
        k = wide_heads[i]
        while k >= 0:
            wide_marks[wides[k]] = 0
            k = wide_next[k]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def join_legally(
    size: cython.longlong,
    epoch: cython.longlong,
    class_starts: cython.p_int,
    classes: cython.p_int,
    class_entries: cython.p_int,
    predicate_starts: cython.p_int,
    predicates: cython.p_int,
    predicate_sizes: cython.p_int,
    log_rows: cython.p_double,
    log_distinct: cython.p_double,
    log_selectivity: cython.p_double,
    class_epochs: cython.p_longlong,
    class_least: cython.p_double,
    predicate_epochs: cython.p_longlong,
    predicate_seen: cython.p_int,
    operators: cython.longlong,
    constraints: cython.p_longlong,
    free: cython.p_longlong,
    masks: cython.p_longlong,
    alive: cython.p_int,
    values: cython.p_double,
    nodes: cython.p_int,
    inputs: cython.p_int,
    node_rows: cython.p_double,
    allowed: cython.p_int,
) -> cython.longlong:
    """Greedy operator ordering under ordering constraints, up to 62 relations; how many joins it reached.

    Fewer than ``size - 1`` mean a dead end: no two of the parts that are left may be joined. ``values``, of
    size n², holds ln rows of each legal pair, infinity for the others. Epochs up to ``epoch + size³`` must
    not have been used.
    """
    i: cython.longlong
    j: cython.longlong
    step: cython.longlong
    first: cython.longlong = 0
    second: cython.longlong = 0
    way: cython.longlong
    chosen: cython.longlong
    one: cython.longlong = 1
    least: cython.double
    for i in range(size):
        alive[i] = 1
        nodes[i] = i
        masks[i] = one << i
        node_rows[i] = rows_of(
            log_rows_of_mask(
                masks[i], size, epoch, class_starts, classes, class_entries, predicate_starts, predicates,
                predicate_sizes, log_rows, log_distinct, log_selectivity, class_epochs, class_least,
                predicate_epochs, predicate_seen,
            )
        )  # fmt: skip
        epoch += 1
    for step in range(size):
        # Pairs of the part that the last step made; before the first step, all pairs.
        for i in range(size):
            for j in range(i):
                if alive[i] == 0 or alive[j] == 0 or (step > 0 and i != first and j != first):
                    continue
                values[i * size + j] = 1e999
                way = joinable(masks[j], masks[i], operators, constraints, free)
                if way != 0:
                    values[i * size + j] = log_rows_of_mask(
                        masks[i] | masks[j], size, epoch, class_starts, classes, class_entries,
                        predicate_starts, predicates, predicate_sizes, log_rows, log_distinct,
                        log_selectivity, class_epochs, class_least, predicate_epochs, predicate_seen,
                    )  # fmt: skip
                    epoch += 1
        if step == size - 1:
            break
        least = 1e999
        chosen = 0
        for i in range(size):
            for j in range(i):
                if alive[i] != 0 and alive[j] != 0 and values[i * size + j] < least:
                    least = values[i * size + j]
                    first = j
                    second = i
                    chosen = 1
        if chosen == 0:
            return step
        allowed[step] = joinable(masks[first], masks[second], operators, constraints, free)
        inputs[2 * step] = nodes[first]
        inputs[2 * step + 1] = nodes[second]
        nodes[first] = size + step
        node_rows[size + step] = rows_of(least)
        masks[first] |= masks[second]
        alive[second] = 0
    return size - 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def finish_tree(
    size: cython.longlong,
    joins: cython.longlong,
    masked: cython.longlong,
    indexed: cython.p_int,
    model: cython.p_double,
    inputs: cython.p_int,
    node_rows: cython.p_double,
    allowed: cython.p_int,
    operators: cython.p_int,
    costs: cython.p_double,
    counts: cython.p_int,
    lowest: cython.p_int,
    masks: cython.p_longlong,
    stack: cython.p_int,
    out_int: cython.p_int,
    out_long: cython.p_longlong,
    out_double: cython.p_double,
) -> cython.double:
    """Choose every join's operator and sides, and write the tree down as post-order PLAN_NODEs; its cost.

    ``joins`` of them, inputs before joins; node ``size + t`` is join t. ``allowed[t]`` is how it may be
    joined, as ``orientations`` answers, or -1 for a cross product. Of equal costs: a hash join, then a merge
    join, then an index join; fewer rows on the build side; the lowest relation on the left.
    """
    t: cython.longlong
    node: cython.longlong
    left: cython.longlong
    right: cython.longlong
    way: cython.longlong
    operator: cython.longlong
    swap: cython.longlong
    at: cython.longlong
    depth: cython.longlong = 1
    one: cython.longlong = 1
    cost: cython.double
    other: cython.double
    straight: cython.double
    crossed: cython.double
    for node in range(size):
        costs[node] = scanned(node_rows[node], model)
        counts[node] = 1
        lowest[node] = node
        masks[node] = 0
        if masked != 0:
            masks[node] = one << node
    for t in range(joins):
        node = size + t
        left = inputs[2 * t]
        right = inputs[2 * t + 1]
        way = allowed[t]
        counts[node] = counts[left] + counts[right]
        lowest[node] = lowest[left] if lowest[left] < lowest[right] else lowest[right]
        masks[node] = masks[left] | masks[right]
        operator = 1
        if way < 0:
            # The same product from either side; one probe at least per row.
            operator = 4
            straight = costs[left] + costs[right]
            crossed = straight
            if model[2] > 0.0:
                other = node_rows[right] if node_rows[right] > 1.0 else 1.0
                straight = straight + model[2] * node_rows[left] * other
                other = node_rows[left] if node_rows[left] > 1.0 else 1.0
                crossed = crossed + model[2] * node_rows[right] * other
            way = 3
        else:
            straight = costs[left]
            crossed = costs[right]
            if model[2] > 0.0:
                straight = straight + model[2] * node_rows[left]
                crossed = crossed + model[2] * node_rows[right]
            cost = costs[right]
            other = costs[left]
            if model[1] > 0.0:
                cost = cost + model[1] * node_rows[right]
                other = other + model[1] * node_rows[left]
            straight = straight + cost
            crossed = crossed + other
        if way & 1 == 0:
            straight = 1e999
        if way & 2 == 0:
            crossed = 1e999
        cost = straight if straight < crossed else crossed
        if operator == 1 and model[5] < 1e999:
            other = costs[left] + costs[right]
            if model[5] > 0.0:
                other = (costs[left] + model[5] * node_rows[left] * log(1.0 + node_rows[left])) + (
                    costs[right] + model[5] * node_rows[right] * log(1.0 + node_rows[right])
                )
            if other < cost:
                cost = other
                operator = 3
                straight = other if way & 1 != 0 else 1e999
                crossed = other if way & 2 != 0 else 1e999
        if operator != 4 and model[4] < 1e999:
            for at in range(2):
                if at == 0:
                    if right >= size or indexed[right] == 0 or way & 4 == 0:
                        continue
                    other = costs[left]
                    if model[4] > 0.0:
                        other = other + model[4] * node_rows[left]
                else:
                    if left >= size or indexed[left] == 0 or way & 8 == 0:
                        continue
                    other = costs[right]
                    if model[4] > 0.0:
                        other = other + model[4] * node_rows[right]
                if other < cost:
                    cost = other
                    operator = 2
                    straight = other if at == 0 else 1e999
                    crossed = other if at == 1 else 1e999
        swap = 0
        if way & 1 == 0 or crossed < straight:
            swap = 1
        elif crossed == straight and way & 2 != 0:
            if node_rows[left] < node_rows[right]:
                swap = 1
            elif node_rows[left] == node_rows[right] and lowest[right] < lowest[left]:
                swap = 1
        if swap != 0:
            inputs[2 * t] = right
            inputs[2 * t + 1] = left
        operators[t] = operator
        costs[node] = joined(cost, node_rows[node], model)
    if size == 0:
        return 0.0
    stack[0] = size + joins - 1 if joins > 0 else 0
    stack[1] = 2 * size - 2
    while depth > 0:
        depth -= 1
        node = stack[2 * depth]
        at = stack[2 * depth + 1]
        out_long[5 * at + 2] = masks[node]
        out_double[5 * at + 3] = node_rows[node]
        out_double[5 * at + 4] = costs[node]
        if node < size:
            out_int[10 * at] = 0
            out_int[10 * at + 1] = node
            out_int[10 * at + 2] = -1
            out_int[10 * at + 3] = -1
            continue
        left = inputs[2 * (node - size)]
        right = inputs[2 * (node - size) + 1]
        out_int[10 * at] = operators[node - size]
        out_int[10 * at + 1] = -1
        out_int[10 * at + 2] = at - 2 * counts[right]
        out_int[10 * at + 3] = at - 1
        stack[2 * depth] = left
        stack[2 * depth + 1] = at - 2 * counts[right]
        stack[2 * depth + 2] = right
        stack[2 * depth + 3] = at - 1
        depth += 2
    return costs[size + joins - 1 if joins > 0 else 0]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def list_leaves(
    size: cython.longlong,
    root: cython.longlong,
    inputs: cython.p_int,
    stack: cython.p_int,
    order: cython.p_int,
) -> cython.void:
    """Relations of a tree of joins from left to right."""
    depth: cython.longlong = 1
    node: cython.longlong
    filled: cython.longlong = 0
    stack[0] = root
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if node < size:
            order[filled] = node
            filled += 1
        else:
            stack[depth] = inputs[2 * (node - size) + 1]
            stack[depth + 1] = inputs[2 * (node - size)]
            depth += 2
