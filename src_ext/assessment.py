"""A block's candidate plans, costed in every row scenario in one call.

The search gives the cheapest plan of each lane. Here equal ones among them are dropped, the engine's own plan
joins them, and each is costed in all lanes: its sets' rows are computed bottom-up along its tree, so that
nothing is looked up and trees with cross products cost like any other.

ln rows(L ∪ R) is ln rows(L) + ln rows(R), less for each equivalence class with members on both sides the
larger of the two sides' least ln distinct, plus ln selectivity of each predicate and the correction of each
outer, semi or anti join that the union completes (see ``cardinality``, which sums the same in other order).

A steered engine is told a tree and chooses the operators itself, so plans are told apart by their trees, and
each join costs the cheaper of a hash and a merge join in each lane. Index joins are not for this kernel.
"""

from __future__ import annotations

import cython
import numpy
from cython.cimports.godb_fast._kernels.addresses import doubles, ints, longs
from cython.cimports.libc.math import exp, floor, log


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def bounded_exp(value: cython.double) -> cython.double:
    """exp, clamped as the search clamps it."""
    value = value if value < 600.0 else 600.0
    value = value if value > -600.0 else -600.0
    return exp(value)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def same_tree(
    width: cython.longlong,
    first: cython.p_int,
    at: cython.longlong,
    second: cython.p_int,
    to: cython.longlong,
) -> cython.longlong:
    """1 if two plans join the same relations in the same order, with the same build sides."""
    i: cython.longlong
    for i in range(width):
        if (
            first[10 * (at + i) + 1] != second[10 * (to + i) + 1]
            or first[10 * (at + i) + 2] != second[10 * (to + i) + 2]
            or first[10 * (at + i) + 3] != second[10 * (to + i) + 3]
        ):
            return 0
    return 1


@cython.cclass
class Assessor:
    """Costs plans of one graph of at most 62 relations. Serves one thread at a time.

    Parameters
    ----------
    size : int
        Relations n.
    class_starts, class_members : int64 arrays
        The graph's equivalence classes.
    predicate_sets : int64 array
        Mask of each selective predicate.
    constraints : int64 array, shape (o, 3)
        Kind, left and right mask of each outer, semi or anti join.
    model : float64 array
        ``CostModel.coefficients()``.
    """

    def __init__(self, size, class_starts, class_members, predicate_sets, constraints, model):
        self.size = size
        self.width = 2 * size - 1
        self.classes = len(class_starts) - 1
        self.predicates = len(predicate_sets)
        self.operators = len(constraints)
        sets = numpy.zeros(max(self.classes, 1), numpy.int64)
        entries = numpy.full(max(self.classes, 1) * size, -1, numpy.int64)
        for group in range(self.classes):
            for entry in range(int(class_starts[group]), int(class_starts[group + 1])):
                relation = int(class_members[entry])
                sets[group] |= 1 << relation
                entries[group * size + relation] = entry
        width = 2 * size - 1
        self.held = {
            "class_starts": numpy.array(class_starts, numpy.int64),
            "class_members": numpy.array([*class_members, 0], numpy.int64),
            "class_sets": sets,
            "entries": entries,
            "predicate_sets": numpy.array([*predicate_sets, 0], numpy.int64),
            "constraints": numpy.array([*numpy.reshape(constraints, -1), 0], numpy.int64),
            "model": numpy.array(model, numpy.float64),
            "logs": numpy.zeros(width * 16),
            "least": numpy.zeros(width * max(self.classes, 1) * 16),
            "rows": numpy.zeros(width * 16),
            "totals": numpy.zeros(width * 16),
            "corrections": numpy.zeros(max(self.operators, 1) * 16),
            "sums": numpy.zeros(64),
        }
        self.class_starts = longs(self.held["class_starts"])
        self.class_members = longs(self.held["class_members"])
        self.class_sets = longs(self.held["class_sets"])
        self.entries = longs(self.held["entries"])
        self.predicate_sets = longs(self.held["predicate_sets"])
        self.constraints = longs(self.held["constraints"])
        self.model = doubles(self.held["model"])
        self.logs = doubles(self.held["logs"])
        self.least = doubles(self.held["least"])
        self.rows = doubles(self.held["rows"])
        self.totals = doubles(self.held["totals"])
        self.corrections = doubles(self.held["corrections"])
        self.sums = doubles(self.held["sums"])

    def assess(
        self,
        lanes: cython.longlong,
        searched: cython.longlong,
        found,
        own,
        log_rows,
        log_distinct,
        log_selectivity,
        plans,
        costs,
        which,
        summary,
    ):
        """Distinct plans among ``found`` and ``own``, with their costs.

        Parameters
        ----------
        lanes, searched : int
            K, and how many of the first of them were searched (L).
        found : PLAN_NODE array, shape (L, 2n - 1)
            The cheapest plan of each lane that was searched.
        own : PLAN_NODE array, shape (2n - 1,), or None
            One more plan.
        plans, costs : PLAN_NODE array, shape (L + 1, 2n - 1); float64 array, shape (L + 1, K)
            Written: the distinct plans, with rows and costs of lane 0; their costs in every lane.
        which : int64 array, shape (L + 1,)
            Written: which plan is the cheapest of each searched lane, then which ``own`` is (-1: None).
        summary : float64 array, shape (L + 1, 3)
            Written per plan: cost in lane 0; the largest ratio, over lanes, to the cost of ``own`` (1: None);
            excess over the cheapest plan of each lane (``planning.choice.summarize``).

        Returns
        -------
        int
            Number of distinct plans.
        """
        first: cython.p_double = doubles(log_rows)
        return self._assess_at(
            lanes,
            searched,
            ints(found),
            0 if own is None else 1,
            ints(found if own is None else own),
            first,
            doubles(log_distinct) if len(log_distinct) else first,
            doubles(log_selectivity) if len(log_selectivity) else first,
            ints(plans),
            longs(plans),
            doubles(plans),
            doubles(costs),
            longs(which),
            doubles(summary),
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _assess_at(
        self,
        lanes: cython.longlong,
        searched: cython.longlong,
        found_at: cython.p_int,
        has_own: cython.longlong,
        own_at: cython.p_int,
        log_rows: cython.p_double,
        log_distinct: cython.p_double,
        log_selectivity: cython.p_double,
        plans_int: cython.p_int,
        plans_long: cython.p_longlong,
        plans_double: cython.p_double,
        costs_at: cython.p_double,
        which_at: cython.p_longlong,
        summary_at: cython.p_double,
    ) -> cython.longlong:
        """As :meth:`assess`, for Cython callers that hold the addresses."""
        width: cython.longlong = self.width
        count: cython.longlong = 0
        lane: cython.longlong
        plan: cython.longlong
        i: cython.longlong
        for lane in range(searched):
            plan = 0
            while plan < count and same_tree(width, found_at, lane * width, plans_int, plan * width) == 0:
                plan += 1
            which_at[lane] = plan
            if plan == count:
                for i in range(10 * width):
                    plans_int[10 * width * count + i] = found_at[10 * width * lane + i]
                count += 1
        which_at[searched] = -1
        if has_own != 0:
            plan = 0
            while plan < count and same_tree(width, own_at, 0, plans_int, plan * width) == 0:
                plan += 1
            which_at[searched] = plan
            if plan == count:
                for i in range(10 * width):
                    plans_int[10 * width * count + i] = own_at[i]
                count += 1
        self._correct(lanes, log_rows, log_distinct, log_selectivity)
        for plan in range(count):
            self._cost(
                lanes,
                plan * width,
                plans_int,
                plans_long,
                log_rows,
                log_distinct,
                log_selectivity,
            )
            for i in range(width):
                plans_double[5 * (plan * width + i) + 3] = self.rows[i * lanes]
                plans_double[5 * (plan * width + i) + 4] = self.totals[i * lanes]
            for lane in range(lanes):
                costs_at[plan * lanes + lane] = self.totals[(width - 1) * lanes + lane]
        self._summarize(count, lanes, which_at[searched], costs_at, summary_at)
        return count

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _summarize(
        self,
        count: cython.longlong,
        lanes: cython.longlong,
        own: cython.longlong,
        costs: cython.p_double,
        summary: cython.p_double,
    ) -> cython.void:
        plan: cython.longlong
        lane: cython.longlong
        cheapest: cython.double
        cost: cython.double
        ratio: cython.double
        weight: cython.double
        for plan in range(count):
            summary[3 * plan] = costs[plan * lanes]
            summary[3 * plan + 1] = 1.0 if own < 0 else 0.0
            summary[3 * plan + 2] = 0.0
        for lane in range(lanes):
            cheapest = costs[lane]
            for plan in range(1, count):
                cost = costs[plan * lanes + lane]
                cheapest = cost if cost < cheapest else cheapest
            weight = 0.5 if lane == 0 else 0.5 / (lanes - 1)
            weight = 1.0 if lanes == 1 else weight
            for plan in range(count):
                cost = costs[plan * lanes + lane]
                if cost > cheapest:
                    ratio = log(cost / cheapest) if cheapest > 0.0 else 1e999
                    summary[3 * plan + 2] += weight * ratio
                if own >= 0:
                    ratio = 1.0
                    if cost != costs[own * lanes + lane]:
                        ratio = 1e999
                        if costs[own * lanes + lane] > 0.0:
                            ratio = cost / costs[own * lanes + lane]
                    if ratio > summary[3 * plan + 1]:
                        summary[3 * plan + 1] = ratio

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _inner(
        self,
        lanes: cython.longlong,
        inside: cython.longlong,
        offset: cython.longlong,
        log_rows: cython.p_double,
        log_distinct: cython.p_double,
        log_selectivity: cython.p_double,
    ) -> cython.void:
        """ln rows of a set if all its joins were inner joins, into ``sums`` at ``offset``."""
        k: cython.longlong
        i: cython.longlong
        group: cython.longlong
        first: cython.longlong
        one: cython.longlong = 1
        value: cython.double
        for k in range(lanes):
            self.sums[offset + k] = 0.0
        for i in range(self.size):
            if (inside >> i) & one != 0:
                for k in range(lanes):
                    self.sums[offset + k] += log_rows[i * lanes + k]
        for group in range(self.classes):
            if self.class_sets[group] & inside & ((self.class_sets[group] & inside) - 1) == 0:
                continue
            first = 1
            for i in range(self.class_starts[group], self.class_starts[group + 1]):
                if (inside >> self.class_members[i]) & one == 0:
                    continue
                for k in range(lanes):
                    value = log_distinct[i * lanes + k]
                    self.sums[offset + k] -= value
                    if first != 0 or value < self.sums[48 + k]:
                        self.sums[48 + k] = value
                first = 0
            for k in range(lanes):
                self.sums[offset + k] += self.sums[48 + k]
        for i in range(self.predicates):
            if self.predicate_sets[i] != 0 and self.predicate_sets[i] & ~inside == 0:
                for k in range(lanes):
                    self.sums[offset + k] += log_selectivity[i * lanes + k]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _correct(
        self,
        lanes: cython.longlong,
        log_rows: cython.p_double,
        log_distinct: cython.p_double,
        log_selectivity: cython.p_double,
    ) -> cython.void:
        """ln of each operator's correction, by the rules of ``cardinality.correct_operators``."""
        i: cython.longlong
        k: cython.longlong
        kind: cython.longlong
        left: cython.longlong
        matches: cython.double
        value: cython.double
        for i in range(self.operators):
            kind = self.constraints[3 * i]
            left = self.constraints[3 * i + 1]
            self._inner(lanes, left, 0, log_rows, log_distinct, log_selectivity)
            self._inner(
                lanes, left | self.constraints[3 * i + 2], 16, log_rows, log_distinct, log_selectivity
            )
            for k in range(lanes):
                matches = self.sums[16 + k] - self.sums[k]
                value = 0.0
                if kind == 1:
                    value = -matches if matches < 0.0 else 0.0
                elif kind == 2:
                    value = -matches if matches > 0.0 else 0.0
                elif kind == 3:
                    value = 1.0 - bounded_exp(matches)
                    value = log(value if value > 0.1 else 0.1) - matches
                self.corrections[i * lanes + k] = value

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _cost(
        self,
        lanes: cython.longlong,
        first: cython.longlong,
        nodes: cython.p_int,
        nodes_long: cython.p_longlong,
        log_rows: cython.p_double,
        log_distinct: cython.p_double,
        log_selectivity: cython.p_double,
    ) -> cython.void:
        """Rows and costs of one plan's nodes in every lane, into ``rows`` and ``totals``."""
        at: cython.longlong
        node: cython.longlong
        k: cython.longlong
        group: cython.longlong
        i: cython.longlong
        relation: cython.longlong
        left: cython.longlong
        right: cython.longlong
        lefts: cython.longlong
        rights: cython.longlong
        both: cython.longlong
        operator: cython.longlong
        slot: cython.longlong
        left_slot: cython.longlong
        right_slot: cython.longlong
        one: cython.longlong = 1
        value: cython.double
        other: cython.double
        for at in range(self.width):
            node = first + at
            relation = nodes[10 * node + 1]
            if relation >= 0:
                for k in range(lanes):
                    self.logs[at * lanes + k] = log_rows[relation * lanes + k]
                for i in range(self.predicates):
                    if self.predicate_sets[i] == one << relation:
                        for k in range(lanes):
                            self.logs[at * lanes + k] += log_selectivity[i * lanes + k]
                for k in range(lanes):
                    self.rows[at * lanes + k] = bounded_exp(self.logs[at * lanes + k])
                    self.totals[at * lanes + k] = self.model[0] * self.rows[at * lanes + k]
                for group in range(self.classes):
                    i = self.entries[group * self.size + relation]
                    if i >= 0:
                        slot = (at * self.classes + group) * lanes
                        for k in range(lanes):
                            self.least[slot + k] = log_distinct[i * lanes + k]
                continue
            left = nodes[10 * node + 2]
            right = nodes[10 * node + 3]
            lefts = nodes_long[5 * (first + left) + 2]
            rights = nodes_long[5 * (first + right) + 2]
            both = lefts | rights
            for k in range(lanes):
                self.logs[at * lanes + k] = self.logs[left * lanes + k] + self.logs[right * lanes + k]
            for group in range(self.classes):
                slot = (at * self.classes + group) * lanes
                left_slot = (left * self.classes + group) * lanes
                right_slot = (right * self.classes + group) * lanes
                if self.class_sets[group] & lefts == 0:
                    if self.class_sets[group] & rights != 0:
                        for k in range(lanes):
                            self.least[slot + k] = self.least[right_slot + k]
                elif self.class_sets[group] & rights == 0:
                    for k in range(lanes):
                        self.least[slot + k] = self.least[left_slot + k]
                else:
                    for k in range(lanes):
                        if self.least[left_slot + k] < self.least[right_slot + k]:
                            self.least[slot + k] = self.least[left_slot + k]
                            self.logs[at * lanes + k] -= self.least[right_slot + k]
                        else:
                            self.least[slot + k] = self.least[right_slot + k]
                            self.logs[at * lanes + k] -= self.least[left_slot + k]
            for i in range(self.predicates):
                if (
                    self.predicate_sets[i] & ~both == 0
                    and self.predicate_sets[i] & ~lefts != 0
                    and self.predicate_sets[i] & ~rights != 0
                ):
                    for k in range(lanes):
                        self.logs[at * lanes + k] += log_selectivity[i * lanes + k]
            for i in range(self.operators):
                slot = self.constraints[3 * i + 1] | self.constraints[3 * i + 2]
                if slot & ~both == 0 and slot & ~lefts != 0 and slot & ~rights != 0:
                    for k in range(lanes):
                        self.logs[at * lanes + k] += self.corrections[i * lanes + k]
            operator = nodes[10 * node]
            for k in range(lanes):
                self.rows[at * lanes + k] = bounded_exp(self.logs[at * lanes + k])
                left_slot = left * lanes + k
                right_slot = right * lanes + k
                if operator == 4:
                    other = self.rows[right_slot] if self.rows[right_slot] > 1.0 else 1.0
                    value = self.totals[left_slot] + self.totals[right_slot]
                    value += self.model[2] * self.rows[left_slot] * other
                else:
                    value = self._hash(left_slot, right_slot)
                    if self.model[5] < 1e999:
                        other = self._merge(left_slot, right_slot)
                        value = other if other < value else value
                self.totals[at * lanes + k] = value + self.model[3] * self.rows[at * lanes + k]
            if operator != 4:
                # What the best guess prefers is written down.
                nodes[10 * node] = 1
                if self.model[5] < 1e999 and self._merge(left * lanes, right * lanes) < self._hash(
                    left * lanes, right * lanes
                ):
                    nodes[10 * node] = 3

    @cython.cfunc
    @cython.nogil
    @cython.inline
    @cython.exceptval(check=False)
    def _hash(self, left: cython.longlong, right: cython.longlong) -> cython.double:
        """Cost of a hash join before its output, from its inputs' rows and costs."""
        return (self.totals[left] + self.model[2] * self.rows[left]) + (
            self.totals[right] + self.model[1] * self.rows[right]
        )

    @cython.cfunc
    @cython.nogil
    @cython.inline
    @cython.exceptval(check=False)
    def _merge(self, left: cython.longlong, right: cython.longlong) -> cython.double:
        """The same of a merge join."""
        probes: cython.double = self.rows[left]
        builds: cython.double = self.rows[right]
        return (self.totals[left] + self.model[5] * probes * log(1.0 + probes)) + (
            self.totals[right] + self.model[5] * builds * log(1.0 + builds)
        )


#: Outcomes of :func:`choose`.
CHEAPEST, NO_MARGIN, SMALL_GAIN, RISKY, CHOSEN = range(5)


def choose(count: cython.longlong, own: cython.longlong, summary, rule, outcome) -> cython.longlong:
    """Which plan replaces the engine's own, if any: the rule of ``planning.choice``.

    Parameters
    ----------
    count, own : int
        Number of plans, and which of them is the engine's own.
    summary : float64 array, shape (count, 3)
        As :meth:`Assessor.assess` writes it.
    rule : float64 array, shape (4,)
        Margin, tolerance, least gain, most risk.
    outcome : float64 array, shape (2,)
        Written: the number of the chosen plan (-1: none), and the figure that explains it: how
        many times cheaper (NO_MARGIN, CHOSEN), the gain (SMALL_GAIN), how many times dearer (RISKY).

    Returns
    -------
    int
        CHEAPEST, NO_MARGIN, SMALL_GAIN, RISKY or CHOSEN.
    """
    return choose_at(count, own, doubles(summary), doubles(rule), doubles(outcome))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def choose_at(
    count: cython.longlong,
    own: cython.longlong,
    summary_at: cython.p_double,
    rule_at: cython.p_double,
    outcome_at: cython.p_double,
) -> cython.longlong:
    """As :func:`choose`, for Cython callers that hold the addresses."""
    plan: cython.longlong
    chosen: cython.longlong = -1
    default: cython.double = summary_at[3 * own]
    cheapest: cython.double = default
    cost: cython.double
    excess: cython.double
    least: cython.double = 0.0
    most: cython.double
    worst: cython.double = 1e999
    for plan in range(count):
        cheapest = summary_at[3 * plan] if summary_at[3 * plan] < cheapest else cheapest
    outcome_at[0] = -1.0
    outcome_at[1] = 1.0
    if cheapest >= default:
        return 0
    if cheapest * rule_at[0] > default:
        outcome_at[1] = default / cheapest if cheapest > 0.0 else 1e999
        return 1
    if default - cheapest < rule_at[2]:
        outcome_at[1] = default - cheapest
        return 2
    for plan in range(count):
        cost = summary_at[3 * plan]
        # The difference of infinite costs is no number, and no gain.
        if plan == own or cost * rule_at[0] > default or not default - cost >= rule_at[2]:
            continue
        # Nothing is risked beyond what is won.
        most = default / cost if cost > 0.0 else 1e999
        most = most if most < rule_at[3] else rule_at[3]
        most = most if most > rule_at[1] else rule_at[1]
        if summary_at[3 * plan + 1] > most:
            worst = summary_at[3 * plan + 1] if summary_at[3 * plan + 1] < worst else worst
            continue
        # Plans within a thousandth of each other are equally robust: the cheaper best guess decides.
        excess = summary_at[3 * plan + 2] if summary_at[3 * plan + 2] < 1e6 else 1e6
        excess = floor(1000.0 * excess + 0.5)
        if chosen < 0 or excess < least or (excess == least and cost < summary_at[3 * chosen]):
            chosen = plan
            least = excess
    if chosen < 0:
        outcome_at[1] = worst
        return 3
    cost = summary_at[3 * chosen]
    outcome_at[0] = chosen
    outcome_at[1] = default / cost if cost > 0.0 else 1e999
    return 4
