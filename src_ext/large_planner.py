"""A planner for large graphs: owns every buffer of its searches, and runs them without the GIL.

See ``linearized`` and ``greedy`` for the algorithms. One planner serves one thread at a time.
"""

from __future__ import annotations

import cython
import numpy
from cython.cimports.godb_fast._kernels.addresses import doubles, ints, longs
from cython.cimports.godb_fast._kernels.greedy import (
    finish_tree,
    join_greedily,
    join_legally,
    list_leaves,
)
from cython.cimports.godb_fast._kernels.linearized import (
    extract_intervals,
    linearize,
    log_rows_of_list,
    log_rows_of_mask,
    rows_of,
    search_intervals,
    span,
    sum_weights,
    weigh_edges,
)


@cython.cclass
class LargePlanner:
    """Linearized and greedy searches over one graph.

    Parameters
    ----------
    layout : dict
        The graph as arrays, each with at least one element (``planning.large`` prepares them): int32
        ``edge_ends, edge_starts, edge_predicates, near_starts, near, near_edges, tree_starts, tree_near,
        tree_edges, tree_edge_starts, tree_edge_predicates, class_starts, classes, class_entries,
        predicate_starts, predicates, predicate_sizes, wide_starts, wides, indexed``, int64 ``constraints``
        and ``free``, and the numbers ``size, edges, tree_edge_count, entries, class_count,
        predicate_count, operators``. ``tree_*`` is the graph that is spanned for the linear order:
        the edges, and for graphs with ordering constraints also pairs that operators join.
    intervals : int
        Whether the buffers of the linearized search are needed; they grow with the square of the size.
    """

    held: dict
    size: cython.longlong
    edges: cython.longlong
    tree_edges: cython.longlong
    entries: cython.longlong
    class_count: cython.longlong
    predicate_count: cython.longlong
    operators: cython.longlong
    epoch: cython.longlong
    edge_ends: cython.p_int
    edge_starts: cython.p_int
    edge_predicates: cython.p_int
    near_starts: cython.p_int
    near: cython.p_int
    near_edges: cython.p_int
    tree_starts: cython.p_int
    tree_near: cython.p_int
    tree_near_edges: cython.p_int
    tree_edge_starts: cython.p_int
    tree_edge_predicates: cython.p_int
    class_starts: cython.p_int
    classes: cython.p_int
    class_entries: cython.p_int
    predicate_starts: cython.p_int
    predicates: cython.p_int
    predicate_sizes: cython.p_int
    wide_starts: cython.p_int
    wides: cython.p_int
    indexed: cython.p_int
    constraints: cython.p_longlong
    free: cython.p_longlong
    # One lane's estimates, and its cost model.
    log_rows: cython.p_double
    log_distinct: cython.p_double
    log_selectivity: cython.p_double
    class_epochs: cython.p_longlong
    class_least: cython.p_double
    predicate_epochs: cython.p_longlong
    predicate_seen: cython.p_int
    class_marks: cython.p_int
    # A candidate: its tree of joins, and its plan nodes.
    inputs: cython.p_int
    allowed: cython.p_int
    node_rows: cython.p_double
    plan_int: cython.p_int
    plan_long: cython.p_longlong
    plan_double: cython.p_double
    best_cost: cython.double
    found: cython.longlong
    operators_chosen: cython.p_int
    costs: cython.p_double
    counts: cython.p_int
    lowest: cython.p_int
    masks: cython.p_longlong
    stack: cython.p_int
    # Linear orders.
    weights: cython.p_double
    done: cython.p_int
    nearest: cython.p_double
    parent: cython.p_int
    visit: cython.p_int
    ends: cython.p_int
    number: cython.p_int
    sizes: cython.p_int
    slots: cython.p_int
    starts: cython.p_int
    offsets: cython.p_int
    modules: cython.p_int
    chains: cython.p_int
    part_rows: cython.p_double
    part_cost: cython.p_double
    part_rank: cython.p_double
    part_length: cython.p_int
    sequence: cython.p_int
    list_rank: cython.p_double
    list_module: cython.p_int
    list_tag: cython.p_int
    order: cython.p_int
    # Intervals.
    position: cython.p_int
    within: cython.p_longlong
    bits: cython.p_longlong
    inside: cython.p_int
    crossing: cython.p_int
    crossing_weights: cython.p_double
    inside_weights: cython.p_double
    edge_weights: cython.p_double
    rows: cython.p_double
    a: cython.p_double
    b: cython.p_double
    m: cython.p_double
    x: cython.p_double
    column_a: cython.p_double
    column_b: cython.p_double
    mode: cython.longlong
    components: cython.longlong
    roots: cython.p_int
    ranking: cython.p_int
    # Greedy ordering.
    heads: cython.p_int
    following: cython.p_int
    previous: cython.p_int
    half_ends: cython.p_int
    greedy_weights: cython.p_double
    values: cython.p_double
    class_heads: cython.p_int
    class_next: cython.p_int
    entry_least: cython.p_double
    wide_heads: cython.p_int
    wide_next: cython.p_int
    wide_left: cython.p_int
    wide_marks: cython.p_int
    logs: cython.p_double
    best: cython.p_double
    partner: cython.p_int
    stale: cython.p_int
    alive: cython.p_int
    via: cython.p_int
    nodes: cython.p_int

    def __init__(self, layout: dict, intervals: cython.longlong):
        size: cython.longlong = layout["size"]
        self.held = {"layout": layout}
        self.size = size
        self.edges = layout["edges"]
        self.tree_edges = layout["tree_edge_count"]
        self.entries = layout["entries"]
        self.class_count = layout["class_count"]
        self.predicate_count = layout["predicate_count"]
        self.operators = layout["operators"]
        self.epoch = 1
        self.mode = 0
        self.components = 0
        self.found = 0
        self.best_cost = 0.0
        self.edge_ends = ints(layout["edge_ends"])
        self.edge_starts = ints(layout["edge_starts"])
        self.edge_predicates = ints(layout["edge_predicates"])
        self.near_starts = ints(layout["near_starts"])
        self.near = ints(layout["near"])
        self.near_edges = ints(layout["near_edges"])
        self.tree_starts = ints(layout["tree_starts"])
        self.tree_near = ints(layout["tree_near"])
        self.tree_near_edges = ints(layout["tree_edges"])
        self.tree_edge_starts = ints(layout["tree_edge_starts"])
        self.tree_edge_predicates = ints(layout["tree_edge_predicates"])
        self.class_starts = ints(layout["class_starts"])
        self.classes = ints(layout["classes"])
        self.class_entries = ints(layout["class_entries"])
        self.predicate_starts = ints(layout["predicate_starts"])
        self.predicates = ints(layout["predicates"])
        self.predicate_sizes = ints(layout["predicate_sizes"])
        self.wide_starts = ints(layout["wide_starts"])
        self.wides = ints(layout["wides"])
        self.indexed = ints(layout["indexed"])
        self.constraints = longs(layout["constraints"])
        self.free = longs(layout["free"])
        self._allocate_common(size)
        if intervals != 0:
            self._allocate_intervals(size)
        self._allocate_greedy(size)

    def _ints(self, name, count):
        self.held[name] = array = numpy.zeros(max(1, count), numpy.int32)
        return array

    def _longs(self, name, count):
        self.held[name] = array = numpy.zeros(max(1, count), numpy.int64)
        return array

    def _doubles(self, name, count):
        self.held[name] = array = numpy.empty(max(1, count))
        return array

    def _allocate_common(self, size):
        self.log_rows = doubles(self._doubles("log_rows", size))
        self.log_distinct = doubles(self._doubles("log_distinct", self.entries))
        self.log_selectivity = doubles(self._doubles("log_selectivity", self.predicate_count))
        self.class_epochs = longs(self._longs("class_epochs", self.class_count))
        self.class_least = doubles(self._doubles("class_least", self.class_count))
        self.predicate_epochs = longs(self._longs("predicate_epochs", self.predicate_count))
        self.predicate_seen = ints(self._ints("predicate_seen", self.predicate_count))
        self.class_marks = ints(self._ints("class_marks", self.class_count))
        self.held["class_marks"].fill(-1)
        self.inputs = ints(self._ints("inputs", 2 * size))
        self.allowed = ints(self._ints("allowed", size))
        self.node_rows = doubles(self._doubles("node_rows", 2 * size))
        plan = self._longs("plan", 10 * size)
        self.plan_int = ints(plan.view(numpy.int32))
        self.plan_long = longs(plan)
        self.plan_double = doubles(plan.view(numpy.float64))
        self.roots = ints(self._ints("roots", size))
        self.ranking = ints(self._ints("ranking", size))
        self.operators_chosen = ints(self._ints("operators_chosen", size))
        self.costs = doubles(self._doubles("costs", 2 * size))
        self.counts = ints(self._ints("counts", 2 * size))
        self.lowest = ints(self._ints("lowest", 2 * size))
        self.masks = longs(self._longs("masks", 2 * size))
        self.stack = ints(self._ints("stack", 3 * size + 3))
        self.order = ints(self._ints("order", size))
        self.logs = doubles(self._doubles("logs", size))

    def _allocate_intervals(self, size):
        square = size * size
        self.weights = doubles(self._doubles("weights", self.tree_edges))
        self.done = ints(self._ints("done", size))
        self.nearest = doubles(self._doubles("nearest", size))
        self.parent = ints(self._ints("parent", size))
        self.visit = ints(self._ints("visit", size))
        self.ends = ints(self._ints("ends", size))
        self.number = ints(self._ints("number", size))
        self.sizes = ints(self._ints("sizes", size))
        self.slots = ints(self._ints("slots", size))
        self.starts = ints(self._ints("starts", size + 1))
        self.offsets = ints(self._ints("offsets", 2 * size))
        self.modules = ints(self._ints("modules", 2 * size))
        self.chains = ints(self._ints("chains", square))
        self.part_rows = doubles(self._doubles("part_rows", 2 * size))
        self.part_cost = doubles(self._doubles("part_cost", 2 * size))
        self.part_rank = doubles(self._doubles("part_rank", 2 * size))
        self.part_length = ints(self._ints("part_length", 2 * size))
        self.sequence = ints(self._ints("sequence", square))
        self.list_rank = doubles(self._doubles("list_rank", size))
        self.list_module = ints(self._ints("list_module", size))
        self.list_tag = ints(self._ints("list_tag", size))
        self.position = ints(self._ints("position", size))
        self.within = longs(self._longs("within", square if self.operators != 0 else 1))
        self.bits = longs(self._longs("bits", 3 * size + 3))
        self.inside = ints(self._ints("inside", square))
        self.crossing = ints(self._ints("crossing", size))
        self.crossing_weights = doubles(self._doubles("crossing_weights", size))
        self.inside_weights = doubles(self._doubles("inside_weights", size))
        self.edge_weights = doubles(self._doubles("edge_weights", self.edges))
        self.rows = doubles(self._doubles("rows", square))
        # Splits are read one past their end, where rows must hold some cost and columns infinity.
        self.a = doubles(self._doubles("a", square))
        self.column_a = doubles(self._doubles("column_a", square + size))
        self.held["a"].fill(0.0)
        self.held["column_a"].fill(1e999)
        self.b = doubles(self._doubles("b", 1))
        self.column_b = doubles(self._doubles("column_b", 1))
        self.m = doubles(self._doubles("m", 1))
        self.x = doubles(self._doubles("x", 1))

    def _allocate_greedy(self, size):
        wide_count = len(self.held["layout"]["wides"])
        self.heads = ints(self._ints("heads", size))
        self.following = ints(self._ints("following", 2 * self.edges))
        self.previous = ints(self._ints("previous", 2 * self.edges))
        self.half_ends = ints(self._ints("half_ends", 2 * self.edges))
        self.greedy_weights = doubles(self._doubles("greedy_weights", self.edges))
        legal = size * size if self.operators != 0 else 0
        self.values = doubles(self._doubles("values", max(self.edges, legal)))
        self.class_heads = ints(self._ints("class_heads", size))
        self.class_next = ints(self._ints("class_next", self.entries))
        self.entry_least = doubles(self._doubles("entry_least", self.entries))
        self.wide_heads = ints(self._ints("wide_heads", size))
        self.wide_next = ints(self._ints("wide_next", wide_count))
        self.wide_left = ints(self._ints("wide_left", self.predicate_count))
        self.wide_marks = ints(self._ints("wide_marks", self.predicate_count))
        self.best = doubles(self._doubles("best", size))
        self.partner = ints(self._ints("partner", size))
        self.stale = ints(self._ints("stale", size))
        self.alive = ints(self._ints("alive", size))
        self.via = ints(self._ints("via", size))
        self.held["via"].fill(-1)
        self.nodes = ints(self._ints("nodes", size))

    def _prepare(self, mode: cython.longlong, lookups: cython.longlong):
        """Buffers that only some cost models need."""
        square = self.size * self.size
        if mode != 0 and len(self.held["b"]) < square:
            self.b = doubles(self._doubles("b", square))
            self.column_b = doubles(self._doubles("column_b", square + self.size))
            self.held["b"].fill(0.0)
            self.held["column_b"].fill(1e999)
        if mode & 2 != 0 and len(self.held["m"]) < square:
            self.m = doubles(self._doubles("m", square))
        if lookups != 0 and len(self.held["x"]) < square:
            self.x = doubles(self._doubles("x", square))
        self.mode = mode

    def search(
        self,
        lanes: cython.longlong,
        log_rows: cython.double[::1],
        log_distinct: cython.double[::1],
        log_selectivity: cython.double[::1],
        model: cython.double[::1],
        linear: cython.longlong,
        greedily: cython.longlong,
        tree: cython.int[::1],
        out: cython.int[::1],
    ):
        """Plans of all lanes into ``out``, a PLAN_NODE array of shape (lanes, 2n - 1) viewed as int32.

        Estimates are given lane by lane. ``linear`` asks for the linearized search, ``greedily`` for greedy
        ordering; with both, intervals of the greedy plan's leaves are searched too, and the cheapest plan
        stays. ``tree`` holds the inputs and the orientation of the joins of a plan that is known to be
        legal, three numbers a join, or one number: none. Returns whether every lane has a plan.
        """
        lane: cython.longlong
        i: cython.longlong
        everywhere: cython.longlong = 1
        mode: cython.longlong = 0
        size: cython.longlong = self.size
        entries: cython.longlong = self.entries
        predicate_count: cython.longlong = self.predicate_count
        nodes: cython.longlong = 2 * size - 1
        given: cython.longlong = 1 if size > 1 and tree.shape[0] == 3 * (size - 1) else 0
        if model[1] > 0.0 or model[2] > 0.0:
            mode |= 1
        if model[5] < 1e999:
            mode |= 2
        if linear != 0:
            self._prepare(mode, 1 if model[4] < 1e999 else 0)
        model_at: cython.p_double = doubles(model)
        rows_at: cython.p_double = doubles(log_rows)
        distinct_at: cython.p_double = doubles(log_distinct)
        selectivity_at: cython.p_double = doubles(log_selectivity)
        tree_at: cython.p_int = ints(tree)
        out_at: cython.p_int = ints(out)
        with cython.nogil:
            for lane in range(lanes):
                for i in range(size):
                    self.log_rows[i] = rows_at[lane * size + i]
                for i in range(entries):
                    self.log_distinct[i] = distinct_at[lane * entries + i]
                for i in range(predicate_count):
                    self.log_selectivity[i] = selectivity_at[lane * predicate_count + i]
                self._search_lane(model_at, linear, greedily, given, tree_at, 10 * nodes * lane, out_at)
                everywhere &= self.found
        return everywhere != 0

    def last_order(self):
        """The linear order whose intervals were searched last."""
        return self.held["order"][: self.size].copy()

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _search_lane(
        self,
        model: cython.p_double,
        linear: cython.longlong,
        greedily: cython.longlong,
        given: cython.longlong,
        tree: cython.p_int,
        offset: cython.longlong,
        out: cython.p_int,
    ) -> cython.void:
        """Offer every candidate that was asked for; the cheapest stays, the first of equals."""
        i: cython.longlong
        reached: cython.longlong
        size: cython.longlong = self.size
        root: cython.longlong = 2 * size - 2
        self.found = 0
        self.best_cost = 1e999
        if linear != 0:
            self._linear_order()
            if self._search_order(model) != 0:
                self._offer(model, offset, out)
        if greedily != 0:
            reached = self._greedy_tree()
            if reached == size - 1:
                self._offer(model, offset, out)
                if linear != 0 and self.components == 1:
                    list_leaves(size, root, self.inputs, self.stack, self.order)
                    if self._search_order(model) != 0:
                        self._offer(model, offset, out)
        if given != 0:
            for i in range(size - 1):
                self.inputs[2 * i] = tree[3 * i]
                self.inputs[2 * i + 1] = tree[3 * i + 1]
                self.allowed[i] = tree[3 * i + 2]
            self._tree_rows()
            self._offer(model, offset, out)
            if linear != 0 and self.components == 1:
                list_leaves(size, root, self.inputs, self.stack, self.order)
                if self._search_order(model) != 0:
                    self._offer(model, offset, out)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _linear_order(self) -> cython.void:
        """IKKBZ order of every component into ``order``; ``components`` and ``ends`` say where they lie."""
        i: cython.longlong
        start: cython.longlong = 0
        sum_weights(
            self.edges, self.edge_starts, self.edge_predicates, self.log_selectivity, self.edge_weights
        )
        weigh_edges(
            self.size, self.tree_edges, self.tree_starts, self.tree_near, self.tree_near_edges,
            self.tree_edge_starts, self.tree_edge_predicates, self.class_starts, self.classes,
            self.class_entries, self.log_distinct, self.log_selectivity, self.class_marks, self.weights,
        )  # fmt: skip
        self.components = span(
            self.size, self.tree_starts, self.tree_near, self.tree_near_edges, self.weights, self.done,
            self.nearest, self.parent, self.visit, self.ends, self.number,
        )  # fmt: skip
        for i in range(self.components):
            linearize(
                start, self.ends[i], self.visit, self.parent, self.nearest, self.log_rows, self.number,
                self.sizes, self.slots, self.starts, self.offsets, self.modules, self.chains, self.part_rows,
                self.part_cost, self.part_rank, self.part_length, self.sequence, self.list_rank,
                self.list_module, self.list_tag, self.order,
            )  # fmt: skip
            start = self.ends[i]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _search_order(self, model: cython.p_double) -> cython.longlong:
        """The cheapest tree over intervals of ``order``; 0 if ordering constraints leave none.

        Components are searched apart and then joined by cross products, fewest rows first.
        """
        i: cython.longlong
        k: cython.longlong
        at: cython.longlong
        start: cython.longlong = 0
        top: cython.longlong = self.size - 1
        filled: cython.longlong
        lookups: cython.longlong = 1 if model[4] < 1e999 else 0
        cost: cython.double
        if self.operators != 0 and self.components != 1:
            return 0
        for i in range(self.components):
            cost = search_intervals(
                start, self.ends[i], self.size, self.order, self.position, self.near_starts, self.near,
                self.near_edges, self.edge_weights, self.epoch, self.class_starts, self.classes,
                self.class_entries, self.wide_starts, self.wides, self.predicate_sizes, self.log_rows,
                self.log_distinct, self.log_selectivity, self.class_epochs, self.class_least,
                self.predicate_epochs, self.predicate_seen, self.mode, self.indexed, model, self.operators,
                self.constraints, self.free, self.within, self.bits, self.inside, self.crossing,
                self.crossing_weights, self.inside_weights, self.logs, self.rows, self.a, self.b, self.m,
                self.x, self.column_a, self.column_b,
            )  # fmt: skip
            self.epoch += self.size + 1
            if cost == 1e999:
                return 0
            top += self.ends[i] - start - 1
            self.roots[i] = extract_intervals(
                start, self.ends[i], self.size, top, self.order, self.mode, lookups, self.indexed,
                self.operators, self.constraints, self.free, self.within, self.inside,
                self.rows, self.a, self.b, self.m, self.x, self.column_a, self.stack, self.inputs,
                self.node_rows, self.allowed,
            )  # fmt: skip
            start = self.ends[i]
        if self.components == 1:
            return 1
        for i in range(self.components):
            k = i
            while k > 0 and self.node_rows[self.roots[i]] < self.node_rows[self.roots[self.ranking[k - 1]]]:
                self.ranking[k] = self.ranking[k - 1]
                k -= 1
            self.ranking[k] = i
        filled = 0
        for i in range(self.components):
            at = self.ranking[i]
            for k in range(0 if at == 0 else self.ends[at - 1], self.ends[at]):
                self.stack[filled] = self.order[k]
                filled += 1
        log_rows_of_list(
            self.size, self.stack, self.epoch, self.class_starts, self.classes, self.class_entries,
            self.predicate_starts, self.predicates, self.predicate_sizes, self.log_rows, self.log_distinct,
            self.log_selectivity, self.class_epochs, self.class_least, self.predicate_epochs,
            self.predicate_seen, self.logs,
        )  # fmt: skip
        self.epoch += 1
        k = self.roots[self.ranking[0]]
        filled = self.ends[self.ranking[0]]
        filled -= 0 if self.ranking[0] == 0 else self.ends[self.ranking[0] - 1]
        for i in range(1, self.components):
            at = self.ranking[i]
            filled += self.ends[at] - (0 if at == 0 else self.ends[at - 1])
            top += 1
            self.inputs[2 * (top - self.size)] = k
            self.inputs[2 * (top - self.size) + 1] = self.roots[at]
            self.allowed[top - self.size] = -1
            self.node_rows[top] = rows_of(self.logs[filled - 1])
            k = top
        return 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _greedy_tree(self) -> cython.longlong:
        """A tree by greedy operator ordering; how many joins it reached."""
        reached: cython.longlong
        if self.operators != 0:
            reached = join_legally(
                self.size, self.epoch, self.class_starts, self.classes, self.class_entries,
                self.predicate_starts, self.predicates, self.predicate_sizes, self.log_rows,
                self.log_distinct, self.log_selectivity, self.class_epochs, self.class_least,
                self.predicate_epochs, self.predicate_seen, self.operators, self.constraints, self.free,
                self.masks, self.alive, self.values, self.nodes, self.inputs, self.node_rows, self.allowed,
            )  # fmt: skip
            self.epoch += self.size * self.size * self.size
            return reached
        join_greedily(
            self.size, self.edges, self.edge_ends, self.edge_starts, self.edge_predicates, self.class_starts,
            self.classes, self.class_entries, self.wide_starts, self.wides, self.predicate_count,
            self.predicate_sizes, self.log_rows, self.log_distinct, self.log_selectivity, self.heads,
            self.following, self.previous, self.half_ends, self.greedy_weights, self.values,
            self.class_heads, self.class_next, self.entry_least, self.class_marks, self.wide_heads,
            self.wide_next, self.wide_left, self.wide_marks, self.logs, self.best, self.partner, self.stale,
            self.alive, self.via, self.nodes, self.inputs, self.node_rows, self.allowed,
        )  # fmt: skip
        return self.size - 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _tree_rows(self) -> cython.void:
        """Rows of the nodes of a given tree of at most 62 relations."""
        i: cython.longlong
        one: cython.longlong = 1
        size: cython.longlong = self.size
        for i in range(2 * size - 1):
            if i < size:
                self.masks[i] = one << i
            else:
                self.masks[i] = (
                    self.masks[self.inputs[2 * (i - size)]] | self.masks[self.inputs[2 * (i - size) + 1]]
                )
            self.node_rows[i] = rows_of(
                log_rows_of_mask(
                    self.masks[i], size, self.epoch, self.class_starts, self.classes, self.class_entries,
                    self.predicate_starts, self.predicates, self.predicate_sizes, self.log_rows,
                    self.log_distinct, self.log_selectivity, self.class_epochs, self.class_least,
                    self.predicate_epochs, self.predicate_seen,
                )
            )  # fmt: skip
            self.epoch += 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _offer(self, model: cython.p_double, offset: cython.longlong, out: cython.p_int) -> cython.void:
        """Cost the candidate and keep it if it is the first or the cheapest so far."""
        i: cython.longlong
        cost: cython.double = finish_tree(
            self.size, self.size - 1, 1 if self.size <= 62 else 0, self.indexed, model, self.inputs,
            self.node_rows, self.allowed, self.operators_chosen, self.costs, self.counts, self.lowest,
            self.masks, self.stack, self.plan_int, self.plan_long, self.plan_double,
        )  # fmt: skip
        if self.found == 0 or cost < self.best_cost:
            self.found = 1
            self.best_cost = cost
            for i in range(10 * (2 * self.size - 1)):
                out[offset + i] = self.plan_int[i]
