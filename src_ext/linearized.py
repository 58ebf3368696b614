"""Join ordering for large graphs, first part: a linear order, then dynamic programming over its intervals.

The order is that of IKKBZ (Ibaraki and Kameda 1984; Krishnamurthy, Boral and Zaniolo 1986): optimal among the
left-deep trees of an acyclic graph under C_out. Cyclic graphs are ordered by their spanning tree of most
selective edges. The bushy trees whose every subtree is an interval of that order are then searched exactly:
Neumann and Radke, "Adaptive optimization of very large join queries", SIGMOD 2018.

Relations are index arrays here, not masks, so that graphs may have more than 62. Structure comes in CSR form:
``near_starts, near, near_edges`` (neighbours, and the edge behind each entry), ``class_starts, classes,
class_entries`` and ``predicate_starts, predicates`` (the equivalence classes and selective predicates of each
relation). Estimates are those of one lane. In compiled form, arrays are bare pointers whose sizes the caller
guarantees.
"""

import cython
from cython.cimports.godb_fast._kernels.costing import joined, scanned
from cython.cimports.godb_fast._kernels.enumeration import lowest, orientations
from cython.cimports.libc.math import exp, log


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def growth(
    relation: cython.longlong,
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
) -> cython.double:
    """By how much ln rows of a set changes as ``relation`` joins it.

    What the set holds is kept in the four last arrays, as far as their epochs say so: a new epoch is an
    empty set.
    """
    k: cython.longlong
    group: cython.longlong
    change: cython.double = log_rows[relation]
    distinct: cython.double
    for k in range(class_starts[relation], class_starts[relation + 1]):
        group = classes[k]
        distinct = log_distinct[class_entries[k]]
        if class_epochs[group] != epoch:
            class_epochs[group] = epoch
            class_least[group] = distinct
        elif distinct < class_least[group]:
            # All but the smallest count: the former smallest one enters the sum.
            change -= class_least[group]
            class_least[group] = distinct
        else:
            change -= distinct
    for k in range(predicate_starts[relation], predicate_starts[relation + 1]):
        group = predicates[k]
        if predicate_epochs[group] != epoch:
            predicate_epochs[group] = epoch
            predicate_seen[group] = 0
        predicate_seen[group] += 1
        if predicate_seen[group] == predicate_sizes[group]:
            change += log_selectivity[group]
    return change


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def rows_of(value: cython.double) -> cython.double:
    """exp, clamped so that neither underflow nor overflow slows a search down."""
    value = value if value < 600.0 else 600.0
    value = value if value > -600.0 else -600.0
    return exp(value)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def log_rows_of_list(
    count: cython.longlong,
    members: cython.p_int,
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
    prefixes: cython.p_double,
) -> cython.void:
    """ln rows of each prefix of a list of relations."""
    i: cython.longlong
    total: cython.double = 0.0
    for i in range(count):
        total += growth(
            members[i], epoch, class_starts, classes, class_entries, predicate_starts, predicates,
            predicate_sizes, log_rows, log_distinct, log_selectivity, class_epochs, class_least,
            predicate_epochs, predicate_seen,
        )  # fmt: skip
        prefixes[i] = total


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def log_rows_of_mask(
    mask: cython.longlong,
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
) -> cython.double:
    """ln rows of a relation set; the epoch must be new."""
    i: cython.longlong
    one: cython.longlong = 1
    total: cython.double = 0.0
    for i in range(size):
        if (mask >> i) & one != 0:
            total += growth(
                i, epoch, class_starts, classes, class_entries, predicate_starts, predicates, predicate_sizes,
                log_rows, log_distinct, log_selectivity, class_epochs, class_least, predicate_epochs,
                predicate_seen,
            )  # fmt: skip
    return total


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def sum_weights(
    edges: cython.longlong,
    edge_starts: cython.p_int,
    edge_predicates: cython.p_int,
    log_selectivity: cython.p_double,
    weights: cython.p_double,
) -> cython.void:
    """ln selectivity of every edge's two-relation predicates."""
    i: cython.longlong
    k: cython.longlong
    total: cython.double
    for i in range(edges):
        total = 0.0
        for k in range(edge_starts[i], edge_starts[i + 1]):
            total += log_selectivity[edge_predicates[k]]
        weights[i] = total


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def weigh_edges(
    size: cython.longlong,
    edges: cython.longlong,
    near_starts: cython.p_int,
    near: cython.p_int,
    near_edges: cython.p_int,
    edge_starts: cython.p_int,
    edge_predicates: cython.p_int,
    class_starts: cython.p_int,
    classes: cython.p_int,
    class_entries: cython.p_int,
    log_distinct: cython.p_double,
    log_selectivity: cython.p_double,
    found: cython.p_int,
    weights: cython.p_double,
) -> cython.void:
    """ln selectivity of every edge: its two-relation predicates and the classes that its ends share.

    ``found`` has one entry per class, all -1 before and after.
    """
    i: cython.longlong
    k: cython.longlong
    u: cython.longlong
    v: cython.longlong
    own: cython.longlong
    other: cython.longlong
    entry: cython.longlong
    distinct: cython.double
    sum_weights(edges, edge_starts, edge_predicates, log_selectivity, weights)
    for u in range(size):
        own = class_starts[u + 1] - class_starts[u]
        if own == 0:
            continue
        for k in range(class_starts[u], class_starts[u + 1]):
            found[classes[k]] = class_entries[k]
        for i in range(near_starts[u], near_starts[u + 1]):
            v = near[i]
            other = class_starts[v + 1] - class_starts[v]
            # Each edge once, from the end with more classes: a hub's list is not walked for each spoke.
            if other > own or (other == own and v < u):
                continue
            for k in range(class_starts[v], class_starts[v + 1]):
                entry = found[classes[k]]
                if entry >= 0:
                    distinct = log_distinct[class_entries[k]]
                    distinct = log_distinct[entry] if log_distinct[entry] > distinct else distinct
                    weights[near_edges[i]] -= distinct
        for k in range(class_starts[u], class_starts[u + 1]):
            found[classes[k]] = -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def span(
    size: cython.longlong,
    near_starts: cython.p_int,
    near: cython.p_int,
    near_edges: cython.p_int,
    weights: cython.p_double,
    done: cython.p_int,
    nearest: cython.p_double,
    parent: cython.p_int,
    visit: cython.p_int,
    ends: cython.p_int,
    border: cython.p_int,
) -> cython.longlong:
    """Spanning forest of the most selective edges (Prim), component by component; how many there are.

    ``visit`` lists parents before children, component c up to ``ends[c]``; ``nearest`` ends as the weight of
    the edge to the parent. A root's parent is -1. ``border`` is scratch: what is reached, but not visited.
    """
    i: cython.longlong
    v: cython.longlong
    step: cython.longlong
    chosen: cython.longlong
    place: cython.longlong
    reached: cython.longlong = 0
    first: cython.longlong = 0
    components: cython.longlong = 0
    least: cython.double
    weight: cython.double
    for i in range(size):
        done[i] = 0
        nearest[i] = 1e999
        parent[i] = -1
    for step in range(size):
        if reached == 0:
            if step > 0:
                ends[components] = step
                components += 1
            while done[first] != 0:
                first += 1
            chosen = first
            nearest[chosen] = 0.0
        else:
            # Of equal weights: the lowest relation.
            place = 0
            chosen = border[0]
            least = nearest[chosen]
            for i in range(1, reached):
                v = border[i]
                if nearest[v] < least or (nearest[v] == least and v < chosen):
                    least = nearest[v]
                    chosen = v
                    place = i
            reached -= 1
            border[place] = border[reached]
        done[chosen] = 1
        visit[step] = chosen
        for i in range(near_starts[chosen], near_starts[chosen + 1]):
            v = near[i]
            weight = weights[near_edges[i]]
            if done[v] == 0 and weight < nearest[v]:
                if parent[v] < 0:
                    border[reached] = v
                    reached += 1
                nearest[v] = weight
                parent[v] = chosen
    if size > 0:
        ends[components] = size
        components += 1
    return components


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def bounded(value: cython.double) -> cython.double:
    """Clamp a factor so that products and sums of two stay finite and positive."""
    value = value if value < 1e150 else 1e150
    return value if value > 1e-150 else 1e-150


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def merge_chains(
    relation: cython.longlong,
    skip: cython.longlong,
    starts: cython.p_int,
    offsets: cython.p_int,
    modules: cython.p_int,
    chains: cython.p_int,
    part_rank: cython.p_double,
    list_rank: cython.p_double,
    list_module: cython.p_int,
    list_tag: cython.p_int,
) -> cython.longlong:
    """Merge the chains of a relation's neighbours (but the one at ``skip``) by ascending rank; modules."""
    p: cython.longlong
    i: cython.longlong
    j: cython.longlong
    k: cython.longlong
    at: cython.longlong
    count: cython.longlong = 0
    rank: cython.double
    for p in range(starts[relation], starts[relation + 1]):
        if p == skip:
            continue
        at = offsets[p]
        i = count - 1
        j = modules[p] - 1
        count += modules[p]
        k = count - 1
        # From the back, in place; of equal ranks the earlier neighbour's comes first.
        while j >= 0:
            rank = part_rank[chains[at + j]]
            while i >= 0 and list_rank[i] > rank:
                list_rank[k] = list_rank[i]
                list_module[k] = list_module[i]
                list_tag[k] = list_tag[i]
                i -= 1
                k -= 1
            list_rank[k] = rank
            list_module[k] = chains[at + j]
            list_tag[k] = p
            j -= 1
            k -= 1
    return count


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_chain(
    relation: cython.longlong,
    factor: cython.double,
    target: cython.longlong,
    skip: cython.longlong,
    count: cython.longlong,
    offsets: cython.p_int,
    modules: cython.p_int,
    chains: cython.p_int,
    part_rows: cython.p_double,
    part_cost: cython.p_double,
    part_rank: cython.p_double,
    part_length: cython.p_int,
    sequence: cython.p_int,
    list_rank: cython.p_double,
    list_module: cython.p_int,
    list_tag: cython.p_int,
) -> cython.void:
    """Chain of the subtree of ``relation`` seen from the neighbour at ``skip``: its root, then the list.

    Modules that would precede the root by rank are merged into it (normalization).
    """
    i: cython.longlong = 0
    k: cython.longlong
    at: cython.longlong = offsets[target]
    source: cython.longlong
    module: cython.longlong
    filled: cython.longlong = offsets[target] + 1
    rows: cython.double = bounded(factor)
    cost: cython.double = rows
    rank: cython.double = (rows - 1.0) / cost
    sequence[at] = relation
    while i < count:
        if list_tag[i] != skip:
            if not list_rank[i] < rank:
                break
            module = list_module[i]
            cost = bounded(cost + rows * part_cost[module])
            rows = bounded(rows * part_rows[module])
            rank = (rows - 1.0) / cost
            source = offsets[module]
            for k in range(part_length[module]):
                sequence[filled] = sequence[source + k]
                filled += 1
        i += 1
    part_rows[target] = rows
    part_cost[target] = cost
    part_rank[target] = rank
    part_length[target] = filled - at
    chains[at] = target
    at += 1
    while i < count:
        if list_tag[i] != skip:
            chains[at] = list_module[i]
            at += 1
        i += 1
    modules[target] = at - offsets[target]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def linearize(
    start: cython.longlong,
    stop: cython.longlong,
    visit: cython.p_int,
    parent: cython.p_int,
    parent_weight: cython.p_double,
    log_rows: cython.p_double,
    number: cython.p_int,
    sizes: cython.p_int,
    slots: cython.p_int,
    starts: cython.p_int,
    offsets: cython.p_int,
    modules: cython.p_int,
    chains: cython.p_int,
    part_rows: cython.p_double,
    part_cost: cython.p_double,
    part_rank: cython.p_double,
    part_length: cython.p_int,
    sequence: cython.p_int,
    list_rank: cython.p_double,
    list_module: cython.p_int,
    list_tag: cython.p_int,
    order: cython.p_int,
) -> cython.double:
    """IKKBZ order of one tree, the relations ``visit[start:stop]``, into ``order[start:stop]``; its cost.

    All roots are tried in O(n²) together: the chain of a subtree as seen from a neighbour is built once per
    directed edge (*slot*), and re-rooting from a relation to its child turns only the edge between them.
    Relations are numbered by their place in ``visit``; the slots of number i begin at ``starts[i]``, the one
    towards its parent first. A chain is a list of *modules* at ``offsets`` in ``chains``. Every chain brings
    one module that is new, its first; it has the slot's number in ``part_*``, and its relations lie at
    ``offsets`` in ``sequence``. Both have size n (n - 1).
    """
    i: cython.longlong
    k: cython.longlong
    u: cython.longlong
    v: cython.longlong
    at: cython.longlong
    count: cython.longlong
    size: cython.longlong = stop - start
    factor: cython.double
    rows: cython.double
    cost: cython.double
    best: cython.double = 1e999
    if size == 1:
        order[start] = visit[start]
        return 0.0
    for i in range(size):
        number[visit[start + i]] = i
        sizes[visit[start + i]] = 1
        modules[i] = 0
    for i in range(stop - 1, start, -1):
        v = visit[i]
        sizes[parent[v]] += sizes[v]
        modules[number[v]] += 1
        modules[number[parent[v]]] += 1
    at = 0
    for i in range(size):
        starts[i] = at
        at += modules[i]
        list_tag[i] = starts[i]
    starts[size] = at
    at = 0
    # ``list_tag`` counts which slots are taken; ``slots[v]`` is the parent's slot towards v.
    for i in range(start + 1, stop):
        v = visit[i]
        k = list_tag[number[parent[v]]]
        list_tag[number[parent[v]]] += 1
        slots[v] = k
        offsets[k] = at
        at += sizes[v]
        k = list_tag[i - start]
        list_tag[i - start] += 1
        offsets[k] = at
        at += size - sizes[v]
    for i in range(stop - 1, start, -1):
        v = visit[i]
        count = merge_chains(
            i - start, starts[i - start], starts, offsets, modules, chains, part_rank, list_rank,
            list_module, list_tag,
        )  # fmt: skip
        factor = rows_of(log_rows[v] + parent_weight[v])
        make_chain(
            v, factor, slots[v], -1, count, offsets, modules, chains, part_rows, part_cost, part_rank,
            part_length, sequence, list_rank, list_module, list_tag,
        )  # fmt: skip
    for i in range(start, stop):
        u = visit[i]
        count = merge_chains(
            i - start, -1, starts, offsets, modules, chains, part_rank, list_rank, list_module, list_tag,
        )  # fmt: skip
        rows = bounded(rows_of(log_rows[u]))
        cost = 0.0
        for k in range(count):
            cost = bounded(cost + rows * part_cost[list_module[k]])
            rows = bounded(rows * part_rows[list_module[k]])
        if cost < best:
            best = cost
            order[start] = u
            at = start + 1
            for k in range(count):
                for v in range(part_length[list_module[k]]):
                    order[at] = sequence[offsets[list_module[k]] + v]
                    at += 1
        for k in range(starts[i - start] + (1 if i > start else 0), starts[i - start + 1]):
            # Seen from a child, u is joined through that child's edge.
            v = sequence[offsets[k]]
            factor = rows_of(log_rows[u] + parent_weight[v])
            make_chain(
                u, factor, starts[number[v]], k, count, offsets, modules, chains, part_rows, part_cost,
                part_rank, part_length, sequence, list_rank, list_module, list_tag,
            )  # fmt: skip
    return best


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def joinable(
    first: cython.longlong,
    second: cython.longlong,
    operators: cython.longlong,
    constraints: cython.p_longlong,
    free: cython.p_longlong,
) -> cython.longlong:
    """As ``orientations``, and 0 too where an operator could not be applied any more.

    That is so once a set holds relations of both of its sides, but not all of them.
    """
    i: cython.longlong
    both: cython.longlong = first | second
    for i in range(operators):
        if (
            constraints[3 * i + 1] & both != 0
            and constraints[3 * i + 2] & both != 0
            and (constraints[3 * i + 1] | constraints[3 * i + 2]) & ~both != 0
        ):
            return 0
    return orientations(first, second, operators, constraints, free)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def split_cost(
    left: cython.longlong,
    right: cython.longlong,
    allowed: cython.longlong,
    mode: cython.longlong,
    left_indexed: cython.longlong,
    right_indexed: cython.longlong,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
) -> cython.double:
    """The cheapest way to join two slots, before output; ``allowed`` as ``orientations`` answers."""
    cost: cython.double = 1e999
    other: cython.double
    if mode & 1 == 0:
        cost = a[left] + a[right]
    else:
        if allowed & 1 != 0:
            cost = a[left] + b[right]
        if allowed & 2 != 0:
            other = a[right] + b[left]
            cost = other if other < cost else cost
    if mode & 2 != 0:
        other = m[left] + m[right]
        cost = other if other < cost else cost
    if right_indexed != 0 and allowed & 4 != 0:
        cost = x[left] if x[left] < cost else cost
    if left_indexed != 0 and allowed & 8 != 0:
        cost = x[right] if x[right] < cost else cost
    return cost


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def first_split(
    i: cython.longlong,
    j: cython.longlong,
    size: cython.longlong,
    bits: cython.p_longlong,
    inside: cython.p_int,
) -> cython.longlong:
    """The first k such that [i, k] and [k + 1, j] have plans, between which an edge crosses.

    -1 if none has plans, -2 if no edge crosses, which is the same for all such k.
    """
    k: cython.longlong
    word: cython.longlong
    ready: cython.longlong
    for word in range(i // 62, 3):
        ready = bits[word] & bits[3 * j + 3 + word]
        if ready != 0:
            k = 62 * word + lowest(ready)
            if inside[i * size + j] == inside[i * size + k] + inside[(k + 1) * size + j]:
                return -2
            return k
    return -1


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def enter_interval(
    i: cython.longlong,
    j: cython.longlong,
    size: cython.longlong,
    best: cython.double,
    log_result: cython.double,
    output: cython.double,
    bits: cython.p_longlong,
    rows: cython.p_double,
    a: cython.p_double,
    column_a: cython.p_double,
) -> cython.void:
    """Enter an interval whose best split costs that much, as mode 0 has it."""
    one: cython.longlong = 1
    result: cython.double = rows_of(log_result)
    rows[i * size + j] = result
    # As ``joined``, which is another module's and cannot be inlined; rows are finite.
    if output > 0.0:
        best += output * result
    a[i * size + j] = best
    column_a[j * (size + 1) + i] = best
    bits[j // 62] |= one << (j % 62)
    if i > 0:
        bits[3 * j + 3 + (i - 1) // 62] |= one << ((i - 1) % 62)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def search_row(
    i: cython.longlong,
    stop: cython.longlong,
    size: cython.longlong,
    output: cython.double,
    bits: cython.p_longlong,
    inside: cython.p_int,
    sums: cython.p_double,
    rows: cython.p_double,
    a: cython.p_double,
    column_a: cython.p_double,
) -> cython.void:
    """The intervals [i, j], j > i, of :func:`search_intervals` in mode 0 without lookups and operators.

    Two at a time where the second has splits that do not need the first: they share loads, and a loop whose
    end is mispredicted. Each has two minima: one would wait for the last comparison at each step. Loops may
    step one split beyond the last, where ``column_a`` is infinite.
    """
    j: cython.longlong = i + 1
    k: cython.longlong
    other: cython.longlong
    known: cython.longlong = -3
    left: cython.longlong
    right: cython.longlong
    next_right: cython.longlong
    row: cython.longlong = i * size
    width: cython.longlong = size + 1
    cost: cython.double
    best: cython.double
    second: cython.double
    next_best: cython.double
    next_second: cython.double
    while j < stop:
        k = known
        if known == -3:
            k = first_split(i, j, size, bits, inside)
        known = -3
        if k < 0:
            a[row + j] = 1e999
            column_a[j * width + i] = 1e999
            j += 1
            continue
        other = -2
        if j + 1 < stop:
            other = first_split(i, j + 1, size, bits, inside)
        best = 1e999
        second = 1e999
        if other < 0:
            left = row + k
            right = j * width + k + 1
            while left < row + j:
                cost = a[left] + column_a[right]
                best = best if best < cost else cost
                cost = a[left + 1] + column_a[right + 1]
                second = second if second < cost else cost
                left += 2
                right += 2
            best = best if best < second else second
            enter_interval(i, j, size, best, sums[j], output, bits, rows, a, column_a)
            # The next interval has at most the split that was not there before.
            known = -2
            if other == -1 and inside[row + j + 1] != inside[row + j]:
                known = j
            j += 1
            continue
        k = k if k < other else other
        left = row + k
        right = j * width + k + 1
        next_right = right + width
        next_best = 1e999
        next_second = 1e999
        a[row + j] = 1e999
        while left < row + j:
            cost = a[left] + column_a[right]
            best = best if best < cost else cost
            cost = a[left] + column_a[next_right]
            next_best = next_best if next_best < cost else cost
            cost = a[left + 1] + column_a[right + 1]
            second = second if second < cost else cost
            cost = a[left + 1] + column_a[next_right + 1]
            next_second = next_second if next_second < cost else cost
            left += 2
            right += 2
            next_right += 2
        best = best if best < second else second
        enter_interval(i, j, size, best, sums[j], output, bits, rows, a, column_a)
        next_best = next_best if next_best < next_second else next_second
        cost = a[row + j] + column_a[(j + 1) * width + j + 1]
        next_best = next_best if next_best < cost else cost
        enter_interval(i, j + 1, size, next_best, sums[j + 1], output, bits, rows, a, column_a)
        j += 2


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def search_intervals(
    start: cython.longlong,
    stop: cython.longlong,
    size: cython.longlong,
    order: cython.p_int,
    position: cython.p_int,
    near_starts: cython.p_int,
    near: cython.p_int,
    near_edges: cython.p_int,
    edge_weights: cython.p_double,
    epoch: cython.longlong,
    class_starts: cython.p_int,
    classes: cython.p_int,
    class_entries: cython.p_int,
    wide_starts: cython.p_int,
    wides: cython.p_int,
    predicate_sizes: cython.p_int,
    log_rows: cython.p_double,
    log_distinct: cython.p_double,
    log_selectivity: cython.p_double,
    class_epochs: cython.p_longlong,
    class_least: cython.p_double,
    predicate_epochs: cython.p_longlong,
    predicate_seen: cython.p_int,
    mode: cython.longlong,
    indexed: cython.p_int,
    model: cython.p_double,
    operators: cython.longlong,
    constraints: cython.p_longlong,
    free: cython.p_longlong,
    within: cython.p_longlong,
    bits: cython.p_longlong,
    inside: cython.p_int,
    crossing: cython.p_int,
    crossing_weights: cython.p_double,
    inside_weights: cython.p_double,
    sums: cython.p_double,
    rows: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
    column_a: cython.p_double,
    column_b: cython.p_double,
) -> cython.double:
    """Cost of the cheapest bushy plan over intervals of ``order[start:stop]``; infinity if there is none.

    Interval [i, j] has slot ``i * size + j`` in ``rows, a, b, m, x`` (see ``costing``; ``m`` and ``x`` are
    used as the model asks) and ``inside``, the number of edges within it; ``column_*`` hold the same by
    ``j * (size + 1) + i``, so that both inputs of an interval's splits lie in a row, and infinity for i > j:
    loops may step one split beyond the last, where ``a`` and ``b`` may hold any cost. ``bits`` has 3 words
    for the current row and 3 for each column, 62 bits each: which intervals have a plan. Two adjacent
    intervals that have one can be joined if an edge crosses, and whether one does is the same for all splits
    of an interval. ``edge_weights`` are ln selectivities of two-relation predicates, summed up like the
    counts of edges; ``wides`` are the other predicates; ``sums`` are ln rows of the current row's intervals.
    ``epoch`` up to ``epoch + size`` must not have been used.
    """
    i: cython.longlong
    j: cython.longlong
    k: cython.longlong
    row: cython.longlong
    column: cython.longlong
    slot: cython.longlong
    word: cython.longlong
    first: cython.longlong
    last: cython.longlong
    ready: cython.longlong
    width: cython.longlong = size + 1
    relation: cython.longlong
    running: cython.int
    weight: cython.double
    allowed: cython.longlong
    one: cython.longlong = 1
    total: cython.double
    best: cython.double
    second: cython.double
    third: cython.double
    fourth: cython.double
    cost: cython.double
    other: cython.double
    output: cython.double = model[3]
    lookups: cython.longlong = 1 if model[4] < 1e999 else 0
    # Without classes and wide predicates, ln rows are a sum.
    plain: cython.longlong = 1
    for i in range(3 * size + 3):
        bits[i] = 0
    for i in range(start, stop):
        relation = order[i]
        position[relation] = i
        if class_starts[relation] != class_starts[relation + 1]:
            plain = 0
        if wide_starts[relation] != wide_starts[relation + 1]:
            plain = 0
    for i in range(start, stop):
        crossing[i] = 0
        crossing_weights[i] = 0.0
    for i in range(stop - 1, start - 1, -1):
        row = i * size
        for k in range(near_starts[order[i]], near_starts[order[i] + 1]):
            if position[near[k]] > i:
                crossing[position[near[k]]] += 1
                crossing_weights[position[near[k]]] += edge_weights[near_edges[k]]
        running = 0
        weight = 0.0
        total = 0.0
        inside[row + i] = 0
        inside_weights[i] = 0.0
        if plain != 0:
            total += log_rows[order[i]]
            sums[i] = total
            for j in range(i + 1, stop):
                running += crossing[j]
                inside[row + j] = inside[row + size + j] + running
                weight += crossing_weights[j]
                inside_weights[j] += weight
                total += log_rows[order[j]]
                sums[j] = total + inside_weights[j]
        else:
            for j in range(i + 1, stop):
                running += crossing[j]
                inside[row + j] = inside[row + size + j] + running
                weight += crossing_weights[j]
                inside_weights[j] += weight
            for j in range(i, stop):
                total += growth(
                    order[j], epoch + i, class_starts, classes, class_entries, wide_starts, wides,
                    predicate_sizes, log_rows, log_distinct, log_selectivity, class_epochs, class_least,
                    predicate_epochs, predicate_seen,
                )  # fmt: skip
                sums[j] = total + inside_weights[j]
        for k in range(near_starts[order[i]], near_starts[order[i] + 1]):
            crossing[position[near[k]]] = 0
            crossing_weights[position[near[k]]] = 0.0
        first = i // 62
        bits[0] = 0
        bits[1] = 0
        bits[2] = 0
        last = stop
        if mode == 0 and lookups == 0 and operators == 0:
            # Here the scan alone; ``search_row`` does the others.
            last = i + 1
        for j in range(i, last):
            slot = row + j
            column = j * width
            relation = order[j]
            if operators != 0:
                within[slot] = one << relation
                if j > i:
                    within[slot] |= within[slot - 1]
            if i == j:
                rows[slot] = rows_of(sums[j])
                cost = scanned(rows[slot], model)
            elif operators != 0:
                best = 1e999
                for k in range(i, j):
                    if a[row + k] == 1e999 or a[(k + 1) * size + j] == 1e999:
                        continue
                    allowed = joinable(
                        within[row + k], within[(k + 1) * size + j], operators, constraints, free
                    )
                    if allowed == 0:
                        continue
                    cost = split_cost(
                        row + k, (k + 1) * size + j, allowed, mode,
                        lookups * indexed[order[i]] if k == i else 0,
                        lookups * indexed[relation] if k + 1 == j else 0, a, b, m, x,
                    )  # fmt: skip
                    best = cost if cost < best else best
                if best == 1e999:
                    a[slot] = best
                    continue
                rows[slot] = rows_of(sums[j])
                cost = joined(best, rows[slot], model)
            else:
                k = -1
                for word in range(first, 3):
                    ready = bits[word] & bits[3 * j + 3 + word]
                    if ready != 0:
                        k = 62 * word + lowest(ready)
                        break
                if k < 0 or inside[slot] == inside[row + k] + inside[(k + 1) * size + j]:
                    a[slot] = 1e999
                    column_a[column + i] = 1e999
                    if mode != 0:
                        b[slot] = 1e999
                        column_b[column + i] = 1e999
                        if mode & 2 != 0:
                            m[slot] = 1e999
                    continue
                best = 1e999
                second = 1e999
                third = 1e999
                fourth = 1e999
                if mode == 1:
                    while k < j:
                        cost = a[row + k] + column_b[column + k + 1]
                        best = best if best < cost else cost
                        cost = b[row + k] + column_a[column + k + 1]
                        second = second if second < cost else cost
                        cost = a[row + k + 1] + column_b[column + k + 2]
                        third = third if third < cost else cost
                        cost = b[row + k + 1] + column_a[column + k + 2]
                        fourth = fourth if fourth < cost else cost
                        k += 2
                else:
                    while k < j:
                        cost = split_cost(row + k, (k + 1) * size + j, 3, mode, 0, 0, a, b, m, x)
                        best = cost if cost < best else best
                        k += 1
                best = second if second < best else best
                third = fourth if fourth < third else third
                best = third if third < best else best
                if lookups != 0:
                    # An index is looked up for one relation, at either end of the interval.
                    if indexed[relation] != 0 and a[slot - 1] < 1e999 and x[slot - 1] < best:
                        best = x[slot - 1]
                    if indexed[order[i]] != 0 and a[slot + size] < 1e999 and x[slot + size] < best:
                        best = x[slot + size]
                rows[slot] = rows_of(sums[j])
                # As ``joined``, which is another module's and cannot be inlined; rows are finite.
                cost = best
                if output > 0.0:
                    cost = best + output * rows[slot]
            # Settle the interval. Coefficients of 0 are skipped: rows may be huge.
            bits[j // 62] |= one << (j % 62)
            if i > 0:
                bits[3 * j + 3 + (i - 1) // 62] |= one << ((i - 1) % 62)
            other = cost
            if mode & 1 != 0 and model[2] > 0.0:
                other = cost + model[2] * rows[slot]
            a[slot] = other
            column_a[column + i] = other
            if mode != 0:
                other = cost
                if model[1] > 0.0:
                    other = cost + model[1] * rows[slot]
                b[slot] = other
                column_b[column + i] = other
                if mode & 2 != 0:
                    m[slot] = cost
                    if model[5] > 0.0:
                        m[slot] = cost + model[5] * rows[slot] * log(1.0 + rows[slot])
            if lookups != 0:
                x[slot] = cost
                if model[4] > 0.0:
                    x[slot] = cost + model[4] * rows[slot]
            if i == start and j == stop - 1:
                return cost
        if last != stop:
            search_row(i, stop, size, output, bits, inside, sums, rows, a, column_a)
    return a[start * size + stop - 1]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def extract_intervals(
    start: cython.longlong,
    stop: cython.longlong,
    size: cython.longlong,
    top: cython.longlong,
    order: cython.p_int,
    mode: cython.longlong,
    lookups: cython.longlong,
    indexed: cython.p_int,
    operators: cython.longlong,
    constraints: cython.p_longlong,
    free: cython.p_longlong,
    within: cython.p_longlong,
    inside: cython.p_int,
    rows: cython.p_double,
    a: cython.p_double,
    b: cython.p_double,
    m: cython.p_double,
    x: cython.p_double,
    column_a: cython.p_double,
    stack: cython.p_int,
    inputs: cython.p_int,
    node_rows: cython.p_double,
    allowed: cython.p_int,
) -> cython.longlong:
    """The joins of the plan that :func:`search_intervals` found, inputs before joins; its root.

    Node r < size is relation r's scan; joins take the numbers ``top`` and below, their inputs at
    ``inputs[2 * (node - size)]``. Equal splits: the one with the shortest left interval.
    """
    i: cython.longlong
    j: cython.longlong
    k: cython.longlong
    node: cython.longlong
    chosen: cython.longlong
    found: cython.longlong
    lower: cython.longlong = top
    depth: cython.longlong = 1
    way: cython.longlong
    best: cython.double
    cost: cython.double
    row: cython.longlong
    column: cython.longlong
    simple: cython.longlong = 1 if mode == 0 and lookups == 0 and operators == 0 else 0
    for i in range(start, stop):
        node_rows[order[i]] = rows[i * size + i]
    if stop - start == 1:
        return order[start]
    stack[0] = start
    stack[1] = stop - 1
    stack[2] = top
    while depth > 0:
        depth -= 1
        i = stack[3 * depth]
        j = stack[3 * depth + 1]
        node = stack[3 * depth + 2]
        node_rows[node] = rows[i * size + j]
        best = 1e999
        chosen = -1
        found = 15
        if simple != 0:
            row = i * size
            column = j * (size + 1) + 1
            for k in range(i, j):
                cost = a[row + k] + column_a[column + k]
                if cost < best:
                    best = cost
                    chosen = k
        else:
            for k in range(i, j):
                if a[i * size + k] == 1e999 or a[(k + 1) * size + j] == 1e999:
                    continue
                way = 15
                if operators != 0:
                    way = joinable(
                        within[i * size + k], within[(k + 1) * size + j], operators, constraints, free
                    )
                    if way == 0:
                        continue
                cost = split_cost(
                    i * size + k, (k + 1) * size + j, way, mode,
                    lookups * indexed[order[i]] if k == i else 0,
                    lookups * indexed[order[j]] if k + 1 == j else 0, a, b, m, x,
                )  # fmt: skip
                if cost < best or chosen < 0:
                    best = cost
                    chosen = k
                    found = way
        allowed[node - size] = found
        if chosen == i:
            inputs[2 * (node - size)] = order[i]
        else:
            lower -= 1
            inputs[2 * (node - size)] = lower
            stack[3 * depth] = i
            stack[3 * depth + 1] = chosen
            stack[3 * depth + 2] = lower
            depth += 1
        if chosen + 1 == j:
            inputs[2 * (node - size) + 1] = order[j]
        else:
            lower -= 1
            inputs[2 * (node - size) + 1] = lower
            stack[3 * depth] = chosen + 1
            stack[3 * depth + 1] = j
            stack[3 * depth + 2] = lower
            depth += 1
    return top
