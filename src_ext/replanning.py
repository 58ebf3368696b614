"""One block with new literals: estimates, search, assessment and choice, on memory of its own.

What a known template costs with new literals is mostly the way between the kernels, cold in the processor's
caches: so it is two calls here (the engine's own plan is looked up in between), which allocate nothing but
what they return.

This topic has the Cython and the Python form.
"""

from __future__ import annotations

import cython
import numpy
from cython.cimports.godb_fast._kernels.addresses import doubles, ints, longs
from cython.cimports.godb_fast._kernels.assessment import Assessor, choose_at
from cython.cimports.godb_fast._kernels.filters import Filters
from cython.cimports.godb_fast._kernels.lexer import Fingerprint
from cython.cimports.godb_fast._kernels.planner import Planner


@cython.cclass
class Replanner:
    """Plans one block of a known template. Serves one thread at a time.

    Parameters
    ----------
    filters : filters.Filters
    planner : planner.Planner or None
        Of the block's graph; None: only estimates are asked for.
    assessor : assessment.Assessor or None
    lanes, searched : int
        K, and how many of the first lanes are searched (L).
    model : float64 array, shape (6,)
        ``CostModel.coefficients()``.
    log_distinct, log_selectivity : float64 arrays, shape (k, K) and (p, K)
        See ``core.RowEstimates``.
    node : dtype
        PLAN_NODE.
    """

    def __init__(
        self, filters, planner, assessor, lanes, searched, model, log_distinct, log_selectivity, node
    ):
        self.filters = filters
        self.planner = planner
        self.assessor = assessor
        self.lanes = lanes
        self.searched = searched
        self.model = model
        self.relations = filters.relations
        width = max(2 * self.relations - 1, 0)
        self.log_rows = numpy.zeros((self.relations, lanes))
        self.log_distinct = numpy.array(log_distinct)
        self.log_selectivity = numpy.array(log_selectivity)
        self.few_rows, self.few_distinct, self.few_selectivity = (
            self.log_rows,
            self.log_distinct,
            self.log_selectivity,
        )
        if searched < lanes:
            self.few_rows, self.few_distinct, self.few_selectivity = (
                numpy.ascontiguousarray(array[:, :searched])
                for array in (self.log_rows, self.log_distinct, self.log_selectivity)
            )
        self.found = numpy.zeros((searched, width), node)
        self.plans = numpy.zeros((searched + 1, width), node)
        self.costs = numpy.zeros((searched + 1, lanes))
        self.which = numpy.zeros(searched + 1, numpy.int64)
        self.summary = numpy.zeros((searched + 1, 3))
        self.outcome = numpy.zeros(2)
        self.model_at = doubles(model)
        self.rows_at = doubles(self.log_rows)
        # An empty array has no address of its own.
        self.distinct_at = doubles(self.log_distinct) if len(self.log_distinct) else self.rows_at
        self.selectivity_at = doubles(self.log_selectivity) if len(self.log_selectivity) else self.rows_at
        self.few_rows_at = doubles(self.few_rows)
        self.few_distinct_at = doubles(self.few_distinct) if len(self.few_distinct) else self.rows_at
        self.few_selectivity_at = doubles(self.few_selectivity) if len(self.few_selectivity) else self.rows_at
        self.found_int = ints(self.found)
        self.found_long = longs(self.found)
        self.found_double = doubles(self.found)
        self.plans_int = ints(self.plans)
        self.plans_long = longs(self.plans)
        self.plans_double = doubles(self.plans)
        self.costs_at = doubles(self.costs)
        self.which_at = longs(self.which)
        self.summary_at = doubles(self.summary)
        self.outcome_at = doubles(self.outcome)

    @property
    def estimates(self):
        """ln rows, distinct counts and selectivities as last estimated: the arrays themselves."""
        return self.log_rows, self.log_distinct, self.log_selectivity

    @property
    def searches(self):
        """Whether :meth:`choose` works."""
        return self.planner is not None

    @cython.ccall
    def estimate(self, literals, values, added):
        """Rows for new literals (``filters.Filters.rows`` has the parameters); their bucket."""
        filters: Filters = self.filters
        filters._rows_at(literals, values, added, self.rows_at)
        return filters._bucket_at(self.rows_at)

    @cython.ccall
    def region(self, found: Fingerprint, values, slots: cython.Py_ssize_t):
        """The bucket of :meth:`estimate`, for callers that ask for nothing else.

        Parameters
        ----------
        found : lexer.Fingerprint
            Of the text with the literals.
        values : object
            Whose ``bound()`` gives the values by slot that closures read.
        slots : int
            Literals of the template; None is returned where the text has another number of them.
        """
        filters: Filters = self.filters
        return filters._region_of(found, values, slots)

    @cython.ccall
    def choose(self, own, rule):
        """Search every lane, cost the plans and the engine's own in all lanes, and choose.

        Parameters
        ----------
        own : PLAN_NODE array, shape (2n - 1,)
        rule : float64 array, shape (4,)
            See ``assessment.choose``.

        Returns
        -------
        tuple of (int, int, float)
            The outcome, the number of the chosen plan or -1, and the outcome's figure.
        """
        planner: Planner = self.planner
        assessor: Assessor = self.assessor
        count: cython.longlong
        code: cython.longlong
        own_at: cython.p_int = ints(own)
        rule_at: cython.p_double = doubles(rule)
        if self.searched < self.lanes:
            self.few_rows[:] = self.log_rows[:, : self.searched]
            self.few_distinct[:] = self.log_distinct[:, : self.searched]
        planner._estimate_at(self.searched, self.few_rows_at, self.few_distinct_at, self.few_selectivity_at)
        planner._search_at(
            self.searched,
            True,
            self.rows_at,
            self.model_at,
            self.found_int,
            self.found_long,
            self.found_double,
        )
        with cython.nogil:
            count = assessor._assess_at(
                self.lanes,
                self.searched,
                self.found_int,
                1,
                own_at,
                self.rows_at,
                self.distinct_at,
                self.selectivity_at,
                self.plans_int,
                self.plans_long,
                self.plans_double,
                self.costs_at,
                self.which_at,
                self.summary_at,
            )
            code = choose_at(count, self.which_at[self.searched], self.summary_at, rule_at, self.outcome_at)
        return code, int(self.outcome_at[0]), self.outcome_at[1]

    @cython.ccall
    def plan(self, number: cython.longlong):
        """A copy of one of the plans that :meth:`choose` found."""
        return self.plans[number].copy()
