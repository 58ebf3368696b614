"""A planner for one connected graph: owns every buffer that its searches need.

Built once per graph: lists the csgs, counts the csg-cmp pairs up to a budget, keeps the pairs where the list
is small, and picks how to search. From then on :meth:`Planner.search` is one native call that allocates
nothing (but buffers that grow with the first search of more lanes or another kind of cost model). One planner
serves one thread at a time; :meth:`Planner.twin` makes another that shares all that is constant.
"""

from __future__ import annotations

import cython
import numpy
from cython.cimports.godb_fast._kernels.addresses import doubles, ints, longs
from cython.cimports.godb_fast._kernels.cardinality import (
    correct_operators,
    estimate_masks,
    estimate_sets,
    exponentials,
    list_bases,
    take_factors,
)
from cython.cimports.godb_fast._kernels.costing import (
    search_pairs,
    search_stream,
    search_subsets,
    search_trees,
    settle_until,
    start_stream,
)
from cython.cimports.godb_fast._kernels.enumeration import (
    find,
    group_pairs,
    index_sets,
    list_sets,
    orient_pairs,
    orientations,
    stream_pairs,
    stream_splits,
)
from cython.cimports.godb_fast._kernels.extraction import extract, recost
from cython.cimports.godb_fast._kernels.plain import (
    count_invalid,
    plain_pairs,
    plain_start,
    plain_stop,
    plain_stream,
    plain_subsets,
    plain_trees,
)

#: Triples per chunk of streamed pairs: stays in the first-level cache; where calls are dear, more.
CHUNK = 1024 if cython.compiled else 16384


@cython.cclass
class Planner:
    """Search over one connected graph whose relations are numbered as ``enumeration`` asks.

    Parameters
    ----------
    layout : dict
        The graph as arrays, in the planner's numbering of relations (``planning.search`` prepares it):
        ``adjacency``, ``below`` (subtree masks; empty unless the graph is a tree), ``names`` (the caller's
        number of each relation), ``constraints`` and ``operator_sets`` (operators: kind, left,
        right; left, left | right), ``free`` (neighbours by edges, without operators), ``indexed`` (mask), and
        the estimates' structure: ``class_starts``, ``classes``, ``class_sets``, ``class_entries``,
        ``predicate_starts``, ``predicates``, ``predicate_sets``, ``predicate_entries``; ``members`` and
        ``selective`` (how many class members and selective predicates the caller's graph has).
    budget : int
        The most csg-cmp pairs that are searched exactly; beyond it ``algorithm`` is empty.
    list_bytes : int
        The largest pair list that is kept.
    """

    def __init__(self, layout, budget: cython.longlong, list_bytes: cython.longlong):
        self.layout = layout
        self.held = {}
        self.lanes = 0
        self.reserved = 0
        self.spread = 0
        self.count = -1
        self.pair_count = -1
        self.kind = -1
        self.name = ""
        if self._list(budget):
            self._choose(budget, list_bytes)
            if self.kind >= 0:
                self._estimates()

    def twin(self):
        """Another planner of the same graph, for another thread: constants shared, buffers its own."""
        other = Planner.__new__(Planner)
        other._share(self)
        return other

    def _share(self, other: Planner):
        self.layout = other.layout
        self.held = dict(other.held)
        self.size = other.size
        self.count = other.count
        self.pair_count = other.pair_count
        self.kind = other.kind
        self.name = other.name
        self.acyclic = other.acyclic
        self.wrap = other.wrap
        self.slot_count = other.slot_count
        self.lookups = other.lookups
        self.lanes = 0
        self.reserved = 0
        self.spread = 0
        self._take_layout()
        self.sets = longs(self.held["sets"])
        self.near = longs(self.held["near"])
        self.named = longs(self.held["named"])
        self.slots = ints(self.held["slots"])
        self.ends = ints(self.held["ends"])
        self.pairs = ints(self.held["pairs"])
        self.built = ints(self.held["built"])
        self.lookup_ends = ints(self.held["lookup_ends"])
        self.lookup_left = ints(self.held["lookup_left"])
        self.bases = ints(self.held["bases"])
        self.added = ints(self.held["added"])
        self._own()

    def _hold(self, key, array):
        """Keep an array alive whose address a kernel reads."""
        self.held[key] = array
        return array

    def _take_layout(self):
        layout = self.layout
        self.size = len(layout["names"])
        self.acyclic = len(layout["below"])
        self.operators = len(layout["constraints"]) // 3
        self.indexed = layout["indexed"]
        self.members = layout["members"]
        self.selective = layout["selective"]
        self.adjacency = longs(layout["adjacency"])
        self.below = longs(layout["below"])
        self.names = longs(layout["names"])
        self.constraints = longs(layout["constraints"])
        self.free = longs(layout["free"])
        self.operator_sets = longs(layout["operator_sets"])
        self.class_starts = ints(layout["class_starts"])
        self.classes = ints(layout["classes"])
        self.class_sets = longs(layout["class_sets"])
        self.class_entries = ints(layout["class_entries"])
        self.predicate_starts = ints(layout["predicate_starts"])
        self.predicates = ints(layout["predicates"])
        self.predicate_sets = longs(layout["predicate_sets"])
        self.predicate_entries = ints(layout["predicate_entries"])

    def _own(self):
        """Scratch memory that no two threads may share."""
        streamed: cython.longlong = CHUNK if self.kind == 3 else 1
        self.capacity = streamed
        # Each template that is known keeps two planners: room for 64 relations would be most of its memory.
        waiting: cython.longlong = 3 + (3 * self.size * self.size if self.size > 2 else 5 * self.size)
        self.stack = longs(self._hold("stack", numpy.zeros(waiting, numpy.int64)))
        self.least = doubles(self._hold("least", numpy.zeros(16)))
        self.chunk = ints(self._hold("chunk", numpy.empty(3 * streamed, numpy.int32)))
        oriented = 6 * streamed if self.operators != 0 else 1
        self.oriented = ints(self._hold("oriented", numpy.empty(oriented, numpy.int32)))

    def _list(self, budget: cython.longlong):
        """List the csgs; False if there are too many."""
        limit: cython.longlong
        room: cython.longlong
        size: cython.longlong
        self._take_layout()
        self._own()
        size = self.size
        limit = budget + size
        if size < 40 and limit > (1 << size):
            limit = 1 << size
        # A budget may allow for more sets than there is memory; most graphs have few.
        room = limit if limit < 65536 else 65536
        while True:
            sets = numpy.empty(room + 1, numpy.int64)
            near = numpy.empty(room + 1, numpy.int64)
            self.sets = longs(self._hold("sets", sets))
            self.near = longs(self._hold("near", near))
            with cython.nogil:
                self.count = list_sets(size, room, self.adjacency, self.sets, self.near, self.stack)
            if self.count >= 0:
                break
            if room == limit:
                return False
            room = limit if limit < 16 * room else 16 * room
        self.sets = longs(self._hold("sets", sets[: self.count].copy()))
        self.near = longs(self._hold("near", near[: self.count].copy()))
        # Dense where that wastes little: one load instead of a probe.
        self.wrap = 0
        self.slot_count = 0
        if size <= 12 or (size <= 28 and (1 << size) <= 64 * self.count):
            self.slot_count = 1 << size
            slots = numpy.full(self.slot_count, -1, numpy.int32)
        else:
            self.wrap = 16
            while self.wrap < 4 * self.count:
                self.wrap *= 2
            slots = numpy.full(self.wrap, -1, numpy.int32)
            self.wrap -= 1
        self.slots = ints(self._hold("slots", slots))
        with cython.nogil:
            index_sets(self.count, self.sets, self.slots, self.wrap)
        return True

    def _choose(self, budget: cython.longlong, list_bytes: cython.longlong):
        """Count the pairs, keep them if they are few, and pick the search."""
        limit: cython.longlong = list_bytes // 4
        capacity: cython.longlong
        filled: cython.longlong
        total: cython.longlong = 0
        legal: cython.longlong = 0
        count: cython.longlong = self.count
        sets = self.held["sets"]
        degrees = numpy.bitwise_count(sets).astype(numpy.int64)
        if self.acyclic != 0:
            total = int(degrees.sum()) - count
            if total > budget:
                return
        capacity = max(CHUNK, min(limit, total if self.acyclic != 0 else limit) + 64)
        chunk = numpy.empty(3 * capacity, numpy.int32)
        self.chunk = ints(self._hold("chunk", chunk))
        self.oriented = ints(
            self._hold("oriented", numpy.empty(6 * capacity if self.operators != 0 else 1, numpy.int32))
        )
        self.built = ints(self._hold("built", (degrees == 1).astype(numpy.int32)))
        self._restart()
        filled = self._next(capacity)
        counted: cython.longlong = filled
        if self.operators != 0:
            legal = self._orient(filled)
        else:
            legal = filled
        complete = self.stack[0] == count
        keep = complete and legal <= limit and count <= 65536
        if keep:
            ends = numpy.empty(count, numpy.int32)
            grouped = numpy.empty(max(1, legal), numpy.int32)
            self.ends = ints(self._hold("ends", ends))
            self.pairs = ints(self._hold("pairs", grouped))
            with cython.nogil:
                group_pairs(
                    count, legal, self.oriented if self.operators != 0 else self.chunk, self.ends, self.pairs
                )
        while self.stack[0] != count and counted <= budget:
            filled = self._next(capacity)
            counted += filled
            if self.operators != 0:
                self._orient(filled)
        if counted > budget:
            return
        self.pair_count = counted
        self.name = "dptree" if self.acyclic != 0 else "dpccp"
        if keep:
            self.kind = 0
        else:
            self.ends = ints(self._hold("ends", numpy.zeros(1, numpy.int32)))
            self.pairs = ints(self._hold("pairs", numpy.zeros(1, numpy.int32)))
            self.kind = 3
            if self.operators == 0 and self.size <= 22:
                if self.acyclic != 0:
                    self.kind = 1
                elif float(numpy.ldexp(0.5, degrees).sum()) <= 4.0 * counted:
                    # A subset split costs about a quarter of an enumerated pair.
                    self.kind = 2
                    self.name = "dpsub"
        self._own()
        self._lookups()

    def _restart(self):
        self.stack[0] = 0
        self.stack[1] = 0

    def _next(self, capacity: cython.longlong) -> cython.longlong:
        filled: cython.longlong
        with cython.nogil:
            if self.acyclic != 0:
                filled = stream_splits(
                    self.count, capacity, self.below, self.sets, self.slots, self.wrap, self.stack, self.chunk
                )
            else:
                filled = stream_pairs(
                    self.count, capacity, self.adjacency, self.sets, self.near, self.slots, self.wrap,
                    self.stack, self.chunk,
                )  # fmt: skip
        return filled

    def _orient(self, filled: cython.longlong) -> cython.longlong:
        kept: cython.longlong
        with cython.nogil:
            kept = orient_pairs(
                filled, self.chunk, self.sets, self.operators, self.constraints, self.free, self.built,
                self.oriented,
            )  # fmt: skip
        return kept

    def _lookups(self):
        """Which csgs an indexed relation can be split off from, and what remains."""
        i: cython.longlong
        rest: cython.longlong
        chosen: cython.longlong
        other: cython.longlong
        found: cython.longlong = 0
        count: cython.longlong = self.count
        ends = numpy.zeros(count if self.indexed != 0 else 1, numpy.int32)
        members = int(numpy.bitwise_count(self.held["sets"] & self.indexed).sum()) if self.indexed != 0 else 0
        left = numpy.zeros(members + 1, numpy.int32)
        self.lookup_ends = ints(self._hold("lookup_ends", ends))
        self.lookup_left = ints(self._hold("lookup_left", left))
        if self.indexed != 0:
            for i in range(count):
                rest = self.sets[i] & self.indexed
                while rest != 0:
                    chosen = rest & -rest
                    rest ^= chosen
                    other = self.sets[i] ^ chosen
                    if other == 0:
                        continue
                    other = find(other, self.slots, self.wrap, self.sets)
                    if other < 0:
                        continue
                    if self.operators != 0 and (
                        self.built[other] == 0
                        or orientations(
                            self.sets[other],
                            chosen,
                            self.operators,
                            self.constraints,
                            self.free,
                        )
                        & 4
                        == 0
                    ):
                        continue
                    self.lookup_left[found] = other
                    found += 1
                self.lookup_ends[i] = found
        self.lookups = found

    def _estimates(self):
        """What row estimates need: how each csg grows, and names of the csgs."""
        count: cython.longlong = self.count
        self.bases = ints(self._hold("bases", numpy.empty(count, numpy.int32)))
        self.added = ints(self._hold("added", numpy.empty(count, numpy.int32)))
        with cython.nogil:
            list_bases(count, self.sets, self.slots, self.wrap, self.bases, self.added)
        sets = self.held["sets"]
        named = numpy.zeros(count, numpy.int64)
        for work, name in enumerate(self.layout["names"].tolist()):
            named |= ((sets >> work) & 1) << name
        self.named = longs(self._hold("named", named))

    def _reserve(self, lanes: cython.longlong, mode: cython.longlong):
        """Grow the tables to what a search of these lanes and this mode needs."""
        count: cython.longlong = self.count
        if lanes > self.lanes:
            self.rows = doubles(self._hold("rows", numpy.empty(count * lanes)))
            self.logs = doubles(self._hold("logs", numpy.empty(count * lanes)))
            factors = numpy.empty(self.operators * lanes + 1)
            self.corrections = doubles(self._hold("corrections", factors))
            masks = numpy.empty(2 * self.operators * lanes + 1)
            self.operator_logs = doubles(self._hold("operator_logs", masks))
            factors = numpy.empty((self.size + self.members + self.selective + self.operators) * lanes)
            self.factors = doubles(self._hold("factors", factors))
            streamed = count * lanes if self.kind == 3 else 1
            self.found = doubles(self._hold("found", numpy.empty(streamed)))
            self.lanes = lanes
            self.spread = 0
        # Subset splits read the slots of disconnected sets, which must be infinite: in the rows of lanes that
        # these searches use, so that another number of lanes needs them written anew.
        if self.spread == 0 or mode & ~self.reserved != 0 or (self.kind == 2 and self.spread != lanes):
            if self.spread != 0:
                mode |= self.reserved
            slots = (1 << self.size if self.kind == 1 or self.kind == 2 else count) * self.lanes
            self.a = doubles(self._hold("a", numpy.full(slots, numpy.inf)))
            self.b = doubles(self._hold("b", numpy.full(slots if mode & 1 else 1, numpy.inf)))
            self.m = doubles(self._hold("m", numpy.full(slots if mode & 2 else 1, numpy.inf)))
            self.x = doubles(self._hold("x", numpy.empty(count * self.lanes if self.lookups else 1)))
            self.reserved = mode
        self.spread = lanes

    @property
    def algorithm(self):
        """``dptree``, ``dpsub`` or ``dpccp``; empty if the pairs exceed the budget."""
        return self.name

    @property
    def listed(self):
        """Whether the pair list is kept."""
        return self.kind == 0

    @property
    def relation_sets(self):
        """The csgs in the caller's numbering, subsets before supersets."""
        return self.held["named"]

    @property
    def pair_total(self):
        """Number of csg-cmp pairs."""
        return self.pair_count

    @property
    def arrays(self):
        """Every array by name, for inspection."""
        return {**self.layout, **self.held}

    @property
    def buildable(self):
        """Whether the ordering constraints admit a plan."""
        return self.operators == 0 or bool(self.built[self.find((1 << self.size) - 1)])

    def find(self, mask: cython.longlong):
        """Index of a csg in the planner's numbering, or -1."""
        return find(mask, self.slots, self.wrap, self.sets)

    def renumber(self, masks):
        """Masks in the caller's numbering as masks in the planner's."""
        work = numpy.zeros(len(masks), numpy.int64)
        for number, name in enumerate(self.layout["names"].tolist()):
            work |= ((masks >> name) & 1) << number
        return work

    def listed_pairs(self):
        """(left, right) masks of the kept pairs, in the caller's numbering."""
        named = self.held["named"]
        packed = self.held["pairs"][: self.ends[self.count - 1]]
        return named[numpy.stack([packed & 65535, (packed >> 16) & 65535], axis=1)]

    def estimate(self, lanes: cython.longlong, log_rows, log_distinct, log_selectivity):
        """Rows of every csg into the planner's own buffer, for :meth:`search` without rows."""
        self._estimate_at(lanes, doubles(log_rows), doubles(log_distinct), doubles(log_selectivity))

    @cython.cfunc
    def _estimate_at(
        self,
        lanes: cython.longlong,
        log_rows: cython.p_double,
        log_distinct: cython.p_double,
        log_selectivity: cython.p_double,
    ):
        """As :meth:`estimate`, for Cython callers that hold the addresses."""
        self._reserve(lanes, 0)
        with cython.nogil:
            self._prepare(lanes, log_rows, log_distinct, log_selectivity)
            estimate_sets(
                self.count, self.multiplied, self.size * lanes, (self.size + self.members) * lanes,
                (self.size + self.members + self.selective) * lanes, self.factors, self.sets, self.bases,
                self.added, lanes, self.names, self.class_starts, self.classes, self.class_sets,
                self.class_entries, self.predicate_starts, self.predicates, self.predicate_sets,
                self.predicate_entries, log_rows, log_distinct, log_selectivity, self.corrections,
                self.least, self.logs, self.rows,
            )  # fmt: skip

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _prepare(
        self,
        lanes: cython.longlong,
        log_rows: cython.p_double,
        log_distinct: cython.p_double,
        log_selectivity: cython.p_double,
    ) -> cython.void:
        if self.operators != 0:
            estimate_masks(
                2 * self.operators, self.operator_sets, 0, 0, 0, 0, self.factors, 0, self.sets, self.slots,
                self.wrap, self.bases, self.added, self.stack, lanes, self.names, self.class_starts,
                self.classes, self.class_sets, self.class_entries, self.predicate_starts, self.predicates,
                self.predicate_sets, self.predicate_entries, log_rows, log_distinct, log_selectivity,
                self.corrections, self.least, self.operator_logs,
            )  # fmt: skip
            correct_operators(self.operators, self.constraints, lanes, self.operator_logs, self.corrections)
        self.multiplied = take_factors(
            self.size, self.members, self.selective, self.operators, lanes, self.names, log_rows,
            log_distinct, log_selectivity, self.corrections, self.factors,
        )  # fmt: skip

    def estimate_masks(self, masks, lanes: cython.longlong, log_rows, log_distinct, log_selectivity, rows):
        """Rows of any masks in the planner's numbering, shape (count, lanes) into ``rows``."""
        count: cython.longlong = len(masks)
        self._reserve(lanes, 0)
        masks_at: cython.p_longlong = longs(masks)
        log_rows_at: cython.p_double = doubles(log_rows)
        log_distinct_at: cython.p_double = doubles(log_distinct)
        log_selectivity_at: cython.p_double = doubles(log_selectivity)
        rows_at: cython.p_double = doubles(rows)
        with cython.nogil:
            self._prepare(lanes, log_rows_at, log_distinct_at, log_selectivity_at)
            estimate_masks(
                count, masks_at, self.multiplied, self.size * lanes, (self.size + self.members) * lanes,
                (self.size + self.members + self.selective) * lanes, self.factors, 1, self.sets, self.slots,
                self.wrap, self.bases, self.added, self.stack, lanes, self.names, self.class_starts,
                self.classes, self.class_sets, self.class_entries, self.predicate_starts, self.predicates,
                self.predicate_sets, self.predicate_entries, log_rows_at, log_distinct_at, log_selectivity_at,
                self.corrections, self.least, rows_at,
            )  # fmt: skip
            if self.multiplied == 0:
                exponentials(count * lanes, rows_at, rows_at)

    def own_rows(self, lanes):
        """The buffer that :meth:`estimate` fills, shape (count, lanes)."""
        return self.held["rows"][: self.count * lanes].reshape(self.count, lanes)

    def search(self, lanes: cython.longlong, rows, model, out) -> cython.longlong:
        """Cheapest plan of every lane into ``out``, a PLAN_NODE array of shape (lanes, 2n - 1).

        ``rows`` has shape (count, lanes); None: what :meth:`estimate` found. Returns how many of them are
        negative or NaN; nothing is searched unless there are none.
        """
        invalid: cython.longlong
        own_rows: cython.bint = rows is None
        rows_at: cython.p_double = doubles(model if own_rows else rows)
        if not own_rows:
            invalid = count_invalid(self.count * lanes, rows_at)
            if invalid != 0:
                return invalid
        self._search_at(lanes, own_rows, rows_at, doubles(model), ints(out), longs(out), doubles(out))
        return 0

    @cython.cfunc
    def _search_at(
        self,
        lanes: cython.longlong,
        own_rows: cython.bint,
        rows: cython.p_double,
        model: cython.p_double,
        int_at: cython.p_int,
        long_at: cython.p_longlong,
        double_at: cython.p_double,
    ):
        """As :meth:`search`, for callers that hold the addresses; ``own_rows``: those estimated last."""
        mode: cython.longlong = 0
        lane: cython.longlong
        lookups: cython.longlong = self.lookups
        if model[1] > 0.0 or model[2] > 0.0:
            mode |= 1
        if model[5] < 1e999:
            mode |= 2
        if not model[4] < 1e999:
            lookups = 0
        if lanes > self.lanes or self.spread != lanes or mode & ~self.reserved != 0:
            self._reserve(lanes, mode)
        if own_rows:
            rows = self.rows
        with cython.nogil:
            self._search(lanes, rows, mode, lookups, model)
            for lane in range(lanes):
                extract(
                    self.size, self.kind, lane * (2 * self.size - 1), self.sets, self.named, self.names,
                    self.slots, self.wrap, self.below, self.ends, self.pairs, self.built, self.lookup_ends,
                    self.lookup_left, lookups, self.operators, self.constraints, self.free, lanes, lane,
                    rows, mode, model, self.a, self.b, self.m, self.x, self.stack, int_at, long_at,
                    double_at,
                )  # fmt: skip

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _search(
        self,
        lanes: cython.longlong,
        rows: cython.p_double,
        mode: cython.longlong,
        lookups: cython.longlong,
        model: cython.p_double,
    ) -> cython.void:
        oriented: cython.longlong = 1 if self.operators != 0 else 0
        plain: cython.longlong = 0
        if lanes == 1 and mode == 0 and lookups == 0 and model[0] == 0.0 and model[3] > 0.0:
            plain = 1
        if self.kind == 0:
            if plain != 0:
                plain_pairs(self.count, self.sets, self.ends, self.pairs, rows, model[3], self.a)
            else:
                search_pairs(
                    self.count, self.sets, self.ends, self.pairs, lanes, rows, mode, oriented,
                    self.lookup_ends, self.lookup_left, lookups, model, self.least, self.a, self.b, self.m,
                    self.x,
                )  # fmt: skip
        elif self.kind == 1:
            if plain != 0:
                plain_trees(self.count, self.sets, self.below, rows, model[3], self.a)
            else:
                search_trees(
                    self.count, self.sets, self.below, lanes, rows, mode, self.lookup_ends, self.lookup_left,
                    lookups, model, self.least, self.a, self.b, self.m, self.x,
                )  # fmt: skip
        elif self.kind == 2:
            if plain != 0:
                plain_subsets(self.count, self.sets, rows, model[3], self.a)
            else:
                search_subsets(
                    self.count, self.sets, lanes, rows, mode, self.lookup_ends, self.lookup_left, lookups,
                    model, self.least, self.a, self.b, self.m, self.x,
                )  # fmt: skip
        else:
            self._stream(lanes, rows, mode, oriented, lookups, model)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _stream(
        self,
        lanes: cython.longlong,
        rows: cython.p_double,
        mode: cython.longlong,
        oriented: cython.longlong,
        lookups: cython.longlong,
        model: cython.p_double,
    ) -> cython.void:
        filled: cython.longlong
        settled: cython.longlong = 0
        capacity: cython.longlong = self.capacity
        plain: cython.longlong = 0
        if lanes == 1 and mode == 0 and lookups == 0 and oriented == 0 and model[0] == 0.0 and model[3] > 0.0:
            plain = 1
        if plain != 0:
            plain_start(self.count, self.sets, self.a)
        else:
            start_stream(self.count * lanes, self.found)
        self.stack[0] = 0
        self.stack[1] = 0
        while self.stack[0] != self.count:
            if self.acyclic != 0:
                filled = stream_splits(
                    self.count, capacity, self.below, self.sets, self.slots, self.wrap, self.stack, self.chunk
                )
            else:
                filled = stream_pairs(
                    self.count, capacity, self.adjacency, self.sets, self.near, self.slots, self.wrap,
                    self.stack, self.chunk,
                )  # fmt: skip
            if oriented != 0:
                filled = orient_pairs(
                    filled, self.chunk, self.sets, self.operators, self.constraints, self.free, self.built,
                    self.oriented,
                )  # fmt: skip
            if plain != 0:
                settled = plain_stream(settled, filled, self.chunk, self.sets, rows, model[3], self.a)
                continue
            settled = search_stream(
                settled, filled, self.oriented if oriented != 0 else self.chunk, self.sets, lanes, rows, mode,
                oriented, self.lookup_ends, self.lookup_left, lookups, model, self.found, self.least, self.a,
                self.b, self.m, self.x,
            )  # fmt: skip
        if plain != 0:
            plain_stop(settled, self.count, self.sets, rows, model[3], self.a)
            return
        settle_until(
            settled, self.count, self.sets, lanes, rows, mode, self.lookup_ends, self.lookup_left, lookups,
            model, self.found, self.least, self.a, self.b, self.m, self.x,
        )  # fmt: skip


def recost_nodes(lanes: cython.longlong, rows, model, indexed: cython.longlong, nodes, costs):
    """Cost of every node of a plan in every lane; see ``extraction.recost``."""
    count: cython.longlong = len(nodes)
    nodes_at: cython.p_int = ints(nodes)
    rows_at: cython.p_double = doubles(rows)
    model_at: cython.p_double = doubles(model)
    costs_at: cython.p_double = doubles(costs)
    with cython.nogil:
        recost(count, nodes_at, indexed, lanes, rows_at, model_at, costs_at)
