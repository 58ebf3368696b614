"""Connected subsets of a join graph, and the pairs of them that a join can combine (csg-cmp pairs).

Relations are numbered by the caller so that every relation but the last has a neighbour of higher number (a
breadth-first order from the last one); sets are masks over these numbers, bits 0 to 61.

Terms follow Moerkotte and Neumann, "Analysis of two existing and one new dynamic programming algorithm for
the generation of optimal bushy join trees without cross products", VLDB 2006: a *csg* is a connected set, a
*cmp* of a csg is a connected set that is disjoint from it and adjacent to it. Subsets are enumerated by
deciding for one frontier relation at a time whether it belongs to the set (exclusion first), with an explicit
stack: each set costs a handful of instructions, and every set comes after all of its connected subsets.

In compiled form, arrays are bare pointers whose sizes the caller guarantees.
"""

import cython

if not cython.compiled:

    def lowest(relations):
        """Number of the lowest relation of a set that is not empty."""
        return int(relations & -relations).bit_length() - 1

    def spread(relations):
        """Hash of a set. Halves are multiplied apart, so that nothing overflows 63 bits.

        Compiled, it is another one: where a set lies depends on it, never what is found.
        """
        return ((relations & 0x7FFFFFFF) * 0x2C1B3C6D + (relations >> 31) * 0x297A2D39) >> 22


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def position(
    relations: cython.longlong, slots: cython.p_int, wrap: cython.longlong, sets: cython.p_longlong
) -> cython.int:
    """Index of a mask in the csg list, or -1 if it is not connected.

    ``wrap`` is 0 for a dense table with one slot per mask; else the number of slots less one of an
    open-addressing hash table.
    """
    found: cython.int
    slot: cython.longlong
    if wrap == 0:
        return slots[relations]
    slot = spread(relations) & wrap
    found = slots[slot]
    while found >= 0 and sets[found] != relations:
        slot = (slot + 1) & wrap
        found = slots[slot]
    return found


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def find(
    relations: cython.longlong, slots: cython.p_int, wrap: cython.longlong, sets: cython.p_longlong
) -> cython.int:
    """:func:`position` for other modules, which cannot inline it."""
    return position(relations, slots, wrap, sets)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def list_sets(
    size: cython.longlong,
    limit: cython.longlong,
    adjacency: cython.p_longlong,
    sets: cython.p_longlong,
    near: cython.p_longlong,
    stack: cython.p_longlong,
) -> cython.longlong:
    """List the csgs, subsets before supersets, with the union of their relations' adjacency.

    Returns their number, or -1 if it exceeds ``limit``. ``stack`` has room for five numbers a relation.
    """
    one: cython.longlong = 1
    count: cython.longlong = 0
    relation: cython.longlong
    depth: cython.longlong
    top: cython.longlong
    current: cython.longlong
    around: cython.longlong
    excluded: cython.longlong
    frontier: cython.longlong
    rest: cython.longlong
    chosen: cython.longlong
    keep: cython.longlong
    adjacent: cython.longlong
    below_excluded: cython.longlong
    below_frontier: cython.longlong
    for relation in range(size - 1, -1, -1):
        if count >= limit:
            return -1
        current = one << relation
        around = adjacency[relation]
        sets[count] = current
        near[count] = around
        count += 1
        excluded = (current << 1) - 1
        frontier = around & ~excluded
        rest = frontier
        depth = 0
        while True:
            if rest == 0:
                if depth == 0:
                    break
                depth -= 1
                top = 5 * depth
                current = stack[top]
                around = stack[top + 1]
                excluded = stack[top + 2]
                frontier = stack[top + 3]
                rest = stack[top + 4]
                continue
            if count >= limit:
                return -1
            chosen = rest & -rest
            rest ^= chosen
            adjacent = adjacency[lowest(chosen)]
            sets[count] = current | chosen
            near[count] = around | adjacent
            count += 1
            # Lower frontier relations stay open; this one and the higher ones are decided.
            keep = frontier & (chosen - 1)
            below_excluded = excluded | (frontier ^ keep)
            below_frontier = keep | (adjacent & ~below_excluded)
            if below_frontier != 0:
                top = 5 * depth
                stack[top] = current
                stack[top + 1] = around
                stack[top + 2] = excluded
                stack[top + 3] = frontier
                stack[top + 4] = rest
                depth += 1
                current |= chosen
                around |= adjacent
                excluded = below_excluded
                frontier = below_frontier
                rest = below_frontier
    return count


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_sets(
    count: cython.longlong, sets: cython.p_longlong, slots: cython.p_int, wrap: cython.longlong
) -> cython.void:
    """Enter the listed csgs into an index whose slots all hold -1."""
    i: cython.longlong
    slot: cython.longlong
    for i in range(count):
        if wrap == 0:
            slots[sets[i]] = i
        else:
            slot = spread(sets[i]) & wrap
            while slots[slot] >= 0:
                slot = (slot + 1) & wrap
            slots[slot] = i


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def stream_pairs(
    count: cython.longlong,
    capacity: cython.longlong,
    adjacency: cython.p_longlong,
    sets: cython.p_longlong,
    near: cython.p_longlong,
    slots: cython.p_int,
    wrap: cython.longlong,
    stack: cython.p_longlong,
    chunk: cython.p_int,
) -> cython.longlong:
    """The next csg-cmp pairs of any graph (DPccp), as triples of csg indices (csg, cmp, their union).

    The pairs come by ascending index of the csg; its cmps have lower indices. All pairs that make up a csg
    come before the first pair that uses it.

    Sets that can still grow wait on a stack, and each turn of the one loop emits a pair and pushes without
    branching: on sparse graphs mispredicted branches cost more than all the rest.

    ``stack[0]`` is the csg to go on with, 0 at first, ``stack[1]`` the saved height, 0 at first; they, the
    number after them and three for each pair of relations are kept by the caller between calls: no more wait
    than a cmp has relations, times the choices at each. Returns how many triples ``chunk`` holds; once
    ``stack[0]`` is ``count`` there are no more.
    """
    filled: cython.longlong = 0
    csg: cython.longlong = stack[0]
    height: cython.longlong = stack[1]
    top: cython.longlong
    first: cython.longlong
    second: cython.longlong
    excluded: cython.longlong
    open_lower: cython.longlong
    rest: cython.longlong
    chosen: cython.longlong
    keep: cython.longlong
    grown: cython.longlong
    decided: cython.longlong
    frontier: cython.longlong
    while csg < count:
        first = sets[csg]
        if height > 0:
            # Resume where the last chunk was full.
            height -= 1
            top = 3 + 3 * height
            second = stack[top]
            excluded = stack[top + 1]
            rest = stack[top + 2]
            open_lower = stack[2]
        else:
            chosen = first & -first
            second = 0
            excluded = first | chosen | (chosen - 1)
            rest = near[csg] & ~excluded
            # The csg's own frontier is not yet the cmp's: its lower relations must be reached again.
            open_lower = 0
        while rest != 0:
            if filled == capacity:
                top = 3 + 3 * height
                stack[top] = second
                stack[top + 1] = excluded
                stack[top + 2] = rest
                stack[2] = open_lower
                stack[0] = csg
                stack[1] = height + 1
                return filled
            # Of the frontier, what is below the chosen relation stays open; it and what is above are decided.
            chosen = rest & -rest
            grown = second | chosen
            chunk[3 * filled] = csg
            chunk[3 * filled + 1] = position(grown, slots, wrap, sets)
            chunk[3 * filled + 2] = position(first | grown, slots, wrap, sets)
            filled += 1
            decided = excluded | rest
            frontier = open_lower | (adjacency[lowest(chosen)] & ~decided)
            rest ^= chosen
            keep = open_lower | chosen
            open_lower = keep if second != 0 else 0
            top = 3 + 3 * height
            stack[top] = grown
            stack[top + 1] = decided
            stack[top + 2] = frontier
            height += 1 if frontier != 0 else 0
            if rest == 0 and height > 0:
                height -= 1
                top = 3 + 3 * height
                second = stack[top]
                excluded = stack[top + 1]
                rest = stack[top + 2]
                open_lower = 0
        csg += 1
    stack[0] = count
    stack[1] = 0
    return filled


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def stream_splits(
    count: cython.longlong,
    capacity: cython.longlong,
    below: cython.p_longlong,
    sets: cython.p_longlong,
    slots: cython.p_int,
    wrap: cython.longlong,
    stack: cython.p_longlong,
    chunk: cython.p_int,
) -> cython.longlong:
    """The next pairs of an acyclic graph, as triples (upper part, lower part, their union).

    Cutting the edge above relation v splits a set S that holds both of its ends into ``S & below[v]`` and
    the rest; ``below[v]`` is the mask of v's subtree, the last relation being the root. Pairs come grouped
    by ascending index of their union. ``stack[0]`` is the csg to go on with; a chunk ends with a whole group.
    """
    filled: cython.longlong = 0
    csg: cython.longlong = stack[0]
    whole: cython.longlong
    rest: cython.longlong
    lower: cython.longlong
    while csg < count and filled + 64 <= capacity:
        whole = sets[csg]
        rest = whole
        # The highest relation of a set is its own root: no edge of the set lies above it.
        while rest & (rest - 1) != 0:
            lower = whole & below[lowest(rest)]
            rest &= rest - 1
            chunk[3 * filled] = position(whole ^ lower, slots, wrap, sets)
            chunk[3 * filled + 1] = position(lower, slots, wrap, sets)
            chunk[3 * filled + 2] = csg
            filled += 1
        csg += 1
    stack[0] = csg
    return filled


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def orientations(
    first: cython.longlong,
    second: cython.longlong,
    operators: cython.longlong,
    constraints: cython.p_longlong,
    free: cython.p_longlong,
) -> cython.longlong:
    """How two sets may be joined under ordering constraints (the rule of ``core.conflicts.orientation``).

    Bit 0: ``first`` as left input; bit 1: ``second`` as left input; bits 2 and 3: the same, where the left
    input also may probe an index of the right one. 0: the pair is illegal. A left join may build on either
    side (as a RIGHT JOIN), semi and anti joins must probe with their left side.

    ``constraints`` has (kind, left, right) per operator; ``free`` each relation's neighbours by edges.
    """
    both: cython.longlong = first | second
    allowed: cython.longlong = 0
    bound: cython.longlong = 0
    i: cython.longlong
    rest: cython.longlong = first
    kind: cython.longlong
    left: cython.longlong
    right: cython.longlong
    needed: cython.longlong
    forward: cython.longlong
    while rest != 0:
        if free[lowest(rest)] & second != 0:
            allowed = 15
            break
        rest &= rest - 1
    for i in range(operators):
        left = constraints[3 * i + 1]
        right = constraints[3 * i + 2]
        needed = left | right
        if needed & ~both != 0 or needed & ~first == 0 or needed & ~second == 0:
            continue
        forward = 0
        if left & ~first == 0 and right & ~second == 0:
            forward = 1
        elif left & ~second != 0 or right & ~first != 0:
            return 0
        kind = constraints[3 * i]
        if kind == 0:
            if bound != 0:
                return 0
            allowed = 15
            continue
        # An outer, semi or anti join is evaluated alone.
        if allowed != 0:
            return 0
        bound = 1
        if kind == 1:
            allowed = 7 if forward != 0 else 11
        else:
            allowed = 5 if forward != 0 else 10
    return allowed


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def orient_pairs(
    pairs: cython.longlong,
    chunk: cython.p_int,
    sets: cython.p_longlong,
    operators: cython.longlong,
    constraints: cython.p_longlong,
    free: cython.p_longlong,
    built: cython.p_int,
    oriented: cython.p_int,
) -> cython.longlong:
    """Keep the legal pairs of a chunk, once for each input that may be the left one; their number.

    ``built[i]`` is 1 for the csgs that some legal plan builds: at first those of one relation.
    """
    filled: cython.longlong = 0
    i: cython.longlong
    allowed: cython.longlong
    first: cython.int
    second: cython.int
    for i in range(pairs):
        first = chunk[3 * i]
        second = chunk[3 * i + 1]
        if built[first] == 0 or built[second] == 0:
            continue
        allowed = orientations(sets[first], sets[second], operators, constraints, free)
        if allowed & 3 != 0:
            built[chunk[3 * i + 2]] = 1
        if allowed & 1 != 0:
            oriented[3 * filled] = first
            oriented[3 * filled + 1] = second
            oriented[3 * filled + 2] = chunk[3 * i + 2]
            filled += 1
        if allowed & 2 != 0:
            oriented[3 * filled] = second
            oriented[3 * filled + 1] = first
            oriented[3 * filled + 2] = chunk[3 * i + 2]
            filled += 1
    return filled


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def group_pairs(
    count: cython.longlong,
    pairs: cython.longlong,
    stream: cython.p_int,
    ends: cython.p_int,
    grouped: cython.p_int,
) -> cython.void:
    """Sort triples stably by their union: ``ends[i]`` is where the pairs of csg i end in ``grouped``.

    A pair is one number: the first csg's index in its lower 16 bits, the second's in its upper ones.
    """
    second: cython.longlong
    i: cython.longlong
    at: cython.int
    total: cython.int = 0
    share: cython.int
    for i in range(count):
        ends[i] = 0
    for i in range(pairs):
        ends[stream[3 * i + 2]] += 1
    for i in range(count):
        share = ends[i]
        ends[i] = total
        total += share
    for i in range(pairs):
        at = ends[stream[3 * i + 2]]
        ends[stream[3 * i + 2]] = at + 1
        second = stream[3 * i + 1]
        # The upper half is signed: no backend may overflow 32 bits.
        second = second - 65536 if second >= 32768 else second
        grouped[at] = stream[3 * i] + second * 65536
