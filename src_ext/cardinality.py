"""Row counts of relation sets, in K scenarios side by side (lanes).

ln rows(S) is the sum of its relations' ln rows; minus, for each equivalence class, the sum of its members'
ln distinct within S less the smallest of them; plus ln selectivity of each predicate within S. So adding
relation v to S changes it by ``ln rows(v) - Σ max(d(v), min d(u)) + Σ ln selectivity``, the first sum over
v's classes with members u in S, the second over predicates that v completes: one step per csg, from the csg
that lacks v.

Outer, semi and anti joins enter as one factor per operator, so that a set's rows never depend on its plan.
With ``e`` the inner join's expected matches per left row, rows(L ∪ R) / rows(L) over the operator's own
relations, the inner join's factor ``e`` becomes: ``max(1, e)`` for a left join (no left row is lost),
``min(1, e)`` for a semi join (no left row comes twice), ``max(0.1, 1 - e)`` for an anti join (estimates of
"no match" are too uncertain to go below a tenth).

Exponentials would dominate the time, one per set and lane. Where no product can leave the range of doubles
(:func:`take_factors` bounds it), every term's exponential is taken once and sets multiply them; where one
could, sets add logarithms. A search uses one way for all of its sets.
"""

import cython
from cython.cimports.godb_fast._kernels.enumeration import find, lowest
from cython.cimports.libc.math import exp, log


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def list_bases(
    count: cython.longlong,
    sets: cython.p_longlong,
    slots: cython.p_int,
    wrap: cython.longlong,
    bases: cython.p_int,
    added: cython.p_int,
) -> cython.void:
    """For each csg, a csg with one relation less, and that relation; -1 and the relation for single ones."""
    i: cython.longlong
    rest: cython.longlong
    chosen: cython.longlong
    base: cython.int
    for i in range(count):
        rest = sets[i]
        if rest & (rest - 1) == 0:
            bases[i] = -1
            added[i] = lowest(rest)
            continue
        base = -1
        chosen = 0
        while base < 0:
            chosen = rest & -rest
            rest ^= chosen
            base = find(sets[i] ^ chosen, slots, wrap, sets)
        bases[i] = base
        added[i] = lowest(chosen)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_relation(
    relation: cython.longlong,
    within: cython.longlong,
    source: cython.longlong,
    target: cython.longlong,
    corrected: cython.longlong,
    lanes: cython.longlong,
    names: cython.p_longlong,
    class_starts: cython.p_int,
    classes: cython.p_int,
    class_sets: cython.p_longlong,
    class_entries: cython.p_int,
    predicate_starts: cython.p_int,
    predicates: cython.p_int,
    predicate_sets: cython.p_longlong,
    predicate_entries: cython.p_int,
    log_rows: cython.p_double,
    log_distinct: cython.p_double,
    log_selectivity: cython.p_double,
    corrections: cython.p_double,
    least: cython.p_double,
    logs: cython.p_double,
) -> cython.void:
    """ln rows at offset ``target`` of ``logs``: those at ``source`` (-1: an empty set) with a relation added.

    ``within`` is the set without the relation. ``class_entries[64 c + r]`` is where class c's member of
    relation r stands in ``log_distinct``; ``predicate_entries[p]`` where predicate p stands in
    ``log_selectivity``, or ``-1 - o`` for operator o's correction. ``least`` has room for 16 numbers.
    """
    k: cython.longlong
    i: cython.longlong
    group: cython.longlong
    rest: cython.longlong
    entry: cython.longlong
    own: cython.longlong
    at: cython.longlong = names[relation] * lanes
    one: cython.longlong = 1
    value: cython.double
    for k in range(lanes):
        if source < 0:
            logs[target + k] = log_rows[at + k]
        else:
            logs[target + k] = logs[source + k] + log_rows[at + k]
    for i in range(class_starts[relation], class_starts[relation + 1]):
        group = classes[i]
        rest = class_sets[group] & within
        if rest == 0:
            continue
        entry = class_entries[64 * group + lowest(rest)] * lanes
        own = class_entries[64 * group + relation] * lanes
        rest &= rest - 1
        if rest == 0:
            for k in range(lanes):
                value = log_distinct[entry + k]
                value = log_distinct[own + k] if log_distinct[own + k] > value else value
                logs[target + k] -= value
            continue
        for k in range(lanes):
            least[k] = log_distinct[entry + k]
        while rest != 0:
            entry = class_entries[64 * group + lowest(rest)] * lanes
            rest &= rest - 1
            for k in range(lanes):
                least[k] = log_distinct[entry + k] if log_distinct[entry + k] < least[k] else least[k]
        for k in range(lanes):
            value = least[k]
            value = log_distinct[own + k] if log_distinct[own + k] > value else value
            logs[target + k] -= value
    within |= one << relation
    for i in range(predicate_starts[relation], predicate_starts[relation + 1]):
        group = predicates[i]
        if predicate_sets[group] & ~within != 0:
            continue
        entry = predicate_entries[group]
        if entry >= 0:
            for k in range(lanes):
                logs[target + k] += log_selectivity[entry * lanes + k]
        elif corrected != 0:
            for k in range(lanes):
                logs[target + k] += corrections[(-1 - entry) * lanes + k]


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def rows_of_log(value: cython.double) -> cython.double:
    """exp, clamped so that neither underflow nor overflow slows a search down."""
    value = value if value < 600.0 else 600.0
    value = value if value > -600.0 else -600.0
    return exp(value)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_factors(
    size: cython.longlong,
    members: cython.longlong,
    selective: cython.longlong,
    operators: cython.longlong,
    lanes: cython.longlong,
    names: cython.p_longlong,
    log_rows: cython.p_double,
    log_distinct: cython.p_double,
    log_selectivity: cython.p_double,
    corrections: cython.p_double,
    factors: cython.p_double,
) -> cython.longlong:
    """1 if rows may be multiplied, and then what to multiply: the terms' exponentials.

    ``factors`` receives, ``lanes`` numbers each: relations in the planner's numbering, class members (one
    over their distinct count), selective predicates, operators' corrections.
    """
    i: cython.longlong
    k: cython.longlong
    at: cython.longlong
    value: cython.double
    up: cython.double
    down: cython.double
    for k in range(lanes):
        up = 0.0
        down = 0.0
        for i in range(size):
            value = log_rows[names[i] * lanes + k]
            up += value if value > 0.0 else 0.0
            down += value if value < 0.0 else 0.0
        for i in range(members):
            value = log_distinct[i * lanes + k]
            up -= value if value < 0.0 else 0.0
            down -= value if value > 0.0 else 0.0
        for i in range(selective):
            value = log_selectivity[i * lanes + k]
            up += value if value > 0.0 else 0.0
            down += value if value < 0.0 else 0.0
        for i in range(operators):
            value = corrections[i * lanes + k]
            up += value if value > 0.0 else 0.0
            down += value if value < 0.0 else 0.0
        if not (up < 600.0 and down > -600.0):
            return 0
    at = 0
    for i in range(size):
        for k in range(lanes):
            factors[at + k] = exp(log_rows[names[i] * lanes + k])
        at += lanes
    for i in range(members * lanes):
        factors[at + i] = exp(-log_distinct[i])
    at += members * lanes
    for i in range(selective * lanes):
        factors[at + i] = exp(log_selectivity[i])
    at += selective * lanes
    for i in range(operators * lanes):
        factors[at + i] = exp(corrections[i])
    return 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def multiply_relation(
    relation: cython.longlong,
    within: cython.longlong,
    source: cython.longlong,
    target: cython.longlong,
    lanes: cython.longlong,
    first_member: cython.longlong,
    first_selective: cython.longlong,
    first_operator: cython.longlong,
    class_starts: cython.p_int,
    classes: cython.p_int,
    class_sets: cython.p_longlong,
    class_entries: cython.p_int,
    predicate_starts: cython.p_int,
    predicates: cython.p_int,
    predicate_sets: cython.p_longlong,
    predicate_entries: cython.p_int,
    factors: cython.p_double,
    least: cython.p_double,
    rows: cython.p_double,
) -> cython.void:
    """As :func:`add_relation`, on rows instead of their logarithms; ``first_*`` are places in ``factors``."""
    k: cython.longlong
    i: cython.longlong
    group: cython.longlong
    rest: cython.longlong
    entry: cython.longlong
    own: cython.longlong
    at: cython.longlong = relation * lanes
    one: cython.longlong = 1
    value: cython.double
    for k in range(lanes):
        if source < 0:
            rows[target + k] = factors[at + k]
        else:
            rows[target + k] = rows[source + k] * factors[at + k]
    for i in range(class_starts[relation], class_starts[relation + 1]):
        group = classes[i]
        rest = class_sets[group] & within
        if rest == 0:
            continue
        entry = first_member + class_entries[64 * group + lowest(rest)] * lanes
        own = first_member + class_entries[64 * group + relation] * lanes
        rest &= rest - 1
        if rest == 0:
            for k in range(lanes):
                value = factors[entry + k]
                value = factors[own + k] if factors[own + k] < value else value
                rows[target + k] *= value
            continue
        for k in range(lanes):
            least[k] = factors[entry + k]
        while rest != 0:
            entry = first_member + class_entries[64 * group + lowest(rest)] * lanes
            rest &= rest - 1
            for k in range(lanes):
                least[k] = factors[entry + k] if factors[entry + k] > least[k] else least[k]
        for k in range(lanes):
            value = least[k]
            value = factors[own + k] if factors[own + k] < value else value
            rows[target + k] *= value
    within |= one << relation
    for i in range(predicate_starts[relation], predicate_starts[relation + 1]):
        group = predicates[i]
        if predicate_sets[group] & ~within != 0:
            continue
        entry = predicate_entries[group]
        if entry >= 0:
            entry = first_selective + entry * lanes
        else:
            entry = first_operator + (-1 - entry) * lanes
        for k in range(lanes):
            rows[target + k] *= factors[entry + k]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def estimate_masks(
    count: cython.longlong,
    masks: cython.p_longlong,
    multiplied: cython.longlong,
    first_member: cython.longlong,
    first_selective: cython.longlong,
    first_operator: cython.longlong,
    factors: cython.p_double,
    corrected: cython.longlong,
    sets: cython.p_longlong,
    slots: cython.p_int,
    wrap: cython.longlong,
    bases: cython.p_int,
    added: cython.p_int,
    chain: cython.p_longlong,
    lanes: cython.longlong,
    names: cython.p_longlong,
    class_starts: cython.p_int,
    classes: cython.p_int,
    class_sets: cython.p_longlong,
    class_entries: cython.p_int,
    predicate_starts: cython.p_int,
    predicates: cython.p_int,
    predicate_sets: cython.p_longlong,
    predicate_entries: cython.p_int,
    log_rows: cython.p_double,
    log_distinct: cython.p_double,
    log_selectivity: cython.p_double,
    corrections: cython.p_double,
    least: cython.p_double,
    logs: cython.p_double,
) -> cython.void:
    """ln rows of any masks, connected or not, at ``logs[i * lanes]``, 0 for the empty set; or rows, if
    ``multiplied``.

    A csg is built up as :func:`estimate_sets` builds it, so that both agree to the bit; other sets by
    descending relation. ``chain`` has room for a number a relation.
    """
    i: cython.longlong
    k: cython.longlong
    rest: cython.longlong
    within: cython.longlong
    source: cython.longlong
    at: cython.longlong
    csg: cython.longlong
    steps: cython.longlong
    relation: cython.longlong
    one: cython.longlong = 1
    for i in range(count):
        at = i * lanes
        for k in range(lanes):
            logs[at + k] = 1.0 if multiplied != 0 else 0.0
        steps = 0
        csg = find(masks[i], slots, wrap, sets) if masks[i] != 0 else -1
        if csg >= 0:
            while csg >= 0:
                chain[steps] = added[csg]
                steps += 1
                csg = bases[csg]
        else:
            rest = masks[i]
            while rest != 0:
                chain[steps] = lowest(rest)
                steps += 1
                rest &= rest - 1
        within = 0
        source = -1
        while steps > 0:
            steps -= 1
            relation = chain[steps]
            if multiplied != 0:
                multiply_relation(
                    relation, within, source, at, lanes, first_member, first_selective, first_operator,
                    class_starts, classes, class_sets, class_entries, predicate_starts, predicates,
                    predicate_sets, predicate_entries, factors, least, logs,
                )  # fmt: skip
                within |= one << relation
                source = at
                continue
            add_relation(
                relation, within, source, at, corrected, lanes, names, class_starts, classes, class_sets,
                class_entries, predicate_starts, predicates, predicate_sets, predicate_entries, log_rows,
                log_distinct, log_selectivity, corrections, least, logs,
            )  # fmt: skip
            within |= one << relation
            source = at


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def correct_operators(
    operators: cython.longlong,
    constraints: cython.p_longlong,
    lanes: cython.longlong,
    logs: cython.p_double,
    corrections: cython.p_double,
) -> cython.void:
    """ln of each operator's correction, from ``logs`` of its left relations and of all its relations.

    ``logs`` alternates the two, an operator's lanes together; ``constraints`` has (kind, left, right) each.
    """
    i: cython.longlong
    k: cython.longlong
    kind: cython.longlong
    matches: cython.double
    value: cython.double
    for i in range(operators):
        kind = constraints[3 * i]
        for k in range(lanes):
            matches = logs[(2 * i + 1) * lanes + k] - logs[2 * i * lanes + k]
            value = 0.0
            if kind == 1:
                value = -matches if matches < 0.0 else 0.0
            elif kind == 2:
                value = -matches if matches > 0.0 else 0.0
            elif kind == 3:
                value = 1.0 - rows_of_log(matches)
                value = log(value if value > 0.1 else 0.1) - matches
            corrections[i * lanes + k] = value


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def estimate_sets(
    count: cython.longlong,
    multiplied: cython.longlong,
    first_member: cython.longlong,
    first_selective: cython.longlong,
    first_operator: cython.longlong,
    factors: cython.p_double,
    sets: cython.p_longlong,
    bases: cython.p_int,
    added: cython.p_int,
    lanes: cython.longlong,
    names: cython.p_longlong,
    class_starts: cython.p_int,
    classes: cython.p_int,
    class_sets: cython.p_longlong,
    class_entries: cython.p_int,
    predicate_starts: cython.p_int,
    predicates: cython.p_int,
    predicate_sets: cython.p_longlong,
    predicate_entries: cython.p_int,
    log_rows: cython.p_double,
    log_distinct: cython.p_double,
    log_selectivity: cython.p_double,
    corrections: cython.p_double,
    least: cython.p_double,
    logs: cython.p_double,
    rows: cython.p_double,
) -> cython.void:
    """Rows of every csg, shape (count, lanes), each from the csg that lacks one relation."""
    i: cython.longlong
    k: cython.longlong
    source: cython.longlong
    one: cython.longlong = 1
    for i in range(count):
        source = bases[i] * lanes if bases[i] >= 0 else -1
        if multiplied != 0:
            multiply_relation(
                added[i], sets[i] ^ (one << added[i]), source, i * lanes, lanes, first_member,
                first_selective, first_operator, class_starts, classes, class_sets, class_entries,
                predicate_starts, predicates, predicate_sets, predicate_entries, factors, least, rows,
            )  # fmt: skip
            continue
        add_relation(
            added[i], sets[i] ^ (one << added[i]), source, i * lanes, 1, lanes, names, class_starts, classes,
            class_sets, class_entries, predicate_starts, predicates, predicate_sets, predicate_entries,
            log_rows, log_distinct, log_selectivity, corrections, least, logs,
        )  # fmt: skip
        for k in range(lanes):
            rows[i * lanes + k] = rows_of_log(logs[i * lanes + k])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def exponentials(count: cython.longlong, logs: cython.p_double, rows: cython.p_double) -> cython.void:
    """Rows from ln rows, clamped."""
    i: cython.longlong
    for i in range(count):
        rows[i] = rows_of_log(logs[i])
