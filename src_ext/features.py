"""Features of plans, many at a time: one pass over the nodes of each plan.

``PLAN_COLUMNS`` of ``godb_fast.learning.features`` says what each column is; the order there is the order
here. Logarithms are ln(1 + x), of libm, so that all backends agree to the bit.
"""

import cython
from cython.cimports.libc.math import log

#: Columns that :func:`plan_features` writes.
COLUMNS = 24


@cython.ccall
@cython.nogil
@cython.exceptval(check=False)
def plan_features(
    plans: cython.longlong,
    nodes: cython.longlong,
    integers: cython.const[cython.int][::1],
    doubles: cython.const[cython.double][::1],
    widths: cython.const[cython.double][::1],
    memory_bytes: cython.double,
    depth: cython.longlong[::1],
    bytes_per_row: cython.double[::1],
    out: cython.double[:, ::1],
) -> cython.longlong:
    """Write the features of ``plans`` plans of ``nodes`` nodes each; how many plans were read.

    ``integers`` and ``doubles`` are two flat views of one PLAN_NODE array (ten int32 or five float64 a node);
    ``widths`` are bytes per row by relation; ``depth`` and ``bytes_per_row`` are scratch of one entry a node.
    """
    plan: cython.longlong
    node: cython.longlong
    at: cython.longlong
    operator: cython.longlong
    left: cython.longlong
    right: cython.longlong
    below: cython.longlong
    rows: cython.double
    probe: cython.double
    build: cython.double
    built_bytes: cython.double
    growth: cython.double
    column: cython.longlong
    hash_joins: cython.longlong
    index_joins: cython.longlong
    merge_joins: cython.longlong
    products: cython.longlong
    scans: cython.longlong
    bushy: cython.longlong
    built_joins: cython.longlong
    deepest: cython.longlong
    growing: cython.longlong
    scanned: cython.double
    most_scanned: cython.double
    joined: cython.double
    most_joined: cython.double
    least_joined: cython.double
    builds: cython.double
    most_built: cython.double
    probes: cython.double
    all_bytes: cython.double
    most_bytes: cython.double
    spilling: cython.double
    most_growth: cython.double
    moved: cython.double
    for plan in range(plans):
        hash_joins = 0
        index_joins = 0
        merge_joins = 0
        products = 0
        scans = 0
        bushy = 0
        built_joins = 0
        deepest = 0
        growing = 0
        scanned = 0.0
        most_scanned = 0.0
        joined = 0.0
        most_joined = 0.0
        least_joined = -1.0
        builds = 0.0
        most_built = 0.0
        probes = 0.0
        all_bytes = 0.0
        most_bytes = 0.0
        spilling = 0.0
        most_growth = 0.0
        moved = 0.0
        for node in range(nodes):
            at = plan * nodes + node
            operator = integers[10 * at]
            rows = doubles[5 * at + 3]
            if operator == 0:
                scans += 1
                depth[node] = 0
                bytes_per_row[node] = widths[integers[10 * at + 1]]
                scanned += rows
                if rows > most_scanned:
                    most_scanned = rows
                continue
            left = integers[10 * at + 2]
            right = integers[10 * at + 3]
            if operator == 2:
                index_joins += 1
            elif operator == 3:
                merge_joins += 1
            elif operator == 4:
                products += 1
            else:
                hash_joins += 1
            below = depth[left]
            if depth[right] > below:
                below = depth[right]
            depth[node] = below + 1
            if below + 1 > deepest:
                deepest = below + 1
            if depth[right] > 0:
                built_joins += 1
                if depth[left] > 0:
                    bushy += 1
            bytes_per_row[node] = bytes_per_row[left] + bytes_per_row[right]
            probe = doubles[5 * (plan * nodes + left) + 3]
            build = doubles[5 * (plan * nodes + right) + 3]
            joined += rows
            moved += rows * bytes_per_row[node]
            if rows > most_joined:
                most_joined = rows
            if least_joined < 0.0 or rows < least_joined:
                least_joined = rows
            probes += probe
            if operator != 2:
                # An index join builds nothing.
                builds += build
                if build > most_built:
                    most_built = build
                built_bytes = build * bytes_per_row[right]
                all_bytes += built_bytes
                if built_bytes > most_bytes:
                    most_bytes = built_bytes
                if built_bytes > memory_bytes:
                    spilling += built_bytes - memory_bytes
            growth = rows / (probe + 1.0)
            if growth > 1.0:
                growing += 1
            if growth > most_growth:
                most_growth = growth
        if least_joined < 0.0:
            least_joined = 0.0
        out[plan, 0] = scans
        out[plan, 1] = hash_joins
        out[plan, 2] = index_joins
        out[plan, 3] = merge_joins
        out[plan, 4] = products
        out[plan, 5] = deepest
        out[plan, 6] = bushy
        out[plan, 7] = built_joins
        out[plan, 8] = hash_joins + merge_joins + products + 1
        out[plan, 9] = growing
        out[plan, 10] = scanned
        out[plan, 11] = most_scanned
        out[plan, 12] = joined
        out[plan, 13] = most_joined
        out[plan, 14] = least_joined
        out[plan, 15] = builds
        out[plan, 16] = most_built
        out[plan, 17] = probes
        out[plan, 18] = all_bytes
        out[plan, 19] = most_bytes
        out[plan, 20] = spilling
        out[plan, 21] = most_growth
        out[plan, 22] = moved
        at = plan * nodes + nodes - 1
        out[plan, 23] = doubles[5 * at + 4]
        for column in range(10, 24):
            # Estimates can overflow; features are finite.
            if out[plan, column] > 1e300:
                out[plan, column] = 1e300
            out[plan, column] = log(1.0 + out[plan, column])
    return plans
